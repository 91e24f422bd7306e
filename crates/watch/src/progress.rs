//! Progress: saying that nothing is missing up to a revision.
//!
//! A stream has got everything up to what the synced ones have got when none of its watches lags.

use std::time::Instant;

use types::{Revision, WatchId};

use crate::hub::StreamId;
use crate::{Body, Hub};

impl Hub {
    /// A stream asks for one progress reply about all its watches. One that comes while another is owed is the same.
    pub fn progress(&mut self, stream: StreamId) {
        let Some(at) = self.stream_at(stream) else { return };
        let current = self.catch_up();
        self.streams[at as usize].owed = Some(current);
        self.owed.insert(at);
    }

    /// Pays what progress replies are owed and can be given. To be called after anything else.
    pub fn settle(&mut self) {
        if self.owed.is_empty() {
            return;
        }
        self.catch_up();
        let seen = self.seen;
        let can_be_paid = |at: &u32| {
            let stream = &self.streams[*at as usize];
            stream.lagging == 0 && stream.owed.is_some_and(|owed| owed <= seen)
        };
        let paid: Vec<u32> = self.owed.iter().copied().filter(can_be_paid).collect();
        for at in paid {
            self.owed.remove(&at);
            self.streams[at as usize].owed = None;
            self.say(at, WatchId::NONE, seen, Body::Progress);
        }
    }

    /// When [`Hub::tick`] is due.
    pub fn next_tick(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Tells the watches whose time has come, and that got nothing meanwhile, that nothing happened.
    pub fn tick(&mut self, now: Instant) {
        while let Some(&(due, at)) = self.due.first()
            && due <= now
        {
            self.due.pop_first();
            self.streams[at as usize].due = None;
            self.notify(at);
            if !self.streams[at as usize].notified.is_empty() {
                self.set_due(at, now);
            }
        }
    }

    fn notify(&mut self, at: u32) {
        let seen: Revision = self.seen;
        let slots: Vec<u32> = self.streams[at as usize].notified.iter().copied().collect();
        for slot in slots {
            let watcher = &mut self.watchers[slot as usize];
            let was_told = watcher.was_told();
            watcher.set_told(false);
            // One that begins in the future would begin too early if its client began anew from here.
            if !was_told && !watcher.is_lagging() && watcher.from <= seen.next() {
                let id = watcher.id;
                self.say(at, id, seen, Body::Progress);
            }
        }
    }

    /// A stream is told from now on, if it is not yet: not all streams at the same moment.
    pub(crate) fn set_due(&mut self, at: u32, now: Instant) {
        let every = self.limits.progress_every;
        let stream = &mut self.streams[at as usize];
        if stream.due.is_none() {
            let part = u32::try_from(stream.id.0 % 64).unwrap_or(0);
            let due = now + every + every / 640 * part;
            stream.due = Some(due);
            self.due.insert((due, at));
        }
    }
}
