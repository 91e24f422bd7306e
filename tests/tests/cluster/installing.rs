//! A newcomer that installs a snapshot for longer than an election takes answers heartbeats meanwhile; and what it has
//! installed is everything: leases with their keys and their time, and the history for watches.

use std::time::{Duration, Instant};

use ::tests::Cluster;
use ::tests::cluster::{Lag, Link, Settings, is_etcd, program};
use ::tests::{client, operator, until};
use anyhow::{Context, ensure};
use proto::etcdserverpb::watch_client::WatchClient;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{WatchCreateRequest, WatchRequest};
use tokio_stream::StreamExt as _;

/// What no step takes longer than, however busy the machine is.
const LONG: Duration = Duration::from_mins(1);
/// So much longer each of the newcomer's syncs takes: those of an install together longer than an election.
const LAG: Duration = Duration::from_millis(150);
/// Writes, so large that the snapshot takes a while over a slow line.
const VALUES: usize = 20;
const VALUE_BYTES: usize = 256 << 10;
/// For every 64 KiB.
const SLOW: Link = Link::Slow(Duration::from_millis(10));
/// In seconds.
const TTL: i64 = 600;

#[test]
fn heartbeats_are_answered_while_a_snapshot_is_installed() -> anyhow::Result<()> {
    let program = program()?;
    if is_etcd(&program) {
        eprintln!("NOT CHECKED: the disk of real etcd cannot be slowed");
        return Ok(());
    }
    let mut cluster = Cluster::start(&Settings::new(&program, 3).linked())?;
    let Some(lag) = Lag::build(cluster.folder())? else {
        eprintln!("NOT CHECKED: there is no C compiler (cc), so no disk can be slowed");
        return cluster.done();
    };
    let leader = cluster.wait_leader()?;
    let lease = write(&cluster, leader)?;
    let newcomer = operator::announce(&mut cluster, &[leader], &[])?;
    cluster.links().set_both(leader, newcomer, SLOW);
    lag.slow_down(&mut cluster.member_mut(newcomer).setup, LAG);
    cluster.spawn(newcomer)?;
    logs(&cluster, newcomer, "fetching a snapshot")?;
    // Three of four are a majority, and one of these three is the newcomer: when it is silent for an election time-out,
    // the leader has to step down.
    let idle = *cluster.others(leader).iter().find(|other| **other != newcomer).context("four members")?;
    let term = cluster.member(leader).client()?.status()?.raft_term;
    cluster.member(idle).pause()?;
    cluster.links().set_both(leader, newcomer, Link::Open);
    logs(&cluster, newcomer, "fetched a snapshot")?;
    let began = Instant::now();
    logs(&cluster, newcomer, "it takes the place of this member's state")?;
    let took = began.elapsed();
    cluster.member_mut(newcomer).wait_ready()?;
    let now = cluster.member(leader).client()?.status()?;
    ensure!(now.raft_term == term, "terms went from {term} to {} during an install", now.raft_term);
    let election = Duration::from_millis(cluster.settings().election_ms);
    ensure!(took > election, "it took {took:?}: too short to show anything");
    cluster.member(idle).resume()?;
    cluster.wait_equal(&[0, 1, 2, newcomer])?;
    holds_everything(&mut cluster, leader, newcomer, lease)?;
    cluster.done()
}

/// Large values, one of them written over; and a lease with a key.
fn write(cluster: &Cluster, leader: usize) -> anyhow::Result<i64> {
    let client = cluster.member(leader).client()?;
    for number in 0..VALUES {
        client.put(&format!("k{}", number % (VALUES - 1)), &"x".repeat(VALUE_BYTES))?;
    }
    let lease = client.lease(TTL)?;
    client.put_leased("leased", lease)?;
    Ok(lease)
}

fn logs(cluster: &Cluster, number: usize, words: &str) -> anyhow::Result<()> {
    let said = until(LONG, || cluster.member(number).log().contains(words).then_some(()));
    said.with_context(|| format!("it never says {words:?}\n{}", cluster.logs()))
}

/// A lease that was granted before has its key and most of its time, also when the newcomer leads; a watch at the
/// newcomer is told of every revision since the first.
fn holds_everything(cluster: &mut Cluster, leader: usize, newcomer: usize, lease: i64) -> anyhow::Result<()> {
    let revision = i64::try_from(VALUES)? + 2;
    let told = client::runtime().block_on(watched(cluster, newcomer, revision))?;
    ensure!(told == (2..=revision).collect::<Vec<_>>(), "a watch from the beginning was told of {told:?}");
    let time = |cluster: &Cluster| -> anyhow::Result<()> {
        let id = format!("{lease:x}");
        let said = cluster.etcdctl(&[newcomer], &["lease", "timetolive", &id, "--keys"])?;
        let granted = format!("granted with TTL({TTL}s)");
        ensure!(said.contains(&granted) && said.contains("leased"), "the lease is not as it was: {said}");
        let left = said.split("remaining(").nth(1).and_then(|rest| rest.split("s)").next());
        let left: i64 = left.with_context(|| said.clone())?.parse()?;
        ensure!(left > TTL / 2 && left <= TTL, "{left} of {TTL} seconds are left: {said}");
        Ok(())
    };
    time(cluster)?;
    let id = cluster.member(newcomer).client()?.id()?;
    cluster.member(leader).client()?.move_leader(id)?;
    until(LONG, || (cluster.leader() == Some(newcomer)).then_some(()))
        .context("the newcomer does not lead")?;
    time(cluster)?;
    cluster.etcdctl(&[newcomer], &["lease", "revoke", &format!("{lease:x}")])?;
    ensure!(
        cluster.member(newcomer).client()?.get("leased")?.is_none(),
        "the key has not gone with its lease"
    );
    Ok(())
}

/// The revisions of which a watch at this member is told, from the first on up to `last`.
async fn watched(cluster: &Cluster, number: usize, last: i64) -> anyhow::Result<Vec<i64>> {
    let channel = client::channel(cluster.member(number).address(), LONG)?;
    let all = WatchCreateRequest {
        key: vec![0].into(),
        range_end: vec![0].into(),
        start_revision: 1,
        ..WatchCreateRequest::default()
    };
    let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(all)) };
    let requests = tokio_stream::once(request).chain(tokio_stream::pending());
    let mut stream = WatchClient::new(channel).watch(requests).await?.into_inner();
    let mut told = Vec::new();
    while told.last() != Some(&last) {
        let message = stream.message().await?.context("the stream ended")?;
        ensure!(!message.canceled, "canceled: {}", message.cancel_reason);
        told.extend(message.events.into_iter().filter_map(|event| Some(event.kv?.mod_revision)));
    }
    Ok(told)
}
