//! The nouns of Kvorum: keys, ranges, revisions, ids, requests on the two keyspaces and their replies.
//!
//! Nothing here does anything. A value that exists is well-formed: the door parses, the rooms trust.

mod auth;
mod event;
mod id;
mod key;
mod kv;
mod limits;
mod member;
mod revision;
mod secret;
mod url;
pub mod v2;
pub mod v2auth;
mod watch;

pub use auth::{Access, AuthChange, AuthDone, AuthRefusal, Author, Identity, Permission, ROOT};
pub use event::{Event, EventKind};
pub use id::{ClusterId, LeaseId, MemberId};
pub use key::{Key, KeyRange, RangeEnd};
pub use kv::{
    Compare, CompareResult, CompareTarget, DeleteRange, DeleteReply, KeyValue, OpReply, Put, PutReply,
    RangeQuery, RangeReply, RevisionBounds, SortOrder, SortTarget, TXN_DEPTH_MAX, Txn, TxnOp, TxnReply,
    TxnResponse,
};
pub use limits::Limits;
pub use member::{Alarm, AlarmKind, MemberRecord, MemberRefusal};
pub use revision::{Index, Revision, Term};
pub use secret::Secret;
pub use url::{MemberUrl, Scheme, UrlError, parse_urls};
pub use watch::{SharedEvent, WatchId, WatchSpec};
