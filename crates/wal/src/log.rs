//! The log itself, as its one owner sees it: open, append, reset, release.
//!
//! All calls block. Whoever wants to read while this one waits for the disk takes a [`WalReader`].
//!
//! INVARIANT: the first disk error is the last call that did anything; every later one is refused.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::batch::Batch;
use crate::disk::{Disk, DiskError, OnDisk};
use crate::identity::Identity;
use crate::index::{Index, Place, Segment};
use crate::reader::WalReader;
use crate::record::{HardState, MARK_BYTES, Mark, START_BYTES, Seed, Start, chain};
use crate::recover::{OpenError, Recovered, recover};
use crate::supply::{Maker, Supply, segment_name};

/// How a log is laid out and who watches it.
#[derive(Clone)]
pub struct Config {
    /// Bytes of a segment file; a batch that needs more gets a longer one. At least 4 KiB.
    pub segment_bytes: u64,
    /// Whose log it is, when it must be created. An existing one keeps its own: see [`Recovered::identity`].
    pub identity: Identity,
    /// Prepare segments on a thread; otherwise in the call that needs one, with nothing left to chance.
    pub background: bool,
    /// Told of what happens at the disk.
    pub observer: Arc<dyn Observer>,
}

impl Config {
    /// Segments of 16 MiB, prepared on a thread, watched by nobody.
    pub fn new(identity: Identity) -> Self {
        Self { segment_bytes: 16 << 20, identity, background: true, observer: Arc::new(Unwatched) }
    }
}

/// Hears what the log does; called on the owner's thread. The log itself has no clock.
pub trait Observer: Send + Sync {
    /// So many bytes were handed to the file system.
    fn wrote(&self, _bytes: u64) {}
    /// An `fdatasync` begins.
    fn sync_begins(&self) {}
    /// It returned well.
    fn sync_ends(&self) {}
    /// A new segment was begun.
    fn segment_begun(&self) {}
}

struct Unwatched;

impl Observer for Unwatched {}

/// When an append counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After `fdatasync`, with everything appended before.
    Synced,
    /// With the next synced append. Good for a commit index, which the others know too; and whatever follows a
    /// synced batch lets damage in that batch be told from a torn write, so it is worth writing before a stop.
    Later,
}

/// Why an append was refused.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The disk refused. The log is dead now: end the process, do not retry.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// An earlier call failed.
    #[error("the log failed before and takes nothing more")]
    Failed,
    /// The entry does not follow; nothing was written.
    #[error("entry {index} does not follow entry {last} in the log")]
    Gap {
        /// The entry that was given.
        index: u64,
        /// What it had to follow at the latest.
        last: u64,
    },
    /// The entry would replace what was released or is in a snapshot; nothing was written.
    #[error("entry {index} lies before the log's first entry {first}")]
    Released {
        /// The entry that was given.
        index: u64,
        /// The first that can be replaced.
        first: u64,
    },
    /// More than 1 GiB at once; nothing was written.
    #[error("the batch is larger than a segment can be")]
    TooLarge,
}

/// The log. One owner, one thread.
pub struct Wal {
    index: Arc<Mutex<Index>>,
    current: Segment,
    name: String,
    /// Where the next record goes.
    tail: u32,
    /// The checksum of the last record.
    chain: u32,
    /// Up to where the current segment is durable.
    synced: u32,
    hard: HardState,
    seed: Seed,
    supply: Supply,
    observer: Arc<dyn Observer>,
    failed: bool,
}

impl Wal {
    /// Opens the log on `disk`, or creates it there.
    pub fn open(disk: Arc<dyn Disk>, config: &Config) -> Result<(Self, Recovered), OpenError> {
        let found = recover(disk.as_ref(), config)?;
        let next = found.segment.id.saturating_add(1);
        let segment_bytes = config.segment_bytes.clamp(4096, u64::from(u32::MAX / 2));
        let maker = Maker::new(disk, segment_bytes, next, &found.spares)?;
        let wal = Self {
            index: Arc::new(Mutex::new(found.index)),
            name: segment_name(found.segment.id),
            current: found.segment,
            tail: found.tail,
            chain: found.chain,
            synced: found.tail,
            hard: found.recovered.hard_state,
            seed: found.seed,
            supply: Supply::new(maker, config.background)?,
            observer: Arc::clone(&config.observer),
            failed: false,
        };
        Ok((wal, found.recovered))
    }

    /// Appends `batch` with one write and, if so asked, one sync. Entries at or before the last index replace
    /// what stands there and everything behind it.
    pub fn append(&mut self, batch: &mut Batch, durability: Durability) -> Result<(), AppendError> {
        self.guard(|wal| wal.append_or_fail(batch, durability))
    }

    /// Makes everything appended so far durable.
    pub fn sync(&mut self) -> Result<(), AppendError> {
        self.guard(|wal| Ok(wal.sync_current()?))
    }

    /// Empties the log, durably: a snapshot up to `index`, of `term`, has taken the place of everything in it.
    /// The next entry is `index + 1`.
    pub fn reset_to(&mut self, index: u64, term: u64, hard: Option<HardState>) -> Result<(), AppendError> {
        let mut batch = Batch::reset(Mark { index, term }, hard);
        self.guard(|wal| {
            wal.append_or_fail(&mut batch, Durability::Synced)?;
            wal.retire_spent()
        })
    }

    /// Forgets entries up to and with `index`, and gives back segments that hold nothing else.
    pub fn release(&mut self, index: u64) -> Result<(), AppendError> {
        self.guard(|wal| {
            wal.index.lock().release(index);
            wal.retire_spent()
        })
    }

    /// A handle that reads, on any thread.
    pub fn reader(&self) -> WalReader {
        WalReader::new(Arc::clone(&self.index), self.seed)
    }

    /// The newest hard state that was appended.
    pub fn hard_state(&self) -> HardState {
        self.hard
    }

    /// The first entry that can be read.
    pub fn first_index(&self) -> u64 {
        self.index.lock().first()
    }

    /// The last entry, or the one before the first if there are none.
    pub fn last_index(&self) -> u64 {
        self.index.lock().last().index
    }

    /// Runs `call`, unless a disk error came before, and remembers one that comes now.
    fn guard(&mut self, call: impl FnOnce(&mut Self) -> Result<(), AppendError>) -> Result<(), AppendError> {
        if self.failed {
            return Err(AppendError::Failed);
        }
        let result = call(self);
        self.failed = matches!(result, Err(AppendError::Disk(_)));
        result
    }

    fn append_or_fail(&mut self, batch: &mut Batch, durability: Durability) -> Result<(), AppendError> {
        batch.check()?;
        let cut = self.check_follows(batch)?;
        let start = self.make_room(batch.bytes())?;
        let (begin, bytes) = batch.front(start.as_ref(), cut);
        let chain = chain(bytes, self.seed, self.current.id, self.synced, self.chain);
        self.current.file.pwrite(u64::from(self.tail), bytes).on("write", &self.name)?;
        self.observer.wrote(bytes.len() as u64);
        let written_at = self.tail;
        self.tail += bytes.len() as u32;
        self.chain = chain;
        // A segment that has begun stands for all older ones, so its beginning is always synced.
        if durability == Durability::Synced || start.is_some() {
            self.sync_current()?;
        }
        self.remember(batch, cut, |at| written_at + (at - begin) as u32);
        Ok(())
    }

    /// Where the log must be cut before the entries of `batch`, if it must.
    fn check_follows(&self, batch: &Batch) -> Result<Option<Mark>, AppendError> {
        let Some(entry) = batch.entries().first() else { return Ok(None) };
        let index = self.index.lock();
        let last = index.last();
        let before = entry.index.wrapping_sub(1);
        if entry.index > last.index.saturating_add(1) {
            return Err(AppendError::Gap { index: entry.index, last: last.index });
        }
        match index.term(before) {
            None => Err(AppendError::Released { index: entry.index, first: index.first() }),
            Some(term) if term > entry.term => Err(AppendError::Gap { index: entry.index, last: before }),
            Some(term) => Ok((before < last.index).then_some(Mark { index: before, term })),
        }
    }

    /// Begins the next segment if the current one has no room for `bytes` and a cut.
    fn make_room(&mut self, bytes: usize) -> Result<Option<Start>, DiskError> {
        let needed = (bytes + MARK_BYTES) as u64;
        if u64::from(self.tail) + needed <= self.current.bytes {
            return Ok(None);
        }
        // The next segment's first record vouches for all of this one.
        self.sync_current()?;
        let start = Start {
            previous_end: self.tail,
            previous_chain: self.chain,
            hard: self.hard,
            last: self.index.lock().last(),
        };
        let mut segment = self.supply.take()?;
        self.name = segment_name(segment.id);
        let needed = needed + START_BYTES as u64;
        if segment.bytes < needed {
            segment.file.zero_fill(segment.bytes, needed).on("fill", &self.name)?;
            segment.bytes = needed;
        }
        self.index.lock().add_segment(segment.clone());
        self.chain = self.seed.segment(segment.id);
        self.current = segment;
        self.tail = 0;
        self.synced = 0;
        self.observer.segment_begun();
        Ok(Some(start))
    }

    fn sync_current(&mut self) -> Result<(), DiskError> {
        if self.synced < self.tail {
            self.observer.sync_begins();
            self.current.file.fdatasync().on("sync", &self.name)?;
            self.observer.sync_ends();
            self.synced = self.tail;
        }
        Ok(())
    }

    /// Takes what was written into the index. `offset` maps a place in the batch's buffer to one in the file.
    fn remember(&mut self, batch: &Batch, cut: Option<Mark>, offset: impl Fn(usize) -> u32) {
        let mut index = self.index.lock();
        if let Some(mark) = batch.reset_mark() {
            index.reset(mark);
        }
        if let Some(mark) = cut {
            index.truncate(mark.index);
        }
        for entry in batch.entries() {
            index.push(entry.term, Place::new(self.current.id, offset(entry.at)));
        }
        drop(index);
        self.hard = batch.hard().unwrap_or(self.hard);
    }

    fn retire_spent(&mut self) -> Result<(), AppendError> {
        if !self.index.lock().has_spent() {
            return Ok(());
        }
        // What replaces the spent segments may itself not be durable yet.
        self.sync_current()?;
        loop {
            let spent = self.index.lock().take_spent();
            match spent {
                Some(segment) => self.supply.retire(segment)?,
                None => return Ok(()),
            }
        }
    }
}
