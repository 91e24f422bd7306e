//! The longest time that something took in each of the last seconds: what a slow request asks for its reasons.
//!
//! It costs one atomic operation for each thing that is timed anyway, and reads no clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How far back it remembers, in seconds.
const SECONDS: usize = 64;

/// See the module.
pub(crate) struct Lately {
    began: Instant,
    /// By second: its number above, the longest time in µs below.
    longest: [AtomicU64; SECONDS],
}

impl Lately {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), longest: [const { AtomicU64::new(0) }; SECONDS] }
    }

    /// Something that began then took this long.
    pub(crate) fn record(&self, began: Instant, took: Duration) {
        let second = self.second(began + took);
        let micros = u64::from(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        // A later second is more than any time in an earlier one.
        self.slot(second).fetch_max(second << 32 | micros, Ordering::Relaxed);
    }

    /// The longest time that ended within this span before `now`, to a second.
    pub(crate) fn longest(&self, now: Instant, span: Duration) -> Duration {
        let last = self.second(now);
        let seconds = span.as_secs().saturating_add(1).min(SECONDS as u64 - 1);
        let of = |second: u64| {
            let word = self.slot(second).load(Ordering::Relaxed);
            if word >> 32 == second { word & u64::from(u32::MAX) } else { 0 }
        };
        let micros = (last.saturating_sub(seconds)..=last).map(of).max().unwrap_or_default();
        Duration::from_micros(micros)
    }

    fn second(&self, at: Instant) -> u64 {
        // An empty slot is of second 0.
        at.saturating_duration_since(self.began).as_secs() + 1
    }

    fn slot(&self, second: u64) -> &AtomicU64 {
        &self.longest[second as usize % SECONDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_of_a_span_is_told_and_what_is_older_is_not() {
        let lately = Lately::new();
        let at = |second: u64| lately.began + Duration::from_secs(second);
        let ms = Duration::from_millis;
        assert_eq!(lately.longest(at(0), ms(1)), Duration::ZERO);
        lately.record(at(0), ms(30));
        lately.record(at(0), ms(20));
        lately.record(at(10), ms(5));
        assert_eq!(lately.longest(at(10), ms(100)), ms(5));
        assert_eq!(lately.longest(at(10), Duration::from_mins(1)), ms(30));
        // The slot of the first second serves another one.
        lately.record(at(64), ms(1));
        assert_eq!(lately.longest(at(64), Duration::from_secs(1)), ms(1));
        assert_eq!(lately.longest(at(200), Duration::from_hours(1)), Duration::ZERO);
    }
}
