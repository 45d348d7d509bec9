//! What sshd says it accepted (SSH_AUTH_INFO_0), and lines of `authorized_keys`: which key that is, is found out a
//! second time here, in another way.
#![no_main]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use twofa::sshkey::{Line, SkKey};

const MAX_INFO: usize = 64 * 1024;
const MAX_BLOB: usize = 16 * 1024;

const ED25519: &str = "sk-ssh-ed25519@openssh.com";
const ECDSA: &str = "sk-ecdsa-sha2-nistp256@openssh.com";

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some(([how, at], rest)) = bytes.split_first_chunk() else { return };
    if let Ok(text) = str::from_utf8(rest) {
        accepted(text, *how >= 0xf0);
        text.lines().for_each(line);
    }
    // The bytes as a blob: chance does not often find its way through base64.
    let names = [ED25519, ECDSA].map(|name| [name.into(), name.replace('@', "-cert-v01@")]).concat();
    accepted(&info(&names[usize::from(how >> 4 & 3)], rest), false);
    near(*how, usize::from(*at), rest);
});

/// All the keys that are there, and no others.
fn accepted(text: &str, pad: bool) {
    let keys: Vec<Vec<u8>> = SkKey::accepted(text).iter().map(blob).collect();
    let lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    let expected: Vec<Vec<u8>> = lines.filter_map(key_in).collect();
    if text.len() <= MAX_INFO {
        assert_eq!(keys, expected);
    } else {
        assert_eq!(keys, [[]; 0]);
    }
    if pad && text.len() <= MAX_INFO {
        let padded = text.to_owned() + &"\n".repeat(MAX_INFO - text.len());
        assert_eq!(SkKey::accepted(&padded).len(), keys.len());
        assert_eq!(SkKey::accepted(&(padded + "\n")), []);
    }
    for key in SkKey::accepted(text) {
        let stored = postcard::to_allocvec(&key).unwrap();
        assert_eq!(postcard::from_bytes::<SkKey>(&stored).as_ref(), Ok(&key));
        let name = [&[0, 0, 0, key.kind().len() as u8], key.kind().as_bytes()].concat();
        assert!([ED25519, ECDSA].contains(&key.kind()) && blob(&key).starts_with(&name));
    }
    // Whatever else is read back: only a key.
    if let Ok(key) = postcard::from_bytes::<SkKey>(text.as_bytes()) {
        assert_eq!(key_in(&info(key.kind(), &blob(&key))), Some(blob(&key)));
    }
}

/// The key's blob in a line `publickey TYPE BASE64`.
fn key_in(line: &str) -> Option<Vec<u8>> {
    let [method, word, text] = line.split(' ').collect::<Vec<_>>()[..] else { return None };
    let blob = STANDARD.decode(text).ok().filter(|blob| STANDARD.encode(blob) == text)?;
    // Where each string of the blob begins, and where the last ends.
    let mut ends = vec![0];
    while let Some(length) = ends.last().and_then(|at| blob[*at..].first_chunk::<4>()) {
        let end = ends.last()? + 4 + u32::from_be_bytes(*length) as usize;
        if end > blob.len() {
            break;
        }
        ends.push(end);
    }
    let string = |number: usize| Some(&blob[ends.get(number)? + 4..*ends.get(number + 1)?]);
    let name = str::from_utf8(string(0)?).ok()?;
    let is_certificate = name.ends_with("-cert-v01@openssh.com");
    let plain = name.replace("-cert-v01@", "@");
    let first = if is_certificate { 2 } else { 1 };
    let (point, last) = match plain.as_str() {
        ED25519 => (first, first + 2),
        ECDSA => (first + 1, first + 3),
        _ => return None,
    };
    let right = match plain.as_str() {
        ED25519 => string(point)?.len() == 32,
        _ => string(first)? == b"nistp256" && string(point)?.len() == 65 && string(point)?[0] == 4,
    };
    let whole = is_certificate || *ends.get(last)? == blob.len();
    let known = method == "publickey" && word == name && text.len() <= MAX_BLOB;
    let length = (plain.len() as u32).to_be_bytes();
    let key = [&length, plain.as_bytes(), &blob[ends[first]..*ends.get(last)?]].concat();
    (right && whole && known && [plain.clone(), plain.replace('@', "-cert-v01@")].iter().any(|n| n == name))
        .then_some(key)
}

/// What is nearly an enrolled key, is another.
fn near(how: u8, at: usize, rest: &[u8]) {
    let (name, fields) = if how & 1 == 0 {
        (ED25519, [string(&[1; 32]), string(b"ssh:")].concat())
    } else {
        let point = [&[4][..], &[2; 64]].concat();
        (ECDSA, [string(b"nistp256"), string(&point), string(b"ssh:")].concat())
    };
    let enrolled = [string(name.as_bytes()), fields.clone()].concat();
    let certificate = name.replace('@', "-cert-v01@");
    let at = at.min(enrolled.len() - 1);
    let (word, variant) = match how >> 1 & 7 {
        0 => (name, [&enrolled[..], rest].concat()),
        1 => (name, [rest, &enrolled].concat()),
        2 => (name, [&enrolled[..at], rest].concat()),
        3 => (name, [&enrolled[..at], rest, &enrolled[at..]].concat()),
        4 => (name, [&enrolled[..at], rest, &enrolled[at + 1..]].concat()),
        5 => (&*certificate, [string(name.as_bytes()), string(rest), fields].concat()),
        // For this key, whatever the authority says.
        6 => {
            let whole = [string(certificate.as_bytes()), string(&enrolled), fields, rest.into()].concat();
            let found = SkKey::accepted(&info(&certificate, &whole));
            assert_eq!(found.len(), usize::from(STANDARD.encode(&whole).len() <= MAX_BLOB));
            assert!(found.iter().all(|key| blob(key) == enrolled));
            return;
        }
        // For another, with this one as its nonce and behind.
        _ => {
            let begun = &fields[..at.min(fields.len())];
            let behind = [begun, rest, &enrolled].concat();
            let whole = [string(certificate.as_bytes()), string(&enrolled), behind.clone()].concat();
            let found = SkKey::accepted(&info(&certificate, &whole));
            assert!(behind.starts_with(&fields) || found.iter().all(|key| blob(key) != enrolled));
            return;
        }
    };
    let found = SkKey::accepted(&info(word, &variant));
    assert_eq!(found.iter().any(|key| blob(key) == enrolled), variant == enrolled);
}

/// As sshd reads it (`sshkey_advance_past_options`), a line begins with a key or with options and then the key.
fn line(text: &str) {
    let Ok(line) = Line::parse(text) else { return };
    let encoded = STANDARD.encode(blob(&line.key));
    let printed = format!("{} {encoded} {}", line.key.kind(), line.comment);
    let key = |text: &str| {
        let mut words = text.split([' ', '\t']).filter(|word| !word.is_empty());
        words.next() == Some(line.key.kind()) && words.next() == Some(&encoded)
    };
    let text = text.trim();
    let options = past_options(text);
    assert!(key(text) || key(&text[options..]), "{text}");
    let mut lower = text[..options].to_owned();
    lower.make_ascii_lowercase();
    assert!(!line.no_touch_required || lower.contains("no-touch-required"));
    let again = Line { no_touch_required: false, ..line.clone() };
    assert_eq!(Line::parse(&printed), Ok(again));
    assert_eq!(SkKey::accepted(&info(line.key.kind(), &blob(&line.key))), [line.key]);
}

fn past_options(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut quoted) = (0, false);
    while at < bytes.len() && (quoted || bytes[at] != b' ' && bytes[at] != b'\t') {
        if bytes[at] == b'\\' && bytes.get(at + 1) == Some(&b'"') {
            at += 1;
        } else if bytes[at] == b'"' {
            quoted = !quoted;
        }
        at += 1;
    }
    at
}

fn blob(key: &SkKey) -> Vec<u8> {
    postcard::from_bytes(&postcard::to_allocvec(key).unwrap()).unwrap()
}

fn info(name: &str, blob: &[u8]) -> String {
    format!("publickey {name} {}", STANDARD.encode(blob))
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}
