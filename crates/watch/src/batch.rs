//! Changes on their way to those who watch: each becomes an event once, when the first one wants it.

use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};
use mvcc::{Change, Mvcc, ReadError};
use types::{Event, EventKind, KeyValue, Revision, SharedEvent};

use crate::watcher::Taste;

/// What an event takes besides its bytes.
const EVENT_BYTES: usize = size_of::<SharedEvent>() + 2 * size_of::<usize>();

/// A value up to this size is copied out of the log's entry that it came in: an event that waits for a slow reader
/// must not keep megabytes of other writes in memory.
const COPIED_BYTES_MAX: usize = 32 << 10;

/// Events, and the bytes that they hold.
pub(crate) type Events = (Arc<[Arc<SharedEvent>]>, usize);

/// What a change replaced.
enum Previous {
    /// It has to be looked up.
    Unknown,
    /// It was read with the change.
    Known(Option<KeyValue>),
}

/// A change, what it replaced, and the event in both forms once somebody wanted it.
struct Item {
    change: Change,
    previous: Previous,
    plain: Option<Arc<SharedEvent>>,
    full: Option<Arc<SharedEvent>>,
}

/// See the module. All changes of a revision are in one batch.
pub(crate) struct Batch {
    items: Vec<Item>,
}

impl Batch {
    /// `previous` is empty or as long as `changes`.
    pub(crate) fn new(changes: Vec<Change>, previous: Vec<Option<KeyValue>>) -> Self {
        let mut previous = previous.into_iter();
        let item = |change| {
            let previous = previous.next().map_or(Previous::Unknown, Previous::Known);
            Item { change, previous, plain: None, full: None }
        };
        Self { items: changes.into_iter().map(item).collect() }
    }

    /// The keys, in order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.items.iter().map(|item| item.change.key())
    }

    /// The revision of a change.
    pub(crate) fn revision(&self, at: u32) -> Revision {
        self.items[at as usize].change.revision()
    }

    /// The events of some of the changes, as one wants them who wants none before `from`. Nothing, if that is none.
    pub(crate) fn events(
        &mut self,
        hits: &[(u32, u32)],
        taste: Taste,
        from: Revision,
        mvcc: &Mvcc,
    ) -> Result<Option<Events>, ReadError> {
        let mut events = Vec::with_capacity(hits.len());
        let mut bytes = 0;
        for (_, at) in hits {
            let item = &mut self.items[*at as usize];
            let is_wanted = match item.change.kind() {
                EventKind::Put => taste.wants_puts(),
                EventKind::Delete => taste.wants_deletes(),
            };
            if !is_wanted || item.change.revision() < from {
                continue;
            }
            let event = if taste.wants_previous() { item.full(mvcc)? } else { item.plain() };
            bytes += EVENT_BYTES + weight(&event.event);
            events.push(event);
        }
        Ok((!events.is_empty()).then(|| (events.into(), bytes)))
    }
}

impl Item {
    fn plain(&mut self) -> Arc<SharedEvent> {
        let change = &self.change;
        Arc::clone(self.plain.get_or_insert_with(|| share(change, None)))
    }

    fn full(&mut self, mvcc: &Mvcc) -> Result<Arc<SharedEvent>, ReadError> {
        if let Some(event) = &self.full {
            return Ok(Arc::clone(event));
        }
        let previous = match std::mem::replace(&mut self.previous, Previous::Known(None)) {
            Previous::Known(previous) => previous,
            Previous::Unknown if self.change.is_creation() => None,
            Previous::Unknown => mvcc.previous(&self.change)?,
        };
        let event = if previous.is_none() { self.plain() } else { share(&self.change, previous) };
        self.full = Some(Arc::clone(&event));
        Ok(event)
    }
}

fn share(change: &Change, prev: Option<KeyValue>) -> Arc<SharedEvent> {
    let (key, value) = own(change);
    let event = Event { kind: change.kind(), kv: change.to_kv(key, value), prev };
    Arc::new(SharedEvent { event, wire: OnceLock::new() })
}

/// Key and value, in one allocation where that is cheap.
fn own(change: &Change) -> (Bytes, Bytes) {
    let (key, value) = (change.key(), change.value());
    if value.len() > COPIED_BYTES_MAX {
        return (Bytes::copy_from_slice(key), value.clone());
    }
    let mut both = BytesMut::with_capacity(key.len() + value.len());
    both.put_slice(key);
    both.put_slice(value);
    let mut both = both.freeze();
    let key = both.split_to(key.len());
    (key, both)
}

fn weight(event: &Event) -> usize {
    let of = |kv: &KeyValue| kv.key.len() + kv.value.len();
    of(&event.kv) + event.prev.as_ref().map_or(0, of)
}
