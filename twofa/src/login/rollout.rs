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
    /// Some days begin with the first login.
    GraceToCome,
    /// They have begun, and end then.
    Grace {
        until: u64,
    },
    Over,
}

impl Policy {
    /// Where the roll-out stands for somebody with this account, or none.
    pub fn phase(&self, known: Option<(&Account, &State)>, now: u64) -> Phase {
        let had_none =
            |(account, state): (&Account, &State)| account.factors.prove_nothing() && !state.had_factor();
        let had_none = known.is_none_or(had_none);
        if !had_none || !self.clock_is_sound(now) {
            return Phase::Over;
        }
        let days = self.rollout.grace;
        // What was seen to be over stays over when the clock is set back.
        let seen = known.map_or(now, |(_, state)| state.seen.max(now));
        match known.map(|(_, state)| state).filter(|state| state.has_grace_begun()) {
            _ if seen < self.rollout.from => Phase::NotYet { from: self.rollout.from },
            None if days > 0 => Phase::GraceToCome,
            Some(state) => state.grace_until(days, now).map_or(Phase::Over, |until| Phase::Grace { until }),
            None => Phase::Over,
        }
    }
}

impl Login<'_> {
    /// A user whom the store does not know, or knows without a factor.
    pub(super) fn meet_unenrolled(
        &mut self,
        known: Option<(&Account, &State)>,
        decoy: u16,
        now: u64,
    ) -> Step {
        self.has_phone = known.is_some_and(|(account, _)| account.factors.phone.is_some());
        let has_begun = known.is_some_and(|(_, state)| state.has_grace_begun());
        self.grace_to_come = if has_begun { 0 } else { self.policy.rollout.grace };
        // What is seen to end has ended, also for a clock that is set back later: that is written down first.
        let ended = |(_, state): (&Account, &State)| state.has_ended_unseen(self.policy.rollout.grace, now);
        if self.has_first_factor() && self.policy.clock_is_sound(now) && known.is_some_and(ended) {
            self.stage = Stage::Registering;
            return Step::Commit(Change::Register);
        }
        match (self.policy.phase(known, now), self.policy.mode) {
            (Phase::NotYet { from }, _) => self.offer_set_up(Admission::NotYet { from }),
            // Whoever only knows a name starts no grace, and none ends for want of a password.
            (Phase::GraceToCome | Phase::Grace { .. }, _) if !self.has_first_factor() => {
                self.meet_nobody(Refusal::NotEnrolled, decoy, now)
            }
            // The days are those of enforcement.
            (Phase::GraceToCome, Mode::Observe) => {
                let until = now.saturating_add(self.policy.rollout.grace);
                self.offer_set_up(Admission::Grace { until })
            }
            (Phase::Grace { until }, Mode::Observe) => self.offer_set_up(Admission::Grace { until }),
            (Phase::GraceToCome | Phase::Grace { .. }, _) => {
                self.stage = Stage::Granting(decoy);
                Step::Commit(Change::Grace)
            }
            (Phase::Over, _) => self.meet_nobody(Refusal::NotEnrolled, decoy, now),
        }
    }

    /// Whether this login needs no proof.
    pub(super) fn lets_in(&self, known: (&Account, &State), now: u64) -> bool {
        match self.policy.phase(Some(known), now) {
            Phase::NotYet { .. } => true,
            Phase::GraceToCome | Phase::Grace { .. } => self.has_first_factor(),
            Phase::Over => false,
        }
    }

    /// The days have begun, now or long ago.
    pub(super) fn granted(&mut self, decoy: u16, state: &State, now: u64) -> Step {
        match state.grace_until(self.policy.rollout.grace, now) {
            Some(until) => self.offer_set_up(Admission::Grace { until }),
            None => self.meet_nobody(Refusal::NotEnrolled, decoy, now),
        }
    }

    /// Whoever gets as far as the account phase has shown one to somebody.
    fn has_first_factor(&self) -> bool {
        self.request.first_factor || self.account_phase
    }

    /// Let in without a factor, and told so.
    pub(super) fn let_in(&mut self, admission: Admission, notice: Option<Notice>) -> Step {
        Step::Finish { notice, verdict: Verdict::Admit(admission) }
    }
}
