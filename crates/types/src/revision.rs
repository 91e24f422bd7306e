//! Moments: in the keyspace (revision) and in the log (term, index).

use std::fmt;

/// A moment in the life of the v3 keyspace. Zero is before the first; an empty keyspace stands at 1.
///
/// It fits the `int64` of the wire: [`Revision::from_wire`] refuses what is negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision of a keyspace that was never written.
    pub const FIRST: Self = Self(1);

    /// What a request meant by `value`: nothing at or below zero names a revision.
    pub fn from_wire(value: i64) -> Option<Self> {
        u64::try_from(value).ok().filter(|revision| *revision > 0).map(Self)
    }

    /// The wire form. Revisions stay below 2^63: a cluster that writes a million times a second gets there
    /// in three hundred thousand years.
    pub fn to_wire(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    /// The revision after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A leader's term in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u64);

/// A position in the log, without gaps. Zero is before the first entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Index(pub u64);

macro_rules! display_number {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
display_number!(Revision, Term, Index);
