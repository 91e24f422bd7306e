//! Physical compaction: taking the rows away that a compaction has made unreadable, a few at a time.
//!
//! It walks over the changes in the order in which they happened, up to the compacted revision. A change makes the
//! version before it superfluous and knows where that is, so that one goes, unseen; a deletion before the compacted revision goes too, one at the
//! compacted revision stays for a watch that starts there, until a later compaction. Of every key what was current
//! at the compacted revision stays. The row of a change goes with the row of the version.
//!
//! Each call writes one batch with what goes and with its position. Being called again after a crash it finds
//! either both or none of these. It never touches a row after the compacted revision, so that neither readers nor
//! the writer meet it.

use store::{Batch, Direction, Family, Span};
use types::Revision;

use crate::row::{self, Event, Kind, Position};
use crate::{Damage, Mvcc, SweepError};

/// A sweep that took away so many versions does not wait for RocksDB to flush the removals of its own accord.
const FLUSH_VERSIONS_MIN: usize = 50_000;

/// How far a sweep came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Nothing is left to take away for the current compaction.
    pub done: bool,
    /// Changes looked at.
    pub changes: usize,
    /// Versions taken away.
    pub removed: usize,
}

/// Where a sweep is.
#[derive(Clone, Copy)]
struct Progress {
    /// The compacted revision that it worked for.
    target: Revision,
    /// The next change to look at.
    next: Position,
}

impl Mvcc {
    /// Takes away rows that no read can ask for, looking at not more than `keys_max` changes.
    pub fn sweep(&self, keys_max: usize) -> Result<Swept, SweepError> {
        let mut unflushed = self.sweeping.lock();
        let target = self.state.read().compacted.unwrap_or_default();
        let before = self.progress()?;
        let end = Position::new(target.next().0, 0);
        let mut progress = Progress { target, next: before.next };
        if before.target != target {
            // Deletions at the old target were left; now they are before the new one.
            progress.next = progress.next.min(Position::new(before.target.0, 0));
        }
        if progress.next >= end {
            return Ok(Swept { done: true, ..Swept::default() });
        }
        let mut swept = Swept::default();
        let mut removal = Removal { batch: self.store.batch(), row_key: Vec::new(), versions: 0 };
        let span =
            Span { lower: Some(progress.next.to_row_key().to_vec()), upper: Some(end.to_row_key().to_vec()) };
        let mut changes = self.store.scan(Family::Revisions, &span, Direction::Forward);
        while swept.changes < keys_max
            && let Some((row_key, record)) = changes.row()
        {
            let (position, event) = Event::decode(row_key, record)?;
            // What lies before where the sweep for the old target was is looked at once more for its deletions only.
            if event.kind != Kind::Created && position >= before.next {
                removal.take(event.key, event.replaced);
            }
            if event.kind == Kind::Deleted && position.revision() < target {
                removal.take(event.key, position);
            }
            swept.changes += 1;
            progress.next = Position::new(position.main, position.sub.saturating_add(1));
            changes.step();
        }
        changes.finish()?;
        if changes.key().is_none() {
            swept.done = true;
            progress.next = end;
        }
        let Progress { target, next } = progress;
        let record = row::encode_numbers(row::META_SWEPT, &[target.0, next.main, u64::from(next.sub)]);
        removal.batch.put(Family::Meta, row::META_SWEPT, &record);
        drop(changes);
        swept.removed = removal.versions;
        self.store.write(removal.batch)?;
        *unflushed = unflushed.saturating_add(swept.removed);
        if swept.done && *unflushed >= FLUSH_VERSIONS_MIN {
            // RocksDB drops the rows only where it merges files, and until then cursors step over them.
            self.store.flush_soon()?;
            *unflushed = 0;
        }
        Ok(swept)
    }

    fn progress(&self) -> Result<Progress, SweepError> {
        let record = self.store.get(Family::Meta, row::META_SWEPT)?;
        let [target, main, sub] = match record {
            Some(record) => row::decode_numbers(row::META_SWEPT, &record)?,
            None => [0; 3],
        };
        let sub = u32::try_from(sub).map_err(|_| Damage::malformed(Family::Meta, row::META_SWEPT))?;
        Ok(Progress { target: Revision(target), next: Position::new(main, sub) })
    }
}

/// A batch that takes versions away.
struct Removal<'a> {
    batch: Batch<'a>,
    row_key: Vec<u8>,
    versions: usize,
}

impl Removal<'_> {
    /// Takes a version out of the history: its row, and the row of the change that made it.
    fn take(&mut self, key: &[u8], position: Position) {
        row::row_key(key, position, &mut self.row_key);
        self.batch.delete(Family::Keys, &self.row_key);
        self.batch.delete(Family::Revisions, &position.to_row_key());
        self.versions += 1;
    }
}
