//! A database of ours as one of etcd's files.

use std::io::Write;
use std::ops::ControlFlow;

use bolt::{WriteError, Writer};
use bytes::Bytes;
use mvcc::{Held, Standing, Version};
use prost::Message;
use proto::{authpb, etcdserverpb, mvccpb};
use serde_json::json;
use snap::ArchiveHead;
use store::{Store, StoreError};
use types::{Access, AlarmKind, MemberRecord};

use crate::revision::{self, Stamp};
use crate::{buckets, messages, sealed};

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum OutgoError {
    /// The file.
    #[error(transparent)]
    File(#[from] WriteError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The v3 keyspace.
    #[error("cannot read the v3 keyspace")]
    Keyspace(#[from] mvcc::OpenError),
    /// The leases.
    #[error("cannot read the leases")]
    Leases(#[from] lease::OpenError),
    /// The users.
    #[error("cannot read users and roles")]
    Auth(#[from] auth::OpenError),
    /// The members.
    #[error("cannot read the members")]
    Members(#[from] members::OpenError),
    /// The alarms.
    #[error("cannot read the alarms")]
    Alarms(#[from] quota::OpenError),
}

/// Writes all that is in `store`, which nobody writes to, into `file`, and ends that.
pub fn write<W: Write>(
    store: &Store,
    head: &ArchiveHead,
    mut file: Writer<W>,
) -> Result<(W, bolt::Measured), OutgoError> {
    // In the order of the buckets' names.
    write_alarms(store, &mut file)?;
    write_auth(store, &mut file)?;
    file.bucket(buckets::CLUSTER)?;
    write_history(store, &mut file)?;
    sealed::write(store, head, &mut file)?;
    write_leases(store, &mut file)?;
    write_members(store, &mut file)?;
    write_meta(store, head, &mut file)?;
    Ok(file.finish()?)
}

fn write_alarms<W: Write>(store: &Store, file: &mut Writer<W>) -> Result<(), OutgoError> {
    file.bucket(buckets::ALARM)?;
    let alarms = quota::Alarms::open(store)?.list().into_iter().map(|alarm| {
        let kind = match alarm.kind {
            AlarmKind::NoSpace => etcdserverpb::AlarmType::Nospace,
            AlarmKind::Corrupt => etcdserverpb::AlarmType::Corrupt,
        };
        etcdserverpb::AlarmMember { member_id: alarm.member.0, alarm: kind.into() }.encode_to_vec()
    });
    // The message is the key.
    let mut alarms: Vec<Vec<u8>> = alarms.collect();
    alarms.sort_unstable();
    alarms.iter().try_for_each(|alarm| file.put(alarm, &[]))?;
    Ok(())
}

fn write_auth<W: Write>(store: &Store, file: &mut Writer<W>) -> Result<(), OutgoError> {
    let auth = auth::Auth::open(store)?;
    file.bucket(buckets::AUTH)?;
    file.put(buckets::AUTH_ENABLED, &[u8::from(auth.is_enabled())])?;
    file.put(buckets::AUTH_REVISION, &auth.revision().to_be_bytes())?;
    file.bucket(buckets::AUTH_ROLES)?;
    for role in auth.role_records() {
        let permission = |permission: types::Permission| {
            use authpb::permission::Type;
            let kind = match permission.access {
                Access::Read => Type::Read,
                Access::Write => Type::Write,
                Access::ReadWrite => Type::Readwrite,
            };
            let types::Permission { key, range_end, .. } = permission;
            authpb::Permission { perm_type: kind.into(), key, range_end }
        };
        let message = authpb::Role {
            name: Bytes::from(role.name.clone()),
            key_permission: role.permissions.into_iter().map(permission).collect(),
        };
        file.put(role.name.as_bytes(), &message.encode_to_vec())?;
    }
    file.bucket(buckets::AUTH_USERS)?;
    for user in auth.user_records() {
        let message = authpb::User {
            name: Bytes::from(user.name.clone()),
            options: Some(authpb::UserAddOptions { no_password: user.hash.is_none() }),
            password: Bytes::from(user.hash.unwrap_or_default()),
            roles: user.roles.into_iter().collect(),
        };
        file.put(user.name.as_bytes(), &message.encode_to_vec())?;
    }
    Ok(())
}

fn write_history<W: Write>(store: &Store, file: &mut Writer<W>) -> Result<(), OutgoError> {
    file.bucket(buckets::KEY)?;
    let mut row = Vec::new();
    let done = mvcc::each_version(store, &mut |version| {
        row.clear();
        let stamp = Stamp { main: version.main as i64, sub: i64::from(version.sub) };
        let key = revision::encode(stamp, version.held.is_none());
        // A vector takes whatever is put into it.
        let _ = pair(version).encode(&mut row);
        match file.put(&key, &row) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    })?;
    match done {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error.into()),
    }
}

/// What etcd keeps of a version; of a removal, the key.
fn pair(version: &Version<'_>) -> mvccpb::KeyValue {
    let key = Bytes::copy_from_slice(version.key);
    match version.held {
        None => mvccpb::KeyValue { key, ..Default::default() },
        Some(Held { create, version: number, lease, value }) => mvccpb::KeyValue {
            key,
            create_revision: create as i64,
            mod_revision: version.main as i64,
            version: number as i64,
            value: Bytes::copy_from_slice(value),
            lease,
        },
    }
}

fn write_leases<W: Write>(store: &Store, file: &mut Writer<W>) -> Result<(), OutgoError> {
    file.bucket(buckets::LEASE)?;
    let mut leases = lease::Leases::open(store)?.list();
    // etcd's order is that of the bytes.
    leases.sort_by_key(|(id, _)| id.0 as u64);
    for (id, terms) in leases {
        let message = messages::Lease { id: id.0, ttl: terms.ttl, remaining: terms.remaining };
        file.put(&id.0.to_be_bytes(), &message.encode_to_vec())?;
    }
    Ok(())
}

fn write_members<W: Write>(store: &Store, file: &mut Writer<W>) -> Result<(), OutgoError> {
    let members = members::Members::open(store)?;
    let named = |record: MemberRecord| (format!("{:x}", record.id.0), record);
    let mut list: Vec<(String, MemberRecord)> = members.list().into_iter().map(named).collect();
    list.sort_by(|one, other| one.0.cmp(&other.0));
    file.bucket(buckets::MEMBERS)?;
    for (name, record) in list {
        let mut object = json!({ "id": record.id.0, "peerURLs": record.peer_urls, "name": record.name });
        if record.learner {
            object["isLearner"] = true.into();
        }
        if !record.client_urls.is_empty() {
            object["clientURLs"] = record.client_urls.into();
        }
        file.put(name.as_bytes(), object.to_string().as_bytes())?;
    }
    let mut removed: Vec<String> = members.removed().iter().map(|id| format!("{:x}", id.0)).collect();
    removed.sort_unstable();
    file.bucket(buckets::MEMBERS_REMOVED)?;
    removed.iter().try_for_each(|name| file.put(name.as_bytes(), b"removed"))?;
    Ok(())
}

fn write_meta<W: Write>(store: &Store, head: &ArchiveHead, file: &mut Writer<W>) -> Result<(), OutgoError> {
    let Standing { compacted, is_swept, .. } = mvcc::standing_in(store)?;
    let compacted = compacted.filter(|compacted| compacted.0 > 0);
    let compacted =
        compacted.map(|compacted| revision::encode(Stamp { main: compacted.to_wire(), sub: 0 }, false));
    file.bucket(buckets::META)?;
    file.put(buckets::CONSISTENT_INDEX, &head.id.index.0.to_be_bytes())?;
    if let Some(compacted) = &compacted {
        // Without the first of the two, etcd takes away what is left to be taken away when it starts.
        if is_swept {
            file.put(buckets::FINISHED_COMPACTION, compacted)?;
        }
        file.put(buckets::SCHEDULED_COMPACTION, compacted)?;
    }
    file.put(buckets::TERM, &head.id.term.0.to_be_bytes())?;
    Ok(())
}
