//! Messages that etcd writes into its log and its snapshots and speaks to no client.

use bytes::Bytes;
use proto::etcdserverpb as pb;

/// A record of the log.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Record {
    #[prost(int64, tag = "1")]
    pub(crate) kind: i64,
    #[prost(uint32, tag = "2")]
    pub(crate) crc: u32,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) data: Bytes,
}

/// An entry, in a record.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Entry {
    /// 0 a request, 1 and 2 a change of the members.
    #[prost(int32, tag = "1")]
    pub(crate) kind: i32,
    #[prost(uint64, tag = "2")]
    pub(crate) term: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) index: u64,
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) data: Bytes,
}

/// A change of the members, in an entry.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ConfChange {
    /// 0 added, 1 removed, 2 changed, 3 added as a learner.
    #[prost(int32, tag = "2")]
    pub(crate) kind: i32,
}

/// A file with the v2 tree: a checksum of the snapshot, and that.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Sealed {
    #[prost(uint32, tag = "1")]
    pub(crate) crc: u32,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) data: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Snapshot {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) data: Bytes,
    #[prost(message, optional, tag = "2")]
    pub(crate) metadata: Option<SnapshotMetadata>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SnapshotMetadata {
    #[prost(uint64, tag = "2")]
    pub(crate) index: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) term: u64,
}

/// A request of v2.
#[expect(clippy::struct_excessive_bools, reason = "etcd's own form")]
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct V2Request {
    #[prost(string, tag = "2")]
    pub(crate) method: String,
    #[prost(string, tag = "3")]
    pub(crate) path: String,
    #[prost(string, tag = "4")]
    pub(crate) value: String,
    #[prost(bool, tag = "5")]
    pub(crate) dir: bool,
    #[prost(string, tag = "6")]
    pub(crate) prev_value: String,
    #[prost(uint64, tag = "7")]
    pub(crate) prev_index: u64,
    #[prost(bool, optional, tag = "8")]
    pub(crate) prev_exists: Option<bool>,
    /// Nanoseconds since 1970-01-01 UTC; 0 is never.
    #[prost(int64, tag = "9")]
    pub(crate) expiration: i64,
    /// Tells a request of v2 that stands alone from an [`Internal`] one: there nothing has this number.
    #[prost(bool, tag = "10")]
    pub(crate) wait: bool,
    #[prost(bool, tag = "12")]
    pub(crate) recursive: bool,
    /// The proposer's clock, as the expiration.
    #[prost(int64, tag = "15")]
    pub(crate) time: i64,
    #[prost(bool, tag = "17")]
    pub(crate) refresh: bool,
}

/// Who a request is from.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Header {
    #[prost(string, tag = "2")]
    pub(crate) user: String,
    #[prost(uint64, tag = "3")]
    pub(crate) auth_revision: u64,
}

/// A request whose content does not matter: what it does is known by its being there.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Mark {}

/// A request, one of these.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Internal {
    #[prost(message, optional, tag = "100")]
    pub(crate) header: Option<Header>,
    #[prost(message, optional, tag = "2")]
    pub(crate) v2: Option<V2Request>,
    #[prost(message, optional, tag = "4")]
    pub(crate) put: Option<pb::PutRequest>,
    #[prost(message, optional, tag = "5")]
    pub(crate) delete_range: Option<pb::DeleteRangeRequest>,
    #[prost(message, optional, tag = "6")]
    pub(crate) txn: Option<pb::TxnRequest>,
    #[prost(message, optional, tag = "7")]
    pub(crate) compaction: Option<pb::CompactionRequest>,
    #[prost(message, optional, tag = "8")]
    pub(crate) lease_grant: Option<pb::LeaseGrantRequest>,
    #[prost(message, optional, tag = "9")]
    pub(crate) lease_revoke: Option<pb::LeaseRevokeRequest>,
    #[prost(message, optional, tag = "10")]
    pub(crate) alarm: Option<pb::AlarmRequest>,
    #[prost(message, optional, tag = "11")]
    pub(crate) lease_checkpoint: Option<pb::LeaseCheckpointRequest>,
    #[prost(message, optional, tag = "1000")]
    pub(crate) auth_enable: Option<Mark>,
    #[prost(message, optional, tag = "1011")]
    pub(crate) auth_disable: Option<Mark>,
    #[prost(message, optional, tag = "1100")]
    pub(crate) user_add: Option<pb::AuthUserAddRequest>,
    #[prost(message, optional, tag = "1101")]
    pub(crate) user_delete: Option<pb::AuthUserDeleteRequest>,
    #[prost(message, optional, tag = "1103")]
    pub(crate) user_password: Option<pb::AuthUserChangePasswordRequest>,
    #[prost(message, optional, tag = "1104")]
    pub(crate) user_grant: Option<pb::AuthUserGrantRoleRequest>,
    #[prost(message, optional, tag = "1105")]
    pub(crate) user_revoke: Option<pb::AuthUserRevokeRoleRequest>,
    #[prost(message, optional, tag = "1200")]
    pub(crate) role_add: Option<pb::AuthRoleAddRequest>,
    #[prost(message, optional, tag = "1201")]
    pub(crate) role_delete: Option<pb::AuthRoleDeleteRequest>,
    #[prost(message, optional, tag = "1203")]
    pub(crate) role_grant: Option<pb::AuthRoleGrantPermissionRequest>,
    #[prost(message, optional, tag = "1204")]
    pub(crate) role_revoke: Option<pb::AuthRoleRevokePermissionRequest>,
    /// The version of the cluster, and what a member says of itself: 3.5 writes these into the v2 tree, too.
    #[prost(message, optional, tag = "1300")]
    pub(crate) cluster_version: Option<Mark>,
    #[prost(message, optional, tag = "1301")]
    pub(crate) member_attributes: Option<Mark>,
}
