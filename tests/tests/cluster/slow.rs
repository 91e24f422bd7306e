//! A disk that is slow, not broken: whoever has it lags or leads, and nobody waits for it while a majority has better
//! ones.

use std::time::{Duration, Instant};

use ::tests::Cluster;
use ::tests::cluster::{Lag, Settings, Writer, is_etcd, program};
use anyhow::ensure;

/// A client that waits out an election.
const LONG: Duration = Duration::from_secs(15);
/// So much longer each sync takes.
const LAG: Duration = Duration::from_millis(200);
/// Writes of one client, one after the other.
const WRITES: u32 = 200;

/// Three members, the last of them on a slow disk; nothing where that cannot be had.
fn with_slow_disk() -> anyhow::Result<Option<Cluster>> {
    let program = program()?;
    if is_etcd(&program) {
        eprintln!(
            "NOT CHECKED: real etcd speaks to the kernel without the C library, so its disk cannot be slowed"
        );
        return Ok(None);
    }
    let mut cluster = Cluster::prepare(&Settings::new(&program, 3))?;
    let Some(lag) = Lag::build(cluster.folder())? else {
        eprintln!("NOT CHECKED: there is no C compiler (cc), so no disk can be slowed");
        cluster.done()?;
        return Ok(None);
    };
    lag.slow_down(&mut cluster.member_mut(2).setup, LAG);
    cluster.start_all()?;
    Ok(Some(cluster))
}

fn lead(cluster: &mut Cluster, number: usize) -> anyhow::Result<()> {
    let leader = cluster.wait_leader()?;
    if leader != number {
        let id = format!("{:x}", cluster.member(number).client()?.id()?);
        cluster.etcdctl(&[leader], &["move-leader", &id])?;
    }
    ensure!(cluster.wait_leader()? == number, "the lead was not handed over");
    Ok(())
}

/// Writes at member 0 while `leader` leads; nobody waits for the slow disk, and nobody takes its owner for dead.
fn write_past_the_slow_disk(leader: usize) -> anyhow::Result<()> {
    let Some(mut cluster) = with_slow_disk()? else { return Ok(()) };
    lead(&mut cluster, leader)?;
    let term = cluster.member(0).client()?.status()?.raft_term;
    let writer = Writer::start(cluster.member(0).address(), "k", LONG)?;
    let began = Instant::now();
    writer.wait_more(u64::from(WRITES))?;
    let took = began.elapsed();
    let report = writer.finish()?;
    ensure!(took < LAG * WRITES / 2, "{WRITES} writes took {took:?}: they waited for the slow disk");
    report.all_acknowledged()?;
    cluster.wait_equal(&[0, 1, 2])?;
    report.check(&cluster.member(2).client()?)?;
    ensure!(cluster.wait_leader()? == leader, "a slow disk has cost the lead");
    ensure!(cluster.member(0).client()?.status()?.raft_term == term, "a slow disk has made elections");
    // It lags, and loses nothing when it ends amid that.
    cluster.member_mut(2).kill()?;
    cluster.restart(2)?;
    cluster.wait_equal(&[0, 1, 2])?;
    cluster.done()
}

#[test]
fn a_slow_disk_of_a_follower_slows_nobody() -> anyhow::Result<()> {
    write_past_the_slow_disk(0)
}

#[test]
fn a_slow_disk_of_the_leader_slows_nobody() -> anyhow::Result<()> {
    write_past_the_slow_disk(2)
}
