//! Snapshots that this member offers to others: made off every request's path, kept while somebody fetches them.
//!
//! INVARIANT: a snapshot holds the state after exactly one index, and who was a member then.
//! INVARIANT: raft's question is answered without waiting: with what is there, or by beginning to make one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use consensus::{Mailbox, PeerState, SnapshotMark, SnapshotSource, Survey};
use parking_lot::Mutex;
use snap::{Manifest, SnapshotId, prune, read_piece};
use telemetry::Registry;
use types::{ClusterId, Index, MemberId};

use crate::applier::Applier;
use crate::errand::Errand;
use crate::rooms::Wing;
use crate::sending::Sends;

/// A snapshot that nobody has asked for in this time is removed.
const IDLE_MAX: Duration = Duration::from_mins(1);
/// An older one is offered to nobody any more, only sent to its end: a member that fails again and again must not
/// hold the log up behind the same snapshot for ever.
const OFFERED_MAX: Duration = Duration::from_mins(10);

/// See the module.
pub(crate) struct Depot {
    cluster: ClusterId,
    // Where they lie; nowhere if the database is not in a folder.
    folder: Option<PathBuf>,
    stock: Mutex<Stock>,
    errands: Arc<Mailbox<Errand>>,
    sends: Sends,
}

#[derive(Default)]
struct Stock {
    // Oldest first.
    items: Vec<Item>,
    ordered: bool,
}

struct Item {
    mark: SnapshotMark,
    id: SnapshotId,
    manifest: Bytes,
    // The file that is fetched last.
    last_file: String,
    made: Instant,
    used: Instant,
}

impl Depot {
    pub(crate) fn new(
        cluster: ClusterId,
        folder: Option<PathBuf>,
        errands: Arc<Mailbox<Errand>>,
        registry: &Registry,
    ) -> Self {
        Self { cluster, folder, stock: Mutex::default(), errands, sends: Sends::new(registry) }
    }

    /// Where snapshots lie; what is in there a start removes.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Makes a snapshot of now. For the thread of errands.
    pub(crate) fn make(&self, wing: &Wing, applier: &Applier) {
        let Some(folder) = &self.folder else { return };
        let began = Instant::now();
        let made = self.make_in(folder, wing, applier);
        let mut stock = self.stock.lock();
        stock.ordered = false;
        match made {
            Ok(item) => {
                tracing::info!(
                    { "snapshot-index" } = item.mark.index.0, took = ?began.elapsed(),
                    "made a snapshot for a member that is too far behind for the log"
                );
                stock.items.retain(|known| known.id != item.id);
                stock.items.push(item);
            }
            Err(reason) => tracing::error!(reason, "cannot make a snapshot for a member that is behind"),
        }
    }

    fn make_in(&self, folder: &Path, wing: &Wing, applier: &Applier) -> Result<Item, String> {
        // Most goes to disk before the machine has to stand still for the rest.
        wing.enter().store.flush().map_err(|error| stdx::chain(&error))?;
        let draft = folder.join("draft");
        if draft.exists() {
            fs::remove_dir_all(&draft).map_err(|error| error.to_string())?;
        }
        let taken = applier.checkpoint(&draft)?;
        let id = SnapshotId { index: taken.position.index, term: taken.position.term };
        let path = folder.join(id.send_folder());
        if path.exists() {
            fs::remove_dir_all(&path).map_err(|error| error.to_string())?;
        }
        fs::rename(&draft, &path).map_err(|error| error.to_string())?;
        let manifest = Manifest::make(&path, self.cluster, id).map_err(|error| {
            // It is in nobody's list: nothing else would remove it before the next start.
            let _ = fs::remove_dir_all(&path);
            stdx::chain(&error)
        })?;
        let mark = SnapshotMark {
            index: id.index,
            term: id.term,
            voters: taken.voters,
            learners: taken.learners,
            id: id.to_string().into(),
        };
        let last_file = manifest.files().last().map(|file| file.name().to_owned()).unwrap_or_default();
        let made = Instant::now();
        Ok(Item { mark, id, manifest: manifest.encode(), last_file, made, used: made })
    }

    /// The log behind this index is needed by who fetches a snapshot, or will fetch the one that is being made.
    pub(crate) fn oldest(&self) -> Option<Index> {
        let stock = self.stock.lock();
        if stock.ordered {
            return Some(Index(0));
        }
        stock.items.iter().map(|item| item.mark.index).min()
    }

    /// Removes what nobody fetches any more. Who is installing one is still in touch, and goes on behind it.
    pub(crate) fn clean(&self, survey: &Survey) {
        self.sends.forget(IDLE_MAX);
        let Some(folder) = &self.folder else { return };
        if survey.peers.iter().any(|peer| peer.active && peer.state == PeerState::Snapshot) {
            return;
        }
        let mut stock = self.stock.lock();
        let before = stock.items.len();
        stock.items.retain(|item| item.used.elapsed() < IDLE_MAX);
        if stock.items.len() == before {
            return;
        }
        let kept: Vec<String> = stock.items.iter().map(|item| item.id.send_folder()).collect();
        drop(stock);
        let is_kept =
            |name: &str| name.strip_suffix(".recv").is_some() || kept.iter().any(|kept| kept == name);
        if let Err(error) = prune(folder, is_kept) {
            tracing::warn!(%error, "cannot remove an old snapshot");
        }
    }

    /// The manifest of a snapshot that may be fetched, for this member if it is one.
    pub(crate) fn manifest(&self, to: Option<MemberId>, id: &str) -> Option<Bytes> {
        let (id, manifest) = self.with(id, |item| (item.id, item.manifest.clone()))?;
        if let Some(to) = to {
            self.sends.begins(to, id);
        }
        Some(manifest)
    }

    /// A piece of one of its files, for this member if it is one.
    pub(crate) fn piece(
        &self,
        to: Option<MemberId>,
        id: &str,
        file: &str,
        offset: u64,
        length_max: usize,
    ) -> io::Result<Option<Bytes>> {
        let found = self.with(id, |item| (item.id, item.last_file == file));
        let (Some(snap), Some((id, is_last))) = (&self.folder, found) else { return Ok(None) };
        let piece = read_piece(&snap.join(id.send_folder()), file, offset, length_max)?;
        if let Some(to) = to {
            self.sends.goes_on(to, id);
            if is_last && piece.as_ref().is_some_and(Bytes::is_empty) {
                self.sends.ends(to, id);
            }
        }
        Ok(piece)
    }

    fn with<T>(&self, id: &str, look: impl FnOnce(&Item) -> T) -> Option<T> {
        let id: SnapshotId = id.parse().ok()?;
        let mut stock = self.stock.lock();
        let item = stock.items.iter_mut().find(|item| item.id == id)?;
        item.used = Instant::now();
        Some(look(item))
    }
}

impl SnapshotSource for Depot {
    fn latest(&self, at_least: Index, to: MemberId) -> Option<SnapshotMark> {
        let mut stock = self.stock.lock();
        let is_fit = |item: &&mut Item| {
            item.mark.index >= at_least && item.mark.has(to) && item.made.elapsed() < OFFERED_MAX
        };
        if let Some(item) = stock.items.iter_mut().rev().find(is_fit) {
            item.used = Instant::now();
            return Some(item.mark.clone());
        }
        if self.folder.is_some() && !std::mem::replace(&mut stock.ordered, true) {
            // It is closed only when the member stops.
            let _ = self.errands.put(Errand::Make);
        }
        None
    }
}
