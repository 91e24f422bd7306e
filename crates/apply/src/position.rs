//! How far the log was applied, as it stands in the database.

use store::{Batch, Family, Store, StoreError};
use types::{Index, Term};

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
        store.get(Family::Meta, ROW)?.map(|row| Self::decode(&row)).transpose()
    }

    /// As of the files alone: the log may be released up to here.
    pub fn load_flushed(store: &Store) -> Result<Option<Self>, PositionError> {
        store.get_flushed(Family::Meta, ROW)?.map(|row| Self::decode(&row)).transpose()
    }

    pub(crate) fn stage(self, batch: &mut Batch<'_>) {
        batch.put(Family::Meta, ROW, &self.encode());
    }

    fn encode(self) -> [u8; 20] {
        let mut row = [0; 20];
        row[..8].copy_from_slice(&self.index.0.to_be_bytes());
        row[8..16].copy_from_slice(&self.term.0.to_be_bytes());
        let sum = crc32c::crc32c(&row[..16]);
        row[16..].copy_from_slice(&sum.to_be_bytes());
        row
    }

    fn decode(row: &[u8]) -> Result<Self, PositionError> {
        let number =
            |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).map_err(|_| PositionError::Damaged);
        let (body, sum) = row.split_at_checked(16).ok_or(PositionError::Damaged)?;
        if sum != crc32c::crc32c(body).to_be_bytes() {
            return Err(PositionError::Damaged);
        }
        let (index, term) = body.split_at(8);
        Ok(Self { index: Index(number(index)?), term: Term(number(term)?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_is_seen() {
        let position = Position { index: Index(7), term: Term(3) };
        let row = position.encode();
        assert_eq!(Position::decode(&row).expect("whole"), position);
        for bit in 0..row.len() * 8 {
            let mut bad = row;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Position::decode(&bad).is_err(), "bit {bit}");
        }
        assert!(Position::decode(&row[..19]).is_err());
    }
}
