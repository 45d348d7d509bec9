//! A change by an administrator that is killed: afterwards it is made, or it is not.

use crate::{AUTH_ERR, SUCCESS, expect_sound, login};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use twofa_tests::driver::code;
use twofa_tests::driver::inject;
use twofa_tests::driver::pam::Answer;
use twofa_tests::driver::site::{self, Factor, Site};

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
    let calls: Vec<_> =
        inject::calls(&report).into_iter().filter(|call| inject::changes_something(&call.name)).collect();
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

/// One file for a user who has an account and one who has none: both are taken over, or neither is.
#[test]
fn an_import_killed_at_every_write() {
    let site = Site::new();
    let (first, other) = (site.enroll("root"), site.enroll("daemon"));
    assert_eq!(login(&site, "root", &first.secret, -5), SUCCESS);
    let secrets = [90_004, 90_005].map(code::secret);
    let hex =
        |secret: &str| code::base32(secret).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let [old, new] = [0, 1].map(|at: usize| hex(&secrets[at]));
    let file = site.path("users.oath");
    site::write(&file, 0o600, format!("HOTP/T30 root - {old}\nHOTP/T30 bin - {new}\n").as_bytes());
    let file = file.to_string_lossy().into_owned();
    let arguments = ["import", "oath", &file, "--yes"];
    killed_at_every_write(&site, &arguments, "", |_| {
        expect_others(&site, &other);
        assert_eq!(login(&site, "root", &first.secret, -5), AUTH_ERR, "a used code stays used");
        assert_eq!(login(&site, "root", &first.secret, 0), SUCCESS, "the first app");
        // What could have been used elsewhere until now is used.
        assert_eq!(login(&site, "root", &secrets[0], 0), AUTH_ERR, "a code of now");
        let opens = |step| {
            [("root", 0), ("bin", 1)].map(|(user, at)| login(&site, user, &secrets[at], step) == SUCCESS)
        };
        match opens(6) {
            [true, true] => "new",
            [false, false] => {
                site.admin_ok(&arguments, "");
                assert_eq!(opens(8), [true, true], "taken over the second time");
                "old"
            }
            half => panic!("one without the other: {half:?}"),
        }
    });
}

/// A thousand users of one list, of whom half have accounts: all of it is done, or nothing is.
#[test]
fn a_list_of_a_thousand_killed_anywhere() {
    const KILLS: usize = 10;
    let site = Site::new();
    let list = |name: &str, users: usize, prefix: &str| {
        let line = |number: usize| format!("t{number:06},{prefix}{number:07}\n");
        let path = site.path(name);
        site::write(
            &path,
            0o600,
            format!("user,phone\n{}", (0..users).map(line).collect::<String>()).as_bytes(),
        );
        path.to_string_lossy().into_owned()
    };
    let (first, second) = (list("first.csv", 500, "+4860"), list("second.csv", 1000, "+4861"));
    site.admin_ok(&["user", "import", &first, "--yes"], "");
    let before = Snapshot::take(&site);
    let export = || site.admin_ok(&["user", "export"], "");
    let old = export();
    let arguments = ["user", "import", &second, "--yes"];
    let report = site.path("strace");
    assert!(site.admin_with(&arguments, "", &inject::watch(&report)).status.success());
    let new = export();
    assert_eq!([&old, &new].map(|text| text.lines().count()), [501, 1001]);
    let calls: Vec<_> =
        inject::calls(&report).into_iter().filter(|call| inject::changes_something(&call.name)).collect();
    let mut met = [0, 0];
    for call in calls.iter().step_by(calls.len() / KILLS) {
        before.put_back(&site);
        let output = site.admin_with(&arguments, "", &inject::kill(call));
        assert_eq!(output.status.signal(), Some(9), "{call:?}: {output:?}");
        let now = export();
        assert!(
            now == old || now == new,
            "half of it is done: {} lines, killed at {call:?}",
            now.lines().count()
        );
        met[usize::from(now == new)] += 1;
        expect_sound(&site);
    }
    assert!(met.iter().all(|times| *times > 0), "both sides of the change were met: {met:?}");
    site.admin_ok(&arguments, "");
    assert_eq!(export(), new, "the second time");
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
