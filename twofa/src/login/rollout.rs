//! The roll-out: users without a factor are let in before a date, and for some days after their first login behind it.
//! Only who never had a factor is: nobody gets rid of one by it.

use super::{Admission, Login, Notice, Refusal, Stage, Step, Verdict};
use crate::account::{Account, Change, State};
use crate::policy::{Mode, Policy};

/// What a roll-out says of a user without a factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nobody is refused before then.
    NotYet {
        from: u64,
    },
    /// For some days from the first login on.
    Grace,
    Over,
}

impl Policy {
    /// Where the roll-out stands for somebody with this account, or none.
    pub fn phase(&self, account: Option<&Account>, now: u64) -> Phase {
        let had_none = account.is_none_or(|account| account.factors.prove_nothing());
        if !had_none || !self.clock_is_sound(now) {
            return Phase::Over;
        }
        match &self.rollout {
            rollout if now < rollout.from => Phase::NotYet { from: rollout.from },
            rollout if rollout.grace > 0 => Phase::Grace,
            _ => Phase::Over,
        }
    }
}

impl Login<'_> {
    /// A user whom the store does not know, or knows without a factor.
    pub(super) fn meet_unenrolled(&mut self, account: Option<&Account>, decoy: u16, now: u64) -> Step {
        // Observe mode says of everybody what enforcement would.
        let phase = self.policy.phase(account, now);
        match phase {
            Phase::NotYet { from } if self.policy.mode == Mode::Enforce => {
                let notice = Some(Notice::NotYet { from });
                Step::Finish { notice, verdict: Verdict::Admit(Admission::NotYet { from }) }
            }
            // Whoever only knows a name starts no grace, and none ends for want of a password.
            Phase::Grace if self.policy.mode == Mode::Enforce && self.has_first_factor() => {
                self.stage = Stage::Granting(decoy);
                Step::Commit(Change::Grace)
            }
            _ => self.meet_nobody(Refusal::NotEnrolled, decoy, now),
        }
    }

    /// Whoever gets as far as the account phase has shown one to somebody.
    fn has_first_factor(&self) -> bool {
        self.request.first_factor || self.account_phase
    }

    /// The days have begun, now or long ago.
    pub(super) fn granted(&mut self, decoy: u16, state: &State, now: u64) -> Step {
        match state.grace_until(self.policy.rollout.grace, now) {
            Some(until) => {
                let notice = Some(Notice::Grace { until });
                Step::Finish { notice, verdict: Verdict::Admit(Admission::Grace { until }) }
            }
            None => self.meet_nobody(Refusal::NotEnrolled, decoy, now),
        }
    }
}
