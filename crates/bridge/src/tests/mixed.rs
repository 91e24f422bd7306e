//! Keys that v3's clients make, as v2 sees them, and what v2 leaves alone.

use types::v2::{Action, Condition, code};

use super::*;

const NOW: Timestamp = Timestamp(1_700_000_000_000_000_000);

fn listing(bench: &Bench, path: &str) -> Vec<(String, Option<String>)> {
    fn flat(node: &types::v2::Node, into: &mut Vec<(String, Option<String>)>) {
        let value = node.value.as_ref().map(|value| String::from_utf8_lossy(value).into_owned());
        into.push((node.key.clone(), value));
        node.nodes.iter().for_each(|node| flat(node, into));
    }
    let mut all = Vec::new();
    flat(&bench.get(path, true, NOW).expect("there").node, &mut all);
    all
}

fn names(listing: &[(String, Option<String>)]) -> Vec<&str> {
    listing.iter().map(|(name, _)| name.as_str()).collect()
}

fn refused(result: Result<Event, Refusal>) -> (u16, String) {
    let refusal = result.expect_err("refused");
    (refusal.code, refusal.cause)
}

#[test]
fn a_directory_hides_the_value_at_its_path_and_nobody_removes_it() {
    let mut bench = Bench::new();
    bench.put("/reg/a", "value");
    assert_eq!(listing(&bench, "/a"), [("/a".to_owned(), Some("value".to_owned()))]);
    // v2 keeps to its own rule.
    assert_eq!(refused(bench.write(&set("/a/b", "x"), NOW)), (code::NOT_A_DIRECTORY, "/a".to_owned()));
    bench.put("/reg/a/b", "below");
    bench.put("/reg/a/b/c", "deep");
    bench.put("/reg/a-b", "beside");
    assert_eq!(names(&listing(&bench, "/")), ["", "/a", "/a/b", "/a/b/c", "/a-b"]);
    assert_eq!(refused(bench.write(&set("/a", "x"), NOW)), (code::NOT_A_FILE, "/a".to_owned()));
    assert_eq!(
        refused(bench.write(&delete("/a", true, false), NOW)),
        (code::DIRECTORY_NOT_EMPTY, "/a".to_owned())
    );
    let event = bench.write(&delete("/a", true, true), NOW).expect("removed");
    assert_eq!((event.node.key.as_str(), event.node.dir, event.index), ("/a", true, 8));
    let left = [("a", "value"), ("a-b", "beside"), ("a/b", "below")];
    assert_eq!(bench.keys(), left.map(|(key, value)| (key.to_owned(), value.to_owned())));
    assert_eq!(names(&listing(&bench, "/")), ["", "/a", "/a/b", "/a-b"]);
    bench.write(&delete("/a/b", false, false), NOW).expect("a file now");
    assert_eq!(names(&listing(&bench, "/")), ["", "/a", "/a-b"]);
}

#[test]
fn odd_keys_are_neither_shown_nor_counted_nor_touched() {
    let mut bench = Bench::new();
    let odd: [&[u8]; 7] =
        [b"/reg/", b"/reg//x", b"/reg/d//x", b"/reg/d/../x", b"/reg/d/.", b"/reg/d/\xff", b"/reg/d/x//"];
    for key in odd {
        bench.edit(key, Some("odd"));
    }
    assert_eq!(names(&listing(&bench, "/")), [""]);
    assert!(is_empty(&bench.layout, &bench.mvcc, &bench.leases).expect("readable"));
    assert_eq!(refused(bench.get("/d", false, NOW)), (code::KEY_NOT_FOUND, "/d".to_owned()));
    bench.write(&set("/d/x", "even"), NOW).expect("set");
    assert_eq!(names(&listing(&bench, "/")), ["", "/d", "/d/x"]);
    bench.write(&delete("/d", true, true), NOW).expect("removed");
    assert_eq!(names(&listing(&bench, "/")), [""]);
    assert_eq!(bench.keys().len(), odd.len());
    assert_eq!(bench.told(4, 10).len(), 2, "only what v2 did is told");
}

#[test]
fn what_v3_does_is_told_to_v2_in_order_and_compares() {
    let mut bench = Bench::new();
    bench.put("/reg/a", "1");
    bench.put("/reg/a", "2");
    let swap = |index| Write::CompareAndSwap {
        path: Path::clean("/a"),
        condition: Condition { prev_value: Some("2".into()), prev_index: Some(index) },
        value: "3".into(),
        expiry: Expiry::Never,
        refresh: false,
    };
    assert_eq!(refused(bench.write(&swap(4), NOW)), (code::COMPARE_FAILED, "[4 != 5]".to_owned()));
    let event = bench.write(&swap(5), NOW).expect("swapped");
    assert_eq!((event.node.created_index, event.node.modified_index, event.index), (4, 6, 6));
    bench.edit(b"/reg/a", None);
    bench.in_room(|room| {
        let edit = |key: &'static [u8], value: &'static str| Edit {
            key: key.into(),
            content: Some((value.into(), LeaseId::NONE)),
            note: Note::default(),
        };
        room.edit(vec![edit(b"/reg/d/", ""), edit(b"/reg/d/x", "1"), edit(b"/reg/d/y", "2")], &[])
    });
    let heard = |events_max| {
        let told = bench.told(4, events_max);
        let tell = |event: &Arc<Event>| {
            let value = |node: &types::v2::Node| {
                node.value.as_ref().map(|value| String::from_utf8_lossy(value).into_owned())
            };
            let before = event.prev_node.as_ref().and_then(value);
            (event.index, event.action, event.node.key.clone(), value(&event.node), before)
        };
        told.iter().map(tell).collect::<Vec<_>>()
    };
    let value = |value: &str| Some(value.to_owned());
    let expect = vec![
        (4, Action::Set, "/a".to_owned(), value("1"), None),
        (5, Action::Set, "/a".to_owned(), value("2"), value("1")),
        (6, Action::CompareAndSwap, "/a".to_owned(), value("3"), value("2")),
        (7, Action::Delete, "/a".to_owned(), None, value("3")),
        (8, Action::Set, "/d/x".to_owned(), value("1"), None),
        (8, Action::Set, "/d/y".to_owned(), value("2"), None),
    ];
    assert_eq!((heard(1), heard(2), heard(100)), (expect.clone(), expect.clone(), expect));
}

#[test]
fn a_lease_of_v3_shows_as_time_to_live_and_stays_when_v2_lets_go_of_it() {
    let mut bench = Bench::new();
    let terms = lease::Terms { ttl: 30, ..lease::Terms::default() };
    bench.in_room(|room| {
        room.leases.apply_grant(LeaseId(7), terms, room.batch).expect("granted");
        let content = Some(("v".into(), LeaseId(7)));
        room.edit(vec![Edit { key: "/reg/a".into(), content, note: Note::default() }], &[])
    });
    let node = bench.get("/a", false, NOW).expect("there").node;
    assert_eq!((node.ttl, node.expiration), (30, Some(Timestamp(NOW.0 + 30_000_000_000))));
    let event = bench.write(&set("/a", "w"), NOW).expect("set");
    assert_eq!((event.node.ttl, event.node.expiration), (0, None));
    assert!(bench.leases.contains(LeaseId(7)) && bench.leases.key_count(LeaseId(7)) == 0);
}

#[test]
fn what_is_forgotten_is_refused_and_ids_of_leases_step_aside() {
    let mut bench = Bench::new();
    let terms = lease::Terms { ttl: 30, ..lease::Terms::default() };
    bench.in_room(|room| room.leases.apply_grant(LeaseId(1000), terms, room.batch).expect("granted"));
    let expiry = Expiry::after(NOW, 5);
    let write = Write::Set { path: Path::clean("/a"), value: "v".into(), dir: false, expiry, refresh: false };
    bench.write(&write, NOW).expect("set");
    assert_eq!(bench.leases.keys(LeaseId(1001)), [Bytes::from_static(b"/reg/a")]);
    bench.in_room(|room| room.writer.compact(4).expect("compacted"));
    let refusal = bench.news(NOW).seek(3, 0, 10, &|_| true).expect("readable").expect_err("forgotten");
    let expect =
        Refusal { code: 401, cause: "the requested history has been cleared [4/3]".to_owned(), index: 4 };
    assert_eq!(refusal, expect);
}
