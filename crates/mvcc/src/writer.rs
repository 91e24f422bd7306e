//! The one writer: many requests, one batch, one publication.
//!
//! A request either happens whole or is refused whole. What the writer has done is seen by itself alone until
//! [`Writer::publish`].

use std::ops::ControlFlow;

use bytes::Bytes;
use parking_lot::MutexGuard;
use store::{Batch, Direction, Family};
use types::{
    DeleteRange, DeleteReply, KeyRange, LeaseId, Put, PutReply, RangeQuery, RangeReply, Revision, Txn,
    TxnReply,
};

use crate::events::{Change, Changes};
use crate::overlay::Overlay;
use crate::row::{self, Event, Kind, Meta, Note, Position, Record};
use crate::select::{self, Entry, Source, Visit};
use crate::view::admit;
use crate::{Damage, Mvcc, ReadError, Refusal, WriteError, txn};

/// Writes to a keyspace. Dropped without [`Writer::publish`], it leaves no trace.
pub struct Writer<'a> {
    mvcc: &'a Mvcc,
    _alone: MutexGuard<'a, ()>,
    overlay: Overlay,
    /// What is published.
    base: Revision,
    revision: Revision,
    compacted: Option<Revision>,
    /// Whether `compact` was called.
    compacts: bool,
    /// Changes that a batch has already.
    staged: usize,
    moves: Vec<LeaseMove>,
}

/// A change of one key, with a note. A key that is to be removed and is not there is passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The key.
    pub key: Bytes,
    /// Its value and its lease from now on; `None` removes it.
    pub content: Option<(Bytes, LeaseId)>,
    /// What is to be known of it.
    pub note: Note,
}

/// A live key that names another lease than before, or none any more, or is no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseMove {
    /// The key.
    pub key: Bytes,
    /// The lease that it named, if any.
    pub source: LeaseId,
    /// The lease that it names now, if any.
    pub target: LeaseId,
}

/// A request on its way: the revision before it, and how many changes it has made.
pub(crate) struct Request {
    before: Revision,
    changes: u32,
}

impl Request {
    /// The revision that the request has seen or made so far.
    pub(crate) fn revision(&self) -> Revision {
        if self.changes == 0 { self.before } else { self.before.next() }
    }

    fn next(&mut self) -> Position {
        let position = Position::new(self.before.next().0, self.changes);
        self.changes =
            self.changes.checked_add(1).expect("a request changes fewer keys than memory could hold");
        position
    }
}

impl<'a> Writer<'a> {
    pub(crate) fn new(mvcc: &'a Mvcc) -> Self {
        let alone = mvcc.writing.lock();
        let state = mvcc.state.read();
        let (revision, compacted) = (state.revision, state.compacted);
        drop(state);
        Self {
            mvcc,
            _alone: alone,
            overlay: Overlay::default(),
            base: revision,
            revision,
            compacted,
            compacts: false,
            staged: 0,
            moves: Vec::new(),
        }
    }

    /// The revision of the last change, seen from here.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The revision up to which history was forgotten, seen from here; 0 before the first compaction.
    pub fn compacted(&self) -> Revision {
        self.compacted.unwrap_or_default()
    }

    /// Writes a key. The lease is taken as it is.
    pub fn put(&mut self, put: &Put) -> Result<PutReply, WriteError> {
        let mut request = self.request();
        let reply = self.put_in(&mut request, put)?;
        self.end(&request);
        Ok(reply)
    }

    /// Removes a range. Removing nothing is no change.
    pub fn delete_range(&mut self, delete: &DeleteRange) -> Result<DeleteReply, WriteError> {
        let mut request = self.request();
        let reply = self.delete_in(&mut request, delete)?;
        self.end(&request);
        Ok(reply)
    }

    /// Removes keys, all at one revision, in the order given. Those that are not there are passed over.
    pub fn delete_keys(&mut self, keys: Vec<Bytes>) {
        let mut request = self.request();
        for key in keys {
            if let Some(meta) = self.current(&key) {
                self.remove(&mut request, key, &meta, Note::default());
            }
        }
        self.end(&request);
    }

    /// Makes many changes, all at one revision, in the order given. Leases are taken as they are.
    pub fn edit(&mut self, edits: Vec<Edit>) {
        let mut request = self.request();
        for Edit { key, content, note } in edits {
            match (content, self.current(&key)) {
                (Some((value, lease)), current) => {
                    self.write(&mut request, &key, value, lease.0, current, note);
                }
                (None, Some(meta)) => self.remove(&mut request, key, &meta, note),
                (None, None) => {}
            }
        }
        self.end(&request);
    }

    /// Which keys went from lease to lease since this was asked last, in order.
    pub fn take_moves(&mut self) -> Vec<LeaseMove> {
        std::mem::take(&mut self.moves)
    }

    /// Runs a transaction, without a look at its leases.
    pub fn txn(&mut self, txn: &Txn) -> Result<TxnReply, WriteError> {
        self.txn_with_leases(txn, &|_| true)
    }

    /// Runs a transaction, refused when an operation that would run names a lease that does not exist.
    pub fn txn_with_leases(
        &mut self,
        txn: &Txn,
        lease_exists: &dyn Fn(LeaseId) -> bool,
    ) -> Result<TxnReply, WriteError> {
        let plan = txn::plan(self, txn)?;
        txn::check(self, txn, &plan, lease_exists)?;
        let mut request = self.request();
        let (before, moves_before) = (self.overlay.changes().len(), self.moves.len());
        let reply = txn::run(self, &mut request, txn, &plan);
        if reply.is_ok() {
            self.end(&request);
        } else {
            // Only a transaction that writes a key twice gets here past the checks: it deletes a key and then
            // wants to keep its value. The door refuses those; all or nothing holds without the door too.
            self.overlay.truncate(before);
            self.moves.truncate(moves_before);
        }
        reply
    }

    /// Reads a range, with everything that was written here.
    pub fn range(&self, query: &RangeQuery) -> Result<RangeReply, WriteError> {
        Ok(self.read(query)?)
    }

    /// Forgets history before `revision`, at once for readers of the next publication; rows go with later sweeps.
    pub fn compact(&mut self, revision: i64) -> Result<(), WriteError> {
        // etcd lets a keyspace that was never compacted be compacted at 0, once.
        let Ok(target) = u64::try_from(revision).map(Revision) else { return Err(Refusal::Compacted.into()) };
        if self.compacted.is_some_and(|compacted| target <= compacted) {
            return Err(Refusal::Compacted.into());
        }
        if target > self.revision {
            return Err(Refusal::FutureRevision.into());
        }
        self.compacted = Some(target);
        self.compacts = true;
        Ok(())
    }

    /// Goes on `revisions` further on, and forgets all history before that, so that nobody who had seen more than is
    /// here takes what comes for something that it knows. For a keyspace that was put back from a copy.
    pub fn leap(&mut self, revisions: u64) -> Result<(), WriteError> {
        let target = self.revision.0.checked_add(revisions).filter(|target| i64::try_from(*target).is_ok());
        self.revision = Revision(target.ok_or(Refusal::FutureRevision)?);
        self.compacted = Some(self.revision);
        self.compacts = true;
        Ok(())
    }

    /// Puts the rows of everything so far that is not in a batch yet into `batch`, with the positions.
    pub fn stage(&mut self, batch: &mut Batch<'_>) {
        let (mut row_key, mut record) = (Vec::new(), Vec::new());
        for change in self.overlay.changes().get(self.staged..).unwrap_or_default() {
            let Meta { modified, create, version, lease } = change.meta;
            row::row_key(&change.key, modified, &mut row_key);
            Record { kind: change.kind, create, version, lease, value: &change.value }
                .encode(&row_key, &mut record);
            batch.put(Family::Keys, &row_key, &record);
            let row_key = modified.to_row_key();
            let Change { kind, replaced, note, key, .. } = change;
            Event { kind: *kind, replaced: *replaced, note: *note, key }.encode(&row_key, &mut record);
            batch.put(Family::Revisions, &row_key, &record);
        }
        self.staged = self.overlay.changes().len();
        if self.revision != self.base {
            let revision = row::encode_numbers(row::META_REVISION, &[self.revision.0]);
            batch.put(Family::Meta, row::META_REVISION, &revision);
        }
        if self.compacts {
            let compacted = row::encode_numbers(row::META_COMPACTED, &[self.compacted().0]);
            batch.put(Family::Meta, row::META_COMPACTED, &compacted);
        }
    }

    /// Shows everything to readers at once, and hands back what has changed. The batch that it was staged into must
    /// have been written.
    pub fn publish(self) -> Changes {
        debug_assert_eq!(self.staged, self.overlay.changes().len(), "published before it was staged");
        let mut state = self.mvcc.state.write();
        debug_assert_eq!(state.revision, self.base, "another writer published meanwhile");
        for change in self.overlay.newest() {
            if change.kind == Kind::Deleted {
                state.index.remove(&change.key);
            } else {
                state.index.insert(&change.key, &change.meta);
            }
        }
        state.revision = self.revision;
        state.compacted = self.compacted;
        self.mvcc.announce(&state);
        drop(state);
        Changes { after: self.base, until: self.revision, list: self.overlay.into_changes() }
    }

    /// As [`Writer::range`], for those who only look.
    pub(crate) fn read(&self, query: &RangeQuery) -> Result<RangeReply, ReadError> {
        match self.admit(query.at)? {
            None => select::range(&self.now(), query),
            // Up to the base, what is published knows it all.
            Some(at) if at <= self.base => select::range(&self.mvcc.view().at(at), query),
            Some(at) => select::range(&OverlayAt { writer: self, until: Position::end_of(at) }, query),
        }
    }

    /// Whether a revision may be asked for now.
    pub(crate) fn admit(&self, at: Option<Revision>) -> Result<Option<Revision>, ReadError> {
        admit(at, self.revision, self.compacted).map(|revision| at.and(Some(revision)))
    }

    /// Everything that was written here on top of what is published.
    pub(crate) fn now(&self) -> OverlayAt<'_> {
        OverlayAt { writer: self, until: Position::end_of(Revision(u64::MAX)) }
    }

    /// Whether the key exists now.
    pub(crate) fn exists(&self, key: &[u8]) -> bool {
        self.current(key).is_some()
    }

    pub(crate) fn put_in(&mut self, request: &mut Request, put: &Put) -> Result<PutReply, WriteError> {
        let key = put.key.as_bytes();
        let current = self.current(key);
        if current.is_none() && (put.ignore_value || put.ignore_lease) {
            return Err(Refusal::KeyNotFound.into());
        }
        let previous = match current {
            Some(meta) if put.prev_kv || put.ignore_value => {
                let mut entry = Entry { key: key.clone(), meta, value: None };
                self.now().fetch(&mut [&mut entry])?;
                Some(entry)
            }
            _ => None,
        };
        let value = match &previous {
            Some(entry) if put.ignore_value => entry.value.clone().unwrap_or_default(),
            _ => put.value.clone(),
        };
        let lease = current.filter(|_| put.ignore_lease).map_or(put.lease.0, |meta| meta.lease);
        self.write(request, key, value, lease, current, Note::default());
        Ok(PutReply { prev_kv: previous.filter(|_| put.prev_kv).map(Entry::into_kv) })
    }

    pub(crate) fn delete_in(
        &mut self,
        request: &mut Request,
        delete: &DeleteRange,
    ) -> Result<DeleteReply, WriteError> {
        let doomed = select::entries(&self.now(), &delete.range, delete.prev_kv)?;
        for entry in &doomed {
            self.remove(request, entry.key.clone(), &entry.meta, Note::default());
        }
        let deleted = doomed.len() as u64;
        let prev_kvs =
            if delete.prev_kv { doomed.into_iter().map(Entry::into_kv).collect() } else { Vec::new() };
        Ok(DeleteReply { deleted, prev_kvs })
    }

    fn write(
        &mut self,
        request: &mut Request,
        key: &Bytes,
        value: Bytes,
        lease: i64,
        current: Option<Meta>,
        note: Note,
    ) {
        let modified = request.next();
        let (kind, create, version) = match current {
            Some(meta) => (Kind::Updated, meta.create, meta.version.saturating_add(1)),
            None => (Kind::Created, modified.main, 1),
        };
        let replaced = current.map(|meta| meta.modified).unwrap_or_default();
        self.note_move(key, current.map_or(0, |meta| meta.lease), lease);
        let meta = Meta { modified, create, version, lease };
        self.overlay.push(key.clone(), kind, meta, value, replaced, note);
    }

    fn remove(&mut self, request: &mut Request, key: Bytes, current: &Meta, note: Note) {
        self.note_move(&key, current.lease, 0);
        let meta = Meta { modified: request.next(), ..Meta::default() };
        self.overlay.push(key, Kind::Deleted, meta, Bytes::new(), current.modified, note);
    }

    fn note_move(&mut self, key: &Bytes, source: i64, target: i64) {
        if source != target {
            let (source, target) = (LeaseId(source), LeaseId(target));
            self.moves.push(LeaseMove { key: key.clone(), source, target });
        }
    }

    fn request(&self) -> Request {
        Request { before: self.revision, changes: 0 }
    }

    fn end(&mut self, request: &Request) {
        self.revision = request.revision();
    }

    fn current(&self, key: &[u8]) -> Option<Meta> {
        match self.overlay.get(key, Position::end_of(Revision(u64::MAX))) {
            Some(change) => (change.kind != Kind::Deleted).then_some(change.meta),
            None => self.mvcc.state.read().index.get(key),
        }
    }
}

/// What a writer sees, up to a position after the base. The published index stands still while a writer lives.
pub(crate) struct OverlayAt<'a> {
    writer: &'a Writer<'a>,
    until: Position,
}

impl Source for OverlayAt<'_> {
    fn count(&self, range: &KeyRange) -> Result<u64, ReadError> {
        if range.is_empty() {
            return Ok(0);
        }
        let mut count = self.writer.mvcc.state.read().index.count(range);
        for (change, published) in self.writer.overlay.range(range, self.until) {
            match (published, change.kind != Kind::Deleted) {
                (false, true) => count += 1,
                (true, false) => count -= 1,
                _ => {}
            }
        }
        Ok(count)
    }

    fn visit(&self, range: &KeyRange, direction: Direction, visit: &mut Visit<'_>) -> Result<(), ReadError> {
        if range.is_empty() {
            return Ok(());
        }
        if let Some(key) = range.as_single() {
            // One key: whether the visitor wants another does not matter.
            let _ = match self.writer.overlay.get(key, self.until) {
                Some(change) => show(change, visit),
                None => match self.writer.mvcc.state.read().index.get(key) {
                    Some(meta) => visit(key, meta, None),
                    None => ControlFlow::Continue(()),
                },
            };
            return Ok(());
        }
        let mut changes = self.writer.overlay.range(range, self.until).map(|(change, _)| change).peekable();
        if direction == Direction::Backward || changes.peek().is_none() {
            return self.visit_apart(range, direction, visit);
        }
        let state = self.writer.mvcc.state.read();
        let mut flow = ControlFlow::Continue(());
        state.index.ascend(&range.start, &mut |key, meta| {
            if !range.contains(key) {
                return ControlFlow::Break(());
            }
            while let Some(change) = changes.next_if(|change| change.key.as_ref() < key) {
                flow = show(change, visit);
                flow?;
            }
            flow = match changes.next_if(|change| change.key.as_ref() == key) {
                Some(change) => show(change, visit),
                None => visit(key, meta, None),
            };
            flow
        });
        for change in changes {
            if flow.is_break() {
                break;
            }
            flow = show(change, visit);
        }
        Ok(())
    }

    fn fetch(&self, entries: &mut [&mut Entry]) -> Result<(), ReadError> {
        let mut row_key = Vec::new();
        for entry in entries {
            let modified = entry.meta.modified;
            if let Some(change) = self.writer.overlay.get_exact(&entry.key, modified) {
                entry.value = Some(change.value.clone());
                continue;
            }
            row::row_key(&entry.key, modified, &mut row_key);
            let record = self.writer.mvcc.store.get(Family::Keys, &row_key)?;
            let record = record.ok_or_else(|| Damage::missing(Family::Keys, &row_key))?;
            entry.value = Some(Bytes::copy_from_slice(Record::decode(&row_key, &record)?.value));
        }
        Ok(())
    }
}

impl OverlayAt<'_> {
    /// The rarer ways: nothing changed in the range, or from its end to its start.
    fn visit_apart(
        &self,
        range: &KeyRange,
        direction: Direction,
        visit: &mut Visit<'_>,
    ) -> Result<(), ReadError> {
        if direction == Direction::Forward {
            return self.writer.mvcc.view().at(self.writer.base).visit(range, direction, visit);
        }
        let listed = select::entries(self, range, false)?;
        for entry in listed.iter().rev() {
            if visit(&entry.key, entry.meta, None).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// A deleted key is passed over.
fn show(change: &Change, visit: &mut Visit<'_>) -> ControlFlow<()> {
    if change.kind == Kind::Deleted {
        return ControlFlow::Continue(());
    }
    visit(&change.key, change.meta, Some(&change.value))
}
