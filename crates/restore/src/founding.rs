//! The making of the folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apply::{Machine, Position, RefoundError};
use etcdfile::IntakeError;
use etcdfolder::EtcdFolder;
use folder::FolderError;
use snap::{ArchiveHead, unpack, verify};
use store::{Options, Store, StoreError};
use types::Revision;
use wal::{HardState, Identity, Wal};

use crate::source::Form;
use crate::{Archive, ArchiveError, Plan, Replayed, Source, SourceError};

/// Where the folder is made, below the data folder, until it is whole.
const DRAFT: &str = "restore.tmp";
/// What is received before it is a database, below the folder for snapshots.
const RECEIVED: &str = "restore.recv";
/// The one folder in a data folder.
const MEMBER: &str = "member";
/// What a file system puts into its root itself.
const NOT_DATA: &str = "lost+found";
/// Memory for the database while it is changed, in bytes.
const MEMORY_BYTES: usize = 64 << 20;

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Where it comes from.
    pub origin: Origin,
    /// The revision that the v3 keyspace stands at now.
    pub revision: Revision,
    /// Alarms that are raised in it.
    pub alarms: usize,
}

/// Who made a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// We, and this is what it says of itself.
    Kvorum(ArchiveHead),
    /// etcd: what it holds goes up to this entry of its log.
    Etcd(Position),
    /// We, and an archive led on from there.
    Replayed(ArchiveHead, Replayed),
}

impl Origin {
    /// The last entry that is in it.
    pub fn position(&self) -> Position {
        match self {
            Self::Kvorum(head) => Position { index: head.id.index, term: head.id.term },
            Self::Etcd(position) => *position,
            Self::Replayed(_, replayed) => replayed.position,
        }
    }
}

/// Why there is no folder. Nothing is left behind then.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The file.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// There is something already.
    #[error("data-dir {0:?} not empty or could not be read")]
    Taken(PathBuf),
    /// The folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The disk, below the folder.
    #[error("cannot write below {path}")]
    Disk {
        /// The data folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The database.
    #[error("cannot change the database of the snapshot")]
    Store(#[from] StoreError),
    /// What is in it.
    #[error("cannot read what is in the snapshot")]
    State(#[from] apply::OpenError),
    /// A file of etcd's.
    #[error("cannot make a database of the file")]
    Intake(#[source] IntakeError),
    /// A data folder of etcd's.
    #[error(transparent)]
    EtcdFolder(#[from] etcdfolder::FolderError),
    /// What is in that.
    #[error("cannot make a database of etcd's data folder")]
    Take(#[from] etcdfolder::TakeError),
    /// An archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// What is in an archive.
    #[error("cannot apply what is in the archive")]
    Apply(#[from] apply::ApplyError),
    /// It cannot be handed on.
    #[error("the snapshot cannot found a cluster")]
    Refound(#[from] RefoundError),
    /// The log.
    #[error("cannot make the log")]
    Log(#[from] wal::OpenError),
    /// The log again.
    #[error("cannot begin the log")]
    Begin(#[from] wal::AppendError),
    /// The head and the files of the snapshot tell different things.
    #[error("the snapshot says that it goes up to {told:?} and goes up to {found:?}")]
    Mixed {
        /// What the head says.
        told: Position,
        /// What the database says.
        found: Position,
    },
}

/// Makes the data folder of `plan` out of `source`, and of what an archive has behind it.
pub fn restore(
    source: &mut Source,
    archive: Option<&Archive>,
    plan: &Plan,
) -> Result<Restored, RestoreError> {
    let is_new = check_free(&plan.data_dir)?;
    match source.form() {
        Form::Archive => drop(source.pass(|archive| verify(archive))?),
        Form::Bolt => source.check_bolt(plan.skip_hash_check)?,
    }
    make_or_leave(is_new, plan, |received| {
        let origin = match source.form() {
            Form::Archive => take_archive(source, received, plan)?,
            Form::Bolt => source.take_bolt(received)?,
        };
        archive.map_or(Ok(origin), |archive| archive.replay(received, origin, &source.sight))
    })
}

/// Makes the data folder of `plan` out of that of an etcd that has stopped, whose log may be elsewhere.
pub fn restore_folder(folder: &Path, log: Option<&Path>, plan: &Plan) -> Result<Restored, RestoreError> {
    let is_new = check_free(&plan.data_dir)?;
    let folder = EtcdFolder::open(folder, log)?;
    make_or_leave(is_new, plan, |received| {
        let position = etcdfolder::take(&folder, &Arc::new(open(received)?))?;
        Ok(Origin::Etcd(position))
    })
}

fn make_or_leave(
    is_new: bool,
    plan: &Plan,
    take: impl FnOnce(&Path) -> Result<Origin, RestoreError>,
) -> Result<Restored, RestoreError> {
    let draft = plan.data_dir.join(DRAFT);
    let made = make(take, plan, &draft);
    if made.is_err() {
        // What stays is seen by its name not to be whole.
        let _left = fs::remove_dir_all(&draft);
        if is_new {
            let _left = fs::remove_dir(&plan.data_dir);
        }
    }
    made
}

/// Refuses a folder with anything in it. True if there is none at all.
fn check_free(path: &Path) -> Result<bool, RestoreError> {
    let taken = || RestoreError::Taken(path.to_owned());
    match fs::read_dir(path) {
        Ok(mut entries) => {
            let is_free = entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == NOT_DATA));
            if is_free { Ok(false) } else { Err(taken()) }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(_) => Err(taken()),
    }
}

fn take_archive(source: &mut Source, received: &Path, plan: &Plan) -> Result<Origin, RestoreError> {
    let head = source.pass(|archive| unpack(archive, received)).map_err(|error| match error {
        // It was just read to its end, so that this is the other side.
        SourceError::Io { source, .. } => RestoreError::Disk { path: plan.data_dir.clone(), source },
        other => other.into(),
    })?;
    Ok(Origin::Kvorum(head))
}

/// `take` makes a database in a folder that is not there.
fn make(
    take: impl FnOnce(&Path) -> Result<Origin, RestoreError>,
    plan: &Plan,
    draft: &Path,
) -> Result<Restored, RestoreError> {
    let on_disk = |source| RestoreError::Disk { path: plan.data_dir.clone(), source };
    let folder = folder::open(draft)?;
    let generations = folder.generations();
    let received = generations.snap().join(RECEIVED);
    let origin = take(&received)?;
    let position = origin.position();
    let database = generations.adopt(&received, position.index)?;
    let restored = change(&database, origin, plan)?;
    generations.enthrone(position)?;
    begin_log(folder.wal(), plan, position)?;
    drop(folder);
    fs::rename(draft.join(MEMBER), plan.data_dir.join(MEMBER)).map_err(on_disk)?;
    folder::sync(&plan.data_dir)?;
    fs::remove_dir(draft).map_err(on_disk)?;
    Ok(restored)
}

/// Makes the database one of the new cluster.
fn change(database: &Path, origin: Origin, plan: &Plan) -> Result<Restored, RestoreError> {
    let mut machine = Machine::open(Arc::new(open(database)?))?;
    let (told, found) = (origin.position(), machine.position());
    if told != found {
        return Err(RestoreError::Mixed { told, found });
    }
    machine.refound(&plan.members, plan.leap)?;
    Ok(Restored { origin, revision: machine.mvcc().revision(), alarms: machine.alarms().list().len() })
}

/// A database to be changed.
pub(crate) fn open(database: &Path) -> Result<Store, StoreError> {
    Store::open(database, &Options { memory_bytes: MEMORY_BYTES, ..Options::default() })
}

/// A log that is empty and goes on behind `position`.
fn begin_log(path: PathBuf, plan: &Plan, position: Position) -> Result<(), RestoreError> {
    let identity = Identity { cluster: plan.cluster.0, member: plan.member.0, salt: rand::random() };
    let (mut wal, _) = Wal::open(Arc::new(wal::Folder::new(path)), &wal::Config::new(identity))?;
    let (index, term) = (position.index.0, position.term.0);
    wal.reset_to(index, term, Some(HardState { term, vote: 0, commit: index }))?;
    Ok(())
}
