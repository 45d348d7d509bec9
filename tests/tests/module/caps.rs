//! How many messages are sent: to one user, in one login, to one number, from this host.

use crate::sends::{APP_OR_SMS, Desk, PHONE, RECOVERY_OR_RESEND, SENT, SMS, SMS_OR_APP, expect};
use crate::{AUTH_ERR, SUCCESS, text};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use twofa_tests::driver::pam::Answer;
use twofa_tests::driver::site;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// A login that is sent a code and uses it.
#[track_caller]
fn enters(desk: &Desk, user: &str, at: i64) {
    let seen = desk.login(user, at, &[SENT]);
    assert_eq!((seen.code("authenticate"), seen.prompts().len()), (SUCCESS, 1), "at {at}: {seen:?}");
    assert!(seen.prompts()[0].contains("SMS to +48"), "{seen:?}");
}

/// A login that is sent nothing because so many were; the log says which limit it was.
#[track_caller]
fn is_capped(desk: &Desk, user: &str, at: i64, limit: &str) {
    let (sent, logged) = (desk.messages().len(), desk.logged().len());
    let seen = desk.login(user, at, &[Answer::Null]);
    expect(&seen, AUTH_ERR, &[RECOVERY_OR_RESEND]);
    assert!(seen.texts().starts_with("Too many codes were sent, so no more are sent for now."), "{seen:?}");
    assert!(seen.texts().contains("Call 42."), "{seen:?}");
    assert_eq!(desk.messages().len(), sent, "at {at}");
    let lines = desk.logged().split_off(logged);
    let line = format!("no code sent for {user} reason=send-limit limit={limit}");
    assert!(lines.iter().any(|logged| logged.starts_with("<84>") && logged.ends_with(&line)), "{lines:?}");
}

#[test]
fn a_pause_between_two_messages() {
    let desk = Desk::with_phone(&["sms"]);
    enters(&desk, "root", 0);
    for (at, left) in [(0, "60 seconds"), (1, "59 seconds"), (59, "1 second")] {
        let seen = desk.login("root", at, &[text("resend"), Answer::Null]);
        expect(&seen, AUTH_ERR, &[RECOVERY_OR_RESEND; 2]);
        let elsewhere = "The last code was sent for another login and is not good here.";
        let told = format!("{elsewhere} Another code can be sent in {left}: type resend then.");
        assert_eq!(seen.texts(), format!("{told}\n{told}\nLogin refused. Call 42."));
    }
    // Waiting within the login is as good, and a clock set back does not shorten it.
    let seen = desk.login("root", 30, &[Answer::Advance(30), text("resend"), SENT]);
    expect(&seen, SUCCESS, &[RECOVERY_OR_RESEND, SMS]);
    for at in [59, 0, -60, -600, -1800] {
        let seen = desk.login("root", at, &[Answer::Null]);
        expect(&seen, AUTH_ERR, &[RECOVERY_OR_RESEND]);
    }
    desk.amend("[limits]", "[limits]\nsend_pause = \"10m\"");
    let seen = desk.login("root", 60 + 599, &[Answer::Null]);
    assert!(seen.texts().contains("Another code can be sent in 1 second: type resend then."), "{seen:?}");
    enters(&desk, "root", 60 + 600);
    assert_eq!(desk.messages().len(), 3);
}

#[test]
fn a_login_has_three() {
    let desk = Desk::with_phone(&["sms"]);
    let wait = || Answer::Advance(60);
    let resend = || text("resend");
    let answers = [wait(), resend(), wait(), resend(), wait(), resend(), SENT];
    let seen = desk.login("root", 0, &answers);
    expect(&seen, SUCCESS, &[SMS; 4]);
    assert!(seen.texts().starts_with("Too many codes were sent"), "{seen:?}");
    assert_eq!(desk.messages().len(), 3);
    let line = "no code sent for root reason=send-limit limit=login";
    assert!(desk.logged().iter().any(|logged| logged.ends_with(line)), "no {line} in {:?}", desk.logged());
}

#[test]
fn an_hour_and_a_day_of_a_user() {
    let desk = Desk::with_phone(&["sms"]);
    desk.amend("[limits]", "[limits]\nsends_per_hour = 2\nsends_per_day = 3");
    enters(&desk, "root", 0);
    enters(&desk, "root", 600);
    for at in [660, HOUR - 1] {
        is_capped(&desk, "root", at, "user");
    }
    // A clock set back makes no room.
    for at in [600, 0, -600, -HOUR / 2] {
        expect(&desk.login("root", at, &[Answer::Null]), AUTH_ERR, &[RECOVERY_OR_RESEND]);
    }
    enters(&desk, "root", HOUR);
    is_capped(&desk, "root", 3 * HOUR, "user");
    is_capped(&desk, "root", DAY - 1, "user");
    // What an administrator unlocks may be sent to again, as far as its number may.
    desk.admin_ok(&["user", "unlock", "root"], "");
    is_capped(&desk, "root", DAY - 1, "number");
    enters(&desk, "root", DAY);
    assert_eq!(desk.messages().len(), 4);
    desk.write_policy(&desk.sending_policy(&["sms"]));
    enters(&desk, "root", DAY + 60);
}

#[test]
fn a_number_that_users_share() {
    let desk = Desk::with_phone(&["sms"]);
    desk.phone("daemon", PHONE);
    desk.phone("bin", "+48600000007");
    desk.amend("[limits]", "[limits]\nsends_per_hour = 2\nsends_per_day = 3");
    enters(&desk, "root", 0);
    enters(&desk, "daemon", 0);
    is_capped(&desk, "root", 60, "number");
    is_capped(&desk, "daemon", HOUR - 1, "number");
    enters(&desk, "bin", 60);
    enters(&desk, "root", HOUR);
    is_capped(&desk, "daemon", DAY - 1, "number");
    enters(&desk, "daemon", DAY);
}

#[test]
fn an_hour_of_the_host() {
    let desk = Desk::with_phone(&["sms"]);
    desk.amend("[limits]", "[limits]\nsends_per_host_hour = 3");
    for number in 1..=4 {
        desk.phone(&format!("t{number:06}"), &format!("+4860000000{number}"));
    }
    for (user, at) in [("root", 0), ("t000001", 0), ("t000002", 60)] {
        enters(&desk, user, at);
    }
    is_capped(&desk, "t000003", 60, "host");
    is_capped(&desk, "root", 60, "host");
    // A clock set back, a little or a lot, makes no room.
    for at in [0, -299, -600, -HOUR / 2] {
        is_capped(&desk, "t000003", at, "host");
    }
    is_capped(&desk, "t000003", HOUR - 1, "host");
    enters(&desk, "t000003", HOUR);
    enters(&desk, "root", HOUR);
    is_capped(&desk, "t000004", HOUR + 59, "host");
    enters(&desk, "t000004", HOUR + 60);
}

/// A clock that once ran ahead by a year is set right: what it counted stops nobody for a year.
#[test]
fn a_clock_that_ran_ahead() {
    let desk = Desk::with_phone(&["sms"]);
    desk.amend("[limits]", "[limits]\nsends_per_hour = 1\nsends_per_host_hour = 1");
    enters(&desk, "root", 365 * DAY);
    enters(&desk, "root", 0);
    is_capped(&desk, "root", 60, "user");
    desk.phone("daemon", "+48600000007");
    is_capped(&desk, "daemon", 60, "host");
}

/// A message that was not taken counts too: a gateway that fails late may have sent it.
#[test]
fn a_failed_message_counts() {
    let desk = Desk::with_phone(&["sms"]);
    desk.amend("[limits]", "[limits]\nsends_per_hour = 1");
    desk.write_short_hook("exit 75");
    let seen = desk.login("root", 0, &[Answer::Null]);
    assert!(seen.texts().starts_with("No code could be sent by SMS."), "{seen:?}");
    is_capped(&desk, "root", 60, "user");
}

/// What makes a file of counts useless.
type Damage = (&'static str, fn(&Path));

/// Without its counts the host sends nothing; the other method goes on, and the log says what to do.
#[test]
fn counts_that_cannot_be_kept() {
    let desk = Desk::with_phone(&["sms", "app"]);
    let factor = desk.enroll("root");
    let ring = desk.path("state/sends");
    let good = fs::read(&ring).unwrap();
    let damages: [Damage; 6] = [
        ("missing", |ring| fs::remove_file(ring).unwrap()),
        ("empty", |ring| fs::write(ring, b"").unwrap()),
        ("cut", |ring| fs::write(ring, [0; 4096]).unwrap()),
        ("longer", |ring| fs::write(ring, vec![0; 786_432 + 32]).unwrap()),
        ("writable by others", |ring| fs::set_permissions(ring, Permissions::from_mode(0o666)).unwrap()),
        ("a folder", |ring| {
            fs::remove_file(ring).unwrap();
            fs::create_dir(ring).unwrap();
        }),
    ];
    for (number, (name, damage)) in (0..).zip(damages) {
        damage(&ring);
        let logged = desk.logged().len();
        let seen = desk.login("root", 60 * number, &[Answer::Code(factor.secret.clone(), 0)]);
        expect(&seen, SUCCESS, &[APP_OR_SMS]);
        assert_eq!(seen.texts(), "No code could be sent by SMS. Call 42.", "{name}");
        let logged = desk.logged().split_off(logged);
        let alert =
            logged.iter().find(|line| line.starts_with("<81>")).unwrap_or_else(|| panic!("{logged:?}"));
        assert!(alert.contains("state/sends"), "{name}: {alert}");
        let _ = fs::remove_dir(&ring);
        let _ = fs::remove_file(&ring);
        site::write(&ring, 0o600, &good);
    }
    assert_eq!(desk.messages().len(), 0);
    // Garbage is no count of anything.
    let garbage: Vec<u8> = (0..good.len()).map(|at| (at * 7919 % 251) as u8).collect();
    site::write(&ring, 0o600, &garbage);
    expect(&desk.login("root", 1000, &[SENT]), SUCCESS, &[SMS_OR_APP]);
    // Made anew by the next change of an administrator, when it is missing.
    fs::remove_file(&ring).unwrap();
    desk.admin_ok(&["user", "unlock", "root"], "");
    expect(&desk.login("root", 2000, &[SENT]), SUCCESS, &[SMS_OR_APP]);
}
