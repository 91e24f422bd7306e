//! Runs a replica in a member: the floor where it is stepped, a thread for the log files, one that reads them for
//! members that lag, and one for the time.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use types::{Index, MemberId};
use wal::{AppendError, Wal};

use crate::aside::Fetch;
use crate::envelope::Envelope;
use crate::floor::{Floor, Input, Nudge};
use crate::log::LogError;
use crate::mailbox::Mailbox;
use crate::proposal::{Change, Committed, Kind, NotTaken, Proposal, Readable};
use crate::replica::Replica;
use crate::snapshot::{SnapshotMark, SnapshotOffer};
use crate::standing::{Standing, Survey};
use crate::writer::{self, Job, Pen};

/// What the driver must know besides its replica.
#[derive(Clone, Copy, Debug)]
pub struct DriverConfig {
    /// One unit of raft's time.
    pub tick: Duration,
    /// Proposals and reads that may wait to be seen by the replica.
    pub waiting_max: usize,
}

/// Where the work goes. Called by whoever steps the replica, one at a time: nothing here may wait or come back
/// to the driver with a question, but for [`Sink::apply_here`] and [`Sink::install`].
pub trait Sink<W, R>: Send + Sync + 'static {
    /// Messages to other members. What cannot be sent at once is dropped.
    fn messages(&self, messages: Vec<Envelope>);
    /// Entries to apply, in order, each once. They may lie until one of the next two is called.
    fn committed(&self, entries: Vec<Committed<W>>);
    /// Entries lie ready, and the caller has others to do.
    fn rouse(&self);
    /// Entries lie ready, and the caller, who has written them, has nothing more to write: it may apply them itself,
    /// which spares waking another thread, or see to it that somebody does. Called outside of any step.
    fn apply_here(&self);
    /// Reads to answer once their index is applied.
    fn readable(&self, reads: Vec<Readable<R>>);
    /// Proposals that certainly did not happen.
    fn refused(&self, tickets: Vec<(W, NotTaken)>);
    /// Term, leader, role, seat or commit index changed.
    fn standing(&self, standing: Standing);
    /// A snapshot is to be fetched, instead of any that was offered before. The outcome is told through the
    /// [`Door`].
    fn offer(&self, offer: SnapshotOffer);
    /// The fetched snapshot takes the place of the machine's state, durably and for every reader, before this
    /// returns. Called by who writes the log, outside of any step, before the log is emptied. Nothing that was
    /// handed out as committed before may be applied after it. An error ends the member.
    fn install(&self, mark: &SnapshotMark) -> Result<(), String>;
    /// The member must end: nothing more will be committed here.
    fn failed(&self, failure: Failure);
}

/// Why a driver has ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The log could not be written.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The log is not what it has to be.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A snapshot could not be installed.
    #[error("cannot install the snapshot of index {index}: {reason}")]
    Install {
        /// The snapshot's index.
        index: Index,
        /// What the sink said.
        reason: String,
    },
    /// raft found itself in a state that cannot be.
    #[error("raft cannot go on: {0}")]
    Raft(String),
}

/// Why something was not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Too much waits already.
    Busy,
    /// The driver has stopped.
    Stopped,
}

/// The way to a running replica for those that the driver itself leads to: they must not keep it alive. What comes
/// after its end is dropped.
pub struct Door<W, R>(Weak<Floor<W, R>>);

impl<W, R> Clone for Door<W, R> {
    fn clone(&self) -> Self {
        Self(Weak::clone(&self.0))
    }
}

impl<W: Send + 'static, R: Send + 'static> Door<W, R> {
    /// Messages came in. The caller's thread may step the replica.
    pub fn receive(&self, messages: Vec<Envelope>) {
        if let Some(floor) = self.0.upgrade() {
            floor.receive(messages);
        }
    }

    /// The state machine has accepted a change. To be told before it is told that its entry is applied.
    pub fn change_applied(&self, change: Change) {
        self.bring(Input::Changed(change));
    }

    /// An offered snapshot is here and whole.
    pub fn snapshot_fetched(&self, offer: SnapshotOffer) {
        self.bring(Input::Fetched(offer));
    }

    /// An offered snapshot cannot be had.
    pub fn snapshot_failed(&self, offer: SnapshotOffer) {
        self.bring(Input::FetchFailed(offer));
    }

    /// Messages to a member were lost.
    pub fn unreachable(&self, member: MemberId) {
        self.bring(Input::Unreachable(member));
    }

    /// The process of a member has ended, as far as can be told from here. It may be wrong.
    pub fn gone(&self, member: MemberId) {
        self.bring(Input::Gone(member));
    }

    /// Somebody waits for a heartbeat: a member that can be reached now, or one for which a snapshot is ready now.
    pub fn reach_out(&self) {
        self.bring(Input::ReachOut);
    }

    fn bring(&self, input: Input<W, R>) {
        if let Some(floor) = self.0.upgrade() {
            floor.bring(input);
        }
    }
}

/// A running replica. Dropping it stops it.
pub struct Driver<W, R> {
    floor: Arc<Floor<W, R>>,
    jobs: Arc<Mailbox<Job>>,
    fetches: Arc<Mailbox<Fetch>>,
    // Whatever is put in wakes the time's thread for a turn; closed to end it.
    time: Arc<Mailbox<()>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl<W: Send + 'static, R: Send + 'static> Driver<W, R> {
    /// Starts the threads. `sink` is made with the way back in; `applied` is where the state machine says how far
    /// it got.
    pub fn start(
        config: DriverConfig,
        mut replica: Replica<W, R>,
        wal: Wal,
        sink: impl FnOnce(Door<W, R>) -> Arc<dyn Sink<W, R>>,
        applied: Arc<AtomicU64>,
    ) -> std::io::Result<Self> {
        // Bounded by the replica: it hands out entries only as fast as proposals are admitted.
        let (jobs, time) = (Arc::new(Mailbox::new()), Arc::new(Mailbox::new()));
        let fetches = Arc::new(Mailbox::new());
        let (work, readings, relief) = (Arc::clone(&jobs), Arc::clone(&fetches), Arc::clone(&time));
        replica.read_aside();
        let floor = Arc::new_cyclic(|floor| {
            let sink = sink(Door(Weak::clone(floor)));
            Floor::new(replica, Pen::new(wal), sink, work, readings, applied, relief, config.waiting_max)
        });
        let driver = Self { floor, jobs, fetches, time, threads: Mutex::new(Vec::new()) };
        let (floor, jobs, time) = (&driver.floor, &driver.jobs, &driver.time);
        let log = thread::Builder::new().name("wal".into()).spawn({
            let (jobs, floor) = (Arc::clone(jobs), Arc::clone(floor));
            move || writer::run(&jobs, &*floor)
        })?;
        driver.threads.lock().push(log);
        let readings = thread::Builder::new().name("wal-readings".into()).spawn({
            let (fetches, floor) = (Arc::clone(&driver.fetches), Arc::clone(floor));
            move || run_readings(&fetches, &floor)
        })?;
        driver.threads.lock().push(readings);
        let clock = thread::Builder::new().name("ticks".into()).spawn({
            let (time, floor) = (Arc::clone(time), Arc::clone(floor));
            move || run_time(&time, &floor, config.tick)
        })?;
        driver.threads.lock().push(clock);
        Ok(driver)
    }

    /// The way in for those that must not keep the driver alive.
    pub fn door(&self) -> Door<W, R> {
        Door(Arc::downgrade(&self.floor))
    }

    /// Puts an encoded command into the log, wherever it is led. The ticket comes back through the sink, or is
    /// dropped when nobody can tell what became of it. Others that are about to propose may do so before the
    /// nudge is dropped: they travel together.
    pub fn propose(&self, data: Bytes, kind: Kind, ticket: W) -> Result<Option<Nudge>, Refused> {
        self.floor.offer(Input::Propose(Proposal { data, ticket, kind }))
    }

    /// Asks for a linearizable read. The ticket comes back through the sink; the nudge is as for a proposal.
    pub fn read(&self, ticket: R) -> Result<Option<Nudge>, Refused> {
        self.floor.offer(Input::Read(ticket))
    }

    /// Hands the lead over to another voter, if this member leads. See [`Survey::transferee`] and [`Standing`] for
    /// what becomes of it.
    pub fn transfer(&self, member: MemberId) {
        self.floor.bring(Input::Transfer(member));
    }

    /// Everything that the replica can tell. Waits for a step to end; not to be asked from within a sink.
    pub fn survey(&self) -> Survey {
        self.floor.survey()
    }

    /// Says that entries up to `index` are no longer needed here: their effects are on disk.
    pub fn release(&self, index: Index) {
        // A log that has stopped needs no room.
        let _ = self.jobs.put(Job::Release(index.0));
    }
}

impl<W, R> Driver<W, R> {
    /// Stops its threads and waits for them. What was handed to the log is written first.
    pub fn stop(&self) {
        self.time.close();
        self.jobs.close();
        self.fetches.close();
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

/// Reads entries back for members that lag, until the box is closed.
fn run_readings<W: Send + 'static, R: Send + 'static>(fetches: &Mailbox<Fetch>, floor: &Floor<W, R>) {
    let mut taken = Vec::new();
    while fetches.take(&mut taken, None) {
        for fetch in taken.drain(..) {
            floor.bring(Input::ReadBack(fetch.run()));
        }
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
