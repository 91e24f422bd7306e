//! What the threads of a member tell one another without asking: positions, standing, and whether it failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use consensus::{Role, Standing};
use tokio::sync::watch;
use types::{Index, MemberId, Revision, Term};

use crate::counting::Counts;

/// Why a member takes no more part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It cannot go on: the sentence says why.
    Failed(String),
    /// The cluster does without it from now on.
    Removed,
}

/// What etcd says of a member that was removed.
pub(crate) const REMOVED: &str = "the member has been permanently removed from the cluster";

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Failed(reason) => reason,
            Self::Removed => REMOVED,
        })
    }
}

/// See the module. Every number is a copy; the owner of the truth writes it, everybody reads it.
pub(crate) struct Shared {
    applied: Arc<AtomicU64>,
    term: AtomicU64,
    leader: AtomicU64,
    commit: AtomicU64,
    leads: AtomicBool,
    confirmed: AtomicBool,
    corrupt: AtomicBool,
    compared: AtomicBool,
    departed: AtomicBool,
    leader_changes: AtomicU64,
    born: Instant,
    // When the leader of now was first heard of, in ms since `born`.
    elected_ms: AtomicU64,
    applied_bytes: AtomicU64,
    released: AtomicU64,
    // All ones where there is no archive.
    archived: AtomicU64,
    end: watch::Sender<Option<End>>,
    stopping: watch::Sender<bool>,
    // The same as `leader`, for those who wait for another.
    led: watch::Sender<MemberId>,
    swept: watch::Sender<Revision>,
    pub(crate) counts: Counts,
}

impl Shared {
    pub(crate) fn new(applied: Index) -> Self {
        Self {
            applied: Arc::new(AtomicU64::new(applied.0)),
            term: AtomicU64::new(0),
            leader: AtomicU64::new(0),
            commit: AtomicU64::new(applied.0),
            leads: AtomicBool::new(false),
            confirmed: AtomicBool::new(false),
            corrupt: AtomicBool::new(false),
            compared: AtomicBool::new(false),
            departed: AtomicBool::new(false),
            leader_changes: AtomicU64::new(0),
            born: Instant::now(),
            elected_ms: AtomicU64::new(0),
            applied_bytes: AtomicU64::new(0),
            released: AtomicU64::new(0),
            archived: AtomicU64::new(u64::MAX),
            end: watch::Sender::new(None),
            stopping: watch::Sender::new(false),
            led: watch::Sender::new(MemberId(0)),
            swept: watch::Sender::new(Revision::default()),
            counts: Counts::default(),
        }
    }

    /// The number that consensus reads to know how far the machine got.
    pub(crate) fn applied_number(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.applied)
    }

    pub(crate) fn applied(&self) -> Index {
        Index(self.applied.load(Ordering::Acquire))
    }

    /// Called after the effects are visible to readers.
    pub(crate) fn set_applied(&self, index: Index, bytes: u64) {
        self.applied_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.applied.store(index.0, Ordering::Release);
    }

    /// Bytes of log applied in this life.
    pub(crate) fn applied_bytes(&self) -> u64 {
        self.applied_bytes.load(Ordering::Relaxed)
    }

    /// Up to where the log was let go in this life.
    #[cfg(test)]
    pub(crate) fn released(&self) -> Index {
        Index(self.released.load(Ordering::Relaxed))
    }

    /// The log behind this entry is still needed for the archive.
    pub(crate) fn archived(&self) -> Index {
        Index(self.archived.load(Ordering::Acquire))
    }

    /// `None` lets the log go, whatever is in the archive.
    pub(crate) fn set_archived(&self, index: Option<Index>) {
        self.archived.store(index.map_or(u64::MAX, |index| index.0), Ordering::Release);
    }

    pub(crate) fn set_released(&self, index: Index) {
        self.released.store(index.0, Ordering::Relaxed);
    }

    pub(crate) fn set_standing(&self, standing: Standing) {
        let before = self.leader.swap(standing.leader.0, Ordering::Relaxed);
        if before != standing.leader.0 {
            self.led.send_replace(standing.leader);
        }
        if before != standing.leader.0 && standing.leader.0 != 0 {
            self.leader_changes.fetch_add(1, Ordering::Relaxed);
            self.elected_ms.store(self.born.elapsed().as_millis() as u64, Ordering::Relaxed);
        }
        self.term.store(standing.term.0, Ordering::Relaxed);
        self.commit.store(standing.commit.0, Ordering::Relaxed);
        self.leads.store(standing.role == Role::Leader, Ordering::Relaxed);
        self.confirmed.store(standing.confirmed, Ordering::Release);
    }

    pub(crate) fn term(&self) -> Term {
        Term(self.term.load(Ordering::Relaxed))
    }

    pub(crate) fn leader(&self) -> MemberId {
        MemberId(self.leader.load(Ordering::Relaxed))
    }

    /// Until `leader` leads no more, as far as this member knows.
    pub(crate) async fn deposed(&self, leader: MemberId) {
        let mut led = self.led.subscribe();
        // The sender lives as long as `self`.
        let _ = led.wait_for(|now| *now != leader).await;
    }

    pub(crate) fn commit(&self) -> Index {
        // A commit that the state machine has seen is one, even if the news of it is still on its way here.
        Index(self.commit.load(Ordering::Relaxed)).max(self.applied())
    }

    pub(crate) fn leads(&self) -> bool {
        self.leads.load(Ordering::Relaxed)
    }

    /// Whether this member leads and has committed in its term: its chores may act for the cluster.
    pub(crate) fn confirmed(&self) -> bool {
        self.confirmed.load(Ordering::Acquire)
    }

    pub(crate) fn leader_changes(&self) -> u64 {
        self.leader_changes.load(Ordering::Relaxed)
    }

    /// How long this life has lasted.
    pub(crate) fn age(&self) -> Duration {
        self.born.elapsed()
    }

    /// How long the leader of now has led, as far as this member heard.
    pub(crate) fn leads_since(&self) -> Duration {
        let elected = Duration::from_millis(self.elected_ms.load(Ordering::Relaxed));
        self.born.elapsed().saturating_sub(elected)
    }

    /// Whether the cluster found out that this member holds other data than the rest.
    pub(crate) fn is_corrupt(&self) -> bool {
        self.corrupt.load(Ordering::Relaxed)
    }

    pub(crate) fn set_corrupt(&self, corrupt: bool) {
        self.corrupt.store(corrupt, Ordering::Relaxed);
    }

    /// Whether this member has applied its own removal; it stays for a moment, so that the others hear of it.
    pub(crate) fn has_departed(&self) -> bool {
        self.departed.load(Ordering::Acquire)
    }

    pub(crate) fn set_departed(&self) {
        self.departed.store(true, Ordering::Release);
    }

    /// Whether this member was compared with the others since it started.
    pub(crate) fn was_compared(&self) -> bool {
        self.compared.load(Ordering::Acquire)
    }

    pub(crate) fn set_compared(&self) {
        self.compared.store(true, Ordering::Release);
    }

    /// Ends the member because it cannot go on.
    pub(crate) fn fail(&self, reason: String) {
        self.end(End::Failed(reason));
    }

    /// Ends the member, for the first reason given.
    pub(crate) fn end(&self, reason: End) {
        self.end.send_if_modified(|end| {
            let first = end.is_none();
            if first {
                match &reason {
                    End::Failed(reason) => tracing::error!(
                        reason,
                        "the member cannot go on and stops; nothing acknowledged is lost"
                    ),
                    End::Removed => tracing::error!(error = REMOVED, "server error"),
                }
                *end = Some(reason);
            }
            first
        });
    }

    /// Whether it has ended, for whatever reason.
    pub(crate) fn has_ended(&self) -> bool {
        self.end.borrow().is_some()
    }

    /// What waits for other members waits in vain from now on.
    pub(crate) fn set_stopping(&self) {
        self.stopping.send_replace(true);
    }

    /// Whether the member stops.
    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Until the member stops.
    pub(crate) async fn stopping(&self) {
        let mut stopping = self.stopping.subscribe();
        // The sender lives as long as `self`.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }

    /// Whether its files may be in disorder.
    pub(crate) fn has_failed(&self) -> bool {
        matches!(*self.end.borrow(), Some(End::Failed(_)))
    }

    /// The reason of the end; waits for it.
    pub(crate) async fn ended(&self) -> End {
        let mut end = self.end.subscribe();
        match end.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or(End::Removed),
            // The sender lives as long as `self`.
            Err(_) => End::Removed,
        }
    }

    /// History before `revision` is gone from disk.
    pub(crate) fn set_swept(&self, revision: Revision) {
        self.swept.send_replace(revision);
    }

    /// Waits until history before `revision` is gone from disk.
    pub(crate) async fn swept(&self, revision: Revision) {
        let mut swept = self.swept.subscribe();
        // The sender lives as long as `self`.
        let _ = swept.wait_for(|done| *done >= revision).await;
    }
}
