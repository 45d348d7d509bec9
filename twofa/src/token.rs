//! Credentials of security keys (U2F, FIDO2) as values; what is not one cannot be read back.

use crate::code::Secret;
use serde::{Deserialize, Serialize};

/// WebAuthn, section 4: a credential ID has at most 1023 bytes.
const MAX_ID: usize = 1023;
/// U2F raw messages: the length of a key handle is one byte.
const MAX_HANDLE: usize = 255;
/// DNS names are no longer, and an AppID is not meant to be.
const MAX_RP_ID: usize = 253;

/// What a security key keeps for one relying party, and what it takes to know it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "UncheckedCredential")]
pub struct Credential {
    /// Whom it was made for; U2F calls it the AppID.
    pub rp_id: String,
    /// U2F calls it the key handle.
    pub id: Vec<u8>,
    pub public: PublicKey,
    pub protocol: Protocol,
    /// User verification (the key's PIN) is required, besides presence.
    pub verify: bool,
}

/// The keys that are accepted, by their COSE algorithms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "UncheckedKey")]
pub enum PublicKey {
    /// A point of P-256: 65 bytes, uncompressed.
    Es256(Vec<u8>),
    /// 32 bytes.
    Ed25519(Vec<u8>),
}

/// How the credential was made, and has to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// CTAP1
    U2f,
    /// CTAP2
    Fido2,
}

impl Credential {
    /// Whether there can be such a credential.
    pub fn is_valid(&self) -> bool {
        let fits = self.protocol == Protocol::Fido2 || self.is_for_u2f();
        let id = (1..=MAX_ID).contains(&self.id.len());
        fits && id && is_rp_id(&self.rp_id) && self.public.is_valid()
    }

    /// Whether a key that knows only U2F can have it: also one that was made by way of CTAP2 (CTAP 2.0, 7.2).
    pub fn is_for_u2f(&self) -> bool {
        self.id.len() <= MAX_HANDLE && matches!(self.public, PublicKey::Es256(_)) && !self.verify
    }
}

/// Whether a relying party can be called that.
pub fn is_rp_id(text: &str) -> bool {
    (1..=MAX_RP_ID).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

impl PublicKey {
    fn is_valid(&self) -> bool {
        match self {
            // SEC 1, section 2.3.3. Whether it is on the curve, whoever checks a signature finds out.
            Self::Es256(point) => point.len() == 65 && point.first() == Some(&4),
            Self::Ed25519(key) => key.len() == 32,
        }
    }
}

#[derive(Deserialize)]
struct UncheckedCredential {
    rp_id: String,
    id: Vec<u8>,
    public: PublicKey,
    protocol: Protocol,
    verify: bool,
}

impl TryFrom<UncheckedCredential> for Credential {
    type Error = &'static str;

    fn try_from(read: UncheckedCredential) -> Result<Self, Self::Error> {
        let UncheckedCredential { rp_id, id, public, protocol, verify } = read;
        let credential = Self { rp_id, id, public, protocol, verify };
        credential.is_valid().then_some(credential).ok_or("not a credential")
    }
}

#[derive(Deserialize)]
enum UncheckedKey {
    Es256(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl TryFrom<UncheckedKey> for PublicKey {
    type Error = &'static str;

    fn try_from(read: UncheckedKey) -> Result<Self, Self::Error> {
        let key = match read {
            UncheckedKey::Es256(bytes) => Self::Es256(bytes),
            UncheckedKey::Ed25519(bytes) => Self::Ed25519(bytes),
        };
        key.is_valid().then_some(key).ok_or("not a public key")
    }
}

/// The kernel's number for something that is plugged in (`/dev/hidraw0`).
pub type Device = u32;

/// What is asked of a security key: that it is there, has one of these credentials, and is touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touch {
    /// Credentials of others are passed over.
    pub rp_id: String,
    pub challenge: [u8; 32],
    pub credentials: Vec<Credential>,
    /// Of the key at this device, which asked for it: a PIN goes to no other, where it would be a wrong one.
    pub pin: Option<(Secret, Device)>,
    /// Seconds, for all of it; 60 at most.
    pub time: u8,
}

impl Touch {
    /// The credentials that a key may use, by their place in the job.
    pub fn candidates(&self) -> impl Iterator<Item = (usize, &Credential)> {
        self.credentials.iter().enumerate().filter(|(_, credential)| credential.rp_id == self.rp_id)
    }
}

/// What came of a [`Touch`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Touched {
    /// Which credential of the job, and its counter; whether the counter has grown, only the store can tell.
    Signed {
        credential: usize,
        counter: u32,
    },
    /// Nothing is plugged in.
    NoKey,
    /// What is plugged in has none of the credentials.
    NotEnrolled,
    Denied,
    TimedOut,
    /// By the key at this device.
    PinRequired(Device),
    /// By several: which of them is meant, nobody can know.
    SeveralKeys,
    WrongPin {
        left: Option<u8>,
    },
    /// Too many wrong PINs in a row: until it is plugged in again.
    PinPaused,
    /// Too many wrong PINs: for ever.
    PinBlocked,
    /// It was unplugged.
    Gone,
    /// It answered, and the answer proves nothing: why.
    Lied(String),
    Failed(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point() -> Vec<u8> {
        [vec![4], vec![7; 64]].concat()
    }

    fn credential() -> Credential {
        Credential {
            rp_id: "pam_twofa:example".into(),
            id: vec![1; 64],
            public: PublicKey::Es256(point()),
            protocol: Protocol::Fido2,
            verify: true,
        }
    }

    #[test]
    fn only_what_can_be_a_credential_is_read_back() {
        let right = [
            credential(),
            Credential { id: vec![1], ..credential() },
            Credential { id: vec![1; 1023], ..credential() },
            Credential { public: PublicKey::Ed25519(vec![0; 32]), ..credential() },
            Credential { protocol: Protocol::U2f, verify: false, id: vec![1; 255], ..credential() },
            Credential { rp_id: "x".repeat(253), ..credential() },
        ];
        let u2f = Credential { protocol: Protocol::U2f, verify: false, ..credential() };
        let compressed = [vec![3], vec![7; 64]].concat();
        let wrong = [
            Credential { id: vec![], ..credential() },
            Credential { id: vec![1; 1024], ..credential() },
            Credential { public: PublicKey::Es256(vec![]), ..credential() },
            Credential { public: PublicKey::Es256(point()[..64].to_vec()), ..credential() },
            Credential { public: PublicKey::Es256([point(), vec![0]].concat()), ..credential() },
            Credential { public: PublicKey::Es256(compressed), ..credential() },
            Credential { public: PublicKey::Ed25519(vec![0; 31]), ..credential() },
            Credential { public: PublicKey::Ed25519(vec![0; 33]), ..credential() },
            Credential { id: vec![1; 256], ..u2f.clone() },
            Credential { verify: true, ..u2f.clone() },
            Credential { public: PublicKey::Ed25519(vec![0; 32]), ..u2f },
            Credential { rp_id: String::new(), ..credential() },
            Credential { rp_id: "x".repeat(254), ..credential() },
            Credential { rp_id: "a b".into(), ..credential() },
            Credential { rp_id: "a\nb".into(), ..credential() },
            Credential { rp_id: "\u{e4}".into(), ..credential() },
        ];
        let read = |credential: &Credential| {
            let bytes = postcard::to_allocvec(credential).unwrap();
            postcard::from_bytes::<Credential>(&bytes)
        };
        for credential in right {
            assert_eq!(read(&credential).as_ref(), Ok(&credential));
            assert!(credential.is_valid());
        }
        for credential in wrong {
            assert!(read(&credential).is_err() && !credential.is_valid(), "{credential:?}");
        }
        for key in [PublicKey::Ed25519(vec![0; 31]), PublicKey::Es256(vec![4; 64])] {
            let bytes = postcard::to_allocvec(&key).unwrap();
            assert!(postcard::from_bytes::<PublicKey>(&bytes).is_err(), "{key:?}");
        }
    }
}
