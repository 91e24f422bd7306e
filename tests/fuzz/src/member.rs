//! A member that refuses everything, after what was asked for has been understood, which is all that is looked at here.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use api::{
    Added, AlarmAction, Caller, Compact, Consistency, Downgrade, Fault, Grant, Header, KvHash, LeaseStatus,
    Member, RangeStream, Reply, SnapshotStream, Status, V2Auth, V2Caller, V2Reply, V2Ttl, WatchBody, WatchId,
    WatchReply, WatchSpec, WatchStream,
};
use async_trait::async_trait;
use types::v2::{Get, Write};
use types::v2auth::{Access, Change, Changed, Refusal, Role, User};
use types::{
    Alarm, DeleteRange, DeleteReply, KeyValue, LeaseId, Limits, MemberId, MemberRecord, MemberUrl, OpReply,
    Put, PutReply, RangeQuery, RangeReply, Revision, Secret, Txn, TxnOp, TxnReply, TxnResponse,
};

/// See the module.
pub(crate) struct Deaf;

type Answer<T> = Result<Reply<T>, Fault>;

fn reply<T>(body: T) -> Reply<T> {
    Reply { header: Header::default(), body }
}

fn range(query: &RangeQuery) -> RangeReply {
    let kv = KeyValue {
        key: query.range.start.clone(),
        value: query.range.start.clone(),
        create_revision: Revision(2),
        mod_revision: Revision(5),
        version: 3,
        lease: LeaseId(0),
    };
    RangeReply { kvs: vec![kv], more: query.limit > 0, count: 1 }
}

fn txn(txn: &Txn) -> TxnReply {
    let response = |op: &TxnOp| {
        let reply = match op {
            TxnOp::Range(query) => OpReply::Range(range(query)),
            TxnOp::Put(_) => OpReply::Put(PutReply::default()),
            TxnOp::Delete(_) => OpReply::Delete(DeleteReply { deleted: 1, prev_kvs: Vec::new() }),
            TxnOp::Txn(inner) => OpReply::Txn(self::txn(inner)),
        };
        TxnResponse { revision: Revision(7), reply }
    };
    TxnReply { succeeded: true, responses: txn.success.iter().map(response).collect() }
}

#[async_trait]
impl Member for Deaf {
    fn header(&self) -> Header {
        Header::default()
    }

    fn limits(&self) -> Limits {
        Limits::default()
    }

    fn v2_enabled(&self) -> bool {
        true
    }

    fn is_learner(&self) -> bool {
        false
    }

    fn guards(&self) -> bool {
        true
    }

    fn for_caller(self: Arc<Self>, _caller: Caller) -> Arc<dyn Member> {
        self
    }

    async fn range(&self, query: RangeQuery, _consistency: Consistency) -> Answer<RangeReply> {
        Ok(reply(range(&query)))
    }

    async fn put(&self, _put: Put) -> Answer<PutReply> {
        Ok(reply(PutReply::default()))
    }

    async fn delete_range(&self, _delete: DeleteRange) -> Answer<DeleteReply> {
        Ok(reply(DeleteReply { deleted: 1, prev_kvs: Vec::new() }))
    }

    async fn txn(&self, txn: Txn, _serializable_reads: bool) -> Answer<TxnReply> {
        Ok(reply(self::txn(&txn)))
    }

    async fn compact(&self, _compact: Compact) -> Answer<()> {
        Err(Fault::Unserved)
    }

    async fn hash(&self) -> Answer<u32> {
        Err(Fault::Unserved)
    }

    async fn hash_kv(&self, _revision: Option<Revision>) -> Answer<KvHash> {
        Err(Fault::Unserved)
    }

    async fn status(&self) -> Answer<Status> {
        Err(Fault::Unserved)
    }

    async fn members(&self, _consistency: Consistency) -> Answer<Vec<MemberRecord>> {
        Ok(reply(Vec::new()))
    }

    async fn member_add(&self, _peer_urls: Vec<MemberUrl>, _learner: bool) -> Answer<Added> {
        Err(Fault::Unserved)
    }

    async fn member_remove(&self, _id: MemberId) -> Answer<Vec<MemberRecord>> {
        Err(Fault::Unserved)
    }

    async fn member_update(&self, _id: MemberId, _peer_urls: Vec<MemberUrl>) -> Answer<Vec<MemberRecord>> {
        Err(Fault::Unserved)
    }

    async fn member_promote(&self, _id: MemberId) -> Answer<Vec<MemberRecord>> {
        Err(Fault::Unserved)
    }

    async fn move_leader(&self, _target: MemberId) -> Result<(), Fault> {
        Err(Fault::Unserved)
    }

    async fn alarm(&self, _action: AlarmAction) -> Answer<Vec<Alarm>> {
        Err(Fault::Unserved)
    }

    fn watch(&self, _requires_leader: bool) -> Result<Box<dyn WatchStream>, Fault> {
        Ok(Box::new(Silent::default()))
    }

    async fn lease_grant(&self, _id: LeaseId, _ttl: i64) -> Answer<Grant> {
        Err(Fault::Unserved)
    }

    async fn lease_revoke(&self, _id: LeaseId) -> Answer<()> {
        Err(Fault::Unserved)
    }

    async fn lease_keep_alive(&self, ids: Vec<LeaseId>) -> Answer<Vec<i64>> {
        Ok(reply(vec![10; ids.len()]))
    }

    async fn lease_time_to_live(&self, _id: LeaseId, _keys: bool) -> Answer<LeaseStatus> {
        Err(Fault::Unserved)
    }

    async fn leases(&self) -> Answer<Vec<LeaseId>> {
        Err(Fault::Unserved)
    }

    async fn range_stream(
        &self,
        _query: RangeQuery,
        _consistency: Consistency,
    ) -> Result<Box<dyn RangeStream>, Fault> {
        Err(Fault::Unserved)
    }

    async fn snapshot(&self) -> Result<Box<dyn SnapshotStream>, Fault> {
        Err(Fault::Unserved)
    }

    async fn defragment(&self) -> Result<(), Fault> {
        Err(Fault::Unserved)
    }

    async fn downgrade(&self, _action: Downgrade) -> Answer<String> {
        Err(Fault::Unserved)
    }

    async fn v2_get(&self, _get: Get, _consistency: Consistency) -> Result<V2Reply, Fault> {
        Err(Fault::Unserved)
    }

    async fn v2_write(&self, _write: Write, _ttl: V2Ttl) -> Result<V2Reply, Fault> {
        Err(Fault::Unserved)
    }

    fn v2_auth(&self) -> Option<&dyn V2Auth> {
        Some(self)
    }

    async fn health(&self, _consistency: Consistency) -> Result<(), String> {
        Ok(())
    }

    fn metrics(&self) -> String {
        String::new()
    }
}

#[async_trait]
impl V2Auth for Deaf {
    fn is_enabled(&self) -> bool {
        true
    }

    async fn permits(&self, _caller: V2Caller, _access: Access) -> Result<bool, Fault> {
        Ok(true)
    }

    fn users(&self) -> Vec<User> {
        Vec::new()
    }

    fn user(&self, _name: &str) -> Option<User> {
        None
    }

    fn roles(&self) -> Vec<Role> {
        Vec::new()
    }

    fn role(&self, _name: &str) -> Option<Role> {
        None
    }

    async fn change(
        &self,
        _change: Change,
        _password: Option<Secret>,
    ) -> Result<Result<Changed, Refusal>, Fault> {
        Ok(Ok(Changed::Done))
    }
}

/// Watches on which nothing happens.
#[derive(Default)]
struct Silent {
    // At most one for each request that came.
    replies: VecDeque<WatchReply>,
}

impl Silent {
    fn reply(&mut self, id: WatchId, body: WatchBody) {
        self.replies.push_back(WatchReply { header: Header::default(), id, body });
    }
}

impl WatchStream for Silent {
    fn create(&mut self, spec: WatchSpec) {
        self.reply(spec.id.unwrap_or(WatchId(0)), WatchBody::Created);
    }

    fn cancel(&mut self, id: WatchId) {
        self.reply(id, WatchBody::Canceled { compacted: None, reason: String::new() });
    }

    fn progress(&mut self) {
        self.reply(WatchId::NONE, WatchBody::Progress);
    }

    fn poll_next(&mut self, _context: &mut Context<'_>) -> Poll<Result<WatchReply, Fault>> {
        self.replies.pop_front().map_or(Poll::Pending, |reply| Poll::Ready(Ok(reply)))
    }
}
