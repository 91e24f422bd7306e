//! The tree that v3's keys make: what is at a path, and what is in a directory.
//!
//! INVARIANT: a directory hides a value at its own path; no key that is hidden or not a node is shown or counted.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;
use lease::Leases;
use types::v2::{Node as Told, Path, Refusal, Timestamp, code};
use types::{KeyRange, KeyValue, LeaseId, RangeEnd, RangeQuery, RangeReply, Revision};

use crate::layout::{Layout, Place, ancestors, parent};

/// Keys that are read at once while a directory is walked; the first reading takes fewer.
const PAGE_KEYS_MAX: u64 = 1024;
const PAGE_KEYS_FIRST: u64 = 4;

/// Something that holds v3's keys, at one revision.
pub(crate) trait Source {
    type Error;
    /// Reads a range.
    fn range(&self, query: &RangeQuery) -> Result<RangeReply, Self::Error>;
    /// The revision that is read.
    fn revision(&self) -> Revision;
}

/// Why a request ends early.
pub(crate) enum Stop<E> {
    /// v2's own answer.
    Refused(Refusal),
    /// The keys cannot be read.
    Failed(E),
}

/// What is at a path.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    File(KeyValue),
    Directory(Directory),
}

/// A directory that is there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directory {
    /// Its marker, if it has one.
    pub(crate) marker: Option<KeyValue>,
    /// The revision at which its first key was created; zero for the root.
    pub(crate) since: Revision,
    pub(crate) has_children: bool,
}

/// What was found, or the reason of v2 that nothing was.
pub(crate) enum Found {
    Node(Node),
    /// This node on the way is the first that is not there.
    Absent(Path),
    /// This node on the way is a file.
    NotDirectory(Path),
}

/// The tree, as a source shows it.
pub(crate) struct Tree<'a, S> {
    pub(crate) layout: &'a Layout,
    pub(crate) source: &'a S,
    pub(crate) leases: &'a Leases,
    /// Times left are as of then.
    pub(crate) now: Timestamp,
}

impl<S: Source> Tree<'_, S> {
    pub(crate) fn find(&self, path: &Path) -> Result<Found, S::Error> {
        if let Some(directory) = self.directory(path)? {
            return Ok(Found::Node(Node::Directory(directory)));
        }
        if let Some(file) = self.file(path)? {
            return Ok(Found::Node(Node::File(file)));
        }
        for above in ancestors(path) {
            if self.directory(&above)?.is_none() {
                let is_file = self.file(&above)?.is_some();
                return Ok(if is_file { Found::NotDirectory(above) } else { Found::Absent(above) });
            }
        }
        Ok(Found::Absent(path.clone()))
    }

    /// As [`Tree::find`], with the miss as the refusal that a client gets.
    pub(crate) fn require(&self, path: &Path) -> Result<Node, Stop<S::Error>> {
        match self.find(path).map_err(Stop::Failed)? {
            Found::Node(node) => Ok(node),
            Found::Absent(absent) => Err(self.refuse(code::KEY_NOT_FOUND, absent.as_str())),
            Found::NotDirectory(file) => Err(self.refuse(code::NOT_A_DIRECTORY, file.as_str())),
        }
    }

    pub(crate) fn refuse(&self, code: u16, cause: impl Into<String>) -> Stop<S::Error> {
        Stop::Refused(Refusal { code, cause: cause.into(), index: self.source.revision().0 })
    }

    /// A node without its children.
    pub(crate) fn tell(&self, path: &Path, node: &Node) -> Told {
        match node {
            Node::File(file) => tell_file(path, file, self.leases, self.now),
            Node::Directory(directory) => tell_directory(path, directory, self.leases, self.now),
        }
    }

    /// The children of a directory that may be seen, with theirs in turn when `recursive`.
    pub(crate) fn list(&self, path: &Path, recursive: bool) -> Result<Vec<Told>, S::Error> {
        let mut root = Branch::default();
        let mut range = self.layout.below(path);
        loop {
            let mut skip_to = None;
            let mut steps = 0;
            let ended = self.walk(&range, false, &mut |place, kv| {
                let names: Vec<&str> = components_below(&place.path, path);
                let Some((first, deeper)) = names.split_first() else { return ControlFlow::Continue(()) };
                let child = root.children.entry((*first).to_owned()).or_default();
                if recursive {
                    let mut branch = child;
                    branch.note(kv.create_revision, deeper.is_empty() && !place.marker);
                    for (at, name) in deeper.iter().enumerate() {
                        branch = branch.children.entry((*name).to_owned()).or_default();
                        branch.note(kv.create_revision, at + 1 == deeper.len() && !place.marker);
                    }
                    branch.put(place.marker, kv);
                    return ControlFlow::Continue(());
                }
                let is_itself = deeper.is_empty();
                child.note(kv.create_revision, is_itself && !place.marker);
                if is_itself && !place.marker {
                    child.put(false, kv);
                    return ControlFlow::Continue(());
                }
                if is_itself {
                    child.put(true, kv);
                }
                // What else is in this directory is not wanted: go past it, if it does not end by itself.
                steps += 1;
                if steps < PAGE_KEYS_FIRST {
                    return ControlFlow::Continue(());
                }
                skip_to = Some(path.child(first));
                ControlFlow::Break(())
            })?;
            match skip_to {
                Some(child) if !ended => {
                    let RangeEnd::Before(past) = self.layout.below(&child).end else { break };
                    range.start = past;
                }
                _ => break,
            }
        }
        let prefix = if path.is_root() { "" } else { path.as_str() };
        Ok(self.told(prefix, root))
    }

    /// The first key of a directory, if it is one.
    fn directory(&self, path: &Path) -> Result<Option<Directory>, S::Error> {
        if path.is_root() {
            let has_children = self.has_any(&self.layout.below(path), &mut |_| true)?;
            return Ok(Some(Directory { has_children, ..Directory::default() }));
        }
        let mut found: Option<Directory> = None;
        self.walk(&self.layout.below(path), true, &mut |place, kv| {
            let directory =
                found.get_or_insert_with(|| Directory { since: kv.create_revision, ..Directory::default() });
            if place.marker && place.path == *path {
                directory.marker = Some(kv);
                return ControlFlow::Continue(());
            }
            directory.has_children = true;
            ControlFlow::Break(())
        })?;
        Ok(found)
    }

    fn file(&self, path: &Path) -> Result<Option<KeyValue>, S::Error> {
        if path.is_root() {
            return Ok(None);
        }
        let reply = self.source.range(&RangeQuery::of(self.layout.single(path)))?;
        Ok(reply.kvs.into_iter().next())
    }

    /// Whether a range has a node that `wanted` takes.
    pub(crate) fn has_any(
        &self,
        range: &KeyRange,
        wanted: &mut dyn FnMut(&Place) -> bool,
    ) -> Result<bool, S::Error> {
        let mut found = false;
        self.walk(range, true, &mut |place, _| {
            found = wanted(&place);
            if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(found)
    }

    /// The keys of a directory that v2 shows: those that go when it goes, in order, without their values.
    pub(crate) fn contents(&self, path: &Path) -> Result<Vec<KeyValue>, S::Error> {
        let mut all = Vec::new();
        self.walk(&self.layout.below(path), true, &mut |place, kv| {
            all.push((place, kv));
            ControlFlow::Continue(())
        })?;
        // A value at the path of a directory is hidden, and stays.
        let mut directories = std::collections::BTreeSet::new();
        for (place, _) in &all {
            if place.marker {
                directories.insert(place.path.as_str().to_owned());
            }
            let mut above = parent(&place.path);
            while !above.is_root() && directories.insert(above.as_str().to_owned()) {
                above = parent(&above);
            }
        }
        let is_shown = |place: &Place| place.marker || !directories.contains(place.path.as_str());
        Ok(all.into_iter().filter(|(place, _)| is_shown(place)).map(|(_, kv)| kv).collect())
    }

    /// Visits the nodes of a range in the order of their keys. Whether it came to the end of the range.
    fn walk(
        &self,
        range: &KeyRange,
        keys_only: bool,
        visit: &mut dyn FnMut(Place, KeyValue) -> ControlFlow<()>,
    ) -> Result<bool, S::Error> {
        let mut query = RangeQuery { keys_only, ..RangeQuery::of(range.clone()) };
        query.limit = PAGE_KEYS_FIRST;
        loop {
            let RangeReply { kvs, more, .. } = self.source.range(&query)?;
            let mut last = None;
            for kv in kvs {
                last = Some(kv.key.clone());
                if let Some(place) = self.layout.place(&kv.key)
                    && visit(place, kv).is_break()
                {
                    return Ok(false);
                }
            }
            match last {
                Some(last) if more => query.range.start = after(&last),
                _ => return Ok(true),
            }
            query.limit = (query.limit * 16).min(PAGE_KEYS_MAX);
        }
    }

    fn told(&self, prefix: &str, branch: Branch) -> Vec<Told> {
        let seen = branch.children.into_iter().filter(|(name, _)| !name.starts_with('_'));
        seen.map(|(name, child)| {
            let path = Path::clean(&format!("{prefix}/{name}"));
            match child.file {
                Some(file) if !child.is_directory => tell_file(&path, &file, self.leases, self.now),
                _ => {
                    let directory =
                        Directory { marker: child.marker.clone(), since: child.since, has_children: true };
                    let mut told = tell_directory(&path, &directory, self.leases, self.now);
                    told.nodes = self.told(path.as_str(), child);
                    told
                }
            }
        })
        .collect()
    }
}

/// What a listing knows of a node.
#[derive(Default)]
struct Branch {
    file: Option<KeyValue>,
    marker: Option<KeyValue>,
    is_directory: bool,
    since: Revision,
    children: BTreeMap<String, Branch>,
}

impl Branch {
    /// A key leads here: its own value, or something that makes it a directory.
    fn note(&mut self, created: Revision, is_value: bool) {
        if !is_value && !self.is_directory {
            self.is_directory = true;
            self.since = created;
        }
    }

    fn put(&mut self, marker: bool, kv: KeyValue) {
        if marker {
            self.marker = Some(kv);
        } else {
            self.file = Some(kv);
        }
    }
}

/// A file as clients are told of it.
pub(crate) fn tell_file(path: &Path, file: &KeyValue, leases: &Leases, now: Timestamp) -> Told {
    let (expiration, ttl) = time_of(file.lease, leases, now);
    Told {
        key: path.as_str().to_owned(),
        value: Some(file.value.clone()),
        expiration,
        ttl,
        modified_index: file.mod_revision.0,
        created_index: file.create_revision.0,
        ..Told::default()
    }
}

pub(crate) fn tell_directory(path: &Path, directory: &Directory, leases: &Leases, now: Timestamp) -> Told {
    let marker = directory.marker.as_ref();
    let (expiration, ttl) = time_of(marker.map_or(LeaseId::NONE, |marker| marker.lease), leases, now);
    Told {
        key: if path.is_root() { String::new() } else { path.as_str().to_owned() },
        dir: true,
        expiration,
        ttl,
        modified_index: marker.map_or(directory.since, |marker| marker.mod_revision).0,
        created_index: marker.map_or(directory.since, |marker| marker.create_revision).0,
        ..Told::default()
    }
}

/// When a node with a lease goes, and the whole seconds left, rounded up. Of a lease that a v3 client keeps alive only
/// the time is known that it has after a renewal.
pub(crate) fn time_of(lease: LeaseId, leases: &Leases, now: Timestamp) -> (Option<Timestamp>, i64) {
    const SECOND_NS: i64 = 1_000_000_000;
    let Some(terms) = Some(lease).filter(|lease| lease.is_some()).and_then(|lease| leases.get(lease)) else {
        return (None, 0);
    };
    if let Some(at) = terms.deadline {
        let left_ns = at.0.saturating_sub(now.0);
        // Division cuts towards zero, which for what is overdue is up already.
        (Some(at), left_ns / SECOND_NS + i64::from(left_ns % SECOND_NS > 0))
    } else {
        let at = now.0.saturating_add(terms.ttl.saturating_mul(SECOND_NS));
        (Some(Timestamp(at)), terms.ttl)
    }
}

/// The names that lead from a directory to something in it.
fn components_below<'a>(path: &'a Path, above: &Path) -> Vec<&'a str> {
    path.components().skip(above.components().count()).collect()
}

/// The first possible key after `key`.
fn after(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}
