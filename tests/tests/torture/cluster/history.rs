//! What clients did and what they were told, with times; the input of the check.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a client asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Write a value that nobody else ever writes.
    Put(String),
    /// Read, linearizable.
    Get,
    /// Write the value if the key was last written at this revision (0: if it is not there), else read it.
    Swap(i64, String),
    /// Remove.
    Delete,
}

/// What the client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It happened at this revision.
    Written(i64),
    /// At this revision the key held that value, written at that revision; or nothing.
    Read(i64, Option<(String, i64)>),
    /// Nothing certain: a write may have happened, may still happen, or never will.
    Unknown,
}

/// One operation of one client.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    #[expect(dead_code, reason = "who it was is for the person who reads a violation")]
    pub(crate) client: usize,
    pub(crate) key: usize,
    pub(crate) act: Act,
    pub(crate) outcome: Outcome,
    /// Since the start of the history.
    pub(crate) began: Duration,
    pub(crate) ended: Duration,
}

/// All operations so far.
#[derive(Debug)]
pub(crate) struct History {
    start: Instant,
    operations: Mutex<Vec<Operation>>,
    acknowledged: AtomicU64,
}

impl History {
    /// Nothing happened yet.
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), operations: Mutex::default(), acknowledged: AtomicU64::new(0) }
    }

    /// Now, since the start.
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Adds an operation that has just ended.
    pub(crate) fn add(&self, operation: Operation) {
        if operation.outcome != Outcome::Unknown {
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        self.operations.lock().expect("nobody panics while holding it").push(operation);
    }

    /// Operations that were answered.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// A copy of everything.
    pub(crate) fn operations(&self) -> Vec<Operation> {
        self.operations.lock().expect("nobody panics while holding it").clone()
    }
}
