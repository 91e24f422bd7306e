//! v3 data with all that etcd keeps beside it, and what a server shows of that.

use std::env;
use std::fmt::Write as _;

use ::tests::client::{channel, runtime};
use ::tests::{Cluster, etcdctl};
use anyhow::{Context, ensure};
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{DeleteRangeRequest, PutRequest, RequestOp, TxnRequest};
use std::time::Duration;

/// As root.
pub(crate) const ROOT: &str = "--user=root:secret";
/// Keys in a transaction.
const TOGETHER: usize = 100;

/// What a server was filled with.
pub(crate) struct Filled {
    /// Revisions whose keys are compared, none of them forgotten.
    pub(crate) revisions: Vec<i64>,
}

/// How many keys: 3,000, or as many as `KVORUM_MOVING_KEYS` says.
fn keys() -> usize {
    env::var("KVORUM_MOVING_KEYS").ok().and_then(|keys| keys.parse().ok()).unwrap_or(3_000)
}

/// kvorumctl, as root, at the only member.
pub(crate) fn ctl(cluster: &Cluster, words: &[&str]) -> anyhow::Result<String> {
    let endpoint = format!("--endpoints={}", cluster.member(0).setup.client_url());
    etcdctl::kvorumctl(&[&[&endpoint, "--command-timeout=60s"], words].concat())
}

/// Keys with history, removals, transactions, leases, a compaction, users and roles; and users are asked for.
pub(crate) fn fill(cluster: &Cluster) -> anyhow::Result<Filled> {
    let client = cluster.member(0).client()?;
    let mut kv = KvClient::new(channel(cluster.member(0).address(), Duration::from_mins(1))?);
    let mut txn = |operations: Vec<Request>| -> anyhow::Result<i64> {
        let success = operations.into_iter().map(|request| RequestOp { request: Some(request) }).collect();
        let reply = runtime().block_on(kv.txn(TxnRequest { success, ..TxnRequest::default() }))?.into_inner();
        Ok(reply.header.context("a header")?.revision)
    };
    let leases: Vec<i64> = (0..20).map(|number| client.lease(50_000 + number)).collect::<Result<_, _>>()?;
    let put = |key: usize, value: String, lease: i64| {
        Request::RequestPut(PutRequest {
            key: format!("key/{key:06}").into(),
            value: value.into(),
            lease,
            ..PutRequest::default()
        })
    };
    let mut revisions = Vec::new();
    for round in 0..2 {
        for first in (0..keys()).step_by(TOGETHER) {
            // The second time, every other key.
            let some = (first..(first + TOGETHER).min(keys())).filter(|key| round == 0 || key % 2 == 0);
            let puts = some.map(|key| {
                let lease = leases.get(key % 50).copied().unwrap_or_default();
                put(key, format!("value {round} of {key}"), lease)
            });
            revisions.push(txn(puts.collect())?);
        }
    }
    for number in 0..30 {
        revisions.push(client.put("often", &format!("{number}"))?);
    }
    for key in 0..10 {
        let removal =
            DeleteRangeRequest { key: format!("key/{:06}", key * 7).into(), ..DeleteRangeRequest::default() };
        revisions
            .push(txn(vec![Request::RequestDeleteRange(removal), put(900_000 + key, String::new(), 0)])?);
    }
    client.put("key/000007", "again")?;
    client.put("large", &"x".repeat(1 << 20))?;
    client.put("\0odd\u{7f}", "")?;
    let oldest = *revisions.get(revisions.len() / 4).context("revisions")?;
    ctl(cluster, &["compaction", &oldest.to_string()])?;
    revisions.push(client.delete("often")?);
    for words in [
        &["user", "add", "root:secret"][..],
        &["user", "add", "ana:word"],
        &["user", "add", "guest", "--no-password"],
        &["role", "add", "reader"],
        &["role", "grant-permission", "reader", "read", "key/", "--prefix"],
        &["role", "grant-permission", "reader", "readwrite", "own"],
        &["role", "grant-permission", "reader", "write", "from", "frop"],
        &["user", "grant-role", "ana", "reader"],
        &["role", "add", "root"],
        &["user", "grant-role", "root", "root"],
        &["auth", "enable"],
    ] {
        ctl(cluster, words)?;
    }
    // At the oldest itself etcd tells no hash.
    revisions.retain(|revision| *revision > oldest);
    let every = (revisions.len() / 6).max(1);
    Ok(Filled { revisions: revisions.into_iter().rev().step_by(every).collect() })
}

/// All that a server shows: keys at several revisions, what was forgotten, leases, users, roles.
pub(crate) fn image(cluster: &Cluster, filled: &Filled) -> anyhow::Result<String> {
    let mut image = String::new();
    let show = |image: &mut String, words: &[&str]| -> anyhow::Result<()> {
        let shown = ctl(cluster, &[&[ROOT], words].concat())?;
        let mut lines: Vec<&str> = shown.lines().collect();
        if matches!(words, ["lease", ..]) {
            // In the order of their ends, which are far away again after a start.
            lines.sort_unstable();
        }
        writeln!(image, "{words:?}\n{}", lines.join("\n"))?;
        Ok(())
    };
    show(&mut image, &["get", "", "--prefix", "-w", "jsonl"])?;
    for revision in &filled.revisions {
        show(&mut image, &["get", "", "--prefix", "-w", "jsonl", "--rev", &revision.to_string()])?;
    }
    for words in [
        &["lease", "list"][..],
        &["user", "list"],
        &["user", "get", "ana", "--detail"],
        &["user", "get", "guest", "--detail"],
        &["role", "list"],
        &["role", "get", "reader"],
    ] {
        show(&mut image, words)?;
    }
    let oldest = filled.revisions.iter().min().context("revisions")?;
    let forgotten = ctl(cluster, &[ROOT, "get", "often", "--rev", "2"]);
    ensure!(
        forgotten.is_err_and(|error| error.to_string().contains("compacted")),
        "2 of {oldest} was forgotten"
    );
    Ok(image)
}

/// Leases keep the time that they were granted and their keys.
pub(crate) fn leases(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    let list = ctl(cluster, &[ROOT, "lease", "list"])?;
    let mut shown = Vec::new();
    // They are listed in the order of their ends.
    let mut ids: Vec<&str> = list.lines().skip(1).collect();
    ids.sort_unstable();
    for id in ids.into_iter().step_by(6) {
        let lease = ctl(cluster, &[ROOT, "lease", "timetolive", id.trim(), "--keys"])?;
        // `lease ID granted with TTL(50001s), remaining(49990s), attached keys([...])`
        let granted = lease.split(", remaining").next().unwrap_or_default();
        let keys = lease.split("attached keys").nth(1).context("keys")?;
        // etcd tells them in no order.
        let mut keys: Vec<&str> = keys.trim().trim_matches(['(', ')', '[', ']']).split(' ').collect();
        keys.sort_unstable();
        shown.push(format!("{granted} {keys:?}"));
    }
    ensure!(!shown.is_empty(), "there are leases: {list}");
    shown.sort_unstable();
    Ok(shown)
}

/// Who may what.
pub(crate) fn is_guarded(cluster: &Cluster) -> anyhow::Result<()> {
    ensure!(ctl(cluster, &["--user=ana:word", "get", "key/000001"])?.starts_with("key/000001\n"));
    ctl(cluster, &["--user=ana:word", "put", "from1", "x"])?;
    for words in [
        &["get", "key/000001"][..],
        &["--user=ana:wrong", "get", "key/000001"],
        &["--user=ana:word", "put", "key/000001", "x"],
        &["--user=guest:", "get", "key/000001"],
    ] {
        ensure!(ctl(cluster, words).is_err(), "{words:?} is allowed");
    }
    Ok(())
}

/// The hashes of the history up to each revision.
pub(crate) fn hashes(cluster: &Cluster, filled: &Filled) -> anyhow::Result<Vec<(u32, i64)>> {
    let hash = |revision: &i64| -> anyhow::Result<(u32, i64)> {
        let revision = format!("--rev={revision}");
        let said = ctl(cluster, &[ROOT, "endpoint", "hashkv", &revision, "-w", "json"])?;
        let said: serde_json::Value = serde_json::from_str(&said)?;
        let answer = &said[0]["HashKV"];
        let hash = answer["hash"].as_u64().and_then(|hash| u32::try_from(hash).ok()).context("a hash")?;
        Ok((hash, answer["compact_revision"].as_i64().context("a revision")?))
    };
    filled.revisions.iter().map(hash).collect()
}

pub(crate) fn first_difference<'a>(found: &'a str, expected: &'a str) -> Option<(&'a str, &'a str)> {
    found.lines().zip(expected.lines()).find(|(found, expected)| found != expected)
}
