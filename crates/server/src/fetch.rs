//! Fetches a snapshot that a leader offers, into a folder, piece by piece, goes on where it was broken off, and
//! prepares a machine from it.
//!
//! It runs on the thread of errands, with a runtime of its own: neither checking nor writing nor reading a million
//! keys delays a heartbeat.
//!
//! INVARIANT: what is reported as fetched is whole, checked, durable and can be installed.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use consensus::{Door, SnapshotOffer};
use parking_lot::Mutex;
use snap::{Manifest, Receiver, SnapshotId, prune};
use stdx::chain;
use tokio::sync::watch;
use transport::Transport;
use types::{ClusterId, Index};

use crate::shared::Shared;
use crate::site::{Prepared, Site};
use crate::ticket::{ReadTicket, WriteTicket};
use crate::work::WorkMeasures;

/// A manifest may be that large, in bytes: enough for a terabyte in chunks of a mebibyte.
const MANIFEST_BYTES_MAX: usize = 64 << 20;
/// So often in a row it may break off without a byte having come.
const BREAKS_MAX: u32 = 5;
/// The pause after a break.
const PAUSE: Duration = Duration::from_millis(200);
/// So many may wait to be installed: one that raft is about to take, and a newer one. A third cannot be fetched, and the
/// leader offers one again later.
const PREPARED_MAX: usize = 2;
/// What was received in part is gone on with in this time, also by the next life of this member; then it goes. No
/// leader keeps a snapshot for longer that nobody fetches.
const IDLE_MAX: Duration = Duration::from_mins(1);

/// See the module.
pub(crate) struct Fetcher {
    cluster: ClusterId,
    // Where databases lie; nothing if this member's is not in a folder.
    site: Option<Arc<Site>>,
    transport: Arc<Transport>,
    door: Door<WriteTicket, ReadTicket>,
    shared: Arc<Shared>,
    work: WorkMeasures,
    wanted: watch::Sender<Option<SnapshotOffer>>,
    // To be installed, perhaps.
    prepared: Mutex<Vec<Prepared>>,
    // When the last attempt ended.
    idle_since: Mutex<Instant>,
}

/// Why there is no snapshot.
enum Break {
    /// Another one is wanted, or none any more.
    Superseded,
    /// It cannot be had.
    Failed(String),
    /// It is here and cannot be used.
    Unfit(String),
}

impl Fetcher {
    pub(crate) fn new(
        cluster: ClusterId,
        site: Option<Arc<Site>>,
        transport: Arc<Transport>,
        door: Door<WriteTicket, ReadTicket>,
        shared: Arc<Shared>,
        work: WorkMeasures,
    ) -> Self {
        let (wanted, prepared) = (watch::Sender::new(None), Mutex::default());
        let idle_since = Mutex::new(Instant::now());
        Self { cluster, site, transport, door, shared, work, wanted, prepared, idle_since }
    }

    /// From now on this one is wanted and no other. Returns at once.
    pub(crate) fn want(&self, offer: SnapshotOffer) {
        self.wanted.send_replace(Some(offer));
    }

    /// One that was fetched. Older ones are of no use any more: it is about to be installed.
    pub(crate) fn take(&self, id: SnapshotId) -> Option<Prepared> {
        let mut prepared = self.prepared.lock();
        let at = prepared.iter().position(|known| known.id() == id)?;
        let taken = prepared.swap_remove(at);
        drop(prepared);
        self.discard_to(id.index);
        Some(taken)
    }

    /// Removes what was fetched in vain: the log has brought it since, or nobody goes on with it. Not to be called
    /// while something is being fetched.
    pub(crate) fn clean(&self) {
        let applied = self.shared.applied();
        self.discard_to(applied);
        let Some(site) = &self.site else { return };
        let is_idle = self.idle_since.lock().elapsed() > IDLE_MAX;
        let is_kept = |name: &str| {
            let received = name.strip_suffix(".recv").map(str::parse::<SnapshotId>);
            received.is_none_or(|id| id.is_ok_and(|id| id.index > applied && !is_idle))
        };
        if let Err(error) = prune(&site.snap(), is_kept) {
            tracing::warn!(%error, "cannot remove what is left of a snapshot");
        }
    }

    // raft takes no snapshot of what is applied: these are in nobody's hands.
    fn discard_to(&self, index: Index) {
        let Some(site) = &self.site else { return };
        let useless: Vec<_> =
            self.prepared.lock().extract_if(.., |known| known.id().index <= index).collect();
        for prepared in useless {
            site.discard(prepared);
        }
    }

    /// Fetches what is wanted.
    pub(crate) async fn fetch(&self) {
        let Some(offer) = self.wanted.borrow().clone() else { return };
        let text = String::from_utf8_lossy(&offer.mark.id).into_owned();
        let id = text.parse::<SnapshotId>();
        let named = SnapshotId { index: offer.mark.index, term: offer.mark.term };
        let ended = match (&self.site, id) {
            (Some(site), Ok(id)) if id == named => self.have(site, &offer, id).await,
            (None, _) => Err(Break::Failed("there is no folder for it".to_owned())),
            _ => Err(Break::Failed("it has a name that is none".to_owned())),
        };
        *self.idle_since.lock() = Instant::now();
        match ended {
            Ok(()) => self.door.snapshot_fetched(offer),
            Err(Break::Superseded) => {}
            Err(Break::Failed(reason)) => {
                tracing::warn!(from = %offer.from, snapshot = text, reason, "cannot fetch a snapshot");
                self.door.snapshot_failed(offer);
            }
            // What is whole and cannot be opened tells of this member's disk, or of a fault of the program.
            Err(Break::Unfit(reason)) => {
                let index = offer.mark.index;
                self.shared.fail(format!("cannot install the snapshot of index {index}: {reason}"));
            }
        }
    }

    /// Sees to it that a snapshot is here and can be installed.
    async fn have(&self, site: &Site, offer: &SnapshotOffer, id: SnapshotId) -> Result<(), Break> {
        {
            let prepared = self.prepared.lock();
            if prepared.iter().any(|known| known.id() == id) {
                return Ok(());
            }
            if prepared.len() >= PREPARED_MAX {
                return Err(Break::Failed("others wait to be installed".to_owned()));
            }
        }
        if site.is_taken(id) {
            return Err(Break::Failed("a database of that index is still in use".to_owned()));
        }
        let began = Instant::now();
        tracing::info!(from = %offer.from, snapshot = %id, "fetching a snapshot from the leader");
        let folder = site.snap();
        let receiving = self.work.receiving(offer.from);
        let fetched = tokio::select! {
            fetched = self.fetch_into(&folder, offer, id) => fetched,
            () = self.superseded(offer) => return Err(Break::Superseded),
        };
        let bytes = fetched.inspect_err(|_| receiving.failed())?;
        receiving.succeeded(began.elapsed());
        tracing::info!(from = %offer.from, snapshot = %id, bytes, took = ?began.elapsed(), "fetched a snapshot");
        let began = Instant::now();
        let prepared = site.prepare(&folder.join(id.receive_folder()), id).map_err(Break::Unfit)?;
        self.prepared.lock().push(prepared);
        tracing::info!(
            snapshot = %id, took = ?began.elapsed(),
            "read the keys of a snapshot; it takes the place of this member's state"
        );
        Ok(())
    }

    async fn fetch_into(&self, folder: &Path, offer: &SnapshotOffer, id: SnapshotId) -> Result<u64, Break> {
        Self::make_room(folder, id)?;
        let mut breaks = 0;
        let mut had = 0;
        loop {
            let broken = match self.attempt(folder, offer, id, &mut had).await {
                Ok(bytes) => return Ok(bytes),
                Err(Break::Failed(reason)) => reason,
                Err(end) => return Err(end),
            };
            let got = std::mem::take(&mut had);
            breaks = if got > 0 { 0 } else { breaks + 1 };
            if breaks >= BREAKS_MAX {
                return Err(Break::Failed(broken));
            }
            tracing::info!(reason = broken, "the snapshot broke off; going on where it was");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Removes what was collected of others.
    fn make_room(folder: &Path, id: SnapshotId) -> Result<(), Break> {
        let kept = id.receive_folder();
        prune(folder, |name| name.strip_suffix(".send").is_some() || name == kept)
            .map_err(|error| Break::Failed(error.to_string()))
    }

    async fn attempt(
        &self,
        folder: &Path,
        offer: &SnapshotOffer,
        id: SnapshotId,
        had: &mut u64,
    ) -> Result<u64, Break> {
        let path = format!("/kvorum/snapshot/{id}");
        let answer = self.transport.get(offer.from, &path).await.map_err(failed)?;
        let manifest = answer.whole(MANIFEST_BYTES_MAX).await.map_err(failed)?;
        let manifest = Manifest::decode(&manifest, self.cluster, id).map_err(failed)?;
        let bytes = manifest.bytes();
        let mut receiver = Receiver::open(&folder.join(id.receive_folder()), manifest).map_err(failed)?;
        let there = receiver.received_bytes();
        if there > 0 {
            tracing::info!(snapshot = %id, there, bytes, "a part of the snapshot is here already; going on behind it");
        }
        while let Some(wanted) = receiver.wanted() {
            let path = format!("{path}/{}?offset={}", wanted.file, wanted.offset);
            let mut answer = self.transport.get(offer.from, &path).await.map_err(failed)?;
            let mut offset = wanted.offset;
            while let Some(piece) = answer.piece().await.map_err(failed)? {
                receiver.push(&wanted.file, offset, &piece).map_err(failed)?;
                offset += piece.len() as u64;
                *had += piece.len() as u64;
            }
            if offset == wanted.offset {
                return Err(Break::Failed(format!("the file {} ends too early", wanted.file)));
            }
        }
        let came = Instant::now();
        receiver.finish().map_err(failed)?;
        self.work.snapshot_synced.record(came.elapsed());
        Ok(bytes)
    }

    /// Until something else is wanted.
    async fn superseded(&self, offer: &SnapshotOffer) {
        let mut wanted = self.wanted.subscribe();
        // The sender lives as long as `self`.
        let _ = wanted.wait_for(|wanted| wanted.as_ref() != Some(offer)).await;
    }
}

fn failed(error: impl std::error::Error) -> Break {
    Break::Failed(chain(&error))
}
