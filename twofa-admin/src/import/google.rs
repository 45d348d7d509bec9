//! State files of google-authenticator (`~/.google_authenticator`), as its FILEFORMAT and its source have them.
//!
//! ```text
//! GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ
//! " WINDOW_SIZE 3
//! " DISALLOW_REUSE 59843286
//! " TOTP_AUTH
//! 12345678
//! ```

use super::entry::{Entry, Fate, NO_HOTP, Now, UNKNOWN_USE, app_fate, refused, weak};
use super::source::{self, Fault};
use twofa::code::{Algorithm, Secret, Shape};
use zeroize::Zeroizing;

/// What the app is called here.
pub(crate) const LABEL: &str = "google-authenticator";
/// pam_google_authenticator reads no longer file.
pub(crate) const MAX_FILE: u64 = 65_536;
/// A code used so many steps ahead was used by a wrong clock: pam_google_authenticator allows a window of 100.
const FAR_AHEAD: u64 = 120;

/// The options that say something of the app itself. Of several lines of one the first counts; but what any of them says
/// was used, was used.
#[derive(Default)]
struct Options<'a> {
    totp: bool,
    hotp: Option<usize>,
    step: Option<(usize, u64)>,
    /// The newest time step that was used, if the file keeps account of them.
    used: Option<(usize, Option<u64>)>,
    skew: Option<(usize, i64)>,
    /// What is left where it is, and the line of the first of them.
    others: Vec<&'a str>,
    others_at: usize,
}

/// What a file has for `user`.
pub(crate) fn parse(bytes: &[u8], user: &str, now: Now) -> Result<Vec<Entry>, Fault> {
    let text = source::text(bytes)?;
    let mut lines = (1..).zip(text.split('\n'));
    let (_, first) = lines.next().unwrap_or((1, ""));
    let secret = decode(first).ok_or_else(|| Fault::at(1, "is no secret (base32)"))?;
    let mut options = Options::default();
    let mut scratch = Vec::new();
    for (number, line) in lines {
        if let Some(option) = line.strip_prefix("\" ")
            && scratch.is_empty()
        {
            options.read(number, option)?;
        } else if line.len() == 8 && line.bytes().all(|byte| byte.is_ascii_digit()) {
            scratch.push(number);
        } else if !line.is_empty() {
            return Err(Fault::at(number, "is neither an option nor a scratch code"));
        }
    }
    let mut entries = vec![Entry {
        line: 1,
        user: user.into(),
        what: LABEL.into(),
        fate: fate(secret, &options, now),
        is_factor: true,
    }];
    let mut add = |line, what: String, fate| {
        entries.push(Entry { line, user: user.into(), what, fate, is_factor: false });
    };
    if let Some((line, steps)) = options.skew.filter(|(_, steps)| *steps != 0) {
        let why = format!("the phone's clock is {} s off", steps.unsigned_abs().saturating_mul(30));
        let advice = "Where TIME_SKEW is not 0, set the phone's clock: no other time is allowed for here.";
        add(line, format!("TIME_SKEW {steps}"), refused(why, Some(advice.into())));
    }
    if !options.others.is_empty() {
        add(options.others_at, names(&options.others), refused("the policy says that here", None));
    }
    if let Some(first) = scratch.first() {
        let plural = if scratch.len() == 1 { "" } else { "s" };
        let advice = "Scratch codes are not taken; make strong ones: twofa-admin recovery new NAME".into();
        add(
            *first,
            format!("{} scratch code{plural}", scratch.len()),
            weak("27 bits; not taken", Some(advice)),
        );
    }
    Ok(entries)
}

impl<'a> Options<'a> {
    fn read(&mut self, number: usize, option: &'a str) -> Result<(), Fault> {
        let mut words = option.split([' ', '\t']).filter(|word| !word.is_empty());
        let name = words.next().unwrap_or_default();
        let is_name = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        if name.is_empty() || name.len() > 32 || !name.bytes().all(is_name) {
            return Err(Fault::at(number, "is no option"));
        }
        let one = |words: &mut dyn Iterator<Item = &str>| {
            let value = words.next().and_then(|word| word.parse().ok());
            value.filter(|_| words.next().is_none()).ok_or_else(|| Fault::at(number, "has no number"))
        };
        match name {
            "TOTP_AUTH" => self.totp = true,
            "HOTP_COUNTER" => self.hotp = Some(number),
            "STEP_SIZE" => {
                let step: i64 = one(&mut words)?;
                self.step.get_or_insert((number, u64::try_from(step).unwrap_or(0)));
            }
            "TIME_SKEW" => {
                let skew = one(&mut words)?;
                self.skew.get_or_insert((number, skew));
            }
            "DISALLOW_REUSE" => {
                let steps: Result<Vec<u64>, _> = words.map(str::parse).collect();
                let steps = steps.map_err(|_| Fault::at(number, "has a time step that is no number"))?;
                let before = self.used.and_then(|(_, used)| used);
                self.used = Some((number, steps.into_iter().max().max(before)));
            }
            _ => {
                if self.others.is_empty() {
                    self.others_at = number;
                }
                self.others.push(name);
            }
        }
        Ok(())
    }
}

fn fate(secret: Secret, options: &Options<'_>, now: Now) -> Fate {
    let step = options.step.map_or(30, |(_, step)| step);
    if options.hotp.is_some() {
        return refused("counter based (HOTP)", Some(NO_HOTP.into()));
    }
    if !options.totp {
        return refused("not time based: no TOTP_AUTH", None);
    }
    let Some(shape) = u8::try_from(step)
        .ok()
        .map(|step| Shape { algorithm: Algorithm::Sha1, digits: 6, step })
        .filter(|shape| shape.is_valid())
    else {
        return refused(format!("a step of {step} s; 15 to 60 are"), None);
    };
    let current = now.time / step.max(1);
    match options.used {
        Some((_, Some(used))) if used > current.saturating_add(FAR_AHEAD) => {
            refused("codes of the future were used", Some("Look at the clock of this host.".into()))
        }
        Some((_, used)) => app_fate(secret, shape, used, None),
        // Nobody wrote down what was used.
        None => {
            let last = current.saturating_add(now.skew.into());
            app_fate(secret, shape, Some(last), Some(UNKNOWN_USE.into()))
        }
    }
}

/// The names of options, each once, `LAST0` to `LAST9` as one.
fn names(options: &[&str]) -> String {
    let is_last = |name: &str| name.strip_prefix("LAST").is_some_and(|n| n.parse::<u8>().is_ok());
    let mut names: Vec<&str> = Vec::new();
    for name in options.iter().map(|name| if is_last(name) { "LAST" } else { name }) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    match names.as_slice() {
        [] => String::new(),
        [name] => (*name).into(),
        [name, others @ ..] => format!("{name} and {} more", others.len()),
    }
}

/// Base32 as google-authenticator reads it: look-alikes stand for the letters that they look like, and what is left of
/// the last byte is dropped.
fn decode(line: &str) -> Option<Secret> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(line.len()));
    let (mut bits, mut held) = (0u32, 0u32);
    for letter in line.bytes().filter(|byte| !b" \t-".contains(byte)) {
        let value = match letter.to_ascii_uppercase() {
            b'0' => b'O' - b'A',
            b'1' => b'L' - b'A',
            b'8' => b'B' - b'A',
            letter @ b'A'..=b'Z' => letter - b'A',
            digit @ b'2'..=b'7' => digit - b'2' + 26,
            _ => return None,
        };
        held = held << 5 & 0xffff | u32::from(value);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits & 0xff) as u8);
        }
    }
    (!bytes.is_empty()).then(|| Secret::new(bytes.as_slice()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{never_panics, shown};
    use super::*;

    const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
    const NOW: Now = Now { time: 59_843_290 * 30, skew: 1 };

    fn entries(text: &str) -> Vec<String> {
        parse(text.as_bytes(), "alice", NOW).unwrap().iter().map(shown).collect()
    }

    /// As measured with Debian's packages.
    #[test]
    fn a_real_file_is_taken() {
        let text = format!(
            "{SECRET}\n\" LAST0 192.0.2.7 1795298605\n\" RATE_LIMIT 3 30 1795298605\n\" WINDOW_SIZE 3\n\
             \" DISALLOW_REUSE 59843286\n\" TOTP_AUTH\n12345678\n87654321\n"
        );
        assert_eq!(
            entries(&text),
            [
                "1 google-authenticator: taken SHA1 6 30, used to 59843286",
                "2 LAST and 2 more: refused, the policy says that here",
                "7 2 scratch codes: weak, 27 bits; not taken",
            ]
        );
    }

    #[test]
    fn what_was_used_stays_used() {
        let table = [
            ("\" DISALLOW_REUSE\n", "used to nothing"),
            ("\" DISALLOW_REUSE 5 59843288 7\n", "used to 59843288"),
            // Whatever a host would take now.
            ("", "used to 59843291"),
        ];
        for (line, expected) in table {
            let found = entries(&format!("{SECRET}\n{line}\" TOTP_AUTH\n"));
            assert!(found[0].ends_with(expected), "{line} {found:?}");
        }
        let found = entries(&format!("{SECRET}\n\" DISALLOW_REUSE 99999999999\n\" TOTP_AUTH\n"));
        assert_eq!(found, ["1 google-authenticator: refused, codes of the future were used"]);
        // Merged by hand: pam_google_authenticator goes by the first line.
        for lines in [
            "\" DISALLOW_REUSE 59843288\n\" DISALLOW_REUSE 5\n",
            "\" DISALLOW_REUSE 59843288\n\" DISALLOW_REUSE\n",
        ] {
            let found = entries(&format!("{SECRET}\n{lines}\" TOTP_AUTH\n"));
            assert!(found[0].ends_with("used to 59843288"), "{lines} {found:?}");
        }
        let twice = entries(&format!("{SECRET}\n\" STEP_SIZE 60\n\" STEP_SIZE 30\n\" TOTP_AUTH\n"));
        assert_eq!(twice, ["1 google-authenticator: taken SHA1 6 60, used to 29921646"]);
        let other = entries(&format!("{SECRET}\n\" STEP_SIZE 60\n\" TOTP_AUTH\n"));
        assert_eq!(other, ["1 google-authenticator: taken SHA1 6 60, used to 29921646"]);
    }

    #[test]
    fn what_twofa_cannot_have_is_refused() {
        let table = [
            ("\" HOTP_COUNTER 3\n\" TOTP_AUTH\n", "refused, counter based (HOTP)"),
            ("", "refused, not time based: no TOTP_AUTH"),
            ("\" STEP_SIZE 10\n\" TOTP_AUTH\n", "refused, a step of 10 s; 15 to 60 are"),
            ("\" STEP_SIZE 300\n\" TOTP_AUTH\n", "refused, a step of 300 s; 15 to 60 are"),
            ("\" STEP_SIZE -30\n\" TOTP_AUTH\n", "refused, a step of 0 s; 15 to 60 are"),
        ];
        for (lines, expected) in table {
            let found = entries(&format!("{SECRET}\n{lines}"));
            assert!(found[0].ends_with(expected), "{lines} {found:?}");
        }
        let short = entries("GEZDGNBVGY3TQOJQ\n\" TOTP_AUTH\n");
        assert_eq!(short, ["1 google-authenticator: refused, 80 bits; 128 are the least"]);
        let long = entries(&format!("{}A\n\" TOTP_AUTH\n", "GEZDGNBV".repeat(26)));
        assert_eq!(long, ["1 google-authenticator: refused, 1040 bits; 1024 are the most"]);
        let skew = entries(&format!("{SECRET}\n\" TIME_SKEW -12\n\" DISALLOW_REUSE\n\" TOTP_AUTH\n"));
        assert_eq!(skew[1], "2 TIME_SKEW -12: refused, the phone's clock is 360 s off");
    }

    #[test]
    fn secrets_are_read_as_google_authenticator_reads_them() {
        let expose = |line| decode(line).map(|secret| secret.expose().to_vec());
        let plain = expose(SECRET);
        assert_eq!(plain.as_deref(), Some(&b"12345678901234567890"[..]));
        for same in ["gezd gnbv-gy3t qojq\tGEZDGNBVGY3TQOJQ", "GEZDGN8VGY3TQ0JQGEZDGN8VGY3TQOJQ"] {
            assert_eq!(expose(same), plain, "{same}");
        }
        // 26 letters are 128 bits and a rest, as Debian's 20191231 makes them.
        assert_eq!(expose("GEZDGNBVGY3TQOJQGEZDGNBVGY").unwrap().len(), 16);
        for none in ["", "-- --", "GEZD=", "GEZD9", "GEZ\u{e9}"] {
            assert_eq!(expose(none), None, "{none}");
        }
    }

    #[test]
    fn a_malformed_file_says_where() {
        let table: [(&[u8], usize); 12] = [
            (b"", 1),
            (b"\n", 1),
            (b"no secret!\n", 1),
            (b"GEZDGNBV\n\"TOTP_AUTH\n", 2),
            (b"GEZDGNBV\n\" \n", 2),
            (b"GEZDGNBV\n\" totp\n", 2),
            (b"GEZDGNBV\n\" STEP_SIZE many\n", 2),
            (b"GEZDGNBV\n\" TOTP_AUTH\n1234567\n", 3),
            (b"GEZDGNBV\n\" TOTP_AUTH\n12345678\n\" WINDOW_SIZE 3\n", 4),
            (b"GEZDGNBV\n\" DISALLOW_REUSE 1 x\n", 2),
            (b"GEZDGNBV\r\n\" TOTP_AUTH\r\n", 1),
            (b"GEZDGNBV\n\" TOTP_AUTH\n12345678\0\n", 3),
        ];
        for (bytes, line) in table {
            let fault = parse(bytes, "alice", NOW).map(|_| ()).unwrap_err();
            assert_eq!(fault.line, line, "{:?} {fault:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn random_bytes_are_no_trouble() {
        let seed = format!(
            "{SECRET}\n\" STEP_SIZE 30\n\" DISALLOW_REUSE 1 2\n\" TIME_SKEW -3\n\" TOTP_AUTH\n12345678\n"
        );
        never_panics(seed.as_bytes(), |bytes| drop(parse(bytes, "alice", NOW)));
    }
}
