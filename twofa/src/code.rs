//! Codes: what a user types, and whether it is right. No clock, no I/O, no randomness of its own.

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::fmt;
use subtle::ConstantTimeEq;
use totp_rs::Totp;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// RFC 4226 R6: a shared secret has at least 128 bits; 160 are recommended and what we make.
pub const MIN_SECRET_BYTES: usize = 16;
pub const NEW_SECRET_BYTES: usize = 20;
/// Longer than any key an authenticator app takes, short enough for a fixed record.
pub const MAX_SECRET_BYTES: usize = 128;

/// How many recovery codes one set has, and the bits of each (SP 800-63B: 112 or more need no slow hash).
pub const RECOVERY_CODES: usize = 10;
pub const RECOVERY_BYTES: usize = 15;
const RECOVERY_CHARS: usize = RECOVERY_BYTES * 8 / 5;

/// What sshd types for a user whom it will refuse anyway (auth-pam.c, `fake_password`): this text,
/// repeated or cut to the length of the real answer.
const SSHD_FAKE: &[u8] = b"\x08\n\r\x7fINCORRECT";

/// How many digits a sent code has: SP 800-63B asks for 20 bits, and people copy six.
pub const SENT_DIGITS: usize = 6;

/// An answer longer than this is no code (PAM_MAX_RESP_SIZE of Linux-PAM).
const MAX_ANSWER: usize = 512;

/// Bytes that are wiped when dropped and never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Secret(Vec<u8>);

impl Secret {
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes themselves: for a cipher, a MAC, or the one screen that shows them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The HMAC of RFC 6238, section 1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    #[serde(rename = "SHA1")]
    Sha1,
    #[serde(rename = "SHA256")]
    Sha256,
    #[serde(rename = "SHA512")]
    Sha512,
}

impl Algorithm {
    /// The name in `otpauth://` URIs and in the policy.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
        }
    }
}

/// The shape of the codes of one authenticator app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    pub algorithm: Algorithm,
    /// 6 to 8.
    pub digits: u8,
    /// The time step in seconds, 15 to 60.
    pub step: u8,
}

impl Shape {
    /// Whether a code of this shape can be typed, made and checked at all.
    pub fn is_valid(self) -> bool {
        (6..=8).contains(&self.digits) && (15..=60).contains(&self.step)
    }
}

/// The newest time step within `skew` of `now` whose code is `digits`.
///
/// Every step of the window is computed and compared, right code or not, so the time taken says
/// nothing. The newest one wins, so that a code which happens to be right for two steps is spent for both.
pub fn matching_step(secret: &Secret, shape: Shape, digits: &str, now: u64, skew: u8) -> Option<u64> {
    let totp = totp(secret, shape)?;
    let step = u64::from(shape.step);
    let current = now / step;
    let window = current.saturating_sub(skew.into())..=current.saturating_add(skew.into());
    window.fold(None, |found, counter| {
        // A step that the clock cannot express has no code.
        let matched = counter.checked_mul(step).and_then(|time| totp.check(digits, time));
        matched.or(found)
    })
}

/// The code of `now`, for the enrolment that proves an app works and for tests.
pub fn code_at(secret: &Secret, shape: Shape, now: u64) -> Option<String> {
    Some(totp(secret, shape)?.generate(now).to_string())
}

fn totp(secret: &Secret, shape: Shape) -> Option<Totp> {
    let algorithm = match shape.algorithm {
        Algorithm::Sha1 => totp_rs::Algorithm::SHA1,
        Algorithm::Sha256 => totp_rs::Algorithm::SHA256,
        Algorithm::Sha512 => totp_rs::Algorithm::SHA512,
    };
    totp_rs::Builder::new()
        .with_algorithm(algorithm)
        .with_digits(shape.digits)
        .with_step_duration(shape.step.into())
        .with_skew(0)
        .with_secret(secret.expose().to_vec())
        .build()
        .ok()
}

/// What came back from a code prompt.
#[derive(Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing was typed (an ssh without a terminal sends this): no guess.
    Blank,
    /// The login password again (sshd's PasswordAuthentication answers every prompt with it): no guess.
    Password,
    /// sshd's junk for a user whom it will refuse: no guess.
    Fake,
    /// Six to eight digits.
    Code(Zeroizing<String>),
    /// Something of the shape of a recovery code, in its canonical form.
    Recovery(Zeroizing<String>),
    /// A wish in place of a code: another method, or another message. No guess.
    Word(Word),
    /// Anything else: a wrong guess.
    Malformed,
}

/// What can be typed at a code prompt besides codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    App,
    Sms,
    Email,
    Key,
    Resend,
}

impl Word {
    fn parse(typed: &str) -> Option<Self> {
        match typed.trim().to_ascii_lowercase().as_str() {
            "app" => Some(Self::App),
            "sms" => Some(Self::Sms),
            "email" | "e-mail" | "mail" => Some(Self::Email),
            "key" => Some(Self::Key),
            "resend" => Some(Self::Resend),
            _ => None,
        }
    }
}

impl Answer {
    /// Sorts what was typed. `password` is the first factor's token, when there is one.
    pub fn parse(typed: &[u8], password: Option<&[u8]>) -> Self {
        if typed.len() > MAX_ANSWER {
            return Self::Malformed;
        }
        if typed.iter().all(|byte| byte.is_ascii_whitespace()) {
            return Self::Blank;
        }
        if password.is_some_and(|password| bool::from(password.ct_eq(typed))) {
            return Self::Password;
        }
        if is_fake(typed) {
            return Self::Fake;
        }
        let Ok(typed) = str::from_utf8(typed) else {
            return Self::Malformed;
        };
        if let Some(word) = Word::parse(typed) {
            return Self::Word(word);
        }
        if let Some(code) = canonical_recovery(typed) {
            return Self::Recovery(code);
        }
        // People type what the app shows: `123 456`, `123-456`. One dash, no more.
        let mut digits = Zeroizing::new(String::with_capacity(MAX_ANSWER));
        digits.extend(typed.chars().filter(|c| !c.is_ascii_whitespace()));
        if let Some(dash) = digits.find('-') {
            digits.remove(dash);
        }
        let is_code = (6..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        if is_code { Self::Code(digits) } else { Self::Malformed }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blank => "Blank",
            Self::Password => "Password",
            Self::Fake => "Fake",
            Self::Code(_) => "Code([redacted])",
            Self::Recovery(_) => "Recovery([redacted])",
            Self::Word(word) => return write!(f, "Word({word:?})"),
            Self::Malformed => "Malformed",
        })
    }
}

/// Whether sshd, and no person, gave this as a password or answer.
pub fn is_fake(typed: &[u8]) -> bool {
    !typed.is_empty() && typed.iter().zip(SSHD_FAKE.iter().cycle()).all(|(a, b)| a == b)
}

/// What a sent code is known by: an HMAC under a key that only the login has which sent it. So the code is worth
/// nothing in any other login, and nothing that is stored tells what it was.
pub type Tag = [u8; 32];

/// The random bytes of one login. Its codes are made from them, and are gone with them.
#[derive(Clone, Debug)]
pub struct Seed(Secret);

impl Seed {
    pub fn new(random: [u8; 32]) -> Self {
        Self(Secret::new(random))
    }

    /// The `number`th code of this login.
    pub fn sent_code(&self, number: u8) -> SentCode {
        let [a, b, c, d, e, f, g, h, ..] = tag(&self.0, &format!("code {number}"));
        // 64 bits: that some codes are likelier than others cannot be noticed.
        let digits = u64::from_be_bytes([a, b, c, d, e, f, g, h]) % 10u64.pow(SENT_DIGITS as u32);
        SentCode(Zeroizing::new(format!("{digits:0SENT_DIGITS$}")))
    }

    /// Names the `number`th message of this login, to gateways and in the log.
    pub fn message_id(&self, number: u8) -> String {
        tag(&self.0, &format!("id {number}")).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    /// What a security key signs, the `number`th time in this login.
    pub fn challenge(&self, number: u8) -> [u8; 32] {
        tag(&self.0, &format!("challenge {number}"))
    }

    /// The secret of an app that is set up in this login.
    pub fn app_secret(&self) -> Secret {
        Secret::new(tag(&self.0, "app").first_chunk::<NEW_SECRET_BYTES>().copied().unwrap_or_default())
    }

    /// The recovery codes that come with it, as they are shown and as they are kept.
    pub fn recovery_codes(&self) -> (Vec<Zeroizing<String>>, RecoverySet) {
        let random = |number| tag(&self.0, &format!("recovery {number}"));
        let code = |number| format_recovery(random(number).first_chunk().unwrap_or(&[0; RECOVERY_BYTES]));
        let shown: Vec<_> = (0..RECOVERY_CODES).map(code).collect();
        let set = RecoverySet::new(Secret::new(tag(&self.0, "recovery key")), &shown);
        (shown, set)
    }

    /// What the `number`th code is known by.
    pub fn sent_tag(&self, number: u8) -> Tag {
        self.tag(number, self.sent_code(number).expose())
    }

    /// What `digits` is known by as the `number`th code.
    pub fn tag(&self, number: u8, digits: &str) -> Tag {
        tag(&self.0, &Zeroizing::new(format!("tag {number} {digits}")))
    }
}

/// A code on its way to a user.
#[derive(Clone, PartialEq, Eq)]
pub struct SentCode(Zeroizing<String>);

impl SentCode {
    /// The digits: for the message, and for nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SentCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Crockford's base32: no I, L, O, U, so that what is read aloud or copied by hand stays right.
const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A recovery code as it is shown: six groups of four.
pub fn format_recovery(random: &[u8; RECOVERY_BYTES]) -> Zeroizing<String> {
    let mut shown = Zeroizing::new(String::with_capacity(RECOVERY_CHARS + RECOVERY_CHARS / 4));
    // Five bytes are eight characters of five bits, most significant first.
    for (group, bytes) in random.chunks_exact(5).enumerate() {
        let bits = bytes.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
        for position in 0..8u8 {
            if position % 4 == 0 && (group, position) != (0, 0) {
                shown.push('-');
            }
            let index = usize::try_from(bits >> (35 - 5 * position) & 31).unwrap_or_default();
            shown.push(CROCKFORD.get(index).map_or('0', |c| char::from(*c)));
        }
    }
    shown
}

/// A typed recovery code without groups and look-alikes, or nothing when it cannot be one.
fn canonical_recovery(typed: &str) -> Option<Zeroizing<String>> {
    let mut code = Zeroizing::new(String::with_capacity(MAX_ANSWER));
    for c in typed.chars().filter(|c| *c != '-' && !c.is_ascii_whitespace()) {
        let c = match c.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            c => c,
        };
        if !c.is_ascii() || !CROCKFORD.contains(&u8::try_from(c).ok()?) {
            return None;
        }
        code.push(c);
    }
    (code.len() == RECOVERY_CHARS).then_some(code)
}

/// The recovery codes of a user as they are kept: a key of their own and an HMAC-SHA-256 of each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoverySet {
    key: Secret,
    tags: Vec<[u8; 32]>,
}

impl RecoverySet {
    /// Keeps what is needed to know `codes` (as shown) again.
    pub fn new(key: Secret, codes: &[Zeroizing<String>]) -> Self {
        let tag = |code: &Zeroizing<String>| tag(&key, &canonical_recovery(code).unwrap_or_default());
        let tags = codes.iter().map(tag).collect();
        Self { key, tags }
    }

    pub fn len(&self) -> usize {
        self.tags.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tags.is_empty()
    }

    /// Which code of the set `canonical` is. All are compared, whichever is right.
    pub fn position(&self, canonical: &str) -> Option<u8> {
        let tag = tag(&self.key, canonical);
        let mut found = None;
        for (position, known) in (0u8..).zip(&self.tags) {
            if bool::from(known.ct_eq(&tag)) {
                found = Some(position);
            }
        }
        found
    }
}

fn tag(key: &Secret, canonical: &str) -> Tag {
    // HMAC takes a key of any length; the constructor cannot fail.
    Hmac::<Sha256>::new_from_slice(key.expose())
        .map(|mac| mac.chain_update(canonical.as_bytes()).finalize().into_bytes().into())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(algorithm: Algorithm, digits: u8) -> Shape {
        Shape { algorithm, digits, step: 30 }
    }

    /// RFC 6238, appendix B: the three algorithms with seeds of their hash's length.
    #[test]
    fn rfc_6238_vectors() {
        let seed = |length: usize| Secret::new(b"1234567890".repeat(7)[..length].to_vec());
        let algorithms =
            [(Algorithm::Sha1, seed(20)), (Algorithm::Sha256, seed(32)), (Algorithm::Sha512, seed(64))];
        let vectors = [
            (59, ["94287082", "46119246", "90693936"]),
            (1_111_111_109, ["07081804", "68084774", "25091201"]),
            (1_111_111_111, ["14050471", "67062674", "99943326"]),
            (1_234_567_890, ["89005924", "91819424", "93441116"]),
            (2_000_000_000, ["69279037", "90698825", "38618901"]),
            (20_000_000_000, ["65353130", "77737706", "47863826"]),
        ];
        for (time, codes) in vectors {
            for ((algorithm, seed), code) in algorithms.iter().zip(codes) {
                let shape = shape(*algorithm, 8);
                assert_eq!(matching_step(seed, shape, code, time, 0), Some(time / 30), "{time}");
                assert_eq!(code_at(seed, shape, time).unwrap(), code);
            }
        }
    }

    /// RFC 4226, appendix D: counter 0 to 9, six digits.
    #[test]
    fn rfc_4226_vectors() {
        let seed = Secret::new(*b"12345678901234567890");
        let codes = [
            "755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871",
            "520489",
        ];
        for (counter, code) in (0u64..).zip(codes) {
            let matched = matching_step(&seed, shape(Algorithm::Sha1, 6), code, counter * 30, 0);
            assert_eq!(matched, Some(counter));
        }
    }

    #[test]
    fn the_window_is_skew_steps_on_each_side() {
        let seed = Secret::new(*b"12345678901234567890");
        let shape = shape(Algorithm::Sha1, 6);
        let now = 1_795_298_605u64;
        for skew in 0..=2u8 {
            for offset in -4i64..=4 {
                let code = code_at(&seed, shape, now.checked_add_signed(offset * 30).unwrap()).unwrap();
                let expected = (offset.unsigned_abs() <= skew.into())
                    .then(|| (now / 30).checked_add_signed(offset).unwrap());
                assert_eq!(matching_step(&seed, shape, &code, now, skew), expected, "{skew} {offset}");
            }
        }
    }

    #[test]
    fn no_clock_panics() {
        let seed = Secret::new(*b"12345678901234567890");
        for now in [0, 1, 29, u64::from(u32::MAX), u64::MAX - 30, u64::MAX] {
            for skew in 0..=2 {
                let _ = matching_step(&seed, shape(Algorithm::Sha1, 6), "000000", now, skew);
            }
        }
    }

    #[test]
    fn answers_are_sorted() {
        let code = |s: &str| Answer::Code(Zeroizing::new(s.into()));
        let cases: &[(&[u8], Answer)] = &[
            (b"", Answer::Blank),
            (b"   ", Answer::Blank),
            (b"123456", code("123456")),
            (b" 123 456 ", code("123456")),
            (b"123-456", code("123456")),
            (b"1234 5678", code("12345678")),
            (b"1-23-456", Answer::Malformed),
            (b"12345", Answer::Malformed),
            (b"123456789", Answer::Malformed),
            (b"+123456", Answer::Malformed),
            (b"0x1E240", Answer::Malformed),
            (b"-", Answer::Malformed),
            ("１２３４５６".as_bytes(), Answer::Malformed),
            ("٠١٢٣٤٥".as_bytes(), Answer::Malformed),
            (b"\xff\xfe1234", Answer::Malformed),
            (b"\x1b[2J", Answer::Malformed),
            (b"\x08\n\r\x7fINCORRECT", Answer::Fake),
            (b"\x08\n\r\x7fIN", Answer::Fake),
            (b"\x08", Answer::Fake),
            (b"\x08\n\r\x7fINCORRECT\x08\n\r\x7fI", Answer::Fake),
            (b"hunter2", Answer::Password),
            (b"sms", Answer::Word(Word::Sms)),
            (b" Resend ", Answer::Word(Word::Resend)),
            (b"E-Mail", Answer::Word(Word::Email)),
            (b"APP", Answer::Word(Word::App)),
            (b"sms please", Answer::Malformed),
        ];
        for (typed, expected) in cases {
            assert_eq!(&Answer::parse(typed, Some(b"hunter2")), expected, "{typed:?}");
        }
        assert_eq!(Answer::parse(&vec![b'1'; 1 << 20], None), Answer::Malformed);
        assert_eq!(Answer::parse(b"hunter2", None), Answer::Malformed);
    }

    #[test]
    fn a_recovery_code_survives_being_copied_by_hand() {
        let shown = format_recovery(&[
            0x00, 0x44, 0x32, 0x14, 0xc7, 0x42, 0x54, 0xb6, 0x35, 0xcf, 0x84, 0x65, 0x3a, 0x56, 0xd7,
        ]);
        assert_eq!(shown.as_str(), "0123-4567-89AB-CDEF-GHJK-MNPQ");
        let set = RecoverySet::new(Secret::new([7; 32]), &[format_recovery(&[9; 15]), shown]);
        let typed =
            ["0123-4567-89AB-CDEF-GHJK-MNPQ", "ol2345678 9abcdefghjkmnpq", "Oi23 4567 89ab cdef ghjk mnpq"];
        for typed in typed.map(|typed| typed.replace("ol23", "O123")) {
            let Answer::Recovery(code) = Answer::parse(typed.as_bytes(), None) else {
                panic!("{typed} is no recovery code")
            };
            assert_eq!(set.position(&code), Some(1), "{typed}");
        }
        let Answer::Recovery(wrong) = Answer::parse(b"0123-4567-89AB-CDEF-GHJK-MNPR", None) else {
            panic!("of the right shape")
        };
        assert_eq!(set.position(&wrong), None);
        assert_eq!(Answer::parse(b"0123-4567-89AB-CDEF-GHJK-MNPU", None), Answer::Malformed);
    }

    /// Every code of every login is another one, and known to that login only.
    #[test]
    fn a_sent_code_belongs_to_its_login() {
        let seeds = [Seed::new([1; 32]), Seed::new([2; 32])];
        for seed in &seeds {
            for number in 0..3 {
                let code = seed.sent_code(number);
                assert!(
                    code.expose().len() == SENT_DIGITS && code.expose().bytes().all(|b| b.is_ascii_digit())
                );
                assert_eq!(code, seed.sent_code(number));
                assert_eq!(seed.message_id(number).len(), 32);
            }
        }
        let tags = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(seed, number)| seeds[seed].tag(number, "123456"));
        for (at, tag) in tags.iter().enumerate() {
            assert!(!tags[at + 1..].contains(tag));
        }
        assert_ne!(seeds[0].tag(0, "123456"), seeds[0].tag(0, "123457"));
        assert_ne!(seeds[0].sent_code(0), seeds[1].sent_code(0));
        assert_ne!(seeds[0].message_id(0), seeds[0].message_id(1));
    }

    /// All digits are as likely as one expects of 10,000 codes: chi-squared with 9 degrees of freedom.
    #[test]
    fn sent_codes_are_even() {
        for place in 0..SENT_DIGITS {
            let mut counts = [0f64; 10];
            for n in 0..10_000u32 {
                let mut random = [0; 32];
                random[..4].copy_from_slice(&n.to_le_bytes());
                let code = Seed::new(random).sent_code(0);
                counts[usize::from(code.expose().as_bytes()[place] - b'0')] += 1.0;
            }
            let chi: f64 = counts.iter().map(|count| (count - 1000.0) * (count - 1000.0) / 1000.0).sum();
            assert!(chi < 40.0, "place {place}: {counts:?}");
        }
    }

    #[test]
    fn secrets_do_not_print() {
        let shown = format!(
            "{:?} {:?} {:?} {:?} {:?}",
            Seed::new([7; 32]),
            Seed::new([7; 32]).sent_code(0),
            Secret::new(*b"s3cret"),
            Answer::parse(b"123456", None),
            RecoverySet::new(Secret::new([7; 32]), &[])
        );
        assert_eq!(
            shown,
            "Seed([redacted]) [redacted] [redacted] Code([redacted]) RecoverySet { key: [redacted], tags: [] }"
        );
    }
}
