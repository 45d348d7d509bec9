//! What a hook gets, and what happens when it does not take it.

use crate::sends::{APP_OR_SMS, Desk, PHONE, RECOVERY_OR_RESEND, SENT, SMS, SMS_OR_APP, expect};
use crate::{AUTH_ERR, SUCCESS, text};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, Instant};
use twofa_tests::driver::pam::Answer;
use twofa_tests::driver::post;
use twofa_tests::driver::site::Site;

/// A gateway that does not take a message: its name, what makes it so, and a word of the log.
type Failure = (&'static str, fn(&Site), &'static str);

const FAILURES: [Failure; 12] = [
    ("exit 1", |site| site.write_short_hook("exit 1"), "exit"),
    ("exit 65", |site| site.write_short_hook("exit 65"), "does not take this number"),
    ("exit 75", |site| site.write_short_hook("exit 75"), "cannot be reached for now"),
    ("exit 78", |site| site.write_short_hook("exit 78"), "not configured"),
    ("SIGKILL", |site| site.write_short_hook("kill -9 $$"), "signal"),
    ("SIGSEGV", |site| site.write_short_hook("kill -11 $$"), "signal"),
    ("missing", |site| fs::remove_file(site.path("hook")).unwrap(), "hook"),
    ("writable by its group", |site| set_mode(site, 0o775), "by others"),
    ("writable by all", |site| set_mode(site, 0o757), "by others"),
    ("not executable", |site| set_mode(site, 0o644), "not executable"),
    ("a link", link_hook, "link"),
    ("no program", |site| site.write_hook("\x7fELF, or not"), ""),
];

fn set_mode(site: &Site, mode: u32) {
    fs::set_permissions(site.path("hook"), fs::Permissions::from_mode(mode)).unwrap();
}

fn link_hook(site: &Site) {
    fs::rename(site.path("hook"), site.path("real")).unwrap();
    symlink(site.path("real"), site.path("hook")).unwrap();
}

#[test]
fn a_gateway_that_fails_leaves_the_other_ways() {
    let desk = Desk::with_phone(&["sms", "app"]);
    let factor = desk.enroll("root");
    desk.amend("[limits]", "[limits]\nsends_per_hour = 20\nsends_per_day = 20");
    let codes = desk.recovery("root");
    for (number, (name, break_it, word)) in (0..).zip(FAILURES) {
        let _ = fs::remove_file(desk.path("hook"));
        desk.write_short_hook("exit 0");
        break_it(&desk);
        let logged = desk.logged().len();
        let at = number * 3 * 3600;
        let app = Answer::Code(factor.secret.clone(), 0);
        let begin = Instant::now();
        let seen = desk.login("root", at, &[app]);
        assert!(begin.elapsed() < Duration::from_secs(3), "{name}: {:?}", begin.elapsed());
        expect(&seen, SUCCESS, &[APP_OR_SMS]);
        assert_eq!(seen.texts(), "No code could be sent by SMS. Call 42.", "{name}");
        let logged = desk.logged().split_off(logged);
        let line = logged.iter().find(|line| line.contains("not sent sms for root"));
        let line = line.unwrap_or_else(|| panic!("{name}: {logged:?}"));
        assert!(line.starts_with("<83>") && line.contains(word), "{name}: {line}");
        // Alone, it leaves a recovery code, and another try after the pause.
        desk.amend("methods = [\"sms\", \"app\"]", "methods = [\"sms\"]");
        let answers = [text("resend"), text(codes.get(number as usize).unwrap_or(&codes[0])), Answer::Null];
        let seen = desk.login("root", at + 60, &answers);
        let right = if (number as usize) < codes.len() { SUCCESS } else { AUTH_ERR };
        let prompts = [RECOVERY_OR_RESEND; 3];
        expect(&seen, right, &prompts[..if right == SUCCESS { 2 } else { 3 }]);
        assert!(seen.texts().contains("No code could be sent by SMS. Call 42."), "{name}: {seen:?}");
        assert!(seen.texts().contains("Another code can be sent in 60 seconds:"), "{name}: {seen:?}");
        desk.amend("methods = [\"sms\"]", "methods = [\"sms\", \"app\"]");
    }
    desk.amend("methods = [\"sms\", \"app\"]", "methods = [\"sms\"]");
    // It is mended while somebody is at the prompt.
    desk.write_hook(&post::gateway(&desk.path("mail")));
    let seen = desk.login("root", 500_000, &[SENT]);
    expect(&seen, SUCCESS, &[SMS]);
    desk.write_short_hook("exit 75");
    let plan = desk.plan("root").at(desk.time + 600_000).answer(&Answer::Await(desk.path("mended")));
    let plan = plan.answer(&Answer::Advance(60)).say("resend").say_sent().authenticate();
    let seen = std::thread::scope(|scope| {
        let login = scope.spawn(|| desk.run(&plan).done());
        desk.log.expect_times("not sent sms for root", 2 * FAILURES.len() + 1);
        desk.write_hook(&post::gateway(&desk.path("mail")));
        fs::write(desk.path("mended"), "").unwrap();
        login.join().unwrap()
    });
    expect(&seen, SUCCESS, &[RECOVERY_OR_RESEND, SMS]);
}

/// Another code was asked for, so the one before is void, also when the other one did not get through.
#[test]
fn a_gateway_that_fails_the_second_time() {
    let desk = Desk::with_phone(&["sms"]);
    let gateway = post::gateway(&desk.path("mail"));
    let once = format!("{}\n[ ! -e {}/all ] || exit 75\n", "#!/bin/sh", desk.path("mail").display());
    desk.write_hook(&gateway.replacen("#!/bin/sh\n", &once, 1));
    let answers =
        [Answer::Advance(60), text("resend"), SENT, Answer::Advance(60), text("resend"), SENT, Answer::Null];
    let seen = desk.login("root", 0, &answers);
    let lost = RECOVERY_OR_RESEND;
    expect(&seen, AUTH_ERR, &[SMS, lost, lost, lost, lost]);
    assert_eq!(seen.texts().matches("No code could be sent by SMS. Call 42.").count(), 2, "{seen:?}");
    assert_eq!(desk.messages().len(), 1);
}

/// What a hook says gets into the log in one line: cut, without the code, without what a terminal obeys.
#[test]
fn what_a_hook_says() {
    let desk = Desk::with_phone(&["sms"]);
    let mail = desk.path("mail").display().to_string();
    let loud = "cat >all.new; text=$(cat all.new); printf 'login\\tx\\t%s\\tx\\tx\\t%s\\n' \"$TWOFA_USER\" \"$text\" >>all";
    for (number, (code, word)) in
        [(0, "sent sms for root"), (1, "not sent sms for root")].into_iter().enumerate()
    {
        let logged = desk.logged().len();
        desk.write_hook(&format!(
            "#!/bin/sh\ncd {mail}\n{loud}\n\
             printf 'id \\033[31m %s\\nmore' \"$text\"\nprintf 'no \\033[2J\\n%s %s' \"$text\" \"$TWOFA_USER\" >&2\n\
             head -c 20000 /dev/zero | tr '\\0' x\nhead -c 20000 /dev/zero | tr '\\0' y >&2\nexit {code}\n"
        ));
        let seen = desk.login("root", 600 * i64::try_from(number).unwrap(), &[Answer::Null]);
        assert_eq!(seen.code("authenticate"), AUTH_ERR, "{seen:?}");
        for line in &desk.logged()[logged..] {
            assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && line.len() < 1000, "{line:?}");
        }
        let line = desk.log.expect(&format!(": {word}"));
        assert!(line.contains("[code]"), "{line}");
    }
    assert_eq!(desk.messages().len(), 2);
}

#[test]
fn the_text_of_a_message() {
    let desk = Desk::with_phone(&["sms"]);
    let seen = desk.answer(desk.plan_from("root", "203.0.113.5"), &[SENT]);
    expect(&seen, SUCCESS, &[SMS]);
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let message = &desk.messages()[0];
    assert_eq!(message.host, host.trim());
    let expiry = |second: i64| {
        let minutes = second.div_euclid(60);
        let (day, minute) = (minutes.div_euclid(24 * 60), minutes.rem_euclid(24 * 60));
        format!("{} {:02}:{:02} UTC", date(day), minute / 60, minute % 60)
    };
    let until = expiry(desk.time + 300);
    let code = message.code();
    assert_eq!(
        message.text,
        format!(
            "{code} is your code for root at {}, asked for from 203.0.113.5. Valid until {until}.",
            host.trim()
        )
    );
    let text = "text = \"{host}/{user}/{address}/{expiry}: {code} $(id) `id` %s \\\\ ' ; {user}\"\nprefixes";
    desk.amend("prefixes", text);
    // Neither the template nor a name of somebody's is ever read by a shell.
    expect(&desk.login("root", 60, &[SENT]), SUCCESS, &[SMS]);
    let message = &desk.messages()[1];
    let (until, code) = (expiry(desk.time + 360), message.code());
    assert_eq!(
        message.text,
        format!("{}/root/the console/{until}: {code} $(id) `id` %s \\ ' ; root", host.trim())
    );
}

/// `2026-11-21` for a day since 1970 (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn date(day: i64) -> String {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{of_month:02}")
}

/// Not even a line's end: a gateway passes on what it reads.
#[test]
fn a_hook_reads_the_text_and_nothing_else() {
    let desk = Desk::with_phone(&["sms"]);
    let raw = desk.path("mail/raw");
    desk.write_hook(&format!("#!/bin/sh\ncat >{}\necho \"$# $*\" >&2\nexit 1\n", raw.display()));
    let text = "text = \"{code} \u{e4}\u{4e2d}-{user}\"\nprefixes";
    desk.amend("prefixes", text);
    desk.login("root", 0, &[Answer::Null]);
    let read = String::from_utf8(fs::read(raw).unwrap()).unwrap();
    let (code, rest) = read.split_at(6);
    assert!(code.bytes().all(|byte| byte.is_ascii_digit()) && rest == " \u{e4}\u{4e2d}-root", "{read:?}");
    desk.log.expect("said=\"0\"");
}

#[test]
fn codes_by_e_mail() {
    let desk = Desk::new(&["email"]);
    let addresses =
        ["--email", "alice@example.org", "--email", "team@example.net", "--email", "x@example.com"];
    desk.contact("root", &addresses);
    let mail = "Verification code (e-mail to a***@example.org and 2 more): ";
    expect(&desk.login("root", 0, &[SENT]), SUCCESS, &[mail]);
    let message = &desk.messages()[0];
    assert_eq!(message.to, "alice@example.org, team@example.net, x@example.com");
    let line = desk.log.expect("accepted email for root");
    assert!(line.ends_with(" to=a***@example.organd2more"), "{line}");
    // Ten minutes, as mail may take its time.
    expect(&desk.login("root", 60, &[Answer::Advance(599), SENT]), SUCCESS, &[mail]);
    desk.write_short_hook("exit 75");
    let seen = desk.login("root", 1000, &[Answer::Null]);
    expect(&seen, AUTH_ERR, &[RECOVERY_OR_RESEND]);
    assert!(seen.texts().starts_with("No code could be sent by e-mail. Call 42."), "{seen:?}");
    assert_eq!(desk.messages().len(), 2);
}

#[test]
fn an_address_for_those_who_have_none() {
    let desk = Desk::new(&["app", "email"]);
    desk.amend("[email]", "[email]\ndefault_address = \"helpdesk@example.org\"");
    let factor = desk.enroll("root");
    let either = "Verification code (app, or type email): ";
    let mail = "Verification code (e-mail to h***@example.org, or type app): ";
    for (at, word) in (0..).zip(["email", "E-Mail", " EMAIL "]) {
        expect(&desk.login("root", 60 * at, &[text(word), SENT]), SUCCESS, &[either, mail]);
    }
    assert!(desk.messages().iter().all(|message| message.to == "helpdesk@example.org"));
    expect(&desk.login("root", 200, &[Answer::Code(factor.secret, 0)]), SUCCESS, &[either]);
    desk.contact("root", &["--email", "alice@example.org"]);
    let own = "Verification code (e-mail to a***@example.org, or type app): ";
    expect(&desk.login("root", 300, &[text("email"), SENT]), SUCCESS, &[either, own]);
    assert_eq!(desk.messages().last().unwrap().to, "alice@example.org");
    // Somebody who never enrolled has the address too, and needs no account for it.
    expect(&desk.login("games", 0, &[SENT]), SUCCESS, &["Verification code (e-mail to h***@example.org): "]);
    assert_eq!(desk.messages().last().unwrap().user, "games");
    // Nobody has none.
    let seen = desk.login("nobody-here", 60, &[text("email"), Answer::Null]);
    expect(&seen, AUTH_ERR, &[either, mail]);
    assert_eq!(desk.messages().len(), 5);
}

/// While a message is on its way, everybody on the machine may look at processes.
#[test]
fn the_code_is_in_no_argument_and_no_environment() {
    let desk = Desk::with_phone(&["sms"]);
    fs::write(desk.path("mail/hold"), "").unwrap();
    let seen = std::thread::scope(|scope| {
        let login = scope.spawn(|| desk.login("root", 0, &[SENT]));
        let code = post::wait_for(|| desk.messages().first().map(post::Message::code));
        let running = desk.processes();
        for program in ["/helper deliver", "/hook"] {
            assert!(running.iter().any(|process| process.contains(program)), "{program}: {running:?}");
        }
        let mut looked = 0;
        for process in fs::read_dir("/proc").unwrap().flatten() {
            for name in ["cmdline", "environ", "comm"] {
                let Ok(words) = fs::read(process.path().join(name)) else { continue };
                let words = String::from_utf8_lossy(&words).into_owned();
                assert!(!words.contains(&code), "{}: {words}", process.path().display());
                let hooks = words.contains("TWOFA_TO=");
                looked += usize::from(hooks && words.contains(PHONE));
            }
        }
        assert!(looked >= 1, "the hook's environment was among them");
        fs::remove_file(desk.path("mail/hold")).unwrap();
        login.join().unwrap()
    });
    expect(&seen, SUCCESS, &[SMS]);
    // Nor in a file, but where the gateway put it.
    let code = desk.messages()[0].code();
    for name in ["twofa.db", "state/0", "state/sends", "twofa.toml", "hook"] {
        let bytes = fs::read(desk.path(name)).unwrap();
        assert!(!bytes.windows(code.len()).any(|bytes| bytes == code.as_bytes()), "{name}");
    }
}

#[test]
fn a_helper_that_cannot_be_trusted_or_started() {
    let desk = Desk::with_phone(&["sms", "app"]);
    let factor = desk.enroll("root");
    desk.amend("[limits]", "[limits]\nsends_per_hour = 20\nsends_per_day = 20");
    let helper = desk.path("helper");
    let good = fs::read(&helper).unwrap();
    let failures: [(&str, &dyn Fn()); 8] = [
        ("missing", &|| fs::remove_file(&helper).unwrap()),
        ("writable by its group", &|| {
            fs::set_permissions(&helper, fs::Permissions::from_mode(0o775)).unwrap()
        }),
        ("not executable", &|| fs::set_permissions(&helper, fs::Permissions::from_mode(0o644)).unwrap()),
        ("a link", &|| {
            fs::rename(&helper, desk.path("real")).unwrap();
            symlink(desk.path("real"), &helper).unwrap();
        }),
        ("a folder", &|| {
            fs::remove_file(&helper).unwrap();
            fs::create_dir(&helper).unwrap();
        }),
        ("no program", &|| twofa_tests::driver::site::write(&helper, 0o755, b"\x7fELF, or not")),
        ("one that ends at once", &|| copy("/bin/true", &helper)),
        ("one that fails", &|| copy("/bin/false", &helper)),
    ];
    for (number, (name, break_it)) in (0..).zip(failures) {
        break_it();
        let seen = desk.login("root", 60 * number, &[Answer::Code(factor.secret.clone(), 0)]);
        expect(&seen, SUCCESS, &[APP_OR_SMS]);
        assert_eq!(seen.texts(), "No code could be sent by SMS. Call 42.", "{name}");
        assert!(seen.number("milliseconds") < 2000, "{name}: {seen:?}");
        let line = desk.log.expect_times("not sent sms for root", number as usize + 1);
        assert!(line.contains("helper"), "{name}: {line}");
        let _ = fs::remove_dir_all(&helper);
        let _ = fs::remove_file(&helper);
        twofa_tests::driver::site::write(&helper, 0o755, &good);
    }
    expect(&desk.login("root", 1000, &[SENT]), SUCCESS, &[SMS_OR_APP]);
    assert_eq!(desk.messages().len(), 1);
}

fn copy(from: &str, to: &std::path::Path) {
    fs::remove_file(to).unwrap();
    fs::copy(from, to).unwrap();
}

/// Ten seconds, then it is over: for the gateway, and for what it started.
#[test]
fn a_gateway_that_hangs() {
    let desk = Desk::with_phone(&["sms", "app"]);
    let factor = desk.enroll("root");
    let mail = desk.path("mail").display().to_string();
    desk.write_hook(&format!(
        "#!/bin/sh\ncd {mail}\ntrap '' TERM HUP INT\n(sleep 100; sleep 100) &\nsleep 100\n"
    ));
    let begin = Instant::now();
    let seen = desk.login("root", 0, &[Answer::Code(factor.secret, 0)]);
    let took = begin.elapsed();
    expect(&seen, SUCCESS, &[APP_OR_SMS]);
    assert_eq!(seen.texts(), "No code could be sent by SMS. Call 42.");
    assert!((Duration::from_secs(10)..Duration::from_secs(15)).contains(&took), "{took:?}");
    assert_eq!(desk.processes(), [""; 0]);
}

/// What a gateway started is not waited for, and does not stay.
#[test]
fn what_a_gateway_leaves_behind() {
    let desk = Desk::with_phone(&["sms"]);
    let gateway = post::gateway(&desk.path("mail"));
    desk.write_hook(&format!(
        "{gateway}(trap '' TERM HUP; sleep 100; echo late) &\nsetsid sleep 100 >&- 2>&- <&- &\n"
    ));
    let begin = Instant::now();
    let seen = desk.login("root", 0, &[Answer::Null]);
    assert_eq!(seen.code("authenticate"), AUTH_ERR, "{seen:?}");
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    assert_eq!(desk.processes(), [""; 0]);
}

/// Somebody kills the helper: the login goes on, and the gateway does not stay.
#[test]
fn a_helper_that_is_killed() {
    let desk = Desk::with_phone(&["sms", "app"]);
    let factor = desk.enroll("root");
    fs::write(desk.path("mail/hold"), "").unwrap();
    let seen = std::thread::scope(|scope| {
        let login = scope.spawn(|| desk.login("root", 0, &[Answer::Code(factor.secret.clone(), 0)]));
        post::wait_for(|| desk.messages().first().map(|_| ()));
        let running = desk.processes();
        let helper: Vec<_> = running.iter().filter(|process| process.contains("/helper deliver")).collect();
        for process in &helper {
            let pid = process.trim_start_matches("/proc/").split(' ').next().unwrap().parse().unwrap();
            // SAFETY: kill has no preconditions; the process is this site's own helper.
            assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0, "{process}");
        }
        assert!(!helper.is_empty(), "{running:?}");
        login.join().unwrap()
    });
    expect(&seen, SUCCESS, &[APP_OR_SMS]);
    assert_eq!(seen.texts(), "No code could be sent by SMS. Call 42.");
    post::within(Duration::from_secs(3), || desk.processes().is_empty().then_some(()));
    let left = desk.processes();
    fs::remove_file(desk.path("mail/hold")).unwrap();
    assert_eq!(left, [""; 0]);
}
