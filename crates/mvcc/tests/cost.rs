//! What reads cost, counted in steps of the store instead of time.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use mvcc::Mvcc;
use store::{Effort, Options, Store};
use types::{Key, KeyRange, LeaseId, Put, RangeQuery, Revision, SortOrder};

const PAGE_KEYS: u64 = 50;

struct Keyspace {
    store: Arc<Store>,
    mvcc: Mvcc,
}

impl Keyspace {
    fn new() -> Self {
        let store = Arc::new(Store::open(Path::new("/cost"), &Options::in_memory()).expect("open"));
        Self { mvcc: Mvcc::open(Arc::clone(&store)).expect("open"), store }
    }

    /// Writes keys, each its own request, in one batch.
    fn put(&self, keys: impl Iterator<Item = String>) {
        let mut writer = self.mvcc.begin();
        for key in keys {
            let key = Key::new(key.into()).expect("not empty");
            let value = Bytes::from_static(b"value");
            let lease = LeaseId::NONE;
            let put = Put { key, value, lease, prev_kv: false, ignore_value: false, ignore_lease: false };
            writer.put(&put).expect("put");
        }
        let mut batch = self.store.batch();
        writer.stage(&mut batch);
        self.store.write(batch).expect("write");
        writer.publish();
    }

    fn range(&self, query: &RangeQuery) -> (types::RangeReply, u64) {
        let (reply, effort) = Effort::of(|| self.mvcc.range(query).expect("range").1);
        (reply, effort.total())
    }
}

fn name(number: u64) -> String {
    format!("key-{number:08}")
}

/// Walks through all keys page by page; answers the least and the most that a page cost.
fn walk(keyspace: &Keyspace, at: Option<Revision>, keys: u64) -> (u64, u64) {
    let (mut least, mut most) = (u64::MAX, 0);
    let mut query = RangeQuery::of(KeyRange::all());
    query.at = at;
    query.limit = PAGE_KEYS;
    let mut seen = 0;
    loop {
        let (reply, effort) = keyspace.range(&query);
        assert_eq!(reply.count, keys - seen, "every page tells how many are left");
        seen += reply.kvs.len() as u64;
        (least, most) = (least.min(effort), most.max(effort));
        let Some(last) = reply.kvs.last() else { break };
        query.range.start = [last.key.as_ref(), b"\0"].concat().into();
        if !reply.more {
            break;
        }
    }
    assert_eq!(seen, keys);
    (least, most)
}

#[test]
fn a_page_costs_the_same_from_first_to_last() {
    const KEYS: u64 = 10_000;
    let keyspace = Keyspace::new();
    keyspace.put((0..KEYS).map(name));
    let (least, most) = walk(&keyspace, None, KEYS);
    assert!(most <= PAGE_KEYS + 10 && most - least <= 10, "now: {least} to {most}");
    let pinned = keyspace.mvcc.revision();
    // Other keys come and go meanwhile: the pages of the pinned revision look through these changes, not through
    // the keys that follow.
    keyspace.put((KEYS..KEYS + 100).map(name));
    let (least, most) = walk(&keyspace, Some(pinned), KEYS);
    assert!(most <= PAGE_KEYS * 3 + 150 && most - least <= 20, "pinned: {least} to {most}");
}

#[test]
fn a_count_visits_no_key() {
    let keyspace = Keyspace::new();
    keyspace.put((0..10_000).map(name));
    let mut query = RangeQuery::of(KeyRange::all());
    query.count_only = true;
    let (reply, effort) = keyspace.range(&query);
    assert_eq!((reply.count, effort), (10_000, 0));
}

#[test]
fn a_long_history_costs_a_read_nothing() {
    let keyspace = Keyspace::new();
    keyspace.put(["a", "b", "c"].map(String::from).into_iter());
    let early = keyspace.mvcc.revision();
    keyspace.put((0..20_000).map(|_| String::from("b")));
    let (reply, effort) =
        keyspace.range(&RangeQuery::of(KeyRange::single(Key::new("b".into()).expect("key"))));
    assert_eq!((reply.kvs[0].version, effort), (20_001, 1));
    for at in [None, Some(early), Some(Revision(10_000))] {
        for order in [SortOrder::None, SortOrder::Descend] {
            let mut query = RangeQuery::of(KeyRange::all());
            query.at = at;
            query.order = order;
            query.keys_only = false;
            // The count of an old revision is found by walking over the keys, not over the 20,000 changes.
            let (reply, effort) = keyspace.range(&query);
            assert_eq!(reply.count, 3);
            assert!(effort <= 60, "at {at:?}, {order:?}: {effort}");
        }
    }
    let (reopened, effort) = Effort::of(|| Mvcc::open(Arc::clone(&keyspace.store)).expect("open"));
    assert_eq!(reopened.key_count(), 3);
    assert!(effort.total() <= 40, "opening: {effort:?}");
}

#[test]
fn a_sort_by_metadata_reads_only_what_it_answers() {
    let keyspace = Keyspace::new();
    keyspace.put((0..5_000).map(name));
    let mut query = RangeQuery::of(KeyRange::all());
    query.limit = 1;
    query.target = types::SortTarget::Create;
    query.order = SortOrder::Descend;
    let (reply, effort) = keyspace.range(&query);
    assert_eq!(reply.kvs[0].key, name(4_999));
    assert!(effort <= 3, "{effort}");
}

#[test]
fn rows_that_were_swept_cost_a_read_little() {
    const KEYS: u64 = 100;
    let keyspace = Keyspace::new();
    for _ in 0..200 {
        keyspace.put((0..KEYS).map(name));
    }
    let revision = keyspace.mvcc.revision();
    let mut writer = keyspace.mvcc.begin();
    writer.compact(revision.to_wire()).expect("compact");
    let mut batch = keyspace.store.batch();
    writer.stage(&mut batch);
    keyspace.store.write(batch).expect("write");
    writer.publish();
    let mut removed = 0;
    loop {
        let swept = keyspace.mvcc.sweep(1_000).expect("sweep");
        removed += swept.removed as u64;
        if swept.done {
            break;
        }
    }
    assert_eq!(removed, KEYS * 199);
    let (reply, effort) = keyspace.range(&RangeQuery::of(KeyRange::all()));
    assert_eq!(reply.count, KEYS);
    assert!(effort <= KEYS * 3, "19,900 dead rows, {effort} steps");
}

#[test]
fn a_sort_that_drops_what_it_cannot_answer_keeps_the_right_ones() {
    const KEYS: u64 = 10_000;
    let keyspace = Keyspace::new();
    keyspace.put((0..KEYS).map(|number| name(number * 7_919 % KEYS)));
    keyspace.put((0..KEYS).filter(|number| number % 10 == 3).map(name));
    for (target, order) in [
        (types::SortTarget::Create, SortOrder::Ascend),
        (types::SortTarget::Mod, SortOrder::Descend),
        (types::SortTarget::Version, SortOrder::Descend),
        (types::SortTarget::Version, SortOrder::Ascend),
    ] {
        let mut query = RangeQuery::of(KeyRange::all());
        (query.target, query.order) = (target, order);
        let (all, _) = keyspace.range(&query);
        query.limit = 25;
        let (page, _) = keyspace.range(&query);
        assert!(page.more && page.count == KEYS, "{target:?}");
        assert_eq!(page.kvs, all.kvs[..25], "{target:?}, {order:?}");
    }
}
