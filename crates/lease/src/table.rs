//! The table: grants in the order of their ids, each with the keys attached to it.
//!
//! The grants are rows; which keys are attached is told by the keys themselves, each live version of which names its
//! lease, and is collected while the keyspace is opened (docs/decisions/0010).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use parking_lot::RwLock;
use store::{Batch, Direction, Family, Span, Store, StoreError};
use types::v2::Timestamp;
use types::{Index, LeaseId};

use crate::row;

/// Leases that there may be at once. The same for every member, for ever: it decides what applying an entry does.
pub const LEASES_MAX: usize = 4_194_304;
/// The longest life that can be granted, in seconds, as in etcd: 285 years.
pub const TTL_MAX_SECONDS: i64 = 9_000_000_000;

/// What is known of a lease, without its keys. Times are in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// How long it lives without being kept alive.
    pub ttl: i64,
    /// How long a new leader lets it live, by its last checkpoint; 0 is as long as was granted.
    pub remaining: i64,
    /// The log's index at which it was granted. It tells a lease from an earlier one of the same id.
    pub born: Index,
    /// When it ends by the wall clock, whoever leads, unless it is renewed before: a v2 node's time.
    pub deadline: Option<Timestamp>,
}

impl Terms {
    /// How long it lives from the moment on at which somebody begins to lead.
    pub fn to_live(&self) -> i64 {
        if self.remaining > 0 { self.remaining.min(self.ttl) } else { self.ttl }
    }
}

/// Why nothing was granted or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such lease, or the id is none.
    #[error("the lease was not found")]
    NotFound,
    /// There is a lease with this id.
    #[error("the lease exists")]
    Exists,
    /// More than [`TTL_MAX_SECONDS`].
    #[error("the time to live is too large")]
    TtlTooLarge,
    /// There are [`LEASES_MAX`].
    #[error("there are too many leases")]
    TooMany,
}

/// Why the leases cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The rows cannot be read.
    #[error("cannot read the leases")]
    Store(#[from] StoreError),
    /// A row is not as it was written.
    #[error("the row {key} of the leases is damaged")]
    Damaged {
        /// The key of the row, its bytes as text.
        key: String,
    },
    /// A key names a lease that is not there.
    #[error("the key {key} names the lease {lease}, which does not exist: the database is damaged")]
    Dangling {
        /// The key, its bytes as text.
        key: String,
        /// The lease.
        lease: LeaseId,
    },
}

/// All leases. Any thread may read; one applies changes.
///
/// A reader may see a change before its batch is written, as with the members.
#[derive(Debug, Default)]
pub struct Leases {
    table: RwLock<BTreeMap<LeaseId, Lease>>,
}

#[derive(Debug, Default)]
struct Lease {
    terms: Terms,
    keys: BTreeSet<Box<[u8]>>,
}

impl Leases {
    /// Reads the grants; the keyspace tells next which keys are attached, by [`Leases::adopt`].
    pub fn open(store: &Store) -> Result<Self, OpenError> {
        let mut table = BTreeMap::new();
        let span = Span { lower: Some(row::PREFIX.to_vec()), upper: Some(row::END.to_vec()) };
        let mut cursor = store.scan(Family::Meta, &span, Direction::Forward);
        while let Some((key, row)) = cursor.row() {
            let damaged = || OpenError::Damaged { key: key.escape_ascii().to_string() };
            let (id, terms) = row::decode(key, row).ok_or_else(damaged)?;
            table.insert(id, Lease { terms, keys: BTreeSet::new() });
            cursor.step();
        }
        cursor.finish()?;
        Ok(Self { table: RwLock::new(table) })
    }

    /// Takes note of a key that names a lease, while the keyspace is opened.
    pub fn adopt(&self, lease: LeaseId, key: &[u8]) -> Result<(), OpenError> {
        let mut table = self.table.write();
        let dangling = || OpenError::Dangling { key: key.escape_ascii().to_string(), lease };
        table.get_mut(&lease).ok_or_else(dangling)?.keys.insert(key.into());
        Ok(())
    }

    /// Whether there is such a lease.
    pub fn contains(&self, id: LeaseId) -> bool {
        self.table.read().contains_key(&id)
    }

    /// What is known of a lease.
    pub fn get(&self, id: LeaseId) -> Option<Terms> {
        self.table.read().get(&id).map(|lease| lease.terms)
    }

    /// How many keys end with a lease.
    pub fn key_count(&self, id: LeaseId) -> usize {
        self.table.read().get(&id).map_or(0, |lease| lease.keys.len())
    }

    /// The keys that end with a lease, in order.
    pub fn keys(&self, id: LeaseId) -> Vec<Bytes> {
        let table = self.table.read();
        let keys = table.get(&id).into_iter().flat_map(|lease| &lease.keys);
        keys.map(|key| Bytes::copy_from_slice(key)).collect()
    }

    /// Whether `is_so` of every key that ends with a lease; of none there is.
    pub fn all_keys(&self, id: LeaseId, mut is_so: impl FnMut(&[u8]) -> bool) -> bool {
        self.table.read().get(&id).is_none_or(|lease| lease.keys.iter().all(|key| is_so(key)))
    }

    /// Whether `is_so` of every key that ends with any lease.
    pub fn all_attached(&self, mut is_so: impl FnMut(&[u8]) -> bool) -> bool {
        self.table.read().values().flat_map(|lease| &lease.keys).all(|key| is_so(key))
    }

    /// How many leases there are.
    pub fn len(&self) -> usize {
        self.table.read().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All ids, in order.
    pub fn ids(&self) -> Vec<LeaseId> {
        self.table.read().keys().copied().collect()
    }

    /// All leases, in the order of their ids.
    pub fn list(&self) -> Vec<(LeaseId, Terms)> {
        self.table.read().iter().map(|(id, lease)| (*id, lease.terms)).collect()
    }

    /// Grants a lease and stages its row.
    pub fn apply_grant(&self, id: LeaseId, terms: Terms, batch: &mut Batch<'_>) -> Result<(), Refusal> {
        let mut table = self.table.write();
        // The order in which etcd finds fault.
        if !id.is_some() {
            return Err(Refusal::NotFound);
        }
        if terms.ttl > TTL_MAX_SECONDS {
            return Err(Refusal::TtlTooLarge);
        }
        if table.contains_key(&id) {
            return Err(Refusal::Exists);
        }
        if table.len() >= LEASES_MAX {
            return Err(Refusal::TooMany);
        }
        table.insert(id, Lease { terms, keys: BTreeSet::new() });
        stage(id, &terms, batch);
        Ok(())
    }

    /// Ends a lease, the one granted at `born` if that is named, and stages it. When it was granted, and the keys that
    /// have to go with it, in order; the caller removes them.
    pub fn apply_revoke(
        &self,
        id: LeaseId,
        born: Option<Index>,
        batch: &mut Batch<'_>,
    ) -> Result<(Index, Vec<Bytes>), Refusal> {
        let mut table = self.table.write();
        let lease = table.get(&id).ok_or(Refusal::NotFound)?;
        if born.is_some_and(|born| born != lease.terms.born) {
            return Err(Refusal::NotFound);
        }
        let lease = table.remove(&id).ok_or(Refusal::NotFound)?;
        batch.delete(Family::Meta, &row::key(id));
        let keys = lease.keys.into_iter().map(|key| Bytes::from(Vec::from(key))).collect();
        Ok((lease.terms.born, keys))
    }

    /// Takes note of the time that the lease granted at `born` has left, 0 for all of it, and stages it. One that gets
    /// all of its time has no deadline any more.
    pub fn apply_checkpoint(
        &self,
        id: LeaseId,
        born: Index,
        remaining: i64,
        batch: &mut Batch<'_>,
    ) -> Result<(), Refusal> {
        let mut table = self.table.write();
        let lease = table.get_mut(&id).filter(|lease| lease.terms.born == born).ok_or(Refusal::NotFound)?;
        lease.terms.remaining = remaining.max(0);
        if lease.terms.remaining == 0 {
            lease.terms.deadline = None;
        }
        stage(id, &lease.terms, batch);
        Ok(())
    }

    /// A key goes from one lease to another, or to none, as its live version says from now on.
    pub fn apply_move(&self, key: &[u8], source: LeaseId, target: LeaseId) {
        let mut table = self.table.write();
        // The one that it comes from may just have ended.
        if let Some(lease) = table.get_mut(&source) {
            lease.keys.remove(key);
        }
        if target.is_some() {
            let lease = table.get_mut(&target);
            debug_assert!(lease.is_some(), "a put names a lease that was looked for and found");
            if let Some(lease) = lease {
                lease.keys.insert(key.into());
            }
        }
    }
}

fn stage(id: LeaseId, terms: &Terms, batch: &mut Batch<'_>) {
    let key = row::key(id);
    batch.put(Family::Meta, &key, &row::encode(&key, terms));
}
