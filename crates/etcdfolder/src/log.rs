//! etcd's log: framed records whose checksums are one chain through all files.
//!
//! The files are read twice. First every checksum is looked at, and it is found out where the last word on each index lies: an
//! entry takes the place of all that stood there before and behind. Then the entries are read.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use prost::Message;

use crate::messages::{Entry, Record};

/// A record is no longer than this, in bytes. etcd takes no request of more than 1.5 MiB by default.
const RECORD_BYTES_MAX: u64 = 1 << 30;
const FRAME_BYTES: u64 = 8;
/// A disk writes so many bytes whole or not at all.
const SECTOR_BYTES: u64 = 512;

const ENTRY: i64 = 2;
const CHECKSUM: i64 = 4;

/// Why it is not read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk.
    #[error("cannot read {path}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of the log is not there.
    #[error("files of the log are missing before {0}")]
    Gap(PathBuf),
    /// A file is not as it was written.
    #[error("the log is damaged in {path} at byte {offset}: {what}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
}

/// Where the record of an entry lies.
#[derive(Clone, Copy, Debug)]
struct Place {
    segment: u32,
    offset: u64,
    length: u32,
}

/// The entries behind an index.
#[derive(Debug)]
pub(crate) struct Log {
    segments: Vec<(PathBuf, File)>,
    /// That of the entry with the index after `behind`, and so on.
    places: Vec<Place>,
}

impl Log {
    /// Reads all files, and finds the entries behind `behind`.
    pub(crate) fn open(paths: &[PathBuf], behind: u64) -> Result<Self, LogError> {
        let mut log = Self { segments: Vec::new(), places: Vec::new() };
        let mut crc = 0;
        for (number, path) in paths.iter().enumerate() {
            if number > 0
                && sequence(path)
                    .zip(paths.get(number - 1).and_then(|path| sequence(path)))
                    .is_none_or(|(this, before)| this != before + 1)
            {
                return Err(LogError::Gap(path.clone()));
            }
            let failed = |source| LogError::Io { path: path.clone(), source };
            let file = File::open(path).map_err(failed)?;
            let bytes = file.metadata().map_err(failed)?.len();
            let source = BufReader::new(file.try_clone().map_err(failed)?);
            log.segments.push((path.clone(), file));
            let is_last = number + 1 == paths.len();
            Segment { path, source, bytes, offset: 0, is_last }.scan(&mut crc, |place, entry| {
                let place = Place { segment: number as u32, ..place };
                log.take(place, entry.index, behind)
            })?;
        }
        Ok(log)
    }

    /// What is wrong with an entry that leaves a gap.
    fn take(&mut self, place: Place, index: u64, behind: u64) -> Option<&'static str> {
        let at = index.checked_sub(behind)?.checked_sub(1)?;
        let at = usize::try_from(at).ok().filter(|at| *at <= self.places.len());
        let Some(at) = at else { return Some("entries are missing before it") };
        self.places.truncate(at);
        self.places.push(place);
        None
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// The entry at a place, counted from 0.
    pub(crate) fn entry(&self, at: usize) -> Result<Option<Entry>, LogError> {
        let Some(Place { segment, offset, length }) = self.places.get(at).copied() else { return Ok(None) };
        let Some((path, file)) = self.segments.get(segment as usize) else { return Ok(None) };
        let mut bytes = vec![0; length as usize];
        file.read_exact_at(&mut bytes, offset)
            .map_err(|source| LogError::Io { path: path.clone(), source })?;
        let entry = Record::decode(bytes.as_slice()).and_then(|record| Entry::decode(record.data));
        let damaged = |_| LogError::Damaged { path: path.clone(), offset, what: "it was changed meanwhile" };
        entry.map(Some).map_err(damaged)
    }
}

/// A file that is read from its beginning.
struct Segment<'a> {
    path: &'a Path,
    source: BufReader<File>,
    bytes: u64,
    offset: u64,
    is_last: bool,
}

impl Segment<'_> {
    fn scan(
        mut self,
        crc: &mut u32,
        mut take: impl FnMut(Place, &Entry) -> Option<&'static str>,
    ) -> Result<(), LogError> {
        while let Some((length, padding)) = self.frame()? {
            let offset = self.offset + FRAME_BYTES;
            let is_there = length <= RECORD_BYTES_MAX && offset + length + padding <= self.bytes;
            let mut bytes = vec![0; if is_there { (length + padding) as usize } else { 0 }];
            self.source.read_exact(&mut bytes).map_err(|source| self.failed(source))?;
            let record = bytes.get(..length as usize).and_then(|bytes| Record::decode(bytes).ok());
            let record = record.filter(|record| is_sound(record, crc));
            let Some(record) = record else {
                if !is_there {
                    // As etcd does: nothing tells a length that was hit from a write that was cut off.
                    return Err(self.damaged("a record is longer than what is left of the file"));
                }
                // The last write before the power went may have come to the disk in part.
                if self.is_last && is_torn(&bytes, offset) {
                    return Ok(());
                }
                return Err(self.damaged("a checksum does not match"));
            };
            if record.kind == ENTRY {
                let entry = Entry::decode(record.data).map_err(|_| self.damaged("an entry is none"))?;
                let place = Place { segment: 0, offset, length: length as u32 };
                if let Some(what) = take(place, &entry) {
                    return Err(self.damaged(what));
                }
            }
            self.offset = offset + length + padding;
        }
        Ok(())
    }

    /// How long the next record is, and how much fills it up; `None` at the end.
    fn frame(&mut self) -> Result<Option<(u64, u64)>, LogError> {
        if self.bytes.saturating_sub(self.offset) < FRAME_BYTES {
            return Ok(None);
        }
        let mut frame = [0; FRAME_BYTES as usize];
        self.source.read_exact(&mut frame).map_err(|source| self.failed(source))?;
        let frame = u64::from_le_bytes(frame);
        let padding = if frame >> 63 == 1 { frame >> 56 & 7 } else { 0 };
        // Room that was made in advance is full of zeros.
        Ok((frame != 0).then_some((frame & ((1 << 56) - 1), padding)))
    }

    fn failed(&self, source: io::Error) -> LogError {
        LogError::Io { path: self.path.to_owned(), source }
    }

    fn damaged(&self, what: &'static str) -> LogError {
        LogError::Damaged { path: self.path.to_owned(), offset: self.offset, what }
    }
}

/// The number of a file, by its name: `0000000000000001-00000000000000c9.wal`.
fn sequence(path: &Path) -> Option<u64> {
    let (sequence, _) = path.file_stem()?.to_str()?.split_once('-')?;
    u64::from_str_radix(sequence, 16).ok()
}

/// Goes on with the chain, if the record fits. A file begins with where the one before ended.
fn is_sound(record: &Record, crc: &mut u32) -> bool {
    if record.kind == CHECKSUM {
        let is_next = *crc == 0 || *crc == record.crc;
        *crc = record.crc;
        return is_next;
    }
    let next = crc32c::crc32c_append(*crc, &record.data);
    let is_sound = next == record.crc;
    if is_sound {
        *crc = next;
    }
    is_sound
}

/// Whether a sector of it was never written.
fn is_torn(bytes: &[u8], offset: u64) -> bool {
    let first = (SECTOR_BYTES - offset % SECTOR_BYTES) as usize;
    let (head, rest) = bytes.split_at(first.min(bytes.len()));
    let is_empty = |sector: &[u8]| !sector.is_empty() && sector.iter().all(|byte| *byte == 0);
    is_empty(head) || rest.chunks(SECTOR_BYTES as usize).any(is_empty)
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
