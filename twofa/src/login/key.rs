//! Security keys that are plugged into this host. A touch is no guess: it is not charged, and no lock stops it.

use super::{Admission, Login, Notice, Prompt, Stage, Step, Subject};
use crate::account::{Change, Key, Proof};
use crate::code::{Secret, Seed};
use crate::policy::Method;
use crate::token::{Credential, Device, Protocol, PublicKey, Touch, Touched};

/// Seconds that a touch is waited for.
const TOUCH_TIME: u8 = 30;

/// What is waited for.
#[derive(Clone, Debug)]
pub(super) struct Touching {
    /// Number and label of each key that may be touched.
    keys: Vec<(u8, String)>,
    /// At this device, with its PIN.
    with_pin: Option<Device>,
}

impl Login<'_> {
    fn keys(&self) -> &[Key] {
        match &self.subject {
            Subject::Enrolled(account) => &account.factors.keys,
            Subject::Decoy(..) => &[],
        }
    }

    /// Asks all keys at once; nobody's for a credential that no key has. A PIN is asked for only once there is a key
    /// that needs it.
    pub(super) fn touch(&mut self, pin: Option<(Secret, Device)>) -> Step {
        let rules = &self.policy.key;
        let challenge = self.seed.challenge(self.challenges);
        self.challenges = self.challenges.saturating_add(1);
        let verified =
            |credential: Credential| Credential { verify: credential.verify || rules.pin, ..credential };
        let credentials: Vec<_> = match &self.subject {
            Subject::Enrolled(_) => self.keys().iter().map(|key| verified(key.credential.clone())).collect(),
            Subject::Decoy(..) => vec![verified(decoy_credential(&rules.rp_id, self.seed))],
        };
        // Without its PIN no key would blink that needs one.
        let blinks = pin.is_some() || credentials.iter().any(|credential| !credential.verify);
        let notice = blinks.then_some(Notice::TouchKey);
        let keys = self.keys().iter().map(|key| (key.id, key.label.clone())).collect();
        self.stage = Stage::Touching(Touching { keys, with_pin: pin.as_ref().map(|(_, device)| *device) });
        let touch = Touch { rp_id: rules.rp_id.clone(), challenge, credentials, pin, time: TOUCH_TIME };
        Step::Touch { notice, touch }
    }

    pub(super) fn touched(&mut self, touching: &Touching, touched: Touched) -> Step {
        if let (Touched::PinRequired(device), None) = (&touched, touching.with_pin) {
            return self.ask_for_pin(*device, None);
        }
        self.touches = self.touches.saturating_add(1);
        if self.touches >= self.policy.limits.prompts {
            self.drop_keys();
        }
        match touched {
            Touched::Signed { credential, counter } => match touching.keys.get(credential) {
                Some((key, label)) => {
                    self.prove(Proof::Key { key: *key, counter }, Admission::Key { label: label.clone() })
                }
                None => self.no_touch(Notice::KeyRefused),
            },
            Touched::WrongPin { left } => match touching.with_pin {
                Some(device) if self.methods.contains(&Method::Key) => {
                    self.ask_for_pin(device, Some(Notice::WrongPin(left)))
                }
                _ => self.no_touch(Notice::WrongPin(left)),
            },
            Touched::SeveralKeys => self.no_touch(Notice::SeveralKeys),
            Touched::PinPaused => self.no_touch(Notice::PinPaused),
            Touched::PinBlocked => self.no_touch(Notice::PinBlocked),
            Touched::NoKey => self.no_touch(Notice::NoKey),
            Touched::NotEnrolled => self.no_touch(Notice::KeyNotEnrolled),
            Touched::Gone => self.no_touch(Notice::KeyGone),
            Touched::Denied | Touched::TimedOut => self.no_touch(Notice::NotTouched),
            Touched::PinRequired(_) | Touched::Lied(_) => self.no_touch(Notice::KeyRefused),
            Touched::Failed(_) => self.no_touch(Notice::KeyUnusable),
        }
    }

    fn ask_for_pin(&mut self, device: Device, notice: Option<Notice>) -> Step {
        self.pin_for = device;
        self.prompt = Prompt::Pin { or: self.other(Method::Key) };
        self.ask(notice)
    }

    /// This key's counter did not grow.
    pub(super) fn suspend(&mut self, key: u8) -> Step {
        self.stage = Stage::Suspending(key);
        Step::Commit(Change::Suspend(key))
    }

    /// It is asked for no more; others are.
    pub(super) fn suspended(&mut self, key: u8) -> Step {
        if let Subject::Enrolled(account) = &mut self.subject {
            account.factors.keys.retain(|known| known.id != key);
        }
        if self.keys().is_empty() {
            self.drop_keys();
        }
        self.no_touch(Notice::KeySuspended)
    }

    /// The key proved nothing: the other method is asked for when its name is typed, and so is the key once more.
    fn no_touch(&mut self, notice: Notice) -> Step {
        let or = self.other(Method::Key).into_iter();
        let or = or.chain(self.methods.contains(&Method::Key).then_some(Method::Key)).collect();
        self.prompt = Prompt::Recovery { or, resend: false };
        self.ask(Some(notice))
    }

    fn drop_keys(&mut self) {
        self.methods.retain(|method| *method != Method::Key);
    }
}

/// A credential that no key has.
fn decoy_credential(rp_id: &str, seed: &Seed) -> Credential {
    let id = [seed.challenge(u8::MAX), seed.challenge(u8::MAX - 1)].concat();
    let public = PublicKey::Ed25519(seed.challenge(u8::MAX).to_vec());
    Credential { rp_id: rp_id.into(), id, public, protocol: Protocol::Fido2, verify: false }
}
