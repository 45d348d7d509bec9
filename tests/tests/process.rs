//! The module is a guest in sshd, login and su: it leaves their process as it found it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a broken test says so and stops; the figures are printed"
)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use twofa_tests::driver::pam::Answer;
use twofa_tests::driver::plan::Plan;
use twofa_tests::driver::site::{self, Site};
use twofa_tests::driver::{code, transcript::Transcript};

const SUCCESS: i32 = 0;
const AUTH_ERR: i32 = 7;
const UNAVAILABLE: i32 = 9;
const USER_UNKNOWN: i32 = 10;
const ABORT: i32 = 26;

#[test]
fn ten_thousand_logins_in_one_process() {
    const TIMES: usize = 10_000;
    let site = Site::new();
    let factor = site.enroll("root");
    let plan = site.plan("root").with("mode", "repeat").with("times", TIMES.to_string()).with("step", "30");
    let seen = site.run(&plan.say_code(&factor.secret, 0)).done();
    assert_eq!(seen.histogram(), BTreeMap::from([(SUCCESS, TIMES)]));
    expect_no_growth("10,000 logins", &seen);
}

#[test]
fn a_thousand_refusals_of_each_kind_in_one_process() {
    let site = Site::new();
    let factor = site.enroll("root");
    let wrong = code::wrong(&factor.secret, site.time);
    let repeat = |plan: Plan| site.run(&plan.with("mode", "repeat").with("times", "1000")).done();
    let unknown = repeat(site.plan("no-such-user").say(&wrong).say(&wrong).say(&wrong));
    assert_eq!(unknown.histogram(), BTreeMap::from([(USER_UNKNOWN, 1000)]));
    expect_no_growth("1,000 logins of an unknown user", &unknown);
    // After the fifth guess it is the lock that refuses.
    let refused = repeat(site.plan("root").say(&wrong).answer(&Answer::Null));
    expect_no_growth("1,000 wrong codes", &refused);
    let void = repeat(site.plan("daemon").answer(&Answer::Null));
    assert_eq!(void.histogram(), BTreeMap::from([(AUTH_ERR, 1000)]));
    expect_no_growth("1,000 logins given up", &void);
}

#[test]
fn two_hundred_codes_sent_in_one_process() {
    const TIMES: usize = 200;
    let site = Site::sending(&["sms"]);
    site.contact("root", &["--phone", PHONE]);
    site.write_policy(&site.sending_policy(&["sms"]).replace("[limits]", "[limits]\nsends_per_day = 20"));
    let plan = site.plan("root").with("mode", "repeat").with("times", TIMES.to_string());
    let seen = site.run(&plan.with("step", "7200").say_sent()).done();
    assert_eq!(seen.histogram(), BTreeMap::from([(SUCCESS, TIMES)]));
    assert_eq!(site.messages().len(), TIMES);
    expect_no_growth("200 codes sent", &seen);
    assert_eq!(["children-warm", "children-end"].map(|word| seen.number(word)), [0, 0]);
    assert_eq!(site.processes(), [""; 0]);
}

#[track_caller]
fn expect_no_growth(what: &str, seen: &Transcript) {
    let [warm, end] = ["resident-warm", "resident-end"].map(|word| seen.number(word));
    let [open, left] = ["descriptors-warm", "descriptors-end"].map(|word| seen.number(word));
    println!("{what}: {warm} KiB when warm, {end} KiB at the end; {open} descriptors, {left} at the end");
    assert!(end - warm < 1024, "{what}: grew by {} KiB", end - warm);
    assert_eq!(open, left, "{what}: descriptors");
}

const PHONE: &str = "+48600000123";

/// A site that sends, and logins that send: one that uses its code, and some that do not end well.
fn sending_kinds() -> (Site, Vec<(&'static str, Plan, i32)>) {
    let site = Site::sending(&["sms", "app"]);
    for (user, phone) in [("root", PHONE), ("daemon", "+48600000001"), ("bin", "+48600000002")] {
        site.contact(user, &["--phone", phone]);
    }
    let wrong = || Answer::WrongSent;
    let kinds = vec![
        ("sent code", site.plan("root").say_sent(), SUCCESS),
        ("wrong sent code", site.plan("daemon").answer(&wrong()).answer(&wrong()).answer(&wrong()), AUTH_ERR),
        ("sent, given up", site.plan("bin").answer(&Answer::Null), AUTH_ERR),
        ("sent to nobody", site.plan("games").answer(&Answer::Null), AUTH_ERR),
        ("nothing sent", site.plan("root").no_password().answer(&Answer::Null), AUTH_ERR),
    ];
    (site, kinds)
}

/// A login of each kind: (name, user, answers, result).
fn kinds(site: &Site) -> Vec<(&'static str, Plan, i32)> {
    let factor = site.enroll("root");
    let wrong = code::wrong(&factor.secret, site.time);
    let refused = |user| site.plan(user).say(&wrong).say(&wrong).say(&wrong);
    vec![
        ("right code", site.plan("root").say_code(&factor.secret, 0), SUCCESS),
        ("wrong code", refused("root"), AUTH_ERR),
        ("unknown user", refused("no-such-user"), USER_UNKNOWN),
        ("not enrolled", refused("games"), AUTH_ERR),
        ("given up", site.plan("root").answer(&Answer::Null), AUTH_ERR),
        ("recovery code", site.plan("root").say(&factor.recovery[0]), SUCCESS),
    ]
}

#[test]
fn valgrind_has_nothing_to_say() {
    let site = Site::new();
    for (name, plan, result) in kinds(&site) {
        under_valgrind(&site, name, plan, result);
    }
    let (site, kinds) = sending_kinds();
    let [sent, ..] = &kinds[..] else { panic!("{kinds:?}") };
    under_valgrind(&site, sent.0, sent.1.clone(), sent.2);
}

#[track_caller]
fn under_valgrind(site: &Site, name: &str, plan: Plan, result: i32) {
    let report = site.path("valgrind");
    let tool: Vec<OsString> = [
        "valgrind",
        "--leak-check=full",
        "--show-leak-kinds=definite,indirect,possible",
        "--errors-for-leak-kinds=definite,indirect,possible",
        "--error-exitcode=99",
        "--num-callers=30",
    ]
    .map(Into::into)
    .into_iter()
    .chain([format!("--log-file={}", report.display()).into()])
    .collect();
    let plan = plan.authenticate().call("account").call("setcred");
    let run = site.run_with(&plan, &tool, &[]);
    let text = fs::read_to_string(&report).unwrap_or_default();
    assert!(text.contains("ERROR SUMMARY: 0 errors"), "{name}: {text}");
    let lost = ["definitely lost: ", "indirectly lost: ", "possibly lost: "];
    let clean = lost.iter().all(|kind| text.contains(&format!("{kind}0 bytes")));
    assert!(clean || text.contains("All heap blocks were freed"), "{name}: {text}");
    assert_eq!(run.done().code("authenticate"), result, "{name}");
}

/// sigactions, masks, umask, cwd, ids, environ, descriptors, limits, timers, locale, threads.
#[test]
fn every_call_leaves_the_process_as_it_was() {
    let site = Site::new();
    for (name, plan, result) in kinds(&site) {
        expect_nothing_changed(&site, name, plan, result);
    }
    let (site, kinds) = sending_kinds();
    for (name, plan, result) in kinds {
        expect_nothing_changed(&site, name, plan, result);
    }
}

#[track_caller]
fn expect_nothing_changed(site: &Site, name: &str, plan: Plan, result: i32) {
    let plan =
        plan.with("watch", "yes").authenticate().call("account").call("setcred").call("open").call("close");
    let seen = site.run(&plan).done();
    assert_eq!(seen.code("authenticate"), result, "{name}: {seen:?}");
    assert!(seen.all("watched").iter().all(|count| count.parse::<u32>().unwrap() > 70), "{seen:?}");
    assert_eq!(seen.all("watched").len(), 5);
    assert_eq!(seen.all("changed"), [""; 0], "{name}");
}

/// Programs with manners of their own: what they do about children and signals neither stops a message nor is
/// changed by one, and a child of theirs is theirs to wait for.
#[test]
fn codes_are_sent_by_any_program() {
    let site = Site::sending(&["sms"]);
    site.write_policy(&site.sending_policy(&["sms"]).replace("[limits]", "[limits]\nsends_per_hour = 20"));
    let secret = site.path("secret");
    site::write(&secret, 0o600, b"of the host");
    let secret = secret.display().to_string();
    let manners: [&[(&str, &str)]; 8] = [
        &[("sigchld", "ignore")],
        &[("sigchld", "reap")],
        &[("child", "yes")],
        &[("sigmask", "all"), ("child", "yes")],
        &[("sigpipe", "default"), ("child", "yes")],
        &[("open", &secret)],
        &[("close-std", "yes")],
        &[("close-std", "yes"), ("open", &secret), ("sigchld", "ignore"), ("sigpipe", "default")],
    ];
    for (number, manner) in manners.into_iter().enumerate() {
        let user = format!("t{number:06}");
        site.contact(&user, &["--phone", &format!("+4860000000{number}")]);
        let plan = manner.iter().fold(site.plan(&user), |plan, (word, value)| plan.with(word, value));
        let plan = plan.with("watch", "yes").say_sent().authenticate().call("account");
        let seen = site.run(&plan).done();
        assert_eq!(seen.code("authenticate"), SUCCESS, "{manner:?}: {seen:?}");
        let changed: Vec<_> = seen.all("changed").into_iter().filter(|change| !only_null(change)).collect();
        let of_child = |change: &String| manner.contains(&("child", "yes")) && change.starts_with("children");
        assert!(changed.iter().all(of_child), "{manner:?}: {changed:?}");
        let ended = if manner.contains(&("child", "yes")) { &["as it did"][..] } else { &[] };
        assert_eq!(seen.all("child-ended"), ended, "{manner:?}");
        assert_eq!(site.messages().len(), number + 1, "{manner:?}");
        assert_eq!(site.processes(), [""; 0], "{manner:?}");
    }
}

/// What is wrong with a helper, and what makes it so.
type Helper<'a> = (&'a str, &'a dyn Fn(&Path));

/// The same programs, with a helper that is none, and with gateways that fail.
#[test]
fn a_helper_that_dies_takes_nobody_along() {
    let site = Site::sending(&["sms", "app"]);
    site.write_policy(
        &site.sending_policy(&["sms", "app"]).replace("[limits]", "[limits]\nsends_per_hour = 20"),
    );
    let secret = code::secret(4712);
    let good = fs::read(site.path("helper")).unwrap();
    let helpers: [Helper<'_>; 4] = [
        ("ends at once", &|path| site::write(path, 0o755, &fs::read("/bin/true").unwrap())),
        ("is missing", &|path| fs::remove_file(path).unwrap()),
        ("is no program", &|path| site::write(path, 0o755, b"\x7fELF, or not")),
        ("has a gateway that is killed", &|path| {
            fs::write(path, &good).unwrap();
            site.write_short_hook("kill -9 $$");
        }),
    ];
    let manners = [("sigpipe", "default"), ("sigchld", "ignore"), ("sigchld", "reap"), ("close-std", "yes")];
    for (number, (name, break_it)) in helpers.into_iter().enumerate() {
        break_it(&site.path("helper"));
        for (manner, (word, value)) in manners.into_iter().enumerate() {
            let user = format!("t{number:03}{manner:03}");
            site.enroll_with(&user, &secret);
            site.contact(&user, &["--phone", &format!("+486000{number:02}{manner:02}")]);
            let plan = site.plan(&user).with(word, value).with("watch", "yes").say_code(&secret, 0);
            let seen = site.run(&plan.authenticate()).done();
            assert_eq!(seen.code("authenticate"), SUCCESS, "{name}, {word} {value}: {seen:?}");
            assert_eq!(seen.prompts(), ["Verification code (app, or type sms): "], "{name}");
            assert!(seen.texts().contains("No code could be sent by SMS."), "{name}: {seen:?}");
            let changed = seen.all("changed");
            assert!(changed.iter().all(|change| only_null(change)), "{name}, {word} {value}: {changed:?}");
        }
        let _ = fs::remove_file(site.path("helper"));
        site::write(&site.path("helper"), 0o755, &good);
    }
    assert_eq!((site.messages().len(), site.processes()), (0, vec![]));
}

/// Whatever the program that asked for a code has open, ignores and blocks.
#[test]
fn a_gateway_inherits_nothing() {
    let site = Site::sending(&["sms"]);
    site.contact("root", &["--phone", PHONE]);
    let secret = site.path("secret");
    site::write(&secret, 0o600, b"of the host");
    let plan = |at: i64| {
        let plan = site.plan("root").at(site.time + at).with("open", secret.to_str().unwrap());
        plan.with("sigmask", "all").with("sigchld", "ignore").answer(&Answer::Null).authenticate()
    };
    let mail = site.path("mail").display().to_string();
    site.write_short_hook(&format!("{{ readlink /proc/$$/fd/*; env; pwd; umask; }} >{mail}/list"));
    let loud = [("LD_PRELOAD", ""), ("SECRET_OF_THE_HOST", "1")];
    assert_eq!(site.run_with(&plan(0), &[], &loud).done().code("authenticate"), AUTH_ERR);
    let seen = fs::read_to_string(site.path("mail/list")).unwrap();
    for of_host in ["/secret", "SECRET_OF_THE_HOST", "LD_PRELOAD", "twofa.db", "state/", "socket"] {
        assert!(!seen.contains(of_host), "{of_host}: {seen}");
    }
    // A program that does nothing about signals of its own, as a shell does: cp copies its own status.
    site.write_hook(&format!("#!/usr/bin/env -S cp -t {mail} /proc/self/status\n"));
    assert_eq!(site.run(&plan(60)).done().code("authenticate"), AUTH_ERR);
    let status = fs::read_to_string(site.path("mail/status")).unwrap();
    let none = "0000000000000000";
    for (name, value) in [
        ("SigBlk", none),
        ("SigIgn", none),
        ("Uid", "65534\t65534\t65534\t65534"),
        ("Gid", "65534\t65534\t65534\t65534"),
        ("Groups", ""),
        ("CapInh", none),
        ("CapPrm", none),
        ("CapEff", none),
        ("CapAmb", none),
        ("NoNewPrivs", "1"),
        ("Umask", "0077"),
    ] {
        let is = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        assert_eq!(is, Some(value), "{name}: {status}");
    }
}

/// A host without standard streams: the database is not opened in their place, where a print would land.
#[test]
fn a_host_with_closed_standard_streams() {
    let site = Site::new();
    for (name, plan, result) in kinds(&site) {
        let database = fs::read(site.path("twofa.db")).unwrap();
        let plan = plan.with("close-std", "yes").with("watch", "yes").authenticate().call("account");
        let seen = site.run(&plan).done();
        assert_eq!(seen.code("authenticate"), result, "{name}: {seen:?}");
        assert!(seen.all("changed").iter().all(|change| only_null(change)), "{name}: {seen:?}");
        assert!(database == fs::read(site.path("twofa.db")).unwrap(), "{name}: a login changed the accounts");
    }
    // What the module has open during a login is above the three.
    let factor = site.enroll("daemon");
    let trace = site.path("trace");
    let tool = [
        "strace",
        "-f",
        "-y",
        "-e",
        "trace=openat,open,socket,dup,dup2,dup3,fcntl,read,pread64,write,pwrite64",
        "-o",
    ];
    let tool: Vec<OsString> = tool.map(Into::into).into_iter().chain([trace.clone().into()]).collect();
    let plan = site.plan("daemon").with("close-std", "yes").say_code(&factor.secret, 0).authenticate();
    assert_eq!(site.run_with(&plan, &tool, &[]).done().code("authenticate"), SUCCESS);
    let text = fs::read_to_string(&trace).unwrap();
    let store = [site.path("twofa.db"), site.path("state")].map(|path| path.display().to_string());
    let used = text.lines().filter(|line| store.iter().any(|path| line.contains(path.as_str())));
    let low: Vec<_> = used
        .filter(|line| {
            ["read(", "pread64(", "write(", "pwrite64("].iter().any(|call| {
                line.split_once(call)
                    .is_some_and(|(_, rest)| rest.starts_with(['0', '1', '2']) && rest[1..].starts_with('<'))
            })
        })
        .collect();
    assert!(low.is_empty(), "the store was used through a standard descriptor: {low:?}");
}

/// SQLite fills the gap of a host without standard streams with /dev/null, so that nobody's print can
/// get into a database; nothing else may be there.
fn only_null(change: &str) -> bool {
    let Some((before, after)) = change.strip_prefix("fds: ").and_then(|change| change.split_once(" -> "))
    else {
        return false;
    };
    let entries = |text: &str| -> Vec<String> {
        let clean: String = text.chars().filter(|c| !"\\\"{}() ".contains(*c)).collect();
        clean.trim_start_matches("Some").split(',').map(str::to_owned).collect()
    };
    let before = entries(before);
    entries(after).iter().all(|entry| {
        before.contains(entry) || (0..3).any(|fd| *entry == format!("/proc/self/fd/{fd}:/dev/null"))
    })
}

#[test]
fn little_to_live_on() {
    let site = Site::new();
    let factor = site.enroll("root");
    let run = |step: i64, limit: &str| {
        let at = site.time + step * code::STEP;
        let plan =
            site.plan("root").at(at).with("limit", limit).say_code(&factor.secret, 0).answer(&Answer::Null);
        let run = site.run(&plan.authenticate());
        assert!(run.status.success(), "{limit}: {run:?}");
        let seen = run.done();
        // Not even pam_start works without a descriptor.
        let started = seen.codes("start");
        started.first().copied().unwrap_or_else(|| seen.code("authenticate"))
    };
    assert_eq!(run(0, "nofile=16"), SUCCESS);
    // Not even a write in place is possible: it must be an error, not the signal SIGXFSZ.
    let code = run(1, "fsize=0");
    assert!([5, UNAVAILABLE].contains(&code), "RLIMIT_FSIZE 0: {code}");
    assert_eq!(run(1, "fsize=1000000000"), SUCCESS, "the code was not spent by the failure");
    for (step, descriptors) in (2..).zip(0..16) {
        let code = run(step, &format!("nofile={descriptors}"));
        // libpam itself needs some to load the module: it says 28, 6 or 4 then.
        assert!([SUCCESS, 4, 5, 6, UNAVAILABLE, 28, 26].contains(&code), "{descriptors} descriptors: {code}");
        assert!(
            code == SUCCESS || run(step, "nofile=64") == SUCCESS,
            "{descriptors}: refused, and yet spent"
        );
    }
    let enough = run(30, "as=67108864");
    assert!([SUCCESS, 5, UNAVAILABLE].contains(&enough), "64 MiB: {enough}");
}

/// No code can be sent then; the app goes on as long as anything does.
#[test]
fn too_little_to_send_with() {
    let site = Site::sending(&["sms", "app"]);
    let secret = code::secret(4713);
    let mut prompts = BTreeMap::<(i32, Option<bool>), usize>::new();
    let descriptors = (0..24).map(|number| format!("nofile={number}"));
    let limits = ["fsize=0", "fsize=100000", "fsize=1000000", "nproc=0", "as=67108864"].map(str::to_owned);
    for (number, limit) in limits.into_iter().chain(descriptors).enumerate() {
        let user = format!("t{number:06}");
        site.enroll_with(&user, &secret);
        site.contact(&user, &["--phone", &format!("+486000010{number:02}")]);
        let plan = site.plan(&user).with("limit", &limit).say("app").say_code(&secret, 0);
        let run = site.run(&plan.answer(&Answer::Null).answer(&Answer::Null).authenticate());
        assert!(run.status.success(), "{limit}: {run:?}");
        let seen = run.done();
        let started = seen.codes("start");
        let code = started.first().copied().unwrap_or_else(|| seen.code("authenticate"));
        // libpam itself needs some to load the module.
        assert!([SUCCESS, AUTH_ERR, 4, 5, 6, UNAVAILABLE, 28, 26].contains(&code), "{limit}: {seen:?}");
        let asked = seen.prompts().first().map(|prompt| prompt.contains("SMS to"));
        *prompts.entry((code, asked)).or_default() += 1;
        assert_eq!(site.processes(), [""; 0], "{limit}");
        // What was not sent may be asked for again.
        let next = site.plan(&user).at(site.time + 60).say_sent().authenticate();
        assert_eq!(site.run(&next).done().code("authenticate"), SUCCESS, "after {limit}");
    }
    println!("too little, (result, whether a code was sent): {prompts:?}");
    assert!(prompts.len() > 3, "{prompts:?}");
}

#[test]
fn a_log_that_is_not_there() {
    let site = Site::new();
    let factor = site.enroll("root");
    let plan = |step: i64| {
        site.plan("root").at(site.time + step * code::STEP).say_code(&factor.secret, 0).authenticate()
    };
    let missing = site.path("no-log").display().to_string();
    let seen = site.run_with(&plan(0), &[], &[("TWOFA_TEST_LOG", &missing)]).done();
    assert_eq!(seen.code("authenticate"), SUCCESS);
    assert!(seen.number("milliseconds") < 1000, "{seen:?}");
    // A daemon that hangs: the queue of its socket is full.
    let path = site.path("full-log");
    let listening = UnixDatagram::bind(&path).unwrap();
    let writer = UnixDatagram::unbound().unwrap();
    writer.set_nonblocking(true).unwrap();
    while writer.send_to(&[b'x'; 200], &path).is_ok() {}
    let full = path.display().to_string();
    let seen = site.run_with(&plan(1), &[], &[("TWOFA_TEST_LOG", &full)]).done();
    assert_eq!(seen.code("authenticate"), SUCCESS);
    assert!(seen.number("milliseconds") < 1500, "{seen:?}");
    let wrong = code::wrong(&factor.secret, site.time);
    let refused = site.plan("root").say(&wrong).say(&wrong).say(&wrong).authenticate();
    let seen = site.run_with(&refused, &[], &[("TWOFA_TEST_LOG", &full)]).done();
    assert_eq!(seen.code("authenticate"), AUTH_ERR);
    assert!(seen.number("milliseconds") < 2500, "{seen:?}");
    drop(listening);
    // Nobody listens any more (ECONNREFUSED): no SIGPIPE, no wait.
    let seen = site.run_with(&plan(2), &[], &[("TWOFA_TEST_LOG", &full)]).done();
    assert_eq!(seen.code("authenticate"), SUCCESS);
}

#[test]
fn a_panic_is_a_refusal_and_nothing_else() {
    let site = Site::new();
    let factor = site.enroll("root");
    let module = site::panicking_module();
    let conf = site.path("twofa.toml");
    let hooks =
        [("auth", "authenticate"), ("account", "account"), ("setcred", "setcred"), ("session", "open")];
    for (step, (hook, call)) in (0..).zip(hooks) {
        site.write_lines(&module, &format!("conf={} panic={hook}", conf.display()));
        let at = site.time + step * code::STEP;
        let plan = site.plan("root").at(at).with("watch", "yes").say_code(&factor.secret, 0);
        // `done` sees that the process lives on and that nothing was printed.
        let plan = plan.authenticate().call("account").call("setcred").call("open");
        let loud = [("RUST_BACKTRACE", "full"), ("RUST_LOG", "trace"), ("RUST_LIB_BACKTRACE", "1")];
        let seen = site.run_with(&plan, &[], &loud).done();
        let codes: Vec<_> = hooks.iter().map(|(_, call)| seen.code(call)).collect();
        assert_eq!(seen.code(call), ABORT, "panic={hook}: {codes:?}");
        assert_eq!(seen.all("changed"), [""; 0], "panic={hook}");
        if hook == "auth" {
            assert_eq!(seen.code("account"), 6, "a panic proves nothing");
        }
        site.logged().iter().for_each(|line| assert!(!line.contains(&factor.secret), "{line}"));
    }
}

#[test]
fn a_panic_sends_nothing() {
    let site = Site::sending(&["sms"]);
    site.contact("root", &["--phone", PHONE]);
    site.write_lines(
        &site::panicking_module(),
        &format!("conf={} panic=auth", site.path("twofa.toml").display()),
    );
    let plan = site.plan("root").with("watch", "yes").say_sent().authenticate().call("account");
    let seen = site.run(&plan).done();
    assert_eq!((seen.code("authenticate"), seen.code("account")), (ABORT, 6), "{seen:?}");
    assert_eq!((seen.all("changed"), seen.prompts(), site.messages().len()), (vec![], vec![], 0));
}

#[test]
fn the_environment_of_the_caller_means_nothing() {
    let site = Site::new();
    let factor = site.enroll("root");
    let elsewhere = site.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let elsewhere = elsewhere.display().to_string();
    let mut environment = vec![
        ("RUST_BACKTRACE", "full"),
        ("RUST_LOG", "trace"),
        ("RUST_MIN_STACK", "1"),
        ("TZ", "Pacific/Kiritimati"),
        ("LC_ALL", "tr_TR.UTF-8"),
        ("SSH_CONNECTION", "203.0.113.66 1 192.0.2.1 22"),
        ("TWOFA_TRUST", "1"),
    ];
    environment.extend(
        ["TMPDIR", "HOME", "XDG_CONFIG_HOME", "SQLITE_TMPDIR", "PWD"].map(|name| (name, elsewhere.as_str())),
    );
    let plan = site.plan("root").say_code(&factor.secret, 0).authenticate();
    assert_eq!(site.run_with(&plan, &[], &environment).done().code("authenticate"), SUCCESS);
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    site.log.expect("accepted app for root");
    assert!(site.logged().iter().all(|line| !line.contains("203.0.113.66")));
}

/// The second half of a `[success=…]` stack, two threads of a daemon, one handle each.
#[test]
fn loaded_twice_in_one_process() {
    let site = Site::new();
    let factor = site.enroll("root");
    let copy = site.path("pam_twofa_copy.so");
    fs::copy(site::module(), &copy).unwrap();
    let conf = site.path("twofa.toml");
    let line =
        |module: &std::path::Path| format!("auth required {} conf={}\n", module.display(), conf.display());
    site.write_service(site::SERVICE, &[line(&site::module()), line(&copy)].concat());
    let plan = site.plan("root").say_code(&factor.secret, -1).say_code(&factor.secret, 0).authenticate();
    let seen = site.run(&plan).done();
    assert_eq!((seen.code("authenticate"), seen.prompts().len()), (SUCCESS, 2), "{seen:?}");
}
