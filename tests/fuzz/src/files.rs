//! Files that came from elsewhere: snapshots, lists of their files, logs.
//!
//! All of these have checksums, at which an input would end. So an input comes as it is, or without them, and is sealed.

use std::sync::Arc;

use bytes::Buf;
use sha2::{Digest, Sha256};
use snap::{Manifest, SnapshotId};
use types::{ClusterId, Index, Term};
use wal::double::DoubleDisk;
use wal::{Batch, Config, Disk, Durability, Identity, Wal};

/// A snapshot for operators; if the first byte is odd, without its checksums.
pub(crate) fn archive(input: &[u8]) {
    let Some((form, bytes)) = input.split_first() else { return };
    if form % 2 == 0 {
        let _ = snap::verify(bytes);
    } else {
        let _ = snap::verify(&sealed_archive(bytes)[..]);
    }
}

/// Puts in the checksums as far as there are bytes, and fills up what is short in the end.
fn sealed_archive(bytes: &[u8]) -> Vec<u8> {
    const COUNT_AT: usize = 12;
    const HEAD_BYTES: usize = 56;
    const GRAIN_BYTES: usize = 512;
    let mut rest = bytes;
    let mut out = Vec::new();
    let mut sizes = Vec::new();
    let take = |rest: &mut &[u8], length: usize| -> Vec<u8> {
        rest.split_off(..length.min(rest.len())).unwrap_or_default().to_vec()
    };
    out.extend(take(&mut rest, HEAD_BYTES));
    let count = out.get(COUNT_AT..).and_then(|mut count| count.try_get_u32_le().ok()).unwrap_or(0);
    for _ in 0..count {
        let Some(length) = rest.first().map(|length| usize::from(*length)) else { break };
        let entry = take(&mut rest, 1 + length + 8);
        sizes.push(entry.get(1 + length..).and_then(|mut size| size.try_get_u64_le().ok()).unwrap_or(0));
        out.extend(entry);
    }
    out.extend(crc32c::crc32c(&out).to_le_bytes());
    for size in sizes {
        let content = take(&mut rest, usize::try_from(size).unwrap_or(usize::MAX));
        for chunk in content.chunks(snap::CHUNK_BYTES) {
            out.extend(chunk);
            out.extend(crc32c::crc32c(chunk).to_le_bytes());
        }
    }
    out.resize(out.len().next_multiple_of(GRAIN_BYTES), 0);
    let sum = Sha256::digest(&out);
    out.extend(sum);
    out.extend(rest);
    out
}

/// The list of a snapshot's files, without its checksum, asked for by what it says of itself.
pub(crate) fn manifest(input: &[u8]) {
    let sealed = [input, &crc32c::crc32c(input).to_le_bytes()].concat();
    let mut numbers = input.get(16..).unwrap_or_default();
    let mut number = || numbers.try_get_u64_le().unwrap_or(0);
    let (cluster, index, term) = (ClusterId(number()), Index(number()), Term(number()));
    let _ = Manifest::decode(input, cluster, SnapshotId { index, term });
    let Ok(manifest) = Manifest::decode(&sealed, cluster, SnapshotId { index, term }) else { return };
    assert!(manifest.encode() == sealed, "a list keeps its bytes");
    for file in manifest.files() {
        assert!(!file.name().contains(['/', '\0']) && !matches!(file.name(), "" | "." | ".."));
    }
}

const IDENTITY: Identity = Identity { cluster: 1, member: 2, salt: 3 };
const SEGMENT: &str = "00000001.seg";
const HEAD_BYTES: usize = 24;

/// A segment of a log; if the first byte is odd, its records without checksums: kind, length in two bytes, payload.
pub(crate) fn log(input: &[u8]) {
    let Some((form, bytes)) = input.split_first() else { return };
    let disk = DoubleDisk::default();
    let config = Config { segment_bytes: 4096, background: false, ..Config::new(IDENTITY) };
    drop(Wal::open(Arc::new(disk.clone()), &config).expect("a new log opens"));
    let segment = if form % 2 == 0 { bytes.to_vec() } else { sealed_segment(bytes) };
    let file = disk.open(SEGMENT).expect("it was made");
    let length = file.len().expect("it is in memory");
    file.zero_fill(0, length).and_then(|()| file.pwrite(0, &segment)).expect("memory takes it");
    let Ok((mut wal, found)) = Wal::open(Arc::new(disk.clone()), &config) else { return };
    assert_eq!(found.identity, IDENTITY);
    let reader = wal.reader();
    let entries = found.last_index.saturating_add(1).saturating_sub(found.first_index);
    assert!(entries <= segment.len() as u64 / HEAD_BYTES as u64, "no entry without a record");
    if let Some(end) = found.last_index.checked_add(1)
        && entries > 0
    {
        let read = reader.entries(found.first_index, end, u64::MAX).expect("what was accepted is read");
        let indexes: Vec<u64> = read.iter().map(|entry| entry.index).collect();
        assert!(indexes.into_iter().eq(found.first_index..end), "the log has no gaps");
    }
    let (Some(next), term) = (found.last_index.checked_add(1), reader.term(found.last_index)) else { return };
    let mut batch = Batch::new();
    batch.entry(next, term.unwrap_or(found.base_term), 0, b"", b"more");
    if wal.append(&mut batch, Durability::Synced).is_err() {
        return;
    }
    drop(wal);
    let (_, again) = Wal::open(Arc::new(disk), &config).expect("what was written on is opened again");
    assert_eq!((again.last_index, again.hard_state), (next, found.hard_state), "and it goes on");
}

/// Records with their heads and checksums, as whoever knows the salt would write them.
fn sealed_segment(mut bytes: &[u8]) -> Vec<u8> {
    let mut seed = crc32c::crc32c(&IDENTITY.salt.to_le_bytes());
    for number in [IDENTITY.cluster, IDENTITY.member] {
        seed = crc32c::crc32c_append(seed, &number.to_le_bytes());
    }
    let seed = crc32c::crc32c_append(seed, &1_u32.to_le_bytes());
    let (mut out, mut previous) = (Vec::new(), seed);
    while let Some((&[kind, low, high], rest)) = bytes.split_first_chunk::<3>() {
        let (payload, rest) = rest.split_at(usize::from(u16::from_le_bytes([low, high])).min(rest.len()));
        let begin = out.len();
        out.extend([0; 4]);
        for number in [previous, 1, 0, payload.len() as u32] {
            out.extend(number.to_le_bytes());
        }
        out.extend([kind, 0, 0, 0]);
        out.extend(payload);
        out.resize(out.len().next_multiple_of(8), 0);
        previous = crc32c::crc32c_append(seed, &out[begin + 4..]);
        out[begin..begin + 4].copy_from_slice(&previous.to_le_bytes());
        bytes = rest;
    }
    out
}
