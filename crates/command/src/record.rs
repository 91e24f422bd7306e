//! The commands as protobuf records. Field numbers are for ever; docs/FORMATS.md lists them.
//!
//! They are records of our own and not etcd's wire messages, so that the interface may grow without the log.

use bytes::Bytes;
use prost::{Message, Oneof};

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CommandRecord {
    #[prost(oneof = "Operation", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 20, 21")]
    pub(crate) operation: Option<Operation>,
    /// Whose command it is, as of which auth revision; empty for nobody's.
    #[prost(string, tag = "16")]
    pub(crate) user: String,
    #[prost(uint64, tag = "17")]
    pub(crate) auth_revision: u64,
    /// It is a chore of a member.
    #[prost(bool, tag = "18")]
    pub(crate) chore: bool,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Operation {
    #[prost(message, tag = "1")]
    Put(PutRecord),
    #[prost(message, tag = "2")]
    DeleteRange(DeleteRangeRecord),
    #[prost(message, tag = "3")]
    Txn(TxnRecord),
    #[prost(sint64, tag = "4")]
    Compact(i64),
    #[prost(message, tag = "5")]
    V2(V2Record),
    #[prost(message, tag = "6")]
    SetMember(MemberRow),
    #[prost(message, tag = "7")]
    AddMember(MemberRow),
    #[prost(fixed64, tag = "8")]
    PromoteMember(u64),
    #[prost(fixed64, tag = "9")]
    RemoveMember(u64),
    #[prost(message, tag = "10")]
    UpdateMember(UpdateMemberRow),
    #[prost(message, tag = "11")]
    Alarm(AlarmRow),
    #[prost(message, tag = "12")]
    GrantLease(GrantRow),
    #[prost(message, tag = "13")]
    RevokeLeases(RevocationsRow),
    #[prost(message, tag = "14")]
    CheckpointLeases(CheckpointsRow),
    #[prost(message, tag = "20")]
    V2Auth(V2AuthRecord),
    #[prost(message, tag = "21")]
    Auth(AuthRecord),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PutRecord {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) value: Bytes,
    #[prost(sfixed64, tag = "3")]
    pub(crate) lease: i64,
    #[prost(bool, tag = "4")]
    pub(crate) prev_kv: bool,
    #[prost(bool, tag = "5")]
    pub(crate) ignore_value: bool,
    #[prost(bool, tag = "6")]
    pub(crate) ignore_lease: bool,
}

/// `end_kind`: 0 single, 1 before `end`, 2 unbounded.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RangeRow {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) start: Bytes,
    #[prost(uint32, tag = "2")]
    pub(crate) end_kind: u32,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) end: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DeleteRangeRecord {
    #[prost(message, optional, tag = "1")]
    pub(crate) range: Option<RangeRow>,
    #[prost(bool, tag = "2")]
    pub(crate) prev_kv: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TxnRecord {
    #[prost(message, repeated, tag = "1")]
    pub(crate) compare: Vec<CompareRecord>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) success: Vec<TxnOpRecord>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) failure: Vec<TxnOpRecord>,
}

/// `result`: 0 equal, 1 greater, 2 less, 3 not equal.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CompareRecord {
    #[prost(message, optional, tag = "1")]
    pub(crate) range: Option<RangeRow>,
    #[prost(uint32, tag = "2")]
    pub(crate) result: u32,
    #[prost(oneof = "TargetRecord", tags = "3, 4, 5, 6, 7")]
    pub(crate) target: Option<TargetRecord>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum TargetRecord {
    #[prost(sint64, tag = "3")]
    Version(i64),
    #[prost(sint64, tag = "4")]
    Create(i64),
    #[prost(sint64, tag = "5")]
    Mod(i64),
    #[prost(bytes = "bytes", tag = "6")]
    Value(Bytes),
    #[prost(sint64, tag = "7")]
    Lease(i64),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TxnOpRecord {
    #[prost(oneof = "TxnOperation", tags = "1, 2, 3, 4")]
    pub(crate) operation: Option<TxnOperation>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum TxnOperation {
    #[prost(message, tag = "1")]
    Range(QueryRecord),
    #[prost(message, tag = "2")]
    Put(PutRecord),
    #[prost(message, tag = "3")]
    DeleteRange(DeleteRangeRecord),
    #[prost(message, tag = "4")]
    Txn(TxnRecord),
}

/// `order`: 0 none, 1 ascend, 2 descend. `target`: 0 key, 1 version, 2 create, 3 mod, 4 value. Bounds and
/// revision: 0 is absent.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct QueryRecord {
    #[prost(message, optional, tag = "1")]
    pub(crate) range: Option<RangeRow>,
    #[prost(uint64, tag = "2")]
    pub(crate) limit: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) revision: u64,
    #[prost(uint32, tag = "4")]
    pub(crate) order: u32,
    #[prost(uint32, tag = "5")]
    pub(crate) target: u32,
    #[prost(bool, tag = "6")]
    pub(crate) keys_only: bool,
    #[prost(bool, tag = "7")]
    pub(crate) count_only: bool,
    #[prost(uint64, tag = "8")]
    pub(crate) min_mod: u64,
    #[prost(uint64, tag = "9")]
    pub(crate) max_mod: u64,
    #[prost(uint64, tag = "10")]
    pub(crate) min_create: u64,
    #[prost(uint64, tag = "11")]
    pub(crate) max_create: u64,
}

/// `kind`: 1 set, 2 create, 3 update, 4 compare and swap, 5 delete, 6 compare and delete, 7 expire.
/// A field that a kind does not use is absent.
#[allow(clippy::struct_excessive_bools, reason = "each is a field on disk, and most kinds use none of them")]
#[derive(Clone, PartialEq, Message)]
pub(crate) struct V2Record {
    #[prost(uint32, tag = "1")]
    pub(crate) kind: u32,
    #[prost(string, tag = "2")]
    pub(crate) path: String,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) value: Bytes,
    #[prost(bool, tag = "4")]
    pub(crate) dir: bool,
    #[prost(sint64, optional, tag = "5")]
    pub(crate) expires_at: Option<i64>,
    #[prost(bool, tag = "6")]
    pub(crate) in_order: bool,
    #[prost(bool, tag = "7")]
    pub(crate) refresh: bool,
    #[prost(bool, tag = "8")]
    pub(crate) recursive: bool,
    #[prost(bytes = "bytes", optional, tag = "9")]
    pub(crate) prev_value: Option<Bytes>,
    #[prost(uint64, optional, tag = "10")]
    pub(crate) prev_index: Option<u64>,
    #[prost(sint64, tag = "11")]
    pub(crate) now: i64,
    #[prost(uint64, optional, tag = "12")]
    pub(crate) nodes_max: Option<u64>,
    /// Absent is v2's own keyspace.
    #[prost(bytes = "bytes", optional, tag = "13")]
    pub(crate) prefix: Option<Bytes>,
    #[prost(sfixed64, tag = "14")]
    pub(crate) lease: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MemberRow {
    #[prost(fixed64, tag = "1")]
    pub(crate) id: u64,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    #[prost(string, repeated, tag = "3")]
    pub(crate) peer_urls: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    pub(crate) client_urls: Vec<String>,
    #[prost(bool, tag = "5")]
    pub(crate) learner: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct UpdateMemberRow {
    #[prost(fixed64, tag = "1")]
    pub(crate) id: u64,
    #[prost(string, repeated, tag = "2")]
    pub(crate) peer_urls: Vec<String>,
}

/// `kind`: 1 no space, 2 corrupt.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct AlarmRow {
    #[prost(bool, tag = "1")]
    pub(crate) raise: bool,
    #[prost(fixed64, tag = "2")]
    pub(crate) member: u64,
    #[prost(uint32, tag = "3")]
    pub(crate) kind: u32,
}

/// Seconds.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct GrantRow {
    #[prost(sfixed64, tag = "1")]
    pub(crate) id: i64,
    #[prost(sint64, tag = "2")]
    pub(crate) ttl: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RevocationsRow {
    #[prost(message, repeated, tag = "1")]
    pub(crate) leases: Vec<RevocationRow>,
    /// Absent: nothing but the keys of the leases goes.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub(crate) prefix: Option<Bytes>,
}

/// `born`: 0 is whichever.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RevocationRow {
    #[prost(sfixed64, tag = "1")]
    pub(crate) id: i64,
    #[prost(uint64, tag = "2")]
    pub(crate) born: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CheckpointsRow {
    #[prost(message, repeated, tag = "1")]
    pub(crate) leases: Vec<CheckpointRow>,
}

/// Seconds; 0 is all of them.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CheckpointRow {
    #[prost(sfixed64, tag = "1")]
    pub(crate) id: i64,
    #[prost(uint64, tag = "2")]
    pub(crate) born: u64,
    #[prost(sint64, tag = "3")]
    pub(crate) remaining: i64,
}

/// `kind`: 1 put user, 2 create user, 3 update user, 4 delete user, 5 create role, 6 update role, 7 delete role,
/// 8 enable, 9 disable. A field that a kind does not use is absent. `grant` is also the rights of a new role, and
/// `grant_roles` the roles of a new user.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct V2AuthRecord {
    #[prost(uint32, tag = "1")]
    pub(crate) kind: u32,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    #[prost(string, optional, tag = "3")]
    pub(crate) hash: Option<String>,
    #[prost(string, repeated, tag = "4")]
    pub(crate) grant_roles: Vec<String>,
    #[prost(string, repeated, tag = "5")]
    pub(crate) revoke_roles: Vec<String>,
    #[prost(message, optional, tag = "6")]
    pub(crate) grant: Option<RightsRow>,
    #[prost(message, optional, tag = "7")]
    pub(crate) revoke: Option<RightsRow>,
    #[prost(bool, tag = "8")]
    pub(crate) listed: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RightsRow {
    #[prost(message, optional, tag = "1")]
    pub(crate) read: Option<TextsRow>,
    #[prost(message, optional, tag = "2")]
    pub(crate) write: Option<TextsRow>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TextsRow {
    #[prost(string, repeated, tag = "1")]
    pub(crate) texts: Vec<String>,
}

/// `kind`: 1 enable, 2 disable, 3 add user, 4 delete user, 5 set password, 6 grant role, 7 revoke role, 8 add role,
/// 9 delete role, 10 grant permission, 11 revoke permission, 12 authenticate. `name` is the user's, of kinds 8 to 11
/// the role's; `text` is a role, a hash or a token. `access`: 0 read, 1 write, 2 both.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct AuthRecord {
    #[prost(uint32, tag = "1")]
    pub(crate) kind: u32,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    #[prost(string, optional, tag = "3")]
    pub(crate) text: Option<String>,
    #[prost(uint32, tag = "4")]
    pub(crate) access: u32,
    #[prost(bytes = "bytes", tag = "5")]
    pub(crate) key: Bytes,
    #[prost(bytes = "bytes", tag = "6")]
    pub(crate) range_end: Bytes,
    #[prost(uint64, tag = "7")]
    pub(crate) revision: u64,
}
