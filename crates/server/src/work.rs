//! How long the member's own work takes, under etcd's names: compaction, hashes, snapshots that come in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use telemetry::{Buckets, Counter, Gauge, Histogram, Registry};
use types::MemberId;

use crate::lately::Lately;

/// See the module.
#[derive(Clone)]
pub(crate) struct WorkMeasures {
    registry: Registry,
    /// The hash of everything.
    pub(crate) hash: Histogram,
    /// The hash of the history up to a revision.
    pub(crate) hash_kv: Histogram,
    slow_applies: Counter,
    /// A run of entries that takes longer counts as slow.
    slow_apply: Duration,
    applies: Arc<Lately>,
    /// Syncs of the log.
    pub(crate) syncs: Arc<Lately>,
    /// Reads that nobody confirmed in time.
    pub(crate) slow_reads: Counter,
    /// Snapshots that are being installed.
    pub(crate) installing: Gauge,
    snapshot_saved: Histogram,
    /// Fetched snapshots, from the last byte until they were checked and on disk.
    pub(crate) snapshot_synced: Histogram,
    sweep_pause: Histogram,
    sweep_total: Histogram,
    sweep_keys: Counter,
    sweep_last: Gauge,
}

impl WorkMeasures {
    pub(crate) fn new(registry: &Registry, slow_apply: Duration) -> Self {
        let histogram = |name, help, buckets| registry.histogram(name, help, &[], buckets);
        Self {
            hash: histogram("etcd_mvcc_hash_duration_seconds", "Hashes of everything.", Buckets::WALK),
            hash_kv: histogram(
                "etcd_mvcc_hash_rev_duration_seconds",
                "Hashes of the history up to a revision.",
                Buckets::WALK,
            ),
            slow_applies: registry.counter(
                "etcd_server_slow_apply_total",
                "Runs of entries that took longer to apply than --warning-apply-duration.",
                &[],
            ),
            slow_apply,
            applies: Arc::new(Lately::new()),
            syncs: Arc::new(Lately::new()),
            slow_reads: registry.counter(
                "etcd_server_slow_read_indexes_total",
                "Linearizable reads that nobody confirmed in time.",
                &[],
            ),
            installing: registry.gauge(
                "etcd_server_snapshot_apply_in_progress_total",
                "1 while a snapshot takes the place of this member's state.",
                &[],
            ),
            snapshot_saved: histogram(
                "etcd_snap_db_save_total_duration_seconds",
                "Snapshots that were fetched, until they were checked and on disk.",
                Buckets::exponential(0.1, 2.0, 10),
            ),
            snapshot_synced: histogram(
                "etcd_snap_db_fsync_duration_seconds",
                "Snapshots that were fetched, from the last byte until they were checked and on disk.",
                Buckets::WAIT,
            ),
            sweep_pause: histogram(
                "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds",
                "Steps of the removal of compacted history, in ms; nobody waits for one.",
                Buckets::exponential(1.0, 2.0, 13),
            ),
            sweep_total: histogram(
                "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
                "Removals of compacted history from the first step to the last, in ms.",
                Buckets::exponential(100.0, 2.0, 14),
            ),
            sweep_keys: registry.counter(
                "etcd_debugging_mvcc_db_compaction_keys_total",
                "Versions that compactions took away.",
                &[],
            ),
            sweep_last: registry.gauge(
                "etcd_debugging_mvcc_db_compaction_last",
                "When the last removal of compacted history ended, in seconds since 1970.",
                &[],
            ),
            registry: registry.clone(),
        }
    }

    /// A run of so many entries was applied.
    pub(crate) fn applied(&self, began: Instant, took: Duration, entries: usize) {
        self.applies.record(began, took);
        if took > self.slow_apply {
            self.slow_applies.increment(1);
            let expected = self.slow_apply;
            tracing::warn!(?took, { "expected-duration" } = ?expected, entries, "apply request took too long");
        }
    }

    /// What the last `span` had in it that makes requests slow.
    pub(crate) fn stages(&self, span: Duration) -> api::Stages {
        let now = Instant::now();
        api::Stages {
            log_sync: self.syncs.longest(now, span),
            log_sync_of_a_minute: self.syncs.longest(now, Duration::from_mins(1)),
            apply: self.applies.longest(now, span),
        }
    }

    /// A step of a sweep took versions away.
    pub(crate) fn swept_step(&self, took: Duration, versions: usize) {
        self.sweep_pause.record(took.as_secs_f64() * 1e3);
        self.sweep_keys.increment(versions as u64);
    }

    /// A sweep has ended, at `wall_ns` since 1970.
    pub(crate) fn swept(&self, took: Duration, wall_ns: i64) {
        self.sweep_total.record(took.as_secs_f64() * 1e3);
        self.sweep_last.set((wall_ns / 1_000_000_000) as f64);
    }

    /// A snapshot is being fetched. What it answers is told how that ends.
    pub(crate) fn receiving(&self, from: MemberId) -> Receiving {
        let from = from.to_string();
        let gauge = self.registry.gauge(
            "etcd_network_snapshot_receive_inflights_total",
            "Snapshots that are being fetched from a member.",
            &[("From", &from)],
        );
        gauge.set(1.0);
        Receiving { measures: self.clone(), from, gauge }
    }
}

/// A snapshot on its way in.
pub(crate) struct Receiving {
    measures: WorkMeasures,
    from: String,
    gauge: Gauge,
}

impl Receiving {
    /// It is here.
    pub(crate) fn succeeded(&self, took: Duration) {
        let from = [("From", self.from.as_str())];
        let (registry, name) = (&self.measures.registry, "etcd_network_snapshot_receive_success");
        registry.counter(name, "Snapshots that were fetched from a member.", &from).increment(1);
        let seconds = registry.histogram(
            "etcd_network_snapshot_receive_total_duration_seconds",
            "How long it took to fetch a snapshot from a member.",
            &from,
            Buckets::exponential(0.1, 2.0, 10),
        );
        seconds.record(took);
        self.measures.snapshot_saved.record(took);
    }

    /// It could not be had.
    pub(crate) fn failed(&self) {
        let (name, help) =
            ("etcd_network_snapshot_receive_failures", "Snapshots that could not be fetched from a member.");
        self.measures.registry.counter(name, help, &[("From", &self.from)]).increment(1);
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.gauge.set(0.0);
    }
}
