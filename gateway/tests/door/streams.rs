//! Streaming calls through the generated clients: what comes out, how they end, and what a client that does not read costs.

use std::sync::atomic::Ordering;
use std::time::Duration;

use api::{Fault, WatchBody, WatchId, WatchReply};
use bytes::Bytes;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::lease_client::LeaseClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb::watch_client::WatchClient;
use proto::health::health_client::HealthClient;
use proto::health::{HealthCheckRequest, health_check_response::ServingStatus};
use proto::reflection as refl;
use proto::reflection::server_reflection_client::ServerReflectionClient;
use proto::reflection::server_reflection_request::MessageRequest as Question;
use proto::reflection::server_reflection_response::MessageResponse as Answer;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use types::MemberId;

use crate::Door;
use crate::fake::HEADER;
use crate::fake_watches::put;
use gateway::Limits;

async fn channel(door: &Door) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", door.address)).expect("an address");
    endpoint.connect().await.expect("somebody listens")
}

fn create(key: &str) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest { key: key.to_owned().into(), ..Default::default() }
}

fn ask(create: pb::WatchCreateRequest) -> pb::WatchRequest {
    pb::WatchRequest { request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)) }
}

/// A stream of watches: where to ask, and where answers come.
async fn watch(
    client: &mut WatchClient<Channel>,
) -> (mpsc::Sender<pb::WatchRequest>, Streaming<pb::WatchResponse>) {
    let (sender, receiver) = mpsc::channel(16);
    let answers = client.watch(ReceiverStream::new(receiver)).await.expect("it is served").into_inner();
    (sender, answers)
}

async fn next<T>(answers: &mut Streaming<T>) -> T {
    answers.message().await.expect("it goes on").expect("it has not ended")
}

async fn end<T: std::fmt::Debug>(answers: &mut Streaming<T>) -> Status {
    answers.message().await.expect_err("it ends with a refusal")
}

fn code_and_text(status: &Status) -> (Code, &str) {
    (status.code(), status.message())
}

fn events(id: i64, count: usize, bytes: usize, fragment: bool) -> WatchReply {
    let value = Bytes::from(vec![b'v'; bytes]);
    let events = (0..count).map(|at| put(b"k", at as u64 + 2, value.clone())).collect();
    WatchReply { header: HEADER, id: WatchId(id), body: WatchBody::Events { events, fragment } }
}

#[tokio::test]
async fn a_stream_of_watches_asks_and_is_answered() {
    let door = Door::open(Limits::default()).await;
    let mut client = WatchClient::new(channel(&door).await);
    let (asks, mut answers) = watch(&mut client).await;
    asks.send(ask(create("event"))).await.expect("it is open");
    assert_eq!(
        next(&mut answers).await,
        pb::WatchResponse { header: header(), created: true, ..Default::default() }
    );
    let told = next(&mut answers).await;
    let kinds: Vec<i32> = told.events.iter().map(|event| event.r#type).collect();
    assert_eq!((told.watch_id, kinds), (0, vec![0, 1]));
    assert_eq!(told.events[1].prev_kv.as_ref().map(|kv| kv.value.as_ref()), Some(&b"bar"[..]));
    asks.send(ask(pb::WatchCreateRequest {
        range_end: "\0".into(),
        start_revision: 9,
        progress_notify: true,
        filters: vec![1, 0, 77],
        prev_kv: true,
        watch_id: -4,
        fragment: true,
        ..create("")
    }))
    .await
    .expect("it is open");
    assert_eq!(next(&mut answers).await.watch_id, -4);
    asks.send(ask(pb::WatchCreateRequest { range_end: "a".into(), ..create("b") }))
        .await
        .expect("it is open");
    let refused = next(&mut answers).await;
    assert_eq!((refused.watch_id, refused.created, refused.canceled), (-1, true, true));
    assert_eq!(refused.cancel_reason, "mvcc: watcher range is empty");
    asks.send(ask(pb::WatchCreateRequest { start_revision: -9, ..create("a") })).await.expect("it is open");
    assert!(next(&mut answers).await.created);
    let canceled = next(&mut answers).await;
    assert_eq!((canceled.canceled, canceled.compact_revision), (true, 5));
    // What a client asks for no more, it is still told.
    drop(asks);
    assert_eq!(
        door.fake.take_seen(),
        [
            r#"watch KeyRange { start: b"event", end: Single } start=None id=None flags=00000"#,
            r#"watch KeyRange { start: b"\0", end: Unbounded } start=Some(9) id=Some(-4) flags=11111"#,
            r#"watch KeyRange { start: b"b", end: Before(b"a") } start=None id=None flags=00000"#,
            r#"watch KeyRange { start: b"a", end: Single } start=Some(0) id=None flags=00000"#,
        ]
    );
    door.close().await;
    let refusal = end(&mut answers).await;
    assert_eq!(code_and_text(&refusal), (Code::Unavailable, "etcdserver: server stopped"));
}

#[allow(clippy::unnecessary_wraps, reason = "messages have their header in an Option")]
fn header() -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { cluster_id: 0xc1, member_id: 2, revision: 7, raft_term: 3 })
}

const MIB: usize = 1024 * 1024;

#[tokio::test]
async fn large_and_many_events_arrive_whole_and_in_pieces_where_that_is_allowed() {
    let door = Door::open(Limits::default()).await;
    let mut client = WatchClient::new(channel(&door).await).max_decoding_message_size(usize::MAX);
    let (feed, fed) = mpsc::channel(16);
    *door.fake.feed.lock() = Some(fed);
    let (_asks, mut answers) = watch(&mut client).await;
    for (count, bytes, fragment, expect) in [
        (1, 0, false, &[1][..]),
        (300, 10, true, &[300]),
        (2, 5000, true, &[2]),
        (5, MIB, false, &[5]),
        (5, MIB, true, &[1, 1, 1, 1, 1]),
        (9, MIB / 2, true, &[3, 3, 3]),
        (1, 3 * MIB, true, &[1]),
    ] {
        feed.send(Ok(events(1, count, bytes, fragment))).await.expect("it is open");
        let mut revisions = Vec::new();
        for (at, expect_count) in expect.iter().enumerate() {
            let answer = next(&mut answers).await;
            assert_eq!((answer.watch_id, answer.events.len()), (1, *expect_count));
            assert_eq!(answer.fragment, at + 1 < expect.len());
            for event in answer.events {
                let kv = event.kv.expect("there is one");
                assert!(kv.value.len() == bytes && kv.value.iter().all(|byte| *byte == b'v'));
                revisions.push(kv.mod_revision);
            }
        }
        assert_eq!(revisions, (2..count as i64 + 2).collect::<Vec<_>>());
    }
    door.close().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_only_its_own_stream() {
    let door = Door::open(Limits::default()).await;
    let channel = channel(&door).await;
    let (feed, fed) = mpsc::channel(1);
    *door.fake.feed.lock() = Some(fed);
    let mut client = WatchClient::new(channel.clone());
    let (_asks, mut answers) = watch(&mut client).await;
    // Windows and buffers hold some of it; then the member's stream is asked no more.
    let mut sent = 0;
    while tokio::time::timeout(Duration::from_millis(300), feed.reserve()).await.is_ok_and(|permit| {
        permit.expect("it is open").send(Ok(events(1, 100, 1000, false)));
        true
    }) {
        sent += 1;
        assert!(sent < 100, "10 MB went out to a client that does not read");
    }
    KvClient::new(channel.clone())
        .put(pb::PutRequest { key: "k".into(), ..Default::default() })
        .await
        .expect("served");
    for _ in 0..sent {
        assert_eq!(next(&mut answers).await.events.len(), 100);
    }
    door.close().await;
}

#[tokio::test]
async fn a_client_that_goes_ends_its_watches() {
    let door = Door::open(Limits::default()).await;
    let mut client = WatchClient::new(channel(&door).await);
    let (asks, mut answers) = watch(&mut client).await;
    asks.send(ask(create("k"))).await.expect("it is open");
    next(&mut answers).await;
    assert_eq!(door.fake.streams.load(Ordering::Relaxed), 1);
    drop((asks, answers));
    while door.fake.streams.load(Ordering::Relaxed) > 0 {
        tokio::task::yield_now().await;
    }
    let metrics = door.registry.render();
    let labels = "grpc_method=\"Watch\",grpc_service=\"etcdserverpb.Watch\",grpc_type=\"bidi_stream\"";
    for line in [
        format!("grpc_server_started_total{{{labels}}} 1"),
        format!("grpc_server_handled_total{{grpc_code=\"Canceled\",{labels}}} 1"),
        format!("grpc_server_msg_received_total{{{labels}}} 1"),
        format!("grpc_server_msg_sent_total{{{labels}}} 1"),
        "etcd_server_client_requests_total{client_api_version=\"unknown\",type=\"stream\"} 1".to_owned(),
    ] {
        assert!(metrics.lines().any(|have| have == line), "{line} is not among\n{metrics}");
    }
    door.close().await;
}

#[tokio::test]
async fn streams_end_with_the_leader_the_time_and_what_is_wrong() {
    let door = Door::open(Limits::default()).await;
    let mut client = WatchClient::new(channel(&door).await);
    let (feed, fed) = mpsc::channel(1);
    *door.fake.feed.lock() = Some(fed);
    let (asks, mut answers) = watch(&mut client).await;
    asks.send(ask(create("k"))).await.expect("it is open");
    next(&mut answers).await;
    feed.send(Err(Fault::NoLeader)).await.expect("it is open");
    assert_eq!(code_and_text(&end(&mut answers).await), (Code::Unavailable, "etcdserver: no leader"));

    let (asks, mut answers) = watch(&mut client).await;
    asks.send(ask(create(&"k".repeat(2 * 1024 * 1024)))).await.expect("it is open");
    let refusal = end(&mut answers).await;
    let text = "grpc: received message larger than max (2097162 vs. 2097152)";
    assert_eq!(code_and_text(&refusal), (Code::ResourceExhausted, text));

    let mut request = Request::new(tokio_stream::pending::<pb::WatchRequest>());
    request.set_timeout(Duration::from_millis(50));
    let refusal = match client.watch(request).await {
        Ok(answers) => end(&mut answers.into_inner()).await,
        Err(refusal) => refusal,
    };
    assert!(matches!(refusal.code(), Code::DeadlineExceeded | Code::Cancelled), "{refusal}");

    let with_leader = || {
        let mut request = Request::new(tokio_stream::pending::<pb::WatchRequest>());
        request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        request
    };
    client.watch(with_leader()).await.expect("there is a leader");
    assert!(door.fake.take_seen().contains(&"watch with a leader".to_owned()));
    *door.fake.leader.lock() = MemberId(0);
    let refusal = client.watch(with_leader()).await.expect_err("there is none");
    assert_eq!(code_and_text(&refusal), (Code::Unavailable, "etcdserver: no leader"));
    door.close().await;
}

#[tokio::test]
async fn leases_that_are_asked_for_together_are_kept_alive_together() {
    let door = Door::open(Limits::default()).await;
    let mut client = LeaseClient::new(channel(&door).await);
    let ids = [1, 404, 1, 7];
    let requests = tokio_stream::iter(ids.map(|id| pb::LeaseKeepAliveRequest { id }));
    let mut answers = client.lease_keep_alive(requests).await.expect("it is served").into_inner();
    for id in ids {
        let ttl = if id == 404 { 0 } else { 10 };
        assert_eq!(next(&mut answers).await, pb::LeaseKeepAliveResponse { header: header(), id, ttl });
    }
    assert_eq!(answers.message().await.expect("it ends well"), None);
    // What arrives together is asked together; how it arrives is the network's.
    let calls = door.fake.take_seen();
    assert!(
        calls.len() <= 4 && calls.iter().flat_map(|call| call.matches("LeaseId")).count() == 4,
        "{calls:?}"
    );
    let (feed, fed) = mpsc::channel(1);
    *door.fake.feed.lock() = Some(fed);
    let (asks, requests) = mpsc::channel(1);
    let mut request = Request::new(ReceiverStream::new(requests));
    request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
    let mut answers = client.lease_keep_alive(request).await.expect("there is a leader").into_inner();
    asks.send(pb::LeaseKeepAliveRequest { id: 1 }).await.expect("it is open");
    assert_eq!(next(&mut answers).await.ttl, 10);
    feed.send(Err(Fault::NoLeader)).await.expect("it is open");
    assert_eq!(code_and_text(&end(&mut answers).await), (Code::Unavailable, "etcdserver: no leader"));

    let requests = tokio_stream::iter([pb::LeaseKeepAliveRequest { id: 500 }]);
    let refusal = match client.lease_keep_alive(requests).await {
        Ok(answers) => end(&mut answers.into_inner()).await,
        Err(refusal) => refusal,
    };
    assert_eq!(code_and_text(&refusal), (Code::Unavailable, "etcdserver: request timed out"));
    door.close().await;
}

#[tokio::test]
async fn snapshots_and_ranges_come_in_parts() {
    let door = Door::open(Limits::default()).await;
    let channel = channel(&door).await;
    let mut kv = KvClient::new(channel.clone());
    let range = |key: &str| pb::RangeRequest { key: key.to_owned().into(), ..Default::default() };
    let mut parts = kv.range_stream(range("foo")).await.expect("it is served").into_inner();
    for more in [true, false] {
        let part = next(&mut parts).await.range_response.expect("there is one");
        assert_eq!((part.header, part.kvs.len(), part.more, part.count), (header(), 1, more, 2));
    }
    assert_eq!(parts.message().await.expect("it ends well"), None);
    let refusal = kv.range_stream(range("fault:future")).await.expect_err("it is refused");
    let text = "etcdserver: mvcc: required revision is a future revision";
    assert_eq!(code_and_text(&refusal), (Code::OutOfRange, text));

    // An operator may have what a learner has.
    door.fake.learner.store(true, Ordering::Relaxed);
    let mut maintenance = MaintenanceClient::new(channel.clone());
    let mut pieces = maintenance.snapshot(pb::SnapshotRequest {}).await.expect("it is served").into_inner();
    for (remaining, length) in [(100, 5), (32, 68), (0, 32)] {
        let piece = next(&mut pieces).await;
        assert_eq!((piece.remaining_bytes, piece.blob.as_ref()), (remaining, &vec![7; length][..]));
        assert_eq!((piece.header, piece.version.as_str()), (None, "3.7.0"));
    }
    assert_eq!(pieces.message().await.expect("it ends well"), None);
    let refusal = WatchClient::new(channel).watch(tokio_stream::empty()).await;
    let text = "etcdserver: rpc not supported for learner";
    assert_eq!(code_and_text(&refusal.expect_err("it is refused")), (Code::FailedPrecondition, text));
    door.close().await;
}

#[tokio::test]
async fn health_and_reflection_answer_tools() {
    let door = Door::open(Limits::default()).await;
    let channel = channel(&door).await;
    let mut health = HealthClient::new(channel.clone());
    let of = |service: &str| HealthCheckRequest { service: service.to_owned() };
    let status = health.check(of("")).await.expect("it is well").into_inner().status();
    assert_eq!(status, ServingStatus::Serving);
    let refusal = health.check(of("nobody")).await.expect_err("it is not known");
    assert_eq!(code_and_text(&refusal), (Code::NotFound, "unknown service"));
    let mut told = health.watch(of("nobody")).await.expect("it is served").into_inner();
    assert_eq!(next(&mut told).await.status(), ServingStatus::ServiceUnknown);

    let mut reflection = ServerReflectionClient::new(channel);
    let question =
        |question| refl::ServerReflectionRequest { message_request: Some(question), ..Default::default() };
    let requests = tokio_stream::iter([
        question(Question::ListServices(String::new())),
        question(Question::FileContainingSymbol("etcdserverpb.Watch.Watch".to_owned())),
        question(Question::FileContainingSymbol("nobody.Knows".to_owned())),
    ]);
    let mut answers = reflection.server_reflection_info(requests).await.expect("served").into_inner();
    let Some(Answer::ListServicesResponse(list)) = next(&mut answers).await.message_response else {
        panic!("no list")
    };
    let names: Vec<&str> = list.service.iter().map(|service| service.name.as_str()).collect();
    assert!(names.contains(&"etcdserverpb.KV") && names.contains(&"grpc.health.v1.Health"), "{names:?}");
    let Some(Answer::FileDescriptorResponse(files)) = next(&mut answers).await.message_response else {
        panic!("no files")
    };
    assert_eq!(files.file_descriptor_proto.len(), 3, "watch.proto and what it imports");
    let Some(Answer::ErrorResponse(error)) = next(&mut answers).await.message_response else {
        panic!("no error")
    };
    assert_eq!(error.error_code, 5);
    door.close().await;
}
