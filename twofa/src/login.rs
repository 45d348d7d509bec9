//! One login as a pure state machine: what happened goes in, the next step comes out. It reads no clock
//! and does no I/O, so every short sequence of events is checked exhaustively (tests/login_machine.rs).
//!
//! Only a committed proof admits, or a decision of the policy that asks for none. Whatever was not
//! foreseen refuses.

use crate::account::{Account, App, Change, Conflict, Guess, Lock, Proof, Source, Spent, State};
use crate::code::{self, Answer};
use crate::policy::{Decision, Mode, Policy, Request, Waiver};
use std::mem;

/// How many empty answers (or login passwords) in place of a code end a login.
const MAX_BLANKS: u8 = 3;

/// What the driver has to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read the account and its state.
    Read,
    /// Say `notice`, then prompt.
    Ask { notice: Option<Notice>, prompt: Prompt },
    /// Store this change, durably, before anything is said about it.
    Commit(Change),
    /// Say `notice`; the login is over.
    Finish { notice: Option<Notice>, verdict: Verdict },
}

/// What came of it.
#[derive(Clone, Debug)]
pub enum Event {
    Begin,
    /// What the store has of the user.
    Account(Option<Box<(Account, State)>>),
    Answer(Answer),
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
}

/// What a prompt asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prompt {
    App,
    /// After the hard stop only a recovery code is accepted.
    RecoveryOnly,
}

/// What a user is told; `message` has the words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    WrongCode,
    AlreadyUsed,
    PasswordIsNoCode,
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
    Locked(Lock),
    /// Only empty answers, or the login password, in place of a code.
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
    prompt: Prompt,
    guesses: u8,
    blanks: u8,
    /// Wrong codes charged to this login.
    charged: u8,
}

#[derive(Clone, Debug)]
enum Stage {
    New,
    Reading,
    Asking,
    Proving(Admission),
    Failing(Guess),
    Over,
}

#[derive(Clone, Debug)]
enum Subject {
    Enrolled(Box<Account>),
    /// Nobody who could be admitted: the same prompts, the same work, the same writes.
    Decoy(Refusal),
}

impl<'a> Login<'a> {
    pub fn new(policy: &'a Policy, request: &'a Request) -> Self {
        Self {
            policy,
            request,
            stage: Stage::New,
            subject: Subject::Decoy(Refusal::Unavailable),
            prompt: Prompt::App,
            guesses: 0,
            blanks: 0,
            charged: 0,
        }
    }

    /// The next step, `now` in seconds since 1970.
    pub fn next(&mut self, event: Event, now: u64) -> Step {
        match (mem::replace(&mut self.stage, Stage::Over), event) {
            (Stage::New, Event::Begin) => self.begin(now),
            (Stage::Reading, Event::Account(found)) => self.meet(found, now),
            (Stage::Asking, Event::Answer(answer)) => self.judge(&answer, now),
            (Stage::Asking, Event::NoAnswer) => self.refuse(Refusal::NoAnswer),
            (Stage::Asking, Event::Gone) => self.refuse(Refusal::NoConversation),
            (Stage::Proving(admission), Event::Committed(state)) => self.admit(admission, &state),
            (Stage::Failing(guess), Event::Committed(state)) => self.failed(guess, &state, now),
            (Stage::Proving(_) | Stage::Failing(_), Event::Conflict(conflict)) => self.clash(conflict),
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
    fn meet(&mut self, found: Option<Box<(Account, State)>>, now: u64) -> Step {
        let Some(known) = &self.request.known else {
            return self.ask_decoy(Refusal::UnknownUser);
        };
        let Some((account, state)) = found.map(|found| *found) else {
            return self.ask_decoy(Refusal::NotEnrolled);
        };
        if account.uid != known.uid {
            return self.ask_decoy(Refusal::UidMismatch);
        }
        if !account.factors.can_answer() {
            return self.ask_decoy(Refusal::NotEnrolled);
        }
        let lock = state.lock(self.source(), &self.policy.limits, now);
        let recovery_left = account.factors.recovery.as_ref().map_or(0, |set| state.recovery_left(set.len()));
        self.subject = Subject::Enrolled(Box::new(account));
        match lock {
            None => self.ask(None),
            Some(Lock::Total) if recovery_left > 0 => {
                self.prompt = Prompt::RecoveryOnly;
                self.ask(Some(Notice::Locked(Lock::Total)))
            }
            Some(lock) => self.refuse(Refusal::Locked(lock)),
        }
    }

    fn ask_decoy(&mut self, refusal: Refusal) -> Step {
        // Who is let in anyway is not bothered with a prompt that no answer satisfies.
        if self.policy.mode == Mode::Observe {
            return self.refuse(refusal);
        }
        self.subject = Subject::Decoy(refusal);
        self.ask(None)
    }

    fn ask(&mut self, notice: Option<Notice>) -> Step {
        self.stage = Stage::Asking;
        Step::Ask { notice, prompt: self.prompt }
    }

    fn judge(&mut self, answer: &Answer, now: u64) -> Step {
        match answer {
            Answer::Blank => self.blank(None),
            Answer::Password => self.blank(Some(Notice::PasswordIsNoCode)),
            // The dialogue goes on as for a wrong code, so that it tells nothing; nobody is charged.
            Answer::Fake => match self.subject {
                Subject::Enrolled(_) => self.again(Notice::WrongCode, Refusal::Fake),
                Subject::Decoy(_) => self.fail(self.guess()),
            },
            Answer::Code(digits) => match self.prove_app(digits, now) {
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

    /// What a wrong answer that is no recovery code was an attempt at.
    fn guess(&self) -> Guess {
        match self.prompt {
            Prompt::App => Guess::Code,
            Prompt::RecoveryOnly => Guess::Recovery,
        }
    }

    fn prove_app(&self, digits: &str, now: u64) -> Option<(Proof, Admission)> {
        let decoy = [decoy_app()];
        let apps: &[App] = match &self.subject {
            Subject::Enrolled(account) => &account.factors.apps,
            Subject::Decoy(_) => &decoy,
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
            Subject::Decoy(_) => None,
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
        if guess == Guess::Code {
            self.charged = self.charged.saturating_add(1);
        }
        if matches!(self.subject, Subject::Enrolled(_)) {
            match (state.lock(self.source(), &self.policy.limits, now), self.prompt) {
                (Some(Lock::Total), Prompt::RecoveryOnly) | (None, _) => {}
                (Some(lock), _) => return self.refuse(Refusal::Locked(lock)),
            }
        }
        self.again(Notice::WrongCode, Refusal::WrongCode)
    }

    fn clash(&mut self, conflict: Conflict) -> Step {
        match conflict {
            Conflict::Used => self.again(Notice::AlreadyUsed, Refusal::AlreadyUsed),
            Conflict::Locked(lock) => self.refuse(Refusal::Locked(lock)),
            Conflict::Changed => self.refuse(Refusal::Changed),
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
            (Subject::Decoy(reason), _) => self.refuse(*reason),
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
