//! A member that keeps nothing: it notes what reaches it, and answers the same to everybody.
//!
//! Keys steer it: `fault:<name>` is refused with that fault, `missing` is not there.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use api::{
    Added, AlarmAction, Compact, Consistency, Downgrade, Fault, Grant, Header, KvHash, LeaseStatus, Member,
    RangeStream, Reply, SnapshotPiece, SnapshotStream, Status, V2Events, V2News, V2Reply, V2Ttl, V2Watching,
    WatchStream,
};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use types::v2::{Action, Event, Get, Node, Refusal, Timestamp, Watch, Write};
use types::{
    Alarm, AlarmKind, ClusterId, DeleteRange, DeleteReply, Index, KeyValue, LeaseId, Limits, MemberId,
    MemberRecord, MemberUrl, OpReply, Put, PutReply, RangeQuery, RangeReply, Revision, Term, Txn, TxnOp,
    TxnReply, TxnResponse,
};

use crate::fake_watches::{FakeWatches, Feed};

/// The member.
pub(crate) struct Fake {
    /// What reached it, in `Debug` form, since the last look.
    pub(crate) seen: Mutex<Vec<String>>,
    /// What is wrong with it.
    pub(crate) errors: Mutex<Vec<String>>,
    /// Whether it is a learner.
    pub(crate) learner: AtomicBool,
    /// The leader it knows.
    pub(crate) leader: Mutex<MemberId>,
    /// Puts of the key `gate` wait for a permit.
    pub(crate) gate: Semaphore,
    /// What the next stream of watches will say beside its answers.
    pub(crate) feed: Mutex<Option<Feed>>,
    /// Streams of watches that are there.
    pub(crate) streams: AtomicUsize,
    /// Whether who calls has to prove who he is.
    pub(crate) guards: AtomicBool,
    this: Weak<Self>,
}

impl Fake {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            feed: Mutex::default(),
            streams: AtomicUsize::default(),
            guards: AtomicBool::default(),
            this: this.clone(),
            seen: Mutex::default(),
            errors: Mutex::default(),
            learner: AtomicBool::default(),
            leader: Mutex::new(MemberId(2)),
            gate: Semaphore::new(0),
        })
    }

    pub(crate) fn take_seen(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock())
    }

    pub(crate) fn see(&self, what: String) {
        self.seen.lock().push(what);
    }
}

pub(crate) const HEADER: Header =
    Header { cluster: ClusterId(0xc1), member: MemberId(2), revision: Revision(7), term: Term(3) };

fn reply<T>(body: T) -> Reply<T> {
    Reply { header: HEADER, body }
}

fn fault(key: &[u8]) -> Result<(), Fault> {
    Err(match key.strip_prefix(b"fault:") {
        None => return Ok(()),
        Some(b"future") => Fault::FutureRevision,
        Some(b"lease") => Fault::LeaseNotFound,
        Some(b"timeout") => Fault::TimedOut,
        Some(b"space") => Fault::NoSpace,
        Some(b"busy") => Fault::TooManyRequests,
        Some(b"corrupt") => Fault::Corrupt,
        Some(_) => Fault::Broken("100% broken: \u{e4}\n".to_owned()),
    })
}

fn pair(key: &Bytes) -> KeyValue {
    KeyValue {
        key: key.clone(),
        value: Bytes::from_static(b"bar"),
        create_revision: Revision(2),
        mod_revision: Revision(5),
        version: 3,
        lease: LeaseId(0),
    }
}

fn op(op: &TxnOp) -> TxnResponse {
    let reply = match op {
        TxnOp::Range(query) => {
            OpReply::Range(RangeReply { kvs: vec![pair(&query.range.start)], more: false, count: 1 })
        }
        TxnOp::Put(_) => OpReply::Put(PutReply::default()),
        TxnOp::Delete(_) => OpReply::Delete(DeleteReply { deleted: 1, prev_kvs: Vec::new() }),
        TxnOp::Txn(txn) => {
            OpReply::Txn(TxnReply { succeeded: true, responses: txn.success.iter().map(self::op).collect() })
        }
    };
    TxnResponse { revision: Revision(7), reply }
}

#[async_trait]
impl Member for Fake {
    fn for_caller(self: Arc<Self>, caller: api::Caller) -> Arc<dyn Member> {
        if let Some(token) = caller.token {
            self.see(format!("called with {}", String::from_utf8_lossy(token.expose())));
        }
        self
    }

    fn guards(&self) -> bool {
        self.guards.load(Ordering::Relaxed)
    }

    fn header(&self) -> Header {
        HEADER
    }

    fn limits(&self) -> Limits {
        Limits::default()
    }

    fn v2_enabled(&self) -> bool {
        true
    }

    fn is_learner(&self) -> bool {
        self.learner.load(Ordering::Relaxed)
    }

    async fn range(&self, query: RangeQuery, consistency: Consistency) -> Result<Reply<RangeReply>, Fault> {
        self.see(format!("range {:?} {consistency:?} limit={}", query.range, query.limit));
        fault(&query.range.start)?;
        if query.range.start == "missing" {
            return Ok(reply(RangeReply::default()));
        }
        let mut found = pair(&query.range.start);
        if query.range.start == "large" {
            // More than the kernel takes from a server whose client does not read.
            found.value = vec![b'x'; 16 << 20].into();
        }
        Ok(reply(RangeReply { kvs: vec![found], more: query.limit > 0, count: 12 }))
    }

    async fn put(&self, put: Put) -> Result<Reply<PutReply>, Fault> {
        self.see(format!("put {:?}={} bytes lease={}", put.key.as_bytes(), put.value.len(), put.lease.0));
        if put.key.as_ref() == b"gate" {
            self.gate.acquire().await.map_err(|_| Fault::Stopped)?.forget();
        }
        fault(put.key.as_ref())?;
        let prev_kv = put.prev_kv.then(|| pair(put.key.as_bytes()));
        Ok(reply(PutReply { prev_kv }))
    }

    async fn delete_range(&self, delete: DeleteRange) -> Result<Reply<DeleteReply>, Fault> {
        self.see(format!("delete {:?}", delete.range));
        let prev_kvs = if delete.prev_kv { vec![pair(&delete.range.start)] } else { Vec::new() };
        Ok(reply(DeleteReply { deleted: 1, prev_kvs }))
    }

    async fn txn(&self, txn: Txn, serializable_reads: bool) -> Result<Reply<TxnReply>, Fault> {
        let (compare, success, failure) = (txn.compare.len(), txn.success.len(), txn.failure.len());
        self.see(format!("txn {compare}/{success}/{failure} serializable={serializable_reads}"));
        Ok(reply(TxnReply { succeeded: true, responses: txn.success.iter().map(op).collect() }))
    }

    async fn compact(&self, compact: Compact) -> Result<Reply<()>, Fault> {
        self.see(format!("{compact:?}"));
        if compact.revision > 7 { Err(Fault::FutureRevision) } else { Ok(reply(())) }
    }

    async fn hash(&self) -> Result<Reply<u32>, Fault> {
        Ok(reply(0xdead_beef))
    }

    async fn hash_kv(&self, revision: Option<Revision>) -> Result<Reply<KvHash>, Fault> {
        self.see(format!("hash_kv {revision:?}"));
        Ok(reply(KvHash { hash: 17, compacted: Revision(0), revision: Revision(7) }))
    }

    async fn status(&self) -> Result<Reply<Status>, Fault> {
        Ok(reply(Status {
            db_bytes: 20_480,
            db_bytes_in_use: 16_384,
            leader: *self.leader.lock(),
            raft_index: Index(9),
            raft_term: Term(3),
            raft_applied_index: Index(9),
            errors: self.errors.lock().clone(),
            learner: self.is_learner(),
            db_bytes_quota: 2_147_483_648,
        }))
    }

    async fn members(&self, consistency: Consistency) -> Result<Reply<Vec<MemberRecord>>, Fault> {
        self.see(format!("members {consistency:?}"));
        Ok(reply(members()))
    }

    async fn member_add(&self, peer_urls: Vec<MemberUrl>, learner: bool) -> Result<Reply<Added>, Fault> {
        self.see(format!("member_add {} learner={learner}", texts(&peer_urls)));
        if peer_urls.iter().any(|url| url.host() == "127.0.0.1") {
            return Err(Fault::PeerUrlExists);
        }
        let peer_urls = peer_urls.iter().map(ToString::to_string).collect();
        let member = MemberRecord {
            id: MemberId(0xabc),
            name: String::new(),
            peer_urls,
            client_urls: vec![],
            learner,
        };
        let mut members = members();
        members.push(member.clone());
        Ok(reply(Added { member, members }))
    }

    async fn member_remove(&self, id: MemberId) -> Result<Reply<Vec<MemberRecord>>, Fault> {
        self.see(format!("member_remove {id}"));
        known(id).map(|()| reply(members()))
    }

    async fn member_update(
        &self,
        id: MemberId,
        peer_urls: Vec<MemberUrl>,
    ) -> Result<Reply<Vec<MemberRecord>>, Fault> {
        self.see(format!("member_update {id} {}", texts(&peer_urls)));
        known(id).map(|()| reply(members()))
    }

    async fn member_promote(&self, id: MemberId) -> Result<Reply<Vec<MemberRecord>>, Fault> {
        self.see(format!("member_promote {id}"));
        known(id)?;
        Err(Fault::MemberNotLearner)
    }

    async fn move_leader(&self, target: MemberId) -> Result<(), Fault> {
        self.see(format!("move_leader {target}"));
        known(target).map_err(|_| Fault::BadTransferee)
    }

    async fn alarm(&self, action: AlarmAction) -> Result<Reply<Vec<Alarm>>, Fault> {
        self.see(format!("alarm {action:?}"));
        Ok(reply(match action {
            AlarmAction::Get(_) => vec![Alarm { member: MemberId(2), kind: AlarmKind::Corrupt }],
            AlarmAction::Raise(alarm) => vec![alarm],
            AlarmAction::Lower(_) => Vec::new(),
        }))
    }

    fn watch(&self, requires_leader: bool) -> Result<Box<dyn WatchStream>, Fault> {
        let this = self.this.upgrade().ok_or(Fault::Stopped)?;
        if requires_leader {
            self.see("watch with a leader".to_owned());
        }
        Ok(Box::new(FakeWatches::new(this, self.feed.lock().take())))
    }

    async fn lease_keep_alive(&self, ids: Vec<LeaseId>) -> Result<Reply<Vec<i64>>, Fault> {
        self.see(format!("keep_alive {ids:?}"));
        if ids.contains(&LeaseId(500)) {
            return Err(Fault::TimedOut);
        }
        Ok(reply(ids.iter().map(|id| if *id == LeaseId(404) { 0 } else { 10 }).collect()))
    }

    async fn range_stream(
        &self,
        query: RangeQuery,
        consistency: Consistency,
    ) -> Result<Box<dyn RangeStream>, Fault> {
        self.see(format!("range_stream {:?} {consistency:?}", query.range));
        fault(&query.range.start)?;
        let part = |more| Ok(reply(RangeReply { kvs: vec![pair(&query.range.start)], more, count: 2 }));
        Ok(Box::new(Parts(vec![part(true), part(false)].into_iter())))
    }

    async fn snapshot(&self) -> Result<Box<dyn SnapshotStream>, Fault> {
        self.see("snapshot".to_owned());
        let piece =
            |remaining, length: usize| Ok(reply(SnapshotPiece { remaining, bytes: vec![7; length].into() }));
        Ok(Box::new(Parts(vec![piece(100, 5), piece(32, 68), piece(0, 32)].into_iter())))
    }

    async fn lease_grant(&self, id: LeaseId, ttl: i64) -> Result<Reply<Grant>, Fault> {
        self.see(format!("lease_grant {} ttl={ttl}", id.0));
        Ok(reply(Grant { id: LeaseId(if id.is_some() { id.0 } else { 0x7f }), ttl: ttl.max(2) }))
    }

    async fn lease_revoke(&self, id: LeaseId) -> Result<Reply<()>, Fault> {
        self.see(format!("lease_revoke {}", id.0));
        if id == LeaseId(404) { Err(Fault::LeaseNotFound) } else { Ok(reply(())) }
    }

    async fn lease_time_to_live(&self, id: LeaseId, keys: bool) -> Result<Reply<LeaseStatus>, Fault> {
        self.see(format!("lease_time_to_live {} keys={keys}", id.0));
        if id == LeaseId(404) {
            return Ok(reply(LeaseStatus { id, ttl: -1, granted_ttl: 0, keys: Vec::new() }));
        }
        let keys = if keys { vec!["a".into(), "b".into()] } else { Vec::new() };
        Ok(reply(LeaseStatus { id, ttl: 9, granted_ttl: 10, keys }))
    }

    async fn leases(&self) -> Result<Reply<Vec<LeaseId>>, Fault> {
        Ok(reply(vec![LeaseId(1), LeaseId(i64::MAX)]))
    }

    async fn defragment(&self) -> Result<(), Fault> {
        self.see("defragment".to_owned());
        Ok(())
    }

    async fn downgrade(&self, action: Downgrade) -> Result<Reply<String>, Fault> {
        self.see(format!("downgrade {action:?}"));
        Ok(reply("3.7.0".to_owned()))
    }

    async fn v2_get(&self, get: Get, consistency: Consistency) -> Result<V2Reply, Fault> {
        self.see(format!("{get:?} {consistency:?}"));
        let key = get.path.as_str();
        fault(key.trim_start_matches('/').as_bytes())?;
        let result = if key == "/missing" {
            Err(Refusal { code: 100, cause: key.to_owned(), index: 7 })
        } else if get.path.is_root() {
            let node = Node { dir: true, nodes: vec![file("/a"), file("/b")], ..Node::default() };
            Ok(event(Action::Get, node, None))
        } else {
            Ok(event(Action::Get, file(key), None))
        };
        let result = result.map(Arc::new);
        Ok(V2Reply { result, raft_index: Index(9), raft_term: Term(3) })
    }

    async fn v2_watch(&self, watch: Watch) -> Result<Result<V2Watching, Refusal>, Fault> {
        self.see(format!("{watch:?}"));
        let key = watch.path.as_str();
        fault(key.trim_start_matches('/').as_bytes())?;
        if watch.since == Some(1) {
            return Ok(Err(Refusal { code: 401, cause: "cleared".to_owned(), index: 7 }));
        }
        let count = if watch.stream { 3 } else { 1 };
        let news = (0..count).map(|_| event(Action::Set, file(key), None)).map(Arc::new);
        let news: Vec<_> = news.map(|event| Arc::new(V2News { event, wire: OnceLock::new() })).collect();
        // Of a hidden node nothing is ever told.
        let silent = key.starts_with("/_");
        let events = Box::new(Events { news: news.into_iter(), silent });
        Ok(Ok(V2Watching { index: 7, raft_index: Index(9), raft_term: Term(3), events }))
    }

    async fn v2_write(&self, write: Write, ttl: V2Ttl) -> Result<V2Reply, Fault> {
        self.see(format!("{write:?} {ttl:?}"));
        let result = match &write {
            Write::Set { path, value, .. } => {
                let mut node = file(path.as_str());
                node.value = Some(value.clone());
                if let V2Ttl::Seconds(seconds) = ttl {
                    node.expiration = Some(Timestamp(1_795_195_094_009_237_070));
                    node.ttl = seconds as i64;
                }
                let before = (path.as_str() == "/old").then(|| file("/old"));
                Ok(event(Action::Set, node, before))
            }
            Write::Create { path, in_order: true, .. } => {
                Ok(event(Action::Create, file(&format!("{}/00000000000000000007", path.as_str())), None))
            }
            Write::Create { path, .. } => {
                Err(Refusal { code: 105, cause: path.as_str().to_owned(), index: 7 })
            }
            Write::CompareAndSwap { .. } | Write::CompareAndDelete { .. } => {
                Err(Refusal { code: 101, cause: "[x != 1]".to_owned(), index: 7 })
            }
            Write::Update { path, .. } => {
                Ok(event(Action::Update, file(path.as_str()), Some(file(path.as_str()))))
            }
            Write::Delete { path, .. } => {
                let node = Node { value: None, ..file(path.as_str()) };
                Ok(event(Action::Delete, node, Some(file(path.as_str()))))
            }
            Write::Expire { .. } => Err(Refusal { code: 400, cause: String::new(), index: 7 }),
        };
        let result = result.map(Arc::new);
        Ok(V2Reply { result, raft_index: Index(9), raft_term: Term(3) })
    }

    async fn health(&self, consistency: Consistency) -> Result<(), String> {
        let leaderless = *self.leader.lock() == MemberId(0);
        if leaderless && consistency == Consistency::Linearizable {
            return Err("RAFT NO LEADER".to_owned());
        }
        Ok(())
    }

    fn metrics(&self) -> String {
        "# TYPE up gauge\nup 1\n".to_owned()
    }
}

/// Parts that are there.
struct Parts<T>(std::vec::IntoIter<Result<Reply<T>, Fault>>);

#[async_trait]
impl RangeStream for Parts<RangeReply> {
    async fn next(&mut self) -> Result<Option<Reply<RangeReply>>, Fault> {
        self.0.next().transpose()
    }
}

#[async_trait]
impl SnapshotStream for Parts<SnapshotPiece> {
    async fn next(&mut self) -> Result<Option<Reply<SnapshotPiece>>, Fault> {
        self.0.next().transpose()
    }
}

/// What a wait is told, and whether it then stays silent.
struct Events {
    news: std::vec::IntoIter<Arc<V2News>>,
    silent: bool,
}

#[async_trait]
impl V2Events for Events {
    async fn next(&mut self) -> Option<Arc<V2News>> {
        if self.silent {
            std::future::pending::<()>().await;
        }
        self.news.next()
    }
}

fn file(key: &str) -> Node {
    Node {
        key: key.to_owned(),
        value: Some(Bytes::from_static(b"1")),
        modified_index: 6,
        created_index: 4,
        ..Node::default()
    }
}

fn event(action: Action, node: Node, prev_node: Option<Node>) -> Event {
    Event { action, node, prev_node, index: 7, refresh: false }
}

fn members() -> Vec<MemberRecord> {
    vec![MemberRecord {
        id: MemberId(2),
        name: "a".to_owned(),
        peer_urls: vec!["http://127.0.0.1:2380".to_owned()],
        client_urls: vec!["http://127.0.0.1:2379".to_owned()],
        learner: false,
    }]
}

/// Member 2 is there, 9 was removed, others never were.
fn known(id: MemberId) -> Result<(), Fault> {
    match id.0 {
        2 => Ok(()),
        9 => Err(Fault::MemberRemoved),
        _ => Err(Fault::MemberNotFound),
    }
}

fn texts(urls: &[MemberUrl]) -> String {
    let texts: Vec<&str> = urls.iter().map(MemberUrl::as_str).collect();
    texts.join(" ")
}
