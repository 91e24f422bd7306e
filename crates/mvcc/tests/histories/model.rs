//! The keyspace as simply as it can be said: a list of all changes ever made, read from its start each time.

use std::collections::BTreeMap;

use bytes::Bytes;
use mvcc::Refusal;
use types::{
    Compare, CompareResult, CompareTarget, DeleteRange, DeleteReply, KeyRange, KeyValue, OpReply, Put,
    PutReply, RangeQuery, RangeReply, Revision, SortOrder, SortTarget, Txn, TxnOp, TxnReply, TxnResponse,
};

/// A write, as a log would hold it.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Put(Put),
    Delete(DeleteRange),
    Txn(Txn),
    Compact(i64),
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Put(PutReply),
    Delete(DeleteReply),
    Txn(TxnReply),
    Compact,
}

#[derive(Clone, Debug)]
struct Change {
    revision: u64,
    key: Bytes,
    /// `None`: deleted.
    after: Option<KeyValue>,
}

type State = BTreeMap<Bytes, KeyValue>;

#[derive(Clone, Debug)]
pub(crate) struct Model {
    changes: Vec<Change>,
    pub(crate) revision: u64,
    compacted: Option<u64>,
}

impl Model {
    pub(crate) fn new() -> Self {
        Self { changes: Vec::new(), revision: 1, compacted: None }
    }

    pub(crate) fn compacted(&self) -> u64 {
        self.compacted.unwrap_or(0)
    }

    pub(crate) fn apply(&mut self, request: &Request) -> Result<Reply, Refusal> {
        let before = self.clone();
        let reply = self.try_apply(request);
        match reply {
            Err(_) => *self = before,
            Ok(_) if self.changes.len() > before.changes.len() => self.revision += 1,
            Ok(_) => {}
        }
        reply
    }

    pub(crate) fn range(&self, query: &RangeQuery) -> Result<RangeReply, Refusal> {
        self.admit(query.at)?;
        let state = self.state(query.at.map_or(u64::MAX, |at| at.0));
        let all: Vec<KeyValue> = state.into_values().filter(|kv| query.range.contains(&kv.key)).collect();
        let count = all.len() as u64;
        if query.count_only {
            return Ok(RangeReply { kvs: Vec::new(), more: false, count });
        }
        let within = |bounds: &types::RevisionBounds, revision: Revision| {
            bounds.min.is_none_or(|min| min <= revision) && bounds.max.is_none_or(|max| revision <= max)
        };
        let mut kvs: Vec<KeyValue> = all
            .into_iter()
            .filter(|kv| {
                within(&query.mod_bounds, kv.mod_revision) && within(&query.create_bounds, kv.create_revision)
            })
            .collect();
        let sign = |order: std::cmp::Ordering| {
            if query.order == SortOrder::Descend { order.reverse() } else { order }
        };
        match query.target {
            SortTarget::Key => kvs.sort_by(|a, b| sign(a.key.cmp(&b.key))),
            SortTarget::Version => kvs.sort_by(|a, b| sign(a.version.cmp(&b.version))),
            SortTarget::Create => kvs.sort_by(|a, b| sign(a.create_revision.cmp(&b.create_revision))),
            SortTarget::Mod => kvs.sort_by(|a, b| sign(a.mod_revision.cmp(&b.mod_revision))),
            SortTarget::Value => kvs.sort_by(|a, b| sign(a.value.cmp(&b.value))),
        }
        let more = query.limit > 0 && kvs.len() as u64 > query.limit;
        if more {
            kvs.truncate(query.limit as usize);
        }
        if query.keys_only {
            for kv in &mut kvs {
                kv.value = Bytes::new();
            }
        }
        Ok(RangeReply { kvs, more, count })
    }

    /// A transaction of ranges.
    pub(crate) fn read_txn(&self, txn: &Txn) -> Result<TxnReply, Refusal> {
        self.clone().txn(txn)
    }

    fn state(&self, until: u64) -> State {
        let mut state = State::new();
        for change in self.changes.iter().filter(|change| change.revision <= until) {
            match &change.after {
                Some(kv) => drop(state.insert(change.key.clone(), kv.clone())),
                None => drop(state.remove(&change.key)),
            }
        }
        state
    }

    fn admit(&self, at: Option<Revision>) -> Result<(), Refusal> {
        match at {
            Some(at) if at.0 > self.revision => Err(Refusal::FutureRevision),
            Some(at) if at.0 < self.compacted() => Err(Refusal::Compacted),
            _ => Ok(()),
        }
    }

    fn try_apply(&mut self, request: &Request) -> Result<Reply, Refusal> {
        match request {
            Request::Put(put) => self.put(put).map(Reply::Put),
            Request::Delete(delete) => Ok(Reply::Delete(self.delete(delete))),
            Request::Txn(txn) => self.txn(txn).map(Reply::Txn),
            Request::Compact(revision) => self.compact(*revision).map(|()| Reply::Compact),
        }
    }

    fn put(&mut self, put: &Put) -> Result<PutReply, Refusal> {
        let key = put.key.as_bytes().clone();
        let before = self.state(u64::MAX).remove(&key);
        if before.is_none() && (put.ignore_value || put.ignore_lease) {
            return Err(Refusal::KeyNotFound);
        }
        let revision = Revision(self.revision + 1);
        let mut after = KeyValue {
            key: key.clone(),
            value: put.value.clone(),
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            lease: put.lease,
        };
        if let Some(before) = &before {
            after.create_revision = before.create_revision;
            after.version = before.version + 1;
            if put.ignore_value {
                after.value = before.value.clone();
            }
            if put.ignore_lease {
                after.lease = before.lease;
            }
        }
        self.changes.push(Change { revision: revision.0, key, after: Some(after) });
        Ok(PutReply { prev_kv: before.filter(|_| put.prev_kv) })
    }

    fn delete(&mut self, delete: &DeleteRange) -> DeleteReply {
        let state = self.state(u64::MAX);
        let gone: Vec<KeyValue> = state.into_values().filter(|kv| delete.range.contains(&kv.key)).collect();
        for kv in &gone {
            self.changes.push(Change { revision: self.revision + 1, key: kv.key.clone(), after: None });
        }
        DeleteReply { deleted: gone.len() as u64, prev_kvs: if delete.prev_kv { gone } else { Vec::new() } }
    }

    fn compact(&mut self, revision: i64) -> Result<(), Refusal> {
        if revision < 0 || self.compacted.is_some_and(|compacted| revision as u64 <= compacted) {
            return Err(Refusal::Compacted);
        }
        if revision as u64 > self.revision {
            return Err(Refusal::FutureRevision);
        }
        self.compacted = Some(revision as u64);
        Ok(())
    }

    fn txn(&mut self, txn: &Txn) -> Result<TxnReply, Refusal> {
        let before = self.clone();
        let state = before.state(u64::MAX);
        let changes = self.changes.len();
        before.check(txn, &state, true)?;
        before.check(txn, &state, false)?;
        self.run(txn, &state, changes)
    }

    /// Puts are checked before ranges.
    fn check(&self, txn: &Txn, state: &State, puts: bool) -> Result<(), Refusal> {
        for op in branch(txn, state) {
            match op {
                TxnOp::Put(put)
                    if puts
                        && (put.ignore_value || put.ignore_lease)
                        && !state.contains_key(put.key.as_bytes()) =>
                {
                    return Err(Refusal::KeyNotFound);
                }
                TxnOp::Range(query) if !puts => self.admit(query.at)?,
                TxnOp::Txn(nested) => self.check(nested, state, puts)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn run(&mut self, txn: &Txn, state: &State, changes: usize) -> Result<TxnReply, Refusal> {
        let mut responses = Vec::new();
        for op in branch(txn, state) {
            let reply = match op {
                TxnOp::Range(query) => OpReply::Range(self.range(query)?),
                TxnOp::Put(put) => OpReply::Put(self.put(put)?),
                TxnOp::Delete(delete) => OpReply::Delete(self.delete(delete)),
                TxnOp::Txn(nested) => OpReply::Txn(self.run(nested, state, changes)?),
            };
            let revision = match reply {
                OpReply::Txn(_) => 0,
                _ => self.revision + u64::from(self.changes.len() > changes),
            };
            responses.push(TxnResponse { revision: Revision(revision), reply });
        }
        Ok(TxnReply { succeeded: holds(txn, state), responses })
    }
}

fn branch<'t>(txn: &'t Txn, state: &State) -> &'t [TxnOp] {
    if holds(txn, state) { &txn.success } else { &txn.failure }
}

fn holds(txn: &Txn, state: &State) -> bool {
    txn.compare.iter().all(|compare| {
        let found: Vec<&KeyValue> = state.values().filter(|kv| compare.range.contains(&kv.key)).collect();
        if found.is_empty() {
            !matches!(compare.target, CompareTarget::Value(_)) && relates(compare, &nothing())
        } else {
            found.iter().all(|kv| relates(compare, kv))
        }
    })
}

fn relates(compare: &Compare, kv: &KeyValue) -> bool {
    let order = match &compare.target {
        CompareTarget::Version(given) => (kv.version as i64).cmp(given),
        CompareTarget::Create(given) => (kv.create_revision.0 as i64).cmp(given),
        CompareTarget::Mod(given) => (kv.mod_revision.0 as i64).cmp(given),
        CompareTarget::Value(given) => kv.value.cmp(given),
        CompareTarget::Lease(given) => kv.lease.0.cmp(given),
    };
    match compare.result {
        CompareResult::Equal => order.is_eq(),
        CompareResult::Greater => order.is_gt(),
        CompareResult::Less => order.is_lt(),
        CompareResult::NotEqual => order.is_ne(),
    }
}

fn nothing() -> KeyValue {
    KeyValue {
        key: KeyRange::all().start,
        value: Bytes::new(),
        create_revision: Revision(0),
        mod_revision: Revision(0),
        version: 0,
        lease: types::LeaseId::NONE,
    }
}
