//! Waiting for a condition, never for a time.

use std::thread;
use std::time::{Duration, Instant};

/// How long a condition may take to become true before a test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How often a condition is looked at.
const PACE: Duration = Duration::from_millis(10);

/// Asks until there is something; `None` when `patience` ran out first.
pub fn until<T>(patience: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + patience;
    loop {
        if let Some(found) = ask() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        // Reason to sleep: another process is asked again and again; this keeps the asking from starving it.
        thread::sleep(PACE);
    }
}
