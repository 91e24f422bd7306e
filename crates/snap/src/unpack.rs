//! Reading an archive back: everything is checked before it is believed.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Buf;
use sha2::{Digest, Sha256};
use types::{ClusterId, Index, MemberId, Revision, Term};

use crate::archive::{
    ARCHIVE_MAGIC, ArchiveHead, CHECKSUM_BYTES, FILES_MAX, FORMAT, GRAIN_BYTES, HEAD_BYTES,
};
use crate::files::{is_name, sync_folder};
use crate::{CHUNK_BYTES, SnapshotId};

/// Why an archive was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The source or the disk.
    #[error("cannot read the snapshot, or write what is in it")]
    Io(#[from] io::Error),
    /// Something else.
    #[error("this is not a snapshot of Kvorum")]
    Foreign,
    /// Of a newer version.
    #[error("the snapshot has format {0}, this version reads up to {FORMAT}")]
    Format(u32),
    /// It ends early.
    #[error("the snapshot is cut off")]
    CutOff,
    /// Not what was written.
    #[error("the snapshot is damaged: {0}")]
    Damaged(&'static str),
    /// The folder to be made is there.
    #[error("{0} is there already")]
    Exists(PathBuf),
}

/// Reads an archive to its end and checks it.
pub fn verify(archive: impl Read) -> Result<ArchiveHead, UnpackError> {
    read(archive, None)
}

/// Puts the files of an archive into `folder`, which is made for them. After an error the folder may be there with
/// a part of them; after success it holds all of them, durably (its own name too, unless that is relative).
pub fn unpack(archive: impl Read, folder: &Path) -> Result<ArchiveHead, UnpackError> {
    match fs::create_dir(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(UnpackError::Exists(folder.to_owned()));
        }
        Err(error) => return Err(error.into()),
    }
    let head = read(archive, Some(folder))?;
    sync_folder(folder)?;
    if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        sync_folder(parent)?;
    }
    Ok(head)
}

fn read(archive: impl Read, folder: Option<&Path>) -> Result<ArchiveHead, UnpackError> {
    let mut source = Summed { inner: archive, sum: Sha256::new(), bytes: 0 };
    let (head, files) = read_head(&mut source)?;
    let mut chunk = vec![0; CHUNK_BYTES + 4];
    for (name, size) in files {
        let mut file = folder.map(|folder| File::create_new(folder.join(&name))).transpose()?;
        let mut left = size;
        while left > 0 {
            let length = left.min(CHUNK_BYTES as u64) as usize;
            let bytes = &mut chunk[..length + 4];
            source.take(bytes)?;
            let (content, crc) = bytes.split_at(length);
            if crc32c::crc32c(content).to_le_bytes() != crc {
                return Err(UnpackError::Damaged("a checksum of a file does not match"));
            }
            if let Some(file) = &mut file {
                file.write_all(content)?;
            }
            left -= length as u64;
        }
        if let Some(file) = file {
            file.sync_all()?;
        }
    }
    let filling = &mut chunk[..(source.bytes.next_multiple_of(GRAIN_BYTES) - source.bytes) as usize];
    source.take(filling)?;
    let found = std::mem::take(&mut source.sum).finalize();
    let mut told = [0; CHECKSUM_BYTES];
    source.take(&mut told)?;
    if found[..] != told {
        return Err(UnpackError::Damaged("its SHA-256 does not match"));
    }
    match source.inner.read(&mut [0])? {
        0 => Ok(head),
        _ => Err(UnpackError::Damaged("there is something behind its end")),
    }
}

/// The head, and the names and sizes of the files.
type Listed = (ArchiveHead, Vec<(String, u64)>);

fn read_head(source: &mut Summed<impl Read>) -> Result<Listed, UnpackError> {
    let mut fixed = [0; HEAD_BYTES];
    source.take(&mut fixed)?;
    let mut crc = crc32c::crc32c(&fixed);
    let mut rest = fixed.strip_prefix(ARCHIVE_MAGIC).ok_or(UnpackError::Foreign)?;
    match rest.get_u32_le() {
        FORMAT => {}
        newer => return Err(UnpackError::Format(newer)),
    }
    let count = rest.get_u32_le() as usize;
    if count > FILES_MAX {
        return Err(UnpackError::Damaged("it lists too many files"));
    }
    let cluster = ClusterId(rest.get_u64_le());
    let member = MemberId(rest.get_u64_le());
    let id = SnapshotId { index: Index(rest.get_u64_le()), term: Term(rest.get_u64_le()) };
    let head = ArchiveHead { cluster, member, id, revision: Revision(rest.get_u64_le()) };
    let mut files: Vec<(String, u64)> = Vec::new();
    for _ in 0..count {
        let mut length = [0];
        source.take(&mut length)?;
        let mut entry = vec![0; usize::from(length[0]) + 8];
        source.take(&mut entry)?;
        crc = crc32c::crc32c_append(crc32c::crc32c_append(crc, &length), &entry);
        let (name, mut size) = entry.split_at(usize::from(length[0]));
        // Ascending, so that no name stands there twice.
        let name = str::from_utf8(name).ok().filter(|name| is_name(name));
        let name = name.filter(|name| files.last().is_none_or(|(last, _)| last.as_str() < *name));
        let name = name.ok_or(UnpackError::Damaged("it lists a file with an odd name"))?;
        files.push((name.to_owned(), size.get_u64_le()));
    }
    let mut told = [0; 4];
    source.take(&mut told)?;
    if crc.to_le_bytes() == told {
        Ok((head, files))
    } else {
        Err(UnpackError::Damaged("the checksum of its head does not match"))
    }
}

/// A source, and the sum of what came out of it.
struct Summed<R> {
    inner: R,
    sum: Sha256,
    bytes: u64,
}

impl<R: Read> Summed<R> {
    fn take(&mut self, into: &mut [u8]) -> Result<(), UnpackError> {
        self.inner.read_exact(into).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => UnpackError::CutOff,
            _ => UnpackError::Io(error),
        })?;
        self.sum.update(&*into);
        self.bytes += into.len() as u64;
        Ok(())
    }
}
