//! Lines for the system's log (authpriv), in the forms that fail2ban's filters and people know.
//! Whatever came from outside is escaped; a code or secret never gets here.

use crate::account::{Cap, Claim, Enrolment, Lock, NewApp};
use crate::login::{Admission, Delivery, Refusal, Verdict};
use crate::message::rfc3339;
use crate::token::Touched;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;
use syslog::{Facility, LogFormat, LoggerBackend, Severity};

/// A daemon that does not read its socket must not hold up a login.
const WRITE_TIMEOUT: Duration = Duration::from_millis(200);
/// Longest piece of foreign text in a line.
const MAX_FIELD: usize = 64;
/// Longest sentence of somebody else, such as a gateway's complaint.
const MAX_WORDS: usize = 256;

/// How bad it is; the names of syslog(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The policy or the store is broken.
    Alert,
    Critical,
    Error,
    Warning,
    Notice,
    Info,
    Debug,
}

/// One event, for the audit trail: what it is, and more about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub event: &'static str,
    pub fields: Vec<(&'static str, String)>,
}

/// Takes an event into the audit trail, or says why it is lost.
pub type Trail = Box<dyn Fn(&Entry) -> Result<(), String>>;

/// The log of one PAM call, or of an administrator's command.
pub struct Log {
    service: String,
    phase: &'static str,
    process: String,
    trail: Option<Trail>,
}

/// Who is logging in, for the lines of this module.
#[derive(Clone, Debug, Default)]
pub struct Who<'a> {
    pub user: &'a str,
    pub address: Option<IpAddr>,
    /// PAM_RHOST as the application set it, when it is no address.
    pub rhost: &'a str,
    pub tty: &'a str,
    pub ruser: &'a str,
    pub uid: u32,
    pub euid: u32,
}

impl Who<'_> {
    /// What pam_unix writes of the calling process.
    pub fn of_process() -> Self {
        let (uid, euid) = (nix::unistd::Uid::current().as_raw(), nix::unistd::Uid::effective().as_raw());
        Self { uid, euid, ..Self::default() }
    }
}

impl Log {
    /// `phase` is `auth` or `account`.
    pub fn new(service: &str, phase: &'static str) -> Self {
        let process = std::env::args_os().next().unwrap_or_default();
        let process = std::path::Path::new(&process).file_name().unwrap_or_default();
        Self {
            service: escape(service),
            phase,
            trail: None,
            // sshd calls itself `sshd: alice [pam]`.
            process: escape(process.to_string_lossy().split([':', ' ']).next().unwrap_or_default()),
        }
    }

    /// From now on events go to the audit trail too.
    pub fn keep(&mut self, trail: Trail) {
        self.trail = Some(trail);
    }

    /// An event of this user's, for the audit trail. A trail that does not take it keeps nobody out.
    pub fn record(&self, event: &'static str, who: &Who<'_>, more: Vec<(&'static str, String)>) {
        let Some(trail) = &self.trail else {
            return;
        };
        let mut fields = vec![("user", who.user.to_string()), ("service", self.service.clone())];
        fields.push(("phase", self.phase.into()));
        match (who.address, who.rhost, who.tty) {
            (Some(address), ..) => fields.push(("address", address.to_string())),
            (None, "", "") => {}
            (None, "", tty) => fields.push(("tty", tty.into())),
            (None, rhost, _) => fields.push(("rhost", rhost.into())),
        }
        fields.extend(more);
        for (_, value) in &mut fields {
            *value = value.chars().take(MAX_WORDS).collect();
        }
        if let Err(why) = trail(&Entry { event, fields }) {
            self.write(Level::Alert, &format!("audit: {event} of {} is lost: {why}", escape(who.user)));
        }
    }

    /// Writes one line. Nothing is done about a log that is not there: the verdict stands without it.
    pub fn write(&self, level: Level, line: &str) {
        let Ok(mut logger) = syslog::unix(LocalLine { process: &self.process }) else {
            return;
        };
        let _ = match &logger.backend {
            LoggerBackend::Unix(socket) => socket.set_write_timeout(Some(WRITE_TIMEOUT)),
            LoggerBackend::UnixStream(socket) => socket.get_ref().set_write_timeout(Some(WRITE_TIMEOUT)),
            _ => Ok(()),
        };
        let line = format!("pam_twofa({}:{}): {line}", self.service, self.phase);
        let _ = logger.formatter.format(&mut logger.backend, severity(level), line);
    }

    /// A gateway took a message; `answer` is what it said.
    pub fn delivered(&self, delivery: &Delivery, who: &Who<'_>, answer: &str) {
        let answer = if answer.is_empty() { String::new() } else { format!(" answer={}", quote(answer)) };
        self.write(Level::Info, &format!("sent {}{answer}", parcel(delivery, who)));
        self.record("sent", who, parcel_fields(delivery));
    }

    /// A message was not sent: why, and what the hook said of it.
    pub fn undelivered(&self, delivery: &Delivery, who: &Who<'_>, why: &str, complaint: &str) {
        let complaint =
            if complaint.is_empty() { String::new() } else { format!(" said={}", quote(complaint)) };
        let parcel = parcel(delivery, who);
        self.write(Level::Error, &format!("not sent {parcel} reason={}{complaint}", quote(why)));
        self.record("not-sent", who, [parcel_fields(delivery), vec![("reason", why.into())]].concat());
    }

    /// No message was made, as so many were sent.
    pub fn capped(&self, cap: Cap, who: &Who<'_>) {
        let cap = match cap {
            Cap::Login => "login",
            Cap::User => "user",
            Cap::Number => "number",
            Cap::Host => "host",
        };
        self.write(
            Level::Warning,
            &format!("no code sent for {} reason=send-limit limit={cap}", whence(who)),
        );
        self.record("not-sent", who, vec![("reason", format!("send-limit-{cap}"))]);
    }

    /// A user is not told of something: the helper did not take it over. What comes of it then, that says itself.
    pub fn unnoticed(&self, event: &str, who: &Who<'_>, why: &str) {
        let whence = whence(who);
        self.write(
            Level::Error,
            &format!("notice not sent for {whence} event={event} reason={}", quote(why)),
        );
    }

    /// From now on logins from there need no code.
    pub fn trusted(&self, claim: &Claim, who: &Who<'_>, now: u64) {
        let (network, key) = claim.device.describe();
        let key = key.map(|key| format!(" key={key}")).unwrap_or_default();
        let until = rfc3339(now.saturating_add(claim.duration));
        self.write(
            Level::Notice,
            &format!("device trusted for {} network={network}{key} until={until}", whence(who)),
        );
        self.record("device-trusted", who, vec![("network", network), ("until", until)]);
    }

    /// What a user set up in a login counts now; or why it does not.
    pub fn enrolled(&self, enrolment: &Enrolment, kept: bool, who: &Who<'_>) {
        let app = enrolment.app.as_ref().map(|_| format!(" app={}", NewApp::LABEL));
        let phone = enrolment
            .phone
            .as_ref()
            .map(|phone| format!(" phone={}", phone.number.masked().replace(' ', "")));
        let what = app.into_iter().chain(phone).collect::<String>();
        let verb = if kept { "enrolled" } else { "not enrolled" };
        self.write(Level::Notice, &format!("{verb} {}{what}", whence(who)));
        self.record(if kept { "enrolled" } else { "not-enrolled" }, who, vec![("what", what.trim().into())]);
    }

    /// A security key that was asked for proved nothing.
    pub fn untouched(&self, touched: &Touched, who: &Who<'_>) {
        let (level, reason) = match touched {
            // What it proves, the verdict says.
            Touched::Signed { .. } | Touched::PinRequired(_) => return,
            Touched::NoKey => (Level::Notice, "none-plugged-in".into()),
            Touched::NotEnrolled => (Level::Notice, "not-enrolled".into()),
            Touched::Denied => (Level::Notice, "denied".into()),
            Touched::TimedOut => (Level::Notice, "not-touched".into()),
            Touched::Gone => (Level::Notice, "unplugged".into()),
            Touched::WrongPin { .. } => (Level::Notice, "wrong-pin".into()),
            Touched::SeveralKeys => (Level::Notice, "several-ask-for-a-pin".into()),
            Touched::PinPaused => (Level::Warning, "pin-paused".into()),
            Touched::PinBlocked => (Level::Warning, "pin-blocked".into()),
            Touched::Lied(why) => (Level::Warning, quote(why)),
            Touched::Failed(why) => (Level::Error, quote(why)),
        };
        self.write(level, &format!("security key not accepted for {} reason={reason}", whence(who)));
    }

    /// A security key that shows an older counter than before may exist twice.
    pub fn suspended(&self, who: &Who<'_>) {
        let whence = whence(who);
        self.write(Level::Alert, &format!("security key suspended for {whence} reason=counter-did-not-grow"));
        self.record("key-suspended", who, vec![]);
    }

    /// No message is made for somebody who only knows a name.
    pub fn no_first_factor(&self, who: &Who<'_>) {
        self.write(Level::Warning, &format!("no code is sent for {} reason=no-first-factor", whence(who)));
    }

    /// The verdict of an auth or account phase: one line, and for a refused login the line of pam_unix
    /// besides, which fail2ban's filters match.
    pub fn verdict(&self, verdict: &Verdict, who: &Who<'_>) {
        match verdict {
            Verdict::NotConcerned | Verdict::Admit(Admission::Proven) => {}
            Verdict::Admit(admission) => {
                self.write(level(admission), &admitted(admission, who));
                let (event, fields) = of_admission(admission);
                self.record(event, who, fields);
            }
            Verdict::Refuse(refusal) => {
                if is_a_guess(*refusal) {
                    self.write(Level::Notice, &failure(who));
                }
                self.write(Level::Notice, &format!("refused {} reason={}", whence(who), reason(*refusal)));
                self.record("refused", who, vec![("reason", reason(*refusal))]);
            }
        }
    }
}

/// `<PRI>process[pid]: text`, for a daemon of this host, which knows the time. A time of ours would be in a
/// zone that the format cannot name, and there are clocks that it cannot express.
#[derive(Clone)]
struct LocalLine<'a> {
    process: &'a str,
}

impl LogFormat<String> for LocalLine<'_> {
    fn format<W: std::io::Write>(&self, out: &mut W, severity: Severity, text: String) -> syslog::Result<()> {
        let priority = Facility::LOG_AUTHPRIV as u8 | severity as u8;
        write!(out, "<{priority}>{}[{}]: {text}", self.process, std::process::id())
            .map_err(syslog::Error::Write)
    }
}

fn severity(level: Level) -> Severity {
    match level {
        Level::Alert => Severity::LOG_ALERT,
        Level::Critical => Severity::LOG_CRIT,
        Level::Error => Severity::LOG_ERR,
        Level::Warning => Severity::LOG_WARNING,
        Level::Notice => Severity::LOG_NOTICE,
        Level::Info => Severity::LOG_INFO,
        Level::Debug => Severity::LOG_DEBUG,
    }
}

fn level(admission: &Admission) -> Level {
    match admission {
        Admission::Bypass { .. } => Level::Alert,
        Admission::Observed(_)
        | Admission::SettingUp { .. }
        | Admission::Recovery { .. }
        | Admission::NotYet { .. }
        | Admission::Grace { .. } => Level::Warning,
        _ => Level::Info,
    }
}

/// Whether a refusal speaks against the client. Everything else is no reason to ban its address: a store that is
/// out of order would have every administrator banned who comes to mend it.
fn is_a_guess(refusal: Refusal) -> bool {
    match refusal {
        Refusal::UnknownUser
        | Refusal::NotEnrolled
        | Refusal::UidMismatch
        | Refusal::WrongCode
        | Refusal::AlreadyUsed
        | Refusal::Expired
        | Refusal::Locked(_)
        | Refusal::Fake => true,
        Refusal::Blank
        | Refusal::NoAnswer
        | Refusal::NoConversation
        | Refusal::Superseded
        | Refusal::Changed
        | Refusal::UserChanged
        | Refusal::NoFactor
        | Refusal::KeyNeeded
        | Refusal::Unavailable => false,
    }
}

fn admitted(admission: &Admission, who: &Who<'_>) -> String {
    let whence = whence(who);
    match admission {
        Admission::App { label } => format!("accepted app for {whence} label={}", escape(label)),
        Admission::Recovery { left } => format!("accepted recovery code for {whence} left={left}"),
        Admission::Sent { method, to } => {
            format!("accepted {} for {whence} to={}", method.name(), escape(&to.replace(' ', "")))
        }
        Admission::Key { label } => format!("accepted key for {whence} label={}", escape(label)),
        Admission::SshKey { label, fingerprint } => {
            format!("accepted ssh-key for {whence} label={} key={}", escape(label), escape(fingerprint))
        }
        Admission::NotYet { from } => {
            format!("no factor yet for {whence} enforced-from={}", rfc3339(*from))
        }
        Admission::Grace { until } => format!("no factor yet for {whence} grace-until={}", rfc3339(*until)),
        Admission::SettingUp { admission, .. } => format!("{} set-up=begun", admitted(admission, who)),
        Admission::Bypass { reason } => format!("accepted BYPASS for {whence} reason={}", quote(reason)),
        Admission::Session => format!("accepted session for {whence}"),
        Admission::Trusted { until } => {
            format!("accepted trusted device for {whence} until={}", rfc3339(*until))
        }
        Admission::Proven => format!("accepted {whence}"),
        Admission::Inside => format!("not asked {whence} reason=inside"),
        Admission::Exempt { reason, until } => {
            let until = rfc3339(*until);
            format!("exempt {whence} until={until} reason={}", escape(reason))
        }
        Admission::Off => format!("not enforced for {whence} mode=off"),
        Admission::Observed(refusal) => {
            format!("would refuse {whence} mode=observe reason={}", reason(*refusal))
        }
    }
}

fn of_admission(admission: &Admission) -> (&'static str, Vec<(&'static str, String)>) {
    let by = |method: &str| vec![("method", method.to_string())];
    let fields = match admission {
        Admission::App { label } => [by("app"), vec![("label", label.clone())]].concat(),
        Admission::Recovery { left } => [by("recovery"), vec![("left", left.to_string())]].concat(),
        Admission::Sent { method, to } => [by(method.name()), vec![("to", to.clone())]].concat(),
        Admission::Key { label } => [by("key"), vec![("label", label.clone())]].concat(),
        Admission::SshKey { label, fingerprint } => {
            [by("ssh-key"), vec![("label", label.clone()), ("key", fingerprint.clone())]].concat()
        }
        Admission::NotYet { from } => [by("none"), vec![("enforced-from", rfc3339(*from))]].concat(),
        Admission::Grace { until } => [by("none"), vec![("grace-until", rfc3339(*until))]].concat(),
        Admission::SettingUp { admission, .. } => of_admission(admission).1,
        Admission::Bypass { reason } => [by("bypass"), vec![("reason", reason.clone())]].concat(),
        Admission::Session => by("session"),
        Admission::Trusted { until } => [by("trusted-device"), vec![("until", rfc3339(*until))]].concat(),
        Admission::Proven => by("proven"),
        Admission::Inside => by("inside"),
        Admission::Exempt { reason, .. } => [by("exempt"), vec![("reason", reason.clone())]].concat(),
        Admission::Off => by("off"),
        Admission::Observed(refusal) => return ("would-refuse", vec![("reason", reason(*refusal))]),
    };
    ("accepted", fields)
}

/// pam_unix's words in pam_unix's order, nothing added: the stock filters anchor at the end.
fn failure(who: &Who<'_>) -> String {
    let rhost = who.address.map_or_else(|| escape(who.rhost), |address| address.to_string());
    format!(
        "authentication failure; logname= uid={} euid={} tty={} ruser={} rhost={rhost}  user={}",
        who.uid,
        who.euid,
        escape(who.tty),
        escape(who.ruser),
        escape(who.user)
    )
}

fn parcel(delivery: &Delivery, who: &Who<'_>) -> String {
    let to = delivery.to.masked().replace(' ', "");
    format!("{} for {} to={} id={}", delivery.method.name(), whence(who), escape(&to), delivery.id)
}

fn parcel_fields(delivery: &Delivery) -> Vec<(&'static str, String)> {
    let method = delivery.method.name().into();
    vec![("method", method), ("to", delivery.to.masked()), ("id", delivery.id.clone())]
}

fn whence(who: &Who<'_>) -> String {
    match who.address {
        Some(address) => format!("{} from {address}", escape(who.user)),
        None if who.tty.is_empty() => escape(who.user),
        None => format!("{} on {}", escape(who.user), escape(who.tty)),
    }
}

/// One word for a refusal, for people who search the log.
pub fn reason(refusal: Refusal) -> String {
    let word = match refusal {
        Refusal::UnknownUser => "unknown-user",
        Refusal::NotEnrolled => "not-enrolled",
        Refusal::UidMismatch => "uid-mismatch",
        Refusal::WrongCode => "wrong-code",
        Refusal::AlreadyUsed => "replay",
        Refusal::Expired => "expired",
        Refusal::Superseded => "superseded",
        Refusal::Locked(Lock::Total) => "locked-until-unlocked",
        Refusal::Locked(Lock::Address(until)) => {
            return format!("locked until={}", rfc3339(until));
        }
        Refusal::Blank => "no-code-typed",
        Refusal::Fake => "refused-by-sshd",
        Refusal::NoAnswer => "aborted",
        Refusal::NoConversation => "no-conversation",
        Refusal::Changed => "account-changed",
        Refusal::UserChanged => "user-changed",
        Refusal::NoFactor => "no-factor",
        Refusal::KeyNeeded => "key-needed",
        Refusal::Unavailable => "unavailable",
    };
    word.into()
}

/// Foreign text as one word of printable ASCII: `\xNN` for the rest, cut after 64 characters.
pub fn escape(text: &str) -> String {
    printable(text, b'!', MAX_FIELD)
}

/// Foreign words in quotes, printable ASCII too, cut after 256 characters.
pub fn quote(text: &str) -> String {
    format!("\"{}\"", printable(text, b' ', MAX_WORDS))
}

/// What is before `first` in ASCII, and all that is not, is escaped.
fn printable(text: &str, first: u8, max: usize) -> String {
    let mut escaped = String::with_capacity(text.len().min(max));
    for byte in text.bytes() {
        if escaped.len() >= max {
            escaped.push_str("...");
            break;
        }
        match byte {
            b'\\' => escaped.push_str("\\\\"),
            b'"' if first == b' ' => escaped.push_str("\\\""),
            _ if (first..=b'~').contains(&byte) => escaped.push(char::from(byte)),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(escaped, "\\x{byte:02x}");
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_stays_one_printable_word() {
        let table = [
            ("alice", "alice"),
            ("a b", "a\\x20b"),
            ("a\nb\x1b[2J", "a\\x0ab\\x1b[2J"),
            ("\u{202e}x\\", "\\xe2\\x80\\xaex\\\\"),
        ];
        for (text, expected) in table {
            assert_eq!(escape(text), expected);
        }
        assert_eq!(escape(&"x".repeat(70_000)).len(), MAX_FIELD + 3);
        assert_eq!(quote("sent\u{1b}[31m\nfake \"x\" \\"), r#""sent\x1b[31m\x0afake \"x\" \\""#);
        assert_eq!(quote(&"x".repeat(70_000)).len(), MAX_WORDS + 5);
    }

    #[test]
    fn a_login_from_a_trusted_device_says_so() {
        let who = Who { user: "al ice", address: Some([192, 0, 2, 9].into()), ..Who::default() };
        assert_eq!(
            admitted(&Admission::Trusted { until: 1_795_298_580 }, &who),
            "accepted trusted device for al\\x20ice from 192.0.2.9 until=2026-11-21T22:03:00Z"
        );
    }

    /// The line of pam_unix, so that fail2ban's `sshd` filter finds `rhost=`.
    #[test]
    fn a_failure_reads_like_pam_unix() {
        let who = Who { user: "alice", address: Some([192, 0, 2, 9].into()), tty: "ssh", ..Who::default() };
        assert_eq!(
            failure(&who),
            "authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=192.0.2.9  user=alice"
        );
    }
}
