//! Who logs in: names of every kind, and user databases that fail.

use crate::{AUTH_ERR, CONV_ERR, SUCCESS, UNAVAILABLE, USER_UNKNOWN, authenticate, text};
use twofa_tests::driver::code;
use twofa_tests::driver::pam::Answer;
use twofa_tests::driver::site::Site;

#[test]
fn names_that_are_no_users() {
    let site = Site::new();
    let known = site.enroll("root");
    let wrong = code::wrong(&known.secret, site.time);
    let asked = authenticate(&site, "root", &[text(&wrong), text(&wrong), text(&wrong)]);
    let mut names: Vec<Vec<u8>> = [33, 256, 4096, 65536].map(|length| vec![b'a'; length]).into();
    names.extend([b"no-such-user".to_vec(), b"alice\nNov 21 00:00:00 host sshd[1]: Accepted".to_vec()]);
    names.extend([
        b"al\x1b]0;x\x07ice".to_vec(),
        "al\u{202e}ice".into(),
        b"../root".to_vec(),
        b"root ".to_vec(),
    ]);
    names.extend([b"ROOT".to_vec(), b"0".to_vec(), b"root@example.org".to_vec(), b"root.".to_vec()]);
    for name in names {
        let before = site.logged().len();
        let plan = site.nobody().with("user", &name).say(&wrong).say(&wrong).say(&wrong).authenticate();
        let seen = site.run(&plan).done();
        let shown = String::from_utf8_lossy(&name[..name.len().min(40)]).into_owned();
        assert_eq!(seen.code("authenticate"), USER_UNKNOWN, "{shown}: {seen:?}");
        // What is asked and told does not say whether the user exists.
        assert_eq!((seen.prompts(), seen.texts()), (asked.prompts(), asked.texts()), "{shown}");
        assert!(seen.number("milliseconds") < 1000, "{seen:?}");
        for line in &site.logged()[before..] {
            assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && line.len() < 600, "{line:?}");
        }
    }
    // A name that is no UTF-8 is nobody's; libpam's bindings may refuse it first.
    let plan = site.nobody().with("user", b"\xc3\x28").say("123456").say("123456").say("123456");
    let code = site.run(&plan.authenticate()).done().code("authenticate");
    assert!([4, USER_UNKNOWN].contains(&code), "{code}");
}

#[test]
fn no_name_at_all() {
    let site = Site::new();
    site.enroll("root");
    for (answer, expected) in
        [(Answer::Null, None), (text(""), Some(USER_UNKNOWN)), (Answer::Fail(CONV_ERR), None)]
    {
        let plan = site.nobody().answer(&answer).say("123456").say("123456").say("123456");
        let seen = site.run(&plan.authenticate()).done();
        let code = seen.code("authenticate");
        assert!(
            ![SUCCESS, 25].contains(&code) && expected.is_none_or(|is| is == code),
            "{answer:?}: {seen:?}"
        );
    }
    // libpam asks for the name; the code is asked for afterwards.
    let factor = site.enroll("daemon");
    let plan = site.nobody().say("daemon").say_code(&factor.secret, 0).authenticate();
    assert_eq!(site.run(&plan).done().code("authenticate"), SUCCESS);
}

#[test]
fn a_user_without_a_factor_meets_the_same_prompts() {
    let site = Site::new();
    let factor = site.enroll("root");
    let wrong = code::wrong(&factor.secret, site.time);
    let answers = [text(&wrong), text(&wrong), text(&wrong)];
    let enrolled = authenticate(&site, "root", &answers);
    let stranger = authenticate(&site, "games", &answers);
    assert_eq!(stranger.code("authenticate"), AUTH_ERR, "{stranger:?}");
    assert_eq!((enrolled.prompts(), enrolled.texts()), (stranger.prompts(), stranger.texts()));
}

#[test]
fn the_name_is_changed_during_the_login() {
    let site = Site::new();
    let root = site.enroll("root");
    let daemon = site.enroll("daemon");
    let change = Answer::User(b"daemon".into());
    for secret in [root.secret, daemon.secret] {
        let answers = [change.clone(), Answer::Code(secret, 0), Answer::Null, Answer::Null];
        let seen = authenticate(&site, "root", &answers);
        assert_eq!(seen.code("authenticate"), AUTH_ERR, "{seen:?}");
    }
}

#[test]
fn a_user_that_was_made_anew_is_another_user() {
    let site = Site::new();
    let factor = site.enroll("t000001");
    let plan = || {
        site.plan("t000001")
            .say_code(&factor.secret, 0)
            .say_code(&factor.secret, 1)
            .answer(&Answer::Null)
            .authenticate()
    };
    let other = site.run_with(&plan(), &[], &[("TWOFA_TEST_UID", "t000001:4711")]).done();
    assert_eq!(other.code("authenticate"), AUTH_ERR, "{other:?}");
    assert_eq!(site.run(&plan()).done().code("authenticate"), SUCCESS);
}

#[test]
fn a_user_database_that_fails_is_no_answer() {
    let site = Site::new();
    let factor = site.enroll("root");
    let plan = site.plan("root").say_code(&factor.secret, 0).authenticate().call("account");
    for error in [libc::EIO, libc::ENOMEM, libc::EMFILE] {
        let seen = site.run_with(&plan, &[], &[("TWOFA_TEST_NSS", &error.to_string())]).done();
        assert_eq!(
            (seen.code("authenticate"), seen.code("account")),
            (UNAVAILABLE, UNAVAILABLE),
            "{error}: {seen:?}"
        );
    }
    site.write_policy(&format!(
        "{}[[exempt]]\ngroup = \"no-such-group\"\nreason = \"x\"\nuntil = 2999-01-01\n",
        site.policy()
    ));
    let seen = site.run(&plan).done();
    assert_eq!(seen.code("authenticate"), UNAVAILABLE, "{seen:?}");
}
