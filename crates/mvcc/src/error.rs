//! What can go wrong, an enum per operation. What a request can be refused for is apart from what ends a member.

use std::fmt::Write as _;

use store::{Family, StoreError};

/// Stored history that is not what was written: the disk, the memory or a program error changed it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("damaged history: {what}, family {family}, row {row}")]
pub struct Damage {
    what: &'static str,
    family: &'static str,
    row: String,
}

impl Damage {
    pub(crate) fn new(what: &'static str, family: Family, row: &[u8]) -> Self {
        let mut hex = String::with_capacity(row.len() * 2);
        for byte in row {
            // Writing into a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        Self { what, family: family.name(), row: hex }
    }

    pub(crate) fn checksum(family: Family, row: &[u8]) -> Self {
        Self::new("the checksum of a record does not match", family, row)
    }

    pub(crate) fn malformed(family: Family, row: &[u8]) -> Self {
        Self::new("a row is malformed", family, row)
    }

    pub(crate) fn missing(family: Family, row: &[u8]) -> Self {
        Self::new("a row that the index names is missing", family, row)
    }
}

/// Why a keyspace could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The rows contradict each other or their checksums.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a read got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The revision was forgotten.
    #[error("the revision has been compacted")]
    Compacted,
    /// The revision is not yet.
    #[error("the revision is in the future")]
    FutureRevision,
    /// The rows contradict the index or their checksums.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a request changed nothing. The state is as if it had never come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A put wanted to keep the value or the lease of a key that does not exist.
    #[error("the key was not found")]
    KeyNotFound,
    /// A put named a lease that does not exist.
    #[error("the lease was not found")]
    LeaseNotFound,
    /// The revision was forgotten.
    #[error("the revision has been compacted")]
    Compacted,
    /// The revision is not yet.
    #[error("the revision is in the future")]
    FutureRevision,
}

/// Why a write did not happen. Everything but a refusal is fatal: the writer must be dropped unpublished.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The request is at fault; nothing has changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The rows contradict the index or their checksums.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ReadError> for WriteError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Compacted => Self::Refused(Refusal::Compacted),
            ReadError::FutureRevision => Self::Refused(Refusal::FutureRevision),
            ReadError::Damage(damage) => Self::Damage(damage),
            ReadError::Store(error) => Self::Store(error),
        }
    }
}

/// Why a sweep stopped. It can be called again; damage will be met again.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The rows contradict each other or their checksums.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
