//! The rules of what is set up in a login. Nothing is said of where the secret and the codes come from: what was
//! shown is what counts.

use super::{Broken, Scene, VALID_FOR, rule};
use crate::common::{self, NOW, SHAPE, STEP, USER};
use std::collections::BTreeSet;
use std::sync::Mutex;
use twofa::account::{Change, Conflict, Enrolment, NewApp, NewPhone, Source};
use twofa::code::{self, Answer, RecoverySet, Secret};
use twofa::contact::Number;
use twofa::login::{Admission, AppToScan, Delivery, Event, Notice, Prompt, Refusal, Reply, Step, Verdict};
use twofa::policy::{Method, Mode, Recipient};
use zeroize::Zeroizing;

use Method::{App, Sms};

/// The number that the policy sends to; no other one that is typed is.
pub(super) const NUMBER: &str = "+48 600 000 123";
/// Replies that lead to nothing, after which the login goes on without.
const TRIES: u8 = 3;
/// Wishes that a login has.
const WISHES: u8 = 8;

/// Codes, and the set that was seen to be theirs: one comparison takes long.
static FITS: Mutex<Vec<(Vec<Zeroizing<String>>, RecoverySet)>> = Mutex::new(Vec::new());

/// What was set up in one sequence, and what is waited for.
#[derive(Clone, Debug)]
pub(super) struct SetUp<'a> {
    scene: &'a Scene,
    /// How the login ends without.
    without: Admission,
    grace_to_come: u64,
    has_phone: bool,
    waits: Waits,
    /// What the user was shown.
    secret: Option<Secret>,
    codes: Vec<Zeroizing<String>>,
    /// The time step of the code that the app showed.
    step: Option<u64>,
    saved: bool,
    number: Option<Number>,
    /// Codes that were counted, and whether the last of them may be typed.
    sent: u8,
    live: bool,
    confirmed: bool,
    wrong: u8,
    wishes: u8,
}

#[derive(Clone, Debug)]
enum Waits {
    Begins,
    ForAnAccount,
    ForAnAnswer(Prompt),
    ForACount,
    ForADelivery,
}

impl<'a> SetUp<'a> {
    pub(super) fn new(scene: &'a Scene, without: Admission, grace_to_come: u64, has_phone: bool) -> Self {
        Self {
            scene,
            without,
            grace_to_come,
            has_phone,
            waits: Waits::Begins,
            secret: None,
            codes: vec![],
            step: None,
            saved: false,
            number: None,
            sent: 0,
            live: false,
            confirmed: false,
            wrong: 0,
            wishes: 0,
        }
    }

    /// What this user can set up, in the policy's order.
    pub(super) fn choices(scene: &Scene, has_phone: bool) -> Vec<Method> {
        let can = |method: &Method| *method == App || *method == Sms && !has_phone;
        scene.policy.methods.iter().copied().filter(can).collect()
    }

    fn offers(&self, method: Method) -> bool {
        Self::choices(self.scene, self.has_phone).contains(&method)
    }

    fn other(&self, method: Method) -> Option<Method> {
        Self::choices(self.scene, self.has_phone).into_iter().find(|other| *other != method)
    }

    /// Judges the step that answers an event.
    pub(super) fn judge(&mut self, event: &Event, step: &Step) -> Result<(), Broken> {
        match (self.waits.clone(), event) {
            (_, Event::Replied(Reply::Fake)) => {
                let refused = matches!(
                    step,
                    Step::Finish { verdict: Verdict::Refuse(Refusal::Fake), notice: Some(Notice::Refused) }
                );
                rule(refused, "sshd's junk is refused")
            }
            // Grace was committed, to the account that it is kept in.
            (Waits::Begins, _) if matches!(self.without, Admission::NotYet { .. }) && self.offers(Sms) => {
                self.waits = Waits::ForAnAccount;
                rule(*step == Step::Commit(Change::Register), "messages are counted in an account")
            }
            (Waits::Begins, _) | (Waits::ForAnAccount, Event::Committed(_)) => self.begin(step),
            (Waits::ForAnAnswer(prompt), Event::Replied(reply)) => self.replied(&prompt, reply, step),
            (Waits::ForACount, Event::Committed(_)) => self.deliver(step),
            (Waits::ForACount, Event::Conflict(Conflict::TooSoon(seconds))) if self.live => {
                let notice = Notice::TooSoon { seconds: *seconds, elsewhere: false, word: "resend" };
                let to = self.masked();
                self.again(&Prompt::NewPhoneCode { to }, &notice, step)
            }
            (Waits::ForACount, Event::Conflict(Conflict::TooSoon(seconds))) => {
                let notice = Notice::TooSoon { seconds: *seconds, elsewhere: true, word: "the number" };
                let or = if self.saved { None } else { self.other(Sms) };
                self.again(&Prompt::NewPhone { or }, &notice, step)
            }
            (Waits::ForACount, Event::Conflict(Conflict::Capped(_))) => self.end(Some(Notice::Capped), step),
            (Waits::ForACount, Event::Conflict(_) | Event::Failed)
            | (Waits::ForADelivery, Event::Undelivered) => self.end(Some(Notice::NotSent(Sms)), step),
            (Waits::ForADelivery, Event::Delivered) => {
                let to = self.masked();
                self.ask(Prompt::NewPhoneCode { to }, None, step)
            }
            (Waits::ForAnAnswer(Prompt::Saved), Event::NoAnswer) => self.give_up(step),
            (_, Event::NoAnswer | Event::Gone | Event::Failed | Event::Conflict(_)) => self.end(None, step),
            _ if matches!(step, Step::Finish { verdict: Verdict::Refuse(Refusal::Unavailable), .. }) => {
                Ok(())
            }
            _ => self.end(None, step),
        }
    }

    fn begin(&mut self, step: &Step) -> Result<(), Broken> {
        rule(self.scene.policy.mode == Mode::Enforce, "observe mode sets up nothing")?;
        let why = match &self.without {
            Admission::NotYet { from } => Notice::NotYet { from: *from, grace: self.grace_to_come },
            Admission::Grace { until } => Notice::Grace { until: *until },
            _ => return Err("who has a factor sets up none"),
        };
        let first = Self::choices(self.scene, self.has_phone).first().copied();
        match (first, step) {
            (Some(App), Step::Ask { notice: Some(Notice::SetUp { why: said, app: Some(app) }), prompt }) => {
                rule(**said == why, "who is let in without is told until when")?;
                self.show(app, true)?;
                self.waits = Waits::ForAnAnswer(prompt.clone());
                rule(*prompt == Prompt::NewApp { or: self.other(App) }, "another prompt is due")
            }
            (Some(Sms), step) => {
                let notice = Notice::SetUp { why: Box::new(why), app: None };
                self.ask(Prompt::NewPhone { or: self.other(Sms) }, Some(notice), step)
            }
            _ => Err("what the policy names first is set up first"),
        }
    }

    /// One secret, however often.
    fn show(&mut self, app: &AppToScan, qr: bool) -> Result<(), Broken> {
        let AppToScan { issuer, user, secret, shape, qr: as_qr } = app;
        rule(self.secret.as_ref().is_none_or(|shown| shown == secret), "one secret is shown")?;
        self.secret = Some(secret.clone());
        let host = &self.scene.request.host;
        rule(issuer == host && user == USER && *shape == SHAPE, "an app is the policy's, and the user's")?;
        rule(*as_qr == qr, "`text` is without a QR code")
    }

    fn ask(&mut self, due: Prompt, notice: Option<Notice>, step: &Step) -> Result<(), Broken> {
        rule(*step == Step::Ask { notice, prompt: due.clone() }, "another prompt is due")?;
        self.waits = Waits::ForAnAnswer(due);
        Ok(())
    }

    fn replied(&mut self, prompt: &Prompt, reply: &Reply, step: &Step) -> Result<(), Broken> {
        match (prompt, reply) {
            (Prompt::NewApp { or: Some(Sms) }, Reply::Method(Sms)) => {
                self.wish(|due| due.ask(Prompt::NewPhone { or: Some(App) }, None, step), step)
            }
            (Prompt::NewPhone { or: Some(App) }, Reply::Method(App)) => {
                self.wish(|due| due.shown_again(true, step), step)
            }
            (Prompt::NewApp { .. }, Reply::Text) => self.wish(|due| due.shown_again(false, step), step),
            (Prompt::NewApp { .. }, Reply::Typed(typed)) => self.new_code(prompt, typed, step),
            (Prompt::Saved, Reply::Saved) => {
                (self.saved, self.wrong) = (true, 0);
                match self.offers(Sms) {
                    true => self.ask(Prompt::NewPhone { or: None }, None, step),
                    false => self.end(None, step),
                }
            }
            (Prompt::Saved, Reply::Later) => self.give_up(step),
            (_, Reply::Later) => self.end(None, step),
            (Prompt::Saved, _) => self.again(prompt, &Notice::NotSaved, step),
            (Prompt::NewPhone { .. }, Reply::Typed(typed)) => self.new_number(prompt, typed, step),
            (Prompt::NewPhoneCode { .. }, Reply::Resend) => self.count(step),
            (Prompt::NewPhoneCode { .. }, Reply::Typed(typed)) => self.sent_code(prompt, typed, step),
            _ => self.again(prompt, &Notice::NotOffered, step),
        }
    }

    fn shown_again(&mut self, qr: bool, step: &Step) -> Result<(), Broken> {
        let Step::Ask { notice: Some(Notice::App(app)), .. } = step else {
            return Err("an app that is wished for is shown");
        };
        self.show(app, qr)?;
        self.ask(Prompt::NewApp { or: self.other(App) }, Some(Notice::App(app.clone())), step)
    }

    fn new_code(&mut self, prompt: &Prompt, typed: &str, step: &Step) -> Result<(), Broken> {
        let shows = |time| {
            let secret = self.secret.as_ref().unwrap();
            code::code_at(secret, SHAPE, time).is_some_and(|code| code == typed)
        };
        self.step =
            [NOW, NOW - STEP, NOW + STEP].into_iter().find(|time| shows(*time)).map(|time| time / STEP);
        if self.step.is_none() {
            return self.again(prompt, &Notice::NewCodeWrong, step);
        }
        let Step::Ask { notice: Some(Notice::RecoveryCodes(codes)), .. } = step else {
            return Err("an app comes with recovery codes");
        };
        self.codes.clone_from(codes);
        self.ask(Prompt::Saved, Some(Notice::RecoveryCodes(codes.clone())), step)
    }

    fn new_number(&mut self, prompt: &Prompt, typed: &str, step: &Step) -> Result<(), Broken> {
        if typed == NUMBER {
            self.number = Some(Number::parse(NUMBER, None).unwrap());
            return self.count(step);
        }
        rule(!matches!(step, Step::Commit(_)), "nothing is sent to other numbers than the policy's")?;
        // In words that depend on the number.
        let why = match step {
            Step::Ask { notice: Some(Notice::BadNumber(why)), .. } => why,
            _ => "",
        };
        self.again(prompt, &Notice::BadNumber(why), step)
    }

    /// A message is counted, for its number, before it is sent.
    fn count(&mut self, step: &Step) -> Result<(), Broken> {
        self.waits = Waits::ForACount;
        let Step::Commit(Change::Send { tag, valid_for, source, number, earlier }) = step else {
            return Err("a message is counted before it is sent");
        };
        rule(*tag == self.scene.tag(self.sent.into()), "every code is a new one")?;
        rule(*valid_for == VALID_FOR, "a code is good for as long as the policy says")?;
        rule(
            *source == Source::new(self.scene.request.address),
            "a message is counted where it is asked for",
        )?;
        rule(*number == self.number, "nothing is sent to other numbers than the policy's")?;
        rule(*earlier == self.sent, "a login says how many codes it had")
    }

    fn deliver(&mut self, step: &Step) -> Result<(), Broken> {
        let (seed, number) = (&self.scene.seed, self.number.clone().unwrap());
        let delivery = Delivery {
            method: Sms,
            to: Recipient::Phone(number),
            code: seed.sent_code(self.sent),
            enrolls: true,
            until: NOW + VALID_FOR,
            id: seed.message_id(self.sent),
        };
        (self.sent, self.live, self.waits) = (self.sent + 1, true, Waits::ForADelivery);
        rule(self.sent <= self.scene.policy.limits.sends.login, "a login sends a few messages")?;
        rule(*step == Step::Deliver(delivery), "what is counted is sent, where it is to go")
    }

    fn sent_code(&mut self, prompt: &Prompt, typed: &str, step: &Step) -> Result<(), Broken> {
        let last = self.scene.seed.sent_code(self.sent - 1);
        if typed != last.expose() {
            return self.again(prompt, &Notice::WrongCode, step);
        }
        self.confirmed = true;
        self.end(None, step)
    }

    fn masked(&self) -> String {
        self.number.as_ref().unwrap().masked()
    }

    /// A reply that leads to nothing: the same is asked, a few times.
    fn again(&mut self, prompt: &Prompt, notice: &Notice, step: &Step) -> Result<(), Broken> {
        self.wrong += 1;
        if self.wrong < TRIES {
            return self.ask(prompt.clone(), Some(notice.clone()), step);
        }
        rule(matches!(step, Step::Finish { .. }), "three wrong codes end it")?;
        self.give_up(step)
    }

    fn wish(
        &mut self,
        granted: impl FnOnce(&mut Self) -> Result<(), Broken>,
        step: &Step,
    ) -> Result<(), Broken> {
        self.wishes += 1;
        if self.wishes < WISHES {
            return granted(self);
        }
        rule(matches!(step, Step::Finish { .. }), "a login ends, whatever is wished")?;
        self.give_up(step)
    }

    /// Nothing was set up, or what was counts.
    fn give_up(&self, step: &Step) -> Result<(), Broken> {
        self.end((!self.saved && !self.confirmed).then_some(Notice::NotSetUp), step)
    }

    /// Let in as without, and with what is complete.
    fn end(&self, said: Option<Notice>, step: &Step) -> Result<(), Broken> {
        let Step::Finish { notice, verdict: Verdict::Admit(admission) } = step else {
            return Err("whatever comes of it, the login is let in as without");
        };
        rule(*notice == said, "a notice tells what came of it")?;
        if !self.saved && !self.confirmed {
            return rule(*admission == self.without, "only what is complete is kept");
        }
        let Admission::SettingUp { enrolment, admission } = admission else {
            return Err("what is complete is kept");
        };
        rule(**admission == self.without, "whatever comes of it, the login is let in as without")?;
        let Enrolment { app, phone } = &**enrolment;
        match app {
            None => rule(!self.saved, "what is complete is kept")?,
            Some(app) => self.judge_app(app)?,
        }
        let last = self.sent.checked_sub(1).map(|last| self.scene.tag(last.into()));
        let confirmed = self.number.clone().zip(last).filter(|_| self.confirmed);
        let confirmed = confirmed.map(|(number, tag)| NewPhone { number, tag });
        rule(*phone == confirmed, "a number is kept that its code came back from")
    }

    fn judge_app(&self, app: &NewApp) -> Result<(), Broken> {
        let NewApp { secret, shape, step, recovery } = app;
        rule(self.saved, "only what is complete is kept")?;
        rule(self.secret.as_ref() == Some(secret) && *shape == SHAPE, "the secret that was shown is kept")?;
        rule(self.step == Some(*step), "the code that proved the app opens no login")?;
        let shown = (self.codes.clone(), recovery.clone());
        let mut fits = FITS.lock().unwrap();
        if fits.contains(&shown) {
            return Ok(());
        }
        let position = |code: &Zeroizing<String>| match common::typed(code) {
            Answer::Recovery(canonical) => recovery.position(&canonical),
            _ => None,
        };
        let positions: BTreeSet<u8> = self.codes.iter().filter_map(position).collect();
        let all = self.codes.len() == 10 && positions.len() == 10 && recovery.len() == 10;
        rule(all, "the recovery codes that were shown are kept")?;
        fits.push(shown);
        Ok(())
    }
}
