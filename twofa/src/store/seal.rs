//! Sealing at rest: XChaCha20-Poly1305 with the host's key. The associated data says where a sealed text
//! belongs, so that it cannot be moved to another user, generation or place.

use crate::system;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

pub(super) const KEY_BYTES: usize = 32;
pub(super) const NONCE_BYTES: usize = 24;
pub(super) const TAG_BYTES: usize = 16;

pub(super) struct Sealer {
    cipher: XChaCha20Poly1305,
    mac: Hmac<Sha256>,
}

impl Sealer {
    /// Nothing for a key that is no key: another length, or never filled.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        if key.iter().all(|byte| *byte == 0) {
            return None;
        }
        let cipher = XChaCha20Poly1305::new(&Key::try_from(key).ok()?);
        Some(Self { cipher, mac: Hmac::new_from_slice(key).ok()? })
    }

    /// What stands for `text` where it must be known again and not be read: for one purpose, another for the next.
    pub(super) fn tag(&self, purpose: &str, text: &str) -> [u8; 32] {
        let mac =
            self.mac.clone().chain_update(purpose.as_bytes()).chain_update([0]).chain_update(text.as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// A random nonce, then the sealed text. 192 bits of nonce never repeat by chance.
    pub(super) fn seal(&self, place: &[u8], text: &[u8]) -> Option<Vec<u8>> {
        let nonce = system::random::<NONCE_BYTES>().ok()?;
        let sealed = self.cipher.encrypt(&XNonce::from(nonce), Payload { msg: text, aad: place }).ok()?;
        Some([&nonce[..], &sealed].concat())
    }

    /// The text, if `sealed` was sealed with this key for this place.
    pub(super) fn open(&self, place: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        let text = self.cipher.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: place }).ok()?;
        Some(Zeroizing::new(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_32_bytes_that_were_filled_are_a_key() {
        for (key, good) in
            [(&[1; 32][..], true), (&[1; 31], false), (&[1; 33], false), (&[0; 32], false), (&[], false)]
        {
            assert_eq!(Sealer::new(key).is_some(), good, "{} bytes", key.len());
        }
    }

    #[test]
    fn a_sealed_text_opens_in_its_place_only() {
        let sealer = Sealer::new(&[1; 32]).unwrap();
        let sealed = sealer.seal(b"account 7", b"text").unwrap();
        assert_eq!(sealer.open(b"account 7", &sealed).unwrap().as_slice(), b"text");
        assert_ne!(sealed, sealer.seal(b"account 7", b"text").unwrap(), "never sealed the same twice");
        for place in [&b"account 8"[..], b"account", b"account 77", b""] {
            assert!(sealer.open(place, &sealed).is_none());
        }
        for length in 0..sealed.len() {
            assert!(sealer.open(b"account 7", &sealed[..length]).is_none());
        }
        assert!(Sealer::new(&[2; 32]).unwrap().open(b"account 7", &sealed).is_none());
    }

    #[test]
    fn a_tag_is_of_its_key_purpose_and_text() {
        let tag = |key: u8, purpose, text| Sealer::new(&[key; 32]).unwrap().tag(purpose, text);
        assert_eq!(tag(1, "number", "+48"), tag(1, "number", "+48"));
        for other in
            [tag(2, "number", "+48"), tag(1, "decoy", "+48"), tag(1, "number", "+4"), tag(1, "numbe", "r+48")]
        {
            assert_ne!(other, tag(1, "number", "+48"));
        }
    }
}
