//! Where the replica is stepped: whoever brings something takes a turn with all that waits.
//!
//! The replica needs no thread. A step is a few microseconds of arithmetic; waking a thread for it would cost
//! more than the step, twice. So a thread that brings an input steps the replica itself, unless somebody is
//! just doing so: then that one sees the input before it leaves.
//!
//! INVARIANT: nobody waits for a turn. What is left here is taken by who holds the turn, or has a nudge.
//! INVARIANT: a turn touches neither disk nor network, so that time goes on for raft while a disk stalls.
//!
//! An only voter on a quick disk needs no other thread at all for a few small writes: who holds the nudge writes the log
//! after its turn, tells the replica, and has the machine apply (docs/decisions/0014-who-brings-it-does-it.md). While
//! it writes others leave their proposals behind, as ever, and it finds them in the turn that follows.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};
use types::{Index, MemberId};

use crate::aside::{Fetch, Fetched};
use crate::driver::{Failure, Refused, Sink};
use crate::envelope::Envelope;
use crate::mailbox::{Closed, Mailbox};
use crate::proposal::{Change, Proposal};
use crate::replica::{Append, Output, Replica};
use crate::snapshot::SnapshotOffer;
use crate::standing::{Standing, Survey};
use crate::writer::{Job, Pace, Pen};

/// What somebody brings to the replica.
pub(crate) enum Input<W, R> {
    Propose(Proposal<W>),
    Read(R),
    Receive(Vec<Envelope>),
    Changed(Change),
    Fetched(SnapshotOffer),
    FetchFailed(SnapshotOffer),
    ReadBack(Fetched),
    Unreachable(MemberId),
    Gone(MemberId),
    ReachOut,
    Transfer(MemberId),
    Persisted(u64),
    Failed(Failure),
}

/// See the module.
pub(crate) struct Floor<W, R> {
    entrance: Mutex<Entrance<W, R>>,
    turn: Mutex<Turn<W, R>>,
    pen: Mutex<Pen>,
    pace: Pace,
    jobs: Arc<Mailbox<Job>>,
    sink: Arc<dyn Sink<W, R>>,
    // Somebody who goes on when a client's thread has done enough for others.
    relief: Arc<Mailbox<()>>,
    waiting_max: usize,
}

/// Messages of peers that wait for a turn hold up to this many bytes; more are dropped, as on a bad line.
const RECEIVED_BYTES_MAX: usize = 64 << 20;
/// A thread that came for one turn takes up to this many for others who bring something meanwhile.
const ROUNDS_MAX: usize = 8;
/// A thread that came for one turn writes the log so many times, if others bring something to write meanwhile.
const WRITES_MAX: usize = 2;
/// It leaves writes of more than so many proposals to the log's thread, which can go on writing while they are applied.
const PROPOSALS_HERE_MAX: usize = 8;
/// And writes of more bytes.
const BYTES_HERE_MAX: usize = 32 << 10;

/// What came of writing all that waited.
pub(crate) enum Wrote {
    Nothing,
    Something,
    /// It is the end of the log, and everybody knows.
    Failed,
}

/// What a few turns left to do.
#[derive(Clone, Copy, Default)]
struct Done {
    // There is something to apply.
    committed: bool,
    // There are writes that nobody was woken for.
    left: bool,
    // So much was proposed.
    proposals: usize,
    bytes: usize,
}

impl Done {
    fn and(self, more: Self) -> Self {
        Self {
            committed: self.committed || more.committed,
            left: self.left || more.left,
            proposals: self.proposals + more.proposals,
            bytes: self.bytes + more.bytes,
        }
    }

    fn is_small(self) -> bool {
        self.proposals <= PROPOSALS_HERE_MAX && self.bytes <= BYTES_HERE_MAX
    }
}

#[allow(clippy::struct_excessive_bools, reason = "each is true or not whatever the others are")]
struct Entrance<W, R> {
    inputs: Vec<Input<W, R>>,
    received_bytes: usize,
    // Among the inputs is one that has to be seen at once.
    urgent: bool,
    // A unit of time went by. One at most: after a stall, ticks that nobody could act on would only start
    // elections.
    ticked: bool,
    // A proposal that comes now could only wait behind what is under way: it waits here, until there are that many
    // bytes or there is news (a write's end, a peer's answer, at the latest a tick), and goes in one entry with all
    // others that did.
    patience_bytes: usize,
    waiting_bytes: usize,
    // This is the only voter.
    alone: bool,
    // Somebody holds a nudge.
    nudged: bool,
    closed: bool,
}

impl<W, R> Entrance<W, R> {
    /// Whether something is to be seen now.
    fn calls(&self) -> bool {
        self.urgent || !(self.inputs.is_empty() || self.is_patient())
    }

    fn is_patient(&self) -> bool {
        self.waiting_bytes < self.patience_bytes
    }
}

/// The duty to have the replica see what was brought. It is done when this is dropped; others that are about to
/// bring something may do so before.
#[must_use = "the replica sees what was brought when the nudge is dropped"]
pub struct Nudge(Arc<dyn Turns>);

pub(crate) trait Turns: Send + Sync {
    fn take_turns_and_go_on(&self);
}

impl Drop for Nudge {
    fn drop(&mut self) {
        self.0.take_turns_and_go_on();
    }
}

impl<W: Send + 'static, R: Send + 'static> Floor<W, R> {
    #[allow(clippy::too_many_arguments, reason = "each is a part of its own, named where it is given")]
    pub(crate) fn new(
        replica: Replica<W, R>,
        pen: Pen,
        sink: Arc<dyn Sink<W, R>>,
        jobs: Arc<Mailbox<Job>>,
        fetches: Arc<Mailbox<Fetch>>,
        applied: Arc<AtomicU64>,
        relief: Arc<Mailbox<()>>,
        waiting_max: usize,
    ) -> Self {
        let entrance = Entrance {
            inputs: Vec::new(),
            received_bytes: 0,
            urgent: false,
            ticked: false,
            patience_bytes: 0,
            waiting_bytes: 0,
            alone: false,
            nudged: false,
            closed: false,
        };
        let turn = Turn {
            replica,
            sink: Arc::clone(&sink),
            jobs: Arc::clone(&jobs),
            fetches,
            applied,
            standing: Standing::default(),
            done: Done::default(),
            inputs: Vec::new(),
            proposals: Vec::new(),
            reads: Vec::new(),
        };
        Self {
            entrance: Mutex::new(entrance),
            turn: Mutex::new(turn),
            pen: Mutex::new(pen),
            pace: Pace::default(),
            jobs,
            sink,
            relief,
            waiting_max,
        }
    }

    /// Brings a client's request, unless too much waits. The nudge, if there is one, is the caller's to drop.
    pub(crate) fn offer(self: &Arc<Self>, input: Input<W, R>) -> Result<Option<Nudge>, Refused> {
        let (can_wait, bytes) = match &input {
            Input::Propose(proposal) => (true, proposal.data.len()),
            _ => (false, 0),
        };
        let mut entrance = self.entrance.lock();
        if entrance.closed {
            return Err(Refused::Stopped);
        }
        if entrance.inputs.len() >= self.waiting_max {
            return Err(Refused::Busy);
        }
        entrance.inputs.push(input);
        entrance.waiting_bytes += bytes;
        if can_wait && entrance.is_patient() {
            return Ok(None);
        }
        entrance.urgent |= !can_wait;
        if std::mem::replace(&mut entrance.nudged, true) {
            return Ok(None);
        }
        drop(entrance);
        Ok(Some(Nudge(self.clone())))
    }

    /// Brings messages of peers, on the caller's thread, and has the replica see them.
    pub(crate) fn receive(&self, messages: Vec<Envelope>) {
        let bytes: usize = messages.iter().map(Envelope::bytes).sum();
        {
            let mut entrance = self.entrance.lock();
            if entrance.closed || entrance.received_bytes > RECEIVED_BYTES_MAX {
                return;
            }
            entrance.received_bytes += bytes;
            entrance.inputs.push(Input::Receive(messages));
            entrance.urgent = true;
        }
        self.take_turns_and_rouse();
    }

    /// Brings what is rare and must be seen, and has the replica see it.
    pub(crate) fn bring(&self, input: Input<W, R>) {
        self.leave(input);
        self.take_turns_and_rouse();
    }

    fn leave(&self, input: Input<W, R>) {
        let mut entrance = self.entrance.lock();
        if !entrance.closed {
            entrance.inputs.push(input);
            entrance.urgent = true;
        }
    }

    /// The right to write the log.
    pub(crate) fn pen(&self) -> MutexGuard<'_, Pen> {
        self.pen.lock()
    }

    /// Writes all that waits. The replica is to see the news afterwards.
    pub(crate) fn write(&self, mut pen: MutexGuard<'_, Pen>) -> Wrote {
        let began = Instant::now();
        let (news, wrote) = match pen.write(&self.jobs, |mark| self.sink.install(mark)) {
            Ok(Some(durable)) => (Input::Persisted(durable), Wrote::Something),
            Ok(None) => return Wrote::Nothing,
            Err(error) => (Input::Failed(error), Wrote::Failed),
        };
        self.pace.note(began.elapsed());
        // Before somebody else writes, so that news are in order.
        self.leave(news);
        drop(pen);
        if matches!(wrote, Wrote::Failed) {
            // First the news, then the end: a turn that finds the box closed asks no further.
            self.take_turns();
            self.jobs.close();
        }
        wrote
    }

    /// Whether the next write is likely to be quick.
    pub(crate) fn is_quick(&self) -> bool {
        self.pace.is_quick()
    }

    /// Whether this is the only voter.
    pub(crate) fn is_alone(&self) -> bool {
        self.entrance.lock().alone
    }

    /// Everything that the replica can tell.
    pub(crate) fn survey(&self) -> Survey {
        let survey = self.turn.lock().replica.survey();
        // Somebody may have come meanwhile and left, believing that a turn was being taken.
        if self.entrance.lock().calls() {
            self.take_turns_and_rouse();
        }
        survey
    }

    /// Has the replica see what was written, on the log's thread.
    pub(crate) fn tell_written(&self) {
        if self.take_turns().committed {
            if self.jobs.is_empty() {
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
    /// Takes turns, and wakes whoever goes on.
    pub(crate) fn take_turns_and_rouse(&self) {
        let done = self.take_turns();
        self.rouse(done);
    }

    fn rouse(&self, done: Done) {
        if done.left {
            self.jobs.rouse();
        }
        if done.committed {
            self.sink.rouse();
        }
    }

    /// Steps the replica until nothing waits for it.
    fn take_turns(&self) -> Done {
        let mut done = Done::default();
        for _ in 0..ROUNDS_MAX {
            // Whoever holds the turn looks again after it let go of it.
            let Some(mut turn) = self.turn.try_lock() else { return done };
            let ticked = {
                let mut entrance = self.entrance.lock();
                if entrance.closed {
                    return done;
                }
                std::mem::swap(&mut entrance.inputs, &mut turn.inputs);
                (entrance.urgent, entrance.nudged) = (false, false);
                (entrance.received_bytes, entrance.waiting_bytes) = (0, 0);
                std::mem::take(&mut entrance.ticked)
            };
            let goes_on = turn.step(ticked);
            done = done.and(std::mem::take(&mut turn.done));
            let (patience_bytes, alone) = (turn.replica.patience_bytes(), turn.replica.is_alone());
            {
                let mut entrance = self.entrance.lock();
                (entrance.patience_bytes, entrance.alone) = (patience_bytes, alone);
            }
            drop(turn);
            if !goes_on {
                self.close();
                return done;
            }
            if !self.entrance.lock().calls() {
                return done;
            }
        }
        // It is closed only when the member stops.
        let _ = self.relief.put(());
        done
    }
}

impl<W: Send + 'static, R: Send + 'static> Turns for Floor<W, R> {
    /// Takes turns, and does what comes of them as far as that is quick.
    fn take_turns_and_go_on(&self) {
        let mut done = self.take_turns();
        let mut wrote = false;
        for _ in 0..WRITES_MAX {
            if !(done.left && done.is_small() && self.is_quick()) {
                break;
            }
            // Who has the pen may have looked for jobs already.
            let Some(pen) = self.pen.try_lock() else { break };
            match self.write(pen) {
                Wrote::Something => wrote = true,
                Wrote::Nothing => {}
                Wrote::Failed => return,
            }
            let committed = done.committed;
            done = self.take_turns();
            done.committed |= committed;
        }
        if wrote && !done.left && done.committed {
            return self.sink.apply_here();
        }
        self.rouse(done);
    }
}

struct Turn<W, R> {
    replica: Replica<W, R>,
    sink: Arc<dyn Sink<W, R>>,
    jobs: Arc<Mailbox<Job>>,
    fetches: Arc<Mailbox<Fetch>>,
    applied: Arc<AtomicU64>,
    standing: Standing,
    // Since it was last taken.
    done: Done,
    // Kept for their memory.
    inputs: Vec<Input<W, R>>,
    proposals: Vec<Proposal<W>>,
    reads: Vec<R>,
}

impl<W: 'static, R: 'static> Turn<W, R> {
    /// Steps the replica with everything that was brought; `false` when it takes no more part.
    fn step(&mut self, ticked: bool) -> bool {
        // raft panics where it finds a state that cannot be, a damaged log for example: that ends the member and
        // not only the thread that happened to be here.
        match catch_unwind(AssertUnwindSafe(|| self.step_or_panic(ticked))) {
            Ok(goes_on) => goes_on,
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                self.sink.failed(Failure::Raft(text.unwrap_or_default()));
                false
            }
        }
    }

    fn step_or_panic(&mut self, ticked: bool) -> bool {
        if ticked {
            self.replica.tick();
        }
        for input in self.inputs.drain(..) {
            match input {
                Input::Propose(proposal) => self.proposals.push(proposal),
                Input::Read(ticket) => self.reads.push(ticket),
                Input::Receive(messages) => {
                    for message in messages {
                        self.replica.receive(message);
                    }
                }
                Input::Changed(change) => self.replica.change_applied(change),
                Input::Fetched(offer) => self.replica.snapshot_fetched(offer),
                Input::FetchFailed(offer) => self.replica.snapshot_failed(offer),
                Input::ReadBack(fetched) => self.replica.fetched(fetched),
                Input::Unreachable(member) => self.replica.unreachable(member),
                Input::Gone(member) => self.replica.gone(member),
                Input::ReachOut => self.replica.reach_out(),
                Input::Transfer(member) => self.replica.transfer(member),
                Input::Persisted(number) => self.replica.persisted(number),
                Input::Failed(failure) => {
                    self.sink.failed(failure);
                    return false;
                }
            }
        }
        if let Some(error) = self.replica.broken() {
            self.sink.failed(error.into());
            return false;
        }
        self.replica.applied(Index(self.applied.load(Ordering::Acquire)));
        if !self.proposals.is_empty() {
            self.done.proposals += self.proposals.len();
            self.replica.propose(&mut self.proposals);
        }
        if !self.reads.is_empty() {
            self.replica.read(&mut self.reads);
        }
        while let Some(output) = self.replica.output() {
            if !self.hand_on(output) {
                return false;
            }
        }
        for fetch in self.replica.fetches() {
            // Closed only when the member stops.
            let _ = self.fetches.put(fetch);
        }
        self.tell_standing();
        true
    }

    fn hand_on(&mut self, output: Output<W, R>) -> bool {
        // First who leads, then what that allowed: an answer must not carry an older term than its entry.
        self.tell_standing();
        if !output.messages.is_empty() {
            // Before the log is told to write: the others write at the same time.
            self.sink.messages(output.messages);
        }
        if let Some(append) = output.append
            && self.hand_to_log(append).is_err()
        {
            // The log has failed and said so, or the member stops.
            return false;
        }
        if !output.refused.is_empty() {
            self.sink.refused(output.refused);
        }
        if !output.committed.is_empty() {
            self.done.committed = true;
            self.sink.committed(output.committed);
        }
        if !output.readable.is_empty() {
            // They may have to lie behind entries.
            self.done.committed = true;
            self.sink.readable(output.readable);
        }
        output.offers.into_iter().for_each(|offer| self.sink.offer(offer));
        true
    }

    fn hand_to_log(&mut self, append: Append) -> Result<(), Closed> {
        if !self.replica.is_alone() {
            return self.jobs.put(Job::Append(append));
        }
        // Nobody else is waited for: whoever takes the turn may write it.
        self.done.left = true;
        self.done.bytes += append.entries.iter().map(|entry| entry.data.len()).sum::<usize>();
        self.jobs.leave(Job::Append(append))
    }

    fn tell_standing(&mut self) {
        let standing = self.replica.standing();
        if standing != self.standing {
            self.standing = standing;
            self.sink.standing(standing);
        }
    }
}
