//! DER, as far as names and dates of certificates and the numbers in revocation lists need it: one thing after the other.
//!
//! What is believed is judged by webpki, which is strict; here nothing is decided but where things are. A crate for this
//! would bring ten others, for sixty lines.
//!
//! INVARIANT: no input makes it panic or read beyond its end.

use time::{Date, Month, PrimitiveDateTime, Time};

/// Tags.
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OCTETS: u8 = 0x04;
pub(crate) const OID: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const BMP_STRING: u8 = 0x1e;

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The tag of what comes next.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next thing: its tag, and what is in it.
    pub(crate) fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = if *first < 0x80 {
            (usize::from(*first), rest)
        } else {
            let digits = usize::from(*first & 0x7f);
            if !(1..=4).contains(&digits) {
                return None;
            }
            let (length, rest) = rest.split_at_checked(digits)?;
            (length.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte)), rest)
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, content))
    }

    /// The next thing, which has this tag.
    pub(crate) fn one(&mut self, tag: u8) -> Option<&'a [u8]> {
        if self.peek() == Some(tag) { self.any().map(|(_, content)| content) } else { None }
    }

    /// Likewise, to be read further.
    pub(crate) fn enter(&mut self, tag: u8) -> Option<Self> {
        self.one(tag).map(Self)
    }

    /// A moment, in seconds since 1970.
    pub(crate) fn moment(&mut self) -> Option<i64> {
        let (tag, content) = self.any()?;
        let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
        let (year, rest) = match tag {
            UTC_TIME => {
                let (year, rest) = text.split_at_checked(2)?;
                let year: i32 = year.parse().ok()?;
                (if year < 50 { 2000 + year } else { 1900 + year }, rest)
            }
            GENERALIZED_TIME => {
                let (year, rest) = text.split_at_checked(4)?;
                (year.parse().ok()?, rest)
            }
            _ => return None,
        };
        if rest.len() != 10 {
            return None;
        }
        let pair = |at: usize| rest.get(at..at + 2).and_then(|digits| digits.parse::<u8>().ok());
        let date = Date::from_calendar_date(year, Month::try_from(pair(0)?).ok()?, pair(2)?).ok()?;
        let time = Time::from_hms(pair(4)?, pair(6)?, pair(8)?).ok()?;
        Some(PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp())
    }

    /// A name: what it is made of, as pairs of a short word and a text.
    pub(crate) fn name(&mut self) -> Option<Vec<(String, String)>> {
        let mut parts = Vec::new();
        let mut sets = self.enter(SEQUENCE)?;
        while sets.peek().is_some() {
            let mut pairs = sets.enter(SET)?;
            while pairs.peek().is_some() {
                let mut pair = pairs.enter(SEQUENCE)?;
                let kind = word(pair.one(OID)?);
                let (tag, content) = pair.any()?;
                parts.push((kind, text(tag, content)));
            }
        }
        Some(parts)
    }
}

fn word(oid: &[u8]) -> String {
    match oid {
        [0x55, 4, 3] => "CN".to_owned(),
        [0x55, 4, 5] => "SERIALNUMBER".to_owned(),
        [0x55, 4, 6] => "C".to_owned(),
        [0x55, 4, 7] => "L".to_owned(),
        [0x55, 4, 8] => "ST".to_owned(),
        [0x55, 4, 10] => "O".to_owned(),
        [0x55, 4, 11] => "OU".to_owned(),
        other => format!("{other:02x?}"),
    }
}

fn text(tag: u8, content: &[u8]) -> String {
    if tag == BMP_STRING {
        let units: Vec<u16> = content
            .chunks_exact(2)
            .map(|pair| pair.iter().fold(0, |unit, byte| (unit << 8) | u16::from(*byte)))
            .collect();
        return String::from_utf16_lossy(&units);
    }
    String::from_utf8_lossy(content).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_off_is_nothing() {
        for bytes in
            [&[][..], &[0x30], &[0x30, 1], &[0x30, 0x80], &[0x30, 0x85, 0, 0, 0, 0, 1], &[0x30, 0x82, 1]]
        {
            assert!(Der::new(bytes).any().is_none(), "{bytes:?}");
        }
        assert_eq!(Der::new(&[2, 1, 7, 9]).any(), Some((INTEGER, &[7][..])));
        assert_eq!(Der::new(&[2, 0x81, 1, 7]).one(INTEGER), Some(&[7][..]));
        assert_eq!(Der::new(&[2, 1, 7]).one(OCTETS), None);
    }

    #[test]
    fn moments_have_two_forms() {
        let moment = |tag: u8, text: &str| {
            let mut bytes = vec![tag, text.len() as u8];
            bytes.extend_from_slice(text.as_bytes());
            Der::new(&bytes).moment()
        };
        assert_eq!(moment(UTC_TIME, "700101000001Z"), Some(1));
        assert_eq!(moment(UTC_TIME, "261121181101Z"), moment(GENERALIZED_TIME, "20261121181101Z"));
        for wrong in ["700101000001", "701301000001Z", "7001010000Z", "70010100000aZ", "é00101000001Z"] {
            assert_eq!(moment(UTC_TIME, wrong), None, "{wrong}");
        }
    }
}
