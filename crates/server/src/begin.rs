//! What a member finds in its folder, or makes there: the state and the log that belongs to it.
//!
//! INVARIANT: the log is made last. A start that was cut off before leaves a folder that begins again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use apply::{Machine, Position};
use consensus::{BOOTSTRAP_INDEX, BOOTSTRAP_TERM};
use parking_lot::Mutex;
use telemetry::{Gauge, Histogram};
use types::{ClusterId, Index, MemberId, Term};
use wal::{Disk, HardState, Identity, Observer, Recovered, Wal};

use crate::alone::go_on_alone;
use crate::config::{Beginning, Config};
use crate::lately::Lately;
use crate::measures::Measures;
use crate::start::StartError;

/// State and log, as they fit together.
pub(crate) struct Begun {
    pub(crate) machine: Machine,
    pub(crate) wal: Wal,
    pub(crate) recovered: Recovered,
    pub(crate) cluster: ClusterId,
    pub(crate) id: MemberId,
}

/// Opens the log; begins it, and the database with it, where there is none. `snapshot` is what the database came
/// from, if it came from one.
pub(crate) fn begin(
    config: &Config,
    mut machine: Machine,
    snapshot: Option<Position>,
    disk: Arc<dyn Disk>,
    measures: &Measures,
) -> Result<Begun, StartError> {
    let has_log = !disk.list().map_err(StartError::Folder)?.is_empty();
    if machine.position() == Position::default() && !has_log {
        let position = match config.beginning {
            Beginning::Found => Position { index: Index(BOOTSTRAP_INDEX), term: Term(BOOTSTRAP_TERM) },
            // All that it knows are the members, until a snapshot tells it the rest.
            Beginning::Join => Position::default(),
        };
        machine.bootstrap(position, &config.founders)?;
    }
    let identity = Identity { cluster: config.cluster.0, member: config.member.0, salt: rand::random() };
    let log_config = wal::Config {
        segment_bytes: config.segment_bytes,
        observer: Arc::new(Stopwatch::new(&measures.wal_fsync, &measures.wal_bytes, &measures.work.syncs)),
        ..wal::Config::new(identity)
    };
    let (mut wal, mut recovered) = Wal::open(disk, &log_config)?;
    if let Some(cut) = &recovered.cut {
        tracing::info!(
            file = cut.file,
            offset = cut.offset,
            "cut the torn end of the log; it was never acknowledged"
        );
    }
    let base = match snapshot {
        Some(snapshot) => snapshot,
        None if machine.position() == Position::default() => Position::default(),
        None => Position { index: Index(BOOTSTRAP_INDEX), term: Term(BOOTSTRAP_TERM) },
    };
    if !reaches(&wal, base) {
        let hard_state = after(recovered.hard_state, base);
        wal.reset_to(base.index.0, base.term.0, Some(hard_state))?;
        recovered.hard_state = hard_state;
        recovered.first_index = base.index.0 + 1;
        recovered.last_index = base.index.0;
    }
    let (cluster, id) = (ClusterId(recovered.identity.cluster), MemberId(recovered.identity.member));
    if config.force_alone && machine.position() != Position::default() {
        recovered.hard_state = go_on_alone(&mut machine, &mut wal, id)?;
    }
    if machine.members().is_removed(id) {
        return Err(StartError::Removed { member: id });
    }
    if machine.position() != Position::default() && !machine.members().contains(id) {
        return Err(StartError::NotAMember { member: id });
    }
    Ok(Begun { machine, wal, recovered, cluster, id })
}

/// Whether the log goes on from `base` or from later: not if the process ended between the swap of the database
/// and the log's new beginning.
fn reaches(wal: &Wal, base: Position) -> bool {
    let (first, last) = (wal.first_index(), wal.last_index());
    base.index.0 + 1 < first || base.index.0 <= last && wal.reader().term(base.index.0) == Some(base.term.0)
}

fn after(hard_state: HardState, base: Position) -> HardState {
    let commit = hard_state.commit.max(base.index.0);
    if hard_state.term < base.term.0 {
        HardState { term: base.term.0, vote: 0, commit }
    } else {
        HardState { commit, ..hard_state }
    }
}

/// Times what the log does, on the log's own thread.
struct Stopwatch {
    fsync: Histogram,
    bytes: Gauge,
    lately: Arc<Lately>,
    began: Mutex<Option<Instant>>,
}

impl Stopwatch {
    fn new(fsync: &Histogram, bytes: &Gauge, lately: &Arc<Lately>) -> Self {
        let (fsync, bytes, lately) = (fsync.clone(), bytes.clone(), Arc::clone(lately));
        Self { fsync, bytes, lately, began: Mutex::new(None) }
    }
}

/// A sync that takes longer than this is worth a line in the log, as in etcd.
const SLOW_SYNC: Duration = Duration::from_secs(1);

impl Observer for Stopwatch {
    fn wrote(&self, bytes: u64) {
        self.bytes.increment(bytes as f64);
    }

    fn sync_begins(&self) {
        *self.began.lock() = Some(Instant::now());
    }

    fn sync_ends(&self) {
        let Some(began) = self.began.lock().take() else { return };
        let took = began.elapsed();
        self.fsync.record(took);
        self.lately.record(began, took);
        if took > SLOW_SYNC {
            tracing::warn!(?took, expected = ?SLOW_SYNC, "slow fdatasync; the disk of the log is overloaded");
        }
    }
}
