//! What the files in an archive's folder are called. Several members may share a folder: their names differ.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use types::{Index, MemberId};

/// A file of entries: `log-MEMBER-FIRST.kvlog`, sixteen hexadecimal digits each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogFile {
    /// The first entry in it.
    pub first: Index,
    /// Who wrote it.
    pub member: MemberId,
    /// Where it is.
    pub path: PathBuf,
}

/// A snapshot: `snapshot-MEMBER-INDEX-SECONDS.db`, sixteen hexadecimal digits each, and the seconds decimal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotFile {
    /// The last entry in it.
    pub index: Index,
    /// When it was made, in seconds since 1970-01-01 UTC; nothing in it is later.
    pub seconds: u64,
    /// Who made it.
    pub member: MemberId,
    /// Where it is.
    pub path: PathBuf,
}

impl LogFile {
    /// What it is called in `folder`.
    pub fn path(folder: &Path, member: MemberId, first: Index) -> PathBuf {
        folder.join(format!("log-{:016x}-{:016x}.kvlog", member.0, first.0))
    }
}

impl SnapshotFile {
    /// What it is called in `folder`.
    pub fn path(folder: &Path, member: MemberId, index: Index, seconds: u64) -> PathBuf {
        folder.join(format!("snapshot-{:016x}-{:016x}-{seconds}.db", member.0, index.0))
    }
}

/// The files of entries in `folder`, in the order of their first ones.
pub fn log_files(folder: &Path) -> io::Result<Vec<LogFile>> {
    let read = |name: &str, path| {
        let (member, first) = name.strip_prefix("log-")?.strip_suffix(".kvlog")?.split_once('-')?;
        Some(LogFile { first: Index(number(first)?), member: MemberId(number(member)?), path })
    };
    named(folder, read)
}

/// The snapshots in `folder`, in the order of their last entries. One that is being written is none.
pub fn snapshot_files(folder: &Path) -> io::Result<Vec<SnapshotFile>> {
    let read = |name: &str, path| {
        let mut parts = name.strip_prefix("snapshot-")?.strip_suffix(".db")?.split('-');
        let (member, index) = (MemberId(number(parts.next()?)?), Index(number(parts.next()?)?));
        let seconds = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some(SnapshotFile { index, seconds, member, path })
    };
    named(folder, read)
}

/// Makes the names in `folder` durable.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn named<T: Ord>(folder: &Path, read: impl Fn(&str, PathBuf) -> Option<T>) -> io::Result<Vec<T>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        files.extend(entry.file_name().to_str().and_then(|name| read(name, entry.path())));
    }
    files.sort();
    Ok(files)
}

fn number(digits: &str) -> Option<u64> {
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}
