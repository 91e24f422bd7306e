//! What a range query selects: count, filters, order, limit, in etcd's sense.
//!
//! It works on any [`Source`]: what is published, or what a writer sees. Values are read last, and only those that
//! are answered (a sort by value excepted).

use std::cmp::Ordering;
use std::ops::ControlFlow;

use bytes::{Bytes, BytesMut};
use store::Direction;
use types::{KeyRange, KeyValue, LeaseId, RangeQuery, RangeReply, Revision, SortOrder, SortTarget};

use crate::ReadError;
use crate::row::Meta;

/// Keys that are listed before their values are fetched, while a range is answered in the order of keys.
const PAGE_KEYS_MAX: usize = 1024;
/// The least and the most that one allocation for the values of a range holds, where values are small.
const ARENA_BYTES: (usize, usize) = (1 << 10, 64 << 10);

/// A key that is visited: its name, its version, and its value where the source has it at hand.
pub(crate) type Visit<'a> = dyn FnMut(&[u8], Meta, Option<&[u8]>) -> ControlFlow<()> + 'a;

/// Something that holds keys, each in one version.
pub(crate) trait Source {
    /// How many keys are in a range.
    fn count(&self, range: &KeyRange) -> Result<u64, ReadError>;
    /// Visits the keys of a range in order.
    fn visit(&self, range: &KeyRange, direction: Direction, visit: &mut Visit<'_>) -> Result<(), ReadError>;
    /// Fetches the values that entries lack. The entries are in the order of keys.
    fn fetch(&self, entries: &mut [&mut Entry]) -> Result<(), ReadError>;
}

/// A key on its way into an answer.
pub(crate) struct Entry {
    pub(crate) key: Bytes,
    pub(crate) meta: Meta,
    /// `None` until it is fetched.
    pub(crate) value: Option<Bytes>,
}

impl Entry {
    pub(crate) fn into_kv(self) -> KeyValue {
        KeyValue {
            key: self.key,
            value: self.value.unwrap_or_default(),
            create_revision: Revision(self.meta.create),
            mod_revision: self.meta.modified.revision(),
            version: self.meta.version,
            lease: LeaseId(self.meta.lease),
        }
    }
}

/// Many small pieces in few allocations. A large piece gets one of its own.
pub(crate) struct Arena {
    room: BytesMut,
    next_bytes: usize,
}

impl Arena {
    pub(crate) fn new() -> Self {
        Self { room: BytesMut::new(), next_bytes: ARENA_BYTES.0 }
    }

    pub(crate) fn store(&mut self, piece: &[u8]) -> Bytes {
        if piece.is_empty() {
            return Bytes::new();
        }
        if piece.len() > self.room.capacity() {
            if piece.len() * 4 > self.next_bytes {
                self.next_bytes = (self.next_bytes * 2).min(ARENA_BYTES.1);
                return Bytes::copy_from_slice(piece);
            }
            self.room = BytesMut::with_capacity(self.next_bytes);
            self.next_bytes = (self.next_bytes * 2).min(ARENA_BYTES.1);
        }
        self.room.extend_from_slice(piece);
        self.room.split().freeze()
    }
}

/// Answers a query on what a source holds.
pub(crate) fn range(source: &dyn Source, query: &RangeQuery) -> Result<RangeReply, ReadError> {
    if query.range.is_empty() {
        return Ok(RangeReply::default());
    }
    if query.count_only {
        return Ok(RangeReply { kvs: Vec::new(), more: false, count: source.count(&query.range)? });
    }
    if query.target == SortTarget::Key && query.order != SortOrder::Descend && !is_filtered(query) {
        in_key_order(source, query)
    } else {
        sorted(source, query)
    }
}

/// All pairs of a range in the order of keys, with or without values.
pub(crate) fn entries(source: &dyn Source, range: &KeyRange, values: bool) -> Result<Vec<Entry>, ReadError> {
    let mut listing = Listing::new(values);
    source.visit(range, Direction::Forward, &mut |key, meta, value| {
        listing.push(key, meta, value);
        ControlFlow::Continue(())
    })?;
    let mut entries = listing.entries;
    if values {
        fetch(source, &mut entries)?;
    }
    Ok(entries)
}

/// Whether the query's bounds let a version through.
pub(crate) fn admits(query: &RangeQuery, meta: &Meta) -> bool {
    query.mod_bounds.admit(meta.modified.revision()) && query.create_bounds.admit(Revision(meta.create))
}

fn is_filtered(query: &RangeQuery) -> bool {
    query.mod_bounds.is_bounded() || query.create_bounds.is_bounded()
}

/// Keys, and values where wanted and at hand, copied out.
struct Listing {
    entries: Vec<Entry>,
    arena: Arena,
    values: bool,
}

impl Listing {
    fn new(values: bool) -> Self {
        Self { entries: Vec::new(), arena: Arena::new(), values }
    }

    fn push(&mut self, key: &[u8], meta: Meta, value: Option<&[u8]>) {
        let key = self.arena.store(key);
        let value = if self.values { value.map(|value| self.arena.store(value)) } else { None };
        self.entries.push(Entry { key, meta, value });
    }

    /// Drops all but the first entries of an order.
    fn keep_first(&mut self, count: usize, order: impl Fn(&Entry, &Entry) -> Ordering) {
        self.entries.sort_by(order);
        self.entries.truncate(count);
        // What is kept would hold on to the allocations that it shares with what is dropped.
        for entry in &mut self.entries {
            entry.key = Bytes::copy_from_slice(&entry.key);
            entry.value = entry.value.as_deref().map(Bytes::copy_from_slice);
        }
    }
}

/// Page after page, so that a range of any size keeps little but its answer in memory.
fn in_key_order(source: &dyn Source, query: &RangeQuery) -> Result<RangeReply, ReadError> {
    let limit =
        if query.limit == 0 { usize::MAX } else { usize::try_from(query.limit).unwrap_or(usize::MAX) };
    let count = if query.limit == 0 { None } else { Some(source.count(&query.range)?) };
    let mut kvs: Vec<KeyValue> =
        Vec::with_capacity(count.unwrap_or_default().min(limit.min(PAGE_KEYS_MAX) as u64) as usize);
    let mut rest = query.range.clone();
    loop {
        let page_max = PAGE_KEYS_MAX.min(limit - kvs.len());
        let mut listing = Listing::new(!query.keys_only);
        source.visit(&rest, Direction::Forward, &mut |key, meta, value| {
            listing.push(key, meta, value);
            if listing.entries.len() < page_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        let mut entries = listing.entries;
        let is_last = entries.len() < page_max || entries.len() == limit - kvs.len();
        if !query.keys_only {
            fetch(source, &mut entries)?;
        }
        kvs.extend(entries.into_iter().map(Entry::into_kv));
        match kvs.last() {
            Some(last) if !is_last && query.range.as_single().is_none() => rest.start = after(&last.key),
            _ => break,
        }
    }
    let count = count.unwrap_or(kvs.len() as u64);
    Ok(RangeReply { more: query.limit > 0 && count > query.limit, kvs, count })
}

/// Everything that the filters let through, then order, then the limit.
fn sorted(source: &dyn Source, query: &RangeQuery) -> Result<RangeReply, ReadError> {
    let limit =
        if query.limit == 0 { usize::MAX } else { usize::try_from(query.limit).unwrap_or(usize::MAX) };
    let by_key = query.target == SortTarget::Key;
    let by_value = query.target == SortTarget::Value;
    let direction =
        if by_key && query.order == SortOrder::Descend { Direction::Backward } else { Direction::Forward };
    // One more than the limit says whether there is more; where the order is another than that of keys, every
    // key must be looked at, though not kept. Values are not known yet when the keys are.
    let enough = limit.saturating_add(1);
    let room = if by_value { usize::MAX } else { enough.max(PAGE_KEYS_MAX).saturating_mul(2) };
    let mut listing = Listing::new(by_value);
    source.visit(&query.range, direction, &mut |key, meta, value| {
        if admits(query, &meta) {
            listing.push(key, meta, value);
        }
        if by_key && listing.entries.len() >= enough {
            return ControlFlow::Break(());
        }
        if listing.entries.len() >= room {
            listing.keep_first(enough, |left, right| compare(query, left, right));
        }
        ControlFlow::Continue(())
    })?;
    let mut entries = listing.entries;
    if by_value {
        fetch(source, &mut entries)?;
    }
    if !by_key {
        entries.sort_by(|left, right| compare(query, left, right));
    }
    let more = entries.len() > limit;
    entries.truncate(limit);
    if !query.keys_only {
        fetch(source, &mut entries)?;
    }
    let mut kvs: Vec<KeyValue> = entries.into_iter().map(Entry::into_kv).collect();
    if query.keys_only {
        for kv in &mut kvs {
            kv.value = Bytes::new();
        }
    }
    Ok(RangeReply { kvs, more, count: source.count(&query.range)? })
}

/// Equal entries stay in the order of keys, since the sort is stable.
fn compare(query: &RangeQuery, left: &Entry, right: &Entry) -> Ordering {
    let ascending = match query.target {
        SortTarget::Key => left.key.cmp(&right.key),
        SortTarget::Version => left.meta.version.cmp(&right.meta.version),
        SortTarget::Create => left.meta.create.cmp(&right.meta.create),
        SortTarget::Mod => left.meta.modified.main.cmp(&right.meta.modified.main),
        SortTarget::Value => left.value.cmp(&right.value),
    };
    if query.order == SortOrder::Descend { ascending.reverse() } else { ascending }
}

/// Fetches what is missing, in the order of keys whatever the order of the entries is.
fn fetch(source: &dyn Source, entries: &mut [Entry]) -> Result<(), ReadError> {
    let mut missing: Vec<&mut Entry> = entries.iter_mut().filter(|entry| entry.value.is_none()).collect();
    if !missing.is_sorted_by(|left, right| left.key < right.key) {
        missing.sort_by(|left, right| left.key.cmp(&right.key));
    }
    if missing.is_empty() { Ok(()) } else { source.fetch(&mut missing) }
}

/// The first possible key after `key`.
fn after(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}
