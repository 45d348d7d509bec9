//! What other programs read or run: figures for Prometheus, an editor for the policy, completions for shells.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken test says so and stops"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use twofa_tests::driver::site::{self, Site};
use twofa_tests::setup::POLICY;
use twofa_tests::world::{World, artifact};

// metrics

/// The samples of a text in the exposition format of Prometheus, by name and labels. Each name has one HELP and one
/// TYPE, before its samples.
#[track_caller]
fn samples(text: &str) -> BTreeMap<String, u64> {
    assert!(text.ends_with('\n'), "{text:?}");
    let (mut samples, mut known) = (BTreeMap::new(), BTreeSet::new());
    let mut announced: Vec<&str> = Vec::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let [kind, name, rest] = comment.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            match kind {
                "HELP" => assert!(known.insert(name) && rest.ends_with('.'), "{line}"),
                "TYPE" => assert_eq!(rest, "gauge", "{line}"),
                _ => panic!("{line}"),
            }
            announced.push(name);
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        let name = sample.split('{').next().unwrap();
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{line}");
        assert!(name.starts_with("twofa_") && !name.ends_with("_total"), "{line}: a gauge");
        assert!(announced.ends_with(&[name]), "{line} is not behind its TYPE");
        assert_eq!(announced.iter().filter(|known| **known == name).count(), 2, "{line}");
        let labels = &sample[name.len()..];
        let inner = labels.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let is_label = |label: &str| label.split_once("=\"").is_some_and(|(_, value)| value.ends_with('"'));
        assert!(labels.is_empty() || inner.is_some_and(is_label), "{line}");
        assert!(samples.insert(sample.to_owned(), value.parse().unwrap()).is_none(), "{line} twice");
    }
    samples
}

#[test]
fn a_small_host_has_the_right_figures() {
    let users = ["alice", "bob", "carol", "dave", "robot"];
    let world = users.iter().fold(World::new(), |world, user| world.user(user, "pw"));
    let exempt = "[[exempt]]\nuser = \"robot\"\nreason = \"r\"\nuntil = 2100-01-01\n";
    let world = world.policy(&format!("{POLICY}{exempt}"));
    // One of whom nothing is asked makes up for nobody.
    for user in ["alice", "bob", "root", "robot"] {
        world.enroll(user);
    }
    world.admin(&["user", "bypass", "bob", "--for", "1h", "--reason", "r"]).ok();
    world.admin(&["user", "add", "carol"]).ok();
    let printed = world.admin(&["metrics"]).ok();
    let found = samples(&printed);
    let expected = [
        ("twofa_policy_valid", 1),
        ("twofa_mode{mode=\"enforce\"}", 1),
        ("twofa_mode{mode=\"observe\"}", 0),
        ("twofa_mode{mode=\"off\"}", 0),
        ("twofa_store_sound", 1),
        ("twofa_accounts", 5),
        ("twofa_accounts_unreadable", 0),
        ("twofa_accounts_locked", 0),
        ("twofa_accounts_few_recovery_codes", 0),
        ("twofa_bypasses_open", 1),
        ("twofa_exemptions_ending", 0),
        ("twofa_would_be_refused", 0),
        ("twofa_users{standing=\"enrolled\"}", 3),
        ("twofa_users{standing=\"refused\"}", 2),
        ("twofa_users{standing=\"let-in-without\"}", 0),
    ];
    for (name, value) in expected {
        assert_eq!(found.get(name), Some(&value), "{name}: {printed}");
    }
    // Names of users are nobody's business who reads figures.
    assert!(users.iter().all(|user| !printed.contains(user)), "{printed}");

    world.run(&["mkdir", "-p", "/var/lib/node-exporter"]).ok();
    let file = "/var/lib/node-exporter/twofa.prom";
    world.write(file, "old\n");
    assert_eq!(world.admin(&["metrics", "--textfile", file]).ok(), "");
    assert_eq!(samples(&fs::read_to_string(world.path(file)).unwrap()), found);
    let names: Vec<_> = fs::read_dir(world.path("/var/lib/node-exporter")).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
    let mode = fs::metadata(world.path(file)).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o644);
    // Not into a folder where somebody else could put another file in its place, nor where there is none.
    world.run(&["chmod", "777", "/var/lib/node-exporter"]).ok();
    assert!(world.admin(&["metrics", "--textfile", file]).expect(1).stderr.contains("changed by others"));
    world.admin(&["metrics", "--textfile", "/nowhere/twofa.prom"]).expect(1);
}

#[test]
fn what_is_broken_is_a_figure_too() {
    let site = Site::new();
    site.enroll("root");
    let _ = site.admin(&["policy", "check"], "");
    let figures = || samples(&site.admin_ok(&["metrics"], ""));
    assert_eq!(figures()["twofa_policy_valid"], 1);
    let good = fs::read_to_string(site.path("twofa.toml")).unwrap();
    site.write_policy(&format!("{good}\nnonsense"));
    let found = figures();
    assert_eq!((found["twofa_policy_valid"], found["twofa_accounts"]), (0, 1));
    site.write_policy(&good);
    fs::write(site.path("state/0"), "x".repeat(8192)).unwrap();
    let found = figures();
    assert_eq!((found["twofa_accounts"], found["twofa_accounts_unreadable"]), (0, 1), "{found:?}");
    fs::write(site.path("twofa.db"), "x".repeat(8192)).unwrap();
    let found = figures();
    assert_eq!((found["twofa_policy_valid"], found["twofa_store_sound"]), (1, 0), "{found:?}");
    assert_eq!(found.get("twofa_accounts"), None);
    fs::remove_file(site.path("twofa.toml")).unwrap();
    fs::remove_file(site.path("twofa.toml.last-valid")).unwrap();
    assert_eq!(figures(), BTreeMap::from([("twofa_policy_valid".into(), 0)]));
}

/// Enforcement that nobody confirmed is none, whatever the file says.
#[test]
fn a_trial_that_is_over_is_observed() {
    let site = Site::new();
    site.enroll("root");
    site.write_policy(&site.policy().replace("enforce", "off"));
    site.admin_ok(&["policy", "enable", "--confirm-within", "1m", "--force"], "");
    let at = |second: i64| {
        let clock: [OsString; 2] = ["env".into(), format!("TWOFA_TEST_CLOCK=@{second}").into()];
        samples(&String::from_utf8(site.admin_with(&["metrics"], "", &clock).stdout).unwrap())
    };
    assert_eq!(at(site.time)["twofa_mode{mode=\"enforce\"}"], 1);
    let after = at(site.time + 600);
    let modes = ["enforce", "observe"].map(|mode| after[&format!("twofa_mode{{mode=\"{mode}\"}}")]);
    assert_eq!(modes, [0, 1]);
}

// policy edit

/// An editor that does this with the file `$1`.
fn editor(site: &Site, script: &str) {
    site::write(&site.path("editor"), 0o755, format!("#!/bin/sh\nset -e\n{script}\n").as_bytes());
}

fn edit_by(site: &Site, variables: &[&str], arguments: &[&str], input: &str) -> Output {
    let tool: Vec<OsString> = ["env"].iter().chain(variables).map(Into::into).collect();
    site.admin_with(&[&["policy", "edit"], arguments].concat(), input, &tool)
}

fn edit(site: &Site, arguments: &[&str], input: &str) -> Output {
    let variable = format!("EDITOR={}", site.path("editor").display());
    edit_by(site, &[&variable], arguments, input)
}

fn policy(site: &Site) -> String {
    fs::read_to_string(site.path("twofa.toml")).unwrap()
}

/// Texts that were not put in force, and are kept.
fn drafts(site: &Site) -> Vec<String> {
    let entries = fs::read_dir(site.path("")).unwrap().flatten().map(|entry| entry.path());
    entries.filter(|path| is_draft(path)).map(|path| fs::read_to_string(path).unwrap()).collect()
}

fn is_draft(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_str().unwrap();
    name.starts_with("twofa.") && name.contains("edit") || name.contains(".new-")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// root has an app; the policy has a comment.
fn office() -> Site {
    let site = Site::new();
    site.write_policy(&format!("# why we have it\n{}", site.policy()));
    site.enroll("root");
    site
}

const LESS: &str = "sed -i 's/^failures = 5/failures = 4 # less/' \"$1\"";

#[test]
fn a_policy_that_is_valid_is_put_in_force() {
    let site = office();
    editor(&site, LESS);
    let output = edit(&site, &[], "y\n");
    assert!(output.status.success(), "{output:?}");
    let told = said(&output);
    assert!(told.contains("- failures = 5\n+ failures = 4 # less\n"), "{told}");
    assert!(told.contains("Put this in force?"), "{told}");
    assert!(
        policy(&site).starts_with("# why we have it\n") && policy(&site).contains("failures = 4 # less\n")
    );
    assert_eq!(drafts(&site), [""; 0]);
    let mode = fs::metadata(site.path("twofa.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o644);
    assert!(site.admin_ok(&["audit", "--event", "policy-changed"], "").contains("what=edited"));
    // VISUAL comes first, and may have arguments of its own.
    let visual = format!("VISUAL={} --wait", site.path("visual").display());
    let script = "#!/bin/sh\n[ \"$1\" = --wait ] && sed -i 's/failures = 4/failures = 3/' \"$2\"\n";
    site::write(&site.path("visual"), 0o755, script.as_bytes());
    assert!(edit_by(&site, &[&visual, "EDITOR=/bin/false"], &[], "y\n").status.success());
    assert!(policy(&site).contains("failures = 3"));
}

#[test]
fn a_policy_that_is_not_valid_is_edited_again() {
    let site = office();
    let before = policy(&site);
    let script = "if grep -q oops \"$1\"; then sed -i 's/oops = 1/# mended/' \"$1\"; else echo 'oops = 1' >>\"$1\"; fi";
    editor(&site, script);
    let output = edit(&site, &[], "y\ny\n");
    assert!(output.status.success(), "{output:?}");
    let told = said(&output);
    assert!(told.contains("oops") && told.contains("Edit it again?"), "{told}");
    assert_eq!(policy(&site), format!("{before}# mended\n"));
    // What is given up is kept, and said where.
    editor(&site, "echo 'oops = 2' >>\"$1\"");
    let before = policy(&site);
    for answers in ["n\n", "", "y\nn\n"] {
        let output = edit(&site, &[], answers);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(policy(&site), before);
        let told = said(&output);
        let path = told.split("What you wrote is in ").nth(1).and_then(|rest| rest.split(".\n").next());
        let kept = fs::read_to_string(path.unwrap_or_else(|| panic!("{told}"))).unwrap();
        assert!(kept.contains("oops = 2"), "{kept}");
        fs::remove_file(path.unwrap()).unwrap();
    }
    editor(&site, "printf '\\377' >>\"$1\"");
    let output = edit(&site, &[], "");
    assert!(output.status.code() == Some(1) && said(&output).contains("What you wrote is in "), "{output:?}");
    assert_eq!(policy(&site), before);
}

#[test]
fn what_is_declined_or_not_changed_changes_nothing() {
    let site = office();
    let before = policy(&site);
    editor(&site, LESS);
    for answers in ["n\n", "\n", ""] {
        let output = edit(&site, &[], answers);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(policy(&site), before);
        assert!(drafts(&site).iter().all(|draft| draft.contains("failures = 4")), "{:?}", drafts(&site));
        assert!(said(&output).contains("What you wrote is in "), "{output:?}");
    }
    let kept = drafts(&site).len();
    assert_eq!(kept, 3);
    for script in [":", "touch \"$1\"", "cp \"$1\" \"$1.bak\"; mv \"$1.bak\" \"$1\""] {
        editor(&site, script);
        let output = edit(&site, &[], "");
        assert!(output.status.success() && said(&output).contains("Nothing was changed."), "{output:?}");
        assert_eq!((policy(&site), drafts(&site).len()), (before.clone(), kept));
    }
}

#[test]
fn an_editor_that_fails_changes_nothing() {
    let site = office();
    let before = policy(&site);
    for (script, keeps) in [("exit 1", 0), ("kill -9 $$", 0), ("echo '# more' >>\"$1\"; exit 3", 1)] {
        editor(&site, script);
        let output = edit(&site, &[], "y\ny\n");
        assert_eq!(output.status.code(), Some(1), "{script}: {output:?}");
        assert!(said(&output).contains("failed; nothing was changed"), "{script}: {output:?}");
        assert_eq!((policy(&site), drafts(&site).len()), (before.clone(), keeps), "{script}");
    }
    let output = edit_by(&site, &["EDITOR=/nowhere/vi"], &[], "y\n");
    assert!(output.status.code() == Some(1) && said(&output).contains("Set EDITOR"), "{output:?}");
    assert_eq!(policy(&site), before);
}

#[test]
fn what_somebody_else_changed_meanwhile_stays() {
    let site = office();
    let other = site.path("twofa.toml").display().to_string();
    editor(&site, &format!("{LESS}\necho '# somebody was here' >>{other}"));
    let output = edit(&site, &[], "y\n");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(said(&output).contains("was changed by somebody else meanwhile"), "{output:?}");
    let now = policy(&site);
    assert!(now.contains("# somebody was here") && now.contains("failures = 5"), "{now}");
    assert_eq!(drafts(&site).len(), 1);
}

/// Who keeps it from others goes on doing so.
#[test]
fn the_policy_stays_whose_it_was() {
    let site = office();
    let path = site.path("twofa.toml");
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let seen = site.path("seen");
    editor(&site, &format!("{LESS}\nstat -c %a \"$1\" >{}", seen.display()));
    assert!(edit(&site, &[], "y\n").status.success());
    assert_eq!(mode(), 0o600);
    assert_eq!(fs::read_to_string(seen).unwrap(), "600\n", "the draft");
    site.admin_ok(&["policy", "set", "limits.failures=3"], "");
    assert_eq!(mode(), 0o600);
    assert!(policy(&site).contains("failures = 3 # less\n"));
    // A link leads to what somebody else writes.
    let managed = site.path("managed.toml");
    fs::rename(&path, &managed).unwrap();
    std::os::unix::fs::symlink(&managed, &path).unwrap();
    editor(&site, "sed -i 's/failures = 3/failures = 4/' \"$1\"");
    let output = edit(&site, &[], "y\n");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(said(&output).contains("is a symbolic link") && path.is_symlink(), "{output:?}");
}

#[test]
fn who_would_be_locked_out_is_named_and_the_text_is_kept() {
    let site = Site::new();
    site.write_policy(&site.policy().replace("enforce", "observe"));
    let before = policy(&site);
    editor(&site, "sed -i 's/observe/enforce/' \"$1\"");
    let output = edit(&site, &[], "y\n");
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let told = said(&output);
    assert!(told.contains("\nroot ") && told.contains("Nothing was changed."), "{told}");
    assert!(told.contains("--force") && told.contains("What you wrote is in "), "{told}");
    assert_eq!(policy(&site), before);
    assert!(drafts(&site)[0].contains("enforce"));
    let output = edit(&site, &["--force"], "y\n");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(policy(&site), before.replace("observe", "enforce"));
    // A policy that is broken already is what an editor is for.
    site.write_policy(&format!("oops\n{before}"));
    editor(&site, "sed -i '/oops/d; s/observe/off/' \"$1\"");
    let output = edit(&site, &[], "y\n");
    assert!(output.status.success(), "{output:?}");
    assert!(policy(&site).contains("mode = \"off\""));
}

// completions

/// As head does.
#[test]
fn who_has_read_enough_is_told_nothing() {
    let admin = artifact("TWOFA_ADMIN", "twofa-admin");
    let script = "\"$0\" completions zsh | head -c 1 >/dev/null";
    let output = Command::new("sh").args(["-c", script]).arg(admin).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn completions_are_scripts_of_their_shells() {
    let site = Site::new();
    for (shell, checks) in [("bash", "bash"), ("zsh", "zsh"), ("fish", "fish")] {
        let script = site.admin_ok(&["completions", shell], "");
        let words = ["twofa-admin", "explain", "audit", "verify", "--confirm-within", "google-authenticator"];
        for word in words {
            // fish has options without their dashes.
            assert!(script.contains(word.trim_start_matches('-')), "{shell}: {word}");
        }
        assert!(!script.contains('\u{1b}') && !script.contains("manual page"), "{shell}");
        let file = site.path(&format!("completion.{shell}"));
        fs::write(&file, script).unwrap();
        // The other two are there on few machines.
        let checked = Command::new(checks).arg("-n").arg(&file).output();
        match checked {
            Ok(output) => assert!(output.status.success(), "{shell}: {output:?}"),
            Err(error) => assert_ne!(shell, "bash", "{error}"),
        }
    }
    let complete = format!(
        "set -eu; . {}; COMP_WORDS=(twofa-admin user by); COMP_CWORD=2; _twofa__admin twofa-admin by user; echo \"${{COMPREPLY[*]}}\"",
        site.path("completion.bash").display()
    );
    let output = Command::new("bash").args(["-c", &complete]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "bypass\n", "{output:?}");
}
