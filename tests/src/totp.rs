//! The authenticator app of a user, as people use it: it shows no code twice.

use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::driver::code;

const STEP: u64 = 30;

/// The app of one user. It never shows a code twice unless asked to.
#[derive(Debug)]
pub struct App {
    secret: String,
    last: u64,
}

impl App {
    /// An app that scanned this secret.
    pub fn new(base32: &str) -> Self {
        Self { secret: base32.to_ascii_uppercase().replace(' ', ""), last: 0 }
    }

    /// A code that was not shown before and is good for ten seconds at least. Waits when there is none:
    /// the steps before, at and after now are accepted, so three logins can follow each other at once.
    pub fn code(&mut self) -> String {
        loop {
            let now = seconds();
            if let Some(step) = self.free_step(now) {
                self.last = step;
                return self.at(step);
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Whether [`App::code`] would have to wait.
    pub fn is_used_up(&self) -> bool {
        self.free_step(seconds()).is_none()
    }

    fn free_step(&self, now: u64) -> Option<u64> {
        // The step before is worth using only while it stays in the window.
        let first = if STEP - now % STEP > 10 { now / STEP - 1 } else { now / STEP };
        let step = first.max(self.last + 1);
        (step <= now / STEP + 1).then_some(step)
    }

    /// The code that [`App::code`] gave last.
    pub fn last(&self) -> String {
        self.at(self.last)
    }

    /// What the app shows at this moment, whether used or not.
    pub fn current(&self) -> String {
        self.at(seconds() / STEP)
    }

    /// Six digits that are no code of the hours around now.
    pub fn wrong_code(&self) -> String {
        let now = seconds() / STEP;
        let good: Vec<String> = (now - 120..now + 120).map(|step| self.at(step)).collect();
        let mut candidates = (0..1_000_000).map(|number| format!("{number:06}"));
        candidates.find(|candidate| !good.contains(candidate)).expect("more candidates than codes")
    }

    fn at(&self, step: u64) -> String {
        code::of_step(&self.secret, step)
    }
}

/// A secret of 20 bytes as users see it, the same for the same name.
pub fn secret_of(name: &str) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut hmac = Hmac::<Sha1>::new_from_slice(b"twofa-tests").expect("any length is a key");
    hmac.update(name.as_bytes());
    let bytes = hmac.finalize().into_bytes();
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    bits.chunks(5)
        .map(|five| char::from(ALPHABET[five.iter().fold(0, |value, bit| value << 1 | usize::from(*bit))]))
        .collect()
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_whole_base32() {
        assert_eq!(secret_of("alice").len(), 32);
        assert_eq!(code::base32(&secret_of("alice")).len(), 20);
    }
}
