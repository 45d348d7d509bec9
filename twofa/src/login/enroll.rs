//! Enrolment in the login itself: who has no factor yet sets up an app, or names a telephone. Whatever goes wrong, the
//! login stays what it was without: let in for the time being. Nothing is kept before the whole login is through.

use super::answer::MAX_WORDS;
use super::{Admission, AppToScan, Event, Login, Notice, Prompt, Refusal, Step};
use crate::account::{Change, Conflict, Enrolment, NewApp, NewPhone};
use crate::code::{self, Answer, Word};
use crate::contact::Number;
use crate::policy::{Method, Mode, Recipient};
use zeroize::Zeroizing;

/// How many codes or numbers may be wrong.
const TRIES: u8 = 3;

/// What came back from a prompt of an enrolment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing was typed, or the login password again: another time.
    Later,
    /// sshd's junk for a user whom it will refuse.
    Fake,
    /// The other method.
    Method(Method),
    /// The secret without a QR code.
    Text,
    Resend,
    Saved,
    Typed(Zeroizing<String>),
}

impl Reply {
    /// Sorts what was typed. `password` is the first factor's token, when there is one.
    pub fn parse(typed: &[u8], password: Option<&[u8]>) -> Self {
        match Answer::parse(typed, password) {
            Answer::Blank | Answer::Password => return Self::Later,
            Answer::Fake => return Self::Fake,
            Answer::Word(Word::Resend) => return Self::Resend,
            Answer::Word(word) => {
                if let Some(method) = Method::wished(word) {
                    return Self::Method(method);
                }
            }
            _ => {}
        }
        let typed = Zeroizing::new(String::from_utf8_lossy(typed).trim().to_string());
        match Zeroizing::new(typed.to_ascii_lowercase()).as_str() {
            "later" => Self::Later,
            "text" => Self::Text,
            "saved" => Self::Saved,
            _ => Self::Typed(typed),
        }
    }
}

/// What is waited for.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// A place to count messages in.
    Registering,
    AppCode,
    /// The recovery codes of the app with this code to be saved.
    Saved(Box<NewApp>),
    Number,
    Counting(Number),
    Delivering(Number),
    NumberCode(Number),
}

/// An enrolment on its way.
#[derive(Clone, Debug)]
pub(super) struct SetUp {
    /// How the login ends if nothing comes of it.
    admission: Admission,
    /// What is done of it.
    done: Enrolment,
    tries: u8,
}

impl Login<'_> {
    /// Lets a user in who has no factor, and offers to set one up before.
    pub(super) fn offer_set_up(&mut self, admission: Admission) -> Step {
        // Nobody is bothered in a mode that is there to watch.
        let offers = self.policy.mode == Mode::Enforce
            && self.policy.rollout.enroll
            && self.request.first_factor
            && !self.account_phase;
        if !offers || self.can_set_up().is_empty() {
            let notice = (self.policy.mode == Mode::Enforce).then(|| self.why(&admission)).flatten();
            return self.let_in(admission, notice);
        }
        let set_up = Box::new(SetUp { admission, done: Enrolment::default(), tries: 0 });
        // Before the date nobody needs an account, except to have messages counted.
        if matches!(set_up.admission, Admission::NotYet { .. }) && self.can_set_up().contains(&Method::Sms) {
            self.stage = super::Stage::SettingUp(Stage::Registering, set_up);
            return Step::Commit(Change::Register);
        }
        self.begin_set_up(set_up)
    }

    /// What this user can set up here, in the policy's order.
    fn can_set_up(&self) -> Vec<Method> {
        let can = |method: &Method| match method {
            Method::App => true,
            Method::Sms => self.policy.sms.is_some() && !self.has_phone,
            Method::Email | Method::Key => false,
        };
        self.policy.methods.iter().copied().filter(can).collect()
    }

    fn begin_set_up(&mut self, set_up: Box<SetUp>) -> Step {
        let why = self.why(&set_up.admission).map(Box::new);
        match (self.can_set_up().first(), why) {
            (Some(Method::App), Some(why)) => {
                let app = Some(self.app_to_scan(true));
                self.ask_for(Stage::AppCode, set_up, Some(Notice::SetUp { why, app }))
            }
            (Some(_), Some(why)) => {
                self.ask_for(Stage::Number, set_up, Some(Notice::SetUp { why, app: None }))
            }
            _ => self.end_set_up(*set_up, None),
        }
    }

    fn ask_for(&mut self, stage: Stage, set_up: Box<SetUp>, notice: Option<Notice>) -> Step {
        let other = |method: Method| self.can_set_up().into_iter().find(|other| *other != method);
        self.prompt = match &stage {
            Stage::AppCode => Prompt::NewApp { or: other(Method::App) },
            Stage::Saved(_) => Prompt::Saved,
            Stage::NumberCode(number) => Prompt::NewPhoneCode { to: number.masked() },
            // With an app there is nothing else left to choose.
            _ if set_up.done.app.is_some() => Prompt::NewPhone { or: None },
            _ => Prompt::NewPhone { or: other(Method::Sms) },
        };
        self.stage = super::Stage::SettingUp(stage, set_up);
        Step::Ask { notice, prompt: self.prompt.clone() }
    }

    pub(super) fn set_up(&mut self, stage: Stage, set_up: Box<SetUp>, event: Event, now: u64) -> Step {
        match (stage, event) {
            (_, Event::Replied(Reply::Fake)) => self.refuse(Refusal::Fake),
            (Stage::Registering, Event::Committed(_)) => self.begin_set_up(set_up),
            (Stage::Saved(app), Event::Replied(Reply::Saved)) => self.saved(*app, set_up),
            (Stage::Saved(app), Event::Replied(reply)) if reply != Reply::Later => {
                self.once_more(Stage::Saved(app), set_up, Notice::NotSaved)
            }
            // The app shows codes by now, and none of them will count.
            (Stage::Saved(_), Event::Replied(Reply::Later) | Event::NoAnswer) => self.give_up(*set_up),
            (_, Event::Replied(Reply::Later)) => self.end_set_up(*set_up, None),
            (stage @ (Stage::AppCode | Stage::Number), Event::Replied(Reply::Method(method))) => {
                match (&self.prompt, method) {
                    (Prompt::NewApp { or: Some(other) }, method) if *other == method => {
                        self.granted_word(Stage::Number, set_up, None)
                    }
                    (Prompt::NewPhone { or: Some(other) }, method) if *other == method => {
                        let app = self.app_to_scan(true);
                        self.granted_word(Stage::AppCode, set_up, Some(Notice::App(app)))
                    }
                    _ => self.once_more(stage, set_up, Notice::NotOffered),
                }
            }
            (Stage::AppCode, Event::Replied(Reply::Text)) => {
                let app = self.app_to_scan(false);
                self.granted_word(Stage::AppCode, set_up, Some(Notice::App(app)))
            }
            (Stage::AppCode, Event::Replied(Reply::Typed(typed))) => match self.new_app(&typed, now) {
                Some(app) => {
                    let (codes, _) = self.seed.recovery_codes();
                    self.ask_for(Stage::Saved(Box::new(app)), set_up, Some(Notice::RecoveryCodes(codes)))
                }
                None => self.once_more(Stage::AppCode, set_up, Notice::NewCodeWrong),
            },
            (Stage::Number, Event::Replied(Reply::Typed(typed))) => match self.number(&typed) {
                Ok(number) => self.count_new(number, set_up),
                Err(fault) => self.once_more(Stage::Number, set_up, Notice::BadNumber(fault)),
            },
            (Stage::Counting(number), Event::Committed(_)) => self.deliver_new(number, set_up, now),
            (Stage::Counting(number), Event::Conflict(Conflict::TooSoon(seconds))) if self.live.is_some() => {
                let notice = Notice::TooSoon { seconds, elsewhere: false, word: "resend" };
                self.once_more(Stage::NumberCode(number), set_up, notice)
            }
            (Stage::Counting(_), Event::Conflict(Conflict::TooSoon(seconds))) => {
                let notice = Notice::TooSoon { seconds, elsewhere: true, word: "the number" };
                self.once_more(Stage::Number, set_up, notice)
            }
            (Stage::Counting(_), Event::Conflict(Conflict::Capped(_))) => {
                self.end_set_up(*set_up, Some(Notice::Capped))
            }
            (Stage::Counting(_), Event::Conflict(_) | Event::Failed)
            | (Stage::Delivering(_), Event::Undelivered) => {
                self.end_set_up(*set_up, Some(Notice::NotSent(Method::Sms)))
            }
            (Stage::Delivering(number), Event::Delivered) => {
                self.ask_for(Stage::NumberCode(number), set_up, None)
            }
            (Stage::NumberCode(number), Event::Replied(Reply::Resend)) => self.count_new(number, set_up),
            (Stage::NumberCode(number), Event::Replied(Reply::Typed(typed))) => {
                self.confirm(number, &typed, set_up, now)
            }
            (stage @ (Stage::AppCode | Stage::Number | Stage::NumberCode(_)), Event::Replied(_)) => {
                self.once_more(stage, set_up, Notice::NotOffered)
            }
            // Cut off, or out of order: the login is let in as it was to be.
            (_, Event::NoAnswer | Event::Gone | Event::Failed | Event::Conflict(_)) => {
                self.end_set_up(*set_up, None)
            }
            _ => self.refuse(Refusal::Unavailable),
        }
    }

    fn once_more(&mut self, stage: Stage, mut set_up: Box<SetUp>, notice: Notice) -> Step {
        set_up.tries = set_up.tries.saturating_add(1);
        if set_up.tries < TRIES {
            return self.ask_for(stage, set_up, Some(notice));
        }
        self.give_up(*set_up)
    }

    /// A wish, which is no try.
    fn granted_word(&mut self, stage: Stage, set_up: Box<SetUp>, notice: Option<Notice>) -> Step {
        self.words = self.words.saturating_add(1);
        if self.words < MAX_WORDS {
            return self.ask_for(stage, set_up, notice);
        }
        self.give_up(*set_up)
    }

    fn app_to_scan(&self, qr: bool) -> AppToScan {
        let issuer = self.policy.app.issuer.clone().unwrap_or_else(|| self.request.host.clone());
        let (user, secret) = (self.request.user.clone(), self.seed.app_secret());
        AppToScan { issuer, user, secret, shape: self.policy.app.shape, qr }
    }

    /// The app, if it shows the code that was typed.
    fn new_app(&self, typed: &str, now: u64) -> Option<NewApp> {
        let Answer::Code(digits) = Answer::parse(typed.as_bytes(), None) else {
            return None;
        };
        let (secret, shape) = (self.seed.app_secret(), self.policy.app.shape);
        let step = code::matching_step(&secret, shape, &digits, now, self.policy.app.skew)?;
        let (_, recovery) = self.seed.recovery_codes();
        Some(NewApp { secret, shape, step, recovery })
    }

    /// The app is done; where codes are sent to is asked for besides, while that is a method.
    fn saved(&mut self, app: NewApp, mut set_up: Box<SetUp>) -> Step {
        set_up.done.app = Some(app);
        set_up.tries = 0;
        match self.can_set_up().contains(&Method::Sms) {
            true => self.ask_for(Stage::Number, set_up, None),
            false => self.end_set_up(*set_up, None),
        }
    }

    fn number(&self, typed: &str) -> Result<Number, &'static str> {
        let rules = self.policy.sms.as_ref().ok_or("cannot be sent to")?;
        let number = Number::parse(typed, rules.country.as_ref()).map_err(|fault| fault.why())?;
        let allowed = number.starts_with_any(&rules.prefixes);
        allowed.then_some(number).ok_or("is not of a country or network that codes are sent to")
    }

    fn count_new(&mut self, number: Number, set_up: Box<SetUp>) -> Step {
        let change = self.next_code(Method::Sms, Some(number.clone()));
        self.stage = super::Stage::SettingUp(Stage::Counting(number), set_up);
        Step::Commit(change)
    }

    fn deliver_new(&mut self, number: Number, set_up: Box<SetUp>, now: u64) -> Step {
        let live = self.take_code(Method::Sms, now);
        let to = Recipient::Phone(number.clone());
        self.stage = super::Stage::SettingUp(Stage::Delivering(number), set_up);
        Step::Deliver(self.delivery(live, to, true, now))
    }

    fn confirm(&mut self, number: Number, typed: &str, mut set_up: Box<SetUp>, now: u64) -> Step {
        let code = Answer::parse(typed.as_bytes(), None);
        let tag = match (self.live, &code) {
            (Some(live), Answer::Code(digits)) => self.is_sent(live, digits),
            _ => None,
        };
        let valid_for = self.valid_for(Method::Sms);
        let is_late = self.last_sent.is_none_or(|sent| now >= sent.saturating_add(valid_for));
        match tag {
            Some(_) if is_late => self.once_more(Stage::NumberCode(number), set_up, Notice::Expired),
            Some(tag) => {
                set_up.done.phone = Some(NewPhone { number, tag });
                self.end_set_up(*set_up, None)
            }
            None => self.once_more(Stage::NumberCode(number), set_up, Notice::WrongCode),
        }
    }

    /// Says so where nothing was set up: what is done of it counts all the same.
    fn give_up(&mut self, set_up: SetUp) -> Step {
        let notice = set_up.done.is_empty().then_some(Notice::NotSetUp);
        self.end_set_up(set_up, notice)
    }

    /// Lets in, with what was set up so far.
    fn end_set_up(&mut self, set_up: SetUp, notice: Option<Notice>) -> Step {
        let SetUp { admission, done, .. } = set_up;
        if done.is_empty() {
            return self.let_in(admission, notice);
        }
        let admission = Admission::SettingUp { enrolment: Box::new(done), admission: Box::new(admission) };
        self.let_in(admission, notice)
    }

    /// What a user is told who is let in without a factor.
    fn why(&self, admission: &Admission) -> Option<Notice> {
        match admission {
            Admission::NotYet { from } => Some(Notice::NotYet { from: *from, grace: self.grace_to_come }),
            Admission::Grace { until } => Some(Notice::Grace { until: *until }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Reply {
        Reply::Typed(Zeroizing::new(text.into()))
    }

    #[test]
    fn a_reply_is_sorted_by_what_it_can_mean() {
        let table: [(&[u8], Reply); 29] = [
            (b"", Reply::Later),
            (b" \t\r\n", Reply::Later),
            (b"correct horse", Reply::Later),
            (b"later", Reply::Later),
            (b" LATER\n", Reply::Later),
            (b"Correct horse", typed("Correct horse")),
            (b"correct horse ", typed("correct horse")),
            (b"\x08\n\r\x7fINCORRECT", Reply::Fake),
            (b"\x08\n\r\x7fINC", Reply::Fake),
            (b"\x08\n\r\x7fINCORRECT\x08\n\r", Reply::Fake),
            (b"\x08\n\r\x7fCORRECT", typed("\x08\n\r\x7fCORRECT")),
            (b"app", Reply::Method(Method::App)),
            (b" SmS ", Reply::Method(Method::Sms)),
            (b"E-Mail", Reply::Method(Method::Email)),
            (b"key", Reply::Method(Method::Key)),
            (b"ReSend", Reply::Resend),
            (b"Text", Reply::Text),
            (b"\tsaved ", Reply::Saved),
            (b"SAVED", Reply::Saved),
            (b"saved.", typed("saved.")),
            (b"not saved", typed("not saved")),
            (b"savedsaved", typed("savedsaved")),
            (b"123456", typed("123456")),
            (b" 123 456 ", typed("123 456")),
            (b"+48 600 000 123", typed("+48 600 000 123")),
            (b"0123-4567-89AB-CDEF-GHJK-MNPQ", typed("0123-4567-89AB-CDEF-GHJK-MNPQ")),
            (b"sa\0ved", typed("sa\0ved")),
            (b"\xff\xfesaved", typed("\u{fffd}\u{fffd}saved")),
            ("\u{ff53}aved".as_bytes(), typed("\u{ff53}aved")),
        ];
        for (input, expected) in table {
            assert_eq!(Reply::parse(input, Some(b"correct horse")), expected, "{}", input.escape_ascii());
        }
        assert_eq!(Reply::parse(b"correct horse", None), typed("correct horse"));
        assert_eq!(Reply::parse(b"", Some(b"")), Reply::Later);
        // A password is one first, whatever else it is.
        for password in [&b"saved"[..], b"123456", b"sms"] {
            assert_eq!(Reply::parse(password, Some(password)), Reply::Later);
        }
    }

    /// More than PAM carries, whatever it is made of.
    #[test]
    fn a_long_reply_is_neither_a_word_nor_a_code_nor_a_number() {
        for byte in [b'1', b'+', b'x', 0, 0xff] {
            let reply = Reply::parse(&[byte; 10_000], None);
            let Reply::Typed(typed) = reply else {
                panic!("{byte} {reply:?}");
            };
            assert!(matches!(Answer::parse(typed.as_bytes(), None), Answer::Malformed), "{byte}");
            assert!(Number::parse(&typed, None).is_err(), "{byte}");
        }
        let long = [b"saved".as_slice(), &[b'!'; 10_000]].concat();
        assert!(matches!(Reply::parse(&long, Some(&long)), Reply::Typed(_)));
    }
}
