//! However it ends, and whoever ends it: in time, and with nothing left.

use super::*;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use twofa_tests::u2fkey::Conduct;

fn kill(signal: &str, pid: u32) {
    // The shell's own: a small root has no program of this name.
    run(Command::new("sh").args(["-c", "kill -$0 $1", signal]).arg(pid.to_string()));
}

#[track_caller]
fn report(site: &Site, mut host: Child) -> String {
    assert!(host.wait().unwrap().success());
    site.expect_nobody();
    fs::read_to_string(site.path("report")).unwrap()
}

#[test]
fn a_process_that_crashes_or_hangs_is_one_key_less() {
    let never = Key::plug_in(Conduct::NeverTouched);
    let own = Key::plug_in(Conduct::TouchedAfter(20));
    for (signal, alone) in [("SEGV", "crashed"), ("KILL", "crashed"), ("STOP", "TimedOut")] {
        let site = Site::new(&[&never]);
        let host = site.start(&touch(&[never.credential(RP)], 3), &[]);
        kill(signal, site.talking(1)[0]);
        let seen = report(&site, host);
        assert!(seen.contains(alone), "{signal}: {seen}");
    }
    // Another key still counts.
    let site = Site::new(&[&never, &own]);
    let host = site.start(&touch(&[own.credential(RP)], 20), &[]);
    let pids = site.talking(2);
    let first = |pid: &&u32| site.processes()[*pid].ends_with("hidraw0");
    kill("STOP", *pids.iter().find(first).unwrap());
    let seen = report(&site, host);
    assert!(seen.contains("Signed { credential: 0"), "{seen}");
}

#[test]
fn time_is_up_for_all_at_once() {
    let keys = [Conduct::NeverTouched, Conduct::NeverTouched, Conduct::Mute].map(Key::plug_in);
    let site = Site::new(&[&keys[0], &keys[1], &keys[2]]);
    let credentials = [keys[0].credential(RP), keys[1].credential(RP)];
    let began = Instant::now();
    assert_eq!(site.touch(&credentials, 2, seconds(4)), words(&Touched::TimedOut));
    assert!(began.elapsed() >= seconds(2));
    // Nobody waits for nothing, and nobody longer than a minute.
    assert_eq!(site.touch(&credentials, 0, seconds(2)), words(&Touched::TimedOut));
}

#[test]
fn a_host_that_is_killed_takes_everything_with_it() {
    let keys = [Conduct::NeverTouched, Conduct::Mute, Conduct::Noise].map(Key::plug_in);
    let site = Site::new(&[&keys[0], &keys[1], &keys[2]]);
    let mut host = site.start(&touch(&[keys[0].credential(RP)], 60), &[]);
    site.talking(3);
    host.kill().unwrap();
    host.wait().unwrap();
    site.expect_nobody();
}

#[test]
fn a_helper_that_is_ended_takes_everything_with_it() {
    for signal in ["TERM", "KILL"] {
        let key = Key::plug_in(Conduct::NeverTouched);
        let site = Site::new(&[&key]);
        let host = site.start(&touch(&[key.credential(RP)], 60), &[]);
        site.talking(1);
        let processes = site.processes();
        kill(signal, *processes.iter().find(|(_, arguments)| arguments.ends_with(" token")).unwrap().0);
        let seen = report(&site, host);
        assert!(seen.contains("no report from twofa-helper: it ended"), "{signal}: {seen}");
    }
}

/// A process that hangs so that it cannot even see that it is alone.
#[test]
fn nothing_outlives_the_helper() {
    let keys = [Conduct::NeverTouched, Conduct::NeverTouched].map(Key::plug_in);
    let site = Site::new(&[&keys[0], &keys[1]]);
    let host = site.start(&touch(&[keys[0].credential(RP), keys[1].credential(RP)], 60), &[]);
    keys.iter().for_each(is_asked_to_sign);
    site.talking(2).into_iter().for_each(|pid| kill("STOP", pid));
    let processes = site.processes();
    kill("KILL", *processes.iter().find(|(_, arguments)| arguments.ends_with(" token")).unwrap().0);
    report(&site, host);
}

#[test]
fn by_hand_it_says_what_it_is() {
    let site = Site::new(&[]);
    let table: [&[&str]; 6] = [
        &["token"],
        &["token", "more"],
        &["key"],
        &["key", "ctap1", "/dev/null"],
        &["key", "ctap2", "/dev/null"],
        &["key", "ctap3", "/dev/null"],
    ];
    for arguments in table {
        let output = Command::new(site.helper()).args(arguments).stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8(output.stderr).unwrap().starts_with("usage: twofa-helper deliver"));
    }
}

#[test]
fn a_job_that_makes_no_sense_starts_nothing() {
    let mut invalid =
        postcard::to_allocvec(&touch(&[Key::plug_in(Conduct::Mute).credential(RP)], 1)).unwrap();
    let at = invalid.windows(2).position(|two| two == [65, 4]).unwrap();
    invalid[at + 1] = 3;
    let invalid = [&u32::try_from(invalid.len()).unwrap().to_be_bytes()[..], &invalid].concat();
    let junk: [&[u8]; 5] = [b"", b"\0\0", b"\0\0\0\x04abcd", b"\xff\xff\xff\xffabcd", &invalid];
    for (bytes, word) in junk.iter().flat_map(|bytes| [(bytes, "token"), (bytes, "key")]) {
        let site = Site::new(&[]);
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let mut helper = Command::new(site.helper());
        helper.arg(word).args(["ctap1", "/dev/null"].iter().filter(|_| word == "key"));
        let mut running = helper.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).spawn().unwrap();
        // It holds the other end too.
        drop(helper);
        ours.write_all(bytes).unwrap();
        ours.shutdown(std::net::Shutdown::Write).unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut said = vec![];
        let _ = ours.read_to_end(&mut said);
        assert_eq!((said, running.wait().unwrap().success()), (vec![], false), "{word}: {bytes:?}");
    }
}
