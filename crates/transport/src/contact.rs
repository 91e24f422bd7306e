//! Another member as the transport knows it: its URLs, its two queues, how it stands with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use types::MemberId;

use crate::queue::Queue;
use crate::{Config, Lane, PeerHealth};

/// A peer. It lives as long as its senders run.
#[derive(Debug)]
pub(crate) struct Contact {
    pub(crate) id: MemberId,
    urls: Mutex<Arc<[String]>>,
    vital: Queue,
    bulk: Queue,
    standing: Mutex<Standing>,
    /// It is in the list of peers; otherwise it only came by itself.
    invited: AtomicBool,
    pub(crate) sent_bytes: AtomicU64,
    pub(crate) received_bytes: AtomicU64,
    losses: AtomicU64,
    /// The peer is there: whoever pauses before the next attempt need not.
    pub(crate) hurry: Notify,
    pub(crate) stop: CancellationToken,
}

#[derive(Debug, Default)]
struct Standing {
    connected_since: Option<Instant>,
    round_trip: Option<Duration>,
    /// Why the last attempt failed; it was logged.
    trouble: Option<String>,
}

impl Contact {
    pub(crate) fn new(
        id: MemberId,
        urls: &[String],
        invited: bool,
        config: &Config,
        stop: CancellationToken,
    ) -> Self {
        Self {
            id,
            urls: Mutex::new(urls.into()),
            vital: Queue::new(config.queue_bytes_max),
            bulk: Queue::new(config.queue_bytes_max),
            standing: Mutex::default(),
            invited: AtomicBool::new(invited),
            sent_bytes: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            losses: AtomicU64::new(0),
            hurry: Notify::new(),
            stop,
        }
    }

    pub(crate) fn queue(&self, lane: Lane) -> &Queue {
        match lane {
            Lane::Vital => &self.vital,
            Lane::Bulk => &self.bulk,
        }
    }

    pub(crate) fn urls(&self) -> Arc<[String]> {
        self.urls.lock().clone()
    }

    /// It is in the list, and this is where it can be reached from now on.
    pub(crate) fn invite(&self, urls: &[String]) {
        self.invited.store(true, Ordering::Relaxed);
        let mut known = self.urls.lock();
        if known[..] != *urls {
            *known = urls.into();
            drop(known);
            self.hurry.notify_waiters();
        }
    }

    pub(crate) fn is_invited(&self) -> bool {
        self.invited.load(Ordering::Relaxed)
    }

    /// A stream to it stands.
    pub(crate) fn opened(&self, lane: Lane) {
        self.queue(lane).open();
        if lane == Lane::Vital {
            let mut standing = self.standing.lock();
            standing.connected_since = Some(Instant::now());
            standing.trouble = None;
            drop(standing);
            tracing::info!({ "remote-peer-id" } = %self.id, "peer became active");
        }
    }

    /// The stream to it is gone, if there was one. Returns whether there was.
    pub(crate) fn closed(&self, lane: Lane) -> bool {
        if lane == Lane::Vital {
            let mut standing = self.standing.lock();
            (standing.connected_since, standing.round_trip) = (None, None);
        }
        let queue = self.queue(lane);
        let was_open = queue.is_open();
        self.losses.fetch_add(was_open.into(), Ordering::Relaxed);
        queue.close();
        was_open
    }

    /// Logs why there is no stream, unless it was the reason already.
    pub(crate) fn trouble(&self, reason: &str) {
        let mut standing = self.standing.lock();
        if standing.trouble.as_deref() != Some(reason) {
            standing.trouble = Some(reason.to_owned());
            drop(standing);
            tracing::warn!({ "remote-peer-id" } = %self.id, error = reason, "peer became inactive");
        }
    }

    pub(crate) fn answered_after(&self, round_trip: Duration) {
        self.standing.lock().round_trip = Some(round_trip);
    }

    pub(crate) fn health(&self) -> PeerHealth {
        let standing = self.standing.lock();
        PeerHealth {
            id: self.id,
            connected_since: standing.connected_since,
            round_trip: standing.round_trip,
            sent_bytes: self.sent_bytes.load(Ordering::Relaxed),
            received_bytes: self.received_bytes.load(Ordering::Relaxed),
            losses: self.losses.load(Ordering::Relaxed),
            dropped_frames: self.vital.dropped() + self.bulk.dropped(),
        }
    }
}
