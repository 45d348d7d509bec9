//! Moments of reports (RFC 3339, UTC), told to people in this host's own time.

use std::sync::OnceLock;
use tz::{DateTime, TimeZone, TimeZoneRef, UtcDateTime};

/// `2026-11-22T08:31:05Z` has so many letters.
const LENGTH: usize = 20;

/// A text with every moment of it in this host's zone: `2026-11-22 09:31 CET`, cut to the minute.
pub(crate) fn local(text: &str) -> String {
    in_zone(text, zone().as_ref())
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
    let shape: String = word.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    let number = |from: usize, to: usize| word.get(from..to)?.parse::<u8>().ok();
    let year = word.get(..4)?.parse().ok().filter(|_| shape == "9999-99-99T99:99:99Z")?;
    let moment = UtcDateTime::new(
        year,
        number(5, 7)?,
        number(8, 10)?,
        number(11, 13)?,
        number(14, 16)?,
        number(17, 19)?,
        0,
    );
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
    fn only_moments_are_changed_in_a_text() {
        let text = "until=2026-11-22T08:31:05Z, ß 2026-11-22 2026-13-01T00:00:00Z 2026-11-22T08:31Z\n🔑2026-11-22T08:31:05Zz";
        let expected = "until=2026-11-22 09:31 X, ß 2026-11-22 2026-13-01T00:00:00Z 2026-11-22T08:31Z\n🔑2026-11-22 09:31 Xz";
        assert_eq!(told("XXX-1", text), expected.replace(" X", " XXX"));
        assert_eq!(told("XXX-1", ""), "");
    }
}
