//! What has changed: handed back by the writer at once, or read from the rows later.
//!
//! INVARIANT: all changes of one revision come together, in the order in which they were made.

use bytes::Bytes;
use store::{Direction, Family, Span};
use types::{EventKind, KeyValue, LeaseId, Revision};

use crate::row::{self, Event, Kind, Meta, Note, Position, Record};
use crate::{Damage, Mvcc, ReadError};

/// A change of one key: one row of the history.
pub struct Change {
    pub(crate) key: Bytes,
    pub(crate) kind: Kind,
    pub(crate) meta: Meta,
    pub(crate) value: Bytes,
    /// Where the version is that this change has made superfluous; nowhere, for a key that is created.
    pub(crate) replaced: Position,
    pub(crate) note: Note,
    /// The change of the same key before this one, in the same overlay.
    pub(crate) previous: Option<usize>,
}

impl Change {
    /// The key.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The value; empty for a key that was removed.
    pub fn value(&self) -> &Bytes {
        &self.value
    }

    /// When it happened.
    pub fn revision(&self) -> Revision {
        self.meta.modified.revision()
    }

    /// Written or removed.
    pub fn kind(&self) -> EventKind {
        if self.kind == Kind::Deleted { EventKind::Delete } else { EventKind::Put }
    }

    /// What whoever made it wants to be known of it.
    pub fn note(&self) -> Note {
        self.note
    }

    /// Whether the key was not there before.
    pub fn is_creation(&self) -> bool {
        self.kind == Kind::Created
    }

    /// The key afterwards, with `key` and `value` as its own. Of a removal only key and revision are told.
    pub fn to_kv(&self, key: Bytes, value: Bytes) -> KeyValue {
        KeyValue {
            key,
            value,
            create_revision: Revision(self.meta.create),
            mod_revision: self.revision(),
            version: self.meta.version,
            lease: LeaseId(self.meta.lease),
        }
    }
}

/// What one publication changed.
#[derive(Default)]
pub struct Changes {
    /// The revision before it.
    pub after: Revision,
    /// The revision that it made; the same if nothing changed.
    pub until: Revision,
    /// The changes, oldest first.
    pub list: Vec<Change>,
}

/// A piece of the history.
pub struct Piece {
    /// The first revision looked at.
    pub from: Revision,
    /// The last revision looked at: every change from `from` up to it is here. Before `from` if there is none yet.
    pub until: Revision,
    /// The changes, oldest first.
    pub list: Vec<Change>,
    /// What each of them replaced, if it was asked for; otherwise empty. See [`Mvcc::previous`].
    pub previous: Vec<Option<KeyValue>>,
}

impl Mvcc {
    /// Everything that changed from a revision on, up to the last publication or until it is `changes_max` changes
    /// or `bytes_max` bytes of keys and values, and then to the end of the revision. A revision in the future gives
    /// nothing.
    pub fn changes(
        &self,
        from: Revision,
        changes_max: usize,
        bytes_max: usize,
        previous: bool,
    ) -> Result<Piece, ReadError> {
        let view = self.view();
        if from < view.compacted.unwrap_or_default() {
            return Err(ReadError::Compacted);
        }
        let before = Revision(from.0.saturating_sub(1));
        let mut piece = Piece { from, until: before, list: Vec::new(), previous: Vec::new() };
        let until = view.revision;
        if from > until {
            return Ok(piece);
        }
        let span = Span {
            lower: Some(Position::new(from.0, 0).to_row_key().to_vec()),
            upper: Some(Position::new(until.next().0, 0).to_row_key().to_vec()),
        };
        let mut cursor = view.moment.scan(Family::Revisions, &span, Direction::Forward);
        let mut left = Left { changes: changes_max, bytes: bytes_max };
        piece.until = until;
        while let Some((row_key, record)) = cursor.row() {
            let (position, event) = Event::decode(row_key, record)?;
            let ends = piece.list.last().is_some_and(|last: &Change| last.revision() < position.revision());
            if ends && left.is_nothing() {
                piece.until = Revision(position.main - 1);
                break;
            }
            let change = read(&view.moment, position, &event)?;
            left.take(&change);
            piece.list.push(change);
            cursor.step();
        }
        cursor.finish()?;
        if previous {
            piece.previous =
                piece.list.iter().map(|change| self.previous(change)).collect::<Result<_, _>>()?;
        }
        Ok(piece)
    }

    /// The key as it was before a change; nothing if it was not there, or the revision before was forgotten.
    pub fn previous(&self, change: &Change) -> Result<Option<KeyValue>, ReadError> {
        let is_forgotten = || change.revision() <= self.compacted();
        if change.kind == Kind::Created || is_forgotten() {
            return Ok(None);
        }
        let mut row_key = Vec::with_capacity(change.key.len() + 16);
        row::row_key(&change.key, change.replaced, &mut row_key);
        let Some(record) = self.store.get(Family::Keys, &row_key)? else {
            // A sweep was faster.
            return if is_forgotten() {
                Ok(None)
            } else {
                Err(Damage::missing(Family::Keys, &row_key).into())
            };
        };
        let record = Record::decode(&row_key, &record)?;
        Ok(Some(KeyValue {
            key: Bytes::copy_from_slice(&change.key),
            value: Bytes::copy_from_slice(record.value),
            create_revision: Revision(record.create),
            mod_revision: change.replaced.revision(),
            version: record.version,
            lease: LeaseId(record.lease),
        }))
    }
}

/// What a piece may still hold.
struct Left {
    changes: usize,
    bytes: usize,
}

impl Left {
    fn take(&mut self, change: &Change) {
        self.changes = self.changes.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(change.key.len() + change.value.len());
    }

    fn is_nothing(&self) -> bool {
        self.changes == 0 || self.bytes == 0
    }
}

fn read(moment: &store::Moment<'_>, position: Position, event: &Event<'_>) -> Result<Change, ReadError> {
    let key = Bytes::copy_from_slice(event.key);
    let (meta, value) = if event.kind == Kind::Deleted {
        (Meta { modified: position, ..Meta::default() }, Bytes::new())
    } else {
        let mut row_key = Vec::with_capacity(key.len() + 16);
        row::row_key(&key, position, &mut row_key);
        let record = moment.get(Family::Keys, &row_key)?;
        let record = record.ok_or_else(|| Damage::missing(Family::Keys, &row_key))?;
        let record = Record::decode(&row_key, &record)?;
        (record.meta(position), Bytes::copy_from_slice(record.value))
    };
    Ok(Change {
        key,
        kind: event.kind,
        meta,
        value,
        replaced: event.replaced,
        note: event.note,
        previous: None,
    })
}
