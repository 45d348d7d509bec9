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
use std::collections::HashMap;
use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::LazyLock;
use twofa::account::{Account, Change, Conflict, Guess, Lock, Proof, Source, Spent, State};
use twofa::code::Answer;
use twofa::login::{self, Admission, Event, Login, Notice, Prompt, Refusal, Step, Verdict};
use twofa::policy::{Exemption, Mode, Policy, Request, Who};

/// What is explored: the login, or a copy of it with a fault.
trait Machine: Clone + Debug {
    fn next(&mut self, event: Event, now: u64) -> Step;
}

impl Machine for Login<'_> {
    fn next(&mut self, event: Event, now: u64) -> Step {
        Login::next(self, event, now)
    }
}

/// A kind of event, named for the report of a violation.
#[derive(Clone)]
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
#[derive(Clone, Debug)]
struct History {
    mode: Mode,
    /// The host knows the user.
    known: bool,
    last: Option<Step>,
    enrolled: bool,
    prompt: Prompt,
    guesses: u8,
    blanks: u8,
    /// Something happened after which nobody is admitted any more.
    doomed: bool,
}

static RIGHT: LazyLock<[Answer; 2]> = LazyLock::new(|| [common::right_code(), common::right_recovery()]);

/// The rule that a step broke.
type Broken = &'static str;

fn rule(holds: bool, broken: Broken) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(broken) }
}

impl History {
    fn new(mode: Mode, known: bool) -> Self {
        let prompt = Prompt::App;
        Self { mode, known, last: None, enrolled: false, prompt, guesses: 0, blanks: 0, doomed: false }
    }

    /// Judges the step that answers an event.
    fn judge(&mut self, event: &Event, step: &Step) -> Result<(), Broken> {
        self.count(event);
        match step {
            Step::Read => rule(self.last.is_none() && matches!(event, Event::Begin), "only a begin reads")?,
            Step::Ask { notice, prompt } => {
                rule(*prompt == self.prompt, "the hard stop asks for a recovery code, nothing else does")?;
                rule(self.enrolled || self.mode == Mode::Enforce, "observe mode asks who can answer")?;
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
            Event::Account(Some(found)) if expected => self.meet(&found.0, &found.1),
            Event::Answer(Answer::Blank | Answer::Password) => self.blanks += 1,
            Event::Answer(_) => self.guesses += 1,
            _ => {}
        }
    }

    fn meet(&mut self, account: &Account, state: &State) {
        self.enrolled = self.known && account.uid == UID && account.factors.can_answer();
        let lock = state.lock(Source::new(Some(common::address())), &LIMITS, NOW);
        if self.enrolled && lock == Some(Lock::Total) {
            self.prompt = Prompt::RecoveryOnly;
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
        let guess = match answer {
            Answer::Code(_) | Answer::Recovery(_) | Answer::Malformed => true,
            // The work of a wrong code, for nobody: sshd types this in place of what a stranger typed.
            Answer::Fake => !self.enrolled,
            Answer::Blank | Answer::Password => false,
        };
        rule(guess, "what is no guess is not stored")?;
        let right = RIGHT.contains(answer);
        match change {
            Change::Prove { proof, .. } => {
                rule(right, "only a right code proves")?;
                rule(self.enrolled, "a decoy proves nothing")?;
                let by_app = matches!(proof, Proof::App(_));
                rule(by_app == matches!(answer, Answer::Code(_)), "each code proves its own kind")
            }
            Change::Fail { guess, .. } => {
                rule(!(right && self.enrolled), "a right code is no failure")?;
                let recovery = matches!(answer, Answer::Recovery(_)) || self.prompt == Prompt::RecoveryOnly;
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
            (Verdict::Refuse(refusal), _) => rule(self.may_refuse(*refusal), "observe mode refuses nobody"),
        }
    }

    /// In observe mode only whom sshd refuses anyway.
    fn may_refuse(&self, refusal: Refusal) -> bool {
        self.mode == Mode::Enforce || refusal == Refusal::Fake
    }

    fn is_refusal(&self, step: &Step) -> bool {
        match step {
            Step::Finish { verdict: Verdict::Refuse(refusal), .. } => self.may_refuse(*refusal),
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

/// Goes through all sequences, each until the login is over and on by one event of every kind. Sequences
/// that leave the login and the checker in one state go on alike: that is looked at once, and counted for each.
struct Explorer {
    letters: Vec<Letter>,
    sequence: Vec<&'static str>,
    visited: HashMap<String, Tally>,
}

fn explore(machine: impl Machine, history: &History) -> Result<Tally, Violation> {
    let mut explorer = Explorer { letters: alphabet(), sequence: vec![], visited: HashMap::new() };
    let explored = explorer.visit(&machine, history);
    explored.map_err(|broken| Violation { sequence: explorer.sequence, broken })
}

impl Explorer {
    fn visit(&mut self, machine: &impl Machine, history: &History) -> Result<Tally, Broken> {
        let state = format!("{machine:?} {history:?}");
        if let Some(tally) = self.visited.get(&state) {
            return Ok(*tally);
        }
        let mut tally = Tally::default();
        for Letter { name, event } in self.letters.clone() {
            let (mut machine, mut history) = (machine.clone(), history.clone());
            self.sequence.push(name);
            let step = machine.next(event.clone(), NOW);
            history.judge(&event, &step)?;
            let more = match step {
                Step::Finish { verdict, .. } => {
                    self.go_on(machine, &history)?;
                    Tally { sequences: 1, proven: is_proof(&verdict).into() }
                }
                _ => self.visit(&machine, &history)?,
            };
            tally.sequences += more.sequences;
            tally.proven += more.proven;
            self.sequence.pop();
        }
        self.visited.insert(state, tally);
        Ok(tally)
    }

    /// After the end nothing but a refusal comes, whatever is told.
    fn go_on(&mut self, mut machine: impl Machine, history: &History) -> Result<(), Broken> {
        for Letter { name, event } in self.letters.clone() {
            self.sequence.push(name);
            history.clone().judge(&event, &machine.next(event.clone(), NOW))?;
            self.sequence.pop();
        }
        Ok(())
    }
}

fn is_proof(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Admit(Admission::App { .. } | Admission::Recovery { .. }))
}

/// Pinned: a change of the login that opens or closes a way shows here.
const ALL: Tally = Tally { sequences: 10_266_457, proven: 44_076 };

#[test]
fn only_a_stored_proof_admits() {
    let (policy, request) = (common::policy(Mode::Enforce), common::request());
    let tally = explore(Login::new(&policy, &request), &History::new(Mode::Enforce, true));
    assert_eq!(tally.unwrap(), ALL);
}

/// Who can answer is asked, and proves, as in enforce mode; nobody else is asked anything.
#[test]
fn observe_mode_refuses_nobody() {
    let (policy, request) = (common::policy(Mode::Observe), common::request());
    let tally = explore(Login::new(&policy, &request), &History::new(Mode::Observe, true));
    assert_eq!(tally.unwrap(), Tally { sequences: 1_057_873, ..ALL });
}

/// Whatever account the store has of that name.
#[test]
fn a_user_unknown_to_the_host_proves_nothing() {
    let policy = common::policy(Mode::Enforce);
    let request = Request { known: None, ..common::request() };
    let tally = explore(Login::new(&policy, &request), &History::new(Mode::Enforce, false));
    assert_eq!(tally.unwrap().proven, 0);
}

/// One login in which a mistake was made.
#[derive(Clone, Debug)]
struct Faulty<'a> {
    login: Login<'a>,
    last: Option<Step>,
    fault: Fault,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    ConflictAdmits,
    FailureAdmits,
    UnforeseenAdmits,
    SilenceAdmits,
    AdmitsBeforeTheCommit,
    DecoyAdmits,
    DecoyProves,
    WrongCodeProves,
    ToldBeforeStored,
    NeverTired,
    BlankForEver,
    OpenAgainAfterTheEnd,
    ObservesInEnforceMode,
}

impl Machine for Faulty<'_> {
    fn next(&mut self, event: Event, now: u64) -> Step {
        let honest = self.login.next(event.clone(), now);
        let step = self.distort(&event, honest, now);
        self.last = Some(step.clone());
        step
    }
}

impl Faulty<'_> {
    fn distort(&mut self, event: &Event, honest: Step, now: u64) -> Step {
        let admit = Step::Finish {
            notice: None,
            verdict: Verdict::Admit(Admission::App { label: common::LABEL.into() }),
        };
        let ask = Step::Ask { notice: None, prompt: Prompt::App };
        let refusal = match &honest {
            Step::Finish { verdict: Verdict::Refuse(refusal), .. } => Some(*refusal),
            _ => None,
        };
        let over = matches!(self.last, Some(Step::Finish { .. }));
        match (self.fault, event, &honest) {
            (Fault::ConflictAdmits, Event::Conflict(_), _)
            | (Fault::FailureAdmits, Event::Failed, _)
            | (Fault::SilenceAdmits, Event::NoAnswer, _)
            | (Fault::AdmitsBeforeTheCommit, _, Step::Commit(Change::Prove { .. })) => admit,
            (Fault::UnforeseenAdmits, ..) if refusal == Some(Refusal::Unavailable) => admit,
            (Fault::DecoyAdmits, ..) if refusal == Some(Refusal::NotEnrolled) => admit,
            (Fault::OpenAgainAfterTheEnd, ..) if over => admit,
            (Fault::NeverTired, ..) if refusal == Some(Refusal::WrongCode) => ask,
            (Fault::BlankForEver, ..) if refusal == Some(Refusal::Blank) => ask,
            (Fault::ObservesInEnforceMode, ..) if refusal.is_some() => {
                login::refused(Mode::Observe, Refusal::WrongCode)
            }
            (Fault::DecoyProves | Fault::WrongCodeProves, Event::Answer(answer), Step::Commit(fail)) => {
                let wanted = matches!(self.fault, Fault::DecoyProves) == RIGHT.contains(answer);
                let prove = Step::Commit(Change::Prove {
                    proof: Proof::App(vec![Spent { app: 1, step: now / common::STEP }]),
                    source: Source::CONSOLE,
                    typos: 0,
                });
                if matches!(fail, Change::Fail { .. }) && wanted { prove } else { honest }
            }
            (Fault::ToldBeforeStored, Event::Answer(_), Step::Commit(Change::Fail { .. })) => {
                self.login.next(Event::Committed(Box::default()), now)
            }
            _ => honest,
        }
    }
}

/// The rules above are worth what they catch.
#[test]
fn faults_made_by_hand_are_found() {
    let (policy, request) = (common::policy(Mode::Enforce), common::request());
    let table = [
        (Fault::ConflictAdmits, "only a stored proof admits"),
        (Fault::FailureAdmits, "only a stored proof admits"),
        (Fault::UnforeseenAdmits, "only a stored proof admits"),
        (Fault::SilenceAdmits, "only a stored proof admits"),
        (Fault::AdmitsBeforeTheCommit, "only a stored proof admits"),
        (Fault::DecoyAdmits, "only a stored proof admits"),
        (Fault::OpenAgainAfterTheEnd, "only a stored proof admits"),
        (Fault::DecoyProves, "a decoy proves nothing"),
        (Fault::WrongCodeProves, "only a right code proves"),
        (Fault::ToldBeforeStored, "a guess is stored before it is answered"),
        (Fault::NeverTired, "no guess is left"),
        (Fault::BlankForEver, "three blanks end a login"),
        (Fault::ObservesInEnforceMode, "only observe mode lets pass what it would refuse"),
    ];
    for (fault, broken) in table {
        let faulty = Faulty { login: Login::new(&policy, &request), last: None, fault };
        let violation = explore(faulty, &History::new(Mode::Enforce, true)).expect_err(broken);
        assert_eq!(violation.broken, broken, "{fault:?}: {:?}", violation.sequence);
    }
}

/// An answer that is wrong whoever gives it.
fn wrong_answers() -> Vec<Letter> {
    let is_wrong = |letter: &Letter| match &letter.event {
        Event::Answer(answer) => !RIGHT.contains(answer),
        Event::NoAnswer | Event::Gone => true,
        _ => false,
    };
    alphabet().into_iter().filter(is_wrong).collect()
}

/// Answers the same to both logins in every way there is, compares what they do, and counts the dialogues.
/// Only sshd's junk is stored for nobody and not for an enrolled user: that shows to neither.
fn compare(enrolled: &Login<'_>, decoy: &Login<'_>, letters: &[Letter]) -> u64 {
    let mut dialogues = 0;
    for Letter { name, event } in letters {
        let (mut enrolled, mut decoy) = (enrolled.clone(), decoy.clone());
        let steps = (enrolled.next(event.clone(), NOW), decoy.next(event.clone(), NOW));
        dialogues += match steps {
            // Why it was refused is for the log.
            (step @ Step::Finish { .. }, other) if is_same_to_the_user(&step, &other) => 1,
            (step @ Step::Ask { .. }, other) if step == other => compare(&enrolled, &decoy, &wrong_answers()),
            (step @ Step::Commit(_), other) if step == other => compare(&enrolled, &decoy, &stored()),
            (step, Step::Commit(_)) if is_fake(event) => {
                let other = decoy.next(Event::Committed(Box::default()), NOW);
                assert!(is_same_to_the_user(&step, &other), "after {name}: {step:?} and {other:?}");
                if is_refusal(&step) { 1 } else { compare(&enrolled, &decoy, &wrong_answers()) }
            }
            (step, other) => panic!("after {name}: {step:?} differs from {other:?}"),
        };
    }
    dialogues
}

fn is_fake(event: &Event) -> bool {
    matches!(event, Event::Answer(Answer::Fake))
}

fn is_same_to_the_user(one: &Step, other: &Step) -> bool {
    match (one, other) {
        (Step::Finish { notice, .. }, Step::Finish { notice: other, .. }) => notice == other,
        (one, other) => one == other,
    }
}

fn stored() -> [Letter; 2] {
    [letter("committed", Event::Committed(Box::default())), letter("failed", Event::Failed)]
}

#[test]
fn nobody_sees_who_is_enrolled() {
    let policy = common::policy(Mode::Enforce);
    let (known, unknown) = (common::request(), Request { known: None, ..common::request() });
    let fresh = State::default;
    let decoys = [
        (&known, Event::Account(None)),
        (&known, found(account(UID + 1), fresh())),
        (&known, found(without_factors(), fresh())),
        (&unknown, Event::Account(None)),
        (&unknown, found(account(UID), fresh())),
    ];
    for (request, account_of_decoy) in decoys {
        let (mut enrolled, mut decoy) = (Login::new(&policy, &known), Login::new(&policy, request));
        assert_eq!(enrolled.next(Event::Begin, NOW), decoy.next(Event::Begin, NOW));
        let first = enrolled.next(found(account(UID), fresh()), NOW);
        assert_eq!(first, decoy.next(account_of_decoy, NOW));
        assert_eq!(compare(&enrolled, &decoy, &wrong_answers()), 5_711);
    }
}

#[test]
fn a_login_of_which_nothing_is_asked_touches_nothing() {
    let exemption = Exemption {
        who: Who::User(common::USER.into()),
        from: vec![],
        reason: "nightly".into(),
        until: NOW + 1,
    };
    let exempt = Policy { exemptions: vec![exemption], ..common::policy(Mode::Enforce) };
    let elsewhere = Policy { services: vec!["login".into()], ..common::policy(Mode::Enforce) };
    let table = [
        (common::policy(Mode::Off), Verdict::Admit(Admission::Off)),
        (exempt, Verdict::Admit(Admission::Exempt { reason: "nightly".into(), until: NOW + 1 })),
        (elsewhere, Verdict::NotConcerned),
    ];
    for (policy, verdict) in table {
        for Letter { name, event } in alphabet() {
            let request = common::request();
            let mut login = Login::new(&policy, &request);
            let step = login.next(event, NOW);
            let expected = Step::Finish { notice: None, verdict: verdict.clone() };
            if name == "begin" {
                assert_eq!(step, expected);
            }
            assert!(name == "begin" || is_refusal(&step), "{name}: {step:?}");
            for Letter { name, event } in alphabet() {
                let step = login.next(event, NOW);
                assert!(is_refusal(&step), "{name} after the end: {step:?}");
            }
        }
    }
}

fn is_refusal(step: &Step) -> bool {
    matches!(step, Step::Finish { verdict: Verdict::Refuse(_), .. })
}

#[test]
fn the_account_phase_wants_a_proof_or_a_waiver() {
    let request = common::request();
    let table = [
        (Mode::Enforce, true, Verdict::Admit(Admission::Proven)),
        (Mode::Enforce, false, Verdict::Refuse(Refusal::NoFactor)),
        (Mode::Observe, true, Verdict::Admit(Admission::Proven)),
        (Mode::Observe, false, Verdict::Admit(Admission::Observed(Refusal::NoFactor))),
        (Mode::Off, true, Verdict::Admit(Admission::Off)),
        (Mode::Off, false, Verdict::Admit(Admission::Off)),
    ];
    for (mode, proven, expected) in table {
        match login::account_phase(&common::policy(mode), &request, proven, NOW) {
            Step::Finish { verdict, .. } => assert_eq!(verdict, expected, "{mode:?} {proven}"),
            step => panic!("{step:?}"),
        }
    }
}

/// The state after a login that gives these answers, from a store that judges them.
fn log_in(mut state: State, answers: impl IntoIterator<Item = Answer>) -> State {
    let (policy, request) = (common::policy(Mode::Enforce), common::request());
    let mut login = Login::new(&policy, &request);
    login.next(Event::Begin, NOW);
    login.next(found(account(UID), state.clone()), NOW);
    for answer in answers {
        if let Step::Commit(change) = login.next(Event::Answer(answer), NOW) {
            state = state.apply(&change, &LIMITS, NOW).unwrap();
            login.next(Event::Committed(Box::new(state.clone())), NOW);
        }
    }
    state
}

/// What a login gives back on success is what it was charged itself: no failure of anybody else, and none
/// that was counted elsewhere.
#[test]
fn a_login_takes_back_its_own_failures_only() {
    let elsewhere = Source::new(Some([203, 0, 113, 5].into()));
    let fail = Change::Fail { guess: Guess::Code, source: elsewhere };
    let attacked = (0..4).fold(State::default(), |state, _| state.apply(&fail, &LIMITS, NOW).unwrap());
    let table = [
        (vec![], "no typo"),
        (vec![common::wrong_code(), common::wrong_code()], "two wrong codes"),
        (vec![Answer::Malformed, common::fake()], "one wrong code"),
        (vec![common::wrong_recovery(), common::wrong_recovery()], "two wrong recovery codes"),
        (vec![common::wrong_code(), common::wrong_recovery()], "one of each"),
    ];
    for (wrong, what) in table {
        let state = log_in(attacked.clone(), wrong.into_iter().chain([common::right_code()]));
        assert_eq!(state.last_step(1), Some(NOW / common::STEP), "logged in after {what}");
        assert_eq!(state.failures_in_all(NOW), 4, "after {what}");
    }
}

/// It ends by an administrator, or 30 days without a failure.
#[test]
fn no_recovery_code_ends_the_hard_stop() {
    let here = Source::new(Some(common::address()));
    for wrong in 0..3 {
        let answers = vec![common::wrong_recovery(); wrong].into_iter().chain([common::right_recovery()]);
        let state = log_in(locked_state(LIMITS.total, 32), answers);
        assert_eq!(state.recovery_left(3), 2, "logged in");
        assert_eq!(state.lock(here, &LIMITS, NOW), Some(Lock::Total), "after {wrong} wrong recovery codes");
    }
}
