//! Makes room, off the path of any request: flushes the database so that the log can go, lets the log go, and
//! removes compacted history in small steps.

use std::time::{Duration, Instant};

use apply::Position;
use consensus::Mailbox;
use stdx::chain;
use types::{Index, Revision};

use crate::member::House;

/// How often it looks when there is nothing to sweep.
const ROUND: Duration = Duration::from_millis(200);
/// The pause between two steps of a sweep: requests go first.
const SWEEP_PAUSE: Duration = Duration::from_millis(2);
/// Keys that one step of a sweep looks at.
const SWEEP_KEYS_MAX: usize = 1_000;

/// Runs until the box is closed; nothing is ever put into it.
pub(crate) fn run(house: &House, replay_bytes_max: u64, stop: &Mailbox<()>) {
    let mut keeper = Keeper { house, released: Index(0), flushed_bytes: 0, swept: None };
    let mut nothing = Vec::new();
    let mut next = Instant::now();
    while stop.take(&mut nothing, Some(next)) {
        match keeper.round(replay_bytes_max) {
            Ok(pause) => next = Instant::now() + pause,
            Err(reason) => return house.shared.fail(reason),
        }
    }
}

struct Keeper<'a> {
    house: &'a House,
    released: Index,
    // Bytes of log that had been applied when the database was last flushed.
    flushed_bytes: u64,
    // The compaction whose history is gone.
    swept: Option<Revision>,
}

impl Keeper<'_> {
    fn round(&mut self, replay_bytes_max: u64) -> Result<Duration, String> {
        let applied_bytes = self.house.shared.applied_bytes();
        if applied_bytes - self.flushed_bytes > replay_bytes_max {
            self.house.wing.look().store.flush().map_err(|error| chain(&error))?;
            self.flushed_bytes = applied_bytes;
        }
        // RocksDB flushes by itself too, when its memory is full.
        let flushed = Position::load_flushed(&self.house.wing.look().store).map_err(|error| chain(&error))?;
        if let Some(position) = flushed
            && position.index > self.released
        {
            self.released = position.index;
            self.house.driver.release(position.index);
        }
        self.sweep()
    }

    fn sweep(&mut self) -> Result<Duration, String> {
        let compacted = self.house.wing.look().mvcc.compacted();
        if self.swept == Some(compacted) {
            return Ok(ROUND);
        }
        let step = self.house.wing.look().mvcc.sweep(SWEEP_KEYS_MAX).map_err(|error| chain(&error))?;
        if !step.done {
            return Ok(SWEEP_PAUSE);
        }
        self.swept = Some(compacted);
        self.house.shared.set_swept(compacted);
        Ok(ROUND)
    }
}
