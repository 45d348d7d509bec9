//! Codes that are sent: counted before they are, and asked for.

use super::{Admission, Delivery, Login, Notice, Prompt, Refusal, Stage, Step, Subject};
use crate::account::{Change, Conflict, Proof, SENT_TRIES};
use crate::code::{SENT_DIGITS, Tag};
use crate::contact::Number;
use crate::policy::{Method, Recipient};
use subtle::ConstantTimeEq;

/// A sent code that is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Live {
    pub(super) method: Method,
    pub(super) number: u8,
    pub(super) tries: u8,
}

impl Login<'_> {
    /// Whether a code of `method` was sent that may still be typed.
    pub(super) fn waits_for(&self, method: Method) -> bool {
        self.live.is_some_and(|live| live.method == method)
    }

    pub(super) fn ask_for_sent(&mut self, method: Method, notice: Option<Notice>) -> Step {
        self.prompt = Prompt::Sent { method, to: self.masked(method), or: self.other(method) };
        self.ask(notice)
    }

    /// A new code: counted and known before it is sent.
    pub(super) fn send(&mut self, method: Method, now: u64) -> Step {
        if !self.request.first_factor {
            return self.not_sent(method, Notice::NotSent(method));
        }
        let limits = &self.policy.limits.sends;
        // The state says so too; but a decoy has none.
        let wait = self.last_sent.map_or(0, |last| last.saturating_add(limits.pause).saturating_sub(now));
        if wait > 0 && self.sent < limits.login {
            return self.too_soon(method, wait, false);
        }
        if self.policy.channel(method).is_none() {
            return self.refuse(Refusal::Unavailable);
        }
        let number = match self.recipient(method) {
            Some(Recipient::Phone(number)) => Some(number),
            _ => None,
        };
        self.stage = Stage::Counting(method);
        Step::Commit(self.next_code(method, number))
    }

    /// What counts the next code of this login.
    pub(super) fn next_code(&self, method: Method, number: Option<Number>) -> Change {
        Change::Send {
            tag: self.seed.sent_tag(self.sent),
            valid_for: self.valid_for(method),
            source: self.source(),
            number,
            earlier: self.sent,
        }
    }

    /// The code that was counted: the one that may be typed from now on.
    pub(super) fn take_code(&mut self, method: Method, now: u64) -> Live {
        let live = Live { method, number: self.sent, tries: SENT_TRIES };
        self.sent = self.sent.saturating_add(1);
        self.last_sent = Some(now);
        self.live = Some(live);
        live
    }

    pub(super) fn delivery(&self, live: Live, to: Recipient, enrolls: bool, now: u64) -> Delivery {
        Delivery {
            method: live.method,
            to,
            code: self.seed.sent_code(live.number),
            enrolls,
            until: now.saturating_add(self.valid_for(live.method)),
            id: self.seed.message_id(live.number),
        }
    }

    /// In seconds.
    pub(super) fn valid_for(&self, method: Method) -> u64 {
        self.policy.channel(method).map_or(0, |channel| channel.valid_for)
    }

    pub(super) fn deliver(&mut self, method: Method, now: u64) -> Step {
        let live = self.take_code(method, now);
        match self.recipient(method) {
            Some(to) => {
                self.stage = Stage::Delivering(method);
                Step::Deliver(self.delivery(live, to, false, now))
            }
            None => self.ask_for_sent(method, None),
        }
    }

    pub(super) fn not_counted(&mut self, method: Method, conflict: Conflict) -> Step {
        match conflict {
            // This login's own pause was over.
            Conflict::TooSoon(wait) => self.too_soon(method, wait, true),
            Conflict::Capped(_) => self.not_sent(method, Notice::Capped),
            Conflict::Locked(lock) => self.refuse(Refusal::Locked(lock)),
            Conflict::Changed => self.refuse(Refusal::Changed),
            // Only a proof meets these.
            Conflict::Used
            | Conflict::Expired
            | Conflict::Superseded
            | Conflict::CounterBack(_)
            | Conflict::Untrusted => self.refuse(Refusal::Unavailable),
        }
    }

    fn too_soon(&mut self, method: Method, seconds: u64, elsewhere: bool) -> Step {
        let to_app = !self.waits_for(method) && self.other(method) == Some(Method::App);
        let word = if to_app { method.name() } else { "resend" };
        self.not_sent(method, Notice::TooSoon { seconds, elsewhere, word })
    }

    /// No new code: the last one may still be typed, or a code of the other method, or a recovery code.
    pub(super) fn not_sent(&mut self, method: Method, notice: Notice) -> Step {
        match self.other(method) {
            _ if self.waits_for(method) => return self.ask_for_sent(method, Some(notice)),
            Some(Method::App) => self.prompt = Prompt::App { or: Some(method) },
            other => self.prompt = Prompt::Recovery { or: other.into_iter().collect(), resend: true },
        }
        self.ask(Some(notice))
    }

    fn recipient(&self, method: Method) -> Option<Recipient> {
        match &self.subject {
            Subject::Enrolled(account) => self.policy.recipient(method, &account.factors),
            Subject::Decoy(..) => None,
        }
    }

    /// Where the code went, as far as it is shown. A decoy's number looks like those that are sent to.
    fn masked(&self, method: Method) -> String {
        if let Some(to) = self.recipient(method) {
            return to.masked();
        }
        let digits = match self.subject {
            Subject::Decoy(_, digits) => digits,
            Subject::Enrolled(_) => 0,
        };
        match (&self.policy.sms, &self.policy.email) {
            (Some(sms), _) if method == Method::Sms => {
                let prefix = sms.country.as_ref().or(sms.prefixes.first());
                prefix.map(|prefix| prefix.masked(digits)).unwrap_or_default()
            }
            (_, Some(email)) if email.default_address.is_some() => {
                email.default_address.as_ref().map(|address| address.masked()).unwrap_or_default()
            }
            _ => {
                let first: String =
                    self.request.user.chars().take(1).filter(char::is_ascii_alphanumeric).collect();
                format!("{first}***@{}", self.request.host)
            }
        }
    }

    /// Whether the code is the one that was sent; whether it is in time, the state knows.
    pub(super) fn prove_sent(&self, method: Method, to: &str, digits: &str) -> Option<(Proof, Admission)> {
        let live = self.live.filter(|live| live.method == method)?;
        let tag = self.is_sent(live, digits);
        match &self.subject {
            Subject::Enrolled(_) => Some((Proof::Sent(tag?), Admission::Sent { method, to: to.into() })),
            Subject::Decoy(..) => None,
        }
    }

    /// What the code that is waited for is known by, if it is this.
    pub(super) fn is_sent(&self, live: Live, digits: &str) -> Option<Tag> {
        let expected = self.seed.sent_tag(live.number);
        let typed = self.seed.tag(live.number, digits);
        let right = bool::from(expected.ct_eq(&typed)) && digits.len() == SENT_DIGITS;
        right.then_some(expected)
    }
}
