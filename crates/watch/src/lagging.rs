//! Watches that lag: cohorts of them, and the one reading of the history that serves them all.
//!
//! The reading goes through the history like a lift: from where it is to the end, taking along whom it meets, and
//! then again from the first who waits. So everybody gets there, however many begin anew behind it.

use std::collections::BTreeMap;
use std::sync::Arc;

use mvcc::{Mvcc, Piece, ReadError};
use slab::Slab;
use types::Revision;

use crate::batch::Batch;
use crate::watcher::NOWHERE;
use crate::{Hub, Limits};

/// Watches that have got everything before the same revision.
pub(crate) struct Cohort {
    /// What they get next.
    pub(crate) next: Revision,
    members: Vec<u32>,
    /// It takes part in what is being delivered.
    pub(crate) takes_part: bool,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Cohorts {
    pub(crate) all: Slab<Cohort>,
    by_next: BTreeMap<Revision, u32>,
    /// Where the reading is, and whether it is under way.
    position: Revision,
    is_reading: bool,
    /// How many lagging watches want to know what was replaced.
    pub(crate) wanting_previous: usize,
}

/// A piece of the history that is to be read.
pub struct Fetch {
    mvcc: Arc<Mvcc>,
    from: Revision,
    previous: bool,
    limits: Limits,
}

/// What was read.
pub struct Fetched(Result<Piece, ReadError>);

impl Fetch {
    /// Reads it; may take as long as the disk does.
    pub fn run(self) -> Fetched {
        let Limits { piece_changes_max, piece_bytes_max, .. } = self.limits;
        Fetched(self.mvcc.changes(self.from, piece_changes_max, piece_bytes_max, self.previous))
    }
}

impl Hub {
    /// What should be read next for those that lag, if something should and is not being read. What comes of it goes
    /// to [`Hub::fetched`].
    pub fn wanted(&mut self) -> Option<Fetch> {
        let cohorts = &mut self.cohorts;
        if cohorts.is_reading {
            return None;
        }
        let ahead = cohorts.by_next.range(cohorts.position..).next();
        let (&from, _) = ahead.or_else(|| cohorts.by_next.first_key_value())?;
        cohorts.is_reading = true;
        cohorts.position = from;
        let previous = cohorts.wanting_previous > 0;
        Some(Fetch { mvcc: Arc::clone(&self.mvcc), from, previous, limits: self.limits })
    }

    /// A piece of the history was read. An error is damage, and ends the member.
    pub fn fetched(&mut self, fetched: Fetched) -> Result<(), ReadError> {
        self.cohorts.is_reading = false;
        let piece = match fetched.0 {
            Ok(piece) => piece,
            Err(ReadError::Compacted) => {
                self.forget_cohorts();
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let Some((cohort, until)) = self.advance(piece)? else { return Ok(()) };
        if until >= self.seen {
            self.join(cohort, until);
        } else if self.seen.0 - until.0 <= self.limits.join_revisions_max {
            self.close_gap(cohort, until)?;
        }
        Ok(())
    }

    /// The history is another one from now on: a snapshot was installed. What it tells of the past is the same.
    pub fn replace(&mut self, mvcc: Arc<Mvcc>) {
        let current = mvcc.revision();
        self.mvcc = mvcc;
        self.missed(current);
    }

    /// Changes up to a revision never came here: who was synced gets them from the history.
    pub(crate) fn missed(&mut self, until: Revision) {
        if until <= self.seen {
            return;
        }
        let missed = |watcher: &crate::watcher::Watcher| !watcher.is_lagging() && watcher.from <= until;
        let slots: Vec<u32> = self
            .watchers
            .iter()
            .filter(|(_, watcher)| missed(watcher))
            .map(|(slot, _)| slot as u32)
            .collect();
        let next = self.seen.next();
        for slot in slots {
            self.move_over(slot, true);
            self.enter_cohort(slot, self.watchers[slot as usize].from.max(next));
        }
        self.seen = until;
    }

    /// A lagging watch wants everything from a revision on.
    pub(crate) fn enter_cohort(&mut self, slot: u32, next: Revision) {
        let Cohorts { all, by_next, .. } = &mut self.cohorts;
        let cohort = *by_next
            .entry(next)
            .or_insert_with(|| all.insert(Cohort { next, members: Vec::new(), takes_part: false }) as u32);
        let members = &mut all[cohort as usize].members;
        let watcher = &mut self.watchers[slot as usize];
        (watcher.cohort, watcher.seat) = (cohort, members.len() as u32);
        members.push(slot);
    }

    /// Takes a watch out of its cohort, if it is in one.
    pub(crate) fn leave_cohort(&mut self, slot: u32) {
        let watcher = &mut self.watchers[slot as usize];
        let (cohort, seat) = (watcher.cohort, watcher.seat);
        if cohort == NOWHERE {
            return;
        }
        watcher.cohort = NOWHERE;
        let cohorts = &mut self.cohorts;
        let Cohort { next, members, takes_part } = &mut cohorts.all[cohort as usize];
        members.swap_remove(seat as usize);
        if let Some(&moved) = members.get(seat as usize) {
            self.watchers[moved as usize].seat = seat;
        } else if members.is_empty() && !*takes_part {
            cohorts.by_next.remove(next);
            cohorts.all.remove(cohort as usize);
        }
    }

    /// Delivers a piece to the cohorts that want some of it, which become one. That one, and up to where it is.
    fn advance(&mut self, piece: Piece) -> Result<Option<(u32, Revision)>, ReadError> {
        let Piece { from, until, list, previous } = piece;
        let cohorts = &mut self.cohorts;
        let reached: Vec<u32> = cohorts.by_next.range(from..=until.max(from)).map(|(_, at)| *at).collect();
        for at in &reached {
            let cohort = &mut cohorts.all[*at as usize];
            cohort.takes_part = true;
            cohorts.by_next.remove(&cohort.next);
        }
        cohorts.position = until.next();
        if reached.is_empty() {
            return Ok(None);
        }
        self.deliver(&mut Batch::new(list, previous), Some(until))?;
        Ok(self.unite(reached, until.next()).map(|cohort| (cohort, until)))
    }

    /// Makes one cohort of several, and of who is there already; nothing, if nobody is left in them.
    fn unite(&mut self, mut cohorts: Vec<u32>, next: Revision) -> Option<u32> {
        cohorts.extend(self.cohorts.by_next.remove(&next));
        let all = &mut self.cohorts.all;
        let size = |at: &&u32| all[**at as usize].members.len();
        let into = *cohorts.iter().max_by_key(size)?;
        for at in cohorts.iter().filter(|at| **at != into) {
            for slot in all.remove(*at as usize).members {
                let members = &mut all[into as usize].members;
                let watcher = &mut self.watchers[slot as usize];
                (watcher.cohort, watcher.seat) = (into, members.len() as u32);
                members.push(slot);
            }
        }
        let cohort = &mut all[into as usize];
        (cohort.next, cohort.takes_part) = (next, false);
        if cohort.members.is_empty() {
            all.remove(into as usize);
            return None;
        }
        self.cohorts.by_next.insert(next, into);
        Some(into)
    }

    /// What came in while the last piece was read is little: it is read at once, so that who lags can join.
    fn close_gap(&mut self, cohort: u32, until: Revision) -> Result<(), ReadError> {
        let Limits { piece_changes_max, piece_bytes_max, .. } = self.limits;
        let from = until.next();
        debug_assert_eq!(self.cohorts.all[cohort as usize].next, from, "a cohort is where its piece ended");
        match self.mvcc.changes(from, piece_changes_max, piece_bytes_max, self.cohorts.wanting_previous > 0) {
            Ok(piece) => {
                if let Some((cohort, until)) = self.advance(piece)?
                    && until >= self.seen
                {
                    self.join(cohort, until);
                }
                Ok(())
            }
            // The next reading meets it again.
            Err(ReadError::Compacted) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A cohort has got everything that the synced ones have: its watches are synced from now on.
    fn join(&mut self, cohort: u32, until: Revision) {
        let Cohort { next, members, .. } = self.cohorts.all.remove(cohort as usize);
        self.cohorts.by_next.remove(&next);
        for slot in members {
            let watcher = &mut self.watchers[slot as usize];
            watcher.cohort = NOWHERE;
            // It may have got more than the synced ones.
            watcher.from = until.next();
            self.move_over(slot, false);
        }
    }

    /// Cancels who wants what was forgotten.
    fn forget_cohorts(&mut self) {
        let compacted = self.mvcc.compacted();
        while let Some((&next, &at)) = self.cohorts.by_next.first_key_value()
            && next < compacted
        {
            self.cohorts.by_next.remove(&next);
            let members = std::mem::take(&mut self.cohorts.all[at as usize].members);
            self.cohorts.all.remove(at as usize);
            for slot in members {
                self.watchers[slot as usize].cohort = NOWHERE;
                self.forget(slot, compacted);
            }
        }
    }
}
