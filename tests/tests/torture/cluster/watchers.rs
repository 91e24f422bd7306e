//! Watchers under faults: each follows the clients' keys at some member, and when its stream ends it goes to the next
//! member and begins after the last revision that it has seen, as etcd's own client does.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::tests::{client, until};
use anyhow::{Context, ensure};
use proto::etcdserverpb::watch_client::WatchClient;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use super::events::{self, Seen};
use super::history::Operation;

/// Watchers at a time.
const WATCHERS: usize = 6;

/// How long a member may take to say that a watch is there.
const PATIENCE: Duration = Duration::from_millis(1500);

/// How often a watcher that hears nothing looks whether it shall end, and asks another member when it heard nothing.
const PACE: Duration = Duration::from_millis(200);

/// Silent paces after which a watcher goes to another member: it may be at one that is alone.
const SILENT_MAX: usize = 15;

/// How long all may take to see what there is, once all members are well.
const CAUGHT_UP_WITHIN: Duration = Duration::from_mins(1);

/// Watchers at work.
pub(crate) struct Watchers {
    stop: Arc<AtomicBool>,
    all: Vec<(Arc<Log>, JoinHandle<()>)>,
}

/// What one watcher saw.
#[derive(Debug, Default)]
struct Log {
    events: Mutex<Vec<Seen>>,
    /// Everything up to here was seen.
    revision: AtomicI64,
    wrong: Mutex<Option<String>>,
    resumed: AtomicI64,
}

impl Watchers {
    /// Starts all of them, from the first revision on.
    pub(crate) fn start(members: &[SocketAddr]) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut all = Vec::new();
        for number in 0..WATCHERS {
            let log = Arc::new(Log { revision: AtomicI64::new(1), ..Log::default() });
            let channels = members.iter().map(|address| client::channel(*address, PATIENCE));
            let one = One {
                channels: channels.collect::<anyhow::Result<_>>()?,
                at: number,
                log: Arc::clone(&log),
                stop: Arc::clone(&stop),
            };
            all.push((log, client::runtime().spawn(one.work())));
        }
        Ok(Self { stop, all })
    }

    /// Waits until all have seen everything up to `revision`, and refuses what no history explains. Answers how often
    /// watchers had to begin again.
    pub(crate) fn check(&self, revision: i64, operations: &[Operation]) -> anyhow::Result<i64> {
        let mut resumed = 0;
        for (number, (log, _)) in self.all.iter().enumerate() {
            let caught_up = until(CAUGHT_UP_WITHIN, || {
                let wrong = log.wrong.lock().expect("no watcher panics").is_some();
                (wrong || log.revision.load(Ordering::Relaxed) >= revision).then_some(())
            });
            if let Some(wrong) = &*log.wrong.lock().expect("no watcher panics") {
                anyhow::bail!("watcher {number}: {wrong}");
            }
            let seen = log.revision.load(Ordering::Relaxed);
            ensure!(caught_up.is_some(), "watcher {number} stays at {seen}; the store is at {revision}");
            let events = log.events.lock().expect("no watcher panics").clone();
            events::check(&events, revision, operations).with_context(|| format!("watcher {number}"))?;
            resumed += log.resumed.load(Ordering::Relaxed);
        }
        Ok(resumed)
    }

    /// Ends all.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for (_, task) in self.all {
            client::runtime().block_on(task).context("a watcher panicked")?;
        }
        Ok(())
    }
}

struct One {
    channels: Vec<Channel>,
    /// The member that it watches at, modulo their number.
    at: usize,
    log: Arc<Log>,
    stop: Arc<AtomicBool>,
}

impl One {
    async fn work(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            // An end is no fault of the watch: the member may be gone. What is wrong is in the log.
            let _ended = self.follow().await;
            self.at += 1;
            self.log.resumed.fetch_add(1, Ordering::Relaxed);
            // Reason to sleep: a dead member is not asked a thousand times a second.
            tokio::time::sleep(PACE).await;
        }
    }

    async fn follow(&mut self) -> anyhow::Result<()> {
        let at = self.at.checked_rem(self.channels.len()).context("some member")?;
        let channel = self.channels.get(at).context("a member")?.clone();
        let (requests, receiver) = mpsc::channel(1);
        let create = WatchCreateRequest {
            key: "key-".into(),
            range_end: "key.".into(),
            start_revision: self.log.revision.load(Ordering::Relaxed) + 1,
            prev_kv: true,
            fragment: self.at.is_multiple_of(2),
            ..WatchCreateRequest::default()
        };
        requests.send(WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }).await?;
        let mut client = WatchClient::new(channel);
        let open = tokio::time::timeout(PATIENCE, client.watch(ReceiverStream::new(receiver)));
        let mut stream = open.await.context("no answer")??.into_inner();
        let (mut silent, mut pending) = (0, Vec::new());
        while silent < SILENT_MAX && !self.stop.load(Ordering::Relaxed) {
            match tokio::time::timeout(PACE, next(&mut stream)).await {
                Ok(message) => {
                    self.take(&mut pending, message?)?;
                    silent = 0;
                }
                Err(_) => silent += 1,
            }
        }
        Ok(())
    }

    /// Takes a message; one that comes in pieces is taken when its last piece is there.
    fn take(&self, pending: &mut Vec<Seen>, message: WatchResponse) -> anyhow::Result<()> {
        ensure!(!message.canceled, "canceled: {}", message.cancel_reason);
        let header = message.header.context("a message without a header")?.revision;
        for event in message.events {
            pending.push(Seen::of(event)?);
        }
        if message.fragment {
            return Ok(());
        }
        // What is told of one revision is told in one message: the next one begins with another.
        let mut last = self.log.revision.load(Ordering::Relaxed);
        for of_revision in pending.chunk_by(|one, other| one.at == other.at) {
            let Some(first) = of_revision.first() else { continue };
            if first.at <= last || first.at > header {
                let wrong = format!("{first:?} came after revision {last}, under a header of {header}");
                self.log.wrong.lock().expect("no watcher panics").get_or_insert(wrong);
            }
            last = first.at;
        }
        self.log.events.lock().expect("no watcher panics").append(pending);
        self.log.revision.store(last, Ordering::Relaxed);
        Ok(())
    }
}

async fn next(stream: &mut Streaming<WatchResponse>) -> anyhow::Result<WatchResponse> {
    stream.message().await?.context("the stream ended")
}
