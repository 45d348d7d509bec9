//! Codes of an authenticator app (RFC 6238), written apart from the product's: a fault shared by
//! both would go unseen.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

/// Seconds that one code lasts.
pub const STEP: i64 = 30;

/// The six digits of the step with this number.
#[must_use]
pub fn of_step(secret: &str, step: u64) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(&base32(secret)).expect("any length is a key");
    mac.update(&step.to_be_bytes());
    let hash = mac.finalize().into_bytes();
    let start = usize::from(hash[19] & 15);
    let number = u32::from_be_bytes(hash[start..start + 4].try_into().expect("four bytes"));
    format!("{:06}", (number & 0x7fff_ffff) % 1_000_000)
}

/// The code of the moment `time`, or of `steps` steps later.
#[must_use]
pub fn at(secret: &str, time: i64, steps: i64) -> String {
    of_step(secret, (time.div_euclid(STEP) + steps).cast_unsigned())
}

/// Six digits that no step near `time` has.
#[must_use]
pub fn wrong(secret: &str, time: i64) -> String {
    let near: Vec<String> = (-30..=30).map(|steps| at(secret, time, steps)).collect();
    let mut all = (0..1_000_000_u32).map(|number| format!("{number:06}"));
    all.find(|code| !near.contains(code)).expect("61 of a million are taken")
}

/// 160 bits, different for each number.
#[must_use]
pub fn secret(number: u32) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ u64::from(number);
    let digit = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005);
        state = state.wrapping_add(1_442_695_040_888_963_407);
        char::from(alphabet[(state >> 59) as usize])
    };
    (0..32).map(digit).collect()
}

/// Bytes of a base32 text of whole groups (RFC 4648), without padding.
#[must_use]
pub fn base32(text: &str) -> Vec<u8> {
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for letter in text.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'2'..=b'7' => letter - b'2' + 26,
            _ => panic!("{text} is not base32"),
        };
        bits = bits << 5 | u32::from(value);
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    /// RFC 6238 appendix B, cut to six digits: the secret is "12345678901234567890".
    #[test]
    fn rfc_6238() {
        let secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        let cases = [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ];
        for (time, code) in cases {
            assert_eq!(super::at(secret, time, 0), code);
        }
    }
}
