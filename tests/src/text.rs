//! The small notations of the data files: escapes, generated text, base64 and patterns.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// `${repeat:x:3}` in a data file may not make more than this.
const REPEAT_BYTES_MAX: usize = 16 << 20;

/// Turns `\n`, `\r`, `\t`, `\0`, `\\`, `\"` and `\xHH` into the bytes that they stand for.
pub fn unescape(text: &str) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(char) = rest.next() {
        if char != '\\' {
            bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        match rest.next().context("a backslash at the end")? {
            'n' => bytes.push(b'\n'),
            'r' => bytes.push(b'\r'),
            't' => bytes.push(b'\t'),
            '0' => bytes.push(0),
            '\\' => bytes.push(b'\\'),
            '"' => bytes.push(b'"'),
            'x' => {
                let digits: String = rest.by_ref().take(2).collect();
                let byte = u8::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 2);
                bytes.push(byte.with_context(|| format!("\\x{digits} is no byte"))?);
            }
            other => bail!("\\{other} is no escape"),
        }
    }
    Ok(bytes)
}

/// Replaces `${repeat:TEXT:TIMES}` by TEXT, TIMES times.
pub fn expand(text: &str) -> anyhow::Result<String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (inside, after) = after.split_once('}').context("${ without }")?;
        let words: Vec<&str> = inside.split(':').collect();
        let ["repeat", unit, times] = words.as_slice() else { bail!("${{{inside}}} is unknown") };
        let times: usize = times.parse().with_context(|| format!("{times} is no number"))?;
        ensure!(unit.len().saturating_mul(times) <= REPEAT_BYTES_MAX, "${{{inside}}} is too much");
        expanded.push_str(before);
        expanded.push_str(&unit.repeat(times));
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// Replaces each `${NAME}` by the value of that name, which may change from server to server. Other notations
/// are left for [`expand`].
pub fn insert(text: &str, values: &BTreeMap<impl AsRef<str>, String>) -> String {
    let mut text = text.to_owned();
    for (name, value) in values {
        text = text.replace(&format!("${{{}}}", name.as_ref()), value);
    }
    text
}

/// Replaces every `b"text"` by `"dGV4dA=="`, so that JSON bodies can be written and read by people.
pub fn encode_bytes(text: &str) -> anyhow::Result<String> {
    let mut encoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("b\"") {
        let end = closing_quote(after).context("b\" without a closing quote")?;
        let (inside, after) = after.split_at(end);
        encoded.push_str(before);
        encoded.push('"');
        encoded.push_str(&STANDARD.encode(unescape(inside)?));
        encoded.push('"');
        rest = after.strip_prefix('"').unwrap_or(after);
    }
    encoded.push_str(rest);
    Ok(encoded)
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, char) in text.char_indices() {
        match char {
            '"' if !escaped => return Some(at),
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    None
}

/// Between the two texts of a pair; no answer holds it.
const BORDER: char = '\u{1}';

/// Whether both texts are as their patterns say. In a pattern `*` stands for anything, and `<A>` (one
/// capital letter) for anything that is the same wherever that letter stands, in either pattern.
pub fn pair_matches(patterns: (&str, &str), texts: (&str, &str)) -> bool {
    let pattern = format!("{}{BORDER}{}", patterns.0, patterns.1);
    let text = format!("{}{BORDER}{}", texts.0, texts.1);
    matches(&pattern, &text, &BTreeMap::new())
}

/// Whether the text is as the pattern says.
pub fn pattern_matches(pattern: &str, text: &str) -> bool {
    matches(pattern, text, &BTreeMap::new())
}

fn matches<'a>(pattern: &'a str, text: &'a str, bound: &BTreeMap<char, &'a str>) -> bool {
    let literal = pattern.find(['*', '<']).unwrap_or(pattern.len());
    let (head, tail) = pattern.split_at(literal);
    let Some(text) = text.strip_prefix(head) else { return false };
    if tail.is_empty() {
        return text.is_empty();
    }
    if let Some(rest) = tail.strip_prefix('*') {
        return splits(text).any(|(_, after)| matches(rest, after, bound));
    }
    let mut chars = tail.chars();
    let (Some('<'), Some(name @ 'A'..='Z'), Some('>')) = (chars.next(), chars.next(), chars.next()) else {
        // A `<` that names nothing stands for itself.
        return text.strip_prefix('<').zip(tail.strip_prefix('<')).is_some_and(|(t, p)| {
            let next = p.find(['*', '<']).unwrap_or(p.len());
            let (head, rest) = p.split_at(next);
            t.strip_prefix(head).is_some_and(|t| matches(rest, t, bound))
        });
    };
    let rest = chars.as_str();
    if let Some(value) = bound.get(&name) {
        return text.strip_prefix(value).is_some_and(|after| matches(rest, after, bound));
    }
    splits(text).any(|(value, after)| {
        let mut bound = bound.clone();
        bound.insert(name, value);
        matches(rest, after, &bound)
    })
}

/// Every way to cut `text` in two without the first part crossing the border of a pair.
fn splits(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let end = text.find(BORDER).unwrap_or(text.len());
    text.char_indices()
        .map(|(at, _)| at)
        .chain([text.len()])
        .take_while(move |at| *at <= end)
        .map(|at| text.split_at(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notations() {
        assert_eq!(unescape(r"a\x00\n\\").expect("well-formed"), b"a\0\n\\");
        assert!(unescape(r"\q").is_err() && unescape(r"\x0").is_err() && unescape("\\").is_err());
        assert_eq!(expand("a${repeat:xy:3}b").expect("well-formed"), "axyxyxyb");
        assert!(expand("${repeat:x:99999999999}").is_err() && expand("${x}").is_err());
        assert_eq!(
            encode_bytes(r#"{"key": b"foo", "v": b"\""}"#).expect("well-formed"),
            r#"{"key": "Zm9v", "v": "Ig=="}"#
        );
    }

    #[test]
    fn patterns() {
        assert!(
            pattern_matches("POST /v3/*", "POST /v3/kv/put") && !pattern_matches("POST /v3/*", "PUT /v3/")
        );
        assert!(
            pattern_matches("*", "")
                && pattern_matches("a*b*c", "a__b__b_c")
                && !pattern_matches("a*b", "abc")
        );
        assert!(pattern_matches("<date> x", "<date> x") && !pattern_matches("<date>", "<time>"));
        let patterns = ("{\"error\":<A>,\"code\":<B>}", "{\"code\":<B>,\"error\":<A>}");
        assert!(pair_matches(patterns, ("{\"error\":\"x\",\"code\":3}", "{\"code\":3,\"error\":\"x\"}")));
        assert!(!pair_matches(patterns, ("{\"error\":\"x\",\"code\":3}", "{\"code\":4,\"error\":\"x\"}")));
        assert!(!pair_matches(("*", "b"), ("a", "c")));
    }
}
