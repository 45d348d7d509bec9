//! One login as a pure state machine: what happened goes in, the next step comes out. It reads no clock
//! and does no I/O, so every short sequence of events is checked exhaustively (tests/login_machine).
//!
//! Only a committed proof admits, or a decision of the policy that asks for none. Whatever was not
//! foreseen refuses.

mod answer;
mod enroll;
mod key;
mod rollout;
mod sent;
mod step;
mod trust;

pub use enroll::Reply;
pub use rollout::Phase;
pub use step::{Admission, AppToScan, Delivery, Event, Notice, Prompt, Refusal, Step, Verdict};

use crate::account::{Account, Change, Conflict, Factors, Guess, Lock, Proof, Source, State};
use crate::code::{RecoverySet, Seed};
use crate::policy::{Decision, Method, Mode, Policy, Request, Waiver};
use crate::token::Device;
use enroll::SetUp;
use key::Touching;
use sent::Live;
use std::mem;

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
    /// Challenges given to keys.
    challenges: u8,
    /// Touches that were waited for in vain.
    touches: u8,
    /// The device whose PIN is asked for.
    pin_for: Device,
    /// The code that an administrator gave this user for one login, and why.
    bypass: Option<(RecoverySet, String)>,
    /// An account was made in this login.
    registered: bool,
    /// The user has a number already, allowed or not.
    has_phone: bool,
    /// How long this user will get in without a factor, from the first login behind the date.
    grace_to_come: u64,
    /// Nothing can be asked any more: it is only looked up who this is.
    account_phase: bool,
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
    Touching(Touching),
    /// The key with this number.
    Suspending(u8),
    /// The factor is proven; whether the device is to be trusted is asked, and then stored.
    Offering(Admission),
    Trusting(Admission),
    /// The days without a factor begin, or began.
    Granting(u16),
    /// It is asked for inside a session.
    Joining,
    /// The user gets an account: for codes that need none of an administrator's doing.
    Registering,
    /// The factor is proven; that the session's is, is stored.
    Opening(Admission, Box<State>),
    /// It would be refused, which is counted.
    Observing(Refusal),
    /// Something is set up.
    SettingUp(enroll::Stage, Box<SetUp>),
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
            challenges: 0,
            touches: 0,
            pin_for: 0,
            bypass: None,
            registered: false,
            has_phone: false,
            grace_to_come: 0,
            account_phase: false,
        }
    }

    /// The account phase of a login that proved nothing, such as one by SSH key alone, while users without a factor
    /// may be let in: what is asked of the store is whether this is one.
    pub fn of_account_phase(policy: &'a Policy, request: &'a Request, seed: &'a Seed) -> Self {
        Self { account_phase: true, ..Self::new(policy, request, seed) }
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
            (Stage::Proving(Admission::Trusted { .. }), Event::Conflict(Conflict::Untrusted)) => {
                self.begin_asking(now)
            }
            (Stage::Joining, Event::Committed(_)) => {
                Step::Finish { notice: None, verdict: Verdict::Admit(Admission::Session) }
            }
            (Stage::Joining, Event::Conflict(_)) => self.read(),
            (Stage::Registering, Event::Committed(_)) => {
                self.registered = true;
                self.read()
            }
            (Stage::Opening(admission, state), Event::Committed(_) | Event::Conflict(_) | Event::Failed) => {
                self.opened(admission, &state)
            }
            // Counted or not, and not twice.
            (Stage::Observing(refusal), _) => refused(self.policy.mode, refusal),
            (Stage::Over, _) => refused(self.policy.mode, Refusal::Unavailable),
            (Stage::SettingUp(stage, set_up), event) => self.set_up(stage, set_up, event, now),
            (Stage::Granting(decoy), Event::Committed(state)) => self.granted(decoy, &state, now),
            (Stage::Offering(admission), Event::Confirmed(yes)) => self.offered(admission, yes),
            (
                Stage::Offering(admission),
                Event::Answer(_) | Event::Pin(_) | Event::NoAnswer | Event::Gone,
            ) => self.offered(admission, false),
            (Stage::Trusting(admission), Event::Committed(state)) => {
                self.trusting(admission, Some(&state), now)
            }
            (Stage::Trusting(admission), Event::Conflict(_) | Event::Failed) => {
                self.trusting(admission, None, now)
            }
            (Stage::Failing(guess), Event::Committed(state)) => self.failed(guess, &state, now),
            (Stage::Proving(Admission::Key { .. }), Event::Conflict(Conflict::CounterBack(key))) => {
                self.suspend(key)
            }
            // A signature is neither used nor late, and nor is a device.
            (
                Stage::Proving(Admission::Key { .. } | Admission::SshKey { .. } | Admission::Trusted { .. }),
                Event::Conflict(Conflict::Used | Conflict::Expired | Conflict::Superseded),
            ) => self.refuse(Refusal::Unavailable),
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
                self.touch(Some((pin, self.pin_for)))
            }
            (Stage::Touching(touching), Event::Touched(touched)) => self.touched(&touching, touched),
            (Stage::Suspending(key), Event::Committed(_)) => self.suspended(key),
            _ => self.refuse(Refusal::Unavailable),
        }
    }

    /// Why whatever is answered will be refused, for reports: the prompts do not tell.
    pub fn refuses_anyway(&self) -> Option<Refusal> {
        match &self.subject {
            Subject::Decoy(refusal, _) => Some(*refusal),
            Subject::Enrolled(_) => None,
        }
    }

    fn begin(&mut self, now: u64) -> Step {
        match waived(self.policy.decide(self.request, now)) {
            Some(verdict) => Step::Finish { notice: None, verdict },
            None => match (&self.request.session, &self.request.known) {
                // Who is to become another user proved nothing of that one's; root is what sudo is for.
                (Some(session), Some(known))
                    if self.policy.joins(&self.request.service)
                        && (known.uid == session.uid || known.uid == 0) =>
                {
                    self.stage = Stage::Joining;
                    let proof = Proof::Session(session.clone());
                    Step::Commit(Change::Prove { proof, source: self.source(), typos: 0 })
                }
                _ => self.read(),
            },
        }
    }

    fn read(&mut self) -> Step {
        self.stage = Stage::Reading;
        Step::Read
    }

    /// Who this is, and whether an answer is worth asking for.
    fn meet(&mut self, found: Option<Box<(Account, State)>>, decoy: u16, now: u64) -> Step {
        let Some(known) = &self.request.known else {
            return self.meet_nobody(Refusal::UnknownUser, decoy, now);
        };
        let Some((account, state)) = found.map(|found| *found) else {
            if self.needs_only_an_account() {
                self.stage = Stage::Registering;
                return Step::Commit(Change::Register);
            }
            // Whom a code can be sent to is not without a factor.
            return match self.can_be_sent_to() {
                true => self.meet_nobody(Refusal::NotEnrolled, decoy, now),
                false => self.meet_unenrolled(None, decoy, now),
            };
        };
        if account.uid != known.uid || account.user != self.request.user {
            return self.meet_nobody(Refusal::UidMismatch, decoy, now);
        }
        let methods = self.policy.methods_of(&account.factors);
        let bypass = state.bypass(now).map(|bypass| (bypass.code.clone(), bypass.reason.clone()));
        let asks = bypass.is_some() && !self.account_phase && self.policy.mode == Mode::Enforce;
        // Nor is a way in that is open already closed by one more.
        if methods.is_empty() && (!asks || self.lets_in((&account, &state), now)) {
            return self.meet_unenrolled(Some((&account, &state)), decoy, now);
        }
        if self.account_phase {
            return self.refuse(Refusal::NoFactor);
        }
        self.bypass = bypass;
        self.meet_enrolled(account, &state, methods, now)
    }

    /// Somebody with a factor, or a bypass: known by the key that sshd accepted, or asked.
    fn meet_enrolled(&mut self, mut account: Account, state: &State, methods: Vec<Method>, now: u64) -> Step {
        if methods.contains(&Method::Key)
            && let Some(key) =
                account.factors.ssh_keys.iter().find(|own| self.request.ssh_keys.contains(&own.key))
        {
            let admission =
                Admission::SshKey { label: key.label.clone(), fingerprint: key.key.fingerprint() };
            self.subject = Subject::Enrolled(Box::new(account));
            return self.prove(Proof::SshKey, admission);
        }
        if methods.is_empty() {
            // Recovery codes stand in for a factor that is there.
            account.factors.recovery = None;
        }
        account.factors.keys.retain(|key| self.policy.takes(key) && !state.is_suspended(key.id));
        let lock = state.lock(self.source(), &self.policy.limits, now);
        let recovery_left = account.factors.recovery.as_ref().map_or(0, |set| state.recovery_left(set.len()));
        self.methods = methods;
        self.methods.retain(|method| {
            *method != Method::Key || self.request.local && !account.factors.keys.is_empty()
        });
        self.subject = Subject::Enrolled(Box::new(account));
        match lock {
            None => match self.trusted(state, now) {
                Some((proof, admission)) => self.prove(proof, admission),
                None => self.begin_asking(now),
            },
            // An administrator opened this way in knowing of no lock, or of this one.
            Some(lock) if self.bypass.is_some() => {
                self.methods.retain(|method| *method == Method::Key);
                self.prompt = Prompt::Recovery { or: self.methods.clone(), resend: false };
                self.ask(Some(Notice::Locked(lock)))
            }
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
            None if self.bypass.is_some() => {
                self.prompt = Prompt::Recovery { or: Vec::new(), resend: false };
                self.ask(None)
            }
            // Who is let in anyway spends no recovery code for it.
            None if self.policy.mode == Mode::Observe => self.refuse(Refusal::KeyNeeded),
            None => {
                self.prompt = Prompt::Recovery { or: Vec::new(), resend: false };
                self.ask(Some(Notice::KeyNeeded))
            }
        }
    }

    fn meet_nobody(&mut self, refusal: Refusal, decoy: u16, now: u64) -> Step {
        if self.account_phase && refusal == Refusal::UidMismatch {
            // There is nowhere to count it.
            self.stage = Stage::Over;
            return refused(self.policy.mode, Refusal::NoFactor);
        }
        if self.account_phase {
            return self.refuse(Refusal::NoFactor);
        }
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
            Method::Key => self.touch(None),
            Method::Sms | Method::Email if self.waits_for(method) => self.ask_for_sent(method, None),
            Method::Sms | Method::Email => self.send(method, now),
        }
    }

    /// The other method of the policy, if this user can use it.
    fn other(&self, method: Method) -> Option<Method> {
        self.methods.iter().copied().find(|other| *other != method)
    }

    fn ask(&mut self, notice: Option<Notice>) -> Step {
        self.stage = Stage::Asking;
        Step::Ask { notice, prompt: self.prompt.clone() }
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
        if let Subject::Decoy(..) = self.subject {
            return self.refuse(Refusal::Unavailable);
        }
        if admission.is_by_factor() && !self.request.processes.is_empty() {
            self.stage = Stage::Opening(admission, Box::new(state.clone()));
            return Step::Commit(Change::Open(self.request.processes.clone()));
        }
        self.opened(admission, state)
    }

    /// The factor is proven, and all that is to be known of that later is stored.
    fn opened(&mut self, admission: Admission, state: &State) -> Step {
        if let Some(claim) = self.may_trust(&admission).cloned() {
            return self.offer_trust(admission, claim);
        }
        let (notice, admission) = match admission {
            Admission::Recovery { .. } => {
                let left = state.recovery_left(self.recovery_codes());
                (Some(Notice::RecoveryCodesLeft(left)), Admission::Recovery { left })
            }
            admission @ Admission::Bypass { .. } => (Some(Notice::BypassSpent), admission),
            admission => (None, admission),
        };
        Step::Finish { notice, verdict: Verdict::Admit(admission) }
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
            // Only a message is counted, only a key's proof has a counter, and only a device is trusted.
            Conflict::TooSoon(_) | Conflict::Capped(_) | Conflict::CounterBack(_) | Conflict::Untrusted => {
                self.refuse(Refusal::Unavailable)
            }
        }
    }

    fn refuse(&mut self, refusal: Refusal) -> Step {
        self.stage = Stage::Over;
        // What enforcement would do to whom is what observe mode is for.
        let is_theirs = !matches!(refusal, Refusal::Fake | Refusal::UidMismatch);
        if self.policy.mode == Mode::Observe && is_theirs && self.request.known.is_some() && self.counts() {
            self.stage = Stage::Observing(refusal);
            return Step::Commit(Change::Observe);
        }
        refused(self.policy.mode, refusal)
    }

    /// How many recovery codes the user was given.
    fn recovery_codes(&self) -> usize {
        match &self.subject {
            Subject::Enrolled(account) => account.factors.recovery.as_ref().map_or(0, |set| set.len()),
            Subject::Decoy(..) => 0,
        }
    }

    /// Whether what this login comes to is counted for its user: not what somebody does who only knows a name.
    fn counts(&self) -> bool {
        self.request.first_factor || self.account_phase
    }

    /// Somebody whom a code can be sent to, and who has no account yet.
    fn needs_only_an_account(&self) -> bool {
        !self.account_phase && !self.registered && self.request.first_factor && self.can_be_sent_to()
    }

    /// Whether codes go to users with no address of their own.
    fn can_be_sent_to(&self) -> bool {
        !self.policy.methods_of(&Factors::default()).is_empty()
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
        Refusal::KeyNeeded => Notice::KeyNeeded,
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
