//! Every short sequence of events that a login can meet, expected or not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken test says so and stops"
)]

#[path = "../common/mod.rs"]
mod common;
mod decoys;
mod faults;
mod history;
mod keys;
mod rollout;
mod rollout_faults;
mod set_up;
mod trust;

use common::{DECOY, LIMITS, NOW, SENDS, UID};
use history::History;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Debug};
use std::net::IpAddr;
use std::sync::LazyLock;
use twofa::account::{Account, Cap, Change, Conflict, Factors, Guess, Limits, Lock, Source, State};
use twofa::code::{Answer, RecoverySet, Secret, Seed, Tag, Word};
use twofa::login::{self, Admission, Event, Login, Notice, Refusal, Reply, Step, Verdict};
use twofa::policy::{Channel, EmailRules, Exemption, Method, Mode, Policy, Request, SmsRules, Template, Who};
use twofa::token::Touched;

use Method::{App, Email, Sms};

/// A code of the tests is too old after three pauses, and not after two.
const VALID_FOR: u64 = 2 * SENDS.pause + 5;

/// What is explored: the login, or a copy of it with a fault.
trait Machine: Clone + Debug {
    fn next(&mut self, event: Event, now: u64) -> Step;
}

impl Machine for Login<'_> {
    fn next(&mut self, event: Event, now: u64) -> Step {
        Login::next(self, event, now)
    }
}

/// What stays the same in one exploration.
struct Scene {
    policy: Policy,
    request: Request,
    seed: Seed,
}

/// Nothing: what stays the same tells no two states apart.
impl Debug for Scene {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl Scene {
    fn new(mode: Mode, methods: &[Method]) -> Self {
        // What is short is soon compared.
        let channel = || Channel {
            hook: "/".into(),
            hook_user: String::new(),
            valid_for: VALID_FOR,
            text: Template::parse("{code}").unwrap(),
        };
        let mut policy = common::policy_of(mode, methods);
        let sms = policy.sms.filter(|_| methods.contains(&Sms));
        policy.sms = sms.map(|sms| SmsRules { channel: channel(), ..sms });
        let email = policy.email.filter(|_| methods.contains(&Email));
        policy.email = email.map(|email| EmailRules { channel: channel(), ..email });
        policy.helper = "/".into();
        Self { policy, request: common::request(), seed: common::seed(1) }
    }

    fn with_prompts(mut self, prompts: u8) -> Self {
        self.policy.limits.prompts = prompts;
        self
    }

    fn login(&self) -> Login<'_> {
        Login::new(&self.policy, &self.request, &self.seed)
    }

    fn code(&self, number: usize) -> Answer {
        common::sent_code(&self.seed, u8::try_from(number).unwrap())
    }

    fn tag(&self, number: usize) -> Tag {
        let number = u8::try_from(number).unwrap();
        self.seed.tag(number, self.seed.sent_code(number).expose())
    }
}

/// A kind of event, named for the report of a violation.
#[derive(Clone)]
struct Letter {
    name: &'static str,
    /// Seconds that pass before it.
    wait: u64,
    event: Event,
    /// What the store has then, if there is one.
    stored: Option<State>,
}

fn letter(name: &'static str, event: Event) -> Letter {
    Letter { name, wait: 0, event, stored: None }
}

/// Everything that can be told to a login that asks for codes of an app.
fn alphabet() -> Vec<Letter> {
    let (by_address, hard) = (locked_state(LIMITS.failures.into(), 1), locked_state(LIMITS.total, 32));
    let until = NOW + LIMITS.window;
    vec![
        letter("begin", Event::Begin),
        letter("nobody", Event::Account(None, DECOY)),
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
        letter("counter back", Event::Conflict(Conflict::CounterBack(1))),
        letter("touched", Event::Touched(Touched::Signed { credential: 0, counter: 7 })),
        letter("PIN", Event::Pin(Secret::new(*b"1234"))),
        letter("saved", Event::Replied(Reply::Saved)),
        letter("failed", Event::Failed),
    ]
}

/// And to one that sends them, to whoever has one of these factors or several.
fn alphabet_of_sending(scene: &Scene) -> Vec<Letter> {
    let word = |word| Event::Answer(Answer::Word(word));
    let has = |factors| found(Account { factors, ..account(UID) }, State::default());
    let contacts = Factors { recovery: Some(recovery()), ..common::contacts() };
    let both = Factors { apps: common::factors().apps, ..contacts.clone() };
    let locked =
        || Box::new((Account { factors: both.clone(), ..account(UID) }, locked_state(LIMITS.total, 32)));
    let mut letters = alphabet();
    letters.extend([
        letter("phone and mailbox", has(contacts)),
        letter("app, phone and mailbox", has(both.clone())),
        letter("app, phone and mailbox, hard stop", Event::Account(Some(locked()), DECOY)),
        letter("first code", Event::Answer(scene.code(0))),
        letter("second code", Event::Answer(scene.code(1))),
        letter("code of another login", Event::Answer(common::sent_code(&common::seed(2), 0))),
        letter("app", word(Word::App)),
        letter("sms", word(Word::Sms)),
        letter("email", word(Word::Email)),
        letter("resend", word(Word::Resend)),
        letter("expired", Event::Conflict(Conflict::Expired)),
        letter("superseded", Event::Conflict(Conflict::Superseded)),
        letter("too soon", Event::Conflict(Conflict::TooSoon(7))),
        letter("capped", Event::Conflict(Conflict::Capped(Cap::Number))),
        letter("delivered", Event::Delivered),
        letter("undelivered", Event::Undelivered),
    ]);
    letters.extend(wishes_after_a_pause());
    letters
}

fn wishes_after_a_pause() -> [Letter; 3] {
    let later = |name, word| Letter { wait: SENDS.pause, ..letter(name, Event::Answer(Answer::Word(word))) };
    [later("resend, later", Word::Resend), later("sms, later", Word::Sms), later("email, later", Word::Email)]
}

fn account(uid: u32) -> Account {
    Account {
        user: common::USER.into(),
        uid,
        generation: 1,
        factors: Factors { recovery: Some(recovery()), ..common::factors() },
    }
}

/// Of one code: short to compare.
fn recovery() -> RecoverySet {
    RecoverySet::new(Secret::new([7; 32]), &common::recovery_codes(1)[..1])
}

fn without_factors() -> Account {
    Account { factors: Factors::default(), ..account(UID) }
}

fn found(account: Account, state: State) -> Event {
    Event::Account(Some(Box::new((account, state))), DECOY)
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

static RIGHT: LazyLock<[Answer; 2]> = LazyLock::new(|| [common::right_code(), common::right_recovery()]);

/// What can come of counting a message, without the login being lost.
fn is_about_sending(event: &Event) -> bool {
    matches!(
        event,
        Event::Committed(_) | Event::Failed | Event::Conflict(Conflict::TooSoon(_) | Conflict::Capped(_))
    )
}

fn is_account(event: &Event) -> bool {
    matches!(event, Event::Account(..))
}

/// Whether observe mode counts what would be refused so: not sshd's junk, and nothing for a mere name, nor in the
/// state of another user, or of none.
fn is_counted(request: &Request, refusal: Refusal) -> bool {
    let theirs = !matches!(refusal, Refusal::Fake | Refusal::UidMismatch);
    theirs && request.known.is_some() && request.first_factor
}

/// The rule that a step broke.
type Broken = &'static str;

fn rule(holds: bool, broken: Broken) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(broken) }
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
    /// No more wishes than so.
    wishes: u8,
    /// So much of what a login shows of itself is the policy, and the request.
    same: usize,
    sequence: Vec<&'static str>,
    visited: BTreeMap<String, Tally>,
    /// Logins that are over, with what was seen of them.
    over: BTreeSet<String>,
}

fn explore(
    machine: impl Machine,
    history: &History<'_>,
    letters: Vec<Letter>,
    wishes: u8,
) -> Result<Tally, Violation> {
    let same = format!("{:?}{:?}", history.scene.policy, history.scene.request).len();
    let (visited, over) = (BTreeMap::new(), BTreeSet::new());
    let mut explorer = Explorer { letters, wishes, same, sequence: vec![], visited, over };
    let explored = explorer.visit(&machine, history);
    explored.map_err(|broken| Violation { sequence: explorer.sequence, broken })
}

impl Explorer {
    fn visit(&mut self, machine: &impl Machine, history: &History<'_>) -> Result<Tally, Broken> {
        let state = format!("{machine:?} {history:?}").split_off(self.same);
        if let Some(tally) = self.visited.get(&state) {
            return Ok(*tally);
        }
        let mut tally = Tally::default();
        for Letter { name, wait, event, stored } in self.letters_after(history) {
            let (mut machine, mut history) = (machine.clone(), history.clone());
            self.sequence.push(name);
            history.now += wait;
            if let Some(stored) = stored {
                history.overtaken |= wait > 0;
                history.agree(&event)?;
                history.stored = Some(stored);
            }
            let step = machine.next(event.clone(), history.now);
            history.judge(&event, &step)?;
            let more = match step {
                Step::Finish { verdict, .. } => {
                    self.go_on(&machine, &history)?;
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

    /// Everything; or, with a store, what can follow.
    fn letters_after(&self, history: &History<'_>) -> Vec<Letter> {
        let mut letters: Vec<Letter> = match history.stored {
            Some(_) => {
                self.letters.iter().filter(|letter| history.can_follow(&letter.event)).cloned().collect()
            }
            None => self.letters.clone(),
        };
        letters.extend(history.judgements());
        letters.retain(|letter| !self.is_left_out(letter, history));
        letters
    }

    fn is_left_out(&self, letter: &Letter, history: &History<'_>) -> bool {
        // Later than so the right code is another one.
        let late = letter.wait > 0 && history.now >= NOW + 3 * SENDS.pause && self.wishes < u8::MAX;
        late || match letter.event {
            Event::Answer(Answer::Word(_)) => history.wishes >= self.wishes,
            // The store stores no such thing.
            Event::Committed(_) => history.was_to_be_counted() && !history.is_below_limit(),
            _ => false,
        }
    }

    /// After the end nothing but a refusal comes, whatever is told.
    fn go_on(&mut self, machine: &impl Machine, history: &History<'_>) -> Result<(), Broken> {
        if !self.over.insert(format!("{machine:?}").split_off(self.same)) {
            return Ok(());
        }
        for Letter { name, event, .. } in self.letters.clone() {
            self.sequence.push(name);
            history.clone().judge(&event, &machine.clone().next(event.clone(), history.now))?;
            self.sequence.pop();
        }
        Ok(())
    }
}

/// What the real store makes of a change.
fn judged(name: &'static str, stored: &State, change: &Change, limits: &Limits, now: u64) -> Letter {
    match stored.apply(change, limits, now) {
        Ok(state) => {
            Letter { stored: Some(state.clone()), ..letter(name, Event::Committed(Box::new(state))) }
        }
        Err(conflict) => Letter { stored: Some(stored.clone()), ..letter(name, Event::Conflict(conflict)) },
    }
}

/// Another login of the same user asks for a code.
fn rival() -> Change {
    let source = Source::new(Some([203, 0, 113, 5].into()));
    Change::Send { tag: [9; 32], valid_for: VALID_FOR, source, number: None, earlier: 0 }
}

fn is_proof(verdict: &Verdict) -> bool {
    matches!(
        verdict,
        Verdict::Admit(Admission::App { .. } | Admission::Sent { .. } | Admission::Recovery { .. })
    )
}

/// Pinned: a change of the login that opens or closes a way shows here.
const ALL: Tally = Tally { sequences: 12_254_061, proven: 34_989 };

fn explore_app(scene: &Scene) -> Tally {
    explore(scene.login(), &History::new(scene), alphabet(), 0).unwrap()
}

#[test]
fn only_a_stored_proof_admits() {
    assert_eq!(explore_app(&Scene::new(Mode::Enforce, &[App])), ALL);
}

/// Who can answer is asked, and proves, as in enforce mode; nobody else is asked anything.
#[test]
fn observe_mode_refuses_nobody() {
    let tally = explore_app(&Scene::new(Mode::Observe, &[App]));
    assert_eq!(tally, Tally { sequences: 42_590_521, ..ALL });
}

/// Whatever account the store has of that name.
#[test]
fn a_user_unknown_to_the_host_proves_nothing() {
    let mut scene = Scene::new(Mode::Enforce, &[App]);
    scene.request.known = None;
    assert_eq!(explore_app(&scene).proven, 0);
}

/// Two guesses, so many wishes, and everything that can be told.
fn explore_sending(scene: Scene, wishes: u8) -> Tally {
    let scene = scene.with_prompts(2);
    explore(scene.login(), &History::new(&scene), alphabet_of_sending(&scene), wishes).unwrap()
}

/// Pinned, as above.
#[test]
fn only_a_counted_code_is_sent() {
    let table = [
        (&[App][..], 2, 38_893_779, 160_410),
        (&[Sms], 2, 19_828_704_834, 70_116_051),
        (&[Email], 1, 744_224_055, 2_179_593),
        (&[App, Sms], 1, 177_865_423, 1_348_668),
    ];
    let tallies =
        table.map(|(methods, wishes, ..)| explore_sending(Scene::new(Mode::Enforce, methods), wishes));
    assert_eq!(tallies, table.map(|(.., sequences, proven)| Tally { sequences, proven }));
}

#[test]
fn an_app_stands_in_for_what_cannot_be_sent() {
    let tally = explore_sending(Scene::new(Mode::Enforce, &[Sms, App]), 1);
    assert_eq!(tally, Tally { sequences: 476_693_298, proven: 2_550_516 });
}

/// The rules want it of each of these, and so much is proven: by recovery codes where nothing is sent.
#[test]
fn nothing_is_sent_for_a_mere_name_nor_for_nobody() {
    let nameless = |scene: &mut Scene| scene.request.first_factor = false;
    let unknown = |scene: &mut Scene| scene.request.known = None;
    let nothing = |_: &mut Scene| {};
    type Change<'a> = &'a dyn Fn(&mut Scene);
    let table: [(Mode, &[Method], Change<'_>, Tally); 6] = [
        (Mode::Enforce, &[Sms], &nameless, Tally { sequences: 35_621_345, proven: 63_351 }),
        (Mode::Enforce, &[Sms, App], &nameless, Tally { sequences: 24_062_939, proven: 113_331 }),
        (Mode::Enforce, &[Sms], &unknown, Tally { sequences: 799_160_018, proven: 0 }),
        (Mode::Enforce, &[App, Sms], &unknown, Tally { sequences: 163_644_845, proven: 0 }),
        (Mode::Observe, &[Sms], &nothing, Tally { sequences: 8_593_669_158, proven: 2_179_593 }),
        (Mode::Observe, &[Sms], &nameless, Tally { sequences: 7_728_845, proven: 63_351 }),
    ];
    let tallies = table.map(|(mode, methods, change, _)| {
        let mut scene = Scene::new(mode, methods);
        change(&mut scene);
        explore_sending(scene, 1)
    });
    assert_eq!(tallies, table.map(|(.., expected)| expected));
}

/// Only wishes, as many as somebody likes: there is an end, or this would have none.
#[test]
fn a_login_ends_whatever_is_wished() {
    for (methods, sequences) in
        [(&[Sms][..], 2_476_029_461), (&[App, Sms], 1_598_193_529), (&[Sms, App], 3_170_870_829)]
    {
        let scene = Scene::new(Mode::Enforce, methods);
        let is_kept = |letter: &Letter| match &letter.event {
            Event::Begin | Event::Answer(Answer::Word(_)) | Event::Conflict(Conflict::Capped(_)) => true,
            Event::Committed(_) | Event::Delivered | Event::Undelivered => {
                letter.name != "committed, hard stop"
            }
            Event::Account(..) => letter.name == "app, phone and mailbox" || letter.name == "nobody",
            _ => false,
        };
        let letters = alphabet_of_sending(&scene).into_iter().filter(is_kept).collect();
        let tally = explore(scene.login(), &History::new(&scene), letters, u8::MAX).unwrap();
        assert_eq!(tally, Tally { sequences, proven: 0 }, "{methods:?}");
    }
}

/// Codes old and new, with a store that judges them, and another login that comes between.
fn dialogues(scene: &Scene) -> Vec<Letter> {
    const KEPT: [&str; 13] = [
        "begin",
        "phone and mailbox",
        "app, phone and mailbox",
        "right code",
        "wrong code",
        "first code",
        "second code",
        "fake",
        "app",
        "sms, later",
        "resend, later",
        "delivered",
        "undelivered",
    ];
    let is_kept = |letter: &Letter| KEPT.contains(&letter.name);
    alphabet_of_sending(scene).into_iter().filter(is_kept).collect()
}

#[test]
fn login_and_store_judge_alike() {
    let table = [
        (&[Sms][..], Tally { sequences: 3_205_956, proven: 73_770 }),
        (&[Sms, App], Tally { sequences: 2_595_290, proven: 223_148 }),
        (&[App, Email], Tally { sequences: 1_820_739, proven: 88_262 }),
    ];
    for (methods, expected) in table {
        let mut scene = Scene::new(Mode::Enforce, methods).with_prompts(4);
        // So that it is met.
        scene.policy.limits.sends.login = 2;
        let history = History::new(&scene).with_store();
        let tally = explore(scene.login(), &history, dialogues(&scene), 2);
        assert_eq!(tally.unwrap(), expected, "{methods:?}");
    }
}

/// The login's own pause is over: what the store speaks of is a code of another one, and this one's is void.
#[test]
fn a_pause_for_another_logins_code_says_so() {
    let scene = Scene::new(Mode::Enforce, &[Sms]);
    let alice = Account { factors: common::contacts(), ..account(UID) };
    let mut login = scene.login();
    for event in
        [Event::Begin, found(alice, State::default()), Event::Committed(Box::default()), Event::Delivered]
    {
        login.next(event, NOW);
    }
    let later = NOW + SENDS.pause;
    login.next(Event::Answer(Answer::Word(Word::Resend)), later);
    match login.next(Event::Conflict(Conflict::TooSoon(7)), later) {
        Step::Ask { notice, .. } => {
            assert_eq!(notice, Some(Notice::TooSoon { seconds: 7, elsewhere: true, word: "resend" }));
        }
        step => panic!("{step:?}"),
    }
}

/// What a proof meets is no answer to a message that was to be counted.
#[test]
fn a_count_meets_no_conflict_of_a_proof() {
    let scene = Scene::new(Mode::Enforce, &[Sms]);
    let alice = Account { factors: common::contacts(), ..account(UID) };
    let mut asked = vec![];
    for conflict in [Conflict::Used, Conflict::Expired, Conflict::Superseded] {
        let mut login = scene.login();
        login.next(Event::Begin, NOW);
        assert!(matches!(
            login.next(found(alice.clone(), State::default()), NOW),
            Step::Commit(Change::Send { .. })
        ));
        let step = login.next(Event::Conflict(conflict), NOW);
        asked.extend((!is_refusal(&step)).then(|| format!("{conflict:?}: {step:?}")));
    }
    assert_eq!(asked, [""; 0]);
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
        for Letter { name, event, .. } in alphabet() {
            let (request, seed) = (common::request(), common::seed(1));
            let mut login = Login::new(&policy, &request, &seed);
            let step = login.next(event, NOW);
            let expected = Step::Finish { notice: None, verdict: verdict.clone() };
            if name == "begin" {
                assert_eq!(step, expected);
            }
            assert!(name == "begin" || is_refusal(&step), "{name}: {step:?}");
            for Letter { name, event, .. } in alphabet() {
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
    let (policy, request, seed) = (common::policy(Mode::Enforce), common::request(), common::seed(1));
    let mut login = Login::new(&policy, &request, &seed);
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
        assert_eq!(state.recovery_left(1), 0, "logged in");
        assert_eq!(state.lock(here, &LIMITS, NOW), Some(Lock::Total), "after {wrong} wrong recovery codes");
    }
}
