//! Reading the rows: exact ones, the state at an old revision, what changed between two.
//!
//! No function here walks through more than [`STEPS_MAX`] rows that nobody asked for before it jumps: the length
//! of a key's history does not show in the cost of a read.

use std::ops::ControlFlow;

use bytes::Bytes;
use store::{Cursor, Direction, Family, Moment, Span, Store};
use types::{KeyRange, RangeEnd, RangeQuery, RangeReply, Revision};

use crate::row::{self, Event, Kind, Meta, Position, Record};
use crate::select::{self, Arena, Entry, Visit};
use crate::{Damage, ReadError};

/// Rows that a cursor steps over before it jumps. A step costs a tenth of a jump.
const STEPS_MAX: usize = 4;
/// Rows that a sweep took away and that RocksDB has not dropped yet: a cursor steps over so many in one go before
/// it jumps. All dead rows of a key are older than its living ones, so none of these is jumped over.
const DEAD_MAX: u64 = 16;
/// The least and the most rows that are looked up one by one before a cursor is tried again.
const LOOKUPS: (usize, usize) = (8, 256);

/// Answers a query for one key whose current version is known. `None`: the row is not there (any more).
pub(crate) fn single(
    store: &Store,
    key: &[u8],
    meta: Option<Meta>,
    query: &RangeQuery,
) -> Result<Option<RangeReply>, ReadError> {
    let Some(meta) = meta else { return Ok(Some(RangeReply::default())) };
    let mut reply = RangeReply { kvs: Vec::new(), more: false, count: 1 };
    if query.count_only || !select::admits(query, &meta) {
        return Ok(Some(reply));
    }
    let key = Bytes::copy_from_slice(key);
    let value = if query.keys_only {
        Some(Bytes::new())
    } else {
        let mut row_key = Vec::with_capacity(key.len() + 16);
        row::row_key(&key, meta.modified, &mut row_key);
        let Some(record) = store.get(Family::Keys, &row_key)? else { return Ok(None) };
        Some(Bytes::copy_from_slice(Record::decode(&row_key, &record)?.value))
    };
    reply.kvs.push(Entry { key, meta, value }.into_kv());
    Ok(Some(reply))
}

/// Fetches the values of entries, which are in the order of keys and whose rows must be there.
///
/// Where keys have short histories a cursor gets from one row to the next in a step. Where it does not, because old
/// or dead versions lie between them, looking up each row costs less than seeking.
pub(crate) fn fetch(moment: &Moment<'_>, entries: &mut [&mut Entry]) -> Result<(), ReadError> {
    let mut rest = entries;
    let mut lookups = LOOKUPS.0;
    let mut arena = Arena::new();
    let mut cursor = None;
    if let [first, _, .., last] = &*rest {
        let mut span = Span { lower: Some(Vec::new()), upper: Some(Vec::new()) };
        if let (Some(lower), Some(upper)) = (&mut span.lower, &mut span.upper) {
            row::row_key(&first.key, first.meta.modified, lower);
            row::row_key(&last.key, Position::default(), upper);
        }
        cursor = Some(moment.scan_within(Family::Keys, &span, Direction::Forward, DEAD_MAX));
    }
    while !rest.is_empty() {
        if let Some(cursor) = &mut cursor {
            let stepped = step_through(cursor, rest, &mut arena)?;
            rest = rest.get_mut(stepped..).unwrap_or_default();
            lookups = if stepped > LOOKUPS.0 { LOOKUPS.0 } else { LOOKUPS.1.min(lookups * 2) };
        }
        let (now, later) = rest.split_at_mut(lookups.min(rest.len()));
        look_up(moment, now, &mut arena)?;
        rest = later;
    }
    Ok(())
}

/// Fetches the first entries with a cursor, as long as it gets there by steps; answers how many these were.
fn step_through(
    cursor: &mut Cursor<'_>,
    entries: &mut [&mut Entry],
    arena: &mut Arena,
) -> Result<usize, ReadError> {
    let mut wanted = Vec::new();
    for (at, entry) in entries.iter_mut().enumerate() {
        row::row_key(&entry.key, entry.meta.modified, &mut wanted);
        if at == 0 && cursor.key() != Some(&wanted) {
            cursor.seek(&wanted);
        }
        if !step_to(cursor, &wanted) {
            if !cursor.gave_up() {
                cursor.finish()?;
            }
            return Ok(at);
        }
        let Some((row_key, record)) = cursor.row() else { return Ok(at) };
        entry.value = Some(arena.store(Record::decode(row_key, record)?.value));
    }
    Ok(entries.len())
}

/// Fetches entries without a cursor.
fn look_up(moment: &Moment<'_>, entries: &mut [&mut Entry], arena: &mut Arena) -> Result<(), ReadError> {
    let wanted = entries.iter().map(|entry| {
        let mut wanted = Vec::with_capacity(entry.key.len() + 16);
        row::row_key(&entry.key, entry.meta.modified, &mut wanted);
        wanted
    });
    let wanted: Vec<Vec<u8>> = wanted.collect();
    let records = moment.get_many(Family::Keys, &wanted)?;
    for ((entry, wanted), record) in entries.iter_mut().zip(&wanted).zip(records) {
        let record = record.ok_or_else(|| Damage::missing(Family::Keys, wanted))?;
        entry.value = Some(arena.store(Record::decode(wanted, &record)?.value));
    }
    Ok(())
}

/// Visits what the keys of a range were at `at`.
pub(crate) fn walk(
    moment: &Moment<'_>,
    range: &KeyRange,
    at: Revision,
    direction: Direction,
    visit: &mut Visit<'_>,
) -> Result<(), ReadError> {
    match direction {
        Direction::Forward => walk_up(moment.scan(Family::Keys, &span_of(range), direction), at, visit),
        Direction::Backward => walk_down(moment, range, at, visit),
    }
}

/// The same forward, of rows that nobody is likely to read again soon.
pub(crate) fn walk_once(
    moment: &Moment<'_>,
    range: &KeyRange,
    at: Revision,
    visit: &mut Visit<'_>,
) -> Result<(), ReadError> {
    walk_up(moment.scan_once(Family::Keys, &span_of(range)), at, visit)
}

/// How many more keys of `range` were created than deleted after `after` and up to `until`. `None`: there are more
/// than `changes_max` changes to look through.
pub(crate) fn growth(
    moment: &Moment<'_>,
    range: &KeyRange,
    after: Revision,
    until: Revision,
    changes_max: u64,
) -> Result<Option<i64>, ReadError> {
    let span = Span {
        lower: Some(Position::new(after.next().0, 0).to_row_key().to_vec()),
        upper: Some(Position::new(until.next().0, 0).to_row_key().to_vec()),
    };
    let mut cursor = moment.scan(Family::Revisions, &span, Direction::Forward);
    let (mut growth, mut changes) = (0, 0);
    while let Some((row_key, record)) = cursor.row() {
        let (_, event) = Event::decode(row_key, record)?;
        if event.kind != Kind::Updated && range.contains(event.key) {
            growth += if event.kind == Kind::Created { 1 } else { -1 };
        }
        changes += 1;
        if changes > changes_max {
            return Ok(None);
        }
        cursor.step();
    }
    cursor.finish()?;
    Ok(Some(growth))
}

/// Moves a forward cursor on until it has left the rows of one user key.
pub(crate) fn leave(cursor: &mut Cursor<'_>, prefix: &[u8]) {
    for _ in 0..STEPS_MAX {
        cursor.step();
        if cursor.key().is_none_or(|row_key| !row_key.starts_with(prefix)) {
            return;
        }
    }
    let mut past = Vec::with_capacity(prefix.len());
    row::past(prefix, &mut past);
    cursor.seek(&past);
}

/// Whether a few steps bring a forward cursor to exactly the row `wanted`.
fn step_to(cursor: &mut Cursor<'_>, wanted: &[u8]) -> bool {
    for _ in 0..STEPS_MAX {
        match cursor.key() {
            Some(row_key) if row_key < wanted => cursor.step(),
            found => return found == Some(wanted),
        }
    }
    cursor.key() == Some(wanted)
}

/// Moves a forward cursor on to the row `wanted`, or to the first after it.
fn approach(cursor: &mut Cursor<'_>, wanted: &[u8]) {
    for _ in 0..STEPS_MAX {
        match cursor.key() {
            Some(row_key) if row_key < wanted => cursor.step(),
            _ => return,
        }
    }
    if cursor.key().is_some_and(|row_key| row_key < wanted) {
        cursor.seek(wanted);
    }
}

fn walk_up(mut cursor: Cursor<'_>, at: Revision, visit: &mut Visit<'_>) -> Result<(), ReadError> {
    let (mut prefix, mut key, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(row_key) = cursor.key() {
        prefix.clear();
        prefix.extend_from_slice(row::prefix_of(row_key)?);
        row::row_key_behind(&prefix, Position::end_of(at), &mut wanted);
        approach(&mut cursor, &wanted);
        let Some((row_key, record)) = cursor.row() else { break };
        if !row_key.starts_with(&prefix) {
            continue;
        }
        if emit(&prefix, row_key, record, &mut key, visit)?.is_break() {
            return Ok(());
        }
        leave(&mut cursor, &prefix);
    }
    Ok(cursor.finish()?)
}

/// Two cursors, since the newest row of a key comes first: one finds the keys, the other the version.
fn walk_down(
    moment: &Moment<'_>,
    range: &KeyRange,
    at: Revision,
    visit: &mut Visit<'_>,
) -> Result<(), ReadError> {
    let span = span_of(range);
    let mut keys = moment.scan(Family::Keys, &span, Direction::Backward);
    let mut versions = moment.scan(Family::Keys, &span, Direction::Forward);
    let (mut prefix, mut key, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(row_key) = keys.key() {
        prefix.clear();
        prefix.extend_from_slice(row::prefix_of(row_key)?);
        row::row_key_behind(&prefix, Position::end_of(at), &mut wanted);
        versions.seek(&wanted);
        if let Some((row_key, record)) = versions.row()
            && row_key.starts_with(&prefix)
            && emit(&prefix, row_key, record, &mut key, visit)?.is_break()
        {
            return Ok(());
        }
        versions.finish()?;
        keys.seek(&prefix);
    }
    Ok(keys.finish()?)
}

fn emit(
    prefix: &[u8],
    row_key: &[u8],
    record: &[u8],
    key: &mut Vec<u8>,
    visit: &mut Visit<'_>,
) -> Result<ControlFlow<()>, ReadError> {
    let record = Record::decode(row_key, record)?;
    if record.kind == Kind::Deleted {
        return Ok(ControlFlow::Continue(()));
    }
    row::unescape(prefix, key)?;
    Ok(visit(key, record.meta(row::position_of(row_key)?), Some(record.value)))
}

fn span_of(range: &KeyRange) -> Span {
    let mut lower = Vec::new();
    row::bound(&range.start, &mut lower);
    let upper = match &range.end {
        RangeEnd::Unbounded => None,
        RangeEnd::Before(end) => {
            let mut upper = Vec::new();
            row::bound(end, &mut upper);
            Some(upper)
        }
        RangeEnd::Single => {
            let mut upper = Vec::new();
            row::row_key(&range.start, Position::default(), &mut upper);
            Some(upper)
        }
    };
    Span { lower: Some(lower), upper }
}
