//! What each kind of write means: first every check, then the change, then its event.

use std::sync::Arc;

use bytes::Bytes;
use types::v2::{Action, Condition, Event, Expiry, Path, Refusal, Timestamp, Write, code};

use crate::answer::{describe, removed};
use crate::keyspace::{Keyspace, Miss};
use crate::node::{Content, Node};
use crate::row::Rows;

/// A node to be made: what `set` and `create` have in common.
struct Making<'a> {
    path: &'a Path,
    value: &'a Bytes,
    dir: bool,
    expiry: Expiry,
}

impl Keyspace {
    /// Applies a write, and remembers what it did. A refusal changes nothing.
    pub(crate) fn apply(
        &mut self,
        write: &Write,
        now: Timestamp,
        rows: &mut Rows<'_, '_>,
    ) -> Result<Vec<Arc<Event>>, Refusal> {
        let events = self.change(write, now, rows)?;
        self.remember(&events);
        Ok(events)
    }

    /// Nothing happens to any node, so often.
    pub(crate) fn pass(&mut self, indexes: u64) {
        let pass = |_| {
            let index = self.advance();
            let node = types::v2::Node {
                key: "/".to_owned(),
                dir: true,
                modified_index: index,
                created_index: index,
                ..types::v2::Node::default()
            };
            Arc::new(Event { action: Action::Set, node, prev_node: None, index, refresh: true })
        };
        let events: Vec<Arc<Event>> = (0..indexes).map(pass).collect();
        self.remember(&events);
    }

    fn change(
        &mut self,
        write: &Write,
        now: Timestamp,
        rows: &mut Rows<'_, '_>,
    ) -> Result<Vec<Arc<Event>>, Refusal> {
        let event = match write {
            Write::Set { path, value, dir, expiry, refresh } => {
                self.set(&Making { path, value, dir: *dir, expiry: *expiry }, *refresh, now, rows)?
            }
            Write::Create { path, value, dir, expiry, in_order } => {
                let name = in_order.then(|| format!("{:020}", self.next_index()));
                let path = &name.map_or_else(|| path.clone(), |name| path.child(&name));
                self.create(&Making { path, value, dir: *dir, expiry: *expiry }, now, rows)?
            }
            Write::Update { path, value, expiry, refresh } => {
                self.update(path, value, *expiry, *refresh, now, rows)?
            }
            Write::CompareAndSwap { path, condition, value, expiry, refresh } => {
                self.refuse_root(path)?;
                self.check(path, condition)?;
                self.replace(Action::CompareAndSwap, path, value, *expiry, *refresh, now, rows)
            }
            Write::Delete { path, dir, recursive } => {
                self.check_delete(path, *dir, *recursive)?;
                self.take(Action::Delete, path, now, rows)
            }
            Write::CompareAndDelete { path, condition } => {
                self.check(path, condition)?;
                self.take(Action::CompareAndDelete, path, now, rows)
            }
            Write::Expire { now, nodes_max } => return Ok(self.expire(*now, *nodes_max, rows)),
        };
        Ok(vec![Arc::new(event)])
    }

    fn set(
        &mut self,
        making: &Making<'_>,
        refresh: bool,
        now: Timestamp,
        rows: &mut Rows<'_, '_>,
    ) -> Result<Event, Refusal> {
        self.refuse_root(making.path)?;
        let kept;
        let (prev_node, value) = match self.find(making.path) {
            Ok(node) => {
                let Content::File(value) = &node.content else {
                    return Err(self.refuse(code::NOT_A_FILE, making.path.as_str()));
                };
                kept = value.clone();
                (Some(describe(making.path, node, now)), if refresh { &kept } else { making.value })
            }
            Err(Miss::Absent(_)) if !refresh => (None, making.value),
            Err(miss) => return Err(self.refuse_miss(miss)),
        };
        let event = self.make(Action::Set, &Making { value, ..*making }, now, rows)?;
        Ok(Event { prev_node, refresh, ..event })
    }

    fn create(
        &mut self,
        making: &Making<'_>,
        now: Timestamp,
        rows: &mut Rows<'_, '_>,
    ) -> Result<Event, Refusal> {
        self.refuse_root(making.path)?;
        match self.find(making.path) {
            Ok(_) => Err(self.refuse(code::KEY_EXISTS, making.path.as_str())),
            Err(Miss::Absent(_)) => self.make(Action::Create, making, now, rows),
            Err(miss) => Err(self.refuse_miss(miss)),
        }
    }

    fn update(
        &mut self,
        path: &Path,
        value: &Bytes,
        expiry: Expiry,
        refresh: bool,
        now: Timestamp,
        rows: &mut Rows<'_, '_>,
    ) -> Result<Event, Refusal> {
        self.refuse_root(path)?;
        if self.require(path)?.is_directory() && !value.is_empty() {
            return Err(self.refuse(code::NOT_A_FILE, path.as_str()));
        }
        Ok(self.replace(Action::Update, path, value, expiry, refresh, now, rows))
    }

    fn expire(&mut self, now: Timestamp, nodes_max: u64, rows: &mut Rows<'_, '_>) -> Vec<Arc<Event>> {
        let mut events = Vec::new();
        while (events.len() as u64) < nodes_max
            && let Some((path, node)) = self.remove_due(now, rows)
        {
            events.push(Arc::new(self.taken(Action::Expire, path, node, now)));
        }
        events
    }

    /// Makes a node where there is none or a file; nothing on the way is a file.
    fn make(
        &mut self,
        action: Action,
        making: &Making<'_>,
        now: Timestamp,
        rows: &mut Rows<'_, '_>,
    ) -> Result<Event, Refusal> {
        self.check_depth(making.path)?;
        let content = if making.dir { Content::empty_directory() } else { Content::file(making.value) };
        let node = Node::new(self.next_index(), making.expiry.or_never(), content);
        let told = describe(making.path, &node, now);
        self.insert(making.path, node, rows);
        let index = self.advance();
        Ok(Event { action, node: told, prev_node: None, index, refresh: false })
    }

    /// Changes a node that is there: value, unless it is refreshed, and expiration.
    #[expect(clippy::too_many_arguments, reason = "they are the fields of the two writes that end here")]
    fn replace(
        &mut self,
        action: Action,
        path: &Path,
        value: &Bytes,
        expiry: Expiry,
        refresh: bool,
        now: Timestamp,
        rows: &mut Rows<'_, '_>,
    ) -> Event {
        let index = self.next_index();
        let (mut before, mut after) = Default::default();
        self.alter(path, rows, |node| {
            before = describe(path, node, now);
            if let Content::File(old) = &mut node.content {
                node.modified_index = index;
                if !refresh {
                    *old = Bytes::copy_from_slice(value);
                }
            }
            node.expiration = expiry.time();
            after = describe(path, node, now);
        });
        // A directory keeps its modified index, yet the event tells the new one. It is etcd's way.
        after.modified_index = index;
        self.advance();
        Event { action, node: after, prev_node: Some(before), index, refresh }
    }

    /// Removes a node that is there, with all below it.
    fn take(&mut self, action: Action, path: &Path, now: Timestamp, rows: &mut Rows<'_, '_>) -> Event {
        let node = self.remove(path, rows);
        self.taken(action, path.clone(), node, now)
    }

    /// The event of a node that was just removed.
    fn taken(&mut self, action: Action, path: Path, node: Node, now: Timestamp) -> Event {
        let index = self.advance();
        let (node, before) = removed(path, node, index, now);
        Event { action, node, prev_node: Some(before), index, refresh: false }
    }

    fn refuse_root(&self, path: &Path) -> Result<(), Refusal> {
        if path.is_root() { Err(self.refuse(code::ROOT_IS_READ_ONLY, "/")) } else { Ok(()) }
    }

    fn check_delete(&self, path: &Path, dir: bool, recursive: bool) -> Result<(), Refusal> {
        self.refuse_root(path)?;
        let node = self.require(path)?;
        if node.is_directory() && !dir && !recursive {
            return Err(self.refuse(code::NOT_A_FILE, path.as_str()));
        }
        if node.has_children() && !recursive {
            return Err(self.refuse(code::DIRECTORY_NOT_EMPTY, path.as_str()));
        }
        Ok(())
    }

    /// Whether `path` is a file for which `condition` holds.
    fn check(&self, path: &Path, condition: &Condition) -> Result<(), Refusal> {
        let node = self.require(path)?;
        let Content::File(value) = &node.content else {
            // etcd keeps clients' keys below a prefix of its own, and cuts that off a cause: of the root nothing
            // is left.
            let cause = if path.is_root() { "" } else { path.as_str() };
            return Err(self.refuse(code::NOT_A_FILE, cause));
        };
        let mut causes = Vec::new();
        if let Some(expected) = condition.prev_value.as_ref().filter(|expected| *expected != value) {
            let (expected, value) = (String::from_utf8_lossy(expected), String::from_utf8_lossy(value));
            causes.push(format!("[{expected} != {value}]"));
        }
        if let Some(expected) = condition.prev_index.filter(|expected| *expected != node.modified_index) {
            causes.push(format!("[{expected} != {}]", node.modified_index));
        }
        if causes.is_empty() { Ok(()) } else { Err(self.refuse(code::COMPARE_FAILED, causes.join(" "))) }
    }
}
