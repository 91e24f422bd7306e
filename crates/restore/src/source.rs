//! The file: opened, recognized, read from its beginning as often as need be, and let go of when somebody says so.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use snap::{ArchiveHead, UnpackError};

/// Where bbolt, etcd's database, has its magic number, and the number as it lies there.
const BOLT_MAGIC_AT: usize = 16;
const BOLT_MAGIC: [u8; 4] = [0xed, 0xda, 0x0c, 0xed];
/// As much as is looked at to recognize a file, in bytes.
const LOOK_BYTES: u64 = 20;

/// How far it was read, and whether it should go on; for those who watch. Bytes are counted over all passes.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    read: Arc<AtomicU64>,
    stopped: Arc<AtomicBool>,
}

/// See the module.
#[derive(Debug)]
pub struct Source {
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    bytes: u64,
    pub(crate) sight: Sight,
    form: Form,
}

/// What a source is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The files of one of our databases, as versions up to 2026-11-22 saved them; or something of which we know nothing.
    Archive,
    /// A file of bbolt's, as etcd saves it, and we do.
    Bolt,
}

/// Why a file is no source.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file system.
    #[error("cannot read {path}")]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// One of etcd's, without its checksum; in etcd's words, and what to do.
    #[error(
        "snapshot missing hash but --skip-hash-check=false: {0} is not what `snapshot save` made; give the flag for a \
         copy of member/snap/db"
    )]
    Unsummed(PathBuf),
    /// Nobody knows who wrote it.
    #[error("{0} is not a snapshot of Kvorum, nor one of etcd: give a file that `snapshot save` made")]
    Foreign(PathBuf),
    /// It is not whole.
    #[error("{path} is not whole: {what}; take another copy of it, or another snapshot")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A newer version wrote it.
    #[error("{path} was written by a newer Kvorum: {what}; take the kvorumctl of that version")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        what: String,
    },
    /// Somebody said so.
    #[error("stopped")]
    Stopped,
}

impl Sight {
    /// Ends the reading, soon.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// How many bytes were read, over all passes.
    pub fn read_bytes(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    pub(crate) fn saw(&self, bytes: usize) {
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

impl Source {
    /// Opens the file and sees whose it is.
    pub fn open(path: &Path, sight: Sight) -> Result<Self, SourceError> {
        let failed = |source| SourceError::Io { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        if about.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        let mut begin = Vec::new();
        Read::by_ref(&mut file).take(LOOK_BYTES).read_to_end(&mut begin).map_err(failed)?;
        let form = if begin.get(BOLT_MAGIC_AT..) == Some(&BOLT_MAGIC) { Form::Bolt } else { Form::Archive };
        Ok(Self { path: path.to_owned(), file, bytes: about.len(), sight, form })
    }

    /// How long it is, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn form(&self) -> Form {
        self.form
    }

    /// Reads it from its beginning with `read`, and says in its words what was wrong.
    pub(crate) fn pass(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<ArchiveHead, UnpackError>,
    ) -> Result<ArchiveHead, SourceError> {
        self.file.seek(SeekFrom::Start(0)).map_err(|source| self.failed(source))?;
        read(self).map_err(|error| match error {
            _ if self.sight.is_stopped() => SourceError::Stopped,
            UnpackError::Io(source) => self.failed(source),
            UnpackError::Foreign => SourceError::Foreign(self.path.clone()),
            // What is too short for a head is a file of nobody, unless it begins as ours do.
            UnpackError::CutOff if !self.begins_as_ours() => SourceError::Foreign(self.path.clone()),
            UnpackError::Format(_) => SourceError::Newer { path: self.path.clone(), what: error.to_string() },
            other => SourceError::Damaged { path: self.path.clone(), what: other.to_string() },
        })
    }

    fn begins_as_ours(&mut self) -> bool {
        let mut begin = [0; 8];
        self.file.seek(SeekFrom::Start(0)).is_ok()
            && self.file.read_exact(&mut begin).is_ok()
            && &begin == snap::ARCHIVE_MAGIC
    }

    pub(crate) fn failed(&self, source: io::Error) -> SourceError {
        SourceError::Io { path: self.path.clone(), source }
    }
}

impl Read for Source {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.sight.is_stopped() {
            return Err(io::Error::other("stopped"));
        }
        let read = self.file.read(into)?;
        self.sight.saw(read);
        Ok(read)
    }
}
