//! Where every entry lies, in memory: eight bytes per entry, and a run per term.
//!
//! It knows positions, never bytes. The owner of the log changes it; readers copy from it under a short lock.
//!
//! INVARIANT: `positions` ascend, and every one of them lies in a file of `segments`.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::disk::File;
use crate::record::Mark;

/// A place in the log: segment id above, offset below, so that places compare in the order of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(u64);

impl Place {
    pub(crate) fn new(segment: u32, offset: u32) -> Self {
        Self(u64::from(segment) << 32 | u64::from(offset))
    }

    pub(crate) fn segment(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(crate) fn offset(self) -> u32 {
        self.0 as u32
    }
}

/// A file of the log.
#[derive(Clone)]
pub(crate) struct Segment {
    pub(crate) id: u32,
    pub(crate) file: Arc<dyn File>,
    pub(crate) bytes: u64,
}

#[derive(Default)]
pub(crate) struct Index {
    /// The position before the first entry.
    base: Mark,
    positions: VecDeque<Place>,
    /// The first index of each term that entries have, ascending.
    runs: VecDeque<Mark>,
    segments: VecDeque<Segment>,
}

impl Index {
    pub(crate) fn base(&self) -> Mark {
        self.base
    }

    pub(crate) fn first(&self) -> u64 {
        self.base.index + 1
    }

    pub(crate) fn last(&self) -> Mark {
        let index = self.base.index + self.positions.len() as u64;
        Mark { index, term: self.runs.back().map_or(self.base.term, |run| run.term) }
    }

    /// The term at `index`, known from the base to the last entry.
    pub(crate) fn term(&self, index: u64) -> Option<u64> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        if index < self.base.index || index > self.last().index {
            return None;
        }
        let run = self.runs.partition_point(|run| run.index <= index).checked_sub(1)?;
        self.runs.get(run).map(|run| run.term)
    }

    /// The entry after the last one.
    pub(crate) fn push(&mut self, term: u64, place: Place) {
        debug_assert!(self.positions.back().is_none_or(|last| *last < place), "places ascend");
        let index = self.last().index + 1;
        if self.runs.back().is_none_or(|run| run.term != term) {
            self.runs.push_back(Mark { index, term });
        }
        self.positions.push_back(place);
    }

    /// Drops what stands behind `index`.
    pub(crate) fn truncate(&mut self, index: u64) {
        self.positions.truncate(index.saturating_sub(self.base.index) as usize);
        while self.runs.back().is_some_and(|run| run.index > index) {
            self.runs.pop_back();
        }
    }

    /// Drops all entries; the next one follows `base`.
    pub(crate) fn reset(&mut self, base: Mark) {
        self.base = base;
        self.positions.clear();
        self.runs.clear();
    }

    /// Forgets the entries up to and with `index`, as far as there are any.
    pub(crate) fn release(&mut self, index: u64) {
        let index = index.min(self.last().index);
        let Some(term) = self.term(index) else { return };
        self.positions.drain(..(index - self.base.index) as usize);
        self.base = Mark { index, term };
        while self.runs.get(1).is_some_and(|run| run.index <= index + 1) {
            self.runs.pop_front();
        }
        if self.positions.is_empty() {
            self.runs.clear();
        } else if let Some(run) = self.runs.front_mut() {
            run.index = run.index.max(index + 1);
        }
        // What a burst needed must not stay for ever.
        if self.positions.capacity() > 65_536 && self.positions.capacity() / 4 > self.positions.len() {
            self.positions.shrink_to(self.positions.len() * 2);
        }
    }

    pub(crate) fn place(&self, index: u64) -> Option<Place> {
        self.positions.get(index.checked_sub(self.first())? as usize).copied()
    }

    pub(crate) fn add_segment(&mut self, segment: Segment) {
        self.segments.push_back(segment);
    }

    pub(crate) fn segment(&self, id: u32) -> Option<&Segment> {
        let first = self.segments.front()?.id;
        self.segments.get(id.checked_sub(first)? as usize)
    }

    /// Whether a segment holds nothing that an entry or the newest segment needs.
    pub(crate) fn has_spent(&self) -> bool {
        self.segments.front().is_some_and(|segment| segment.id < self.needed())
    }

    /// Takes out the oldest segment that is no longer needed.
    pub(crate) fn take_spent(&mut self) -> Option<Segment> {
        if self.has_spent() { self.segments.pop_front() } else { None }
    }

    /// The oldest segment that must stay. The newest always does: its start record stands for all before.
    fn needed(&self) -> u32 {
        let newest = self.segments.back().map_or(0, |segment| segment.id);
        self.positions.front().map_or(newest, |place| place.segment())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(terms: &[u64]) -> Index {
        let mut index = Index::default();
        for (at, term) in terms.iter().enumerate() {
            index.push(*term, Place::new(1, at as u32));
        }
        index
    }

    fn terms(index: &Index) -> Vec<Option<u64>> {
        (0..=6).map(|at| index.term(at)).collect()
    }

    #[test]
    fn terms_survive_release_truncation_and_reset() {
        let mut index = filled(&[1, 1, 2, 2, 5]);
        assert_eq!(terms(&index), [Some(0), Some(1), Some(1), Some(2), Some(2), Some(5), None]);
        index.release(2);
        assert_eq!(terms(&index), [None, None, Some(1), Some(2), Some(2), Some(5), None]);
        index.release(3);
        index.truncate(4);
        assert_eq!(terms(&index), [None, None, None, Some(2), Some(2), None, None]);
        assert_eq!(index.last(), Mark { index: 4, term: 2 });
        index.release(9);
        assert_eq!((index.first(), index.last()), (5, Mark { index: 4, term: 2 }));
        index.push(5, Place::new(1, 9));
        assert_eq!(terms(&index)[4..], [Some(2), Some(5), None]);
        index.reset(Mark { index: 6, term: 6 });
        assert_eq!(terms(&index)[4..], [None, None, Some(6)]);
    }
}
