//! Wrong guesses are counted: by address, and in all.

use crate::{APP, AUTH_ERR, CONV_ERR, MAX_TRIES, SUCCESS, authenticate, enter, guess, text};
use twofa_tests::driver::code;
use twofa_tests::driver::pam::Answer;
use twofa_tests::driver::site::Factor;
use twofa_tests::driver::site::Site;

#[test]
fn five_failures_lock_an_address_for_a_quarter_of_an_hour() {
    let site = Site::new();
    let Factor { secret, .. } = site.enroll("root");
    let (bad, good) = ("203.0.113.5", "198.51.100.7");
    assert_eq!(guess(&site, &secret, bad, site.time).code("authenticate"), AUTH_ERR);
    let fifth = guess(&site, &secret, bad, site.time);
    assert_eq!((fifth.code("authenticate"), fifth.prompts().len()), (MAX_TRIES, 2), "{fifth:?}");
    let locked = enter(&site, &secret, bad, site.time);
    assert_eq!((locked.code("authenticate"), locked.prompts().len()), (MAX_TRIES, 0), "{locked:?}");
    assert!(locked.texts().contains("UTC"), "when it ends: {locked:?}");
    assert_eq!(enter(&site, &secret, good, site.time).code("authenticate"), SUCCESS, "from elsewhere");
    // Trying on does not make it longer; a clock set back does not make it shorter.
    for minute in [-10, 1, 7, 14] {
        let tried = enter(&site, &secret, bad, site.time + minute * 60);
        assert_eq!(tried.code("authenticate"), MAX_TRIES, "after {minute} minutes: {tried:?}");
    }
    let after = enter(&site, &secret, bad, site.time + 15 * 60 + 60);
    assert_eq!(after.code("authenticate"), SUCCESS, "{after:?}");
}

#[test]
fn addresses_are_told_apart_as_networks_give_them() {
    let site = Site::new();
    let Factor { secret, .. } = site.enroll("root");
    for from in ["2001:db8:1:2::1", "2001:db8:1:2::beef"] {
        guess(&site, &secret, from, site.time);
    }
    let same = enter(&site, &secret, "2001:db8:1:2:ffff::9", site.time);
    assert_eq!(same.code("authenticate"), MAX_TRIES, "one /64 is one customer: {same:?}");
    let other = enter(&site, &secret, "2001:db8:1:3::1", site.time);
    assert_eq!(other.code("authenticate"), SUCCESS, "{other:?}");
    for from in ["::ffff:203.0.113.9", "203.0.113.9"] {
        guess(&site, &secret, from, site.time);
    }
    let mapped = enter(&site, &secret, "::ffff:203.0.113.9", site.time + 60);
    assert_eq!(mapped.code("authenticate"), MAX_TRIES, "the same IPv4 address: {mapped:?}");
}

#[test]
fn the_lock_comes_during_a_login() {
    let site = Site::new();
    let Factor { secret, .. } = site.enroll("root");
    site.write_policy(&site.policy().replace("failures = 5", "failures = 2"));
    let wrong = text(code::wrong(&secret, site.time));
    let seen = authenticate(&site, "root", &[wrong.clone(), wrong, Answer::Code(secret, 0)]);
    assert_eq!((seen.code("authenticate"), seen.prompts().len()), (MAX_TRIES, 2), "{seen:?}");
}

#[test]
fn fifty_failures_from_anywhere_leave_only_recovery_codes() {
    let site = Site::new();
    let factor = site.enroll("root");
    let secret = &factor.secret;
    let mut judged = 0;
    for host in 1..=60 {
        let seen = guess(&site, secret, &format!("203.0.113.{host}"), site.time);
        judged += seen.prompts().iter().filter(|prompt| *prompt == APP).count();
        if seen.code("authenticate") == MAX_TRIES {
            break;
        }
    }
    assert_eq!((judged, site.failures("root")), (50, 50));
    for hours in [0, 1, 24, 24 * 7] {
        let seen = enter(&site, secret, "198.51.100.7", site.time + hours * 3600);
        assert!([AUTH_ERR, MAX_TRIES, CONV_ERR].contains(&seen.code("authenticate")), "{seen:?}");
    }
    let recovery = authenticate(&site, "root", &[text(&factor.recovery[0])]);
    assert_eq!(recovery.code("authenticate"), SUCCESS, "{recovery:?}");
    site.admin_ok(&["user", "unlock", "root"], "");
    assert_eq!(enter(&site, secret, "198.51.100.7", site.time).code("authenticate"), SUCCESS);
}

#[test]
fn a_success_forgives_only_its_own_address() {
    let site = Site::new();
    let Factor { secret, .. } = site.enroll("root");
    let (bad, good) = ("203.0.113.5", "198.51.100.7");
    guess(&site, &secret, bad, site.time);
    assert_eq!(enter(&site, &secret, good, site.time).code("authenticate"), SUCCESS);
    assert_eq!(site.failures("root"), 3, "the hard stop is the administrator's to lift");
    let fifth = guess(&site, &secret, bad, site.time);
    assert_eq!(fifth.code("authenticate"), MAX_TRIES, "{fifth:?}");
}
