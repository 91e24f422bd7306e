//! The bridge beside v2's own keyspace, and what a v2 client may not do to v3's keys.

mod beside_v2;
mod mixed;

use std::path::Path as File;
use std::sync::Arc;

use bytes::Bytes;
use lease::Leases;
use mvcc::{Edit, Mvcc, Note};
use store::{Options, Store};
use types::v2::{Event, Expiry, Get, Path, Refusal, Timestamp, Write};
use types::{Index, KeyRange, LeaseId, RangeQuery};

use super::*;

const PREFIX: &[u8] = b"/reg/";

/// A keyspace with leases, as one member applies to it.
struct Bench {
    store: Arc<Store>,
    mvcc: Mvcc,
    leases: Leases,
    layout: Layout,
    index: Index,
}

impl Bench {
    /// Its first v2 write has index 4, as in a v2 keyspace of its own.
    fn new() -> Self {
        let store = Arc::new(Store::open(File::new("/bridge"), &Options::in_memory()).expect("open"));
        let mvcc = Mvcc::open(Arc::clone(&store)).expect("open");
        let leases = Leases::open(&store).expect("open");
        let mut bench = Self { store, mvcc, leases, layout: Layout::new(PREFIX.into()), index: Index(1) };
        bench.put("elsewhere", "1");
        bench.put("elsewhere", "2");
        bench
    }

    fn in_room<T>(&mut self, work: impl FnOnce(&mut Room<'_, '_, '_, '_>) -> T) -> T {
        self.index.0 += 1;
        let mut batch = self.store.batch();
        let mut writer = self.mvcc.begin();
        let mut room = Room {
            layout: &self.layout,
            writer: &mut writer,
            leases: &self.leases,
            batch: &mut batch,
            born: self.index,
        };
        let done = work(&mut room);
        writer.stage(&mut batch);
        self.store.write(batch).expect("written");
        writer.publish();
        done
    }

    fn write(&mut self, write: &Write, now: Timestamp) -> Result<Event, Refusal> {
        let lease = LeaseId(1000);
        self.in_room(|room| apply(room, write, now, lease).expect("applied").result)
    }

    /// Ends the leases of v2 whose time has come, in the order in which it came.
    fn expire(&mut self, now: Timestamp) {
        loop {
            let due = self.leases.list().into_iter().filter_map(|(id, terms)| {
                let at = terms.deadline.filter(|at| *at <= now)?;
                Some((at, self.leases.keys(id), id))
            });
            let Some((_, _, id)) = due.min() else { return };
            let ended = self.in_room(|room| expire(room, id, None).expect("expired"));
            assert!(ended.iter().any(|(ended, _)| *ended == id));
        }
    }

    /// What a v3 client does.
    fn edit(&mut self, key: &[u8], value: Option<&str>) {
        let content = value.map(|value| (Bytes::copy_from_slice(value.as_bytes()), LeaseId::NONE));
        let edit = Edit { key: Bytes::copy_from_slice(key), content, note: Note::default() };
        self.in_room(|room| drop(room.edit(vec![edit], &[])));
    }

    fn put(&mut self, key: &str, value: &str) {
        self.edit(key.as_bytes(), Some(value));
    }

    fn get(&self, path: &str, recursive: bool, now: Timestamp) -> Result<Event, Refusal> {
        let get = Get { path: Path::clean(path), recursive, sorted: true };
        let whole = super::get(&self.layout, &self.mvcc, &self.leases, &get, now).expect("readable");
        // The short way says the same, if it says anything.
        let file = get_file(&self.layout, &self.mvcc, &self.leases, &get.path, now).expect("readable");
        if let Some(file) = file {
            assert_eq!(Ok(&file), whole.as_ref());
        }
        whole
    }

    /// All keys of the prefix with their values.
    fn keys(&self) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        let (_, reply) = self.mvcc.range(&RangeQuery::of(KeyRange::all())).expect("readable");
        let below = reply.kvs.into_iter().filter(|kv| kv.key.starts_with(PREFIX));
        below.map(|kv| (text(&kv.key[PREFIX.len()..]), text(&kv.value))).collect()
    }

    fn news(&self, now: Timestamp) -> News<'_> {
        News { layout: &self.layout, mvcc: &self.mvcc, leases: &self.leases, now }
    }

    /// Everything that is told from an index on.
    fn told(&self, mut since: u64, events_max: usize) -> Vec<Arc<Event>> {
        let (mut all, mut told) = (Vec::new(), 0);
        loop {
            let missed = self.news(Timestamp(0)).seek(since, told, events_max, &|_| true);
            let missed = missed.expect("readable").expect("remembered");
            all.extend(missed.events);
            (since, told) = (missed.next, missed.told);
            if since > missed.index {
                return all;
            }
        }
    }
}

fn set(path: &str, value: &str) -> Write {
    let (path, value) = (Path::clean(path), Bytes::copy_from_slice(value.as_bytes()));
    Write::Set { path, value, dir: false, expiry: Expiry::Never, refresh: false }
}

fn delete(path: &str, dir: bool, recursive: bool) -> Write {
    Write::Delete { path: Path::clean(path), dir, recursive }
}
