//! How much may be under way: operations and bytes from the door to their outcome.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use api::Fault;

/// Writes under way, whether or not somebody still waits for them.
const WRITES_MAX: usize = 65_536;
/// Bytes of writes under way.
const BYTES_MAX: usize = 128 << 20;

/// Counts what is under way.
#[derive(Default)]
pub(crate) struct Admission {
    writes: AtomicUsize,
    bytes: AtomicUsize,
}

/// Room for one write; given back when dropped.
pub(crate) struct Permit {
    admission: Arc<Admission>,
    bytes: usize,
}

impl Admission {
    /// Lets a write in, or refuses it because too much is under way. One write always fits.
    pub(crate) fn admit(self: &Arc<Self>, bytes: usize) -> Result<Permit, Fault> {
        let writes = self.writes.fetch_add(1, Ordering::Relaxed);
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let permit = Permit { admission: Arc::clone(self), bytes };
        if writes >= WRITES_MAX || (before > 0 && before.saturating_add(bytes) > BYTES_MAX) {
            // The permit gives back what was just counted.
            return Err(Fault::TooManyRequests);
        }
        Ok(permit)
    }

    /// Writes under way.
    pub(crate) fn writes(&self) -> usize {
        self.writes.load(Ordering::Relaxed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.writes.fetch_sub(1, Ordering::Relaxed);
        self.admission.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_bounded_and_come_back() {
        let admission = Arc::new(Admission::default());
        let half = admission.admit(BYTES_MAX / 2).expect("room");
        assert_eq!(admission.admit(BYTES_MAX).err(), Some(Fault::TooManyRequests));
        drop(half);
        let whole = admission.admit(BYTES_MAX * 2).expect("one always fits");
        assert_eq!(admission.admit(1).err(), Some(Fault::TooManyRequests));
        drop(whole);
        assert_eq!((admission.writes(), admission.bytes.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn writes_are_bounded() {
        let admission = Arc::new(Admission::default());
        let permits: Vec<Permit> = (0..WRITES_MAX).map(|_| admission.admit(0).expect("room")).collect();
        assert!(admission.admit(0).is_err());
        drop(permits);
        assert!(admission.admit(0).is_ok());
    }
}
