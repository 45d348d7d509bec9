//! The module's promises one by one, through libpam: what is answered, who asks, what is broken.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    unsafe_code,
    reason = "a broken test says so and stops; some measure time and make FIFOs"
)]

mod answers;
mod broken;
mod caps;
mod codes;
mod gateways;
mod limits;
mod names;
mod phases;
mod sends;
mod sshkeys;
mod unsent;

use twofa_tests::driver::code;
use twofa_tests::driver::pam::Answer;
use twofa_tests::driver::site::Site;
use twofa_tests::driver::transcript::Transcript;

const APP: &str = "Verification code (app): ";
const SUCCESS: i32 = 0;
const PERM_DENIED: i32 = 6;
const AUTH_ERR: i32 = 7;
const UNAVAILABLE: i32 = 9;
const USER_UNKNOWN: i32 = 10;
const MAX_TRIES: i32 = 11;
const CONV_ERR: i32 = 19;

/// One authentication with these answers.
#[track_caller]
fn authenticate(site: &Site, user: &str, answers: &[Answer]) -> Transcript {
    let plan = answers.iter().fold(site.plan(user), |plan, answer| plan.answer(answer));
    site.run(&plan.authenticate()).done()
}

fn text(text: impl AsRef<[u8]>) -> Answer {
    Answer::Text(text.as_ref().into())
}

/// A login from this address with one wrong guess after another until the module ends it.
fn guess(site: &Site, secret: &str, from: &str, at: i64) -> Transcript {
    let wrong = code::wrong(secret, at);
    let plan = site.plan_from("root", from).at(at);
    site.run(&plan.say(&wrong).say(&wrong).say(&wrong).authenticate()).done()
}

/// A login from this address with the right code.
fn enter(site: &Site, secret: &str, from: &str, at: i64) -> Transcript {
    let plan = site.plan_from("root", from).at(at);
    site.run(&plan.say_code(secret, 0).authenticate()).done()
}
