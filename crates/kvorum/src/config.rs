//! What the operator asked for, in types: the last place where settings are words.
//!
//! INVARIANT: a [`Config`] that exists can be run; only the world (ports, folders) can still refuse it.

use std::path::PathBuf;
use std::time::Duration;

use bootstrap::Source;
use members::{MemberUrl, UrlError};
use telemetry::{LogFormat, LogLevel, LogOutput, LogSettings, Rotation};
use types::Limits;

use crate::flags::{Effect, Flag, Kind};
use crate::gates::Gates;
use crate::security::{BadFlags, Security};
use crate::settings::{Origin, Settings};
use crate::values::{parse_bool, parse_bytes, parse_count_of, parse_time, parse_unsigned, parse_urls};

/// Why a value can be read.
const CHECKED: &str = "the command line checked it";

/// Everything that a member needs to know before it starts.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Config {
    /// What people call it.
    pub name: String,
    /// The folder that holds everything.
    pub data_dir: PathBuf,
    /// Where the log is, if not in the folder.
    pub wal_dir: Option<PathBuf>,
    /// Where clients are heard.
    pub listen_client_urls: Vec<MemberUrl>,
    /// Where clients are heard beside.
    pub listen_client_http_urls: Vec<MemberUrl>,
    /// Where metrics and health are served beside.
    pub listen_metrics_urls: Vec<MemberUrl>,
    /// Where clients reach it.
    pub advertise_client_urls: Vec<MemberUrl>,
    /// Where members are heard.
    pub listen_peer_urls: Vec<MemberUrl>,
    /// Where members reach it.
    pub advertise_peer_urls: Vec<MemberUrl>,
    /// Where the first members are written down.
    pub initial: Source,
    /// Makes or joins.
    pub initial_state: InitialState,
    /// Goes into ids.
    pub token: String,
    /// Whether several processes may listen on one port.
    pub reuse_port: bool,
    /// Whether v3's JSON form is answered.
    pub json_is_served: bool,
    /// Whether v2 is served.
    pub enable_v2: bool,
    /// v2 shows v3's keys below this prefix.
    pub v2_bridge_prefix: Option<String>,
    /// What is kept for the day on which all is lost.
    pub backups: Option<server::Backups>,
    /// What a request may cost.
    pub limits: Limits,
    /// How often a leader shows that it lives.
    pub heartbeat: Duration,
    /// How long a silent leader is believed in.
    pub election: Duration,
    /// Whether a member asks around before an election.
    pub pre_vote: bool,
    /// Whether a dangerous change of members is refused.
    pub strict_reconfiguration: bool,
    /// How many learners there may be.
    pub learners_max: usize,
    /// Whether a start compares data with the others.
    pub corrupt_check_at_start: bool,
    /// How often the leader compares the members' data.
    pub corrupt_check_every: Option<Duration>,
    /// How often a quiet watch is told that nothing happened.
    pub watch_progress_every: Duration,
    /// TLS of clients.
    pub client_security: Security,
    /// TLS of members.
    pub peer_security: Security,
    /// What a connection of a client may cost.
    pub doors: gateway::Limits,
    /// What pages in browsers may do.
    pub browsers: gateway::Browsers,
    /// Whether leaders write down how long leases still live.
    pub lease_checkpoints: bool,
    /// The gates as they stand, for those who ask.
    pub gates: Gates,
    /// How tokens are made.
    pub auth_tokens: auth::tokens::Options,
    /// How long a simple one lives after its last use.
    pub auth_token_ttl: Duration,
    /// The work that the hash of a password costs, as it was asked for.
    pub bcrypt_cost: u64,
    /// Whether to go on alone.
    pub force_new_cluster: bool,
    /// The log.
    pub log: LogSettings,
    /// What takes longer to apply is slow.
    pub slow_apply: Duration,
}

/// What the first start does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitialState {
    /// Makes a cluster.
    New,
    /// Joins one.
    Existing,
}

/// Why settings do not make a member. Where etcd has a text for it, it is etcd's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Clients would be sent to the wrong place.
    #[error("--advertise-client-urls is required when --listen-client-urls is set explicitly")]
    AdvertiseMissing,
    /// A host name where an address must be.
    #[error(transparent)]
    NotBindable(UrlError),
    /// A URL that nobody could connect to.
    #[error("--{flag} {url:?} must be \"host:port\" ({reason})")]
    NotAdvertisable {
        /// Where it was given.
        flag: &'static str,
        /// The URL.
        url: String,
        /// What it lacks.
        reason: UrlError,
    },
    /// Unix sockets.
    #[error("--{flag} has {url}: this version of Kvorum speaks over TCP only; give an http or https URL")]
    SchemeNotOffered {
        /// Where it was given.
        flag: &'static str,
        /// The URL.
        url: MemberUrl,
    },
    /// TLS.
    #[error(transparent)]
    Security(#[from] BadFlags),
    /// The ticks do not go together.
    #[error("--{flag} must be >0 (set to {value}ms)")]
    NotPositive {
        /// Where it was given.
        flag: &'static str,
        /// What was.
        value: u64,
    },
    /// An election would start whenever a heartbeat is late.
    #[error(
        "--election-timeout[{election}ms] should be at least as 5 times as --heartbeat-interval[{heartbeat}ms]"
    )]
    ElectionTooShort {
        /// In ms.
        election: u64,
        /// In ms.
        heartbeat: u64,
    },
    /// A dead leader would be missed too late.
    #[error("--election-timeout[{0}ms] is too long, and should be set less than 50000ms")]
    ElectionTooLong(u64),
    /// Only one of them can be right.
    #[error(
        "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", \"discovery\" or \"discovery-srv\""
    )]
    ManySources,
    /// Known to etcd and not offered.
    #[error(
        "--discovery-proxy is not offered by Kvorum: give a --discovery URL that this member can reach itself"
    )]
    DiscoveryProxy,
    /// Known to etcd before 3.6.
    #[error(
        "--proxy={0} is not offered: the v2 proxy is gone, as in etcd since 3.6; clients can use the members' own URLs"
    )]
    Proxy(String),
    /// A half without the other.
    #[error(
        "setting experimental-enable-lease-checkpoint-persist requires experimental-enable-lease-checkpoint"
    )]
    CheckpointsNotEnabled,
    /// The same, as etcd puts it since 3.6.
    #[error("enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint")]
    CheckpointGateShut,
    /// A flag, and the gate that replaced it.
    #[error(
        "cannot specify both flags: --{flag}={set} and --feature-gates={gate}={is_open} at the same time, please just use --feature-gates={gate}={is_open}"
    )]
    FlagAndGate {
        /// The flag.
        flag: &'static str,
        /// What it was set to.
        set: bool,
        /// The gate.
        gate: &'static str,
        /// What that was set to.
        is_open: bool,
    },
    /// A view for nobody.
    #[error("--v2-bridge-prefix requires --enable-v2")]
    BridgeWithoutV2,
    /// Snapshots for nowhere.
    #[error("--{0} requires --snapshot-dir or --archive-dir")]
    NoBackupFolder(&'static str),
    /// None would be left, or nothing else be done.
    #[error("--snapshot-every must be at least 1s, and --snapshot-keep at least 1")]
    BackupsTooFew,
    /// One setting under two names.
    #[error("cannot set --{older} and --{newer} at the same time, please use --{newer} only")]
    TwoNames {
        /// The one that went.
        older: &'static str,
        /// The one that came.
        newer: &'static str,
    },
    /// A flag that is not offered, and whose silence could do harm.
    #[error("--{flag} is not offered: {reason}")]
    Refused {
        /// Which.
        flag: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// Tokens that nobody could make.
    #[error(transparent)]
    AuthToken(auth::tokens::OptionsError),
    /// No origin.
    #[error("invalid value {0:?} for --cors: an origin is of the form https://host:port")]
    Origin(String),
    /// Two places of which one is a name for the other.
    #[error("multi logoutput for \"default\" is not supported yet")]
    LogOutputs,
    /// A place without a name.
    #[error("--log-outputs names an empty place; give stderr, stdout, systemd/journal or a path")]
    LogOutputEmpty,
    /// Files that would follow one another, and not one file.
    #[error("--log-outputs requires a single file path when --log-rotate-config-json is defined")]
    RotationNeedsOneFile,
    /// What is said of them.
    #[error("--log-rotation-config-json: {0}")]
    Rotation(String),
}

impl Config {
    /// Reads settings, each of which the command line has checked by itself.
    pub fn read(settings: &Settings) -> Result<Self, ConfigError> {
        refuse_contradictions(settings)?;
        let name = settings.value("name").to_owned();
        let data_dir = match settings.value("data-dir") {
            "" => format!("{name}.etcd").into(),
            folder => folder.into(),
        };
        let (heartbeat, election) = ticks(settings)?;
        let request_bytes_max = bytes(settings, "max-request-bytes");
        let limits = Limits {
            request_bytes_max: usize::try_from(request_bytes_max).unwrap_or(usize::MAX),
            txn_ops_max: size(settings, "max-txn-ops"),
        };
        let state = settings.value("initial-cluster-state");
        let gates = gates(settings);
        Ok(Self {
            data_dir,
            wal_dir: Some(settings.value("wal-dir")).filter(|path| !path.is_empty()).map(PathBuf::from),
            listen_client_urls: listened(settings, "listen-client-urls")?,
            listen_client_http_urls: listened(settings, "listen-client-http-urls")?,
            listen_metrics_urls: listened(settings, "listen-metrics-urls")?,
            advertise_client_urls: advertised(settings, "advertise-client-urls")?,
            listen_peer_urls: listened(settings, "listen-peer-urls")?,
            advertise_peer_urls: advertised(settings, "initial-advertise-peer-urls")?,
            initial: initial_source(settings)?,
            initial_state: if state == "existing" { InitialState::Existing } else { InitialState::New },
            token: settings.value("initial-cluster-token").to_owned(),
            reuse_port: yes(settings, "socket-reuse-port"),
            json_is_served: yes(settings, "enable-grpc-gateway"),
            enable_v2: yes(settings, "enable-v2"),
            v2_bridge_prefix: v2_bridge_prefix(settings)?,
            backups: backups(settings)?,
            limits,
            heartbeat: Duration::from_millis(heartbeat),
            election: Duration::from_millis(election),
            pre_vote: yes(settings, "pre-vote"),
            strict_reconfiguration: yes(settings, "strict-reconfig-check"),
            learners_max: size(settings, "max-learners"),
            corrupt_check_at_start: feature(
                settings,
                &gates,
                "InitialCorruptCheck",
                "experimental-initial-corrupt-check",
            )?,
            corrupt_check_every: corrupt_check_every(settings),
            watch_progress_every: watch_progress_every(settings),
            client_security: Security::of_clients(settings)?,
            peer_security: Security::of_peers(settings)?,
            doors: doors(settings),
            browsers: browsers(settings)?,
            lease_checkpoints: lease_checkpoints(settings, &gates)?,
            gates,
            auth_tokens: auth_tokens(settings)?,
            auth_token_ttl: time(settings, "auth-token-ttl"),
            bcrypt_cost: number(settings, "bcrypt-cost"),
            force_new_cluster: yes(settings, "force-new-cluster"),
            log: log(settings)?,
            slow_apply: time(settings, "warning-apply-duration"),
            name,
        })
    }
}

fn gates(settings: &Settings) -> Gates {
    Gates::read(settings.value("feature-gates")).expect(CHECKED)
}

fn doors(settings: &Settings) -> gateway::Limits {
    const NEVER: Duration = Duration::from_hours(24 * 3650);
    let ping_after = time(settings, "grpc-keepalive-interval");
    gateway::Limits {
        streams_max: u32::try_from(size(settings, "max-concurrent-streams")).unwrap_or(u32::MAX),
        ping_after: if ping_after.is_zero() { NEVER } else { ping_after },
        ping_time_max: time(settings, "grpc-keepalive-timeout"),
        slow_after: time(settings, "warning-unary-request-duration"),
        times_by_method: settings.value("metrics") == "extensive",
        ..gateway::Limits::default()
    }
}

fn backups(settings: &Settings) -> Result<Option<server::Backups>, ConfigError> {
    let folder = |flag| Some(settings.value(flag)).filter(|path| !path.is_empty()).map(PathBuf::from);
    let archive = folder("archive-dir");
    let Some(snapshots) = folder("snapshot-dir").or_else(|| archive.clone()) else {
        let alone = ["snapshot-every", "snapshot-keep"].into_iter().find(|flag| settings.is_given(flag));
        return alone.map_or(Ok(None), |flag| Err(ConfigError::NoBackupFolder(flag)));
    };
    let every = parse_time(settings.value("snapshot-every")).expect(CHECKED);
    let keep = size(settings, "snapshot-keep");
    if every < Duration::from_secs(1) || keep == 0 {
        return Err(ConfigError::BackupsTooFew);
    }
    Ok(Some(server::Backups { snapshots, every, keep, archive }))
}

fn v2_bridge_prefix(settings: &Settings) -> Result<Option<String>, ConfigError> {
    let prefix = Some(settings.value("v2-bridge-prefix")).filter(|prefix| !prefix.is_empty());
    if prefix.is_some() && !yes(settings, "enable-v2") {
        return Err(ConfigError::BridgeWithoutV2);
    }
    Ok(prefix.map(str::to_owned))
}

/// Whether leaders write down how long leases still live. Here that is always kept.
fn lease_checkpoints(settings: &Settings, gates: &Gates) -> Result<bool, ConfigError> {
    let flag = "experimental-enable-lease-checkpoint";
    let enabled = feature(settings, gates, "LeaseCheckpoint", flag)?;
    let flag = "experimental-enable-lease-checkpoint-persist";
    if feature(settings, gates, "LeaseCheckpointPersist", flag)? && !enabled {
        let by_gate = gates.is_open("LeaseCheckpointPersist");
        return Err(if by_gate {
            ConfigError::CheckpointGateShut
        } else {
            ConfigError::CheckpointsNotEnabled
        });
    }
    Ok(enabled)
}

/// What a gate says, or the flag that was there before it.
fn feature(
    settings: &Settings,
    gates: &Gates,
    gate: &'static str,
    flag: &'static str,
) -> Result<bool, ConfigError> {
    let (is_open, set) = (gates.is_open(gate), yes(settings, flag));
    if gates.is_given(gate) && settings.is_given(flag) {
        return Err(ConfigError::FlagAndGate { flag, set, gate, is_open });
    }
    Ok(is_open || set)
}

fn browsers(settings: &Settings) -> Result<gateway::Browsers, ConfigError> {
    let words = |flag| -> Vec<String> {
        let words = settings.value(flag).split(',').map(str::trim).filter(|word| !word.is_empty());
        words.map(str::to_owned).collect()
    };
    let origins = words("cors");
    let is_origin = |word: &&String| {
        let rest = word.strip_prefix("http://").or_else(|| word.strip_prefix("https://"));
        word.as_str() == "*" || rest.is_some_and(|host| !host.is_empty() && !host.contains('/'))
    };
    match origins.iter().find(|word| !is_origin(word)) {
        Some(word) => Err(ConfigError::Origin(word.clone())),
        None => Ok(gateway::Browsers::new(words("host-whitelist"), origins)),
    }
}

fn auth_tokens(settings: &Settings) -> Result<auth::tokens::Options, ConfigError> {
    auth::tokens::Options::parse(settings.value("auth-token"), parse_time).map_err(ConfigError::AuthToken)
}

/// Heartbeat and election time-out in ms.
fn ticks(settings: &Settings) -> Result<(u64, u64), ConfigError> {
    let positive = |flag| match milliseconds(settings, flag) {
        0 => Err(ConfigError::NotPositive { flag, value: 0 }),
        value => Ok(value),
    };
    let (heartbeat, election) = (positive("heartbeat-interval")?, positive("election-timeout")?);
    if election < heartbeat.saturating_mul(5) {
        return Err(ConfigError::ElectionTooShort { election, heartbeat });
    }
    if election > 50_000 {
        return Err(ConfigError::ElectionTooLong(election));
    }
    Ok((heartbeat, election))
}

fn initial_source(settings: &Settings) -> Result<Source, ConfigError> {
    match settings.value("proxy") {
        "off" => {}
        other => return Err(ConfigError::Proxy(other.to_owned())),
    }
    if !settings.value("discovery-proxy").is_empty() {
        return Err(ConfigError::DiscoveryProxy);
    }
    let value = |flag| Some(settings.value(flag).to_owned()).filter(|value| !value.is_empty());
    let list = settings.is_given("initial-cluster").then(|| settings.value("initial-cluster").to_owned());
    match (list, value("discovery"), value("discovery-srv")) {
        (None, None, None) => Ok(Source::Alone),
        (Some(list), None, None) => Ok(Source::List(list)),
        (None, Some(url), None) => Ok(Source::Discovery(url)),
        (None, None, Some(domain)) => {
            Ok(Source::Srv { domain, suffix: settings.value("discovery-srv-name").to_owned() })
        }
        _ => Err(ConfigError::ManySources),
    }
}

fn corrupt_check_every(settings: &Settings) -> Option<Duration> {
    Some(time(settings, "corrupt-check-time")).filter(|every| !every.is_zero())
}

/// etcd takes nothing below 100 ms, and the default for 0.
fn watch_progress_every(settings: &Settings) -> Duration {
    let every = time(settings, "watch-progress-notify-interval");
    let every = if every.is_zero() { Duration::from_mins(10) } else { every };
    every.max(Duration::from_millis(100))
}

/// What no single value tells.
fn refuse_contradictions(settings: &Settings) -> Result<(), ConfigError> {
    // In a file etcd does not look for it.
    let is_said = matches!(settings.origin("listen-client-urls"), Origin::Flag | Origin::Variable(_));
    if is_said && !settings.is_given("advertise-client-urls") {
        return Err(ConfigError::AdvertiseMissing);
    }
    if let Some((older, newer)) = settings.twice() {
        return Err(ConfigError::TwoNames { older, newer });
    }
    for flag in Flag::all() {
        if let Effect::Refused(reason) = flag.effect
            && settings.value(flag.name) != flag.default
        {
            return Err(ConfigError::Refused { flag: flag.name, reason });
        }
    }
    Ok(())
}

fn urls(settings: &Settings, flag: &'static str) -> Result<Vec<MemberUrl>, ConfigError> {
    // An empty list is as good as none: etcd's flag keeps what it had.
    let value = match settings.value(flag) {
        "" => Flag::named(flag).map_or("", |flag| flag.default),
        value => value,
    };
    if value.is_empty() {
        return Ok(Vec::new());
    }
    let urls = parse_urls(value).expect(CHECKED);
    match urls.iter().find(|url| url.scheme().is_file()) {
        Some(url) => Err(ConfigError::SchemeNotOffered { flag, url: url.clone() }),
        None => Ok(urls),
    }
}

fn listened(settings: &Settings, flag: &'static str) -> Result<Vec<MemberUrl>, ConfigError> {
    let urls = urls(settings, flag)?;
    urls.iter().try_for_each(MemberUrl::check_bindable).map_err(ConfigError::NotBindable)?;
    Ok(urls)
}

fn advertised(settings: &Settings, flag: &'static str) -> Result<Vec<MemberUrl>, ConfigError> {
    let urls = urls(settings, flag)?;
    for url in &urls {
        let refused = |reason| ConfigError::NotAdvertisable { flag, url: url.to_string(), reason };
        url.check_advertisable().map_err(refused)?;
    }
    Ok(urls)
}

fn bytes(settings: &Settings, flag: &str) -> u64 {
    parse_bytes(settings.value(flag)).expect(CHECKED)
}

pub(crate) fn yes(settings: &Settings, flag: &str) -> bool {
    parse_bool(settings.value(flag)).expect(CHECKED)
}

pub(crate) fn number(settings: &Settings, flag: &str) -> u64 {
    parse_unsigned(settings.value(flag)).expect(CHECKED)
}

fn size(settings: &Settings, flag: &str) -> usize {
    usize::try_from(number(settings, flag)).unwrap_or(usize::MAX)
}

/// A time, or a number of the flag's units.
pub(crate) fn time(settings: &Settings, flag: &str) -> Duration {
    let value = settings.value(flag);
    match Flag::named(flag).map(|flag| flag.kind) {
        Some(Kind::CountOf(unit)) => {
            let count = parse_count_of(unit, value).expect(CHECKED);
            unit.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX))
        }
        _ => parse_time(value).expect(CHECKED),
    }
}

fn milliseconds(settings: &Settings, flag: &str) -> u64 {
    u64::try_from(time(settings, flag).as_millis()).unwrap_or(u64::MAX)
}

fn log(settings: &Settings) -> Result<LogSettings, ConfigError> {
    let outputs = log_outputs(settings.value("log-outputs"))?;
    let level = settings.value("log-level").parse().unwrap_or_default();
    // The older flag counts where the newer one is not given.
    let debug = yes(settings, "debug") && !settings.is_given("log-level");
    let rotation = yes(settings, "enable-log-rotation").then(|| settings.value("log-rotation-config-json"));
    let rotation = rotation.map(Rotation::parse).transpose().map_err(ConfigError::Rotation)?;
    if rotation.is_some() && !matches!(outputs[..], [LogOutput::File(_)]) {
        return Err(ConfigError::RotationNeedsOneFile);
    }
    let format = match settings.value("log-format") {
        "console" => LogFormat::Console,
        _ => LogFormat::Json,
    };
    Ok(LogSettings { level: if debug { LogLevel::Debug } else { level }, outputs, format, rotation })
}

fn log_outputs(list: &str) -> Result<Vec<LogOutput>, ConfigError> {
    let places: Vec<&str> = list.split(',').map(str::trim).collect();
    if places.len() > 1 && places.contains(&"default") {
        return Err(ConfigError::LogOutputs);
    }
    let output = |place: &str| match place {
        "default" | "stderr" => Ok(LogOutput::Stderr),
        "stdout" => Ok(LogOutput::Stdout),
        "systemd/journal" => Ok(LogOutput::Journal),
        "" => Err(ConfigError::LogOutputEmpty),
        path => Ok(LogOutput::File(path.into())),
    };
    places.into_iter().map(output).collect()
}
