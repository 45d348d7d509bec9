//! The roll-out, what is set up in it, sessions and bypasses. All that they do not change is held by a login beside
//! it that knows of none of them: its rules are those of codes and keys.

use super::set_up::{NUMBER, SetUp};
use super::{
    Broken, Letter, Machine, Scene, Violation, account, found, letter, locked_state, recovery, rule,
};
use crate::common::{self, DECOY, LIMITS, NOW, SHAPE, STEP, UID};
use std::collections::{HashMap, HashSet};
use std::mem;
use std::rc::Rc;
use std::sync::LazyLock;
use twofa::account::{
    Account, Bypass, Cap, Change, Conflict, Factors, Guess, Lock, Process, Proof, Session, Source, State,
};
use twofa::code::{self, Answer, RecoverySet, Secret, Word};
use twofa::contact::{Address, Confirmable, Number};
use twofa::login::{self, Admission, Event, Login, Notice, Refusal, Reply, Step, Verdict};
use twofa::policy::{Method, Mode, RolloutRules};
use twofa::token::Touched;
use zeroize::Zeroizing;

use Method::{App, Email, Key, Sms};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// How long users without a factor are borne with, from their first login behind the date.
pub(super) const GRACE: u64 = 7 * DAY;
/// When such a login was, of users who have some days left.
const BEGUN: u64 = NOW - DAY;
pub(super) const REASON: &str = "lost phone";
const HAD_ONE: &str = "had a factor once";
const LOCKED: Lock = Lock::Address(NOW + LIMITS.window);

/// Somebody whom the store knows, or does not.
struct User {
    name: &'static str,
    found: Option<(Account, State)>,
    /// When the days without a factor began, and the highest time that was seen since.
    begun: Option<(u64, u64)>,
    /// What stops the codes of this user, and not a bypass.
    lock: Option<Lock>,
}

static USERS: LazyLock<Vec<User>> = LazyLock::new(users);

fn users() -> Vec<User> {
    let bare = Factors::default;
    let user = |name, factors: Factors, state: State| User {
        name,
        found: Some((Account { factors, ..account(UID) }, state)),
        begun: None,
        lock: None,
    };
    let fresh = State::default;
    let begun = |since| fresh().apply(&Change::Grace, &LIMITS, since).unwrap();
    let in_grace = |name, factors, since, seen| {
        let state = begun(since).apply(&Change::Register, &LIMITS, seen).unwrap();
        User { begun: Some((since, seen)), ..user(name, factors, state) }
    };
    let seen = |state: State| state.apply(&Change::Register, &LIMITS, NOW).unwrap();
    let with_bypass = |mut state: State, until| {
        let code = bypass_code();
        state.set_bypass(Some(Bypass { code, until, reason: REASON.into() }));
        state
    };
    let mut had_one = fresh();
    had_one.note_factors(&common::key_factors(), &bare());
    let open = |state| with_bypass(state, NOW + HOUR);
    let app = account(UID).factors;
    let phone = Factors { recovery: Some(recovery()), addresses: vec![], ..common::contacts() };
    let both = || Factors { apps: app.apps.clone(), ..phone.clone() };
    let key = || Factors { keys: vec![common::key(1)], ..bare() };
    let ssh_key = Factors { ssh_keys: vec![common::ssh_key(1)], ..bare() };
    let elsewhere = Number::parse("+12025550100", None).unwrap();
    let foreign = Factors { phone: Some(Confirmable { to: elsewhere, confirmed: None }), ..bare() };
    let mut other = user("other uid", bare(), begun(BEGUN));
    other.found.as_mut().unwrap().0.uid = UID + 1;
    vec![
        User { name: "nobody", found: None, begun: None, lock: None },
        other,
        user("bare", bare(), fresh()),
        in_grace("in grace", bare(), BEGUN, BEGUN),
        in_grace("in grace, the last second", bare(), NOW + 1 - GRACE, NOW),
        in_grace("grace over", bare(), NOW - GRACE, NOW),
        in_grace("grace over, clock set back", bare(), BEGUN, BEGUN + GRACE),
        user(HAD_ONE, bare(), had_one),
        user("app", app.clone(), fresh()),
        user("phone", phone.clone(), fresh()),
        user("app and phone", both(), fresh()),
        user("security key", key(), fresh()),
        in_grace("security key, in grace", key(), BEGUN, BEGUN),
        user("SSH key", ssh_key, fresh()),
        user("forbidden phone", foreign, fresh()),
        user("bypass", bare(), open(fresh())),
        User { begun: Some((BEGUN, BEGUN)), ..user("bypass, in grace", bare(), open(begun(BEGUN))) },
        user("bypass over", bare(), with_bypass(seen(fresh()), NOW)),
        user("security key, bypass", key(), open(fresh())),
        user("app and phone, bypass", both(), open(fresh())),
        User {
            lock: Some(LOCKED),
            ..user("address locked, bypass", both(), open(locked_state(LIMITS.failures.into(), 1)))
        },
        User {
            lock: Some(Lock::Total),
            ..user("hard stop, bypass", both(), open(locked_state(LIMITS.total, 32)))
        },
    ]
}

/// Somebody whom every policy asks for a recovery code, and for nothing else; nobody has one.
fn stopped(factors: Option<&Factors>) -> Event {
    let none = RecoverySet::new(Secret::new([9; 32]), &common::recovery_codes(6)[..1]);
    let any = Factors {
        recovery: Some(none),
        apps: common::factors().apps,
        phone: Some(common::phone()),
        ssh_keys: vec![],
        ..common::key_factors()
    };
    let factors = factors.cloned().unwrap_or(any);
    found(Account { factors, ..account(UID) }, locked_state(LIMITS.total, 32))
}

/// As its user types it.
static BYPASS: LazyLock<Answer> = LazyLock::new(|| common::typed(&common::recovery_codes(5)[0]));

pub(super) fn bypass_code() -> RecoverySet {
    RecoverySet::new(Secret::new([8; 32]), &common::recovery_codes(5)[..1])
}

fn process(pid: u32) -> Process {
    Process { pid, start: 7, boot: [1; 8] }
}

fn session() -> Session {
    Session { uid: UID, processes: vec![process(1), process(2)] }
}

/// What is explored: a login in a phase of PAM.
pub(super) struct Case {
    pub(super) scene: Scene,
    pub(super) account_phase: bool,
    /// The same, without all that.
    beside: Scene,
}

impl Case {
    /// Users without a factor are let in until tomorrow, if nothing else is said.
    pub(super) fn new(mode: Mode, methods: &[Method], change: &dyn Fn(&mut Scene)) -> Self {
        let scene = || {
            let mut scene = Scene::new(mode, methods).with_prompts(2);
            scene.policy.rollout = RolloutRules { from: NOW + DAY, grace: GRACE, enroll: true };
            change(&mut scene);
            scene
        };
        let mut beside = scene();
        beside.policy.rollout = RolloutRules::default();
        beside.request.session = None;
        beside.request.processes.clear();
        Self { scene: scene(), account_phase: false, beside }
    }

    pub(super) fn of_account_phase(self) -> Self {
        Self { account_phase: true, ..self }
    }

    pub(super) fn login(&self) -> Login<'_> {
        let Scene { policy, request, seed } = &self.scene;
        match self.account_phase {
            true => Login::of_account_phase(policy, request, seed),
            false => self.scene.login(),
        }
    }
}

/// The date is past: the days count.
pub(super) fn begun(scene: &mut Scene) {
    scene.policy.rollout.from = NOW;
}

fn without_grace(scene: &mut Scene) {
    scene.policy.rollout = RolloutRules { from: NOW, grace: 0, enroll: true };
}

fn without_set_up(scene: &mut Scene) {
    scene.policy.rollout.enroll = false;
}

fn begun_without_set_up(scene: &mut Scene) {
    begun(scene);
    without_set_up(scene);
}

/// Nobody showed a password.
pub(super) fn nameless(scene: &mut Scene) {
    begun(scene);
    scene.request.first_factor = false;
}

pub(super) fn with_processes(scene: &mut Scene) {
    scene.request.processes = vec![process(1), process(2)];
}

/// Asked for in a session, where the policy lets that be enough.
pub(super) fn in_session(scene: &mut Scene) {
    begun_without_set_up(scene);
    scene.policy.services.push("sudo".into());
    scene.policy.trust.session_services = vec!["sudo".into()];
    scene.request.service = "sudo".into();
    scene.request.session = Some(session());
}

pub(super) fn in_session_unlisted(scene: &mut Scene) {
    in_session(scene);
    scene.policy.trust.session_services.clear();
}

pub(super) fn with_default_address(scene: &mut Scene) {
    if let Some(email) = &mut scene.policy.email {
        email.default_address = Some(Address::parse("help@example.org").unwrap());
    }
}

/// What the store has once days without a factor begin, or began.
fn stored() -> [(Letter, Option<u64>); 3] {
    let begun = |since| {
        let state = State::default().apply(&Change::Grace, &LIMITS, since).unwrap();
        Event::Committed(Box::new(state))
    };
    [
        (letter("committed", Event::Committed(Box::default())), None),
        (letter("committed, days begun", begun(BEGUN)), Some(BEGUN + GRACE)),
        (letter("committed, days over", begun(NOW - GRACE)), None),
    ]
}

pub(super) fn typed(text: &str) -> Event {
    Event::Replied(Reply::Typed(Zeroizing::new(text.into())))
}

pub(super) fn new_code(scene: &Scene, time: u64) -> Event {
    typed(&code::code_at(&scene.seed.app_secret(), SHAPE, time).unwrap())
}

pub(super) fn alphabet_of_rollout(scene: &Scene) -> Vec<Letter> {
    let replied = |name, reply| letter(name, Event::Replied(reply));
    let sent = |number| typed(scene.seed.sent_code(number).expose());
    let user = |user: &User| letter(user.name, Event::Account(user.found.clone().map(Box::new), DECOY));
    let mut letters: Vec<Letter> = USERS.iter().map(user).collect();
    letters.extend(stored().map(|(letter, _)| letter));
    letters.extend([
        letter("begin", Event::Begin),
        letter("right code", Event::Answer(common::right_code())),
        letter("wrong code", Event::Answer(common::wrong_code())),
        letter("right recovery code", Event::Answer(common::right_recovery())),
        letter("bypass code", Event::Answer(BYPASS.clone())),
        letter("blank", Event::Answer(Answer::Blank)),
        letter("fake", Event::Answer(common::fake())),
        letter("first code", Event::Answer(scene.code(0))),
        letter("sms", Event::Answer(Answer::Word(Word::Sms))),
        letter("PIN", Event::Pin(Secret::new(*b"1234"))),
        letter("yes", Event::Confirmed(true)),
        letter("no answer", Event::NoAnswer),
        letter("gone", Event::Gone),
        replied("reply: later", Reply::Later),
        replied("reply: fake", Reply::Fake),
        replied("reply: text", Reply::Text),
        replied("reply: resend", Reply::Resend),
        replied("reply: saved", Reply::Saved),
        replied("reply: app", Reply::Method(App)),
        replied("reply: sms", Reply::Method(Sms)),
        letter("reply: code of the new app", new_code(scene, NOW)),
        letter("reply: code before that", new_code(scene, NOW - STEP)),
        letter("reply: wrong code", typed("000000")),
        letter("reply: number", typed(NUMBER)),
        letter("reply: no number", typed("+48 600")),
        letter("reply: forbidden number", typed("+1 202 555 0100")),
        letter("reply: first code", sent(0)),
        letter("reply: second code", sent(1)),
        letter("used", Event::Conflict(Conflict::Used)),
        letter("changed", Event::Conflict(Conflict::Changed)),
        letter("hard stop", Event::Conflict(Conflict::Locked(Lock::Total))),
        letter("untrusted", Event::Conflict(Conflict::Untrusted)),
        letter("too soon", Event::Conflict(Conflict::TooSoon(7))),
        letter("capped", Event::Conflict(Conflict::Capped(Cap::Number))),
        letter("failed", Event::Failed),
        letter("delivered", Event::Delivered),
        letter("undelivered", Event::Undelivered),
        letter("touched", Event::Touched(Touched::Signed { credential: 0, counter: 7 })),
    ]);
    letters
}

/// How far one sequence came.
#[derive(Clone, Debug)]
enum Phase<'a> {
    New,
    Joining,
    Reading,
    /// As for the login beside it.
    Plain,
    Registering,
    Granting,
    SettingUp(Box<SetUp<'a>>),
    /// A bypass was typed.
    Bypassing,
    /// It ends so, whatever comes of what is stored before.
    Opening(Box<Step>),
    Counting(Box<Step>),
    Over,
}

/// What is right next.
#[allow(clippy::large_enum_variant)] // one at a time
enum Due<'a> {
    Step(Step, Broken),
    SetUp(Box<SetUp<'a>>),
}

/// What a roll-out says of somebody without a factor.
enum Bears {
    NotYet(u64),
    First,
    Until(u64),
    No,
}

/// The rules of all that, and a login that knows nothing of it.
#[derive(Clone)]
struct Watch<'a> {
    case: &'a Case,
    plain: Login<'a>,
    phase: Phase<'a>,
    /// A user of `USERS`, when there is one.
    user: Option<usize>,
    asked: bool,
    /// Whether a bypass is open to whom is asked.
    bypass: bool,
    /// What a notice about a lock says, where the login beside it knows of the hard stop.
    lock: Option<Option<Lock>>,
    /// What nobody is refused for in the end, where the login beside it has another reason.
    unenrolled: bool,
    registered: bool,
    /// A wrong code is being stored; and how many were, which a proof takes back.
    fails: bool,
    typos: u8,
    wishes: u8,
    /// Messages that this login has had counted.
    counted: Option<u8>,
}

impl<'a> Watch<'a> {
    fn new(case: &'a Case) -> Self {
        let mut plain = case.beside.login();
        plain.next(Event::Begin, NOW);
        Self {
            case,
            plain,
            phase: Phase::New,
            user: None,
            asked: false,
            bypass: false,
            lock: None,
            unenrolled: false,
            registered: false,
            fails: false,
            typos: 0,
            wishes: 0,
            counted: None,
        }
    }

    fn enforces(&self) -> bool {
        self.case.scene.policy.mode == Mode::Enforce
    }

    fn source(&self) -> Source {
        Source::new(self.case.scene.request.address)
    }

    /// Judges the step that answers the event of this name.
    fn judge(&mut self, name: &str, event: &Event, step: &Step) -> Result<(), Broken> {
        self.wishes += u8::from(is_wish(event));
        let asks = matches!(step, Step::Ask { .. } | Step::Deliver(_) | Step::Touch { .. });
        rule(!asks || !self.case.account_phase, "the account phase asks nothing")?;
        let due = match mem::replace(&mut self.phase, Phase::Over) {
            Phase::SettingUp(set_up) => Due::SetUp(set_up),
            phase => self.due(phase, name, event),
        };
        match due {
            Due::Step(due, broken) => rule(*step == due, broken)?,
            Due::SetUp(mut set_up) => {
                set_up.judge(event, step)?;
                if !matches!(step, Step::Finish { .. }) {
                    self.phase = Phase::SettingUp(set_up);
                }
            }
        }
        self.asked = matches!(step, Step::Ask { .. });
        self.counted = match step {
            Step::Commit(Change::Send { earlier, .. }) => Some(*earlier),
            _ => None,
        };
        Ok(())
    }

    fn due(&mut self, phase: Phase<'a>, name: &str, event: &Event) -> Due<'a> {
        let lost = "what was lost refuses, at once";
        let (due, broken) = match (phase, event) {
            (Phase::New, Event::Begin) => self.begin(),
            (Phase::Joining, Event::Committed(_)) => {
                (admitted(None, Admission::Session), "a session is as good as its login")
            }
            (Phase::Joining, Event::Conflict(_)) => self.read(),
            (Phase::Registering, Event::Committed(_)) => {
                self.registered = true;
                self.read()
            }
            (Phase::Reading, Event::Account(..)) => return self.meet(name, event),
            (Phase::Granting, Event::Committed(_)) => {
                match stored().into_iter().find(|(letter, _)| letter.name == name) {
                    Some((_, Some(until))) => return self.let_in(Admission::Grace { until }),
                    _ => self.refused_unenrolled(),
                }
            }
            (Phase::Opening(step), Event::Committed(_) | Event::Conflict(_) | Event::Failed) => {
                (*step, "who proved a factor is let in, whatever is known of it later")
            }
            (Phase::Counting(step), _) => (*step, "what would be refused is counted once"),
            (Phase::Bypassing, event) => self.bypassing(event),
            (Phase::Plain, event) => self.plain_due(event),
            (Phase::Over, _) => {
                let over = login::refused(self.case.scene.policy.mode, Refusal::Unavailable);
                (over, "a login that is over stays so")
            }
            _ => (self.refused(Refusal::Unavailable), lost),
        };
        Due::Step(due, broken)
    }

    fn begin(&mut self) -> (Step, Broken) {
        let request = &self.case.scene.request;
        let listed = self.case.scene.policy.trust.session_services.contains(&request.service);
        match &request.session {
            Some(session) if listed && request.known.is_some() => {
                self.phase = Phase::Joining;
                let proof = Proof::Session(session.clone());
                let prove = Change::Prove { proof, source: self.source(), typos: 0 };
                (Step::Commit(prove), "a listed service asks what session it is in")
            }
            _ => self.read(),
        }
    }

    fn read(&mut self) -> (Step, Broken) {
        self.phase = Phase::Reading;
        (Step::Read, "the ordinary login begins by reading")
    }

    /// In observe mode it is counted before, where it is known whose it is.
    fn refused(&mut self, refusal: Refusal) -> Step {
        let Scene { policy, request, .. } = &self.case.scene;
        let step = login::refused(policy.mode, refusal);
        let shown = request.first_factor || self.case.account_phase;
        let theirs = request.known.is_some() && !matches!(refusal, Refusal::Fake | Refusal::UidMismatch);
        if self.enforces() || !shown || !theirs {
            return step;
        }
        self.phase = Phase::Counting(Box::new(step));
        Step::Commit(Change::Observe)
    }

    fn meet(&mut self, name: &str, event: &Event) -> Due<'a> {
        self.user = USERS.iter().position(|user| user.name == name);
        let Scene { policy, request, .. } = &self.case.scene;
        let user = &USERS[self.user.unwrap()];
        let account = user.found.as_ref().map(|(account, _)| account);
        let ours = request.known.is_some() && account.is_none_or(|account| account.uid == UID);
        let has_factor = self.has_factor(account);
        if ours && account.is_none() && has_factor {
            let (due, broken) = self.meet_without_account();
            return Due::Step(due, broken);
        }
        if ours && !has_factor {
            let shown = request.first_factor || self.case.account_phase;
            match self.bears(user) {
                Bears::NotYet(from) => return self.let_in(Admission::NotYet { from }),
                Bears::First | Bears::Until(_) if shown && self.enforces() => {
                    self.phase = Phase::Granting;
                    return Due::Step(Step::Commit(Change::Grace), "days are granted in writing");
                }
                Bears::First if shown => return self.let_in(Admission::Grace { until: NOW + GRACE }),
                Bears::Until(until) if shown => return self.let_in(Admission::Grace { until }),
                _ => {}
            }
        }
        if self.case.account_phase && request.known.is_some() && !ours {
            // There is no place to count it in.
            let step = login::refused(policy.mode, Refusal::NoFactor);
            return Due::Step(step, "the account phase takes no code");
        }
        if self.case.account_phase {
            return Due::Step(self.refused(Refusal::NoFactor), "the account phase takes no code");
        }
        let bypass = user.found.as_ref().is_some_and(|(_, state)| state.bypass(NOW).is_some());
        self.bypass = ours && bypass && (has_factor || policy.mode == Mode::Enforce);
        // Nothing else can be asked for here: keys are asked for at the host only.
        let alone = !self.has_factor_of(account, |method| method != Key);
        if self.bypass && (alone || user.lock.is_some()) {
            self.lock = Some(user.lock);
            let factors = account.filter(|_| !alone).map(|account| &account.factors);
            let (due, broken) = self.plain_due(&stopped(factors));
            return Due::Step(due, broken);
        }
        let mut event = event.clone();
        if let Event::Account(Some(found), _) = &mut event {
            found.1.set_bypass(None);
        }
        let (due, broken) = self.plain_due(&event);
        Due::Step(due, broken)
    }

    /// Codes go to users who have no address, and no account.
    fn meet_without_account(&mut self) -> (Step, Broken) {
        if self.case.account_phase {
            return (self.refused(Refusal::NoFactor), "the account phase takes no code");
        }
        if self.case.scene.request.first_factor && !self.registered {
            self.phase = Phase::Registering;
            return (Step::Commit(Change::Register), "who needs only an account gets one");
        }
        self.refused_unenrolled()
    }

    /// The prompts of anybody, until there are no more.
    fn refused_unenrolled(&mut self) -> (Step, Broken) {
        if self.case.account_phase {
            return (self.refused(Refusal::NoFactor), "the account phase takes no code");
        }
        if !self.enforces() {
            return (self.refused(Refusal::NotEnrolled), "observe mode asks who can answer");
        }
        self.unenrolled = true;
        let others = Account { factors: Factors::default(), ..account(UID + 1) };
        self.plain_due(&found(others, State::default()))
    }

    /// Whether one of the policy's methods can be used.
    fn has_factor(&self, account: Option<&Account>) -> bool {
        self.has_factor_of(account, |_| true)
    }

    fn has_factor_of(&self, account: Option<&Account>, counts: impl Fn(Method) -> bool) -> bool {
        let policy = &self.case.scene.policy;
        let default = policy.email.as_ref().is_some_and(|email| email.default_address.is_some());
        let factors = account.map(|account| &account.factors);
        policy.methods.iter().filter(|method| counts(**method)).any(|method| match method {
            App => factors.is_some_and(|factors| !factors.apps.is_empty()),
            // One other number is there, and is forbidden.
            Sms => factors.is_some_and(|factors| factors.phone == Some(common::phone())),
            Email => default || factors.is_some_and(|factors| !factors.addresses.is_empty()),
            Key => factors.is_some_and(|factors| !factors.keys.is_empty() || !factors.ssh_keys.is_empty()),
        })
    }

    /// Only who never had a factor is let in without, and only when the clock can be right.
    fn bears(&self, user: &User) -> Bears {
        let policy = &self.case.scene.policy;
        let had = |(account, _): &(Account, State)| {
            let Factors { apps, keys, ssh_keys, .. } = &account.factors;
            !apps.is_empty() || !keys.is_empty() || !ssh_keys.is_empty()
        };
        if user.found.as_ref().is_some_and(had) || user.name == HAD_ONE || NOW + HOUR < policy.written {
            return Bears::No;
        }
        let RolloutRules { from, grace, .. } = policy.rollout;
        // What was over once is over.
        let seen = user.begun.map_or(NOW, |(_, seen)| seen.max(NOW));
        match user.begun {
            _ if seen < from => Bears::NotYet(from),
            _ if grace == 0 => Bears::No,
            None => Bears::First,
            Some((since, seen)) if NOW.max(seen) < since + grace => Bears::Until(since + grace),
            Some(_) => Bears::No,
        }
    }

    /// Days that began do not begin again.
    fn grace_to_come(&self) -> u64 {
        let has_begun = self.user.is_some_and(|user| USERS[user].begun.is_some());
        if has_begun { 0 } else { self.case.scene.policy.rollout.grace }
    }

    fn let_in(&mut self, admission: Admission) -> Due<'a> {
        let scene = &self.case.scene;
        let known = self.user.and_then(|user| USERS[user].found.as_ref());
        let has_phone = known.is_some_and(|(account, _)| account.factors.phone.is_some());
        let may = self.enforces() && scene.policy.rollout.enroll && scene.request.first_factor;
        if may && !self.case.account_phase && !SetUp::choices(scene, has_phone).is_empty() {
            return Due::SetUp(Box::new(SetUp::new(scene, admission, self.grace_to_come(), has_phone)));
        }
        let notice = match &admission {
            _ if !self.enforces() => None,
            Admission::NotYet { from } => Some(Notice::NotYet { from: *from, grace: self.grace_to_come() }),
            Admission::Grace { until } => Some(Notice::Grace { until: *until }),
            _ => None,
        };
        Due::Step(admitted(notice, admission), "who never had a factor is let in, for as long as is said")
    }

    /// As the login beside it, but for what is known of it later.
    fn plain_due(&mut self, event: &Event) -> (Step, Broken) {
        if self.bypass && self.asked && matches!(event, Event::Answer(answer) if *answer == *BYPASS) {
            self.phase = Phase::Bypassing;
            let proof = Proof::Bypass(bypass_code());
            let prove = Change::Prove { proof, source: self.source(), typos: self.typos };
            return (Step::Commit(prove), "a bypass is taken at every prompt, and under every lock");
        }
        self.typos += u8::from(self.fails && matches!(event, Event::Committed(_)));
        let step = self.plain.next(event.clone(), NOW);
        let guess = Guess::Recovery;
        self.fails = matches!(&step, Step::Commit(Change::Fail { guess: of, .. }) if *of != guess);
        let step = self.adapted(step);
        let processes = &self.case.scene.request.processes;
        match &step {
            Step::Finish { verdict: Verdict::Admit(admission), .. }
                if !processes.is_empty() && !matches!(admission, Admission::Observed(_)) =>
            {
                self.phase = Phase::Opening(Box::new(step));
                let open = Step::Commit(Change::Open(processes.clone()));
                return (open, "what a proven login hangs on is known from then on");
            }
            Step::Finish { .. } => {}
            _ => self.phase = Phase::Plain,
        }
        (step, "as without a roll-out")
    }

    /// The lock, or reason, that the login beside it does not know of.
    fn adapted(&mut self, step: Step) -> Step {
        match (step, self.lock) {
            (Step::Ask { notice: Some(Notice::Locked(_)), prompt }, Some(lock)) => {
                Step::Ask { notice: lock.map(Notice::Locked), prompt }
            }
            (Step::Finish { notice, verdict: Verdict::Refuse(Refusal::UidMismatch) }, _)
                if self.unenrolled =>
            {
                Step::Finish { notice, verdict: Verdict::Refuse(Refusal::NotEnrolled) }
            }
            (step, _) => step,
        }
    }

    fn bypassing(&mut self, event: &Event) -> (Step, Broken) {
        match event {
            Event::Committed(_) => {
                let spent = admitted(Some(Notice::BypassSpent), Admission::Bypass { reason: REASON.into() });
                (spent, "a bypass admits, and is known by its reason")
            }
            Event::Conflict(Conflict::Used) => {
                self.plain.next(Event::Answer(common::wrong_recovery()), NOW);
                let step = self.plain.next(Event::Committed(Box::default()), NOW);
                (self.used(step), "a bypass is taken once")
            }
            Event::Conflict(Conflict::Locked(lock)) => {
                (self.refused(Refusal::Locked(*lock)), "only a stored proof admits")
            }
            Event::Conflict(Conflict::Changed) => {
                (self.refused(Refusal::Changed), "only a stored proof admits")
            }
            _ => (self.refused(Refusal::Unavailable), "what was lost refuses, at once"),
        }
    }

    fn used(&mut self, step: Step) -> Step {
        match step {
            Step::Ask { notice: Some(Notice::WrongCode), prompt } => {
                self.phase = Phase::Plain;
                Step::Ask { notice: Some(Notice::AlreadyUsed), prompt }
            }
            _ => self.refused(Refusal::AlreadyUsed),
        }
    }
}

fn admitted(notice: Option<Notice>, admission: Admission) -> Step {
    Step::Finish { notice, verdict: Verdict::Admit(admission) }
}

fn is_wish(event: &Event) -> bool {
    matches!(event, Event::Answer(Answer::Word(_)) | Event::Replied(Reply::Method(_) | Reply::Text))
}

/// Sequences, and those that end with a proof, let in without, or with something set up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally(u64, u64, u64, u64);

impl Tally {
    fn of(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Admit(Admission::Observed(_)) => Self(1, 0, 0, 0),
            Verdict::Admit(Admission::NotYet { .. } | Admission::Grace { .. }) => Self(1, 0, 1, 0),
            Verdict::Admit(Admission::SettingUp { .. }) => Self(1, 0, 0, 1),
            Verdict::Admit(_) => Self(1, 1, 0, 0),
            _ => Self(1, 0, 0, 0),
        }
    }
}

struct Explorer {
    letters: Rc<[Letter]>,
    wishes: u8,
    /// So much of what the two logins show of themselves is the policy, and the request.
    same: [usize; 2],
    sequence: Vec<&'static str>,
    visited: HashMap<String, Tally>,
    over: HashSet<String>,
}

impl Explorer {
    fn visit(&mut self, machine: &impl Machine, watch: &Watch<'_>) -> Result<Tally, Broken> {
        let state = self.key(machine, watch);
        if let Some(tally) = self.visited.get(&state) {
            return Ok(*tally);
        }
        let mut tally = Tally::default();
        for Letter { name, event, .. } in Rc::clone(&self.letters).iter() {
            if self.is_left_out(name, event, watch) {
                continue;
            }
            let (mut machine, mut watch) = (machine.clone(), watch.clone());
            self.sequence.push(name);
            let step = machine.next(event.clone(), NOW);
            watch.judge(name, event, &step)?;
            let more = match &step {
                Step::Finish { verdict, .. } => {
                    self.go_on(&machine, &watch, &step)?;
                    Tally::of(verdict)
                }
                _ => self.visit(&machine, &watch)?,
            };
            tally = Tally(tally.0 + more.0, tally.1 + more.1, tally.2 + more.2, tally.3 + more.3);
            self.sequence.pop();
        }
        self.visited.insert(state, tally);
        Ok(tally)
    }

    fn is_left_out(&self, name: &str, event: &Event, watch: &Watch<'_>) -> bool {
        let limit = watch.case.scene.policy.limits.sends.login;
        match event {
            _ if is_wish(event) => watch.wishes >= self.wishes,
            Event::Committed(_) if name != "committed" => !matches!(watch.phase, Phase::Granting),
            // The store counts no more.
            Event::Committed(_) => watch.counted.is_some_and(|earlier| earlier >= limit),
            _ => false,
        }
    }

    /// What comes after the end changes nothing. Every end is looked at once.
    fn go_on(&mut self, machine: &impl Machine, watch: &Watch<'_>, end: &Step) -> Result<(), Broken> {
        if !self.over.insert(format!("{end:?}")) {
            return Ok(());
        }
        for Letter { name, event, .. } in Rc::clone(&self.letters).iter() {
            self.sequence.push(name);
            watch.clone().judge(name, event, &machine.clone().next(event.clone(), NOW))?;
            self.sequence.pop();
        }
        Ok(())
    }

    /// What tells two states apart.
    fn key(&self, machine: &impl Machine, watch: &Watch<'_>) -> String {
        let Watch { case: _, plain, phase, user, asked, bypass, lock, .. } = watch;
        let Watch { unenrolled, registered, fails, typos, wishes, counted, .. } = watch;
        let [machine, plain] = [(format!("{machine:?}"), self.same[0]), (format!("{plain:?}"), self.same[1])]
            .map(|(mut shown, same)| shown.split_off(same));
        let rest = format!("{user:?} {asked} {bypass} {lock:?} {unenrolled} {registered} {fails} {typos}");
        format!("{machine} {plain} {phase:?} {rest} {wishes} {counted:?}")
    }
}

pub(super) fn explore_rollout(
    case: &Case,
    machine: impl Machine,
    letters: Vec<Letter>,
    wishes: u8,
) -> Result<Tally, Violation> {
    let same =
        [&case.scene, &case.beside].map(|scene| format!("{:?}{:?}", scene.policy, scene.request).len());
    let (letters, visited, over) = (letters.into(), HashMap::new(), HashSet::new());
    let mut explorer = Explorer { letters, wishes, same, sequence: vec![], visited, over };
    let explored = explorer.visit(&machine, &Watch::new(case));
    explored.map_err(|broken| Violation { sequence: explorer.sequence, broken })
}

type Row<'a> = (&'a str, Mode, &'a [Method], &'a dyn Fn(&mut Scene), bool, Tally);

/// Explores each row, and compares with what is pinned.
fn explore_all(table: &[Row<'_>], wishes: u8) {
    let mut explored = vec![];
    for (name, mode, methods, change, account_phase, _) in table {
        let mut case = Case::new(*mode, methods, change);
        if *account_phase {
            case = case.of_account_phase();
        }
        let tally = explore_rollout(&case, case.login(), alphabet_of_rollout(&case.scene), wishes);
        let tally = tally.map_err(|violation| format!("{violation:?}"));
        explored.push(format!("{name} {mode:?} {methods:?}: {tally:?}"));
    }
    let pinned = |(name, mode, methods, _, _, tally): &Row<'_>| {
        format!("{name} {mode:?} {methods:?}: {:?}", Ok::<_, String>(*tally))
    };
    let expected: Vec<_> = table.iter().map(pinned).collect();
    assert_eq!(explored, expected, "\n{}", explored.join("\n"));
}

/// Pinned, as those of codes.
#[test]
fn only_who_never_had_a_factor_is_let_in_without_for_a_time() {
    let nothing = |_: &mut Scene| {};
    let wrong_clock = |scene: &mut Scene| scene.policy.written = NOW + HOUR + 1;
    let slow_clock = |scene: &mut Scene| {
        without_set_up(scene);
        scene.policy.written = NOW + HOUR;
    };
    let unknown = |scene: &mut Scene| scene.request.known = None;
    let (enforce, observe) = (Mode::Enforce, Mode::Observe);
    explore_all(
        &[
            (
                "before the date, without set-up",
                enforce,
                &[App],
                &without_set_up,
                false,
                Tally(696_289, 1_556, 10, 0),
            ),
            (
                "in grace, without set-up",
                enforce,
                &[App],
                &begun_without_set_up,
                false,
                Tally(2_032_699, 1_556, 9, 0),
            ),
            (
                "in grace, without set-up",
                enforce,
                &[Sms],
                &begun_without_set_up,
                false,
                Tally(7_613_729, 3_780, 8, 0),
            ),
            ("no grace", enforce, &[App], &without_grace, false, Tally(1_359_889, 1_848, 0, 0)),
            ("wrong clock", enforce, &[App], &wrong_clock, false, Tally(1_359_889, 1_848, 0, 0)),
            ("slow clock", enforce, &[App], &slow_clock, false, Tally(696_289, 1_556, 10, 0)),
            ("unknown", enforce, &[App], &unknown, false, Tally(1_546_897, 0, 0, 0)),
            ("a mere name", enforce, &[App, Sms], &nameless, false, Tally(2_159_821, 2_513, 0, 0)),
            ("before the date", enforce, &[Key], &nothing, false, Tally(720_181, 584, 10, 0)),
            ("in grace", enforce, &[Key], &begun, false, Tally(2_056_591, 584, 9, 0)),
            ("observed, before the date", observe, &[App], &nothing, false, Tally(13_018_581, 1_410, 10, 0)),
            ("observed, in grace", observe, &[App], &begun, false, Tally(13_018_641, 1_410, 9, 0)),
            ("observed, a mere name", observe, &[App], &nameless, false, Tally(223_873, 1_410, 0, 0)),
            ("observed, unknown", observe, &[App], &unknown, false, Tally(121, 0, 0, 0)),
        ],
        1,
    );
}

#[test]
fn the_account_phase_lets_in_the_same_and_asks_nothing() {
    let nothing = |_: &mut Scene| {};
    let unknown = |scene: &mut Scene| scene.request.known = None;
    let (enforce, observe) = (Mode::Enforce, Mode::Observe);
    explore_all(
        &[
            ("before the date", enforce, &[App, Sms], &nothing, true, Tally(121, 0, 9, 0)),
            ("in grace", enforce, &[App, Sms], &nameless, true, Tally(617, 0, 8, 0)),
            ("no grace", enforce, &[Sms], &without_grace, true, Tally(121, 0, 0, 0)),
            ("keys", enforce, &[Key], &nameless, true, Tally(679, 0, 9, 0)),
            ("unknown", enforce, &[App], &unknown, true, Tally(121, 0, 0, 0)),
            ("default address", enforce, &[Email], &with_default_address, true, Tally(121, 0, 0, 0)),
            ("with processes", enforce, &[App], &with_processes, true, Tally(121, 0, 10, 0)),
            ("observed", observe, &[App], &nameless, true, Tally(6_749, 0, 9, 0)),
            ("observed, no grace", observe, &[App], &without_grace, true, Tally(7_289, 0, 0, 0)),
            ("observed, unknown", observe, &[App], &unknown, true, Tally(121, 0, 0, 0)),
        ],
        1,
    );
}

#[test]
fn only_what_is_complete_is_set_up() {
    let nothing = |_: &mut Scene| {};
    let enforce = Mode::Enforce;
    explore_all(
        &[
            ("before the date", enforce, &[App], &nothing, false, Tally(3_409_273, 1_886, 858_620, 35_720)),
            ("in grace", enforce, &[App], &begun, false, Tally(4_819_719, 1_886, 772_758, 32_148)),
            ("before the date", enforce, &[Sms], &nothing, false, Tally(7_394_709, 4_582, 944_849, 11_568)),
            (
                "in grace",
                enforce,
                &[App, Sms],
                &begun,
                false,
                Tally(11_437_802_513, 38_472, 3_041_052, 2_779_311_208),
            ),
            (
                "before the date",
                enforce,
                &[Sms, App],
                &nothing,
                false,
                Tally(8_113_052_913, 114_912, 2_868_358, 1_965_220_572),
            ),
        ],
        2,
    );
}

/// Nothing but wishes, as many as somebody likes.
#[test]
fn a_set_up_ends_whatever_is_wished() {
    for methods in [&[App][..], &[App, Sms], &[Sms, App]] {
        let case = Case::new(Mode::Enforce, methods, &begun);
        let is_kept = |letter: &Letter| {
            let name = letter.name;
            ["begin", "bare", "committed, days begun"].contains(&name) || is_wish(&letter.event)
        };
        let letters = alphabet_of_rollout(&case.scene).into_iter().filter(is_kept).collect();
        let tally = explore_rollout(&case, case.login(), letters, u8::MAX);
        assert!(tally.is_ok_and(|Tally(sequences, proven, let_in, set_up)| {
            sequences > 0 && (proven, set_up) == (0, 0) && let_in > 0
        }));
    }
}

#[test]
fn a_session_a_bypass_and_an_address_for_all_change_nothing_else() {
    let (enforce, observe) = (Mode::Enforce, Mode::Observe);
    let unknown = |scene: &mut Scene| {
        in_session(scene);
        scene.request.known = None;
    };
    let open = |scene: &mut Scene| {
        begun_without_set_up(scene);
        with_processes(scene);
    };
    let by_ssh = |scene: &mut Scene| {
        open(scene);
        scene.request.ssh_keys = vec![common::sk_key(1)];
    };
    let default_for_a_name = |scene: &mut Scene| {
        nameless(scene);
        with_default_address(scene);
    };
    explore_all(
        &[
            ("session", enforce, &[App], &in_session, false, Tally(12_195_949, 9_337, 54, 0)),
            (
                "session, unlisted",
                enforce,
                &[App],
                &in_session_unlisted,
                false,
                Tally(2_032_699, 1_556, 9, 0),
            ),
            ("session, unknown", enforce, &[App], &unknown, false, Tally(1_546_897, 0, 0, 0)),
            ("processes", enforce, &[App], &open, false, Tally(2_092_043, 8_752, 9, 0)),
            ("processes, observed", observe, &[App], &open, false, Tally(16_085_297, 8_606, 9, 0)),
            ("processes", enforce, &[Key, Sms], &by_ssh, false, Tally(7_038_053, 22_856, 8, 0)),
            (
                "default address",
                enforce,
                &[Email],
                &with_default_address,
                false,
                Tally(10_443_829, 17_264, 0, 0),
            ),
            (
                "default address, a mere name",
                enforce,
                &[Email],
                &default_for_a_name,
                false,
                Tally(1_190_881, 1_668, 0, 0),
            ),
        ],
        1,
    );
}

/// What a login sees to be over is written down, so that a clock set back brings it back for nobody.
#[test]
fn an_end_that_nobody_saw_is_seen_first() {
    let scene = Case::new(Mode::Enforce, &[App], &begun).scene;
    let over = State::default().apply(&Change::Grace, &LIMITS, NOW - GRACE).unwrap();
    let mut bypass = State::default();
    bypass.set_bypass(Some(Bypass { code: bypass_code(), until: NOW, reason: REASON.into() }));
    let without_days = Case::new(Mode::Enforce, &[App], &without_grace).scene;
    for (scene, state) in [(&scene, over), (&without_days, bypass)] {
        let bare = Account { factors: Factors::default(), ..account(UID) };
        let mut login = scene.login();
        login.next(Event::Begin, NOW);
        let step = login.next(found(bare.clone(), state.clone()), NOW);
        assert_eq!(step, Step::Commit(Change::Register));
        let seen = state.apply(&Change::Register, &LIMITS, NOW).unwrap();
        assert_eq!(login.next(Event::Committed(Box::new(seen.clone())), NOW), Step::Read);
        let step = login.next(found(bare.clone(), seen.clone()), NOW);
        assert!(matches!(step, Step::Ask { prompt: twofa::login::Prompt::App { .. }, .. }), "{step:?}");
        // The same user when the clock is a minute slow.
        let mut login = scene.login();
        login.next(Event::Begin, NOW - 60);
        let step = login.next(found(bare, seen), NOW - 60);
        assert!(matches!(step, Step::Ask { prompt: twofa::login::Prompt::App { .. }, .. }), "{step:?}");
    }
}
