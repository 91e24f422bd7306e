//! Where the database lies, and how a snapshot takes its place.
//!
//! INVARIANT: the new database is complete, durable and readable before it is named the live one; until then a
//! start finds the old one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use apply::{Machine, Position};
use parking_lot::Mutex;
use snap::SnapshotId;
use stdx::chain;
use store::{Options, Store};

use crate::generation::Generations;
use crate::rooms::Rooms;

/// See the module.
pub(crate) struct Site {
    generations: Generations,
    options: Options,
    live: Mutex<PathBuf>,
    // Databases that readers may still be in.
    retired: Mutex<Vec<(Weak<Store>, PathBuf)>>,
}

impl Site {
    pub(crate) fn new(generations: Generations, options: Options, live: PathBuf) -> Self {
        Self { generations, options, live: Mutex::new(live), retired: Mutex::default() }
    }

    /// The folder for snapshots.
    pub(crate) fn snap(&self) -> PathBuf {
        self.generations.snap()
    }

    /// Makes what was received the live database, and opens it. Readers may be in the old one until its rooms are
    /// retired.
    pub(crate) fn prepare(&self, received: &Path, id: SnapshotId) -> Result<(Machine, PathBuf), String> {
        let path = self.generations.adopt(received, id.index).map_err(|error| chain(&error))?;
        let store = Store::open(&path, &self.options).map_err(|error| chain(&error))?;
        let machine = Machine::open(Arc::new(store)).map_err(|error| chain(&error))?;
        let position = Position { index: id.index, term: id.term };
        if machine.position() != position {
            return Err(format!("it holds the state after index {}", machine.position().index));
        }
        self.generations.enthrone(position).map_err(|error| chain(&error))?;
        let old = std::mem::replace(&mut *self.live.lock(), path);
        Ok((machine, old))
    }

    /// The rooms of before, and the folder under them, are left to those who are in them.
    pub(crate) fn retire(&self, rooms: &Rooms, folder: PathBuf) {
        self.retired.lock().push((Arc::downgrade(&rooms.store), folder));
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
