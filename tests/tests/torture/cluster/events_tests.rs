//! The check of what watchers saw sees each kind of violation, and passes what is right.

use std::time::Duration;

use super::events::{Seen, check};
use super::history::{Act, Operation, Outcome};

/// Puts a key twice, removes it, puts it again; then the same with two others beside it.
fn story() -> Vec<Seen> {
    let put = |value: &str, at, created, version, before: Option<(&str, i64)>| Seen {
        key: "key-1".to_owned(),
        value: Some(value.to_owned()),
        at,
        created,
        version,
        before: before.map(|(value, at)| (value.to_owned(), at)),
    };
    let removal = Seen {
        value: None,
        created: 0,
        version: 0,
        before: Some(("b".to_owned(), 3)),
        ..put("", 4, 0, 0, None)
    };
    let part = |event: Seen, number| Seen { key: format!("key-1/{number}"), ..event };
    let made = put("d+2", 6, 6, 1, None);
    let gone = Seen { at: 7, before: Some(("d+2".to_owned(), 6)), ..removal.clone() };
    vec![
        put("a", 2, 2, 1, None),
        put("b", 3, 2, 2, Some(("a", 2))),
        removal,
        put("c", 5, 5, 1, None),
        Seen { created: 5, version: 2, before: Some(("c".to_owned(), 5)), ..made.clone() },
        part(made.clone(), 0),
        part(made, 1),
        gone.clone(),
        part(gone.clone(), 0),
        part(gone, 1),
    ]
}

fn written(act: Act, at: i64) -> Operation {
    let now = Duration::ZERO;
    Operation { client: 0, key: 1, act, outcome: Outcome::Written(at), began: now, ended: now }
}

#[test]
fn what_is_right_passes() {
    let operations = [written(Act::Put("a".to_owned()), 2), written(Act::Delete, 4)];
    check(&story(), 7, &operations).expect("it is what happened");
}

#[test]
fn what_is_wrong_is_seen() {
    let refused = |change: fn(&mut Vec<Seen>)| {
        let mut events = story();
        change(&mut events);
        check(&events, 7, &[written(Act::Put("b".to_owned()), 3)]).is_err()
    };
    assert!(refused(|events| drop(events.remove(1))), "an event is missing");
    assert!(refused(|events| drop(events.pop())), "the last event is missing");
    assert!(refused(|events| events.insert(1, events[0].clone())), "an event came twice");
    assert!(refused(|events| events.swap(0, 1)), "two events came in the wrong order");
    assert!(refused(|events| drop(events.remove(5))), "one key of a transaction is missing");
    assert!(refused(|events| events.swap(5, 6)), "keys of a transaction came in another order");
    assert!(refused(|events| drop(events.remove(8))), "one key of a removal is missing");
    assert!(
        refused(|events| events[6].before = Some(("c".to_owned(), 5))),
        "a key that was not there before"
    );
    assert!(refused(|events| events[1].before = None), "what was before is missing");
    assert!(refused(|events| events[1].version = 1), "the version is wrong");
    assert!(refused(|events| events[3].created = 2), "the revision that made it is wrong");
    assert!(refused(|events| events[0].key = "other".to_owned()), "it was not asked for");
    assert!(refused(|events| events[1].value = Some("x".to_owned())), "it is not what the client wrote");
}
