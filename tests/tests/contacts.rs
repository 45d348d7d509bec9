//! Telephone numbers and addresses as an administrator manages them: who has none, what is taken, what is shown,
//! and which programs may send.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use twofa_tests::mailbox::{Mailbox, Order};
use twofa_tests::setup::{PASSWORD_AND_CODE, PASSWORD_PROMPT, policy_of};
use twofa_tests::terminal::Terminal;
use twofa_tests::world::{Ran, World};

const POLICY_FILE: &str = "/etc/twofa/twofa.toml";
const ALICE: &str = "+48600000123";
const BOB: &str = "+48601000456";
const CODE: &str = "Code in the message: ";

/// alice and bob are users of the host; alice has an account with a number and an address that nothing proved yet.
fn office(methods: &str) -> (World, Mailbox) {
    let world = World::new();
    world.append("/etc/passwd", "alice:x:1001:1001::/:/bin/sh\nbob:x:1002:1002::/:/bin/sh\n");
    let world = world.policy(&policy_of(methods));
    let mailbox = Mailbox::new(&world);
    world.admin(&["user", "add", "alice", "--phone", ALICE, "--email", "alice@example.org"]).ok();
    (world, mailbox)
}

/// A thousand users who can log in, from uid 20001 on. All but three of them have a number, and so has root.
fn company() -> (World, Mailbox) {
    let world = World::new();
    let users: Vec<(String, u32)> = (1..=1000).map(|n| (format!("u{n:04}"), 20_000 + n)).collect();
    let line = |(name, uid): &(String, u32)| format!("{name}:x:{uid}:{uid}::/home/{name}:/bin/bash\n");
    world.append("/etc/passwd", &users.iter().map(line).collect::<String>());
    world.append(
        "/etc/passwd",
        "robot:x:30001:30001::/:/usr/sbin/nologin\nrobot2:x:30002:30002::/:/bin/false\n",
    );
    let world = world.policy(&policy_of(r#"["app"]"#));
    let mailbox = Mailbox::new(&world);
    let reached = users.into_iter().filter(|(name, _)| !WITHOUT.contains(&name.as_str()));
    let reached = reached.chain([("root".into(), 0)]);
    let phones: Vec<_> = reached.map(|(name, uid)| (name, uid, format!("+4860{uid:07}"))).collect();
    world.store_of(&phones);
    (world, mailbox)
}

const WITHOUT: [&str; 3] = ["u0007", "u0500", "u1000"];

fn policy_text(world: &World) -> Vec<u8> {
    fs::read(world.path(POLICY_FILE)).unwrap()
}

/// The names in the first column of a table that ends with an empty line.
fn names(table: &str) -> Vec<&str> {
    let rows = table.lines().skip(1).take_while(|line| !line.is_empty());
    rows.filter_map(|row| row.split_whitespace().next()).collect()
}

fn shown(ran: &Ran) -> String {
    format!("{}{}", ran.stdout, ran.stderr)
}

/// What the administrator sees of all accounts.
fn accounts(world: &World) -> String {
    world.admin(&["user", "list", "--json"]).ok()
}

#[test]
fn the_phone_check_names_exactly_who_has_no_number() {
    let (world, _) = company();
    // 2026-11-21T22:03:25Z, where lastlog(8) has it.
    let lastlog = File::create(world.path("/var/log/lastlog")).unwrap();
    lastlog.write_all_at(&1_795_298_605u32.to_ne_bytes(), 20_500 * 292).unwrap();
    let before = policy_text(&world);
    let sms = ["policy", "set", r#"methods=["sms"]"#];

    let refused = world.admin(&sms).expect(3);
    assert_eq!(names(&refused.stdout), WITHOUT, "{}", refused.stdout);
    let row = |name| refused.stdout.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(row("u0500").contains("2026-11-21 22:03 UTC"), "{}", refused.stdout);
    assert!(row("u0007").contains("not known"), "{}", refused.stdout);
    assert!(refused.stdout.contains("Nothing was changed."), "{}", refused.stdout);
    assert!(refused.stderr.contains("--phone") && refused.stderr.contains("--force"), "{}", refused.stderr);
    assert_eq!(policy_text(&world), before);

    let json = world.admin(&[&sms[..], &["--json"]].concat()).expect(3).stdout;
    assert_eq!(json.matches("\"user\": \"u").count(), 3, "{json}");
    assert!(json.contains("\"changed\": false") && json.contains("\"what\": \"phone\""), "{json}");
    assert_eq!(policy_text(&world), before);

    // Exempt users are asked for nothing, so nothing has to reach them.
    let exemption = "\n[[exempt]]\nuser = \"u0500\"\nreason = \"on leave\"\nuntil = 2099-12-31\n";
    world.append(POLICY_FILE, exemption);
    let refused = world.admin(&sms).expect(3);
    assert_eq!(names(&refused.stdout), ["u0007", "u1000"], "{}", refused.stdout);
    fs::write(world.path(POLICY_FILE), &before).unwrap();

    world.admin(&[&sms[..], &["--force"]].concat()).ok();
    assert_ne!(policy_text(&world), before);
    let line = |world: &World| {
        let status = world.admin(&["status"]);
        status.stdout.lines().find(|line| line.starts_with("No phone number:")).map(str::to_owned)
    };
    world.admin(&["status"]).expect(3);
    assert_eq!(line(&world).unwrap(), "No phone number:     u0007, u0500, u1000");
    // Another change is not held up by those who were accepted, and whoever comes later is named too.
    world.admin(&["policy", "set", "limits.failures=4"]).ok();
    world.append("/etc/passwd", "newcomer:x:30003:30003::/home/newcomer:/bin/sh\n");
    assert_eq!(line(&world).unwrap(), "No phone number:     u0007, u0500, u1000, newcomer");
    world.admin(&["policy", "set", r#"methods=["app"]"#, "--force"]).ok();
    assert_eq!(line(&world), None, "nobody asks for numbers where nothing is sent to them");
}

#[test]
fn the_check_of_addresses_counts_a_shared_one() {
    let (world, _) = office(r#"["app"]"#);
    let before = policy_text(&world);
    let email = ["policy", "set", r#"methods=["email"]"#];
    let refused = world.admin(&email).expect(3);
    assert_eq!(names(&refused.stdout), ["root", "bob"], "{}", refused.stdout);
    assert_eq!(policy_text(&world), before);
    for user in ["root", "bob"] {
        world.admin(&["user", "add", user]).ok();
    }
    world.admin(&email).expect(3);
    world.admin(&["policy", "set", "email.default_address=office@example.org"]).ok();
    world.admin(&email).ok();
    let status = world.admin(&["status"]);
    assert!(status.stdout.contains("No e-mail address:   nobody"), "{}", status.stdout);
}

#[test]
fn a_new_account_has_what_the_methods_need() {
    let (world, _) = office(r#"["sms", "app"]"#);
    let before = accounts(&world);
    let refused = world.admin(&["user", "add", "bob"]).expect(2);
    assert!(refused.stderr.contains("needs a telephone number"), "{}", refused.stderr);
    assert!(refused.stderr.contains("twofa-admin user add bob --phone"), "{}", refused.stderr);
    assert_eq!(accounts(&world), before);
    world.admin(&["user", "show", "bob"]).expect(1);

    world.admin(&["user", "add", "bob", "--phone", "0048 601-000-456"]).ok();
    assert!(world.admin(&["user", "show", "bob"]).ok().contains("+48 *** *** 456, not confirmed"));
    // Nothing was sent for it, so nothing is known of it.
    world.admin(&["policy", "set", r#"methods=["email"]"#, "--force"]).ok();
    world.admin(&["user", "remove", "bob", "--yes"]).ok();
    let refused = world.admin(&["user", "add", "bob"]).expect(2);
    assert!(refused.stderr.contains("needs an address"), "{}", refused.stderr);
}

/// Numbers and addresses end up in the arguments and headers of somebody's script.
#[test]
fn hostile_numbers_and_addresses_are_taken_nowhere() {
    let (world, mailbox) = office(r#"["sms", "app"]"#);
    let before = accounts(&world);
    let long_number = format!("+48{}", "6".repeat(38));
    let longer = "6".repeat(300);
    let numbers = [
        "+49151$(touch /tmp/x)",
        "-oProxy",
        "--no-phone",
        long_number.as_str(),
        longer.as_str(),
        "+48600000123\nBcc: x",
        "+48600000123;touch /tmp/x",
        "+48600000124 \u{1b}]0;x\u{7}",
        "",
    ];
    let long_address = format!("{}@example.org", "a".repeat(300));
    let addresses = [
        "a@b\nBcc: x@y",
        "-f root",
        "-f@root",
        "|touch /tmp/x@b",
        "a@b, c@d",
        "\"a b\"@c",
        long_address.as_str(),
        "",
    ];
    let refuse = |command: &[&str]| {
        let ran = world.admin(command);
        assert!(matches!(ran.code, Some(1 | 2)), "{ran:?}");
        assert!(!ran.stderr.is_empty() && !ran.stderr.contains(['\u{1b}', '\u{7}']), "{ran:?}");
        assert!(ran.stderr.lines().count() <= 8, "{ran:?}");
    };
    for number in numbers {
        refuse(&["user", "add", "bob", "--phone", number]);
        refuse(&["user", "set", "alice", "--phone", number]);
        refuse(&["enroll", "phone", "alice", number]);
        refuse(&["enroll", "phone", "bob", number]);
        refuse(&["test", "sms", "--to", number]);
    }
    for address in addresses {
        refuse(&["user", "add", "bob", "--phone", BOB, "--email", address]);
        refuse(&["user", "set", "alice", "--email", address]);
        refuse(&["enroll", "email", "alice", address]);
        refuse(&["enroll", "email", "bob", address]);
        refuse(&["test", "email", "--to", address]);
    }
    assert_eq!(accounts(&world), before);
    mailbox.expect_nothing();
    assert!(!world.path("/tmp/x").exists());
}

#[test]
fn a_number_outside_the_prefixes_is_refused() {
    let (world, mailbox) = office(r#"["sms"]"#);
    let before = accounts(&world);
    let premium = "+1 900 555 0123";
    for command in [
        &["user", "add", "bob", "--phone", premium][..],
        &["user", "set", "alice", "--phone", premium],
        &["enroll", "phone", "alice", premium],
        &["test", "sms", "--to", premium],
    ] {
        let refused = world.admin(command).expect(1);
        assert!(refused.stderr.contains("the policy allows +48"), "{}", refused.stderr);
    }
    assert_eq!(accounts(&world), before);
    mailbox.expect_nothing();
}

#[test]
fn one_number_of_two_users_is_to_be_meant() {
    let (world, mailbox) = office(r#"["sms"]"#);
    world.admin(&["user", "add", "bob", "--phone", BOB]).ok();
    let before = accounts(&world);
    for command in
        [&["user", "set", "bob", "--phone", "+48 600 000 123"][..], &["enroll", "phone", "bob", ALICE]]
    {
        let refused = world.admin(command).expect(1);
        assert!(refused.stderr.contains("is the number of alice already"), "{}", refused.stderr);
        assert!(refused.stderr.contains("--shared-ok"), "{}", refused.stderr);
    }
    world.admin(&["user", "remove", "bob", "--yes"]).ok();
    world.admin(&["user", "add", "bob", "--phone", ALICE]).expect(1);
    world.admin(&["user", "add", "bob", "--phone", BOB]).ok();
    assert_eq!(accounts(&world), before);
    mailbox.expect_nothing();
    world.admin(&["user", "set", "bob", "--phone", ALICE, "--shared-ok"]).ok();
    assert!(world.admin(&["user", "show", "bob"]).ok().contains("+48 *** *** 123, not confirmed"));
    // It was alice's own all the time.
    world.admin(&["user", "set", "alice", "--phone", ALICE, "--shared-ok"]).ok();
}

/// A dialogue of `enroll` up to the question for the code.
fn enrolment(world: &World, command: &[&str]) -> Terminal {
    let mut terminal = world.terminal(&[&["twofa-admin", "enroll"], command].concat());
    terminal.expect("A message is on its way to ");
    terminal.expect(CODE);
    terminal
}

#[test]
fn a_code_that_comes_back_confirms_a_number() {
    let (world, mut mailbox) = office(r#"["sms"]"#);
    let mut terminal = enrolment(&world, &["phone", "alice"]);
    let message = mailbox.receive();
    assert_eq!((message.to.as_str(), message.kind.as_str()), (ALICE, "enroll"));
    assert_eq!(message.user, "alice");
    terminal.send_line("000000");
    terminal.expect("That is not the code in the message.");
    terminal.answer(CODE, &message.code());
    terminal.answer("saved the recovery codes: ", "saved");
    terminal.expect("+48 *** *** 123 of alice is confirmed.");
    terminal.expect_end(0);
    let show = world.admin(&["user", "show", "alice"]).ok();
    assert!(show.contains("+48 *** *** 123, confirmed 20"), "{show}");
    // The same number again stays confirmed, another one is not.
    world.admin(&["user", "set", "alice", "--phone", ALICE]).ok();
    assert!(world.admin(&["user", "show", "alice"]).ok().contains("123, confirmed 20"));
    world.admin(&["user", "set", "alice", "--phone", BOB]).ok();
    assert!(world.admin(&["user", "show", "alice"]).ok().contains("+48 *** *** 456, not confirmed"));

    // And an address, of somebody who has no account yet.
    let mut terminal = enrolment(&world, &["email", "bob", "bob@example.org"]);
    let message = mailbox.receive();
    assert_eq!((message.to.as_str(), message.kind.as_str()), ("bob@example.org", "enroll"));
    terminal.send_line(&message.code());
    terminal.answer("saved the recovery codes: ", "saved");
    terminal.expect("b***@example.org of bob is confirmed.");
    terminal.expect_end(0);
    assert!(world.admin(&["user", "show", "bob"]).ok().contains("b***@example.org, confirmed 20"));
}

#[test]
fn wrong_codes_confirm_nothing() {
    let (world, mut mailbox) = office(r#"["sms"]"#);
    let before = accounts(&world);
    for command in [&["phone", "alice"][..], &["phone", "alice", BOB]] {
        let mut terminal = enrolment(&world, command);
        let code = mailbox.code();
        let wrong = if code == "000000" { "000001" } else { "000000" };
        terminal.send_line(wrong);
        terminal.answer(CODE, "");
        terminal.answer(CODE, wrong);
        terminal.expect("nothing was changed");
        terminal.expect_end(1);
        assert_eq!(accounts(&world), before, "{command:?}");
    }
    // Nobody at the terminal is no confirmation either, and the gateway's refusal is told.
    world.admin(&["enroll", "phone", "alice"]).expect(1);
    mailbox.receive();
    mailbox.order(Order::Refuse(65));
    let refused = world.admin(&["enroll", "phone", "alice"]).expect(1);
    assert!(refused.stderr.contains("+48 *** *** 123"), "{}", refused.stderr);
    assert_eq!(accounts(&world), before);
    mailbox.expect_nothing();
}

/// "Nothing was changed" is meant: a user without an account still has none.
#[test]
fn a_failed_enrolment_makes_no_account() {
    let (world, mut mailbox) = office(r#"["sms"]"#);
    let mut terminal = enrolment(&world, &["phone", "bob", BOB]);
    mailbox.receive();
    for _ in 0..2 {
        terminal.send_line("wrong");
        terminal.expect(CODE);
    }
    terminal.send_line("wrong");
    terminal.expect("nothing was changed");
    terminal.expect_end(1);
    let show = world.admin(&["user", "show", "bob"]);
    assert_eq!(show.code, Some(1), "bob has an account: {show:?}");
}

/// A code goes to all addresses of a user, so there are not many.
#[test]
fn a_user_has_five_addresses_at_most() {
    let (world, mailbox) = office(r#"["app"]"#);
    let addresses: Vec<String> = (1..=6).map(|n| format!("bob{n}@example.org")).collect();
    let arguments: Vec<&str> = addresses.iter().flat_map(|address| ["--email", address]).collect();
    world.admin(&[&["user", "add", "bob"], &arguments[..]].concat()).expect(2);
    world.admin(&[&["user", "add", "bob"], &arguments[..10]].concat()).ok();
    let before = accounts(&world);
    let mut terminal = world.terminal(&["twofa-admin", "enroll", "email", "bob", &addresses[5]]);
    terminal.expect("bob has 5 e-mail addresses, which is the most there can be");
    terminal.expect_end(1);
    mailbox.expect_nothing();
    assert_eq!(accounts(&world), before, "{}", terminal.screen());
}

#[test]
fn a_test_message_shows_what_the_gateway_says() {
    let (world, mut mailbox) = office(r#"["app"]"#);
    let sent = world.admin(&["test", "sms", "--to", "+48 602 000 789"]).ok();
    let message = mailbox.receive();
    assert_eq!((message.to.as_str(), message.kind.as_str()), ("+48602000789", "test"));
    assert!(sent.contains("+48 *** *** 789") && sent.contains("taken: Test: [code]"), "{sent}");
    assert!(sent.contains(&message.code()), "to compare it: {sent}");
    let sent = world.admin(&["test", "email", "--to", "carol@example.org", "--json"]).ok();
    assert!(sent.contains("\"sent\": true") && sent.contains("c***@example.org"), "{sent}");
    assert_eq!(mailbox.receive().to, "carol@example.org");

    let answers = [
        (65, "does not take this number"),
        (75, "cannot be reached"),
        (78, "not configured"),
        (3, "exit status 3"),
    ];
    for (code, words) in answers {
        mailbox.order(Order::Refuse(code));
        let failed = world.admin(&["test", "sms", "--to", "+48602000789"]).expect(1);
        assert!(
            failed.stderr.contains(words) && failed.stderr.contains("not taken: Test: [code]"),
            "{failed:?}"
        );
        assert!(!failed.stderr.contains("602000789"), "{failed:?}");
    }
    mailbox.expect_nothing();
    // Ctrl-C ends the hook too.
    mailbox.order(Order::HangStubbornly);
    let mut given_up = world.terminal(&["twofa-admin", "test", "sms", "--to", "+48602000789"]);
    mailbox.receive();
    given_up.send("\x03");
    given_up.expect_end(128 + 2);
    world.expect_no_delivery(Duration::from_secs(3));
    world.write(POLICY_FILE, "version = 1\nmethods = [\"app\"]\nservices = [\"sshd\"]\n");
    let failed = world.admin(&["test", "sms", "--to", "+48602000789"]).expect(1);
    assert!(failed.stderr.contains("[sms]"), "{failed:?}");
}

/// What runs as somebody else's word is checked when the policy is, when a number is, and at every login.
#[test]
fn a_hook_that_others_could_have_changed_never_runs() {
    let (world, mailbox) = office(r#"["sms"]"#);
    let world = world.password("alice", "pw-alice").stack("sshd", PASSWORD_AND_CODE).start_sshd("");
    let save = "cp -a /etc/twofa/hooks /root/hooks && cp -a /usr/libexec/twofa/twofa-helper /root/helper";
    world.run(&["sh", "-c", save]).ok();
    let restore = "rm -rf /etc/twofa/hooks && cp -a /root/hooks /etc/twofa/hooks && \
                   cp -a --remove-destination /root/helper /usr/libexec/twofa/twofa-helper";
    let table = [
        ("rm /etc/twofa/hooks/sms", "does not exist"),
        ("chown alice /etc/twofa/hooks/sms", "is not owned by root"),
        ("chmod 775 /etc/twofa/hooks/sms", "can be changed by others"),
        ("chmod 644 /etc/twofa/hooks/sms", "is not executable"),
        ("cd /etc/twofa/hooks && mv sms real && ln -s real sms", "is a symbolic link"),
        ("chmod 777 /etc/twofa/hooks", "can be changed by others"),
        ("chown alice /etc/twofa/hooks", "is not owned by root"),
        ("chmod 757 /usr/libexec/twofa/twofa-helper", "can be changed by others"),
    ];
    for (times, (breakage, reason)) in (1..).zip(table) {
        world.run(&["sh", "-c", breakage]).ok();
        let check = world.admin(&["policy", "check"]).expect(3);
        assert!(check.stdout.contains(reason), "{breakage}: {}", check.stdout);
        for command in [&["enroll", "phone", "alice"][..], &["test", "sms", "--to", ALICE]] {
            let refused = world.admin(command).expect(1);
            assert!(refused.stderr.contains(reason), "{breakage}: {}", refused.stderr);
        }
        let refused = world.admin(&["policy", "set", "mode=off", "--force"]).ok();
        assert!(refused.contains("the mode is off"), "a broken hook does not keep enforcement on: {refused}");
        let refused = world.admin(&["policy", "enable", "--force"]);
        assert_eq!(refused.code, Some(1), "{breakage}: {refused:?}");
        assert!(refused.stderr.contains(reason), "{breakage}: {}", refused.stderr);
        world.write(POLICY_FILE, &policy_of(r#"["sms"]"#));

        let told = world.admin(&["user", "unlock", "alice"]).ok();
        assert!(told.contains("as far as the number's own limit allows"), "{told}");
        let mut ssh = world.ssh("alice").option("NumberOfPasswordPrompts=1").spawn("id");
        ssh.answer(PASSWORD_PROMPT, "pw-alice");
        ssh.expect("No code could be sent by SMS.");
        ssh.expect("Verification code (recovery code, or type resend): ");
        let last = world.log.expect_times("not sent sms for alice", times);
        assert!(last.contains(reason), "{breakage}: {last}");
        world.run(&["sh", "-c", restore]).ok();
    }
    mailbox.expect_nothing();
    world.admin(&["policy", "check"]).ok();

    let refused = world.admin(&["policy", "set", "sms.hook=sms"]).expect(1);
    assert!(refused.stderr.contains("must be an absolute path"), "{}", refused.stderr);
    let relative = policy_of(r#"["sms"]"#).replace("/etc/twofa/hooks/sms", "sms");
    world.write("/root/relative.toml", &relative);
    let check = world.admin(&["policy", "check", "/root/relative.toml"]).expect(3);
    assert!(check.stdout.contains("must be an absolute path"), "{}", check.stdout);
}

#[test]
fn methods_that_do_not_go_together_are_refused() {
    let (world, _) = office(r#"["app"]"#);
    let before = policy_text(&world);
    let set = |methods: &str| world.admin(&["policy", "set", &format!("methods={methods}"), "--force"]);
    let allowed = r#"must be a list, as in ["sms"]: one of "sms", "app", "key", "email", or "app" or "key" together with "sms" or "email""#;
    for methods in [
        "[]",
        r#"["sms", "email"]"#,
        r#"["email", "sms"]"#,
        r#"["app", "app"]"#,
        r#"["app", "key"]"#,
        r#"["sms", "sms"]"#,
        r#"["sms", "app", "email"]"#,
    ] {
        let refused = set(methods).expect(1);
        assert!(refused.stderr.contains(allowed), "{methods}: {}", refused.stderr);
        assert_eq!(policy_text(&world), before);
    }
    for methods in [r#"["keys"]"#, r#"["SMS"]"#, r#"["sms", "password"]"#] {
        let refused = set(methods).expect(1);
        for name in ["sms", "app", "email"] {
            assert!(refused.stderr.contains(name), "{methods}: {}", refused.stderr);
        }
    }
    assert_eq!(policy_text(&world), before);
    for methods in ["[\"sms\"]", "[\"email\"]", "[\"sms\", \"app\"]", "[\"app\", \"email\"]", "[\"app\"]"] {
        set(methods).ok();
        world.admin(&["policy", "check"]).ok();
    }
    world.write(POLICY_FILE, "version = 1\nmethods = [\"app\"]\nservices = [\"sshd\"]\n");
    let refused = set(r#"["sms"]"#).expect(1);
    assert!(
        refused.stderr.contains("sms needs a table [sms] with `hook` and `prefixes`"),
        "{}",
        refused.stderr
    );
}

/// What people type who have not read the manual.
#[test]
fn a_method_without_brackets_is_explained() {
    let (world, _) = office(r#"["app"]"#);
    let refused = world.admin(&["policy", "set", "methods=sms"]).expect(1);
    assert!(refused.stderr.contains(r#"["sms"]"#), "{}", refused.stderr);
}

/// A screen may be shared, and a log is: only the owner knows which number is meant.
#[test]
fn numbers_and_addresses_are_shown_masked() {
    let (world, _) = office(r#"["sms", "app"]"#);
    world.admin(&["user", "add", "bob", "--phone", BOB]).ok();
    let commands = [
        &["user", "show", "alice"][..],
        &["user", "show", "alice", "--json"],
        &["user", "list"],
        &["user", "list", "--json"],
        &["status"],
        &["status", "--json"],
        &["user", "set", "bob", "--phone", ALICE],
        &["user", "set", "alice", "--email", "alice@example.org"],
        &["test", "sms", "--to", ALICE],
        &["test", "email", "--to", "alice@example.org"],
        &["enroll", "phone", "alice"],
        &["enroll", "email", "alice"],
        &["user", "reset", "alice", "--yes"],
        &["user", "remove", "alice", "--yes"],
    ];
    for command in commands {
        let ran = world.admin(command);
        let shown = shown(&ran);
        let digits: String = shown.chars().filter(char::is_ascii_digit).collect();
        assert!(!digits.contains("600000123") && !digits.contains("601000456"), "{command:?}: {shown}");
        assert!(!shown.contains("alice@"), "{command:?}: {shown}");
    }
    let database = fs::read(world.path("/var/lib/twofa/twofa.db")).unwrap();
    let database = String::from_utf8_lossy(&database);
    assert!(!database.contains("48601000456") && !database.contains("alice@example"), "sealed at rest");
}

#[test]
fn a_user_without_a_number_any_more_is_told_about() {
    let (world, _) = office(r#"["sms"]"#);
    let changed = world.admin(&["user", "set", "alice", "--no-phone"]).expect(0);
    assert!(changed.stderr.contains("alice has no second factor"), "{changed:?}");
    let status = world.admin(&["status"]).expect(3);
    assert!(status.stdout.contains("No phone number:     root, alice, bob"), "{}", status.stdout);
    world.admin(&["user", "set", "alice"]).expect(2);
    world.admin(&["user", "set", "nobody-here", "--phone", BOB]).expect(1);
    world.admin(&["user", "set", "alice", "--phone", BOB, "--no-phone"]).expect(2);
}

/// An app that is enrolled lets nobody in where the policy has none.
#[test]
fn hints_name_a_method_that_the_policy_has() {
    let (world, _) = office(r#"["sms"]"#);
    world.admin(&["policy", "disable", "--yes"]).ok();
    for command in [
        &["user", "set", "alice", "--no-phone"][..],
        &["user", "reset", "alice", "--yes"],
        &["policy", "enable"],
    ] {
        let ran = world.admin(command);
        assert!(!ran.stderr.contains("enroll app"), "{command:?}: {}", ran.stderr);
    }
}

/// Who has an app but no number is locked out by this just as by the first choice of SMS.
#[test]
fn the_phone_check_is_made_too_when_sms_becomes_the_only_method() {
    let (world, _) = office(r#"["sms", "app"]"#);
    let refused = world.admin(&["policy", "set", r#"methods=["sms"]"#]).expect(3);
    assert_eq!(names(&refused.stdout), ["root", "bob"], "{}", refused.stdout);
    assert!(
        refused.stdout.contains("MISSING") && refused.stdout.contains("LAST LOGIN"),
        "{}",
        refused.stdout
    );
    assert!(refused.stderr.contains("--phone"), "{}", refused.stderr);
}

/// `init` proposes SMS on a new host that has a gateway, and chooses it only once a message has arrived.
#[test]
fn init_sets_up_sms() {
    let world = World::new();
    let mut mailbox = Mailbox::new(&world);
    world.append("/etc/passwd", "alice:x:1001:1001::/:/bin/sh\n");
    let mut init = world.terminal(&["twofa-admin", "init"]);
    init.answer("Method [1]: ", "");
    init.answer("[/etc/twofa/hooks/sms]: ", "");
    init.answer("(several with commas): ", "+48");
    init.answer("Your number, for a test: ", "600 000 123");
    init.expect("The gateway took a message to +48 *** *** 123.");
    let message = mailbox.receive();
    assert_eq!((message.to.as_str(), message.kind.as_str()), (ALICE, "test"));
    init.answer(CODE, &message.code());
    init.answer("(Enter: none) ", "alice");
    init.answer("Number of alice: ", "601 000 456");
    init.expect(CODE);
    let message = mailbox.receive();
    assert_eq!((message.to.as_str(), message.kind.as_str()), (BOB, "enroll"));
    init.send_line(&message.code());
    init.answer("saved the recovery codes: ", "saved");
    init.answer("Write this? [y/N]: ", "n");
    init.answer("Write this? [y/N]: ", "n");
    // What stays as it is has nothing to do with what was set up.
    init.expect("Nothing is enforced yet");
    init.expect_end(0);
    let policy = world.admin(&["policy", "show"]).ok();
    assert!(policy.contains("methods = [\"sms\"]") && policy.contains("mode = \"off\""), "{policy}");
    assert!(world.admin(&["user", "show", "alice"]).ok().contains("+48 *** *** 456, confirmed 20"));
}

/// A gateway that does not work is no reason to be left without a second factor.
#[test]
fn init_falls_back_to_the_app() {
    let world = World::new();
    let mailbox = Mailbox::new(&world);
    mailbox.order(Order::Refuse(78));
    let mut init = world.terminal(&["twofa-admin", "init"]);
    init.answer("Method [1]: ", "9");
    init.answer("Method [1]: ", "1");
    init.answer("[/etc/twofa/hooks/sms]: ", "");
    init.answer("(several with commas): ", "+48");
    init.answer("Your number, for a test: ", ALICE);
    init.expect("the hook is not configured");
    init.answer("Try again? [y/N]: ", "y");
    init.answer("[/etc/twofa/hooks/sms]: ", "");
    init.answer("(several with commas): ", "48");
    init.expect("must be + and digits");
    init.answer("Try again? [y/N]: ", "n");
    init.expect("the method stays app");
    init.answer("(Enter: none) ", "");
    init.answer("Write this? [y/N]: ", "n");
    init.answer("Write this? [y/N]: ", "n");
    init.expect_end(0);
    let policy = world.admin(&["policy", "show"]).ok();
    assert!(policy.contains("methods = [\"app\"]") && !policy.contains("[sms]"), "{policy}");
}
