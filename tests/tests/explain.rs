//! `explain` says beforehand what a login then does, and does nothing itself.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken test says so and stops"
)]

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Output;

use sha2::{Digest, Sha256};
use twofa_tests::calendar::{DAY, date};
use twofa_tests::driver::code;
use twofa_tests::driver::pam::Answer;
use twofa_tests::driver::plan::Plan;
use twofa_tests::driver::site::{self, Factor, SERVICE, Site};
use twofa_tests::driver::transcript::Transcript;
use twofa_tests::setup::POLICY;
use twofa_tests::world::World;

const SUCCESS: i32 = 0;
const CLIENT: &str = "203.0.113.5";
const OFFICE: &str = "198.51.100.7";
const SK: &str = "sk-ssh-ed25519@openssh.com";

/// What is to be explained, and the login that it is about.
struct Case {
    site: Site,
    user: String,
    service: &'static str,
    rhost: Option<&'static str>,
    /// The kind and the blob of the SSH key that is used.
    key: Option<(&'static str, Vec<u8>)>,
    tty: Option<&'static str>,
    /// What would be a right answer, if there is one.
    answer: Option<Answer>,
    /// A uid that is another one by now.
    uid: Option<&'static str>,
}

impl Case {
    /// Over SSH, without a key, as this user.
    fn of(site: Site, user: &str) -> Self {
        let rhost = Some(CLIENT);
        Self {
            site,
            user: user.into(),
            service: "sshd",
            rhost,
            key: None,
            tty: None,
            answer: None,
            uid: None,
        }
    }

    fn from(mut self, address: &'static str) -> Self {
        self.rhost = Some(address);
        self
    }

    fn at_console(mut self) -> Self {
        (self.service, self.rhost, self.tty) = ("login", None, Some("tty1"));
        let stack = fs::read_to_string(self.site.path("pam.d/sshd")).unwrap();
        self.site.write_service("login", &stack);
        self
    }

    fn with_key(mut self, kind: &'static str, blob: Vec<u8>) -> Self {
        self.key = Some((kind, blob));
        self
    }

    fn with_app(mut self, factor: &Factor) -> Self {
        self.answer = Some(Answer::Code(factor.secret.clone(), 0));
        self
    }

    /// By twofa-admin, at the second of the login.
    fn explain(&self, arguments: &[&str]) -> Output {
        let clock = format!("TWOFA_TEST_CLOCK=@{}", self.site.time);
        let mut tool: Vec<OsString> = vec!["env".into(), clock.into()];
        tool.extend(self.uid.map(|uid| format!("TWOFA_TEST_UID={uid}").into()));
        let fingerprint = self.key.as_ref().map(|(_, blob)| fingerprint(blob));
        let mut words = vec!["explain", "--user", &self.user, "--service", self.service];
        words.extend(self.rhost.iter().flat_map(|address| ["--rhost", address]));
        words.extend(fingerprint.iter().flat_map(|key| ["--key", key.as_str()]));
        self.site.admin_with(&[&words[..], arguments].concat(), "", &tool)
    }

    fn plan(&self) -> Plan {
        let plan = self.site.plan(&self.user).with("service", self.service);
        let plan = self.rhost.iter().fold(plan, |plan, address| {
            plan.with("env", format!("SSH_CONNECTION={address} 50000 192.0.2.1 22"))
        });
        let plan = self.tty.iter().fold(plan, |plan, tty| plan.with("set", format!("tty={tty}")));
        self.key.iter().fold(plan, |plan, (kind, blob)| {
            plan.with("env", format!("SSH_AUTH_INFO_0=publickey {kind} {}\n", base64(blob)))
        })
    }

    fn run(&self, plan: &Plan) -> Transcript {
        let uid: Vec<_> = self.uid.iter().map(|uid| ("TWOFA_TEST_UID", *uid)).collect();
        self.site.run_with(plan, &[], &uid).done()
    }

    /// What a real login comes to, in the words of `explain`.
    fn outcome(&self) -> &'static str {
        let answers = self.answer.iter().chain([&Answer::Null, &Answer::Null]);
        let seen = self.run(&answers.fold(self.plan(), Plan::answer).authenticate().call("account"));
        if !self.site.logged().iter().any(|line| line.contains(&format!("pam_twofa({}:", self.service))) {
            return "not-concerned";
        }
        let is_in = seen.code("authenticate") == SUCCESS && seen.code("account") == SUCCESS;
        match (is_in, seen.prompts().is_empty()) {
            (true, true) => "let-in",
            (true, false) => "asked",
            (false, _) => "refused",
        }
    }

    /// The same for a login without the auth phase.
    fn outcome_without_auth_phase(&self) -> bool {
        self.run(&self.plan().call("account")).code("account") == SUCCESS
    }
}

fn blob(fields: &[&[u8]]) -> Vec<u8> {
    let length = |field: &[u8]| u32::try_from(field.len()).unwrap().to_be_bytes();
    fields.iter().flat_map(|field| [&length(field), *field].concat()).collect()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |bytes: &[u8]| {
        let number = (0..3).fold(0, |number, at| number << 8 | u32::from(*bytes.get(at).unwrap_or(&0)));
        let digit = |at: usize| char::from(DIGITS[(number >> (18 - 6 * at)) as usize & 63]);
        (0..4).map(|at| if at <= bytes.len() { digit(at) } else { '=' }).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

/// As `ssh-keygen -l` prints it.
fn fingerprint(blob: &[u8]) -> String {
    format!("SHA256:{}", base64(&Sha256::digest(blob)).trim_end_matches('='))
}

fn sk_key(seed: u8) -> Vec<u8> {
    blob(&[SK.as_bytes(), &[seed; 32], b"ssh:"])
}

fn plain_key(seed: u8) -> Vec<u8> {
    blob(&[b"ssh-ed25519", &[seed; 32]])
}

/// A site with these services and a first factor, as `explain` takes for granted, and this at the policy's end.
fn site(methods: &str, more: &str) -> Site {
    let site = Site::sending(&["app"]);
    let policy =
        site.policy().replace("[\"app\"]", methods).replace("\"sshd\"", "\"sshd\", \"login\", \"su\"");
    site.write_policy(&format!("{policy}{more}"));
    site
}

fn with_app(more: &str) -> Case {
    let site = site("[\"app\"]", more);
    let factor = site.enroll("root");
    Case::of(site, "root").with_app(&factor)
}

/// One of the policy's modes instead of enforcement.
fn with_mode(case: Case, mode: &str) -> Case {
    let path = case.site.path("twofa.toml");
    let policy = fs::read_to_string(&path).unwrap();
    case.site.write_policy(&policy.replace("enforce", mode));
    case
}

/// Codes are sent by SMS, or by e-mail to one address for all.
fn sending(user: &str, methods: &[&str], replace: (&str, &str)) -> Case {
    let site = Site::sending(methods);
    site.write_policy(&site.sending_policy(methods).replace(replace.0, replace.1));
    let case = Case::of(site, user);
    Case { answer: Some(Answer::Sent(0)), ..case }
}

fn with_sk_key() -> Case {
    let site = site("[\"key\"]", "");
    let file = site.path("key.pub");
    site::write(&file, 0o600, format!("{SK} {}\n", base64(&sk_key(1))).as_bytes());
    let said = site.admin_ok(&["enroll", "ssh-key", "root", file.to_str().unwrap()], "saved\n");
    let answer = Some(Answer::Text(site::recovery_codes(&said)[0].clone().into()));
    Case { answer, ..Case::of(site, "root").with_key(SK, sk_key(1)) }
}

/// root has trusted a device, with this key if there is one.
fn trusting(key: Option<Vec<u8>>) -> Case {
    let case = with_app("[trust]\nduration = \"1 day\"\noffer = \"always\"\n");
    let case = key.into_iter().fold(case, |case, key| case.with_key("ssh-ed25519", key));
    let plan = case.plan().answer(case.answer.as_ref().unwrap());
    assert_eq!(case.run(&plan.authenticate()).code("authenticate"), SUCCESS);
    // The code is used up; one of the next step is not.
    let Some(Answer::Code(secret, _)) = &case.answer else { panic!("an app") };
    let answer = Some(Answer::Code(secret.clone(), 1));
    Case { answer, ..case }
}

/// root's app is there, and five wrong codes came from the client's address, or so many from everywhere.
fn locked(total: bool) -> Case {
    let case = with_app("").from(CLIENT);
    if total {
        let policy = fs::read_to_string(case.site.path("twofa.toml")).unwrap();
        case.site.write_policy(&policy.replace("total = 50", "total = 5"));
    }
    let Some(Answer::Code(secret, _)) = &case.answer else { panic!("an app") };
    let wrong = code::wrong(secret, case.site.time);
    for _ in 0..2 {
        let plan = (0..3).fold(case.plan(), |plan, _| plan.say(&wrong));
        assert_ne!(case.run(&plan.authenticate()).code("authenticate"), SUCCESS);
    }
    if total {
        let code = case.site.recovery("root").remove(0);
        return Case { answer: Some(Answer::Text(code.into())), ..case };
    }
    case
}

/// Everything that a login, or an administrator, changes.
fn stored(site: &Site) -> Vec<(String, Vec<u8>)> {
    fn below(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
        for path in fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()) {
            let name = path.display().to_string();
            if path.is_dir() {
                below(&path, found);
            } else if path.is_file() && !name.ends_with(".last-valid") {
                found.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    let mut found = Vec::new();
    below(&site.path(""), &mut found);
    found.sort();
    found
}

/// With the outcome, a word of what is said, and the rule.
type Situation = (&'static str, Case, &'static str, &'static str, &'static str);

fn situations() -> Vec<Situation> {
    let soon = Site::empty().time + 8 * DAY;
    let rollout = format!("[rollout]\nenforce_from = {}\nenroll_at_login = false\n", date(soon));
    let grace = "[rollout]\ngrace_days = 14\nenroll_at_login = false\n";
    let exempt = |from: &str| {
        format!(
            "[[exempt]]\nuser = \"games\"\nfrom = [\"{from}\"]\nreason = \"ticket 9\"\nuntil = 2100-01-01\n"
        )
    };
    let nobody = || site("[\"app\"]", "");
    let in_grace = || {
        let case = Case::of(site("[\"app\"]", grace), "t000001");
        assert!(case.run(&case.plan().authenticate()).code("authenticate") == SUCCESS);
        case
    };
    let after_grace = || {
        let mut case = in_grace();
        case.site.time += 15 * DAY;
        case
    };
    // t000002 has what was the uid of t000001, who began the days without a factor.
    let renamed = || {
        let case = in_grace();
        let listed = case.site.listed("t000001");
        let uid = listed.split("\"uid\": ").nth(1).unwrap().split(',').next().unwrap();
        let uid = Some(&*format!("t000002:{uid}").leak());
        Case { uid, user: "t000002".into(), ..case }
    };
    let offered = || {
        let from = format!("[rollout]\nenforce_from = {}\n[sms]", date(soon));
        sending("t000001", &["sms", "app"], ("[sms]", &from))
    };
    let without_store = || {
        let case = with_mode(with_app(""), "off");
        fs::remove_file(case.site.path("twofa.db")).unwrap();
        case
    };
    let bypassed = |enrolled: bool| {
        let site = nobody();
        if enrolled {
            site.enroll("t000001");
        } else {
            site.admin_ok(&["user", "add", "t000001"], "");
        }
        let opened = site.admin_ok(&["user", "bypass", "t000001", "--for", "1h", "--reason", "r"], "");
        let [code] = &site::recovery_codes(&opened)[..] else { panic!("{opened}") };
        Case { answer: Some(Answer::Text(code.clone().into())), ..Case::of(site, "t000001") }
    };
    let phone = |case: Case| {
        case.site.contact("root", &["--phone", "+48600000123"]);
        case
    };
    let capped = || {
        let case = phone(sending("root", &["sms"], ("[limits]\n", "[limits]\nsends_per_hour = 1\n")));
        let plan = case.plan().say_sent().authenticate();
        assert_eq!(case.run(&plan).code("authenticate"), SUCCESS);
        Case { answer: None, ..case }
    };
    let unanswered = |mut case: Case| {
        case.answer = None;
        case
    };
    let other_uid = || Case { uid: Some("root:4711"), ..with_app("") };
    let unlisted = || {
        let case = with_app("");
        let stack = fs::read_to_string(case.site.path("pam.d").join(SERVICE)).unwrap();
        let permit = "auth required pam_permit.so\naccount required pam_permit.so\n";
        case.site.write_service("cron", &format!("{stack}{permit}"));
        Case { service: "cron", rhost: None, ..case }
    };
    vec![
        ("enrolled", with_app(""), "asked", "Verification code (app):", "methods"),
        ("not enrolled", Case::of(nobody(), "t000001"), "refused", "like anybody", "no second factor"),
        ("unknown", Case::of(nobody(), "x000001"), "refused", "like anybody", "no such user"),
        ("other uid", unanswered(other_uid()), "refused", "like anybody", "earlier user"),
        ("not yet", Case::of(site("[\"app\"]", &rollout), "t000001"), "let-in", "until", "enforce_from"),
        (
            "grace to come",
            Case::of(site("[\"app\"]", grace), "t000001"),
            "let-in",
            "grace",
            "grace_days = 14",
        ),
        ("grace", in_grace(), "let-in", "until", "grace_days = 14"),
        ("grace that is over", after_grace(), "refused", "like anybody", "no second factor"),
        ("another name", renamed(), "refused", "like anybody", "earlier user"),
        ("set-up offered", unanswered(offered()), "let-in", "offered to set one up", "[rollout]"),
        ("off, without a store", without_store(), "let-in", "without", "mode = \"off\""),
        (
            "exempt here",
            Case::of(site("[\"app\"]", &exempt("203.0.113.0/24")), "games"),
            "let-in",
            "",
            "ticket 9",
        ),
        (
            "exempt as IPv6",
            Case::of(site("[\"app\"]", &exempt("203.0.113.0/24")), "games").from("::ffff:203.0.113.5"),
            "let-in",
            "",
            "ticket 9",
        ),
        (
            "exempt elsewhere",
            Case::of(site("[\"app\"]", &exempt("192.0.2.0/24")), "games"),
            "refused",
            "",
            "",
        ),
        (
            "trusted",
            trusting(None),
            "let-in",
            "203.0.113.5 is a trusted device",
            "trust.duration = \"1 day\"",
        ),
        ("trusted elsewhere", trusting(None).from(OFFICE), "asked", "app", "methods"),
        ("trusted with key", trusting(Some(plain_key(1))), "let-in", "trusted", "trust.duration"),
        (
            "trusted with another key",
            trusting(Some(plain_key(1))).with_key("ssh-ed25519", plain_key(2)),
            "asked",
            "app",
            "methods",
        ),
        ("trusted at the console", trusting(None).at_console(), "asked", "app", "methods"),
        ("sk- key", with_sk_key(), "let-in", "security key", "methods = [\"key\"]"),
        ("another sk- key", with_sk_key().with_key(SK, sk_key(2)), "asked", "recovery code", ""),
        ("sk- key at the console", with_sk_key().at_console(), "asked", "recovery code", ""),
        ("nobody's touch", Case::of(site("[\"key\"]", ""), "t000001").at_console(), "refused", "touch", ""),
        ("locked", locked(false), "refused", "refused", "locked until="),
        ("locked, elsewhere", locked(false).from(OFFICE), "asked", "app", ""),
        ("hard stop", locked(true).from(OFFICE), "asked", "recovery code", ""),
        ("bypass", bypassed(true), "asked", "app", ""),
        ("bypass alone", bypassed(false), "asked", "recovery code", ""),
        ("observe, enrolled", with_mode(with_app(""), "observe"), "asked", "app", ""),
        ("observe", with_mode(Case::of(nobody(), "t000001"), "observe"), "let-in", "would refuse", "observe"),
        ("off", with_mode(with_app(""), "off"), "let-in", "without", "mode = \"off\""),
        ("unlisted", unlisted(), "not-concerned", "not asked", "not among `services`"),
        ("console", with_app("").at_console(), "asked", "app", ""),
        ("sms", phone(sending("root", &["sms"], ("", ""))), "asked", "sent a code", ""),
        ("sms, nobody", Case { answer: None, ..sending("t000001", &["sms"], ("", "")) }, "refused", "", ""),
        ("sms, too many", capped(), "asked", "recovery code", ""),
        (
            "default address",
            sending(
                "t000001",
                &["email"],
                ("[email]\n", "[email]\ndefault_address = \"root@example.org\"\n"),
            ),
            "asked",
            "given an account",
            "email.default_address",
        ),
    ]
}

#[test]
fn what_is_said_is_what_a_login_then_does() {
    for (name, case, outcome, what, rule) in situations() {
        let stored_before = stored(&case.site);
        let logged = case.site.logged().len();
        let output = case.explain(&["--json"]);
        let json = String::from_utf8(output.stdout.clone()).unwrap();
        assert!(output.status.success(), "{name}: {output:?}");
        let plain = String::from_utf8(case.explain(&[]).stdout).unwrap();
        assert!(stored(&case.site) == stored_before, "{name}: something was stored");
        assert_eq!(case.site.logged().len(), logged, "{name}: {:?}", case.site.logged());

        assert!(json.contains(&format!("\"outcome\": \"{outcome}\"")), "{name}: {json}");
        assert!(plain.contains(what), "{name}: {plain}");
        assert!(plain.contains(rule), "{name}: {plain}");
        assert!(plain.starts_with(&format!("{} at {} is ", case.user, case.service)), "{name}: {plain}");
        let alone = json.split("\"without_auth_phase\": ").nth(1).unwrap_or_default();
        let alone = (alone.starts_with("\"let in"), alone.starts_with("\"refused"));
        if outcome != "not-concerned" {
            let is_in = case.outcome_without_auth_phase();
            assert_eq!(alone, (is_in, !is_in), "{name}: {json}");
        }
        let really = case.outcome();
        // There is no other factor to answer with.
        let expected = if name == "sms, too many" { "refused" } else { outcome };
        assert_eq!(really, expected, "{name}: {plain}");
    }
}

#[test]
fn a_login_with_a_key_only_is_told_plainly() {
    let case = with_app("");
    let plain = String::from_utf8(case.explain(&[]).stdout).unwrap();
    let line = "\nWith an SSH key only: refused, as such a login proves no second factor\n";
    assert!(plain.contains(line), "{plain}");
}

#[test]
fn a_broken_policy_is_explained_by_the_copy_in_force() {
    let case = with_app("");
    let _ = case.site.admin(&["policy", "check"], "");
    let good = fs::read_to_string(case.site.path("twofa.toml")).unwrap();
    case.site.write_policy(&format!("{good}\nnonsense"));
    let output = case.explain(&["--json"]);
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"outcome\": \"asked\""), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("the last valid copy is in force"),
        "{output:?}"
    );
    assert_eq!(case.outcome(), "asked");
}

#[test]
fn what_makes_no_sense_is_wrong_usage() {
    let site = Site::new();
    let table: &[(&[&str], i32)] = &[
        (&["--user", "root", "--key", "SHA256:short"], 2),
        (&["--user", "root", "--key", "nonsense", "--rhost", CLIENT], 2),
        (&["--user", "root", "--rhost", "office.example"], 2),
        (&["--rhost", CLIENT], 2),
        (&["--service", "login"], 2),
    ];
    for (arguments, code) in table {
        let output = site.admin(&[&["explain"], *arguments].concat(), "");
        assert_eq!(output.status.code(), Some(*code), "{arguments:?}: {output:?}");
    }
}

#[test]
fn without_a_user_it_is_a_table_of_all() {
    let exempt = "[[exempt]]\nuser = \"robot\"\nreason = \"r\"\nuntil = 2100-01-01\n";
    let users = ["alice", "bob", "carol", "robot"];
    let world = users.iter().fold(World::new(), |world, user| world.user(user, "pw"));
    let world = world.policy(&format!("{POLICY}[limits]\ntotal = 5\n{exempt}")).with_clocks();
    world.enroll("alice");
    world.enroll("bob");
    world.admin(&["user", "bypass", "bob", "--for", "1h", "--reason", "r"]).ok();
    let shown = world.admin(&["explain"]).ok();
    let row = |user: &str| {
        let line = shown.lines().find(|line| line.split_whitespace().next() == Some(user));
        let line = line.unwrap_or_else(|| panic!("no {user}: {shown}"));
        line.split_once(char::is_whitespace).unwrap().1.trim().to_owned()
    };
    assert!(shown.starts_with("USER   LOGS IN WITH\n"), "{shown}");
    assert_eq!(row("alice"), "app, 10 recovery codes");
    assert!(row("bob").starts_with("app, 10 recovery codes, BYPASS until 20"), "{shown}");
    assert_eq!(row("carol"), "NOTHING: refused");
    assert_eq!(row("robot"), "exempt");
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    assert!(shown.ends_with("The mode is enforce; what counts is `methods = [\"app\"]`.\n"), "{shown}");
    let json = world.admin(&["explain", "--json"]).ok();
    assert_eq!(json.matches("\"ways\"").count(), 1 + users.len(), "{json}");
    let world = world.policy(&POLICY.replace("enforce", "observe"));
    assert!(world.admin(&["explain"]).ok().contains("The mode is observe: nobody is refused yet;"));
}
