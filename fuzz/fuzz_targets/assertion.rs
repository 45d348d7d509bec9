//! Assertions: whoever does not have the private key proves nothing, whatever the bytes.
#![no_main]
#![allow(dead_code, reason = "a module of twofa-helper, in part")]

#[path = "../../twofa-helper/src/assertion.rs"]
mod assertion;

use assertion::{Assertion, Fault, hash, verify};
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::sync::LazyLock;
use twofa::token::{Credential, Protocol, PublicKey};

const RP: &str = "rp";
const CHALLENGE: [u8; 32] = [7; 32];

/// Known to the fuzzer, so that it gets past the signature.
static PAIR: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap());

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some(([how, length], rest)) = bytes.split_first_chunk() else { return };
    let public = match how & 1 {
        0 => PublicKey::Ed25519(PAIR.public_key().as_ref().into()),
        _ => PublicKey::Es256([&[4][..], &[9; 64]].concat()),
    };
    let protocol = if how & 2 == 0 { Protocol::Fido2 } else { Protocol::U2f };
    let verified = how & 4 != 0;
    let credential = Credential { rp_id: RP.into(), id: vec![1], public, protocol, verify: verified };
    // With the right party or any, signed by the right key or by nobody.
    let party = hash(RP.as_bytes());
    let data = if how & 8 == 0 { [party.as_ref(), rest].concat() } else { rest.to_vec() };
    let is_signed = how & 16 == 0;
    let signature = if is_signed {
        PAIR.sign(&[&data, hash(&CHALLENGE).as_ref()].concat()).as_ref().to_vec()
    } else {
        data.iter().rev().take((*length).into()).copied().collect()
    };
    let assertion = Assertion { credential: (how & 32 == 0).then(|| vec![1]), data, signature };
    let proven = verify([(0, &credential)].into_iter(), RP, &CHALLENGE, &assertion);
    if proven.is_ok() {
        let flags = assertion.data[32];
        assert!(is_signed && how & 1 == 0 && assertion.data.starts_with(party.as_ref()));
        assert!(flags & 0x41 == 1 && (!verified || flags & 4 != 0));
        assert!((assertion.data.len() > 37) == (flags & 0x80 != 0));
    } else if is_signed && how & 1 == 0 {
        assert_ne!(proven, Err(Fault::Signature));
    }
});
