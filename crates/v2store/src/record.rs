//! Events as they lie on disk. docs/FORMATS.md draws them byte by byte.
//!
//! There is a row for each remembered event; the event a thousand later takes its place.

use bytes::Bytes;
use types::v2::{Action, Event, Node, Timestamp};

use crate::history::HISTORY_EVENTS_MAX;
use crate::row::Damage;

/// Before all rows of nodes, whose keys begin with a slash.
const KIND: u8 = 0;

/// Where the rows of events end.
pub(crate) const END: [u8; 1] = [KIND + 1];

const REFRESH: u8 = 0b01;
const REPLACES: u8 = 0b10;

const VALUE: u8 = 0b001;
const DIRECTORY: u8 = 0b010;
const EXPIRES: u8 = 0b100;

const ACTIONS: [Action; 7] = [
    Action::Set,
    Action::Create,
    Action::Update,
    Action::Delete,
    Action::Expire,
    Action::CompareAndSwap,
    Action::CompareAndDelete,
];

/// The key of the row of the event with this index.
pub(crate) fn key(index: u64) -> [u8; 3] {
    let slot = (index % HISTORY_EVENTS_MAX).to_be_bytes();
    [KIND, slot[6], slot[7]]
}

/// The row, without its checksum.
pub(crate) fn encode(event: &Event) -> Vec<u8> {
    let mut row =
        Vec::with_capacity(128 + event.node.key.len() + event.node.value.as_ref().map_or(0, Bytes::len));
    let action = ACTIONS.iter().position(|action| *action == event.action);
    row.push(u8::try_from(action.expect("a read is no event of the history")).expect("there are seven"));
    let refresh = if event.refresh { REFRESH } else { 0 };
    row.push(refresh | if event.prev_node.is_some() { REPLACES } else { 0 });
    row.extend_from_slice(&event.index.to_be_bytes());
    put_bytes(&mut row, event.node.key.as_bytes());
    put_node(&mut row, &event.node);
    if let Some(before) = &event.prev_node {
        put_node(&mut row, before);
    }
    row
}

/// The event of a row without its checksum.
pub(crate) fn decode(row: &[u8]) -> Result<Event, Damage> {
    let mut rest = Reader(row);
    let action = *ACTIONS.get(usize::from(rest.byte()?)).ok_or(Damage::Flags)?;
    let flags = rest.byte()?;
    if flags & !(REFRESH | REPLACES) != 0 {
        return Err(Damage::Flags);
    }
    let index = rest.number()?;
    let key = std::str::from_utf8(rest.bytes()?).map_err(|_| Damage::Key)?.to_owned();
    let node = rest.node(&key)?;
    let prev_node = if flags & REPLACES != 0 { Some(rest.node(&key)?) } else { None };
    if !rest.0.is_empty() {
        return Err(Damage::Flags);
    }
    Ok(Event { action, node, prev_node, index, refresh: flags & REFRESH != 0 })
}

fn put_node(row: &mut Vec<u8>, node: &Node) {
    let has = |is: bool, flag: u8| if is { flag } else { 0 };
    row.push(
        has(node.value.is_some(), VALUE) | has(node.dir, DIRECTORY) | has(node.expiration.is_some(), EXPIRES),
    );
    row.extend_from_slice(&node.created_index.to_be_bytes());
    row.extend_from_slice(&node.modified_index.to_be_bytes());
    if let Some(at) = node.expiration {
        row.extend_from_slice(&at.0.to_be_bytes());
        row.extend_from_slice(&node.ttl.to_be_bytes());
    }
    if let Some(value) = &node.value {
        put_bytes(row, value);
    }
}

fn put_bytes(row: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("a command is smaller than 4 GiB");
    row.extend_from_slice(&length.to_be_bytes());
    row.extend_from_slice(bytes);
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
        let (number, rest) = self.0.split_first_chunk::<8>().ok_or(Damage::Short)?;
        self.0 = rest;
        Ok(u64::from_be_bytes(*number))
    }

    fn bytes(&mut self) -> Result<&'a [u8], Damage> {
        let (length, rest) = self.0.split_first_chunk::<4>().ok_or(Damage::Short)?;
        let (bytes, rest) =
            rest.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or(Damage::Short)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn node(&mut self, key: &str) -> Result<Node, Damage> {
        let flags = self.byte()?;
        if flags & !(VALUE | DIRECTORY | EXPIRES) != 0 {
            return Err(Damage::Flags);
        }
        let (created_index, modified_index) = (self.number()?, self.number()?);
        let (mut expiration, mut ttl) = (None, 0);
        if flags & EXPIRES != 0 {
            expiration = Some(Timestamp(self.number()? as i64));
            ttl = self.number()? as i64;
        }
        let value = if flags & VALUE != 0 { Some(Bytes::copy_from_slice(self.bytes()?)) } else { None };
        let (key, dir) = (key.to_owned(), flags & DIRECTORY != 0);
        Ok(Node { key, value, dir, expiration, ttl, nodes: Vec::new(), modified_index, created_index })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_comes_back_as_it_was() {
        let node = Node {
            key: "/a/ä".to_owned(),
            value: Some("value".into()),
            expiration: Some(Timestamp(-5)),
            ttl: -1,
            modified_index: 9,
            created_index: 4,
            ..Node::default()
        };
        let before = Node { value: None, dir: true, expiration: None, ttl: 0, ..node.clone() };
        for action in ACTIONS {
            for (prev_node, refresh) in [(None, false), (Some(before.clone()), true)] {
                let event = Event { action, node: node.clone(), prev_node, index: 9, refresh };
                let row = encode(&event);
                assert_eq!(decode(&row).as_ref(), Ok(&event));
                for length in 0..row.len() {
                    assert!(decode(&row[..length]).is_err(), "cut to {length}");
                }
            }
        }
    }

    #[test]
    fn a_thousand_rows_are_all_there_is() {
        assert_eq!((key(4), key(1004), key(999)), ([0, 0, 4], [0, 0, 4], [0, 3, 231]));
        assert!(key(999)[..] < END[..] && END[0] < b'/');
    }
}
