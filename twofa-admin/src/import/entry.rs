//! What a file of another module has for a user, and what can become of it.

use serde::Serialize;
use twofa::code::{MAX_SECRET_BYTES, MIN_SECRET_BYTES, Secret, Shape};
use twofa::token::Credential;

pub(super) const UNKNOWN_USE: &str = "Where nothing says which codes were used, all that would be taken now count as used: the next new one opens.";
pub(super) const NO_HOTP: &str =
    "Counter based tokens (HOTP) are not taken: enroll an app with `twofa-admin enroll app NAME`.";
const ENROLL_APP: &str =
    "Secrets below 128 bits (RFC 4226) are not taken: enroll anew with `twofa-admin enroll app NAME`.";
pub(super) const ENROLL_KEY: &str =
    "RSA keys are not taken: enroll another with `twofa-admin enroll key NAME`.";

/// The time, and how many steps the policy lets a phone's clock be off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(super) time: u64,
    pub(super) skew: u8,
}

/// What a line of a file has for a user.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(super) line: usize,
    pub(super) user: String,
    pub(super) what: String,
    pub(super) fate: Fate,
    /// A factor, not a setting beside one.
    pub(super) is_factor: bool,
}

/// What can become of it.
#[derive(Debug)]
pub(crate) enum Fate {
    /// `last` is the newest time step that counts as used.
    App {
        secret: Secret,
        shape: Shape,
        last: Option<u64>,
        advice: Option<String>,
    },
    Key {
        credential: Credential,
        has_pin: bool,
    },
    /// It stays where it is.
    Not {
        result: Verdict,
        why: String,
        advice: Option<String>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Taken,
    Weak,
    Refused,
    Already,
}

impl Verdict {
    /// In the table, which is of what is about to be done, or would be.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Taken => "to take",
            Self::Weak => "weak",
            Self::Refused => "REFUSED",
            Self::Already => "already",
        }
    }
}

pub(super) fn refused(why: impl Into<String>, advice: Option<String>) -> Fate {
    Fate::Not { result: Verdict::Refused, why: why.into(), advice }
}

pub(super) fn weak(why: impl Into<String>, advice: Option<String>) -> Fate {
    Fate::Not { result: Verdict::Weak, why: why.into(), advice }
}

/// An app, if its secret is one that we take.
pub(super) fn app_fate(secret: Secret, shape: Shape, last: Option<u64>, advice: Option<String>) -> Fate {
    match secret.expose().len() {
        length if length < MIN_SECRET_BYTES => {
            refused(format!("{} bits; 128 are the least", length * 8), Some(ENROLL_APP.into()))
        }
        length if length > MAX_SECRET_BYTES => {
            refused(format!("{} bits; 1024 are the most", length * 8), None)
        }
        _ => Fate::App { secret, shape, last, advice },
    }
}
