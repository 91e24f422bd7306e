//! Leases of a member alone: errors as etcd 3.4.23 gives them, expiry, and time that jumps.

use api::{LeaseStatus, Reply};

use super::*;

pub(super) fn leased(name: &'static str, lease: i64) -> Put {
    Put { lease: LeaseId(lease), ..put(name, "v") }
}

fn missing(id: i64) -> LeaseStatus {
    LeaseStatus { id: LeaseId(id), ttl: -1, granted_ttl: 0, keys: vec![] }
}

async fn status(member: &Member, id: i64) -> LeaseStatus {
    member.lease_time_to_live(LeaseId(id), true).await.expect("answered").body
}

async fn keep_alive(member: &Member, ids: &[i64]) -> Vec<i64> {
    let ids = ids.iter().copied().map(LeaseId).collect();
    member.lease_keep_alive(ids).await.expect("answered").body
}

#[tokio::test]
async fn odd_requests_are_answered_as_etcd_answers_them() {
    let member = Disks::new().start(&config()).await;
    let grant = async |id, ttl| {
        let granted = member.lease_grant(LeaseId(id), ttl).await;
        granted.map(|Reply { header, body }| (header.revision.0, body.id.0, body.ttl))
    };
    let (revision, id, ttl) = grant(0, 10).await.expect("granted");
    assert!(revision == 1 && id > 0 && ttl == 10, "{id}");
    assert_eq!(grant(7, 10).await, Ok((1, 7, 10)));
    assert_eq!(grant(7, 20).await, Err(Fault::LeaseExists));
    assert_eq!(grant(-7, 10).await, Ok((1, -7, 10)));
    // One and a half elections, in whole seconds.
    assert_eq!(grant(8, 0).await, Ok((1, 8, 1)));
    assert_eq!(grant(9, -5).await, Ok((1, 9, 1)));
    assert_eq!(grant(10, 9_000_000_000).await, Ok((1, 10, 9_000_000_000)));
    assert_eq!(grant(11, 9_000_000_001).await, Err(Fault::LeaseTtlTooLarge));
    assert_eq!(status(&member, 999).await, missing(999));
    assert_eq!(status(&member, 0).await, missing(0));
    assert_eq!(keep_alive(&member, &[999, 7, 0, -7]).await, [0, 10, 0, 10]);
    for id in [999, 0] {
        assert_eq!(member.lease_revoke(LeaseId(id)).await.err(), Some(Fault::LeaseNotFound));
    }
    assert_eq!(member.put(leased("a", 999)).await.err(), Some(Fault::LeaseNotFound));
    for name in ["b", "a", "c"] {
        member.put(leased(name, 7)).await.expect("written");
    }
    member.put(leased("c", 10)).await.expect("written");
    let status = status(&member, 7).await;
    assert!((9..=10).contains(&status.ttl) && status.granted_ttl == 10, "{status:?}");
    assert_eq!(status.keys, ["a", "b"]);
    // A lease without keys makes no revision, one with keys makes one.
    assert_eq!(member.lease_revoke(LeaseId(-7)).await.map(|reply| reply.header.revision), Ok(Revision(5)));
    assert_eq!(member.lease_revoke(LeaseId(7)).await.map(|reply| reply.header.revision), Ok(Revision(6)));
    assert_eq!(everything(&member, Consistency::Linearizable).await, ["c=v@5"]);
    let leases = member.leases().await.expect("answered").body;
    assert!(leases.len() >= 2 && leases.ends_with(&[LeaseId(10)]), "{leases:?}");
    let metrics = member.metrics();
    for line in
        ["etcd_debugging_lease_granted_total 6", "etcd_debugging_lease_revoked_total 2", "renewed_total 2"]
    {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

#[tokio::test]
async fn what_is_not_kept_alive_goes_with_its_keys_at_one_revision() {
    let member = Disks::new().start(&config()).await;
    member.lease_grant(LeaseId(7), 1).await.expect("granted");
    for name in ["a", "b"] {
        member.put(leased(name, 7)).await.expect("written");
    }
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(2500) {
        assert_eq!(keep_alive(&member, &[7]).await, [1]);
        // Reason to sleep: keep-alives come now and then.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let last = Instant::now();
    assert_eq!(keep_alive(&member, &[7]).await, [1]);
    while !everything(&member, Consistency::Linearizable).await.is_empty() {
        assert!(last.elapsed() < Duration::from_secs(20), "it lives for ever");
        // Reason to sleep: the pause between two looks at a condition.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(last.elapsed() >= Duration::from_secs(1), "it ended after {:?}", last.elapsed());
    assert_eq!(member.header().revision, Revision(4));
    assert_eq!((status(&member, 7).await, keep_alive(&member, &[7]).await), (missing(7), vec![0]));
    // The one who ended it hears of it a moment later.
    while !member.metrics().contains("etcd_debugging_server_lease_expired_total 1") {
        assert!(last.elapsed() < Duration::from_secs(20), "it is not counted");
        // Reason to sleep: the pause between two looks at a condition.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_member_that_stood_still_gives_the_whole_time_again() {
    let clock = Arc::new(ManualClock::new(NEW_YEAR_NS));
    let config = Config { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..config() };
    let member = Disks::new().start(&config).await;
    member.lease_grant(LeaseId(7), 2).await.expect("granted");
    member.put(leased("a", 7)).await.expect("written");
    clock.advance(Duration::from_hours(1));
    // Reason to sleep: nothing happens, and it would have within these rounds.
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(everything(&member, Consistency::Linearizable).await.len(), 1);
    assert_eq!(keep_alive(&member, &[7]).await, [2]);
    let mut passed = Duration::ZERO;
    while !everything(&member, Consistency::Linearizable).await.is_empty() {
        clock.advance(Duration::from_millis(100));
        passed += Duration::from_millis(100);
        assert!(passed < Duration::from_mins(10), "it lives for ever");
        // Reason to sleep: the member looks at its clock now and then.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(passed >= Duration::from_secs(2), "it ended after {passed:?}");
}

#[tokio::test]
async fn a_restart_keeps_leases_and_what_a_checkpoint_left() {
    let clock = Arc::new(ManualClock::new(NEW_YEAR_NS));
    let checkpoints = Config {
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        lease_checkpoint_every: Some(Duration::from_secs(2)),
        ..config()
    };
    let disks = Disks::new();
    let member = disks.start(&checkpoints).await;
    member.lease_grant(LeaseId(7), 100).await.expect("granted");
    member.put(leased("a", 7)).await.expect("written");
    let left = || member.house.wing.look().leases.get(LeaseId(7)).map(|terms| terms.remaining);
    let mut passed = 0;
    while left() == Some(0) {
        clock.advance(Duration::from_millis(500));
        passed += 1;
        assert!(passed < 1000, "nothing is written down");
        // Reason to sleep: the member looks at its clock now and then.
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    let left = left().expect("it lives");
    assert!((2..100).contains(&left), "{left} s");
    drop(member);
    let member = disks.start(&checkpoints).await;
    let status = self::status(&member, 7).await;
    assert!(status.ttl <= left && status.granted_ttl == 100, "{status:?}");
    assert_eq!(status.keys, ["a"]);
    // A renewal takes the checkpoint back first.
    assert_eq!(keep_alive(&member, &[7]).await, [100]);
    let terms = member.house.wing.look().leases.get(LeaseId(7));
    assert_eq!(terms.map(|terms| terms.remaining), Some(0));
}
