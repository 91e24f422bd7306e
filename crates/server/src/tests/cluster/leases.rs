//! Leases of several members: whoever is asked, the leader's word counts, and a new leader begins with all the time.

use api::{Consistency, Member as _};
use types::LeaseId;

use super::super::everything;
use super::super::leases::leased;
use super::*;

async fn keep_alive(member: &Member, ids: &[i64]) -> Vec<i64> {
    let ids = ids.iter().copied().map(LeaseId).collect();
    member.lease_keep_alive(ids).await.expect("answered").body
}

async fn is_there(member: &Member) -> bool {
    !everything(member, Consistency::Linearizable).await.is_empty()
}

#[tokio::test]
async fn every_member_renews_and_tells_what_is_left() {
    let cluster = Cluster::of(3).await;
    let follower = cluster.follower().await;
    let member = cluster.member(follower);
    member.lease_grant(LeaseId(7), 2).await.expect("granted");
    member.put(leased("a", 7)).await.expect("written");
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        assert_eq!(keep_alive(member, &[7, 8]).await, [2, 0]);
        let status = member.lease_time_to_live(LeaseId(7), true).await.expect("answered").body;
        assert!((0..=2).contains(&status.ttl) && status.granted_ttl == 2, "{status:?}");
        // Reason to sleep: keep-alives come now and then.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(is_there(member).await);
    let many: Vec<i64> = (0..40_000).collect();
    let times = keep_alive(member, &many).await;
    assert_eq!((times.len(), times[7], times[8]), (40_000, 2, 0));
    while is_there(member).await {
        assert!(began.elapsed() < PATIENCE, "it lives for ever");
        // Reason to sleep: the pause between two looks at a condition.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(keep_alive(member, &[7]).await, [0]);
    cluster.agree().await;
}

#[tokio::test]
async fn a_new_leader_begins_with_all_the_time() {
    let mut cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    cluster.member(leader).lease_grant(LeaseId(7), 3).await.expect("granted");
    cluster.member(leader).put(leased("a", 7)).await.expect("written");
    // Reason to sleep: most of its time passes.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let changed = Instant::now();
    cluster.stop(leader);
    let new = cluster.leader().await;
    while is_there(cluster.member(new)).await {
        assert!(changed.elapsed() < PATIENCE, "it lives for ever");
        // Reason to sleep: the pause between two looks at a condition.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(changed.elapsed() >= Duration::from_secs(3), "it ended after {:?}", changed.elapsed());
    cluster.restart(leader);
    cluster.ready(leader).await;
    cluster.agree().await;
}

#[tokio::test]
async fn without_a_leader_nobody_renews() {
    let mut cluster = Cluster::of(3).await;
    let follower = cluster.follower().await;
    cluster.member(follower).lease_grant(LeaseId(7), 60).await.expect("granted");
    for other in (0..3).filter(|number| *number != follower) {
        cluster.stop(other);
    }
    // Until it knows, it asks in vain; and it may have been given the lead, which it then gives up.
    let member = cluster.member(follower);
    until("it knows of no leader", || member.house.shared.leader() == types::MemberId(0)).await;
    let refused = cluster.member(follower).lease_keep_alive(vec![LeaseId(7)]).await;
    assert_eq!(refused.err(), Some(api::Fault::NoLeader));
}

#[tokio::test]
async fn a_crowd_ends_at_once_and_writes_go_on() {
    const CROWD: i64 = 5000;
    let cluster = Cluster::of(3).await;
    let member = Arc::clone(cluster.member(cluster.follower().await));
    let mut grants = tokio::task::JoinSet::new();
    for id in 1..=CROWD {
        let member = Arc::clone(&member);
        grants.spawn(async move {
            member.lease_grant(LeaseId(id), 4).await.expect("granted");
            let key = types::Key::new(format!("k{id}").into()).expect("not empty");
            member.put(types::Put { key, ..leased("k", id) }).await.expect("written");
        });
    }
    grants.join_all().await;
    let count = || member.house.wing.look().leases.len();
    assert_eq!(count(), CROWD as usize);
    let mut slowest = Duration::ZERO;
    let began = Instant::now();
    while count() > 0 {
        assert!(began.elapsed() < PATIENCE, "{} live for ever", count());
        let asked = Instant::now();
        member.put(super::super::put("other", "v")).await.expect("written");
        slowest = slowest.max(asked.elapsed());
        // Reason to sleep: the pause between two looks at a condition.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // A machine that does other things may be slow; one that waits for all of it would be slower than this.
    assert!(slowest < Duration::from_secs(2), "a put took {slowest:?}");
    assert_eq!(everything(&member, Consistency::Linearizable).await.len(), 1);
    cluster.agree().await;
}
