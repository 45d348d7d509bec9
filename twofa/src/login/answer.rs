//! What was typed, and what it proves.

use super::{Admission, Login, Notice, Prompt, Refusal, Step, Subject};
use crate::account::{App, Guess, Lock, Proof, Spent, State};
use crate::code::{self, Answer, Word};
use crate::policy::Method;

/// How many empty answers (or login passwords) in place of a code end a login.
const MAX_BLANKS: u8 = 3;
/// How many wishes (`sms`, `resend`) one login has.
pub(super) const MAX_WORDS: u8 = 8;

impl Login<'_> {
    pub(super) fn judge(&mut self, answer: &Answer, now: u64) -> Step {
        match answer {
            Answer::Blank if matches!(self.prompt, Prompt::Sent { .. }) => {
                self.blank(Some(Notice::NothingTyped))
            }
            Answer::Blank => self.blank(None),
            Answer::Password => self.blank(Some(Notice::PasswordIsNoCode)),
            // The dialogue goes on as for a wrong code, so that it tells nothing; nobody is charged.
            Answer::Fake => match self.subject {
                Subject::Enrolled(_) => {
                    let notice = self.wrong(self.guess());
                    self.again(notice, Refusal::Fake)
                }
                Subject::Decoy(..) => self.fail(self.guess()),
            },
            Answer::Word(word) => self.grant(*word, now),
            Answer::Code(digits) => match self.prove_code(digits, now) {
                Some((proof, admission)) => self.prove(proof, admission),
                None => self.fail(self.guess()),
            },
            Answer::Recovery(code) => match self.prove_recovery(code) {
                Some((proof, admission)) => self.prove(proof, admission),
                None => self.fail(Guess::Recovery),
            },
            Answer::Malformed => self.fail(self.guess()),
        }
    }

    /// A wish: granted if the prompt offers it.
    fn grant(&mut self, word: Word, now: u64) -> Step {
        self.words = self.words.saturating_add(1);
        if self.words > MAX_WORDS {
            return self.refuse(Refusal::Blank);
        }
        match (&self.prompt, Method::wished(word)) {
            (Prompt::App { or } | Prompt::Sent { or, .. } | Prompt::Pin { or }, Some(method))
                if *or == Some(method) =>
            {
                self.turn_to(method, now)
            }
            (Prompt::Recovery { or, .. }, Some(method)) if or.contains(&method) => self.turn_to(method, now),
            (Prompt::Sent { method, .. }, None) => self.send(*method, now),
            (Prompt::Recovery { resend: true, .. }, None) => {
                match self.methods.iter().copied().find(|method| method.is_sent()) {
                    Some(method) => self.send(method, now),
                    None => self.blank(Some(Notice::NotOffered)),
                }
            }
            _ => self.blank(Some(Notice::NotOffered)),
        }
    }

    /// What a wrong answer that is no recovery code was an attempt at.
    fn guess(&self) -> Guess {
        match (&self.prompt, self.live) {
            (Prompt::App { .. }, _) => Guess::Code,
            (Prompt::Sent { .. }, Some(live)) => Guess::Sent(self.seed.sent_tag(live.number)),
            // The code is void already; its tag is nobody's.
            (Prompt::Sent { .. }, None) => Guess::Code,
            (_, _) => Guess::Recovery,
        }
    }

    fn prove_code(&self, digits: &str, now: u64) -> Option<(Proof, Admission)> {
        match &self.prompt {
            Prompt::App { .. } => self.prove_app(digits, now),
            Prompt::Sent { method, to, .. } => self.prove_sent(*method, to, digits),
            _ => None,
        }
    }

    fn prove_app(&self, digits: &str, now: u64) -> Option<(Proof, Admission)> {
        let decoy = [decoy_app()];
        let apps: &[App] = match &self.subject {
            Subject::Enrolled(account) => &account.factors.apps,
            Subject::Decoy(..) => &decoy,
        };
        let skew = self.policy.app.skew;
        let matching = |app: &'_ App| {
            let step = code::matching_step(&app.secret, app.shape, digits, now, skew)?;
            Some((Spent { app: app.id, step }, app.label.clone()))
        };
        let matched: Vec<_> = apps.iter().filter_map(matching).collect();
        match &self.subject {
            Subject::Enrolled(_) => {
                let label = matched.first()?.1.clone();
                let spent = matched.into_iter().map(|(spent, _)| spent).collect();
                Some((Proof::App(spent), Admission::App { label }))
            }
            Subject::Decoy(..) => None,
        }
    }

    fn prove_recovery(&self, code: &str) -> Option<(Proof, Admission)> {
        let Subject::Enrolled(account) = &self.subject else {
            return None;
        };
        if let Some((set, reason)) = self.bypass.as_ref().filter(|(set, _)| set.position(code).is_some()) {
            return Some((Proof::Bypass(set.clone()), Admission::Bypass { reason: reason.clone() }));
        }
        let position = account.factors.recovery.as_ref()?.position(code)?;
        // How many are left is known once this one is committed.
        Some((Proof::Recovery(position), Admission::Recovery { left: 0 }))
    }

    /// A wrong answer is charged and stored.
    pub(super) fn failed(&mut self, guess: Guess, state: &State, now: u64) -> Step {
        if matches!(guess, Guess::Code | Guess::Sent(_)) {
            self.charged = self.charged.saturating_add(1);
        }
        if matches!(self.subject, Subject::Enrolled(_)) {
            match (state.lock(self.source(), &self.policy.limits, now), &self.prompt) {
                (Some(Lock::Total), Prompt::Recovery { .. }) | (None, _) => {}
                (Some(lock), _) => return self.refuse(Refusal::Locked(lock)),
            }
        }
        let notice = self.wrong(guess);
        self.again(notice, Refusal::WrongCode)
    }

    /// What is said of a wrong answer; a sent code bears a few.
    fn wrong(&mut self, guess: Guess) -> Notice {
        if let (Guess::Sent(_), Some(live)) = (guess, self.live.as_mut()) {
            live.tries = live.tries.saturating_sub(1);
            if live.tries == 0 {
                self.live = None;
                return Notice::CodeVoid;
            }
        }
        Notice::WrongCode
    }

    /// One guess less: asks again, or refuses when none is left.
    pub(super) fn again(&mut self, notice: Notice, refusal: Refusal) -> Step {
        self.guesses = self.guesses.saturating_add(1);
        if self.guesses < self.policy.limits.prompts {
            return self.ask(Some(notice));
        }
        match (&self.subject, refusal) {
            (_, Refusal::Fake) | (Subject::Enrolled(_), _) => self.refuse(refusal),
            (Subject::Decoy(reason, _), _) => self.refuse(*reason),
        }
    }

    /// No guess at all.
    fn blank(&mut self, notice: Option<Notice>) -> Step {
        self.blanks = self.blanks.saturating_add(1);
        if self.blanks < MAX_BLANKS { self.ask(notice) } else { self.refuse(Refusal::Blank) }
    }
}

/// An app that nobody has: what a decoy's codes are compared with, for the time it takes.
fn decoy_app() -> App {
    App {
        id: 0,
        label: String::new(),
        secret: code::Secret::new([0; code::NEW_SECRET_BYTES]),
        shape: code::Shape { algorithm: code::Algorithm::Sha1, digits: 6, step: 30 },
        added: 0,
    }
}
