//! What lies in the folder, and that nobody is using it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// An etcd's data folder, which no process has open until this is dropped.
#[derive(Debug)]
pub struct EtcdFolder {
    pub(crate) database: (PathBuf, File),
    /// Where databases lie, also one that came over the network and was not put in place.
    pub(crate) snap: PathBuf,
    /// The newest first.
    pub(crate) snapshots: Vec<PathBuf>,
    /// The oldest first.
    pub(crate) segments: Vec<PathBuf>,
}

/// Why it is not taken.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The disk.
    #[error("cannot read {path}")]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no database in it.
    #[error("{0} is not a data folder of etcd: there is no member/snap/db in it")]
    Foreign(PathBuf),
    /// Its log is elsewhere.
    #[error("there is no log of etcd in {0}: if it is elsewhere, say where with --from-wal-dir")]
    NoLog(PathBuf),
    /// Some process has the database.
    #[error("{0} is in use: stop etcd first, so that its log is whole")]
    Used(PathBuf),
}

impl EtcdFolder {
    /// Looks into `folder`; the log may be elsewhere, in `log`.
    pub fn open(folder: &Path, log: Option<&Path>) -> Result<Self, FolderError> {
        let snap = folder.join("member/snap");
        let path = snap.join("db");
        let database = match File::open(&path) {
            Ok(database) => database,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(FolderError::Foreign(folder.to_owned()));
            }
            Err(source) => return Err(FolderError::Io { path, source }),
        };
        match database.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FolderError::Used(folder.to_owned())),
            Err(TryLockError::Error(source)) => return Err(FolderError::Io { path, source }),
        }
        let log = log.map_or_else(|| folder.join("member/wal"), Path::to_owned);
        let mut snapshots = named(&snap, ".snap")?;
        // Names are term and index, each with all its digits.
        snapshots.reverse();
        let segments = named(&log, ".wal")?;
        if segments.is_empty() {
            return Err(FolderError::NoLog(log));
        }
        Ok(Self { database: (path, database), snap, snapshots, segments })
    }
}

/// Files whose names end so, in the order of the names.
fn named(folder: &Path, end: &str) -> Result<Vec<PathBuf>, FolderError> {
    let failed = |source| FolderError::Io { path: folder.to_owned(), source };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(end)) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
