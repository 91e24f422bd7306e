//! The column families: one for each kind of row. docs/FORMATS.md draws their keys.

/// A kind of row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Positions: applied index and term, revision, compaction, v2 index, format.
    Meta,
    /// v3 history by key, newest first; the value is here.
    Keys,
    /// v3 history by revision: which key.
    Revisions,
    /// v2 nodes by path.
    V2,
    /// Members by id.
    Members,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Meta, Self::Keys, Self::Revisions, Self::V2, Self::Members];

    /// The name in RocksDB. `Meta` is RocksDB's own default family, which always exists.
    pub fn name(self) -> &'static str {
        match self {
            Self::Meta => "default",
            Self::Keys => "keys",
            Self::Revisions => "revisions",
            Self::V2 => "v2",
            Self::Members => "members",
        }
    }
}
