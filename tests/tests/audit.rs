//! The audit trail: a line for each thing that happens, none with a secret in it, and none that keeps anybody out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a broken test says so and stops; one measures time"
)]

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use twofa_tests::calendar::{DAY, code_at, date, rfc3339};
use twofa_tests::driver::clock;
use twofa_tests::driver::code;
use twofa_tests::driver::pam::Answer;
use twofa_tests::driver::plan::Plan;
use twofa_tests::driver::site::{self, Factor, SERVICE, Site};
use twofa_tests::setup::{CODE_PROMPT, PASSWORD_AND_CODE, PASSWORD_PROMPT, POLICY};
use twofa_tests::totp::{App, secret_of};
use twofa_tests::world::{World, recovery_codes};

const SUCCESS: i32 = 0;
const CLIENT: &str = "203.0.113.5";
const PHONE: &str = "+48600000123";
const MASKED: &str = "+48 *** *** 123";

/// All lines of a trail, oldest first.
fn lines_in(folder: &Path) -> Vec<String> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    files.retain(|path| path.extension().is_some_and(|end| end == "jsonl"));
    files.sort();
    let text: String = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    text.lines().map(str::to_owned).collect()
}

fn lines(site: &Site) -> Vec<String> {
    lines_in(&site.path("audit"))
}

/// The value of a field, as it stands in the line; empty when it has none.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let found = line.split_once(&format!(",\"{name}\":\""));
    found.and_then(|(_, rest)| rest.split('"').next()).unwrap_or_default()
}

/// What one line has to say.
type Said<'a> = &'a [(&'a str, &'a str)];

/// A reader of one trail who is told what comes next.
struct Trail<'s> {
    site: &'s Site,
    seen: usize,
}

impl<'s> Trail<'s> {
    fn of(site: &'s Site) -> Self {
        Self { site, seen: lines(site).len() }
    }

    /// Exactly these lines, since the last time. A value that ends in `*` is the beginning of one.
    #[track_caller]
    fn expect(&mut self, what: &str, expected: &[Said<'_>]) {
        let new = lines(self.site).split_off(self.seen);
        self.seen += new.len();
        assert_eq!(new.len(), expected.len(), "{what}: {new:#?}");
        for (line, fields) in new.iter().zip(expected) {
            for (name, value) in *fields {
                let is = field(line, name);
                let fits = value.strip_suffix('*').map_or(is == *value, |start| is.starts_with(start));
                assert!(fits, "{what}: {name} is {is:?}, not {value:?}: {line}");
            }
        }
    }
}

/// A login through both phases with these answers.
fn login(site: &Site, plan: Plan, answers: &[Answer]) -> bool {
    let plan = answers.iter().fold(plan, Plan::answer).answer(&Answer::Null).answer(&Answer::Null);
    let seen = site.run(&plan.authenticate().call("account")).done();
    seen.code("authenticate") == SUCCESS && seen.code("account") == SUCCESS
}

/// The auth phase alone: behind its refusal no application goes on.
fn authenticates(site: &Site, plan: Plan, answers: &[Answer]) -> bool {
    let plan = answers.iter().fold(plan, Plan::answer).answer(&Answer::Null).answer(&Answer::Null);
    site.run(&plan.authenticate()).done().code("authenticate") == SUCCESS
}

fn text(text: &str) -> Answer {
    Answer::Text(text.into())
}

fn app(factor: &Factor) -> Answer {
    Answer::Code(factor.secret.clone(), 0)
}

/// Adds to a policy, and leaves its tables where they are.
fn amended(policy: &str, from: &str, to: &str) -> String {
    assert!(policy.contains(from), "no {from} in {policy}");
    policy.replacen(from, to, 1)
}

/// None of these words is in the trail or in the log.
#[track_caller]
fn expect_no_secret(trail: &[String], log: &[String], secrets: &[String]) {
    assert!(secrets.iter().all(|secret| secret.len() >= 6), "{secrets:?}");
    for line in trail.iter().chain(log) {
        let bare = line.replace(['-', ' '], "");
        for secret in secrets {
            let bare_secret = secret.replace(['-', ' '], "");
            assert!(!bare.contains(&bare_secret), "{secret} is in {line}");
        }
    }
}

/// Every code that an app had in the hour around the site's time.
fn codes_of(site: &Site, factor: &Factor) -> Vec<String> {
    (-60..60).map(|step| code::at(&factor.secret, site.time, step)).collect()
}

// What happens, and what is written of it

#[test]
fn every_verdict_leaves_one_line() {
    let site = Site::sending(&["app", "sms"]);
    let policy = site.sending_policy(&["app", "sms"]);
    let alice = site.enroll("root");
    site.contact("root", &["--phone", PHONE]);
    let mut trail = Trail::of(&site);
    let at = |second: i64| site.plan("root").at(site.time + second);
    let from = |second: i64| site.plan_from("root", CLIENT).at(site.time + second);
    let by = |method: &'static str| [("event", "accepted"), ("user", "root"), ("method", method)];

    assert!(login(&site, from(0), &[app(&alice)]));
    let more = [("service", "sshd"), ("phase", "auth"), ("address", CLIENT), ("rhost", "")];
    trail.expect("app", &[&[&by("app")[..], &more].concat()]);
    assert!(!authenticates(&site, from(1), &[app(&alice)]));
    trail.expect("again", &[&[("event", "refused"), ("reason", "aborted")]]);
    assert!(login(&site, at(60), &[text(&alice.recovery[0])]));
    trail.expect("recovery code", &[&[&by("recovery")[..], &[("left", "9"), ("service", SERVICE)]].concat()]);
    assert!(login(&site, at(61), &[text("sms"), Answer::Sent(0)]));
    let sent = [("event", "sent"), ("method", "sms"), ("to", MASKED)];
    trail.expect("sms", &[&sent, &[&by("sms")[..], &[("to", MASKED)]].concat()]);
    let on_tty = at(62).with("set", "tty=/dev/tty7");
    assert!(!authenticates(&site, on_tty, &[Answer::WrongSent, Answer::WrongSent, Answer::WrongSent]));
    trail.expect("wrong", &[&[("event", "refused"), ("reason", "wrong-code"), ("tty", "/dev/tty7")]]);
    let by_name = at(63).with("set", "rhost=office.example");
    assert!(!authenticates(&site, by_name, &[]));
    trail.expect("nothing typed", &[&[("event", "refused"), ("reason", "*"), ("rhost", "office.example")]]);
    for (user, reason) in [("x000001", "unknown-user"), ("t000001", "not-enrolled")] {
        assert!(!authenticates(&site, site.plan(user), &[text("000000"), text("000000"), text("000000")]));
        trail.expect(user, &[&[("event", "refused"), ("user", user), ("reason", reason)]]);
    }
    let account = site.run(&site.plan("root").call("account")).done();
    assert_ne!(account.code("account"), SUCCESS);
    trail.expect("key alone", &[&[("event", "refused"), ("phase", "account"), ("reason", "no-factor")]]);

    // A gateway that fails, and a cap.
    site.write_short_hook("echo 'no route' >&2; exit 1");
    assert!(!authenticates(&site, at(200), &[text("sms")]));
    let not_sent = [("event", "not-sent"), ("method", "sms"), ("to", MASKED), ("reason", "*")];
    trail.expect("no gateway", &[&not_sent, &[("event", "refused")]]);
    site.write_policy(&amended(&policy, "[limits]\n", "[limits]\nsends_per_hour = 1\n"));
    assert!(!authenticates(&site, at(400), &[text("sms")]));
    let capped = [("event", "not-sent"), ("reason", "send-limit-user")];
    trail.expect("cap", &[&capped, &[("event", "refused")]]);

    // What the policy lets pass.
    let exempt = "[[exempt]]\nuser = \"games\"\nreason = \"ticket 9\"\nuntil = 2100-01-01\n";
    site.write_policy(&format!("{policy}{exempt}"));
    assert!(login(&site, site.plan("games"), &[]));
    trail.expect("exempt", &[&[("event", "accepted"), ("method", "exempt"), ("reason", "ticket 9")]]);
    let key_alone = site.run(&site.plan("games").call("account")).done();
    assert_eq!(key_alone.code("account"), SUCCESS);
    trail.expect("exempt key", &[&[("event", "accepted"), ("phase", "account"), ("method", "exempt")]]);
    site.write_policy(&amended(&policy, "enforce", "off"));
    assert!(login(&site, at(500), &[]));
    trail.expect("off", &[&by("off")]);
    site.write_policy(&amended(&policy, "enforce", "observe"));
    assert!(login(&site, site.plan("t000001"), &[]));
    trail.expect("observe", &[&[("event", "would-refuse"), ("reason", "not-enrolled")]]);
    let grace = "[rollout]\ngrace_days = 1\nenroll_at_login = false\n";
    site.write_policy(&format!("{policy}{grace}"));
    assert!(login(&site, site.plan("t000002"), &[]));
    let until = [("event", "accepted"), ("method", "none"), ("grace-until", "20*")];
    trail.expect("grace", &[&until]);

    let numbers = vec![PHONE.to_owned(), "600000123".into()];
    let codes = site.messages().iter().map(twofa_tests::driver::post::Message::code).collect();
    let secrets = [codes, codes_of(&site, &alice), alice.recovery, vec![alice.secret], numbers].concat();
    expect_no_secret(&lines(&site), &site.logged(), &secrets);
    let verified = site.admin_ok(&["audit", "verify"], "");
    assert!(verified.contains("none changed and none missing"), "{verified}");
}

#[test]
fn trusted_devices_and_security_keys_leave_their_lines() {
    let site = Site::new();
    let trust = "[trust]\nduration = \"1 day\"\noffer = \"always\"\n";
    site.write_policy(&format!("{}{trust}", site.policy()));
    let root = site.enroll("root");
    let mut trail = Trail::of(&site);
    assert!(login(&site, site.plan_from("root", CLIENT), &[app(&root)]));
    let until = rfc3339(site.time + DAY);
    let trusted = [("event", "device-trusted"), ("network", CLIENT), ("until", until.as_str())];
    // The order of the two is of no concern.
    let mut new = lines(&site).split_off(trail.seen);
    new.sort_by_key(|line| field(line, "event").to_owned());
    trail.seen += 2;
    assert_eq!(
        new.iter().map(|line| field(line, "event")).collect::<Vec<_>>(),
        ["accepted", "device-trusted"]
    );
    assert!(trusted.iter().all(|(name, value)| field(&new[1], name) == *value), "{new:#?}");
    assert!(login(&site, site.plan_from("root", CLIENT), &[]));
    let by = [("event", "accepted"), ("method", "trusted-device"), ("until", until.as_str())];
    trail.expect("trusted", &[&by]);
}

/// What an administrator does: the event, the user, what of it, and who it was.
#[test]
fn every_change_of_an_administrators_leaves_one_line() {
    let site = Site::sending(&["app", "sms"]);
    let mut trail = Trail::of(&site);
    let secret = code::secret(4711);
    let list = site.path("users.csv");
    site::write(&list, 0o600, b"user,phone,email\nt000009,+48600000789,\n");
    let list = list.to_str().unwrap();
    let mut shown = Vec::new();
    let one = |event: &'static str, user: &'static str, what: &'static str| (event, user, what);
    type Change<'a> = (&'a [&'a str], &'a str, (&'a str, &'a str, &'a str));
    let input = format!("{secret}\n");
    let table: &[Change<'_>] = &[
        (
            &["enroll", "app", "t000001", "--label", "tablet", "--secret-stdin"],
            &input,
            one("enrolled", "t000001", "app tablet*"),
        ),
        (&["user", "add", "t000002", "--phone", PHONE], "", one("user-added", "t000002", "*")),
        (&["user", "set", "t000002", "--phone", "+48600000456"], "", one("contact-changed", "t000002", "*")),
        (&["recovery", "new", "t000001"], "saved\n", one("recovery-codes-made", "t000001", "*")),
        (&["user", "unlock", "t000001"], "", one("user-unlocked", "t000001", "*")),
        (
            &["user", "bypass", "t000001", "--for", "1h", "--reason", "ticket 9"],
            "",
            one("bypass-opened", "t000001", "until 20*"),
        ),
        (&["user", "bypass", "t000001", "--revoke"], "", one("bypass-closed", "t000001", "*")),
        (&["trust", "revoke", "t000001"], "", one("trust-revoked", "t000001", "*")),
        (&["trust", "revoke", "--all", "--yes"], "", one("trust-revoked", "*", "*")),
        (&["user", "forget", "t000001", "tablet", "--yes"], "", one("factor-removed", "t000001", "tablet")),
        (&["user", "reset", "t000001", "--yes"], "", one("user-reset", "t000001", "*")),
        (&["user", "remove", "t000001", "--yes"], "", one("user-removed", "t000001", "*")),
        (&["user", "import", list, "--yes"], "", one("user-added", "t000009", "*")),
        (&["user", "export"], "", one("users-exported", "", "*")),
        (
            &["exempt", "add", "--user", "root", "--reason", "ticket 8", "--until", "2100-01-01"],
            "",
            one("exempted", "root", "user until 2100-01-0*"),
        ),
        (&["exempt", "remove", "--user", "root", "--yes"], "", one("exemption-removed", "root", "user")),
        (
            &["policy", "set", "limits.failures=4", "--force"],
            "",
            one("policy-changed", "*", "limits.failures=4"),
        ),
        (&["policy", "disable", "--yes"], "", one("policy-changed", "*", "mode=off")),
    ];
    let sudo: [OsString; 2] = ["env".into(), "SUDO_USER=carol".into()];
    for (arguments, input, (event, user, what)) in table {
        let output = site.admin_with(arguments, input, &sudo);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        shown.push(String::from_utf8(output.stdout).unwrap());
        let by = [("by", "carol"), ("service", "twofa-admin"), ("phase", "admin")];
        let fields = [("event", *event), ("user", *user), ("what", *what)];
        trail.expect(&arguments.join(" "), &[&[&fields[..], &by].concat()]);
    }
    // Of all users, which above is any.
    for everybody in ["trust-revoked", "policy-changed"] {
        let of_all = |line: &String| field(line, "event") == everybody && field(line, "user") == "*";
        assert!(lines(&site).iter().any(of_all), "{everybody}");
    }
    // A report, and what was refused, is none.
    let untouched: &[&[&str]] = &[
        &["status"],
        &["user", "list"],
        &["policy", "check"],
        &["audit"],
        &["explain", "--user", "root"],
        &["metrics"],
        &["user", "unlock", "x000001"],
        &["policy", "set", "limits.failures=400"],
        &["user", "remove", "t000002"],
    ];
    for arguments in untouched {
        let _ = site.admin(arguments, "");
        trail.expect(&arguments.join(" "), &[]);
    }
    let printed = shown.concat();
    let codes = recovery_codes(&printed);
    assert!(codes.len() >= 20, "{printed}");
    let numbers = ["+48600000123", "600000123", "600000456", "600000789"].map(str::to_owned).to_vec();
    expect_no_secret(&lines(&site), &site.logged(), &[codes, vec![secret], numbers].concat());
}

/// `init` chooses it, and is stopped behind that.
#[test]
fn the_first_method_that_is_chosen_leaves_its_line() {
    let site = Site::empty();
    site.write_policy(&amended(&site.policy(), "enforce", "off"));
    let mut trail = Trail::of(&site);
    let _ = site.admin(&["init"], "4\n");
    let what = ("what", "methods=[\\");
    trail.expect("key", &[&[("event", "policy-changed"), ("user", "*"), what]]);
}

/// A message costs money, and says something to somebody: also one that an administrator sends.
#[test]
fn what_an_administrator_sends_leaves_its_line() {
    let site = Site::sending(&["app", "sms"]);
    let mut trail = Trail::of(&site);
    let shown = site.admin_ok(&["test", "sms", "--to", PHONE], "");
    let test = format!("test message by sms to {MASKED}");
    let by = [("user", "root"), ("service", "twofa-admin"), ("by", "root")];
    trail.expect("test", &[&[&by[..], &[("event", "sent"), ("what", test.as_str())]].concat()]);
    site.write_short_hook("exit 75");
    assert!(!site.admin(&["enroll", "phone", "games", PHONE], "").status.success());
    let enroll = format!("enroll message by sms to {MASKED}");
    trail.expect("enroll", &[&[("event", "not-sent"), ("user", "games"), ("what", enroll.as_str())]]);
    site.log.expect("not-sent games what=\"enroll message by sms to");
    let codes = site.messages().iter().map(twofa_tests::driver::post::Message::code).collect::<Vec<_>>();
    assert!(shown.contains(&codes[0]), "{shown}");
    expect_no_secret(
        &lines(&site),
        &site.logged(),
        &[codes, vec![PHONE.into(), "600000123".into()]].concat(),
    );
}

/// Of all users; of some it is done when one cannot be reached.
#[test]
fn trust_that_is_ended_for_some_users_leaves_its_line() {
    let site = Site::new();
    site.write_policy(&format!("{}[trust]\nduration = \"1 day\"\noffer = \"always\"\n", site.policy()));
    for user in ["root", "games"] {
        let factor = site.enroll(user);
        assert!(login(&site, site.plan_from(user, CLIENT).at(clock::real()), &[app(&factor)]));
    }
    let mut trail = Trail::of(&site);
    // Who comes behind root.
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let uid = users.lines().find_map(|line| line.strip_prefix("games:")?.split(':').nth(1)).unwrap();
    let held = File::open(site.path("state").join(uid)).unwrap();
    held.lock().unwrap();
    assert!(!site.admin(&["trust", "revoke", "--all", "--yes"], "").status.success());
    trail.expect("one of two", &[&[("event", "trust-revoked"), ("user", "*"), ("what", "1 devices")]]);
    held.unlock().unwrap();
    site.admin_ok(&["trust", "revoke", "--all", "--yes"], "");
    trail.expect("the other", &[&[("event", "trust-revoked"), ("user", "*"), ("what", "1 devices")]]);
}

/// Who closes the pipe early has read it all the same.
#[test]
fn an_export_that_is_cut_off_is_told_of() {
    let site = Site::new();
    site.enroll("root");
    let mut trail = Trail::of(&site);
    let cut_off: [OsString; 4] = ["sh".into(), "-c".into(), "exec \"$@\" >/dev/full".into(), "sh".into()];
    assert!(!site.admin_with(&["user", "export"], "", &cut_off).status.success());
    trail.expect("export", &[&[("event", "users-exported"), ("what", "1 user")]]);
}

/// The code of a bypass is a way in like others: it is in no line, and its use is.
#[test]
fn a_bypass_is_told_of_when_it_is_opened_and_when_it_is_used() {
    let site = Site::new();
    site.enroll("root");
    let mut trail = Trail::of(&site);
    let opened = site.admin_ok(&["user", "bypass", "root", "--for", "1h", "--reason", "ticket 9"], "");
    let [code] = &recovery_codes(&opened)[..] else { panic!("{opened}") };
    trail.expect("opened", &[&[("event", "bypass-opened"), ("user", "root")]]);
    assert!(login(&site, site.plan("root").at(clock::real()), &[text(code)]));
    trail.expect("used", &[&[("event", "accepted"), ("method", "bypass"), ("reason", "ticket 9")]]);
    expect_no_secret(&lines(&site), &site.logged(), std::slice::from_ref(code));
}

/// With real sshd and su, and a set-up in the login.
#[test]
fn a_session_and_a_set_up_in_the_login_leave_their_lines() {
    let loginuid = "session required pam_loginuid.so";
    let policy = format!("{POLICY}[trust]\nsession_services = [\"su\"]\n[rollout]\ngrace_days = 14\n");
    let world = World::new()
        .user("alice", "pw-alice")
        .password("root", "pw-root")
        .policy(&policy)
        .stack("sshd", &format!("{PASSWORD_AND_CODE}\n{loginuid}"))
        .stack("su", PASSWORD_AND_CODE)
        .start_sshd("");
    world.enroll("root");
    let folder = world.path("/var/lib/twofa/audit");
    let before = lines_in(&folder).len();
    let mut ssh = world.ssh("alice").option("NumberOfPasswordPrompts=1").spawn("echo LOGGED-IN");
    ssh.answer(PASSWORD_PROMPT, "pw-alice");
    ssh.expect("Or type it in:  ");
    let mut app = App::new(&ssh.expect("\n"));
    ssh.answer("Enter for later): ", &app.code());
    let codes = recovery_codes(&ssh.answer("saved the recovery codes: ", "saved"));
    ssh.expect("LOGGED-IN\n");
    let mut shell = world.ssh("alice").shell();
    shell.answer(PASSWORD_PROMPT, "pw-alice");
    shell.answer(CODE_PROMPT, &app.code());
    shell.answer("$ ", "su root -c 'echo IN'");
    shell.answer(PASSWORD_PROMPT, "pw-root");
    shell.expect("\nIN\n");
    let new = lines_in(&folder).split_off(before);
    let events: Vec<_> =
        new.iter().map(|line| ["event", "user", "method"].map(|name| field(line, name))).collect();
    assert_eq!(
        events,
        [
            ["accepted", "alice", "none"],
            ["enrolled", "alice", ""],
            ["accepted", "alice", "app"],
            ["accepted", "root", "session"]
        ],
        "{new:#?}"
    );
    assert!(field(&new[1], "what").starts_with("app="), "{}", new[1]);
    assert_eq!(codes.len(), 10);
    let typed = vec![app.last(), secret_of("root")];
    expect_no_secret(&new, &world.log.lines(), &[codes, typed].concat());
}

#[test]
fn nothing_is_written_of_a_service_that_the_policy_does_not_list() {
    let site = Site::new();
    site.enroll("root");
    fs::remove_dir_all(site.path("audit")).unwrap();
    let lines = fs::read_to_string(site.path("pam.d").join(SERVICE)).unwrap();
    site.write_service(
        "cron",
        &format!("{lines}auth required pam_permit.so\naccount required pam_permit.so\n"),
    );
    assert!(login(&site, site.plan("root").with("service", "cron"), &[]));
    assert!(!site.path("audit").exists());
    let logged = site.logged();
    assert!(logged.iter().all(|line| !line.contains("cron")), "{logged:?}");
}

// Whether it is whole

#[test]
fn twenty_logins_at_once_make_one_whole_trail() {
    let site = Site::new();
    let users: Vec<String> = (0..20).map(|number| format!("t{number:06}")).collect();
    let factors: Vec<Factor> = users.iter().map(|user| site.enroll(user)).collect();
    let before = lines(&site).len();
    thread::scope(|scope| {
        for (user, factor) in users.iter().zip(&factors) {
            let site = &site;
            scope.spawn(move || assert_eq!(site.login(user, &factor.secret, 0), SUCCESS, "{user}"));
        }
    });
    let new = lines(&site).split_off(before);
    let lost = site.logged().iter().filter(|line| line.contains("is lost")).count();
    assert_eq!(new.len() + lost, 20, "{new:#?}");
    let report = site.admin_ok(&["audit", "verify", "--json"], "");
    assert!(report.contains("\"whole\": true") && report.contains("\"torn\": 0"), "{report}");
}

#[test]
fn a_line_that_was_changed_or_taken_out_is_found() {
    let site = Site::new();
    let factor = site.enroll("root");
    for step in 0..3 {
        assert_eq!(site.login("root", &factor.secret, step), SUCCESS);
    }
    let whole = site.admin(&["audit", "verify"], "");
    assert_eq!(whole.status.code(), Some(0), "{whole:?}");
    let [file] = &files(&site)[..] else { panic!("one month") };
    let text = fs::read_to_string(file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let count = lines.len();
    let without = |place: usize| {
        let mut lines = lines.clone();
        lines.remove(place);
        lines.join("\n") + "\n"
    };
    let table = [
        ("changed", text.replacen("\"app\"", "\"sms\"", 1), "was changed"),
        ("the second", without(1), "line 2 is missing"),
        ("the last", without(count - 1), "is missing at the end"),
        ("the first", without(0), "does not belong here"),
        ("twice", format!("{text}{}\n", lines[1]), "does not belong here"),
    ];
    for (what, changed, found) in table {
        assert_ne!(changed, text, "{what}");
        fs::write(file, changed).unwrap();
        let output = site.admin(&["audit", "verify"], "");
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(3), "{what}: {said}");
        assert!(said.contains("NOT WHOLE") && said.contains(found), "{what}: {said}");
        let report = site.admin(&["audit", "verify", "--json"], "");
        assert!(String::from_utf8(report.stdout).unwrap().contains("\"whole\": false"), "{what}");
    }
    fs::write(file, &text).unwrap();
    assert_eq!(site.admin(&["audit", "verify"], "").status.code(), Some(0));
    fs::remove_file(file).unwrap();
    assert_eq!(site.admin(&["audit", "verify"], "").status.code(), Some(3));
    // Trails go on after that, and it stays found out.
    assert_eq!(site.login("root", &factor.secret, 9), SUCCESS);
    assert_eq!(site.admin(&["audit", "verify"], "").status.code(), Some(3));
}

/// The files of a trail.
fn files(site: &Site) -> Vec<PathBuf> {
    let entries = fs::read_dir(site.path("audit")).unwrap().flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|end| end == "jsonl")).collect()
}

/// Months go when they are too old, and only then; a clock that was set back is no alarm.
#[test]
fn months_that_are_too_old_go_and_the_rest_is_whole() {
    let site = Site::new();
    let factor = site.enroll("root");
    let policy = format!("{}[audit]\nkeep = \"30d\"\n", site.policy());
    site.write_policy(&policy);
    let steps = |days: i64| days * DAY / code::STEP;
    for days in [0, 35, 70, 105] {
        assert_eq!(site.login("root", &factor.secret, steps(days)), SUCCESS, "{days}");
    }
    let mut left: Vec<_> = files(&site);
    left.sort();
    let oldest = date(site.time + 75 * DAY);
    let oldest = &oldest[..7];
    assert!(left.iter().all(|path| path.file_stem().unwrap().to_str().unwrap() >= oldest), "{left:?}");
    assert!(!left.is_empty());
    assert_eq!(site.admin(&["audit", "verify"], "").status.code(), Some(0));
    // An administrator's change, by the clock of today.
    site.admin_ok(&["user", "unlock", "root"], "");
    assert_eq!(site.admin(&["audit", "verify"], "").status.code(), Some(0));
}

// How it is read

/// twofa-admin at a second.
fn admin_at(site: &Site, second: i64, arguments: &[&str]) -> String {
    let clock: [OsString; 2] = ["env".into(), format!("TWOFA_TEST_CLOCK=@{second}").into()];
    let output = site.admin_with(arguments, "", &clock);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn who_looks_finds_what_is_looked_for() {
    let site = Site::new();
    let factors = ["root", "games"].map(|user| site.enroll(user));
    // Noon, so that a day before and after are days of their own.
    let noon = site.time - site.time.rem_euclid(DAY) + 5 * DAY + DAY / 2;
    let at = |user: &str, second: i64| site.plan(user).at(noon + second);
    assert!(login(&site, at("root", 0), &[app(&factors[0])]));
    assert!(login(&site, at("games", 3600), &[app(&factors[1])]));
    assert!(!authenticates(&site, at("root", DAY), &[]));
    assert!(login(&site, at("root", DAY + 60), &[app(&factors[0])]));
    let now = noon + DAY + 120;
    let (day, next) = (date(noon), date(noon + DAY));
    let moment = rfc3339(noon + 3600);
    let count = |filter: &[&str]| {
        let lines = admin_at(&site, now, &[&["audit", "export"], filter].concat());
        let json = admin_at(&site, now, &[&["audit", "--json"], filter].concat());
        assert_eq!(json.matches("\"event\"").count(), lines.lines().count(), "{filter:?}");
        lines.lines().count()
    };
    let all = lines(&site).len();
    let table: &[(&[&str], usize)] = &[
        (&[], all),
        (&["--since", "2h"], 2),
        (&["--since", "26h"], 4),
        (&["--since", &day], 4),
        (&["--since", &next], 2),
        (&["--since", &day, "--until", &day], 2),
        (&["--since", &moment], 3),
        (&["--since", &moment[..16], "--until", &moment[..16]], 1),
        (&["--since", &day, "--until", &moment], 2),
        (&["--until", &next], all),
        (&["--user", "games", "--since", &day], 1),
        (&["--user", "nobody"], 0),
        (&["--event", "refused"], 1),
        (&["--event", "enrolled"], 2),
        (&["--user", "root", "--event", "accepted"], 2),
        (&["--last", "1"], 1),
        (&["--last", "3"], 3),
        (&["--user", "root", "--event", "accepted", "--last", "1"], 1),
        (&["--last", "0"], 0),
    ];
    for (filter, expected) in table {
        assert_eq!(count(filter), *expected, "{filter:?}");
    }
    let last = admin_at(&site, now, &["audit", "export", "--last", "1"]);
    assert_eq!(last.trim_end(), lines(&site).last().unwrap());
    let exported = admin_at(&site, now, &["audit", "export"]);
    assert_eq!(exported, lines(&site).join("\n") + "\n", "as they are kept");

    let shown = admin_at(&site, now, &["audit", "--since", &day]);
    let [header, rows @ ..] = &shown.lines().collect::<Vec<_>>()[..] else { panic!("{shown}") };
    assert!(header.starts_with("TIME  ") && rows.len() == 4, "{shown}");
    assert!(rows[0].contains("accepted  root") && rows[0].contains("method=app"), "{shown}");
    assert_eq!(admin_at(&site, now, &["audit", "--user", "nobody"]), "Nothing of that kind happened.\n");
    for wrong in ["yesterday", "2026-13", "2026-1-1", "", "12", "2026-11-22 08:30"] {
        let output = site.admin(&["audit", "--since", wrong], "");
        assert_eq!(output.status.code(), Some(2), "{wrong}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("is no time"), "{wrong}: {output:?}");
    }
}

/// A day of the table is a day of `--since`: in the zone of who looks, unless it says another one.
#[test]
fn days_and_times_are_of_the_zone_that_the_table_shows() {
    let site = Site::new();
    let factor = site.enroll("root");
    let midnight = site.time - site.time.rem_euclid(DAY) + 5 * DAY;
    let second = midnight + 22 * 3600 + 30 * 60;
    assert!(login(&site, site.plan("root").at(second), &[app(&factor)]));
    // Two hours east of Greenwich it is the next day.
    let zone: [OsString; 2] = ["env".into(), "TZ=XXX-2".into()];
    let look = |filter: &[&str]| {
        let filter = [&["audit", "--event", "accepted"], filter].concat();
        let output = site.admin_with(&filter, "", &zone);
        assert!(output.status.success(), "{filter:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let (utc, here) = (date(midnight), date(midnight + DAY));
    let shown = look(&[]);
    assert!(shown.contains(&format!("{here} 00:30 XXX")), "{shown}");
    let minute = format!("{here}T00:30");
    let [last, next] = ["00:29", "00:31"].map(|time| format!("{here}T{time}"));
    let utc_minute = &rfc3339(second)[..16];
    let [zulu, west] = [format!("{utc_minute}Z"), format!("{utc}T19:30-03:00")];
    let table: &[(&[&str], bool)] = &[
        (&["--since", &here, "--until", &here], true),
        (&["--until", &utc], false),
        (&["--since", &minute, "--until", &minute], true),
        (&["--since", &next], false),
        (&["--until", &last], false),
        (&["--since", &zulu, "--until", &zulu], true),
        (&["--since", &west, "--until", &west], true),
        (&["--until", utc_minute], false),
        (&["--since", &format!("{utc}Z"), "--until", &format!("{utc}Z")], true),
    ];
    for (filter, is_shown) in table {
        assert_eq!(look(filter) == shown, *is_shown, "{filter:?}");
    }
}

/// What somebody typed as a name moves no terminal, wherever it is read.
#[test]
fn a_name_from_outside_stays_text() {
    let site = Site::new();
    let name = "x\u{1b}[2J\n{\"n\":1}\u{202e}\"";
    let plan = Plan::new(&site.path("pam.d"), SERVICE).at(site.time).with("user", name);
    assert!(!authenticates(&site, plan, &[text("000000"), text("000000"), text("000000")]));
    let new = lines(&site);
    let of_name = |line: &&String| field(line, "event") == "refused";
    assert_eq!(new.iter().filter(of_name).count(), 1, "{new:#?}");
    assert!(new.iter().all(|line| line.chars().all(|c| (' '..='~').contains(&c))), "{new:#?}");
    for arguments in [&["audit"][..], &["audit", "--json"], &["audit", "export"]] {
        let shown = site.admin_ok(arguments, "");
        let calm = |c: char| c == '\n' || !c.is_control() && c != '\u{202e}';
        assert!(shown.chars().all(calm), "{arguments:?}: {shown:?}");
    }
    assert_eq!(site.admin_ok(&["audit", "--user", name, "--json"], "").matches("\"event\"").count(), 1);
    assert_eq!(site.admin(&["audit", "verify"], "").status.code(), Some(0));
    // Nor does a line that somebody else has put there.
    let [file] = &files(&site)[..] else { panic!("one month") };
    for hostile in ["\"user\":\"\u{9b}2J\u{202e}\"", "\r\"user\":\"x\""] {
        let line =
            format!("{}{{\"time\":\"2026-11-22T08:31:05Z\",{hostile}}}\n", fs::read_to_string(file).unwrap());
        fs::write(file, line).unwrap();
    }
    let exported = site.admin_ok(&["audit", "export"], "");
    assert!(exported.chars().all(|c| c == '\n' || (' '..='~').contains(&c)), "{exported:?}");
    assert_eq!(exported.lines().count(), new.len());
}

// What it does to logins: nothing

#[test]
fn on_a_full_disk_lines_are_lost_and_logins_go_on() {
    let world = World::new();
    world.run(&["mkdir", "-pm", "700", "/var/lib/twofa"]).ok();
    world.run(&["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", "/var/lib/twofa"]).ok();
    let world = world.user("alice", "pw-alice").policy(POLICY).stack("sshd", PASSWORD_AND_CODE).with_clocks();
    world.enroll("alice");
    let folder = world.path("/var/lib/twofa/audit");
    // So little is left of the file's last page that no whole line has room in it.
    let left = || 4096 - lines_in(&folder).iter().map(|line| line.len() + 1).sum::<usize>() % 4096;
    while left() > 180 {
        world.admin(&["user", "unlock", "alice"]).ok();
    }
    let before = lines_in(&folder).len();
    let filled = world.run(&["dd", "if=/dev/zero", "of=/var/lib/twofa/filler", "bs=4k"]);
    assert!(filled.stderr.contains("No space left on device"), "{filled:?}");
    let now = clock::real() / 60 * 60 + 120;
    for minute in 0..3 {
        let second = now + minute * 60;
        let seen = world.at(second).login("alice", &[code_at(&secret_of("alice"), second)]);
        assert!(seen.is_in, "{seen:?}");
    }
    let alert = world.log.expect("audit: accepted of alice is lost: ");
    // authpriv.alert
    assert!(alert.starts_with("<81>"), "{alert}");
    assert!(alert.contains("No space left on device"), "{alert}");
    assert_eq!(world.admin(&["audit", "verify"]).code, Some(0));
    world.run(&["rm", "/var/lib/twofa/filler"]).ok();
    let second = now + 600;
    assert!(world.at(second).login("alice", &[code_at(&secret_of("alice"), second)]).is_in);
    let verified = world.admin(&["audit", "verify", "--json"]).ok();
    assert!(verified.contains("\"whole\": true"), "{verified}");
    let whole = lines_in(&folder).iter().filter(|line| line.ends_with("\"}")).count();
    assert_eq!(whole, before + 1, "{:#?}", lines_in(&folder));
}

type Spoil = fn(&Path, &Path);

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// The folder and the newest file, out of order in each way. With each, whether the line is lost.
#[test]
fn a_trail_that_is_out_of_order_stops_no_login() {
    let table: &[(&str, bool, Spoil)] = &[
        ("no folder", false, |folder, _| fs::remove_dir_all(folder).unwrap()),
        ("no head", false, |folder, _| fs::remove_file(folder.join("head")).unwrap()),
        ("no file", false, |_, file| fs::remove_file(file).unwrap()),
        ("an empty head", false, |folder, _| fs::write(folder.join("head"), "").unwrap()),
        ("a head of noise", false, |folder, _| fs::write(folder.join("head"), "x".repeat(5000)).unwrap()),
        ("a folder that is a file", true, |folder, _| {
            fs::remove_dir_all(folder).unwrap();
            fs::write(folder, "").unwrap();
        }),
        ("a folder of somebody else's", true, |folder, _| chown(folder, Some(1), Some(1)).unwrap()),
        ("a folder for everybody", true, |folder, _| mode(folder, 0o777)),
        ("a folder that leads elsewhere", true, |folder, _| {
            fs::rename(folder, folder.with_file_name("elsewhere")).unwrap();
            mode(&folder.with_file_name("elsewhere"), 0o777);
            symlink("elsewhere", folder).unwrap();
        }),
        ("a head of somebody else's", true, |folder, _| chown(folder.join("head"), Some(1), None).unwrap()),
        ("a head for everybody", true, |folder, _| mode(&folder.join("head"), 0o666)),
        ("a head that is a pipe", true, |folder, _| {
            fs::remove_file(folder.join("head")).unwrap();
            fifo(&folder.join("head"));
        }),
        ("a head that is a link", true, |folder, _| {
            fs::remove_file(folder.join("head")).unwrap();
            symlink("/etc/passwd", folder.join("head")).unwrap();
        }),
        ("a head that is a folder", true, |folder, _| {
            fs::remove_file(folder.join("head")).unwrap();
            fs::create_dir(folder.join("head")).unwrap();
        }),
        ("a file of somebody else's", true, |_, file| chown(file, Some(1), None).unwrap()),
        ("a file for everybody", true, |_, file| mode(file, 0o666)),
        ("a file that is a pipe", true, |_, file| {
            fs::remove_file(file).unwrap();
            fifo(file);
        }),
        ("a file that is a link", true, |_, file| {
            fs::remove_file(file).unwrap();
            symlink("/etc/passwd", file).unwrap();
        }),
        ("a file that is a folder", true, |_, file| {
            fs::remove_file(file).unwrap();
            fs::create_dir(file).unwrap();
        }),
    ];
    let passwd = fs::read("/etc/passwd").unwrap();
    for (what, is_lost, spoil) in table {
        let site = Site::new();
        let factor = site.enroll("root");
        let [file] = &files(&site)[..] else { panic!("one month") };
        spoil(&site.path("audit"), file);
        assert_eq!(site.login("root", &factor.secret, 0), SUCCESS, "{what}");
        let logged = site.logged();
        let alert = logged.iter().find(|line| line.contains("audit: accepted of root is lost: "));
        assert_eq!(alert.is_some(), *is_lost, "{what}: {logged:?}");
        assert!(alert.is_none_or(|line| line.starts_with("<81>")), "{what}: {alert:?}");
        assert!(logged.iter().any(|line| line.contains("accepted app for root")), "{what}");
        // An administrator is not kept from anything either, nor waits for a pipe.
        site.admin_ok(&["user", "unlock", "root"], "");
        let verify = site.admin(&["audit", "verify"], "").status.code();
        assert!(verify.is_some_and(|code| [0, 1, 3].contains(&code)), "{what}");
    }
    assert_eq!(fs::read("/etc/passwd").unwrap(), passwd);
}

/// Whoever may call su can stop it at any time.
#[test]
fn a_process_that_holds_the_trail_costs_a_login_a_moment() {
    let site = Site::new();
    let factor = site.enroll("root");
    let time = |step: i64| {
        let began = Instant::now();
        assert_eq!(site.login("root", &factor.secret, step), SUCCESS);
        began.elapsed()
    };
    let usual = time(0);
    let before = lines(&site).len();
    let held = File::open(site.path("audit/head")).unwrap();
    held.lock().unwrap();
    let waited = time(1);
    assert!(waited < usual + Duration::from_millis(700), "{waited:?} after {usual:?}");
    let logged = site.logged();
    let alert = logged.iter().find(|line| line.contains("audit: accepted of root is lost: "));
    assert!(alert.is_some_and(|line| line.starts_with("<81>")), "{logged:?}");
    assert_eq!(lines(&site).len(), before);
    held.unlock().unwrap();
    time(2);
    assert_eq!(lines(&site).len(), before + 1);
    assert_eq!(site.admin(&["audit", "verify"], "").status.code(), Some(0));
}

/// The calls of a login that name the trail. The first login ever makes it, too.
#[test]
fn a_login_waits_for_no_disk_because_of_the_trail() {
    let site = Site::new();
    let factor = site.enroll("root");
    for (step, is_first) in [(0, false), (1, true)] {
        if is_first {
            fs::remove_dir_all(site.path("audit")).unwrap();
        }
        let report = site.path("strace");
        let words = [
            "strace",
            "-qq",
            "-f",
            "-y",
            "-e",
            "trace=/.*sync.*,openat,open,mkdir,mkdirat,pwrite64,write",
            "-o",
        ];
        let mut tool: Vec<OsString> = words.map(Into::into).into();
        tool.push(report.clone().into());
        let plan = site.plan("root").at(site.time + step * code::STEP).say_code(&factor.secret, 0);
        let seen = site.run_with(&plan.authenticate(), &tool, &[]).done();
        assert_eq!(seen.code("authenticate"), SUCCESS);
        let calls = fs::read_to_string(&report).unwrap();
        let of_trail: Vec<&str> = calls.lines().filter(|line| line.contains("/audit")).collect();
        assert!(of_trail.iter().any(|line| line.contains("write(")), "{calls}");
        let waits = |line: &&str| line.contains("sync(") || line.contains("SYNC");
        assert_eq!(of_trail.iter().find(|line| waits(line)), None, "{of_trail:#?}");
        // The one that marks the code as used.
        let synced: Vec<&str> = calls.lines().filter(|line| line.contains("sync(")).collect();
        assert_eq!(synced.len(), 1, "{synced:?}");
        assert!(synced[0].contains("/state/0"), "{synced:?}");
    }
}

/// su's caller may have set it, and the kernel kills whoever writes beyond it.
#[test]
fn a_limit_on_files_costs_the_line_and_no_process() {
    let site = Site::new();
    site.enroll("root");
    let refused = |limit: &str| {
        let plan = site.plan("root").with("limit", limit).answer(&Answer::Null).authenticate();
        let run = site.run(&plan);
        assert!(run.status.success(), "{limit}: {run:?}");
    };
    let before = lines(&site);
    refused("fsize=10");
    fs::remove_dir_all(site.path("audit")).unwrap();
    refused("fsize=10");
    assert!(lines(&site).is_empty() && !before.is_empty());
    site.log.expect_times("audit: refused of root is lost: ", 2);
}
