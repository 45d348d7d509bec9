//! What is known of a user: the factors an administrator set up (`Account`), and what logins change
//! (`State`), with the one function that judges every such change.

use crate::code::{RecoverySet, Secret, Shape, Tag};
use crate::contact::{Address, Confirmable, Number};
use crate::sshkey::{self, SkKey};
use crate::token::Credential;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv6Addr};

mod enrolment;
mod state;

pub use enrolment::{Enrolment, NewApp, NewPhone};
#[cfg(test)]
pub(crate) use state::tests::maximal;
pub use state::{State, TrustedDevice, clock, was_sent_within};

/// Bounds of the lists in `State`, whose encoded size is fixed.
pub const MAX_APPS: usize = 8;
/// Of each kind.
pub const MAX_KEYS: usize = 8;
/// As many messages as a user may be sent in a day.
pub const MAX_SENDS: u8 = 20;
/// As many messages as a host may send in an hour: those of a day are kept (store/sends.rs).
pub const MAX_HOST_SENDS: u16 = 1000;
pub const MAX_ADDRESSES: usize = 5;
/// Trusted devices of one user: networks and keys, not machines.
pub const MAX_DEVICES: usize = 8;
/// Processes of one user that login sessions hang on; a login has one or two.
pub const MAX_PROCESSES: usize = 16;
/// Bytes of the reason for a bypass.
pub const MAX_REASON: usize = 100;

/// Wrong answers to one sent code.
pub const SENT_TRIES: u8 = 3;
/// One user: who it is on this host, and the factors.
#[derive(Clone, Debug)]
pub struct Account {
    pub user: String,
    pub uid: u32,
    /// Another number with every change an administrator makes; a `State` belongs to one generation.
    pub generation: u64,
    pub factors: Factors,
}

/// What an administrator set up for a user; sealed at rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Factors {
    pub apps: Vec<App>,
    pub recovery: Option<RecoverySet>,
    /// The number that codes are sent to.
    pub phone: Option<Confirmable<Number>>,
    /// A code sent by e-mail goes to all of these.
    pub addresses: Vec<Confirmable<Address>>,
    pub keys: Vec<Key>,
    pub ssh_keys: Vec<SshKey>,
}

impl Factors {
    /// Whether there is nothing that a login could be proven with, but perhaps where to send a code.
    pub fn prove_nothing(&self) -> bool {
        self.apps.is_empty() && self.keys.is_empty() && self.ssh_keys.is_empty()
    }
}

/// A security key that is plugged into this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Names this key in `State`, for as long as it is enrolled.
    pub id: u8,
    pub label: String,
    pub credential: Credential,
    /// It proved, when it was enrolled, that it has a PIN.
    pub has_pin: bool,
    pub added: u64,
}

/// A security key that is plugged into the client, as an SSH key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshKey {
    pub label: String,
    pub key: SkKey,
    pub added: u64,
}

/// One authenticator app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Names this app in `State`, for as long as it is enrolled.
    pub id: u8,
    /// What the user calls it: `phone`, `tablet`.
    pub label: String,
    pub secret: Secret,
    pub shape: Shape,
    /// When it was enrolled, in seconds since 1970.
    pub added: u64,
}

/// Where a login comes from, as far as failures are counted: an IPv4 address, an IPv6 /64 (one
/// customer's network, whose addresses cost nothing), or none at the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source(Option<IpAddr>);

impl Source {
    pub const CONSOLE: Self = Self(None);

    pub fn new(address: Option<IpAddr>) -> Self {
        Self(address.map(|address| match address.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & !0 << 64).into(),
            v4 => v4,
        }))
    }
}

/// What a login is known again by: the client's network, and the SSH key that was used, if one was. Whoever shares
/// both shares the trust.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    network: Source,
    /// SHA-256 of the key as sshd names it.
    key: Option<[u8; 32]>,
}

impl Device {
    /// Nothing for addresses that others have too: loopback, where whoever tunnels comes from, link-local ones, and
    /// the host's `own`.
    pub fn new(address: IpAddr, key: Option<[u8; 32]>, own: &[IpAddr]) -> Option<Self> {
        let address = address.to_canonical();
        let shared = match address {
            IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        let is_own = || own.iter().any(|own| own.to_canonical() == address);
        let nobodys = address.is_loopback() || address.is_unspecified() || address.is_multicast();
        (!shared && !nobodys && !is_own()).then(|| Self { network: Source::new(Some(address)), key })
    }

    /// `192.0.2.7` or `2001:db8:1:2::/64`, and the key as ssh-keygen prints it.
    pub fn describe(&self) -> (String, Option<String>) {
        let network = match self.network.0 {
            Some(IpAddr::V6(v6)) => format!("{v6}/64"),
            Some(v4) => v4.to_string(),
            None => String::new(),
        };
        (network, self.key.as_ref().map(sshkey::fingerprint))
    }

    /// Whether it connects from this address's network.
    pub fn is_from(&self, address: IpAddr) -> bool {
        self.network == Source::new(Some(address))
    }
}

/// A login's claim to be trusted, or to become so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub device: Device,
    /// What the user's password is known by now; trust given under another one is void.
    pub password: Option<PasswordTag>,
    /// How long the policy trusts a device, in seconds; trust given for longer is void.
    pub duration: u64,
}

/// Tells one password from another, and nothing else about either.
pub type PasswordTag = [u8; 8];

/// A process of this host, as nothing else is: its number is given again, and its start is of this boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub pid: u32,
    /// Clock ticks from boot to its start (proc_pid_stat(5), starttime).
    pub start: u64,
    /// What this boot is known by.
    pub boot: [u8; 8],
}

/// The login session that a request is made in, as the kernel's audit tells (proc_pid_sessionid(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Whose login it is (proc_pid_loginuid(5)).
    pub uid: u32,
    /// All that runs in it.
    pub processes: Vec<Process>,
}

/// An administrator's way in for a user: one code, for one login, for a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bypass {
    /// What the code is known by: a set of one.
    pub code: RecoverySet,
    pub until: u64,
    pub reason: String,
}

/// How many wrong answers are borne; from the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Guesses in one login.
    pub prompts: u8,
    /// Failures of one user from one address until that address is locked.
    pub failures: u8,
    /// Seconds: without a failure for so long, an address starts anew. Also the first lock's length.
    pub window: u64,
    /// Failures of one user from anywhere until only a recovery code is accepted.
    pub total: u16,
    pub sends: SendLimits,
}

/// How many messages are sent, so that nobody's telephone bill is at a stranger's mercy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendLimits {
    /// Seconds between two messages to one user.
    pub pause: u64,
    /// In one login.
    pub login: u8,
    /// To one user, and to one number, in an hour and in a day.
    pub hour: u8,
    pub day: u8,
    /// To everybody, in an hour.
    pub host: u16,
}

/// Why no code is accepted, or no code of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// This address, until then (seconds since 1970).
    Address(u64),
    /// All codes but recovery codes, until an administrator unlocks the user.
    Total,
}

/// What an answer proved; spending it is what makes it count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A code that is right for these apps. More than one only when one secret was enrolled twice:
    /// then the code is spent for all of them.
    App(Vec<Spent>),
    /// The recovery code at this position of the set.
    Recovery(u8),
    /// The code that was sent.
    Sent(Tag),
    /// A signature of this key, and the counter in it.
    Key { key: u8, counter: u32 },
    /// sshd accepted an enrolled key of a security key.
    SshKey,
    /// It comes from a device that is trusted.
    Trusted(Claim),
    /// It is made inside a session whose login proved a factor.
    Session(Session),
    /// The code of a bypass, as it is known.
    Bypass(RecoverySet),
}

/// The newest time step that an app's code was accepted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    pub app: u8,
    pub step: u64,
}

/// The kinds of wrong answer. All count against the address they come from; towards the hard stop only codes
/// do, as 120 bits are not guessed: whoever sets it off cannot close the way back in too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guess {
    Code,
    Recovery,
    /// In place of the sent code with this tag, which bears only a few.
    Sent(Tag),
}

/// What a login, or `twofa-admin user unlock`, wants to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A right answer. `typos` failures were charged to this same login before: they were its user's.
    Prove { proof: Proof, source: Source, typos: u8 },
    /// A wrong answer.
    Fail { guess: Guess, source: Source },
    /// A code is about to be sent, known by `tag` and good for so many seconds: counted before it is. This login had
    /// `earlier` ones.
    Send { tag: Tag, valid_for: u64, source: Source, number: Option<Number>, earlier: u8 },
    /// The device of a login that proved a factor is trusted from now on.
    Trust(Claim),
    /// A user needs a place for what is to be counted; nothing is yet.
    Register,
    /// The first login without a factor, where the policy bears that for some days.
    Grace,
    /// Observe mode: this login would have been refused.
    Observe,
    /// The login that these processes belong to proved a factor.
    Open(Vec<Process>),
    /// This key's counter did not grow: there may be two of it. It counts no longer.
    Suspend(u8),
    /// An administrator forgives all failures.
    Unlock,
}

/// Why a change was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// The code was used, or a newer one was.
    Used,
    Locked(Lock),
    /// An administrator changed the user's factors meanwhile.
    Changed,
    /// The sent code is too old.
    Expired,
    /// Another code was sent after this one.
    Superseded,
    /// Another message may be sent after so many seconds.
    TooSoon(u64),
    Capped(Cap),
    /// The counter of this key did not grow.
    CounterBack(u8),
    /// The device is trusted no longer.
    Untrusted,
}

/// Which limit of messages was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cap {
    Login,
    User,
    Number,
    Host,
}

impl Proof {
    /// What it could have been guessed as.
    fn guess(&self) -> Option<Guess> {
        match self {
            Self::App(_) => Some(Guess::Code),
            Self::Recovery(_) => Some(Guess::Recovery),
            Self::Sent(tag) => Some(Guess::Sent(*tag)),
            // 120 bits are not guessed; and this is the way in when all others are closed.
            Self::Bypass(_) => None,
            Self::Key { .. } | Self::SshKey | Self::Trusted(_) | Self::Session(_) => None,
        }
    }
}
