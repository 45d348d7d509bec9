//! What a user set up in the login itself, before it counts.

use super::{Account, App, Change, Conflict, Limits, Proof, Source, State};
use crate::code::{RecoverySet, Secret, Shape, Tag};
use crate::contact::{Confirmable, Number};

/// What was set up. It is kept once the whole login is through: a module cannot know whether the password that
/// was typed before its turn was right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Enrolment {
    pub app: Option<NewApp>,
    pub phone: Option<NewPhone>,
}

/// An app whose code was typed back, with recovery codes that are said to be saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewApp {
    pub secret: Secret,
    pub shape: Shape,
    /// The time step of that code, which opens no login.
    pub step: u64,
    pub recovery: RecoverySet,
}

/// A number that a code came back from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPhone {
    pub number: Number,
    pub tag: Tag,
}

impl NewApp {
    /// The first app of a user.
    pub const LABEL: &str = "app";
}

impl Enrolment {
    pub fn is_empty(&self) -> bool {
        self.app.is_none() && self.phone.is_none()
    }

    /// Makes the user's first factors of it, and returns what was kept. A number whose code is no longer the last one
    /// that was sent takes no app with it.
    ///
    /// # Errors
    ///
    /// When the user has a factor meanwhile, or there was only that number: then nothing is kept.
    pub fn keep(
        &self,
        account: &mut Account,
        state: &mut State,
        limits: &Limits,
        now: u64,
    ) -> Result<Self, Conflict> {
        let mut kept = self.clone();
        let (mut factors, mut next) = (account.factors.clone(), state.clone());
        if !factors.prove_nothing() {
            return Err(Conflict::Changed);
        }
        if let Some(NewApp { secret, shape, step, recovery }) = self.app.clone() {
            factors.apps.push(App { id: 0, label: NewApp::LABEL.into(), secret, shape, added: now });
            factors.recovery = Some(recovery);
            next.set_last_step(0, step);
            next.renew_recovery();
        }
        if let Some(NewPhone { number, tag }) = self.phone.clone() {
            let proof = Proof::Sent(tag);
            let proven = next.apply(&Change::Prove { proof, source: Source::CONSOLE, typos: 0 }, limits, now);
            match (proven, &factors.phone) {
                (Ok(proven), None) => {
                    next = proven;
                    factors.phone = Some(Confirmable { to: number, confirmed: Some(now) });
                }
                (Err(conflict), _) if self.app.is_none() => return Err(conflict),
                (Ok(_), Some(_)) if self.app.is_none() => return Err(Conflict::Changed),
                _ => kept.phone = None,
            }
        }
        (account.factors, *state) = (factors, next);
        Ok(kept)
    }
}
