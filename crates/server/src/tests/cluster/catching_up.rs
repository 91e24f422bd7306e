//! A member that is too far behind for the log gets a snapshot, under the eyes of its readers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use api::{Consistency, Member as _};

use super::{Cluster, until};
use crate::Config;
use crate::tests::{everything, put};

/// Next to nothing is kept of the log.
fn forgetful(config: Config) -> Config {
    Config { replay_bytes_max: 64 << 10, log_bytes_kept: 1 << 10, segment_bytes: 64 << 10, ..config }
}

/// Three members, one of which has one key of all, is stopped, and needs a snapshot when it is started again.
pub(super) async fn with_one_away() -> (Cluster, usize) {
    let mut cluster = Cluster::with(3, forgetful).await;
    let away = cluster.follower().await;
    cluster.member(away).put(put("a", "1")).await.expect("written");
    cluster.agree().await;
    cluster.stop(away);
    write_a_lot(&cluster).await;
    (cluster, away)
}

/// Until the leader's log begins long after its beginning.
async fn write_a_lot(cluster: &Cluster) {
    let writer = cluster.leader().await;
    let house = &cluster.member(writer).house;
    for _ in 0..600 {
        cluster.member(writer).put(put("a", vec![b'x'; 2_000])).await.expect("written");
    }
    cluster.member(writer).put(put("b", "last")).await.expect("written");
    until("the log was let go", || house.shared.released().0 > 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_away_for_too_long_gets_a_snapshot() {
    let (mut cluster, away) = with_one_away().await;
    cluster.restart(away);
    cluster.ready(away).await;
    let seen = everything(cluster.member(away), Consistency::Linearizable).await;
    assert_eq!(seen.len(), 2);
    cluster.agree().await;
    let live = cluster.seats[away].parent.path().join("member/current");
    assert!(live.exists(), "it came by a snapshot");

    // It stands on the new files from now on.
    cluster.stop(away);
    cluster.restart(away);
    cluster.ready(away).await;
    assert_eq!(everything(cluster.member(away), Consistency::Linearizable).await, seen);
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_go_on_while_a_snapshot_is_installed() {
    let (mut cluster, slow) = with_one_away().await;
    cluster.restart(slow);
    let reader = Arc::clone(cluster.member(slow));
    let stop = Arc::new(AtomicBool::new(false));
    let reading = tokio::spawn({
        let (reader, stop) = (Arc::clone(&reader), Arc::clone(&stop));
        async move {
            let mut last = 0;
            while !stop.load(Ordering::Relaxed) {
                let revision = reader.header().revision.0;
                assert!(revision >= last, "the revision went back from {last} to {revision}");
                last = revision;
                assert!(!everything(&reader, Consistency::Serializable).await.is_empty());
            }
        }
    });
    let leader = cluster.leader().await;
    let revision = cluster.member(leader).header().revision;
    until("it has caught up", || reader.header().revision >= revision).await;
    stop.store(true, Ordering::Relaxed);
    reading.await.expect("no reader saw anything odd");
    cluster.agree().await;
    // Once nobody reads it any more, the old database goes.
    let old = cluster.seats[slow].parent.path().join("member/db");
    until("the old database is gone", || {
        reader.applier.clean();
        !old.exists()
    })
    .await;
}
