//! Clients: each does one thing at a time at some member, writes down what it was told, and goes to the next
//! member when something fails. Many of their writes write other keys too, in the same transaction.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ::tests::client;
use anyhow::Context;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::request_op::Request as Op;
use proto::etcdserverpb::response_op::Response as Reply;
use proto::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RangeResponse, RequestOp, ResponseHeader,
    TxnRequest,
};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinHandle;
use tonic::transport::Channel;

use super::events::{part, parts};
use super::history::{Act, History, Operation, Outcome};

/// Clients at a time.
pub(crate) const CLIENTS: usize = 8;

/// Keys that they share. Few, so that they meet.
const KEYS: usize = 12;

/// Keys that one transaction writes besides the client's, at most.
const PARTS_MAX: usize = 4;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_millis(1500);

/// After a failure, so that a dead member is not asked a thousand times a second.
const PAUSE: Duration = Duration::from_millis(25);

/// Clients at work.
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Clients {
    /// Starts all of them; their choices follow from `seed`. Reads are linearizable, or, to see whether the
    /// check is good for anything, serializable ones that are taken for linearizable.
    pub(crate) fn start(
        members: &[SocketAddr],
        history: &Arc<History>,
        values: &Arc<AtomicU64>,
        seed: u64,
        serializable: bool,
    ) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for number in 0..CLIENTS {
            let members =
                members.iter().map(|address| Ok(KvClient::new(client::channel(*address, PATIENCE)?)));
            let client = One {
                number,
                members: members.collect::<anyhow::Result<_>>()?,
                at: number,
                chance: StdRng::seed_from_u64(seed.wrapping_add(number as u64)),
                known: vec![0; KEYS],
                serializable,
                history: Arc::clone(history),
                values: Arc::clone(values),
            };
            tasks.push(client::runtime().spawn(client.work(Arc::clone(&stop))));
        }
        Ok(Self { stop, tasks })
    }

    /// Lets each finish what it does.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            client::runtime().block_on(task).context("a client panicked")?;
        }
        Ok(())
    }
}

struct One {
    number: usize,
    members: Vec<KvClient<Channel>>,
    /// The member that it speaks to, modulo their number.
    at: usize,
    chance: StdRng,
    /// The revision at which each key was last seen written.
    known: Vec<i64>,
    /// Whether its reads are answered by the member alone.
    serializable: bool,
    history: Arc<History>,
    values: Arc<AtomicU64>,
}

impl One {
    async fn work(mut self, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Relaxed) {
            let key = self.chance.random_range(0..KEYS);
            let act = self.choose(key);
            let began = self.history.now();
            let told = self.ask(key, &act).await;
            let ended = self.history.now();
            let failed = told.is_none();
            let outcome = told.unwrap_or(Outcome::Unknown);
            self.learn(key, &act, &outcome);
            self.history.add(Operation { client: self.number, key, act, outcome, began, ended });
            if failed {
                self.at += 1;
                // Reason to sleep: a client that was refused waits a moment before it goes elsewhere.
                tokio::time::sleep(PAUSE).await;
            } else if self.chance.random_range(0..200) == 0 {
                self.at += 1;
            }
        }
    }

    fn choose(&mut self, key: usize) -> Act {
        let known = self.known.get(key).copied().unwrap_or_default();
        match self.chance.random_range(0..20) {
            0..7 => Act::Put(self.value()),
            7..12 => Act::Swap(known, self.value()),
            12 => Act::Delete,
            _ => Act::Get,
        }
    }

    /// A value that nobody else ever writes, and how many keys more get it with it.
    fn value(&mut self) -> String {
        let number = self.values.fetch_add(1, Ordering::Relaxed);
        match self.chance.random_range(0..10) {
            0..5 => format!("v{number}"),
            _ => format!("v{number}+{}", self.chance.random_range(1..=PARTS_MAX)),
        }
    }

    fn learn(&mut self, key: usize, act: &Act, outcome: &Outcome) {
        let known = match outcome {
            Outcome::Written(_) if *act == Act::Delete => 0,
            Outcome::Written(at) => *at,
            Outcome::Read(_, seen) => seen.as_ref().map_or(0, |(_, written)| *written),
            Outcome::Unknown => return,
        };
        if let Some(slot) = self.known.get_mut(key) {
            *slot = known;
        }
    }

    /// `None` when nothing certain was answered.
    async fn ask(&mut self, key: usize, act: &Act) -> Option<Outcome> {
        let at = self.at.checked_rem(self.members.len())?;
        let client = self.members.get_mut(at)?;
        let name = format!("key-{key}");
        match act {
            Act::Put(value) if parts(value) == 0 => {
                let reply = client.put(put(&name, value)).await.ok()?.into_inner();
                Some(Outcome::Written(revision(reply.header)?))
            }
            Act::Put(value) => {
                let request = TxnRequest { success: puts(&name, value), ..TxnRequest::default() };
                let reply = client.txn(request).await.ok()?.into_inner();
                Some(Outcome::Written(revision(reply.header)?))
            }
            Act::Get => {
                let request = RangeRequest { serializable: self.serializable, ..range(&name) };
                read(&client.range(request).await.ok()?.into_inner(), None)
            }
            Act::Delete => {
                let request = TxnRequest { success: removals(&name), ..TxnRequest::default() };
                let reply = client.txn(request).await.ok()?.into_inner();
                let at = revision(reply.header)?;
                match reply.responses.first()?.response.as_ref()? {
                    Reply::ResponseDeleteRange(none) if none.deleted == 0 => Some(Outcome::Read(at, None)),
                    _ => Some(Outcome::Written(at)),
                }
            }
            Act::Swap(expected, value) => {
                let compare = Compare {
                    result: CompareResult::Equal.into(),
                    target: CompareTarget::Mod.into(),
                    key: name.clone().into(),
                    target_union: Some(TargetUnion::ModRevision(*expected)),
                    ..Compare::default()
                };
                let request = TxnRequest {
                    compare: vec![compare],
                    success: puts(&name, value),
                    failure: vec![RequestOp { request: Some(Op::RequestRange(range(&name))) }],
                };
                let reply = client.txn(request).await.ok()?.into_inner();
                let at = revision(reply.header)?;
                if reply.succeeded {
                    return Some(Outcome::Written(at));
                }
                match reply.responses.first()?.response.as_ref()? {
                    Reply::ResponseRange(range) => read(range, Some(at)),
                    _ => None,
                }
            }
        }
    }
}

fn put(key: &str, value: &str) -> PutRequest {
    PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..PutRequest::default() }
}

/// A put of the client's key, then of all that go with it.
fn puts(key: &str, value: &str) -> Vec<RequestOp> {
    let others = (0..parts(value)).map(|number| part(key, number));
    let keys = [key.to_owned()].into_iter().chain(others);
    keys.map(|key| RequestOp { request: Some(Op::RequestPut(put(&key, value))) }).collect()
}

/// A removal of the client's key, then of all that ever went with it.
fn removals(key: &str) -> Vec<RequestOp> {
    let one = DeleteRangeRequest { key: key.to_owned().into(), ..DeleteRangeRequest::default() };
    let (start, end) = (format!("{key}/"), format!("{key}0"));
    let others =
        DeleteRangeRequest { key: start.into(), range_end: end.into(), ..DeleteRangeRequest::default() };
    [one, others].map(|removal| RequestOp { request: Some(Op::RequestDeleteRange(removal)) }).into()
}

fn range(key: &str) -> RangeRequest {
    RangeRequest { key: key.to_owned().into(), ..RangeRequest::default() }
}

fn read(reply: &RangeResponse, at: Option<i64>) -> Option<Outcome> {
    let at = at.or_else(|| revision(reply.header))?;
    let seen = reply.kvs.first();
    let seen = seen.map(|pair| (String::from_utf8_lossy(&pair.value).into_owned(), pair.mod_revision));
    Some(Outcome::Read(at, seen))
}

fn revision(header: Option<ResponseHeader>) -> Option<i64> {
    header.map(|header| header.revision).filter(|revision| *revision > 0)
}
