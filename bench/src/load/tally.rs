//! What happened: latencies, operations, failures.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Latencies are kept from one microsecond to two minutes, to three digits.
const LATENCY_NS_MAX: u64 = 120_000_000_000;
/// Different failure texts that are told apart; the rest is counted together.
const TEXTS_MAX: usize = 16;

/// Quantiles of latency in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// The mean.
    pub(crate) mean: f64,
    /// Half are faster.
    pub(crate) p50: f64,
    /// Nine in ten are faster.
    pub(crate) p90: f64,
    /// 99 in 100 are faster.
    pub(crate) p99: f64,
    /// 999 in 1000 are faster.
    pub(crate) p999: f64,
    /// The slowest.
    pub(crate) max: f64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let us = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        Self {
            mean: histogram.mean() / 1000.0,
            p50: us(0.5),
            p90: us(0.9),
            p99: us(0.99),
            p999: us(0.999),
            max: histogram.max() as f64 / 1000.0,
        }
    }
}

/// Counts of one run, and of the last second for the live line.
pub(crate) struct Tally {
    whole: Histogram<u64>,
    second: Histogram<u64>,
    operations: u64,
    operations_second: u64,
    failures: u64,
    texts: BTreeMap<String, u64>,
}

/// The last second, for the live line.
pub(crate) struct Second {
    /// Operations that ended well.
    pub(crate) operations: u64,
    /// Their latency.
    pub(crate) latency: Latency,
    /// Failures since the start.
    pub(crate) failures: u64,
}

impl Tally {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        let histogram = || {
            Histogram::new_with_bounds(1000, LATENCY_NS_MAX, 3)
                .expect("the bounds and the digits are in range")
        };
        Self {
            whole: histogram(),
            second: histogram(),
            operations: 0,
            operations_second: 0,
            failures: 0,
            texts: BTreeMap::new(),
        }
    }

    /// A call that ended well and stands for `operations`.
    ///
    /// The live line sees all of them; the result only what is `measured`.
    pub(crate) fn success(&mut self, latency: Duration, operations: u64, measured: bool) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.second.saturating_record(ns);
        self.operations_second += operations;
        if measured {
            self.whole.saturating_record(ns);
            self.operations += operations;
        }
    }

    /// `count` calls that ended with `text`. Failures count in the warm-up too.
    pub(crate) fn failure(&mut self, text: &str, count: u64) {
        if count == 0 {
            return;
        }
        self.failures += count;
        let known = self.texts.len() < TEXTS_MAX || self.texts.contains_key(text);
        *self.texts.entry(if known { text } else { "others" }.to_owned()).or_default() += count;
    }

    /// Takes what happened since the last call.
    pub(crate) fn take_second(&mut self) -> Second {
        let latency = Latency::of(&self.second);
        self.second.reset();
        Second { operations: std::mem::take(&mut self.operations_second), latency, failures: self.failures }
    }

    /// Operations measured so far.
    pub(crate) fn operations(&self) -> u64 {
        self.operations
    }

    /// Calls measured so far.
    pub(crate) fn requests(&self) -> u64 {
        self.whole.len()
    }

    /// Latency of the measured calls.
    pub(crate) fn latency(&self) -> Latency {
        Latency::of(&self.whole)
    }

    /// Failures by their text.
    pub(crate) fn failures(&self) -> (u64, BTreeMap<String, u64>) {
        (self.failures, self.texts.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warm_up_is_seen_live_but_not_counted() {
        let mut tally = Tally::new();
        tally.success(Duration::from_millis(500), 1, false);
        tally.success(Duration::from_micros(100), 128, true);
        assert_eq!((tally.operations(), tally.requests()), (128, 1));
        assert!((tally.latency().max - 100.0).abs() < 1.0);
        let second = tally.take_second();
        assert_eq!(second.operations, 129);
        assert!(second.latency.max > 499_000.0);
        assert_eq!(tally.take_second().operations, 0);
    }

    #[test]
    fn failures_are_told_apart_up_to_a_limit() {
        let mut tally = Tally::new();
        for at in 0..100 {
            tally.failure(&format!("failure {at}"), 1);
        }
        tally.failure("failure 0", 2);
        tally.failure("never", 0);
        let (count, texts) = tally.failures();
        assert_eq!((count, texts.len()), (102, TEXTS_MAX + 1));
        assert_eq!((texts["failure 0"], texts["others"]), (3, 84));
    }
}
