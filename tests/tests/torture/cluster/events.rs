//! Whether what a watcher saw is what happened: filtered, ordered, unique, complete, whole, with what was before.
//!
//! Nobody but the clients writes, and each of their writes changes a key of theirs. So every revision has events, and a
//! watcher of all keys that was never told of a revision missed something. How many keys go with it in the same
//! transaction is written in the value ([`parts`]), so that a part of a revision is seen for what it is, also where
//! nobody was told that the write happened; a removal takes all of them with it.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use proto::mvccpb::Event;
use proto::mvccpb::event::EventType;

use super::history::{Act, Operation, Outcome};

/// The first revision that is an event: an empty store is at revision 1.
const FIRST: i64 = 2;

/// An event as a watcher saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) key: String,
    /// `None` for a removal.
    pub(crate) value: Option<String>,
    /// The revision.
    pub(crate) at: i64,
    /// The revision that made the key, and how often it was written since; 0 for a removal.
    pub(crate) created: i64,
    pub(crate) version: i64,
    /// What the key held before: its value and revision.
    pub(crate) before: Option<(String, i64)>,
}

impl Seen {
    /// Taken from the wire.
    pub(crate) fn of(event: Event) -> anyhow::Result<Self> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let is_put = event.r#type == i32::from(EventType::Put);
        let pair = event.kv.context("an event without a key")?;
        Ok(Self {
            key: text(&pair.key),
            value: is_put.then(|| text(&pair.value)),
            at: pair.mod_revision,
            created: pair.create_revision,
            version: pair.version,
            before: event.prev_kv.map(|before| (text(&before.value), before.mod_revision)),
        })
    }
}

/// What a key holds while events are read: value, revision, the revision that made it, version.
type Held = (String, i64, i64, i64);

/// How many keys more a write of this value writes.
pub(crate) fn parts(value: &str) -> usize {
    value.split_once('+').and_then(|(_, parts)| parts.parse().ok()).unwrap_or_default()
}

/// A key that is written together with `key`.
pub(crate) fn part(key: &str, number: usize) -> String {
    format!("{key}/{number}")
}

/// Refuses events that do not tell all that happened up to `revision`, in order, once and whole.
pub(crate) fn check(events: &[Seen], revision: i64, operations: &[Operation]) -> anyhow::Result<()> {
    let mut held: BTreeMap<&str, Held> = BTreeMap::new();
    let mut by_revision: BTreeMap<i64, &Seen> = BTreeMap::new();
    for (expected, of_revision) in (FIRST..).zip(events.chunk_by(|one, other| one.at == other.at)) {
        let first = of_revision.first().context("no event makes no revision")?;
        ensure!(first.at == expected, "revision {expected} is missing or came twice: {first:?}");
        let (told, wanted) = (of_revision.iter().map(|event| event.key.clone()), keys(first, &held));
        ensure!(told.clone().eq(wanted.clone()), "of {wanted:?} it tells {:?}", told.collect::<Vec<_>>());
        for event in of_revision {
            ensure!(event.key.starts_with("key-"), "it was not asked for: {event:?}");
            ensure!(event.value == first.value, "{event:?} does not belong to {first:?}");
            follows(held.get(event.key.as_str()), event)?;
            match &event.value {
                Some(value) => {
                    held.insert(&event.key, (value.clone(), event.at, event.created, event.version));
                }
                None => {
                    held.remove(event.key.as_str());
                }
            }
        }
        by_revision.insert(first.at, first);
    }
    let last = events.last().map_or(FIRST - 1, |event| event.at);
    ensure!(last >= revision, "it ends at {last}, and the store is at {revision}");
    operations.iter().try_for_each(|operation| agrees(&by_revision, operation))
}

/// The keys of a whole revision that begins with `first`, in the order in which they were written.
fn keys(first: &Seen, held: &BTreeMap<&str, Held>) -> Vec<String> {
    let others: Vec<String> = if let Some(value) = &first.value {
        (0..parts(value)).map(|number| part(&first.key, number)).collect()
    } else {
        let prefix = format!("{}/", first.key);
        held.keys().filter(|key| key.starts_with(&prefix)).map(|key| (*key).to_owned()).collect()
    };
    [first.key.clone()].into_iter().chain(others).collect()
}

/// An event follows from what the key held before it.
fn follows(held: Option<&Held>, event: &Seen) -> anyhow::Result<()> {
    let before = held.map(|(value, at, _, _)| (value.clone(), *at));
    ensure!(event.before == before, "before it was {before:?}: {event:?}");
    if event.value.is_none() {
        ensure!(held.is_some() && event.version == 0 && event.created == 0, "nothing was removed: {event:?}");
        return Ok(());
    }
    let (created, version) = held.map_or((event.at, 1), |(_, _, created, version)| (*created, version + 1));
    ensure!(
        event.created == created && event.version == version,
        "made at {created}, version {version}: {event:?}"
    );
    Ok(())
}

/// What a client was told to have happened is what the watcher saw at that revision.
fn agrees(events: &BTreeMap<i64, &Seen>, operation: &Operation) -> anyhow::Result<()> {
    let Outcome::Written(at) = operation.outcome else { return Ok(()) };
    let value = match &operation.act {
        Act::Put(value) | Act::Swap(_, value) => Some(value.as_str()),
        Act::Delete => None,
        Act::Get => return Ok(()),
    };
    let event = events.get(&at).with_context(|| format!("nothing was seen of {operation:?}"))?;
    let same = event.key == format!("key-{}", operation.key) && event.value.as_deref() == value;
    ensure!(same, "{event:?} is not what happened: {operation:?}");
    Ok(())
}
