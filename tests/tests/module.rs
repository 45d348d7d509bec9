//! The module's promises one by one, through libpam: what is answered, who asks, what is broken.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    unsafe_code,
    reason = "a broken test says so and stops; some measure time and make FIFOs"
)]

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};
use twofa_tests::driver::clock::Clock;
use twofa_tests::driver::pam::{self, Answer};
use twofa_tests::driver::plan::Plan;
use twofa_tests::driver::site::{self, Factor, SERVICE, Site};
use twofa_tests::driver::{code, transcript::Transcript};

const APP: &str = "Verification code (app): ";
const SUCCESS: i32 = 0;
const PERM_DENIED: i32 = 6;
const AUTH_ERR: i32 = 7;
const UNAVAILABLE: i32 = 9;
const USER_UNKNOWN: i32 = 10;
const MAX_TRIES: i32 = 11;
const CONV_ERR: i32 = 19;

/// One authentication with these answers.
#[track_caller]
fn authenticate(site: &Site, user: &str, answers: &[Answer]) -> Transcript {
    let plan = answers.iter().fold(site.plan(user), |plan, answer| plan.answer(answer));
    site.run(&plan.authenticate()).done()
}

fn text(text: impl AsRef<[u8]>) -> Answer {
    Answer::Text(text.as_ref().into())
}

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
        site.log.lines().iter().for_each(|line| assert!(!line.contains(&right), "a code in the log: {line}"));
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
            &|right, _| vec![text(right.repeat(90)[..511].as_bytes()), Answer::Null],
            AUTH_ERR,
            2,
            1,
        ),
        case(
            "512 bytes",
            &|right, _| vec![text(right.repeat(90)[..512].as_bytes()), Answer::Null],
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

#[test]
fn each_code_once_and_never_an_older_one() {
    let site = Site::new();
    let user = ["daemon", "bin"];
    let Factor { secret, .. } = site.enroll(user[0]);
    // (code's step, clock's step, verdict), one after another.
    let table = [
        (0, 0, SUCCESS),
        (0, 0, AUTH_ERR),
        (-1, 0, AUTH_ERR),
        (0, 1, AUTH_ERR),
        (1, 0, SUCCESS),
        (1, 1, AUTH_ERR),
        (0, 1, AUTH_ERR),
        (2, 2, SUCCESS),
        (2, 3, AUTH_ERR),
        (3, 4, SUCCESS),
        (7, 4, AUTH_ERR),
        (6, 4, AUTH_ERR),
        (2, 4, AUTH_ERR),
    ];
    for (code, clock, verdict) in table {
        // The user's counted failures are not what is tested here.
        site.admin_ok(&["user", "unlock", user[0]], "");
        let plan = site.plan(user[0]).at(site.time + clock * code::STEP).say_code(&secret, code - clock);
        let seen = site.run(&plan.answer(&Answer::Null).authenticate()).done();
        assert_eq!(seen.code("authenticate"), verdict, "code {code} at {clock}: {seen:?}");
    }
    let replayed = authenticate(&site, user[0], &[Answer::Code(secret.clone(), 0), Answer::Null]);
    assert!(replayed.texts().contains("already used"), "{replayed:?}");
    // The same secret of another user is another user's.
    site.enroll_with(user[1], &secret);
    assert_eq!(site.login(user[1], &secret, 0), SUCCESS);
}

#[test]
fn the_window_is_the_policys() {
    let site = Site::new();
    for (number, (skew, step, verdict)) in [
        (1, -2, AUTH_ERR),
        (1, -1, SUCCESS),
        (1, 0, SUCCESS),
        (1, 1, SUCCESS),
        (1, 2, AUTH_ERR),
        (0, -1, AUTH_ERR),
        (0, 0, SUCCESS),
        (0, 1, AUTH_ERR),
    ]
    .into_iter()
    .enumerate()
    {
        site.write_policy(&site.policy().replace("skew = 1", &format!("skew = {skew}")));
        let user = format!("t{number:06}");
        let factor = site.enroll(&user);
        let seen = authenticate(&site, &user, &[Answer::Code(factor.secret, step), Answer::Null]);
        assert_eq!(seen.code("authenticate"), verdict, "skew {skew}, step {step}: {seen:?}");
    }
}

#[test]
fn no_clock_breaks_it() {
    let site = Site::new();
    let times = [
        i64::MIN,
        -62_135_596_800,
        -1,
        0,
        59,
        2_147_483_648,
        4_294_967_296,
        253_402_300_800,
        i64::MAX - 30,
        i64::MAX,
    ];
    for (number, time) in times.into_iter().enumerate() {
        let user = format!("t{number:06}");
        site.enroll(&user);
        let plan = site.plan(&user).at(time).say("000000").say("000000").say("000000");
        let seen = site.run(&plan.authenticate()).done();
        let code = seen.code("authenticate");
        assert!([AUTH_ERR, UNAVAILABLE].contains(&code), "at {time}: {seen:?}");
    }
}

#[test]
fn recovery_codes_work_once_however_they_are_typed() {
    let site = Site::new();
    let factor = site.enroll("root");
    let codes = &factor.recovery;
    assert_eq!(codes.len(), 10, "{factor:?}");
    let typed =
        [codes[0].clone(), codes[1].to_lowercase(), codes[2].replace('-', " "), codes[3].replace('-', "")];
    for (typed, left) in typed.iter().zip([9, 8, 7, 6]) {
        let seen = authenticate(&site, "root", &[text(typed)]);
        assert_eq!(seen.code("authenticate"), SUCCESS, "{typed}: {seen:?}");
        assert!(seen.texts().contains(&left.to_string()), "how many are left: {seen:?}");
        let again = authenticate(&site, "root", &[text(typed), Answer::Null]);
        assert_eq!(again.code("authenticate"), AUTH_ERR, "{typed}: {again:?}");
    }
    let mut wrong = codes[5].clone();
    let last = wrong.pop().unwrap();
    wrong.push(if last == '0' { '1' } else { '0' });
    let seen = authenticate(&site, "root", &[text(&wrong), Answer::Null]);
    assert_eq!(seen.code("authenticate"), AUTH_ERR, "{seen:?}");
    for line in site.log.lines() {
        assert!(codes.iter().all(|code| !line.contains(&code[..9])), "{line}");
    }
}

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
        let before = site.log.lines().len();
        let plan = site.nobody().with("user", &name).say(&wrong).say(&wrong).say(&wrong).authenticate();
        let seen = site.run(&plan).done();
        let shown = String::from_utf8_lossy(&name[..name.len().min(40)]).into_owned();
        assert_eq!(seen.code("authenticate"), USER_UNKNOWN, "{shown}: {seen:?}");
        // What is asked and told does not say whether the user exists.
        assert_eq!((seen.prompts(), seen.texts()), (asked.prompts(), asked.texts()), "{shown}");
        assert!(seen.number("milliseconds") < 1000, "{seen:?}");
        for line in &site.log.lines()[before..] {
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

/// A stack that shows PAM_IGNORE: libpam hides it. 0 = ignored, 7 = success, else the module's own code.
fn write_probe(site: &Site, service: &str) {
    let conf = site.path("twofa.toml");
    let line = |phase: &str| {
        format!(
            "{phase} [success=1 ignore=ignore default=die] {} conf={}\n{phase} sufficient pam_permit.so\n{phase} required pam_deny.so\n",
            site::module().display(),
            conf.display()
        )
    };
    site.write_service(service, &["auth", "account", "session", "password"].map(line).concat());
}

#[test]
fn only_listed_services_are_concerned() {
    let site = Site::new();
    let factor = site.enroll("root");
    write_probe(&site, "sudo");
    write_probe(&site, "sshd");
    let run = |service: &str| {
        let plan = Plan::new(&site.path("pam.d"), service).at(site.time).with("user", "root");
        site.run(&plan.say_code(&factor.secret, 0).authenticate().call("account")).done()
    };
    let ignored = run("sudo");
    assert_eq!((ignored.code("authenticate"), ignored.code("account")), (0, 0), "{ignored:?}");
    assert_eq!(ignored.prompts(), [""; 0], "{ignored:?}");
    // The probe's 7 for success, which the stack of `sudo` cannot give.
    let concerned = run("sshd");
    assert_eq!(concerned.code("authenticate"), 7, "{concerned:?}");
    assert_eq!(concerned.prompts(), [APP], "{concerned:?}");
}

#[test]
fn the_account_phase_asks_for_a_proof_of_this_handle() {
    let site = Site::new();
    let factor = site.enroll("root");
    site.enroll("daemon");
    let verdicts = |plan: Plan| site.run(&plan).done().codes("account");
    // A public-key login: sshd runs only this phase.
    assert_eq!(verdicts(site.plan("root").call("account")), [PERM_DENIED]);
    let proven = |step| site.plan("root").say_code(&factor.secret, step).authenticate();
    assert_eq!(verdicts(proven(-1).call("account").call("setcred").call("account")), [SUCCESS, SUCCESS]);
    assert_eq!(verdicts(proven(0).call("user=daemon").call("account")), [PERM_DENIED]);
    assert_eq!(verdicts(proven(1).call("restart").call("account")), [PERM_DENIED]);
    let wrong = code::wrong(&factor.secret, site.time);
    assert_eq!(
        verdicts(site.plan("root").say(wrong).answer(&Answer::Null).authenticate().call("account")),
        [PERM_DENIED]
    );
    // A proof is void once the same handle fails.
    let at = site.time + 10 * code::STEP;
    let plan = site.plan("root").at(at).say_code(&factor.secret, 0).answer(&Answer::Null);
    assert_eq!(verdicts(plan.authenticate().authenticate().call("account")), [PERM_DENIED]);
    let told = site.run(&site.plan("root").call("account")).done();
    assert!(told.texts().contains("verification code"), "{told:?}");
}

#[test]
fn credentials_and_sessions_alone() {
    let site = Site::new();
    site.enroll("root");
    write_probe(&site, SERVICE);
    for user in ["root", "games"] {
        let seen =
            site.run(&site.plan(user).call("setcred").call("open").call("close").call("account")).done();
        // The probe's success: what pam_deny says in these phases.
        assert_eq!((seen.code("setcred"), seen.code("open"), seen.code("close")), (17, 14, 14), "{seen:?}");
        assert_eq!(seen.code("account"), PERM_DENIED, "{seen:?}");
    }
    // An auth stack of nothing but our module passes pam_setcred.
    site.write_stack("");
    let seen = site.run(&site.plan("root").call("setcred")).done();
    assert_eq!(seen.code("setcred"), SUCCESS, "{seen:?}");
}

#[test]
fn arguments_of_the_module() {
    let site = Site::new();
    let factor = site.enroll("root");
    let good = format!("conf={}", site.path("twofa.toml").display());
    let bad = [
        format!("{good} {good}"),
        format!("{good} conf="),
        "conf=twofa.toml".into(),
        "conf=".into(),
        "conf=/nowhere".into(),
    ];
    for arguments in bad {
        site.write_lines(&site::module(), &arguments);
        let plan = site.plan("root").say_code(&factor.secret, 0).authenticate().call("account");
        let seen = site.run(&plan).done();
        for code in [seen.code("authenticate"), seen.code("account")] {
            assert!([3, UNAVAILABLE].contains(&code), "{arguments:.80}: {seen:?}");
        }
    }
    // What is unknown is reported (authpriv.err is 83) and weakens nothing.
    let unknown = ["nullok", "debug=yes", "CONF=/x", "alwaysok", &"x=1 ".repeat(200)];
    for (step, argument) in (1..).zip(unknown) {
        site.write_lines(&site::module(), &format!("{good} {argument}"));
        let wrong = code::wrong(&factor.secret, site.time);
        let refused = site.plan("root").say(wrong).answer(&Answer::Null).authenticate().call("account");
        let seen = site.run(&refused).done();
        assert_eq!(
            (seen.code("authenticate"), seen.code("account")),
            (AUTH_ERR, PERM_DENIED),
            "{argument:.80}: {seen:?}"
        );
        assert_eq!(site.login("root", &factor.secret, step), SUCCESS, "{argument:.80}");
        let line = site.log.expect(&format!("`{}`", argument.split(' ').next().unwrap()));
        assert!(line.starts_with("<83>"), "{line}");
    }
    site.write_stack("debug");
    assert_eq!(site.login("root", &factor.secret, 10), SUCCESS);
    let secrets = [code::at(&factor.secret, site.time, 0), factor.secret];
    for line in site.log.lines() {
        assert!(secrets.iter().all(|secret| !line.contains(secret)), "{line}");
    }
}

/// A refusal because the host is out of order: the same code in both phases, soon, and told and logged.
#[track_caller]
fn expect_unavailable(site: &Site, secret: &str, what: &str) {
    let plan = site.plan("root").say_code(secret, 0).authenticate().call("account");
    let begin = Instant::now();
    let seen = site.run(&plan).done();
    assert_eq!(seen.code("authenticate"), UNAVAILABLE, "{what}: {seen:?}");
    assert!(begin.elapsed() < Duration::from_secs(2), "{what}: {:?}", begin.elapsed());
    assert!(seen.texts().contains("administrator"), "{what}: {seen:?}");
    assert!(
        seen.codes("account").iter().all(|code| [PERM_DENIED, UNAVAILABLE].contains(code)),
        "{what}: {seen:?}"
    );
}

/// A policy file that is no policy, and how it is broken.
fn policy_faults(site: &Site) -> Vec<(&'static str, Box<dyn Fn(&Path)>)> {
    let good = site.policy();
    let text = |name, text: String| -> (&'static str, Box<dyn Fn(&Path)>) {
        (name, Box::new(move |path| site::write(path, 0o644, text.as_bytes())))
    };
    let replaced = |name, from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        text(name, good.replace(from, to))
    };
    let mode = |name, mode| -> (&'static str, Box<dyn Fn(&Path)>) {
        let good = good.clone();
        (name, Box::new(move |path| site::write(path, mode, good.as_bytes())))
    };
    vec![
        ("missing", Box::new(|path| fs::remove_file(path).unwrap())),
        text("empty", String::new()),
        text("10 MiB", format!("{good}#{}", "x".repeat(10 << 20))),
        ("no UTF-8", Box::new(|path| site::write(path, 0o644, b"version = 1 # \xff\xfe\n"))),
        text("garbage", "\x7fELF\0\0\0".into()),
        replaced("unknown key", "mode =", "enforcment = true\nmode ="),
        replaced("unknown table", "[limits]", "[lmits]"),
        replaced("wrong type", "digits = 6", "digits = \"6\""),
        replaced("key twice", "mode =", "mode = \"off\"\nmode ="),
        replaced("another version", "version = 1", "version = 2"),
        replaced("no method", "methods = [\"app\"]", "methods = []"),
        replaced("unknown method", "methods = [\"app\"]", "methods = [\"pigeon\"]"),
        replaced("unknown mode", "\"enforce\"", "\"permissive\""),
        replaced("no limit", "failures = 5", "failures = 0"),
        replaced("no prompts", "prompts = 3", "prompts = 0"),
        replaced("more than NIST allows", "total = 50", "total = 101"),
        replaced("no window", "window = \"15m\"", "window = \"0m\""),
        replaced("skew of an hour", "skew = 1", "skew = 120"),
        replaced("relative path", "path = \"/", "path = \""),
        (
            "directory",
            Box::new(|path| {
                fs::remove_file(path).unwrap();
                fs::create_dir(path).unwrap();
            }),
        ),
        (
            "FIFO",
            Box::new(|path| {
                fs::remove_file(path).unwrap();
                make_fifo(path);
            }),
        ),
        (
            "device",
            Box::new(|path| {
                fs::remove_file(path).unwrap();
                symlink("/dev/zero", path).unwrap();
            }),
        ),
        (
            "symbolic link",
            Box::new(|path| {
                fs::rename(path, path.with_extension("real")).unwrap();
                symlink(path.with_extension("real"), path).unwrap();
            }),
        ),
        mode("writable by all", 0o666),
        mode("writable by the group", 0o664),
    ]
}

fn make_fifo(path: &Path) {
    let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: a C string.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o644) }, 0);
}

fn remove_anything(path: &Path) {
    let _ = fs::remove_dir_all(path);
    let _ = fs::remove_file(path);
}

/// Removes the copies of the policy, so that there is only the file itself.
fn forget_copy(site: &Site) {
    remove_anything(&site.path("twofa.toml.last-valid"));
}

#[test]
fn without_a_valid_policy_nobody_gets_in() {
    let site = Site::new();
    let factor = site.enroll("root");
    for (name, break_it) in policy_faults(&site) {
        remove_anything(&site.path("twofa.toml"));
        site.write_policy(&site.policy());
        forget_copy(&site);
        break_it(&site.path("twofa.toml"));
        let before = site.log.lines().len();
        expect_unavailable(&site, &factor.secret, name);
        // authpriv.alert is 81.
        let logged = &site.log.lines()[before..];
        assert!(
            logged.iter().any(|line| line.starts_with("<81>") && line.contains("twofa.toml")),
            "{name}: {logged:?}"
        );
    }
    remove_anything(&site.path("twofa.toml"));
    site.write_policy(&site.policy());
    assert_eq!(site.login("root", &factor.secret, 0), SUCCESS, "it was the policy each time");
}

#[test]
fn the_last_valid_policy_stays_in_force() {
    let site = Site::new();
    let factor = site.enroll("root");
    // `init` kept it, as every command of an administrator does.
    let copy = site.path("twofa.toml.last-valid");
    assert_eq!(fs::read_to_string(&copy).unwrap(), site.policy());
    for (step, (name, break_it)) in (0..).zip(policy_faults(&site)) {
        remove_anything(&site.path("twofa.toml"));
        site.write_policy(&site.policy());
        break_it(&site.path("twofa.toml"));
        let before = site.log.lines().len();
        assert_eq!(site.login("root", &factor.secret, step), SUCCESS, "{name}");
        let logged = &site.log.lines()[before..];
        assert!(logged.iter().any(|line| line.starts_with("<81>")), "{name}: {logged:?}");
    }
    // The copy is no way around its own checks.
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o666)).unwrap();
    expect_unavailable(&site, &factor.secret, "a copy that others can change");
}

#[test]
fn folders_that_others_can_change() {
    let site = Site::new();
    let factor = site.enroll("root");
    fs::set_permissions(site.path(""), fs::Permissions::from_mode(0o777)).unwrap();
    expect_unavailable(&site, &factor.secret, "a folder that all can write");
    fs::set_permissions(site.path(""), fs::Permissions::from_mode(0o1777)).unwrap();
    assert_eq!(site.login("root", &factor.secret, 0), SUCCESS, "a sticky one protects what is ours");
    fs::set_permissions(site.path("state"), fs::Permissions::from_mode(0o777)).unwrap();
    expect_unavailable(&site, &factor.secret, "records that all can replace");
}

/// One way a store can be broken. What is broken is put back afterwards from a copy.
type Fault = (&'static str, &'static str, fn(&Path));

const STORE_FAULTS: [Fault; 20] = [
    ("key missing", "store.key", |path| fs::remove_file(path).unwrap()),
    ("key of 31 bytes", "store.key", |path| cut(path, 31)),
    ("key of 33 bytes", "store.key", |path| fs::write(path, [7; 33]).unwrap()),
    ("key of zeros", "store.key", |path| fs::write(path, [0; 32]).unwrap()),
    ("empty key", "store.key", |path| cut(path, 0)),
    ("key that others read", "store.key", |path| set_mode(path, 0o644)),
    ("key that is a link", "store.key", |path| {
        fs::copy(path, path.with_extension("real")).unwrap();
        fs::remove_file(path).unwrap();
        symlink(path.with_extension("real"), path).unwrap();
    }),
    ("database missing", "twofa.db", |path| fs::remove_file(path).unwrap()),
    ("database empty", "twofa.db", |path| cut(path, 0)),
    ("database cut in a page", "twofa.db", |path| {
        cut(path, fs::metadata(path).unwrap().len() as usize / 2 + 100)
    }),
    ("database header gone", "twofa.db", |path| overwrite(path, 0, &[0; 100])),
    ("database of random pages", "twofa.db", |path| overwrite(path, 100, &[0xa5; 8000])),
    ("database that others write", "twofa.db", |path| set_mode(path, 0o666)),
    ("database that is a FIFO", "twofa.db", |path| {
        fs::remove_file(path).unwrap();
        make_fifo(path);
    }),
    ("record missing", "state/0", |path| fs::remove_file(path).unwrap()),
    ("record empty", "state/0", |path| cut(path, 0)),
    ("record cut", "state/0", |path| cut(path, 4000)),
    ("record of zeros", "state/0", |path| overwrite(path, 0, &[0; 8192])),
    ("record of garbage", "state/0", |path| overwrite(path, 0, &[0x5a; 8192])),
    ("record that others write", "state/0", |path| set_mode(path, 0o622)),
];

fn cut(path: &Path, length: usize) {
    let bytes = fs::read(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(path, &bytes[..length]).unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn overwrite(path: &Path, start: usize, with: &[u8]) {
    let mut bytes = fs::read(path).unwrap();
    let end = bytes.len().min(start + with.len());
    bytes[start..end].copy_from_slice(&with[..end - start]);
    fs::write(path, bytes).unwrap();
}

#[test]
fn with_a_broken_store_nobody_gets_in() {
    let site = Site::new();
    // uid 0, so that the record's name is known.
    let factor = site.enroll("root");
    for (name, file, break_it) in STORE_FAULTS {
        let path = site.path(file);
        let (bytes, mode) = (fs::read(&path).unwrap(), fs::metadata(&path).unwrap().permissions().mode());
        if name == "key of 33 bytes" || name == "key of zeros" || name.starts_with("key of 31") {
            set_mode(&path, 0o600);
        }
        break_it(&path);
        let broken = fs::metadata(&path).is_ok_and(|meta| meta.is_file()).then(|| fs::read(&path).unwrap());
        expect_unavailable(&site, &factor.secret, name);
        // Nothing is repaired, emptied or made anew on the way.
        let after = fs::metadata(&path).is_ok_and(|meta| meta.is_file()).then(|| fs::read(&path).unwrap());
        assert!(broken == after, "{name}: the login changed the file");
        remove_anything(&path);
        site::write(&path, mode & 0o7777, &bytes);
    }
    assert_eq!(site.login("root", &factor.secret, 0), SUCCESS, "it was the fault each time");
}

#[test]
fn a_newer_store_is_left_alone() {
    let site = Site::new();
    let factor = site.enroll("root");
    let path = site.path("twofa.db");
    let mut bytes = fs::read(&path).unwrap();
    // `PRAGMA user_version` is a big-endian number at byte 60 of the file (SQLite's file format, 1.3).
    let version = u32::from_be_bytes(bytes[60..64].try_into().unwrap());
    bytes[60..64].copy_from_slice(&(version + 1).to_be_bytes());
    fs::write(&path, &bytes).unwrap();
    expect_unavailable(&site, &factor.secret, "newer schema");
    assert!(fs::read(&path).unwrap() == bytes, "the login changed a newer store");
    assert!(!site.admin(&["user", "list"], "").status.success());
    assert!(fs::read(&path).unwrap() == bytes, "twofa-admin changed a newer store");
}

/// A login from this address with one wrong guess after another until the module ends it.
fn guess(site: &Site, secret: &str, from: &str, at: i64) -> Transcript {
    let wrong = code::wrong(secret, at);
    let plan = site.plan_from("root", from).at(at);
    site.run(&plan.say(&wrong).say(&wrong).say(&wrong).authenticate()).done()
}

/// A login from this address with the right code.
fn enter(site: &Site, secret: &str, from: &str, at: i64) -> Transcript {
    let plan = site.plan_from("root", from).at(at);
    site.run(&plan.say_code(secret, 0).authenticate()).done()
}

#[test]
fn five_failures_lock_an_address_for_a_quarter_of_an_hour() {
    let site = Site::new();
    let Factor { secret, .. } = site.enroll("root");
    let (bad, good) = ("203.0.113.5", "198.51.100.7");
    assert_eq!(guess(&site, &secret, bad, site.time).code("authenticate"), AUTH_ERR);
    let fifth = guess(&site, &secret, bad, site.time);
    assert_eq!((fifth.code("authenticate"), fifth.prompts().len()), (MAX_TRIES, 2), "{fifth:?}");
    let locked = enter(&site, &secret, bad, site.time);
    assert_eq!((locked.code("authenticate"), locked.prompts().len()), (MAX_TRIES, 0), "{locked:?}");
    assert!(locked.texts().contains("UTC"), "when it ends: {locked:?}");
    assert_eq!(enter(&site, &secret, good, site.time).code("authenticate"), SUCCESS, "from elsewhere");
    // Trying on does not make it longer; a clock set back does not make it shorter.
    for minute in [-10, 1, 7, 14] {
        let tried = enter(&site, &secret, bad, site.time + minute * 60);
        assert_eq!(tried.code("authenticate"), MAX_TRIES, "after {minute} minutes: {tried:?}");
    }
    let after = enter(&site, &secret, bad, site.time + 15 * 60 + 60);
    assert_eq!(after.code("authenticate"), SUCCESS, "{after:?}");
}

#[test]
fn addresses_are_told_apart_as_networks_give_them() {
    let site = Site::new();
    let Factor { secret, .. } = site.enroll("root");
    for from in ["2001:db8:1:2::1", "2001:db8:1:2::beef"] {
        guess(&site, &secret, from, site.time);
    }
    let same = enter(&site, &secret, "2001:db8:1:2:ffff::9", site.time);
    assert_eq!(same.code("authenticate"), MAX_TRIES, "one /64 is one customer: {same:?}");
    let other = enter(&site, &secret, "2001:db8:1:3::1", site.time);
    assert_eq!(other.code("authenticate"), SUCCESS, "{other:?}");
    for from in ["::ffff:203.0.113.9", "203.0.113.9"] {
        guess(&site, &secret, from, site.time);
    }
    let mapped = enter(&site, &secret, "::ffff:203.0.113.9", site.time + 60);
    assert_eq!(mapped.code("authenticate"), MAX_TRIES, "the same IPv4 address: {mapped:?}");
}

#[test]
fn the_lock_comes_during_a_login() {
    let site = Site::new();
    let Factor { secret, .. } = site.enroll("root");
    site.write_policy(&site.policy().replace("failures = 5", "failures = 2"));
    let wrong = text(code::wrong(&secret, site.time));
    let seen = authenticate(&site, "root", &[wrong.clone(), wrong, Answer::Code(secret, 0)]);
    assert_eq!((seen.code("authenticate"), seen.prompts().len()), (MAX_TRIES, 2), "{seen:?}");
}

#[test]
fn fifty_failures_from_anywhere_leave_only_recovery_codes() {
    let site = Site::new();
    let factor = site.enroll("root");
    let secret = &factor.secret;
    let mut judged = 0;
    for host in 1..=60 {
        let seen = guess(&site, secret, &format!("203.0.113.{host}"), site.time);
        judged += seen.prompts().iter().filter(|prompt| *prompt == APP).count();
        if seen.code("authenticate") == MAX_TRIES {
            break;
        }
    }
    assert_eq!((judged, site.failures("root")), (50, 50));
    for hours in [0, 1, 24, 24 * 7] {
        let seen = enter(&site, secret, "198.51.100.7", site.time + hours * 3600);
        assert!([AUTH_ERR, MAX_TRIES, CONV_ERR].contains(&seen.code("authenticate")), "{seen:?}");
    }
    let recovery = authenticate(&site, "root", &[text(&factor.recovery[0])]);
    assert_eq!(recovery.code("authenticate"), SUCCESS, "{recovery:?}");
    site.admin_ok(&["user", "unlock", "root"], "");
    assert_eq!(enter(&site, secret, "198.51.100.7", site.time).code("authenticate"), SUCCESS);
}

#[test]
fn a_success_forgives_only_its_own_address() {
    let site = Site::new();
    let Factor { secret, .. } = site.enroll("root");
    let (bad, good) = ("203.0.113.5", "198.51.100.7");
    guess(&site, &secret, bad, site.time);
    assert_eq!(enter(&site, &secret, good, site.time).code("authenticate"), SUCCESS);
    assert_eq!(site.failures("root"), 3, "the hard stop is the administrator's to lift");
    let fifth = guess(&site, &secret, bad, site.time);
    assert_eq!(fifth.code("authenticate"), MAX_TRIES, "{fifth:?}");
}

#[test]
fn a_code_beside_a_wrong_password_is_spent() {
    let site = Site::new();
    let Factor { secret, .. } = site.enroll("root");
    let module = fs::read_to_string(site.path("pam.d").join(SERVICE)).unwrap();
    site.write_service(SERVICE, &format!("auth required pam_deny.so\n{module}"));
    assert_eq!(site.login("root", &secret, 0), AUTH_ERR);
    site.write_stack("");
    let replay = authenticate(&site, "root", &[Answer::Code(secret, 0), Answer::Null]);
    assert!(replay.texts().contains("already used"), "{replay:?}");
    assert_eq!(replay.code("authenticate"), AUTH_ERR);
}

#[test]
fn a_record_that_somebody_holds() {
    let site = Site::new();
    let Factor { secret, .. } = site.enroll("root");
    let record = File::options().read(true).write(true).open(site.path("state/0")).unwrap();
    record.lock().unwrap();
    let begin = Instant::now();
    let stuck = site.login("root", &secret, 0);
    let waited = begin.elapsed();
    assert_eq!(stuck, UNAVAILABLE, "held for good");
    assert!(waited < Duration::from_secs(8), "{waited:?}");
    let letting_go = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(2));
        drop(record);
    });
    assert_eq!(site.login("root", &secret, 0), SUCCESS, "held for two seconds");
    letting_go.join().unwrap();
}

#[test]
fn the_log_has_the_lines_that_filters_match() {
    let site = Site::new();
    let Factor { secret, .. } = site.enroll("root");
    guess(&site, &secret, "203.0.113.5", site.time);
    site.log.expect(&format!("pam_twofa(sshd:auth): authentication failure; logname= uid="));
    let line = site.log.expect("authentication failure");
    assert!(line.ends_with(" rhost=203.0.113.5  user=root"), "pam_unix's end of line: {line}");
    // authpriv.notice is 85, authpriv.info 86.
    assert!(line.starts_with("<85>"), "{line}");
    enter(&site, &secret, "198.51.100.7", site.time);
    let line = site.log.expect("accepted app for root from 198.51.100.7");
    assert!(line.starts_with("<86>"), "{line}");
}

#[test]
fn modes_and_exemptions_are_explicit() {
    let site = Site::new();
    let Factor { secret, .. } = site.enroll("root");
    write_probe(&site, SERVICE);
    let run = |user: &str, clock: Clock| {
        let wrong = code::wrong(&secret, site.time);
        let plan = site.plan(user).clock(clock).say(&wrong).say(&wrong).say(&wrong);
        site.run(&plan.authenticate().call("account")).done()
    };
    let now = Clock::Frozen(site.time);
    // 7 is the probe's success: never PAM_IGNORE.
    site.write_policy(&site.policy().replace("enforce", "off"));
    let off = run("root", now);
    assert_eq!((off.code("authenticate"), off.code("account"), off.prompts().len()), (7, 7, 0), "{off:?}");
    site.log.expect("mode=off");
    site.write_policy(&site.policy().replace("enforce", "observe"));
    let observed = run("root", now);
    assert_eq!((observed.code("authenticate"), observed.code("account")), (7, 7), "{observed:?}");
    site.log.expect("mode=observe");
    site.write_policy(&format!(
        "{}[[exempt]]\nuser = \"games\"\nreason = \"test\"\nuntil = 2100-01-01\n",
        site.policy()
    ));
    let exempt = run("games", now);
    assert_eq!(
        (exempt.code("authenticate"), exempt.code("account"), exempt.prompts().len()),
        (7, 7, 0),
        "{exempt:?}"
    );
    let over = run("games", Clock::Frozen(4_102_444_800 + 86_400));
    assert_eq!(over.prompts().len(), 3, "{over:?}");
    assert_eq!(over.code("account"), PERM_DENIED, "{over:?}");
}
