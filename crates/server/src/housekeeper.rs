//! Makes room, off the path of any request: flushes the database so that the log can go, lets the log go as far as
//! nobody is likely to ask for it, and removes compacted history in small steps.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use apply::Position;
use consensus::Mailbox;
use stdx::{Clock, chain};
use store::Store;
use types::{Index, Revision};

use crate::depot::Depot;
use crate::member::House;
use crate::work::WorkMeasures;

/// How often it looks when there is nothing to sweep.
const ROUND: Duration = Duration::from_millis(200);
/// The pause between two steps of a sweep: requests go first.
const SWEEP_PAUSE: Duration = Duration::from_millis(2);
/// Keys that one step of a sweep looks at.
const SWEEP_KEYS_MAX: usize = 1_000;
/// What is kept of the log is known to this part of it.
pub(crate) const MILESTONES: u64 = 16;

/// What may take room.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Space {
    /// The database is flushed when this many bytes of log would have to be replayed.
    pub(crate) replay_bytes_max: u64,
    /// So many bytes of log are kept for members that are behind.
    pub(crate) log_bytes_kept: u64,
}

/// What earlier lives left in the log.
pub(crate) struct Inherited {
    // How many bytes of log there are before an index, oldest first.
    milestones: VecDeque<(Index, u64)>,
    bytes: u64,
}

impl Inherited {
    /// Looks at a log that was applied up to `applied`.
    pub(crate) fn of(log: &wal::WalReader, applied: Index, log_bytes_kept: u64) -> Self {
        let known = log.milestones((log_bytes_kept / MILESTONES).max(1));
        let is_applied = |&(index, _): &(u64, u64)| index <= applied.0;
        let mut milestones: VecDeque<_> =
            known.into_iter().take_while(is_applied).map(|(index, bytes)| (Index(index), bytes)).collect();
        let bytes = milestones.back().map_or(0, |(_, bytes)| *bytes);
        if milestones.is_empty() {
            milestones.push_back((applied, 0));
        }
        Self { milestones, bytes }
    }
}

/// Where sweeps are noted.
pub(crate) struct SweepLog {
    pub(crate) work: WorkMeasures,
    pub(crate) clock: Arc<dyn Clock>,
}

/// Runs until the box is closed; nothing is ever put into it.
pub(crate) fn run(
    house: &House,
    depot: &Depot,
    space: Space,
    inherited: Inherited,
    log: SweepLog,
    stop: &Mailbox<()>,
) {
    let Inherited { milestones, bytes: inherited_bytes } = inherited;
    let mut keeper = Keeper {
        house,
        depot,
        space,
        milestones,
        inherited_bytes,
        released: Index(0),
        flushed_bytes: 0,
        swept: None,
        sweeping: None,
        log,
    };
    let mut nothing = Vec::new();
    let mut next = Instant::now();
    while stop.take(&mut nothing, Some(next)) {
        match keeper.round() {
            Ok(pause) => next = Instant::now() + pause,
            Err(reason) => return house.shared.fail(reason),
        }
    }
}

struct Keeper<'a> {
    house: &'a House,
    depot: &'a Depot,
    space: Space,
    // How many bytes of log had been applied at an index, oldest first, counted from the log's beginning at the start.
    milestones: VecDeque<(Index, u64)>,
    // So many of them before this life.
    inherited_bytes: u64,
    released: Index,
    // Bytes of log that had been applied when the database was last flushed.
    flushed_bytes: u64,
    // The compaction whose history is gone, and from which database: a snapshot brings another.
    swept: Option<(Revision, Weak<Store>)>,
    // When the sweep that is under way began.
    sweeping: Option<Instant>,
    log: SweepLog,
}

impl Keeper<'_> {
    fn round(&mut self) -> Result<Duration, String> {
        let rooms = self.house.wing.enter();
        let (applied, applied_bytes) = (self.house.shared.applied(), self.house.shared.applied_bytes());
        if applied_bytes - self.flushed_bytes > self.space.replay_bytes_max {
            rooms.store.flush().map_err(|error| chain(&error))?;
            self.flushed_bytes = applied_bytes;
        }
        self.note(applied, self.inherited_bytes + applied_bytes);
        // RocksDB flushes by itself too, when its memory is full.
        let flushed = Position::load_flushed(&rooms.store).map_err(|error| chain(&error))?;
        if let Some(position) = flushed {
            let is_alone = rooms.members.list().len() == 1;
            let end = if is_alone { position.index } else { self.end_for_others(position.index) };
            let end = end.min(self.house.shared.archived());
            if end > self.released {
                self.released = end;
                self.house.driver.release(end);
                self.house.shared.set_released(end);
            }
        }
        drop(rooms);
        self.sweep()
    }

    fn note(&mut self, applied: Index, applied_bytes: u64) {
        let step = self.space.log_bytes_kept / MILESTONES;
        if self.milestones.back().is_none_or(|(_, bytes)| applied_bytes > bytes + step) {
            self.milestones.push_back((applied, applied_bytes));
        }
        // The oldest one that is kept is the last before which nothing is needed.
        let is_spent = |next: &(Index, u64)| applied_bytes - next.1 >= self.space.log_bytes_kept;
        while self.milestones.get(1).is_some_and(is_spent) {
            self.milestones.pop_front();
        }
    }

    /// Members that are behind go on from the log for as long as they are not too far behind, and whoever fetches
    /// a snapshot goes on behind that.
    fn end_for_others(&self, flushed: Index) -> Index {
        let applied_bytes = self.inherited_bytes + self.house.shared.applied_bytes();
        let kept = match self.milestones.front() {
            Some((index, bytes)) if applied_bytes - bytes >= self.space.log_bytes_kept => *index,
            _ => Index(0),
        };
        let offered = self.depot.oldest().unwrap_or(flushed);
        flushed.min(kept).min(offered)
    }

    fn sweep(&mut self) -> Result<Duration, String> {
        let rooms = self.house.wing.enter();
        let compacted = rooms.mvcc.compacted();
        let is_swept = self.swept.as_ref().is_some_and(|(revision, store)| {
            *revision == compacted && std::ptr::eq(store.as_ptr(), Arc::as_ptr(&rooms.store))
        });
        if is_swept {
            return Ok(ROUND);
        }
        let began = Instant::now();
        let step = rooms.mvcc.sweep(SWEEP_KEYS_MAX).map_err(|error| chain(&error))?;
        if step.changes > 0 {
            self.log.work.swept_step(began.elapsed(), step.removed);
            self.sweeping.get_or_insert(began);
        }
        if !step.done {
            return Ok(SWEEP_PAUSE);
        }
        if let Some(began) = self.sweeping.take() {
            self.log.work.swept(began.elapsed(), self.log.clock.wall_ns());
        }
        self.swept = Some((compacted, Arc::downgrade(&rooms.store)));
        self.house.shared.set_swept(compacted);
        Ok(ROUND)
    }
}
