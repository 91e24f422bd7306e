//! The door frame: what a member offers to whoever speaks to clients, and the closed set of its refusals.
//!
//! The gateway sees this crate and nothing behind it, so it runs in tests against a fake member.

mod auth;
mod fault;
mod lease;
pub mod level;
mod stats;
mod upkeep;
mod v2;
mod v2auth;
mod watch;

pub use auth::{AuthReply, AuthRequest, Caller};
pub use fault::{Code, Fault};
pub use lease::{Grant, LeaseStatus};
pub use stats::{Feed, KeyspaceStats, Latency, PeerStats, Progress, RaftStats, Stages, Stand, Stats, Tally};
pub use types::{Secret, SharedEvent, WatchId, WatchSpec};
pub use upkeep::{Downgrade, RangeStream, SnapshotPiece, SnapshotStream};
pub use v2::{V2Events, V2News, V2Reply, V2Ttl, V2Watching};
pub use v2auth::{V2Auth, V2Caller};
pub use watch::{WatchBody, WatchReply, WatchStream};

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use types::v2::{Get, Refusal, Watch, Write};
use types::{
    Alarm, AlarmKind, ClusterId, DeleteRange, DeleteReply, Index, LeaseId, Limits, MemberId, MemberRecord,
    MemberUrl, Put, PutReply, RangeQuery, RangeReply, Revision, Term, Txn, TxnReply,
};

/// What every v3 answer carries: who answered, and when in the life of the keyspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The cluster.
    pub cluster: ClusterId,
    /// The member that answered.
    pub member: MemberId,
    /// The keyspace's revision when it answered.
    pub revision: Revision,
    /// The raft term when it answered.
    pub term: Term,
}

/// An answer with its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply<T> {
    /// Who and when.
    pub header: Header,
    /// What.
    pub body: T,
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// It sees every write that was acknowledged before it began.
    #[default]
    Linearizable,
    /// It sees what this member has applied; it is answered without a leader too.
    Serializable,
}

/// A compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compact {
    /// History before this revision may be forgotten. Zero or less is "already compacted", as in etcd.
    pub revision: i64,
    /// Answer only when it is also gone from disk.
    pub physical: bool,
}

/// The hash of the history up to a revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KvHash {
    /// CRC-32C of all versions that a compaction at `compacted` keeps, up to `revision`.
    pub hash: u32,
    /// The revision up to which history was forgotten; 0 before the first compaction.
    pub compacted: Revision,
    /// The revision that was hashed.
    pub revision: Revision,
}

/// What a member says of its own condition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Bytes on disk.
    pub db_bytes: u64,
    /// Bytes on disk that hold live data, estimated.
    pub db_bytes_in_use: u64,
    /// The leader it knows; zero for none.
    pub leader: MemberId,
    /// The last index known to be committed.
    pub raft_index: Index,
    /// The term.
    pub raft_term: Term,
    /// The last index applied.
    pub raft_applied_index: Index,
    /// What is wrong, one sentence each, in etcd's words.
    pub errors: Vec<String>,
    /// Whether this member is a learner.
    pub learner: bool,
    /// Bytes that the database may grow to; 0 when there is no quota.
    pub db_bytes_quota: u64,
}

/// A member that was added, and everybody who is there now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// The new member, with its id; its name and client URLs are empty until it starts.
    pub member: MemberRecord,
    /// All members, in the order of their ids.
    pub members: Vec<MemberRecord>,
}

/// What to do with alarms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlarmAction {
    /// List those of this kind, whoever's they are; all of them with `None`.
    Get(Option<AlarmKind>),
    /// Raise one. Raising it again changes nothing.
    Raise(Alarm),
    /// Lower one.
    Lower(Alarm),
}

/// A member as the gateway knows it. All methods may be called from any task; none blocks the thread.
///
/// Called directly, it is called by nobody: if proof is asked for, what is guarded is refused.
///
/// Every method may fail with a [`Fault`], whose text and code are etcd's own.
#[async_trait]
pub trait Member: Send + Sync + 'static {
    /// Cluster, member, revision and term as of now.
    fn header(&self) -> Header;

    /// What one request may cost; the gateway checks transactions against it while it parses them.
    fn limits(&self) -> Limits;

    /// Whether v2 is served.
    fn v2_enabled(&self) -> bool;

    /// Whether this member is a learner: it answers no more than [`Member::status`] and serializable reads then,
    /// which is for the gateway to see to.
    fn is_learner(&self) -> bool;

    /// Whether who calls has to prove who he is, as of now.
    fn guards(&self) -> bool {
        false
    }

    /// This member as `caller` sees it: what he may not do is refused, as of the moment at which it is done. Whoever
    /// goes on for long has to enter by this way even if nobody has to prove anything yet.
    fn for_caller(self: Arc<Self>, caller: Caller) -> Arc<dyn Member>;

    /// Waits until this member can know who calls, if that takes more than a look. To be awaited before a stream begins.
    async fn greet(&self) {}

    /// Users and roles.
    async fn auth(&self, request: AuthRequest) -> Result<Reply<AuthReply>, Fault> {
        let _ = request;
        Err(Fault::Unserved)
    }

    /// Reads a range.
    async fn range(&self, query: RangeQuery, consistency: Consistency) -> Result<Reply<RangeReply>, Fault>;

    /// Writes a key.
    async fn put(&self, put: Put) -> Result<Reply<PutReply>, Fault>;

    /// Removes a range.
    async fn delete_range(&self, delete: DeleteRange) -> Result<Reply<DeleteReply>, Fault>;

    /// Runs a transaction. `serializable_reads`: every range in it asked for no more than a serializable read.
    async fn txn(&self, txn: Txn, serializable_reads: bool) -> Result<Reply<TxnReply>, Fault>;

    /// Forgets history.
    async fn compact(&self, compact: Compact) -> Result<Reply<()>, Fault>;

    /// The hash of everything this member holds.
    async fn hash(&self) -> Result<Reply<u32>, Fault>;

    /// The hash of the history up to a revision; `None` is the current one. A negative one is the future to etcd.
    async fn hash_kv(&self, revision: Option<Revision>) -> Result<Reply<KvHash>, Fault>;

    /// The member's condition, without asking anybody.
    async fn status(&self) -> Result<Reply<Status>, Fault>;

    /// Who is in the cluster.
    async fn members(&self, consistency: Consistency) -> Result<Reply<Vec<MemberRecord>>, Fault>;

    /// Adds a member. The URLs are in order of their text and at least one; the id is this member's to choose.
    async fn member_add(&self, peer_urls: Vec<MemberUrl>, learner: bool) -> Result<Reply<Added>, Fault>;

    /// Removes a member for ever. All members of afterwards.
    async fn member_remove(&self, id: MemberId) -> Result<Reply<Vec<MemberRecord>>, Fault>;

    /// Gives a member other peer URLs, at least one. All members of afterwards.
    async fn member_update(
        &self,
        id: MemberId,
        peer_urls: Vec<MemberUrl>,
    ) -> Result<Reply<Vec<MemberRecord>>, Fault>;

    /// Lets a learner vote that has nearly all of the log. All members of afterwards.
    async fn member_promote(&self, id: MemberId) -> Result<Reply<Vec<MemberRecord>>, Fault>;

    /// Lets another voter lead; only a leader can do it. It is done when that one leads.
    async fn move_leader(&self, target: MemberId) -> Result<(), Fault>;

    /// Lists, raises or lowers alarms. The alarms that were asked for; the one that was raised; the one that was
    /// lowered, or none if it was not raised. Linearizable.
    async fn alarm(&self, action: AlarmAction) -> Result<Reply<Vec<Alarm>>, Fault>;

    /// Opens a stream of watches. `requires_leader`: it ends with [`Fault::NoLeader`] when this member has known of
    /// no leader for some time.
    fn watch(&self, requires_leader: bool) -> Result<Box<dyn WatchStream>, Fault>;

    /// Grants a lease; id 0 lets the member choose.
    async fn lease_grant(&self, id: LeaseId, ttl: i64) -> Result<Reply<Grant>, Fault>;

    /// Ends a lease and removes its keys, all at one revision.
    async fn lease_revoke(&self, id: LeaseId) -> Result<Reply<()>, Fault>;

    /// Gives leases their full time again: for each its time, or 0 if it is not there. Asks whoever leads.
    async fn lease_keep_alive(&self, ids: Vec<LeaseId>) -> Result<Reply<Vec<i64>>, Fault>;

    /// How a lease stands, as whoever leads knows it. A lease that is not there is no fault.
    async fn lease_time_to_live(&self, id: LeaseId, keys: bool) -> Result<Reply<LeaseStatus>, Fault>;

    /// All leases, in the order of their ids. Linearizable.
    async fn leases(&self) -> Result<Reply<Vec<LeaseId>>, Fault>;

    /// Reads a range in parts, all at one revision, without ever holding all of it.
    async fn range_stream(
        &self,
        query: RangeQuery,
        consistency: Consistency,
    ) -> Result<Box<dyn RangeStream>, Fault>;

    /// A snapshot of everything this member holds, for an operator.
    async fn snapshot(&self) -> Result<Box<dyn SnapshotStream>, Fault>;

    /// Gives room back to the disk, in the background: it answers when that has begun.
    async fn defragment(&self) -> Result<(), Fault>;

    /// Judges a downgrade, begins it or stops it; answers the cluster's version.
    async fn downgrade(&self, action: Downgrade) -> Result<Reply<String>, Fault>;

    /// Reads the v2 keyspace; `Linearizable` is v2's `quorum=true`.
    async fn v2_get(&self, get: Get, consistency: Consistency) -> Result<V2Reply, Fault>;

    /// Writes the v2 keyspace. The expiry inside `write` is replaced by `ttl` on the member's clock.
    async fn v2_write(&self, write: Write, ttl: V2Ttl) -> Result<V2Reply, Fault>;

    /// Waits for what happens in the v2 keyspace, on this member. The refusal is v2's own: what it asks for was
    /// forgotten.
    async fn v2_watch(&self, watch: Watch) -> Result<Result<V2Watching, Refusal>, Fault> {
        let _ = watch;
        Err(Fault::Unserved)
    }

    /// The users and roles of v2; nothing where there are none, and everybody may do everything.
    fn v2_auth(&self) -> Option<&dyn V2Auth> {
        None
    }

    /// What it has counted since its start; nothing where nobody counts.
    fn stats(&self) -> Option<Stats> {
        None
    }

    /// How it stands in raft; nothing where there is none.
    fn raft_stats(&self) -> Option<RaftStats> {
        None
    }

    /// Whether this member serves: a linearizable read decides, or with `Serializable` its own state.
    /// The error is the sentence that etcd's `/health` gives as its reason.
    async fn health(&self, consistency: Consistency) -> Result<(), String>;

    /// What the last `span` had in it that makes requests slow; nothing where nobody knows.
    fn stages(&self, span: Duration) -> Stages {
        let _ = span;
        Stages::default()
    }

    /// The metrics in Prometheus' text form.
    fn metrics(&self) -> String;
}
