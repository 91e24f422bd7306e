//! A client as Kubernetes' API server is one: a list in pages, a watch from its revision, and writes over what was seen.
//!
//! INVARIANT: what it holds comes from one list and the events after it, in order; when history is gone under it, it
//! lists again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::request_op::Request as Op;
use proto::etcdserverpb::watch_client::WatchClient;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{
    Compare, PutRequest, RangeRequest, RangeResponse, RequestOp, TxnRequest, WatchCreateRequest,
    WatchRequest, WatchResponse,
};
use proto::mvccpb::event::EventType;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Streaming};

use crate::{count, raise};

/// Objects of one page.
const PAGE: i64 = 37;

/// All objects are below this.
const PREFIX: &str = "/registry/pods/";
const PREFIX_END: &str = "/registry/pods0";

/// How long a watch may say nothing while something is still to come.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// How often a client that waits looks for itself.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What an API server answers with "410 Gone".
const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";

/// What a client holds: the value of each object and the revision that wrote it.
pub(crate) type State = BTreeMap<Vec<u8>, (Vec<u8>, i64)>;

/// What clients share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) objects: usize,
    pub(crate) newest: AtomicI64,
    pub(crate) writes: AtomicU64,
    pub(crate) refused: AtomicU64,
    /// Watches that were told that history is gone.
    pub(crate) relists: AtomicU64,
    /// Lists that were told so between two of their pages.
    pub(crate) expired: AtomicU64,
    pub(crate) compactions: AtomicU64,
    /// The newest revision that was compacted.
    pub(crate) compacted: AtomicI64,
    pub(crate) stopped: AtomicBool,
    /// Writers that ended, so that the newest revision is the last one.
    pub(crate) ended: AtomicU64,
    pub(crate) changed: Notify,
}

impl Shared {
    /// Waits until history is gone up to a revision and further.
    async fn forgotten(&self, revision: i64) {
        while self.compacted.load(Ordering::Relaxed) <= revision {
            let changed = self.changed.notified();
            let _late = tokio::time::timeout(LOOK_EVERY, changed).await;
        }
    }

    /// Lets writers end what they do.
    pub(crate) fn stop_writing(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.changed.notify_waiters();
    }
}

/// A client.
pub(crate) struct Informer {
    number: usize,
    kv: KvClient<Channel>,
    watch: WatchClient<Channel>,
    shared: Arc<Shared>,
    state: State,
    /// Everything up to here is in the state.
    seen: i64,
}

impl Informer {
    pub(crate) fn new(number: usize, channel: Channel, shared: Arc<Shared>) -> Self {
        let (kv, watch) = (KvClient::new(channel.clone()), WatchClient::new(channel));
        Self { number, kv, watch, shared, state: State::new(), seen: 0 }
    }

    /// The same, but twice it stands still until history is compacted under it: between two pages of its first list,
    /// and before its first watch.
    pub(crate) async fn stand_still_and_work(mut self) -> anyhow::Result<State> {
        let (_, revision) = page(&mut self.kv, PREFIX.as_bytes(), 0).await?;
        self.shared.forgotten(revision).await;
        let Err(gone) = page(&mut self.kv, PREFIX.as_bytes(), revision).await else {
            bail!("a page at revision {revision}, which is compacted");
        };
        ensure!(gone.code() == Code::OutOfRange && gone.message() == COMPACTED, "{gone:?}");
        count(&self.shared.expired);
        (self.state, self.seen) = list(&mut self.kv).await?;
        self.shared.forgotten(self.seen).await;
        // The compaction was answered by another member; a linearizable read is answered when this one has it too.
        page(&mut self.kv, PREFIX.as_bytes(), 0).await?;
        let (_requests, mut stream) = self.watch_from(self.seen + 1).await?;
        ensure!(!self.takes_until_gone(&mut stream).await?, "a watch from {}, which is compacted", self.seen);
        count(&self.shared.relists);
        self.work().await
    }

    /// Takes the answer to a watch that was asked for, and what follows it: `false` when history is gone.
    async fn takes_until_gone(&mut self, stream: &mut Streaming<WatchResponse>) -> anyhow::Result<bool> {
        Ok(self.take(stream).await? && self.take(stream).await?)
    }

    /// Lists, watches and writes until the writers are told to end, then until nothing is left to see.
    pub(crate) async fn work(mut self) -> anyhow::Result<State> {
        let mut turn = self.number;
        let mut done = false;
        'again: loop {
            (self.state, self.seen) = list(&mut self.kv).await?;
            let (_requests, mut stream) = self.watch_from(self.seen + 1).await?;
            loop {
                let stopped = self.shared.stopped.load(Ordering::Relaxed);
                if !stopped {
                    turn += 7;
                    self.write(turn % self.shared.objects).await?;
                } else if !done {
                    done = true;
                    self.shared.ended.fetch_add(1, Ordering::Relaxed);
                    self.shared.changed.notify_waiters();
                }
                let all_ended = self.shared.ended.load(Ordering::Relaxed) == crate::CLIENTS as u64;
                let newest = self.shared.newest.load(Ordering::Relaxed);
                if all_ended && self.seen >= newest {
                    return Ok(self.state);
                }
                // What this client wrote, or what others wrote, is still to come.
                if self.seen < newest {
                    if !self.take(&mut stream).await? {
                        count(&self.shared.relists);
                        continue 'again;
                    }
                } else if done {
                    let changed = self.shared.changed.notified();
                    let _late = tokio::time::timeout(LOOK_EVERY, changed).await;
                }
            }
        }
    }

    /// The next message; `false` when history is gone and everything has to be listed again.
    async fn take(&mut self, stream: &mut Streaming<WatchResponse>) -> anyhow::Result<bool> {
        let next = tokio::time::timeout(SILENCE_MAX, stream.message()).await;
        let message = next.with_context(|| format!("nothing came after {}", self.seen))??;
        let message = message.context("the stream ended")?;
        if message.canceled {
            let compacted = message.compact_revision;
            ensure!(compacted > self.seen, "canceled at {compacted}: {}", message.cancel_reason);
            return Ok(false);
        }
        let header = message.header.context("a message without a header")?.revision;
        for event in message.events {
            let pair = event.kv.context("an event without a key")?;
            ensure!(pair.mod_revision > self.seen, "an event of {} after {}", pair.mod_revision, self.seen);
            ensure!(pair.mod_revision <= header, "an event of {} under {header}", pair.mod_revision);
            let before = event.prev_kv.map(|before| before.mod_revision);
            let held = self.state.get(pair.key.as_ref()).map(|(_, revision)| *revision);
            // What was before may just have been compacted.
            ensure!(before.is_none() || before == held, "before it was {before:?}, and it holds {held:?}");
            match EventType::try_from(event.r#type) {
                Ok(EventType::Put) => {
                    self.state.insert(pair.key.to_vec(), (pair.value.to_vec(), pair.mod_revision));
                }
                _ => bail!("nobody deletes here"),
            }
            // One write is one revision here.
            self.seen = pair.mod_revision;
        }
        Ok(true)
    }

    async fn watch_from(
        &mut self,
        revision: i64,
    ) -> anyhow::Result<(mpsc::Sender<WatchRequest>, Streaming<WatchResponse>)> {
        let (requests, receiver) = mpsc::channel(1);
        let create = WatchCreateRequest {
            key: PREFIX.into(),
            range_end: PREFIX_END.into(),
            start_revision: revision,
            progress_notify: true,
            prev_kv: true,
            ..WatchCreateRequest::default()
        };
        requests.send(WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }).await?;
        let stream = self.watch.watch(ReceiverStream::new(receiver)).await.context("watch")?.into_inner();
        Ok((requests, stream))
    }

    /// Writes over what was seen; what somebody else wrote meanwhile comes with the refusal, and by the watch.
    async fn write(&mut self, object: usize) -> anyhow::Result<()> {
        let key = name(object);
        let known = self.state.get(key.as_bytes()).map_or(0, |(_, revision)| *revision);
        let compare = Compare {
            result: CompareResult::Equal.into(),
            target: CompareTarget::Mod.into(),
            key: key.clone().into(),
            target_union: Some(TargetUnion::ModRevision(known)),
            ..Compare::default()
        };
        let value = format!("by {} over {known}", self.number);
        let put = PutRequest { key: key.clone().into(), value: value.into(), ..PutRequest::default() };
        let range = RangeRequest { key: key.into(), ..RangeRequest::default() };
        let txn = TxnRequest {
            compare: vec![compare],
            success: vec![RequestOp { request: Some(Op::RequestPut(put)) }],
            failure: vec![RequestOp { request: Some(Op::RequestRange(range)) }],
        };
        let reply = self.kv.txn(txn).await.context("write over what was seen")?.into_inner();
        if reply.succeeded {
            raise(&self.shared.newest, reply.header.context("an answer without a header")?.revision);
            count(&self.shared.writes);
        } else {
            count(&self.shared.refused);
        }
        Ok(())
    }
}

/// Everything, in pages at the revision of the first one, and that revision.
pub(crate) async fn list(kv: &mut KvClient<Channel>) -> anyhow::Result<(State, i64)> {
    loop {
        match pages(kv).await {
            Err(status) if status.code() == Code::OutOfRange => {}
            result => return result.context("list"),
        }
    }
}

async fn pages(kv: &mut KvClient<Channel>) -> Result<(State, i64), tonic::Status> {
    let mut state = State::new();
    let mut from = PREFIX.as_bytes().to_vec();
    let mut revision = 0;
    loop {
        let reply;
        (reply, revision) = page(kv, &from, revision).await?;
        for pair in reply.kvs {
            from = [pair.key.as_ref(), &[0]].concat();
            state.insert(pair.key.to_vec(), (pair.value.to_vec(), pair.mod_revision));
        }
        if !reply.more {
            return Ok((state, revision));
        }
    }
}

/// One page, and the revision at which the others have to be read.
async fn page(
    kv: &mut KvClient<Channel>,
    from: &[u8],
    revision: i64,
) -> Result<(RangeResponse, i64), tonic::Status> {
    let request = RangeRequest {
        key: from.to_vec().into(),
        range_end: PREFIX_END.into(),
        limit: PAGE,
        revision,
        ..RangeRequest::default()
    };
    let page = kv.range(request).await?.into_inner();
    let first = page.header.as_ref().map_or(0, |header| header.revision);
    Ok((page, if revision == 0 { first } else { revision }))
}

/// The key of an object.
pub(crate) fn name(object: usize) -> String {
    format!("{PREFIX}pod-{object:05}")
}
