//! The configurations that the manual recommends. Tests and demo use these, so the manual is what is tested.

/// A policy as small as it gets: an authenticator app at every way in.
pub const POLICY: &str = r#"
version = 1
mode = "enforce"
methods = ["app"]
services = ["sshd", "login", "su"]
support = "Call the help desk, extension 42."
"#;

/// Codes that are sent: a message every 30 s at most, and otherwise as many as there can be.
const CHANNELS: &str = r#"
[sms]
hook = "/etc/twofa/hooks/sms"
prefixes = ["+48"]

[email]
hook = "/etc/twofa/hooks/email"

[limits]
send_pause = "30s"
sends_per_hour = 20
sends_per_day = 20
"#;

/// [`POLICY`] with other methods, written as in the policy: `["sms", "app"]`.
pub fn policy_of(methods: &str) -> String {
    let policy = POLICY.replace(r#"methods = ["app"]"#, &format!("methods = {methods}"));
    format!("{policy}{CHANNELS}")
}

/// Password, then code. `requisite`: who does not know the password is not asked for a code. Our account line is
/// the first: no later `sufficient` one can end the stack before it.
pub const PASSWORD_AND_CODE: &str = "\
auth requisite pam_unix.so nodelay
auth required pam_twofa.so
account required pam_twofa.so
account required pam_unix.so";

/// The same, but whoever has shown a key to sshd is not asked for the password.
pub const KEY_OR_PASSWORD_AND_CODE: &str = "\
auth [success=1 default=ignore] pam_twofa.so pubkey_is_first_factor
auth requisite pam_unix.so nodelay
auth required pam_twofa.so
account required pam_twofa.so
account required pam_unix.so";

/// Key and code, and for people without a key password and code.
pub const SSHD_KEY_OR_PASSWORD: &str =
    "AuthenticationMethods publickey,keyboard-interactive keyboard-interactive\n";

/// Nobody gets in without a key.
pub const SSHD_KEY_AND_CODE: &str = "AuthenticationMethods publickey,keyboard-interactive\n";

/// What a host without a second factor often has: the key alone opens it.
pub const SSHD_KEY_ONLY: &str = "AuthenticationMethods publickey\n";

/// The prompts a user meets.
pub const PASSWORD_PROMPT: &str = "assword: ";
pub const CODE_PROMPT: &str = "Verification code (app): ";
