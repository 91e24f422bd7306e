//! How the history lies in RocksDB: row keys and records. docs/FORMATS.md draws them.
//!
//! A row key sorts as the user key sorts, and newest first within a user key. A record begins with a checksum
//! over its row key and everything behind the checksum, so that neither a flipped bit nor a record under the
//! wrong key is taken for data.

use store::Family;
use types::Revision;

use crate::Damage;

/// Ends the escaped user key. Smaller than [`ESCAPED_ZERO`], so that a key sorts before those it is a prefix of.
const TERMINATOR: [u8; 2] = [0, 0];
/// Greater than the terminator, smaller than everything that can follow it: past the history of one key.
const PAST: [u8; 2] = [0, 1];
/// Stands for a zero byte in a user key.
const ESCAPED_ZERO: [u8; 2] = [0, 0xff];
/// `!main` and `!sub`.
const POSITION_BYTES: usize = 12;
const CHECKSUM_BYTES: usize = 4;
/// Checksum, kind, create revision, version, lease; then the value.
const RECORD_HEADER_BYTES: usize = CHECKSUM_BYTES + 1 + 8 + 8 + 8;

/// The revision of the last change.
pub(crate) const META_REVISION: &[u8] = b"mvcc/revision";
/// The revision up to which history was forgotten; absent before the first compaction.
pub(crate) const META_COMPACTED: &[u8] = b"mvcc/compacted";
/// How far the sweep has come: its target, then the position of the next row it looks at.
pub(crate) const META_SWEPT: &[u8] = b"mvcc/swept";

/// When a change happened: the request (main), and which of its changes it was (sub).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) main: u64,
    pub(crate) sub: u32,
}

impl Position {
    pub(crate) fn new(main: u64, sub: u32) -> Self {
        Self { main, sub }
    }

    /// The last position of a revision.
    pub(crate) fn end_of(revision: Revision) -> Self {
        Self { main: revision.0, sub: u32::MAX }
    }

    pub(crate) fn revision(self) -> Revision {
        Revision(self.main)
    }

    /// The row key in the family of revisions.
    pub(crate) fn to_row_key(self) -> [u8; POSITION_BYTES] {
        let mut row = [0; POSITION_BYTES];
        row[..8].copy_from_slice(&self.main.to_be_bytes());
        row[8..].copy_from_slice(&self.sub.to_be_bytes());
        row
    }

    pub(crate) fn from_row_key(row: &[u8]) -> Option<Self> {
        let (main, sub) = row.split_at_checked(8)?;
        Some(Self {
            main: u64::from_be_bytes(main.try_into().ok()?),
            sub: u32::from_be_bytes(sub.try_into().ok()?),
        })
    }
}

/// What a change did to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It was not there before.
    Created,
    /// It was there before.
    Updated,
    /// It is not there any more.
    Deleted,
}

impl Kind {
    fn to_byte(self) -> u8 {
        match self {
            Self::Created => 1,
            Self::Updated => 2,
            Self::Deleted => 3,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Created),
            2 => Some(Self::Updated),
            3 => Some(Self::Deleted),
            _ => None,
        }
    }
}

/// What whoever changed a key wants to be known of that change later. It means nothing here; 0 is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Note(pub u16);

/// Set in the byte of the kind where two bytes of note follow.
const NOTED: u8 = 0x80;

/// What is known of the current version of a key without reading its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) modified: Position,
    pub(crate) create: u64,
    pub(crate) version: u64,
    pub(crate) lease: i64,
}

/// A record of the family of keys, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) kind: Kind,
    pub(crate) create: u64,
    pub(crate) version: u64,
    pub(crate) lease: i64,
    pub(crate) value: &'a [u8],
}

impl<'a> Record<'a> {
    pub(crate) fn meta(&self, modified: Position) -> Meta {
        Meta { modified, create: self.create, version: self.version, lease: self.lease }
    }

    /// Replaces what is in `into`.
    pub(crate) fn encode(&self, row_key: &[u8], into: &mut Vec<u8>) {
        into.clear();
        into.reserve(RECORD_HEADER_BYTES + self.value.len());
        into.extend_from_slice(&[0; CHECKSUM_BYTES]);
        into.push(self.kind.to_byte());
        into.extend_from_slice(&self.create.to_be_bytes());
        into.extend_from_slice(&self.version.to_be_bytes());
        into.extend_from_slice(&self.lease.to_be_bytes());
        into.extend_from_slice(self.value);
        seal(row_key, into);
    }

    pub(crate) fn decode(row_key: &[u8], record: &'a [u8]) -> Result<Self, Damage> {
        let body = unseal(Family::Keys, row_key, record)?;
        let read = || {
            let (kind, body) = body.split_first()?;
            let (create, body) = body.split_first_chunk()?;
            let (version, body) = body.split_first_chunk()?;
            let (lease, value) = body.split_first_chunk()?;
            Some(Self {
                kind: Kind::from_byte(*kind)?,
                create: u64::from_be_bytes(*create),
                version: u64::from_be_bytes(*version),
                lease: i64::from_be_bytes(*lease),
                value,
            })
        };
        read().ok_or_else(|| Damage::malformed(Family::Keys, row_key))
    }
}

/// A record of the family of revisions: what happened to which key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    pub(crate) kind: Kind,
    /// Where the version before it is, which it made superfluous. A key that is created has none.
    pub(crate) replaced: Position,
    pub(crate) note: Note,
    pub(crate) key: &'a [u8],
}

impl<'a> Event<'a> {
    /// Replaces what is in `into`.
    pub(crate) fn encode(&self, row_key: &[u8], into: &mut Vec<u8>) {
        into.clear();
        into.extend_from_slice(&[0; CHECKSUM_BYTES]);
        if self.note == Note::default() {
            into.push(self.kind.to_byte());
        } else {
            into.push(self.kind.to_byte() | NOTED);
            into.extend_from_slice(&self.note.0.to_be_bytes());
        }
        if self.kind != Kind::Created {
            into.extend_from_slice(&self.replaced.to_row_key());
        }
        into.extend_from_slice(self.key);
        seal(row_key, into);
    }

    /// The change, and when it happened.
    pub(crate) fn decode(row_key: &[u8], record: &'a [u8]) -> Result<(Position, Self), Damage> {
        let body = unseal(Family::Revisions, row_key, record)?;
        let read = || {
            let (kind, body) = body.split_first()?;
            let (note, body) = if kind & NOTED == 0 {
                (Note::default(), body)
            } else {
                let (note, body) = body.split_first_chunk()?;
                (Note(u16::from_be_bytes(*note)), body)
            };
            let kind = Kind::from_byte(kind & !NOTED)?;
            let (replaced, key) = match kind {
                Kind::Created => (Position::default(), body),
                Kind::Updated | Kind::Deleted => {
                    let (replaced, key) = body.split_at_checked(POSITION_BYTES)?;
                    (Position::from_row_key(replaced)?, key)
                }
            };
            Some((Position::from_row_key(row_key)?, Self { kind, replaced, note, key }))
        };
        read().ok_or_else(|| Damage::malformed(Family::Revisions, row_key))
    }
}

/// A record of the family of positions: numbers.
pub(crate) fn encode_numbers(row_key: &[u8], numbers: &[u64]) -> Vec<u8> {
    let mut record = vec![0; CHECKSUM_BYTES];
    for number in numbers {
        record.extend_from_slice(&number.to_be_bytes());
    }
    seal(row_key, &mut record);
    record
}

/// The other way round.
pub(crate) fn decode_numbers<const N: usize>(row_key: &[u8], record: &[u8]) -> Result<[u64; N], Damage> {
    let body = unseal(Family::Meta, row_key, record)?;
    let mut numbers = [0; N];
    let (chunks, rest) = body.as_chunks::<8>();
    if chunks.len() != N || !rest.is_empty() {
        return Err(Damage::malformed(Family::Meta, row_key));
    }
    for (number, chunk) in numbers.iter_mut().zip(chunks) {
        *number = u64::from_be_bytes(*chunk);
    }
    Ok(numbers)
}

fn checksum(row_key: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(row_key), body)
}

fn seal(row_key: &[u8], record: &mut [u8]) {
    let (head, body) = record.split_at_mut(CHECKSUM_BYTES);
    head.copy_from_slice(&checksum(row_key, body).to_be_bytes());
}

fn unseal<'a>(family: Family, row_key: &[u8], record: &'a [u8]) -> Result<&'a [u8], Damage> {
    let (head, body) = record.split_first_chunk().ok_or_else(|| Damage::malformed(family, row_key))?;
    if u32::from_be_bytes(*head) == checksum(row_key, body) {
        Ok(body)
    } else {
        Err(Damage::checksum(family, row_key))
    }
}

/// The bound that lies at the first row of `key` and of every key after it. Replaces what is in `into`.
pub(crate) fn bound(key: &[u8], into: &mut Vec<u8>) {
    into.clear();
    escape(key, into);
}

/// The row of `key` at `position`. Seeking to it finds the newest row of the key at the position or before.
pub(crate) fn row_key(key: &[u8], position: Position, into: &mut Vec<u8>) {
    into.clear();
    escape(key, into);
    into.extend_from_slice(&TERMINATOR);
    push_position(position, into);
}

/// The prefix that all rows of a user key share, of one of its rows.
pub(crate) fn prefix_of(row_key: &[u8]) -> Result<&[u8], Damage> {
    let prefix = row_key.len().checked_sub(POSITION_BYTES).and_then(|length| row_key.get(..length));
    prefix
        .filter(|prefix| prefix.ends_with(&TERMINATOR))
        .ok_or_else(|| Damage::malformed(Family::Keys, row_key))
}

/// The position of a row of the family of keys.
pub(crate) fn position_of(row_key: &[u8]) -> Result<Position, Damage> {
    let read = || {
        let (_, position) = row_key.split_last_chunk::<POSITION_BYTES>()?;
        let position = Position::from_row_key(position)?;
        Some(Position { main: !position.main, sub: !position.sub })
    };
    read().ok_or_else(|| Damage::malformed(Family::Keys, row_key))
}

/// Behind a prefix: the newest row at the position or before.
pub(crate) fn row_key_behind(prefix: &[u8], position: Position, into: &mut Vec<u8>) {
    into.clear();
    into.extend_from_slice(prefix);
    push_position(position, into);
}

/// Behind all rows of the user key of `prefix`, before those of every greater key.
pub(crate) fn past(prefix: &[u8], into: &mut Vec<u8>) {
    into.clear();
    into.extend_from_slice(prefix.strip_suffix(&TERMINATOR).unwrap_or(prefix));
    into.extend_from_slice(&PAST);
}

/// The user key of a prefix. Replaces what is in `into`.
pub(crate) fn unescape(prefix: &[u8], into: &mut Vec<u8>) -> Result<(), Damage> {
    into.clear();
    let mut rest = prefix.strip_suffix(&TERMINATOR).unwrap_or(prefix);
    while let Some(at) = find_zero(rest) {
        let (head, tail) = rest.split_at(at);
        into.extend_from_slice(head);
        into.push(0);
        rest = tail.strip_prefix(&ESCAPED_ZERO).ok_or_else(|| Damage::malformed(Family::Keys, prefix))?;
    }
    into.extend_from_slice(rest);
    Ok(())
}

fn escape(key: &[u8], into: &mut Vec<u8>) {
    let mut rest = key;
    while let Some(at) = find_zero(rest) {
        let (head, tail) = rest.split_at(at);
        into.extend_from_slice(head);
        into.extend_from_slice(&ESCAPED_ZERO);
        rest = tail.get(1..).unwrap_or_default();
    }
    into.extend_from_slice(rest);
}

fn find_zero(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == 0)
}

fn push_position(position: Position, into: &mut Vec<u8>) {
    into.extend_from_slice(&(!position.main).to_be_bytes());
    into.extend_from_slice(&(!position.sub).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &[u8], main: u64, sub: u32) -> Vec<u8> {
        let mut row = Vec::new();
        row_key(key, Position::new(main, sub), &mut row);
        row
    }

    #[test]
    fn rows_sort_by_key_and_newest_first() {
        let keys: [&[u8]; 8] = [b"\0", b"\0\0", b"\0\x01", b"\0\xff", b"a", b"a\0", b"a\0\0", b"a\x01"];
        for (smaller, greater) in keys.iter().zip(keys.iter().skip(1)) {
            assert!(row(smaller, 1, 0) < row(greater, 9, 9), "{smaller:?} {greater:?}");
            let mut edge = Vec::new();
            bound(greater, &mut edge);
            assert!(row(smaller, 0, 0) < edge && edge < row(greater, u64::MAX, u32::MAX));
            past(prefix_of(&row(smaller, 1, 0)).expect("well-formed"), &mut edge);
            assert!(row(smaller, 0, 0) < edge && edge < row(greater, u64::MAX, u32::MAX));
        }
        assert!(row(b"a", 2, 0) < row(b"a", 1, 7) && row(b"a", 1, 7) < row(b"a", 1, 6));
    }

    #[test]
    fn rows_give_back_what_went_in() {
        for key in [&b"a"[..], b"\0", b"a\0\0b\0", b"\xff\0\xff"] {
            let row = row(key, 7, 3);
            let mut back = Vec::new();
            unescape(prefix_of(&row).expect("well-formed"), &mut back).expect("well-formed");
            assert_eq!(back, key);
            assert_eq!(position_of(&row).expect("well-formed"), Position::new(7, 3));
        }
    }

    #[test]
    fn events_give_back_what_went_in() {
        let position = Position::new(9, 1);
        for (kind, replaced) in [
            (Kind::Created, Position::default()),
            (Kind::Updated, Position::new(8, 0)),
            (Kind::Deleted, Position::new(7, 3)),
        ] {
            for note in [Note(0), Note(0x8102)] {
                let event = Event { kind, replaced, note, key: b"k" };
                let mut bytes = Vec::new();
                event.encode(&position.to_row_key(), &mut bytes);
                let back = Event::decode(&position.to_row_key(), &bytes).expect("sealed");
                assert_eq!(back, (position, event));
            }
        }
    }

    #[test]
    fn a_record_under_another_key_or_with_a_flipped_bit_is_damage() {
        let record = Record { kind: Kind::Updated, create: 2, version: 3, lease: -4, value: b"value" };
        let mut bytes = Vec::new();
        record.encode(b"row", &mut bytes);
        assert_eq!(Record::decode(b"row", &bytes).expect("sealed"), record);
        assert!(Record::decode(b"raw", &bytes).is_err());
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::decode(b"row", &bytes).is_err());
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(Record::decode(b"row", &bytes[..3]).is_err());
    }
}
