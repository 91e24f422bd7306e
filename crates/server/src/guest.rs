//! The member as one caller sees it: what he may not do is refused.
//!
//! v2 has users of its own, health and metrics are for everybody: these are the member's.

use std::sync::Arc;
use std::time::Duration;

use api::{
    Added, AlarmAction, AuthReply, AuthRequest, Caller, Compact, Consistency, Downgrade, Fault, Grant,
    Header, KvHash, LeaseStatus, RangeStream, Reply, SnapshotStream, Stats, Status, V2Auth, V2Reply, V2Ttl,
    V2Watching, WatchStream,
};
use async_trait::async_trait;
use members::Change;
use types::v2::{self, Write};
use types::{
    Alarm, DeleteRange, DeleteReply, LeaseId, Limits, MemberId, MemberRecord, MemberUrl, Put, PutReply,
    RangeQuery, RangeReply, Revision, Txn, TxnReply,
};

use crate::member::Member;

/// See the module.
pub(crate) struct Guest {
    member: Arc<Member>,
    caller: Caller,
}

impl Guest {
    pub(crate) fn new(member: Arc<Member>, caller: Caller) -> Self {
        Self { member, caller }
    }

    fn root(&self) -> Result<(), Fault> {
        self.member.house.admit_root(&self.caller).map(drop)
    }
}

#[async_trait]
impl api::Member for Guest {
    fn header(&self) -> Header {
        self.member.header()
    }

    fn limits(&self) -> Limits {
        self.member.limits()
    }

    fn v2_enabled(&self) -> bool {
        self.member.v2_enabled()
    }

    fn is_learner(&self) -> bool {
        self.member.is_learner()
    }

    fn guards(&self) -> bool {
        self.member.guards()
    }

    fn for_caller(self: Arc<Self>, caller: Caller) -> Arc<dyn api::Member> {
        Arc::new(Self::new(Arc::clone(&self.member), caller))
    }

    async fn greet(&self) {
        self.member.meet(&self.caller).await;
    }

    async fn range(&self, query: RangeQuery, consistency: Consistency) -> Result<Reply<RangeReply>, Fault> {
        self.greet().await;
        self.member.range_for(&self.caller, query, consistency).await
    }

    async fn put(&self, put: Put) -> Result<Reply<PutReply>, Fault> {
        self.greet().await;
        self.member.put_for(&self.caller, put).await
    }

    async fn delete_range(&self, delete: DeleteRange) -> Result<Reply<DeleteReply>, Fault> {
        self.greet().await;
        self.member.delete_range_for(&self.caller, delete).await
    }

    async fn txn(&self, txn: Txn, serializable_reads: bool) -> Result<Reply<TxnReply>, Fault> {
        self.greet().await;
        self.member.txn_for(&self.caller, txn, serializable_reads).await
    }

    async fn compact(&self, compact: Compact) -> Result<Reply<()>, Fault> {
        self.greet().await;
        self.member.compact_for(&self.caller, compact).await
    }

    async fn hash(&self) -> Result<Reply<u32>, Fault> {
        self.greet().await;
        self.root()?;
        self.member.whole_hash().await
    }

    async fn hash_kv(&self, revision: Option<Revision>) -> Result<Reply<KvHash>, Fault> {
        self.greet().await;
        self.root()?;
        self.member.history_hash(revision).await
    }

    async fn status(&self) -> Result<Reply<Status>, Fault> {
        self.greet().await;
        self.member.house.admit_user(&self.caller)?;
        self.member.status().await
    }

    async fn members(&self, consistency: Consistency) -> Result<Reply<Vec<MemberRecord>>, Fault> {
        self.greet().await;
        self.member.house.admit_user(&self.caller)?;
        self.member.members(consistency).await
    }

    async fn member_add(&self, peer_urls: Vec<MemberUrl>, learner: bool) -> Result<Reply<Added>, Fault> {
        self.greet().await;
        self.member.add(&self.caller, &peer_urls, learner).await
    }

    async fn member_remove(&self, id: MemberId) -> Result<Reply<Vec<MemberRecord>>, Fault> {
        self.greet().await;
        self.member.change(&self.caller, Change::Remove(id)).await
    }

    async fn member_update(
        &self,
        id: MemberId,
        peer_urls: Vec<MemberUrl>,
    ) -> Result<Reply<Vec<MemberRecord>>, Fault> {
        self.greet().await;
        let peer_urls = peer_urls.iter().map(ToString::to_string).collect();
        self.member.change(&self.caller, Change::Update { id, peer_urls }).await
    }

    async fn member_promote(&self, id: MemberId) -> Result<Reply<Vec<MemberRecord>>, Fault> {
        self.greet().await;
        self.member.promote(&self.caller, id).await
    }

    async fn move_leader(&self, target: MemberId) -> Result<(), Fault> {
        self.greet().await;
        self.root()?;
        self.member.hand_over(target).await
    }

    async fn alarm(&self, action: AlarmAction) -> Result<Reply<Vec<Alarm>>, Fault> {
        self.greet().await;
        self.member.alarm_for(&self.caller, action).await
    }

    async fn lease_grant(&self, id: LeaseId, ttl: i64) -> Result<Reply<Grant>, Fault> {
        self.greet().await;
        self.member.grant(&self.caller, id, ttl).await
    }

    async fn lease_revoke(&self, id: LeaseId) -> Result<Reply<()>, Fault> {
        self.greet().await;
        self.member.revoke(&self.caller, id).await
    }

    async fn lease_keep_alive(&self, ids: Vec<LeaseId>) -> Result<Reply<Vec<i64>>, Fault> {
        self.greet().await;
        self.member.keep_alive(&self.caller, &ids).await
    }

    async fn lease_time_to_live(&self, id: LeaseId, keys: bool) -> Result<Reply<LeaseStatus>, Fault> {
        self.greet().await;
        self.member.time_to_live(&self.caller, id, keys).await
    }

    async fn leases(&self) -> Result<Reply<Vec<LeaseId>>, Fault> {
        self.greet().await;
        self.member.list_leases(&self.caller).await
    }

    async fn range_stream(
        &self,
        query: RangeQuery,
        consistency: Consistency,
    ) -> Result<Box<dyn RangeStream>, Fault> {
        self.greet().await;
        self.member.parts(&self.caller, query, consistency).await
    }

    async fn snapshot(&self) -> Result<Box<dyn SnapshotStream>, Fault> {
        self.greet().await;
        self.root()?;
        self.member.export().await
    }

    async fn defragment(&self) -> Result<(), Fault> {
        self.greet().await;
        self.root()?;
        self.member.give_room_back()
    }

    async fn downgrade(&self, action: Downgrade) -> Result<Reply<String>, Fault> {
        self.greet().await;
        self.root()?;
        self.member.judge_downgrade(&action)
    }

    async fn auth(&self, request: AuthRequest) -> Result<Reply<AuthReply>, Fault> {
        self.greet().await;
        self.member.auth_for(&self.caller, request).await
    }

    fn watch(&self, requires_leader: bool) -> Result<Box<dyn WatchStream>, Fault> {
        Ok(Box::new(self.member.open_watches(self.caller.clone(), requires_leader)?))
    }

    async fn v2_get(&self, get: v2::Get, consistency: Consistency) -> Result<V2Reply, Fault> {
        self.member.v2_get(get, consistency).await
    }

    async fn v2_write(&self, write: Write, ttl: V2Ttl) -> Result<V2Reply, Fault> {
        self.member.v2_write(write, ttl).await
    }

    async fn v2_watch(&self, watch: v2::Watch) -> Result<Result<V2Watching, v2::Refusal>, Fault> {
        self.member.v2_watch(watch).await
    }

    fn v2_auth(&self) -> Option<&dyn V2Auth> {
        self.member.v2_auth()
    }

    fn stats(&self) -> Option<Stats> {
        self.member.stats()
    }

    async fn health(&self, consistency: Consistency) -> Result<(), String> {
        self.member.health(consistency).await
    }

    fn stages(&self, span: Duration) -> api::Stages {
        self.member.stages(span)
    }

    fn metrics(&self) -> String {
        self.member.metrics()
    }
}
