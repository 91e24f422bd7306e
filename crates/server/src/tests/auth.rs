//! Users and roles, through the door.

use api::{AuthReply, AuthRequest, Caller, Fault, WatchBody};
use types::{Access, Permission, PutReply, Secret, WatchSpec};

use super::*;

async fn ask(member: &Arc<Member>, caller: &Caller, request: AuthRequest) -> Result<AuthReply, Fault> {
    let guest = Arc::clone(member).for_caller(caller.clone());
    guest.auth(request).await.map(|reply| reply.body)
}

async fn sign_in(member: &Arc<Member>, name: &str) -> Caller {
    let password = Secret::new(format!("{name}-password"));
    let request = AuthRequest::Authenticate { name: name.into(), password };
    let AuthReply::Token(token) = ask(member, &Caller::default(), request).await.expect("a token") else {
        panic!("another kind of answer")
    };
    Caller { token: Some(Secret::new(token)), peer_name: None }
}

fn grant(role: &str, access: Access, key: &'static str, range_end: &'static str) -> AuthRequest {
    let permission = Permission { access, key: key.into(), range_end: range_end.into() };
    AuthRequest::RoleGrantPermission { role: role.into(), permission: Some(permission) }
}

/// A member that asks for proof; alice may read and write what begins with `a`, and read `x`.
async fn guarded() -> (Disks, Arc<Member>, Caller) {
    let disks = Disks::new();
    let member = disks.start(&config()).await;
    let nobody = Caller::default();
    let add = |name: &str| AuthRequest::UserAdd {
        name: name.into(),
        password: Some(Secret::new(format!("{name}-password"))),
    };
    for request in [
        add("root"),
        AuthRequest::UserGrantRole { user: "root".into(), role: "root".into() },
        add("alice"),
        AuthRequest::RoleAdd { name: "r".into() },
        grant("r", Access::ReadWrite, "a", "b"),
        grant("r", Access::Read, "x", ""),
        AuthRequest::UserGrantRole { user: "alice".into(), role: "r".into() },
        AuthRequest::Enable,
    ] {
        ask(&member, &nobody, request).await.expect("legal");
    }
    let root = sign_in(&member, "root").await;
    (disks, member, root)
}

fn of(text: &'static str) -> Key {
    Key::new(text.into()).expect("not empty")
}

fn write(key: &'static str, lease: LeaseId) -> Put {
    Put { key: of(key), value: "v".into(), lease, prev_kv: false, ignore_value: false, ignore_lease: false }
}

#[tokio::test]
async fn each_does_what_his_roles_allow() {
    let (_disks, member, root) = guarded().await;
    let alice = sign_in(&member, "alice").await;
    let put = |caller: &Caller, key| {
        let guest = Arc::clone(&member).for_caller(caller.clone());
        async move { guest.put(write(key, LeaseId::NONE)).await.map(|reply| reply.body) }
    };
    assert_eq!(put(&alice, "a1").await, Ok(PutReply::default()));
    assert_eq!(put(&alice, "x").await, Err(Fault::PermissionDenied));
    assert_eq!(put(&root, "x").await, Ok(PutReply::default()));
    assert_eq!(put(&Caller::default(), "a1").await, Err(Fault::UserEmpty));
    let wrong = Caller { token: Some(Secret::new("abc.1")), peer_name: None };
    assert_eq!(put(&wrong, "a1").await, Err(Fault::InvalidAuthToken));
    // A name of a certificate is as good as a token, and a token is better.
    let by_name = |name: &str| Caller { token: None, peer_name: Some(name.into()) };
    assert_eq!(put(&by_name("alice"), "a1").await, Ok(PutReply::default()));
    assert_eq!(put(&by_name("alice"), "x").await, Err(Fault::PermissionDenied));
    assert_eq!(put(&by_name("nobody"), "a1").await, Err(Fault::PermissionDenied));
    let both = Caller { peer_name: Some("root".into()), ..alice.clone() };
    assert_eq!(put(&both, "x").await, Err(Fault::PermissionDenied));
    // Called directly, it is called by nobody.
    assert_eq!(member.put(write("a1", LeaseId::NONE)).await.map(drop), Err(Fault::UserEmpty));
    let query = || RangeQuery::of(KeyRange::single(of("x")));
    let read = member.range(query(), Consistency::Linearizable).await.map(drop);
    assert_eq!(read, Err(Fault::UserEmpty));
    let guest = Arc::clone(&member).for_caller(alice.clone());
    assert!(guest.range(query(), Consistency::Serializable).await.is_ok());
    let all = RangeQuery::of(KeyRange::all());
    assert_eq!(guest.range(all, Consistency::Serializable).await.map(drop), Err(Fault::PermissionDenied));
    let wrong = AuthRequest::Authenticate { name: "alice".into(), password: Secret::new("x") };
    assert_eq!(ask(&member, &Caller::default(), wrong).await, Err(Fault::AuthFailed));
    // A change of rights counts for the next request, without another token.
    let revoke = AuthRequest::UserRevokeRole { user: "alice".into(), role: "r".into() };
    ask(&member, &root, revoke).await.expect("she has it");
    assert_eq!(put(&alice, "a1").await, Err(Fault::PermissionDenied));
    // Another password ends her tokens.
    let password = Secret::new("another password");
    let change = AuthRequest::UserChangePassword { name: "alice".into(), password };
    ask(&member, &root, change).await.expect("there is one");
    assert_eq!(put(&alice, "a1").await, Err(Fault::InvalidAuthToken));
}

// CVE-2023-32082 and CVE-2026-33413: what hangs on a lease is not for everybody to see or keep.
#[tokio::test]
async fn cve_2023_32082_keys_of_leases_are_told_to_who_may_read_them() {
    let (_disks, member, root) = guarded().await;
    let alice = sign_in(&member, "alice").await;
    let guest = |caller: &Caller| Arc::clone(&member).for_caller(caller.clone());
    let (root, alice) = (guest(&root), guest(&alice));
    let nobody = guest(&Caller::default());
    let secret = root.lease_grant(LeaseId::NONE, 100).await.expect("granted").body.id;
    root.put(write("secret", secret)).await.expect("written");
    let own = alice.lease_grant(LeaseId::NONE, 100).await.expect("granted").body.id;
    alice.put(write("a1", own)).await.expect("written");
    assert_eq!(alice.lease_time_to_live(secret, true).await.map(drop), Err(Fault::PermissionDenied));
    assert!(alice.lease_time_to_live(secret, false).await.is_ok());
    assert_eq!(alice.lease_time_to_live(own, true).await.expect("her own").body.keys, ["a1"]);
    assert_eq!(alice.lease_keep_alive(vec![secret]).await.map(drop), Err(Fault::PermissionDenied));
    assert_eq!(alice.lease_keep_alive(vec![own]).await.expect("her own").body, [100]);
    assert_eq!(alice.lease_revoke(secret).await.map(drop), Err(Fault::PermissionDenied));
    assert_eq!(alice.leases().await.map(drop), Err(Fault::PermissionDenied));
    assert_eq!(root.leases().await.expect("root").body.len(), 2);
    assert_eq!(alice.put(write("a2", secret)).await.map(drop), Err(Fault::PermissionDenied));
    assert_eq!(nobody.lease_grant(LeaseId::NONE, 100).await.map(drop), Err(Fault::UserEmpty));
    assert_eq!(nobody.lease_revoke(own).await.map(drop), Err(Fault::UserEmpty));
    assert_eq!(nobody.lease_time_to_live(own, false).await.map(drop), Err(Fault::UserEmpty));
    assert_eq!(nobody.members(Consistency::Serializable).await.map(drop), Err(Fault::UserEmpty));
    assert_eq!(nobody.status().await.map(drop), Err(Fault::UserEmpty));
    assert_eq!(
        alice.compact(Compact { revision: 2, physical: false }).await.map(drop),
        Err(Fault::PermissionDenied)
    );
    assert_eq!(alice.snapshot().await.map(drop), Err(Fault::PermissionDenied));
    assert_eq!(alice.hash_kv(None).await.map(drop), Err(Fault::PermissionDenied));
    assert_eq!(alice.defragment().await, Err(Fault::PermissionDenied));
    assert!(alice.status().await.is_ok() && alice.members(Consistency::Serializable).await.is_ok());
    alice.lease_revoke(own).await.expect("her own");
}

fn spec(range: KeyRange) -> WatchSpec {
    WatchSpec {
        range,
        start: None,
        progress_notify: false,
        without_puts: false,
        without_deletes: false,
        prev_kv: false,
        fragment: false,
        id: None,
    }
}

// GHSA-xg4h-6gfc-h4m8: a right to one key is none to those behind it.
#[tokio::test]
async fn ghsa_xg4h_6gfc_h4m8_watches_see_what_may_be_read_for_as_long_as_it_may() {
    let (_disks, member, root) = guarded().await;
    let alice = sign_in(&member, "alice").await;
    let alice = Arc::clone(&member).for_caller(alice);
    let mut stream = alice.watch(false).expect("opened");
    stream.create(spec(KeyRange { start: "x".into(), end: types::RangeEnd::Unbounded }));
    let told = stream.next().await.expect("an answer");
    let denied = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";
    assert!(matches!(&told.body, WatchBody::Refused { reason } if reason == denied), "{told:?}");
    stream.create(spec(KeyRange::from_wire(of("a"), "b".into())));
    stream.create(spec(KeyRange::single(of("x"))));
    for _ in 0..2 {
        assert!(matches!(stream.next().await.expect("an answer").body, WatchBody::Created));
    }
    let as_root = Arc::clone(&member).for_caller(root.clone());
    as_root.put(write("a1", LeaseId::NONE)).await.expect("written");
    assert!(matches!(stream.next().await.expect("an event").body, WatchBody::Events { .. }));
    let revoke =
        AuthRequest::RoleRevokePermission { role: "r".into(), key: "a".into(), range_end: "b".into() };
    ask(&member, &root, revoke).await.expect("it was granted");
    as_root.put(write("a1", LeaseId::NONE)).await.expect("written");
    let told = stream.next().await.expect("an answer");
    assert!(matches!(&told.body, WatchBody::Canceled { reason, .. } if reason == denied), "{told:?}");
    as_root.put(write("x", LeaseId::NONE)).await.expect("written");
    let told = stream.next().await.expect("the other one goes on");
    assert!(
        matches!(&told.body, WatchBody::Events { events, .. } if events[0].event.kv.key == "x"),
        "{told:?}"
    );
}

#[tokio::test]
async fn who_watched_before_proof_was_asked_for_is_sent_away() {
    let disks = Disks::new();
    let member = disks.start(&config()).await;
    let mut stream = Arc::clone(&member).for_caller(Caller::default()).watch(false).expect("opened");
    stream.create(spec(KeyRange::all()));
    assert!(matches!(stream.next().await.expect("an answer").body, WatchBody::Created));
    let password = Some(Secret::new("root-password"));
    for request in [
        AuthRequest::UserAdd { name: "root".into(), password },
        AuthRequest::UserGrantRole { user: "root".into(), role: "root".into() },
        AuthRequest::Enable,
    ] {
        member.auth(request).await.expect("legal");
    }
    assert_eq!(stream.next().await.map(drop), Err(Fault::UserEmpty));
}
