//! A login that is killed, whose disk fails, or whose one write is cut off.

use crate::{AUTH_ERR, SUCCESS, UNAVAILABLE, expect_sound, login, plan};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use twofa_tests::driver::inject::{self, Call};
use twofa_tests::driver::pam::Answer;
use twofa_tests::driver::site::{Factor, Site};

#[test]
fn a_login_killed_at_every_system_call() {
    let site = Site::new();
    let Factor { secret, .. } = site.enroll("root");
    let report = site.path("strace");
    let watched = site.run_with(&plan(&site, "root", &secret, 0), &inject::watch(&report), &[]);
    assert_eq!(watched.done().code("authenticate"), SUCCESS);
    let calls = inject::calls(&report);
    let mut outcomes = BTreeMap::<i32, usize>::new();
    let mut spent_since = None;
    for (step, call) in (1..).map(|number| 3 * number).zip(&calls) {
        let run = site.run_with(&plan(&site, "root", &secret, step), &inject::kill(call), &[]);
        let again = login(&site, "root", &secret, step);
        assert!([SUCCESS, AUTH_ERR].contains(&again), "killed at {call:?}: the code again gives {again}");
        assert_eq!(login(&site, "root", &secret, step + 1), SUCCESS, "the login after a kill at {call:?}");
        if !run.killed() {
            // The number of calls differs a little from run to run: this one had fewer.
            assert_eq!(
                (run.done().code("authenticate"), again),
                (SUCCESS, AUTH_ERR),
                "not killed at {call:?}"
            );
            continue;
        }
        *outcomes.entry(again).or_default() += 1;
        // Once it is spent at one call, it is at all later ones.
        assert!(spent_since.is_none() || again == AUTH_ERR, "{call:?}: unspent again");
        spent_since = spent_since.or((again == AUTH_ERR).then_some(call));
    }
    expect_sound(&site);
    println!(
        "login: {} calls; after a kill, the code again: {outcomes:?}, spent from {spent_since:?}",
        calls.len()
    );
    // The first call after the write in place is the one that waits for the disk.
    assert_eq!(spent_since.map(|call| call.name.as_str()), Some("fdatasync"), "where the commit is");
    assert!(
        outcomes.values().sum::<usize>() * 10 > calls.len() * 9,
        "killed nearly everywhere: {outcomes:?}"
    );
}

#[test]
fn a_login_whose_disk_fails() {
    let site = Site::new();
    let Factor { secret, .. } = site.enroll("root");
    let files = ["state/0", "twofa.db", "twofa.db-journal", "state", "store.key", "twofa.toml"]
        .map(|name| site.path(name));
    let changing =
        ["write", "pwrite64", "pwritev", "fsync", "fdatasync", "ftruncate", "fallocate", "flock", "fcntl"];
    let reading =
        ["openat", "read", "pread64", "newfstatat", "fstat", "statx", "lseek", "access", "readlink"];
    let mut step = 0;
    let mut met = BTreeMap::<(&str, i32), usize>::new();
    for calls in changing.into_iter().chain(reading) {
        let errors: &[&str] = if changing.contains(&calls) {
            &["EIO", "ENOSPC", "EROFS", "EDQUOT"]
        } else {
            &["EIO", "EACCES"]
        };
        for error in errors {
            for nth in 1.. {
                step += 3;
                match failing_login(&site, &secret, step, (calls, error, nth), &files) {
                    Some(code) => *met.entry((calls, code)).or_default() += 1,
                    None => break,
                }
            }
        }
    }
    expect_sound(&site);
    println!("errors met by a login (call, result): {met:?}");
    for call in ["pwrite64", "fdatasync", "openat"] {
        assert!(met.contains_key(&(call, UNAVAILABLE)), "{call} is how a login uses the disk");
    }
}

/// A login at whose `nth` call an error comes: its result, or nothing when there are not so many calls.
#[track_caller]
fn failing_login(
    site: &Site,
    secret: &str,
    step: i64,
    (name, error, nth): (&str, &str, usize),
    files: &[PathBuf],
) -> Option<i32> {
    let report = site.path("strace");
    let call = Call { name: name.into(), nth };
    let tool = inject::fail(&call, error, files, &report);
    let seen = site.run_with(&plan(site, "root", secret, step), &tool, &[]).done();
    if !inject::injected(&report) {
        return None;
    }
    let code = seen.code("authenticate");
    assert!([SUCCESS, UNAVAILABLE].contains(&code), "{error} at {call:?}: {seen:?}");
    let again = login(site, "root", secret, step);
    let fits = if code == SUCCESS { again == AUTH_ERR } else { [SUCCESS, AUTH_ERR].contains(&again) };
    assert!(fits, "{error} at {call:?} gave {code}; the code again gives {again}");
    assert_eq!(login(site, "root", secret, step + 1), SUCCESS, "the login after {error} at {call:?}");
    Some(code)
}

/// A power cut in the middle of the one write of a login, at each byte of it and in any order of sectors.
#[test]
fn half_a_write_leaves_the_old_or_the_new_state() {
    let site = Site::new();
    let Factor { secret, .. } = site.enroll("root");
    let record = site.path("state/0");
    // Both slots hold a state of a login.
    for step in [-8, -4] {
        assert_eq!(login(&site, "root", &secret, step), SUCCESS);
    }
    let before = fs::read(&record).unwrap();
    assert_eq!(login(&site, "root", &secret, 0), SUCCESS);
    let after = fs::read(&record).unwrap();
    let plan =
        site.plan("root").with("mode", "torn").with("secret", &secret).with("used-at", site.time.to_string());
    let plan = plan.with("record", record.to_str().unwrap()).with("before", &before).with("after", &after);
    let seen = site.run(&plan.answer(&Answer::Null)).done();
    let shapes = seen.all("torn");
    assert_eq!(shapes.len(), 4097 + 256);
    let mut outcomes = BTreeMap::<(i32, i32), usize>::new();
    for shape in &shapes {
        let words: Vec<_> = shape.split(' ').collect();
        let (again, fresh): (i32, i32) = (words[1].parse().unwrap(), words[2].parse().unwrap());
        assert!([SUCCESS, AUTH_ERR].contains(&again), "{shape}: neither the old nor the new state");
        assert_eq!(fresh, SUCCESS, "{shape}: the next login");
        *outcomes.entry((again, fresh)).or_default() += 1;
    }
    println!("torn writes (the code again, a fresh code): {outcomes:?}");
    // A used code is unspent only while its write is not whole.
    let whole = [
        format!("prefix-4096 {AUTH_ERR} 0"),
        format!("sectors-11111111 {AUTH_ERR} 0"),
        "prefix-0 0 0".into(),
    ];
    assert!(whole.iter().all(|shape| shapes.contains(shape)), "{outcomes:?}");
}
