//! How many calls of all clients together are under way.
//!
//! The first call of each connection is not counted, since connections have a limit of their own: who comes with a
//! connection of his own is heard, however many calls others have. The rest is counted in stripes, so that lanes that serve
//! calls do not pass one number to and fro: a stripe takes room for some calls at once, and gives back what it has too much.
//!
//! INVARIANT: no more calls are counted at once than there is room for; some less where stripes hold room that they do not need.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

/// Threads that count; more share stripes, which costs time and nothing else.
const STRIPES: usize = 8;
/// Room that a stripe takes at once where there is much.
const STRIDE_MAX: i64 = 256;

/// Room for calls.
#[derive(Debug)]
pub(crate) struct Crowd {
    /// Room that no stripe has.
    left: AtomicI64,
    /// Room that a stripe has and nobody uses.
    spare: [Stripe; STRIPES],
    stride: i64,
}

/// On a cache line of its own, and none of its neighbour's.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe(AtomicI64);

thread_local! {
    static STRIPE: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES
    };
}

impl Crowd {
    /// Room for so many calls.
    pub(crate) fn new(calls_max: usize) -> Self {
        let calls_max = i64::try_from(calls_max).unwrap_or(i64::MAX);
        // All that stripes may hold for nothing is an eighth.
        let stride = (calls_max / (8 * 2 * STRIPES as i64)).clamp(1, STRIDE_MAX);
        Self { left: AtomicI64::new(calls_max), spare: Default::default(), stride }
    }

    /// Whether there is room for one more.
    pub(crate) fn enter(&self) -> bool {
        let spare = self.stripe();
        if spare.fetch_sub(1, Ordering::Relaxed) > 0 {
            return true;
        }
        let taken = if self.take(self.stride) { self.stride } else { i64::from(self.take(1)) };
        // One of what was taken is used, and was subtracted above.
        spare.fetch_add(taken.max(1), Ordering::Relaxed);
        taken > 0
    }

    /// One is over.
    pub(crate) fn leave(&self) {
        let spare = self.stripe();
        if spare.fetch_add(1, Ordering::Relaxed) >= 2 * self.stride {
            spare.fetch_sub(self.stride, Ordering::Relaxed);
            self.left.fetch_add(self.stride, Ordering::Relaxed);
        }
    }

    fn take(&self, calls: i64) -> bool {
        let less = |left: i64| (left >= calls).then(|| left - calls);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    fn stripe(&self) -> &AtomicI64 {
        // While a thread ends it may have no stripe any more.
        let at = STRIPE.try_with(|stripe| *stripe).unwrap_or_default();
        let [first, ..] = &self.spare;
        &self.spare.get(at).unwrap_or(first).0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn there_is_room_for_so_many_and_no_more() {
        for calls_max in [0, 1, 5, 1000, 100_000] {
            let crowd = Crowd::new(calls_max);
            for _ in 0..2 {
                let entered = (0..calls_max + 10).filter(|_| crowd.enter()).count();
                assert_eq!(entered, calls_max, "one thread gets all of it");
                assert!(!crowd.enter(), "and who is refused takes nothing");
                (0..entered).for_each(|_| crowd.leave());
            }
        }
    }

    #[test]
    fn threads_that_come_and_go_never_are_too_many() {
        const CALLS_MAX: usize = 64;
        let (crowd, inside, most) = (Crowd::new(CALLS_MAX), AtomicUsize::new(0), AtomicUsize::new(0));
        let refused = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..12 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let entered = (0..10).filter(|_| crowd.enter()).count();
                        refused.fetch_or(entered < 10, Ordering::Relaxed);
                        let now = inside.fetch_add(entered, Ordering::Relaxed) + entered;
                        most.fetch_max(now, Ordering::Relaxed);
                        std::thread::yield_now();
                        inside.fetch_sub(entered, Ordering::Relaxed);
                        (0..entered).for_each(|_| crowd.leave());
                    }
                });
            }
        });
        assert!(most.into_inner() <= CALLS_MAX);
        let held: i64 = crowd.spare.iter().map(|spare| spare.0.load(Ordering::Relaxed)).sum();
        assert_eq!(
            crowd.left.into_inner() + held,
            CALLS_MAX as i64,
            "and all of the room is there in the end"
        );
    }
}
