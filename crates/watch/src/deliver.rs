//! From changes to replies: which groups hold which keys, one set of events for all of a group that want the same, and
//! then into the outboxes.

use mvcc::{Change, Changes, ReadError};
use types::Revision;

use crate::batch::{Batch, Events};
use crate::hub::Stream;
use crate::outbox::Pending;
use crate::watcher::{Taste, Watcher};
use crate::{Body, Hub, Limits, Reply};

impl Hub {
    /// What was just published. An error is damage, and ends the member.
    pub fn apply(&mut self, changes: Changes) -> Result<(), ReadError> {
        let Changes { after, until, list } = changes;
        // A snapshot was faster, or a reading of the present.
        if until <= self.seen {
            return Ok(());
        }
        self.missed(after);
        if self.synced.len() > 0 {
            for part in parts(list, &self.limits) {
                self.deliver(&mut Batch::new(part, Vec::new()), None)?;
            }
        }
        self.seen = until;
        Ok(())
    }

    /// Everything up to the last publication was not told, or some of it: who is synced gets it from the history.
    pub fn lost(&mut self) {
        self.missed(self.mvcc.revision());
    }

    /// Delivers to the synced ones or, of a piece that was looked at up to a revision, to the cohorts that take part.
    pub(crate) fn deliver(&mut self, batch: &mut Batch, until: Option<Revision>) -> Result<(), ReadError> {
        let index = if until.is_some() { &self.lagging } else { &self.synced };
        let mut hits: Vec<(u32, u32)> = Vec::new();
        for (at, key) in batch.keys().enumerate() {
            index.find(key, &mut |group| hits.push((group, at as u32)));
        }
        hits.sort_unstable();
        for of_group in hits.chunk_by(|one, other| one.0 == other.0) {
            self.deliver_to_group(batch, of_group, until)?;
        }
        self.flush();
        Ok(())
    }

    fn deliver_to_group(
        &mut self,
        batch: &mut Batch,
        hits: &[(u32, u32)],
        until: Option<Revision>,
    ) -> Result<(), ReadError> {
        let Self { synced, lagging, watchers, streams, cohorts, touched, mvcc, .. } = self;
        let Some(&(group, first)) = hits.first() else { return Ok(()) };
        let index = if until.is_some() { lagging } else { synced };
        let first = batch.revision(first);
        let mut shared: [Shared; Taste::COUNT] = Default::default();
        for &slot in index.members(group) {
            let watcher = &mut watchers[slot as usize];
            let mut from = watcher.from;
            if until.is_some() {
                let Some(cohort) = cohorts.all.get(watcher.cohort as usize) else { continue };
                if !cohort.takes_part {
                    continue;
                }
                from = cohort.next;
            }
            let taste = watcher.taste();
            let events = if from > first {
                batch.events(hits, taste, from, mvcc)?
            } else {
                let shared = &mut shared[taste.number()];
                if matches!(shared, Shared::Unmade) {
                    *shared = batch.events(hits, taste, from, mvcc)?.map_or(Shared::Nothing, Shared::Made);
                }
                match shared {
                    Shared::Made(events) => Some(events.clone()),
                    Shared::Unmade | Shared::Nothing => None,
                }
            };
            if let Some(events) = events {
                watcher.set_told(true);
                let stream = &mut streams[watcher.stream as usize];
                if stream.pending.is_empty() {
                    touched.push(watcher.stream);
                }
                add(stream, slot, watcher, events, until);
            }
        }
        Ok(())
    }

    /// Offers what is pending; who has no room has to wait for it.
    fn flush(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        for at in touched.drain(..) {
            let stream = &mut self.streams[at as usize];
            let mut pending = std::mem::take(&mut stream.pending);
            if let Some(waker) = stream.outbox.offer(&mut pending, &self.limits) {
                self.ringing.wake(waker, stream.outbox.bell());
            }
            for Pending { slot, reply, .. } in pending.drain(..) {
                if let Body::Events { events, .. } = reply.body
                    && let Some(first) = events.first()
                {
                    self.block(slot, first.event.kv.mod_revision);
                }
            }
            // The vector goes back, for the next time, unless it has become a large one.
            if pending.capacity() <= KEPT_MAX {
                self.streams[at as usize].pending = pending;
            }
        }
        self.ringing.done();
        self.touched = touched;
    }
}

/// The events of a batch for those of a group that want the same.
#[derive(Default)]
enum Shared {
    #[default]
    Unmade,
    Nothing,
    Made(Events),
}

/// A stream keeps room for so many replies from one delivery to the next.
const KEPT_MAX: usize = 64;

fn add(stream: &mut Stream, slot: u32, watcher: &Watcher, events: Events, until: Option<Revision>) {
    let (events, bytes) = events;
    let last = events.last().map(|last| last.event.kv.mod_revision);
    let revision = until.or(last).unwrap_or_default();
    // What a stream's watches share counts once. Those of a group that want the same come close together.
    let is_shared = |pending: &Pending| match &pending.reply.body {
        Body::Events { events: before, .. } => std::ptr::eq(before.as_ptr(), events.as_ptr()),
        _ => false,
    };
    let mut before = stream.pending.iter().rev().take(Taste::COUNT);
    let bytes = if before.any(is_shared) { 0 } else { bytes };
    let body = Body::Events { events, fragment: watcher.fragments() };
    stream.pending.push(Pending { slot, reply: Reply { id: watcher.id, revision, body }, bytes });
}

/// Changes in parts that are not too large for one reply. All of one revision are in one part.
fn parts(mut rest: Vec<Change>, limits: &Limits) -> Vec<Vec<Change>> {
    let mut parts = Vec::new();
    loop {
        let (mut bytes, mut last) = (0, None);
        let end = rest.iter().enumerate().position(|(at, change)| {
            let is_full = at >= limits.piece_changes_max || bytes >= limits.piece_bytes_max;
            if is_full && last != Some(change.revision()) {
                return true;
            }
            bytes += change.key().len() + change.value().len();
            last = Some(change.revision());
            false
        });
        let Some(end) = end else { break };
        let later = rest.split_off(end);
        parts.push(std::mem::replace(&mut rest, later));
    }
    parts.push(rest);
    parts
}
