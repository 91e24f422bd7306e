//! What an entry of etcd's log asks for, as a command of ours.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use command::{Checkpoint, Command, Revocation};
use proto::authpb::permission::Type;
use proto::etcdserverpb as pb;
use types::v2::{Condition, Expiry, Path, Timestamp, Write};
use types::{
    Access, AlarmKind, AuthChange, Compare, CompareResult, CompareTarget, DeleteRange, Index, Key, KeyRange,
    LeaseId, MemberId, Permission, Put, RangeQuery, Revision, Txn, TxnOp,
};

use crate::messages::{Internal, V2Request};

/// Of v2, what becomes of a request.
pub(crate) enum V2 {
    /// A client's.
    Keys(Write, Timestamp),
    /// Users and roles: where, and what.
    Users(String, Box<V2Request>),
    /// etcd's own affairs, which take an index.
    Own,
    /// Nothing.
    Nothing,
}

/// What a request of v2 does.
pub(crate) fn v2(request: &V2Request) -> V2 {
    let now = Timestamp(request.time);
    if request.method == "SYNC" {
        return V2::Keys(Write::Expire { now, nodes_max: u64::MAX }, now);
    }
    if let Some(path) = request.path.strip_prefix("/2") {
        return V2::Users(path.to_owned(), Box::new(request.clone()));
    }
    let Some(path) = request.path.strip_prefix("/1") else {
        return if request.method == "PUT" { V2::Own } else { V2::Nothing };
    };
    let path = Path::clean(path);
    let value = Bytes::from(request.value.clone());
    let expiry =
        if request.expiration == 0 { Expiry::Never } else { Expiry::At(Timestamp(request.expiration)) };
    let (dir, refresh, recursive) = (request.dir, request.refresh, request.recursive);
    let condition = Condition {
        prev_value: (!request.prev_value.is_empty()).then(|| Bytes::from(request.prev_value.clone())),
        prev_index: (request.prev_index != 0).then_some(request.prev_index),
    };
    let write = match (request.method.as_str(), request.prev_exists) {
        ("POST", _) => Write::Create { path, value, dir, expiry: expiry.or_never(), in_order: true },
        ("PUT", Some(false)) => {
            Write::Create { path, value, dir, expiry: expiry.or_never(), in_order: false }
        }
        ("PUT", Some(true)) if condition.is_empty() => Write::Update { path, value, expiry, refresh },
        ("PUT", None) if condition.is_empty() => {
            Write::Set { path, value, dir, expiry: expiry.or_never(), refresh }
        }
        ("PUT", _) => Write::CompareAndSwap { path, condition, value, expiry, refresh },
        ("DELETE", _) if condition.is_empty() => Write::Delete { path, dir, recursive },
        ("DELETE", _) => Write::CompareAndDelete { path, condition },
        _ => return V2::Nothing,
    };
    V2::Keys(write, now)
}

/// What a request of v3 changes; `None` if it changes nothing. `born` tells when a lease was granted.
pub(crate) fn v3(request: Internal, born: impl Fn(LeaseId) -> Option<Index>) -> Option<Command> {
    if let Some(request) = request.put {
        return put(request).map(Command::Put);
    }
    if let Some(request) = request.delete_range {
        return delete(request).map(Command::DeleteRange);
    }
    if let Some(request) = request.txn {
        return txn(request).map(Command::Txn);
    }
    if let Some(request) = request.compaction {
        return Some(Command::Compact(request.revision));
    }
    if let Some(request) = request.lease_grant {
        return Some(Command::GrantLease { id: LeaseId(request.id), ttl: request.ttl });
    }
    if let Some(request) = request.lease_revoke {
        return Some(Command::RevokeLeases(vec![Revocation { id: LeaseId(request.id), born: None }]));
    }
    if let Some(request) = request.lease_checkpoint {
        let checkpoint = |one: pb::LeaseCheckpoint| {
            let id = LeaseId(one.id);
            Some(Checkpoint { id, born: born(id)?, remaining: one.remaining_ttl })
        };
        return Some(Command::CheckpointLeases(
            request.checkpoints.into_iter().filter_map(checkpoint).collect(),
        ));
    }
    if let Some(request) = request.alarm {
        return alarm(&request);
    }
    auth(request).map(Command::Auth)
}

fn alarm(request: &pb::AlarmRequest) -> Option<Command> {
    use pb::alarm_request::AlarmAction;
    let raise = match AlarmAction::try_from(request.action).ok()? {
        AlarmAction::Get => return None,
        AlarmAction::Activate => true,
        AlarmAction::Deactivate => false,
    };
    let kind = match pb::AlarmType::try_from(request.alarm).ok()? {
        pb::AlarmType::None => return None,
        pb::AlarmType::Nospace => AlarmKind::NoSpace,
        pb::AlarmType::Corrupt => AlarmKind::Corrupt,
    };
    Some(Command::Alarm { raise, member: MemberId(request.member_id), kind })
}

fn auth(request: Internal) -> Option<AuthChange> {
    if request.auth_enable.is_some() {
        return Some(AuthChange::Enable);
    }
    if request.auth_disable.is_some() {
        return Some(AuthChange::Disable);
    }
    if let Some(request) = request.user_add {
        let has_none = request.options.is_some_and(|options| options.no_password);
        let hash = if has_none { None } else { Some(hash(request.hashed_password, &request.password)?) };
        return Some(AuthChange::AddUser { name: request.name, hash });
    }
    if let Some(request) = request.user_delete {
        return Some(AuthChange::DeleteUser { name: request.name });
    }
    if let Some(request) = request.user_password {
        let hash = hash(request.hashed_password, &request.password)?;
        return Some(AuthChange::SetPassword { name: request.name, hash });
    }
    if let Some(request) = request.user_grant {
        return Some(AuthChange::GrantRole { user: request.user, role: request.role });
    }
    if let Some(request) = request.user_revoke {
        return Some(AuthChange::RevokeRole { user: request.name, role: request.role });
    }
    if let Some(request) = request.role_add {
        return Some(AuthChange::AddRole { name: request.name });
    }
    if let Some(request) = request.role_delete {
        return Some(AuthChange::DeleteRole { name: request.role });
    }
    if let Some(request) = request.role_revoke {
        return Some(AuthChange::RevokePermission {
            role: request.role,
            key: request.key,
            range_end: request.range_end,
        });
    }
    let request = request.role_grant?;
    let granted = request.perm?;
    let access = match Type::try_from(granted.perm_type).ok()? {
        Type::Read => Access::Read,
        Type::Write => Access::Write,
        Type::Readwrite => Access::ReadWrite,
    };
    let permission = Permission { access, key: granted.key, range_end: granted.range_end };
    Some(AuthChange::GrantPermission { role: request.name, permission })
}

/// Since 3.5 the log holds the hash, in base64; before, the password.
fn hash(hashed: String, password: &str) -> Option<String> {
    if hashed.is_empty() {
        return bcrypt::hash(password, bcrypt::DEFAULT_COST).ok();
    }
    if hashed.starts_with('$') {
        return Some(hashed);
    }
    String::from_utf8(STANDARD.decode(hashed).ok()?).ok()
}

fn key(bytes: Bytes) -> Option<Key> {
    Key::new(bytes)
}

fn put(request: pb::PutRequest) -> Option<Put> {
    Some(Put {
        key: key(request.key)?,
        value: request.value,
        lease: LeaseId(request.lease),
        prev_kv: false,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    })
}

fn delete(request: pb::DeleteRangeRequest) -> Option<DeleteRange> {
    Some(DeleteRange { range: KeyRange::from_wire(key(request.key)?, request.range_end), prev_kv: false })
}

fn txn(request: pb::TxnRequest) -> Option<Txn> {
    let branch = |ops: Vec<pb::RequestOp>| ops.into_iter().map(operation).collect::<Option<_>>();
    Some(Txn {
        compare: request.compare.into_iter().map(compare).collect::<Option<_>>()?,
        success: branch(request.success)?,
        failure: branch(request.failure)?,
    })
}

fn operation(op: pb::RequestOp) -> Option<TxnOp> {
    use pb::request_op::Request;
    Some(match op.request? {
        Request::RequestPut(request) => TxnOp::Put(put(request)?),
        Request::RequestDeleteRange(request) => TxnOp::Delete(delete(request)?),
        Request::RequestTxn(request) => TxnOp::Txn(txn(request)?),
        Request::RequestRange(request) => {
            // Of a read nothing is kept; one of a revision that is not there refuses the whole.
            let range = KeyRange::from_wire(key(request.key)?, Bytes::new());
            TxnOp::Range(RangeQuery { at: Revision::from_wire(request.revision), ..RangeQuery::of(range) })
        }
    })
}

fn compare(compare: pb::Compare) -> Option<Compare> {
    use pb::compare::{CompareResult as WireResult, CompareTarget as WireTarget, TargetUnion as Union};
    let range = KeyRange::from_wire(key(compare.key)?, compare.range_end);
    let result = match WireResult::try_from(compare.result).ok()? {
        WireResult::Equal => CompareResult::Equal,
        WireResult::Greater => CompareResult::Greater,
        WireResult::Less => CompareResult::Less,
        WireResult::NotEqual => CompareResult::NotEqual,
    };
    let target = match (WireTarget::try_from(compare.target).ok()?, compare.target_union) {
        (WireTarget::Version, Some(Union::Version(number))) => CompareTarget::Version(number),
        (WireTarget::Version, _) => CompareTarget::Version(0),
        (WireTarget::Create, Some(Union::CreateRevision(number))) => CompareTarget::Create(number),
        (WireTarget::Create, _) => CompareTarget::Create(0),
        (WireTarget::Mod, Some(Union::ModRevision(number))) => CompareTarget::Mod(number),
        (WireTarget::Mod, _) => CompareTarget::Mod(0),
        (WireTarget::Value, Some(Union::Value(value))) => CompareTarget::Value(value),
        (WireTarget::Value, _) => CompareTarget::Value(Bytes::new()),
        (WireTarget::Lease, Some(Union::Lease(number))) => CompareTarget::Lease(number),
        (WireTarget::Lease, _) => CompareTarget::Lease(0),
    };
    Some(Compare { range, result, target })
}
