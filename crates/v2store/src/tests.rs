//! Tests of the keyspace as a whole: recorded stories of real etcd, random histories against a model, and rows.

mod histories;
mod model;
mod past;
mod rows;
mod story;

use std::path::Path as FilePath;

use store::{Options, Store};
use types::v2::{Event, Expiry, Path, Refusal, Timestamp, Write};

use crate::V2Store;

/// Midnight of the day on which these tests were written. Times of the tests count from here.
const EPOCH: Timestamp = Timestamp(1_795_132_800_000_000_000);

fn after_ms(ms: i64) -> Timestamp {
    Timestamp(EPOCH.0 + ms * 1_000_000)
}

/// A keyspace on files in memory that can be restarted.
struct Bench {
    options: Options,
    store: Option<Store>,
    v2: V2Store,
}

impl Bench {
    fn new() -> Self {
        let options = Options::in_memory();
        let store = Self::open(&options);
        let v2 = V2Store::open(&store).expect("open");
        Self { options, store: Some(store), v2 }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("it is open between restarts")
    }

    /// Applies a write in a batch of its own.
    fn apply(&self, write: &Write, now: Timestamp) -> Result<Vec<Event>, Refusal> {
        self.apply_all(std::slice::from_ref(write), now).remove(0)
    }

    /// Applies writes in one batch; refused ones must leave nothing in it.
    fn apply_all(&self, writes: &[Write], now: Timestamp) -> Vec<Result<Vec<Event>, Refusal>> {
        let mut batch = self.store().batch();
        let mut outcomes = Vec::new();
        for write in writes {
            let outcome = self.v2.apply(write, now, &mut batch);
            outcomes.push(outcome.map(|events| events.iter().map(|event| Event::clone(event)).collect()));
        }
        self.v2.stage(&mut batch);
        let is_refused = outcomes.iter().all(Result::is_err);
        assert!(!is_refused || batch.is_empty(), "refused {writes:?} stage nothing");
        self.store().write(batch).expect("write");
        outcomes
    }

    /// What is remembered, as it is remembered.
    fn past(&self) -> (u64, Vec<Event>) {
        let keyspace = self.v2.keyspace.read();
        let history = keyspace.history();
        (history.oldest(), history.events().cloned().collect())
    }

    /// Reads the rows again, as a start does.
    fn reload(&mut self) {
        self.v2 = V2Store::open(self.store()).expect("open");
    }

    /// Closes the database and opens its files again.
    fn restart(&mut self) {
        let store = self.store.take().expect("it is open between restarts");
        store.flush().expect("flush");
        store.close();
        self.store = Some(Self::open(&self.options));
        self.reload();
    }

    /// Back to an empty keyspace, at a fraction of what a new database costs.
    fn clear(&mut self) {
        let mut batch = self.store().batch();
        batch.delete_range(store::Family::V2, b"\0", b"0");
        batch.delete(store::Family::Meta, crate::row::INDEX_KEY);
        self.store().write(batch).expect("write");
        self.reload();
        assert_eq!(self.v2.index(), crate::INDEX_FIRST);
    }

    fn open(options: &Options) -> Store {
        Store::open(FilePath::new("/v2"), options).expect("open")
    }
}

fn set(path: &str, value: &'static str, expiry: Expiry) -> Write {
    Write::Set { path: Path::clean(path), value: value.into(), dir: false, expiry, refresh: false }
}
