//! Readers, the writer and the sweep at the same time.
//!
//! The writer moves one mark along a ring of keys: every request deletes the mark and puts it elsewhere, so that a
//! reader who saw part of a request would count one key too few or too many, and a reader whose rows went away
//! would fail.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use bytes::Bytes;
use mvcc::{Mvcc, ReadError};
use store::{Options, Store};
use types::{DeleteRange, Key, KeyRange, LeaseId, Put, RangeQuery, SortOrder, Txn, TxnOp};

/// More than one chunk, so that the index moves on under a reader.
const KEYS: u64 = 2_500;
/// The writer goes on until the readers have read so often.
const READS: u64 = 300;
/// The writer waits for the readers when it is so many requests ahead for each of their reads: dead rows that
/// RocksDB has not dropped yet would make each read slower than the one before.
const REQUESTS_PER_READ: u64 = 16;
const REQUESTS_PER_COMPACTION: u64 = 16;

fn key(number: u64) -> Key {
    Key::new(format!("key-{number:06}").into()).expect("not empty")
}

fn put(number: u64) -> Put {
    let value = Bytes::from(number.to_string());
    Put {
        key: key(number),
        value,
        lease: LeaseId::NONE,
        prev_kv: false,
        ignore_value: false,
        ignore_lease: false,
    }
}

fn write(mvcc: &Mvcc, store: &Store, txn: &Txn, compact: Option<i64>) {
    let mut writer = mvcc.begin();
    writer.txn(txn).expect("txn");
    if let Some(revision) = compact {
        writer.compact(revision).expect("compact");
    }
    let mut batch = store.batch();
    writer.stage(&mut batch);
    store.write(batch).expect("write");
    writer.publish();
}

/// All keys but the one that is marked by its absence, each with its own value, in any way of reading.
fn read(mvcc: &Mvcc, turn: u64) {
    let mut query = RangeQuery::of(KeyRange::all());
    query.order = if turn.is_multiple_of(2) { SortOrder::None } else { SortOrder::Descend };
    if turn.is_multiple_of(3) {
        query.at = Some(mvcc.revision());
    }
    match mvcc.range(&query) {
        Ok((_, reply)) => {
            assert_eq!((reply.count, reply.kvs.len() as u64), (KEYS - 1, KEYS - 1), "{query:?}");
            for kv in &reply.kvs {
                let number: u64 = std::str::from_utf8(&kv.value).expect("text").parse().expect("a number");
                assert_eq!(key(number).as_bytes(), &kv.key);
            }
        }
        // It was asked for by number, and history went on before it was read.
        Err(ReadError::Compacted) => assert!(query.at.is_some(), "the present is never compacted"),
        Err(error) => panic!("{error}"),
    }
    let one = mvcc.range(&RangeQuery::of(KeyRange::single(key(turn % KEYS)))).expect("a single read");
    assert!(one.1.count <= 1 && one.1.kvs.len() as u64 == one.1.count);
}

/// Says that all is over when it is dropped.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn nobody_sees_part_of_a_request_nor_misses_a_row() {
    let store = Arc::new(Store::open(Path::new("/together"), &Options::in_memory()).expect("open"));
    let mvcc = Mvcc::open(Arc::clone(&store)).expect("open");
    let all = Txn { success: (1..KEYS).map(|number| TxnOp::Put(put(number))).collect(), ..Txn::default() };
    write(&mvcc, &store, &all, None);
    let (over, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for reader in 0..2 {
            let (mvcc, over, reads) = (&mvcc, &over, &reads);
            scope.spawn(move || {
                let mut turn = reader;
                // A reader that fails ends the test, not only itself.
                let _ended = Ended(over);
                while !over.load(Ordering::Acquire) {
                    read(mvcc, turn);
                    turn += 1;
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                mvcc.sweep(64).expect("sweep");
            }
        });
        for number in 0.. {
            if reads.load(Ordering::Relaxed) >= READS || over.load(Ordering::Acquire) {
                break;
            }
            while number > (reads.load(Ordering::Relaxed) + 1) * REQUESTS_PER_READ
                && !over.load(Ordering::Acquire)
            {
                thread::yield_now();
            }
            // The key that is absent comes back, its neighbour goes.
            let back = TxnOp::Put(put(number % KEYS));
            let away = KeyRange::single(key((number + 1) % KEYS));
            let away = TxnOp::Delete(DeleteRange { range: away, prev_kv: false });
            let compact = (number % REQUESTS_PER_COMPACTION == 0).then(|| mvcc.revision().to_wire());
            write(&mvcc, &store, &Txn { success: vec![back, away], ..Txn::default() }, compact);
        }
        over.store(true, Ordering::Release);
    });
    while !mvcc.sweep(1_000).expect("sweep").done {}
    let reopened = Mvcc::open(store).expect("open");
    assert_eq!(reopened.hash_kv(None).expect("hash"), mvcc.hash_kv(None).expect("hash"));
    assert_eq!(reopened.key_count(), KEYS - 1);
}
