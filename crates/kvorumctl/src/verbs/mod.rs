//! The verbs, one file each or one for those that belong together.

mod alarm;
mod auth;
mod check;
mod compaction;
mod completion;
pub(crate) mod context;
mod defrag;
pub(crate) mod del;
mod doctor;
mod downgrade;
mod elect;
mod endpoint;
pub(crate) mod get;
mod keys;
mod lease;
pub(crate) mod lock;
mod make_mirror;
mod man;
mod member;
mod metrics;
mod migrate;
mod move_leader;
mod options;
mod pages;
pub(crate) mod password;
mod progress;
pub(crate) mod put;
mod role;
mod shown;
pub(crate) mod signal;
mod snapshot;
mod tls;
mod top;
mod transfer;
mod txn;
mod user;
mod version;
mod watch;

use clap::Subcommand;

use crate::failure::{Done, Failure};
use crate::session::Session;

/// What can be asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Writes a key.
    Put(put::Put),
    /// Reads a key or a range of keys.
    Get(get::Get),
    /// Deletes a key or a range of keys.
    Del(del::Del),
    /// Compares, and then writes, reads and deletes as one.
    Txn(txn::Txn),
    /// Shows what happens to keys.
    Watch(watch::WatchArgs),
    /// What there is to know of keys.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Forgets what was before a revision.
    Compaction(compaction::Compaction),
    /// Leases: keys that end by themselves.
    #[command(subcommand)]
    Lease(lease::Lease),
    /// Holds a named lock.
    Lock(lock::Lock),
    /// Stands for an election, or watches who leads.
    Elect(elect::Elect),
    /// Who is in the cluster.
    #[command(subcommand)]
    Member(member::MemberVerb),
    /// How each member does.
    Endpoint(endpoint::EndpointArgs),
    /// Hands the lead to another member.
    MoveLeader(move_leader::MoveLeader),
    /// What is known to be wrong.
    #[command(subcommand)]
    Alarm(alarm::Alarm),
    /// Gives room back to the disk.
    Defrag(defrag::Defrag),
    /// Everything in one file.
    #[command(subcommand)]
    Snapshot(snapshot::Snapshot),
    /// Copies keys to another cluster, and what becomes of them.
    MakeMirror(make_mirror::MakeMirror),
    /// Writes keys and values as lines of JSON.
    Export(transfer::export::Export),
    /// Makes keys what such a file says, or says what that would change.
    Import(transfer::import::Import),
    /// Copies a v2 tree into v3 keys.
    Migrate(migrate::Migrate),
    /// Asks for an older version to follow.
    #[command(subcommand)]
    Downgrade(downgrade::Downgrade),
    /// Whether the cluster asks who speaks.
    #[command(subcommand)]
    Auth(auth::Auth),
    /// Users and their roles.
    #[command(subcommand)]
    User(user::User),
    /// Roles and what they permit.
    #[command(subcommand)]
    Role(role::Role),
    /// Looks for what is not as it should be.
    Doctor(doctor::Doctor),
    /// Shows the members and what they do, again and again.
    Top(top::Top),
    /// Measures the cluster.
    #[command(subcommand)]
    Check(check::Check),
    /// Certificates for those who have no tool for them.
    #[command(subcommand)]
    Tls(tls::Tls),
    /// Says which version this is.
    Version(version::Version),
    /// Makes a shell complete verbs and flags.
    Completion(completion::Completion),
    /// Prints the manual.
    Man(man::Man),
    /// Lists the flags that every verb knows.
    Options(options::Options),
    /// Names for clusters.
    #[command(subcommand)]
    Context(context::ContextVerb),
}

impl Verb {
    pub(crate) async fn run(self, session: &Session) -> Done {
        match self {
            Self::Put(verb) => verb.run(session).await,
            Self::Get(verb) => verb.run(session).await,
            Self::Del(verb) => verb.run(session).await,
            Self::Txn(verb) => verb.run(session).await,
            Self::Watch(verb) => verb.run(session).await,
            Self::Compaction(verb) => verb.run(session).await,
            Self::Lease(verb) => verb.run(session).await,
            Self::Lock(verb) => verb.run(session).await,
            Self::Elect(verb) => verb.run(session).await,
            Self::Member(verb) => verb.run(session).await,
            Self::Endpoint(verb) => verb.run(session).await,
            Self::MoveLeader(verb) => verb.run(session).await,
            Self::Alarm(verb) => verb.run(session).await,
            Self::Defrag(verb) => verb.run(session).await,
            Self::Snapshot(verb) => verb.run(session).await,
            Self::MakeMirror(verb) => Box::pin(verb.run(session)).await,
            Self::Migrate(verb) => Box::pin(verb.run(session)).await,
            Self::Downgrade(verb) => verb.run(session).await,
            Self::Auth(verb) => verb.run(session).await,
            Self::User(verb) => verb.run(session).await,
            Self::Role(verb) => verb.run(session).await,
            Self::Check(verb) => verb.run(session).await,
            Self::Tls(verb) => verb.run(session),
            Self::Version(_) => version::Version::run(session),
            Self::Completion(verb) => verb.run(session),
            Self::Man(verb) => verb.run(session),
            Self::Options(_) => options::Options::run(session),
            Self::Context(verb) => verb.run(session),
            Self::Export(verb) => verb.run(session).await,
            Self::Import(verb) => verb.run(session).await,
            Self::Keys(verb) => Box::pin(verb.run(session)).await,
            Self::Doctor(verb) => Box::pin(verb.run(session)).await,
            Self::Top(verb) => verb.run(session).await,
        }
    }
}

/// The only argument.
fn one(args: &[String], otherwise: &str) -> Result<String, Failure> {
    match args {
        [word] => Ok(word.clone()),
        _ => Err(Failure::arguments(otherwise)),
    }
}

/// Texts as bytes.
fn names(names: &[String]) -> Vec<Vec<u8>> {
    names.iter().map(|name| name.clone().into_bytes()).collect()
}
