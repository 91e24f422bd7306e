//! Where entries are applied: everything committed that waits becomes one run, then tickets are answered.
//!
//! There is a thread for it, so that the log goes on while a run is applied. When the log has nothing to do, its
//! thread applies what it has just made durable: waking another one would cost more than the work.
//!
//! INVARIANT: entries are taken out only by who holds the stairs, so they are applied in order.
//! INVARIANT: a read is released when the index that it was given is applied, and not before.

use std::sync::Arc;
use std::time::Instant;

use apply::{ApplyError, Entry, Machine};
use consensus::{
    Committed, Envelope, Failure, Mailbox, NotTaken, Readable, Sink, SnapshotMark, SnapshotOffer, Standing,
};
use parking_lot::Mutex;
use stdx::chain;
use telemetry::Histogram;

use crate::shared::Shared;
use crate::ticket::{ReadTicket, WriteTicket};

/// A run takes entries of up to this many bytes: a batch of the database is held in memory, and its tickets
/// wait for all of it.
const RUN_BYTES_MAX: usize = 4 << 20;

/// What consensus hands over.
enum Delivery {
    Committed(Vec<Committed<WriteTicket>>),
    Readable(Vec<Readable<ReadTicket>>),
}

/// See the module.
pub(crate) struct Applier {
    stairs: Mutex<Stairs>,
    // Bounded by what was admitted: consensus hands out only what was proposed and not yet applied.
    deliveries: Mailbox<Delivery>,
    shared: Arc<Shared>,
    seconds: Histogram,
}

struct Stairs {
    machine: Machine,
    // Reads whose index is committed and not yet applied.
    waiting: Vec<Readable<ReadTicket>>,
}

impl Applier {
    pub(crate) fn new(machine: Machine, shared: Arc<Shared>, seconds: Histogram) -> Self {
        let stairs = Stairs { machine, waiting: Vec::new() };
        Self { stairs: Mutex::new(stairs), deliveries: Mailbox::new(), shared, seconds }
    }

    /// Applies until the box is closed or an entry cannot be applied. For the thread.
    pub(crate) fn run(&self) {
        while self.deliveries.wait(None) {
            self.apply_all(&mut self.stairs.lock());
        }
    }

    /// Takes nothing more in; what is inside is applied.
    pub(crate) fn close(&self) {
        self.deliveries.close();
    }

    fn apply_all(&self, stairs: &mut Stairs) {
        let mut taken = Vec::new();
        while self.deliveries.take_now(&mut taken) {
            let mut entries = Vec::new();
            for delivery in taken.drain(..) {
                match delivery {
                    Delivery::Committed(more) => entries.extend(more),
                    Delivery::Readable(reads) => stairs.waiting.extend(reads),
                }
            }
            if let Err(error) = self.apply_in_runs(stairs, entries) {
                self.shared.fail(chain(&error));
                self.deliveries.close();
                // Tickets that go without an outcome tell their owners.
                stairs.waiting.clear();
                return;
            }
        }
    }

    fn apply_in_runs(
        &self,
        stairs: &mut Stairs,
        entries: Vec<Committed<WriteTicket>>,
    ) -> Result<(), ApplyError> {
        let mut run = Vec::new();
        let mut bytes = 0;
        for entry in entries {
            if bytes > 0 && bytes + entry.data.len() > RUN_BYTES_MAX {
                self.apply_run(&mut stairs.machine, std::mem::take(&mut run))?;
                bytes = 0;
            }
            bytes += entry.data.len();
            run.push(entry);
        }
        if !run.is_empty() {
            self.apply_run(&mut stairs.machine, run)?;
        }
        let applied = stairs.machine.position().index;
        for read in stairs.waiting.extract_if(.., |read| read.index <= applied) {
            read.tickets.into_iter().for_each(ReadTicket::release);
        }
        Ok(())
    }

    fn apply_run(
        &self,
        machine: &mut Machine,
        committed: Vec<Committed<WriteTicket>>,
    ) -> Result<(), ApplyError> {
        let began = Instant::now();
        let mut tickets = Vec::with_capacity(committed.len());
        let mut entries = Vec::with_capacity(committed.len());
        let mut bytes = 0;
        for entry in committed {
            bytes += entry.data.len() as u64;
            tickets.push(entry.tickets);
            entries.push(Entry { index: entry.index, term: entry.term, data: entry.data });
        }
        let outcomes = machine.apply(&entries)?;
        self.shared.set_applied(machine.position().index, bytes);
        self.seconds.record(began.elapsed());
        for (tickets, outcomes) in tickets.into_iter().zip(outcomes) {
            let mut outcomes = outcomes.into_iter().enumerate();
            for (number, ticket) in tickets {
                // Both ascend; a ticket whose command has no outcome goes without an answer.
                if let Some((_, outcome)) = outcomes.find(|(at, _)| *at == number) {
                    ticket.answer(outcome);
                }
            }
        }
        Ok(())
    }
}

impl Sink<WriteTicket, ReadTicket> for Applier {
    fn committed(&self, entries: Vec<Committed<WriteTicket>>) {
        // Closed only when the member stops; dropping the tickets tells their owners.
        let _ = self.deliveries.leave(Delivery::Committed(entries));
    }

    fn rouse(&self) {
        self.deliveries.rouse();
    }

    fn apply_here(&self) {
        // Whoever has the stairs looks again before it waits.
        if let Some(mut stairs) = self.stairs.try_lock() {
            self.apply_all(&mut stairs);
        }
        self.deliveries.rouse();
    }

    fn readable(&self, reads: Vec<Readable<ReadTicket>>) {
        let applied = self.shared.applied();
        let (now, later): (Vec<_>, Vec<_>) = reads.into_iter().partition(|read| read.index <= applied);
        now.into_iter().flat_map(|read| read.tickets).for_each(ReadTicket::release);
        if !later.is_empty() {
            // Behind the entries that it waits for, which were delivered before it.
            let _ = self.deliveries.leave(Delivery::Readable(later));
        }
    }

    fn refused(&self, tickets: Vec<(WriteTicket, NotTaken)>) {
        drop(tickets);
    }

    fn messages(&self, messages: Vec<Envelope>) {
        // There is no way to another member yet, and a cluster of one has nothing to say.
        drop(messages);
    }

    fn offer(&self, offer: SnapshotOffer) {
        tracing::warn!(from = %offer.from, "a snapshot was offered, and there is no way to fetch it");
    }

    fn install(&self, _mark: &SnapshotMark) -> Result<(), String> {
        Err("this member cannot install snapshots".to_owned())
    }

    fn standing(&self, standing: Standing) {
        self.shared.set_standing(standing);
    }

    fn failed(&self, failure: Failure) {
        self.shared.fail(chain(&failure));
    }
}
