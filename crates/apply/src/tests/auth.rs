//! Who may do what, against a model that knows nothing of intervals: it looks at each key there could be.

use ::auth::Auth;
use command::Signed;
use proptest::test_runner::{RngAlgorithm, TestRng};
use types::{
    Access, AuthChange, AuthRefusal, Author, Compare, CompareResult, CompareTarget, Identity, Permission,
    RangeEnd, RangeQuery,
};

use super::*;
use crate::guard;

/// Combinations of author, command and rights.
const COMBINATIONS: usize = 120_000;
/// Of them for each set of rights.
const EACH: usize = 400;

const USERS: [&str; 4] = ["alice", "bob", "carol", "dave"];
const ROLES: [&str; 4] = ["r1", "r2", "r3", "r4"];

struct Chance(TestRng);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        use proptest::prelude::Rng as _;
        (self.0.next_u64() % bound as u64) as usize
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    fn happens(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    fn name(&mut self) -> Bytes {
        let letters = b"abcd";
        let length = 1 + self.below(2);
        (0..length).map(|_| letters[self.below(letters.len())]).collect::<Vec<u8>>().into()
    }

    fn wire_range(&mut self) -> (Bytes, Bytes) {
        let end = match self.below(4) {
            0 => Bytes::new(),
            1 => Bytes::from_static(b"\0"),
            _ => self.name(),
        };
        (self.name(), end)
    }

    fn range(&mut self) -> KeyRange {
        let (key, end) = self.wire_range();
        KeyRange::from_wire(Key::new(key).expect("not empty"), end)
    }
}

/// Every key at which a range can begin that is made of the names above, and so one of each stretch between two ends.
fn all_keys() -> Vec<Vec<u8>> {
    let mut keys = vec![vec![0]];
    for first in b"abcd" {
        keys.push(vec![*first]);
        keys.push(vec![*first, 0]);
        for second in b"abcd" {
            keys.push(vec![*first, *second]);
            keys.push(vec![*first, *second, 0]);
        }
    }
    keys
}

/// What the test knows of one user.
#[derive(Default)]
struct Known {
    is_root: bool,
    permissions: Vec<Permission>,
}

struct Model {
    users: Vec<(String, Known)>,
    revision: u64,
    keys: Vec<Vec<u8>>,
    /// Attached keys.
    leases: Vec<(LeaseId, Vec<Vec<u8>>)>,
}

impl Model {
    fn may_key(known: &Known, write: bool, key: &[u8]) -> bool {
        known.permissions.iter().any(|permission| {
            let fits = match permission.access {
                Access::Read => !write,
                Access::Write => write,
                Access::ReadWrite => true,
            };
            let end = permission.range_end.as_ref();
            let inside = match end {
                [] => permission.key == key,
                [0] => permission.key.as_ref() <= key,
                end => permission.key.as_ref() <= key && key < end,
            };
            fits && inside
        })
    }

    fn may(&self, known: &Known, write: bool, range: &KeyRange) -> bool {
        let single = |range: &KeyRange| matches!(range.end, RangeEnd::Single);
        if single(range) || range.is_empty() {
            return Self::may_key(known, write, &range.start);
        }
        self.keys.iter().filter(|key| range.contains(key)).all(|key| Self::may_key(known, write, key))
    }

    fn attached(&self, id: LeaseId) -> &[Vec<u8>] {
        self.leases.iter().find(|(known, _)| *known == id).map_or(&[], |(_, keys)| keys)
    }

    fn may_put(&self, known: &Known, put: &Put) -> bool {
        let own = KeyRange::single(put.key.clone());
        self.may(known, true, &own)
            && self.attached(put.lease).iter().all(|key| Self::may_key(known, true, key))
            && (!put.prev_kv || self.may(known, false, &own))
    }

    fn may_delete(&self, known: &Known, delete: &DeleteRange) -> bool {
        self.may(known, true, &delete.range) && (!delete.prev_kv || self.may(known, false, &delete.range))
    }

    fn may_txn(&self, known: &Known, txn: &Txn) -> bool {
        txn.compare.iter().all(|compare| self.may(known, false, &compare.range))
            && txn.success.iter().chain(&txn.failure).all(|op| match op {
                TxnOp::Range(query) => self.may(known, false, &query.range),
                TxnOp::Put(put) => self.may_put(known, put),
                TxnOp::Delete(delete) => self.may_delete(known, delete),
                TxnOp::Txn(inner) => self.may_txn(known, inner),
            })
    }

    fn judge(&self, author: &Author, command: &Command) -> bool {
        let identity = match author {
            Author::Member => return true,
            Author::Nobody => return matches!(command, Command::Auth(AuthChange::Authenticate { .. })),
            Author::User(identity) => identity,
        };
        let known = self.users.iter().find(|(name, _)| *name == identity.user).map(|(_, known)| known);
        let is_root = known.is_some_and(|known| known.is_root);
        let fresh = identity.revision >= self.revision;
        let of_keys =
            |may: &dyn Fn(&Known) -> bool| fresh && known.is_some_and(|known| is_root || may(known));
        match command {
            Command::Put(put) => of_keys(&|known| self.may_put(known, put)),
            Command::DeleteRange(delete) => of_keys(&|known| self.may_delete(known, delete)),
            Command::Txn(txn) => of_keys(&|known| self.may_txn(known, txn)),
            Command::GrantLease { .. } | Command::Auth(AuthChange::Authenticate { .. }) => true,
            Command::RevokeLeases(leases) => leases.iter().all(|lease| {
                let keys = self.attached(lease.id);
                keys.is_empty()
                    || is_root
                    || of_keys(&|known| keys.iter().all(|key| Self::may_key(known, true, key)))
            }),
            _ => is_root,
        }
    }
}

fn some_put(chance: &mut Chance, lease: LeaseId) -> Put {
    Put {
        key: Key::new(chance.name()).expect("not empty"),
        value: Bytes::new(),
        lease,
        prev_kv: chance.happens(2),
        ignore_value: false,
        ignore_lease: false,
    }
}

fn some_txn(chance: &mut Chance, depth: usize) -> Txn {
    let compares = chance.below(2);
    let compare = (0..compares).map(|_| Compare {
        range: chance.range(),
        result: CompareResult::Equal,
        target: CompareTarget::Version(0),
    });
    let compare = compare.collect();
    let mut branch = || -> Vec<TxnOp> {
        let count = chance.below(3);
        let mut op = || match chance.below(if depth == 0 { 3 } else { 4 }) {
            0 => TxnOp::Range(RangeQuery::of(chance.range())),
            1 => {
                let lease = LeaseId(chance.below(4) as i64);
                TxnOp::Put(some_put(chance, lease))
            }
            2 => TxnOp::Delete(DeleteRange { range: chance.range(), prev_kv: chance.happens(2) }),
            _ => TxnOp::Txn(some_txn(chance, depth - 1)),
        };
        (0..count).map(|_| op()).collect()
    };
    Txn { compare, success: branch(), failure: branch() }
}

fn some_command(chance: &mut Chance) -> Command {
    match chance.below(14) {
        0..=3 => {
            let lease = LeaseId(chance.below(4) as i64);
            Command::Put(some_put(chance, lease))
        }
        4..=6 => Command::DeleteRange(DeleteRange { range: chance.range(), prev_kv: chance.happens(2) }),
        7..=8 => Command::Txn(some_txn(chance, 2)),
        9 => {
            let revoke = |id: usize| Revocation { id: LeaseId(id as i64), born: None };
            let count = 1 + chance.below(2);
            Command::RevokeLeases((0..count).map(|_| revoke(chance.below(4))).collect())
        }
        10 => Command::GrantLease { id: LeaseId(9), ttl: 1 },
        11 => Command::Compact(1),
        12 => alarm(chance.happens(2), 1, AlarmKind::NoSpace),
        _ => match chance.below(4) {
            0 => Command::AddMember(member(7, "x")),
            1 => Command::RemoveMember(MemberId(2)),
            2 => Command::Auth(AuthChange::AddRole { name: "x".into() }),
            _ => Command::Auth(AuthChange::Authenticate {
                user: "alice".into(),
                token: "t".into(),
                revision: 1,
            }),
        },
    }
}

fn some_author(chance: &mut Chance, revision: u64) -> Author {
    match chance.below(10) {
        0 => Author::Nobody,
        1 => Author::Member,
        2 => Author::User(Identity { user: "nobody knows him".into(), revision }),
        3 => Author::User(Identity { user: "root".into(), revision }),
        _ => {
            let revision = if chance.happens(8) { revision - 1 } else { revision };
            Author::User(Identity { user: (*chance.one(&USERS)).to_owned(), revision })
        }
    }
}

fn change(machine: &mut Machine, change: AuthChange) -> Result<Effect, Refused> {
    let signed = Signed { author: Author::Member, command: Command::Auth(change) };
    let entry = Entry {
        index: Index(machine.position().index.0 + 1),
        term: Term(2),
        data: signed.command.encode_by(&signed.author),
    };
    let outcomes = machine.apply(&[entry]).expect("well-formed").outcomes;
    outcomes.into_iter().flatten().next().expect("one").result
}

/// A machine with users, roles, rights and leases by chance, and the model of it.
fn some_rights(chance: &mut Chance, machine: &mut Machine) -> Model {
    let mut users: Vec<(String, Known)> = vec![("root".into(), Known { is_root: true, ..Known::default() })];
    let mut roles: Vec<(&str, Vec<Permission>)> = ROLES.iter().map(|role| (*role, Vec::new())).collect();
    for (role, permissions) in &mut roles {
        change(machine, AuthChange::AddRole { name: (*role).into() }).expect("new");
        for _ in 0..chance.below(4) {
            let (key, range_end) = chance.wire_range();
            let access = *chance.one(&[Access::Read, Access::Write, Access::ReadWrite]);
            let permission = Permission { access, key, range_end };
            let role = (*role).to_owned();
            let granted =
                change(machine, AuthChange::GrantPermission { role, permission: permission.clone() });
            if granted.is_ok() {
                permissions.retain(|old| old.key != permission.key || old.range_end != permission.range_end);
                permissions.push(permission);
            } else {
                assert_eq!(granted, Err(Refused::Auth(AuthRefusal::InvalidManagement)), "{permission:?}");
            }
        }
    }
    for user in USERS {
        change(machine, AuthChange::AddUser { name: user.into(), hash: None }).expect("new");
        let mut known = Known::default();
        for (role, permissions) in &roles {
            if chance.happens(2) {
                change(machine, AuthChange::GrantRole { user: user.into(), role: (*role).into() })
                    .expect("there is one");
                known.permissions.extend(permissions.iter().cloned());
            }
        }
        users.push((user.to_owned(), known));
    }
    change(machine, AuthChange::AddUser { name: "root".into(), hash: None }).expect("new");
    change(machine, AuthChange::GrantRole { user: "root".into(), role: "root".into() })
        .expect("of all roles");
    change(machine, AuthChange::Enable).expect("root is there");
    Model { users, revision: machine.auth().revision(), keys: all_keys(), leases: Vec::new() }
}

fn attach(machine: &mut Machine, chance: &mut Chance) -> Vec<(LeaseId, Vec<Vec<u8>>)> {
    let mut leases = Vec::new();
    for id in 1..4 {
        let mut commands = vec![Command::GrantLease { id: LeaseId(id), ttl: 9 }];
        let mut keys: Vec<Vec<u8>> = Vec::new();
        for _ in 0..chance.below(3) {
            let put = some_put(chance, LeaseId(id));
            let key = put.key.as_bytes().to_vec();
            // A key goes with one lease.
            let taken = leases.iter().any(|(_, keys): &(LeaseId, Vec<Vec<u8>>)| keys.contains(&key));
            if !taken && !keys.contains(&key) {
                keys.push(key);
                commands.push(Command::Put(put));
            }
        }
        assert!(apply(machine, &commands).iter().all(Result::is_ok));
        leases.push((LeaseId(id), keys));
    }
    leases
}

#[test]
fn nobody_gets_more_or_less_than_a_model_that_looks_at_each_key() {
    let mut chance = Chance(TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let (mut allowed, mut refused) = (0, 0);
    while allowed + refused < COMBINATIONS {
        let options = Options::in_memory();
        let mut machine = founded("/guarded", &options);
        let leases = attach(&mut machine, &mut chance);
        let model = Model { leases, ..some_rights(&mut chance, &mut machine) };
        let auth: &Auth = machine.auth();
        for _ in 0..EACH {
            let command = some_command(&mut chance);
            let author = some_author(&mut chance, model.revision);
            let expect = model.judge(&author, &command);
            let got = guard::admit(auth, machine.leases(), &author, &command);
            assert_eq!(got.is_ok(), expect, "{author:?} wants {command:?}: {got:?}");
            if expect { allowed += 1 } else { refused += 1 }
        }
    }
    assert!(allowed > COMBINATIONS / 10 && refused > COMBINATIONS / 10, "{allowed} and {refused}");
}

#[test]
fn users_and_roles_are_there_again_after_a_start() {
    let options = Options::in_memory();
    let mut machine = founded("/kept", &options);
    let model = some_rights(&mut Chance(TestRng::deterministic_rng(RngAlgorithm::ChaCha)), &mut machine);
    let kept = |machine: &Machine| {
        let auth = machine.auth();
        let rights = ["root", "alice", "bob", "carol", "dave"].map(|user| auth.rights(user));
        let permissions = ROLES.map(|role| auth.permissions(role).expect("there is one"));
        (auth.stamp(), auth.users(), auth.roles(), rights, permissions)
    };
    let before = kept(&machine);
    assert_eq!(before.0, Some(model.revision));
    machine.store().flush().expect("flushed");
    drop(machine);
    assert_eq!(kept(&open("/kept", &options)), before);
}

// CVE-2026-33343: what is nested is judged like all the rest.
#[test]
fn cve_2026_33343_nested_transactions_are_judged() {
    let secret = || KeyRange::single(key("secret"));
    let nested = |op: TxnOp| Txn {
        success: vec![TxnOp::Txn(Txn { failure: vec![op], ..Txn::default() })],
        ..Txn::default()
    };
    let put = Put { key: key("secret"), ..put_of("k") };
    for op in [
        TxnOp::Range(RangeQuery::of(secret())),
        TxnOp::Put(put),
        TxnOp::Delete(DeleteRange { range: secret(), prev_kv: false }),
    ] {
        assert_eq!(asked(&Command::Txn(nested(op))), Err(AuthRefusal::Denied));
    }
    assert_eq!(asked(&Command::Txn(nested(TxnOp::Put(put_of("k"))))), Ok(()));
}

// CVE-2026-44283: nor does a transaction show what was there before, or tie a key to a lease of others.
#[test]
fn cve_2026_44283_previous_values_and_leases_in_transactions_are_judged() {
    let txn = |put: Put| Command::Txn(Txn { success: vec![TxnOp::Put(put)], ..Txn::default() });
    for make in [Command::Put as fn(Put) -> Command, |put| {
        Command::Txn(Txn { success: vec![TxnOp::Put(put)], ..Txn::default() })
    }] {
        assert_eq!(asked(&make(put_of("k"))), Ok(()), "he may write it");
        assert_eq!(asked(&make(Put { prev_kv: true, ..put_of("k") })), Err(AuthRefusal::Denied));
        assert_eq!(asked(&make(Put { lease: LeaseId(1), ..put_of("k") })), Err(AuthRefusal::Denied));
        assert_eq!(asked(&make(Put { lease: LeaseId(2), ..put_of("k") })), Ok(()), "nothing hangs on it");
    }
    assert_eq!(asked(&txn(Put { lease: LeaseId(1), ..put_of("k") })), Err(AuthRefusal::Denied));
}

// CVE-2026-33413: compaction, alarms and leases are not for everybody.
#[test]
fn cve_2026_33413_what_had_no_guard_has_one() {
    let nobody = |command: &Command| {
        let machine = guarded();
        guard::admit(machine.auth(), machine.leases(), &Author::Nobody, command)
    };
    let of_lease = |id| Command::RevokeLeases(vec![Revocation { id: LeaseId(id), born: None }]);
    for command in [
        Command::Compact(1),
        alarm(true, 1, AlarmKind::NoSpace),
        Command::GrantLease { id: LeaseId(5), ttl: 9 },
        of_lease(2),
        Command::AddMember(member(7, "x")),
    ] {
        assert_eq!(nobody(&command), Err(AuthRefusal::UserEmpty), "{command:?}");
    }
    for command in [Command::Compact(1), alarm(true, 1, AlarmKind::NoSpace), of_lease(1)] {
        assert_eq!(asked(&command), Err(AuthRefusal::Denied), "{command:?}");
    }
    assert_eq!(asked(&of_lease(2)), Ok(()));
}

fn put_of(text: &'static str) -> Put {
    Put {
        key: key(text),
        value: Bytes::new(),
        lease: LeaseId::NONE,
        prev_kv: false,
        ignore_value: false,
        ignore_lease: false,
    }
}

/// Alice may write `k`, and nothing else. The key `secret` hangs on lease 1, nothing on lease 2.
fn guarded() -> Machine {
    let options = Options::in_memory();
    let mut machine = founded("/alice", &options);
    let secret = Put { key: key("secret"), lease: LeaseId(1), ..put_of("k") };
    let commands = [
        Command::GrantLease { id: LeaseId(1), ttl: 9 },
        Command::GrantLease { id: LeaseId(2), ttl: 9 },
        Command::Put(secret),
    ];
    assert!(apply(&mut machine, &commands).iter().all(Result::is_ok));
    let permission =
        Permission { access: Access::Write, key: Bytes::from_static(b"k"), range_end: Bytes::new() };
    for step in [
        AuthChange::AddUser { name: "root".into(), hash: None },
        AuthChange::GrantRole { user: "root".into(), role: "root".into() },
        AuthChange::AddUser { name: "alice".into(), hash: None },
        AuthChange::AddRole { name: "r".into() },
        AuthChange::GrantPermission { role: "r".into(), permission },
        AuthChange::GrantRole { user: "alice".into(), role: "r".into() },
        AuthChange::Enable,
    ] {
        change(&mut machine, step).expect("legal");
    }
    machine
}

fn asked(command: &Command) -> Result<(), AuthRefusal> {
    let machine = guarded();
    let revision = machine.auth().revision();
    let author = Author::User(Identity { user: "alice".into(), revision });
    guard::admit(machine.auth(), machine.leases(), &author, command)
}
