//! Trusted devices: a login from one is asked for no code, and one that proved a code may make one.

use super::{Admission, Login, Notice, Prompt, Stage, Step, Verdict};
use crate::account::{Change, Claim, Proof, State};

impl Login<'_> {
    /// The claim of this login, while the policy trusts devices for as long as it says.
    fn claim(&self) -> Option<&Claim> {
        self.request.claim.as_ref().filter(|claim| self.policy.trust.duration == Some(claim.duration))
    }

    /// The claim of this login, when `state` says that it holds.
    pub(super) fn trusted(&self, state: &State, now: u64) -> Option<(Proof, Admission)> {
        let claim = self.claim()?;
        let until = state.trusted(claim, now)?.until;
        Some((Proof::Trusted(claim.clone()), Admission::Trusted { until }))
    }

    /// After a code, and only then: what else admits is there the next time too, or must not be needed less often.
    pub(super) fn may_trust(&self, admission: &Admission) -> Option<&Claim> {
        let by_code = matches!(admission, Admission::App { .. } | Admission::Sent { .. });
        self.claim().filter(|_| by_code)
    }

    pub(super) fn offer_trust(&mut self, admission: Admission, claim: Claim) -> Step {
        if self.policy.trust.always {
            return self.trust(admission, claim);
        }
        self.prompt = Prompt::Trust { device: claim.device, duration: claim.duration };
        let step = self.ask(None);
        self.stage = Stage::Offering(admission);
        step
    }

    pub(super) fn offered(&mut self, admission: Admission, accepted: bool) -> Step {
        match self.claim().filter(|_| accepted).cloned() {
            Some(claim) => self.trust(admission, claim),
            None => Step::Finish { notice: None, verdict: Verdict::Admit(admission) },
        }
    }

    fn trust(&mut self, admission: Admission, claim: Claim) -> Step {
        self.stage = Stage::Trusting(admission);
        Step::Commit(Change::Trust(claim))
    }

    /// The factor is proven, whatever became of the trust.
    pub(super) fn trusting(&self, admission: Admission, state: Option<&State>, now: u64) -> Step {
        let known = self.claim().zip(state).and_then(|(claim, state)| state.trusted(claim, now));
        let notice = known.map(|known| Notice::Trusted { device: known.device.clone(), until: known.until });
        Step::Finish { notice, verdict: Verdict::Admit(admission) }
    }
}
