//! How nodes are told to clients: reads, and the nodes in events.

use types::v2::{Action, Event, Get, Node as Told, Path, Refusal, Timestamp};

use crate::keyspace::Keyspace;
use crate::node::{Content, Node, is_hidden};

impl Keyspace {
    /// Reads a file or lists a directory.
    pub(crate) fn get(&self, get: &Get, now: Timestamp) -> Result<Event, Refusal> {
        let node = self.require(&get.path)?;
        let mut told = describe(&get.path, node, now);
        told.nodes = list(&told.key, node, get.recursive, now);
        Ok(Event { action: Action::Get, node: told, prev_node: None, index: self.index(), refresh: false })
    }
}

/// A node without its children.
pub(crate) fn describe(path: &Path, node: &Node, now: Timestamp) -> Told {
    let key = if path.is_root() { String::new() } else { path.as_str().to_owned() };
    tell(key, node, now)
}

/// The node of an event that removed it at `index`, of which only what it was remains to be said, and the node before.
pub(crate) fn removed(path: Path, node: Node, index: u64, now: Timestamp) -> (Told, Told) {
    let key = String::from(path);
    let told = Told {
        key: key.clone(),
        dir: node.is_directory(),
        modified_index: index,
        created_index: node.created_index,
        ..Told::default()
    };
    let dir = node.is_directory();
    let value = match node.content {
        Content::File(value) => Some(value),
        Content::Directory(_) => None,
    };
    let (expiration, ttl) = (node.expiration, node.expiration.map_or(0, |at| seconds_left(at, now)));
    let (modified_index, created_index) = (node.modified_index, node.created_index);
    let before = Told { key, value, dir, expiration, ttl, nodes: Vec::new(), modified_index, created_index };
    (told, before)
}

/// The children that may be seen, with theirs in turn when `recursive`.
fn list(key: &str, node: &Node, recursive: bool, now: Timestamp) -> Vec<Told> {
    let children = node.children().into_iter().flatten();
    let seen = children.filter(|(name, _)| !is_hidden(name));
    seen.map(|(name, child)| {
        let mut told = tell(format!("{key}/{name}"), child, now);
        if recursive {
            told.nodes = list(&told.key, child, recursive, now);
        }
        told
    })
    .collect()
}

fn tell(key: String, node: &Node, now: Timestamp) -> Told {
    Told {
        key,
        value: match &node.content {
            Content::File(value) => Some(value.clone()),
            Content::Directory(_) => None,
        },
        dir: node.is_directory(),
        expiration: node.expiration,
        ttl: node.expiration.map_or(0, |at| seconds_left(at, now)),
        nodes: Vec::new(),
        modified_index: node.modified_index,
        created_index: node.created_index,
    }
}

/// Whole seconds from `now` to `at`, rounded up: 0 for what is just due, negative for what is overdue by a second
/// or more.
fn seconds_left(at: Timestamp, now: Timestamp) -> i64 {
    const SECOND_NS: i64 = 1_000_000_000;
    // Saturates like the difference of two of Go's times.
    let left_ns = at.0.saturating_sub(now.0);
    // Division cuts towards zero, which for what is overdue is up already.
    left_ns / SECOND_NS + i64::from(left_ns % SECOND_NS > 0)
}
