//! What goes into a login, and what comes out of it.

use super::Reply;
use crate::account::{Account, Change, Conflict, Device, Enrolment, Lock, State};
use crate::code::{Answer, Secret, SentCode, Shape};
use crate::policy::{Method, Recipient};
use crate::token::{Touch, Touched};
use zeroize::Zeroizing;

/// What the driver has to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read the account and its state.
    Read,
    /// Say `notice`, then prompt.
    Ask { notice: Option<Notice>, prompt: Prompt },
    /// Store this change, durably, before anything is said about it.
    Commit(Change),
    /// Send a code.
    Deliver(Delivery),
    /// Say `notice`, and wait for a key to be touched.
    Touch { notice: Option<Notice>, touch: Touch },
    /// Say `notice`; the login is over.
    Finish { notice: Option<Notice>, verdict: Verdict },
}

/// A code to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub method: Method,
    pub to: Recipient,
    pub code: SentCode,
    /// Whether it is to confirm where it is sent to.
    pub enrolls: bool,
    /// Seconds since 1970.
    pub until: u64,
    /// Names this message, and tells nothing.
    pub id: String,
}

/// What came of it.
#[derive(Clone, Debug)]
pub enum Event {
    Begin,
    /// What the store has of the user, and a number of its own making for this name: three digits of it stand for
    /// a telephone that nobody has.
    Account(Option<Box<(Account, State)>>, u16),
    Answer(Answer),
    /// What came back from a prompt for a PIN, when it is nothing else.
    Pin(Secret),
    /// What came back from a prompt of an enrolment.
    Replied(Reply),
    /// What was answered to a question of yes or no.
    Confirmed(bool),
    /// The prompt was given up: no answer at all came back.
    NoAnswer,
    /// There is no conversation, or it failed.
    Gone,
    /// The change is stored; this is the state now.
    Committed(Box<State>),
    /// The change was judged and not stored.
    Conflict(Conflict),
    /// The store could not do it.
    Failed,
    /// The gateway took the message.
    Delivered,
    /// It did not, or nobody knows.
    Undelivered,
    Touched(Touched),
}

/// What a prompt asks for. Recovery codes are accepted at every one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// A code of the app; or the name of the other method.
    App { or: Option<Method> },
    /// The code that was sent `to`, masked.
    Sent { method: Method, to: String, or: Option<Method> },
    /// The PIN of the security key, which is about to be touched.
    Pin { or: Option<Method> },
    /// A recovery code, after the hard stop or because nothing else worked; or the name of a method.
    Recovery { or: Vec<Method>, resend: bool },
    /// The code that a new app shows; or the name of what else can be set up.
    NewApp { or: Option<Method> },
    /// That the recovery codes are saved.
    Saved,
    /// A telephone number; or the name of what else can be set up.
    NewPhone { or: Option<Method> },
    /// The code that was sent to that number, masked.
    NewPhoneCode { to: String },
    /// No code: whether this device is to be trusted, for so many seconds.
    Trust { device: Device, duration: u64 },
}

impl Prompt {
    /// Whether a `Reply` comes back from it.
    pub fn is_of_enrolment(&self) -> bool {
        match self {
            Self::NewApp { .. } | Self::Saved | Self::NewPhone { .. } | Self::NewPhoneCode { .. } => true,
            Self::App { .. } | Self::Sent { .. } | Self::Pin { .. } => false,
            Self::Recovery { .. } | Self::Trust { .. } => false,
        }
    }
}

/// An app to be set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppToScan {
    pub issuer: String,
    pub user: String,
    pub secret: Secret,
    pub shape: Shape,
    /// Whether a QR code is of use.
    pub qr: bool,
}

/// What a user is told; `message` has the words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    WrongCode,
    AlreadyUsed,
    PasswordIsNoCode,
    /// An empty answer where a code was sent.
    NothingTyped,
    /// The last try for this code was wrong.
    CodeVoid,
    Expired,
    /// A later login of the same user asked for a code.
    Superseded,
    /// No code could be sent this way.
    NotSent(Method),
    /// The next one may be sent after so many seconds. What was sent last, if not for this login, is not good here.
    TooSoon {
        seconds: u64,
        elsewhere: bool,
        /// What to type then.
        word: &'static str,
    },
    /// A word that means nothing at this prompt.
    NotOffered,
    /// So many were sent that no more are for a while.
    Capped,
    TouchKey,
    /// Only a security key counts here, and there is none.
    KeyNeeded,
    NoKey,
    KeyNotEnrolled,
    NotTouched,
    WrongPin(Option<u8>),
    PinPaused,
    PinBlocked,
    /// More than one of them asks for a PIN.
    SeveralKeys,
    KeyGone,
    /// The key's answer proves nothing.
    KeyRefused,
    /// No key could be asked.
    KeyUnusable,
    KeySuspended,
    Locked(Lock),
    RecoveryCodesLeft(usize),
    /// From then on a factor is asked for, and this user has none. So many seconds without one begin with the first
    /// login behind it.
    NotYet {
        from: u64,
        grace: u64,
    },
    /// This user has no factor, and gets in without one until then.
    Grace {
        until: u64,
    },
    /// Why something is to be set up, and what an app has to know for it.
    SetUp {
        why: Box<Notice>,
        app: Option<AppToScan>,
    },
    /// The app to be set up, once more.
    App(AppToScan),
    /// Codes that are shown this once.
    RecoveryCodes(Vec<Zeroizing<String>>),
    /// The new app shows another code.
    NewCodeWrong,
    /// Nothing counts before.
    NotSaved,
    /// Why no code is sent to this number.
    BadNumber(&'static str),
    /// Nothing was set up.
    NotSetUp,
    /// A bypass opens one login.
    BypassSpent,
    /// What was set up counts now.
    Enrolled(Box<Enrolment>),
    /// It could not be stored.
    NotKept,
    /// Until then (seconds since 1970) no code is asked for from there.
    Trusted {
        device: Device,
        until: u64,
    },
    Refused,
    /// This way of logging in has no second factor.
    NoFactor,
    Unavailable,
}

/// How a login ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    NotConcerned,
    Admit(Admission),
    Refuse(Refusal),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// A code of the app with this label.
    App {
        label: String,
    },
    /// A recovery code; so many are left.
    Recovery {
        left: usize,
    },
    /// A code that was sent `to`, masked.
    Sent {
        method: Method,
        to: String,
    },
    /// A security key at the console.
    Key {
        label: String,
    },
    /// A security key as the SSH key of this login.
    SshKey {
        label: String,
        fingerprint: String,
    },
    /// No factor yet, and none asked for before then.
    NotYet {
        from: u64,
    },
    /// No factor yet, and until then none asked for.
    Grace {
        until: u64,
    },
    /// As one of those two, and the user set something up: it is kept if the login gets through.
    SettingUp {
        enrolment: Box<Enrolment>,
        admission: Box<Admission>,
    },
    /// The code of a bypass.
    Bypass {
        reason: String,
    },
    /// Inside a session whose login proved a factor.
    Session,
    /// From a device that is trusted until then.
    Trusted {
        until: u64,
    },
    /// The account phase: this handle's auth phase proved a factor.
    Proven,
    /// The account phase of su or sudo, whose stack asked nothing of somebody who is in already.
    Inside,
    /// The policy asks nothing of this user.
    Exempt {
        reason: String,
        until: u64,
    },
    Off,
    /// Observe mode: it would have been refused.
    Observed(Refusal),
}

impl Admission {
    /// Whether the user proved a factor of their own in this very login.
    pub fn is_by_factor(&self) -> bool {
        match self {
            Self::App { .. } | Self::Recovery { .. } | Self::Sent { .. } => true,
            Self::Key { .. } | Self::SshKey { .. } => true,
            Self::NotYet { .. } | Self::Grace { .. } | Self::SettingUp { .. } | Self::Bypass { .. } => false,
            Self::Session | Self::Trusted { .. } | Self::Proven | Self::Inside => false,
            Self::Exempt { .. } | Self::Off | Self::Observed(_) => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    UnknownUser,
    NotEnrolled,
    /// The account belongs to another uid: the user was removed and made anew.
    UidMismatch,
    WrongCode,
    AlreadyUsed,
    /// The right code, too late.
    Expired,
    /// The right code, after another login asked for one.
    Superseded,
    /// Only a security key counts, and this login showed none.
    KeyNeeded,
    Locked(Lock),
    /// Only empty answers, the login password, or wishes, in place of a code.
    Blank,
    /// sshd will refuse this user anyway, and answers with junk.
    Fake,
    NoAnswer,
    NoConversation,
    /// An administrator changed the user's factors during the login.
    Changed,
    /// The application changed the user's name during the login.
    UserChanged,
    /// The account phase of a login that proved no factor (a public-key login).
    NoFactor,
    /// Policy, store or machine out of order; the log says which.
    Unavailable,
}
