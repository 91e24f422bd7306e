//! Flannel's use of v2: every node leases a subnet for itself, renews it, and follows the leases of all others by
//! waiting. 200 nodes at once, while the leader is killed and the history forgets what the slow have not seen.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use ::tests::cluster::{Settings, program};
use ::tests::v2::{Told, V2};
use ::tests::{Cluster, until};
use anyhow::{Context, bail, ensure};
use serde_json::Value;

const NODES: usize = 200;
const NETWORK: &str = "/coreos.com/network/config";
const SUBNETS: &str = "/coreos.com/network/subnets";

/// Seconds that a lease lasts; longer than the test, so that none is lost by a busy machine.
const LEASE: &str = "600";

/// A client that waits out an election.
const LONG: Duration = Duration::from_secs(20);

/// What all nodes share with the test.
#[derive(Default)]
struct Stage {
    leased: AtomicUsize,
    renewed: AtomicUsize,
    /// Nodes stop renewing.
    over: AtomicBool,
    /// Set when nothing is written any more: the index up to which everybody must have heard.
    last: AtomicUsize,
}

type Leases = BTreeMap<String, String>;

/// Takes a free subnet for this node, and renews it until the end. Answers which.
fn lease(addresses: &[SocketAddr], node: usize, stage: &Stage) -> anyhow::Result<String> {
    let mut client = V2::new(addresses, LONG).from(node);
    let name = format!("node-{node}");
    let (subnet, mut index) = loop {
        let taken =
            leases_of(&client.insist("GET", &format!("{SUBNETS}?recursive=true&quorum=true"), &[])?);
        if let Some((subnet, _)) = taken.iter().find(|(_, owner)| **owner == name) {
            // Nothing was heard of the answer, and it is ours.
            let told = client.insist("GET", &format!("{subnet}?quorum=true"), &[])?;
            break (subnet.clone(), told.modified());
        }
        // Everybody wants the first free one, as badly written allocators do.
        let free = (0..NODES).map(|number| format!("{SUBNETS}/10.{number}.0.0-24"));
        let free = free.skip(node % 8).find(|subnet| !taken.contains_key(subnet));
        let subnet = free.unwrap_or_else(|| format!("{SUBNETS}/10.{}.0.0-24", node % 8));
        let form = [("value", name.as_str()), ("ttl", LEASE), ("prevExist", "false")];
        match client.ask("PUT", &subnet, &form) {
            Ok(told) if told.status == 201 => break (subnet, told.modified()),
            Ok(told) if told.code() == 105 => {}
            Ok(told) if told.status < 500 => bail!("{told:?}"),
            _ => {}
        }
    };
    stage.leased.fetch_add(1, Ordering::Relaxed);
    while !stage.over.load(Ordering::Acquire) {
        let form = [("value", name.as_str()), ("ttl", LEASE)];
        match client.ask("PUT", &format!("{subnet}?prevIndex={index}"), &form) {
            Ok(told) if told.status == 200 => index = told.modified(),
            Ok(told) if told.status < 500 && told.code() != 101 => bail!("{told:?}"),
            // It may have been renewed by the request of which nothing was heard.
            _ => {
                let told = client.insist("GET", &format!("{subnet}?quorum=true"), &[])?;
                ensure!(
                    told.node("value") == name.as_str(),
                    "{subnet} of {name} has another owner: {told:?}"
                );
                index = told.modified();
            }
        }
        stage.renewed.fetch_add(1, Ordering::Relaxed);
        // Reason to sleep: renewals come from time to time, not as fast as they can.
        thread::sleep(Duration::from_millis(500));
    }
    Ok(subnet)
}

/// Follows all leases, from a listing and then by waiting. Answers what it knows at the end, and how often it had to
/// list again.
fn follow(addresses: &[SocketAddr], node: usize, stage: &Stage) -> anyhow::Result<(Leases, usize)> {
    // A wait may take long, and ends when its member does.
    let mut client = V2::new(addresses, Duration::from_secs(3)).from(node);
    let mut lists = 0_usize;
    let mut known = Leases::new();
    let mut next = 0;
    loop {
        if next == 0 {
            let told = client.insist("GET", &format!("{SUBNETS}?recursive=true&quorum=true"), &[])?;
            (known, next) = (leases_of(&told), told.index.saturating_add(1));
            lists = lists.wrapping_add(1);
            if node.is_multiple_of(20) {
                // Reason to sleep: this one is slow, and the history forgets what it has not seen.
                thread::sleep(Duration::from_secs(4));
            }
        }
        let last = stage.last.load(Ordering::Acquire) as u64;
        if last != 0 && next > last {
            return Ok((known, lists));
        }
        match client.ask("GET", &format!("{SUBNETS}?wait=true&recursive=true&waitIndex={next}"), &[]) {
            Ok(told) if told.code() == 401 => next = 0,
            Ok(told) if told.status == 200 && told.body != Value::Null => {
                next = told.modified().saturating_add(1);
                apply(&mut known, &told)?;
            }
            // Nothing happened for a while, or the member went away: the same again, elsewhere.
            _ => {}
        }
    }
}

fn apply(known: &mut Leases, told: &Told) -> anyhow::Result<()> {
    let key = told.node("key").as_str().context("a key")?.to_owned();
    match told.body["action"].as_str() {
        Some("delete" | "expire" | "compareAndDelete") => {
            known.remove(&key);
        }
        _ => {
            known.insert(key, told.node("value").as_str().unwrap_or_default().to_owned());
        }
    }
    Ok(())
}

fn leases_of(told: &Told) -> Leases {
    told.nodes().into_iter().map(|(key, value, _)| (key, value)).collect()
}

#[test]
fn two_hundred_nodes_lease_subnets_and_follow_one_another_while_the_leader_dies() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(&Settings::new(&program()?, 3).flags(&["--enable-v2=true"]))?;
    let leader = cluster.wait_leader()?;
    let addresses: Vec<SocketAddr> = (0..3).map(|number| cluster.member(number).address()).collect();
    let mut client = V2::new(&addresses, LONG);
    client.insist("PUT", NETWORK, &[("value", "10.0.0.0%2F8")])?;
    client.insist("PUT", SUBNETS, &[("dir", "true")])?;
    let stage = Stage::default();
    let (subnets, views) = thread::scope(|scope| -> anyhow::Result<_> {
        let (addresses, stage) = (&addresses, &stage);
        let followers: Vec<_> =
            (0..NODES).map(|node| scope.spawn(move || follow(addresses, node, stage))).collect();
        let nodes: Vec<_> =
            (0..NODES).map(|node| scope.spawn(move || lease(addresses, node, stage))).collect();
        let many = |count: &AtomicUsize, least: usize| {
            until(Duration::from_secs(200), || (count.load(Ordering::Relaxed) >= least).then_some(()))
        };
        let half = many(&stage.leased, NODES / 2);
        cluster.member_mut(leader).kill()?;
        let all = many(&stage.leased, NODES);
        // More renewals than the history remembers.
        let renewed = many(&stage.renewed, stage.renewed.load(Ordering::Relaxed).saturating_add(1_500));
        stage.over.store(true, Ordering::Release);
        let subnets = nodes.into_iter().map(|node| node.join().expect("a node reports"));
        let subnets: anyhow::Result<Vec<String>> = subnets.collect();
        let ended = client.insist("PUT", &format!("{SUBNETS}/end"), &[("value", "end")]);
        // Followers end even if something failed.
        let last = ended.as_ref().map_or(1, Told::modified);
        stage.last.store(usize::try_from(last)?, Ordering::Release);
        let views = followers.into_iter().map(|follower| follower.join().expect("a follower reports"));
        let views: anyhow::Result<Vec<(Leases, usize)>> = views.collect();
        ended?;
        ensure!(half.is_some() && all.is_some() && renewed.is_some(), "the nodes are too slow");
        Ok((subnets?, views?))
    })?;
    let now = leases_of(&client.insist("GET", &format!("{SUBNETS}?recursive=true&quorum=true"), &[])?);
    for (node, subnet) in subnets.iter().enumerate() {
        ensure!(now.get(subnet) == Some(&format!("node-{node}")), "{subnet} is not node {node}'s");
    }
    ensure!(now.len() == NODES + 1, "{} leases for {NODES} nodes", now.len() - 1);
    for (node, (view, _)) in views.iter().enumerate() {
        ensure!(*view == now, "node {node} missed something");
    }
    let again = views.iter().filter(|(_, lists)| *lists > 1).count();
    eprintln!("{NODES} nodes, {} renewals; {again} listed again", stage.renewed.load(Ordering::Relaxed));
    cluster.done()
}
