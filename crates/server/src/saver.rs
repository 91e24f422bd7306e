//! Snapshots by themselves: when the newest one of this member in a folder is old enough, another is written there.
//!
//! Each member that is asked to does so for itself, with a thread of its own; the machine stands still no longer than
//! for a snapshot that an operator fetches. What fails is said, counted, and tried again.
//!
//! INVARIANT: under its final name a snapshot is whole and durable.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chronicle::{SnapshotFile, log_files, snapshot_files, sync_folder};
use consensus::Mailbox;
use stdx::{Clock, chain};
use telemetry::{Buckets, Counter, Gauge, Histogram, Registry};
use types::{ClusterId, Index, MemberId};

use crate::config::Backups;
use crate::export;
use crate::member::House;

/// How often it looks whether one is due.
const ROUND: Duration = Duration::from_millis(500);
/// After a failure.
const AGAIN: Duration = Duration::from_secs(10);
/// So much is written before it is forced to the disk, in bytes: all at once would hold up the log's syncs.
const SYNC_BYTES: usize = 8 << 20;
/// So much stays free on the disk, in bytes.
const ROOM_BYTES: u64 = 64 << 20;
/// What is written at once, in bytes.
const WRITE_BYTES: usize = 1 << 20;
/// Where the files of the database are linked to meanwhile, beside what operators fetch.
const COPY: &str = "by-itself.operator";

/// What saver and archivist tell each other.
#[derive(Default)]
pub(crate) struct Signals {
    /// The archive begins anew, and is of no use without a snapshot.
    pub(crate) base_wanted: AtomicBool,
    /// It is known where the archive begins, or that it cannot be written.
    pub(crate) placed: AtomicBool,
    /// How many were saved in this life.
    pub(crate) saved: AtomicU64,
}

/// Who writes, for whom, and where.
pub(crate) struct Saver {
    pub(crate) house: Arc<House>,
    /// Where files can be linked to.
    pub(crate) snap: PathBuf,
    pub(crate) backups: Backups,
    pub(crate) cluster: ClusterId,
    pub(crate) member: MemberId,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) measures: SaverMeasures,
    pub(crate) signals: Arc<Signals>,
}

/// What is counted.
pub(crate) struct SaverMeasures {
    saved: Counter,
    failed: Counter,
    last: Gauge,
    bytes: Gauge,
    seconds: Histogram,
}

impl SaverMeasures {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            saved: registry.counter("kvorum_snapshots_saved_total", "Snapshots written by themselves.", &[]),
            failed: registry.counter(
                "kvorum_snapshots_failed_total",
                "Snapshots that were to be written by themselves and were not.",
                &[],
            ),
            last: registry.gauge(
                "kvorum_snapshot_last_timestamp_seconds",
                "When the last snapshot was written by itself.",
                &[],
            ),
            bytes: registry.gauge("kvorum_snapshot_last_size_bytes", "How large that is.", &[]),
            seconds: registry.histogram(
                "kvorum_snapshot_save_duration_seconds",
                "How long such a snapshot takes.",
                &[],
                Buckets::WALK,
            ),
        }
    }
}

impl Saver {
    /// Runs until the box is closed; nothing is ever put into it.
    pub(crate) fn run(&self, stop: &Mailbox<()>) {
        self.remove_halves();
        let mut nothing = Vec::new();
        let mut next = Instant::now();
        while stop.take(&mut nothing, Some(next)) {
            let round = self.round();
            if let Err(reason) = &round {
                self.measures.failed.increment(1);
                tracing::error!(
                    folder = %self.backups.snapshots.display(), reason, again_in = ?AGAIN,
                    "cannot write a snapshot by itself; those that are there stay"
                );
            }
            next = Instant::now() + if round.is_ok() { ROUND } else { AGAIN };
        }
    }

    fn round(&self) -> Result<(), String> {
        let shared = &self.house.shared;
        // A member that joins has nothing yet, and what a corrupt one has is nothing to keep.
        if shared.applied() == Index(0) || shared.is_corrupt() {
            return Ok(());
        }
        // A snapshot from before the archive's first entry would be no base for it.
        if self.backups.archive.is_some() && !self.signals.placed.load(Ordering::Acquire) {
            return Ok(());
        }
        let own = self.own().map_err(|error| error.to_string())?;
        let now = self.seconds();
        let is_old = |file: &SnapshotFile| now.abs_diff(file.seconds) >= self.backups.every.as_secs();
        let is_due = own.iter().max_by_key(|file| file.seconds).is_none_or(is_old);
        // What asks for another one meanwhile gets another one.
        let base_wanted = self.signals.base_wanted.swap(false, Ordering::AcqRel);
        if !is_due && !base_wanted {
            return Ok(());
        }
        if let Err(reason) = self.save() {
            self.signals.base_wanted.fetch_or(base_wanted, Ordering::AcqRel);
            return Err(reason);
        }
        self.signals.saved.fetch_add(1, Ordering::Relaxed);
        self.prune().map_err(|error| format!("old snapshots cannot be removed: {error}"))
    }

    /// Those of this member, in the order of their entries.
    fn own(&self) -> io::Result<Vec<SnapshotFile>> {
        fs::create_dir_all(&self.backups.snapshots)?;
        let mut own = snapshot_files(&self.backups.snapshots)?;
        own.retain(|file| file.member == self.member);
        Ok(own)
    }

    fn save(&self) -> Result<(), String> {
        let began = Instant::now();
        let copy = self.snap.join(COPY);
        // Of a try that failed.
        let _left = fs::remove_dir_all(&copy);
        let rooms = self.house.wing.enter();
        let copy = export::make(&rooms, copy, (self.cluster, self.member))?;
        drop(rooms);
        self.check_room(copy.bytes())?;
        // Nothing in it is of a later second than this.
        let seconds = self.seconds() + 1;
        let path = SnapshotFile::path(&self.backups.snapshots, self.member, copy.head.id.index, seconds);
        let draft = path.with_extension("db.tmp");
        let write = || -> Result<u64, String> {
            let file = File::create(&draft).map_err(|error| error.to_string())?;
            let buffer = io::BufWriter::with_capacity(WRITE_BYTES, Steady { file, unsynced: 0 });
            let steady = copy.write_to(buffer)?.into_inner().map_err(|error| error.to_string())?;
            let bytes = steady.finish().map_err(|error| error.to_string())?;
            fs::rename(&draft, &path).map_err(|error| error.to_string())?;
            sync_folder(&self.backups.snapshots).map_err(|error| error.to_string())?;
            Ok(bytes)
        };
        let bytes = write().inspect_err(|_| drop(fs::remove_file(&draft)))?;
        self.measures.saved.increment(1);
        self.measures.last.set(seconds as f64);
        self.measures.bytes.set(bytes as f64);
        self.measures.seconds.record(began.elapsed());
        tracing::info!(
            path = %path.display(), { "snapshot-index" } = copy.head.id.index.0, revision = copy.head.revision.0,
            bytes, took = ?began.elapsed(),
            "wrote a snapshot by itself"
        );
        Ok(())
    }

    /// Refuses to fill a disk, which may be that of the log.
    fn check_room(&self, bytes: u64) -> Result<(), String> {
        let about = rustix::fs::statvfs(&self.backups.snapshots).map_err(|error| error.to_string())?;
        let free = about.f_bavail.saturating_mul(about.f_frsize);
        if free < bytes.saturating_add(ROOM_BYTES) {
            return Err(format!("no space left on device: it takes {bytes} bytes, and {free} are free"));
        }
        Ok(())
    }

    /// Removes this member's snapshots but the newest ones, and files of the archive that end before the oldest of these.
    fn prune(&self) -> io::Result<()> {
        let mut own = self.own()?;
        let kept = own.split_off(own.len().saturating_sub(self.backups.keep.max(1)));
        for file in own {
            remove(&file.path)?;
        }
        let (Some(folder), Some(oldest)) = (&self.backups.archive, kept.first()) else { return Ok(()) };
        let mut logs = log_files(folder)?;
        logs.retain(|file| file.member == self.member);
        for (file, next) in logs.iter().zip(logs.iter().skip(1)) {
            if next.first.0 <= oldest.index.0 + 1 {
                remove(&file.path)?;
            }
        }
        Ok(())
    }

    /// What an earlier life did not finish.
    fn remove_halves(&self) {
        let begin = format!("snapshot-{:016x}-", self.member.0);
        let Ok(entries) = fs::read_dir(&self.backups.snapshots) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| name.starts_with(&begin) && name.ends_with(".db.tmp"))
                && let Err(error) = fs::remove_file(entry.path())
            {
                tracing::warn!(path = %entry.path().display(), error = chain(&error), "cannot remove half a snapshot");
            }
        }
    }

    fn seconds(&self) -> u64 {
        u64::try_from(self.clock.wall_ns() / 1_000_000_000).unwrap_or(0)
    }
}

fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    tracing::info!(path = %path.display(), "removed what is older than the snapshots that are kept");
    Ok(())
}

/// A file that is forced to the disk as it grows.
struct Steady {
    file: File,
    unsynced: usize,
}

impl Steady {
    /// How long it is, in bytes, all of which are durable.
    fn finish(self) -> io::Result<u64> {
        self.file.sync_all()?;
        Ok(self.file.metadata()?.len())
    }
}

impl Write for Steady {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.file.write(bytes)?;
        self.unsynced += taken;
        if self.unsynced >= SYNC_BYTES {
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
