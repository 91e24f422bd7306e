//! What a member must be told, its folder apart. Words have been parsed; nothing here is read from the environment.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use auth::tokens::Tokens;
use stdx::Clock;
use telemetry::Registry;
use types::{ClusterId, Limits, MemberId, MemberRecord};

/// What a member with an empty folder does. One with data goes on with what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// It makes the cluster, together with the other founders.
    Found,
    /// It joins a cluster that knows it already, with an empty log.
    Join,
}

/// Where a member writes snapshots and an archive by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backups {
    /// Where snapshots go.
    pub snapshots: PathBuf,
    /// How old the newest one becomes.
    pub every: Duration,
    /// How many of this member's stay; at least one.
    pub keep: usize,
    /// Where all that is applied goes, if it does.
    pub archive: Option<PathBuf>,
}

/// See the module.
#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct Config {
    /// This member's name.
    pub name: String,
    /// This member's id, as its peer URLs and the token give it. Only a new data folder takes it: an old one
    /// knows its own.
    pub member: MemberId,
    /// The cluster's id; likewise.
    pub cluster: ClusterId,
    /// How it begins; likewise.
    pub beginning: Beginning,
    /// Everybody the cluster begins with, or has as this member joins it; this member too; likewise.
    pub founders: Vec<MemberRecord>,
    /// Whether to go on alone with the data in the folder, whoever else was a member: an operator's way out when
    /// the others are lost for ever.
    pub force_alone: bool,
    /// Whether a member asks around before it disturbs a leader with an election.
    pub pre_vote: bool,
    /// Whether a change of members is refused that would cost the cluster its majority of started members.
    pub strict_reconfiguration: bool,
    /// How many learners the cluster may have.
    pub learners_max: usize,
    /// Whether a start compares this member's state with the others' before it serves.
    pub corrupt_check_at_start: bool,
    /// How often a leader compares the members' states; `None` leaves that to this program.
    pub corrupt_check_every: Option<Duration>,
    /// Where what is said to other members runs: a runtime of its own, so that clients cannot delay a heartbeat.
    pub peers: tokio::runtime::Handle,
    /// How members with https are called; `None` calls none of them.
    pub peer_tls: Option<Arc<tls::Client>>,
    /// Where clients reach this member; told to the cluster at every start.
    pub client_urls: Vec<String>,
    /// What one request may cost.
    pub limits: Limits,
    /// How often a leader shows that it lives.
    pub heartbeat: Duration,
    /// A follower without a leader waits at least this long.
    pub election: Duration,
    /// Whether v2 is served.
    pub v2_enabled: bool,
    /// v2 shows v3's keys below this prefix, and not a keyspace of its own.
    pub v2_bridge_prefix: Option<String>,
    /// Memory for the database's tables, caches and filters together, in bytes.
    pub database_memory_bytes: usize,
    /// How large the database may grow, in bytes, as it is told to operators; 0 is no limit.
    pub quota_bytes: u64,
    /// Size of a log segment, in bytes.
    pub segment_bytes: u64,
    /// The database is flushed when this many bytes of log would have to be replayed.
    pub replay_bytes_max: u64,
    /// So much of the log is kept for members that are behind, in bytes; who is further behind gets a snapshot.
    pub log_bytes_kept: u64,
    /// A run of entries that takes longer to apply counts as slow.
    pub slow_apply: Duration,
    /// How often a quiet watch is told that nothing happened, if it wants to know.
    pub watch_progress_every: Duration,
    /// How often a leader has the time that leases have left written down, so that the next one goes on from there;
    /// `None` is never.
    pub lease_checkpoint_every: Option<Duration>,
    /// How tokens are made, and known again.
    pub tokens: Arc<Tokens>,
    /// The work that the hash of a new password costs: two to this power.
    pub bcrypt_cost: u32,
    /// What is kept for the day on which all is lost, if anything is.
    pub backups: Option<Backups>,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where this member's metrics go.
    pub registry: Registry,
}

impl Config {
    /// How long a request may take before its client is told that it may or may not have happened:
    /// etcd's five seconds and two elections.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs(5) + 2 * self.election
    }

    /// What watches may cost.
    pub(crate) fn watch_limits(&self) -> watch::Limits {
        watch::Limits { progress_every: self.watch_progress_every, ..watch::Limits::default() }
    }

    /// Ticks of raft between heartbeats: fine ones, so that members which wait for one another seldom come to an
    /// end at the same moment, and no finer than 2 ms.
    pub fn heartbeat_ticks(&self) -> usize {
        let ticks = self.heartbeat.as_millis() / 2;
        usize::try_from(ticks).unwrap_or(usize::MAX).clamp(1, 5)
    }

    /// One tick of raft.
    pub fn tick(&self) -> Duration {
        self.heartbeat / u32::try_from(self.heartbeat_ticks()).unwrap_or(1)
    }

    /// Ticks without a leader before an election.
    pub fn election_ticks(&self) -> usize {
        let ticks = self.election.as_micros() / self.tick().as_micros().max(1);
        usize::try_from(ticks).unwrap_or(usize::MAX).max(2)
    }
}
