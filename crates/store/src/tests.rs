//! The promises that the rest of the house builds on.

use super::*;

fn open(options: &Options, path: &Path) -> Store {
    Store::open(path, options).expect("open")
}

#[test]
fn unflushed_batches_are_lost_whole_and_flushed_ones_stay() {
    let folder = tempfile::tempdir().expect("folder");
    let options = Options::default();
    let store = open(&options, folder.path());
    let mut batch = store.batch();
    batch.put(Family::Keys, b"a", b"1");
    batch.put(Family::Meta, b"applied", b"1");
    store.write(batch).expect("write");
    store.flush().expect("flush");
    let mut batch = store.batch();
    batch.put(Family::Keys, b"a", b"2");
    batch.put(Family::Meta, b"applied", b"2");
    store.write(batch).expect("write");
    assert_eq!(store.get_flushed(Family::Meta, b"applied").expect("get").as_deref(), Some(&b"1"[..]));
    assert_eq!(store.get(Family::Meta, b"applied").expect("get").as_deref(), Some(&b"2"[..]));

    // A copy of the files is what a crash would leave. Dropping the store would do if RocksDB did not flush.
    let crashed = tempfile::tempdir().expect("folder");
    for entry in std::fs::read_dir(folder.path()).expect("list") {
        let entry = entry.expect("entry");
        std::fs::copy(entry.path(), crashed.path().join(entry.file_name())).expect("copy");
    }
    let store = open(&options, crashed.path());
    assert_eq!(store.get(Family::Keys, b"a").expect("get").as_deref(), Some(&b"1"[..]));
    assert_eq!(store.get(Family::Meta, b"applied").expect("get").as_deref(), Some(&b"1"[..]));
}

#[test]
fn cursors_keep_to_their_span_and_moment() {
    let folder = tempfile::tempdir().expect("folder");
    let store = open(&Options::default(), folder.path());
    let mut batch = store.batch();
    for key in [b"a", b"b", b"c", b"d"] {
        batch.put(Family::Revisions, key, key);
    }
    store.write(batch).expect("write");
    let span = Span { lower: Some(b"b".to_vec()), upper: Some(b"d".to_vec()) };
    let mut cursor = store.scan(Family::Revisions, &span, Direction::Forward);
    let mut batch = store.batch();
    batch.put(Family::Revisions, b"bb", b"late");
    store.write(batch).expect("write");
    let mut seen = Vec::new();
    while let Some(key) = cursor.key() {
        seen.push(key.to_vec());
        cursor.step();
    }
    cursor.finish().expect("no error");
    assert_eq!(seen, [b"b".to_vec(), b"c".to_vec()]);
    let mut backward = store.scan(Family::Revisions, &span, Direction::Backward);
    assert_eq!(backward.key(), Some(&b"c"[..]));
    backward.seek(b"bb");
    assert_eq!(backward.key(), Some(&b"bb"[..]));
}

#[test]
fn files_in_memory_survive_a_restart_of_the_store() {
    let options = Options::in_memory();
    let path = Path::new("/restart");
    let store = open(&options, path);
    let mut batch = store.batch();
    batch.put(Family::V2, b"k", b"v");
    store.write(batch).expect("write");
    store.flush().expect("flush");
    store.close();
    let store = open(&options, path);
    assert_eq!(store.get(Family::V2, b"k").expect("get").as_deref(), Some(&b"v"[..]));
}

#[test]
fn a_dropped_store_leaves_what_was_flushed() {
    let options = Options::in_memory();
    let path = Path::new("/dropped");
    let store = open(&options, path);
    for (value, flush) in [(b"1", true), (b"2", false)] {
        let mut batch = store.batch();
        batch.put(Family::Keys, b"k", value);
        store.write(batch).expect("write");
        if flush {
            store.flush().expect("flush");
        }
    }
    drop(store);
    let store = open(&options, path);
    assert_eq!(store.get(Family::Keys, b"k").expect("get").as_deref(), Some(&b"1"[..]));
}

#[test]
fn a_moment_sees_no_later_write() {
    let store = open(&Options::in_memory(), Path::new("/moment"));
    let write = |value: &[u8]| {
        let mut batch = store.batch();
        batch.put(Family::Keys, b"k", value);
        store.write(batch).expect("write");
    };
    write(b"1");
    let moment = store.moment();
    write(b"2");
    assert_eq!(moment.get(Family::Keys, b"k").expect("get").as_deref(), Some(&b"1"[..]));
    let cursor = moment.scan(Family::Keys, &Span::default(), Direction::Forward);
    assert_eq!(cursor.row(), Some((&b"k"[..], &b"1"[..])));
}

#[test]
fn effort_counts_lookups_and_steps() {
    let store = open(&Options::in_memory(), Path::new("/effort"));
    let mut batch = store.batch();
    for key in 0..100_u8 {
        batch.put(Family::Keys, &[key], b"v");
    }
    store.write(batch).expect("write");
    let (found, effort) = Effort::of(|| store.get(Family::Keys, &[7]).expect("get").is_some());
    assert!(found && effort.gets == 1 && effort.total() == 1, "{effort:?}");
    let ((), effort) = Effort::of(|| {
        let mut cursor = store.scan(Family::Keys, &Span::default(), Direction::Forward);
        for _ in 0..50 {
            cursor.step();
        }
    });
    assert!((50..60).contains(&effort.total()), "{effort:?}");
}

#[test]
fn a_compaction_in_steps_keeps_what_is_there() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let store = Store::open(folder.path(), &Options::default()).expect("opens");
    for round in 0..3_u8 {
        let mut batch = store.batch();
        for row in 0..1000_u32 {
            if row % 2 == 0 || round < 2 {
                batch.put(Family::Keys, &row.to_be_bytes(), &[round; 100]);
            } else {
                batch.delete(Family::Keys, &row.to_be_bytes());
            }
        }
        store.write(batch).expect("written");
        store.flush().expect("flushed");
    }
    let before = store.size_bytes();
    for family in Family::ALL {
        let steps = store.compaction_steps(family);
        assert_eq!((&steps[0].lower, &steps[steps.len() - 1].upper), (&None, &None));
        for step in &steps {
            store.compact(family, step);
        }
    }
    assert!(store.size_bytes() < before, "{} bytes, {before} before", store.size_bytes());
    let rows = |store: &Store| {
        let mut cursor = store.scan(Family::Keys, &Span::default(), Direction::Forward);
        let mut count = 0;
        while let Some((_, value)) = cursor.row() {
            assert_eq!(value, [2; 100]);
            count += 1;
            cursor.step();
        }
        count
    };
    assert_eq!(rows(&store), 500);

    let copy = folder.path().join("copy");
    store.checkpoint(&copy).expect("copied");
    let names = || std::fs::read_dir(&copy).expect("there").count();
    let files = names();
    let reader = Store::open_to_read(&copy, &Options::default()).expect("opens");
    assert_eq!((rows(&reader), names()), (500, files));
    assert!(
        reader
            .write({
                let mut batch = reader.batch();
                batch.put(Family::Keys, b"a", b"b");
                batch
            })
            .is_err()
    );
}
