//! A member as its clients see it: what may enter is proposed or read, and answered with its header.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use api::{Added, AlarmAction, Compact, Consistency, Fault, Header, KvHash, Reply, Status, V2Reply, V2Ttl};
use async_trait::async_trait;
use bytes::Bytes;
use command::{Command, Effect, Outcome, Refused};
use consensus::{Driver, Kind, Mailbox, Nudge};
use mvcc::ReadError;
use parking_lot::Mutex;
use stdx::{Clock, chain};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;
use types::v2::{self, Expiry, Timestamp, Write};
use types::{
    Alarm, ClusterId, DeleteRange, DeleteReply, Limits, MemberId, MemberRecord, MemberRefusal, MemberUrl,
    Put, PutReply, RangeQuery, RangeReply, Revision, Txn, TxnReply,
};

use crate::admission::Admission;
use crate::applier::Applier;
use crate::measures::Measures;
use crate::rooms::{Rooms, Wing};
use crate::shared::Shared;
use crate::ticket::{ReadTicket, WriteTicket};

/// A read of at most this many keys is done where it was asked; a larger one might keep a network thread busy
/// for milliseconds and goes to a thread of its own.
const KEYS_INLINE_MAX: u64 = 256;

/// Large reads that run at once; more wait for their turn. Each may hold an answer of any size in memory.
pub(crate) const LARGE_READS_MAX: usize = 32;

/// The rooms and the way into the log, shared by requests and chores.
pub(crate) struct House {
    pub(crate) driver: Driver<WriteTicket, ReadTicket>,
    pub(crate) wing: Arc<Wing>,
    pub(crate) shared: Arc<Shared>,
}

impl House {
    /// Proposes a chore of the member's own. Nobody waits for it: the next round sees whether it happened.
    pub(crate) fn propose_silently(&self, command: &Command, ticket: WriteTicket) {
        // Nobody else is about to enter from here: the nudge is dropped at once.
        if self.driver.propose(command.encode(), Kind::Normal, ticket).is_err() {
            tracing::debug!("a chore was not proposed: the member is busy or stopping");
        }
    }
}

/// A running member of a cluster.
pub struct Member {
    pub(crate) house: Arc<House>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) large_reads: Arc<Semaphore>,
    pub(crate) cluster: ClusterId,
    pub(crate) id: MemberId,
    pub(crate) limits: Limits,
    pub(crate) quota_bytes: u64,
    pub(crate) v2_enabled: bool,
    pub(crate) request_timeout: Duration,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) measures: Measures,
    pub(crate) applier: Arc<Applier>,
    pub(crate) chores: Arc<Mailbox<()>>,
    pub(crate) threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Member {
    /// This member's id.
    pub fn id(&self) -> MemberId {
        self.id
    }

    /// The cluster's id.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Waits until this member cannot go on, and tells why. The process should end then.
    pub async fn failed(&self) -> String {
        self.house.shared.failed().await
    }

    /// Waits until the cluster knows this member by its name and URLs: then it serves.
    pub async fn ready(&self) {
        // Told by the timekeeper, which looks four times a second; a start is not a hot path.
        let mut look = tokio::time::interval(Duration::from_millis(10));
        while self.house.wing.look().members.get(self.id).is_none_or(|member| member.client_urls.is_empty())
            || !self.house.shared.confirmed()
        {
            look.tick().await;
        }
    }

    /// Stops every thread and puts everything into files, so that the next start has nothing to replay.
    /// Blocks for as long as that takes.
    pub fn stop(&self) {
        self.chores.close();
        self.house.driver.stop();
        self.applier.close();
        for thread in self.threads.lock().drain(..) {
            // A panic was reported by its thread; what it did not do, the next start replays.
            let _ = thread.join();
        }
        if !self.house.shared.has_failed()
            && let Err(error) = self.house.wing.look().store.flush()
        {
            tracing::error!(
                error = chain(&error),
                "the database was not flushed; the next start replays the log"
            );
        }
    }

    async fn write(&self, command: Command) -> Result<Outcome, Fault> {
        let data = command.encode();
        self.propose(data).await
    }

    async fn propose(&self, data: Bytes) -> Result<Outcome, Fault> {
        if data.len() > self.limits.request_bytes_max {
            return Err(Fault::RequestTooLarge);
        }
        if self.house.shared.has_failed() {
            return Err(Fault::Stopped);
        }
        let permit = self.admission.admit(data.len())?;
        let (reply, outcome) = oneshot::channel();
        let nudge = self
            .house
            .driver
            .propose(data, Kind::Normal, WriteTicket::waited_for(reply, permit))
            .map_err(refused)?;
        let_others_in(nudge).await;
        match timeout(self.request_timeout, outcome).await {
            Ok(Ok(outcome)) => Ok(outcome),
            // The ticket went without an outcome: the member stops, or another leader's entry took its place.
            Ok(Err(_)) => Err(if self.house.shared.has_failed() { Fault::Stopped } else { Fault::TimedOut }),
            Err(_) => {
                self.measures.proposals_failed.increment(1);
                Err(self.timed_out())
            }
        }
    }

    /// Waits until this member has applied everything that was committed when the read began.
    async fn linearize(&self, consistency: Consistency) -> Result<(), Fault> {
        if self.house.shared.has_failed() {
            return Err(Fault::Stopped);
        }
        if consistency == Consistency::Serializable {
            return Ok(());
        }
        let (release, released) = oneshot::channel();
        let nudge = self.house.driver.read(ReadTicket(release)).map_err(refused)?;
        let_others_in(nudge).await;
        match timeout(self.request_timeout, released).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Fault::Stopped),
            Err(_) => {
                self.measures.read_indexes_failed.increment(1);
                Err(self.timed_out())
            }
        }
    }

    fn timed_out(&self) -> Fault {
        if self.house.shared.leader() == MemberId(0) { Fault::NoLeader } else { Fault::TimedOut }
    }

    fn header_at(&self, revision: Revision) -> Header {
        Header { cluster: self.cluster, member: self.id, revision, term: self.house.shared.term() }
    }

    fn reply<T>(&self, revision: Revision, body: T) -> Reply<T> {
        Reply { header: self.header_at(revision), body }
    }

    // Runs a read that may take long away from the network threads.
    async fn aside<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Rooms) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let turn = Arc::clone(&self.large_reads).acquire_owned().await.map_err(|_| Fault::Stopped)?;
        let rooms = self.house.wing.enter();
        let reading = tokio::task::spawn_blocking(move || {
            // With the read and not with the caller, who may be gone before it ends.
            let _turn = turn;
            read(&rooms)
        });
        reading.await.map_err(|_| Fault::Stopped)
    }

    fn is_small(&self, query: &RangeQuery) -> bool {
        query.count_only
            || query.range.as_single().is_some()
            || (1..=KEYS_INLINE_MAX).contains(&query.limit) && !reads_all(query)
            || self.house.wing.look().mvcc.key_count() <= KEYS_INLINE_MAX && query.at.is_none()
    }

    fn v2_reply(&self, result: Result<v2::Event, v2::Refusal>) -> V2Reply {
        let shared = &self.house.shared;
        V2Reply { result, raft_index: shared.commit(), raft_term: shared.term() }
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.clock.wall_ns())
    }
}

// Tasks that this thread has yet to run may be about to enter too: one waking serves all of them.
async fn let_others_in(nudge: Option<Nudge>) {
    if nudge.is_some() {
        tokio::task::yield_now().await;
    }
}

// With a sort or a filter the limit comes last, after everything was looked at.
fn reads_all(query: &RangeQuery) -> bool {
    query.order != types::SortOrder::None
        || query.target != types::SortTarget::Key
        || query.mod_bounds.is_bounded()
        || query.create_bounds.is_bounded()
}

fn refused(why: consensus::Refused) -> Fault {
    match why {
        consensus::Refused::Busy => Fault::TooManyRequests,
        consensus::Refused::Stopped => Fault::Stopped,
    }
}

fn done(result: Result<Effect, Refused>) -> Result<Effect, Fault> {
    result.map_err(|why| match why {
        Refused::KeyNotFound => Fault::KeyNotFound,
        Refused::LeaseNotFound => Fault::LeaseNotFound,
        Refused::Compacted => Fault::Compacted,
        Refused::FutureRevision => Fault::FutureRevision,
        Refused::NoSpace => Fault::NoSpace,
        Refused::Member(why) => match why {
            MemberRefusal::Exists => Fault::MemberExists,
            MemberRefusal::Removed => Fault::MemberRemoved,
            MemberRefusal::UrlExists => Fault::PeerUrlExists,
            MemberRefusal::NotFound => Fault::MemberNotFound,
            MemberRefusal::NotLearner => Fault::MemberNotLearner,
            MemberRefusal::TooManyLearners => Fault::TooManyLearners,
            MemberRefusal::LastVoter => Fault::NotEnoughStarted,
        },
    })
}

fn unreadable(error: ReadError) -> Fault {
    match error {
        ReadError::Compacted => Fault::Compacted,
        ReadError::FutureRevision => Fault::FutureRevision,
        damage => {
            tracing::error!(error = chain(&damage), "a read failed; check this member's disk");
            Fault::Broken(format!("kvorum: {damage}"))
        }
    }
}

// Cannot happen: a command's outcome is of its kind. It is an answer all the same, and not a panic.
fn odd() -> Fault {
    Fault::Broken("kvorum: the outcome of a request is of another kind".to_owned())
}

#[async_trait]
impl api::Member for Member {
    fn header(&self) -> Header {
        self.header_at(self.house.wing.look().mvcc.revision())
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
        self.measures.ranges.increment(1);
        let (revision, reply) = if self.is_small(&query) {
            self.house.wing.look().mvcc.range(&query)
        } else {
            self.aside(move |rooms| rooms.mvcc.range(&query)).await?
        }
        .map_err(unreadable)?;
        Ok(self.reply(revision, reply))
    }

    async fn put(&self, put: Put) -> Result<Reply<PutReply>, Fault> {
        let outcome = self.write(Command::Put(put)).await?;
        match done(outcome.result)? {
            Effect::Put(reply) => {
                self.measures.puts.increment(1);
                Ok(self.reply(outcome.revision, reply))
            }
            _ => Err(odd()),
        }
    }

    async fn delete_range(&self, delete: DeleteRange) -> Result<Reply<DeleteReply>, Fault> {
        let outcome = self.write(Command::DeleteRange(delete)).await?;
        match done(outcome.result)? {
            Effect::DeleteRange(reply) => {
                self.measures.deletes.increment(1);
                Ok(self.reply(outcome.revision, reply))
            }
            _ => Err(odd()),
        }
    }

    async fn txn(&self, txn: Txn, serializable_reads: bool) -> Result<Reply<TxnReply>, Fault> {
        if txn.is_read_only() {
            let consistency =
                if serializable_reads { Consistency::Serializable } else { Consistency::Linearizable };
            self.linearize(consistency).await?;
            let (revision, reply) =
                self.aside(move |rooms| rooms.mvcc.read_txn(&txn)).await?.map_err(unreadable)?;
            return Ok(self.reply(revision, reply));
        }
        let outcome = self.write(Command::Txn(txn)).await?;
        match done(outcome.result)? {
            Effect::Txn(reply) => {
                self.measures.txns.increment(1);
                Ok(self.reply(outcome.revision, reply))
            }
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
                _ = self.house.shared.failed() => return Err(Fault::Stopped),
            }
        }
        Ok(self.reply(outcome.revision, ()))
    }

    async fn hash(&self) -> Result<Reply<u32>, Fault> {
        let hash = self.aside(|rooms| rooms.mvcc.hash()).await?.map_err(unreadable)?;
        Ok(self.reply(self.house.wing.look().mvcc.revision(), hash))
    }

    async fn hash_kv(&self, revision: Option<Revision>) -> Result<Reply<KvHash>, Fault> {
        let hash = self.aside(move |rooms| rooms.mvcc.hash_kv(revision)).await?.map_err(unreadable)?;
        let body = KvHash { hash: hash.hash, compacted: hash.compacted, revision: hash.revision };
        Ok(self.reply(self.house.wing.look().mvcc.revision(), body))
    }

    async fn status(&self) -> Result<Reply<Status>, Fault> {
        let shared = &self.house.shared;
        let leader = shared.leader();
        let mut errors = Vec::new();
        if leader == MemberId(0) {
            errors.push(Fault::NoLeader.text().to_owned());
        }
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
        Ok(self.reply(self.house.wing.look().mvcc.revision(), body))
    }

    async fn members(&self, consistency: Consistency) -> Result<Reply<Vec<MemberRecord>>, Fault> {
        self.linearize(consistency).await?;
        // The header of the Cluster service carries no revision.
        Ok(self.reply(Revision::default(), self.house.wing.look().members.list()))
    }

    async fn member_add(&self, _peer_urls: Vec<MemberUrl>, _learner: bool) -> Result<Reply<Added>, Fault> {
        Err(Fault::Unserved)
    }

    async fn member_remove(&self, _id: MemberId) -> Result<Reply<Vec<MemberRecord>>, Fault> {
        Err(Fault::Unserved)
    }

    async fn member_update(
        &self,
        _id: MemberId,
        _peer_urls: Vec<MemberUrl>,
    ) -> Result<Reply<Vec<MemberRecord>>, Fault> {
        Err(Fault::Unserved)
    }

    async fn member_promote(&self, _id: MemberId) -> Result<Reply<Vec<MemberRecord>>, Fault> {
        Err(Fault::Unserved)
    }

    async fn move_leader(&self, _target: MemberId) -> Result<(), Fault> {
        Err(Fault::Unserved)
    }

    async fn alarm(&self, _action: AlarmAction) -> Result<Reply<Vec<Alarm>>, Fault> {
        Err(Fault::Unserved)
    }

    async fn v2_get(&self, get: v2::Get, consistency: Consistency) -> Result<V2Reply, Fault> {
        self.linearize(consistency).await?;
        Ok(self.v2_reply(self.house.wing.look().v2.get(&get, self.now())))
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
        let outcome = self.write(Command::V2 { write, now }).await?;
        match done(outcome.result)? {
            Effect::V2(Ok(events)) => Ok(self.v2_reply(Ok(events.into_iter().next().ok_or_else(odd)?))),
            Effect::V2(Err(refusal)) => Ok(self.v2_reply(Err(refusal))),
            _ => Err(odd()),
        }
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

impl Drop for Member {
    fn drop(&mut self) {
        self.stop();
    }
}
