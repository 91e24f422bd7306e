//! Three members that serve: through any of them, without one of them, and while the lead changes hands.

use std::sync::Arc;

use api::{Consistency, Fault, Member as _};
use types::MemberId;

use super::Cluster;
use crate::tests::{everything, put};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_members_serve_through_any_of_them() {
    let cluster = Cluster::of(3).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    cluster.member(follower).put(put("a", "1")).await.expect("written at a follower");
    cluster.member(leader).put(put("b", "2")).await.expect("written at the leader");
    for number in 0..3 {
        let seen = everything(cluster.member(number), Consistency::Linearizable).await;
        assert_eq!(seen, ["a=1@2", "b=2@3"], "member {number}");
        let known = cluster.member(number).members(Consistency::Linearizable).await.expect("told").body;
        assert!(known.iter().all(|member| !member.client_urls.is_empty()), "everybody is published");
    }
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_away_catches_up() {
    let mut cluster = Cluster::of(3).await;
    let away = cluster.leader().await;
    cluster.member(away).put(put("a", "1")).await.expect("written");
    cluster.stop(away);
    let writer = cluster.follower().await;
    cluster.member(writer).put(put("a", "2")).await.expect("written without it");
    cluster.restart(away);
    cluster.ready(away).await;
    assert_eq!(everything(cluster.member(away), Consistency::Linearizable).await, ["a=2@3"]);
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lead_is_handed_over_without_a_failed_request() {
    let cluster = Cluster::of(3).await;
    let (old, heir) = (cluster.leader().await, cluster.follower().await);
    let heir_id = cluster.member(heir).id();
    assert_eq!(cluster.member(heir).move_leader(heir_id).await, Err(Fault::NotLeader));
    assert_eq!(cluster.member(old).move_leader(MemberId(99)).await, Err(Fault::BadTransferee));
    cluster.member(old).move_leader(heir_id).await.expect("moved");
    assert_eq!(cluster.leader().await, heir);

    let writer = Arc::clone(cluster.member(heir));
    let writing = tokio::spawn(async move {
        for number in 0..300 {
            writer.put(put("a", number.to_string())).await.expect("no write fails");
        }
    });
    cluster.member(heir).retire().await;
    assert!(!cluster.member(heir).house.shared.leads(), "somebody else leads");
    writing.await.expect("no write failed");
}
