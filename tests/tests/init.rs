//! `twofa-admin init` as a guide: it writes the lines of PAM and sshd only after showing them, never leaves a host worse
//! than it was, and takes out again what it wrote.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};

use twofa_tests::setup::{CODE_PROMPT, PASSWORD_PROMPT};
use twofa_tests::world::{Ran, World};

const PAM_SSHD: &str = "/etc/pam.d/sshd";
const PAM_LOGIN: &str = "/etc/pam.d/login";
const CONFIG: &str = "/etc/ssh/sshd_config";
const DROP_IN: &str = "/etc/ssh/sshd_config.d/00-twofa.conf";
/// What the drop-in needs of sshd_config; the rest of Debian's is of no concern here.
const INCLUDE: &str = "Include /etc/ssh/sshd_config.d/*.conf\n";
const WRITE: [&str; 4] = ["twofa-admin", "init", "--yes", "--write"];
const UNDO: [&str; 4] = ["twofa-admin", "init", "--undo", "--yes"];

/// Debian as it comes, with the product installed.
fn debian() -> World {
    World::new().user("alice", "pw-alice")
}

fn text(world: &World, path: &str) -> String {
    // By the inside's own links.
    world.run(&["cat", path]).ok()
}

/// Every file of PAM and sshd: mode, owner and content.
fn files(world: &World) -> BTreeSet<String> {
    let list = "find /etc/pam.d /etc/ssh -exec stat -c '%n %a %u:%g %F' {} + && \
                find /etc/pam.d /etc/ssh -type f -exec md5sum {} +";
    world.run(&["sh", "-c", list]).ok().lines().map(str::to_owned).collect()
}

fn write(world: &World) -> Ran {
    world.run(&WRITE)
}

/// Nothing of PAM is changed, and why is said.
#[track_caller]
fn expect_left(world: &World, what: &str, why: &str) {
    let before = files(world);
    let ran = write(world).expect(3);
    assert!(
        ran.stdout.contains("NOT WRITTEN") || ran.stdout.contains("Neither PAM nor sshd"),
        "{what}: {ran:?}"
    );
    assert!(ran.stdout.contains(why), "{what}: {}", ran.stdout);
    assert_eq!(files(world), before, "{what}: {}", ran.stdout);
}

// The way through

#[test]
fn the_guide_leads_to_a_host_that_asks_for_a_second_factor() {
    let world = debian().user("bob", "pw-bob");
    let mut init = world.terminal(&["twofa-admin", "init"]);
    init.answer("Method [2]: ", "2");
    init.answer("(Enter: none) ", "");
    let shown = init.answer("Write this? [y/N]: ", "y");
    assert!(shown.contains("/etc/pam.d/sshd:"), "{shown}");
    let lines = [
        " + auth    [success=",
        "pubkey_is_first_factor",
        "@include common-auth",
        " + auth    required pam_twofa.so",
        " + account required pam_twofa.so",
    ];
    assert!(lines.iter().all(|line| shown.contains(line)), "{shown}");
    let shown = init.answer("Write this? [y/N]: ", "y");
    assert!(shown.contains("/etc/pam.d/login:") && !shown.contains("pubkey"), "{shown}");
    let shown = init.answer("Write this? [y/N]: ", "y");
    assert!(shown.contains(DROP_IN) && shown.contains(" + AuthenticationMethods publickey,"), "{shown}");
    init.expect("sshd goes by it once it is reloaded");
    init.expect("TWOFA ");
    init.expect("Nothing is enforced yet: the mode is off");
    init.expect("keep this root shell open");
    init.expect("twofa-admin policy enable --confirm-within 10m");
    init.expect("recovery code");
    init.expect("/etc/pam.d/sshd.twofa-backup, /etc/pam.d/login.twofa-backup");
    init.expect_end(0);

    // Nothing is enforced by the lines alone.
    let world = world.authorize_key(&["alice"]).start_sshd(INCLUDE);
    assert_eq!(world.ssh("alice").key().run("id -un").ok(), "alice\n");
    let mut ssh = world.ssh("bob").spawn("id -un");
    ssh.answer(PASSWORD_PROMPT, "pw-bob");
    ssh.expect("bob\n");

    let mut alice = world.enroll("alice").app;
    let mut bob = world.enroll("bob").app;
    world.admin(&["policy", "enable", "--force"]).ok();
    let mut by_key = world.ssh("alice").key().spawn("id -un");
    assert!(!by_key.answer(CODE_PROMPT, &alice.code()).contains("assword"));
    by_key.expect("alice\n");
    let mut by_password = world.ssh("bob").spawn("id -un");
    by_password.answer(PASSWORD_PROMPT, "pw-bob");
    by_password.answer(CODE_PROMPT, &bob.code());
    by_password.expect("bob\n");
    let mut console = world.console();
    console.answer("login: ", "bob");
    console.answer(PASSWORD_PROMPT, "pw-bob");
    console.answer(CODE_PROMPT, &bob.code());
    console.answer("$ ", "exit");
    console.end();
    let mut wrong = world.ssh("bob").option("NumberOfPasswordPrompts=1").spawn("id -un");
    wrong.answer(PASSWORD_PROMPT, "pw-bob");
    wrong.answer(CODE_PROMPT, &bob.wrong_code());
    wrong.expect("Wrong code.");
    world.ssh("alice").key().option("PreferredAuthentications=publickey").run("id").expect(255);
}

/// Also where sshd itself would be content with a key: the account line holds.
#[test]
fn the_account_line_refuses_a_key_alone() {
    let world = debian();
    write(&world).ok();
    world.enroll("alice");
    world.admin(&["policy", "enable", "--force"]).ok();
    let world = world.authorize_key(&["alice"]).start_sshd("AuthenticationMethods publickey\n");
    world.ssh("alice").key().run("id").expect(255);
    world.log.expect("reason=no-factor");
}

#[test]
fn without_a_terminal_answers_are_lines() {
    let world = debian();
    let before = text(&world, PAM_LOGIN);
    let ran = world.run_with_input(&["twofa-admin", "init"], "2\n\ny\nn\ny\n").expect(0);
    assert!(text(&world, PAM_SSHD).contains("pam_twofa.so") && text(&world, DROP_IN).contains("UsePAM yes"));
    assert_eq!(text(&world, PAM_LOGIN), before, "{}", ran.stdout);
    // What was declined is still told.
    assert!(ran.stdout.contains("Add to /etc/pam.d/sshd and /etc/pam.d/login:"), "{}", ran.stdout);
}

#[test]
fn who_says_no_keeps_every_file() {
    let world = debian();
    let before = files(&world);
    for answers in ["2\n\nn\nn\nn\n", "2\n\n\n\n\n", "2\n\n", "\n\nno\nnein\nY es\n"] {
        world.run_with_input(&["twofa-admin", "init"], answers);
        assert_eq!(files(&world), before, "{answers:?}");
    }
    let ran = world.admin(&["init", "--yes"]).ok();
    assert!(ran.contains("Add to /etc/pam.d/sshd"), "{ran}");
    assert_eq!(files(&world), before);
    world.admin(&["init", "--write"]).expect(2);
    assert_eq!(files(&world), before);
}

#[test]
fn a_mistyped_name_is_asked_for_again() {
    let world = debian();
    let mut init = world.terminal(&["twofa-admin", "init"]);
    init.answer("Method [2]: ", "2");
    init.answer("(Enter: none) ", "alcie");
    init.expect("there is no user `alcie` on this host");
    init.answer("(Enter: none) ", "");
    init.expect("Write this? [y/N]: ");
    // The policy is made by then.
    let ran = world.run_with_input(&["twofa-admin", "init"], "2\n").expect(1);
    assert!(ran.stderr.contains("stopped; neither PAM nor sshd was touched"), "{}", ran.stderr);
}

/// What the policy has is what Enter leaves; another number changes it.
#[test]
fn the_method_of_the_policy_is_the_default() {
    let world = debian();
    world.admin(&["init", "--yes"]).ok();
    let policy = || text(&world, "/etc/twofa/twofa.toml");
    let run = |answers: &str| world.run_with_input(&["twofa-admin", "init"], answers);
    for (typed, number, methods) in
        [("", 2, "app"), ("4", 2, "key"), ("", 4, "key"), ("2", 4, "app"), ("", 2, "app")]
    {
        let ran = run(&format!("{typed}\n"));
        assert!(ran.stderr.contains(&format!("Method [{number}]: ")), "{typed:?}: {ran:?}");
        assert!(policy().contains(&format!("methods = [\"{methods}\"]")), "{typed:?}: {}", policy());
    }
}

#[test]
fn what_is_told_to_do_next_fits_what_was_done() {
    let world = debian();
    let next = |ran: Ran| ran.stdout.split("Next:").nth(1).unwrap_or_default().to_owned();
    let declined = next(world.run_with_input(&["twofa-admin", "init"], "\n\nn\nn\nn\n").expect(0));
    assert!(declined.contains("Add what is shown above, or run `twofa-admin init` again"), "{declined}");
    let done = next(write(&world).expect(0));
    assert!(done.contains("Reload sshd") && !done.contains("Add what"), "{done}");
    // Nothing is left to be added.
    let ran = world.admin(&["init", "--yes"]).ok();
    assert!(
        ran.contains("All lines of PAM and settings of sshd are there.") && !ran.contains("Add to"),
        "{ran}"
    );
    world.run(&["rm", DROP_IN]).ok();
    let ran = world.admin(&["init", "--yes"]).ok();
    assert!(ran.contains(&format!("Write to {DROP_IN}")) && !ran.contains("Add to"), "{ran}");
    write(&world).ok();
    world.run(&["cp", "/etc/pam.d/login.twofa-backup", PAM_LOGIN]).ok();
    let ran = world.admin(&["init", "--yes"]).ok();
    assert!(ran.contains("Add to /etc/pam.d/") && !ran.contains("Write to"), "{ran}");
}

#[test]
fn a_second_run_changes_nothing() {
    let world = debian();
    write(&world).ok();
    let after = files(&world);
    let inodes = || [PAM_SSHD, PAM_LOGIN, DROP_IN].map(|path| fs::metadata(world.path(path)).unwrap().ino());
    let before = inodes();
    for _ in 0..2 {
        let ran = write(&world).ok();
        assert_eq!(ran.matches("all lines are there").count(), 2, "{ran}");
    }
    // Nor while the policy is enforced, which it may be by then.
    world.enroll("alice");
    world.admin(&["policy", "enable", "--force"]).ok();
    write(&world).ok();
    assert_eq!((files(&world), inodes()), (after, before));
}

/// What an administrator wrote by hand counts as well.
#[test]
fn only_what_is_missing_is_added() {
    let world = debian();
    let stack = text(&world, PAM_SSHD);
    let by_hand =
        stack.replace("@include common-auth\n", "@include common-auth\nauth required pam_twofa.so\n");
    world.write(PAM_SSHD, &by_hand);
    write(&world).ok();
    let written = text(&world, PAM_SSHD);
    assert_eq!(written.matches("pam_twofa.so").count(), 3, "{written}");
    assert!(written.contains("\nauth required pam_twofa.so\n"), "{written}");
    world.run(&UNDO).expect(0);
    assert_eq!(text(&world, PAM_SSHD), by_hand);
}

// With a package's profiles of pam-auth-update

const COMMON: [&str; 2] = ["/etc/pam.d/common-auth", "/etc/pam.d/common-account"];

fn packaged() -> World {
    let world = debian();
    for (name, text) in [
        ("twofa", include_str!("../../packaging/pam-configs/twofa")),
        ("twofa-pubkey", include_str!("../../packaging/pam-configs/twofa-pubkey")),
    ] {
        world.write(&format!("/usr/share/pam-configs/{name}"), text);
    }
    world
}

#[test]
fn profiles_take_the_place_of_lines_in_the_files_of_services() {
    let world = packaged();
    let before = files(&world);
    let ran = world.run_with_input(&["twofa-admin", "init"], "2\n\nn\n").expect(0);
    assert!(ran.stdout.contains(" + account [success=ok ignore=ignore default=die]"), "{}", ran.stdout);
    assert_eq!(files(&world), before, "who says no keeps every file\n{}", ran.stdout);

    let ran = write(&world).ok();
    assert_eq!(ran.matches("all lines are there").count(), 2, "{ran}");
    let [auth, account] = COMMON.map(|path| text(&world, path));
    assert!(auth.contains("[success=2 default=ignore]\tpam_twofa.so pubkey_is_first_factor"), "{auth}");
    assert_eq!((auth.matches("pam_twofa").count(), account.matches("pam_twofa").count()), (2, 1));
    assert!(!text(&world, PAM_SSHD).contains("pam_twofa") && world.path(DROP_IN).exists());
    let written = files(&world);
    write(&world).ok();
    assert_eq!(files(&world), written, "a second run changes nothing");

    let ran = world.run_with_input(&["twofa-admin", "init", "--undo"], "n\n").expect(3);
    assert!(ran.stdout.contains("NOT WRITTEN: the profiles of pam-auth-update: "), "{}", ran.stdout);
    assert_eq!(files(&world), written);
    let ran = world.run(&UNDO).expect(0);
    assert!(ran.stdout.contains(" - auth "), "{}", ran.stdout);
    assert_eq!(files(&world), before);
    // All that who removes the package sees of it.
    let told = format!("Taken out: the profiles of pam-auth-update, {DROP_IN}.\n");
    let reload = "Until sshd is reloaded (`systemctl reload ssh`), it asks users with an SSH key for a password too,\n";
    assert!(ran.stderr.contains(&told) && ran.stderr.contains(reload), "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 3, "{}", ran.stderr);
}

/// pam-auth-update does not touch what somebody has edited, and calls that a success.
#[test]
fn where_profiles_cannot_be_had_services_get_lines() {
    let world = packaged();
    world.run(&["sh", "-c", "sed -i '/^#/d' /etc/pam.d/common-*"]).ok();
    let before = files(&world);
    let ran = write(&world).ok();
    assert!(ran.contains("somebody has edited them"), "{ran}");
    assert!(text(&world, PAM_SSHD).contains("pam_twofa") && !text(&world, COMMON[0]).contains("pam_twofa"));
    world.run(&UNDO).expect(0);
    assert_eq!(files(&world), before);
}

/// Both would ask twice.
#[test]
fn lines_that_are_there_keep_profiles_out() {
    let world = debian();
    write(&world).ok();
    let before = files(&world);
    for name in ["twofa", "twofa-pubkey"] {
        let text =
            "Name: x\nDefault: no\nPriority: 1\nAuth-Type: Additional\nAuth:\n\toptional pam_twofa.so\n";
        world.write(&format!("/usr/share/pam-configs/{name}"), text);
    }
    write(&world).ok();
    assert_eq!(files(&world), before);
}

/// The doctor's word, after the fact: what it does not like is taken back.
#[test]
fn profiles_that_would_lock_somebody_out_are_taken_back() {
    let world = packaged();
    // From a key, over the password, to pam_deny.
    let profile = world.path("/usr/share/pam-configs/twofa-pubkey");
    let odd = fs::read_to_string(&profile).unwrap().replace("success=end", "success=1");
    fs::write(profile, odd).unwrap();
    let before = files(&world);
    let ran = write(&world).expect(3);
    assert!(ran.stdout.contains("NOT WRITTEN: with the lines in common-auth, "), "{}", ran.stdout);
    assert_eq!(files(&world), before, "{}", ran.stdout);
}

/// It was there before, some lines further up.
#[test]
fn an_old_lockout_is_not_held_against_the_lines() {
    const GONE: &str = "auth required pam_gone.so\n";
    let world = packaged();
    world.append(COMMON[0], GONE);
    let ran = write(&world).expect(0);
    assert!(
        ran.stdout.contains("pam-auth-update has written them.") && ran.stdout.contains("pam_gone.so` names")
    );
    assert!(text(&world, COMMON[0]).contains("pam_twofa.so"), "{}", ran.stdout);
    let world = debian();
    world.append(PAM_LOGIN, GONE);
    let ran = write(&world).expect(0);
    assert!(text(&world, PAM_LOGIN).contains("pam_twofa.so"), "{}", ran.stdout);
}

/// pam-auth-update lets the first profile ask for the password: ours, and all others are told to take what was typed.
#[test]
fn profiles_that_leave_nobody_to_ask_for_the_password_are_taken_back() {
    let world = packaged();
    world
        .run(&["sh", "-c", "cd $(dirname $(find /usr/lib -name pam_unix.so)) && cp pam_unix.so pam_ldap.so"])
        .ok();
    world.write(
        "/usr/share/pam-configs/ldap",
        "Name: LDAP Authentication\nDefault: yes\nPriority: 128\nAuth-Type: Primary\n\
         Auth-Initial:\n\t[success=end default=ignore]\tpam_ldap.so\n\
         Auth:\n\t[success=end default=ignore]\tpam_ldap.so use_first_pass\n\
         Account-Type: Primary\nAccount:\n\t[success=end default=ignore]\tpam_ldap.so\n",
    );
    let profiles = |how: &[&str]| {
        let tool = ["env", "DEBIAN_FRONTEND=noninteractive", "pam-auth-update", "--package"];
        world.run(&[&tool[..], how].concat()).ok();
    };
    profiles(&["--enable", "ldap", "--disable", "unix"]);
    let before = files(&world);
    let ran = write(&world).expect(3);
    let why = "pam_ldap.so use_first_pass` waits for a password, and no line above it asks for one";
    assert!(
        ran.stdout.contains(&format!("NOT WRITTEN: with the lines in common-auth, {} `", COMMON[0])),
        "{ran:?}"
    );
    assert!(ran.stdout.contains(why), "{}", ran.stdout);
    assert_eq!(files(&world), before, "{}", ran.stdout);

    // As it would be.
    let mut console = world.console();
    console.answer("login: ", "alice");
    console.answer(PASSWORD_PROMPT, "pw-alice");
    console.expect("$ ");
    profiles(&["--enable", "twofa", "twofa-pubkey"]);
    let said = world.admin(&["doctor"]).expect(2).stdout;
    assert!(said.contains("Locked out: everybody who logs in with a password."), "{said}");
    let mut console = world.console();
    console.answer("login: ", "alice");
    let shown = console.expect("Login incorrect");
    assert!(!shown.contains("assword"), "{shown}");
}

// The way back

#[test]
fn undo_restores_every_byte() {
    let world = debian();
    world.run(&["chmod", "640", PAM_SSHD]).ok();
    world.run(&["chgrp", "900", PAM_LOGIN]).ok();
    let before = files(&world);
    write(&world).ok();
    let modes = [PAM_SSHD, "/etc/pam.d/sshd.twofa-backup"].map(|path| {
        let metadata = fs::metadata(world.path(path)).unwrap();
        metadata.permissions().mode() & 0o7777
    });
    assert_eq!(modes, [0o640, 0o640]);
    assert_eq!(fs::metadata(world.path(PAM_LOGIN)).unwrap().gid(), 900);
    // Who says no keeps the lines.
    let written = files(&world);
    let ran = world.run_with_input(&["twofa-admin", "init", "--undo"], "n\nn\nn\n").expect(3);
    assert!(ran.stdout.contains(" - account required pam_twofa.so"), "{}", ran.stdout);
    assert_eq!(files(&world), written);
    let told = world.run_with_input(&["twofa-admin", "init", "--undo"], "y\ny\ny\n").ok();
    assert!(told.contains("TWOFA "), "{told}");
    assert_eq!(files(&world), before);
    let told = world.run(&UNDO).ok();
    assert!(told.contains("Nothing in /etc/pam.d"), "{told}");
}

#[test]
fn undo_leaves_the_edits_of_others() {
    let world = debian();
    write(&world).ok();
    world.append(PAM_SSHD, "# mine\nauth optional pam_warn.so\n");
    world.append(DROP_IN, "# mine\nClientAliveInterval 60\n");
    let stack = text(&world, PAM_SSHD);
    world.run(&UNDO).expect(0);
    let ours = |line: &&str| !line.contains("pam_twofa.so");
    assert_eq!(
        text(&world, PAM_SSHD).lines().collect::<Vec<_>>(),
        stack.lines().filter(ours).collect::<Vec<_>>()
    );
    assert_eq!(text(&world, DROP_IN), "# mine\nClientAliveInterval 60\n");
    // And once more the other way, with backups that say something else by now.
    write(&world).expect(3);
    assert!(world.path("/etc/pam.d/sshd.twofa-backup.2").exists());
}

/// A `Match` in the drop-in is somebody's own, whatever is in it.
#[test]
fn undo_leaves_what_was_said_for_some() {
    let world = debian();
    write(&world).ok();
    let robots = "Match User robot\nPasswordAuthentication no\nAuthenticationMethods publickey\n";
    world.append(DROP_IN, robots);
    world.run(&UNDO).expect(0);
    assert_eq!(text(&world, DROP_IN), robots);
}

/// The settings without the lines would ask for passwords that users do not have; once it is enforced, the lines
/// without the settings would ask for codes that nobody can type.
#[test]
fn undo_takes_nothing_out_of_sshd_by_halves() {
    let world = debian();
    write(&world).ok();
    let parts = || (text(&world, PAM_SSHD).contains("pam_twofa.so"), world.path(DROP_IN).exists());
    let undo = |answers: &str| world.run_with_input(&["twofa-admin", "init", "--undo"], answers).expect(3);
    // First the settings, then login; the lines of sshd are not asked about any more.
    let ran = undo("n\ny\ny\n");
    assert!(ran.stdout.contains("NOT WRITTEN: /etc/pam.d/sshd: "), "{}", ran.stdout);
    assert_eq!(parts(), (true, true));
    assert!(!text(&world, PAM_LOGIN).contains("pam_twofa.so"));
    undo("y\nn\n");
    assert_eq!(parts(), (true, false));
    write(&world).ok();
    world.enroll("root");
    world.admin(&["policy", "enable", "--force"]).ok();
    let ran = undo("n\nn\ny\n");
    assert!(ran.stdout.contains("NOT WRITTEN: /etc/ssh/sshd_config.d/00-twofa.conf: "), "{}", ran.stdout);
    assert_eq!(parts(), (true, true));
    // The lines that are out by then go back.
    let before = files(&world);
    let ran = undo("y\nn\n");
    assert!(ran.stdout.contains("/etc/pam.d/sshd: as before, like the settings of sshd."), "{}", ran.stdout);
    assert_eq!(files(&world), before);
}

/// With lines of its own, or with profiles; the policy is in force.
fn enforced(with_profiles: bool) -> World {
    let world = if with_profiles { packaged() } else { debian() };
    write(&world).ok();
    world.enroll("root");
    world.admin(&["policy", "enable", "--force"]).ok();
    world
}

/// As `chattr +i` and a read-only disk do: neither another file in its place, nor none.
fn make_immovable(world: &World, path: &str) {
    world.run(&["sh", "-c", &format!("mount --bind {path} {path} && mount -o remount,bind,ro {path}")]).ok();
}

/// Its name, whether profiles bring the lines, and how it comes about.
type Breakage<'b> = (&'b str, bool, &'b dyn Fn(&World));

/// What does not go as a whole, stays as a whole: else enforcement ends while everybody believes in it.
#[test]
fn undo_does_not_end_what_is_enforced_by_halves() {
    let site = |world: &World| {
        let needs = "KbdInteractiveAuthentication no\nAuthenticationMethods keyboard-interactive\n";
        world.write("/etc/ssh/sshd_config.d/50-site.conf", needs);
    };
    // It stops behind common-auth, once: the account line alone would refuse everybody.
    let stops = "#!/bin/sh\nmv /root/tool \"$0\"\ncp -p /etc/pam.d/common-account /var/lib/pam/account /root\n\"$0\" \"$@\"\n\
                 cp -p /root/common-account /etc/pam.d\ncp -p /root/account /var/lib/pam\nexit 1\n";
    let table: [Breakage<'_>; 10] = [
        ("pam-auth-update", true, &|world| {
            let tool = "/usr/sbin/pam-auth-update";
            world.run(&["mv", tool, "/root/tool"]).ok();
            world.write(tool, stops);
            world.run(&["chmod", "755", tool]).ok();
        }),
        ("settings of everybody", false, &|world| {
            world.run(&["chmod", "666", DROP_IN]).ok();
        }),
        ("the settings", false, &|world| make_immovable(world, DROP_IN)),
        ("the settings", true, &|world| make_immovable(world, DROP_IN)),
        ("their folder", true, &|world| make_immovable(world, "/etc/ssh/sshd_config.d")),
        ("sshd needs them", false, &site),
        ("sshd needs them", true, &site),
        // Behind the lines of sshd, or of common-auth.
        ("a service", false, &|world| make_immovable(world, PAM_LOGIN)),
        ("a shared file", true, &|world| make_immovable(world, COMMON[1])),
        ("a comment", false, &|world| {
            world.run(&["sh", "-c", "printf '# f\\374r alle\\n' >>/etc/pam.d/login"]).ok();
        }),
    ];
    for (what, with_profiles, breakage) in table {
        let world = enforced(with_profiles);
        breakage(&world);
        let before = files(&world);
        let ran = world.run(&UNDO).expect(3);
        assert_eq!(files(&world), before, "{what} {with_profiles}: {ran:?}");
        assert!(!ran.stderr.contains("Taken out"), "{what} {with_profiles}: {ran:?}");
        assert!(ran.stdout.contains("NOT WRITTEN") || ran.stdout.contains("is as it was"), "{what}: {ran:?}");
    }
    // Who does without the profile for keys gets none.
    let world = enforced(true);
    world
        .run(&[
            "env",
            "DEBIAN_FRONTEND=noninteractive",
            "pam-auth-update",
            "--package",
            "--remove",
            "twofa-pubkey",
        ])
        .ok();
    site(&world);
    let before = files(&world);
    world.run(&UNDO).expect(3);
    assert_eq!(files(&world), before);
}

/// A comment in Latin-1 is no reason to say that there is nothing.
#[test]
fn undo_owns_up_to_lines_that_it_cannot_take_out() {
    let world = debian();
    write(&world).ok();
    world.run(&["sh", "-c", "printf '# f\\374r alle\\n' >>/etc/pam.d/login"]).ok();
    let ran = world.run(&UNDO).expect(3);
    assert!(ran.stdout.contains("NOT WRITTEN: /etc/pam.d/login"), "{}", ran.stdout);
    assert!(!text(&world, PAM_SSHD).contains("pam_twofa.so"));
}

#[test]
fn undo_finds_a_service_with_a_dot() {
    let world = debian();
    world.admin(&["init", "--yes"]).ok();
    world.run(&["cp", PAM_LOGIN, "/etc/pam.d/vsftpd.local"]).ok();
    let before = text(&world, "/etc/pam.d/vsftpd.local");
    world.admin(&["policy", "set", "services=[\"sshd\", \"vsftpd.local\"]"]).ok();
    write(&world).ok();
    assert!(text(&world, "/etc/pam.d/vsftpd.local").contains("pam_twofa.so"));
    world.run(&UNDO).expect(0);
    assert_eq!(text(&world, "/etc/pam.d/vsftpd.local"), before);
}

/// Rescue has to work where the policy or the store are what is broken.
#[test]
fn undo_needs_no_policy() {
    let world = debian();
    let before = files(&world);
    write(&world).ok();
    world.run(&["rm", "-r", "/etc/twofa", "/var/lib/twofa"]).ok();
    world.run(&UNDO);
    assert_eq!(files(&world), before);
}

/// What is read after ours, and could not be without it.
#[test]
fn undo_leaves_an_sshd_that_starts() {
    let world = debian();
    write(&world).ok();
    world.write(
        "/etc/ssh/sshd_config.d/50-site.conf",
        "KbdInteractiveAuthentication no\nAuthenticationMethods keyboard-interactive\n",
    );
    let before = files(&world);
    let ran = world.run(&UNDO).expect(3);
    assert!(ran.stdout.contains("00-twofa.conf is as it was: without it, "), "{}", ran.stdout);
    world.run(&["/usr/sbin/sshd", "-t"]).ok();
    let of_ssh = |files: &BTreeSet<String>| -> Vec<String> {
        files.iter().filter(|line| line.contains("ssh")).cloned().collect()
    };
    assert_eq!(of_ssh(&files(&world)), of_ssh(&before));
}

/// Out of a stack that counts on our lines they are not taken.
#[test]
fn undo_locks_nobody_out() {
    let world = debian();
    // Over our line to pam_permit; without it, over that to pam_deny.
    let before = "auth [success=1 default=die] pam_unix.so\n\
                  auth required pam_twofa.so    # twofa-admin init\n\
                  auth sufficient pam_permit.so\n\
                  auth requisite pam_deny.so\n\
                  account required pam_unix.so\n";
    world.admin(&["init", "--yes"]).ok();
    world.write(PAM_SSHD, before);
    let ran = world.run(&UNDO).expect(3);
    assert!(ran.stdout.contains("NOT WRITTEN: /etc/pam.d/sshd: without the lines"), "{}", ran.stdout);
    assert_eq!(text(&world, PAM_SSHD), before);
}

// Hosts that are not as Debian leaves them

#[test]
fn odd_but_sound_stacks_are_understood() {
    let table = [
        (
            "  auth\trequisite   pam_unix.so nodelay # the password\n\n# who may\n# come in\naccount\trequired pam_unix.so\n",
            vec![
                (0, "pubkey"),
                (2, "required pam_twofa"),
                (4, "account required pam_twofa"),
                (5, "# who may"),
            ],
        ),
        (
            "# only this\n@include common-auth # all of it\naccount required pam_nologin.so\n@include common-account\n",
            vec![
                (0, "success=3"),
                (1, "# only this"),
                (3, "required pam_twofa"),
                (4, "account required pam_twofa"),
            ],
        ),
        (
            "account required pam_unix.so\nauth optional pam_warn.so\nauth requisite pam_unix.so nodelay\n",
            vec![(0, "account required pam_twofa"), (3, "pubkey"), (5, "required pam_twofa")],
        ),
    ];
    for (stack, expected) in table {
        let world = debian();
        // What follows is of no concern: a session.
        let stack = format!("{stack}session required pam_unix.so\n");
        world.write(PAM_SSHD, &stack);
        write(&world).ok();
        let written = text(&world, PAM_SSHD);
        for (line, part) in expected {
            assert!(
                written.lines().nth(line).is_some_and(|found| found.contains(part)),
                "{line} {part}:\n{written}"
            );
        }
        let mut alice = world.enroll("alice").app;
        world.admin(&["policy", "enable", "--force"]).ok();
        let world = world.authorize_key(&["alice"]).start_sshd(INCLUDE);
        let mut by_key = world.ssh("alice").key().spawn("id -un");
        assert!(!by_key.answer(CODE_PROMPT, &alice.code()).contains("assword"), "{stack}");
        by_key.expect("alice\n");
        let mut by_password = world.ssh("alice").spawn("id -un");
        by_password.answer(PASSWORD_PROMPT, "pw-alice");
        by_password.answer(CODE_PROMPT, &alice.code());
        by_password.expect("alice\n");
        world.run(&UNDO).expect(0);
        assert_eq!(text(&world, PAM_SSHD), stack);
    }
}

#[test]
fn what_is_not_understood_is_left_alone() {
    let world = debian();
    world.admin(&["init", "--yes"]).ok();
    let debian = text(&world, PAM_SSHD);
    world.write("/etc/pam.d/password-auth", "auth required pam_unix.so\naccount required pam_unix.so\n");
    let fedora = "auth substack password-auth\nauth include postlogin\naccount required pam_nologin.so\n\
                  account include password-auth\n";
    let table: [(&str, String, &str); 10] = [
        ("Fedora", fedora.into(), "takes the password's lines from `password-auth`"),
        (
            "another @include",
            "@include password-auth\n".into(),
            "takes the password's lines from `password-auth`",
        ),
        ("Windows", debian.replace('\n', "\r\n"), "line ends of another system"),
        ("no end", debian.trim_end().into(), "its last line has no end"),
        ("managed", format!("# Ansible managed: do not touch\n{debian}"), "something else writes it"),
        (
            "long lines",
            debian.replace("@include common-auth", "@include \\\n common-auth"),
            "go on in the next",
        ),
        (
            "no password",
            "auth required pam_permit.so\naccount required pam_permit.so\n".into(),
            "ask for the password",
        ),
        (
            "two passwords",
            "auth sufficient pam_unix.so\nauth requisite pam_ldap.so\naccount required pam_unix.so\n".into(),
            "several lines",
        ),
        // What is behind that line nobody can judge.
        ("no such file", format!("{debian}@include nowhere\n"), "libpam cannot read it: /etc/pam.d/sshd:"),
        // The doctor's word: a success ends the stack before our line.
        (
            "sufficient",
            "auth sufficient pam_unix.so\nauth required pam_deny.so\naccount required pam_unix.so\n".into(),
            "leads past pam_twofa",
        ),
    ];
    for (what, stack, why) in table {
        world.write(PAM_SSHD, &stack);
        let ran = write(&world).expect(3);
        assert!(ran.stdout.contains(why), "{what}: {}", ran.stdout);
        assert_eq!(text(&world, PAM_SSHD), stack, "{what}");
        assert!(!world.path("/etc/pam.d/sshd.twofa-backup").exists(), "{what}");
        // Without PAM's lines sshd would ask for passwords that users may not have.
        assert!(!world.path(DROP_IN).exists(), "{what}");
        assert!(ran.stdout.contains("Add to /etc/pam.d/sshd"), "{what}: {}", ran.stdout);
    }
}

#[test]
fn a_file_that_is_not_plainly_roots_is_left_alone() {
    let link = "mkdir -p /etc/authselect && mv /etc/pam.d/sshd /etc/authselect/ && \
                ln -s /etc/authselect/sshd /etc/pam.d/sshd";
    let table = [
        ("a link", link, "is a symbolic link"),
        ("two names", "ln /etc/pam.d/sshd /root/sshd", "another name"),
        ("alice's", "chown alice /etc/pam.d/sshd", "is not owned by root"),
        ("everybody's", "chmod 666 /etc/pam.d/sshd", "can be changed by others"),
        ("a folder of others", "chmod 777 /etc/pam.d", "can be changed by others"),
    ];
    for (what, breakage, why) in table {
        let world = debian();
        world.admin(&["init", "--yes"]).ok();
        world.run(&["sh", "-c", breakage]).ok();
        let before = text(&world, PAM_SSHD);
        let ran = write(&world).expect(3);
        assert!(ran.stdout.contains(why), "{what}: {}", ran.stdout);
        assert_eq!(text(&world, PAM_SSHD), before, "{what}");
        assert!(!world.path(DROP_IN).exists(), "{what}");
    }
}

#[test]
fn a_read_only_disk_is_told() {
    let world = debian();
    world.admin(&["init", "--yes"]).ok();
    world
        .run(&["sh", "-c", "mount --bind /etc/pam.d /etc/pam.d && mount -o remount,bind,ro /etc/pam.d"])
        .ok();
    expect_left(&world, "read-only", "Read-only file system");
}

/// With no room at all, and with room for the copy alone.
#[test]
fn a_full_disk_is_told_and_leaves_nothing_behind() {
    for free in [0, 1] {
        let world = debian();
        world.admin(&["init", "--yes"]).ok();
        let fill = format!(
            "cp -a /etc/pam.d /root/pam.d && mount -t tmpfs -o size=1m,mode=755 tmpfs /etc/pam.d && \
             cp -a /root/pam.d/. /etc/pam.d && head -c 4096 /dev/zero >/etc/pam.d/room.x && \
             cat /dev/zero >/etc/pam.d/full.x; [ {free} = 0 ] || rm /etc/pam.d/room.x"
        );
        world.run(&["sh", "-c", &fill]);
        expect_left(&world, "full", "No space left on device");
    }
}

#[test]
fn without_a_module_that_loads_nothing_is_written() {
    let find = "$(find /usr/lib -name pam_twofa.so)";
    let table = [
        ("missing", format!("rm {find}"), "is missing"),
        ("no library", format!("echo junk >{find}"), "does not load"),
        ("another's", format!("chmod 666 {find}"), "can be changed by others"),
        ("no helper", "rm /usr/libexec/twofa/twofa-helper".to_owned(), "could not be tried"),
    ];
    for (what, breakage, why) in table {
        let world = debian();
        world.admin(&["init", "--yes"]).ok();
        world.run(&["sh", "-c", &breakage]).ok();
        expect_left(&world, what, why);
    }
}

#[test]
fn another_policy_or_an_enforced_one_writes_nothing() {
    let world = debian();
    world.admin(&["init", "--yes"]).ok();
    world.enroll("alice");
    let before = files(&world);
    world.admin(&["policy", "enable", "--force"]).ok();
    expect_left(&world, "enforced", "twofa-admin policy set mode=off");
    world.admin(&["policy", "set", "mode=off"]).ok();
    world.run(&["cp", "/etc/twofa/twofa.toml", "/etc/twofa/other.toml"]).ok();
    let ran = world.run(&[&WRITE[..], &["--conf", "/etc/twofa/other.toml"]].concat()).expect(3);
    assert!(ran.stdout.contains("another policy"), "{}", ran.stdout);
    assert_eq!(files(&world), before);
}

#[test]
fn what_a_file_says_moves_no_terminal() {
    let world = debian();
    world.admin(&["init", "--yes"]).ok();
    let stack = text(&world, PAM_SSHD).replace("@include common-auth", "@include common-auth # \u{1b}[2J");
    world.write(PAM_SSHD, &stack);
    let shown = write(&world).ok();
    assert!(shown.contains("# \u{fffd}[2J") && !shown.contains('\u{1b}'), "{shown}");
    assert!(text(&world, PAM_SSHD).contains("# \u{1b}[2J"));
}

// sshd

#[test]
fn a_drop_in_that_would_not_work_is_not_left_there() {
    let site = "/etc/ssh/sshd_config.d/00-site.conf";
    let table = [
        ("no folder", CONFIG, "Port 22\n", "does not include /etc/ssh/sshd_config.d"),
        (
            "too late",
            CONFIG,
            "UsePAM yes\nInclude /etc/ssh/sshd_config.d/*.conf\n",
            "line 1 of /etc/ssh/sshd_config",
        ),
        ("in a Match", CONFIG, "Match User bob\nInclude /etc/ssh/sshd_config.d/*.conf\n", "line 1 of"),
        (
            "broken before",
            CONFIG,
            "Include /etc/ssh/sshd_config.d/*.conf\nNonsense yes\n",
            "`sshd -t` fails already",
        ),
        // What is read before ours wins, and then nothing satisfies the methods.
        ("not satisfied", site, "KbdInteractiveAuthentication no\n", "is taken back: with it,"),
        ("no effect", site, "AuthenticationMethods publickey\n", "has no effect"),
        // The doctor's word: alice has no way in left.
        ("locked out", site, "Match User alice\nAuthenticationMethods password\n", "is taken back: with it,"),
        ("there already", DROP_IN, "UsePAM yes\n", "is there already, and says something else"),
    ];
    for (what, path, config, why) in table {
        let world = debian();
        world.admin(&["init", "--yes"]).ok();
        world.write(path, config);
        let before = world.run(&["sh", "-c", "cat /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*"]).stdout;
        let ran = write(&world).expect(3);
        assert!(ran.stdout.contains(why), "{what}: {}", ran.stdout);
        let after = world.run(&["sh", "-c", "cat /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*"]).stdout;
        assert_eq!(after, before, "{what}");
        // What to do instead, once; and of PAM nothing is left to do.
        assert!(ran.stdout.contains("    AuthenticationMethods publickey,keyboard-interactive"), "{what}");
        assert_eq!(ran.stdout.matches("\n    KbdInteractiveAuthentication yes\n").count(), 1, "{what}");
        assert!(!ran.stdout.contains("Add to /etc/pam.d"), "{what}: {}", ran.stdout);
    }
}

/// sshd answers for root with junk unless root may log in by password: that begins with the drop-in, in every mode.
#[test]
fn root_is_told_of_the_own_lockout() {
    let world = debian().authorize_key(&["root"]);
    let ran = write(&world).ok();
    assert!(ran.contains("NOTE: from the reload on, sshd refuses root's codes"), "{ran}");
}

/// Nothing is enforced yet, and less is asked for than before: of keys without a password, of passwords without a key.
#[test]
fn what_the_settings_open_meanwhile_is_told() {
    let table = [
        ("PasswordAuthentication no\nKbdInteractiveAuthentication no\n", Some("a password")),
        ("AuthenticationMethods publickey,password\n", Some("a password or an SSH key")),
        ("AuthenticationMethods publickey,password password\n", Some("an SSH key")),
        ("PasswordAuthentication yes\n", None),
        ("PubkeyAuthentication no\n", None),
    ];
    for (config, enough) in table {
        let world = debian();
        world.append(CONFIG, config);
        let ran = write(&world).ok();
        let note = enough.map(|what| format!("until the policy is enforced, {what} is enough for sshd"));
        match note {
            Some(note) => assert!(ran.contains(&note), "{config}: {ran}"),
            None => assert!(!ran.contains("is enough for sshd"), "{config}: {ran}"),
        }
    }
}

// SELinux

/// With a tool in place of restorecon that says what it was asked, and whether the key was there.
#[test]
fn where_selinux_is_on_our_files_get_their_labels() {
    const ON: &str =
        "mkdir -p /sys/fs/selinux /etc/selinux; touch /sys/fs/selinux/enforce /etc/selinux/config";
    const ALL: &str = "-R /etc/twofa /var/lib/twofa /usr/libexec/twofa";
    let told = |why: &str| format!("SELinux is on, and the labels are not set: /usr/sbin/restorecon: {why}");
    let table = [
        ("rm /sys/fs/selinux/enforce", "", ""),
        ("rm /etc/selinux/config", "", ""),
        (":", ALL, ""),
        ("mv /usr/libexec/twofa /opt", "-R /etc/twofa /var/lib/twofa", ""),
        ("echo exit 1 >>/usr/sbin/restorecon", ALL, "it ended with exit status: 1"),
        ("rm /usr/sbin/restorecon", "", "No such file or directory"),
    ];
    for (change, asked, why) in table {
        let world = debian();
        world.write(
            "/usr/sbin/restorecon",
            "#!/bin/sh\n[ -s /etc/twofa/store.key ] && echo \"$@\" >>/root/asked\n",
        );
        world
            .run(&["sh", "-c", &format!("chmod 755 /usr/sbin/restorecon; {ON}; touch /root/asked; {change}")])
            .ok();
        let ran = world.admin(&["init", "--yes"]).expect(0);
        assert_eq!(text(&world, "/root/asked").trim_end(), asked, "{change}");
        assert_eq!(
            ran.stdout.contains("SELinux: restorecon has"),
            !asked.is_empty() && why.is_empty(),
            "{ran:?}"
        );
        assert_eq!(ran.stderr.contains(&told(why)), !why.is_empty(), "{change}: {}", ran.stderr);
        assert_eq!(
            ran.stderr.contains(&format!("Run `restorecon {ALL}`")),
            !why.is_empty(),
            "{}",
            ran.stderr
        );
    }
}

// Accidents

#[test]
fn backups_are_never_overwritten() {
    let world = debian();
    for name in ["sshd.twofa-backup", "sshd.twofa-backup.2"] {
        world.write(&format!("/etc/pam.d/{name}"), "precious\n");
    }
    let before = text(&world, PAM_SSHD);
    let ran = write(&world).ok();
    assert!(ran.contains("/etc/pam.d/sshd.twofa-backup.3"), "{ran}");
    assert_eq!(text(&world, "/etc/pam.d/sshd.twofa-backup.3"), before);
    assert_eq!(text(&world, "/etc/pam.d/sshd.twofa-backup"), "precious\n");
    let told = world.run(&UNDO).ok();
    assert!(told.contains("sshd.twofa-backup.2 is something else, and stays"), "{told}");
    assert!(!world.path("/etc/pam.d/sshd.twofa-backup.3").exists());
}

/// Configuration management came by while the question was open.
#[test]
fn what_became_somebody_elses_meanwhile_stays() {
    let changes = [
        ("another text", "echo '# new' >>/etc/pam.d/sshd"),
        ("a link", "mv /etc/pam.d/sshd /etc/sshd.managed && ln -s /etc/sshd.managed /etc/pam.d/sshd"),
        ("another mode", "chmod 600 /etc/pam.d/sshd"),
    ];
    for (what, change) in changes {
        let world = debian();
        let mut init = world.terminal(&["twofa-admin", "init"]);
        init.answer("Method [2]: ", "2");
        init.answer("(Enter: none) ", "");
        init.expect("Write this? [y/N]: ");
        world.run(&["sh", "-c", change]).ok();
        let before = files(&world);
        init.send_line("y");
        init.expect("NOT WRITTEN: /etc/pam.d/sshd was changed by somebody else meanwhile");
        init.expect("Write this? [y/N]: ");
        assert_eq!(files(&world), before, "{what}");
    }
}

#[test]
fn a_policy_that_was_changed_meanwhile_is_not_changed_back() {
    let world = debian();
    world.admin(&["init", "--yes"]).ok();
    let exempt = ["exempt", "add", "--user", "alice", "--reason", "r", "--until", "2099-01-01"];
    world.admin(&exempt).ok();
    let mut remove = world.terminal(&["twofa-admin", "exempt", "remove", "--user", "alice"]);
    remove.expect("[y/N]: ");
    world.append("/etc/twofa/twofa.toml", "# somebody was here\n");
    remove.send_line("y");
    remove.expect("changed by somebody else meanwhile");
    remove.expect_end(1);
    let policy = text(&world, "/etc/twofa/twofa.toml");
    assert!(policy.ends_with("# somebody was here\n") && policy.contains("\nuser = \"alice\"\n"), "{policy}");
}

/// Killed at each of the calls that change a folder, with `strace` of the machine: each file is the old or the new one.
#[test]
fn a_kill_leaves_whole_files() {
    let world = debian();
    world.admin(&["init", "--yes"]).ok();
    let paths = [PAM_SSHD, PAM_LOGIN, DROP_IN];
    let contents = || paths.map(|path| fs::read_to_string(world.path(path)).ok());
    let old = contents();
    write(&world).ok();
    let new = contents();
    world.run(&UNDO).expect(0);
    assert_eq!(contents(), old);
    let mut states = Vec::new();
    for call in ["rename", "linkat", "fsync", "unlink"] {
        for nth in 1..200 {
            let killed = killed_at(&world, &WRITE, call, nth);
            let now = contents();
            for ((path, now), (old, new)) in paths.iter().zip(&now).zip(old.iter().zip(&new)) {
                assert!(now == old || now == new, "{path} after {call} {nth}:\n{now:?}");
            }
            states.push(now);
            world.run(&UNDO);
            world.run(&["sh", "-c", "rm -f /etc/pam.d/*.twofa-backup*"]).ok();
            assert_eq!(contents(), old, "{call} {nth}");
            if !killed {
                break;
            }
        }
    }
    // It was really killed in between.
    assert!(states.iter().any(|state| state[0] == new[0] && state[1] == old[1]));
    assert!(states.iter().any(|state| state[1] == new[1] && state[2] == old[2]));
}

/// On every way out of what is enforced: while the settings ask for a second step after a key, something answers it;
/// and nothing asks for codes that nobody could type.
#[test]
fn a_kill_of_undo_locks_nobody_out() {
    for with_profiles in [false, true] {
        let world = enforced(with_profiles);
        let lines = if with_profiles { COMMON[0] } else { PAM_SSHD };
        let mut states = BTreeSet::new();
        world
            .run(&[
                "sh",
                "-c",
                "cp -a /etc/pam.d /root/pam.d; cp -a /var/lib/pam /root/pam; cp -a /etc/ssh /root/ssh",
            ])
            .ok();
        for call in ["rename", "unlink", "fsync"] {
            for nth in 1..40 {
                let killed = killed_at(&world, &UNDO, call, nth);
                let stack = text(&world, lines);
                let settings = world.path(DROP_IN).exists();
                let key = stack.contains("pubkey_is_first_factor");
                let asks = stack.matches("pam_twofa.so").count() > usize::from(key);
                assert!(if settings { key } else { !asks }, "{call} {nth}: {settings}\n{stack}");
                // Without a line that asks, it refuses everybody.
                assert!(asks || !text(&world, COMMON[1]).contains("pam_twofa"), "{call} {nth}:\n{stack}");
                states.insert((settings, key, asks));
                let restore = "rm -r /etc/pam.d/* /etc/ssh/* && cp -a /root/pam.d/. /etc/pam.d && \
                               cp -a /root/pam/. /var/lib/pam && cp -a /root/ssh/. /etc/ssh";
                world.run(&["sh", "-c", restore]).ok();
                if !killed {
                    break;
                }
            }
        }
        // It was really killed in between.
        let expected = [(true, true, true), (true, true, false), (false, true, false), (false, false, false)];
        assert_eq!(states, BTreeSet::from(expected), "{with_profiles}");
    }
}

/// Whether a command was killed at the nth of these calls before it was done.
fn killed_at(world: &World, command: &[&str; 4], call: &str, nth: usize) -> bool {
    let inside = world.command(command[0]);
    let status = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")])
        .args(["-e", &format!("inject={call}:signal=SIGKILL:when={nth}")])
        .arg(inside.get_program())
        .args(inside.get_args())
        .args(&command[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("strace");
    status.code() != Some(0)
}
