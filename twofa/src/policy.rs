//! What the administrator decided, as values that are valid by construction, and what follows for one
//! request. No clock, no I/O: `config` reads the file, `system` looks up the user.

use crate::account::Limits;
use crate::code::Shape;
use ipnet::IpNet;
use std::net::IpAddr;

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
}

impl Method {
    /// The word in the policy file, at prompts and in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::App => "app",
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

    pub fn concerns(&self, service: &str) -> bool {
        self.services.iter().any(|listed| listed == service)
    }

    /// The groups that decide about a login from `address`.
    pub fn groups(&self, address: Option<IpAddr>, now: u64) -> impl Iterator<Item = &str> {
        self.in_force(address, now).filter_map(|exemption| match &exemption.who {
            Who::Group(name) => Some(name.as_str()),
            Who::User(_) => None,
        })
    }

    fn in_force(&self, address: Option<IpAddr>, now: u64) -> impl Iterator<Item = &Exemption> {
        let holds = move |exemption: &&Exemption| {
            let since = self.written.saturating_sub(CLOCK_TOLERANCE);
            (since..exemption.until).contains(&now) && exemption.is_for(address)
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
    use crate::code::Algorithm;

    fn policy(mode: Mode, exemptions: Vec<Exemption>) -> Policy {
        Policy {
            mode,
            methods: vec![Method::App],
            services: vec!["sshd".into(), "login".into()],
            support: None,
            limits: Limits { prompts: 3, failures: 5, window: 900, total: 50 },
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
}
