//! The search behind a bad record for one that was written after the bad one had been synced.
//!
//! A record can begin at every eighth byte, and what stands there may have been chosen by a client, lengths too. So
//! nothing is hashed once for each place that claims to be a record: the bytes are hashed once, the sums of the way so far
//! are kept every [`GRAIN_BYTES`], and the sum of any piece follows from the two at its ends.
//!
//! INVARIANT: at most [`HASHED_PER_BYTE_MAX`] bytes are hashed for each byte that is searched, whatever they are.

use std::cell::Cell;

use crate::record::{ALIGN, Seed, suspect};

/// How far apart the sums lie that are kept.
const GRAIN_BYTES: usize = 64;

/// Each byte once for the sums, and up to a grain at both ends of what claims to be a record; two such places cannot be
/// nearer than twice [`ALIGN`] unless what they claim is as short as a segment's number.
#[cfg(test)]
const HASHED_PER_BYTE_MAX: u64 = 1 + 2 * GRAIN_BYTES as u64 / ALIGN as u64;

/// Whether what stands at `at`, of `left` bytes to the end of segment `id`, says that it is a whole record before which
/// more than `tail` bytes were synced.
pub(crate) fn claims_synced(bytes: &[u8], (at, left): (usize, usize), tail: usize, id: u32) -> bool {
    suspect(bytes, left, id).is_some_and(|suspect| (tail + 1..=at).contains(&(suspect.synced as usize)))
}

/// Whether in `behind`, which is all behind `tail`, stands a whole record of segment `id` that says that more than `tail`
/// bytes were synced before it.
pub(crate) fn finds_synced(behind: &[u8], tail: usize, seed: Seed, id: u32) -> bool {
    finds(&Sums::new(behind), tail, seed, id)
}

fn finds(sums: &Sums<'_>, tail: usize, seed: Seed, id: u32) -> bool {
    let seed = seed.segment(id);
    let mut at = tail.next_multiple_of(ALIGN) - tail;
    while let Some(rest) = sums.bytes.get(at..).filter(|rest| !rest.is_empty()) {
        if claims_synced(rest, (tail + at, rest.len()), tail, id)
            && let Some(suspect) = suspect(rest, rest.len(), id)
            && sums.of(seed, at + suspect.covered.start, at + suspect.covered.end) == Some(suspect.chain)
        {
            return true;
        }
        at += ALIGN;
    }
    false
}

/// Sums of all pieces of some bytes.
struct Sums<'a> {
    bytes: &'a [u8],
    /// Made when the first piece is asked for: behind most tails there is nothing.
    table: std::cell::OnceCell<Table>,
    hashed: Cell<u64>,
}

struct Table {
    /// The sum of all before each grain.
    before: Vec<u32>,
    /// What so many zeros behind it make of a sum: for each length below [`STRIDE`], and for its multiples.
    few: Vec<u32>,
    many: Vec<u32>,
}

/// One in the field of these checksums, whose highest power is the lowest bit.
const ONE: u32 = 1 << 31;
/// Castagnoli's polynomial in that order.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// Lengths are taken apart into a rest below this and a multiple of it.
const STRIDE: usize = 4096;

impl<'a> Sums<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, table: std::cell::OnceCell::new(), hashed: Cell::new(0) }
    }

    /// The checksum of the piece from `begin` to `end`, seeded. `None` if it is not all there.
    fn of(&self, seed: u32, begin: usize, end: usize) -> Option<u32> {
        let length = end.checked_sub(begin).filter(|_| end <= self.bytes.len())?;
        let table = self.table.get_or_init(|| self.table());
        let zeros = times(*table.few.get(length % STRIDE)?, *table.many.get(length / STRIDE)?);
        Some(times(seed ^ self.until(table, begin)?, zeros) ^ self.until(table, end)?)
    }

    /// The sum of all before `end`.
    fn until(&self, table: &Table, end: usize) -> Option<u32> {
        let grain = end / GRAIN_BYTES;
        Some(self.append(*table.before.get(grain)?, self.bytes.get(grain * GRAIN_BYTES..end)?))
    }

    fn table(&self) -> Table {
        let mut sum = 0;
        let mut before = vec![0];
        for grain in self.bytes.chunks_exact(GRAIN_BYTES) {
            sum = self.append(sum, grain);
            before.push(sum);
        }
        let few = powers(crc32c::crc32c_combine(ONE, 0, 1), STRIDE);
        let many = powers(crc32c::crc32c_combine(ONE, 0, STRIDE), self.bytes.len() / STRIDE + 1);
        Table { before, few, many }
    }

    fn append(&self, sum: u32, bytes: &[u8]) -> u32 {
        self.hashed.set(self.hashed.get() + bytes.len() as u64);
        crc32c::crc32c_append(sum, bytes)
    }
}

/// The first `count` powers of `base`, from the one that is one.
fn powers(base: u32, count: usize) -> Vec<u32> {
    std::iter::successors(Some(ONE), |power| Some(times(*power, base))).take(count).collect()
}

/// The product in the field of these checksums.
fn times(left: u32, mut right: u32) -> u32 {
    let mut product = 0;
    for bit in (0..32).rev() {
        product ^= right & 0_u32.wrapping_sub(left >> bit & 1);
        right = (right >> 1) ^ (POLYNOMIAL & 0_u32.wrapping_sub(right & 1));
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;
    use crate::record::{HardState, Kind, chain, hard_bytes, parse, put_record};

    const ID: u32 = 7;

    fn seed() -> Seed {
        Seed::new(&Identity { cluster: 1, member: 2, salt: 3 })
    }

    /// A record that says that `synced` bytes were synced before it.
    fn record(synced: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_record(&mut bytes, Kind::Entry, &[payload]);
        chain(&mut bytes, seed(), ID, synced, 9);
        bytes
    }

    /// Every sixteenth byte claims to be a record of `length` bytes that was written after much had been synced.
    fn claims(bytes: usize, synced: u32, length: u32) -> Vec<u8> {
        let words = [length, 0x0101_0101, ID, synced].map(u32::to_le_bytes).concat();
        words.repeat(bytes / words.len())
    }

    #[test]
    fn lengths_that_a_client_chose_are_not_hashed_again_and_again() {
        // A torn record in whose value every place claims the half of it, which used to be 270 GB to be hashed.
        let bytes = claims(1 << 20, 8, 1 << 19);
        let sums = Sums::new(&bytes);
        assert!(!finds(&sums, 0, seed(), ID));
        let hashed = sums.hashed.get();
        assert!(hashed > bytes.len() as u64, "the places were looked at: {hashed}");
        assert!(hashed <= HASHED_PER_BYTE_MAX * bytes.len() as u64, "{hashed} for {}", bytes.len());
        // Lengths that are as short as a segment's number can stand at every place.
        let dense = [ID, 0x0101_0101].map(u32::to_le_bytes).concat().repeat(1 << 15);
        let sums = Sums::new(&dense);
        assert!(!finds(&sums, 0, seed(), ID));
        assert!(sums.hashed.get() <= HASHED_PER_BYTE_MAX * dense.len() as u64, "{}", sums.hashed.get());
    }

    #[test]
    fn what_was_synced_later_is_found_among_such_claims() {
        let tail = 4096;
        let hard = hard_bytes(&HardState { term: 1, vote: 2, commit: 3 });
        for (synced, found) in [(0, false), (4096, false), (4097, true), (65_536, true), (u32::MAX, false)] {
            for payload in [&hard[..], &claims(8192, 4100, 5000), b""] {
                let mut bytes = claims(1 << 17, 4100, 1 << 12);
                let whole = record(synced, payload);
                bytes[80_000..80_000 + whole.len()].copy_from_slice(&whole);
                assert_eq!(
                    finds_synced(&bytes, tail, seed(), ID),
                    found,
                    "{synced} of {} bytes",
                    whole.len()
                );
                bytes[80_001] ^= 1;
                assert!(!finds_synced(&bytes, tail, seed(), ID), "a changed byte");
            }
        }
    }

    #[test]
    fn nothing_is_hashed_where_nothing_claims_to_be_a_record() {
        for bytes in [vec![0; 100_000], vec![0xff; 99_999], Vec::new()] {
            let sums = Sums::new(&bytes);
            assert!(!finds(&sums, 0, seed(), ID));
            assert_eq!(sums.hashed.get(), 0);
        }
    }

    proptest::proptest! {
        #[test]
        fn the_sum_of_a_piece_is_that_of_its_bytes(
            bytes in proptest::collection::vec(0u8.., 0..20_000),
            seed in 0u32..,
            ends in (0usize..20_000, 0usize..20_000),
        ) {
            let (begin, end) = (ends.0.min(ends.1), ends.0.max(ends.1));
            let direct = bytes.get(begin..end).map(|piece| crc32c::crc32c_append(seed, piece));
            proptest::prop_assert_eq!(Sums::new(&bytes).of(seed, begin, end), direct);
        }

        #[test]
        fn it_finds_what_trying_every_place_finds(
            pieces in proptest::collection::vec((0u8..4, 0u32..900, 0usize..9), 0..30),
            tail in 0usize..300,
        ) {
            let mut bytes = Vec::new();
            for (what, number, length) in pieces {
                match what {
                    0 => bytes.extend(record(number, &vec![1; length])),
                    1 => bytes.extend(claims(16 * length, number, number)),
                    2 => bytes.extend(vec![0; 8 * length]),
                    _ => bytes.extend(vec![number as u8; length]),
                }
            }
            let tried = (tail.next_multiple_of(ALIGN)..bytes.len()).step_by(ALIGN).any(|at| {
                parse(&bytes[at..], seed(), ID)
                    .is_some_and(|record| (tail + 1..=at).contains(&(record.synced as usize)))
            });
            proptest::prop_assert_eq!(finds_synced(bytes.get(tail..).unwrap_or_default(), tail, seed(), ID), tried);
        }
    }
}
