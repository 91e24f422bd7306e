//! The member's metrics, under etcd's names. Counters are counted where things happen; gauges are set when
//! somebody looks.

use telemetry::{Buckets, Counter, Gauge, Histogram, Registry};

use crate::config::Config;
use crate::member::Member;

/// etcd's bucket series for disk times: 1 ms to 8.192 s.
const DISK: Buckets = Buckets::exponential(0.001, 2.0, 14);

/// See the module.
pub(crate) struct Measures {
    registry: Registry,
    pub(crate) ranges: Counter,
    pub(crate) puts: Counter,
    pub(crate) deletes: Counter,
    pub(crate) txns: Counter,
    pub(crate) proposals_failed: Counter,
    pub(crate) read_indexes_failed: Counter,
    pub(crate) wal_fsync: Histogram,
    pub(crate) wal_bytes: Gauge,
    pub(crate) backend_commit: Histogram,
    gauges: Gauges,
}

struct Gauges {
    has_leader: Gauge,
    is_leader: Gauge,
    is_learner: Gauge,
    leader_changes: Counter,
    committed: Gauge,
    applied: Gauge,
    pending: Gauge,
    quota: Gauge,
    db_bytes: Gauge,
    db_bytes_in_use: Gauge,
    keys: Gauge,
    current_revision: Gauge,
    compact_revision: Gauge,
}

impl Measures {
    pub(crate) fn new(config: &Config, member: types::MemberId) -> Self {
        let registry = config.registry.clone();
        let counter = |name, help| registry.counter(name, help, &[]);
        let gauge = |name, help| registry.gauge(name, help, &[]);
        let version = api::level::SERVER;
        let cluster_version = api::level::CLUSTER;
        let minor = cluster_version.rsplit_once('.').map_or(cluster_version, |(minor, _)| minor);
        registry
            .gauge(
                "etcd_server_version",
                "Which version is running. 1 for 'server_version' label with current version.",
                &[("server_version", version)],
            )
            .set(1.0);
        registry
            .gauge(
                "etcd_cluster_version",
                "Which version is running. 1 for 'cluster_version' label with current cluster version",
                &[("cluster_version", minor)],
            )
            .set(1.0);
        let id = member.to_string();
        registry
            .gauge(
                "etcd_server_id",
                "Server or member ID in hexadecimal format. 1 for 'server_id' label with current ID.",
                &[("server_id", &id)],
            )
            .set(1.0);
        Self {
            ranges: counter("etcd_mvcc_range_total", "Total number of ranges seen by this member."),
            puts: counter("etcd_mvcc_put_total", "Total number of puts seen by this member."),
            deletes: counter("etcd_mvcc_delete_total", "Total number of deletes seen by this member."),
            txns: counter("etcd_mvcc_txn_total", "Total number of txns seen by this member."),
            proposals_failed: counter(
                "etcd_server_proposals_failed_total",
                "The total number of failed proposals seen.",
            ),
            read_indexes_failed: counter(
                "etcd_server_read_indexes_failed_total",
                "The total number of failed read indexes seen.",
            ),
            wal_fsync: registry.histogram(
                "etcd_disk_wal_fsync_duration_seconds",
                "The latency distributions of fsync called by WAL.",
                &[],
                DISK,
            ),
            wal_bytes: gauge("etcd_disk_wal_write_bytes_total", "Total number of bytes written in WAL."),
            backend_commit: registry.histogram(
                "etcd_disk_backend_commit_duration_seconds",
                "The latency distributions of commit called by backend.",
                &[],
                DISK,
            ),
            gauges: Gauges {
                has_leader: gauge(
                    "etcd_server_has_leader",
                    "Whether or not a leader exists. 1 is existence, 0 is not.",
                ),
                is_leader: gauge(
                    "etcd_server_is_leader",
                    "Whether or not this member is a leader. 1 if is, 0 otherwise.",
                ),
                is_learner: gauge(
                    "etcd_server_is_learner",
                    "Whether or not this member is a learner. 1 if is, 0 otherwise.",
                ),
                leader_changes: counter(
                    "etcd_server_leader_changes_seen_total",
                    "The number of leader changes seen.",
                ),
                committed: gauge(
                    "etcd_server_proposals_committed_total",
                    "The total number of consensus proposals committed.",
                ),
                applied: gauge(
                    "etcd_server_proposals_applied_total",
                    "The total number of consensus proposals applied.",
                ),
                pending: gauge(
                    "etcd_server_proposals_pending",
                    "The current number of pending proposals to commit.",
                ),
                quota: gauge(
                    "etcd_server_quota_backend_bytes",
                    "Current backend storage quota size in bytes.",
                ),
                db_bytes: gauge(
                    "etcd_mvcc_db_total_size_in_bytes",
                    "Total size of the underlying database physically allocated in bytes.",
                ),
                db_bytes_in_use: gauge(
                    "etcd_mvcc_db_total_size_in_use_in_bytes",
                    "Total size of the underlying database logically in use in bytes.",
                ),
                keys: gauge("etcd_debugging_mvcc_keys_total", "Total number of keys."),
                current_revision: gauge(
                    "etcd_debugging_mvcc_current_revision",
                    "The current revision of store.",
                ),
                compact_revision: gauge(
                    "etcd_debugging_mvcc_compact_revision",
                    "The revision of the last compaction in store.",
                ),
            },
            registry,
        }
    }

    /// All metrics of this member in Prometheus' text form.
    pub(crate) fn render(&self, member: &Member) -> String {
        let gauges = &self.gauges;
        let (house, shared) = (&member.house, &member.house.shared);
        let flag = |on: bool| if on { 1.0 } else { 0.0 };
        gauges.has_leader.set(flag(shared.leader().0 != 0));
        gauges.is_leader.set(flag(shared.leads()));
        gauges.is_learner.set(0.0);
        gauges.leader_changes.absolute(shared.leader_changes());
        gauges.committed.set(shared.commit().0 as f64);
        gauges.applied.set(shared.applied().0 as f64);
        gauges.pending.set(member.writes_under_way() as f64);
        gauges.quota.set(member.quota_bytes as f64);
        gauges.db_bytes.set(house.store.size_bytes() as f64);
        gauges.db_bytes_in_use.set(house.store.live_bytes() as f64);
        gauges.keys.set(house.mvcc.key_count() as f64);
        gauges.current_revision.set(house.mvcc.revision().0 as f64);
        gauges.compact_revision.set(house.mvcc.compacted().0 as f64);
        self.registry.render()
    }
}
