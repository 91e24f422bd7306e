//! What an operator does with etcdctl and a unit file, as docs/OPERATIONS.md describes it.

use ::tests::{Cluster, until};
use anyhow::Context;
use std::time::Duration;

/// How long a member may be refused because the others are not yet seen as healthy for long enough.
const PATIENCE: Duration = Duration::from_secs(30);

/// Adds a member: `member add` at one of `at`, then starts it with what etcdctl printed. Answers its number.
pub(crate) fn add(cluster: &mut Cluster, at: &[usize]) -> anyhow::Result<usize> {
    let number = announce(cluster, at, &[])?;
    cluster.restart(number)?;
    Ok(number)
}

/// `member add`, and the new member's flags from what etcdctl printed; it is not started.
pub(crate) fn announce(cluster: &mut Cluster, at: &[usize], more: &[&str]) -> anyhow::Result<usize> {
    let number = cluster.add_process("existing")?;
    let setup = cluster.member(number).setup.clone();
    let peer_urls = format!("--peer-urls={}", setup.peer_url());
    let mut arguments = vec!["member", "add", &setup.name, &peer_urls];
    arguments.extend(more);
    let said = when_healthy(cluster, at, &arguments)?;
    cluster.member_mut(number).setup.initial_cluster = said_initial_cluster(&said)?;
    Ok(number)
}

/// Removes a member, asking at one of `at`.
pub(crate) fn remove(cluster: &Cluster, at: &[usize], id: u64) -> anyhow::Result<String> {
    when_healthy(cluster, at, &["member", "remove", &format!("{id:x}")])
}

/// Runs etcdctl again while it is refused for a reason that passes by itself.
pub(crate) fn when_healthy(cluster: &Cluster, at: &[usize], arguments: &[&str]) -> anyhow::Result<String> {
    const PASSES: [&str; 4] =
        ["unhealthy cluster", "not enough started members", "in sync with leader", "too many learner"];
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
