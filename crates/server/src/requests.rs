//! Requests on the v3 keyspace as commands and reads, each for a caller.

use std::sync::Arc;
use std::time::Instant;

use api::{AlarmAction, Caller, Compact, Consistency, Fault, KvHash, Reply};
use apply::may_txn;
use command::{Command, Effect};
use consensus::Kind;
use types::{
    Alarm, DeleteRange, DeleteReply, Put, PutReply, RangeQuery, RangeReply, Revision, Txn, TxnReply,
};

use crate::asking::{done, odd};
use crate::doorkeeper::{ROUNDS_MAX, refused};
use crate::member::Member;

impl Member {
    /// Reads a range.
    pub(crate) async fn range_for(
        &self,
        caller: &Caller,
        query: RangeQuery,
        consistency: Consistency,
    ) -> Result<Reply<RangeReply>, Fault> {
        self.linearize(consistency).await?;
        self.measures.tally.range();
        for _ in 0..ROUNDS_MAX {
            let entry = self.house.enter(caller)?;
            entry.pass.read(&query.range).map_err(refused)?;
            let found = if self.is_small(&query) {
                self.house.wing.look().mvcc.range(&query)
            } else {
                let query = query.clone();
                self.aside(move |rooms| rooms.mvcc.range(&query)).await?
            };
            if self.house.holds(&entry) {
                let (revision, reply) = found.map_err(|error| self.unreadable(error))?;
                return Ok(self.reply(revision, reply));
            }
        }
        Err(Fault::AuthOldRevision)
    }

    /// Writes a key.
    pub(crate) async fn put_for(&self, caller: &Caller, put: Put) -> Result<Reply<PutReply>, Fault> {
        let outcome = self.write_for(caller, Command::Put(put)).await?;
        match done(outcome.result)? {
            Effect::Put(reply) => Ok(self.reply(outcome.revision, reply)),
            _ => Err(odd()),
        }
    }

    /// Removes a range.
    pub(crate) async fn delete_range_for(
        &self,
        caller: &Caller,
        delete: DeleteRange,
    ) -> Result<Reply<DeleteReply>, Fault> {
        let outcome = self.write_for(caller, Command::DeleteRange(delete)).await?;
        match done(outcome.result)? {
            Effect::DeleteRange(reply) => Ok(self.reply(outcome.revision, reply)),
            _ => Err(odd()),
        }
    }

    /// Runs a transaction.
    pub(crate) async fn txn_for(
        &self,
        caller: &Caller,
        txn: Txn,
        serializable_reads: bool,
    ) -> Result<Reply<TxnReply>, Fault> {
        if txn.is_read_only() {
            let consistency =
                if serializable_reads { Consistency::Serializable } else { Consistency::Linearizable };
            self.linearize(consistency).await?;
            let txn = Arc::new(txn);
            for _ in 0..ROUNDS_MAX {
                let entry = self.house.enter(caller)?;
                may_txn(&entry.pass, &self.house.wing.look().leases, &txn).map_err(refused)?;
                let reading = Arc::clone(&txn);
                let found = self.aside(move |rooms| rooms.mvcc.read_txn(&reading)).await?;
                if self.house.holds(&entry) {
                    let (revision, reply) = found.map_err(|error| self.unreadable(error))?;
                    self.measures.tally.read_txn(&reply);
                    return Ok(self.reply(revision, reply));
                }
            }
            return Err(Fault::AuthOldRevision);
        }
        let outcome = self.write_for(caller, Command::Txn(txn)).await?;
        match done(outcome.result)? {
            Effect::Txn(reply) => Ok(self.reply(outcome.revision, reply)),
            _ => Err(odd()),
        }
    }

    /// Forgets history.
    pub(crate) async fn compact_for(&self, caller: &Caller, compact: Compact) -> Result<Reply<()>, Fault> {
        let outcome = self.write_for(caller, Command::Compact(compact.revision)).await?;
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

    /// The hash of everything.
    pub(crate) async fn whole_hash(&self) -> Result<Reply<u32>, Fault> {
        let began = Instant::now();
        let hash = self.aside(|rooms| rooms.mvcc.hash()).await?.map_err(|error| self.unreadable(error))?;
        self.measures.work.hash.record(began.elapsed());
        Ok(self.reply(self.revision(), hash))
    }

    /// The hash of the history.
    pub(crate) async fn history_hash(&self, revision: Option<Revision>) -> Result<Reply<KvHash>, Fault> {
        let began = Instant::now();
        let hash = self
            .aside(move |rooms| rooms.mvcc.hash_kv(revision))
            .await?
            .map_err(|error| self.unreadable(error))?;
        self.measures.work.hash_kv.record(began.elapsed());
        let body = KvHash { hash: hash.hash, compacted: hash.compacted, revision: hash.revision };
        Ok(self.reply(self.revision(), body))
    }

    /// Lists, raises or lowers alarms.
    pub(crate) async fn alarm_for(
        &self,
        caller: &Caller,
        action: AlarmAction,
    ) -> Result<Reply<Vec<Alarm>>, Fault> {
        let (raise, alarm) = match action {
            AlarmAction::Get(kind) => {
                self.house.admit_user(caller)?;
                self.catch_up(Consistency::Linearizable).await?;
                let mut alarms = self.house.wing.look().alarms.list();
                alarms.retain(|alarm| kind.is_none_or(|kind| alarm.kind == kind));
                return Ok(self.reply(self.revision(), alarms));
            }
            AlarmAction::Raise(alarm) => (true, alarm),
            AlarmAction::Lower(alarm) => (false, alarm),
        };
        let command = Command::Alarm { raise, member: alarm.member, kind: alarm.kind };
        self.house.admit_root(caller)?;
        let outcome = self.propose_for(caller, command, Kind::Normal, false).await?;
        match done(outcome.result)? {
            Effect::Alarms(alarms) => Ok(self.reply(outcome.revision, alarms)),
            _ => Err(odd()),
        }
    }
}
