//! Just enough protobuf to ask etcd's questions and to check its answers.
//!
//! Written by hand instead of taken from generated code: a request is a few length prefixes around bytes that
//! are already known, and a checker that shares no code with the server cannot share its mistakes.

/// Appends a base-128 varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a varint field. Zero is written too, since a oneof must be able to hold it.
pub(crate) fn put_number(out: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(out, u64::from(field) << 3);
    put_varint(out, value);
}

/// Appends a length-delimited field: bytes, a string, or an encoded message.
pub(crate) fn put_bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    put_varint(out, (u64::from(field) << 3) | 2);
    put_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// One field as it stands on the wire.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// Wire type 0; the fixed-width types 1 and 5 are read as this too.
    Number(u64),
    /// Wire type 2.
    Bytes(&'a [u8]),
}

/// Walks over the fields of one encoded message, and ends at the first thing it cannot read.
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Starts before the first field.
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u32, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let tag = self.varint()?;
        let field = u32::try_from(tag >> 3).ok()?;
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => Value::Number(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => {
                let len = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(len)?)
            }
            5 => Value::Number(u64::from(u32::from_le_bytes(self.take(4)?.try_into().ok()?))),
            _ => return None,
        };
        Some((field, value))
    }
}

/// The last number under `field`, as protobuf has it; zero when there is none.
pub(crate) fn number(message: &[u8], field: u32) -> u64 {
    let numbers = Fields::new(message).filter_map(|(at, value)| match value {
        Value::Number(number) if at == field => Some(number),
        _ => None,
    });
    numbers.last().unwrap_or(0)
}

/// Every length-delimited value under `field`, in order.
pub(crate) fn messages(message: &[u8], field: u32) -> impl Iterator<Item = &[u8]> {
    Fields::new(message).filter_map(move |(at, value)| match value {
        Value::Bytes(bytes) if at == field => Some(bytes),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut out = Vec::new();
        put_bytes(&mut out, 1, b"key");
        put_number(&mut out, 3, 300);
        put_number(&mut out, 4, u64::MAX);
        assert_eq!(&out[..5], b"\x0a\x03key");
        assert_eq!(&out[5..8], b"\x18\xac\x02");
        assert_eq!(messages(&out, 1).collect::<Vec<_>>(), [b"key"]);
        assert_eq!(number(&out, 3), 300);
        assert_eq!(number(&out, 4), u64::MAX);
        assert_eq!(number(&out, 9), 0);
    }

    #[test]
    fn a_cut_message_ends_early_instead_of_panicking() {
        let mut out = Vec::new();
        put_number(&mut out, 1, 7);
        put_bytes(&mut out, 2, b"0123456789");
        for len in 0..out.len() {
            assert!(Fields::new(&out[..len]).count() <= 1);
        }
        assert_eq!(Fields::new(&[0x80; 20]).count(), 0);
    }
}
