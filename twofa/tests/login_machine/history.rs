//! The rules of codes, held against every step of a sequence.

use super::{
    Broken, Letter, RIGHT, Scene, VALID_FOR, is_about_sending, is_account, is_counted, judged, rival, rule,
};
use crate::common::{self, LIMITS, MASKED, NOW, SENDS, UID};
use twofa::account::{Account, Cap, Change, Conflict, Guess, Lock, Proof, Source, State};
use twofa::code::{Answer, Tag, Word};
use twofa::login::{Admission, Delivery, Event, Notice, Prompt, Refusal, Step, Verdict};
use twofa::policy::{Method, Mode, Recipient};

use Method::{App, Email, Key, Sms};

/// Wrong answers that a sent code bears.
const TRIES: u8 = 3;
/// Wishes that a login has.
const WISHES: u8 = 8;

/// What came to pass in one sequence, as far as the rules speak of it.
#[derive(Clone, Debug)]
pub(super) struct History<'a> {
    pub(super) scene: &'a Scene,
    pub(super) now: u64,
    last: Option<Step>,
    enrolled: bool,
    /// What this user can use, of the policy's methods.
    methods: Vec<Method>,
    hard_stop: bool,
    prompt: Option<Prompt>,
    guesses: u8,
    blanks: u8,
    pub(super) wishes: u8,
    /// When each code was counted; none is sent that was not.
    sent: Vec<u64>,
    /// Wrong answers that the last of them still bears; none when it is void.
    live: Option<u8>,
    /// It became void just now.
    void: bool,
    /// What the store has, if there is one.
    pub(super) stored: Option<State>,
    /// Another login of this user sent a code after this one did.
    pub(super) overtaken: bool,
    /// Something happened after which nobody is admitted any more.
    doomed: bool,
    /// That it would be refused is counted.
    counted: bool,
}

/// What the rules want next, unless an answer is stored or the login is over.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    Ask(Prompt),
    Count(Method),
    Deliver(Method),
}

impl<'a> History<'a> {
    pub(super) fn new(scene: &'a Scene) -> Self {
        Self {
            scene,
            now: NOW,
            last: None,
            enrolled: false,
            methods: scene.policy.methods.clone(),
            hard_stop: false,
            prompt: None,
            guesses: 0,
            blanks: 0,
            wishes: 0,
            sent: vec![],
            live: None,
            void: false,
            stored: None,
            overtaken: false,
            doomed: false,
            counted: false,
        }
    }

    /// With a store that judges as the real one does.
    pub(super) fn with_store(self) -> Self {
        Self { stored: Some(State::default()), ..self }
    }

    /// Judges the step that answers an event.
    pub(super) fn judge(&mut self, event: &Event, step: &Step) -> Result<(), Broken> {
        let due = self.count(event);
        match step {
            Step::Read => rule(self.last.is_none() && matches!(event, Event::Begin), "only a begin reads")?,
            Step::Ask { notice, prompt } => {
                rule(self.enrolled || self.mode() == Mode::Enforce, "observe mode asks who can answer")?;
                rule(self.guesses < self.scene.policy.limits.prompts, "no guess is left")?;
                rule(self.blanks < 3, "three blanks end a login")?;
                rule(self.wishes <= WISHES, "a login ends, whatever is wished")?;
                rule(self.is_reply(event), "a guess is stored before it is answered")?;
                rule(!self.hard_stop || is_recovery(prompt), "the hard stop asks for a recovery code only")?;
                self.judge_offers(prompt)?;
                rule(says_what_is_offered(notice.as_ref(), prompt), "what is to be typed later is offered")?;
                rule(due == Some(Due::Ask(prompt.clone())), "another prompt is due")?;
                self.judge_notice(event, notice.as_ref())?;
                self.prompt = Some(prompt.clone());
            }
            Step::Commit(change) => self.judge_change(event, change, due.as_ref())?,
            Step::Deliver(delivery) => self.judge_delivery(event, delivery, due.as_ref())?,
            Step::Touch { .. } => return Err("no key is asked for"),
            Step::Finish { notice, verdict } => {
                self.judge_notice(event, notice.as_ref())?;
                self.judge_verdict(event, verdict)?;
            }
        }
        rule(!self.doomed || self.is_refusal(step), "what was lost refuses, at once")?;
        self.last = Some(step.clone());
        Ok(())
    }

    fn mode(&self) -> Mode {
        self.scene.policy.mode
    }

    /// Takes note of an event, and tells what follows from it.
    fn count(&mut self, event: &Event) -> Option<Due> {
        let last = self.last.clone();
        let wanted = match (&last, event) {
            (None, Event::Begin) | (Some(Step::Ask { .. }), Event::Answer(_)) => true,
            (Some(Step::Read), Event::Account(..)) => true,
            (Some(Step::Commit(Change::Send { .. })), event) => is_about_sending(event),
            (Some(Step::Commit(_)), Event::Committed(_) | Event::Conflict(Conflict::Used)) => true,
            (Some(Step::Commit(_)), Event::Conflict(Conflict::Expired | Conflict::Superseded)) => true,
            (Some(Step::Deliver(_)), Event::Delivered | Event::Undelivered) => true,
            _ => false,
        };
        self.doomed |= !wanted;
        self.void = false;
        if !wanted {
            return None;
        }
        let method = self.methods.iter().copied().find(|method| method.is_sent());
        match (event, last, method) {
            (Event::Account(found, _), ..) => return self.meet(found.as_deref()),
            (Event::Answer(Answer::Word(word)), ..) => return self.wish(*word),
            (Event::Answer(Answer::Blank | Answer::Password), ..) => self.blanks += 1,
            (Event::Answer(answer), ..) => {
                self.guesses += 1;
                // It is stored for nobody only, and shows to neither.
                let sent = matches!(self.prompt, Some(Prompt::Sent { .. }));
                if *answer == Answer::Fake && self.enrolled && sent {
                    self.miss();
                }
            }
            (Event::Committed(_), Some(Step::Commit(Change::Send { .. })), Some(method)) => {
                self.sent.push(self.now);
                self.live = Some(TRIES);
                self.overtaken = false;
                let decoy = Due::Ask(self.prompt_for_sent(method));
                return Some(if self.enrolled { Due::Deliver(method) } else { decoy });
            }
            (Event::Committed(state), Some(Step::Commit(Change::Fail { guess, .. })), _) => {
                self.doomed |= self.is_locked_out(state);
                if matches!(guess, Guess::Sent(_)) {
                    self.miss();
                }
            }
            (Event::Conflict(Conflict::Expired | Conflict::Superseded), ..) => self.live = None,
            (Event::Delivered, _, Some(method)) => return Some(Due::Ask(self.prompt_for_sent(method))),
            (Event::Undelivered, _, Some(method)) => {
                self.live = None;
                return Some(self.without(method));
            }
            (
                Event::Failed | Event::Conflict(Conflict::TooSoon(_) | Conflict::Capped(_)),
                _,
                Some(method),
            ) => {
                return Some(self.without(method));
            }
            _ => {}
        }
        self.prompt.clone().map(Due::Ask)
    }

    fn meet(&mut self, found: Option<&(Account, State)>) -> Option<Due> {
        if let Some((account, state)) = found {
            let has = |method: &Method| match method {
                App => !account.factors.apps.is_empty(),
                Sms => account.factors.phone.is_some(),
                Email => !account.factors.addresses.is_empty(),
                Key => !account.factors.keys.is_empty() || !account.factors.ssh_keys.is_empty(),
            };
            let methods: Vec<Method> = self.methods.iter().copied().filter(has).collect();
            self.enrolled = self.scene.request.known.is_some() && account.uid == UID && !methods.is_empty();
            if self.enrolled {
                self.methods = methods;
                let lock = state.lock(Source::new(Some(common::address())), &LIMITS, self.now);
                self.hard_stop = lock == Some(Lock::Total);
                self.doomed |= matches!(lock, Some(Lock::Address(_)));
            }
        }
        if self.hard_stop {
            return Some(Due::Ask(Prompt::Recovery { or: vec![], resend: false }));
        }
        Some(self.turn_to(self.methods[0]))
    }

    /// A wrong answer to the sent code.
    fn miss(&mut self) {
        self.void = self.live == Some(1);
        self.live = self.live.map(|tries| tries - 1).filter(|tries| *tries > 0);
    }

    /// A failure that locks ends the login; after the hard stop recovery codes go on.
    fn is_locked_out(&self, state: &State) -> bool {
        match state.lock(Source::new(Some(common::address())), &LIMITS, self.now) {
            Some(Lock::Total) => self.enrolled && !self.prompt.as_ref().is_some_and(is_recovery),
            Some(Lock::Address(_)) => self.enrolled,
            None => false,
        }
    }

    /// What follows from a wish: what was asked before, if the prompt does not offer it.
    fn wish(&mut self, word: Word) -> Option<Due> {
        self.wishes += 1;
        let prompt = self.prompt.clone()?;
        let due = match (self.granted(word), word) {
            (Some(method), Word::Resend) => self.send(method),
            (Some(method), _) => self.turn_to(method),
            (None, _) => {
                self.blanks += u8::from(self.wishes <= WISHES);
                Due::Ask(prompt)
            }
        };
        Some(due)
    }

    /// The method that is wished for, if the prompt offers it.
    fn granted(&self, word: Word) -> Option<Method> {
        match (self.prompt.as_ref()?, word) {
            (Prompt::Sent { method, .. }, Word::Resend) => Some(*method),
            (Prompt::Recovery { resend: true, .. }, Word::Resend) => {
                self.methods.iter().copied().find(|method| method.is_sent())
            }
            (Prompt::Recovery { or, .. }, word) => or.iter().copied().find(|or| names(word, *or)),
            (Prompt::App { or } | Prompt::Sent { or, .. }, word) => or.filter(|or| names(word, *or)),
            _ => None,
        }
    }

    fn turn_to(&self, method: Method) -> Due {
        match method {
            App => Due::Ask(Prompt::App { or: self.other(App) }),
            // Keys have an exploration of their own.
            Key => Due::Ask(Prompt::Recovery { or: vec![], resend: false }),
            method if self.live.is_some() => Due::Ask(self.prompt_for_sent(method)),
            method => self.send(method),
        }
    }

    fn send(&self, method: Method) -> Due {
        // Whether it is the last one that the login may have, the store judges.
        let paused = self.has_paused() || !self.is_below_limit();
        if self.scene.request.first_factor && paused { Due::Count(method) } else { self.without(method) }
    }

    pub(super) fn is_below_limit(&self) -> bool {
        self.sent.len() < self.scene.policy.limits.sends.login.into()
    }

    fn has_paused(&self) -> bool {
        self.sent.last().is_none_or(|last| self.now - last >= SENDS.pause)
    }

    /// What is asked when nothing could be sent.
    fn without(&self, method: Method) -> Due {
        Due::Ask(match self.methods.contains(&App) {
            _ if self.live.is_some() => self.prompt_for_sent(method),
            true => Prompt::App { or: Some(method) },
            false => Prompt::Recovery { or: self.other(method).into_iter().collect(), resend: true },
        })
    }

    fn other(&self, method: Method) -> Option<Method> {
        self.methods.iter().copied().find(|other| *other != method)
    }

    fn prompt_for_sent(&self, method: Method) -> Prompt {
        let to = match method {
            Email if self.enrolled => "a***@example.org",
            Email => "a***@host.example",
            _ => MASKED,
        };
        Prompt::Sent { method, to: to.into(), or: self.other(method) }
    }

    fn judge_offers(&self, prompt: &Prompt) -> Result<(), Broken> {
        let (first, or) = match prompt {
            Prompt::App { or } => (Some(App), *or),
            Prompt::Sent { method, or, .. } => (Some(*method), *or),
            Prompt::Pin { or } => (Some(Key), *or),
            Prompt::Recovery { or, .. } => (or.first().copied(), or.get(1).copied()),
            Prompt::Trust { .. } => return Err("who claims no device is offered no trust"),
            Prompt::NewApp { .. } | Prompt::Saved | Prompt::NewPhone { .. } | Prompt::NewPhoneCode { .. } => {
                return Err("without a roll-out nothing is set up");
            }
        };
        let has = first.into_iter().chain(or).all(|method| self.methods.contains(&method));
        rule(has, "a prompt offers what this user can use")
    }

    /// What is no guess, or is stored, or was judged by the store, may be answered.
    fn is_reply(&self, event: &Event) -> bool {
        match event {
            Event::Account(..) | Event::Conflict(_) | Event::Delivered | Event::Undelivered => true,
            Event::Answer(Answer::Blank | Answer::Password | Answer::Fake | Answer::Word(_)) => true,
            Event::Committed(_) => match &self.last {
                Some(Step::Commit(Change::Send { .. })) => !self.enrolled,
                last => matches!(last, Some(Step::Commit(Change::Fail { .. }))),
            },
            Event::Failed => self.was_to_be_counted(),
            _ => false,
        }
    }

    pub(super) fn was_to_be_counted(&self) -> bool {
        matches!(self.last, Some(Step::Commit(Change::Send { .. })))
    }

    fn judge_notice(&self, event: &Event, notice: Option<&Notice>) -> Result<(), Broken> {
        let failing = match &self.last {
            Some(Step::Commit(Change::Fail { guess, .. })) => Some(*guess),
            _ => None,
        };
        let stored = matches!(event, Event::Committed(_));
        let wished = matches!(event, Event::Answer(Answer::Word(word)) if self.granted(*word).is_some());
        let conflict = match event {
            Event::Conflict(conflict) => Some(*conflict),
            _ => None,
        };
        let holds = match notice {
            None | Some(Notice::Refused | Notice::Unavailable) => true,
            Some(Notice::WrongCode) => match event {
                Event::Answer(answer) => *answer == Answer::Fake && !self.void,
                _ => failing.is_some() && stored && !self.void,
            },
            Some(Notice::CodeVoid) => self.void,
            Some(Notice::AlreadyUsed) => conflict == Some(Conflict::Used),
            Some(Notice::Expired) => conflict == Some(Conflict::Expired),
            Some(Notice::Superseded) => conflict == Some(Conflict::Superseded),
            Some(Notice::PasswordIsNoCode) => matches!(event, Event::Answer(Answer::Password)),
            Some(Notice::NothingTyped) => {
                matches!(event, Event::Answer(Answer::Blank))
                    && matches!(self.prompt, Some(Prompt::Sent { .. }))
            }
            Some(Notice::NotSent(method)) => {
                let asked = (wished || is_account(event)) && !self.scene.request.first_factor;
                let failed = matches!(event, Event::Failed) && self.was_to_be_counted();
                method.is_sent()
                    && self.methods.contains(method)
                    && (asked || failed || matches!(event, Event::Undelivered))
            }
            Some(Notice::TooSoon { seconds, elsewhere, .. }) => {
                let own = self.sent.last().is_some_and(|last| last + SENDS.pause == self.now + seconds);
                match conflict {
                    // The login's own pause was over.
                    Some(conflict) => conflict == Conflict::TooSoon(*seconds) && *elsewhere,
                    None => wished && *seconds > 0 && own && !elsewhere,
                }
            }
            Some(Notice::NotOffered) => matches!(event, Event::Answer(Answer::Word(_))) && !wished,
            Some(Notice::Capped) => matches!(conflict, Some(Conflict::Capped(_))),
            Some(Notice::RecoveryCodesLeft(_)) => failing.is_none() && stored && self.enrolled,
            Some(Notice::Locked(_)) => {
                self.enrolled && !matches!(event, Event::Answer(_)) || conflict.is_some()
            }
            Some(Notice::NoFactor) => false,
            Some(
                Notice::TouchKey
                | Notice::KeyUnusable
                | Notice::KeyNeeded
                | Notice::NoKey
                | Notice::KeyNotEnrolled
                | Notice::NotTouched
                | Notice::WrongPin(_)
                | Notice::PinPaused
                | Notice::PinBlocked
                | Notice::SeveralKeys
                | Notice::KeyGone
                | Notice::KeyRefused
                | Notice::KeySuspended
                | Notice::Trusted { .. },
            ) => false,
            // Of a roll-out, of what is set up in it, and of a bypass.
            Some(
                Notice::NotYet { .. }
                | Notice::Grace { .. }
                | Notice::SetUp { .. }
                | Notice::App(_)
                | Notice::RecoveryCodes(_)
                | Notice::NewCodeWrong
                | Notice::NotSaved
                | Notice::BadNumber(_)
                | Notice::NotSetUp
                | Notice::BypassSpent
                | Notice::Enrolled(_)
                | Notice::NotKept,
            ) => false,
        };
        rule(holds, "a notice tells what is stored, and nothing else")
    }

    /// Whether it is a right answer, and to what kind of prompt it is one.
    fn is_right(&self, answer: &Answer) -> bool {
        match (&self.prompt, answer) {
            (_, Answer::Recovery(_)) | (Some(Prompt::App { .. }), Answer::Code(_)) => RIGHT.contains(answer),
            (Some(Prompt::Sent { .. }), Answer::Code(_)) => {
                self.live.is_some() && *answer == self.scene.code(self.sent.len() - 1)
            }
            _ => false,
        }
    }

    fn judge_change(&mut self, event: &Event, change: &Change, due: Option<&Due>) -> Result<(), Broken> {
        if *change == Change::Observe {
            return self.judge_observation();
        }
        if let Change::Send { tag, valid_for, number, earlier, .. } = change {
            self.judge_count(event, due, *tag, *valid_for, number.is_some())?;
            return rule(usize::from(*earlier) == self.sent.len(), "a login says how many codes it had");
        }
        let Event::Answer(answer) = event else {
            return Err("only an answer is stored");
        };
        let guess = match answer {
            Answer::Code(_) | Answer::Recovery(_) | Answer::Malformed => true,
            // The work of a wrong code, for nobody: sshd types this in place of what a stranger typed.
            Answer::Fake => !self.enrolled,
            Answer::Blank | Answer::Password | Answer::Word(_) => false,
        };
        rule(guess, "what is no guess is not stored")?;
        let right = self.is_right(answer);
        let last_tag = || self.scene.tag(self.sent.len() - 1);
        match change {
            Change::Prove { proof, .. } => {
                rule(right, "only a right code proves")?;
                rule(self.enrolled, "a decoy proves nothing")?;
                let kind = match (proof, answer, &self.prompt) {
                    (Proof::Recovery(_), Answer::Recovery(_), _) => true,
                    (Proof::App(_), Answer::Code(_), Some(Prompt::App { .. })) => true,
                    (Proof::Sent(tag), Answer::Code(_), Some(Prompt::Sent { .. })) => *tag == last_tag(),
                    _ => false,
                };
                rule(kind, "each code proves its own kind")
            }
            Change::Fail { guess, .. } => {
                rule(!(right && self.enrolled), "a right code is no failure")?;
                let expected = match (answer, &self.prompt) {
                    (Answer::Recovery(_), _) | (_, Some(Prompt::Recovery { .. })) => Guess::Recovery,
                    (_, Some(Prompt::Sent { .. })) if self.live.is_some() => Guess::Sent(last_tag()),
                    _ => Guess::Code,
                };
                rule(*answer == Answer::Fake || *guess == expected, "each guess is charged to its own kind")
            }
            Change::Suspend(_) => Err("without keys none is suspended"),
            Change::Trust(_) => Err("who claims no device is offered no trust"),
            Change::Register => Err("whom no code can be sent to gets no account"),
            Change::Grace => Err("without a roll-out no days begin"),
            Change::Open(_) => Err("where no session asks none is known"),
            Change::Observe => Err("what would be refused is counted once"),
            Change::Send { .. } | Change::Unlock => Err("a login unlocks nothing"),
        }
    }

    /// It is over then, whatever comes of it.
    fn judge_observation(&mut self) -> Result<(), Broken> {
        let over = matches!(self.last, Some(Step::Finish { .. }));
        rule(self.mode() == Mode::Observe, "only observe mode counts what it would refuse")?;
        rule(!self.counted && !over, "what would be refused is counted once")?;
        (self.counted, self.doomed) = (true, true);
        Ok(())
    }

    /// Whether it answers the last step, and is not the store's to say.
    pub(super) fn can_follow(&self, event: &Event) -> bool {
        matches!(
            (&self.last, event),
            (None, Event::Begin)
                | (Some(Step::Read), Event::Account(..))
                | (Some(Step::Ask { .. }), Event::Answer(_))
                | (Some(Step::Deliver(_)), Event::Delivered | Event::Undelivered)
        )
    }

    /// What the store makes of a change, alone and after another login.
    pub(super) fn judgements(&self) -> Vec<Letter> {
        let (Some(stored), Some(Step::Commit(change))) = (&self.stored, &self.last) else {
            return vec![];
        };
        let limits = &self.scene.policy.limits;
        let later = self.now + SENDS.pause;
        let overtaken = stored.apply(&rival(), limits, later).ok().map(|overtaken| Letter {
            wait: SENDS.pause,
            ..judged("stored, after another login's code", &overtaken, change, limits, later)
        });
        [judged("stored", stored, change, limits, self.now)].into_iter().chain(overtaken).collect()
    }

    /// What a login takes for right, a store that nobody else uses takes too; and nothing else.
    pub(super) fn agree(&self, event: &Event) -> Result<(), Broken> {
        let late = self.sent.last().is_some_and(|sent| self.now - sent >= VALID_FOR);
        let proves = matches!(&self.last, Some(Step::Commit(Change::Prove { proof: Proof::Sent(_), .. })));
        let agreed = match event {
            Event::Committed(_) => !proves || !late && !self.overtaken,
            Event::Conflict(Conflict::Superseded | Conflict::TooSoon(_)) => self.overtaken,
            Event::Conflict(Conflict::Expired) => late,
            Event::Conflict(Conflict::Capped(cap)) => *cap == Cap::Login && !self.is_below_limit(),
            Event::Conflict(Conflict::Used) => false,
            _ => true,
        };
        rule(agreed, "login and store judge alike")
    }

    fn judge_count(
        &self,
        event: &Event,
        due: Option<&Due>,
        tag: Tag,
        valid_for: u64,
        has_number: bool,
    ) -> Result<(), Broken> {
        let wished = match event {
            Event::Account(..) => true,
            Event::Answer(Answer::Word(word)) => self.granted(*word).is_some(),
            _ => false,
        };
        rule(wished, "only a begin or a wish sends")?;
        rule(self.scene.request.first_factor, "nothing is sent for a mere name")?;
        rule(!self.hard_stop, "a lock stops messages")?;
        rule(self.has_paused() || !self.is_below_limit(), "there is a pause between two codes")?;
        let Some(Due::Count(method)) = due else {
            return Err("another code is due");
        };
        rule(tag == self.scene.tag(self.sent.len()), "every code is a new one")?;
        rule(valid_for == VALID_FOR, "a code is good for as long as the policy says")?;
        rule(has_number == (self.enrolled && *method == Sms), "a message counts for its number")
    }

    fn judge_delivery(&self, event: &Event, delivery: &Delivery, due: Option<&Due>) -> Result<(), Broken> {
        let counted = match &self.last {
            Some(Step::Commit(Change::Send { tag, .. })) if matches!(event, Event::Committed(_)) => *tag,
            _ => return Err("only a counted code is sent"),
        };
        rule(self.enrolled, "nothing is sent for nobody")?;
        rule(due == Some(&Due::Deliver(delivery.method)), "another step than a delivery is due")?;
        let number = u8::try_from(self.sent.len() - 1).unwrap();
        rule(self.scene.seed.tag(number, delivery.code.expose()) == counted, "what is counted is sent")?;
        let earlier = (0..number).any(|earlier| {
            let seed = &self.scene.seed;
            delivery.code == seed.sent_code(earlier) || delivery.id == seed.message_id(earlier)
        });
        rule(!earlier, "no code is sent twice")?;
        rule(!delivery.enrolls, "without a roll-out nothing is set up")?;
        rule(delivery.until == self.now + VALID_FOR, "a code is good for as long as the policy says")?;
        let to = match delivery.method {
            Email => Recipient::Mail(vec![common::mailbox().to]),
            _ => Recipient::Phone(common::phone().to),
        };
        rule(delivery.to == to, "a code goes to its user")
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
            | (Verdict::Admit(Admission::Sent { .. }), Some(Proof::Sent(_)))
            | (Verdict::Admit(Admission::Recovery { .. }), Some(Proof::Recovery(_))) => {
                rule(proven, "a proof is an enrolled user's")
            }
            (Verdict::Admit(Admission::Observed(refusal)), _) => {
                let over = matches!(self.last, Some(Step::Finish { .. }));
                let due = is_counted(&self.scene.request, *refusal);
                rule(self.mode() == Mode::Observe, "only observe mode lets pass what it would refuse")?;
                rule(over || self.counted == due, "what would be refused is counted once")
            }
            (Verdict::Admit(_), _) => Err("only a stored proof admits"),
            (Verdict::NotConcerned, _) => Err("a listed service is concerned"),
            (Verdict::Refuse(refusal), _) => rule(self.may_refuse(*refusal), "observe mode refuses nobody"),
        }
    }

    /// In observe mode only whom sshd refuses anyway.
    fn may_refuse(&self, refusal: Refusal) -> bool {
        self.mode() == Mode::Enforce || refusal == Refusal::Fake
    }

    fn is_refusal(&self, step: &Step) -> bool {
        match step {
            Step::Finish { verdict: Verdict::Refuse(refusal), .. } => self.may_refuse(*refusal),
            Step::Finish { verdict: Verdict::Admit(Admission::Observed(_)), .. }
            | Step::Commit(Change::Observe) => self.mode() == Mode::Observe,
            _ => false,
        }
    }
}

fn is_recovery(prompt: &Prompt) -> bool {
    matches!(prompt, Prompt::Recovery { .. })
}

/// A notice that says what to type says what the prompt takes.
fn says_what_is_offered(notice: Option<&Notice>, prompt: &Prompt) -> bool {
    match (notice, prompt) {
        (Some(Notice::TooSoon { word, .. }), Prompt::App { or }) => or.is_some_and(|or| or.name() == *word),
        (Some(Notice::TooSoon { word, .. }), Prompt::Recovery { resend, .. }) => *resend && *word == "resend",
        (Some(Notice::TooSoon { word, .. }), Prompt::Sent { .. }) => *word == "resend",
        _ => true,
    }
}

fn names(word: Word, method: Method) -> bool {
    matches!((word, method), (Word::App, App) | (Word::Sms, Sms) | (Word::Email, Email) | (Word::Key, Key))
}
