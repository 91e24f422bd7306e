//! Wire messages to typed requests, with etcd's checks in etcd's order, and typed replies to wire messages.
//!
//! INVARIANT: what comes out of a `TryFrom` or `parse` here needs no further check of its shape.

use api::{Fault, Header};
use bytes::Bytes;
use proto::{etcdserverpb as pb, mvccpb};
use types::{
    Compare, CompareResult, CompareTarget, DeleteRange, DeleteReply, Key, KeyRange, KeyValue, LeaseId,
    MemberRecord, OpReply, Put, PutReply, RangeQuery, RangeReply, Revision, RevisionBounds, SortOrder,
    SortTarget, TXN_DEPTH_MAX, Txn, TxnOp, TxnReply, TxnResponse,
};

use crate::intervals;

fn key(bytes: Bytes) -> Result<Key, Fault> {
    Key::new(bytes).ok_or(Fault::EmptyKey)
}

/// A range, as its own request and inside a transaction.
pub(crate) fn range(request: pb::RangeRequest) -> Result<RangeQuery, Fault> {
    use pb::range_request::{SortOrder as WireOrder, SortTarget as WireTarget};
    let key = key(request.key)?;
    let order = WireOrder::try_from(request.sort_order).map_err(|_| Fault::InvalidSortOption)?;
    let target = WireTarget::try_from(request.sort_target).map_err(|_| Fault::InvalidSortOption)?;
    Ok(RangeQuery {
        range: KeyRange::from_wire(key, request.range_end),
        // A negative limit is none.
        limit: u64::try_from(request.limit).unwrap_or(0),
        at: Revision::from_wire(request.revision),
        order: match order {
            WireOrder::None => SortOrder::None,
            WireOrder::Ascend => SortOrder::Ascend,
            WireOrder::Descend => SortOrder::Descend,
        },
        target: match target {
            WireTarget::Key => SortTarget::Key,
            WireTarget::Version => SortTarget::Version,
            WireTarget::Create => SortTarget::Create,
            WireTarget::Mod => SortTarget::Mod,
            WireTarget::Value => SortTarget::Value,
        },
        keys_only: request.keys_only,
        count_only: request.count_only,
        mod_bounds: bounds(request.min_mod_revision, request.max_mod_revision),
        create_bounds: bounds(request.min_create_revision, request.max_create_revision),
    })
}

/// Zero is no bound. A negative maximum admits nothing, as revision 0 does; a negative minimum admits all.
fn bounds(min: i64, max: i64) -> RevisionBounds {
    let max = (max != 0).then(|| Revision::from_wire(max).unwrap_or_default());
    RevisionBounds { min: Revision::from_wire(min), max }
}

/// A put, as its own request and inside a transaction.
pub(crate) fn put(request: pb::PutRequest) -> Result<Put, Fault> {
    let key = key(request.key)?;
    if request.ignore_value && !request.value.is_empty() {
        return Err(Fault::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Fault::LeaseProvided);
    }
    Ok(Put {
        key,
        value: request.value,
        lease: LeaseId(request.lease),
        prev_kv: request.prev_kv,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    })
}

/// A delete, as its own request and inside a transaction.
pub(crate) fn delete_range(request: pb::DeleteRangeRequest) -> Result<DeleteRange, Fault> {
    let range = KeyRange::from_wire(key(request.key)?, request.range_end);
    Ok(DeleteRange { range, prev_kv: request.prev_kv })
}

/// A transaction, and whether every range in it asked for no more than a serializable read.
pub(crate) fn txn(request: pb::TxnRequest, ops_max: usize) -> Result<(Txn, bool), Fault> {
    let mut serializable = true;
    let txn = nested(request, ops_max, TXN_DEPTH_MAX, &mut serializable)?;
    intervals::check(&txn)?;
    Ok((txn, serializable))
}

/// A nested transaction may be as long as its parent leaves room for.
fn nested(
    request: pb::TxnRequest,
    ops_max: usize,
    depth_max: usize,
    serializable: &mut bool,
) -> Result<Txn, Fault> {
    let Some(depth_left) = depth_max.checked_sub(1) else { return Err(Fault::TooManyOps) };
    let longest = request.compare.len().max(request.success.len()).max(request.failure.len());
    let Some(ops_left) = ops_max.checked_sub(longest) else { return Err(Fault::TooManyOps) };
    let compare = request.compare.into_iter().map(self::compare).collect::<Result<_, _>>()?;
    let mut branch = |ops: Vec<pb::RequestOp>| -> Result<Vec<TxnOp>, Fault> {
        ops.into_iter().map(|op| txn_op(op, ops_left, depth_left, serializable)).collect()
    };
    Ok(Txn { compare, success: branch(request.success)?, failure: branch(request.failure)? })
}

fn txn_op(
    op: pb::RequestOp,
    ops_max: usize,
    depth_max: usize,
    serializable: &mut bool,
) -> Result<TxnOp, Fault> {
    use pb::request_op::Request;
    Ok(match op.request {
        Some(Request::RequestRange(request)) => {
            *serializable &= request.serializable;
            TxnOp::Range(range(request)?)
        }
        Some(Request::RequestPut(request)) => TxnOp::Put(put(request)?),
        Some(Request::RequestDeleteRange(request)) => TxnOp::Delete(delete_range(request)?),
        Some(Request::RequestTxn(request)) => TxnOp::Txn(nested(request, ops_max, depth_max, serializable)?),
        None => return Err(Fault::KeyNotFound),
    })
}

/// The union's other members, and none at all, count as zero or empty.
fn compare(compare: pb::Compare) -> Result<Compare, Fault> {
    use pb::compare::{CompareResult as WireResult, CompareTarget as WireTarget, TargetUnion as Union};
    let range = KeyRange::from_wire(key(compare.key)?, compare.range_end);
    let result = match WireResult::try_from(compare.result) {
        Ok(WireResult::Equal) => Some(CompareResult::Equal),
        Ok(WireResult::Greater) => Some(CompareResult::Greater),
        Ok(WireResult::Less) => Some(CompareResult::Less),
        Ok(WireResult::NotEqual) => Some(CompareResult::NotEqual),
        Err(_) => None,
    };
    let union = compare.target_union;
    let target = match WireTarget::try_from(compare.target) {
        Ok(WireTarget::Version) => {
            CompareTarget::Version(if let Some(Union::Version(version)) = union { version } else { 0 })
        }
        Ok(WireTarget::Create) => {
            CompareTarget::Create(if let Some(Union::CreateRevision(at)) = union { at } else { 0 })
        }
        Ok(WireTarget::Mod) => {
            CompareTarget::Mod(if let Some(Union::ModRevision(at)) = union { at } else { 0 })
        }
        Ok(WireTarget::Value) => {
            CompareTarget::Value(if let Some(Union::Value(value)) = union { value } else { Bytes::new() })
        }
        Ok(WireTarget::Lease) => {
            CompareTarget::Lease(if let Some(Union::Lease(lease)) = union { lease } else { 0 })
        }
        Err(_) => return Ok(of_unknown_target(range, result)),
    };
    Ok(match result {
        Some(result) => Compare { range, result, target },
        None => of_unknown_result(range, &target),
    })
}

/// etcd takes a relation it does not know for one that holds, except on the value of a missing key.
fn of_unknown_result(range: KeyRange, target: &CompareTarget) -> Compare {
    let version = if matches!(target, CompareTarget::Value(_)) { 0 } else { -1 };
    Compare { range, result: CompareResult::Greater, target: CompareTarget::Version(version) }
}

/// etcd takes a target that it does not know for one that is equal to what was given.
fn of_unknown_target(range: KeyRange, result: Option<CompareResult>) -> Compare {
    let holds = matches!(result, None | Some(CompareResult::Equal));
    let result = if holds { CompareResult::Greater } else { CompareResult::Less };
    Compare { range, result, target: CompareTarget::Version(-1) }
}

/// The header of an answer.
pub(crate) fn header(header: Header) -> pb::ResponseHeader {
    pb::ResponseHeader {
        cluster_id: header.cluster.0,
        member_id: header.member.0,
        revision: header.revision.to_wire(),
        raft_term: header.term.0,
    }
}

/// Inside a transaction only the revision is told, and of a nested one not even that.
fn nested_header(revision: Revision) -> pb::ResponseHeader {
    pb::ResponseHeader { revision: revision.to_wire(), ..Default::default() }
}

fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A key and what is known of it.
pub(crate) fn key_value(kv: KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: kv.key,
        create_revision: kv.create_revision.to_wire(),
        mod_revision: kv.mod_revision.to_wire(),
        version: count(kv.version),
        value: kv.value,
        lease: kv.lease.0,
    }
}

/// A range's answer.
pub(crate) fn range_reply(header: pb::ResponseHeader, reply: RangeReply) -> pb::RangeResponse {
    pb::RangeResponse {
        header: Some(header),
        kvs: reply.kvs.into_iter().map(key_value).collect(),
        more: reply.more,
        count: count(reply.count),
    }
}

/// A put's answer.
pub(crate) fn put_reply(header: pb::ResponseHeader, reply: PutReply) -> pb::PutResponse {
    pb::PutResponse { header: Some(header), prev_kv: reply.prev_kv.map(key_value) }
}

/// A delete's answer.
pub(crate) fn delete_reply(header: pb::ResponseHeader, reply: DeleteReply) -> pb::DeleteRangeResponse {
    pb::DeleteRangeResponse {
        header: Some(header),
        deleted: count(reply.deleted),
        prev_kvs: reply.prev_kvs.into_iter().map(key_value).collect(),
    }
}

/// A transaction's answer.
pub(crate) fn txn_reply(header: pb::ResponseHeader, reply: TxnReply) -> pb::TxnResponse {
    let responses = reply.responses.into_iter().map(txn_response).collect();
    pb::TxnResponse { header: Some(header), succeeded: reply.succeeded, responses }
}

fn txn_response(TxnResponse { revision, reply }: TxnResponse) -> pb::ResponseOp {
    use pb::response_op::Response;
    let header = nested_header(revision);
    let response = match reply {
        OpReply::Range(reply) => Response::ResponseRange(range_reply(header, reply)),
        OpReply::Put(reply) => Response::ResponsePut(put_reply(header, reply)),
        OpReply::Delete(reply) => Response::ResponseDeleteRange(delete_reply(header, reply)),
        OpReply::Txn(reply) => Response::ResponseTxn(txn_reply(nested_header(Revision::default()), reply)),
    };
    pb::ResponseOp { response: Some(response) }
}

/// A member of the cluster.
pub(crate) fn member(record: MemberRecord) -> pb::Member {
    pb::Member {
        id: record.id.0,
        name: record.name,
        peer_ur_ls: record.peer_urls,
        client_ur_ls: record.client_urls,
        is_learner: record.learner,
    }
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
