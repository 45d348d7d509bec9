//! Whether what a security key has signed proves what was asked: WebAuthn, section 7.2; U2F raw messages, section 5.4.

use ring::digest::{Digest, SHA256, digest};
use ring::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use std::fmt;
use twofa::token::{Credential, Protocol, PublicKey};

/// CTAPHID: 57 bytes in the first packet, 59 in each of 128 more.
pub(crate) const MAX_ANSWER: usize = 7609;

/// WebAuthn, section 6.1: the hash of the relying party, flags, counter.
const HEAD: usize = 37;
const USER_PRESENT: u8 = 0x01;
const USER_VERIFIED: u8 = 0x04;
const ATTESTED_CREDENTIAL: u8 = 0x40;
const EXTENSIONS: u8 = 0x80;

/// What a key says, as it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Assertion {
    /// Left out by keys that were asked for one only.
    pub(crate) credential: Option<Vec<u8>>,
    /// The authenticator data; of U2F the same bytes: the hash of the AppID, presence, counter.
    pub(crate) data: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

/// What an assertion proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    /// Its place among the credentials.
    pub(crate) credential: usize,
    pub(crate) counter: u32,
}

/// Why it proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    UnknownCredential,
    Length,
    OtherParty,
    NotPresent,
    NotVerified,
    Flags,
    Extensions,
    Signature,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownCredential => "it used a credential that was not asked for",
            Self::Length => "its data has an impossible length",
            Self::OtherParty => "it signed for another relying party",
            Self::NotPresent => "it was not touched",
            Self::NotVerified => "it did not verify the user",
            Self::Flags => "its flags make no sense",
            Self::Extensions => "its extensions make no sense",
            Self::Signature => "its signature is not right",
        })
    }
}

/// Checks an assertion that was asked for with `challenge`, of one of these credentials of `rp_id`.
pub(crate) fn verify<'a>(
    candidates: impl Iterator<Item = (usize, &'a Credential)>,
    rp_id: &str,
    challenge: &[u8; 32],
    assertion: &Assertion,
) -> Result<Proof, Fault> {
    let (place, credential) = used(candidates, assertion.credential.as_deref())?;
    let data = &assertion.data;
    if data.len() > MAX_ANSWER || assertion.signature.len() > MAX_ANSWER {
        return Err(Fault::Length);
    }
    let (head, extensions) = data.split_first_chunk::<HEAD>().ok_or(Fault::Length)?;
    let [party @ .., flags, c0, c1, c2, c3] = head;
    if party != hash(rp_id.as_bytes()).as_ref() {
        return Err(Fault::OtherParty);
    }
    check_flags(credential, *flags)?;
    check_extensions(*flags, extensions)?;
    let signed = [data, hash(challenge).as_ref()].concat();
    let right = match &credential.public {
        PublicKey::Es256(point) => {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(&signed, &assertion.signature)
        }
        PublicKey::Ed25519(key) => {
            UnparsedPublicKey::new(&ED25519, key).verify(&signed, &assertion.signature)
        }
    };
    right.map_err(|_| Fault::Signature)?;
    Ok(Proof { credential: place, counter: u32::from_be_bytes([*c0, *c1, *c2, *c3]) })
}

/// CTAP2, section 6.2.2: the credential may be left out when only one was asked for.
fn used<'a>(
    mut candidates: impl Iterator<Item = (usize, &'a Credential)>,
    id: Option<&[u8]>,
) -> Result<(usize, &'a Credential), Fault> {
    let found = match id {
        Some(id) => candidates.find(|(_, credential)| credential.id == id),
        None => candidates.next().filter(|_| candidates.next().is_none()),
    };
    found.ok_or(Fault::UnknownCredential)
}

fn check_flags(credential: &Credential, flags: u8) -> Result<(), Fault> {
    if flags & USER_PRESENT == 0 {
        return Err(Fault::NotPresent);
    }
    if credential.verify && flags & USER_VERIFIED == 0 {
        return Err(Fault::NotVerified);
    }
    let made = flags & ATTESTED_CREDENTIAL != 0;
    // U2F has only the one.
    if made || credential.protocol == Protocol::U2f && flags != USER_PRESENT {
        return Err(Fault::Flags);
    }
    Ok(())
}

/// None were asked for; a key may add some all the same. They are signed, and nobody reads them.
fn check_extensions(flags: u8, extensions: &[u8]) -> Result<(), Fault> {
    const CBOR_MAP: u8 = 5;
    let is_map = extensions.first().is_some_and(|byte| byte >> 5 == CBOR_MAP);
    match flags & EXTENSIONS != 0 {
        true if is_map => Ok(()),
        false if extensions.is_empty() => Ok(()),
        true => Err(Fault::Extensions),
        false => Err(Fault::Length),
    }
}

pub(crate) fn hash(bytes: &[u8]) -> Digest {
    digest(&SHA256, bytes)
}

#[cfg(test)]
#[path = "assertion_tests.rs"]
mod tests;
