//! All watches of a member, and what is asked of them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use hashbrown::DefaultHashBuilder;
use mvcc::Mvcc;
use slab::Slab;
use stdx::Ringing;
use types::{Revision, WatchId, WatchSpec};

use crate::index::Index;
use crate::lagging::Cohorts;
use crate::numbers::Numbers;
use crate::outbox::Pending;
use crate::shelf::Shelf;
use crate::watcher::{NOWHERE, Watcher};
use crate::{Body, End, Limits, Outbox, Reply};

/// Why a watch cannot be made; the first two in etcd's words.
const DUPLICATE: &str = "mvcc: duplicate watch ID provided on the WatchStream";
const EMPTY: &str = "mvcc: watcher range is empty";
const TOO_MANY: &str = "kvorum: too many watches";

/// A stream of watches; a number is never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// How many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Streams.
    pub streams: usize,
    /// Watches.
    pub watches: usize,
    /// Watches that lag.
    pub lagging: usize,
    /// Streams that a progress reply is owed to.
    pub owed: usize,
}

/// A stream, and its watches by their numbers.
pub(crate) struct Stream {
    pub(crate) id: StreamId,
    pub(crate) outbox: Arc<Outbox>,
    requires_leader: bool,
    watches: Numbers,
    next: i64,
    /// How many of its watches lag, and which of them wait for room.
    pub(crate) lagging: usize,
    pub(crate) blocked: Vec<u32>,
    /// Replies that have yet to be offered.
    pub(crate) pending: Vec<Pending>,
    /// Watches that want to know when nothing happens, and when they are told next.
    pub(crate) notified: BTreeSet<u32>,
    pub(crate) due: Option<Instant>,
    /// A progress reply is owed, at this revision or later.
    pub(crate) owed: Option<Revision>,
}

/// See the module.
pub struct Hub {
    pub(crate) mvcc: Arc<Mvcc>,
    pub(crate) limits: Limits,
    /// What the synced ones have got.
    pub(crate) seen: Revision,
    pub(crate) watchers: Shelf<Watcher>,
    pub(crate) synced: Index,
    pub(crate) lagging: Index,
    pub(crate) cohorts: Cohorts,
    pub(crate) streams: Slab<Stream>,
    by_id: HashMap<StreamId, u32>,
    hasher: DefaultHashBuilder,
    /// Streams with something pending.
    pub(crate) touched: Vec<u32>,
    pub(crate) ringing: Ringing,
    /// Streams by when they are told that nothing happened.
    pub(crate) due: BTreeSet<(Instant, u32)>,
    /// Streams that a progress reply is owed to.
    pub(crate) owed: BTreeSet<u32>,
}

impl Hub {
    /// Nobody watches yet.
    pub fn new(mvcc: Arc<Mvcc>, limits: Limits) -> Self {
        Self {
            seen: mvcc.revision(),
            mvcc,
            limits,
            watchers: Shelf::default(),
            synced: Index::default(),
            lagging: Index::default(),
            cohorts: Cohorts::default(),
            streams: Slab::new(),
            by_id: HashMap::new(),
            hasher: DefaultHashBuilder::default(),
            touched: Vec::new(),
            ringing: Ringing::default(),
            due: BTreeSet::new(),
            owed: BTreeSet::new(),
        }
    }

    /// How many there are.
    pub fn counts(&self) -> Counts {
        Counts {
            streams: self.streams.len(),
            watches: self.watchers.len(),
            lagging: self.lagging.len(),
            owed: self.owed.len(),
        }
    }

    /// How many events wait in outboxes. Looks at every stream.
    pub fn events_pending(&self) -> usize {
        self.streams.iter().map(|(_, stream)| stream.outbox.pending()).sum()
    }

    /// A stream begins.
    pub fn open(&mut self, id: StreamId, outbox: Arc<Outbox>, requires_leader: bool) {
        let stream = Stream {
            id,
            outbox,
            requires_leader,
            watches: Numbers::default(),
            next: 0,
            lagging: 0,
            blocked: Vec::new(),
            pending: Vec::new(),
            notified: BTreeSet::new(),
            due: None,
            owed: None,
        };
        let at = self.streams.insert(stream) as u32;
        self.by_id.insert(id, at);
    }

    /// A stream has ended.
    pub fn close(&mut self, id: StreamId) {
        let Some(at) = self.by_id.remove(&id) else { return };
        let watches = std::mem::take(&mut self.streams[at as usize].watches);
        for slot in watches {
            self.take_out(slot);
        }
        let stream = self.streams.remove(at as usize);
        self.owed.remove(&at);
        if let Some(due) = stream.due {
            self.due.remove(&(due, at));
        }
    }

    /// Ends streams, all of them or those that want a leader.
    pub fn end(&mut self, end: End, all: bool) {
        for (_, stream) in &self.streams {
            if all || stream.requires_leader {
                stream.outbox.end(end);
            }
        }
    }

    /// Has the reader of every stream look up, though there may be nothing for it.
    pub fn rouse(&self) {
        for (_, stream) in &self.streams {
            stream.outbox.rouse();
        }
    }

    /// A watch begins. `now` is for those that want to know when nothing happens.
    pub fn create(&mut self, stream: StreamId, spec: &WatchSpec, now: Instant) {
        let Some(&at) = self.by_id.get(&stream) else { return };
        let current = self.catch_up();
        let id = match self.admit(at, spec) {
            Ok(id) => id,
            Err(why) => return self.say(at, WatchId::NONE, current, Body::Refused(why)),
        };
        let from = spec.start.unwrap_or(current.next());
        self.say(at, id, current, Body::Created);
        let compacted = self.mvcc.compacted();
        // Zero stands for what was before everything, which is always forgotten.
        if from < compacted || from == Revision(0) {
            return self.say(at, id, Revision(0), Body::Canceled { compacted: Some(compacted) });
        }
        let slot = self.watchers.insert(Watcher::new(id, at, from, spec)) as u32;
        let stream = &mut self.streams[at as usize];
        stream.watches.insert(slot, &self.watchers, &self.hasher);
        if spec.progress_notify {
            stream.notified.insert(slot);
            self.set_due(at, now);
        }
        self.place(slot, &spec.range, from <= current);
        if from <= current {
            self.enter_cohort(slot, from);
        }
    }

    /// Ends a watch, if it is there.
    pub fn cancel(&mut self, stream: StreamId, id: WatchId) {
        let Some(&at) = self.by_id.get(&stream) else { return };
        if let Some(slot) = self.streams[at as usize].watches.remove(id, &self.watchers, &self.hasher) {
            self.take_out(slot);
            self.say(at, id, self.mvcc.revision(), Body::Canceled { compacted: None });
        }
    }

    /// A stream's reader has made room.
    pub fn room(&mut self, stream: StreamId) {
        let Some(&at) = self.by_id.get(&stream) else { return };
        for slot in std::mem::take(&mut self.streams[at as usize].blocked) {
            self.watchers[slot as usize].set_blocked(false);
            self.enter_cohort(slot, self.watchers[slot as usize].from);
        }
    }

    pub(crate) fn stream_at(&self, id: StreamId) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    /// The current revision. With nobody synced, nobody has missed anything up to it.
    pub(crate) fn catch_up(&mut self) -> Revision {
        let current = self.mvcc.revision();
        if self.synced.len() == 0 {
            self.seen = self.seen.max(current);
        }
        current
    }

    fn admit(&mut self, at: u32, spec: &WatchSpec) -> Result<WatchId, &'static str> {
        let Self { watchers, hasher, streams, limits, .. } = self;
        let stream = &mut streams[at as usize];
        let is_taken = |stream: &Stream, id| stream.watches.contains(id, watchers, hasher);
        if spec.range.is_empty() {
            return Err(EMPTY);
        }
        if spec.id.is_some_and(|id| is_taken(stream, id)) {
            return Err(DUPLICATE);
        }
        if watchers.len() >= limits.watches_max || stream.watches.len() >= limits.watches_per_stream_max {
            return Err(TOO_MANY);
        }
        Ok(spec.id.unwrap_or_else(|| {
            while is_taken(stream, WatchId(stream.next)) {
                stream.next += 1;
            }
            stream.next += 1;
            WatchId(stream.next - 1)
        }))
    }

    /// Puts a reply that is not about events into a stream's outbox.
    pub(crate) fn say(&self, at: u32, id: WatchId, revision: Revision, body: Body) {
        self.streams[at as usize].outbox.say(Reply { id, revision, body }, &self.limits);
    }

    /// Cancels a watch that wants what was forgotten.
    pub(crate) fn forget(&mut self, slot: u32, compacted: Revision) {
        let Watcher { id, stream, .. } = self.watchers[slot as usize];
        self.streams[stream as usize].watches.remove(id, &self.watchers, &self.hasher);
        self.take_out(slot);
        self.say(stream, id, Revision(0), Body::Canceled { compacted: Some(compacted) });
    }

    /// Puts a watch into one of the indexes.
    pub(crate) fn place(&mut self, slot: u32, range: &types::KeyRange, lags: bool) {
        let index = if lags { &mut self.lagging } else { &mut self.synced };
        let (group, place) = index.insert(range, slot);
        let watcher = &mut self.watchers[slot as usize];
        (watcher.group, watcher.place) = (group, place);
        watcher.set_lagging(lags);
        if lags {
            let taste = watcher.taste();
            self.streams[watcher.stream as usize].lagging += 1;
            self.cohorts.wanting_previous += usize::from(taste.wants_previous());
        }
    }

    /// Takes a watch out of the index that it is in.
    pub(crate) fn displace(&mut self, slot: u32) {
        let Watcher { group, place, stream, .. } = self.watchers[slot as usize];
        let lags = self.watchers[slot as usize].is_lagging();
        let index = if lags { &mut self.lagging } else { &mut self.synced };
        if let Some(moved) = index.remove(group, place) {
            self.watchers[moved as usize].place = place;
        }
        if lags {
            self.streams[stream as usize].lagging -= 1;
            let taste = self.watchers[slot as usize].taste();
            self.cohorts.wanting_previous -= usize::from(taste.wants_previous());
        }
    }

    /// Moves a watch from one index into the other.
    pub(crate) fn move_over(&mut self, slot: u32, lags: bool) {
        let watcher = &self.watchers[slot as usize];
        let index = if watcher.is_lagging() { &self.lagging } else { &self.synced };
        let range = index.range_of(watcher.group);
        self.displace(slot);
        self.place(slot, &range, lags);
    }

    /// Removes all traces of a watch but the one in its stream's table.
    fn take_out(&mut self, slot: u32) {
        self.leave_cohort(slot);
        self.leave_blocked(slot);
        self.displace(slot);
        let watcher = self.watchers.remove(slot as usize);
        if watcher.is_notified() {
            self.streams[watcher.stream as usize].notified.remove(&slot);
        }
    }

    /// Takes a watch out of those that wait for room.
    pub(crate) fn leave_blocked(&mut self, slot: u32) {
        let watcher = &mut self.watchers[slot as usize];
        if !watcher.is_blocked() {
            return;
        }
        watcher.set_blocked(false);
        let seat = watcher.seat;
        let blocked = &mut self.streams[watcher.stream as usize].blocked;
        blocked.swap_remove(seat as usize);
        if let Some(&moved) = blocked.get(seat as usize) {
            self.watchers[moved as usize].seat = seat;
        }
    }

    /// A watch waits for room in its stream; `from` is the first event that it has not got.
    pub(crate) fn block(&mut self, slot: u32, from: Revision) {
        if self.watchers[slot as usize].is_lagging() {
            self.leave_cohort(slot);
        } else {
            self.move_over(slot, true);
        }
        let watcher = &mut self.watchers[slot as usize];
        watcher.from = from;
        watcher.cohort = NOWHERE;
        watcher.set_blocked(true);
        let blocked = &mut self.streams[watcher.stream as usize].blocked;
        watcher.seat = blocked.len() as u32;
        blocked.push(slot);
    }
}
