//! Data of every kind, and what a member shows of it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use ::tests::v2::V2;
use ::tests::{Cluster, http1, until};
use anyhow::{Context, ensure};
use serde_json::Value;

/// A client that waits out an election.
const LONG: Duration = Duration::from_secs(20);

/// As root.
pub(crate) const ROOT: &str = "--user=root:secret";

/// Revisions at which the v3 keyspace is read.
const REVISIONS: [i64; 4] = [2, 10, 60, 110];

/// kvorumctl with the endpoints of these members; answers what it printed.
pub(crate) fn ctl(cluster: &Cluster, members: &[usize], words: &[&str]) -> anyhow::Result<String> {
    let urls: Vec<String> = members.iter().map(|number| cluster.member(*number).setup.client_url()).collect();
    ::tests::etcdctl::kvorumctl(&[&["--endpoints", &urls.join(","), "--command-timeout=20s"], words].concat())
}

/// Writes v3 keys with history and leases, a v2 tree, users and roles of both, and lets them be asked for.
pub(crate) fn grow(cluster: &Cluster, at: usize) -> anyhow::Result<()> {
    let client = cluster.member(at).client()?;
    for number in 0..100 {
        client.put(&format!("key-{}", number % 40), &format!("value {number}"))?;
    }
    for number in 0..10 {
        let lease = client.lease(3600 + number)?;
        client.put_leased(&format!("leased-{number}"), lease)?;
    }
    client.delete("key-7")?;
    ctl(cluster, &[at], &["compaction", "50"])?;
    let mut v2 = V2::new(&[cluster.member(at).address()], LONG);
    for number in 0..50 {
        v2.insist("PUT", &format!("/tree/{}/{number}", number % 5), &[("value", "x"), ("ttl", "7200")])?;
        v2.insist("POST", "/queue", &[("value", "job")])?;
    }
    v2.insist("PUT", "/_hidden/a", &[("value", "1")])?;
    v2.insist("PUT", "/later", &[("dir", "true"), ("ttl", "3600")])?;
    let (users, address) = ("/v2/auth/users/", cluster.member(at).address());
    for (path, body) in [
        (format!("{users}root"), r#"{"user":"root","password":"secret"}"#),
        (format!("{users}ana"), r#"{"user":"ana","password":"word"}"#),
    ] {
        let reply =
            http1::exchange(address, &http1::request("PUT", &path, &[], Some(body.as_bytes())), LONG)?;
        ensure!(reply.status < 300, "{path}: {}", reply.body_text());
    }
    for words in [
        &["user", "add", "root:secret"][..],
        &["user", "add", "ana:word"],
        &["role", "add", "reader"],
        &["role", "grant-permission", "reader", "read", "key-", "--prefix"],
        &["user", "grant-role", "ana", "reader"],
        &["user", "grant-role", "root", "root"],
        &["auth", "enable"],
    ] {
        ctl(cluster, &[at], words)?;
    }
    Ok(())
}

/// What a member shows: v3 at several revisions, leases, users, roles, v2 with its past.
pub(crate) fn image(cluster: &Cluster, at: usize) -> anyhow::Result<String> {
    let mut image = String::new();
    let mut show = |words: &[&str]| -> anyhow::Result<()> {
        let shown = ctl(cluster, &[at], &[&[ROOT], words].concat())?;
        let mut lines: Vec<&str> = shown.lines().filter(|line| !line.contains("member_id")).collect();
        if words[0] == "lease" {
            // In the order of their ends, which are far away again after a start.
            lines.sort_unstable();
        }
        writeln!(image, "{words:?}\n{}", lines.join("\n"))?;
        Ok(())
    };
    for revision in REVISIONS.into_iter().filter(|revision| *revision > 50) {
        show(&["get", "", "--prefix", "-w", "jsonl", "--rev", &revision.to_string()])?;
    }
    for words in [
        &["get", "", "--prefix", "-w", "jsonl"][..],
        &["lease", "list"],
        &["user", "list"],
        &["role", "list"],
        &["role", "get", "reader"],
        &["user", "get", "ana", "--detail"],
    ] {
        show(words)?;
    }
    let address = cluster.member(at).address();
    for target in
        ["/v2/keys/?recursive=true&sorted=true", "/v2/keys/_hidden?recursive=true", "/v2/auth/users"]
    {
        writeln!(image, "{}", v2(address, target)?)?;
    }
    let newest = V2::new(&[address], LONG).ask("GET", "/none", &[])?.index;
    // The newest ones are those of users, of which nobody is told.
    for since in (newest - 90..newest - 30).step_by(5) {
        writeln!(
            image,
            "{}",
            v2(address, &format!("/v2/keys/?recursive=true&wait=true&waitIndex={since}"))?
        )?;
    }
    Ok(image)
}

/// The v3 hash at the newest revision, and that revision.
pub(crate) fn hash(cluster: &Cluster, at: usize) -> anyhow::Result<(i64, u32)> {
    let said = ctl(cluster, &[at], &[ROOT, "endpoint", "hashkv", "-w", "json"])?;
    let said: Value = serde_json::from_str(&said)?;
    let answer = &said[0]["HashKV"];
    let revision = answer["header"]["revision"].as_i64().context("a revision")?;
    Ok((revision, answer["hash"].as_u64().and_then(|hash| u32::try_from(hash).ok()).context("a hash")?))
}

/// Waits until all have the same hash at the same revision, and answers that.
pub(crate) fn wait_equal(cluster: &Cluster, members: &[usize]) -> anyhow::Result<(i64, u32)> {
    let equal = until(LONG, || {
        let hashes: Vec<(i64, u32)> = members.iter().filter_map(|at| hash(cluster, *at).ok()).collect();
        let first = hashes.first().copied()?;
        (hashes.len() == members.len() && hashes.iter().all(|hash| *hash == first)).then_some(first)
    });
    equal.context("they stay different")
}

/// The ids of the members, as one of them knows them.
pub(crate) fn ids(cluster: &Cluster, at: usize) -> anyhow::Result<Vec<u64>> {
    let said: Value = serde_json::from_str(&ctl(cluster, &[at], &[ROOT, "member", "list", "-w", "json"])?)?;
    let members = said["members"].as_array().context("a list")?;
    Ok(members.iter().filter_map(|member| member["ID"].as_u64()).collect())
}

/// Who may what: ana reads what she was given, and nobody else does anything.
pub(crate) fn is_guarded(cluster: &Cluster, at: usize) -> anyhow::Result<()> {
    ensure!(ctl(cluster, &[at], &["--user=ana:word", "get", "key-1"])?.starts_with("key-1\n"));
    for words in [
        &["get", "key-1"][..],
        &["--user=ana:wrong", "get", "key-1"],
        &["--user=ana:word", "put", "key-1", "x"],
        &["--user=ana:word", "get", "leased-1"],
    ] {
        ensure!(ctl(cluster, &[at], words).is_err(), "{words:?} is allowed");
    }
    Ok(())
}

/// A body and the index beside it, without the seconds left, which follow from the expiration and the clock.
fn v2(address: SocketAddr, target: &str) -> anyhow::Result<String> {
    let reply = http1::exchange(address, &http1::request("GET", target, &[], None), LONG)?;
    let index = reply.header("x-etcd-index").unwrap_or_default();
    let mut body = reply.body_text();
    while let Some(at) = body.find("\"ttl\":") {
        let end = body.get(at..).and_then(|rest| rest.find(',')).context("the ttl is not the last field")?;
        body.replace_range(at..=at.saturating_add(end), "");
    }
    Ok(format!("{target} {} {index} {body}", reply.status))
}
