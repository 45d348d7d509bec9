//! What an administrator does or lets happen, seen from the login: init's own lines, locks, a broken store.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

use std::fs;

use twofa_tests::setup::{
    CODE_PROMPT, KEY_OR_PASSWORD_AND_CODE, PASSWORD_AND_CODE, PASSWORD_PROMPT, POLICY, SSHD_KEY_ONLY,
    SSHD_KEY_OR_PASSWORD,
};
use twofa_tests::terminal::Terminal;
use twofa_tests::world::{Enrolled, World};

fn office() -> (World, Enrolled) {
    let world = World::new().user("alice", "pw-alice").policy(POLICY).stack("sshd", PASSWORD_AND_CODE);
    let alice = world.enroll("alice");
    (world, alice)
}

/// alice's ssh at the prompt for her code.
fn at_the_code_prompt(world: &World) -> Terminal {
    let mut ssh = world.ssh("alice").option("NumberOfPasswordPrompts=1").spawn("id -un");
    ssh.answer(PASSWORD_PROMPT, "pw-alice");
    ssh.expect(CODE_PROMPT);
    ssh
}

/// Adds the lines to a stack of the distribution, where `init` says.
fn add_lines(world: &World, service: &str, first: &str) {
    let path = format!("/etc/pam.d/{service}");
    let stack = fs::read_to_string(world.path(&path)).unwrap();
    let stack = stack
        .replace(
            "@include common-auth",
            &format!("{first}\n@include common-auth\nauth required pam_twofa.so"),
        )
        .replace("@include common-account", "account required pam_twofa.so\n@include common-account");
    world.write(&path, &stack);
}

/// Debian's own stacks and settings, with what `init` says to add: the way most hosts will be set up.
#[test]
fn the_lines_that_init_prints_work_in_the_stacks_of_debian() {
    let world = World::new().user("alice", "pw-alice").user("bob", "pw-bob");
    let told = world.admin(&["init", "--yes"]).ok();
    let line_with = |text: &str| told.lines().find(|line| line.contains(text)).expect(text).trim().to_owned();
    let settings =
        ["UsePAM", "KbdInteractiveAuthentication", "PasswordAuthentication", "AuthenticationMethods"];
    let settings: Vec<String> = settings.map(line_with).to_vec();
    let first = line_with("pubkey_is_first_factor");
    add_lines(&world, "sshd", &first);
    add_lines(&world, "login", "");
    let mut alice = world.enroll("alice").app;
    let mut bob = world.enroll("bob").app;
    world.admin(&["policy", "enable", "--force"]).ok();
    let world = world.authorize_key(&["alice"]).start_sshd(&format!("{}\n", settings.join("\n")));

    let mut by_key = world.ssh("alice").key().spawn("id -un");
    assert!(!by_key.answer(CODE_PROMPT, &alice.code()).contains("assword"));
    by_key.expect("alice\n");
    by_key.expect_end(0);

    let mut by_password = world.ssh("bob").spawn("id -un");
    by_password.answer(PASSWORD_PROMPT, "pw-bob");
    by_password.answer(CODE_PROMPT, &bob.code());
    by_password.expect("bob\n");
    by_password.expect_end(0);

    let mut console = world.console();
    console.answer("login: ", "bob");
    console.answer(PASSWORD_PROMPT, "pw-bob");
    console.answer(CODE_PROMPT, &bob.code());
    console.answer("$ ", "exit");
    console.end();

    world.ssh("alice").key().option("PreferredAuthentications=publickey").run("id").expect(255);
}

/// The promise of the product, with real clients: they all type the code before the first one presses Enter.
#[test]
fn of_six_logins_with_one_code_one_succeeds() {
    let (world, mut alice) = office();
    let world = world.start_sshd("");
    let mut clients: Vec<Terminal> = (0..6).map(|_| at_the_code_prompt(&world)).collect();
    let code = alice.app.code();
    for ssh in &mut clients {
        ssh.send(&code);
    }
    for ssh in &mut clients {
        ssh.send("\r");
    }
    let outcomes = clients.iter_mut().map(|ssh| ssh.expect_any(&["alice\n", "already used"]).0);
    assert_eq!(outcomes.filter(|outcome| *outcome == 0).count(), 1);
}

#[test]
fn unlock_ends_a_lock() {
    let (world, mut alice) = office();
    let world = world.start_sshd("");
    for guesses in [3, 2] {
        let mut ssh = at_the_code_prompt(&world);
        ssh.send_line(&alice.app.wrong_code());
        for _ in 1..guesses {
            ssh.answer(CODE_PROMPT, &alice.app.wrong_code());
        }
        ssh.expect_end(255);
    }
    // alice has no number to speak of.
    let told = world.admin(&["user", "unlock", "alice"]).ok();
    assert_eq!(told, "alice is unlocked; all failures are forgotten.\n");
    let mut ssh = at_the_code_prompt(&world);
    ssh.send_line(&alice.app.code());
    ssh.expect("alice\n");
}

#[test]
fn a_disabled_policy_asks_for_nothing() {
    let (world, _) = office();
    let world = world.authorize_key(&["alice"]).start_sshd(SSHD_KEY_ONLY);
    world.ssh("alice").key().run("id").expect(255);
    world.admin(&["policy", "disable", "--yes"]).ok();
    assert_eq!(world.ssh("alice").key().run("id -un").ok(), "alice\n");
    world.log.expect("mode=off");
    world.admin(&["policy", "enable", "--force"]).ok();
    world.ssh("alice").key().run("id").expect(255);
}

/// Observe mode is for the weeks before enforcement: everybody gets in, and the log says who would not.
#[test]
fn observe_mode_refuses_nobody() {
    let (world, mut alice) = office();
    let world = world.user("bob", "pw-bob").policy(&POLICY.replace("enforce", "observe"));
    let world = world
        .stack("sshd", KEY_OR_PASSWORD_AND_CODE)
        .authorize_key(&["alice"])
        .start_sshd("AuthenticationMethods publickey keyboard-interactive\n");
    assert_eq!(world.ssh("alice").key().run("id -un").ok(), "alice\n");
    world.log.expect("would refuse alice from 127.0.0.1 mode=observe reason=no-factor");

    let mut without_factor = world.ssh("bob").spawn("id -un");
    without_factor.answer(PASSWORD_PROMPT, "pw-bob");
    without_factor.expect("bob\n");
    world.log.expect("would refuse bob from 127.0.0.1 mode=observe reason=not-enrolled");

    let mut enrolled = at_the_code_prompt(&world);
    enrolled.send_line(&alice.app.code());
    enrolled.expect("alice\n");
    world.log.expect("accepted app for alice");
}

/// Who gets a freed name must not inherit the factors of whoever had it before.
#[test]
fn a_user_made_anew_has_no_factor() {
    let (world, mut alice) = office();
    world.run(&["userdel", "--remove", "alice"]).ok();
    world.run(&["useradd", "--create-home", "--uid", "2000", "alice"]).ok();
    let world = world.password("alice", "pw-alice").start_sshd("");
    let mut ssh = at_the_code_prompt(&world);
    ssh.send_line(&alice.app.code());
    ssh.expect("Wrong code.");
    for _ in 0..2 {
        ssh.answer(CODE_PROMPT, &alice.app.wrong_code());
    }
    ssh.expect_end(255);
    world.log.expect("refused alice from 127.0.0.1 reason=uid-mismatch");
}

/// Whatever is missing or unsafe refuses, says so to the user and names the file in the log.
#[test]
fn a_broken_host_refuses() {
    let breakages = [
        ("rm /etc/twofa/store.key", "store.key"),
        ("rm /var/lib/twofa/twofa.db", "twofa.db"),
        ("chmod 666 /etc/twofa/store.key", "store.key"),
        ("echo junk >/var/lib/twofa/twofa.db", "twofa.db"),
        ("rm -r /var/lib/twofa/state", "state"),
    ];
    for (breakage, named) in breakages {
        let (world, mut alice) = office();
        let world = world.start_sshd("");
        world.run(&["sh", "-c", breakage]).ok();
        let mut ssh = world.ssh("alice").option("NumberOfPasswordPrompts=1").spawn("id -un");
        ssh.answer(PASSWORD_PROMPT, "pw-alice");
        let (asked, _) = ssh.expect_any(&[CODE_PROMPT, "not possible at the moment"]);
        if asked == 0 {
            ssh.send_line(&alice.app.code());
            ssh.expect("not possible at the moment");
        }
        ssh.expect_end(255);
        let lines = world.log.lines();
        let ours = lines.iter().filter(|line| line.contains("pam_twofa("));
        assert!(ours.clone().any(|line| line.contains(named)), "{breakage}:\n{}", lines.join("\n"));
    }
}

/// A policy that nobody can read must neither open the host nor lock everybody out.
#[test]
fn a_broken_policy_leaves_the_last_good_one_in_force() {
    let (world, mut alice) = office();
    world.admin(&["policy", "set", "mode=enforce", "--force"]).ok();
    let world = world.authorize_key(&["alice"]).start_sshd(SSHD_KEY_OR_PASSWORD);
    world.write("/etc/twofa/twofa.toml", "version = 1\nmode = \"of\"\n");
    let mut ssh = at_the_code_prompt(&world);
    ssh.send_line(&alice.app.code());
    ssh.expect("alice\n");
    world.log.expect("pam_twofa(sshd:auth): ");
    let alert = world.log.lines().into_iter().find(|line| line.contains("twofa.toml")).expect("an alert");
    assert!(alert.starts_with("<81>"), "authpriv.alert: {alert}");
}

/// A machine without a syslog daemon is still a machine to log in to.
#[test]
fn logins_work_without_a_log() {
    let (world, mut alice) = office();
    let world = world.stack("sshd", KEY_OR_PASSWORD_AND_CODE).start_sshd("");
    world.run(&["rm", "/dev/log"]).ok();
    let mut ssh = at_the_code_prompt(&world);
    ssh.send_line(&alice.app.code());
    ssh.expect("alice\n");
    ssh.expect_end(0);
}
