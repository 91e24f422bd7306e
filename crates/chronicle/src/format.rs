//! The bytes of a file: a head, and chunks whose checksums are one chain.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use types::{ClusterId, Index, MemberId, Term};

pub(crate) const MAGIC: &[u8; 8] = b"KVORUMLG";
pub(crate) const FORMAT: u32 = 1;
pub(crate) const HEAD_BYTES: usize = 48;
/// Length, checksum and time, before the entries of a chunk.
pub(crate) const FRAME_BYTES: usize = 16;
/// Index, term and length, before what an entry holds.
const ENTRY_BYTES: usize = 20;

/// Whose entries a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The cluster.
    pub cluster: ClusterId,
    /// The member that wrote it.
    pub member: MemberId,
    /// The first entry.
    pub first: Index,
}

/// An entry that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub index: Index,
    /// The term in which it was proposed.
    pub term: Term,
    /// Encoded commands, possibly none.
    pub data: Bytes,
}

/// Entries that were written together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// A moment by the writer's clock after all of them were applied there, in nanoseconds since 1970-01-01 UTC.
    pub wall_ns: i64,
    /// In order, without a gap.
    pub entries: Vec<Entry>,
}

impl Head {
    pub(crate) fn encode(&self) -> (Vec<u8>, u32) {
        let mut bytes = Vec::with_capacity(HEAD_BYTES);
        bytes.put_slice(MAGIC);
        bytes.put_u32_le(FORMAT);
        bytes.put_u32_le(0);
        bytes.put_u64_le(self.cluster.0);
        bytes.put_u64_le(self.member.0);
        bytes.put_u64_le(self.first.0);
        let crc = crc32c::crc32c(&bytes);
        bytes.put_u32_le(crc);
        bytes.put_u32_le(0);
        (bytes, crc)
    }

    /// With its checksum, from which the chain goes on. `None` if it is no head of this format.
    pub(crate) fn decode(bytes: &[u8; HEAD_BYTES]) -> Option<(Self, u32)> {
        let mut rest = bytes.strip_prefix(MAGIC)?;
        if rest.get_u32_le() != FORMAT {
            return None;
        }
        rest.advance(4);
        let head = Self {
            cluster: ClusterId(rest.get_u64_le()),
            member: MemberId(rest.get_u64_le()),
            first: Index(rest.get_u64_le()),
        };
        let (same, crc) = head.encode();
        (same == bytes).then_some((head, crc))
    }
}

/// The bytes of a chunk, and the checksum from which the chain goes on.
pub(crate) fn encode(crc: u32, wall_ns: i64, entries: &[Entry]) -> (BytesMut, u32) {
    let bytes: usize = entries.iter().map(|entry| ENTRY_BYTES + entry.data.len()).sum();
    let mut chunk = BytesMut::with_capacity(FRAME_BYTES + bytes);
    chunk.put_u32_le(bytes as u32);
    chunk.put_u32_le(0);
    chunk.put_i64_le(wall_ns);
    for Entry { index, term, data } in entries {
        chunk.put_u64_le(index.0);
        chunk.put_u64_le(term.0);
        chunk.put_u32_le(data.len() as u32);
        chunk.put_slice(data);
    }
    let crc = crc32c::crc32c_append(crc, chunk.get(8..).unwrap_or_default());
    if let Some(place) = chunk.get_mut(4..8) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
    (chunk, crc)
}

/// The entries in a chunk whose checksum was right; `None` if these are not what a writer leaves.
pub(crate) fn decode_entries(mut bytes: Bytes) -> Option<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::new();
    while !bytes.is_empty() {
        let index = Index(bytes.try_get_u64_le().ok()?);
        let term = Term(bytes.try_get_u64_le().ok()?);
        let length = bytes.try_get_u32_le().ok()? as usize;
        if length > bytes.len() || entries.last().is_some_and(|last| last.index.0 + 1 != index.0) {
            return None;
        }
        entries.push(Entry { index, term, data: bytes.split_to(length) });
    }
    Some(entries)
}
