//! Codes that are sent: what is asked, which code is accepted, and what each word does.

use crate::{AUTH_ERR, SUCCESS, text};
use std::ops::Deref;
use std::sync::Mutex;
use std::{fs, thread};
use twofa_tests::driver::pam::{self, Answer};
use twofa_tests::driver::plan::Plan;
use twofa_tests::driver::post;
use twofa_tests::driver::site::Site;
use twofa_tests::driver::transcript::Transcript;

pub(crate) const PHONE: &str = "+48600000123";
pub(crate) const SMS: &str = "Verification code (SMS to +48 *** *** 123): ";
pub(crate) const SMS_OR_APP: &str = "Verification code (SMS to +48 *** *** 123, or type app): ";
pub(crate) const APP_OR_SMS: &str = "Verification code (app, or type sms): ";
pub(crate) const RECOVERY: &str = "Verification code (recovery code): ";
pub(crate) const RECOVERY_OR_RESEND: &str = "Verification code (recovery code, or type resend): ";

/// A site that sends. When it is closed, nothing of its log tells a code, a number or an address.
pub(crate) struct Desk {
    site: Site,
    contacts: Mutex<Vec<String>>,
}

impl Desk {
    pub(crate) fn new(methods: &[&str]) -> Self {
        Self { site: Site::sending(methods), contacts: Mutex::default() }
    }

    /// One user, root, with a telephone.
    pub(crate) fn with_phone(methods: &[&str]) -> Self {
        let desk = Self::new(methods);
        desk.phone("root", PHONE);
        desk
    }

    #[track_caller]
    pub(crate) fn phone(&self, user: &str, number: &str) {
        self.contact(user, &["--phone", number, "--shared-ok"]);
    }

    #[track_caller]
    pub(crate) fn contact(&self, user: &str, contacts: &[&str]) {
        self.site.contact(user, contacts);
        let values = contacts.iter().filter(|word| !word.starts_with("--"));
        self.contacts.lock().unwrap().extend(values.map(|word| (*word).to_owned()));
    }

    /// Puts something else into the policy.
    #[track_caller]
    pub(crate) fn amend(&self, from: &str, to: &str) {
        let path = self.path("twofa.toml");
        let policy = fs::read_to_string(&path).unwrap();
        assert!(policy.contains(from), "{from} in {policy}");
        self.write_policy(&policy.replace(from, to));
    }

    /// A login so many seconds after the site's time.
    #[track_caller]
    pub(crate) fn login(&self, user: &str, after: i64, answers: &[Answer]) -> Transcript {
        self.answer(self.plan(user).at(self.time + after), answers)
    }

    #[track_caller]
    pub(crate) fn answer(&self, plan: Plan, answers: &[Answer]) -> Transcript {
        let plan = answers.iter().fold(plan, |plan, answer| plan.answer(answer));
        self.run(&plan.authenticate()).done()
    }
}

impl Deref for Desk {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if thread::panicking() {
            return;
        }
        let lines = self.logged();
        let mut secrets = std::mem::take(&mut *self.contacts.lock().unwrap());
        secrets.extend(self.messages().iter().map(post::Message::code));
        for line in lines.iter().map(|line| without_numbers_of_its_own(line)) {
            let told = secrets.iter().find(|secret| line.contains(*secret));
            assert!(told.is_none(), "{told:?} in the log: {line}");
        }
        assert_eq!(self.processes(), [""; 0], "programs that nobody waits for");
    }
}

/// A line without the process's number and the message's: they may have a code in them by chance.
fn without_numbers_of_its_own(line: &str) -> String {
    let (_, line) = line.split_once("]: ").unwrap_or(("", line));
    let words = line.split(' ').filter(|word| !word.starts_with("id="));
    words.collect::<Vec<_>>().join(" ")
}

pub(crate) const SENT: Answer = Answer::Sent(0);

#[track_caller]
pub(crate) fn expect(seen: &Transcript, code: i32, prompts: &[&str]) {
    assert_eq!(seen.code("authenticate"), code, "{seen:?}");
    assert_eq!(seen.prompts(), prompts, "{seen:?}");
}

#[test]
fn a_code_by_sms_once() {
    let desk = Desk::with_phone(&["sms"]);
    expect(&desk.login("root", 0, &[SENT]), SUCCESS, &[SMS]);
    let line = desk.log.expect("accepted sms for root");
    assert!(line.starts_with("<86>") && line.ends_with(" to=+48******123"), "{line}");
    let line = desk.log.expect("sent sms for root");
    assert!(line.starts_with("<86>") && line.contains(" answer=\"gateway-17\""), "{line}");
    let [message] = &desk.messages()[..] else { panic!("{:?}", desk.messages()) };
    assert_eq!((message.to.as_str(), message.user.as_str(), message.kind.as_str()), (PHONE, "root", "login"));
    assert!(line.contains(&message.id), "{line}");
    // The old code is no code of the next login, whose own is.
    let seen = desk.login("root", 60, &[Answer::Sent(1), SENT]);
    expect(&seen, SUCCESS, &[SMS, SMS]);
    assert_eq!(seen.texts(), "Wrong code.");
    assert_eq!(desk.failures("root"), 0, "the typo is forgiven");
    // One handle, called twice: the second call may not send yet, and the code is used.
    let plan = desk.plan("root").at(desk.time + 200).say_sent().say_sent().answer(&Answer::Null);
    let seen = desk.run(&plan.authenticate().authenticate()).done();
    assert_eq!(seen.codes("authenticate"), [SUCCESS, AUTH_ERR], "{seen:?}");
    assert_eq!(desk.messages().len(), 3);
}

#[test]
fn a_code_in_every_spelling() {
    let desk = Desk::with_phone(&["sms"]);
    desk.amend("[limits]", "[limits]\nsends_per_hour = 20\nsends_per_day = 20");
    let held = desk.path("held");
    for (at, spell) in [
        |code: &str| format!(" {code} "),
        |code: &str| format!("{} {}", &code[..3], &code[3..]),
        |code: &str| format!("{}-{}", &code[..3], &code[3..]),
    ]
    .iter()
    .enumerate()
    {
        let _ = fs::remove_file(&held);
        let at = i64::try_from(at).unwrap() * 60;
        // What to type is known once the code is there: the driver waits for its second list of answers.
        let plan = desk.plan("root").at(desk.time + at).answer(&Answer::TextOf(held.clone()));
        let seen = thread::scope(|scope| {
            let count = desk.messages().len();
            let login = scope.spawn(|| desk.run(&plan.authenticate()).done());
            let code = post::wait_for(|| desk.messages().get(count).map(post::Message::code));
            fs::write(desk.path("new"), spell(&code)).unwrap();
            fs::rename(desk.path("new"), &held).unwrap();
            login.join().unwrap()
        });
        expect(&seen, SUCCESS, &[SMS]);
    }
}

#[test]
fn three_tries_a_code() {
    let desk = Desk::with_phone(&["sms"]);
    let wrong = || Answer::WrongSent;
    let seen = desk.login("root", 0, &[wrong(), wrong(), wrong(), SENT]);
    expect(&seen, AUTH_ERR, &[SMS; 3]);
    assert_eq!(desk.failures("root"), 3);
    // With more prompts the fourth try of the right code is none, and another code has to wait.
    desk.amend("prompts = 3", "prompts = 5");
    desk.admin_ok(&["user", "unlock", "root"], "");
    let answers = [wrong(), wrong(), wrong(), SENT, text("resend"), Answer::Null];
    let seen = desk.login("root", 0, &answers);
    expect(&seen, AUTH_ERR, &[SMS, SMS, SMS, SMS, SMS, RECOVERY_OR_RESEND]);
    assert!(seen.texts().contains("its last try. Type resend for another one."), "{seen:?}");
    assert!(seen.texts().contains("Another code can be sent in 60 seconds: type resend then."), "{seen:?}");
    assert_eq!((desk.messages().len(), desk.failures("root")), (2, 4));
    desk.admin_ok(&["user", "unlock", "root"], "");
    // After the pause there is another one, and the void one stays void.
    let wait = Answer::Advance(60);
    let answers = [wrong(), wrong(), wrong(), wait, text("resend"), Answer::Sent(1), SENT];
    let seen = desk.login("root", 60, &answers);
    expect(&seen, SUCCESS, &[SMS; 6]);
    assert_eq!(desk.messages().len(), 4);
}

#[test]
fn sms_beside_the_app() {
    let desk = Desk::new(&["app", "sms"]);
    let enroll = |number: u32| {
        let user = format!("t{number:06}");
        let factor = desk.enroll(&user);
        desk.phone(&user, PHONE);
        (user, factor)
    };
    desk.amend("[limits]", "[limits]\nsends_per_hour = 20\nsends_per_day = 20");
    for (number, typed) in (0..).zip(["sms", "SMS", " sms ", "\tSms\n"]) {
        let (user, _) = enroll(number);
        let seen = desk.login(&user, 0, &[text(typed), SENT]);
        expect(&seen, SUCCESS, &[APP_OR_SMS, SMS_OR_APP]);
    }
    assert_eq!(desk.messages().len(), 4);
    let (user, factor) = enroll(4);
    let app = |steps| Answer::Code(factor.secret.clone(), steps);
    expect(&desk.login(&user, 0, &[app(-1)]), SUCCESS, &[APP_OR_SMS]);
    assert_eq!(desk.messages().len(), 4, "nobody asked for one");
    let seen = desk.login(&user, 0, &[text("sms"), text("app"), app(0)]);
    expect(&seen, SUCCESS, &[APP_OR_SMS, SMS_OR_APP, APP_OR_SMS]);
    // There and back again is still the same code, which is none of the app's.
    let answers = [text("sms"), text("app"), SENT, text("sms"), SENT];
    let seen = desk.login(&user, 60, &answers);
    expect(&seen, SUCCESS, &[APP_OR_SMS, SMS_OR_APP, APP_OR_SMS, APP_OR_SMS, SMS_OR_APP]);
    assert_eq!(desk.messages().len(), 6);
    // What is not offered is no word.
    let seen = desk.login(&user, 120, &[text("email"), text("resend"), text("app"), SENT]);
    expect(&seen, AUTH_ERR, &[APP_OR_SMS; 3]);
    assert_eq!((desk.messages().len(), desk.failures(&user)), (6, 0));
    // Who has one of the two is asked for that one.
    desk.enroll("t000007");
    let seen = desk.login("t000007", 0, &[text("sms"), Answer::Null]);
    expect(&seen, AUTH_ERR, &["Verification code (app): "; 2]);
    desk.phone("t000008", "+48600000008");
    let seen = desk.login("t000008", 0, &[SENT]);
    expect(&seen, SUCCESS, &["Verification code (SMS to +48 *** *** 008): "]);
}

#[test]
fn the_app_beside_sms() {
    let desk = Desk::new(&["sms", "app"]);
    let factor = desk.enroll("root");
    desk.phone("root", PHONE);
    let app = || Answer::Code(factor.secret.clone(), 0);
    let seen = desk.login("root", 0, &[text("app"), app()]);
    expect(&seen, SUCCESS, &[SMS_OR_APP, APP_OR_SMS]);
    // Within the pause the app is asked for instead.
    let seen = desk.login("root", 30, &[text("sms"), app()]);
    expect(&seen, SUCCESS, &[APP_OR_SMS, APP_OR_SMS]);
    assert_eq!(seen.texts().matches("Another code can be sent in 30 seconds").count(), 2, "{seen:?}");
    let seen = desk.login("root", 60, &[SENT]);
    expect(&seen, SUCCESS, &[SMS_OR_APP]);
    assert_eq!(desk.messages().len(), 2);
}

/// Within the pause the app is asked for instead; what is told to be typed then is what may be typed.
#[test]
fn the_word_that_is_told_is_taken() {
    let desk = Desk::with_phone(&["sms", "app"]);
    desk.enroll("root");
    expect(&desk.login("root", 0, &[SENT]), SUCCESS, &[SMS_OR_APP]);
    let soon = desk.login("root", 30, &[Answer::Null]);
    let word = if soon.texts().contains("type resend") { "resend" } else { "sms" };
    let seen = desk.login("root", 30, &[Answer::Advance(30), text(word), SENT]);
    expect(&seen, SUCCESS, &[APP_OR_SMS, SMS_OR_APP]);
}

#[test]
fn a_recovery_code_at_every_prompt() {
    let desk = Desk::with_phone(&["sms", "app"]);
    desk.enroll("root");
    let codes = desk.recovery("root");
    expect(&desk.login("root", 0, &[text(&codes[0])]), SUCCESS, &[SMS_OR_APP]);
    expect(&desk.login("root", 0, &[text(&codes[1])]), SUCCESS, &[APP_OR_SMS]);
    desk.write_policy(&desk.sending_policy(&["sms"]));
    expect(&desk.login("root", 0, &[text(&codes[2])]), SUCCESS, &[RECOVERY_OR_RESEND]);
    expect(&desk.login("root", 60, &[Answer::WrongSent, text(&codes[3])]), SUCCESS, &[SMS, SMS]);
    let used = desk.login("root", 120, &[text(&codes[3]), SENT]);
    expect(&used, SUCCESS, &[SMS, SMS]);
    assert!(used.texts().contains("already used"), "{used:?}");
}

#[test]
fn another_code_after_the_pause() {
    let desk = Desk::with_phone(&["sms"]);
    let resend = || text("resend");
    let seen = desk.login("root", 0, &[Answer::Advance(59), resend(), SENT]);
    expect(&seen, SUCCESS, &[SMS, SMS]);
    assert_eq!(seen.texts(), "Another code can be sent in 1 second: type resend then.");
    let seen = desk.login("root", 100, &[Answer::Advance(60), resend(), Answer::Sent(1), SENT]);
    expect(&seen, SUCCESS, &[SMS, SMS, SMS]);
    assert_eq!(seen.texts(), "Wrong code.");
    let messages = desk.messages();
    assert_eq!(messages.len(), 3);
    for (at, message) in messages.iter().enumerate() {
        let others = || messages[at + 1..].iter();
        assert!(others().all(|other| other.id != message.id), "{messages:?}");
        assert!(others().all(|other| other.code() != message.code()), "{messages:?}");
    }
}

/// Two logins of one user at the same time: each code is of use in the login that asked for it, and only the later.
#[test]
fn a_code_of_one_login_in_another() {
    let desk = Desk::with_phone(&["sms"]);
    for (ends, told) in [(true, "at once"), (false, "given up")] {
        let done = desk.path(told);
        let count = desk.messages().len();
        let at = if ends { 0 } else { 200 };
        let first = || desk.login("root", at, &[Answer::Await(done.clone()), Answer::Sent(1), Answer::Null]);
        let (first, second) = thread::scope(|scope| {
            let first = scope.spawn(first);
            post::wait_for(|| (desk.messages().len() > count).then_some(()));
            let last = if ends { SENT } else { Answer::Null };
            let second = desk.login("root", at + 60, &[Answer::Sent(1), last]);
            fs::write(&done, "").unwrap();
            (first.join().unwrap(), second)
        });
        expect(&second, if ends { SUCCESS } else { AUTH_ERR }, &[SMS, SMS]);
        assert!(second.texts().contains("Wrong code."), "{second:?}");
        expect(&first, AUTH_ERR, &[SMS, SMS]);
        assert!(first.texts().contains("Another login asked for a newer code"), "{told}: {first:?}");
    }
}

#[test]
fn a_code_lasts_five_minutes() {
    let desk = Desk::with_phone(&["sms"]);
    desk.amend("[limits]", "[limits]\nsends_per_hour = 20\nsends_per_day = 20");
    let wait = Answer::Advance;
    let table = [(0, 299, SUCCESS), (1000, 300, AUTH_ERR), (2000, 301, AUTH_ERR), (3000, 86_400, AUTH_ERR)];
    for (at, seconds, code) in table {
        let seen = desk.login("root", at, &[wait(seconds), SENT, Answer::Null]);
        let expired = seen.texts().contains("This code has expired. Type resend for another one.");
        assert_eq!((seen.code("authenticate"), expired), (code, code != SUCCESS), "{seconds}: {seen:?}");
    }
    // It stays expired when the clock is set back, to whatever time.
    for (at, back) in [(100_000, 60), (110_000, 600), (120_000, 86_400)] {
        let seen = desk.login("root", at, &[wait(301), SENT, wait(-back), SENT, SENT]);
        expect(&seen, AUTH_ERR, &[SMS; 3]);
    }
    // Nor does it last longer because the clock was set back before it was typed, or while it was waited for.
    for (at, passes, back) in [(130_000, 301, 600), (140_000, 290, 86_400)] {
        let answers = [wait(passes), text(""), wait(-back), wait(301 - passes), SENT, Answer::Null];
        let seen = desk.login("root", at, &answers);
        expect(&seen, AUTH_ERR, &[SMS; 3]);
        assert!(seen.texts().contains("expired"), "{seen:?}");
    }
    // And it lasts as long as the policy says; after that there is another one.
    desk.amend("prefixes", "valid_for = \"10m\"\nprefixes");
    let seen = desk.login("root", 300_000, &[wait(599), SENT]);
    assert_eq!(seen.code("authenticate"), SUCCESS, "{seen:?}");
    let seen = desk.login("root", 310_000, &[wait(600), SENT, text("resend"), SENT]);
    expect(&seen, SUCCESS, &[SMS; 3]);
}

#[test]
fn what_is_no_guess_costs_nothing_and_sends_nothing() {
    let desk = Desk::with_phone(&["sms"]);
    desk.amend("[limits]", "[limits]\nsends_per_hour = 20\nsends_per_day = 20");
    let seen = desk.login("root", 0, &[text(""), text("  "), SENT]);
    expect(&seen, SUCCESS, &[SMS; 3]);
    assert_eq!(seen.texts().matches("Type the code that was sent, or resend for another one.").count(), 2);
    let seen = desk.login("root", 60, &[text(""), text(" "), text("")]);
    expect(&seen, AUTH_ERR, &[SMS; 3]);
    desk.log.expect("reason=no-code-typed");
    // Wishes end too, however long one waits between them.
    let wishes = vec![text("resend"); 10];
    let seen = desk.login("root", 120, &wishes);
    assert_eq!((seen.code("authenticate"), seen.prompts().len()), (AUTH_ERR, 9), "{seen:?}");
    assert_eq!((desk.messages().len(), desk.failures("root")), (3, 0));
    // Each of these, and a minute later the next.
    let answers =
        ["", "\x08\n\r\x7fINCORRECT", "hunter2 and more", "resend please", "re send", "12345", "app"];
    for (number, answer) in answers.iter().enumerate() {
        desk.admin_ok(&["user", "unlock", "root"], "");
        let before = desk.messages().len();
        let at = 300 + 1000 * i64::try_from(number).unwrap();
        let answers = [Answer::Advance(61), text(answer), Answer::Advance(61), text(answer), Answer::Null];
        let seen = desk.login("root", at, &answers);
        assert_eq!(seen.code("authenticate"), AUTH_ERR, "{answer:?}: {seen:?}");
        assert_eq!(desk.messages().len(), before + 1, "{answer:?} sent another one: {seen:?}");
    }
}

#[test]
fn silence_is_kept_and_codes_are_sent() {
    let desk = Desk::with_phone(&["sms"]);
    let silent = pam::SILENT.to_string();
    let plan = |at| desk.plan("root").at(desk.time + at).with("flags", &silent);
    let seen = desk.answer(plan(0), &[Answer::WrongSent, text("resend"), SENT]);
    expect(&seen, SUCCESS, &[SMS; 3]);
    let soon = desk.answer(plan(1), &[Answer::Null]);
    expect(&soon, AUTH_ERR, &[RECOVERY_OR_RESEND]);
    assert_eq!((seen.texts(), soon.texts()), (String::new(), String::new()));
}

/// Nobody is refused in observe mode; what is asked and sent is as it will be.
#[test]
fn observed_logins_are_real_ones() {
    let desk = Desk::with_phone(&["sms"]);
    desk.amend("enforce", "observe");
    expect(&desk.login("root", 0, &[SENT]), SUCCESS, &[SMS]);
    desk.log.expect("accepted sms for root");
    let wrong = || Answer::WrongSent;
    expect(&desk.login("root", 60, &[wrong(), wrong(), wrong()]), SUCCESS, &[SMS; 3]);
    desk.log.expect("would refuse root mode=observe reason=wrong-code");
    for user in ["games", "no-such-user"] {
        expect(&desk.login(user, 0, &[]), SUCCESS, &[]);
    }
    assert_eq!(desk.messages().len(), 2);
    desk.amend("observe", "off");
    expect(&desk.login("root", 120, &[]), SUCCESS, &[]);
    assert_eq!(desk.messages().len(), 2);
}

/// Whose login it is, and where codes go, is settled when it begins: what is changed meanwhile ends it.
#[test]
fn changes_while_a_code_is_waited_for() {
    let desk = Desk::with_phone(&["sms"]);
    desk.phone("daemon", "+48600000007");
    let seen = desk.login("root", 0, &[Answer::User(b"daemon".into()), SENT]);
    expect(&seen, AUTH_ERR, &[SMS]);
    let changes: [&[&str]; 3] = [
        &["user", "set", "root", "--phone", "+48600000009"],
        &["recovery", "new", "root"],
        &["user", "remove", "root", "--yes"],
    ];
    for (number, change) in changes.iter().enumerate() {
        for (again, answer) in [SENT, text("resend")].into_iter().enumerate() {
            desk.phone("root", PHONE);
            let done = desk.path(&format!("done-{number}-{again}"));
            let count = desk.messages().len();
            let at = 7200 * i64::try_from(1 + 2 * number + again).unwrap();
            let answers = [Answer::Await(done.clone()), Answer::Advance(60), answer];
            let seen = thread::scope(|scope| {
                let login = scope.spawn(|| desk.login("root", at, &answers));
                post::wait_for(|| (desk.messages().len() > count).then_some(()));
                desk.admin_ok(change, "saved\n");
                fs::write(&done, "").unwrap();
                login.join().unwrap()
            });
            expect(&seen, AUTH_ERR, &[SMS]);
            assert_eq!(desk.messages().len(), count + 1, "{change:?}: {seen:?}");
            desk.log.expect("refused root reason=account-changed");
        }
    }
}
