//! `twofa-admin doctor` on hosts that are broken in one place each: it names the place and what to type, and says
//! beforehand what a real login then does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may panic

use twofa_tests::calendar::{DAY, date};
use twofa_tests::driver::clock;
use twofa_tests::setup::{
    KEY_OR_PASSWORD_AND_CODE, PASSWORD_AND_CODE, POLICY, SSHD_KEY_ONLY, SSHD_KEY_OR_PASSWORD, policy_of,
};
use twofa_tests::totp::{App, secret_of};
use twofa_tests::world::{Ran, World};

/// How to break the host.
enum Break {
    /// These are sshd's auth and account lines.
    Stack(&'static str),
    Policy(String),
    /// A script of the shell, as root.
    Run(&'static str),
}
use Break::{Policy, Run, Stack};

/// A login that shows whether the doctor is right.
enum Proof {
    None,
    /// With all that is needed, the code too: refused.
    PasswordRefused,
    KeyRefused,
    /// With wrong codes, if any is asked for: admitted.
    PasswordEnters,
    KeyEnters,
}
use Proof::{KeyEnters, KeyRefused, PasswordEnters, PasswordRefused};

struct Host {
    what: &'static str,
    breakage: Break,
    severity: &'static str,
    /// Parts of the finding: what is wrong, and what to type.
    says: &'static str,
    advises: &'static str,
    outcome: Option<&'static str>,
    proof: Proof,
}

const LOCKED_OUT: Option<&str> = Some("locked-out");
const LET_PAST: Option<&str> = Some("let-past");

fn host(
    what: &'static str,
    breakage: Break,
    severity: &'static str,
    says: &'static str,
    advises: &'static str,
) -> Host {
    Host { what, breakage, severity, says, advises, outcome: None, proof: Proof::None }
}

impl Host {
    fn then(mut self, outcome: Option<&'static str>, proof: Proof) -> Self {
        (self.outcome, self.proof) = (outcome, proof);
        self
    }
}

/// Set up as recommended; alice has an app and an SSH key.
fn healthy() -> World {
    let world = World::new().user("alice", "pw-alice").policy(POLICY);
    world.enroll("alice");
    world.enroll("root");
    world.admin(&["policy", "check"]).ok();
    let world = world.stack("sshd", KEY_OR_PASSWORD_AND_CODE).stack("login", PASSWORD_AND_CODE);
    world.stack("su", PASSWORD_AND_CODE).authorize_key(&["alice"])
}

const KEPT: &str = "/etc/pam.d /etc/twofa /var/lib/twofa /etc/passwd /etc/group /etc/shadow \
            /usr/libexec/twofa";
const KEEP: &str = "mkdir -p /keep && cp -a --parents $KEPT /keep && cp -a $(find /usr/lib -name \
            pam_twofa.so) /keep";
const RESTORE: &str = "mountpoint -q /var/lib/twofa && umount /var/lib/twofa
    rm -f /usr/bin/timedatectl
    rm -rf /etc/pam.d /etc/twofa /var/lib/twofa /usr/libexec/twofa && cp -a /keep/etc /keep/var /keep/usr / &&
    cp -a /keep/pam_twofa.so /usr/lib/*-linux-gnu/security/";

fn shell(world: &World, script: &str) {
    world.run(&["sh", "-c", &script.replace("$KEPT", KEPT)]).ok();
}

/// Tries to log in as alice. Whatever is typed in a way that is right is right.
fn gets_in(world: &World, by_key: bool, code: &str) -> bool {
    let client = world.ssh("alice").option("NumberOfPasswordPrompts=1");
    let client = if by_key { client.key() } else { client.option("PubkeyAuthentication=no") };
    let mut ssh = client.spawn("echo LOGGED-IN");
    let ends = [
        "LOGGED-IN",
        "denied",
        "Connection closed",
        "Received disconnect",
        "Connection reset",
        "Too many authentication failures",
    ];
    let texts = [&["Verification code", "assword: "], &ends[..]].concat();
    loop {
        match ssh.expect_any(&texts).0 {
            0 => ssh.send_line(code),
            1 => ssh.send_line("pw-alice"),
            end => return end == 2,
        }
    }
}

/// The finding of these words in a report of JSON, as a text; nothing when there is none.
fn finding(report: &str, says: &str) -> Option<String> {
    let (_, findings) = report.split_once("\"findings\": [").expect("a report");
    findings
        .split("\n    {")
        .find(|part| part.contains("\"what\": ") && unescaped(part).contains(says))
        .map(unescaped)
}

fn unescaped(text: &str) -> String {
    text.replace("\\\"", "\"").replace("\\\\", "\\")
}

fn exit_code(severity: &str) -> i32 {
    match severity {
        "critical" => 2,
        "warning" => 1,
        "unknown" => 3,
        _ => 0,
    }
}

#[track_caller]
fn check(host: &Host, ran: &Ran) {
    let name = host.what;
    let report = &ran.stdout;
    let found =
        finding(report, host.says).unwrap_or_else(|| panic!("{name}: not found\n{report}{}", ran.stderr));
    assert!(found.contains(&format!("\"severity\": \"{}\"", host.severity)), "{name}: {found}");
    assert!(found.contains(host.advises), "{name}: {found}");
    let outcome = host.outcome.map_or("null".into(), |outcome| format!("\"{outcome}\""));
    assert!(found.contains(&format!("\"outcome\": {outcome}")), "{name}: {found}");
    assert!(ran.code.unwrap() >= exit_code(host.severity), "{name}: {:?}", ran.code);
    // One fault is one alarm: nothing else is worse.
    let worst = if report.contains("\"severity\": \"critical\"") { "critical" } else { "warning" };
    let is_worst = host.severity == worst || !report.contains(&format!("\"severity\": \"{worst}\""));
    assert!(is_worst, "{name}: something else is worse\n{report}");
}

#[track_caller]
fn prove(host: &Host, world: &World, app: &App) {
    let (by_key, code, enters) = match host.proof {
        Proof::None => return,
        PasswordRefused => (false, app.current(), false),
        KeyRefused => (true, app.current(), false),
        PasswordEnters => (false, app.wrong_code(), true),
        KeyEnters => (true, app.wrong_code(), true),
    };
    assert_eq!(gets_in(world, by_key, &code), enters, "{}: the login went otherwise", host.what);
}

/// Breaks one host after another in each of these ways.
fn examine(hosts: &[Host]) {
    let world = healthy().start_sshd(SSHD_KEY_OR_PASSWORD);
    shell(&world, KEEP);
    let app = App::new(&secret_of("alice"));
    for host in hosts {
        shell(&world, RESTORE);
        match &host.breakage {
            Stack(lines) => world.write(
                "/etc/pam.d/sshd",
                &format!("{lines}\nsession required pam_unix.so\npassword required pam_deny.so\n"),
            ),
            Policy(text) => world.write("/etc/twofa/twofa.toml", text),
            Run(script) => shell(&world, script),
        }
        check(host, &world.admin(&["doctor", "--json"]));
        prove(host, &world, &app);
    }
    // And what was broken was it.
    shell(&world, RESTORE);
    world.admin(&["doctor"]).expect(0);
}

#[test]
fn a_host_as_recommended_is_in_order() {
    let world = healthy().start_sshd(SSHD_KEY_OR_PASSWORD);
    let report = world.admin(&["doctor"]).ok();
    assert!(
        report.starts_with(
            "TWOFA OK - every login asks for a second factor, and nobody is locked out | \
            users=2 enrolled=2 refused=0 locked=0 findings=0\n"
        ),
        "{report}"
    );
    assert!(!report.contains("WARNING") && !report.contains("CRITICAL"), "{report}");
    let app = App::new(&secret_of("alice"));
    assert!(gets_in(&world, false, &app.current()));
    assert!(!gets_in(&world, true, &app.wrong_code()));
    let json = world.admin(&["doctor", "--json"]).ok();
    assert!(json.starts_with("{\n  \"status\": \"OK\""), "{json}");
    // Secrets are of no concern here.
    let secret = secret_of("alice");
    assert!(!json.contains(&secret) && !report.contains(&secret));
    // Usage errors are no alarm.
    world.admin(&["doctor", "--nonsense"]).expect(3);
    world.admin(&["status", "--nonsense"]).expect(2);
}

#[test]
fn wrong_lines_of_pam_are_found() {
    examine(&[
        host(
            "a line inserted into the block of the password",
            Stack(
                "auth [success=1 default=ignore] pam_unix.so nodelay\n\
            auth optional pam_env.so\nauth requisite pam_deny.so\n\
            auth required pam_permit.so\nauth required pam_twofa.so\n\
            account required pam_twofa.so\naccount required pam_unix.so",
            ),
            "critical",
            "/etc/pam.d/sshd:1 `auth [success=1 default=ignore] pam_unix.so nodelay` jumps \
            to /etc/pam.d/sshd:3",
            "Correct the number in `success=`",
        )
        .then(LOCKED_OUT, PasswordRefused),
        host(
            "sufficient above ours",
            Stack(
                "auth sufficient pam_unix.so nodelay\nauth requisite pam_deny.so\n\
            auth required pam_twofa.so\naccount required pam_twofa.so\n\
            account required pam_unix.so",
            ),
            "critical",
            "/etc/pam.d/sshd:1 `auth sufficient pam_unix.so nodelay` leads past pam_twofa: \
            the account line then refuses",
            "Write `requisite`",
        )
        .then(LOCKED_OUT, PasswordRefused),
        host(
            "sufficient above ours, no account line",
            Stack(
                "auth sufficient pam_unix.so nodelay\nauth requisite pam_deny.so\n\
            auth required pam_twofa.so\naccount required pam_unix.so",
            ),
            "critical",
            "/etc/pam.d/sshd:1 `auth sufficient pam_unix.so nodelay` leads past pam_twofa: no second factor",
            "Write `requisite`",
        )
        .then(LET_PAST, PasswordEnters),
        host(
            "faillock as its manual has it",
            Stack(
                "auth required pam_faillock.so preauth\nauth [success=1 default=bad] pam_unix.so nodelay\n\
            auth [default=die] pam_faillock.so authfail\nauth sufficient pam_faillock.so authsucc\n\
            auth required pam_deny.so\nauth required pam_twofa.so\n\
            account required pam_twofa.so\naccount required pam_unix.so",
            ),
            "critical",
            "/etc/pam.d/sshd:4 `auth sufficient pam_faillock.so authsucc` leads past pam_twofa",
            "Write `requisite`",
        )
        .then(LOCKED_OUT, PasswordRefused),
        host(
            "a user let past by name",
            Stack(
                "auth requisite pam_unix.so nodelay\n\
            auth [success=1 default=ignore] pam_succeed_if.so quiet user = alice\n\
            auth required pam_twofa.so\nauth required pam_permit.so\naccount required pam_unix.so\n\
            account [success=1 default=ignore] pam_succeed_if.so quiet user = alice\n\
            account required pam_twofa.so",
            ),
            "warning",
            "/etc/pam.d/sshd:2 `auth [success=1 default=ignore] pam_succeed_if.so quiet user = alice` leads",
            "twofa-admin exempt add",
        )
        .then(LET_PAST, PasswordEnters),
        host(
            "no line of ours",
            Stack("auth requisite pam_unix.so nodelay\naccount required pam_unix.so"),
            "critical",
            "pam_twofa is not among the auth lines of `sshd`",
            "Add `auth required pam_twofa.so`",
        )
        .then(LET_PAST, PasswordEnters),
        host(
            "sufficient in an included file",
            Run("printf 'auth sufficient pam_unix.so nodelay\\nauth requisite pam_deny.so\\n\
            ' >/etc/pam.d/inner; printf 'auth include inner\\n\
            auth required pam_twofa.so\\naccount required pam_twofa.so\\n\
            account required pam_unix.so\\nsession required pam_unix.so\\n\
            ' >/etc/pam.d/sshd"),
            "critical",
            "/etc/pam.d/inner:1 `auth sufficient pam_unix.so nodelay` leads past pam_twofa",
            "Write `substack inner`",
        )
        .then(LOCKED_OUT, PasswordRefused),
        host(
            "common-auth replaced",
            Run("printf 'auth requisite pam_unix.so nodelay\\n\
            ' >/etc/pam.d/common-auth; printf 'auth [success=3 default=ignore] \
            pam_twofa.so pubkey_is_first_factor\\n@include common-auth\\n\
            auth required pam_twofa.so\\naccount required pam_twofa.so\\n\
            account required pam_unix.so\\nsession required pam_unix.so\\n\
            ' >/etc/pam.d/sshd"),
            "critical",
            "pubkey_is_first_factor` jumps too far",
            "Write `success=1`",
        )
        .then(LOCKED_OUT, KeyRefused),
        host(
            "the key jumps over ours",
            Stack(
                "auth [success=2 default=ignore] pam_twofa.so pubkey_is_first_factor\n\
            auth requisite pam_unix.so nodelay\nauth required pam_twofa.so\n\
            auth required pam_permit.so\naccount required pam_unix.so",
            ),
            "critical",
            "pubkey_is_first_factor` leads past pam_twofa: no second factor",
            "Write `success=1`",
        )
        .then(LET_PAST, KeyEnters),
        host(
            "the key jumps to a refusal",
            Stack(
                "auth [success=1 default=ignore] pam_twofa.so pubkey_is_first_factor\n\
            auth [success=1 default=ignore] pam_unix.so nodelay\n\
            auth requisite pam_deny.so\nauth required pam_twofa.so\n\
            account required pam_twofa.so\naccount required pam_unix.so",
            ),
            "critical",
            "pubkey_is_first_factor` jumps to /etc/pam.d/sshd:3",
            "Write `success=2`",
        )
        .then(LOCKED_OUT, KeyRefused),
        host(
            "include missing",
            Stack("@include nowhere\nauth required pam_twofa.so\naccount required pam_twofa.so"),
            "critical",
            "/etc/pam.d/sshd:1 includes `nowhere`, which does not exist",
            "Restore the file",
        )
        .then(LOCKED_OUT, PasswordRefused),
        host(
            "a module by a name that means nothing here",
            Stack(
                "auth requisite pam_unix.so nodelay\n\
            auth required /usr/lib/security/$ISA/pam_twofa.so\n\
            account required pam_twofa.so\naccount required pam_unix.so",
            ),
            "critical",
            "$ISA/pam_twofa.so` names a module that is not there",
            "Install /usr/lib/security/$ISA/pam_twofa.so",
        )
        .then(LOCKED_OUT, PasswordRefused),
        host(
            "include of nothing",
            Stack("auth requisite pam_unix.so\n@include\nauth required pam_twofa.so"),
            "critical",
            "/etc/pam.d/sshd:2 includes nothing",
            "Restore the file",
        )
        .then(LOCKED_OUT, PasswordRefused),
        host(
            "a file that ends in the middle of a line",
            Run("printf 'auth required pam_env.so \\\\\n' >>/etc/pam.d/sshd"),
            "critical",
            "ends with a backslash, and no line follows",
            "Restore the file",
        )
        .then(LOCKED_OUT, PasswordRefused),
        host(
            "a file from another system",
            Run("sed -i 's/$/\\r/' /etc/pam.d/sshd"),
            "critical",
            "/etc/pam.d/sshd:3 `auth required pam_twofa.so` names a module that is not there",
            "Install pam_twofa.so",
        )
        .then(LOCKED_OUT, PasswordRefused),
        host(
            "nobody is let in, and ours is not there",
            Stack(
                "auth requisite pam_unix.so nodelay\nauth required pam_deny.so\naccount required pam_unix.so",
            ),
            "critical",
            "/etc/pam.d/sshd:2 `auth required pam_deny.so` refuses every login to `sshd`",
            "Correct its control, or remove the line",
        )
        .then(LOCKED_OUT, PasswordRefused),
        host(
            "a misspelled control",
            Stack(
                "auth requisite pam_unix.so nodelay\nauth requird pam_twofa.so\n\
            account required pam_twofa.so\naccount required pam_unix.so",
            ),
            "critical",
            "/etc/pam.d/sshd:2 `auth requird pam_twofa.so` refuses every login",
            "Correct its control",
        )
        .then(LOCKED_OUT, PasswordRefused),
        host(
            "another module missing",
            Stack(
                "auth required pam_gone.so\nauth requisite pam_unix.so nodelay\n\
            auth required pam_twofa.so\naccount required pam_twofa.so\n\
            account required pam_unix.so",
            ),
            "critical",
            "/etc/pam.d/sshd:1 `auth required pam_gone.so` names a module that is not there",
            "Install pam_gone.so",
        )
        .then(LOCKED_OUT, PasswordRefused),
        host(
            "optional",
            Stack(
                "auth requisite pam_unix.so nodelay\nauth optional pam_twofa.so\n\
            account required pam_unix.so",
            ),
            "critical",
            "what /etc/pam.d/sshd:2 `auth optional pam_twofa.so` refuses counts for nothing",
            "Write `required`",
        )
        .then(LET_PAST, PasswordEnters),
        host(
            "optional, and the account line holds",
            Stack(
                "auth requisite pam_unix.so nodelay\nauth optional pam_twofa.so\n\
            account required pam_twofa.so\naccount required pam_unix.so",
            ),
            "warning",
            "counts for nothing; only the account line holds",
            "Write `required`",
        ),
        host(
            "a relative conf=",
            Stack(
                "auth requisite pam_unix.so nodelay\n\
            auth required pam_twofa.so conf=twofa.toml\naccount required pam_twofa.so\n\
            account required pam_unix.so",
            ),
            "critical",
            "conf=twofa.toml` does not name a policy",
            "Write `conf=` with one absolute path",
        )
        .then(LOCKED_OUT, PasswordRefused),
        host(
            "conf= of nothing",
            Stack(
                "auth requisite pam_unix.so nodelay\n\
            auth required pam_twofa.so conf=/etc/twofa.toml\n\
            account required pam_twofa.so\naccount required pam_unix.so",
            ),
            "critical",
            "uses another policy than /etc/twofa/twofa.toml, and that does not exist",
            "Remove `conf=/etc/twofa.toml`",
        )
        .then(LOCKED_OUT, PasswordRefused),
        host(
            "a code alone",
            Stack(
                "auth required pam_twofa.so\naccount required pam_twofa.so\n\
            account required pam_unix.so",
            ),
            "critical",
            "a code alone opens `sshd`, without a password",
            "Put a line that asks for the password above it",
        ),
        host(
            "ours before the password",
            Stack(
                "auth required pam_twofa.so\nauth requisite pam_unix.so\n\
            account required pam_twofa.so\naccount required pam_unix.so",
            ),
            "warning",
            "asks who has not shown the password",
            "write `requisite`",
        ),
        host(
            "a wrong password goes on",
            Stack(
                "auth required pam_unix.so\nauth required pam_twofa.so\n\
            account required pam_twofa.so\naccount required pam_unix.so",
            ),
            "warning",
            "asks who has not shown the password",
            "write `requisite`",
        ),
        host(
            "asked twice",
            Stack(
                "auth requisite pam_unix.so\nauth required pam_twofa.so\n\
            auth required pam_twofa.so\naccount required pam_twofa.so\n\
            account required pam_unix.so",
            ),
            "warning",
            "two lines of `sshd` ask for a second factor",
            "Remove one",
        ),
        host(
            "a word that is none",
            Stack(
                "auth requisite pam_unix.so\nauth required pam_twofa.so nullok\n\
            account required pam_twofa.so\naccount required pam_unix.so",
            ),
            "warning",
            "a word that the module does not know: `nullok`",
            "Correct or remove it",
        ),
        host(
            "no account line",
            Stack("auth requisite pam_unix.so\nauth required pam_twofa.so\naccount required pam_unix.so"),
            "warning",
            "pam_twofa is not among the account lines of `sshd`",
            "Add `account required pam_twofa.so` as the first",
        ),
        host(
            "account line after sufficient",
            Stack(
                "auth requisite pam_unix.so\nauth required pam_twofa.so\n\
            account sufficient pam_unix.so\naccount required pam_twofa.so",
            ),
            "warning",
            "/etc/pam.d/sshd:3 `account sufficient pam_unix.so` ends the account lines \
            before pam_twofa",
            "Move `account required pam_twofa.so` above it",
        ),
        host(
            "a service without a file",
            Policy(POLICY.replace("\"su\"", "\"vpn\"")),
            "warning",
            "this host has no PAM service `vpn`",
            "Correct the name under `services`",
        ),
        host(
            "sshd without a file",
            Run("rm /etc/pam.d/sshd"),
            "critical",
            "pam_twofa is not among the auth lines of `sshd`",
            "Add `auth required pam_twofa.so`",
        )
        .then(LET_PAST, PasswordEnters),
        host(
            "lines in common-auth",
            Run("printf 'auth requisite pam_unix.so nodelay\\nauth required pam_twofa.so\\n\
            ' >/etc/pam.d/common-auth; sed -i 's/^auth.*//; 1i @include common-auth' \
            /etc/pam.d/sshd"),
            "note",
            "pam_twofa is in /etc/pam.d/common-auth, which other services read too",
            "would not",
        ),
    ]);
}

#[test]
fn broken_files_are_found() {
    examine(&[
        host(
            "module missing",
            Run("rm /usr/lib/*-linux-gnu/security/pam_twofa.so"),
            "critical",
            "pam_twofa.so` names a module that is not there",
            "Install pam_twofa.so again",
        )
        .then(LOCKED_OUT, PasswordRefused),
        host(
            "module does not load",
            Run("echo junk >$(echo /usr/lib/*-linux-gnu/security/pam_twofa.so)"),
            "critical",
            "pam_twofa.so does not load",
            "Install the package that was built",
        )
        .then(LOCKED_OUT, PasswordRefused),
        host(
            "module of somebody else",
            Run("chmod 666 /usr/lib/*-linux-gnu/security/pam_twofa.so"),
            "critical",
            "pam_twofa.so can be changed by others",
            "chmod go-w",
        ),
        host(
            "module of another version",
            Run("sed -i 's/pam_twofa module version 0.1.0/pam_twofa module version 0.0.9/' \
            /usr/lib/*-linux-gnu/security/pam_twofa.so"),
            "warning",
            "is 0.0.9, and twofa-admin is 0.1.0",
            "Install all parts from one package",
        ),
        host(
            "another library in place of the module",
            Run("cp /usr/lib/*-linux-gnu/libpam_misc.so.0 /tmp/m && \
            cat /tmp/m >$(echo /usr/lib/*-linux-gnu/security/pam_twofa.so)"),
            "critical",
            "pam_twofa.so does not load: it has no pam_sm_authenticate",
            "Install the package that was built",
        )
        .then(LOCKED_OUT, PasswordRefused),
        host(
            "helper missing",
            Run("rm /usr/libexec/twofa/twofa-helper"),
            "warning",
            "whether /usr/lib",
            "Install it",
        ),
        host(
            "policy of somebody else",
            Run("chmod 666 /etc/twofa/twofa.toml"),
            "critical",
            "/etc/twofa/twofa.toml can be changed by others; the last valid copy is in force",
            "chmod go-w",
        ),
        host(
            "policy with a mistake",
            Run("echo 'mode = 1' >>/etc/twofa/twofa.toml"),
            "critical",
            "the last valid copy is in force",
            "policy check",
        ),
        host(
            "policy and copy gone",
            Run("rm /etc/twofa/twofa.toml*"),
            "critical",
            "there is no valid copy",
            "twofa-admin init",
        )
        .then(LOCKED_OUT, PasswordRefused),
        host(
            "key that others read",
            Run("chmod 644 /etc/twofa/store.key"),
            "critical",
            "store.key can be read by others",
            "chmod go=",
        )
        .then(LOCKED_OUT, PasswordRefused),
        host(
            "another key",
            Run("head -c 32 /dev/urandom >/tmp/k; chmod 400 /tmp/k; mv /tmp/k /etc/twofa/store.key"),
            "critical",
            "the factors of ",
            "Restore the store",
        )
        .then(LOCKED_OUT, PasswordRefused),
        host("store gone", Run("rm /var/lib/twofa/twofa.db"), "critical", "there is no store at", "restore")
            .then(LOCKED_OUT, PasswordRefused),
        host(
            "store damaged",
            Run("echo junk >/var/lib/twofa/twofa.db"),
            "critical",
            "twofa.db is damaged",
            "Restore it from a backup",
        )
        .then(LOCKED_OUT, PasswordRefused),
        // Rows can be read as before; it is for the doctor to notice first.
        host(
            "store damaged where no row is",
            Run(
                "printf '\\0\\0\\0\\5' | dd of=/var/lib/twofa/twofa.db bs=1 seek=36 conv=notrunc status=none",
            ),
            "critical",
            "twofa.db is damaged",
            "Restore it from a backup",
        ),
        host(
            "folder of the store that others write",
            Run("chmod 777 /var/lib/twofa"),
            "critical",
            "/var/lib/twofa can be",
            "chmod go-w",
        )
        .then(LOCKED_OUT, PasswordRefused),
        host(
            "record gone",
            Run("rm /var/lib/twofa/state/$(id -u alice)"),
            "critical",
            "is missing",
            "user repair",
        )
        .then(LOCKED_OUT, PasswordRefused),
        host(
            "record damaged",
            Run("echo junk >/var/lib/twofa/state/$(id -u alice)"),
            "critical",
            "is damaged",
            "user repair",
        )
        .then(LOCKED_OUT, PasswordRefused),
        host(
            "records that others read",
            Run("chmod 755 /var/lib/twofa/state"),
            "warning",
            "/var/lib/twofa/state can be read by others",
            "chmod 700",
        ),
        host(
            "read-only",
            Run("mount --bind /var/lib/twofa /var/lib/twofa && mount -o remount,ro,bind /var/lib/twofa"),
            "critical",
            "the file system is read-only",
            "remount,rw",
        )
        .then(LOCKED_OUT, PasswordRefused),
    ]);
}

/// SMS is a second method; nobody has a number.
const SMS_TOO: &str = "sed -i 's/\\[\"app\"\\]/[\"app\", \"sms\"]/' /etc/twofa/twofa.toml && mkdir -p /etc/twofa/hooks && \
            printf '#!/bin/sh\\n' >/etc/twofa/hooks/sms && chmod 755 /etc/twofa/hooks/sms && \
            printf '[sms]\\nhook = \"/etc/twofa/hooks/sms\"\\nprefixes = [\"+48\"]\\n' >>/etc/twofa/twofa.toml";

#[test]
fn what_the_policy_and_the_users_lack_is_found() {
    let sms_to_all = format!(
        "{SMS_TOO} && twofa-admin user set alice --phone +48600000001 && \
            twofa-admin user set root --phone +48600000002"
    );
    let without_codes = format!(
        "{sms_to_all} && useradd --shell /bin/sh carol && twofa-admin user add carol --phone +48600000003"
    );
    let exempt = |who: &str, until: &str| {
        Policy(format!("{POLICY}\n[[exempt]]\n{who}\nreason = \"x\"\nuntil = {until}\n"))
    };
    examine(&[
        host(
            "observe left on",
            Policy(POLICY.replace("enforce", "observe")),
            "warning",
            "the mode is observe",
            "policy enable",
        )
        .then(LET_PAST, PasswordEnters),
        host("off", Policy(POLICY.replace("enforce", "off")), "warning", "the mode is off", "policy enable")
            .then(LET_PAST, PasswordEnters),
        host(
            "a user without a factor",
            Run("useradd --shell /bin/sh carol"),
            "critical",
            "1 user without a second factor",
            "twofa-admin enroll app carol",
        )
        .then(LOCKED_OUT, Proof::None),
        host(
            "another uid",
            Run("sed -i 's/^alice:x:[0-9]*:/alice:x:2222:/' /etc/passwd; chown -R alice ~alice"),
            "critical",
            "1 user whose factors are those of another uid",
            "twofa-admin user remove alice",
        )
        .then(LOCKED_OUT, PasswordRefused),
        host(
            "an account of nobody",
            Run("useradd --shell /bin/sh dora && twofa-admin user add dora && userdel dora"),
            "warning",
            "1 user in the store whom the host does not have",
            "twofa-admin user remove dora",
        ),
        host(
            "unknown group",
            exempt("group = \"robots\"", "2099-01-01"),
            "critical",
            "the exempted group `robots` cannot be looked up",
            "exempt remove --group robots",
        )
        .then(LOCKED_OUT, PasswordRefused),
        host(
            "unknown user",
            exempt("user = \"robot\"", "2099-01-01"),
            "warning",
            "the exempted user `robot` does not exist",
            "exempt remove --user robot",
        ),
        host(
            "ended exemption",
            exempt("user = \"alice\"", "2020-01-01"),
            "note",
            "the exemption of `alice` has ended",
            "Remove it",
        ),
        host(
            "an exemption that soon ends",
            exempt("user = \"alice\"", &date(clock::real() + 3 * DAY)),
            "warning",
            "the exemption of `alice` ends ",
            "with a later --until",
        ),
        host(
            "a copy of an earlier policy",
            Run("echo '# another one' >>/etc/twofa/twofa.toml"),
            "note",
            "the copy of the policy that stands in for a broken one",
            "twofa-admin policy check",
        ),
        host(
            "no phone number for the second method",
            Run(SMS_TOO),
            "warning",
            "2 users without a phone number, with another factor",
            "twofa-admin user set root --phone",
        ),
        host(
            "a phone number of nobody knows whom",
            Run(sms_to_all.leak()),
            "note",
            "2 users with a number or address that no code came back from",
            "twofa-admin enroll phone root",
        ),
        host(
            "no recovery codes",
            Run(without_codes.leak()),
            "note",
            "1 user with few recovery codes",
            "twofa-admin recovery new carol",
        ),
        host(
            "records of somebody else",
            Run("chown _twofa /var/lib/twofa/state"),
            "critical",
            "/var/lib/twofa/state is not owned by root",
            "chown root",
        )
        .then(LOCKED_OUT, PasswordRefused),
        host(
            "the clock is before the policy",
            Run("touch -d 2099-01-01 /etc/twofa/twofa.toml"),
            "critical",
            "the clock is before the policy was written",
            "Set the clock",
        ),
        host(
            "a clock that nobody sets",
            Run("printf '#!/bin/sh\\necho no\\n' >/usr/bin/timedatectl; chmod 755 /usr/bin/timedatectl"),
            "warning",
            "the clock is not synchronised",
            "Run an NTP client",
        ),
        host(
            "enforcement on trial",
            Run("twofa-admin policy enable --confirm-within 10m"),
            "warning",
            "Enforcement is on trial",
            "policy enable",
        ),
        host(
            "a user in grace",
            Run("printf '[rollout]\\ngrace_days = 14\\n' >>/etc/twofa/twofa.toml; \
            useradd --shell /bin/sh carol"),
            "note",
            "1 user without a second factor let in for the time being, the first until 14 days after",
            "twofa-admin rollout status",
        ),
        host(
            "an account of several people",
            Run(
                "for one in J K; do echo ${one}BSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP | twofa-admin enroll app alice \
            --label $one --secret-stdin; done",
            ),
            "note",
            "1 user with many apps and keys: shared accounts?",
            "an account of their own",
        ),
        host(
            "a full disk",
            Run(
                "cp -a /var/lib/twofa /tmp/full && mount -t tmpfs -o size=2m,mode=700 none /var/lib/twofa && \
            cp -a /tmp/full/. /var/lib/twofa && ! cat /dev/zero >/var/lib/twofa/filler",
            ),
            "warning",
            "is full: logins go on",
            "Make room",
        ),
        host(
            "a bypass",
            Run("twofa-admin user bypass alice --for 1h --reason x"),
            "warning",
            "a bypass is open for 1 user",
            "user bypass alice --revoke",
        ),
        host(
            "hook gone",
            Policy(policy_of("[\"app\", \"sms\"]")),
            "critical",
            "the hook for SMS cannot be used",
            "Install it",
        ),
        host(
            "no phone number",
            Policy(policy_of("[\"sms\"]")),
            "critical",
            "2 users without a phone number",
            "twofa-admin enroll phone",
        )
        .then(LOCKED_OUT, Proof::None),
        host(
            "hook_user gone",
            Run("sed -i /_twofa/d /etc/passwd; printf '[sms]\\nhook = \"/bin/true\"\\n\
            prefixes = [\"+48\"]\\n' >>/etc/twofa/twofa.toml"),
            "warning",
            "there is no such user",
            "useradd --system",
        ),
    ]);
}

/// sshd's own settings, each on a host of its own, with the recommended PAM lines or those given.
#[test]
fn an_sshd_that_asks_for_less_or_for_what_is_not_there_is_found() {
    const NO_ACCOUNT: &str = "auth requisite pam_unix.so nodelay\nauth required pam_twofa.so\n\
            account required pam_unix.so";
    let both = SSHD_KEY_OR_PASSWORD;
    let hosts: Vec<(String, &str, Host)> = vec![
        (
            "UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n".into(),
            KEY_OR_PASSWORD_AND_CODE,
            host("UsePAM no", Run("true"), "critical", "sshd asks PAM for nothing", "Set `UsePAM yes`")
                .then(LET_PAST, KeyEnters),
        ),
        (
            SSHD_KEY_ONLY.into(),
            KEY_OR_PASSWORD_AND_CODE,
            host(
                "key alone",
                Run("true"),
                "critical",
                "no second factor after publickey, and the account line refuses",
                "AuthenticationMethods publickey,keyboard-interactive",
            )
            .then(LOCKED_OUT, KeyRefused),
        ),
        (
            String::new(),
            NO_ACCOUNT,
            host(
                "key alone, no account line",
                Run("true"),
                "critical",
                "publickey alone opens this host",
                "AuthenticationMethods publickey,keyboard-interactive",
            )
            .then(LET_PAST, KeyEnters),
        ),
        (
            String::new(),
            NO_ACCOUNT,
            host(
                "no account line",
                Run("true"),
                "critical",
                "an SSH key alone opens this host",
                "as the first account line",
            )
            .then(LET_PAST, KeyEnters),
        ),
        (
            format!("{both}Match User alice\nAuthenticationMethods publickey\n"),
            NO_ACCOUNT,
            host(
                "a Match for a user",
                Run("true"),
                "critical",
                "publickey alone opens this host",
                "AuthenticationMethods",
            )
            .then(LET_PAST, KeyEnters),
        ),
        (
            format!("{both}Match Address 127.0.0.0/8,192.0.2.0/24\nAuthenticationMethods publickey\n"),
            NO_ACCOUNT,
            host(
                "a Match for addresses",
                Run("true"),
                "critical",
                "publickey alone opens this host",
                "AuthenticationMethods",
            )
            .then(LET_PAST, KeyEnters),
        ),
        (
            format!("{both}Match Address 192.0.2.0/24\nAuthenticationMethods publickey\n"),
            NO_ACCOUNT,
            host(
                "a Match for other addresses",
                Run("true"),
                "critical",
                "everybody whom `Match Address 192.0.2.0/24` is about",
                "Correct the block `Match Address 192.0.2.0/24`",
            )
            .then(LET_PAST, Proof::None),
        ),
        (
            format!("{both}Match Address *,!127.0.0.0/8 # not here\nAuthenticationMethods publickey\n"),
            NO_ACCOUNT,
            host(
                "a Match for all other addresses",
                Run("true"),
                "critical",
                "everybody whom `Match Address *,!127.0.0.0/8` is about",
                "Correct the block `Match Address *,!127.0.0.0/8`",
            )
            .then(LET_PAST, Proof::None),
        ),
        (
            format!("{both}Match User carol,al* Address 192.0.2.0/24\nAuthenticationMethods publickey\n"),
            NO_ACCOUNT,
            host(
                "a Match for somebody, and for somebody who is not here",
                Run("true"),
                "critical",
                "everybody whom `Match User carol,al* Address 192.0.2.0/24` is about",
                "Correct the block `Match User carol,al*",
            )
            .then(LET_PAST, Proof::None),
        ),
        (
            format!("{both}Match RDomain vrf1\nAuthenticationMethods publickey\n"),
            NO_ACCOUNT,
            host(
                "a Match for a routing domain",
                Run("true"),
                "critical",
                "everybody whom `Match RDomain vrf1` is about",
                "Correct the block `Match RDomain vrf1`",
            )
            .then(LET_PAST, Proof::None),
        ),
        (
            format!("{both}Match User alice\nKbdInteractiveAuthentication no\n"),
            KEY_OR_PASSWORD_AND_CODE,
            host(
                "what cannot be satisfied",
                Run("true"),
                "critical",
                "sshd offers nothing that satisfies",
                "Set `KbdInteractiveAuthentication yes`",
            )
            .then(LOCKED_OUT, PasswordRefused),
        ),
        (
            "PasswordAuthentication yes\nKbdInteractiveAuthentication no\nPubkeyAuthentication no\n".into(),
            KEY_OR_PASSWORD_AND_CODE,
            host(
                "the password for every prompt",
                Run("true"),
                "critical",
                "no code can be typed",
                "Set `PasswordAuthentication no`",
            )
            .then(LOCKED_OUT, PasswordRefused),
        ),
        (
            format!("LoginGraceTime 20\nMaxAuthTries 1\n{both}"),
            KEY_OR_PASSWORD_AND_CODE,
            host("no time", Run("true"), "warning", "takes more than 20 s", "LoginGraceTime 120"),
        ),
        (
            both.into(),
            KEY_OR_PASSWORD_AND_CODE,
            host(
                "no keyboard-interactive",
                Run("sed -i 's/^KbdInteractiveAuthentication yes/KbdInteractiveAuthentication no/' \
            /etc/ssh/sshd_config"),
                "critical",
                "`sshd -t` fails, so sshd will not start again",
                "Correct /etc/ssh/sshd_config",
            )
            .then(LOCKED_OUT, Proof::None),
        ),
        (
            both.into(),
            KEY_OR_PASSWORD_AND_CODE,
            host(
                "an sshd that is not running",
                Run("rmdir /run/sshd"),
                "unknown",
                "sshd cannot be asked while it is not running",
                "mkdir -p /run/sshd",
            ),
        ),
        (
            both.into(),
            KEY_OR_PASSWORD_AND_CODE,
            host(
                "root with a key",
                Run("install -m 600 -D /root/.ssh/key.pub /root/.ssh/authorized_keys"),
                "warning",
                "sshd refuses root's codes",
                "PermitRootLogin yes",
            )
            .then(LOCKED_OUT, Proof::None),
        ),
    ];
    for (config, stack, host) in hosts {
        let world = healthy().stack("sshd", stack).start_sshd(&config);
        if let Run(script) = host.breakage {
            shell(&world, script);
        }
        check(&host, &world.admin(&["doctor", "--json"]));
        prove(&host, &world, &App::new(&secret_of("alice")));
    }
}

/// What an administrator may have done, and nobody suffers from.
#[test]
fn odd_hosts_that_are_in_order_raise_no_alarm() {
    let config =
        format!("{SSHD_KEY_OR_PASSWORD}Match User carol # nobody yet\nAuthenticationMethods publickey\n");
    let world = healthy().start_sshd(&config);
    shell(&world, KEEP);
    for script in [
        "sed -i '1i # f\\xfcr alle' /etc/pam.d/sshd /etc/ssh/sshd_config",
        "printf 'auth optional \\\\\n# why\n\n pam_env.so\n' | cat - /etc/pam.d/su >/tmp/su; cat /tmp/su >/etc/pam.d/su",
        "sed -i 's:pam_twofa.so:../security/pam_twofa.so:' /etc/pam.d/sshd",
        "mkdir -p /usr/lib/pam.d && mv /etc/pam.d/su /usr/lib/pam.d/su",
    ] {
        shell(&world, RESTORE);
        shell(&world, script);
        let ran = world.admin(&["doctor"]);
        assert_eq!(ran.code, Some(0), "{script}: {}", ran.stdout);
        let app = App::new(&secret_of("alice"));
        world.admin(&["user", "reset", "alice", "--yes"]).ok();
        world.enroll("alice");
        assert!(gets_in(&world, false, &app.current()), "{script}");
    }
}

#[test]
fn a_host_without_sshd_locks_nobody_out_and_lets_nobody_past() {
    let world = healthy();
    shell(&world, "rm /usr/sbin/sshd /etc/pam.d/sshd");
    let report = world.admin(&["doctor"]).expect(1).stdout;
    assert!(report.contains("/usr/sbin/sshd does not exist") && report.contains("findings=1"), "{report}");
}

/// sshd goes on by what it read, whatever the files say by then.
#[test]
fn settings_that_sshd_has_not_read_are_told() {
    const OLDER: &str =
        "sshd runs with older settings: /etc/ssh/sshd_config.d/x.conf was written after it read them";
    let config = format!(
        "PidFile /run/sshd.pid\nInclude /etc/ssh/sshd_config.d/*.conf /etc/ssh/one.conf\n{SSHD_KEY_OR_PASSWORD}"
    );
    let world = healthy().start_sshd(&config);
    let doctor = |code| world.admin(&["doctor"]).expect(code).stdout;
    let reload = || {
        // What comes after it is written in a later tick of the file system's clock.
        let script = "touch /run/before; kill -HUP $(cat /run/sshd.pid)
            until [ /run/sshd.pid -nt /run/before ] && [ -s /run/sshd.pid ]; do :; done
            until touch /run/before; [ /run/before -nt /run/sshd.pid ]; do :; done";
        shell(&world, script);
    };
    doctor(0);
    shell(&world, "mkdir -p /etc/ssh/sshd_config.d; echo 'MaxStartups 20' >/etc/ssh/sshd_config.d/x.conf");
    let report = doctor(1);
    assert!(report.contains("findings=1\n"), "{report}");
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words(&report).contains(&words(OLDER)), "{report}");
    assert!(words(&report).contains("`sshd -t && systemctl reload ssh`, or `kill -HUP "), "{report}");
    reload();
    doctor(0);
    // What sshd does not read, what is only looked at, and what is older than sshd by a clock that was wrong.
    shell(
        &world,
        "cd /etc/ssh/sshd_config.d; echo x >x.conf.old; chmod 600 x.conf; cat x.conf; touch ../x; rm ../x",
    );
    doctor(0);
    // Which hides nothing that is worse.
    shell(&world, "echo 'MaxSessions 9' >/etc/ssh/one.conf");
    assert!(words(&doctor(1)).contains("/etc/ssh/one.conf was written after it read them"));
    // What sshd has read, and is not there any more; or is there, and older than what sshd has read.
    const OTHERS: &str = "sshd may run with older settings: since it read them, something was put into \
                          /etc/ssh/sshd_config.d, renamed there or taken out";
    shell(&world, "cd /etc/ssh/sshd_config.d; rm x.conf.old ../one.conf; echo 'MaxSessions 9' >y.conf");
    reload();
    for script in ["rm y.conf", "mv x.conf x.conf.off", "touch -d '-1 day' x.conf.off; mv x.conf.off x.conf"]
    {
        shell(&world, &format!("cd /etc/ssh/sshd_config.d; {script}"));
        let report = doctor(1);
        assert!(
            report.contains("findings=1\n") && words(&report).contains(&words(OTHERS)),
            "{script}: {report}"
        );
        reload();
        doctor(0);
    }
    shell(
        &world,
        "touch -d '1970-01-02' /run/sshd.pid; touch -d '-1 day' /etc/ssh/sshd_config /etc/ssh/sshd_config.d/* \
         /etc/ssh/sshd_config.d",
    );
    doctor(0);
    shell(&world, "touch -d '+1 day' /etc/ssh/sshd_config");
    doctor(0);
    // A file that is left over tells nothing.
    shell(
        &world,
        "touch /etc/ssh/sshd_config; sleep 1000 & echo $! >/run/sshd.pid; touch -d '-1 day' /run/sshd.pid",
    );
    doctor(0);
}

/// Whose factors are another uid's is refused, and in no grace.
#[test]
fn nobody_is_refused_and_let_in_at_once() {
    let world = healthy().start_sshd(SSHD_KEY_OR_PASSWORD);
    shell(
        &world,
        "printf '[rollout]\ngrace_days = 14\n' >>/etc/twofa/twofa.toml
        sed -i 's/^alice:x:[0-9]*:/alice:x:2222:/' /etc/passwd; chown -R alice ~alice",
    );
    let report = world.admin(&["doctor"]).expect(2).stdout;
    assert!(report.contains("Locked out: alice.") && !report.contains("for the time being"), "{report}");
    let table = world.admin(&["explain"]).ok();
    let row = table.lines().find(|line| line.starts_with("alice")).unwrap();
    assert!(row.ends_with("NOTHING: refused"), "{table}");
    let app = App::new(&secret_of("alice"));
    assert!(!gets_in(&world, false, &app.current()));
}

/// Whoever cannot be read about is not said to lack a factor, too.
#[test]
fn a_fault_of_the_store_is_one_alarm() {
    let world = healthy().start_sshd(SSHD_KEY_OR_PASSWORD);
    for fault in ["chown _twofa /var/lib/twofa/state", "rm /var/lib/twofa/state/$(id -u alice)"] {
        shell(&world, "chown root /var/lib/twofa/state");
        shell(&world, fault);
        let report = world.admin(&["doctor"]).expect(2).stdout;
        assert!(report.contains("findings=1\n"), "{report}");
    }
}

#[test]
fn a_lock_is_found() {
    let world = healthy().start_sshd(SSHD_KEY_OR_PASSWORD);
    let app = App::new(&secret_of("alice"));
    // Five wrong codes lock the address; a login takes three.
    assert!(!gets_in(&world, false, &app.wrong_code()) && !gets_in(&world, false, &app.wrong_code()));
    let report = world.admin(&["doctor"]).expect(1).stdout;
    assert!(
        report.contains("locked=1 findings=1") && report.contains("1 user locked after wrong codes"),
        "{report}"
    );
    assert!(report.contains("`twofa-admin user unlock alice`"), "{report}");
    assert!(!gets_in(&world, false, &app.current()));
    world.admin(&["user", "unlock", "alice"]).ok();
    world.admin(&["doctor"]).expect(0);
    assert!(gets_in(&world, false, &app.current()));
}

/// Debian's own stacks with the lines that `init` prints.
#[test]
fn debians_stacks_with_the_lines_of_init_are_in_order() {
    let world = World::new().user("alice", "pw-alice").user("bob", "pw-bob").policy(POLICY);
    world.enroll("alice");
    world.enroll("root");
    // Before that the module is called by nobody: it locks nobody out, and sshd asks for nothing.
    let report = world.admin(&["doctor", "--json"]).expect(2).stdout;
    assert!(!report.contains("locked-out") && report.contains("publickey alone opens this host"), "{report}");
    world.enroll("bob");
    let script = r#"
        lines=$(grep -cE '^-?auth' /etc/pam.d/common-auth)
        for service in sshd login su; do
            sed -i "s/^@include common-auth/&\nauth required pam_twofa.so/; s/^@include common-account/account required pam_twofa.so\n&/" /etc/pam.d/$service
        done
        sed -i "1i auth [success=$lines default=ignore] pam_twofa.so pubkey_is_first_factor" /etc/pam.d/sshd"#;
    shell(&world, script);
    let world = world.authorize_key(&["alice"]).start_sshd(SSHD_KEY_OR_PASSWORD);
    world.admin(&["doctor"]).expect(0);
    let mut app = App::new(&secret_of("alice"));
    assert!(gets_in(&world, true, &app.code()));
    // One line more in common-auth, and the number is wrong for those with keys.
    shell(&world, "sed -i 's/^auth.*requisite/auth optional pam_env.so\\n&/' /etc/pam.d/common-auth");
    let report = world.admin(&["doctor"]).expect(2).stdout;
    assert!(report.contains("Locked out: everybody."), "{report}");
    assert!(!gets_in(&world, false, &app.code()));
}
