//! When the next operation ought to start.
//!
//! A closed loop starts when a client is idle. An open loop starts by the clock, whether or not the server keeps
//! up: an operation that finds no idle client waits, and its latency counts from the moment at which it ought
//! to have started. A stall of the server is then seen by every operation that it delayed, and not only by those
//! that were on their way (coordinated omission).

use std::time::{Duration, Instant};

/// A steady sequence of intended starts.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    origin: Instant,
    interval_ns: f64,
    issued: u64,
}

impl Schedule {
    /// `per_second` operations a second, the first at `origin`.
    pub(crate) fn new(origin: Instant, per_second: f64) -> Self {
        Self { origin, interval_ns: 1e9 / per_second, issued: 0 }
    }

    /// The intended start of the next operation. Computed from the origin, so that rounding never adds up.
    pub(crate) fn next(&self) -> Instant {
        self.origin + Duration::from_nanos((self.issued as f64 * self.interval_ns) as u64)
    }

    /// Takes the next operation when it is due at `now`, and returns its intended start.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Instant> {
        let next = self.next();
        (next <= now).then(|| {
            self.issued += 1;
            next
        })
    }

    /// How many operations ought to have started before `until` and have not been taken.
    pub(crate) fn owed(&self, until: Instant) -> u64 {
        let intended =
            (until.saturating_duration_since(self.origin).as_nanos() as f64 / self.interval_ns).ceil();
        (intended as u64).saturating_sub(self.issued)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_come_at_the_rate_and_never_early() {
        let origin = Instant::now();
        let mut schedule = Schedule::new(origin, 1000.0);
        assert_eq!(schedule.take(origin), Some(origin));
        assert_eq!(schedule.take(origin + Duration::from_micros(999)), None);
        let second = origin + Duration::from_millis(1);
        assert_eq!(schedule.take(second), Some(second));
        assert_eq!(schedule.next(), origin + Duration::from_millis(2));
    }

    #[test]
    fn a_stall_is_charged_to_every_operation_it_delayed() {
        let origin = Instant::now();
        let mut schedule = Schedule::new(origin, 1000.0);
        // The only client is stuck for a hundred milliseconds, then answers come at once.
        let resumed = origin + Duration::from_millis(100);
        let waited: Vec<u128> = std::iter::from_fn(|| schedule.take(resumed))
            .map(|start| (resumed - start).as_millis())
            .collect();
        assert_eq!(waited, (0..=100).rev().collect::<Vec<u128>>());
    }

    #[test]
    fn what_was_never_started_is_owed() {
        let origin = Instant::now();
        let mut schedule = Schedule::new(origin, 10.0);
        let until = origin + Duration::from_secs(1);
        assert_eq!(schedule.owed(until), 10);
        assert!(schedule.take(origin).is_some());
        assert_eq!(schedule.owed(until), 9);
        assert_eq!(schedule.owed(origin), 0);
    }

    #[test]
    fn odd_rates_do_not_drift() {
        let origin = Instant::now();
        let mut schedule = Schedule::new(origin, 3.0);
        let end = origin + Duration::from_secs(1000);
        assert_eq!(std::iter::from_fn(|| schedule.take(end)).count(), 3001);
    }
}
