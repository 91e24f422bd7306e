//! Ranges of keys put together: sorted, and apart from one another.
//!
//! INVARIANT: each range begins after the end of the one before, with keys in between that belong to none.

use bytes::Bytes;
use types::{KeyRange, RangeEnd};

/// A set of keys, as ranges. What is asked of it costs a binary search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<Span>);

/// From `start` up to but without `end`; no end is after every key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Span {
    start: Bytes,
    end: Option<Bytes>,
}

impl Ranges {
    /// Of all keys that are in any of these.
    pub fn of<'a>(ranges: impl Iterator<Item = &'a KeyRange>) -> Self {
        let mut spans: Vec<Span> = ranges.filter(|range| !range.is_empty()).map(span).collect();
        spans.sort_by(|a, b| a.start.cmp(&b.start));
        let mut merged: Vec<Span> = Vec::with_capacity(spans.len());
        for span in spans {
            match merged.last_mut() {
                Some(last) if last.end.as_ref().is_none_or(|end| span.start <= *end) => {
                    last.end = later(last.end.take(), span.end);
                }
                _ => merged.push(span),
            }
        }
        Self(merged)
    }

    /// Whether every key of `range` is in it. Of a range without keys the first must be.
    pub fn cover(&self, range: &KeyRange) -> bool {
        let start = first(&range.start);
        let after = self.0.partition_point(|span| span.start.as_ref() <= start);
        let Some(span) = after.checked_sub(1).and_then(|at| self.0.get(at)) else { return false };
        let Some(end) = &span.end else { return true };
        match &range.end {
            RangeEnd::Unbounded => false,
            RangeEnd::Single => start < end.as_ref(),
            RangeEnd::Before(wanted) => start < end.as_ref() && wanted <= end,
        }
    }
}

impl Ranges {
    /// Whether a key is in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        let after = self.0.partition_point(|span| span.start.as_ref() <= key);
        let span = after.checked_sub(1).and_then(|at| self.0.get(at));
        span.is_some_and(|span| span.end.as_ref().is_none_or(|end| key < end.as_ref()))
    }
}

/// No key comes before this one.
const FIRST: &[u8] = b"\0";

fn first(start: &[u8]) -> &[u8] {
    if start.is_empty() { FIRST } else { start }
}

fn span(range: &KeyRange) -> Span {
    let start = if range.start.is_empty() { Bytes::from_static(FIRST) } else { range.start.clone() };
    let end = match &range.end {
        RangeEnd::Single => Some([&range.start[..], b"\0"].concat().into()),
        RangeEnd::Before(end) => Some(end.clone()),
        RangeEnd::Unbounded => None,
    };
    Span { start, end }
}

fn later(a: Option<Bytes>, b: Option<Bytes>) -> Option<Bytes> {
    Some(a?.max(b?))
}
