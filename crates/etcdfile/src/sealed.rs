//! Our own bucket: the rows of our database that etcd has no place for, as they lie there.
//!
//! The values of v3 keys are not among them: those are in etcd's bucket, once.

use bolt::{BoltError, Measured, Reader, Row, Seek, Writer};
use snap::{ArchiveHead, SnapshotId};
use store::{Direction, Family, Span, Store};
use types::{ClusterId, Index, MemberId, Revision, Term};

use crate::intake::{Batches, IntakeError, take_keys};
use crate::{OutgoError, buckets};

/// The row that says what all this is; before it come those of the family whose letter is smaller.
const HEAD: &[u8] = b"h";
/// The form of what follows.
const FORM: u64 = 1;
/// The letters before the keys of rows, in their order, and the families. That of the keys is made of etcd's bucket.
const LETTERS: [(u8, Family); 4] =
    [(b'd', Family::Meta), (b'm', Family::Members), (b'r', Family::Revisions), (b'v', Family::V2)];

/// Writes the bucket.
pub(crate) fn write<W: std::io::Write>(
    store: &Store,
    head: &ArchiveHead,
    file: &mut Writer<W>,
) -> Result<(), OutgoError> {
    file.bucket(buckets::KVORUM)?;
    let mut prefixed = Vec::new();
    let mut is_headed = false;
    for (letter, family) in LETTERS {
        if !is_headed && *HEAD < [letter][..] {
            file.put(HEAD, &encode(head))?;
            is_headed = true;
        }
        let mut cursor = store.scan(family, &Span::default(), Direction::Forward);
        while let Some((key, value)) = cursor.row() {
            prefixed.clear();
            prefixed.push(letter);
            prefixed.extend_from_slice(key);
            file.put(&prefixed, value)?;
            cursor.step();
        }
        cursor.finish()?;
    }
    Ok(())
}

/// What a file says of itself that was made here and to which nobody has written since; `None` of any other.
pub fn head(file: &Reader<impl Seek>) -> Result<Option<ArchiveHead>, BoltError> {
    if file.transaction() != Measured::TRANSACTION {
        return Ok(None);
    }
    let Some(mut rows) = file.bucket(buckets::KVORUM)? else { return Ok(None) };
    while let Some(Row { key, value, .. }) = rows.next_row()? {
        if key == HEAD {
            return Ok(decode(value));
        }
    }
    Ok(None)
}

/// Puts back into an empty store, durably, what a file holds of which [`head`] tells something: row by row what was there
/// when it was made.
pub fn take_sealed(file: &Reader<impl Seek>, store: &Store) -> Result<(), IntakeError> {
    let mut batches = Batches::new(store);
    let mut rows = file.bucket(buckets::KVORUM)?.ok_or(IntakeError::Missing("kvorum"))?;
    while let Some(Row { key, value, .. }) = rows.next_row()? {
        let Some((letter, key)) = key.split_first() else { continue };
        if let Some((_, family)) = LETTERS.iter().find(|(of, _)| of == letter) {
            batches.put(*family, key, value)?;
        }
    }
    batches.finish()?;
    let mut intake = mvcc::Intake::new(store);
    take_keys(file, &mut intake)?;
    intake.finish()?;
    store.flush()?;
    Ok(())
}

fn encode(head: &ArchiveHead) -> Vec<u8> {
    let numbers = [FORM, head.cluster.0, head.member.0, head.id.index.0, head.id.term.0, head.revision.0];
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

fn decode(row: &[u8]) -> Option<ArchiveHead> {
    let (numbers, []) = row.as_chunks::<8>() else { return None };
    let numbers: Vec<u64> = numbers.iter().map(|number| u64::from_be_bytes(*number)).collect();
    let [FORM, cluster, member, index, term, revision] = numbers[..] else { return None };
    let id = SnapshotId { index: Index(index), term: Term(term) };
    Some(ArchiveHead {
        cluster: ClusterId(cluster),
        member: MemberId(member),
        id,
        revision: Revision(revision),
    })
}
