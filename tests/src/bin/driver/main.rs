//! `driver PLAN TRANSCRIPT`: does what the plan says and writes down what happened.
//!
//! Lines of a plan, in any order: `confdir`, `service`, `user`, `clock`, `answer` (in turn), `flags`,
//! `set ITEM=VALUE`, `env NAME=VALUE`, `limit NAME=NUMBER`, and `call`, in the order of the calls:
//! one of libpam's six functions, `user=NAME`, `clock=…`, `answers` (start the list of answers again)
//! or `restart` (end the handle and start a new one). `mail` is where sent codes are kept. See `race`, `repeat` and
//! `torn` for `mode`, `host` for what kind of program this one is to be.
//!
//! The transcript is written at the end: nothing that the driver itself does happens during a call,
//! and whatever is on its standard output comes from the module.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a broken test says so and stops; it talks to libpam, and it measures time"
)]

mod host;
#[path = "../../interpose.rs"]
mod interpose;
mod race;
mod repeat;
mod single;
mod torn;

use std::path::PathBuf;
use twofa_tests::driver::{clock, line, pam, plan::Plan};

/// Where what happened is collected.
pub(crate) type Events = Vec<pam::Event>;

/// Longer than any plan takes on a busy machine.
const MINUTES: u32 = 5;

fn main() {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [plan, transcript] = &paths[..] else {
        panic!("usage: driver PLAN TRANSCRIPT");
    };
    // A module that hangs at every login would keep a test for hours.
    // SAFETY: alarm has no preconditions; its signal ends this program.
    unsafe { libc::alarm(MINUTES * 60) };
    let plan = Plan::parse(&std::fs::read_to_string(plan).expect("the plan can be read"));
    // The first call decides what the environment wishes; the plan is more specific.
    let mut now = 0;
    // SAFETY: room for one time.
    unsafe { libc::time(&raw mut now) };
    if let Some(text) = plan.text("clock") {
        clock::set(clock::parse(text));
    }
    let events = match plan.text("mode").unwrap_or("single") {
        "single" => single::run(&plan),
        "race" => race::run(&plan),
        "repeat" => repeat::run(&plan),
        "torn" => torn::run(&plan),
        other => panic!("no mode {other}"),
    };
    let lines = events.iter().map(|(word, value)| line::print(word, value));
    std::fs::write(transcript, lines.collect::<String>()).expect("the transcript can be written");
}
