//! A disk in memory that loses power: the test double of [`Disk`], for the tests of this crate and of others.
//!
//! What was written but not synced can be lost in any subset: sector by sector, and name by name (creates,
//! renames, removals). A sector is never torn. A failed sync behaves as badly as a kernel may: reads go on
//! showing what was written, and no later sync brings it to the disk unless it is written again.
//!
//! Nothing here is random by itself: a loss is chosen by the caller, bit by bit or by a seed.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::{Disk, File};

/// Which of the unsynced changes reach the disk when power is lost, oldest first.
#[derive(Clone, Copy, Debug)]
pub enum Loss {
    /// None.
    All,
    /// All of them.
    Nothing,
    /// Those whose bit is set; from the 65th on none.
    Keep(u64),
    /// Each with a chance that itself comes from the seed.
    Seed(u64),
}

/// What a call that fails on purpose does before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trap {
    /// From this change on everything fails: power is gone.
    Power(u64),
    /// Only the write of this number fails, half written.
    Write(u64),
    /// Only the sync of this number fails.
    Sync(u64),
}

/// The disk. Clones are the same disk.
#[derive(Clone)]
pub struct DoubleDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    sector_bytes: usize,
    files: BTreeMap<u64, Content>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    /// In the order in which they were made.
    pending: Vec<Change>,
    next_file: u64,
    changes: u64,
    writes: u64,
    syncs: u64,
    trap: Option<Trap>,
}

#[derive(Clone, Default)]
struct Content {
    cached: Vec<u8>,
    durable: Vec<u8>,
}

/// Something that is lost or kept as a whole.
#[derive(Clone)]
enum Change {
    /// A sector as it was after a write, whole: an earlier write to the same sector cannot be missing from it.
    Sector {
        file: u64,
        at: usize,
        image: Vec<u8>,
    },
    Create {
        name: String,
        file: u64,
    },
    Rename {
        source: String,
        target: String,
        file: u64,
    },
    Remove {
        name: String,
        file: u64,
    },
}

impl Default for DoubleDisk {
    fn default() -> Self {
        Self::new(512)
    }
}

impl DoubleDisk {
    /// An empty disk with sectors of `sector_bytes`.
    pub fn new(sector_bytes: usize) -> Self {
        Self { state: Arc::new(Mutex::new(State { sector_bytes: sector_bytes.max(1), ..State::default() })) }
    }

    /// How many changes could be lost now.
    pub fn pending(&self) -> usize {
        self.state.lock().pending.len()
    }

    /// How many changing calls (writes, syncs, creates, renames, removals, folder syncs) there have been.
    pub fn changes(&self) -> u64 {
        self.state.lock().changes
    }

    /// How many writes and how many syncs there have been.
    pub fn writes_and_syncs(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.writes, state.syncs)
    }

    /// From the changing call number `change` on (the first is 0) everything fails. A write or a name's change
    /// at that point is pending, so that the loss decides about it; a sync at that point does nothing.
    pub fn cut_power_at(&self, change: u64) {
        self.state.lock().trap = Some(Trap::Power(change));
    }

    /// The write number `write` (the first is 0) fails with half of it done.
    pub fn fail_write(&self, write: u64) {
        self.state.lock().trap = Some(Trap::Write(write));
    }

    /// The `fdatasync` number `sync` (the first is 0) fails.
    pub fn fail_sync(&self, sync: u64) {
        self.state.lock().trap = Some(Trap::Sync(sync));
    }

    /// The disk as it is found after a loss of power. This one is not changed, so that other losses can be
    /// tried.
    #[must_use]
    pub fn power_loss(&self, loss: Loss) -> Self {
        let state = self.state.lock();
        let mut chance = Chance::new(loss);
        let mut names = state.durable_names.clone();
        let mut files = state.files.clone();
        for change in state.pending.iter().filter(|_| chance.keeps()) {
            change.settle(&mut names, &mut files);
        }
        for content in files.values_mut() {
            content.cached.clone_from(&content.durable);
        }
        files.retain(|file, _| names.values().any(|named| named == file));
        Self::from_parts(&state, names.clone(), names, files, Vec::new())
    }

    /// The disk as a new process finds it after the old one was killed: nothing is lost, nothing more is synced.
    #[must_use]
    pub fn restart(&self) -> Self {
        let state = self.state.lock();
        let (names, durable) = (state.names.clone(), state.durable_names.clone());
        Self::from_parts(&state, names, durable, state.files.clone(), state.pending.clone())
    }

    /// Flips bits of the byte at `offset` of `name`, on the disk and in memory.
    pub fn damage(&self, name: &str, offset: usize, mask: u8) {
        let mut state = self.state.lock();
        if let Some(content) = state.content(name) {
            for bytes in [&mut content.cached, &mut content.durable] {
                if let Some(byte) = bytes.get_mut(offset) {
                    *byte ^= mask;
                }
            }
        }
    }

    /// What a read of the whole file shows.
    pub fn read(&self, name: &str) -> Vec<u8> {
        self.state.lock().content(name).map(|content| content.cached.clone()).unwrap_or_default()
    }

    fn from_parts(
        state: &State,
        names: BTreeMap<String, u64>,
        durable_names: BTreeMap<String, u64>,
        files: BTreeMap<u64, Content>,
        pending: Vec<Change>,
    ) -> Self {
        let state = State {
            sector_bytes: state.sector_bytes,
            files,
            names,
            durable_names,
            pending,
            next_file: state.next_file,
            ..State::default()
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn handle(&self, file: u64) -> Arc<dyn File> {
        Arc::new(Handle { disk: self.clone(), file })
    }
}

impl Disk for DoubleDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut state = self.state.lock();
        let dies = state.change()?;
        let file = state.next_file;
        state.next_file += 1;
        state.files.insert(file, Content::default());
        state.names.insert(name.to_owned(), file);
        state.pending.push(Change::Create { name: name.to_owned(), file });
        dies.then_some(()).map_or_else(|| Ok(self.handle(file)), |()| Err(power_is_off()))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let state = self.state.lock();
        state.alive()?;
        state.names.get(name).map(|file| self.handle(*file)).ok_or_else(|| missing(name))
    }

    fn rename(&self, source: &str, target: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        let dies = state.change()?;
        let file = state.names.remove(source).ok_or_else(|| missing(source))?;
        state.names.insert(target.to_owned(), file);
        state.pending.push(Change::Rename { source: source.to_owned(), target: target.to_owned(), file });
        if dies { Err(power_is_off()) } else { Ok(()) }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        let dies = state.change()?;
        let file = state.names.remove(name).ok_or_else(|| missing(name))?;
        state.pending.push(Change::Remove { name: name.to_owned(), file });
        if dies { Err(power_is_off()) } else { Ok(()) }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        state.alive()?;
        Ok(state.names.keys().cloned().collect())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.change()? {
            return Err(power_is_off());
        }
        state.settle(|change| !matches!(change, Change::Sector { .. }));
        Ok(())
    }
}

impl State {
    fn alive(&self) -> io::Result<()> {
        match self.trap {
            Some(Trap::Power(at)) if self.changes > at => Err(power_is_off()),
            _ => Ok(()),
        }
    }

    /// Counts a changing call; says whether power goes off during it.
    fn change(&mut self) -> io::Result<bool> {
        self.alive()?;
        let dies = self.trap == Some(Trap::Power(self.changes));
        self.changes += 1;
        Ok(dies)
    }

    fn content(&mut self, name: &str) -> Option<&mut Content> {
        let file = self.names.get(name)?;
        self.files.get_mut(file)
    }

    /// Makes durable what `reaches` says, in order.
    fn settle(&mut self, reaches: impl Fn(&Change) -> bool) {
        for change in std::mem::take(&mut self.pending) {
            if reaches(&change) {
                change.settle(&mut self.durable_names, &mut self.files);
            } else {
                self.pending.push(change);
            }
        }
    }

    fn write(&mut self, file: u64, offset: usize, bytes: &[u8]) {
        let sector_bytes = self.sector_bytes;
        let Some(content) = self.files.get_mut(&file) else { return };
        let end = offset + bytes.len();
        if content.cached.len() < end {
            content.cached.resize(end, 0);
        }
        if let Some(target) = content.cached.get_mut(offset..end) {
            target.copy_from_slice(bytes);
        }
        let mut at = offset - offset % sector_bytes;
        while at < end {
            let image =
                content.cached.get(at..content.cached.len().min(at + sector_bytes)).unwrap_or_default();
            self.pending.push(Change::Sector { file, at, image: image.to_vec() });
            at += sector_bytes;
        }
    }
}

impl Change {
    fn settle(&self, names: &mut BTreeMap<String, u64>, files: &mut BTreeMap<u64, Content>) {
        match self {
            Self::Sector { file, at, image } => {
                let Some(content) = files.get_mut(file) else { return };
                let end = at + image.len();
                if content.durable.len() < end {
                    content.durable.resize(end, 0);
                }
                if let Some(target) = content.durable.get_mut(*at..end) {
                    target.copy_from_slice(image);
                }
            }
            Self::Create { name, file } => {
                names.insert(name.clone(), *file);
            }
            Self::Rename { source, target, file } => {
                if names.get(source) == Some(file) {
                    names.remove(source);
                }
                names.insert(target.clone(), *file);
            }
            Self::Remove { name, file } => {
                if names.get(name) == Some(file) {
                    names.remove(name);
                }
            }
        }
    }
}

struct Handle {
    disk: DoubleDisk,
    file: u64,
}

impl File for Handle {
    fn pwrite(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        let dies = state.change()?;
        let fails = state.trap == Some(Trap::Write(state.writes));
        state.writes += 1;
        let done = if fails { bytes.len() / 2 } else { bytes.len() };
        state.write(self.file, offset as usize, bytes.get(..done).unwrap_or_default());
        if dies || fails { Err(power_is_off()) } else { Ok(()) }
    }

    fn pread(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let state = self.disk.state.lock();
        state.alive()?;
        let bytes = state.files.get(&self.file).map(|content| content.cached.as_slice()).unwrap_or_default();
        let offset = offset as usize;
        let wanted = bytes.get(offset..offset + into.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        into.copy_from_slice(wanted);
        Ok(())
    }

    fn fdatasync(&self) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        if state.change()? {
            return Err(power_is_off());
        }
        let fails = state.trap == Some(Trap::Sync(state.syncs));
        state.syncs += 1;
        let ours = |change: &Change| matches!(change, Change::Sector { file, .. } if *file == self.file);
        if fails {
            // The pages count as clean now, and what was in them is nowhere but in memory.
            state.pending.retain(|change| !ours(change));
            return Err(io::Error::other("the sync fails as asked"));
        }
        state.settle(ours);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.disk.state.lock();
        state.alive()?;
        Ok(state.files.get(&self.file).map_or(0, |content| content.cached.len() as u64))
    }
}

/// Decides change by change.
enum Chance {
    Always(bool),
    Bits(u64),
    Seed { state: u64, threshold: u64 },
}

impl Chance {
    fn new(loss: Loss) -> Self {
        match loss {
            Loss::All => Self::Always(false),
            Loss::Nothing => Self::Always(true),
            Loss::Keep(bits) => Self::Bits(bits),
            Loss::Seed(seed) => {
                let mut state = seed;
                let threshold = split_mix(&mut state);
                Self::Seed { state, threshold }
            }
        }
    }

    fn keeps(&mut self) -> bool {
        match self {
            Self::Always(keeps) => *keeps,
            Self::Bits(bits) => {
                let keeps = *bits & 1 == 1;
                *bits >>= 1;
                keeps
            }
            Self::Seed { state, threshold } => split_mix(state) < *threshold,
        }
    }
}

/// SplitMix64: enough chance for a subset, the same on every machine.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

fn power_is_off() -> io::Error {
    io::Error::other("the disk fails as asked")
}

fn missing(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no file {name}"))
}
