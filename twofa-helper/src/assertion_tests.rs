//! Right assertions, and each of them with one thing wrong.

use super::*;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};

const RP: &str = "pam_twofa:example";
const CHALLENGE: [u8; 32] = [0x5a; 32];

enum Pair {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Pair {
    fn p256() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self::P256(EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).unwrap())
    }

    fn ed25519() -> Self {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Ed25519(Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap())
    }

    fn public(&self) -> PublicKey {
        match self {
            Self::P256(pair) => PublicKey::Es256(pair.public_key().as_ref().into()),
            Self::Ed25519(pair) => PublicKey::Ed25519(pair.public_key().as_ref().into()),
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::P256(pair) => pair.sign(&SystemRandom::new(), message).unwrap().as_ref().into(),
            Self::Ed25519(pair) => pair.sign(message).as_ref().into(),
        }
    }
}

/// A key with one credential, and what it will say.
struct Key {
    pair: Pair,
    protocol: Protocol,
    verify: bool,
    rp: &'static str,
    flags: u8,
    counter: u32,
    tail: Vec<u8>,
    challenge: [u8; 32],
}

impl Key {
    fn new(pair: Pair) -> Self {
        Self {
            pair,
            protocol: Protocol::Fido2,
            verify: false,
            rp: RP,
            flags: 1,
            counter: 7,
            tail: vec![],
            challenge: CHALLENGE,
        }
    }

    fn credential(&self, id: u8) -> Credential {
        Credential {
            rp_id: RP.into(),
            id: vec![id; 16],
            public: self.pair.public(),
            protocol: self.protocol,
            verify: self.verify,
        }
    }

    fn data(&self) -> Vec<u8> {
        let head = [hash(self.rp.as_bytes()).as_ref(), &[self.flags], &self.counter.to_be_bytes()].concat();
        [head, self.tail.clone()].concat()
    }

    fn sign(&self, data: Vec<u8>) -> Assertion {
        let signature = self.pair.sign(&[&data, hash(&self.challenge).as_ref()].concat());
        Assertion { credential: Some(vec![1; 16]), data, signature }
    }

    fn answer(&self) -> Assertion {
        self.sign(self.data())
    }

    fn judged(&self, assertion: &Assertion) -> Result<Proof, Fault> {
        judge(&[self.credential(1)], assertion)
    }
}

fn judge(credentials: &[Credential], assertion: &Assertion) -> Result<Proof, Fault> {
    verify(credentials.iter().enumerate(), RP, &CHALLENGE, assertion)
}

fn keys() -> [Key; 3] {
    let u2f = Key { protocol: Protocol::U2f, ..Key::new(Pair::p256()) };
    [Key::new(Pair::p256()), Key::new(Pair::ed25519()), u2f]
}

#[test]
fn a_right_assertion_proves_its_credential_and_counter() {
    for mut key in keys() {
        for counter in [0, 1, 255, 256, 0x0102_0304, u32::MAX] {
            key.counter = counter;
            assert_eq!(key.judged(&key.answer()), Ok(Proof { credential: 0, counter }));
        }
    }
}

#[test]
fn flags_of_every_value() {
    for flags in 0..=255u8 {
        for (verify, protocol) in [(false, Protocol::Fido2), (true, Protocol::Fido2), (false, Protocol::U2f)]
        {
            let extensions = if flags & 0x80 != 0 { vec![0xa0] } else { vec![] };
            let key = Key { flags, verify, protocol, tail: extensions, ..Key::new(Pair::ed25519()) };
            let expected = match protocol {
                _ if flags & 1 == 0 => Err(Fault::NotPresent),
                _ if verify && flags & 4 == 0 => Err(Fault::NotVerified),
                _ if flags & 0x40 != 0 => Err(Fault::Flags),
                Protocol::U2f if flags != 1 => Err(Fault::Flags),
                _ => Ok(Proof { credential: 0, counter: 7 }),
            };
            assert_eq!(key.judged(&key.answer()), expected, "{flags:#x} {verify} {protocol:?}");
        }
    }
}

#[test]
fn data_of_every_length() {
    for key in keys() {
        let whole = key.data();
        for length in 0..37 {
            let short = key.sign(whole[..length].to_vec());
            assert_eq!(key.judged(&short), Err(Fault::Length), "{length}");
        }
        for more in [1, 36, 7609 - 37, 7609 - 36, 65535 - 37] {
            let long = key.sign([whole.clone(), vec![0xa0; more]].concat());
            assert_eq!(key.judged(&long), Err(Fault::Length), "{more}");
        }
    }
}

#[test]
fn extensions_only_as_the_flag_says() {
    let table: [(u8, &[u8], Option<Fault>); 8] = [
        (0x81, b"", Some(Fault::Extensions)),
        (0x81, b"\xa0", None),
        (0x81, b"\xa1\x61\x61\xf5", None),
        (0x81, b"\x00", Some(Fault::Extensions)),
        (0x81, b"\xff\xff\xff", Some(Fault::Extensions)),
        (0x81, b"\x80", Some(Fault::Extensions)),
        (0x01, b"\xa0", Some(Fault::Length)),
        (0x01, b"\x00", Some(Fault::Length)),
    ];
    for (flags, tail, fault) in table {
        let key = Key { flags, tail: tail.into(), ..Key::new(Pair::p256()) };
        assert_eq!(key.judged(&key.answer()).err(), fault, "{flags:#x} {tail:x?}");
    }
    let long = Key { flags: 0x81, tail: vec![0xa0; 7609 - 37], ..Key::new(Pair::p256()) };
    assert!(long.judged(&long.answer()).is_ok());
    let longer = Key { tail: vec![0xa0; 7610 - 37], ..long };
    assert_eq!(longer.judged(&longer.answer()), Err(Fault::Length));
}

#[test]
fn another_party_challenge_or_key() {
    for rp in ["", "pam_twofa:exampl", "pam_twofa:example.org", "ssh:"] {
        let key = Key { rp, ..Key::new(Pair::p256()) };
        assert_eq!(key.judged(&key.answer()), Err(Fault::OtherParty), "{rp}");
    }
    for pair in [Pair::p256(), Pair::ed25519()] {
        let key = Key { challenge: [0x5b; 32], ..Key::new(pair) };
        assert_eq!(key.judged(&key.answer()), Err(Fault::Signature));
    }
    for (one, other) in [(Pair::p256(), Pair::p256()), (Pair::ed25519(), Pair::ed25519())] {
        assert_eq!(Key::new(one).judged(&Key::new(other).answer()), Err(Fault::Signature));
    }
    for (one, other) in [(Pair::p256(), Pair::ed25519()), (Pair::ed25519(), Pair::p256())] {
        assert_eq!(Key::new(one).judged(&Key::new(other).answer()), Err(Fault::Signature));
    }
}

#[test]
fn a_signature_with_one_bit_changed_or_a_malformed_one() {
    for key in keys() {
        let answer = key.answer();
        for at in 0..answer.signature.len() {
            let mut signature = answer.signature.clone();
            signature[at] ^= 1;
            let wrong = Assertion { signature, ..answer.clone() };
            assert_eq!(key.judged(&wrong), Err(Fault::Signature), "byte {at}");
        }
        for at in 33..37 {
            let mut data = answer.data.clone();
            data[at] ^= 1;
            assert_eq!(key.judged(&Assertion { data, ..answer.clone() }), Err(Fault::Signature), "byte {at}");
        }
        let [short, long] = [answer.signature[1..].to_vec(), [answer.signature.clone(), vec![0]].concat()];
        let zero = vec![0x30, 6, 2, 1, 0, 2, 1, 0];
        for signature in [vec![], vec![0x30], vec![0x30, 0x80], vec![0; 64], vec![0; 7609], zero, short, long]
        {
            let wrong = Assertion { signature, ..answer.clone() };
            assert_eq!(key.judged(&wrong), Err(Fault::Signature));
        }
        let huge = Assertion { signature: vec![0; 7610], ..answer };
        assert_eq!(key.judged(&huge), Err(Fault::Length));
    }
}

#[test]
fn a_public_key_that_is_no_point() {
    let key = Key::new(Pair::p256());
    for point in [[vec![4], vec![0; 64]].concat(), [vec![4], vec![0xff; 64]].concat()] {
        let credential = Credential { public: PublicKey::Es256(point), ..key.credential(1) };
        assert_eq!(judge(&[credential], &key.answer()), Err(Fault::Signature));
    }
    let credential = Credential { public: PublicKey::Ed25519(vec![0xff; 32]), ..key.credential(1) };
    assert_eq!(judge(&[credential], &key.answer()), Err(Fault::Signature));
}

#[test]
fn the_credential_is_one_of_those_asked_for() {
    let [a, b] = [Key::new(Pair::p256()), Key::new(Pair::p256())];
    let both = [b.credential(2), a.credential(1)];
    let answer = a.answer();
    assert_eq!(judge(&both, &answer), Ok(Proof { credential: 1, counter: 7 }));
    let named = |id: &[u8]| Assertion { credential: Some(id.into()), ..a.answer() };
    for id in [&[3; 16][..], &[1; 15], &[1; 17], &[]] {
        assert_eq!(judge(&both, &named(id)), Err(Fault::UnknownCredential), "{id:?}");
    }
    // The name of one, the signature of the other.
    assert_eq!(judge(&both, &named(&[2; 16])), Err(Fault::Signature));
    let nameless = Assertion { credential: None, ..a.answer() };
    assert_eq!(judge(&both[1..], &nameless), Ok(Proof { credential: 0, counter: 7 }));
    assert_eq!(judge(&both, &nameless), Err(Fault::UnknownCredential));
    assert_eq!(judge(&[], &nameless), Err(Fault::UnknownCredential));
    assert_eq!(judge(&[], &answer), Err(Fault::UnknownCredential));
}
