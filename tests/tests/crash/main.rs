//! A kill, an error of the disk, half a write, a full disk: at any point of a login or of a change.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a broken test says so and stops; the figures are printed"
)]

mod changes;
mod disk;
mod logins;
mod sends;

use twofa_tests::driver::code;
use twofa_tests::driver::pam::Answer;
use twofa_tests::driver::plan::Plan;
use twofa_tests::driver::site::Site;

const SUCCESS: i32 = 0;
const AUTH_ERR: i32 = 7;
const UNAVAILABLE: i32 = 9;

/// One login whose clock is so many steps after the site's.
fn plan(site: &Site, user: &str, secret: &str, step: i64) -> Plan {
    let at = site.time + step * code::STEP;
    site.plan(user).at(at).say_code(secret, 0).answer(&Answer::Null).authenticate()
}

#[track_caller]
fn login(site: &Site, user: &str, secret: &str, step: i64) -> i32 {
    site.run(&plan(site, user, secret, step)).done().code("authenticate")
}

/// twofa-admin finds the database whole, and every record readable.
#[track_caller]
fn expect_sound(site: &Site) {
    let output = site.admin(&["status", "--json"], "");
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    let (_, faults) = report.split_once("\"faults\": [").unwrap_or_else(|| panic!("{output:?}"));
    let faults = faults.split(']').next().unwrap_or_default().lines().map(str::trim);
    // What it finds about this machine does not matter here.
    let of_the_store: Vec<_> =
        faults.filter(|line| !line.is_empty() && !line.contains("PAM service")).collect();
    assert!(of_the_store.is_empty(), "{of_the_store:?}");
}
