//! The log as raft reads it: what is under way to disk and what was just written stay in memory, the rest is
//! read back from the log files.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::sync::Arc;

use raft::eraftpb::{ConfState, Entry, EntryType, HardState, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Result, Storage, StorageError};
use types::{Index, MemberId};
use wal::{ReadError, WalReader};

use crate::aside::Aside;
use crate::snapshot::SnapshotSource;

/// Entries that raft may ask for again, for peers that are behind, stay in memory up to this many bytes after they were
/// applied.
const CACHE_BYTES_MAX: usize = 16 << 20;
/// The same where there is no peer.
const CACHE_BYTES_MAX_ALONE: usize = 256 << 10;

/// The log or the state files cannot be what this member wrote.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The state machine is ahead of the log: files of different members or times were mixed.
    #[error(
        "the database was applied up to index {applied}, but the log ends at {last}: its files are missing or were \
         replaced; restore the data folder from a backup or replace this member"
    )]
    Behind {
        /// The state machine's index.
        applied: u64,
        /// The log's last index.
        last: u64,
    },
    /// There is a hole between the state machine and the log.
    #[error(
        "the database was applied up to index {applied}, but the log begins at {first}: its files are missing or \
         were replaced; restore the data folder from a backup or replace this member"
    )]
    Hole {
        /// The state machine's index.
        applied: u64,
        /// The log's first index.
        first: u64,
    },
    /// The others hold entries for committed because this member had acknowledged them, and it has them no more.
    #[error(
        "the cluster has committed index {commit} with this member's help, but its log ends at {last}: it has lost \
         what it had promised to keep and must not vote; remove this member, empty its data folder and add it anew"
    )]
    Forgotten {
        /// The committed index.
        commit: u64,
        /// The log's last index.
        last: u64,
    },
    /// The log cannot be read back.
    #[error("the log cannot be read")]
    Unreadable(#[source] ReadError),
    /// raft refused the state.
    #[error("raft cannot start from the state on disk")]
    Raft(#[source] raft::Error),
}

pub(crate) struct LogView {
    reader: WalReader,
    hard_state: HardState,
    conf_state: ConfState,
    // Contiguous, ends with the last entry. Empty after a start, although there may be entries on disk.
    cache: VecDeque<Entry>,
    cache_bytes: usize,
    last_on_disk_at_start: u64,
    // A snapshot that takes the place of the log, index and term, until the files know of it.
    base: Option<(u64, u64)>,
    source: Arc<dyn SnapshotSource>,
    pub(crate) aside: Aside,
}

impl LogView {
    pub(crate) fn new(
        reader: WalReader,
        hard_state: HardState,
        conf_state: ConfState,
        source: Arc<dyn SnapshotSource>,
    ) -> Self {
        let last_on_disk_at_start = reader.last_index();
        Self {
            reader,
            hard_state,
            conf_state,
            cache: VecDeque::new(),
            cache_bytes: 0,
            last_on_disk_at_start,
            base: None,
            source,
            aside: Aside::default(),
        }
    }

    /// A snapshot takes the place of everything: from now on the log begins behind it, whatever the files hold.
    pub(crate) fn begin_install(&mut self, index: u64, term: u64) {
        self.cache.clear();
        self.cache_bytes = 0;
        self.last_on_disk_at_start = index;
        self.base = Some((index, term));
        self.aside.forget();
    }

    pub(crate) fn reader(&self) -> WalReader {
        self.reader.clone()
    }

    /// The files hold what the snapshot left.
    pub(crate) fn end_install(&mut self) {
        self.base = None;
    }

    /// Takes entries in that are on their way to disk. They replace what stood at their indexes before.
    pub(crate) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        let last = self.cache.back().map_or(self.last_on_disk_at_start, |entry| entry.index);
        if first.index <= last {
            self.aside.forget();
        }
        while self.cache.back().is_some_and(|last| last.index >= first.index) {
            if let Some(entry) = self.cache.pop_back() {
                self.cache_bytes -= size(&entry);
            }
        }
        if self.cache.is_empty() {
            self.last_on_disk_at_start = first.index - 1;
        }
        for entry in entries {
            self.cache_bytes += size(entry);
            self.cache.push_back(entry.clone());
        }
    }

    /// Lets go of entries that are on disk and applied, oldest first, down to the limit.
    pub(crate) fn trim(&mut self, applied: u64, is_alone: bool) {
        let bytes_max = if is_alone { CACHE_BYTES_MAX_ALONE } else { CACHE_BYTES_MAX };
        while self.cache_bytes > bytes_max && self.cache.front().is_some_and(|entry| entry.index <= applied) {
            if let Some(entry) = self.cache.pop_front() {
                self.cache_bytes -= size(&entry);
                self.last_on_disk_at_start = self.last_on_disk_at_start.max(entry.index);
            }
        }
    }

    fn read_back(&self, low: u64, high: u64, max_bytes: Option<u64>) -> Result<Vec<Entry>> {
        let entries =
            self.reader.entries(low, high, max_bytes.unwrap_or(u64::MAX)).map_err(|error| match error {
                // Let go while raft asked: it goes on with a snapshot.
                ReadError::Released { .. } => Error::Store(StorageError::Compacted),
                error => Error::Store(StorageError::Other(Box::new(error))),
            })?;
        Ok(entries.into_iter().map(from_wal).collect())
    }
}

fn size(entry: &Entry) -> usize {
    entry.data.len() + entry.context.len() + std::mem::size_of::<Entry>()
}

/// As many of the entries as fit, one at least.
pub(crate) fn within<'e>(entries: impl Iterator<Item = &'e Entry>, bytes_max: Option<u64>) -> Vec<Entry> {
    let mut bytes = 0;
    let mut taken: Vec<Entry> = Vec::new();
    for entry in entries {
        bytes += size(entry) as u64;
        if bytes > bytes_max.unwrap_or(u64::MAX) && !taken.is_empty() {
            break;
        }
        taken.push(entry.clone());
    }
    taken
}

/// An entry as raft knows it.
pub(crate) fn from_wal(read: wal::Entry) -> Entry {
    let mut entry = Entry {
        index: read.index,
        term: read.term,
        context: read.context,
        data: read.data,
        ..Entry::default()
    };
    entry.set_entry_type(match read.kind {
        1 => EntryType::EntryConfChange,
        2 => EntryType::EntryConfChangeV2,
        _ => EntryType::EntryNormal,
    });
    entry
}

/// The commands in an entry of the log, for who applies entries without a replica.
pub fn commands_in(entry: wal::Entry) -> bytes::Bytes {
    crate::tags::read(from_wal(entry)).0
}

/// The number by which the log knows the type of an entry.
pub(crate) fn kind(entry: &Entry) -> u8 {
    match entry.get_entry_type() {
        EntryType::EntryNormal => 0,
        EntryType::EntryConfChange => 1,
        EntryType::EntryConfChangeV2 => 2,
    }
}

impl Storage for LogView {
    fn initial_state(&self) -> Result<RaftState> {
        Ok(RaftState::new(self.hard_state.clone(), self.conf_state.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> Result<Vec<Entry>> {
        if low < self.first_index()? {
            return Err(Error::Store(StorageError::Compacted));
        }
        let max_size = max_size.into();
        let cache_first = self.cache.front().map_or(high, |entry| entry.index);
        if low < cache_first {
            // Raft asks again for what a short answer left out.
            let high = high.min(cache_first);
            if context.can_async() && self.aside.is_allowed() {
                return self
                    .aside
                    .entries(low, high, max_size, context)
                    .ok_or(Error::Store(StorageError::LogTemporarilyUnavailable));
            }
            return self.read_back(low, high, max_size);
        }
        let from = usize::try_from(low - cache_first).unwrap_or(usize::MAX);
        let many = usize::try_from(high - low).unwrap_or(usize::MAX);
        Ok(within(self.cache.iter().skip(from).take(many), max_size))
    }

    fn term(&self, index: u64) -> Result<u64> {
        if let Some(first) = self.cache.front()
            && index >= first.index
        {
            let offset = usize::try_from(index - first.index).unwrap_or(usize::MAX);
            return self
                .cache
                .get(offset)
                .map(|entry| entry.term)
                .ok_or(Error::Store(StorageError::Unavailable));
        }
        if let Some((base, term)) = self.base {
            return match index.cmp(&base) {
                Ordering::Less => Err(Error::Store(StorageError::Compacted)),
                Ordering::Equal => Ok(term),
                Ordering::Greater => Err(Error::Store(StorageError::Unavailable)),
            };
        }
        self.reader.term(index).ok_or(if index < self.reader.first_index() {
            Error::Store(StorageError::Compacted)
        } else {
            Error::Store(StorageError::Unavailable)
        })
    }

    fn first_index(&self) -> Result<u64> {
        Ok(self.base.map_or_else(|| self.reader.first_index(), |(index, _)| index + 1))
    }

    fn last_index(&self) -> Result<u64> {
        Ok(self.cache.back().map_or(self.last_on_disk_at_start, |entry| entry.index))
    }

    fn snapshot(&self, request_index: u64, to: u64) -> Result<Snapshot> {
        // One from before the log's beginning would leave a hole.
        let at_least = Index(request_index.max(self.first_index()? - 1));
        self.source
            .latest(at_least, MemberId(to))
            .filter(|mark| mark.index >= at_least && mark.index.0 > 0 && mark.suits(MemberId(to)))
            .map(|mark| mark.to_raft())
            .ok_or(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}
