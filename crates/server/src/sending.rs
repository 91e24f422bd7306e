//! Snapshots on their way out, under etcd's names. Members fetch them; here it is told as if they were sent.
//!
//! It is under way from when a member asks what a snapshot consists of, until the end of its last file was taken.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use snap::SnapshotId;
use telemetry::{Buckets, Registry};
use types::MemberId;

/// See the module.
pub(crate) struct Sends {
    registry: Registry,
    under_way: Mutex<BTreeMap<MemberId, Sending>>,
}

struct Sending {
    id: SnapshotId,
    began: Instant,
    used: Instant,
}

impl Sends {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self { registry: registry.clone(), under_way: Mutex::default() }
    }

    /// A member begins to fetch a snapshot, or begins again.
    pub(crate) fn begins(&self, to: MemberId, id: SnapshotId) {
        let now = Instant::now();
        let earlier = self.under_way.lock().insert(to, Sending { id, began: now, used: now });
        if earlier.is_some() {
            self.failed(to);
        }
        self.show(to, 1.0);
    }

    /// A member goes on fetching.
    pub(crate) fn goes_on(&self, to: MemberId, id: SnapshotId) {
        if let Some(sending) = self.under_way.lock().get_mut(&to).filter(|sending| sending.id == id) {
            sending.used = Instant::now();
        }
    }

    /// A member has taken the end of the last file.
    pub(crate) fn ends(&self, to: MemberId, id: SnapshotId) {
        let mut under_way = self.under_way.lock();
        if under_way.get(&to).is_none_or(|sending| sending.id != id) {
            return;
        }
        let Some(sending) = under_way.remove(&to) else { return };
        drop(under_way);
        let (to_text, took) = (to.to_string(), sending.began.elapsed());
        let labels = [("To", to_text.as_str())];
        let (name, help) =
            ("etcd_network_snapshot_send_success", "Snapshots that a member has fetched here.");
        self.registry.counter(name, help, &labels).increment(1);
        let seconds = self.registry.histogram(
            "etcd_network_snapshot_send_total_duration_seconds",
            "How long it took a member to fetch a snapshot here.",
            &labels,
            Buckets::exponential(0.1, 2.0, 10),
        );
        seconds.record(took);
        self.show(to, 0.0);
    }

    /// Who has not gone on for that long has given up.
    pub(crate) fn forget(&self, idle_max: Duration) {
        let is_idle = |_: &MemberId, sending: &mut Sending| sending.used.elapsed() > idle_max;
        let idle: Vec<MemberId> = self.under_way.lock().extract_if(.., is_idle).map(|(to, _)| to).collect();
        for to in idle {
            self.failed(to);
            self.show(to, 0.0);
        }
    }

    fn failed(&self, to: MemberId) {
        let (name, help) =
            ("etcd_network_snapshot_send_failures", "Snapshots that a member began to fetch here in vain.");
        self.registry.counter(name, help, &[("To", &to.to_string())]).increment(1);
    }

    fn show(&self, to: MemberId, under_way: f64) {
        let (name, help) =
            ("etcd_network_snapshot_send_inflights_total", "Snapshots that a member is fetching here.");
        self.registry.gauge(name, help, &[("To", &to.to_string())]).set(under_way);
    }
}
