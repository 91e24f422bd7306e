//! The rule that no branch of a transaction writes a key twice: two puts of one key, or a put inside a
//! range that the branch deletes. The branches of a nested transaction count for the branch that holds it;
//! among themselves they exclude each other and may put the same key.
//!
//! As in etcd, a delete "to the last key" (and one whose end is not above its start) hides no put: its end
//! is compared as the bytes that it is. What such a transaction does is well-defined, since its operations
//! run in order.
//!
//! It never compares each with each: a request of a million operations costs their sorting and no more.

use std::collections::{BTreeMap, HashSet};

use api::Fault;
use types::{KeyRange, RangeEnd, Txn, TxnOp};

/// What a branch writes.
#[derive(Default)]
struct Writes<'a> {
    puts: HashSet<&'a [u8]>,
    single_deletes: HashSet<&'a [u8]>,
    /// Ends by starts; they neither overlap nor touch, once merged.
    range_deletes: BTreeMap<&'a [u8], &'a [u8]>,
}

/// Refuses a transaction that writes a key twice.
pub(crate) fn check(txn: &Txn) -> Result<(), Fault> {
    writes(&txn.success)?;
    writes(&txn.failure)?;
    Ok(())
}

fn writes(ops: &[TxnOp]) -> Result<Writes<'_>, Fault> {
    let mut all = Writes::default();
    for op in ops {
        if let TxnOp::Delete(delete) = op {
            all.delete(&delete.range);
        }
    }
    for op in ops {
        if let TxnOp::Txn(txn) = op {
            all.take_in(writes(&txn.success)?, writes(&txn.failure)?)?;
        }
    }
    for op in ops {
        if let TxnOp::Put(put) = op {
            all.put(put.key.as_ref())?;
        }
    }
    Ok(all)
}

impl<'a> Writes<'a> {
    fn delete(&mut self, range: &'a KeyRange) {
        match &range.end {
            RangeEnd::Single => drop(self.single_deletes.insert(&range.start)),
            RangeEnd::Before(end) if end > &range.start => self.delete_between(&range.start, end),
            RangeEnd::Before(_) | RangeEnd::Unbounded => {}
        }
    }

    /// Adds an interval and merges it with those that it overlaps or touches, each of which goes for good.
    fn delete_between(&mut self, start: &'a [u8], end: &'a [u8]) {
        let (mut start, mut end) = (start, end);
        while let Some((&other_start, &other_end)) = self.range_deletes.range(..=end).next_back() {
            if other_end < start {
                break;
            }
            start = start.min(other_start);
            end = end.max(other_end);
            self.range_deletes.remove(other_start);
        }
        self.range_deletes.insert(start, end);
    }

    fn deletes(&self, key: &[u8]) -> bool {
        self.single_deletes.contains(key)
            || self.range_deletes.range(..=key).next_back().is_some_and(|(_, &end)| key < end)
    }

    fn put(&mut self, key: &'a [u8]) -> Result<(), Fault> {
        if self.deletes(key) || !self.puts.insert(key) { Err(Fault::DuplicateKey) } else { Ok(()) }
    }

    /// Takes in what the two branches of a nested transaction write.
    fn take_in(&mut self, then: Self, otherwise: Self) -> Result<(), Fault> {
        for &key in &then.puts {
            self.put(key)?;
        }
        for key in otherwise.puts {
            if self.deletes(key) || (!self.puts.insert(key) && !then.puts.contains(key)) {
                return Err(Fault::DuplicateKey);
            }
        }
        for deletes in [then.single_deletes, otherwise.single_deletes] {
            self.single_deletes.extend(deletes);
        }
        for (start, end) in then.range_deletes.into_iter().chain(otherwise.range_deletes) {
            self.delete_between(start, end);
        }
        Ok(())
    }
}
