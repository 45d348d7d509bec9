//! Noise at every parser of foreign text: nothing panics, and what comes out keeps its promise. The noise is
//! the same in every run; a failure can be run again.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a broken test says so and stops")]

use std::path::Path;
use twofa::code::Answer;
use twofa::{admin, config, log};

const ROUNDS: usize = 20_000;
const POLICY: &str = include_str!("../../config/twofa.toml");

/// SplitMix64: small, and good enough to be unpredictable to a parser.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[self.below(from.len())]
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = self.below(most);
        (0..length).map(|_| u8::try_from(self.next() & 0xff).unwrap()).collect()
    }

    /// `text` with a few places overwritten, cut out or doubled.
    fn damage(&mut self, text: &str, pieces: &[&str]) -> String {
        let mut chars: Vec<char> = text.chars().collect();
        for _ in 0..=self.below(4) {
            let (at, to) = (self.below(chars.len() + 1), self.below(chars.len() + 1));
            let (from, to) = (at.min(to), (at.min(to) + self.below(12)).min(chars.len()));
            let piece: Vec<char> = self.pick(pieces).chars().collect();
            match self.below(3) {
                0 => drop(chars.drain(from..to)),
                1 => drop(chars.splice(from..to, piece)),
                _ => {
                    let doubled: Vec<char> = chars[from..to].to_vec();
                    chars.splice(from..from, doubled);
                }
            }
        }
        chars.into_iter().collect()
    }
}

#[test]
fn a_damaged_policy_is_valid_or_an_error_with_a_place() {
    let mut noise = Noise(1);
    let pieces = [
        "\"",
        "[",
        "]",
        "=",
        "\n",
        "-1",
        "9999999999999999999",
        "[[exempt]]",
        "user = \"a\"\n",
        "é",
        "\0",
        "{",
        "2027-13-45",
    ];
    let (mut valid, mut faulty) = (0, 0);
    for _ in 0..ROUNDS {
        let text = noise.damage(POLICY, &pieces);
        match config::parse(Path::new("/p"), &text) {
            Ok(config) => {
                let limits = config.policy.limits;
                assert!((1..=5).contains(&limits.prompts) && limits.total <= 100 && limits.failures >= 1);
                assert!(!config.policy.services.is_empty() && config.policy.app.shape.is_valid());
                valid += 1;
            }
            Err(error) => {
                assert!(error.to_string().starts_with("/p:"), "{error}");
                faulty += 1;
            }
        }
    }
    assert!(valid > ROUNDS / 10 && faulty > ROUNDS / 10, "{valid} valid, {faulty} faulty");
}

#[test]
fn an_answer_is_a_code_only_when_it_looks_like_one() {
    let mut noise = Noise(2);
    let typed =
        [&b"123456"[..], b"1234 5678", b"0123-4567-89AB-CDEF-GHJK-MNPQ", b"\x08\n\r\x7fINCORRECT", b""];
    for _ in 0..ROUNDS * 10 {
        let mut answer = noise.pick(&typed).to_vec();
        for _ in 0..noise.below(3) {
            let at = noise.below(answer.len() + 1);
            answer.splice(at..at, noise.bytes(3));
        }
        let password = noise.bytes(8);
        match Answer::parse(&answer, Some(&password)) {
            Answer::Code(code) => {
                assert!(
                    (6..=8).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_digit()),
                    "{answer:?}"
                );
            }
            Answer::Recovery(code) => assert_eq!(code.len(), 24, "{answer:?}"),
            Answer::Fake => assert_eq!(answer.first(), Some(&8), "{answer:?}"),
            Answer::Password => assert_eq!(answer, password),
            Answer::Blank => assert!(answer.iter().all(u8::is_ascii_whitespace), "{answer:?}"),
            Answer::Malformed => {}
        }
    }
}

#[test]
fn a_log_field_is_one_short_printable_word() {
    let mut noise = Noise(3);
    for _ in 0..ROUNDS {
        let text = noise.bytes(200);
        let escaped = log::escape(&String::from_utf8_lossy(&text));
        assert!(escaped.bytes().all(|byte| byte.is_ascii_graphic()) && escaped.len() <= 71, "{escaped}");
    }
}

#[test]
fn a_damaged_passwd_lists_only_whole_lines() {
    let mut noise = Noise(4);
    let passwd = "root:x:0:0:root:/root:/bin/bash\nalice:x:1001:1001::/home/alice:/bin/sh\n";
    for _ in 0..ROUNDS {
        let text = noise.damage(passwd, &[":", "\n", "::", "99999999999", "-1", "\0"]);
        for user in admin::login_users(&text) {
            assert!(text.contains(&format!("{}:", user.user)), "{text}");
        }
    }
}
