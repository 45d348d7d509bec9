//! Codes by SMS and e-mail, with real sshd, login and su, real clients, and a hook that puts messages into a folder.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)] // a test may panic and wait

use std::fs;
use std::thread;
use std::time::Duration;

use twofa_tests::gateway::Gateway;
use twofa_tests::mailbox::{Mailbox, Message, Order};
use twofa_tests::namespace::Process;
use twofa_tests::setup::{
    CODE_PROMPT, KEY_OR_PASSWORD_AND_CODE, PASSWORD_AND_CODE, PASSWORD_PROMPT, SSHD_KEY_AND_CODE, policy_of,
};
use twofa_tests::ssh::Client;
use twofa_tests::terminal::Terminal;
use twofa_tests::world::{Enrolled, World};

const ALICE: &str = "+48600000123";
const BOB: &str = "+48601000456";

const SMS: &str = "Verification code (SMS to +48 *** *** 123): ";
const SMS_OF_BOB: &str = "Verification code (SMS to +48 *** *** 456): ";
const SMS_OR_APP: &str = "Verification code (SMS to +48 *** *** 123, or type app): ";
const APP_OR_SMS: &str = "Verification code (app, or type sms): ";
const RECOVERY_OR_RESEND: &str = "Verification code (recovery code, or type resend): ";
const NOT_SENT: &str = "No code could be sent by SMS. Call the help desk, extension 42.";
const TOO_SOON: &str = "can be sent in ";

/// As long as the kernel and two processes need to end what nobody waits for any more.
const SOON: Duration = Duration::from_secs(3);

/// alice has a password, a telephone and two addresses; sshd asks for the password and then as the policy says.
fn office(methods: &str) -> (World, Mailbox) {
    let world =
        World::new().user("alice", "pw-alice").policy(&policy_of(methods)).stack("sshd", PASSWORD_AND_CODE);
    let mailbox = Mailbox::new(&world);
    let contacts = ["--phone", ALICE, "--email", "alice@example.org", "--email", "alice@example.net"];
    world.admin(&[&["user", "add", "alice"], &contacts[..]].concat()).ok();
    (world, mailbox)
}

/// The same with bob, who has no address.
fn office_with_bob(methods: &str) -> (World, Mailbox) {
    let (world, mailbox) = office(methods);
    let world = world.user("bob", "pw-bob");
    world.admin(&["user", "add", "bob", "--phone", BOB]).ok();
    (world, mailbox)
}

/// An ssh that gives up after one failed pam_authenticate instead of three.
fn once<'w>(world: &'w World, user: &str) -> Client<'w> {
    world.ssh(user).option("NumberOfPasswordPrompts=1")
}

/// alice's ssh after her password.
fn after_the_password(world: &World) -> Terminal {
    let mut ssh = once(world, "alice").spawn("echo hello $USER");
    ssh.answer(PASSWORD_PROMPT, "pw-alice");
    ssh
}

#[track_caller]
fn expect_hello(ssh: &mut Terminal) {
    ssh.expect("hello alice");
    ssh.expect_end(0);
}

/// Forgets the pause and the caps of alice's messages.
fn forget_sends(world: &World) {
    world.admin(&["user", "unlock", "alice"]).ok();
}

/// Six digits that are not `code`.
fn not(code: &str) -> String {
    let last = if code.ends_with('7') { "3" } else { "7" };
    format!("{}{last}", &code[..5])
}

/// Neither the code nor the whole number is in the log.
#[track_caller]
fn assert_not_logged(world: &World, message: &Message) {
    world.log.expect_none(&message.code());
    world.log.expect_none(&message.to);
}

/// Not what the shell is about to become, which has its name for a moment.
fn hooks(world: &World) -> Vec<Process> {
    let mut processes = world.processes();
    processes.retain(|process| process.command.contains("/etc/twofa/hooks/"));
    processes.sort_by_key(|process| process.pid);
    processes.truncate(1);
    processes
}

/// While a hook runs, everybody on the host may look at processes.
#[track_caller]
fn assert_in_no_process(world: &World, code: &str) {
    for process in world.processes() {
        for name in ["cmdline", "environ"] {
            let text = proc(world, process.pid, name);
            assert!(!text.contains(code), "{name}: {text}");
        }
    }
}

/// What `/proc/PID/NAME` inside says, with blanks for zeros; empty for what has gone.
fn proc(world: &World, pid: u32, name: &str) -> String {
    let bytes = fs::read(world.path(&format!("/proc/{pid}/{name}"))).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

#[test]
fn ssh_by_password_and_sms() {
    let (world, mut mailbox) = office(r#"["sms"]"#);
    let world = world.start_sshd("");
    let mut ssh = after_the_password(&world);
    assert_eq!(ssh.expect(SMS), "\n(alice@127.0.0.1) ");
    let message = mailbox.receive();
    assert_eq!((message.to.as_str(), message.kind.as_str()), (ALICE, "login"));
    assert_eq!((message.user.as_str(), message.host.as_str()), ("alice", "twofa-test"));
    let rest = " is your code for alice at twofa-test, asked for from 127.0.0.1. Valid until 20";
    assert!(message.text[6..].starts_with(rest) && message.text.ends_with(" UTC."), "{message:?}");
    ssh.send_line(&message.code());
    expect_hello(&mut ssh);
    let sent = format!("sent sms for alice from 127.0.0.1 to=+48******123 id={}", message.id);
    world.log.expect(&format!("{sent} answer=\"taken: [code]\""));
    world.log.expect("pam_twofa(sshd:auth): accepted sms for alice from 127.0.0.1 to=+48******123");
    assert_not_logged(&world, &message);
    mailbox.expect_nothing();

    let mut again = after_the_password(&world);
    again.expect(TOO_SOON);
    again.answer(RECOVERY_OR_RESEND, &message.code());
    again.expect("Wrong code.");
}

#[test]
fn ssh_by_key_and_sms_without_a_password() {
    let (world, mut mailbox) = office(r#"["sms"]"#);
    let world =
        world.stack("sshd", KEY_OR_PASSWORD_AND_CODE).authorize_key(&["alice"]).start_sshd(SSHD_KEY_AND_CODE);
    let mut ssh = world.ssh("alice").key().spawn("echo hello $USER");
    assert_eq!(ssh.expect(SMS), "(alice@127.0.0.1) ", "nothing is asked before the code");
    ssh.send_line(&mailbox.code());
    expect_hello(&mut ssh);
}

/// The app comes first and nothing is sent; whoever has left it at home types `sms`.
#[test]
fn the_app_with_sms_as_the_alternative() {
    let (world, mut mailbox) = office(r#"["app", "sms"]"#);
    let world = world.start_sshd("");
    let mut app = world.enroll("alice").app;
    let mut ssh = after_the_password(&world);
    ssh.answer(APP_OR_SMS, &app.code());
    expect_hello(&mut ssh);
    mailbox.expect_nothing();

    let mut by_sms = after_the_password(&world);
    by_sms.answer(APP_OR_SMS, "sms");
    by_sms.expect(SMS_OR_APP);
    by_sms.send_line(&mailbox.code());
    expect_hello(&mut by_sms);

    // And back: no second message for who wavers.
    forget_sends(&world);
    let mut wavering = after_the_password(&world);
    wavering.answer(APP_OR_SMS, "SMS");
    wavering.answer(SMS_OR_APP, "app");
    wavering.answer(APP_OR_SMS, "sms");
    let code = mailbox.code();
    wavering.answer(SMS_OR_APP, "app");
    // What was sent is no code of the app.
    wavering.answer(APP_OR_SMS, &code);
    wavering.expect("Wrong code.");
    wavering.answer(APP_OR_SMS, &app.code());
    expect_hello(&mut wavering);
    mailbox.expect_nothing();
}

#[test]
fn ssh_by_email() {
    let (world, mut mailbox) = office(r#"["email"]"#);
    let world = world.start_sshd("");
    let mut ssh = after_the_password(&world);
    ssh.expect("Verification code (e-mail to a***@example.org and 1 more): ");
    let message = mailbox.receive();
    assert_eq!(message.to, "alice@example.org, alice@example.net");
    ssh.send_line(&message.code());
    expect_hello(&mut ssh);
    world.log.expect("accepted email for alice from 127.0.0.1 to=a***@example.org");
    world.log.expect_none("alice@example");
    mailbox.expect_nothing();
}

/// The codes of users without an address of their own go to the one that the office reads together. Who has no account
/// gets one; nobody who does not exist is asked the same, and nothing is sent.
#[test]
fn ssh_by_email_to_a_shared_address() {
    let (world, mut mailbox) = office(r#"["email"]"#);
    let world = world.user("bob", "pw-bob").user("carol", "pw-carol").start_sshd("");
    world.admin(&["policy", "set", "email.default_address=office@example.org"]).ok();
    world.admin(&["user", "add", "bob"]).ok();
    let prompt = "Verification code (e-mail to o***@example.org): ";
    let mut bob = once(&world, "bob").spawn("id -un");
    bob.answer(PASSWORD_PROMPT, "pw-bob");
    bob.expect(prompt);
    let message = mailbox.receive();
    assert_eq!((message.to.as_str(), message.user.as_str()), ("office@example.org", "bob"));
    bob.send_line(&message.code());
    bob.expect("bob\n");

    let mut carol = once(&world, "carol").spawn("id -un");
    carol.answer(PASSWORD_PROMPT, "pw-carol");
    carol.expect(prompt);
    let message = mailbox.receive();
    assert_eq!((message.to.as_str(), message.user.as_str()), ("office@example.org", "carol"));
    carol.send_line(&message.code());
    carol.expect("carol\n");

    let mut nobody = once(&world, "nobody-here").spawn("id -un");
    nobody.answer(PASSWORD_PROMPT, "pw-nobody");
    let (which, _) = nobody.expect_any(&[PASSWORD_PROMPT, "denied", prompt]);
    assert!(which < 2, "{}", nobody.shown());
    mailbox.expect_nothing();
}

#[test]
fn the_app_with_email_as_the_alternative() {
    let (world, mut mailbox) = office(r#"["app", "email"]"#);
    let world = world.start_sshd("");
    world.enroll("alice");
    let mut ssh = after_the_password(&world);
    ssh.answer("Verification code (app, or type email): ", "e-mail");
    ssh.expect("Verification code (e-mail to a***@example.org and 1 more, or type app): ");
    ssh.send_line(&mailbox.code());
    expect_hello(&mut ssh);
}

/// Two clients of one user, and the one test that waits for as long as a pause is at least.
#[test]
fn a_code_belongs_to_its_session_and_resend_makes_another() {
    let (world, mut mailbox) = office_with_bob(r#"["sms"]"#);
    let world = world.start_sshd("");
    let mut first = after_the_password(&world);
    first.expect(SMS);
    let code = mailbox.code();
    let mut bob = once(&world, "bob").spawn("id -un");
    bob.answer(PASSWORD_PROMPT, "pw-bob");
    bob.answer(SMS_OF_BOB, "resend");
    bob.expect(TOO_SOON);
    let code_of_bob = mailbox.code();

    let mut second = after_the_password(&world);
    second.expect(TOO_SOON);
    second.answer(RECOVERY_OR_RESEND, &code);
    second.expect("Wrong code.");
    second.answer(RECOVERY_OR_RESEND, &code_of_bob);
    second.expect("Wrong code.");
    second.expect(RECOVERY_OR_RESEND);
    mailbox.expect_nothing();

    thread::sleep(Duration::from_secs(30));
    second.send_line("resend");
    second.expect(SMS);
    let newer = mailbox.code();
    // Each code is worth something in one session only, and the older one nothing any more.
    first.send_line(&newer);
    first.expect("Wrong code.");
    first.answer(SMS, &code);
    first.expect("Another login asked for a newer code; this one is void.");
    second.send_line(&newer);
    expect_hello(&mut second);

    bob.answer(SMS_OF_BOB, "resend");
    bob.expect(SMS_OF_BOB);
    bob.send_line(&code_of_bob);
    bob.expect("Wrong code.");
    bob.answer(SMS_OF_BOB, &mailbox.code());
    bob.expect("bob\n");
}

#[test]
fn three_wrong_answers_end_the_attempt() {
    let (world, mut mailbox) = office(r#"["sms"]"#);
    let world = world.start_sshd("");
    let mut ssh = after_the_password(&world);
    ssh.expect(SMS);
    let code = mailbox.code();
    ssh.send_line(&not(&code));
    for _ in 0..2 {
        assert!(ssh.answer(SMS, &not(&code)).contains("Wrong code."));
    }
    ssh.expect_end(255);
    assert!(ssh.screen().contains("Login refused. Call the help desk, extension 42."), "{}", ssh.screen());
    assert!(!ssh.screen().contains("hello"), "{}", ssh.screen());
    world.log.expect("refused alice from 127.0.0.1 reason=wrong-code");

    // Two more, of whatever kind, and the address is locked: then nothing is sent to it either.
    let mut two_more = after_the_password(&world);
    two_more.expect(TOO_SOON);
    two_more.answer(RECOVERY_OR_RESEND, &code);
    two_more.answer(RECOVERY_OR_RESEND, &code);
    two_more.expect("Too many failed codes.");
    two_more.expect_end(255);
    let mut locked = after_the_password(&world);
    locked.expect("Too many failed codes. Try again after");
    locked.expect_end(255);
    assert!(!locked.screen().contains("Verification"), "{}", locked.screen());
    mailbox.expect_nothing();
}

#[test]
fn with_the_gateway_down_a_recovery_code_opens() {
    let (world, mut mailbox) = office(r#"["sms"]"#);
    let world = world.start_sshd("");
    let recovery = world.recovery_codes("alice");
    assert_eq!(recovery.len(), 10);
    mailbox.order(Order::Refuse(75));
    let mut ssh = after_the_password(&world);
    ssh.expect(NOT_SENT);
    ssh.answer(RECOVERY_OR_RESEND, "resend");
    ssh.expect(TOO_SOON);
    ssh.answer(RECOVERY_OR_RESEND, &recovery[0]);
    expect_hello(&mut ssh);
    let line = world.log.expect("not sent sms for alice from 127.0.0.1 to=+48******123");
    assert!(line.contains("cannot be reached") && line.contains("said=\"not taken: [code]\""), "{line}");
    world.log.expect("accepted recovery code for alice from 127.0.0.1 left=9");

    // As soon as it works again, so do logins.
    mailbox.order(Order::Take);
    forget_sends(&world);
    let mut again = after_the_password(&world);
    again.expect(SMS);
    again.send_line(&mailbox.code());
    expect_hello(&mut again);
}

#[test]
fn with_the_gateway_down_the_app_opens_in_the_same_login() {
    let (world, mailbox) = office(r#"["sms", "app"]"#);
    let world = world.start_sshd("");
    let mut app = world.enroll("alice").app;
    mailbox.order(Order::Refuse(1));
    let mut ssh = after_the_password(&world);
    ssh.expect(NOT_SENT);
    ssh.answer(APP_OR_SMS, &app.code());
    expect_hello(&mut ssh);
}

/// Neither a gateway's bill nor a stranger's telephone is at the mercy of who only knows a name.
#[test]
fn nothing_is_sent_before_a_password_or_key() {
    let (world, mut mailbox) = office_with_bob(r#"["sms"]"#);
    let config = "DenyUsers bob\nPort 2222\nMatch LocalPort 2222\n    AuthenticationMethods publickey\n";
    let world = world.authorize_key(&["alice"]).start_sshd(config);
    for (user, password) in
        [("nobody-here", "pw-alice"), ("alice", "wrong"), ("bob", "pw-bob"), ("alice", "")]
    {
        let mut ssh = once(&world, user).spawn("id");
        ssh.answer(PASSWORD_PROMPT, password);
        ssh.expect_end(255);
        assert!(!ssh.screen().contains("Verification"), "{user}: {}", ssh.screen());
    }
    let key_only = once(&world, "alice").key().option("Port=2222");
    key_only.run("id").expect(255);
    key_only.option("BatchMode=yes").run("id").expect(255);
    world.log.expect_times("Access denied for user alice by PAM account configuration", 2);
    mailbox.expect_nothing();
    world.log.expect_none("sent sms");
    // All of it cost alice nothing: her code still comes.
    let mut ssh = after_the_password(&world);
    ssh.expect(SMS);
    mailbox.receive();
}

/// Without a line for the password, whoever knows a name would cause messages.
#[test]
fn a_stack_that_asks_for_nothing_first_sends_nothing() {
    let (world, mailbox) = office(r#"["sms"]"#);
    let world =
        world.stack("sshd", "auth required pam_twofa.so\naccount required pam_twofa.so").start_sshd("");
    let recovery = world.recovery_codes("alice");
    let mut ssh = once(&world, "alice").spawn("echo hello $USER");
    ssh.expect(NOT_SENT);
    ssh.answer(RECOVERY_OR_RESEND, "resend");
    ssh.expect(NOT_SENT);
    ssh.answer(RECOVERY_OR_RESEND, &recovery[0]);
    expect_hello(&mut ssh);
    world.log.expect("no code is sent for alice from 127.0.0.1 reason=no-first-factor");
    mailbox.expect_nothing();
}

/// Whoever gets no code presses Ctrl-C. The administrator has to learn all the same why there was none.
#[test]
fn the_log_says_why_nothing_was_sent_before_the_user_has_answered() {
    let (world, _) = office(r#"["sms"]"#);
    world.run(&["rm", "/var/lib/twofa/state/sends"]).ok();
    let world = world.start_sshd("");
    let mut ssh = after_the_password(&world);
    ssh.expect(RECOVERY_OR_RESEND);
    ssh.kill();
    world.expect_no_connection(SOON);
    world.log.expect("state/sends");
}

/// Where messages cannot be counted, or nobody can run the hook, there are none; other ways in stay open.
#[test]
fn a_broken_host_sends_nothing_and_says_why() {
    let (world, mailbox) = office(r#"["sms", "app"]"#);
    let world = world.start_sshd("");
    let Enrolled { mut app, recovery } = world.enroll("alice");
    let breakages = [
        ("/var/lib/twofa/state/sends", "rm", "state/sends"),
        ("/usr/libexec/twofa/twofa-helper", "rm", "/usr/libexec/twofa/twofa-helper"),
        ("/etc/passwd", "sed -i /_twofa/d", "hook user `_twofa` does not exist"),
    ];
    for ((file, breakage, named), recovery) in breakages.into_iter().zip(&recovery) {
        world.run(&["sh", "-c", &format!("cp -a {file} {file}.saved && {breakage} {file}")]).ok();
        let mut ssh = after_the_password(&world);
        ssh.expect(NOT_SENT);
        ssh.answer(APP_OR_SMS, recovery);
        expect_hello(&mut ssh);
        world.log.expect(named);
        world.run(&["mv", &format!("{file}.saved"), file]).ok();
        forget_sends(&world);
    }
    mailbox.expect_nothing();
    // All is well again.
    let mut ssh = after_the_password(&world);
    ssh.answer(SMS_OR_APP, "app");
    ssh.answer(APP_OR_SMS, &app.code());
    expect_hello(&mut ssh);
}

/// Nobody is refused in the weeks before enforcement, though a gateway may not work yet.
#[test]
fn observe_mode_lets_in_without_a_gateway() {
    let (world, mut mailbox) = office(r#"["sms"]"#);
    let world = world.policy(&policy_of(r#"["sms"]"#).replace("enforce", "observe")).start_sshd("");
    mailbox.order(Order::Refuse(78));
    let mut ssh = after_the_password(&world);
    for _ in 0..3 {
        ssh.answer(RECOVERY_OR_RESEND, "");
    }
    expect_hello(&mut ssh);
    world.log.expect("would refuse alice from 127.0.0.1 mode=observe reason=no-code-typed");
    mailbox.order(Order::Take);
    forget_sends(&world);
    let mut by_sms = after_the_password(&world);
    by_sms.expect(SMS);
    by_sms.send_line(&mailbox.code());
    expect_hello(&mut by_sms);
    world.log.expect("accepted sms for alice");
}

/// They take the code from the terminal and their data from elsewhere.
#[test]
fn scp_rsync_sftp_and_forced_terminals_with_sms() {
    let (world, mut mailbox) = office(r#"["sms"]"#);
    let world = world.start_sshd("");
    world.write("/root/report", "four pages\n");
    let client = once(&world, "alice");
    let mut log_in = |terminal: &mut Terminal| {
        terminal.answer(PASSWORD_PROMPT, "pw-alice");
        terminal.expect(SMS);
        terminal.send_line(&mailbox.code());
        forget_sends(&world);
    };
    let copies: [&dyn Fn() -> Terminal; 2] =
        [&|| client.scp("/root/report"), &|| client.rsync("/root/report")];
    for copy in copies {
        let mut terminal = copy();
        log_in(&mut terminal);
        terminal.expect_end(0);
        assert_eq!(fs::read_to_string(world.path("/home/alice/report")).unwrap(), "four pages\n");
        fs::remove_file(world.path("/home/alice/report")).unwrap();
    }
    let mut sftp = client.sftp();
    log_in(&mut sftp);
    sftp.answer("sftp> ", "put /root/report");
    sftp.answer("sftp> ", "bye");
    sftp.expect_end(0);
    assert_eq!(fs::read_to_string(world.path("/home/alice/report")).unwrap(), "four pages\n");
    let mut forced = once(&world, "alice").option("RequestTTY=force").spawn("tty; id -un");
    log_in(&mut forced);
    forced.expect("/dev/pts/");
    forced.expect("alice\n");
    forced.expect_end(0);
}

#[test]
fn clients_that_cannot_ask_are_refused_and_charged_nothing() {
    let (world, mut mailbox) = office(r#"["sms"]"#);
    let config = format!(
        "{SSHD_KEY_AND_CODE}Port 2222\nMatch LocalPort 2222\n    AuthenticationMethods password\n    \
         PasswordAuthentication yes\n"
    );
    let world = world.stack("sshd", KEY_OR_PASSWORD_AND_CODE).authorize_key(&["alice"]).start_sshd(&config);
    let batch = world.ssh("alice").key().option("BatchMode=yes").run("id").expect(255);
    assert!(batch.stderr.contains("Permission denied (keyboard-interactive)"), "{batch:?}");
    world.expect_no_connection(SOON);
    mailbox.expect_nothing();

    // Without a terminal ssh answers with nothing. One message is sent, and none for the repetitions.
    world.ssh("alice").key().run("id").expect(255);
    mailbox.receive();
    mailbox.expect_nothing();
    world.log.expect("refused alice from 127.0.0.1 reason=no-code-typed");

    // sshd gives the login password to every prompt by itself: one message again, and no guess.
    forget_sends(&world);
    let mut replayed = once(&world, "alice").option("Port=2222").spawn("id");
    replayed.answer(PASSWORD_PROMPT, "pw-alice");
    replayed.expect_end(255);
    world.log.expect_times("refused alice from 127.0.0.1 reason=no-code-typed", 2);
    mailbox.receive();
    mailbox.expect_nothing();
    let users = world.admin(&["user", "list", "--json"]).ok();
    assert!(users.contains("\"failures\": 0"), "{users}");
}

#[test]
fn a_code_is_in_no_process_list_no_environment_and_no_log() {
    let (world, mut mailbox) = office(r#"["sms"]"#);
    let world = world.start_sshd("");
    mailbox.order(Order::Hang);
    let mut ssh = after_the_password(&world);
    let message = mailbox.receive();
    let code = message.code();
    assert_in_no_process(&world, &code);
    let helpers = world.processes().iter().filter(|process| process.command.contains("twofa-helper")).count();
    assert_eq!(helpers, 1, "{:?}", world.processes());
    let hook = hooks(&world).remove(0);
    assert!(proc(&world, hook.pid, "environ").contains(ALICE), "environments can be read here");
    let status = proc(&world, hook.pid, "status");
    let has = |line: &str| status.lines().any(|found| found.split_whitespace().eq(line.split_whitespace()));
    for line in [
        "Uid: 900 900 900 900",
        "Gid: 900 900 900 900",
        "Groups:",
        "NoNewPrivs: 1",
        "CapEff: 0000000000000000",
    ] {
        assert!(has(line), "{line}:\n{status}");
    }
    mailbox.order(Order::Take);
    ssh.answer(SMS, &code);
    expect_hello(&mut ssh);
    assert_not_logged(&world, &message);
    world.expect_no_delivery(SOON);
}

/// sshd does not tell the module that the client has gone: the hook has its 10 s and 2 s more to end.
#[test]
fn a_client_killed_while_the_hook_hangs_leaves_no_process() {
    let (world, mut mailbox) = office(r#"["sms"]"#);
    let world = world.start_sshd("");
    mailbox.order(Order::HangStubbornly);
    let mut ssh = after_the_password(&world);
    mailbox.receive();
    ssh.kill();
    world.expect_no_delivery(Duration::from_secs(14));
    world.expect_no_connection(SOON);
}

#[test]
fn the_grace_time_of_sshd_ends_a_hook_that_hangs() {
    let (world, mut mailbox) = office(r#"["sms"]"#);
    let world = world.start_sshd("LoginGraceTime 5\n");
    mailbox.order(Order::HangStubbornly);
    let mut ssh = after_the_password(&world);
    mailbox.receive();
    ssh.expect_end(255);
    world.expect_no_delivery(SOON);
    world.expect_no_connection(SOON);
    assert!(!ssh.screen().contains("hello"), "{}", ssh.screen());
}

/// su runs with the caller's real uid, who may signal what has it too: the hook must not.
#[test]
fn su_sends_to_the_other_user_and_out_of_the_callers_reach() {
    let (world, mut mailbox) = office_with_bob(r#"["sms"]"#);
    let world = world.stack("su", &format!("auth sufficient pam_rootok.so\n{PASSWORD_AND_CODE}"));
    mailbox.order(Order::Hang);
    let mut su = world.terminal_of("alice", &["su", "bob", "-c", "id -un"]);
    su.answer(PASSWORD_PROMPT, "pw-bob");
    let message = mailbox.receive();
    assert_eq!((message.to.as_str(), message.user.as_str()), (BOB, "bob"));
    assert!(message.text.contains("asked for from the console"), "{message:?}");
    let helpers = world.processes().into_iter().filter(|process| process.command.contains("twofa-helper"));
    let reached: Vec<Process> = helpers.chain(hooks(&world)).collect();
    assert_eq!(reached.len(), 2, "{reached:?}");
    for process in &reached {
        let status = proc(&world, process.pid, "status");
        let uids = status.lines().find(|line| line.starts_with("Uid:")).expect("uids");
        assert!(!uids.contains("1000"), "{}: {uids}", process.command);
        let mut kill = world.terminal_of("alice", &["sh", "-c", &format!("kill -KILL {}", process.pid)]);
        kill.expect("not permitted");
    }
    mailbox.order(Order::Take);
    su.answer(SMS_OF_BOB, &message.code());
    su.expect("bob\n");
    su.expect_end(0);
    world.log.expect("pam_twofa(su:auth): accepted sms for bob");

    // Who gives up at the terminal gives up the hook too, in whatever session that is.
    world.admin(&["user", "unlock", "bob"]).ok();
    mailbox.order(Order::HangStubbornly);
    let mut given_up = world.terminal_of("alice", &["su", "bob", "-c", "id -un"]);
    given_up.answer(PASSWORD_PROMPT, "pw-bob");
    mailbox.receive();
    given_up.send("\x03");
    given_up.expect_end(128 + 2);
    world.expect_no_delivery(SOON);
}

#[test]
fn console_login_by_sms_and_a_hang_up() {
    let (world, mut mailbox) = office(r#"["sms"]"#);
    let world = world.stack("login", PASSWORD_AND_CODE);
    let log_in = || {
        let mut console = world.console();
        console.answer("login: ", "alice");
        console.answer(PASSWORD_PROMPT, "pw-alice");
        console
    };
    let mut console = log_in();
    console.expect(SMS);
    console.send_line(&mailbox.code());
    console.answer("$ ", "echo hello $USER; exit");
    console.expect("hello alice");
    console.end();
    world.log.expect("pam_twofa(login:auth): accepted sms for alice");

    forget_sends(&world);
    mailbox.order(Order::HangStubbornly);
    let unplugged = log_in();
    mailbox.receive();
    unplugged.hang_up();
    world.expect_no_delivery(SOON);
}

/// The example for Twilio as it is shipped, with curl and an account's secrets in a file, and a gateway that speaks HTTP.
#[test]
fn the_hook_for_twilio_sends_a_code() {
    let (world, _) = office(r#"["sms"]"#);
    let world = world.start_sshd("");
    let hook = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/hooks/sms-twilio");
    // Its mode, and its being root's, stay as they are.
    fs::write(world.path("/etc/twofa/hooks/sms"), fs::read(hook).unwrap()).unwrap();
    let gateway = world.in_network(Gateway::start);
    let secrets = format!(
        "proto = \"=http\"\nurl = \"http://{}/Accounts/AC17/Messages.json\"\nuser = \"AC17:secret-token\"\n\
         data-urlencode = \"From=+15005550006\"\n",
        gateway.address
    );
    world.write("/etc/twofa/sms-twilio.curl", &secrets);
    world
        .run(&["sh", "-c", "cd /etc/twofa && chmod 600 sms-twilio.curl && chown _twofa sms-twilio.curl"])
        .ok();

    let mut ssh = after_the_password(&world);
    let request = gateway.request();
    assert_eq!((request.field("To").as_str(), request.field("From").as_str()), (ALICE, "+15005550006"));
    let text = request.field("Body");
    let code = text.split(' ').next().unwrap();
    assert!(text.ends_with(" UTC.") && text.contains(" is your code for alice at twofa-test"), "{text}");
    assert_in_no_process(&world, code);
    assert_in_no_process(&world, "secret-token");
    gateway.answer(201, &format!(r#"{{"sid": "SM0123", "body": "{text}"}}"#));
    ssh.answer(SMS, code);
    expect_hello(&mut ssh);
    let line = world.log.expect("sent sms for alice");
    assert!(line.ends_with("answer=\"SM0123\""), "{line}");
    world.log.expect_none(code);
    world.log.expect_none("secret-token");

    forget_sends(&world);
    gateway.answer(500, "");
    let mut without = after_the_password(&world);
    without.expect(NOT_SENT);
    world.log.expect("not sent sms for alice from 127.0.0.1");
    world.log.expect("the gateway cannot be reached for now");
    world.expect_no_delivery(SOON);
}

/// Sending, too, must work where nothing can be written anew.
#[test]
fn a_full_disk_still_sends_and_spends() {
    let world = World::new().user("alice", "pw-alice");
    world.run(&["mkdir", "-pm", "700", "/var/lib/twofa"]).ok();
    world.run(&["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", "/var/lib/twofa"]).ok();
    let world = world.policy(&policy_of(r#"["sms"]"#)).stack("sshd", PASSWORD_AND_CODE).start_sshd("");
    let mut mailbox = Mailbox::new(&world);
    world.admin(&["user", "add", "alice", "--phone", ALICE]).ok();
    let filled = world.run(&["dd", "if=/dev/zero", "of=/var/lib/twofa/filler", "bs=4k"]);
    assert!(filled.stderr.contains("No space left on device"), "{filled:?}");
    let mut ssh = after_the_password(&world);
    ssh.expect(SMS);
    ssh.send_line(&mailbox.code());
    expect_hello(&mut ssh);
    let mut again = after_the_password(&world);
    again.expect(TOO_SOON);
}

/// A policy that never sends runs no helper, whatever is typed.
#[test]
fn words_at_the_prompt_of_an_app_alone_send_nothing() {
    let (world, mailbox) = office(r#"["app"]"#);
    let world = world.start_sshd("");
    let mut app = world.enroll("alice").app;
    let mut ssh = after_the_password(&world);
    ssh.answer(CODE_PROMPT, "sms");
    ssh.answer(CODE_PROMPT, "resend");
    ssh.answer(CODE_PROMPT, &app.code());
    expect_hello(&mut ssh);
    mailbox.expect_nothing();
}
