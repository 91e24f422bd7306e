//! The v3 keyspace as simple as it can be: a sorted map for each revision, and which leases there are. It shares no code
//! with `mvcc` and `lease`.

use std::collections::BTreeMap;
use std::rc::Rc;

use command::{Command, Revocation};
use types::{CompareResult, CompareTarget, KeyValue, LeaseId, Put, Txn, TxnOp};

/// A key's value and history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    bytes: Vec<u8>,
    created: u64,
    modified: u64,
    version: u64,
    lease: LeaseId,
}

/// The keys at one revision.
pub(crate) type Keys = BTreeMap<Vec<u8>, Value>;

/// What a command is expected to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// A put.
    Put,
    /// A delete of so many keys.
    Deleted(u64),
    /// A transaction whose conditions held, or not.
    Txn(bool),
    /// A compaction that was accepted, or not.
    Compact(bool),
    /// A write that names a lease or keeps a value that is not there.
    Refused,
    /// A lease.
    Granted,
    /// The end of so many leases.
    Revoked(usize),
    /// Not the business of this keyspace.
    Other,
}

/// The keyspace.
pub(crate) struct Model {
    states: Vec<Rc<Keys>>,
    compacted: u64,
    /// When each was granted.
    leases: BTreeMap<LeaseId, u64>,
}

impl Model {
    /// Nothing, at revision 1.
    pub(crate) fn new() -> Self {
        let nothing: Rc<Keys> = Rc::default();
        Self { states: vec![Rc::clone(&nothing), nothing], compacted: 0, leases: BTreeMap::new() }
    }

    /// The newest revision.
    pub(crate) fn revision(&self) -> u64 {
        self.states.len() as u64 - 1
    }

    /// Up to where history was forgotten.
    pub(crate) fn compacted(&self) -> u64 {
        self.compacted
    }

    /// The keys at a revision.
    pub(crate) fn at(&self, revision: u64) -> Option<&Keys> {
        self.states.get(revision as usize).map(Rc::as_ref)
    }

    /// The leases, in order.
    pub(crate) fn leases(&self) -> impl Iterator<Item = LeaseId> {
        self.leases.keys().copied()
    }

    /// The keys that end with a lease, in order.
    pub(crate) fn attached(&self, lease: LeaseId) -> Vec<&[u8]> {
        let keys = self.newest().iter();
        keys.filter(|(_, value)| value.lease == lease).map(|(key, _)| key.as_slice()).collect()
    }

    /// Applies a command of the entry at `index`.
    pub(crate) fn apply(&mut self, index: u64, command: &Command) -> Expected {
        match command {
            Command::Put(put) => {
                let op = TxnOp::Put(put.clone());
                self.change(|change| if change.may(&op) { change.put(put) } else { Expected::Refused })
            }
            Command::DeleteRange(delete) => {
                self.change(|change| Expected::Deleted(change.delete(|key, _| delete.range.contains(key))))
            }
            Command::Txn(txn) => self.change(|change| change.txn(txn)),
            Command::Compact(revision) => {
                let revision = u64::try_from(*revision).unwrap_or_default();
                let accepted = revision > self.compacted && revision <= self.revision();
                if accepted {
                    self.compacted = revision;
                }
                Expected::Compact(accepted)
            }
            Command::GrantLease { id, .. } => {
                self.leases.insert(*id, index);
                Expected::Granted
            }
            Command::RevokeLeases(leases) => {
                Expected::Revoked(leases.iter().filter(|lease| self.revoke(lease)).count())
            }
            _ => Expected::Other,
        }
    }

    /// Whether there was such a lease; its keys go with it, in a revision of their own.
    fn revoke(&mut self, lease: &Revocation) -> bool {
        let known = self.leases.get(&lease.id);
        let ends = known.is_some_and(|known| lease.born.is_none_or(|born| born.0 == *known));
        if ends {
            self.leases.remove(&lease.id);
            self.change(|change| change.delete(|_, value| value.lease == lease.id));
        }
        ends
    }

    /// What changes the keys makes one revision, whatever it does.
    fn change<T>(&mut self, does: impl FnOnce(&mut Change<'_>) -> T) -> T {
        let before = Rc::clone(&self.states[self.revision() as usize]);
        let (keys, revision) = ((*before).clone(), self.revision() + 1);
        let mut change = Change { before: &before, leases: &self.leases, keys, revision, changed: false };
        let done = does(&mut change);
        let Change { keys, changed, .. } = change;
        if changed {
            self.states.push(Rc::new(keys));
        }
        done
    }

    fn newest(&self) -> &Keys {
        &self.states[self.revision() as usize]
    }
}

struct Change<'a> {
    before: &'a Keys,
    leases: &'a BTreeMap<LeaseId, u64>,
    keys: Keys,
    revision: u64,
    changed: bool,
}

impl Change<'_> {
    /// Whether what it needs is there.
    fn may(&self, op: &TxnOp) -> bool {
        let TxnOp::Put(put) = op else { return true };
        let keeps = put.ignore_value || put.ignore_lease;
        (!keeps || self.before.contains_key(put.key.as_bytes().as_ref()))
            && (!put.lease.is_some() || self.leases.contains_key(&put.lease))
    }

    fn put(&mut self, put: &Put) -> Expected {
        let before = self.keys.get(put.key.as_bytes().as_ref());
        let kept = |keeps: bool| before.filter(|_| keeps);
        let value = Value {
            bytes: kept(put.ignore_value).map_or(put.value.to_vec(), |before| before.bytes.clone()),
            created: before.map_or(self.revision, |before| before.created),
            modified: self.revision,
            version: before.map_or(1, |before| before.version + 1),
            lease: kept(put.ignore_lease).map_or(put.lease, |before| before.lease),
        };
        self.keys.insert(put.key.as_bytes().to_vec(), value);
        self.changed = true;
        Expected::Put
    }

    fn delete(&mut self, goes: impl Fn(&[u8], &Value) -> bool) -> u64 {
        let before = self.keys.len();
        self.keys.retain(|key, value| !goes(key, value));
        let deleted = (before - self.keys.len()) as u64;
        self.changed |= deleted > 0;
        deleted
    }

    fn txn(&mut self, txn: &Txn) -> Expected {
        let holds = txn.compare.iter().all(|compare| {
            let found = compare.range.as_single().and_then(|key| self.before.get(key.as_ref()));
            let equal = match &compare.target {
                CompareTarget::Mod(wanted) => {
                    found.map_or(0, |value| value.modified) == u64::try_from(*wanted).unwrap_or(u64::MAX)
                }
                target => unreachable!("the clients do not compare {target:?}"),
            };
            match compare.result {
                CompareResult::Equal => equal,
                result => unreachable!("the clients do not compare by {result:?}"),
            }
        });
        let ops = if holds { &txn.success } else { &txn.failure };
        if !ops.iter().all(|op| self.may(op)) {
            return Expected::Refused;
        }
        for op in ops {
            match op {
                TxnOp::Put(put) => drop(self.put(put)),
                TxnOp::Delete(delete) => drop(self.delete(|key, _| delete.range.contains(key))),
                TxnOp::Range(_) => {}
                TxnOp::Txn(_) => unreachable!("the clients do not nest transactions"),
            }
        }
        Expected::Txn(holds)
    }
}

impl Value {
    /// Whether a pair that was read is this one.
    pub(crate) fn is(&self, pair: &KeyValue) -> bool {
        let told = (pair.create_revision.0, pair.mod_revision.0, pair.version);
        self.bytes == pair.value.as_ref()
            && (self.created, self.modified, self.version) == told
            && self.lease == pair.lease
    }
}
