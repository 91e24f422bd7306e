//! A member that keeps its keys in a map and its history in a list, for tests.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use api::{
    Added, AlarmAction, Compact, Consistency, Downgrade, Fault, Grant, Header, KvHash, LeaseStatus, Member,
    RangeStream, Reply, SharedEvent, SnapshotStream, Status, V2Reply, V2Ttl, WatchBody, WatchId, WatchReply,
    WatchSpec, WatchStream,
};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use types::{
    Alarm, CompareTarget, DeleteRange, DeleteReply, Event, EventKind, KeyValue, LeaseId, Limits, MemberId,
    MemberRecord, MemberUrl, OpReply, Put, PutReply, RangeQuery, RangeReply, Revision, SortOrder, Txn, TxnOp,
    TxnReply, TxnResponse, v2,
};

/// The member.
pub(crate) struct Fake {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    /// Transactions take a permit each.
    pub(crate) gate: Semaphore,
}

#[derive(Default)]
struct State {
    revision: u64,
    compacted: u64,
    leases: Vec<LeaseId>,
    keys: BTreeMap<Bytes, KeyValue>,
    history: Vec<Event>,
    watches: usize,
}

impl Fake {
    pub(crate) fn new() -> Arc<Self> {
        let state = State { revision: 1, ..State::default() };
        Arc::new(Self {
            state: Mutex::new(state),
            changed: watch::Sender::new(1),
            gate: Semaphore::new(1_000),
        })
    }

    /// Keys with their values, in order.
    pub(crate) fn keys(&self) -> Vec<String> {
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let state = self.state.lock();
        state.keys.values().map(|kv| format!("{}={}", text(&kv.key), text(&kv.value))).collect()
    }

    /// Waits until the keys are as they should be.
    pub(crate) async fn until(&self, is_so: impl Fn(&[String]) -> bool) {
        let mut changes = self.changed.subscribe();
        while !is_so(&self.keys()) {
            changes.changed().await.expect("the fake lives");
        }
    }

    /// Waits until so many watches are open, which is when somebody waits.
    pub(crate) async fn until_watches(&self, count: usize) {
        let mut changes = self.changed.subscribe();
        while self.state.lock().watches != count {
            changes.changed().await.expect("the fake lives");
        }
    }

    /// Ends a lease.
    pub(crate) fn expire(&self, lease: LeaseId) {
        self.change(|state| {
            state.leases.retain(|known| *known != lease);
            let bound: Vec<Bytes> =
                state.keys.values().filter(|kv| kv.lease == lease).map(|kv| kv.key.clone()).collect();
            state.delete(&bound);
        });
    }

    pub(crate) fn forget(&self) {
        self.change(|state| state.compacted = state.revision);
    }

    fn change<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let done = act(&mut self.state.lock());
        self.changed.send_modify(|turn| *turn += 1);
        done
    }

    fn reply<T>(&self, body: T) -> Reply<T> {
        Reply { header: self.header(), body }
    }
}

impl State {
    fn delete(&mut self, keys: &[Bytes]) -> u64 {
        if !keys.is_empty() {
            self.revision += 1;
        }
        for key in keys {
            let mut kv = self.keys.remove(key).expect("it is there");
            kv.mod_revision = Revision(self.revision);
            self.history.push(Event { kind: EventKind::Delete, kv, prev: None });
        }
        keys.len() as u64
    }

    fn put(&mut self, put: &Put) -> Result<(), Fault> {
        if put.lease.is_some() && !self.leases.contains(&put.lease) {
            return Err(Fault::LeaseNotFound);
        }
        self.revision += 1;
        let revision = Revision(self.revision);
        let before = self.keys.get(put.key.as_bytes());
        let kv = KeyValue {
            key: put.key.as_bytes().clone(),
            value: put.value.clone(),
            create_revision: before.map_or(revision, |kv| kv.create_revision),
            mod_revision: revision,
            version: before.map_or(1, |kv| kv.version + 1),
            lease: put.lease,
        };
        self.keys.insert(kv.key.clone(), kv.clone());
        self.history.push(Event { kind: EventKind::Put, kv, prev: None });
        Ok(())
    }

    fn range(&self, query: &RangeQuery) -> RangeReply {
        let mut kvs: Vec<KeyValue> =
            self.keys.values().filter(|kv| query.range.contains(&kv.key)).cloned().collect();
        let count = kvs.len() as u64;
        kvs.retain(|kv| query.create_bounds.admit(kv.create_revision));
        kvs.sort_by_key(|kv| kv.create_revision);
        if query.order == SortOrder::Descend {
            kvs.reverse();
        }
        let limit = if query.limit == 0 { usize::MAX } else { query.limit as usize };
        kvs.truncate(limit);
        RangeReply { kvs, more: false, count }
    }

    fn txn(&mut self, txn: &Txn) -> Result<TxnReply, Fault> {
        let holds = |compare: &types::Compare| {
            let CompareTarget::Create(wanted) = compare.target else { panic!("only creation is compared") };
            self.keys.get(&compare.range.start).map_or(0, |kv| kv.create_revision.to_wire()) == wanted
        };
        let succeeded = txn.compare.iter().all(holds);
        let mut responses = Vec::new();
        for op in if succeeded { &txn.success } else { &txn.failure } {
            let reply = match op {
                TxnOp::Range(query) => OpReply::Range(self.range(query)),
                TxnOp::Put(put) => {
                    self.put(put)?;
                    OpReply::Put(PutReply::default())
                }
                TxnOp::Delete(delete) => {
                    let there = self.keys.contains_key(&delete.range.start);
                    let keys = if there { vec![delete.range.start.clone()] } else { Vec::new() };
                    OpReply::Delete(DeleteReply { deleted: self.delete(&keys), prev_kvs: Vec::new() })
                }
                TxnOp::Txn(_) => panic!("nobody nests"),
            };
            responses.push(TxnResponse { revision: Revision(self.revision), reply });
        }
        Ok(TxnReply { succeeded, responses })
    }
}

/// A stream of watches: for each its number, what it is about, and where in the history it is.
struct Stream {
    member: Arc<Fake>,
    watches: Vec<(WatchSpec, usize)>,
    // Ends when something has changed since the last look.
    news: Option<News>,
}

type News = Pin<Box<dyn Future<Output = Result<(), Fault>> + Send>>;

impl Drop for Stream {
    fn drop(&mut self) {
        self.member.change(|state| state.watches -= 1);
    }
}

impl Stream {
    fn due(&mut self) -> Option<(WatchId, WatchBody)> {
        let state = self.member.state.lock();
        for (spec, next) in &mut self.watches {
            let id = spec.id.unwrap_or_default();
            if *next < state.history.len() && spec.start.is_some_and(|start| start.0 < state.compacted) {
                let compacted = Some(Revision(state.compacted));
                return Some((id, WatchBody::Canceled { compacted, reason: String::new() }));
            }
            while let Some(event) = state.history.get(*next) {
                *next += 1;
                let unwanted = match event.kind {
                    EventKind::Put => spec.without_puts,
                    EventKind::Delete => spec.without_deletes,
                };
                let early = spec.start.is_some_and(|start| event.kv.mod_revision < start);
                if !unwanted && !early && spec.range.contains(&event.kv.key) {
                    let shared = SharedEvent { event: event.clone(), wire: OnceLock::new() };
                    return Some((
                        id,
                        WatchBody::Events { events: [Arc::new(shared)].into(), fragment: false },
                    ));
                }
            }
        }
        None
    }
}

impl WatchStream for Stream {
    fn create(&mut self, spec: WatchSpec) {
        self.watches.push((spec, 0));
        self.news = None;
    }

    fn cancel(&mut self, _: WatchId) {}

    fn progress(&mut self) {}

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<WatchReply, Fault>> {
        loop {
            if self.news.is_none() {
                // Before the look.
                let mut changes = self.member.changed.subscribe();
                if let Some((id, body)) = self.due() {
                    return Poll::Ready(Ok(WatchReply { header: self.member.header(), id, body }));
                }
                let news = async move { changes.changed().await.map_err(|_| Fault::Stopped) };
                self.news = Some(Box::pin(news));
            }
            if let Some(news) = &mut self.news {
                ready!(news.as_mut().poll(context))?;
            }
            self.news = None;
        }
    }
}

/// A `Fake` with a way to itself.
pub(crate) struct Door(pub(crate) Arc<Fake>);

impl Fake {
    fn header(&self) -> Header {
        Header { revision: Revision(self.state.lock().revision), ..Header::default() }
    }
}

#[async_trait]
impl Member for Door {
    fn for_caller(self: Arc<Self>, _caller: api::Caller) -> Arc<dyn Member> {
        self
    }

    fn header(&self) -> Header {
        self.0.header()
    }

    fn limits(&self) -> Limits {
        Limits::default()
    }

    fn v2_enabled(&self) -> bool {
        false
    }

    fn is_learner(&self) -> bool {
        false
    }

    async fn range(&self, query: RangeQuery, _: Consistency) -> Result<Reply<RangeReply>, Fault> {
        let found = self.0.state.lock().range(&query);
        Ok(self.0.reply(found))
    }

    async fn put(&self, put: Put) -> Result<Reply<PutReply>, Fault> {
        self.0.change(|state| state.put(&put))?;
        Ok(self.0.reply(PutReply::default()))
    }

    async fn delete_range(&self, delete: DeleteRange) -> Result<Reply<DeleteReply>, Fault> {
        let deleted = self.0.change(|state| {
            let keys: Vec<Bytes> =
                state.keys.keys().filter(|key| delete.range.contains(key)).cloned().collect();
            state.delete(&keys)
        });
        Ok(self.0.reply(DeleteReply { deleted, prev_kvs: Vec::new() }))
    }

    async fn txn(&self, txn: Txn, _: bool) -> Result<Reply<TxnReply>, Fault> {
        self.0.gate.acquire().await.map_err(|_| Fault::Stopped)?.forget();
        let done = self.0.change(|state| state.txn(&txn))?;
        Ok(self.0.reply(done))
    }

    fn watch(&self, _: bool) -> Result<Box<dyn WatchStream>, Fault> {
        self.0.change(|state| state.watches += 1);
        Ok(Box::new(Stream { member: Arc::clone(&self.0), watches: Vec::new(), news: None }))
    }

    async fn lease_grant(&self, id: LeaseId, ttl: i64) -> Result<Reply<Grant>, Fault> {
        let id = if id.is_some() { id } else { LeaseId(0x77) };
        self.0.change(|state| state.leases.push(id));
        Ok(self.0.reply(Grant { id, ttl }))
    }

    async fn lease_revoke(&self, _: LeaseId) -> Result<Reply<()>, Fault> {
        Err(Fault::Unserved)
    }

    async fn lease_keep_alive(&self, _: Vec<LeaseId>) -> Result<Reply<Vec<i64>>, Fault> {
        Err(Fault::Unserved)
    }

    async fn lease_time_to_live(&self, _: LeaseId, _: bool) -> Result<Reply<LeaseStatus>, Fault> {
        Err(Fault::Unserved)
    }

    async fn leases(&self) -> Result<Reply<Vec<LeaseId>>, Fault> {
        Err(Fault::Unserved)
    }

    async fn range_stream(&self, _: RangeQuery, _: Consistency) -> Result<Box<dyn RangeStream>, Fault> {
        Err(Fault::Unserved)
    }

    async fn snapshot(&self) -> Result<Box<dyn SnapshotStream>, Fault> {
        Err(Fault::Unserved)
    }

    async fn defragment(&self) -> Result<(), Fault> {
        Err(Fault::Unserved)
    }

    async fn downgrade(&self, _: Downgrade) -> Result<Reply<String>, Fault> {
        Err(Fault::Unserved)
    }

    async fn compact(&self, _: Compact) -> Result<Reply<()>, Fault> {
        Err(Fault::Unserved)
    }

    async fn hash(&self) -> Result<Reply<u32>, Fault> {
        Err(Fault::Unserved)
    }

    async fn hash_kv(&self, _: Option<Revision>) -> Result<Reply<KvHash>, Fault> {
        Err(Fault::Unserved)
    }

    async fn status(&self) -> Result<Reply<Status>, Fault> {
        Err(Fault::Unserved)
    }

    async fn members(&self, _: Consistency) -> Result<Reply<Vec<MemberRecord>>, Fault> {
        Err(Fault::Unserved)
    }

    async fn member_add(&self, _: Vec<MemberUrl>, _: bool) -> Result<Reply<Added>, Fault> {
        Err(Fault::Unserved)
    }

    async fn member_remove(&self, _: MemberId) -> Result<Reply<Vec<MemberRecord>>, Fault> {
        Err(Fault::Unserved)
    }

    async fn member_update(&self, _: MemberId, _: Vec<MemberUrl>) -> Result<Reply<Vec<MemberRecord>>, Fault> {
        Err(Fault::Unserved)
    }

    async fn member_promote(&self, _: MemberId) -> Result<Reply<Vec<MemberRecord>>, Fault> {
        Err(Fault::Unserved)
    }

    async fn move_leader(&self, _: MemberId) -> Result<(), Fault> {
        Err(Fault::Unserved)
    }

    async fn alarm(&self, _: AlarmAction) -> Result<Reply<Vec<Alarm>>, Fault> {
        Err(Fault::Unserved)
    }

    async fn v2_get(&self, _: v2::Get, _: Consistency) -> Result<V2Reply, Fault> {
        Err(Fault::Unserved)
    }

    async fn v2_write(&self, _: v2::Write, _: V2Ttl) -> Result<V2Reply, Fault> {
        Err(Fault::Unserved)
    }

    async fn health(&self, _: Consistency) -> Result<(), String> {
        Ok(())
    }

    fn metrics(&self) -> String {
        String::new()
    }
}
