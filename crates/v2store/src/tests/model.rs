//! The keyspace once more, as simple as it can be said: one flat map from path to entry, every question answered
//! by looking at all of it. It shares no code with what it checks.

use std::collections::BTreeMap;

use bytes::Bytes;
use types::v2::{Action, Condition, Event, Expiry, Get, Node, Refusal, Timestamp, Write};

#[derive(Clone, Debug)]
struct Entry {
    /// `None` is a directory.
    value: Option<Bytes>,
    goes: Option<Timestamp>,
    made: u64,
    changed: u64,
}

/// All nodes but the root, by path.
#[derive(Debug)]
pub(super) struct Model {
    entries: BTreeMap<String, Entry>,
    pub(super) index: u64,
}

type Outcome = Result<Vec<Event>, Refusal>;

impl Model {
    pub(super) fn new() -> Self {
        Self { entries: BTreeMap::new(), index: 3 }
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &String> {
        self.entries.keys()
    }

    pub(super) fn next_expiry(&self) -> Option<Timestamp> {
        self.entries.values().filter_map(|entry| entry.goes).min()
    }

    pub(super) fn get(&self, get: &Get, now: Timestamp) -> Result<Event, Refusal> {
        let path = get.path.as_str().trim_end_matches('/');
        let root = Entry { value: None, goes: None, made: 0, changed: 0 };
        let entry = if path.is_empty() { &root } else { self.look(path)? };
        let mut node = show(path, entry, now);
        node.nodes = self.listing(path, get.recursive, now);
        Ok(Event { action: Action::Get, node, prev_node: None, index: self.index, refresh: false })
    }

    pub(super) fn apply(&mut self, write: &Write, now: Timestamp) -> Outcome {
        match write {
            Write::Set { path, value, dir, expiry, refresh } => {
                let path = self.not_root(path.as_str())?;
                let before = match self.look(path) {
                    Err(refusal) if refusal.code != 100 || *refresh => return Err(refusal),
                    found => found.ok().cloned(),
                };
                if before.as_ref().is_some_and(|entry| entry.value.is_none()) {
                    return self.no(102, path);
                }
                let old = before.as_ref().and_then(|entry| entry.value.clone());
                let value = if *refresh { old.unwrap_or_default() } else { value.clone() };
                let mut event = self.put(Action::Set, path, (!dir).then_some(value), *expiry, now);
                event.prev_node = before.map(|entry| show(path, &entry, now));
                event.refresh = *refresh;
                Ok(vec![event])
            }
            Write::Create { path, value, dir, expiry, in_order } => {
                let in_order = in_order
                    .then(|| format!("{}/{:020}", path.as_str().trim_end_matches('/'), self.index + 1));
                let path = self.not_root(in_order.as_deref().unwrap_or(path.as_str()))?;
                match self.look(path) {
                    Ok(_) => self.no(105, path),
                    Err(refusal) if refusal.code == 100 => {
                        let value = (!dir).then(|| value.clone());
                        Ok(vec![self.put(Action::Create, path, value, *expiry, now)])
                    }
                    Err(refusal) => Err(refusal),
                }
            }
            Write::Update { path, value, expiry, refresh } => {
                let path = self.not_root(path.as_str())?;
                if self.look(path)?.value.is_none() && !value.is_empty() {
                    return self.no(102, path);
                }
                Ok(vec![self.change(Action::Update, path, value, *expiry, *refresh, now)])
            }
            Write::CompareAndSwap { path, condition, value, expiry, refresh } => {
                let path = self.not_root(path.as_str())?;
                self.compare(path, condition)?;
                Ok(vec![self.change(Action::CompareAndSwap, path, value, *expiry, *refresh, now)])
            }
            Write::CompareAndDelete { path, condition } => {
                let path = path.as_str().trim_end_matches('/');
                self.compare(path, condition)?;
                Ok(vec![self.drop(Action::CompareAndDelete, path, now)])
            }
            Write::Delete { path, dir, recursive } => {
                let path = self.not_root(path.as_str())?;
                if self.look(path)?.value.is_none() && !dir && !recursive {
                    return self.no(102, path);
                }
                if !recursive && self.entries.keys().any(|other| is_below(other, path)) {
                    return self.no(108, path);
                }
                Ok(vec![self.drop(Action::Delete, path, now)])
            }
            Write::Expire { now, .. } => {
                let mut events = Vec::new();
                loop {
                    let due =
                        self.entries.iter().filter_map(|(path, entry)| Some((entry.goes?, path.clone())));
                    let Some((_, path)) = due.filter(|(goes, _)| goes <= now).min() else {
                        return Ok(events);
                    };
                    events.push(self.drop(Action::Expire, &path, *now));
                }
            }
        }
    }

    fn no<T>(&self, code: u16, cause: &str) -> Result<T, Refusal> {
        Err(Refusal { code, cause: cause.to_owned(), index: self.index })
    }

    fn not_root<'a>(&self, path: &'a str) -> Result<&'a str, Refusal> {
        if path == "/" { self.no(107, "/") } else { Ok(path) }
    }

    fn look(&self, path: &str) -> Result<&Entry, Refusal> {
        let mut found: Option<(&str, &Entry)> = None;
        for (end, _) in path.char_indices().filter(|(at, c)| *at > 0 && *c == '/').chain([(path.len(), '/')])
        {
            let here = &path[..end];
            if let Some((above, _)) = found.filter(|(_, entry)| entry.value.is_some()) {
                return self.no(104, above);
            }
            let Some(entry) = self.entries.get(here) else { return self.no(100, here) };
            found = Some((here, entry));
        }
        Ok(found.expect("a path has at least one step").1)
    }

    fn compare(&self, path: &str, condition: &Condition) -> Result<(), Refusal> {
        if path.is_empty() {
            return self.no(102, "");
        }
        let entry = self.look(path)?;
        let Some(value) = &entry.value else { return self.no(102, path) };
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).expect("text");
        let of_value = condition.prev_value.as_ref().filter(|want| *want != value);
        let of_index = condition.prev_index.filter(|want| *want != entry.changed);
        let of_value = of_value.map(|want| format!("[{} != {}]", text(want), text(value)));
        let of_index = of_index.map(|want| format!("[{want} != {}]", entry.changed));
        match (of_value, of_index) {
            (None, None) => Ok(()),
            (Some(one), None) | (None, Some(one)) => self.no(101, &one),
            (Some(one), Some(other)) => self.no(101, &format!("{one} {other}")),
        }
    }

    fn put(
        &mut self,
        action: Action,
        path: &str,
        value: Option<Bytes>,
        expiry: Expiry,
        now: Timestamp,
    ) -> Event {
        self.index += 1;
        let (made, changed) = (self.index, self.index);
        for (end, _) in path.char_indices().filter(|(at, c)| *at > 0 && *c == '/') {
            let directory = Entry { value: None, goes: None, made, changed };
            self.entries.entry(path[..end].to_owned()).or_insert(directory);
        }
        let goes = match expiry {
            Expiry::At(at) if at.0 >= 946_684_800_000_000_000 => Some(at),
            _ => None,
        };
        let entry = Entry { value, goes, made, changed };
        let node = show(path, &entry, now);
        self.entries.insert(path.to_owned(), entry);
        Event { action, node, prev_node: None, index: self.index, refresh: false }
    }

    fn change(
        &mut self,
        action: Action,
        path: &str,
        value: &Bytes,
        expiry: Expiry,
        refresh: bool,
        now: Timestamp,
    ) -> Event {
        self.index += 1;
        let index = self.index;
        let entry = self.entries.get_mut(path).expect("looked up before");
        let prev_node = Some(show(path, entry, now));
        if let Some(old) = entry.value.take() {
            entry.value = Some(if refresh { old } else { value.clone() });
            entry.changed = index;
        }
        entry.goes = match expiry {
            Expiry::At(at) => Some(at),
            Expiry::Never => None,
        };
        let mut node = show(path, entry, now);
        node.modified_index = index;
        Event { action, node, prev_node, index, refresh }
    }

    fn drop(&mut self, action: Action, path: &str, now: Timestamp) -> Event {
        self.index += 1;
        let entry = self.entries.remove(path).expect("looked up before");
        self.entries.retain(|other, _| !is_below(other, path));
        let before = show(path, &entry, now);
        let node =
            Node { value: None, expiration: None, ttl: 0, modified_index: self.index, ..before.clone() };
        Event { action, node, prev_node: Some(before), index: self.index, refresh: false }
    }

    fn listing(&self, path: &str, recursive: bool, now: Timestamp) -> Vec<Node> {
        let mut nodes = Vec::new();
        for (child, entry) in &self.entries {
            let Some(name) = child.strip_prefix(path).and_then(|rest| rest.strip_prefix('/')) else {
                continue;
            };
            if name.contains('/') || name.starts_with('_') {
                continue;
            }
            let mut node = show(child, entry, now);
            if recursive {
                node.nodes = self.listing(child, true, now);
            }
            nodes.push(node);
        }
        // The order of paths is not that of names where one is the beginning of another.
        nodes.sort_by(|one, other| one.key.cmp(&other.key));
        nodes
    }
}

fn is_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

fn show(path: &str, entry: &Entry, now: Timestamp) -> Node {
    let seconds = entry.goes.map(|goes| (i128::from(goes.0) - i128::from(now.0)) as f64 / 1e9);
    Node {
        key: path.to_owned(),
        value: entry.value.clone(),
        dir: entry.value.is_none(),
        expiration: entry.goes,
        ttl: seconds.map_or(0, |seconds| seconds.ceil() as i64),
        nodes: Vec::new(),
        modified_index: entry.changed,
        created_index: entry.made,
    }
}
