//! Which snapshot: the last entry that is in it.

use std::fmt;
use std::str::FromStr;

use types::{Index, Term};

/// Names a snapshot. Members may make different files of the same one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId {
    /// The last entry in it.
    pub index: Index,
    /// That entry's term.
    pub term: Term,
}

/// A text that names no snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a snapshot")]
pub struct NoSnapshotId;

impl SnapshotId {
    /// The folder in which a sender keeps it, below the folder for snapshots.
    pub fn send_folder(&self) -> String {
        format!("{self}.send")
    }

    /// The folder in which a receiver collects it.
    pub fn receive_folder(&self) -> String {
        format!("{self}.recv")
    }
}

/// Index and term, sixteen hexadecimal digits each, with a hyphen between them.
impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}", self.index.0, self.term.0)
    }
}

impl FromStr for SnapshotId {
    type Err = NoSnapshotId;

    fn from_str(text: &str) -> Result<Self, NoSnapshotId> {
        let number = |text: &str| u64::from_str_radix(text, 16).map_err(|_| NoSnapshotId);
        let (index, term) = text.split_once('-').ok_or(NoSnapshotId)?;
        let id = Self { index: Index(number(index)?), term: Term(number(term)?) };
        // One name for each, so that names can be compared.
        if id.to_string() == text { Ok(id) } else { Err(NoSnapshotId) }
    }
}
