//! A new member comes to a cluster with many keys: how long until it has them all.
//!
//! The keys are written one by one, as they come in life, so that etcd has taken the snapshots that its defaults
//! ask for. The newcomer is added as a learner through the cluster's API, then its process starts. It has caught up
//! when its own count and revision, asked for without the leader, are those of the leader; then it is promoted.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::cluster::Cluster;
use super::filling::Filling;
use super::points::Place;
use super::server::{Seat, Server};
use super::systems::System;
use crate::call::{self, Caller, Census};
use crate::load::Report;
use crate::proc::{self, Memory};
use crate::workload::Kind;

/// Members that know each other for less than five seconds let nobody in (etcd's strict reconfiguration check).
const ACCEPT_MAX: Duration = Duration::from_mins(1);
const CATCH_UP_MAX: Duration = Duration::from_mins(10);
/// Chores of a cluster that has just been filled.
const SETTLE: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(5);
const CLIENTS: usize = 256;

/// How a member came to a cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Join {
    /// tmpfs or disk.
    pub(super) medium: String,
    /// The server's name.
    pub(super) system: String,
    /// How many keys.
    pub(super) keys: u64,
    /// Writing them.
    pub(super) fill: Report,
    /// Bytes that the leader has on disk before.
    pub(super) leader_disk_bytes: u64,
    /// From the start of the new process until it has every key and the leader's revision.
    pub(super) caught_up_seconds: f64,
    /// From the same moment until it votes.
    pub(super) voter_seconds: f64,
    /// Processor time of the members that were there, until it had caught up.
    pub(super) others_cpu_seconds: f64,
    /// Its own processor time until then.
    pub(super) newcomer_cpu_seconds: f64,
    /// Its memory after that.
    pub(super) newcomer: Memory,
    /// Bytes that it has on disk then.
    pub(super) newcomer_disk_bytes: u64,
    /// Memory of the leader then.
    pub(super) leader: Memory,
}

/// Measures how a member joins `members` others that have `keys` keys.
pub(super) async fn measure(
    system: &System,
    medium: &str,
    folder: &Path,
    (members, keys): (usize, u64),
    live: bool,
) -> Result<Join> {
    let mut cluster = Cluster::start(system, folder, members).await?;
    let fill = fill(&cluster, keys, live).await?;
    sleep(SETTLE).await;
    let leader = &cluster.servers()[cluster.leader().await?.at];
    let authority = leader.authority();
    let expect = Caller::connect(&authority).await?.census().await?;
    ensure!(expect.keys == keys, "the leader has {} keys, not {keys}", expect.keys);
    let leader_disk_bytes = leader.disk_bytes()?;

    let seat = Seat::take("newcomer", &folder.join("newcomer"))?;
    let id = accepted(ACCEPT_MAX, async || call::add_learner(&authority, &seat.peer_url()).await).await;
    let id = id.context("the new member was not let in")?;
    let before = cpu_time(&cluster)?;
    let begin = Instant::now();
    let mut newcomer = Server::launch(system, &seat, &leader.founding().joined_by(&seat))?;
    catch_up(&mut newcomer, expect).await?;
    let caught_up = begin.elapsed();
    let others_cpu = cpu_time(&cluster)?.saturating_sub(before);
    let newcomer_cpu = proc::cpu_time(newcomer.pid())?;
    accepted(ACCEPT_MAX, async || call::promote(&authority, id).await).await.context("it may not vote")?;
    let voter = begin.elapsed();
    // A linearizable read at the newcomer itself finds what was written last.
    newcomer.wait(format!("k{:07}", keys - 1).as_bytes()).await?;
    let join = Join {
        medium: medium.to_owned(),
        system: system.name.clone(),
        keys,
        fill,
        leader_disk_bytes,
        caught_up_seconds: caught_up.as_secs_f64(),
        voter_seconds: voter.as_secs_f64(),
        others_cpu_seconds: others_cpu.as_secs_f64(),
        newcomer_cpu_seconds: newcomer_cpu.as_secs_f64(),
        newcomer: newcomer.memory()?,
        newcomer_disk_bytes: newcomer.disk_bytes()?,
        leader: leader.memory()?,
    };
    newcomer.stop().await?;
    cluster.stop().await?;
    Ok(join)
}

async fn fill(cluster: &Cluster, keys: u64, live: bool) -> Result<Report> {
    let endpoints = cluster.endpoints(Place::Leader, cluster.leader().await?.at, None);
    let server_pids = cluster.pids();
    Filling { kind: Kind::FillEach, keys, clients: CLIENTS, endpoints, server_pids, live }.run().await
}

/// Asks until the answer is good, for a request that is refused while the cluster is not ready for it.
async fn accepted<T>(wait_max: Duration, ask: impl AsyncFn() -> Result<T>) -> Result<T> {
    let begin = Instant::now();
    loop {
        match ask().await {
            Err(error) if begin.elapsed() > wait_max => return Err(error),
            Err(_) => sleep(LOOK).await,
            good => return good,
        }
    }
}

async fn catch_up(newcomer: &mut Server, expect: Census) -> Result<()> {
    let begin = Instant::now();
    let mut caller = None;
    let mut last = None;
    loop {
        if caller.is_none() {
            caller = Caller::connect(&newcomer.authority()).await.ok();
        }
        if let Some(connected) = &mut caller {
            match connected.census().await {
                Ok(census) if census == expect => return Ok(()),
                Ok(census) => last = Some(census),
                // It may answer only when it has started, or close its doors while it takes a snapshot in.
                Err(_) => caller = None,
            }
        }
        newcomer.is_alive()?;
        ensure!(begin.elapsed() < CATCH_UP_MAX, "it has {last:?} and not {expect:?}");
        sleep(LOOK).await;
    }
}

fn cpu_time(cluster: &Cluster) -> Result<Duration> {
    cluster.pids().into_iter().map(proc::cpu_time).sum()
}
