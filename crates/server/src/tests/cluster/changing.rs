//! Members that come and go while the cluster serves.

use api::{Consistency, Fault, Member as _};
use types::MemberId;

use super::{Cluster, Seat, until, urls};
use crate::End;
use crate::tests::{everything, put};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_member_becomes_three_and_one_again() {
    let mut cluster = Cluster::of(1).await;
    cluster.member(0).put(put("a", "1")).await.expect("written");
    for number in [1, 2] {
        let (seat, listener) = Seat::new(number + 1);
        let added = cluster.member(0).member_add(urls(&seat), false).await.expect("added").body;
        assert!(!added.member.is_started() && added.members.len() as u64 == number + 1);
        let joined = cluster.join(seat, listener, added.member.id, &added.members);
        cluster.ready(joined).await;
        cluster.member(joined).put(put("a", "2")).await.expect("written at the new one");
        assert_eq!(everything(cluster.member(joined), Consistency::Linearizable).await.len(), 1);
    }
    cluster.agree().await;

    // The one that leads too, asked at another.
    let leader = cluster.leader().await;
    let asked = cluster.follower().await;
    let id = cluster.member(leader).id();
    let left = cluster.member(asked).member_remove(id).await.expect("removed").body;
    assert!(left.iter().all(|member| member.id != id) && left.len() == 2);
    assert_eq!(cluster.member(leader).ended().await, End::Removed);
    cluster.stop(leader);
    let survivor = cluster.leader().await;
    cluster.member(survivor).put(put("a", "3")).await.expect("the others go on");
    assert_eq!(cluster.member(survivor).member_remove(id).await.err(), Some(Fault::MemberRemoved));

    let other = cluster.follower().await;
    let id = cluster.member(other).id();
    cluster.member(survivor).member_remove(id).await.expect("removed");
    assert_eq!(cluster.member(other).ended().await, End::Removed);
    cluster.stop(other);
    cluster.member(survivor).put(put("a", "4")).await.expect("alone again");
    let id = cluster.member(survivor).id();
    assert_eq!(cluster.member(survivor).member_remove(id).await.err(), Some(Fault::NotEnoughStarted));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_learner_votes_when_it_has_caught_up() {
    let mut cluster = Cluster::of(3).await;
    for number in 0..50 {
        cluster.member(0).put(put("a", number.to_string())).await.expect("written");
    }
    let (seat, listener) = Seat::new(4);
    let asked = cluster.follower().await;
    let added = cluster.member(asked).member_add(urls(&seat), true).await.expect("added").body;
    let id = added.member.id;
    assert_eq!(cluster.member(asked).member_promote(id).await.err(), Some(Fault::LearnerNotReady));
    let (another, _) = Seat::new(5);
    let refused = cluster.member(asked).member_add(urls(&another), true).await.err();
    assert_eq!(refused, Some(Fault::TooManyLearners));
    assert_eq!(cluster.member(asked).member_promote(MemberId(9)).await.err(), Some(Fault::MemberNotFound));
    let joined = cluster.join(seat, listener, id, &added.members);
    cluster.ready(joined).await;
    assert!(cluster.member(joined).is_learner());
    cluster.agree().await;
    // It has caught up; its leader may hear of that a moment later.
    let members = loop {
        match cluster.member(asked).member_promote(id).await {
            Err(Fault::LearnerNotReady) => tokio::task::yield_now().await,
            promoted => break promoted.expect("it has caught up").body,
        }
    };
    assert!(members.iter().all(|member| !member.learner));
    assert_eq!(cluster.member(asked).member_promote(id).await.err(), Some(Fault::MemberNotLearner));
    let learner = cluster.member(joined);
    until("it knows that it votes", || !learner.is_learner()).await;
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn urls_of_two_members_differ() {
    let cluster = Cluster::of(3).await;
    let taken = urls(&cluster.seats[1]);
    let member = cluster.member(0);
    assert_eq!(member.member_add(taken.clone(), false).await.err(), Some(Fault::PeerUrlExists));
    assert_eq!(member.member_update(MemberId(1), taken).await.err(), Some(Fault::PeerUrlExists));
    let (seat, _) = Seat::new(7);
    let members = member.member_update(MemberId(1), urls(&seat)).await.expect("changed").body;
    assert_eq!(members[0].peer_urls, seat.record.peer_urls);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_three_goes_on_alone() {
    let mut cluster = Cluster::of(3).await;
    cluster.member(0).put(put("a", "1")).await.expect("written");
    cluster.agree().await;
    let survivor = cluster.follower().await;
    for number in 0..3 {
        cluster.stop(number);
    }
    cluster.settings = |config| crate::Config { force_alone: true, ..config };
    cluster.restart(survivor);
    cluster.ready(survivor).await;
    let member = cluster.member(survivor);
    assert_eq!(everything(member, Consistency::Linearizable).await, ["a=1@2"]);
    member.put(put("a", "2")).await.expect("it serves alone");
    assert_eq!(member.members(Consistency::Linearizable).await.expect("told").body.len(), 1);

    // Whoever else comes back hears that it was removed, and a new one may join.
    let other = (survivor + 1) % 3;
    cluster.settings = |config| config;
    cluster.restart(other);
    assert_eq!(cluster.member(other).ended().await, End::Removed);
    cluster.stop(other);
    let (seat, listener) = Seat::new(9);
    let added = cluster.member(survivor).member_add(urls(&seat), false).await.expect("added").body;
    let joined = cluster.join(seat, listener, added.member.id, &added.members);
    cluster.ready(joined).await;
    assert_eq!(everything(cluster.member(joined), Consistency::Linearizable).await, ["a=2@3"]);
}
