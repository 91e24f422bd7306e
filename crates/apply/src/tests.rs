//! What the machine does with members and alarms, and that its fingerprint tells members apart.

mod auth;
mod leases;

use std::path::Path;

use store::{Options, Store};
use types::{DeleteRange, Key, KeyRange, MemberId, MemberRefusal, Put};

use super::*;

fn open(path: &str, options: &Options) -> Machine {
    let store = Store::open(Path::new(path), options).expect("open");
    Machine::open(Arc::new(store)).expect("open")
}

fn member(id: u64, name: &str) -> MemberRecord {
    let peer_urls = vec![format!("http://m{id}:2380")];
    MemberRecord { id: MemberId(id), name: name.into(), peer_urls, client_urls: vec![], learner: false }
}

fn founded(path: &str, options: &Options) -> Machine {
    let mut machine = open(path, options);
    let beginning = Position { index: Index(1), term: Term(1) };
    machine.bootstrap(beginning, &[member(1, "a"), member(2, "b")]).expect("bootstrap");
    machine
}

fn key(text: &'static str) -> Key {
    Key::new(Bytes::from_static(text.as_bytes())).expect("not empty")
}

fn put(prev_kv: bool) -> Command {
    let value = Bytes::from_static(b"v");
    let lease = LeaseId::NONE;
    Command::Put(Put { key: key("k"), value, lease, prev_kv, ignore_value: false, ignore_lease: false })
}

fn delete() -> Command {
    Command::DeleteRange(DeleteRange { range: KeyRange::single(key("k")), prev_kv: false })
}

fn alarm(raise: bool, member: u64, kind: AlarmKind) -> Command {
    Command::Alarm { raise, member: MemberId(member), kind }
}

fn entries(after: u64, commands: &[Command]) -> Vec<Entry> {
    let entry = |(index, command): (u64, &Command)| Entry {
        index: Index(index),
        term: Term(2),
        data: command.encode(),
    };
    (after + 1..).zip(commands).map(entry).collect()
}

/// Applies each command as an entry of its own, all in one run.
fn apply(machine: &mut Machine, commands: &[Command]) -> Vec<Result<Effect, Refused>> {
    let entries = entries(machine.position().index.0, commands);
    let outcomes = machine.apply(&entries).expect("well-formed").outcomes;
    outcomes.into_iter().flatten().map(|outcome| outcome.result).collect()
}

#[test]
fn however_entries_come_in_runs_the_fingerprint_is_the_same_and_survives() {
    let (options, other) = (Options::in_memory(), Options::in_memory());
    let commands = [
        put(true),
        alarm(true, 1, AlarmKind::NoSpace),
        put(true),
        delete(),
        Command::Compact(2),
        Command::AddMember(member(3, "")),
        Command::RemoveMember(MemberId(9)),
        alarm(false, 1, AlarmKind::NoSpace),
        put(true),
        put(true),
    ];
    let (mut at_once, mut one_by_one) = (founded("/at-once", &options), founded("/one", &other));
    apply(&mut at_once, &commands);
    for entry in entries(1, &commands) {
        one_by_one.apply([&entry]).expect("well-formed");
    }
    for index in 1..=1 + commands.len() as u64 {
        let fingerprint = at_once.fingerprints().at(Index(index));
        assert!(fingerprint.is_some());
        assert_eq!(fingerprint, one_by_one.fingerprints().at(Index(index)), "at {index}");
    }
    let newest = at_once.fingerprints().newest();
    at_once.store().flush().expect("flush");
    drop(at_once);
    let mut again = open("/at-once", &options);
    assert_eq!(again.fingerprints().newest(), newest);
    apply(&mut again, &[put(true)]);
    apply(&mut one_by_one, &[put(true)]);
    assert_eq!(again.fingerprints().newest(), one_by_one.fingerprints().newest());
}

#[test]
fn one_lost_write_shows_when_it_is_looked_at_and_for_ever() {
    let (options, other) = (Options::in_memory(), Options::in_memory());
    let (mut good, mut bad) = (founded("/good", &options), founded("/bad", &other));
    apply(&mut good, &[put(false)]);
    apply(&mut bad, &[put(false)]);
    assert_eq!(good.fingerprints().newest(), bad.fingerprints().newest());
    // The rows of the write are lost behind the machine's back, as a bad disk or a bug would do it.
    bad.store().flush().expect("flush");
    let mut batch = bad.store().batch();
    batch.delete_range(store::Family::Keys, b"", b"\xff");
    batch.delete_range(store::Family::Revisions, b"", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff");
    bad.store().write(batch).expect("write");
    bad.store().flush().expect("flush");
    drop(bad);
    let mut bad = open("/bad", &other);
    assert_eq!(good.fingerprints().newest(), bad.fingerprints().newest(), "nobody has looked yet");
    for _ in 0..3 {
        apply(&mut good, &[put(true), put(false)]);
        apply(&mut bad, &[put(true), put(false)]);
        assert_ne!(good.fingerprints().newest(), bad.fingerprints().newest());
    }
}

#[test]
fn while_there_is_no_room_nothing_grows() {
    let options = Options::in_memory();
    let mut machine = founded("/no-room", &options);
    let branch = |op: TxnOp| Command::Txn(Txn { failure: vec![op], ..Txn::default() });
    let Command::Put(a_put) = put(false) else { unreachable!("it is one") };
    let nested = TxnOp::Txn(Txn { success: vec![TxnOp::Put(a_put.clone())], ..Txn::default() });
    apply(&mut machine, &[alarm(true, 7, AlarmKind::NoSpace)]);
    for command in [put(false), branch(TxnOp::Put(a_put)), branch(nested)] {
        assert_eq!(apply(&mut machine, &[command]), [Err(Refused::NoSpace)]);
    }
    let delete_in_txn =
        branch(TxnOp::Delete(DeleteRange { range: KeyRange::single(key("k")), prev_kv: false }));
    for command in [delete(), delete_in_txn, Command::AddMember(member(3, "c"))] {
        assert!(apply(&mut machine, &[command])[0].is_ok());
    }
    apply(&mut machine, &[alarm(false, 7, AlarmKind::NoSpace)]);
    assert!(apply(&mut machine, &[put(false)])[0].is_ok());
}

#[test]
fn what_a_removed_member_still_says_is_not_heard() {
    let options = Options::in_memory();
    let mut machine = founded("/removed", &options);
    let removed = Err(Refused::Member(MemberRefusal::Removed));
    let said = MemberRecord { client_urls: vec!["http://b:2379".into()], ..member(2, "b") };
    let done = apply(
        &mut machine,
        &[
            Command::SetMember(said.clone()),
            alarm(true, 2, AlarmKind::Corrupt),
            alarm(true, 1, AlarmKind::Corrupt),
            Command::RemoveMember(MemberId(2)),
            Command::SetMember(said.clone()),
            Command::AddMember(said),
            Command::UpdateMember { id: MemberId(1), peer_urls: vec!["http://new:2380".into()] },
            Command::RemoveMember(MemberId(1)),
        ],
    );
    assert_eq!(done[0], Ok(Effect::SetMember));
    assert_eq!(done[3], Ok(Effect::Members(vec![member(1, "a")])));
    assert_eq!((&done[4], &done[5]), (&removed, &removed));
    assert_eq!(done[7], Err(Refused::Member(MemberRefusal::LastVoter)));
    assert_eq!(machine.members().list()[0].peer_urls, ["http://new:2380"]);
    // Its alarm went with it.
    assert_eq!(machine.alarms().list(), [Alarm { member: MemberId(1), kind: AlarmKind::Corrupt }]);
}
