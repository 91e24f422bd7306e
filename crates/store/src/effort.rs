//! What reads cost, counted in steps instead of time, so that a test can hold it against a bound.

use rocksdb::perf::{PerfContext, PerfMetric, PerfStatsLevel, set_perf_stats};

/// Work that this thread had RocksDB do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// Lookups of one row in a memory table.
    pub gets: u64,
    /// Jumps of cursors in memory tables.
    pub seeks: u64,
    /// Steps of cursors in memory tables, over rows that nobody asked for too.
    pub steps: u64,
    /// Blocks of files touched, in the cache or on disk.
    pub blocks: u64,
}

impl Effort {
    /// Runs `work` and counts what it costs. Counting is per thread and slows reads down a little: for tests and
    /// experiments. Not to be nested.
    pub fn of<T>(work: impl FnOnce() -> T) -> (T, Self) {
        let mut context = PerfContext::default();
        set_perf_stats(PerfStatsLevel::EnableCount);
        context.reset();
        let value = work();
        let effort = Self {
            gets: context.metric(PerfMetric::GetFromMemtableCount),
            seeks: context.metric(PerfMetric::SeekOnMemtableCount),
            steps: context.metric(PerfMetric::NextOnMemtableCount)
                + context.metric(PerfMetric::PrevOnMemtableCount),
            blocks: context.metric(PerfMetric::BlockReadCount)
                + context.metric(PerfMetric::BlockCacheHitCount),
        };
        set_perf_stats(PerfStatsLevel::Disable);
        (value, effort)
    }

    /// All of it in one number.
    pub fn total(self) -> u64 {
        self.gets + self.seeks + self.steps + self.blocks
    }
}
