//! The attestation certificate (X.509, DER): U2F registrations have one, and clients refuse a key without it.

use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};

/// Tags of ASN.1.
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const UTF8_STRING: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[0]`, in front of the version
const VERSION: u8 = 0xa0;

/// Object identifiers with tag and length: ecdsa-with-SHA256, id-ecPublicKey, prime256v1, commonName.
const ECDSA_WITH_SHA256: [u8; 10] = [0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const EC_PUBLIC_KEY: [u8; 9] = [0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const PRIME256V1: [u8; 10] = [0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const COMMON_NAME: [u8; 5] = [0x06, 3, 0x55, 4, 3];

/// A certificate of this key by itself, valid from 2020 to 2049.
pub(crate) fn self_signed(key: &SigningKey) -> Vec<u8> {
    let algorithm = der(SEQUENCE, &[&ECDSA_WITH_SHA256]);
    let common_name = der(SEQUENCE, &[&COMMON_NAME, &der(UTF8_STRING, &[b"softkey"])]);
    let name = der(SEQUENCE, &[&der(SET, &[&common_name])]);
    let validity = [der(UTC_TIME, &[b"200101000000Z"]), der(UTC_TIME, &[b"490101000000Z"])].concat();
    let point = key.verifying_key().to_sec1_point(false);
    let public = [
        der(SEQUENCE, &[&EC_PUBLIC_KEY, &PRIME256V1]),
        // No unused bits
        der(BIT_STRING, &[&[0], point.as_bytes()]),
    ]
    .concat();
    let content = der(
        SEQUENCE,
        &[
            // Version 3, serial number 1
            &der(VERSION, &[&[INTEGER, 1, 2]]),
            &[INTEGER, 1, 1],
            &algorithm,
            &name,
            &der(SEQUENCE, &[&validity]),
            &name,
            &der(SEQUENCE, &[&public]),
        ],
    );
    let signature: Signature = key.sign(&content);
    let signature = der(BIT_STRING, &[&[0], signature.to_der().as_bytes()]);
    der(SEQUENCE, &[&content, &algorithm, &signature])
}

/// A value with its tag and its length, which is below 65,536.
fn der(tag: u8, content: &[&[u8]]) -> Vec<u8> {
    let content = content.concat();
    let [.., high, low] = content.len().to_be_bytes();
    let length = match content.len() {
        0..0x80 => vec![low],
        0x80..0x100 => vec![0x81, low],
        _ => vec![0x82, high, low],
    };
    [vec![tag], length, content].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_as_short_as_they_can_be() {
        assert_eq!(der(4, &[&[7; 127]])[..3], [4, 127, 7]);
        assert_eq!(der(4, &[&[7; 128]])[..4], [4, 0x81, 128, 7]);
        assert_eq!(der(4, &[&[7; 300]])[..5], [4, 0x82, 1, 44, 7]);
    }

    #[test]
    fn it_is_a_sequence_to_its_end() {
        let key = SigningKey::from_slice(&[1; 32]).unwrap();
        let certificate = self_signed(&key);
        assert_eq!(certificate[..2], [0x30, 0x82]);
        let length = usize::from(certificate[2]) * 256 + usize::from(certificate[3]);
        assert_eq!(certificate.len(), 4 + length);
    }
}
