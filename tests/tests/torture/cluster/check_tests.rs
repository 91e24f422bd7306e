//! The check sees each kind of violation, and passes what is allowed.

use std::time::Duration;

use super::check::check;
use super::history::{Act, Operation, Outcome};

/// An operation on key 0, from one millisecond to another.
fn one(act: Act, outcome: Outcome, began: u64, ended: u64) -> Operation {
    let (began, ended) = (Duration::from_millis(began), Duration::from_millis(ended));
    Operation { client: 0, key: 0, act, outcome, began, ended }
}

fn put(value: &str, at: i64, began: u64, ended: u64) -> Operation {
    one(Act::Put(value.to_owned()), Outcome::Written(at), began, ended)
}

fn lost_put(value: &str, began: u64) -> Operation {
    one(Act::Put(value.to_owned()), Outcome::Unknown, began, began + 1)
}

fn swap(expected: i64, value: &str, at: i64, began: u64) -> Operation {
    one(Act::Swap(expected, value.to_owned()), Outcome::Written(at), began, began + 1)
}

fn get(at: i64, seen: Option<(&str, i64)>, began: u64, ended: u64) -> Operation {
    let seen = seen.map(|(value, written)| (value.to_owned(), written));
    one(Act::Get, Outcome::Read(at, seen), began, ended)
}

fn remove(outcome: Outcome, began: u64) -> Operation {
    one(Act::Delete, outcome, began, began + 1)
}

#[test]
fn what_one_machine_could_do_passes() {
    let good: [&[Operation]; 7] = [
        &[get(1, None, 0, 1), put("a", 2, 2, 3), get(2, Some(("a", 2)), 4, 5)],
        // A read that overlaps a write sees either state.
        &[put("a", 2, 0, 1), put("b", 3, 2, 9), get(2, Some(("a", 2)), 3, 4)],
        &[put("a", 2, 0, 1), put("b", 3, 2, 9), get(3, Some(("b", 3)), 3, 4)],
        // A write without an answer happened late, or never.
        &[lost_put("a", 0), put("b", 2, 5, 6), get(3, Some(("a", 3)), 7, 8)],
        &[lost_put("a", 0), put("b", 2, 5, 6), put("c", 4, 7, 8)],
        &[put("a", 2, 0, 1), remove(Outcome::Unknown, 2), get(3, None, 4, 5), put("b", 4, 6, 7)],
        &[put("a", 2, 0, 1), swap(2, "b", 3, 2), remove(Outcome::Written(4), 4), swap(0, "c", 5, 6)],
    ];
    for history in good {
        check(history).unwrap_or_else(|error| panic!("{history:?}\nwas refused: {error:#}"));
    }
}

#[test]
fn each_kind_of_violation_is_seen() {
    let bad: [(&str, &[Operation]); 12] = [
        ("a stale read", &[put("a", 2, 0, 1), put("b", 3, 2, 3), get(2, Some(("a", 2)), 4, 5)]),
        ("a stale value", &[put("a", 2, 0, 1), put("b", 3, 2, 3), get(3, Some(("a", 2)), 4, 5)]),
        ("a lost write", &[put("a", 2, 0, 1), get(2, None, 2, 3)]),
        ("a value from nowhere", &[get(2, Some(("x", 2)), 0, 1)]),
        ("a revision used twice", &[put("a", 2, 0, 1), put("b", 2, 0, 1)]),
        ("a write before its time", &[put("a", 3, 0, 1), put("b", 2, 2, 3)]),
        ("a swap that should have failed", &[put("a", 2, 0, 1), put("b", 3, 2, 3), swap(2, "c", 4, 4)]),
        ("a swap of what was there", &[put("a", 2, 0, 1), swap(0, "c", 3, 4)]),
        (
            "a removed value is back",
            &[
                put("a", 2, 0, 1),
                remove(Outcome::Unknown, 2),
                get(3, None, 4, 5),
                get(4, Some(("a", 2)), 6, 7),
            ],
        ),
        (
            "a write done twice",
            &[
                lost_put("a", 0),
                get(2, Some(("a", 2)), 2, 3),
                put("b", 3, 4, 5),
                get(4, Some(("a", 4)), 6, 7),
            ],
        ),
        ("reads that go back", &[lost_put("a", 0), get(2, Some(("a", 2)), 4, 5), get(1, None, 6, 7)]),
        ("a revision that nobody made", &[put("a", 2, 0, 1), put("b", 4, 2, 3)]),
    ];
    for (what, history) in bad {
        assert!(check(history).is_err(), "{what} was not seen");
    }
}
