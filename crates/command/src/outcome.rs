//! What applying a command gives back: the only way up.

use std::sync::Arc;

use bytes::Bytes;
use types::v2::{self, Timestamp};
use types::v2auth;
use types::{
    Alarm, AuthDone, AuthRefusal, DeleteReply, Index, LeaseId, MemberRecord, MemberRefusal, PutReply,
    Revision, TxnReply,
};

use crate::Checkpoint;

/// The result of one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The v3 revision after the command.
    pub revision: Revision,
    /// What it did, or why it did nothing.
    pub result: Result<Effect, Refused>,
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A put.
    Put(PutReply),
    /// A delete.
    DeleteRange(DeleteReply),
    /// A transaction.
    Txn(TxnReply),
    /// A compaction.
    Compact,
    /// A v2 write; its refusals are v2's own and count as an answer. An expiry has one event for each node.
    V2(Result<Vec<Arc<v2::Event>>, v2::Refusal>),
    /// A v2 write on the tree below a prefix of v3's keys.
    Bridged(Bridged),
    /// A member was recorded.
    SetMember,
    /// Members were added, promoted, removed or got other URLs: all that are there now.
    Members(Vec<MemberRecord>),
    /// What was raised or lowered: one alarm, or none where there was nothing to lower.
    Alarms(Vec<Alarm>),
    /// A lease was granted.
    Granted {
        /// Its id.
        id: LeaseId,
        /// How long it lives without being kept alive, in seconds.
        ttl: i64,
        /// The index at which that was decided, which tells it from others of the same id.
        born: Index,
    },
    /// These leases, by when they were granted, have ended, and their keys with them.
    Revoked(Vec<(LeaseId, Index)>),
    /// These leases were told what they have left.
    Checkpointed(Vec<Checkpoint>),
    /// The users and roles of v2 were changed, or not; refusals count as an answer.
    V2Auth(Result<v2auth::Changed, v2auth::Refusal>),
    /// Users or roles were changed, or a token was given.
    Auth(AuthDone),
}

/// What a v2 write on v3's keys did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridged {
    /// The prefix that it was meant for.
    pub prefix: Bytes,
    /// The answer; v2's refusals count as one.
    pub result: Result<Arc<v2::Event>, v2::Refusal>,
    /// The lease that it granted to a node that goes one day.
    pub granted: Option<Granted>,
    /// The leases of earlier such nodes, by when they were granted, that it ended.
    pub ended: Vec<(LeaseId, Index)>,
}

/// A lease that ends by the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Its id.
    pub id: LeaseId,
    /// How long it lives, in seconds.
    pub ttl: i64,
    /// The index at which that was decided.
    pub born: Index,
    /// When it ends.
    pub deadline: Timestamp,
}

/// Why a command did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It wanted to keep something of a key that does not exist.
    KeyNotFound,
    /// It named a lease that does not exist.
    LeaseNotFound,
    /// It named a revision that was forgotten.
    Compacted,
    /// It named a revision that is not yet.
    FutureRevision,
    /// It would grow the database while an alarm says that there is no room.
    NoSpace,
    /// There is a lease with this id.
    LeaseExists,
    /// A lease would live for longer than allowed.
    LeaseTtlTooLarge,
    /// There are as many leases as allowed.
    TooManyLeases,
    /// The list of members does not change like this.
    Member(MemberRefusal),
    /// Users and roles do not change like this; or who it is from may not do it.
    Auth(AuthRefusal),
}
