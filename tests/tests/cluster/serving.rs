//! Every member serves, and goes on serving while others are stopped and started.

use std::time::Duration;

use ::tests::Cluster;
use ::tests::cluster::{Settings, Writer, program};
use anyhow::ensure;

/// A client that waits out an election.
const LONG: Duration = Duration::from_secs(15);

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
        ensure!(status.success() || ::tests::cluster::is_etcd(&program()?), "SIGTERM ended it with {status}");
    }
    for (_, report) in &reports {
        report.all_acknowledged()?;
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
