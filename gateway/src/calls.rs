//! The v3 calls, from wire message to wire message, for gRPC and JSON alike.

use std::sync::Arc;

use api::{Code, Compact, Consistency, Downgrade, Fault, KvHash, Member};
use proto::etcdserverpb as pb;
use types::Revision;

use crate::convert;
use crate::refusal::Refusal;

/// Does `$run` with `$act` as the function of a unary call; the streaming ones are arms of their own.
macro_rules! with_unary {
    ($rpc:expr, $act:ident => $run:expr, $($other:pat => $other_run:expr),* $(,)?) => {
        match $rpc {
            $crate::rpc::Rpc::Put => { let $act = $crate::calls::put; $run }
            $crate::rpc::Rpc::Range => { let $act = $crate::calls::range; $run }
            $crate::rpc::Rpc::Txn => { let $act = $crate::calls::txn; $run }
            $crate::rpc::Rpc::DeleteRange => { let $act = $crate::calls::delete_range; $run }
            $crate::rpc::Rpc::Compact => { let $act = $crate::calls::compact; $run }
            $crate::rpc::Rpc::LeaseGrant => { let $act = $crate::leases::grant; $run }
            $crate::rpc::Rpc::LeaseRevoke => { let $act = $crate::leases::revoke; $run }
            $crate::rpc::Rpc::LeaseTimeToLive => { let $act = $crate::leases::time_to_live; $run }
            $crate::rpc::Rpc::LeaseLeases => { let $act = $crate::leases::list; $run }
            $crate::rpc::Rpc::Status => { let $act = $crate::calls::status; $run }
            $crate::rpc::Rpc::Hash => { let $act = $crate::calls::hash; $run }
            $crate::rpc::Rpc::HashKv => { let $act = $crate::calls::hash_kv; $run }
            $crate::rpc::Rpc::MoveLeader => { let $act = $crate::membership::move_leader; $run }
            $crate::rpc::Rpc::Alarm => { let $act = $crate::membership::alarm; $run }
            $crate::rpc::Rpc::Defragment => { let $act = $crate::calls::defragment; $run }
            $crate::rpc::Rpc::Downgrade => { let $act = $crate::calls::downgrade; $run }
            $crate::rpc::Rpc::MemberList => { let $act = $crate::membership::member_list; $run }
            $crate::rpc::Rpc::MemberAdd => { let $act = $crate::membership::member_add; $run }
            $crate::rpc::Rpc::MemberRemove => { let $act = $crate::membership::member_remove; $run }
            $crate::rpc::Rpc::MemberUpdate => { let $act = $crate::membership::member_update; $run }
            $crate::rpc::Rpc::MemberPromote => { let $act = $crate::membership::member_promote; $run }
            $crate::rpc::Rpc::Authenticate => { let $act = $crate::auth::authenticate; $run }
            $crate::rpc::Rpc::AuthEnable => { let $act = $crate::auth::enable; $run }
            $crate::rpc::Rpc::AuthDisable => { let $act = $crate::auth::disable; $run }
            $crate::rpc::Rpc::AuthStatus => { let $act = $crate::auth::status; $run }
            $crate::rpc::Rpc::UserAdd => { let $act = $crate::auth::user_add; $run }
            $crate::rpc::Rpc::UserGet => { let $act = $crate::auth::user_get; $run }
            $crate::rpc::Rpc::UserList => { let $act = $crate::auth::user_list; $run }
            $crate::rpc::Rpc::UserDelete => { let $act = $crate::auth::user_delete; $run }
            $crate::rpc::Rpc::UserChangePassword => { let $act = $crate::auth::user_change_password; $run }
            $crate::rpc::Rpc::UserGrantRole => { let $act = $crate::auth::user_grant_role; $run }
            $crate::rpc::Rpc::UserRevokeRole => { let $act = $crate::auth::user_revoke_role; $run }
            $crate::rpc::Rpc::RoleAdd => { let $act = $crate::auth::role_add; $run }
            $crate::rpc::Rpc::RoleGet => { let $act = $crate::auth::role_get; $run }
            $crate::rpc::Rpc::RoleList => { let $act = $crate::auth::role_list; $run }
            $crate::rpc::Rpc::RoleDelete => { let $act = $crate::auth::role_delete; $run }
            $crate::rpc::Rpc::RoleGrantPermission => { let $act = $crate::auth::role_grant_permission; $run }
            $crate::rpc::Rpc::RoleRevokePermission => { let $act = $crate::auth::role_revoke_permission; $run }
            $crate::rpc::Rpc::Lock => { let $act = $crate::contests::lock; $run }
            $crate::rpc::Rpc::Unlock => { let $act = $crate::contests::unlock; $run }
            $crate::rpc::Rpc::Campaign => { let $act = $crate::contests::campaign; $run }
            $crate::rpc::Rpc::Proclaim => { let $act = $crate::contests::proclaim; $run }
            $crate::rpc::Rpc::Leader => { let $act = $crate::contests::leader; $run }
            $crate::rpc::Rpc::Resign => { let $act = $crate::contests::resign; $run }
            $crate::rpc::Rpc::HealthCheck => { let $act = $crate::health::check; $run }
            $($other => $other_run,)*
        }
    };
}
pub(crate) use with_unary;

/// What a learner does not answer.
pub(crate) fn voting(member: &Arc<dyn Member>) -> Result<(), Fault> {
    if member.is_learner() { Err(Fault::LearnerUnsupported) } else { Ok(()) }
}

/// How fresh a read must be that may be serializable.
pub(crate) fn consistency(serializable: bool) -> Consistency {
    if serializable { Consistency::Serializable } else { Consistency::Linearizable }
}

pub(crate) async fn range(
    member: &Arc<dyn Member>,
    request: pb::RangeRequest,
) -> Result<pb::RangeResponse, Refusal> {
    let consistency = consistency(request.serializable);
    if consistency == Consistency::Linearizable {
        voting(member)?;
    }
    let reply = member.range(convert::range(request)?, consistency).await?;
    Ok(convert::range_reply(convert::header(reply.header), reply.body))
}

pub(crate) async fn put(
    member: &Arc<dyn Member>,
    request: pb::PutRequest,
) -> Result<pb::PutResponse, Refusal> {
    voting(member)?;
    let reply = member.put(convert::put(request)?).await?;
    Ok(convert::put_reply(convert::header(reply.header), reply.body))
}

pub(crate) async fn delete_range(
    member: &Arc<dyn Member>,
    request: pb::DeleteRangeRequest,
) -> Result<pb::DeleteRangeResponse, Refusal> {
    voting(member)?;
    let reply = member.delete_range(convert::delete_range(request)?).await?;
    Ok(convert::delete_reply(convert::header(reply.header), reply.body))
}

pub(crate) async fn txn(
    member: &Arc<dyn Member>,
    request: pb::TxnRequest,
) -> Result<pb::TxnResponse, Refusal> {
    voting(member)?;
    let (txn, serializable) = convert::txn(request, member.limits().txn_ops_max)?;
    let reply = member.txn(txn, serializable).await?;
    Ok(convert::txn_reply(convert::header(reply.header), reply.body))
}

pub(crate) async fn compact(
    member: &Arc<dyn Member>,
    request: pb::CompactionRequest,
) -> Result<pb::CompactionResponse, Refusal> {
    voting(member)?;
    let compact = Compact { revision: request.revision, physical: request.physical };
    let reply = member.compact(compact).await?;
    Ok(pb::CompactionResponse { header: Some(convert::header(reply.header)) })
}

pub(crate) async fn status(
    member: &Arc<dyn Member>,
    _request: pb::StatusRequest,
) -> Result<pb::StatusResponse, Refusal> {
    let reply = member.status().await?;
    let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let status = reply.body;
    Ok(pb::StatusResponse {
        header: Some(convert::header(reply.header)),
        version: api::level::SERVER.to_owned(),
        db_size: bytes(status.db_bytes),
        leader: status.leader.0,
        raft_index: status.raft_index.0,
        raft_term: status.raft_term.0,
        raft_applied_index: status.raft_applied_index.0,
        errors: status.errors,
        db_size_in_use: bytes(status.db_bytes_in_use),
        is_learner: status.learner,
        storage_version: api::level::STORAGE.to_owned(),
        db_size_quota: bytes(status.db_bytes_quota),
        downgrade_info: Some(pb::DowngradeInfo::default()),
    })
}

pub(crate) async fn hash(
    member: &Arc<dyn Member>,
    _request: pb::HashRequest,
) -> Result<pb::HashResponse, Refusal> {
    voting(member)?;
    let reply = member.hash().await?;
    Ok(pb::HashResponse { header: Some(convert::header(reply.header)), hash: reply.body })
}

pub(crate) async fn hash_kv(
    member: &Arc<dyn Member>,
    request: pb::HashKvRequest,
) -> Result<pb::HashKvResponse, Refusal> {
    voting(member)?;
    let reply = member.hash_kv(Revision::from_wire(request.revision)).await?;
    let KvHash { hash, compacted, revision } = reply.body;
    // etcd keeps -1 until the first compaction.
    let compact_revision = if compacted == Revision::default() { -1 } else { compacted.to_wire() };
    let header = Some(convert::header(reply.header));
    Ok(pb::HashKvResponse { header, hash, compact_revision, hash_revision: revision.to_wire() })
}

pub(crate) async fn defragment(
    member: &Arc<dyn Member>,
    _request: pb::DefragmentRequest,
) -> Result<pb::DefragmentResponse, Refusal> {
    voting(member)?;
    member.defragment().await?;
    // It has no header in any version.
    Ok(pb::DefragmentResponse::default())
}

pub(crate) async fn downgrade(
    member: &Arc<dyn Member>,
    request: pb::DowngradeRequest,
) -> Result<pb::DowngradeResponse, Refusal> {
    use pb::downgrade_request::DowngradeAction as Wire;
    voting(member)?;
    let action = match Wire::try_from(request.action) {
        Ok(Wire::Validate) => Downgrade::Validate(request.version),
        Ok(Wire::Enable) => Downgrade::Enable(request.version),
        Ok(Wire::Cancel) => Downgrade::Cancel,
        Err(_) => return Err(Refusal::new(Code::Unknown, "etcdserver: unknown method")),
    };
    let reply = member.downgrade(action).await?;
    Ok(pb::DowngradeResponse { header: Some(convert::header(reply.header)), version: reply.body })
}
