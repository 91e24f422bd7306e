//! Watches on members of a cluster: without a leader, and while a snapshot takes the place of everything.

use api::{Fault, Member as _, WatchBody};
use types::{KeyRange, MemberId};

use super::catching_up::with_one_away;
use super::{Cluster, PATIENCE, until};
use crate::tests::put;
use crate::tests::watches::{next, spec};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_wants_a_leader_ends_without_one() {
    let mut cluster = Cluster::of(3).await;
    let (leader, stays) = (cluster.leader().await, cluster.follower().await);
    let mut wants = cluster.member(stays).watch(true).expect("there is a leader");
    let mut patient = cluster.member(stays).watch(false).expect("opened");
    wants.create(spec(KeyRange::all(), None));
    assert!(matches!(next(&mut *wants).await.body, WatchBody::Created));
    cluster.stop(leader);
    // Another one leads soon: no reason to end.
    let heir = cluster.leader().await;
    cluster.member(heir).put(put("a", "1")).await.expect("written");
    assert!(matches!(next(&mut *wants).await.body, WatchBody::Events { .. }));
    for other in (0..3).filter(|other| *other != stays && *other != leader) {
        cluster.stop(other);
    }
    let ended = tokio::time::timeout(PATIENCE, wants.next()).await.expect("it ends");
    assert_eq!(ended.err(), Some(Fault::NoLeader));
    until("it knows of no leader", || cluster.member(stays).house.shared.leader() == MemberId(0)).await;
    assert_eq!(cluster.member(stays).watch(true).err(), Some(Fault::NoLeader));
    patient.create(spec(KeyRange::all(), Some(2)));
    assert!(matches!(next(&mut *patient).await.body, WatchBody::Created));
    assert!(matches!(next(&mut *patient).await.body, WatchBody::Events { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_while_a_snapshot_is_installed() {
    let (mut cluster, slow) = with_one_away().await;
    let leader = cluster.leader().await;
    let newest = cluster.member(leader).header().revision.0;
    cluster.restart(slow);
    let member = cluster.member(slow);
    let mut stream = member.watch(false).expect("opened");
    let begun = member.header().revision.0;
    stream.create(spec(KeyRange::all(), Some(begun + 1)));
    stream.create(spec(KeyRange::all(), Some(2)));
    let mut expect = [begun + 1, 2];
    while expect.iter().any(|expect| *expect <= newest) {
        let reply = next(&mut *stream).await;
        let WatchBody::Events { events, .. } = &reply.body else { continue };
        let expect = &mut expect[usize::try_from(reply.id.0).expect("small")];
        for event in events.iter() {
            assert_eq!(event.event.kv.mod_revision.0, *expect, "nothing is missing, nothing is doubled");
            *expect += 1;
        }
    }
    // It is told of what comes afterwards too.
    cluster.member(leader).put(put("c", "new")).await.expect("written");
    assert!(matches!(next(&mut *stream).await.body, WatchBody::Events { .. }));
}
