//! Events as they lie on disk: a row for those of each batch. docs/FORMATS.md draws it byte by byte.
//!
//! What a file held before an event is in its row; what it holds afterwards is not, for that lies elsewhere: in the
//! row of the node for as long as nothing follows, else with the event that follows. A file that goes with its
//! directory has no event of its own, so the batch that takes it away keeps its value beside the events.

use bytes::Bytes;
use types::v2::{Action, Event, Node, Timestamp};

use crate::row::Damage;

/// Before all rows of nodes, whose keys begin with a slash.
const KIND: u8 = 0;

/// After the rows of an earlier form, whose second byte is at most 3.
const BATCH: u8 = 4;

/// Where the rows of events end.
pub(crate) const END: [u8; 1] = [KIND + 1];

const ACTION: u8 = 0b00111;
const REFRESH: u8 = 0b01000;
const REPLACES: u8 = 0b10000;

// Of a node; of rows of the earlier form too, as the numbers of actions are.
pub(crate) const VALUE: u8 = 0b001;
pub(crate) const DIRECTORY: u8 = 0b010;
pub(crate) const EXPIRES: u8 = 0b100;

/// By their numbers.
pub(crate) const ACTIONS: [Action; 7] = [
    Action::Set,
    Action::Create,
    Action::Update,
    Action::Delete,
    Action::Expire,
    Action::CompareAndSwap,
    Action::CompareAndDelete,
];

/// What an event of this index put into a file that has gone without an event of its own.
pub(crate) type Kept = (u64, Bytes);

/// A row that was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Events in order; the files that they left have no value yet, [`left_file`] tells which.
    pub(crate) events: Vec<Event>,
    /// See [`Kept`].
    pub(crate) kept: Vec<Kept>,
}

/// The key of the row whose first event has this index.
pub(crate) fn key(first: u64) -> [u8; 10] {
    let mut key = [0; 10];
    key[..2].copy_from_slice(&[KIND, BATCH]);
    key[2..].copy_from_slice(&first.to_be_bytes());
    key
}

/// The index of the first event of the row at this key.
pub(crate) fn decode_key(key: &[u8]) -> Result<u64, Damage> {
    match key {
        [KIND, BATCH, first @ ..] => first.try_into().map(u64::from_be_bytes).map_err(|_| Damage::Key),
        _ => Err(Damage::Key),
    }
}

/// Whether there is a file at the event's node after it.
pub(crate) fn left_file(event: &Event) -> bool {
    !event.node.dir && !matches!(event.action, Action::Delete | Action::Expire | Action::CompareAndDelete)
}

/// The row of events that follow one another, without its checksum.
pub(crate) fn encode<'e>(events: impl Iterator<Item = &'e Event>, kept: &[Kept]) -> Vec<u8> {
    let mut row = Vec::with_capacity(1024);
    put_number(&mut row, kept.len() as u64);
    for (index, value) in kept {
        put_number(&mut row, *index);
        put_bytes(&mut row, value);
    }
    for event in events {
        put_event(&mut row, event);
    }
    row
}

/// What is in a row without its checksum, whose first event has the index `first`.
pub(crate) fn decode(first: u64, row: &[u8]) -> Result<Record, Damage> {
    let mut rest = Reader(row);
    let (mut events, mut kept) = (Vec::new(), Vec::new());
    for _ in 0..rest.number()? {
        kept.push((rest.number()?, Bytes::copy_from_slice(rest.bytes()?)));
    }
    while !rest.0.is_empty() {
        let index = first.checked_add(events.len() as u64).ok_or(Damage::Index)?;
        events.push(rest.event(index)?);
    }
    Ok(Record { events, kept })
}

fn put_event(row: &mut Vec<u8>, event: &Event) {
    debug_assert_eq!(event.node.modified_index, event.index, "an event is its node's last change");
    debug_assert_eq!(
        event.node.value.is_some(),
        left_file(event),
        "a file has a value, and nothing else has"
    );
    let action = ACTIONS.iter().position(|action| *action == event.action);
    let action = u8::try_from(action.expect("a read is no event of the history")).expect("there are seven");
    let has = |is: bool, flag: u8| if is { flag } else { 0 };
    row.push(action | has(event.refresh, REFRESH) | has(event.prev_node.is_some(), REPLACES));
    put_bytes(row, event.node.key.as_bytes());
    row.push(flags(&event.node) & !VALUE);
    put_number(row, event.index.wrapping_sub(event.node.created_index));
    put_expiration(row, &event.node);
    if let Some(before) = &event.prev_node {
        row.push(flags(before));
        put_number(row, event.index.wrapping_sub(before.modified_index));
        put_number(row, before.modified_index.wrapping_sub(before.created_index));
        put_expiration(row, before);
        if let Some(value) = &before.value {
            put_bytes(row, value);
        }
    }
}

fn flags(node: &Node) -> u8 {
    let has = |is: bool, flag: u8| if is { flag } else { 0 };
    has(node.value.is_some(), VALUE) | has(node.dir, DIRECTORY) | has(node.expiration.is_some(), EXPIRES)
}

fn put_expiration(row: &mut Vec<u8>, node: &Node) {
    if let Some(at) = node.expiration {
        row.extend_from_slice(&at.0.to_be_bytes());
        row.extend_from_slice(&node.ttl.to_be_bytes());
    }
}

fn put_bytes(row: &mut Vec<u8>, bytes: &[u8]) {
    put_number(row, bytes.len() as u64);
    row.extend_from_slice(bytes);
}

/// Seven bits in a byte, the lowest first; the highest bit says that more follow.
fn put_number(row: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        row.push(number as u8 | 0x80);
        number >>= 7;
    }
    row.push(number as u8);
}

/// What is left of a row.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, Damage> {
        let (byte, rest) = self.0.split_first().ok_or(Damage::Short)?;
        self.0 = rest;
        Ok(*byte)
    }

    fn number(&mut self) -> Result<u64, Damage> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Damage::Flags)
    }

    fn bytes(&mut self) -> Result<&'a [u8], Damage> {
        let length = usize::try_from(self.number()?).map_err(|_| Damage::Short)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Damage::Short)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn signed(&mut self) -> Result<i64, Damage> {
        let (number, rest) = self.0.split_first_chunk::<8>().ok_or(Damage::Short)?;
        self.0 = rest;
        Ok(i64::from_be_bytes(*number))
    }

    fn event(&mut self, index: u64) -> Result<Event, Damage> {
        let what = self.byte()?;
        let action = *ACTIONS.get(usize::from(what & ACTION)).ok_or(Damage::Flags)?;
        if what & !(ACTION | REFRESH | REPLACES) != 0 {
            return Err(Damage::Flags);
        }
        let key = std::str::from_utf8(self.bytes()?).map_err(|_| Damage::Key)?.to_owned();
        let flags = self.flags(DIRECTORY | EXPIRES)?;
        let mut node = Node { key, modified_index: index, ..Node::default() };
        node.created_index = self.index_before(index)?;
        self.rest_of(&mut node, flags)?;
        let mut prev_node = None;
        if what & REPLACES != 0 {
            let flags = self.flags(VALUE | DIRECTORY | EXPIRES)?;
            let mut before = Node { key: node.key.clone(), ..Node::default() };
            before.modified_index = self.index_before(index)?;
            before.created_index = self.index_before(before.modified_index)?;
            self.rest_of(&mut before, flags)?;
            prev_node = Some(before);
        }
        Ok(Event { action, node, prev_node, index, refresh: what & REFRESH != 0 })
    }

    fn flags(&mut self, known: u8) -> Result<u8, Damage> {
        let flags = self.byte()?;
        if flags & !known == 0 { Ok(flags) } else { Err(Damage::Flags) }
    }

    fn index_before(&mut self, index: u64) -> Result<u64, Damage> {
        index.checked_sub(self.number()?).ok_or(Damage::Index)
    }

    fn rest_of(&mut self, node: &mut Node, flags: u8) -> Result<(), Damage> {
        node.dir = flags & DIRECTORY != 0;
        if flags & EXPIRES != 0 {
            node.expiration = Some(Timestamp(self.signed()?));
            node.ttl = self.signed()?;
        }
        if flags & VALUE != 0 {
            node.value = Some(Bytes::copy_from_slice(self.bytes()?));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_back_but_for_what_files_hold_after_them() {
        let mut events = Vec::new();
        for action in ACTIONS {
            for is_first in [true, false] {
                let index = 300 + events.len() as u64;
                let node = Node {
                    key: "/a/ä".to_owned(),
                    expiration: Some(Timestamp(-5)),
                    ttl: -1,
                    modified_index: index,
                    created_index: 4,
                    ..Node::default()
                };
                let before = Node {
                    value: Some("before".into()),
                    expiration: None,
                    modified_index: 200,
                    ttl: 0,
                    ..node.clone()
                };
                let prev_node = (!is_first).then_some(before);
                events.push(Event { action, node, prev_node, index, refresh: is_first });
            }
        }
        let kept = vec![(u64::MAX, Bytes::from("gone")), (7, Bytes::new())];
        let with_values = events.iter().cloned().map(|mut event| {
            event.node.value = left_file(&event).then(|| "after".into());
            event
        });
        let with_values: Vec<Event> = with_values.collect();
        let row = encode(with_values.iter(), &kept);
        assert!(!row.windows(5).any(|bytes| bytes == b"after"));
        assert_eq!(decode(300, &row), Ok(Record { events: events.clone(), kept }));
        let cuts = (0..row.len()).filter_map(|length| decode(300, &row[..length]).ok());
        assert!(cuts.clone().count() <= events.len(), "only where an event begins");
        cuts.for_each(|cut| assert_eq!(cut.events, events[..cut.events.len()]));
        assert_eq!(decode(3, &row), Err(Damage::Index));
    }

    #[test]
    fn a_replaced_value_is_nearly_all_there_is_to_a_row() {
        let node = Node {
            key: "/bench/k0000001".to_owned(),
            modified_index: 90_000,
            created_index: 8,
            ..Node::default()
        };
        let before = Node { value: Some(vec![b'v'; 256].into()), modified_index: 88_000, ..node.clone() };
        let node = Node { value: before.value.clone(), ..node };
        let event =
            Event { action: Action::Set, node, prev_node: Some(before), index: 90_000, refresh: false };
        assert_eq!(encode(std::iter::once(&event), &[]).len(), 1 + 29 + 256);
    }

    #[test]
    fn keys_are_in_the_order_of_events_and_before_those_of_nodes() {
        assert_eq!(key(0x102), [0, 4, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(decode_key(&key(77)), Ok(77));
        assert_eq!(decode_key(&key(77)[..9]), Err(Damage::Key));
        assert!(key(u64::MAX)[..] < END[..] && END[0] < b'/');
    }
}
