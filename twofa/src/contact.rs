//! Where a code can be sent to: telephone numbers and e-mail addresses that are valid by construction, and
//! how much of them is shown to whoever has not proven anything yet.

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::{Deserialize as DeriveDeserialize, Serialize};
use std::fmt;

/// ITU-T E.164: 15 digits at most, country code included. Less than 7 is no subscriber's number.
const NUMBER_DIGITS: std::ops::RangeInclusive<usize> = 7..=15;
/// RFC 5321, section 4.5.3.1, less the angle brackets of a path.
const MAX_ADDRESS: usize = 254;
const MAX_LOCAL_PART: usize = 64;

/// A telephone number as `+` and digits (ITU-T E.164).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Number(String);

/// The beginning of telephone numbers: `+48`, `+4479`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Prefix(String);

/// An e-mail address of plain characters, so that no hook, header or mail server reads anything else into it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Address(String);

/// Why something is no number or address, in words that follow it: `has a character that ...`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault(&'static str);

impl Fault {
    pub fn why(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Number {
    /// Reads a number as people write it: `+48 600-000-123`, `0048 600 000 123`, and without a country code
    /// when there is a default one.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(typed: &str, country: Option<&Prefix>) -> Result<Self, Fault> {
        let typed = typed.trim();
        if typed.contains(|c: char| !c.is_ascii_digit() && !"+ -./()".contains(c)) {
            return Err(Fault("has a character that no telephone number has"));
        }
        let digits: String = typed.chars().filter(char::is_ascii_digit).collect();
        let plus = typed.matches('+').count();
        let digits = match (plus, digits.strip_prefix("00"), country) {
            (1, _, _) if typed.starts_with('+') => digits,
            (0, Some(international), _) => international.into(),
            (0, None, Some(country)) => national(&digits, country)?,
            (0, None, None) => return Err(Fault("has no country code, as in +48 600 000 123")),
            _ => return Err(Fault("has a + that is not at its beginning")),
        };
        if digits.starts_with('0') || !NUMBER_DIGITS.contains(&digits.len()) {
            return Err(Fault("is no E.164 number: a country code and 7 to 15 digits in all"));
        }
        Ok(Self(format!("+{digits}")))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `+48 *** *** 123`: its owner knows which one is meant, nobody else learns it.
    pub fn masked(&self) -> String {
        let (code, _) = self.0.split_at(1 + country_code_digits(&self.0));
        masked(code, self.0.get(self.0.len().saturating_sub(3)..).unwrap_or_default())
    }

    pub fn starts_with_any(&self, prefixes: &[Prefix]) -> bool {
        prefixes.iter().any(|prefix| self.0.starts_with(&prefix.0))
    }
}

impl<'de> Deserialize<'de> for Number {
    /// A stored number is checked again: it is about to be handed to a hook.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = Self::parse(&text, None).map_err(D::Error::custom)?;
        if number.0 == text { Ok(number) } else { Err(D::Error::custom("is not in its canonical form")) }
    }
}

impl Prefix {
    /// # Errors
    ///
    /// When it is not `+` and 1 to 15 digits.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let digits = text.strip_prefix('+').unwrap_or_default();
        let fine = (1..=15).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0');
        if fine { Ok(Self(text.into())) } else { Err(Fault("must be + and digits, as in \"+48\"")) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What a number with this prefix looks like when it is masked; `digits` are the last three.
    pub fn masked(&self, digits: u16) -> String {
        let code = 1 + country_code_digits(&self.0);
        masked(self.0.get(..code).unwrap_or(&self.0), &format!("{:03}", digits % 1000))
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl Address {
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(typed: &str) -> Result<Self, Fault> {
        let typed = typed.trim();
        let Some((local, domain)) = typed.split_once('@') else {
            return Err(Fault("is no e-mail address (alice@example.org is one)"));
        };
        // `|`, `/`, `%`, `!`, quotes and blanks are legal and mean something to some mail server or shell.
        let is_local = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-='~".contains(&byte);
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let fine = (1..=MAX_LOCAL_PART).contains(&local.len())
            && typed.len() <= MAX_ADDRESS
            && local.bytes().all(is_local)
            && local.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && !local.ends_with('.')
            && !local.contains("..")
            && domain.split('.').all(is_label);
        if fine {
            Ok(Self(typed.into()))
        } else {
            Err(Fault("is no plain e-mail address (alice@example.org is one)"))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `a***@example.org`.
    pub fn masked(&self) -> String {
        let (local, domain) = self.0.split_once('@').unwrap_or_default();
        format!("{}***@{domain}", local.get(..1).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let address = Self::parse(&text).map_err(D::Error::custom)?;
        if address.0 == text { Ok(address) } else { Err(D::Error::custom("has blanks around it")) }
    }
}

/// Something a code can be sent to, and whether a code sent there came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveDeserialize)]
pub struct Confirmable<T> {
    pub to: T,
    /// When, in seconds since 1970.
    pub confirmed: Option<u64>,
}

/// A national number behind the default country code. The leading 0 is for calls within the country; Italy's
/// numbers keep theirs.
fn national(digits: &str, country: &Prefix) -> Result<String, Fault> {
    let code = country.0.trim_start_matches('+');
    // Whoever left out a + would have a stranger get the codes.
    if digits.strip_prefix(code).is_some_and(|rest| rest.len() >= *NUMBER_DIGITS.start()) {
        return Err(Fault(
            "begins with the country code: write a + before it, or a 0 if it is a national number",
        ));
    }
    let digits = if code == "39" { digits } else { digits.strip_prefix('0').unwrap_or(digits) };
    Ok(format!("{code}{digits}"))
}

fn masked(code: &str, last: &str) -> String {
    format!("{code} *** *** {last}")
}

/// How many digits of `+...` are the country code (ITU-T E.164, assignments of 2016): one, two or three.
fn country_code_digits(number: &str) -> usize {
    const TWO: [&str; 44] = [
        "20", "27", "30", "31", "32", "33", "34", "36", "39", "40", "41", "43", "44", "45", "46", "47", "48",
        "49", "51", "52", "53", "54", "55", "56", "57", "58", "60", "61", "62", "63", "64", "65", "66", "81",
        "82", "84", "86", "90", "91", "92", "93", "94", "95", "98",
    ];
    let digits = number.trim_start_matches('+');
    let length = match digits.get(..2) {
        _ if digits.starts_with(['1', '7']) => 1,
        Some(two) if TWO.contains(&two) => 2,
        _ => 3,
    };
    length.min(digits.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_as_people_write_them() {
        let poland = Prefix::parse("+48").unwrap();
        let italy = Prefix::parse("+39").unwrap();
        let table = [
            ("+48 600 000 123", None, Some("+48600000123")),
            (" +48-600-000-123 ", None, Some("+48600000123")),
            ("+1 (202) 555.0123", None, Some("+12025550123")),
            ("0048600000123", None, Some("+48600000123")),
            ("600 000 123", Some(&poland), Some("+48600000123")),
            ("0600 000 123", Some(&poland), Some("+48600000123")),
            ("06 1234567", Some(&italy), Some("+39061234567")),
            ("+49 151 23456789", Some(&poland), Some("+4915123456789")),
            ("48600000123", Some(&poland), None),
            ("0480000000", Some(&poland), Some("+48480000000")),
            ("48000", Some(&poland), Some("+4848000")),
            ("600 000 123", None, None),
            ("+48", None, None),
            ("+048600000123", None, None),
            ("+1234567890123456", None, None),
            ("+4915123456789012345678901234567890123456", None, None),
            ("48+600000123", None, None),
            ("++48600000123", None, None),
            ("+49151$(touch /tmp/x)", None, None),
            ("+1;id", None, None),
            ("-oProxy", Some(&poland), None),
            ("+48 600 000 abc", None, None),
            ("+48600000123\nBcc: x", None, None),
            ("+４８６０００００１２３", None, None),
            ("", Some(&poland), None),
            ("", None, None),
        ];
        for (typed, country, expected) in table {
            let number = Number::parse(typed, country).ok();
            assert_eq!(number.as_ref().map(Number::as_str), expected, "{typed:?}");
        }
    }

    #[test]
    fn numbers_are_masked_but_for_country_and_end() {
        let table = [
            ("+48600000123", "+48 *** *** 123"),
            ("+12025550123", "+1 *** *** 123"),
            ("+358401234567", "+358 *** *** 567"),
            ("+7495123", "+7 *** *** 123"),
            ("+79161234567", "+7 *** *** 567"),
        ];
        for (number, expected) in table {
            assert_eq!(Number::parse(number, None).unwrap().masked(), expected);
        }
        assert_eq!(Prefix::parse("+4479").unwrap().masked(7), "+44 *** *** 007");
        assert_eq!(Prefix::parse("+35").unwrap().masked(65535), "+35 *** *** 535");
    }

    #[test]
    fn a_prefix_is_a_beginning() {
        let number = Number::parse("+48600000123", None).unwrap();
        let prefixes =
            |texts: &[&str]| texts.iter().map(|text| Prefix::parse(text).unwrap()).collect::<Vec<_>>();
        for (list, within) in [
            (&["+48"][..], true),
            (&["+49", "+486"], true),
            (&["+49"], false),
            (&["+4860000012345"], false),
            (&[], false),
        ] {
            assert_eq!(number.starts_with_any(&prefixes(list)), within, "{list:?}");
        }
        for bad in ["", "+", "48", "+0", "+4x", "+1234567890123456"] {
            assert!(Prefix::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_are_plain() {
        let long = format!("{}@example.org", "a".repeat(65));
        let longer = format!("a@{}", "b.".repeat(150));
        let good =
            ["alice@example.org", "a.b+c_d-e=f@x-y.example", "o'brien@example.org", "root@localhost", "_x@a"];
        let bad = [
            "",
            "alice",
            "@example.org",
            "alice@",
            "a b@example.org",
            "a@b\nBcc: x@y",
            "-f root",
            "-f@root",
            "a@b@c",
            ".a@b",
            "a.@b",
            "a..b@c",
            "|cmd@x",
            "a|b@x",
            "/etc/x@y",
            "a%b@c",
            "a!b@c",
            "\"a\"@b",
            "a@b..c",
            "a@-b",
            "a@b-",
            "a@b,c@d",
            "a@b; c@d",
            "<a@b>",
            "ä@b",
            "a@ä",
            "a\0@b",
            long.as_str(),
            longer.as_str(),
        ];
        for text in good {
            assert_eq!(Address::parse(text).unwrap().as_str(), text);
        }
        for text in bad {
            assert!(Address::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(Address::parse("alice@example.org").unwrap().masked(), "a***@example.org");
        assert_eq!(Address::parse("a@example.org").unwrap().masked(), "a***@example.org");
    }

    /// A row altered in the database is no number, so that no hook ever sees it.
    #[test]
    fn what_was_stored_is_checked_again() {
        let read = |text: &str| postcard::from_bytes::<Number>(&postcard::to_allocvec(text).unwrap()).is_ok();
        assert!(read("+48600000123"));
        for text in ["48600000123", "+48 600 000 123", "0048600000123", "+1;id", "", "-oProxy"] {
            assert!(!read(text), "{text}");
        }
        let read =
            |text: &str| postcard::from_bytes::<Address>(&postcard::to_allocvec(text).unwrap()).is_ok();
        assert!(read("alice@example.org"));
        assert!(!read(" alice@example.org") && !read("a@b\nBcc: x@y"));
    }
}
