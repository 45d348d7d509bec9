//! Security keys, with the rules that only they have. What a login says between its steps is held by those of codes.

use super::{
    Broken, Letter, Machine, Scene, Tally, Violation, account, alphabet, found, is_about_sending, is_counted,
    letter, locked_state, recovery, rule,
};
use crate::common::{self, LIMITS, NOW, UID};
use std::collections::HashMap;
use std::rc::Rc;
use twofa::account::{self, Account, Change, Conflict, Factors, Guess, Lock, Proof, Source, State};
use twofa::code::{Answer, Secret, Word};
use twofa::login::{Admission, Event, Login, Notice, Prompt, Refusal, Step, Verdict};
use twofa::policy::{Method, Mode};
use twofa::token::{Credential, Device, Protocol, PublicKey, Touch, Touched};

use Method::{App, Key, Sms};

/// What the rules about keys need to remember of one sequence.
#[derive(Clone, Debug)]
struct KeyWatch<'a> {
    scene: &'a Scene,
    last: Option<Step>,
    enrolled: bool,
    /// Whether one of this user's SSH keys was accepted.
    by_ssh: bool,
    /// Those of this user that may be touched, in order.
    keys: Vec<account::Key>,
    /// What may be used here, and still.
    methods: Vec<Method>,
    /// Touches that count, and all of them.
    touches: u8,
    challenges: u8,
    /// Wrong codes of this login.
    typos: u8,
    sent: usize,
    wishes: u8,
    /// Something happened after which nobody is admitted any more.
    doomed: bool,
    /// That it would be refused is counted; and whether that is so because there is nothing to ask for.
    counted: Option<bool>,
}

/// What the rules about keys want next.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    Ask(Option<Notice>, Prompt),
    Touch,
    /// What a key showed.
    Prove,
    Suspend(u8),
    /// Nothing is asked of somebody who is let in anyway.
    Observe,
    /// The rules of codes know.
    Anything,
}

impl<'a> KeyWatch<'a> {
    fn new(scene: &'a Scene) -> Self {
        Self {
            scene,
            last: None,
            enrolled: false,
            by_ssh: false,
            keys: vec![],
            methods: vec![],
            touches: 0,
            challenges: 0,
            typos: 0,
            sent: 0,
            wishes: 0,
            doomed: false,
            counted: None,
        }
    }

    fn is_foreseen(&self, event: &Event) -> bool {
        let Some(last) = &self.last else {
            return matches!(event, Event::Begin);
        };
        match (last, event) {
            (Step::Read, Event::Account(..)) | (Step::Ask { .. }, Event::Answer(_)) => true,
            (Step::Ask { prompt: Prompt::Pin { .. }, .. }, Event::Pin(_)) => true,
            (Step::Touch { .. }, Event::Touched(_)) => true,
            (Step::Deliver(_), Event::Delivered | Event::Undelivered) => true,
            (Step::Commit(Change::Send { .. }), event) => is_about_sending(event),
            (Step::Commit(_), Event::Committed(_)) => true,
            // A signature has a counter, and nothing else that the store can hold against it.
            (
                Step::Commit(Change::Prove { proof: Proof::Key { key, .. }, .. }),
                Event::Conflict(conflict),
            ) => *conflict == Conflict::CounterBack(*key),
            (Step::Commit(Change::Prove { proof: Proof::SshKey, .. } | Change::Suspend(_)), _) => false,
            (Step::Commit(_), Event::Conflict(conflict)) => {
                matches!(conflict, Conflict::Used | Conflict::Expired | Conflict::Superseded)
            }
            _ => false,
        }
    }

    fn observes(&self) -> bool {
        self.scene.policy.mode == Mode::Observe
    }

    /// A key for others does not count, nor one that knows no PIN where there has to be one.
    fn counts(&self, key: &account::Key) -> bool {
        key.credential.rp_id == common::RP_ID && (key.has_pin || !self.scene.policy.key.pin)
    }

    /// Takes note of an event, and tells what follows from it.
    fn follow(&mut self, event: &Event) -> Due {
        self.wishes += u8::from(matches!(event, Event::Answer(Answer::Word(_))));
        match (self.last.clone(), event) {
            (Some(Step::Read), Event::Account(found, _)) => self.meet(found.as_deref()),
            (Some(Step::Touch { touch, .. }), Event::Touched(touched)) => {
                self.touched(touch.pin.is_some(), touched)
            }
            (Some(Step::Ask { prompt: Prompt::Pin { .. }, .. }), Event::Pin(_)) => Due::Touch,
            (Some(Step::Ask { prompt, .. }), Event::Answer(Answer::Word(Word::Key))) => {
                if offers(&prompt).contains(&Key) { Due::Touch } else { Due::Anything }
            }
            (Some(Step::Commit(change)), Event::Committed(_)) => self.committed(&change),
            (
                Some(Step::Commit(Change::Prove { proof: Proof::Key { key, .. }, .. })),
                Event::Conflict(Conflict::CounterBack(back)),
            ) if key == *back => Due::Suspend(key),
            _ => Due::Anything,
        }
    }

    fn meet(&mut self, found: Option<&(Account, State)>) -> Due {
        let (policy, request) = (&self.scene.policy, &self.scene.request);
        let found = found.filter(|(account, _)| request.known.is_some() && account.uid == UID);
        let mut methods = policy.methods.clone();
        if let Some((account, _)) = found {
            let factors = &account.factors;
            methods.retain(|method| match method {
                Key => !factors.ssh_keys.is_empty() || factors.keys.iter().any(|key| self.counts(key)),
                _ => factors.phone.is_some(),
            });
        }
        match found.filter(|_| !methods.is_empty()) {
            Some((account, state)) => {
                self.enrolled = true;
                self.by_ssh = methods.contains(&Key)
                    && account.factors.ssh_keys.iter().any(|own| request.ssh_keys.contains(&own.key));
                if self.by_ssh {
                    return Due::Prove;
                }
                let keys = account.factors.keys.iter().filter(|key| self.counts(key));
                self.keys = keys.filter(|key| !state.is_suspended(key.id)).cloned().collect();
                methods.retain(|method| *method != Key || request.local && !self.keys.is_empty());
                self.methods = methods;
                match state.lock(Source::new(request.address), &policy.limits, NOW) {
                    Some(lock) => self.meet_locked(lock),
                    None => self.begin(),
                }
            }
            None if self.observes() => Due::Observe,
            None => {
                self.methods = policy.methods.clone();
                self.methods.retain(|method| *method != Key || request.local);
                self.begin()
            }
        }
    }

    fn begin(&self) -> Due {
        match self.methods.first() {
            Some(Key) => Due::Touch,
            Some(_) => Due::Anything,
            None if self.observes() => Due::Observe,
            None => Due::Ask(Some(Notice::KeyNeeded), Prompt::Recovery { or: vec![], resend: false }),
        }
    }

    /// A touch is no guess.
    fn meet_locked(&mut self, lock: Lock) -> Due {
        self.methods.retain(|method| *method == Key);
        if !self.methods.is_empty() {
            return Due::Touch;
        }
        self.doomed |= lock != Lock::Total;
        match lock {
            Lock::Total => {
                Due::Ask(Some(Notice::Locked(lock)), Prompt::Recovery { or: vec![], resend: false })
            }
            Lock::Address(_) => Due::Anything,
        }
    }

    fn touched(&mut self, with_pin: bool, touched: &Touched) -> Due {
        if matches!(touched, Touched::PinRequired(_)) && !with_pin {
            return Due::Ask(None, self.pin());
        }
        self.touches += 1;
        if self.touches == self.scene.policy.limits.prompts {
            self.methods.retain(|method| *method != Key);
        }
        let notice = match touched {
            Touched::Signed { credential, .. } if *credential < self.keys.len() => return Due::Prove,
            Touched::WrongPin { left } if with_pin && self.methods.contains(&Key) => {
                return Due::Ask(Some(Notice::WrongPin(*left)), self.pin());
            }
            Touched::WrongPin { left } => Notice::WrongPin(*left),
            Touched::Signed { .. } | Touched::PinRequired(_) | Touched::Lied(_) => Notice::KeyRefused,
            Touched::NoKey => Notice::NoKey,
            Touched::NotEnrolled => Notice::KeyNotEnrolled,
            Touched::Denied | Touched::TimedOut => Notice::NotTouched,
            Touched::Gone => Notice::KeyGone,
            Touched::SeveralKeys => Notice::SeveralKeys,
            Touched::PinPaused => Notice::PinPaused,
            Touched::PinBlocked => Notice::PinBlocked,
            Touched::Failed(_) => Notice::KeyUnusable,
        };
        self.recover(notice)
    }

    fn committed(&mut self, change: &Change) -> Due {
        match change {
            Change::Suspend(suspended) => {
                self.keys.retain(|key| key.id != *suspended);
                if self.keys.is_empty() {
                    self.methods.retain(|method| *method != Key);
                }
                return self.recover(Notice::KeySuspended);
            }
            Change::Send { .. } => self.sent += 1,
            Change::Fail { guess: Guess::Code | Guess::Sent(_), .. } => self.typos += 1,
            _ => {}
        }
        Due::Anything
    }

    fn other(&self) -> Option<Method> {
        self.methods.iter().copied().find(|method| *method != Key)
    }

    fn pin(&self) -> Prompt {
        Prompt::Pin { or: self.other() }
    }

    /// A recovery code, or the other method, or a key once more.
    fn recover(&self, notice: Notice) -> Due {
        let key = self.methods.contains(&Key).then_some(Key);
        let or = self.other().into_iter().chain(key).collect();
        Due::Ask(Some(notice), Prompt::Recovery { or, resend: false })
    }

    fn judge(&mut self, event: &Event, step: &Step) -> Result<(), Broken> {
        self.doomed |= !self.is_foreseen(event);
        let due = if self.doomed { Due::Anything } else { self.follow(event) };
        if let Due::Suspend(key) = due {
            let suspends = *step == Step::Commit(Change::Suspend(key));
            rule(suspends, "a counter that did not grow suspends its key")?;
        }
        match step {
            Step::Read => rule(matches!(event, Event::Begin) && self.last.is_none(), "only a begin reads")?,
            Step::Ask { prompt, .. } => self.judge_prompt(event, prompt)?,
            Step::Commit(Change::Observe) => {
                rule(self.observes() && self.counted.is_none(), "what would be refused is counted once")?;
                self.counted = Some(due == Due::Observe);
                self.doomed = true;
            }
            Step::Commit(change) => self.judge_change(event, change)?,
            Step::Deliver(_) => {
                let counted = matches!(self.last, Some(Step::Commit(Change::Send { .. })));
                rule(counted && self.enrolled, "only a counted code is sent")?;
            }
            Step::Touch { notice, touch } => {
                self.judge_touch(event, notice.as_ref(), touch)?;
                self.challenges += 1;
            }
            Step::Finish { verdict, .. } => self.judge_verdict(event, verdict)?,
        }
        self.judge_due(&due, step)?;
        let refuses = matches!(
            step,
            Step::Finish { verdict: Verdict::Refuse(_) | Verdict::Admit(Admission::Observed(_)), .. }
                | Step::Commit(Change::Observe)
        );
        rule(!self.doomed || refuses, "what was lost refuses, at once")?;
        self.last = Some(step.clone());
        Ok(())
    }

    fn judge_due(&self, due: &Due, step: &Step) -> Result<(), Broken> {
        match (due, step) {
            (Due::Observe, Step::Commit(Change::Observe)) => Ok(()),
            (Due::Anything, _) | (Due::Touch, Step::Touch { .. }) | (Due::Suspend(_), _) => Ok(()),
            (Due::Prove, Step::Commit(Change::Prove { .. })) => Ok(()),
            (Due::Ask(due, due_prompt), Step::Ask { notice, prompt }) => {
                rule(due == notice, "what came of a touch is said")?;
                rule(due_prompt == prompt, "another prompt is due")
            }
            (Due::Observe, Step::Finish { verdict: Verdict::Admit(Admission::Observed(refusal)), .. }) => {
                rule(self.is_observed(*refusal), "what is observed is what would be refused")
            }
            (Due::Observe, _) => Err("observe mode asks who can answer"),
            _ => Err("another step is due"),
        }
    }

    /// With nothing to ask for.
    fn is_observed(&self, refusal: Refusal) -> bool {
        !self.enrolled || refusal == Refusal::KeyNeeded
    }

    /// Whether the last prompt, if there is one, offers this method.
    fn is_offered(&self, wanted: Method) -> bool {
        matches!(&self.last, Some(Step::Ask { prompt, .. }) if offers(prompt).contains(&wanted))
    }

    fn judge_prompt(&self, event: &Event, prompt: &Prompt) -> Result<(), Broken> {
        rule(self.enrolled || !self.observes(), "observe mode asks who can answer")?;
        let mut named = offers(prompt);
        match prompt {
            Prompt::Pin { .. } => named.push(Key),
            Prompt::Sent { method, .. } => named.push(*method),
            Prompt::App { .. } => named.push(App),
            Prompt::Recovery { .. } => {}
            Prompt::Trust { .. } => return Err("who claims no device is offered no trust"),
            Prompt::NewApp { .. } | Prompt::Saved | Prompt::NewPhone { .. } | Prompt::NewPhoneCode { .. } => {
                return Err("without a roll-out nothing is set up");
            }
        }
        let needed = match (&self.last, event) {
            (Some(Step::Touch { touch, .. }), Event::Touched(Touched::PinRequired(_))) => touch.pin.is_none(),
            (Some(Step::Touch { touch, .. }), Event::Touched(touched)) => {
                touch.pin.is_some() && matches!(touched, Touched::WrongPin { .. })
            }
            (Some(Step::Ask { prompt, .. }), Event::Answer(_)) => matches!(prompt, Prompt::Pin { .. }),
            (Some(Step::Commit(Change::Fail { .. } | Change::Prove { .. })), _) => true,
            _ => false,
        };
        rule(needed || !matches!(prompt, Prompt::Pin { .. }), "a PIN is asked for once a key needs it")?;
        let has = named.iter().all(|method| self.methods.contains(method));
        rule(has, "a prompt offers what this user can use here")
    }

    fn judge_touch(&self, event: &Event, notice: Option<&Notice>, touch: &Touch) -> Result<(), Broken> {
        let (policy, seed) = (&self.scene.policy, &self.scene.seed);
        rule(self.scene.request.local, "a key is asked for at this host only")?;
        let asked = match event {
            Event::Account(..) | Event::Pin(_) => true,
            Event::Answer(Answer::Word(Word::Key)) => self.is_offered(Key),
            _ => false,
        };
        rule(asked, "only a begin, a PIN or a wish asks for a key")?;
        rule(self.touches < policy.limits.prompts, "a key is asked for a few times")?;
        rule(touch.challenge == seed.challenge(self.challenges), "every challenge is a new one")?;
        rule(touch.rp_id == policy.key.rp_id && touch.time <= 60, "a key is asked as the policy says")?;
        let pin = match event {
            Event::Pin(pin) => Some(pin.clone()),
            _ => None,
        };
        let given = touch.pin.as_ref().map(|(pin, device)| (pin.clone(), *device));
        rule(given == pin.map(|pin| (pin, DEVICE)), "the PIN that was typed is used")?;
        let verified = |credential: &Credential| Credential {
            verify: credential.verify || policy.key.pin,
            ..credential.clone()
        };
        if self.enrolled {
            let expected: Vec<_> = self.keys.iter().map(|key| verified(&key.credential)).collect();
            rule(touch.credentials == expected, "keys of this user are asked for")?;
        } else {
            let known = |one: &Credential| (0..9).any(|key| common::key(key).credential.id == one.id);
            let nobodys = touch.credentials.len() == 1
                && touch.credentials.iter().all(|one| !known(one) && one.verify == policy.key.pin);
            rule(nobodys, "nobody's key is asked for")?;
        }
        let blinks = given.is_some() || touch.credentials.iter().any(|credential| !credential.verify);
        let told = blinks.then_some(&Notice::TouchKey);
        rule(notice == told, "who is to touch a key that blinks is told so, and nobody else")
    }

    fn judge_change(&self, event: &Event, change: &Change) -> Result<(), Broken> {
        let source = Source::new(self.scene.request.address);
        match (change, event) {
            (Change::Prove { proof, source: of, typos }, _) => {
                self.judge_proof(event, proof)?;
                rule(*of == source && *typos == self.typos, "a proof takes back its own login's typos")
            }
            (Change::Fail { .. }, Event::Touched(_)) => Err("what a key says is no guess"),
            (Change::Fail { guess, source: of }, Event::Answer(answer)) => {
                rule(*of == source, "a guess is charged where it comes from")?;
                let sent = matches!(self.last, Some(Step::Ask { prompt: Prompt::Sent { .. }, .. }));
                let of_code = matches!(guess, Guess::Code | Guess::Sent(_));
                let expected = sent && !matches!(answer, Answer::Recovery(_));
                rule(of_code == expected, "each guess is charged to its own kind")
            }
            (Change::Send { .. }, Event::Account(..)) => {
                rule(self.methods.contains(&Sms), "a lock stops messages")
            }
            (Change::Send { .. }, Event::Answer(Answer::Word(word))) => {
                rule(self.methods.contains(&Sms) && *word != Word::Key, "a lock stops messages")
            }
            (Change::Suspend(key), Event::Conflict(Conflict::CounterBack(back))) => {
                rule(key == back && !self.doomed, "only a counter that did not grow suspends")
            }
            _ => Err("nothing else is stored"),
        }
    }

    fn judge_proof(&self, event: &Event, proof: &Proof) -> Result<(), Broken> {
        rule(self.enrolled, "a decoy proves nothing")?;
        let right = match (proof, event, &self.last) {
            (
                Proof::Key { key, counter },
                Event::Touched(Touched::Signed { credential, counter: shown }),
                Some(Step::Touch { .. }),
            ) => counter == shown && self.keys.get(*credential).is_some_and(|signed| signed.id == *key),
            (Proof::SshKey, Event::Account(..), Some(Step::Read)) => self.by_ssh,
            (Proof::Sent(tag), Event::Answer(answer), Some(Step::Ask { prompt, .. })) => {
                let last = self.sent.checked_sub(1);
                let right =
                    last.is_some_and(|last| *answer == self.scene.code(last) && *tag == self.scene.tag(last));
                right && matches!(prompt, Prompt::Sent { .. })
            }
            (Proof::Recovery(_), Event::Answer(answer), Some(Step::Ask { .. })) => {
                *answer == common::right_recovery()
            }
            _ => false,
        };
        rule(right, "only what was shown is proven")
    }

    fn judge_verdict(&self, event: &Event, verdict: &Verdict) -> Result<(), Broken> {
        let proof = match &self.last {
            Some(Step::Commit(Change::Prove { proof, .. })) if matches!(event, Event::Committed(_)) => {
                Some(proof)
            }
            _ => None,
        };
        let is_called = |id: &u8, label: &String| {
            self.keys.iter().find(|key| key.id == *id).is_some_and(|key| key.label == *label)
        };
        match (verdict, proof) {
            (Verdict::Admit(Admission::Key { label }), Some(Proof::Key { key, .. })) => {
                rule(!self.doomed && is_called(key, label), "a key is called as its user calls it")
            }
            (Verdict::Admit(Admission::SshKey { .. }), Some(Proof::SshKey))
            | (Verdict::Admit(Admission::Sent { .. }), Some(Proof::Sent(_)))
            | (Verdict::Admit(Admission::Recovery { .. }), Some(Proof::Recovery(_))) => {
                rule(!self.doomed && self.enrolled, "a proof is an enrolled user's")
            }
            (Verdict::Admit(Admission::Observed(refusal)), _) => {
                rule(self.observes(), "only observe mode lets pass what it would refuse")?;
                let counted = self.counted.is_some() == is_counted(&self.scene.request, *refusal);
                rule(counted, "what would be refused is counted once")?;
                let asked = self.counted == Some(true);
                rule(!asked || self.is_observed(*refusal), "what is observed is what would be refused")
            }
            (Verdict::Refuse(refusal), _) => {
                rule(!self.observes() || *refusal == Refusal::Fake, "observe mode refuses nobody")
            }
            _ => Err("only a stored proof admits"),
        }
    }
}

/// The methods that a prompt takes the names of.
fn offers(prompt: &Prompt) -> Vec<Method> {
    match prompt {
        Prompt::App { or } | Prompt::Sent { or, .. } | Prompt::Pin { or } => or.iter().copied().collect(),
        Prompt::Recovery { or, .. } => or.clone(),
        Prompt::Trust { .. } => vec![],
        Prompt::NewApp { .. } | Prompt::Saved | Prompt::NewPhone { .. } | Prompt::NewPhoneCode { .. } => {
            vec![]
        }
    }
}

/// The device that asks for a PIN.
const DEVICE: Device = 7;

/// One that wants its PIN, and has another name.
pub(super) fn key_with_pin(id: u8) -> account::Key {
    let key = common::key(id);
    let credential = Credential { verify: true, ..key.credential };
    account::Key { label: "another".into(), credential, ..key }
}

pub(super) fn u2f_key(id: u8) -> account::Key {
    let key = common::key(id);
    let public = PublicKey::Es256([vec![4], vec![id; 64]].concat());
    let credential = Credential { protocol: Protocol::U2f, public, ..key.credential };
    account::Key { label: "old".into(), credential, has_pin: false, ..key }
}

/// Made for other hosts.
fn foreign_key(id: u8) -> account::Key {
    let key = common::key(id);
    let credential = Credential { rp_id: "elsewhere.example".into(), ..key.credential };
    account::Key { credential, ..key }
}

/// Somebody with these keys, an SSH key and a recovery code.
fn user(keys: Vec<account::Key>) -> Factors {
    Factors { recovery: Some(recovery()), keys, ..common::key_factors() }
}

/// Everybody who can log in.
fn users() -> Vec<Letter> {
    let of = |uid, factors: &Factors, state: &State| {
        found(Account { factors: factors.clone(), ..account(uid) }, state.clone())
    };
    let without_ssh = |keys| Factors { ssh_keys: vec![], ..user(keys) };
    let (one, two) = (without_ssh(vec![common::key(1)]), user(vec![common::key(1), key_with_pin(2)]));
    let both = Factors { phone: Some(common::phone()), ..two };
    let mixed = without_ssh(vec![foreign_key(3), u2f_key(2), common::key(1)]);
    let (u2f, foreign) = (without_ssh(vec![u2f_key(2)]), without_ssh(vec![foreign_key(1)]));
    let ssh = user(vec![]);
    let fresh = State::default();
    let suspended = fresh.apply(&Change::Suspend(1), &LIMITS, NOW).unwrap();
    let by_address = locked_state(LIMITS.failures.into(), 1);
    let hard = locked_state(LIMITS.total, 32);
    vec![
        letter("one key", of(UID, &one, &fresh)),
        letter("one key, suspended", of(UID, &one, &suspended)),
        letter("two keys and phone", of(UID, &both, &fresh)),
        letter("keys of all kinds", of(UID, &mixed, &fresh)),
        letter("U2F key", of(UID, &u2f, &fresh)),
        letter("key for others", of(UID, &foreign, &fresh)),
        letter("ssh key", of(UID, &ssh, &fresh)),
        letter("other uid", of(UID + 1, &both, &fresh)),
        letter("keys, one suspended", of(UID, &both, &suspended)),
        letter("keys, address locked", of(UID, &both, &by_address)),
        letter("keys, hard stop", of(UID, &both, &hard)),
        letter("ssh key, hard stop", of(UID, &ssh, &hard)),
    ]
}

/// Everything that can be told to a login that asks for keys.
fn alphabet_of_keys(scene: &Scene) -> Vec<Letter> {
    let signed = |credential, counter| Event::Touched(Touched::Signed { credential, counter });
    let touched = |touched| Event::Touched(touched);
    let word = |word| Event::Answer(Answer::Word(word));
    // Who has no phone meets the same where codes are sent as where none are.
    let sends = scene.policy.methods.contains(&Sms);
    const WITHOUT_PHONE: [&str; 5] =
        ["one key", "one key, suspended", "keys of all kinds", "U2F key", "key for others"];
    let mut letters = users();
    letters.retain(|letter| !sends || !WITHOUT_PHONE.contains(&letter.name));
    letters.extend([
        letter("PIN", Event::Pin(Secret::new(*b"1234"))),
        letter("signed", signed(0, 7)),
        letter("signed by the other", signed(1, 0)),
        letter("signed by none", signed(2, 7)),
        letter("no key plugged in", touched(Touched::NoKey)),
        letter("not enrolled", touched(Touched::NotEnrolled)),
        letter("denied", touched(Touched::Denied)),
        letter("timed out", touched(Touched::TimedOut)),
        letter("unplugged", touched(Touched::Gone)),
        letter("PIN required", touched(Touched::PinRequired(DEVICE))),
        letter("wrong PIN", touched(Touched::WrongPin { left: Some(2) })),
        letter("PIN paused", touched(Touched::PinPaused)),
        letter("PIN blocked", touched(Touched::PinBlocked)),
        letter("several keys", touched(Touched::SeveralKeys)),
        letter("lied", touched(Touched::Lied(String::new()))),
        letter("no key could be asked", touched(Touched::Failed(String::new()))),
        letter("counter back", Event::Conflict(Conflict::CounterBack(1))),
        letter("counter of the other back", Event::Conflict(Conflict::CounterBack(2))),
        letter("first code", Event::Answer(scene.code(0))),
        letter("key", word(Word::Key)),
        letter("sms", word(Word::Sms)),
        letter("resend", word(Word::Resend)),
        letter("too soon", Event::Conflict(Conflict::TooSoon(7))),
        letter("delivered", Event::Delivered),
        letter("undelivered", Event::Undelivered),
    ]);
    const KEPT: [&str; 14] = [
        "begin",
        "nobody",
        "wrong code",
        "right recovery code",
        "wrong recovery code",
        "blank",
        "fake",
        "no answer",
        "committed",
        "committed, address locked",
        "committed, hard stop",
        "used",
        "conflict, hard stop",
        "failed",
    ];
    letters.extend(alphabet().into_iter().filter(|letter| KEPT.contains(&letter.name)));
    letters
}

/// As the explorer of codes, with the rules about keys, and no store.
struct KeyExplorer {
    letters: Rc<[Letter]>,
    wishes: u8,
    same: usize,
    sequence: Vec<&'static str>,
    visited: HashMap<String, Tally>,
}

impl KeyExplorer {
    fn visit(&mut self, machine: &impl Machine, watch: &KeyWatch<'_>) -> Result<Tally, Broken> {
        let state = format!("{machine:?} {watch:?}").split_off(self.same);
        if let Some(tally) = self.visited.get(&state) {
            return Ok(*tally);
        }
        let mut tally = Tally::default();
        for Letter { name, event, .. } in Rc::clone(&self.letters).iter() {
            if self.is_left_out(event, watch) {
                continue;
            }
            if self.sequence.len() > 60 {
                return Err("a login ends");
            }
            let (mut machine, mut watch) = (machine.clone(), watch.clone());
            self.sequence.push(name);
            let step = machine.next(event.clone(), NOW);
            watch.judge(event, &step)?;
            let more = match step {
                Step::Finish { verdict: Verdict::Admit(Admission::Observed(_)), .. } => {
                    Tally { sequences: 1, proven: 0 }
                }
                Step::Finish { verdict, .. } => {
                    Tally { sequences: 1, proven: matches!(verdict, Verdict::Admit(_)).into() }
                }
                _ => self.visit(&machine, &watch)?,
            };
            tally.sequences += more.sequences;
            tally.proven += more.proven;
            self.sequence.pop();
        }
        self.visited.insert(state, tally);
        Ok(tally)
    }

    fn is_left_out(&self, event: &Event, watch: &KeyWatch<'_>) -> bool {
        match (event, &watch.last) {
            (Event::Answer(Answer::Word(_)), _) => watch.wishes >= self.wishes,
            // A store speaks of the key that it was asked about.
            (
                Event::Conflict(Conflict::CounterBack(back)),
                Some(Step::Commit(Change::Prove { proof: Proof::Key { key, .. }, .. })),
            ) => key != back,
            _ => false,
        }
    }
}

fn explore_keys(
    scene: &Scene,
    machine: impl Machine,
    letters: Vec<Letter>,
    wishes: u8,
) -> Result<Tally, Violation> {
    let same = format!("{:?}{:?}", scene.policy, scene.request).len();
    let (letters, visited) = (letters.into(), HashMap::new());
    let mut explorer = KeyExplorer { letters, wishes, same, sequence: vec![], visited };
    let explored = explorer.visit(&machine, &KeyWatch::new(scene));
    explored.map_err(|broken| Violation { sequence: explorer.sequence, broken })
}

fn local(scene: &mut Scene) {
    scene.request.local = true;
    scene.request.address = None;
}

fn local_with_pin(scene: &mut Scene) {
    local(scene);
    scene.policy.key.pin = true;
}

/// At the console of a host where this is asked for.
fn console(methods: &[Method]) -> Scene {
    let mut scene = Scene::new(Mode::Enforce, methods).with_prompts(2);
    local(&mut scene);
    scene
}

/// Pinned, as those of codes.
#[test]
fn only_a_key_that_was_shown_admits() {
    let nothing = |_: &mut Scene| {};
    let unknown = |scene: &mut Scene| {
        local(scene);
        scene.request.known = None;
    };
    let by_ssh = |scene: &mut Scene| scene.request.ssh_keys = vec![common::sk_key(2), common::sk_key(1)];
    let by_another = |scene: &mut Scene| scene.request.ssh_keys = vec![common::sk_key(2)];
    type Case<'a> = (&'a str, Mode, &'a [Method], &'a dyn Fn(&mut Scene), (u64, u64));
    let table: [Case<'_>; 13] = [
        ("local", Mode::Enforce, &[Key], &local, (10_762_156_985, 86_712_660)),
        ("local, with PIN", Mode::Enforce, &[Key], &local_with_pin, (10_965_942_997, 72_284_886)),
        ("local, with PIN, observed", Mode::Observe, &[Key], &local_with_pin, (270_338_007_427, 72_279_972)),
        ("local, nobody", Mode::Enforce, &[Key], &unknown, (17_267_426_719, 0)),
        ("remote", Mode::Enforce, &[Key], &nothing, (2_432_045, 17_496)),
        ("remote, observed", Mode::Observe, &[Key], &nothing, (15_374_737, 3_888)),
        ("by SSH", Mode::Enforce, &[Key], &by_ssh, (1_645_295, 7_794)),
        ("by another SSH key", Mode::Enforce, &[Key], &by_another, (2_432_045, 17_496)),
        ("local, with PIN", Mode::Enforce, &[Key, Sms], &local_with_pin, (29_654_203_213, 309_003_132)),
        ("local, nobody", Mode::Enforce, &[Key, Sms], &unknown, (42_567_063_475, 0)),
        ("remote", Mode::Enforce, &[Key, Sms], &nothing, (45_675_835, 362_580)),
        ("by SSH", Mode::Enforce, &[Sms, Key], &by_ssh, (26_158_867, 18)),
        ("local", Mode::Enforce, &[Sms, Key], &local, (15_628_452_352, 154_183_314)),
    ];
    let mut explored = vec![];
    for (name, mode, methods, change, _) in table {
        let mut scene = Scene::new(mode, methods).with_prompts(2);
        change(&mut scene);
        let tally = explore_keys(&scene, scene.login(), alphabet_of_keys(&scene), 2);
        let tally = tally.map(|tally| (tally.sequences, tally.proven));
        explored.push((name, mode, methods, tally.map_err(|violation| format!("{violation:?}"))));
    }
    let expected = table.map(|(name, mode, methods, _, tally)| (name, mode, methods, Ok(tally)));
    assert_eq!(explored, expected, "{explored:#?}");
}

/// A login with a fault about keys.
#[derive(Clone, Debug)]
struct FaultyAboutKeys<'a> {
    login: Login<'a>,
    scene: &'a Scene,
    last: Option<Step>,
    has_suspended: bool,
    fault: KeyFault,
}

#[derive(Clone, Copy, Debug)]
enum KeyFault {
    SignatureAdmitsUnstored,
    CounterBackAdmits,
    CounterBackGoesOn,
    CounterBackOfACode,
    LieProves,
    LieIsCharged,
    AnotherKeyProves,
    KeyBeyondProves,
    AnySshKeyProves,
    TouchesForTheRemote,
    TouchesWithAnOldChallenge,
    TouchesForEver,
    ForgetsThePin,
    AsksForThePinAtOnce,
    AsksForThePinAgain,
    TouchWithoutLight,
    TouchWithoutPin,
    AsksSuspendedKeys,
    AsksTheKeyItSuspended,
    AsksKeysForOthers,
    OffersTheKeyItSuspended,
    OffersKeysThatAreUsedUp,
    OffersTheKeyFirst,
    LockStopsKeys,
    BothersTheObserved,
    KeyTakesBackMore,
    SaysNothing,
    CallsItByAnotherName,
}

impl Machine for FaultyAboutKeys<'_> {
    fn next(&mut self, event: Event, now: u64) -> Step {
        let honest = self.login.next(event.clone(), now);
        let step = self.distort(&event, honest);
        self.has_suspended |= matches!(step, Step::Commit(Change::Suspend(_)));
        self.last = Some(step.clone());
        step
    }
}

impl FaultyAboutKeys<'_> {
    fn distort(&mut self, event: &Event, honest: Step) -> Step {
        let admit = |label: &str| Step::Finish {
            notice: None,
            verdict: Verdict::Admit(Admission::Key { label: label.into() }),
        };
        let source = Source::new(self.scene.request.address);
        let prove = |proof| Step::Commit(Change::Prove { proof, source, typos: 0 });
        let first = Proof::Key { key: 1, counter: 7 };
        match (self.fault, event, honest) {
            (KeyFault::SignatureAdmitsUnstored, Event::Touched(Touched::Signed { .. }), Step::Commit(_))
            | (KeyFault::CounterBackAdmits, Event::Conflict(Conflict::CounterBack(_)), Step::Commit(_)) => {
                admit(common::LABEL)
            }
            (
                KeyFault::CallsItByAnotherName,
                _,
                Step::Finish { verdict: Verdict::Admit(Admission::Key { .. }), .. },
            ) => admit("whose?"),
            (KeyFault::CounterBackGoesOn, Event::Conflict(Conflict::CounterBack(_)), Step::Commit(_)) => {
                Step::Ask {
                    notice: Some(Notice::KeySuspended),
                    prompt: Prompt::Recovery { or: vec![], resend: false },
                }
            }
            (
                KeyFault::CounterBackOfACode,
                Event::Conflict(Conflict::CounterBack(back)),
                Step::Finish { .. },
            ) if self.has_shown_a_code() => Step::Commit(Change::Suspend(*back)),
            (KeyFault::LieProves, Event::Touched(Touched::Lied(_)), Step::Ask { .. })
            | (
                KeyFault::KeyBeyondProves,
                Event::Touched(Touched::Signed { credential: 2, .. }),
                Step::Ask { .. },
            ) => prove(first),
            (KeyFault::LieIsCharged, Event::Touched(Touched::Lied(_)), Step::Ask { .. }) => {
                Step::Commit(Change::Fail { guess: Guess::Recovery, source })
            }
            (
                KeyFault::AnotherKeyProves,
                Event::Touched(Touched::Signed { counter, .. }),
                Step::Commit(_),
            ) => prove(Proof::Key { key: 2, counter: *counter }),
            (KeyFault::KeyTakesBackMore, Event::Touched(_), Step::Commit(Change::Prove { proof, .. })) => {
                Step::Commit(Change::Prove { proof, source, typos: 1 })
            }
            (KeyFault::AnySshKeyProves, Event::Account(Some(_), _), Step::Ask { .. }) => prove(Proof::SshKey),
            (fault, event, honest) => self.distort_touches(fault, event, honest),
        }
    }

    fn distort_touches(&self, fault: KeyFault, event: &Event, honest: Step) -> Step {
        let pin = || Step::Ask { notice: None, prompt: Prompt::Pin { or: None } };
        let both = || vec![common::key(1).credential, key_with_pin(2).credential];
        match (fault, event, honest) {
            (KeyFault::TouchesForTheRemote, Event::Account(Some(_), _), Step::Ask { .. }) => self.touch(0),
            (
                KeyFault::TouchesForEver,
                Event::Answer(Answer::Word(Word::Key)),
                Step::Ask { notice: Some(Notice::NotOffered), .. },
            ) => self.touch(2),
            (KeyFault::TouchesWithAnOldChallenge, _, Step::Touch { notice, touch }) => {
                let touch = Touch { challenge: self.scene.seed.challenge(0), ..touch };
                Step::Touch { notice, touch }
            }
            (KeyFault::ForgetsThePin, _, Step::Touch { notice, touch }) => {
                Step::Touch { notice, touch: Touch { pin: None, ..touch } }
            }
            (KeyFault::AsksForThePinAtOnce, Event::Account(..), Step::Touch { .. }) => pin(),
            (KeyFault::AsksForThePinAgain, Event::Touched(Touched::PinRequired(_)), Step::Ask { .. }) => {
                pin()
            }
            (KeyFault::TouchWithoutLight, _, Step::Touch { touch, .. }) => {
                Step::Touch { notice: Some(Notice::TouchKey), touch }
            }
            (KeyFault::TouchWithoutPin, _, Step::Touch { notice, touch }) => {
                let unverified = |one: Credential| Credential { verify: false, ..one };
                let credentials = touch.credentials.into_iter().map(unverified).collect();
                Step::Touch { notice, touch: Touch { credentials, ..touch } }
            }
            (KeyFault::AsksSuspendedKeys, Event::Account(..), Step::Touch { notice, touch })
                if touch.credentials == [key_with_pin(2).credential] =>
            {
                Step::Touch { notice, touch: Touch { credentials: both(), ..touch } }
            }
            (KeyFault::AsksTheKeyItSuspended, _, Step::Touch { notice, touch }) if self.has_suspended => {
                Step::Touch { notice, touch: Touch { credentials: both(), ..touch } }
            }
            (KeyFault::AsksKeysForOthers, _, Step::Touch { notice, mut touch }) => {
                touch.credentials.insert(0, foreign_key(3).credential);
                Step::Touch { notice, touch }
            }
            (KeyFault::LockStopsKeys, Event::Account(..), Step::Touch { .. }) => {
                let lock = Lock::Total;
                let prompt = Prompt::Recovery { or: vec![], resend: false };
                Step::Ask { notice: Some(Notice::Locked(lock)), prompt }
            }
            (fault, event, honest) => distort_prompts(fault, event, honest),
        }
    }

    fn has_shown_a_code(&self) -> bool {
        matches!(
            self.last,
            Some(Step::Commit(Change::Prove { proof: Proof::Sent(_) | Proof::Recovery(_), .. }))
        )
    }

    fn touch(&self, number: u8) -> Step {
        let touch = Touch {
            rp_id: common::RP_ID.into(),
            challenge: self.scene.seed.challenge(number),
            credentials: vec![common::key(1).credential],
            pin: None,
            time: 30,
        };
        Step::Touch { notice: Some(Notice::TouchKey), touch }
    }
}

fn distort_prompts(fault: KeyFault, event: &Event, honest: Step) -> Step {
    match (fault, event, honest) {
        (
            KeyFault::OffersTheKeyItSuspended,
            Event::Committed(_),
            Step::Ask { notice: notice @ Some(Notice::KeySuspended), prompt },
        )
        | (KeyFault::OffersKeysThatAreUsedUp, Event::Touched(_), Step::Ask { notice, prompt })
            if !offers(&prompt).contains(&Key) =>
        {
            let or = offers(&prompt).into_iter().chain([Key]).collect();
            Step::Ask { notice, prompt: Prompt::Recovery { or, resend: false } }
        }
        (
            KeyFault::OffersTheKeyFirst,
            Event::Touched(_),
            Step::Ask { notice, prompt: Prompt::Recovery { or, resend } },
        ) => {
            let or = or.into_iter().rev().collect();
            Step::Ask { notice, prompt: Prompt::Recovery { or, resend } }
        }
        (KeyFault::BothersTheObserved, Event::Account(..), Step::Finish { .. }) => {
            let prompt = Prompt::Recovery { or: vec![], resend: false };
            Step::Ask { notice: Some(Notice::KeyNeeded), prompt }
        }
        (KeyFault::SaysNothing, Event::Touched(_), Step::Ask { prompt, .. }) => {
            Step::Ask { notice: None, prompt }
        }
        (_, _, honest) => honest,
    }
}

/// Only of this user, so that it is soon found.
fn find(scene: &Scene, user: &str, fault: KeyFault, broken: Broken) {
    let faulty = FaultyAboutKeys { login: scene.login(), scene, last: None, has_suspended: false, fault };
    let is_kept = |letter: &Letter| !matches!(letter.event, Event::Account(..)) || letter.name == user;
    let letters = alphabet_of_keys(scene).into_iter().filter(is_kept).collect();
    let violation = explore_keys(scene, faulty, letters, 2).expect_err(broken);
    assert_eq!(violation.broken, broken, "{fault:?}: {:?}", violation.sequence);
}

#[test]
fn faults_about_keys_are_found() {
    let (one, two, suspended) = ("one key", "two keys and phone", "keys, one suspended");
    let not_grown = "a counter that did not grow suspends its key";
    let of_this_user = "keys of this user are asked for";
    let usable = "a prompt offers what this user can use here";
    let table = [
        (KeyFault::SignatureAdmitsUnstored, one, "only a stored proof admits"),
        (KeyFault::CounterBackAdmits, one, not_grown),
        (KeyFault::CounterBackGoesOn, one, not_grown),
        (KeyFault::LieProves, one, "only what was shown is proven"),
        (KeyFault::LieIsCharged, one, "what a key says is no guess"),
        (KeyFault::AnotherKeyProves, one, "only what was shown is proven"),
        (KeyFault::KeyBeyondProves, two, "only what was shown is proven"),
        (KeyFault::KeyTakesBackMore, one, "a proof takes back its own login's typos"),
        (KeyFault::TouchesWithAnOldChallenge, one, "every challenge is a new one"),
        (KeyFault::TouchesForEver, one, "only a begin, a PIN or a wish asks for a key"),
        (KeyFault::ForgetsThePin, one, "the PIN that was typed is used"),
        (KeyFault::AsksForThePinAtOnce, one, "a PIN is asked for once a key needs it"),
        (KeyFault::AsksForThePinAgain, one, "a PIN is asked for once a key needs it"),
        (KeyFault::AsksSuspendedKeys, suspended, of_this_user),
        (KeyFault::AsksTheKeyItSuspended, two, of_this_user),
        (KeyFault::AsksKeysForOthers, "keys of all kinds", of_this_user),
        (KeyFault::OffersTheKeyItSuspended, one, usable),
        (KeyFault::OffersKeysThatAreUsedUp, one, usable),
        (KeyFault::LockStopsKeys, "keys, hard stop", "another step is due"),
        (KeyFault::SaysNothing, one, "what came of a touch is said"),
        (KeyFault::CallsItByAnotherName, one, "a key is called as its user calls it"),
    ];
    for (fault, user, broken) in table {
        find(&console(&[Key]), user, fault, broken);
    }
    let mut pin = console(&[Key]);
    pin.policy.key.pin = true;
    let untold = "who is to touch a key that blinks is told so, and nobody else";
    find(&pin, one, KeyFault::AsksForThePinAtOnce, "a PIN is asked for once a key needs it");
    find(&pin, one, KeyFault::TouchWithoutLight, untold);
    find(&pin, one, KeyFault::TouchWithoutPin, of_this_user);
    find(&pin, "nobody", KeyFault::TouchWithoutPin, "nobody's key is asked for");
    let both = console(&[Key, Sms]);
    find(&both, two, KeyFault::CounterBackOfACode, "only a counter that did not grow suspends");
    find(&both, two, KeyFault::OffersTheKeyFirst, "another prompt is due");
    let remote = Scene::new(Mode::Enforce, &[Key]).with_prompts(2);
    find(&remote, "ssh key", KeyFault::AnySshKeyProves, "only what was shown is proven");
    find(&remote, one, KeyFault::TouchesForTheRemote, "a key is asked for at this host only");
    let observed = Scene::new(Mode::Observe, &[Key]);
    find(&observed, "ssh key", KeyFault::BothersTheObserved, "observe mode asks who can answer");
}

/// The steps of a login at the console that these events lead to.
fn steps<const N: usize>(scene: &Scene, events: [Event; N]) -> [Step; N] {
    let mut login = scene.login();
    events.map(|event| login.next(event, NOW))
}

fn enrolled(factors: Factors) -> Event {
    found(Account { factors, ..account(UID) }, State::default())
}

/// It comes back neither by way of the other method's prompt, nor when its name is typed at once.
#[test]
fn a_key_that_was_just_suspended_is_asked_for_no_more() {
    let factors = Factors { phone: Some(common::phone()), ..user(vec![common::key(1)]) };
    let [.., suspended, _, _, asked, last] = steps(
        &console(&[Key, Sms]),
        [
            Event::Begin,
            enrolled(factors),
            Event::Touched(Touched::Signed { credential: 0, counter: 1 }),
            Event::Conflict(Conflict::CounterBack(1)),
            Event::Committed(Box::default()),
            Event::Answer(Answer::Word(Word::Sms)),
            Event::Committed(Box::default()),
            Event::Delivered,
            Event::Answer(Answer::Word(Word::Key)),
        ],
    );
    let prompt = Prompt::Recovery { or: vec![Sms], resend: false };
    assert_eq!(suspended, Step::Ask { notice: Some(Notice::KeySuspended), prompt });
    let prompt = Prompt::Sent { method: Sms, to: common::MASKED.into(), or: None };
    assert_eq!(asked, Step::Ask { notice: None, prompt: prompt.clone() });
    assert_eq!(last, Step::Ask { notice: Some(Notice::NotOffered), prompt });
}

#[test]
fn another_key_gets_in_when_one_was_suspended() {
    let [.., suspended, touch, commit, last] = steps(
        &console(&[Key]),
        [
            Event::Begin,
            enrolled(user(vec![common::key(1), key_with_pin(2)])),
            Event::Touched(Touched::Signed { credential: 0, counter: 1 }),
            Event::Conflict(Conflict::CounterBack(1)),
            Event::Committed(Box::default()),
            Event::Answer(Answer::Word(Word::Key)),
            Event::Touched(Touched::Signed { credential: 0, counter: 9 }),
            Event::Committed(Box::default()),
        ],
    );
    let prompt = Prompt::Recovery { or: vec![Key], resend: false };
    assert_eq!(suspended, Step::Ask { notice: Some(Notice::KeySuspended), prompt });
    match touch {
        Step::Touch { touch, .. } => assert_eq!(touch.credentials, [key_with_pin(2).credential]),
        step => panic!("{step:?}"),
    }
    let proof = Proof::Key { key: 2, counter: 9 };
    assert_eq!(commit, Step::Commit(Change::Prove { proof, source: Source::CONSOLE, typos: 0 }));
    let verdict = Verdict::Admit(Admission::Key { label: "another".into() });
    assert_eq!(last, Step::Finish { notice: None, verdict });
}
