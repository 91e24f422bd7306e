//! Who may do what, over sockets: random users, roles, ranges and calls, over gRPC, JSON and v2, compared with a model
//! that knows nothing of intervals and looks at each key there could be.
//!
//! Beside the verdict it is looked at what came out: no key that the caller may not read, and no new revision after a
//! refusal. `AUTH_COMBINATIONS` says how many are tried, `AUTH_SEED` where chance begins.

use std::env;

use ::tests::cluster::{Settings, program};
use ::tests::{Cluster, client, grpc, http1};
use anyhow::{Context, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::caller::{PATIENCE, Said, User, bytes, grpc_said, header, json_said, path};
use crate::chance::Chance;
use crate::model_v2;
use crate::rights::{Grant, Known, Span};

/// Tried by `make test`.
const COMBINATIONS: usize = 2_500;

/// For each set of users and roles.
const EACH: usize = 150;

/// Users beside root.
const NAMES: [&str; 4] = ["alice", "ben", "carol", "dave"];

/// Who asks.
enum Who {
    Root,
    Nobody,
    /// With a token that was never given.
    Stranger,
    One(Known),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Served,
    Denied,
    NoName,
    BadToken,
}

/// What a call needs, beside a name.
#[derive(Clone, Debug)]
enum Need {
    Nothing,
    Root,
    /// All of these; `true` is to write.
    Keys(Vec<(bool, Span)>),
    /// To be this user.
    User(String),
    /// To have this role.
    Role(String),
}

/// What is asked.
struct Call {
    method: &'static str,
    body: Value,
    need: Need,
    /// Whether it may raise the revision.
    changes: bool,
}

fn judge(who: &Who, need: &Need) -> Verdict {
    let known = match who {
        Who::Root => return Verdict::Served,
        Who::Nobody => return Verdict::NoName,
        Who::Stranger => return Verdict::BadToken,
        Who::One(known) => known,
    };
    let may = match need {
        Need::Nothing => true,
        Need::Root => false,
        Need::Keys(keys) => keys.iter().all(|(write, span)| known.may_span(*write, span)),
        Need::User(name) => known.name == *name,
        Need::Role(role) => known.roles.contains(role),
    };
    if may { Verdict::Served } else { Verdict::Denied }
}

/// What an answer amounts to: an error that says nothing of rights is an answer.
pub(crate) fn verdict(said: &Said) -> Verdict {
    // Locks and elections have these texts with another code, as in etcd.
    match said.text.as_str() {
        "etcdserver: invalid auth token" => Verdict::BadToken,
        "etcdserver: user name is empty" => Verdict::NoName,
        "etcdserver: permission denied" => Verdict::Denied,
        _ => Verdict::Served,
    }
}

/// A member with users, and what the test holds of them.
struct House {
    root: User,
    json: http1::Connection,
    grpc: grpc::Connection,
    users: Vec<(Known, User)>,
    leases: Vec<i64>,
    /// The last one that was seen.
    revision: i64,
}

impl House {
    fn open(cluster: &Cluster) -> anyhow::Result<Self> {
        let address = cluster.member(0).address();
        let nobody = User::nobody(address);
        nobody.ask("Auth/UserAdd", &json!({"name": "root", "password": "root"}))?.ok()?;
        nobody.ask("Auth/UserGrantRole", &json!({"user": "root", "role": "root"}))?.ok()?;
        for name in NAMES {
            nobody.ask("Auth/UserAdd", &json!({"name": name, "password": name}))?.ok()?;
        }
        nobody.ask("Auth/AuthEnable", &json!({}))?.ok()?;
        let grpc = client::runtime().block_on(grpc::Connection::open(address))?;
        Ok(Self {
            root: User::sign_in(address, "root", "root")?,
            json: http1::Connection::new(address, PATIENCE),
            grpc,
            users: Vec::new(),
            leases: Vec::new(),
            revision: 1,
        })
    }

    fn as_root(&mut self, method: &'static str, body: &Value) -> anyhow::Result<Value> {
        let root = self.root.clone();
        self.over_json(&root, method, body)?.ok().with_context(|| format!("{method} {body}"))
    }

    fn over_json(&mut self, user: &User, method: &str, body: &Value) -> anyhow::Result<Said> {
        let body = body.to_string();
        let request =
            http1::request("POST", &path(method)?, &user.proof("Authorization"), Some(body.as_bytes()));
        json_said(&self.json.ask(&request)?)
    }

    fn over_grpc(&mut self, user: &User, method: &str, body: &Value) -> anyhow::Result<Said> {
        let known = grpc::method(method).with_context(|| format!("there is no method {method}"))?;
        let message = grpc::encode(known.input(), &body.to_string())?;
        let (path, proof) = (grpc::path_of(&known), user.proof("token"));
        let reply = client::runtime().block_on(async {
            tokio::time::timeout(PATIENCE, self.grpc.call(&path, &proof, &message)).await
        })?;
        grpc_said(method, &reply?)
    }

    /// Other roles for everybody, and leases with keys.
    fn furnish(&mut self, chance: &mut Chance, round: usize) -> anyhow::Result<()> {
        let old = self.as_root("Auth/RoleList", &json!({}))?;
        for role in old["roles"].as_array().into_iter().flatten() {
            self.as_root("Auth/RoleDelete", &json!({"role": role}))?;
        }
        let mut roles: Vec<(String, Vec<Grant>)> = Vec::new();
        for number in 0..4 {
            let role = format!("r{round}-{number}");
            self.as_root("Auth/RoleAdd", &json!({"name": role}))?;
            let mut grants = Vec::new();
            for _ in 0..chance.below(4) {
                let span = chance.range();
                if !span.end.is_empty() && span.end != "\0" && span.end <= span.key {
                    continue;
                }
                let kind = *chance.one(&["READ", "WRITE", "READWRITE"]);
                let perm = json!({"permType": kind, "key": bytes(&span.key), "range_end": bytes(&span.end)});
                self.as_root("Auth/RoleGrantPermission", &json!({"name": role, "perm": perm}))?;
                grants.retain(|old: &Grant| old.span.key != span.key || old.span.end != span.end);
                grants.push(Grant { reads: kind != "WRITE", writes: kind != "READ", span });
            }
            roles.push((role, grants));
        }
        self.users.clear();
        for name in NAMES {
            let mut known = Known { name: name.to_owned(), ..Known::default() };
            for (role, grants) in &roles {
                if chance.happens(2) {
                    self.as_root("Auth/UserGrantRole", &json!({"user": name, "role": role}))?;
                    known.roles.push(role.clone());
                    known.grants.extend(grants.iter().cloned());
                }
            }
            self.users.push((known, User::sign_in(self.root.address, name, name)?));
        }
        self.furnish_leases(chance)
    }

    fn furnish_leases(&mut self, chance: &mut Chance) -> anyhow::Result<()> {
        for lease in std::mem::take(&mut self.leases) {
            // It may have been revoked.
            let root = self.root.clone();
            self.over_json(&root, "Lease/LeaseRevoke", &json!({"ID": lease}))?;
        }
        for _ in 0..3 {
            let said = self.as_root("Lease/LeaseGrant", &json!({"TTL": 100_000}))?;
            let lease: i64 = said["ID"].as_str().context("an id")?.parse()?;
            for _ in 0..chance.below(3) {
                let put = json!({"key": bytes(&chance.name()), "value": bytes("v"), "lease": lease});
                self.as_root("KV/Put", &put)?;
            }
            self.leases.push(lease);
        }
        let said = self.as_root("KV/Range", &json!({"key": bytes("a")}))?;
        self.revision = revision(&said).context("a revision")?;
        Ok(())
    }

    /// What hangs on these leases now; each key is to be written, or read.
    fn attached(&mut self, leases: &[i64], write: bool) -> anyhow::Result<Vec<(bool, Span)>> {
        let mut needs = Vec::new();
        for lease in leases {
            let said = self.as_root("Lease/LeaseTimeToLive", &json!({"ID": lease, "keys": true}))?;
            for key in said["keys"].as_array().into_iter().flatten() {
                let key = text_of(key).context("a key")?;
                needs.push((write, Span { key, end: String::new() }));
            }
        }
        Ok(needs)
    }

    fn some_put(&mut self, chance: &mut Chance, needs: &mut Vec<(bool, Span)>) -> anyhow::Result<Value> {
        let span = Span { key: chance.name(), end: String::new() };
        let prev_kv = chance.happens(3);
        let lease = if chance.happens(4) { self.leases[chance.below(self.leases.len())] } else { 0 };
        let put = json!({"key": bytes(&span.key), "value": bytes("v"), "prev_kv": prev_kv, "lease": lease});
        if prev_kv {
            needs.push((false, span.clone()));
        }
        needs.push((true, span));
        if lease != 0 {
            needs.extend(self.attached(&[lease], true)?);
        }
        Ok(put)
    }

    fn some_txn(
        &mut self,
        chance: &mut Chance,
        depth: usize,
        needs: &mut Vec<(bool, Span)>,
    ) -> anyhow::Result<Value> {
        let mut compares = Vec::new();
        for _ in 0..chance.below(2) {
            let span = chance.range();
            let mut compare = span.wire();
            compare["target"] = "VERSION".into();
            compares.push(compare);
            needs.push((false, span));
        }
        let mut branches = [Vec::new(), Vec::new()];
        for branch in &mut branches {
            for _ in 0..chance.below(3) {
                branch.push(match chance.below(if depth == 0 { 3 } else { 4 }) {
                    0 => {
                        let span = chance.range();
                        let wire = json!({"request_range": span.wire()});
                        needs.push((false, span));
                        wire
                    }
                    1 => json!({"request_put": self.some_put(chance, needs)?}),
                    2 => {
                        let (wire, mut need) = some_delete(chance);
                        needs.append(&mut need);
                        json!({"request_delete_range": wire})
                    }
                    _ => json!({"request_txn": self.some_txn(chance, depth - 1, needs)?}),
                });
            }
        }
        let [success, failure] = branches;
        Ok(json!({"compare": compares, "success": success, "failure": failure}))
    }

    fn some_call(&mut self, chance: &mut Chance, who: &Who) -> anyhow::Result<Call> {
        let lease = self.leases[chance.below(self.leases.len())];
        let all = self.leases.clone();
        let call = |method, body, need| Call { method, body, need, changes: false };
        let change = |method, body, need| Call { method, body, need, changes: true };
        Ok(match chance.below(23) {
            0..=3 => {
                let span = chance.range();
                let mut wire = span.wire();
                wire["serializable"] = chance.happens(2).into();
                call("KV/Range", wire, Need::Keys(vec![(false, span)]))
            }
            4..=6 => {
                let mut needs = Vec::new();
                change("KV/Put", self.some_put(chance, &mut needs)?, Need::Keys(needs))
            }
            7..=8 => {
                let (wire, needs) = some_delete(chance);
                change("KV/DeleteRange", wire, Need::Keys(needs))
            }
            9..=13 => {
                let mut needs = Vec::new();
                change("KV/Txn", self.some_txn(chance, 2, &mut needs)?, Need::Keys(needs))
            }
            14 => call("Lease/LeaseTimeToLive", json!({"ID": lease}), Need::Nothing),
            15 => {
                let need = Need::Keys(self.attached(&[lease], false)?);
                call("Lease/LeaseTimeToLive", json!({"ID": lease, "keys": true}), need)
            }
            16 => {
                call("Lease/LeaseKeepAlive", json!({"ID": lease}), Need::Keys(self.attached(&[lease], true)?))
            }
            17 if chance.happens(3) => {
                change("Lease/LeaseRevoke", json!({"ID": lease}), Need::Keys(self.attached(&[lease], true)?))
            }
            17 => call("Lease/LeaseLeases", json!({}), Need::Keys(self.attached(&all, false)?)),
            18 => {
                let name = chance.name();
                let span = Span { key: format!("{name}/"), end: format!("{name}0") };
                call("Election/Leader", json!({"name": bytes(&name)}), Need::Keys(vec![(false, span)]))
            }
            19 => {
                let span = Span { key: chance.name(), end: String::new() };
                change("Lock/Unlock", json!({"key": bytes(&span.key)}), Need::Keys(vec![(true, span)]))
            }
            20 => {
                let span = chance.range();
                call("KV/RangeStream", span.wire(), Need::Keys(vec![(false, span)]))
            }
            21 => {
                let name = (*chance.one(&NAMES)).to_owned();
                match chance.below(6) {
                    0 => call("Auth/UserGet", json!({"name": name}), Need::User(name)),
                    1 => {
                        let role = self.users.iter().flat_map(|(known, _)| &known.roles).next().cloned();
                        let role = role.unwrap_or_default();
                        call("Auth/RoleGet", json!({"role": role}), Need::Role(role))
                    }
                    2 => call("Cluster/MemberList", json!({}), Need::Nothing),
                    3 => call("Maintenance/Status", json!({}), Need::Nothing),
                    4 => call("Maintenance/Alarm", json!({}), Need::Nothing),
                    _ => call("KV/Txn", json!({}), Need::Nothing),
                }
            }
            _ => {
                let (method, body) = some_of_root(chance, matches!(who, Who::Root));
                call(method, body, Need::Root)
            }
        })
    }

    /// Asks, and looks at the verdict and at what came out.
    fn check(&mut self, chance: &mut Chance) -> anyhow::Result<Verdict> {
        let address = self.root.address;
        let (who, user) = match chance.below(12) {
            0 => (Who::Root, self.root.clone()),
            1 => (Who::Nobody, User::nobody(address)),
            2 => (Who::Stranger, User { address, token: Some("ghostInTheShell1.7".to_owned()) }),
            _ => {
                let (known, user) = chance.one(&self.users).clone();
                (Who::One(known), user)
            }
        };
        let call = self.some_call(chance, &who)?;
        let expected = judge(&who, &call.need);
        // A stream of JSON has another form; these are asked over gRPC.
        let streams =
            ["Lease/LeaseKeepAlive", "KV/RangeStream", "Maintenance/Snapshot"].contains(&call.method);
        let said = if streams || chance.happens(2) {
            self.over_grpc(&user, call.method, &call.body)
        } else {
            self.over_json(&user, call.method, &call.body)
        };
        let story = || format!("{:?} wants {} {}", who.name(), call.method, call.body);
        let said = said.with_context(story)?;
        // What is none in itself is refused before anybody is looked at, and does nothing.
        let is_none = said.text.contains("duplicate key given in txn request");
        let got = if is_none { expected } else { verdict(&said) };
        ensure!(got == expected, "{}: {said:?}, expected is {expected:?}", story());
        if let Who::One(known) = &who
            && call.method.starts_with("KV/")
        {
            let mut seen = Vec::new();
            keys_in(&said.body, &mut seen);
            for key in seen {
                ensure!(known.may(false, &key), "{}: it sees {key:?}: {}", story(), said.body);
            }
        }
        if let Some(now) = revision(&said.body) {
            let may_rise = i64::from(call.changes && said.code == 0);
            ensure!(
                (self.revision..=self.revision + may_rise).contains(&now),
                "{}: the revision went from {} to {now}",
                story(),
                self.revision
            );
            self.revision = now;
        }
        Ok(expected)
    }

    /// A watch of somebody; its first answer tells.
    fn check_watch(&mut self, chance: &mut Chance) -> anyhow::Result<Verdict> {
        let (known, user) = chance.one(&self.users).clone();
        let span = chance.range();
        let expected = judge(&Who::One(known.clone()), &Need::Keys(vec![(false, span.clone())]));
        let create = json!({"create_request": span.wire()});
        let body = if chance.happens(2) {
            let method = grpc::method("Watch/Watch").context("a method")?;
            let message = grpc::encode(method.input(), &create.to_string())?;
            let first = client::runtime().block_on(async {
                let (path, proof) = (grpc::path_of(&method), user.proof("token"));
                let mut stream = grpc::Stream::open(user.address, &path, &proof).await?;
                stream.send(&message).await?;
                tokio::time::timeout(PATIENCE, stream.receive()).await?
            })?;
            grpc::decode(method.output(), &first.context("an answer")?)?
        } else {
            let body = create.to_string();
            let request =
                http1::request("POST", "/v3/watch", &user.proof("Authorization"), Some(body.as_bytes()));
            let mut lines = http1::Lines::open(user.address, &request, PATIENCE)?;
            lines.receive()?.context("an answer")?
        };
        let got = if body.contains("permission denied") { Verdict::Denied } else { Verdict::Served };
        ensure!(got == expected, "{} watches {span:?}: {body}, expected is {expected:?}", known.name);
        Ok(expected)
    }
}

impl Who {
    fn name(&self) -> &str {
        match self {
            Self::Root => "root",
            Self::Nobody => "nobody",
            Self::Stranger => "a stranger",
            Self::One(known) => &known.name,
        }
    }
}

fn some_delete(chance: &mut Chance) -> (Value, Vec<(bool, Span)>) {
    let (span, prev_kv) = (chance.range(), chance.happens(2));
    let mut wire = span.wire();
    wire["prev_kv"] = prev_kv.into();
    let mut needs = vec![(true, span.clone())];
    if prev_kv {
        needs.push((false, span));
    }
    (wire, needs)
}

/// What root alone may; what would change something is not asked by root.
fn some_of_root(chance: &mut Chance, is_root: bool) -> (&'static str, Value) {
    let harmless = [
        ("Auth/UserList", json!({})),
        ("Auth/RoleList", json!({})),
        ("Auth/AuthStatus", json!({})),
        ("Maintenance/HashKV", json!({})),
        ("Maintenance/Hash", json!({})),
    ];
    let perm = json!({"permType": "READWRITE", "key": bytes("\0"), "range_end": bytes("\0")});
    let harmful = [
        ("KV/Compact", json!({"revision": 1})),
        ("Cluster/MemberAdd", json!({"peerURLs": ["http://127.0.0.1:1"]})),
        ("Cluster/MemberRemove", json!({"ID": 1})),
        ("Cluster/MemberUpdate", json!({"ID": 1, "peerURLs": ["http://127.0.0.1:1"]})),
        ("Cluster/MemberPromote", json!({"ID": 1})),
        ("Maintenance/Alarm", json!({"action": "ACTIVATE", "alarm": "NOSPACE"})),
        ("Maintenance/MoveLeader", json!({"targetID": 1})),
        ("Maintenance/Defragment", json!({})),
        ("Maintenance/Snapshot", json!({})),
        ("Maintenance/Downgrade", json!({"action": "VALIDATE", "version": "3.6"})),
        ("Auth/AuthEnable", json!({})),
        ("Auth/AuthDisable", json!({})),
        ("Auth/UserAdd", json!({"name": "eve", "password": "eve"})),
        ("Auth/UserDelete", json!({"name": "alice"})),
        ("Auth/UserChangePassword", json!({"name": "alice", "password": "eve"})),
        ("Auth/UserGrantRole", json!({"user": "alice", "role": "root"})),
        ("Auth/UserRevokeRole", json!({"name": "alice", "role": "root"})),
        ("Auth/RoleAdd", json!({"name": "eve"})),
        ("Auth/RoleDelete", json!({"role": "eve"})),
        ("Auth/RoleGrantPermission", json!({"name": "eve", "perm": perm})),
        ("Auth/RoleRevokePermission", json!({"role": "eve", "key": bytes("a")})),
    ];
    let mut all = harmless.to_vec();
    if !is_root {
        all.extend(harmful);
    }
    chance.one(&all).clone()
}

fn revision(body: &Value) -> Option<i64> {
    body["header"]["revision"].as_str()?.parse().ok()
}

fn text_of(value: &Value) -> Option<String> {
    String::from_utf8(STANDARD.decode(value.as_str()?).ok()?).ok()
}

/// Every key that an answer shows.
fn keys_in(body: &Value, seen: &mut Vec<String>) {
    match body {
        Value::Object(fields) => {
            seen.extend(fields.get("key").and_then(text_of));
            fields.values().for_each(|value| keys_in(value, seen));
        }
        Value::Array(values) => values.iter().for_each(|value| keys_in(value, seen)),
        _ => {}
    }
}

#[test]
fn nobody_gets_more_or_less_over_the_wire_than_a_model_says() -> anyhow::Result<()> {
    let number = |name, usual| env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let combinations = number("AUTH_COMBINATIONS", COMBINATIONS);
    let seed = number("AUTH_SEED", 6);
    eprintln!("AUTH_SEED={seed} AUTH_COMBINATIONS={combinations}");
    let mut chance = Chance(seed as u64);
    let cluster =
        Cluster::start(&Settings::new(&program()?, 1).flags(&["--bcrypt-cost=4", "--auth-token-ttl=36000"]))?;
    let mut v2 = model_v2::House::open(cluster.member(0).address())?;
    let mut house = House::open(&cluster)?;
    let mut counts = [0_usize; 4];
    for tried in 0..combinations {
        if tried % EACH == 0 {
            house.furnish(&mut chance, tried / EACH)?;
            v2.furnish(&mut chance, tried / EACH)?;
        }
        let verdict = match chance.below(20) {
            0 => house.check_watch(&mut chance),
            1..=4 => v2.check(&mut chance),
            _ => house.check(&mut chance),
        };
        let verdict = verdict.with_context(|| format!("combination {tried} of seed {seed}"))?;
        counts[verdict as usize] += 1;
    }
    eprintln!("served, denied, without a name, with a bad token: {counts:?}");
    ensure!(counts.iter().all(|count| *count > combinations / 50), "too few of a kind: {counts:?}");
    cluster.done()
}

/// Metadata as a header, for v2.
pub(crate) fn basic(name: &str, password: &str) -> Vec<(String, String)> {
    vec![header("Authorization", &format!("Basic {}", STANDARD.encode(format!("{name}:{password}"))))]
}
