//! The history on its way out of a store and into another: every version in the order in which they happened.
//!
//! What goes in needs no order: which version followed which is found out at the end, by the order of keys.

use std::ops::ControlFlow;

use store::{Batch, Family, Moment, Span, Store};
use types::{LeaseId, Revision};

use crate::row::{self, Event, Kind, Note, Position, Record};
use crate::{Damage, OpenError};

/// A batch is written when it holds so many bytes.
const BATCH_BYTES: usize = 1 << 20;
/// Versions that are read at once on the way out: each may hold a value of the greatest length.
const TOGETHER_MAX: usize = 64;

/// A version of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version<'a> {
    /// The revision of the request that made it.
    pub main: u64,
    /// Which of that request's changes it was.
    pub sub: u32,
    /// The key.
    pub key: &'a [u8],
    /// What it holds; `None` if it was removed.
    pub held: Option<Held<'a>>,
}

/// What a version of a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held<'a> {
    /// The revision at which the key was created.
    pub create: u64,
    /// How often it was written since then.
    pub version: u64,
    /// The lease that it names; 0 is none.
    pub lease: i64,
    /// The value.
    pub value: &'a [u8],
}

/// Takes a history into a store that holds none. Nothing of it is durable before the store is flushed.
pub struct Intake<'s> {
    store: &'s Store,
    batch: Batch<'s>,
    bytes: usize,
    row_key: Vec<u8>,
    record: Vec<u8>,
}

impl<'s> Intake<'s> {
    /// Begins.
    pub fn new(store: &'s Store) -> Self {
        Self { store, batch: store.batch(), bytes: 0, row_key: Vec::new(), record: Vec::new() }
    }

    /// Takes the row of a version. The row of the change that made it follows in [`Intake::link`], or is brought by
    /// somebody else.
    pub fn take(&mut self, version: &Version<'_>) -> Result<(), OpenError> {
        let position = Position::new(version.main, version.sub);
        row::row_key(version.key, position, &mut self.row_key);
        let record = match version.held {
            Some(Held { create, version, lease, value }) => {
                let kind = if version == 1 { Kind::Created } else { Kind::Updated };
                Record { kind, create, version, lease, value }
            }
            None => Record { kind: Kind::Deleted, create: 0, version: 0, lease: 0, value: &[] },
        };
        record.encode(&self.row_key, &mut self.record);
        self.batch.put(Family::Keys, &self.row_key, &self.record);
        self.bytes += self.row_key.len() + self.record.len();
        self.write_if(BATCH_BYTES)
    }

    /// Writes what was taken.
    pub fn finish(mut self) -> Result<(), OpenError> {
        self.write_if(0)
    }

    /// Writes what was taken, and the rows of all changes, and where the keyspace stands. Tells of every live key that
    /// names a lease.
    pub fn link(
        mut self,
        revision: Revision,
        compacted: Option<Revision>,
        leased: &mut dyn FnMut(LeaseId),
    ) -> Result<(), OpenError> {
        self.write_if(0)?;
        let moment = self.store.moment();
        let mut cursor = moment.walk(Family::Keys, &Span::default());
        let (mut prefix, mut key) = (Vec::new(), Vec::new());
        // The change that was met before, whose predecessor comes next if there is one.
        let mut newer: Option<(Position, Kind)> = None;
        while let Some((row_key, record)) = cursor.row() {
            let (position, record) = (row::position_of(row_key)?, Record::decode(row_key, record)?);
            let is_next = row::prefix_of(row_key)? != prefix;
            if let Some((at, kind)) = newer.take() {
                self.put_change(at, kind, if is_next { Position::default() } else { position }, &key)?;
            }
            if is_next {
                prefix.clear();
                prefix.extend_from_slice(row::prefix_of(row_key)?);
                row::unescape(&prefix, &mut key)?;
                if record.lease != 0 {
                    leased(LeaseId(record.lease));
                }
            }
            newer = Some((position, record.kind));
            cursor.step();
        }
        cursor.finish()?;
        if let Some((at, kind)) = newer {
            self.put_change(at, kind, Position::default(), &key)?;
        }
        let numbers = [(row::META_REVISION, Some(revision)), (row::META_COMPACTED, compacted)];
        for (name, number) in numbers {
            if let Some(Revision(number)) = number {
                self.batch.put(Family::Meta, name, &row::encode_numbers(name, &[number]));
            }
        }
        self.write_if(0)
    }

    fn put_change(
        &mut self,
        at: Position,
        kind: Kind,
        replaced: Position,
        key: &[u8],
    ) -> Result<(), OpenError> {
        let row_key = at.to_row_key();
        Event { kind, replaced, note: Note::default(), key }.encode(&row_key, &mut self.record);
        self.batch.put(Family::Revisions, &row_key, &self.record);
        self.bytes += row_key.len() + self.record.len();
        self.write_if(BATCH_BYTES)
    }

    fn write_if(&mut self, bytes_min: usize) -> Result<(), OpenError> {
        if self.bytes >= bytes_min {
            self.store.write(std::mem::replace(&mut self.batch, self.store.batch()))?;
            self.bytes = 0;
        }
        Ok(())
    }
}

/// Where the keyspace in a store stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The revision of the last change.
    pub revision: Revision,
    /// The revision up to which history was forgotten.
    pub compacted: Option<Revision>,
    /// Whether all rows that a compaction takes away are gone.
    pub is_swept: bool,
}

/// Where the keyspace in a store that nobody writes stands.
pub fn standing_in(store: &Store) -> Result<Standing, OpenError> {
    let number = |name: &[u8]| -> Result<Option<u64>, OpenError> {
        let Some(record) = store.get(Family::Meta, name)? else { return Ok(None) };
        let [number] = row::decode_numbers(name, &record)?;
        Ok(Some(number))
    };
    let compacted = number(row::META_COMPACTED)?.map(Revision);
    let is_swept = match store.get(Family::Meta, row::META_SWEPT)? {
        None => compacted.is_none(),
        Some(record) => {
            let [target, main, _] = row::decode_numbers(row::META_SWEPT, &record)?;
            compacted.is_none_or(|compacted| target == compacted.0 && main > compacted.0)
        }
    };
    let revision = number(row::META_REVISION)?.map_or(Revision::FIRST, Revision);
    Ok(Standing { revision, compacted, is_swept })
}

/// Hands out every version in a store that nobody writes, in the order in which they were made, until `visit` breaks.
pub fn each_version<B>(
    store: &Store,
    visit: &mut dyn FnMut(&Version<'_>) -> ControlFlow<B>,
) -> Result<ControlFlow<B>, OpenError> {
    let moment = store.moment();
    let mut cursor = moment.walk(Family::Revisions, &Span::default());
    let mut changes: Vec<(Position, Kind, Vec<u8>)> = Vec::new();
    loop {
        changes.clear();
        while changes.len() < TOGETHER_MAX
            && let Some((row_key, record)) = cursor.row()
        {
            let (position, event) = Event::decode(row_key, record)?;
            changes.push((position, event.kind, event.key.to_vec()));
            cursor.step();
        }
        if changes.is_empty() {
            cursor.finish()?;
            return Ok(ControlFlow::Continue(()));
        }
        if let ControlFlow::Break(found) = visit_all(&moment, &changes, visit)? {
            return Ok(ControlFlow::Break(found));
        }
    }
}

/// Reads the rows of these changes together.
fn visit_all<B>(
    moment: &Moment<'_>,
    changes: &[(Position, Kind, Vec<u8>)],
    visit: &mut dyn FnMut(&Version<'_>) -> ControlFlow<B>,
) -> Result<ControlFlow<B>, OpenError> {
    let held = changes.iter().enumerate().filter(|(_, (_, kind, _))| *kind != Kind::Deleted);
    let mut wanted: Vec<(Vec<u8>, usize)> = held
        .map(|(at, (position, _, key))| {
            let mut row_key = Vec::new();
            row::row_key(key, *position, &mut row_key);
            (row_key, at)
        })
        .collect();
    wanted.sort_unstable();
    let (row_keys, places): (Vec<Vec<u8>>, Vec<usize>) = wanted.into_iter().unzip();
    let mut found: Vec<Option<(&Vec<u8>, store::Pinned<'_>)>> = Vec::new();
    found.resize_with(changes.len(), || None);
    for ((record, row_key), at) in
        moment.get_many(Family::Keys, &row_keys)?.into_iter().zip(&row_keys).zip(places)
    {
        let record = record.ok_or_else(|| Damage::missing(Family::Keys, row_key))?;
        if let Some(place) = found.get_mut(at) {
            *place = Some((row_key, record));
        }
    }
    for ((position, _, key), row) in changes.iter().zip(&found) {
        let held = match row {
            None => None,
            Some((row_key, record)) => {
                let Record { create, version, lease, value, .. } = Record::decode(row_key, record)?;
                Some(Held { create, version, lease, value })
            }
        };
        let version = Version { main: position.main, sub: position.sub, key, held };
        if let ControlFlow::Break(found) = visit(&version) {
            return Ok(ControlFlow::Break(found));
        }
    }
    Ok(ControlFlow::Continue(()))
}
