//! Times to live, and what happens to them when members die, restart and lead.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ::tests::cluster::{Settings, program};
use ::tests::v2::V2;
use ::tests::{Cluster, until};
use anyhow::{Context, ensure};

/// A client that waits out an election.
const LONG: Duration = Duration::from_secs(20);

fn addresses(cluster: &Cluster) -> Vec<SocketAddr> {
    (0..cluster.len()).map(|number| cluster.member(number).address()).collect()
}

#[test]
fn times_go_on_while_leaders_change_and_members_restart() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(&Settings::new(&program()?, 3).flags(&["--enable-v2=true"]))?;
    let leader = cluster.wait_leader()?;
    let addresses = addresses(&cluster);
    let mut client = V2::new(&addresses, LONG);
    let began = Instant::now();
    for (path, ttl) in [("/soon/a", "4"), ("/later/b", "9"), ("/never/c", "3600")] {
        let told = client.ask("PUT", path, &[("value", "x"), ("ttl", ttl)])?;
        ensure!(told.status == 201, "{told:?}");
    }
    let told = client.ask("PUT", "/dir", &[("dir", "true"), ("ttl", "9")])?;
    ensure!(told.status == 201, "{told:?}");
    client.insist("PUT", "/dir/inside", &[("value", "x")])?;
    cluster.member_mut(leader).kill()?;
    let others = cluster.others(leader);
    cluster.wait_leader_of(&others)?;
    let mut client = V2::new(&others.iter().map(|other| addresses[*other]).collect::<Vec<_>>(), LONG);
    let gone =
        until(LONG, || (client.ask("GET", "/soon/a", &[]).ok()?.code() == 100).then(|| began.elapsed()));
    let gone = gone.context("the first node stays")?;
    ensure!(gone >= Duration::from_millis(3_900), "it went after {gone:?}");
    for other in &others {
        cluster.member_mut(*other).kill()?;
    }
    cluster.start_all()?;
    cluster.wait_leader()?;
    let mut waits: Vec<V2> = addresses.iter().map(|address| V2::new(&[*address], LONG)).collect();
    for client in &mut waits {
        let told = client.insist("GET", "/never/c", &[])?;
        ensure!(told.node("ttl").as_i64().is_some_and(|ttl| (3_500..=3_600).contains(&ttl)), "{told:?}");
        for path in ["/later/b", "/dir"] {
            let gone = until(LONG, || (client.ask("GET", path, &[]).ok()?.code() == 100).then_some(()));
            ensure!(
                gone.is_some() && began.elapsed() >= Duration::from_millis(8_900),
                "{path} stays or left early"
            );
        }
        // What was waited for in the past is still known, whoever leads and whoever restarted.
        let told = client.insist("GET", "/dir/inside?wait=true&waitIndex=9", &[])?;
        ensure!(told.body["action"] == "expire" && told.node("key") == "/dir", "{told:?}");
    }
    cluster.done()
}
