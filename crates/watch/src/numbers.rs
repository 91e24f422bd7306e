//! The watches of one stream by their numbers: a table of where they are, which looks the numbers up there. A map would
//! hold each of them a second time.

use std::hash::BuildHasher;

use crate::shelf::Shelf;
use hashbrown::{DefaultHashBuilder, HashTable};
use types::WatchId;

use crate::watcher::Watcher;

/// See the module. Every watch in it is among `watchers`, always the same ones.
#[derive(Default)]
pub(crate) struct Numbers(HashTable<u32>);

impl Numbers {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn contains(
        &self,
        id: WatchId,
        watchers: &Shelf<Watcher>,
        hasher: &DefaultHashBuilder,
    ) -> bool {
        self.0.find(hasher.hash_one(id), |slot| watchers[*slot as usize].id == id).is_some()
    }

    /// Puts one in whose number is not there.
    pub(crate) fn insert(&mut self, slot: u32, watchers: &Shelf<Watcher>, hasher: &DefaultHashBuilder) {
        let hash = |slot: &u32| hasher.hash_one(watchers[*slot as usize].id);
        self.0.insert_unique(hash(&slot), slot, hash);
    }

    /// Takes one out; where it is.
    pub(crate) fn remove(
        &mut self,
        id: WatchId,
        watchers: &Shelf<Watcher>,
        hasher: &DefaultHashBuilder,
    ) -> Option<u32> {
        let found = self.0.find_entry(hasher.hash_one(id), |slot| watchers[*slot as usize].id == id).ok()?;
        Some(found.remove().0)
    }
}

impl IntoIterator for Numbers {
    type Item = u32;
    type IntoIter = <HashTable<u32> as IntoIterator>::IntoIter;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
