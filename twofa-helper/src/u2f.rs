//! U2F raw messages 1.2: what is asked of a key over CTAP1, and its answers.

use crate::assertion::{Assertion, hash};
use twofa::token::{Credential, Protocol, PublicKey};

const REGISTER: u8 = 0x01;
const AUTHENTICATE: u8 = 0x02;
/// Only says whether the handle is the key's own.
const CHECK_ONLY: u8 = 0x07;
const SIGN_WHEN_TOUCHED: u8 = 0x03;

/// How an answer ends (ISO 7816-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Done,
    /// Not touched yet.
    NotTouched,
    /// The handle is not this key's.
    WrongData,
    Other(u16),
}

pub(crate) fn register(rp_id: &str, challenge: &[u8; 32]) -> Vec<u8> {
    let data = [hash(challenge).as_ref(), hash(rp_id.as_bytes()).as_ref()].concat();
    apdu(REGISTER, 0, &data)
}

/// Whether the key has this credential; it does not blink.
pub(crate) fn check(rp_id: &str, challenge: &[u8; 32], handle: &[u8]) -> Vec<u8> {
    authenticate(CHECK_ONLY, rp_id, challenge, handle)
}

pub(crate) fn sign(rp_id: &str, challenge: &[u8; 32], handle: &[u8]) -> Vec<u8> {
    authenticate(SIGN_WHEN_TOUCHED, rp_id, challenge, handle)
}

fn authenticate(control: u8, rp_id: &str, challenge: &[u8; 32], handle: &[u8]) -> Vec<u8> {
    let length = [u8::try_from(handle.len()).unwrap_or(u8::MAX)];
    let hashes = [hash(challenge).as_ref(), hash(rp_id.as_bytes()).as_ref()].concat();
    apdu(AUTHENTICATE, control, &[&hashes, &length[..], handle].concat())
}

/// In the long encoding, the only one that every key takes over USB; any length of answer.
fn apdu(instruction: u8, parameter: u8, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&[0, instruction, parameter, 0, 0], &length[..], data, &[0, 0]].concat()
}

/// Takes the status off the end of an answer; none when there is not even that.
pub(crate) fn status(answer: &[u8]) -> Option<(&[u8], Status)> {
    let (data, status) = answer.split_last_chunk()?;
    let status = match u16::from_be_bytes(*status) {
        0x9000 => Status::Done,
        0x6985 => Status::NotTouched,
        // 6700 wrong length: a handle as this key never makes them.
        0x6a80 | 0x6700 => Status::WrongData,
        other => Status::Other(other),
    };
    Some((data, status))
}

/// The credential in the answer to [`register`]. The certificate and the signature behind it say only what the key
/// says of itself: that it has the credential, it proves by using it.
pub(crate) fn registered(rp_id: &str, data: &[u8]) -> Option<Credential> {
    const RESERVED: u8 = 0x05;
    let (&[reserved], rest) = data.split_first_chunk()?;
    let (point, rest) = rest.split_first_chunk::<65>()?;
    let (&[length], rest) = rest.split_first_chunk()?;
    let (handle, certificate) = rest.split_at_checked(length.into())?;
    let credential = Credential {
        rp_id: rp_id.into(),
        id: handle.into(),
        public: PublicKey::Es256(point.to_vec()),
        protocol: Protocol::U2f,
        verify: false,
    };
    (reserved == RESERVED && !certificate.is_empty() && credential.is_valid()).then_some(credential)
}

/// What the answer to [`sign`] says: presence, counter, signature.
pub(crate) fn signed(rp_id: &str, handle: &[u8], data: &[u8]) -> Option<Assertion> {
    let (head, signature) = data.split_first_chunk::<5>()?;
    Some(Assertion {
        credential: Some(handle.into()),
        data: [hash(rp_id.as_bytes()).as_ref(), head].concat(),
        signature: signature.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RP: &str = "pam_twofa:example";

    #[test]
    fn requests_as_the_specification_has_them() {
        let register = register(RP, &[1; 32]);
        assert_eq!((register.len(), &register[..7]), (73, &[0, 1, 0, 0, 0, 0, 64][..]));
        assert_eq!(register[7..39], *hash(&[1; 32]).as_ref());
        assert_eq!(register[39..71], *hash(RP.as_bytes()).as_ref());
        assert_eq!(register[71..], [0, 0]);
        for (request, control) in [(check(RP, &[1; 32], &[9; 64]), 7), (sign(RP, &[1; 32], &[9; 64]), 3)] {
            assert_eq!(request[..7], [0, 2, control, 0, 0, 0, 129]);
            assert_eq!(request[71..], [&[64][..], &[9; 64], &[0, 0]].concat());
        }
        assert_eq!(sign(RP, &[1; 32], &[9; 255])[5..7], 320u16.to_be_bytes());
    }

    #[test]
    fn every_status() {
        let table = [
            (&b"\x90\x00"[..], Some((&b""[..], Status::Done))),
            (b"data\x90\x00", Some((b"data", Status::Done))),
            (b"\x69\x85", Some((b"", Status::NotTouched))),
            (b"\x6a\x80", Some((b"", Status::WrongData))),
            (b"\x67\x00", Some((b"", Status::WrongData))),
            (b"\x6d\x00", Some((b"", Status::Other(0x6d00)))),
            (b"\x90", None),
            (b"", None),
        ];
        for (answer, expected) in table {
            assert_eq!(status(answer), expected, "{answer:x?}");
        }
    }

    #[test]
    fn a_registration_that_is_cut_or_makes_no_sense() {
        let point = [vec![4], vec![7; 64]].concat();
        let whole = [&[5][..], &point, &[64], &[9; 64], b"certificate and signature"].concat();
        let credential = registered(RP, &whole).unwrap();
        assert_eq!((credential.id.len(), &credential.public), (64, &PublicKey::Es256(point.clone())));
        assert_eq!((credential.protocol, credential.verify), (Protocol::U2f, false));
        for length in 0..=131 {
            assert_eq!(registered(RP, &whole[..length]), None, "{length}");
        }
        let with = |at: usize, byte: u8| {
            let mut data = whole.clone();
            data[at] = byte;
            registered(RP, &data)
        };
        assert_eq!(with(0, 4), None, "another first byte");
        assert_eq!(with(1, 3), None, "not an uncompressed point");
        assert_eq!(with(66, 255), None, "a handle longer than all");
        assert_eq!(with(66, 0), None, "no handle");
        assert_eq!(with(66, 63).unwrap().id.len(), 63);
    }

    #[test]
    fn a_signature_that_is_cut() {
        assert_eq!(signed(RP, b"handle", &[1, 0, 0, 0]), None);
        let assertion = signed(RP, b"handle", &[1, 0, 0, 0, 7, 0x30, 9]).unwrap();
        assert_eq!(assertion.credential.as_deref(), Some(&b"handle"[..]));
        assert_eq!(assertion.data, [hash(RP.as_bytes()).as_ref(), &[1, 0, 0, 0, 7]].concat());
        assert_eq!(assertion.signature, [0x30, 9]);
        assert_eq!(signed(RP, b"handle", &[1, 0, 0, 0, 7]).unwrap().signature, [0; 0]);
    }
}
