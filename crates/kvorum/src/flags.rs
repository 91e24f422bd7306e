//! The command line as data: one table from which come the flags, their environment variables, their
//! defaults, the checks of their values and the help.
//!
//! INVARIANT: a default is a value that its own check accepts.

/// A part of the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// The member itself.
    Member,
    /// How it meets the others.
    Clustering,
    /// Whom it believes.
    Security,
    /// What it says.
    Logging,
    /// What it does only because somebody insists.
    Unsafe,
}

/// What may be said after a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Anything.
    Text,
    /// A yes or no, which never takes the next word.
    Bool,
    /// A number from 0.
    Unsigned,
    /// A number.
    Signed,
    /// A time as Go writes it: `90s`, `1h30m`.
    Duration,
    /// URLs with commas between them.
    Urls,
    /// Gates that are open or not, with commas between them.
    Gates,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// What a flag does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// What it says.
    Honoured,
    /// Nothing, which is harmless; the log says so, with this reason, when somebody sets it.
    Ignored(&'static str),
}

/// A flag. Its environment variable follows from its name.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Without dashes.
    pub name: &'static str,
    /// Where the help shows it.
    pub section: Section,
    /// What may follow.
    pub kind: Kind,
    /// What holds when nobody sets it.
    pub default: &'static str,
    /// A line or two for people.
    pub help: &'static str,
    /// What it does.
    pub effect: Effect,
}

impl Flag {
    /// `ETCD_` and the name in capitals.
    pub fn variable(&self) -> String {
        format!("ETCD_{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }

    /// The flag with this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        FLAGS.iter().find(|flag| flag.name == name)
    }
}

const fn flag(
    section: Section,
    name: &'static str,
    kind: Kind,
    default: &'static str,
    help: &'static str,
) -> Flag {
    Flag { name, section, kind, default, help, effect: Effect::Honoured }
}

const fn ignored(flag: Flag, reason: &'static str) -> Flag {
    Flag { effect: Effect::Ignored(reason), ..flag }
}

use Kind::{Bool, Choice, Duration, Gates, Signed, Text, Unsigned, Urls};
use Section::{Clustering, Logging, Member, Security, Unsafe};

const NO_PROXY: &str = "the v2 proxy is gone, as in etcd since 3.6";

/// Every flag that names a setting, in the order of the help.
pub static FLAGS: &[Flag] = &[
    flag(Member, "name", Text, "default", "What people call this member, and its name in --initial-cluster."),
    flag(
        Member,
        "data-dir",
        Text,
        "",
        "The folder that holds everything. Without it: NAME.etcd in the folder of the call.",
    ),
    ignored(
        flag(Member, "snapshot-count", Unsigned, "10000", "Accepted for etcd's sake."),
        "the log is released when its effects are on disk, not after a number of entries",
    ),
    flag(Member, "heartbeat-interval", Unsigned, "100", "How often a leader shows that it lives, in ms."),
    flag(
        Member,
        "election-timeout",
        Unsigned,
        "1000",
        "How long a silent leader is believed in, in ms; at least five heartbeats.",
    ),
    ignored(
        flag(Member, "initial-election-tick-advance", Bool, "true", "Accepted for etcd's sake."),
        "a member alone elects itself at once, and others hear of a leader within a heartbeat",
    ),
    flag(Member, "listen-peer-urls", Urls, "http://localhost:2380", "Where other members are heard."),
    flag(Member, "listen-client-urls", Urls, "http://localhost:2379", "Where clients are heard."),
    flag(
        Member,
        "listen-metrics-urls",
        Urls,
        "",
        "Where /metrics and /health are served beside; with https by the certificates for clients.",
    ),
    ignored(
        flag(Member, "max-snapshots", Unsigned, "5", "Accepted for etcd's sake."),
        "a snapshot is made for a member that needs it, and goes when that member has it",
    ),
    ignored(
        flag(Member, "max-wals", Unsigned, "5", "Accepted for etcd's sake."),
        "files of the log are used again as soon as the log is released",
    ),
    ignored(
        flag(Member, "quota-backend-bytes", Signed, "0", "Accepted for etcd's sake."),
        "there is no quota yet: the database may fill the disk",
    ),
    flag(Member, "max-txn-ops", Unsigned, "128", "How many operations a branch of a transaction may have."),
    flag(Member, "max-request-bytes", Unsigned, "1572864", "How large a request may be, in bytes."),
    flag(
        Member,
        "max-concurrent-streams",
        Unsigned,
        "100000",
        "How many gRPC calls a connection may have under way.",
    ),
    ignored(
        flag(Member, "grpc-keepalive-min-time", Duration, "5s", "Accepted for etcd's sake."),
        "pings are answered however often they come; they cost nothing but their frame",
    ),
    flag(
        Member,
        "grpc-keepalive-interval",
        Duration,
        "2h0m0s",
        "After how much silence a client is pinged; 0s is never.",
    ),
    flag(
        Member,
        "grpc-keepalive-timeout",
        Duration,
        "20s",
        "How long the answer to a ping is waited for before the connection is closed.",
    ),
    flag(Member, "enable-v2", Bool, "true", "Serve the v2 API. On unless turned off, other than in etcd."),
    flag(
        Member,
        "v2-bridge-prefix",
        Text,
        "",
        "Let v2 show and change v3's keys below this prefix, and not a keyspace of its own. The same at every member.",
    ),
    flag(
        Clustering,
        "initial-advertise-peer-urls",
        Urls,
        "http://localhost:2380",
        "Where other members reach this one.",
    ),
    flag(
        Clustering,
        "initial-cluster",
        Text,
        "",
        "The first members, as NAME=URL,NAME=URL. Without it: this one alone.\nRead once, when there is no data yet.",
    ),
    flag(
        Clustering,
        "initial-cluster-state",
        Choice(&["new", "existing"]),
        "new",
        "Whether the first start makes a cluster or joins one.",
    ),
    flag(
        Clustering,
        "initial-cluster-token",
        Text,
        "etcd-cluster",
        "Goes into the ids of cluster and members, so that clusters with the same URLs are told apart.",
    ),
    flag(
        Clustering,
        "discovery",
        Text,
        "",
        "A URL under which the first members find one another, instead of --initial-cluster: a v2 key of an etcd\nor Kvorum, or what etcd's discovery service gave.",
    ),
    ignored(
        flag(
            Clustering,
            "discovery-fallback",
            Choice(&["exit", "proxy"]),
            "exit",
            "Accepted for etcd's sake.",
        ),
        "the v2 proxy is gone, as in etcd since 3.6: a member that is too many ends",
    ),
    flag(Clustering, "discovery-proxy", Text, "", "Not offered: a start with it is refused."),
    flag(
        Clustering,
        "discovery-srv",
        Text,
        "",
        "A domain whose SRV records (_etcd-server._tcp) name the first members, instead of --initial-cluster.",
    ),
    flag(Clustering, "discovery-srv-name", Text, "", "With it the service is _etcd-server-NAME._tcp."),
    flag(
        Clustering,
        "advertise-client-urls",
        Urls,
        "http://localhost:2379",
        "Where clients reach this member.",
    ),
    flag(
        Clustering,
        "strict-reconfig-check",
        Bool,
        "true",
        "Refuse a change of members that would leave no majority of started ones.",
    ),
    flag(
        Clustering,
        "pre-vote",
        Bool,
        "true",
        "Ask around before an election, so that a member that was cut off disturbs nobody when it is back.",
    ),
    flag(Clustering, "max-learners", Unsigned, "1", "How many learners the cluster may have."),
    flag(
        Clustering,
        "experimental-initial-corrupt-check",
        Bool,
        "false",
        "Compare this member's data with the others' before it serves.",
    ),
    flag(
        Clustering,
        "experimental-enable-lease-checkpoint",
        Bool,
        "false",
        "Have the leader write down now and then how long leases still live, for the next one to go on from.",
    ),
    flag(
        Clustering,
        "experimental-enable-lease-checkpoint-persist",
        Bool,
        "false",
        "Needs the flag above, and adds nothing: what is written down is always kept.",
    ),
    flag(
        Clustering,
        "feature-gates",
        Gates,
        "",
        "What flags above say under the names of etcd 3.6: LeaseCheckpoint=true, LeaseCheckpointPersist, InitialCorruptCheck.",
    ),
    flag(
        Clustering,
        "corrupt-check-time",
        Duration,
        "0s",
        "How often the leader compares the members' data; 0s is never.",
    ),
    flag(
        Clustering,
        "experimental-corrupt-check-time",
        Duration,
        "0s",
        "The older name of corrupt-check-time.",
    ),
    flag(
        Clustering,
        "watch-progress-notify-interval",
        Duration,
        "10m0s",
        "How often a watch that wants to know is told that nothing happened.",
    ),
    flag(
        Clustering,
        "experimental-watch-progress-notify-interval",
        Duration,
        "10m0s",
        "The older name of watch-progress-notify-interval.",
    ),
    flag(Clustering, "proxy", Choice(&["off", "readonly", "on"]), "off", "Not offered: only off is taken."),
    ignored(flag(Clustering, "proxy-failure-wait", Unsigned, "5000", "Accepted for etcd's sake."), NO_PROXY),
    ignored(
        flag(Clustering, "proxy-refresh-interval", Unsigned, "30000", "Accepted for etcd's sake."),
        NO_PROXY,
    ),
    ignored(flag(Clustering, "proxy-dial-timeout", Unsigned, "1000", "Accepted for etcd's sake."), NO_PROXY),
    ignored(flag(Clustering, "proxy-write-timeout", Unsigned, "5000", "Accepted for etcd's sake."), NO_PROXY),
    ignored(flag(Clustering, "proxy-read-timeout", Unsigned, "0", "Accepted for etcd's sake."), NO_PROXY),
    flag(
        Security,
        "auth-token",
        Text,
        "simple",
        "How tokens are made: simple, or jwt,sign-method=…,pub-key=…,priv-key=…,ttl=… with keys in PEM files.",
    ),
    flag(
        Security,
        "auth-token-ttl",
        Unsigned,
        "300",
        "How long a simple token lives after its last use, in s.",
    ),
    flag(
        Security,
        "bcrypt-cost",
        Unsigned,
        "10",
        "The work that the hash of a password costs: two to this power, from 4 to 31.",
    ),
    flag(
        Security,
        "cert-file",
        Text,
        "",
        "The certificate that clients are shown, in PEM, its chain behind it.",
    ),
    flag(Security, "key-file", Text, "", "Its private key, in PEM."),
    flag(
        Security,
        "host-whitelist",
        Text,
        "*",
        "The names by which requests over http may call this member, without ports; * stands for all. Closes it to pages \
         that have a name of their own lead here. Calls of gRPC and https are not looked at.",
    ),
    flag(
        Security,
        "cors",
        Text,
        "*",
        "The origins whose pages may read answers over HTTP, as https://host:port; * stands for all.",
    ),
    flag(
        Security,
        "client-cert-auth",
        Bool,
        "false",
        "Clients have to show a certificate, whose common name is a user where users are asked for.",
    ),
    flag(
        Security,
        "trusted-ca-file",
        Text,
        "",
        "CAs, in PEM. With it clients have to show a certificate that one of them has signed.",
    ),
    flag(
        Security,
        "client-crl-file",
        Text,
        "",
        "Certificates of clients that were revoked: CRLs, DER or PEM.",
    ),
    flag(
        Security,
        "client-cert-allowed-hostname",
        Text,
        "",
        "Only certificates that are valid for one of these hosts are let in.",
    ),
    flag(
        Security,
        "auto-tls",
        Bool,
        "false",
        "Where there is no certificate for clients: make one, which nobody has signed.",
    ),
    ignored(
        flag(Security, "client-cert-file", Text, "", "Accepted for etcd's sake."),
        "this member does not call itself",
    ),
    ignored(
        flag(Security, "client-key-file", Text, "", "Accepted for etcd's sake."),
        "this member does not call itself",
    ),
    flag(
        Security,
        "peer-cert-file",
        Text,
        "",
        "The certificate that other members are shown, by whoever of both has called.",
    ),
    flag(Security, "peer-key-file", Text, "", "Its private key, in PEM."),
    flag(
        Security,
        "peer-client-cert-auth",
        Bool,
        "false",
        "Members have to show a certificate when they call.",
    ),
    flag(
        Security,
        "peer-trusted-ca-file",
        Text,
        "",
        "CAs, in PEM. With it members have to show a certificate that one of them has signed.",
    ),
    flag(Security, "peer-crl-file", Text, "", "Certificates of members that were revoked: CRLs, DER or PEM."),
    flag(
        Security,
        "peer-cert-allowed-cn",
        Text,
        "",
        "Only certificates with one of these common names are let in.",
    ),
    flag(
        Security,
        "peer-cert-allowed-hostname",
        Text,
        "",
        "Only certificates that are valid for one of these hosts are let in.",
    ),
    flag(
        Security,
        "peer-auto-tls",
        Bool,
        "false",
        "Where there is no certificate for members: make one. Members believe one another then, whoever they are.",
    ),
    flag(
        Security,
        "peer-client-cert-file",
        Text,
        "",
        "The certificate that is shown when this member calls; without it, that of peer-cert-file.",
    ),
    flag(Security, "peer-client-key-file", Text, "", "Its private key, in PEM."),
    flag(
        Security,
        "experimental-peer-skip-client-san-verification",
        Bool,
        "false",
        "Do not ask whether a member's certificate belongs to the address that it calls from.",
    ),
    flag(
        Security,
        "self-signed-cert-validity",
        Unsigned,
        "1",
        "How long certificates that a member makes are good, in years.",
    ),
    flag(
        Security,
        "cipher-suites",
        Text,
        "",
        "Suites of TLS 1.2, by the names that Go gives them; those of TLS 1.3 are always there.",
    ),
    flag(Security, "tls-min-version", Text, "TLS1.2", "TLS1.2 or TLS1.3."),
    flag(Security, "tls-max-version", Text, "", "TLS1.2 or TLS1.3; without it the newest."),
    ignored(
        flag(Logging, "logger", Choice(&["zap"]), "zap", "Accepted for etcd's sake."),
        "there is one logger, and its lines have the shape of zap's",
    ),
    flag(
        Logging,
        "log-outputs",
        Text,
        "default",
        "Where the log goes: stderr (which is the default), stdout, or paths of files.",
    ),
    flag(
        Logging,
        "log-level",
        Choice(&["debug", "info", "warn", "error", "panic", "fatal"]),
        "info",
        "What is too unimportant for the log: all that stands before this word in\ndebug, info, warn, error, panic, fatal.",
    ),
    ignored(
        flag(Logging, "log-format", Choice(&["json", "console"]), "json", "Accepted for etcd's sake."),
        "the log is written as JSON",
    ),
    flag(
        Unsafe,
        "force-new-cluster",
        Bool,
        "false",
        "Go on alone with the data in the folder and forget every other member. For when a majority is lost for ever.",
    ),
];
