//! The member as the gateway knows it, called by nobody in particular. What is guarded is done for a caller, here for
//! nobody; [`Guest`] is the member as one caller sees it.

use std::sync::Arc;
use std::time::Duration;

use api::{
    Added, AlarmAction, AuthReply, AuthRequest, Caller, Compact, Consistency, Downgrade, Fault, Grant,
    Header, KvHash, LeaseStatus, RaftStats, RangeStream, Reply, SnapshotStream, Stats, Status, V2Auth,
    V2Reply, V2Ttl, V2Watching, WatchStream,
};
use async_trait::async_trait;
use command::{Command, Effect};
use members::Change;
use types::v2::{self, Expiry, Write};
use types::{
    Alarm, DeleteRange, DeleteReply, LeaseId, Limits, MemberId, MemberRecord, MemberUrl, Put, PutReply,
    RangeQuery, RangeReply, Revision, Txn, TxnReply,
};

use crate::asking::{done, odd};
use crate::doorkeeper::NOBODY;
use crate::guest::Guest;
use crate::member::Member;
use crate::tally;

#[async_trait]
impl api::Member for Member {
    fn guards(&self) -> bool {
        self.house.wing.look().auth.is_enabled()
    }

    fn for_caller(self: Arc<Self>, caller: Caller) -> Arc<dyn api::Member> {
        Arc::new(Guest::new(self, caller))
    }

    async fn auth(&self, request: AuthRequest) -> Result<Reply<AuthReply>, Fault> {
        self.auth_for(&NOBODY, request).await
    }

    fn header(&self) -> Header {
        self.header_at(self.revision())
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn v2_enabled(&self) -> bool {
        self.v2_enabled
    }

    fn is_learner(&self) -> bool {
        self.house.wing.look().members.is_learner(self.id)
    }

    async fn range(&self, query: RangeQuery, consistency: Consistency) -> Result<Reply<RangeReply>, Fault> {
        self.range_for(&NOBODY, query, consistency).await
    }

    async fn put(&self, put: Put) -> Result<Reply<PutReply>, Fault> {
        self.put_for(&NOBODY, put).await
    }

    async fn delete_range(&self, delete: DeleteRange) -> Result<Reply<DeleteReply>, Fault> {
        self.delete_range_for(&NOBODY, delete).await
    }

    async fn txn(&self, txn: Txn, serializable_reads: bool) -> Result<Reply<TxnReply>, Fault> {
        self.txn_for(&NOBODY, txn, serializable_reads).await
    }

    async fn compact(&self, compact: Compact) -> Result<Reply<()>, Fault> {
        self.compact_for(&NOBODY, compact).await
    }

    async fn hash(&self) -> Result<Reply<u32>, Fault> {
        self.house.admit_root(&NOBODY)?;
        self.whole_hash().await
    }

    async fn hash_kv(&self, revision: Option<Revision>) -> Result<Reply<KvHash>, Fault> {
        self.house.admit_root(&NOBODY)?;
        self.history_hash(revision).await
    }

    async fn status(&self) -> Result<Reply<Status>, Fault> {
        let shared = &self.house.shared;
        let leader = shared.leader();
        let mut errors = Vec::new();
        if leader == MemberId(0) {
            errors.push(Fault::NoLeader.text().to_owned());
        }
        let rooms = self.house.wing.enter();
        errors.extend(rooms.alarms.list().iter().map(ToString::to_string));
        let body = Status {
            db_bytes: self.house.wing.look().store.size_bytes(),
            db_bytes_in_use: self.house.wing.look().store.live_bytes(),
            leader,
            raft_index: shared.commit(),
            raft_term: shared.term(),
            raft_applied_index: shared.applied(),
            errors,
            learner: self.house.wing.look().members.is_learner(self.id),
            db_bytes_quota: self.quota_bytes,
        };
        Ok(self.reply(self.revision(), body))
    }

    async fn members(&self, consistency: Consistency) -> Result<Reply<Vec<MemberRecord>>, Fault> {
        self.catch_up(consistency).await?;
        // The header of the Cluster service carries no revision.
        Ok(self.reply(Revision::default(), self.house.wing.look().members.list()))
    }

    async fn member_add(&self, peer_urls: Vec<MemberUrl>, learner: bool) -> Result<Reply<Added>, Fault> {
        self.add(&NOBODY, &peer_urls, learner).await
    }

    async fn member_remove(&self, id: MemberId) -> Result<Reply<Vec<MemberRecord>>, Fault> {
        self.change(&NOBODY, Change::Remove(id)).await
    }

    async fn member_update(
        &self,
        id: MemberId,
        peer_urls: Vec<MemberUrl>,
    ) -> Result<Reply<Vec<MemberRecord>>, Fault> {
        let peer_urls = peer_urls.iter().map(ToString::to_string).collect();
        self.change(&NOBODY, Change::Update { id, peer_urls }).await
    }

    async fn member_promote(&self, id: MemberId) -> Result<Reply<Vec<MemberRecord>>, Fault> {
        self.promote(&NOBODY, id).await
    }

    async fn move_leader(&self, target: MemberId) -> Result<(), Fault> {
        self.house.admit_root(&NOBODY)?;
        self.hand_over(target).await
    }

    async fn alarm(&self, action: AlarmAction) -> Result<Reply<Vec<Alarm>>, Fault> {
        self.alarm_for(&NOBODY, action).await
    }

    async fn range_stream(
        &self,
        query: RangeQuery,
        consistency: Consistency,
    ) -> Result<Box<dyn RangeStream>, Fault> {
        self.parts(&NOBODY, query, consistency).await
    }

    async fn snapshot(&self) -> Result<Box<dyn SnapshotStream>, Fault> {
        self.house.admit_root(&NOBODY)?;
        self.export().await
    }

    async fn defragment(&self) -> Result<(), Fault> {
        self.house.admit_root(&NOBODY)?;
        self.give_room_back()
    }

    async fn downgrade(&self, action: Downgrade) -> Result<Reply<String>, Fault> {
        self.house.admit_root(&NOBODY)?;
        self.judge_downgrade(&action)
    }

    async fn lease_grant(&self, id: LeaseId, ttl: i64) -> Result<Reply<Grant>, Fault> {
        self.grant(&NOBODY, id, ttl).await
    }

    async fn lease_revoke(&self, id: LeaseId) -> Result<Reply<()>, Fault> {
        self.revoke(&NOBODY, id).await
    }

    async fn lease_keep_alive(&self, ids: Vec<LeaseId>) -> Result<Reply<Vec<i64>>, Fault> {
        self.keep_alive(&NOBODY, &ids).await
    }

    async fn lease_time_to_live(&self, id: LeaseId, keys: bool) -> Result<Reply<LeaseStatus>, Fault> {
        self.time_to_live(&NOBODY, id, keys).await
    }

    async fn leases(&self) -> Result<Reply<Vec<LeaseId>>, Fault> {
        self.list_leases(&NOBODY).await
    }

    fn stats(&self) -> Option<Stats> {
        Some(self.count_up())
    }

    fn raft_stats(&self) -> Option<RaftStats> {
        Some(self.look_at_raft())
    }

    async fn v2_get(&self, get: v2::Get, consistency: Consistency) -> Result<V2Reply, Fault> {
        if self.house.bridging.layout().is_some() {
            return self.bridged_get(get, consistency).await;
        }
        self.linearize(consistency).await?;
        let result = self.house.wing.look().v2.get(&get, self.now()).map(Arc::new);
        self.house.shared.counts.read(result.is_ok());
        self.measures.tally.v2_read(get.recursive, result.is_ok());
        Ok(self.v2_reply(result))
    }

    async fn v2_write(&self, mut write: Write, ttl: V2Ttl) -> Result<V2Reply, Fault> {
        let now = self.now();
        let expires = match ttl {
            V2Ttl::Never => Expiry::Never,
            V2Ttl::Seconds(seconds) => Expiry::after(now, seconds),
        };
        match &mut write {
            Write::Set { expiry, .. }
            | Write::Create { expiry, .. }
            | Write::Update { expiry, .. }
            | Write::CompareAndSwap { expiry, .. } => *expiry = expires,
            Write::Delete { .. } | Write::CompareAndDelete { .. } | Write::Expire { .. } => {}
        }
        if self.house.bridging.layout().is_some() {
            return self.bridged_write(write, now).await;
        }
        let action = tally::action_of(&write);
        let outcome = self.write(Command::V2 { write, now }).await?;
        match done(outcome.result)? {
            Effect::V2(Ok(events)) => Ok(self.v2_reply(Ok(events.into_iter().next().ok_or_else(odd)?))),
            Effect::V2(Err(refusal)) => {
                self.measures.tally.v2_refused(action);
                self.house.shared.counts.refused(action);
                Ok(self.v2_reply(Err(refusal)))
            }
            _ => Err(odd()),
        }
    }

    fn watch(&self, requires_leader: bool) -> Result<Box<dyn WatchStream>, Fault> {
        Ok(Box::new(self.open_watches(NOBODY.clone(), requires_leader)?))
    }

    fn v2_auth(&self) -> Option<&dyn V2Auth> {
        Some(self)
    }

    async fn v2_watch(&self, watch: v2::Watch) -> Result<Result<V2Watching, v2::Refusal>, Fault> {
        self.measures.tally.v2_wait();
        let shared = &self.house.shared;
        let begun =
            self.house.waits.begin(watch, &self.house.wing).map_err(|error| self.unreadable(error))?;
        Ok(begun.map(|(index, events)| V2Watching {
            index,
            raft_index: shared.commit(),
            raft_term: shared.term(),
            events,
        }))
    }

    async fn health(&self, consistency: Consistency) -> Result<(), String> {
        if consistency == Consistency::Linearizable && self.house.shared.leader() == MemberId(0) {
            return Err("RAFT NO LEADER".to_owned());
        }
        self.linearize(consistency).await.map_err(|fault| format!("RANGE ERROR:{fault}"))
    }

    fn stages(&self, span: Duration) -> api::Stages {
        self.measures.work.stages(span)
    }

    fn metrics(&self) -> String {
        self.measures.render(self)
    }
}
