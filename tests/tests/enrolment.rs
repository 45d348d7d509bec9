//! Set-up in the login itself, with real sshd, login and su: what a user sees, what is kept, and what never is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may panic

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use twofa_tests::driver::pam::Answer;
use twofa_tests::driver::site::Site;
use twofa_tests::mailbox::{Mailbox, Order};
use twofa_tests::qr::{self, Colours};
use twofa_tests::setup::{
    CODE_PROMPT, KEY_OR_PASSWORD_AND_CODE, PASSWORD_AND_CODE, PASSWORD_PROMPT, POLICY, SSHD_KEY_ONLY,
    SSHD_KEY_OR_PASSWORD, policy_of,
};
use twofa_tests::terminal::Terminal;
use twofa_tests::totp::App;
use twofa_tests::world::{World, recovery_codes};

/// What stands before the secret, with a QR code and without.
const OR_TYPE_IT: &str = "Or type it in:  ";
const TYPE_THIS: &str = "Type this into an authenticator app:\n\n    ";
const NEW_APP: &str = "Verification code (new app; or type text; Enter for later): ";
const NEW_APP_OR_SMS: &str = "Verification code (new app; or type text or sms; Enter for later): ";
const SAVED: &str = "Type saved when you have saved the recovery codes: ";
const NUMBER: &str = "Phone number for codes, as +48 600 000 123 (Enter for later): ";
const NUMBER_OR_APP: &str = "Phone number for codes, as +48 600 000 123 (type app; Enter for later): ";
const SMS: &str = "Verification code (SMS to +48 *** *** 123): ";
const NEW_SMS: &str = "Verification code (SMS to +48 *** *** 123, or type resend): ";

const APP_COUNTS: &str = "The app is set up. From now on you are asked for its code.";
const NUMBER_COUNTS: &str = "The number is set up. From now on you are asked for a code that is sent to it.";
const BOTH_COUNT: &str = "The app and the telephone number are set up, and count from now on.";
const NOT_THE_CODE: &str = "That is not the code of now. Check the clock of your phone, and try again.";
const NOTHING: &str = "Nothing was set up. You can try again at the next login.";
const NOT_SAVED: &str = "Nothing counts until you type: saved";
const NOT_KEPT: &str = "What you set up could not be stored, and does not count.";
const NOT_SENT: &str = "No code could be sent by SMS.";

const ALICE: &str = "+48600000123";
/// What every login here runs, and what it shows.
const COMMAND: &str = "echo LOGGED-IN";
const IN: &str = "LOGGED-IN\n";
/// As long as sshd needs to see that somebody has gone.
const SOON: Duration = Duration::from_secs(5);

/// alice and bob have passwords and fourteen days without a factor, at every way in.
fn office(policy: &str) -> World {
    let world = World::new()
        .user("alice", "pw-alice")
        .user("bob", "pw-bob")
        .policy(&format!("{policy}[rollout]\ngrace_days = 14\n"))
        .stack("sshd", PASSWORD_AND_CODE)
        .stack("login", PASSWORD_AND_CODE)
        .stack("su", &format!("auth sufficient pam_rootok.so\n{PASSWORD_AND_CODE}"));
    // At the console there is a shell, which is to end by itself.
    world.write("/home/alice/.bash_profile", &format!("{COMMAND}; exit\n"));
    world
}

/// The same where codes go by SMS, to numbers of one country.
fn office_with_sms(methods: &str) -> (World, Mailbox) {
    let policy =
        policy_of(methods).replace("prefixes = [\"+48\"]", "prefixes = [\"+48\"]\ncountry = \"+48\"");
    let world = office(&policy);
    let mailbox = Mailbox::new(&world);
    (world.start_sshd(""), mailbox)
}

// Ways in, up to the password

fn by_ssh(world: &World) -> Terminal {
    with_password(world.ssh("alice").option("NumberOfPasswordPrompts=1").spawn(COMMAND))
}

fn by_console(world: &World) -> Terminal {
    let mut console = world.console();
    console.answer("login: ", "alice");
    with_password(console)
}

fn by_su(world: &World) -> Terminal {
    with_password(world.terminal_of("bob", &["su", "alice", "-c", COMMAND]))
}

const WAYS_IN: [fn(&World) -> Terminal; 3] = [by_ssh, by_console, by_su];

fn with_password(mut terminal: Terminal) -> Terminal {
    terminal.answer(PASSWORD_PROMPT, "pw-alice");
    terminal
}

// Steps of a set-up

/// The app that scanned what is shown now.
#[track_caller]
fn scanned(terminal: &mut Terminal) -> App {
    terminal.expect(OR_TYPE_IT);
    App::new(&terminal.expect("\n"))
}

/// Up to the prompt that asks for `saved`. Returns the app and the recovery codes.
#[track_caller]
fn prove_app(terminal: &mut Terminal, prompt: &str) -> (App, Vec<String>) {
    let mut app = scanned(terminal);
    terminal.answer(prompt, &app.code());
    let codes = recovery_codes(&terminal.expect(SAVED));
    assert_eq!(codes.len(), 10, "{}", terminal.shown());
    (app, codes)
}

/// A whole set-up of an app, and in.
#[track_caller]
fn set_up_app(mut terminal: Terminal) -> (App, Vec<String>) {
    let (app, codes) = prove_app(&mut terminal, NEW_APP);
    terminal.send_line("saved");
    terminal.expect(APP_COUNTS);
    expect_in(terminal);
    (app, codes)
}

/// In, and nothing more is asked before.
#[track_caller]
fn expect_in(mut terminal: Terminal) -> Terminal {
    let (which, _) = terminal.expect_any(&[IN, "Verification code", SAVED, "Telephone number"]);
    assert_eq!(which, 0, "more is asked. {}", terminal.shown());
    terminal.expect_end(0);
    terminal
}

/// A code of this app is asked for and opens; the one that was typed last does not.
#[track_caller]
fn expect_asked_for(world: &World, app: &mut App) {
    let mut ssh = by_ssh(world);
    ssh.answer(CODE_PROMPT, &app.last());
    ssh.expect("This code was already used.");
    ssh.answer(CODE_PROMPT, &app.code());
    expect_in(ssh);
}

// What is kept

/// What is known of alice.
fn shown(world: &World) -> String {
    world.admin(&["user", "show", "alice", "--json"]).ok()
}

/// alice is where she was before, and so are her days.
#[track_caller]
fn expect_nothing_kept(world: &World) {
    let shown = shown(world);
    let nothing = [
        "\"apps\": []",
        "\"methods\": []",
        "\"phone\": null",
        "\"recovery_codes_left\": 0",
        "\"standing\": \"grace\"",
    ];
    for part in nothing {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    world.log.expect_none(" enrolled ");
}

/// Until when alice gets in without a factor.
#[track_caller]
fn grace_until(world: &World) -> String {
    let shown = shown(world);
    let line = shown.lines().find(|line| line.contains("\"grace_until\""));
    line.expect("an end of the grace").to_owned()
}

/// Forgets when something was sent to alice.
fn forget_sends(world: &World) {
    world.admin(&["user", "unlock", "alice"]).ok();
}

/// Six digits that are not `code`.
fn not(code: &str) -> String {
    let last = if code.ends_with('7') { "3" } else { "7" };
    format!("{}{last}", &code[..5])
}

// An app

#[test]
fn an_app_is_set_up_at_every_way_in_and_asked_for_from_then_on() {
    for way_in in WAYS_IN {
        let world = office(POLICY).start_sshd("");
        let (mut app, _) = set_up_app(way_in(&world));
        let shown = shown(&world);
        for part in ["\"label\": \"app\"", "\"recovery_codes_left\": 10", "\"standing\": \"enrolled\""] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        expect_asked_for(&world, &mut app);
    }
}

#[test]
fn each_recovery_code_of_a_set_up_opens_one_login() {
    let world = office(POLICY).start_sshd("");
    let (_, codes) = set_up_app(by_ssh(&world));
    assert_eq!(codes.iter().collect::<BTreeSet<_>>().len(), 10, "{codes:?}");
    for code in &codes {
        let mut ssh = by_ssh(&world);
        ssh.answer(CODE_PROMPT, code);
        ssh.expect(IN);
        ssh.expect_end(0);
    }
    let mut ssh = by_ssh(&world);
    for code in codes.iter().step_by(4) {
        ssh.answer(CODE_PROMPT, code);
    }
    ssh.expect_end(255);
    assert!(!ssh.screen().contains(IN), "{}", ssh.shown());
}

/// Each login offers another secret, the days are neither more nor less, and whoever is done with it gets in.
#[test]
fn who_wants_no_app_now_gets_in_without() {
    let world = office(POLICY).start_sshd("");
    let mut secrets = BTreeSet::new();
    let mut until = BTreeSet::new();
    // Ctrl-D is an empty answer to ssh, and none at all to login and su.
    let answers = ["\r", "later\r", "LATER \r", "pw-alice\r", "\u{4}"];
    for way_in in WAYS_IN {
        for answer in answers {
            let mut terminal = way_in(&world);
            terminal.expect(OR_TYPE_IT);
            let secret = terminal.expect("\n");
            assert!(secrets.insert(secret), "an old secret. {}", terminal.shown());
            terminal.expect(NEW_APP);
            terminal.send(answer);
            expect_in(terminal);
            expect_nothing_kept(&world);
            until.insert(grace_until(&world));
        }
    }
    assert_eq!(until.len(), 1, "{until:?}");
}

/// The same when the code was right and the recovery codes were shown: without `saved` nothing counts.
#[test]
fn an_app_without_the_word_saved_is_none() {
    let world = office(POLICY).start_sshd("");
    for way_in in WAYS_IN {
        for answer in ["\r", "later\r", "pw-alice\r", "\u{4}"] {
            let mut terminal = way_in(&world);
            prove_app(&mut terminal, NEW_APP);
            terminal.send(answer);
            let terminal = expect_in(terminal);
            assert!(terminal.screen().contains(NOTHING), "not told. {}", terminal.shown());
            expect_nothing_kept(&world);
        }
        let mut terminal = way_in(&world);
        let (mut app, codes) = prove_app(&mut terminal, NEW_APP);
        for other in [&codes[0], "yes", &app.code()] {
            terminal.send_line(other);
            if terminal.expect_any(&[NOT_SAVED, NOTHING]).0 == 0 {
                terminal.expect(SAVED);
            }
        }
        expect_in(terminal);
        expect_nothing_kept(&world);
    }
    // And what was shown and never kept opens nothing.
    let mut ssh = by_ssh(&world);
    let (_, codes) = prove_app(&mut ssh, NEW_APP);
    ssh.send_line("");
    expect_in(ssh);
    let (mut app, _) = set_up_app(by_ssh(&world));
    let mut ssh = by_ssh(&world);
    ssh.answer(CODE_PROMPT, &codes[0]);
    ssh.expect("Wrong code.");
    ssh.answer(CODE_PROMPT, &app.code());
    expect_in(ssh);
}

/// Cut off before the code, and at `saved`.
#[test]
fn who_is_cut_off_has_set_up_nothing() {
    let world = office(POLICY).start_sshd("");
    let cuts: [fn(Terminal); 2] = [|mut terminal| terminal.kill(), Terminal::hang_up];
    for way_in in WAYS_IN {
        for cut in cuts {
            let mut terminal = way_in(&world);
            terminal.expect(NEW_APP);
            cut(terminal);
            let mut terminal = way_in(&world);
            let mut app = scanned(&mut terminal);
            terminal.expect(NEW_APP);
            terminal.send(&app.code());
            cut(terminal);
            let mut terminal = way_in(&world);
            prove_app(&mut terminal, NEW_APP);
            terminal.send("saved");
            cut(terminal);
            world.expect_no_connection(SOON);
            world.expect_none_running(
                |command| command.starts_with("login") || command.starts_with("su "),
                SOON,
            );
            expect_nothing_kept(&world);
        }
    }
    set_up_app(by_ssh(&world));
}

/// sshd and login end what takes too long.
#[test]
fn a_login_that_is_timed_out_has_set_up_nothing() {
    let world = office(POLICY).start_sshd("LoginGraceTime 4\n");
    world.run(&["sed", "-i", "s/^LOGIN_TIMEOUT.*/LOGIN_TIMEOUT 4/", "/etc/login.defs"]).ok();
    let mut console = by_console(&world);
    prove_app(&mut console, NEW_APP);
    let mut ssh = by_ssh(&world);
    prove_app(&mut ssh, NEW_APP);
    console.end();
    world.expect_no_connection(SOON);
    // ssh asks on, and hears of it when there is something to send.
    ssh.send_line("saved");
    ssh.expect_end(255);
    for terminal in [ssh, console] {
        assert!(!terminal.screen().contains(IN), "{}", terminal.shown());
    }
    expect_nothing_kept(&world);
}

#[test]
fn two_wrong_codes_are_borne_and_three_end_the_set_up() {
    let world = office(POLICY).start_sshd("");
    let recovery_code = "ABCD-EFGH-JKMN-PQRS-TUVW-XYZ2";
    let junk = "9".repeat(400);
    let wrong = [recovery_code, &junk, "\u{1b}[2J ä€%s%n", "saved", "sms", "resend", "0", "12345 67"];
    for way_in in WAYS_IN {
        for wrong in wrong.chunks(2) {
            let mut terminal = way_in(&world);
            let app = scanned(&mut terminal);
            for wrong in wrong {
                terminal.answer(NEW_APP, wrong);
            }
            terminal.answer(NEW_APP, &app.wrong_code());
            terminal.expect(NOTHING);
            expect_in(terminal);
            expect_nothing_kept(&world);
        }
    }
    let mut ssh = by_ssh(&world);
    let mut app = scanned(&mut ssh);
    for _ in 0..2 {
        ssh.answer(NEW_APP, &app.wrong_code());
        ssh.expect(NOT_THE_CODE);
    }
    ssh.answer(NEW_APP, &app.code());
    ssh.answer(SAVED, "saved");
    ssh.expect(APP_COUNTS);
    expect_in(ssh);
    // None of it was a guess of anybody's.
    let shown = shown(&world);
    assert!(shown.contains("\"failures\": 0"), "{shown}");
    expect_asked_for(&world, &mut app);
}

/// The secret is shown again as often as somebody wants it, and stays the same.
#[test]
fn text_shows_the_secret_without_a_qr_code() {
    for way_in in WAYS_IN {
        let world = office(POLICY).start_sshd("");
        let mut terminal = way_in(&world);
        terminal.expect(OR_TYPE_IT);
        let secret = terminal.expect("\n");
        terminal.answer(NEW_APP, "text");
        let before = terminal.expect(TYPE_THIS);
        assert_eq!(terminal.expect("\n"), secret);
        assert!(!before.contains(['█', '▀', '▄']), "{}", terminal.shown());
        let mut app = App::new(&secret);
        terminal.answer(NEW_APP, &app.code());
        terminal.answer(SAVED, "Saved");
        terminal.expect(APP_COUNTS);
        expect_in(terminal);
        expect_asked_for(&world, &mut app);
    }
}

// Attacks

/// Where the line of the password is `required`, the module's turn comes though the password was wrong. Who knows only
/// the name sees all of the dialogue; at its end there is neither a login nor a factor.
#[test]
fn a_set_up_with_a_wrong_password_keeps_nothing_and_lets_nobody_in() {
    let stack = PASSWORD_AND_CODE.replace("requisite", "required");
    let world = office(POLICY)
        .stack("sshd", &stack)
        .stack("login", &stack)
        .stack("su", &format!("auth sufficient pam_rootok.so\n{stack}"))
        .start_sshd("");
    let mut ssh = world.ssh("alice").option("NumberOfPasswordPrompts=1").spawn(COMMAND);
    ssh.answer(PASSWORD_PROMPT, "wrong");
    let (mut stolen, codes) = prove_app(&mut ssh, NEW_APP);
    ssh.send_line("saved");
    ssh.expect_end(255);
    assert!(!ssh.screen().contains(IN) && !ssh.screen().contains(APP_COUNTS), "{}", ssh.shown());
    expect_nothing_kept(&world);

    let mut su = world.terminal_of("bob", &["su", "alice", "-c", COMMAND]);
    su.answer(PASSWORD_PROMPT, "wrong");
    prove_app(&mut su, NEW_APP);
    su.send_line("saved");
    su.expect_end(1);
    assert!(!su.screen().contains(IN) && !su.screen().contains(APP_COUNTS), "{}", su.shown());
    expect_nothing_kept(&world);

    // login asks again in the same handle: what was set up before must not wait there for the right password.
    let mut console = world.console();
    console.answer("login: ", "alice");
    console.answer(PASSWORD_PROMPT, "wrong");
    prove_app(&mut console, NEW_APP);
    console.send_line("saved");
    console.answer("login: ", "alice");
    console.answer(PASSWORD_PROMPT, "pw-alice");
    console.answer(NEW_APP, "");
    let console = expect_in(console);
    assert!(!console.screen().contains(APP_COUNTS), "{}", console.shown());
    expect_nothing_kept(&world);

    // alice herself is offered the same as ever.
    let (mut app, _) = set_up_app(by_ssh(&world));
    let mut ssh = by_ssh(&world);
    ssh.answer(CODE_PROMPT, &stolen.code());
    ssh.expect("Wrong code.");
    ssh.answer(CODE_PROMPT, &codes[0]);
    ssh.expect("Wrong code.");
    ssh.answer(CODE_PROMPT, &app.code());
    expect_in(ssh);
}

/// In the stack of the manual whoever does not know the password is not even asked.
#[test]
fn before_the_password_nothing_is_offered_and_nothing_sent() {
    let (world, mailbox) = office_with_sms(r#"["sms", "app"]"#);
    let mut ssh = world.ssh("alice").option("NumberOfPasswordPrompts=1").spawn(COMMAND);
    ssh.answer(PASSWORD_PROMPT, "wrong");
    ssh.expect_end(255);
    let mut console = world.console();
    console.answer("login: ", "alice");
    console.answer(PASSWORD_PROMPT, "wrong");
    console.expect("login: ");
    for terminal in [ssh, console] {
        let screen = terminal.screen();
        assert!(!screen.contains("Telephone") && !screen.contains("authenticator"), "{screen}");
    }
    mailbox.expect_nothing();
    // No days began either.
    world.admin(&["user", "show", "alice"]).expect(1);
}

#[test]
fn of_two_set_ups_at_once_the_one_that_was_told_so_counts() {
    let world = office(POLICY).start_sshd("");
    let (mut first, mut second) = (by_ssh(&world), by_console(&world));
    let (mut app, codes) = prove_app(&mut first, NEW_APP);
    let (mut void, void_codes) = prove_app(&mut second, NEW_APP);
    // The later one is the faster one.
    second.send_line("saved");
    second.expect(APP_COUNTS);
    expect_in(second);
    first.send_line("saved");
    first.expect(NOT_KEPT);
    expect_in(first);
    (app, void) = (void, app);
    let mut ssh = by_ssh(&world);
    ssh.answer(CODE_PROMPT, &void.code());
    ssh.expect("Wrong code.");
    ssh.answer(CODE_PROMPT, &codes[0]);
    ssh.expect("Wrong code.");
    ssh.answer(CODE_PROMPT, &void_codes[0]);
    ssh.expect("9 are left.");
    expect_in(ssh);
    expect_asked_for(&world, &mut app);
}

#[test]
fn what_an_administrator_enrolls_during_a_set_up_counts() {
    let world = office(POLICY).start_sshd("");
    let mut ssh = by_ssh(&world);
    let (mut void, _) = prove_app(&mut ssh, NEW_APP);
    let mut enrolled = world.enroll("alice");
    ssh.send_line("saved");
    ssh.expect(NOT_KEPT);
    expect_in(ssh);
    let mut ssh = by_ssh(&world);
    ssh.answer(CODE_PROMPT, &void.code());
    ssh.expect("Wrong code.");
    ssh.answer(CODE_PROMPT, &enrolled.app.code());
    expect_in(ssh);
}

// A number

#[test]
fn a_number_is_set_up_at_every_way_in_and_sent_to_from_then_on() {
    for way_in in WAYS_IN {
        let (world, mut mailbox) = office_with_sms(r#"["sms"]"#);
        let mut terminal = way_in(&world);
        terminal.answer(NUMBER, "600 000 123");
        terminal.expect(NEW_SMS);
        let message = mailbox.receive();
        assert_eq!((message.to.as_str(), message.kind.as_str()), (ALICE, "enroll"));
        assert_eq!(message.user, "alice");
        terminal.send_line(&message.code());
        terminal.expect(NUMBER_COUNTS);
        expect_in(terminal);
        mailbox.expect_nothing();
        world.log.expect_none(&message.code());
        let shown = shown(&world);
        assert!(shown.contains("\"methods\": [\n    \"sms\"\n  ]"), "{shown}");
        assert!(!shown.contains("\"confirmed\": null"), "{shown}");

        forget_sends(&world);
        let mut ssh = by_ssh(&world);
        ssh.expect(SMS);
        let sent = mailbox.receive();
        assert_eq!((sent.to.as_str(), sent.kind.as_str()), (ALICE, "login"));
        ssh.send_line(&message.code());
        ssh.expect("Wrong code.");
        ssh.answer(SMS, &sent.code());
        expect_in(ssh);
    }
}

#[test]
fn numbers_that_are_none_of_the_policys_get_no_code() {
    let (world, mailbox) = office_with_sms(r#"["sms"]"#);
    let bad = ["+49 151 1234567", "+4", "alice", "12", "+48600000123456789012", "0048600000123x", "resend"];
    for (way_in, bad) in WAYS_IN.into_iter().cycle().zip(bad) {
        let mut terminal = way_in(&world);
        for _ in 0..3 {
            terminal.answer(NUMBER, bad);
        }
        terminal.expect(NOTHING);
        expect_in(terminal);
        expect_nothing_kept(&world);
    }
    mailbox.expect_nothing();
}

/// A code of another session, a wrong one, the number itself, and then the right one.
#[test]
fn a_wrong_code_confirms_no_number() {
    let (world, mut mailbox) = office_with_sms(r#"["sms"]"#);
    for way_in in WAYS_IN {
        let mut terminal = way_in(&world);
        terminal.answer(NUMBER, ALICE);
        terminal.expect(NEW_SMS);
        let code = mailbox.code();
        for wrong in [not(&code), ALICE.into(), not(&code)] {
            terminal.send_line(&wrong);
            if terminal.expect_any(&["Wrong code.", NOTHING]).0 == 0 {
                terminal.expect(NEW_SMS);
            }
        }
        expect_in(terminal);
        expect_nothing_kept(&world);
        forget_sends(&world);
    }
    let mut ssh = by_ssh(&world);
    ssh.answer(NUMBER, ALICE);
    ssh.expect(NEW_SMS);
    let code = mailbox.code();
    ssh.send_line(&not(&code));
    ssh.expect("Wrong code.");
    ssh.answer(NEW_SMS, &code);
    ssh.expect(NUMBER_COUNTS);
    expect_in(ssh);
}

/// By libpam, with a clock of its own.
#[test]
fn resend_sends_another_code_and_the_earlier_one_is_void() {
    let site = Site::sending(&["sms"]);
    site.write_policy(&format!("{}[rollout]\ngrace_days = 14\n", site.sending_policy(&["sms"])));
    let plan = site.plan("root").say(ALICE).say("resend").answer(&Answer::Advance(60)).say("resend");
    let plan = plan.answer(&Answer::Sent(1)).say_sent().authenticate();
    assert_eq!(site.run(&plan.call("account")).done().codes("account"), [0]);
    let messages = site.messages();
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert!(messages.iter().all(|message| message.to == ALICE && message.kind == "enroll"), "{messages:?}");
    let shown = site.admin_ok(&["user", "show", "root", "--json"], "");
    assert!(shown.contains("\"standing\": \"enrolled\""), "{shown}");

    let seen = site.run(&site.plan("root").at(site.time + 3600).say_sent().authenticate()).done();
    assert_eq!(seen.prompts(), [SMS]);
    assert_eq!(seen.code("authenticate"), 0);
}

#[test]
fn without_a_gateway_the_user_is_told_and_gets_in() {
    let (world, mailbox) = office_with_sms(r#"["sms", "app"]"#);
    mailbox.order(Order::Refuse(75));
    for way_in in WAYS_IN {
        let mut terminal = way_in(&world);
        terminal.answer(NUMBER_OR_APP, ALICE);
        terminal.expect(NOT_SENT);
        expect_in(terminal);
        expect_nothing_kept(&world);
        forget_sends(&world);
    }
}

/// Who comes back at once is not told that something is out of order.
#[test]
fn who_comes_back_too_soon_is_told_when_another_code_can_be_sent() {
    let (world, mut mailbox) = office_with_sms(r#"["sms"]"#);
    let mut ssh = by_ssh(&world);
    ssh.answer(NUMBER, "+48600000124");
    mailbox.receive();
    ssh.answer("or type resend): ", "");
    expect_in(ssh);
    let mut ssh = by_ssh(&world);
    ssh.answer(NUMBER, ALICE);
    let (which, _) = ssh.expect_any(&["Another code can be sent in ", NOT_SENT]);
    assert_eq!(which, 0, "{}", ssh.shown());
    ssh.answer(NUMBER, "");
    expect_in(ssh);
    mailbox.expect_nothing();
    expect_nothing_kept(&world);
}

#[test]
fn who_stops_at_the_number_has_none() {
    let (world, mut mailbox) = office_with_sms(r#"["sms"]"#);
    for way_in in WAYS_IN {
        for answer in ["\r", "later\r", "pw-alice\r", "\u{4}"] {
            let mut terminal = way_in(&world);
            terminal.expect(NUMBER);
            terminal.send(answer);
            expect_in(terminal);
            expect_nothing_kept(&world);
            let mut terminal = way_in(&world);
            terminal.answer(NUMBER, ALICE);
            terminal.expect(NEW_SMS);
            terminal.send(answer);
            expect_in(terminal);
            mailbox.receive();
            expect_nothing_kept(&world);
            forget_sends(&world);
        }
        let mut terminal = way_in(&world);
        terminal.answer(NUMBER, ALICE);
        terminal.expect(NEW_SMS);
        terminal.send(&mailbox.code());
        terminal.hang_up();
        world.expect_no_connection(SOON);
        expect_nothing_kept(&world);
        forget_sends(&world);
    }
}

// Both

#[test]
fn the_app_first_and_then_the_number() {
    for way_in in WAYS_IN {
        let (world, mut mailbox) = office_with_sms(r#"["app", "sms"]"#);
        let mut terminal = way_in(&world);
        prove_app(&mut terminal, NEW_APP_OR_SMS);
        terminal.send_line("saved");
        terminal.answer(NUMBER, ALICE);
        terminal.expect(NEW_SMS);
        terminal.send_line(&mailbox.code());
        terminal.expect(BOTH_COUNT);
        expect_in(terminal);
        forget_sends(&world);
        let mut ssh = by_ssh(&world);
        ssh.answer("Verification code (app, or type sms): ", "sms");
        ssh.expect("Verification code (SMS to +48 *** *** 123, or type app): ");
        ssh.send_line(&mailbox.code());
        expect_in(ssh);
    }
}

/// An app whose recovery codes are saved counts, whatever becomes of the number.
#[test]
fn an_app_counts_without_the_number() {
    let ends: [(&str, Option<Order>); 5] = [
        ("\r", None),
        ("later\r", None),
        ("\u{4}", None),
        ("1\r2\r3\r", None),
        ("600000123\r", Some(Order::Refuse(75))),
    ];
    for (way_in, (end, order)) in WAYS_IN.into_iter().cycle().zip(ends) {
        let (world, mailbox) = office_with_sms(r#"["app", "sms"]"#);
        order.into_iter().for_each(|order| mailbox.order(order));
        let mut terminal = way_in(&world);
        let (mut app, _) = prove_app(&mut terminal, NEW_APP_OR_SMS);
        terminal.send_line("saved");
        terminal.expect(NUMBER);
        for line in end.split_inclusive('\r') {
            terminal.send(line);
            if line.len() == 2 && line != "3\r" {
                terminal.expect(NUMBER);
            }
        }
        terminal.expect(APP_COUNTS);
        let terminal = expect_in(terminal);
        assert!(!terminal.screen().contains(NOTHING), "that is not so. {}", terminal.shown());
        expect_asked_for(&world, &mut app);
    }
}

/// Whoever hangs up then may have an app or not; half of one nobody has.
#[test]
fn who_is_cut_off_at_the_number_has_a_whole_app_or_none() {
    for way_in in WAYS_IN {
        let (world, _mailbox) = office_with_sms(r#"["app", "sms"]"#);
        let mut terminal = way_in(&world);
        let (mut app, _) = prove_app(&mut terminal, NEW_APP_OR_SMS);
        terminal.send_line("saved");
        terminal.expect(NUMBER);
        terminal.hang_up();
        world.expect_no_connection(SOON);
        world.expect_none_running(|command| command.starts_with("login") || command.starts_with("su "), SOON);
        let shown = shown(&world);
        assert!(shown.contains("\"phone\": null"), "{shown}");
        if shown.contains("\"apps\": []") {
            expect_nothing_kept(&world);
        } else {
            assert!(shown.contains("\"recovery_codes_left\": 10"), "{shown}");
            expect_asked_for(&world, &mut app);
        }
    }
}

#[test]
fn sms_and_app_switch_from_one_to_the_other() {
    for (methods, first) in [(r#"["sms", "app"]"#, NUMBER_OR_APP), (r#"["app", "sms"]"#, NEW_APP_OR_SMS)] {
        let (world, mut mailbox) = office_with_sms(methods);
        let mut ssh = by_ssh(&world);
        if first == NEW_APP_OR_SMS {
            ssh.answer(NEW_APP_OR_SMS, "sms");
        }
        ssh.answer(NUMBER_OR_APP, "app");
        ssh.expect(OR_TYPE_IT);
        let secret = ssh.expect("\n");
        ssh.answer(NEW_APP_OR_SMS, "SMS");
        ssh.answer(NUMBER_OR_APP, "app");
        ssh.expect(OR_TYPE_IT);
        assert_eq!(ssh.expect("\n"), secret, "the same app");
        ssh.answer(NEW_APP_OR_SMS, "sms");
        ssh.answer(NUMBER_OR_APP, ALICE);
        ssh.expect(NEW_SMS);
        ssh.send_line(&mailbox.code());
        ssh.expect(NUMBER_COUNTS);
        expect_in(ssh);
        expect_recovery(&world, 0);
    }
}

#[track_caller]
fn expect_recovery(world: &World, left: usize) {
    let shown = shown(world);
    assert!(shown.contains(&format!("\"recovery_codes_left\": {left}")), "{shown}");
}

// Who is asked nothing

#[test]
fn where_the_policy_does_not_offer_it_nothing_is_asked() {
    let world = office(POLICY);
    world.append("/etc/twofa/twofa.toml", "enroll_at_login = false\n");
    let world = world.start_sshd("");
    for way_in in WAYS_IN {
        let terminal = expect_in(way_in(&world));
        assert!(
            terminal.screen().contains("Have one set up: you get in without only until"),
            "{}",
            terminal.shown()
        );
        assert!(!terminal.screen().contains("authenticator"), "{}", terminal.shown());
        expect_nothing_kept(&world);
    }
}

/// With a key and without a terminal: nothing hangs, and nothing of ours gets into a stream.
#[test]
fn copies_and_commands_without_a_terminal_work() {
    for config in [SSHD_KEY_OR_PASSWORD, SSHD_KEY_ONLY] {
        let world = office(POLICY)
            .stack("sshd", KEY_OR_PASSWORD_AND_CODE)
            .authorize_key(&["alice"])
            .start_sshd(config);
        let client = || world.ssh("alice").key();
        let ran = client().run("cat; echo out; echo below >&2").expect(0);
        assert_eq!(ran.stdout, "out\n");
        // Where the key alone opens, sshd has the text of the account phase shown.
        let told = ran.stderr.strip_suffix("below\n").expect("what the command says");
        assert_eq!(told.contains("Have one set up"), config == SSHD_KEY_ONLY, "{told}");
        world.write("/root/report", "four pages\n");
        let copied = || {
            let text = fs::read_to_string(world.path("/home/alice/report")).unwrap();
            fs::remove_file(world.path("/home/alice/report")).unwrap();
            text
        };
        assert_eq!(client().run_scp("/root/report").expect(0).stdout, "");
        assert_eq!(copied(), "four pages\n");
        client().run_sftp("put /root/report\nbye\n").expect(0);
        assert_eq!(copied(), "four pages\n");
        let shell = "ssh -F none -o IdentityFile=/root/.ssh/key -o IdentitiesOnly=yes";
        world.run(&["rsync", "-e", shell, "/root/report", "alice@127.0.0.1:"]).expect(0);
        assert_eq!(copied(), "four pages\n");
        expect_nothing_kept(&world);
    }
}

/// On a terminal they ask like ssh does.
#[test]
fn copies_on_a_terminal_offer_it_and_go_on() {
    let world = office(POLICY).start_sshd("");
    world.write("/root/report", "four pages\n");
    let copies: [fn(&World) -> Terminal; 2] =
        [|world| world.ssh("alice").scp("/root/report"), |world| world.ssh("alice").rsync("/root/report")];
    for copy in copies {
        let mut terminal = with_password(copy(&world));
        terminal.answer(NEW_APP, "");
        terminal.expect_end(0);
        let report = world.path("/home/alice/report");
        assert_eq!(fs::read_to_string(&report).unwrap(), "four pages\n");
        fs::remove_file(report).unwrap();
    }
    let mut sftp = with_password(world.ssh("alice").sftp());
    let (mut app, _) = prove_app(&mut sftp, NEW_APP);
    sftp.send_line("saved");
    sftp.answer("sftp> ", "put /root/report");
    sftp.answer("sftp> ", "bye");
    sftp.expect_end(0);
    assert!(sftp.screen().contains(APP_COUNTS), "{}", sftp.shown());
    expect_asked_for(&world, &mut app);
}

// What is on the screen

/// Read back by a decoder that shares nothing with what drew it.
#[test]
fn the_qr_code_says_what_is_shown_below_it() {
    let world = office(&format!("{POLICY}[app]\nissuer = \"ACME Ltd\"\n")).start_sshd("");
    for way_in in WAYS_IN {
        let mut terminal = way_in(&world);
        terminal.expect(OR_TYPE_IT);
        let secret = terminal.expect("\n").replace(' ', "");
        let described = terminal.expect(NEW_APP);
        assert_eq!(described, "    ACME Ltd, alice; time based, 6 digits, every 30 seconds, SHA1\n\n");
        let read = qr::read(terminal.screen(), Colours::Dark).expect("a code that can be read");
        let expected = format!(
            "otpauth://totp/ACME%20Ltd:alice?secret={secret}&issuer=ACME%20Ltd&algorithm=SHA1&digits=6&period=30"
        );
        assert_eq!(read, expected);
        terminal.send_line("");
        expect_in(terminal);
    }
}

/// A client that takes the terminal for one of ASCII shows the blocks as numbers. The secret is there, and `text`.
#[test]
fn a_client_without_utf8_shows_the_secret_all_the_same() {
    let world = office(POLICY).start_sshd("");
    let start = || {
        let ssh = ["env", "-u", "LANG", "LC_ALL=C", "ssh", "-F", "none", "alice@127.0.0.1", COMMAND];
        with_password(world.small_terminal(&ssh))
    };
    let mut ssh = start();
    prove_app(&mut ssh, NEW_APP);
    ssh.send_line("");
    expect_in(ssh);
    let mut ssh = start();
    ssh.answer(NEW_APP, "text");
    ssh.expect(TYPE_THIS);
    let mut app = App::new(&ssh.expect("\n"));
    ssh.answer(NEW_APP, &app.code());
    ssh.answer(SAVED, "saved");
    ssh.expect(APP_COUNTS);
    expect_in(ssh);
    expect_asked_for(&world, &mut app);
}

/// Everything but sentences fits 80 columns: what has its line ends in the wrong place cannot be scanned, and is hard
/// to copy.
#[test]
fn on_80_columns_nothing_but_sentences_is_wrapped() {
    let (world, mut mailbox) = office_with_sms(r#"["app", "sms"]"#);
    let ssh: &[&str] = &["ssh", "-F", "none", "alice@127.0.0.1", COMMAND];
    for command in [ssh, &["login"]] {
        let mut terminal = world.small_terminal(command);
        if command == ["login"] {
            terminal.answer("login: ", "alice");
        }
        let mut terminal = with_password(terminal);
        terminal.answer(NEW_APP_OR_SMS, "text");
        let mut app = App::new(&{
            terminal.expect(TYPE_THIS);
            terminal.expect("\n")
        });
        terminal.answer(NEW_APP_OR_SMS, &app.wrong_code());
        terminal.answer(NEW_APP_OR_SMS, &app.code());
        terminal.answer(SAVED, "no");
        terminal.answer(SAVED, "saved");
        terminal.answer(NUMBER, "alice");
        terminal.answer(NUMBER, ALICE);
        terminal.answer(NEW_SMS, &mailbox.code());
        terminal.expect(BOTH_COUNT);
        let terminal = expect_in(terminal);
        assert!(qr::read(terminal.screen(), Colours::Dark).is_some(), "{}", terminal.shown());
        // What ssh puts in front is ssh's.
        let lines = terminal.screen().lines().map(|line| line.trim_start_matches("(alice@127.0.0.1) "));
        let long = lines.filter(|line| line.chars().count() > 80);
        let long: Vec<&str> = long.filter(|line| !line.ends_with('.') && !line.contains(". ")).collect();
        assert!(long.is_empty(), "{long:#?}");
        world.admin(&["user", "remove", "alice", "--yes"]).ok();
    }
}

// Codes by e-mail to a shared address

/// Whoever has no account needs none: the first login makes it, and sends the code.
#[test]
fn with_a_default_address_the_first_login_needs_no_enrolment() {
    let policy =
        policy_of(r#"["email"]"#).replace("[limits]", "default_address = \"office@example.org\"\n\n[limits]");
    for way_in in WAYS_IN {
        let world = office(&policy).start_sshd("");
        let mut mailbox = Mailbox::new(&world);
        let mut wrong = world.ssh("alice").option("NumberOfPasswordPrompts=1").spawn(COMMAND);
        wrong.answer(PASSWORD_PROMPT, "wrong");
        wrong.expect_end(255);
        mailbox.expect_nothing();
        world.admin(&["user", "show", "alice"]).expect(1);

        let mut terminal = way_in(&world);
        terminal.expect("Verification code (e-mail to o***@example.org): ");
        let message = mailbox.receive();
        assert_eq!((message.to.as_str(), message.kind.as_str()), ("office@example.org", "login"));
        assert_eq!(message.user, "alice");
        terminal.send_line(&not(&message.code()));
        terminal.expect("Wrong code.");
        terminal.answer("Verification code (e-mail to o***@example.org): ", &message.code());
        expect_in(terminal);
        world.log.expect("accepted email for alice");
        let shown = shown(&world);
        assert!(shown.contains("\"standing\": \"enrolled\""), "{shown}");
    }
}

/// Where the line of the password is `required`, a code is sent after a wrong one: it opens nothing.
#[test]
fn with_a_default_address_the_code_alone_opens_nothing() {
    let policy =
        policy_of(r#"["email"]"#).replace("[limits]", "default_address = \"office@example.org\"\n\n[limits]");
    let stack = PASSWORD_AND_CODE.replace("requisite", "required");
    let world = office(&policy).stack("sshd", &stack).start_sshd("");
    let mut mailbox = Mailbox::new(&world);
    let mut ssh = world.ssh("alice").option("NumberOfPasswordPrompts=1").spawn(COMMAND);
    ssh.answer(PASSWORD_PROMPT, "wrong");
    ssh.expect("Verification code (e-mail to o***@example.org): ");
    ssh.send_line(&mailbox.code());
    ssh.expect_end(255);
    assert!(!ssh.screen().contains(IN), "{}", ssh.shown());
}
