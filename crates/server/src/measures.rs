//! The member's metrics, under etcd's names. What happens is counted where it happens; what merely is, is looked
//! up when somebody asks.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use telemetry::{Buckets, Counter, Gauge, Histogram, Registry};
use types::{Alarm, MemberId};

use crate::asking::LARGE_READS_MAX;
use crate::member::Member;
use crate::tally::Tally;
use crate::work::WorkMeasures;

/// Alarms that are shown, with those that were lowered; clients may raise one for any id they like.
const ALARMS_SHOWN_MAX: usize = 64;

/// See the module.
pub(crate) struct Measures {
    registry: Registry,
    pub(crate) tally: Arc<Tally>,
    pub(crate) work: WorkMeasures,
    pub(crate) proposals_failed: Counter,
    pub(crate) read_indexes_failed: Counter,
    pub(crate) promoted: Counter,
    pub(crate) promotions_failed: Counter,
    pub(crate) wal_fsync: Histogram,
    pub(crate) wal_bytes: Gauge,
    pub(crate) backend_commit: Histogram,
    pub(crate) backend_snapshot: Histogram,
    pub(crate) backend_defragment: Histogram,
    leader_changes: Counter,
    standing: Vec<Gauge>,
    // Those that were raised at a look, in this life.
    alarms: Mutex<Vec<Alarm>>,
}

/// What happens to leases.
#[derive(Clone)]
pub(crate) struct LeaseMeasures {
    granted: Counter,
    pub(crate) revoked: Counter,
    pub(crate) renewed: Counter,
    pub(crate) expired: Counter,
    ttl: Histogram,
}

impl LeaseMeasures {
    pub(crate) fn new(registry: &Registry) -> Self {
        let counter = |name, help| registry.counter(name, help, &[]);
        Self {
            granted: counter("etcd_debugging_lease_granted_total", "The total number of granted leases."),
            revoked: counter("etcd_debugging_lease_revoked_total", "The total number of revoked leases."),
            renewed: counter(
                "etcd_debugging_lease_renewed_total",
                "The number of renewed leases seen by the leader.",
            ),
            expired: counter(
                "etcd_debugging_server_lease_expired_total",
                "The total number of expired leases.",
            ),
            ttl: registry.histogram(
                "etcd_debugging_lease_ttl_total",
                "Bucketed histogram of lease TTLs.",
                &[],
                Buckets::exponential(1.0, 2.0, 24),
            ),
        }
    }

    /// A lease was granted, for so many seconds.
    pub(crate) fn granted(&self, ttl: i64) {
        self.granted.increment(1);
        self.ttl.record(ttl as f64);
    }
}

/// A gauge that is looked up: its name, its help, and where the number comes from.
type Standing = (&'static str, &'static str, fn(&Member) -> f64);

const STANDING: &[Standing] = &[
    ("etcd_debugging_auth_revision", "The current revision of auth store.", |member| {
        member.house.wing.look().auth.revision() as f64
    }),
    ("etcd_mvcc_db_open_read_transactions", "Large reads that are under way.", |member| {
        (LARGE_READS_MAX - member.large_reads.available_permits().min(LARGE_READS_MAX)) as f64
    }),
    (
        "etcd_debugging_mvcc_db_total_size_in_bytes",
        "The name of etcd 3.4 for etcd_mvcc_db_total_size_in_bytes.",
        |member| member.house.wing.look().store.size_bytes() as f64,
    ),
    ("etcd_debugging_store_watchers", "Waits for events of v2 that are open.", |member| {
        member.house.waits.count() as f64
    }),
    ("etcd_disk_defrag_inflight", "Whether room is being given back to the disk: 1 or 0.", |member| {
        flag(member.defragmenter.is_running())
    }),
    ("etcd_server_has_leader", "Whether or not a leader exists. 1 is existence, 0 is not.", |member| {
        flag(member.house.shared.leader() != MemberId(0))
    }),
    ("etcd_server_is_leader", "Whether or not this member is a leader. 1 if is, 0 otherwise.", |member| {
        flag(member.house.shared.leads())
    }),
    ("etcd_server_is_learner", "Whether or not this member is a learner. 1 if is, 0 otherwise.", |member| {
        flag(member.house.wing.look().members.is_learner(member.id))
    }),
    (
        "etcd_server_proposals_committed_total",
        "The total number of consensus proposals committed.",
        |member| member.house.shared.commit().0 as f64,
    ),
    ("etcd_server_proposals_applied_total", "The total number of consensus proposals applied.", |member| {
        member.house.shared.applied().0 as f64
    }),
    ("etcd_server_proposals_pending", "The current number of pending proposals to commit.", |member| {
        member.admission.writes() as f64
    }),
    ("etcd_server_quota_backend_bytes", "Current backend storage quota size in bytes.", |member| {
        member.quota_bytes as f64
    }),
    (
        "etcd_mvcc_db_total_size_in_bytes",
        "Total size of the underlying database physically allocated in bytes.",
        |member| member.house.wing.look().store.size_bytes() as f64,
    ),
    (
        "etcd_mvcc_db_total_size_in_use_in_bytes",
        "Total size of the underlying database logically in use in bytes.",
        |member| member.house.wing.look().store.live_bytes() as f64,
    ),
    ("etcd_debugging_mvcc_keys_total", "Total number of keys.", |member| {
        member.house.wing.look().mvcc.key_count() as f64
    }),
    ("etcd_debugging_mvcc_watch_stream_total", "Total number of watch streams.", |member| {
        member.window.numbers().counts.streams as f64
    }),
    ("etcd_debugging_mvcc_watcher_total", "Total number of watchers.", |member| {
        member.window.numbers().counts.watches as f64
    }),
    ("etcd_debugging_mvcc_pending_events_total", "Total number of pending events to be sent.", |member| {
        member.window.numbers().pending as f64
    }),
    ("etcd_debugging_mvcc_slow_watcher_total", "Total number of unsynced slow watchers.", |member| {
        member.window.numbers().counts.lagging as f64
    }),
    ("etcd_debugging_mvcc_current_revision", "The current revision of store.", |member| {
        member.house.wing.look().mvcc.revision().0 as f64
    }),
    ("etcd_debugging_mvcc_compact_revision", "The revision of the last compaction in store.", |member| {
        member.house.wing.look().mvcc.compacted().0 as f64
    }),
];

impl Measures {
    /// Registers everything.
    pub(crate) fn new(registry: Registry, slow_apply: Duration) -> Self {
        let counter = |name, help| registry.counter(name, help, &[]);
        let gauge = |name, help| registry.gauge(name, help, &[]);
        let seconds = |name, help| registry.histogram(name, help, &[], Buckets::WAIT);
        Self {
            tally: Arc::new(Tally::new(&registry)),
            work: WorkMeasures::new(&registry, slow_apply),
            proposals_failed: counter(
                "etcd_server_proposals_failed_total",
                "The total number of failed proposals seen.",
            ),
            read_indexes_failed: counter(
                "etcd_server_read_indexes_failed_total",
                "The total number of failed read indexes seen.",
            ),
            promoted: counter(
                "etcd_server_learner_promote_successes",
                "The total number of successful learner promotions while this member is leader.",
            ),
            promotions_failed: registry.counter(
                "etcd_server_learner_promote_failures",
                "The total number of failed learner promotions (likely learner not ready) while this member is leader.",
                &[("Reason", "Unknown")],
            ),
            wal_fsync: seconds(
                "etcd_disk_wal_fsync_duration_seconds",
                "The latency distributions of fsync called by WAL.",
            ),
            wal_bytes: gauge("etcd_disk_wal_write_bytes_total", "Total number of bytes written in WAL."),
            backend_commit: seconds(
                "etcd_disk_backend_commit_duration_seconds",
                "The latency distributions of commit called by backend.",
            ),
            backend_snapshot: registry.histogram(
                "etcd_disk_backend_snapshot_duration_seconds",
                "How long snapshots for operators took, from the question to the last byte.",
                &[],
                Buckets::exponential(0.01, 2.0, 17),
            ),
            backend_defragment: registry.histogram(
                "etcd_disk_backend_defrag_duration_seconds",
                "How long it took to give room back to the disk.",
                &[],
                Buckets::exponential(0.1, 2.0, 13),
            ),
            leader_changes: counter(
                "etcd_server_leader_changes_seen_total",
                "The number of leader changes seen.",
            ),
            alarms: Mutex::default(),
            standing: STANDING.iter().map(|(name, help, _)| gauge(name, help)).collect(),
            registry,
        }
    }

    /// Says what never changes.
    pub(crate) fn say_who_we_are(&self, member: MemberId) {
        say_who_we_are(&self.registry, member);
    }

    /// All metrics of this member in Prometheus' text form.
    pub(crate) fn render(&self, member: &Member) -> String {
        self.leader_changes.absolute(member.house.shared.leader_changes());
        for (gauge, (_, _, look_up)) in self.standing.iter().zip(STANDING) {
            gauge.set(look_up(member));
        }
        self.tally.show();
        self.look_at_peers(member);
        self.look_at_alarms(member);
        self.registry.render()
    }
}

impl Measures {
    fn look_at_alarms(&self, member: &Member) {
        let raised = member.house.wing.look().alarms.list();
        let mut alarms = self.alarms.lock();
        for alarm in &raised {
            if !alarms.contains(alarm) && alarms.len() < ALARMS_SHOWN_MAX {
                alarms.push(*alarm);
            }
        }
        for alarm in &*alarms {
            let (whose, kind) = (alarm.member.to_string(), alarm.kind.to_string());
            let labels = [("server_id", whose.as_str()), ("alarm_type", kind.as_str())];
            let (name, help) = ("etcd_debugging_server_alarms", "Alarms: 1 for one that is raised.");
            self.registry.gauge(name, help, &labels).set(flag(raised.contains(alarm)));
        }
    }

    fn look_at_peers(&self, member: &Member) {
        let local = member.id.to_string();
        for peer in member.house.transport.peers() {
            let remote = peer.id.to_string();
            let registry = &self.registry;
            let count = |name, help, label, number| {
                registry.counter(name, help, &[(label, &remote)]).absolute(number);
            };
            count(
                "etcd_network_peer_sent_bytes_total",
                "The total number of bytes sent to peers.",
                "To",
                peer.sent_bytes,
            );
            count(
                "etcd_network_peer_received_bytes_total",
                "The total number of bytes received from peers.",
                "From",
                peer.received_bytes,
            );
            count(
                "etcd_network_peer_sent_failures_total",
                "The total number of send failures from peers.",
                "To",
                peer.dropped_frames,
            );
            registry
                .counter(
                    "etcd_network_disconnected_peers_total",
                    "Streams to a peer that broke.",
                    &[("Local", &local), ("Remote", &remote)],
                )
                .absolute(peer.losses);
            let between = [("Local", local.as_str()), ("Remote", remote.as_str())];
            let gauge = |name, help, number| registry.gauge(name, help, &between).set(number);
            gauge("etcd_network_known_peers", "The current number of known peers.", 1.0);
            gauge(
                "etcd_network_active_peers",
                "The current number of active peer connections.",
                flag(peer.connected_since.is_some()),
            );
        }
    }
}

fn flag(on: bool) -> f64 {
    if on { 1.0 } else { 0.0 }
}

/// Gauges that are 1 and tell in their label what they have to tell.
fn say_who_we_are(registry: &Registry, member: MemberId) {
    let cluster = api::level::CLUSTER;
    let cluster = cluster.rsplit_once('.').map_or(cluster, |(minor, _)| minor);
    let say = |name, help, label, value: &str| registry.gauge(name, help, &[(label, value)]).set(1.0);
    say(
        "etcd_server_version",
        "Which version is running. 1 for 'server_version' label with current version.",
        "server_version",
        api::level::SERVER,
    );
    say(
        "etcd_cluster_version",
        "Which version is running. 1 for 'cluster_version' label with current cluster version",
        "cluster_version",
        cluster,
    );
    say(
        "etcd_server_id",
        "Server or member ID in hexadecimal format. 1 for 'server_id' label with current ID.",
        "server_id",
        &member.to_string(),
    );
}
