//! The stairs: one deterministic function from (state, entry) to (state, outcome).
//!
//! A run of committed entries becomes one batch of the database, with the applied index in it. It has no
//! clock, no chance, no threads and no configuration: members that applied the same entries are the same.
//!
//! INVARIANT: the effects of an entry and its index reach the database together.
//! INVARIANT: entries are applied in order, each once. What cannot be understood stops the member.

mod position;

use std::sync::Arc;

use bytes::Bytes;
use command::{Command, DecodeError, Effect, Outcome, Refused, decode_run};
use members::Members;
use mvcc::{Mvcc, Writer};
use store::{Batch, Store, StoreError};
use types::v2;
use types::{Index, LeaseId, MemberRecord, Revision, Term};
use v2store::V2Store;

pub use position::{Position, PositionError};

/// An entry of the log that is committed.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its place; one after the entry before.
    pub index: Index,
    /// The term in which it was proposed.
    pub term: Term,
    /// Encoded commands, possibly none.
    pub data: Bytes,
}

/// The state could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Where the state stands cannot be read.
    #[error(transparent)]
    Position(#[from] PositionError),
    /// The v3 keyspace cannot be read.
    #[error("cannot open the v3 keyspace")]
    Mvcc(#[source] mvcc::OpenError),
    /// The v2 keyspace cannot be read.
    #[error("cannot open the v2 keyspace")]
    V2(#[source] v2store::OpenError),
    /// The member list cannot be read.
    #[error("cannot open the member list")]
    Members(#[source] members::OpenError),
}

/// Entries could not be applied. The member must stop: it no longer knows what its state is.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// An entry is missing or came twice.
    #[error("entry {got} was handed out after entry {applied}")]
    Gap {
        /// The last index applied.
        applied: Index,
        /// The index that came.
        got: Index,
    },
    /// An entry holds what this version cannot understand.
    #[error("cannot understand entry {index}")]
    Entry {
        /// Which entry.
        index: Index,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// The v3 keyspace is damaged or cannot be read.
    #[error("cannot apply entry {index} to the v3 keyspace")]
    Mvcc {
        /// Which entry.
        index: Index,
        /// Why.
        #[source]
        source: mvcc::WriteError,
    },
    /// The batch could not be written.
    #[error("cannot write the effects of entries")]
    Store(#[from] StoreError),
}

/// Everything that is replicated. Its rooms may be read by anybody at any time; one caller applies.
pub struct Machine {
    store: Arc<Store>,
    mvcc: Arc<Mvcc>,
    v2: Arc<V2Store>,
    members: Arc<Members>,
    position: Position,
}

impl Machine {
    /// Opens the state as the last flushed batch left it.
    pub fn open(store: Arc<Store>) -> Result<Self, OpenError> {
        Ok(Self {
            position: Position::load(&store)?.unwrap_or_default(),
            mvcc: Arc::new(Mvcc::open(Arc::clone(&store)).map_err(OpenError::Mvcc)?),
            v2: Arc::new(V2Store::open(&store).map_err(OpenError::V2)?),
            members: Arc::new(Members::open(&store).map_err(OpenError::Members)?),
            store,
        })
    }

    /// The state of a new cluster: its members, and nothing applied after `position`. Doing it again does no harm.
    pub fn bootstrap(&mut self, position: Position, founders: &[MemberRecord]) -> Result<(), StoreError> {
        let mut batch = self.store.batch();
        for member in founders {
            self.members.apply_set(member.clone(), &mut batch);
        }
        position.stage(&mut batch);
        self.store.write(batch)?;
        self.position = position;
        self.store.flush()
    }

    /// The last entry applied; in memory, not necessarily on disk.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The v3 keyspace.
    pub fn mvcc(&self) -> &Arc<Mvcc> {
        &self.mvcc
    }

    /// The v2 keyspace.
    pub fn v2(&self) -> &Arc<V2Store> {
        &self.v2
    }

    /// The members.
    pub fn members(&self) -> &Arc<Members> {
        &self.members
    }

    /// The database under them.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Applies a run of entries as one batch. The outcomes are those of the commands, entry by entry.
    pub fn apply<'e>(
        &mut self,
        run: impl IntoIterator<Item = &'e Entry>,
    ) -> Result<Vec<Vec<Outcome>>, ApplyError> {
        let mut batch = self.store.batch();
        let mut writer = self.mvcc.begin();
        let mut position = self.position;
        let mut outcomes = Vec::new();
        for entry in run {
            if entry.index.0 != position.index.0 + 1 {
                return Err(ApplyError::Gap { applied: position.index, got: entry.index });
            }
            position = Position { index: entry.index, term: entry.term };
            let commands = decode_run(entry.data.clone())
                .map_err(|source| ApplyError::Entry { index: entry.index, source })?;
            let mut rooms = Rooms { writer: &mut writer, v2: &self.v2, members: &self.members };
            let done: Result<Vec<Outcome>, mvcc::WriteError> =
                commands.into_iter().map(|command| rooms.apply(command, &mut batch)).collect();
            outcomes.push(done.map_err(|source| ApplyError::Mvcc { index: entry.index, source })?);
        }
        writer.stage(&mut batch);
        position.stage(&mut batch);
        self.store.write(batch)?;
        writer.publish();
        self.position = position;
        Ok(outcomes)
    }
}

struct Rooms<'a, 'w> {
    writer: &'a mut Writer<'w>,
    v2: &'a V2Store,
    members: &'a Members,
}

impl Rooms<'_, '_> {
    fn apply(&mut self, command: Command, batch: &mut Batch<'_>) -> Result<Outcome, mvcc::WriteError> {
        let result = match command {
            Command::Put(put) if put.lease.is_some() && !no_lease_exists(put.lease) => {
                Err(Refused::LeaseNotFound)
            }
            Command::Put(put) => refusal(self.writer.put(&put))?.map(Effect::Put),
            Command::DeleteRange(delete) => {
                refusal(self.writer.delete_range(&delete))?.map(Effect::DeleteRange)
            }
            Command::Txn(txn) => {
                refusal(self.writer.txn_with_leases(&txn, &no_lease_exists))?.map(Effect::Txn)
            }
            Command::Compact(revision) => refusal(self.writer.compact(revision))?.map(|()| Effect::Compact),
            Command::V2 { write, now } => Ok(Effect::V2(self.write_v2(&write, now, batch))),
            Command::SetMember(member) => {
                self.members.apply_set(member, batch);
                Ok(Effect::SetMember)
            }
        };
        Ok(Outcome { revision: self.revision(), result })
    }

    fn write_v2(
        &self,
        write: &v2::Write,
        now: v2::Timestamp,
        batch: &mut Batch<'_>,
    ) -> Result<Vec<v2::Event>, v2::Refusal> {
        self.v2.apply(write, now, batch)
    }

    fn revision(&self) -> Revision {
        self.writer.revision()
    }
}

// Leases come with an issue of their own; until then none exists that a put could name.
fn no_lease_exists(_lease: LeaseId) -> bool {
    false
}

// A refusal is an outcome; anything else is an error that ends the member.
fn refusal<T>(result: Result<T, mvcc::WriteError>) -> Result<Result<T, Refused>, mvcc::WriteError> {
    match result {
        Ok(done) => Ok(Ok(done)),
        Err(mvcc::WriteError::Refused(why)) => Ok(Err(match why {
            mvcc::Refusal::KeyNotFound => Refused::KeyNotFound,
            mvcc::Refusal::LeaseNotFound => Refused::LeaseNotFound,
            mvcc::Refusal::Compacted => Refused::Compacted,
            mvcc::Refusal::FutureRevision => Refused::FutureRevision,
        })),
        Err(fatal) => Err(fatal),
    }
}
