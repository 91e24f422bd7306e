//! The command line as data: tables from which come the flags, their environment variables, their keys in a file, their
//! defaults, the checks of their values and the help.
//!
//! They hold the union of what etcd 3.4 to 3.7 takes, since packages and manifests pin old names.
//!
//! INVARIANT: a default is a value that its own check accepts.

mod clustering;
mod member;
mod observing;
mod security;

use std::time::Duration as Time;

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
    /// What can be seen of it.
    Observing,
    /// What it does only because somebody insists.
    Unsafe,
}

impl Section {
    /// All, as the help has them, with their titles.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Member, "Member"),
        (Self::Clustering, "Clustering"),
        (Self::Security, "Security"),
        (Self::Logging, "Logging"),
        (Self::Observing, "Metrics, slow requests and traces"),
        (Self::Unsafe, "Unsafe feature"),
    ];
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
    /// A size in bytes: a number, or `8GiB`.
    Bytes,
    /// The same, or a negative number.
    SignedBytes,
    /// A time as Go writes it: `90s`, `1h30m`; or `1d`.
    Duration,
    /// A number of such units, or a time with a unit of its own.
    CountOf(Time),
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
    /// Nothing, which could do harm where somebody relies on it: any value but the default ends the start with this reason.
    Refused(&'static str),
    /// What the flag with this newer name does.
    Older(&'static str),
}

/// A flag. Its environment variable follows from its name, and its key in a file is its name.
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

/// Every flag, in the order of the help.
const TABLES: [&[Flag]; 4] = [member::FLAGS, clustering::FLAGS, security::FLAGS, observing::FLAGS];

impl Flag {
    /// Every flag that names a setting.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        TABLES.into_iter().flatten()
    }

    /// The flag with this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::all().find(|flag| flag.name == name)
    }

    /// `ETCD_` and the name in capitals.
    pub fn variable(&self) -> String {
        format!("ETCD_{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }

    /// Whether its value is nobody's business: it is shown nowhere.
    pub fn is_secret(&self) -> bool {
        self.name.ends_with("password")
    }
}

/// Words that etcd itself takes and ignores since long; a value may follow them.
pub(crate) const FORGOTTEN: [&str; 13] = [
    "cluster-active-size",
    "cluster-remove-delay",
    "cluster-sync-interval",
    "config",
    "force",
    "max-result-buffer",
    "max-retry-attempts",
    "peer-heartbeat-interval",
    "peer-election-timeout",
    "retry-interval",
    "snapshot",
    "v",
    "vv",
];

pub(crate) const MILLISECONDS: Kind = Kind::CountOf(Time::from_millis(1));
pub(crate) const SECONDS: Kind = Kind::CountOf(Time::from_secs(1));

const fn flag(
    section: Section,
    name: &'static str,
    kind: Kind,
    default: &'static str,
    help: &'static str,
) -> Flag {
    Flag { name, section, kind, default, help, effect: Effect::Honoured }
}

const fn ignored(
    section: Section,
    name: &'static str,
    kind: Kind,
    default: &'static str,
    reason: &'static str,
) -> Flag {
    Flag { name, section, kind, default, help: "Accepted for etcd's sake.", effect: Effect::Ignored(reason) }
}

const fn refused(
    section: Section,
    name: &'static str,
    kind: Kind,
    default: &'static str,
    reason: &'static str,
) -> Flag {
    Flag { name, section, kind, default, help: "Not offered.", effect: Effect::Refused(reason) }
}

const fn older(
    section: Section,
    name: &'static str,
    kind: Kind,
    default: &'static str,
    newer: &'static str,
) -> Flag {
    Flag { name, section, kind, default, help: "", effect: Effect::Older(newer) }
}
