//! Fetches a snapshot that a leader offers, into a folder, piece by piece, and goes on where it was broken off.
//!
//! It runs on the thread of errands, with a runtime of its own: neither checking nor writing delays a heartbeat.
//!
//! INVARIANT: what is reported as fetched is whole, checked and durable.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use consensus::{Door, SnapshotOffer};
use parking_lot::Mutex;
use snap::{Manifest, Receiver, SnapshotId, prune};
use stdx::chain;
use tokio::sync::watch;
use transport::Transport;
use types::ClusterId;

use crate::ticket::{ReadTicket, WriteTicket};

/// A manifest may be that large, in bytes: enough for a terabyte in chunks of a mebibyte.
const MANIFEST_BYTES_MAX: usize = 64 << 20;
/// So often in a row it may break off without a byte having come.
const BREAKS_MAX: u32 = 5;
/// The pause after a break.
const PAUSE: Duration = Duration::from_millis(200);

/// See the module.
pub(crate) struct Fetcher {
    cluster: ClusterId,
    // Where snapshots are collected; nowhere if the database is not in a folder.
    folder: Option<PathBuf>,
    transport: Arc<Transport>,
    door: Door<WriteTicket, ReadTicket>,
    wanted: watch::Sender<Option<SnapshotOffer>>,
    // Fetched, and perhaps to be installed.
    fetched: Mutex<Vec<SnapshotId>>,
}

/// Why there is no snapshot.
enum Break {
    /// Another one is wanted, or none any more.
    Superseded,
    /// It cannot be had.
    Failed(String),
}

impl Fetcher {
    pub(crate) fn new(
        cluster: ClusterId,
        folder: Option<PathBuf>,
        transport: Arc<Transport>,
        door: Door<WriteTicket, ReadTicket>,
    ) -> Self {
        let (wanted, fetched) = (watch::Sender::new(None), Mutex::default());
        Self { cluster, folder, transport, door, wanted, fetched }
    }

    /// From now on this one is wanted and no other. Returns at once.
    pub(crate) fn want(&self, offer: SnapshotOffer) {
        self.wanted.send_replace(Some(offer));
    }

    /// Where a fetched snapshot lies.
    pub(crate) fn folder_of(&self, id: SnapshotId) -> Option<PathBuf> {
        let is_fetched = self.fetched.lock().contains(&id);
        self.folder.as_ref().filter(|_| is_fetched).map(|folder| folder.join(id.receive_folder()))
    }

    /// A snapshot was installed: older ones are of no use.
    pub(crate) fn installed(&self, id: SnapshotId) {
        self.fetched.lock().retain(|fetched| fetched.index > id.index);
    }

    /// Fetches what is wanted.
    pub(crate) async fn fetch(&self) {
        let Some(offer) = self.wanted.borrow().clone() else { return };
        let began = Instant::now();
        let text = String::from_utf8_lossy(&offer.mark.id).into_owned();
        tracing::info!(from = %offer.from, snapshot = text, "fetching a snapshot from the leader");
        let id = text.parse::<SnapshotId>();
        let named = SnapshotId { index: offer.mark.index, term: offer.mark.term };
        let ended = match (&self.folder, id) {
            (Some(folder), Ok(id)) if id == named => tokio::select! {
                ended = self.fetch_into(folder, &offer, id) => ended,
                () = self.superseded(&offer) => Err(Break::Superseded),
            },
            (None, _) => Err(Break::Failed("there is no folder for it".to_owned())),
            _ => Err(Break::Failed("it has a name that is none".to_owned())),
        };
        match ended {
            Ok(bytes) => {
                tracing::info!(from = %offer.from, snapshot = text, bytes, took = ?began.elapsed(),
                    "fetched a snapshot; it takes the place of this member's state");
                self.fetched.lock().push(named);
                self.door.snapshot_fetched(offer);
            }
            Err(Break::Superseded) => {}
            Err(Break::Failed(reason)) => {
                tracing::warn!(from = %offer.from, snapshot = text, reason, "cannot fetch a snapshot");
                self.door.snapshot_failed(offer);
            }
        }
    }

    async fn fetch_into(&self, folder: &Path, offer: &SnapshotOffer, id: SnapshotId) -> Result<u64, Break> {
        self.make_room(folder, id)?;
        let mut breaks = 0;
        let mut had = 0;
        loop {
            let broken = match self.attempt(folder, offer, id, &mut had).await {
                Ok(bytes) => return Ok(bytes),
                Err(Break::Superseded) => return Err(Break::Superseded),
                Err(Break::Failed(reason)) => reason,
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

    /// Removes what was collected of others, unless it is whole and may be installed any moment.
    fn make_room(&self, folder: &Path, id: SnapshotId) -> Result<(), Break> {
        let mut kept: Vec<String> = self.fetched.lock().iter().map(SnapshotId::receive_folder).collect();
        kept.push(id.receive_folder());
        prune(folder, |name| name.strip_suffix(".send").is_some() || kept.iter().any(|kept| kept == name))
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
        receiver.finish().map_err(failed)?;
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
