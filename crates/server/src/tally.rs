//! What this member has applied and read, counted under etcd's names, and under those of its older versions which
//! dashboards still ask for.
//!
//! A write counts on every member that applies it, as in etcd, and so does a delete by the end of a lease.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use apply::Applied;
use command::{Bridged, Effect, Outcome};
use telemetry::{Counter, Gauge, Registry};
use types::v2::{self, Action};
use types::{EventKind, OpReply, TxnReply};

/// Words of v2's writes, as labels say them.
const WRITES: [Action; 6] = [
    Action::Set,
    Action::Create,
    Action::Update,
    Action::Delete,
    Action::CompareAndSwap,
    Action::CompareAndDelete,
];

/// See the module.
pub(crate) struct Tally {
    ranges: Count,
    puts: Count,
    deletes: Count,
    txns: Count,
    put_bytes: AtomicU64,
    put_bytes_gauge: Gauge,
    writes: Vec<(Action, Counter, Counter)>,
    /// Reads of one node, and of all below one: done, and failed.
    reads: [(Counter, Counter); 2],
    expires: Counter,
    events: Counter,
    waits: Counter,
}

/// A number that goes by several names.
struct Count {
    number: AtomicU64,
    names: Vec<Counter>,
}

impl Count {
    fn new(registry: &Registry, help: &'static str, names: &[&'static str]) -> Self {
        let names = names.iter().map(|name| registry.counter(name, help, &[])).collect();
        Self { number: AtomicU64::new(0), names }
    }

    fn add(&self, more: u64) {
        if more > 0 {
            self.number.fetch_add(more, Ordering::Relaxed);
        }
    }

    fn show(&self) {
        let number = self.number.load(Ordering::Relaxed);
        self.names.iter().for_each(|name| name.absolute(number));
    }
}

/// The operations of one request.
#[derive(Default)]
struct Ops {
    ranges: u64,
    puts: u64,
    deletes: u64,
    /// Keys that were removed.
    removed: u64,
}

impl Ops {
    fn of(reply: &TxnReply) -> Self {
        let mut ops = Self::default();
        ops.add(reply);
        ops
    }

    // As deep as transactions may nest.
    fn add(&mut self, reply: &TxnReply) {
        for response in &reply.responses {
            match &response.reply {
                OpReply::Range(_) => self.ranges += 1,
                OpReply::Put(_) => self.puts += 1,
                OpReply::Delete(delete) => {
                    self.deletes += 1;
                    self.removed += delete.deleted;
                }
                OpReply::Txn(inner) => self.add(inner),
            }
        }
    }

    fn sum(&self) -> u64 {
        self.ranges + self.puts + self.deletes
    }
}

impl Tally {
    /// Registers everything.
    pub(crate) fn new(registry: &Registry) -> Self {
        let count = |help, names: &[&'static str]| Count::new(registry, help, names);
        let labelled = |name, help, action: &str| registry.counter(name, help, &[("action", action)]);
        let reads = |action| {
            let done =
                labelled("etcd_debugging_store_reads_total", "Reads of v2 that found something.", action);
            let help = "Reads of v2 that found nothing.";
            (done, labelled("etcd_debugging_store_reads_failed_total", help, action))
        };
        let writes = WRITES.map(|action| {
            let label = action.as_str();
            let done =
                labelled("etcd_debugging_store_writes_total", "Writes of v2 that were applied.", label);
            let help = "Writes of v2 that were asked of this member and refused.";
            (action, done, labelled("etcd_debugging_store_writes_failed_total", help, label))
        });
        Self {
            ranges: count("Ranges read.", &["etcd_mvcc_range_total", "etcd_debugging_mvcc_range_total"]),
            puts: count("Puts applied.", &["etcd_mvcc_put_total", "etcd_debugging_mvcc_put_total"]),
            deletes: count(
                "Deletes applied.",
                &["etcd_mvcc_delete_total", "etcd_debugging_mvcc_delete_total"],
            ),
            txns: count(
                "Transactions of more than one operation, read or applied.",
                &["etcd_mvcc_txn_total", "etcd_debugging_mvcc_txn_total"],
            ),
            put_bytes: AtomicU64::new(0),
            put_bytes_gauge: registry.gauge(
                "etcd_debugging_mvcc_total_put_size_in_bytes",
                "Keys and values put since the start, in bytes.",
                &[],
            ),
            writes: writes.into_iter().collect(),
            reads: [reads("get"), reads("getRecursive")],
            waits: registry.counter(
                "etcd_debugging_store_watch_requests_total",
                "Waits for events of v2 that were asked for.",
                &[],
            ),
            events: registry.counter(
                "etcd_debugging_mvcc_events_total",
                "Events handed out to watchers.",
                &[],
            ),
            expires: registry.counter(
                "etcd_debugging_store_expires_total",
                "Nodes of v2 whose time had come.",
                &[],
            ),
        }
    }

    /// A range was read.
    pub(crate) fn range(&self) {
        self.ranges.add(1);
    }

    /// A transaction was read.
    pub(crate) fn read_txn(&self, reply: &TxnReply) {
        self.count(&Ops::of(reply));
    }

    /// A run of entries was applied.
    pub(crate) fn applied(&self, applied: &Applied) {
        let mut removed = 0;
        for Outcome { result, .. } in applied.outcomes.iter().flatten() {
            let ops = match result {
                Ok(Effect::Put(_)) => Ops { puts: 1, ..Ops::default() },
                Ok(Effect::DeleteRange(reply)) => {
                    Ops { deletes: 1, removed: reply.deleted, ..Ops::default() }
                }
                Ok(Effect::Txn(reply)) => Ops::of(reply),
                Ok(Effect::V2(Ok(events))) => {
                    self.v2_written(events);
                    continue;
                }
                Ok(Effect::Bridged(Bridged { result: Ok(event), .. })) => {
                    self.v2_written(std::slice::from_ref(event));
                    continue;
                }
                _ => continue,
            };
            removed += ops.removed;
            self.count(&ops);
        }
        let (mut put_bytes, mut gone) = (0, 0);
        for change in &applied.changes.list {
            match change.kind() {
                EventKind::Put => put_bytes += (change.key().len() + change.value().len()) as u64,
                EventKind::Delete => gone += 1,
            }
        }
        self.put_bytes.fetch_add(put_bytes, Ordering::Relaxed);
        // What nobody deleted went with its lease.
        self.deletes.add(u64::saturating_sub(gone, removed));
    }

    /// Somebody waits for events of v2.
    pub(crate) fn v2_wait(&self) {
        self.waits.increment(1);
    }

    /// A watcher got events.
    pub(crate) fn events(&self, count: usize) {
        self.events.increment(count as u64);
    }

    /// A read of v2 was answered.
    pub(crate) fn v2_read(&self, recursive: bool, found: bool) {
        let (done, failed) = &self.reads[usize::from(recursive)];
        if found { done } else { failed }.increment(1);
    }

    /// A write of v2 was refused.
    pub(crate) fn v2_refused(&self, write: Action) {
        if let Some((_, _, failed)) = self.writes.iter().find(|(action, ..)| *action == write) {
            failed.increment(1);
        }
    }

    /// Puts everything where it is rendered from.
    pub(crate) fn show(&self) {
        for count in [&self.ranges, &self.puts, &self.deletes, &self.txns] {
            count.show();
        }
        self.put_bytes_gauge.set(self.put_bytes.load(Ordering::Relaxed) as f64);
    }

    fn count(&self, ops: &Ops) {
        self.ranges.add(ops.ranges);
        self.puts.add(ops.puts);
        self.deletes.add(ops.deletes);
        if ops.sum() > 1 {
            self.txns.add(1);
        }
    }

    fn v2_written(&self, events: &[Arc<v2::Event>]) {
        for event in events {
            if event.action == Action::Expire {
                self.expires.increment(1);
            } else if let Some((_, done, _)) = self.writes.iter().find(|(action, ..)| *action == event.action)
            {
                done.increment(1);
            }
        }
    }
}

/// The word for what a write wants to do.
pub(crate) fn action_of(write: &v2::Write) -> Action {
    match write {
        v2::Write::Set { .. } => Action::Set,
        v2::Write::Create { .. } => Action::Create,
        v2::Write::Update { .. } => Action::Update,
        v2::Write::CompareAndSwap { .. } => Action::CompareAndSwap,
        v2::Write::Delete { .. } => Action::Delete,
        v2::Write::CompareAndDelete { .. } => Action::CompareAndDelete,
        v2::Write::Expire { .. } => Action::Expire,
    }
}
