//! Runs a replica in a member: the floor where it is stepped, a thread for the log files, and one for the time.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use types::Index;
use wal::{AppendError, Wal};

use crate::floor::{Floor, Input, Nudge, Turns};
use crate::mailbox::Mailbox;
use crate::replica::{Committed, Proposal, Readable, Replica, Standing};
use crate::writer::{self, Job};

/// What the driver must know besides its replica.
#[derive(Clone, Copy, Debug)]
pub struct DriverConfig {
    /// One unit of raft's time.
    pub tick: Duration,
    /// Proposals and reads that may wait to be seen by the replica.
    pub waiting_max: usize,
}

/// Where the work goes. Called by whoever steps the replica, one at a time: nothing here may wait, but for
/// [`Sink::apply_here`].
pub trait Sink<W, R>: Send + Sync + 'static {
    /// Entries to apply, in order, each once. They may lie until one of the next two is called.
    fn committed(&self, entries: Vec<Committed<W>>);
    /// Entries lie ready, and the caller has others to do.
    fn rouse(&self);
    /// Entries lie ready, and the caller, the log's thread, has nothing to do: it may apply them itself, which
    /// spares waking another thread, or see to it that somebody does. Called outside of any step.
    fn apply_here(&self);
    /// Reads to answer once their index is applied.
    fn readable(&self, reads: Vec<Readable<R>>);
    /// Proposals that did not happen and will not.
    fn overtaken(&self, tickets: Vec<W>);
    /// Term, leader, role or commit index changed.
    fn standing(&self, standing: Standing);
    /// The log failed. The member must end: nothing more will be committed here.
    fn failed(&self, error: AppendError);
}

/// Why something was not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Too much waits already.
    Busy,
    /// The driver has stopped.
    Stopped,
}

/// A running replica. Dropping it stops it.
pub struct Driver<W, R> {
    floor: Arc<Floor<W, R>>,
    jobs: Arc<Mailbox<Job>>,
    // Whatever is put in wakes the time's thread for a turn; closed to end it.
    time: Arc<Mailbox<()>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl<W: Send + 'static, R: Send + 'static> Driver<W, R> {
    /// Starts the threads. `applied` is where the state machine says how far it got.
    pub fn start(
        config: DriverConfig,
        replica: Replica<W, R>,
        wal: Wal,
        sink: Arc<dyn Sink<W, R>>,
        applied: Arc<AtomicU64>,
    ) -> std::io::Result<Self> {
        // Bounded by the replica: it hands out entries only as fast as proposals are admitted.
        let (jobs, time) = (Arc::new(Mailbox::new()), Arc::new(Mailbox::new()));
        let (work, relief) = (Arc::clone(&jobs), Arc::clone(&time));
        let floor = Arc::new(Floor::new(replica, sink, work, applied, relief, config.waiting_max));
        let driver = Self { floor, jobs, time, threads: Mutex::new(Vec::new()) };
        let (floor, jobs, time) = (&driver.floor, &driver.jobs, &driver.time);
        let log = thread::Builder::new().name("wal".into()).spawn({
            let (jobs, floor) = (Arc::clone(jobs), Arc::clone(floor));
            move || writer::run(wal, &jobs, &*floor)
        })?;
        driver.threads.lock().push(log);
        let clock = thread::Builder::new().name("ticks".into()).spawn({
            let (time, floor) = (Arc::clone(time), Arc::clone(floor));
            move || run_time(&time, &floor, config.tick)
        })?;
        driver.threads.lock().push(clock);
        Ok(driver)
    }

    /// Puts an encoded run of commands into the log. The ticket comes back through the sink. Others that are
    /// about to propose may do so before the nudge is dropped: they travel together.
    pub fn propose(&self, data: Bytes, ticket: W) -> Result<Option<Nudge>, Refused> {
        self.floor.offer(Input::Propose(Proposal { data, ticket }))
    }

    /// Asks for a linearizable read. The ticket comes back through the sink; the nudge is as for a proposal.
    pub fn read(&self, ticket: R) -> Result<Option<Nudge>, Refused> {
        self.floor.offer(Input::Read(ticket))
    }

    /// Says that entries up to `index` are no longer needed here: their effects are on disk.
    pub fn release(&self, index: Index) {
        // A log that has stopped needs no room.
        let _ = self.jobs.put(Job::Release(index.0));
    }
}

impl<W, R> Driver<W, R> {
    /// Stops both threads and waits for them. What was handed to the log is written first.
    pub fn stop(&self) {
        self.time.close();
        self.jobs.close();
        for thread in self.threads.lock().drain(..) {
            // A panic was reported by its thread; there is nothing left to do about it.
            let _ = thread.join();
        }
    }
}

impl<W, R> Drop for Driver<W, R> {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Tells the floor the time, and takes turns for threads that have others to do, until the box is closed.
fn run_time<W: Send + 'static, R: Send + 'static>(time: &Mailbox<()>, floor: &Floor<W, R>, tick: Duration) {
    let mut calls = Vec::new();
    // The first is at once: it hands out what the replica has to do since its start.
    let mut next = Instant::now();
    while time.take(&mut calls, Some(next)) {
        calls.clear();
        let now = Instant::now();
        if now < next {
            floor.take_turns_and_rouse();
            continue;
        }
        next = (next + tick).max(now);
        floor.tick();
    }
    floor.close();
}
