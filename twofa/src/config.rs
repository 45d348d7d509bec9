//! The policy file: strict TOML in, a `Config` of valid values out. A typo is an error with file, line and
//! key; the last valid copy then stays in force, so that an editor's slip neither opens nor locks the host.

use crate::account::{Limits, MAX_HOST_SENDS, MAX_SENDS, SendLimits};
use crate::code::{Algorithm, Shape};
use crate::contact::{Address, Prefix};
use crate::policy::{
    AppRules, Channel, EmailRules, Exemption, KeyRules, Method, Mode, NotifyRules, Occasion, Policy,
    RolloutRules, SmsRules, Template, TrustRules, Who,
};
use crate::trusted::{self, Readers};
use ipnet::IpNet;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use std::fmt;
use std::path::{Path, PathBuf};
use time::{Date, Month, Time};
use toml::Spanned;
use toml::value::Datetime;

pub const DEFAULT_PATH: &str = "/etc/twofa/twofa.toml";
const DEFAULT_DATABASE: &str = "/var/lib/twofa/twofa.db";
const DEFAULT_KEY: &str = "/etc/twofa/store.key";
const DEFAULT_HELPER: &str = "/usr/libexec/twofa/twofa-helper";
const DEFAULT_HOOK_USER: &str = "_twofa";

/// A policy is a page or two; 64 KiB is an accident.
const MAX_FILE: u64 = 64 * 1024;
/// The support text has to fit a PAM message (512 bytes) with a sentence before it.
pub const MAX_SUPPORT: usize = 300;

/// The policy, and where the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub policy: Policy,
    /// For how many days the audit trail is kept.
    pub audit: u64,
    pub store: Paths,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    pub database: PathBuf,
    pub key: PathBuf,
}

/// Why there is no policy.
#[derive(Debug)]
pub enum Error {
    File(trusted::Error),
    /// Where (`file:line`), the line's own text, and what is wrong with it.
    Invalid {
        place: String,
        text: String,
        fault: String,
    },
}

impl Error {
    /// What an administrator can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::File(error) => error.hint(),
            Self::Invalid { .. } => "Correct it, then run `twofa-admin policy check`.".into(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::Invalid { place, text, fault } if text.is_empty() => {
                write!(f, "{place}: {fault}")
            }
            Self::Invalid { place, text, fault } => write!(f, "{place}: `{text}`: {fault}"),
        }
    }
}

impl std::error::Error for Error {}

/// A policy that is in force, and what is wrong with the file when it is only the last valid copy.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    pub fault: Option<Error>,
}

/// Loads the policy for a login.
///
/// # Errors
///
/// When neither the file nor its last valid copy can be used: the fault of the file.
pub fn load(path: &Path) -> Result<Loaded, Error> {
    let fault = match read(path) {
        Ok((config, _)) => {
            return Ok(Loaded { config, fault: None });
        }
        Err(fault) => fault,
    };
    match read(&last_valid(path)) {
        Ok((mut config, _)) => {
            let broken = trusted::read(path, Readers::All, MAX_FILE).unwrap_or_default();
            distrust(&mut config.policy, &String::from_utf8_lossy(&broken));
            Ok(Loaded { config, fault: Some(fault) })
        }
        Err(_) => Err(fault),
    }
}

/// The copy may be older than an administrator's last edit. What it asks of users holds; what it lets them off
/// (a mode that does not enforce, an exemption) holds only if the broken file still says so. No device is trusted.
fn distrust(policy: &mut Policy, broken: &str) {
    let plain = |line: &str| line.split('#').next().unwrap_or_default().replace([' ', '\t'], "");
    let lines: Vec<String> = broken.lines().map(plain).collect();
    let says = |key: &str, value: &str| lines.contains(&format!("{key}=\"{value}\""));
    if !says("mode", policy.mode.name()) {
        policy.mode = Mode::Enforce;
    }
    policy.trust.duration = None;
    policy.trust.session_services.clear();
    policy.rollout = RolloutRules::default();
    policy.exemptions.retain(|exemption| match &exemption.who {
        Who::User(name) => says("user", name),
        Who::Group(name) => says("group", name),
    });
}

/// Reads and checks one file; its text comes with it, for the copy.
///
/// # Errors
///
/// When it cannot be read or trusted, or is not a valid policy.
pub fn read(path: &Path) -> Result<(Config, String), Error> {
    let (content, written) = trusted::read_dated(path, Readers::All, MAX_FILE).map_err(Error::File)?;
    let text = String::from_utf8(content).map_err(|_| Error::Invalid {
        place: path.display().to_string(),
        text: String::new(),
        fault: "is not UTF-8 text".into(),
    })?;
    let mut config = parse(path, &text)?;
    config.policy.written = written;
    Ok((config, text))
}

/// The copy beside the file. It cannot be beside the store: only a valid policy says where that is.
pub fn last_valid(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".last-valid");
    path.with_file_name(name)
}

/// Reads the policy for an administrator, and keeps a copy of it if it is valid.
///
/// # Errors
///
/// As [`read`]; a copy that cannot be written is no error.
pub fn read_and_keep(path: &Path) -> Result<Config, Error> {
    let (config, text) = read(path)?;
    let copy = last_valid(path);
    if trusted::read(&copy, Readers::All, MAX_FILE).ok().as_deref() != Some(text.as_bytes()) {
        let _ = trusted::replace(&copy, text.as_bytes(), 0o644);
    }
    Ok(config)
}

/// Checks the text of a policy; `path` is for the messages.
///
/// # Errors
///
/// `Invalid` with the place of the first fault.
pub fn parse(path: &Path, text: &str) -> Result<Config, Error> {
    let invalid = |at: usize, fault: &str| {
        let before = text.get(..at.min(text.len())).unwrap_or_default();
        let line = before.matches('\n').count();
        Error::Invalid {
            place: format!("{}:{}", path.display(), line + 1),
            text: text.lines().nth(line).unwrap_or_default().trim().chars().take(80).collect(),
            fault: fault.trim().replace('\n', " "),
        }
    };
    let file: File = toml::from_str(text)
        .map_err(|error| invalid(error.span().map_or(0, |span| span.start), error.message()))?;
    if let Some(fault) = file.missing_table() {
        return Err(invalid(file.methods.span().start, fault));
    }
    let events = &file.notify.events;
    if !events.get_ref().is_empty() && file.email.is_none() {
        return Err(invalid(events.span().start, "notices need a table [email] with `hook`"));
    }
    if let Some(service) = file.odd_session_service() {
        let fault =
            format!("`{service}` is no service of `services` that is used inside a session, such as sudo");
        return Err(invalid(file.trust.session_services.span().start, &fault));
    }
    Ok(file.into_config())
}

/// The file as it is written. Every field's type checks its own range, so that a fault has a line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[allow(dead_code)] // reading it is what checks it
    version: Number<u8, 1, 1>,
    #[serde(default)]
    mode: ModeName,
    methods: Spanned<Methods>,
    services: Services,
    support: Option<Support>,
    #[serde(default = "default_helper")]
    helper: FilePath,
    #[serde(default)]
    app: AppTable,
    sms: Option<SmsTable>,
    email: Option<EmailTable>,
    #[serde(default)]
    key: KeyTable,
    #[serde(default)]
    trust: TrustTable,
    #[serde(default)]
    rollout: RolloutTable,
    #[serde(default)]
    notify: NotifyTable,
    #[serde(default)]
    limits: LimitsTable,
    #[serde(default)]
    store: StoreTable,
    #[serde(default)]
    audit: AuditTable,
    #[serde(default)]
    exempt: Vec<ExemptTable>,
}

impl File {
    /// A method that is sent needs somebody who sends it.
    fn missing_table(&self) -> Option<&'static str> {
        let methods = &self.methods.get_ref().0;
        if methods.contains(&Method::Sms) && self.sms.is_none() {
            return Some("sms needs a table [sms] with `hook` and `prefixes`");
        }
        if methods.contains(&Method::Email) && self.email.is_none() {
            return Some("email needs a table [email] with `hook`");
        }
        None
    }

    /// What lets people in has no session around it; and what the policy does not cover asks for nothing anyway.
    fn odd_session_service(&self) -> Option<&String> {
        let listed = self.trust.session_services.get_ref().iter();
        let mut odd = listed.filter(|name| Policy::is_login(name) || !self.services.0.contains(name));
        odd.next()
    }

    fn into_config(self) -> Config {
        Config {
            policy: Policy {
                mode: match self.mode {
                    ModeName::Enforce => Mode::Enforce,
                    ModeName::Observe => Mode::Observe,
                    ModeName::Off => Mode::Off,
                },
                methods: self.methods.into_inner().0,
                services: self.services.0,
                support: self.support.map(|support| support.0),
                limits: Limits {
                    prompts: self.limits.prompts.get(),
                    failures: self.limits.failures.get(),
                    window: self.limits.window.0,
                    total: self.limits.total.get(),
                    sends: SendLimits {
                        pause: self.limits.send_pause.0,
                        login: self.limits.sends_per_login.get(),
                        hour: self.limits.sends_per_hour.get(),
                        day: self.limits.sends_per_day.get(),
                        host: self.limits.sends_per_host_hour.get(),
                    },
                },
                sms: self.sms.map(SmsTable::into_rules),
                email: self.email.map(EmailTable::into_rules),
                key: KeyRules { rp_id: self.key.rp_id.0, pin: self.key.pin },
                trust: TrustRules {
                    duration: self.trust.duration.seconds(),
                    always: matches!(self.trust.offer, OfferName::Always),
                    session_services: self.trust.session_services.into_inner(),
                },
                rollout: RolloutRules {
                    from: self.rollout.enforce_from.map_or(0, |date| date.0),
                    grace: u64::from(self.rollout.grace_days.get()) * 86_400,
                    enroll: self.rollout.enroll_at_login,
                },
                notify: NotifyRules { occasions: self.notify.events.into_inner() },
                helper: self.helper.0,
                app: AppRules {
                    shape: Shape {
                        algorithm: self.app.algorithm,
                        digits: self.app.digits.get(),
                        step: self.app.step.get(),
                    },
                    skew: self.app.skew.get(),
                    issuer: self.app.issuer.map(|label| label.0),
                },
                exemptions: self.exempt.into_iter().map(|table| table.0).collect(),
                written: 0,
            },
            audit: self.audit.keep.0 / 86_400,
            store: Paths { database: self.store.path.0, key: self.store.key.0 },
        }
    }
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ModeName {
    #[default]
    Enforce,
    Observe,
    Off,
}

/// `[app]`: what new authenticator apps get.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AppTable {
    digits: Number<u8, 6, 8>,
    step: Number<u8, 15, 60>,
    skew: Number<u8, 0, 2>,
    algorithm: Algorithm,
    issuer: Option<Label>,
}

impl Default for AppTable {
    fn default() -> Self {
        Self {
            digits: Number(6),
            step: Number(30),
            skew: Number(1),
            algorithm: Algorithm::Sha1,
            issuer: None,
        }
    }
}

/// `[sms]`: codes sent to telephones.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SmsTable {
    hook: FilePath,
    #[serde(default)]
    hook_user: UserName,
    #[serde(default = "five_minutes")]
    valid_for: Duration<60, 600>,
    #[serde(default)]
    text: Text,
    prefixes: Prefixes,
    country: Option<Prefix>,
}

/// `[email]`: codes sent by e-mail.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmailTable {
    hook: FilePath,
    #[serde(default)]
    hook_user: UserName,
    #[serde(default = "ten_minutes")]
    valid_for: Duration<60, 600>,
    #[serde(default)]
    text: Text,
    default_address: Option<Address>,
}

/// `[key]`: security keys at the console.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct KeyTable {
    rp_id: RpId,
    pin: bool,
}

/// `[rollout]`: until when users without a factor are let in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RolloutTable {
    enforce_from: Option<FirstDay>,
    grace_days: Number<u8, 0, 90>,
    enroll_at_login: bool,
}

impl Default for RolloutTable {
    fn default() -> Self {
        Self { enforce_from: None, grace_days: Number(0), enroll_at_login: true }
    }
}

/// `[notify]`: what users are told by e-mail.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NotifyTable {
    events: Spanned<Vec<Occasion>>,
}

impl Default for NotifyTable {
    fn default() -> Self {
        Self { events: Spanned::new(0..0, Vec::new()) }
    }
}

/// `[audit]`: how long the trail of events is kept.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AuditTable {
    keep: Duration<{ 30 * 86_400 }, { 3650 * 86_400 }>,
}

impl Default for AuditTable {
    fn default() -> Self {
        Self { keep: Duration(400 * 86_400) }
    }
}

/// The first second of a day, or a moment.
struct FirstDay(u64);

impl<'de> Deserialize<'de> for FirstDay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let date = Datetime::deserialize(deserializer)?;
        let first = match (date.time, date.offset) {
            // A day ends with its last second; this one begins with its first.
            (None, None) => end(&date).and_then(|end| end.checked_sub(86_400)),
            _ => end(&date),
        };
        first.map(Self).ok_or_else(|| {
            D::Error::custom("must be a date, as in 2027-01-15, or a date and time with offset")
        })
    }
}

/// `[trust]`: what needs no code each time.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TrustTable {
    duration: TrustDuration,
    offer: OfferName,
    session_services: Spanned<Vec<String>>,
}

impl Default for TrustTable {
    fn default() -> Self {
        let session_services = Spanned::new(0..0, Vec::new());
        Self { duration: TrustDuration::default(), offer: OfferName::default(), session_services }
    }
}

#[derive(Clone, Copy, Default, Deserialize)]
enum TrustDuration {
    #[default]
    #[serde(rename = "single-sign-on")]
    SingleSignOn,
    #[serde(rename = "1 day")]
    Day,
    #[serde(rename = "1 week")]
    Week,
    #[serde(rename = "30 days")]
    Month,
}

impl TrustDuration {
    fn seconds(self) -> Option<u64> {
        const DAY: u64 = 86_400;
        match self {
            Self::SingleSignOn => None,
            Self::Day => Some(DAY),
            Self::Week => Some(7 * DAY),
            Self::Month => Some(30 * DAY),
        }
    }
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OfferName {
    #[default]
    Ask,
    Always,
}

/// What credentials are made for. It looks like a host's name and is none: hosts are renamed. Those that pam_u2f made
/// are for `pam://` and the host's name of then, which may have capitals.
struct RpId(String);

/// `pam://` and the longest name of a host (`HOST_NAME_MAX`).
const MAX_RP_ID: usize = 70;

impl Default for RpId {
    fn default() -> Self {
        Self("twofa".into())
    }
}

impl<'de> Deserialize<'de> for RpId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let is_letter = |b: u8| b.is_ascii_alphanumeric() || b"-.:_/".contains(&b);
        let fine = (1..=MAX_RP_ID).contains(&name.len()) && name.bytes().all(is_letter);
        if fine {
            Ok(Self(name))
        } else {
            Err(D::Error::custom("must have 1 to 70 letters a-z, digits or -.:_/"))
        }
    }
}

impl SmsTable {
    fn into_rules(self) -> SmsRules {
        let Self { hook, hook_user, valid_for, text, prefixes, country } = self;
        SmsRules { channel: channel(hook, hook_user, valid_for, text), prefixes: prefixes.0, country }
    }
}

impl EmailTable {
    fn into_rules(self) -> EmailRules {
        let Self { hook, hook_user, valid_for, text, default_address } = self;
        EmailRules { channel: channel(hook, hook_user, valid_for, text), default_address }
    }
}

fn channel(hook: FilePath, hook_user: UserName, valid_for: Duration<60, 600>, text: Text) -> Channel {
    Channel { hook: hook.0, hook_user: hook_user.0, valid_for: valid_for.0, text: text.0 }
}

/// SP 800-63B allows ten minutes for a code sent out of band.
fn five_minutes() -> Duration<60, 600> {
    Duration(300)
}

/// Mail may take its time.
fn ten_minutes() -> Duration<60, 600> {
    Duration(600)
}

fn default_helper() -> FilePath {
    FilePath(DEFAULT_HELPER.into())
}

/// The text of a message.
#[derive(Default)]
struct Text(Template);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Template::parse(&String::deserialize(deserializer)?).map(Self).map_err(D::Error::custom)
    }
}

/// Without a list of what is allowed, a stranger chooses what a message costs.
struct Prefixes(Vec<Prefix>);

impl<'de> Deserialize<'de> for Prefixes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let prefixes = Vec::<Prefix>::deserialize(deserializer)?;
        if prefixes.is_empty() {
            return Err(D::Error::custom("must name the numbers that may be sent to, as in [\"+48\"]"));
        }
        Ok(Self(prefixes))
    }
}

/// Whom a hook runs as.
struct UserName(String);

impl Default for UserName {
    fn default() -> Self {
        Self(DEFAULT_HOOK_USER.into())
    }
}

impl<'de> Deserialize<'de> for UserName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let is_letter = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !(1..=64).contains(&name.len()) || !name.chars().all(is_letter) {
            return Err(D::Error::custom(format_args!("{name:?} is not the name of a user")));
        }
        match name.as_str() {
            "root" => Err(D::Error::custom("a hook does not run as root: make a user for it")),
            _ => Ok(Self(name)),
        }
    }
}

/// `[limits]`: NIST SP 800-63B allows 100 failures in a row at most; no limit can be switched off.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsTable {
    prompts: Number<u8, 1, 5>,
    failures: Number<u8, 1, 20>,
    window: Duration<60, 3600>,
    total: Number<u16, 5, 100>,
    send_pause: Duration<30, 3600>,
    sends_per_login: Number<u8, 1, 5>,
    sends_per_hour: Number<u8, 1, 20>,
    sends_per_day: Number<u8, 1, { MAX_SENDS as u16 }>,
    sends_per_host_hour: Number<u16, 1, MAX_HOST_SENDS>,
}

impl Default for LimitsTable {
    fn default() -> Self {
        Self {
            prompts: Number(3),
            failures: Number(5),
            window: Duration(900),
            total: Number(50),
            send_pause: Duration(60),
            sends_per_login: Number(3),
            sends_per_hour: Number(5),
            sends_per_day: Number(10),
            sends_per_host_hour: Number(100),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct StoreTable {
    path: FilePath,
    key: FilePath,
}

impl Default for StoreTable {
    fn default() -> Self {
        Self { path: FilePath(DEFAULT_DATABASE.into()), key: FilePath(DEFAULT_KEY.into()) }
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy)]
struct Number<T, const MIN: u16, const MAX: u16>(T);

impl<T, const MIN: u16, const MAX: u16> Number<T, MIN, MAX> {
    fn get(self) -> T {
        self.0
    }
}

impl<'de, T: TryFrom<i64>, const MIN: u16, const MAX: u16> Deserialize<'de> for Number<T, MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = i64::deserialize(deserializer)?;
        let in_range = (i64::from(MIN)..=i64::from(MAX)).contains(&number);
        match T::try_from(number) {
            Ok(number) if in_range => Ok(Self(number)),
            _ if MIN == MAX => Err(D::Error::custom(format_args!("must be {MIN}"))),
            _ => Err(D::Error::custom(format_args!("must be from {MIN} to {MAX}"))),
        }
    }
}

/// A length of time, `15m`, from `MIN` to `MAX` seconds.
#[derive(Clone, Copy)]
struct Duration<const MIN: u64, const MAX: u64>(u64);

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Duration<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match seconds(&text) {
            Some(seconds) if (MIN..=MAX).contains(&seconds) => Ok(Self(seconds)),
            Some(_) => Err(D::Error::custom(format_args!("must be from {MIN}s to {MAX}s"))),
            None => Err(D::Error::custom("must be a number with s, m, h or d, as in \"15m\"")),
        }
    }
}

pub fn seconds(text: &str) -> Option<u64> {
    let unit = text.chars().last()?;
    let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
    let unit = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// Which methods there are, first the primary one.
struct Methods(Vec<Method>);

impl<'de> Deserialize<'de> for Methods {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Any value, so that `methods = "sms"` is told what is right too.
        let names = match toml::Value::deserialize(deserializer)? {
            toml::Value::Array(names) => names,
            _ => Vec::new(),
        };
        let named = |name: &toml::Value| Method::named(name.as_str()?);
        if let Some(methods) = names.iter().map(named).collect::<Option<Vec<_>>>()
            && Method::are_legal(&methods)
        {
            return Ok(Self(methods));
        }
        Err(D::Error::custom(
            "must be a list, as in [\"sms\"]: one of \"sms\", \"app\", \"key\", \"email\", or \"app\" or \"key\" together with \"sms\" or \"email\"",
        ))
    }
}

struct Services(Vec<String>);

impl<'de> Deserialize<'de> for Services {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        // libpam makes service names lower case: another name would never match, and silently.
        let is_service = |name: &String| {
            let is_letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
            (1..=64).contains(&name.len()) && name.bytes().all(is_letter)
        };
        if names.is_empty() {
            return Err(D::Error::custom("must name at least one PAM service, as in [\"sshd\", \"login\"]"));
        }
        match names.iter().find(|name| !is_service(name)) {
            Some(name) => Err(D::Error::custom(format_args!("{name:?} is not the name of a PAM service"))),
            None => Ok(Self(names)),
        }
    }
}

/// A sentence for the terminal of a user who is refused.
struct Support(String);

impl<'de> Deserialize<'de> for Support {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() || text.len() > MAX_SUPPORT {
            return Err(D::Error::custom(format_args!("must have 1 to {MAX_SUPPORT} bytes")));
        }
        if text.chars().any(char::is_control) {
            return Err(D::Error::custom("must be one line without control characters"));
        }
        Ok(Self(text))
    }
}

/// The name of an issuer; a colon would end it in an `otpauth://` URI.
struct Label(String);

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() || text.len() > 64 || text.contains(':') || text.chars().any(char::is_control) {
            return Err(D::Error::custom("must have 1 to 64 bytes, and no colon or control character"));
        }
        Ok(Self(text))
    }
}

struct FilePath(PathBuf);

impl<'de> Deserialize<'de> for FilePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let path = PathBuf::deserialize(deserializer)?;
        let plain = path.is_absolute() && !path.components().any(|c| c.as_os_str() == "..");
        if plain { Ok(Self(path)) } else { Err(D::Error::custom("must be an absolute path without `..`")) }
    }
}

/// `[[exempt]]`, as it is written and as it is meant.
struct ExemptTable(Exemption);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawExemption {
    user: Option<String>,
    group: Option<String>,
    #[serde(default)]
    from: Vec<IpNet>,
    reason: String,
    until: Datetime,
}

impl<'de> Deserialize<'de> for ExemptTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawExemption::deserialize(deserializer)?;
        let who = match (raw.user, raw.group) {
            (Some(user), None) => Who::User(user),
            (None, Some(group)) => Who::Group(group),
            _ => return Err(D::Error::custom("must name either a user or a group")),
        };
        let (Who::User(name) | Who::Group(name)) = &who;
        if name.is_empty() || name.contains(['*', '/']) || name.chars().any(char::is_control) {
            return Err(D::Error::custom(format_args!("{name:?} is not the name of a user or group")));
        }
        let is_mapped =
            |network: &IpNet| matches!(network, IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some());
        if raw.from.iter().any(is_mapped) {
            return Err(D::Error::custom("write an IPv4 network as such: 192.0.2.0/24"));
        }
        if raw.reason.trim().is_empty() {
            return Err(D::Error::custom("must have a reason"));
        }
        let until = end(&raw.until).ok_or_else(|| {
            D::Error::custom("`until` must be a date, as in 2027-01-15, or a date and time with offset")
        })?;
        Ok(Self(Exemption { who, from: raw.from, reason: raw.reason, until }))
    }
}

/// When `until` is over, in seconds since 1970: a date lasts to its end in UTC, a time is exact.
fn end(until: &Datetime) -> Option<u64> {
    let date = until.date?;
    let month = Month::try_from(date.month).ok()?;
    let date = Date::from_calendar_date(date.year.into(), month, date.day).ok()?;
    let end = match (until.time, until.offset) {
        (None, None) => date.next_day()?.midnight().assume_utc().unix_timestamp(),
        (Some(time), Some(offset)) => {
            let second = time.second.unwrap_or(0).min(59);
            let local = date.with_time(Time::from_hms(time.hour, time.minute, second).ok()?);
            let minutes = match offset {
                toml::value::Offset::Z => 0,
                toml::value::Offset::Custom { minutes } => minutes,
            };
            local.assume_utc().unix_timestamp().checked_sub(i64::from(minutes) * 60)?
        }
        _ => return None,
    };
    u64::try_from(end).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pam_u2f_made_keys_for_can_be_named() {
        for name in ["twofa", "pam://Server.example", "https://login.example:8443", &"x".repeat(70)] {
            let config = parse(&format!("{MINIMAL}[key]\nrp_id = \"{name}\"\n")).unwrap();
            assert_eq!(config.policy.key.rp_id, name);
        }
        let long = format!("{MINIMAL}[key]\nrp_id = \"{}\"\n", "x".repeat(71));
        assert!(parse(&long).is_err());
    }

    /// From a copy that may be stale, only what asks for more is taken without the broken file's word.
    #[test]
    fn a_stale_copy_lets_nobody_off() {
        let copy = "version = 1\nmode = \"off\"\nmethods = [\"app\"]\nservices = [\"sshd\"]\n\
                    [[exempt]]\nuser = \"a\"\nreason = \"r\"\nuntil = 2027-01-15\n\
                    [[exempt]]\ngroup = \"b\"\nreason = \"r\"\nuntil = 2027-01-15\n";
        let table = [
            ("", Mode::Enforce, 0),
            ("mode = \"enforce\"\ntypo", Mode::Enforce, 0),
            ("mode = \"off\"\ntypo", Mode::Off, 0),
            ("  mode=\"off\" # for now\ntypo\nuser = \"a\"", Mode::Off, 1),
            ("# mode = \"off\"\ntypo\nuser = \"ab\"\ngroup = \"b\"", Mode::Enforce, 1),
        ];
        for (broken, mode, exemptions) in table {
            let mut policy = parse(copy).unwrap().policy;
            distrust(&mut policy, broken);
            assert_eq!((policy.mode, policy.exemptions.len()), (mode, exemptions), "{broken}");
        }
    }

    /// Whatever the broken file says.
    #[test]
    fn a_stale_copy_trusts_no_device() {
        for duration in ["1 day", "1 week", "30 days"] {
            let trust = format!("{MINIMAL}[trust]\nduration = \"{duration}\"\noffer = \"always\"\n");
            let mut policy = parse(&trust).unwrap().policy;
            distrust(&mut policy, &format!("{trust}typo"));
            assert_eq!(policy.trust.duration, None, "{duration}");
        }
    }

    /// Nor does it let anybody in without a factor, or without a code inside a session.
    #[test]
    fn a_stale_copy_has_no_roll_out_and_no_sessions() {
        let text = "version = 1\nmethods = [\"app\"]\nservices = [\"sshd\", \"sudo\"]\n\
                    [rollout]\nenforce_from = 2027-01-15\ngrace_days = 90\n\
                    [trust]\nsession_services = [\"sudo\"]\n";
        for broken in ["", "typo", &format!("{text}typo")] {
            let mut policy = parse(text).unwrap().policy;
            assert!(policy.bears_missing_factors() && policy.joins("sudo"));
            distrust(&mut policy, broken);
            assert!(!policy.bears_missing_factors() && !policy.joins("sudo"), "{broken}");
            assert!(!policy.rollout.enroll, "{broken}");
        }
    }

    #[test]
    fn a_roll_out_is_what_the_policy_says() {
        // 2027-01-15T00:00:00Z.
        const DAY: u64 = 1_799_971_200;
        let table = [
            ("", 0, 0, true),
            ("[rollout]", 0, 0, true),
            ("[rollout]\nenforce_from = 2027-01-15", DAY, 0, true),
            ("[rollout]\nenforce_from = 2027-01-15T00:00:00Z", DAY, 0, true),
            ("[rollout]\nenforce_from = 2027-01-15T02:00:00+02:00", DAY, 0, true),
            ("[rollout]\nenforce_from = 2027-01-14T23:59:59Z", DAY - 1, 0, true),
            ("[rollout]\ngrace_days = 0", 0, 0, true),
            ("[rollout]\ngrace_days = 1", 0, 86_400, true),
            ("[rollout]\ngrace_days = 90\nenroll_at_login = false", 0, 90 * 86_400, false),
            ("[rollout]\nenroll_at_login = true\nenforce_from = 2027-01-16", DAY + 86_400, 0, true),
        ];
        for (text, from, grace, enroll) in table {
            let policy = parse(&format!("{MINIMAL}{text}\n")).unwrap().policy;
            assert_eq!(policy.rollout, RolloutRules { from, grace, enroll }, "{text}");
            assert_eq!(policy.bears_missing_factors(), from > 0 || grace > 0, "{text}");
        }
    }

    #[test]
    fn faults_of_a_roll_out_have_a_place_and_a_remedy() {
        let date = "must be a date, as in 2027-01-15, or a date and time with offset";
        let table = [
            ("enforce_from = 2027-01-15T10:00:00", date),
            ("enforce_from = 10:00:00", date),
            ("enforce_from = \"soon\"", "invalid type"),
            ("enforce_from = \"2027-01-15\"", "invalid type"),
            ("enforce_from = 20270115", "invalid type"),
            ("enforce_from = true", "invalid type"),
            ("enforce_from = 2027-02-30", ""),
            ("grace_days = -1", "must be from 0 to 90"),
            ("grace_days = 91", "must be from 0 to 90"),
            ("grace_days = 3000000000", "must be from 0 to 90"),
            ("grace_days = \"x\"", "invalid type: string \"x\""),
            ("grace_days = \"3d\"", "invalid type: string \"3d\""),
            ("grace_days = 1.5", "invalid type: floating point"),
            ("grace_days = true", "invalid type: boolean"),
            ("enroll_at_login = \"yes\"", "invalid type: string \"yes\", expected a boolean"),
            ("enroll_at_login = 1", "invalid type: integer `1`, expected a boolean"),
            ("grace = 3", "unknown field `grace`, expected one of `enforce_from`, `grace_days`"),
        ];
        for (line, expected) in table {
            let fault = parse(&format!("{MINIMAL}[rollout]\n{line}\n")).expect_err(line);
            assert!(fault.starts_with(&format!("/p:5: `{line}`: ")), "{line}: {fault}");
            assert!(fault.contains(expected), "{line}: {fault}");
        }
    }

    const EMAIL: &str = "[email]\nhook = \"/m\"\n";

    #[test]
    fn users_are_told_of_what_the_policy_lists_and_by_default_of_nothing() {
        let of = |text: &str| parse(&format!("{MINIMAL}{text}")).map(|config| config.policy.notify.occasions);
        let all = [
            Occasion::DeviceTrusted,
            Occasion::RecoveryUsed,
            Occasion::FactorChanged,
            Occasion::Reset,
            Occasion::Bypass,
        ];
        let words = all.map(|occasion| format!("\"{}\"", occasion.name())).join(", ");
        assert_eq!(words, r#""device-trusted", "recovery-used", "factor-changed", "reset", "bypass""#);
        for none in ["", "[notify]\n", "[notify]\nevents = []\n", EMAIL] {
            assert_eq!(of(none).unwrap(), [], "{none}");
        }
        assert_eq!(of(&format!("{EMAIL}[notify]\nevents = [{words}]\n")).unwrap(), all);
        assert_eq!(of(&format!("[notify]\nevents = [\"reset\"]\n{EMAIL}")).unwrap(), [Occasion::Reset]);
    }

    #[test]
    fn faults_of_notices_have_a_place_and_a_remedy() {
        let known = "unknown variant `resets`, expected one of `device-trusted`, `recovery-used`, `factor-changed`, `reset`, `bypass`";
        let table = [
            ("events = [\"resets\"]", known),
            ("events = [\"reset\", \"resets\"]", known),
            ("events = [\"Reset\"]", "unknown variant `Reset`"),
            ("events = [\"\"]", "unknown variant ``"),
            ("events = \"reset\"", "invalid type: string \"reset\", expected a sequence"),
            ("events = [1]", ""),
            ("event = [\"reset\"]", "unknown field `event`, expected `events`"),
        ];
        for (line, expected) in table {
            let fault = parse(&format!("{MINIMAL}[notify]\n{line}\n{EMAIL}")).expect_err(line);
            assert!(fault.starts_with(&format!("/p:5: `{line}`: ")), "{line}: {fault}");
            assert!(fault.contains(expected), "{line}: {fault}");
        }
        let fault = parse(&format!("{MINIMAL}[notify]\nevents = [\"reset\"]\n")).unwrap_err();
        assert_eq!(fault, "/p:5: `events = [\"reset\"]`: notices need a table [email] with `hook`");
    }

    #[test]
    fn sessions_count_for_services_inside_them() {
        let of = |services: &str, listed: &str| {
            let head = format!("version = 1\nmethods = [\"app\"]\nservices = {services}\n");
            parse(&format!("{head}[trust]\nsession_services = {listed}\n"))
                .map(|config| config.policy.trust.session_services)
        };
        let all = "[\"sshd\", \"login\", \"remote\", \"sudo\", \"su\"]";
        for (listed, expected) in [("[]", vec![]), ("[\"sudo\"]", vec!["sudo"])] {
            assert_eq!(of(all, listed).unwrap(), expected, "{listed}");
        }
        assert_eq!(of(all, "[\"sudo\", \"su\"]").unwrap(), ["sudo", "su"]);
        let table = [
            (all, "[\"sshd\"]", "`sshd` is no service of `services` that is used inside a session"),
            (all, "[\"login\"]", "`login` is no service of `services`"),
            (all, "[\"remote\"]", "`remote` is no service of `services`"),
            (all, "[\"sudo\", \"sshd\"]", "`sshd` is no service of `services`"),
            (all, "[\"SUDO\"]", "`SUDO` is no service of `services`"),
            (all, "[\"\"]", "`` is no service of `services`"),
            (all, "[\"sudo-i\"]", "`sudo-i` is no service of `services`"),
            ("[\"sshd\"]", "[\"sudo\"]", "`sudo` is no service of `services`"),
            (all, "1", "invalid type: integer `1`, expected a sequence"),
            (all, "\"sudo\"", "invalid type: string \"sudo\", expected a sequence"),
            (all, "[1]", "invalid type: integer `1`, expected a string"),
        ];
        for (services, listed, expected) in table {
            let fault = of(services, listed).expect_err(listed);
            let place = format!("/p:5: `session_services = {listed}`: ");
            assert!(fault.starts_with(&place) && fault.contains(expected), "{listed}: {fault}");
        }
    }

    #[test]
    fn devices_are_trusted_for_so_long_as_the_policy_says() {
        let table = [
            ("", None, false),
            ("[trust]", None, false),
            ("[trust]\nduration = \"single-sign-on\"\noffer = \"ask\"", None, false),
            ("[trust]\noffer = \"always\"", None, true),
            ("[trust]\nduration = \"1 day\"", Some(86_400), false),
            ("[trust]\nduration = \"1 week\"\noffer = \"always\"", Some(604_800), true),
            ("[trust]\nduration = \"30 days\"\noffer = \"ask\"", Some(2_592_000), false),
        ];
        for (text, duration, always) in table {
            let trust = parse(&format!("{MINIMAL}{text}\n")).unwrap().policy.trust;
            assert_eq!(trust, TrustRules { duration, always, session_services: vec![] }, "{text}");
        }
    }

    const MINIMAL: &str = "version = 1\nmethods = [\"app\"]\nservices = [\"sshd\"]\n";

    fn parse(text: &str) -> Result<Config, String> {
        super::parse(Path::new("/p"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_the_recommended_ones() {
        let policy = parse(MINIMAL).unwrap().policy;
        assert_eq!(policy.mode, Mode::Enforce);
        let sends = SendLimits { pause: 60, login: 3, hour: 5, day: 10, host: 100 };
        assert_eq!(policy.limits, Limits { prompts: 3, failures: 5, window: 900, total: 50, sends });
        assert_eq!(policy.app.shape, Shape { algorithm: Algorithm::Sha1, digits: 6, step: 30 });
        assert_eq!(policy.app.skew, 1);
    }

    /// Each fault is told with its line, the line's text and what would be right.
    #[test]
    fn faults_have_a_place_and_a_remedy() {
        let table = [
            ("enforcment = true", "/p:4: `enforcment = true`: unknown field `enforcment`, expected one of"),
            ("mode = \"of\"", "/p:4: `mode = \"of\"`: unknown variant `of`, expected one of"),
            ("support = \"\"", "/p:4: `support = \"\"`: must have 1 to 300 bytes"),
            ("support = \"a\\u001bb\"", "must be one line without control characters"),
            ("support = 7", "/p:4: `support = 7`: invalid type: integer `7`, expected a string"),
            ("[app]\ndigits = 9", "/p:5: `digits = 9`: must be from 6 to 8"),
            ("[app]\ndigits = -1", "/p:5: `digits = -1`: must be from 6 to 8"),
            ("[app]\nstep = 14", "must be from 15 to 60"),
            ("[app]\nskew = 3", "must be from 0 to 2"),
            ("[app]\nalgorithm = \"MD5\"", "unknown variant `MD5`, expected one of"),
            ("[app]\nissuer = \"a:b\"", "no colon"),
            ("[limits]\nprompts = 0", "must be from 1 to 5"),
            ("[limits]\nfailures = 0", "must be from 1 to 20"),
            ("[limits]\ntotal = 101", "must be from 5 to 100"),
            ("[limits]\nwindow = \"15\"", "must be a number with s, m, h or d"),
            ("[limits]\nwindow = \"2h\"", "must be from 60s to 3600s"),
            ("[limits]\nsends_per_host_hour = 1001", "must be from 1 to 1000"),
            ("[limits]\nsends_per_day = 21", "must be from 1 to 20"),
            ("[limits]\nsend_pause = \"10s\"", "must be from 30s to 3600s"),
            ("[sms]\nhook = \"/h\"", "missing field `prefixes`"),
            ("[sms]\nprefixes = [\"+48\"]", "missing field `hook`"),
            ("[sms]\nhook = \"/h\"\nprefixes = []", "/p:6: `prefixes = []`: must name the numbers"),
            ("[sms]\nhook = \"/h\"\nprefixes = [\"48\"]", "must be + and digits"),
            ("[sms]\nhook = \"h\"\nprefixes = [\"+48\"]", "/p:5: `hook = \"h\"`: must be an absolute path"),
            ("[sms]\nhook = \"/h\"\nprefixes = [\"+48\"]\nvalid_for = \"1h\"", "must be from 60s to 600s"),
            ("[sms]\nhook = \"/h\"\nprefixes = [\"+48\"]\ntext = \"hi\"", "must have {code} in it, once"),
            ("[sms]\nhook = \"/h\"\nprefixes = [\"+48\"]\nhook_user = \"root\"", "does not run as root"),
            ("[sms]\nhook = \"/h\"\nprefixes = [\"+48\"]\ncountry = \"PL\"", "must be + and digits"),
            ("[email]\nhook = \"/h\"\ndefault_address = \"root\"", "is no e-mail address"),
            ("[email]\nhook = \"/h\"\ndefault_address = \"a@b\\nBcc: c@d\"", "is no plain e-mail address"),
            ("[key]\nrp_id = \"\"", "must have 1 to 70 letters"),
            ("[key]\nrp_id = \"Host Name\"", "must have 1 to 70 letters"),
            ("[key]\npin = \"yes\"", "expected a boolean"),
            (
                "[trust]\nduration = \"2 days\"",
                "/p:5: `duration = \"2 days\"`: unknown variant `2 days`, expected one of `single-sign-on`, `1 day`",
            ),
            ("[trust]\nduration = \"30d\"", "/p:5: `duration = \"30d\"`: unknown variant"),
            ("[trust]\nduration = \"\"", "/p:5: `duration = \"\"`: unknown variant"),
            ("[trust]\nduration = \"1 Day\"", "unknown variant `1 Day`"),
            ("[trust]\nduration = 1", "/p:5: `duration = 1`: "),
            ("[trust]\noffer = \"never\"", "/p:5: `offer = \"never\"`: unknown variant `never`, expected"),
            ("[trust]\noffer = true", "/p:5: `offer = true`: "),
            ("[trust]\ndurations = \"1 day\"", "/p:5: `durations = \"1 day\"`: unknown field `durations`"),
            ("helper = \"helper\"", "must be an absolute path"),
            ("[store]\npath = \"twofa.db\"", "must be an absolute path"),
            ("[store]\nkey = \"/etc/../home/k\"", "must be an absolute path"),
            ("version = 1", "/p:4: `version = 1`: duplicate key"),
            ("[[exempt]]\nuser = \"a\"\nreason = \"r\"", "missing field `until`"),
            ("[[exempt]]\nuser = \"a\"\nuntil = 2027-01-15", "missing field `reason`"),
            (
                "[[exempt]]\nuser = \"*\"\nreason = \"r\"\nuntil = 2027-01-15",
                "is not the name of a user or group",
            ),
            (
                "[[exempt]]\nuser = \"a\"\nfrom = [\"::ffff:192.0.2.0/120\"]\nreason = \"r\"\nuntil = 2027-01-15",
                "write an IPv4 network as such",
            ),
            ("[[exempt]]\nreason = \"r\"\nuntil = 2027-01-15", "either a user or a group"),
            (
                "[[exempt]]\nuser = \"a\"\nreason = \"r\"\nuntil = 2027-01-15T10:00:00",
                "`until` must be a date",
            ),
            (
                "[[exempt]]\nuser = \"a\"\nfrom = [\"x\"]\nreason = \"r\"\nuntil = 2027-01-15",
                "invalid IP address syntax",
            ),
        ];
        for (line, expected) in table {
            let fault = parse(&format!("{MINIMAL}{line}\n")).expect_err(line);
            assert!(fault.contains(expected), "{line}: {fault}");
        }
        for (text, expected) in [
            ("", "missing field `version`"),
            ("version = 2\nmethods = [\"app\"]\nservices = [\"sshd\"]", "/p:1: `version = 2`: must be 1"),
            ("version = 1\nservices = [\"sshd\"]", "missing field `methods`"),
            (
                "version = 1\nmethods = []\nservices = [\"sshd\"]",
                "/p:2: `methods = []`: must be a list, as in [\"sms\"]: one of \"sms\", \"app\", \"key\", \"email\", or",
            ),
            (
                "version = 1\nmethods = [\"sms\"]\nservices = [\"a\"]",
                "/p:2: `methods = [\"sms\"]`: sms needs a table [sms]",
            ),
            (
                "version = 1\nmethods = [\"app\", \"email\"]\nservices = [\"a\"]",
                "email needs a table [email]",
            ),
            ("version = 1\nmethods = [\"pigeon\"]\nservices = [\"a\"]", "must be a list, as in"),
            (
                "version = 1\nmethods = \"sms\"\nservices = [\"a\"]",
                "/p:2: `methods = \"sms\"`: must be a list, as in [\"sms\"]",
            ),
            ("version = 1\nmethods = [\"sms\", \"email\"]\nservices = [\"a\"]", "must be a list"),
            ("version = 1\nmethods = [\"app\"]\nservices = []", "must name at least one PAM service"),
            ("version = 1\nmethods = [\"app\"]\nservices = [\"a b\"]", "is not the name of a PAM service"),
            ("version = 1\nmethods = [\"app\"]\nservices = [\"SSHD\"]", "is not the name of a PAM service"),
            ("version = 1\nmethods = [\"app\", \"app\"]\nservices = [\"a\"]", "must be a list"),
        ] {
            let fault = parse(text).expect_err(text);
            assert!(fault.contains(expected), "{text}: {fault}");
        }
    }

    #[test]
    fn exemptions_end_when_they_say() {
        let until = |until: &str| {
            let text = format!("{MINIMAL}[[exempt]]\nuser = \"a\"\nreason = \"r\"\nuntil = {until}\n");
            parse(&text).map(|config| config.policy.exemptions[0].until)
        };
        // 2027-01-15T00:00:00Z is 1799971200.
        assert_eq!(until("2027-01-14"), Ok(1_799_971_200));
        assert_eq!(until("2027-01-15T00:00:00Z"), Ok(1_799_971_200));
        assert_eq!(until("2027-01-15T02:00:00+02:00"), Ok(1_799_971_200));
        assert!(until("2027-02-30").is_err());
    }

    #[test]
    fn durations() {
        let table = [
            ("90s", Some(90)),
            ("15m", Some(900)),
            ("1h", Some(3600)),
            ("2d", Some(172_800)),
            ("", None),
            ("m", None),
            ("-1m", None),
            ("1w", None),
            ("15", None),
            ("1 m", None),
            ("é", None),
        ];
        for (text, expected) in table {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }

    #[test]
    fn a_full_policy_says_how_codes_are_sent() {
        let text = "version = 1\nmethods = [\"app\", \"sms\"]\nservices = [\"sshd\"]\nhelper = \"/h\"\n\
                    [sms]\nhook = \"/etc/twofa/hooks/sms\"\nprefixes = [\"+48\", \"+49\"]\ncountry = \"+48\"\n\
                    [email]\nhook = \"/m\"\nhook_user = \"mail\"\nvalid_for = \"2m\"\ntext = \"{code}!\"\n\
                    default_address = \"root@localhost\"\n";
        let policy = parse(text).unwrap().policy;
        assert_eq!(policy.methods, [Method::App, Method::Sms]);
        let (sms, email) = (policy.sms.unwrap(), policy.email.unwrap());
        assert_eq!((sms.channel.valid_for, sms.channel.hook_user.as_str()), (300, "_twofa"));
        assert_eq!(sms.channel.text, Template::default());
        assert_eq!(sms.prefixes.len(), 2);
        assert_eq!((email.channel.valid_for, email.channel.hook_user.as_str()), (120, "mail"));
        assert_eq!(email.default_address.unwrap().as_str(), "root@localhost");
    }
}
