//! What the administrator decided, as values that are valid by construction, and what follows for one
//! request. No clock, no I/O: `config` reads the file, `system` looks up the user.

use crate::account::{Claim, Factors, Key, Limits, Process, Session};
use crate::code::{Shape, Word};
use crate::contact::{Address, Number, Prefix};
use crate::sshkey::SkKey;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::PathBuf;

/// The service whose logins come from elsewhere.
pub const SSHD: &str = "sshd";

/// By how many seconds a clock may be set right after the policy was written.
const CLOCK_TOLERANCE: u64 = 3600;

/// One host-wide policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub mode: Mode,
    pub methods: Vec<Method>,
    /// The PAM services that are concerned.
    pub services: Vec<String>,
    /// Told to a user who is refused.
    pub support: Option<String>,
    pub limits: Limits,
    pub app: AppRules,
    /// There when it is a method, or set up to become one.
    pub sms: Option<SmsRules>,
    pub email: Option<EmailRules>,
    pub key: KeyRules,
    pub trust: TrustRules,
    pub rollout: RolloutRules,
    pub notify: NotifyRules,
    /// The program that runs hooks.
    pub helper: PathBuf,
    pub exemptions: Vec<Exemption>,
    /// When the policy was written, in seconds since 1970. Before that no exemption holds: the clock is wrong,
    /// and may be so far back that ended ones would hold again.
    pub written: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Enforce,
    /// Everything is evaluated and logged, nobody is refused.
    Observe,
    Off,
}

impl Mode {
    /// The word in the policy file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Observe => "observe",
            Self::Off => "off",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A code of an authenticator app.
    App,
    /// A code sent to a telephone.
    Sms,
    /// A code sent by e-mail.
    Email,
    /// A security key: touched at the console, or as the SSH key of a login.
    Key,
}

impl Method {
    /// One method alone, or one that is at hand together with one that is sent, in either order.
    pub fn are_legal(methods: &[Self]) -> bool {
        match methods {
            [_] => true,
            [one, other] => one.is_sent() != other.is_sent(),
            _ => false,
        }
    }

    /// Whether its codes are sent.
    pub fn is_sent(self) -> bool {
        match self {
            Self::App | Self::Key => false,
            Self::Sms | Self::Email => true,
        }
    }

    /// The method that a policy calls so.
    pub fn named(name: &str) -> Option<Self> {
        [Self::App, Self::Sms, Self::Email, Self::Key].into_iter().find(|method| method.name() == name)
    }

    /// The one that is wished for.
    pub fn wished(word: Word) -> Option<Self> {
        match word {
            Word::App => Some(Self::App),
            Word::Sms => Some(Self::Sms),
            Word::Email => Some(Self::Email),
            Word::Key => Some(Self::Key),
            Word::Resend => None,
        }
    }

    /// As people speak of it: codes by ..., the hook for ...
    pub fn spoken(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Sms => "SMS",
            Self::Email => "e-mail",
            Self::Key => "security key",
        }
    }

    /// The word in the policy file, at prompts and in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Sms => "sms",
            Self::Email => "email",
            Self::Key => "key",
        }
    }
}

/// What new apps get, and how far their clock may be off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppRules {
    pub shape: Shape,
    /// Time steps accepted before and after the current one (RFC 6238, section 5.2: one at most).
    pub skew: u8,
    /// Shown by the app above the code; the host name when absent.
    pub issuer: Option<String>,
}

/// What is asked of security keys at the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRules {
    /// What new credentials are made for: one name for all hosts that share a store, and no host's own.
    pub rp_id: String,
    /// Whether a PIN is asked for besides the touch.
    pub pin: bool,
}

/// Whether a device needs a code each time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustRules {
    /// For so many seconds after a code it does not. Nothing: every login asks.
    pub duration: Option<u64>,
    /// Without asking the user.
    pub always: bool,
    /// The PAM services (`sudo`) that ask for nothing inside a session whose login proved a factor.
    pub session_services: Vec<String>,
}

/// How users without a factor are brought to have one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RolloutRules {
    /// Before then (seconds since 1970) they are told, and let in.
    pub from: u64,
    /// For so many seconds from the first login behind that they still are.
    pub grace: u64,
    /// Whether they can set up an app, or a telephone number, in the login itself.
    pub enroll: bool,
}

/// What users are told by e-mail, by whomever it was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotifyRules {
    pub occasions: Vec<Occasion>,
}

/// What a user may be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Occasion {
    DeviceTrusted,
    RecoveryUsed,
    /// A factor, recovery codes, or where codes are sent to.
    FactorChanged,
    Reset,
    /// One was used.
    Bypass,
}

impl Occasion {
    /// The word in the policy file.
    pub fn name(self) -> &'static str {
        match self {
            Self::DeviceTrusted => "device-trusted",
            Self::RecoveryUsed => "recovery-used",
            Self::FactorChanged => "factor-changed",
            Self::Reset => "reset",
            Self::Bypass => "bypass",
        }
    }
}

/// How the messages of one method are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// The program that hands a message to a gateway.
    pub hook: PathBuf,
    /// Whom it runs as.
    pub hook_user: String,
    /// Seconds.
    pub valid_for: u64,
    pub text: Template,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmsRules {
    pub channel: Channel,
    /// Only to numbers that begin so is anything sent: not to those that earn somebody money.
    pub prefixes: Vec<Prefix>,
    /// For numbers that are typed in without a country code.
    pub country: Option<Prefix>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailRules {
    pub channel: Channel,
    /// Takes the codes of users without an address of their own.
    pub default_address: Option<Address>,
}

/// The text of a message, with words in braces for what is known when it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(String);

impl Default for Template {
    fn default() -> Self {
        Self(
            "{code} is your code for {user} at {host}, asked for from {address}. Valid until {expiry}."
                .into(),
        )
    }
}

impl Template {
    /// Longer than two short messages joined.
    const MAX: usize = 300;
    const WORDS: [&str; 5] = ["code", "host", "user", "address", "expiry"];

    /// # Errors
    ///
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > Self::MAX || text.chars().any(char::is_control) {
            return Err(format!(
                "must be one line of at most {} bytes, without control characters",
                Self::MAX
            ));
        }
        if text.matches("{code}").count() != 1 {
            return Err("must have {code} in it, once".into());
        }
        let rest =
            Self::WORDS.iter().fold(text.to_string(), |rest, word| rest.replace(&format!("{{{word}}}"), ""));
        if rest.contains(['{', '}']) {
            return Err(
                "may have {code}, {host}, {user}, {address} and {expiry} in braces, and nothing else".into(),
            );
        }
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text with `value` for each word. What is put in is never read again for braces.
    pub fn fill(&self, value: impl Fn(&str) -> String) -> String {
        let mut filled = String::with_capacity(2 * Self::MAX);
        let mut rest = self.0.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            let (word, after) = after.split_once('}').unwrap_or_default();
            filled.push_str(before);
            filled.push_str(&value(word));
            rest = after;
        }
        filled.push_str(rest);
        filled
    }
}

/// Where a code is sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    Phone(Number),
    /// One message, to all of them.
    Mail(Vec<Address>),
}

impl Recipient {
    /// As a hook gets it.
    pub fn to_hook(&self) -> String {
        match self {
            Self::Phone(number) => number.as_str().into(),
            Self::Mail(addresses) => addresses.iter().map(Address::as_str).collect::<Vec<_>>().join(", "),
        }
    }

    /// As it is shown to somebody who may be anybody.
    pub fn masked(&self) -> String {
        match self {
            Self::Phone(number) => number.masked(),
            Self::Mail(addresses) => match addresses.as_slice() {
                [] => String::new(),
                [address] => address.masked(),
                [address, others @ ..] => format!("{} and {} more", address.masked(), others.len()),
            },
        }
    }
}

/// A dated exception to the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exemption {
    pub who: Who,
    /// Client networks it holds for; empty: from anywhere, the console included.
    pub from: Vec<IpNet>,
    pub reason: String,
    /// Seconds since 1970: from then on it holds no longer.
    pub until: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    User(String),
    Group(String),
}

/// One login attempt as the policy sees it.
#[derive(Clone, Debug)]
pub struct Request {
    /// The PAM service: `sshd`, `login`.
    pub service: String,
    /// The name as typed.
    pub user: String,
    /// What the host knows of that name; nothing for an unknown user.
    pub known: Option<Known>,
    /// The client's address; none at a console.
    pub address: Option<IpAddr>,
    /// Whether a password or key was shown before. Nothing is sent for somebody who only knows a name.
    pub first_factor: bool,
    /// Whether somebody sits at this host, so that a key plugged into it is theirs.
    pub local: bool,
    /// The keys of security keys that sshd accepted in this login.
    pub ssh_keys: Vec<SkKey>,
    /// The device, where the policy trusts any and this one can be known again.
    pub claim: Option<Claim>,
    /// What the session will hang on, where logins are to be known again inside it.
    pub processes: Vec<Process>,
    /// The session that this is asked in, where that is enough.
    pub session: Option<Session>,
    /// This host, as messages name it.
    pub host: String,
}

/// A user of this host.
#[derive(Clone, Debug)]
pub struct Known {
    pub uid: u32,
    /// Those of the groups named in the policy that the user is in.
    pub groups: Vec<String>,
}

/// What the policy asks of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// The service is not listed.
    NotConcerned,
    /// No factor is asked for, and this is why.
    Waive(Waiver<'a>),
    /// A factor has to be proven.
    Require,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiver<'a> {
    Off,
    Exempt(&'a Exemption),
}

impl Policy {
    pub fn decide(&self, request: &Request, now: u64) -> Decision<'_> {
        if !self.concerns(&request.service) {
            return Decision::NotConcerned;
        }
        if self.mode == Mode::Off {
            return Decision::Waive(Waiver::Off);
        }
        let mut in_force = self.in_force(request.address, now);
        match in_force.find(|exemption| exemption.is_about(request)) {
            Some(exemption) => Decision::Waive(Waiver::Exempt(exemption)),
            None => Decision::Require,
        }
    }

    /// Whether `service` lets somebody in from outside. Who calls su or sudo is in already, and those may have
    /// their reasons to ask nothing: root's su, sudo's timestamp, NOPASSWD.
    pub fn is_entry(service: &str) -> bool {
        !["su", "su-l", "sudo", "sudo-i", "runuser", "runuser-l"].contains(&service)
    }

    /// The services that a login session begins with.
    pub fn is_login(service: &str) -> bool {
        [SSHD, "login", "remote"].contains(&service)
    }

    /// Whether nothing is asked for `service` inside a session whose login proved a factor.
    pub fn joins(&self, service: &str) -> bool {
        self.trust.session_services.iter().any(|listed| listed == service)
    }

    /// Whether users without a factor may be let in.
    pub fn bears_missing_factors(&self) -> bool {
        self.rollout.from > 0 || self.rollout.grace > 0
    }

    pub fn concerns(&self, service: &str) -> bool {
        self.services.iter().any(|listed| listed == service)
    }

    /// The policy's methods that somebody with these factors can use, in the policy's order.
    pub fn methods_of(&self, factors: &Factors) -> Vec<Method> {
        let can_use = |method: &Method| match method {
            Method::App => !factors.apps.is_empty(),
            Method::Key => self.can_use_key(factors),
            Method::Sms | Method::Email => self.recipient(*method, factors).is_some(),
        };
        self.methods.iter().copied().filter(can_use).collect()
    }

    /// An SSH key is of use where sshd asks, and one that is plugged in everywhere else.
    fn can_use_key(&self, factors: &Factors) -> bool {
        let by_ssh = self.concerns(SSHD) && !factors.ssh_keys.is_empty();
        let here = self.services.iter().any(|service| service != SSHD);
        by_ssh || here && factors.keys.iter().any(|key| self.takes(key))
    }

    /// Whether this key can prove what is asked for.
    pub fn takes(&self, key: &Key) -> bool {
        key.credential.rp_id == self.key.rp_id && (key.has_pin || !self.key.pin)
    }

    /// Where `method` sends the codes of somebody with these factors.
    pub fn recipient(&self, method: Method, factors: &Factors) -> Option<Recipient> {
        match method {
            Method::App | Method::Key => None,
            Method::Sms => {
                let number = &factors.phone.as_ref()?.to;
                let allowed = number.starts_with_any(&self.sms.as_ref()?.prefixes);
                allowed.then(|| Recipient::Phone(number.clone()))
            }
            Method::Email => {
                let own: Vec<_> = factors.addresses.iter().map(|address| address.to.clone()).collect();
                let default = || self.email.as_ref()?.default_address.clone().map(|address| vec![address]);
                let addresses = if own.is_empty() { default()? } else { own };
                self.email.is_some().then_some(Recipient::Mail(addresses))
            }
        }
    }

    /// How `method` is sent.
    pub fn channel(&self, method: Method) -> Option<&Channel> {
        match method {
            Method::App | Method::Key => None,
            Method::Sms => self.sms.as_ref().map(|rules| &rules.channel),
            Method::Email => self.email.as_ref().map(|rules| &rules.channel),
        }
    }

    /// The groups that decide about a login from `address`.
    pub fn groups(&self, address: Option<IpAddr>, now: u64) -> impl Iterator<Item = &str> {
        self.in_force(address, now).filter_map(|exemption| match &exemption.who {
            Who::Group(name) => Some(name.as_str()),
            Who::User(_) => None,
        })
    }

    /// Whether it is not before this policy was written: then the clock is wrong, and dates mean nothing.
    pub fn clock_is_sound(&self, now: u64) -> bool {
        now >= self.written.saturating_sub(CLOCK_TOLERANCE)
    }

    fn in_force(&self, address: Option<IpAddr>, now: u64) -> impl Iterator<Item = &Exemption> {
        let holds = move |exemption: &&Exemption| {
            self.clock_is_sound(now) && now < exemption.until && exemption.is_for(address)
        };
        self.exemptions.iter().filter(holds)
    }
}

impl Exemption {
    fn is_about(&self, request: &Request) -> bool {
        match (&request.known, &self.who) {
            (Some(_), Who::User(name)) => *name == request.user,
            (Some(known), Who::Group(name)) => known.groups.contains(name),
            (None, _) => false,
        }
    }

    fn is_for(&self, address: Option<IpAddr>) -> bool {
        let address = address.map(|address| address.to_canonical());
        let is_within = |address| self.from.iter().any(|network| network.contains(&address));
        self.from.is_empty() || address.is_some_and(is_within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{Key, SendLimits, SshKey};
    use crate::code::Algorithm;
    use crate::contact::Confirmable;
    use crate::sshkey;
    use crate::token::{Credential, Protocol, PublicKey};

    fn policy(mode: Mode, exemptions: Vec<Exemption>) -> Policy {
        Policy {
            mode,
            methods: vec![Method::App],
            services: vec!["sshd".into(), "login".into()],
            support: None,
            limits: Limits {
                prompts: 3,
                failures: 5,
                window: 900,
                total: 50,
                sends: SendLimits { pause: 60, login: 3, hour: 5, day: 10, host: 100 },
            },
            sms: None,
            email: None,
            key: KeyRules { rp_id: "twofa".into(), pin: false },
            trust: TrustRules::default(),
            rollout: RolloutRules::default(),
            notify: NotifyRules::default(),
            helper: "/usr/libexec/twofa/twofa-helper".into(),
            app: AppRules {
                shape: Shape { algorithm: Algorithm::Sha1, digits: 6, step: 30 },
                skew: 1,
                issuer: None,
            },
            exemptions,
            written: 100 + CLOCK_TOLERANCE,
        }
    }

    fn request(service: &str, address: Option<&str>, known: bool) -> Request {
        Request {
            service: service.into(),
            user: "backup".into(),
            known: known.then(|| Known { uid: 34, groups: vec!["robots".into()] }),
            address: address.map(|address| address.parse().unwrap()),
            first_factor: true,
            local: false,
            ssh_keys: vec![],
            claim: None,
            processes: Vec::new(),
            session: None,
            host: "host.example".into(),
        }
    }

    fn exemption(who: Who, from: &[&str]) -> Exemption {
        let from = from.iter().map(|network| network.parse().unwrap()).collect();
        Exemption { who, from, reason: "nightly".into(), until: 1000 }
    }

    #[test]
    fn a_service_that_is_not_listed_is_not_concerned_in_any_mode() {
        for mode in [Mode::Enforce, Mode::Observe, Mode::Off] {
            let policy = policy(mode, vec![]);
            for service in ["sudo", "", "sshd ", "SSHD", "login\n"] {
                assert_eq!(policy.decide(&request(service, None, true), 0), Decision::NotConcerned);
            }
        }
    }

    #[test]
    fn only_off_and_exemptions_waive() {
        let any = request("sshd", None, true);
        assert_eq!(policy(Mode::Enforce, vec![]).decide(&any, 0), Decision::Require);
        assert_eq!(policy(Mode::Observe, vec![]).decide(&any, 0), Decision::Require);
        assert_eq!(policy(Mode::Off, vec![]).decide(&any, 0), Decision::Waive(Waiver::Off));
    }

    #[test]
    fn exemptions_are_dated_and_bound_to_who_and_where() {
        let user = || Who::User("backup".into());
        let net = &["192.0.2.0/24", "2001:db8::/32"][..];
        let table = [
            (user(), &[][..], None, 999, true, true),
            (user(), &[], None, 1000, true, false),
            (user(), &[], None, 100, true, true),
            (user(), &[], None, 99, true, false),
            (user(), &[], None, 999, false, false),
            (Who::User("root".into()), &[], None, 999, true, false),
            (Who::Group("robots".into()), &[], None, 999, true, true),
            (Who::Group("wheel".into()), &[], None, 999, true, false),
            (user(), net, None, 999, true, false),
            (user(), net, Some("192.0.2.7"), 999, true, true),
            (user(), net, Some("::ffff:192.0.2.7"), 999, true, true),
            (user(), net, Some("192.0.3.7"), 999, true, false),
            (user(), net, Some("2001:db8::1"), 999, true, true),
            (user(), net, Some("2001:db9::1"), 999, true, false),
        ];
        for (who, from, address, now, known, exempt) in table {
            let policy = policy(Mode::Enforce, vec![exemption(who.clone(), from)]);
            let decision = policy.decide(&request("login", address, known), now);
            let waived = matches!(decision, Decision::Waive(Waiver::Exempt(_)));
            assert_eq!(waived, exempt, "{who:?} {from:?} {address:?} {now} {known}");
        }
    }

    #[test]
    fn one_method_or_one_at_hand_with_one_sent() {
        use Method::{App, Email, Key, Sms};
        let at_hand = [App, Key];
        let sent = [Sms, Email];
        let both = |one: Method, other: Method| [vec![one, other], vec![other, one]];
        let pairs = at_hand.iter().flat_map(|one| sent.iter().flat_map(move |other| both(*one, *other)));
        let all = [App, Sms, Email, Key];
        let legal: Vec<_> = all.map(|one| vec![one]).into_iter().chain(pairs).collect();
        let pairs = all.iter().flat_map(|one| all.map(|other| vec![*one, other]));
        let triples = all.iter().flat_map(|one| all.map(|other| vec![*one, other, App]));
        for methods in [vec![]].into_iter().chain(all.map(|one| vec![one])).chain(pairs).chain(triples) {
            assert_eq!(Method::are_legal(&methods), legal.contains(&methods), "{methods:?}");
        }
    }

    #[test]
    fn a_template_has_the_code_and_nothing_unknown() {
        let good =
            ["{code}", "{code} for {user} on {host} from {address} until {expiry}", "{user}{code}{user}"];
        let bad =
            ["", "code", "{code} {code}", "{code} {Code}", "{code} {", "}{code}", "{code}\n", "{{code}}"];
        for text in good {
            assert!(Template::parse(text).is_ok(), "{text}");
        }
        for text in bad {
            assert!(Template::parse(text).is_err(), "{text}");
        }
        assert!(Template::parse(&format!("{{code}}{}", "x".repeat(300))).is_err());
        let template = Template::parse("a {code} b {user}{host}.").unwrap();
        let filled = template.fill(|word| format!("<{word}{{code}}>"));
        assert_eq!(filled, "a <code{code}> b <user{code}><host{code}>.");
    }

    fn key(protocol: Protocol, rp_id: &str) -> Key {
        let (public, rp_id) = (PublicKey::Es256([vec![4], vec![7; 64]].concat()), rp_id.into());
        let credential = Credential { rp_id, id: vec![1], public, protocol, verify: false };
        Key { id: 1, label: "key".into(), credential, has_pin: false, added: 0 }
    }

    #[test]
    fn keys_count_that_can_prove_what_is_asked_for() {
        use Protocol::{Fido2, U2f};
        let ours = |protocol| key(protocol, "twofa");
        let foreign = |protocol| key(protocol, "elsewhere");
        let with_pin = |verify| {
            let key = ours(Fido2);
            Key { credential: Credential { verify, ..key.credential }, has_pin: true, ..key }
        };
        // Whether they count, without a PIN and with one.
        let table = [
            (vec![], [false, false]),
            (vec![ours(Fido2)], [true, false]),
            (vec![with_pin(false)], [true, true]),
            (vec![with_pin(true)], [true, true]),
            (vec![ours(U2f)], [true, false]),
            (vec![foreign(Fido2)], [false, false]),
            (vec![foreign(U2f)], [false, false]),
            (vec![key(Fido2, "TWOFA")], [false, false]),
            (vec![key(Fido2, "twofa.")], [false, false]),
            (vec![foreign(Fido2), ours(U2f)], [true, false]),
            (vec![ours(U2f), with_pin(false)], [true, true]),
        ];
        for (keys, counts) in table {
            for (pin, counts) in [false, true].into_iter().zip(counts) {
                let mut policy = policy(Mode::Enforce, vec![]);
                policy.key.pin = pin;
                let taken = keys.iter().filter(|key| policy.takes(key)).count();
                assert_eq!(taken > 0, counts, "{keys:?} {pin}");
                let mut factors = Factors { keys: keys.clone(), ..Factors::default() };
                policy.methods = vec![Method::App];
                assert_eq!(policy.methods_of(&factors), [], "{keys:?} {pin}");
                policy.methods = vec![Method::Sms, Method::Key];
                let expected: &[Method] = if counts { &[Method::Key] } else { &[] };
                assert_eq!(policy.methods_of(&factors), expected, "{keys:?} {pin}");
                // Those of SSH are sshd's to judge.
                factors.ssh_keys = vec![ssh_key()];
                assert_eq!(policy.methods_of(&factors), [Method::Key], "{keys:?} {pin}");
            }
        }
    }

    /// A key at the console opens no SSH login, and an SSH key no console.
    #[test]
    fn keys_count_where_they_can_be_used() {
        let here = Factors { keys: vec![key(Protocol::Fido2, "twofa")], ..Factors::default() };
        let by_ssh = Factors { ssh_keys: vec![ssh_key()], ..Factors::default() };
        let table =
            [(&["sshd"][..], false, true), (&["login"], true, false), (&["sshd", "login"], true, true)];
        for (services, here_counts, ssh_counts) in table {
            let mut policy = policy(Mode::Enforce, vec![]);
            policy.methods = vec![Method::Key];
            policy.services = services.iter().map(|service| (*service).into()).collect();
            assert_eq!(!policy.methods_of(&here).is_empty(), here_counts, "{services:?}");
            assert_eq!(!policy.methods_of(&by_ssh).is_empty(), ssh_counts, "{services:?}");
        }
    }

    fn ssh_key() -> SshKey {
        let line = "sk-ssh-ed25519@openssh.com \
            AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIAEBAQEBAQEBAQEB\
            AQEBAQEBAQEBAQEBAQEBAQEBAQEBAAAABHNzaDo=";
        SshKey { label: "key".into(), key: sshkey::Line::parse(line).unwrap().key, added: 0 }
    }

    #[test]
    fn codes_go_where_the_policy_lets_them() {
        let channel = Channel {
            hook: "/hook".into(),
            hook_user: "_twofa".into(),
            valid_for: 300,
            text: Template::parse("{code}").unwrap(),
        };
        let address = |text: &str| Address::parse(text).unwrap();
        let confirmable = |text: &str| Confirmable { to: address(text), confirmed: None };
        let prefixes = vec![Prefix::parse("+48").unwrap()];
        let sms = SmsRules { channel: channel.clone(), prefixes, country: None };
        let default = EmailRules { channel, default_address: Some(address("root@localhost")) };
        let mut policy = policy(Mode::Enforce, vec![]);
        policy.methods = vec![Method::Sms, Method::App];
        let phone = |number: &str| Factors {
            phone: Some(Confirmable { to: Number::parse(number, None).unwrap(), confirmed: None }),
            ..Factors::default()
        };
        assert_eq!(policy.methods_of(&phone("+48600000123")), [], "without a hook");
        policy.sms = Some(sms);
        assert_eq!(policy.methods_of(&phone("+48600000123")), [Method::Sms]);
        assert_eq!(policy.methods_of(&phone("+49600000123")), [], "not among the prefixes");
        assert_eq!(policy.methods_of(&Factors::default()), []);
        let to = policy.recipient(Method::Sms, &phone("+48600000123")).unwrap();
        assert_eq!((to.to_hook().as_str(), to.masked().as_str()), ("+48600000123", "+48 *** *** 123"));

        policy.methods = vec![Method::Email];
        let own = Factors {
            addresses: vec![confirmable("alice@example.org"), confirmable("team@example.org")],
            ..Factors::default()
        };
        assert_eq!(policy.methods_of(&own), [], "without a hook");
        policy.email = Some(default);
        let to = policy.recipient(Method::Email, &own).unwrap();
        assert_eq!(to.to_hook(), "alice@example.org, team@example.org");
        assert_eq!(to.masked(), "a***@example.org and 1 more");
        let to = policy.recipient(Method::Email, &Factors::default()).unwrap();
        assert_eq!((to.to_hook().as_str(), to.masked().as_str()), ("root@localhost", "r***@localhost"));
    }
}
