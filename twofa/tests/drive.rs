//! The loop between the login and the world, with a world that is a script.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a broken test says so and stops")]

mod common;

use common::{NOW, UID, USER};
use std::cell::{Cell, RefCell};
use std::thread;
use twofa::account::{Account, Cap, Change, Claim, Conflict, Device, Factors, Lock, State};
use twofa::code::{Answer, Secret, Word};
use twofa::drive;
use twofa::login::{Admission, Delivery, Event, Login, Notice, Prompt, Refusal, Verdict};
use twofa::policy::{Method, Mode, Policy, Recipient, Request, TrustRules};
use twofa::ports::{Conversation, Courier, Keys, Store};
use twofa::token::{Touch, Touched};

/// What the login is expected to ask for next, and what comes of it.
enum Line {
    Read(Event),
    Tell(Notice),
    Ask(Prompt, Event),
    /// A change that is a proof, or none.
    Commit {
        proves: bool,
        event: Event,
    },
    /// A message is counted.
    Count(Event),
    /// The device is trusted from now on.
    Trust(Event),
    /// The code of this number is sent.
    Deliver(u8, Event),
    /// Keys are asked for a signature of the challenge of this number.
    Sign(u8, Event),
    /// And have this PIN.
    SignWith(&'static [u8], u8, Event),
}

use Line::{Ask, Commit, Count, Deliver, Read, Sign, SignWith, Tell, Trust};

/// Store, user and gateway in one, reading from one script, so that the order of all is held. All of it has to be
/// used.
struct Script(RefCell<std::vec::IntoIter<Line>>);

impl Script {
    fn next(&self, what: &str) -> Line {
        self.0.borrow_mut().next().unwrap_or_else(|| panic!("{what} after the end of the script"))
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let left = self.0.borrow().len();
        assert!(left == 0 || thread::panicking(), "{left} lines of the script were not used");
    }
}

impl Store for &Script {
    fn read(&mut self) -> Event {
        match self.next("a read") {
            Read(event) => event,
            _ => panic!("a read out of turn"),
        }
    }

    fn commit(&mut self, change: &Change, now: u64) -> Event {
        assert!(now > NOW, "the time is asked for again");
        match self.next("a commit") {
            Count(event) if matches!(change, Change::Send { .. }) => event,
            Trust(event) if matches!(change, Change::Trust(_)) => event,
            Commit { proves, event } if proves == matches!(change, Change::Prove { .. }) => event,
            _ => panic!("out of turn: {change:?}"),
        }
    }
}

impl Conversation for &Script {
    fn tell(&mut self, notice: &Notice) {
        match self.next("a notice") {
            Tell(expected) if expected == *notice => {}
            _ => panic!("out of turn: {notice:?}"),
        }
    }

    fn ask(&mut self, prompt: &Prompt) -> Event {
        match self.next("a prompt") {
            Ask(expected, event) if expected == *prompt => event,
            _ => panic!("out of turn: {prompt:?}"),
        }
    }
}

impl Courier for &Script {
    fn deliver(&mut self, delivery: &Delivery) -> Event {
        let seed = common::seed(1);
        match self.next("a delivery") {
            Deliver(number, event) if delivery.code == seed.sent_code(number) => {
                assert_eq!(delivery.to, Recipient::Phone(common::phone().to));
                event
            }
            _ => panic!("out of turn: {delivery:?}"),
        }
    }
}

impl Keys for &Script {
    fn touch(&mut self, touch: &Touch) -> Event {
        let challenge = |number| common::seed(1).challenge(number);
        let pin = touch.pin.as_ref().map(|(pin, _)| pin.expose());
        match self.next("a touch") {
            Sign(number, event) if touch.challenge == challenge(number) && pin.is_none() => event,
            SignWith(typed, number, event) if touch.challenge == challenge(number) && pin == Some(typed) => {
                event
            }
            _ => panic!("out of turn: {touch:?}"),
        }
    }
}

/// Runs a login through the script; the clock goes on by a second each time it is read.
#[track_caller]
fn run(mode: Mode, request: &Request, lines: Vec<Line>) -> Verdict {
    run_with(mode, &[Method::App], request, lines)
}

#[track_caller]
fn run_with(mode: Mode, methods: &[Method], request: &Request, lines: Vec<Line>) -> Verdict {
    run_by(&common::policy_of(mode, methods), request, lines)
}

#[track_caller]
fn run_by(policy: &Policy, request: &Request, lines: Vec<Line>) -> Verdict {
    let seed = common::seed(1);
    let script = Script(RefCell::new(lines.into_iter()));
    let time = Cell::new(NOW);
    let clock = || time.replace(time.get() + 1);
    let login = Login::new(policy, request, &seed);
    drive::run(login, &mut &script, &mut &script, &mut &script, &mut &script, &clock)
}

fn enrolled() -> Line {
    enrolled_with(common::factors())
}

fn enrolled_with(factors: Factors) -> Line {
    let account = Account { user: USER.into(), uid: UID, generation: 1, factors };
    Read(Event::Account(Some(Box::new((account, State::default()))), 0))
}

const APP: Prompt = Prompt::App { or: None };

fn answered(answer: Answer) -> Line {
    Ask(APP, Event::Answer(answer))
}

fn stored(proves: bool) -> Line {
    Commit { proves, event: Event::Committed(Box::default()) }
}

fn app() -> Verdict {
    Verdict::Admit(Admission::App { label: common::LABEL.into() })
}

#[test]
fn dialogues_from_begin_to_verdict() {
    let wrong = || [answered(common::wrong_code()), stored(false), Tell(Notice::WrongCode)];
    let table = [
        (app(), vec![enrolled(), answered(common::right_code()), stored(true)]),
        (
            app(),
            [enrolled()]
                .into_iter()
                .chain(wrong())
                .chain([answered(common::right_code()), stored(true)])
                .collect(),
        ),
        (
            Verdict::Admit(Admission::Recovery { left: 3 }),
            vec![
                enrolled(),
                answered(common::right_recovery()),
                stored(true),
                Tell(Notice::RecoveryCodesLeft(3)),
            ],
        ),
        (
            Verdict::Refuse(Refusal::WrongCode),
            [enrolled()]
                .into_iter()
                .chain(wrong())
                .chain(wrong())
                .chain([answered(common::wrong_code()), stored(false), Tell(Notice::Refused)])
                .collect(),
        ),
        (
            Verdict::Refuse(Refusal::Blank),
            vec![
                enrolled(),
                answered(Answer::Blank),
                answered(common::password()),
                Tell(Notice::PasswordIsNoCode),
                answered(Answer::Blank),
                Tell(Notice::Refused),
            ],
        ),
        (
            Verdict::Refuse(Refusal::Locked(Lock::Address(7))),
            vec![
                enrolled(),
                answered(common::right_code()),
                Commit { proves: true, event: Event::Conflict(Conflict::Locked(Lock::Address(7))) },
                Tell(Notice::Locked(Lock::Address(7))),
            ],
        ),
        (
            Verdict::Refuse(Refusal::NoAnswer),
            vec![enrolled(), Ask(APP, Event::NoAnswer), Tell(Notice::Refused)],
        ),
        (Verdict::Refuse(Refusal::Unavailable), vec![Read(Event::Failed), Tell(Notice::Unavailable)]),
        (
            Verdict::Refuse(Refusal::Unavailable),
            vec![
                enrolled(),
                answered(common::right_code()),
                Commit { proves: true, event: Event::Failed },
                Tell(Notice::Unavailable),
            ],
        ),
    ];
    for (expected, lines) in table {
        assert_eq!(run(Mode::Enforce, &common::request(), lines), expected);
    }
}

fn asked_for_sent(answer: Answer) -> Line {
    let prompt = Prompt::Sent { method: Method::Sms, to: common::MASKED.into(), or: None };
    Ask(prompt, Event::Answer(answer))
}

fn counted() -> Line {
    Count(Event::Committed(Box::default()))
}

/// Nothing is sent that is not counted, and what came of it decides what is asked.
#[test]
fn messages_are_counted_then_handed_to_the_courier() {
    let seed = common::seed(1);
    let code = |number| common::sent_code(&seed, number);
    let admitted = || Verdict::Admit(Admission::Sent { method: Method::Sms, to: common::MASKED.into() });
    let recover = |notice| {
        [
            Tell(notice),
            Ask(Prompt::Recovery { or: vec![], resend: true }, Event::Answer(common::right_recovery())),
            stored(true),
            Tell(Notice::RecoveryCodesLeft(3)),
        ]
    };
    let recovered = || Verdict::Admit(Admission::Recovery { left: 3 });
    let begin = || enrolled_with(common::contacts());
    let lines = |lines: Vec<Line>, more: [Line; 4]| lines.into_iter().chain(more).collect();
    let table = [
        (
            admitted(),
            vec![begin(), counted(), Deliver(0, Event::Delivered), asked_for_sent(code(0)), stored(true)],
        ),
        (
            admitted(),
            vec![
                begin(),
                counted(),
                Deliver(0, Event::Delivered),
                asked_for_sent(code(1)),
                stored(false),
                Tell(Notice::WrongCode),
                asked_for_sent(code(0)),
                stored(true),
            ],
        ),
        (
            recovered(),
            lines(
                vec![begin(), counted(), Deliver(0, Event::Undelivered)],
                recover(Notice::NotSent(Method::Sms)),
            ),
        ),
        (recovered(), lines(vec![begin(), Count(Event::Failed)], recover(Notice::NotSent(Method::Sms)))),
        (
            recovered(),
            lines(
                vec![begin(), Count(Event::Conflict(Conflict::Capped(Cap::Host)))],
                recover(Notice::Capped),
            ),
        ),
        (
            recovered(),
            lines(
                vec![begin(), Count(Event::Conflict(Conflict::TooSoon(7)))],
                recover(Notice::TooSoon { seconds: 7, elsewhere: true, word: "resend" }),
            ),
        ),
        (
            Verdict::Refuse(Refusal::NotEnrolled),
            vec![
                Read(Event::Account(None, common::DECOY)),
                counted(),
                asked_for_sent(code(0)),
                stored(false),
                Tell(Notice::WrongCode),
                asked_for_sent(code(0)),
                stored(false),
                Tell(Notice::WrongCode),
                asked_for_sent(code(0)),
                stored(false),
                Tell(Notice::Refused),
            ],
        ),
    ];
    for (expected, lines) in table {
        assert_eq!(run_with(Mode::Enforce, &[Method::Sms], &common::request(), lines), expected);
    }
    let late: Vec<Line> =
        vec![begin(), counted(), Deliver(0, Event::Answer(code(0))), Tell(Notice::Unavailable)];
    let unavailable = Verdict::Refuse(Refusal::Unavailable);
    assert_eq!(run_with(Mode::Enforce, &[Method::Sms], &common::request(), late), unavailable);
}

/// No notice of a touch is missing, and what came of it decides what is asked.
#[test]
fn keys_are_touched_then_believed_when_stored() {
    let local = Request { address: None, local: true, ..common::request() };
    let factors = || Factors { apps: vec![], ..common::key_factors() };
    let signed = |counter| Event::Touched(Touched::Signed { credential: 0, counter });
    let admitted = || Verdict::Admit(Admission::Key { label: common::LABEL.into() });
    let touched = |number, event| [Tell(Notice::TouchKey), Sign(number, event)];
    let recovery =
        |or: &[Method], answer| Ask(Prompt::Recovery { or: or.into(), resend: false }, Event::Answer(answer));
    let back = || Commit { proves: true, event: Event::Conflict(Conflict::CounterBack(1)) };
    let table = [
        (
            admitted(),
            [enrolled_with(factors())]
                .into_iter()
                .chain(touched(0, signed(7)))
                .chain([stored(true)])
                .collect(),
        ),
        (
            admitted(),
            [enrolled_with(factors())]
                .into_iter()
                .chain(touched(0, Event::Touched(Touched::NoKey)))
                .chain([Tell(Notice::NoKey), recovery(&[Method::Key], Answer::Word(Word::Key))])
                .chain(touched(1, signed(7)))
                .chain([stored(true)])
                .collect(),
        ),
        (
            Verdict::Admit(Admission::Recovery { left: 3 }),
            [enrolled_with(factors())]
                .into_iter()
                .chain(touched(0, signed(7)))
                .chain([back(), stored(false), Tell(Notice::KeySuspended)])
                .chain([
                    recovery(&[], common::right_recovery()),
                    stored(true),
                    Tell(Notice::RecoveryCodesLeft(3)),
                ])
                .collect(),
        ),
    ];
    for (expected, lines) in table {
        let lines: Vec<Line> = lines;
        assert_eq!(run_with(Mode::Enforce, &[Method::Key], &local, lines), expected);
    }
}

/// A PIN is asked for once there is a key that needs it, and no key is said to blink before.
#[test]
fn a_pin_is_typed_before_a_key_blinks() {
    let local = Request { address: None, local: true, ..common::request() };
    let factors = || Factors { apps: vec![], ..common::key_factors() };
    let touched = |touched| Event::Touched(touched);
    let signed = || touched(Touched::Signed { credential: 0, counter: 7 });
    let pin = |typed: &'static [u8]| Ask(Prompt::Pin { or: None }, Event::Pin(Secret::new(typed)));
    let recovery =
        |answer| Ask(Prompt::Recovery { or: vec![Method::Key], resend: false }, Event::Answer(answer));
    let admitted = || Verdict::Admit(Admission::Key { label: common::LABEL.into() });
    let begin = || [enrolled_with(factors()), Sign(0, touched(Touched::PinRequired(0)))];
    let table: [(Verdict, Vec<Line>); 3] = [
        (
            admitted(),
            begin()
                .into_iter()
                .chain([pin(b"1234"), Tell(Notice::TouchKey), SignWith(b"1234", 1, signed()), stored(true)])
                .collect(),
        ),
        (
            admitted(),
            begin()
                .into_iter()
                .chain([pin(b"4321"), Tell(Notice::TouchKey)])
                .chain([SignWith(b"4321", 1, touched(Touched::WrongPin { left: Some(7) }))])
                .chain([Tell(Notice::WrongPin(Some(7))), pin(b"1234"), Tell(Notice::TouchKey)])
                .chain([SignWith(b"1234", 2, signed()), stored(true)])
                .collect(),
        ),
        (
            Verdict::Admit(Admission::Recovery { left: 3 }),
            vec![
                enrolled_with(factors()),
                Sign(0, touched(Touched::NoKey)),
                Tell(Notice::NoKey),
                recovery(common::right_recovery()),
                stored(true),
                Tell(Notice::RecoveryCodesLeft(3)),
            ],
        ),
    ];
    let mut policy = common::policy_of(Mode::Enforce, &[Method::Key]);
    policy.key.pin = true;
    for (expected, lines) in table {
        assert_eq!(run_by(&policy, &local, lines), expected);
    }
}

/// Who comes from a trusted device sees nothing at all: programs that copy files would take it for theirs.
#[test]
fn a_device_is_trusted_once_and_then_asked_nothing() {
    let device = Device::new(common::address(), Some([1; 32]), &[]).unwrap();
    let claim = Claim { device: device.clone(), password: Some([1; 8]), duration: 86_400 };
    let trusting = State::default().apply(&Change::Trust(claim.clone()), &common::LIMITS, NOW).unwrap();
    let until = NOW + 86_400;
    let factors = common::factors();
    let account = Account { user: USER.into(), uid: UID, generation: 1, factors };
    let known = || Read(Event::Account(Some(Box::new((account.clone(), trusting.clone()))), 0));
    let stored_trust = || Trust(Event::Committed(Box::new(trusting.clone())));
    let offered = |event| Ask(Prompt::Trust { device: device.clone(), duration: 86_400 }, event);
    let told = || Tell(Notice::Trusted { device: device.clone(), until });
    let code = || [enrolled(), answered(common::right_code()), stored(true)].into_iter();
    let untrusted = || Commit { proves: true, event: Event::Conflict(Conflict::Untrusted) };
    let known_verdict = || Verdict::Admit(Admission::Trusted { until });
    let table = [
        (false, app(), code().chain([offered(Event::Confirmed(true)), stored_trust(), told()]).collect()),
        (false, app(), code().chain([offered(Event::Confirmed(false))]).collect()),
        (false, app(), code().chain([offered(Event::Gone)]).collect()),
        (false, app(), code().chain([offered(Event::Confirmed(true)), Trust(Event::Failed)]).collect()),
        (true, app(), code().chain([stored_trust(), told()]).collect()),
        (false, known_verdict(), vec![known(), stored(true)]),
        (true, known_verdict(), vec![known(), stored(true)]),
        (
            true,
            app(),
            vec![
                known(),
                untrusted(),
                answered(common::right_code()),
                stored(true),
                Trust(Event::Conflict(Conflict::Changed)),
            ],
        ),
    ];
    for (always, expected, lines) in table {
        let mut policy = common::policy(Mode::Enforce);
        policy.trust = TrustRules { duration: Some(86_400), always, session_services: vec![] };
        let request = Request { claim: Some(claim.clone()), ..common::request() };
        assert_eq!(run_by(&policy, &request, lines), expected);
    }
}

/// A port that answers another question than it was asked is out of order: refused.
#[test]
fn a_wrong_kind_of_answer_refuses() {
    let tell = || Tell(Notice::Unavailable);
    let committed = || Event::Committed(Box::default());
    let table = [
        vec![Read(committed()), tell()],
        vec![Read(Event::Answer(common::right_code())), tell()],
        vec![enrolled(), Ask(APP, committed()), tell()],
        vec![enrolled(), Ask(APP, Event::Account(None, 0)), tell()],
        vec![
            enrolled(),
            answered(common::right_code()),
            Commit { proves: true, event: Event::Begin },
            tell(),
        ],
    ];
    for lines in table {
        assert_eq!(run(Mode::Enforce, &common::request(), lines), Verdict::Refuse(Refusal::Unavailable));
    }
}

#[test]
fn whom_the_policy_does_not_concern_meets_neither_store_nor_prompt() {
    let elsewhere = Request { service: "sudo".into(), ..common::request() };
    assert_eq!(run(Mode::Enforce, &elsewhere, vec![]), Verdict::NotConcerned);
    assert_eq!(run(Mode::Off, &common::request(), vec![]), Verdict::Admit(Admission::Off));
}
