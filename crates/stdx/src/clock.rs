//! Two clocks in one: the wall's, which people read and which may jump, and a monotonic one, for time-outs.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Tells the time. Both readings may be taken from any thread.
pub trait Clock: Send + Sync + 'static {
    /// Nanoseconds since 1970-01-01 UTC, by the wall's clock; negative before. It may go back.
    fn wall_ns(&self) -> i64;

    /// Now, by the monotonic clock. It never goes back.
    fn now(&self) -> Instant;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall_ns(&self) -> i64 {
        let whole = |span: Duration| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => whole(since),
            Err(before) => -whole(before.duration()),
        }
    }

    fn now(&self) -> Instant {
        Instant::now()
    }
}

/// Clocks that stand still until a test moves them.
#[derive(Debug)]
pub struct ManualClock(Mutex<Readings>);

#[derive(Clone, Copy, Debug)]
struct Readings {
    wall_ns: i64,
    now: Instant,
}

impl ManualClock {
    /// Clocks of which the wall's shows `wall_ns`.
    pub fn new(wall_ns: i64) -> Self {
        Self(Mutex::new(Readings { wall_ns, now: Instant::now() }))
    }

    /// Time passes, on both clocks.
    pub fn advance(&self, span: Duration) {
        self.change(|readings| {
            readings.now += span;
            readings.wall_ns =
                readings.wall_ns.saturating_add_unsigned(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX));
        });
    }

    /// Somebody sets the wall's clock, forwards or back. No time passes.
    pub fn set_wall_ns(&self, wall_ns: i64) {
        self.change(|readings| readings.wall_ns = wall_ns);
    }

    fn change(&self, change: impl FnOnce(&mut Readings)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn readings(&self) -> Readings {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn wall_ns(&self) -> i64 {
        self.readings().wall_ns
    }

    fn now(&self) -> Instant {
        self.readings().now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_when_told() {
        let clock = ManualClock::new(5);
        let (wall_ns, now) = (clock.wall_ns(), clock.now());
        assert_eq!((wall_ns, clock.now()), (5, now));
        clock.advance(Duration::from_nanos(7));
        assert_eq!((clock.wall_ns(), clock.now()), (12, now + Duration::from_nanos(7)));
        clock.set_wall_ns(-1);
        assert_eq!((clock.wall_ns(), clock.now()), (-1, now + Duration::from_nanos(7)));
    }

    #[test]
    fn the_systems_clock_is_past_2020() {
        assert!(SystemClock.wall_ns() > 1_577_836_800_000_000_000);
    }
}
