//! Notices: what users are told by e-mail of what was done in their name, while nobody waits for the hook.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

use std::fs;
use std::time::Duration;

use twofa_tests::gateway::MailServer;
use twofa_tests::mailbox::{Mailbox, Message, Order};
use twofa_tests::namespace::Process;
use twofa_tests::setup::{CODE_PROMPT, PASSWORD_AND_CODE, PASSWORD_PROMPT, policy_of};
use twofa_tests::terminal::Terminal;
use twofa_tests::totp::App;
use twofa_tests::world::{World, recovery_codes};

const ALL: &str = r#""device-trusted", "recovery-used", "factor-changed", "reset", "bypass""#;
const HELPER: &str = "/usr/libexec/twofa/twofa-helper";
const POLICY_FILE: &str = "/etc/twofa/twofa.toml";
/// What every login here runs.
const COMMAND: &str = "echo LOGGED-IN";
const IN: &str = "LOGGED-IN\n";
/// As long as the kernel needs to end what nobody waits for.
const SOON: Duration = Duration::from_secs(5);
/// A hook's own time, and what it takes to end it.
const LIMIT: Duration = Duration::from_secs(14);
const HOME: &str = "198.51.100.7";
const END: &str = " UTC. If this was not you, tell your administrator. Call the help desk, extension 42.";

fn policy(events: &str) -> String {
    format!("{}[notify]\nevents = [{events}]\n", policy_of(r#"["app"]"#))
}

/// These have passwords, an address each and nothing else; nobody is told of that.
fn office(users: &[&str]) -> (World, Mailbox) {
    let world = users.iter().fold(World::new(), |world, user| world.user(user, &format!("pw-{user}")));
    let world = world.policy(&policy("")).stack("sshd", PASSWORD_AND_CODE);
    let mailbox = Mailbox::new(&world);
    for user in users {
        world.admin(&["user", "add", user, "--email", &address(user)]).ok();
    }
    (world, mailbox)
}

fn address(user: &str) -> String {
    format!("{user}@example.org")
}

fn tell_of(world: &World, events: &str) {
    world.write(POLICY_FILE, &policy(events));
}

/// A login whose password is typed.
fn login(world: &World, user: &str) -> Terminal {
    let mut ssh = world.ssh(user).option("NumberOfPasswordPrompts=1").spawn(COMMAND);
    ssh.answer(PASSWORD_PROMPT, &format!("pw-{user}"));
    ssh
}

#[track_caller]
fn log_in_with(world: &World, user: &str, code: &str) {
    let mut ssh = login(world, user);
    ssh.answer(CODE_PROMPT, code);
    ssh.expect(IN);
    ssh.expect_end(0);
}

/// The one notice that there is, to this user alone, of this.
#[track_caller]
fn expect_told(mailbox: &mut Mailbox, user: &str, to: &str, what: &str) -> Message {
    let message = mailbox.receive();
    assert_eq!((message.kind.as_str(), message.user.as_str()), ("notice", user), "{message:?}");
    assert_eq!((message.to.as_str(), message.host.as_str()), (to, "twofa-test"), "{message:?}");
    assert_eq!(message.id.len(), 32, "{message:?}");
    let start = format!("{user} at twofa-test: {what}, 20");
    assert!(message.text.starts_with(&start) && message.text.ends_with(END), "{start}: {message:?}");
    let when = &message.text[start.len()..message.text.len() - END.len()];
    let shape: String = when.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    assert_eq!(shape, "99-99-99 99:99", "{message:?}");
    message
}

/// No process is left of any, and so no message is on its way.
#[track_caller]
fn expect_no_more(world: &World, mailbox: &Mailbox) {
    world.expect_no_delivery(SOON);
    mailbox.expect_nothing();
}

fn helpers(world: &World) -> Vec<Process> {
    let mut processes = world.processes();
    processes.retain(|process| process.command.contains("twofa-helper"));
    processes
}

fn hooks(world: &World) -> Vec<Process> {
    let mut processes = world.processes();
    // Not what the shell is about to become, which has its name for a moment.
    processes.retain(|process| process.command == "/bin/sh /etc/twofa/hooks/email");
    processes.sort_by_key(|process| process.pid);
    processes.truncate(1);
    processes
}

fn proc(world: &World, pid: u32, name: &str) -> String {
    fs::read_to_string(world.path(&format!("/proc/{pid}/{name}"))).unwrap_or_default()
}

/// What comes behind the name in /proc/PID/stat: state, parent, group, session and more.
fn stat(world: &World, pid: u32) -> Vec<String> {
    let text = proc(world, pid, "stat");
    let rest = text.rsplit_once(") ").map(|(_, rest)| rest.to_owned()).unwrap_or_default();
    rest.split(' ').map(str::to_owned).collect()
}

/// Everything that has ended and that its parent has not taken leave of.
fn zombies(world: &World) -> Vec<String> {
    let entries = fs::read_dir(world.path("/proc")).unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_one = |pid: &u32| stat(world, *pid).first().is_some_and(|state| state == "Z");
    pids.filter(is_one).map(|pid| proc(world, pid, "stat")).collect()
}

/// Ones of the product's own; the shell that is PID 1 takes leave of orphans in its own time.
#[track_caller]
fn expect_no_zombie(world: &World) {
    let left: Vec<String> = zombies(world)
        .into_iter()
        .filter(|stat| !stat.contains(") Z 1 ") && stat.contains("twofa"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

// What is told, and to whom

#[test]
fn each_change_by_an_administrator_is_told_once() {
    let users = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy"];
    let (world, mut mailbox) = office(&users);
    // What is to be taken away is there before.
    world.enroll("bob");
    world.enroll("grace");
    mailbox.expect_nothing();
    tell_of(&world, ALL);
    let mut told = |user: &str, to: &str, what: &str| {
        expect_told(&mut mailbox, user, to, &format!("{what}, by an administrator"));
        expect_no_more(&world, &mailbox);
    };
    let enrolled = world.enroll("alice");
    told("alice", "alice@example.org", "added: app `app`");
    world.admin(&["user", "forget", "bob", "app", "--yes"]).ok();
    told("bob", "bob@example.org", "removed: `app`");
    world.recovery_codes("carol");
    told("carol", "carol@example.org", "new recovery codes were made");
    world.admin(&["user", "set", "dave", "--phone", "+48600000123"]).ok();
    let changed = "telephone number or e-mail addresses were changed";
    told("dave", "dave@example.org", changed);
    // Who takes a user's address away does not do it unseen.
    world.admin(&["user", "set", "erin", "--email", "thief@example.net"]).ok();
    told("erin", "erin@example.org, thief@example.net", changed);
    world.admin(&["user", "set", "frank", "--no-email"]).ok();
    told("frank", "frank@example.org", changed);
    world.admin(&["user", "reset", "grace", "--yes"]).ok();
    told("grace", "grace@example.org", "all apps, keys and recovery codes were removed");
    let key = world.security_key("laptop", &["-t", "ed25519-sk"]);
    world.write("/root/laptop.pub", &key);
    let shown = world
        .run_with_input(&["twofa-admin", "enroll", "ssh-key", "heidi", "/root/laptop.pub"], "saved\n")
        .ok();
    let print = shown.split_whitespace().find(|word| word.starts_with("SHA256:")).unwrap();
    told("heidi", "heidi@example.org", &format!("added: SSH key `laptop` {print}"));
    world.write("/root/users.oath", "HOTP/T30/6 ivan - 00112233445566778899aabbccddeeff00112233\n");
    world.run(&["chmod", "600", "/root/users.oath"]).ok();
    world.admin(&["import", "oath", "/root/users.oath", "--yes"]).ok();
    told("ivan", "ivan@example.org", "added: app oath-1");
    world.write("/root/users.csv", "user,phone,email\njudy,,judy@example.net\n");
    world.admin(&["user", "import", "/root/users.csv", "--yes"]).ok();
    told("judy", "judy@example.org, judy@example.net", changed);

    world.log.expect("pam_twofa(twofa-helper:notice): notice sent to alice event=factor-changed id=");
    for secret in enrolled.recovery.iter().chain(&["@example".to_owned()]) {
        world.log.expect_none(secret);
    }
}

/// An address that is confirmed by a code gets that code, and then the notice.
#[test]
fn an_address_that_is_added_is_told_of_itself() {
    let (world, mut mailbox) = office(&["alice"]);
    world.recovery_codes("alice");
    tell_of(&world, ALL);
    let mut terminal = world.terminal(&["twofa-admin", "enroll", "email", "alice", "a.second@example.org"]);
    terminal.answer("Code in the message: ", &mailbox.code());
    terminal.expect_end(0);
    let to = "alice@example.org, a.second@example.org";
    expect_told(&mut mailbox, "alice", to, "added: a***@example.org, by an administrator");
    expect_no_more(&world, &mailbox);
}

#[test]
fn what_changes_nothing_or_fails_is_not_told() {
    let (world, mailbox) = office(&["alice"]);
    tell_of(&world, ALL);
    world.admin(&["user", "set", "alice", "--email", "alice@example.org"]).ok();
    world.admin(&["user", "forget", "alice", "no\nsuch", "--yes"]).expect(1);
    world.admin(&["user", "unlock", "alice"]).ok();
    world.run_with_input(&["twofa-admin", "user", "reset", "alice"], "n\n").expect(1);
    world.admin(&["user", "show", "alice"]).ok();
    expect_no_more(&world, &mailbox);
}

#[test]
fn recovery_codes_and_a_bypass_are_told_with_the_clients_address() {
    let (world, mut mailbox) = office(&["alice", "bob"]);
    let alice = world.enroll("alice");
    world.enroll("bob");
    tell_of(&world, ALL);
    let world = world.start_sshd("");
    log_in_with(&world, "alice", &alice.recovery[0]);
    let message = expect_told(
        &mut mailbox,
        "alice",
        &address("alice"),
        "a recovery code was used, in a login from 127.0.0.1",
    );
    assert!(!message.text.contains(&alice.recovery[0]), "{message:?}");
    expect_no_more(&world, &mailbox);

    let shown = world.admin(&["user", "bypass", "bob", "--for", "1h", "--reason", "lost phone"]).ok();
    expect_no_more(&world, &mailbox);
    log_in_with(&world, "bob", &recovery_codes(&shown)[0]);
    expect_told(
        &mut mailbox,
        "bob",
        &address("bob"),
        "the code of a bypass was used, in a login from 127.0.0.1",
    );
    expect_no_more(&world, &mailbox);

    // One of a kind in a minute; what is of another kind comes.
    log_in_with(&world, "alice", &alice.recovery[1]);
    world.log.expect("notice not sent to alice event=recovery-used id=");
    expect_no_more(&world, &mailbox);
    world.admin(&["user", "reset", "alice", "--yes"]).ok();
    let what = "all apps, keys and recovery codes were removed, by an administrator";
    expect_told(&mut mailbox, "alice", &address("alice"), what);
}

/// What proves nothing new, and what fails, is no occasion.
#[test]
fn an_ordinary_login_and_a_wrong_code_are_not_told() {
    let (world, mailbox) = office(&["alice"]);
    let mut alice = world.enroll("alice");
    tell_of(&world, ALL);
    let world = world.start_sshd("");
    let mut ssh = login(&world, "alice");
    ssh.answer(CODE_PROMPT, "0123-4567-89AB-CDEF-GHJK-MNPQ");
    ssh.answer(CODE_PROMPT, &alice.app.code());
    ssh.expect(IN);
    expect_no_more(&world, &mailbox);
}

#[test]
fn a_device_that_became_trusted_is_told() {
    let (world, mut mailbox) = office(&["alice"]);
    let mut alice = world.enroll("alice");
    let world = world.client_network(&[HOME]).start_sshd("");
    world.write(POLICY_FILE, &format!("{}[trust]\nduration = \"1 day\"\n", policy(ALL)));
    for answer in ["n", "y"] {
        let client = world.ssh("alice").over_network(HOME).option("NumberOfPasswordPrompts=1");
        let mut ssh = client.spawn(COMMAND);
        ssh.answer(PASSWORD_PROMPT, "pw-alice");
        ssh.answer(CODE_PROMPT, &alice.app.code());
        ssh.answer("? [y/N]: ", answer);
        ssh.expect(IN);
        ssh.expect_end(0);
        if answer == "n" {
            expect_no_more(&world, &mailbox);
        }
    }
    let message = mailbox.receive();
    assert_eq!((message.kind.as_str(), message.to.as_str()), ("notice", "alice@example.org"));
    let start = "alice at twofa-test: a device (198.51.100.7) became trusted until 20";
    assert!(message.text.starts_with(start), "{message:?}");
    assert!(message.text.contains(" UTC, in a login from 198.51.100.7, 20") && message.text.ends_with(END));
    expect_no_more(&world, &mailbox);
}

#[test]
fn what_is_set_up_in_a_login_is_told() {
    let (world, mut mailbox) = office(&["alice"]);
    let world = world.start_sshd("");
    world.write(POLICY_FILE, &format!("{}[rollout]\ngrace_days = 14\n", policy(ALL)));
    let mut ssh = login(&world, "alice");
    ssh.expect("Or type it in:  ");
    let mut app = App::new(&ssh.expect("\n"));
    ssh.answer("Verification code (new app; or type text; Enter for later): ", &app.code());
    ssh.answer("Type saved when you have saved the recovery codes: ", "saved");
    ssh.expect(IN);
    let what = "set up: an authenticator app, in a login from 127.0.0.1";
    expect_told(&mut mailbox, "alice", &address("alice"), what);
    expect_no_more(&world, &mailbox);
}

/// The default address takes what nobody else can get, as it takes codes; without one there is nobody to be told.
#[test]
fn users_without_an_address_are_told_at_the_default_one_or_not_at_all() {
    let (world, mut mailbox) = office(&["alice"]);
    let world = world.user("bob", "pw-bob");
    world.enroll("bob");
    tell_of(&world, ALL);
    world.admin(&["user", "reset", "bob", "--yes"]).ok();
    expect_no_more(&world, &mailbox);
    world.admin(&["policy", "set", "email.default_address=office@example.org"]).ok();
    world.admin(&["user", "reset", "bob", "--yes"]).ok();
    let what = "all apps, keys and recovery codes were removed, by an administrator";
    expect_told(&mut mailbox, "bob", "office@example.org", what);
    world.admin(&["user", "reset", "alice", "--yes"]).ok();
    expect_told(&mut mailbox, "alice", "alice@example.org", what);
    expect_no_more(&world, &mailbox);
}

// Off by default

/// A helper that leaves a mark stands in for the real one.
#[test]
fn no_process_is_started_for_what_the_policy_does_not_list() {
    let (world, _) = office(&["alice"]);
    let alice = world.enroll("alice");
    let world = world.start_sshd("");
    world.write(HELPER, "#!/bin/sh\necho \"$*\" >>/run/started\n");
    let all_but_one = [
        ("", "recovery-used"),
        (r#""device-trusted", "factor-changed", "reset", "bypass""#, "recovery-used"),
        (r#""device-trusted", "recovery-used", "factor-changed", "bypass""#, "reset"),
    ];
    let mut codes = alice.recovery.iter();
    for (events, event) in all_but_one {
        tell_of(&world, events);
        match event {
            "reset" => drop(world.admin(&["user", "reset", "alice", "--yes"]).ok()),
            _ => log_in_with(&world, "alice", codes.next().unwrap()),
        }
        assert!(!world.path("/run/started").exists(), "{event} with {events}");
    }
    // The mark is one that is left when there is something to tell.
    tell_of(&world, r#""reset""#);
    world.admin(&["user", "reset", "alice", "--yes"]).ok();
    assert_eq!(fs::read_to_string(world.path("/run/started")).unwrap(), "notify\n");
}

#[test]
fn the_policy_shows_what_is_told_and_names_a_wrong_word() {
    let (world, _) = office(&[]);
    assert!(world.admin(&["policy", "show"]).ok().contains("[notify]\nevents = []\n"));
    world.admin(&["policy", "set", r#"notify.events=["reset", "bypass"]"#]).ok();
    let shown = world.admin(&["policy", "show", "--json"]).ok();
    let shown: String = shown.split_whitespace().collect();
    assert!(shown.contains(r#""notify":{"events":["reset","bypass"]}"#), "{shown}");
    world.write(POLICY_FILE, &policy(r#""resets""#));
    let faulty = world.admin(&["policy", "check"]);
    assert_ne!(faulty.code, Some(0), "{faulty:?}");
    let said = format!("{}{}", faulty.stdout, faulty.stderr);
    let line = policy("").lines().position(|line| line.starts_with("events")).unwrap() + 1;
    assert!(said.contains(&format!("twofa.toml:{line}: `events = [\"resets\"]`: unknown variant")), "{said}");
}

// Nobody waits

/// The login is over while the hook hangs, and nothing of it is sshd's.
#[test]
fn a_login_ends_before_the_hook_does_and_nothing_is_left_of_either() {
    let (world, mut mailbox) = office(&["alice"]);
    let alice = world.enroll("alice");
    tell_of(&world, ALL);
    let world = world.start_sshd("");
    mailbox.order(Order::HangStubbornly);
    log_in_with(&world, "alice", &alice.recovery[0]);
    mailbox.receive();
    // The client has gone, and with it the session and every process of its.
    world.expect_no_connection(SOON);
    let helpers = helpers(&world);
    assert_eq!(helpers.len(), 1, "{helpers:?}");
    let pid = helpers[0].pid;
    assert_eq!(helpers[0].command, "twofa-helper notice");
    let stat = stat(&world, pid);
    assert_eq!((stat[1].as_str(), stat[3].as_str()), ("1", pid.to_string().as_str()), "parent and session");
    assert_eq!(hooks(&world).len(), 1, "{:?}", world.processes());
    let fds = world.run(&["ls", "-l", &format!("/proc/{pid}/fd")]).ok();
    assert!(!fds.contains("socket:"), "{fds}");
    expect_no_zombie(&world);

    // It has its time and no more, then it is gone and has said why.
    world.expect_no_delivery(LIMIT);
    let line = world.log.expect("notice not sent to alice event=recovery-used id=");
    assert!(line.starts_with("<83>") && line.ends_with("reason=\"took longer than 10 s\""), "{line}");
    expect_no_zombie(&world);
    mailbox.expect_nothing();
}

/// sshd is killed, with all of its sessions, while the notice is on its way.
#[test]
fn a_notice_outlives_the_session_that_it_tells_of() {
    let (world, mut mailbox) = office(&["alice"]);
    let alice = world.enroll("alice");
    tell_of(&world, ALL);
    let world = world.start_sshd("");
    mailbox.order(Order::Hang);
    let mut ssh = world.ssh("alice").option("NumberOfPasswordPrompts=1").shell();
    ssh.answer(PASSWORD_PROMPT, "pw-alice");
    ssh.answer(CODE_PROMPT, &alice.recovery[0]);
    ssh.expect("$ ");
    mailbox.receive();
    let sshds: Vec<String> = world
        .processes()
        .into_iter()
        .filter(|process| process.command.contains("sshd"))
        .map(|process| process.pid.to_string())
        .collect();
    let pids: Vec<&str> = sshds.iter().map(String::as_str).collect();
    world.run(&[&["kill", "-KILL"][..], &pids].concat());
    ssh.kill();
    mailbox.order(Order::Take);
    world.log.expect("notice sent to alice event=recovery-used id=");
    expect_no_more(&world, &mailbox);
}

/// As systemd ends what a login at the console left behind: SIGTERM and SIGHUP (systemd.kill(5), SendSIGHUP=) to all.
fn end_all(world: &World) {
    // Not PID 1 and its `cat`, which are the world (namespace.sh).
    let is_world = |Process { pid, command }: &Process| {
        *pid == 1 || command == "cat" && stat(world, *pid).get(1).is_some_and(|parent| parent == "1")
    };
    let all = world.processes().into_iter().filter(|process| !is_world(process));
    let all: Vec<String> = all.map(|process| process.pid.to_string()).collect();
    for signal in ["TERM", "HUP"] {
        // Some may have ended since.
        world.run(&["sh", "-c", &format!("kill -{signal} {}", all.join(" "))]);
    }
}

/// Whoever found a recovery code logs out at once.
#[test]
fn a_notice_outlives_what_ends_all_that_a_login_left() {
    let (world, mut mailbox) = office(&["alice"]);
    let alice = world.enroll("alice");
    tell_of(&world, ALL);
    let world = world.start_sshd("");
    mailbox.order(Order::Hang);
    log_in_with(&world, "alice", &alice.recovery[0]);
    end_all(&world);
    mailbox.receive();
    end_all(&world);
    let hooks = hooks(&world);
    assert_eq!(hooks.len(), 1, "{:?}", world.processes());
    // Only those two, HUP (bit 0) and TERM (bit 14), and nothing is held back.
    let status = proc(&world, hooks[0].pid, "status");
    for line in ["SigIgn:\t0000000000004001\n", "SigBlk:\t0000000000000000\n"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    mailbox.order(Order::Take);
    world.log.expect("notice sent to alice event=recovery-used id=");
    expect_no_more(&world, &mailbox);
}

/// A hook that ignores SIGTERM because it was started so has its time and no more.
#[test]
fn a_notice_that_outlives_its_login_does_not_outlive_its_time() {
    let (world, mut mailbox) = office(&["alice"]);
    tell_of(&world, ALL);
    mailbox.order(Order::Hang);
    world.admin(&["user", "reset", "alice", "--yes"]).ok();
    mailbox.receive();
    end_all(&world);
    world.expect_no_delivery(LIMIT);
    let line = world.log.expect("notice not sent to alice event=reset id=");
    assert!(line.ends_with("reason=\"took longer than 10 s\""), "{line}");
}

#[test]
fn what_the_hook_of_a_notice_leaves_behind_is_ended() {
    let (world, _) = office(&["alice"]);
    tell_of(&world, ALL);
    world.write("/etc/twofa/hooks/email", "#!/bin/sh\ncat >/dev/null\n(setsid sleep 1000 &)\n");
    world.admin(&["user", "reset", "alice", "--yes"]).ok();
    let line = world.log.expect("notice not sent to alice event=reset id=");
    assert!(line.ends_with("reason=\"left processes behind\""), "{line}");
    world.expect_no_delivery(SOON);
}

/// A host that goes down does not wait for a list of users.
#[test]
fn a_list_that_is_told_to_end_ends_behind_the_notice_that_is_on_its_way() {
    let (world, mut mailbox) = office(&["alice", "bob", "carol"]);
    tell_of(&world, ALL);
    mailbox.order(Order::Hang);
    world.write("/root/users.csv", "user,email\nalice,a@b.c\nbob,a@b.c\ncarol,a@b.c\n");
    world.admin(&["user", "import", "/root/users.csv", "--yes"]).ok();
    mailbox.receive();
    end_all(&world);
    mailbox.order(Order::Take);
    world.log.expect("notice sent to alice event=factor-changed id=");
    let line = world.log.expect("notices not sent to 2 more users");
    assert!(line.ends_with("reason=\"told to end\""), "{line}");
    expect_no_more(&world, &mailbox);
}

#[test]
fn a_command_ends_before_the_hook_does() {
    let (world, mut mailbox) = office(&["alice"]);
    tell_of(&world, ALL);
    mailbox.order(Order::Hang);
    world.admin(&["user", "reset", "alice", "--yes"]).ok();
    mailbox.receive();
    assert_eq!(hooks(&world).len(), 1, "{:?}", world.processes());
    expect_no_zombie(&world);
    mailbox.order(Order::Take);
    world.log.expect("notice sent to alice event=reset id=");
    expect_no_more(&world, &mailbox);
}

#[test]
fn without_a_helper_or_a_gateway_logins_and_commands_go_on_and_the_log_says_why() {
    let (world, mailbox) = office(&["alice", "bob"]);
    let alice = world.enroll("alice");
    tell_of(&world, ALL);
    let world = world.start_sshd("");
    mailbox.order(Order::Refuse(75));
    log_in_with(&world, "alice", &alice.recovery[0]);
    let line = world.log.expect("notice not sent to alice event=recovery-used id=");
    assert!(line.contains("reason=\"the gateway cannot be reached for now\" said="), "{line}");
    expect_no_more(&world, &mailbox);

    world.run(&["mv", HELPER, "/run/helper"]).ok();
    log_in_with(&world, "alice", &alice.recovery[1]);
    let line = world.log.expect("notice not sent for alice from 127.0.0.1 event=recovery-used reason=");
    assert!(line.contains("pam_twofa(sshd:auth)") && line.contains(HELPER), "{line}");
    let ran = world.admin(&["user", "reset", "alice", "--yes"]).expect(0);
    assert!(
        ran.stderr.contains("twofa-admin: no notice was sent: ") && ran.stderr.contains(HELPER),
        "{ran:?}"
    );
    world.log.expect("notice not sent for alice event=reset reason=");

    // One that takes over and then says nothing, one that ends, one that never does.
    for script in ["exit 0", "exec sleep 9", "exec >&- 2>&-; kill -STOP $$"] {
        world.write(HELPER, &format!("#!/bin/sh\n{script}\n"));
        world.run(&["chmod", "755", HELPER]).ok();
        world.admin(&["user", "reset", "bob", "--yes"]).expect(0);
    }
    world.log.expect_times("notice not sent for bob event=reset reason=", 3);
}

// Out of reach

/// su runs with its caller's real uid and limits; what it starts to tell another user must have neither.
#[test]
fn who_calls_su_can_neither_stop_nor_starve_the_notice() {
    let (world, mut mailbox) = office(&["alice", "bob"]);
    let world = world.stack("su", &format!("auth sufficient pam_rootok.so\n{PASSWORD_AND_CODE}"));
    let bob = world.enroll("bob");
    tell_of(&world, ALL);
    mailbox.order(Order::Hang);
    let limits = "ulimit -n 40; ulimit -f 64; ulimit -t 5";
    let command = format!("{limits}; exec su bob -c '{COMMAND}'");
    let mut su = world.terminal_of("alice", &["sh", "-c", &command]);
    su.answer(PASSWORD_PROMPT, "pw-bob");
    su.answer(CODE_PROMPT, &bob.recovery[0]);
    su.expect(IN);
    su.expect_end(0);
    let what = "a recovery code was used, in a login at the host itself";
    expect_told(&mut mailbox, "bob", &address("bob"), what);
    let reached = [helpers(&world), hooks(&world)].concat();
    assert_eq!(reached.len(), 2, "{reached:?}");
    for Process { pid, command } in &reached {
        let status = proc(&world, *pid, "status");
        for name in ["Uid:", "Gid:", "Groups:"] {
            let ids = status.lines().find(|line| line.starts_with(name)).expect("ids");
            assert!(!ids.contains("1000"), "{command}: {ids}");
        }
        for signal in ["STOP", "KILL", "TERM"] {
            let mut kill = world.terminal_of("alice", &["sh", "-c", &format!("kill -{signal} {pid}")]);
            kill.expect("not permitted");
        }
        let limits = proc(&world, *pid, "limits");
        let words = |name: &str| {
            let line = limits.lines().find(|line| line.starts_with(name)).expect("a limit");
            line[name.len()..].split_whitespace().next().unwrap().to_owned()
        };
        let is_helper = command.contains("twofa-helper");
        // A root that may raise no limit (CAP_SYS_RESOURCE, bit 24), as in some containers, has the caller's.
        let caps = status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("capabilities");
        let may = u64::from_str_radix(caps.trim(), 16).unwrap() & (1 << 24) != 0;
        let expected = if may { ["1024", "unlimited"] } else { ["40", "32768"] };
        let found = ["Max open files", "Max file size"].map(words);
        if is_helper {
            assert_eq!(found, expected.map(str::to_owned), "{command}");
        }
    }
    mailbox.order(Order::Take);
    world.log.expect("notice sent to bob event=recovery-used id=");
    expect_no_more(&world, &mailbox);
}

#[test]
fn a_flood_is_eight_processes_and_the_rest_is_logged() {
    let names: Vec<String> = (0..11).map(|number| format!("user{number}")).collect();
    let users: Vec<&str> = names.iter().map(String::as_str).collect();
    let (world, mailbox) = office(&users);
    tell_of(&world, ALL);
    mailbox.order(Order::Hang);
    let resets: String =
        users.iter().map(|user| format!("twofa-admin user reset {user} --yes && ")).collect();
    world.run(&["sh", "-c", &format!("{resets}true")]).ok();
    world.log.expect_times("reason=\"too many notices are on their way\"", 3);
    let many = helpers(&world);
    assert!(many.len() <= 8, "{many:?}");
    mailbox.order(Order::Take);
    world.log.expect_times("notice sent to user", 8);
    world.expect_no_delivery(SOON);
    // There is room again.
    world.admin(&["user", "set", "user0", "--no-email"]).ok();
    world.log.expect_times("notice sent to user", 9);
    world.log.expect_none("id= event");
}

#[test]
fn a_list_of_users_is_told_by_one_process() {
    let names: Vec<String> = (0..12).map(|number| format!("user{number}")).collect();
    let users: Vec<&str> = names.iter().map(String::as_str).collect();
    let (world, mut mailbox) = office(&users);
    tell_of(&world, ALL);
    let list = |domain: &str| {
        let lines = users.iter().map(|user| format!("{user},{user}@{domain}\n"));
        world.write("/root/users.csv", &format!("user,email\n{}", lines.collect::<String>()));
        world.admin(&["user", "import", "/root/users.csv", "--yes"]).ok();
    };
    mailbox.order(Order::Hang);
    list("example.net");
    mailbox.receive();
    assert_eq!(helpers(&world).len(), 1, "{:?}", world.processes());
    mailbox.order(Order::Take);
    let mut seen = vec!["user0".to_owned()];
    seen.extend((1..12).map(|_| mailbox.receive().user));
    assert_eq!(seen, names);
    expect_no_more(&world, &mailbox);
    // A gateway that is down is not asked twelve times.
    let names = ["one", "two", "three"];
    let world = names.iter().fold(world, |world, user| world.user(user, "x"));
    names.iter().for_each(|user| drop(world.admin(&["user", "add", user, "--email", "a@b.c"]).ok()));
    mailbox.order(Order::Refuse(75));
    world.write("/root/users.csv", "user,email\none,a@b.d\ntwo,a@b.d\nthree,a@b.d\n");
    world.admin(&["user", "import", "/root/users.csv", "--yes"]).ok();
    world.log.expect("notice not sent to one event=factor-changed id=");
    world.log.expect("notices not sent to 2 more users");
    expect_no_more(&world, &mailbox);
    world.log.expect_none("notice not sent to two");
}

/// On a full disk it cannot be noted what was told; it is told all the same.
#[test]
fn a_full_disk_keeps_no_notice_back() {
    let world = World::new().user("alice", "pw-alice");
    world.run(&["mkdir", "-pm", "700", "/var/lib/twofa"]).ok();
    world.run(&["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", "/var/lib/twofa"]).ok();
    let world = world.policy(&policy(ALL)).stack("sshd", PASSWORD_AND_CODE).start_sshd("");
    let mut mailbox = Mailbox::new(&world);
    world.admin(&["user", "add", "alice", "--email", "alice@example.org"]).ok();
    let alice = world.enroll("alice");
    mailbox.receive();
    let filled = world.run(&["dd", "if=/dev/zero", "of=/var/lib/twofa/filler", "bs=512"]);
    assert!(filled.stderr.contains("No space left on device"), "{filled:?}");
    log_in_with(&world, "alice", &alice.recovery[0]);
    expect_told(
        &mut mailbox,
        "alice",
        &address("alice"),
        "a recovery code was used, in a login from 127.0.0.1",
    );
    expect_no_more(&world, &mailbox);
}

/// The hook as it is shipped, and a mail server.
#[test]
fn a_notice_is_one_line_of_one_mail() {
    let (world, _) = office(&["alice"]);
    let hook = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/hooks/mail-smtp");
    fs::write(world.path("/etc/twofa/hooks/email"), fs::read(hook).unwrap()).unwrap();
    let server = world.in_network(MailServer::start);
    let secrets = format!("url = \"smtp://{}/test\"\nmail-from = \"login@example.org\"\n", server.address);
    world.write("/etc/twofa/mail-smtp.curl", &secrets);
    tell_of(&world, ALL);
    world.admin(&["user", "set", "alice", "--email", "alice@example.net"]).ok();
    let mail = server.mail();
    server.accept();
    assert_eq!(mail.to, ["alice@example.org", "alice@example.net"]);
    assert_eq!(mail.headers("Subject"), ["account notice for twofa-test"]);
    assert_eq!(mail.headers("Bcc"), [""; 0]);
    assert_eq!(mail.body.lines().count(), 1, "{mail:?}");
    assert!(mail.body.starts_with("alice at twofa-test: telephone number or e-mail"), "{mail:?}");
    world.log.expect("notice sent to alice event=factor-changed id=");
    world.expect_no_delivery(SOON);
}
