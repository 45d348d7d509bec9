//! Logins on a disk without a free byte, and on one that is read-only.

use crate::{AUTH_ERR, SUCCESS, UNAVAILABLE, plan};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use twofa_tests::driver::code;
use twofa_tests::driver::pam::Answer;
use twofa_tests::driver::plan::Plan;
use twofa_tests::driver::site::{self, Site};

/// What of a login remains possible on a file system without a free byte, and on one that is read-only.
#[test]
fn a_full_disk_and_a_read_only_one() {
    let site = Site::empty();
    make_store_apart(&site, &site.policy());
    let factor = site.enroll("root");
    write_inner_stack(&site);
    let wrong = code::wrong(&factor.secret, site.time);
    let plans = [
        ("code", plan(&site, "root", &factor.secret, 0)),
        ("again", plan(&site, "root", &factor.secret, 0)),
        ("recovery", site.plan("root").say(&factor.recovery[0]).answer(&Answer::Null).authenticate()),
        ("wrong", site.plan("root").say(wrong).answer(&Answer::Null).authenticate()),
        ("read-only", plan(&site, "root", &factor.secret, 1)),
    ];
    let result = in_a_small_world(&site, &plans);
    let expected = [
        ("code", SUCCESS),
        ("again", AUTH_ERR),
        ("recovery", SUCCESS),
        ("wrong", AUTH_ERR),
        ("read-only", UNAVAILABLE),
    ];
    for (name, code) in expected {
        assert_eq!(result.get(name), Some(&code.into()), "{name}: {result:?}");
    }
}

/// A code is sent and accepted on a full disk; where nothing can be counted, nothing is sent.
#[test]
fn a_code_is_sent_on_a_full_disk_and_not_on_a_read_only_one() {
    let site = Site::sending_empty();
    make_store_apart(&site, &site.sending_policy(&["sms", "app"]));
    let factor = site.enroll("root");
    site.contact("root", &["--phone", "+48600000123"]);
    write_inner_stack(&site);
    let at = |second: i64| site.plan("root").at(site.time + second);
    let wrong = || Answer::WrongSent;
    let app = |plan: Plan| plan.say_code(&factor.secret, 0);
    let plans = [
        ("sms", at(0).say_sent().answer(&Answer::Null).authenticate()),
        ("again", at(60).answer(&Answer::Sent(1)).answer(&Answer::Null).authenticate()),
        ("wrong", at(120).answer(&wrong()).answer(&wrong()).say_sent().authenticate()),
        ("too-soon", app(at(121)).answer(&Answer::Null).authenticate()),
        ("read-only", app(at(900)).answer(&Answer::Null).authenticate()),
    ];
    let result = in_a_small_world(&site, &plans);
    let expected = [
        ("sms", SUCCESS),
        ("again", AUTH_ERR),
        ("wrong", SUCCESS),
        ("too-soon", SUCCESS),
        ("read-only", UNAVAILABLE),
    ];
    for (name, code) in expected {
        assert_eq!(result.get(name), Some(&code.into()), "{name}: {result:?}");
    }
    assert_eq!((result["growth"], result["messages"]), (0, 3), "{result:?}");
}

/// The store in a folder of its own.
fn make_store_apart(site: &Site, policy: &str) {
    fs::create_dir(site.path("store")).unwrap();
    let folder = site.path("");
    let [from, to] = ["", "store/"].map(|inside| format!("{}{inside}twofa.db", folder.display()));
    assert!(policy.contains(&from), "{from} in {policy}");
    site.write_policy(&policy.replace(&from, &to));
    site.admin_ok(&["init", "--yes"], "");
}

/// Inside, nothing of the target folder is there.
fn write_inner_stack(site: &Site) {
    for (name, from) in [("driver", site::driver()), ("module.so", site::module())] {
        fs::copy(from, site.path(name)).unwrap();
    }
    site.write_lines(&site.path("module.so"), &format!("conf={}", site.path("twofa.toml").display()));
}

/// Runs full-disk.sh in a mount namespace, which also works without root: then the user is root in a
/// user namespace, and `/` has to be a file system of the user's own.
fn in_a_small_world(site: &Site, plans: &[(&str, Plan)]) -> BTreeMap<String, i64> {
    for (name, plan) in plans {
        fs::write(site.path(&format!("{name}.plan")), plan.print()).unwrap();
    }
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
        .args(plans.iter().map(|(name, _)| name))
        .output()
        .expect("unshare");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    println!("{text}");
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.map(|(name, code)| (name.to_owned(), code.trim().parse().unwrap())).collect()
}
