//! How RocksDB is set up, and why.

use rocksdb::{
    BlockBasedOptions, Cache, DBCompressionType, Env, Options as RocksOptions, WriteBufferManager,
};

use crate::Family;

/// A file is compacted soon if half of so many of its rows in succession say that a row was removed,
const DELETION_WINDOW_ROWS: usize = 512;
/// or if this part of all its rows does.
const DELETION_RATIO: f64 = 0.5;

/// The part of the memory that memory tables may take. More of it would not spare writes: what is written over and
/// over stays few rows in any case, and the log holds what a table holds.
const TABLES_PART: usize = 4;

/// What can be chosen about a store.
#[derive(Clone)]
pub struct Options {
    /// One limit for memory tables, block cache, index and filter blocks together, in bytes.
    pub memory_bytes: usize,
    /// Files in memory instead of on disk, for tests that open thousands of stores. Clones of the same `Env`
    /// share their files, so a store can be "restarted" on them.
    pub env: Option<Env>,
}

impl Default for Options {
    fn default() -> Self {
        Self { memory_bytes: 128 << 20, env: None }
    }
}

impl Options {
    /// For tests: files in memory, which live as long as the returned options or a clone of them.
    pub fn in_memory() -> Self {
        Self { memory_bytes: 8 << 20, env: Env::mem_env().ok() }
    }
}

/// The shared memory accounts.
pub(crate) struct Budget {
    cache: Cache,
    buffers: WriteBufferManager,
}

impl Options {
    pub(crate) fn budget(&self) -> Budget {
        let cache = Cache::new_lru_cache(self.memory_bytes);
        // Memory tables are charged to the same cache, so that the sum is bounded; a quarter of it at most is
        // theirs. Stalling is left to RocksDB's own slow-down, which is gradual.
        let buffers = WriteBufferManager::new_write_buffer_manager_with_cache(
            self.memory_bytes / TABLES_PART,
            false,
            cache.clone(),
        );
        Budget { cache, buffers }
    }

    pub(crate) fn database(&self, budget: &Budget) -> Result<RocksOptions, rocksdb::Error> {
        // A store that is dropped leaves what a crash would leave: one way to stop instead of two, and the tests
        // of the rooms above can lose what was not flushed. The binding has no setter of its own for this.
        let mut options =
            RocksOptions::default().get_options_from_string("avoid_flush_during_shutdown=true")?;
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        // One batch spans families and there is no log of RocksDB's own to tie them together at a crash.
        options.set_atomic_flush(true);
        options.set_write_buffer_manager(&budget.buffers);
        options.set_max_background_jobs(2);
        // One thread writes: the machinery for many costs it time.
        options.set_allow_concurrent_memtable_write(false);
        options.set_enable_write_thread_adaptive_yield(false);
        options.set_paranoid_checks(true);
        options.set_max_open_files(512);
        options.set_keep_log_file_num(2);
        options.set_max_log_file_size(4 << 20);
        options.set_stats_dump_period_sec(0);
        options.set_skip_stats_update_on_db_open(true);
        options.set_bytes_per_sync(1 << 20);
        if let Some(env) = &self.env {
            options.set_env(env);
        }
        Ok(options)
    }

    pub(crate) fn family(&self, family: Family, budget: &Budget) -> Result<RocksOptions, rocksdb::Error> {
        let mut options = RocksOptions::default();
        if let Some(prefix) = hinted_prefix(family) {
            // The binding has no setter of its own for this.
            let hint = format!("memtable_insert_with_hint_prefix_extractor=capped:{prefix}");
            options = options.get_options_from_string(&hint)?;
        }
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&budget.cache);
        table.set_cache_index_and_filter_blocks(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        table.set_block_size(8 << 10);
        table.set_format_version(5);
        if family == Family::Keys {
            // Point reads name the exact row, so that whole-key filters spare every file but one.
            table.set_bloom_filter(10.0, false);
        }
        options.set_block_based_table_factory(&table);
        // Rows on the upper levels are soon written again: compressing them costs more time than it saves space.
        options.set_compression_type(DBCompressionType::None);
        options.set_bottommost_compression_type(DBCompressionType::Lz4);
        // Cursors step over removed rows one by one until a compaction drops them: where they lie densely, it shall
        // not wait for the levels to fill up.
        options.add_compact_on_deletion_collector_factory(
            DELETION_WINDOW_ROWS,
            DELETION_WINDOW_ROWS / 2,
            DELETION_RATIO,
        );
        options.set_write_buffer_size(self.memory_bytes / TABLES_PART);
        options.set_max_write_buffer_number(3);
        options.set_level_compaction_dynamic_level_bytes(true);
        Ok(options)
    }
}

/// How many first bytes say that rows come one beside the other: the memory table then looks for the place of a row
/// where it put the last one with these bytes, instead of from the top. `None` where rows come in any order, for which
/// that costs more than it spares. It remembers a place for each beginning that it meets, so there must be few of them.
fn hinted_prefix(family: Family) -> Option<usize> {
    match family {
        // Each revision is greater than the one before.
        Family::Revisions => Some(1),
        // A few positions, written again and again: a newer row stands right before the older one of the same key.
        // Four bytes tell the kinds of rows apart, and not one lease from another.
        Family::Meta => Some(4),
        Family::Keys | Family::V2 | Family::Members => None,
    }
}
