//! Every member serves, and goes on serving while others are stopped and started.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use ::tests::Cluster;
use ::tests::cluster::{Settings, Writer, program};
use anyhow::ensure;

/// A client that waits out an election.
const LONG: Duration = Duration::from_secs(15);

/// Both programs end by the signal that asked for it.
const SIGTERM: i32 = 15;

/// More than a member keeps of its log for one that is away.
const LARGE_KEYS: usize = 150;
const LARGE_BYTES: usize = 1 << 20;

#[test]
fn what_one_member_acknowledged_every_other_reads() -> anyhow::Result<()> {
    let cluster = Cluster::start(&Settings::new(&program()?, 3))?;
    let clients = (0..3).map(|number| cluster.member(number).client()).collect::<anyhow::Result<Vec<_>>>()?;
    for round in 0..60 {
        let value = round.to_string();
        let writer = &clients[round % 3];
        writer.put("k", &value)?;
        for reader in &clients {
            let read = reader.get("k")?;
            ensure!(read.as_deref() == Some(value.as_str()), "round {round} reads {read:?}");
        }
    }
    for reader in &clients[1..] {
        clients[0].delete("k")?;
        ensure!(reader.get("k")?.is_none(), "a removed key is still read");
    }
    cluster.wait_equal(&[0, 1, 2])?;
    cluster.done()
}

#[test]
fn a_rolling_restart_fails_no_request_at_the_others() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(&Settings::new(&program()?, 3))?;
    let mut reports = Vec::new();
    for number in 0..3 {
        let others = cluster.others(number);
        let writers = others
            .iter()
            .map(|other| Writer::start(cluster.member(*other).address(), &format!("{number}-{other}-"), LONG))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let led = cluster.wait_leader()? == number;
        let status = cluster.member_mut(number).terminate()?;
        writers.iter().try_for_each(|writer| writer.wait_more(20))?;
        cluster.restart(number)?;
        for writer in writers {
            writer.wait_more(20)?;
            reports.push((led, writer.finish()?));
        }
        ensure!(status.success() || status.signal() == Some(SIGTERM), "SIGTERM ended it with {status}");
    }
    for (led, report) in &reports {
        report.all_acknowledged()?;
        // A leader that is asked to end hands over; an election would take longer than this.
        let gap = report.gap_max;
        ensure!(!led || gap.as_millis() < 1000, "no write for {gap:?} when the leader was asked to end");
        report.check(&cluster.member(0).client()?)?;
    }
    cluster.wait_equal(&[0, 1, 2])?;
    cluster.done()
}

#[test]
fn all_members_die_at_once_and_come_back_with_everything() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(&Settings::new(&program()?, 3))?;
    let mut reports = Vec::new();
    for round in 0..3 {
        let writer = Writer::start(cluster.member(round).address(), &format!("{round}-"), LONG)?;
        writer.wait_more(100)?;
        for number in 0..3 {
            cluster.member_mut(number).kill()?;
        }
        reports.push(writer.finish()?);
        cluster.start_all()?;
        for report in &reports {
            report.check(&cluster.member(2).client()?)?;
        }
        cluster.wait_equal(&[0, 1, 2])?;
    }
    cluster.done()
}

#[test]
fn a_member_that_was_away_for_long_gets_a_snapshot() -> anyhow::Result<()> {
    // etcd keeps entries by count: these flags make it forget what the dead member misses.
    let settings = Settings::new(&program()?, 3).flags(&["--snapshot-count=10"]);
    let mut cluster = Cluster::start(&settings)?;
    cluster.member_mut(2).kill()?;
    let client = cluster.member(0).client()?;
    let large = "x".repeat(LARGE_BYTES);
    for number in 0..LARGE_KEYS {
        client.put(&format!("large-{number:04}"), &large)?;
    }
    let writer = Writer::start(cluster.member(1).address(), "k", LONG)?;
    cluster.restart(2)?;
    writer.wait_more(20)?;
    let report = writer.finish()?;
    report.check(&cluster.member(2).client()?)?;
    let (revision, _) = cluster.wait_equal(&[0, 1, 2])?;
    ensure!(revision > LARGE_KEYS as i64, "revision {revision}");
    // What came as a snapshot survives a power cut, and so does what came after it.
    cluster.member_mut(2).kill()?;
    client.put("after", "1")?;
    cluster.restart(2)?;
    ensure!(cluster.member(2).client()?.get("after")?.as_deref() == Some("1"), "it goes on");
    cluster.wait_equal(&[0, 1, 2])?;
    cluster.done()
}
