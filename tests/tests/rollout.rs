//! A host on its way to a second factor: who gets in without one, until when, and what the reports say of it.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

use std::fs;

use twofa_tests::calendar::{DAY, Seen, code_at, date, midnight_in, rfc3339};
use twofa_tests::driver::pam::Answer;
use twofa_tests::mailbox::Mailbox;
use twofa_tests::setup::{
    CODE_PROMPT, KEY_OR_PASSWORD_AND_CODE, PASSWORD_AND_CODE, PASSWORD_PROMPT, POLICY, SSHD_KEY_ONLY,
    SSHD_KEY_OR_PASSWORD, policy_of,
};
use twofa_tests::terminal::Terminal;
use twofa_tests::totp::secret_of;
use twofa_tests::world::World;

/// What every login here runs.
const COMMAND: &str = "echo LOGGED-IN";
const IN: &str = "LOGGED-IN\n";
const SUPPORT: &str = "Call the help desk, extension 42.";

/// A policy whose enforcement begins in eight days; nothing is set up in the login.
fn policy(grace_days: u8) -> String {
    format!("{POLICY}{}enroll_at_login = false\n", rollout(grace_days))
}

fn rollout(grace_days: u8) -> String {
    format!("[rollout]\nenforce_from = {}\ngrace_days = {grace_days}\n", date(from()))
}

/// The first second of enforcement.
fn from() -> i64 {
    midnight_in(8)
}

/// alice, bob and carol have passwords; bob has an app.
fn office(policy: &str, stack: &str) -> World {
    let world = ["alice", "bob", "carol"]
        .into_iter()
        .fold(World::new(), |world, user| world.user(user, &format!("pw-{user}")));
    let world = world.policy(policy).stack("sshd", stack).with_clocks();
    world.enroll("bob");
    world
}

/// A login at the sshd of this port, whose password is typed.
#[track_caller]
fn login(world: &World, port: u16, user: &str) -> Terminal {
    let client = world.ssh(user).option(&format!("Port={port}")).option("NumberOfPasswordPrompts=1");
    let mut ssh = client.spawn(COMMAND);
    ssh.answer(PASSWORD_PROMPT, &format!("pw-{user}"));
    ssh
}

/// In, and told exactly this.
#[track_caller]
fn expect_told(mut ssh: Terminal, told: &str) {
    let (which, before) = ssh.expect_any(&[IN, CODE_PROMPT]);
    assert_eq!(which, 0, "a code is asked for. {}", ssh.screen());
    assert_eq!(before.trim(), told);
    ssh.expect_end(0);
}

/// Asked for a code that nobody has, and not let in.
#[track_caller]
fn expect_refused(mut ssh: Terminal) {
    let (first, _) = ssh.expect_any(&["Too many failed codes.", CODE_PROMPT, IN]);
    assert_ne!(first, 2, "let in. {}", ssh.screen());
    if first == 1 {
        ssh.send_line("123456");
        while ssh.expect_any(&["Permission denied", CODE_PROMPT]).0 == 1 {
            ssh.send_line("123456");
        }
    }
    ssh.expect_end(255);
    assert!(!ssh.screen().contains(IN), "{}", ssh.screen());
}

fn not_yet(grace_days: u8) -> String {
    let date = date(from());
    let still = match grace_days {
        0 => String::new(),
        7 => "Without one you still get in for 1 week from your first login after that. ".into(),
        days => format!("Without one you still get in for {days} days from your first login after that. "),
    };
    format!(
        "From {date} 00:00 UTC on, this host asks for a second factor. You have none yet: have one set up. \
         {still}{SUPPORT}"
    )
}

/// `until` is the first second after.
fn grace(until: i64) -> String {
    let date = date(until);
    format!(
        "This host asks for a second factor. Have one set up: you get in without only until {date} 00:00 UTC. {SUPPORT}"
    )
}

// With a real sshd

#[test]
fn without_grace_nobody_gets_in_from_the_first_second_of_the_date() {
    let mut world = office(&policy(0), PASSWORD_AND_CODE).start_sshd("");
    world.sshd_at(2201, from() - 1);
    world.sshd_at(2202, from());
    expect_told(login(&world, 22, "alice"), &not_yet(0));
    expect_told(login(&world, 2201, "alice"), &not_yet(0));
    let line = format!("no factor yet for alice from 127.0.0.1 enforced-from={}", rfc3339(from()));
    world.log.expect_times(&line, 2);
    expect_refused(login(&world, 2202, "alice"));
    world.log.expect("refused alice from 127.0.0.1 reason=");
    // Who has a factor is asked for it, and told nothing.
    for (port, second) in [(2201, from() - 1), (2202, from())] {
        let Answer::Text(code) = code_at(&secret_of("bob"), second + 30 * i64::from(port - 2201)) else {
            panic!("a code is text")
        };
        let mut ssh = login(&world, port, "bob");
        ssh.answer(CODE_PROMPT, &String::from_utf8(code).unwrap());
        assert_eq!(ssh.expect(IN).trim(), "");
    }
    // No account is needed to be let in, and none is there afterwards.
    assert!(!world.admin(&["user", "list"]).ok().contains("alice"));
}

#[test]
fn grace_is_of_whole_days_from_each_users_first_login_on() {
    let mut world = office(&policy(14), PASSWORD_AND_CODE).start_sshd("");
    let end = from() + 14 * DAY;
    for (port, second) in (2201..).zip([from(), from() + 2 * DAY, end - 1, end, end + 30 * DAY]) {
        world.sshd_at(port, second);
    }
    expect_told(login(&world, 22, "alice"), &not_yet(14));
    // Further logins make it no longer.
    for port in [2201, 2202, 2203] {
        expect_told(login(&world, port, "alice"), &grace(end));
    }
    let line = format!("no factor yet for alice from 127.0.0.1 grace-until={}", rfc3339(end));
    world.log.expect_times(&line, 3);
    for port in [2204, 2205] {
        expect_refused(login(&world, port, "alice"));
    }
    // Of another user these are other days.
    expect_told(login(&world, 2202, "carol"), &grace(end + 2 * DAY));
    expect_told(login(&world, 2204, "carol"), &grace(end + 2 * DAY));
    let mut ssh = login(&world, 2202, "bob");
    ssh.expect(CODE_PROMPT);
    ssh.kill();
}

#[test]
fn no_app_that_is_removed_brings_its_user_in() {
    let world = office(&policy(14), PASSWORD_AND_CODE).start_sshd("");
    let shown = world.admin(&["user", "show", "bob", "--json"]).ok();
    let label = shown.split("\"label\": \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    world.admin(&["user", "forget", "bob", label, "--yes"]).ok();
    expect_refused(login(&world, 22, "bob"));
    expect_told(login(&world, 22, "alice"), &not_yet(14));
}

#[test]
fn keys_alone_bring_the_same_users_in() {
    let mut world = office(&policy(14), PASSWORD_AND_CODE).authorize_key(&["alice", "bob", "carol"]);
    world = world.start_sshd(SSHD_KEY_ONLY);
    let end = from() + 14 * DAY;
    for (port, second) in (2201..).zip([from(), end - 1, end]) {
        world.sshd_at(port, second);
    }
    let by_key = |user: &str, port: u16| {
        world.ssh(user).key().option("BatchMode=yes").option(&format!("Port={port}")).run("id -un")
    };
    for port in [22, 2201, 2202] {
        let ran = by_key("alice", port).expect(0);
        assert_eq!(ran.stdout, "alice\n");
        let told = if port == 22 { not_yet(14) } else { grace(end) };
        assert_eq!(ran.stderr.trim(), told);
        by_key("bob", port).expect(255);
    }
    by_key("alice", 2203).expect(255);
    let refused = "pam_twofa(sshd:account): refused alice from 127.0.0.1 reason=no-factor";
    world.log.expect(refused);
    by_key("bob", 2203).expect(255);
    by_key("carol", 2203).expect(0);
}

/// With and without something to set up: what has no terminal hangs at no prompt.
#[test]
fn copies_and_commands_without_a_terminal_get_in() {
    for offers in [false, true] {
        let policy = format!("{POLICY}[rollout]\ngrace_days = 14\nenroll_at_login = {offers}\n");
        let world = office(&policy, KEY_OR_PASSWORD_AND_CODE).authorize_key(&["alice", "bob"]);
        let world = world.start_sshd(SSHD_KEY_OR_PASSWORD);
        world.write("/root/report", "four pages\n");
        let client = || world.ssh("alice").key();
        let ran = client().run("cat; echo out; echo below >&2").expect(0);
        assert_eq!(ran.stdout, "out\n", "{offers}");
        assert!(ran.stderr.ends_with("below\n"), "{offers}: {ran:?}");
        client().run_scp("/root/report").expect(0);
        let copied = || {
            let text = fs::read_to_string(world.path("/home/alice/report")).unwrap();
            fs::remove_file(world.path("/home/alice/report")).unwrap();
            text
        };
        assert_eq!(copied(), "four pages\n");
        client().run_sftp("put /root/report\nbye\n").expect(0);
        assert_eq!(copied(), "four pages\n");
        world.log.expect_times("no factor yet for alice from 127.0.0.1 grace-until=", 3);
        // The same of who has a factor does not get in.
        world.ssh("bob").key().run("id").expect(255);
        assert!(world.admin(&["user", "show", "alice"]).ok().contains("Apps:            none"));
    }
}

#[test]
fn users_added_during_a_roll_out_need_no_step_of_their_own() {
    let mut world = office(&policy(7), PASSWORD_AND_CODE).start_sshd("");
    world.sshd_at(2201, from() + 3 * DAY);
    world.sshd_at(2202, from() + 10 * DAY);
    let world = world.user("dave", "pw-dave").user("erin", "pw-erin");
    expect_told(login(&world, 22, "dave"), &not_yet(7));
    expect_told(login(&world, 2201, "dave"), &grace(from() + 10 * DAY));
    expect_refused(login(&world, 2202, "dave"));
    expect_told(login(&world, 2202, "erin"), &grace(from() + 17 * DAY));
}

#[test]
fn a_wrong_password_begins_no_days_and_opens_nothing() {
    let policy = format!("{POLICY}[rollout]\ngrace_days = 14\nenroll_at_login = false\n");
    let world = office(&policy, PASSWORD_AND_CODE).start_sshd("");
    let wrong = |user: &str| {
        let mut ssh = world.ssh(user).option("NumberOfPasswordPrompts=1").spawn(COMMAND);
        ssh.answer(PASSWORD_PROMPT, "wrong");
        let (which, _) = ssh.expect_any(&["Permission denied", IN, "second factor"]);
        assert_eq!(which, 0, "{}", ssh.screen());
    };
    wrong("alice");
    let standing = world.admin(&["rollout", "status"]).stdout;
    assert!(standing.contains("alice  14 days from next login"), "{standing}");
    // Where the password module does not end the stack, its verdict stands all the same.
    let required = PASSWORD_AND_CODE.replace("requisite", "required");
    let world = world.stack("sshd", &required);
    for offers in ["false", "true"] {
        world.admin(&["policy", "set", &format!("rollout.enroll_at_login={offers}"), "--force"]).ok();
        let mut ssh = world.ssh("alice").option("NumberOfPasswordPrompts=1").spawn(COMMAND);
        ssh.answer(PASSWORD_PROMPT, "wrong");
        let (which, _) = ssh.expect_any(&["Enter for later): ", "Permission denied", IN]);
        assert_ne!(which, 2, "{offers}: {}", ssh.screen());
        if which == 0 {
            ssh.send_line("");
            ssh.expect("Permission denied");
        }
        assert_eq!(ssh.end(), 255);
    }
    world.log.expect_none("Accepted");
}

/// What the days are counted from has to be stored; what was stored is read on the fullest disk.
#[test]
fn on_a_full_disk_no_days_begin_and_those_that_began_go_on() {
    let world = World::new().user("alice", "pw-alice").user("bob", "pw-bob").user("carol", "pw-carol");
    world.run(&["mkdir", "-pm", "700", "/var/lib/twofa"]).ok();
    world.run(&["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", "/var/lib/twofa"]).ok();
    let policy = format!("{POLICY}[rollout]\ngrace_days = 14\nenroll_at_login = false\n");
    let world = world.policy(&policy).stack("sshd", PASSWORD_AND_CODE).with_clocks().start_sshd("");
    let mut bob = world.enroll("bob");
    let mut ssh = login(&world, 22, "alice");
    ssh.expect("This host asks for a second factor.");
    ssh.expect(IN);
    let filled = world.run(&["dd", "if=/dev/zero", "of=/var/lib/twofa/filler", "bs=512"]);
    assert!(filled.stderr.contains("No space left on device"), "{filled:?}");

    let mut ssh = login(&world, 22, "carol");
    let (which, _) =
        ssh.expect_any(&["Login is not possible at the moment. Contact your administrator.", IN]);
    assert_eq!(which, 0, "let in. {}", ssh.screen());
    assert_eq!(ssh.end(), 255);
    world.log.expect("refused carol from 127.0.0.1 reason=unavailable");
    let mut ssh = login(&world, 22, "alice");
    ssh.expect("This host asks for a second factor.");
    ssh.expect(IN);
    let mut ssh = login(&world, 22, "bob");
    ssh.answer(CODE_PROMPT, &bob.app.code());
    ssh.expect(IN);
    fs::remove_file(world.path("/var/lib/twofa/filler")).unwrap();
    login(&world, 22, "carol").expect(IN);
}

// Through libpam, with a clock of its own

#[test]
fn a_clock_that_is_set_back_gives_no_day_back() {
    let world = office(&policy(14), PASSWORD_AND_CODE);
    let end = from() + 14 * DAY;
    let is_in = |user: &str, second: i64| world.at(second).login(user, &[]).is_in;
    // Who was last seen before the end, and tries once behind it.
    assert!(is_in("alice", from()));
    assert!(is_in("alice", from() + 5 * DAY));
    assert!(!is_in("alice", end));
    for second in [end - 1, end - 3600, from() + 5 * DAY, from()] {
        assert!(!is_in("alice", second), "{}", rfc3339(second));
    }
    // The same by key alone.
    assert!(world.at(from()).login_by_key("carol").is_in);
    assert!(!world.at(end).login_by_key("carol").is_in);
    assert!(!world.at(end - DAY).login_by_key("carol").is_in);
}

/// Such a clock is wrong, and dates mean nothing to it.
#[test]
fn a_clock_before_the_policy_lets_nobody_in() {
    let world = office(&policy(14), PASSWORD_AND_CODE);
    let now = from() - 8 * DAY - DAY;
    let seen = world.at(now - 30 * DAY).login("alice", &[]);
    assert!(!seen.is_in, "{seen:?}");
    assert!(!world.at(now - 30 * DAY).login_by_key("alice").is_in);
    assert!(!world.at(0).login("alice", &[]).is_in);
    assert!(world.at(from() - DAY).login("alice", &[]).is_in);
}

/// The copy that stands in for a broken policy may be from before the roll-out's end.
#[test]
fn under_a_broken_policy_there_is_no_roll_out() {
    let world = office(&policy(14), PASSWORD_AND_CODE);
    world.admin(&["policy", "check"]);
    let good = fs::read_to_string(world.path("/etc/twofa/twofa.toml")).unwrap();
    let second = from() - DAY;
    assert!(world.at(second).login("alice", &[]).is_in);
    world.write("/etc/twofa/twofa.toml", &format!("{good}\nnonsense"));
    assert!(!world.at(second).login("alice", &[]).is_in);
    assert!(!world.at(second).login_by_key("alice").is_in);
    let bob = world.at(second).login("bob", &[code_at(&secret_of("bob"), second)]);
    assert!(bob.is_in, "{bob:?}");
    world.log.expect("the last valid copy is in force");
}

// Fifty users

/// What is so of a user from the beginning.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    App,
    /// A number, where codes by SMS are a method.
    Phone,
    /// An address, where codes by mail are no method.
    Address,
    Exempt,
    ExemptByGroup,
    /// Until this day of the roll-out.
    ExemptUntil(i64),
    /// An app that was removed.
    HadAnApp,
    /// A security key as an SSH key, which is no method.
    HasSshKey,
    Nothing,
}

struct Person {
    name: String,
    kind: Kind,
    /// Logs in on these days of the roll-out.
    days: &'static [i64],
    /// The second of the first login without a factor behind the date.
    first: Option<i64>,
}

const GRACE: i64 = 14;
const DAYS: [i64; 8] = [-7, -1, 0, 1, 13, 14, 15, 30];

/// Twelve letters and digits each.
fn fifty() -> Vec<Person> {
    use Kind::*;
    let kinds: &[(&str, Kind, usize, &'static [i64])] = &[
        ("app", App, 8, &[-7, 0, 14, 30]),
        ("phone", Phone, 4, &[-1, 0, 30]),
        ("address", Address, 4, &[-7, 1, 14, 15]),
        ("exempt", Exempt, 2, &[-1, 15, 30]),
        ("robots", ExemptByGroup, 3, &[0, 30]),
        ("ending", ExemptUntil(14), 2, &[13, 14, 30]),
        ("ended", ExemptUntil(-6), 2, &[-7, -1, 0]),
        ("hadone", HadAnApp, 3, &[-7, 0, 13]),
        ("sshkey", HasSshKey, 1, &[-7, 0]),
        ("never", Nothing, 9, &[]),
        ("before", Nothing, 3, &[-7, -1]),
        ("dayzero", Nothing, 3, &[0, 1, 13, 14]),
        ("dayone", Nothing, 3, &[-1, 1, 14, 15]),
        ("daylate", Nothing, 3, &[15, 30]),
    ];
    let people = kinds.iter().flat_map(|(stem, kind, count, days)| {
        (0..*count).map(move |number| Person {
            name: format!("{stem}{:0>1$}", number, 12 - stem.len()),
            kind: *kind,
            // One of each kind is enough to see; the others tell that it is theirs alone.
            days: if number < 1 { days } else { &[] },
            first: None,
        })
    });
    people.collect()
}

impl Person {
    fn is_exempt(&self, second: i64) -> bool {
        match self.kind {
            Kind::Exempt | Kind::ExemptByGroup => true,
            // The day that is named is the last one.
            Kind::ExemptUntil(day) => second < from() + (day + 1) * DAY,
            _ => false,
        }
    }

    /// What the rules say of this user then, as the report has it.
    fn standing(&self, second: i64) -> String {
        if self.is_exempt(second) {
            return "exempt".into();
        }
        match self.kind {
            Kind::App | Kind::Phone => return "enrolled".into(),
            Kind::HadAnApp | Kind::HasSshKey => return "refused".into(),
            _ => {}
        }
        match self.first {
            _ if second < from() => format!("not-yet {}", rfc3339(from())),
            None => format!("grace-to-come {GRACE}"),
            Some(first) if second < first + GRACE * DAY => {
                format!("grace {}", rfc3339(first + GRACE * DAY))
            }
            Some(_) => "refused".into(),
        }
    }

    /// What a login may answer besides the password.
    fn answers(&self, second: i64) -> Vec<Answer> {
        match self.kind {
            Kind::App => vec![code_at(&secret_of(&self.name), second)],
            Kind::Phone => vec![Answer::Text("sms".into()), Answer::Sent(0)],
            _ => Vec::new(),
        }
    }
}

/// Adds all of them to the host.
fn add(world: &World, people: &[Person]) {
    world.run(&["groupadd", "robots"]).ok();
    let entry = |(uid, person): (usize, &Person)| {
        format!("{}:x:{uid}:{uid}::/home/{}:/bin/bash\n", person.name, person.name)
    };
    world.append("/etc/passwd", &(2000..).zip(people).map(entry).collect::<String>());
    let shadow = |person: &Person| format!("{}:!:20000:0:99999:7:::\n", person.name);
    world.append("/etc/shadow", &people.iter().map(shadow).collect::<String>());
    let password = |person: &Person| format!("{0}:pw-{0}\n", person.name);
    let passwords: String = people.iter().map(password).collect();
    world.run_with_input(&["chpasswd", "--crypt-method", "SHA512", "--sha-rounds", "1000"], &passwords).ok();
}

/// Gives them what they have.
fn fill(world: &World, people: &[Person]) {
    let key = world.security_key("sk", &["-t", "ed25519-sk"]);
    world.write("/root/sk.pub", &key);
    for (number, Person { name, kind, .. }) in people.iter().enumerate() {
        match kind {
            Kind::App => drop(world.enroll(name)),
            Kind::Phone => {
                let phone = format!("+48600000{number:03}");
                world.admin(&["user", "add", name, "--phone", &phone]).ok();
            }
            Kind::HadAnApp => {
                let secret = format!("{}\n", secret_of(name));
                let enroll = ["twofa-admin", "enroll", "app", name, "--secret-stdin", "--label", "old"];
                world.run_with_input(&enroll, &secret).ok();
                world.admin(&["user", "forget", name, "old", "--yes"]).ok();
            }
            Kind::HasSshKey => {
                let enroll = ["twofa-admin", "enroll", "ssh-key", name, "/root/sk.pub"];
                world.run_with_input(&enroll, "saved\n").ok();
            }
            Kind::ExemptByGroup => {
                world.run(&["usermod", "--append", "--groups", "robots", name]).ok();
            }
            Kind::Address | Kind::Exempt | Kind::ExemptUntil(_) | Kind::Nothing => {}
        }
    }
}

/// The exemptions of the policy, as TOML.
fn exemptions(people: &[Person]) -> String {
    let group =
        format!("[[exempt]]\ngroup = \"robots\"\nreason = \"r\"\nuntil = {}\n", date(from() + 90 * DAY));
    let of = |person: &Person| {
        let until = match person.kind {
            Kind::Exempt => 90,
            Kind::ExemptUntil(day) => day,
            _ => return None,
        };
        let until = date(from() + until * DAY);
        Some(format!("[[exempt]]\nuser = \"{}\"\nreason = \"r\"\nuntil = {until}\n", person.name))
    };
    let users: String = people.iter().filter_map(of).collect();
    format!("{users}{group}")
}

/// `name standing [date or days]` of every user in `rollout status --json`, and its exit code.
fn reported(world: &World, second: i64) -> (Vec<String>, Option<i32>) {
    let ran = world.at(second).admin(&["rollout", "status", "--json"]);
    world.write("/root/status.json", &ran.stdout);
    let filter =
        r#".[] | [.user, .standing, (.enforced_from // .grace_until // .grace_days // empty)] | join(" ")"#;
    let lines = world.run(&["jq", "-r", filter, "/root/status.json"]).ok();
    let mut lines: Vec<String> = lines.lines().map(str::to_owned).collect();
    lines.sort();
    (lines, ran.code)
}

/// Each day, what the report says of everybody is what the rules say, and what happens to those who log in.
#[test]
fn a_roll_out_played_through_with_fifty_users() {
    let mut people = fifty();
    assert_eq!(people.len(), 50);
    // Addresses are from when codes were sent by mail.
    let world = World::new().policy(&policy_of(r#"["email", "app"]"#)).stack("sshd", PASSWORD_AND_CODE);
    let world = world.with_clocks();
    let _mailbox = Mailbox::new(&world);
    add(&world, &people);
    for person in people.iter().filter(|person| person.kind == Kind::Address) {
        let address = format!("{}@example.org", person.name);
        world.admin(&["user", "add", &person.name, "--email", &address]).ok();
    }
    let policy = policy_of(r#"["app", "sms"]"#);
    let policy = format!("{policy}{}enroll_at_login = false\n{}", rollout(14), exemptions(&people));
    let world = world.policy(&policy);
    fill(&world, &people);
    // root has nothing and never logs in.
    people.push(Person { name: "root".into(), kind: Kind::Nothing, days: &[], first: None });

    for day in DAYS {
        let second = from() + day * DAY;
        expect_predicted(&world, &people, second);
        for person in people.iter_mut().filter(|person| person.days.contains(&day)) {
            let standing = person.standing(second);
            let seen = sign_in(&world, person, second);
            assert_eq!(seen.is_in, standing != "refused", "day {day}, {} {standing}: {seen:?}", person.name);
            if standing.starts_with("grace-to-come") {
                person.first = Some(second);
            }
        }
        // What the logins changed is in the report at once.
        expect_predicted(&world, &people, second);
    }
}

#[track_caller]
fn expect_predicted(world: &World, people: &[Person], second: i64) {
    let mut predicted: Vec<String> =
        people.iter().map(|person| format!("{} {}", person.name, person.standing(second))).collect();
    predicted.sort();
    let (reported, code) = reported(world, second);
    assert_eq!(reported, predicted, "{}", rfc3339(second));
    let refused: Vec<&String> = predicted.iter().filter(|line| line.ends_with(" refused")).collect();
    assert_eq!(code, Some(if refused.is_empty() { 0 } else { 3 }));
    // `status` says the same, and the table fits a terminal.
    let status = world.at(second).admin(&["status", "--json"]);
    world.write("/root/status.json", &status.stdout);
    let names = world.run(&["jq", "-r", ".refused[].user", "/root/status.json"]).ok();
    let mut names: Vec<String> = names.lines().map(|name| format!("{name} refused")).collect();
    names.sort();
    assert_eq!(names.iter().collect::<Vec<_>>(), refused, "{}", rfc3339(second));
    let table = world.at(second).admin(&["rollout", "status"]).stdout;
    let rows = table.lines().take_while(|line| !line.is_empty());
    for line in rows {
        assert!(line.chars().count() <= 80, "{line:?}");
    }
}

fn sign_in(world: &World, person: &Person, second: i64) -> Seen {
    let moment = world.at(second);
    let plan = moment.plan(&person.name).with("mail", "/var/lib/mailbox");
    let plan = plan.say(format!("pw-{}", person.name));
    let plan = person.answers(second).iter().fold(plan, |plan, answer| plan.answer(answer));
    let plan = plan.answer(&Answer::Null).answer(&Answer::Null).answer(&Answer::Null);
    moment.run(&plan.authenticate().call("account"))
}
