//! Where the database lies, and how a snapshot takes its place.
//!
//! A snapshot is opened, and all that a machine keeps in memory is read from it, before anybody waits for it
//! ([`Site::prepare`]); what is left for the log's thread is to name it the live one ([`Site::enthrone`]).
//!
//! INVARIANT: the new database is complete, durable and readable before it is named the live one; until then a
//! start finds the old one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use apply::{Machine, Position};
use folder::Generations;
use parking_lot::Mutex;
use snap::SnapshotId;
use stdx::chain;
use store::{Options, Store};

use crate::load;

/// A database that can become the live one.
pub(crate) struct Prepared {
    id: SnapshotId,
    machine: Machine,
    path: PathBuf,
}

/// See the module.
pub(crate) struct Site {
    generations: Generations,
    options: Options,
    live: Mutex<PathBuf>,
    // Databases that readers may still be in.
    retired: Mutex<Vec<(Weak<Store>, PathBuf)>>,
}

impl Prepared {
    /// Which snapshot it came from.
    pub(crate) fn id(&self) -> SnapshotId {
        self.id
    }
}

impl Site {
    pub(crate) fn new(generations: Generations, options: Options, live: PathBuf) -> Self {
        Self { generations, options, live: Mutex::new(live), retired: Mutex::default() }
    }

    /// The folder for snapshots.
    pub(crate) fn snap(&self) -> PathBuf {
        self.generations.snap()
    }

    /// Opens what was received, beside the live database. Takes as long as a start.
    pub(crate) fn prepare(&self, received: &Path, id: SnapshotId) -> Result<Prepared, String> {
        let path = self.generations.adopt(received, id.index).map_err(|error| chain(&error))?;
        let store = Store::open(&path, &self.options).map_err(|error| chain(&error))?;
        let machine = load::machine(Arc::new(store)).map_err(|error| chain(&error))?;
        let position = Position { index: id.index, term: id.term };
        if machine.position() != position {
            return Err(format!("it holds the state after index {}", machine.position().index));
        }
        Ok(Prepared { id, machine, path })
    }

    /// Makes a database the live one, durably. The one of before is left to those who are in it.
    pub(crate) fn enthrone(&self, prepared: Prepared, old: &Arc<Store>) -> Result<Machine, String> {
        let Prepared { id, machine, path } = prepared;
        let position = Position { index: id.index, term: id.term };
        self.generations.enthrone(position).map_err(|error| chain(&error))?;
        let folder = std::mem::replace(&mut *self.live.lock(), path);
        self.retire(old, folder);
        Ok(machine)
    }

    /// A database that was prepared is of no use any more.
    pub(crate) fn discard(&self, prepared: Prepared) {
        self.retire(prepared.machine.store(), prepared.path);
    }

    /// Whether a database with the state after this entry lies there already, live, prepared or not yet removed.
    pub(crate) fn is_taken(&self, id: SnapshotId) -> bool {
        self.generations.path_of(id.index).exists()
    }

    fn retire(&self, store: &Arc<Store>, folder: PathBuf) {
        self.retired.lock().push((Arc::downgrade(store), folder));
    }

    /// Removes databases that nobody reads any more.
    pub(crate) fn clean(&self) {
        self.retired.lock().retain(|(store, path)| {
            if store.strong_count() > 0 {
                return true;
            }
            if let Err(error) = fs::remove_dir_all(path) {
                tracing::warn!(%error, path = %path.display(), "an old database was not removed; the next start does it");
            }
            false
        });
    }
}
