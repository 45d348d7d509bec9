//! Trusted devices: who is asked for no code, and from where, and for how long, with real sshd and ssh.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

use std::fs;
use std::time::Duration;

use twofa_tests::driver::pam::Answer;
use twofa_tests::driver::plan::Plan;
use twofa_tests::driver::site::{Factor, SERVICE, Site};
use twofa_tests::mailbox::Mailbox;
use twofa_tests::setup::{
    CODE_PROMPT, KEY_OR_PASSWORD_AND_CODE, PASSWORD_AND_CODE, PASSWORD_PROMPT, POLICY, SSHD_KEY_OR_PASSWORD,
    policy_of,
};
use twofa_tests::ssh::{Client, NETWORK_SERVER};
use twofa_tests::terminal::Terminal;
use twofa_tests::totp::App;
use twofa_tests::world::World;

const HOME: &str = "198.51.100.7";
const CAFE: &str = "198.51.100.8";
const HOME_IPV6: &str = "2001:db8:1:2::7";
const HOME_IPV6_TOO: &str = "2001:db8:1:2:ffff::8";
const CAFE_IPV6: &str = "2001:db8:1:3::7";

/// What every login here runs.
const COMMAND: &str = "echo LOGGED-IN";
const IN: &str = "LOGGED-IN\n";
const QUESTION: &str = "Trust this device (";
const QUESTION_ENDS: &str = "? [y/N]: ";

/// alice and bob have passwords, and whoever shows a key is not asked for them.
fn office(policy: &str) -> World {
    World::new()
        .user("alice", "pw-alice")
        .user("bob", "pw-bob")
        .policy(policy)
        .stack("sshd", KEY_OR_PASSWORD_AND_CODE)
        .client_network(&[HOME, CAFE, HOME_IPV6, HOME_IPV6_TOO, CAFE_IPV6])
}

fn policy(duration: &str, offer: &str) -> String {
    format!("{POLICY}[trust]\nduration = \"{duration}\"\noffer = \"{offer}\"\n")
}

fn ask() -> String {
    policy("1 day", "ask")
}

fn always() -> String {
    policy("1 day", "always")
}

/// Of somebody who comes from this address with the password, one attempt.
fn client<'w>(world: &'w World, user: &str, from: &str) -> Client<'w> {
    world.ssh(user).over_network(from).option("NumberOfPasswordPrompts=1")
}

/// A login whose password is typed.
#[track_caller]
fn login(world: &World, user: &str, from: &str) -> Terminal {
    with_password(client(world, user, from).spawn(COMMAND), user)
}

#[track_caller]
fn with_password(mut ssh: Terminal, user: &str) -> Terminal {
    ssh.answer(PASSWORD_PROMPT, &format!("pw-{user}"));
    ssh
}

/// A code is wanted.
#[track_caller]
fn expect_asked(mut ssh: Terminal) {
    let (which, _) = ssh.expect_any(&[CODE_PROMPT, IN, QUESTION]);
    assert_eq!(which, 0, "no code is asked for. {}", ssh.shown());
}

/// In without any further question or text.
#[track_caller]
fn expect_trusted(mut ssh: Terminal) {
    let (which, before) = ssh.expect_any(&[IN, CODE_PROMPT, QUESTION]);
    assert_eq!(which, 0, "more is asked. {}", ssh.shown());
    assert_eq!(before.trim(), "", "something is said. {}", ssh.shown());
    ssh.expect_end(0);
}

/// In with a code, and nothing is asked or said about trust.
#[track_caller]
fn expect_no_offer(mut ssh: Terminal, code: &str) {
    ssh.answer(CODE_PROMPT, code);
    let (which, before) = ssh.expect_any(&[IN, QUESTION]);
    assert_eq!(which, 0, "it is offered. {}", ssh.shown());
    assert_eq!(before.trim(), "", "something is said. {}", ssh.shown());
    ssh.expect_end(0);
}

/// A code and, where the policy asks, a `y`.
#[track_caller]
fn give_trust(mut ssh: Terminal, app: &mut App) {
    ssh.answer(CODE_PROMPT, &app.code());
    if ssh.expect_any(&[QUESTION, "This device ("]).0 == 0 {
        ssh.answer(QUESTION_ENDS, "y");
    }
    ssh.expect("is trusted until ");
    ssh.expect(IN);
    ssh.expect_end(0);
}

/// A text with a 9 for every digit.
fn shape(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect()
}

/// A text with TIME for `2026-11-22T06:30:05Z` and `2026-11-22 06:30 UTC`.
fn without_times(text: &str) -> String {
    const FORMS: [&str; 2] = ["9999-99-99T99:99:99Z", "9999-99-99 99:99 UTC"];
    let (mut told, mut rest) = (String::new(), text);
    while let Some(at) = FORMS.iter().filter_map(|form| shape(rest).find(form)).min() {
        told = told + &rest[..at] + "TIME";
        rest = &rest[at + FORMS[0].len()..];
    }
    told + rest
}

// What a user sees

#[test]
fn a_trusted_device_needs_no_code() {
    let world = office(&ask()).start_sshd("");
    let mut alice = world.enroll("alice");
    let mut ssh = login(&world, "alice", HOME);
    ssh.answer(CODE_PROMPT, &alice.app.code());
    let before = ssh.answer("Trust this device (198.51.100.7) for 1 day? [y/N]: ", "y");
    assert_eq!(before.trim(), "(alice@198.51.100.1)");
    // What is answered is seen.
    let told = ssh.expect(IN);
    let until = told.strip_prefix("y\nThis device (198.51.100.7) is trusted until ");
    assert_eq!(until.map(shape).as_deref(), Some("9999-99-99 99:99 UTC.\n"), "{told:?}");
    ssh.expect_end(0);
    world.log.expect("pam_twofa(sshd:auth): accepted app for alice from 198.51.100.7");
    let line = world.log.expect(
        "pam_twofa(sshd:auth): device trusted for alice from 198.51.100.7 network=198.51.100.7 until=",
    );
    let until = line.split("until=").nth(1).expect("an end");

    expect_trusted(login(&world, "alice", HOME));
    expect_trusted(login(&world, "alice", HOME));
    world.log.expect_times(
        &format!("pam_twofa(sshd:auth): accepted trusted device for alice from 198.51.100.7 until={until}"),
        2,
    );
    // It is no way around the password.
    let mut ssh = client(&world, "alice", HOME).spawn(COMMAND);
    ssh.answer(PASSWORD_PROMPT, "wrong");
    ssh.expect_end(255);
    world.log.expect_none("refused");
}

#[test]
fn scp_sftp_and_commands_with_a_key_say_nothing() {
    let world = office(&ask()).authorize_key(&["alice"]).start_sshd(SSHD_KEY_OR_PASSWORD);
    let mut alice = world.enroll("alice");
    let shown = world.run(&["ssh-keygen", "-lf", "/root/.ssh/key.pub"]).ok();
    let fingerprint = shown.split(' ').nth(1).expect("a fingerprint");
    let start: String = fingerprint.chars().take(15).collect();

    let mut ssh = client(&world, "alice", HOME).key().spawn(COMMAND);
    ssh.answer(CODE_PROMPT, &alice.app.code());
    ssh.answer(&format!("Trust this device (198.51.100.7, key {start}...) for 1 day? [y/N]: "), "yes");
    ssh.expect(&format!("This device (198.51.100.7, key {start}...) is trusted until "));
    ssh.expect(IN);
    ssh.expect_end(0);
    let line =
        format!("device trusted for alice from 198.51.100.7 network=198.51.100.7 key={fingerprint} until=");
    world.log.expect(&line);

    let client = || client(&world, "alice", HOME).key();
    let ran = client().run("cat; echo out; echo below >&2").expect(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("out\n", "below\n"));
    world.write("/root/report", "four pages\n");
    let copied = || {
        let text = fs::read_to_string(world.path("/home/alice/report")).unwrap();
        fs::remove_file(world.path("/home/alice/report")).unwrap();
        text
    };
    let scp = client().run_scp("/root/report").expect(0);
    assert_eq!((scp.stdout.as_str(), scp.stderr.as_str()), ("", ""));
    assert_eq!(copied(), "four pages\n");
    let sftp = client().run_sftp("put /root/report\nbye\n").expect(0);
    assert_eq!(sftp.stderr, format!("Connected to {NETWORK_SERVER}.\n"));
    assert_eq!(copied(), "four pages\n");
    world.log.expect_times("accepted trusted device for alice from 198.51.100.7 until=", 3);
    // ssh leaves out the step that the module is in.
    let batch = client().option("BatchMode=yes").run("id").expect(255);
    assert!(batch.stderr.contains("Permission denied"), "{batch:?}");
}

#[test]
fn whatever_is_not_yes_is_no() {
    let world = office(&ask()).user("carol", "pw-carol").start_sshd("");
    for (user, answers) in
        [("alice", ["n\r", "\r"]), ("bob", ["\u{4}", "yess\r"]), ("carol", ["1\r", "no y\r"])]
    {
        let mut enrolled = world.enroll(user);
        for answer in answers {
            let mut ssh = login(&world, user, HOME);
            ssh.answer(CODE_PROMPT, &enrolled.app.code());
            ssh.expect(QUESTION_ENDS);
            ssh.send(answer);
            let (which, before) = ssh.expect_any(&[IN, "is trusted", QUESTION]);
            assert_eq!(which, 0, "{answer:?}: {before} {}", ssh.shown());
            ssh.expect_end(0);
        }
        world.log.expect_times(&format!("accepted app for {user} from 198.51.100.7"), 2);
        let mut again = login(&world, user, HOME);
        again.answer(CODE_PROMPT, &enrolled.app.last());
        again.expect("This code was already used.");
    }
    world.log.expect_none("trusted");
    assert_eq!(world.admin(&["trust", "list"]).ok(), "No device is trusted.\n");
}

#[test]
fn a_hang_up_at_the_question_trusts_nothing_and_spends_the_code() {
    let world = office(&ask()).start_sshd("");
    let mut alice = world.enroll("alice");
    for interrupt in [false, true] {
        let mut ssh = login(&world, "alice", HOME);
        ssh.answer(CODE_PROMPT, &alice.app.code());
        ssh.expect(QUESTION_ENDS);
        if interrupt {
            ssh.send("y");
            assert_ne!(ssh.interrupt(), 0);
        } else {
            ssh.kill();
        }
        world.expect_no_connection(Duration::from_secs(5));
        let mut again = login(&world, "alice", HOME);
        again.answer(CODE_PROMPT, &alice.app.last());
        again.expect("This code was already used.");
        again.expect(CODE_PROMPT);
    }
    world.log.expect_none("trusted");
    assert_eq!(world.admin(&["trust", "list"]).ok(), "No device is trusted.\n");
}

#[test]
fn always_asks_no_question() {
    let world = office(&policy("1 week", "always")).start_sshd("");
    let mut alice = world.enroll("alice");
    let mut ssh = login(&world, "alice", HOME);
    ssh.answer(CODE_PROMPT, &alice.app.code());
    let (which, _) = ssh.expect_any(&["This device (198.51.100.7) is trusted until ", QUESTION]);
    assert_eq!(which, 0, "{}", ssh.shown());
    ssh.expect(IN);
    ssh.expect_end(0);
    world.log.expect("device trusted for alice from 198.51.100.7");
    expect_trusted(login(&world, "alice", HOME));
}

#[test]
fn a_trusted_device_is_sent_no_code() {
    let policy = format!("{}[trust]\nduration = \"1 day\"\n", policy_of(r#"["sms"]"#));
    let world = office(&policy).start_sshd("");
    let mut mailbox = Mailbox::new(&world);
    world.admin(&["user", "add", "alice", "--phone", "+48600000123"]).ok();
    let mut ssh = login(&world, "alice", HOME);
    ssh.answer("Verification code (SMS to +48 *** *** 123): ", &mailbox.code());
    ssh.answer("Trust this device (198.51.100.7) for 1 day? [y/N]: ", "y");
    ssh.expect(IN);
    ssh.expect_end(0);
    expect_trusted(login(&world, "alice", HOME));
    mailbox.expect_nothing();
    // A number that changes ends it as any other factor does.
    world.admin(&["user", "set", "alice", "--phone", "+48600000124"]).ok();
    login(&world, "alice", HOME).expect("Verification code (");
}

#[test]
fn with_single_sign_on_nothing_is_trusted() {
    let world = office(POLICY).start_sshd("");
    let [mut alice, mut bob] = ["alice", "bob"].map(|user| world.enroll(user));
    expect_no_offer(login(&world, "alice", HOME), &alice.app.code());
    expect_asked(login(&world, "alice", HOME));

    // Nor is what was trusted before.
    let world = world.policy(&ask());
    give_trust(login(&world, "bob", HOME), &mut bob.app);
    expect_trusted(login(&world, "bob", HOME));
    let world = world.policy(&policy("single-sign-on", "always"));
    expect_no_offer(login(&world, "bob", HOME), &bob.app.code());
    expect_asked(login(&world, "bob", HOME));
    let listed = world.admin(&["trust", "list", "bob"]).ok();
    assert!(listed.contains("void: policy or password changed"), "{listed}");
}

// What it is bound to

#[test]
fn trust_is_of_one_user_at_one_address() {
    let world = office(&ask()).start_sshd("");
    let [mut alice, _] = ["alice", "bob"].map(|user| world.enroll(user));
    give_trust(login(&world, "alice", HOME), &mut alice.app);
    expect_asked(login(&world, "bob", HOME));
    expect_asked(login(&world, "alice", CAFE));
    expect_trusted(login(&world, "alice", HOME));
}

#[test]
fn trust_is_of_one_ipv6_network() {
    let world = office(&ask()).start_sshd("ListenAddress ::\n");
    let mut alice = world.enroll("alice");
    let mut ssh = login(&world, "alice", HOME_IPV6);
    ssh.answer(CODE_PROMPT, &alice.app.code());
    ssh.answer("Trust this device (2001:db8:1:2::/64) for 1 day? [y/N]: ", "Y");
    ssh.expect("This device (2001:db8:1:2::/64) is trusted until ");
    ssh.expect(IN);
    world.log.expect("device trusted for alice from 2001:db8:1:2::7 network=2001:db8:1:2::/64 until=");
    expect_trusted(login(&world, "alice", HOME_IPV6));
    expect_trusted(login(&world, "alice", HOME_IPV6_TOO));
    world.log.expect("accepted trusted device for alice from 2001:db8:1:2:ffff::8 until=");
    expect_asked(login(&world, "alice", CAFE_IPV6));
    expect_asked(login(&world, "alice", HOME));
}

#[test]
fn trust_is_of_one_ssh_key() {
    let world = office(&ask()).authorize_key(&["alice", "bob"]).start_sshd(SSHD_KEY_OR_PASSWORD);
    world.run(&["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", "/root/.ssh/other"]).ok();
    let keys =
        ["key", "other"].map(|key| fs::read_to_string(world.path(&format!("/root/.ssh/{key}.pub"))).unwrap());
    world.authorized_keys("alice", &keys.concat());
    let [mut alice, mut bob] = ["alice", "bob"].map(|user| world.enroll(user));
    let key = |user| client(&world, user, HOME).key().spawn(COMMAND);
    let other = || {
        let client = client(&world, "alice", HOME).option("IdentityFile=/root/.ssh/other");
        client.option("IdentitiesOnly=yes").spawn(COMMAND)
    };
    give_trust(key("alice"), &mut alice.app);
    expect_trusted(key("alice"));
    expect_asked(other());
    expect_asked(login(&world, "alice", HOME));
    expect_asked(key("bob"));
    expect_asked(client(&world, "alice", CAFE).key().spawn(COMMAND));

    // Trust of a password's login is not a key's either.
    give_trust(login(&world, "bob", HOME), &mut bob.app);
    expect_trusted(login(&world, "bob", HOME));
    expect_asked(key("bob"));
    give_trust(other(), &mut alice.app);
    expect_trusted(other());
    expect_trusted(key("alice"));
}

/// sshd names the whole certificate: one of another validity is another key.
#[test]
fn a_new_certificate_is_another_key() {
    let world =
        office(&ask()).start_sshd(&format!("TrustedUserCAKeys /etc/ssh/ca.pub\n{SSHD_KEY_OR_PASSWORD}"));
    let make = "mkdir -pm 700 /root/.ssh; cd /root/.ssh; for key in ca key; do ssh-keygen -qt ed25519 -N '' -f $key; done
        cp ca.pub /etc/ssh/ca.pub";
    world.run(&["sh", "-ec", make]).ok();
    let sign = |serial: &str| {
        let sign = ["ssh-keygen", "-q", "-s", "/root/.ssh/ca", "-I", "id", "-n", "alice", "-z", serial];
        world.run(&[&sign[..], &["/root/.ssh/key.pub"]].concat()).ok();
    };
    let mut alice = world.enroll("alice");
    let key = || client(&world, "alice", HOME).key().spawn(COMMAND);
    sign("1");
    give_trust(key(), &mut alice.app);
    expect_trusted(key());
    sign("2");
    expect_asked(key());
}

// Where there is none

#[test]
fn what_comes_from_the_host_itself_is_never_trusted() {
    for policy in [ask(), always()] {
        let world = office(&policy).address("192.0.2.7").start_sshd("ListenAddress ::\n");
        let [mut alice, mut bob] = ["alice", "bob"].map(|user| world.enroll(user));
        let to = |user: &str, server: &str| {
            let target = format!("{user}@{server}");
            with_password(world.terminal(&["ssh", "-F", "none", &target, COMMAND]), user)
        };
        let elsewhere = || with_password(world.ssh("bob").from("192.0.2.7").spawn(COMMAND), "bob");
        expect_no_offer(to("alice", "127.0.0.1"), &alice.app.code());
        expect_no_offer(to("alice", "::1"), &alice.app.code());
        // To one's own address one comes from it.
        expect_no_offer(to("bob", NETWORK_SERVER), &bob.app.code());
        world.log.expect(&format!("accepted app for bob from {NETWORK_SERVER}"));
        expect_no_offer(elsewhere(), &bob.app.code());
        world.log.expect("accepted app for bob from 192.0.2.7");
        expect_asked(to("alice", "127.0.0.1"));
        expect_asked(to("alice", "::1"));
        expect_asked(to("bob", NETWORK_SERVER));
        expect_asked(elsewhere());
        world.log.expect_none("trusted");
    }
}

/// A device that is trusted later becomes the host's own address: no longer.
#[test]
fn an_address_that_becomes_the_hosts_own_is_trusted_no_more() {
    let world = office(&ask()).start_sshd("");
    let mut alice = world.enroll("alice");
    give_trust(login(&world, "alice", HOME), &mut alice.app);
    let world = world.address(HOME);
    let ssh = world.terminal(&["ssh", "-F", "none", &format!("alice@{HOME}"), COMMAND]);
    expect_asked(with_password(ssh, "alice"));
    world.log.expect_none("accepted trusted");
}

#[test]
fn consoles_and_su_are_never_trusted() {
    let world =
        office(&always()).stack("login", PASSWORD_AND_CODE).stack("su", PASSWORD_AND_CODE).start_sshd("");
    let [mut alice, mut bob] = ["alice", "bob"].map(|user| world.enroll(user));
    for _ in 0..2 {
        let mut console = world.console();
        console.answer("login: ", "alice");
        console.answer(PASSWORD_PROMPT, "pw-alice");
        console.answer(CODE_PROMPT, &alice.app.code());
        let before = console.expect("$ ");
        assert!(!before.contains("rust"), "{before}");
    }
    world.log.expect_none("trusted");

    // Inside a session from a trusted device su asks as ever, also for somebody who trusts it too.
    give_trust(login(&world, "alice", HOME), &mut alice.app);
    give_trust(login(&world, "bob", HOME), &mut bob.app);
    let mut shell = with_password(client(&world, "alice", HOME).shell(), "alice");
    shell.answer("$ ", "env | grep ^SSH_CONNECTION; su bob -c 'echo LOGGED-IN'; exit");
    shell.expect(&format!("SSH_CONNECTION={HOME} "));
    shell.answer(PASSWORD_PROMPT, "pw-bob");
    shell.answer(CODE_PROMPT, &bob.app.code());
    let (which, _) = shell.expect_any(&[&format!("\n{IN}"), "rust"]);
    assert_eq!(which, 0, "{}", shell.shown());
    world.log.expect("pam_twofa(su:auth): accepted app for bob");
    world.log.expect_times("device trusted for", 2);
}

/// What is left when a phone is lost shall not be needed less often.
#[test]
fn a_recovery_code_gives_no_trust() {
    for policy in [ask(), always()] {
        let world = office(&policy).start_sshd("");
        let alice = world.enroll("alice");
        let mut ssh = login(&world, "alice", HOME);
        ssh.answer(CODE_PROMPT, &alice.recovery[0]);
        let (which, _) = ssh.expect_any(&[IN, QUESTION, "is trusted"]);
        assert_eq!(which, 0, "{}", ssh.shown());
        expect_asked(login(&world, "alice", HOME));
        world.log.expect_none("trusted");
    }
}

/// Nor does what is there at the next login too.
#[test]
fn a_security_key_and_an_exemption_give_no_trust() {
    let exempt = "[[exempt]]\nuser = \"bob\"\nreason = \"nightly backup\"\nuntil = 2099-12-31\n";
    let policy = always().replace(r#"["app"]"#, r#"["key"]"#) + exempt;
    let world = office(&policy).start_sshd(SSHD_KEY_OR_PASSWORD);
    world.authorized_keys("alice", &world.security_key("blue", &["-t", "ed25519-sk"]));
    let enroll = ["twofa-admin", "enroll", "ssh-key", "alice", "/root/.ssh/blue.pub"];
    world.run_with_input(&enroll, "saved\n").ok();
    for _ in 0..2 {
        let ran = client(&world, "alice", HOME).security_key("blue").run("id -un").expect(0);
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("alice\n", ""));
    }
    expect_trusted(login(&world, "bob", HOME));
    world.log.expect_times("accepted ssh-key for alice from 198.51.100.7", 2);
    world.log.expect("exempt bob from 198.51.100.7");
    world.log.expect_none("trusted");
}

/// A name is what somebody else's name server says.
#[test]
fn trust_goes_by_the_address_and_not_by_its_name() {
    let world = office(&ask()).start_sshd("UseDNS yes\n");
    let names = |home: &str, cafe: &str| {
        world.write("/etc/hosts", &format!("127.0.0.1 localhost\n{HOME} {home}\n{CAFE} {cafe}\n"));
    };
    names("office.example", "cafe.example");
    let mut alice = world.enroll("alice");
    give_trust(login(&world, "alice", HOME), &mut alice.app);
    world.log.expect("device trusted for alice from 198.51.100.7 network=198.51.100.7 until=");
    names("cafe.example", "office.example");
    expect_asked(login(&world, "alice", CAFE));
    expect_trusted(login(&world, "alice", HOME));
    // sshd did believe the name.
    let mut ssh = client(&world, "alice", CAFE).spawn(COMMAND);
    ssh.answer(PASSWORD_PROMPT, "wrong");
    world.log.expect("rhost=office.example");
}

/// Neither a client, nor what started sshd, nor a file of the user's says where a login is from.
#[test]
fn nobodys_environment_is_believed() {
    let lie = format!("SSH_CONNECTION={HOME} 50000 {NETWORK_SERVER} 22");
    let stack = format!("auth required pam_env.so user_readenv=1\n{PASSWORD_AND_CODE}");
    let world = office(&ask()).stack("sshd", &stack);
    world.write("/etc/environment", &format!("SSH_CONNECTION=\"{HOME} 50000 {NETWORK_SERVER} 22\"\n"));
    let world = world.start_sshd_in("AcceptEnv *\nPermitUserEnvironment yes\n", &[&lie, "TWOFA_TRUST=1"]);
    world.write("/home/alice/.pam_environment", &format!("SSH_CONNECTION DEFAULT=\"{HOME} 1 {HOME} 2\"\n"));
    let mut alice = world.enroll("alice");
    give_trust(login(&world, "alice", HOME), &mut alice.app);
    let liar = |command: &str| {
        let setting = format!("SetEnv=\"{lie}\" TWOFA_TRUST=1 MARK=arrived");
        with_password(client(&world, "alice", CAFE).option(&setting).spawn(command), "alice")
    };
    expect_asked(liar(COMMAND));
    // It was there to be believed; and what is asked is about where the login is from.
    let mut ssh = liar("echo \"$MARK $TWOFA_TRUST\"");
    ssh.answer(CODE_PROMPT, &alice.app.code());
    ssh.answer(&format!("Trust this device ({CAFE}) for 1 day? [y/N]: "), "n");
    ssh.expect("arrived 1");
    world.log.expect_none("accepted trusted");
    expect_trusted(login(&world, "alice", HOME));
}

// What ends it

#[test]
fn the_administrator_ends_trust() {
    let world = office(&ask()).start_sshd("");
    let [mut alice, mut bob] = ["alice", "bob"].map(|user| world.enroll(user));
    give_trust(login(&world, "alice", HOME), &mut alice.app);
    give_trust(login(&world, "alice", CAFE), &mut alice.app);
    give_trust(login(&world, "bob", HOME), &mut bob.app);

    let revoke = |arguments: &[&str]| world.admin(&[&["trust", "revoke"], arguments].concat());
    assert_eq!(revoke(&["alice", HOME]).ok(), "1 device of alice is trusted no longer.\n");
    expect_asked(login(&world, "alice", HOME));
    expect_trusted(login(&world, "alice", CAFE));
    assert_eq!(revoke(&["alice", HOME]).ok(), "No device of alice was trusted.\n");
    assert_eq!(revoke(&["alice"]).ok(), "1 device of alice is trusted no longer.\n");
    expect_asked(login(&world, "alice", CAFE));
    expect_trusted(login(&world, "bob", HOME));

    give_trust(login(&world, "alice", HOME), &mut alice.app);
    let unsure = revoke(&["--all"]).expect(1);
    assert!(unsure.stderr.contains("every device of every user"), "{unsure:?}");
    expect_trusted(login(&world, "bob", HOME));
    assert_eq!(revoke(&["--all", "--yes"]).ok(), "2 devices are trusted no longer.\n");
    for user in ["alice", "bob"] {
        expect_asked(login(&world, user, HOME));
    }
    assert_eq!(revoke(&["--all", "--yes"]).ok(), "No device was trusted.\n");
    assert!(revoke(&["carol"]).expect(1).stderr.contains("carol"));
    revoke(&[]).expect(2);
    revoke(&["--all", "alice"]).expect(2);
    revoke(&["alice", "office.example"]).expect(2);
}

/// The list shows it so.
#[test]
fn a_network_is_revoked_as_it_is_listed() {
    let world = office(&ask()).start_sshd("ListenAddress ::\n");
    let mut alice = world.enroll("alice");
    let revoke = |from: &str| world.admin(&["trust", "revoke", "alice", from]);
    for from in ["2001:db8:1:2::/64", HOME_IPV6_TOO] {
        give_trust(login(&world, "alice", HOME_IPV6), &mut alice.app);
        assert_eq!(revoke("2001:db8:1:3::7").ok(), "No device of alice was trusted.\n");
        assert_eq!(revoke(from).ok(), "1 device of alice is trusted no longer.\n", "{from}");
        expect_asked(login(&world, "alice", HOME_IPV6));
    }
    for wrong in ["2001:db8:1:2::/48", "2001:db8:1:2::7/64x", "198.51.100.7/64"] {
        revoke(wrong).expect(2);
    }
}

#[test]
fn a_change_of_password_or_factors_ends_trust() {
    let users = ["carol", "dave", "erin", "frank", "grace", "heidi"];
    let world = users.iter().fold(office(&ask()), |world, user| world.user(user, &format!("pw-{user}")));
    let mut world = world.start_sshd("");
    for user in users {
        let mut enrolled = world.enroll(user);
        give_trust(login(&world, user, HOME), &mut enrolled.app);
        expect_trusted(login(&world, user, HOME));
    }
    // The same one again: the hash has another salt.
    world = world.password("carol", "pw-carol");
    expect_asked(login(&world, "carol", HOME));
    let listed = world.admin(&["trust", "list", "carol"]).ok();
    assert!(listed.contains("void: policy or password changed"), "{listed}");

    world
        .run_with_input(
            &["twofa-admin", "enroll", "app", "dave", "--label", "tablet", "--secret-stdin"],
            "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP\n",
        )
        .ok();
    expect_asked(login(&world, "dave", HOME));

    world.recovery_codes("erin");
    expect_asked(login(&world, "erin", HOME));

    world.admin(&["user", "reset", "frank", "--yes"]).ok();
    let mut ssh = login(&world, "frank", HOME);
    let (which, _) = ssh.expect_any(&["Login refused", "erification code", IN]);
    assert_ne!(which, 2, "{}", ssh.shown());
    world.enroll("frank");
    expect_asked(login(&world, "frank", HOME));

    world.admin(&["user", "remove", "heidi", "--yes"]).ok();
    world.enroll("heidi");
    expect_asked(login(&world, "heidi", HOME));

    // Forgiven failures are no other factor.
    world.admin(&["user", "unlock", "grace"]).ok();
    expect_trusted(login(&world, "grace", HOME));
    let listed = world.admin(&["trust", "list", "--json"]).ok();
    for user in ["dave", "erin", "frank", "heidi"] {
        assert!(!listed.contains(user), "{listed}");
    }
}

/// Who types wrong codes elsewhere may be the one who sits at the trusted device.
#[test]
fn a_lock_ends_trust() {
    let world = office(&ask()).start_sshd("");
    let mut alice = world.enroll("alice");
    give_trust(login(&world, "alice", HOME), &mut alice.app);
    let wrong = alice.app.wrong_code();
    let guess = |times: usize| {
        let mut ssh = login(&world, "alice", CAFE);
        for _ in 0..times {
            ssh.answer(CODE_PROMPT, &wrong);
        }
        ssh
    };
    guess(3).expect_end(255);
    guess(1).expect(CODE_PROMPT);
    expect_trusted(login(&world, "alice", HOME));
    let mut ssh = guess(1);
    ssh.expect("Too many failed codes.");
    expect_asked(login(&world, "alice", HOME));
    // And not only while it lasts.
    world.admin(&["user", "unlock", "alice"]).ok();
    expect_asked(login(&world, "alice", HOME));
}

#[test]
fn a_shorter_policy_ends_longer_trust() {
    let world = office(&policy("30 days", "ask")).start_sshd("");
    let [mut alice, mut bob] = ["alice", "bob"].map(|user| world.enroll(user));
    let mut ssh = login(&world, "alice", HOME);
    ssh.answer(CODE_PROMPT, &alice.app.code());
    ssh.answer("Trust this device (198.51.100.7) for 30 days? [y/N]: ", "y");
    ssh.expect(IN);
    expect_trusted(login(&world, "alice", HOME));

    world.admin(&["policy", "set", "trust.duration=1 week"]).ok();
    expect_asked(login(&world, "alice", HOME));
    let mut ssh = login(&world, "bob", HOME);
    ssh.answer(CODE_PROMPT, &bob.app.code());
    ssh.answer("Trust this device (198.51.100.7) for 1 week? [y/N]: ", "y");
    ssh.expect(IN);
    expect_trusted(login(&world, "bob", HOME));

    let world = world.policy(&ask());
    expect_asked(login(&world, "bob", HOME));
    give_trust(login(&world, "alice", HOME), &mut alice.app);
    expect_trusted(login(&world, "alice", HOME));
    // A longer one ends nothing, and makes nothing longer.
    let world = world.policy(&policy("30 days", "ask"));
    expect_trusted(login(&world, "alice", HOME));
}

// twofa-admin

#[test]
fn trusted_devices_are_listed() {
    let world = office(&ask()).authorize_key(&["alice"]).start_sshd(SSHD_KEY_OR_PASSWORD);
    let list = |arguments: &[&str]| world.admin(&[&["trust", "list"], arguments].concat());
    assert_eq!(list(&[]).ok(), "No device is trusted.\n");
    assert_eq!(list(&["--json"]).ok().trim(), "[]");
    let [mut alice, mut bob] = ["alice", "bob"].map(|user| world.enroll(user));
    assert_eq!(list(&["alice"]).ok(), "No device is trusted.\n");
    give_trust(client(&world, "alice", HOME).key().spawn(COMMAND), &mut alice.app);
    give_trust(login(&world, "alice", CAFE), &mut alice.app);
    give_trust(login(&world, "bob", HOME), &mut bob.app);

    let shown = world.run(&["ssh-keygen", "-lf", "/root/.ssh/key.pub"]).ok();
    let key = shown.split(' ').nth(1).expect("a fingerprint");
    let none = format!("{:<width$}", "none", width = key.len());
    let head = format!(
        "USER   FROM          {:<width$}  SINCE                 UNTIL\n",
        "SSH KEY",
        width = key.len()
    );
    let of_alice = format!("alice  {HOME}  {key}  TIME  TIME\nalice  {CAFE}  {none}  TIME  TIME\n");
    let of_bob = format!("bob    {HOME}  {none}  TIME  TIME\n");
    assert_eq!(without_times(&list(&[]).ok()), format!("{head}{of_alice}{of_bob}"));
    assert_eq!(without_times(&list(&["alice"]).ok()), format!("{head}{of_alice}"));

    // A screen shows the beginning of a fingerprint, and its lines are not broken.
    let mut screen = world.small_terminal(&["twofa-admin", "trust", "list"]);
    screen.expect_end(0);
    let shown = screen.screen().to_owned();
    assert!(shown.contains(&format!("{}...  ", &key[..15])) && !shown.contains(key), "{shown}");
    assert!(shown.lines().count() == 4 && shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    // Times are the host's own, or those of who asks.
    let utc = list(&["bob"]).ok();
    let berlin = world.run(&["env", "TZ=XYZ-1", "twofa-admin", "trust", "list", "bob"]).ok();
    assert!(utc.trim_end().ends_with(" UTC") && berlin.trim_end().ends_with(" XYZ"), "{utc}{berlin}");

    let json = without_times(&list(&["bob", "--json"]).ok());
    let words: String = json.split_whitespace().collect();
    let expected = format!(
        r#"[{{"user":"bob","from":"{HOME}","key":null,"since":"TIME","until":"TIME","void":false}}]"#
    );
    assert_eq!(words, expected, "{json}");
    let all = list(&["--json"]).ok();
    assert_eq!(all.matches("\"user\"").count(), 3, "{all}");
    assert!(all.contains(&format!("\"key\": \"{key}\"")), "{all}");

    for unknown in ["carol", "\u{1b}[2Jmallory\u{202e}"] {
        for arguments in [&[unknown][..], &[unknown, "--json"]] {
            let refused = list(arguments).expect(1);
            assert_eq!(refused.stdout, "");
            assert_eq!(refused.stderr.lines().count(), 2, "{refused:?}");
            assert!(!refused.stderr.contains(['\u{1b}', '\u{202e}']), "{refused:?}");
        }
    }
}

// Under pressure

#[test]
fn a_device_is_trusted_on_a_full_disk() {
    let world = World::new().user("alice", "pw-alice");
    world.run(&["mkdir", "-pm", "700", "/var/lib/twofa"]).ok();
    world.run(&["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", "/var/lib/twofa"]).ok();
    let world =
        world.policy(&ask()).stack("sshd", PASSWORD_AND_CODE).client_network(&[HOME, CAFE]).start_sshd("");
    let mut alice = world.enroll("alice");
    let filled = world.run(&["dd", "if=/dev/zero", "of=/var/lib/twofa/filler", "bs=4k"]);
    assert!(filled.stderr.contains("No space left on device"), "{filled:?}");
    for from in [HOME, CAFE] {
        give_trust(login(&world, "alice", from), &mut alice.app);
        expect_trusted(login(&world, "alice", from));
    }
    expect_trusted(login(&world, "alice", HOME));
}

#[test]
fn two_logins_at_once_give_trust() {
    let world = office(&ask()).start_sshd("");
    for (user, from, listed) in [("alice", [HOME, CAFE], 2), ("bob", [HOME, HOME], 1)] {
        let mut enrolled = world.enroll(user);
        let mut both = from.map(|from| {
            let mut ssh = login(&world, user, from);
            ssh.answer(CODE_PROMPT, &enrolled.app.code());
            ssh.expect(QUESTION_ENDS);
            ssh
        });
        both.iter_mut().for_each(|ssh| ssh.send_line("y"));
        for mut ssh in both {
            ssh.expect("is trusted until ");
            ssh.expect(IN);
            ssh.expect_end(0);
        }
        for from in from {
            expect_trusted(login(&world, user, from));
        }
        let list = world.admin(&["trust", "list", user]).ok();
        assert_eq!(list.lines().count(), 1 + listed, "{list}");
    }
}

/// The administrator's word is the later one. The login itself was proven before it.
#[test]
fn a_revocation_while_a_login_stands_at_its_question() {
    let world = office(&ask()).start_sshd("");
    let mut alice = world.enroll("alice");
    let mut ssh = login(&world, "alice", HOME);
    ssh.answer(CODE_PROMPT, &alice.app.code());
    ssh.expect(QUESTION_ENDS);
    assert_eq!(world.admin(&["trust", "revoke", "alice"]).ok(), "No device of alice was trusted.\n");
    ssh.send_line("y");
    let (which, told) = ssh.expect_any(&[IN, "is trusted"]);
    assert_eq!(which, 0, "{}", ssh.shown());
    assert_eq!(told.trim(), "y");
    ssh.expect_end(0);
    world.log.expect("accepted app for alice from 198.51.100.7");
    world.log.expect_none("trusted");
    expect_asked(login(&world, "alice", HOME));
}

// By libpam, with a clock of its own

const DAY: i64 = 86_400;
/// No address of the machine's: it is for documentation (RFC 5737).
const ELSEWHERE: &str = "203.0.113.5";

/// A site whose policy trusts for a day and does not ask, and root's app.
fn site() -> (Site, Factor) {
    let site = Site::new();
    site.write_policy(&format!("{}[trust]\nduration = \"1 day\"\noffer = \"always\"\n", site.policy()));
    let factor = site.enroll("root");
    (site, factor)
}

/// One login that answers with a code; whether the code was asked for.
#[track_caller]
fn is_asked(site: &Site, plan: Plan, code: Option<&Factor>) -> bool {
    let plan = match code {
        Some(factor) => plan.say_code(&factor.secret, 0),
        None => plan.answer(&Answer::Null),
    };
    let seen = site.run(&plan.authenticate().call("account")).done();
    let asked = !seen.prompts().is_empty();
    let is_in = seen.code("authenticate") == 0 && seen.code("account") == 0;
    assert_eq!(is_in, code.is_some() || !asked, "{seen:?}");
    asked
}

#[test]
fn a_day_is_a_day_and_use_makes_it_no_longer() {
    let (site, factor) = site();
    let at = |second: i64| site.plan_from("root", ELSEWHERE).at(site.time + second);
    assert!(is_asked(&site, at(0), Some(&factor)));
    for second in [1, DAY / 2, DAY - 1] {
        assert!(!is_asked(&site, at(second), None), "{second}");
    }
    assert!(is_asked(&site, at(DAY), None));
    assert!(is_asked(&site, at(DAY + 1), None));
    let until = site.logged();
    let until =
        until.iter().filter(|line| line.contains("trusted")).filter_map(|line| line.split("until=").nth(1));
    let until: Vec<&str> = until.collect();
    assert_eq!(until.len(), 4, "{until:?}");
    assert!(until.iter().all(|end| end == &until[0]), "{until:?}");
    let list = site.admin_ok(&["trust", "list", "--json"], "");
    assert!(list.contains("\"void\": false"), "{list}");
    // A new code begins a new day.
    assert!(is_asked(&site, at(DAY + 2), Some(&factor)));
    assert!(!is_asked(&site, at(DAY + DAY + 1), None));
    assert!(is_asked(&site, at(DAY + DAY + 2), None));
}

#[test]
fn a_clock_that_goes_forward_and_back_revives_nothing() {
    let (site, factor) = site();
    let at = |second: i64| site.plan_from("root", ELSEWHERE).at(site.time + second);
    assert!(is_asked(&site, at(0), Some(&factor)));
    // Minutes are what clocks are corrected by; before that nobody was trusted.
    assert!(!is_asked(&site, at(-240), None));
    assert!(is_asked(&site, at(-3600), None));
    assert!(!is_asked(&site, at(10), None));
    // Somebody logs in two days later, and then it was not so late after all.
    let later = at(2 * DAY).say(&factor.recovery[0]).answer(&Answer::Null).authenticate();
    assert_eq!(site.run(&later).done().code("authenticate"), 0);
    assert!(is_asked(&site, at(20), None));
    assert!(is_asked(&site, at(DAY - 1), None));
}

/// A list has an end. What would be trusted no longer first, makes room.
#[test]
fn of_nine_devices_the_oldest_is_forgotten() {
    let (site, factor) = site();
    let from = |device: i64| site.plan_from("root", &format!("203.0.113.{device}"));
    for device in 1..=9 {
        assert!(is_asked(&site, from(device).at(site.time + 30 * device), Some(&factor)), "{device}");
    }
    let later = |device| from(device).at(site.time + 600);
    assert!(is_asked(&site, later(1), None));
    for device in 2..=9 {
        assert!(!is_asked(&site, later(device), None), "{device}");
    }
    assert_eq!(site.admin_ok(&["trust", "list", "root"], "").lines().count(), 1 + 8);
}

#[test]
fn only_sshds_word_about_the_address_counts() {
    let (site, factor) = site();
    let plan = || site.plan_from("root", ELSEWHERE);
    assert!(is_asked(&site, plan(), Some(&factor)));
    assert!(!is_asked(&site, plan(), None));
    // The other service: neither honoured nor given.
    assert!(is_asked(&site, plan().with("service", SERVICE), None));
    let other = site.plan_from("root", "203.0.113.6").with("service", SERVICE);
    assert!(is_asked(&site, other.at(site.time + 30), Some(&factor)));
    assert_eq!(site.logged().iter().filter(|line| line.contains("device trusted")).count(), 1);
    assert!(is_asked(&site, site.plan_from("root", "203.0.113.6"), None));
    // Without sshd's variable, with the name of the remote host or the process' own environment in its place.
    let sshd = || site.plan("root").with("service", "sshd");
    for rhost in [ELSEWHERE, "office.example", "UNKNOWN", "localhost", "", "1.2.3", "0x7f.1", "999.1.1.1"] {
        assert!(is_asked(&site, sshd().with("set", format!("rhost={rhost}")), None), "{rhost}");
    }
    let lie = format!("{ELSEWHERE} 50000 192.0.2.1 22");
    let plan = sshd().answer(&Answer::Null).authenticate();
    let seen = site.run_with(&plan, &[], &[("SSH_CONNECTION", &lie)]).done();
    assert_ne!(seen.code("authenticate"), 0);
}

#[test]
fn an_address_is_the_same_however_it_is_written_and_nothing_else_is_one() {
    let (site, factor) = site();
    let from = |address: &str| site.plan_from("root", address);
    assert!(is_asked(&site, from(ELSEWHERE), Some(&factor)));
    assert!(!is_asked(&site, from("::ffff:203.0.113.5"), None));
    for other in [
        "203.0.113.05",
        "203.0.113.5.",
        "203.0.113.5,203.0.113.6",
        "203.0.113.6",
        "::203.0.113.5",
        "UNKNOWN",
        "",
        " 203.0.113.5",
        "203.0.113.5%eth0",
        "3405803781",
        "office.example",
    ] {
        assert!(is_asked(&site, from(other), None), "{other:?}");
    }
    // Those of which there is more than one are not trusted to begin with.
    let shared = [
        "127.0.0.1",
        "127.9.9.9",
        "::1",
        "169.254.7.7",
        "fe80::7",
        "fe80::7%eth0",
        "::ffff:127.0.0.1",
        "0.0.0.0",
        "::",
    ];
    for (step, address) in (1..).zip(shared) {
        let plan = from(address).at(site.time + 30 * step);
        assert!(is_asked(&site, plan, Some(&factor)), "{address}");
    }
    assert_eq!(site.logged().iter().filter(|line| line.contains("device trusted")).count(), 1);
}

/// The copy that stands in for a broken policy may trust for longer than was meant.
#[test]
fn under_a_broken_policy_no_device_is_trusted() {
    let (site, factor) = site();
    site.admin_ok(&["policy", "set", "limits.failures=4", "--force"], "");
    assert!(is_asked(&site, site.plan_from("root", ELSEWHERE), Some(&factor)));
    assert!(!is_asked(&site, site.plan_from("root", ELSEWHERE), None));
    let good = fs::read_to_string(site.path("twofa.toml")).unwrap();
    site.write_policy(&format!("{good}\nnonsense"));
    assert!(is_asked(&site, site.plan_from("root", ELSEWHERE), None));
    site.write_policy(&good);
    assert!(!is_asked(&site, site.plan_from("root", ELSEWHERE), None));
}
