//! The few things the log asks of a file system, so that a test can lose power between any two of them.
//!
//! [`Folder`] is the real one. Nothing here retries, buffers or interprets; every error goes up.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Zeros are written in pieces of this size: large enough to stream, small enough to keep.
const ZERO_BYTES: usize = 1 << 20;

/// One folder that belongs to the log.
///
/// Names are plain file names. A created, renamed or removed name is durable only after [`Disk::sync_dir`].
pub trait Disk: Send + Sync {
    /// Creates `name` empty, or empties it.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Opens `name` for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Gives `source` the name `target`, replacing what had it. Open files stay open.
    fn rename(&self, source: &str, target: &str) -> io::Result<()>;
    /// Removes `name`. Open files stay readable.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// All file names, in any order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes all names durable as they are now.
    fn sync_dir(&self) -> io::Result<()>;
}

/// An open file. Shared: one thread writes while others read.
pub trait File: Send + Sync {
    /// Writes all of `bytes` at `offset`, extending the file where needed.
    fn pwrite(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Fills `into` from `offset`; an error if the file ends before.
    fn pread(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;
    /// Makes content and length durable.
    fn fdatasync(&self) -> io::Result<()>;
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file holds nothing.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Writes zeros over `source..target`. Real zeros, not a hole: a later overwrite must not allocate.
    fn zero_fill(&self, source: u64, target: u64) -> io::Result<()> {
        let zeros = vec![0; ZERO_BYTES.min(target.saturating_sub(source) as usize)];
        let mut at = source;
        while at < target {
            let piece = zeros.get(..(target - at).min(ZERO_BYTES as u64) as usize).unwrap_or(&zeros);
            self.pwrite(at, piece)?;
            at += piece.len() as u64;
        }
        Ok(())
    }
}

/// A call to the disk that failed, and on what.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {name} in the log folder")]
pub struct DiskError {
    /// What was tried.
    pub action: &'static str,
    /// The file.
    pub name: String,
    /// The operating system's answer.
    #[source]
    pub source: io::Error,
}

/// Names the call and the file of an I/O error.
pub(crate) trait OnDisk<T> {
    fn on(self, action: &'static str, name: &str) -> Result<T, DiskError>;
}

impl<T> OnDisk<T> for io::Result<T> {
    fn on(self, action: &'static str, name: &str) -> Result<T, DiskError> {
        self.map_err(|source| DiskError { action, name: name.to_owned(), source })
    }
}

/// A real folder. It must exist, and be on a local file system that orders nothing but honours `fdatasync`.
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Disk for Folder {
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.path.join(name))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let file = fs::OpenOptions::new().read(true).write(true).open(self.path.join(name))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn rename(&self, source: &str, target: &str) -> io::Result<()> {
        fs::rename(self.path.join(source), self.path.join(target))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // A name that is not UTF-8 cannot be one of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn sync_dir(&self) -> io::Result<()> {
        fs::File::open(&self.path)?.sync_all()
    }
}

struct RealFile(fs::File);

impl File for RealFile {
    fn pwrite(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn pread(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(into, offset)
    }

    fn fdatasync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}
