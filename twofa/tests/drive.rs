//! The loop between the login and the world, with a world that is a script.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a broken test says so and stops")]

mod common;

use common::{NOW, UID, USER};
use std::cell::{Cell, RefCell};
use std::thread;
use twofa::account::{Account, Change, Conflict, Lock, State};
use twofa::code::Answer;
use twofa::drive;
use twofa::login::{Admission, Event, Login, Notice, Prompt, Refusal, Verdict};
use twofa::policy::{Mode, Request};
use twofa::ports::{Conversation, Store};

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
}

use Line::{Ask, Commit, Read, Tell};

/// Store and user in one, reading from one script, so that the order of all is held. All of it has to be used.
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

    fn ask(&mut self, prompt: Prompt) -> Event {
        match self.next("a prompt") {
            Ask(expected, event) if expected == prompt => event,
            _ => panic!("out of turn: {prompt:?}"),
        }
    }
}

/// Runs a login through the script; the clock goes on by a second each time it is read.
#[track_caller]
fn run(mode: Mode, request: &Request, lines: Vec<Line>) -> Verdict {
    let policy = common::policy(mode);
    let script = Script(RefCell::new(lines.into_iter()));
    let time = Cell::new(NOW);
    let clock = || time.replace(time.get() + 1);
    drive::run(Login::new(&policy, request), &mut &script, &mut &script, &clock)
}

fn enrolled() -> Line {
    let account = Account { user: USER.into(), uid: UID, generation: 1, factors: common::factors() };
    Read(Event::Account(Some(Box::new((account, State::default())))))
}

fn answered(answer: Answer) -> Line {
    Ask(Prompt::App, Event::Answer(answer))
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
            vec![enrolled(), Ask(Prompt::App, Event::NoAnswer), Tell(Notice::Refused)],
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

/// A port that answers another question than it was asked is out of order: refused.
#[test]
fn a_wrong_kind_of_answer_refuses() {
    let tell = || Tell(Notice::Unavailable);
    let committed = || Event::Committed(Box::default());
    let table = [
        vec![Read(committed()), tell()],
        vec![Read(Event::Answer(common::right_code())), tell()],
        vec![enrolled(), Ask(Prompt::App, committed()), tell()],
        vec![enrolled(), Ask(Prompt::App, Event::Account(None)), tell()],
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
