//! Reports for administrators, from plain data: what `twofa-admin` prints as text or as JSON.

use crate::account::{Account, Factors, Key, SshKey, State};
use crate::config::Config;
use crate::contact::{Address, Confirmable, Number};
use crate::login::Phase;
use crate::message::{rfc3339, span};
use crate::policy::{Channel, Exemption, Method, Policy, Who};
use crate::token::Protocol;
use serde::Serialize;
use std::collections::{HashMap, HashSet};

/// A user's factors and standing. No secret in it.
#[derive(Clone, Debug, Serialize)]
pub struct UserReport {
    pub user: String,
    pub uid: u32,
    /// The policy's methods that this user can use.
    pub methods: Vec<&'static str>,
    pub apps: Vec<AppReport>,
    pub keys: Vec<KeyReport>,
    /// Masked.
    pub phone: Option<ContactReport>,
    pub addresses: Vec<ContactReport>,
    pub recovery_codes_left: usize,
    /// Failures that count towards the hard stop.
    pub failures: u16,
    /// Whether only a recovery code is accepted.
    pub locked: bool,
    /// Addresses that are locked now.
    pub locked_addresses: usize,
    /// Until when the last of them is.
    pub addresses_locked_until: Option<String>,
    /// What enforcement says of a login now.
    #[serde(flatten)]
    pub standing: Standing,
    /// Logins that observe mode let in and enforcement would have refused; when the last one was.
    pub would_be_refused: u32,
    pub last_would_be_refused: Option<String>,
    /// The way in that an administrator opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bypass: Option<BypassReport>,
}

/// How far a user is on the way to a second factor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "standing", rename_all = "kebab-case")]
pub enum Standing {
    Enrolled,
    /// No factor, and told that one is asked for from then on.
    NotYet {
        enforced_from: String,
    },
    /// No factor, and none asked for until then.
    Grace {
        grace_until: String,
    },
    /// The days have not begun: they do at the next login.
    GraceToCome {
        grace_days: u64,
    },
    Refused,
}

impl Standing {
    /// Of somebody with this account, or none.
    pub fn of(policy: &Policy, known: Option<(&Account, &State)>, now: u64) -> Self {
        let none = Factors::default();
        let factors = known.map_or(none, |(account, state)| counting(&account.factors, state));
        if !policy.methods_of(&factors).is_empty() {
            return Self::Enrolled;
        }
        match policy.phase(known, now) {
            Phase::NotYet { from } => Self::NotYet { enforced_from: rfc3339(from) },
            Phase::GraceToCome => Self::GraceToCome { grace_days: policy.rollout.grace / 86_400 },
            Phase::Grace { until } => Self::Grace { grace_until: rfc3339(until) },
            Phase::Over => Self::Refused,
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct BypassReport {
    pub until: String,
    pub reason: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct AppReport {
    pub label: String,
    pub algorithm: &'static str,
    pub digits: u8,
    pub step: u8,
    pub enrolled: String,
}

/// A security key, of this host's or the user's own.
#[derive(Clone, Debug, Serialize)]
pub struct KeyReport {
    pub label: String,
    pub kind: String,
    pub enrolled: String,
    /// Its counter did not grow once: it may exist twice.
    pub suspended: bool,
    /// The policy takes it no longer: it names another `rp_id`, or asks for a PIN that the key does not know.
    pub void: bool,
}

impl KeyReport {
    fn of(factors: &Factors, state: &State, policy: &Policy) -> Vec<Self> {
        let local = |key: &Key| Self {
            label: key.label.clone(),
            kind: match (key.credential.protocol, key.credential.verify) {
                (Protocol::U2f, _) => "console, U2F".into(),
                (Protocol::Fido2, false) => "console, FIDO2".into(),
                (Protocol::Fido2, true) => "console, FIDO2 with PIN".into(),
            },
            enrolled: rfc3339(key.added),
            suspended: state.is_suspended(key.id),
            void: !policy.takes(key),
        };
        let ssh = |key: &SshKey| Self {
            label: key.label.clone(),
            kind: format!("ssh, {}", key.key.fingerprint()),
            enrolled: rfc3339(key.added),
            suspended: false,
            void: false,
        };
        factors.keys.iter().map(local).chain(factors.ssh_keys.iter().map(ssh)).collect()
    }
}

/// Where codes are sent, masked.
#[derive(Clone, Debug, Serialize)]
pub struct ContactReport {
    pub to: String,
    /// When a code sent there came back.
    pub confirmed: Option<String>,
}

impl ContactReport {
    fn new<T>(contact: &Confirmable<T>, masked: impl Fn(&T) -> String) -> Self {
        Self { to: masked(&contact.to), confirmed: contact.confirmed.map(rfc3339) }
    }
}

impl UserReport {
    pub fn new(account: &Account, state: &State, policy: &Policy, now: u64) -> Self {
        let limits = &policy.limits;
        let app = |app: &crate::account::App| AppReport {
            label: app.label.clone(),
            algorithm: app.shape.algorithm.name(),
            digits: app.shape.digits,
            step: app.shape.step,
            enrolled: rfc3339(app.added),
        };
        let addresses = state.address_locks(limits, now);
        let failures = state.failures_in_all(now);
        Self {
            user: account.user.clone(),
            uid: account.uid,
            methods: policy
                .methods_of(&counting(&account.factors, state))
                .into_iter()
                .map(Method::name)
                .collect(),
            apps: account.factors.apps.iter().map(app).collect(),
            keys: KeyReport::of(&account.factors, state, policy),
            phone: account.factors.phone.as_ref().map(|phone| ContactReport::new(phone, Number::masked)),
            addresses: account
                .factors
                .addresses
                .iter()
                .map(|own| ContactReport::new(own, Address::masked))
                .collect(),
            recovery_codes_left: recovery_left(account, state),
            failures,
            locked: failures >= limits.total,
            locked_addresses: addresses.map_or(0, |(count, _)| count),
            addresses_locked_until: addresses.map(|(_, until)| rfc3339(until)),
            standing: Standing::of(policy, Some((account, state)), now),
            would_be_refused: state.observed().0,
            last_would_be_refused: Some(state.observed().1).filter(|at| *at > 0).map(rfc3339),
            bypass: state
                .bypass(now)
                .map(|open| BypassReport { until: rfc3339(open.until), reason: open.reason.clone() }),
        }
    }
}

/// How many recovery codes a user has left.
pub fn recovery_left(account: &Account, state: &State) -> usize {
    account.factors.recovery.as_ref().map_or(0, |set| state.recovery_left(set.len()))
}

/// The factors that still prove something.
fn counting(factors: &Factors, state: &State) -> Factors {
    let mut factors = factors.clone();
    factors.keys.retain(|key| !state.is_suspended(key.id));
    factors
}

/// The policy in force, every value spelled out.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyReport {
    version: u8,
    mode: &'static str,
    methods: Vec<&'static str>,
    services: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    support: Option<String>,
    helper: String,
    app: AppRulesReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    sms: Option<ChannelReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<ChannelReport>,
    key: KeyRulesReport,
    trust: TrustRulesReport,
    rollout: RolloutRulesReport,
    notify: NotifyRulesReport,
    limits: LimitsReport,
    store: StoreReport,
    audit: AuditReport,
    exempt: Vec<ExemptReport>,
}

#[derive(Clone, Debug, Serialize)]
struct AppRulesReport {
    digits: u8,
    step: u8,
    skew: u8,
    algorithm: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct ChannelReport {
    hook: String,
    hook_user: String,
    valid_for: String,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefixes: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    country: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_address: Option<String>,
}

impl ChannelReport {
    fn new(channel: &Channel) -> Self {
        Self {
            hook: channel.hook.display().to_string(),
            hook_user: channel.hook_user.clone(),
            valid_for: format!("{}s", channel.valid_for),
            text: channel.text.as_str().into(),
            prefixes: None,
            country: None,
            default_address: None,
        }
    }
}

#[derive(Clone, Debug, Serialize)]
struct KeyRulesReport {
    rp_id: String,
    pin: bool,
}

#[derive(Clone, Debug, Serialize)]
struct TrustRulesReport {
    duration: String,
    offer: &'static str,
    session_services: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
struct NotifyRulesReport {
    events: Vec<&'static str>,
}

#[derive(Clone, Debug, Serialize)]
struct RolloutRulesReport {
    #[serde(skip_serializing_if = "Option::is_none")]
    enforce_from: Option<String>,
    grace_days: u64,
    enroll_at_login: bool,
}

#[derive(Clone, Debug, Serialize)]
struct LimitsReport {
    prompts: u8,
    failures: u8,
    window: String,
    total: u16,
    send_pause: String,
    sends_per_login: u8,
    sends_per_hour: u8,
    sends_per_day: u8,
    sends_per_host_hour: u16,
}

#[derive(Clone, Debug, Serialize)]
struct AuditReport {
    keep: String,
}

#[derive(Clone, Debug, Serialize)]
struct StoreReport {
    path: String,
    key: String,
}

#[derive(Clone, Debug, Serialize)]
struct ExemptReport {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    from: Vec<String>,
    reason: String,
    until: String,
}

impl PolicyReport {
    pub fn new(config: &Config) -> Self {
        let policy = &config.policy;
        Self {
            version: 1,
            mode: policy.mode.name(),
            methods: policy.methods.iter().map(|method| method.name()).collect(),
            services: policy.services.clone(),
            support: policy.support.clone(),
            helper: policy.helper.display().to_string(),
            sms: policy.sms.as_ref().map(|sms| ChannelReport {
                prefixes: Some(sms.prefixes.iter().map(|prefix| prefix.as_str().into()).collect()),
                country: sms.country.as_ref().map(|country| country.as_str().into()),
                ..ChannelReport::new(&sms.channel)
            }),
            email: policy.email.as_ref().map(|email| ChannelReport {
                default_address: email.default_address.as_ref().map(|address| address.as_str().into()),
                ..ChannelReport::new(&email.channel)
            }),
            app: AppRulesReport {
                digits: policy.app.shape.digits,
                step: policy.app.shape.step,
                skew: policy.app.skew,
                algorithm: policy.app.shape.algorithm.name(),
                issuer: policy.app.issuer.clone(),
            },
            key: KeyRulesReport { rp_id: policy.key.rp_id.clone(), pin: policy.key.pin },
            trust: TrustRulesReport {
                duration: policy.trust.duration.map_or_else(|| "single-sign-on".into(), span),
                offer: if policy.trust.always { "always" } else { "ask" },
                session_services: policy.trust.session_services.clone(),
            },
            rollout: RolloutRulesReport {
                enforce_from: (policy.rollout.from > 0).then(|| rfc3339(policy.rollout.from)),
                grace_days: policy.rollout.grace / 86_400,
                enroll_at_login: policy.rollout.enroll,
            },
            notify: NotifyRulesReport {
                events: policy.notify.occasions.iter().map(|occasion| occasion.name()).collect(),
            },
            limits: LimitsReport {
                prompts: policy.limits.prompts,
                failures: policy.limits.failures,
                window: format!("{}s", policy.limits.window),
                total: policy.limits.total,
                send_pause: format!("{}s", policy.limits.sends.pause),
                sends_per_login: policy.limits.sends.login,
                sends_per_hour: policy.limits.sends.hour,
                sends_per_day: policy.limits.sends.day,
                sends_per_host_hour: policy.limits.sends.host,
            },
            store: StoreReport {
                path: config.store.database.display().to_string(),
                key: config.store.key.display().to_string(),
            },
            audit: AuditReport { keep: format!("{}d", config.audit) },
            exempt: policy.exemptions.iter().map(ExemptReport::new).collect(),
        }
    }
}

impl ExemptReport {
    fn new(exemption: &Exemption) -> Self {
        let (user, group) = match &exemption.who {
            Who::User(name) => (Some(name.clone()), None),
            Who::Group(name) => (None, Some(name.clone())),
        };
        let from = exemption.from.iter().map(ToString::to_string).collect();
        Self { user, group, from, reason: exemption.reason.clone(), until: rfc3339(exemption.until) }
    }
}

/// What an administrator has to know about the methods of a policy, whatever the state of the host.
pub fn notices(policy: &Policy) -> Vec<String> {
    let notice = |method: &Method| match method {
        Method::App | Method::Key => None,
        Method::Sms => Some(
            "Codes by SMS are a restricted method (NIST SP 800-63B): a number can be taken over. Offer another one too.",
        ),
        Method::Email => Some(
            "Codes by e-mail are no second factor to NIST SP 800-63B: whoever reads the mailbox has them.",
        ),
    };
    policy.methods.iter().filter_map(notice).map(Into::into).collect()
}

/// A user of the host who could log in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoginUser {
    pub user: String,
    pub uid: u32,
}

/// Those of `users` who have no factor to answer with. A default address for codes is one for all.
pub fn without_factor(policy: &Policy, users: &[LoginUser], accounts: &[UserReport]) -> Vec<LoginUser> {
    if !policy.methods_of(&Factors::default()).is_empty() {
        return Vec::new();
    }
    without(users, accounts, |account| !account.methods.is_empty())
}

/// Those of `users` whom enforcement refuses now.
pub fn refused(policy: &Policy, users: &[LoginUser], accounts: &[UserReport], now: u64) -> Vec<LoginUser> {
    let standings = Standings::new(policy, accounts, now);
    let is_refused = |user: &&LoginUser| standings.of(user) == Standing::Refused;
    users.iter().filter(is_refused).cloned().collect()
}

/// The standing of every user of the host.
pub struct Standings<'a> {
    by_name: HashMap<&'a str, &'a UserReport>,
    by_uid: HashMap<u32, &'a UserReport>,
    /// Of somebody without an account.
    of_nobody: Standing,
}

impl<'a> Standings<'a> {
    pub fn new(policy: &Policy, accounts: &'a [UserReport], now: u64) -> Self {
        Self {
            by_name: accounts.iter().map(|account| (account.user.as_str(), account)).collect(),
            by_uid: accounts.iter().map(|account| (account.uid, account)).collect(),
            of_nobody: Standing::of(policy, None, now),
        }
    }

    /// The account of a user, if it is this very user's.
    pub fn account(&self, user: &LoginUser) -> Option<&'a UserReport> {
        self.by_name.get(user.user.as_str()).copied().filter(|account| account.uid == user.uid)
    }

    pub fn of(&self, user: &LoginUser) -> Standing {
        let others = self.by_name.contains_key(user.user.as_str()) || self.by_uid.contains_key(&user.uid);
        match self.account(user) {
            Some(account) => account.standing.clone(),
            // An account by this name or uid is another's: the module takes neither.
            None if others => Standing::Refused,
            None => self.of_nobody.clone(),
        }
    }
}

/// Those of `users` whom `method` cannot reach.
pub fn without_method(users: &[LoginUser], accounts: &[UserReport], method: Method) -> Vec<LoginUser> {
    without(users, accounts, |account| account.methods.contains(&method.name()))
}

fn without(
    users: &[LoginUser],
    accounts: &[UserReport],
    has: impl Fn(&UserReport) -> bool,
) -> Vec<LoginUser> {
    let having: HashSet<(&str, u32)> = accounts
        .iter()
        .filter(|account| has(account))
        .map(|account| (account.user.as_str(), account.uid))
        .collect();
    users.iter().filter(|user| !having.contains(&(user.user.as_str(), user.uid))).cloned().collect()
}

/// The users in the text of `getent passwd` whose shell lets them log in.
pub fn login_users(passwd: &str) -> Vec<LoginUser> {
    let user = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, _, _, _, shell] = fields.as_slice() else {
            return None;
        };
        // passwd(5): an empty shell is /bin/sh.
        let program = shell.rsplit('/').next().unwrap_or_default();
        let refuses = ["nologin", "false", "sync", "shutdown", "halt"].contains(&program);
        (!refuses).then_some(LoginUser { user: (*name).into(), uid: uid.parse().ok()? })
    };
    passwd.lines().filter_map(user).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{App, Change, Limits, SendLimits};
    use crate::code::{Algorithm, Secret, Shape};
    use crate::token::{Credential, PublicKey};
    use std::path::Path;

    const NOW: u64 = 1_795_298_625;
    const DAY: u64 = 86_400;
    const SENDS: SendLimits = SendLimits { pause: 60, login: 3, hour: 5, day: 10, host: 100 };
    const LIMITS: Limits = Limits { prompts: 3, failures: 5, window: 900, total: 50, sends: SENDS };

    /// A policy with these methods, codes by SMS to Poland only.
    fn policy(methods: &str, rest: &str) -> Policy {
        let text = format!(
            "version = 1\nmethods = {methods}\nservices = [\"sshd\", \"login\"]\n\
             [sms]\nhook = \"/h\"\nprefixes = [\"+48\"]\n{rest}\n"
        );
        crate::config::parse(Path::new("/p"), &text).unwrap().policy
    }

    fn with_app() -> Factors {
        let shape = Shape { algorithm: Algorithm::Sha1, digits: 6, step: 30 };
        let app = App { id: 1, label: "app".into(), secret: Secret::new([1; 20]), shape, added: 0 };
        Factors { apps: vec![app], ..Factors::default() }
    }

    fn with_key() -> Factors {
        let public = PublicKey::Ed25519(vec![1; 32]);
        let (rp_id, protocol) = ("twofa".into(), Protocol::Fido2);
        let credential = Credential { rp_id, id: vec![1], public, protocol, verify: false };
        let key = Key { id: 1, label: "key".into(), credential, has_pin: false, added: 0 };
        Factors { keys: vec![key], ..Factors::default() }
    }

    fn with_phone(number: &str) -> Factors {
        let to = Number::parse(number, None).unwrap();
        Factors { phone: Some(Confirmable { to, confirmed: None }), ..Factors::default() }
    }

    fn account(user: &str, uid: u32, factors: Factors) -> Account {
        Account { user: user.into(), uid, generation: 1, factors }
    }

    /// The days without a factor began then.
    fn grace(since: u64) -> State {
        State::default().apply(&Change::Grace, &LIMITS, since).unwrap()
    }

    /// What a login would come to, in the order of the roll-out: before the date, days to come, days that run, and after.
    #[test]
    fn a_standing_is_what_enforcement_does_now() {
        let app = "[\"app\", \"sms\"]";
        let from = "[rollout]\nenforce_from = 2027-01-15";
        let days = "[rollout]\ngrace_days = 3";
        let not_yet = || Standing::NotYet { enforced_from: "2027-01-15T00:00:00Z".into() };
        let to_come = || Standing::GraceToCome { grace_days: 3 };
        let until = |until: u64| Standing::Grace { grace_until: rfc3339(until) };
        let fresh = State::default;
        let suspended = || fresh().apply(&Change::Suspend(1), &LIMITS, NOW).unwrap();
        let none = Factors::default;
        let (polish, foreign) = (with_phone("+48600000123"), with_phone("+33123456789"));
        let key = "[\"key\", \"sms\"]";
        let table = [
            (app, "", none(), fresh(), Standing::Refused),
            (app, "", with_app(), fresh(), Standing::Enrolled),
            (app, "", polish.clone(), fresh(), Standing::Enrolled),
            (app, "", foreign.clone(), fresh(), Standing::Refused),
            (app, "", with_key(), fresh(), Standing::Refused),
            (app, from, none(), fresh(), not_yet()),
            (app, from, foreign.clone(), fresh(), not_yet()),
            (app, from, with_app(), fresh(), Standing::Enrolled),
            // Who once had a factor is not let in without.
            ("[\"sms\"]", from, with_app(), fresh(), Standing::Refused),
            (app, from, with_key(), fresh(), Standing::Refused),
            (key, "", with_key(), fresh(), Standing::Enrolled),
            (key, from, with_key(), suspended(), Standing::Refused),
            (app, days, none(), fresh(), to_come()),
            (app, days, foreign, fresh(), to_come()),
            (app, days, with_key(), fresh(), Standing::Refused),
            (app, days, none(), grace(NOW), until(NOW + 3 * DAY)),
            (app, days, none(), grace(NOW - 3 * DAY + 1), until(NOW + 1)),
            (app, days, none(), grace(NOW - 3 * DAY), Standing::Refused),
            (app, days, with_app(), grace(NOW - 3 * DAY), Standing::Enrolled),
            // Days that ran out do not come again with a later date, but nobody is refused before it.
            (app, from, none(), grace(NOW - 3 * DAY), not_yet()),
            (app, "", none(), grace(NOW), Standing::Refused),
        ];
        for (methods, rest, factors, state, expected) in table {
            let (policy, account) = (policy(methods, rest), account("alice", 1001, factors));
            let standing = Standing::of(&policy, Some((&account, &state)), NOW);
            assert_eq!(standing, expected, "{methods} {rest} {:?}", account.factors);
        }
        let of_nobody = |rest| Standing::of(&policy(app, rest), None, NOW);
        assert_eq!(
            [of_nobody(""), of_nobody(from), of_nobody(days)],
            [Standing::Refused, not_yet(), to_come()]
        );
        let mail = "[email]\nhook = \"/h\"\ndefault_address = \"root@localhost\"";
        assert_eq!(Standing::of(&policy("[\"email\"]", mail), None, NOW), Standing::Enrolled);
    }

    /// A clock from before the policy was written says nothing about dates, and one set back gives no day back.
    #[test]
    fn a_wrong_clock_lets_nobody_in() {
        for rest in ["[rollout]\nenforce_from = 2027-01-15", "[rollout]\ngrace_days = 3"] {
            let policy = Policy { written: NOW, ..policy("[\"app\"]", rest) };
            for (clock, refused) in [(NOW, false), (NOW - 3600, false), (NOW - 3601, true), (0, true)] {
                let standing = Standing::of(&policy, None, clock);
                assert_eq!(standing == Standing::Refused, refused, "{rest} {clock}");
            }
        }
        let policy = policy("[\"app\"]", "[rollout]\ngrace_days = 3");
        let state = grace(NOW - 3 * DAY).apply(&Change::Observe, &LIMITS, NOW).unwrap();
        let account = account("alice", 1001, Factors::default());
        for clock in [NOW, NOW - 1, NOW - 2 * DAY] {
            let standing = Standing::of(&policy, Some((&account, &state)), clock);
            assert_eq!(standing, Standing::Refused, "{clock}");
        }
    }

    /// An account of another uid is another's: its user is refused, whatever the roll-out says.
    #[test]
    fn who_is_refused_now_is_named() {
        let user = |user: &str, uid| LoginUser { user: user.into(), uid };
        let users = [
            user("alice", 1001),
            user("bob", 1002),
            user("carol", 1003),
            user("dave", 1004),
            user("erin", 1005),
        ];
        let accounts = [
            (account("alice", 1001, with_app()), State::default()),
            (account("bob", 1002, Factors::default()), State::default()),
            (account("carol", 1003, Factors::default()), grace(NOW - 3 * DAY)),
            (account("dave", 2004, with_app()), State::default()),
            // No user of this host.
            (account("mallory", 1666, with_key()), State::default()),
        ];
        let table = [
            ("[\"app\"]", "", vec!["bob", "carol", "dave", "erin"]),
            ("[\"app\"]", "[rollout]\nenforce_from = 2027-01-15", vec!["dave"]),
            ("[\"app\"]", "[rollout]\ngrace_days = 3", vec!["carol", "dave"]),
            ("[\"sms\"]", "", vec!["alice", "bob", "carol", "dave", "erin"]),
            ("[\"sms\"]", "[rollout]\nenforce_from = 2027-01-15", vec!["alice", "dave"]),
            ("[\"sms\"]", "[rollout]\ngrace_days = 3", vec!["alice", "carol", "dave"]),
        ];
        for (methods, rest, expected) in table {
            let policy = policy(methods, rest);
            let reports: Vec<UserReport> = accounts
                .iter()
                .map(|(account, state)| UserReport::new(account, state, &policy, NOW))
                .collect();
            let named: Vec<String> =
                refused(&policy, &users, &reports, NOW).into_iter().map(|user| user.user).collect();
            assert_eq!(named, expected, "{methods} {rest}");
        }
    }

    #[test]
    fn users_with_a_shell_can_log_in() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/:/usr/sbin/nologin\n\
                      sync:x:4:65534::/bin:/bin/sync\nalice:x:1001:1001:Alice,,,:/home/alice:\nbroken:x\n";
        let names = |users: Vec<LoginUser>| users.into_iter().map(|user| user.user).collect::<Vec<_>>();
        assert_eq!(names(login_users(passwd)), ["root", "alice"]);
    }
}
