//! Runs a replica in a member: one thread for the replica, one for the log files.
//!
//! The replica's thread drains all that waits, steps once and hands on one piece of work. It touches neither
//! disk nor network, so that time goes on for raft while a disk stalls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use types::Index;
use wal::{AppendError, Wal};

use crate::mailbox::{Mailbox, NotTaken, Nudge, Urgency};
use crate::replica::{Committed, Proposal, Readable, Replica, Standing};
use crate::writer::{self, Job};

/// What the driver must know besides its replica.
#[derive(Clone, Copy, Debug)]
pub struct DriverConfig {
    /// One unit of raft's time.
    pub tick: Duration,
    /// Proposals and reads that may wait for the replica's thread.
    pub waiting_max: usize,
}

/// Where the work goes. Called on the replica's thread: nothing here may wait.
pub trait Sink<W, R>: Send + 'static {
    /// Entries to apply, in order, each once.
    fn committed(&mut self, entries: Vec<Committed<W>>);
    /// Reads to answer once their index is applied.
    fn readable(&mut self, reads: Vec<Readable<R>>);
    /// Proposals that did not happen and will not.
    fn overtaken(&mut self, tickets: Vec<W>);
    /// Term, leader, role or commit index changed.
    fn standing(&mut self, standing: Standing);
    /// The log failed. The member must end: nothing more will be committed here.
    fn failed(&mut self, error: AppendError);
}

/// Why something was not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Too much waits already.
    Busy,
    /// The driver has stopped.
    Stopped,
}

pub(crate) enum Input<W, R> {
    Propose(Proposal<W>),
    Read(R),
    Persisted(u64),
    Failed(AppendError),
}

pub(crate) type Inbox<W, R> = Mailbox<Input<W, R>>;

/// A running replica. Dropping it stops it.
pub struct Driver<W, R> {
    inbox: Arc<Inbox<W, R>>,
    jobs: Arc<Mailbox<Job>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl<W: Send + 'static, R: Send + 'static> Driver<W, R> {
    /// Starts the threads. `applied` is where the state machine says how far it got.
    pub fn start(
        config: DriverConfig,
        replica: Replica<W, R>,
        wal: Wal,
        sink: impl Sink<W, R>,
        applied: Arc<AtomicU64>,
    ) -> std::io::Result<Self> {
        let inbox = Arc::new(Inbox::new(config.waiting_max));
        // Bounded by the replica: it hands out entries only as fast as proposals are admitted.
        let jobs = Arc::new(Mailbox::new(usize::MAX));
        let log = std::thread::Builder::new().name("wal".into()).spawn({
            let (jobs, inbox) = (Arc::clone(&jobs), Arc::clone(&inbox));
            move || writer::run(wal, &jobs, &inbox)
        })?;
        let raft = std::thread::Builder::new().name("consensus".into()).spawn({
            let (jobs, inbox) = (Arc::clone(&jobs), Arc::clone(&inbox));
            let mut turn = Turn { replica, sink, jobs, applied, standing: Standing::default() };
            move || {
                turn.run(&inbox, config.tick);
                turn.jobs.close();
                // After a failure others may still be offering, and what they left has to go with its tickets:
                // nobody will look any more.
                inbox.close();
                inbox.take(&mut Vec::new(), None, false);
            }
        })?;
        Ok(Self { inbox, jobs, threads: Mutex::new(vec![raft, log]) })
    }

    /// Puts an encoded run of commands into the log. The ticket comes back through the sink. Others that are
    /// about to propose may do so before the nudge is dropped: they travel together.
    pub fn propose(&self, data: Bytes, ticket: W) -> Result<Option<Nudge>, Refused> {
        self.offer(Input::Propose(Proposal { data, ticket }), Urgency::WithNext)
    }

    /// Asks for a linearizable read. The ticket comes back through the sink; the nudge is as for a proposal.
    pub fn read(&self, ticket: R) -> Result<Option<Nudge>, Refused> {
        self.offer(Input::Read(ticket), Urgency::Soon)
    }

    /// Says that entries up to `index` are no longer needed here: their effects are on disk.
    pub fn release(&self, index: Index) {
        // A log that has stopped needs no room.
        let _ = self.jobs.deliver(Job::Release(index.0));
    }

    /// Stops both threads and waits for them. What was handed to the log is written first.
    pub fn stop(&self) {
        self.inbox.close();
        for thread in self.threads.lock().drain(..) {
            // A panic was reported by its thread; there is nothing left to do about it.
            let _ = thread.join();
        }
    }

    fn offer(&self, input: Input<W, R>, urgency: Urgency) -> Result<Option<Nudge>, Refused> {
        self.inbox.offer(input, urgency).map_err(|(_, why)| match why {
            NotTaken::Full => Refused::Busy,
            NotTaken::Closed => Refused::Stopped,
        })
    }
}

impl<W, R> Drop for Driver<W, R> {
    fn drop(&mut self) {
        self.inbox.close();
        for thread in self.threads.lock().drain(..) {
            let _ = thread.join();
        }
    }
}

struct Turn<W, R, S> {
    replica: Replica<W, R>,
    sink: S,
    jobs: Arc<Mailbox<Job>>,
    applied: Arc<AtomicU64>,
    standing: Standing,
}

impl<W, R, S: Sink<W, R>> Turn<W, R, S> {
    fn run(&mut self, inbox: &Inbox<W, R>, tick: Duration) {
        let mut inputs = Vec::new();
        let (mut proposals, mut reads) = (Vec::new(), Vec::new());
        let mut next_tick = Instant::now() + tick;
        self.hand_on();
        // While the log writes for a cluster of one, a proposal could only wait behind that write: it comes with
        // the news of its end, in one entry with all others that did.
        while inbox.take(&mut inputs, Some(next_tick), self.replica.waits_for_disk_alone()) {
            let now = Instant::now();
            if now >= next_tick {
                self.replica.tick();
                // After a stall time goes on from now: ticks that nobody could act on would only start elections.
                next_tick = (next_tick + tick).max(now);
            }
            for input in inputs.drain(..) {
                match input {
                    Input::Propose(proposal) => proposals.push(proposal),
                    Input::Read(ticket) => reads.push(ticket),
                    Input::Persisted(number) => self.replica.persisted(number),
                    Input::Failed(error) => return self.sink.failed(error),
                }
            }
            self.replica.applied(Index(self.applied.load(Ordering::Acquire)));
            if !proposals.is_empty() {
                self.replica.propose(&mut proposals);
            }
            if !reads.is_empty() {
                self.replica.read(&mut reads);
            }
            self.hand_on();
        }
    }

    fn hand_on(&mut self) {
        while let Some(output) = self.replica.output() {
            // First who leads, then what that allowed: an answer must not carry an older term than its entry.
            self.tell_standing();
            if let Some(append) = output.append
                && self.jobs.deliver(Job::Append(append)).is_err()
            {
                // The log's thread has failed and said so; the message is in the inbox.
                return;
            }
            if !output.overtaken.is_empty() {
                self.sink.overtaken(output.overtaken);
            }
            if !output.committed.is_empty() {
                self.sink.committed(output.committed);
            }
            if !output.readable.is_empty() {
                self.sink.readable(output.readable);
            }
        }
        self.tell_standing();
    }

    fn tell_standing(&mut self) {
        let standing = self.replica.standing();
        if standing != self.standing {
            self.standing = standing;
            self.sink.standing(standing);
        }
    }
}
