//! The live keys, in memory: a counted B-tree.
//!
//! It answers "which keys are in this range, and where is their newest row" without touching the history, and "how
//! many" without visiting them: every inner node knows how many keys lie below each child. Old versions and
//! deleted keys are never here.
//!
//! INVARIANT: a count beside a child is the number of entries below it.
//! INVARIANT: a separator is above every key to its left and at or below every key to its right.

mod leaf;
mod node;

#[cfg(test)]
mod tests;

use std::ops::ControlFlow;

use types::{KeyRange, RangeEnd};

use crate::row::Meta;
use leaf::Leaf;
use node::Node;

/// All live keys, each with what is known of its current version.
pub(crate) struct Index {
    root: Node,
    count: u64,
}

impl Index {
    pub(crate) fn new() -> Self {
        Self { root: Node::Leaf(Leaf::default()), count: 0 }
    }

    /// One index of several whose keys follow one another.
    pub(crate) fn join(parts: Vec<Self>) -> Self {
        let count = parts.iter().map(Self::len).sum();
        let mut leaves = Vec::new();
        for part in parts {
            part.root.into_leaves(&mut leaves);
        }
        Self { root: Node::over(leaves), count }
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> u64 {
        self.count
    }

    /// The bytes it holds on to, as far as it knows of them (not the allocator's own).
    pub(crate) fn memory_bytes(&self) -> usize {
        self.root.memory_bytes()
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Meta> {
        let leaf = self.root.leaf_of(key);
        leaf.find(key).ok().map(|at| leaf.entry(at).1)
    }

    /// Sets what is known of a key; answers whether it is new.
    pub(crate) fn insert(&mut self, key: &[u8], meta: &Meta) -> bool {
        let (new, split) = self.root.insert(key, meta, true);
        if let Some(split) = split {
            self.root.grow(split);
        }
        self.count += u64::from(new);
        new
    }

    /// Takes a key out; answers whether it was there.
    pub(crate) fn remove(&mut self, key: &[u8]) -> bool {
        let removed = self.root.remove(key);
        if removed {
            self.count -= 1;
            self.root.shrink(self.count);
        }
        removed
    }

    /// How many keys are below `key`.
    pub(crate) fn rank(&self, key: &[u8]) -> u64 {
        self.root.rank(key)
    }

    /// How many keys are in `range`, in time that does not grow with the answer.
    pub(crate) fn count(&self, range: &KeyRange) -> u64 {
        match &range.end {
            RangeEnd::Single => u64::from(self.get(&range.start).is_some()),
            RangeEnd::Before(end) => self.rank(end).saturating_sub(self.rank(&range.start)),
            RangeEnd::Unbounded => self.count - self.rank(&range.start),
        }
    }

    /// Visits the keys from `from` on, upwards, for as long as the visitor says so.
    pub(crate) fn ascend(&self, from: &[u8], visit: &mut dyn FnMut(&[u8], Meta) -> ControlFlow<()>) {
        // Broken off or not, the visitor knows.
        let _ = self.root.ascend(Some(from), visit);
    }

    /// Visits the keys below `before` (all, for `None`), downwards, for as long as the visitor says so.
    pub(crate) fn descend(
        &self,
        before: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], Meta) -> ControlFlow<()>,
    ) {
        let _ = self.root.descend(before, visit);
    }
}
