//! Giving room back: rows that were removed or replaced lie in the files until RocksDB merges them.

use rocksdb::CompactOptions;

use crate::{Family, Span, Store};

/// A step of a compaction is about so many bytes of the lowest level.
const STEP_BYTES: usize = 256 << 20;

impl Store {
    /// Spans that together are all rows of a family. Compacting one after the other instead of everything at once
    /// leaves RocksDB its usual work in between, so that no write has to wait for that.
    pub fn compaction_steps(&self, family: Family) -> Vec<Span> {
        // A failure here is one of reading the list of files, which the next read of a row meets too.
        let mut files = self.database().live_files().unwrap_or_default();
        files.retain(|file| file.column_family_name == family.name());
        let lowest = files.iter().map(|file| file.level).max().unwrap_or_default();
        files.retain(|file| file.level == lowest);
        files.sort_by(|one, other| one.end_key.cmp(&other.end_key));
        let (mut steps, mut lower, mut bytes) = (Vec::new(), None, 0);
        for file in files {
            bytes += file.size;
            let Some(end) = file.end_key.filter(|_| bytes >= STEP_BYTES) else { continue };
            // The first possible key after the file.
            let next = [&end[..], &[0]].concat();
            steps.push(Span { lower: lower.replace(next), upper: Some(end) });
            bytes = 0;
        }
        steps.push(Span { lower, upper: None });
        steps
    }

    /// Merges the files that hold rows of a span, its upper bound included, and waits for that. Reads and writes go
    /// on meanwhile.
    pub fn compact(&self, family: Family, span: &Span) {
        let mut options = CompactOptions::default();
        options.set_exclusive_manual_compaction(false);
        let (from, to) = (span.lower.as_deref(), span.upper.as_deref());
        self.database().compact_range_cf_opt(self.handle(family), from, to, &options);
    }
}
