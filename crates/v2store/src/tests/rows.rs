//! What lies on disk, what damage does to it, and the limits that keep it walkable.

use store::{Direction, Family, Span};
use types::v2::{Expiry, Get, PATH_DEPTH_MAX, Path, Write, code};

use super::{Bench, after_ms, set};
use crate::node::{Content, Node};
use crate::row::{Damage, decode, decode_index, decode_key};
use crate::{OpenError, V2Store};

/// The rows of a family, as text with the bytes that are none escaped.
fn rows(bench: &Bench, family: Family) -> Vec<String> {
    let mut cursor = bench.store().scan(family, &Span::default(), Direction::Forward);
    let mut rows = Vec::new();
    while let Some((key, value)) = cursor.row() {
        rows.push(format!("{} = {}", key.escape_ascii(), value.escape_ascii()));
        cursor.step();
    }
    cursor.finish().expect("no error");
    rows
}

#[test]
fn rows_lie_as_the_formats_say() {
    let bench = Bench::new();
    bench.apply(&set("/dir/file", "value", Expiry::Never), after_ms(0)).expect("set");
    bench.apply(&set("/dir-1", "", Expiry::At(after_ms(1))), after_ms(0)).expect("set");
    let golden = include_str!("../../tests/golden/rows.txt");
    let expect: Vec<&str> = golden.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!([rows(&bench, Family::V2), rows(&bench, Family::Meta)].concat(), expect);
}

#[test]
fn a_subtree_is_one_span_and_takes_nothing_else_with_it() {
    let mut bench = Bench::new();
    let kept = ["/a!/x", "/a.", "/a0/x", "/aa/x", "/a\u{0}/x", "/b"];
    let gone = ["/a/x", "/a/\u{0}", "/a/0/y", "/a/~/z", "/a/\u{10ffff}"];
    for path in kept.iter().chain(&gone) {
        bench.apply(&set(path, "v", Expiry::At(after_ms(9000))), after_ms(0)).expect("set");
    }
    let delete = Write::Delete { path: Path::clean("/a"), dir: true, recursive: true };
    bench.apply(&delete, after_ms(0)).expect("delete");
    bench.restart();
    let get = |path: &str| {
        bench.v2.get(&Get { path: Path::clean(path), recursive: false, sorted: true }, after_ms(0))
    };
    for path in gone {
        assert_eq!(get(path).map_err(|refusal| refusal.cause), Err("/a".to_owned()), "{path:?}");
    }
    for path in kept {
        assert!(get(path).is_ok(), "{path:?}");
    }
    let events = bench
        .apply(&Write::Expire { now: after_ms(9000), nodes_max: u64::MAX }, after_ms(9000))
        .expect("never refused");
    assert_eq!(events.len(), kept.len(), "what was deleted is not due any more");
    assert_eq!(bench.v2.next_expiry(), None);
}

#[test]
fn what_is_due_goes_in_the_order_of_time_and_then_of_paths() {
    let bench = Bench::new();
    for (path, at_ms) in [("/b", 2), ("/d", 1), ("/a", 2), ("/c", 3), ("/e", 4)] {
        bench.apply(&set(path, "v", Expiry::At(after_ms(at_ms))), after_ms(0)).expect("set");
    }
    assert_eq!(bench.v2.next_expiry(), Some(after_ms(1)));
    let events = bench
        .apply(&Write::Expire { now: after_ms(3), nodes_max: u64::MAX }, after_ms(99))
        .expect("never refused");
    let gone: Vec<_> = events.iter().map(|event| (event.node.key.as_str(), event.index)).collect();
    assert_eq!(gone, [("/d", 9), ("/a", 10), ("/b", 11), ("/c", 12)]);
    assert_eq!(bench.v2.next_expiry(), Some(after_ms(4)));
    assert_eq!(
        bench.apply(&Write::Expire { now: after_ms(3), nodes_max: u64::MAX }, after_ms(3)),
        Ok(Vec::new())
    );
    assert_eq!(bench.v2.index(), 12, "an expiry of nothing takes no index");
}

#[test]
fn what_is_overdue_is_there_until_the_expiry_comes_and_counts_below_zero() {
    let bench = Bench::new();
    bench.apply(&set("/a", "v", Expiry::At(after_ms(1000))), after_ms(0)).expect("set");
    let left = |ms: i64| {
        let get = Get { path: Path::clean("/a"), recursive: false, sorted: false };
        bench.v2.get(&get, after_ms(ms)).expect("it is there").node.ttl
    };
    assert_eq!([0, 1, 999, 1000, 1999, 2000, 3500].map(left), [1, 1, 1, 0, 0, -1, -2]);
}

#[test]
fn a_path_may_be_as_deep_as_the_limit_and_no_deeper() {
    let mut bench = Bench::new();
    let deepest = "/a".repeat(PATH_DEPTH_MAX);
    bench.apply(&set(&deepest, "v", Expiry::At(after_ms(1))), after_ms(0)).expect("at the limit");
    let below = Path::clean(&format!("/b{deepest}"));
    let writes = [
        Write::Create {
            path: below.clone(),
            value: "v".into(),
            dir: true,
            expiry: Expiry::Never,
            in_order: false,
        },
        Write::Create {
            path: Path::clean(&"/q".repeat(PATH_DEPTH_MAX)),
            value: "v".into(),
            dir: false,
            expiry: Expiry::Never,
            in_order: true,
        },
        set(below.as_str(), "v", Expiry::Never),
    ];
    for write in writes {
        let refusal = bench.apply(&write, after_ms(0)).expect_err("beyond the limit");
        assert_eq!((refusal.code, refusal.index), (code::INVALID_FIELD, 4));
    }
    bench.restart();
    let root = Get { path: Path::clean("/"), recursive: true, sorted: true };
    let mut node = bench.v2.get(&root, after_ms(0)).expect("the root").node;
    let mut depth = 0;
    while let Some(child) = node.nodes.pop() {
        node = child;
        depth += 1;
    }
    assert_eq!((depth, node.key), (PATH_DEPTH_MAX, deepest));
    let top = Write::Delete { path: Path::clean("/a"), dir: true, recursive: true };
    bench.apply(&top, after_ms(0)).expect("delete");
    let nodes = rows(&bench, Family::V2).into_iter().filter(|row| row.starts_with('/'));
    assert_eq!(nodes.count(), 0);
}

#[test]
fn every_flipped_bit_of_a_row_is_found() {
    let bench = Bench::new();
    bench.apply(&set("/a", "value", Expiry::At(after_ms(1))), after_ms(0)).expect("set");
    let good = bench.store().get(Family::V2, b"/a/").expect("read").expect("there").to_vec();
    let node = Node::new(4, Expiry::At(after_ms(1)), Content::file(&"value".into()));
    assert_eq!(decode(b"/a/", &good), Ok(node));
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(decode(b"/a/", &bad), Err(Damage::Checksum), "bit {bit}");
    }
    assert_eq!(decode(b"/b/", &good), Err(Damage::Checksum), "a row under another key");
    for length in 0..good.len() {
        assert!(decode(b"/a/", &good[..length]).is_err(), "cut to {length}");
        assert!(decode_index(&good[..length]).is_err(), "cut to {length}");
    }
    for key in ["", "/", "a/", "/a", "a"] {
        assert_eq!(decode_key(key.as_bytes()), Err(Damage::Key), "{key:?}");
    }
}

/// Writes the row of a file at `/x/y` into an empty database, changed in a way, and tells why that is refused.
fn check_refused(key: &[u8], index: Option<u64>, created_index: u64, expect: Damage) {
    let bench = Bench::new();
    let mut batch = bench.store().batch();
    let mut node = Node::new(4, Expiry::Never, Content::file(&"v".into()));
    node.created_index = created_index;
    let path = std::str::from_utf8(key).expect("text").strip_suffix('/').expect("a slash at its end");
    let mut rows = crate::row::Rows::new(&mut batch);
    rows.put(path, &node);
    if let Some(index) = index {
        rows.put_index(index);
    }
    bench.store().write(batch).expect("write");
    match V2Store::open(bench.store()).err() {
        Some(OpenError::Damaged { damage, .. }) => assert_eq!(damage, expect),
        other => panic!("expected {expect:?}, not {other:?}"),
    }
}

#[test]
fn rows_that_no_writer_leaves_stop_the_start() {
    check_refused(b"/x/y/", Some(4), 4, Damage::Orphan);
    check_refused(b"/x/", Some(3), 4, Damage::Index);
    check_refused(b"/x/", None, 4, Damage::Index);
    check_refused(b"/x/", Some(9), 5, Damage::Index);
    check_refused(b"/x//y/", Some(4), 4, Damage::Key);
    check_refused(b"/x/../y/", Some(4), 4, Damage::Key);
    let too_deep = format!("{}/", "/x".repeat(PATH_DEPTH_MAX + 1));
    check_refused(too_deep.as_bytes(), Some(4), 4, Damage::Key);
}
