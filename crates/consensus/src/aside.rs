//! Entries for a member that lags are read back from the log files aside, not in a turn: a slow disk must not delay
//! heartbeats. raft is told that they are not there yet, and asks again when they are.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

use raft::GetEntriesContext;
use raft::eraftpb::Entry;
use wal::{ReadError, WalReader};

use crate::log::{LogError, from_wal, within};
use crate::replica::Replica;

/// One reading takes up to this many bytes: a few messages' worth.
const FETCH_BYTES_MAX: u64 = 2 << 20;
/// What was read stays for so many readings: every lagging member goes its own way through the log.
const BLOCKS_MAX: usize = 6;
/// So many questions may wait for one reading. More come again with the next heartbeat.
const QUESTIONS_MAX: usize = 8;

/// A reading to be done on a thread that may wait for the disk.
pub struct Fetch {
    reader: WalReader,
    low: u64,
    high: u64,
    generation: u64,
}

/// What was read.
pub struct Fetched {
    low: u64,
    generation: u64,
    entries: Result<Vec<Entry>, ReadError>,
}

impl Fetch {
    /// Reads. Waits for the disk.
    pub fn run(self) -> Fetched {
        let read = self.reader.entries(self.low, self.high, FETCH_BYTES_MAX);
        let entries = read.map(|entries| entries.into_iter().map(from_wal).collect());
        Fetched { low: self.low, generation: self.generation, entries }
    }
}

/// What is being read and what was.
#[derive(Default)]
pub(crate) struct Aside {
    allowed: bool,
    // Grows when entries were replaced: what was read before is another log's.
    generation: u64,
    blocks: VecDeque<Vec<Entry>>,
    // raft asks through a shared reference.
    asked: RefCell<Asked>,
}

#[derive(Default)]
struct Asked {
    wanted: Vec<(u64, u64)>,
    questions: BTreeMap<u64, Vec<GetEntriesContext>>,
}

impl Aside {
    /// Entries from `low` on if they were read; otherwise they will be.
    pub(crate) fn entries(
        &self,
        low: u64,
        high: u64,
        bytes_max: Option<u64>,
        context: GetEntriesContext,
    ) -> Option<Vec<Entry>> {
        let block = self.blocks.iter().find(|block| {
            let (first, last) = (block.first(), block.last());
            first.is_some_and(|first| first.index <= low) && last.is_some_and(|last| low <= last.index)
        });
        if let Some(block) = block {
            return Some(within(block.iter().filter(|entry| (low..high).contains(&entry.index)), bytes_max));
        }
        let mut asked = self.asked.borrow_mut();
        let known = asked.questions.contains_key(&low);
        let questions = asked.questions.entry(low).or_default();
        if questions.len() < QUESTIONS_MAX {
            questions.push(context);
        }
        if !known {
            asked.wanted.push((low, high));
        }
        None
    }

    pub(crate) fn is_allowed(&self) -> bool {
        self.allowed
    }

    /// Entries were replaced.
    pub(crate) fn forget(&mut self) {
        self.generation += 1;
        self.blocks.clear();
    }
}

impl<W, R> Replica<W, R> {
    /// From now on entries for others are read through [`Replica::fetches`].
    pub fn read_aside(&mut self) {
        self.node.mut_store().aside.allowed = true;
    }

    /// Readings to be done; each is brought back to [`Replica::fetched`].
    pub fn fetches(&mut self) -> Vec<Fetch> {
        let view = self.node.mut_store();
        let wanted = std::mem::take(&mut view.aside.asked.get_mut().wanted);
        let generation = view.aside.generation;
        let reader = view.reader();
        wanted
            .into_iter()
            .map(|(low, high)| Fetch { reader: reader.clone(), low, high, generation })
            .collect()
    }

    /// A reading is done.
    pub fn fetched(&mut self, fetched: Fetched) {
        let Fetched { low, generation, entries } = fetched;
        let aside = &mut self.node.mut_store().aside;
        match entries {
            Ok(entries) if generation == aside.generation => {
                aside.blocks.push_front(entries);
                aside.blocks.truncate(BLOCKS_MAX);
            }
            // Replaced or let go meanwhile: raft asks again and is told so.
            Ok(_) | Err(ReadError::Released { .. } | ReadError::Unwritten { .. }) => {}
            Err(error) => self.break_with(LogError::Unreadable(error)),
        }
        let questions = self.node.mut_store().aside.asked.get_mut().questions.remove(&low);
        for context in questions.into_iter().flatten() {
            self.node.on_entries_fetched(context);
        }
    }
}
