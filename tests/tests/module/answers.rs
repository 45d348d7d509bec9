//! What comes back from a prompt, and what it counts as.

use crate::{APP, AUTH_ERR, CONV_ERR, SUCCESS, authenticate, text};
use std::fs;
use twofa_tests::driver::code;
use twofa_tests::driver::pam;
use twofa_tests::driver::pam::Answer;
use twofa_tests::driver::plan::Plan;
use twofa_tests::driver::site::SERVICE;
use twofa_tests::driver::site::Site;

/// A user of its own for each case, so that no case counts failures of another.
struct Case<'a> {
    name: &'a str,
    answers: &'a dyn Fn(&str, &str) -> Vec<Answer>,
    result: i32,
    prompts: usize,
    charged: i64,
}

#[track_caller]
fn check_cases(cases: &[Case<'_>]) {
    let site = Site::new();
    for (number, case) in cases.iter().enumerate() {
        let user = format!("t{number:06}");
        let factor = site.enroll(&user);
        let right = code::at(&factor.secret, site.time, 0);
        let wrong = code::wrong(&factor.secret, site.time);
        let seen = authenticate(&site, &user, &(case.answers)(&right, &wrong));
        let result = (seen.code("authenticate"), seen.prompts().len(), site.failures(&user));
        assert_eq!(result, (case.result, case.prompts, case.charged), "{}: {seen:?}", case.name);
        assert!(seen.prompts().iter().all(|prompt| prompt == APP), "{}: {seen:?}", case.name);
        assert!(seen.all("messages").iter().all(|count| count == "1"), "one message a call: {seen:?}");
        assert!(!fs::read_to_string(site.path("twofa.toml")).unwrap().contains(&right));
        site.logged().iter().for_each(|line| assert!(!line.contains(&right), "a code in the log: {line}"));
    }
}

#[test]
fn codes_in_every_spelling() {
    let wide = |code: &str| {
        code.chars().map(|c| char::from_u32(u32::from(c) - 0x30 + 0xff10).unwrap()).collect::<String>()
    };
    let arabic = |code: &str| {
        code.chars().map(|c| char::from_u32(u32::from(c) - 0x30 + 0x661).unwrap()).collect::<String>()
    };
    let hex = |code: &str| format!("{:#x}", code.parse::<u32>().unwrap());
    let case = |name, answers, result, prompts, charged| Case { name, answers, result, prompts, charged };
    check_cases(&[
        case("right", &|right, _| vec![text(right)], SUCCESS, 1, 0),
        case("spaces around", &|right, _| vec![text(format!(" {right} "))], SUCCESS, 1, 0),
        case(
            "in two groups",
            &|right, _| vec![text(format!("{} {}", &right[..3], &right[3..]))],
            SUCCESS,
            1,
            0,
        ),
        case(
            "with a dash",
            &|right, _| vec![text(format!("{}-{}", &right[..3], &right[3..]))],
            SUCCESS,
            1,
            0,
        ),
        case("plus", &|right, _| vec![text(format!("+{right}")), Answer::Null], AUTH_ERR, 2, 1),
        case("hexadecimal", &|right, _| vec![text(hex(right)), Answer::Null], AUTH_ERR, 2, 1),
        case("full width", &|right, _| vec![text(wide(right)), Answer::Null], AUTH_ERR, 2, 1),
        case("arabic digits", &|right, _| vec![text(arabic(right)), Answer::Null], AUTH_ERR, 2, 1),
        case("a digit more", &|right, _| vec![text(format!("{right}0")), Answer::Null], AUTH_ERR, 2, 1),
        case("a digit less", &|right, _| vec![text(&right[..5]), Answer::Null], AUTH_ERR, 2, 1),
        case(
            "two dashes",
            &|right, _| vec![text(format!("{}--{}", &right[..3], &right[3..])), Answer::Null],
            AUTH_ERR,
            2,
            1,
        ),
        case(
            "newline and more",
            &|right, _| vec![text(format!("{right}\n{right}")), Answer::Null],
            AUTH_ERR,
            2,
            1,
        ),
    ]);
}

#[test]
fn three_guesses_a_login() {
    let case = |name, answers, result, prompts, charged| Case { name, answers, result, prompts, charged };
    check_cases(&[
        case(
            "three wrong",
            &|right, wrong| vec![text(wrong), text(wrong), text(wrong), text(right)],
            AUTH_ERR,
            3,
            3,
        ),
        // Typos of a login that ends well are forgiven: they were the user's own.
        case(
            "two wrong, then right",
            &|right, wrong| vec![text(wrong), text(wrong), text(right)],
            SUCCESS,
            3,
            0,
        ),
        case(
            "empty three times",
            &|right, _| vec![text(""), text(""), text(""), text(right)],
            AUTH_ERR,
            3,
            0,
        ),
        case("empty, then right", &|right, _| vec![text(""), text("  "), text(right)], SUCCESS, 3, 0),
        case(
            "empty and wrong are counted apart",
            &|right, wrong| vec![text(""), text(wrong), text(""), text(wrong), text(right)],
            SUCCESS,
            5,
            0,
        ),
    ]);
}

#[test]
fn answers_that_are_none() {
    let case = |name, answers, result, prompts, charged| Case { name, answers, result, prompts, charged };
    check_cases(&[
        case("null", &|right, _| vec![Answer::Null, text(right)], AUTH_ERR, 1, 0),
        case(
            "wrong, then null",
            &|right, wrong| vec![text(wrong), Answer::Null, text(right)],
            AUTH_ERR,
            2,
            1,
        ),
        case("conversation error", &|_, _| vec![Answer::Fail(CONV_ERR)], CONV_ERR, 1, 0),
        case("conversation aborts", &|_, _| vec![Answer::Fail(26)], CONV_ERR, 1, 0),
        case("conversation again", &|_, _| vec![Answer::Fail(31)], CONV_ERR, 1, 0),
        case("conversation, a code of no meaning", &|_, _| vec![Answer::Fail(4711)], CONV_ERR, 1, 0),
        case("success without an array", &|right, _| vec![Answer::Nothing, text(right)], CONV_ERR, 1, 0),
    ]);
}

#[test]
fn answers_that_are_too_much() {
    let case = |name, answers, result, prompts, charged| Case { name, answers, result, prompts, charged };
    check_cases(&[
        case(
            "511 bytes",
            &|right, _| vec![text(&right.repeat(90).as_bytes()[..511]), Answer::Null],
            AUTH_ERR,
            2,
            1,
        ),
        case(
            "512 bytes",
            &|right, _| vec![text(&right.repeat(90).as_bytes()[..512]), Answer::Null],
            AUTH_ERR,
            2,
            1,
        ),
        case(
            "right, then 1 MiB",
            &|right, _| vec![text(right.to_owned() + &"0".repeat(1 << 20)), Answer::Null],
            AUTH_ERR,
            2,
            1,
        ),
        case(
            "1 MiB of blanks, then right",
            &|right, _| vec![text(" ".repeat(1 << 20) + right), Answer::Null],
            AUTH_ERR,
            2,
            1,
        ),
        case("no UTF-8", &|_, _| vec![text(b"\xff\xfe12345"), Answer::Null], AUTH_ERR, 2, 1),
        case("clear the screen", &|_, _| vec![text(b"\x1b[2J\x07"), Answer::Null], AUTH_ERR, 2, 1),
        case("a format", &|_, _| vec![text(b"%n%n%s%s"), Answer::Null], AUTH_ERR, 2, 1),
    ]);
}

/// sshd answers for a user whom it will refuse anyway; it cuts or repeats the text.
#[test]
fn junk_of_sshd_is_no_guess() {
    const JUNK: &[u8] = b"\x08\n\r\x7fINCORRECT";
    let case = |name, answers, result, prompts, charged| Case { name, answers, result, prompts, charged };
    check_cases(&[
        case("whole", &|_, _| vec![text(JUNK), text(JUNK), text(JUNK)], AUTH_ERR, 3, 0),
        case("cut", &|_, _| vec![text(&JUNK[..6]), text(&JUNK[..1]), text(&JUNK[..12])], AUTH_ERR, 3, 0),
        case(
            "repeated",
            &|_, _| vec![text(JUNK.repeat(3)), text(&JUNK.repeat(2)[..17]), text(JUNK.repeat(9))],
            AUTH_ERR,
            3,
            0,
        ),
    ]);
}

#[test]
fn the_login_password_is_no_guess() {
    let site = Site::new();
    let factor = site.enroll("root");
    let module = fs::read_to_string(site.path("pam.d").join(SERVICE)).unwrap();
    // pam_exec asks for a password and keeps it as PAM_AUTHTOK, as a first factor does.
    site.write_service(SERVICE, &format!("auth required pam_exec.so expose_authtok /bin/true\n{module}"));
    let password = text("hunter2 and more");
    let seen = authenticate(&site, "root", &vec![password.clone(); 6]);
    assert_eq!(seen.code("authenticate"), AUTH_ERR, "{seen:?}");
    assert_eq!(seen.prompts()[1..], [APP; 3], "{seen:?}");
    assert!(seen.texts().contains("password"), "{seen:?}");
    assert_eq!(site.failures("root"), 0);
    let right = Answer::Code(factor.secret, 0);
    let seen = authenticate(&site, "root", &[password.clone(), password, right]);
    assert_eq!(seen.code("authenticate"), SUCCESS, "{seen:?}");
}

#[test]
fn an_application_that_cannot_talk() {
    let site = Site::new();
    site.enroll("root");
    let seen = site.run(&site.plan("root").with("mute", "yes").authenticate()).done();
    assert_eq!(seen.code("authenticate"), CONV_ERR, "{seen:?}");
    assert_eq!(site.failures("root"), 0);
}

#[test]
fn silence_is_kept_and_changes_nothing() {
    let site = Site::new();
    let factor = site.enroll("root");
    let wrong = code::wrong(&factor.secret, site.time);
    let silent = pam::SILENT.to_string();
    let quiet = |plan: Plan| site.run(&plan.with("flags", &silent).authenticate()).done();
    let refused = quiet(site.plan("root").say(&wrong).say(&wrong).say(&wrong));
    assert_eq!(refused.code("authenticate"), AUTH_ERR);
    assert_eq!((refused.prompts().len(), refused.texts()), (3, String::new()));
    let admitted = quiet(site.plan("root").say(&wrong).say_code(&factor.secret, 0));
    assert_eq!((admitted.code("authenticate"), admitted.texts()), (SUCCESS, String::new()));
    let flags = pam::DISALLOW_NULL_AUTHTOK.to_string();
    let empty = site.plan("root").with("flags", flags).say("").say("").say("").authenticate();
    assert_eq!(site.run(&empty).done().code("authenticate"), AUTH_ERR);
}

/// The module asks for a delay after a refusal, and does not sleep itself: threads may share its process.
#[test]
fn the_delay_is_the_applications() {
    let site = Site::new();
    let factor = site.enroll("root");
    let wrong = code::wrong(&factor.secret, site.time);
    let refused = authenticate(&site, "root", &[text(&wrong), text(&wrong), text(&wrong)]);
    let asked = refused.all("delay").join(" ");
    let microseconds: u32 = asked.split_once(' ').unwrap().1.parse().unwrap();
    // libpam makes it up to a half shorter or longer.
    assert!((1_000_000..=3_000_000).contains(&microseconds), "{asked}");
    assert!(refused.number("milliseconds") < 1000, "{refused:?}");
}
