//! Every way in that must work, with real sshd, login, su and sudo.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

use std::fs;

use twofa_tests::setup::{
    CODE_PROMPT, KEY_OR_PASSWORD_AND_CODE, PASSWORD_AND_CODE, PASSWORD_PROMPT, POLICY, SSHD_KEY_AND_CODE,
    SSHD_KEY_ONLY, SSHD_KEY_OR_PASSWORD,
};
use twofa_tests::terminal::Terminal;
use twofa_tests::world::World;

/// alice and bob have passwords; the policy asks for a code.
fn office() -> World {
    World::new().user("alice", "pw-alice").user("bob", "pw-bob").policy(POLICY)
}

#[test]
fn ssh_by_password_and_code() {
    let world = office().stack("sshd", PASSWORD_AND_CODE).start_sshd("");
    let mut alice = world.enroll("alice");
    let mut ssh = world.ssh("alice").spawn("echo hello $USER");
    ssh.answer(PASSWORD_PROMPT, "pw-alice");
    ssh.answer(CODE_PROMPT, &alice.app.code());
    ssh.expect("hello alice");
    ssh.expect_end(0);
    world.log.expect("pam_twofa(sshd:auth): accepted app for alice from 127.0.0.1");
    world.log.expect("Accepted keyboard-interactive/pam for alice from 127.0.0.1");
}

#[test]
fn ssh_over_ipv6() {
    let world = office().stack("sshd", PASSWORD_AND_CODE).start_sshd("ListenAddress ::1\n");
    let mut alice = world.enroll("alice");
    let mut ssh = world.terminal(&["ssh", "-F", "none", "alice@::1", "id -un"]);
    ssh.answer(PASSWORD_PROMPT, "pw-alice");
    ssh.answer(CODE_PROMPT, &alice.app.code());
    ssh.expect("alice\n");
    world.log.expect("accepted app for alice from ::1");
}

/// A code as apps show it, in two groups; what comes before is only wrong, whatever it is.
#[test]
fn ssh_with_odd_answers() {
    let world = office().stack("sshd", PASSWORD_AND_CODE).start_sshd("");
    let mut alice = world.enroll("alice");
    let mut ssh = world.ssh("alice").spawn("id -un");
    ssh.answer(PASSWORD_PROMPT, "pw-alice");
    ssh.answer(CODE_PROMPT, &"9".repeat(3000));
    ssh.answer(CODE_PROMPT, "\u{202e}\u{1b}[2J ä€%s%n");
    let code = alice.app.code();
    let (left, right) = code.split_at(3);
    ssh.answer(CODE_PROMPT, &format!("{left} {right}"));
    ssh.expect("alice\n");
}

/// pam_unix asks for the new password in its account phase, between ours and the shell.
#[test]
fn ssh_with_an_expired_password() {
    let world = office().stack("sshd", PASSWORD_AND_CODE);
    let stack = format!("{PASSWORD_AND_CODE}\nsession required pam_unix.so\npassword required pam_unix.so\n");
    world.write("/etc/pam.d/sshd", &stack);
    world.run(&["chage", "--lastday", "0", "alice"]).ok();
    let world = world.start_sshd("");
    let mut alice = world.enroll("alice");
    let mut ssh = world.ssh("alice").spawn("id -un");
    ssh.answer(PASSWORD_PROMPT, "pw-alice");
    ssh.answer(CODE_PROMPT, &alice.app.code());
    ssh.answer("urrent password: ", "pw-alice");
    ssh.answer("ew password: ", "Zebra-Lamp-77x");
    ssh.answer("new password: ", "Zebra-Lamp-77x");
    ssh.expect("alice\n");
    ssh.expect_end(0);
}

#[test]
fn ssh_by_key_and_code_without_a_password() {
    let world = office()
        .stack("sshd", KEY_OR_PASSWORD_AND_CODE)
        .authorize_key(&["alice"])
        .start_sshd(SSHD_KEY_AND_CODE);
    let mut alice = world.enroll("alice");
    let mut ssh = world.ssh("alice").key().spawn("echo hello $USER");
    let before = ssh.answer(CODE_PROMPT, &alice.app.code());
    assert_eq!(before, "(alice@127.0.0.1) ", "nothing is asked before the code");
    ssh.expect("hello alice");
    ssh.expect_end(0);
    world.log.expect("pam_twofa(sshd:auth): accepted app for alice from 127.0.0.1");
}

#[test]
fn ssh_by_key_or_password_in_one_configuration() {
    let world = office()
        .stack("sshd", KEY_OR_PASSWORD_AND_CODE)
        .authorize_key(&["alice"])
        .start_sshd(SSHD_KEY_OR_PASSWORD);
    let mut alice = world.enroll("alice");
    let mut bob = world.enroll("bob");

    let mut with_key = world.ssh("alice").key().spawn("echo hello $USER");
    assert!(!with_key.answer(CODE_PROMPT, &alice.app.code()).contains("assword"));
    with_key.expect("hello alice");

    let mut with_password = world.ssh("bob").spawn("echo hello $USER");
    with_password.answer(PASSWORD_PROMPT, "pw-bob");
    with_password.answer(CODE_PROMPT, &bob.app.code());
    with_password.expect("hello bob");
}

#[test]
fn ssh_by_recovery_code() {
    let world = office().stack("sshd", PASSWORD_AND_CODE).start_sshd("");
    let alice = world.enroll("alice");
    assert_eq!(alice.recovery.len(), 10);
    let mut ssh = world.ssh("alice").spawn("echo hello $USER");
    ssh.answer(PASSWORD_PROMPT, "pw-alice");
    ssh.answer(CODE_PROMPT, &alice.recovery[0]);
    ssh.expect("hello alice");
    ssh.expect_end(0);

    let mut again = world.ssh("alice").option("NumberOfPasswordPrompts=1").spawn("echo hello $USER");
    again.answer(PASSWORD_PROMPT, "pw-alice");
    again.answer(CODE_PROMPT, &alice.recovery[0]);
    again.answer(CODE_PROMPT, &alice.recovery[0].to_lowercase());
    again.answer(CODE_PROMPT, &alice.recovery[0].replace('-', ""));
    again.expect_end(255);
    assert!(!again.screen().contains("hello"), "{}", again.screen());

    let mut other = world.ssh("alice").spawn("echo hello $USER");
    other.answer(PASSWORD_PROMPT, "pw-alice");
    other.answer(CODE_PROMPT, &alice.recovery[1].to_lowercase().replace('-', " "));
    other.expect("hello alice");
}

/// The code that proved the app was typed on a terminal that others may see: it opens no login.
#[test]
fn enrolment_at_a_terminal() {
    let world = office().stack("sshd", PASSWORD_AND_CODE).start_sshd("");
    let (mut alice, screen) = world.enroll_at_terminal("alice", &[]);
    assert!(screen.contains("█"), "a QR code:\n{screen}");
    assert_eq!(alice.recovery.len(), 10, "{screen}");
    let mut ssh = world.ssh("alice").spawn("echo hello $USER");
    ssh.answer(PASSWORD_PROMPT, "pw-alice");
    ssh.answer(CODE_PROMPT, &alice.app.last());
    ssh.expect("This code was already used.");
    ssh.answer(CODE_PROMPT, &alice.app.code());
    ssh.expect("hello alice");
}

/// They take the code from the terminal and their data from elsewhere: no text of ours gets into a stream.
#[test]
fn scp_rsync_and_sftp_with_a_code() {
    let world = office().stack("sshd", PASSWORD_AND_CODE).start_sshd("");
    let mut alice = world.enroll("alice");
    world.write("/root/report", "four pages\n");
    let client = world.ssh("alice");
    let copies: [&dyn Fn() -> Terminal; 2] =
        [&|| client.scp("/root/report"), &|| client.rsync("/root/report")];
    for copy in copies {
        let mut terminal = copy();
        terminal.answer(PASSWORD_PROMPT, "pw-alice");
        terminal.answer(CODE_PROMPT, &alice.app.code());
        terminal.expect_end(0);
        assert_eq!(fs::read_to_string(world.path("/home/alice/report")).unwrap(), "four pages\n");
        fs::remove_file(world.path("/home/alice/report")).unwrap();
    }

    let mut sftp = world.ssh("alice").sftp();
    sftp.answer(PASSWORD_PROMPT, "pw-alice");
    sftp.answer(CODE_PROMPT, &alice.app.code());
    sftp.answer("sftp> ", "put /root/report");
    sftp.answer("sftp> ", "ls");
    sftp.expect("report");
    sftp.answer("sftp> ", "bye");
    sftp.expect_end(0);
}

#[test]
fn console_login_with_a_code() {
    let world = office().stack("login", PASSWORD_AND_CODE);
    let mut alice = world.enroll("alice");
    let mut console = world.console();
    console.answer("login: ", "alice");
    console.answer(PASSWORD_PROMPT, "pw-alice");
    console.answer(CODE_PROMPT, &alice.app.code());
    console.answer("$ ", "echo hello $USER; exit");
    console.expect("hello alice");
    console.end();
    world.log.expect("pam_twofa(login:auth): accepted app for alice");
}

#[test]
fn su_with_the_code_of_the_other_user() {
    let stack = format!("auth sufficient pam_rootok.so\n{PASSWORD_AND_CODE}");
    let world = office().stack("su", &stack);
    let mut alice = world.enroll("alice");
    let mut su = world.terminal_of("bob", &["su", "alice", "-c", "id -un"]);
    su.answer(PASSWORD_PROMPT, "pw-alice");
    su.answer(CODE_PROMPT, &alice.app.code());
    su.expect("alice\n");
    su.expect_end(0);
    world.log.expect("pam_twofa(su:auth): accepted app for alice");

    let mut wrong = world.terminal_of("bob", &["su", "alice", "-c", "id -un"]);
    wrong.answer(PASSWORD_PROMPT, "pw-alice");
    for _ in 0..3 {
        wrong.answer(CODE_PROMPT, &alice.app.wrong_code());
    }
    wrong.expect("Login refused. Call the help desk, extension 42.");
    wrong.expect_end(1);
}

/// Root's su and sudo's timestamp ask nobody: those users are in already, and their stacks may have their reasons.
#[test]
fn who_is_inside_may_go_on_unasked_by_su_and_sudo() {
    let policy = POLICY.replace("\"su\"", "\"su\", \"sudo\"");
    let stack = format!("auth sufficient pam_rootok.so\n{PASSWORD_AND_CODE}");
    let world = office().policy(&policy).stack("su", &stack).stack("sudo", PASSWORD_AND_CODE);
    let mut alice = world.enroll("alice");
    world.terminal(&["su", "alice", "-c", "id -un"]).expect("alice\n");
    world.log.expect("pam_twofa(su:account): not asked alice");

    world.run(&["adduser", "--quiet", "alice", "sudo"]).ok();
    let mut sudo = world.terminal_of("alice", &["sh", "-c", "sudo id -un; sudo id -un"]);
    sudo.answer("password for alice: ", "pw-alice");
    sudo.answer(CODE_PROMPT, &alice.app.code());
    sudo.expect("root\n");
    sudo.expect("root\n");
    sudo.expect_end(0);
}

/// In `common-auth` the module also meets services that the policy does not list: it must not be noticed there.
#[test]
fn a_service_outside_the_policy_is_untouched() {
    let stack = PASSWORD_AND_CODE.replace("requisite", "required");
    let world = office().stack("sudo", &stack);
    world.run(&["adduser", "--quiet", "alice", "sudo"]).ok();
    world.enroll("alice");
    let mut sudo = world.terminal_of("alice", &["sudo", "id", "-un"]);
    sudo.answer("assword", "pw-alice");
    sudo.expect("root\n");
    sudo.expect_end(0);
    assert!(!sudo.screen().contains("erification"), "{}", sudo.screen());

    let mut wrong = world.terminal_of("alice", &["sudo", "-k", "id", "-un"]);
    wrong.answer("assword", "wrong");
    wrong.expect("Sorry, try again.");
}

#[test]
fn an_exempt_user_from_an_exempt_network_needs_only_the_key() {
    let exempt = r#"
[[exempt]]
user = "backup"
from = ["127.0.0.0/8"]
reason = "nightly backup"
until = 2099-12-31
"#;
    let world = World::new()
        .user("alice", "pw-alice")
        .policy(&format!("{POLICY}{exempt}"))
        .stack("sshd", PASSWORD_AND_CODE)
        .address("192.0.2.7");
    // A system user of Debian; it needs a shell.
    world.run(&["usermod", "--shell", "/bin/sh", "--home", "/home/backup", "--move-home", "backup"]).ok();
    let world = world.authorize_key(&["alice", "backup"]).start_sshd(SSHD_KEY_ONLY);

    world.ssh("backup").key().option("BatchMode=yes").run("echo hello $USER").ok();
    world.log.expect("for backup from 127.0.0.1");

    let from_elsewhere = world.ssh("backup").key().from("192.0.2.7").option("BatchMode=yes").run("id");
    from_elsewhere.expect(255);
    world.ssh("alice").key().option("BatchMode=yes").run("id").expect(255);
}

/// With `prohibit-password` sshd would replace root's code by junk; `yes` is what a host with root logins needs.
#[test]
fn root_by_key_and_code() {
    let world = office()
        .stack("sshd", KEY_OR_PASSWORD_AND_CODE)
        .authorize_key(&["root"])
        .start_sshd(&format!("PermitRootLogin yes\n{SSHD_KEY_AND_CODE}"));
    let mut root = world.enroll("root");
    let mut ssh = world.ssh("root").key().spawn("echo hello $USER");
    ssh.answer(CODE_PROMPT, &root.app.code());
    ssh.expect("hello root");
    ssh.expect_end(0);
}

/// The administrator must get in to a host whose disk is full, and a code must stay used even there.
#[test]
fn a_full_disk_admits_and_still_spends_the_code() {
    let world = World::new().user("alice", "pw-alice");
    world.run(&["mkdir", "-pm", "700", "/var/lib/twofa"]).ok();
    world.run(&["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", "/var/lib/twofa"]).ok();
    let world = world.policy(POLICY).stack("sshd", PASSWORD_AND_CODE).start_sshd("");
    let mut alice = world.enroll("alice");
    let filled = world.run(&["dd", "if=/dev/zero", "of=/var/lib/twofa/filler", "bs=4k"]);
    assert!(filled.stderr.contains("No space left on device"), "{filled:?}");

    let code = alice.app.code();
    let mut ssh = world.ssh("alice").spawn("echo hello $USER");
    ssh.answer(PASSWORD_PROMPT, "pw-alice");
    ssh.answer(CODE_PROMPT, &code);
    ssh.expect("hello alice");

    let mut again = world.ssh("alice").spawn("echo hello $USER");
    again.answer(PASSWORD_PROMPT, "pw-alice");
    again.answer(CODE_PROMPT, &code);
    again.expect("This code was already used.");
}
