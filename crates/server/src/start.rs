//! How a member comes to life: from a folder, new or old, to threads that run.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use apply::{Machine, Position};
use consensus::{
    BOOTSTRAP_INDEX, BOOTSTRAP_TERM, Driver, DriverConfig, LogError, Mailbox, NoSnapshots, Replica,
    ReplicaConfig,
};
use parking_lot::Mutex;
use store::{Store, StoreError};
use telemetry::{Gauge, Histogram};
use tokio::sync::Semaphore;
use types::{ClusterId, Index, MemberId, MemberRecord, Term};
use wal::{Identity, Observer, Recovered, Wal};

use crate::admission::Admission;
use crate::applier::Applier;
use crate::config::Config;
use crate::folder::Folder;
use crate::housekeeper;
use crate::measures::Measures;
use crate::member::{House, LARGE_READS_MAX, Member};
use crate::rooms::{Rooms, Wing};
use crate::shared::Shared;
use crate::timekeeper;

/// Proposals and reads that may wait to be seen by the replica; more are refused. A turn takes all of them at
/// once, so this many wait only when the disk is far behind.
const WAITING_MAX: usize = 131_072;

/// Why a member did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database could not be opened or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state in the database could not be read.
    #[error(transparent)]
    State(#[from] apply::OpenError),
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] crate::folder::FolderError),
    /// The log could not be opened.
    #[error("cannot open the log, member/wal in the data folder")]
    Log(#[from] wal::OpenError),
    /// The log could not be begun.
    #[error("cannot begin the log")]
    Begin(#[from] wal::AppendError),
    /// The log and the database do not fit.
    #[error(transparent)]
    Mixed(#[from] LogError),
    /// A member that is not in its own cluster.
    #[error(
        "this member ({member}) is not in the member list of its data folder; the folder belongs to another member"
    )]
    NotAMember {
        /// The member that the log belongs to.
        member: MemberId,
    },
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[from] std::io::Error),
}

impl Member {
    /// Starts to take part, with the data in `folder`, which the caller keeps for as long as the member lives.
    /// Returns as soon as the threads run; [`Member::ready`] tells when it serves.
    pub fn start(config: &Config, folder: &Folder) -> Result<Arc<Self>, StartError> {
        let options =
            store::Options { memory_bytes: config.database_memory_bytes, ..store::Options::default() };
        let live = folder.generations().clean()?;
        let store = Store::open(&live.path, &options)?;
        Self::start_on(config, store, Arc::new(wal::Folder::new(folder.wal())))
    }

    /// The same on a database and a log's disk that are open already.
    pub(crate) fn start_on(
        config: &Config,
        store: Store,
        disk: Arc<dyn wal::Disk>,
    ) -> Result<Arc<Self>, StartError> {
        let mut machine = Machine::open(Arc::new(store))?;
        let measures = Measures::new(config.registry.clone(), config.member);
        let (wal, recovered) = open_log(config, disk, &mut machine, &measures)?;
        let (cluster, id) = (ClusterId(recovered.identity.cluster), MemberId(recovered.identity.member));
        let voters: Vec<MemberId> = machine
            .members()
            .list()
            .into_iter()
            .filter(|member| !member.learner)
            .map(|member| member.id)
            .collect();
        if !voters.contains(&id) {
            return Err(StartError::NotAMember { member: id });
        }
        let applied = machine.position().index;
        let replica = Replica::new(
            &ReplicaConfig {
                member: id,
                voters,
                learners: Vec::new(),
                election_ticks: config.election_ticks(),
                heartbeat_ticks: 1,
                applied,
                boot_nonce: rand::random(),
                seed: rand::random(),
            },
            wal.reader(),
            recovered.hard_state,
            Arc::new(NoSnapshots),
        )?;
        tracing::info!(
            cluster = %cluster, member = %id, applied = applied.0, last = recovered.last_index,
            "the data folder is open; what the log holds beyond the database is replayed"
        );
        Self::run(config, machine, wal, replica, (cluster, id), measures)
    }

    fn run(
        config: &Config,
        machine: Machine,
        wal: Wal,
        replica: Replica<crate::ticket::WriteTicket, crate::ticket::ReadTicket>,
        (cluster, id): (ClusterId, MemberId),
        measures: Measures,
    ) -> Result<Arc<Self>, StartError> {
        let shared = Arc::new(Shared::new(machine.position().index));
        let driver_config = DriverConfig { tick: config.heartbeat, waiting_max: WAITING_MAX };
        let wing = Arc::new(Wing::new(Rooms::of(&machine)));
        let applier = Arc::new(Applier::new(machine, Arc::clone(&shared), measures.backend_commit.clone()));
        let sink = Arc::clone(&applier) as _;
        let driver = Driver::start(driver_config, replica, wal, |_| sink, shared.applied_number())?;
        let house = Arc::new(House { driver, wing, shared });
        let member = Arc::new(Self {
            house: Arc::clone(&house),
            admission: Arc::new(Admission::default()),
            large_reads: Arc::new(Semaphore::new(LARGE_READS_MAX)),
            cluster,
            id,
            limits: config.limits,
            quota_bytes: config.quota_bytes,
            v2_enabled: config.v2_enabled,
            request_timeout: config.request_timeout(),
            clock: Arc::clone(&config.clock),
            measures,
            applier,
            chores: Arc::new(Mailbox::new()),
            threads: Mutex::new(Vec::new()),
        });
        member.start_threads(config)?;
        Ok(member)
    }

    fn start_threads(&self, config: &Config) -> Result<(), StartError> {
        let mut threads = self.threads.lock();
        let named = |name: &str| thread::Builder::new().name(name.to_owned());
        let applier = Arc::clone(&self.applier);
        threads.push(named("apply").spawn(move || applier.run())?);
        let (house, chores, replay) =
            (Arc::clone(&self.house), Arc::clone(&self.chores), config.replay_bytes_max);
        threads.push(named("housekeeper").spawn(move || housekeeper::run(&house, replay, &chores))?);
        let (house, chores, clock) =
            (Arc::clone(&self.house), Arc::clone(&self.chores), Arc::clone(&self.clock));
        let this_member = self.describe(config);
        threads
            .push(named("timekeeper").spawn(move || timekeeper::run(&house, &clock, &this_member, &chores))?);
        Ok(())
    }

    // What this member tells the cluster about itself: its peer URLs stay as they are until they are changed
    // by a request, its name and client URLs are as configured now.
    fn describe(&self, config: &Config) -> MemberRecord {
        let known = self.house.wing.look().members.get(self.id);
        MemberRecord {
            id: self.id,
            name: config.name.clone(),
            peer_urls: known.as_ref().map(|member| member.peer_urls.clone()).unwrap_or_default(),
            client_urls: config.client_urls.clone(),
            learner: known.is_some_and(|member| member.learner),
        }
    }
}

/// Opens the log; begins it, and the database with it, where there is none. The log comes last: a crash before
/// it is there leaves a folder that begins again.
fn open_log(
    config: &Config,
    disk: Arc<dyn wal::Disk>,
    machine: &mut Machine,
    measures: &Measures,
) -> Result<(Wal, Recovered), StartError> {
    let identity = Identity { cluster: config.cluster.0, member: config.member.0, salt: rand::random() };
    if machine.position() == Position::default() {
        let beginning = Position { index: Index(BOOTSTRAP_INDEX), term: Term(BOOTSTRAP_TERM) };
        machine.bootstrap(beginning, &config.founders)?;
    }
    let log_config = wal::Config {
        segment_bytes: config.segment_bytes,
        observer: Arc::new(Stopwatch::new(&measures.wal_fsync, &measures.wal_bytes)),
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
    if recovered.last_index < BOOTSTRAP_INDEX {
        let hard_state = wal::HardState { term: BOOTSTRAP_TERM, vote: 0, commit: BOOTSTRAP_INDEX };
        wal.reset_to(BOOTSTRAP_INDEX, BOOTSTRAP_TERM, Some(hard_state))?;
        recovered.hard_state = hard_state;
        recovered.last_index = BOOTSTRAP_INDEX;
    }
    Ok((wal, recovered))
}

/// Times what the log does, on the log's own thread.
struct Stopwatch {
    fsync: Histogram,
    bytes: Gauge,
    began: Mutex<Option<Instant>>,
}

impl Stopwatch {
    fn new(fsync: &Histogram, bytes: &Gauge) -> Self {
        Self { fsync: fsync.clone(), bytes: bytes.clone(), began: Mutex::new(None) }
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
        if took > SLOW_SYNC {
            tracing::warn!(?took, expected = ?SLOW_SYNC, "slow fdatasync; the disk of the log is overloaded");
        }
    }
}
