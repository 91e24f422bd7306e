//! From commands to records. Values are shared, not copied, until they land in the one buffer of the command.

use bytes::Bytes;
use prost::Message;
use types::v2::{Condition, Expiry, Write};
use types::{
    AlarmKind, Author, Compare, CompareResult, CompareTarget, DeleteRange, KeyRange, MemberRecord, Put,
    RangeEnd, RangeQuery, Revision, SortOrder, SortTarget, Txn, TxnOp,
};

use crate::record::{
    AlarmRow, CheckpointRow, CheckpointsRow, CommandRecord, CompareRecord, DeleteRangeRecord, GrantRow,
    MemberRow, Operation, PutRecord, QueryRecord, RangeRow, RevocationRow, RevocationsRow, TargetRecord,
    TxnOpRecord, TxnOperation, TxnRecord, UpdateMemberRow, V2Record,
};
use crate::{Checkpoint, Command, Revocation, auth, v2auth};

pub(crate) fn encode(command: &Command, author: &Author) -> Bytes {
    let operation = match command {
        Command::Put(put) => Operation::Put(put_record(put)),
        Command::DeleteRange(delete) => Operation::DeleteRange(delete_record(delete)),
        Command::Txn(txn) => Operation::Txn(txn_record(txn)),
        Command::Compact(revision) => Operation::Compact(*revision),
        Command::V2 { write, now } => Operation::V2(V2Record { now: now.0, ..v2_record(write) }),
        Command::BridgedV2 { prefix, write, now, lease } => Operation::V2(V2Record {
            now: now.0,
            prefix: Some(prefix.clone()),
            lease: lease.0,
            ..v2_record(write)
        }),
        Command::SetMember(member) => Operation::SetMember(member_row(member)),
        Command::AddMember(member) => Operation::AddMember(member_row(member)),
        Command::PromoteMember(id) => Operation::PromoteMember(id.0),
        Command::RemoveMember(id) => Operation::RemoveMember(id.0),
        Command::UpdateMember { id, peer_urls } => {
            Operation::UpdateMember(UpdateMemberRow { id: id.0, peer_urls: peer_urls.clone() })
        }
        Command::Alarm { raise, member, kind } => {
            Operation::Alarm(AlarmRow { raise: *raise, member: member.0, kind: alarm_kind(*kind) })
        }
        Command::GrantLease { id, ttl } => Operation::GrantLease(GrantRow { id: id.0, ttl: *ttl }),
        Command::RevokeLeases(leases) => Operation::RevokeLeases(revocations_row(leases, None)),
        Command::ExpireBridged { prefix, leases } => {
            Operation::RevokeLeases(revocations_row(leases, Some(prefix.clone())))
        }
        Command::CheckpointLeases(leases) => Operation::CheckpointLeases(CheckpointsRow {
            leases: leases.iter().map(checkpoint_row).collect(),
        }),
        Command::V2Auth(change) => Operation::V2Auth(v2auth::record(change)),
        Command::Auth(change) => Operation::Auth(auth::record(change)),
    };
    let mut record = CommandRecord { operation: Some(operation), ..CommandRecord::default() };
    match author {
        Author::Nobody => {}
        Author::User(identity) => {
            (record.user, record.auth_revision) = (identity.user.clone(), identity.revision);
        }
        Author::Member => record.chore = true,
    }
    record.encode_length_delimited_to_vec().into()
}

fn revocations_row(leases: &[Revocation], prefix: Option<Bytes>) -> RevocationsRow {
    RevocationsRow { leases: leases.iter().map(revocation_row).collect(), prefix }
}

fn revocation_row(lease: &Revocation) -> RevocationRow {
    RevocationRow { id: lease.id.0, born: lease.born.map_or(0, |born| born.0) }
}

fn checkpoint_row(lease: &Checkpoint) -> CheckpointRow {
    CheckpointRow { id: lease.id.0, born: lease.born.0, remaining: lease.remaining }
}

fn put_record(put: &Put) -> PutRecord {
    PutRecord {
        key: put.key.as_bytes().clone(),
        value: put.value.clone(),
        lease: put.lease.0,
        prev_kv: put.prev_kv,
        ignore_value: put.ignore_value,
        ignore_lease: put.ignore_lease,
    }
}

fn range_row(range: &KeyRange) -> RangeRow {
    let (end_kind, end) = match &range.end {
        RangeEnd::Single => (0, Bytes::new()),
        RangeEnd::Before(end) => (1, end.clone()),
        RangeEnd::Unbounded => (2, Bytes::new()),
    };
    RangeRow { start: range.start.clone(), end_kind, end }
}

fn delete_record(delete: &DeleteRange) -> DeleteRangeRecord {
    DeleteRangeRecord { range: Some(range_row(&delete.range)), prev_kv: delete.prev_kv }
}

fn txn_record(txn: &Txn) -> TxnRecord {
    TxnRecord {
        compare: txn.compare.iter().map(compare_record).collect(),
        success: txn.success.iter().map(op_record).collect(),
        failure: txn.failure.iter().map(op_record).collect(),
    }
}

fn compare_record(compare: &Compare) -> CompareRecord {
    let result = match compare.result {
        CompareResult::Equal => 0,
        CompareResult::Greater => 1,
        CompareResult::Less => 2,
        CompareResult::NotEqual => 3,
    };
    let target = match &compare.target {
        CompareTarget::Version(version) => TargetRecord::Version(*version),
        CompareTarget::Create(revision) => TargetRecord::Create(*revision),
        CompareTarget::Mod(revision) => TargetRecord::Mod(*revision),
        CompareTarget::Value(value) => TargetRecord::Value(value.clone()),
        CompareTarget::Lease(lease) => TargetRecord::Lease(*lease),
    };
    CompareRecord { range: Some(range_row(&compare.range)), result, target: Some(target) }
}

fn op_record(op: &TxnOp) -> TxnOpRecord {
    let operation = match op {
        TxnOp::Range(query) => TxnOperation::Range(query_record(query)),
        TxnOp::Put(put) => TxnOperation::Put(put_record(put)),
        TxnOp::Delete(delete) => TxnOperation::DeleteRange(delete_record(delete)),
        TxnOp::Txn(txn) => TxnOperation::Txn(txn_record(txn)),
    };
    TxnOpRecord { operation: Some(operation) }
}

fn query_record(query: &RangeQuery) -> QueryRecord {
    let number = |revision: Option<Revision>| revision.map_or(0, |revision| revision.0);
    QueryRecord {
        range: Some(range_row(&query.range)),
        limit: query.limit,
        revision: number(query.at),
        order: match query.order {
            SortOrder::None => 0,
            SortOrder::Ascend => 1,
            SortOrder::Descend => 2,
        },
        target: match query.target {
            SortTarget::Key => 0,
            SortTarget::Version => 1,
            SortTarget::Create => 2,
            SortTarget::Mod => 3,
            SortTarget::Value => 4,
        },
        keys_only: query.keys_only,
        count_only: query.count_only,
        min_mod: number(query.mod_bounds.min),
        max_mod: number(query.mod_bounds.max),
        min_create: number(query.create_bounds.min),
        max_create: number(query.create_bounds.max),
    }
}

fn v2_record(write: &Write) -> V2Record {
    let expires = |expiry: &Expiry| match expiry {
        Expiry::Never => None,
        Expiry::At(at) => Some(at.0),
    };
    let when = |condition: &Condition| (condition.prev_value.clone(), condition.prev_index);
    match write.clone() {
        Write::Set { path, value, dir, expiry, refresh } => V2Record {
            kind: 1,
            path: path.as_str().to_owned(),
            value,
            dir,
            expires_at: expires(&expiry),
            refresh,
            ..V2Record::default()
        },
        Write::Create { path, value, dir, expiry, in_order } => V2Record {
            kind: 2,
            path: path.as_str().to_owned(),
            value,
            dir,
            expires_at: expires(&expiry),
            in_order,
            ..V2Record::default()
        },
        Write::Update { path, value, expiry, refresh } => V2Record {
            kind: 3,
            path: path.as_str().to_owned(),
            value,
            expires_at: expires(&expiry),
            refresh,
            ..V2Record::default()
        },
        Write::CompareAndSwap { path, condition, value, expiry, refresh } => {
            let (prev_value, prev_index) = when(&condition);
            V2Record {
                kind: 4,
                path: path.as_str().to_owned(),
                value,
                expires_at: expires(&expiry),
                refresh,
                prev_value,
                prev_index,
                ..V2Record::default()
            }
        }
        Write::Delete { path, dir, recursive } => {
            V2Record { kind: 5, path: path.as_str().to_owned(), dir, recursive, ..V2Record::default() }
        }
        Write::CompareAndDelete { path, condition } => {
            let (prev_value, prev_index) = when(&condition);
            V2Record {
                kind: 6,
                path: path.as_str().to_owned(),
                prev_value,
                prev_index,
                ..V2Record::default()
            }
        }
        // The time of an expiry is the command's own clock.
        Write::Expire { now, nodes_max } => V2Record {
            kind: 7,
            expires_at: Some(now.0),
            // Absent is "all", as it was before there was a limit.
            nodes_max: (nodes_max != u64::MAX).then_some(nodes_max),
            ..V2Record::default()
        },
    }
}

fn member_row(member: &MemberRecord) -> MemberRow {
    MemberRow {
        id: member.id.0,
        name: member.name.clone(),
        peer_urls: member.peer_urls.clone(),
        client_urls: member.client_urls.clone(),
        learner: member.learner,
    }
}

fn alarm_kind(kind: AlarmKind) -> u32 {
    match kind {
        AlarmKind::NoSpace => 1,
        AlarmKind::Corrupt => 2,
    }
}
