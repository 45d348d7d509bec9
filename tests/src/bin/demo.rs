//! `make demo`: shows the product at work with real programs, in a throw-away Debian that nothing outlives.

// It talks on stdout, and a step that does not go as told ends it with what was seen.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::expect_used, clippy::disallowed_methods)]

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Instant;
use std::{env, panic};

use twofa_tests::mailbox::{Mailbox, Order};
use twofa_tests::root;
use twofa_tests::setup::{
    CODE_PROMPT, KEY_OR_PASSWORD_AND_CODE, PASSWORD_PROMPT, POLICY, SSHD_KEY_OR_PASSWORD, policy_of,
};
use twofa_tests::ssh::Client;
use twofa_tests::totp::App;
use twofa_tests::world::{Enrolled, World};

const PASSWORD: &str = "demo-password";

/// Ctrl-C, as terminals show it.
const INTERRUPT: &str = "^C";

/// A second port that asks for the key alone, as many hosts do.
const KEY_ONLY_PORT: &str = "\
Port 2222
Match LocalPort 2222
    AuthenticationMethods publickey
";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let shell = match arguments.as_slice() {
        [] => false,
        ["--shell"] => true,
        _ => {
            eprintln!("usage: demo [--shell]");
            return ExitCode::from(2);
        }
    };
    if !rustix::process::geteuid().is_root() {
        eprintln!("The demo needs root: it starts a real sshd, in namespaces of its own.");
        eprintln!("Nothing on this machine is changed. Run: sudo make demo");
        return ExitCode::FAILURE;
    }
    // What went wrong is in the message; where in the harness it was found is of no interest here.
    panic::set_hook(Box::new(|info| {
        let text = info.payload().downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| info.payload().downcast_ref::<&str>().copied());
        eprintln!("\nThe demo failed: {}", text.unwrap_or("for an unknown reason"));
    }));
    let mut stage = Stage::new();
    stage.title();
    let (world, alice) = stage.set_up();
    if shell {
        stage.visit(&world, alice.app)
    } else {
        stage.play(&world, alice)
    }
    stage.close(world);
    ExitCode::SUCCESS
}

/// Where the play is shown.
struct Stage {
    colours: bool,
    began: Instant,
    step: u32,
}

impl Stage {
    fn new() -> Self {
        let colours =
            io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { colours, began: Instant::now(), step: 0 }
    }

    fn title(&self) {
        println!("{}", self.bold("twofa: two-factor login, shown with a real sshd, ssh and twofa-admin"));
        println!(
            "{}",
            self.dim("All of it runs in a throw-away Debian in namespaces of its own. This machine is not")
        );
        println!("{}", self.dim("changed, nothing listens outside, and nothing is left when this ends."));
    }

    fn set_up(&mut self) -> (World, Enrolled) {
        self.step("Build a Debian root (half a minute, the first time)", |_| root::cached());
        let world = self.step("Start it, with pam_twofa.so, twofa-admin and a user `demo`", |_| {
            World::new().user("demo", PASSWORD).authorize_key(&["demo"])
        });
        let world = self.step("Set it up", |stage| {
            stage.file("/etc/twofa/twofa.toml", POLICY);
            stage.file("/etc/pam.d/sshd", KEY_OR_PASSWORD_AND_CODE);
            stage.file("/etc/ssh/sshd_config", SSHD_KEY_OR_PASSWORD);
            let config = format!("{SSHD_KEY_OR_PASSWORD}{KEY_ONLY_PORT}");
            world.policy(POLICY).stack("sshd", KEY_OR_PASSWORD_AND_CODE).start_sshd(&config)
        });
        let demo = self.step("Enroll an authenticator app for demo", |stage| stage.enroll(&world));
        (world, demo)
    }

    fn enroll(&self, world: &World) -> Enrolled {
        self.command("twofa-admin enroll app demo");
        let settings: &[&str] = if self.colours { &[] } else { &["NO_COLOR=1"] };
        let (demo, screen) = world.enroll_at_terminal("demo", settings);
        self.screen(&screen);
        demo
    }

    /// Every way in and every refusal, one after the other.
    fn play(&mut self, world: &World, demo: Enrolled) {
        let Enrolled { mut app, recovery } = demo;
        let used = app.code();
        let by_password = world.ssh("demo").option("NumberOfPasswordPrompts=1");
        let by_key = world.ssh("demo").key().option("NumberOfPasswordPrompts=1");

        self.step("Log in with password and code", |stage| {
            stage.log_in(&by_password, &[(PASSWORD_PROMPT, PASSWORD), (CODE_PROMPT, &used)], 0);
        });
        self.step("Log in with a key and a code: no password is asked", |stage| {
            stage.log_in(&by_key, &[(CODE_PROMPT, &stage.code(&mut app))], 0);
        });
        self.step("Use the first code again, then guess: refused", |stage| {
            let wrong = app.wrong_code();
            stage.log_in(&by_key, &[(CODE_PROMPT, &used), (CODE_PROMPT, &wrong), (CODE_PROMPT, &wrong)], 255);
        });
        self.step("Log in at a port where sshd takes the key alone: refused", |stage| {
            stage.log_in(&world.ssh("demo").key().option("Port=2222"), &[], 255);
        });
        let lost = recovery.first().map_or("", String::as_str);
        self.step("The phone is lost: a recovery code opens one login", |stage| {
            stage.log_in(&by_key, &[(CODE_PROMPT, lost)], 0);
            stage.log_in(&by_key, &[(CODE_PROMPT, lost), (CODE_PROMPT, INTERRUPT)], 128 + 2);
        });
        let spare = recovery.last().map_or("", String::as_str);
        self.step("Codes by SMS, and a recovery code for when the gateway is down", |stage| {
            stage.send_codes(world, &by_key, spare);
        });
        self.step("What the host's log says", |stage| {
            for line in world.log.lines().iter().filter(|line| line.contains("pam_twofa(")) {
                stage.screen(line.split_once('>').map_or(line, |(_, text)| text));
            }
        });
    }

    /// A hook hands messages to a gateway; here it puts them where the demo finds them.
    fn send_codes(&self, world: &World, client: &Client<'_>, recovery: &str) {
        let mut phone = Mailbox::new(world);
        let policy = policy_of(r#"["sms", "app"]"#);
        world.write("/etc/twofa/twofa.toml", &policy);
        let lines =
            |line: &&str| ["methods", "[sms]", "hook", "prefixes"].iter().any(|key| line.starts_with(key));
        let sms = policy.split("[email]").next().unwrap_or_default();
        self.file("/etc/twofa/twofa.toml", &sms.lines().filter(lines).collect::<Vec<_>>().join("\n"));
        self.command("twofa-admin user set demo --phone '+48 600 000 123'");
        self.screen(&world.admin(&["user", "set", "demo", "--phone", "+48 600 000 123"]).ok());

        let prompt = "Verification code (SMS to +48 *** *** 123, or type app): ";
        self.command(&client.display("id"));
        let mut ssh = client.spawn("id");
        let before = ssh.expect(prompt);
        let message = phone.receive();
        println!("   {} {}", self.blue("SMS"), message.text);
        ssh.send_line(&message.code());
        ssh.expect_end(0);
        self.screen(&format!("{before}{prompt}{}{}", self.blue(&message.code()), ssh.unread()));

        phone.order(Order::Refuse(75));
        world.admin(&["user", "unlock", "demo"]).ok();
        self.log_in(client, &[("Verification code (app, or type sms): ", recovery)], 0);
    }

    /// A login prompt for the person who started the demo, as often as they like.
    fn visit(&mut self, world: &World, mut app: App) {
        self.headline("Your turn");
        loop {
            println!(
                "  The password of demo is {}, its code now is {}.",
                self.bold(PASSWORD),
                self.bold(&app.code())
            );
            println!(
                "{}",
                self.dim("  Each code is good for one login. Scan the QR code above to use a phone instead.")
            );
            let mut ssh = world.command("ssh");
            ssh.envs(env::var_os("TERM").map(|term| ("TERM", term)));
            ssh.args(["-F", "none", "-o", "PubkeyAuthentication=no", "demo@127.0.0.1"]);
            let _ = ssh.status();
            print!("  Once more? [y/N] ");
            let _ = io::stdout().flush();
            let mut answer = String::new();
            let _ = io::stdin().lock().read_line(&mut answer);
            if !answer.trim().eq_ignore_ascii_case("y") {
                return;
            }
        }
    }

    fn close(&mut self, world: World) {
        self.step("End: the namespaces and everything in them", |_| drop(world));
        println!(
            "\n{} in {:.1} s. Nothing is left running.",
            self.bold("Done"),
            self.began.elapsed().as_secs_f64()
        );
    }

    /// Logs in by `client` with these answers, and shows what the person at the terminal sees.
    fn log_in(&self, client: &Client<'_>, answers: &[(&str, &str)], code: i32) {
        let command = "id";
        self.command(&client.display(command));
        let mut ssh = client.spawn(command);
        let mut seen = String::new();
        for (prompt, answer) in answers {
            seen += &ssh.expect(prompt);
            seen += prompt;
            seen += &self.blue(answer);
            if *answer == INTERRUPT {
                ssh.interrupt();
            } else {
                ssh.send_line(answer);
            }
        }
        ssh.expect_end(code);
        self.screen(&(seen + ssh.unread()));
    }

    /// The app's next code, which may take until the next half minute: each is good for one login.
    fn code(&self, app: &mut App) -> String {
        if app.is_used_up() {
            println!("   {}", self.dim("The code of now is used: waiting for the app to show the next one."));
        }
        app.code()
    }

    /// Announces a step, takes it and says how long it took.
    fn step<T>(&mut self, headline: &str, action: impl FnOnce(&Self) -> T) -> T {
        self.headline(headline);
        let began = Instant::now();
        let result = action(self);
        println!("{}", self.dim(&format!("   {:.2} s", began.elapsed().as_secs_f64())));
        result
    }

    fn headline(&mut self, text: &str) {
        self.step += 1;
        println!("\n{} {}", self.blue(&format!("{:2}", self.step)), self.bold(text));
    }

    fn file(&self, path: &str, content: &str) {
        println!("   {}", self.dim(path));
        self.screen(content.trim());
    }

    fn command(&self, line: &str) {
        println!("   {} {line}", self.dim("$"));
    }

    /// What a terminal showed, set apart by a line at its left.
    fn screen(&self, text: &str) {
        for line in text.trim_matches('\n').lines() {
            println!("   {} {line}", self.dim("│"));
        }
    }

    fn bold(&self, text: &str) -> String {
        self.styled("1", text)
    }

    fn dim(&self, text: &str) -> String {
        self.styled("2", text)
    }

    /// What a person types, and the numbers of the steps.
    fn blue(&self, text: &str) -> String {
        self.styled("1;34", text)
    }

    fn styled(&self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
