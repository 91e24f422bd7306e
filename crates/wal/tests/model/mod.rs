//! What a log must be, as a few vectors, and a run of operations on both.
//!
//! INVARIANT: after any crash the log is what was acknowledged, followed by some prefix of the records that
//! were on their way.

#![allow(dead_code, reason = "each test program uses a part")]

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use wal::{AppendError, Batch, Config, Disk, Durability, Entry, HardState, Identity, Recovered, Wal};

pub(crate) const IDENTITY: Identity = Identity { cluster: 11, member: 22, salt: 33 };

pub(crate) fn config(background: bool) -> Config {
    Config { segment_bytes: 4096, background, ..Config::new(IDENTITY) }
}

/// One thing that the owner of a log does.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// Entries with `sizes` of data, `back` before the end, in a term that is `term_up` newer.
    Append {
        back: u64,
        term_up: u64,
        sizes: Vec<usize>,
        hard: bool,
        durability: Durability,
    },
    /// Up to so many before the end.
    Release {
        keep: u64,
    },
    /// So many beyond the end.
    Reset {
        ahead: u64,
    },
    Reopen,
}

/// What a single record does.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Cut(u64),
    Entry(Entry),
    Hard(HardState),
    Reset(u64, u64),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) base: (u64, u64),
    pub(crate) entries: Vec<Entry>,
    pub(crate) hard: HardState,
    pub(crate) released: u64,
}

impl State {
    pub(crate) fn last(&self) -> u64 {
        self.base.0 + self.entries.len() as u64
    }

    pub(crate) fn term(&self, index: u64) -> u64 {
        match index.checked_sub(self.base.0 + 1) {
            Some(at) => self.entries[at as usize].term,
            None => self.base.1,
        }
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Cut(index) => self.entries.truncate((index - self.base.0) as usize),
            Step::Entry(entry) => self.entries.push(entry.clone()),
            Step::Hard(hard) => self.hard = *hard,
            Step::Reset(index, term) => {
                self.base = (*index, *term);
                self.entries.clear();
                self.released = *index;
            }
        }
    }

    /// Compares with an open log.
    fn check(&self, wal: &Wal, found: &Recovered) -> Result<(), String> {
        if found.last_index != self.last() {
            return Err(format!("last index {} instead of {}", found.last_index, self.last()));
        }
        if found.hard_state != self.hard {
            return Err(format!("{:?} instead of {:?}", found.hard_state, self.hard));
        }
        let before = found.first_index - 1;
        if before < self.base.0 || before > self.released.max(self.base.0) {
            return Err(format!("first index {} with {} released", found.first_index, self.released));
        }
        if found.base_term != self.term(before) {
            return Err(format!("term {} before the first entry", found.base_term));
        }
        self.check_entries(wal, found.first_index)
    }

    /// Compares all entries from `first` on, read in pieces.
    pub(crate) fn check_entries(&self, wal: &Wal, first: u64) -> Result<(), String> {
        let reader = wal.reader();
        let (mut low, high) = (first, self.last() + 1);
        while low < high {
            let got =
                reader.entries(low, high, 600 + low % 3000).map_err(|error| format!("{error}: {error:?}"))?;
            if got.is_empty() {
                return Err(format!("nothing read at {low}"));
            }
            for entry in got {
                let expected = &self.entries[(low - self.base.0 - 1) as usize];
                if entry != *expected || reader.term(low) != Some(expected.term) {
                    return Err(format!("entry {low} is {entry:?} instead of {expected:?}"));
                }
                low += 1;
            }
        }
        Ok(())
    }
}

/// A log beside its model.
pub(crate) struct Run {
    pub(crate) wal: Option<Wal>,
    /// What the log promised.
    pub(crate) acked: State,
    /// What it was given since.
    pub(crate) steps: Vec<Step>,
    pub(crate) batch: Batch,
    pub(crate) unique: u64,
}

impl Default for Run {
    fn default() -> Self {
        Self { wal: None, acked: State::default(), steps: Vec::new(), batch: Batch::new(), unique: 0 }
    }
}

impl Run {
    /// What the log shows now.
    pub(crate) fn state(&self) -> State {
        let mut state = self.acked.clone();
        self.steps.iter().for_each(|step| state.apply(step));
        state
    }

    /// Opens the log and checks that it is what was acknowledged and a prefix of what came after.
    pub(crate) fn open(&mut self, disk: Arc<dyn Disk>, config: &Config) -> Result<(), String> {
        self.wal = None;
        let (wal, found) = Wal::open(disk, config).map_err(|error| format!("{error}: {error:?}"))?;
        let mut state = self.acked.clone();
        let at_least = state.check(&wal, &found);
        let mut result = at_least.clone();
        for step in &self.steps {
            // With the power off nothing can be read, and nothing is said about what would have been.
            if result.as_ref().map_or_else(|why| why.contains("as asked"), |()| true) {
                break;
            }
            state.apply(step);
            result = state.check(&wal, &found);
        }
        result.map_err(|last| format!("{last}; at the least: {}", at_least.err().unwrap_or_default()))?;
        self.acked = state;
        self.steps.clear();
        self.wal = Some(wal);
        Ok(())
    }

    /// Does `op`. An error is the disk's.
    pub(crate) fn apply(
        &mut self,
        op: &Op,
        disk: &Arc<dyn Disk>,
        config: &Config,
    ) -> Result<(), AppendError> {
        match op {
            Op::Append { back, term_up, sizes, hard, durability } => {
                self.append(*back, *term_up, sizes, *hard, *durability)
            }
            Op::Release { keep } => {
                let up_to = self.state().last().saturating_sub(*keep).min(self.acked.last());
                let released = self.acked.released.max(up_to);
                self.acked.released = released;
                self.wal().release(released)
            }
            Op::Reset { ahead } => {
                let state = self.state();
                let (index, term) = (state.last() + ahead, state.term(state.last()) + 1);
                let hard = HardState { term, vote: 0, commit: index };
                self.steps.extend([Step::Reset(index, term), Step::Hard(hard)]);
                self.wal().reset_to(index, term, Some(hard))?;
                self.acked = self.state();
                self.steps.clear();
                Ok(())
            }
            Op::Reopen => {
                if let Err(why) = self.open(Arc::clone(disk), config) {
                    assert!(why.contains("as asked"), "reopened: {why}");
                    return Err(AppendError::Failed);
                }
                Ok(())
            }
        }
    }

    fn wal(&mut self) -> &mut Wal {
        self.wal.as_mut().expect("the run is open")
    }

    fn append(
        &mut self,
        back: u64,
        term_up: u64,
        sizes: &[usize],
        hard: bool,
        durability: Durability,
    ) -> Result<(), AppendError> {
        let state = self.state();
        let after = state.last().saturating_sub(back).max(state.base.0).max(state.released);
        // A released entry that was cut from the model's view cannot be replaced.
        let after = after.min(state.last());
        let term = state.term(state.last()).max(1) + term_up;
        self.batch.clear();
        if after < state.last() && !sizes.is_empty() {
            self.steps.push(Step::Cut(after));
        }
        for (index, size) in (after + 1..).zip(sizes) {
            self.unique += 1;
            let data: Vec<u8> = (0..*size).map(|at| (self.unique as usize * 31 + at) as u8).collect();
            let context = self.unique.to_le_bytes()[..(self.unique % 9) as usize].to_vec();
            let kind = (self.unique % 3) as u8;
            self.batch.entry(index, term, kind, &context, &data);
            let entry = Entry { index, term, kind, context: context.into(), data: data.into() };
            self.steps.push(Step::Entry(entry));
        }
        if hard {
            let hard = HardState { term, vote: self.unique % 4, commit: self.unique };
            self.batch.hard_state(hard);
            self.steps.push(Step::Hard(hard));
        }
        let mut batch = std::mem::take(&mut self.batch);
        let result = self.wal().append(&mut batch, durability);
        self.batch = batch;
        if result.is_ok() && durability == Durability::Synced {
            self.acked = self.state();
            self.steps.clear();
        }
        result
    }
}

/// Random operations.
pub(crate) fn random_op(random: &mut StdRng) -> Op {
    match random.random_range(0..100) {
        0..70 => Op::Append {
            back: if random.random_bool(0.2) { random.random_range(0..8) } else { 0 },
            term_up: u64::from(random.random_bool(0.15)),
            sizes: (0..random.random_range(0..6)).map(|_| random_size(random)).collect(),
            hard: random.random_bool(0.4),
            durability: if random.random_bool(0.75) { Durability::Synced } else { Durability::Later },
        },
        70..88 => Op::Release { keep: random.random_range(0..30) },
        88..90 => Op::Reset { ahead: random.random_range(0..5) },
        _ => Op::Reopen,
    }
}

fn random_size(random: &mut StdRng) -> usize {
    match random.random_range(0..20) {
        0 => random.random_range(0..6000),
        1..5 => random.random_range(0..700),
        _ => random.random_range(0..60),
    }
}

pub(crate) fn random(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}
