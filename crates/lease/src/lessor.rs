//! What a leader knows of time: which leases are over, which is nobody's replicated state.
//!
//! Whoever leads begins with every lease as if it had just been renewed, or with what its last checkpoint left it.
//! A renewal moves the end of a lease in memory and nothing else. The time is an argument, in milliseconds of a clock
//! that never goes back; this file reads none.
//!
//! INVARIANT: a lease is handed out as over only by who leads in the term it was told, and only if its whole time went
//! by since it was granted, renewed last, or this leader began, in rounds without a stall.
//! INVARIANT: what is handed out as over is not renewed until it is taken back.
//!
//! A lease with a deadline (a v2 node's time) ends by the wall clock instead, until somebody renews it: that makes it a
//! lease like any other, in the log, before the renewal counts.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use types::v2::Timestamp;
use types::{Index, LeaseId, Term};

use crate::table::Terms;

/// Rounds that are further apart than this are a stall, in ms: renewals may have waited in vain meanwhile.
pub const STALL_MS: u64 = 1000;
const NS_PER_MS: i64 = 1_000_000;

/// A lease that is to be ended, or whose time is to be written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Which lease.
    pub id: LeaseId,
    /// When it was granted: a later one of the same id is another.
    pub born: Index,
}

/// What a leader lets be written down of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which lease.
    pub lease: Ending,
    /// The time that it has left, in seconds.
    pub remaining: i64,
}

/// What became of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// It lives for this many seconds from now.
    Renewed(i64),
    /// There is no such lease.
    Missing,
    /// It is over and about to be removed, unless the removal fails: ask again when that is known.
    Ending,
    /// A checkpoint says that it has less than its whole time, or a deadline: that has to be taken back first.
    Checkpointed(Ending),
}

/// How much work may be handed out at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portion {
    /// Leases.
    pub leases_max: usize,
    /// Keys that end with them. A lease that has more comes alone.
    pub keys_max: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Lessor {
    /// The term in which this member leads, as far as it was told.
    term: Option<Term>,
    leases: HashMap<LeaseId, Entry>,
    /// When a lease is to be looked at: never after its end.
    ends: Queue,
    /// The same for checkpoints. Empty without them.
    checkpoints: Queue,
    checkpoint_every_ms: Option<u64>,
    round_ms: u64,
    behind: bool,
    /// The wall clock when the clock of this was at zero.
    wall_at_zero_ms: i64,
}

type Queue = BinaryHeap<Reverse<(u64, LeaseId, Index)>>;

#[derive(Clone, Copy, Debug)]
struct Entry {
    born: Index,
    ttl: i64,
    ends_ms: u64,
    /// When its time was last full or written down.
    noted_ms: u64,
    ending: bool,
    checkpointed: bool,
    /// It has a deadline, which no new reign and no stall moves.
    fixed: bool,
}

impl Lessor {
    /// Leads nowhere. With checkpoints, each lease that outlives such an interval is written down so often.
    pub fn new(checkpoint_every_ms: Option<u64>) -> Self {
        Self { checkpoint_every_ms, ..Self::default() }
    }

    /// A round: to be called a few times each second with the term in which this member is confirmed as the leader,
    /// having applied everything from before it. `behind`: applying lags, so that renewals wait. `list` tells the
    /// leases of now, and is asked when a reign begins.
    pub fn round(
        &mut self,
        now_ms: u64,
        leads: Option<Term>,
        behind: bool,
        list: impl FnOnce() -> Vec<(LeaseId, Terms)>,
    ) {
        let stalled = now_ms.saturating_sub(self.round_ms) > STALL_MS || self.behind && !behind;
        (self.round_ms, self.behind) = (now_ms, behind);
        if leads != self.term {
            self.term = leads;
            self.forget();
            if leads.is_some() {
                for (id, terms) in list() {
                    self.enter(id, &terms, now_ms, terms.to_live());
                }
            }
        } else if stalled {
            self.extend(now_ms);
        }
    }

    /// Told before what has a deadline is entered: both clocks, now.
    pub fn set_wall(&mut self, now_ms: u64, wall: Timestamp) {
        self.wall_at_zero_ms = (wall.0 / NS_PER_MS).saturating_sub_unsigned(now_ms);
    }

    /// The term in which this member leads.
    pub fn term(&self) -> Option<Term> {
        self.term
    }

    /// A lease was granted.
    pub fn granted(&mut self, id: LeaseId, terms: &Terms, now_ms: u64) {
        if self.term.is_some() && self.leases.get(&id).is_none_or(|entry| entry.born < terms.born) {
            self.enter(id, terms, now_ms, terms.ttl);
        }
    }

    /// A lease has ended.
    pub fn ended(&mut self, lease: Ending) {
        if self.leases.get(&lease.id).is_some_and(|entry| entry.born == lease.born) {
            self.leases.remove(&lease.id);
        }
    }

    /// A checkpoint was written down.
    pub fn checkpointed(&mut self, checkpoint: &Checkpoint) {
        if let Some(entry) = self.entry(checkpoint.lease) {
            entry.checkpointed = checkpoint.remaining > 0;
            entry.fixed &= entry.checkpointed;
        }
    }

    /// Gives a lease its whole time again.
    pub fn renew(&mut self, id: LeaseId, now_ms: u64) -> Renewal {
        let Some(entry) = self.leases.get_mut(&id) else { return Renewal::Missing };
        if entry.ending {
            return Renewal::Ending;
        }
        if entry.checkpointed || entry.fixed {
            return Renewal::Checkpointed(Ending { id, born: entry.born });
        }
        entry.ends_ms = end(now_ms, entry.ttl);
        entry.noted_ms = now_ms;
        Renewal::Renewed(entry.ttl)
    }

    /// How long a lease has left, in ms.
    pub fn remaining_ms(&self, id: LeaseId, now_ms: u64) -> Option<u64> {
        self.leases.get(&id).map(|entry| entry.ends_ms.saturating_sub(now_ms))
    }

    /// Hands out leases that are over. `keys` tells how many keys end with one.
    pub fn due(
        &mut self,
        now_ms: u64,
        portion: Portion,
        mut keys: impl FnMut(LeaseId) -> usize,
    ) -> Vec<Ending> {
        let mut due = Vec::new();
        let mut keys_left = portion.keys_max;
        while !self.behind
            && due.len() < portion.leases_max
            && let Some(Reverse((at, id, born))) = self.ends.peek().copied()
            && at <= now_ms
        {
            let lease = Ending { id, born };
            let Some(entry) = self.leases.get_mut(&id).filter(|entry| entry.born == born && !entry.ending)
            else {
                self.ends.pop();
                continue;
            };
            if entry.ends_ms > now_ms {
                let ends_ms = entry.ends_ms;
                self.ends.pop();
                self.ends.push(Reverse((ends_ms, id, born)));
                continue;
            }
            let keys = keys(id);
            if keys > keys_left && !due.is_empty() {
                break;
            }
            keys_left = keys_left.saturating_sub(keys);
            entry.ending = true;
            self.ends.pop();
            due.push(lease);
        }
        due
    }

    /// Takes back what was handed out as over: it certainly was not ended.
    pub fn take_back(&mut self, endings: &[Ending]) {
        for lease in endings {
            if let Some(entry) = self.entry(*lease).filter(|entry| entry.ending) {
                entry.ending = false;
                let at = entry.ends_ms;
                self.ends.push(Reverse((at, lease.id, lease.born)));
            }
        }
    }

    /// Hands out leases whose time is to be written down.
    pub fn checkpoints(&mut self, now_ms: u64, count_max: usize) -> Vec<Checkpoint> {
        let Some(every_ms) = self.checkpoint_every_ms else { return Vec::new() };
        let mut checkpoints = Vec::new();
        while checkpoints.len() < count_max
            && let Some(Reverse((at, id, born))) = self.checkpoints.peek().copied()
            && at <= now_ms
        {
            self.checkpoints.pop();
            let lease = Ending { id, born };
            let Some(entry) = self.entry(lease).filter(|entry| !entry.ending) else { continue };
            if entry.noted_ms + every_ms <= now_ms && entry.ends_ms > now_ms {
                let remaining = i64::try_from((entry.ends_ms - now_ms).div_ceil(1000)).unwrap_or(i64::MAX);
                // From now on a renewal has to take it back, whether or not it gets there.
                (entry.noted_ms, entry.checkpointed) = (now_ms, true);
                checkpoints.push(Checkpoint { lease, remaining });
            }
            let again = entry.noted_ms + every_ms;
            self.checkpoints.push(Reverse((again, id, born)));
        }
        checkpoints
    }

    fn enter(&mut self, id: LeaseId, terms: &Terms, now_ms: u64, to_live: i64) {
        let Terms { ttl, remaining, born, deadline } = *terms;
        let ends_ms = match deadline {
            // Rounded up: nothing goes before its time.
            Some(at) => {
                let at_ms = (at.0 / NS_PER_MS).saturating_add(1).saturating_sub(self.wall_at_zero_ms);
                u64::try_from(at_ms).unwrap_or(0).max(now_ms)
            }
            None => end(now_ms, to_live),
        };
        let fixed = deadline.is_some();
        let checkpointed = remaining > 0;
        let entry = Entry { born, ttl, ends_ms, noted_ms: now_ms, ending: false, checkpointed, fixed };
        self.leases.insert(id, entry);
        self.ends.push(Reverse((ends_ms, id, born)));
        if let Some(every_ms) = self.checkpoint_every_ms
            && end(0, ttl) > every_ms
            && !fixed
        {
            self.checkpoints.push(Reverse((now_ms + every_ms, id, born)));
        }
    }

    /// Gives every lease its time again.
    fn extend(&mut self, now_ms: u64) {
        for entry in self.leases.values_mut().filter(|entry| !entry.fixed) {
            entry.ends_ms = entry.ends_ms.max(end(now_ms, entry.ttl));
        }
    }

    fn entry(&mut self, lease: Ending) -> Option<&mut Entry> {
        self.leases.get_mut(&lease.id).filter(|entry| entry.born == lease.born)
    }

    fn forget(&mut self) {
        self.leases.clear();
        self.ends.clear();
        self.checkpoints.clear();
    }
}

fn end(now_ms: u64, seconds: i64) -> u64 {
    now_ms.saturating_add(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000))
}
