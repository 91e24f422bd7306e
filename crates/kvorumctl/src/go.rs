//! Texts in the form in which Go programs read and write them, since scripts know etcdctl's.

use std::fmt::Write as _;

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
}
