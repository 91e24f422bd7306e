//! Histories are linearizable: there is one order of all operations that explains every answer and that no two
//! operations contradict of which one was answered before the other began.
//!
//! The order of writes is that of the log, which `committed` holds to be the same for all; their revisions are those
//! that a simple model gives them in that order, so an answer that tells another is a contradiction. A write without
//! an answer is searched for in the log: found, it counts as done at any time after it began; not found, it was not
//! done. A read takes its place right after the write that made the revision that it saw. What remains to be checked
//! is that no place comes before that of an operation that had ended before.

use std::collections::BTreeMap;

use bytes::Bytes;
use command::{Effect, Outcome, Refused};
use types::{KeyRange, KeyValue, Revision};

use super::committed::Committed;
use super::model::{Expected, Model};
use super::{Verdict, require};
use crate::history::{Answer, Ask, History, Operation};

const NAME: &str = "linearizable";

/// The order of all writes, and the states that they made.
pub(crate) struct Past {
    model: Model,
    // By the number of the operation.
    places: BTreeMap<u64, Place>,
}

/// Where a write stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// Index of the entry, number of the command in it.
    position: (u64, usize),
    /// The revision after it.
    revision: u64,
    expected: Expected,
}

impl Past {
    /// Finds every write in the log.
    pub(crate) fn of(history: &History, committed: &Committed) -> Result<Self, super::Violation> {
        let numbers: BTreeMap<&Bytes, u64> =
            (0..history.next()).filter_map(|number| Some((history.data(number)?, number))).collect();
        let mut past = Self { model: Model::new(), places: BTreeMap::new() };
        for (index, entry) in committed.entries() {
            for (at, command) in entry.commands.iter().enumerate() {
                let expected = past.model.apply(*index, command);
                let place = Place { position: (*index, at), revision: past.model.revision(), expected };
                let Some(number) = numbers.get(&command.encode()) else { continue };
                let earlier = past.places.insert(*number, place);
                require(NAME, earlier.is_none(), || {
                    let first = earlier.map(|earlier| earlier.position);
                    format!("operation {number} was done twice, at {first:?} and at {:?}", place.position)
                })?;
            }
        }
        Ok(past)
    }

    /// The newest revision.
    pub(crate) fn revision(&self) -> u64 {
        self.model.revision()
    }

    /// The states.
    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    /// A read of `range` at `revision` shows exactly these pairs.
    pub(crate) fn shows(
        &self,
        property: &'static str,
        range: &KeyRange,
        revision: Revision,
        pairs: &[KeyValue],
    ) -> Verdict {
        let state = self.model.at(revision.0);
        require(property, state.is_some(), || format!("a read saw revision {revision}, which never was"))?;
        let Some(state) = state else { return Ok(()) };
        let wanted: Vec<_> = state.iter().filter(|(key, _)| range.contains(key)).collect();
        let same = wanted.len() == pairs.len()
            && wanted
                .iter()
                .zip(pairs)
                .all(|((key, value), pair)| *key == pair.key.as_ref() && value.is(pair));
        require(property, same, || {
            format!("a read at revision {revision} saw {pairs:?}, where there was {wanted:?}")
        })
    }
}

/// What has ended by a moment: nothing that begins later may stand before it.
#[derive(Clone, Copy, Debug, Default)]
struct Ended {
    position: (u64, usize),
    revision: u64,
    v2_index: u64,
}

/// Checks a whole history.
pub(crate) fn check(history: &History, past: &Past) -> Verdict {
    let mut moments: Vec<(u64, u64, bool)> = Vec::new();
    for (operation, number) in history.operations.iter().zip(0..) {
        moments.push((operation.began, number, true));
        moments.extend(operation.ended.map(|ended| (ended, number, false)));
        if matches!(operation.answer, Some(Answer::Refused)) {
            refused(past, number)?;
        }
    }
    moments.sort_unstable();
    let mut ended = Ended::default();
    for (_, number, begins) in moments {
        let operation = &history.operations[number as usize];
        if begins {
            begin(past, number, operation, ended)?;
        } else {
            end(past, number, operation, &mut ended)?;
        }
    }
    Ok(())
}

/// Nothing that begins may stand before what has ended.
fn begin(past: &Past, number: u64, operation: &Operation, ended: Ended) -> Verdict {
    match (&operation.ask, &operation.answer) {
        (Ask::Linear(_), Some(Answer::Read { revision, v2_index, .. })) => {
            require(NAME, revision.0 >= ended.revision && *v2_index >= ended.v2_index, || {
                format!(
                    "read {number} at member {} saw revision {revision} and v2 index {v2_index}, but when it began \
                     somebody had been told of revision {} and v2 index {}",
                    operation.place, ended.revision, ended.v2_index
                )
            })
        }
        (Ask::Write { .. }, _) => {
            let Some(place) = past.places.get(&number) else { return Ok(()) };
            require(NAME, place.position > ended.position && place.revision >= ended.revision, || {
                format!("write {number} stands at {place:?}, before what had ended when it began: {ended:?}")
            })
        }
        _ => Ok(()),
    }
}

/// An answer agrees with the order, and moves the line.
fn end(past: &Past, number: u64, operation: &Operation, ended: &mut Ended) -> Verdict {
    match (&operation.ask, &operation.answer) {
        (Ask::Write { .. }, Some(Answer::Done(outcome))) => {
            let place = past.places.get(&number);
            require(NAME, place.is_some(), || {
                format!("write {number} was acknowledged by member {} and is in no log", operation.place)
            })?;
            let Some(place) = place else { return Ok(()) };
            let fits = outcome.revision.0 == place.revision && is_expected(outcome, place.expected);
            require(NAME, fits, || format!("write {number} was answered {outcome:?}, expected {place:?}"))?;
            ended.position = ended.position.max(place.position);
            ended.revision = ended.revision.max(place.revision);
            if let Ok(Effect::V2(Ok(events))) = &outcome.result {
                ended.v2_index = events.iter().map(|event| event.index).fold(ended.v2_index, u64::max);
            }
            Ok(())
        }
        (Ask::Linear(range), Some(Answer::Read { revision, pairs, v2_index })) => {
            past.shows(NAME, range, *revision, pairs)?;
            ended.revision = ended.revision.max(revision.0);
            ended.v2_index = ended.v2_index.max(*v2_index);
            Ok(())
        }
        _ => Ok(()),
    }
}

fn refused(past: &Past, number: u64) -> Verdict {
    let place = past.places.get(&number);
    require(NAME, place.is_none(), || {
        format!("write {number} was said not to have happened, and stands at {place:?}")
    })
}

fn is_expected(outcome: &Outcome, expected: Expected) -> bool {
    match (&outcome.result, expected) {
        (_, Expected::Other)
        | (Ok(Effect::Put(_)), Expected::Put)
        | (Ok(Effect::Compact), Expected::Compact(true))
        | (Ok(Effect::Granted { .. }), Expected::Granted)
        | (Err(Refused::LeaseNotFound), Expected::Revoked(0) | Expected::Refused)
        | (Err(Refused::KeyNotFound), Expected::Refused) => true,
        (Ok(Effect::DeleteRange(reply)), Expected::Deleted(deleted)) => reply.deleted == deleted,
        (Ok(Effect::Txn(reply)), Expected::Txn(succeeded)) => reply.succeeded == succeeded,
        (Ok(Effect::Revoked(leases)), Expected::Revoked(many)) => leases.len() == many,
        (Err(refused), Expected::Compact(false)) => {
            matches!(refused, Refused::Compacted | Refused::FutureRevision)
        }
        _ => false,
    }
}
