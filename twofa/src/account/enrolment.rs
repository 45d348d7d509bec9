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
            if factors.phone.is_some() {
                return Err(Conflict::Changed);
            }
            let proof = Proof::Sent(tag);
            let proven = next.apply(&Change::Prove { proof, source: Source::CONSOLE, typos: 0 }, limits, now);
            match proven {
                Ok(proven) => {
                    next = proven;
                    factors.phone = Some(Confirmable { to: number, confirmed: Some(now) });
                }
                Err(conflict) if self.app.is_none() => return Err(conflict),
                Err(_) => kept.phone = None,
            }
        }
        (account.factors, *state) = (factors, next);
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{Factors, Guess, Key, SendLimits, Spent, SshKey};
    use crate::code::{Algorithm, format_recovery};
    use crate::token::{Credential, Protocol, PublicKey};
    use zeroize::Zeroizing;

    const NOW: u64 = 1_795_298_625;
    const SENDS: SendLimits = SendLimits { pause: 60, login: 3, hour: 5, day: 10, host: 100 };
    const LIMITS: Limits = Limits { prompts: 3, failures: 5, window: 900, total: 50, sends: SENDS };
    const SHAPE: Shape = Shape { algorithm: Algorithm::Sha1, digits: 6, step: 30 };
    const STEP: u64 = NOW / 30;
    const TAG: Tag = [7; 32];

    fn recovery(set: u8) -> RecoverySet {
        let codes: Vec<Zeroizing<String>> =
            (0..10).map(|code| format_recovery(&[set * 16 + code; 15])).collect();
        RecoverySet::new(Secret::new([set; 32]), &codes)
    }

    fn app() -> NewApp {
        NewApp { secret: Secret::new([1; 20]), shape: SHAPE, step: STEP, recovery: recovery(1) }
    }

    fn number(last: u8) -> Number {
        Number::parse(&format!("+4860000012{last}"), None).unwrap()
    }

    fn phone() -> NewPhone {
        NewPhone { number: number(3), tag: TAG }
    }

    fn with_app() -> Enrolment {
        Enrolment { app: Some(app()), phone: None }
    }

    fn with_phone() -> Enrolment {
        Enrolment { app: None, phone: Some(phone()) }
    }

    fn with_both() -> Enrolment {
        Enrolment { app: Some(app()), phone: Some(phone()) }
    }

    fn account(factors: Factors) -> Account {
        Account { user: "alice".into(), uid: 1001, generation: 7, factors }
    }

    /// A code with this tag was sent a minute ago.
    fn sent(tag: Tag) -> State {
        let source = Source::new(Some([192, 0, 2, 7].into()));
        let send = Change::Send { tag, valid_for: 300, source, number: None, earlier: 0 };
        State::default().apply(&send, &LIMITS, NOW - 60).unwrap()
    }

    fn confirmed(number: Number) -> Option<Confirmable<Number>> {
        Some(Confirmable { to: number, confirmed: Some(NOW) })
    }

    fn key() -> Key {
        let public = PublicKey::Ed25519(vec![1; 32]);
        let (rp_id, protocol) = ("twofa.example".into(), Protocol::Fido2);
        let credential = Credential { rp_id, id: vec![1], public, protocol, verify: false };
        Key { id: 1, label: "key".into(), credential, has_pin: false, added: 0 }
    }

    fn ssh_key() -> SshKey {
        let fields = [&b"sk-ssh-ed25519@openssh.com"[..], &[1; 32], b"ssh:"];
        let length = |field: &[u8]| u32::try_from(field.len()).unwrap().to_be_bytes();
        let blob: Vec<u8> = fields.iter().flat_map(|field| [&length(field)[..], field].concat()).collect();
        let key = postcard::from_bytes(&postcard::to_allocvec(&blob).unwrap()).unwrap();
        SshKey { label: "ssh".into(), key, added: 0 }
    }

    #[test]
    fn what_was_set_up_becomes_the_first_factors() {
        let kept_app = App { id: 0, label: "app".into(), secret: app().secret, shape: SHAPE, added: NOW };
        let has_app = Factors { apps: vec![kept_app], recovery: Some(recovery(1)), ..Factors::default() };
        let table = [
            ("nothing", Enrolment::default(), Factors::default()),
            ("app", with_app(), has_app.clone()),
            ("phone", with_phone(), Factors { phone: confirmed(number(3)), ..Factors::default() }),
            ("both", with_both(), Factors { phone: confirmed(number(3)), ..has_app }),
        ];
        for (what, enrolment, expected) in table {
            assert_eq!(enrolment.is_empty(), what == "nothing", "{what}");
            let (mut account, mut state) = (account(Factors::default()), sent(TAG));
            enrolment.keep(&mut account, &mut state, &LIMITS, NOW).unwrap();
            assert_eq!(account.factors, expected, "{what}");
            assert_eq!((account.uid, account.generation), (1001, 7), "{what}");
        }
    }

    /// What a user has besides stays: addresses, a number that no code was sent to now.
    #[test]
    fn what_is_no_factor_is_left_alone() {
        let phone = Some(Confirmable { to: number(4), confirmed: None });
        let before = Factors { phone: phone.clone(), ..Factors::default() };
        let (mut account, mut state) = (account(before), State::default());
        with_app().keep(&mut account, &mut state, &LIMITS, NOW).unwrap();
        assert_eq!((account.factors.phone, account.factors.apps.len()), (phone, 1));
    }

    #[test]
    fn the_codes_that_proved_it_open_no_login() {
        let (mut account, mut state) = (account(Factors::default()), sent(TAG));
        // Of an app that was removed, whose number this one gets.
        state.set_last_step(0, STEP + 100);
        with_both().keep(&mut account, &mut state, &LIMITS, NOW).unwrap();
        let prove = |proof| Change::Prove { proof, source: Source::CONSOLE, typos: 0 };
        let of_app = |step| prove(Proof::App(vec![Spent { app: 0, step }]));
        for step in [STEP - 1, STEP] {
            assert_eq!(state.apply(&of_app(step), &LIMITS, NOW), Err(Conflict::Used), "{step}");
        }
        assert!(state.apply(&of_app(STEP + 1), &LIMITS, NOW).is_ok());
        assert_eq!(state.apply(&prove(Proof::Sent(TAG)), &LIMITS, NOW), Err(Conflict::Superseded));
    }

    /// A reset leaves none; an app that was removed alone does.
    #[test]
    fn recovery_codes_are_new_ones() {
        let before = Factors { recovery: Some(recovery(2)), ..Factors::default() };
        let (mut account, mut state) = (account(before), State::default());
        for position in [0, 1, 9] {
            let proof = Proof::Recovery(position);
            let used = Change::Prove { proof, source: Source::CONSOLE, typos: 0 };
            state = state.apply(&used, &LIMITS, NOW).unwrap();
        }
        with_app().keep(&mut account, &mut state, &LIMITS, NOW).unwrap();
        assert_eq!((account.factors.recovery, state.recovery_left(10)), (Some(recovery(1)), 10));
    }

    /// Who has a factor meanwhile has not seen this one being set up.
    #[test]
    fn what_cannot_be_kept_changes_nothing() {
        let none = Factors::default;
        let kept_app = App { id: 3, label: "phone".into(), secret: app().secret, shape: SHAPE, added: 0 };
        let has_app = Factors { apps: vec![kept_app], ..none() };
        let has_key = Factors { keys: vec![key()], ..none() };
        let has_ssh_key = Factors { ssh_keys: vec![ssh_key()], ..none() };
        let has_phone = Factors { phone: Some(Confirmable { to: number(4), confirmed: None }), ..none() };
        let guess = Change::Fail { guess: Guess::Code, source: Source::CONSOLE };
        let locked = (0..5).fold(sent(TAG), |state, _| state.apply(&guess, &LIMITS, NOW).unwrap());
        let lock = Conflict::Locked(crate::account::Lock::Address(NOW + 900));
        let table = [
            ("an app meanwhile", with_app(), has_app.clone(), sent(TAG), NOW, Conflict::Changed),
            ("a key meanwhile", with_app(), has_key.clone(), sent(TAG), NOW, Conflict::Changed),
            ("an SSH key meanwhile", with_app(), has_ssh_key, sent(TAG), NOW, Conflict::Changed),
            ("an app, and a phone to add", with_phone(), has_app, sent(TAG), NOW, Conflict::Changed),
            ("a key, and a phone to add", with_phone(), has_key, sent(TAG), NOW, Conflict::Changed),
            ("a phone meanwhile", with_phone(), has_phone.clone(), sent(TAG), NOW, Conflict::Changed),
            ("a phone meanwhile, and an app", with_both(), has_phone, sent(TAG), NOW, Conflict::Changed),
            ("too late", with_phone(), none(), sent(TAG), NOW + 240, Conflict::Expired),
            ("another code", with_phone(), none(), sent([8; 32]), NOW, Conflict::Superseded),
            ("no code", with_phone(), none(), State::default(), NOW, Conflict::Superseded),
            ("a lock", with_phone(), none(), locked, NOW, lock),
        ];
        for (what, enrolment, factors, state, now, conflict) in table {
            let (mut account, mut after) = (account(factors.clone()), state.clone());
            assert_eq!(enrolment.keep(&mut account, &mut after, &LIMITS, now), Err(conflict), "{what}");
            assert_eq!((account.factors, after), (factors, state), "{what}");
        }
        let (mut whole, mut state) = (account(none()), sent(TAG));
        assert_eq!(with_both().keep(&mut whole, &mut state, &LIMITS, NOW + 239), Ok(with_both()));
    }

    /// Its recovery codes are saved by then.
    #[test]
    fn a_number_that_comes_to_nothing_takes_no_app_with_it() {
        for (state, now) in [(sent(TAG), NOW + 240), (sent([8; 32]), NOW), (State::default(), NOW)] {
            let (mut account, mut after) = (account(Factors::default()), state);
            assert_eq!(with_both().keep(&mut account, &mut after, &LIMITS, now), Ok(with_app()));
            assert_eq!((account.factors.apps.len(), account.factors.phone), (1, None));
            assert!(after.last_step(0).is_some());
        }
    }
}
