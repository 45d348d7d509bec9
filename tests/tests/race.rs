//! One code, one login: many processes at the same moment, and clocks that go back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a broken test says so and stops; the figures are printed"
)]

use std::collections::BTreeMap;
use std::sync::Mutex;
use twofa_tests::driver::pam::Answer;
use twofa_tests::driver::plan::Plan;
use twofa_tests::driver::site::Site;
use twofa_tests::driver::{code, transcript::Transcript};

const SUCCESS: i32 = 0;
const AUTH_ERR: i32 = 7;
const MAX_TRIES: i32 = 11;
const PROCESSES: usize = 64;

/// One race at a time: two would slow each other down and overlap less.
static TRACK: Mutex<()> = Mutex::new(());

/// Lets so many processes go at once, round after round, the clock going on in between.
#[track_caller]
fn race(site: &Site, plan: Plan, rounds: usize, release: &str) -> Transcript {
    let plan = plan.with("mode", "race").with("processes", PROCESSES.to_string());
    let plan = plan.with("rounds", rounds.to_string()).with("release", release);
    let track = TRACK.lock().unwrap_or_else(|broken| broken.into_inner());
    let seen = site.run(&plan).done();
    drop(track);
    assert_eq!(seen.children().len(), rounds * PROCESSES, "every process reports");
    seen
}

/// How many rounds had so many successes.
fn winners(seen: &Transcript, rounds: usize) -> BTreeMap<usize, usize> {
    let mut of_round = vec![0; rounds];
    for child in seen.children().iter().filter(|child| child.code == SUCCESS) {
        of_round[child.round] += 1;
    }
    of_round.into_iter().fold(BTreeMap::new(), |mut histogram, wins| {
        *histogram.entry(wins).or_default() += 1;
        histogram
    })
}

fn slowest(seen: &Transcript) -> u64 {
    seen.children().iter().map(|child| child.microseconds).max().unwrap_or(0) / 1000
}

#[track_caller]
fn exactly_one_each(what: &str, seen: &Transcript, rounds: usize) {
    let (wins, codes) = (winners(seen, rounds), seen.histogram());
    println!(
        "{what}: {rounds} rounds of {PROCESSES}: winners a round {wins:?}, results {codes:?}, slowest {} ms",
        slowest(seen)
    );
    assert_eq!(wins, BTreeMap::from([(1, rounds)]), "{what}: {codes:?}");
    assert_eq!(codes, BTreeMap::from([(SUCCESS, rounds), (AUTH_ERR, rounds * (PROCESSES - 1))]), "{what}");
}

#[test]
fn one_code_admits_one_of_64_at_the_prompt() {
    let site = Site::new();
    let factor = site.enroll("root");
    // A second prompt comes to those who lose: they give up.
    let plan = site.plan("root").say_code(&factor.secret, 0).answer(&Answer::Null).with("step", "30");
    exactly_one_each("app code, at the prompt", &race(&site, plan, 100, "prompt"), 100);
}

#[test]
fn one_code_admits_one_of_64_from_the_start() {
    let site = Site::new();
    let factor = site.enroll("root");
    let plan = site.plan("root").say_code(&factor.secret, 0).answer(&Answer::Null).with("step", "30");
    exactly_one_each("app code, from pam_start", &race(&site, plan, 100, "start"), 100);
}

#[test]
fn one_recovery_code_admits_one_of_64() {
    let site = Site::new();
    let mut codes = site.enroll("root").recovery;
    let mut total = 0;
    for set in 0..10 {
        if set > 0 {
            let printed = site.admin_ok(&["recovery", "new", "root"], "saved\n");
            codes = twofa_tests::driver::site::recovery_codes(&printed);
        }
        assert_eq!(codes.len(), 10);
        let release = if set % 2 == 0 { "prompt" } else { "start" };
        let plan = codes
            .iter()
            .fold(site.plan("root"), |plan, code| plan.with("round-answer", format!("text:{code}")));
        let seen = race(&site, plan.with("give-up", "yes"), codes.len(), release);
        exactly_one_each(&format!("recovery codes, set {set}, {release}"), &seen, codes.len());
        total += codes.len();
    }
    assert_eq!(total, 100);
}

#[test]
fn parallel_guesses_do_not_outrun_the_limit() {
    let site = Site::new();
    for (number, release) in ["prompt", "start"].into_iter().cycle().take(10).enumerate() {
        let user = format!("t{number:06}");
        let factor = site.enroll(&user);
        let wrong = code::wrong(&factor.secret, site.time);
        let plan = site.plan(&user).say(&wrong).answer(&Answer::Null);
        let seen = race(&site, plan, 1, release);
        let children = seen.children();
        let judged = children.iter().filter(|child| child.text.contains("Wrong code.")).count();
        println!(
            "wrong guesses, {release}: {:?}, told so {judged}, slowest {} ms",
            seen.histogram(),
            slowest(&seen)
        );
        // The fifth is told of the lock instead.
        let codes = seen.histogram();
        assert_eq!(judged, 4, "{codes:?} {children:?}");
        assert_eq!(codes, BTreeMap::from([(AUTH_ERR, 4), (MAX_TRIES, PROCESSES - 4)]), "{children:?}");
        assert_eq!(site.failures(&user), 5);
        // And the right code does not help now.
        assert_eq!(site.login(&user, &factor.secret, 0), MAX_TRIES);
    }
}

/// The right code among the guesses: one login at most, and none once the limit is reached.
#[test]
fn a_right_code_among_guesses() {
    let site = Site::new();
    let factor = site.enroll("root");
    let wrong = code::wrong(&factor.secret, site.time);
    let plan = site.plan("root").say(&wrong).say_code(&factor.secret, 0).answer(&Answer::Null);
    let seen = race(&site, plan, 1, "prompt");
    let codes = seen.histogram();
    println!("a wrong guess, then the right code: {codes:?}");
    assert!(codes.get(&SUCCESS).copied().unwrap_or(0) <= 1, "{codes:?}");
    let known = codes.keys().all(|code| [SUCCESS, AUTH_ERR, MAX_TRIES].contains(code));
    assert!(known, "{codes:?}");
}

#[test]
fn different_users_do_not_hinder_each_other() {
    let site = Site::new();
    let secret = code::secret(4711);
    let users: Vec<String> = (0..PROCESSES).map(|number| format!("t{number:06}")).collect();
    for user in &users {
        site.enroll_with(user, &secret);
    }
    for (number, release) in ["prompt", "start"].into_iter().cycle().take(10).enumerate() {
        let at = site.time + i64::try_from(number).unwrap() * code::STEP;
        let plan = users.iter().fold(site.plan("root").at(at), |plan, user| plan.with("users", user));
        let seen = race(&site, plan.say_code(&secret, 0).answer(&Answer::Null), 1, release);
        println!("{PROCESSES} users, {release}: {:?}, slowest {} ms", seen.histogram(), slowest(&seen));
        assert_eq!(seen.histogram(), BTreeMap::from([(SUCCESS, PROCESSES)]));
    }
}

/// All at once, from as many addresses: one of them is sent a code, and only that one is let in by it.
#[test]
fn one_message_of_64_logins() {
    let site = Site::sending(&["sms"]);
    site.contact("root", &["--phone", "+48600000123"]);
    let plan = site.plan("root").with("addresses", PROCESSES.to_string()).with("step", "7200");
    for (round, release) in ["start", "start", "start", "start", "prompt"].into_iter().enumerate() {
        let at = site.time + i64::try_from(round).unwrap() * 7200;
        let plan = plan.clone().at(at).say_sent().answer(&Answer::Null);
        let seen = race(&site, plan, 1, release);
        let children = seen.children();
        let told = |text: &str| children.iter().filter(|child| child.text.contains(text)).count();
        println!("a code sent, {release}: {:?}, slowest {} ms", seen.histogram(), slowest(&seen));
        assert_eq!(site.messages().len(), round + 1, "messages, {release}");
        exactly_one_each("the sent code", &seen, 1);
        assert_eq!(told("The last code was sent for another login"), PROCESSES - 1, "{children:?}");
    }
    assert_eq!(site.processes(), [""; 0]);
}

/// As many users at once, on a host that may send five messages an hour.
#[test]
fn five_messages_of_64_users() {
    let site = Site::sending(&["sms"]);
    let policy = site.sending_policy(&["sms"]);
    site.write_policy(&policy.replace("[limits]", "[limits]\nsends_per_host_hour = 5"));
    let users: Vec<String> = (0..24).map(|number| format!("t{number:06}")).collect();
    for (number, user) in users.iter().enumerate() {
        site.contact(user, &["--phone", &format!("+486000001{number:02}")]);
    }
    let plan = users.iter().fold(site.plan("root"), |plan, user| plan.with("users", user));
    let plan = plan.with("addresses", PROCESSES.to_string());
    for (hour, release) in ["start", "prompt"].into_iter().enumerate() {
        let at = site.time + i64::try_from(hour).unwrap() * 3600;
        let count = site.messages().len();
        let seen = race(&site, plan.clone().at(at).answer(&Answer::Null), 1, release);
        let capped = seen.children().iter().filter(|child| child.text.contains("Too many codes")).count();
        let sent = site.messages().len() - count;
        println!("24 users, {release}: {sent} messages, {capped} told so, slowest {} ms", slowest(&seen));
        assert_eq!(sent, 5, "{release}");
        // Each user's other processes come within the pause of a message, or after the host's last.
        assert!(capped >= PROCESSES - 5 * PROCESSES.div_ceil(users.len()), "{capped}");
    }
    let lines = site.logged().into_iter().filter(|line| line.ends_with("reason=send-limit limit=host"));
    assert!(lines.count() >= 2 * (PROCESSES - 15));
    assert_eq!(site.processes(), [""; 0]);
}

/// Administrators change the user while everybody logs in: nobody gets in twice, nothing breaks.
#[test]
fn changes_by_an_administrator_meanwhile() {
    let site = Site::new();
    let factor = site.enroll("root");
    let plan = site.plan("root").say_code(&factor.secret, 0).answer(&Answer::Null).with("step", "30");
    let seen = std::thread::scope(|scope| {
        let running = scope.spawn(|| race(&site, plan, 30, "start"));
        let mut changes = 0;
        while !running.is_finished() {
            site.admin_ok(&["recovery", "new", "root"], "saved\n");
            site.admin_ok(&["user", "unlock", "root"], "");
            changes += 2;
        }
        println!("{changes} changes meanwhile");
        running.join().unwrap()
    });
    let wins = winners(&seen, 30);
    println!("with changes meanwhile: winners a round {wins:?}, results {:?}", seen.histogram());
    assert!(wins.keys().all(|&wins| wins <= 1), "{wins:?}");
    let trouble: Vec<_> = site.logged().into_iter().filter(|line| line.contains("store:")).collect();
    let known = seen.histogram().keys().all(|code| [SUCCESS, AUTH_ERR].contains(code));
    assert!(known, "{:?}, {trouble:?}", seen.histogram());
    assert_eq!(site.login("root", &factor.secret, 40), SUCCESS);
}

#[test]
fn a_clock_set_back_opens_nothing() {
    let site = Site::new();
    let factor = site.enroll("root");
    let minutes = |minutes: i64| minutes * 60 / code::STEP;
    let offer = |clock: i64, code_at: i64| {
        let at = site.time + clock * code::STEP;
        let plan = site.plan("root").at(at).say(code::at(&factor.secret, site.time, code_at));
        site.run(&plan.answer(&Answer::Null).authenticate()).done().code("authenticate")
    };
    assert_eq!(offer(0, 0), SUCCESS, "at 12:00");
    assert_eq!(offer(minutes(10), minutes(10)), SUCCESS, "at 12:10");
    // Set back to 12:00: the code used then, those around it, and the one of 12:10.
    for code in [0, -1, 1, minutes(10)] {
        assert_eq!(offer(0, code), AUTH_ERR, "the code of step {code}");
    }
    for clock in [minutes(5), minutes(9), minutes(10)] {
        assert_eq!(offer(clock, clock), AUTH_ERR, "the code valid then, step {clock}");
    }
    assert_eq!(offer(minutes(10) + 1, minutes(10) + 1), SUCCESS, "time goes on");
}
