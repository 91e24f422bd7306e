//! Texts in the form in which Go programs read and write them, since scripts know etcdctl's.

use std::fmt::Write as _;
use std::time::Duration;

/// A number in base 10, or what Go's `strconv.ParseInt` says of it.
pub(crate) fn parse_int(text: &str) -> Result<i64, String> {
    whole(text, 10)
        .and_then(|number| i64::try_from(number).ok())
        .ok_or_else(|| not_read("ParseInt", text, 10))
}

/// A lease in base 16.
pub(crate) fn parse_hex(text: &str) -> Result<i64, String> {
    whole(text, 16)
        .and_then(|number| i64::try_from(number).ok())
        .ok_or_else(|| not_read("ParseInt", text, 16))
}

/// A member in base 16.
pub(crate) fn parse_hex_unsigned(text: &str) -> Result<u64, String> {
    let number = if text.starts_with(['+', '-']) { None } else { whole(text, 16) };
    number.and_then(|number| u64::try_from(number).ok()).ok_or_else(|| not_read("ParseUint", text, 16))
}

fn whole(text: &str, radix: u32) -> Option<i128> {
    i128::from_str_radix(text, radix).ok()
}

fn not_read(function: &str, text: &str, radix: u32) -> String {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_number = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
    let is_signed = function == "ParseInt" || digits.len() == text.len();
    let reason = if is_number && is_signed { "value out of range" } else { "invalid syntax" };
    format!("strconv.{function}: parsing {}: {reason}", quoted(text.as_bytes()))
}

/// Go's `%q`: between quotes, with escapes for what is not printable, and for bytes that are no text.
pub(crate) fn quoted(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\x07' => text.push_str("\\a"),
                '\x08' => text.push_str("\\b"),
                '\x0c' => text.push_str("\\f"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                '\x0b' => text.push_str("\\v"),
                char if char < ' ' || char == '\x7f' => drop(write!(text, "\\x{:02x}", u32::from(char))),
                char if char.is_control() => drop(write!(text, "\\u{:04x}", u32::from(char))),
                char => text.push(char),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text.push('"');
    text
}

/// A size as people read it, in steps of a thousand: `20 kB`, `1.5 MB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let value = (value * 10.0 + 0.5).floor() / 10.0;
    let unit = UNITS.get(unit).unwrap_or(&"B");
    if value < 10.0 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// A time as Go writes it: `2.031167ms`, `1m0.5s`.
pub(crate) fn duration(time: Duration) -> String {
    let ns = time.as_nanos();
    let fraction = |unit: f64| trim(&format!("{:.9}", ns as f64 / unit));
    match ns {
        0 => "0s".to_owned(),
        1..=999 => format!("{ns}ns"),
        1_000..=999_999 => format!("{}µs", fraction(1e3)),
        1_000_000..=999_999_999 => format!("{}ms", fraction(1e6)),
        _ => {
            let (hours, minutes) = (time.as_secs() / 3600, time.as_secs() / 60 % 60);
            let seconds = trim(&format!("{}.{:09}", time.as_secs() % 60, time.subsec_nanos()));
            match (hours, minutes) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

fn trim(number: &str) -> String {
    number.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// What stands between Go's quotes: `"` with escapes or a backquote without. Answers what follows, too.
pub(crate) fn unquote(text: &str) -> Option<(Vec<u8>, &str)> {
    if let Some(rest) = text.strip_prefix('`') {
        let (inside, rest) = rest.split_once('`')?;
        return Some((inside.as_bytes().to_vec(), rest));
    }
    let mut rest = text.strip_prefix('"')?;
    let mut bytes = Vec::new();
    loop {
        let char = rest.chars().next()?;
        rest = rest.get(char.len_utf8()..)?;
        match char {
            '"' => return Some((bytes, rest)),
            '\n' => return None,
            '\\' => rest = escape(rest, &mut bytes)?,
            char => bytes.extend(char.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

fn escape<'a>(rest: &'a str, bytes: &mut Vec<u8>) -> Option<&'a str> {
    let kind = rest.chars().next()?;
    let after = rest.get(kind.len_utf8()..)?;
    let plain = match kind {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' | '"' | '\'' => kind as u8,
        'x' => {
            bytes.push(u8::from_str_radix(after.get(..2)?, 16).ok()?);
            return after.get(2..);
        }
        '0'..='7' => {
            bytes.push(u8::from_str_radix(rest.get(..3)?, 8).ok()?);
            return rest.get(3..);
        }
        'u' | 'U' => {
            let digits = if kind == 'u' { 4 } else { 8 };
            let char = char::from_u32(u32::from_str_radix(after.get(..digits)?, 16).ok()?)?;
            bytes.extend(char.encode_utf8(&mut [0; 4]).as_bytes());
            return after.get(digits..);
        }
        _ => return None,
    };
    bytes.push(plain);
    Some(after)
}

/// The words of a line: between `"` with escapes, between `'` without, or up to a space.
pub(crate) fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, after) = match first {
            '"' => {
                let (bytes, after) = unquote(rest)?;
                (String::from_utf8_lossy(&bytes).into_owned(), after)
            }
            '\'' => {
                let (word, after) = rest.get(1..)?.split_once('\'')?;
                (word.to_owned(), after)
            }
            _ => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                (rest.get(..end)?.to_owned(), rest.get(end..)?)
            }
        };
        words.push(word);
        rest = after.trim_start();
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_what_is_none() {
        assert_eq!(parse_int("-5"), Ok(-5));
        assert_eq!(parse_hex("1234abcd"), Ok(0x1234_abcd));
        let nonsense = "strconv.ParseInt: parsing \"nonsense\": invalid syntax".to_owned();
        assert_eq!(parse_int("nonsense"), Err(nonsense));
        let long = "strconv.ParseInt: parsing \"99999999999999999999\": value out of range".to_owned();
        assert_eq!(parse_int("99999999999999999999"), Err(long));
        assert_eq!(parse_hex_unsigned("ffffffffffffffff"), Ok(u64::MAX));
        assert!(parse_hex_unsigned("-1").is_err());
    }

    #[test]
    fn bytes_are_quoted_and_sizes_are_short() {
        assert_eq!(quoted(b"a\"b\n\xff\x01"), r#""a\"b\n\xff\x01""#);
        assert_eq!(quoted("\u{fc}".as_bytes()), "\"\u{fc}\"");
        assert_eq!([size(7), size(20_480), size(1_500_000), size(999)], ["7 B", "20 kB", "1.5 MB", "999 B"]);
    }

    #[test]
    fn times_are_written_as_go_writes_them() {
        let ms = |ms| duration(Duration::from_millis(ms));
        assert_eq!(
            [ms(0), ms(12), ms(1500), ms(60_500), ms(3_600_000)],
            ["0s", "12ms", "1.5s", "1m0.5s", "1h0m0s"]
        );
        assert_eq!(duration(Duration::from_nanos(2_031_167)), "2.031167ms");
        assert_eq!(duration(Duration::from_nanos(1_500)), "1.5µs");
    }

    #[test]
    fn lines_are_split_as_etcdctl_splits_them() {
        let words = |line| words(line).expect("closed");
        assert_eq!(words(r#"put a "b \"c\" \x41" 'd e' f"#), ["put", "a", "b \"c\" A", "d e", "f"]);
        assert_eq!(words("  "), Vec::<String>::new());
        assert_eq!(super::words("put \"a"), None);
        assert_eq!(unquote(r#""\u00fc\101" x"#), Some(("üA".into(), " x")));
    }
}
