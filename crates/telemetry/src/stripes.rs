//! Counters that many threads count on at once. Each thread counts in a stripe of its own, so no cache line goes back
//! and forth between cores; who asks for the number adds the stripes up.
//!
//! INVARIANT: a number that is shown is never less than it was.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use metrics::{Counter, CounterFn, Key};
use parking_lot::Mutex;

/// More threads than this share stripes, which is as good as not having them, and no worse.
pub(crate) const STRIPES: usize = 8;
/// Counters of one block, whose stripes are so many numbers in a row.
const BLOCK: usize = 256;

thread_local! {
    static STRIPE: usize = {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        THREADS.fetch_add(1, Ordering::Relaxed) % STRIPES
    };
}

/// The stripe of this thread, below [`STRIPES`]. While a thread ends it may have none any more, and takes the first.
pub(crate) fn stripe() -> usize {
    STRIPE.try_with(|stripe| *stripe).unwrap_or_default()
}

type Block = [[AtomicU64; BLOCK]; STRIPES];

/// One counter.
struct Striped {
    block: Arc<Block>,
    /// Below [`BLOCK`].
    at: usize,
    /// What it was said to be at least.
    said: AtomicU64,
    /// Where it is shown.
    shown: Counter,
}

impl Striped {
    fn show(&self) {
        let counted = self.block.iter().filter_map(|stripe| stripe.get(self.at));
        let counted: u64 = counted.map(|number| number.load(Ordering::Relaxed)).sum();
        self.shown.absolute(counted.max(self.said.load(Ordering::Relaxed)));
    }
}

impl CounterFn for Striped {
    fn increment(&self, value: u64) {
        if let Some(number) = self.block.get(stripe()).and_then(|stripe| stripe.get(self.at)) {
            number.fetch_add(value, Ordering::Relaxed);
        }
    }

    fn absolute(&self, value: u64) {
        self.said.fetch_max(value, Ordering::Relaxed);
    }
}

/// All of a registry.
#[derive(Default)]
pub(crate) struct Stripes(Mutex<Known>);

#[derive(Default)]
struct Known {
    by_key: HashMap<Key, Arc<Striped>>,
    /// The one with room.
    block: Option<Arc<Block>>,
}

impl Stripes {
    /// The counter of this key, which is shown in the one that `shown` makes.
    pub(crate) fn counter(&self, key: &Key, shown: impl FnOnce() -> Counter) -> Counter {
        let Known { by_key, block } = &mut *self.0.lock();
        if let Some(known) = by_key.get(key) {
            return Counter::from_arc(Arc::clone(known));
        }
        let at = by_key.len() % BLOCK;
        if at == 0 {
            *block = None;
        }
        let fresh = || Arc::new(std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))));
        let block = Arc::clone(block.get_or_insert_with(fresh));
        let striped = Arc::new(Striped { block, at, said: AtomicU64::new(0), shown: shown() });
        by_key.insert(key.clone(), Arc::clone(&striped));
        Counter::from_arc(striped)
    }

    /// Brings what is shown up to date.
    pub(crate) fn show(&self) {
        self.0.lock().by_key.values().for_each(|striped| striped.show());
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use crate::Registry;

    #[test]
    fn what_many_threads_count_is_added_up() {
        let registry = Registry::new();
        // More counters than a block has, and more threads than there are stripes.
        let names: Vec<String> = (0..600).map(|number| number.to_string()).collect();
        let counters = names.iter().map(|name| registry.counter("calls", "Calls.", &[("to", name)]));
        let counters: Vec<_> = counters.collect();
        thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    for (counter, number) in counters.iter().zip(1..) {
                        counter.increment(number);
                    }
                });
            }
        });
        registry.counter("calls", "Calls.", &[("to", "7")]).increment(1);
        registry.counter("said", "Said.", &[]).absolute(5);
        registry.counter("said", "Said.", &[]).absolute(3);
        for _ in 0..2 {
            let text = registry.render();
            for (line, name) in (1..).zip(&names) {
                let more = u64::from(name == "7");
                let line = format!("calls{{to=\"{name}\"}} {}\n", 20 * line + more);
                assert!(text.contains(&line), "no {line} in {text}");
            }
            assert!(text.contains("\nsaid 5\n"));
        }
    }
}
