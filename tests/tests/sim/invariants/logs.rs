//! Logs match: an entry of the same index and term is the same everywhere, and so is all that stands before it.

use std::collections::BTreeMap;

use super::{Verdict, require};

const NAME: &str = "logs";

/// Every entry that anybody ever wrote.
#[derive(Default)]
pub(crate) struct Logs {
    entries: BTreeMap<(u64, u64), Written>,
}

struct Written {
    hash: u64,
    before: Option<u64>,
    place: usize,
}

impl Logs {
    /// A member has an entry on disk. `before` is the term of the entry before it, where that is known; since the
    /// same holds for that one, equal terms before make equal logs.
    pub(crate) fn written(
        &mut self,
        place: usize,
        (index, term): (u64, u64),
        before: Option<u64>,
        hash: u64,
    ) -> Verdict {
        let first = self.entries.entry((index, term)).or_insert(Written { hash, before, place });
        require(NAME, first.hash == hash, || {
            format!("entry {index} of term {term} is not the same at members {} and {place}", first.place)
        })?;
        let agree = first.before.is_none() || before.is_none() || first.before == before;
        require(NAME, agree, || {
            format!(
                "before entry {index} of term {term} stands term {:?} at member {} and {before:?} at member {place}",
                first.before, first.place
            )
        })?;
        first.before = first.before.or(before);
        Ok(())
    }
}

/// A hash of the parts of an entry: FNV-1a, since it must be the same on every machine.
pub(crate) fn hash(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for byte in part.iter().chain(&(part.len() as u64).to_le_bytes()) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash
}
