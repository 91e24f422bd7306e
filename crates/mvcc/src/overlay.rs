//! What a writer has changed, and nobody else sees until it is published.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use types::{KeyRange, RangeEnd};

use crate::events::Change;
use crate::row::{Kind, Meta, Note, Position};

/// The newest change of a key.
struct Newest {
    change: usize,
    /// Whether the key is in the published index.
    published: bool,
}

/// Changes in the order in which they were made, and the way from a key to its own.
#[derive(Default)]
pub(crate) struct Overlay {
    changes: Vec<Change>,
    keys: BTreeMap<Bytes, Newest>,
}

impl Overlay {
    /// All changes, given away.
    pub(crate) fn into_changes(self) -> Vec<Change> {
        self.changes
    }

    /// All changes, oldest first.
    pub(crate) fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Adds a change, which is newer than all others.
    pub(crate) fn push(
        &mut self,
        key: Bytes,
        kind: Kind,
        meta: Meta,
        value: Bytes,
        replaced: Position,
        note: Note,
    ) {
        let change = self.changes.len();
        // A key that was not touched before is published if it exists.
        let newest =
            self.keys.entry(key.clone()).or_insert(Newest { change, published: kind != Kind::Created });
        let previous = (newest.change != change).then_some(newest.change);
        newest.change = change;
        self.changes.push(Change { key, kind, meta, value, replaced, note, previous });
    }

    /// Takes the newest changes back until `length` are left.
    pub(crate) fn truncate(&mut self, length: usize) {
        while self.changes.len() > length
            && let Some(change) = self.changes.pop()
        {
            match change.previous {
                Some(previous) => {
                    if let Some(newest) = self.keys.get_mut(&change.key) {
                        newest.change = previous;
                    }
                }
                None => drop(self.keys.remove(&change.key)),
            }
        }
    }

    /// The newest change of a key at `until` or before. `None`: ask what is published.
    pub(crate) fn get(&self, key: &[u8], until: Position) -> Option<&Change> {
        self.version(self.keys.get(key)?, until)
    }

    /// The change of a key at exactly this position.
    pub(crate) fn get_exact(&self, key: &[u8], position: Position) -> Option<&Change> {
        self.get(key, position).filter(|change| change.meta.modified == position)
    }

    /// The keys of a range that have a change at `until` or before: the newest such change, and whether the key
    /// is in the published index.
    pub(crate) fn range(&self, range: &KeyRange, until: Position) -> impl Iterator<Item = (&Change, bool)> {
        let lower = Bound::Included(range.start.as_ref());
        let upper = match &range.end {
            // An empty range must not reach the map, which refuses bounds that cross.
            RangeEnd::Before(end) if *end <= range.start => Bound::Included(range.start.as_ref()),
            RangeEnd::Before(end) => Bound::Excluded(end.as_ref()),
            RangeEnd::Single => Bound::Included(range.start.as_ref()),
            RangeEnd::Unbounded => Bound::Unbounded,
        };
        let keys = self.keys.range::<[u8], _>((lower, upper));
        let is_empty = range.is_empty();
        keys.filter(move |_| !is_empty)
            .filter_map(move |(_, newest)| Some((self.version(newest, until)?, newest.published)))
    }

    /// The newest change of every key, in the order of keys.
    pub(crate) fn newest(&self) -> impl Iterator<Item = &Change> {
        self.keys.values().filter_map(|newest| self.changes.get(newest.change))
    }

    fn version(&self, newest: &Newest, until: Position) -> Option<&Change> {
        let mut change = self.changes.get(newest.change)?;
        while change.meta.modified > until {
            change = self.changes.get(change.previous?)?;
        }
        Some(change)
    }
}
