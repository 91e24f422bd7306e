//! What belongs to a snapshot: files, their sizes, and a checksum of each of their chunks.
//!
//! docs/FORMATS.md draws the bytes.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use types::{ClusterId, Index, Term};

use crate::SnapshotId;
use crate::files::is_name;

/// Files are checked in chunks of this size, in bytes; a file's last one is what is left.
pub const CHUNK_BYTES: usize = 1 << 20;

const MAGIC: &[u8; 8] = b"KVORUMSN";
const FORMAT: u32 = 1;
/// Magic, format, number of files, cluster, index, term.
const HEAD_BYTES: usize = 8 + 4 + 4 + 8 + 8 + 8;
/// Threads that read a folder at once.
const READERS_MAX: usize = 4;
/// Files in a snapshot.
const FILES_MAX: usize = 1 << 16;

/// The list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    cluster: ClusterId,
    id: SnapshotId,
    files: Vec<FileEntry>,
}

/// A file of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    name: String,
    size: u64,
    chunks: Vec<u32>,
}

/// Why a folder has no manifest.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// The disk.
    #[error("cannot read {path}")]
    Read {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A folder, a name that cannot be sent, or too many files.
    #[error("{0} cannot be part of a snapshot")]
    Unfit(PathBuf),
}

/// Why bytes are no manifest, or not the one that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not what was written.
    #[error("the manifest of the snapshot is damaged")]
    Damaged,
    /// Of a newer version.
    #[error("the manifest of the snapshot has format {0}, this version reads up to {FORMAT}")]
    Format(u32),
    /// Of something else.
    #[error("the manifest is of snapshot {id} of cluster {cluster}, not of the one that was asked for")]
    Other {
        /// Whose.
        cluster: ClusterId,
        /// Which.
        id: SnapshotId,
    },
    /// A name twice, or one that could lead elsewhere.
    #[error("the manifest of the snapshot lists a file `{0}`")]
    Name(String),
}

impl FileEntry {
    /// Its name in the folder.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// In bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many chunks it has.
    pub(crate) fn chunk_count(&self) -> usize {
        self.chunks.len()
    }

    /// How long a chunk is, in bytes.
    pub(crate) fn chunk_bytes(&self, chunk: usize) -> usize {
        let begin = (chunk * CHUNK_BYTES) as u64;
        usize::try_from(self.size.saturating_sub(begin)).unwrap_or(usize::MAX).min(CHUNK_BYTES)
    }

    /// Whether these are the bytes of that chunk.
    pub(crate) fn is_chunk(&self, chunk: usize, bytes: &[u8]) -> bool {
        bytes.len() == self.chunk_bytes(chunk) && self.chunks.get(chunk) == Some(&crc32c::crc32c(bytes))
    }
}

impl Manifest {
    /// Lists `folder`, which holds files only and does not change any more. Reads all of it.
    pub fn make(folder: &Path, cluster: ClusterId, id: SnapshotId) -> Result<Self, MakeError> {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source| MakeError::Read { path, source }
        };
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).map_err(unreadable(folder))? {
            let path = entry.map_err(unreadable(folder))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).filter(|name| is_name(name));
            let (Some(name), true, true) = (name, path.is_file(), found.len() < FILES_MAX) else {
                return Err(MakeError::Unfit(path));
            };
            found.push((name.to_owned(), path));
        }
        // Somebody waits for it: the files are read by several threads, each of which takes the next one.
        let next = AtomicUsize::new(0);
        let read_some = || {
            let mut read = Vec::new();
            while let Some((name, path)) = found.get(next.fetch_add(1, Ordering::Relaxed)) {
                read.push(checksum(name, path).map_err(unreadable(path))?);
            }
            Ok(read)
        };
        let readers = thread::available_parallelism().map_or(1, usize::from).min(READERS_MAX);
        let read: Vec<Result<Vec<FileEntry>, MakeError>> = thread::scope(|scope| {
            let others: Vec<_> = (1..readers).map(|_| scope.spawn(read_some)).collect();
            let mut read = vec![read_some()];
            read.extend(
                others
                    .into_iter()
                    .map(|other| other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))),
            );
            read
        });
        let mut files = Vec::with_capacity(found.len());
        for some in read {
            files.extend(some?);
        }
        files.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Self { cluster, id, files })
    }

    /// Which snapshot.
    pub fn id(&self) -> SnapshotId {
        self.id
    }

    /// Its files, in the order of their names.
    pub fn files(&self) -> &[FileEntry] {
        &self.files
    }

    /// All files together, in bytes.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(FileEntry::size).sum()
    }

    /// As it is sent.
    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(HEAD_BYTES);
        bytes.put_slice(MAGIC);
        bytes.put_u32_le(FORMAT);
        // Both lengths were checked when the files were listed, or read.
        bytes.put_u32_le(self.files.len() as u32);
        bytes.put_u64_le(self.cluster.0);
        bytes.put_u64_le(self.id.index.0);
        bytes.put_u64_le(self.id.term.0);
        for file in &self.files {
            bytes.put_u8(file.name.len() as u8);
            bytes.put_slice(file.name.as_bytes());
            bytes.put_u64_le(file.size);
            file.chunks.iter().for_each(|&crc| bytes.put_u32_le(crc));
        }
        bytes.put_u32_le(crc32c::crc32c(&bytes));
        bytes.freeze()
    }

    /// Reads the manifest of snapshot `id` of `cluster`; one of anything else is refused.
    pub fn decode(bytes: &[u8], cluster: ClusterId, id: SnapshotId) -> Result<Self, ManifestError> {
        let (mut rest, crc) = bytes.split_last_chunk::<4>().ok_or(ManifestError::Damaged)?;
        if crc32c::crc32c(rest) != u32::from_le_bytes(*crc)
            || rest.len() < HEAD_BYTES
            || !rest.starts_with(MAGIC)
        {
            return Err(ManifestError::Damaged);
        }
        rest.advance(MAGIC.len());
        match rest.get_u32_le() {
            FORMAT => {}
            newer => return Err(ManifestError::Format(newer)),
        }
        let count = rest.get_u32_le() as usize;
        let theirs = (
            ClusterId(rest.get_u64_le()),
            SnapshotId { index: Index(rest.get_u64_le()), term: Term(rest.get_u64_le()) },
        );
        if theirs != (cluster, id) {
            return Err(ManifestError::Other { cluster: theirs.0, id: theirs.1 });
        }
        if count > FILES_MAX {
            return Err(ManifestError::Damaged);
        }
        let mut files: Vec<FileEntry> = Vec::new();
        for _ in 0..count {
            let file = decode_file(&mut rest)?;
            // Ascending, so no name stands there twice.
            if !is_name(&file.name) || files.last().is_some_and(|last| last.name >= file.name) {
                return Err(ManifestError::Name(file.name));
            }
            files.push(file);
        }
        if rest.is_empty() { Ok(Self { cluster, id, files }) } else { Err(ManifestError::Damaged) }
    }
}

fn decode_file(rest: &mut &[u8]) -> Result<FileEntry, ManifestError> {
    let damaged = |_| ManifestError::Damaged;
    let length = rest.try_get_u8().map_err(damaged)? as usize;
    let name = rest.split_off(..length).ok_or(ManifestError::Damaged)?;
    let name = str::from_utf8(name).map_err(|_| ManifestError::Damaged)?.to_owned();
    let size = rest.try_get_u64_le().map_err(damaged)?;
    // What is not there is not made room for.
    let count = usize::try_from(size.div_ceil(CHUNK_BYTES as u64)).map_err(|_| ManifestError::Damaged)?;
    let chunks =
        count.checked_mul(4).and_then(|bytes| rest.split_off(..bytes)).ok_or(ManifestError::Damaged)?;
    let (chunks, _) = chunks.as_chunks::<4>();
    Ok(FileEntry { name, size, chunks: chunks.iter().map(|crc| u32::from_le_bytes(*crc)).collect() })
}

fn checksum(name: &str, path: &Path) -> io::Result<FileEntry> {
    let mut file = File::open(path)?;
    let (mut size, mut chunks, mut chunk) = (0, Vec::new(), Vec::with_capacity(CHUNK_BYTES));
    loop {
        chunk.clear();
        let length = Read::by_ref(&mut file).take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
        if length == 0 {
            return Ok(FileEntry { name: name.to_owned(), size, chunks });
        }
        size += length as u64;
        chunks.push(crc32c::crc32c(&chunk));
    }
}
