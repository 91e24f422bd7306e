//! The load: writers over gRPC and over v2, each with keys of its own, until the process under them dies.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use ::tests::{Node, http1, until};
use anyhow::{Context, ensure};
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::request_op::Request as Op;
use proto::etcdserverpb::{
    CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tonic::transport::{Channel, Endpoint};

use crate::ledger::{Found, Ledger, UnderWay, number};

/// Writers over gRPC, and over v2.
const WRITERS: usize = 8;
const V2_WRITERS: usize = 2;

/// Keys of each writer. Few, so that they are written over and removed again and again.
const KEYS: usize = 24;

/// How long the load may need to reach its goal, and one answer to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the writers share.
struct Shared {
    ledger: Mutex<Ledger>,
    acknowledged: AtomicU64,
    wrong: Mutex<Option<anyhow::Error>>,
}

impl Shared {
    fn acknowledge(&self, write: UnderWay, at: u64) {
        let result = self.ledger.lock().expect("no writer panics while it holds this").acknowledge(write, at);
        if let Err(error) = result {
            self.wrong.lock().expect("no writer panics while it holds this").get_or_insert(error);
        }
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    fn leave_under_way(&self, write: UnderWay) {
        self.ledger.lock().expect("no writer panics while it holds this").leave_under_way(write);
    }

    fn exists(&self, key: &str) -> bool {
        self.ledger.lock().expect("no writer panics while it holds this").state(key).is_some()
    }
}

/// Writes until `goal` writes were acknowledged, kills the process under it, and answers how many were.
pub(crate) fn until_killed(
    node: &mut Node,
    ledger: &mut Ledger,
    seed: u64,
    goal: u64,
) -> anyhow::Result<u64> {
    let shared = Arc::new(Shared {
        ledger: Mutex::new(std::mem::take(ledger)),
        acknowledged: AtomicU64::new(0),
        wrong: Mutex::new(None),
    });
    let address = node.address();
    let runtime = runtime()?;
    let channel = runtime.block_on(connect(address))?;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let chance = StdRng::seed_from_u64(seed.wrapping_add(writer as u64));
            runtime.spawn(write(KvClient::new(channel.clone()), Arc::clone(&shared), writer, chance))
        })
        .collect();
    let v2_writers: Vec<_> = (0..V2_WRITERS)
        .map(|writer| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || v2_write(address, &shared, writer, seed))
        })
        .collect();
    let reached = until(PATIENCE, || (shared.acknowledged.load(Ordering::Relaxed) >= goal).then_some(()));
    let alive = node.is_running();
    node.kill()?;
    runtime.block_on(async {
        for writer in writers {
            writer.await.context("a writer")?;
        }
        anyhow::Ok(())
    })?;
    for writer in v2_writers {
        ensure!(writer.join().is_ok(), "a v2 writer panicked");
    }
    *ledger = std::mem::take(&mut *shared.ledger.lock().expect("every writer has ended"));
    ensure!(alive, "it died by itself; its log:\n{}", node.log_tail());
    let acknowledged = shared.acknowledged.load(Ordering::Relaxed);
    ensure!(reached.is_some(), "only {acknowledged} of {goal} writes were acknowledged within {PATIENCE:?}");
    match shared.wrong.lock().expect("every writer has ended").take() {
        Some(error) => Err(error),
        None => Ok(acknowledged),
    }
}

/// Forgets history up to a revision.
pub(crate) fn compact(address: SocketAddr, revision: u64) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let revision = i64::try_from(revision).context("a revision that fits")?;
        let request = CompactionRequest { revision, physical: false };
        KvClient::new(connect(address).await?).compact(request).await.context("compact")?;
        Ok(())
    })
}

/// Everything that a server holds.
pub(crate) fn read_all(address: SocketAddr) -> anyhow::Result<Found> {
    let request = RangeRequest { key: vec![0].into(), range_end: vec![0].into(), ..RangeRequest::default() };
    let reply = runtime()?.block_on(async {
        anyhow::Ok(KvClient::new(connect(address).await?).range(request).await.context("range")?.into_inner())
    })?;
    let mut found =
        Found { revision: revision_of(reply.header.map(|header| header.revision))?, ..Found::default() };
    for pair in reply.kvs {
        let at = revision_of(Some(pair.mod_revision))?;
        found.keys.insert(text(&pair.key), (text(&pair.value), at));
    }
    let request = http1::request("GET", "/v2/keys/?recursive=true&quorum=true", &[], None);
    let reply = http1::exchange(address, &request, PATIENCE).context("list the v2 keyspace")?;
    ensure!(reply.status == 200, "listing the v2 keyspace answers {}: {}", reply.status, reply.body_text());
    found.v2_index = number(reply.header("x-etcd-index"), "X-Etcd-Index")?;
    let root: Value = serde_json::from_slice(&reply.body).context("the listing is JSON")?;
    collect(root.get("node").unwrap_or(&Value::Null), &mut found);
    Ok(found)
}

fn collect(node: &Value, found: &mut Found) {
    if let (Some(key), Some(value), Some(at)) = (
        node.get("key").and_then(Value::as_str),
        node.get("value").and_then(Value::as_str),
        node.get("modifiedIndex").and_then(Value::as_u64),
    ) {
        found.keys.insert(key.to_owned(), (value.to_owned(), at));
    }
    for child in node.get("nodes").and_then(Value::as_array).into_iter().flatten() {
        collect(child, found);
    }
}

async fn write(mut client: KvClient<Channel>, shared: Arc<Shared>, writer: usize, mut chance: StdRng) {
    loop {
        let first = key("", writer, chance.random_range(0..KEYS));
        let second = key("", writer, chance.random_range(0..KEYS));
        let value = chance.random::<u64>().to_string();
        let write: UnderWay = match chance.random_range(0..10) {
            0 | 1 if shared.exists(&first) => vec![(first, None)],
            2 | 3 if first != second => vec![(first, Some(value.clone())), (second, Some(value))],
            _ => vec![(first, Some(value))],
        };
        match send(&mut client, &write).await {
            Some(revision) => shared.acknowledge(write, revision),
            None => return shared.leave_under_way(write),
        }
    }
}

/// The revision at which it was acknowledged.
async fn send(client: &mut KvClient<Channel>, write: &UnderWay) -> Option<u64> {
    let header = match write.as_slice() {
        [(key, Some(value))] => client.put(put(key, value)).await.ok()?.into_inner().header,
        [(key, None)] => {
            let request = DeleteRangeRequest { key: key.clone().into(), ..DeleteRangeRequest::default() };
            client.delete_range(request).await.ok()?.into_inner().header
        }
        writes => {
            let puts = writes.iter().filter_map(|(key, value)| Some(put(key, value.as_ref()?)));
            let success = puts.map(|put| RequestOp { request: Some(Op::RequestPut(put)) }).collect();
            client.txn(TxnRequest { success, ..TxnRequest::default() }).await.ok()?.into_inner().header
        }
    };
    revision_of(header.map(|header| header.revision)).ok()
}

fn put(key: &str, value: &str) -> PutRequest {
    PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..PutRequest::default() }
}

fn v2_write(address: SocketAddr, shared: &Shared, writer: usize, seed: u64) {
    let mut chance = StdRng::seed_from_u64(seed.wrapping_sub(writer as u64).wrapping_sub(1));
    loop {
        let key = key("/", writer, chance.random_range(0..KEYS));
        let remove = shared.exists(&key) && chance.random_range(0..5) == 0;
        let value = chance.random::<u64>().to_string();
        let target = format!("/v2/keys{key}");
        let request = if remove {
            http1::request("DELETE", &target, &[], None)
        } else {
            http1::request("PUT", &target, &[], Some(format!("value={value}").as_bytes()))
        };
        let write = vec![(key, (!remove).then_some(value))];
        let reply = http1::exchange(address, &request, PATIENCE).ok().filter(|reply| reply.status < 300);
        let at = reply.and_then(|reply| {
            let body: Value = serde_json::from_slice(&reply.body).ok()?;
            body.get("node")?.get("modifiedIndex")?.as_u64()
        });
        match at {
            Some(at) => shared.acknowledge(write, at),
            None => return shared.leave_under_way(write),
        }
    }
}

fn key(prefix: &str, writer: usize, number: usize) -> String {
    format!("{prefix}writer-{writer}-key-{number}")
}

fn revision_of(revision: Option<i64>) -> anyhow::Result<u64> {
    u64::try_from(revision.context("an answer without a header")?).context("a revision below zero")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn runtime() -> anyhow::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().context("a runtime")
}

async fn connect(address: SocketAddr) -> anyhow::Result<Channel> {
    let endpoint =
        Endpoint::from_shared(format!("http://{address}")).context("an address")?.timeout(PATIENCE);
    endpoint.connect().await.context("connect")
}
