//! The well-known types that JSON writes as text: Timestamp, Duration, FieldMask.

use super::wire::{put_bytes, put_tag, put_varint};

/// What is expected of each, as the rest of a sentence.
pub const TIMESTAMP: &str = "must be an RFC 3339 time, for example 2026-01-31T12:00:00Z";
pub const DURATION: &str = "must be seconds with an `s`, for example 1.5s";
pub const FIELD_MASK: &str = "must be field names separated by commas";

/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z.
const TIMESTAMPS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
/// About 10,000 years.
const MAX_DURATION: i64 = 315_576_000_000;

/// Writes the Timestamp that an RFC 3339 time means; false if it is none.
pub fn put_timestamp(text: &str, out: &mut Vec<u8>) -> bool {
    let Some((seconds, nanos)) = parse_timestamp(text) else { return false };
    put_pair(out, seconds, nanos);
    true
}

/// Writes the Duration that `1.5s` means; false if it is none.
pub fn put_duration(text: &str, out: &mut Vec<u8>) -> bool {
    let Some((seconds, nanos)) = parse_duration(text) else { return false };
    put_pair(out, seconds, nanos);
    true
}

/// Writes the FieldMask that `a,b.cD` means; false if it is none.
pub fn put_field_mask(text: &str, out: &mut Vec<u8>) -> bool {
    let valid = |path: &str| !path.is_empty() && path.chars().all(|c| c.is_ascii_alphanumeric() || "._".contains(c));
    if text.is_empty() {
        return true;
    }
    text.split(',').all(|path| {
        put_bytes(out, 1, snake(path).as_bytes());
        valid(path)
    })
}

fn put_pair(out: &mut Vec<u8>, seconds: i64, nanos: i32) {
    put_tag(out, 1, 0);
    put_varint(out, seconds as u64);
    put_tag(out, 2, 0);
    put_varint(out, i64::from(nanos) as u64);
}

/// `fooBar` to `foo_bar`; names that are snake case already stay.
fn snake(path: &str) -> String {
    let mut out = String::with_capacity(path.len() + 4);
    for c in path.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// `foo_bar` to `fooBar`; `None` if the way back would not lead here.
pub fn camel(path: &str) -> Option<String> {
    let mut out = String::with_capacity(path.len());
    let mut chars = path.chars();
    while let Some(c) = chars.next() {
        match c {
            '_' => out.push(chars.next().filter(char::is_ascii_lowercase)?.to_ascii_uppercase()),
            c if c.is_ascii_uppercase() => return None,
            c => out.push(c),
        }
    }
    Some(out)
}

fn parse_timestamp(text: &str) -> Option<(i64, i32)> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| {
        let digits = text.get(from..to).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
        digits.parse::<i64>().ok()
    };
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if separators.iter().any(|(at, wanted)| bytes.get(*at) != Some(wanted)) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (nanos, zone) = fraction(text.get(19..)?)?;
    let offset = match zone.as_bytes() {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), ..] if zone.len() == 6 && zone.as_bytes()[3] == b':' => {
            let start = text.len() - 6;
            let (hours, minutes) = (number(start + 1, start + 3)?, number(start + 4, start + 6)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 3600 + minutes * 60) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    TIMESTAMPS.contains(&seconds).then_some((seconds, nanos))
}

/// Nanoseconds of a leading `.digits` (at most nine), and what follows it.
fn fraction(text: &str) -> Option<(i32, &str)> {
    let Some(rest) = text.strip_prefix('.') else { return Some((0, text)) };
    let length = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, rest) = rest.split_at(length);
    let scale = 9_u32.checked_sub(u32::try_from(length).ok()?)?;
    Some((digits.parse::<i32>().ok()? * 10_i32.pow(scale), rest))
}

fn parse_duration(text: &str) -> Option<(i64, i32)> {
    let (sign, rest) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let length = rest.find(|c: char| !c.is_ascii_digit())?;
    let (whole, rest) = rest.split_at(length);
    let (nanos, rest) = fraction(rest)?;
    let seconds = whole.parse::<i64>().ok().filter(|seconds| *seconds <= MAX_DURATION)?;
    if rest != "s" || (seconds == MAX_DURATION && nanos > 0) {
        return None;
    }
    Some((sign * seconds, i32::try_from(sign).ok()? * nanos))
}

/// RFC 3339 in UTC with 0, 3, 6 or 9 digits of a second; `None` outside the years 1 to 9999.
pub fn format_timestamp(seconds: i64, nanos: i32) -> Option<String> {
    if !TIMESTAMPS.contains(&seconds) || !(0..1_000_000_000).contains(&nanos) {
        return None;
    }
    let (year, month, day) = civil_from_days(seconds.div_euclid(86_400));
    let time = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{}Z", format_nanos(nanos)))
}

/// Seconds with 0, 3, 6 or 9 digits and an `s`; `None` if the parts contradict each other or are out of range.
pub fn format_duration(seconds: i64, nanos: i32) -> Option<String> {
    let signs_agree = seconds == 0 || nanos == 0 || (seconds > 0) == (nanos > 0);
    if !signs_agree || nanos.unsigned_abs() > 999_999_999 || seconds.unsigned_abs() > MAX_DURATION.unsigned_abs() {
        return None;
    }
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    Some(format!("{sign}{}{}s", seconds.unsigned_abs(), format_nanos(nanos.abs())))
}

fn format_nanos(nanos: i32) -> String {
    match nanos {
        0 => String::new(),
        n if n % 1_000_000 == 0 => format!(".{:03}", n / 1_000_000),
        n if n % 1_000 == 0 => format!(".{:06}", n / 1_000),
        n => format!(".{n:09}"),
    }
}

fn days_in(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01, in the proleptic Gregorian calendar, counted in eras of 400 years that begin in March.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a number of days since 1970-01-01.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let (day, month) = (day_of_year - (153 * month + 2) / 5 + 1, (month + 2) % 12 + 1);
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_and_written_as_rfc_3339() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some("1970-01-01T00:00:00Z")),
            ("2024-02-29T23:59:59.5Z", Some("2024-02-29T23:59:59.500Z")),
            ("2024-02-29T23:59:59.000001Z", Some("2024-02-29T23:59:59.000001Z")),
            ("2024-02-29T23:59:59.123456789Z", Some("2024-02-29T23:59:59.123456789Z")),
            ("2024-03-01T01:30:00+02:00", Some("2024-02-29T23:30:00Z")),
            ("2024-02-29T18:30:00-05:00", Some("2024-02-29T23:30:00Z")),
            ("0001-01-01T00:00:00Z", Some("0001-01-01T00:00:00Z")),
            ("9999-12-31T23:59:59.999999999Z", Some("9999-12-31T23:59:59.999999999Z")),
            ("1969-12-31T23:59:59.9Z", Some("1969-12-31T23:59:59.900Z")),
            ("0001-01-01T00:00:00+01:00", None),
            ("2023-02-29T00:00:00Z", None),
            ("2024-13-01T00:00:00Z", None),
            ("2024-01-01T24:00:00Z", None),
            ("2024-01-01T00:00:60Z", None),
            ("2024-01-01t00:00:00Z", None),
            ("2024-01-01T00:00:00", None),
            ("2024-01-01T00:00:00.Z", None),
            ("2024-01-01T00:00:00.1234567890Z", None),
            ("2024-01-01T00:00:00+0200", None),
            ("2024-01-01", None),
            ("２０２４-01-01T00:00:00Z", None),
            ("", None),
        ] {
            let parsed = parse_timestamp(text).and_then(|(seconds, nanos)| format_timestamp(seconds, nanos));
            assert_eq!(parsed.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn every_day_of_ten_millennia_survives() {
        for days in (-719_162..=2_932_896).step_by(13) {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), days);
            assert!((1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day));
        }
    }

    #[test]
    fn a_duration_is_read_and_written_in_seconds() {
        for (text, expected) in [
            ("0s", Some("0s")),
            ("1.5s", Some("1.500s")),
            ("-0.5s", Some("-0.500s")),
            ("-1.000000001s", Some("-1.000000001s")),
            ("315576000000s", Some("315576000000s")),
            ("315576000001s", None),
            ("1.5", None),
            ("1h", None),
            ("s", None),
            ("", None),
            (".5s", None),
            ("1.s", None),
            ("--1s", None),
            ("1e3s", None),
        ] {
            let parsed = parse_duration(text).and_then(|(seconds, nanos)| format_duration(seconds, nanos));
            assert_eq!(parsed.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_path_of_a_field_mask_turns_camel_case_and_back() {
        for path in ["a", "foo_bar", "foo_bar.baz_qux"] {
            assert_eq!(snake(&camel(path).unwrap()), path);
        }
        for path in ["fooBar", "foo__bar", "foo_1", "foo_"] {
            assert_eq!(camel(path), None, "{path}");
        }
    }
}
