//! A kill, an error of the disk, half a write, a full disk: at any point of a login or of a change.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a broken test says so and stops; the figures are printed"
)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use twofa_tests::driver::inject::{Injection, WRITES};
use twofa_tests::driver::pam::Answer;
use twofa_tests::driver::site::{self, Factor, Site};
use twofa_tests::driver::{code, plan::Plan};

const SUCCESS: i32 = 0;
const AUTH_ERR: i32 = 7;
const UNAVAILABLE: i32 = 9;
/// More system calls than any of the programs here makes: a loop that does not end fails.
const MANY: usize = 5000;

/// One login whose clock is so many steps after the site's.
fn plan(site: &Site, user: &str, secret: &str, step: i64) -> Plan {
    let at = site.time + step * code::STEP;
    site.plan(user).at(at).say_code(secret, 0).answer(&Answer::Null).authenticate()
}

#[track_caller]
fn login(site: &Site, user: &str, secret: &str, step: i64) -> i32 {
    site.run(&plan(site, user, secret, step)).done().code("authenticate")
}

/// The database is sound, and twofa-admin finds nothing wrong with it and with the records.
#[track_caller]
fn expect_sound(site: &Site) {
    let check = "import sqlite3,sys; print(sqlite3.connect(sys.argv[1]).execute('pragma integrity_check').fetchone()[0])";
    let output =
        Command::new("python3").args(["-c", check]).arg(site.path("twofa.db")).output().expect("python3");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "ok", "{output:?}");
    let status = site.admin(&["user", "list", "--json"], "");
    assert!(status.status.success(), "{status:?}");
}

#[test]
fn a_login_killed_at_every_system_call() {
    let site = Site::new();
    let Factor { secret, .. } = site.enroll("root");
    let report = site.path("strace");
    let mut outcomes = BTreeMap::<i32, usize>::new();
    let mut spent_since = None;
    for nth in 1..MANY {
        let step = 3 * i64::try_from(nth).unwrap();
        let kill = Injection { calls: "all", effect: "signal=KILL", nth, files: &[], report: &report };
        let run = site.run_with(&plan(&site, "root", &secret, step), &kill.tool(), &[]);
        let again = login(&site, "root", &secret, step);
        assert!([SUCCESS, AUTH_ERR].contains(&again), "kill at call {nth}: the code again gives {again}");
        assert_eq!(login(&site, "root", &secret, step + 1), SUCCESS, "the login after a kill at call {nth}");
        if !run.killed() {
            assert_eq!((run.done().code("authenticate"), again), (SUCCESS, AUTH_ERR), "not killed");
            expect_sound(&site);
            println!(
                "login: {} kills; the code again: {outcomes:?}, spent since call {spent_since:?}",
                nth - 1
            );
            assert!(
                spent_since.is_some() && outcomes.contains_key(&SUCCESS),
                "both sides of the commit were met"
            );
            return;
        }
        *outcomes.entry(again).or_default() += 1;
        // Once it is spent at one call, it is at all later ones.
        assert!(spent_since.is_none() || again == AUTH_ERR, "call {nth}: unspent again");
        spent_since = spent_since.or((again == AUTH_ERR).then_some(nth));
    }
    panic!("the login never came to its end");
}

#[test]
fn a_login_whose_disk_fails() {
    let site = Site::new();
    let Factor { secret, .. } = site.enroll("root");
    let files = ["state/0", "twofa.db", "twofa.db-journal", "state", "store.key", "twofa.toml", ""]
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
            for nth in 1..MANY {
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
    (calls, error, nth): (&str, &str, usize),
    files: &[PathBuf],
) -> Option<i32> {
    let report = site.path("strace");
    let effect = format!("error={error}");
    let fail = Injection { calls, effect: &effect, nth, files, report: &report };
    let seen = site.run_with(&plan(site, "root", secret, step), &fail.tool(), &[]).done();
    let what = format!("{error} at {calls} number {nth}: {seen:?}");
    let happened = fail.happened()?;
    let code = seen.code("authenticate");
    assert!([SUCCESS, UNAVAILABLE].contains(&code), "{what}, {happened}");
    let again = login(site, "root", secret, step);
    assert!(
        if code == SUCCESS { again == AUTH_ERR } else { [SUCCESS, AUTH_ERR].contains(&again) },
        "{what}: again {again}"
    );
    assert_eq!(login(site, "root", secret, step + 1), SUCCESS, "the login after {what}");
    Some(code)
}

/// The files of the store, to begin again from the same point.
struct Snapshot(Vec<(PathBuf, u32, Vec<u8>)>);

impl Snapshot {
    fn take(site: &Site) -> Self {
        Self(
            store_files(site)
                .into_iter()
                .map(|path| {
                    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
                    (path.clone(), mode, fs::read(&path).unwrap())
                })
                .collect(),
        )
    }

    fn put_back(&self, site: &Site) {
        store_files(site).into_iter().for_each(|path| fs::remove_file(path).unwrap());
        self.0.iter().for_each(|(path, mode, bytes)| site::write(path, *mode, bytes));
    }
}

fn store_files(site: &Site) -> Vec<PathBuf> {
    let in_folder = |path: PathBuf| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let top = in_folder(site.path("")).filter(|path| path.to_string_lossy().contains("/twofa.db"));
    top.chain(in_folder(site.path("state"))).collect()
}

/// twofa-admin killed at each of its system calls that change something; `check` after each.
#[track_caller]
fn killed_at_every_write(site: &Site, arguments: &[&str], input: &str, check: impl Fn(bool) -> &'static str) {
    let before = Snapshot::take(site);
    let report = site.path("strace");
    let mut outcomes = BTreeMap::<&str, usize>::new();
    for nth in 1..MANY {
        before.put_back(site);
        let kill = Injection { calls: WRITES, effect: "signal=KILL", nth, files: &[], report: &report };
        let output = site.admin_with(arguments, input, &kill.tool());
        let killed = output.status.signal() == Some(9);
        assert!(killed || output.status.success(), "{arguments:?}: {output:?}");
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(killed)));
        let outcome =
            outcome.unwrap_or_else(|_| panic!("{arguments:?} killed at its write number {nth} (see above)"));
        if nth % 10 == 0 || !killed {
            expect_sound(site);
        }
        if !killed {
            println!("{arguments:?}: {} kills; afterwards: {outcomes:?}", nth - 1);
            assert_eq!(outcome, "new");
            let both = ["old", "new"].iter().all(|outcome| outcomes.contains_key(outcome));
            assert!(both, "both sides of the change were met: {outcomes:?}");
            return;
        }
        *outcomes.entry(outcome).or_default() += 1;
    }
    panic!("{arguments:?} never came to its end");
}

/// Everybody else is as before.
#[track_caller]
fn expect_others(site: &Site, other: &Factor) {
    assert_eq!(login(site, "daemon", &other.secret, 0), SUCCESS, "another user");
    assert_eq!(login(site, "daemon", &other.secret, 0), AUTH_ERR, "another user's code is spent as ever");
}

#[test]
fn enrolling_a_second_app_killed_at_every_write() {
    let site = Site::new();
    let (first, other, second) = (site.enroll("root"), site.enroll("daemon"), code::secret(90_001));
    assert_eq!(login(&site, "root", &first.secret, -5), SUCCESS);
    let arguments = ["enroll", "app", "root", "--secret-stdin", "--label", "tablet"];
    killed_at_every_write(&site, &arguments, &format!("{second}\n"), |_| {
        expect_others(&site, &other);
        assert_eq!(login(&site, "root", &first.secret, -5), AUTH_ERR, "a used code stays used");
        assert_eq!(login(&site, "root", &first.secret, 0), SUCCESS, "the first app");
        match login(&site, "root", &second, 5) {
            SUCCESS => "new",
            AUTH_ERR => {
                site.admin_ok(&arguments, &format!("{second}\n"));
                assert_eq!(login(&site, "root", &second, 5), SUCCESS, "enrolled the second time");
                "old"
            }
            other => panic!("{other}"),
        }
    });
}

#[test]
fn enrolling_a_new_user_killed_at_every_write() {
    let site = Site::new();
    let (other, secret) = (site.enroll("daemon"), code::secret(90_002));
    let arguments = ["enroll", "app", "root", "--secret-stdin"];
    killed_at_every_write(&site, &arguments, &format!("{secret}\n"), |_| {
        expect_others(&site, &other);
        match login(&site, "root", &secret, 0) {
            SUCCESS => "new",
            AUTH_ERR => {
                site.admin_ok(&arguments, &format!("{secret}\n"));
                assert_eq!(login(&site, "root", &secret, 0), SUCCESS, "enrolled the second time");
                "old"
            }
            other => panic!("{other}"),
        }
    });
}

#[test]
fn new_recovery_codes_killed_at_every_write() {
    let site = Site::new();
    let (factor, other) = (site.enroll("root"), site.enroll("daemon"));
    let offer = |code: &str| {
        let plan = site.plan("root").say(code).answer(&Answer::Null).authenticate();
        site.run(&plan).done().code("authenticate")
    };
    assert_eq!(offer(&factor.recovery[0]), SUCCESS);
    killed_at_every_write(&site, &["recovery", "new", "root"], "", |_| {
        expect_others(&site, &other);
        assert_eq!(login(&site, "root", &factor.secret, 0), SUCCESS, "the app");
        assert_eq!(offer(&factor.recovery[0]), AUTH_ERR, "a used code stays used");
        if offer(&factor.recovery[1]) == SUCCESS {
            return "old";
        }
        let codes = site::recovery_codes(&site.admin_ok(&["recovery", "new", "root"], ""));
        assert_eq!(offer(&codes[0]), SUCCESS, "the next set");
        "new"
    });
}

#[test]
fn a_reset_killed_at_every_write() {
    let site = Site::new();
    let (factor, other) = (site.enroll("root"), site.enroll("daemon"));
    assert_eq!(login(&site, "root", &factor.secret, -5), SUCCESS);
    killed_at_every_write(&site, &["user", "reset", "root", "--yes"], "", |_| {
        expect_others(&site, &other);
        assert_eq!(login(&site, "root", &factor.secret, -5), AUTH_ERR, "a used code stays used");
        match login(&site, "root", &factor.secret, 0) {
            SUCCESS => "old",
            AUTH_ERR => "new",
            other => panic!("{other}"),
        }
    });
}

#[test]
fn removing_a_user_killed_at_every_write() {
    let site = Site::new();
    let (factor, other) = (site.enroll("root"), site.enroll("daemon"));
    let again = code::secret(90_003);
    killed_at_every_write(&site, &["user", "remove", "root", "--yes"], "", |_| {
        expect_others(&site, &other);
        match login(&site, "root", &factor.secret, 0) {
            SUCCESS => "old",
            AUTH_ERR => {
                // Whatever is left of the old account is no hindrance, and no help.
                site.enroll_with("root", &again);
                assert_eq!(login(&site, "root", &factor.secret, 5), AUTH_ERR);
                assert_eq!(login(&site, "root", &again, 6), SUCCESS);
                "new"
            }
            other => panic!("{other}"),
        }
    });
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

/// What of a login remains possible on a file system without a free byte, and on one that is read-only.
#[test]
fn a_full_disk_and_a_read_only_one() {
    let site = Site::empty();
    fs::create_dir(site.path("store")).unwrap();
    let folder = site.path("");
    site.write_policy(
        &site.policy().replace(
            &format!("{}twofa.db", folder.display()),
            &format!("{}store/twofa.db", folder.display()),
        ),
    );
    site.admin_ok(&["init", "--yes"], "");
    let factor = site.enroll("root");
    // Inside, nothing of the target folder is there.
    for (name, from) in [("driver", site::driver()), ("module.so", site::module())] {
        fs::copy(from, site.path(name)).unwrap();
    }
    site.write_lines(&site.path("module.so"), &format!("conf={}", site.path("twofa.toml").display()));
    let wrong = code::wrong(&factor.secret, site.time);
    let plans = [
        ("code", plan(&site, "root", &factor.secret, 0)),
        ("again", plan(&site, "root", &factor.secret, 0)),
        ("recovery", site.plan("root").say(&factor.recovery[0]).answer(&Answer::Null).authenticate()),
        ("wrong", site.plan("root").say(wrong).answer(&Answer::Null).authenticate()),
        ("read-only", plan(&site, "root", &factor.secret, 1)),
    ];
    for (name, plan) in &plans {
        fs::write(site.path(&format!("{name}.plan")), plan.print()).unwrap();
    }
    let result = in_a_small_world(&site);
    println!("{result:?}");
    let expected = [
        ("code", SUCCESS),
        ("again", AUTH_ERR),
        ("recovery", SUCCESS),
        ("wrong", AUTH_ERR),
        ("read-only", UNAVAILABLE),
    ];
    for (name, code) in expected {
        assert_eq!(result.get(name), Some(&code), "{name}: {result:?}");
    }
}

/// Runs full-disk.sh in a mount namespace, which also works without root: then the user is root in a
/// user namespace, and `/` has to be a file system of the user's own.
fn in_a_small_world(site: &Site) -> BTreeMap<String, i32> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/driver/full-disk.sh");
    // SAFETY: geteuid has no preconditions.
    #[allow(unsafe_code, reason = "who runs the tests")]
    let root = unsafe { libc::geteuid() } == 0;
    let options: &[&str] = if root { &["--mount"] } else { &["--mount", "--user", "--map-root-user"] };
    fs::create_dir(site.path("world")).unwrap();
    let output = Command::new("unshare")
        .args(options)
        .arg("sh")
        .arg(script)
        .arg(site.path(""))
        .output()
        .expect("unshare");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.map(|(name, code)| (name.to_owned(), code.trim().parse().unwrap())).collect()
}
