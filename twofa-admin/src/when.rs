//! Moments of reports (RFC 3339, UTC), told to people in this host's own time.

use std::str::FromStr;
use std::sync::OnceLock;
use tz::datetime::FoundDateTimeList;
use tz::{DateTime, TimeZone, TimeZoneRef, UtcDateTime};

/// `2026-11-22T08:31:05Z` has so many letters.
const LENGTH: usize = 20;

/// A text with every moment of it in this host's zone: `2026-11-22 09:31 CET`, cut to the minute.
pub(crate) fn local(text: &str) -> String {
    in_zone(text, zone().as_ref())
}

/// The first and the last second of a day (`2026-11-22`), minute or second (`2026-11-22T08:31:05`): of this host's zone, as
/// reports show them, unless it ends in one of its own (`Z`, `+01:00`). Nothing when it is none.
pub(crate) fn span(typed: &str) -> Option<(u64, u64)> {
    span_in(typed, zone().as_ref())
}

fn span_in(typed: &str, zone: TimeZoneRef<'_>) -> Option<(u64, u64)> {
    let shape = shape(typed);
    let own = ["Z", "+99:99", "-99:99"].iter().find(|own| shape.ends_with(**own));
    let (time, own) = typed.split_at_checked(typed.len() - own.map_or(0, |own| own.len()))?;
    let fixed = match own {
        "" => None,
        own => Some(TimeZone::fixed(offset(own)?).ok()?),
    };
    let zone = fixed.as_ref().map_or(zone, TimeZone::as_ref);
    let (first, last) = match shape.get(..time.len())? {
        "9999-99-99" => ("T00:00:00", "T23:59:59"),
        "9999-99-99T99:99" => (":00", ":59"),
        "9999-99-99T99:99:99" => ("", ""),
        _ => return None,
    };
    let second = |moment: DateTime| u64::try_from(moment.unix_time()).unwrap_or(0);
    // An hour that comes twice is meant both times.
    let first = find(&format!("{time}{first}"), zone)?.earliest().map(second)?;
    let last = find(&format!("{time}{last}"), zone)?.latest().map(second)?;
    Some((first, last))
}

/// Seconds of `+01:00`, and of `Z`.
fn offset(zone: &str) -> Option<i32> {
    if zone == "Z" {
        return Some(0);
    }
    let seconds = number::<i32>(zone, 1, 3)? * 3600 + number::<i32>(zone, 4, 6)? * 60;
    Some(if zone.starts_with('-') { -seconds } else { seconds })
}

/// The moments that are told as `2026-11-22T08:31:05` in a zone.
fn find(time: &str, zone: TimeZoneRef<'_>) -> Option<FoundDateTimeList> {
    let part = |from: usize| number::<u8>(time, from, from + 2);
    let year = number(time, 0, 4)?;
    DateTime::find(year, part(5)?, part(8)?, part(11)?, part(14)?, part(17)?, 0, zone).ok()
}

fn number<T: FromStr>(text: &str, from: usize, to: usize) -> Option<T> {
    text.get(from..to)?.parse().ok()
}

/// A text with a nine for each digit.
fn shape(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect()
}

/// The day of a moment, here.
pub(crate) fn day(moment: &str) -> String {
    let local = local(moment);
    local.split(' ').next().unwrap_or_default().to_string()
}

/// The zone of `TZ`, else that of the host; UTC where neither is known (tzset(3)).
fn zone() -> &'static TimeZone {
    static ZONE: OnceLock<TimeZone> = OnceLock::new();
    ZONE.get_or_init(|| {
        let zone = match std::env::var("TZ") {
            Ok(name) => TimeZone::from_posix_tz(&name),
            Err(_) => TimeZone::local(),
        };
        zone.unwrap_or_else(|_| TimeZone::utc())
    })
}

fn in_zone(text: &str, zone: TimeZoneRef<'_>) -> String {
    let mut told = String::with_capacity(text.len() + 4);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (part, length) = match rest.get(..LENGTH).and_then(|word| Some((word, parse(word)?))) {
            Some((word, moment)) => (shown(moment, zone).unwrap_or_else(|| word.into()), LENGTH),
            None => (first.to_string(), first.len_utf8()),
        };
        told.push_str(&part);
        rest = rest.get(length..).unwrap_or_default();
    }
    told
}

/// Seconds since 1970 of `2026-11-22T08:31:05Z`.
fn parse(word: &str) -> Option<i64> {
    let part = |from: usize| number::<u8>(word, from, from + 2);
    let year = number(word, 0, 4).filter(|_| shape(word) == "9999-99-99T99:99:99Z")?;
    let moment = UtcDateTime::new(year, part(5)?, part(8)?, part(11)?, part(14)?, part(17)?, 0);
    Some(moment.ok()?.unix_time())
}

fn shown(moment: i64, zone: TimeZoneRef<'_>) -> Option<String> {
    let time = DateTime::from_timespec(moment, 0, zone).ok()?;
    let kind = time.local_time_type();
    let (offset, name) = (kind.ut_offset(), kind.time_zone_designation());
    // Zones without a name of their own are called after their offset, in several ways; and UTC is `-00` without tzdata.
    let name = match name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        true => name.to_string(),
        false if offset == 0 => "UTC".into(),
        false => {
            let sign = if offset < 0 { '-' } else { '+' };
            let minutes = offset.unsigned_abs() / 60;
            format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
        }
    };
    Some(format!(
        "{:04}-{:02}-{:02} {:02}:{:02} {name}",
        time.year(),
        time.month(),
        time.month_day(),
        time.hour(),
        time.minute()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use twofa::message::rfc3339;

    fn told(zone: &str, text: &str) -> String {
        in_zone(text, TimeZone::from_posix_tz(zone).unwrap().as_ref())
    }

    #[test]
    fn moments_are_told_in_the_zone_with_its_name_or_offset() {
        let berlin = "CET-1CEST,M3.5.0,M10.5.0/3";
        let table = [
            ("UTC0", "2026-11-22T08:31:59Z", "2026-11-22 08:31 UTC"),
            (berlin, "2026-11-22T08:31:05Z", "2026-11-22 09:31 CET"),
            (berlin, "2026-07-01T22:30:00Z", "2026-07-02 00:30 CEST"),
            ("<+0545>-5:45", "2026-12-31T20:00:00Z", "2027-01-01 01:45 +05:45"),
            ("<-03>3", "2026-01-01T01:00:00Z", "2025-12-31 22:00 -03:00"),
            ("EST5EDT,M3.2.0,M11.1.0", "2026-07-01T00:00:00Z", "2026-06-30 20:00 EDT"),
        ];
        for (zone, moment, expected) in table {
            assert_eq!(told(zone, moment), expected, "{zone}");
        }
    }

    #[test]
    fn days_and_moments_are_taken_in_the_zone_that_they_are_told_in() {
        let berlin = "CET-1CEST,M3.5.0,M10.5.0/3";
        let table = [
            ("UTC0", "2026-11-22", "2026-11-22T00:00:00Z", "2026-11-22T23:59:59Z"),
            (berlin, "2026-11-22", "2026-11-21T23:00:00Z", "2026-11-22T22:59:59Z"),
            (berlin, "2026-11-22T09:31", "2026-11-22T08:31:00Z", "2026-11-22T08:31:59Z"),
            (berlin, "2026-07-02T00:30:07", "2026-07-01T22:30:07Z", "2026-07-01T22:30:07Z"),
            ("EST5EDT,M3.2.0,M11.1.0", "2026-06-30", "2026-06-30T04:00:00Z", "2026-07-01T03:59:59Z"),
            ("<+0545>-5:45", "2027-01-01T01:45", "2026-12-31T20:00:00Z", "2026-12-31T20:00:59Z"),
            // Days of 25 and 23 hours, an hour that comes twice, and one that never comes.
            (berlin, "2026-10-25", "2026-10-24T22:00:00Z", "2026-10-25T22:59:59Z"),
            (berlin, "2026-03-29", "2026-03-28T23:00:00Z", "2026-03-29T21:59:59Z"),
            (berlin, "2026-10-25T02:30", "2026-10-25T00:30:00Z", "2026-10-25T01:30:59Z"),
            (berlin, "2026-03-29T02:30", "2026-03-29T01:00:00Z", "2026-03-29T01:00:00Z"),
            // With a zone of its own it is the same everywhere.
            (berlin, "2026-11-22T08:31:05Z", "2026-11-22T08:31:05Z", "2026-11-22T08:31:05Z"),
            (berlin, "2026-11-22T08:31Z", "2026-11-22T08:31:00Z", "2026-11-22T08:31:59Z"),
            (berlin, "2026-11-22Z", "2026-11-22T00:00:00Z", "2026-11-22T23:59:59Z"),
            (berlin, "2026-11-22T08:31+05:45", "2026-11-22T02:46:00Z", "2026-11-22T02:46:59Z"),
            (berlin, "2026-11-22T23:31:05-03:00", "2026-11-23T02:31:05Z", "2026-11-23T02:31:05Z"),
            (berlin, "1960-01-01", "1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
        ];
        for (zone, typed, first, last) in table {
            let zone = TimeZone::from_posix_tz(zone).unwrap();
            let span = span_in(typed, zone.as_ref()).map(|(first, last)| (rfc3339(first), rfc3339(last)));
            assert_eq!(span, Some((first.into(), last.into())), "{typed}");
        }
        for typed in [
            "",
            "Z",
            "+01:00",
            "2026",
            "2026-11",
            "2026-13-01",
            "2026-02-30",
            "2026-11-22T24:00",
            "2026-11-22T08",
            "2026-11-22 08:30",
            "2026-11-22T08:30:05.5",
            "2026-11-22T08:30+1",
            "2026-11-22T08:30 CET",
            "\u{664}026-11-22",
            "2026-11-22T08:30\u{e9}",
            "-026-11-22",
        ] {
            assert_eq!(span_in(typed, TimeZone::utc().as_ref()), None, "{typed}");
        }
    }

    #[test]
    fn only_moments_are_changed_in_a_text() {
        let text = "until=2026-11-22T08:31:05Z, ß 2026-11-22 2026-13-01T00:00:00Z 2026-11-22T08:31Z\n🔑2026-11-22T08:31:05Zz";
        let expected = "until=2026-11-22 09:31 X, ß 2026-11-22 2026-13-01T00:00:00Z 2026-11-22T08:31Z\n🔑2026-11-22 09:31 Xz";
        assert_eq!(told("XXX-1", text), expected.replace(" X", " XXX"));
        assert_eq!(told("XXX-1", ""), "");
    }
}
