//! Enforcement that is watched, tried and switched on, and the code that an administrator opens one login with.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may panic

use std::fs;
use std::os::unix::fs::PermissionsExt;

use twofa_tests::calendar::{DAY, code_at, date, midnight_in, rfc3339, to_the_minute};
use twofa_tests::driver::clock;
use twofa_tests::driver::pam::Answer;
use twofa_tests::setup::{CODE_PROMPT, PASSWORD_AND_CODE, PASSWORD_PROMPT, POLICY};
use twofa_tests::totp::secret_of;
use twofa_tests::world::{Ran, World};

const TRIAL: &str = "/var/lib/twofa/twofa.db.trial";
const POLICY_FILE: &str = "/etc/twofa/twofa.toml";
const LAPSED: &str = "policy: enforcement was not confirmed in time: nobody is refused";
const OBSERVE: &str = "mode = \"observe\"";

fn observing() -> String {
    POLICY.replace("mode = \"enforce\"", OBSERVE)
}

/// Whole minutes ahead, so that no code of now is one of then.
fn now() -> i64 {
    clock::real() / 60 * 60 + 120
}

fn app(user: &str, second: i64) -> Vec<Answer> {
    vec![code_at(&secret_of(user), second)]
}

fn text(code: &str) -> Vec<Answer> {
    vec![Answer::Text(code.into())]
}

fn world_of(users: &[&str], policy: &str) -> World {
    let world = users.iter().fold(World::new(), |world, user| world.user(user, &format!("pw-{user}")));
    world.policy(policy).stack("sshd", PASSWORD_AND_CODE).with_clocks()
}

/// alice administrates, bob does not, and both have an app; carol has nothing.
fn office(policy: &str) -> World {
    let world = world_of(&["alice", "bob", "carol"], policy);
    world.run(&["usermod", "--append", "--groups", "sudo", "alice"]).ok();
    for user in ["alice", "bob"] {
        world.enroll(user);
    }
    world
}

fn has_trial(world: &World) -> bool {
    world.path(TRIAL).exists()
}

/// What jq makes of a report.
fn jq(world: &World, report: Ran, filter: &str) -> Vec<String> {
    world.write("/root/report.json", &report.stdout);
    let lines = world.run(&["jq", "-r", filter, "/root/report.json"]).ok();
    lines.lines().map(str::to_owned).collect()
}

// Observe mode

/// Who is who in the world of observers: name, what is answered besides the password, whether enforcement lets in.
struct Observed {
    name: &'static str,
    answers: Vec<Answer>,
    gets_in: bool,
}

/// Everybody whom the roll-out meets. Nothing is begun, offered or refused, and the report is right about each.
#[test]
fn observe_mode_names_exactly_those_whom_enforcement_then_refuses() {
    let names = ["app", "none", "none2", "former", "address", "robot", "group", "hardstop", "reborn", "key"];
    let until = date(midnight_in(30));
    let exempt = format!(
        "[[exempt]]\nuser = \"robot\"\nreason = \"r\"\nuntil = {until}\n\
         [[exempt]]\ngroup = \"robots\"\nreason = \"r\"\nuntil = {until}\n"
    );
    let limits = "[limits]\nfailures = 20\ntotal = 5\n";
    let world = world_of(&names, &format!("{}{limits}{exempt}", observing()));
    world.run(&["groupadd", "robots"]).ok();
    world.run(&["usermod", "--append", "--groups", "robots", "group"]).ok();
    let second = now();
    let recovery = ["app", "former", "hardstop", "reborn"].map(|user| world.enroll(user).recovery);
    let shown = world.admin(&["user", "show", "former", "--json"]).ok();
    let label = shown.split("\"label\": \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    world.admin(&["user", "forget", "former", label, "--yes"]).ok();
    world.admin(&["user", "add", "address", "--email", "address@example.org"]).ok();
    // The account is of an earlier user with this name.
    world.run(&["usermod", "--uid", "4711", "reborn"]).ok();
    let key = world.security_key("sk", &["-t", "ed25519-sk"]);
    world.write("/root/sk.pub", &key);
    let enroll = ["twofa-admin", "enroll", "ssh-key", "key", "/root/sk.pub"];
    world.run_with_input(&enroll, "saved\n").ok();
    for attempt in 0..5 {
        let from = format!("203.0.113.{}", 100 + attempt);
        assert!(world.at(second).login_from("hardstop", &from, &text("000000")).is_in);
    }

    let one = |name, answers, gets_in| Observed { name, answers, gets_in };
    let everybody = [
        one("app", app("app", second + 30), true),
        one("none", vec![], false),
        one("none2", vec![], false),
        one("former", vec![], false),
        one("address", vec![], false),
        one("robot", vec![], true),
        one("group", vec![], true),
        one("hardstop", text(&recovery[2][0]), true),
        one("reborn", vec![], false),
        one("key", vec![], false),
    ];
    for Observed { name, answers, .. } in &everybody {
        let seen = world.at(second + 30).login(name, answers);
        assert!(seen.is_in, "{name}: {seen:?}");
        // Nobody is told of anything who has nothing to show.
        if answers.is_empty() {
            assert_eq!(seen.transcript.prompts().len(), 1, "{name}: {seen:?}");
            assert_eq!(seen.transcript.texts(), "", "{name}: {seen:?}");
        }
    }
    // Who answers wrongly is let in as well, and counted.
    assert!(world.at(second + 60).login("app", &text("000000")).is_in);
    assert!(world.at(second + 60).login_by_key("none").is_in);
    let status = world.at(second + 60).admin(&["rollout", "status", "--json"]);
    let refused = jq(&world, status, ".[] | select(.standing == \"refused\") | .user");
    for Observed { name, gets_in, .. } in &everybody {
        assert_eq!(!refused.iter().any(|user| user == name), *gets_in, "{name}: {refused:?}");
    }

    let enable = world.at(second + 60).admin(&["policy", "enable"]);
    assert_eq!(enable.code, Some(3), "{enable:?}");
    let listed: Vec<&str> = enable.stdout.lines().filter_map(|line| line.split(' ').next()).collect();
    for name in names {
        assert_eq!(listed.contains(&name), refused.iter().any(|user| user == name), "{name}: {listed:?}");
    }
    world.at(second + 60).admin(&["policy", "enable", "--force"]).ok();
    for Observed { name, gets_in, .. } in &everybody {
        let answers = match *name {
            "app" => app("app", second + 120),
            "hardstop" => text(&recovery[2][1]),
            _ => vec![],
        };
        let seen = world.at(second + 120).login(name, &answers);
        assert_eq!(seen.is_in, *gets_in, "{name}: {seen:?}");
    }
}

/// A count for each login that shows a first factor of a user whom the host knows, whatever way it comes.
#[test]
fn logins_that_would_be_refused_are_counted_for_their_user() {
    let world = office(&observing());
    let second = now();
    let counts = |at: i64| {
        let status = world.at(at).admin(&["rollout", "status", "--json"]);
        let filter = r#".[] | [.user, .would_be_refused, .last_would_be_refused // "-"] | join(" ")"#;
        jq(&world, status, filter)
    };
    assert!(counts(second).iter().all(|line| line.ends_with(" 0 -")), "{:?}", counts(second));
    assert!(world.at(second).login("carol", &[]).is_in);
    assert!(world.at(second + 1).login("carol", &[]).is_in);
    assert!(world.at(second + 2).login_by_key("carol").is_in);
    // bob could have logged in: the first time he does not, the second time he does.
    assert!(world.at(second + 30).login("bob", &[]).is_in);
    assert!(world.at(second + 30).login("bob", &app("bob", second + 30)).is_in);
    // Nobody is counted whom the host does not know, nor somebody of whom only the name is known.
    assert!(!world.at(second + 60).login("mallory", &[]).is_in, "pam_unix knows no mallory");
    world.write("/etc/pam.d/sshd", "auth required pam_twofa.so\naccount required pam_twofa.so\n");
    for user in ["carol", "root", "mallory"] {
        let plan = world.at(second + 60).plan(user).answer(&Answer::Null).authenticate();
        assert!(world.at(second + 60).run(&plan).is_in, "{user}");
    }
    let counts = counts(second + 90);
    assert!(counts.contains(&format!("carol 3 {}", rfc3339(second + 2))), "{counts:?}");
    assert!(counts.iter().any(|line| line.starts_with("bob 1 ")), "{counts:?}");
    assert!(counts.iter().any(|line| line == "root 0 -"), "{counts:?}");
    assert!(!world.admin(&["user", "list", "--json"]).ok().contains("mallory"));
    let table = world.at(second + 90).admin(&["rollout", "status"]).stdout;
    let line = format!("3 times, last {}", date(second));
    assert!(table.lines().any(|row| row.starts_with("carol ") && row.contains(&line)), "{table}");
}

#[test]
fn observe_mode_begins_no_days_and_offers_nothing() {
    let world = office(&format!("{}[rollout]\ngrace_days = 14\n", observing()));
    let second = now();
    for day in [0, 3, 20] {
        let seen = world.at(second + day * DAY).login("carol", &[]);
        assert!(seen.is_in && seen.transcript.prompts().len() == 1, "{seen:?}");
        assert!(world.at(second + day * DAY).login_by_key("carol").is_in);
    }
    let status = world.at(second + 20 * DAY).admin(&["rollout", "status"]).stdout;
    assert!(status.contains("carol  14 days from next login"), "{status}");
    world.at(second + 20 * DAY).admin(&["policy", "set", "mode=enforce"]).ok();
    let seen = world.at(second + 20 * DAY).login("carol", &[]);
    assert!(seen.is_in, "{seen:?}");
    world.log.expect(&format!("grace-until={}", rfc3339(second + 34 * DAY)));
}

// policy enable

#[test]
fn enforcement_is_switched_on_when_it_locks_nobody_out_now() {
    let world = office(&observing());
    let before = fs::read_to_string(world.path(POLICY_FILE)).unwrap();
    let second = now();
    let at = |second| world.at(second);
    let refused = at(second).admin(&["policy", "enable"]).expect(3);
    for user in ["carol", "root"] {
        assert!(refused.stdout.lines().any(|line| line.starts_with(user)), "{}", refused.stdout);
    }
    for user in ["alice", "bob"] {
        assert!(!refused.stdout.contains(user), "{}", refused.stdout);
    }
    assert_eq!(fs::read_to_string(world.path(POLICY_FILE)).unwrap(), before);
    at(second).admin(&["policy", "set", "mode=enforce"]).expect(3);

    // Not before the date, nor while days are to come or have not ended.
    let first = midnight_in(8);
    at(second).admin(&["policy", "set", &format!("rollout.enforce_from={}", date(first))]).ok();
    at(second).admin(&["policy", "enable"]).ok();
    assert!(at(second).login("carol", &[]).is_in);
    world.write(POLICY_FILE, &format!("{}[rollout]\ngrace_days = 5\n", observing()));
    at(first).admin(&["policy", "enable"]).ok();
    assert!(at(first).login("carol", &[]).is_in);
    world.write(POLICY_FILE, &format!("{}[rollout]\ngrace_days = 5\n", observing()));
    at(first + 5 * DAY - 1).admin(&["policy", "enable"]).ok();
    // When they have, carol is locked out, and root is not yet.
    world.write(POLICY_FILE, &format!("{}[rollout]\ngrace_days = 5\n", observing()));
    let refused = at(first + 5 * DAY).admin(&["policy", "enable"]).expect(3);
    assert!(refused.stdout.contains("carol") && !refused.stdout.contains("root"), "{}", refused.stdout);
    at(first + 5 * DAY).admin(&["policy", "enable", "--force"]).ok();
    assert!(!at(first + 5 * DAY).login("carol", &[]).is_in);
}

#[test]
fn who_is_exempt_is_not_locked_out() {
    let exempt = |user: &str, days| {
        let until = date(midnight_in(days));
        format!("[[exempt]]\nuser = \"{user}\"\nreason = \"r\"\nuntil = {until}\n")
    };
    let world = office(&format!("{}{}{}", observing(), exempt("root", 30), exempt("carol", 2)));
    let refused = world.at(midnight_in(3)).admin(&["policy", "enable"]).expect(3);
    assert!(refused.stdout.contains("carol") && !refused.stdout.contains("root"), "{}", refused.stdout);
    world.at(midnight_in(3) - 1).admin(&["policy", "enable"]).ok();
}

// On trial

/// The trial of ten minutes that begins now.
#[track_caller]
fn begin(world: &World, second: i64) -> String {
    let told = world.at(second).admin(&["policy", "enable", "--confirm-within", "10m", "--force"]).ok();
    assert!(has_trial(world));
    told
}

#[test]
fn an_administrator_who_gets_in_with_a_factor_confirms_enforcement() {
    let world = office(&observing());
    let second = now();
    let told = begin(&world, second);
    let end = to_the_minute(second + 600);
    assert!(told.contains(&format!("Log in as alice with a second factor before {end}")), "{told}");
    assert!(!world.at(second).login("carol", &[]).is_in);
    let status = world.at(second).admin(&["status"]).stdout;
    // All is as somebody wants it.
    assert!(
        status.contains("\nTrial:               Enforcement is on trial") && status.contains(&end),
        "{status}"
    );
    assert!(!status.contains("Out of order:        Enforcement"), "{status}");
    let last = second + 599;
    let seen = world.at(last).login("alice", &app("alice", last));
    assert!(seen.is_in, "{seen:?}");
    assert!(!has_trial(&world));
    world.log.expect("policy: enforcement is confirmed by this login");
    let confirmed = world.admin(&["audit", "export", "--event", "policy-confirmed"]).ok();
    assert!(confirmed.lines().count() == 1 && confirmed.contains("\"user\":\"alice\""), "{confirmed}");
    for later in [600, 601, DAY] {
        assert!(!world.at(second + later).login("carol", &[]).is_in, "{later}");
    }
    world.log.expect_none(LAPSED);
    assert!(!world.at(second + 600).admin(&["status"]).stdout.contains("trial"));
}

#[test]
fn nobody_and_nothing_else_confirms_it() {
    let trust = "[trust]\nduration = \"1 day\"\noffer = \"always\"\n";
    let exempt = format!(
        "[[exempt]]\nuser = \"alice\"\nfrom = [\"203.0.113.77/32\"]\nreason = \"r\"\nuntil = {}\n",
        date(midnight_in(5))
    );
    let world = office(&format!("{POLICY}{trust}{exempt}"));
    let second = now();
    assert!(world.at(second - 30).login("alice", &app("alice", second - 30)).is_in);
    let code = bypass(&world, second, "alice", "1h");
    begin(&world, second);
    let at = |later: i64| world.at(second + later);
    let still_on = |what: &str| assert!(has_trial(&world), "{what}");
    let seen = at(1).login("alice", &[]);
    assert!(seen.is_in && seen.transcript.prompts().len() == 1, "trusted: {seen:?}");
    still_on("a trusted device");
    assert!(at(1).login("bob", &app("bob", second)).is_in);
    still_on("an ordinary user");
    let elsewhere = "203.0.113.88";
    assert!(!at(2).login_from("alice", elsewhere, &text("000000")).is_in);
    still_on("a wrong code");
    assert!(at(2).login_from("alice", "203.0.113.77", &[]).is_in);
    still_on("an exemption");
    let plan = at(60).plan("alice").with("env", format!("SSH_CONNECTION={elsewhere} 1 192.0.2.1 22"));
    let plan = plan.say("pw-alice").say_code(&secret_of("alice"), 0).authenticate();
    let done = at(60).run(&plan.call("user=bob").call("account"));
    assert!(!done.is_in, "{done:?}");
    still_on("a login that became another user's");
    assert!(!at(90).login_by_key("alice").is_in);
    still_on("a key alone");
    assert!(at(90).login_from("alice", elsewhere, &text(&code)).is_in);
    still_on("a bypass");
    world.log.expect_none("enforcement is confirmed");
}

#[test]
fn without_confirmation_nobody_is_refused_and_everything_says_so() {
    let world = office(&observing());
    let second = now();
    begin(&world, second);
    assert!(!world.at(second + 599).login("carol", &[]).is_in);
    world.log.expect_none(LAPSED);
    for later in [600, 3600, 30 * DAY] {
        let seen = world.at(second + later).login("carol", &[]);
        assert!(seen.is_in && seen.transcript.prompts().len() == 1, "{later}: {seen:?}");
    }
    assert!(world.at(second + 660).login("bob", &text("000000")).is_in);
    assert!(world.at(second + 660).login_by_key("carol").is_in);
    // Of an alert's level, at each login.
    let line = world.log.expect_times(LAPSED, 4);
    assert!(line.starts_with("<81>"), "{line}");
    // It is too late for alice to confirm anything.
    assert!(world.at(second + 660).login("alice", &app("alice", second + 660)).is_in);
    assert!(world.at(second + 690).login("carol", &[]).is_in);

    let told = format!(
        "NOBODY IS REFUSED: no administrator confirmed enforcement before {}",
        to_the_minute(second + 600)
    );
    for arguments in [&["status"][..], &["policy", "check"]] {
        let ran = world.at(second + 700).admin(arguments).expect(3);
        assert!(ran.stdout.contains(&told), "{arguments:?}: {}", ran.stdout);
    }
    world.at(second + 700).admin(&["policy", "enable", "--force"]).ok();
    assert!(!has_trial(&world));
    assert!(!world.at(second + 700).login("carol", &[]).is_in);
    assert!(!world.at(second + 700).admin(&["status"]).stdout.contains("NOBODY IS REFUSED"));
}

#[test]
fn a_trial_ends_with_what_an_administrator_sets() {
    let second = now();
    for set in [
        &["policy", "set", "mode=enforce", "--force"][..],
        &["policy", "set", "mode=observe"],
        &["policy", "disable", "--yes"],
    ] {
        let world = office(&observing());
        begin(&world, second);
        world.at(second + 10).admin(set).ok();
        assert!(!has_trial(&world), "{set:?}");
        let refuses = set.contains(&"mode=enforce");
        assert_eq!(!world.at(second + 700).login("carol", &[]).is_in, refuses, "{set:?}");
    }
    // Other values are no word about it.
    let world = office(&observing());
    begin(&world, second);
    world.at(second + 10).admin(&["policy", "set", "limits.failures=4"]).ok();
    assert!(has_trial(&world));
    // A second one begins anew.
    begin(&world, second + 300);
    assert!(!world.at(second + 899).login("carol", &[]).is_in);
    assert!(world.at(second + 900).login("carol", &[]).is_in);
}

#[test]
fn a_trial_that_cannot_be_trusted_is_none() {
    let world = office(&observing());
    let second = now();
    begin(&world, second);
    let good = fs::read_to_string(world.path(TRIAL)).unwrap();
    let lapsed = second + 3600;
    assert!(world.at(lapsed).login("carol", &[]).is_in);
    let damaged =
        ["", "nonsense", "since = 1\n", &format!("{good}more = 1\n"), &good.replace("until = ", "until = -")];
    for (index, text) in (1..).zip(damaged) {
        world.write(TRIAL, text);
        assert!(!world.at(lapsed).login("carol", &[]).is_in, "{text:?}");
        let line = world.log.expect_times("enforcement stands", index);
        assert!(line.starts_with("<81>"), "{line}");
        assert!(!world.at(lapsed).login_by_key("carol").is_in, "{text:?}");
        let status = world.at(lapsed).admin(&["status"]).expect(3).stdout;
        assert!(status.contains("twofa.db.trial"), "{text:?}: {status}");
    }
    world.write(TRIAL, &good);
    for mode in [0o622, 0o660] {
        fs::set_permissions(world.path(TRIAL), fs::Permissions::from_mode(mode)).unwrap();
        assert!(!world.at(lapsed).login("carol", &[]).is_in, "{mode:o}");
    }
    fs::set_permissions(world.path(TRIAL), fs::Permissions::from_mode(0o600)).unwrap();
    world.run(&["chown", "bob", TRIAL]).ok();
    assert!(!world.at(lapsed).login("carol", &[]).is_in);
    world
        .run(&[
            "sh",
            "-c",
            &format!("chown root {TRIAL} && mv {TRIAL} /root/trial && ln -s /root/trial {TRIAL}"),
        ])
        .ok();
    assert!(!world.at(lapsed).login("carol", &[]).is_in);
    // And whole again it counts.
    world.run(&["mv", "/root/trial", TRIAL]).ok();
    assert!(world.at(lapsed).login("carol", &[]).is_in);
}

#[test]
fn enforcement_that_is_refused_leaves_no_trial() {
    let world = office(&observing());
    let before = fs::read_to_string(world.path(POLICY_FILE)).unwrap();
    let trial = ["policy", "enable", "--confirm-within", "10m"];
    let refused = world.admin(&trial).expect(3);
    assert!(refused.stdout.contains("carol"), "{}", refused.stdout);
    assert!(!has_trial(&world));
    assert_eq!(fs::read_to_string(world.path(POLICY_FILE)).unwrap(), before);

    // Nobody could confirm it: alice has no factor, or is no administrator.
    world.run(&["gpasswd", "--delete", "alice", "sudo"]).ok();
    let refused = world.admin(&[&trial[..], &["--force"]].concat()).expect(1);
    assert!(refused.stderr.contains("nobody could confirm it"), "{}", refused.stderr);
    world.run(&["usermod", "--append", "--groups", "sudo", "carol"]).ok();
    world.admin(&[&trial[..], &["--force"]].concat()).expect(1);
    assert!(!has_trial(&world));
    assert_eq!(fs::read_to_string(world.path(POLICY_FILE)).unwrap(), before);
    for bad in ["0", "59s", "25h", "soon", ""] {
        world.admin(&["policy", "enable", "--confirm-within", bad, "--force"]).expect(2);
    }
    assert!(!has_trial(&world));
    world.run(&["groupadd", "wheel"]).ok();
    world.run(&["usermod", "--append", "--groups", "wheel", "bob"]).ok();
    let told = world.admin(&[&trial[..], &["--force"]].concat()).ok();
    assert!(told.contains("Log in as bob with a second factor"), "{told}");
}

// Bypass

/// Opens a login and returns the code.
#[track_caller]
fn bypass(world: &World, second: i64, user: &str, time: &str) -> String {
    let open = ["user", "bypass", user, "--for", time, "--reason", "lost phone, ticket 4711"];
    let told = world.at(second).admin(&open).ok();
    let codes: Vec<&str> = told
        .split_whitespace()
        .filter(|word| word.len() == 29 && word.split('-').all(|group| group.len() == 4))
        .collect();
    assert_eq!(codes.len(), 1, "{told}");
    codes[0].to_owned()
}

#[test]
fn a_bypass_opens_one_login_of_one_user() {
    let world = office(POLICY).start_sshd("");
    let second = clock::real();
    let code = bypass(&world, second, "carol", "1h");
    let other = bypass(&world, second, "bob", "1h");
    let until = rfc3339(second + 3600);
    let opened = format!("BYPASS-OPENED carol what=\"until {until}: lost phone, ticket 4711\" by=root");
    let line = world.log.expect(&opened);
    assert!(line.starts_with("<81>") && !line.contains(&code), "{line}");
    let shown = format!("until {}: lost phone, ticket 4711", to_the_minute(second + 3600));
    assert!(world.admin(&["status"]).stdout.contains(&format!("BYPASS:              carol {shown}")));
    assert!(world.admin(&["user", "show", "carol"]).ok().contains(&format!("BYPASS:          {shown}")));

    // On screen. It is no way around the password, and nobody else's.
    let ssh = |user: &str| {
        let mut ssh = world.ssh(user).option("NumberOfPasswordPrompts=1").spawn("echo LOGGED-IN");
        ssh.answer(PASSWORD_PROMPT, &format!("pw-{user}"));
        ssh
    };
    let mut wrong = world.ssh("carol").option("NumberOfPasswordPrompts=1").spawn("id");
    wrong.answer(PASSWORD_PROMPT, &code);
    wrong.expect("Permission denied");
    for (user, code) in [("alice", &code), ("carol", &other), ("bob", &code)] {
        let mut ssh = ssh(user);
        ssh.answer("Verification code (", code);
        let (which, _) = ssh.expect_any(&["Wrong code.", "LOGGED-IN\n"]);
        assert_eq!(which, 0, "{user}: {}", ssh.screen());
    }
    let mut carol = ssh("carol");
    carol.answer("Verification code (recovery code): ", &code.to_lowercase());
    let told = carol.expect("LOGGED-IN\n");
    assert!(told.contains("The bypass is used: it opened this one login."), "{told}");
    carol.expect_end(0);
    let used =
        world.log.expect("accepted BYPASS for carol from 127.0.0.1 reason=\"lost phone, ticket 4711\"");
    assert!(used.starts_with("<81>"), "{used}");
    // Once.
    let mut again = ssh("carol");
    again.answer(CODE_PROMPT, &code);
    let (which, _) = again.expect_any(&["Wrong code.", "LOGGED-IN\n"]);
    assert_eq!(which, 0, "{}", again.screen());
    assert!(!world.admin(&["status"]).stdout.contains("BYPASS:              carol"));
    let mut bob = ssh("bob");
    bob.answer(CODE_PROMPT, &other);
    bob.expect("LOGGED-IN\n");
}

#[test]
fn a_bypass_opens_what_guessing_has_locked() {
    let world = office(&format!("{POLICY}[limits]\nfailures = 3\ntotal = 5\n"));
    let second = now();
    let guess = |times: usize, from: &str| {
        for _ in 0..times {
            let _ = world.at(second).login_from("bob", from, &text("000000"));
        }
    };
    // An address, then everything.
    for (times, from) in [(3, "203.0.113.5"), (2, "203.0.113.6")] {
        guess(times, from);
        let locked = world.at(second).login("bob", &app("bob", second));
        assert!(!locked.is_in, "{locked:?}");
        let code = bypass(&world, second, "bob", "1h");
        let seen = world.at(second).login("bob", &text(&code));
        assert!(seen.is_in, "{seen:?}");
        // The lock is what it was: the login was opened, not the account.
        assert!(!world.at(second).login("bob", &app("bob", second)).is_in);
    }
    // It stands besides the factors of who has some.
    world.admin(&["user", "unlock", "bob"]).ok();
    let code = bypass(&world, second, "bob", "1h");
    assert!(world.at(second + 30).login("bob", &app("bob", second + 30)).is_in);
    assert!(world.at(second + 30).login("bob", &text(&code)).is_in);
}

#[test]
fn a_bypass_ends() {
    let world = office(POLICY);
    let second = now();
    let is_in = |user: &str, second: i64, code: &str| world.at(second).login(user, &text(code)).is_in;
    for user in ["carol", "bob"] {
        // With its last second, and a clock that is set back does not bring it back.
        let code = bypass(&world, second, user, "1h");
        assert!(!is_in(user, second + 3600, &code), "{user}");
        assert!(!is_in(user, second + 3599, &code), "{user}: it came back");
        let code = bypass(&world, second + 3600, user, "1h");
        assert!(is_in(user, second + 7199, &code), "{user}");
        // When it is taken back.
        let code = bypass(&world, second + 7200, user, "1h");
        world.at(second + 7200).admin(&["user", "bypass", user, "--revoke"]).ok();
        world.log.expect(&format!("BYPASS-CLOSED {user} by=root"));
        assert!(!is_in(user, second + 7200, &code), "{user}");
        assert!(!world.at(second + 7200).admin(&["status"]).stdout.contains("BYPASS"));
        // With the next one, and with a reset.
        let older = bypass(&world, second + 8000, user, "1h");
        let newer = bypass(&world, second + 8000, user, "1h");
        assert!(!is_in(user, second + 8000, &older), "{user}");
        world.at(second + 8000).admin(&["user", "reset", user, "--yes"]).ok();
        assert!(!is_in(user, second + 8000, &newer), "{user}");
    }
    // It is a code, and a login by key alone has nowhere to type one.
    bypass(&world, second + 9000, "carol", "1h");
    assert!(!world.at(second + 9000).login_by_key("carol").is_in);
}

#[test]
fn a_bypass_has_a_reason_and_an_end() {
    let world = office(POLICY);
    let long = "x".repeat(101);
    let bad: &[&[&str]] = &[
        &["--for", "1h"],
        &["--reason", "lost"],
        &["--for", "0", "--reason", "lost"],
        &["--for", "0s", "--reason", "lost"],
        &["--for", "25h", "--reason", "lost"],
        &["--for", "soon", "--reason", "lost"],
        &["--for", "1h", "--reason", ""],
        &["--for", "1h", "--reason", "  "],
        &["--for", "1h", "--reason", &long],
        &["--for", "1h", "--reason", "lost\nphone"],
        &["--for", "1h", "--reason", "lost \u{1b}[2J phone"],
        &["--for", "1h", "--reason", "lost \u{202e} phone"],
        &["--for", "1h", "--reason", "lost", "--revoke"],
        &[],
    ];
    for arguments in bad {
        let ran = world.admin(&[&["user", "bypass", "carol"], *arguments].concat()).expect(2);
        assert!(
            ran.stdout.is_empty() && !ran.stderr.contains(['\u{1b}', '\u{202e}']),
            "{arguments:?}: {ran:?}"
        );
    }
    let unknown = world.admin(&["user", "bypass", "mallory", "--for", "1h", "--reason", "lost"]).expect(1);
    assert_eq!(unknown.stderr.lines().count(), 2, "{unknown:?}");
    assert!(!world.admin(&["user", "list", "--json"]).ok().contains("carol"));
    assert_eq!(world.admin(&["user", "bypass", "bob", "--revoke"]).ok(), "bob has no bypass.\n");
    world.log.expect_none("BYPASS");
    world.admin(&["user", "bypass", "carol", "--for", "24h", "--reason", &long[..100]]).ok();
    world.admin(&["user", "bypass", "carol", "--for", "1m", "--reason", "zgubiła telefon"]).ok();
}
