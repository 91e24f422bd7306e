//! The thread that applies: everything committed that waits becomes one run, then tickets are answered.

use std::sync::Arc;
use std::time::Instant;

use apply::{ApplyError, Entry, Machine};
use consensus::{Committed, Mailbox, Readable, Sink, Standing};
use telemetry::Histogram;
use wal::AppendError;

use crate::shared::{Shared, chain};
use crate::ticket::{ReadTicket, WriteTicket};

/// A run takes entries of up to this many bytes: a batch of the database is held in memory, and its tickets
/// wait for all of it.
const RUN_BYTES_MAX: usize = 4 << 20;

/// What consensus hands over.
pub(crate) enum Delivery {
    Committed(Vec<Committed<WriteTicket>>),
    Readable(Vec<Readable<ReadTicket>>),
}

pub(crate) type Deliveries = Mailbox<Delivery>;

/// The consensus thread's end of the stairs.
pub(crate) struct Stairs {
    pub(crate) deliveries: Arc<Deliveries>,
    pub(crate) shared: Arc<Shared>,
}

impl Sink<WriteTicket, ReadTicket> for Stairs {
    fn committed(&mut self, entries: Vec<Committed<WriteTicket>>) {
        // Closed only when the member stops; dropping the tickets tells their owners.
        let _ = self.deliveries.put(Delivery::Committed(entries));
    }

    fn readable(&mut self, reads: Vec<Readable<ReadTicket>>) {
        let applied = self.shared.applied();
        let (now, later): (Vec<_>, Vec<_>) = reads.into_iter().partition(|read| read.index <= applied);
        now.into_iter().flat_map(|read| read.tickets).for_each(ReadTicket::release);
        if !later.is_empty() {
            // Behind the entries that it waits for, which were delivered before it.
            let _ = self.deliveries.put(Delivery::Readable(later));
        }
    }

    fn overtaken(&mut self, tickets: Vec<WriteTicket>) {
        drop(tickets);
    }

    fn standing(&mut self, standing: Standing) {
        self.shared.set_standing(standing);
    }

    fn failed(&mut self, error: AppendError) {
        self.shared.fail(chain(&error));
    }
}

/// Applies until the box is closed or an entry cannot be applied.
pub(crate) fn run(
    mut machine: Machine,
    deliveries: &Deliveries,
    shared: &Shared,
    seconds: &Histogram,
) -> Machine {
    let mut taken = Vec::new();
    while deliveries.take(&mut taken, None) {
        for (entries, reads) in runs(taken.drain(..)) {
            let began = Instant::now();
            if let Err(error) = apply_run(&mut machine, entries, shared) {
                shared.fail(chain(&error));
                deliveries.close();
                return machine;
            }
            seconds.record(began.elapsed());
            reads.into_iter().flat_map(|read| read.tickets).for_each(ReadTicket::release);
        }
    }
    machine
}

type Run = (Vec<Committed<WriteTicket>>, Vec<Readable<ReadTicket>>);

// Joins what waits into as few runs as the limit allows; reads stay behind the entries before them.
fn runs(deliveries: impl Iterator<Item = Delivery>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut bytes = 0;
    for delivery in deliveries {
        match delivery {
            Delivery::Committed(entries) => {
                for entry in entries {
                    bytes += entry.data.len();
                    match runs.last_mut() {
                        Some(run) if bytes <= RUN_BYTES_MAX => run.0.push(entry),
                        _ => {
                            bytes = entry.data.len();
                            runs.push((vec![entry], Vec::new()));
                        }
                    }
                }
            }
            Delivery::Readable(reads) => match runs.last_mut() {
                Some(run) => run.1.extend(reads),
                None => runs.push((Vec::new(), reads)),
            },
        }
    }
    runs
}

fn apply_run(
    machine: &mut Machine,
    committed: Vec<Committed<WriteTicket>>,
    shared: &Shared,
) -> Result<(), ApplyError> {
    let mut tickets = Vec::with_capacity(committed.len());
    let mut entries = Vec::with_capacity(committed.len());
    let mut bytes = 0;
    for entry in committed {
        bytes += entry.data.len() as u64;
        tickets.push(entry.tickets);
        entries.push(Entry { index: entry.index, term: entry.term, data: entry.data });
    }
    if entries.is_empty() {
        return Ok(());
    }
    let outcomes = machine.apply(&entries)?;
    shared.set_applied(machine.position().index, bytes);
    for (tickets, outcomes) in tickets.into_iter().zip(outcomes) {
        for (ticket, outcome) in tickets.into_iter().zip(outcomes) {
            ticket.answer(outcome);
        }
    }
    Ok(())
}
