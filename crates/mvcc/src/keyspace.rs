//! The keyspace: what readers share with the writer, and how it comes back after a start.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use store::{Family, Moment, Span, Store};
use types::{LeaseId, RangeQuery, RangeReply, Revision, Txn, TxnReply};

use crate::index::Index;
use crate::row::{self, Kind, Record};
use crate::view::View;
use crate::{Damage, OpenError, ReadError, Writer, history, txn};

/// How often a single read is tried again after a sweep took the row away under it, before it takes the lock.
const SINGLE_TRIES_MAX: usize = 2;

/// The keyspace of one member. Any number of threads read; one writes; one sweeps.
pub struct Mvcc {
    pub(crate) store: Arc<Store>,
    pub(crate) state: RwLock<State>,
    /// Held by the one writer.
    pub(crate) writing: Mutex<()>,
    /// Held by the one sweep: how many versions it has taken away since it last had them flushed.
    pub(crate) sweeping: Mutex<usize>,
    // Copies of what is in `state`, for those who want to know without waiting.
    revision: AtomicU64,
    compacted: AtomicU64,
    key_count: AtomicU64,
}

/// A part of the keys, from which a part of the index is to be read.
pub struct IndexPart<'a> {
    store: &'a Store,
    span: Span,
    revision: Revision,
}

/// A part of the index.
pub struct ReadPart {
    index: Index,
    leased_keys: Vec<(LeaseId, Box<[u8]>)>,
}

impl IndexPart<'_> {
    /// Reads it. Takes long.
    pub fn read(self) -> Result<ReadPart, OpenError> {
        load_index(&self.store.moment(), &self.span, self.revision)
    }
}

/// What is published.
pub(crate) struct State {
    pub(crate) index: Index,
    pub(crate) revision: Revision,
    /// `None` before the first compaction, which may be one at revision 0.
    pub(crate) compacted: Option<Revision>,
}

impl Mvcc {
    /// Reads what the store holds and rebuilds the index from it.
    pub fn open(store: Arc<Store>) -> Result<Self, OpenError> {
        Self::open_by(store, 1, |parts| parts.into_iter().map(IndexPart::read).collect(), &mut |_, _| {})
    }

    /// The same in up to `parts_max` parts, which `read` may have read by as many threads; it hands them back in
    /// their order. Then tells of every key that names a lease, in the order of keys.
    pub fn open_by(
        store: Arc<Store>,
        parts_max: usize,
        read: impl FnOnce(Vec<IndexPart<'_>>) -> Vec<Result<ReadPart, OpenError>>,
        leased: &mut dyn FnMut(LeaseId, &[u8]),
    ) -> Result<Self, OpenError> {
        let state = load(&store, parts_max, read, leased)?;
        let mvcc = Self {
            store,
            revision: AtomicU64::new(0),
            compacted: AtomicU64::new(0),
            key_count: AtomicU64::new(0),
            state: RwLock::new(state),
            writing: Mutex::new(()),
            sweeping: Mutex::new(0),
        };
        mvcc.announce(&mvcc.state.read());
        Ok(mvcc)
    }

    /// The revision of the last published change.
    pub fn revision(&self) -> Revision {
        Revision(self.revision.load(Ordering::Acquire))
    }

    /// The revision up to which history was forgotten; 0 before the first compaction.
    pub fn compacted(&self) -> Revision {
        Revision(self.compacted.load(Ordering::Acquire))
    }

    /// How many keys there are.
    pub fn key_count(&self) -> u64 {
        self.key_count.load(Ordering::Acquire)
    }

    /// The bytes of memory that the index of live keys takes, without the allocator's own.
    pub fn index_bytes(&self) -> usize {
        self.state.read().index.memory_bytes()
    }

    /// Reads a range; answers the current revision beside it.
    pub fn range(&self, query: &RangeQuery) -> Result<(Revision, RangeReply), ReadError> {
        if query.at.is_none()
            && let Some(key) = query.range.as_single()
        {
            return self.single(key, query);
        }
        let view = self.view();
        let reply = view.range(query)?;
        Ok((view.revision, reply))
    }

    /// Answers a transaction for which [`Txn::is_read_only`] holds, all of it at one revision. Operations that are
    /// not reads are left out.
    pub fn read_txn(&self, txn: &Txn) -> Result<(Revision, TxnReply), ReadError> {
        debug_assert!(txn.is_read_only(), "a transaction that writes goes through the log");
        let view = self.view();
        let reply = txn::read(&view, txn)?;
        Ok((view.revision, reply))
    }

    /// Starts to write. Waits for the writer before to end.
    pub fn begin(&self) -> Writer<'_> {
        Writer::new(self)
    }

    /// What is published now, to be read in peace.
    pub(crate) fn view(&self) -> View<'_> {
        let state = self.state.read();
        // Taken under the lock: no sweep towards a later compaction than the one seen here has begun, so that
        // every row that this revision can ask for is in the moment, however long the read takes.
        let moment = self.store.moment();
        View::new(self, moment, &state)
    }

    /// Makes the copies agree with the state. The caller holds its lock.
    pub(crate) fn announce(&self, state: &State) {
        debug_assert!(state.revision >= self.revision(), "the revision went back");
        debug_assert!(state.compacted.unwrap_or_default() <= state.revision, "compacted beyond the revision");
        self.revision.store(state.revision.0, Ordering::Release);
        self.compacted.store(state.compacted.unwrap_or_default().0, Ordering::Release);
        self.key_count.store(state.index.len(), Ordering::Release);
    }

    /// One key now, the most frequent read: one look into the index, one row.
    fn single(&self, key: &[u8], query: &RangeQuery) -> Result<(Revision, RangeReply), ReadError> {
        for _ in 0..SINGLE_TRIES_MAX {
            let (revision, meta) = {
                let state = self.state.read();
                (state.revision, state.index.get(key))
            };
            if let Some(reply) = history::single(&self.store, key, meta, query)? {
                return Ok((revision, reply));
            }
        }
        let state = self.state.read();
        let reply = history::single(&self.store, key, state.index.get(key), query)?;
        let reply = reply.ok_or_else(|| Damage::missing(Family::Keys, key))?;
        Ok((state.revision, reply))
    }
}

/// The revision of the keyspace in a store that nobody writes.
pub fn revision_in(store: &Store) -> Result<Revision, OpenError> {
    revision_at(&store.moment())
}

fn revision_at(moment: &Moment<'_>) -> Result<Revision, OpenError> {
    let Some(record) = moment.get(Family::Meta, row::META_REVISION)? else { return Ok(Revision::FIRST) };
    let [revision] = row::decode_numbers(row::META_REVISION, &record)?;
    Ok(Revision(revision))
}

fn load(
    store: &Store,
    parts_max: usize,
    read: impl FnOnce(Vec<IndexPart<'_>>) -> Vec<Result<ReadPart, OpenError>>,
    leased: &mut dyn FnMut(LeaseId, &[u8]),
) -> Result<State, OpenError> {
    let moment = store.moment();
    let revision = revision_at(&moment)?;
    let compacted = match moment.get(Family::Meta, row::META_COMPACTED)? {
        Some(record) => {
            let [compacted] = row::decode_numbers(row::META_COMPACTED, &record)?;
            Some(Revision(compacted))
        }
        None => None,
    };
    if compacted.unwrap_or_default() > revision {
        return Err(Damage::new("compacted beyond the revision", Family::Meta, row::META_COMPACTED).into());
    }
    let part = |span| IndexPart { store, span, revision };
    let read = read(spans(store, parts_max)?.into_iter().map(part).collect());
    let mut parts = Vec::with_capacity(read.len());
    for part in read {
        let ReadPart { index, leased_keys } = part?;
        parts.push(index);
        for (lease, key) in leased_keys {
            leased(lease, &key);
        }
    }
    Ok(State { index: Index::join(parts), revision, compacted })
}

/// All keys, in up to `parts_max` spans of about the same size, each with all rows of its keys.
fn spans(store: &Store, parts_max: usize) -> Result<Vec<Span>, OpenError> {
    let mut dividers = Vec::new();
    for row_key in store.divide(Family::Keys, parts_max)? {
        dividers.push(row::prefix_of(&row_key)?.to_vec());
    }
    dividers.dedup();
    let bounds = |at: usize| Span {
        lower: at.checked_sub(1).and_then(|before| dividers.get(before).cloned()),
        upper: dividers.get(at).cloned(),
    };
    Ok((0..=dividers.len()).map(bounds).collect())
}

/// Takes the newest row of every key, past however many older ones.
fn load_index(moment: &Moment<'_>, span: &Span, revision: Revision) -> Result<ReadPart, OpenError> {
    let mut leased_keys = Vec::new();
    let mut index = Index::new();
    let mut cursor = moment.walk(Family::Keys, span);
    let (mut prefix, mut key) = (Vec::new(), Vec::new());
    while let Some((row_key, record)) = cursor.row() {
        prefix.clear();
        prefix.extend_from_slice(row::prefix_of(row_key)?);
        row::unescape(&prefix, &mut key)?;
        let position = row::position_of(row_key)?;
        if position.revision() > revision {
            return Err(Damage::new("a row is newer than the revision", Family::Keys, row_key).into());
        }
        let record = Record::decode(row_key, record)?;
        if record.kind != Kind::Deleted {
            index.insert(&key, &record.meta(position));
            if record.lease != 0 {
                leased_keys.push((LeaseId(record.lease), key.as_slice().into()));
            }
        }
        history::leave(&mut cursor, &prefix);
    }
    cursor.finish()?;
    Ok(ReadPart { index, leased_keys })
}
