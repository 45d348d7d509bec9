//! What the key remembers, and the private keys that it makes of it: none is stored, a credential's id leads to its own.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

pub(crate) type Hash = [u8; 32];

/// How often a PIN may be wrong.
pub(crate) const RETRIES: u8 = 8;
/// A credential's id is a nonce, and the proof that it is ours and belongs to the relying party.
const NONCE: usize = 32;

/// The state file: `seed`, `counter`, `pin` (a hash) and `retries`, a line each.
pub(crate) struct Secrets {
    file: PathBuf,
    seed: Hash,
    pub(crate) counter: u32,
    pub(crate) pin: Option<[u8; 16]>,
    pub(crate) retries: u8,
}

/// A private key, by its algorithm's number in COSE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Es256,
    EdDsa,
}

impl Secrets {
    /// What the file says, or a new key.
    pub(crate) fn open(file: &Path) -> Self {
        let text = fs::read_to_string(file).unwrap_or_default();
        let word = |name| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let secrets = Self {
            file: file.to_owned(),
            seed: word("seed").map_or_else(random, |hex| from_hex(hex).expect("the state's seed")),
            counter: word("counter").map_or(0, |number| number.parse().expect("the state's counter")),
            pin: word("pin").map(|hex| from_hex(hex).expect("the state's PIN")),
            retries: word("retries").map_or(RETRIES, |number| number.parse().expect("the state's retries")),
        };
        secrets.save();
        secrets
    }

    /// Writes the file: as a whole or not at all.
    pub(crate) fn save(&self) {
        let mut text =
            format!("seed {}\ncounter {}\nretries {}\n", hex(&self.seed), self.counter, self.retries);
        if let Some(pin) = self.pin {
            let _ = writeln!(text, "pin {}", hex(&pin));
        }
        let partial = self.file.with_extension("partial");
        fs::write(&partial, text).and_then(|()| fs::rename(&partial, &self.file)).expect("the state file");
    }

    /// The id of a new credential.
    pub(crate) fn new_id(&self, rp_hash: &Hash, algorithm: Algorithm) -> Vec<u8> {
        let nonce: Hash = random();
        [nonce, self.proof(&nonce, rp_hash, algorithm)].concat()
    }

    /// Whose credential this is; none when it is another key's or another relying party's.
    pub(crate) fn algorithm_of(&self, id: &[u8], rp_hash: &Hash) -> Option<Algorithm> {
        let (nonce, proof) = id.split_at_checked(NONCE)?;
        [Algorithm::Es256, Algorithm::EdDsa]
            .into_iter()
            .find(|algorithm| proof == self.proof(nonce, rp_hash, *algorithm))
    }

    /// The private key of a credential.
    pub(crate) fn private_key(&self, id: &[u8]) -> Hash {
        mac(&self.seed, &[b"private key", id])
    }

    /// The private key of the attestation.
    pub(crate) fn attestation_key(&self) -> Hash {
        mac(&self.seed, &[b"attestation key"])
    }

    fn proof(&self, nonce: &[u8], rp_hash: &Hash, algorithm: Algorithm) -> Hash {
        mac(&self.seed, &[b"id", &algorithm.number().to_be_bytes(), nonce, rp_hash])
    }
}

impl Algorithm {
    /// Its number in COSE.
    pub(crate) fn number(self) -> i64 {
        match self {
            Self::Es256 => -7,
            Self::EdDsa => -8,
        }
    }

    pub(crate) fn of_number(number: i64) -> Option<Self> {
        [Self::Es256, Self::EdDsa].into_iter().find(|algorithm| algorithm.number() == number)
    }
}

/// HMAC-SHA-256.
pub(crate) fn mac(key: &[u8], parts: &[&[u8]]) -> Hash {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// SHA-256.
pub(crate) fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// The left half, which CTAP2 uses of many a hash.
pub(crate) fn left(hash: &Hash) -> [u8; 16] {
    std::array::from_fn(|index| hash.get(index).copied().unwrap_or(0))
}

/// Random bytes.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).expect("/dev/urandom");
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits =
        text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok());
    digits.collect::<Option<Vec<u8>>>()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::env::temp_dir;
    use std::process;

    #[test]
    fn what_is_saved_is_read_again() {
        let file = temp_dir().join(format!("softkey-secrets-{}", process::id()));
        let mut secrets = Secrets::open(&file);
        let id = secrets.new_id(&[1; 32], Algorithm::EdDsa);
        (secrets.counter, secrets.pin, secrets.retries) = (77, Some([3; 16]), 5);
        secrets.save();
        let again = Secrets::open(&file);
        assert_eq!((again.counter, again.pin, again.retries), (77, Some([3; 16]), 5));
        assert_eq!(again.private_key(&id), secrets.private_key(&id));
        assert_eq!(again.algorithm_of(&id, &[1; 32]), Some(Algorithm::EdDsa));
        assert_eq!(again.algorithm_of(&id, &[2; 32]), None);
        fs::remove_file(&file).unwrap();
        assert_eq!(Secrets::open(&file).algorithm_of(&id, &[1; 32]), None);
        fs::remove_file(&file).unwrap();
    }
}
