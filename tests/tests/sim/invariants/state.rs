//! State equal at equal applied index: members that applied the same entries gave the same outcomes, and their rows
//! hash to the same. How far the sweep of compacted history is may differ, and nothing else.

use std::collections::BTreeMap;

use apply::{Fingerprint, Machine};
use command::Outcome;
use store::Family;
use types::v2::{Path, Watch};
use v2store::HISTORY_EVENTS_MAX;

use super::committed::Committed;
use super::{Verdict, Violation, logs, require};
use crate::disk::Row;

const NAME: &str = "state";

/// Members hash their state at indexes that this divides.
pub(crate) const HASH_EVERY: u64 = 24;

/// What everybody's state was.
#[derive(Default)]
pub(crate) struct States {
    by_index: BTreeMap<u64, (u64, usize)>,
    fingerprints: BTreeMap<u64, (Option<Fingerprint>, usize)>,
}

impl States {
    /// A member has this state at this index.
    pub(crate) fn holds(&mut self, place: usize, index: u64, hash: u64) -> Verdict {
        let (first, who) = *self.by_index.entry(index).or_insert((hash, place));
        require(NAME, first == hash, || format!("members {who} and {place} differ at index {index}"))
    }

    /// A member tells this fingerprint for this index: it is what members compare among themselves.
    pub(crate) fn tells(&mut self, place: usize, machine: &Machine) -> Verdict {
        let index = machine.position().index;
        let told = machine.fingerprints().at(index);
        require(NAME, told.is_some(), || format!("member {place} has no fingerprint of {index}"))?;
        let (first, who) = self.fingerprints.entry(index.0).or_insert((told, place));
        require(NAME, *first == told, || {
            format!("members {who} and {place} have different fingerprints at index {index}")
        })
    }

    /// A member applied an entry, with these outcomes.
    pub(crate) fn applied(
        committed: &mut Committed,
        place: usize,
        index: u64,
        outcomes: &[Outcome],
    ) -> Verdict {
        let Some(entry) = committed.entry_mut(index) else {
            return Err(Violation::new(NAME, format!("member {place} applied {index}, never committed")));
        };
        let first = entry.outcomes.get_or_insert_with(|| outcomes.to_vec());
        require(NAME, first == outcomes, || {
            format!("entry {index} has other outcomes at member {place}: {outcomes:?}, elsewhere {first:?}")
        })
    }
}

/// Rows of v2's events begin so. Each holds those of a batch, and batches are a member's own.
const EVENTS: u8 = 0;

/// What the history of v2 tells who asks for all of it.
fn events_of(machine: &Machine) -> String {
    let since = machine.v2().index().saturating_sub(HISTORY_EVENTS_MAX - 1).max(1);
    let all = Watch { path: Path::clean("/"), recursive: true, stream: true, since: Some(since) };
    format!("{:?}", machine.v2().seek(&all, since, usize::MAX))
}

/// A hash of everything replicated in a machine, given all rows of its store.
pub(crate) fn hash(machine: &Machine, rows: &[Row]) -> Result<u64, Violation> {
    let kv = machine.mvcc().hash_kv(None).map_err(|error| Violation::new(NAME, error.to_string()))?;
    let kv = format!("{kv:?}");
    let events = events_of(machine);
    let mut parts: Vec<&[u8]> = vec![kv.as_bytes(), events.as_bytes()];
    for (family, key, value) in rows {
        let counts = match family {
            Family::Keys | Family::Revisions => false,
            Family::Meta => !key.ends_with(b"swept"),
            Family::V2 => key.first() != Some(&EVENTS),
            Family::Members => true,
        };
        if counts {
            parts.extend([key.as_slice(), value.as_slice()]);
        }
    }
    Ok(logs::hash(&parts))
}
