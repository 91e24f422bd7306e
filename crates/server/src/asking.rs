//! How a request goes into the house and waits: proposed by a ticket, or read at an index.
//!
//! Neither holds a lock while it waits.

use std::sync::Arc;
use std::time::Duration;

use api::{Consistency, Fault, Header, Reply, V2Reply};
use bytes::Bytes;
use command::{Command, Effect, Outcome, Refused};
use consensus::{Kind, NotTaken};
use mvcc::ReadError;
use stdx::chain;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;
use types::v2::{self, Timestamp};
use types::{MemberId, MemberRefusal, RangeQuery, Revision};

use crate::doorkeeper;
use crate::member::{House, Member, let_others_in};
use crate::rooms::{Rooms, Wing};
use crate::ticket::{Led, WriteTicket};

/// A read of at most this many keys is done where it was asked; a larger one might keep a network thread busy
/// for milliseconds and goes to a thread of its own.
const KEYS_INLINE_MAX: u64 = 256;

/// Large reads that run at once; more wait for their turn. Each may hold an answer of any size in memory.
pub(crate) const LARGE_READS_MAX: usize = 32;

/// Turns of large reads.
pub(crate) type LargeReads = Arc<Semaphore>;

impl Member {
    /// Writes what a client sent.
    pub(crate) async fn write(&self, command: Command) -> Result<Outcome, Fault> {
        if self.house.shared.is_corrupt() {
            return Err(Fault::Corrupt);
        }
        self.propose(command.encode(), Kind::Normal).await
    }

    /// Puts a command into the log and waits for its outcome.
    pub(crate) async fn propose(&self, data: Bytes, kind: Kind) -> Result<Outcome, Fault> {
        if data.len() > self.limits.request_bytes_max {
            return Err(Fault::RequestTooLarge);
        }
        if self.house.shared.has_ended() {
            return Err(Fault::Stopped);
        }
        let permit = self.admission.admit(data.len())?;
        let (reply, outcome) = oneshot::channel();
        let ticket = WriteTicket::waited_for(reply, permit);
        let nudge = self.house.driver.propose(data, kind, ticket).map_err(refused)?;
        let_others_in(nudge).await;
        match timeout(self.request_timeout, outcome).await {
            Ok(Ok(Ok(outcome))) => Ok(outcome),
            Ok(Ok(Err(why))) => {
                self.measures.proposals_failed.increment(1);
                Err(self.not_taken(why))
            }
            // The ticket went without a word: the member stops, or a snapshot came over it.
            Ok(Err(_)) => Err(if self.house.shared.has_ended() { Fault::Stopped } else { Fault::TimedOut }),
            Err(_) => {
                self.measures.proposals_failed.increment(1);
                Err(self.timed_out())
            }
        }
    }

    /// Waits until this member may answer a client's read.
    pub(crate) async fn linearize(&self, consistency: Consistency) -> Result<(), Fault> {
        if self.house.shared.is_corrupt() {
            return Err(Fault::Corrupt);
        }
        self.catch_up(consistency).await
    }

    /// Waits until this member has applied everything that was committed when the read began.
    pub(crate) async fn catch_up(&self, consistency: Consistency) -> Result<(), Fault> {
        if self.house.shared.has_ended() {
            return Err(Fault::Stopped);
        }
        if consistency == Consistency::Serializable {
            return Ok(());
        }
        self.confirm().await.map(|_| ())
    }

    /// The same for a linearizable read, and tells who was confirmed to lead meanwhile.
    pub(crate) async fn confirm(&self) -> Result<Led, Fault> {
        match timeout(self.request_timeout, self.house.confirm()).await {
            Ok(Ok(Some(leader))) => Ok(leader),
            Ok(Err(why)) => Err(refused(why)),
            // Nobody led for too long, or the member stops.
            Ok(Ok(None)) => {
                Err(if self.house.shared.has_ended() { Fault::Stopped } else { self.timed_out() })
            }
            Err(_) => {
                self.measures.read_indexes_failed.increment(1);
                self.measures.work.slow_reads.increment(1);
                Err(self.timed_out())
            }
        }
    }

    /// A read that failed.
    pub(crate) fn unreadable(&self, error: ReadError) -> Fault {
        self.house.unreadable(error)
    }

    fn not_taken(&self, why: NotTaken) -> Fault {
        match why {
            NotTaken::Overtaken | NotTaken::NotLeader => Fault::LeaderChanged,
            NotTaken::ChangePending => Fault::ChangePending,
            NotTaken::NotCaughtUp => Fault::LearnerNotReady,
            NotTaken::NoRoom if self.house.shared.leader() == MemberId(0) => self.timed_out(),
            NotTaken::NoRoom => Fault::TooManyRequests,
        }
    }

    // As etcd tells them apart.
    fn timed_out(&self) -> Fault {
        let shared = &self.house.shared;
        let leader = shared.leader();
        if leader == MemberId(0) {
            return Fault::TimedOut;
        }
        let waited = self.request_timeout;
        let led = shared.leads_since();
        if led < waited && waited < led + 2 * self.election {
            return Fault::TimedOutLeaderFailed;
        }
        let is_reached = if leader == self.id {
            self.reaches_quorum(waited)
        } else {
            self.house.transport.peers().iter().any(|peer| peer.id == leader && is_connected(peer, waited))
        };
        if is_reached { Fault::TimedOut } else { Fault::TimedOutConnectionLost }
    }

    // Whether most voters have been in touch for that long.
    fn reaches_quorum(&self, span: Duration) -> bool {
        let voters = self.house.wing.look().members.voters();
        let peers = self.house.transport.peers();
        let reached = peers.iter().filter(|peer| voters.contains(&peer.id) && is_connected(peer, span));
        reached.count() + usize::from(voters.contains(&self.id)) > voters.len() / 2
    }

    /// The keyspace's revision now.
    pub(crate) fn revision(&self) -> Revision {
        self.house.wing.look().mvcc.revision()
    }

    pub(crate) fn header_at(&self, revision: Revision) -> Header {
        Header { cluster: self.cluster, member: self.id, revision, term: self.house.shared.term() }
    }

    pub(crate) fn reply<T>(&self, revision: Revision, body: T) -> Reply<T> {
        Reply { header: self.header_at(revision), body }
    }

    /// Runs a read that may take long away from the network threads.
    pub(crate) async fn aside<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Rooms) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        aside(&self.large_reads, &self.house.wing, read).await
    }

    pub(crate) fn is_small(&self, query: &RangeQuery) -> bool {
        query.count_only
            || query.range.as_single().is_some()
            || (1..=KEYS_INLINE_MAX).contains(&query.limit) && !reads_all(query)
            || self.house.wing.look().mvcc.key_count() <= KEYS_INLINE_MAX && query.at.is_none()
    }

    pub(crate) fn v2_reply(&self, result: Result<Arc<v2::Event>, v2::Refusal>) -> V2Reply {
        let shared = &self.house.shared;
        V2Reply { result, raft_index: shared.commit(), raft_term: shared.term() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.clock.wall_ns())
    }
}

impl House {
    /// A read that failed. Damage ends the member: it may be anywhere, and others may have what this one lost.
    pub(crate) fn unreadable(&self, error: ReadError) -> Fault {
        match error {
            ReadError::Compacted => Fault::Compacted,
            ReadError::FutureRevision => Fault::FutureRevision,
            damage => {
                self.shared.fail(format!(
                    "the database of this member is damaged or its disk is: {}; check the disk, remove this member, \
                     empty its data folder and add it anew, or bring the folder back from a copy",
                    chain(&damage)
                ));
                Fault::Stopped
            }
        }
    }
}

/// Runs a read that may take long on a thread of its own, when it is its turn.
pub(crate) async fn aside<T: Send + 'static>(
    turns: &LargeReads,
    wing: &Wing,
    read: impl FnOnce(&Rooms) -> T + Send + 'static,
) -> Result<T, Fault> {
    let turn = Arc::clone(turns).acquire_owned().await.map_err(|_| Fault::Stopped)?;
    let rooms = wing.enter();
    let reading = tokio::task::spawn_blocking(move || {
        // With the read and not with the caller, who may be gone before it ends.
        let _turn = turn;
        read(&rooms)
    });
    reading.await.map_err(|_| Fault::Stopped)
}

/// Whether a peer has been connected for that long without a break.
pub(crate) fn is_connected(peer: &transport::PeerHealth, span: Duration) -> bool {
    peer.connected_since.is_some_and(|since| since.elapsed() >= span)
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

pub(crate) fn done(result: Result<Effect, Refused>) -> Result<Effect, Fault> {
    result.map_err(|why| match why {
        Refused::KeyNotFound => Fault::KeyNotFound,
        Refused::LeaseNotFound => Fault::LeaseNotFound,
        Refused::Compacted => Fault::Compacted,
        Refused::FutureRevision => Fault::FutureRevision,
        Refused::NoSpace => Fault::NoSpace,
        Refused::LeaseExists => Fault::LeaseExists,
        Refused::LeaseTtlTooLarge => Fault::LeaseTtlTooLarge,
        Refused::TooManyLeases => Fault::TooManyLeases,
        Refused::Member(why) => refusal(why),
        Refused::Auth(why) => doorkeeper::refused(why),
    })
}

pub(crate) fn refusal(why: MemberRefusal) -> Fault {
    match why {
        MemberRefusal::Exists => Fault::MemberExists,
        MemberRefusal::Removed => Fault::MemberRemoved,
        MemberRefusal::UrlExists => Fault::PeerUrlExists,
        MemberRefusal::NotFound => Fault::MemberNotFound,
        MemberRefusal::NotLearner => Fault::MemberNotLearner,
        MemberRefusal::TooManyLearners => Fault::TooManyLearners,
        MemberRefusal::LastVoter => Fault::NotEnoughStarted,
    }
}

// Cannot happen: a command's outcome is of its kind. It is an answer all the same, and not a panic.
pub(crate) fn odd() -> Fault {
    Fault::Broken("kvorum: the outcome of a request is of another kind".to_owned())
}
