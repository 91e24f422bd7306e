//! Physical compaction: taking the rows away that a compaction has made unreadable, a few at a time.
//!
//! It walks over the changes in the order in which they happened, up to the compacted revision. A change makes the
//! version before it superfluous, so that one goes; a deletion before the compacted revision goes too, one at the
//! compacted revision stays for a watch that starts there, until a later compaction. Of every key what was current
//! at the compacted revision stays. The row of a change goes with the row of the version.
//!
//! Each call writes one batch with what goes and with its position. Being called again after a crash it finds
//! either both or none of these. It never touches a row after the compacted revision, so that neither readers nor
//! the writer meet it.

use store::{Batch, Cursor, Direction, Family, Span};
use types::Revision;

use crate::row::{self, Kind, Position};
use crate::{Damage, Mvcc, SweepError, history};

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
        let _alone = self.sweeping.lock();
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
        let mut batch = self.store.batch();
        let span =
            Span { lower: Some(progress.next.to_row_key().to_vec()), upper: Some(end.to_row_key().to_vec()) };
        let mut changes = self.store.scan(Family::Revisions, &span, Direction::Forward);
        let mut versions = None;
        while swept.changes < keys_max
            && let Some((row_key, record)) = changes.row()
        {
            let (position, kind, key) = row::decode_change(row_key, record)?;
            if kind != Kind::Created {
                let versions = versions.get_or_insert_with(|| {
                    self.store.scan(Family::Keys, &Span::default(), Direction::Forward)
                });
                swept.removed += take_away(&mut batch, versions, key, position, kind, target)?;
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
        batch.put(Family::Meta, row::META_SWEPT, &record);
        drop((changes, versions));
        self.store.write(batch)?;
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

/// Takes away what an update or a deletion has made superfluous; answers how many versions that were.
fn take_away(
    batch: &mut Batch<'_>,
    versions: &mut Cursor<'_>,
    key: &[u8],
    position: Position,
    kind: Kind,
    target: Revision,
) -> Result<usize, SweepError> {
    let mut own = Vec::with_capacity(key.len() + 16);
    row::row_key(key, position, &mut own);
    versions.seek(&own);
    if versions.key() != Some(own.as_slice()) {
        versions.finish()?;
        return Err(Damage::missing(Family::Keys, &own).into());
    }
    versions.step();
    let mut removed = 0;
    if let Some(row_key) = versions.key()
        && row_key.starts_with(row::prefix_of(&own)?)
    {
        history::remove(batch, row_key, row::position_of(row_key)?);
        removed += 1;
    }
    versions.finish()?;
    if kind == Kind::Deleted && position.revision() < target {
        history::remove(batch, &own, position);
        removed += 1;
    }
    Ok(removed)
}
