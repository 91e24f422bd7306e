//! From a key to those who watch it: groups of watches that have the same range.
//!
//! Single keys are in a hash table, ranges in an interval tree.

use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;
use types::{KeyRange, RangeEnd};

use crate::ranges::Ranges;
use crate::shelf::Shelf;

/// In a group's number: it is one of a range.
const RANGE: u32 = 1 << 31;

/// The watches of a group. Most groups have one.
pub(crate) enum Members {
    One(u32),
    #[expect(
        clippy::box_collection,
        reason = "a vector is half as large again as all other fields of a group"
    )]
    Many(Box<Vec<u32>>),
}

impl Members {
    pub(crate) fn as_slice(&self) -> &[u32] {
        match self {
            Self::One(slot) => std::slice::from_ref(slot),
            Self::Many(slots) => slots,
        }
    }

    /// Adds one; its place.
    pub(crate) fn push(&mut self, slot: u32) -> u32 {
        match self {
            Self::One(first) => {
                *self = Self::Many(Box::new(vec![*first, slot]));
                1
            }
            Self::Many(slots) => {
                slots.push(slot);
                slots.len() as u32 - 1
            }
        }
    }

    /// Takes one out. Whether none is left, and who is at its place now.
    pub(crate) fn remove(&mut self, place: u32) -> (bool, Option<u32>) {
        match self {
            Self::One(_) => (true, None),
            Self::Many(slots) => {
                slots.swap_remove(place as usize);
                (slots.is_empty(), slots.get(place as usize).copied())
            }
        }
    }
}

struct Single {
    key: Box<[u8]>,
    members: Members,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Index {
    table: HashTable<u32>,
    singles: Shelf<Single>,
    ranges: Ranges,
    hasher: DefaultHashBuilder,
    count: usize,
}

impl Index {
    /// How many watches are in it.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Puts a watch in: its group, and its place there.
    pub(crate) fn insert(&mut self, range: &KeyRange, slot: u32) -> (u32, u32) {
        self.count += 1;
        let Some(key) = range.as_single() else {
            let (group, place) = self.ranges.insert(range, slot);
            return (group | RANGE, place);
        };
        let Self { table, singles, hasher, .. } = self;
        let hash = hasher.hash_one(key.as_ref());
        if let Some(&group) = table.find(hash, |group| *singles[*group as usize].key == **key) {
            return (group, singles[group as usize].members.push(slot));
        }
        let group = singles.insert(Single { key: key.as_ref().into(), members: Members::One(slot) }) as u32;
        table.insert_unique(hash, group, |group| hasher.hash_one(&*singles[*group as usize].key));
        (group, 0)
    }

    /// Takes a watch out; who is at its place now.
    pub(crate) fn remove(&mut self, group: u32, place: u32) -> Option<u32> {
        self.count -= 1;
        if group & RANGE != 0 {
            return self.ranges.remove(group & !RANGE, place);
        }
        let single = &mut self.singles[group as usize];
        let (is_empty, moved) = single.members.remove(place);
        if is_empty {
            let single = self.singles.remove(group as usize);
            let hash = self.hasher.hash_one(&*single.key);
            if let Ok(entry) = self.table.find_entry(hash, |entry| *entry == group) {
                entry.remove();
            }
        }
        moved
    }

    /// The range of a group.
    pub(crate) fn range_of(&self, group: u32) -> KeyRange {
        if group & RANGE != 0 {
            return self.ranges.range_of(group & !RANGE);
        }
        let key = self.singles[group as usize].key.clone();
        KeyRange { start: key.into(), end: RangeEnd::Single }
    }

    /// Who is in a group.
    pub(crate) fn members(&self, group: u32) -> &[u32] {
        if group & RANGE != 0 {
            return self.ranges.members(group & !RANGE);
        }
        self.singles[group as usize].members.as_slice()
    }

    /// The groups whose ranges hold a key.
    pub(crate) fn find(&self, key: &[u8], visit: &mut dyn FnMut(u32)) {
        if !self.table.is_empty() {
            let hash = self.hasher.hash_one(key);
            if let Some(group) = self.table.find(hash, |group| *self.singles[*group as usize].key == *key) {
                visit(*group);
            }
        }
        self.ranges.find(key, &mut |group| visit(group | RANGE));
    }
}
