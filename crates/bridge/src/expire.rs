//! The end of leases as v2 means it: a node that goes is told to have expired, a directory takes along what is in it.
//!
//! Only leases that v2 granted are so; of others just the keys go, as v3 says.

use std::collections::BTreeSet;

use bytes::Bytes;
use lease::Leases;
use mvcc::{Edit, WriteError};
use types::v2::{Action, Timestamp};
use types::{Index, Key, KeyRange, LeaseId, RangeQuery};

use crate::Ended;
use crate::change::{Room, Unpublished, emptied, left_behind, removal};
use crate::layout::Layout;
use crate::note::Telling;
use crate::tree::{Directory, Node, Source, Tree};

/// Ends a lease, the one granted at `born` if that is named, and removes what goes with it: one revision, if there is
/// anything. Which leases are no more, none if it was not there.
pub fn expire(
    room: &mut Room<'_, '_, '_, '_>,
    id: LeaseId,
    born: Option<Index>,
) -> Result<Vec<Ended>, WriteError> {
    let Some(terms) = room.leases.get(id) else { return Ok(Vec::new()) };
    let Ok((born, keys)) = room.leases.apply_revoke(id, born, room.batch) else { return Ok(Vec::new()) };
    let source = Unpublished(&*room.writer);
    let mut doomed = Doomed { seen: BTreeSet::new(), edits: Vec::new(), leases: Vec::new() };
    for key in &keys {
        let is_of_v2 = terms.deadline.is_some();
        doomed.add(room.layout, room.leases, &source, key, is_of_v2)?;
    }
    let mut ended = room.edit(doomed.edits, &doomed.leases);
    ended.insert(0, (id, born));
    Ok(ended)
}

struct Doomed {
    seen: BTreeSet<Bytes>,
    edits: Vec<Edit>,
    leases: Vec<LeaseId>,
}

impl Doomed {
    /// What goes with a key of a lease.
    fn add<S: Source<Error = WriteError>>(
        &mut self,
        layout: &Layout,
        leases: &Leases,
        source: &S,
        key: &Bytes,
        is_of_v2: bool,
    ) -> Result<(), WriteError> {
        let Some(place) = layout.place(key).filter(|_| is_of_v2) else {
            self.push(Edit { key: key.clone(), content: None, note: Telling::Plain.note() });
            return Ok(());
        };
        let tree = Tree { layout, source, leases, now: Timestamp::default() };
        let name = Key::new(key.clone()).map(KeyRange::single).map(RangeQuery::of);
        let file = name
            .map(|query| source.range(&query))
            .transpose()?
            .and_then(|reply| reply.kvs.into_iter().next());
        let node = match file {
            Some(file) if !place.marker => Node::File(file),
            _ => Node::Directory(Directory::default()),
        };
        let removal = removal(&tree, Action::Expire, &place.path, &node)?;
        self.leases.extend(removal.leases);
        removal.edits.into_iter().for_each(|edit| self.push(edit));
        if let Some(marker) = emptied(&tree, &place.path)? {
            self.push(left_behind(marker));
        }
        Ok(())
    }

    // A lease that a v3 client put on more keys may lead here twice.
    fn push(&mut self, edit: Edit) {
        if self.seen.insert(edit.key.clone()) {
            self.edits.push(edit);
        }
    }
}
