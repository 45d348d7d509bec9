//! Files of other modules: google-authenticator's are their users' own, and say what a code is worth here.
#![no_main]
#![allow(dead_code, reason = "modules of twofa-admin, in part")]

#[path = "../../twofa-admin/src/import/entry.rs"]
mod entry;
#[path = "../../twofa-admin/src/import/google.rs"]
mod google;
#[path = "../../twofa-admin/src/import/oath.rs"]
mod oath;
#[path = "../../twofa-admin/src/import/source.rs"]
mod source;
#[path = "../../twofa-admin/src/import/u2f.rs"]
mod u2f;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use entry::{Entry, Fate, Now};
use twofa::code::{Secret, Shape, code_at};
use twofa::otpauth::base32;
use twofa::token::Protocol;

/// 2026-11-21T22:05:00Z
const NOW: Now = Now { time: 59_843_290 * 30, skew: 1 };
/// Further back than any zone's clock is behind UTC.
const LONG_AGO: &str = "2026-11-21T10";

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((how, bytes)) = bytes.split_first() else { return };
    let party = u2f::Party { origin: "pam://origin".into(), appid: "pam://appid".into() };
    let found = match how % 3 {
        0 => google::parse(bytes, "alice", NOW),
        1 => oath::parse(bytes, NOW),
        _ => u2f::parse(bytes, &party),
    };
    let count = bytes.split(|byte| *byte == b'\n').count();
    let entries = match found {
        Ok(entries) => entries,
        Err(fault) => {
            assert!((1..=count).contains(&fault.line) && fault.why.is_ascii());
            return;
        }
    };
    let text = str::from_utf8(bytes).unwrap();
    assert!(!text.chars().any(|c| c.is_ascii_control() && !"\n\t".contains(c)));
    let lines: Vec<&str> = text.split('\n').collect();
    for entry in &entries {
        assert!((1..=count).contains(&entry.line));
        match &entry.fate {
            Fate::App { secret, shape, .. } => {
                assert!(entry.is_factor && how % 3 != 2 && shape.is_valid());
                assert!((16..=128).contains(&secret.expose().len()));
            }
            Fate::Key { credential, .. } => assert!(entry.is_factor && how % 3 == 2 && credential.is_valid()),
            Fate::Not { .. } => {}
        }
    }
    match how % 3 {
        0 => of_google(&lines, &entries),
        1 => of_oath(&lines, &entries),
        _ => of_u2f(&lines, &entries),
    }
});

fn of_google(lines: &[&str], entries: &[Entry]) {
    let [app, others @ ..] = entries else { panic!("no factor") };
    assert!(app.is_factor && !others.iter().any(|other| other.is_factor));
    assert!(entries.iter().all(|entry| entry.user == "alice"));
    let Fate::App { secret, shape, last, .. } = &app.fate else { return };
    // Look-alikes stand for letters, and what is left of the last byte is dropped.
    let letters = lines[0].replace([' ', '\t', '-'], "").to_ascii_uppercase();
    let letters = letters.replace('0', "O").replace('1', "L").replace('8', "B");
    let base32 = base32(secret);
    assert_eq!(secret.expose().len(), letters.len() * 5 / 8);
    assert!(letters.starts_with(&base32[..base32.len() - 1]));
    let options = |name: &str| -> Vec<Vec<&str>> {
        let words = lines.iter().filter_map(|line| line.strip_prefix("\" ")).map(str::split_ascii_whitespace);
        words.filter_map(|mut words| (words.next() == Some(name)).then_some(words.collect())).collect()
    };
    let number = |word: &&str| word.parse::<u64>().unwrap();
    assert!(!options("TOTP_AUTH").is_empty() && options("HOTP_COUNTER").is_empty());
    // Of several lines pam_google_authenticator goes by the first.
    let step = options("STEP_SIZE").first().map_or(30, |words| number(&words[0]));
    assert_eq!((shape.digits, u64::from(shape.step)), (6, step));
    // What was used opens nothing, nor what may have been.
    let used = options("DISALLOW_REUSE");
    assert!(used.iter().flatten().map(number).all(|step| last.is_some_and(|last| last >= step)));
    assert!(!used.is_empty() || last.is_some_and(|last| last > NOW.time / step));
}

fn of_oath(lines: &[&str], entries: &[Entry]) {
    let factors = || entries.iter().filter(|entry| entry.is_factor);
    let is_said =
        |line: &&&str| line.split_ascii_whitespace().next().is_some_and(|word| !word.starts_with('#'));
    assert_eq!(factors().count(), lines.iter().filter(is_said).count());
    for (number, entry) in factors().enumerate() {
        let fields: Vec<&str> = lines[entry.line - 1].split_ascii_whitespace().collect();
        assert_eq!(entry.user, fields[1]);
        let Fate::App { secret, shape, last, .. } = &entry.fate else { continue };
        assert!(fields[0].starts_with("HOTP/T") && hex(secret) == fields[3].to_ascii_lowercase());
        let Some(last) = last else {
            assert!(fields[6] < LONG_AGO);
            continue;
        };
        let step = u64::from(shape.step);
        assert!(*last > NOW.time / step);
        // Nor does the last code open a login once the clock has come to where the phone is. (That takes time.)
        if let Some(code) = fields.get(5)
            && number < 2
        {
            assert!(!(1..100).any(|ahead| opens(secret, *shape, code, NOW.time + ahead * step, *last)));
        }
    }
}

fn opens(secret: &Secret, shape: Shape, code: &str, time: u64, last: u64) -> bool {
    time / u64::from(shape.step) > last && code_at(secret, shape, time).as_deref() == Some(code)
}

fn of_u2f(lines: &[&str], entries: &[Entry]) {
    for (number, line) in (1..).zip(lines).filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let (user, devices) = line.split_once(':').unwrap();
        let devices = devices.split(':').filter(|device| !device.is_empty());
        let found: Vec<_> = entries.iter().filter(|entry| entry.line == number).collect();
        assert!(found.len() <= 24 && found.len() == devices.clone().count());
        let is_last = !lines[number..].iter().any(|line| line.split(':').next() == Some(user));
        for (entry, device) in found.into_iter().zip(devices) {
            assert_eq!(entry.user, user);
            let Fate::Key { credential, has_pin } = &entry.fate else { continue };
            assert!(is_last);
            let fields: Vec<&str> = device.split(',').collect();
            let options = fields.get(3).copied().unwrap_or_default();
            let asks_pin = options.split('+').any(|option| ["pin", "verification"].contains(&option));
            assert_eq!((credential.verify, *has_pin), (asks_pin, asks_pin));
            let (id, rp_id) = match credential.protocol {
                Protocol::Fido2 => (STANDARD.encode(&credential.id), "pam://origin"),
                Protocol::U2f => (URL_SAFE_NO_PAD.encode(&credential.id), "pam://appid"),
            };
            assert_eq!((id.as_str(), credential.rp_id.as_str()), (fields[0], rp_id));
            assert_eq!(fields.len() == 2, credential.protocol == Protocol::U2f);
        }
    }
}

fn hex(secret: &Secret) -> String {
    secret.expose().iter().map(|byte| format!("{byte:02x}")).collect()
}
