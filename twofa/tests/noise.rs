//! Noise at every parser of foreign text: nothing panics, and what comes out keeps its promise. The noise is
//! the same in every run; a failure can be run again.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a broken test says so and stops")]

mod common;

use common::{DECOY, LIMITS, NOW, UID, USER};
use std::path::Path;
use twofa::account::{
    Account, Cap, Change, Claim, Conflict, Device, Factors, Guess, Limits, Lock, Proof, SendLimits, Source,
    Spent, State,
};
use twofa::code::{Answer, Secret, Word};
use twofa::contact::{Address, Number};
use twofa::login::{Event, Login, Notice, Prompt, Step};
use twofa::policy::{Method, Mode};
use twofa::token::Touched;
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
    let typed = [
        &b"123456"[..],
        b"1234 5678",
        b"0123-4567-89AB-CDEF-GHJK-MNPQ",
        b"\x08\n\r\x7fINCORRECT",
        b"",
        b"sms",
        b" Resend\r",
    ];
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
            Answer::Word(word) => {
                let typed = String::from_utf8(answer).unwrap().trim().to_ascii_lowercase();
                let words: &[&str] = match word {
                    Word::App => &["app"],
                    Word::Sms => &["sms"],
                    Word::Email => &["email", "e-mail", "mail"],
                    Word::Key => &["key"],
                    Word::Resend => &["resend"],
                };
                assert!(words.contains(&typed.as_str()), "{typed:?}");
            }
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

/// What comes out goes to a hook, and into the header of a mail.
#[test]
fn a_contact_is_plain_or_none() {
    let mut noise = Noise(5);
    let pieces = ["+", "00", "@", ".", "-", " ", "\n", "'", ";", "é", "1234567", "\0", "a@b"];
    let (mut numbers, mut addresses) = (0, 0);
    for _ in 0..ROUNDS {
        if let Ok(number) = Number::parse(&noise.damage("+48 600 000 123", &pieces), None) {
            let digits = number.as_str().strip_prefix('+').unwrap();
            assert!((7..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()));
            assert_eq!(Number::parse(number.as_str(), None).unwrap(), number);
            assert!(number.masked().ends_with(&digits[digits.len() - 3..]));
            numbers += 1;
        }
        if let Ok(address) = Address::parse(&noise.damage("alice@example.org", &pieces)) {
            let text = address.as_str();
            assert!(text.is_ascii() && text.matches('@').count() == 1 && !text.starts_with('-'), "{text}");
            assert!(!text.contains(|c: char| c.is_control() || " ,;<>\"\\|/".contains(c)), "{text}");
            assert!(text.contains(address.masked().trim_start_matches(|c| c != '@')), "{text}");
            addresses += 1;
        }
    }
    assert!(numbers > ROUNDS / 10 && addresses > ROUNDS / 10, "{numbers} numbers, {addresses} addresses");
}

/// A state from damaged bytes: whatever it says, it is judged, and what is stored of it can be read again.
#[test]
fn a_state_of_noise_is_judged() {
    let mut noise = Noise(6);
    let source = Source::new(Some(common::address()));
    let sends = |day| SendLimits { pause: u64::MAX, login: 255, hour: 255, day, host: u16::MAX };
    let limits = [LIMITS, Limits { failures: 1, window: u64::MAX, sends: sends(255), ..LIMITS }];
    let full: State = (0..4).fold(State::default(), |state, n| {
        let send = Change::Send { tag: [n; 32], valid_for: 300, source, number: None, earlier: 0 };
        let state = state.apply(&send, &LIMITS, NOW + 10 * u64::from(n)).unwrap();
        state.apply(&Change::Fail { guess: Guess::Sent([n; 32]), source }, &LIMITS, NOW).unwrap()
    });
    let trust = |n, duration| {
        let device = Device::new([192, 0, 2, n].into(), Some([n; 32]), &[]).unwrap();
        Claim { device, password: Some([n; 8]), duration }
    };
    let full = (0..4)
        .fold(full, |state, n| state.apply(&Change::Trust(trust(n, 86_400)), &LIMITS, NOW + 40).unwrap());
    let full = postcard::to_allocvec(&full).unwrap();
    let mut judged = 0;
    for _ in 0..ROUNDS {
        let mut bytes = full.clone();
        for _ in 0..=noise.below(3) {
            let at = noise.below(bytes.len());
            bytes[at] = noise.bytes(9).first().copied().unwrap_or(0xff);
        }
        let Ok((state, _)) = postcard::take_from_bytes::<State>(&bytes) else {
            continue;
        };
        let n = u8::try_from(noise.below(4)).unwrap();
        let tag = [n; 32];
        let changes = [
            Change::Send { tag, valid_for: noise.next(), source, number: None, earlier: n },
            Change::Prove { proof: Proof::Sent(tag), source, typos: 1 },
            Change::Prove { proof: Proof::App(vec![Spent { app: 1, step: noise.next() }]), source, typos: 9 },
            Change::Fail { guess: Guess::Sent(tag), source },
            Change::Unlock,
            Change::Trust(trust(n, noise.next())),
            Change::Prove { proof: Proof::Trusted(trust(n, 86_400)), source, typos: 1 },
        ];
        let time = *noise.pick(&[0, NOW, u64::MAX]);
        if let Ok(next) = state.apply(noise.pick(&changes), noise.pick(&limits), time) {
            let stored = postcard::to_allocvec(&next).unwrap();
            assert_eq!(postcard::from_bytes::<State>(&stored).unwrap(), next);
            judged += 1;
        }
    }
    assert!(judged > ROUNDS / 10, "{judged}");
}

/// Any event at any time, whoever comes and whatever is asked for: a login ends, and soon.
#[test]
fn a_login_of_noise_ends() {
    let mut noise = Noise(7);
    let methods: [&[Method]; 7] = [
        &[Method::App],
        &[Method::Sms],
        &[Method::Email],
        &[Method::App, Method::Sms],
        &[Method::Email, Method::App],
        &[Method::Key],
        &[Method::Key, Method::Sms],
    ];
    let both = Factors { apps: common::factors().apps, ..common::contacts() };
    let with_keys = Factors { phone: Some(common::phone()), ..common::key_factors() };
    let two_keys = Factors { keys: vec![common::key(1), common::key(2)], ..common::key_factors() };
    let known = [both, common::contacts(), common::factors(), with_keys, two_keys];
    let seed = common::seed(1);
    let (mut admitted, mut longest) = (0, 0);
    let (mut touched, mut suspended) = (0, 0);
    let (mut trusted, mut told) = (0, 0);
    let device = Device::new(common::address(), None, &[]).unwrap();
    let claim = Claim { device, password: None, duration: 86_400 };
    let trusting = State::default().apply(&Change::Trust(claim.clone()), &LIMITS, NOW).unwrap();
    for _ in 0..ROUNDS / 2 {
        let mode = *noise.pick(&[Mode::Enforce, Mode::Observe]);
        let mut policy = common::policy_of(mode, noise.pick::<&[Method]>(&methods));
        policy.key.pin = noise.below(2) > 0;
        let mut request = common::request();
        request.first_factor = noise.below(4) > 0;
        request.local = noise.below(2) > 0;
        policy.trust.duration = Some(86_400).filter(|_| noise.below(2) > 0);
        policy.trust.always = noise.below(2) > 0;
        request.claim = Some(claim.clone()).filter(|_| noise.below(4) > 0);
        let mut login = Login::new(&policy, &request, &seed);
        let (mut time, mut event, mut steps) = (NOW, Event::Begin, 0);
        loop {
            let step = login.next(event, time);
            steps += 1;
            assert!(steps <= 60, "{step:?}");
            suspended += u32::from(matches!(step, Step::Commit(Change::Suspend(_))));
            time += noise.next() % 30;
            let stray = noise.below(40) == 0;
            event = match step {
                Step::Finish { notice, verdict } => {
                    trusted += u32::from(format!("{verdict:?}").starts_with("Admit(Trusted"));
                    told += u32::from(matches!(notice, Some(Notice::Trusted { .. })));
                    touched += u32::from(format!("{verdict:?}").starts_with("Admit(Key"));
                    admitted += u32::from(format!("{verdict:?}").starts_with("Admit(Sent"));
                    break;
                }
                _ if stray => strays(&mut noise),
                Step::Read => {
                    let factors = noise.pick(&known).clone();
                    let account = Account { user: USER.into(), uid: UID, generation: 1, factors };
                    let state = if noise.below(4) > 0 { State::default() } else { trusting.clone() };
                    let found = (noise.below(4) > 0).then(|| Box::new((account, state)));
                    Event::Account(found, DECOY)
                }
                Step::Ask { prompt: Prompt::Pin { .. }, .. } if noise.below(2) > 0 => {
                    Event::Pin(Secret::new(noise.bytes(8)))
                }
                Step::Ask { prompt: Prompt::Trust { .. }, .. } => Event::Confirmed(noise.below(2) > 0),
                Step::Ask { .. } => Event::Answer(answers(&mut noise, &seed)),
                Step::Commit(Change::Prove { proof: Proof::Trusted(_), .. }) if noise.below(2) == 0 => {
                    Event::Conflict(Conflict::Untrusted)
                }
                Step::Commit(Change::Trust(_)) if noise.below(2) == 0 => {
                    Event::Committed(Box::new(trusting.clone()))
                }
                Step::Commit(Change::Prove { proof: Proof::Key { .. }, .. }) if noise.below(3) == 0 => {
                    Event::Conflict(Conflict::CounterBack(*noise.pick(&[1, 2, 9])))
                }
                Step::Commit(_) => match noise.below(4) {
                    0 => strays(&mut noise),
                    _ => Event::Committed(Box::default()),
                },
                Step::Deliver(_) if noise.below(4) == 0 => Event::Undelivered,
                Step::Deliver(_) => Event::Delivered,
                Step::Touch { .. } => Event::Touched(touches(&mut noise)),
            };
        }
        longest = longest.max(steps);
    }
    assert!(admitted > 100 && longest > 15, "{admitted} admitted, {longest} steps at most");
    assert!(trusted > 100 && told > 10, "{trusted} admitted as trusted, {told} trusted from then on");
    assert!(touched > 40 && suspended > 20, "{touched} admitted by a key, {suspended} suspended");
}

fn touches(noise: &mut Noise) -> Touched {
    let signed = Touched::Signed { credential: 0, counter: 1 };
    let touches = [
        signed.clone(),
        signed.clone(),
        signed,
        Touched::Signed { credential: 9, counter: 1 },
        Touched::Signed { credential: 1, counter: 1 },
        Touched::NoKey,
        Touched::NotEnrolled,
        Touched::Denied,
        Touched::TimedOut,
        Touched::PinRequired(3),
        Touched::SeveralKeys,
        Touched::PinPaused,
        Touched::WrongPin { left: None },
        Touched::PinBlocked,
        Touched::Gone,
        Touched::Lied(String::new()),
        Touched::Failed(String::new()),
    ];
    noise.pick(&touches).clone()
}

fn answers(noise: &mut Noise, seed: &twofa::code::Seed) -> Answer {
    let number = u8::try_from(noise.below(3)).unwrap();
    match noise.below(9) {
        0 => common::wrong_code(),
        1 | 2 => common::sent_code(seed, number),
        3 => Answer::Blank,
        4 => common::fake(),
        5 => common::wrong_recovery(),
        _ => Answer::Word(*noise.pick(&[
            Word::App,
            Word::Sms,
            Word::Email,
            Word::Key,
            Word::Resend,
            Word::Resend,
        ])),
    }
}

fn strays(noise: &mut Noise) -> Event {
    let strays = [
        Event::Begin,
        Event::NoAnswer,
        Event::Gone,
        Event::Failed,
        Event::Delivered,
        Event::Undelivered,
        Event::Account(None, 0),
        Event::Committed(Box::default()),
        Event::Conflict(Conflict::Used),
        Event::Conflict(Conflict::Changed),
        Event::Conflict(Conflict::Expired),
        Event::Conflict(Conflict::Superseded),
        Event::Conflict(Conflict::TooSoon(u64::MAX)),
        Event::Conflict(Conflict::Capped(Cap::User)),
        Event::Conflict(Conflict::Locked(Lock::Total)),
        Event::Conflict(Conflict::CounterBack(1)),
        Event::Touched(Touched::Signed { credential: 0, counter: 1 }),
        Event::Pin(Secret::new(*b"1234")),
        Event::Confirmed(true),
        Event::Conflict(Conflict::Untrusted),
    ];
    noise.pick(&strays).clone()
}
