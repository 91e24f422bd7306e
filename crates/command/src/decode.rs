//! From records back to commands. What cannot be understood is an error, never skipped: a member that guessed
//! would differ from the others.

use bytes::{Buf, Bytes};
use prost::Message;
use types::v2::{Condition, Expiry, Path, Timestamp, Write};
use types::{
    AlarmKind, Author, Compare, CompareResult, CompareTarget, DeleteRange, Identity, Index, Key, KeyRange,
    LeaseId, MemberId, MemberRecord, Put, RangeEnd, RangeQuery, Revision, RevisionBounds, SortOrder,
    SortTarget, Txn, TxnOp,
};

use crate::record::{
    CheckpointRow, CommandRecord, CompareRecord, DeleteRangeRecord, MemberRow, Operation, PutRecord,
    QueryRecord, RangeRow, RevocationRow, TargetRecord, TxnOpRecord, TxnOperation, TxnRecord, V2Record,
};
use crate::{Checkpoint, Command, Revocation, Signed, auth, v2auth};

/// Why the bytes of a log entry are not commands.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not protobuf, or cut short.
    #[error("a log entry holds bytes that are no command")]
    Malformed(#[from] prost::DecodeError),
    /// A length that runs past the end of the entry.
    #[error("a command in a log entry runs past the entry's end")]
    Overrun,
    /// Well-formed, but of a kind or with a content that this version does not know.
    #[error(
        "a log entry holds a command that this version does not know ({0}); run the version that wrote it"
    )]
    Unknown(&'static str),
}

/// All commands of a log entry, in order, whoever they are from. Values share the entry's memory.
pub fn decode_run(data: Bytes) -> Result<Vec<Command>, DecodeError> {
    Ok(decode_signed(data)?.into_iter().map(|signed| signed.command).collect())
}

/// The same, each with who it is from.
pub fn decode_signed(mut data: Bytes) -> Result<Vec<Signed>, DecodeError> {
    let mut commands = Vec::new();
    while data.has_remaining() {
        let length = prost::decode_length_delimiter(&mut data)?;
        if length > data.remaining() {
            return Err(DecodeError::Overrun);
        }
        let mut record = CommandRecord::decode(data.split_to(length))?;
        let author = author(&mut record)?;
        commands.push(Signed { author, command: command(record)? });
    }
    Ok(commands)
}

fn author(record: &mut CommandRecord) -> Result<Author, DecodeError> {
    let user = std::mem::take(&mut record.user);
    match (record.chore, user.is_empty()) {
        (false, true) => Ok(Author::Nobody),
        (false, false) => Ok(Author::User(Identity { user, revision: record.auth_revision })),
        (true, true) => Ok(Author::Member),
        (true, false) => Err(DecodeError::Unknown("author")),
    }
}

fn command(record: CommandRecord) -> Result<Command, DecodeError> {
    Ok(match record.operation.ok_or(DecodeError::Unknown("operation"))? {
        Operation::Put(record) => Command::Put(put(record)?),
        Operation::DeleteRange(record) => Command::DeleteRange(delete(record)?),
        Operation::Txn(record) => Command::Txn(txn(record)?),
        Operation::Compact(revision) => Command::Compact(revision),
        Operation::V2(record) => {
            let now = Timestamp(record.now);
            let (prefix, lease) = (record.prefix.clone(), LeaseId(record.lease));
            match (prefix, v2_write(record)?) {
                (None, write) => Command::V2 { write, now },
                (Some(_), Write::Expire { .. }) => return Err(DecodeError::Unknown("bridged expiry")),
                (Some(prefix), write) => Command::BridgedV2 { prefix, write, now, lease },
            }
        }
        Operation::SetMember(row) => Command::SetMember(member(row)),
        Operation::AddMember(row) => Command::AddMember(member(row)),
        Operation::PromoteMember(id) => Command::PromoteMember(MemberId(id)),
        Operation::RemoveMember(id) => Command::RemoveMember(MemberId(id)),
        Operation::UpdateMember(row) => {
            Command::UpdateMember { id: MemberId(row.id), peer_urls: row.peer_urls }
        }
        Operation::Alarm(row) => Command::Alarm {
            raise: row.raise,
            member: MemberId(row.member),
            kind: match row.kind {
                1 => AlarmKind::NoSpace,
                2 => AlarmKind::Corrupt,
                _ => return Err(DecodeError::Unknown("alarm")),
            },
        },
        Operation::GrantLease(row) => Command::GrantLease { id: LeaseId(row.id), ttl: row.ttl },
        Operation::RevokeLeases(row) => {
            let born = |number: u64| (number > 0).then_some(Index(number));
            let lease = |row: RevocationRow| Revocation { id: LeaseId(row.id), born: born(row.born) };
            let leases = row.leases.into_iter().map(lease).collect();
            match row.prefix {
                None => Command::RevokeLeases(leases),
                Some(prefix) => Command::ExpireBridged { prefix, leases },
            }
        }
        Operation::CheckpointLeases(row) => {
            let lease = |row: CheckpointRow| Checkpoint {
                id: LeaseId(row.id),
                born: Index(row.born),
                remaining: row.remaining,
            };
            Command::CheckpointLeases(row.leases.into_iter().map(lease).collect())
        }
        Operation::V2Auth(record) => Command::V2Auth(v2auth::change(record)?),
        Operation::Auth(record) => Command::Auth(auth::change(record)?),
    })
}

fn put(record: PutRecord) -> Result<Put, DecodeError> {
    Ok(Put {
        key: Key::new(record.key).ok_or(DecodeError::Unknown("empty key"))?,
        value: record.value,
        lease: LeaseId(record.lease),
        prev_kv: record.prev_kv,
        ignore_value: record.ignore_value,
        ignore_lease: record.ignore_lease,
    })
}

fn range(row: Option<RangeRow>) -> Result<KeyRange, DecodeError> {
    let row = row.ok_or(DecodeError::Unknown("missing range"))?;
    let end = match row.end_kind {
        0 => RangeEnd::Single,
        1 => RangeEnd::Before(row.end),
        2 => RangeEnd::Unbounded,
        _ => return Err(DecodeError::Unknown("range end")),
    };
    Ok(KeyRange { start: row.start, end })
}

fn delete(record: DeleteRangeRecord) -> Result<DeleteRange, DecodeError> {
    Ok(DeleteRange { range: range(record.range)?, prev_kv: record.prev_kv })
}

fn txn(record: TxnRecord) -> Result<Txn, DecodeError> {
    Ok(Txn {
        compare: record.compare.into_iter().map(compare).collect::<Result<_, _>>()?,
        success: record.success.into_iter().map(op).collect::<Result<_, _>>()?,
        failure: record.failure.into_iter().map(op).collect::<Result<_, _>>()?,
    })
}

fn compare(record: CompareRecord) -> Result<Compare, DecodeError> {
    let result = match record.result {
        0 => CompareResult::Equal,
        1 => CompareResult::Greater,
        2 => CompareResult::Less,
        3 => CompareResult::NotEqual,
        _ => return Err(DecodeError::Unknown("compare result")),
    };
    let target = match record.target.ok_or(DecodeError::Unknown("compare target"))? {
        TargetRecord::Version(version) => CompareTarget::Version(version),
        TargetRecord::Create(revision) => CompareTarget::Create(revision),
        TargetRecord::Mod(revision) => CompareTarget::Mod(revision),
        TargetRecord::Value(value) => CompareTarget::Value(value),
        TargetRecord::Lease(lease) => CompareTarget::Lease(lease),
    };
    Ok(Compare { range: range(record.range)?, result, target })
}

fn op(record: TxnOpRecord) -> Result<TxnOp, DecodeError> {
    Ok(match record.operation.ok_or(DecodeError::Unknown("transaction operation"))? {
        TxnOperation::Range(record) => TxnOp::Range(query(record)?),
        TxnOperation::Put(record) => TxnOp::Put(put(record)?),
        TxnOperation::DeleteRange(record) => TxnOp::Delete(delete(record)?),
        TxnOperation::Txn(record) => TxnOp::Txn(txn(record)?),
    })
}

fn query(record: QueryRecord) -> Result<RangeQuery, DecodeError> {
    let revision = |number: u64| (number > 0).then_some(Revision(number));
    Ok(RangeQuery {
        range: range(record.range)?,
        limit: record.limit,
        at: revision(record.revision),
        order: match record.order {
            0 => SortOrder::None,
            1 => SortOrder::Ascend,
            2 => SortOrder::Descend,
            _ => return Err(DecodeError::Unknown("sort order")),
        },
        target: match record.target {
            0 => SortTarget::Key,
            1 => SortTarget::Version,
            2 => SortTarget::Create,
            3 => SortTarget::Mod,
            4 => SortTarget::Value,
            _ => return Err(DecodeError::Unknown("sort target")),
        },
        keys_only: record.keys_only,
        count_only: record.count_only,
        mod_bounds: RevisionBounds { min: revision(record.min_mod), max: revision(record.max_mod) },
        create_bounds: RevisionBounds { min: revision(record.min_create), max: revision(record.max_create) },
    })
}

fn v2_write(record: V2Record) -> Result<Write, DecodeError> {
    let path = Path::clean(&record.path);
    let condition = Condition { prev_value: record.prev_value, prev_index: record.prev_index };
    let expiry = record.expires_at.map_or(Expiry::Never, |at| Expiry::At(Timestamp(at)));
    let (value, dir, refresh) = (record.value, record.dir, record.refresh);
    Ok(match record.kind {
        1 => Write::Set { path, value, dir, expiry, refresh },
        2 => Write::Create { path, value, dir, expiry, in_order: record.in_order },
        3 => Write::Update { path, value, expiry, refresh },
        4 => Write::CompareAndSwap { path, condition, value, expiry, refresh },
        5 => Write::Delete { path, dir, recursive: record.recursive },
        6 => Write::CompareAndDelete { path, condition },
        7 => Write::Expire {
            now: Timestamp(record.expires_at.ok_or(DecodeError::Unknown("expiry without a time"))?),
            nodes_max: record.nodes_max.unwrap_or(u64::MAX),
        },
        _ => return Err(DecodeError::Unknown("v2 write")),
    })
}

fn member(row: MemberRow) -> MemberRecord {
    MemberRecord {
        id: MemberId(row.id),
        name: row.name,
        peer_urls: row.peer_urls,
        client_urls: row.client_urls,
        learner: row.learner,
    }
}
