//! Exceptions to the policy, as an administrator makes and ends them: who gets in then, and who does not.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use twofa_tests::setup::{CODE_PROMPT, PASSWORD_AND_CODE, PASSWORD_PROMPT, POLICY, SSHD_KEY_ONLY};
use twofa_tests::world::World;

const POLICY_FILE: &str = "/etc/twofa/twofa.toml";

/// robot and alice log in with keys alone, where the policy lets them.
fn office() -> World {
    let world = World::new().user("alice", "pw-alice").user("robot", "pw-robot");
    let commented = format!("# why we have this policy\n{POLICY}");
    world.policy(&commented).stack("sshd", PASSWORD_AND_CODE)
}

fn text(world: &World) -> String {
    fs::read_to_string(world.path(POLICY_FILE)).unwrap()
}

/// The day so many days from now.
#[allow(clippy::disallowed_methods, reason = "the exemption has to end after today")]
fn in_days(world: &World, days: u64) -> String {
    let then = SystemTime::now() + Duration::from_secs(days * 86_400);
    let seconds = then.duration_since(UNIX_EPOCH).unwrap().as_secs();
    world.run(&["date", "--utc", "+%F", &format!("--date=@{seconds}")]).ok().trim().to_owned()
}

#[test]
fn a_robot_gets_in_with_its_key_while_it_is_exempt() {
    let world = office().address("192.0.2.7").address("192.0.2.8").authorize_key(&["alice", "robot"]);
    let world = world.start_sshd(SSHD_KEY_ONLY);
    let by_key = |user: &str, from: &str| world.ssh(user).key().from(from).run("id -un");
    by_key("robot", "192.0.2.7").expect(255);

    let until = in_days(&world, 30);
    let add =
        ["exempt", "add", "--user", "robot", "--from", "192.0.2.7/32", "--reason", "nightly copy, ticket 9"];
    let said = world.admin(&[&add[..], &["--until", &until]].concat()).ok();
    assert!(said.starts_with("user robot is asked for no second factor until 20"), "{said}");
    let ran = by_key("robot", "192.0.2.7").expect(0);
    assert_eq!((ran.stdout, ran.stderr), ("robot\n".into(), String::new()));
    world.log.expect("exempt robot from 192.0.2.7 until=");
    by_key("robot", "192.0.2.8").expect(255);
    by_key("alice", "192.0.2.7").expect(255);

    // What was in the file stays in it.
    let kept = text(&world);
    assert!(kept.starts_with("# why we have this policy\n"), "{kept}");
    let listed = world.admin(&["exempt", "list"]).ok();
    let [header, line] = listed.lines().collect::<Vec<_>>()[..] else { panic!("{listed}") };
    assert!(header.starts_with("WHO    FROM          UNTIL"), "{listed}");
    assert!(
        line.starts_with("robot  192.0.2.7/32  20") && line.ends_with("nightly copy, ticket 9"),
        "{listed}"
    );
    let json = world.admin(&["exempt", "list", "--json"]).ok();
    assert!(json.contains(r#""user": "robot""#) && json.contains(r#""ended": false"#), "{json}");
    let status = world.admin(&["status"]).stdout;
    assert!(status.contains("Exempt:              robot"), "{status}");

    world.admin(&["exempt", "remove", "--user", "robot", "--yes"]).ok();
    by_key("robot", "192.0.2.7").expect(255);
    assert_eq!(world.admin(&["exempt", "list"]).ok(), "Nobody is exempt.\n");
    assert!(!text(&world).contains("[[exempt]]"), "{}", text(&world));
}

#[test]
fn a_group_is_exempt_and_nobody_else() {
    let world = office().authorize_key(&["alice", "robot"]);
    world.run(&["groupadd", "robots"]).ok();
    world.run(&["usermod", "--append", "--groups", "robots", "robot"]).ok();
    let world = world.start_sshd(SSHD_KEY_ONLY);
    let until = in_days(&world, 1);
    world
        .admin(&["exempt", "add", "--group", "robots", "--reason", "until they have keys", "--until", &until])
        .ok();
    world.ssh("robot").key().run("id -un").expect(0);
    world.ssh("alice").key().run("id -un").expect(255);
    // It is over soon, and two reports say so.
    let status = world.admin(&["status"]).stdout;
    assert!(status.contains("Exempt:              group robots"), "{status}");
    assert!(status.contains("The exemption of `robots` ends 20"), "{status}");
    let checked = world.admin(&["policy", "check"]).stdout;
    assert!(checked.contains("The exemption of `robots` ends 20"), "{checked}");
}

#[test]
fn what_is_no_dated_exception_is_refused_and_changes_nothing() {
    let world = office();
    let before = text(&world);
    let until = in_days(&world, 3);
    let table: &[(&[&str], i32, &str)] = &[
        (
            &["--user", "nobody-here", "--reason", "x", "--until", &until],
            1,
            "this host has no user `nobody-here`",
        ),
        (
            &["--group", "no-group", "--reason", "x", "--until", &until],
            1,
            "this host has no group `no-group`",
        ),
        (&["--user", "robot", "--until", &until], 2, "--reason"),
        (&["--user", "robot", "--reason", "x"], 2, "--until"),
        (&["--reason", "x", "--until", &until], 2, "--user"),
        (&["--user", "robot", "--group", "root", "--reason", "x", "--until", &until], 2, "--group"),
        (&["--user", "robot", "--reason", " ", "--until", &until], 1, "must have a reason"),
        (&["--user", "robot", "--reason", "x", "--until", "2020-01-31"], 1, "would have ended already"),
        (&["--user", "robot", "--reason", "x", "--until", "soon"], 2, "`soon` is not a date"),
        (&["--user", "robot", "--reason", "x", "--until", "12:00:00"], 1, "`until` must be a date"),
        (&["--user", "robot", "--from", "office", "--reason", "x", "--until", &until], 1, "IP"),
        (&["--user", "robot", "--from", "::ffff:1.2.3.4/128", "--reason", "x", "--until", &until], 1, "IPv4"),
    ];
    for (arguments, code, why) in table {
        let refused = world.admin(&[&["exempt", "add"], *arguments].concat()).expect(*code);
        assert!(refused.stderr.contains(why), "{arguments:?}: {}", refused.stderr);
        assert_eq!(text(&world), before, "{arguments:?}");
    }
    let refused = world.admin(&["exempt", "remove", "--user", "robot", "--yes"]).expect(1);
    assert!(refused.stderr.contains("user robot has no exemption"), "{}", refused.stderr);
}

/// Without a factor nobody gets in from elsewhere: that is said, and not that there is no way in at all.
#[test]
fn who_is_exempt_from_one_network_is_named_with_it() {
    let world = office();
    let until = in_days(&world, 30);
    world.run(&["groupadd", "robots"]).ok();
    world.run(&["usermod", "--append", "--groups", "robots", "robot"]).ok();
    world.admin(&["policy", "set", "mode=off"]).ok();
    let add =
        ["exempt", "add", "--group", "robots", "--from", "192.0.2.0/24", "--reason", "x", "--until", &until];
    world.admin(&add).ok();
    let status = world.admin(&["status"]).stdout;
    for line in [
        "No second factor:    root, alice, robot (exempt from 192.0.2.0/24)\n",
        "Refused if enforced: root, alice, robot (exempt from 192.0.2.0/24)\n",
        "Exempt:              group robots from 192.0.2.0/24\n",
    ] {
        assert!(status.contains(line), "{status}");
    }
    for command in [&["policy", "enable"][..], &["policy", "set", "mode=enforce"]] {
        let refused = world.admin(command).expect(3).stdout;
        let rows: Vec<Vec<&str>> = refused.lines().map(|line| line.split_whitespace().collect()).collect();
        let last = |user: &str| {
            rows.iter().find(|row| row.first() == Some(&user)).and_then(|row| row.last().copied())
        };
        assert!(refused.starts_with("USER   UID   EXEMPT ONLY FROM\n"), "{refused}");
        assert_eq!((last("alice"), last("robot")), (Some("-"), Some("192.0.2.0/24")), "{refused}");
    }
    // A group that is gone keeps nobody from reading the rest.
    world.run(&["groupdel", "robots"]).ok();
    assert!(world.admin(&["status"]).expect(3).stdout.contains("No second factor:    root, alice, robot\n"));
    world.admin(&["exempt", "remove", "--group", "robots", "--yes"]).ok();
    assert!(world.admin(&["policy", "enable"]).expect(3).stdout.starts_with("USER   UID\n"));
}

/// Who is exempt is asked for the password all the same.
#[test]
fn the_first_factor_is_asked_for_as_ever() {
    let world = office().start_sshd("");
    let until = in_days(&world, 3);
    world.admin(&["exempt", "add", "--user", "robot", "--reason", "x", "--until", &until]).ok();
    let mut ssh = world.ssh("robot").option("NumberOfPasswordPrompts=1").spawn("id -un");
    ssh.answer(PASSWORD_PROMPT, "wrong");
    ssh.expect("Permission denied");
    let mut ssh = world.ssh("robot").spawn("id -un");
    ssh.answer(PASSWORD_PROMPT, "pw-robot");
    assert!(!ssh.expect("robot\n").contains(CODE_PROMPT));
}
