//! Reads, of what is published.

use lease::Leases;
use mvcc::{Mvcc, ReadError};
use types::v2::{Action, Event, Get, Path, Refusal, Timestamp};
use types::{RangeQuery, RangeReply, Revision};

use crate::layout::Layout;
use crate::tree::{Node, Source, Stop, Tree, tell_file};

/// How often a read begins again because what it read was forgotten under it.
const TRIES_MAX: usize = 8;

/// What is published, as of one revision.
struct Published<'a> {
    mvcc: &'a Mvcc,
    at: Revision,
}

impl Source for Published<'_> {
    type Error = ReadError;

    fn range(&self, query: &RangeQuery) -> Result<RangeReply, ReadError> {
        let query = RangeQuery { at: Some(self.at), ..query.clone() };
        self.mvcc.range(&query).map(|(_, reply)| reply)
    }

    fn revision(&self) -> Revision {
        self.at
    }
}

/// A file, if that is what is at the path, at the cost of two looks into the index and one row. `None`: ask [`get`].
pub fn get_file(
    layout: &Layout,
    mvcc: &Mvcc,
    leases: &Leases,
    path: &Path,
    now: Timestamp,
) -> Result<Option<Event>, ReadError> {
    if path.is_root() {
        return Ok(None);
    }
    let (index, reply) = mvcc.range(&RangeQuery::of(layout.single(path)))?;
    let Some(file) = reply.kvs.first() else { return Ok(None) };
    let count = RangeQuery { count_only: true, ..RangeQuery::of(layout.below(path)) };
    let (after, below) = mvcc.range(&count)?;
    if below.count > 0 || after != index {
        return Ok(None);
    }
    Ok(Some(read(tell_file(path, file, leases, now), index)))
}

/// Reads a file, or lists a directory in the order of its keys, sorted or not. All of it is as of one revision.
pub fn get(
    layout: &Layout,
    mvcc: &Mvcc,
    leases: &Leases,
    get: &Get,
    now: Timestamp,
) -> Result<Result<Event, Refusal>, ReadError> {
    let mut tries = 1;
    loop {
        let source = Published { mvcc, at: mvcc.revision() };
        let tree = Tree { layout, source: &source, leases, now };
        match get_from(&tree, get) {
            Ok(event) => return Ok(Ok(event)),
            Err(Stop::Refused(refusal)) => return Ok(Err(refusal)),
            Err(Stop::Failed(ReadError::Compacted)) if tries < TRIES_MAX => tries += 1,
            Err(Stop::Failed(error)) => return Err(error),
        }
    }
}

fn get_from<S: Source>(tree: &Tree<'_, S>, get: &Get) -> Result<Event, Stop<S::Error>> {
    let node = tree.require(&get.path)?;
    let mut told = tree.tell(&get.path, &node);
    if matches!(node, Node::Directory(_)) {
        told.nodes = tree.list(&get.path, get.recursive).map_err(Stop::Failed)?;
    }
    Ok(read(told, tree.source.revision()))
}

fn read(node: types::v2::Node, index: Revision) -> Event {
    Event { action: Action::Get, node, prev_node: None, index: index.0, refresh: false }
}

/// Whether v2 sees nothing.
pub fn is_empty(layout: &Layout, mvcc: &Mvcc, leases: &Leases) -> Result<bool, ReadError> {
    let source = Published { mvcc, at: mvcc.revision() };
    let tree = Tree { layout, source: &source, leases, now: Timestamp::default() };
    Ok(!tree.has_any(&layout.below(&Path::clean("/")), &mut |_| true)?)
}
