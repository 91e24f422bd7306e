//! What the threads of a member tell one another without asking: positions, standing, and whether it failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use consensus::{Role, Standing};
use tokio::sync::watch;
use types::{Index, MemberId, Revision, Term};

/// See the module. Every number is a copy; the owner of the truth writes it, everybody reads it.
pub(crate) struct Shared {
    applied: Arc<AtomicU64>,
    term: AtomicU64,
    leader: AtomicU64,
    commit: AtomicU64,
    leads: AtomicBool,
    confirmed: AtomicBool,
    leader_changes: AtomicU64,
    applied_bytes: AtomicU64,
    failure: watch::Sender<Option<String>>,
    swept: watch::Sender<Revision>,
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
            leader_changes: AtomicU64::new(0),
            applied_bytes: AtomicU64::new(0),
            failure: watch::Sender::new(None),
            swept: watch::Sender::new(Revision::default()),
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

    pub(crate) fn set_standing(&self, standing: Standing) {
        let before = self.leader.swap(standing.leader.0, Ordering::Relaxed);
        if before != standing.leader.0 && standing.leader.0 != 0 {
            self.leader_changes.fetch_add(1, Ordering::Relaxed);
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

    /// Ends the member, with the first reason given.
    pub(crate) fn fail(&self, reason: String) {
        self.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            if first {
                tracing::error!(reason, "the member cannot go on and stops; nothing acknowledged is lost");
                *failure = Some(reason);
            }
            first
        });
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failure.borrow().is_some()
    }

    /// The reason of the end; waits for it.
    pub(crate) async fn failed(&self) -> String {
        let mut failure = self.failure.subscribe();
        match failure.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            // The sender lives as long as `self`.
            Err(_) => String::new(),
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
