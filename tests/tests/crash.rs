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
use twofa_tests::driver::inject::{self, Call};
use twofa_tests::driver::pam::Answer;
use twofa_tests::driver::site::{self, Factor, Site};
use twofa_tests::driver::{code, plan::Plan};

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
            assert_eq!((run.done().code("authenticate"), again), (SUCCESS, AUTH_ERR), "not killed at {call:?}");
            continue;
        }
        *outcomes.entry(again).or_default() += 1;
        // Once it is spent at one call, it is at all later ones.
        assert!(spent_since.is_none() || again == AUTH_ERR, "{call:?}: unspent again");
        spent_since = spent_since.or((again == AUTH_ERR).then_some(call));
    }
    expect_sound(&site);
    println!("login: {} calls; after a kill, the code again: {outcomes:?}, spent from {spent_since:?}", calls.len());
    // The first call after the write in place is the one that waits for the disk.
    assert_eq!(spent_since.map(|call| call.name.as_str()), Some("fdatasync"), "where the commit is");
    assert!(outcomes.values().sum::<usize>() * 10 > calls.len() * 9, "killed nearly everywhere: {outcomes:?}");
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
fn failing_login(site: &Site, secret: &str, step: i64, (name, error, nth): (&str, &str, usize), files: &[PathBuf]) -> Option<i32> {
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
    let output = site.admin_with(arguments, input, &inject::watch(&report));
    assert!(output.status.success(), "{output:?}");
    let mut outcomes = BTreeMap::<&str, usize>::new();
    let calls: Vec<_> = inject::calls(&report).into_iter().filter(|call| inject::changes_something(&call.name)).collect();
    for (number, call) in calls.iter().enumerate() {
        before.put_back(site);
        let output = site.admin_with(arguments, input, &inject::kill(call));
        let killed = output.status.signal() == Some(9);
        assert!(killed || output.status.success(), "{arguments:?}: {output:?}");
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(killed)));
        let outcome = outcome.unwrap_or_else(|_| panic!("{arguments:?} killed at {call:?} (see above)"));
        if number % 10 == 0 {
            expect_sound(site);
        }
        assert!(killed || outcome == "new", "{arguments:?} said it was done");
        *outcomes.entry(outcome).or_default() += 1;
    }
    println!("{arguments:?}: {} kills; afterwards: {outcomes:?}", calls.len());
    let both = ["old", "new"].iter().all(|outcome| outcomes.contains_key(outcome));
    assert!(both, "both sides of the change were met: {outcomes:?}, {calls:?}");
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
    killed_at_every_write(&site, &["recovery", "new", "root"], "saved\n", |_| {
        expect_others(&site, &other);
        assert_eq!(login(&site, "root", &factor.secret, 0), SUCCESS, "the app");
        assert_eq!(offer(&factor.recovery[0]), AUTH_ERR, "a used code stays used");
        if offer(&factor.recovery[1]) == SUCCESS {
            return "old";
        }
        let codes = site::recovery_codes(&site.admin_ok(&["recovery", "new", "root"], "saved\n"));
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
