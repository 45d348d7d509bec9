//! The six hooks, their arguments, and the policy's modes.

use crate::{APP, AUTH_ERR, PERM_DENIED, SUCCESS, UNAVAILABLE, enter, guess};
use twofa_tests::driver::clock::Clock;
use twofa_tests::driver::code;
use twofa_tests::driver::pam::Answer;
use twofa_tests::driver::plan::Plan;
use twofa_tests::driver::site;
use twofa_tests::driver::site::Factor;
use twofa_tests::driver::site::SERVICE;
use twofa_tests::driver::site::Site;

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
    assert!(told.texts().contains("second factor"), "{told:?}");
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
    for line in site.logged() {
        assert!(secrets.iter().all(|secret| !line.contains(secret)), "{line}");
    }
}

#[test]
fn the_log_has_the_lines_that_filters_match() {
    let site = Site::new();
    let Factor { secret, .. } = site.enroll("root");
    guess(&site, &secret, "203.0.113.5", site.time);
    site.log.expect("pam_twofa(sshd:auth): authentication failure; logname= uid=");
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
