//! A set of changes that happens as a whole.

use rocksdb::WriteBatch;

use crate::{Family, Store};

/// Changes to be written together. Later changes of a key win over earlier ones.
pub struct Batch<'a> {
    store: &'a Store,
    inner: WriteBatch,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store, inner: WriteBatch::default() }
    }

    /// Sets a row.
    pub fn put(&mut self, family: Family, key: &[u8], value: &[u8]) {
        self.inner.put_cf(self.store.handle(family), key, value);
    }

    /// Removes a row, which need not exist.
    pub fn delete(&mut self, family: Family, key: &[u8]) {
        self.inner.delete_cf(self.store.handle(family), key);
    }

    /// Removes all rows from `from` up to but without `to`.
    pub fn delete_range(&mut self, family: Family, from: &[u8], to: &[u8]) {
        self.inner.delete_range_cf(self.store.handle(family), from, to);
    }

    /// How many changes it holds.
    pub fn len(&self) -> usize {
        self.inner.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    pub(crate) fn into_inner(self) -> WriteBatch {
        self.inner
    }
}
