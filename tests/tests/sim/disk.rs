//! The disks of a member. The log's disk is the wal's double, behind a layer that can be full and that can lie;
//! the database's is a copy of all rows as of the last flush.
//!
//! Why the database has no files here: opening RocksDB takes longer than the rest of a run. A store is emptied and
//! filled with the flushed rows instead, which is what RocksDB's own atomic flush makes of a crash; that it does is
//! tested by `power_loss`.

use std::cell::RefCell;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use store::{Direction, Family, Options, Span, Store, StoreError};
use wal::double::DoubleDisk;
use wal::{Disk, File};

/// What the log's disk refuses, and what it only claims to do.
#[derive(Default)]
pub(crate) struct Manners {
    /// Every write is refused.
    pub(crate) full: AtomicBool,
    /// Planted: folders are not synced.
    pub(crate) ignores_folder_sync: AtomicBool,
    /// Planted: files are not synced.
    pub(crate) ignores_file_sync: AtomicBool,
}

/// The log's disk as the wal sees it.
pub(crate) struct LogDisk {
    inner: DoubleDisk,
    manners: Arc<Manners>,
}

struct LogFile {
    inner: Arc<dyn File>,
    manners: Arc<Manners>,
}

impl LogDisk {
    /// `inner` with `manners`.
    pub(crate) fn new(inner: DoubleDisk, manners: Arc<Manners>) -> Self {
        Self { inner, manners }
    }

    fn wrap(&self, inner: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(LogFile { inner, manners: Arc::clone(&self.manners) })
    }
}

impl Manners {
    fn has_room(&self) -> io::Result<()> {
        if self.full.load(Ordering::Relaxed) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Disk for LogDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.manners.has_room()?;
        self.inner.create(name).map(|file| self.wrap(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.inner.open(name).map(|file| self.wrap(file))
    }

    fn rename(&self, source: &str, target: &str) -> io::Result<()> {
        self.inner.rename(source, target)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn sync_dir(&self) -> io::Result<()> {
        if self.manners.ignores_folder_sync.load(Ordering::Relaxed) { Ok(()) } else { self.inner.sync_dir() }
    }
}

impl File for LogFile {
    fn pwrite(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if let Err(refusal) = self.manners.has_room() {
            // Half of it may have found room.
            let _ = self.inner.pwrite(offset, &bytes[..bytes.len() / 2]);
            return Err(refusal);
        }
        self.inner.pwrite(offset, bytes)
    }

    fn pread(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.inner.pread(offset, into)
    }

    fn fdatasync(&self) -> io::Result<()> {
        if self.manners.ignores_file_sync.load(Ordering::Relaxed) { Ok(()) } else { self.inner.fdatasync() }
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
}

/// A row of a database.
pub(crate) type Row = (Family, Vec<u8>, Vec<u8>);
/// All rows of a database, in order.
pub(crate) type Rows = Rc<Vec<Row>>;

/// All rows of a store.
pub(crate) fn rows_of(store: &Store) -> Result<Rows, StoreError> {
    let mut rows = Vec::new();
    for family in Family::ALL {
        let mut cursor = store.scan(family, &Span::default(), Direction::Forward);
        while let Some((key, value)) = cursor.row() {
            rows.push((family, key.to_vec(), value.to_vec()));
            cursor.step();
        }
        cursor.finish()?;
    }
    Ok(Rc::new(rows))
}

thread_local! {
    // Stores that no member uses at the moment, with the number of times that each was used.
    static IDLE: RefCell<Vec<(Arc<Store>, u32)>> = const { RefCell::new(Vec::new()) };
    static OPENED: RefCell<u64> = const { RefCell::new(0) };
}

/// A store is used so often before it makes room for a fresh one: what was removed from it stays in its memory.
const USES_MAX: u32 = 200;

/// A store with chosen rows, lent from a pool to one life of a member.
pub(crate) struct Lent {
    store: Arc<Store>,
    uses: u32,
}

impl Lent {
    /// A store that holds `rows` and nothing else.
    pub(crate) fn with(rows: &Rows) -> Result<Self, StoreError> {
        let idle = IDLE.with_borrow_mut(Vec::pop);
        let lent = match idle {
            Some((store, uses)) => Self { store, uses: uses + 1 },
            None => Self { store: Arc::new(open()?), uses: 0 },
        };
        let mut batch = lent.store.batch();
        for (family, key, _) in rows_of(&lent.store)?.iter() {
            batch.delete(*family, key);
        }
        for (family, key, value) in rows.iter() {
            batch.put(*family, key, value);
        }
        lent.store.write(batch)?;
        Ok(lent)
    }

    /// The store.
    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // A store that somebody else still holds is not lent again.
        if self.uses < USES_MAX && Arc::strong_count(&self.store) == 1 {
            IDLE.with_borrow_mut(|idle| idle.push((Arc::clone(&self.store), self.uses)));
        }
    }
}

/// Closes the stores that this thread has kept. To be called at its end: what a thread leaves behind is closed at any
/// time after it, also when RocksDB's own globals are gone, which aborts the process.
pub(crate) fn close_idle() {
    IDLE.with_borrow_mut(Vec::clear);
}

fn open() -> Result<Store, StoreError> {
    let number = OPENED.with_borrow_mut(|opened| {
        *opened += 1;
        *opened
    });
    let options = Options::in_memory();
    Store::open(&PathBuf::from(format!("/sim/{number}")), &options)
}
