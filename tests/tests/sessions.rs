//! One code for a whole login session: whom su and sudo ask for nothing more, and whom they ask as ever, with the
//! kernel's real audit sessions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may panic

use std::time::Duration;

use twofa_tests::setup::{
    CODE_PROMPT, KEY_OR_PASSWORD_AND_CODE, PASSWORD_AND_CODE, PASSWORD_PROMPT, POLICY, SSHD_KEY_OR_PASSWORD,
};
use twofa_tests::ssh::Client;
use twofa_tests::terminal::Terminal;
use twofa_tests::totp::App;
use twofa_tests::world::World;

const HOME: &str = "198.51.100.7";
const CAFE: &str = "198.51.100.8";

/// What begins an audit session. Debian has it in the stacks of sshd and login.
const LOGINUID: &str = "session required pam_loginuid.so";

/// The usual policy, with these services that ask for nothing inside a session.
fn policy_with(session_services: &str, more: &str) -> String {
    let policy = POLICY.replace(r#""su"]"#, r#""su", "sudo"]"#);
    format!("{policy}{more}\n[trust]\nsession_services = [{session_services}]\n")
}

fn policy() -> String {
    policy_with(r#""su", "sudo""#, "")
}

/// alice, bob and carol have passwords, and root; who of them has an app, a test says.
fn office(policy: &str) -> World {
    World::new()
        .user("alice", "pw-alice")
        .user("bob", "pw-bob")
        .user("carol", "pw-carol")
        .password("root", "pw-root")
        .policy(policy)
        .stack("sshd", &format!("{KEY_OR_PASSWORD_AND_CODE}\n{LOGINUID}"))
        .stack("login", &format!("{PASSWORD_AND_CODE}\n{LOGINUID}"))
        .stack("su", PASSWORD_AND_CODE)
        .stack("sudo", PASSWORD_AND_CODE)
        .client_network(&[HOME, CAFE])
}

fn client<'w>(world: &'w World, user: &str) -> Client<'w> {
    world.ssh(user).over_network(HOME).option("NumberOfPasswordPrompts=1")
}

/// A shell after a login with password and code.
#[track_caller]
fn shell(world: &World, user: &str, app: &mut App) -> Terminal {
    let mut ssh = client(world, user).shell();
    ssh.answer(PASSWORD_PROMPT, &format!("pw-{user}"));
    ssh.answer(CODE_PROMPT, &app.code());
    ssh.expect("$ ");
    ssh
}

/// A shell after a login that asked for no code.
#[track_caller]
fn shell_without_code(world: &World, user: &str) -> Terminal {
    let mut ssh = client(world, user).shell();
    ssh.answer(PASSWORD_PROMPT, &format!("pw-{user}"));
    let (which, _) = ssh.expect_any(&["$ ", CODE_PROMPT]);
    assert_eq!(which, 0, "a code is asked for. {}", ssh.shown());
    ssh
}

/// In to `user` by this command, which runs `echo` for who is in, with the password of `whose` and nothing more.
#[track_caller]
fn expect_in_by(shell: &mut Terminal, command: &str, whose: &str) {
    shell.send_line(command);
    shell.answer(PASSWORD_PROMPT, &format!("pw-{whose}"));
    let (which, before) = shell.expect_any(&["\nIN\n", CODE_PROMPT]);
    assert_eq!(which, 0, "a code is asked for. {}", shell.shown());
    assert_eq!(before.trim(), "", "something is said. {}", shell.shown());
    shell.expect("$ ");
}

/// A code is asked for; it is not given.
#[track_caller]
fn expect_asked_by(shell: &mut Terminal, command: &str, whose: &str) {
    shell.send_line(command);
    shell.answer(PASSWORD_PROMPT, &format!("pw-{whose}"));
    let (which, _) = shell.expect_any(&[CODE_PROMPT, "\nIN\n"]);
    assert_eq!(which, 0, "no code is asked for. {}", shell.shown());
    shell.send("\u{3}");
    shell.expect("$ ");
}

#[track_caller]
fn expect_in(shell: &mut Terminal, user: &str) {
    expect_in_by(shell, &format!("su {user} -c 'echo IN'"), user);
}

#[track_caller]
fn expect_asked(shell: &mut Terminal, user: &str) {
    expect_asked_by(shell, &format!("su {user} -c 'echo IN'"), user);
}

/// Not by the timestamp that sudo keeps. The quotes keep the prompt out of what the terminal shows of the command.
const SUDO: &str = "sudo -K; sudo -p 'Pass''word: ' echo IN";

/// What stays when its session is over, and becomes root when it is told to.
struct Left<'w>(&'w World);

impl<'w> Left<'w> {
    /// By this shell of alice's.
    #[track_caller]
    fn behind(world: &'w World, shell: &mut Terminal) -> Self {
        world.write("/usr/local/bin/left", LEFT);
        world.run(&["chmod", "755", "/usr/local/bin/left"]).ok();
        shell.send_line("mkfifo gate said; setsid left </dev/null >/dev/null 2>&1 & echo BEGUN");
        shell.expect("\nBEGUN\n");
        shell.expect("$ ");
        Self(world)
    }

    /// Lets it try, and returns what su said.
    #[track_caller]
    fn says(&self) -> String {
        let script = "echo go >gate; cat said";
        self.0.run(&["sh", "-c", &format!("cd /home/alice && {script}")]).ok()
    }

    #[track_caller]
    fn expect_in(&self) {
        let said = self.says();
        assert!(said.contains("IN\n") && !said.contains(CODE_PROMPT), "{said}");
    }

    #[track_caller]
    fn expect_asked(&self) {
        let said = self.says();
        assert!(said.contains(CODE_PROMPT) && !said.contains("IN\n"), "{said}");
    }
}

/// At each word at the gate, one try.
const LEFT: &str = "\
#!/bin/sh
cd /home/alice
while read go <gate; do
    echo pw-root | su root -c 'echo IN' >said 2>&1
done
";

/// The one process whose command line has this in it; sshd writes there what a process of its own is for.
fn pid(world: &World, part: &str) -> String {
    let processes = world.processes();
    let found: Vec<_> = processes.iter().filter(|process| process.command.contains(part)).collect();
    let [one] = found[..] else { panic!("not one {part}: {processes:?}") };
    one.pid.to_string()
}

fn uid(world: &World, user: &str) -> String {
    world.run(&["id", "-u", user]).ok().trim().to_owned()
}

// What a user sees

#[test]
fn the_code_of_the_login_is_enough_for_su() {
    let world = office(&policy()).start_sshd("");
    let [mut alice, mut bob, _] = ["alice", "bob", "root"].map(|user| world.enroll(user));
    let mut shell = shell(&world, "alice", &mut alice.app);
    for user in ["root", "alice", "root"] {
        expect_in(&mut shell, user);
    }
    world.log.expect_times("pam_twofa(su:auth): accepted session for root", 2);
    world.log.expect("pam_twofa(su:auth): accepted session for alice");
    world.log.expect_none("refused");
    // To become anybody else takes what that one has.
    for user in ["bob", "carol"] {
        expect_asked(&mut shell, user);
    }
    // Asked for on another terminal, in another session of setsid(2), as inside tmux or screen.
    expect_in_by(&mut shell, "setsid --wait script -qec \"su root -c 'echo IN'\" /dev/null", "root");
    // From inside of what su has opened.
    shell.send_line("su bob");
    shell.answer(PASSWORD_PROMPT, "pw-bob");
    shell.answer(CODE_PROMPT, &bob.app.code());
    shell.answer("bob@", "su root -c 'echo IN'");
    shell.answer(PASSWORD_PROMPT, "pw-root");
    shell.expect("\nIN\n");
}

#[test]
fn the_code_of_the_login_is_enough_for_sudo() {
    let world = office(&policy()).start_sshd("");
    world.run(&["adduser", "--quiet", "alice", "sudo"]).ok();
    world.run(&["adduser", "--quiet", "bob", "sudo"]).ok();
    let [mut alice, mut bob] = ["alice", "bob"].map(|user| world.enroll(user));
    let mut of_alice = shell(&world, "alice", &mut alice.app);
    for _ in 0..2 {
        expect_in_by(&mut of_alice, SUDO, "alice");
    }
    world.log.expect_times("pam_twofa(sudo:auth): accepted session for alice", 2);

    // One service is listed and the other is not.
    let world = world.policy(&policy_with(r#""sudo""#, ""));
    expect_in_by(&mut of_alice, SUDO, "alice");
    expect_asked(&mut of_alice, "root");
    let mut of_bob = shell(&world, "bob", &mut bob.app);
    expect_in_by(&mut of_bob, SUDO, "bob");
}

#[test]
fn the_password_is_asked_for_as_ever() {
    let world = office(&policy()).start_sshd("");
    let [mut alice, _] = ["alice", "bob"].map(|user| world.enroll(user));
    let mut shell = shell(&world, "alice", &mut alice.app);
    for password in ["wrong", "pw-alice", ""] {
        shell.answer("", "su root -c 'echo IN'");
        shell.answer(PASSWORD_PROMPT, password);
        shell.expect("su: Authentication failure");
        shell.expect("$ ");
    }
    shell.send_line("su nobody-here -c 'echo IN'");
    let (which, _) = shell.expect_any(&["su: ", "\nIN\n"]);
    assert_eq!(which, 0, "{}", shell.shown());
    world.log.expect_none("accepted session");
}

#[test]
fn without_a_listed_service_everything_is_asked_as_before() {
    for policy in [POLICY.to_owned(), policy_with("", ""), policy_with(r#""sudo""#, "")] {
        let world = office(&policy).start_sshd("");
        let [mut alice, mut root] = ["alice", "root"].map(|user| world.enroll(user));
        let mut shell = shell(&world, "alice", &mut alice.app);
        expect_asked(&mut shell, "root");
        shell.send_line("su root -c 'echo IN'");
        shell.answer(PASSWORD_PROMPT, "pw-root");
        shell.answer(CODE_PROMPT, &root.app.code());
        shell.expect("\nIN\n");
        world.log.expect_none("accepted session");
    }
}

#[test]
fn a_login_on_the_console_is_a_session() {
    let world = office(&policy());
    let [mut alice, _] = ["alice", "bob"].map(|user| world.enroll(user));
    let mut console = world.console();
    console.answer("login: ", "alice");
    console.answer(PASSWORD_PROMPT, "pw-alice");
    console.answer(CODE_PROMPT, &alice.app.code());
    console.expect("$ ");
    let left = Left::behind(&world, &mut console);
    expect_in(&mut console, "root");
    left.expect_in();
    console.send_line("exit");
    console.end();
    left.expect_asked();
}

#[test]
fn an_ssh_key_is_a_factor_too() {
    let world = office(&policy().replace(r#"["app"]"#, r#"["key"]"#)).start_sshd(SSHD_KEY_OR_PASSWORD);
    for (user, key) in [("alice", "blue"), ("bob", "red")] {
        world.authorized_keys(user, &world.security_key(key, &["-t", "ed25519-sk"]));
        let enroll = ["twofa-admin", "enroll", "ssh-key", user, &format!("/root/.ssh/{key}.pub")];
        world.run_with_input(&enroll, "saved\n").ok();
    }
    let mut ssh = client(&world, "alice").security_key("blue").shell();
    ssh.expect("$ ");
    world.log.expect("accepted ssh-key");
    expect_in(&mut ssh, "root");
}

#[test]
fn several_sessions_of_one_user_are_open_at_once() {
    let world = office(&policy()).start_sshd("");
    let [mut alice, _] = ["alice", "bob"].map(|user| world.enroll(user));
    let mut by_recovery = client(&world, "alice").shell();
    by_recovery.answer(PASSWORD_PROMPT, "pw-alice");
    by_recovery.answer(CODE_PROMPT, &alice.recovery[0]);
    by_recovery.expect("$ ");
    let mut by_app = shell(&world, "alice", &mut alice.app);
    for _ in 0..2 {
        expect_in(&mut by_recovery, "root");
        expect_in(&mut by_app, "root");
    }
    by_app.send_line("exit");
    by_app.expect_end(0);
    expect_in(&mut by_recovery, "root");
}

// Sessions whose login proved nothing

#[test]
fn a_trusted_device_proves_nothing_to_su() {
    let policy = format!("{}duration = \"1 day\"\noffer = \"always\"\n", policy());
    let world = office(&policy).start_sshd("");
    let [mut alice, _] = ["alice", "bob"].map(|user| world.enroll(user));
    let mut proven = shell(&world, "alice", &mut alice.app);
    let mut trusted = shell_without_code(&world, "alice");
    world.log.expect("accepted trusted device for alice");
    // Side by side, both of alice: only the one that a code was typed in.
    for _ in 0..2 {
        expect_in(&mut proven, "root");
        expect_asked(&mut trusted, "root");
    }
    proven.send_line("exit");
    proven.expect_end(0);
    expect_asked(&mut trusted, "root");
}

#[test]
fn a_bypass_proves_nothing_to_su() {
    let world = office(&policy()).start_sshd("");
    let _ = ["alice", "bob"].map(|user| world.enroll(user));
    let bypass = ["user", "bypass", "alice", "--for", "1h", "--reason", "lost phone"];
    let shown = world.admin(&bypass).ok();
    let is_code = |word: &&str| word.len() == 29 && word.split('-').all(|group| group.len() == 4);
    let code = shown.split_whitespace().find(is_code).unwrap_or_else(|| panic!("{shown}"));
    let mut ssh = client(&world, "alice").shell();
    ssh.answer(PASSWORD_PROMPT, "pw-alice");
    ssh.answer(CODE_PROMPT, code);
    ssh.expect("$ ");
    expect_asked(&mut ssh, "root");
}

#[test]
fn who_is_let_in_without_a_factor_has_proven_nothing_to_su() {
    let exempt = "[[exempt]]\nuser = \"alice\"\nreason = \"on leave\"\nuntil = 2099-12-31\n";
    let observe = policy().replace("\"enforce\"", "\"observe\"");
    let not_yet = "[rollout]\nenforce_from = 2099-12-31\nenroll_at_login = false\n";
    let grace = "[rollout]\ngrace_days = 30\nenroll_at_login = false\n";
    for (policy, has_app, why) in [
        (format!("{}{exempt}", policy()), true, "exempt"),
        (observe, false, "observe"),
        (format!("{}{not_yet}", policy()), false, "not yet"),
        (format!("{}{grace}", policy()), false, "grace"),
    ] {
        let world = office(&policy).start_sshd("");
        world.enroll("root");
        if has_app {
            world.enroll("alice");
        }
        let mut ssh = shell_without_code(&world, "alice");
        expect_asked(&mut ssh, "root");
        assert!(!world.log.lines().iter().any(|line| line.contains("accepted session")), "{why}");
    }
}

/// Observe mode asks those who have a factor; who does not give it is let in, and has not proven it.
#[test]
fn a_wrong_code_in_observe_mode_proves_nothing_to_su() {
    let world = office(&policy().replace("\"enforce\"", "\"observe\"")).start_sshd("");
    let [mut alice, _] = ["alice", "root"].map(|user| world.enroll(user));
    let mut ssh = client(&world, "alice").shell();
    ssh.answer(PASSWORD_PROMPT, "pw-alice");
    for _ in 0..3 {
        ssh.answer(CODE_PROMPT, &alice.app.wrong_code());
    }
    ssh.expect("$ ");
    expect_asked(&mut ssh, "root");
    let mut proven = shell(&world, "alice", &mut alice.app);
    expect_in(&mut proven, "root");
}

#[test]
fn the_code_for_su_itself_opens_no_session() {
    let policy = format!("{}duration = \"1 day\"\noffer = \"always\"\n", policy());
    let world = office(&policy).start_sshd("");
    let [mut alice, mut bob] = ["alice", "bob"].map(|user| world.enroll(user));
    shell(&world, "alice", &mut alice.app).send_line("exit");
    let mut trusted = shell_without_code(&world, "alice");
    trusted.send_line("su bob");
    trusted.answer(PASSWORD_PROMPT, "pw-bob");
    trusted.answer(CODE_PROMPT, &bob.app.code());
    trusted.expect("bob@");
    expect_asked(&mut trusted, "alice");
    trusted.send_line("exit");
    trusted.expect("$ ");
    expect_asked(&mut trusted, "root");
}

// Of whom, and where

#[test]
fn sessions_are_not_mixed_up() {
    let world = office(&policy()).start_sshd("");
    let [mut alice, _] = ["alice", "bob"].map(|user| world.enroll(user));
    let mut of_alice = shell(&world, "alice", &mut alice.app);
    let world = world.policy(&policy_with(
        r#""su""#,
        "[[exempt]]\nuser = \"bob\"\nreason = \"on leave\"\nuntil = 2099-12-31\n",
    ));
    let mut of_bob = shell_without_code(&world, "bob");
    expect_asked(&mut of_bob, "root");
    // su tells PAM_RUSER, and a caller their environment: neither says whose session this is.
    expect_asked_by(
        &mut of_bob,
        "env USER=alice LOGNAME=alice SUDO_USER=alice XDG_SESSION_ID=1 su alice -c 'echo IN'",
        "alice",
    );
    expect_in(&mut of_alice, "alice");
}

/// What root or a service starts is in no session, whoever it runs as.
#[test]
fn outside_of_sessions_everything_is_asked() {
    let world = office(&policy()).start_sshd("");
    let [mut alice, _] = ["alice", "bob"].map(|user| world.enroll(user));
    let mut of_alice = shell(&world, "alice", &mut alice.app);
    let mut of_service = world.terminal_of("alice", &["sh"]);
    of_service.expect("$ ");
    expect_asked(&mut of_service, "root");
    // Who is in no session may say whose they are: the kernel then begins another one.
    of_service
        .send_line(&format!("echo {} >/proc/self/loginuid && cat /proc/self/loginuid", uid(&world, "alice")));
    of_service.expect("$ ");
    expect_asked(&mut of_service, "root");
    expect_in(&mut of_alice, "root");
}

/// The kernel then keeps no session, and nothing else is taken for one.
#[test]
fn without_pam_loginuid_everything_is_asked() {
    let world = office(&policy());
    let world = world.stack("sshd", PASSWORD_AND_CODE).stack("login", PASSWORD_AND_CODE).start_sshd("");
    let [mut alice, _] = ["alice", "bob"].map(|user| world.enroll(user));
    let mut ssh = shell(&world, "alice", &mut alice.app);
    expect_asked(&mut ssh, "root");
    let mut again = shell(&world, "alice", &mut alice.app);
    expect_asked(&mut again, "root");
    world.log.expect_none("accepted session");
}

// The end

#[test]
fn a_process_left_behind_is_asked() {
    let world = office(&policy()).start_sshd("");
    let [mut alice, _] = ["alice", "bob"].map(|user| world.enroll(user));
    let mut first = shell(&world, "alice", &mut alice.app);
    let left = Left::behind(&world, &mut first);
    left.expect_in();
    first.send_line("exit");
    first.expect_end(0);
    world.expect_no_connection(Duration::from_secs(5));
    left.expect_asked();
    // A later session is another one.
    let mut second = shell(&world, "alice", &mut alice.app);
    expect_in(&mut second, "root");
    left.expect_asked();
}

#[test]
fn a_session_whose_sshd_was_killed_is_over() {
    let world = office(&policy()).start_sshd("");
    let [mut alice, _] = ["alice", "bob"].map(|user| world.enroll(user));
    let mut ssh = shell(&world, "alice", &mut alice.app);
    let left = Left::behind(&world, &mut ssh);
    left.expect_in();
    let leader = pid(&world, "sshd: alice [priv]");
    world.run(&["sh", "-c", &format!("kill -9 {leader}; while test -e /proc/{leader}; do :; done")]).ok();
    left.expect_asked();
}

/// What has ended and was not yet waited for holds no session open. Here nobody waits for login.
#[test]
fn a_session_whose_login_is_a_zombie_is_over() {
    let world = office(&policy());
    let [mut alice, _] = ["alice", "bob"].map(|user| world.enroll(user));
    let negligent = "trap '' HUP; exec 3<&0; login <&3 3<&- & exec sleep 600";
    let mut console = world.terminal(&["sh", "-c", negligent]);
    console.answer("login: ", "alice");
    console.answer(PASSWORD_PROMPT, "pw-alice");
    console.answer(CODE_PROMPT, &alice.app.code());
    console.expect("$ ");
    let left = Left::behind(&world, &mut console);
    left.expect_in();
    let leader = pid(&world, "login");
    let until_zombie = format!("until grep -q '^State:.Z' /proc/{leader}/status; do :; done");
    world.run(&["sh", "-c", &format!("kill -9 {leader}; {until_zombie}")]).ok();
    left.expect_asked();
}

/// A lock, another factor and an administrator's word end what alice has open; bob's is not hers.
#[track_caller]
fn expect_to_end_sessions(policy: &str, end: impl FnOnce(&World, &mut App)) {
    let world = office(policy).start_sshd("");
    let [mut alice, mut bob] = ["alice", "bob"].map(|user| world.enroll(user));
    let mut of_alice = shell(&world, "alice", &mut alice.app);
    let mut of_bob = shell(&world, "bob", &mut bob.app);
    expect_in(&mut of_alice, "root");
    end(&world, &mut alice.app);
    expect_asked(&mut of_alice, "root");
    expect_in(&mut of_bob, "root");
}

#[test]
fn trust_revoked_is_asked() {
    expect_to_end_sessions(&policy(), |world, _| {
        world.admin(&["trust", "revoke", "alice"]).ok();
    });
}

#[test]
fn trust_of_all_revoked_is_asked() {
    let world = office(&policy()).start_sshd("");
    let [mut alice, mut bob] = ["alice", "bob"].map(|user| world.enroll(user));
    let mut shells = [shell(&world, "alice", &mut alice.app), shell(&world, "bob", &mut bob.app)];
    shells.iter_mut().for_each(|shell| expect_in(shell, "root"));
    world.admin(&["trust", "revoke", "--all", "--yes"]).ok();
    shells.iter_mut().for_each(|shell| expect_asked(shell, "root"));
}

#[test]
fn a_user_who_is_reset_is_asked() {
    expect_to_end_sessions(&policy(), |world, _| {
        world.admin(&["user", "reset", "alice", "--yes"]).ok();
    });
}

#[test]
fn a_changed_factor_is_asked() {
    expect_to_end_sessions(&policy(), |world, _| {
        let number = ["user", "set", "alice", "--phone", "+48600000123"];
        world.admin(&number).ok();
    });
    expect_to_end_sessions(&policy(), |world, _| {
        let another = ["twofa-admin", "enroll", "app", "alice", "--secret-stdin"];
        world.run_with_input(&another, "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP\n").ok();
    });
}

#[test]
fn a_user_made_anew_is_asked() {
    expect_to_end_sessions(&policy(), |world, _| {
        world.admin(&["user", "remove", "alice", "--yes"]).ok();
        world.enroll("alice");
    });
}

/// Somebody who knows the password guesses codes, from another address.
#[test]
fn guessing_from_elsewhere_ends_sessions() {
    for limits in ["failures = 3", "failures = 20\ntotal = 5"] {
        expect_to_end_sessions(&policy_with(r#""su""#, &format!("[limits]\n{limits}\n")), |world, app| {
            let locked = (0..10).any(|_| {
                let mut guesser =
                    world.ssh("alice").over_network(CAFE).option("NumberOfPasswordPrompts=1").spawn("id");
                guesser.answer(PASSWORD_PROMPT, "pw-alice");
                loop {
                    let shown = [CODE_PROMPT, "Too many failed codes", "ermission denied"];
                    match guesser.expect_any(&shown).0 {
                        0 => guesser.send_line(&app.wrong_code()),
                        shown => break shown == 1,
                    }
                }
            });
            assert!(locked, "ten attempts, and no lock");
        });
    }
}

// Under pressure

#[test]
fn a_store_that_cannot_be_written_lets_nobody_in() {
    let breaks: [(&str, &str); 4] = [
        ("read-only", "mount -o remount,ro /var/lib/twofa"),
        ("gone", "rm -r /var/lib/twofa/*"),
        ("without its key", "rm /etc/twofa/store.key"),
        ("damaged", "for file in /var/lib/twofa/state/*; do head -c 64 /dev/urandom >$file; done"),
    ];
    for (how, command) in breaks {
        let world = office(&policy());
        let mounts = "cp -a /var/lib/twofa /root/store && mount -t tmpfs -o mode=700 tmpfs /var/lib/twofa && cp -a /root/store/. /var/lib/twofa/";
        world.run(&["sh", "-ec", mounts]).ok();
        let world = world.start_sshd("");
        let [mut alice, _] = ["alice", "bob"].map(|user| world.enroll(user));
        let mut shell = shell(&world, "alice", &mut alice.app);
        expect_in(&mut shell, "root");
        world.run(&["sh", "-ec", command]).ok();
        shell.send_line("su root -c 'echo IN'");
        shell.answer(PASSWORD_PROMPT, "pw-root");
        let (which, _) = shell.expect_any(&["su: ", "\nIN\n"]);
        assert_eq!(which, 0, "{how}: {}", shell.shown());
        world.log.expect_times("accepted session", 1);
    }
}

/// The session counts as a code does there: what is written has its place already.
#[test]
fn a_full_disk_keeps_sessions_and_their_end() {
    let world = World::new();
    world.run(&["mkdir", "-pm", "700", "/var/lib/twofa"]).ok();
    world.run(&["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", "/var/lib/twofa"]).ok();
    let world = world
        .user("alice", "pw-alice")
        .password("root", "pw-root")
        .policy(&policy())
        .stack("sshd", &format!("{PASSWORD_AND_CODE}\n{LOGINUID}"))
        .stack("su", PASSWORD_AND_CODE)
        .client_network(&[HOME])
        .start_sshd("");
    let [mut alice, _] = ["alice", "root"].map(|user| world.enroll(user));
    let filled = world.run(&["dd", "if=/dev/zero", "of=/var/lib/twofa/filler", "bs=4k"]);
    assert!(filled.stderr.contains("No space left on device"), "{filled:?}");
    let mut shell = shell(&world, "alice", &mut alice.app);
    let left = Left::behind(&world, &mut shell);
    expect_in(&mut shell, "root");
    shell.send_line("exit");
    shell.expect_end(0);
    world.expect_no_connection(Duration::from_secs(5));
    left.expect_asked();
}

// Logins that begin inside of a session

/// An administrator restarted sshd by hand, so all that it starts is in the administrator's session unless it
/// begins one of its own.
fn sshd_in_session_of(world: World, user: &str, config: &str) -> World {
    let uid = uid(&world, user);
    let begin = format!("echo {uid} >/proc/self/loginuid && exec \"$@\"");
    world.start_sshd_in(config, &["sh", "-c", &begin, "sh"])
}

/// One of alice's codes would open su to everybody whom that sshd lets in.
#[test]
fn an_sshd_that_begins_no_sessions_has_none_in_common() {
    let world = sshd_in_session_of(office(&policy()).stack("sshd", PASSWORD_AND_CODE), "alice", "");
    let [mut alice, mut bob] = ["alice", "bob"].map(|user| world.enroll(user));
    let _of_alice = shell(&world, "alice", &mut alice.app);
    let mut of_bob = shell(&world, "bob", &mut bob.app);
    expect_asked(&mut of_bob, "root");
}

#[test]
fn an_sshd_started_in_a_session_begins_others() {
    let world = sshd_in_session_of(office(&policy()), "alice", "");
    let [mut alice, _] = ["alice", "bob"].map(|user| world.enroll(user));
    let mut ssh = shell(&world, "alice", &mut alice.app);
    let left = Left::behind(&world, &mut ssh);
    ssh.send_line("exit");
    ssh.expect_end(0);
    left.expect_asked();
}

/// Where sshd reads the code as if it were a password, it does so in the process that the session is to hang on: whose
/// parent is the listener, as old as the host and perhaps in a session of somebody's.
#[test]
fn the_listener_of_sshd_holds_no_session_open() {
    let only_a_code =
        "auth required pam_twofa.so\naccount required pam_twofa.so\naccount required pam_unix.so";
    let world = office(&policy()).stack("sshd", &format!("{only_a_code}\n{LOGINUID}"));
    world.write("/usr/local/bin/left", LEFT);
    world.run(&["chmod", "755", "/usr/local/bin/left"]).ok();
    world.run(&["sh", "-c", "cd /home/alice && mkfifo -m 666 gate said"]).ok();
    let begin = format!(
        "echo {} >/proc/self/loginuid && {{ setpriv --reuid alice --clear-groups left & }} && exec \"$@\"",
        uid(&world, "alice")
    );
    let config = "KbdInteractiveAuthentication no\nPasswordAuthentication yes\n\
        AuthenticationMethods publickey,password\n";
    let world = world.authorize_key(&["alice"]).start_sshd_in(config, &["sh", "-c", &begin, "sh"]);
    let [mut alice, _] = ["alice", "bob"].map(|user| world.enroll(user));
    let mut ssh = client(&world, "alice").key().shell();
    ssh.answer(PASSWORD_PROMPT, &alice.app.code());
    ssh.expect("$ ");
    // In the session of the listener, where nothing was proven.
    Left(&world).expect_asked();
    ssh.send_line("exit");
    ssh.expect_end(0);
    Left(&world).expect_asked();
}

/// Root calls login in a session of alice's that proved nothing: that has its own end, and the outer one stays as it is.
#[test]
fn a_login_by_hand_opens_nothing_around_it() {
    let world = office(&policy());
    let [mut alice, _] = ["alice", "bob"].map(|user| world.enroll(user));
    let begin = format!("echo {} >/proc/self/loginuid; PS1='outer> ' exec sh", uid(&world, "alice"));
    let mut outer = world.terminal(&["sh", "-c", &begin]);
    let ask = |outer: &mut Terminal| {
        outer.answer("outer> ", "su root -c 'echo IN'");
        outer.answer(PASSWORD_PROMPT, "pw-root");
        let (which, _) = outer.expect_any(&[CODE_PROMPT, "\nIN\n"]);
        assert_eq!(which, 0, "no code is asked for. {}", outer.shown());
        outer.send("\u{3}");
    };
    ask(&mut outer);
    outer.answer("outer> ", "login alice");
    outer.answer(PASSWORD_PROMPT, "pw-alice");
    outer.answer(CODE_PROMPT, &alice.app.code());
    outer.answer("$ ", "exit");
    ask(&mut outer);
}
