//! authenticatorClientPIN with protocol 1 (CTAP 2.0, 5.5): a PIN travels under a key that both sides agree on.

use aes::Aes256;
use cbc::cipher::{Array, BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use cbc::{Decryptor, Encryptor};
use ciborium::Value;
use p256::{PublicKey, SecretKey};

use crate::answer::{
    INVALID_PARAMETER, MISSING_PARAMETER, PIN_AUTH_BLOCKED, PIN_AUTH_INVALID, PIN_BLOCKED, PIN_INVALID,
    PIN_NOT_SET, PIN_POLICY_VIOLATION,
};
use crate::cbor::{bytes, get, number};
use crate::secrets::{Hash, RETRIES, hash, left, mac, random};
use crate::token::{self, Token, p256_in_cose};

/// Sub-commands.
const GET_RETRIES: i64 = 1;
const GET_KEY_AGREEMENT: i64 = 2;
const SET_PIN: i64 = 3;
const CHANGE_PIN: i64 = 4;
const GET_PIN_TOKEN: i64 = 5;

/// Members of a request.
const PROTOCOL: i64 = 1;
const SUB_COMMAND: i64 = 2;
const KEY_AGREEMENT: i64 = 3;
const PIN_AUTH: i64 = 4;
const NEW_PIN: i64 = 5;
const PIN_HASH: i64 = 6;

/// ECDH-ES + HKDF-256: what the agreement's key says it is for, though no HKDF is used.
const ECDH: i64 = -25;
/// So many wrong PINs without unplugging the key.
const IN_A_ROW: u8 = 3;
const BLOCK: usize = 16;

/// What is made anew when the key is plugged in.
pub(crate) struct Agreement {
    secret: SecretKey,
    token: [u8; 16],
    wrong: u8,
}

impl Agreement {
    pub(crate) fn new() -> Self {
        Self { secret: new_secret(), token: random(), wrong: 0 }
    }
}

type Members = Vec<(i64, Value)>;

impl Token {
    /// Sets a PIN from outside, unless there is one.
    pub(crate) fn set_first_pin(&mut self, pin: &str) {
        if self.secrets.pin.is_none() {
            self.set_pin(pin.as_bytes());
        }
    }

    /// The members of the answer, or a status.
    pub(crate) fn client_pin(&mut self, request: &Value) -> Result<Members, u8> {
        if number(request, PROTOCOL) != Some(1) {
            return Err(INVALID_PARAMETER);
        }
        match number(request, SUB_COMMAND).ok_or(MISSING_PARAMETER)? {
            GET_RETRIES => Ok(vec![(3, self.secrets.retries.into())]),
            GET_KEY_AGREEMENT => Ok(vec![(1, p256_in_cose(&self.agreement.secret.public_key(), ECDH))]),
            SET_PIN if self.secrets.pin.is_some() => Err(PIN_AUTH_INVALID),
            SET_PIN => self.change_pin(request, &[]),
            CHANGE_PIN => self.change_pin(request, bytes(request, PIN_HASH).ok_or(MISSING_PARAMETER)?),
            GET_PIN_TOKEN => {
                let shared = self.shared(request)?;
                self.check_pin(&shared, bytes(request, PIN_HASH).ok_or(MISSING_PARAMETER)?)?;
                Ok(vec![(2, token::bytes(&encrypt(&shared, &self.agreement.token)))])
            }
            _ => Err(INVALID_PARAMETER),
        }
    }

    /// Whether this belongs to the request and to who knows the PIN. Without it nobody was verified.
    pub(crate) fn verifies(&self, request: &Value, auth: i64, client_hash: &[u8]) -> Result<bool, u8> {
        match bytes(request, auth) {
            None => Ok(false),
            Some(_) if self.secrets.pin.is_none() => Err(PIN_NOT_SET),
            Some(auth) if auth == left(&mac(&self.agreement.token, &[client_hash])) => Ok(true),
            Some(_) => Err(PIN_AUTH_INVALID),
        }
    }

    fn change_pin(&mut self, request: &Value, old: &[u8]) -> Result<Members, u8> {
        let shared = self.shared(request)?;
        let new = bytes(request, NEW_PIN).ok_or(MISSING_PARAMETER)?;
        let auth = bytes(request, PIN_AUTH).ok_or(MISSING_PARAMETER)?;
        if auth != left(&mac(&shared, &[new, old])) {
            return Err(PIN_AUTH_INVALID);
        }
        if !old.is_empty() {
            self.check_pin(&shared, old)?;
        }
        let padded = decrypt(&shared, new).filter(|pin| pin.len() >= 64).ok_or(PIN_POLICY_VIOLATION)?;
        let pin: Vec<u8> = padded.into_iter().take_while(|byte| *byte != 0).collect();
        if !(4..64).contains(&pin.len()) {
            return Err(PIN_POLICY_VIOLATION);
        }
        self.set_pin(&pin);
        Ok(Vec::new())
    }

    fn set_pin(&mut self, pin: &[u8]) {
        self.secrets.pin = Some(left(&hash(pin)));
        self.secrets.retries = RETRIES;
        self.secrets.save();
    }

    fn check_pin(&mut self, shared: &Hash, encrypted: &[u8]) -> Result<(), u8> {
        let pin = self.secrets.pin.ok_or(PIN_NOT_SET)?;
        if self.secrets.retries == 0 {
            return Err(PIN_BLOCKED);
        }
        if self.agreement.wrong >= IN_A_ROW {
            return Err(PIN_AUTH_BLOCKED);
        }
        // Counted before it is looked at: pulling the key out saves no try.
        self.secrets.retries -= 1;
        self.secrets.save();
        if decrypt(shared, encrypted).is_some_and(|said| said == pin) {
            self.secrets.retries = RETRIES;
            self.secrets.save();
            self.agreement.wrong = 0;
            return Ok(());
        }
        self.agreement.wrong += 1;
        self.agreement.secret = new_secret();
        Err(match (self.secrets.retries, self.agreement.wrong) {
            (0, _) => PIN_BLOCKED,
            (_, IN_A_ROW..) => PIN_AUTH_BLOCKED,
            _ => PIN_INVALID,
        })
    }

    /// The key that both sides get from the other's public one.
    fn shared(&self, request: &Value) -> Result<Hash, u8> {
        let key = get(request, KEY_AGREEMENT).ok_or(MISSING_PARAMETER)?;
        let (x, y) = bytes(key, -2).zip(bytes(key, -3)).ok_or(INVALID_PARAMETER)?;
        let public = PublicKey::from_sec1_bytes(&[&[4], x, y].concat()).map_err(|_| INVALID_PARAMETER)?;
        Ok(agree(&self.agreement.secret, &public))
    }
}

fn agree(secret: &SecretKey, public: &PublicKey) -> Hash {
    hash(secret.diffie_hellman(public).raw_secret_bytes())
}

fn new_secret() -> SecretKey {
    // All but 2^-32 of the numbers of 256 bits are below the order of the curve.
    SecretKey::from_slice(&random::<32>()).expect("a number below the order of P-256")
}

/// AES-256-CBC, the first vector zero, whole blocks.
fn encrypt(key: &Hash, plain: &[u8]) -> Vec<u8> {
    let mut mode = Encryptor::<Aes256>::new(&(*key).into(), &[0; BLOCK].into());
    let (blocks, _) = plain.as_chunks::<BLOCK>();
    let encrypted = blocks.iter().flat_map(|block| {
        let mut block = Array::from(*block);
        mode.encrypt_block(&mut block);
        block
    });
    encrypted.collect()
}

/// None when it does not consist of whole blocks.
fn decrypt(key: &Hash, encrypted: &[u8]) -> Option<Vec<u8>> {
    let mut mode = Decryptor::<Aes256>::new(&(*key).into(), &[0; BLOCK].into());
    let (blocks, rest) = encrypted.as_chunks::<BLOCK>();
    let plain = blocks.iter().flat_map(|block| {
        let mut block = Array::from(*block);
        mode.decrypt_block(&mut block);
        block
    });
    rest.is_empty().then(|| plain.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cbor::map;
    use crate::ctap2::tests::Plugged;

    /// A client's side of the agreement.
    struct Client {
        shared: Hash,
        public: Value,
    }

    impl Client {
        fn new(token: &mut Token) -> Self {
            let secret = SecretKey::from_slice(&[5; 32]).unwrap();
            let theirs = token.agreement.secret.public_key();
            Self { shared: agree(&secret, &theirs), public: p256_in_cose(&secret.public_key(), ECDH) }
        }

        fn pin_token(&self, token: &mut Token, pin: &str) -> Result<Members, u8> {
            let hash = token::bytes(&encrypt(&self.shared, &left(&hash(pin.as_bytes()))));
            let members = [(1, 1.into()), (2, GET_PIN_TOKEN.into()), (3, self.public.clone()), (6, hash)];
            token.client_pin(&map(members))
        }

        fn set_pin(&self, token: &mut Token, pin: &str) -> Result<Members, u8> {
            let mut padded = pin.as_bytes().to_vec();
            padded.resize(64, 0);
            let new = encrypt(&self.shared, &padded);
            let auth = token::bytes(&left(&mac(&self.shared, &[&new])));
            let new = token::bytes(&new);
            token.client_pin(&map([
                (1, 1.into()),
                (2, SET_PIN.into()),
                (3, self.public.clone()),
                (4, auth),
                (5, new),
            ]))
        }
    }

    #[test]
    fn a_pin_is_set_and_proven() {
        let mut token = Plugged::new();
        let client = Client::new(&mut token);
        assert_eq!(client.pin_token(&mut token, "1234"), Err(PIN_NOT_SET));
        assert_eq!(client.set_pin(&mut token, "123"), Err(PIN_POLICY_VIOLATION));
        assert_eq!(client.set_pin(&mut token, "1234"), Ok(Vec::new()));
        assert_eq!(client.set_pin(&mut token, "5678"), Err(PIN_AUTH_INVALID));
        let answer = client.pin_token(&mut token, "1234").unwrap();
        let pin_token = decrypt(&client.shared, answer[0].1.as_bytes().unwrap()).unwrap();
        assert_eq!(pin_token, token.agreement.token);

        let auth = token::bytes(&left(&mac(&pin_token, &[&[9; 32]])));
        let request = map([(8, auth)]);
        assert_eq!(token.verifies(&request, 8, &[9; 32]), Ok(true));
        assert_eq!(token.verifies(&request, 8, &[8; 32]), Err(PIN_AUTH_INVALID));
        assert_eq!(token.verifies(&request, 6, &[9; 32]), Ok(false));
    }

    #[test]
    fn wrong_pins_block_the_key() {
        let mut token = Plugged::new();
        token.set_first_pin("1234");
        let wrong = |token: &mut Token| Client::new(token).pin_token(token, "4321");
        let expected = [PIN_INVALID, PIN_INVALID, PIN_AUTH_BLOCKED, PIN_AUTH_BLOCKED];
        assert_eq!(expected.map(|_| wrong(&mut token).unwrap_err()), expected);
        assert_eq!(token.secrets.retries, 5);
        token.agreement = Agreement::new();
        assert!(Client::new(&mut token).pin_token(&mut token, "1234").is_ok());
        assert_eq!(token.secrets.retries, 8);
        token.secrets.retries = 1;
        assert_eq!(wrong(&mut token), Err(PIN_BLOCKED));
        assert_eq!(Client::new(&mut token).pin_token(&mut token, "1234"), Err(PIN_BLOCKED));
    }
}
