//! The database as it was at one moment, whatever is written afterwards.

use rocksdb::{ReadOptions, Snapshot};

use crate::{Cursor, Direction, Family, Pinned, Span, Store, StoreError};

/// What was written up to one moment. All reads through it see the same.
pub struct Moment<'a> {
    store: &'a Store,
    snapshot: Snapshot<'a>,
}

impl<'a> Moment<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store, snapshot: store.database().snapshot() }
    }

    /// The value of `key` at this moment.
    pub fn get(&self, family: Family, key: &[u8]) -> Result<Option<Pinned<'_>>, StoreError> {
        let read = self.read_options();
        self.store
            .database()
            .get_pinned_cf_opt(self.store.handle(family), key, &read)
            .map_err(StoreError::Read)
    }

    /// Rows of a span in key order at this moment.
    pub fn scan(&self, family: Family, span: &Span, direction: Direction) -> Cursor<'_> {
        Cursor::new(self.store.database(), self.store.handle(family), span, direction, self.read_options())
    }

    fn read_options(&self) -> ReadOptions {
        let mut read = ReadOptions::default();
        read.set_snapshot(&self.snapshot);
        read
    }
}
