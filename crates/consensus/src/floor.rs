//! Where the replica is stepped: whoever brings something takes a turn with all that waits.
//!
//! The replica needs no thread. A step is a few microseconds of arithmetic; waking a thread for it would cost
//! more than the step, twice. So a thread that brings an input steps the replica itself, unless somebody is
//! just doing so: then that one sees the input before it leaves.
//!
//! INVARIANT: nobody waits for a turn. What is left here is taken by who holds the turn, or has a nudge.
//! INVARIANT: a turn touches neither disk nor network, so that time goes on for raft while a disk stalls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use types::Index;
use wal::AppendError;

use crate::driver::{Refused, Sink};
use crate::mailbox::Mailbox;
use crate::replica::{Proposal, Replica, Standing};
use crate::writer::Job;

/// What somebody brings to the replica.
pub(crate) enum Input<W, R> {
    Propose(Proposal<W>),
    Read(R),
    Persisted(u64),
    Failed(AppendError),
}

/// See the module.
pub(crate) struct Floor<W, R> {
    entrance: Mutex<Entrance<W, R>>,
    turn: Mutex<Turn<W, R>>,
    sink: Arc<dyn Sink<W, R>>,
    // Somebody who goes on when a client's thread has done enough for others.
    relief: Arc<Mailbox<()>>,
    waiting_max: usize,
}

/// A thread that came for one turn takes up to this many for others who bring something meanwhile.
const ROUNDS_MAX: usize = 8;

#[allow(clippy::struct_excessive_bools, reason = "each is true or not whatever the others are")]
struct Entrance<W, R> {
    inputs: Vec<Input<W, R>>,
    // Among the inputs is one that has to be seen at once.
    urgent: bool,
    // A unit of time went by. One at most: after a stall, ticks that nobody could act on would only start
    // elections.
    ticked: bool,
    // The log writes for a cluster of one. A proposal could only wait behind that write, so it waits here and
    // comes with the news of its end, in one entry with all others that did.
    patient: bool,
    // Somebody holds a nudge.
    nudged: bool,
    closed: bool,
}

/// The duty to have the replica see what was brought. It is done when this is dropped; others that are about to
/// bring something may do so before.
#[must_use = "the replica sees what was brought when the nudge is dropped"]
pub struct Nudge(Arc<dyn Turns>);

pub(crate) trait Turns: Send + Sync {
    fn take_turns_and_rouse(&self);
}

impl Drop for Nudge {
    fn drop(&mut self) {
        self.0.take_turns_and_rouse();
    }
}

impl<W: Send + 'static, R: Send + 'static> Floor<W, R> {
    pub(crate) fn new(
        replica: Replica<W, R>,
        sink: Arc<dyn Sink<W, R>>,
        jobs: Arc<Mailbox<Job>>,
        applied: Arc<AtomicU64>,
        relief: Arc<Mailbox<()>>,
        waiting_max: usize,
    ) -> Self {
        let entrance = Entrance {
            inputs: Vec::new(),
            urgent: false,
            ticked: false,
            patient: false,
            nudged: false,
            closed: false,
        };
        let turn = Turn {
            replica,
            sink: Arc::clone(&sink),
            jobs,
            applied,
            standing: Standing::default(),
            committed: false,
            inputs: Vec::new(),
            proposals: Vec::new(),
            reads: Vec::new(),
        };
        Self { entrance: Mutex::new(entrance), turn: Mutex::new(turn), sink, relief, waiting_max }
    }

    /// Brings a client's request, unless too much waits. The nudge, if there is one, is the caller's to drop.
    pub(crate) fn offer(self: &Arc<Self>, input: Input<W, R>) -> Result<Option<Nudge>, Refused> {
        let can_wait = matches!(input, Input::Propose(_));
        let mut entrance = self.entrance.lock();
        if entrance.closed {
            return Err(Refused::Stopped);
        }
        if entrance.inputs.len() >= self.waiting_max {
            return Err(Refused::Busy);
        }
        entrance.inputs.push(input);
        if can_wait && entrance.patient {
            return Ok(None);
        }
        entrance.urgent |= !can_wait;
        if std::mem::replace(&mut entrance.nudged, true) {
            return Ok(None);
        }
        drop(entrance);
        Ok(Some(Nudge(self.clone())))
    }

    /// Brings news of the log, on the log's thread, and has the replica see it. `idle` tells afterwards whether
    /// the log has nothing more to write.
    pub(crate) fn report(&self, input: Input<W, R>, idle: impl FnOnce() -> bool) {
        {
            let mut entrance = self.entrance.lock();
            if entrance.closed {
                return;
            }
            entrance.inputs.push(input);
            entrance.urgent = true;
        }
        if self.take_turns() {
            if idle() {
                self.sink.apply_here();
            } else {
                self.sink.rouse();
            }
        }
    }

    /// A unit of time went by.
    pub(crate) fn tick(&self) {
        {
            let mut entrance = self.entrance.lock();
            entrance.ticked = true;
            entrance.urgent = true;
        }
        self.take_turns_and_rouse();
    }

    /// Takes nothing more in. Every ticket is dropped, of what was seen too: nobody will ever answer it.
    pub(crate) fn close(&self) {
        let mut entrance = self.entrance.lock();
        entrance.closed = true;
        let unseen = std::mem::take(&mut entrance.inputs);
        drop(entrance);
        drop(unseen);
        self.turn.lock().replica.forget_tickets();
    }
}

impl<W: Send + 'static, R: Send + 'static> Floor<W, R> {
    /// Steps the replica until nothing waits for it; returns whether there is something to apply.
    fn take_turns(&self) -> bool {
        let mut committed = false;
        for _ in 0..ROUNDS_MAX {
            // Whoever holds the turn looks again after it let go of it.
            let Some(mut turn) = self.turn.try_lock() else { return committed };
            let ticked = {
                let mut entrance = self.entrance.lock();
                if entrance.closed {
                    return committed;
                }
                std::mem::swap(&mut entrance.inputs, &mut turn.inputs);
                (entrance.urgent, entrance.nudged) = (false, false);
                std::mem::take(&mut entrance.ticked)
            };
            let goes_on = turn.step(ticked);
            committed |= std::mem::take(&mut turn.committed);
            let patient = turn.replica.waits_for_disk_alone();
            self.entrance.lock().patient = patient;
            drop(turn);
            if !goes_on {
                self.close();
                return committed;
            }
            let entrance = self.entrance.lock();
            if !entrance.urgent && (entrance.inputs.is_empty() || entrance.patient) {
                return committed;
            }
        }
        // It is closed only when the member stops.
        let _ = self.relief.put(());
        committed
    }
}

impl<W: Send + 'static, R: Send + 'static> Turns for Floor<W, R> {
    fn take_turns_and_rouse(&self) {
        if self.take_turns() {
            self.sink.rouse();
        }
    }
}

struct Turn<W, R> {
    replica: Replica<W, R>,
    sink: Arc<dyn Sink<W, R>>,
    jobs: Arc<Mailbox<Job>>,
    applied: Arc<AtomicU64>,
    standing: Standing,
    // Entries were handed to the sink.
    committed: bool,
    // Kept for their memory.
    inputs: Vec<Input<W, R>>,
    proposals: Vec<Proposal<W>>,
    reads: Vec<R>,
}

impl<W: 'static, R: 'static> Turn<W, R> {
    /// Steps the replica with everything that was brought; `false` when there is no log any more.
    fn step(&mut self, ticked: bool) -> bool {
        if ticked {
            self.replica.tick();
        }
        for input in self.inputs.drain(..) {
            match input {
                Input::Propose(proposal) => self.proposals.push(proposal),
                Input::Read(ticket) => self.reads.push(ticket),
                Input::Persisted(number) => self.replica.persisted(number),
                Input::Failed(error) => {
                    self.sink.failed(error);
                    return false;
                }
            }
        }
        self.replica.applied(Index(self.applied.load(Ordering::Acquire)));
        if !self.proposals.is_empty() {
            self.replica.propose(&mut self.proposals);
        }
        if !self.reads.is_empty() {
            self.replica.read(&mut self.reads);
        }
        self.hand_on()
    }

    fn hand_on(&mut self) -> bool {
        while let Some(output) = self.replica.output() {
            // First who leads, then what that allowed: an answer must not carry an older term than its entry.
            self.tell_standing();
            if let Some(append) = output.append
                && self.jobs.put(Job::Append(append)).is_err()
            {
                // The log has failed and said so, or the member stops.
                return false;
            }
            if !output.overtaken.is_empty() {
                self.sink.overtaken(output.overtaken);
            }
            if !output.committed.is_empty() {
                self.committed = true;
                self.sink.committed(output.committed);
            }
            if !output.readable.is_empty() {
                // They may have to lie behind entries.
                self.committed = true;
                self.sink.readable(output.readable);
            }
        }
        self.tell_standing();
        true
    }

    fn tell_standing(&mut self) {
        let standing = self.replica.standing();
        if standing != self.standing {
            self.standing = standing;
            self.sink.standing(standing);
        }
    }
}
