//! How Kubernetes uses the store: it lists in pages at one revision, watches from there, and writes only over what it
//! has seen. While clients do that and history is compacted under them, all of them end with the same state.
//!
//! And watchers by the thousand that come from far back. `CLUSTER_OF=etcd` runs both against real etcd.

mod crowd;
mod informer;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use ::tests::cluster::{Settings, program};
use ::tests::{Cluster, client};
use anyhow::{Context, ensure};
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::{CompactionRequest, PutRequest};
use tokio::task::JoinSet;

use crate::informer::{Informer, Shared};

/// Clients that list, watch and write.
const CLIENTS: usize = 20;

/// Of these, clients that history is compacted under.
const LEFT_BEHIND: usize = 4;

/// Objects that they share.
const OBJECTS: usize = 300;

/// Compactions before the clients may stop writing, and the time between two.
const COMPACTIONS: u64 = 4;
const COMPACTED_EVERY: Duration = Duration::from_secs(2);

/// How long everything together may take.
const PATIENCE: Duration = Duration::from_mins(3);

#[test]
fn twenty_clients_end_with_the_same_state() {
    let cluster = Cluster::start(&Settings::new(&program().expect("a program"), 3)).expect("it starts");
    let run = client::runtime().block_on(async {
        tokio::time::timeout(PATIENCE, same_state(&cluster)).await.context("it takes too long")?
    });
    run.unwrap_or_else(|error| panic!("{error:#}"));
    cluster.done().expect("the end");
}

async fn same_state(cluster: &Cluster) -> anyhow::Result<()> {
    let channel =
        |number: usize| client::channel(cluster.member(number % 3).address(), Duration::from_secs(20));
    let mut first = KvClient::new(channel(0)?);
    for object in 0..OBJECTS {
        first.put(PutRequest { value: "new".into(), ..put(object) }).await.context("make an object")?;
    }
    let shared = Arc::new(Shared { objects: OBJECTS, ..Shared::default() });
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let informer = Informer::new(number, channel(number)?, Arc::clone(&shared));
        clients.push(if number < LEFT_BEHIND {
            tokio::spawn(informer.stand_still_and_work())
        } else {
            tokio::spawn(informer.work())
        });
    }
    let mut behind = 0;
    let left = LEFT_BEHIND as u64;
    while shared.compactions.load(Ordering::Relaxed) < COMPACTIONS
        || (shared.relists.load(Ordering::Relaxed) < left
            && clients.iter().all(|client| !client.is_finished()))
    {
        // Reason to sleep: Kubernetes compacts every so often, not when something has happened.
        tokio::time::sleep(COMPACTED_EVERY).await;
        // As Kubernetes does: up to where the store was a period ago.
        let now = shared.newest.load(Ordering::Relaxed);
        if behind > 0 {
            first
                .compact(CompactionRequest { revision: behind, physical: false })
                .await
                .context("compact")?;
            shared.compacted.store(behind, Ordering::Relaxed);
            shared.compactions.fetch_add(1, Ordering::Relaxed);
            shared.changed.notify_waiters();
        }
        behind = now;
    }
    shared.stop_writing();
    // The others wait for one that failed: what it failed of is told at once.
    let mut ends = JoinSet::new();
    for (number, client) in clients.into_iter().enumerate() {
        ends.spawn(async move { anyhow::Ok((number, client.await.context("a client panicked")??)) });
    }
    let mut states = Vec::new();
    while let Some(end) = ends.join_next().await {
        states.push(end??);
    }
    let (state, revision) = informer::list(&mut first).await?;
    ensure!(state.len() == OBJECTS, "{} objects of {OBJECTS} are there", state.len());
    for (number, other) in states {
        ensure!(other == state, "client {number} holds another state at revision {revision}");
    }
    let told = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (writes, relists, expired) = (told(&shared.writes), told(&shared.relists), told(&shared.expired));
    eprintln!(
        "{writes} writes, {} refused, {expired} lists expired, {relists} lists begun again",
        told(&shared.refused)
    );
    ensure!(writes > 0, "nobody wrote anything");
    ensure!(expired >= left && relists >= left, "history was not compacted under {left} clients");
    Ok(())
}

fn put(object: usize) -> PutRequest {
    PutRequest { key: informer::name(object).into(), ..PutRequest::default() }
}

/// The counters that clients share need no order between them.
fn raise(newest: &AtomicI64, revision: i64) {
    newest.fetch_max(revision, Ordering::Relaxed);
}

/// One more.
fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
