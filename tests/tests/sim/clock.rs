//! The clock of a member: it has a rate of its own, and jumps.

use types::v2::Timestamp;

use crate::network::Micros;
use crate::plan::TICK;

/// Where every clock begins: some day in 2026, so that v2 takes a time-to-live for one.
pub(crate) const BEGINNING_NS: i64 = 1_780_000_000_000_000_000;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    since: Micros,
    at_ns: i64,
    steady_us: Micros,
    rate_percent: u64,
    wall_percent: u64,
}

impl Clock {
    /// A clock that runs well.
    pub(crate) fn new() -> Self {
        Self { since: 0, at_ns: BEGINNING_NS, steady_us: 0, rate_percent: 100, wall_percent: 100 }
    }

    /// What it shows at a moment of the run.
    pub(crate) fn wall(&self, now: Micros) -> Timestamp {
        let passed_us = (now - self.since) * self.wall_percent / 100;
        Timestamp(self.at_ns + passed_us as i64 * 1000)
    }

    /// The time that it has counted, without jumps.
    pub(crate) fn steady(&self, now: Micros) -> Micros {
        self.steady_us + (now - self.since) * self.rate_percent / 100
    }

    /// From `now` on it runs at other rates: its ticks, and the time that it shows, which may stand still.
    pub(crate) fn set_rates(&mut self, now: Micros, percent: u64, wall_percent: u64) {
        self.at_ns = self.wall(now).0;
        self.steady_us = self.steady(now);
        self.since = now;
        (self.rate_percent, self.wall_percent) = (percent, wall_percent);
    }

    /// It jumps; `by_ms` may be negative. Ticks are not counted by it: they come from a clock that never jumps.
    pub(crate) fn jump(&mut self, by_ms: i64) {
        self.at_ns += by_ms * 1_000_000;
    }

    /// How long a tick of this member takes.
    pub(crate) fn tick(&self) -> Micros {
        TICK * 100 / self.rate_percent.max(1)
    }
}
