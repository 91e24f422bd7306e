//! The cellar: RocksDB behind a few verbs. The only crate that links C++.
//!
//! RocksDB runs without its own log and with atomic flush of all families, so the files on disk are always
//! the state after some whole [`Batch`], never a part of one. What was not flushed is lost with the process:
//! whoever writes keeps a log of its own and puts its position into every batch.
//!
//! INVARIANT: a batch is visible as a whole or not at all, in memory and on disk.

mod batch;
mod compaction;
mod cursor;
mod effort;
mod family;
mod moment;
mod options;

use std::path::{Path, PathBuf};

use rocksdb::{ColumnFamily, ColumnFamilyDescriptor, DB, FlushOptions, ReadOptions, ReadTier, WriteOptions};

pub use batch::Batch;
pub use cursor::{Cursor, Direction, Span};
pub use effort::Effort;
pub use family::Family;
pub use moment::Moment;
pub use options::Options;
pub use rocksdb::DBPinnableSlice as Pinned;

/// A failure of the database. Reads may fail with damage; a failed write or flush leaves the store unusable.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The files could not be opened.
    #[error("cannot open the database in {path}")]
    Open {
        /// The folder.
        path: PathBuf,
        /// RocksDB's words.
        #[source]
        source: rocksdb::Error,
    },
    /// A read failed; the files are damaged or the disk is.
    #[error("cannot read from the database")]
    Read(#[source] rocksdb::Error),
    /// A write failed. The process must end: what was acknowledged is in the log, and the next start replays it.
    #[error("cannot write to the database")]
    Write(#[source] rocksdb::Error),
    /// A column family that `open` creates is missing.
    #[error("the database lacks its column family {0}")]
    MissingFamily(&'static str),
}

/// The database of one member. Any number of threads may read; one writes.
pub struct Store {
    db: DB,
    write_options: WriteOptions,
    // Kept alive for as long as the database uses it.
    _budget: options::Budget,
}

/// A way to open the database in a folder with its families.
type Opening = fn(&rocksdb::Options, &Path, Vec<ColumnFamilyDescriptor>) -> Result<DB, rocksdb::Error>;

impl Store {
    /// Opens or creates the database in `path`.
    pub fn open(path: &Path, options: &Options) -> Result<Self, StoreError> {
        Self::open_by(path, options, |options, path, families| {
            DB::open_cf_descriptors(options, path, families)
        })
    }

    /// Opens the database in `path` to look at it: nothing can be written, and its files stay as they are.
    pub fn open_to_read(path: &Path, options: &Options) -> Result<Self, StoreError> {
        Self::open_by(path, options, |options, path, families| {
            DB::open_cf_descriptors_read_only(options, path, families, false)
        })
    }

    fn open_by(path: &Path, options: &Options, open: Opening) -> Result<Self, StoreError> {
        let budget = options.budget();
        let refused = |source| StoreError::Open { path: path.to_owned(), source };
        let db_options = options.database(&budget).map_err(refused)?;
        let descriptor = |family: &Family| {
            options
                .family(*family, &budget)
                .map(|family_options| ColumnFamilyDescriptor::new(family.name(), family_options))
        };
        let families = Family::ALL.iter().map(descriptor).collect::<Result<_, _>>().map_err(refused)?;
        let db = open(&db_options, path, families).map_err(refused)?;
        for family in Family::ALL {
            db.cf_handle(family.name()).ok_or(StoreError::MissingFamily(family.name()))?;
        }
        let mut write_options = WriteOptions::default();
        write_options.disable_wal(true);
        Ok(Self { db, write_options, _budget: budget })
    }

    /// The value of `key`, as last written.
    pub fn get(&self, family: Family, key: &[u8]) -> Result<Option<Pinned<'_>>, StoreError> {
        self.db.get_pinned_cf(self.handle(family), key).map_err(StoreError::Read)
    }

    /// The value of `key` in the files, leaving out what is in memory only: what the next start would find.
    pub fn get_flushed(&self, family: Family, key: &[u8]) -> Result<Option<Pinned<'_>>, StoreError> {
        let mut read = ReadOptions::default();
        read.set_read_tier(ReadTier::Persisted);
        self.db.get_pinned_cf_opt(self.handle(family), key, &read).map_err(StoreError::Read)
    }

    /// Starts an empty batch.
    pub fn batch(&self) -> Batch<'_> {
        Batch::new(self)
    }

    /// Makes a batch visible as a whole. Durable only after [`Store::flush`] (or RocksDB's own flush).
    pub fn write(&self, batch: Batch<'_>) -> Result<(), StoreError> {
        self.db.write_opt(batch.into_inner(), &self.write_options).map_err(StoreError::Write)
    }

    /// The database as it is now, for as long as the answer lives. Cheap, and free of disk work.
    pub fn moment(&self) -> Moment<'_> {
        Moment::new(self)
    }

    /// Rows of a span in key order. The cursor sees the database as it was when the cursor was made.
    pub fn scan(&self, family: Family, span: &Span, direction: Direction) -> Cursor<'_> {
        Cursor::new(&self.db, self.handle(family), span, direction, ReadOptions::default())
    }

    /// At most `parts_max` - 1 keys, ascending, that divide the rows in the family's files into parts of about the same
    /// size. None where there is nothing to divide.
    pub fn divide(&self, family: Family, parts_max: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut files = self.db.live_files().map_err(StoreError::Read)?;
        files.retain(|file| file.column_family_name == family.name());
        files.sort_by(|one, other| one.start_key.cmp(&other.start_key));
        let bytes: usize = files.iter().map(|file| file.size).sum();
        let (mut before, mut dividers) = (0, Vec::<Vec<u8>>::new());
        for file in files {
            // A file's end is all that is known of where its rows lie: the next one's beginning divides.
            let is_due = before * parts_max >= bytes * (dividers.len() + 1);
            if let Some(start) = file.start_key.filter(|_| is_due && dividers.len() + 1 < parts_max) {
                dividers.push(start);
            }
            before += file.size;
        }
        dividers.dedup();
        Ok(dividers)
    }

    /// Writes all that is in memory to files, all families at one point, and waits for it.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.flush_families(true)
    }

    /// Has all that is in memory written to files in the background. It is not known to be durable afterwards.
    pub fn flush_soon(&self) -> Result<(), StoreError> {
        self.flush_families(false)
    }

    fn flush_families(&self, wait: bool) -> Result<(), StoreError> {
        let mut flush = FlushOptions::default();
        flush.set_wait(wait);
        let handles: Vec<&ColumnFamily> = Family::ALL.iter().map(|family| self.handle(*family)).collect();
        self.db.flush_cfs_opt(&handles, &flush).map_err(StoreError::Write)
    }

    /// A copy of the database as files in `path` (hard links where it can), which must not exist yet.
    pub fn checkpoint(&self, path: &Path) -> Result<(), StoreError> {
        let checkpoint = rocksdb::checkpoint::Checkpoint::new(&self.db).map_err(StoreError::Write)?;
        checkpoint.create_checkpoint(path).map_err(StoreError::Write)
    }

    /// Bytes on disk and in memory tables not yet written.
    pub fn size_bytes(&self) -> u64 {
        self.sum("rocksdb.total-sst-files-size") + self.sum("rocksdb.cur-size-all-mem-tables")
    }

    /// Bytes of live data, as RocksDB estimates it.
    pub fn live_bytes(&self) -> u64 {
        self.sum("rocksdb.estimate-live-data-size") + self.sum("rocksdb.cur-size-all-mem-tables")
    }

    /// Stops background work, so that the files stand still. Without a [`Store::flush`] before it, what was in
    /// memory only is lost, as at a crash.
    pub fn close(self) {
        self.db.cancel_all_background_work(true);
    }

    fn sum(&self, property: &str) -> u64 {
        Family::ALL
            .iter()
            .filter_map(|family| self.db.property_int_value_cf(self.handle(*family), property).ok().flatten())
            .sum()
    }

    pub(crate) fn database(&self) -> &DB {
        &self.db
    }

    pub(crate) fn handle(&self, family: Family) -> &ColumnFamily {
        self.db.cf_handle(family.name()).expect("open checked that every family is there")
    }
}

#[cfg(test)]
mod tests;
