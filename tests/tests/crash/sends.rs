//! A login that is killed while a code is on its way.

use crate::{SUCCESS, UNAVAILABLE, expect_sound};
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;
use twofa_tests::driver::inject::{self, Call};
use twofa_tests::driver::pam::Answer;
use twofa_tests::driver::post;
use twofa_tests::driver::site::Site;

const DAY: i64 = 24 * 3600;

/// Whatever of a message was counted or sent: nobody gets two of them within the pause, nothing that was started
/// lives on, and the next login is as good as any.
#[test]
fn a_sending_login_killed_at_every_system_call() {
    let site = Site::sending(&["sms"]);
    site.contact("root", &["--phone", "+48600000123"]);
    let report = site.path("strace");
    let watched = site.plan("root").say_sent().authenticate();
    let watched = site.run_with(&watched, &inject::watch_one(&report), &[]);
    assert_eq!(watched.done().code("authenticate"), SUCCESS);
    // What is before our first call has nothing to do with sending, and logins.rs kills there too.
    let calls = inject::calls_since(&report, "twofa.toml");
    let mut outcomes = BTreeMap::<(usize, bool), usize>::new();
    for (day, call) in (1..).zip(&calls) {
        let at = site.time + day * DAY;
        let before = site.messages().len();
        let plan = site.plan("root").at(at).say_sent().authenticate();
        let run = site.run_with(&plan, &inject::kill_one(call), &[]);
        expect_nothing_running(&site, &format!("a kill at {call:?}"));
        let sent = site.messages().len() - before;
        let next = site.plan("root").at(at + 1).answer(&Answer::Advance(60)).say("resend").say_sent();
        let next = site.run(&next.authenticate()).done();
        assert_eq!(next.code("authenticate"), SUCCESS, "the login after a kill at {call:?}: {next:?}");
        let at_once = next.prompts()[0].contains("SMS to");
        let all = site.messages().len() - before;
        assert_eq!(all, sent + usize::from(at_once) + 1, "{call:?}: {next:?}");
        assert!(sent + usize::from(at_once) <= 1, "two messages within the pause, killed at {call:?}");
        if run.killed() {
            *outcomes.entry((sent, at_once)).or_default() += 1;
        } else {
            // The number of calls differs a little from run to run: this one had fewer.
            assert_eq!((run.done().code("authenticate"), sent, at_once), (SUCCESS, 1, false), "{call:?}");
        }
    }
    println!(
        "sending login: {} calls of ours; after a kill, (messages, another at once): {outcomes:?}",
        calls.len()
    );
    assert!(
        outcomes.values().sum::<usize>() * 10 > calls.len() * 9,
        "killed nearly everywhere: {outcomes:?}"
    );
    // Before it is counted, counted and not sent, sent.
    assert_eq!(outcomes.keys().copied().collect::<Vec<_>>(), [(0, false), (0, true), (1, false)]);
    expect_sound(&site);
    expect_ring(&site);
}

/// An error of the disk while a message is counted: then it is not sent, or it counts.
#[test]
fn a_sending_login_whose_disk_fails() {
    let site = Site::sending(&["sms", "app"]);
    let secret = site.enroll("root").secret;
    site.contact("root", &["--phone", "+48600000123"]);
    let report = site.path("strace");
    let files = ["state/0", "state/sends", "state"].map(|name| site.path(name));
    let mut met = BTreeMap::<(&str, i32, usize), usize>::new();
    let mut day = 0;
    for name in ["openat", "pread64", "pwrite64", "fdatasync", "flock", "statx"] {
        for error in ["EIO", "ENOSPC"] {
            for nth in 1.. {
                day += 1;
                let at = site.time + day * DAY;
                let before = site.messages().len();
                let call = Call { name: name.into(), nth };
                // At the app's prompt `app` is no word, and no guess.
                let plan = site.plan("root").at(at).say("app").say_code(&secret, 0).authenticate();
                let seen = site.run_with(&plan, &inject::fail(&call, error, &files, &report), &[]).done();
                let sent = site.messages().len() - before;
                if !inject::injected(&report) {
                    assert_eq!(sent, 1, "{seen:?}");
                    break;
                }
                let code = seen.code("authenticate");
                assert!([SUCCESS, UNAVAILABLE].contains(&code), "{error} at {call:?}: {seen:?}");
                let next = site.plan("root").at(at + 30).answer(&Answer::Null).authenticate();
                let _ = site.run(&next).done();
                let both = site.messages().len() - before;
                assert!(both <= 1, "two messages within the pause, {error} at {call:?}: {seen:?}");
                *met.entry((name, code, sent)).or_default() += 1;
            }
        }
    }
    println!("errors met by a sending login (call, result, messages): {met:?}");
    for name in ["pwrite64", "fdatasync"] {
        assert!(
            met.contains_key(&(name, SUCCESS, 0)) && met.contains_key(&(name, UNAVAILABLE, 1)),
            "{name}: {met:?}"
        );
    }
    expect_sound(&site);
    expect_ring(&site);
}

#[track_caller]
fn expect_nothing_running(site: &Site, after: &str) {
    let ended = post::within(Duration::from_secs(3), || site.processes().is_empty().then_some(()));
    assert!(ended.is_some(), "{after} left behind: {:?}", site.processes());
}

/// The ring has each message that was sent, and one entry more for each that was counted in vain; see store/sends.rs.
#[track_caller]
fn expect_ring(site: &Site) {
    let ring = fs::read(site.path("state/sends")).unwrap();
    let number = |entry: &[u8], at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().unwrap());
    let mut entries: Vec<(u64, u64, usize)> = ring
        .chunks_exact(32)
        .enumerate()
        .map(|(place, entry)| (number(entry, 0), number(entry, 8), place))
        .filter(|(sequence, ..)| *sequence > 0)
        .collect();
    entries.sort_unstable();
    let places = ring.len() / 32;
    for (pair, expected) in entries.windows(2).zip(2..) {
        assert_eq!(
            (pair[1].0, pair[1].2),
            (expected, usize::try_from(expected).unwrap() % places),
            "{pair:?}"
        );
        assert!(pair[0].1 <= pair[1].1, "times: {pair:?}");
    }
    let messages = site.messages().len();
    println!("{} messages, {} entries in the ring of {} bytes", messages, entries.len(), ring.len());
    assert!(entries.len() >= messages, "a message that was not counted");
}
