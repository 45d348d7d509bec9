//! A policy or a store that is broken refuses, and is left as it is.

use crate::{PERM_DENIED, SUCCESS, UNAVAILABLE};
use std::fs;
use std::fs::File;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;
use std::time::Instant;
use twofa_tests::driver::site;
use twofa_tests::driver::site::Factor;
use twofa_tests::driver::site::Site;

/// A refusal because the host is out of order: the same code in both phases, soon, and told and logged.
#[track_caller]
fn expect_unavailable(site: &Site, secret: &str, what: &str) {
    let plan = site.plan("root").say_code(secret, 0).authenticate().call("account");
    let begin = Instant::now();
    let seen = site.run(&plan).done();
    assert_eq!(seen.code("authenticate"), UNAVAILABLE, "{what}: {seen:?}");
    assert!(begin.elapsed() < Duration::from_secs(2), "{what}: {:?}", begin.elapsed());
    assert!(seen.texts().contains("administrator"), "{what}: {seen:?}");
    assert!(
        seen.codes("account").iter().all(|code| [PERM_DENIED, UNAVAILABLE].contains(code)),
        "{what}: {seen:?}"
    );
}

/// A way to break the policy file: its name, and what happens to the file.
type PolicyFault = (&'static str, Box<dyn Fn(&Path)>);

/// A policy with one thing in it replaced: (what is wrong, what stands there, what instead).
const WRONG_WORDS: [(&str, &str, &str); 14] = [
    ("unknown key", "mode =", "enforcment = true\nmode ="),
    ("unknown table", "[limits]", "[lmits]"),
    ("wrong type", "digits = 6", "digits = \"6\""),
    ("key twice", "mode =", "mode = \"off\"\nmode ="),
    ("another version", "version = 1", "version = 2"),
    ("no method", "methods = [\"app\"]", "methods = []"),
    ("unknown method", "methods = [\"app\"]", "methods = [\"pigeon\"]"),
    ("unknown mode", "\"enforce\"", "\"permissive\""),
    ("no limit", "failures = 5", "failures = 0"),
    ("no prompts", "prompts = 3", "prompts = 0"),
    ("more than NIST allows", "total = 50", "total = 101"),
    ("no window", "window = \"15m\"", "window = \"0m\""),
    ("skew of an hour", "skew = 1", "skew = 120"),
    ("relative path", "path = \"/", "path = \""),
];

/// What is wrong, and what makes it so.
type Breakage = (&'static str, fn(&Path));

/// What is no file that the module may read, made of a good one.
const WRONG_FILES: [Breakage; 10] = [
    ("missing", |path| fs::remove_file(path).unwrap()),
    ("empty", |path| site::write(path, 0o644, b"")),
    ("garbage", |path| site::write(path, 0o644, b"\x7fELF\0\0\0")),
    ("no UTF-8", |path| site::write(path, 0o644, b"version = 1 # \xff\xfe\n")),
    ("10 MiB", |path| {
        let long = [fs::read(path).unwrap(), b"#".repeat(10 << 20)].concat();
        site::write(path, 0o644, &long);
    }),
    ("directory", |path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    }),
    ("FIFO", |path| {
        fs::remove_file(path).unwrap();
        make_fifo(path);
    }),
    ("symbolic link", |path| {
        fs::rename(path, path.with_extension("real")).unwrap();
        symlink(path.with_extension("real"), path).unwrap();
    }),
    ("writable by all", |path| set_mode(path, 0o666)),
    ("writable by the group", |path| set_mode(path, 0o664)),
];

/// Files that are no policy.
fn policy_faults(site: &Site) -> Vec<PolicyFault> {
    let good = site.policy();
    let words = WRONG_WORDS.map(|(name, from, to)| -> PolicyFault {
        assert!(good.contains(from), "{from}");
        let text = good.replace(from, to);
        (name, Box::new(move |path| site::write(path, 0o644, text.as_bytes())))
    });
    let files = WRONG_FILES.map(|(name, break_it)| -> PolicyFault { (name, Box::new(break_it)) });
    words.into_iter().chain(files).collect()
}

fn make_fifo(path: &Path) {
    let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: a C string.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o644) }, 0);
}

fn remove_anything(path: &Path) {
    let _ = fs::remove_dir_all(path);
    let _ = fs::remove_file(path);
}

/// Removes the copies of the policy, so that there is only the file itself.
fn forget_copy(site: &Site) {
    remove_anything(&site.path("twofa.toml.last-valid"));
}

#[test]
fn without_a_valid_policy_nobody_gets_in() {
    let site = Site::new();
    let factor = site.enroll("root");
    for (name, break_it) in policy_faults(&site) {
        remove_anything(&site.path("twofa.toml"));
        site.write_policy(&site.policy());
        forget_copy(&site);
        break_it(&site.path("twofa.toml"));
        let before = site.logged().len();
        expect_unavailable(&site, &factor.secret, name);
        // authpriv.alert is 81.
        let logged = &site.logged()[before..];
        assert!(
            logged.iter().any(|line| line.starts_with("<81>") && line.contains("twofa.toml")),
            "{name}: {logged:?}"
        );
    }
    remove_anything(&site.path("twofa.toml"));
    site.write_policy(&site.policy());
    assert_eq!(site.login("root", &factor.secret, 0), SUCCESS, "it was the policy each time");
}

#[test]
fn the_last_valid_policy_stays_in_force() {
    let site = Site::new();
    let factor = site.enroll("root");
    // `init` kept it, as every command of an administrator does.
    let copy = site.path("twofa.toml.last-valid");
    assert_eq!(fs::read_to_string(&copy).unwrap(), site.policy());
    for (step, (name, break_it)) in (0..).zip(policy_faults(&site)) {
        remove_anything(&site.path("twofa.toml"));
        site.write_policy(&site.policy());
        break_it(&site.path("twofa.toml"));
        let before = site.logged().len();
        assert_eq!(site.login("root", &factor.secret, step), SUCCESS, "{name}");
        let logged = &site.logged()[before..];
        assert!(logged.iter().any(|line| line.starts_with("<81>")), "{name}: {logged:?}");
    }
    // The copy is no way around its own checks.
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o666)).unwrap();
    expect_unavailable(&site, &factor.secret, "a copy that others can change");
}

/// An editor or a deployment replaces the file while people log in: each login goes by one whole version.
#[test]
fn the_policy_is_replaced_during_logins() {
    const TIMES: usize = 300;
    let site = Site::new();
    let factor = site.enroll("root");
    forget_copy(&site);
    let other = site.policy().replace("prompts = 3", "prompts = 4");
    let plan = site.plan("root").with("mode", "repeat").with("times", TIMES.to_string()).with("step", "30");
    let plan = plan.say_code(&factor.secret, 0);
    let replaced = std::thread::scope(|scope| {
        let logins = scope.spawn(|| site.run(&plan).done().histogram());
        let mut replaced = 0;
        while !logins.is_finished() {
            let text = if replaced % 2 == 0 { &other } else { &site.policy() };
            site::write(&site.path("new"), 0o644, text.as_bytes());
            fs::rename(site.path("new"), site.path("twofa.toml")).unwrap();
            replaced += 1;
        }
        let outcomes = logins.join().unwrap();
        let said =
            || site.logged().into_iter().filter(|line| !line.contains("accepted app")).collect::<Vec<_>>();
        assert_eq!(outcomes, [(SUCCESS, TIMES)].into(), "{:#?}", said());
        replaced
    });
    assert!(replaced > TIMES / 10, "{replaced} replacements in {TIMES} logins");
}

#[test]
fn folders_that_others_can_change() {
    let site = Site::new();
    let factor = site.enroll("root");
    fs::set_permissions(site.path(""), fs::Permissions::from_mode(0o777)).unwrap();
    expect_unavailable(&site, &factor.secret, "a folder that all can write");
    // A sticky one keeps others from our files, but SQLite would also open theirs: a journal, say.
    fs::set_permissions(site.path(""), fs::Permissions::from_mode(0o1777)).unwrap();
    expect_unavailable(&site, &factor.secret, "a sticky folder with the database in it");
    fs::set_permissions(site.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(site.login("root", &factor.secret, 0), SUCCESS, "it was the folder each time");
    fs::set_permissions(site.path("state"), fs::Permissions::from_mode(0o777)).unwrap();
    expect_unavailable(&site, &factor.secret, "records that all can replace");
}

/// One way a store can be broken. What is broken is put back afterwards from a copy.
type Fault = (&'static str, &'static str, fn(&Path));

const STORE_FAULTS: [Fault; 20] = [
    ("key missing", "store.key", |path| fs::remove_file(path).unwrap()),
    ("key of 31 bytes", "store.key", |path| cut(path, 31)),
    ("key of 33 bytes", "store.key", |path| fs::write(path, [7; 33]).unwrap()),
    ("key of zeros", "store.key", |path| fs::write(path, [0; 32]).unwrap()),
    ("empty key", "store.key", |path| cut(path, 0)),
    ("key that others read", "store.key", |path| set_mode(path, 0o644)),
    ("key that is a link", "store.key", |path| {
        fs::copy(path, path.with_extension("real")).unwrap();
        fs::remove_file(path).unwrap();
        symlink(path.with_extension("real"), path).unwrap();
    }),
    ("database missing", "twofa.db", |path| fs::remove_file(path).unwrap()),
    ("database empty", "twofa.db", |path| cut(path, 0)),
    ("database cut in a page", "twofa.db", |path| {
        cut(path, fs::metadata(path).unwrap().len() as usize / 2 + 100)
    }),
    ("database header gone", "twofa.db", |path| overwrite(path, 0, &[0; 100])),
    ("database of random pages", "twofa.db", |path| overwrite(path, 100, &[0xa5; 8000])),
    ("database that others write", "twofa.db", |path| set_mode(path, 0o666)),
    ("database that is a FIFO", "twofa.db", |path| {
        fs::remove_file(path).unwrap();
        make_fifo(path);
    }),
    ("record missing", "state/0", |path| fs::remove_file(path).unwrap()),
    ("record empty", "state/0", |path| cut(path, 0)),
    ("record cut", "state/0", |path| cut(path, 4000)),
    ("record of zeros", "state/0", |path| overwrite(path, 0, &[0; 8192])),
    ("record of garbage", "state/0", |path| overwrite(path, 0, &[0x5a; 8192])),
    ("record that others write", "state/0", |path| set_mode(path, 0o622)),
];

fn cut(path: &Path, length: usize) {
    let bytes = fs::read(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(path, &bytes[..length]).unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn overwrite(path: &Path, start: usize, with: &[u8]) {
    let mut bytes = fs::read(path).unwrap();
    let end = bytes.len().min(start + with.len());
    bytes[start..end].copy_from_slice(&with[..end - start]);
    fs::write(path, bytes).unwrap();
}

#[test]
fn with_a_broken_store_nobody_gets_in() {
    let site = Site::new();
    // uid 0, so that the record's name is known.
    let factor = site.enroll("root");
    for (name, file, break_it) in STORE_FAULTS {
        let path = site.path(file);
        let (bytes, mode) = (fs::read(&path).unwrap(), fs::metadata(&path).unwrap().permissions().mode());
        if name == "key of 33 bytes" || name == "key of zeros" || name.starts_with("key of 31") {
            set_mode(&path, 0o600);
        }
        break_it(&path);
        let broken = fs::metadata(&path).is_ok_and(|meta| meta.is_file()).then(|| fs::read(&path).unwrap());
        expect_unavailable(&site, &factor.secret, name);
        // Nothing is repaired, emptied or made anew on the way.
        let after = fs::metadata(&path).is_ok_and(|meta| meta.is_file()).then(|| fs::read(&path).unwrap());
        assert!(broken == after, "{name}: the login changed the file");
        remove_anything(&path);
        site::write(&path, mode & 0o7777, &bytes);
    }
    assert_eq!(site.login("root", &factor.secret, 0), SUCCESS, "it was the fault each time");
}

#[test]
fn a_newer_store_is_left_alone() {
    let site = Site::new();
    let factor = site.enroll("root");
    let path = site.path("twofa.db");
    let mut bytes = fs::read(&path).unwrap();
    // `PRAGMA user_version` is a big-endian number at byte 60 of the file (SQLite's file format, 1.3).
    let version = u32::from_be_bytes(bytes[60..64].try_into().unwrap());
    bytes[60..64].copy_from_slice(&(version + 1).to_be_bytes());
    fs::write(&path, &bytes).unwrap();
    expect_unavailable(&site, &factor.secret, "newer schema");
    assert!(fs::read(&path).unwrap() == bytes, "the login changed a newer store");
    assert!(!site.admin(&["user", "list"], "").status.success());
    assert!(fs::read(&path).unwrap() == bytes, "twofa-admin changed a newer store");
}

#[test]
fn a_record_that_somebody_holds() {
    let site = Site::new();
    let Factor { secret, .. } = site.enroll("root");
    let record = File::options().read(true).write(true).open(site.path("state/0")).unwrap();
    record.lock().unwrap();
    let begin = Instant::now();
    let stuck = site.login("root", &secret, 0);
    let waited = begin.elapsed();
    assert_eq!(stuck, UNAVAILABLE, "held for good");
    assert!(waited < Duration::from_secs(8), "{waited:?}");
    let letting_go = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(2));
        drop(record);
    });
    assert_eq!(site.login("root", &secret, 0), SUCCESS, "held for two seconds");
    letting_go.join().unwrap();
}
