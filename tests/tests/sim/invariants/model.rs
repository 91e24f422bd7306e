//! The v3 keyspace as simple as it can be: a sorted map for each revision. It shares no code with `mvcc`.

use std::collections::BTreeMap;
use std::rc::Rc;

use command::Command;
use types::{CompareResult, CompareTarget, KeyRange, KeyValue, Txn, TxnOp};

/// A key's value and history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    bytes: Vec<u8>,
    created: u64,
    modified: u64,
    version: u64,
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
    /// Not the business of this keyspace.
    Other,
}

/// The keyspace.
pub(crate) struct Model {
    states: Vec<Rc<Keys>>,
    compacted: u64,
}

impl Model {
    /// Nothing, at revision 1.
    pub(crate) fn new() -> Self {
        let nothing: Rc<Keys> = Rc::default();
        Self { states: vec![Rc::clone(&nothing), nothing], compacted: 0 }
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

    /// Applies a command.
    pub(crate) fn apply(&mut self, command: &Command) -> Expected {
        let before = Rc::clone(&self.states[self.revision() as usize]);
        let mut change = Change { keys: (*before).clone(), revision: self.revision() + 1, changed: false };
        let expected = match command {
            Command::Put(put) => {
                change.put(put.key.as_bytes(), &put.value);
                Expected::Put
            }
            Command::DeleteRange(delete) => Expected::Deleted(change.delete(&delete.range)),
            Command::Txn(txn) => Expected::Txn(change.txn(&before, txn)),
            Command::Compact(revision) => {
                let revision = u64::try_from(*revision).unwrap_or_default();
                let accepted = revision > self.compacted && revision <= self.revision();
                if accepted {
                    self.compacted = revision;
                }
                Expected::Compact(accepted)
            }
            _ => Expected::Other,
        };
        if change.changed {
            self.states.push(Rc::new(change.keys));
        }
        expected
    }
}

struct Change {
    keys: Keys,
    revision: u64,
    changed: bool,
}

impl Change {
    fn put(&mut self, key: &[u8], bytes: &[u8]) {
        let before = self.keys.get(key);
        let value = Value {
            bytes: bytes.to_vec(),
            created: before.map_or(self.revision, |before| before.created),
            modified: self.revision,
            version: before.map_or(1, |before| before.version + 1),
        };
        self.keys.insert(key.to_vec(), value);
        self.changed = true;
    }

    fn delete(&mut self, range: &KeyRange) -> u64 {
        let before = self.keys.len();
        self.keys.retain(|key, _| !range.contains(key));
        let deleted = (before - self.keys.len()) as u64;
        self.changed |= deleted > 0;
        deleted
    }

    fn txn(&mut self, before: &Keys, txn: &Txn) -> bool {
        let holds = txn.compare.iter().all(|compare| {
            let found = compare.range.as_single().and_then(|key| before.get(key.as_ref()));
            let equal = match &compare.target {
                CompareTarget::Mod(wanted) => {
                    found.map_or(0, |value| value.modified) == u64::try_from(*wanted).unwrap_or(u64::MAX)
                }
                CompareTarget::Value(wanted) => found.is_some_and(|value| value.bytes == wanted.as_ref()),
                target => unreachable!("the clients do not compare {target:?}"),
            };
            match compare.result {
                CompareResult::Equal => equal,
                result => unreachable!("the clients do not compare by {result:?}"),
            }
        });
        for op in if holds { &txn.success } else { &txn.failure } {
            match op {
                TxnOp::Put(put) => self.put(put.key.as_bytes(), &put.value),
                TxnOp::Delete(delete) => drop(self.delete(&delete.range)),
                TxnOp::Range(_) => {}
                TxnOp::Txn(txn) => drop(self.txn(before, txn)),
            }
        }
        holds
    }
}

impl Value {
    /// Whether a pair that was read is this one.
    pub(crate) fn is(&self, pair: &KeyValue) -> bool {
        let told = (pair.create_revision.0, pair.mod_revision.0, pair.version);
        self.bytes == pair.value.as_ref() && (self.created, self.modified, self.version) == told
    }
}
