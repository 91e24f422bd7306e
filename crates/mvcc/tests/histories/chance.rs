//! Requests by chance, the same ones for the same seed.

use bytes::Bytes;
use types::{
    Compare, CompareResult, CompareTarget, DeleteRange, Key, KeyRange, LeaseId, Put, RangeEnd, RangeQuery,
    Revision, RevisionBounds, SortOrder, SortTarget, Txn, TxnOp,
};

use crate::model::Request;

/// Few keys, so that they meet often; with zero bytes, prefixes of each other and the greatest byte.
const KEYS: [&[u8]; 9] = [b"\0", b"\0\0", b"a", b"a\0", b"a\0\xff", b"a\x01", b"ab", b"b", b"\xff\xff"];
const VALUES: [&[u8]; 4] = [b"", b"1", b"2", b"a longer value, so that the sizes differ"];

/// splitmix64.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % end
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    fn key(&mut self) -> Bytes {
        Bytes::from_static(self.pick(&KEYS))
    }

    pub(crate) fn range(&mut self) -> KeyRange {
        let end = match self.below(10) {
            0..4 => RangeEnd::Single,
            4..8 => RangeEnd::Before(self.key()),
            _ => RangeEnd::Unbounded,
        };
        KeyRange { start: self.key(), end }
    }

    fn revision(&mut self, now: u64) -> Revision {
        Revision(self.below(now + 2))
    }

    fn bounds(&mut self, now: u64) -> RevisionBounds {
        let mut bound = || self.one_in(5).then(|| self.revision(now));
        RevisionBounds { min: bound(), max: bound() }
    }

    pub(crate) fn query(&mut self, now: u64) -> RangeQuery {
        let mut query = RangeQuery::of(self.range());
        query.limit = if self.one_in(2) { self.below(5) } else { 0 };
        query.at = self.one_in(2).then(|| self.revision(now)).filter(|at| at.0 > 0);
        query.order = self.pick(&[SortOrder::None, SortOrder::None, SortOrder::Ascend, SortOrder::Descend]);
        query.target = self.pick(&[
            SortTarget::Key,
            SortTarget::Key,
            SortTarget::Key,
            SortTarget::Version,
            SortTarget::Create,
            SortTarget::Mod,
            SortTarget::Value,
        ]);
        query.keys_only = self.one_in(4);
        query.count_only = self.one_in(8);
        if self.one_in(3) {
            query.mod_bounds = self.bounds(now);
            query.create_bounds = self.bounds(now);
        }
        query
    }

    fn put(&mut self) -> Put {
        Put {
            key: Key::new(self.key()).expect("no key above is empty"),
            value: Bytes::from_static(self.pick(&VALUES)),
            lease: LeaseId(if self.one_in(4) { self.below(3) as i64 } else { 0 }),
            prev_kv: self.one_in(2),
            ignore_value: self.one_in(8),
            ignore_lease: self.one_in(8),
        }
    }

    fn delete(&mut self) -> DeleteRange {
        DeleteRange { range: self.range(), prev_kv: self.one_in(2) }
    }

    fn compare(&mut self, now: u64) -> Compare {
        let number = self.below(now + 2) as i64 - 1;
        let target = match self.below(5) {
            0 => CompareTarget::Version(number.min(3)),
            1 => CompareTarget::Create(number),
            2 => CompareTarget::Mod(number),
            3 => CompareTarget::Value(Bytes::from_static(self.pick(&VALUES))),
            _ => CompareTarget::Lease(number.min(2)),
        };
        let result = self.pick(&[
            CompareResult::Equal,
            CompareResult::Greater,
            CompareResult::Less,
            CompareResult::NotEqual,
        ]);
        Compare { range: self.range(), result, target }
    }

    fn compares(&mut self, now: u64) -> Vec<Compare> {
        (0..self.below(3)).map(|_| self.compare(now)).collect()
    }

    /// Duplicate keys are refused at the door; here they may come, and must still be all or nothing.
    pub(crate) fn txn(&mut self, now: u64, depth: u32) -> Txn {
        let compare = self.compares(now);
        let mut branch = || -> Vec<TxnOp> { (0..self.below(4)).map(|_| self.op(now, depth)).collect() };
        Txn { compare, success: branch(), failure: branch() }
    }

    pub(crate) fn read_txn(&mut self, now: u64) -> Txn {
        let compare = self.compares(now);
        let mut branch = || (0..self.below(3)).map(|_| TxnOp::Range(self.query(now))).collect();
        Txn { compare, success: branch(), failure: branch() }
    }

    fn op(&mut self, now: u64, depth: u32) -> TxnOp {
        match self.below(8) {
            0 | 1 => TxnOp::Range(self.query(now)),
            2 if depth > 0 => TxnOp::Txn(self.txn(now, depth - 1)),
            2..4 => TxnOp::Delete(self.delete()),
            _ => TxnOp::Put(self.put()),
        }
    }

    pub(crate) fn request(&mut self, now: u64) -> Request {
        match self.below(16) {
            0..7 => Request::Put(self.put()),
            7..10 => Request::Delete(self.delete()),
            10..15 => Request::Txn(self.txn(now, 2)),
            _ => Request::Compact(self.below(now + 3) as i64 - 1),
        }
    }
}
