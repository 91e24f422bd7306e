//! The nouns of Kvorum: keys, ranges, revisions, ids, requests on the two keyspaces and their replies.
//!
//! Nothing here does anything. A value that exists is well-formed: the door parses, the rooms trust.

mod id;
mod key;
mod kv;
mod limits;
mod revision;
pub mod v2;

pub use id::{ClusterId, LeaseId, MemberId};
pub use key::{Key, KeyRange, RangeEnd};
pub use kv::{
    Compare, CompareResult, CompareTarget, DeleteRange, DeleteReply, KeyValue, OpReply, Put, PutReply,
    RangeQuery, RangeReply, RevisionBounds, SortOrder, SortTarget, TXN_DEPTH_MAX, Txn, TxnOp, TxnReply,
    TxnResponse,
};
pub use limits::Limits;
pub use revision::{Index, Revision, Term};

/// What a member says of itself when asked who is in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRecord {
    /// Derived from the peer URLs and the cluster token.
    pub id: MemberId,
    /// Human name; empty until the member has started for the first time.
    pub name: String,
    /// Where other members reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it; empty until the member has started for the first time.
    pub client_urls: Vec<String>,
    /// Receives the log but does not vote.
    pub learner: bool,
}
