//! The database as it was at one moment, whatever is written afterwards.

use rocksdb::{ReadOptions, Snapshot};

use crate::{Cursor, Direction, Family, Pinned, Span, Store, StoreError};

/// A walk over everything reads this many bytes of a file at once.
const WALK_AHEAD_BYTES: usize = 2 << 20;

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

    /// The values of keys that are in ascending order, at this moment. Cheaper than one by one.
    pub fn get_many(&self, family: Family, keys: &[Vec<u8>]) -> Result<Vec<Option<Pinned<'_>>>, StoreError> {
        debug_assert!(keys.is_sorted(), "keys are to be in ascending order");
        let (database, family) = (self.store.database(), self.store.handle(family));
        let values = database.batched_multi_get_cf_opt(family, keys, true, &self.read_options());
        values.into_iter().map(|value| value.map_err(StoreError::Read)).collect()
    }

    /// Rows of a span in key order at this moment.
    pub fn scan(&self, family: Family, span: &Span, direction: Direction) -> Cursor<'_> {
        Cursor::new(self.store.database(), self.store.handle(family), span, direction, self.read_options())
    }

    /// As [`Moment::scan`] forward, for a walk that is done once: it reads far ahead, and leaves in the cache what
    /// is there.
    pub fn walk(&self, family: Family, span: &Span) -> Cursor<'_> {
        let mut read = self.read_options();
        read.fill_cache(false);
        read.set_readahead_size(WALK_AHEAD_BYTES);
        let (database, handle) = (self.store.database(), self.store.handle(family));
        Cursor::new(database, handle, span, Direction::Forward, read)
    }

    /// As [`Moment::scan`] forward, for rows that are read once: they take no room in the cache from others.
    pub fn scan_once(&self, family: Family, span: &Span) -> Cursor<'_> {
        let mut read = self.read_options();
        read.fill_cache(false);
        Cursor::new(self.store.database(), self.store.handle(family), span, Direction::Forward, read)
    }

    /// As [`Moment::scan`], with a cursor that gives up rather than step over more than `dead_max` rows in one go
    /// that were removed and that RocksDB still has to drop: [`Cursor::gave_up`] tells. A seek sets it going again.
    pub fn scan_within(
        &self,
        family: Family,
        span: &Span,
        direction: Direction,
        dead_max: u64,
    ) -> Cursor<'_> {
        let mut read = self.read_options();
        read.set_max_skippable_internal_keys(dead_max);
        Cursor::new(self.store.database(), self.store.handle(family), span, direction, read)
    }

    fn read_options(&self) -> ReadOptions {
        let mut read = ReadOptions::default();
        read.set_snapshot(&self.snapshot);
        read
    }
}
