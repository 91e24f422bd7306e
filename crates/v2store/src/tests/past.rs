//! The history on disk: what is forgotten leaves nothing behind, and what is remembered comes back whole, also what a
//! file held that is gone.

use store::{Direction, Family, Span};
use types::v2::{Expiry, Path, Write};

use super::{Bench, after_ms, set};
use crate::history::HISTORY_EVENTS_MAX;
use crate::row::Damage;
use crate::{OpenError, V2Store, record, row};

/// How many rows of events there are.
fn rows(bench: &Bench) -> usize {
    let span = Span { lower: None, upper: Some(record::END.to_vec()) };
    let mut cursor = bench.store().scan(Family::V2, &span, Direction::Forward);
    let mut count = 0;
    while cursor.row().is_some() {
        count += 1;
        cursor.step();
    }
    cursor.finish().expect("no error");
    count
}

/// What is remembered is the same after a start.
fn check_reload(bench: &mut Bench) {
    let before = bench.past();
    bench.reload();
    assert_eq!(bench.past(), before);
}

#[test]
fn rows_go_when_their_last_event_is_forgotten() {
    let mut bench = Bench::new();
    let put = |number: usize| {
        set(["/a", "/b", "/c"][number % 3], ["v", "", "value"][number % 5 % 3], Expiry::Never)
    };
    for batch in 0..400 {
        let writes: Vec<Write> = (0..=batch % 13).map(put).collect();
        bench.apply_all(&writes, after_ms(0));
        if batch % 50 == 0 {
            check_reload(&mut bench);
        }
    }
    check_reload(&mut bench);
    let (oldest, events) = bench.past();
    assert_eq!((oldest + HISTORY_EVENTS_MAX - 1, events.len()), (bench.v2.index(), 1000));
    // A batch has seven writes, taken all in all.
    assert!((140..150).contains(&rows(&bench)), "{} rows", rows(&bench));
    (0..1000).for_each(|number| drop(bench.apply(&put(number), after_ms(0))));
    assert_eq!(rows(&bench), 1000, "a write that comes alone has a row of its own");
    check_reload(&mut bench);
}

#[test]
fn of_a_great_expiry_one_row_is_left() {
    let mut bench = Bench::new();
    for batch in 0..30 {
        let path = |number| format!("/d{batch}/{number}");
        let writes: Vec<Write> =
            (0..100).map(|number| set(&path(number), "v", Expiry::At(after_ms(number)))).collect();
        bench.apply_all(&writes, after_ms(0));
    }
    let expire = Write::Expire { now: after_ms(60), nodes_max: u64::MAX };
    assert_eq!(bench.apply(&expire, after_ms(60)).expect("never refused").len(), 61 * 30);
    assert_eq!(rows(&bench), 1);
    check_reload(&mut bench);
    bench.apply(&set("/a", "v", Expiry::Never), after_ms(60)).expect("set");
    check_reload(&mut bench);
}

#[test]
fn what_a_file_held_that_went_with_its_directory_is_told_to_who_asks_later() {
    let mut bench = Bench::new();
    let below = |value| set("/a/b/c", value, Expiry::Never);
    let delete = Write::Delete { path: Path::clean("/a"), dir: true, recursive: true };
    bench.apply_all(&[below("first")], after_ms(0));
    bench.apply_all(&[below("second"), delete.clone(), below("third"), delete], after_ms(0));
    bench.apply_all(&[below("fourth")], after_ms(0));
    bench.restart();
    let (_, events) = bench.past();
    let values: Vec<_> = events.iter().filter_map(|event| event.node.value.as_deref()).collect();
    assert_eq!(values, [&b"first"[..], b"second", b"third", b"fourth"]);
    check_reload(&mut bench);
}

#[test]
fn events_of_the_earlier_form_are_read_and_go_when_they_are_forgotten() {
    let mut bench = Bench::new();
    bench.apply(&set("/dir/file", "value", Expiry::Never), after_ms(0)).expect("set");
    bench.apply(&set("/dir-1", "", Expiry::At(after_ms(1))), after_ms(0)).expect("set");
    let (_, events) = bench.past();
    let mut batch = bench.store().batch();
    batch.delete_range(Family::V2, &record::key(0), &record::END);
    // As that version wrote them, without their checksums.
    let one =
        b"\0\0\0\0\0\0\0\0\0\x04\0\0\0\t/dir/file\x01\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\x04\0\0\0\x05value";
    let two = b"\0\0\0\0\0\0\0\0\0\x05\0\0\0\x06/dir-1\x05\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x05\
        \x18\xe9\x97\xc5D\xb6B@\0\0\0\0\0\0\0\x01\0\0\0\0";
    for (key, row) in [([0, 0, 4], &one[..]), ([0, 0, 5], &two[..])] {
        row::Rows::new(&mut batch).put_events(&key, row.to_vec());
    }
    bench.store().write(batch).expect("write");
    bench.reload();
    assert_eq!(bench.past(), (1, events));
    bench.apply(&set("/dir/file", "after", Expiry::Never), after_ms(0)).expect("set");
    assert_eq!(rows(&bench), 3);
    check_reload(&mut bench);
    for _ in 0..999 {
        bench.apply(&set("/b", "v", Expiry::Never), after_ms(0)).expect("set");
    }
    assert_eq!(rows(&bench), 1000);
    check_reload(&mut bench);
}

/// Changes the rows after two events, and tells why that is refused.
fn check_refused(key: &[u8], row: Option<Vec<u8>>, expect: Damage) {
    let bench = Bench::new();
    bench.apply(&set("/a", "v", Expiry::Never), after_ms(0)).expect("set");
    bench.apply(&set("/b", "v", Expiry::Never), after_ms(0)).expect("set");
    let mut batch = bench.store().batch();
    let mut rows = row::Rows::new(&mut batch);
    match row {
        Some(row) => rows.put_events(key, row),
        None => rows.remove_events(key),
    }
    bench.store().write(batch).expect("write");
    match V2Store::open(bench.store()).err() {
        Some(OpenError::Damaged { damage, .. }) => assert_eq!(damage, expect),
        other => panic!("expected {expect:?}, not {other:?}"),
    }
}

#[test]
fn a_history_that_no_writer_leaves_stops_the_start() {
    let (_, events) = {
        let bench = Bench::new();
        bench.apply(&set("/c", "v", Expiry::Never), after_ms(0)).expect("set");
        bench.past()
    };
    let row = || record::encode(events.iter(), &[]);
    check_refused(&record::key(5), None, Damage::Index);
    check_refused(&record::key(6), Some(row()), Damage::Index);
    check_refused(&record::key(5), Some([row(), vec![0xff]].concat()), Damage::Flags);
    check_refused(&record::key(5), Some(row()), Damage::Lost);
    check_refused(&record::key(5), Some(vec![0]), Damage::Short);
    check_refused(&[0, 9], Some(row()), Damage::Key);
    check_refused(&[0, 3, 1], Some(row()), Damage::Short);
    // Without any row nothing is remembered, but half of it is not there by itself.
    check_refused(b"/a/", None, Damage::Lost);
}
