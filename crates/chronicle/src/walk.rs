//! All entries behind a place, out of as many files as have them, whoever wrote those.
//!
//! Files may overlap: a member that is started again, or several that share a folder. Each is read once.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use types::{ClusterId, Index};

use crate::format::Chunk;
use crate::names::{LogFile, log_files};
use crate::reader::{ReadError, Reader};

/// See the module.
#[derive(Debug)]
pub struct Walk {
    cluster: ClusterId,
    files: VecDeque<LogFile>,
    file: Option<Reader>,
    next: Index,
    // Why a file ended before its end; no matter if another one has what is missing.
    ended: Option<ReadError>,
}

/// Why it does not go on.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// The folder.
    #[error("cannot read the folder {path}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Nobody wrote down some entries.
    #[error("the archive has a gap: the entries from {} up to {} are not in it", .from.0, .until.0)]
    Gap {
        /// The first that is missing.
        from: Index,
        /// The last.
        until: Index,
        /// What is wrong with a file that may have had them.
        #[source]
        cause: Option<ReadError>,
    },
}

impl Walk {
    /// Of the entries of `cluster` in `folder` those behind `after`.
    pub fn new(folder: &Path, cluster: ClusterId, after: Index) -> Result<Self, WalkError> {
        let failed = |source| WalkError::Folder { path: folder.to_owned(), source };
        let files = log_files(folder).map_err(failed)?.into();
        Ok(Self { cluster, files, file: None, next: Index(after.0 + 1), ended: None })
    }

    /// The next chunk, without what was handed out already; `None` at the end.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>, WalkError> {
        loop {
            let Some(reader) = &mut self.file else {
                if self.open_next()? {
                    continue;
                }
                return Ok(None);
            };
            match reader.next_chunk() {
                Ok(Some(mut chunk)) => {
                    chunk.entries.retain(|entry| entry.index >= self.next);
                    let (Some(first), Some(last)) = (chunk.entries.first(), chunk.entries.last()) else {
                        continue;
                    };
                    if first.index > self.next {
                        return Err(self.gap(first.index));
                    }
                    self.next = Index(last.index.0 + 1);
                    self.ended = None;
                    return Ok(Some(chunk));
                }
                Ok(None) => self.file = None,
                Err(error) => {
                    self.file = None;
                    self.ended = Some(error);
                }
            }
        }
    }

    /// Opens the next file that may have what comes next. False if there is none.
    fn open_next(&mut self) -> Result<bool, WalkError> {
        let Some(file) = self.files.pop_front() else {
            // Where the last writer was stopped is the end.
            return match self.ended.take() {
                None | Some(ReadError::CutOff { .. }) => Ok(false),
                Some(error) => Err(error.into()),
            };
        };
        // A file that begins later may still be of another cluster.
        match Reader::open(&file.path) {
            Ok(reader) if reader.head().cluster != self.cluster => {}
            Ok(_) if file.first > self.next => return Err(self.gap(file.first)),
            Ok(reader) => self.file = Some(reader),
            Err(error) => self.ended = Some(error),
        }
        Ok(true)
    }

    fn gap(&mut self, until: Index) -> WalkError {
        WalkError::Gap { from: self.next, until: Index(until.0 - 1), cause: self.ended.take() }
    }
}
