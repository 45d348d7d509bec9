//! The authenticator itself: what it signs, and the data that it signs with it.

use std::path::Path;

use ciborium::Value;
use ed25519_dalek::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::{PublicKey, SecretKey};

use crate::cbor;
use crate::mode::Lie;
use crate::pin::Agreement;
use crate::secrets::{Algorithm, Hash, Secrets, hash, mac};

/// Flags of authenticator data: user present, user verified, attested credential data.
const UP: u8 = 0x01;
const UV: u8 = 0x04;
const AT: u8 = 0x40;

/// Lives as long as the key is plugged in; the secrets stay.
pub(crate) struct Token {
    pub(crate) secrets: Secrets,
    pub(crate) agreement: Agreement,
    /// The last assertions, for [`Lie::Replay`].
    pub(crate) last_assertion: Option<Vec<u8>>,
    pub(crate) last_u2f: Option<Vec<u8>>,
}

/// What an answer says about the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) present: bool,
    pub(crate) verified: bool,
}

impl Token {
    pub(crate) fn open(state: &Path) -> Self {
        let secrets = Secrets::open(state);
        Self { secrets, agreement: Agreement::new(), last_assertion: None, last_u2f: None }
    }

    /// The private key of a credential, or another one.
    pub(crate) fn private_key(&self, id: &[u8], lie: Option<Lie>) -> Hash {
        let key = self.secrets.private_key(id);
        if lie == Some(Lie::OtherKey) { mac(&key, &[b"another"]) } else { key }
    }

    /// The counter of the next signature.
    pub(crate) fn count(&mut self, lie: Option<Lie>) -> u32 {
        match lie {
            Some(Lie::CounterBack) => self.secrets.counter.saturating_sub(5).max(1),
            Some(Lie::CounterSame) => self.secrets.counter,
            Some(Lie::CounterZero) => 0,
            _ => {
                self.secrets.counter += 1;
                self.secrets.save();
                self.secrets.counter
            }
        }
    }

    /// Authenticator data (WebAuthn 6.1), with attested credential data or without.
    pub(crate) fn auth_data(
        &mut self,
        rp: &Hash,
        user: User,
        attested: Option<&[u8]>,
        lie: Option<Lie>,
    ) -> Vec<u8> {
        let present = user.present && lie != Some(Lie::NoUp);
        let flags = [(present, UP), (user.verified, UV), (attested.is_some(), AT)];
        let flags = flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum();
        let counter = self.count(lie).to_be_bytes();
        let mut data = [&said(rp, lie)[..], &[flags], &counter, attested.unwrap_or_default()].concat();
        if let Some(Lie::AuthData(length)) = lie {
            data.resize(length, 0);
        }
        data
    }
}

/// The relying party that is written into the answer.
pub(crate) fn said(rp: &Hash, lie: Option<Lie>) -> Hash {
    if lie == Some(Lie::WrongRpId) { hash(b"another.example") } else { *rp }
}

/// A signature by the private key of a credential: DER for ECDSA, 64 bytes for Ed25519.
pub(crate) fn sign(key: &Hash, algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
    match algorithm {
        Algorithm::Es256 => {
            let signature: Signature = signing_key(key).sign(message);
            signature.to_der().as_bytes().to_vec()
        }
        Algorithm::EdDsa => ed25519_dalek::SigningKey::from_bytes(key).sign(message).to_bytes().to_vec(),
    }
}

/// The public key of a credential as COSE has it (RFC 9053, 7).
pub(crate) fn public_key(key: &Hash, algorithm: Algorithm) -> Value {
    match algorithm {
        Algorithm::Es256 => p256_in_cose(&signing_key(key).verifying_key().into(), algorithm.number()),
        Algorithm::EdDsa => {
            let point = ed25519_dalek::SigningKey::from_bytes(key).verifying_key().to_bytes();
            cbor::map([(1, 1.into()), (3, algorithm.number().into()), (-1, 6.into()), (-2, bytes(&point))])
        }
    }
}

/// A point of P-256 for this algorithm.
pub(crate) fn p256_in_cose(key: &PublicKey, algorithm: i64) -> Value {
    let point = uncompressed(key);
    let (x, y) = point.get(1..).unwrap_or_default().split_at(32);
    cbor::map([(1, 2.into()), (3, algorithm.into()), (-1, 1.into()), (-2, bytes(x)), (-3, bytes(y))])
}

/// 4, x and y.
pub(crate) fn uncompressed(key: &PublicKey) -> Vec<u8> {
    key.to_sec1_point(false).as_bytes().to_vec()
}

pub(crate) fn signing_key(key: &Hash) -> SigningKey {
    // All but 2^-32 of the numbers of 256 bits are below the order of the curve.
    SigningKey::from(SecretKey::from_slice(key).expect("a number below the order of P-256"))
}

pub(crate) fn bytes(bytes: &[u8]) -> Value {
    Value::Bytes(bytes.to_vec())
}
