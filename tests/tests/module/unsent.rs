//! Who is sent nothing: nobody who only knows a name, nobody who is locked, and nobody's telephone.

use crate::sends::{Desk, PHONE, RECOVERY, RECOVERY_OR_RESEND, SENT, SMS, expect};
use crate::{AUTH_ERR, MAX_TRIES, SUCCESS, USER_UNKNOWN, text};
use twofa_tests::driver::pam::Answer;
use twofa_tests::driver::plan::Plan;
use twofa_tests::driver::transcript::Transcript;

const KEY: &str = "SSH_AUTH_INFO_0=publickey ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA";

/// Prompts without the last digits of a number, which differ from user to user.
fn forms(seen: &Transcript) -> Vec<String> {
    let form = |prompt: String| match prompt.split_once("*** *** ") {
        Some((before, after)) => format!("{before}*** *** NNN{}", after.get(3..).unwrap_or("")),
        None => prompt,
    };
    seen.prompts().into_iter().map(form).collect()
}

#[test]
fn nothing_is_sent_without_a_first_factor() {
    let desk = Desk::with_phone(&["sms"]);
    let junk = b"\x08\n\r\x7fINCORRECT".repeat(2);
    let before: [&dyn Fn(Plan) -> Plan; 6] = [
        &|plan| plan.no_password(),
        &|plan| plan.password(""),
        &|plan| plan.password(&junk[..13]),
        &|plan| plan.password(&junk[..4]),
        &|plan| plan.password(&junk[..20]),
        // Only sshd's word about keys counts.
        &|plan| plan.no_password().with("env", KEY),
    ];
    for (number, before) in before.iter().enumerate() {
        let mut seen = Vec::new();
        for user in ["root", "games", "no-such-user"] {
            let logged = desk.logged().len();
            let plan = before(desk.plan(user)).with("set", "rhost=203.0.113.5");
            let login = desk.answer(plan, &[text("resend"), text("sms"), Answer::Null]);
            let line = "no code is sent for";
            let logged = desk.logged().split_off(logged);
            let said = |line: &String| {
                line.contains(&format!("no code is sent for {user} from 203.0.113.5 reason=no-first-factor"))
            };
            assert!(logged.iter().any(said), "{number}, {user}: no {line:?} in {logged:?}");
            seen.push((forms(&login), login.texts()));
        }
        assert_eq!(seen[0].0, [RECOVERY_OR_RESEND; 3], "{number}: {seen:?}");
        assert!(seen[0].1.contains("No code could be sent by SMS. Call 42."), "{number}: {seen:?}");
        assert!(seen.iter().all(|other| *other == seen[0]), "{number}: {seen:?}");
    }
    assert_eq!(desk.messages().len(), 0);
    // A key is one, from sshd.
    let plan = desk.plan_from("root", "203.0.113.5").no_password().with("env", KEY);
    expect(&desk.answer(plan, &[SENT]), SUCCESS, &[SMS]);
    let plan = desk.plan_from("root", "203.0.113.5").at(desk.time + 60).no_password();
    let plan = plan.with("env", "SSH_AUTH_INFO_0=keyboard-interactive/pam");
    expect(&desk.answer(plan, &[Answer::Null]), AUTH_ERR, &[RECOVERY_OR_RESEND]);
    assert_eq!(desk.messages().len(), 1);
}

#[test]
fn the_app_works_without_a_first_factor() {
    let desk = Desk::with_phone(&["app", "sms"]);
    let factor = desk.enroll("root");
    let plan = || desk.plan("root").no_password();
    let app = |steps| Answer::Code(factor.secret.clone(), steps);
    let seen = desk.answer(plan(), &[text("sms"), app(0)]);
    assert_eq!(seen.code("authenticate"), SUCCESS, "{seen:?}");
    assert!(seen.texts().contains("No code could be sent by SMS."), "{seen:?}");
    assert_eq!(desk.messages().len(), 0);
}

/// Whoever cannot be admitted meets the prompts of somebody who can.
#[test]
fn nobody_is_sent_nothing_and_told_nothing() {
    let desk = Desk::new(&["sms"]);
    desk.amend("prompts = 3", "prompts = 5");
    desk.amend("failures = 5", "failures = 20");
    desk.phone("root", PHONE);
    desk.phone("t000001", "+48600000001");
    desk.phone("daemon", "+49151000000");
    desk.amend("\"+48\", \"+49\"", "\"+48\"");
    let guess = || text("000000");
    let wait = Answer::Advance(60);
    let answers = || {
        let ends = [text("resend"), guess(), guess()];
        [guess(), text(""), text("resend"), guess(), guess(), wait.clone()].into_iter().chain(ends)
    };
    let answers: Vec<Answer> = answers().collect();
    // Another guess in the unlikely case that 000000 is it.
    let known = desk.login("root", 0, &answers);
    let nobodies = [
        ("no-such-user", USER_UNKNOWN, "unknown-user"),
        ("games", AUTH_ERR, "not-enrolled"),
        ("t000001", AUTH_ERR, "uid-mismatch"),
        ("daemon", AUTH_ERR, "not-enrolled"),
    ];
    assert_eq!(desk.messages().len(), 2);
    for (user, code, reason) in nobodies {
        let plan = answers.iter().fold(desk.plan(user), |plan, answer| plan.answer(answer)).authenticate();
        let seen = desk.run_with(&plan, &[], &[("TWOFA_TEST_UID", "t000001:4711")]).done();
        assert_eq!(seen.code("authenticate"), code, "{user}: {seen:?}");
        assert_eq!((forms(&seen), seen.texts()), (forms(&known), known.texts()), "{user}");
        desk.log.expect(&format!("refused {user} reason={reason}"));
        // Always the same digits: other ones each time would be nobody's.
        let again = desk.run_with(&plan, &[], &[("TWOFA_TEST_UID", "t000001:4711")]).done();
        assert_eq!(again.prompts(), seen.prompts(), "{user}");
    }
    assert_eq!(desk.messages().len(), 2, "{:?}", desk.messages());
    // With the app as the other method, too.
    desk.write_policy(&desk.sending_policy(&["sms", "app"]));
    desk.enroll("root");
    let answers = [text("app"), guess(), text("sms"), guess(), guess()];
    let known = desk.login("root", 1000, &answers);
    for (user, code, _) in [nobodies[0], nobodies[1]] {
        let seen = desk.login(user, 1000, &answers);
        assert_eq!(seen.code("authenticate"), code, "{user}: {seen:?}");
        assert_eq!((forms(&seen), seen.texts()), (forms(&known), known.texts()), "{user}");
    }
    // A number that may be sent to again is.
    expect(&desk.login("daemon", 1000, &[SENT]), SUCCESS, &["Verification code (SMS to +49 *** *** 000): "]);
}

#[test]
fn locked_is_locked_for_codes_that_are_sent() {
    let desk = Desk::with_phone(&["sms"]);
    desk.amend("total = 50", "total = 8");
    let codes = desk.recovery("root");
    let wrong = || Answer::WrongSent;
    let login = |from: &str, after, answers: &[Answer]| {
        desk.answer(desk.plan_from("root", from).at(desk.time + after), answers)
    };
    let (bad, good) = ("203.0.113.5", "198.51.100.7");
    expect(&login(bad, 0, &[wrong(), wrong(), wrong()]), AUTH_ERR, &[SMS; 3]);
    expect(&login(bad, 60, &[wrong(), wrong(), wrong()]), MAX_TRIES, &[SMS; 2]);
    assert_eq!(desk.messages().len(), 2);
    let locked = login(bad, 120, &[SENT]);
    expect(&locked, MAX_TRIES, &[]);
    assert!(locked.texts().contains("UTC") && locked.texts().contains("Call 42."), "{locked:?}");
    assert_eq!(desk.messages().len(), 2);
    // From elsewhere it goes on, to the hard stop: then nothing is sent at all.
    expect(&login(good, 120, &[wrong(), wrong(), wrong()]), MAX_TRIES, &[SMS; 3]);
    let seen = login("198.51.100.8", 1000, &[text("resend"), text("sms"), SENT, Answer::Null]);
    expect(&seen, AUTH_ERR, &[RECOVERY; 4]);
    assert!(seen.texts().contains("Only a recovery code is accepted now."), "{seen:?}");
    assert_eq!(desk.messages().len(), 3);
    expect(&login("198.51.100.9", 1100, &[text(&codes[0])]), SUCCESS, &[RECOVERY]);
    desk.admin_ok(&["user", "unlock", "root"], "");
    expect(&login(bad, 1200, &[SENT]), SUCCESS, &[SMS]);
}

/// The lock comes while a code is waited for: another one is not sent.
#[test]
fn locked_from_elsewhere_meanwhile() {
    let desk = Desk::with_phone(&["sms"]);
    desk.amend("failures = 5", "failures = 2");
    let done = desk.path("done");
    let plan = || desk.plan_from("root", "203.0.113.5");
    let answers = [Answer::Await(done.clone()), Answer::Advance(120), text("resend"), SENT];
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| desk.answer(plan(), &answers));
        twofa_tests::driver::post::wait_for(|| (desk.messages().len() == 1).then_some(()));
        let wrong = || Answer::WrongSent;
        let second = desk.answer(plan().at(desk.time + 60), &[wrong(), wrong(), wrong()]);
        std::fs::write(&done, "").unwrap();
        (first.join().unwrap(), second)
    });
    assert_eq!(second.code("authenticate"), MAX_TRIES, "{second:?}");
    assert_eq!(first.code("authenticate"), MAX_TRIES, "{first:?}");
    assert_eq!(desk.messages().len(), 2, "{first:?}");
}

/// At the prompt of the app, nothing but the word asks for a message.
#[test]
fn answers_for_the_app_send_nothing() {
    let desk = Desk::with_phone(&["app", "sms"]);
    let factor = desk.enroll("root");
    let codes = desk.recovery("root");
    let app = |steps| Answer::Code(factor.secret.clone(), steps);
    assert_eq!(desk.login("root", 0, &[app(0)]).code("authenticate"), SUCCESS);
    assert_eq!(desk.login("root", 0, &[text(&codes[0])]).code("authenticate"), SUCCESS);
    let junk = b"\x08\n\r\x7fINCORRECT";
    let answers = [
        text(""),
        text("   "),
        text(junk),
        text(&junk[..5]),
        text("hunter2 and more"),
        text("sms please"),
        text("s m s"),
        text("smss"),
        text("1 sms"),
        text("resend"),
        text("email"),
        text("12345"),
        text("\u{ff53}\u{ff4d}\u{ff53}"),
        app(0),
        text(&codes[0]),
        Answer::Null,
        Answer::Nothing,
        Answer::Fail(19),
    ];
    for answer in answers {
        desk.admin_ok(&["user", "unlock", "root"], "");
        let seen = desk.login("root", 0, &[answer.clone(), answer.clone(), answer.clone()]);
        assert_ne!(seen.code("authenticate"), SUCCESS, "{answer:?}: {seen:?}");
        assert_eq!(desk.messages().len(), 0, "{answer:?}");
    }
}

/// The application gives up at the first prompt: one message and no more.
#[test]
fn a_login_that_is_given_up() {
    let desk = Desk::with_phone(&["sms"]);
    expect(&desk.login("root", 0, &[Answer::Null]), AUTH_ERR, &[SMS]);
    expect(&desk.login("root", 60, &[Answer::Fail(19)]), crate::CONV_ERR, &[SMS]);
    assert_eq!(desk.messages().len(), 2);
}

/// That it cannot talk is seen when it is talked to: a code may be on its way by then, and nobody can type it.
#[test]
fn an_application_that_cannot_talk_is_refused() {
    let desk = Desk::with_phone(&["sms"]);
    let mute = desk.answer(desk.plan("root").with("mute", "yes"), &[]);
    assert_eq!(mute.code("authenticate"), crate::CONV_ERR, "{mute:?}");
    assert!(desk.messages().len() <= 1);
}

#[test]
fn nothing_is_sent_where_no_code_is_asked_for() {
    let desk = Desk::with_phone(&["sms"]);
    let lines = std::fs::read_to_string(desk.path("pam.d/sshd")).unwrap();
    desk.write_service("other", &format!("{lines}auth optional pam_permit.so\n"));
    let seen = desk.answer(desk.plan("root").with("service", "other"), &[]);
    expect(&seen, SUCCESS, &[]);
    let exempt = "[[exempt]]\nuser = \"root\"\nreason = \"test\"\nuntil = 2100-01-01\n";
    desk.write_policy(&format!("{}{exempt}", desk.sending_policy(&["sms"])));
    expect(&desk.login("root", 0, &[]), SUCCESS, &[]);
    assert_eq!(desk.messages().len(), 0);
}

/// A warning about a login that is asked for nothing would only teach people not to read warnings.
#[test]
fn a_missing_first_factor_is_told_where_it_matters() {
    let desk = Desk::with_phone(&["sms"]);
    let lines = std::fs::read_to_string(desk.path("pam.d/sshd")).unwrap();
    desk.write_service("other", &format!("{lines}auth optional pam_permit.so\n"));
    let told = || desk.logged().iter().filter(|line| line.contains("reason=no-first-factor")).count();
    let _ = desk.answer(desk.plan("root").no_password().with("service", "other"), &[]);
    assert_eq!(told(), 0, "none of our business");
    desk.write_policy(&desk.sending_policy(&["sms"]).replace("\"enforce\"", "\"off\""));
    let _ = desk.answer(desk.plan("root").no_password(), &[]);
    assert_eq!(told(), 0, "off");
    desk.write_policy(&desk.sending_policy(&["sms"]));
    let _ = desk.answer(desk.plan("root").no_password(), &[Answer::Null]);
    assert_eq!(told(), 1);
}
