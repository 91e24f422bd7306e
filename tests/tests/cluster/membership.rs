//! Members come and go while the cluster serves, by etcdctl as in docs/OPERATIONS.md.

use std::time::Duration;

use ::tests::cluster::{Settings, Writer, program};
use ::tests::until;
use ::tests::{Cluster, operator};
use anyhow::{Context, ensure};

/// A client that waits out an election.
const LONG: Duration = Duration::from_secs(15);

#[test]
fn one_grows_to_three_and_five_and_shrinks_back() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(&Settings::new(&program()?, 1))?;
    let writer = Writer::start(cluster.member(0).address(), "k", LONG)?;
    let mut alive = vec![0];
    for _ in 0..4 {
        let added = operator::add(&mut cluster, &alive)?;
        alive.push(added);
        writer.wait_more(10)?;
    }
    let list = cluster.etcdctl(&alive, &["member", "list"])?;
    ensure!(list.lines().filter(|line| line.contains(", started, ")).count() == 5, "five started:\n{list}");
    cluster.wait_equal(&alive)?;
    while alive.len() > 1 {
        // Take the leader out whenever it is not the member that the writer uses.
        let leader = cluster.wait_leader_of(&alive)?;
        let victim = if leader == 0 { *alive.last().context("more than one")? } else { leader };
        let id = cluster.member(victim).client()?.id()?;
        alive.retain(|number| *number != victim);
        operator::remove(&cluster, &alive, id)?;
        gone(&mut cluster, victim)?;
        writer.wait_more(10)?;
    }
    let report = writer.finish()?;
    report.check(&cluster.member(0).client()?)?;
    ensure!(cluster.member(0).client()?.members()?.len() == 1, "one is left");
    cluster.done()
}

/// A removed member stops serving and says why; most end.
fn gone(cluster: &mut Cluster, number: usize) -> anyhow::Result<()> {
    let silent = until(LONG, || {
        let running = cluster.member_mut(number).is_running();
        (!running || !cluster.member(number).is_healthy()).then_some(())
    });
    ensure!(silent.is_some(), "it was removed and still serves:\n{}", cluster.member(number).log_tail());
    cluster.member(number).wait_logged(&["removed"])?;
    if cluster.member(number).pid().is_some() {
        cluster.member_mut(number).kill()?;
    }
    Ok(())
}

#[test]
fn a_dead_member_is_replaced() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(&Settings::new(&program()?, 3))?;
    let writer = Writer::start(cluster.member(0).address(), "k", LONG)?;
    let id = cluster.member(2).client()?.id()?;
    cluster.member_mut(2).kill()?;
    cluster.member(2).wipe()?;
    writer.wait_more(10)?;
    let said = operator::remove(&cluster, &[0, 1], id)?;
    ensure!(said.contains("removed from cluster"), "{said}");
    let new = operator::add(&mut cluster, &[0, 1])?;
    writer.wait_more(10)?;
    let report = writer.finish()?;
    report.check(&cluster.member(new).client()?)?;
    cluster.wait_equal(&[0, 1, new])?;
    cluster.done()
}

#[test]
fn a_learner_catches_up_and_is_promoted() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(&Settings::new(&program()?, 3))?;
    cluster.member(0).client()?.put("k", "1")?;
    let learner = operator::announce(&mut cluster, &[0, 1, 2], &["--learner"])?;
    let list = cluster.etcdctl(&[0], &["member", "list"])?;
    let line = list.lines().find(|line| line.ends_with(", true")).with_context(|| list.clone())?.to_owned();
    ensure!(line.contains(", unstarted, "), "a learner that was never started: {line}");
    let id = line.split(',').next().context("an id")?.to_owned();
    let early = cluster.etcdctl(&[0, 1, 2], &["member", "promote", &id]);
    let early = early.err().context("a learner that was never started was promoted")?.to_string();
    ensure!(early.contains("can only promote a learner member which is in sync with leader"), "{early}");
    cluster.spawn(learner)?;
    let said = operator::when_healthy(&cluster, &[0, 1, 2], &["member", "promote", &id])?;
    ensure!(said.contains("promoted in cluster"), "{said}");
    cluster.member_mut(learner).wait_ready()?;
    ensure!(cluster.member(learner).client()?.get("k")?.as_deref() == Some("1"), "it reads");
    cluster.wait_equal(&[0, 1, 2, learner])?;
    cluster.done()
}

#[test]
fn a_member_moves_to_another_peer_url() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(&Settings::new(&program()?, 3))?;
    let id = cluster.member(1).client()?.id()?;
    // A process that is never started lends its free ports.
    let lender = cluster.add_process("existing")?;
    let port = cluster.member(lender).setup.peer_port;
    let urls = format!("--peer-urls=http://127.0.0.1:{port}");
    let said = cluster.etcdctl(&[0], &["member", "update", &format!("{id:x}"), &urls])?;
    ensure!(said.contains("updated in cluster"), "{said}");
    cluster.member_mut(1).terminate()?;
    let setup = &mut cluster.member_mut(1).setup;
    (setup.peer_port, setup.advertised_port) = (port, port);
    cluster.restart(1)?;
    cluster.member(0).client()?.put("k", "1")?;
    ensure!(cluster.member(1).client()?.get("k")?.as_deref() == Some("1"), "it follows at its new URL");
    cluster.wait_equal(&[0, 1, 2])?;
    let known = cluster.member(2).client()?.members()?;
    let known = known.iter().find(|member| member.id == id).context("it is in the list")?;
    ensure!(known.peer_ur_ls == [format!("http://127.0.0.1:{port}")], "{known:?}");
    cluster.done()
}

#[test]
fn etcdctl_shows_the_cluster_and_moves_the_leader() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(&Settings::new(&program()?, 3))?;
    let all = [0, 1, 2];
    cluster.member(0).client()?.put("k", "1")?;
    cluster.wait_equal(&all)?;
    let table = cluster.etcdctl(&all, &["endpoint", "status", "-w", "table"])?;
    ensure!(table.contains("| IS LEADER |") && table.contains("| ERRORS |"), "{table}");
    let cells = |row: &str| row.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let leaders =
        table.lines().map(cells).filter(|row| row.get(5).is_some_and(|cell| cell == "true")).count();
    ensure!(leaders == 1, "one leader:\n{table}");
    let hashes = cluster.etcdctl(&all, &["endpoint", "hashkv"])?;
    let mut hashes: Vec<&str> = hashes.lines().filter_map(|line| line.split(", ").nth(1)).collect();
    hashes.dedup();
    ensure!(hashes.len() == 1, "one hash: {hashes:?}");
    let health = cluster.etcdctl(&all, &["endpoint", "health"])?;
    ensure!(health.matches("is healthy").count() == 3 || health.is_empty(), "{health}");

    let old = cluster.wait_leader()?;
    let target = cluster.others(old)[0];
    let writer = Writer::start(cluster.member(cluster.others(old)[1]).address(), "w", LONG)?;
    let id = format!("{:x}", cluster.member(target).client()?.id()?);
    let elsewhere = cluster.etcdctl(&[target], &["move-leader", &id]);
    ensure!(elsewhere.is_err(), "move-leader is asked of the leader itself");
    let said = cluster.etcdctl(&[old], &["move-leader", &id])?;
    ensure!(said.contains("Leadership transferred from"), "{said}");
    let moved = until(LONG, || (cluster.leader() == Some(target)).then_some(()));
    ensure!(moved.is_some(), "the leader is {:?} and not {target}", cluster.leader());
    writer.wait_more(20)?;
    writer.finish()?.all_acknowledged()?;
    cluster.done()
}
