//! The member as the gateway knows it: each request as a command or a read, and its answer with a header.

use std::sync::Arc;
use std::time::Instant;

use api::{
    Added, AlarmAction, Compact, Consistency, Downgrade, Fault, Grant, Header, KvHash, LeaseStatus,
    RaftStats, RangeStream, Reply, SnapshotStream, Stats, Status, V2Auth, V2Reply, V2Ttl, V2Watching,
    WatchStream,
};
use async_trait::async_trait;
use command::{Command, Effect};
use consensus::Kind;
use members::Change;
use types::v2::{self, Expiry, Write};
use types::{
    Alarm, DeleteRange, DeleteReply, LeaseId, Limits, MemberId, MemberRecord, MemberUrl, Put, PutReply,
    RangeQuery, RangeReply, Revision, Txn, TxnReply,
};

use crate::asking::{done, odd};
use crate::member::Member;
use crate::tally;

#[async_trait]
impl api::Member for Member {
    fn for_caller(self: Arc<Self>, _caller: api::Caller) -> Arc<dyn api::Member> {
        // Nobody can be asked for proof yet.
        self
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
        self.linearize(consistency).await?;
        self.measures.tally.range();
        let (revision, reply) = if self.is_small(&query) {
            self.house.wing.look().mvcc.range(&query)
        } else {
            self.aside(move |rooms| rooms.mvcc.range(&query)).await?
        }
        .map_err(|error| self.unreadable(error))?;
        Ok(self.reply(revision, reply))
    }

    async fn put(&self, put: Put) -> Result<Reply<PutReply>, Fault> {
        let outcome = self.write(Command::Put(put)).await?;
        match done(outcome.result)? {
            Effect::Put(reply) => Ok(self.reply(outcome.revision, reply)),
            _ => Err(odd()),
        }
    }

    async fn delete_range(&self, delete: DeleteRange) -> Result<Reply<DeleteReply>, Fault> {
        let outcome = self.write(Command::DeleteRange(delete)).await?;
        match done(outcome.result)? {
            Effect::DeleteRange(reply) => Ok(self.reply(outcome.revision, reply)),
            _ => Err(odd()),
        }
    }

    async fn txn(&self, txn: Txn, serializable_reads: bool) -> Result<Reply<TxnReply>, Fault> {
        if txn.is_read_only() {
            let consistency =
                if serializable_reads { Consistency::Serializable } else { Consistency::Linearizable };
            self.linearize(consistency).await?;
            let (revision, reply) = self
                .aside(move |rooms| rooms.mvcc.read_txn(&txn))
                .await?
                .map_err(|error| self.unreadable(error))?;
            self.measures.tally.read_txn(&reply);
            return Ok(self.reply(revision, reply));
        }
        let outcome = self.write(Command::Txn(txn)).await?;
        match done(outcome.result)? {
            Effect::Txn(reply) => Ok(self.reply(outcome.revision, reply)),
            _ => Err(odd()),
        }
    }

    async fn compact(&self, compact: Compact) -> Result<Reply<()>, Fault> {
        let outcome = self.write(Command::Compact(compact.revision)).await?;
        done(outcome.result)?;
        if compact.physical
            && let Some(revision) = Revision::from_wire(compact.revision)
        {
            tokio::select! {
                () = self.house.shared.swept(revision) => {}
                _ = self.house.shared.ended() => return Err(Fault::Stopped),
            }
        }
        Ok(self.reply(outcome.revision, ()))
    }

    async fn hash(&self) -> Result<Reply<u32>, Fault> {
        let began = Instant::now();
        let hash = self.aside(|rooms| rooms.mvcc.hash()).await?.map_err(|error| self.unreadable(error))?;
        self.measures.work.hash.record(began.elapsed());
        Ok(self.reply(self.revision(), hash))
    }

    async fn hash_kv(&self, revision: Option<Revision>) -> Result<Reply<KvHash>, Fault> {
        let began = Instant::now();
        let hash = self
            .aside(move |rooms| rooms.mvcc.hash_kv(revision))
            .await?
            .map_err(|error| self.unreadable(error))?;
        self.measures.work.hash_kv.record(began.elapsed());
        let body = KvHash { hash: hash.hash, compacted: hash.compacted, revision: hash.revision };
        Ok(self.reply(self.revision(), body))
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
        self.add(&peer_urls, learner).await
    }

    async fn member_remove(&self, id: MemberId) -> Result<Reply<Vec<MemberRecord>>, Fault> {
        self.change(Change::Remove(id)).await
    }

    async fn member_update(
        &self,
        id: MemberId,
        peer_urls: Vec<MemberUrl>,
    ) -> Result<Reply<Vec<MemberRecord>>, Fault> {
        let peer_urls = peer_urls.iter().map(ToString::to_string).collect();
        self.change(Change::Update { id, peer_urls }).await
    }

    async fn member_promote(&self, id: MemberId) -> Result<Reply<Vec<MemberRecord>>, Fault> {
        self.promote(id).await
    }

    async fn move_leader(&self, target: MemberId) -> Result<(), Fault> {
        self.hand_over(target).await
    }

    async fn alarm(&self, action: AlarmAction) -> Result<Reply<Vec<Alarm>>, Fault> {
        let (raise, alarm) = match action {
            AlarmAction::Get(kind) => {
                self.catch_up(Consistency::Linearizable).await?;
                let mut alarms = self.house.wing.look().alarms.list();
                alarms.retain(|alarm| kind.is_none_or(|kind| alarm.kind == kind));
                return Ok(self.reply(self.revision(), alarms));
            }
            AlarmAction::Raise(alarm) => (true, alarm),
            AlarmAction::Lower(alarm) => (false, alarm),
        };
        let command = Command::Alarm { raise, member: alarm.member, kind: alarm.kind };
        let outcome = self.propose(command.encode(), Kind::Normal).await?;
        match done(outcome.result)? {
            Effect::Alarms(alarms) => Ok(self.reply(outcome.revision, alarms)),
            _ => Err(odd()),
        }
    }

    async fn range_stream(
        &self,
        query: RangeQuery,
        consistency: Consistency,
    ) -> Result<Box<dyn RangeStream>, Fault> {
        self.parts(query, consistency).await
    }

    async fn snapshot(&self) -> Result<Box<dyn SnapshotStream>, Fault> {
        self.export().await
    }

    async fn defragment(&self) -> Result<(), Fault> {
        self.give_room_back()
    }

    async fn downgrade(&self, action: Downgrade) -> Result<Reply<String>, Fault> {
        self.judge_downgrade(&action)
    }

    async fn lease_grant(&self, id: LeaseId, ttl: i64) -> Result<Reply<Grant>, Fault> {
        self.grant(id, ttl).await
    }

    async fn lease_revoke(&self, id: LeaseId) -> Result<Reply<()>, Fault> {
        self.revoke(id).await
    }

    async fn lease_keep_alive(&self, ids: Vec<LeaseId>) -> Result<Reply<Vec<i64>>, Fault> {
        self.keep_alive(&ids).await
    }

    async fn lease_time_to_live(&self, id: LeaseId, keys: bool) -> Result<Reply<LeaseStatus>, Fault> {
        self.time_to_live(id, keys).await
    }

    async fn leases(&self) -> Result<Reply<Vec<LeaseId>>, Fault> {
        self.list_leases().await
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
        Ok(Box::new(self.open_watches(requires_leader)?))
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

    fn metrics(&self) -> String {
        self.measures.render(self)
    }
}
