//! How far the log was applied, as it stands in the database.

use store::{Batch, Family, Store, StoreError};
use types::{Index, Term};

use crate::fingerprint::Fingerprint;

const ROW: &[u8] = b"apply/position";

/// The last entry whose effects are in the database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Its index; zero in an empty database.
    pub index: Index,
    /// Its term.
    pub term: Term,
}

/// Why the position cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum PositionError {
    /// The database cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The row is not what was written.
    #[error(
        "the row that tells how far the log was applied is damaged; restore the data folder or replace this member"
    )]
    Damaged,
}

impl Position {
    /// As last written, in memory or on disk; `None` in an empty database.
    pub fn load(store: &Store) -> Result<Option<Self>, PositionError> {
        store.get(Family::Meta, ROW)?.map(|row| Ok(decode(&row)?.0)).transpose()
    }

    /// As of the files alone: the log may be released up to here.
    pub fn load_flushed(store: &Store) -> Result<Option<Self>, PositionError> {
        store.get_flushed(Family::Meta, ROW)?.map(|row| Ok(decode(&row)?.0)).transpose()
    }

    /// The same with the fingerprint of everything applied up to there.
    pub(crate) fn load_with_fingerprint(store: &Store) -> Result<Option<(Self, Fingerprint)>, PositionError> {
        store.get(Family::Meta, ROW)?.map(|row| decode(&row)).transpose()
    }

    pub(crate) fn stage(self, fingerprint: Fingerprint, batch: &mut Batch<'_>) {
        batch.put(Family::Meta, ROW, &encode(self, fingerprint));
    }
}

fn encode(position: Position, fingerprint: Fingerprint) -> [u8; 28] {
    let mut row = [0; 28];
    row[..8].copy_from_slice(&position.index.0.to_be_bytes());
    row[8..16].copy_from_slice(&position.term.0.to_be_bytes());
    row[16..24].copy_from_slice(&fingerprint.0.to_be_bytes());
    let sum = crc32c::crc32c(&row[..24]);
    row[24..].copy_from_slice(&sum.to_be_bytes());
    row
}

/// A row of an earlier version has no fingerprint: the chain begins there.
fn decode(row: &[u8]) -> Result<(Position, Fingerprint), PositionError> {
    let (body, sum) = row.split_last_chunk::<4>().ok_or(PositionError::Damaged)?;
    if crc32c::crc32c(body).to_be_bytes() != *sum {
        return Err(PositionError::Damaged);
    }
    let (words, rest) = body.as_chunks::<8>();
    let word = |bytes: &[u8; 8]| u64::from_be_bytes(*bytes);
    match (words, rest) {
        ([index, term], []) => {
            Ok((Position { index: Index(word(index)), term: Term(word(term)) }, Fingerprint::default()))
        }
        ([index, term, chain], []) => {
            Ok((Position { index: Index(word(index)), term: Term(word(term)) }, Fingerprint(word(chain))))
        }
        _ => Err(PositionError::Damaged),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSITION: Position = Position { index: Index(7), term: Term(3) };

    #[test]
    fn any_flipped_bit_is_seen() {
        let row = encode(POSITION, Fingerprint(9));
        assert_eq!(decode(&row).expect("whole"), (POSITION, Fingerprint(9)));
        for bit in 0..row.len() * 8 {
            let mut bad = row;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bad).is_err(), "bit {bit}");
        }
        for length in 0..row.len() {
            assert!(decode(&row[..length]).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn a_row_without_a_fingerprint_still_opens() {
        let mut row = [0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0];
        let sum = crc32c::crc32c(&row[..16]);
        row[16..].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(decode(&row).expect("whole"), (POSITION, Fingerprint(0)));
    }
}
