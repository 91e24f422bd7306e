//! One of etcd's files as a database of ours.

use bolt::{BoltError, Reader, Row, Seek};
use lease::{Leases, TTL_MAX_SECONDS, Terms};
use mvcc::{Held, Intake, Version};
use prost::Message;
use proto::{authpb, etcdserverpb, mvccpb};
use store::{Batch, Family, Store, StoreError};
use types::{Access, Alarm, AlarmKind, Index, LeaseId, MemberId, Permission, Revision, Term};

use crate::{buckets, messages, revision};

/// A batch is written when it holds so many bytes.
const BATCH_BYTES: usize = 1 << 20;

/// Where the state of a file stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// The last entry of etcd's log that is in it.
    pub index: Index,
    /// That entry's term; 0 in a file of a version before 3.5.
    pub term: Term,
    /// The revision of the v3 keyspace.
    pub revision: Revision,
}

/// Why there is no database. What was written of it is of no use.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The file.
    #[error(transparent)]
    File(#[from] BoltError),
    /// It has not all of etcd's buckets.
    #[error("it has no bucket `{0}`")]
    Missing(&'static str),
    /// A row is none that etcd writes.
    #[error("in the bucket `{bucket}` the row {row} is none of etcd's")]
    Row {
        /// Where it is.
        bucket: &'static str,
        /// Its key, as text.
        row: String,
    },
    /// The database.
    #[error("cannot write the database")]
    Store(#[from] StoreError),
    /// The v3 keyspace.
    #[error("cannot write the v3 keyspace")]
    Keyspace(#[from] mvcc::OpenError),
    /// The leases.
    #[error("cannot write the leases")]
    Leases(#[from] lease::OpenError),
    /// A lease.
    #[error("the lease {0} cannot be kept")]
    Lease(LeaseId, #[source] lease::Refusal),
    /// The alarms.
    #[error("cannot write the alarms")]
    Alarms(#[from] quota::OpenError),
}

/// Puts into an empty store, durably, what etcd keeps in `file`: the history of v3, leases, users and roles, alarms.
/// Members are not taken, and the position is left to the caller.
pub fn take_etcd(file: &Reader<impl Seek>, store: &Store) -> Result<Taken, IntakeError> {
    let meta = read_meta(file)?;
    let mut intake = Intake::new(store);
    let last = take_keys(file, &mut intake)?;
    let revision = last.max(meta.compacted.unwrap_or_default()).max(Revision::FIRST);
    let mut named = std::collections::BTreeSet::new();
    intake.link(revision, meta.compacted, &mut |lease| {
        named.insert(lease);
    })?;
    let index = Index(meta.index.0.max(1));
    take_leases(file, store, index, named)?;
    take_auth(file, store)?;
    take_alarms(file, store)?;
    store.flush()?;
    Ok(Taken { index, term: meta.term, revision })
}

/// The last entry of etcd's log that is in `file`.
pub fn index_in(file: &Reader<impl Seek>) -> Result<Index, IntakeError> {
    Ok(read_meta(file)?.index)
}

#[derive(Default)]
struct Meta {
    index: Index,
    term: Term,
    compacted: Option<Revision>,
}

fn read_meta(file: &Reader<impl Seek>) -> Result<Meta, IntakeError> {
    let mut rows = file.bucket(buckets::META)?.ok_or(IntakeError::Missing("meta"))?;
    let mut meta = Meta::default();
    while let Some(Row { key, value, .. }) = rows.next_row()? {
        let bad = || bad_row("meta", key);
        let number = || value.try_into().map(u64::from_be_bytes).map_err(|_| bad());
        match key {
            buckets::CONSISTENT_INDEX => meta.index = Index(number()?),
            buckets::TERM => meta.term = Term(number()?),
            buckets::FINISHED_COMPACTION | buckets::SCHEDULED_COMPACTION => {
                let (stamp, _) = revision::decode(value).ok_or_else(bad)?;
                meta.compacted = meta.compacted.max(Some(Revision(stamp.main.unsigned_abs())));
            }
            _ => {}
        }
    }
    Ok(meta)
}

/// Takes every version of every key, and tells the last revision.
pub(crate) fn take_keys(file: &Reader<impl Seek>, intake: &mut Intake<'_>) -> Result<Revision, IntakeError> {
    let mut rows = file.bucket(buckets::KEY)?.ok_or(IntakeError::Missing("key"))?;
    let mut last = Revision::default();
    while let Some(Row { key: row, value, .. }) = rows.next_row()? {
        let read = || {
            let (stamp, is_removal) = revision::decode(row)?;
            let pair = mvccpb::KeyValue::decode(value).ok()?;
            let sub = u32::try_from(stamp.sub).ok()?;
            let numbers = (u64::try_from(pair.create_revision).ok()?, u64::try_from(pair.version).ok()?);
            let is_sound = !pair.key.is_empty() && (is_removal || (numbers.0 > 0 && numbers.1 > 0));
            is_sound.then_some((stamp.main.unsigned_abs(), sub, numbers, is_removal, pair))
        };
        let (main, sub, (create, version), is_removal, pair) = read().ok_or_else(|| bad_row("key", row))?;
        let held = Held { create, version, lease: pair.lease, value: &pair.value };
        intake.take(&Version { main, sub, key: &pair.key, held: (!is_removal).then_some(held) })?;
        last = Revision(main);
    }
    Ok(last)
}

/// `named` are those that live keys name. One of them that is not there is granted for as long as can be: etcd keeps such
/// a key for ever.
fn take_leases(
    file: &Reader<impl Seek>,
    store: &Store,
    born: Index,
    mut named: std::collections::BTreeSet<LeaseId>,
) -> Result<(), IntakeError> {
    let leases = Leases::open(store)?;
    let mut batch = store.batch();
    let mut grant = |id: LeaseId, ttl: i64, remaining: i64| {
        let terms = Terms { ttl: ttl.min(TTL_MAX_SECONDS), remaining, born, deadline: None };
        leases.apply_grant(id, terms, &mut batch).map_err(|refusal| IntakeError::Lease(id, refusal))
    };
    if let Some(mut rows) = file.bucket(buckets::LEASE)? {
        while let Some(Row { key, value, .. }) = rows.next_row()? {
            let lease = messages::Lease::decode(value).map_err(|_| bad_row("lease", key))?;
            named.remove(&LeaseId(lease.id));
            grant(LeaseId(lease.id), lease.ttl, lease.remaining.max(0))?;
        }
    }
    for id in named {
        grant(id, TTL_MAX_SECONDS, 0)?;
    }
    Ok(store.write(batch)?)
}

fn take_auth(file: &Reader<impl Seek>, store: &Store) -> Result<(), IntakeError> {
    let mut batch = store.batch();
    let Some(mut rows) = file.bucket(buckets::AUTH)? else { return Ok(()) };
    let (mut enabled, mut revision) = (false, 1);
    while let Some(Row { key, value, .. }) = rows.next_row()? {
        match key {
            buckets::AUTH_ENABLED => enabled = value == [1],
            buckets::AUTH_REVISION => {
                let number: [u8; 8] = value.try_into().map_err(|_| bad_row("auth", key))?;
                revision = u64::from_be_bytes(number).max(1);
            }
            _ => {}
        }
    }
    auth::stage_state(enabled, revision, &mut batch);
    if let Some(mut rows) = file.bucket(buckets::AUTH_ROLES)? {
        while let Some(Row { key, value, .. }) = rows.next_row()? {
            let role = read_role(value).ok_or_else(|| bad_row("authRoles", key))?;
            auth::stage_role(role, &mut batch);
        }
    }
    if let Some(mut rows) = file.bucket(buckets::AUTH_USERS)? {
        while let Some(Row { key, value, .. }) = rows.next_row()? {
            let user = read_user(value).ok_or_else(|| bad_row("authUsers", key))?;
            auth::stage_user(user, &mut batch);
        }
    }
    Ok(store.write(batch)?)
}

fn read_role(row: &[u8]) -> Option<auth::RoleRecord> {
    let role = authpb::Role::decode(row).ok()?;
    let permission = |granted: authpb::Permission| {
        use authpb::permission::Type;
        let access = match Type::try_from(granted.perm_type).ok()? {
            Type::Read => Access::Read,
            Type::Write => Access::Write,
            Type::Readwrite => Access::ReadWrite,
        };
        Some(Permission { access, key: granted.key, range_end: granted.range_end })
    };
    let permissions = role.key_permission.into_iter().map(permission).collect::<Option<_>>()?;
    Some(auth::RoleRecord { name: text(&role.name)?, permissions })
}

fn read_user(row: &[u8]) -> Option<auth::UserRecord> {
    let user = authpb::User::decode(row).ok()?;
    let has_none = user.password.is_empty() || user.options.is_some_and(|options| options.no_password);
    let hash = if has_none { None } else { Some(text(&user.password)?) };
    Some(auth::UserRecord { name: text(&user.name)?, hash, roles: user.roles.into_iter().collect() })
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

fn take_alarms(file: &Reader<impl Seek>, store: &Store) -> Result<(), IntakeError> {
    let Some(mut rows) = file.bucket(buckets::ALARM)? else { return Ok(()) };
    let alarms = quota::Alarms::open(store)?;
    let mut batch = store.batch();
    while let Some(Row { key, .. }) = rows.next_row()? {
        let alarm = etcdserverpb::AlarmMember::decode(key).map_err(|_| bad_row("alarm", key))?;
        let kind = match etcdserverpb::AlarmType::try_from(alarm.alarm) {
            Ok(etcdserverpb::AlarmType::Nospace) => AlarmKind::NoSpace,
            Ok(etcdserverpb::AlarmType::Corrupt) => AlarmKind::Corrupt,
            Ok(etcdserverpb::AlarmType::None) | Err(_) => continue,
        };
        alarms.apply_alarm(true, Alarm { member: MemberId(alarm.member_id), kind }, &mut batch);
    }
    Ok(store.write(batch)?)
}

fn bad_row(bucket: &'static str, key: &[u8]) -> IntakeError {
    IntakeError::Row { bucket, row: key.escape_ascii().to_string() }
}

/// Rows on their way into a store, in batches.
pub(crate) struct Batches<'s> {
    store: &'s Store,
    batch: Batch<'s>,
    bytes: usize,
}

impl<'s> Batches<'s> {
    pub(crate) fn new(store: &'s Store) -> Self {
        Self { store, batch: store.batch(), bytes: 0 }
    }

    pub(crate) fn put(&mut self, family: Family, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.batch.put(family, key, value);
        self.bytes += key.len() + value.len();
        if self.bytes >= BATCH_BYTES {
            self.store.write(std::mem::replace(&mut self.batch, self.store.batch()))?;
            self.bytes = 0;
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<(), StoreError> {
        self.store.write(self.batch)
    }
}
