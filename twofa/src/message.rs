//! Every sentence a user reads, at login and in messages. Times are UTC: host and user need not share a time zone.

use crate::account::{Device, Enrolment, Lock};
use crate::login::{AppToScan, Delivery, Notice, Prompt};
use crate::policy::{Method, Occasion, Request, Template};
use crate::{otpauth, qr};
use std::net::IpAddr;
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// What every terminal has.
const COLUMNS: usize = 80;

/// A prompt begins with `Verification code`: other tools match on it.
pub fn prompt(prompt: &Prompt) -> String {
    let asked = match prompt {
        Prompt::App { or } => format!("app{}", or_type(*or)),
        Prompt::Sent { method, to, or } => format!("{} to {to}{}", method.spoken(), or_type(*or)),
        Prompt::Recovery { or, resend } => {
            let words = or.iter().map(|method| method.name()).chain(resend.then_some("resend"));
            let words = words.collect::<Vec<_>>().join(" or ");
            if words.is_empty() { "recovery code".into() } else { format!("recovery code, or type {words}") }
        }
        Prompt::Trust { device, duration } => {
            return format!("Trust this device ({}) for {}? [y/N]: ", self::device(device), span(*duration));
        }
        Prompt::NewApp { or } => {
            let words = ["text"].into_iter().chain(or.map(Method::name)).collect::<Vec<_>>().join(" or ");
            format!("new app; or type {words}; Enter for later")
        }
        Prompt::NewPhoneCode { to } => format!("SMS to {to}, or type resend"),
        Prompt::NewPhone { or } => {
            let or = or.map(|method| format!("type {}; ", method.name())).unwrap_or_default();
            return format!("Phone number for codes, as +48 600 000 123 ({or}Enter for later): ");
        }
        Prompt::Saved => return "Type saved when you have saved the recovery codes: ".into(),
        Prompt::Pin { or: None } => return "Security key PIN: ".into(),
        Prompt::Pin { or: Some(method) } => return format!("Security key PIN (or type {}): ", method.name()),
    };
    format!("Verification code ({asked}): ")
}

fn or_type(method: Option<Method>) -> String {
    method.map(|method| format!(", or type {}", method.name())).unwrap_or_default()
}

/// The message that takes a code to its user.
pub fn sent(template: &Template, delivery: &Delivery, request: &Request) -> Zeroizing<String> {
    let value = |word: &str| match word {
        "code" => delivery.code.expose().into(),
        "host" => request.host.clone(),
        "user" => request.user.clone(),
        "address" => request.address.map_or_else(|| "the console".into(), |address| address.to_string()),
        // Rather a little early than too late.
        "expiry" => utc(delivery.until.saturating_sub(59)),
        _ => String::new(),
    };
    Zeroizing::new(template.fill(value))
}

/// What was done to a user's account or in that user's name, and is told afterwards.
#[derive(Clone, Debug)]
pub enum Happening {
    DeviceTrusted {
        device: Device,
        until: u64,
    },
    RecoveryUsed,
    BypassUsed,
    /// In a login.
    SetUp(Box<Enrolment>),
    /// "app `phone`", or where codes are sent to, masked.
    Added(String),
    /// The label of an app or key.
    Removed(String),
    RecoveryCodesMade,
    ContactsChanged,
    Reset,
}

/// Who did it.
#[derive(Clone, Copy, Debug)]
pub enum Doer {
    /// Somebody who logs in: from where, if it is a login from elsewhere.
    Login(Option<IpAddr>),
    Administrator,
}

impl Happening {
    pub fn occasion(&self) -> Occasion {
        match self {
            Self::DeviceTrusted { .. } => Occasion::DeviceTrusted,
            Self::RecoveryUsed => Occasion::RecoveryUsed,
            Self::BypassUsed => Occasion::Bypass,
            Self::SetUp(_)
            | Self::Added(_)
            | Self::Removed(_)
            | Self::RecoveryCodesMade
            | Self::ContactsChanged => Occasion::FactorChanged,
            Self::Reset => Occasion::Reset,
        }
    }

    fn words(&self) -> String {
        match self {
            Self::DeviceTrusted { device, until } => {
                format!("a device ({}) became trusted until {}", self::device(device), day_and_minute(*until))
            }
            Self::RecoveryUsed => "a recovery code was used".into(),
            Self::BypassUsed => "the code of a bypass was used".into(),
            Self::SetUp(enrolment) => {
                let app = enrolment.app.as_ref().map(|_| "an authenticator app".to_string());
                let phone = enrolment.phone.as_ref();
                let phone = phone.map(|phone| format!("the telephone number {}", phone.number.masked()));
                let all: Vec<String> = app.into_iter().chain(phone).collect();
                format!("set up: {}", all.join(" and "))
            }
            Self::Added(what) => format!("added: {}", plain(what)),
            Self::Removed(label) => format!("removed: `{}`", plain(label)),
            Self::RecoveryCodesMade => "new recovery codes were made".into(),
            Self::ContactsChanged => "telephone number or e-mail addresses were changed".into(),
            Self::Reset => "all apps, keys and recovery codes were removed".into(),
        }
    }
}

/// The message that tells a user of it: one line.
pub fn told(
    happening: &Happening,
    doer: Doer,
    user: &str,
    host: &str,
    now: u64,
    support: Option<&str>,
) -> String {
    let doer = match doer {
        Doer::Login(Some(address)) => format!("in a login from {address}"),
        Doer::Login(None) => "in a login at the host itself".into(),
        Doer::Administrator => "by an administrator".into(),
    };
    let (user, what, when) = (plain(user), happening.words(), day_and_minute(now));
    let text =
        format!("{user} at {host}: {what}, {doer}, {when}. If this was not you, tell your administrator.");
    with_support(text, support)
}

/// Longest name in a message; a label has 32 bytes, and what is imported may have several.
const MAX_PLAIN: usize = 200;

/// Foreign text that stays within its line and looks like what it is.
pub fn plain(text: &str) -> String {
    let invisible = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().take(MAX_PLAIN).map(|c| if invisible(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// The words for `notice`; `support` is the policy's own text for those who are refused.
pub fn notice(notice: &Notice, support: Option<&str>) -> Zeroizing<String> {
    Zeroizing::new(words(notice, support))
}

fn words(notice: &Notice, support: Option<&str>) -> String {
    match notice {
        Notice::WrongCode => "Wrong code.".into(),
        Notice::AlreadyUsed => "This code was already used. Take the next one.".into(),
        Notice::PasswordIsNoCode => {
            "That was the login password. A verification code is asked for here.".into()
        }
        Notice::NothingTyped => "Type the code that was sent, or resend for another one.".into(),
        Notice::CodeVoid => "Wrong code, and its last try. Type resend for another one.".into(),
        Notice::Expired => "This code has expired. Type resend for another one.".into(),
        Notice::Superseded => {
            "Another login asked for a newer code; this one is void. Type resend for another one.".into()
        }
        Notice::NotSent(method) => {
            with_support(format!("No code could be sent by {}.", method.spoken()), support)
        }
        Notice::TooSoon { seconds, elsewhere, word } => {
            let elsewhere = if *elsewhere {
                "The last code was sent for another login and is not good here. "
            } else {
                ""
            };
            let plural = if *seconds == 1 { "" } else { "s" };
            format!("{elsewhere}Another code can be sent in {seconds} second{plural}: type {word} then.")
        }
        Notice::NotOffered => "That cannot be chosen here.".into(),
        Notice::Capped => with_support(
            "Too many codes were sent, so no more are sent for now. Try again later.".into(),
            support,
        ),
        Notice::TouchKey => "Touch your security key.".into(),
        Notice::KeyNeeded => "Log in with your security key, or a recovery code.".into(),
        Notice::NoKey => "No security key is plugged in.".into(),
        Notice::KeyNotEnrolled => "No security key of yours is plugged in.".into(),
        Notice::NotTouched => "The security key was not touched.".into(),
        Notice::WrongPin(None) => "Wrong PIN.".into(),
        Notice::WrongPin(Some(1)) => "Wrong PIN. The key takes 1 more before it blocks itself.".into(),
        Notice::WrongPin(Some(left)) => {
            format!("Wrong PIN. The key takes {left} more before it blocks itself.")
        }
        Notice::PinPaused => {
            "Too many wrong PINs in a row. Unplug the security key, and plug it in again.".into()
        }
        Notice::SeveralKeys => "More than one security key asks for a PIN. Leave only one plugged in.".into(),
        Notice::KeyGone => "The security key was unplugged.".into(),
        Notice::PinBlocked => "The PIN of the security key is blocked.".into(),
        Notice::KeyRefused => "The security key proved nothing.".into(),
        Notice::KeyUnusable => with_support("Security keys cannot be used at the moment.".into(), support),
        Notice::KeySuspended => with_support("This security key counts no longer.".into(), support),
        Notice::Locked(lock) => with_support(locked(*lock), support),
        Notice::NotYet { from, grace } => {
            let mut text = format!("{} You have none yet: have one set up.", asks_from(*from));
            text.extend(still(*grace).map(|still| format!(" {still}")));
            with_support(text, support)
        }
        Notice::Grace { until } => with_support(
            format!(
                "This host asks for a second factor. Have one set up: you get in without only until {}.",
                day_and_minute(*until)
            ),
            support,
        ),
        Notice::SetUp { why, app: None } => format!("\n{}\n", why_now(why)),
        Notice::SetUp { why, app: Some(app) } => format!("\n{}\n{}", why_now(why), app_to_scan(app)),
        Notice::App(app) => app_to_scan(app),
        Notice::RecoveryCodes(codes) => {
            let codes: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
            format!(
                "\nRecovery codes: each opens one login when no other factor is at hand.\n\
                 Keep them in a safe place. They are shown only now.\n\n    {}\n",
                codes.join("\n    ")
            )
        }
        Notice::NewCodeWrong => {
            "That is not the code of now. Check the clock of your phone, and try again.".into()
        }
        Notice::NotSaved => "Nothing counts until you type: saved".into(),
        Notice::BadNumber(why) => format!("That number {why}."),
        Notice::NotSetUp => "Nothing was set up. You can try again at the next login.".into(),
        Notice::Enrolled(enrolment) => match (&enrolment.app, &enrolment.phone) {
            (Some(_), Some(_)) => {
                "The app and the telephone number are set up, and count from now on.".into()
            }
            (Some(_), None) => "The app is set up. From now on you are asked for its code.".into(),
            _ => "The number is set up. From now on you are asked for a code that is sent to it.".into(),
        },
        Notice::NotKept => with_support(
            "What you set up could not be stored, and does not count. Try again at the next login.".into(),
            support,
        ),
        Notice::BypassSpent => "The bypass is used: it opened this one login.".into(),
        Notice::Trusted { device, until } => {
            format!("This device ({}) is trusted until {}.", self::device(device), day_and_minute(*until))
        }
        Notice::RecoveryCodesLeft(0) => {
            "That was the last recovery code. Ask your administrator for new ones.".into()
        }
        Notice::RecoveryCodesLeft(1) => "Recovery code accepted. 1 is left.".into(),
        Notice::RecoveryCodesLeft(left) => format!("Recovery code accepted. {left} are left."),
        Notice::Refused => with_support("Login refused.".into(), support),
        Notice::NoFactor => with_support(
            "Login refused: this host asks for a second factor, and this way to log in has none.".into(),
            support,
        ),
        Notice::Unavailable => {
            with_support("Login is not possible at the moment. Contact your administrator.".into(), support)
        }
    }
}

/// In lines of its own, above what is to be set up: nobody has to be called for that.
fn why_now(why: &Notice) -> String {
    let now = "Set one up now, or press Enter to do it another time.";
    match why {
        Notice::NotYet { from, grace } => {
            let lines = [Some(asks_from(*from)), still(*grace), Some(now.into())];
            lines.into_iter().flatten().collect::<Vec<_>>().join("\n")
        }
        Notice::Grace { until } => format!(
            "This host asks for a second factor. You get in without one until {} only.\n{now}",
            day_and_minute(*until)
        ),
        other => words(other, None),
    }
}

fn asks_from(from: u64) -> String {
    format!("From {} on, this host asks for a second factor.", utc(from))
}

/// What begins with the first login behind that date.
fn still(grace: u64) -> Option<String> {
    let begins = grace > 0;
    begins.then(|| {
        format!("Without one you still get in for {} from your first login after that.", span(grace))
    })
}

/// Begins with a new line, as sshd's clients put something before the first one; wide enough for 80 columns. A QR code
/// that is wider is of no use.
fn app_to_scan(app: &AppToScan) -> String {
    let AppToScan { issuer, user, secret, shape, qr } = app;
    let qr = qr.then(|| qr::render(&otpauth::uri(issuer, user, secret, *shape), false)).flatten();
    let qr = qr.filter(|qr| qr.lines().all(|line| line.chars().count() <= COLUMNS));
    let scan = match &qr {
        Some(qr) => format!("\nScan this with an authenticator app:\n\n{}\nOr type it in:  ", qr.as_str()),
        None => "\nType this into an authenticator app:\n\n    ".into(),
    };
    format!(
        "{scan}{}\n    {issuer}, {user}; time based, {} digits, every {} seconds, {}\n",
        otpauth::groups(secret).as_str(),
        shape.digits,
        shape.step,
        shape.algorithm.name()
    )
}

/// `192.0.2.7, key SHA256:x0bVdOAl...`: enough to know one's own key again.
fn device(device: &Device) -> String {
    match device.describe() {
        (network, Some(key)) => format!("{network}, key {}...", key.chars().take(15).collect::<String>()),
        (network, None) => network,
    }
}

/// A length of time that a policy has: days.
pub fn span(seconds: u64) -> String {
    match seconds / 86_400 {
        1 => "1 day".into(),
        7 => "1 week".into(),
        days => format!("{days} days"),
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

/// The same rounded down: what ends then has not ended before.
fn day_and_minute(seconds: u64) -> String {
    utc(seconds / 60 * 60)
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
    use crate::account::{Enrolment, NewApp, NewPhone};
    use crate::code::{Algorithm, RecoverySet, Secret, Seed, Shape};
    use crate::contact::Number;
    use crate::policy::Recipient;

    #[test]
    fn what_happened_is_told_in_one_line() {
        let by_key = Device::new([198, 51, 100, 7].into(), Some([7; 32]), &[]).unwrap();
        let set_up = |app, phone| match enrolled(app, phone) {
            Notice::Enrolled(enrolment) => Happening::SetUp(enrolment),
            _ => unreachable!(),
        };
        let fingerprint = by_key.describe().1.unwrap();
        let device = format!(
            "a device (198.51.100.7, key {}...) became trusted until 2026-11-21 22:03 UTC",
            &fingerprint[..15]
        );
        use Occasion::{Bypass, DeviceTrusted, FactorChanged, RecoveryUsed, Reset};
        let table = [
            (Happening::DeviceTrusted { device: by_key, until: NOW + 59 }, DeviceTrusted, device.as_str()),
            (Happening::RecoveryUsed, RecoveryUsed, "a recovery code was used"),
            (Happening::BypassUsed, Bypass, "the code of a bypass was used"),
            (set_up(true, false), FactorChanged, "set up: an authenticator app"),
            (set_up(false, true), FactorChanged, "set up: the telephone number +48 *** *** 123"),
            (
                set_up(true, true),
                FactorChanged,
                "set up: an authenticator app and the telephone number +48 *** *** 123",
            ),
            (Happening::Added("app `phone`".into()), FactorChanged, "added: app `phone`"),
            (Happening::Removed("phone".into()), FactorChanged, "removed: `phone`"),
            (Happening::RecoveryCodesMade, FactorChanged, "new recovery codes were made"),
            (Happening::ContactsChanged, FactorChanged, "telephone number or e-mail addresses were changed"),
            (Happening::Reset, Reset, "all apps, keys and recovery codes were removed"),
        ];
        let doers = [
            (Doer::Login(Some([192, 0, 2, 9].into())), "in a login from 192.0.2.9"),
            (Doer::Login(None), "in a login at the host itself"),
            (Doer::Administrator, "by an administrator"),
        ];
        for (happening, occasion, what) in table {
            assert_eq!(happening.occasion(), occasion, "{what}");
            for (doer, by) in doers {
                let text = told(&happening, doer, "alice", "web1", NOW, Some("Call 42."));
                let expected = format!(
                    "alice at web1: {what}, {by}, 2026-11-21 22:03 UTC. If this was not you, tell your administrator."
                );
                assert_eq!(text, format!("{expected} Call 42."));
                assert_eq!(told(&happening, doer, "alice", "web1", NOW, None), expected);
                assert!(!text.contains(BASE32) && !text.contains("600000123"), "{text}");
            }
        }
    }

    #[test]
    fn no_name_adds_a_line_to_what_is_told() {
        for name in ["a\nBcc: x@y", "a\r\n.\r\n", "a\0b", "a\u{2028}b", "\u{202e}a", "a\x1b[2J", "a\u{85}b"] {
            let label = name.to_string();
            for happening in [Happening::Added(label.clone()), Happening::Removed(label)] {
                let text = told(&happening, Doer::Administrator, name, "web1", NOW, None);
                assert!(!text.chars().any(char::is_control), "{text:?}");
                assert!(!text.contains(['\u{2028}', '\u{202e}']), "{text:?}");
            }
        }
        let long = "x".repeat(10_000);
        let text = told(&Happening::Removed(long.clone()), Doer::Administrator, &long, "web1", NOW, None);
        assert!(text.len() < 700, "{}", text.len());
    }

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

    const NOW: u64 = 1_795_298_580;
    const SHAPE: Shape = Shape { algorithm: Algorithm::Sha1, digits: 6, step: 30 };
    /// RFC 6238's own, as base32 has it.
    const SECRET: &[u8; 20] = b"12345678901234567890";
    const BASE32: &str = "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ";

    fn enrolled(app: bool, phone: bool) -> Notice {
        let app = app.then(|| NewApp {
            secret: Secret::new(*SECRET),
            shape: SHAPE,
            step: 7,
            recovery: RecoverySet::new(Secret::new([7; 32]), &[]),
        });
        let number = Number::parse("+48600000123", None).unwrap();
        let phone = phone.then_some(NewPhone { number, tag: [7; 32] });
        Notice::Enrolled(Box::new(Enrolment { app, phone }))
    }

    fn to_scan(issuer: &str, user: &str, qr: bool) -> AppToScan {
        AppToScan { issuer: issuer.into(), user: user.into(), secret: Secret::new(*SECRET), shape: SHAPE, qr }
    }

    /// The lines of a screen that are drawn, and those that say the secret.
    fn parts(screen: &str) -> (Vec<&str>, Vec<&str>) {
        let drawn = screen.lines().filter(|line| line.contains(['█', '▀', '▄'])).collect();
        (drawn, screen.lines().filter(|line| line.contains(BASE32)).collect())
    }

    /// Every terminal shows it whole: after whatever a client puts before its first line, and in 80 columns.
    #[test]
    fn an_app_can_be_scanned_or_typed_in() {
        let (host, user) = ("h".repeat(64), "u".repeat(32));
        let table = [("web1", "alice"), ("ACME: Corp & Co", "al/ice"), (&host, &user)];
        for (issuer, user) in table {
            let app = to_scan(issuer, user, true);
            let screen = super::notice(&Notice::App(app.clone()), Some("never here")).to_string();
            assert!(screen.starts_with('\n'), "{screen}");
            let (drawn, secret) = parts(&screen);
            assert!(!drawn.is_empty() && secret.len() == 1, "{screen}");
            for line in drawn.iter().chain(&secret) {
                assert!(line.chars().count() <= 80, "{line}");
            }
            let uri = otpauth::uri(issuer, user, &app.secret, SHAPE);
            assert_eq!(qr::tests::scan(&drawn.join("\n"), false), uri.as_str());
            assert!(uri.contains(&format!("?secret={}&", BASE32.replace(' ', ""))), "{}", uri.as_str());
            // The same after the lines that say why.
            let days = Notice::NotYet { from: NOW, grace: 90 * 86_400 };
            let why = [Notice::Grace { until: NOW }, Notice::NotYet { from: NOW, grace: 0 }, days];
            for why in why.map(Box::new) {
                let set_up = Notice::SetUp { why, app: Some(app.clone()) };
                let whole = super::notice(&set_up, Some("never here")).to_string();
                let said = whole.strip_suffix(&screen).expect("the same screen");
                assert!(said.starts_with("\n") && said.ends_with("Enter to do it another time.\n"), "{said}");
                assert!(said.contains("2026-11-21 22:03 UTC") && !said.contains("never here"), "{said}");
                let still = said.lines().find(|line| line.starts_with("Without one")).unwrap_or_default();
                assert!(still.len() <= COLUMNS, "{said}");
            }
        }
    }

    /// Without one, because it is not wanted or as it would be wider than the terminal.
    #[test]
    fn an_app_can_be_typed_in_without_a_qr_code() {
        let long = "é".repeat(100);
        for (user, qr) in [("alice", false), (&long, true), (&long, false)] {
            let screen = super::notice(&Notice::App(to_scan("web1", user, qr)), None).to_string();
            let (drawn, secret) = parts(&screen);
            assert_eq!((drawn, secret.len()), (vec![], 1), "{screen}");
            assert!(secret[0].chars().count() <= 80 && screen.starts_with('\n'), "{screen}");
            assert!(screen.contains(user), "{screen}");
        }
    }

    #[test]
    fn recovery_codes_are_shown_each_on_its_line() {
        let (codes, _) = Seed::new([7; 32]).recovery_codes();
        let screen = super::notice(&Notice::RecoveryCodes(codes.clone()), None).to_string();
        assert!(screen.starts_with('\n') && screen.lines().all(|line| line.len() <= 80), "{screen}");
        let shown: Vec<&str> = screen.lines().filter_map(|line| line.strip_prefix("    ")).collect();
        assert_eq!(shown, codes.iter().map(|code| code.as_str()).collect::<Vec<_>>());
    }

    /// Grace ends when it says, not before; enforcement begins when it says, not later.
    #[test]
    fn dates_of_a_roll_out_are_promises() {
        let told = |notice| super::notice(&notice, None).to_string();
        for until in [NOW, NOW + 1, NOW + 59] {
            assert!(told(Notice::Grace { until }).ends_with("only until 2026-11-21 22:03 UTC."), "{until}");
        }
        let not_yet = "From 2026-11-21 22:03 UTC on, this host asks for a second factor. You have none yet: have one set up.";
        assert_eq!(told(Notice::NotYet { from: NOW, grace: 0 }), not_yet);
        assert_eq!(
            told(Notice::NotYet { from: NOW, grace: 14 * 86_400 }),
            format!("{not_yet} Without one you still get in for 14 days from your first login after that.")
        );
    }

    /// PAM_MAX_MSG_SIZE is 512; texts end without a newline.
    #[test]
    fn texts_fit_a_pam_message() {
        let locks = [Lock::Address(1), Lock::Total].map(Notice::Locked);
        let others = [
            Notice::WrongCode,
            Notice::AlreadyUsed,
            Notice::PasswordIsNoCode,
            Notice::NothingTyped,
            Notice::CodeVoid,
            Notice::Expired,
            Notice::Superseded,
            Notice::NotSent(Method::Email),
            Notice::TooSoon { seconds: 1, elsewhere: false, word: "sms" },
            Notice::TooSoon { seconds: u64::MAX, elsewhere: true, word: "resend" },
            Notice::NotOffered,
            Notice::Capped,
            Notice::TouchKey,
            Notice::KeyNeeded,
            Notice::NoKey,
            Notice::KeyNotEnrolled,
            Notice::NotTouched,
            Notice::WrongPin(None),
            Notice::WrongPin(Some(1)),
            Notice::WrongPin(Some(8)),
            Notice::PinPaused,
            Notice::PinBlocked,
            Notice::SeveralKeys,
            Notice::KeyGone,
            Notice::KeyRefused,
            Notice::KeyUnusable,
            Notice::KeySuspended,
            Notice::Refused,
            Notice::NoFactor,
            Notice::Unavailable,
            Notice::RecoveryCodesLeft(0),
            Notice::RecoveryCodesLeft(9),
            Notice::NotYet { from: u64::MAX, grace: u64::MAX },
            Notice::Grace { until: u64::MAX },
            Notice::NewCodeWrong,
            Notice::NotSaved,
            Notice::BadNumber("is not of a country or network that codes are sent to"),
            Notice::NotSetUp,
            Notice::NotKept,
            Notice::BypassSpent,
        ];
        let kept = [(true, false), (false, true), (true, true)].map(|(app, phone)| enrolled(app, phone));
        let support = "x".repeat(crate::config::MAX_SUPPORT);
        for notice in locks.iter().chain(&others).chain(&kept) {
            let text = super::notice(notice, Some(&support)).to_string();
            assert!(text.len() < 512 && !text.ends_with('\n'), "{text}");
        }
    }

    #[test]
    fn prompts_say_what_is_asked_for() {
        let sent = |method, or| Prompt::Sent { method, to: "TO".into(), or };
        let table = [
            (Prompt::App { or: None }, "Verification code (app): "),
            (Prompt::App { or: Some(Method::Sms) }, "Verification code (app, or type sms): "),
            (Prompt::App { or: Some(Method::Email) }, "Verification code (app, or type email): "),
            (sent(Method::Sms, None), "Verification code (SMS to TO): "),
            (sent(Method::Sms, Some(Method::App)), "Verification code (SMS to TO, or type app): "),
            (sent(Method::Email, None), "Verification code (e-mail to TO): "),
            (Prompt::Recovery { or: vec![], resend: false }, "Verification code (recovery code): "),
            (
                Prompt::Recovery { or: vec![], resend: true },
                "Verification code (recovery code, or type resend): ",
            ),
            (
                Prompt::Recovery { or: vec![Method::Sms, Method::Key], resend: false },
                "Verification code (recovery code, or type sms or key): ",
            ),
            (Prompt::NewApp { or: None }, "Verification code (new app; or type text; Enter for later): "),
            (
                Prompt::NewApp { or: Some(Method::Sms) },
                "Verification code (new app; or type text or sms; Enter for later): ",
            ),
            (Prompt::NewPhone { or: None }, "Phone number for codes, as +48 600 000 123 (Enter for later): "),
            (
                Prompt::NewPhone { or: Some(Method::App) },
                "Phone number for codes, as +48 600 000 123 (type app; Enter for later): ",
            ),
            (Prompt::NewPhoneCode { to: "TO".into() }, "Verification code (SMS to TO, or type resend): "),
            (Prompt::Saved, "Type saved when you have saved the recovery codes: "),
            (Prompt::Pin { or: None }, "Security key PIN: "),
            (Prompt::Pin { or: Some(Method::Sms) }, "Security key PIN (or type sms): "),
        ];
        for (prompt, expected) in table {
            assert_eq!(super::prompt(&prompt), expected);
        }
        let longest = sent(Method::Email, Some(Method::App));
        let Prompt::Sent { method, or, .. } = longest else { panic!("it is") };
        let to = format!("a***@{} and 4 more", "d".repeat(253));
        assert!(super::prompt(&Prompt::Sent { method, to, or }).len() < 512);
    }

    #[test]
    fn trust_is_offered_and_told_with_its_device_and_end() {
        let device = |address: &str, key| Device::new(address.parse().unwrap(), key, &[]).unwrap();
        let (plain, with_key) = (device("192.0.2.7", None), device("2001:db8:1:2::9", Some([1; 32])));
        let offered = |device, duration| super::prompt(&Prompt::Trust { device, duration });
        assert_eq!(offered(plain.clone(), 86_400), "Trust this device (192.0.2.7) for 1 day? [y/N]: ");
        assert_eq!(offered(plain.clone(), 604_800), "Trust this device (192.0.2.7) for 1 week? [y/N]: ");
        assert_eq!(
            offered(with_key.clone(), 2_592_000),
            "Trust this device (2001:db8:1:2::/64, key SHA256:AQEBAQEB...) for 30 days? [y/N]: "
        );
        // Rounded down: at 22:03 it is over.
        let told =
            |device, until| super::notice(&Notice::Trusted { device, until }, Some("never here")).to_string();
        let expected = "This device (192.0.2.7) is trusted until 2026-11-21 22:03 UTC.";
        for until in [1_795_298_580, 1_795_298_581, 1_795_298_639] {
            assert_eq!(told(plain.clone(), until), expected, "{until}");
        }
        let longest = device("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", Some([255; 32]));
        assert!(offered(longest.clone(), 2_592_000).len() < 512 && told(longest, u64::MAX).len() < 512);
    }

    #[test]
    fn a_message_names_host_user_address_and_expiry() {
        let request = Request {
            service: "sshd".into(),
            user: "alice".into(),
            known: None,
            address: Some("192.0.2.7".parse().unwrap()),
            first_factor: true,
            local: false,
            ssh_keys: vec![],
            claim: None,
            processes: vec![],
            session: None,
            host: "web1".into(),
        };
        let seed = Seed::new([7; 32]);
        let delivery = Delivery {
            method: Method::Sms,
            to: Recipient::Phone(Number::parse("+48600000123", None).unwrap()),
            code: seed.sent_code(0),
            enrolls: false,
            until: 1_795_298_605,
            id: seed.message_id(0),
        };
        let text = sent(&Template::default(), &delivery, &request);
        assert_eq!(
            text.strip_prefix(delivery.code.expose()).unwrap(),
            " is your code for alice at web1, asked for from 192.0.2.7. Valid until 2026-11-21 22:03 UTC."
        );
        let console = Request { address: None, ..request };
        assert!(sent(&Template::default(), &delivery, &console).contains("asked for from the console"));
    }
}
