//! The tree, what is due in it and its index: finding, adding and removing nodes. What each kind of write means
//! is in `change`, how nodes are told to clients in `answer`.

use std::collections::BTreeSet;
use std::sync::Arc;

use types::v2::{Event, PATH_DEPTH_MAX, Path, Refusal, Timestamp, code};

use crate::history::{HISTORY_EVENTS_MAX, History};
use crate::node::{Content, Node};
use crate::row::Rows;

/// The whole keyspace in memory.
#[derive(Debug)]
pub(crate) struct Keyspace {
    root: Node,
    /// Every node that goes one day, in the order of going; of those that go together, in the order of paths.
    due: BTreeSet<(Timestamp, Path)>,
    index: u64,
    history: History,
}

/// Why a path leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    /// This is the first node on the way that is not there.
    Absent(String),
    /// This node on the way is a file.
    NotDirectory(String),
}

impl Keyspace {
    /// An empty tree, of which nothing is remembered, at `index`.
    pub(crate) fn new(index: u64) -> Self {
        Self { root: Node::root(), due: BTreeSet::new(), index, history: History::new(index) }
    }

    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    /// Remembers what a write did.
    pub(crate) fn remember(&mut self, events: &[Arc<Event>]) {
        // Of a large expiry only the last are kept.
        let skipped = events.len().saturating_sub(HISTORY_EVENTS_MAX as usize);
        for event in events.iter().skip(skipped) {
            self.history.push(Arc::clone(event));
        }
    }

    /// Writes rows for what was remembered since the last time, and for the index. Nodes have theirs already.
    pub(crate) fn stage(&mut self, rows: &mut Rows<'_, '_>) {
        self.history.stage(self.index, rows);
    }

    pub(crate) fn index(&self) -> u64 {
        self.index
    }

    /// The index that the next event gets.
    pub(crate) fn next_index(&self) -> u64 {
        self.index + 1
    }

    pub(crate) fn next_expiry(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// How many nodes are due at `now`, as far as `nodes_max`.
    pub(crate) fn count_due(&self, now: Timestamp, nodes_max: usize) -> usize {
        self.due.iter().take(nodes_max).take_while(|(at, _)| *at <= now).count()
    }

    /// Takes the first node that is due at `now` away, with all that is below it.
    pub(crate) fn remove_due(&mut self, now: Timestamp, rows: &mut Rows<'_, '_>) -> Option<(Path, Node)> {
        self.due.first().filter(|(at, _)| *at <= now)?;
        let (_, path) = self.due.pop_first()?;
        let node = self.unlink(&path, rows);
        self.forget_due_below(&path, &node);
        Some((path, node))
    }

    pub(crate) fn find(&self, path: &Path) -> Result<&Node, Miss> {
        let mut node = &self.root;
        for (name, way) in steps(path) {
            let children = node.children().ok_or_else(|| Miss::NotDirectory(way.parent.to_owned()))?;
            node = children.get(name).ok_or_else(|| Miss::Absent(way.here.to_owned()))?;
        }
        Ok(node)
    }

    /// As [`Keyspace::find`], with the miss as the refusal that a client gets.
    pub(crate) fn require(&self, path: &Path) -> Result<&Node, Refusal> {
        self.find(path).map_err(|miss| self.refuse_miss(miss))
    }

    pub(crate) fn refuse(&self, code: u16, cause: impl Into<String>) -> Refusal {
        Refusal { code, cause: cause.into(), index: self.index }
    }

    pub(crate) fn refuse_miss(&self, miss: Miss) -> Refusal {
        match miss {
            Miss::Absent(cause) => self.refuse(code::KEY_NOT_FOUND, cause),
            Miss::NotDirectory(cause) => self.refuse(code::NOT_A_DIRECTORY, cause),
        }
    }

    /// Puts `node` at `path`, in place of a file if there is one, and makes the directories on the way.
    ///
    /// Not to be called before [`Keyspace::find`] said that nothing on the way is a file, and
    /// [`Keyspace::check_depth`] that the path is not too long: this cannot refuse any more.
    pub(crate) fn insert(&mut self, path: &Path, node: Node, rows: &mut Rows<'_, '_>) {
        let index = self.next_index();
        rows.put(path.as_str(), &node);
        let due = node.expiration.map(|at| (at, path.clone()));
        let mut at = &mut self.root;
        let mut steps = steps(path).peekable();
        while let Some((name, way)) = steps.next() {
            let children = at.children_mut().expect("the caller found no file on the way");
            if steps.peek().is_none() {
                let before = children.insert(name.into(), node);
                if let Some(expiration) = before.and_then(|before| before.expiration) {
                    self.due.remove(&(expiration, path.clone()));
                }
                break;
            }
            at = children.entry(name.into()).or_insert_with(|| {
                let directory = Node::new(index, types::v2::Expiry::Never, Content::empty_directory());
                rows.put(way.here, &directory);
                directory
            });
        }
        self.due.extend(due);
    }

    /// Puts the history back that was read from disk.
    pub(crate) fn restore_history(&mut self, history: History) {
        self.history = history;
    }

    /// Puts a node back that was read from disk. False when its parent is not there or is no directory.
    pub(crate) fn restore(&mut self, path: &Path, node: Node) -> bool {
        let mut at = &mut self.root;
        let mut steps = steps(path).peekable();
        while let Some((name, _)) = steps.next() {
            let Some(children) = at.children_mut() else { return false };
            if steps.peek().is_none() {
                self.due.extend(node.expiration.map(|at| (at, path.clone())));
                children.insert(name.into(), node);
                return true;
            }
            let Some(child) = children.get_mut(name) else { return false };
            at = child;
        }
        false
    }

    /// Changes the node at `path`, which the caller has found there.
    pub(crate) fn alter(&mut self, path: &Path, rows: &mut Rows<'_, '_>, alter: impl FnOnce(&mut Node)) {
        let mut node = &mut self.root;
        for (name, _) in steps(path) {
            node =
                node.children_mut().and_then(|children| children.get_mut(name)).expect("the caller found it");
        }
        let before = node.expiration;
        alter(node);
        rows.put(path.as_str(), node);
        let after = node.expiration;
        if before != after {
            self.due.extend(after.map(|at| (at, path.clone())));
            if let Some(before) = before {
                self.due.remove(&(before, path.clone()));
            }
        }
    }

    /// Takes the node at `path` away with all that is below it. The caller has found it; it is not the root.
    pub(crate) fn remove(&mut self, path: &Path, rows: &mut Rows<'_, '_>) -> Node {
        let removed = self.unlink(path, rows);
        if let Some(at) = removed.expiration {
            self.due.remove(&(at, path.clone()));
        }
        self.forget_due_below(path, &removed);
        removed
    }

    fn unlink(&mut self, path: &Path, rows: &mut Rows<'_, '_>) -> Node {
        let mut children = self.root.children_mut().expect("the root is a directory");
        let mut rest = path.as_str().strip_prefix('/').expect("a path begins with a slash");
        let removed = loop {
            let Some((name, below)) = rest.split_once('/') else { break children.remove(rest) };
            children = children.get_mut(name).and_then(Node::children_mut).expect("the caller found it");
            rest = below;
        };
        let removed = removed.expect("the caller found it, and not the root");
        if removed.has_children() {
            self.history.keep(&removed);
            rows.remove_subtree(path.as_str());
        } else {
            rows.remove(path.as_str());
        }
        removed
    }

    /// One event happened.
    pub(crate) fn advance(&mut self) -> u64 {
        self.index = self.next_index();
        self.index
    }

    pub(crate) fn check_depth(&self, path: &Path) -> Result<(), Refusal> {
        if path.components().nth(PATH_DEPTH_MAX).is_some() {
            let cause = format!("the path has more than {PATH_DEPTH_MAX} levels");
            return Err(self.refuse(code::INVALID_FIELD, cause));
        }
        Ok(())
    }

    fn forget_due_below(&mut self, path: &Path, node: &Node) {
        for (name, child) in node.children().into_iter().flatten() {
            // Walking a large subtree for its expirations is spared where nothing expires at all.
            if self.due.is_empty() {
                return;
            }
            let path = path.child(name);
            self.forget_due_below(&path, child);
            if let Some(at) = child.expiration {
                self.due.remove(&(at, path));
            }
        }
    }
}

/// Where a walk along a path stands: at the node `here`, a child of `parent`. The root is the empty text.
struct Way<'a> {
    parent: &'a str,
    here: &'a str,
}

/// The names along a path, each with where it leads.
fn steps(path: &Path) -> impl Iterator<Item = (&str, Way<'_>)> {
    let text = path.as_str();
    let mut length = 0;
    path.components().map(move |name| {
        let parent = length;
        length += 1 + name.len();
        (name, Way { parent: &text[..parent], here: &text[..length] })
    })
}
