//! gRPC through the generated clients, and through clients that cancel.

use std::sync::atomic::Ordering;
use std::time::Duration;

use proto::etcdserverpb as pb;
use proto::etcdserverpb::auth_client::AuthClient;
use proto::etcdserverpb::cluster_client::ClusterClient;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use types::MemberId;

use crate::Door;
use gateway::Limits;

async fn channel(door: &Door) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", door.address)).expect("an address");
    endpoint.connect().await.expect("somebody listens")
}

fn put(key: &str, bytes: usize) -> pb::PutRequest {
    pb::PutRequest { key: key.to_owned().into(), value: vec![b'v'; bytes].into(), ..Default::default() }
}

fn code_and_text(status: &Status) -> (Code, &str) {
    (status.code(), status.message())
}

#[tokio::test]
async fn calls_arrive_typed_and_answers_come_back() {
    let door = Door::open(Limits::default()).await;
    let channel = channel(&door).await;
    let mut kv = KvClient::new(channel.clone()).max_decoding_message_size(usize::MAX);
    let header = Some(pb::ResponseHeader { cluster_id: 0xc1, member_id: 2, revision: 7, raft_term: 3 });

    let answer = kv.put(put("foo", 3)).await.expect("it is served").into_inner();
    assert_eq!(answer, pb::PutResponse { header, prev_kv: None });
    let request = pb::RangeRequest { key: "foo".into(), range_end: "fop".into(), ..Default::default() };
    let answer = kv.range(request).await.expect("it is served").into_inner();
    assert_eq!((answer.header, answer.count, answer.kvs.len()), (header, 12, 1));
    let answer = kv.txn(pb::TxnRequest::default()).await.expect("it is served").into_inner();
    assert!(answer.succeeded);
    let request = pb::DeleteRangeRequest { key: "foo".into(), range_end: "\0".into(), prev_kv: true };
    assert_eq!(kv.delete_range(request).await.expect("it is served").into_inner().prev_kvs.len(), 1);
    let request = pb::CompactionRequest { revision: 5, physical: true };
    assert_eq!(kv.compact(request).await.expect("it is served").into_inner().header, header);

    let mut maintenance = MaintenanceClient::new(channel.clone());
    let status = maintenance.status(pb::StatusRequest {}).await.expect("it is served").into_inner();
    assert_eq!((status.version.as_str(), status.leader, status.raft_index), ("3.7.1", 2, 9));
    let hash = maintenance.hash(pb::HashRequest {}).await.expect("it is served").into_inner();
    assert_eq!(hash.hash, 0xdead_beef);
    let request = pb::HashKvRequest { revision: 0 };
    let hash = maintenance.hash_kv(request).await.expect("it is served").into_inner();
    assert_eq!((hash.hash, hash.compact_revision, hash.hash_revision), (17, -1, 7));

    let mut cluster = ClusterClient::new(channel);
    let request = pb::MemberListRequest { linearizable: true };
    let list = cluster.member_list(request).await.expect("it is served").into_inner();
    assert_eq!(list.header.expect("there is one").revision, 0, "cluster headers carry no revision");
    assert_eq!(list.members[0].client_ur_ls, ["http://127.0.0.1:2379"]);

    assert_eq!(
        door.fake.take_seen(),
        [
            "put b\"foo\"=3 bytes lease=0",
            "range KeyRange { start: b\"foo\", end: Before(b\"fop\") } Linearizable limit=0",
            "txn 0/0/0 serializable=true",
            "delete KeyRange { start: b\"foo\", end: Unbounded }",
            "Compact { revision: 5, physical: true }",
            "hash_kv None",
            "members Linearizable",
        ]
    );
    door.close().await;
}

#[tokio::test]
async fn calls_under_way_have_a_limit_and_each_connection_gets_one() {
    const CALLS_MAX: usize = 3;
    let door = Door::open(Limits { calls_max: CALLS_MAX, ..Limits::default() }).await;
    let crowded = KvClient::new(channel(&door).await);
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..=CALLS_MAX {
        let mut kv = crowded.clone();
        waiting.spawn(async move { kv.put(put("gate", 1)).await });
    }
    let is_full = || door.fake.seen.lock().len() > CALLS_MAX;
    while !is_full() {
        tokio::task::yield_now().await;
    }
    let refusal = crowded.clone().put(put("one more", 1)).await.expect_err("it is one too many");
    assert_eq!(code_and_text(&refusal), (Code::ResourceExhausted, "etcdserver: too many requests"));
    // Others, who have one call each, do not feel it.
    KvClient::new(channel(&door).await).put(put("other", 1)).await.expect("it is served");
    let request =
        "POST /v3/kv/put HTTP/1.1\r\nConnection: close\r\nContent-Length: 14\r\n\r\n{\"key\":\"YQ==\"}";
    let answer = door.exchange(request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    door.fake.gate.add_permits(waiting.len());
    while let Some(answer) = waiting.join_next().await {
        answer.expect("no panic").expect("it was only slow");
    }
    crowded.clone().put(put("one more", 1)).await.expect("there is room again");
    let metrics = door.registry.render();
    assert!(metrics.contains("kvorum_gateway_limits_total{limit=\"calls\"} 1"), "{metrics}");
    door.close().await;
}

#[tokio::test]
async fn refusals_have_etcds_codes_and_texts() {
    let door = Door::open(Limits::default()).await;
    let channel = channel(&door).await;
    let mut kv = KvClient::new(channel.clone());
    for (key, code, text) in [
        ("", Code::InvalidArgument, "etcdserver: key is not provided"),
        ("fault:future", Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision"),
        ("fault:lease", Code::NotFound, "etcdserver: requested lease not found"),
        ("fault:timeout", Code::Unavailable, "etcdserver: request timed out"),
        ("fault:space", Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded"),
        ("fault:busy", Code::Unknown, "etcdserver: too many requests"),
        ("fault:corrupt", Code::DataLoss, "etcdserver: corrupt cluster"),
        ("fault:broken", Code::Unknown, "100% broken: \u{e4}\n"),
    ] {
        let refusal = kv.put(put(key, 0)).await.expect_err("it is refused");
        assert_eq!(code_and_text(&refusal), (code, text), "{key}");
    }

    let refusal = kv.put(put("k", 2 * 1024 * 1024)).await.expect_err("it is too large");
    let text = "grpc: received message larger than max (2097160 vs. 2097152)";
    assert_eq!(code_and_text(&refusal), (Code::ResourceExhausted, text));
    kv.put(put("k", 2 * 1024 * 1024 - 8)).await.expect("it is just small enough");

    let refusal =
        AuthClient::new(channel).auth_enable(pb::AuthEnableRequest {}).await.expect_err("it is not served");
    assert_eq!(code_and_text(&refusal), (Code::Unimplemented, "kvorum: not served"));
    door.close().await;
}

#[tokio::test]
async fn metadata_is_checked_before_the_member_is_asked() {
    let door = Door::open(Limits::default()).await;
    let mut kv = KvClient::new(channel(&door).await);
    let with = |name: &'static str, value: &'static str| {
        let mut request = Request::new(put("k", 1));
        request.metadata_mut().insert(name, MetadataValue::from_static(value));
        request
    };
    kv.put(with("hasleader", "true")).await.expect("there is a leader");
    *door.fake.leader.lock() = MemberId(0);
    let refusal = kv.put(with("hasleader", "true")).await.expect_err("there is none");
    assert_eq!(code_and_text(&refusal), (Code::Unavailable, "etcdserver: no leader"));
    kv.put(with("client-api-version", "3.5")).await.expect("any version may call");
    assert_eq!(door.fake.take_seen().len(), 2);

    let mut request = Request::new(put("gate", 1));
    request.set_timeout(Duration::from_millis(20));
    let refusal = kv.put(request).await.expect_err("nobody opens the gate");
    assert!(matches!(refusal.code(), Code::DeadlineExceeded | Code::Cancelled), "{refusal}");
    door.close().await;
}

#[tokio::test]
async fn a_learner_answers_its_status_and_serializable_reads() {
    let door = Door::open(Limits::default()).await;
    door.fake.learner.store(true, Ordering::Relaxed);
    let channel = channel(&door).await;
    let (mut kv, mut maintenance) = (KvClient::new(channel.clone()), MaintenanceClient::new(channel.clone()));
    let range = |serializable| pb::RangeRequest { key: "k".into(), serializable, ..Default::default() };
    kv.range(range(true)).await.expect("it may be old");
    let status = maintenance.status(pb::StatusRequest {}).await.expect("it tells that it is one");
    assert!(status.into_inner().is_learner);
    let mut cluster = ClusterClient::new(channel);
    for refusal in [
        kv.range(range(false)).await.err(),
        kv.put(put("k", 1)).await.err(),
        kv.txn(pb::TxnRequest::default()).await.err(),
        maintenance.alarm(pb::AlarmRequest::default()).await.err(),
        maintenance.hash(pb::HashRequest {}).await.err(),
        maintenance.move_leader(pb::MoveLeaderRequest::default()).await.err(),
        cluster.member_list(pb::MemberListRequest::default()).await.err(),
        cluster.member_add(pb::MemberAddRequest::default()).await.err(),
    ] {
        let refusal = refusal.expect("it is refused");
        let text = "etcdserver: rpc not supported for learner";
        assert_eq!(code_and_text(&refusal), (Code::FailedPrecondition, text));
    }
    assert_eq!(door.fake.take_seen().len(), 1);
    door.close().await;
}

#[tokio::test]
async fn calls_are_counted() {
    let door = Door::open(Limits::default()).await;
    let mut kv = KvClient::new(channel(&door).await);
    kv.put(put("k", 1)).await.expect("it is served");
    kv.put(put("", 1)).await.expect_err("it has no key");
    let metrics = door.registry.render();
    let labels = "grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"";
    for line in [
        format!("grpc_server_started_total{{{labels}}} 2"),
        format!("grpc_server_handled_total{{grpc_code=\"OK\",{labels}}} 1"),
        format!("grpc_server_handled_total{{grpc_code=\"InvalidArgument\",{labels}}} 1"),
        format!("grpc_server_msg_received_total{{{labels}}} 2"),
        format!("grpc_server_msg_sent_total{{{labels}}} 1"),
        "etcd_network_client_grpc_received_bytes_total 9".to_owned(),
        "etcd_server_client_requests_total{client_api_version=\"unknown\",type=\"unary\"} 2".to_owned(),
        "grpc_server_started_total{grpc_method=\"Watch\",grpc_service=\"etcdserverpb.Watch\",\
         grpc_type=\"bidi_stream\"} 0"
            .to_owned(),
    ] {
        assert!(metrics.lines().any(|have| have == line), "{line} is not among\n{metrics}");
    }
    door.close().await;
}

/// h2's defaults end the connection after twenty cancelled calls that were not taken up yet, with
/// ENHANCE_YOUR_CALM for every innocent call on it.
#[tokio::test]
async fn a_thousand_cancelled_calls_do_not_end_the_connection() {
    let door = Door::open(Limits::default()).await;
    let channel = channel(&door).await;
    let mut innocent = KvClient::new(channel.clone());
    for _ in 0..3 {
        let calls: Vec<_> = (0..1000)
            .map(|_| {
                let mut kv = KvClient::new(channel.clone());
                tokio::spawn(async move { kv.put(put("gate", 8)).await })
            })
            .collect();
        for (at, call) in calls.iter().enumerate() {
            call.abort();
            if at % 100 == 0 {
                innocent.put(put("k", 1)).await.expect("the connection lives");
            }
        }
    }
    innocent.put(put("k", 1)).await.expect("the connection lives");
    door.close().await;
}
