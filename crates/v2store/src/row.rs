//! Rows: how a node lies on disk. docs/FORMATS.md draws them byte by byte.
//!
//! A key is the node's path and a slash. Everything below `/a` so starts with `/a/`, and nothing else does: a
//! subtree is one span of rows, from `/a/` up to `/a0`, since `0` is the character after the slash. A directory
//! comes before what is in it.

use bytes::Bytes;
use store::{Batch, Family};
use types::v2::{Event, Timestamp};

use crate::node::{Content, Node};
use crate::record::{self, Record};
use crate::slots;

/// Where `Family::Meta` holds the index: eight bytes, big-endian, and their checksum.
pub(crate) const INDEX_KEY: &[u8] = b"v2/index";

const DIRECTORY: u8 = 0b01;
const EXPIRES: u8 = 0b10;

/// The batch of a log entry, as far as v2 writes to it.
pub(crate) struct Rows<'a, 's> {
    batch: &'a mut Batch<'s>,
    /// The key that was made last; its room serves the next.
    key: Vec<u8>,
}

impl<'a, 's> Rows<'a, 's> {
    pub(crate) fn new(batch: &'a mut Batch<'s>) -> Self {
        Self { batch, key: Vec::new() }
    }

    pub(crate) fn put(&mut self, path: &str, node: &Node) {
        let key = key(path);
        let row = encode(&key, node);
        self.batch.put(Family::V2, &key, &row);
    }

    pub(crate) fn remove(&mut self, path: &str) {
        self.key.clear();
        self.key.extend_from_slice(path.as_bytes());
        self.key.push(b'/');
        self.batch.delete(Family::V2, &self.key);
    }

    /// Removes the row of a directory and of all that is below it.
    pub(crate) fn remove_subtree(&mut self, path: &str) {
        let after = format!("{path}0");
        self.batch.delete_range(Family::V2, &key(path), after.as_bytes());
    }

    /// Puts a row of events.
    pub(crate) fn put_events(&mut self, key: &[u8], mut row: Vec<u8>) {
        seal(key, &mut row);
        self.batch.put(Family::V2, key, &row);
    }

    /// Removes a row of events.
    pub(crate) fn remove_events(&mut self, key: &[u8]) {
        self.batch.delete(Family::V2, key);
    }

    pub(crate) fn put_index(&mut self, index: u64) {
        let mut row = index.to_be_bytes().to_vec();
        seal(INDEX_KEY, &mut row);
        self.batch.put(Family::Meta, INDEX_KEY, &row);
    }
}

/// Why a row cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It does not match its checksum.
    #[error("the checksum does not match")]
    Checksum,
    /// It is too short for what it says to hold.
    #[error("it is cut short")]
    Short,
    /// A bit is set that nothing has a meaning for.
    #[error("its flags are unknown")]
    Flags,
    /// The key is no path.
    #[error("its key is no path")]
    Key,
    /// The directory that it should be in is not there.
    #[error("it has no parent directory")]
    Orphan,
    /// Its indexes are not in order, or beyond the index of the keyspace.
    #[error("its indexes are out of order")]
    Index,
    /// It tells of a file of whose value nothing is left.
    #[error("the value of an event is nowhere")]
    Lost,
}

/// The path in a key.
pub(crate) fn decode_key(key: &[u8]) -> Result<&str, Damage> {
    let path = std::str::from_utf8(key).ok().and_then(|key| key.strip_suffix('/'));
    path.filter(|path| path.starts_with('/')).ok_or(Damage::Key)
}

/// The node in a row; of a directory, an empty one.
pub(crate) fn decode(key: &[u8], row: &[u8]) -> Result<Node, Damage> {
    let rest = unseal(key, row)?;
    let (flags, rest) = rest.split_first().ok_or(Damage::Short)?;
    if flags & !(DIRECTORY | EXPIRES) != 0 {
        return Err(Damage::Flags);
    }
    let (created_index, rest) = take_number(rest)?;
    let (modified_index, mut rest) = take_number(rest)?;
    let mut expiration = None;
    if flags & EXPIRES != 0 {
        let (at, after) = take_number(rest)?;
        expiration = Some(Timestamp(at as i64));
        rest = after;
    }
    let content = match flags & DIRECTORY {
        0 => Content::File(Bytes::copy_from_slice(rest)),
        _ if rest.is_empty() => Content::empty_directory(),
        _ => return Err(Damage::Flags),
    };
    Ok(Node { created_index, modified_index, expiration, content })
}

/// The events in their row.
pub(crate) fn decode_events(key: &[u8], row: &[u8]) -> Result<Record, Damage> {
    record::decode(record::decode_key(key)?, unseal(key, row)?)
}

/// The event in a row of the earlier form.
pub(crate) fn decode_slot(key: &[u8], row: &[u8]) -> Result<Event, Damage> {
    slots::decode(unseal(key, row)?)
}

/// The index in its row.
pub(crate) fn decode_index(row: &[u8]) -> Result<u64, Damage> {
    match take_number(unseal(INDEX_KEY, row)?)? {
        (index, []) => Ok(index),
        _ => Err(Damage::Short),
    }
}

fn key(path: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(path.len() + 1);
    key.extend_from_slice(path.as_bytes());
    key.push(b'/');
    key
}

fn encode(key: &[u8], node: &Node) -> Vec<u8> {
    let (kind, value) = match &node.content {
        Content::File(value) => (0, value.as_ref()),
        Content::Directory(_) => (DIRECTORY, &[][..]),
    };
    let expires = if node.expiration.is_some() { EXPIRES } else { 0 };
    let mut row = Vec::with_capacity(29 + value.len());
    row.push(kind | expires);
    row.extend_from_slice(&node.created_index.to_be_bytes());
    row.extend_from_slice(&node.modified_index.to_be_bytes());
    if let Some(at) = node.expiration {
        row.extend_from_slice(&at.0.to_be_bytes());
    }
    row.extend_from_slice(value);
    seal(key, &mut row);
    row
}

/// Appends the checksum, which covers the key too: a row that strayed to another key is found out.
fn seal(key: &[u8], row: &mut Vec<u8>) {
    let sum = crc32c::crc32c_append(crc32c::crc32c(key), row);
    row.extend_from_slice(&sum.to_be_bytes());
}

fn unseal<'a>(key: &[u8], row: &'a [u8]) -> Result<&'a [u8], Damage> {
    let (body, sum) = row.split_last_chunk::<4>().ok_or(Damage::Short)?;
    if crc32c::crc32c_append(crc32c::crc32c(key), body) == u32::from_be_bytes(*sum) {
        Ok(body)
    } else {
        Err(Damage::Checksum)
    }
}

fn take_number(bytes: &[u8]) -> Result<(u64, &[u8]), Damage> {
    let (number, rest) = bytes.split_first_chunk::<8>().ok_or(Damage::Short)?;
    Ok((u64::from_be_bytes(*number), rest))
}
