//! Encodings are for ever: what goes in comes out, and golden bytes do not change.

use types::v2::{Condition, Expiry, Path, Write};
use types::v2auth::{Change, Rights, Role};
use types::{
    Compare, CompareResult, CompareTarget, Key, KeyRange, LeaseId, MemberId, RangeQuery, Revision,
    TXN_DEPTH_MAX, TxnOp,
};

use super::*;

fn key(text: &'static str) -> Key {
    Key::new(Bytes::from_static(text.as_bytes())).expect("not empty")
}

fn put(text: &'static str) -> Put {
    Put {
        key: key(text),
        value: Bytes::from_static(b"v"),
        lease: LeaseId(-7),
        prev_kv: true,
        ignore_value: false,
        ignore_lease: true,
    }
}

fn joiner() -> MemberRecord {
    let peer_urls = vec!["http://c:3".into()];
    MemberRecord { id: MemberId(3), name: String::new(), peer_urls, client_urls: vec![], learner: true }
}

fn checkpoint() -> Command {
    Command::CheckpointLeases(vec![Checkpoint { id: LeaseId(1), born: Index(300), remaining: 5 }])
}

fn v2_writes() -> [Write; 8] {
    let path = Path::clean("/d/é");
    let expiry = Expiry::At(Timestamp(-5));
    let condition = Condition { prev_value: Some(Bytes::new()), prev_index: Some(0) };
    let value = Bytes::from_static(b"\xff");
    [
        Write::Set { path: path.clone(), value: value.clone(), dir: true, expiry, refresh: true },
        Write::Create {
            path: path.clone(),
            value: value.clone(),
            dir: false,
            expiry: Expiry::Never,
            in_order: true,
        },
        Write::Update { path: path.clone(), value: value.clone(), expiry, refresh: true },
        Write::CompareAndSwap {
            path: path.clone(),
            condition: condition.clone(),
            value,
            expiry,
            refresh: false,
        },
        Write::Delete { path: path.clone(), dir: true, recursive: true },
        Write::CompareAndDelete { path, condition },
        Write::Expire { now: Timestamp(i64::MAX), nodes_max: u64::MAX },
        Write::Expire { now: Timestamp(1), nodes_max: 4096 },
    ]
}

fn samples() -> Vec<Command> {
    let range = KeyRange::from_wire(key("a"), Bytes::from_static(b"z"));
    let mut query = RangeQuery::of(range.clone());
    query.at = Some(Revision(7));
    query.mod_bounds.max = Some(Revision(u64::MAX));
    let compare =
        |target| Compare { range: KeyRange::single(key("c")), result: CompareResult::NotEqual, target };
    let inner = Txn {
        compare: vec![compare(CompareTarget::Mod(-1))],
        success: vec![],
        failure: vec![TxnOp::Put(put("n"))],
    };
    let txn = Txn {
        compare: vec![compare(CompareTarget::Value(Bytes::new())), compare(CompareTarget::Lease(3))],
        success: vec![TxnOp::Range(query), TxnOp::Put(put("p")), TxnOp::Txn(inner)],
        failure: vec![TxnOp::Delete(DeleteRange { range: KeyRange::all(), prev_kv: true })],
    };
    let v2 = v2_writes();
    let mut samples = vec![
        Command::Put(put("k")),
        Command::DeleteRange(DeleteRange { range, prev_kv: false }),
        Command::Txn(txn),
        Command::Compact(-3),
        Command::SetMember(MemberRecord {
            id: MemberId(u64::MAX),
            name: "n".into(),
            peer_urls: vec!["http://a:1".into(), "http://b:2".into()],
            client_urls: vec![],
            learner: true,
        }),
        Command::AddMember(joiner()),
        Command::PromoteMember(MemberId(0x8e9e_05c5_2164_694d)),
        Command::RemoveMember(MemberId(1)),
        Command::UpdateMember { id: MemberId(0), peer_urls: vec!["http://a:1".into(), "http://b:2".into()] },
        Command::Alarm { raise: true, member: MemberId(2), kind: AlarmKind::NoSpace },
        Command::Alarm { raise: false, member: MemberId(0), kind: AlarmKind::Corrupt },
        Command::GrantLease { id: LeaseId(i64::MIN), ttl: -1 },
        Command::RevokeLeases(vec![
            Revocation { id: LeaseId(-7), born: None },
            Revocation { id: LeaseId(7), born: Some(Index(u64::MAX)) },
        ]),
        checkpoint(),
    ];
    samples.extend(v2.iter().filter(|write| !matches!(write, Write::Expire { .. })).map(|write| {
        let (prefix, write) = (Bytes::from_static(b"/p\xff/"), write.clone());
        Command::BridgedV2 { prefix, write, now: Timestamp(9), lease: LeaseId(77) }
    }));
    for prefix in [Bytes::new(), Bytes::from_static(b"/p/")] {
        let leases = vec![Revocation { id: LeaseId(1), born: Some(Index(300)) }];
        samples.push(Command::ExpireBridged { prefix, leases });
    }
    samples.extend(changes_of_users().into_iter().map(Command::Auth));
    samples.extend(v2.map(|write| Command::V2 { write, now: Timestamp(9) }));
    samples.extend(v2auth_changes().map(Command::V2Auth));
    samples
}

fn v2auth_changes() -> [Change; 11] {
    let name = || "n".to_owned();
    let hash = || Some("h".to_owned());
    let rights = || Rights { read: None, write: Some(vec!["/a*".to_owned(), String::new()]) };
    [
        Change::PutUser { name: name(), hash: hash(), listed: true },
        Change::PutUser { name: String::new(), hash: None, listed: false },
        Change::CreateUser { name: name(), hash: None, roles: vec![name()] },
        Change::UpdateUser { name: name(), hash: hash(), grant: vec![name()], revoke: vec![name(), name()] },
        Change::DeleteUser(name()),
        Change::CreateRole(Role { name: name(), rights: rights() }),
        Change::UpdateRole { name: name(), grant: Some(rights()), revoke: None },
        Change::UpdateRole { name: name(), grant: None, revoke: Some(Rights::default()) },
        Change::DeleteRole(name()),
        Change::Enable,
        Change::Disable,
    ]
}

#[test]
fn runs_are_joined_by_joining_bytes() {
    let joined: Vec<u8> = samples().iter().flat_map(|command| command.encode().to_vec()).collect();
    assert_eq!(decode_run(joined.into()).expect("decodes"), samples());
}

#[test]
fn who_it_is_from_goes_with_a_command() {
    let authors = [
        Author::Nobody,
        Author::Member,
        Author::User(types::Identity { user: "alice".into(), revision: u64::MAX }),
    ];
    for (command, author) in samples().into_iter().zip(authors.into_iter().cycle()) {
        let signed = Signed { author: author.clone(), command };
        assert_eq!(decode_signed(signed.command.encode_by(&author)).expect("decodes"), [signed]);
    }
}

fn changes_of_users() -> Vec<AuthChange> {
    let (name, role) = (|| "alice".to_owned(), || "r".to_owned());
    let permission = types::Permission {
        access: types::Access::Write,
        key: Bytes::from_static(b"a"),
        range_end: Bytes::from_static(b"\0"),
    };
    vec![
        AuthChange::Enable,
        AuthChange::Disable,
        AuthChange::AddUser { name: name(), hash: Some("$2a$".into()) },
        AuthChange::AddUser { name: name(), hash: None },
        AuthChange::DeleteUser { name: name() },
        AuthChange::SetPassword { name: name(), hash: String::new() },
        AuthChange::GrantRole { user: name(), role: role() },
        AuthChange::RevokeRole { user: name(), role: role() },
        AuthChange::AddRole { name: role() },
        AuthChange::DeleteRole { name: role() },
        AuthChange::GrantPermission { role: role(), permission },
        AuthChange::RevokePermission { role: role(), key: "a".into(), range_end: Bytes::new() },
        AuthChange::Authenticate { user: name(), token: "abc".into(), revision: 7 },
    ]
}

#[test]
fn no_cut_decodes() {
    for command in samples() {
        let bytes = command.encode();
        for cut in 1..bytes.len() {
            assert!(decode_run(bytes.slice(..cut)).is_err(), "{command:?} cut at {cut}");
        }
    }
}

// A request that the decoder of requests took in and the decoder of the log did not would stop the member, and
// every start after it.
#[test]
fn what_nests_as_deep_as_allowed_comes_out_of_the_log() {
    let leaf = || DeleteRange { range: KeyRange::single(key("k")), prev_kv: false };
    let innermost = Txn { failure: vec![TxnOp::Delete(leaf())], ..Txn::default() };
    let txn = (1..TXN_DEPTH_MAX)
        .fold(innermost, |inner, _| Txn { success: vec![TxnOp::Txn(inner)], ..Txn::default() });
    let command = Command::Txn(txn);
    assert_eq!(decode_run(command.encode()).expect("decodes"), [command]);
}

#[test]
fn unknown_operations_are_refused() {
    // Field 99, length 0: an operation of a later version.
    assert!(matches!(
        decode_run(Bytes::from_static(&[3, 0x9a, 0x06, 0])),
        Err(DecodeError::Unknown("operation"))
    ));
}

#[test]
fn golden_bytes() {
    let expect: &[u8] = &[
        21, 0x0a, 19, 0x0a, 1, b'k', 0x12, 1, b'v', 0x19, 0xf9, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0x20, 1, 0x30, 1,
    ];
    assert_eq!(Command::Put(put("k")).encode().as_ref(), expect);

    let expect: &[u8] = &[
        25, 0x3a, 23, 0x09, 3, 0, 0, 0, 0, 0, 0, 0, 0x1a, 10, b'h', b't', b't', b'p', b':', b'/', b'/', b'c',
        b':', b'3', 0x28, 1,
    ];
    assert_eq!(Command::AddMember(joiner()).encode().as_ref(), expect);
    let expect: &[u8] = &[9, 0x49, 1, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(Command::RemoveMember(MemberId(1)).encode().as_ref(), expect);
    let expect: &[u8] = &[15, 0x5a, 13, 0x08, 1, 0x11, 2, 0, 0, 0, 0, 0, 0, 0, 0x18, 1];
    let alarm = Command::Alarm { raise: true, member: MemberId(2), kind: AlarmKind::NoSpace };
    assert_eq!(alarm.encode().as_ref(), expect);

    let expect: &[u8] = &[13, 0x62, 11, 0x09, 7, 0, 0, 0, 0, 0, 0, 0, 0x10, 20];
    assert_eq!(Command::GrantLease { id: LeaseId(7), ttl: 10 }.encode().as_ref(), expect);
    let expect: &[u8] = &[15, 0x6a, 13, 0x0a, 11, 0x09, 7, 0, 0, 0, 0, 0, 0, 0, 0x10, 9];
    let revocation = Revocation { id: LeaseId(7), born: Some(Index(9)) };
    assert_eq!(Command::RevokeLeases(vec![revocation]).encode().as_ref(), expect);
    let expect: &[u8] = &[18, 0x72, 16, 0x0a, 14, 0x09, 1, 0, 0, 0, 0, 0, 0, 0, 0x10, 0xac, 0x02, 0x18, 10];
    assert_eq!(checkpoint().encode().as_ref(), expect);

    let expect: &[u8] = &[11, 0xa2, 1, 8, 0x08, 1, 0x12, 1, b'n', 0x1a, 1, b'h'];
    let user = Change::PutUser { name: "n".to_owned(), hash: Some("h".to_owned()), listed: false };
    assert_eq!(Command::V2Auth(user).encode().as_ref(), expect);
}
