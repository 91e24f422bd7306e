//! The stairs: one deterministic function from (state, entry) to (state, outcome).
//!
//! A run of committed entries becomes one batch of the database, with the applied index in it. It has no
//! clock, no chance, no threads and no configuration: members that applied the same entries are the same.
//!
//! INVARIANT: the effects of an entry and its index reach the database together.
//! INVARIANT: entries are applied in order, each once. What cannot be understood stops the member.

mod fingerprint;
mod guard;
mod position;

use std::sync::Arc;

use auth::Auth;
use bridge::{Layout, Room, Written};
use bytes::Bytes;
use command::{
    Bridged, Command, DecodeError, Effect, Granted, Outcome, Refused, Revocation, Signed, decode_signed,
};
use lease::{Leases, Terms};
use members::{Change, Members};
use mvcc::{Changes, LeaseMove, Mvcc, Writer};
use quota::Alarms;
use store::{Batch, Store, StoreError};
use types::v2;
use types::{Alarm, AlarmKind, Index, LeaseId, MemberId, MemberRecord, Revision, Term, Txn, TxnOp};
use v2auth::V2Auth;
use v2store::V2Store;

pub use fingerprint::{FINGERPRINTS_MAX, Fingerprint, Fingerprints};
pub use guard::may_txn;
pub use mvcc::{IndexPart, ReadPart};
pub use position::{Position, PositionError};

/// An entry of the log that is committed.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its place; one after the entry before.
    pub index: Index,
    /// The term in which it was proposed.
    pub term: Term,
    /// Encoded commands, possibly none.
    pub data: Bytes,
}

/// What came of a run of entries.
#[derive(Default)]
pub struct Applied {
    /// The outcomes of the commands, entry by entry.
    pub outcomes: Vec<Vec<Outcome>>,
    /// What changed in the v3 keyspace; readers see it already.
    pub changes: Changes,
}

/// The state could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Where the state stands cannot be read.
    #[error(transparent)]
    Position(#[from] PositionError),
    /// The v3 keyspace cannot be read.
    #[error("cannot open the v3 keyspace")]
    Mvcc(#[source] mvcc::OpenError),
    /// The v2 keyspace cannot be read.
    #[error("cannot open the v2 keyspace")]
    V2(#[source] v2store::OpenError),
    /// The users of v2 cannot be read.
    #[error("cannot open the users of v2")]
    V2Auth(#[source] v2auth::OpenError),
    /// The member list cannot be read.
    #[error("cannot open the member list")]
    Members(#[source] members::OpenError),
    /// The alarms cannot be read.
    #[error("cannot open the alarms")]
    Alarms(#[source] quota::OpenError),
    /// Users and roles cannot be read.
    #[error("cannot open users and roles")]
    Auth(#[source] auth::OpenError),
    /// The leases cannot be read.
    #[error("cannot open the leases")]
    Leases(#[source] lease::OpenError),
}

/// Entries could not be applied. The member must stop: it no longer knows what its state is.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// An entry is missing or came twice.
    #[error("entry {got} was handed out after entry {applied}")]
    Gap {
        /// The last index applied.
        applied: Index,
        /// The index that came.
        got: Index,
    },
    /// An entry holds what this version cannot understand.
    #[error("cannot understand entry {index}")]
    Entry {
        /// Which entry.
        index: Index,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// The v3 keyspace is damaged or cannot be read.
    #[error("cannot apply entry {index} to the v3 keyspace")]
    Mvcc {
        /// Which entry.
        index: Index,
        /// Why.
        #[source]
        source: mvcc::WriteError,
    },
    /// The batch could not be written.
    #[error("cannot write the effects of entries")]
    Store(#[from] StoreError),
}

/// A member cannot go on alone.
#[derive(Debug, thiserror::Error)]
pub enum ForsakeError {
    /// It is none.
    #[error("{0} is no member of the cluster, so it cannot go on alone")]
    NotAMember(MemberId),
    /// The batch could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The state could not be handed to another cluster.
#[derive(Debug, thiserror::Error)]
pub enum RefoundError {
    /// There is none.
    #[error("nothing was ever applied to this state")]
    Empty,
    /// The revision would not be one any more.
    #[error("the revision {revision} cannot be raised by {leap}")]
    Leap {
        /// Where it stands.
        revision: Revision,
        /// By how much it was to be raised.
        leap: u64,
    },
    /// The batch could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Everything that is replicated. Its rooms may be read by anybody at any time; one caller applies.
pub struct Machine {
    store: Arc<Store>,
    mvcc: Arc<Mvcc>,
    v2: Arc<V2Store>,
    v2_auth: Arc<V2Auth>,
    members: Arc<Members>,
    alarms: Arc<Alarms>,
    leases: Arc<Leases>,
    auth: Arc<Auth>,
    position: Position,
    fingerprint: Fingerprint,
    fingerprints: Arc<Fingerprints>,
}

impl Machine {
    /// Opens the state as the last flushed batch left it.
    pub fn open(store: Arc<Store>) -> Result<Self, OpenError> {
        Self::open_by(store, 1, |parts| parts.into_iter().map(IndexPart::read).collect())
    }

    /// The same, with the keys' index in up to `parts_max` parts that `read` may have read by as many threads: see
    /// [`Mvcc::open_by`].
    pub fn open_by(
        store: Arc<Store>,
        parts_max: usize,
        read: impl FnOnce(Vec<IndexPart<'_>>) -> Vec<Result<ReadPart, mvcc::OpenError>>,
    ) -> Result<Self, OpenError> {
        let (position, fingerprint) = Position::load_with_fingerprint(&store)?.unwrap_or_default();
        let fingerprints = Arc::new(Fingerprints::default());
        fingerprints.begin(position.index, fingerprint);
        let (mvcc, leases) = open_keyspace(&store, parts_max, read)?;
        Ok(Self {
            position,
            fingerprint,
            fingerprints,
            mvcc: Arc::new(mvcc),
            leases: Arc::new(leases),
            v2: Arc::new(V2Store::open(&store).map_err(OpenError::V2)?),
            v2_auth: Arc::new(V2Auth::open(&store).map_err(OpenError::V2Auth)?),
            members: Arc::new(Members::open(&store).map_err(OpenError::Members)?),
            alarms: Arc::new(Alarms::open(&store).map_err(OpenError::Alarms)?),
            auth: Arc::new(Auth::open(&store).map_err(OpenError::Auth)?),
            store,
        })
    }

    /// The state of a new cluster: its members, and nothing applied after `position`. Doing it again does no harm.
    pub fn bootstrap(&mut self, position: Position, founders: &[MemberRecord]) -> Result<(), StoreError> {
        let mut batch = self.store.batch();
        for member in founders {
            self.members.apply_founder(member.clone(), &mut batch);
        }
        let fingerprint = Fingerprint::of_founders(founders);
        position.stage(fingerprint, &mut batch);
        self.store.write(batch)?;
        self.position = position;
        self.fingerprint = fingerprint;
        self.fingerprints.begin(position.index, fingerprint);
        self.store.flush()
    }

    /// Goes on with one member alone, durably: all others count as removed. See [`Members::apply_solitude`].
    pub fn forsake_others(&mut self, member: MemberId) -> Result<(), ForsakeError> {
        let mut batch = self.store.batch();
        self.members.apply_solitude(member, &mut batch).map_err(|_| ForsakeError::NotAMember(member))?;
        self.store.write(batch)?;
        self.store.flush()?;
        Ok(())
    }

    /// Hands the state to another cluster, durably: its founders are the members, and nobody else ever was. The v3
    /// keyspace may leap that many revisions, see [`Writer::leap`]. Everything else, alarms too, stays as it is, and
    /// the log goes on behind the position, which stays too.
    pub fn refound(&mut self, founders: &[MemberRecord], leap: Option<u64>) -> Result<(), RefoundError> {
        if self.position == Position::default() {
            return Err(RefoundError::Empty);
        }
        let mut writer = self.mvcc.begin();
        if let Some(leap) = leap {
            let revision = writer.revision();
            writer.leap(leap).map_err(|_| RefoundError::Leap { revision, leap })?;
        }
        let mut batch = self.store.batch();
        writer.stage(&mut batch);
        self.members.apply_refounding(founders, &mut batch);
        self.fingerprint = self.fingerprint.refounded(founders, leap);
        self.position.stage(self.fingerprint, &mut batch);
        self.store.write(batch)?;
        writer.publish();
        self.fingerprints.begin(self.position.index, self.fingerprint);
        self.store.flush()?;
        Ok(())
    }

    /// The last entry applied; in memory, not necessarily on disk.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The v3 keyspace.
    pub fn mvcc(&self) -> &Arc<Mvcc> {
        &self.mvcc
    }

    /// The v2 keyspace.
    pub fn v2(&self) -> &Arc<V2Store> {
        &self.v2
    }

    /// The users and roles of v2.
    pub fn v2_auth(&self) -> &Arc<V2Auth> {
        &self.v2_auth
    }

    /// The members.
    pub fn members(&self) -> &Arc<Members> {
        &self.members
    }

    /// The alarms.
    pub fn alarms(&self) -> &Arc<Alarms> {
        &self.alarms
    }

    /// The leases.
    pub fn leases(&self) -> &Arc<Leases> {
        &self.leases
    }

    /// Users and roles.
    pub fn auth(&self) -> &Arc<Auth> {
        &self.auth
    }

    /// The fingerprints at the newest indexes, for comparing members.
    pub fn fingerprints(&self) -> &Arc<Fingerprints> {
        &self.fingerprints
    }

    /// The database under them.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Applies a run of entries as one batch.
    pub fn apply<'e>(&mut self, run: impl IntoIterator<Item = &'e Entry>) -> Result<Applied, ApplyError> {
        self.apply_until(run, None)
    }

    /// The same, up to the command that brings the v3 keyspace to the revision `end`: the rest of the run is left, also
    /// that of its entry. Of a member that takes part nothing may be left.
    pub fn apply_until<'e>(
        &mut self,
        run: impl IntoIterator<Item = &'e Entry>,
        end: Option<Revision>,
    ) -> Result<Applied, ApplyError> {
        let mut batch = self.store.batch();
        let mut writer = self.mvcc.begin();
        let mut position = self.position;
        let mut outcomes = Vec::new();
        let mut fingerprint = self.fingerprint;
        let mut fingerprints = Vec::new();
        for entry in run {
            if end.is_some_and(|end| writer.revision() >= end) {
                break;
            }
            if entry.index.0 != position.index.0 + 1 {
                return Err(ApplyError::Gap { applied: position.index, got: entry.index });
            }
            position = Position { index: entry.index, term: entry.term };
            let commands = decode_signed(entry.data.clone())
                .map_err(|source| ApplyError::Entry { index: entry.index, source })?;
            let mut rooms = Rooms {
                index: entry.index,
                writer: &mut writer,
                v2: &self.v2,
                v2_auth: &self.v2_auth,
                members: &self.members,
                alarms: &self.alarms,
                leases: &self.leases,
                auth: &self.auth,
            };
            let mut done = Vec::with_capacity(commands.len());
            for signed in commands {
                if end.is_some_and(|end| rooms.writer.revision() >= end) {
                    break;
                }
                let outcome = rooms.apply(signed, &mut batch);
                done.push(outcome.map_err(|source| ApplyError::Mvcc { index: entry.index, source })?);
            }
            fingerprint = fingerprint.after(entry.index, entry.term, &entry.data, &done);
            fingerprints.push(fingerprint);
            outcomes.push(done);
        }
        writer.stage(&mut batch);
        self.v2.stage(&mut batch);
        position.stage(fingerprint, &mut batch);
        self.store.write(batch)?;
        let changes = writer.publish();
        self.position = position;
        self.fingerprint = fingerprint;
        self.fingerprints.extend(position.index, &fingerprints);
        Ok(Applied { outcomes, changes })
    }
}

/// The keyspace, and the leases with the keys that name them.
fn open_keyspace(
    store: &Arc<Store>,
    parts_max: usize,
    read: impl FnOnce(Vec<IndexPart<'_>>) -> Vec<Result<ReadPart, mvcc::OpenError>>,
) -> Result<(Mvcc, Leases), OpenError> {
    let leases = Leases::open(store).map_err(OpenError::Leases)?;
    let mut adopted = Ok(());
    let mvcc = Mvcc::open_by(Arc::clone(store), parts_max, read, &mut |lease, key| {
        if adopted.is_ok() {
            adopted = leases.adopt(lease, key);
        }
    });
    adopted.map_err(OpenError::Leases)?;
    Ok((mvcc.map_err(OpenError::Mvcc)?, leases))
}

struct Rooms<'a, 'w> {
    index: Index,
    writer: &'a mut Writer<'w>,
    v2: &'a V2Store,
    v2_auth: &'a V2Auth,
    members: &'a Members,
    alarms: &'a Alarms,
    leases: &'a Leases,
    auth: &'a Auth,
}

impl<'w> Rooms<'_, 'w> {
    fn apply(&mut self, signed: Signed, batch: &mut Batch<'_>) -> Result<Outcome, mvcc::WriteError> {
        let Signed { author, command } = signed;
        let result = match guard::admit(self.auth, self.leases, &author, &command) {
            _ if grows(&command) && self.alarms.is_raised(AlarmKind::NoSpace) => Err(Refused::NoSpace),
            Err(why) => Err(Refused::Auth(why)),
            Ok(()) => self.carry_out(command, batch)?,
        };
        for LeaseMove { key, source, target } in self.writer.take_moves() {
            self.leases.apply_move(&key, source, target);
        }
        Ok(Outcome { revision: self.revision(), result })
    }

    fn carry_out(
        &mut self,
        command: Command,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Effect, Refused>, mvcc::WriteError> {
        Ok(match command {
            Command::Put(put) if put.lease.is_some() && !self.leases.contains(put.lease) => {
                Err(Refused::LeaseNotFound)
            }
            Command::Put(put) => refusal(self.writer.put(&put))?.map(Effect::Put),
            Command::DeleteRange(delete) => {
                refusal(self.writer.delete_range(&delete))?.map(Effect::DeleteRange)
            }
            Command::Txn(txn) => {
                let exists = |lease| self.leases.contains(lease);
                refusal(self.writer.txn_with_leases(&txn, &exists))?.map(Effect::Txn)
            }
            Command::Compact(revision) => refusal(self.writer.compact(revision))?.map(|()| Effect::Compact),
            Command::V2 { write, now } => Ok(Effect::V2(self.write_v2(&write, now, batch))),
            Command::V2Auth(change) => {
                let verdict = self.v2_auth.apply(&change, batch);
                self.v2.pass(verdict.indexes);
                Ok(Effect::V2Auth(verdict.result))
            }
            Command::BridgedV2 { prefix, write, now, lease } => {
                self.bridge(prefix, &write, now, lease, batch)?
            }
            Command::ExpireBridged { prefix, leases } => self.expire_bridged(prefix, &leases, batch)?,
            Command::SetMember(member) => {
                let done = self.members.apply_self_description(&member, batch);
                done.map(|()| Effect::SetMember).map_err(Refused::Member)
            }
            Command::AddMember(member) => self.change_members(&Change::Add(member), batch),
            Command::PromoteMember(id) => self.change_members(&Change::Promote(id), batch),
            Command::UpdateMember { id, peer_urls } => {
                self.change_members(&Change::Update { id, peer_urls }, batch)
            }
            Command::RemoveMember(id) => {
                let done = self.change_members(&Change::Remove(id), batch);
                if done.is_ok() {
                    self.alarms.apply_departure(id, batch);
                }
                done
            }
            Command::Alarm { raise, member, kind } => {
                let done = self.alarms.apply_alarm(raise, Alarm { member, kind }, batch);
                Ok(Effect::Alarms(done.into_iter().collect()))
            }
            Command::GrantLease { id, ttl } => self.grant(id, ttl, batch),
            Command::RevokeLeases(leases) => self.revoke(&leases, batch),
            Command::CheckpointLeases(mut leases) => {
                leases.retain(|lease| {
                    self.leases.apply_checkpoint(lease.id, lease.born, lease.remaining, batch).is_ok()
                });
                Ok(Effect::Checkpointed(leases))
            }
            Command::Auth(change) => {
                self.auth.apply(change, self.index, batch).map(Effect::Auth).map_err(Refused::Auth)
            }
        })
    }

    fn grant(&self, id: LeaseId, ttl: i64, batch: &mut Batch<'_>) -> Result<Effect, Refused> {
        let born = self.index;
        self.leases
            .apply_grant(id, Terms { ttl, remaining: 0, born, deadline: None }, batch)
            .map_err(lease_refusal)?;
        Ok(Effect::Granted { id, ttl, born })
    }

    fn revoke(&mut self, leases: &[Revocation], batch: &mut Batch<'_>) -> Result<Effect, Refused> {
        let mut revoked = Vec::new();
        for lease in leases {
            let Ok((born, keys)) = self.leases.apply_revoke(lease.id, lease.born, batch) else { continue };
            self.writer.delete_keys(keys);
            revoked.push((lease.id, born));
        }
        if revoked.is_empty() { Err(Refused::LeaseNotFound) } else { Ok(Effect::Revoked(revoked)) }
    }

    fn bridge(
        &mut self,
        prefix: Bytes,
        write: &v2::Write,
        now: v2::Timestamp,
        lease: LeaseId,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Effect, Refused>, mvcc::WriteError> {
        let layout = Layout::new(prefix);
        let mut room = self.room(&layout, batch);
        let Written { result, granted, ended } = match bridge::apply(&mut room, write, now, lease) {
            Ok(written) => written,
            Err(bridge::ApplyError::Lease(why)) => return Ok(Err(lease_refusal(why))),
            Err(bridge::ApplyError::Keyspace(error)) => return Err(error),
        };
        let born = self.index;
        let granted =
            granted.map(|bridge::Granted { id, ttl, deadline }| Granted { id, ttl, born, deadline });
        let (prefix, result) = (layout.prefix().clone(), result.map(Arc::new));
        Ok(Ok(Effect::Bridged(Bridged { prefix, result, granted, ended })))
    }

    fn expire_bridged(
        &mut self,
        prefix: Bytes,
        leases: &[Revocation],
        batch: &mut Batch<'_>,
    ) -> Result<Result<Effect, Refused>, mvcc::WriteError> {
        let layout = Layout::new(prefix);
        let mut room = self.room(&layout, batch);
        let mut revoked = Vec::new();
        for lease in leases {
            revoked.append(&mut bridge::expire(&mut room, lease.id, lease.born)?);
        }
        Ok(if revoked.is_empty() { Err(Refused::LeaseNotFound) } else { Ok(Effect::Revoked(revoked)) })
    }

    fn room<'r, 'b, 's>(&'r mut self, layout: &'r Layout, batch: &'b mut Batch<'s>) -> Room<'r, 'w, 'b, 's> {
        Room { layout, writer: self.writer, leases: self.leases, batch, born: self.index }
    }

    fn write_v2(
        &self,
        write: &v2::Write,
        now: v2::Timestamp,
        batch: &mut Batch<'_>,
    ) -> Result<Vec<Arc<v2::Event>>, v2::Refusal> {
        self.v2.apply(write, now, batch)
    }

    fn change_members(&self, change: &Change, batch: &mut Batch<'_>) -> Result<Effect, Refused> {
        self.members.apply_change(change, batch).map_err(Refused::Member)?;
        Ok(Effect::Members(self.members.list()))
    }

    fn revision(&self) -> Revision {
        self.writer.revision()
    }
}

/// What is refused while there is no room: v3 writes that may add a version, and leases. Removing and forgetting goes on.
fn grows(command: &Command) -> bool {
    match command {
        Command::Put(_) | Command::GrantLease { .. } => true,
        Command::Txn(txn) => may_put(txn),
        Command::BridgedV2 { write, .. } => {
            !matches!(write, v2::Write::Delete { .. } | v2::Write::CompareAndDelete { .. })
        }
        _ => false,
    }
}

// Whichever branch will run: the refusal must not depend on what is stored. As deep as transactions may nest.
fn may_put(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match op {
        TxnOp::Put(_) => true,
        TxnOp::Txn(inner) => may_put(inner),
        TxnOp::Range(_) | TxnOp::Delete(_) => false,
    })
}

fn lease_refusal(why: lease::Refusal) -> Refused {
    match why {
        lease::Refusal::NotFound => Refused::LeaseNotFound,
        lease::Refusal::Exists => Refused::LeaseExists,
        lease::Refusal::TtlTooLarge => Refused::LeaseTtlTooLarge,
        lease::Refusal::TooMany => Refused::TooManyLeases,
    }
}

// A refusal is an outcome; anything else is an error that ends the member.
fn refusal<T>(result: Result<T, mvcc::WriteError>) -> Result<Result<T, Refused>, mvcc::WriteError> {
    match result {
        Ok(done) => Ok(Ok(done)),
        Err(mvcc::WriteError::Refused(why)) => Ok(Err(match why {
            mvcc::Refusal::KeyNotFound => Refused::KeyNotFound,
            mvcc::Refusal::LeaseNotFound => Refused::LeaseNotFound,
            mvcc::Refusal::Compacted => Refused::Compacted,
            mvcc::Refusal::FutureRevision => Refused::FutureRevision,
        })),
        Err(fatal) => Err(fatal),
    }
}

#[cfg(test)]
mod tests;
