//! What each kind of write means: first every check, then all changes at one revision, then its event.

use bytes::Bytes;
use lease::{Leases, TTL_MAX_SECONDS, Terms};
use mvcc::{Edit, LeaseMove, Note, WriteError, Writer};
use store::Batch;
use types::v2::{
    Action, Condition, Event, Expiry, Node as Told, PATH_DEPTH_MAX, Path, Refusal, Timestamp, Write, code,
};
use types::{Index, KeyValue, LeaseId, RangeQuery, RangeReply, Revision};

use crate::layout::{Layout, Place, depth, is_below, parent};
use crate::note::Telling;
use crate::tree::{Found, Node, Source, Stop, Tree, time_of};
use crate::{Ended, Granted};

/// Why a write could not be done at all. The member must stop at all but the first.
#[derive(Debug)]
pub enum ApplyError {
    /// The node was to go one day, and there can be no lease for it.
    Lease(lease::Refusal),
    /// The keyspace cannot be read.
    Keyspace(WriteError),
}

/// What a write did.
#[derive(Debug)]
pub struct Written {
    /// The answer.
    pub result: Result<Event, Refusal>,
    /// The lease of the node, if it goes one day.
    pub granted: Option<Granted>,
    /// Leases of earlier nodes that nobody needs any more.
    pub ended: Vec<Ended>,
}

/// Where a write takes place: the keyspace and the leases, as of one command of the log.
pub struct Room<'a, 'w, 'b, 's> {
    /// Which keys the tree is.
    pub layout: &'a Layout,
    /// The keyspace.
    pub writer: &'a mut Writer<'w>,
    /// The leases.
    pub leases: &'a Leases,
    /// The batch of the entry.
    pub batch: &'b mut Batch<'s>,
    /// The index of the entry.
    pub born: Index,
}

/// What is about to change.
struct Plan {
    action: Action,
    /// The node after, but for its time.
    node: Told,
    prev_node: Option<Told>,
    /// What goes, and the leases that it named.
    removed: Vec<Edit>,
    leases: Vec<LeaseId>,
    /// The key of the node that stays, with its value.
    put: Option<(Bytes, Bytes, Note)>,
    /// The directory that stays behind empty.
    emptied: Option<Bytes>,
    expiry: Expiry,
    refresh: bool,
}

/// What a writer sees.
pub(crate) struct Unpublished<'a, 'w>(pub(crate) &'a Writer<'w>);

impl Source for Unpublished<'_, '_> {
    type Error = WriteError;

    fn range(&self, query: &RangeQuery) -> Result<RangeReply, WriteError> {
        self.0.range(query)
    }

    fn revision(&self) -> Revision {
        self.0.revision()
    }
}

/// Applies a write. `now` is the proposer's clock; `lease` the id of the lease that it needs if the node goes one day,
/// or where to look for a free one. [`Write::Expire`] is no write of this tree and does nothing.
pub fn apply(
    room: &mut Room<'_, '_, '_, '_>,
    write: &Write,
    now: Timestamp,
    lease: LeaseId,
) -> Result<Written, ApplyError> {
    let source = Unpublished(&*room.writer);
    let planner = Planner(Tree { layout: room.layout, source: &source, leases: room.leases, now });
    let mut plan = match planner.plan(write) {
        Ok(plan) => plan,
        Err(Stop::Refused(refusal)) => {
            return Ok(Written { result: Err(refusal), granted: None, ended: Vec::new() });
        }
        Err(Stop::Failed(error)) => return Err(ApplyError::Keyspace(error)),
    };
    let granted = room.grant(plan.expiry, now, lease).map_err(ApplyError::Lease)?;
    let id = granted.map_or(LeaseId::NONE, |granted| granted.id);
    (plan.node.expiration, plan.node.ttl) = time_of(id, room.leases, now);
    let mut edits = plan.removed;
    edits.extend(plan.put.map(|(key, value, note)| Edit { key, content: Some((value, id)), note }));
    edits.extend(plan.emptied.map(left_behind));
    let ended = room.edit(edits, &plan.leases);
    let Plan { action, node, prev_node, refresh, .. } = plan;
    let event = Event { action, node, prev_node, index: room.writer.revision().0, refresh };
    Ok(Written { result: Ok(event), granted, ended })
}

/// The marker of a directory that stays when the last that was in it goes, as v2's directories do.
pub(crate) fn left_behind(key: Bytes) -> Edit {
    Edit { key, content: Some((Bytes::new(), LeaseId::NONE)), note: Telling::Silent.note() }
}

impl Room<'_, '_, '_, '_> {
    /// Grants the lease of a node that goes one day.
    fn grant(
        &mut self,
        expiry: Expiry,
        now: Timestamp,
        lease: LeaseId,
    ) -> Result<Option<Granted>, lease::Refusal> {
        const SECOND_NS: i64 = 1_000_000_000;
        let Expiry::At(deadline) = expiry else { return Ok(None) };
        let left_ns = deadline.0.saturating_sub(now.0).max(0);
        let ttl = (left_ns / SECOND_NS + i64::from(left_ns % SECOND_NS > 0)).min(TTL_MAX_SECONDS);
        let mut id = LeaseId(lease.0.max(1));
        while self.leases.contains(id) {
            id = LeaseId(id.0.checked_add(1).unwrap_or(1));
        }
        let terms = Terms { ttl, remaining: 0, born: self.born, deadline: Some(deadline) };
        self.leases.apply_grant(id, terms, self.batch)?;
        Ok(Some(Granted { id, ttl, deadline }))
    }

    /// Makes changes, and ends those of the leases that v2 granted and that no key names any more.
    pub(crate) fn edit(&mut self, edits: Vec<Edit>, leases: &[LeaseId]) -> Vec<Ended> {
        self.writer.edit(edits);
        for LeaseMove { key, source, target } in self.writer.take_moves() {
            self.leases.apply_move(&key, source, target);
        }
        let mut ended = Vec::new();
        for id in leases {
            let is_spent = self.leases.get(*id).is_some_and(|terms| terms.deadline.is_some())
                && self.leases.key_count(*id) == 0;
            if is_spent && let Ok((born, _)) = self.leases.apply_revoke(*id, None, self.batch) {
                ended.push((*id, born));
            }
        }
        ended
    }
}

/// A node to be made: what `set` and `create` have in common.
struct Making<'a> {
    path: &'a Path,
    value: &'a Bytes,
    dir: bool,
    expiry: Expiry,
}

/// A node to be changed: what `update` and `compareAndSwap` have in common.
struct Changing<'a> {
    path: &'a Path,
    value: &'a Bytes,
    expiry: Expiry,
    refresh: bool,
}

struct Planner<'a, S>(Tree<'a, S>);

impl<S: Source> Planner<'_, S> {
    fn plan(&self, write: &Write) -> Result<Plan, Stop<S::Error>> {
        match write {
            Write::Set { path, value, dir, expiry, refresh } => {
                self.set(&Making { path, value, dir: *dir, expiry: *expiry }, *refresh)
            }
            Write::Create { path, value, dir, expiry, in_order } => {
                let name = in_order.then(|| format!("{:020}", self.next().0));
                let path = &name.map_or_else(|| path.clone(), |name| path.child(&name));
                self.create(&Making { path, value, dir: *dir, expiry: *expiry })
            }
            Write::Update { path, value, expiry, refresh } => {
                self.refuse_root(path)?;
                let node = self.0.require(path)?;
                if matches!(node, Node::Directory(_)) && !value.is_empty() {
                    return Err(self.0.refuse(code::NOT_A_FILE, path.as_str()));
                }
                let changing = Changing { path, value, expiry: *expiry, refresh: *refresh };
                Ok(self.replace(Action::Update, &changing, &node))
            }
            Write::CompareAndSwap { path, condition, value, expiry, refresh } => {
                self.refuse_root(path)?;
                let node = Node::File(self.check(path, condition)?);
                let changing = Changing { path, value, expiry: *expiry, refresh: *refresh };
                Ok(self.replace(Action::CompareAndSwap, &changing, &node))
            }
            Write::Delete { path, dir, recursive } => self.delete(path, *dir, *recursive),
            Write::CompareAndDelete { path, condition } => {
                let file = self.check(path, condition)?;
                self.take(Action::CompareAndDelete, path, &Node::File(file))
            }
            // It does not come here: the log has none for this tree.
            Write::Expire { .. } => Err(self.0.refuse(code::ROOT_IS_READ_ONLY, "/")),
        }
    }

    fn set(&self, making: &Making<'_>, refresh: bool) -> Result<Plan, Stop<S::Error>> {
        let path = making.path;
        self.refuse_root(path)?;
        let before = match self.0.find(path).map_err(Stop::Failed)? {
            Found::Node(Node::Directory(_)) => return Err(self.0.refuse(code::NOT_A_FILE, path.as_str())),
            Found::Node(Node::File(file)) => Some(file),
            Found::Absent(_) if !refresh => None,
            Found::Absent(absent) => return Err(self.0.refuse(code::KEY_NOT_FOUND, absent.as_str())),
            Found::NotDirectory(file) => return Err(self.0.refuse(code::NOT_A_DIRECTORY, file.as_str())),
        };
        let value = before.as_ref().filter(|_| refresh).map_or(making.value, |file| &file.value).clone();
        let mut plan =
            self.make(Action::Set, &Making { value: &value, ..*making }, before.as_ref(), refresh)?;
        plan.prev_node = before.map(|file| self.0.tell(path, &Node::File(file)));
        Ok(plan)
    }

    fn create(&self, making: &Making<'_>) -> Result<Plan, Stop<S::Error>> {
        self.refuse_root(making.path)?;
        match self.0.find(making.path).map_err(Stop::Failed)? {
            Found::Node(_) => Err(self.0.refuse(code::KEY_EXISTS, making.path.as_str())),
            Found::Absent(_) => self.make(Action::Create, making, None, false),
            Found::NotDirectory(file) => Err(self.0.refuse(code::NOT_A_DIRECTORY, file.as_str())),
        }
    }

    fn delete(&self, path: &Path, dir: bool, recursive: bool) -> Result<Plan, Stop<S::Error>> {
        self.refuse_root(path)?;
        let node = self.0.require(path)?;
        if let Node::Directory(directory) = &node {
            if !dir && !recursive {
                return Err(self.0.refuse(code::NOT_A_FILE, path.as_str()));
            }
            if directory.has_children && !recursive {
                return Err(self.0.refuse(code::DIRECTORY_NOT_EMPTY, path.as_str()));
            }
        }
        self.take(Action::Delete, path, &node)
    }

    /// Makes a node where there is none or a file; nothing on the way is a file.
    fn make(
        &self,
        action: Action,
        making: &Making<'_>,
        before: Option<&KeyValue>,
        refresh: bool,
    ) -> Result<Plan, Stop<S::Error>> {
        let path = making.path;
        if depth(path) > PATH_DEPTH_MAX {
            let cause = format!("the path has more than {PATH_DEPTH_MAX} levels");
            return Err(self.0.refuse(code::INVALID_FIELD, cause));
        }
        let layout = self.0.layout;
        let key = if making.dir { layout.marker(path) } else { layout.file(path) };
        let value = if making.dir { Bytes::new() } else { making.value.clone() };
        // The key of a file that is replaced stays the same key, with its revision of creation.
        let created = before.filter(|_| !making.dir).map_or(self.next(), |file| file.create_revision);
        let node = Told {
            key: path.as_str().to_owned(),
            value: (!making.dir).then(|| value.clone()),
            dir: making.dir,
            modified_index: self.next().0,
            created_index: created.0,
            ..Told::default()
        };
        let telling = if refresh { Telling::Silent } else { Telling::Node(action) };
        let file = before.filter(|_| making.dir).map(|file| Edit {
            key: file.key.clone(),
            content: None,
            note: Telling::Silent.note(),
        });
        Ok(Plan {
            action,
            node,
            prev_node: None,
            removed: file.into_iter().collect(),
            leases: before.map(|file| file.lease).into_iter().collect(),
            put: Some((key, value, telling.note())),
            emptied: None,
            expiry: making.expiry.or_never(),
            refresh,
        })
    }

    /// Changes a node that is there: value, unless it is refreshed, and expiration.
    fn replace(&self, action: Action, changing: &Changing<'_>, node: &Node) -> Plan {
        let Changing { path, value, expiry, refresh } = *changing;
        let before = self.0.tell(path, node);
        let telling = if refresh { Telling::Silent } else { Telling::Node(action) };
        let (key, value, lease) = match node {
            Node::File(file) => {
                let value = if refresh { &file.value } else { value };
                (file.key.clone(), value.clone(), Some(file.lease))
            }
            // A directory keeps what a v3 client may have put into its marker.
            Node::Directory(directory) => {
                let marker = directory.marker.as_ref();
                let value = marker.map(|marker| marker.value.clone()).unwrap_or_default();
                (self.0.layout.marker(path), value, marker.map(|marker| marker.lease))
            }
        };
        let after = Told {
            value: (!before.dir).then(|| value.clone()),
            modified_index: self.next().0,
            ..before.clone()
        };
        Plan {
            action,
            node: after,
            prev_node: Some(before),
            removed: Vec::new(),
            leases: lease.into_iter().collect(),
            put: Some((key, value, telling.note())),
            emptied: None,
            expiry,
            refresh,
        }
    }

    /// Removes a node that is there, with all below it that v2 shows.
    fn take(&self, action: Action, path: &Path, node: &Node) -> Result<Plan, Stop<S::Error>> {
        let prev_node = self.0.tell(path, node);
        let removal = removal(&self.0, action, path, node).map_err(Stop::Failed)?;
        let told = Told {
            key: path.as_str().to_owned(),
            dir: prev_node.dir,
            modified_index: self.next().0,
            created_index: prev_node.created_index,
            ..Told::default()
        };
        Ok(Plan {
            action,
            node: told,
            prev_node: Some(prev_node),
            removed: removal.edits,
            leases: removal.leases,
            put: None,
            emptied: emptied(&self.0, path).map_err(Stop::Failed)?,
            expiry: Expiry::Never,
            refresh: false,
        })
    }

    /// The file at `path`, if `condition` holds for it.
    fn check(&self, path: &Path, condition: &Condition) -> Result<KeyValue, Stop<S::Error>> {
        let Node::File(file) = self.0.require(path)? else {
            // etcd keeps clients' keys below a prefix of its own, and cuts that off a cause: of the root nothing
            // is left.
            let cause = if path.is_root() { "" } else { path.as_str() };
            return Err(self.0.refuse(code::NOT_A_FILE, cause));
        };
        let mut causes = Vec::new();
        if let Some(expected) = condition.prev_value.as_ref().filter(|expected| **expected != file.value) {
            let (expected, value) = (String::from_utf8_lossy(expected), String::from_utf8_lossy(&file.value));
            causes.push(format!("[{expected} != {value}]"));
        }
        if let Some(expected) = condition.prev_index.filter(|expected| *expected != file.mod_revision.0) {
            causes.push(format!("[{expected} != {}]", file.mod_revision));
        }
        if causes.is_empty() { Ok(file) } else { Err(self.0.refuse(code::COMPARE_FAILED, causes.join(" "))) }
    }

    fn refuse_root(&self, path: &Path) -> Result<(), Stop<S::Error>> {
        if path.is_root() { Err(self.0.refuse(code::ROOT_IS_READ_ONLY, "/")) } else { Ok(()) }
    }

    /// The revision that the write will make.
    fn next(&self) -> Revision {
        self.0.source.revision().next()
    }
}

/// What goes with a node.
pub(crate) struct Removal {
    pub(crate) edits: Vec<Edit>,
    pub(crate) leases: Vec<LeaseId>,
}

/// Removes a node, with all below it that v2 shows.
pub(crate) fn removal<S: Source>(
    tree: &Tree<'_, S>,
    action: Action,
    path: &Path,
    node: &Node,
) -> Result<Removal, S::Error> {
    let (doomed, telling) = match node {
        Node::File(file) => (vec![file.clone()], Telling::Node(action)),
        Node::Directory(_) => (tree.contents(path)?, Telling::Directory(action, depth(path))),
    };
    let leases = doomed.iter().map(|kv| kv.lease).filter(|lease| lease.is_some()).collect();
    let edits = doomed.into_iter().map(|kv| Edit { key: kv.key, content: None, note: telling.note() });
    Ok(Removal { edits: edits.collect(), leases })
}

/// The marker that the directory of `path` needs to stay when the node at `path` goes with all below it.
pub(crate) fn emptied<S: Source>(tree: &Tree<'_, S>, path: &Path) -> Result<Option<Bytes>, S::Error> {
    let directory = parent(path);
    if directory.is_root() {
        return Ok(None);
    }
    let mut stays = |place: &Place| place.path != *path && !is_below(&place.path, path);
    let stays = tree.has_any(&tree.layout.below(&directory), &mut stays)?;
    Ok((!stays).then(|| tree.layout.marker(&directory)))
}
