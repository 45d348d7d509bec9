//! Trusted devices. All that trust does not change is held by a login beside it that claims nothing: its rules are
//! those of codes and keys.

use super::{
    Broken, Letter, Machine, Scene, Violation, account, alphabet, found, is_counted, letter, locked_state,
    recovery, rule,
};
use crate::common::{self, LIMITS, NOW, UID};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::LazyLock;
use twofa::account::{Account, Change, Claim, Conflict, Device, Factors, Proof, Source, State};
use twofa::code::{Answer, Secret, Word};
use twofa::login::{self, Admission, Event, Login, Notice, Prompt, Refusal, Step, Verdict};
use twofa::policy::{Method, Mode, Request};

use Method::{App, Email, Key, Sms};

const DAY: u64 = 24 * 3600;
/// When the trust that still holds was given.
const GIVEN: u64 = NOW - DAY + 1;

fn device(last: u8, key: u8) -> Device {
    Device::new([192, 0, 2, last].into(), Some([key; 32]), &[]).unwrap()
}

/// What every login here claims.
fn claim() -> Claim {
    Claim { device: device(7, 1), password: Some([1; 8]), duration: DAY }
}

fn given(state: &State, claim: Claim, time: u64) -> State {
    state.apply(&Change::Trust(claim), &LIMITS, time).unwrap()
}

fn trusting() -> State {
    given(&State::default(), claim(), GIVEN)
}

/// What a policy that trusts devices for a day makes of a scene.
fn trusted_scene(mode: Mode, methods: &[Method]) -> Scene {
    let mut scene = Scene::new(mode, methods).with_prompts(2);
    scene.policy.trust.duration = Some(DAY);
    scene.request.claim = Some(claim());
    scene
}

/// Accounts, by name; `holds` is the end of the trust in the device that comes.
fn users() -> Vec<(Letter, Option<u64>)> {
    let fresh = State::default;
    let of = |uid, factors: &Factors, state: State| {
        found(Account { factors: factors.clone(), ..account(uid) }, state)
    };
    let app = account(UID).factors;
    let phone = Factors { recovery: Some(recovery()), ..common::contacts() };
    let both = Factors { apps: common::factors().apps, ..phone.clone() };
    let ssh = Factors { recovery: Some(recovery()), keys: vec![], ..common::key_factors() };
    let with = |claim: Claim| given(&fresh(), claim, GIVEN);
    let locked = |state| given(&state, claim(), NOW);
    let none = Factors { recovery: Some(recovery()), ..Factors::default() };
    let until = Some(GIVEN + DAY);
    vec![
        (letter("enrolled", of(UID, &app, fresh())), None),
        (letter("trusting", of(UID, &app, trusting())), until),
        (letter("trusting, with all codes", of(UID, &both, trusting())), until),
        (letter("trusting, with phone", of(UID, &phone, trusting())), until),
        (letter("trusting, with SSH key", of(UID, &ssh, trusting())), until),
        (letter("phone", of(UID, &phone, fresh())), None),
        (letter("SSH key", of(UID, &ssh, fresh())), None),
        (letter("trust over", of(UID, &app, given(&fresh(), claim(), NOW - DAY))), None),
        (letter("trust for longer", of(UID, &app, with(Claim { duration: 7 * DAY, ..claim() }))), None),
        (letter("other password", of(UID, &app, with(Claim { password: Some([2; 8]), ..claim() }))), None),
        (letter("no password", of(UID, &app, with(Claim { password: None, ..claim() }))), None),
        (letter("other network", of(UID, &app, with(Claim { device: device(8, 1), ..claim() }))), None),
        (letter("other key", of(UID, &app, with(Claim { device: device(7, 2), ..claim() }))), None),
        (letter("to be given", of(UID, &app, given(&fresh(), claim(), NOW + 301))), None),
        (letter("locked", of(UID, &app, locked(locked_state(LIMITS.failures.into(), 1)))), None),
        (letter("hard stop", of(UID, &app, locked(locked_state(LIMITS.total, 32)))), None),
        (letter("other uid", of(UID + 1, &app, trusting())), None),
        (letter("no factors", of(UID, &none, trusting())), None),
    ]
}

/// What a store says it stored, and until when this device is trusted by that.
fn stored() -> Vec<(Letter, Option<u64>)> {
    let committed = |state: State| Event::Committed(Box::new(state));
    vec![
        (letter("committed", committed(State::default())), None),
        (letter("committed, trusted", committed(given(&State::default(), claim(), NOW))), Some(NOW + DAY)),
        (letter("committed, still trusted", committed(trusting())), Some(GIVEN + DAY)),
    ]
}

/// The end of the trust that an event speaks of.
fn end_of(name: &str) -> Option<u64> {
    static ENDS: LazyLock<HashMap<&'static str, u64>> = LazyLock::new(|| {
        let all = users().into_iter().chain(stored());
        all.filter_map(|(letter, until)| Some((letter.name, until?))).collect()
    });
    ENDS.get(name).copied()
}

fn alphabet_of_trust(scene: &Scene) -> Vec<Letter> {
    const KEPT: [&str; 15] = [
        "begin",
        "nobody",
        "right code",
        "wrong code",
        "right recovery code",
        "blank",
        "fake",
        "no answer",
        "gone",
        "used",
        "changed",
        "conflict, address locked",
        "conflict, hard stop",
        "counter back",
        "failed",
    ];
    let word = |word| Event::Answer(Answer::Word(word));
    let mut letters: Vec<Letter> = users().into_iter().chain(stored()).map(|(letter, _)| letter).collect();
    letters.extend([
        letter("yes", Event::Confirmed(true)),
        letter("no", Event::Confirmed(false)),
        letter("PIN", Event::Pin(Secret::new(*b"1234"))),
        letter("first code", Event::Answer(scene.code(0))),
        letter("sms", word(Word::Sms)),
        letter("untrusted", Event::Conflict(Conflict::Untrusted)),
        letter("expired", Event::Conflict(Conflict::Expired)),
        letter("too soon", Event::Conflict(Conflict::TooSoon(7))),
        letter("delivered", Event::Delivered),
        letter("undelivered", Event::Undelivered),
    ]);
    letters.extend(alphabet().into_iter().filter(|letter| KEPT.contains(&letter.name)));
    letters
}

/// How far trust goes in one sequence.
#[derive(Clone, Debug)]
enum Phase {
    /// As for a login that claims nothing.
    Plain,
    /// The device is said to be trusted until then; else the login goes on like this.
    Known(u64, Box<Step>),
    /// A code was stored, which admits whatever comes of the question.
    Asked(Admission),
    Storing(Admission),
    /// That it would be refused like this is counted.
    Counting(Box<Step>),
    Over,
}

/// The rules about trust, and a login that claims nothing.
#[derive(Clone)]
struct TrustWatch<'a> {
    scene: &'a Scene,
    plain: Login<'a>,
    phase: Phase,
    begun: bool,
    wishes: u8,
}

impl<'a> TrustWatch<'a> {
    fn new(scene: &'a Scene, claimless: &'a Request) -> Self {
        let plain = Login::new(&scene.policy, claimless, &scene.seed);
        Self { scene, plain, phase: Phase::Plain, begun: false, wishes: 0 }
    }

    /// Only where the policy trusts devices.
    fn claim(&self) -> Option<&Claim> {
        self.scene.request.claim.as_ref().filter(|_| self.scene.policy.trust.duration.is_some())
    }

    /// Judges the step that answers the event of this name.
    fn judge(&mut self, name: &str, event: &Event, step: &Step) -> Result<(), Broken> {
        self.wishes += u8::from(matches!(event, Event::Answer(Answer::Word(_))));
        let (due, broken) = self.due(name, event);
        rule(*step == due, broken)
    }

    /// The only right step, and the rule that another one breaks.
    fn due(&mut self, name: &str, event: &Event) -> (Step, Broken) {
        let admitted = |notice, admission| Step::Finish { notice, verdict: Verdict::Admit(admission) };
        match (std::mem::replace(&mut self.phase, Phase::Over), event) {
            (Phase::Plain, _) => self.plain_due(name, event),
            (Phase::Known(until, _), Event::Committed(_)) => {
                (admitted(None, Admission::Trusted { until }), "who is trusted is let in, and told nothing")
            }
            (Phase::Known(_, instead), Event::Conflict(Conflict::Untrusted)) => {
                if !matches!(*instead, Step::Finish { .. }) {
                    self.phase = Phase::Plain;
                }
                (*instead, "who is trusted no longer is asked as usual")
            }
            (Phase::Known(..), Event::Conflict(Conflict::Locked(lock))) => {
                (self.refused(Refusal::Locked(*lock)), "only stored trust admits")
            }
            (Phase::Known(..), Event::Conflict(Conflict::Changed)) => {
                (self.refused(Refusal::Changed), "only stored trust admits")
            }
            (Phase::Asked(admission), Event::Confirmed(true)) => self.storing(admission),
            (
                Phase::Asked(admission),
                Event::Confirmed(false) | Event::Answer(_) | Event::Pin(_) | Event::NoAnswer | Event::Gone,
            ) => (admitted(None, admission), "whoever wants no trust is let in without"),
            (Phase::Storing(admission), Event::Committed(_)) => {
                let device = self.scene.request.claim.as_ref().map(|claim| claim.device.clone());
                let told = device.zip(end_of(name)).map(|(device, until)| Notice::Trusted { device, until });
                (admitted(told, admission), "what is stored is said, and nothing else")
            }
            (Phase::Storing(admission), Event::Conflict(_) | Event::Failed) => {
                (admitted(None, admission), "who proved a code is let in, trusted or not")
            }
            (Phase::Counting(step), _) => (*step, "what would be refused is counted once"),
            (Phase::Known(..) | Phase::Asked(_) | Phase::Storing(_), _) => {
                (self.refused(Refusal::Unavailable), "what was lost refuses, at once")
            }
            (Phase::Over, _) => (
                login::refused(self.scene.policy.mode, Refusal::Unavailable),
                "a login that is over stays so",
            ),
        }
    }

    /// In observe mode it is counted before.
    fn refused(&mut self, refusal: Refusal) -> Step {
        let mode = self.scene.policy.mode;
        let step = login::refused(mode, refusal);
        if mode == Mode::Enforce || !is_counted(&self.scene.request, refusal) {
            return step;
        }
        self.phase = Phase::Counting(Box::new(step));
        Step::Commit(Change::Observe)
    }

    /// As without trust, unless this device is trusted or may become so.
    fn plain_due(&mut self, name: &str, event: &Event) -> (Step, Broken) {
        let meets = self.begun && matches!(event, Event::Account(..));
        let plain = self.plain.next(event.clone(), NOW);
        self.begun = plain == Step::Read;
        let end = end_of(name).filter(|_| meets && self.can_be_trusted(event, &plain));
        if let (Some(claim), Some(until)) = (self.claim(), end) {
            let proof = Proof::Trusted(claim.clone());
            let source = Source::new(self.scene.request.address);
            self.phase = Phase::Known(until, Box::new(plain));
            let prove = Step::Commit(Change::Prove { proof, source, typos: 0 });
            return (prove, "who is trusted is asked nothing");
        }
        match (&plain, event) {
            (Step::Finish { verdict: Verdict::Admit(admission), .. }, Event::Committed(_))
                if self.claim().is_some()
                    && matches!(admission, Admission::App { .. } | Admission::Sent { .. }) =>
            {
                let admission = admission.clone();
                if self.scene.policy.trust.always {
                    return self.storing(admission);
                }
                self.phase = Phase::Asked(admission);
                let claim = claim();
                let prompt = Prompt::Trust { device: claim.device, duration: claim.duration };
                (Step::Ask { notice: None, prompt }, "trust is offered after a code")
            }
            (Step::Finish { .. }, _) => (plain, "as without trust"),
            _ => {
                self.phase = Phase::Plain;
                (plain, "as without trust")
            }
        }
    }

    /// Neither nobody, nor whom an SSH key lets in already.
    fn can_be_trusted(&self, event: &Event, plain: &Step) -> bool {
        let Event::Account(Some(found), _) = event else {
            return false;
        };
        let Account { uid, factors, .. } = &found.0;
        let has = |method: &Method| match method {
            App => !factors.apps.is_empty(),
            Sms => factors.phone.is_some(),
            Key => !factors.ssh_keys.is_empty(),
            Email => !factors.addresses.is_empty(),
        };
        let enrolled = self.scene.policy.methods.iter().any(has) && *uid == UID;
        let by_key = matches!(plain, Step::Commit(Change::Prove { proof: Proof::SshKey, .. }));
        self.scene.request.known.is_some() && enrolled && !by_key
    }

    fn storing(&mut self, admission: Admission) -> (Step, Broken) {
        self.phase = Phase::Storing(admission);
        (Step::Commit(Change::Trust(claim())), "trust is stored as it was offered, and only then")
    }
}

/// Sequences, those that end with trust that was there, and those that end with trust that was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally(u64, u64, u64);

struct TrustExplorer {
    letters: Rc<[Letter]>,
    /// So much of what the two logins show of themselves is the policy, and the request.
    same: [usize; 2],
    sequence: Vec<&'static str>,
    visited: HashMap<String, Tally>,
    over: HashSet<String>,
}

impl TrustExplorer {
    fn visit(&mut self, machine: &impl Machine, watch: &TrustWatch<'_>) -> Result<Tally, Broken> {
        let state = self.key(machine, watch);
        if let Some(tally) = self.visited.get(&state) {
            return Ok(*tally);
        }
        let mut tally = Tally::default();
        for Letter { name, event, .. } in Rc::clone(&self.letters).iter() {
            if matches!(event, Event::Answer(Answer::Word(_))) && watch.wishes > 0 {
                continue;
            }
            let (mut machine, mut watch) = (machine.clone(), watch.clone());
            self.sequence.push(name);
            let step = machine.next(event.clone(), NOW);
            watch.judge(name, event, &step)?;
            let more = match step {
                Step::Finish { notice, verdict } => {
                    self.go_on(&machine, &watch)?;
                    let trusted = matches!(verdict, Verdict::Admit(Admission::Trusted { .. }));
                    let given = matches!(notice, Some(Notice::Trusted { .. }));
                    Tally(1, trusted.into(), given.into())
                }
                _ => self.visit(&machine, &watch)?,
            };
            tally = Tally(tally.0 + more.0, tally.1 + more.1, tally.2 + more.2);
            self.sequence.pop();
        }
        self.visited.insert(state, tally);
        Ok(tally)
    }

    /// What comes after the end changes nothing.
    fn go_on(&mut self, machine: &impl Machine, watch: &TrustWatch<'_>) -> Result<(), Broken> {
        if !self.over.insert(self.key(machine, watch)) {
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
    fn key(&self, machine: &impl Machine, watch: &TrustWatch<'_>) -> String {
        let TrustWatch { plain, phase, begun, wishes, .. } = watch;
        let [machine, plain] = [(format!("{machine:?}"), self.same[0]), (format!("{plain:?}"), self.same[1])]
            .map(|(mut shown, same)| shown.split_off(same));
        format!("{machine} {plain} {phase:?} {begun} {wishes}")
    }
}

fn explore_trust(scene: &Scene, machine: impl Machine, letters: Vec<Letter>) -> Result<Tally, Violation> {
    let claimless = Request { claim: None, ..scene.request.clone() };
    let same = [&scene.request, &claimless].map(|request| format!("{:?}{request:?}", scene.policy).len());
    let (letters, visited, over) = (letters.into(), HashMap::new(), HashSet::new());
    let mut explorer = TrustExplorer { letters, same, sequence: vec![], visited, over };
    let explored = explorer.visit(&machine, &TrustWatch::new(scene, &claimless));
    explored.map_err(|broken| Violation { sequence: explorer.sequence, broken })
}

/// Pinned, as those of codes.
#[test]
fn only_a_device_that_was_trusted_after_a_code_is_let_in_without_one() {
    let nothing = |_: &mut Scene| {};
    let always = |scene: &mut Scene| scene.policy.trust.always = true;
    let no_claim = |scene: &mut Scene| scene.request.claim = None;
    let every_login = |scene: &mut Scene| scene.policy.trust.duration = None;
    let unknown = |scene: &mut Scene| scene.request.known = None;
    let by_ssh = |scene: &mut Scene| scene.request.ssh_keys = vec![common::sk_key(1)];
    type Case<'a> = (&'a str, Mode, &'a [Method], &'a dyn Fn(&mut Scene), Tally);
    let table: [Case<'_>; 12] = [
        ("asked", Mode::Enforce, &[App], &nothing, Tally(1_777_480, 6, 12_960)),
        ("always", Mode::Enforce, &[App], &always, Tally(1_489_570, 6, 12_960)),
        ("no claim", Mode::Enforce, &[App], &no_claim, Tally(1_201_570, 0, 0)),
        ("every login asks", Mode::Enforce, &[App], &every_login, Tally(1_201_570, 0, 0)),
        (
            "every login asks",
            Mode::Enforce,
            &[App],
            &|scene| {
                always(scene);
                every_login(scene);
            },
            Tally(1_201_570, 0, 0),
        ),
        ("observed", Mode::Observe, &[App], &nothing, Tally(43_683_297, 6, 12_960)),
        ("nobody", Mode::Enforce, &[App], &unknown, Tally(1_803_229, 0, 0)),
        ("sent", Mode::Enforce, &[Sms], &nothing, Tally(9_269_077, 6, 8_640)),
        ("sent, always", Mode::Enforce, &[App, Sms], &always, Tally(6_213_421, 9, 31_950)),
        ("remote", Mode::Observe, &[Key], &nothing, Tally(6_073, 3, 0)),
        ("remote", Mode::Enforce, &[Key], &nothing, Tally(1_728_100, 3, 0)),
        ("by SSH key", Mode::Enforce, &[Key, Sms], &by_ssh, Tally(8_320_057, 6, 8_640)),
    ];
    let mut explored = vec![];
    for (name, mode, methods, change, _) in table {
        let mut scene = trusted_scene(mode, methods);
        change(&mut scene);
        let tally = explore_trust(&scene, scene.login(), alphabet_of_trust(&scene));
        explored.push((name, methods, tally.map_err(|violation| format!("{violation:?}"))));
    }
    let expected = table.map(|(name, _, methods, _, tally)| (name, methods, Ok(tally)));
    assert_eq!(explored, expected, "{explored:#?}");
}

/// A login with a fault about trust.
#[derive(Clone, Debug)]
struct FaultyAboutTrust<'a> {
    login: Login<'a>,
    last: Option<Step>,
    fault: TrustFault,
}

#[derive(Clone, Copy, Debug)]
enum TrustFault {
    AsksTheTrusted,
    TrustAdmitsUnstored,
    TellsTheTrusted,
    UntrustedAdmits,
    UntrustedIsRefused,
    TrustForgives,
    OverIsTrusted,
    LockedIsTrusted,
    NobodyIsTrusted,
    OffersAfterARecoveryCode,
    OffersBeforeTheCodeIsStored,
    OffersWithoutAClaim,
    AsksInSpiteOfAlways,
    TrustsWithoutAsking,
    NoIsYes,
    SilenceIsYes,
    NoIsRefused,
    TrustsForLonger,
    SaysWhatIsNotStored,
    RefusesWhatIsNotStored,
}

impl Machine for FaultyAboutTrust<'_> {
    fn next(&mut self, event: Event, now: u64) -> Step {
        let honest = self.login.next(event.clone(), now);
        let step = self.distort(&event, honest);
        self.last = Some(step.clone());
        step
    }
}

impl FaultyAboutTrust<'_> {
    fn distort(&self, event: &Event, honest: Step) -> Step {
        let Claim { device, duration, .. } = claim();
        let admit = |notice, admission| Step::Finish { notice, verdict: Verdict::Admit(admission) };
        let app = || Admission::App { label: common::LABEL.into() };
        let known = || Admission::Trusted { until: GIVEN + DAY };
        let source = Source::new(Some(common::address()));
        let prove = |typos| Step::Commit(Change::Prove { proof: Proof::Trusted(claim()), source, typos });
        let offer = || Step::Ask { notice: None, prompt: Prompt::Trust { device: device.clone(), duration } };
        let told = || Some(Notice::Trusted { device: device.clone(), until: NOW + DAY });
        let store = || Step::Commit(Change::Trust(claim()));
        let proving =
            matches!(&self.last, Some(Step::Commit(Change::Prove { proof: Proof::Trusted(_), .. })));
        let storing = matches!(self.last, Some(Step::Commit(Change::Trust(_))));
        let offered = matches!(self.last, Some(Step::Ask { prompt: Prompt::Trust { .. }, .. }));
        let is_proof = matches!(&honest, Step::Commit(Change::Prove { proof: Proof::Trusted(_), .. }));
        let admits = matches!(&honest, Step::Finish { verdict: Verdict::Admit(_), .. });
        let by_recovery =
            matches!(&honest, Step::Finish { verdict: Verdict::Admit(Admission::Recovery { .. }), .. });
        match (self.fault, event) {
            (TrustFault::AsksTheTrusted, _) if is_proof => {
                Step::Ask { notice: None, prompt: Prompt::App { or: None } }
            }
            (TrustFault::TrustAdmitsUnstored, _) if is_proof => admit(None, known()),
            (TrustFault::TrustForgives, _) if is_proof => prove(1),
            (TrustFault::TellsTheTrusted, Event::Committed(_)) if proving => admit(told(), known()),
            (TrustFault::UntrustedAdmits, Event::Conflict(Conflict::Untrusted)) if proving => {
                admit(None, known())
            }
            (TrustFault::UntrustedIsRefused, Event::Conflict(Conflict::Untrusted)) if proving => {
                login::refused(Mode::Enforce, Refusal::Unavailable)
            }
            (TrustFault::OverIsTrusted | TrustFault::NobodyIsTrusted, Event::Account(Some(_), _))
                if matches!(honest, Step::Ask { .. }) =>
            {
                prove(0)
            }
            (TrustFault::LockedIsTrusted, Event::Account(Some(_), _))
                if matches!(honest, Step::Finish { .. }) =>
            {
                prove(0)
            }
            (TrustFault::OffersAfterARecoveryCode, _) if by_recovery => offer(),
            (TrustFault::OffersWithoutAClaim, Event::Committed(_)) if admits => offer(),
            (TrustFault::OffersBeforeTheCodeIsStored, Event::Answer(_))
                if matches!(honest, Step::Commit(Change::Prove { .. })) =>
            {
                offer()
            }
            (TrustFault::AsksInSpiteOfAlways, _) if honest == store() => offer(),
            (TrustFault::TrustsWithoutAsking, _) if honest == offer() => store(),
            (TrustFault::NoIsYes, Event::Confirmed(false)) | (TrustFault::SilenceIsYes, Event::NoAnswer)
                if offered =>
            {
                store()
            }
            (TrustFault::NoIsRefused, Event::Confirmed(false)) if offered => {
                login::refused(Mode::Enforce, Refusal::NoAnswer)
            }
            (TrustFault::TrustsForLonger, _) if honest == store() => {
                Step::Commit(Change::Trust(Claim { duration: 7 * DAY, ..claim() }))
            }
            (TrustFault::SaysWhatIsNotStored, Event::Failed) if storing => admit(told(), app()),
            (TrustFault::RefusesWhatIsNotStored, Event::Conflict(_)) if storing => {
                login::refused(Mode::Enforce, Refusal::Unavailable)
            }
            _ => honest,
        }
    }
}

#[test]
fn faults_about_trust_are_found() {
    let nothing = |_: &mut Scene| {};
    let always = |scene: &mut Scene| scene.policy.trust.always = true;
    let no_claim = |scene: &mut Scene| scene.request.claim = None;
    let let_in = "who is trusted is let in, and told nothing";
    let asked_nothing = "who is trusted is asked nothing";
    let as_usual = "who is trusted no longer is asked as usual";
    let plain = "as without trust";
    let as_offered = "trust is stored as it was offered, and only then";
    let without = "whoever wants no trust is let in without";
    let after_a_code = "trust is offered after a code";
    type Case<'a> = (TrustFault, &'a str, &'a dyn Fn(&mut Scene), Broken);
    let table: [Case<'_>; 23] = [
        (TrustFault::AsksTheTrusted, "trusting", &nothing, asked_nothing),
        (TrustFault::TrustAdmitsUnstored, "trusting", &nothing, asked_nothing),
        (TrustFault::TrustForgives, "trusting", &nothing, asked_nothing),
        (TrustFault::TellsTheTrusted, "trusting", &nothing, let_in),
        (TrustFault::UntrustedAdmits, "trusting", &nothing, as_usual),
        (TrustFault::UntrustedIsRefused, "trusting", &nothing, as_usual),
        (TrustFault::OverIsTrusted, "trust over", &nothing, plain),
        (TrustFault::OverIsTrusted, "trust for longer", &nothing, plain),
        (TrustFault::OverIsTrusted, "other password", &nothing, plain),
        (TrustFault::LockedIsTrusted, "locked", &nothing, plain),
        (TrustFault::OverIsTrusted, "hard stop", &nothing, plain),
        (TrustFault::NobodyIsTrusted, "other uid", &nothing, plain),
        (TrustFault::OffersAfterARecoveryCode, "enrolled", &nothing, plain),
        (TrustFault::OffersBeforeTheCodeIsStored, "enrolled", &nothing, plain),
        (TrustFault::OffersWithoutAClaim, "enrolled", &no_claim, plain),
        (TrustFault::AsksInSpiteOfAlways, "enrolled", &always, as_offered),
        (TrustFault::TrustsWithoutAsking, "enrolled", &nothing, after_a_code),
        (TrustFault::NoIsYes, "enrolled", &nothing, without),
        (TrustFault::SilenceIsYes, "enrolled", &nothing, without),
        (TrustFault::NoIsRefused, "enrolled", &nothing, without),
        (TrustFault::TrustsForLonger, "enrolled", &nothing, as_offered),
        (
            TrustFault::SaysWhatIsNotStored,
            "enrolled",
            &nothing,
            "who proved a code is let in, trusted or not",
        ),
        (
            TrustFault::RefusesWhatIsNotStored,
            "enrolled",
            &nothing,
            "who proved a code is let in, trusted or not",
        ),
    ];
    for (fault, user, change, broken) in table {
        let mut scene = trusted_scene(Mode::Enforce, &[App]);
        change(&mut scene);
        let faulty = FaultyAboutTrust { login: scene.login(), last: None, fault };
        let is_kept = |letter: &Letter| !matches!(letter.event, Event::Account(..)) || letter.name == user;
        let letters = alphabet_of_trust(&scene).into_iter().filter(is_kept).collect();
        let violation = explore_trust(&scene, faulty, letters).expect_err(broken);
        assert_eq!(violation.broken, broken, "{fault:?}: {:?}", violation.sequence);
    }
}
