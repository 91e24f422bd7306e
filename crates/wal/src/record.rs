//! The bytes of a record: head, payload, chain.
//!
//! Every record can be checked alone (its checksum covers its own copy of the chain value before it) and in
//! its chain (that copy must equal the checksum of the record before). Nothing here touches a file.
//!
//! INVARIANT: a checksum is seeded by the log's identity, its secret salt and the segment id, so that bytes of
//! another log, of an earlier life of the file, or chosen by a client never pass as a record.

use std::ops::Range;

use bytes::Buf;

use crate::identity::Identity;

/// Bytes of a head: checksum, previous, segment, synced, length (u32 each), kind (u8), three zeros.
pub(crate) const HEAD_BYTES: usize = 24;
/// Records start at multiples of this.
pub(crate) const ALIGN: usize = 8;
/// Bytes of a whole start record.
pub(crate) const START_BYTES: usize = HEAD_BYTES + 48;
/// Bytes of a whole cut or reset record.
pub(crate) const MARK_BYTES: usize = HEAD_BYTES + 16;
/// Bytes of an entry's payload before its context.
pub(crate) const ENTRY_BYTES: usize = 24;

/// What consensus must find again after a restart, beside the entries. The log does not interpret it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The newest term seen.
    pub term: u64,
    /// Who got the vote of that term; zero is nobody.
    pub vote: u64,
    /// Up to where the log is known to be committed.
    pub commit: u64,
}

/// A position and the term of what stands there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) index: u64,
    pub(crate) term: u64,
}

/// The first record of every segment: all that older segments would be needed for, and how the last one ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) previous_end: u32,
    pub(crate) previous_chain: u32,
    pub(crate) hard: HardState,
    pub(crate) last: Mark,
}

/// An entry as it lies in its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawEntry<'a> {
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) kind: u8,
    pub(crate) context: &'a [u8],
    pub(crate) data: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payload<'a> {
    Start(Start),
    Entry(RawEntry<'a>),
    Hard(HardState),
    /// The log ends here now; what stood behind is replaced.
    Cut(Mark),
    /// The log is empty now and goes on after this.
    Reset(Mark),
}

/// The kinds of records, as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Start = 1,
    Entry = 2,
    Hard = 3,
    Cut = 4,
    Reset = 5,
}

/// A record whose checksum is right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) chain: u32,
    pub(crate) previous: u32,
    pub(crate) synced: u32,
    pub(crate) kind: u8,
    pub(crate) payload: &'a [u8],
    /// Bytes that it takes in the file, padding included.
    pub(crate) total: usize,
}

/// The seed of all checksums of one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed(u32);

impl Seed {
    pub(crate) fn new(identity: &Identity) -> Self {
        let sum = crc32c::crc32c(&identity.salt.to_le_bytes());
        let sum = crc32c::crc32c_append(sum, &identity.cluster.to_le_bytes());
        Self(crc32c::crc32c_append(sum, &identity.member.to_le_bytes()))
    }

    /// Where the chain of a segment begins.
    pub(crate) fn segment(self, id: u32) -> u32 {
        crc32c::crc32c_append(self.0, &id.to_le_bytes())
    }
}

/// The bytes a record with this payload takes.
pub(crate) fn padded(payload_bytes: usize) -> usize {
    (HEAD_BYTES + payload_bytes).next_multiple_of(ALIGN)
}

/// The bytes of the record whose head is at the front of `bytes`, before anything is verified.
pub(crate) fn claimed_total(bytes: &[u8]) -> Option<usize> {
    Some(padded(u32_at(bytes, 16)? as usize))
}

/// Whether `bytes` begin as a record of segment `id` would, whole or torn.
pub(crate) fn claims(bytes: &[u8], id: u32) -> bool {
    u32_at(bytes, 8) == Some(id)
}

/// What stands at the front of some bytes and says that it is a record, before its checksum was looked at.
pub(crate) struct Suspect {
    pub(crate) chain: u32,
    pub(crate) synced: u32,
    length: usize,
    /// What the checksum is of.
    pub(crate) covered: Range<usize>,
}

/// What claims to be a whole record of segment `id` at the front of `bytes`, of `left` bytes at most.
pub(crate) fn suspect(bytes: &[u8], left: usize, id: u32) -> Option<Suspect> {
    if u32_at(bytes, 8)? != id || *bytes.get(20)? == 0 {
        return None;
    }
    let length = u32_at(bytes, 16)? as usize;
    let total = padded(length);
    (total <= left).then_some(Suspect {
        chain: u32_at(bytes, 0)?,
        synced: u32_at(bytes, 12)?,
        length,
        covered: 4..total,
    })
}

/// The record at the front of `bytes`, if it is whole, of segment `id`, and its checksum is right.
pub(crate) fn parse(bytes: &[u8], seed: Seed, id: u32) -> Option<Record<'_>> {
    let Suspect { chain, synced, length, covered } = suspect(bytes, bytes.len(), id)?;
    let total = covered.end;
    if crc32c::crc32c_append(seed.segment(id), bytes.get(covered)?) != chain {
        return None;
    }
    Some(Record {
        chain,
        previous: u32_at(bytes, 4)?,
        synced,
        kind: *bytes.get(20)?,
        payload: bytes.get(HEAD_BYTES..HEAD_BYTES + length)?,
        total,
    })
}

impl<'a> Record<'a> {
    /// What it says, or `None` for a kind or a shape that this version does not know.
    pub(crate) fn decode(&self) -> Option<Payload<'a>> {
        let mut bytes = self.payload;
        let payload = match self.kind {
            kind if kind == Kind::Start as u8 => Payload::Start(Start {
                previous_end: bytes.try_get_u32_le().ok()?,
                previous_chain: bytes.try_get_u32_le().ok()?,
                hard: take_hard(&mut bytes)?,
                last: take_mark(&mut bytes)?,
            }),
            kind if kind == Kind::Entry as u8 => return take_entry(bytes).map(Payload::Entry),
            kind if kind == Kind::Hard as u8 => Payload::Hard(take_hard(&mut bytes)?),
            kind if kind == Kind::Cut as u8 => Payload::Cut(take_mark(&mut bytes)?),
            kind if kind == Kind::Reset as u8 => Payload::Reset(take_mark(&mut bytes)?),
            _ => return None,
        };
        bytes.is_empty().then_some(payload)
    }
}

/// Writes the head of every record in `buffer` and returns the chain value after the last.
///
/// The records must be laid out as [`put_record`] leaves them.
pub(crate) fn chain(buffer: &mut [u8], seed: Seed, segment: u32, synced: u32, mut previous: u32) -> u32 {
    let segment_seed = seed.segment(segment);
    let mut rest = buffer;
    while let Some(total) = claimed_total(rest) {
        let Some((record, behind)) = rest.split_at_mut_checked(total) else { break };
        if let Some(head) = record.first_chunk_mut::<16>() {
            head[4..8].copy_from_slice(&previous.to_le_bytes());
            head[8..12].copy_from_slice(&segment.to_le_bytes());
            head[12..16].copy_from_slice(&synced.to_le_bytes());
        }
        let sum = crc32c::crc32c_append(segment_seed, record.get(4..).unwrap_or_default());
        if let Some(head) = record.first_chunk_mut::<4>() {
            *head = sum.to_le_bytes();
        }
        previous = sum;
        rest = behind;
    }
    previous
}

/// Appends a record whose head has only kind and length yet; [`chain`] fills in the rest.
pub(crate) fn put_record(buffer: &mut Vec<u8>, kind: Kind, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    buffer.reserve(padded(length));
    buffer.extend_from_slice(&[0; 16]);
    buffer.extend_from_slice(&(length as u32).to_le_bytes());
    buffer.extend_from_slice(&[kind as u8, 0, 0, 0]);
    for part in parts {
        buffer.extend_from_slice(part);
    }
    let padding = padded(length) - HEAD_BYTES - length;
    buffer.extend_from_slice(&[0; ALIGN][..padding]);
}

pub(crate) fn start_bytes(start: &Start) -> [u8; 48] {
    let mut bytes = [0; 48];
    bytes[..4].copy_from_slice(&start.previous_end.to_le_bytes());
    bytes[4..8].copy_from_slice(&start.previous_chain.to_le_bytes());
    bytes[8..32].copy_from_slice(&hard_bytes(&start.hard));
    bytes[32..].copy_from_slice(&mark_bytes(start.last));
    bytes
}

pub(crate) fn hard_bytes(hard: &HardState) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&hard.term.to_le_bytes());
    bytes[8..16].copy_from_slice(&hard.vote.to_le_bytes());
    bytes[16..].copy_from_slice(&hard.commit.to_le_bytes());
    bytes
}

pub(crate) fn mark_bytes(mark: Mark) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&mark.index.to_le_bytes());
    bytes[8..].copy_from_slice(&mark.term.to_le_bytes());
    bytes
}

pub(crate) fn entry_bytes(index: u64, term: u64, kind: u8, context_bytes: u32) -> [u8; ENTRY_BYTES] {
    let mut bytes = [0; ENTRY_BYTES];
    bytes[..8].copy_from_slice(&index.to_le_bytes());
    bytes[8..16].copy_from_slice(&term.to_le_bytes());
    bytes[16..20].copy_from_slice(&context_bytes.to_le_bytes());
    bytes[20] = kind;
    bytes
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk::<4>().map(|word| u32::from_le_bytes(*word))
}

fn take_hard(bytes: &mut &[u8]) -> Option<HardState> {
    Some(HardState {
        term: bytes.try_get_u64_le().ok()?,
        vote: bytes.try_get_u64_le().ok()?,
        commit: bytes.try_get_u64_le().ok()?,
    })
}

fn take_mark(bytes: &mut &[u8]) -> Option<Mark> {
    Some(Mark { index: bytes.try_get_u64_le().ok()?, term: bytes.try_get_u64_le().ok()? })
}

fn take_entry(mut bytes: &[u8]) -> Option<RawEntry<'_>> {
    let index = bytes.try_get_u64_le().ok()?;
    let term = bytes.try_get_u64_le().ok()?;
    let context_bytes = bytes.try_get_u32_le().ok()? as usize;
    let [kind, 0, 0, 0] = bytes.try_get_u32_le().ok()?.to_le_bytes() else { return None };
    let (context, data) = bytes.split_at_checked(context_bytes)?;
    Some(RawEntry { index, term, kind, context, data })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(parts: &[(Kind, &[u8])]) -> (Vec<u8>, Seed) {
        let seed = Seed::new(&Identity { cluster: 1, member: 2, salt: 3 });
        let mut buffer = Vec::new();
        for (kind, payload) in parts {
            put_record(&mut buffer, *kind, &[payload]);
        }
        chain(&mut buffer, seed, 7, 0, seed.segment(7));
        (buffer, seed)
    }

    #[test]
    fn what_was_put_is_what_is_read() {
        let hard = HardState { term: 1, vote: 2, commit: 3 };
        let start = Start { previous_end: 9, previous_chain: 8, hard, last: Mark { index: 4, term: 5 } };
        let (bytes, seed) = sealed(&[(Kind::Start, &start_bytes(&start)), (Kind::Hard, &hard_bytes(&hard))]);
        let first = parse(&bytes, seed, 7).expect("just written");
        assert_eq!(first.decode(), Some(Payload::Start(start)));
        assert_eq!(first.total, START_BYTES);
        let second = parse(&bytes[first.total..], seed, 7).expect("just written");
        assert_eq!(second.decode(), Some(Payload::Hard(hard)));
        assert_eq!(second.previous, first.chain);
    }

    #[test]
    fn no_byte_of_a_record_can_change_unseen() {
        let (bytes, seed) = sealed(&[(Kind::Entry, &entry_bytes(1, 1, 0, 0)), (Kind::Entry, b"odd")]);
        let total = parse(&bytes, seed, 7).expect("just written").total;
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x40;
            let record = if at < total { &changed[..] } else { &changed[total..] };
            assert!(parse(record, seed, 7).is_none(), "byte {at}");
        }
    }

    // CVE-2020-15106: a length is compared with what is there before anything is made of it.
    #[test]
    fn cve_2020_15106_a_length_that_is_a_lie_is_no_record() {
        let (bytes, seed) = sealed(&[(Kind::Entry, &entry_bytes(1, 1, 0, 0))]);
        for length in [u32::MAX, 1 << 31, 1 << 24, bytes.len() as u32] {
            let mut forged = bytes.clone();
            forged[16..20].copy_from_slice(&length.to_le_bytes());
            // As whoever knows the seed would seal it, as far as there are bytes.
            let sum = crc32c::crc32c_append(seed.segment(7), &forged[4..]);
            forged[..4].copy_from_slice(&sum.to_le_bytes());
            assert!(parse(&forged, seed, 7).is_none(), "a length of {length}");
        }
    }

    #[test]
    fn another_life_salt_or_log_never_passes() {
        let (bytes, seed) = sealed(&[(Kind::Hard, &[0; 24])]);
        assert!(parse(&bytes, seed, 8).is_none());
        for identity in [
            Identity { cluster: 9, member: 2, salt: 3 },
            Identity { cluster: 1, member: 9, salt: 3 },
            Identity { cluster: 1, member: 2, salt: 9 },
        ] {
            assert!(parse(&bytes, Seed::new(&identity), 7).is_none());
        }
    }

    #[test]
    fn a_layout_once_written_stays() {
        let (bytes, _) = sealed(&[(Kind::Cut, &mark_bytes(Mark { index: 0x0102, term: 3 }))]);
        assert_eq!(bytes.len(), MARK_BYTES);
        assert_eq!(
            &bytes[8..],
            [7, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 4, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]
        );
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(0u8.., 0..200)) {
            let seed = Seed::new(&Identity::default());
            let _ = parse(&bytes, seed, 0).and_then(|record| record.decode());
            let record =
                Record { chain: 0, previous: 0, synced: 0, kind: bytes.len() as u8 % 7, payload: &bytes, total: 0 };
            let _ = record.decode();
        }
    }
}
