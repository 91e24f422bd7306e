//! What happened last, for those who wait for something that may be past already.
//!
//! It is part of the state: every member remembers the same events, across restarts and in snapshots. What it
//! forgets depends on nothing but what it was told.
//!
//! INVARIANT: it holds every event from `oldest` on, without gaps, as far as there was one.

use std::collections::VecDeque;
use std::sync::Arc;

use types::v2::{Action, Event, Node, Watch};

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
}

impl History {
    /// Before the first event of a new keyspace: what came before clients came was about none of their keys.
    pub(crate) fn new() -> Self {
        Self { events: VecDeque::new(), bytes: 0, oldest: 1 }
    }

    /// Of a keyspace that has come to `index`, and of which nothing is remembered.
    pub(crate) fn forgotten(index: u64) -> Self {
        Self { oldest: index + 1, ..Self::new() }
    }

    pub(crate) fn oldest(&self) -> u64 {
        self.oldest
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
    let node = |node: &Node| node.key.len() + node.value.as_ref().map_or(0, bytes::Bytes::len);
    node(&event.node) + event.prev_node.as_ref().map_or(0, node)
}

#[cfg(test)]
mod tests {
    use types::v2::Path;

    use super::*;

    fn event(action: Action, key: &str, was_directory: bool, index: u64) -> Event {
        let node = Node { key: key.to_owned(), modified_index: index, ..Node::default() };
        let prev_node = Some(Node { dir: was_directory, ..node.clone() });
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
        let mut history = History::new();
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
        let mut history = History::new();
        let value = bytes::Bytes::from(vec![0; HISTORY_BYTES_MAX / 4]);
        for index in 4..=20 {
            let mut event = event(Action::Set, "/a", false, index);
            event.node.value = Some(value.clone());
            history.push(Arc::new(event));
        }
        assert_eq!((history.oldest(), history.events.len()), (18, 3));
    }
}
