//! The v2 keyspace: a tree of directories and files with times to live, as etcd's `/v2/keys` shows it.
//!
//! The tree is in memory, where reads find it; every change also stages rows of `Family::V2` into the batch that
//! its log entry fills, so that the files hold the same tree. Time is an argument: nothing here asks a clock.
//! It never talks to watchers; a change returns its events, and whoever applied it hands them on.
//!
//! A reader may see a change before its batch is written. That is sound: the change is committed in the log by
//! then, and a write that fails ends the process before anything was acknowledged on the strength of it.
//!
//! INVARIANT: after a refused write nothing has changed, neither tree nor index nor batch.
//! INVARIANT: rows, tree and the index of expirations name the same nodes.
//! INVARIANT: the index grows by exactly one with every event.
//! INVARIANT: no node lies deeper than `types::v2::PATH_DEPTH_MAX`, which bounds all recursion over the tree.

mod answer;
mod change;
mod keyspace;
mod load;
mod node;
mod row;

use parking_lot::RwLock;
use store::{Batch, Store};
use types::v2::{Event, Get, Refusal, Timestamp, Write};

use keyspace::Keyspace;
pub use load::OpenError;
pub use row::Damage;
use row::Rows;

/// Where the index of an empty keyspace stands: a fresh etcd of one member has spent three on its own affairs
/// before the first client comes.
pub const INDEX_FIRST: u64 = 3;

/// The v2 keyspace of one member. Any thread may read; one applies.
pub struct V2Store {
    keyspace: RwLock<Keyspace>,
}

impl V2Store {
    /// Reads all rows into memory and checks them.
    pub fn open(store: &Store) -> Result<Self, OpenError> {
        Ok(Self { keyspace: RwLock::new(load::keyspace(store)?) })
    }

    /// The index of the last change.
    pub fn index(&self) -> u64 {
        self.keyspace.read().index()
    }

    /// Reads a file, or lists a directory in the order of its keys, sorted or not. Writers wait while a listing
    /// is put together. `now` decides the seconds left; a node whose time has passed stays until
    /// [`Write::Expire`] takes it.
    pub fn get(&self, get: &Get, now: Timestamp) -> Result<Event, Refusal> {
        self.keyspace.read().get(get, now)
    }

    /// When the next node is due, if any node is ever.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.keyspace.read().next_expiry()
    }

    /// Applies a write: changes the tree at once and stages the rows. `now` only decides the seconds left in the
    /// answer. Exactly one event comes back, of an `Expire` one for each node that was due, which may be none.
    pub fn apply(&self, write: &Write, now: Timestamp, batch: &mut Batch<'_>) -> Result<Vec<Event>, Refusal> {
        self.keyspace.write().apply(write, now, &mut Rows::new(batch))
    }
}

#[cfg(test)]
mod tests;
