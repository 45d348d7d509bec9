//! A whole machine, emulated: its console, and security keys that are plugged in.
//!
//! `cargo test -p twofa-tests --test vm [-- part-of-a-name]`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may panic and read the clock"
)]

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use twofa_tests::vm::cases::run;
use twofa_tests::vm::{Group, Vm, password_of};
use twofa_tests::world::artifact;

#[path = "vm/keys.rs"]
mod keys;

/// Every case begins with the state that its group's `prepare` left.
const GROUPS: [Group; 2] = [
    // The guest, the keys and the harness, without the product: when these fail, look here first.
    Group {
        name: "guest",
        prepare: |_| (),
        cases: &[
            ("boots", boots),
            ("console_password_login", console_password_login),
            ("console_wrong_password", console_wrong_password),
            ("ssh_password_login", ssh_password_login),
            ("a_state_is_restored", a_state_is_restored),
            ("key_is_seen", key_is_seen),
            ("es256_key_signs", |vm| key_signs(vm, "es256")),
            ("eddsa_key_signs", |vm| key_signs(vm, "eddsa")),
            ("u2f_key_signs", u2f_key_signs),
            ("pin_is_set_and_asked", pin_is_set_and_asked),
            ("pin_from_the_start", pin_from_the_start),
            ("denied", denied),
            ("touched_later", touched_later),
            ("two_keys", two_keys),
            ("a_key_comes_back", a_key_comes_back),
            ("unplugged_while_waiting", unplugged_while_waiting),
            ("lies_are_noticed", lies_are_noticed),
        ],
    },
    Group { name: "login_with_a_key", prepare: keys::prepare, cases: keys::CASES },
];

fn main() -> ExitCode {
    let files = [
        (artifact("TWOFA_MODULE", "libpam_twofa.so"), "/usr/lib/x86_64-linux-gnu/security/pam_twofa.so"),
        (artifact("TWOFA_ADMIN", "twofa-admin"), "/usr/sbin/twofa-admin"),
        (artifact("TWOFA_HELPER", "twofa-helper"), "/usr/libexec/twofa/twofa-helper"),
    ];
    run(&files, &GROUPS)
}

fn boots(vm: &mut Vm) {
    assert_eq!(vm.ok("systemctl --failed --no-legend --plain"), "");
    let guest: f64 = vm.ok("date +%s.%N").trim().parse().unwrap();
    let host = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((guest - host).abs() < 2.0, "guest {guest}, host {host}");
    assert_eq!(vm.run("exit 7"), (7, String::new()));
    assert_eq!(vm.ok("printf '%s\\n' \"two  'words'\"\necho two lines"), "two  'words'\ntwo lines\n");
}

fn console_password_login(vm: &mut Vm) {
    let console = vm.console();
    console.answer("login: ", "alice");
    console.answer("Password: ", &password_of("alice"));
    console.expect("alice@guest:~$ ");
    console.send_line("tty; id -un; exit");
    console.expect("/dev/ttyS0\nalice\n");
    console.expect("login: ");
}

fn console_wrong_password(vm: &mut Vm) {
    let console = vm.console();
    console.answer("login: ", "alice");
    console.answer("Password: ", "wrong");
    console.expect("Login incorrect");
    console.expect("login: ");
}

fn ssh_password_login(vm: &mut Vm) {
    let mut ssh = vm.ssh("bob", &[], &["echo", "logged-in-$USER"]);
    ssh.answer("password: ", &password_of("bob"));
    ssh.expect("logged-in-bob");
    ssh.expect_end(0);
}

fn a_state_is_restored(vm: &mut Vm) {
    vm.ok("touch /root/before");
    vm.save("touched");
    vm.plug("blue", "");
    vm.ok("rm /root/before");
    vm.restore("touched");
    vm.ok("test -e /root/before");
    vm.ok("test ! -e /dev/hidraw0");
}

fn key_is_seen(vm: &mut Vm) {
    let device = vm.plug("blue", "");
    assert!(vm.ok("fido2-token -L").contains(&format!("{device}:")));
    let info = vm.ok(&format!("fido2-token -I {device}"));
    for line in ["proto: 0x02", "version strings: U2F_V2, FIDO_2_0", "options: nork, up, noplat, noclientPin"]
    {
        assert!(info.contains(line), "{line}\n{info}");
    }
    let properties = vm.ok(&format!("udevadm info --query=property {device}"));
    assert!(properties.contains("ID_FIDO_TOKEN=1"), "{properties}");
    vm.unplug("blue");
    assert_eq!(vm.ok("fido2-token -L"), "");
}

fn key_signs(vm: &mut Vm, kind: &str) {
    let device = vm.plug("blue", "");
    register(vm, &device, "", kind);
    vm.ok(&format!("{} && {}", assert_with(&device, ""), verify(kind)));
    // A signature over another challenge
    vm.ok("cp answer earlier");
    vm.ok(&assert_with(&device, ""));
    vm.ok("cp earlier answer");
    assert_ne!(vm.run(&verify(kind)).0, 0);
}

fn u2f_key_signs(vm: &mut Vm) {
    let device = vm.plug("old", "--u2f-only");
    let info = vm.ok(&format!("fido2-token -I {device}"));
    assert!(info.contains("nocbor, msg"), "{info}");
    register(vm, &device, "-u", "es256");
    vm.ok(&format!("{} && {}", assert_with(&device, "-u"), verify("es256")));
    vm.mode("old", "deny");
    assert_eq!(vm.run(&format!("timeout 3 {}", assert_with(&device, "-u"))).0, 124);
}

fn pin_is_set_and_asked(vm: &mut Vm) {
    let device = vm.plug("blue", "");
    let console = vm.console();
    console.answer("login: ", "root");
    console.answer("Password: ", &password_of("root"));
    let prompt = "root@guest:~# ";
    console.answer(prompt, &format!("fido2-token -S {device}; echo code $?"));
    console.answer("new PIN", "1234");
    console.answer("again", "1234");
    console.expect("code 0");
    console.answer(prompt, &format!("fido2-token -C {device}; echo code $?"));
    console.answer("current PIN", "1234");
    console.answer("new PIN", "567890");
    console.answer("again", "567890");
    console.expect("code 0");
    console.expect(prompt);
    assert!(vm.ok(&format!("fido2-token -I {device}")).contains("clientPin"));
    request_credential(vm);
    let make = format!("fido2-cred -M -i request -o made {device}; echo code $?");
    for (pin, result) in [("1234", "code 1"), ("567890", "code 0")] {
        let console = vm.console();
        console.send_line(&make);
        console.answer("Enter PIN", pin);
        console.expect(result);
    }
}

fn pin_from_the_start(vm: &mut Vm) {
    let device = vm.plug("blue", "--pin 1234");
    let info = vm.ok(&format!("fido2-token -I {device}"));
    assert!(info.contains(" clientPin") && info.contains("pin retries: 8"), "{info}");
}

fn denied(vm: &mut Vm) {
    let device = vm.plug("blue", "");
    register(vm, &device, "", "es256");
    vm.mode("blue", "deny");
    let (code, output) = vm.run(&assert_with(&device, ""));
    assert!(code != 0 && output.contains("FIDO_ERR_OPERATION_DENIED"), "{code} {output}");
}

fn touched_later(vm: &mut Vm) {
    let device = vm.plug("blue", "");
    register(vm, &device, "", "es256");
    vm.mode("blue", "delay:1500");
    let began = Instant::now();
    vm.ok(&format!("{} && {}", assert_with(&device, ""), verify("es256")));
    assert!(began.elapsed() >= Duration::from_millis(1500));
    // Somebody who comes back to the machine
    vm.mode("blue", "never");
    vm.ok(&format!("({}; echo $? >code) >/dev/null 2>&1 &", assert_with(&device, "")));
    thread::sleep(Duration::from_secs(1));
    vm.ok("test ! -e code");
    vm.mode("blue", "ok");
    vm.ok("for try in $(seq 50); do test -e code && exec grep -x 0 code; sleep 0.1; done; exit 1");
}

fn two_keys(vm: &mut Vm) {
    let (blue, red) = (vm.plug("blue", ""), vm.plug("red", ""));
    assert_ne!(blue, red);
    register(vm, &blue, "", "es256");
    let (code, output) = vm.run(&assert_with(&red, ""));
    assert!(code != 0 && output.contains("FIDO_ERR_NO_CREDENTIALS"), "{code} {output}");
    vm.mode("red", "deny");
    vm.ok(&format!("{} && {}", assert_with(&blue, ""), verify("es256")));
}

fn a_key_comes_back(vm: &mut Vm) {
    let device = vm.plug("blue", "");
    register(vm, &device, "", "es256");
    vm.unplug("blue");
    let device = vm.plug("blue", "");
    vm.ok(&format!("{} && {}", assert_with(&device, ""), verify("es256")));
}

fn unplugged_while_waiting(vm: &mut Vm) {
    let device = vm.plug("blue", "");
    register(vm, &device, "", "es256");
    vm.mode("blue", "vanish");
    let (code, output) = vm.run(&assert_with(&device, ""));
    assert!(code != 0 && output.contains("FIDO_ERR"), "{code} {output}");
    vm.ok("udevadm settle; test -z \"$(fido2-token -L)\"");
}

/// That libfido2 refuses an answer says that it is wrong.
fn lies_are_noticed(vm: &mut Vm) {
    let device = vm.plug("blue", "");
    register(vm, &device, "", "es256");
    let assert_and_verify = format!("{} && {}", assert_with(&device, ""), verify("es256"));
    vm.ok(&assert_and_verify);
    for word in ["wrong-rpid", "no-up", "truncated", "authdata:36", "nested", "huge", "other-key", "replay"] {
        vm.mode("blue", word);
        let (code, output) = vm.run(&format!("timeout 10 sh -c '{assert_and_verify}'"));
        assert!(code != 0 && code != 124, "{word}: {code} {output}");
    }
    for word in ["silent", "mute", "keepalive-forever", "wrong-channel", "huge-frame", "garbage"] {
        vm.mode("blue", word);
        let (code, output) = vm.run(&format!("timeout 3 {}", assert_with(&device, "")));
        assert!(code != 0, "{word}: {code} {output}");
        vm.mode("blue", "ok");
    }
    for word in ["ok", "unknown-members", "counter-back", "counter-same", "counter-zero"] {
        vm.mode("blue", word);
        vm.ok(&assert_and_verify);
    }
}

/// The input of fido2-cred: challenge, relying party, user, and the user's id.
fn request_credential(vm: &mut Vm) {
    vm.ok("(head -c 32 /dev/urandom | base64; echo host.example; echo alice; echo YWxpY2U=) >request");
}

/// Registers a key as `id` and `public.pem` in /root.
fn register(vm: &mut Vm, device: &str, flags: &str, kind: &str) {
    request_credential(vm);
    vm.ok(&format!(
        "fido2-cred -M {flags} -i request -o made {device} {kind} && fido2-cred -V -i made -o known {kind} &&
         head -1 known >id && sed 1d known >public.pem"
    ));
}

/// The command that asks for a signature over a fresh challenge.
fn assert_with(device: &str, flags: &str) -> String {
    format!(
        "sh -c \"(head -c 32 /dev/urandom | base64; echo host.example; cat id) >ask; fido2-assert -G -t up=true {flags} -i ask -o answer {device}\""
    )
}

/// The command that verifies it. The challenge is that of `ask`, not what the answer says.
fn verify(kind: &str) -> String {
    format!(
        "sh -c \"(head -1 ask; sed 1d answer) >checked; fido2-assert -V -p -i checked public.pem {kind}\""
    )
}
