//! What must not get in, and what must not be held against anybody, with a real sshd.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

use std::time::Duration;

use twofa_tests::setup::{
    CODE_PROMPT, KEY_OR_PASSWORD_AND_CODE, PASSWORD_AND_CODE, PASSWORD_PROMPT, POLICY, SSHD_KEY_AND_CODE,
    SSHD_KEY_ONLY,
};
use twofa_tests::ssh::Client;
use twofa_tests::terminal::Terminal;
use twofa_tests::totp::App;
use twofa_tests::world::World;

/// pam_unix's line, which existing log watchers know.
const FAILURE: &str = "pam_twofa(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= \
                       rhost=127.0.0.1  user=alice";

/// alice is enrolled; sshd asks for password and code.
fn office() -> (World, App) {
    let world = World::new().user("alice", "pw-alice").policy(POLICY).stack("sshd", PASSWORD_AND_CODE);
    let app = world.enroll("alice").app;
    (world, app)
}

/// alice is enrolled and has a key; sshd asks for key and code.
fn office_with_keys() -> (World, App) {
    let (world, app) = office();
    (world.stack("sshd", KEY_OR_PASSWORD_AND_CODE).authorize_key(&["alice", "root"]), app)
}

/// An ssh that gives up after one failed pam_authenticate instead of three.
fn once<'w>(world: &'w World, user: &str) -> Client<'w> {
    world.ssh(user).option("NumberOfPasswordPrompts=1")
}

/// Nothing was counted against anybody: all could still make every mistake they are allowed.
#[track_caller]
fn assert_nothing_charged(world: &World) {
    let users = world.admin(&["user", "list", "--json"]).ok();
    let users: String = users.split_whitespace().collect();
    let accounts = users.matches("\"user\":").count();
    assert!(accounts > 0, "{users}");
    assert_eq!(users.matches("\"failures\":0,").count(), accounts, "{users}");
}

#[test]
fn three_wrong_codes_end_the_attempt() {
    let (world, app) = office();
    let world = world.start_sshd("");
    let mut ssh = once(&world, "alice").spawn("id");
    ssh.answer(PASSWORD_PROMPT, "pw-alice");
    ssh.answer(CODE_PROMPT, &app.wrong_code());
    for _ in 0..2 {
        assert!(ssh.answer(CODE_PROMPT, &app.wrong_code()).contains("Wrong code."));
    }
    ssh.expect_end(255);
    world.log.expect(FAILURE);
    assert!(!ssh.screen().contains("uid="), "{}", ssh.screen());
}

#[test]
fn a_code_is_good_for_one_login() {
    let (world, mut app) = office();
    let world = world.start_sshd("");
    let code = app.code();
    let mut ssh = world.ssh("alice").spawn("id");
    ssh.answer(PASSWORD_PROMPT, "pw-alice");
    ssh.answer(CODE_PROMPT, &code);
    ssh.expect("uid=");

    let mut again = world.ssh("alice").spawn("id");
    again.answer(PASSWORD_PROMPT, "pw-alice");
    again.answer(CODE_PROMPT, &code);
    again.expect("This code was already used.");
    again.answer(CODE_PROMPT, &app.code());
    again.expect("uid=");
}

#[test]
fn five_wrong_codes_lock_the_address_and_no_other() {
    let (world, mut app) = office();
    let world = world.address("192.0.2.7").start_sshd("");
    let mut ssh = world.ssh("alice").spawn("id");
    for guesses in [3, 2] {
        ssh.answer(PASSWORD_PROMPT, "pw-alice");
        for _ in 0..guesses {
            ssh.answer(CODE_PROMPT, &app.wrong_code());
        }
    }
    ssh.expect("Too many failed");
    ssh.expect("UTC");
    drop(ssh);

    let mut locked = once(&world, "alice").spawn("id");
    locked.answer(PASSWORD_PROMPT, "pw-alice");
    locked.expect_end(255);
    assert!(locked.screen().contains("Too many failed"), "{}", locked.screen());

    let mut elsewhere = world.ssh("alice").from("192.0.2.7").spawn("id");
    elsewhere.answer(PASSWORD_PROMPT, "pw-alice");
    elsewhere.answer(CODE_PROMPT, &app.code());
    elsewhere.expect("uid=");
}

/// A public-key login never runs the auth phase; the account phase is what stops it.
#[test]
fn a_key_alone_opens_nothing() {
    let (world, _) = office();
    let world = world.authorize_key(&["alice"]).start_sshd(SSHD_KEY_ONLY);
    let refused = |terminal: &mut Terminal| {
        terminal.expect_end(255);
        assert!(!terminal.screen().contains("uid="), "{}", terminal.screen());
        assert!(!terminal.screen().contains("sftp>"), "{}", terminal.screen());
    };
    let client = world.ssh("alice").key();
    refused(&mut client.spawn("id"));
    refused(&mut client.shell());
    refused(&mut client.forward());
    refused(&mut client.sftp());
    world.log.expect_times("Access denied for user alice by PAM account configuration", 4);
    world.log.expect("pam_twofa(sshd:account)");
    world.log.expect_none("session opened");
}

/// Debian's sssd package brings a `sufficient` account line, which would end the stack before a line below it.
#[test]
fn no_other_account_module_lets_past() {
    let (world, _) = office();
    let stack = format!("{PASSWORD_AND_CODE}\naccount sufficient pam_permit.so");
    let world = world.stack("sshd", &stack).authorize_key(&["alice"]).start_sshd(SSHD_KEY_ONLY);
    let mut ssh = world.ssh("alice").key().spawn("id");
    ssh.expect_end(255);
    assert!(!ssh.screen().contains("uid="), "{}", ssh.screen());
}

/// Names must not be found out by trying: same prompts, same texts, for any user and any password.
#[test]
fn an_unknown_user_sees_what_a_known_one_sees() {
    for (control, asks_for_a_code) in [("requisite", false), ("required", true)] {
        let (world, app) = office();
        let world = world.stack("sshd", &PASSWORD_AND_CODE.replace("requisite", control)).start_sshd("");
        let [known, unknown] = ["alice", "zelda"].map(|user| {
            let mut ssh = once(&world, user).spawn("id");
            ssh.answer(PASSWORD_PROMPT, "wrong");
            while let (0, _) = ssh.expect_any(&[CODE_PROMPT, "Permission denied"]) {
                ssh.send_line(&app.wrong_code());
            }
            ssh.expect_end(255);
            ssh.screen().replace(user, "USER")
        });
        assert_eq!(known, unknown, "{control} pam_unix");
        assert_eq!(known.contains(CODE_PROMPT), asks_for_a_code, "{known}");
    }
}

/// sshd answers in root's place with `\b\n\r\x7fINCORRECT`: no guess of anybody's.
#[test]
fn root_is_refused_where_sshd_prohibits_passwords() {
    let (world, _) = office_with_keys();
    let world = world.start_sshd(&format!("PermitRootLogin prohibit-password\n{SSHD_KEY_AND_CODE}"));
    let root = world.enroll("root");
    let mut ssh = once(&world, "root").key().spawn("id");
    ssh.answer(CODE_PROMPT, &root.app.current());
    while let (0, _) = ssh.expect_any(&[CODE_PROMPT, "Permission denied"]) {
        ssh.send_line(&root.app.current());
    }
    ssh.expect_end(255);
    world.log.expect("refused root from 127.0.0.1 reason=refused-by-sshd");
    assert_nothing_charged(&world);
}

/// Without a terminal ssh answers every prompt with nothing.
#[test]
fn ssh_without_a_terminal_ends_and_is_no_guess() {
    let (world, _) = office_with_keys();
    let world = world.start_sshd(SSHD_KEY_AND_CODE);
    world.ssh("alice").key().run("id").expect(255);
    world.log.expect("refused alice from 127.0.0.1 reason=no-code-typed");
    assert_nothing_charged(&world);
}

#[test]
fn batch_mode_ends_before_any_prompt() {
    let (world, _) = office_with_keys();
    let world = world.start_sshd(SSHD_KEY_AND_CODE);
    let refused = world.ssh("alice").key().option("BatchMode=yes").run("id").expect(255);
    assert!(refused.stderr.contains("Permission denied (keyboard-interactive)"), "{refused:?}");
    world.expect_no_connection(Duration::from_secs(1));
    world.log.expect_none("panic");
    assert_nothing_charged(&world);
}

/// With `PasswordAuthentication yes` sshd gives the login password to every prompt by itself.
#[test]
fn a_password_replayed_by_sshd_is_no_guess() {
    let (world, _) = office();
    let world = world.start_sshd("PasswordAuthentication yes\n");
    let mut ssh = once(&world, "alice").option("PreferredAuthentications=password").spawn("id");
    ssh.answer(PASSWORD_PROMPT, "pw-alice");
    ssh.expect_end(255);
    assert!(!ssh.screen().contains("uid="), "{}", ssh.screen());
    world.log.expect("refused alice from 127.0.0.1 reason=no-code-typed");
    assert_nothing_charged(&world);
}

#[test]
fn a_client_killed_at_the_prompt_leaves_no_process() {
    let (world, mut app) = office();
    let world = world.start_sshd("");
    let mut ssh = world.ssh("alice").spawn("id");
    ssh.answer(PASSWORD_PROMPT, "pw-alice");
    ssh.expect(CODE_PROMPT);
    ssh.kill();
    world.expect_no_connection(Duration::from_secs(1));

    let mut next = world.ssh("alice").spawn("id");
    next.answer(PASSWORD_PROMPT, "pw-alice");
    next.answer(CODE_PROMPT, &app.code());
    next.expect("uid=");
}

/// fail2ban's own filters, unchanged, must see the guesses.
#[test]
fn fail2ban_knows_our_failure_line() {
    let (world, app) = office();
    let world = world.start_sshd("");
    let mut ssh = once(&world, "alice").spawn("id");
    ssh.answer(PASSWORD_PROMPT, "pw-alice");
    for _ in 0..3 {
        ssh.answer(CODE_PROMPT, &app.wrong_code());
    }
    world.log.expect("Failed keyboard-interactive/pam for alice");
    let report = |filter: &str, lines: &[String]| {
        world.write("/root/auth.log", &lines.iter().map(|line| as_in_auth_log(line)).collect::<String>());
        let filter = format!("/etc/fail2ban/filter.d/{filter}");
        world.run(&["fail2ban-regex", "--print-all-matched", "/root/auth.log", &filter]).ok()
    };
    let ours = [world.log.expect(FAILURE)];
    let recognised = report("sshd.conf", &ours);
    assert!(recognised.contains("Failregex: 1 total"), "{recognised}");
    // sshd's own filter counts sshd's own line and takes ours as a part of the same failure.
    let whole = report("sshd.conf", &world.log.lines());
    assert!(whole.contains(" 1 matched"), "{whole}");
    // Console logins have no sshd to speak for them; this one filter needs to be told the module's name.
    let generic = report("pam-generic.conf[__pam_auth=pam_(unix|twofa)]", &ours);
    assert!(generic.contains(" 1 matched"), "{generic}");
}

/// What a syslog daemon does: the priority goes, its own time (15 letters) and the host's name come in front.
fn as_in_auth_log(line: &str) -> String {
    let (_, line) = line.split_once('>').expect("a priority");
    let (time, text) =
        if line.starts_with("sshd") { ("Nov 21 22:04:05", line) } else { (&line[..15], &line[16..]) };
    format!("{time} twofa-test {text}\n")
}
