//! CTAP2.0 (CTAP 2.0, 5): getInfo, makeCredential, getAssertion. No resident keys, no verification but by PIN.

use ciborium::Value;

use crate::answer::{
    self, CREDENTIAL_EXCLUDED, INVALID_CBOR, INVALID_COMMAND, INVALID_OPTION, MISSING_PARAMETER,
    NO_CREDENTIALS, PIN_AUTH_INVALID, PIN_INVALID, PIN_NOT_SET, PIN_REQUIRED, UNSUPPORTED_ALGORITHM,
    UNSUPPORTED_OPTION,
};
use crate::cbor::{self, elements, get, number, text};
use crate::certificate;
use crate::mode::Lie;
use crate::secrets::{Algorithm, Hash, hash};
use crate::token::{Token, User, bytes, public_key, sign, signing_key};

/// Commands.
const MAKE_CREDENTIAL: u8 = 0x01;
const GET_ASSERTION: u8 = 0x02;
const GET_INFO: u8 = 0x04;
const CLIENT_PIN: u8 = 0x06;

/// Says what kind of authenticator this is; nobody else's.
const AAGUID: &[u8; 16] = b"twofa-softkey-01";
const MAX_MESSAGE: u32 = 1200;

/// What becomes of a message.
#[derive(Debug)]
pub(crate) enum Step {
    Answer(Vec<u8>),
    /// First the user has to touch the key.
    Touch(Pending),
}

/// What is done when the key is touched.
#[derive(Debug)]
pub(crate) struct Pending {
    rp: Hash,
    client_hash: Vec<u8>,
    verified: bool,
    operation: Operation,
}

#[derive(Debug)]
enum Operation {
    Make(Algorithm),
    Assert(Vec<u8>, Algorithm),
    /// The user is only told which key it is; then there is a status.
    Fail(u8),
}

impl Token {
    /// A message: the command, then its parameters.
    pub(crate) fn ctap2(&mut self, message: &[u8], lie: Option<Lie>) -> Step {
        let (command, parameters) = message.split_first().unwrap_or((&0, &[]));
        let request = if parameters.is_empty() { Some(Value::Null) } else { cbor::decode(parameters) };
        let Some(request) = request else { return Step::Answer(vec![INVALID_CBOR]) };
        let step = match *command {
            MAKE_CREDENTIAL => self.make_credential(&request),
            GET_ASSERTION => self.get_assertion(&request, lie),
            GET_INFO => {
                Ok(Step::Answer(answer::of(self.info(), lie.filter(|lie| *lie == Lie::UnknownMembers))))
            }
            CLIENT_PIN => self.client_pin(&request).map(|members| {
                let nothing = members.is_empty();
                Step::Answer(if nothing { vec![answer::OK] } else { answer::of(members, None) })
            }),
            _ => Err(INVALID_COMMAND),
        };
        step.unwrap_or_else(|status| Step::Answer(vec![status]))
    }

    /// The answer, now that the key was touched, or does not need to be.
    pub(crate) fn perform(&mut self, pending: Pending, touched: bool, lie: Option<Lie>) -> Vec<u8> {
        let user = User { present: touched, verified: pending.verified };
        match pending.operation {
            Operation::Fail(status) => vec![status],
            Operation::Make(algorithm) => self.make(&pending.rp, &pending.client_hash, user, algorithm, lie),
            Operation::Assert(id, algorithm) => {
                if let (Some(Lie::Replay), Some(last)) = (lie, &self.last_assertion) {
                    return last.clone();
                }
                let answer = self.assert(&pending.rp, &pending.client_hash, user, (&id, algorithm), lie);
                self.last_assertion = Some(answer.clone());
                answer
            }
        }
    }

    fn info(&self) -> Vec<(i64, Value)> {
        let options = cbor::map([
            ("rk", false.into()),
            ("up", true.into()),
            ("plat", false.into()),
            ("clientPin", self.secrets.pin.is_some().into()),
        ]);
        vec![
            (1, Value::Array(vec!["U2F_V2".into(), "FIDO_2_0".into()])),
            (3, bytes(AAGUID)),
            (4, options),
            (5, MAX_MESSAGE.into()),
            (6, Value::Array(vec![1.into()])),
        ]
    }

    fn make_credential(&mut self, request: &Value) -> Result<Step, u8> {
        let client_hash = cbor::bytes(request, 1).ok_or(MISSING_PARAMETER)?.to_vec();
        let rp = get(request, 2).and_then(|rp| text(rp, "id")).ok_or(MISSING_PARAMETER)?;
        let rp = hash(rp.as_bytes());
        get(request, 3).and_then(|user| cbor::bytes(user, "id")).ok_or(MISSING_PARAMETER)?;
        let algorithm = elements(request, 4).iter().find_map(offered).ok_or(UNSUPPORTED_ALGORITHM)?;
        if option(request, 7, "rk") == Some(true) || option(request, 7, "uv") == Some(true) {
            return Err(UNSUPPORTED_OPTION);
        }
        if option(request, 7, "up") == Some(false) {
            return Err(INVALID_OPTION);
        }
        if let Some(step) = self.selection(request, 8) {
            return Ok(step);
        }
        let verified = self.verifies(request, 8, &client_hash)?;
        if self.secrets.pin.is_some() && !verified {
            return Err(PIN_REQUIRED);
        }
        check_protocol(request, 9, verified)?;
        let excluded = self.ours(&rp, elements(request, 5)).is_some();
        let operation =
            if excluded { Operation::Fail(CREDENTIAL_EXCLUDED) } else { Operation::Make(algorithm) };
        Ok(Step::Touch(Pending { rp, client_hash, verified, operation }))
    }

    fn get_assertion(&mut self, request: &Value, lie: Option<Lie>) -> Result<Step, u8> {
        let rp = hash(text_of(request, 1).ok_or(MISSING_PARAMETER)?.as_bytes());
        let client_hash = cbor::bytes(request, 2).ok_or(MISSING_PARAMETER)?.to_vec();
        if option(request, 5, "rk").is_some() || option(request, 5, "uv") == Some(true) {
            return Err(UNSUPPORTED_OPTION);
        }
        if let Some(step) = self.selection(request, 6) {
            return Ok(step);
        }
        let verified = self.verifies(request, 6, &client_hash)?;
        check_protocol(request, 7, verified)?;
        let (id, algorithm) = self.ours(&rp, elements(request, 3)).ok_or(NO_CREDENTIALS)?;
        let operation = Operation::Assert(id, algorithm);
        let pending = Pending { rp, client_hash, verified, operation };
        Ok(if option(request, 5, "up") == Some(false) {
            Step::Answer(self.perform(pending, false, lie))
        } else {
            Step::Touch(pending)
        })
    }

    fn make(
        &mut self,
        rp: &Hash,
        client_hash: &[u8],
        user: User,
        algorithm: Algorithm,
        lie: Option<Lie>,
    ) -> Vec<u8> {
        let id = self.secrets.new_id(rp, algorithm);
        let length = u16::try_from(id.len()).unwrap_or(0).to_be_bytes();
        let public = cbor::encode(&public_key(&self.private_key(&id, None), algorithm));
        let attested = [&AAGUID[..], &length, &id, &public].concat();
        let data = self.auth_data(rp, user, Some(&attested), lie);
        let attestation = self.secrets.attestation_key();
        let signature = sign(&attestation, Algorithm::Es256, &[&data, client_hash].concat());
        let certificate = certificate::self_signed(&signing_key(&attestation));
        let statement = cbor::map([
            ("alg", Algorithm::Es256.number().into()),
            ("sig", bytes(&signature)),
            ("x5c", Value::Array(vec![bytes(&certificate)])),
        ]);
        answer::of(vec![(1, "packed".into()), (2, bytes(&data)), (3, statement)], lie)
    }

    fn assert(
        &mut self,
        rp: &Hash,
        client_hash: &[u8],
        user: User,
        (id, algorithm): (&[u8], Algorithm),
        lie: Option<Lie>,
    ) -> Vec<u8> {
        let data = self.auth_data(rp, user, None, lie);
        let signature = sign(&self.private_key(id, lie), algorithm, &[&data, client_hash].concat());
        let credential = cbor::map([("id", bytes(id)), ("type", "public-key".into())]);
        answer::of(vec![(1, credential), (2, bytes(&data)), (3, bytes(&signature))], lie)
    }

    /// An empty proof of the PIN: the client only wants to know which key the user touches.
    fn selection(&self, request: &Value, auth: i64) -> Option<Step> {
        let status = if self.secrets.pin.is_some() { PIN_INVALID } else { PIN_NOT_SET };
        let pending = Pending {
            rp: [0; 32],
            client_hash: Vec::new(),
            verified: false,
            operation: Operation::Fail(status),
        };
        cbor::bytes(request, auth).is_some_and(<[u8]>::is_empty).then_some(Step::Touch(pending))
    }

    /// The first of these credentials that this key has made for this relying party.
    fn ours(&self, rp: &Hash, credentials: &[Value]) -> Option<(Vec<u8>, Algorithm)> {
        credentials.iter().find_map(|credential| {
            let id = cbor::bytes(credential, "id")?;
            Some((id.to_vec(), self.secrets.algorithm_of(id, rp)?))
        })
    }
}

/// The algorithm of an element of pubKeyCredParams.
fn offered(parameter: &Value) -> Option<Algorithm> {
    let is_key = text(parameter, "type") == Some("public-key");
    is_key.then(|| Algorithm::of_number(number(parameter, "alg")?)).flatten()
}

fn option(request: &Value, options: i64, name: &str) -> Option<bool> {
    get(get(request, options)?, name)?.as_bool()
}

fn text_of(request: &Value, name: i64) -> Option<&str> {
    get(request, name)?.as_text()
}

/// Who proves a PIN says by which protocol.
fn check_protocol(request: &Value, name: i64, verified: bool) -> Result<(), u8> {
    match number(request, name) {
        Some(1) => Ok(()),
        None if !verified => Ok(()),
        _ => Err(PIN_AUTH_INVALID),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::ops::{Deref, DerefMut};
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::{env, fs, process};

    use ed25519_dalek::Verifier as _;
    use p256::ecdsa::signature::Error;
    use p256::ecdsa::{Signature, VerifyingKey};

    use super::*;

    /// A token with a state file of its own.
    pub(crate) struct Plugged(Token, PathBuf);

    impl Plugged {
        pub(crate) fn new() -> Self {
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let state = env::temp_dir().join(format!("softkey-{}-{number}", process::id()));
            Self(Token::open(&state), state)
        }
    }

    impl Deref for Plugged {
        type Target = Token;
        fn deref(&self) -> &Token {
            &self.0
        }
    }

    impl DerefMut for Plugged {
        fn deref_mut(&mut self) -> &mut Token {
            &mut self.0
        }
    }

    impl Drop for Plugged {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.1);
        }
    }

    /// With a public key as SEC1 has it.
    pub(crate) fn verify(public: &[u8], message: &[u8], signature: &[u8]) -> Result<(), Error> {
        let key = VerifyingKey::from_sec1_bytes(public).unwrap();
        key.verify(message, &Signature::from_der(signature).unwrap())
    }

    const CLIENT_HASH: [u8; 32] = [0xdd; 32];

    fn make(algorithm: i64) -> Vec<u8> {
        let parameter = cbor::map([("alg", algorithm.into()), ("type", "public-key".into())]);
        let request = cbor::map([
            (1, bytes(&CLIENT_HASH)),
            (2, cbor::map([("id", "host.example".into())])),
            (3, cbor::map([("id", bytes(b"alice")), ("name", "alice".into())])),
            (4, Value::Array(vec![parameter])),
        ]);
        [vec![MAKE_CREDENTIAL], cbor::encode(&request)].concat()
    }

    pub(crate) fn assertion_of(id: &[u8]) -> Vec<u8> {
        let credential = cbor::map([("id", bytes(id)), ("type", "public-key".into())]);
        let request = cbor::map([
            (1, "host.example".into()),
            (2, bytes(&CLIENT_HASH)),
            (3, Value::Array(vec![credential])),
        ]);
        [vec![GET_ASSERTION], cbor::encode(&request)].concat()
    }

    fn touched(token: &mut Token, message: &[u8], lie: Option<Lie>) -> Vec<u8> {
        match token.ctap2(message, lie) {
            Step::Touch(pending) => token.perform(pending, true, lie),
            Step::Answer(answer) => panic!("answered without a touch: {answer:x?}"),
        }
    }

    /// A new credential's id and public key.
    pub(crate) fn registered(token: &mut Token, algorithm: i64) -> (Vec<u8>, Value) {
        let answer = touched(token, &make(algorithm), None);
        assert_eq!(answer[0], answer::OK);
        let answer = cbor::decode(&answer[1..]).unwrap();
        let data = cbor::bytes(&answer, 2).unwrap();
        assert_eq!((&data[..32], data[32]), (&hash(b"host.example")[..], 0x41));
        let length = usize::from(data[54]);
        let (id, key) = data[55..].split_at(length);
        (id.to_vec(), cbor::decode(key).unwrap())
    }

    /// The authenticator data and the signature of an assertion.
    fn assertion(token: &mut Token, id: &[u8], lie: Option<Lie>) -> (Vec<u8>, Vec<u8>) {
        let answer = touched(token, &assertion_of(id), lie);
        assert_eq!(answer[0], answer::OK);
        let answer = cbor::decode(&answer[1..]).unwrap();
        (cbor::bytes(&answer, 2).unwrap().to_vec(), cbor::bytes(&answer, 3).unwrap().to_vec())
    }

    fn point(key: &Value) -> Vec<u8> {
        [&[4], cbor::bytes(key, -2).unwrap(), cbor::bytes(key, -3).unwrap()].concat()
    }

    fn counter(data: &[u8]) -> u32 {
        u32::from_be_bytes(data[33..37].try_into().unwrap())
    }

    #[test]
    fn es256_signs() {
        let mut token = Plugged::new();
        let (id, key) = registered(&mut token, -7);
        let (data, signature) = assertion(&mut token, &id, None);
        assert_eq!((data.len(), data[32]), (37, 1));
        verify(&point(&key), &[&data[..], &CLIENT_HASH].concat(), &signature).unwrap();
    }

    #[test]
    fn eddsa_signs() {
        let mut token = Plugged::new();
        let (id, key) = registered(&mut token, -8);
        let (data, signature) = assertion(&mut token, &id, None);
        let public: Hash = cbor::bytes(&key, -2).unwrap().try_into().unwrap();
        let public = ed25519_dalek::VerifyingKey::from_bytes(&public).unwrap();
        let signature = ed25519_dalek::Signature::from_slice(&signature).unwrap();
        public.verify(&[&data[..], &CLIENT_HASH].concat(), &signature).unwrap();
    }

    #[test]
    fn lies_are_in_the_signed_data() {
        let mut token = Plugged::new();
        let (id, key) = registered(&mut token, -7);
        let (first, replayed) = assertion(&mut token, &id, None);
        for (lie, is_so) in [
            (Lie::WrongRpId, (|data, _| data[..32] != hash(b"host.example")) as fn(&[u8], u32) -> bool),
            (Lie::NoUp, |data, _| data[32] == 0),
            (Lie::CounterZero, |data, _| counter(data) == 0),
            (Lie::CounterSame, |data, last| counter(data) == last),
            (Lie::CounterBack, |data, last| counter(data) < last),
            (Lie::AuthData(36), |data, _| data.len() == 36),
        ] {
            let last = token.secrets.counter;
            let (data, signature) = assertion(&mut token, &id, Some(lie));
            assert!(is_so(&data, last), "{lie:?} {data:x?}");
            verify(&point(&key), &[&data[..], &CLIENT_HASH].concat(), &signature).unwrap();
        }
        let (data, signature) = assertion(&mut token, &id, Some(Lie::OtherKey));
        verify(&point(&key), &[&data[..], &CLIENT_HASH].concat(), &signature).unwrap_err();
        let last = assertion(&mut token, &id, None);
        assert_ne!(last, (first, replayed));
        assert_eq!(assertion(&mut token, &id, Some(Lie::Replay)), last);
    }

    #[test]
    fn refusals_have_the_status_of_the_specification() {
        let mut token = Plugged::new();
        let (id, _) = registered(&mut token, -7);
        let status = |token: &mut Token, message: &[u8]| match token.ctap2(message, None) {
            Step::Answer(answer) => answer[0],
            Step::Touch(pending) => panic!("{pending:?}"),
        };
        for (message, expected) in [
            (vec![0x77], INVALID_COMMAND),
            (vec![MAKE_CREDENTIAL, 0xa1], INVALID_CBOR),
            (vec![MAKE_CREDENTIAL, 0xa0], MISSING_PARAMETER),
            (vec![GET_ASSERTION, 0xa0], MISSING_PARAMETER),
            (make(-257), UNSUPPORTED_ALGORITHM),
            (assertion_of(&[0; 64]), NO_CREDENTIALS),
            (assertion_of(&[]), NO_CREDENTIALS),
        ] {
            assert_eq!(status(&mut token, &message), expected, "{message:x?}");
        }
        token.set_first_pin("1234");
        assert_eq!(status(&mut token, &make(-7)), PIN_REQUIRED);
        assert!(matches!(token.ctap2(&assertion_of(&id), None), Step::Touch(_)));
    }
}
