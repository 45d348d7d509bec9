//! Who has a security key logs in at the console with the password and a touch.

use twofa_tests::vm::{Case, Vm, password_of};

const POLICY: &str = r#"version = 1
mode = "enforce"
methods = ["key"]
services = ["login"]
[key]
rp_id = "twofa"
"#;

/// Comes before the policy's `[key]`.
const SMS: &str = r#"[sms]
hook = "/etc/twofa/hooks/sms"
prefixes = ["+48"]
[key]"#;

const NOTICES: &str = r#"[email]
hook = "/etc/twofa/hooks/email"
[notify]
events = ["recovery-used"]
[key]"#;

const PROMPT: &str = "alice@guest:~$ ";
const TOUCH: &str = "Touch your security key.";
const ASK_AGAIN: &str = "Verification code (recovery code, or type key): ";
const ASK_LAST: &str = "Verification code (recovery code): ";

pub(crate) const CASES: &[Case] = &[
    ("password_and_touch", password_and_touch),
    ("no_key", no_key),
    ("recovery_code", recovery_code),
    ("denied", denied),
    ("wrong_password", wrong_password),
    ("unenrolled_user", unenrolled_user),
    ("unenrolled_user_without_a_key", unenrolled_user_without_a_key),
    ("no_up", |vm| lie(vm, "no-up")),
    ("wrong_rpid", |vm| lie(vm, "wrong-rpid")),
    ("other_key", |vm| lie(vm, "other-key")),
    ("replay", replay),
    ("counter_back", |vm| counter(vm, "counter-back")),
    ("counter_same", |vm| counter(vm, "counter-same")),
    ("counter_zero", |vm| counter(vm, "counter-zero")),
    ("the_other_key_after_a_suspended_one", the_other_key_after_a_suspended_one),
    ("second_of_two_keys", second_of_two_keys),
    ("either_of_two_enrolled_keys", either_of_two_enrolled_keys),
    ("somebody_elses_key", somebody_elses_key),
    ("touched_later", touched_later),
    ("never_touched", never_touched),
    ("unplugged_while_waiting", unplugged_while_waiting),
    ("a_code_by_sms_instead", a_code_by_sms_instead),
    ("a_key_with_a_pin", a_key_with_a_pin),
    ("a_pin_goes_to_one_key", a_pin_goes_to_one_key),
    ("a_pin_that_is_blocked", a_pin_that_is_blocked),
    ("a_policy_that_asks_for_a_pin", a_policy_that_asks_for_a_pin),
    ("a_u2f_key", a_u2f_key),
    ("a_key_of_pam_u2f", |vm| a_key_of_pam_u2f(vm, "")),
    ("a_u2f_key_of_pam_u2f", |vm| a_key_of_pam_u2f(vm, "--u2f-only")),
    ("not_asked_for_from_afar", not_asked_for_from_afar),
    ("another_relying_party", another_relying_party),
    ("a_touch_is_no_guess", a_touch_is_no_guess),
    ("nonsense_on_the_wire", nonsense_on_the_wire),
    ("silence", |vm| endless(vm, "silent")),
    ("patience_without_end", |vm| endless(vm, "keepalive-forever")),
    ("interrupted", interrupted),
    ("hung_up", hung_up),
    ("a_notice_of_a_login_that_ends_at_once", a_notice_of_a_login_that_ends_at_once),
    ("a_notice_in_spite_of_the_limits_of_sus_caller", a_notice_in_spite_of_the_limits_of_sus_caller),
    ("without_the_helper", without_the_helper),
    ("a_key_that_was_forgotten", a_key_that_was_forgotten),
    ("enrolments_that_are_refused", enrolments_that_are_refused),
];

/// Installs the product, and enrolls alice with the key `blue`, which stays plugged in.
pub(crate) fn prepare(vm: &mut Vm) {
    vm.ok(&format!("mkdir -p /etc/twofa && cat >/etc/twofa/twofa.toml <<'END'\n{POLICY}END"));
    vm.ok("set -e
         sed -i -e '/^@include common-auth/a auth required pam_twofa.so' \
             -e '/^@include common-account/i account required pam_twofa.so' /etc/pam.d/login
         test $(grep -c pam_twofa /etc/pam.d/login) = 2
         twofa-admin init --yes
         twofa-admin policy check");
    vm.plug("blue", "");
    let said = enroll(vm, "alice", "blue");
    assert!(said.contains("alice can log in with the security key `blue` now"), "{said}");
}

/// The dialogue; the recovery codes stay in the guest, as `codes`.
fn enroll(vm: &mut Vm, user: &str, label: &str) -> String {
    vm.ok(&format!(
        "set -e; echo saved | twofa-admin enroll key {user} --label {label} >enrolled 2>&1 || {{ cat enrolled; exit 1; }}
         sed -n 's/^    //p' enrolled >>codes; cat enrolled"
    ))
}

fn password_and_touch(vm: &mut Vm) {
    log_in(vm);
    log_in(vm);
    expect_log(vm, "accepted key for alice on /dev/ttyS0 label=blue");
    // Nothing of it is left running.
    assert_eq!(vm.run("pgrep -f twofa-helper").1, "");
}

fn no_key(vm: &mut Vm) {
    vm.unplug("blue");
    password(vm, "alice");
    vm.console().expect("No security key is plugged in.");
    vm.console().expect(ASK_AGAIN);
    vm.plug("blue", "");
    vm.console().send_line("key");
    vm.console().expect(TOUCH);
    expect_shell(vm);
}

fn recovery_code(vm: &mut Vm) {
    let codes = vm.ok("cat codes");
    let code = codes.lines().next().unwrap();
    vm.unplug("blue");
    password(vm, "alice");
    vm.console().answer(ASK_AGAIN, code);
    expect_shell(vm);
    password(vm, "alice");
    vm.console().answer(ASK_AGAIN, code);
    vm.console().expect("Verification code");
}

fn denied(vm: &mut Vm) {
    vm.mode("blue", "deny");
    password(vm, "alice");
    vm.console().expect(TOUCH);
    vm.console().expect("The security key was not touched.");
    for ask in [ASK_AGAIN, ASK_AGAIN] {
        vm.console().answer(ask, "key");
        vm.console().expect("The security key was not touched.");
    }
    // It is asked as often as a code may be wrong.
    for _ in 0..3 {
        vm.console().answer(ASK_LAST, "");
    }
    vm.console().expect("Login incorrect");
    vm.mode("blue", "ok");
    log_in(vm);
}

fn wrong_password(vm: &mut Vm) {
    let console = vm.console();
    console.answer("login: ", "alice");
    console.answer("Password: ", "wrong");
    let screen = console.expect("Login incorrect");
    assert!(!screen.contains("Touch") && !screen.contains("key"), "{screen}");
    console.expect("login: ");
}

/// Sees what alice would see with a key that is not hers.
fn unenrolled_user(vm: &mut Vm) {
    password(vm, "bob");
    vm.console().expect(TOUCH);
    vm.console().expect("No security key of yours is plugged in.");
    give_up(vm);
    expect_log(vm, "refused bob on /dev/ttyS0 reason=not-enrolled");
}

fn unenrolled_user_without_a_key(vm: &mut Vm) {
    vm.unplug("blue");
    password(vm, "bob");
    vm.console().expect(TOUCH);
    vm.console().expect("No security key is plugged in.");
    give_up(vm);
    expect_log(vm, "refused bob on /dev/ttyS0 reason=not-enrolled");
}

fn lie(vm: &mut Vm, word: &str) {
    vm.mode("blue", word);
    password(vm, "alice");
    vm.console().expect(TOUCH);
    vm.console().expect("The security key proved nothing.");
    vm.mode("blue", "ok");
    vm.console().answer(ASK_AGAIN, "key");
    vm.console().expect(TOUCH);
    expect_shell(vm);
}

fn replay(vm: &mut Vm) {
    log_in(vm);
    lie(vm, "replay");
}

/// A key whose counter went back may be a copy: it counts no longer, also when it goes on.
fn counter(vm: &mut Vm, word: &str) {
    log_in(vm);
    log_in(vm);
    vm.mode("blue", word);
    password(vm, "alice");
    vm.console().expect(TOUCH);
    vm.console().expect("This security key counts no longer.");
    give_up(vm);
    vm.mode("blue", "ok");
    password(vm, "alice");
    vm.console().expect("Log in with your security key, or a recovery code.");
    vm.console().expect(ASK_LAST);
    expect_log(vm, "security key suspended for alice on /dev/ttyS0 reason=counter-did-not-grow");
}

fn the_other_key_after_a_suspended_one(vm: &mut Vm) {
    vm.unplug("blue");
    vm.plug("red", "");
    enroll(vm, "alice", "red");
    vm.mode("red", "never");
    vm.plug("blue", "");
    log_in(vm);
    log_in(vm);
    vm.mode("blue", "counter-back");
    password(vm, "alice");
    vm.console().expect(TOUCH);
    vm.console().expect("This security key counts no longer.");
    vm.mode("blue", "ok");
    vm.mode("red", "ok");
    vm.console().answer(ASK_AGAIN, "key");
    expect_shell(vm);
    expect_log(vm, "accepted key for alice on /dev/ttyS0 label=red");
    let shown = vm.ok("twofa-admin user show alice");
    let of_blue = shown.lines().find(|line| line.contains("blue")).unwrap();
    assert!(of_blue.contains("SUSPENDED"), "{shown}");
}

fn second_of_two_keys(vm: &mut Vm) {
    vm.unplug("blue");
    vm.mode("red", "never");
    vm.plug("red", "");
    vm.plug("blue", "");
    log_in(vm);
    vm.mode("red", "ok");
    log_in(vm);
}

fn either_of_two_enrolled_keys(vm: &mut Vm) {
    vm.unplug("blue");
    vm.plug("red", "");
    enroll(vm, "alice", "red");
    log_in(vm);
    expect_log(vm, "accepted key for alice on /dev/ttyS0 label=red");
    vm.mode("red", "never");
    vm.plug("blue", "");
    log_in(vm);
    expect_log(vm, "accepted key for alice on /dev/ttyS0 label=blue");
}

fn somebody_elses_key(vm: &mut Vm) {
    vm.unplug("blue");
    vm.plug("red", "");
    enroll(vm, "bob", "red");
    password(vm, "alice");
    vm.console().expect("No security key of yours is plugged in.");
    vm.console().expect(ASK_AGAIN);
}

fn touched_later(vm: &mut Vm) {
    vm.mode("blue", "never");
    password(vm, "alice");
    vm.console().expect(TOUCH);
    vm.ok("sleep 3");
    vm.console().catch_up();
    assert_eq!(vm.console().unread().trim(), "");
    vm.mode("blue", "ok");
    expect_shell(vm);
}

fn never_touched(vm: &mut Vm) {
    vm.mode("blue", "never");
    password(vm, "alice");
    vm.console().expect(TOUCH);
    vm.console().expect("The security key was not touched.");
    vm.mode("blue", "ok");
    vm.console().answer(ASK_AGAIN, "key");
    expect_shell(vm);
}

fn unplugged_while_waiting(vm: &mut Vm) {
    vm.mode("blue", "vanish");
    password(vm, "alice");
    vm.console().expect(TOUCH);
    vm.console().expect("The security key was unplugged.");
    vm.console().expect(ASK_AGAIN);
}

/// A policy and its hook, which keeps what it is given in `/var/sent`.
fn have_hook(vm: &mut Vm, policy: &str, name: &str, script: &str) {
    vm.ok(&format!(
        "set -e
         cat >/etc/twofa/twofa.toml <<'END'\n{policy}END
         useradd --system --no-create-home --shell /usr/sbin/nologin _twofa
         install -d -o _twofa /var/sent
         mkdir -p /etc/twofa/hooks
         printf '#!/bin/sh\\n%s\\n' '{script}' >/etc/twofa/hooks/{name}
         chmod 755 /etc/twofa/hooks/{name}"
    ));
}

/// For who has a telephone and no key here, or no key at all.
fn a_code_by_sms_instead(vm: &mut Vm) {
    let policy = POLICY.replace(r#"["key"]"#, r#"["key", "sms"]"#).replace("[key]", SMS);
    have_hook(vm, &policy, "sms", "cat >/var/sent/$TWOFA_TO");
    vm.ok("set -e
         twofa-admin user set alice --phone '+48 600 000 123'
         twofa-admin user add bob --phone '+48 600 000 456'");
    log_in(vm);
    vm.unplug("blue");
    password(vm, "alice");
    vm.console().expect("No security key is plugged in.");
    vm.console().answer("Verification code (recovery code, or type sms or key): ", "sms");
    vm.console().expect("Verification code (SMS to +48 *** *** 123");
    let code = sent_to(vm, "+48600000123");
    vm.console().answer("): ", &code);
    expect_shell(vm);
    password(vm, "bob");
    vm.console().expect("Verification code (SMS to +48 *** *** 456");
    let code = sent_to(vm, "+48600000456");
    vm.console().answer("): ", &code);
    vm.console().expect("bob@guest:~$ ");
    vm.console().send_line("exit");
    // The other way round: the code is on its way, and the key is quicker.
    vm.plug("blue", "");
    vm.ok("twofa-admin policy set --force 'methods=[\"sms\", \"key\"]' && twofa-admin user unlock alice");
    password(vm, "alice");
    vm.console().answer("Verification code (SMS to +48 *** *** 123, or type key): ", "key");
    vm.console().expect(TOUCH);
    expect_shell(vm);
}

/// The code of the text, whose only word of six digits it is.
fn sent_to(vm: &mut Vm, number: &str) -> String {
    let text = vm.ok(&format!("cat /var/sent/{number}"));
    let is_code = |word: &&str| word.len() == 6 && word.bytes().all(|byte| byte.is_ascii_digit());
    text.split_whitespace().find(is_code).unwrap_or_else(|| panic!("no code: {text}")).to_owned()
}

fn a_key_with_a_pin(vm: &mut Vm) {
    vm.unplug("blue");
    vm.plug("red", "--pin 1234");
    vm.ok("printf '1234\\n' | twofa-admin enroll key alice --label red --pin");
    password(vm, "alice");
    vm.console().answer("Security key PIN: ", "9999");
    vm.console().answer("Security key PIN: ", "1234");
    expect_shell(vm);
    assert!(vm.console().screen().contains("Wrong PIN. The key takes 7 more"), "{}", vm.console().shown());
    assert!(!vm.console().screen().contains("1234"), "{}", vm.console().shown());
    // Nobody is asked for the PIN of a key that is not here.
    vm.unplug("red");
    vm.console().clear();
    password(vm, "alice");
    vm.console().expect("No security key is plugged in.");
    vm.console().expect(ASK_AGAIN);
    assert!(!vm.console().screen().contains("PIN"), "{}", vm.console().shown());
}

/// A PIN is one key's, and a wrong try of the other.
fn a_pin_goes_to_one_key(vm: &mut Vm) {
    vm.unplug("blue");
    for (key, pin) in [("red", "1234"), ("green", "5678")] {
        vm.plug(key, &format!("--pin {pin}"));
        vm.ok(&format!("printf '{pin}\n' | twofa-admin enroll key alice --label {key} --pin"));
        vm.unplug(key);
    }
    vm.plug("red", "");
    vm.plug("green", "");
    password(vm, "alice");
    vm.console().expect("More than one security key asks for a PIN. Leave only one plugged in.");
    vm.unplug("red");
    vm.console().answer(ASK_AGAIN, "key");
    vm.console().answer("Security key PIN: ", "5678");
    expect_shell(vm);
    // One that needs none does not keep the other from asking.
    vm.plug("blue", "");
    vm.mode("blue", "never");
    password(vm, "alice");
    vm.console().answer("Security key PIN: ", "5678");
    expect_shell(vm);
    expect_log(vm, "accepted key for alice on /dev/ttyS0 label=green");
}

/// After three wrong ones a key wants to be plugged in again (CTAP 2.1, section 6.5.5.7).
fn a_pin_that_is_blocked(vm: &mut Vm) {
    vm.unplug("blue");
    vm.plug("red", "--pin 1234");
    vm.ok("printf '1234\n' | twofa-admin enroll key alice --label red --pin");
    password(vm, "alice");
    for _ in 0..3 {
        vm.console().answer("Security key PIN: ", "9999");
    }
    vm.console().expect("Too many wrong PINs in a row. Unplug the security key, and plug it in again.");
    vm.console().answer(ASK_LAST, "wrong");
    give_up(vm);
    vm.unplug("red");
    vm.plug("red", "");
    password(vm, "alice");
    vm.console().answer("Security key PIN: ", "1234");
    expect_shell(vm);
}

/// A key that was enrolled without its PIN can have one; a U2F key cannot.
fn a_policy_that_asks_for_a_pin(vm: &mut Vm) {
    vm.unplug("blue");
    vm.plug("old", "--u2f-only");
    enroll(vm, "bob", "old");
    vm.unplug("old");
    vm.plug("red", "--pin 1234");
    vm.ok("printf '1234\n' | twofa-admin enroll key alice --label red");
    let (code, said) = vm.run("twofa-admin policy set key.pin=true");
    assert!(code == 3 && said.contains("bob") && !said.contains("alice"), "{code} {said}");
    vm.ok("twofa-admin policy set key.pin=true --force");
    password(vm, "alice");
    let screen = vm.console().answer("Security key PIN: ", "1234");
    assert!(!screen.contains(TOUCH), "nothing blinks before: {screen}");
    vm.console().expect(TOUCH);
    expect_shell(vm);
    let (_, shown) = vm.run("twofa-admin user show bob");
    assert!(shown.contains("VOID"), "{shown}");
    vm.plug("old", "--u2f-only");
    password(vm, "bob");
    vm.console().expect("No security key of yours is plugged in.");
}

fn a_u2f_key(vm: &mut Vm) {
    vm.unplug("blue");
    vm.plug("old", "--u2f-only");
    enroll(vm, "alice", "old");
    log_in(vm);
    expect_log(vm, "accepted key for alice on /dev/ttyS0 label=old");
    vm.mode("old", "deny");
    password(vm, "alice");
    vm.console().expect(TOUCH);
    vm.mode("old", "ok");
    expect_shell(vm);
}

/// Who is elsewhere cannot touch a key that is plugged in here; whoever is here would.
fn not_asked_for_from_afar(vm: &mut Vm) {
    vm.ok(
        "set -e
         cp /etc/pam.d/login /etc/pam.d/sshd
         sed -i 's/\"login\"/\"login\", \"sshd\"/' /etc/twofa/twofa.toml
         printf 'KbdInteractiveAuthentication yes\\nPasswordAuthentication no\\n' >/etc/ssh/sshd_config.d/00-twofa.conf
         systemctl restart ssh",
    );
    let mut ssh = vm.ssh("alice", &[], &["echo", "logged-in-$USER"]);
    ssh.answer("Password: ", &password_of("alice"));
    ssh.expect("Log in with your security key, or a recovery code.");
    ssh.answer(ASK_LAST, "key");
    ssh.expect("Verification code");
    assert!(!ssh.screen().contains("Touch") && !ssh.screen().contains("logged-in"), "{}", ssh.shown());
    log_in(vm);
}

/// Registered by pam_u2f's own tool, and brought along by an import.
fn a_key_of_pam_u2f(vm: &mut Vm, options: &str) {
    vm.unplug("blue");
    vm.plug("brought", options);
    let mapping = vm.ok("pamu2fcfg -u alice -o pam://guest -i pam://guest | tee /etc/u2f_mappings");
    assert!(mapping.starts_with("alice:"), "{mapping}");
    vm.ok("twofa-admin policy set --force key.rp_id=pam://guest");
    let said = vm.ok("twofa-admin import u2f /etc/u2f_mappings --origin pam://guest --yes");
    assert!(said.contains("taken"), "{said}");
    log_in(vm);
    expect_log(vm, "accepted key for alice on /dev/ttyS0 label=u2f-1");
    vm.mode("brought", "deny");
    password(vm, "alice");
    vm.console().expect("The security key was not touched.");
}

fn another_relying_party(vm: &mut Vm) {
    vm.ok("sed -i 's/^rp_id.*/rp_id = \"another\"/' /etc/twofa/twofa.toml");
    password(vm, "alice");
    vm.console().expect("No security key of yours is plugged in.");
    vm.console().expect(ASK_AGAIN);
}

/// Who is locked out by wrong codes gets in with the key.
fn a_touch_is_no_guess(vm: &mut Vm) {
    vm.unplug("blue");
    password(vm, "alice");
    give_up(vm);
    password(vm, "alice");
    for _ in 0..2 {
        vm.console().answer("): ", "wrong");
    }
    vm.console().expect("Too many failed codes. Try again after");
    vm.plug("blue", "");
    log_in(vm);
    // The lock on guesses is still there.
    vm.unplug("blue");
    password(vm, "alice");
    vm.console().answer(ASK_AGAIN, "wrong");
    vm.console().expect("Too many failed codes. Try again after");
}

/// The time is ours, not the key's.
fn endless(vm: &mut Vm, word: &str) {
    vm.mode("blue", word);
    password(vm, "alice");
    vm.console().expect(TOUCH);
    vm.console().expect(ASK_AGAIN);
    let took = vm.ok("journalctl --no-pager -o cat -n 50 | grep 'security key not accepted for alice'");
    assert!(took.contains("reason="), "{took}");
    assert_eq!(vm.run("pgrep -f twofa-helper").1, "");
    vm.mode("blue", "ok");
    vm.unplug("blue");
    vm.plug("blue", "");
    vm.console().send_line("key");
    expect_shell(vm);
}

/// Ctrl-C ends the login, and the blinking with it.
fn interrupted(vm: &mut Vm) {
    vm.mode("blue", "never");
    password(vm, "alice");
    vm.console().expect(TOUCH);
    vm.ok("pgrep -f twofa-helper");
    vm.console().send("\x03");
    nothing_goes_on(vm);
}

/// The line goes down while the key blinks: nothing goes on blinking, and nobody is let in.
fn hung_up(vm: &mut Vm) {
    vm.mode("blue", "never");
    password(vm, "alice");
    vm.console().expect(TOUCH);
    vm.ok("pgrep -f twofa-helper && pkill -HUP -x login");
    nothing_goes_on(vm);
}

fn nothing_goes_on(vm: &mut Vm) {
    vm.ok("for try in $(seq 30); do pgrep -f twofa-helper || exit 0; sleep 0.1; done; exit 1");
    vm.mode("blue", "ok");
    log_in(vm);
    let log = vm.ok("journalctl --no-pager -o cat | grep -c 'accepted key for alice'");
    assert_eq!(log.trim(), "1");
}

/// Alice is told by mail when one of her recovery codes opens a login; the gateway takes three seconds.
fn have_alice_told(vm: &mut Vm, services: &str) {
    let policy = POLICY.replace("[key]", NOTICES).replace(r#""login""#, services);
    have_hook(vm, &policy, "email", "cat >/var/sent/new; sleep 3; mv /var/sent/new /var/sent/$TWOFA_TO");
    vm.ok("twofa-admin user set alice --email alice@example.org");
}

fn expect_told(vm: &mut Vm) {
    vm.ok("for try in $(seq 100); do pgrep -f twofa-helper || exit 0; sleep 0.1; done; exit 1");
    expect_log(vm, "notice sent to alice event=recovery-used");
    let told = vm.ok("cat /var/sent/alice@example.org");
    assert!(told.contains("a recovery code was used"), "{told}");
}

/// When the shell ends, systemd ends what is left of that login before it starts the next getty.
fn a_notice_of_a_login_that_ends_at_once(vm: &mut Vm) {
    let codes = vm.ok("cat codes");
    have_alice_told(vm, r#""login""#);
    vm.unplug("blue");
    password(vm, "alice");
    vm.console().answer(ASK_AGAIN, codes.lines().next().unwrap());
    expect_shell(vm);
    vm.console().expect("login: ");
    expect_told(vm);
}

/// A hook whose user may have one process only can start no program. (Here, because root in a container may raise no limit.)
fn a_notice_in_spite_of_the_limits_of_sus_caller(vm: &mut Vm) {
    let codes = vm.ok("cat codes");
    have_alice_told(vm, r#""login", "su""#);
    vm.ok("sed -i -e '/^@include common-auth/a auth required pam_twofa.so' \
             -e '/^@include common-account/i account required pam_twofa.so' /etc/pam.d/su");
    let mut ssh = vm.ssh("bob", &["-t"], &["ulimit -u 1; exec su alice -c 'echo in-as-$USER'"]);
    ssh.answer("password: ", &password_of("bob"));
    ssh.answer("Password: ", &password_of("alice"));
    ssh.answer("Verification code (recovery code): ", codes.lines().next().unwrap());
    ssh.expect("in-as-alice");
    ssh.expect_end(0);
    expect_told(vm);
}

fn nonsense_on_the_wire(vm: &mut Vm) {
    // What else a device may say, the tests of the helper tell it.
    for word in ["truncated", "nested", "garbage"] {
        vm.mode("blue", word);
        password(vm, "alice");
        vm.console().expect(TOUCH);
        vm.console().expect(ASK_AGAIN);
        vm.mode("blue", "ok");
        vm.console().send_line("key");
        expect_shell(vm);
    }
}

fn without_the_helper(vm: &mut Vm) {
    let codes = vm.ok("cat codes");
    vm.ok("rm /usr/libexec/twofa/twofa-helper");
    password(vm, "alice");
    vm.console().expect("Security keys cannot be used at the moment.");
    vm.console().answer(ASK_AGAIN, codes.lines().next().unwrap());
    expect_shell(vm);
}

fn a_key_that_was_forgotten(vm: &mut Vm) {
    vm.unplug("blue");
    vm.plug("red", "");
    enroll(vm, "alice", "red");
    vm.plug("blue", "");
    vm.unplug("red");
    log_in(vm);
    vm.ok("twofa-admin user forget alice blue --yes || twofa-admin user forget alice blue");
    password(vm, "alice");
    vm.console().expect("No security key of yours is plugged in.");
    vm.console().expect(ASK_AGAIN);
}

/// Nothing is changed by them.
fn enrolments_that_are_refused(vm: &mut Vm) {
    refuse_enrolment(vm, "alice", "this key is enrolled already");
    vm.mode("blue", "deny");
    refuse_enrolment(vm, "bob", "the key refused");
    for word in ["no-up", "wrong-rpid", "other-key", "truncated"] {
        vm.mode("blue", word);
        refuse_enrolment(vm, "bob", "the key cannot be enrolled");
    }
    vm.plug("red", "");
    refuse_enrolment(vm, "bob", "several security keys are plugged in");
    vm.unplug("red");
    vm.unplug("blue");
    refuse_enrolment(vm, "bob", "no security key is plugged in");
    assert_eq!(vm.ok("twofa-admin user show alice | grep -c blue").trim(), "1");
    assert_ne!(vm.run("twofa-admin user show bob").0, 0);
}

fn refuse_enrolment(vm: &mut Vm, user: &str, why: &str) {
    let (code, said) = vm.run(&format!("echo saved | twofa-admin enroll key {user}"));
    assert!(code != 0 && said.contains(why), "{why}: {code} {said}");
}

/// Name and password.
fn password(vm: &mut Vm, user: &str) {
    vm.console().answer("login: ", user);
    vm.console().answer("Password: ", &password_of(user));
}

fn log_in(vm: &mut Vm) {
    password(vm, "alice");
    vm.console().expect(TOUCH);
    expect_shell(vm);
}

/// In, and out again.
fn expect_shell(vm: &mut Vm) {
    let (at, before) = vm.console().expect_any(&[PROMPT, "Verification code", "Login incorrect"]);
    assert_eq!(at, 0, "no shell, but: {before}");
    vm.console().send_line("id -un; exit");
    vm.console().expect("alice\n");
}

/// Answers every prompt wrongly.
fn give_up(vm: &mut Vm) {
    for _ in 0..5 {
        if vm.console().expect_any(&["Verification code (", "Login incorrect"]).0 == 1 {
            return;
        }
        vm.console().answer("): ", "wrong");
    }
    panic!("the prompts have no end. {}", vm.console().shown());
}

fn expect_log(vm: &mut Vm, text: &str) {
    let log = vm.ok("journalctl --no-pager -o cat | grep twofa");
    assert!(log.contains(text), "{text}\n{log}");
}
