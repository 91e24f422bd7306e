//! Bytes that are held for clients beyond what every one of them may have: of requests that have not arrived to their ends,
//! and of answers that nobody has taken yet.
//!
//! Whoever is quick never comes here: a request that came in one piece and an answer of common size are not counted.
//!
//! INVARIANT: what is held together never exceeds the budget; who wants more is refused, and nobody waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::refusal::Refusal;

/// How many bytes may be held.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    bytes_max: usize,
}

/// What one request or answer holds, until it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), bytes_max })
    }

    /// A share of nothing yet.
    pub(crate) fn share(self: &Arc<Self>) -> Share {
        Share { budget: Arc::clone(self), bytes: 0 }
    }
}

impl Share {
    /// Makes it so many bytes. When there is no room for them it stays as it was.
    pub(crate) fn resize(&mut self, bytes: usize) -> Result<(), Refusal> {
        if bytes == self.bytes {
            // All clients share the counter; those with nothing to say do not come near it.
            return Ok(());
        }
        let more = bytes.saturating_sub(self.bytes);
        let before = self.budget.used.fetch_add(more, Ordering::Relaxed);
        if more > 0 && before.saturating_add(more) > self.budget.bytes_max {
            self.budget.used.fetch_sub(more, Ordering::Relaxed);
            return Err(Refusal::too_many());
        }
        self.budget.used.fetch_sub(self.bytes.saturating_sub(bytes), Ordering::Relaxed);
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_held_than_there_is() {
        let budget = Budget::new(10);
        let (mut first, mut second) = (budget.share(), budget.share());
        assert_eq!(first.resize(6), Ok(()));
        assert_eq!(second.resize(5), Err(Refusal::too_many()));
        assert_eq!(second.resize(4), Ok(()));
        assert_eq!(first.resize(7), Err(Refusal::too_many()));
        assert_eq!(first.resize(2), Ok(()));
        assert_eq!(second.resize(8), Ok(()));
        drop(first);
        assert_eq!(second.resize(10), Ok(()));
        drop(second);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }
}
