//! A file, read back from its beginning.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use bytes::Buf;

use crate::format::{Chunk, FRAME_BYTES, HEAD_BYTES, Head, decode_entries};

/// See the module.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    source: BufReader<File>,
    bytes: u64,
    offset: u64,
    crc: u32,
    head: Head,
}

/// Why a file is not read on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The disk.
    #[error("cannot read {path}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It does not begin as a file of an archive does.
    #[error("{0} is no file of an archive, or is cut off in its first bytes, or is of a newer Kvorum")]
    Foreign(PathBuf),
    /// It ends within a chunk, as when the writer was stopped there.
    #[error("{path} is cut off at byte {offset}")]
    CutOff {
        /// Which file.
        path: PathBuf,
        /// Where the chunk begins.
        offset: u64,
    },
    /// It is not as it was written.
    #[error("{path} is damaged at byte {offset}: the checksum does not match")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where the chunk begins.
        offset: u64,
    },
}

impl Reader {
    /// Opens a file and checks its head.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let failed = |source| ReadError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        let mut source = BufReader::new(file);
        let mut head = [0; HEAD_BYTES];
        let foreign = || ReadError::Foreign(path.to_owned());
        if bytes < HEAD_BYTES as u64 {
            return Err(foreign());
        }
        source.read_exact(&mut head).map_err(failed)?;
        let (head, crc) = Head::decode(&head).ok_or_else(foreign)?;
        Ok(Self { path: path.to_owned(), source, bytes, offset: HEAD_BYTES as u64, crc, head })
    }

    /// Whose it is.
    pub fn head(&self) -> Head {
        self.head
    }

    /// The next chunk; `None` at the end. Takes no more memory than the file is long.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>, ReadError> {
        let left = self.bytes - self.offset;
        if left == 0 {
            return Ok(None);
        }
        let cut_off = || ReadError::CutOff { path: self.path.clone(), offset: self.offset };
        if left < FRAME_BYTES as u64 {
            return Err(cut_off());
        }
        let mut frame = [0; FRAME_BYTES];
        let failed = |source| ReadError::Io { path: self.path.clone(), source };
        self.source.read_exact(&mut frame).map_err(failed)?;
        let mut rest = frame.as_slice();
        let (length, crc, wall_ns) = (u64::from(rest.get_u32_le()), rest.get_u32_le(), rest.get_i64_le());
        if length > left - FRAME_BYTES as u64 {
            return Err(cut_off());
        }
        let mut body = vec![0; length as usize];
        self.source.read_exact(&mut body).map_err(failed)?;
        let found = crc32c::crc32c_append(self.crc, frame.get(8..).unwrap_or_default());
        let found = crc32c::crc32c_append(found, &body);
        let entries = Some(body).filter(|_| found == crc).and_then(|body| decode_entries(body.into()));
        let damaged = || ReadError::Damaged { path: self.path.clone(), offset: self.offset };
        let entries = entries.ok_or_else(damaged)?;
        self.crc = crc;
        self.offset += FRAME_BYTES as u64 + length;
        Ok(Some(Chunk { wall_ns, entries }))
    }
}
