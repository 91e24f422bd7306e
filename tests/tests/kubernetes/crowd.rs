//! Ten thousand watchers that begin far back: each gets every event of its key once and in order, while another client
//! goes on writing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ::tests::cluster::{Settings, is_etcd, program};
use ::tests::{Cluster, client};
use anyhow::{Context, ensure};
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::request_op::Request as Op;
use proto::etcdserverpb::watch_client::WatchClient;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{PutRequest, RequestOp, TxnRequest, WatchCreateRequest, WatchRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

/// Streams, and watches on each.
const STREAMS: usize = 10;
const WATCHES: usize = 1000;

/// Keys that are watched, and how often each was written.
const KEYS: usize = 500;
const WRITES: usize = 10;

/// Keys written by one transaction.
const BATCH: usize = 100;

/// How long everything may take, and one put of the client beside it.
const PATIENCE: Duration = Duration::from_mins(3);
const PUT_WITHIN: Duration = Duration::from_secs(10);

/// No put may take longer meanwhile, however busy the machine is: on a quiet one the longest takes some 20 ms, and some
/// 400 at etcd.
const LONGEST_MAX: Duration = Duration::from_secs(1);

#[test]
fn ten_thousand_watchers_catch_up() {
    let cluster = Cluster::start(&Settings::new(&program().expect("a program"), 1)).expect("it starts");
    let run = client::runtime().block_on(async {
        tokio::time::timeout(PATIENCE, catch_up(&cluster)).await.context("it takes too long")?
    });
    run.unwrap_or_else(|error| panic!("{error:#}"));
    cluster.done().expect("the end");
}

async fn catch_up(cluster: &Cluster) -> anyhow::Result<()> {
    let address = cluster.member(0).address();
    let channel = client::channel(address, PATIENCE)?;
    let mut kv = KvClient::new(channel);
    for _ in 0..WRITES {
        for first in (0..KEYS).step_by(BATCH) {
            let success =
                (first..first + BATCH).map(|key| RequestOp { request: Some(Op::RequestPut(put(key))) });
            kv.txn(TxnRequest { success: success.collect(), ..TxnRequest::default() })
                .await
                .context("write")?;
        }
    }
    let done = Arc::new(AtomicBool::new(false));
    let beside = tokio::spawn(put_until(client::channel(address, PUT_WITHIN)?, Arc::clone(&done)));
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        streams.push(tokio::spawn(stream(client::channel(address, PATIENCE)?)));
    }
    let began = Instant::now();
    for stream in streams {
        stream.await.context("a stream panicked")??;
    }
    let took = began.elapsed();
    done.store(true, Ordering::Relaxed);
    let (puts, longest) = beside.await.context("the client beside panicked")??;
    eprintln!(
        "{} watchers caught up in {took:?}; meanwhile {puts} puts, the longest {longest:?}",
        STREAMS * WATCHES
    );
    ensure!(longest < LONGEST_MAX || is_etcd(&program()?), "a put waited for {longest:?}");
    Ok(())
}

/// One stream with its watches: every one sees each write of its key, in order.
async fn stream(channel: Channel) -> anyhow::Result<()> {
    let (requests, receiver) = mpsc::channel(WATCHES);
    for watch in 0..WATCHES {
        let create = WatchCreateRequest {
            key: name(watch % KEYS).into(),
            start_revision: 1,
            watch_id: i64::try_from(watch).context("a small number")? + 1,
            ..WatchCreateRequest::default()
        };
        requests.send(WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }).await?;
    }
    let mut client = WatchClient::new(channel);
    let mut stream = client.watch(ReceiverStream::new(receiver)).await.context("watch")?.into_inner();
    let mut seen: HashMap<i64, i64> = HashMap::new();
    let mut complete = 0;
    while complete < WATCHES {
        let message = stream.message().await?.context("the stream ended")?;
        ensure!(!message.canceled, "canceled: {}", message.cancel_reason);
        let watch = message.watch_id;
        for event in message.events {
            let pair = event.kv.context("an event without a key")?;
            let key = usize::try_from(watch - 1).context("a watch that was asked for")? % KEYS;
            ensure!(pair.key == name(key).as_bytes(), "watch {watch} sees another key");
            let version = seen.entry(watch).or_default();
            ensure!(pair.version == *version + 1, "watch {watch} sees {} after {version}", pair.version);
            *version = pair.version;
            complete += usize::from(pair.version == WRITES as i64);
        }
    }
    Ok(())
}

/// Puts one after the other until told to stop; answers how many, and how long the longest took.
async fn put_until(channel: Channel, done: Arc<AtomicBool>) -> anyhow::Result<(usize, Duration)> {
    let mut kv = KvClient::new(channel);
    let (mut puts, mut longest) = (0, Duration::ZERO);
    while !done.load(Ordering::Relaxed) {
        let began = Instant::now();
        let request = PutRequest { key: "beside".into(), value: "x".into(), ..PutRequest::default() };
        kv.put(request).await.context("a put beside the crowd")?;
        (puts, longest) = (puts + 1, longest.max(began.elapsed()));
    }
    ensure!(puts > 0, "nothing was put meanwhile");
    Ok((puts, longest))
}

fn put(key: usize) -> PutRequest {
    PutRequest { key: name(key).into(), value: "value".into(), ..PutRequest::default() }
}

fn name(key: usize) -> String {
    format!("crowd/{key:05}")
}
