//! How a member comes to life: from a folder, new or old, to threads that run.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use apply::{Machine, Position};
use consensus::{Driver, DriverConfig, LogError, Mailbox, Replica, ReplicaConfig};
use folder::{Folder, FolderError};
use parking_lot::Mutex;
use store::{Store, StoreError};
use tokio::sync::Semaphore;
use transport::Transport;
use types::{ClusterId, Index, MemberId, MemberRecord};
use wal::{Wal, WalReader};

use crate::admission::Admission;
use crate::alone::AloneError;
use crate::applier::{Applier, Parts};
use crate::archivist::{Archivist, ArchivistMeasures};
use crate::asking::LARGE_READS_MAX;
use crate::begin::{Begun, begin};
use crate::bridging::Bridging;
use crate::config::Config;
use crate::courier::{self, Courier};
use crate::defragment::Defragmenter;
use crate::depot::Depot;
use crate::doorkeeper::Doorkeeper;
use crate::errand::{self, Errand};
use crate::export::Exports;
use crate::fetch::Fetcher;
use crate::housekeeper::{self, Inherited, Space, SweepLog};
use crate::lessor::{self, Keeper};
use crate::load;
use crate::measures::{LeaseMeasures, Measures};
use crate::member::{House, Member};
use crate::office::Clerk;
use crate::passwords::{self, Passwords};
use crate::post::Letterbox;
use crate::rooms::{Rooms, Wing};
use crate::saver::{Saver, SaverMeasures, Signals};
use crate::shared::{REMOVED, Shared};
use crate::site::Site;
use crate::ticket::{ReadTicket, WriteTicket};
use crate::timekeeper::{self, Duties};
use crate::waits::Waits;
use crate::window::Window;

/// Proposals and reads that may wait to be seen by the replica; more are refused. A turn takes all of them at
/// once, so this many wait only when the disk is far behind.
const WAITING_MAX: usize = 131_072;

/// How often a leader compares the members' fingerprints, if nobody says otherwise: it costs one small question to
/// each.
const COMPARE_EVERY: Duration = Duration::from_secs(30);

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
    DataFolder(#[from] FolderError),
    /// The log's folder.
    #[error("cannot read the folder of the log, member/wal in the data folder")]
    Folder(#[source] std::io::Error),
    /// The log could not be opened.
    #[error("cannot open the log, member/wal in the data folder")]
    Log(#[from] wal::OpenError),
    /// The log could not be begun.
    #[error("cannot begin the log")]
    Begin(#[from] wal::AppendError),
    /// The log and the database do not fit.
    #[error(transparent)]
    Mixed(#[from] LogError),
    /// The way out of a lost majority.
    #[error("cannot force a new cluster")]
    Alone(#[from] AloneError),
    /// A member that is not in its own cluster.
    #[error(
        "this member ({member}) is not in the member list of its data folder; the folder belongs to another member"
    )]
    NotAMember {
        /// The member that the log belongs to.
        member: MemberId,
    },
    /// A member that comes back after it was removed.
    #[error("{REMOVED}: {member} never returns; empty the data folder and have it added anew")]
    Removed {
        /// Which.
        member: MemberId,
    },
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[from] std::io::Error),
}

/// What a member stands on besides its state and its log.
struct Ground {
    cluster: ClusterId,
    id: MemberId,
    measures: Measures,
    errands: Arc<Mailbox<Errand>>,
    depot: Arc<Depot>,
    site: Option<Arc<Site>>,
}

/// What has been put together.
struct Made {
    house: Arc<House>,
    window: Arc<Window>,
    applier: Arc<Applier>,
}

impl Member {
    /// Starts to take part, with the data in `folder`, which the caller keeps for as long as the member lives.
    /// Returns as soon as the threads run; [`Member::ready`] tells when it serves.
    pub fn start(config: &Config, folder: &Folder) -> Result<Arc<Self>, StartError> {
        let options =
            store::Options { memory_bytes: config.database_memory_bytes, ..store::Options::default() };
        let generations = folder.generations();
        let live = generations.clean()?;
        let store = Store::open(&live.path, &options)?;
        let site = Site::new(generations, options, live.path);
        Self::start_on(config, store, Some((site, live.snapshot)), Arc::new(wal::Folder::new(folder.wal())))
    }

    /// The same on a database and a log's disk that are open already.
    pub(crate) fn start_on(
        config: &Config,
        store: Store,
        site: Option<(Site, Option<Position>)>,
        disk: Arc<dyn wal::Disk>,
    ) -> Result<Arc<Self>, StartError> {
        let (site, snapshot) = site.map(|(site, snapshot)| (Arc::new(site), snapshot)).unzip();
        let snapshot = snapshot.flatten();
        let measures = Measures::new(config.registry.clone(), config.slow_apply);
        let begun = begin(config, load::machine(Arc::new(store))?, snapshot, disk, &measures)?;
        measures.say_who_we_are(begun.id);
        let Begun { machine, wal, recovered, cluster, id } = begun;
        let applied = machine.position().index;
        let mut voters = machine.members().voters();
        if applied == Index(0) {
            // It cannot know whether the cluster counts on it until it has heard from the cluster.
            voters.retain(|voter| *voter != id);
        }
        let replica_config = ReplicaConfig {
            member: id,
            voters,
            learners: if applied == Index(0) { Vec::new() } else { machine.members().learners() },
            election_ticks: config.election_ticks(),
            heartbeat_ticks: config.heartbeat_ticks(),
            applied,
            boot_nonce: rand::random(),
            seed: rand::random(),
        };
        let errands = Arc::new(Mailbox::new());
        let snap = site.as_deref().map(Site::snap);
        let depot = Arc::new(Depot::new(cluster, snap, Arc::clone(&errands), &config.registry));
        let replica =
            Replica::new(&replica_config, wal.reader(), recovered.hard_state, Arc::clone(&depot) as _)?;
        tracing::info!(
            { "cluster-id" } = %cluster, { "local-member-id" } = %id, applied = applied.0,
            last = recovered.last_index,
            "the data folder is open; what the log holds beyond the database is replayed"
        );
        let ground = Ground { cluster, id, measures, errands, depot, site };
        Self::run(config, machine, wal, replica, ground)
    }

    fn run(
        config: &Config,
        machine: Machine,
        wal: Wal,
        replica: Replica<WriteTicket, ReadTicket>,
        ground: Ground,
    ) -> Result<Arc<Self>, StartError> {
        let Ground { cluster, id, ref errands, ref depot, ref site, ref measures } = ground;
        let shared = Arc::new(Shared::new(machine.position().index));
        let wing = Arc::new(Wing::new(Rooms::of(&machine)));
        let window = Arc::new(Window::new(config.watch_limits(), machine.mvcc(), &shared, config.election));
        let keeper = keeper(config);
        let (inquiries, inquired) = courier::inquiries();
        let log = wal.reader();
        let inherited = Inherited::of(&log, machine.position().index, config.log_bytes_kept);
        let bridging = Arc::new(Bridging::new(config.v2_bridge_prefix.as_deref(), Arc::clone(&config.clock)));
        bridging.announce(&wing.look());
        let waits = Arc::new(Waits::new(Arc::clone(&bridging)));
        let doorkeeper = Arc::new(Doorkeeper::new(Arc::clone(&config.tokens), Arc::clone(&config.clock)));
        let mut made = None;
        let driver = Driver::start(
            DriverConfig { tick: config.tick(), waiting_max: WAITING_MAX },
            replica,
            wal,
            |door| {
                let letterbox = Letterbox::new(id, door.clone(), Arc::clone(&shared), &config.registry);
                let clerk = Clerk::new(Arc::clone(&wing), Arc::clone(depot), inquiries);
                let transport = Transport::start(
                    peer_config(config, &machine, cluster, id),
                    Arc::new(letterbox),
                    Arc::new(clerk),
                    &config.peers,
                );
                let fetcher = Fetcher::new(
                    cluster,
                    site.clone(),
                    Arc::clone(&transport),
                    door.clone(),
                    Arc::clone(&shared),
                    measures.work.clone(),
                );
                let parts = Parts {
                    member: id,
                    shared: Arc::clone(&shared),
                    keeper: Arc::clone(&keeper),
                    wing: Arc::clone(&wing),
                    window: Arc::clone(&window),
                    door,
                    transport: Arc::clone(&transport),
                    seconds: measures.backend_commit.clone(),
                    tally: Arc::clone(&measures.tally),
                    work: measures.work.clone(),
                    fetcher: Arc::new(fetcher),
                    errands: Arc::clone(errands),
                    waits: Arc::clone(&waits),
                    bridging: Arc::clone(&bridging),
                    doorkeeper: Arc::clone(&doorkeeper),
                    site: site.clone(),
                };
                let applier = Arc::new(Applier::new(machine, parts));
                made = Some((Arc::clone(&applier), transport));
                applier
            },
            shared.applied_number(),
        )?;
        let (applier, transport) = made.expect("the driver makes its sink before it runs");
        let courier =
            Arc::new(Courier::new(Arc::clone(&transport), Arc::clone(&shared), config.peers.clone()));
        let house = House { driver, wing, shared, transport, waits, bridging, keeper, courier, doorkeeper };
        let house = Arc::new(house);
        config.peers.spawn(courier::serve(Arc::downgrade(&house), Arc::clone(&house.shared), id, inquired));
        let member = Arc::new(Self::assemble(config, ground, Made { house, window, applier }));
        member.start_threads(config, inherited, log)?;
        Ok(member)
    }

    fn assemble(config: &Config, ground: Ground, made: Made) -> Self {
        Self {
            house: made.house,
            window: made.window,
            admission: Arc::new(Admission::default()),
            large_reads: Arc::new(Semaphore::new(LARGE_READS_MAX)),
            cluster: ground.cluster,
            id: ground.id,
            limits: config.limits,
            quota_bytes: config.quota_bytes,
            v2_enabled: config.v2_enabled,
            strict_reconfiguration: config.strict_reconfiguration,
            learners_max: config.learners_max,
            election: config.election,
            heartbeat: config.heartbeat,
            compare_first: config.corrupt_check_at_start,
            request_timeout: config.request_timeout(),
            clock: Arc::clone(&config.clock),
            measures: ground.measures,
            applier: made.applier,
            depot: ground.depot,
            exports: Exports::default(),
            defragmenter: Defragmenter::default(),
            bcrypt_cost: config.bcrypt_cost,
            passwords: Arc::new(Passwords::new(passwords::THREADS_MAX, passwords::QUEUE_MAX)),
            errands: ground.errands,
            chores: Arc::new(Mailbox::new()),
            peers: config.peers.clone(),
            threads: Mutex::new(Vec::new()),
        }
    }

    fn start_threads(&self, config: &Config, inherited: Inherited, log: WalReader) -> Result<(), StartError> {
        self.start_backups(config, log)?;
        let mut threads = self.threads.lock();
        let named = |name: &str| thread::Builder::new().name(name.to_owned());
        let applier = Arc::clone(&self.applier);
        threads.push(named("apply").spawn(move || applier.run())?);
        let window = Arc::clone(&self.window);
        threads.push(named("watch").spawn(move || window.serve())?);
        let window = Arc::clone(&self.window);
        threads.push(named("watch-history").spawn(move || window.read_history())?);
        let space =
            Space { replay_bytes_max: config.replay_bytes_max, log_bytes_kept: config.log_bytes_kept };
        let (house, chores, depot) =
            (Arc::clone(&self.house), Arc::clone(&self.chores), Arc::clone(&self.depot));
        let log = SweepLog { work: self.measures.work.clone(), clock: Arc::clone(&self.clock) };
        threads.push(
            named("housekeeper")
                .spawn(move || housekeeper::run(&house, &depot, space, inherited, log, &chores))?,
        );
        let (house, chores) = (Arc::clone(&self.house), Arc::clone(&self.chores));
        threads.push(named("leases").spawn(move || lessor::run(&house, &chores))?);
        let (house, chores) = (Arc::clone(&self.house), Arc::clone(&self.chores));
        let duties = Duties {
            clock: Arc::clone(&self.clock),
            this_member: self.describe(config),
            errands: Arc::clone(&self.errands),
            compare_every: config.corrupt_check_every.unwrap_or(COMPARE_EVERY),
        };
        threads.push(named("timekeeper").spawn(move || timekeeper::run(&house, &duties, &chores))?);
        let me = self.id;
        let (house, errands, depot, applier) = (
            Arc::clone(&self.house),
            Arc::clone(&self.errands),
            Arc::clone(&self.depot),
            Arc::clone(&self.applier),
        );
        threads.push(named("errands").spawn(move || errand::run(me, &house, &depot, &applier, &errands))?);
        Ok(())
    }

    /// Snapshots by themselves and the archive, as far as somebody wants them.
    fn start_backups(&self, config: &Config, log: WalReader) -> Result<(), StartError> {
        let Some(backups) = &config.backups else { return Ok(()) };
        let Some(snap) = self.depot.folder() else { return Ok(()) };
        let mut threads = self.threads.lock();
        let named = |name: &str| thread::Builder::new().name(name.to_owned());
        let signals = Arc::new(Signals::default());
        if let Some(folder) = &backups.archive {
            // Until it was looked at how far the archive goes.
            self.house.shared.set_archived(Some(Index(0)));
            let archivist = Archivist {
                house: Arc::clone(&self.house),
                log,
                folder: folder.clone(),
                cluster: self.cluster,
                member: self.id,
                clock: Arc::clone(&self.clock),
                measures: ArchivistMeasures::new(&config.registry),
                signals: Arc::clone(&signals),
            };
            let chores = Arc::clone(&self.chores);
            threads.push(named("archive").spawn(move || archivist.run(&chores))?);
        }
        let saver = Saver {
            house: Arc::clone(&self.house),
            snap: snap.to_owned(),
            backups: backups.clone(),
            cluster: self.cluster,
            member: self.id,
            clock: Arc::clone(&self.clock),
            measures: SaverMeasures::new(&config.registry),
            signals,
        };
        let chores = Arc::clone(&self.chores);
        threads.push(named("snapshots").spawn(move || saver.run(&chores))?);
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

fn keeper(config: &Config) -> Arc<Keeper> {
    let measures = LeaseMeasures::new(&config.registry);
    Arc::new(Keeper::new(Arc::clone(&config.clock), config.lease_checkpoint_every, measures))
}

fn peer_config(config: &Config, machine: &Machine, cluster: ClusterId, id: MemberId) -> transport::Config {
    transport::Config {
        cluster,
        member: id,
        version: api::level::SERVER.to_owned(),
        peer_urls: machine.members().get(id).map(|member| member.peer_urls).unwrap_or_default(),
        heartbeat: config.heartbeat,
        queue_bytes_max: transport::Config::QUEUE_BYTES_MAX,
        tls: config.peer_tls.clone(),
    }
}
