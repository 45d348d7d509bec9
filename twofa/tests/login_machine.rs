//! Every short sequence of events that a login can meet, expected or not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken test says so and stops"
)]

mod common;

use common::{LIMITS, NOW, UID};
use std::iter;
use std::net::IpAddr;
use twofa::account::{Account, Change, Conflict, Guess, Lock, Proof, Source, Spent, State};
use twofa::code::Answer;
use twofa::login::{self, Admission, Event, Login, Notice, Prompt, Refusal, Step, Verdict};
use twofa::policy::{Exemption, Mode, Policy, Request, Who};

/// What is explored: the login, or a copy of it with a fault.
trait Machine: Clone {
    fn next(&mut self, event: Event, now: u64) -> Step;
}

impl Machine for Login<'_> {
    fn next(&mut self, event: Event, now: u64) -> Step {
        Login::next(self, event, now)
    }
}

/// A kind of event, named for the report of a violation.
struct Letter {
    name: &'static str,
    event: Event,
}

fn letter(name: &'static str, event: Event) -> Letter {
    Letter { name, event }
}

/// Everything that can be told to a login.
fn alphabet() -> Vec<Letter> {
    let (by_address, hard) = (locked_state(LIMITS.failures.into(), 1), locked_state(LIMITS.total, 32));
    let until = NOW + LIMITS.window;
    vec![
        letter("begin", Event::Begin),
        letter("nobody", Event::Account(None)),
        letter("enrolled", found(account(UID), State::default())),
        letter("enrolled, address locked", found(account(UID), by_address.clone())),
        letter("enrolled, hard stop", found(account(UID), hard.clone())),
        letter("other uid", found(account(UID + 1), State::default())),
        letter("no factors", found(without_factors(), State::default())),
        letter("right code", Event::Answer(common::right_code())),
        letter("wrong code", Event::Answer(common::wrong_code())),
        letter("right recovery code", Event::Answer(common::right_recovery())),
        letter("wrong recovery code", Event::Answer(common::wrong_recovery())),
        letter("blank", Event::Answer(Answer::Blank)),
        letter("password", Event::Answer(common::password())),
        letter("fake", Event::Answer(common::fake())),
        letter("malformed", Event::Answer(Answer::Malformed)),
        letter("no answer", Event::NoAnswer),
        letter("gone", Event::Gone),
        letter("committed", Event::Committed(Box::default())),
        letter("committed, address locked", Event::Committed(Box::new(by_address))),
        letter("committed, hard stop", Event::Committed(Box::new(hard))),
        letter("used", Event::Conflict(Conflict::Used)),
        letter("changed", Event::Conflict(Conflict::Changed)),
        letter("conflict, address locked", Event::Conflict(Conflict::Locked(Lock::Address(until)))),
        letter("conflict, hard stop", Event::Conflict(Conflict::Locked(Lock::Total))),
        letter("conflict, recovery locked", Event::Conflict(Conflict::Locked(Lock::Recovery(until)))),
        letter("failed", Event::Failed),
    ]
}

fn account(uid: u32) -> Account {
    Account { user: common::USER.into(), uid, generation: 1, factors: common::factors() }
}

fn without_factors() -> Account {
    Account { factors: twofa::account::Factors::default(), ..account(UID) }
}

fn found(account: Account, state: State) -> Event {
    Event::Account(Some(Box::new((account, state))))
}

/// A state after so many failures from so many addresses, the client's own the first of them.
fn locked_state(failures: u16, addresses: u16) -> State {
    let source = |n: u16| match n % addresses {
        0 => common::address(),
        n => IpAddr::from([10, 0, 0, n.to_be_bytes()[1]]),
    };
    (0..failures).fold(State::default(), |state, n| {
        let fail = Change::Fail { guess: Guess::Code, source: Source::new(Some(source(n))) };
        state.apply(&fail, &LIMITS, NOW).unwrap()
    })
}

/// What came to pass in one sequence, as far as the rules speak of it.
#[derive(Clone)]
struct History {
    mode: Mode,
    last: Option<Step>,
    enrolled: bool,
    guesses: u8,
    blanks: u8,
    /// Something happened after which nobody is admitted any more.
    doomed: bool,
}

/// The rule that a step broke.
type Broken = &'static str;

fn rule(holds: bool, broken: Broken) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(broken) }
}

impl History {
    fn new(mode: Mode) -> Self {
        Self { mode, last: None, enrolled: false, guesses: 0, blanks: 0, doomed: false }
    }

    /// Judges the step that answers an event.
    fn judge(&mut self, event: &Event, step: &Step) -> Result<(), Broken> {
        self.count(event);
        match step {
            Step::Read => rule(self.last.is_none() && matches!(event, Event::Begin), "only a begin reads")?,
            Step::Ask { notice, .. } => {
                rule(self.guesses < LIMITS.prompts, "no guess is left")?;
                rule(self.blanks < 3, "three blanks end a login")?;
                rule(is_account(event) || self.is_reply(event), "a guess is stored before it is answered")?;
                self.judge_notice(event, notice.as_ref())?;
            }
            Step::Commit(change) => self.judge_change(event, change)?,
            Step::Finish { notice, verdict } => {
                self.judge_notice(event, notice.as_ref())?;
                self.judge_verdict(event, verdict)?;
            }
        }
        rule(!self.doomed || self.is_refusal(step), "what was lost refuses, at once")?;
        self.last = Some(step.clone());
        Ok(())
    }

    fn count(&mut self, event: &Event) {
        let expected = matches!(
            (&self.last, event),
            (None, Event::Begin)
                | (Some(Step::Read), Event::Account(_))
                | (Some(Step::Ask { .. }), Event::Answer(_))
                | (Some(Step::Commit(_)), Event::Committed(_) | Event::Conflict(Conflict::Used))
        );
        self.doomed |= !expected;
        match event {
            Event::Account(Some(found)) => self.enrolled = found.0.uid == UID && found.0.factors.can_answer(),
            Event::Answer(Answer::Blank | Answer::Password) => self.blanks += 1,
            Event::Answer(_) => self.guesses += 1,
            _ => {}
        }
    }

    /// What is no guess, or is stored, or was judged by the store, may be answered.
    fn is_reply(&self, event: &Event) -> bool {
        match event {
            Event::Answer(answer) => matches!(answer, Answer::Blank | Answer::Password | Answer::Fake),
            Event::Committed(_) => matches!(self.last, Some(Step::Commit(Change::Fail { .. }))),
            Event::Conflict(conflict) => *conflict == Conflict::Used,
            _ => false,
        }
    }

    fn judge_notice(&self, event: &Event, notice: Option<&Notice>) -> Result<(), Broken> {
        let failing = matches!(self.last, Some(Step::Commit(Change::Fail { .. })));
        let holds = match notice {
            None | Some(Notice::Refused | Notice::Unavailable) => true,
            Some(Notice::WrongCode) => match event {
                Event::Answer(answer) => *answer == Answer::Fake,
                event => failing && matches!(event, Event::Committed(_)),
            },
            Some(Notice::AlreadyUsed) => matches!(event, Event::Conflict(Conflict::Used)),
            Some(Notice::PasswordIsNoCode) => matches!(event, Event::Answer(Answer::Password)),
            Some(Notice::RecoveryCodesLeft(_)) => {
                !failing && matches!(event, Event::Committed(_)) && self.enrolled
            }
            Some(Notice::Locked(_)) => {
                self.enrolled && !matches!(event, Event::Answer(_)) || matches!(event, Event::Conflict(_))
            }
            Some(Notice::NoFactor) => false,
        };
        rule(holds, "a notice tells what is stored, and nothing else")
    }

    fn judge_change(&self, event: &Event, change: &Change) -> Result<(), Broken> {
        let Event::Answer(answer) = event else {
            return Err("only an answer is stored");
        };
        let guess = matches!(answer, Answer::Code(_) | Answer::Recovery(_) | Answer::Malformed);
        rule(guess, "what is no guess is not stored")?;
        match change {
            Change::Prove { proof, .. } => {
                rule(self.enrolled, "a decoy proves nothing")?;
                rule(*answer != Answer::Malformed, "only a code proves")?;
                let by_app = matches!(proof, Proof::App(_));
                rule(by_app == matches!(answer, Answer::Code(_)), "each code proves its own kind")
            }
            Change::Fail { guess, .. } => {
                let recovery = matches!(answer, Answer::Recovery(_));
                rule(recovery == (*guess == Guess::Recovery), "each guess is charged to its own kind")
            }
            Change::Unlock => Err("a login unlocks nothing"),
        }
    }

    fn judge_verdict(&self, event: &Event, verdict: &Verdict) -> Result<(), Broken> {
        let proof = match &self.last {
            Some(Step::Commit(Change::Prove { proof, .. })) if matches!(event, Event::Committed(_)) => {
                Some(proof)
            }
            _ => None,
        };
        let proven = self.enrolled && !self.doomed;
        match (verdict, proof) {
            (Verdict::Admit(Admission::App { .. }), Some(Proof::App(_)))
            | (Verdict::Admit(Admission::Recovery { .. }), Some(Proof::Recovery(_))) => {
                rule(proven, "a proof is an enrolled user's")
            }
            (Verdict::Admit(Admission::Observed(_)), _) => {
                rule(self.mode == Mode::Observe, "only observe mode lets pass what it would refuse")
            }
            (Verdict::Admit(_), _) => Err("only a stored proof admits"),
            (Verdict::NotConcerned, _) => Err("a listed service is concerned"),
            (Verdict::Refuse(_), _) => rule(self.mode == Mode::Enforce, "observe mode refuses nobody"),
        }
    }

    fn is_refusal(&self, step: &Step) -> bool {
        match step {
            Step::Finish { verdict: Verdict::Refuse(_), .. } => self.mode == Mode::Enforce,
            Step::Finish { verdict: Verdict::Admit(Admission::Observed(_)), .. } => {
                self.mode == Mode::Observe
            }
            _ => false,
        }
    }
}

fn is_account(event: &Event) -> bool {
    matches!(event, Event::Account(_))
}

/// How many sequences there are, and how many of them end with a proof.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    sequences: u64,
    proven: u64,
}

/// A sequence that breaks a rule.
#[derive(Debug)]
struct Violation {
    sequence: Vec<&'static str>,
    broken: Broken,
}

/// Goes through all sequences, each until the login is over and on by one event of every kind.
struct Explorer<'l> {
    letters: &'l [Letter],
    sequence: Vec<&'static str>,
    tally: Tally,
}

fn explore(machine: impl Machine, mode: Mode, letters: &[Letter]) -> Result<Tally, Violation> {
    let mut explorer = Explorer { letters, sequence: vec![], tally: Tally::default() };
    match explorer.visit(&machine, &History::new(mode)) {
        Ok(()) => Ok(explorer.tally),
        Err(broken) => Err(Violation { sequence: explorer.sequence, broken }),
    }
}

impl Explorer<'_> {
    fn visit(&mut self, machine: &impl Machine, history: &History) -> Result<(), Broken> {
        for letter in self.letters {
            let (mut machine, mut history) = (machine.clone(), history.clone());
            self.sequence.push(letter.name);
            let step = machine.next(letter.event.clone(), NOW);
            history.judge(&letter.event, &step)?;
            match step {
                Step::Finish { verdict, .. } => {
                    self.tally.sequences += 1;
                    let proven = Admission::App { label: common::LABEL.into() };
                    let proven = verdict == Verdict::Admit(proven)
                        || matches!(verdict, Verdict::Admit(Admission::Recovery { .. }));
                    self.tally.proven += u64::from(proven);
                    self.go_on(machine, &history)?;
                }
                _ => self.visit(&machine, &history)?,
            }
            self.sequence.pop();
        }
        Ok(())
    }

    /// After the end nothing but a refusal comes, whatever is told.
    fn go_on(&mut self, mut machine: impl Machine, history: &History) -> Result<(), Broken> {
        for letter in self.letters {
            self.sequence.push(letter.name);
            history.clone().judge(&letter.event, &machine.next(letter.event.clone(), NOW))?;
            self.sequence.pop();
        }
        Ok(())
    }
}

#[test]
fn only_a_stored_proof_admits() {
    let (policy, request) = (common::policy(Mode::Enforce), common::request());
    let tally = explore(Login::new(&policy, &request), Mode::Enforce, &alphabet());
    assert_eq!(tally.unwrap(), Tally { sequences: 0, proven: 0 });
}
