//! What is published at one moment: the present through the index, the past through the rows.
//!
//! The index goes on while a view lives. A view that finds it at another revision than its own goes on in the
//! rows, which still tell what was; so no read keeps a lock for longer than a chunk takes.

use std::ops::ControlFlow;

use bytes::Bytes;
use store::{Direction, Moment};
use types::{KeyRange, RangeEnd, RangeQuery, RangeReply, Revision};

use crate::keyspace::State;
use crate::select::{self, Entry, Source, Visit};
use crate::{Mvcc, ReadError, history};

/// Entries that are visited under one hold of the lock.
const CHUNK_KEYS_MAX: usize = 1024;
/// Looking through one change costs about as much as looking at one key; up to so many nobody notices.
const CHANGES_MIN: u64 = 256;

/// The keyspace at one moment.
pub(crate) struct View<'a> {
    mvcc: &'a Mvcc,
    pub(crate) moment: Moment<'a>,
    /// The current revision of that moment.
    pub(crate) revision: Revision,
    pub(crate) compacted: Option<Revision>,
}

impl<'a> View<'a> {
    pub(crate) fn new(mvcc: &'a Mvcc, moment: Moment<'a>, state: &State) -> Self {
        Self { mvcc, moment, revision: state.revision, compacted: state.compacted }
    }

    pub(crate) fn range(&self, query: &RangeQuery) -> Result<RangeReply, ReadError> {
        let at = admit(query.at, self.revision, self.compacted)?;
        select::range(&self.at(at), query)
    }

    /// The state at a revision that `admit` let through.
    pub(crate) fn at(&self, at: Revision) -> ViewAt<'_> {
        ViewAt { view: self, at }
    }
}

/// Which revision a request means, if it may.
pub(crate) fn admit(
    at: Option<Revision>,
    current: Revision,
    compacted: Option<Revision>,
) -> Result<Revision, ReadError> {
    match at {
        None => Ok(current),
        Some(at) if at > current => Err(ReadError::FutureRevision),
        Some(at) if at < compacted.unwrap_or_default() => Err(ReadError::Compacted),
        Some(at) => Ok(at),
    }
}

/// A view's state at one revision, its own or an earlier one.
pub(crate) struct ViewAt<'a> {
    view: &'a View<'a>,
    at: Revision,
}

impl ViewAt<'_> {
    /// Asks the index, if it stands where this does.
    fn with_index<T>(&self, ask: impl FnOnce(&State) -> T) -> Option<T> {
        if self.at != self.view.revision {
            return None;
        }
        let state = self.view.mvcc.state.read();
        (state.revision == self.at).then(|| ask(&state))
    }

    /// Corrects today's count by what happened since, or counts the keys, whichever looks cheaper.
    fn count_of_the_past(&self, range: &KeyRange) -> Result<u64, ReadError> {
        if range.as_single().is_none()
            && let Some((today, count, moment)) = self.today(range)
        {
            let changes_max = count.saturating_mul(2).max(CHANGES_MIN);
            if today.0.saturating_sub(self.at.0) <= changes_max
                && let Some(growth) = history::growth(&moment, range, self.at, today, changes_max)?
            {
                return Ok(count.saturating_add_signed(growth.saturating_neg()));
            }
        }
        let mut count = 0;
        history::walk(&self.view.moment, range, self.at, Direction::Forward, &mut |_, _, _| {
            count += 1;
            ControlFlow::Continue(())
        })?;
        Ok(count)
    }

    /// The current revision, the count there, and a moment in which every change since `at` is to be found.
    fn today(&self, range: &KeyRange) -> Option<(Revision, u64, Moment<'_>)> {
        let mvcc = self.view.mvcc;
        let state = mvcc.state.read();
        // A later compaction lets a sweep take some of these changes away.
        (state.compacted.unwrap_or_default() <= self.at)
            .then(|| (state.revision, state.index.count(range), mvcc.store.moment()))
    }

    /// Visits one chunk of the index.
    fn chunk(&self, rest: &KeyRange, direction: Direction, visit: &mut Visit<'_>) -> Chunk {
        let visited = self.with_index(|state| match direction {
            Direction::Forward => chunk_up(state, rest, visit),
            Direction::Backward => chunk_down(state, rest, visit),
        });
        match visited {
            Some(Some(rest)) => Chunk::Before(rest),
            Some(None) => Chunk::Last,
            None => Chunk::MovedOn,
        }
    }
}

/// What came of visiting a chunk of the index.
enum Chunk {
    /// This is left.
    Before(KeyRange),
    /// Nothing is left, or nobody wants it.
    Last,
    /// Nothing was visited: the index stands at another revision.
    MovedOn,
}

impl Source for ViewAt<'_> {
    fn count(&self, range: &KeyRange) -> Result<u64, ReadError> {
        if range.is_empty() {
            return Ok(0);
        }
        match self.with_index(|state| state.index.count(range)) {
            Some(count) => Ok(count),
            None => self.count_of_the_past(range),
        }
    }

    fn visit(&self, range: &KeyRange, direction: Direction, visit: &mut Visit<'_>) -> Result<(), ReadError> {
        if range.is_empty() {
            return Ok(());
        }
        if let Some(key) = range.as_single()
            && let Some(meta) = self.with_index(|state| state.index.get(key))
        {
            if let Some(meta) = meta {
                // One key: whether the visitor wants another does not matter.
                let _ = visit(key, meta, None);
            }
            return Ok(());
        }
        let mut rest = range.clone();
        if range.as_single().is_none() {
            loop {
                match self.chunk(&rest, direction, visit) {
                    Chunk::Before(left) => rest = left,
                    Chunk::Last => return Ok(()),
                    Chunk::MovedOn => break,
                }
            }
        }
        history::walk(&self.view.moment, &rest, self.at, direction, visit)
    }

    fn fetch(&self, entries: &mut [&mut Entry]) -> Result<(), ReadError> {
        history::fetch(&self.view.moment, entries)
    }
}

/// What is left after a chunk; `None` when nothing is or nobody wants it.
fn chunk_up(state: &State, rest: &KeyRange, visit: &mut Visit<'_>) -> Option<KeyRange> {
    let mut visited = 0;
    let mut next = None;
    state.index.ascend(&rest.start, &mut |key, meta| {
        if matches!(&rest.end, RangeEnd::Before(end) if key >= end.as_ref()) {
            return ControlFlow::Break(());
        }
        if visited == CHUNK_KEYS_MAX {
            next = Some(KeyRange { start: Bytes::copy_from_slice(key), end: rest.end.clone() });
            return ControlFlow::Break(());
        }
        visited += 1;
        visit(key, meta, None)
    });
    next
}

/// The same from the other end.
fn chunk_down(state: &State, rest: &KeyRange, visit: &mut Visit<'_>) -> Option<KeyRange> {
    let mut visited = 0;
    let mut next = None;
    let mut last = Vec::new();
    let before = match &rest.end {
        RangeEnd::Before(end) => Some(end.as_ref()),
        RangeEnd::Single | RangeEnd::Unbounded => None,
    };
    state.index.descend(before, &mut |key, meta| {
        if key < rest.start.as_ref() {
            return ControlFlow::Break(());
        }
        if visited == CHUNK_KEYS_MAX {
            let end = RangeEnd::Before(Bytes::copy_from_slice(&last));
            next = Some(KeyRange { start: rest.start.clone(), end });
            return ControlFlow::Break(());
        }
        visited += 1;
        if visited == CHUNK_KEYS_MAX {
            last.extend_from_slice(key);
        }
        visit(key, meta, None)
    });
    next
}
