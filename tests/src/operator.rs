//! What an operator does with etcdctl and a unit file, as docs/OPERATIONS.md describes it.

use std::time::Duration;

use anyhow::{Context, ensure};

use crate::cluster::Cluster;
use crate::wait::until;

/// How long a member may be refused because the others are not yet seen as healthy for long enough.
const PATIENCE: Duration = Duration::from_secs(30);

/// Adds a member: `member add` at one of `at`, then starts it with what etcdctl printed. Answers its number.
pub fn add(cluster: &mut Cluster, at: &[usize]) -> anyhow::Result<usize> {
    let number = announce(cluster, at, &[])?;
    cluster.restart(number)?;
    Ok(number)
}

/// `member add`, and the new member's flags from what etcdctl printed; it is not started.
pub fn announce(cluster: &mut Cluster, at: &[usize], more: &[&str]) -> anyhow::Result<usize> {
    let number = cluster.add_process("existing")?;
    let setup = cluster.member(number).setup.clone();
    let peer_urls = format!("--peer-urls={}", setup.peer_url());
    let mut arguments = vec!["member", "add", &setup.name, &peer_urls];
    arguments.extend(more);
    let said = when_healthy(cluster, at, &arguments)?;
    cluster.member_mut(number).setup.initial_cluster = said_initial_cluster(&said)?;
    Ok(number)
}

/// Takes a dead member out, throws its data away, and puts it in again as a new one with the same name and URLs;
/// it is started and not waited for.
pub fn replace(cluster: &mut Cluster, number: usize) -> anyhow::Result<()> {
    let others = cluster.others(number);
    let name = cluster.member(number).setup.name.clone();
    let id = id_of(cluster, &others, &name)?;
    remove(cluster, &others, id)?;
    cluster.member(number).wipe()?;
    let peer_urls = format!("--peer-urls={}", cluster.member(number).setup.peer_url());
    let said = when_healthy(cluster, &others, &["member", "add", &name, &peer_urls])?;
    let initial_cluster = said_initial_cluster(&said)?;
    let setup = &mut cluster.member_mut(number).setup;
    (setup.initial_cluster, setup.state) = (initial_cluster, "existing");
    cluster.spawn(number)
}

/// The id of the member with that name, as one of `at` knows it.
pub fn id_of(cluster: &Cluster, at: &[usize], name: &str) -> anyhow::Result<u64> {
    let list = when_healthy(cluster, at, &["member", "list"])?;
    let line = list.lines().find(|line| line.split(", ").nth(2) == Some(name));
    let line = line.with_context(|| format!("no {name} in the list:\n{list}"))?;
    let id = line.split(',').next().unwrap_or_default();
    ensure!(!id.is_empty(), "a member without an id: {line}");
    u64::from_str_radix(id, 16).with_context(|| format!("{id} is no id"))
}

/// Removes a member, asking at one of `at`.
pub fn remove(cluster: &Cluster, at: &[usize], id: u64) -> anyhow::Result<String> {
    when_healthy(cluster, at, &["member", "remove", &format!("{id:x}")])
}

/// Runs etcdctl again while it is refused for a reason that passes by itself.
pub fn when_healthy(cluster: &Cluster, at: &[usize], arguments: &[&str]) -> anyhow::Result<String> {
    const PASSES: [&str; 6] = [
        "unhealthy cluster",
        "not enough started members",
        "in sync with leader",
        "too many learner",
        "request timed out",
        "no leader",
    ];
    let mut last = None;
    let said = until(PATIENCE, || match cluster.etcdctl(at, arguments) {
        Err(error) if PASSES.iter().any(|text| error.to_string().contains(text)) => {
            last = Some(error);
            None
        }
        other => Some(other),
    });
    said.or_else(|| last.map(Err)).context("etcdctl was never run")?
}

fn said_initial_cluster(said: &str) -> anyhow::Result<String> {
    let line = said.lines().find_map(|line| line.strip_prefix("ETCD_INITIAL_CLUSTER="));
    let line = line.with_context(|| format!("member add says nothing of ETCD_INITIAL_CLUSTER: {said}"))?;
    Ok(line.trim_matches('"').to_owned())
}
