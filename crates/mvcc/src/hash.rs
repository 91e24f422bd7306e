//! Hashes by which members tell whether they hold the same.

use store::{Direction, Family, Moment, Span};
use types::Revision;

use crate::row::{self, Kind, Position, Record};
use crate::view::admit;
use crate::{Mvcc, ReadError};

/// The hash of the history up to a revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashKv {
    /// CRC-32C over row keys and records, in the order of keys, of every version up to `revision` that a
    /// compaction at `compacted` keeps. Members that applied the same agree, however far their sweeps are.
    pub hash: u32,
    /// The revision up to which history was forgotten; 0 before the first compaction.
    pub compacted: Revision,
    /// The revision that was hashed.
    pub revision: Revision,
}

impl Mvcc {
    /// Hashes the history up to `at`, by default the current revision.
    pub fn hash_kv(&self, at: Option<Revision>) -> Result<HashKv, ReadError> {
        let view = self.view();
        let revision = admit(at, view.revision, view.compacted)?;
        let compacted = view.compacted.unwrap_or_default();
        let hash = hash_history(&view.moment, revision, compacted)?;
        Ok(HashKv { hash, compacted, revision })
    }

    /// Hashes every row of the keyspace as it lies in the store, progress of the sweep included.
    pub fn hash(&self) -> Result<u32, ReadError> {
        let view = self.view();
        let mut hash = 0;
        for (family, span) in [
            (Family::Keys, Span::default()),
            (Family::Revisions, Span::default()),
            (Family::Meta, Span { lower: Some(b"mvcc/".to_vec()), upper: Some(b"mvcc0".to_vec()) }),
        ] {
            let mut cursor = view.moment.scan(family, &span, Direction::Forward);
            while let Some((row_key, record)) = cursor.row() {
                hash = crc32c::crc32c_append(crc32c::crc32c_append(hash, row_key), record);
                cursor.step();
            }
            cursor.finish()?;
        }
        Ok(hash)
    }
}

fn hash_history(moment: &Moment<'_>, until: Revision, compacted: Revision) -> Result<u32, ReadError> {
    let mut hash = 0;
    let mut prefix = Vec::new();
    // Whether the version that was current at the compacted revision has been met, for the key of `prefix`.
    let mut met = false;
    let last = Position::end_of(until);
    let mut cursor = moment.scan(Family::Keys, &Span::default(), Direction::Forward);
    while let Some((row_key, record)) = cursor.row() {
        if row::prefix_of(row_key)? != prefix {
            prefix.clear();
            prefix.extend_from_slice(row::prefix_of(row_key)?);
            met = false;
        }
        let position = row::position_of(row_key)?;
        let kept = position.revision() > compacted || !std::mem::replace(&mut met, true);
        if kept && position <= last {
            let kind = Record::decode(row_key, record)?.kind;
            if kind != Kind::Deleted || position.revision() >= compacted {
                hash = crc32c::crc32c_append(crc32c::crc32c_append(hash, row_key), record);
            }
        }
        cursor.step();
    }
    cursor.finish()?;
    Ok(hash)
}
