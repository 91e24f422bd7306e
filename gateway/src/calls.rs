//! The v3 calls, from wire message to wire message, for gRPC and JSON alike.

use api::{Compact, Consistency, Fault, KvHash, Member};
use proto::etcdserverpb as pb;
use types::Revision;

use crate::convert;
use crate::refusal::Refusal;

/// What a learner does not answer.
pub(crate) fn voting(member: &dyn Member) -> Result<(), Fault> {
    if member.is_learner() { Err(Fault::LearnerUnsupported) } else { Ok(()) }
}

/// How fresh a read must be that may be serializable.
pub(crate) fn consistency(serializable: bool) -> Consistency {
    if serializable { Consistency::Serializable } else { Consistency::Linearizable }
}

pub(crate) async fn range(
    member: &dyn Member,
    request: pb::RangeRequest,
) -> Result<pb::RangeResponse, Refusal> {
    let consistency = consistency(request.serializable);
    if consistency == Consistency::Linearizable {
        voting(member)?;
    }
    let reply = member.range(convert::range(request)?, consistency).await?;
    Ok(convert::range_reply(convert::header(reply.header), reply.body))
}

pub(crate) async fn put(member: &dyn Member, request: pb::PutRequest) -> Result<pb::PutResponse, Refusal> {
    voting(member)?;
    let reply = member.put(convert::put(request)?).await?;
    Ok(convert::put_reply(convert::header(reply.header), reply.body))
}

pub(crate) async fn delete_range(
    member: &dyn Member,
    request: pb::DeleteRangeRequest,
) -> Result<pb::DeleteRangeResponse, Refusal> {
    voting(member)?;
    let reply = member.delete_range(convert::delete_range(request)?).await?;
    Ok(convert::delete_reply(convert::header(reply.header), reply.body))
}

pub(crate) async fn txn(member: &dyn Member, request: pb::TxnRequest) -> Result<pb::TxnResponse, Refusal> {
    voting(member)?;
    let (txn, serializable) = convert::txn(request, member.limits().txn_ops_max)?;
    let reply = member.txn(txn, serializable).await?;
    Ok(convert::txn_reply(convert::header(reply.header), reply.body))
}

pub(crate) async fn compact(
    member: &dyn Member,
    request: pb::CompactionRequest,
) -> Result<pb::CompactionResponse, Refusal> {
    voting(member)?;
    let compact = Compact { revision: request.revision, physical: request.physical };
    let reply = member.compact(compact).await?;
    Ok(pb::CompactionResponse { header: Some(convert::header(reply.header)) })
}

pub(crate) async fn status(
    member: &dyn Member,
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
    member: &dyn Member,
    _request: pb::HashRequest,
) -> Result<pb::HashResponse, Refusal> {
    voting(member)?;
    let reply = member.hash().await?;
    Ok(pb::HashResponse { header: Some(convert::header(reply.header)), hash: reply.body })
}

pub(crate) async fn hash_kv(
    member: &dyn Member,
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
