//! `mode race`: many processes that are let go at the same moment.
//!
//! `processes N`, `rounds N`, `step SECONDS` (the clock between two rounds), `release start` (all wait
//! before pam_start) or `release prompt` (all wait with the code in hand, as sessions of people do);
//! `users NAME…` in turn instead of one user; `addresses N`: from so many client addresses in turn; `round-answer` in turn instead of the answers, and `give-up`
//! to answer the next prompt with nothing.

use crate::Events;
use crate::single::start;
use std::fs::File;
use std::io::{Read, Write, pipe};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Instant;
use twofa_tests::driver::{clock, plan::Plan};

/// The ends of the pipes that a child holds: "I am ready", and "go".
static READY: AtomicI32 = AtomicI32::new(-1);
static GO: AtomicI32 = AtomicI32::new(-1);
static RELEASED: OnceLock<Instant> = OnceLock::new();

pub(crate) fn run(plan: &Plan) -> Events {
    let mut events = Events::new();
    for number in 0..plan.number("rounds").unwrap_or(1) {
        let round = round_of(plan, number);
        for line in round_results(&round, number) {
            events.push(("child".into(), line.into()));
        }
        clock::advance(plan.number("step").unwrap_or(0));
    }
    events
}

/// The plan of one round: its answer, and where to wait.
fn round_of(plan: &Plan, number: i64) -> Plan {
    let own = plan.all("round-answer");
    let own = usize::try_from(number).ok().and_then(|number| own.get(number).copied());
    let answers = own.map_or_else(|| plan.all("answer"), |answer| vec![answer]);
    let words =
        ["confdir", "service", "user", "set", "env", "flags", "processes", "release", "mail", "addresses"];
    let mut round = Plan::default();
    for (word, value) in
        words.iter().flat_map(|word| plan.all(word).into_iter().map(move |value| (word, value)))
    {
        round = round.with(word, value);
    }
    if plan.text("release") == Some("prompt") {
        round = round.with("answer", "gate");
    }
    for user in plan.all("users") {
        round = round.with("users", user);
    }
    let round = answers.into_iter().fold(round, |round, answer| round.with("answer", answer));
    // Those who lose are asked again.
    if plan.last("give-up").is_some() { round.with("answer", "null") } else { round }
}

/// Forks, waits until all are ready, lets them go, collects a line of each.
fn round_results(plan: &Plan, number: i64) -> Vec<String> {
    let count = plan.number("processes").expect("processes");
    let (mut ready, ready_write) = pipe().expect("a pipe");
    let (go_read, go) = pipe().expect("a pipe");
    let (mut results, results_write) = pipe().expect("a pipe");
    let mut children = Vec::new();
    for index in 0..usize::try_from(count).expect("processes") {
        // SAFETY: this program has one thread, so the child may do anything.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // A child that kept this end would never see it closed.
            // SAFETY: the child does not use its copy.
            unsafe { libc::close(go.as_raw_fd()) };
            READY.store(ready_write.into_raw_fd(), Ordering::SeqCst);
            GO.store(go_read.into_raw_fd(), Ordering::SeqCst);
            child(plan, number, index, File::from(OwnedFd::from(results_write)));
        }
        assert!(pid > 0, "fork");
        children.push(pid);
    }
    drop((ready_write, go_read, results_write));
    // Ends when each child has said it, or died: each closes its end after that.
    let mut said = Vec::new();
    ready.read_to_end(&mut said).expect("children say when they are ready");
    drop(go);
    let mut text = String::new();
    results.read_to_string(&mut text).expect("children report");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.extend(children.into_iter().filter_map(|pid| accident(pid, number)));
    lines
}

/// A line for a child that ended in another way than it should.
fn accident(pid: i32, round: i64) -> Option<String> {
    let mut status = 0;
    // SAFETY: our own child, and room for its status.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    (status != 0).then(|| format!("{round} -1 0 process ended with status {status:#x}"))
}

fn child(plan: &Plan, round: i64, index: usize, mut results: File) -> ! {
    let users = plan.all("users");
    let mine = (!users.is_empty()).then(|| users[index % users.len()]);
    let mut plan = mine.map_or_else(|| plan.clone(), |user| plan.clone().with("user", user));
    if let Some(addresses) = plan.number("addresses") {
        let host = index % usize::try_from(addresses).expect("addresses");
        plan = plan.with("set", format!("rhost=198.18.{}.{}", host / 256, host % 256));
    }
    if plan.text("release") != Some("prompt") {
        gate();
    }
    let flags = i32::try_from(plan.number("flags").unwrap_or(0)).expect("flags");
    let (code, events) = match start(&plan, gate) {
        Ok(mut open) => {
            let code = open.call("authenticate", flags).expect("a call");
            (code, open.take_events())
        }
        Err(code) => (code, Vec::new()),
    };
    let took = RELEASED.get().map_or(0, |begin| begin.elapsed().as_micros());
    tell_ready();
    let said = events.iter().filter(|(word, _)| ["info", "error", "exhausted"].contains(&word.as_str()));
    let said: Vec<_> = said.map(|(_, text)| String::from_utf8_lossy(text).replace('\n', " ")).collect();
    // One write of less than PIPE_BUF: lines of two children do not mix.
    let mut line = format!("{round} {code} {took} {}", said.join(" | "));
    line.truncate(4000);
    results.write_all(format!("{line}\n").as_bytes()).expect("the parent reads");
    // SAFETY: ends without running the parent's exit handlers.
    unsafe { libc::_exit(0) };
}

/// All wait here for each other.
fn gate() {
    tell_ready();
    let fd = GO.swap(-1, Ordering::SeqCst);
    if fd >= 0 {
        // SAFETY: the descriptor is ours, and nobody else closes it.
        let mut go = unsafe { File::from_raw_fd(fd) };
        let _ = go.read(&mut [0]);
        RELEASED.get_or_init(Instant::now);
    }
}

fn tell_ready() {
    let fd = READY.swap(-1, Ordering::SeqCst);
    if fd >= 0 {
        // SAFETY: the descriptor is ours, and nobody else closes it.
        let mut ready = unsafe { File::from_raw_fd(fd) };
        let _ = ready.write_all(b"r");
    }
}
