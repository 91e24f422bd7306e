//! The history back from its rows, and nothing that a writer could not have left there.
//!
//! What a file held after an event is found where it lies: with the event that follows, in the tree, or beside the
//! events of the batch that took the file away with its directory.

use std::collections::BTreeMap;

use bytes::Bytes;
use store::{Direction, Family, Span, Store};
use types::v2::{Event, Path};

use crate::INDEX_FIRST;
use crate::history::{History, Place};
use crate::keyspace::Keyspace;
use crate::load::{OpenError, damaged};
use crate::node::Content;
use crate::record::{self, END};
use crate::row::{self, Damage};
use crate::slots;

/// Events as they were read, in order.
#[derive(Default)]
struct Past {
    rows: Vec<(Place, Vec<Event>)>,
    kept: BTreeMap<u64, Bytes>,
}

/// The remembered events, which end at the keyspace's index. A keyspace of a version that remembered none has
/// forgotten all before it was opened.
pub(crate) fn history(store: &Store, keyspace: &Keyspace) -> Result<History, OpenError> {
    let mut past = read(store)?;
    // Those of the earlier form lie in the order of their places.
    past.rows.sort_by_key(|(_, events)| events.first().map(|event| event.index));
    let index = keyspace.index();
    let mut history = match past.rows.first().and_then(|(_, events)| events.first()) {
        Some(first) if first.index > INDEX_FIRST + 1 => History::forgotten(first.index - 1),
        None if index > INDEX_FIRST => History::forgotten(index),
        _ => History::new(index),
    };
    let events = || past.rows.iter().flat_map(|(_, events)| events);
    let is_torn = events().zip(events().skip(1)).any(|(one, next)| one.index + 1 != next.index);
    if is_torn || events().last().is_some_and(|last| last.index != index) {
        return Err(damaged(row::INDEX_KEY, Damage::Index));
    }
    past.find_values(keyspace)?;
    for (place, events) in past.rows {
        history.restore(place, events);
    }
    Ok(history)
}

fn read(store: &Store) -> Result<Past, OpenError> {
    let mut past = Past::default();
    let rows = Span { lower: None, upper: Some(END.to_vec()) };
    let mut cursor = store.scan(Family::V2, &rows, Direction::Forward);
    while let Some((key, bytes)) = cursor.row() {
        past.take(key, bytes).map_err(|damage| damaged(key, damage))?;
        cursor.step();
    }
    cursor.finish()?;
    Ok(past)
}

impl Past {
    fn take(&mut self, key: &[u8], row: &[u8]) -> Result<(), Damage> {
        if key.len() == slots::KEY_BYTES {
            let event = row::decode_slot(key, row)?;
            if slots::key(event.index) != key {
                return Err(Damage::Index);
            }
            self.rows.push((Place::Slot(event.index), vec![event]));
            return Ok(());
        }
        let record = row::decode_events(key, row)?;
        let first = record.events.first().ok_or(Damage::Short)?.index;
        self.rows.push((Place::Batch(first), record.events));
        self.kept.extend(record.kept);
        Ok(())
    }

    /// From the last event to the first, so that what follows is known.
    fn find_values(&mut self, keyspace: &Keyspace) -> Result<(), OpenError> {
        let mut followed: BTreeMap<String, (u64, Bytes)> = BTreeMap::new();
        for event in self.rows.iter_mut().rev().flat_map(|(_, events)| events.iter_mut().rev()) {
            if record::left_file(event) && event.node.value.is_none() {
                let next = followed.get(&event.node.key).filter(|(index, _)| *index == event.index);
                let value = next.map(|(_, value)| value).or_else(|| self.kept.get(&event.index)).cloned();
                let value = value.or_else(|| in_tree(keyspace, event));
                let lost = || damaged(&record::key(event.index), Damage::Lost);
                event.node.value = Some(value.ok_or_else(lost)?);
            }
            if let Some(before) = &event.prev_node
                && let Some(value) = &before.value
            {
                followed.insert(event.node.key.clone(), (before.modified_index, value.clone()));
            }
        }
        Ok(())
    }
}

/// What the event's node holds, if nothing followed.
fn in_tree(keyspace: &Keyspace, event: &Event) -> Option<Bytes> {
    let node = keyspace.find(&Path::clean(&event.node.key)).ok()?;
    match &node.content {
        Content::File(value) if node.modified_index == event.index => Some(value.clone()),
        _ => None,
    }
}
