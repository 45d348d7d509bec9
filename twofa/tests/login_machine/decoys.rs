//! Who is nobody here sees what an enrolled user sees.

use super::keys::{key_with_pin, u2f_key};
use super::{
    Letter, RIGHT, Scene, account, alphabet, found, is_refusal, letter, recovery, wishes_after_a_pause,
};
use crate::common::{self, DECOY, NOW, UID};
use std::collections::{BTreeMap, BTreeSet};
use twofa::account::{Account, Change, Factors, State};
use twofa::code::{Answer, Secret, Word};
use twofa::login::{Event, Login, Step};
use twofa::policy::{Method, Mode, Request};
use twofa::token::{Device, Touch, Touched};

use Method::{App, Email, Key, Sms};

/// An answer that is wrong whoever gives it.
fn wrong_answers() -> Vec<Letter> {
    let is_wrong = |letter: &Letter| match &letter.event {
        Event::Answer(answer) => !RIGHT.contains(answer),
        Event::NoAnswer | Event::Gone => true,
        _ => false,
    };
    alphabet().into_iter().filter(is_wrong).collect()
}

fn wishes() -> Vec<Letter> {
    let now = [Word::App, Word::Sms, Word::Email, Word::Resend];
    let now = now.map(|word| letter("a wish", Event::Answer(Answer::Word(word))));
    now.into_iter().chain(wishes_after_a_pause()).collect()
}

/// Answers the same to two logins in every way there is, compares what they do, and counts the dialogues.
/// Only sshd's junk is stored for nobody and not for an enrolled user, and only to one of them is a code sent: that
/// shows to neither.
struct Comparer {
    answers: Vec<Letter>,
    visited: BTreeMap<String, u64>,
}

impl Comparer {
    fn new(answers: Vec<Letter>) -> Self {
        Self { answers, visited: BTreeMap::new() }
    }

    /// `wishes` are left.
    fn ask(&mut self, pair: &(Login<'_>, Login<'_>), now: u64, wishes: u8) -> u64 {
        let state = format!("{pair:?} {now} {wishes}");
        if let Some(dialogues) = self.visited.get(&state) {
            return *dialogues;
        }
        let dialogues = self.tell(pair, &self.answers.clone(), now, wishes);
        self.visited.insert(state, dialogues);
        dialogues
    }

    fn tell(&mut self, pair: &(Login<'_>, Login<'_>), letters: &[Letter], now: u64, wishes: u8) -> u64 {
        let mut dialogues = 0;
        for Letter { name, wait, event, .. } in letters {
            let wish = u8::from(matches!(event, Event::Answer(Answer::Word(_))));
            if wish <= wishes {
                let (mut enrolled, mut decoy) = pair.clone();
                let now = now + wait;
                let steps = (enrolled.next(event.clone(), now), decoy.next(event.clone(), now));
                dialogues += self.follow((enrolled, decoy), steps, name, now, wishes - wish);
            }
        }
        dialogues
    }

    fn follow(
        &mut self,
        mut pair: (Login<'_>, Login<'_>),
        steps: (Step, Step),
        name: &str,
        now: u64,
        wishes: u8,
    ) -> u64 {
        match steps {
            // Why it was refused is for the log.
            (step @ Step::Finish { .. }, other) if is_same_to_the_user(&step, &other) => 1,
            (step @ Step::Ask { .. }, other) if step == other => self.ask(&pair, now, wishes),
            (Step::Commit(change), Step::Commit(other)) if without_number(&change) == other => {
                self.tell(&pair, &stored(), now, wishes)
            }
            (Step::Touch { notice, touch }, Step::Touch { notice: other, touch: decoys }) => {
                assert_eq!(notice, other, "after {name}");
                assert_eq!(what_shows(&touch), what_shows(&decoys), "after {name}");
                self.tell(&pair, &untouched(), now, wishes)
            }
            (Step::Deliver(_), other) => {
                let step = pair.0.next(Event::Delivered, now);
                self.follow(pair, (step, other), name, now, wishes)
            }
            (step, Step::Commit(_)) if name == "fake" => {
                let other = pair.1.next(Event::Committed(Box::default()), now);
                assert!(is_same_to_the_user(&step, &other), "after {name}: {step:?} and {other:?}");
                if is_refusal(&step) { 1 } else { self.ask(&pair, now, wishes) }
            }
            (step, other) => panic!("after {name}: {step:?} differs from {other:?}"),
        }
    }
}

fn without_number(change: &Change) -> Change {
    let mut change = change.clone();
    if let Change::Send { number, .. } = &mut change {
        *number = None;
    }
    change
}

fn is_same_to_the_user(one: &Step, other: &Step) -> bool {
    match (one, other) {
        (Step::Finish { notice, .. }, Step::Finish { notice: other, .. }) => notice == other,
        (one, other) => one == other,
    }
}

/// What somebody who watches a key, or has none of those that are asked for, can tell of a touch.
fn what_shows(touch: &Touch) -> (&str, Option<&(Secret, Device)>, u8, BTreeSet<bool>) {
    let verify = touch.credentials.iter().map(|credential| credential.verify).collect();
    (&touch.rp_id, touch.pin.as_ref(), touch.time, verify)
}

/// What comes of a key that is nobody's here, or of none.
fn untouched() -> [Letter; 6] {
    [
        letter("no key plugged in", Event::Touched(Touched::NoKey)),
        letter("not enrolled", Event::Touched(Touched::NotEnrolled)),
        letter("denied", Event::Touched(Touched::Denied)),
        letter("timed out", Event::Touched(Touched::TimedOut)),
        letter("gone", Event::Touched(Touched::Gone)),
        letter("failed", Event::Touched(Touched::Failed(String::new()))),
    ]
}

fn stored() -> [Letter; 2] {
    [letter("committed", Event::Committed(Box::default())), letter("failed", Event::Failed)]
}

/// Lets a user with `factors` and every kind of nobody log in, and compares them.
fn compare(scene: &Scene, factors: &Factors, answers: &[Letter], wishes: u8) -> u64 {
    let of = |uid, factors: &Factors| {
        let account = Account { factors: factors.clone(), ..account(uid) };
        found(account, State::default())
    };
    let (known, unknown) = (&scene.request, &Request { known: None, ..scene.request.clone() });
    let decoys = [
        (known, Event::Account(None, DECOY)),
        (known, of(UID + 1, factors)),
        (known, of(UID, &Factors { recovery: Some(recovery()), ..Factors::default() })),
        (unknown, Event::Account(None, DECOY)),
        (unknown, of(UID, factors)),
    ];
    let compare = |(request, account_of_decoy): (&Request, Event)| {
        let mut enrolled = scene.login();
        let mut decoy = Login::new(&scene.policy, request, &scene.seed);
        assert_eq!(enrolled.next(Event::Begin, NOW), decoy.next(Event::Begin, NOW));
        let steps = (enrolled.next(of(UID, factors), NOW), decoy.next(account_of_decoy, NOW));
        Comparer::new(answers.to_vec()).follow((enrolled, decoy), steps, "the account", NOW, wishes)
    };
    let dialogues = decoys.map(compare);
    assert!(dialogues.iter().all(|other| *other == dialogues[0]), "{dialogues:?}");
    dialogues[0]
}

#[test]
fn nobody_sees_who_is_enrolled() {
    let scene = Scene::new(Mode::Enforce, &[App]);
    assert_eq!(compare(&scene, &account(UID).factors, &wrong_answers(), 0), 5_711);
}

#[test]
fn nobody_sees_to_whom_a_code_is_sent() {
    let both = Factors { apps: common::factors().apps, ..common::contacts() };
    let answers: Vec<Letter> = wrong_answers().into_iter().chain(wishes()).collect();
    let table = [
        (&[App][..], 121_785, 121_785),
        (&[Sms], 3_132_933, 699_441),
        (&[App, Sms], 1_913_173, 699_441),
        (&[Sms, App], 3_690_898, 699_441),
        (&[Email], 3_132_933, 699_441),
    ];
    for (methods, sent, not_sent) in table {
        for (first_factor, dialogues) in [(true, sent), (false, not_sent)] {
            let mut scene = Scene::new(Mode::Enforce, methods);
            // Where nobody's mail goes.
            scene.request.host = "example.org".into();
            scene.request.first_factor = first_factor;
            assert_eq!(compare(&scene, &both, &answers, 2), dialogues, "{methods:?} {first_factor}");
        }
    }
}

/// A key that needs its PIN shows, unless every key does.
#[test]
fn nobody_sees_who_has_a_key() {
    let of = |keys| Factors { keys, ..key_factors() };
    let plain = of(vec![common::key(1)]);
    let several = of(vec![common::key(1), key_with_pin(2), u2f_key(3)]);
    let words = [Word::Key, Word::Sms, Word::Resend];
    let words = words.map(|word| letter("a wish", Event::Answer(Answer::Word(word))));
    let pin = letter("PIN", Event::Pin(Secret::new(*b"1234")));
    let answers: Vec<Letter> = wrong_answers().into_iter().chain(words).chain([pin]).collect();
    let table = [
        (&[Key][..], true, false, &plain, 387_156),
        (&[Key], true, true, &plain, 387_156),
        (&[Key], true, true, &several, 387_156),
        (&[Key], false, false, &several, 4_900),
        (&[Key, Sms], true, false, &plain, 1_492_332),
        (&[Key, Sms], true, true, &several, 1_492_332),
        (&[Sms, Key], true, false, &plain, 883_530),
        (&[Sms, Key], true, true, &several, 883_530),
        (&[Sms, Key], false, false, &several, 60_670),
    ];
    let dialogues = table.map(|(methods, local, pin, factors, _)| {
        let mut scene = Scene::new(Mode::Enforce, methods).with_prompts(2);
        scene.request.local = local;
        scene.policy.key.pin = pin;
        compare(&scene, factors, &answers, 2)
    });
    assert_eq!(dialogues, table.map(|(.., dialogues)| dialogues));
}

fn key_factors() -> Factors {
    Factors { recovery: Some(recovery()), phone: Some(common::phone()), ..common::key_factors() }
}

/// Whoever types it, sshd or somebody who wants to know.
#[test]
fn junk_in_place_of_a_sent_code_tells_nothing() {
    let answers: Vec<Letter> = wrong_answers().into_iter().filter(|letter| letter.name == "fake").collect();
    let scene = Scene::new(Mode::Enforce, &[Sms]).with_prompts(5);
    assert_eq!(compare(&scene, &common::contacts(), &answers, 0), 2);
}
