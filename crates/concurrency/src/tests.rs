//! What a stranger may rely on: the keys, who owns them, and what is left behind.

mod fake;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use api::{Code, Fault, Member};
use bytes::Bytes;
use fake::{Door, Fake};
use types::LeaseId;

use crate::{LeaderKey, campaign, leader, lock, observe, proclaim, resign, unlock};

const A: LeaseId = LeaseId(0xa1);
const B: LeaseId = LeaseId(0xb2);
const C: LeaseId = LeaseId(-0xc3);

fn name() -> Bytes {
    Bytes::from_static(b"job")
}

fn value(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// A member with three leases.
async fn member() -> (Arc<Fake>, Arc<dyn Member>) {
    let fake = Fake::new();
    let member: Arc<dyn Member> = Arc::new(Door(Arc::clone(&fake)));
    for lease in [A, B, C] {
        member.lease_grant(lease, 60).await.expect("granted");
    }
    (fake, member)
}

fn spawn<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> tokio::task::JoinHandle<T> {
    tokio::spawn(work)
}

fn lock_by(
    member: &Arc<dyn Member>,
    lease: LeaseId,
) -> tokio::task::JoinHandle<Result<crate::LockHeld, Fault>> {
    let member = Arc::clone(member);
    spawn(async move { lock(&member, name(), lease).await })
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), work).await.expect("it takes no time")
}

#[tokio::test]
async fn locks_are_taken_in_the_order_of_asking() {
    let (fake, member) = member().await;
    let first = lock(&member, name(), A).await.expect("free");
    assert_eq!(first.key, "job/a1");
    assert_eq!(lock(&member, name(), A).await.expect("held by the same").key, first.key);
    let second = lock_by(&member, B);
    fake.until_watches(1).await;
    let third = lock_by(&member, C);
    fake.until_watches(2).await;
    assert_eq!(fake.keys(), ["job/-c3=", "job/a1=", "job/b2="]);
    unlock(&member, first.key).await.expect("unlocked");
    let second = within(second).await.expect("no panic").expect("free now");
    assert!(!third.is_finished());
    unlock(&member, second.key).await.expect("unlocked");
    within(third).await.expect("no panic").expect("free now");
    unlock(&member, Bytes::from_static(b"nothing")).await.expect("no fault");
}

#[tokio::test]
async fn a_caller_without_a_lease_gets_one() {
    let (_, member) = member().await;
    assert_eq!(lock(&member, name(), LeaseId::NONE).await.expect("free").key, "job/77");
    assert_eq!(lock(&member, Bytes::new(), LeaseId::NONE).await.expect("free").key, "/77");
}

#[tokio::test]
async fn faults_keep_their_text_and_lose_their_code() {
    let (_, member) = member().await;
    let fault = lock(&member, name(), LeaseId(5)).await.expect_err("no such lease");
    assert_eq!((fault.text(), fault.code()), ("etcdserver: requested lease not found", Code::Unknown));
    let fault = unlock(&member, Bytes::new()).await.expect_err("no key");
    assert_eq!((fault.text(), fault.code()), ("etcdserver: key is not provided", Code::Unknown));
}

#[tokio::test]
async fn a_lease_that_ends_ends_the_wait() {
    let (fake, member) = member().await;
    lock(&member, name(), A).await.expect("free");
    let waiting = lock_by(&member, B);
    fake.until_watches(1).await;
    fake.expire(B);
    assert_eq!(within(waiting).await.expect("no panic"), Err(Fault::SessionExpired));
    let waiting = lock_by(&member, C);
    fake.until_watches(1).await;
    fake.expire(A);
    within(waiting).await.expect("no panic").expect("the owner's lease has ended");
}

#[tokio::test]
async fn who_stops_waiting_takes_the_key_back() {
    let (fake, member) = member().await;
    lock(&member, name(), A).await.expect("free");
    let waiting = lock_by(&member, B);
    fake.until_watches(1).await;
    waiting.abort();
    within(fake.until(|keys| keys == ["job/a1="])).await;
}

#[tokio::test]
async fn who_goes_before_the_key_is_made_leaves_none() {
    let (fake, member) = member().await;
    fake.gate.forget_permits(1_000);
    let waiting = lock_by(&member, A);
    tokio::task::yield_now().await;
    waiting.abort();
    let _ = waiting.await;
    fake.gate.add_permits(1);
    within(fake.until(|keys| keys == ["job/a1="])).await;
    fake.gate.add_permits(1);
    within(fake.until(<[String]>::is_empty)).await;
}

#[tokio::test]
async fn history_that_was_forgotten_ends_no_wait() {
    let (fake, member) = member().await;
    let held = lock(&member, name(), A).await.expect("free");
    let waiting = lock_by(&member, B);
    fake.until_watches(1).await;
    member.lease_grant(LeaseId(9), 1).await.expect("granted");
    unlock(&member, held.key).await.expect("unlocked");
    fake.forget();
    within(waiting).await.expect("no panic").expect("free now");
}

#[tokio::test]
async fn one_leader_at_a_time() {
    let (fake, member) = member().await;
    assert_eq!(leader(&member, name()).await.expect_err("nobody"), Fault::NoElectedLeader);
    let won = campaign(&member, name(), A, value("one")).await.expect("free");
    assert_eq!(won.leader.key, "job/a1");
    let theirs = Arc::clone(&member);
    let second = spawn(async move { campaign(&theirs, name(), B, value("two")).await });
    fake.until_watches(1).await;
    assert_eq!(leader(&member, name()).await.expect("somebody").1.value, "one");
    proclaim(&member, &won.leader, value("still one")).await.expect("it leads");
    assert_eq!(fake.keys(), ["job/a1=still one", "job/b2=two"]);
    let again = campaign(&member, name(), A, value("again")).await.expect("it leads");
    assert_eq!((again.leader.rev, fake.keys()[0].as_str()), (won.leader.rev, "job/a1=again"));
    resign(&member, &won.leader).await.expect("resigned");
    resign(&member, &won.leader).await.expect("twice is no fault");
    let second = within(second).await.expect("no panic").expect("free now");
    assert_eq!(leader(&member, name()).await.expect("somebody").1.value, "two");
    let stale = LeaderKey { rev: won.leader.rev, ..second.leader };
    assert_eq!(proclaim(&member, &stale, value("three")).await, Err(Fault::NotElected));
}

#[tokio::test]
async fn a_campaign_ends_with_its_lease() {
    let (fake, member) = member().await;
    campaign(&member, name(), A, value("one")).await.expect("free");
    let theirs = Arc::clone(&member);
    let second = spawn(async move { campaign(&theirs, name(), B, value("two")).await });
    fake.until_watches(1).await;
    fake.expire(B);
    assert_eq!(within(second).await.expect("no panic"), Err(Fault::NotElected));
}

#[tokio::test]
async fn observers_hear_every_word_of_every_leader() {
    let (fake, member) = member().await;
    let mut observer = observe(Arc::clone(&member), name());
    let nobody = tokio::time::timeout(Duration::from_millis(1), observer.next()).await;
    assert!(nobody.is_err(), "nobody leads: {nobody:?}");
    let one = campaign(&member, name(), A, value("one")).await.expect("free");
    let (header, kv) = within(observer.next()).await.expect("a leader");
    assert_eq!((header.revision, kv.value), (kv.mod_revision, value("one")));
    proclaim(&member, &one.leader, value("two")).await.expect("it leads");
    assert_eq!(within(observer.next()).await.expect("a leader").1.value, "two");
    let theirs = Arc::clone(&member);
    let second = spawn(async move { campaign(&theirs, name(), B, value("three")).await });
    fake.until(|keys| keys.len() == 2).await;
    resign(&member, &one.leader).await.expect("resigned");
    assert_eq!(within(observer.next()).await.expect("a leader").1.value, "three");
    within(second).await.expect("no panic").expect("free now");
}
