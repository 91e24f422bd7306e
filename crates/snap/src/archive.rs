//! A snapshot as one stream of bytes, for an operator to keep: the files of a folder behind a head that names them,
//! each chunk with its checksum, and a SHA-256 over everything at the end.
//!
//! docs/FORMATS.md draws the bytes. The length is known before the first byte, and is 32 more than a multiple of 512:
//! by that `etcdctl` tells that the checksum is there.
//!
//! INVARIANT: what is unpacked successfully is, byte for byte and durably, what was packed.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::{BufMut, Bytes, BytesMut};
use sha2::{Digest, Sha256};
use types::{ClusterId, MemberId, Revision};

use crate::files::is_name;
use crate::{CHUNK_BYTES, MakeError, SnapshotId};

/// What an archive begins with.
pub const ARCHIVE_MAGIC: &[u8; 8] = b"KVORUMAR";
pub(crate) const FORMAT: u32 = 1;
/// Magic, format, number of files, cluster, member, index, term, revision.
pub(crate) const HEAD_BYTES: usize = 8 + 4 + 4 + 5 * 8;
/// Files in an archive.
pub(crate) const FILES_MAX: usize = 1 << 16;
/// Everything before the SHA-256 is filled up to a multiple of this, in bytes.
pub(crate) const GRAIN_BYTES: u64 = 512;
/// The SHA-256 at the end, in bytes.
pub const CHECKSUM_BYTES: usize = 32;

/// What an archive says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchiveHead {
    /// The cluster.
    pub cluster: ClusterId,
    /// The member that made it.
    pub member: MemberId,
    /// The last entry that is in it.
    pub id: SnapshotId,
    /// The revision of the v3 keyspace in it.
    pub revision: Revision,
}

/// The files that go into an archive. They are removed as they are read, and what is left when this goes.
#[derive(Debug)]
pub struct ArchiveFiles {
    folder: PathBuf,
    // Names and sizes, in the order of the names.
    files: Vec<(String, u64)>,
}

/// An archive on its way out.
#[derive(Debug)]
pub struct ArchiveWriter {
    source: ArchiveFiles,
    head: ArchiveHead,
    stage: Stage,
    sum: Sha256,
    bytes: u64,
    sent: u64,
}

#[derive(Debug)]
enum Stage {
    Head,
    /// This file from this byte on.
    File(usize, u64, Option<File>),
    Filling,
    Checksum,
    End,
}

impl ArchiveFiles {
    /// Lists `folder`, which is this one's from now on, and does not change any more. What is in it must be files.
    pub fn take(folder: PathBuf) -> Result<Self, MakeError> {
        let mut taken = Self { folder, files: Vec::new() };
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source| MakeError::Read { path, source }
        };
        for entry in fs::read_dir(&taken.folder).map_err(unreadable(&taken.folder))? {
            let path = entry.map_err(unreadable(&taken.folder))?.path();
            let size = fs::metadata(&path).map_err(unreadable(&path))?;
            let name = path.file_name().and_then(|name| name.to_str()).filter(|name| is_name(name));
            match name {
                Some(name) if size.is_file() && taken.files.len() < FILES_MAX => {
                    taken.files.push((name.to_owned(), size.len()));
                }
                _ => return Err(MakeError::Unfit(path)),
            }
        }
        taken.files.sort();
        Ok(taken)
    }

    /// Where they lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Begins to pack.
    pub fn pack(self, head: ArchiveHead) -> ArchiveWriter {
        let files = self.files.iter().map(|(_, size)| size + 4 * size.div_ceil(CHUNK_BYTES as u64));
        let whole = head_bytes(&self.files) + files.sum::<u64>();
        let bytes = whole.next_multiple_of(GRAIN_BYTES);
        ArchiveWriter { source: self, head, stage: Stage::Head, sum: Sha256::new(), bytes, sent: 0 }
    }
}

impl Drop for ArchiveFiles {
    fn drop(&mut self) {
        // What stays, the next start removes.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl ArchiveWriter {
    /// What it says about itself.
    pub fn head(&self) -> ArchiveHead {
        self.head
    }

    /// How long the archive is without its SHA-256, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next bytes, some more than [`CHUNK_BYTES`] at most; `None` after the last. Blocks on the disk.
    pub fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        let chunk = loop {
            match &mut self.stage {
                Stage::Head => {
                    self.stage = Stage::File(0, 0, None);
                    break encode_head(&self.head, &self.source.files);
                }
                Stage::File(at, _, _) if *at == self.source.files.len() => self.stage = Stage::Filling,
                Stage::File(..) => {
                    if let Some(chunk) = self.file_chunk()? {
                        break chunk;
                    }
                }
                Stage::Filling => {
                    self.stage = Stage::Checksum;
                    let missing = self.bytes - self.sent;
                    if missing > 0 {
                        break Bytes::from(vec![0; missing as usize]);
                    }
                }
                Stage::Checksum => {
                    debug_assert_eq!(self.sent, self.bytes, "the length was told before");
                    self.stage = Stage::End;
                    let sum = std::mem::take(&mut self.sum).finalize();
                    return Ok(Some(Bytes::copy_from_slice(&sum)));
                }
                Stage::End => return Ok(None),
            }
        };
        self.sum.update(&chunk);
        self.sent += chunk.len() as u64;
        Ok(Some(chunk))
    }

    /// A chunk of the file that it is at; `None` behind its end.
    fn file_chunk(&mut self) -> io::Result<Option<Bytes>> {
        let Stage::File(at, offset, open) = &mut self.stage else { return Ok(None) };
        let Some((name, size)) = self.source.files.get(*at) else { return Ok(None) };
        let path = self.source.folder.join(name);
        if *offset == *size {
            fs::remove_file(path)?;
            self.stage = Stage::File(*at + 1, 0, None);
            return Ok(None);
        }
        let file = match open {
            Some(file) => file,
            None => open.insert(File::open(path)?),
        };
        let length = (*size - *offset).min(CHUNK_BYTES as u64) as usize;
        let mut chunk = vec![0; length + 4];
        let (content, crc) = chunk.split_at_mut(length);
        file.read_exact(content)?;
        crc.copy_from_slice(&crc32c::crc32c(content).to_le_bytes());
        *offset += length as u64;
        Ok(Some(chunk.into()))
    }
}

fn head_bytes(files: &[(String, u64)]) -> u64 {
    let listed: usize = files.iter().map(|(name, _)| 1 + name.len() + 8).sum();
    (HEAD_BYTES + listed + 4) as u64
}

fn encode_head(head: &ArchiveHead, files: &[(String, u64)]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(head_bytes(files) as usize);
    bytes.put_slice(ARCHIVE_MAGIC);
    bytes.put_u32_le(FORMAT);
    // It was checked when they were listed, as the lengths of the names were.
    bytes.put_u32_le(files.len() as u32);
    for number in [head.cluster.0, head.member.0, head.id.index.0, head.id.term.0, head.revision.0] {
        bytes.put_u64_le(number);
    }
    for (name, size) in files {
        bytes.put_u8(name.len() as u8);
        bytes.put_slice(name.as_bytes());
        bytes.put_u64_le(*size);
    }
    bytes.put_u32_le(crc32c::crc32c(&bytes));
    bytes.freeze()
}
