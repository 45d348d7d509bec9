//! The users' file of pam_oath, as liboath 2.6.7 reads and writes it:
//!
//! ```text
//! HOTP/T30/6  alice  -  3132333435363738393031323334353637383930  0  525149  2026-11-21T21:59:06L
//! ```

use super::entry::{Entry, Fate, NO_HOTP, Now, UNKNOWN_USE, app_fate, refused, weak};
use super::source::{self, Fault};
use twofa::code::{Algorithm, Secret, Shape, matching_step};
use twofa::message::rfc3339;
use zeroize::Zeroizing;

/// A label is this and a number.
pub(crate) const LABEL: &str = "oath";
/// A hundred thousand users.
pub(crate) const MAX_FILE: u64 = 16 * 1024 * 1024;
/// No clock on Earth is further behind UTC than 12 hours, and an hour is for summer time and other surprises: what was
/// used so long ago by local time was used long ago.
const LONG_AGO: u64 = 13 * 3600;
/// Steps around now in which a used code is looked for: windows of pam_oath are smaller.
const WINDOW: u8 = 100;

const PLAIN_TEXT: &str = "The file has passwords in plain text, which are not taken: whoever uses one elsewhere should change it there.";

/// What a file has for its users.
pub(crate) fn parse(bytes: &[u8], now: Now) -> Result<Vec<Entry>, Fault> {
    let text = source::text(bytes)?;
    let mut entries = Vec::new();
    for (number, line) in (1..).zip(text.split('\n')) {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [first, ..] = fields.as_slice() else { continue };
        if !first.starts_with('#') {
            parse_line(number, &fields, now, &mut entries)?;
        }
    }
    Ok(entries)
}

fn parse_line(number: usize, fields: &[&str], now: Now, entries: &mut Vec<Entry>) -> Result<(), Fault> {
    let [kind, user, password, key, rest @ ..] = fields else {
        return Err(Fault::at(number, format!("has {} fields; 4 to 7 are right", fields.len())));
    };
    if rest.len() > 3 {
        return Err(Fault::at(number, format!("has {} fields; 4 to 7 are right", fields.len())));
    }
    let secret = hex(key).ok_or_else(|| Fault::at(number, "has a key that is not hexadecimal"))?;
    let use_ = last_use(rest).ok_or_else(|| Fault::at(number, "does not say rightly what was used last"))?;
    let entry =
        |what: String, fate, is_factor| Entry { line: number, user: (*user).into(), what, fate, is_factor };
    let (what, fate) = match shape(kind) {
        Ok(shape) => {
            let (last, advice) = used_to(&secret, shape, use_, now);
            (LABEL.to_string(), app_fate(secret, shape, last, advice))
        }
        Err(fate) => (kind.chars().take(20).collect(), fate),
    };
    entries.push(entry(what, fate, true));
    if !["-", "+"].contains(password) {
        let fate = weak("plain text; not taken", Some(PLAIN_TEXT.into()));
        entries.push(entry("password".into(), fate, false));
    }
    Ok(())
}

/// What an app of this type shows, or why there is none here.
fn shape(kind: &str) -> Result<Shape, Fate> {
    let mut parts = kind.split('/');
    let (name, moving, digits) = (parts.next(), parts.next(), parts.next());
    let digits = match digits {
        None => Some(6),
        Some(digits @ ("6" | "7" | "8")) => digits.parse().ok(),
        Some(_) => None,
    };
    let unknown = || refused("a type that pam_oath does not know", None);
    let (Some("HOTP"), Some(digits), None) = (name, digits, parts.next()) else {
        return Err(unknown());
    };
    let step = match moving {
        None | Some("E") => return Err(refused("counter based (HOTP)", Some(NO_HOTP.into()))),
        Some("T30") => 30,
        Some("T60") => 60,
        Some(_) => return Err(unknown()),
    };
    Ok(Shape { algorithm: Algorithm::Sha1, digits, step })
}

/// The last code, and the local time when it was used, without the `L`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Use<'a>(Option<&'a str>, Option<&'a str>);

fn last_use<'a>(rest: &[&'a str]) -> Option<Use<'a>> {
    let is_number = |text: &str| (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let (counter, code, time) = (rest.first(), rest.get(1), rest.get(2));
    let fine = [counter, code].into_iter().flatten().all(|text| is_number(text));
    let time = match time {
        None => None,
        Some(time) => {
            let time = time.strip_suffix('L')?;
            let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
            (shape == "9999-99-99T99:99:99").then_some(())?;
            Some(time)
        }
    };
    fine.then_some(Use(code.copied(), time))
}

/// Up to which step codes count as used. The file does not say which step the last code was of, and says when by a
/// clock whose zone it does not tell; so what was used in the last hours counts as used just now.
fn used_to(secret: &Secret, shape: Shape, last: Use<'_>, now: Now) -> (Option<u64>, Option<String>) {
    let Use(code, time) = last;
    let long_ago = rfc3339(now.time.saturating_sub(LONG_AGO));
    if time.zip(long_ago.get(..19)).is_some_and(|(time, long_ago)| time < long_ago) {
        return (None, None);
    }
    let takes_now = (now.time / u64::from(shape.step)).saturating_add(now.skew.into());
    // A phone that is ahead showed what becomes right later.
    let ahead = code.and_then(|code| matching_step(secret, shape, code, now.time, WINDOW));
    (Some(takes_now.max(ahead.unwrap_or(0))), Some(UNKNOWN_USE.into()))
}

fn hex(text: &str) -> Option<Secret> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let mut bytes = Zeroizing::new(Vec::with_capacity(pairs.len()));
    for [high, low] in pairs {
        bytes.push((digit(*high)? << 4 | digit(*low)?) as u8);
    }
    (!bytes.is_empty()).then(|| Secret::new(bytes.as_slice()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{never_panics, shown};
    use super::*;

    const KEY: &str = "3132333435363738393031323334353637383930";
    /// 2026-11-22T08:00:00Z
    const NOW: Now = Now { time: 1_795_334_400, skew: 1 };

    fn entries(text: &str) -> Vec<String> {
        parse(text.as_bytes(), NOW).unwrap().iter().map(shown).collect()
    }

    #[test]
    fn lines_that_pam_oath_reads_are_taken() {
        let text = format!(
            "# users\n\nHOTP/T30 alice - {KEY}\nHOTP/T60/8\tbob\t+\t{KEY}\t0\t12345678\t2026-11-01T21:59:06L\n\
             HOTP/T30/7 carol secret123 {KEY} 0\n"
        );
        assert_eq!(
            entries(&text),
            [
                "3 oath: taken SHA1 6 30, used to 59844481",
                "4 oath: taken SHA1 8 60, used to nothing",
                "5 oath: taken SHA1 7 30, used to 59844481",
                "5 password: weak, plain text; not taken",
            ]
        );
    }

    #[test]
    fn what_twofa_cannot_have_is_refused() {
        let counter = ["HOTP", "HOTP/E", "HOTP/E/6", "HOTP/E/8"].map(|kind| (kind, "counter based (HOTP)"));
        let unknown =
            ["TOTP", "HOTP/T90", "HOTP/T300", "HOTP/T30/9", "HOTP/T30/6/SHA256", "hotp", "HOTP/T30/", "X"]
                .map(|kind| (kind, "a type that pam_oath does not know"));
        for (kind, why) in counter.into_iter().chain(unknown) {
            assert_eq!(entries(&format!("{kind} alice - {KEY}")), [format!("1 {kind}: refused, {why}")]);
        }
        let short = entries("HOTP/T30 alice - 313233343536373839303132333435");
        assert_eq!(short, ["1 oath: refused, 120 bits; 128 are the least"]);
    }

    #[test]
    fn a_password_is_never_told() {
        for entry in parse(format!("HOTP/T30 alice hunter2 {KEY}").as_bytes(), NOW).unwrap() {
            assert!(!format!("{entry:?}").contains("hunter2"), "{entry:?}");
        }
    }

    #[test]
    fn what_was_used_stays_used() {
        let shape = Shape { algorithm: Algorithm::Sha1, digits: 6, step: 30 };
        let code =
            |steps: u64| twofa::code::code_at(&hex(KEY).unwrap(), shape, NOW.time + steps * 30).unwrap();
        let current = NOW.time / 30;
        let table = [
            // Nothing is known of it.
            ("0".to_string(), Some(current + 1)),
            (format!("0 {}", code(0)), Some(current + 1)),
            // Half a day ago somewhere, perhaps just now here.
            (format!("0 {} 2026-11-21T20:00:00L", code(0)), Some(current + 1)),
            (format!("0 {} 2026-11-22T22:00:00L", code(0)), Some(current + 1)),
            // A phone that is ahead.
            (format!("0 {} 2026-11-22T08:00:00L", code(20)), Some(current + 20)),
            // Long ago, wherever this is.
            (format!("0 {} 2026-11-21T18:59:59L", code(0)), None),
            (format!("0 {} 2020-01-01T00:00:00L", code(0)), None),
        ];
        for (rest, expected) in table {
            let fields: Vec<&str> = rest.split(' ').collect();
            let (last, _) = used_to(&hex(KEY).unwrap(), shape, last_use(&fields).unwrap(), NOW);
            assert_eq!(last, expected, "{rest}");
        }
    }

    #[test]
    fn a_malformed_file_says_where() {
        let fine = format!("HOTP/T30 alice - {KEY}\n");
        let table = [
            ("HOTP/T30 alice -\n".to_string(), 2),
            (format!("HOTP/T30 alice - {KEY} 0 123456 2026-11-21T21:59:06L more\n"), 2),
            ("HOTP/T30 alice - 31323\n".into(), 2),
            ("HOTP/T30 alice - xyz0\n".into(), 2),
            ("HOTP/T30 alice - \u{e9}\n".into(), 2),
            (format!("HOTP/T30 alice - {KEY} x\n"), 2),
            (format!("HOTP/T30 alice - {KEY} 0 abc\n"), 2),
            (format!("HOTP/T30 alice - {KEY} 0 123456 2026-11-21T21:59:06\n"), 2),
            (format!("HOTP/T30 alice - {KEY} 0 123456 yesterdayL\n"), 2),
            (format!("# fine\nHOTP/T30 al\0ice - {KEY}\n"), 3),
            (format!("HOTP/T30 alice - {KEY}\r\n"), 2),
        ];
        for (line, at) in table {
            let fault = parse(format!("{fine}{line}").as_bytes(), NOW).map(|_| ()).unwrap_err();
            assert_eq!(fault.line, at, "{line:?} {fault:?}");
        }
    }

    #[test]
    fn random_bytes_are_no_trouble() {
        let seed = format!(
            "HOTP/T30/6\talice\t-\t{KEY}\t0\t525149\t2026-11-21T21:59:06L\n# x\nHOTP/E bob + {KEY}\n"
        );
        never_panics(seed.as_bytes(), |bytes| drop(parse(bytes, NOW)));
    }
}
