//! A machine where SELinux enforces a policy, and this product's module in it: users log in as ever, and the helper can
//! do what is its own only.
//!
//! `cargo test -p twofa-tests --test selinux -- --ignored`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may panic and wait"
)]

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use twofa_tests::totp::App;
use twofa_tests::vm::{Vm, password_of};
use twofa_tests::world::artifact;

const POLICY: &str = r#"version = 1
mode = "off"
methods = ["app", "sms"]
services = ["sshd", "login"]
[sms]
hook = "/etc/twofa/hooks/sms"
prefixes = ["+48"]
[email]
hook = "/etc/twofa/hooks/sms"
[key]
rp_id = "twofa"
[notify]
events = ["factor-changed", "recovery-used"]
"#;

/// Says in which domain it runs, what comes of a try to reach a gateway where none is, and the text.
const HOOK: &str = r#"#!/bin/sh
reached=$(bash -c ': >/dev/tcp/127.0.0.1/80' 2>&1 | tr '\n' ' ')
logger -t hook "$(tr -d '\0' </proc/self/attr/current) $reached $(cat)"
"#;

const SECRET: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";
const ASK: &str = "Verification code (app): ";
/// Of who has a telephone number, too.
const ASK_EITHER: &str = "Verification code (app, or type sms): ";

#[test]
#[ignore = "links a policy on an emulated processor, which takes minutes; `make test-packages` does it"]
fn logins_and_the_helper_under_an_enforced_policy() {
    let mut vm = Vm::boot_selinux(&files());
    assert_eq!(vm.ok("getenforce"), "Enforcing\n");
    install(&mut vm);
    let mut alices = enroll_at_login(&mut vm);
    let mut bobs = App::new(SECRET);

    let mut ssh = vm.ssh("alice", &[], &["echo", "logged-in"]);
    ssh.answer("Password: ", &password_of("alice"));
    ssh.answer(ASK, &alices.code());
    ssh.expect("logged-in");
    ssh.expect_end(0);

    let mut ssh = vm.ssh("alice", &["-o", "NumberOfPasswordPrompts=1"], &["echo", "logged-in"]);
    ssh.answer("Password: ", &password_of("alice"));
    for _ in 0..3 {
        ssh.answer(ASK, "000000");
    }
    ssh.expect_end(255);
    assert!(vm.ok("journalctl -o cat").contains("refused alice"), "{}", vm.ok("journalctl -o cat"));

    console(&mut vm, "bob", |console| {
        console.answer(ASK_EITHER, &bobs.code());
    });

    // A code by SMS, and the hook that takes it.
    let mut ssh = vm.ssh("bob", &[], &["echo", "logged-in"]);
    ssh.answer("Password: ", &password_of("bob"));
    ssh.answer(ASK_EITHER, "sms");
    let prompt = "Verification code (SMS to +48 *** *** 124, or type app): ";
    ssh.expect(prompt);
    let said = hook_said(&mut vm);
    assert!(said.contains(":twofa_helper_t:") && said.contains("Connection refused"), "{said}");
    ssh.send_line(said.split_once(" is your code").unwrap().0.rsplit(' ').next().unwrap());
    ssh.expect("logged-in");
    ssh.expect_end(0);

    // A notice, once the helper of an administrator's command has made the ledger; and what logins have stored.
    assert!(vm.ok("ls -Z /var/lib/twofa/notices").contains(":twofa_ledger_t:"));
    let labels = vm.ok("ls -Z /var/lib/twofa/state /etc/twofa/store.key");
    assert!(
        labels.lines().all(|line| !line.contains("_t:") || line.contains(":twofa_var_lib_t:")),
        "{labels}"
    );

    touch(&mut vm);
    assert_eq!(denials(&mut vm), "", "nothing that was needed, and nothing that was for nothing");

    // Who sends codes reaches nothing once the network is taken away.
    vm.ok("setsebool twofa_hook_network off");
    vm.run("twofa-admin test sms --to +48600000123");
    let said = hook_said(&mut vm);
    assert!(said.contains(":twofa_helper_t:") && said.contains("Permission denied"), "{said}");
    vm.ok("setsebool twofa_hook_network on");
    confined(&mut vm);
}

fn files() -> Vec<(PathBuf, &'static str)> {
    let module =
        |name: &str| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../packaging/selinux").join(name);
    vec![
        (artifact("TWOFA_MODULE", "libpam_twofa.so"), "/usr/lib/x86_64-linux-gnu/security/pam_twofa.so"),
        (artifact("TWOFA_ADMIN", "twofa-admin"), "/usr/sbin/twofa-admin"),
        (artifact("TWOFA_HELPER", "twofa-helper"), "/usr/libexec/twofa/twofa-helper"),
        (module("pam_twofa.te"), "/root/policy/pam_twofa.te"),
        (module("pam_twofa.fc"), "/root/policy/pam_twofa.fc"),
        (module("pam_twofa.if"), "/root/policy/pam_twofa.if"),
    ]
}

/// As the RPM does it, and then as an administrator does.
fn install(vm: &mut Vm) {
    vm.ok("cd /root/policy && nohup sh -c 'make -f /usr/share/selinux/devel/Makefile pam_twofa.pp &&
         semodule -X 200 -i pam_twofa.pp; echo $? >ended' >said 2>&1 &");
    let ended = |vm: &mut Vm| {
        thread::sleep(Duration::from_secs(2));
        vm.run("cat /root/policy/ended").0 == 0
    };
    assert!((0..150).any(|_| ended(vm)), "{}", vm.ok("cat /root/policy/said"));
    assert_eq!(vm.ok("cat /root/policy/ended"), "0\n", "{}", vm.ok("cat /root/policy/said"));
    vm.ok("useradd --system --no-create-home --shell /usr/sbin/nologin _twofa
         mkdir -p /etc/twofa/hooks && mkdir -m 700 /var/lib/twofa");
    write(vm, "/etc/twofa/hooks/sms", HOOK);
    write(vm, "/etc/twofa/twofa.toml", POLICY);
    vm.ok("set -e
         chmod 755 /etc/twofa/hooks/sms
         restorecon -R /etc/twofa /var/lib/twofa /usr/libexec/twofa
         twofa-admin init --yes --write
         for user in bob root; do
             echo JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP | twofa-admin enroll app $user --secret-stdin
         done
         twofa-admin user set bob --phone +48600000124
         twofa-admin user set bob --email bob@example.org
         twofa-admin policy set --force mode=enforce");
    assert!(vm.ok("ps -eZ").contains(":sshd_t:"));
    denials(vm);
}

/// The database is written by sshd then, and not only by an administrator.
fn enroll_at_login(vm: &mut Vm) -> App {
    let grace = POLICY.replace("\"off\"", "\"enforce\"").replace(", \"sms\"]", "]");
    write(vm, "/etc/twofa/twofa.toml", &(grace + "[rollout]\ngrace_days = 5\n"));
    let mut ssh = vm.ssh("alice", &[], &["echo", "logged-in"]);
    ssh.answer("Password: ", &password_of("alice"));
    let screen = ssh.expect("Verification code (new app; or type text; Enter for later): ");
    let secret = screen.lines().find_map(|line| line.split_once("type it in:")).expect("a secret").1;
    let mut app = App::new(secret);
    ssh.send_line(&app.code());
    ssh.answer("recovery codes: ", "saved");
    ssh.expect("logged-in");
    ssh.expect_end(0);
    write(vm, "/etc/twofa/twofa.toml", &POLICY.replace("\"off\"", "\"enforce\""));
    app
}

fn write(vm: &mut Vm, path: &str, text: &str) {
    vm.ok(&format!("cat >{path} <<'TEXT'\n{text}TEXT"));
}

fn console(vm: &mut Vm, user: &str, prove: impl FnOnce(&mut twofa_tests::terminal::Terminal)) {
    let console = vm.console();
    console.clear();
    console.send("\r");
    console.answer("login: ", user);
    console.answer("Password: ", &password_of(user));
    prove(console);
    console.expect(&format!("{user}@guest:~$ "));
    console.send_line("exit");
    console.expect("login: ");
}

/// A login with a security key, which is enrolled first.
fn touch(vm: &mut Vm) {
    vm.plug("blue", "");
    write(
        vm,
        "/etc/twofa/twofa.toml",
        &POLICY.replace("\"app\"", "\"key\"").replace("\"off\"", "\"enforce\""),
    );
    vm.ok("echo saved | twofa-admin enroll key alice --label blue");
    console(vm, "alice", |console| {
        console.expect("Touch your security key.");
    });
}

/// The last message that went out.
fn hook_said(vm: &mut Vm) -> String {
    vm.ok("journalctl -q -o cat -t hook | tail -n 1")
}

/// What was denied since the last call, and has to do with us.
fn denials(vm: &mut Vm) -> String {
    vm.run("journalctl -q -o cat --cursor-file=/root/cursor _TRANSPORT=audit | grep -a 'avc: .*twofa'").1
}

/// Root itself, in the helper's domain: nothing but SELinux is left to refuse.
fn confined(vm: &mut Vm) {
    vm.ok("cp /bin/bash /root/probe && chcon -t twofa_helper_exec_t /root/probe");
    let mut may = |command: &str| vm.run(&format!("/root/probe -c '{command}'")).0 == 0;
    for file in ["/etc/twofa/twofa.toml", "/etc/passwd"] {
        assert!(may(&format!(": <{file}")), "{file}");
    }
    let secrets =
        ["/etc/shadow", "/etc/ssh/ssh_host_ed25519_key", "/home/alice/.bashrc", "/etc/twofa/store.key"];
    for file in secrets.iter().chain(&["/var/lib/twofa/twofa.db", "/var/lib/twofa/state/0"]) {
        assert!(!may(&format!(": <{file}")), "{file} is read");
    }
    for file in ["/etc/twofa/hooks/sms", "/etc/twofa/new", "/var/lib/twofa/new", "/etc/new", "/tmp/new"] {
        assert!(!may(&format!(": >>{file}")), "{file} is written");
    }
    assert!(!may(": >/dev/tcp/127.0.0.1/22"), "sshd is reached");
    assert!(!may("kill -TERM $(cat /run/sshd.pid)"), "sshd is ended");
    // That it was SELinux.
    assert!(denials(vm).contains(":shadow_t:"));
}
