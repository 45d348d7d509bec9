//! SSH keys that live in a security key, with real sshd and ssh, and OpenSSH's own security key of software.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

use std::fs;

use twofa_tests::mailbox::Mailbox;
use twofa_tests::setup::{
    KEY_OR_PASSWORD_AND_CODE, PASSWORD_AND_CODE, PASSWORD_PROMPT, POLICY, SSHD_KEY_AND_CODE, SSHD_KEY_ONLY,
    SSHD_KEY_OR_PASSWORD, policy_of,
};
use twofa_tests::ssh::{Client, SOFT_KEY};
use twofa_tests::terminal::Terminal;
use twofa_tests::world::{Ran, World};

const ED25519: &[&str] = &["-t", "ed25519-sk"];
const ECDSA: &[&str] = &["-t", "ecdsa-sk"];

const KEY_NEEDED: &str = "Log in with your security key, or a recovery code.";
const RECOVERY_PROMPT: &str = "Verification code (recovery code): ";
const RECOVERY_CODE: &str = "XXXX-XXXX-XXXX-XXXX-XXXX-XXXX";
const NO_FACTOR: &str = "Login refused: this host asks for a second factor, and this way to log in has none. \
                         Call the help desk, extension 42.";
const REMEDY: &str = "Set `PubkeyAuthOptions touch-required` in sshd_config";

/// alice and bob have passwords, and whoever shows a key to sshd is not asked for them; a security key is needed.
fn office() -> World {
    office_with(&key_policy())
}

fn office_with(policy: &str) -> World {
    World::new()
        .user("alice", "pw-alice")
        .user("bob", "pw-bob")
        .policy(policy)
        .stack("sshd", KEY_OR_PASSWORD_AND_CODE)
}

/// Without gateways, which would have to be there, and with more patience than usual.
fn key_policy() -> String {
    let policy = POLICY.replace(r#"methods = ["app"]"#, r#"methods = ["key"]"#);
    format!("{policy}[limits]\nfailures = 20\n")
}

/// Enrolls the key `/root/.ssh/NAME`; returns what is said, and the recovery codes among it.
fn enroll(world: &World, user: &str, name: &str) -> String {
    let file = format!("/root/.ssh/{name}.pub");
    let enrolled = world.run_with_input(&["twofa-admin", "enroll", "ssh-key", user, &file], "saved\n");
    let enrolled = enrolled.expect(0);
    enrolled.stdout + &enrolled.stderr
}

/// Makes a key that opens the user's account, and enrolls it.
fn enrolled(world: &World, user: &str, name: &str, arguments: &[&str]) {
    world.authorized_keys(user, &world.security_key(name, arguments));
    enroll(world, user, name);
}

fn first_recovery_code(said: &str) -> &str {
    let is_code = |word: &&str| word.len() == 29 && word.split('-').count() == 6;
    said.split_whitespace().find(is_code).expect("a recovery code")
}

fn fingerprint(world: &World, name: &str) -> String {
    let shown = world.run(&["ssh-keygen", "-lf", &format!("/root/.ssh/{name}.pub")]).ok();
    shown.split(' ').nth(1).expect("a fingerprint").to_owned()
}

/// In, with nothing shown besides what the command shows.
#[track_caller]
fn expect_in(client: &Client<'_>, user: &str) {
    let ran = client.run("id -un").expect(0);
    assert_eq!((ran.stdout, ran.stderr), (format!("{user}\n"), String::new()));
}

/// Told that a security key is needed, and out after three wrong answers to the one prompt there is.
#[track_caller]
fn expect_key_needed(mut ssh: Terminal) {
    let before = ssh.answer(RECOVERY_PROMPT, RECOVERY_CODE);
    assert!(before.contains(KEY_NEEDED), "{before}");
    assert!(!before.contains("Verification code"), "{before}");
    ssh.answer(RECOVERY_PROMPT, RECOVERY_CODE);
    ssh.answer(RECOVERY_PROMPT, RECOVERY_CODE);
    ssh.expect("Login refused.");
    ssh.expect_end(255);
    assert!(!ssh.screen().contains("COMMAND-RAN"), "{}", ssh.screen());
}

/// One attempt, so that ssh does not begin again after the refusal.
fn attempt(client: Client<'_>) -> Terminal {
    client.option("NumberOfPasswordPrompts=1").spawn("echo COMMAND-RAN")
}

/// Out by sshd itself, before anything was asked.
#[track_caller]
fn expect_refused_by_sshd(ran: Ran) {
    let ran = ran.expect(255);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("Permission denied"), "{ran:?}");
    assert!(!ran.stderr.contains("Verification code"), "{ran:?}");
}

#[test]
fn an_enrolled_ssh_key_is_the_second_factor() {
    let world = office().start_sshd(SSHD_KEY_AND_CODE);
    let lines = world.security_key("blue", ED25519) + &world.security_key("red", ECDSA);
    world.authorized_keys("alice", &lines);
    for name in ["blue", "red"] {
        let fingerprint = fingerprint(&world, name);
        let said = enroll(&world, "alice", name);
        let line = format!("alice can log in with the SSH key `{name}` now: {fingerprint}");
        assert!(said.contains(&line), "{said}");
        assert!(
            world.admin(&["user", "show", "alice"]).ok().contains(&format!("{name} (ssh, {fingerprint})"))
        );

        expect_in(&world.ssh("alice").security_key(name), "alice");
        world.log.expect(&format!(
            "pam_twofa(sshd:auth): accepted ssh-key for alice from 127.0.0.1 label={name} key={fingerprint}"
        ));
        // On a terminal too: ssh speaks of the key, and nobody asks.
        let mut ssh = world.ssh("alice").security_key(name).spawn("id -un");
        let before = ssh.expect("alice\n");
        assert!(!before.contains("assword") && !before.contains("code"), "{before}");
        ssh.expect_end(0);
    }
    world.log.expect_none("refused");
}

/// sshd itself ends root's login where `prohibit-password` is to be overruled by a login without a prompt.
#[test]
fn root_gets_in_where_sshd_lets_root_be_asked() {
    for (permit, gets_in) in [("yes", true), ("prohibit-password", false)] {
        let world = office().start_sshd(&format!("PermitRootLogin {permit}\n{SSHD_KEY_AND_CODE}"));
        enrolled(&world, "root", "blue", ED25519);
        let client = world.ssh("root").security_key("blue");
        if gets_in {
            expect_in(&client, "root");
        } else {
            let ran = client.run("echo COMMAND-RAN").expect(255);
            assert_eq!(ran.stdout, "");
        }
    }
}

/// Where one of several factors is enough, the key needs no other one.
#[test]
fn with_a_key_no_code_is_sent() {
    for methods in [r#"["key", "sms"]"#, r#"["sms", "key"]"#] {
        let world = office_with(&policy_of(methods)).start_sshd(SSHD_KEY_AND_CODE);
        let mut mailbox = Mailbox::new(&world);
        world.admin(&["user", "add", "alice", "--phone", "+48600000123"]).ok();
        enrolled(&world, "alice", "blue", ED25519);
        expect_in(&world.ssh("alice").security_key("blue"), "alice");
        mailbox.expect_nothing();

        // Another key is only the first factor.
        world.authorized_keys("alice", &world.security_key("red", ED25519));
        let mut ssh = world.ssh("alice").security_key("red").spawn("id -un");
        let before = ssh.expect("Verification code (SMS to +48 *** *** 123): ");
        assert!(!before.contains("assword") && !before.contains("security key,"), "{before}");
        ssh.send_line(&mailbox.code());
        ssh.expect("alice\n");
        ssh.expect_end(0);
        world.log.expect("accepted sms for alice");
    }
}

#[test]
fn scp_and_sftp_with_a_key_say_nothing() {
    let world = office().start_sshd(SSHD_KEY_AND_CODE);
    enrolled(&world, "alice", "blue", ED25519);
    world.write("/root/report", "four pages\n");
    let client = world.ssh("alice").security_key("blue");
    let copied = || {
        let text = fs::read_to_string(world.path("/home/alice/report")).unwrap();
        fs::remove_file(world.path("/home/alice/report")).unwrap();
        text
    };
    let scp = client.run_scp("/root/report").expect(0);
    assert_eq!((scp.stdout.as_str(), scp.stderr.as_str()), ("", ""));
    assert_eq!(copied(), "four pages\n");

    let sftp = client.run_sftp("put /root/report\nbye\n").expect(0);
    assert_eq!(sftp.stderr, "Connected to 127.0.0.1.\n");
    let said = "sftp> put /root/report\nUploading /root/report to /home/alice/report\nsftp> bye\n";
    assert_eq!(sftp.stdout.replace('\r', ""), said);
    assert_eq!(copied(), "four pages\n");

    let both = client.run("cat; echo below >&2").expect(0);
    assert_eq!((both.stdout.as_str(), both.stderr.as_str()), ("", "below\n"));
}

#[test]
fn a_key_that_is_not_enrolled_does_not_count() {
    let world = office().start_sshd(SSHD_KEY_AND_CODE);
    let lines = world.security_key("blue", ED25519) + &world.security_key("red", ED25519);
    world.authorized_keys("alice", &lines);
    // Of a user without any factor, and of one who has another key.
    expect_key_needed(attempt(world.ssh("alice").security_key("blue")));
    world.log.expect("refused alice from 127.0.0.1 reason=not-enrolled");
    enroll(&world, "alice", "red");
    expect_key_needed(attempt(world.ssh("alice").security_key("blue")));
    world.log.expect("refused alice from 127.0.0.1 reason=wrong-code");
    world.log.expect_none("accepted ssh-key");
    expect_in(&world.ssh("alice").security_key("red"), "alice");
}

#[test]
fn an_ordinary_key_never_counts() {
    let world = office().authorize_key(&["alice"]).start_sshd(SSHD_KEY_AND_CODE);
    let refused = world.admin(&["enroll", "ssh-key", "alice", "/root/.ssh/key.pub"]).expect(1);
    assert!(refused.stderr.contains("ordinary SSH key"), "{refused:?}");
    world.security_key("blue", ED25519);
    enroll(&world, "alice", "blue");
    expect_key_needed(attempt(world.ssh("alice").key()));
    world.log.expect_none("accepted ssh-key");
}

#[test]
fn a_key_is_enrolled_from_the_users_own_file() {
    let world = office().start_sshd(SSHD_KEY_AND_CODE);
    let enroll = |input: &str| world.run_with_input(&["twofa-admin", "enroll", "ssh-key", "alice"], input);
    let refused = enroll("saved\n").expect(1);
    assert!(refused.stderr.contains("/home/alice/.ssh/authorized_keys cannot be read"), "{refused:?}");

    let [blue, red] = ["blue", "red"].map(|name| world.security_key(name, ED25519));
    world.run(&["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/.ssh/plain"]).ok();
    let plain = fs::read_to_string(world.path("/root/.ssh/plain.pub")).unwrap();
    world.authorized_keys(
        "alice",
        &format!("# at home\n\n{plain}restrict,command=\"echo \\\"x y\\\"\" {blue}"),
    );
    // The user can write it: the one key in it is not taken unseen.
    let stopped = enroll("n\n").expect(1);
    assert!(stopped.stderr.contains(&format!("{} blue", fingerprint(&world, "blue"))), "{stopped:?}");
    world.admin(&["user", "show", "alice"]).expect(1);
    let said = enroll("y\nsaved\n").ok();
    assert!(said.contains("with the SSH key `blue` now"), "{said}");

    world.authorized_keys("alice", &format!("{blue}{plain}{red}"));
    for wrong in ["", "0\n", "3\n", "blue\n"] {
        let stopped = enroll(wrong).expect(1);
        assert!(stopped.stderr.contains("Which one? [1-2]"), "{stopped:?}");
    }
    let twice = enroll("1\n").expect(1);
    assert!(twice.stderr.contains("this key is enrolled already, as `blue`"), "{twice:?}");
    let picked = enroll("2\n").expect(0);
    assert!(picked.stdout.contains("with the SSH key `red` now"), "{picked:?}");
    assert!(picked.stderr.contains(&format!("  2  {}  red", fingerprint(&world, "red"))), "{picked:?}");
    for name in ["blue", "red"] {
        expect_in(&world.ssh("alice").security_key(name), "alice");
    }
}

/// A user could put a link or a FIFO in place of the file that root reads.
#[test]
fn a_users_own_file_is_not_followed() {
    let world = office();
    world.security_key("blue", ED25519);
    let enroll = || world.run_with_input(&["twofa-admin", "enroll", "ssh-key", "alice"], "saved\n").expect(1);
    let folder = "install -d -o alice /home/alice/.ssh && cd /home/alice/.ssh && ";
    for trap in ["ln -s /root/.ssh/blue.pub", "mkfifo", "mkdir"] {
        world.run(&["sh", "-c", &format!("{folder} rm -rf authorized_keys && {trap} authorized_keys")]).ok();
        let refused = enroll();
        assert!(refused.stderr.contains("authorized_keys cannot be read"), "{trap}: {refused:?}");
    }
}

/// The certificate's authority may be anybody: it is the key that counts.
#[test]
fn a_certificate_counts_for_the_key_that_it_is_for() {
    let world = office().start_sshd(&format!("TrustedUserCAKeys /etc/ssh/ca.pub\n{SSHD_KEY_AND_CODE}"));
    let [blue, _, _] = [("blue", ED25519), ("red", ECDSA), ("green", ED25519)]
        .map(|(name, kind)| world.security_key(name, kind));
    world.run(&["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/.ssh/ca"]).ok();
    let sign = |authority: &str, name: &str| {
        let (authority, key) = (format!("/root/.ssh/{authority}"), format!("/root/.ssh/{name}.pub"));
        let provider = format!("SSH_SK_PROVIDER={SOFT_KEY}");
        world
            .run(&["env", &provider, "ssh-keygen", "-q", "-s", &authority, "-I", "id", "-n", "alice", &key])
            .ok();
    };
    ["blue", "red", "green"].iter().for_each(|name| sign("ca", name));
    enroll(&world, "alice", "blue");
    enroll(&world, "alice", "red");
    let trusted = world.path("/root/.ssh/ca.pub");
    let trusted = fs::read_to_string(trusted).unwrap() + &blue;
    world.write("/etc/ssh/ca.pub", &trusted);
    let with = |name: &str| {
        let certificate = format!("CertificateFile=/root/.ssh/{name}-cert.pub");
        world.ssh("alice").security_key(name).option(&certificate)
    };
    for (times, name) in (1..).zip(["blue", "red"]) {
        expect_in(&with(name), "alice");
        let line = format!("label={name} key={}", fingerprint(&world, name));
        world.log.expect(&format!("accepted ssh-key for alice from 127.0.0.1 {line}"));
        // sshd went by the certificate: the key itself opens nothing here.
        world.log.expect_times("ID id (serial 0) CA", times);
    }
    expect_key_needed(attempt(with("green")));
    // Nor does it help that an enrolled key is the authority.
    sign("blue", "green");
    expect_key_needed(attempt(with("green")));
    world.log.expect_times("accepted ssh-key", 2);
    // An authority's certificate is no key to enroll.
    let refused = world.admin(&["enroll", "ssh-key", "alice", "/root/.ssh/green-cert.pub"]).expect(1);
    assert!(refused.stderr.contains("is a certificate"), "{refused:?}");
}

#[test]
fn somebody_elses_key_does_not_count() {
    let world = office().start_sshd(SSHD_KEY_AND_CODE);
    enrolled(&world, "alice", "blue", ED25519);
    enrolled(&world, "bob", "red", ED25519);
    // bob lets alice in, to sshd's mind.
    let both = ["blue", "red"]
        .map(|name| fs::read_to_string(world.path(&format!("/root/.ssh/{name}.pub"))).unwrap());
    world.authorized_keys("bob", &both.concat());
    expect_key_needed(attempt(world.ssh("bob").security_key("blue")));
    expect_in(&world.ssh("bob").security_key("red"), "bob");
    let refused = world.admin(&["enroll", "ssh-key", "bob", "/root/.ssh/blue.pub"]).expect(1);
    assert!(refused.stderr.contains("alice has this key already"), "{refused:?}");
}

/// Two keys in one login, of which the second is the enrolled one: sshd names both.
#[test]
fn one_of_two_keys_is_enough() {
    let world = office().start_sshd("AuthenticationMethods publickey,publickey,keyboard-interactive\n");
    let lines = world.security_key("blue", ED25519) + &world.security_key("red", ED25519);
    world.authorized_keys("alice", &lines);
    let client = || world.ssh("alice").security_key("blue").option("IdentityFile=/root/.ssh/red");
    expect_key_needed(attempt(client()));
    enroll(&world, "alice", "red");
    expect_in(&client(), "alice");
    world.log.expect(&format!("label=red key={}", fingerprint(&world, "red")));
}

/// That a key was touched, only sshd sees: without `touch-required` it goes by the user's own word.
#[test]
fn a_key_without_touch_is_for_sshd_to_refuse() {
    let conditions = "Match User bob\nPubkeyAuthOptions touch-required\n";
    let world = office().start_sshd(&format!("{SSHD_KEY_AND_CODE}{conditions}"));
    let untouched = &["-t", "ed25519-sk", "-O", "no-touch-required"];
    for (user, name) in [("alice", "blue"), ("bob", "red")] {
        let line = world.security_key(name, untouched);
        world.authorized_keys(user, &line);
        assert!(enroll(&world, user, name).contains("PubkeyAuthOptions touch-required"));
        expect_refused_by_sshd(world.ssh(user).security_key(name).run("id"));
        world.authorized_keys(user, &format!("no-touch-required {line}"));
    }
    expect_in(&world.ssh("alice").security_key("blue"), "alice");
    expect_refused_by_sshd(world.ssh("bob").security_key("red").run("id"));
    world.log.expect_none("accepted ssh-key for bob");

    world.authorized_keys("bob", &format!("no-touch-required {}", world.security_key("green", ED25519)));
    let said = world.run_with_input(&["twofa-admin", "enroll", "ssh-key", "bob"], "y\nsaved\n").expect(0);
    assert!(said.stderr.contains("Its line says no-touch-required."), "{said:?}");
    expect_in(&world.ssh("bob").security_key("green"), "bob");
}

#[test]
fn a_key_without_verification_is_for_sshd_to_refuse() {
    let world = office().start_sshd(&format!("PubkeyAuthOptions verify-required\n{SSHD_KEY_AND_CODE}"));
    enrolled(&world, "alice", "blue", ED25519);
    expect_refused_by_sshd(world.ssh("alice").security_key("blue").run("id"));
    world.log.expect_none("accepted ssh-key");

    enrolled(&world, "alice", "red", &["-t", "ed25519-sk", "-O", "verify-required"]);
    // The key of software needs no PIN to say that it had one.
    expect_in(&world.ssh("alice").security_key("red"), "alice");
}

/// Whoever has a key and comes without it learns what is missing.
#[test]
fn with_a_password_alone_a_key_is_asked_for() {
    let world = office().start_sshd(SSHD_KEY_OR_PASSWORD);
    world.authorized_keys("alice", &world.security_key("blue", ED25519));
    let said = enroll(&world, "alice", "blue");
    let mut ssh = attempt(world.ssh("alice"));
    ssh.answer(PASSWORD_PROMPT, "pw-alice");
    expect_key_needed(ssh);
    world.log.expect("refused alice from 127.0.0.1 reason=wrong-code");

    let mut ssh = world.ssh("alice").spawn("id -un");
    ssh.answer(PASSWORD_PROMPT, "pw-alice");
    ssh.answer(RECOVERY_PROMPT, first_recovery_code(&said));
    ssh.expect("alice\n");
    ssh.expect_end(0);
    // With the key she is not asked for the password either.
    expect_in(&world.ssh("alice").security_key("blue"), "alice");
}

#[test]
fn a_key_that_was_forgotten_does_not_count() {
    let world = office().start_sshd(SSHD_KEY_AND_CODE);
    let lines = world.security_key("blue", ED25519) + &world.security_key("red", ED25519);
    world.authorized_keys("alice", &lines);
    enroll(&world, "alice", "blue");
    enroll(&world, "alice", "red");
    expect_in(&world.ssh("alice").security_key("blue"), "alice");
    world.admin(&["user", "forget", "alice", "blue", "--yes"]).ok();
    expect_key_needed(attempt(world.ssh("alice").security_key("blue")));
    expect_in(&world.ssh("alice").security_key("red"), "alice");
    // What is removed as a whole, is removed with the keys.
    world.admin(&["user", "remove", "alice", "--yes"]).ok();
    expect_key_needed(attempt(world.ssh("alice").security_key("red")));
    world.log.expect("refused alice from 127.0.0.1 reason=not-enrolled");
}

/// Locks are about guessing, and there is nothing to guess.
#[test]
fn a_locked_user_gets_in_with_the_key() {
    let policy = key_policy().replace("failures = 20", "failures = 5");
    let world = office_with(&policy).start_sshd(SSHD_KEY_OR_PASSWORD);
    enrolled(&world, "alice", "blue", ED25519);
    for _ in 0..2 {
        let mut ssh = attempt(world.ssh("alice"));
        ssh.answer(PASSWORD_PROMPT, "pw-alice");
        ssh.answer(RECOVERY_PROMPT, RECOVERY_CODE);
        ssh.answer(RECOVERY_PROMPT, RECOVERY_CODE);
        ssh.expect_any(&[RECOVERY_PROMPT, "Too many failed codes."]);
        ssh.send_line(RECOVERY_CODE);
        ssh.end();
    }
    let mut ssh = attempt(world.ssh("alice"));
    ssh.answer(PASSWORD_PROMPT, "pw-alice");
    ssh.expect("Too many failed codes. Try again after");
    ssh.expect_end(255);
    world.log.expect("refused alice from 127.0.0.1 reason=locked");
    let show = || world.admin(&["user", "show", "alice"]).ok();
    assert!(!show().contains("Locked:          no"), "{}", show());
    expect_in(&world.ssh("alice").security_key("blue"), "alice");
    // It neither minds the lock nor ends it: that is about guesses.
    assert!(!show().contains("Locked:          no"), "{}", show());
}

/// Neither a client, nor what started sshd, nor a file of the user's says which key was shown.
#[test]
fn nobodys_environment_is_believed() {
    let stack = format!("{PASSWORD_AND_CODE}\nsession required pam_env.so user_readenv=1");
    let world = office().stack("sshd", &format!("auth required pam_env.so user_readenv=1\n{stack}"));
    let line = world.security_key("blue", ED25519);
    let said = enroll(&world, "alice", "blue");
    let accepted = format!("publickey {}", line.trim_end().trim_end_matches(" blue"));
    let lie = format!("SSH_AUTH_INFO_0={accepted}");
    let config = "AcceptEnv *\nPermitUserEnvironment yes\nAuthenticationMethods keyboard-interactive\n";
    let world = world.start_sshd_in(config, &[&lie]);
    world.authorized_keys("alice", &line);
    world.write("/home/alice/.pam_environment", &format!("SSH_AUTH_INFO_0 DEFAULT=\"{accepted}\"\n"));
    world.write("/home/alice/.ssh/environment", &format!("{lie}\n"));
    let client = || world.ssh("alice").option(&format!("SetEnv=\"{lie}\" MARK=arrived"));
    let mut ssh = attempt(client());
    ssh.answer(PASSWORD_PROMPT, "pw-alice");
    expect_key_needed(ssh);
    world.log.expect_none("accepted");

    // It was there to be believed.
    let mut ssh = client().spawn("echo \"$MARK: $SSH_AUTH_INFO_0\"");
    ssh.answer(PASSWORD_PROMPT, "pw-alice");
    ssh.answer(RECOVERY_PROMPT, first_recovery_code(&said));
    let start: String = accepted.chars().take(40).collect();
    ssh.expect(&format!("arrived: {start}"));
    ssh.expect_end(0);
    world.log.expect_none("accepted ssh-key");
}

/// There is no sshd that could have seen a key, and su takes its environment from whoever calls it.
#[test]
fn login_and_su_know_no_ssh_keys() {
    let world = office().stack("login", PASSWORD_AND_CODE).stack("su", PASSWORD_AND_CODE);
    let line = world.security_key("blue", ED25519);
    enroll(&world, "alice", "blue");
    let lie = format!("SSH_AUTH_INFO_0=publickey {}", line.trim_end().trim_end_matches(" blue"));
    let su = world.terminal_of("bob", &["env", &lie, "su", "alice", "-c", "id -un"]);
    let login = world.terminal(&["env", &lie, "login", "-p", "alice"]);
    for mut terminal in [su, login] {
        terminal.answer(PASSWORD_PROMPT, "pw-alice");
        let before = terminal.expect(RECOVERY_PROMPT);
        assert!(before.contains(KEY_NEEDED), "{before}");
    }
    world.log.expect_none("accepted");
}

/// sshd asks no auth module then, and tells the account phase of no key: the enrolled one is as good as any.
#[test]
fn with_a_key_alone_nobody_gets_in() {
    let world = office().authorize_key(&["bob"]).start_sshd(SSHD_KEY_ONLY);
    enrolled(&world, "alice", "blue", ED25519);
    for client in [world.ssh("alice").security_key("blue"), world.ssh("bob").key()] {
        let refused = client.run("echo COMMAND-RAN").expect(255);
        assert_eq!(refused.stdout, "");
        assert!(refused.stderr.contains(NO_FACTOR), "{refused:?}");
    }
    world.log.expect("pam_twofa(sshd:account): refused alice from 127.0.0.1 reason=no-factor");
    world.log.expect_none("accepted ssh-key");
    let mut forward = world.ssh("alice").security_key("blue").forward();
    forward.expect(NO_FACTOR);
    forward.expect_end(255);
}

#[track_caller]
fn doubts(world: &World, conf: &str) -> String {
    world.write("/etc/ssh/sshd_config", conf);
    let check = world.admin(&["policy", "check"]).expect(3);
    assert!(check.stdout.contains("is a valid policy"), "{check:?}");
    check.stdout
}

#[track_caller]
fn expect_no_doubts(world: &World, conf: &str) {
    world.write("/etc/ssh/sshd_config", conf);
    let shown = world.admin(&["policy", "check"]).ok();
    assert_eq!(shown, "/etc/twofa/twofa.toml is a valid policy.\n");
}

#[test]
fn the_policy_is_doubted_where_sshd_does_not_insist_on_a_touch() {
    let world = office();
    // `sshd -T` wants it, as sshd does.
    world.run(&["mkdir", "-p", "/run/sshd"]).ok();
    let everybody = "\nsshd does not insist on the touch of a security key. Set `Pubkey";
    // Nobody has such a key yet, and somebody may get one tomorrow.
    for round in ["nobody", "alice and bob"] {
        for conf in ["", "PubkeyAuthOptions none\n", "Match User bob\nPubkeyAuthOptions touch-required\n"] {
            let shown = doubts(&world, conf);
            assert!(shown.contains(everybody) && shown.contains("no-touch-required"), "{round}: {shown}");
        }
        for conf in ["touch-required", "verify-required", "touch-required verify-required"] {
            expect_no_doubts(&world, &format!("PubkeyAuthOptions {conf}\n"));
            expect_no_doubts(&world, &format!("Match User *\nPubkeyAuthOptions {conf}\n"));
        }
        if round == "nobody" {
            enrolled(&world, "alice", "blue", ED25519);
            enrolled(&world, "bob", "red", ECDSA);
        }
    }
    let status = world.admin(&["status"]).expect(3);
    assert!(!status.stdout.contains("insist on the touch"), "{}", status.stdout);

    for conditions in [
        "Match User alice\nPubkeyAuthOptions none\n",
        "Match User alice Host localhost Address 127.0.0.0/8 LocalPort 22\nPubkeyAuthOptions none\n",
        "Match Group alice\nPubkeyAuthOptions none\n",
    ] {
        let shown = doubts(&world, &format!("PubkeyAuthOptions touch-required\n{conditions}"));
        assert!(shown.contains("For alice sshd does not insist"), "{conditions}: {shown}");
        assert!(!shown.contains("bob"), "{shown}");
    }
    let both = "PubkeyAuthOptions touch-required\nMatch User alice,bob\nPubkeyAuthOptions none\n";
    assert!(doubts(&world, both).contains("For alice, bob sshd does not insist"));
    // Of users without such a key nothing is asked.
    let carol = "PubkeyAuthOptions touch-required\nMatch User carol\nPubkeyAuthOptions none\n";
    expect_no_doubts(&world, carol);
}

#[test]
fn the_policy_is_doubted_where_sshd_does_not_say() {
    let world = office();
    world.run(&["mkdir", "-p", "/run/sshd"]).ok();
    enrolled(&world, "alice", "blue", ED25519);
    let unseen = "Whether sshd insists on the touch of a security key could not be looked at";
    let good = "PubkeyAuthOptions touch-required\n";
    for broken in ["PubkeyAuthOptions touch-required\nNoSuchSetting yes\n", "PubkeyAuthOptions often\n"] {
        let shown = doubts(&world, broken);
        assert!(shown.contains(unseen) && shown.contains("exit status: 255"), "{shown}");
    }
    expect_no_doubts(&world, good);
    let sshd = "/usr/sbin/sshd";
    world.run(&["mv", sshd, "/root/sshd"]).ok();
    let shown = doubts(&world, good);
    assert!(shown.contains(unseen) && shown.contains("/usr/sbin/sshd does not exist"), "{shown}");
    // What others could have changed is not run, and what hangs is not waited for.
    world.run(&["install", "-m", "777", "/root/sshd", sshd]).ok();
    let shown = doubts(&world, good);
    assert!(shown.contains(unseen) && shown.contains("can be changed by others"), "{shown}");
    world.write(sshd, "#!/bin/sh\nsleep 60\n");
    world.run(&["chmod", "755", sshd]).ok();
    let shown = doubts(&world, good);
    assert!(shown.contains(unseen) && shown.contains("it took too long"), "{shown}");
    // Its environment is not ours.
    world.write(sshd, "#!/bin/sh\necho pubkeyauthoptions ${TOUCH-touch-required}\n");
    world.run(&["env", "TOUCH=none", "twofa-admin", "policy", "check"]).ok();
    world.run(&["install", "-m", "755", "/root/sshd", sshd]).ok();

    // Where no SSH key can be a second factor, sshd is not asked.
    world.write("/etc/ssh/sshd_config", "NoSuchSetting yes\n");
    for policy in [POLICY, &key_policy().replace(r#""sshd", "#, "")] {
        world.write("/etc/twofa/twofa.toml", policy);
        world.admin(&["policy", "check"]).ok();
    }
}

/// A host with many users still answers at once, and says what it left out.
#[test]
fn sshd_is_asked_about_a_hundred_users() {
    let world = office();
    world.run(&["mkdir", "-p", "/run/sshd"]).ok();
    world.append(
        "/etc/passwd",
        &(1..=101).map(|n| format!("u{n}:x:{}:100::/:/bin/sh\n", 2000 + n)).collect::<String>(),
    );
    let enroll = "for n in $(seq $1 $2); do
            ssh-keygen -q -t ed25519-sk -N '' -C '' -f /root/u$n || exit 1
            echo saved | twofa-admin enroll ssh-key u$n /root/u$n.pub || exit 1
        done";
    let provider = format!("SSH_SK_PROVIDER={SOFT_KEY}");
    for [first, last] in [["1", "30"], ["31", "60"], ["61", "90"], ["91", "101"]] {
        world.run(&["env", &provider, "sh", "-c", enroll, "sh", first, last]).ok();
    }
    let none_for =
        |user: &str| format!("PubkeyAuthOptions touch-required\nMatch User {user}\nPubkeyAuthOptions none\n");
    assert!(doubts(&world, &none_for("u100")).contains("For u100 sshd"));
    world.write("/etc/ssh/sshd_config", &none_for("u101"));
    let shown = world.admin(&["policy", "check"]).ok();
    assert!(shown.contains("101 users have SSH keys") && shown.contains("the first 100"), "{shown}");
}

/// As other doubts: a remark, and the policy is in force.
#[test]
fn a_change_of_the_policy_shows_the_doubt() {
    let world = office_with(&POLICY.replace("enforce", "observe"));
    world.run(&["mkdir", "-p", "/run/sshd"]).ok();
    enrolled(&world, "alice", "blue", ED25519);
    world.write("/etc/ssh/sshd_config", "");
    let set = world.admin(&["policy", "set", r#"methods=["key"]"#]).expect(0);
    assert!(set.stderr.contains(REMEDY), "{set:?}");
    let enable = world.admin(&["policy", "enable", "--force"]).expect(0);
    assert!(enable.stderr.contains(REMEDY), "{enable:?}");
    world.write("/etc/ssh/sshd_config", "PubkeyAuthOptions touch-required\n");
    let set = world.admin(&["policy", "set", "limits.failures=4", "--force"]).expect(0);
    assert!(!set.stderr.contains("touch-required"), "{set:?}");
}
