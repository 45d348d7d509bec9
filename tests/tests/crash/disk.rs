//! Logins on a disk without a free byte, and on one that is read-only.

use crate::{AUTH_ERR, SUCCESS, UNAVAILABLE, plan};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use twofa_tests::driver::code;
use twofa_tests::driver::pam::Answer;
use twofa_tests::driver::site::{self, Site};

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
