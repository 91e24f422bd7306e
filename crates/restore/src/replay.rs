//! From a snapshot on through an archive, to a moment that an operator names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use apply::{Entry, Machine, Position};
use bolt::Reader;
use chronicle::{SnapshotFile, Walk, WalkError, snapshot_files};
use snap::ArchiveHead;
use types::Revision;

use crate::founding::open;
use crate::{Origin, RestoreError, Sight, Source, SourceError};

/// Nanoseconds in a second.
const SECOND_NS: i64 = 1_000_000_000;

/// Up to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// All there is.
    End,
    /// The state of the v3 keyspace after this revision, and what came before it elsewhere.
    Revision(Revision),
    /// What was archived by then, in nanoseconds since 1970-01-01 UTC: nothing later, and all but the last second before.
    Time(i64),
}

/// What a member wrote with `--archive-dir`, and up to where it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// Where it is.
    pub folder: PathBuf,
    /// Up to where.
    pub goal: Goal,
}

/// How far an archive brought a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// The last entry.
    pub position: Position,
    /// When it was archived, at the latest, in nanoseconds since 1970-01-01 UTC; `None` if the archive had nothing to add.
    pub wall_ns: Option<i64>,
    /// Whether the archive ends there.
    pub is_end: bool,
}

/// Why an archive does not lead there.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The files.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// There is nothing to begin with.
    #[error("there is no snapshot in {0} that is old enough: name one, or a later moment")]
    NoBase(PathBuf),
    /// A folder that served two clusters.
    #[error("the folder has snapshots of several clusters: name the one to begin with, as {0} or {1}")]
    Several(PathBuf, PathBuf),
    /// One of etcd's.
    #[error("an archive goes on only from a snapshot of Kvorum's")]
    NotOurs,
    /// It is too short.
    #[error("the archive ends at revision {end}, before {wanted}")]
    Ends {
        /// Its last one.
        end: Revision,
        /// What was asked for.
        wanted: Revision,
    },
    /// It is too late.
    #[error("the snapshot is of revision {begin}, behind {wanted}: name an older one")]
    Begins {
        /// Its revision.
        begin: Revision,
        /// What was asked for.
        wanted: Revision,
    },
}

impl Archive {
    /// The newest snapshot beside the archive that is not behind the goal.
    pub fn base(&self) -> Result<PathBuf, RestoreError> {
        let failed = |source| SourceError::Io { path: self.folder.clone(), source };
        let files = snapshot_files(&self.folder).map_err(failed)?;
        // What cannot be read is no base; another may be.
        let known = files.into_iter().rev().filter_map(|file| Some((head_of(&file.path)?, file)));
        let mut bases = known.filter(|(head, file)| self.may_begin_with(head, file));
        let (head, base) = bases.next().ok_or_else(|| ArchiveError::NoBase(self.folder.clone()))?;
        match bases.find(|(other, _)| other.cluster != head.cluster) {
            None => Ok(base.path),
            Some((_, other)) => Err(ArchiveError::Several(base.path, other.path).into()),
        }
    }

    fn may_begin_with(&self, head: &ArchiveHead, file: &SnapshotFile) -> bool {
        match self.goal {
            Goal::End => true,
            Goal::Time(end) => {
                i64::try_from(file.seconds).is_ok_and(|at| at.saturating_mul(SECOND_NS) <= end)
            }
            Goal::Revision(end) => head.revision <= end,
        }
    }

    /// Brings the database in the folder `received`, which comes from a snapshot, to the goal.
    pub(crate) fn replay(
        &self,
        received: &Path,
        origin: Origin,
        sight: &Sight,
    ) -> Result<Origin, RestoreError> {
        let Origin::Kvorum(head) = origin else { return Err(ArchiveError::NotOurs.into()) };
        let mut machine = Machine::open(Arc::new(open(received)?))?;
        let begin = machine.mvcc().revision();
        let end = match self.goal {
            Goal::Revision(wanted) if begin > wanted => {
                return Err(ArchiveError::Begins { begin, wanted }.into());
            }
            Goal::Revision(wanted) => Some(wanted),
            Goal::End | Goal::Time(_) => None,
        };
        let mut walk = Walk::new(&self.folder, head.cluster, head.id.index).map_err(ArchiveError::from)?;
        let (mut wall_ns, mut is_end) = (None, false);
        while end.is_none_or(|end| machine.mvcc().revision() < end) {
            if sight.is_stopped() {
                return Err(SourceError::Stopped.into());
            }
            let Some(chunk) = walk.next_chunk().map_err(ArchiveError::from)? else {
                is_end = true;
                break;
            };
            if matches!(self.goal, Goal::Time(end) if chunk.wall_ns > end) {
                break;
            }
            wall_ns = Some(chunk.wall_ns);
            let entry =
                |entry: chronicle::Entry| Entry { index: entry.index, term: entry.term, data: entry.data };
            let entries: Vec<Entry> = chunk.entries.into_iter().map(entry).collect();
            machine.apply_until(&entries, end)?;
        }
        let reached = machine.mvcc().revision();
        if let Some(wanted) = end.filter(|wanted| reached < *wanted) {
            return Err(ArchiveError::Ends { end: reached, wanted }.into());
        }
        machine.store().flush()?;
        Ok(Origin::Replayed(head, Replayed { position: machine.position(), wall_ns, is_end }))
    }
}

/// What a snapshot of ours says of itself.
fn head_of(path: &Path) -> Option<ArchiveHead> {
    let source = Source::open(path, Sight::default()).ok()?;
    let reader: Reader<&Source> = Reader::open(&source).ok()?;
    etcdfile::head(&reader).ok()?
}
