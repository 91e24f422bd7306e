//! Reading the rows: exact ones, the state at an old revision, what changed between two.
//!
//! No function here walks through more than [`STEPS_MAX`] rows that nobody asked for before it jumps: the length
//! of a key's history does not show in the cost of a read.

use std::ops::ControlFlow;

use bytes::Bytes;
use store::{Batch, Cursor, Direction, Family, Moment, Span, Store};
use types::{KeyRange, RangeEnd, RangeQuery, RangeReply, Revision};

use crate::row::{self, Kind, Meta, Position, Record};
use crate::select::{self, Arena, Entry, Visit};
use crate::{Damage, ReadError};

/// Rows that a cursor steps over before it jumps. A step costs a tenth of a jump.
const STEPS_MAX: usize = 4;

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
pub(crate) fn fetch(moment: &Moment<'_>, entries: &mut [&mut Entry]) -> Result<(), ReadError> {
    let mut wanted = Vec::new();
    if let [entry] = entries {
        row::row_key(&entry.key, entry.meta.modified, &mut wanted);
        let record =
            moment.get(Family::Keys, &wanted)?.ok_or_else(|| Damage::missing(Family::Keys, &wanted))?;
        entry.value = Some(Bytes::copy_from_slice(Record::decode(&wanted, &record)?.value));
        return Ok(());
    }
    let [first, .., last] = &*entries else { return Ok(()) };
    let mut span = Span { lower: Some(Vec::new()), upper: Some(Vec::new()) };
    if let (Some(lower), Some(upper)) = (&mut span.lower, &mut span.upper) {
        row::row_key(&first.key, first.meta.modified, lower);
        row::row_key(&last.key, Position::default(), upper);
    }
    let mut cursor = moment.scan(Family::Keys, &span, Direction::Forward);
    let mut arena = Arena::new();
    for entry in entries {
        row::row_key(&entry.key, entry.meta.modified, &mut wanted);
        approach(&mut cursor, &wanted);
        let record = match cursor.row() {
            Some((found, record)) if found == wanted => record,
            _ => {
                cursor.finish()?;
                return Err(Damage::missing(Family::Keys, &wanted).into());
            }
        };
        entry.value = Some(arena.store(Record::decode(&wanted, record)?.value));
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
        Direction::Forward => walk_up(moment, range, at, visit),
        Direction::Backward => walk_down(moment, range, at, visit),
    }
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
        let (_, kind, key) = row::decode_change(row_key, record)?;
        if kind != Kind::Updated && range.contains(key) {
            growth += if kind == Kind::Created { 1 } else { -1 };
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

/// Takes a version out of the history: its row, and the row of the change that made it.
pub(crate) fn remove(batch: &mut Batch<'_>, row_key: &[u8], position: Position) {
    batch.delete(Family::Keys, row_key);
    batch.delete(Family::Revisions, &position.to_row_key());
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

fn walk_up(
    moment: &Moment<'_>,
    range: &KeyRange,
    at: Revision,
    visit: &mut Visit<'_>,
) -> Result<(), ReadError> {
    let mut cursor = moment.scan(Family::Keys, &span_of(range), Direction::Forward);
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
