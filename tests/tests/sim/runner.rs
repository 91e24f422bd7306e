//! Runs seeds: each alone, several at once, and says what came of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::disk::close_idle;
use crate::invariants::Violation;
use crate::planted::Planted;
use crate::world::{Counts, World};

/// Runs one seed.
pub(crate) fn run(seed: u64, planted: Option<Planted>) -> Result<Counts, Violation> {
    go(seed, planted, false).1
}

/// Runs one seed and keeps its story.
pub(crate) fn tell(seed: u64, planted: Option<Planted>) -> (Vec<String>, Result<Counts, Violation>) {
    let told = go(seed, planted, true);
    close_idle();
    told
}

fn go(seed: u64, planted: Option<Planted>, traced: bool) -> (Vec<String>, Result<Counts, Violation>) {
    let mut world = match World::new(seed, planted, traced) {
        Ok(world) => world,
        Err(violation) => return (Vec::new(), Err(violation)),
    };
    let ran = catch_unwind(AssertUnwindSafe(|| world.run()));
    let result = match ran {
        Ok(verdict) => verdict.map(|()| world.counts),
        Err(panic) => {
            let what = panic.downcast_ref::<String>().cloned();
            let what = what.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(Violation::new("panic", what.unwrap_or_default()))
        }
    };
    (world.trace.lines().to_vec(), result)
}

/// Somebody who waits for a long run hears of it after so many seeds.
const PROGRESS_EVERY: u64 = 1000;

/// What came of many seeds.
pub(crate) struct Summary {
    /// Runs without a violation.
    pub(crate) good: u64,
    /// The first violations, by seed.
    pub(crate) bad: Vec<(u64, Violation)>,
    /// All counts together.
    pub(crate) counts: Counts,
}

/// Runs seeds from `first` on, on several threads, each seed on one. Stops soon after `bad_max` violations.
pub(crate) fn sweep(first: u64, count: u64, planted: Option<Planted>, bad_max: usize) -> Summary {
    let next = AtomicU64::new(first);
    let enough = AtomicBool::new(false);
    let summary = Mutex::new(Summary { good: 0, bad: Vec::new(), counts: Counts::default() });
    let run_seeds = || {
        while !enough.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return;
            }
            let result = run(seed, planted);
            let mut summary = summary.lock().expect("nobody panics while holding it");
            match result {
                Ok(counts) => {
                    summary.good += 1;
                    if summary.good.is_multiple_of(PROGRESS_EVERY) {
                        eprintln!("sim: {} seeds without a violation", summary.good);
                    }
                    summary.counts.add(&counts);
                }
                Err(violation) => {
                    summary.bad.push((seed, violation));
                    enough.fetch_or(summary.bad.len() >= bad_max, Ordering::Relaxed);
                }
            }
        }
    };
    let work = || {
        run_seeds();
        close_idle();
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let mut summary = summary.into_inner().expect("nobody panics while holding it");
    summary.bad.sort_by_key(|(seed, _)| *seed);
    summary
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.ends += other.ends;
        self.answered += other.answered;
        self.unknown += other.unknown;
        self.installs += other.installs;
        self.changes += other.changes;
        self.terms += other.terms;
        self.expired += other.expired;
        self.ended += other.ended;
        self.renewed += other.renewed;
        self.reads += other.reads;
        self.watched += other.watched;
        self.wait_ticks_max = self.wait_ticks_max.max(other.wait_ticks_max);
    }
}
