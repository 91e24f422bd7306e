//! Single values of flags, as Go programs and etcd spell them, and as people do beside: `8GiB`, `1d`.
//!
//! INVARIANT: every spelling that etcd takes means here what it means there.

use std::time::Duration;

use members::{MemberUrl, UrlError};

use crate::flags::{Flag, Kind};
use crate::gates::Gates;

/// Units of sizes in bytes. As everywhere `KB` is 1000 and `KiB` 1024; a letter alone is the latter.
const SIZES: [(&str, u64); 17] = [
    ("B", 1),
    ("K", 1 << 10),
    ("Ki", 1 << 10),
    ("KiB", 1 << 10),
    ("kB", 1000),
    ("KB", 1000),
    ("M", 1 << 20),
    ("Mi", 1 << 20),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("G", 1 << 30),
    ("Gi", 1 << 30),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("T", 1 << 40),
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
];

/// etcd's `true` and `false`, which are Go's.
pub(crate) fn parse_bool(word: &str) -> Option<bool> {
    match word {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A number as Go writes them: decimal, or with `0x`, `0o`, `0b` or a leading zero before it.
pub(crate) fn parse_unsigned(word: &str) -> Option<u64> {
    let (digits, radix) = match word.as_bytes() {
        [b'0', b'x' | b'X', ..] => (word.get(2..)?, 16),
        [b'0', b'o' | b'O', ..] => (word.get(2..)?, 8),
        [b'0', b'b' | b'B', ..] => (word.get(2..)?, 2),
        [b'0', _, ..] => (word.get(1..)?, 8),
        _ => (word, 10),
    };
    // `from_str_radix` takes a plus sign, which Go does not.
    if digits.starts_with('+') { None } else { u64::from_str_radix(digits, radix).ok() }
}

/// The same with a sign before it.
pub(crate) fn parse_signed(word: &str) -> Option<i64> {
    match word.strip_prefix('-') {
        Some(digits) => 0_i64.checked_sub_unsigned(parse_unsigned(digits)?),
        None => i64::try_from(parse_unsigned(word.strip_prefix('+').unwrap_or(word))?).ok(),
    }
}

/// A size in bytes: a number as above, or one with a unit, such as `8GiB` or `1.5 MB`.
pub(crate) fn parse_bytes(word: &str) -> Option<u64> {
    if let Some(bytes) = parse_unsigned(word) {
        return Some(bytes);
    }
    let split = word.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = word.split_at(split);
    let (_, scale) = SIZES.iter().find(|(name, _)| *name == unit.trim_start())?;
    if let Ok(number) = number.parse::<u64>() {
        return number.checked_mul(*scale);
    }
    let bytes = number.parse::<f64>().ok()? * *scale as f64;
    (bytes < u64::MAX as f64).then_some(bytes as u64)
}

/// The same, or a negative number, which is how etcd's flags say "none".
pub(crate) fn parse_signed_bytes(word: &str) -> Option<i64> {
    parse_signed(word).or_else(|| parse_bytes(word).and_then(|bytes| i64::try_from(bytes).ok()))
}

/// A time as Go writes it (`90s`, `1h30m`), or with days and weeks (`1d`, `2w`), or with spaces between.
pub(crate) fn parse_time(word: &str) -> Option<Duration> {
    if let Some(time) = stdx::parse_duration(word) {
        return Some(time);
    }
    let mut total = Duration::ZERO;
    let mut rest = word.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let end = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let hours = match unit {
            "d" => Some(24.0),
            "w" => Some(24.0 * 7.0),
            _ => None,
        };
        let part = match hours {
            Some(hours) => Duration::try_from_secs_f64(number.parse::<f64>().ok()? * hours * 3600.0).ok()?,
            None => stdx::parse_duration(&format!("{number}{unit}"))?,
        };
        total = total.checked_add(part)?;
        rest = after.trim_start();
    }
    Some(total)
}

/// A whole number of `unit`s, as etcd has it, or a time with its unit that is a whole number of them.
pub(crate) fn parse_count_of(unit: Duration, word: &str) -> Option<u64> {
    let whole = |time: Duration| {
        let (time, unit) = (time.as_nanos(), unit.as_nanos());
        if time.is_multiple_of(unit) { u64::try_from(time / unit).ok() } else { None }
    };
    parse_unsigned(word).or_else(|| parse_time(word).and_then(whole))
}

/// URLs with commas between them, sorted, each once. Nothing at all is an empty list.
pub(crate) fn parse_urls(list: &str) -> Result<Vec<MemberUrl>, UrlError> {
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let mut urls = members::parse_urls(list.split(','))?;
    urls.dedup();
    Ok(urls)
}

/// Whether a flag may have this value; if not, why, in Go's words where it has some.
pub(crate) fn check(flag: &Flag, value: &str) -> Result<(), String> {
    let number = |parsed: bool| if parsed { Ok(()) } else { Err("parse error".to_owned()) };
    match flag.kind {
        Kind::Text => Ok(()),
        Kind::Bool => number(parse_bool(value).is_some()),
        Kind::Unsigned => number(parse_unsigned(value).is_some()),
        Kind::Signed => number(parse_signed(value).is_some()),
        Kind::Bytes => number(parse_bytes(value).is_some()),
        Kind::SignedBytes => number(parse_signed_bytes(value).is_some()),
        Kind::Duration => number(parse_time(value).is_some()),
        Kind::CountOf(unit) => number(parse_count_of(unit, value).is_some()),
        Kind::Gates => Gates::read(value).map(drop),
        // Where none is a choice.
        Kind::Urls if value.is_empty() && flag.default.is_empty() => Ok(()),
        Kind::Urls => parse_urls(value).map(drop).map_err(|error| error.to_string()),
        Kind::Choice(words) if words.contains(&value) => Ok(()),
        Kind::Choice(_) => Err("invalid value".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_or_not() {
        for (word, expect) in [
            ("8589934592", Some(8 << 30)),
            ("8GiB", Some(8 << 30)),
            ("8G", Some(8 << 30)),
            ("8 GB", Some(8_000_000_000)),
            ("1.5MiB", Some(1_572_864)),
            ("512K", Some(524_288)),
            ("0", Some(0)),
            ("8 gigs", None),
            ("GiB", None),
            ("", None),
            ("99999999999TB", None),
        ] {
            assert_eq!(parse_bytes(word), expect, "{word}");
        }
        assert_eq!([parse_signed_bytes("-1"), parse_signed_bytes("2MiB")], [Some(-1), Some(2 << 20)]);
    }

    #[test]
    fn times_have_days_and_weeks_beside_what_go_has() {
        for (word, expect_s) in [
            ("1d", Some(86_400)),
            ("1w", Some(604_800)),
            ("1d12h", Some(129_600)),
            ("1h 30m", Some(5400)),
            ("90s", Some(90)),
            ("1 d", Some(86_400)),
            ("5", None),
            ("", None),
            ("1y", None),
            ("d", None),
        ] {
            assert_eq!(parse_time(word).map(|time| time.as_secs()), expect_s, "{word}");
        }
        let ms = Duration::from_millis(1);
        assert_eq!(
            ["100", "100ms", "2s", "1.5ms"].map(|word| parse_count_of(ms, word)),
            [Some(100), Some(100), Some(2000), None]
        );
    }
}
