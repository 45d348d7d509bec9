//! docs/screens.md shows what is seen: it is made of real runs on a terminal of 80 columns, with fixed samples in place
//! of secrets, codes and times.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken test says so and stops"
)]

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use twofa::code::Secret;
use twofa::{otpauth, qr};
use twofa_tests::driver::code;
use twofa_tests::root::suite;
use twofa_tests::setup::{CODE_PROMPT, PASSWORD_PROMPT};
use twofa_tests::terminal::Terminal;
use twofa_tests::totp::{App, secret_of};
use twofa_tests::world::{World, recovery_codes};

/// With this in the environment the page is written, and not compared.
const WRITE: &str = "TWOFA_WRITE_SCREENS";
/// Whose screens the page has.
const RELEASE: &str = "bookworm";
const CODE: &str = "492039";
const WRONG_CODE: &str = "123456";
const PROVE: &str = "Code that the app shows now: ";
const DAY: &str = "2026-11-22";
const MINUTE: &str = "08:31 UTC";

const HEAD: &str = "\
# What it looks like

Real screens, 80 columns wide, of a throw-away Debian called `server`; secrets, codes and times are samples. Made by
`TWOFA_WRITE_SCREENS=1 cargo test -p twofa-tests --test screens`; without the variable, that checks them.
";

/// The page, screen by screen.
struct Page(String);

impl Page {
    fn add(&mut self, title: &str, said: &str, command: &str, screen: &str) {
        let lines: Vec<&str> = screen.trim_end().lines().map(str::trim_end).collect();
        let text = plain(&lines.join("\n"));
        write!(self.0, "\n## {title}\n\n{said}\n\n```\n{command}\n{text}\n```\n").unwrap();
    }

    /// What a command of root's shows.
    fn add_command(&mut self, world: &World, title: &str, said: &str, arguments: &[&str]) {
        let mut terminal = admin(world, arguments);
        terminal.end();
        let command = format!("# twofa-admin {}", arguments.join(" "));
        self.add(title, said, &command, terminal.screen());
    }
}

#[test]
fn the_page_shows_what_is_seen() {
    let world = World::new().user("alice", "pw-alice").user("bob", "pw-bob");
    let mut page = Page(HEAD.into());

    let mut init = admin(&world, &["init"]);
    init.answer("Method [2]: ", "2");
    init.answer("(Enter: none) ", "");
    for _ in 0..3 {
        init.answer("Write this? [y/N]: ", "y");
    }
    init.expect_end(0);
    page.add("Set up", "Nothing is written unasked. With packages, pam-auth-update writes the lines, into common-auth and common-account.", "# twofa-admin init", init.screen());

    let (mut app, screen) = enroll(&world, "alice");
    page.add("Enroll a user", "The user scans the code.", "# twofa-admin enroll app alice", &screen);
    world.admin(&["policy", "enable", "--force"]).ok();
    page.add_command(
        &world,
        "A finding of the doctor",
        "Before anybody is locked out; the exit status is 2.",
        &["doctor"],
    );

    enroll(&world, "bob");
    enroll(&world, "root");
    page.add_command(&world, "A healthy host", "The exit status is 0.", &["doctor"]);

    let world = world.start_sshd("Include /etc/ssh/sshd_config.d/*.conf\n");
    let mut login = world.ssh("alice").spawn("echo Welcome, alice.");
    let (wrong, right) = (app.wrong_code(), app.code());
    login.answer(PASSWORD_PROMPT, "pw-alice");
    login.answer(CODE_PROMPT, &wrong);
    login.answer(CODE_PROMPT, &right);
    login.expect_end(0);
    let screen = login.screen().replace(&wrong, WRONG_CODE).replace(&right, CODE);
    let screen = screen.replace("127.0.0.1", "server");
    page.add("Log in", "The first code is wrong.", "$ ssh alice@server echo Welcome, alice.", &screen);

    page.add_command(&world, "Who has what", "One line for each user.", &["user", "list"]);
    page.add_command(
        &world,
        "How it stands",
        "The exit status is 3 when there is something to do.",
        &["status"],
    );

    let path = repository().join("docs/screens.md");
    if env::var_os(WRITE).is_some() {
        fs::write(&path, &page.0).unwrap();
    }
    // Other releases have other lines in their PAM files; there, it is enough that everything was shown.
    if suite() != RELEASE {
        return;
    }
    let written = fs::read_to_string(&path).expect("docs/screens.md");
    assert!(
        written == page.0,
        "docs/screens.md is not what is seen now; make it anew with {WRITE}=1:\n{}",
        page.0
    );
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests is a folder of it").into()
}

fn admin(world: &World, arguments: &[&str]) -> Terminal {
    world.small_terminal(&[&["env", "NO_COLOR=1", "TZ=UTC0", "twofa-admin"], arguments].concat())
}

/// Also returns the screen, with samples on it.
fn enroll(world: &World, user: &str) -> (App, String) {
    let mut terminal = admin(world, &["enroll", "app", user]);
    terminal.expect("Or type it in: ");
    let groups = terminal.expect("\n");
    let mut app = App::new(&groups);
    let typed = app.code();
    terminal.answer(PROVE, &typed);
    let recovery = recovery_codes(&terminal.answer("saved the recovery codes: ", "saved"));
    terminal.expect_end(0);

    let secret = groups.replace(' ', "");
    let sample = Secret::new(code::base32(&secret_of(user)));
    let mut screen = terminal.screen().replace(&groups, &otpauth::groups(&sample));
    screen = screen.replace(&secret, &otpauth::base32(&sample)).replace(&typed, CODE);
    for (number, code) in recovery.iter().enumerate() {
        screen = screen.replace(code, &format!("{number}E3J-AP9A-813B-PVJK-SMAP-6YAV"));
    }
    let (head, rest) = screen.split_once("Or scan it:\n\n").expect("a QR code");
    let (_, rest) = rest.split_once(PROVE).expect("a question");
    let (_, uri) = head.split_once(": ").expect("an address");
    let qr = qr::render(uri.lines().next().expect("an address"), false).expect("a QR code");
    (app, format!("{head}Or scan it:\n\n{}{PROVE}{rest}", qr.as_str()))
}

/// With the same moment everywhere, and the same name of the host.
fn plain(screen: &str) -> String {
    let text = screen.replace("twofa-test", "server").replace(env::consts::ARCH, "x86_64");
    let mut told = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(first) = rest.chars().next() {
        let part = if is_shaped(rest, "9999-99-99") {
            (DAY, DAY.len())
        } else if is_shaped(rest, "99:99 UTC") {
            (MINUTE, MINUTE.len())
        } else {
            (&rest[..first.len_utf8()], first.len_utf8())
        };
        told.push_str(part.0);
        rest = &rest[part.1..];
    }
    told
}

fn is_shaped(text: &str, shape: &str) -> bool {
    let begins = text.bytes().zip(shape.bytes()).all(|(b, s)| b == s || s == b'9' && b.is_ascii_digit());
    begins && text.len() >= shape.len()
}
