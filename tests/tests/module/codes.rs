//! Which codes are accepted, when, and how often.

use crate::{AUTH_ERR, SUCCESS, UNAVAILABLE, authenticate, text};
use std::fs;
use twofa_tests::driver::code;
use twofa_tests::driver::pam::Answer;
use twofa_tests::driver::site::Factor;
use twofa_tests::driver::site::SERVICE;
use twofa_tests::driver::site::Site;

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
    for line in site.logged() {
        assert!(codes.iter().all(|code| !line.contains(&code[..9])), "{line}");
    }
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
