//! The v2 keyspace: a tree of directories and files with times to live, as etcd's `/v2/keys` shows it.
//!
//! The tree is in memory, where reads find it; every change also stages rows of `Family::V2` into the batch that
//! its log entry fills, so that the files hold the same tree. What concerns the batch as a whole, the index and the
//! events, is staged once, at its end. Time is an argument: nothing here asks a clock.
//! It never talks to watchers; a change returns its events, and whoever applied it hands them on. The last thousand
//! are remembered, in memory and on disk, for those who ask later.
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
mod history;
mod keyspace;
mod load;
mod node;
mod past;
mod record;
mod row;
mod slots;
mod transfer;

use std::sync::Arc;

use parking_lot::RwLock;
use store::{Batch, Store};
use types::v2::{Event, Get, Refusal, Timestamp, Watch, Write, code};

pub use history::{HISTORY_BYTES_MAX, HISTORY_EVENTS_MAX, concerns, ends_directory, lineage};
use keyspace::Keyspace;
pub use load::OpenError;
pub use row::Damage;
use row::Rows;
pub use transfer::{stage_index, stage_node};

/// Where the index of an empty keyspace stands: a fresh etcd of one member has spent three on its own affairs
/// before the first client comes.
pub const INDEX_FIRST: u64 = 3;

/// The v2 keyspace of one member. Any thread may read; one applies.
pub struct V2Store {
    keyspace: RwLock<Keyspace>,
}

/// A piece of the past, as a watch sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// What happened, in order.
    pub events: Vec<Arc<Event>>,
    /// The first index that was not looked at: after the last event, unless there may be more.
    pub next: u64,
    /// The index of the keyspace when it was looked at.
    pub index: u64,
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

    /// How many nodes are due at `now`, counted as far as `nodes_max`.
    pub fn count_due(&self, now: Timestamp, nodes_max: usize) -> usize {
        self.keyspace.read().count_due(now, nodes_max)
    }

    /// What a watch has missed: up to `events_max` events from `since` on, or 401 when some of what it asks for may
    /// have been forgotten.
    pub fn seek(&self, watch: &Watch, since: u64, events_max: usize) -> Result<Missed, Refusal> {
        let keyspace = self.keyspace.read();
        let oldest = keyspace.history().oldest();
        if since < oldest {
            let cause = format!("the requested history has been cleared [{oldest}/{since}]");
            return Err(keyspace.refuse(code::HISTORY_CLEARED, cause));
        }
        let (events, next) = keyspace.history().seek(watch, since, events_max);
        Ok(Missed { events, next, index: keyspace.index() })
    }

    /// Applies a write: changes the tree at once and stages the rows of nodes; [`V2Store::stage`] has to follow before
    /// the batch is written. `now` only decides the seconds left in the
    /// answer. Exactly one event comes back, of an `Expire` one for each node that went, which may be none.
    pub fn apply(
        &self,
        write: &Write,
        now: Timestamp,
        batch: &mut Batch<'_>,
    ) -> Result<Vec<Arc<Event>>, Refusal> {
        self.keyspace.write().apply(write, now, &mut Rows::new(batch))
    }

    /// Takes indexes for changes elsewhere: etcd keeps its users in the same tree as clients' keys. Nobody is told,
    /// yet each has its place in the history.
    pub fn pass(&self, indexes: u64) {
        self.keyspace.write().pass(indexes);
    }

    /// Stages the index and the events of all that was applied since the last time: the end of a batch.
    pub fn stage(&self, batch: &mut Batch<'_>) {
        self.keyspace.write().stage(&mut Rows::new(batch));
    }
}

#[cfg(test)]
mod tests;
