//! One login as a pure state machine: what happened goes in, the next step comes out. It reads no clock
//! and does no I/O, so every short sequence of events is checked exhaustively (tests/login_machine.rs).
//!
//! Only a committed proof admits, or a decision of the policy that asks for none. Whatever was not
//! foreseen refuses.

use crate::account::{
    Account, App, Change, Conflict, Guess, Key, Lock, Proof, SENT_TRIES, Source, Spent, State,
};
use crate::code::{self, Answer, SENT_DIGITS, Secret, Seed, SentCode, Word};
use crate::policy::{Decision, Method, Mode, Policy, Recipient, Request, Waiver};
use crate::token::{Credential, Protocol, PublicKey, Touch, Touched};
use std::mem;
use subtle::ConstantTimeEq;

/// How many empty answers (or login passwords) in place of a code end a login.
const MAX_BLANKS: u8 = 3;
/// How many wishes (`sms`, `resend`) one login has.
const MAX_WORDS: u8 = 8;
/// Seconds that a touch is waited for.
const TOUCH_TIME: u8 = 30;

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
    Touch { notice: Notice, touch: Touch },
    /// Say `notice`; the login is over.
    Finish { notice: Option<Notice>, verdict: Verdict },
}

/// A code to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub method: Method,
    pub to: Recipient,
    pub code: SentCode,
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
    PinBlocked,
    /// The key's answer proves nothing.
    KeyRefused,
    KeySuspended,
    Locked(Lock),
    RecoveryCodesLeft(usize),
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
    WrongPin,
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

/// One login from its begin to its verdict.
#[derive(Clone, Debug)]
pub struct Login<'a> {
    policy: &'a Policy,
    request: &'a Request,
    stage: Stage,
    /// Who answers; a decoy until the store named an account, and for ever when it has none.
    subject: Subject,
    /// What this user can use, of the policy's methods.
    methods: Vec<Method>,
    prompt: Prompt,
    guesses: u8,
    blanks: u8,
    words: u8,
    /// Wrong codes charged to this login.
    charged: u8,
    /// Where the codes of this login come from.
    seed: &'a Seed,
    /// Codes sent, or about to be.
    sent: u8,
    last_sent: Option<u64>,
    /// The code that may be typed now.
    live: Option<Live>,
    /// Times that a key was asked for.
    touches: u8,
}

/// A sent code that is waited for.
#[derive(Clone, Copy, Debug)]
struct Live {
    method: Method,
    number: u8,
    tries: u8,
}

#[derive(Clone, Debug)]
enum Stage {
    New,
    Reading,
    Asking,
    Proving(Admission),
    Failing(Guess),
    /// The code is being counted.
    Counting(Method),
    Delivering(Method),
    /// For one of these keys: number and label.
    Touching(Vec<(u8, String)>),
    Suspending,
    Over,
}

#[derive(Clone, Debug)]
enum Subject {
    Enrolled(Box<Account>),
    /// Nobody who could be admitted: the same prompts, the same work, the same writes.
    Decoy(Refusal, u16),
}

impl<'a> Login<'a> {
    pub fn new(policy: &'a Policy, request: &'a Request, seed: &'a Seed) -> Self {
        Self {
            policy,
            request,
            stage: Stage::New,
            subject: Subject::Decoy(Refusal::Unavailable, 0),
            methods: policy.methods.clone(),
            prompt: Prompt::Recovery { or: Vec::new(), resend: false },
            guesses: 0,
            blanks: 0,
            words: 0,
            charged: 0,
            seed,
            sent: 0,
            last_sent: None,
            live: None,
            touches: 0,
        }
    }

    /// The next step, `now` in seconds since 1970.
    pub fn next(&mut self, event: Event, now: u64) -> Step {
        match (mem::replace(&mut self.stage, Stage::Over), event) {
            (Stage::New, Event::Begin) => self.begin(now),
            (Stage::Reading, Event::Account(found, decoy)) => self.meet(found, decoy, now),
            (Stage::Asking, Event::Answer(answer)) => self.judge(&answer, now),
            (Stage::Asking, Event::NoAnswer) => self.refuse(Refusal::NoAnswer),
            (Stage::Asking, Event::Gone) => self.refuse(Refusal::NoConversation),
            (Stage::Proving(admission), Event::Committed(state)) => self.admit(admission, &state),
            (Stage::Failing(guess), Event::Committed(state)) => self.failed(guess, &state, now),
            (Stage::Proving(_) | Stage::Failing(_), Event::Conflict(conflict)) => self.clash(conflict),
            (Stage::Counting(method), Event::Committed(_)) => self.deliver(method, now),
            (Stage::Counting(method), Event::Conflict(conflict)) => self.not_counted(method, conflict),
            (Stage::Counting(method), Event::Failed) => self.not_sent(method, Notice::NotSent(method)),
            (Stage::Delivering(method), Event::Delivered) => self.ask_for_sent(method, None),
            (Stage::Delivering(method), Event::Undelivered) => {
                self.live = None;
                self.not_sent(method, Notice::NotSent(method))
            }
            (Stage::Asking, Event::Pin(pin)) if matches!(self.prompt, Prompt::Pin { .. }) => {
                self.touch(Some(pin))
            }
            (Stage::Touching(keys), Event::Touched(touched)) => self.touched(&keys, touched),
            (Stage::Suspending, Event::Committed(_)) => self.no_touch(Notice::KeySuspended),
            _ => self.refuse(Refusal::Unavailable),
        }
    }

    fn begin(&mut self, now: u64) -> Step {
        match waived(self.policy.decide(self.request, now)) {
            Some(verdict) => Step::Finish { notice: None, verdict },
            None => {
                self.stage = Stage::Reading;
                Step::Read
            }
        }
    }

    /// Who this is, and whether an answer is worth asking for.
    fn meet(&mut self, found: Option<Box<(Account, State)>>, decoy: u16, now: u64) -> Step {
        let Some(known) = &self.request.known else {
            return self.meet_nobody(Refusal::UnknownUser, decoy, now);
        };
        let Some((account, state)) = found.map(|found| *found) else {
            return self.meet_nobody(Refusal::NotEnrolled, decoy, now);
        };
        if account.uid != known.uid {
            return self.meet_nobody(Refusal::UidMismatch, decoy, now);
        }
        let methods = self.policy.methods_of(&account.factors);
        if methods.is_empty() {
            return self.meet_nobody(Refusal::NotEnrolled, decoy, now);
        }
        if methods.contains(&Method::Key)
            && let Some(key) =
                account.factors.ssh_keys.iter().find(|own| self.request.ssh_keys.contains(&own.key))
        {
            let admission =
                Admission::SshKey { label: key.label.clone(), fingerprint: key.key.fingerprint() };
            self.subject = Subject::Enrolled(Box::new(account));
            return self.prove(Proof::SshKey, admission);
        }
        let mut account = account;
        account.factors.keys.retain(|key| !state.is_suspended(key.id));
        let lock = state.lock(self.source(), &self.policy.limits, now);
        let recovery_left = account.factors.recovery.as_ref().map_or(0, |set| state.recovery_left(set.len()));
        self.methods = methods;
        self.methods.retain(|method| {
            *method != Method::Key || self.request.local && !account.factors.keys.is_empty()
        });
        self.subject = Subject::Enrolled(Box::new(account));
        match lock {
            None => self.begin_asking(now),
            // Locks are about guessing, and a touch is no guess.
            Some(_) if self.methods.contains(&Method::Key) => {
                self.methods = vec![Method::Key];
                self.turn_to(Method::Key, now)
            }
            Some(Lock::Total) if recovery_left > 0 => {
                self.prompt = Prompt::Recovery { or: Vec::new(), resend: false };
                self.ask(Some(Notice::Locked(Lock::Total)))
            }
            Some(lock) => self.refuse(Refusal::Locked(lock)),
        }
    }

    /// With the first method that is of use here; a security key may be, and not be here.
    fn begin_asking(&mut self, now: u64) -> Step {
        match self.methods.first().copied() {
            Some(method) => self.turn_to(method, now),
            None => {
                self.prompt = Prompt::Recovery { or: Vec::new(), resend: false };
                self.ask(Some(Notice::KeyNeeded))
            }
        }
    }

    fn meet_nobody(&mut self, refusal: Refusal, decoy: u16, now: u64) -> Step {
        // Who is let in anyway is not bothered with a prompt that no answer satisfies.
        if self.policy.mode == Mode::Observe {
            return self.refuse(refusal);
        }
        self.subject = Subject::Decoy(refusal, decoy);
        self.methods.retain(|method| *method != Method::Key || self.request.local);
        self.begin_asking(now)
    }

    /// Asks for a code of `method`, and sends one if there is none to wait for.
    fn turn_to(&mut self, method: Method, now: u64) -> Step {
        match method {
            Method::App => {
                self.prompt = Prompt::App { or: self.other(method) };
                self.ask(None)
            }
            Method::Key if self.needs_pin() => self.ask_for_pin(None),
            Method::Key => self.touch(None),
            Method::Sms | Method::Email if self.waits_for(method) => self.ask_for_sent(method, None),
            Method::Sms | Method::Email => self.send(method, now),
        }
    }

    /// Whether a code of `method` was sent that may still be typed.
    fn waits_for(&self, method: Method) -> bool {
        self.live.is_some_and(|live| live.method == method)
    }

    /// The other method of the policy, if this user can use it.
    fn other(&self, method: Method) -> Option<Method> {
        self.methods.iter().copied().find(|other| *other != method)
    }

    fn ask(&mut self, notice: Option<Notice>) -> Step {
        self.stage = Stage::Asking;
        Step::Ask { notice, prompt: self.prompt.clone() }
    }

    fn ask_for_sent(&mut self, method: Method, notice: Option<Notice>) -> Step {
        self.prompt = Prompt::Sent { method, to: self.masked(method), or: self.other(method) };
        self.ask(notice)
    }

    /// A new code: counted and known before it is sent.
    fn send(&mut self, method: Method, now: u64) -> Step {
        if !self.request.first_factor {
            return self.not_sent(method, Notice::NotSent(method));
        }
        let limits = &self.policy.limits.sends;
        // The state says so too; but a decoy has none.
        let wait = self.last_sent.map_or(0, |last| last.saturating_add(limits.pause).saturating_sub(now));
        if wait > 0 && self.sent < limits.login {
            return self.too_soon(method, wait, false);
        }
        let Some(channel) = self.policy.channel(method) else {
            return self.refuse(Refusal::Unavailable);
        };
        let number = match self.recipient(method) {
            Some(Recipient::Phone(number)) => Some(number),
            _ => None,
        };
        self.stage = Stage::Counting(method);
        Step::Commit(Change::Send {
            tag: self.seed.sent_tag(self.sent),
            valid_for: channel.valid_for,
            source: self.source(),
            number,
            earlier: self.sent,
        })
    }

    fn deliver(&mut self, method: Method, now: u64) -> Step {
        let number = self.sent;
        self.sent = number.saturating_add(1);
        self.last_sent = Some(now);
        self.live = Some(Live { method, number, tries: SENT_TRIES });
        let valid_for = self.policy.channel(method).map_or(0, |channel| channel.valid_for);
        match self.recipient(method) {
            Some(to) => {
                self.stage = Stage::Delivering(method);
                Step::Deliver(Delivery {
                    method,
                    to,
                    code: self.seed.sent_code(number),
                    until: now.saturating_add(valid_for),
                    id: self.seed.message_id(number),
                })
            }
            None => self.ask_for_sent(method, None),
        }
    }

    fn not_counted(&mut self, method: Method, conflict: Conflict) -> Step {
        match conflict {
            // This login's own pause was over.
            Conflict::TooSoon(wait) => self.too_soon(method, wait, true),
            Conflict::Capped(_) => self.not_sent(method, Notice::Capped),
            Conflict::Locked(lock) => self.refuse(Refusal::Locked(lock)),
            Conflict::Changed => self.refuse(Refusal::Changed),
            // Only a proof meets these.
            Conflict::Used | Conflict::Expired | Conflict::Superseded | Conflict::CounterBack(_) => {
                self.refuse(Refusal::Unavailable)
            }
        }
    }

    fn too_soon(&mut self, method: Method, seconds: u64, elsewhere: bool) -> Step {
        let to_app = !self.waits_for(method) && self.other(method) == Some(Method::App);
        let word = if to_app { method.name() } else { "resend" };
        self.not_sent(method, Notice::TooSoon { seconds, elsewhere, word })
    }

    /// No new code: the last one may still be typed, or a code of the other method, or a recovery code.
    fn not_sent(&mut self, method: Method, notice: Notice) -> Step {
        match self.other(method) {
            _ if self.waits_for(method) => return self.ask_for_sent(method, Some(notice)),
            Some(Method::App) => self.prompt = Prompt::App { or: Some(method) },
            other => self.prompt = Prompt::Recovery { or: other.into_iter().collect(), resend: true },
        }
        self.ask(Some(notice))
    }

    fn keys(&self) -> &[Key] {
        match &self.subject {
            Subject::Enrolled(account) => &account.factors.keys,
            Subject::Decoy(..) => &[],
        }
    }

    fn needs_pin(&self) -> bool {
        self.policy.key.pin || self.keys().iter().any(|key| key.credential.verify)
    }

    fn ask_for_pin(&mut self, notice: Option<Notice>) -> Step {
        self.prompt = Prompt::Pin { or: self.other(Method::Key) };
        self.ask(notice)
    }

    /// Asks all keys at once; nobody's for a credential that no key has.
    fn touch(&mut self, pin: Option<Secret>) -> Step {
        let number = self.touches;
        self.touches = number.saturating_add(1);
        if number >= self.policy.limits.prompts {
            return self.no_touch(Notice::NotTouched);
        }
        let challenge = self.seed.challenge(number);
        let credential = |key: &Key| Credential {
            verify: key.credential.verify || self.policy.key.pin,
            ..key.credential.clone()
        };
        let credentials: Vec<_> = match &self.subject {
            Subject::Enrolled(_) => self.keys().iter().map(credential).collect(),
            Subject::Decoy(..) => vec![decoy_credential(&self.policy.key.rp_id, self.seed)],
        };
        self.stage = Stage::Touching(self.keys().iter().map(|key| (key.id, key.label.clone())).collect());
        let rp_id = self.policy.key.rp_id.clone();
        let touch = Touch { rp_id, challenge, credentials, pin, time: TOUCH_TIME };
        Step::Touch { notice: Notice::TouchKey, touch }
    }

    fn touched(&mut self, keys: &[(u8, String)], touched: Touched) -> Step {
        match touched {
            Touched::Signed { credential, counter } => match keys.get(credential) {
                Some((key, label)) => {
                    self.prove(Proof::Key { key: *key, counter }, Admission::Key { label: label.clone() })
                }
                None => self.fail(Guess::Key),
            },
            Touched::Lied(_) => self.fail(Guess::Key),
            Touched::PinRequired => self.ask_for_pin(None),
            Touched::WrongPin { left } => {
                self.prompt = Prompt::Pin { or: self.other(Method::Key) };
                self.again(Notice::WrongPin(left), Refusal::WrongPin)
            }
            Touched::PinBlocked => self.no_touch(Notice::PinBlocked),
            Touched::NoKey => self.no_touch(Notice::NoKey),
            Touched::NotEnrolled => self.no_touch(Notice::KeyNotEnrolled),
            Touched::Denied | Touched::TimedOut | Touched::Gone => self.no_touch(Notice::NotTouched),
            Touched::Failed(_) => self.no_touch(Notice::KeyRefused),
        }
    }

    /// The key proved nothing: the other method is asked for when its name is typed, and so is the key once more.
    fn no_touch(&mut self, notice: Notice) -> Step {
        let mut or: Vec<Method> = self.other(Method::Key).into_iter().collect();
        if self.touches < self.policy.limits.prompts && notice != Notice::KeySuspended {
            or.push(Method::Key);
        }
        self.prompt = Prompt::Recovery { or, resend: false };
        self.ask(Some(notice))
    }

    fn recipient(&self, method: Method) -> Option<Recipient> {
        match &self.subject {
            Subject::Enrolled(account) => self.policy.recipient(method, &account.factors),
            Subject::Decoy(..) => None,
        }
    }

    /// Where the code went, as far as it is shown. A decoy's number looks like those that are sent to.
    fn masked(&self, method: Method) -> String {
        if let Some(to) = self.recipient(method) {
            return to.masked();
        }
        let digits = match self.subject {
            Subject::Decoy(_, digits) => digits,
            Subject::Enrolled(_) => 0,
        };
        match (&self.policy.sms, &self.policy.email) {
            (Some(sms), _) if method == Method::Sms => {
                let prefix = sms.country.as_ref().or(sms.prefixes.first());
                prefix.map(|prefix| prefix.masked(digits)).unwrap_or_default()
            }
            (_, Some(email)) if email.default_address.is_some() => {
                email.default_address.as_ref().map(|address| address.masked()).unwrap_or_default()
            }
            _ => {
                let first: String =
                    self.request.user.chars().take(1).filter(char::is_ascii_alphanumeric).collect();
                format!("{first}***@{}", self.request.host)
            }
        }
    }

    fn judge(&mut self, answer: &Answer, now: u64) -> Step {
        match answer {
            Answer::Blank if matches!(self.prompt, Prompt::Sent { .. }) => {
                self.blank(Some(Notice::NothingTyped))
            }
            Answer::Blank => self.blank(None),
            Answer::Password => self.blank(Some(Notice::PasswordIsNoCode)),
            // The dialogue goes on as for a wrong code, so that it tells nothing; nobody is charged.
            Answer::Fake => match self.subject {
                Subject::Enrolled(_) => {
                    let notice = self.wrong(self.guess());
                    self.again(notice, Refusal::Fake)
                }
                Subject::Decoy(..) => self.fail(self.guess()),
            },
            Answer::Word(word) => self.grant(*word, now),
            Answer::Code(digits) => match self.prove_code(digits, now) {
                Some((proof, admission)) => self.prove(proof, admission),
                None => self.fail(self.guess()),
            },
            Answer::Recovery(code) => match self.prove_recovery(code) {
                Some((proof, admission)) => self.prove(proof, admission),
                None => self.fail(Guess::Recovery),
            },
            Answer::Malformed => self.fail(self.guess()),
        }
    }

    /// A wish: granted if the prompt offers it.
    fn grant(&mut self, word: Word, now: u64) -> Step {
        self.words = self.words.saturating_add(1);
        if self.words > MAX_WORDS {
            return self.refuse(Refusal::Blank);
        }
        let wanted = match word {
            Word::App => Some(Method::App),
            Word::Sms => Some(Method::Sms),
            Word::Email => Some(Method::Email),
            Word::Key => Some(Method::Key),
            Word::Resend => None,
        };
        match (&self.prompt, wanted) {
            (Prompt::App { or } | Prompt::Sent { or, .. } | Prompt::Pin { or }, Some(method))
                if *or == Some(method) =>
            {
                self.turn_to(method, now)
            }
            (Prompt::Recovery { or, .. }, Some(method)) if or.contains(&method) => self.turn_to(method, now),
            (Prompt::Sent { method, .. }, None) => self.send(*method, now),
            (Prompt::Recovery { resend: true, .. }, None) => {
                match self.methods.iter().copied().find(|method| method.is_sent()) {
                    Some(method) => self.send(method, now),
                    None => self.blank(Some(Notice::NotOffered)),
                }
            }
            _ => self.blank(Some(Notice::NotOffered)),
        }
    }

    /// What a wrong answer that is no recovery code was an attempt at.
    fn guess(&self) -> Guess {
        match (&self.prompt, self.live) {
            (Prompt::App { .. }, _) => Guess::Code,
            (Prompt::Sent { .. }, Some(live)) => Guess::Sent(self.seed.sent_tag(live.number)),
            // The code is void already; its tag is nobody's.
            (Prompt::Sent { .. }, None) => Guess::Code,
            (Prompt::Recovery { .. } | Prompt::Pin { .. }, _) => Guess::Recovery,
        }
    }

    fn prove_code(&self, digits: &str, now: u64) -> Option<(Proof, Admission)> {
        match &self.prompt {
            Prompt::App { .. } => self.prove_app(digits, now),
            Prompt::Sent { method, to, .. } => self.prove_sent(*method, to, digits),
            Prompt::Recovery { .. } | Prompt::Pin { .. } => None,
        }
    }

    /// Whether the code is the one that was sent; whether it is in time, the state knows.
    fn prove_sent(&self, method: Method, to: &str, digits: &str) -> Option<(Proof, Admission)> {
        let live = self.live.filter(|live| live.method == method)?;
        let expected = self.seed.sent_tag(live.number);
        let typed = self.seed.tag(live.number, digits);
        let right = bool::from(expected.ct_eq(&typed)) && digits.len() == SENT_DIGITS;
        match &self.subject {
            Subject::Enrolled(_) if right => {
                Some((Proof::Sent(expected), Admission::Sent { method, to: to.into() }))
            }
            _ => None,
        }
    }

    fn prove_app(&self, digits: &str, now: u64) -> Option<(Proof, Admission)> {
        let decoy = [decoy_app()];
        let apps: &[App] = match &self.subject {
            Subject::Enrolled(account) => &account.factors.apps,
            Subject::Decoy(..) => &decoy,
        };
        let skew = self.policy.app.skew;
        let matching = |app: &'_ App| {
            let step = code::matching_step(&app.secret, app.shape, digits, now, skew)?;
            Some((Spent { app: app.id, step }, app.label.clone()))
        };
        let matched: Vec<_> = apps.iter().filter_map(matching).collect();
        match &self.subject {
            Subject::Enrolled(_) => {
                let label = matched.first()?.1.clone();
                let spent = matched.into_iter().map(|(spent, _)| spent).collect();
                Some((Proof::App(spent), Admission::App { label }))
            }
            Subject::Decoy(..) => None,
        }
    }

    fn prove_recovery(&self, code: &str) -> Option<(Proof, Admission)> {
        let Subject::Enrolled(account) = &self.subject else {
            return None;
        };
        let position = account.factors.recovery.as_ref()?.position(code)?;
        // How many are left is known once this one is committed.
        Some((Proof::Recovery(position), Admission::Recovery { left: 0 }))
    }

    fn prove(&mut self, proof: Proof, admission: Admission) -> Step {
        self.stage = Stage::Proving(admission);
        Step::Commit(Change::Prove { proof, source: self.source(), typos: self.charged })
    }

    fn fail(&mut self, guess: Guess) -> Step {
        self.stage = Stage::Failing(guess);
        Step::Commit(Change::Fail { guess, source: self.source() })
    }

    fn admit(&mut self, admission: Admission, state: &State) -> Step {
        let Subject::Enrolled(account) = &self.subject else {
            return self.refuse(Refusal::Unavailable);
        };
        let (notice, admission) = match admission {
            Admission::Recovery { .. } => {
                let total = account.factors.recovery.as_ref().map_or(0, |set| set.len());
                let left = state.recovery_left(total);
                (Some(Notice::RecoveryCodesLeft(left)), Admission::Recovery { left })
            }
            admission => (None, admission),
        };
        Step::Finish { notice, verdict: Verdict::Admit(admission) }
    }

    /// A wrong answer is charged and stored.
    fn failed(&mut self, guess: Guess, state: &State, now: u64) -> Step {
        if matches!(guess, Guess::Code | Guess::Sent(_)) {
            self.charged = self.charged.saturating_add(1);
        }
        if matches!(self.subject, Subject::Enrolled(_)) {
            match (state.lock(self.source(), &self.policy.limits, now), &self.prompt) {
                (Some(Lock::Total), Prompt::Recovery { .. }) | (None, _) => {}
                (Some(lock), _) => return self.refuse(Refusal::Locked(lock)),
            }
        }
        if guess == Guess::Key {
            return self.no_touch(Notice::KeyRefused);
        }
        let notice = self.wrong(guess);
        self.again(notice, Refusal::WrongCode)
    }

    /// What is said of a wrong answer; a sent code bears a few.
    fn wrong(&mut self, guess: Guess) -> Notice {
        if let (Guess::Sent(_), Some(live)) = (guess, self.live.as_mut()) {
            live.tries = live.tries.saturating_sub(1);
            if live.tries == 0 {
                self.live = None;
                return Notice::CodeVoid;
            }
        }
        Notice::WrongCode
    }

    fn clash(&mut self, conflict: Conflict) -> Step {
        match conflict {
            Conflict::Used => self.again(Notice::AlreadyUsed, Refusal::AlreadyUsed),
            Conflict::Locked(lock) => self.refuse(Refusal::Locked(lock)),
            Conflict::Changed => self.refuse(Refusal::Changed),
            Conflict::Expired => {
                self.live = None;
                self.again(Notice::Expired, Refusal::Expired)
            }
            Conflict::Superseded => {
                self.live = None;
                self.again(Notice::Superseded, Refusal::Superseded)
            }
            Conflict::CounterBack(key) => {
                self.stage = Stage::Suspending;
                Step::Commit(Change::Suspend(key))
            }
            // Only a message is counted.
            Conflict::TooSoon(_) | Conflict::Capped(_) => self.refuse(Refusal::Unavailable),
        }
    }

    /// One guess less: asks again, or refuses when none is left.
    fn again(&mut self, notice: Notice, refusal: Refusal) -> Step {
        self.guesses = self.guesses.saturating_add(1);
        if self.guesses < self.policy.limits.prompts {
            return self.ask(Some(notice));
        }
        match (&self.subject, refusal) {
            (_, Refusal::Fake) | (Subject::Enrolled(_), _) => self.refuse(refusal),
            (Subject::Decoy(reason, _), _) => self.refuse(*reason),
        }
    }

    /// No guess at all.
    fn blank(&mut self, notice: Option<Notice>) -> Step {
        self.blanks = self.blanks.saturating_add(1);
        if self.blanks < MAX_BLANKS { self.ask(notice) } else { self.refuse(Refusal::Blank) }
    }

    fn refuse(&mut self, refusal: Refusal) -> Step {
        self.stage = Stage::Over;
        refused(self.policy.mode, refusal)
    }

    fn source(&self) -> Source {
        Source::new(self.request.address)
    }
}

/// The account phase: `proven` tells whether the auth phase of this handle admitted this user.
pub fn account_phase(policy: &Policy, request: &Request, proven: bool, now: u64) -> Step {
    match waived(policy.decide(request, now)) {
        Some(verdict) => Step::Finish { notice: None, verdict },
        None if proven => Step::Finish { notice: None, verdict: Verdict::Admit(Admission::Proven) },
        None if !Policy::is_entry(&request.service) => {
            Step::Finish { notice: None, verdict: Verdict::Admit(Admission::Inside) }
        }
        None => refused(policy.mode, Refusal::NoFactor),
    }
}

/// The end of a login that did not prove a factor.
pub fn refused(mode: Mode, refusal: Refusal) -> Step {
    // sshd refuses whom it answers for with junk, and takes a success of ours for an error of its own.
    if mode == Mode::Observe && refusal != Refusal::Fake {
        return Step::Finish { notice: None, verdict: Verdict::Admit(Admission::Observed(refusal)) };
    }
    let notice = match refusal {
        Refusal::Locked(lock) => Notice::Locked(lock),
        Refusal::AlreadyUsed => Notice::AlreadyUsed,
        Refusal::Expired => Notice::Expired,
        Refusal::NoFactor => Notice::NoFactor,
        Refusal::Unavailable => Notice::Unavailable,
        _ => Notice::Refused,
    };
    Step::Finish { notice: Some(notice), verdict: Verdict::Refuse(refusal) }
}

/// The verdict when the policy asks for no factor.
fn waived(decision: Decision<'_>) -> Option<Verdict> {
    match decision {
        Decision::NotConcerned => Some(Verdict::NotConcerned),
        Decision::Waive(Waiver::Off) => Some(Verdict::Admit(Admission::Off)),
        Decision::Waive(Waiver::Exempt(exemption)) => Some(Verdict::Admit(Admission::Exempt {
            reason: exemption.reason.clone(),
            until: exemption.until,
        })),
        Decision::Require => None,
    }
}

/// A credential that no key has.
fn decoy_credential(rp_id: &str, seed: &Seed) -> Credential {
    let id = [seed.challenge(u8::MAX), seed.challenge(u8::MAX - 1)].concat();
    let public = PublicKey::Ed25519(seed.challenge(u8::MAX).to_vec());
    Credential { rp_id: rp_id.into(), id, public, protocol: Protocol::Fido2, verify: false }
}

/// An app that nobody has: what a decoy's codes are compared with, for the time it takes.
fn decoy_app() -> App {
    App {
        id: 0,
        label: String::new(),
        secret: code::Secret::new([0; code::NEW_SECRET_BYTES]),
        shape: code::Shape { algorithm: code::Algorithm::Sha1, digits: 6, step: 30 },
        added: 0,
    }
}
