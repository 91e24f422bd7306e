//! Keys and ranges of keys in the v3 keyspace.

use bytes::Bytes;

/// A key: any bytes, at least one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Bytes);

impl Key {
    /// `None` for the empty key, which no request may name.
    pub fn new(bytes: Bytes) -> Option<Self> {
        (!bytes.is_empty()).then_some(Self(bytes))
    }

    /// The bytes of the key.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The bytes of the key, given away.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Where a range of keys ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RangeEnd {
    /// With its first key: one key.
    Single,
    /// Before this key. At or below the first key the range is empty, which is not an error.
    Before(Bytes),
    /// With the last key there is.
    Unbounded,
}

/// A range of keys, as etcd's `key` and `range_end` describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key that may be in the range. Empty only for "everything".
    pub start: Bytes,
    /// Where it ends.
    pub end: RangeEnd,
}

impl KeyRange {
    /// One key.
    pub fn single(key: Key) -> Self {
        Self { start: key.into_bytes(), end: RangeEnd::Single }
    }

    /// Every key.
    pub fn all() -> Self {
        Self { start: Bytes::new(), end: RangeEnd::Unbounded }
    }

    /// What `key` and `range_end` of a request mean: an empty end is one key, `\0` as the end is "to the
    /// last key", and `\0` as the key is the first possible key.
    pub fn from_wire(key: Key, range_end: Bytes) -> Self {
        let end = match range_end.as_ref() {
            [] => RangeEnd::Single,
            [0] => RangeEnd::Unbounded,
            _ => RangeEnd::Before(range_end),
        };
        Self { start: key.into_bytes(), end }
    }

    /// Whether `key` is in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            RangeEnd::Single => self.start == key,
            RangeEnd::Before(end) => self.start.as_ref() <= key && key < end.as_ref(),
            RangeEnd::Unbounded => self.start.as_ref() <= key,
        }
    }

    /// The one key that this range names, where it names one.
    pub fn as_single(&self) -> Option<&Bytes> {
        matches!(self.end, RangeEnd::Single).then_some(&self.start)
    }

    /// Whether no key can be in the range.
    pub fn is_empty(&self) -> bool {
        matches!(&self.end, RangeEnd::Before(end) if *end <= self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(key: &'static str, end: &'static str) -> KeyRange {
        KeyRange::from_wire(
            Key::new(Bytes::from_static(key.as_bytes())).expect("not empty"),
            Bytes::from_static(end.as_bytes()),
        )
    }

    #[test]
    fn wire_forms() {
        assert!(range("a", "").contains(b"a") && !range("a", "").contains(b"ab"));
        assert!(range("a", "c").contains(b"b") && !range("a", "c").contains(b"c"));
        assert!(range("a", "\0").contains(b"zzz") && !range("b", "\0").contains(b"a"));
        assert!(range("c", "a").is_empty() && range("c", "c").is_empty() && !range("c", "").is_empty());
        assert!(Key::new(Bytes::new()).is_none());
    }
}
