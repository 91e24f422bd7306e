//! The archive by itself: what this member applied goes into files of a folder, half a second later at most when the disk
//! is well, with the time at which it did.
//!
//! The entries come from the log, which is not let go until they are archived, up to a limit. The time is the archive's
//! alone: applying never sees it.
//!
//! INVARIANT: only what was applied is archived, so that nothing in it was ever taken back.
//! INVARIANT: where the archive goes on behind a gap, a snapshot is asked for that lies behind the gap.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use chronicle::{Entry, Head, Reader, Writer, log_files};
use consensus::{Mailbox, commands_in};
use stdx::{Clock, chain};
use telemetry::{Counter, Gauge, Registry};
use types::{ClusterId, Index, MemberId, Term};
use wal::{ReadError, WalReader};

use crate::member::House;
use crate::saver::Signals;

/// How often it looks for what was applied.
const ROUND: Duration = Duration::from_millis(500);
/// After a failure.
const AGAIN: Duration = Duration::from_secs(5);
/// What is written at once, in bytes of log.
const CHUNK_BYTES_MAX: u64 = 4 << 20;
/// A file that is longer is followed by another.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// The log waits for the archive up to so many bytes; then the archive has a gap, and the member goes on.
const BEHIND_BYTES_MAX: u64 = 1 << 30;

/// Who writes, out of what, and where.
pub(crate) struct Archivist {
    pub(crate) house: Arc<House>,
    pub(crate) log: WalReader,
    pub(crate) folder: PathBuf,
    pub(crate) cluster: ClusterId,
    pub(crate) member: MemberId,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) measures: ArchivistMeasures,
    pub(crate) signals: Arc<Signals>,
}

/// What is counted.
pub(crate) struct ArchivistMeasures {
    entries: Counter,
    failed: Counter,
    gaps: Counter,
    index: Gauge,
    last: Gauge,
}

impl ArchivistMeasures {
    pub(crate) fn new(registry: &Registry) -> Self {
        let counter = |name, help| registry.counter(name, help, &[]);
        Self {
            entries: counter("kvorum_archive_entries_total", "Entries that went into the archive."),
            failed: counter("kvorum_archive_failures_total", "Times that the archive could not be written."),
            gaps: counter("kvorum_archive_gaps_total", "Times that the archive had to begin anew."),
            index: registry.gauge("kvorum_archive_index", "The last entry in the archive.", &[]),
            last: registry.gauge(
                "kvorum_archive_last_timestamp_seconds",
                "When all that was applied was last known to be in the archive.",
                &[],
            ),
        }
    }
}

/// Where it stands.
struct Work<'a> {
    archivist: &'a Archivist,
    // Nothing before the folder was looked at.
    next: Option<Index>,
    writer: Option<Writer>,
    // Snapshots that there were when the file was begun.
    saved: u64,
    // Bytes of log that had been applied when it last went well.
    applied_bytes: u64,
}

impl Archivist {
    /// Runs until the box is closed; nothing is ever put into it.
    pub(crate) fn run(&self, stop: &Mailbox<()>) {
        let mut work = Work { archivist: self, next: None, writer: None, saved: 0, applied_bytes: 0 };
        let mut nothing = Vec::new();
        let mut next = Instant::now();
        while stop.take(&mut nothing, Some(next)) {
            let pause = work.round_and_tell();
            next = Instant::now() + pause;
        }
        // What was applied since.
        work.round_and_tell();
    }

    /// The last entry of this member in the folder, if there is any, and its term, if it is there.
    fn last_archived(&self) -> Result<Option<(Index, Option<Term>)>, String> {
        let failed = |error: io::Error| format!("{}: {error}", self.folder.display());
        fs::create_dir_all(&self.folder).map_err(failed)?;
        let files = log_files(&self.folder).map_err(failed)?;
        // One that was begun and got nothing tells nothing.
        for file in files.iter().rev().filter(|file| file.member == self.member) {
            let Ok(mut reader) = Reader::open(&file.path) else { continue };
            if reader.head().cluster != self.cluster {
                return Err(format!("{} is of another cluster", file.path.display()));
            }
            let mut last = (Index(file.first.0.saturating_sub(1)), None);
            // What is behind damage is written again.
            while let Ok(Some(chunk)) = reader.next_chunk() {
                if let Some(entry) = chunk.entries.last() {
                    last = (entry.index, Some(entry.term));
                }
            }
            return Ok(Some(last));
        }
        Ok(None)
    }
}

impl Work<'_> {
    /// Tells how long to wait.
    fn round_and_tell(&mut self) -> Duration {
        let Archivist { house, measures, folder, signals, .. } = self.archivist;
        let round = self.round();
        signals.placed.store(true, Ordering::Release);
        match round {
            Ok(()) => {
                self.applied_bytes = house.shared.applied_bytes();
                ROUND
            }
            Err(reason) => {
                measures.failed.increment(1);
                let behind = house.shared.applied_bytes() - self.applied_bytes;
                if behind > BEHIND_BYTES_MAX {
                    house.shared.set_archived(None);
                }
                tracing::error!(
                    folder = %folder.display(), reason, { "behind-bytes" } = behind, again_in = ?AGAIN,
                    "cannot write the archive; the log waits for it as long as it is behind by less than 1 GiB"
                );
                AGAIN
            }
        }
    }

    fn round(&mut self) -> Result<(), String> {
        let Archivist { house, log, clock, measures, .. } = self.archivist;
        let applied = house.shared.applied();
        let wall_ns = clock.wall_ns();
        let mut next = match self.next {
            Some(next) => next,
            None => self.begin()?,
        };
        let end = applied.0.min(log.last_index());
        while next.0 <= end {
            let read = match log.entries(next.0, end + 1, CHUNK_BYTES_MAX) {
                Ok(read) => read,
                Err(ReadError::Released { .. }) => {
                    self.begin_anew("the log does not reach back to it");
                    return Ok(());
                }
                Err(error) => return Err(chain(&error)),
            };
            let entry = |read: wal::Entry| Entry {
                index: Index(read.index),
                term: Term(read.term),
                data: commands_in(read),
            };
            let entries: Vec<Entry> = read.into_iter().map(entry).collect();
            self.write(wall_ns, next, &entries)?;
            next = Index(next.0 + entries.len() as u64);
            self.next = Some(next);
            house.shared.set_archived(Some(Index(next.0 - 1)));
            measures.entries.increment(entries.len() as u64);
            measures.index.set((next.0 - 1) as f64);
        }
        measures.last.set((wall_ns / 1_000_000_000) as f64);
        Ok(())
    }

    /// Goes on behind what is in the folder, if that is of this log.
    fn begin(&mut self) -> Result<Index, String> {
        let log = &self.archivist.log;
        let Some((last, term)) = self.archivist.last_archived()? else {
            return Ok(self.begin_anew("there is none"));
        };
        let is_other = term.zip(log.term(last.0)).is_some_and(|(archived, known)| archived.0 != known);
        if last.0 > log.last_index() || is_other {
            return Err(format!(
                "what is in it up to entry {last} is not from this data folder, which was restored or emptied since: \
                 give an empty folder with --archive-dir"
            ));
        }
        let next = Index(last.0 + 1);
        self.next = Some(next);
        self.archivist.house.shared.set_archived(Some(last));
        Ok(next)
    }

    /// Goes on with what is applied from now on, and asks for a snapshot.
    fn begin_anew(&mut self, reason: &str) -> Index {
        let Archivist { house, signals, measures, .. } = self.archivist;
        let applied = house.shared.applied();
        if self.next.is_some() {
            measures.gaps.increment(1);
        }
        tracing::warn!(
            behind = applied.0,
            reason,
            "the archive begins here, with a snapshot that is made now"
        );
        let next = Index(applied.0 + 1);
        (self.next, self.writer) = (Some(next), None);
        house.shared.set_archived(Some(applied));
        signals.base_wanted.store(true, Ordering::Release);
        next
    }

    fn write(&mut self, wall_ns: i64, first: Index, entries: &[Entry]) -> Result<(), String> {
        let Archivist { folder, cluster, member, signals, .. } = self.archivist;
        let saved = signals.saved.load(Ordering::Relaxed);
        // A file of its own behind each snapshot, so that it can go with that.
        let writer =
            self.writer.take().filter(|writer| writer.bytes() < FILE_BYTES_MAX && saved == self.saved);
        let failed = |error: io::Error| error.to_string();
        let mut writer = match writer {
            Some(writer) => writer,
            None => {
                Writer::create(folder, Head { cluster: *cluster, member: *member, first }).map_err(failed)?
            }
        };
        writer.append(wall_ns, entries).map_err(failed)?;
        (self.writer, self.saved) = (Some(writer), saved);
        Ok(())
    }
}
