//! What watchers were told: over all connections of a watch, every event of its range from where it began, once, in
//! order, all of a revision together, with what it replaced; unless it was told that history was forgotten. A progress
//! reply came after everything up to its revision.

use types::{Event, EventKind, KeyRange, KeyValue};

use super::linearizable::Past;
use super::model::{Keys, Value};
use super::{Verdict, require};

const NAME: &str = "watches";

/// What a watch was told.
#[derive(Debug)]
pub(crate) enum Told {
    /// It begins, or goes on after a break, with this revision.
    Begun(u64),
    /// Events that came in one reply.
    Events(Vec<Event>),
    /// Everything up to this revision was sent.
    Progress(u64),
    /// What was before this revision is forgotten.
    Forgotten(u64),
}

/// Checks what a watch was told. In the end it must have been told of everything.
pub(crate) fn check(range: &KeyRange, previous: bool, told: &[Told], past: &Past) -> Verdict {
    let mut watch = Watch { range, previous, next: None, past };
    for told in told {
        match told {
            Told::Begun(revision) => {
                let next = *watch.next.get_or_insert(*revision);
                require(NAME, next == *revision, || format!("a watch of {next} goes on with {revision}"))?;
            }
            Told::Events(events) => {
                for of_revision in events.chunk_by(|one, other| one.kv.mod_revision == other.kv.mod_revision)
                {
                    watch.happened(of_revision)?;
                }
            }
            Told::Progress(revision) => watch.passes(*revision + 1, "progress")?,
            Told::Forgotten(compacted) => {
                let next = watch.next.unwrap_or_default();
                require(NAME, next < *compacted && *compacted <= past.model().compacted(), || {
                    format!("{compacted} is called forgotten for a watch that wants {next}")
                })?;
                watch.next = Some(*compacted);
            }
        }
    }
    match watch.next {
        Some(_) => watch.passes(past.revision() + 1, "the end"),
        None => Ok(()),
    }
}

struct Watch<'a> {
    range: &'a KeyRange,
    previous: bool,
    next: Option<u64>,
    past: &'a Past,
}

impl Watch<'_> {
    /// Up to a revision nothing happened of which it was not told.
    fn passes(&mut self, end: u64, why: &str) -> Verdict {
        let next = self.next.unwrap_or(end);
        for revision in next..end {
            let missed = self.changed(revision);
            require(NAME, missed.is_empty(), || {
                format!(
                    "a watch of {:?} was never told of {missed:?} at {revision}, before {why}",
                    self.range
                )
            })?;
        }
        self.next = Some(next.max(end));
        Ok(())
    }

    /// All events of one revision.
    fn happened(&mut self, events: &[Event]) -> Verdict {
        let revision = events.first().map_or(0, |first| first.kv.mod_revision.0);
        let next = self.next.unwrap_or_default();
        require(NAME, revision >= next, || {
            format!("told of {revision} where {next} comes next: {events:?}")
        })?;
        self.passes(revision, "what came next")?;
        let wanted = self.changed(revision);
        let mut told: Vec<&Event> = events.iter().collect();
        told.sort_by(|one, other| one.kv.key.cmp(&other.kv.key));
        let keys: Vec<&[u8]> = told.iter().map(|event| event.kv.key.as_ref()).collect();
        require(NAME, keys == wanted, || format!("of {revision} told {keys:?}, where {wanted:?} changed"))?;
        for event in told {
            self.fits(event, revision)?;
        }
        self.next = Some(revision + 1);
        Ok(())
    }

    fn fits(&self, event: &Event, revision: u64) -> Verdict {
        let Event { kind, kv, prev } = event;
        let (before, after) = (self.at(revision - 1), self.at(revision));
        let (old, new) = (
            before.and_then(|keys| keys.get(kv.key.as_ref())),
            after.and_then(|keys| keys.get(kv.key.as_ref())),
        );
        let is_right = match (kind, new) {
            (EventKind::Put, Some(new)) => new.is(kv),
            (EventKind::Delete, None) => kv.value.is_empty() && (kv.create_revision.0, kv.version) == (0, 0),
            _ => false,
        };
        require(NAME, is_right, || format!("told {event:?}, where there was {new:?}"))?;
        let is_known = |prev: &KeyValue| old.is_some_and(|old: &Value| old.is(prev) && *prev.key == *kv.key);
        let is_right = match prev {
            Some(prev) => self.previous && is_known(prev),
            None => !self.previous || old.is_none() || revision <= self.past.model().compacted(),
        };
        require(NAME, is_right, || format!("told that {event:?} replaced {prev:?}; it replaced {old:?}"))
    }

    /// The keys of the range that a revision changed, in order.
    fn changed(&self, revision: u64) -> Vec<&[u8]> {
        let (Some(before), Some(after)) = (self.at(revision - 1), self.at(revision)) else {
            return Vec::new();
        };
        let mut keys: Vec<&[u8]> = before.keys().chain(after.keys()).map(Vec::as_slice).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.retain(|key| self.range.contains(key) && before.get(*key) != after.get(*key));
        keys
    }

    fn at(&self, revision: u64) -> Option<&Keys> {
        self.past.model().at(revision)
    }
}
