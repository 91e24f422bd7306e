//! What happened last, for those who wait for something that may be past already.
//!
//! It is part of the state: every member remembers the same events, across restarts and in snapshots. What it
//! forgets depends on nothing but what it was told.
//!
//! Rows of it are written for a whole batch at once: most writes come in company, and one row for all costs a tenth
//! of what a row for each does.
//!
//! INVARIANT: it holds every event from `oldest` on, without gaps, as far as there was one.
//! INVARIANT: between batches every event that it holds lies in a row, and every row holds an event that is remembered.

use std::collections::VecDeque;
use std::sync::Arc;

use types::v2::{Action, Event, Node as Told, Watch};

use crate::node::{Content, Node};
use crate::record::{self, Kept};
use crate::row::Rows;
use crate::slots;

/// Events that are remembered, as in etcd. Of a wait for what was forgotten the answer is error 401.
pub const HISTORY_EVENTS_MAX: u64 = 1000;

/// Bytes of keys and values in remembered events; older ones are forgotten above that.
pub const HISTORY_BYTES_MAX: usize = 64 << 20;

/// See the module.
#[derive(Debug)]
pub(crate) struct History {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    /// The first index that is remembered, or that the next event gets.
    oldest: u64,
    /// The rows that hold the events, in order.
    rows: VecDeque<Place>,
    /// The index of the keyspace up to which there are rows.
    staged: u64,
    /// What went with a directory since then; see [`record::Kept`].
    kept: Vec<Kept>,
}

/// Where a row lies.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// The row of a batch, whose first event has this index.
    Batch(u64),
    /// The row of the one event with this index, of the earlier form.
    Slot(u64),
}

impl Place {
    fn first(self) -> u64 {
        match self {
            Self::Batch(first) | Self::Slot(first) => first,
        }
    }

    fn remove(self, rows: &mut Rows<'_, '_>) {
        match self {
            Self::Batch(first) => rows.remove_events(&record::key(first)),
            Self::Slot(index) => rows.remove_events(&slots::key(index)),
        }
    }
}

impl History {
    /// Before the first event of a new keyspace, which stands at `index`: what came before clients came was about none
    /// of their keys.
    pub(crate) fn new(index: u64) -> Self {
        Self {
            events: VecDeque::new(),
            bytes: 0,
            oldest: 1,
            rows: VecDeque::new(),
            staged: index,
            kept: Vec::new(),
        }
    }

    /// Of a keyspace that has come to `index`, and of which nothing is remembered.
    pub(crate) fn forgotten(index: u64) -> Self {
        Self { oldest: index + 1, ..Self::new(index) }
    }

    /// Takes the events of a row in again, which follow those that were taken in before.
    pub(crate) fn restore(&mut self, place: Place, events: impl IntoIterator<Item = Event>) {
        self.rows.push_back(place);
        for event in events {
            self.staged = event.index;
            self.push(Arc::new(event));
        }
    }

    pub(crate) fn oldest(&self) -> u64 {
        self.oldest
    }

    /// All of it, in order.
    #[cfg(test)]
    pub(crate) fn events(&self) -> impl Iterator<Item = &Event> {
        self.events.iter().map(AsRef::as_ref)
    }

    /// Remembers the event after the last.
    pub(crate) fn push(&mut self, event: Arc<Event>) {
        self.oldest = self.oldest.max((event.index + 1).saturating_sub(HISTORY_EVENTS_MAX));
        self.bytes += weight(&event);
        self.events.push_back(event);
        while self.bytes > HISTORY_BYTES_MAX
            && let Some(first) = self.events.front()
        {
            self.oldest = self.oldest.max(first.index + 1);
            self.drop_before_oldest();
        }
        self.drop_before_oldest();
    }

    /// Up to `events_max` events from `since` on that concern a watch, and where to look for more.
    pub(crate) fn seek(&self, watch: &Watch, since: u64, events_max: usize) -> (Vec<Arc<Event>>, u64) {
        let mut found = Vec::new();
        let mut next = since;
        let first = self.events.front().map_or(0, |first| first.index);
        let skipped = usize::try_from(since.saturating_sub(first)).unwrap_or(usize::MAX);
        for event in self.events.iter().skip(skipped) {
            if found.len() >= events_max {
                return (found, next);
            }
            if concerns(watch, event) {
                found.push(Arc::clone(event));
            }
            next = event.index + 1;
        }
        (found, next)
    }

    /// Remembers what was in the files below a node that was removed, as far as an event that is remembered put it there.
    pub(crate) fn keep(&mut self, removed: &Node) {
        let first = self.rows.front().map_or(self.staged + 1, |row| row.first());
        self.keep_since(first, removed);
    }

    fn keep_since(&mut self, first: u64, removed: &Node) {
        for child in removed.children().into_iter().flat_map(|children| children.values()) {
            match &child.content {
                Content::File(value) if child.modified_index >= first => {
                    self.kept.push((child.modified_index, value.clone()));
                }
                Content::File(_) => {}
                Content::Directory(_) => self.keep_since(first, child),
            }
        }
    }

    /// Writes a row for the events that have none, up to `index`, where the keyspace stands, and takes the rows away
    /// of which nothing is remembered. Nothing if nothing happened.
    pub(crate) fn stage(&mut self, index: u64, rows: &mut Rows<'_, '_>) {
        if index == self.staged {
            return;
        }
        rows.put_index(index);
        let kept = std::mem::take(&mut self.kept);
        if let Some(oldest) = self.events.front() {
            let first = oldest.index.max(self.staged + 1);
            let skipped = usize::try_from(first - oldest.index).expect("it is one of the events");
            let events = self.events.iter().skip(skipped).map(AsRef::as_ref);
            rows.put_events(&record::key(first), record::encode(events, &kept));
            self.rows.push_back(Place::Batch(first));
        }
        self.staged = index;
        // A row ends where the next one begins.
        let end = |next: Option<&Place>| next.map_or(index + 1, |next| next.first());
        while let Some(row) = self.rows.front().copied()
            && end(self.rows.get(1)) <= self.oldest
        {
            row.remove(rows);
            self.rows.pop_front();
        }
    }

    fn drop_before_oldest(&mut self) {
        while let Some(first) = self.events.front().filter(|first| first.index < self.oldest) {
            self.bytes = self.bytes.saturating_sub(weight(first));
            self.events.pop_front();
        }
    }
}

/// Whether a watch is told of an event: of what happens to its node, with `recursive` of what happens below it
/// except below hidden nodes, and of the end of a directory that it was in.
pub fn concerns(watch: &Watch, event: &Event) -> bool {
    if event.refresh {
        return false;
    }
    let (path, key) = (watch.path.as_str(), event.node.key.as_str());
    if let Some(below) = below(path, key) {
        return below.is_empty() || watch.recursive && !is_hidden_below(below);
    }
    ends_directory(event) && below(key, path).is_some()
}

/// Whether the event took a directory away, with all that was in it.
pub fn ends_directory(event: &Event) -> bool {
    matches!(event.action, Action::Delete | Action::Expire)
        && event.prev_node.as_ref().is_some_and(|node| node.dir)
}

/// The paths that lead to a node, the root first and the node itself last.
pub fn lineage(path: &str) -> impl Iterator<Item = &str> {
    let inner = path.char_indices().skip(1).filter(|(_, char)| *char == '/').map(|(at, _)| &path[..at]);
    std::iter::once("/").chain(inner).chain((path.len() > 1).then_some(path))
}

/// What follows `path` in `key`: nothing for the same node, `/...` for one below it, `None` elsewhere.
fn below<'a>(path: &str, key: &'a str) -> Option<&'a str> {
    if path == "/" {
        return Some(if key == "/" { "" } else { key });
    }
    key.strip_prefix(path).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn is_hidden_below(rest: &str) -> bool {
    rest.contains("/_")
}

/// What an event takes in memory, about.
fn weight(event: &Event) -> usize {
    let node = |node: &Told| node.key.len() + node.value.as_ref().map_or(0, bytes::Bytes::len);
    node(&event.node) + event.prev_node.as_ref().map_or(0, node)
}

#[cfg(test)]
mod tests {
    use types::v2::Path;

    use super::*;

    fn event(action: Action, key: &str, was_directory: bool, index: u64) -> Event {
        let node = Told { key: key.to_owned(), modified_index: index, ..Told::default() };
        let prev_node = Some(Told { dir: was_directory, ..node.clone() });
        Event { action, node, prev_node, index, refresh: false }
    }

    fn watch(path: &str, recursive: bool) -> Watch {
        Watch { path: Path::clean(path), recursive, stream: false, since: None }
    }

    #[test]
    fn a_watch_is_told_of_its_node_and_of_the_end_of_what_it_was_in() {
        let check = |path, recursive, action, key, was_directory, expect| {
            let event = event(action, key, was_directory, 4);
            assert_eq!(
                concerns(&watch(path, recursive), &event),
                expect,
                "{path} {recursive} {action:?} {key}"
            );
        };
        check("/a", false, Action::Set, "/a", false, true);
        check("/a", false, Action::Set, "/a/b", false, false);
        check("/a", true, Action::Set, "/a/b", false, true);
        check("/a", true, Action::Set, "/ab", false, false);
        check("/", true, Action::Set, "/a", false, true);
        check("/", false, Action::Set, "/a", false, false);
        check("/", true, Action::Set, "/_h", false, false);
        check("/", true, Action::Set, "/a/_h/b", false, false);
        check("/_h", true, Action::Set, "/_h/b", false, true);
        check("/_h", false, Action::Set, "/_h", false, true);
        check("/a/b/c", false, Action::Delete, "/a", true, true);
        check("/a/b/c", true, Action::Expire, "/a/b", true, true);
        check("/ab", false, Action::Delete, "/a", true, false);
        check("/a/b", false, Action::Delete, "/a", false, false);
        check("/a/b", false, Action::Update, "/a", true, false);
    }

    #[test]
    fn the_lineage_begins_at_the_root() {
        assert_eq!(lineage("/").collect::<Vec<_>>(), ["/"]);
        assert_eq!(lineage("/a").collect::<Vec<_>>(), ["/", "/a"]);
        assert_eq!(lineage("/a/bä/c").collect::<Vec<_>>(), ["/", "/a", "/a/bä", "/a/bä/c"]);
    }

    #[test]
    fn a_thousand_events_are_remembered() {
        let mut history = History::new(3);
        for index in 4..=1000 {
            history.push(Arc::new(event(Action::Set, "/a", false, index)));
        }
        assert_eq!(history.oldest(), 1);
        history.push(Arc::new(event(Action::Set, "/a", false, 1001)));
        assert_eq!((history.oldest(), history.events.len()), (2, 998));
        for index in 1002..=1500 {
            history.push(Arc::new(event(Action::Set, "/a", false, index)));
        }
        assert_eq!((history.oldest(), history.events.len()), (501, 1000));
        let (found, next) = history.seek(&watch("/a", false), 700, 2);
        assert_eq!((found.iter().map(|event| event.index).collect::<Vec<_>>(), next), (vec![700, 701], 702));
        let (found, next) = history.seek(&watch("/b", true), 700, 2);
        assert_eq!((found.len(), next), (0, 1501));
        let (found, next) = history.seek(&watch("/a", true), 1600, 2);
        assert_eq!((found.len(), next), (0, 1600));
    }

    #[test]
    fn large_events_are_forgotten_earlier() {
        let mut history = History::new(3);
        let value = bytes::Bytes::from(vec![0; HISTORY_BYTES_MAX / 4]);
        for index in 4..=20 {
            let mut event = event(Action::Set, "/a", false, index);
            event.node.value = Some(value.clone());
            history.push(Arc::new(event));
        }
        assert_eq!((history.oldest(), history.events.len()), (18, 3));
    }
}
