//! Forms as Go reads them: the query, and in front of it the body of a PUT or POST. A name's first value
//! counts. What is wrong somewhere is told in Go's words, and the rest is read all the same.

use bytes::Bytes;
use http::Uri;

/// Names and values in the order in which they came.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Form(Vec<(Bytes, Bytes)>);

impl Form {
    /// The query of a URL, without regard to what is wrong in it.
    pub(crate) fn of_query(uri: &Uri) -> Self {
        Self::parse(uri.query().unwrap_or_default().as_bytes()).0
    }

    /// Names and values of a query or a urlencoded body, and the first thing that is wrong.
    pub(crate) fn parse(text: &[u8]) -> (Self, Option<String>) {
        let (mut form, mut wrong) = (Self::default(), None);
        for pair in text.split(|byte| *byte == b'&') {
            if pair.contains(&b';') {
                wrong.get_or_insert_with(|| "invalid semicolon separator in query".to_owned());
                continue;
            }
            if pair.is_empty() {
                continue;
            }
            let equals = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            let (name, value) = pair.split_at(equals);
            match (unescape(name), unescape(value.get(1..).unwrap_or_default())) {
                (Ok(name), Ok(value)) => form.0.push((name, value)),
                (Err(error), _) | (_, Err(error)) => drop(wrong.get_or_insert(error)),
            }
        }
        (form, wrong)
    }

    /// Adds the names and values of another form behind its own.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// The first value of a name.
    pub(crate) fn first(&self, name: &str) -> Option<&Bytes> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// All values of a name.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &Bytes> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value)
    }
}

fn unescape(text: &[u8]) -> Result<Bytes, String> {
    let plain = text.iter().position(|byte| matches!(byte, b'+' | b'%')).unwrap_or(text.len());
    let (begin, mut rest) = text.split_at(plain);
    if rest.is_empty() {
        return Ok(Bytes::copy_from_slice(begin));
    }
    let mut out = Vec::with_capacity(text.len());
    out.extend_from_slice(begin);
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digits = rest.first_chunk::<2>().and_then(|[high, low]| {
                    Some((char::from(*high).to_digit(16)?, char::from(*low).to_digit(16)?))
                });
                let Some((high, low)) = digits else { return Err(invalid_escape(rest)) };
                out.push((high * 16 + low) as u8);
                rest = rest.get(2..).unwrap_or_default();
            }
            byte => out.push(byte),
        }
    }
    Ok(out.into())
}

fn invalid_escape(rest: &[u8]) -> String {
    let shown = rest.get(..2).unwrap_or(rest);
    format!("invalid URL escape {:?}", format!("%{}", String::from_utf8_lossy(shown)))
}

const FORM: &[u8] = b"application/x-www-form-urlencoded";

/// What a content type says about a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum MediaType {
    /// A urlencoded form.
    Form,
    /// Something else, which is not read.
    Other,
}

impl MediaType {
    /// Of a request's header, and what is wrong with it in Go's words. Without one, the body is just bytes.
    pub(crate) fn parse(header: Option<&[u8]>) -> (Self, Option<&'static str>) {
        let header = header.filter(|header| !header.is_empty()).unwrap_or(b"application/octet-stream");
        // As most clients say it.
        if header == FORM {
            return (Self::Form, None);
        }
        let mut parts = header.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
        if let Some(wrong) = wrong_with(&media_type) {
            return (Self::Other, Some(wrong));
        }
        let kind = match media_type.as_slice() {
            FORM => Self::Form,
            _ => Self::Other,
        };
        let mut parameters = parts.peekable();
        while let Some(parameter) = parameters.next() {
            let is_trailing_semicolon = parameter.is_empty() && parameters.peek().is_none();
            if !is_trailing_semicolon && !is_parameter(parameter) {
                return (kind, Some("mime: invalid media parameter"));
            }
        }
        (kind, None)
    }
}

fn wrong_with(media_type: &[u8]) -> Option<&'static str> {
    let length = |text: &[u8]| text.iter().take_while(|byte| is_token(**byte)).count();
    let first = length(media_type);
    if first == 0 {
        return Some("mime: no media type");
    }
    let rest = media_type.get(first..)?;
    let second = match rest.split_first() {
        None => return None,
        Some((b'/', second)) => second,
        Some(_) => return Some("mime: expected slash after first token"),
    };
    match length(second) {
        0 => Some("mime: expected token after slash"),
        all if all == second.len() => None,
        _ => Some("mime: unexpected content after media subtype"),
    }
}

fn is_parameter(text: &[u8]) -> bool {
    let Some(equals) = text.iter().position(|byte| *byte == b'=') else { return false };
    let (name, value) = text.split_at(equals);
    let value = value.get(1..).unwrap_or_default().trim_ascii();
    let quoted = value.len() >= 2 && value.starts_with(b"\"") && value.ends_with(b"\"");
    let is_token = |text: &[u8]| !text.is_empty() && text.iter().all(|byte| is_token(*byte));
    is_token(name.trim_ascii()) && (quoted || is_token(value))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_split_and_unescaped() {
        let (form, wrong) = Form::parse(b"a=1&b+c=%41%ff&a=2&d&&=e");
        assert_eq!(wrong, None);
        assert_eq!(form.first("a"), Some(&Bytes::from_static(b"1")));
        assert_eq!(form.first("b c"), Some(&Bytes::from_static(b"A\xff")));
        assert_eq!(form.first("d"), Some(&Bytes::new()));
        assert_eq!(form.all("a").count(), 2);
    }

    #[test]
    fn the_first_thing_that_is_wrong_is_told_and_the_rest_is_read() {
        let check = |text: &str, expected: &str| {
            let (form, wrong) = Form::parse(text.as_bytes());
            assert_eq!(wrong.as_deref(), Some(expected), "{text}");
            assert!(form.first("ok").is_some(), "{text}");
        };
        check("a=%zz&ok", "invalid URL escape \"%zz\"");
        check("ok=&a=%2", "invalid URL escape \"%2\"");
        check("%=%x&ok", "invalid URL escape \"%\"");
        check("a=1;b=2&c=%zz&ok", "invalid semicolon separator in query");
    }

    #[test]
    fn content_types_are_judged_as_go_does() {
        let check = |header: &str, expected: (MediaType, Option<&'static str>)| {
            assert_eq!(MediaType::parse(Some(header.as_bytes())), expected, "{header}");
        };
        check("application/x-www-form-urlencoded", (MediaType::Form, None));
        check("Application/X-WWW-Form-Urlencoded; charset=UTF-8;", (MediaType::Form, None));
        check("application/json", (MediaType::Other, None));
        check("", (MediaType::Other, None));
        check("bad/;;x", (MediaType::Other, Some("mime: expected token after slash")));
        check("bad x", (MediaType::Other, Some("mime: expected slash after first token")));
        check("/x", (MediaType::Other, Some("mime: no media type")));
        check("a/b c", (MediaType::Other, Some("mime: unexpected content after media subtype")));
        check(
            "application/x-www-form-urlencoded; x",
            (MediaType::Form, Some("mime: invalid media parameter")),
        );
    }
}
