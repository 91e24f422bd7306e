//! From settings to a running member: the one place that knows what the server and the gateway want to be told.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use api::Consistency;
use auth::tokens::Tokens;
use bootstrap::{Beginning, BootstrapError, Plan, Source};
use folder::{Folder, FolderError};
use server::{Member, StartError};
use stdx::{SystemClock, chain};
use telemetry::Registry;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tracing::warn;

use crate::config::{Config, InitialState};
use crate::gates::Gates;
use crate::lanes::Lanes;
use crate::listen::{Door, ListenError, Listening, doors, listen};
use crate::peer;
use crate::security::SecurityError;

/// Memory for the database's tables, caches and filters together, in bytes.
const DATABASE_MEMORY_BYTES: usize = 128 << 20;
/// How often the time left of leases is written down, as in etcd.
const LEASE_CHECKPOINT_EVERY: Duration = Duration::from_mins(5);
/// Size of a log segment, in bytes. Released segments are used again, so small ones keep the log small.
const SEGMENT_BYTES: u64 = 16 << 20;
/// The database is flushed when a restart would have to replay this many bytes of log.
const REPLAY_BYTES_MAX: u64 = 64 << 20;
/// A member that is behind by more than this many bytes of log gets a snapshot instead.
const LOG_BYTES_KEPT: u64 = 64 << 20;
/// etcd's quota when none is given, in bytes.
const QUOTA_BYTES: u64 = 2 << 30;
/// Threads that speak to clients: one for each core, up to this many.
const LANES_MAX: usize = 8;
/// How often it is looked whether certificates end soon.
const INSPECTION: Duration = Duration::from_hours(24);

/// Why a member did not start: one sentence each, for whoever has to do something about it.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// A socket.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// TLS.
    #[error(transparent)]
    Security(#[from] SecurityError),
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// How to begin.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// Tokens.
    #[error(transparent)]
    Auth(#[from] crate::tokens::AuthError),
    /// The member itself.
    #[error("{}", chain(.0))]
    Start(#[from] StartError),
    /// A thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
    /// The thread that started it.
    #[error("the start was cut off: {0}")]
    Cut(#[from] tokio::task::JoinError),
}

/// A member with its listeners.
pub struct Running {
    member: Arc<Member>,
    registry: Registry,
    clients: Vec<Door>,
    /// For metrics and health alone.
    monitors: Vec<Door>,
    gateways: JoinSet<()>,
    doors: gateway::Limits,
    browsers: gateway::Browsers,
    json_is_served: bool,
    stop: watch::Sender<bool>,
    chores: Vec<JoinHandle<()>>,
    lanes: Lanes,
    _peer_lane: Lanes,
    /// Held until everything else is gone.
    _folder: Folder,
}

impl Running {
    /// Takes ports and folder, finds out how to begin where there is no data, and starts the member. Clients may
    /// connect from now on and wait.
    pub async fn launch(config: &Config) -> Result<Self, LaunchError> {
        let tokens = Arc::new(crate::tokens::tokens(config)?);
        let registry = Registry::new();
        // Certificates that are in files are looked at before anything is done; others are made in the data folder.
        let are_made = config.client_security.makes_its_own() || config.peer_security.makes_its_own();
        let early = if are_made { None } else { Some(Keys::read(config, &registry)?) };
        // Ports first: a second start with the same settings must not come near the data.
        let Sockets { peers, clients, monitors } = Sockets::open(config).await?;
        let mut plan = plan(config);
        if !folder::has_log(&config.data_dir) {
            bootstrap::check(&plan)?;
        }
        let folder = folder::open_with_log(&config.data_dir, config.wal_dir.as_deref())?;
        let keys = match early {
            Some(keys) => keys,
            None => Keys::read(config, &registry)?,
        };
        plan.tls.clone_from(&keys.calling);
        let (peers, clients) = (doors(peers, keys.peers.as_ref()), doors(clients, keys.clients.as_ref()));
        let monitors = doors(monitors, keys.clients.as_ref());
        let has_data = folder::has_log(&config.data_dir);
        let beginning = if has_data {
            // What the flags say of the beginning is read at the beginning alone, as in etcd.
            bootstrap::guess(&plan)
        } else {
            tokio::select! {
                beginning = bootstrap::begin(&plan) => beginning?,
                () = peer::serve(&peers) => unreachable!("it serves until it is dropped"),
            }
        };
        let peer_lane = Lanes::start(["peers".to_owned()])?;
        let [peer_runtime] = peer_lane.handles() else { unreachable!("one name, one thread") };
        tell_gates(&registry, &config.gates);
        let mut settings = server_config(config, beginning, registry.clone(), peer_runtime.clone(), tokens);
        settings.peer_tls.clone_from(&keys.calling);
        let start = move || Member::start(&settings, &folder).map(|member| (member, folder));
        let started = tokio::task::spawn_blocking(start);
        let (member, folder) = if has_data {
            // Asked while the folder is opened; nothing is said to anybody before the answers are here.
            let (neighbours, started) = tokio::join!(bootstrap::neighbours(&plan), started);
            let (member, folder) = started??;
            bootstrap::check_neighbours(&neighbours, member.cluster())?;
            (member, folder)
        } else {
            started.await??
        };
        for Door { listener, tls } in peers {
            listener.into_std().and_then(|listener| member.serve_peers(listener, tls))?;
        }
        if has_data {
            compare_flags(config, &member).await;
        }
        let chores = vec![tokio::spawn(inspect(keys))];
        let (stop, _) = watch::channel(false);
        let lanes = thread::available_parallelism().map_or(2, usize::from).min(LANES_MAX);
        let lanes = Lanes::start((0..lanes).map(|number| format!("lane-{number}")))?;
        Ok(Self {
            member,
            registry,
            clients,
            monitors,
            gateways: JoinSet::new(),
            doors: config.doors,
            browsers: config.browsers.clone(),
            json_is_served: config.json_is_served,
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
        let browsers = self.browsers.clone();
        let gateway = gateway::Gateway::new(door, &self.registry, self.doors, browsers, self.lanes.handles());
        let gateway = if self.json_is_served { gateway } else { gateway.without_json() };
        let of_clients = self.clients.drain(..).map(|door| (gateway.clone(), door));
        let of_monitors = self.monitors.drain(..).map(|door| (gateway.for_metrics(), door));
        for (gateway, Door { listener, tls }) in of_clients.chain(of_monitors) {
            let mut stop = self.stop.subscribe();
            self.gateways.spawn(async move {
                // It fails when the sender is gone, and then it is time to stop too.
                gateway.serve(listener, tls, async move { drop(stop.wait_for(|stop| *stop).await) }).await;
            });
        }
    }

    /// Hands the lead over, lets requests in flight end, then stops the member, then lets go of the folder.
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

/// What listens.
struct Sockets {
    peers: Vec<Listening>,
    clients: Vec<Listening>,
    monitors: Vec<Listening>,
}

impl Sockets {
    async fn open(config: &Config) -> Result<Self, ListenError> {
        let reuse_port = config.reuse_port;
        let peers = listen(&config.listen_peer_urls, "listen-peer-urls", reuse_port).await?;
        let mut clients = listen(&config.listen_client_urls, "listen-client-urls", reuse_port).await?;
        clients.extend(listen(&config.listen_client_http_urls, "listen-client-http-urls", reuse_port).await?);
        let monitors = listen(&config.listen_metrics_urls, "listen-metrics-urls", reuse_port).await?;
        Ok(Self { peers, clients, monitors })
    }
}

/// Which features are switched on, as etcd tells it since 3.6.
fn tell_gates(registry: &Registry, gates: &Gates) {
    for gate in gates.states() {
        let labels = [("name", gate.name), ("stage", gate.stage)];
        let help = "1 for a feature gate that is open, 0 for one that is not.";
        registry.gauge("etcd_server_feature_enabled", help, &labels).set(f64::from(u8::from(gate.is_open)));
    }
}

/// What the flags say of the beginning.
fn plan(config: &Config) -> Plan {
    Plan {
        name: config.name.clone(),
        peer_urls: config.advertise_peer_urls.clone(),
        token: config.token.clone(),
        source: config.initial.clone(),
        joins: config.initial_state == InitialState::Existing,
        name_server: None,
        tls: None,
    }
}

/// What is made of the flags about TLS.
struct Keys {
    clients: Option<Arc<tls::Server>>,
    peers: Option<Arc<tls::Server>>,
    calling: Option<Arc<tls::Client>>,
}

impl Keys {
    fn read(config: &Config, registry: &Registry) -> Result<Self, SecurityError> {
        let (of_clients, of_peers) = (&config.client_security, &config.peer_security);
        let domain = match &config.initial {
            Source::Srv { domain, .. } => Some(domain.clone()),
            _ => None,
        };
        let folder = &config.data_dir;
        let (clients, http) = (&config.listen_client_urls[..], &config.listen_client_http_urls[..]);
        let listened = [clients, http, &config.listen_metrics_urls[..]].concat();
        Ok(Self {
            clients: of_clients.server(&listened, folder, registry)?,
            peers: of_peers.server(&config.listen_peer_urls, folder, registry)?,
            calling: of_peers.client(&config.listen_peer_urls, folder, domain, registry)?,
        })
    }
}

/// Once a day: warns of certificates that end soon.
async fn inspect(keys: Keys) {
    let mut rounds = tokio::time::interval(INSPECTION);
    // The first is at once, and was at the start.
    rounds.tick().await;
    loop {
        rounds.tick().await;
        for server in keys.clients.iter().chain(&keys.peers) {
            server.inspect();
        }
        if let Some(client) = keys.calling.as_ref().filter(|_| keys.peers.is_none()) {
            client.inspect();
        }
    }
}

fn server_config(
    config: &Config,
    beginning: Beginning,
    registry: Registry,
    peers: Handle,
    tokens: Arc<Tokens>,
) -> server::Config {
    server::Config {
        name: config.name.clone(),
        member: beginning.member,
        cluster: beginning.cluster,
        beginning: if beginning.joins { server::Beginning::Join } else { server::Beginning::Found },
        founders: beginning.members,
        force_alone: config.force_new_cluster,
        pre_vote: config.pre_vote,
        strict_reconfiguration: config.strict_reconfiguration,
        learners_max: config.learners_max,
        corrupt_check_at_start: config.corrupt_check_at_start,
        lease_checkpoint_every: config.lease_checkpoints.then_some(LEASE_CHECKPOINT_EVERY),
        corrupt_check_every: config.corrupt_check_every,
        slow_apply: config.slow_apply,
        watch_progress_every: config.watch_progress_every,
        peers,
        peer_tls: None,
        client_urls: config.advertise_client_urls.iter().map(ToString::to_string).collect(),
        limits: config.limits,
        heartbeat: config.heartbeat,
        election: config.election,
        v2_enabled: config.enable_v2,
        v2_bridge_prefix: config.v2_bridge_prefix.clone(),
        database_memory_bytes: DATABASE_MEMORY_BYTES,
        quota_bytes: QUOTA_BYTES,
        segment_bytes: SEGMENT_BYTES,
        replay_bytes_max: REPLAY_BYTES_MAX,
        log_bytes_kept: LOG_BYTES_KEPT,
        tokens,
        bcrypt_cost: crate::tokens::bcrypt_cost(config),
        backups: config.backups.clone(),
        clock: Arc::new(SystemClock),
        registry,
    }
}

/// Says so when the folder and the flags speak of different members: the folder is believed.
async fn compare_flags(config: &Config, member: &Member) {
    let Ok(known) = api::Member::members(member, Consistency::Serializable).await else { return };
    let Some(own) = known.body.into_iter().find(|known| known.id == member.id()) else { return };
    let mut advertised: Vec<String> = config.advertise_peer_urls.iter().map(ToString::to_string).collect();
    let mut stored = own.peer_urls;
    advertised.sort_unstable();
    stored.sort_unstable();
    if advertised != stored {
        warn!(
            { "local-member-id" } = %member.id(), stored = stored.join(","), advertised = advertised.join(","),
            "the data folder knows this member by other peer URLs than --initial-advertise-peer-urls, which is read \
             only at the first start: is this the folder of another member? To move a member, use `etcdctl member update`"
        );
    }
}
