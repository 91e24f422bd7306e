//! Events as they lay on disk before 2026-11-22: a row for each, with all that it tells. They are read, and go when they
//! are forgotten; nothing writes them any more. docs/FORMATS.md draws them.

use bytes::Bytes;
use types::v2::{Event, Node, Timestamp};

use crate::record::{ACTIONS, DIRECTORY, EXPIRES, VALUE};
use crate::row::Damage;

/// There were so many places, each taken again by the event that came so many later.
const SLOTS: u64 = 1000;

const REFRESH: u8 = 0b01;
const REPLACES: u8 = 0b10;

/// No other row of events has a key of this length.
pub(crate) const KEY_BYTES: usize = 3;

/// The key of the row of the event with this index.
pub(crate) fn key(index: u64) -> [u8; KEY_BYTES] {
    let slot = (index % SLOTS).to_be_bytes();
    [0, slot[6], slot[7]]
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
