//! Security keys through `twofa-helper`: what is asked of them, and what came of it.

use super::{Error, exchange};
use crate::code::Secret;
use crate::token::Credential;
pub use crate::token::{Touch, Touched};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

/// Nobody waits longer for a touch, in seconds.
pub const MAX_TIME: u8 = 60;
/// Beyond the time for the touch: to start everything, and to end it.
const PATIENCE: Duration = Duration::from_secs(8);
/// Of what the log gets to read.
const MAX_REASON: usize = 160;

/// A new credential. The key has to be touched twice: to make it, and to prove that it works.
#[derive(Serialize, Deserialize)]
pub struct Registration {
    pub rp_id: String,
    pub user: String,
    pub challenge: [u8; 32],
    /// A key that has one of these is not taken.
    pub exclude: Vec<Credential>,
    pub pin: Option<Secret>,
    /// Seconds, for all of it; 60 at most.
    pub time: u8,
}

/// What came of a [`Registration`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Registered {
    /// It has proven possession. With a PIN, `verify` is set; the caller may waive that.
    Credential(Credential),
    /// Nothing is plugged in.
    NoKey,
    /// Which of them is meant, nobody can know.
    SeveralKeys,
    AlreadyRegistered,
    Denied,
    TimedOut,
    PinRequired,
    WrongPin {
        left: Option<u8>,
    },
    PinPaused,
    PinBlocked,
    Gone,
    /// It answered, and the answer proves nothing: why.
    Lied(String),
    Failed(String),
}

/// A job for `twofa-helper token`.
#[derive(Serialize, Deserialize)]
pub enum Ask {
    Touch(Touch),
    Register(Registration),
}

/// The same without owning it.
#[derive(Serialize)]
enum Asked<'a> {
    Touch(&'a Touch),
    Register(&'a Registration),
}

/// Waits until a security key that is plugged in here has been touched.
///
/// # Errors
///
/// When the helper cannot be trusted or started, or does not report in time.
pub fn touch(helper: &Path, touch: &Touch) -> Result<Touched, Error> {
    credible(touch, exchange(helper, "token", &Asked::Touch(touch), patience(touch.time))?)
}

fn credible(touch: &Touch, touched: Touched) -> Result<Touched, Error> {
    match touched {
        Touched::Signed { credential, .. } if credential >= touch.credentials.len() => {
            Err(Error::NoReport("it names a credential that was not asked for".into()))
        }
        Touched::Lied(why) => Ok(Touched::Lied(cut(&why))),
        Touched::Failed(why) => Ok(Touched::Failed(cut(&why))),
        touched => Ok(touched),
    }
}

/// Has the one security key that is plugged in here make a credential, and prove that it works.
///
/// # Errors
///
/// As [`touch`].
pub fn register(helper: &Path, registration: &Registration) -> Result<Registered, Error> {
    let patience = patience(registration.time);
    credible_new(registration, exchange(helper, "token", &Asked::Register(registration), patience)?)
}

fn credible_new(registration: &Registration, registered: Registered) -> Result<Registered, Error> {
    match registered {
        Registered::Credential(credential) if credential.rp_id != registration.rp_id => {
            Err(Error::NoReport("it made a credential for somebody else".into()))
        }
        Registered::Lied(why) => Ok(Registered::Lied(cut(&why))),
        Registered::Failed(why) => Ok(Registered::Failed(cut(&why))),
        registered => Ok(registered),
    }
}

fn patience(time: u8) -> Duration {
    Duration::from_secs(time.min(MAX_TIME).into()) + PATIENCE
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_REASON).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{Protocol, PublicKey};

    #[test]
    fn the_borrowed_job_reads_as_the_owned_one() {
        let touch = Touch {
            rp_id: "rp".into(),
            challenge: [7; 32],
            credentials: vec![],
            pin: Some((Secret::new(*b"1234"), 0)),
            time: 30,
        };
        let bytes = postcard::to_allocvec(&Asked::Touch(&touch)).unwrap();
        let Ask::Touch(read) = postcard::from_bytes(&bytes).unwrap() else { panic!("not a touch") };
        assert_eq!((read.rp_id.as_str(), read.challenge, read.time), ("rp", [7; 32], 30));
        assert_eq!(read.pin, touch.pin);
        let registration = Registration {
            rp_id: "rp".into(),
            user: "alice".into(),
            challenge: [7; 32],
            exclude: vec![],
            pin: None,
            time: 30,
        };
        let bytes = postcard::to_allocvec(&Asked::Register(&registration)).unwrap();
        assert!(matches!(postcard::from_bytes(&bytes).unwrap(), Ask::Register(read) if read.user == "alice"));
    }

    #[test]
    fn a_report_is_about_what_was_asked() {
        let credential = Credential {
            rp_id: "rp".into(),
            id: vec![1],
            public: PublicKey::Ed25519(vec![0; 32]),
            protocol: Protocol::Fido2,
            verify: false,
        };
        let (rp_id, challenge) = ("rp".to_owned(), [7; 32]);
        let credentials = vec![credential.clone(); 2];
        let touch = Touch { rp_id: rp_id.clone(), challenge, credentials, pin: None, time: 30 };
        for (place, is_credible) in [(0, true), (1, true), (2, false), (usize::MAX, false)] {
            let signed = Touched::Signed { credential: place, counter: 7 };
            assert_eq!(credible(&touch, signed).is_ok(), is_credible, "{place}");
        }
        let user = "alice".into();
        let registration = Registration { rp_id, user, challenge, exclude: vec![], pin: None, time: 30 };
        let other = Credential { rp_id: "another".into(), ..credential.clone() };
        assert!(credible_new(&registration, Registered::Credential(credential)).is_ok());
        assert!(credible_new(&registration, Registered::Credential(other)).is_err());
        for (long, short) in [
            (Touched::Lied("x\n".repeat(500)), Touched::Lied("x".repeat(160))),
            (Touched::Failed("x\n".repeat(500)), Touched::Failed("x".repeat(160))),
        ] {
            assert_eq!(credible(&touch, long).ok(), Some(short));
        }
        for (long, short) in [
            (Registered::Lied("x\n".repeat(500)), Registered::Lied("x".repeat(160))),
            (Registered::Failed("x\n".repeat(500)), Registered::Failed("x".repeat(160))),
        ] {
            assert_eq!(credible_new(&registration, long).ok(), Some(short));
        }
    }

    #[test]
    fn nobody_waits_longer_than_a_minute_and_the_rest() {
        assert_eq!([0, 30, 255].map(|time| patience(time).as_secs()), [8, 38, 68]);
    }

    #[test]
    fn reasons_are_cut_and_harmless() {
        assert_eq!(cut("a\nb\x1b[31m\u{9b}c"), "ab[31mc");
        assert_eq!(cut(&"\u{e4}".repeat(1000)).chars().count(), 160);
    }
}
