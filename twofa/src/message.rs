//! Every sentence a user reads at login. Times are UTC: host and user need not share a time zone.

use crate::account::Lock;
use crate::login::{Notice, Prompt};
use time::OffsetDateTime;

/// A prompt begins with `Verification code`: other tools match on it.
pub fn prompt(prompt: Prompt) -> &'static str {
    match prompt {
        Prompt::App => "Verification code (app): ",
        Prompt::RecoveryOnly => "Verification code (recovery code): ",
    }
}

/// The words for `notice`; `support` is the policy's own text for those who are refused.
pub fn notice(notice: &Notice, support: Option<&str>) -> String {
    match notice {
        Notice::WrongCode => "Wrong code.".into(),
        Notice::AlreadyUsed => "This code was already used. Take the next one.".into(),
        Notice::PasswordIsNoCode => {
            "That was the login password. A verification code is asked for here.".into()
        }
        Notice::Locked(lock) => with_support(locked(*lock), support),
        Notice::RecoveryCodesLeft(0) => {
            "That was the last recovery code. Ask your administrator for new ones.".into()
        }
        Notice::RecoveryCodesLeft(1) => "Recovery code accepted. 1 is left.".into(),
        Notice::RecoveryCodesLeft(left) => format!("Recovery code accepted. {left} are left."),
        Notice::Refused => with_support("Login refused.".into(), support),
        Notice::NoFactor => with_support(
            "Login refused: this host asks for a verification code, and this way to log in has none.".into(),
            support,
        ),
        Notice::Unavailable => {
            with_support("Login is not possible at the moment. Contact your administrator.".into(), support)
        }
    }
}

fn locked(lock: Lock) -> String {
    match lock {
        Lock::Address(until) => format!("Too many failed codes. Try again after {}.", utc(until)),
        Lock::Total => "Too many failed codes. Only a recovery code is accepted now.".into(),
    }
}

fn with_support(text: String, support: Option<&str>) -> String {
    match support {
        Some(support) => format!("{text} {support}"),
        None => text,
    }
}

/// `2026-11-21 12:30 UTC`, rounded up to the minute so that trying again then works.
pub fn utc(seconds: u64) -> String {
    match time(seconds.saturating_add(59) / 60 * 60) {
        Some(t) => format!("{} {:02}:{:02} UTC", t.date(), t.hour(), t.minute()),
        None => "the end of time".into(),
    }
}

/// `2026-11-21T12:30:05Z`, for reports and the log.
pub fn rfc3339(seconds: u64) -> String {
    match time(seconds) {
        Some(t) => format!("{}T{:02}:{:02}:{:02}Z", t.date(), t.hour(), t.minute(), t.second()),
        None => "9999-12-31T23:59:59Z".into(),
    }
}

fn time(seconds: u64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_and_never_too_early() {
        let table = [
            (0, "1970-01-01 00:00 UTC"),
            (1, "1970-01-01 00:01 UTC"),
            (1_795_298_605, "2026-11-21 22:04 UTC"),
            (4_294_967_295, "2106-02-07 06:29 UTC"),
            (u64::MAX, "the end of time"),
        ];
        for (seconds, expected) in table {
            assert_eq!(utc(seconds), expected);
        }
    }

    /// PAM_MAX_MSG_SIZE is 512; texts end without a newline.
    #[test]
    fn texts_fit_a_pam_message() {
        let locks = [Lock::Address(1), Lock::Total].map(Notice::Locked);
        let others = [
            Notice::WrongCode,
            Notice::AlreadyUsed,
            Notice::PasswordIsNoCode,
            Notice::Refused,
            Notice::NoFactor,
            Notice::Unavailable,
            Notice::RecoveryCodesLeft(0),
            Notice::RecoveryCodesLeft(9),
        ];
        let support = "x".repeat(crate::config::MAX_SUPPORT);
        for notice in locks.iter().chain(&others) {
            let text = super::notice(notice, Some(&support));
            assert!(text.len() < 512 && !text.ends_with('\n'), "{text}");
        }
        assert!(prompt(Prompt::App).starts_with("Verification code"));
        assert!(prompt(Prompt::RecoveryOnly).starts_with("Verification code"));
    }
}
