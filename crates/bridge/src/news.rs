//! What happened to v3's keys, as v2's events: of what was just changed, or of the history.
//!
//! A change is told as what v2 did, if v2 did it; what a v3 client did is a `set` or a `delete`. All changes of one
//! revision have its index, and are told in order.
//!
//! INVARIANT: what is told live and what is told of the history later are the same events, but for the times of leases
//! that have ended meanwhile.

use std::sync::Arc;

use bytes::Bytes;
use lease::Leases;
use mvcc::{Change, Changes, Mvcc, ReadError};
use types::v2::{Action, Event, Node as Told, Path, Refusal, Timestamp, code};
use types::{EventKind, KeyValue, Revision};

use crate::layout::{Layout, Place, head, is_below};
use crate::note::Telling;
use crate::tree::{Directory, tell_directory, tell_file};

/// Changes that one look into the history takes, and their bytes; it goes on to the end of a revision.
pub const SEEK_CHANGES_MAX: usize = 256;
const SEEK_BYTES_MAX: usize = 4 << 20;

/// Who tells of changes.
#[derive(Clone, Copy)]
pub struct News<'a> {
    /// Which keys are told of.
    pub layout: &'a Layout,
    /// Where they are.
    pub mvcc: &'a Mvcc,
    /// Their times.
    pub leases: &'a Leases,
    /// Times left are as of then.
    pub now: Timestamp,
}

/// A piece of the past, as a watch sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// What happened, in order.
    pub events: Vec<Arc<Event>>,
    /// Where to look for more.
    pub next: u64,
    /// How many events at exactly that index have been told already.
    pub told: usize,
    /// The index of the keyspace when it was looked at.
    pub index: u64,
}

/// An event, as far as the change says it; what was there before is to be looked up.
struct Draft<'c> {
    event: Event,
    change: &'c Change,
    path: Path,
    marker: bool,
    /// Whether it has a node of before.
    replaces: bool,
}

impl News<'_> {
    /// What was just published, in order.
    pub fn events(&self, changes: &Changes) -> Result<Vec<Arc<Event>>, ReadError> {
        let mut events = Vec::new();
        for revision in changes.list.chunk_by(is_one_revision) {
            for draft in self.drafts(revision) {
                events.push(Arc::new(self.finish(draft)?));
            }
        }
        Ok(events)
    }

    /// What happened from the index `since` on, without the first `told` events at it, as far as it is `wanted`: up to
    /// `events_max` events of a piece of the history. 401 if the beginning is forgotten.
    pub fn seek(
        &self,
        since: u64,
        told: usize,
        events_max: usize,
        wanted: &dyn Fn(&Event) -> bool,
    ) -> Result<Result<Missed, Refusal>, ReadError> {
        let index = self.mvcc.revision().0;
        let piece = match self.mvcc.changes(Revision(since), SEEK_CHANGES_MAX, SEEK_BYTES_MAX, false) {
            Ok(piece) => piece,
            Err(ReadError::Compacted) => {
                let oldest = self.mvcc.compacted().0;
                let cause = format!("the requested history has been cleared [{oldest}/{since}]");
                return Ok(Err(Refusal { code: code::HISTORY_CLEARED, cause, index }));
            }
            Err(error) => return Err(error),
        };
        let mut events = Vec::new();
        for revision in piece.list.chunk_by(is_one_revision) {
            let drafts = self.drafts(revision);
            let at = revision.first().map_or(since, |change| change.revision().0);
            let skipped = if at == since { told } else { 0 };
            let concerned = drafts.into_iter().filter(|draft| wanted(&draft.event));
            for (number, draft) in concerned.enumerate().skip(skipped) {
                if events.len() >= events_max {
                    return Ok(Ok(Missed { events, next: at, told: number, index }));
                }
                match self.finish(draft) {
                    Ok(event) => events.push(Arc::new(event)),
                    // Compacted under it: what it wanted to add is forgotten.
                    Err(ReadError::Compacted) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let next = (piece.until.0 + 1).max(since);
        let told = if next == since { told } else { 0 };
        Ok(Ok(Missed { events, next, told, index }))
    }

    /// The events of one revision.
    fn drafts<'c>(&self, changes: &'c [Change]) -> Vec<Draft<'c>> {
        let mut drafts: Vec<Draft<'c>> = Vec::new();
        for change in changes {
            let Some(Place { path, marker }) = self.layout.place(change.key()) else { continue };
            let draft = match Telling::of(change.note()) {
                Telling::Silent => continue,
                Telling::Directory(action, depth) => {
                    let path = head(&path, depth);
                    // One event for the directory, whatever was in it.
                    if drafts.last().is_some_and(|last| last.event.action == action && last.path == path) {
                        continue;
                    }
                    removal(action, change, path, true)
                }
                Telling::Node(action) => match change.kind() {
                    EventKind::Put => self.writing(action, change, path, marker),
                    EventKind::Delete => removal(action, change, path, marker),
                },
                Telling::Plain
                    if marker && change.kind() == EventKind::Put && self.is_by_the_way(&path, changes) =>
                {
                    continue;
                }
                Telling::Plain => match change.kind() {
                    EventKind::Put => self.writing(Action::Set, change, path, marker),
                    EventKind::Delete => removal(Action::Delete, change, path, marker),
                },
            };
            drafts.push(draft);
        }
        drafts
    }

    /// Whether a directory is marked beside something that is written into it.
    fn is_by_the_way(&self, directory: &Path, changes: &[Change]) -> bool {
        let written = changes.iter().filter(|change| change.kind() == EventKind::Put);
        written
            .filter_map(|change| self.layout.place(change.key()))
            .any(|place| is_below(&place.path, directory))
    }

    fn writing<'c>(&self, action: Action, change: &'c Change, path: Path, marker: bool) -> Draft<'c> {
        let kv = change.to_kv(Bytes::new(), change.value().clone());
        let node = self.tell(&path, marker, kv);
        let replaces = action != Action::Create && !change.is_creation();
        let index = change.revision().0;
        // A directory without a marker was there all the same.
        let prev_node = (action == Action::Update && !replaces).then(|| Told {
            key: path.as_str().to_owned(),
            dir: true,
            ..Told::default()
        });
        let event = Event { action, node, prev_node, index, refresh: false };
        Draft { event, change, path, marker, replaces }
    }

    /// Looks up what was there before.
    fn finish(&self, draft: Draft<'_>) -> Result<Event, ReadError> {
        let Draft { mut event, change, path, marker, replaces } = draft;
        if !replaces {
            return Ok(event);
        }
        if let Some(before) = self.mvcc.previous(change)? {
            if change.kind() == EventKind::Delete {
                event.node.created_index = before.create_revision.0;
            }
            event.prev_node = Some(self.tell(&path, marker, before));
        }
        Ok(event)
    }

    fn tell(&self, path: &Path, marker: bool, kv: KeyValue) -> Told {
        if !marker {
            return tell_file(path, &kv, self.leases, self.now);
        }
        let directory = Directory { marker: Some(kv), ..Directory::default() };
        tell_directory(path, &directory, self.leases, self.now)
    }
}

fn removal(action: Action, change: &Change, path: Path, marker: bool) -> Draft<'_> {
    let index = change.revision().0;
    let key = path.as_str().to_owned();
    let node = Told { key: key.clone(), dir: marker, modified_index: index, ..Told::default() };
    // Whether a directory went decides who is concerned.
    let prev_node = Some(Told { key, dir: marker, ..Told::default() });
    let event = Event { action, node, prev_node, index, refresh: false };
    Draft { event, change, path, marker, replaces: true }
}

fn is_one_revision(left: &Change, right: &Change) -> bool {
    left.revision() == right.revision()
}
