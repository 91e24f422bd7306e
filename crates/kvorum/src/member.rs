//! From settings to a running member: the one place that knows what the server and the gateway want to be told.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use members::InitialClusterError;
use server::folder::{self, Folder, FolderError};
use server::{Beginning, Member, StartError};
use stdx::{SystemClock, chain};
use telemetry::Registry;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::config::{Config, InitialSource, InitialState};
use crate::lanes::Lanes;
use crate::listen::{ListenError, listen};
use crate::peer;

/// Memory for the database's tables, caches and filters together, in bytes.
const DATABASE_MEMORY_BYTES: usize = 128 << 20;
/// Size of a log segment, in bytes. Released segments are used again, so small ones keep the log small.
const SEGMENT_BYTES: u64 = 16 << 20;
/// The database is flushed when a restart would have to replay this many bytes of log.
const REPLAY_BYTES_MAX: u64 = 64 << 20;
/// etcd's quota when none is given, in bytes.
const QUOTA_BYTES: u64 = 2 << 30;
/// Threads that speak to clients: one for each core, up to this many.
const LANES_MAX: usize = 8;
/// Samples of histograms wait in memory for this long at most.
const UPKEEP: Duration = Duration::from_secs(1);

/// Why a member did not start: one sentence each, for whoever has to do something about it.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// A socket.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The first members.
    #[error(transparent)]
    Founders(#[from] InitialClusterError),
    /// More than this version can do.
    #[error("--initial-cluster names {0} members: this version of Kvorum runs clusters of one")]
    ManyFounders(usize),
    /// Likewise.
    #[error(
        "--initial-cluster-state is existing and the data folder is empty: this version of Kvorum does not join clusters"
    )]
    CannotJoin,
    /// Likewise.
    #[error("this version of Kvorum does not know --discovery and --discovery-srv yet")]
    NoDiscovery,
    /// The member itself.
    #[error("{}", chain(.0))]
    Start(#[from] StartError),
    /// A thread.
    #[error("cannot start a thread for clients: {0}")]
    Thread(#[from] std::io::Error),
    /// The thread that started it.
    #[error("the start was cut off: {0}")]
    Cut(#[from] tokio::task::JoinError),
}

/// A member with its listeners.
pub struct Running {
    member: Arc<Member>,
    registry: Registry,
    clients: Vec<TcpListener>,
    gateways: JoinSet<()>,
    stop: watch::Sender<bool>,
    chores: Vec<JoinHandle<()>>,
    lanes: Lanes,
    _peer_lane: Lanes,
    /// Held until everything else is gone.
    _folder: Folder,
}

impl Running {
    /// Takes ports and folder, and starts the member. Clients may connect from now on and wait.
    pub async fn launch(config: &Config) -> Result<Self, LaunchError> {
        // Ports first: a second start with the same settings must not come near the data.
        let peers = listen(&config.listen_peer_urls, "listen-peer-urls").await?;
        let clients = listen(&config.listen_client_urls, "listen-client-urls").await?;
        let registry = Registry::new();
        let peer_lane = Lanes::start(["peers".to_owned()])?;
        let [peer_runtime] = peer_lane.handles() else { unreachable!("one name, one thread") };
        let settings = server_config(config, registry.clone(), peer_runtime.clone())?;
        let folder = folder::open(&config.data_dir)?;
        let start = move || Member::start(&settings, &folder).map(|member| (member, folder));
        let (member, folder) = tokio::task::spawn_blocking(start).await??;
        let mut chores: Vec<JoinHandle<()>> =
            peers.into_iter().map(|peer| tokio::spawn(peer::serve(peer))).collect();
        chores.push(tokio::spawn(upkeep(registry.clone())));
        let (stop, _) = watch::channel(false);
        let lanes = thread::available_parallelism().map_or(2, usize::from).min(LANES_MAX);
        let lanes = Lanes::start((0..lanes).map(|number| format!("lane-{number}")))?;
        Ok(Self {
            member,
            registry,
            clients,
            gateways: JoinSet::new(),
            stop,
            chores,
            lanes,
            _peer_lane: peer_lane,
            _folder: folder,
        })
    }

    /// The member.
    pub fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// Begins to serve clients. Once is enough.
    pub fn serve_clients(&mut self) {
        let door: Arc<dyn api::Member> = self.member.clone();
        let gateway =
            gateway::Gateway::new(door, &self.registry, gateway::Limits::default(), self.lanes.handles());
        for listener in self.clients.drain(..) {
            let (gateway, mut stop) = (gateway.clone(), self.stop.subscribe());
            self.gateways.spawn(async move {
                // It fails when the sender is gone, and then it is time to stop too.
                gateway.serve(listener, async move { drop(stop.wait_for(|stop| *stop).await) }).await;
            });
        }
    }

    /// Lets requests in flight end, then stops the member, then lets go of the folder.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.gateways.join_next().await.is_some() {}
        for chore in &self.chores {
            chore.abort();
        }
        let member = Arc::clone(&self.member);
        if let Err(error) = tokio::task::spawn_blocking(move || member.stop()).await {
            tracing::error!(%error, "the member did not stop in good order; its next start replays the log");
        }
    }
}

fn server_config(config: &Config, registry: Registry, peers: Handle) -> Result<server::Config, LaunchError> {
    let has_log = folder::has_log(&config.data_dir);
    // What the flags say of the beginning is read at the beginning alone, as in etcd.
    if matches!(config.initial, InitialSource::Discovery(_) | InitialSource::Srv { .. }) && !has_log {
        return Err(LaunchError::NoDiscovery);
    }
    let founders = match config.founders() {
        Err(_) if has_log => config.alone()?,
        founders => founders?,
    };
    let founders_count = founders.members(&config.token)?.len();
    if !has_log && founders_count > 1 {
        return Err(LaunchError::ManyFounders(founders_count));
    }
    if !has_log && config.initial_state == InitialState::Existing {
        return Err(LaunchError::CannotJoin);
    }
    let text = |url: &members::MemberUrl| url.to_string();
    let peer_urls: Vec<String> = config.advertise_peer_urls.iter().map(text).collect();
    Ok(server::Config {
        name: config.name.clone(),
        member: members::member_id(&peer_urls, &config.token),
        cluster: founders.cluster_id(&config.token)?,
        beginning: Beginning::Found,
        founders: founders.members(&config.token)?,
        force_alone: config.force_new_cluster,
        pre_vote: config.pre_vote,
        strict_reconfiguration: config.strict_reconfiguration,
        learners_max: config.learners_max,
        corrupt_check_at_start: config.corrupt_check_at_start,
        corrupt_check_every: config.corrupt_check_every,
        peers,
        client_urls: config.advertise_client_urls.iter().map(text).collect(),
        limits: config.limits,
        heartbeat: config.heartbeat,
        election: config.election,
        v2_enabled: config.enable_v2,
        database_memory_bytes: DATABASE_MEMORY_BYTES,
        quota_bytes: QUOTA_BYTES,
        segment_bytes: SEGMENT_BYTES,
        replay_bytes_max: REPLAY_BYTES_MAX,
        clock: Arc::new(SystemClock),
        registry,
    })
}

async fn upkeep(registry: Registry) {
    let mut rounds = tokio::time::interval(UPKEEP);
    loop {
        rounds.tick().await;
        registry.upkeep();
    }
}
