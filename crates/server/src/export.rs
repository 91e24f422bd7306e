//! Snapshots for operators: everything that this member holds at one moment, as one stream.
//!
//! RocksDB links its files into a folder beside the database, which takes no longer than writing out what is in
//! memory, and holds up neither requests nor the machine. The stream reads them from there, as fast as the client
//! takes them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use api::{Fault, Header, Reply, SnapshotPiece, SnapshotStream};
use apply::Position;
use async_trait::async_trait;
use bytes::Bytes;
use snap::{ArchiveFiles, ArchiveHead, ArchiveWriter, SnapshotId};
use stdx::chain;
use store::{Options, Store};
use telemetry::Histogram;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::member::{House, Member};
use crate::rooms::Rooms;

/// Snapshots on their way at once; more are refused. Each keeps the files of its moment from being given back.
pub(crate) const EXPORTS_MAX: usize = 4;

/// A piece for the client is no larger than this, in bytes.
const PIECE_BYTES_MAX: usize = 256 << 10;

/// Memory for looking into a copy of the database, in bytes.
const LOOK_BYTES: usize = 4 << 20;

/// Who may have a snapshot, and where the next one lies.
pub(crate) struct Exports {
    turns: Arc<Semaphore>,
    next: AtomicU64,
}

impl Default for Exports {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(EXPORTS_MAX)), next: AtomicU64::new(0) }
    }
}

/// A snapshot on its way.
struct Export {
    house: Arc<House>,
    header: Header,
    // `None` while it reads, and after a failure.
    writer: Option<ArchiveWriter>,
    chunk: Bytes,
    /// Bytes that are still to come, without the checksum.
    remaining: u64,
    began: Instant,
    seconds: Histogram,
    _turn: OwnedSemaphorePermit,
}

impl Member {
    /// Begins a snapshot of now.
    pub(crate) async fn export(&self) -> Result<Box<dyn SnapshotStream>, Fault> {
        if self.house.shared.has_ended() {
            return Err(Fault::Stopped);
        }
        let turn = Arc::clone(&self.exports.turns).try_acquire_owned().map_err(|_| Fault::TooManyRequests)?;
        let folder = self.depot.folder().ok_or_else(|| broken("the database is not in a folder"))?;
        let folder = folder.join(format!("{}.operator", self.exports.next.fetch_add(1, Ordering::Relaxed)));
        let began = Instant::now();
        let (rooms, header) = (self.house.wing.enter(), self.header_at(self.revision()));
        let making = tokio::task::spawn_blocking(move || make(&rooms, folder, header));
        let writer = making.await.map_err(|_| Fault::Stopped)?.map_err(|reason| broken(&reason))?;
        let head = writer.head();
        tracing::info!(
            { "snapshot-index" } = head.id.index.0,
            revision = head.revision.0,
            bytes = writer.bytes(),
            "sending database snapshot to client"
        );
        Ok(Box::new(Export {
            house: Arc::clone(&self.house),
            header: Header { revision: head.revision, ..header },
            remaining: writer.bytes(),
            writer: Some(writer),
            chunk: Bytes::new(),
            began,
            seconds: self.measures.backend_snapshot.clone(),
            _turn: turn,
        }))
    }
}

fn make(rooms: &Rooms, folder: PathBuf, header: Header) -> Result<ArchiveWriter, String> {
    let copied = rooms.store.checkpoint(&folder).map_err(|error| chain(&error));
    // From here on the folder goes with its list, whatever fails.
    let files = ArchiveFiles::take(folder).map_err(|error| chain(&error));
    copied?;
    let files = files?;
    let options = Options { memory_bytes: LOOK_BYTES, ..Options::default() };
    let copy = Store::open_to_read(files.folder(), &options).map_err(|error| chain(&error))?;
    let position = Position::load(&copy).map_err(|error| chain(&error))?.unwrap_or_default();
    let revision = mvcc::revision_in(&copy).map_err(|error| chain(&error))?;
    drop(copy);
    let id = SnapshotId { index: position.index, term: position.term };
    Ok(files.pack(ArchiveHead { cluster: header.cluster, member: header.member, id, revision }))
}

impl Export {
    /// Reads on. False at the end.
    async fn read(&mut self) -> Result<bool, Fault> {
        if self.house.shared.has_ended() {
            return Err(Fault::Stopped);
        }
        let mut writer = self.writer.take().ok_or_else(|| broken("it was given up"))?;
        let reading = tokio::task::spawn_blocking(move || (writer.next_chunk(), writer));
        let (chunk, writer) = reading.await.map_err(|_| Fault::Stopped)?;
        match chunk {
            Ok(Some(chunk)) => {
                self.chunk = chunk;
                self.writer = Some(writer);
                Ok(true)
            }
            Ok(None) => {
                self.writer = Some(writer);
                Ok(false)
            }
            Err(error) => Err(broken(&error.to_string())),
        }
    }
}

#[async_trait]
impl SnapshotStream for Export {
    async fn next(&mut self) -> Result<Option<Reply<SnapshotPiece>>, Fault> {
        if self.chunk.is_empty() && !self.read().await? {
            self.seconds.record(self.began.elapsed());
            return Ok(None);
        }
        let bytes = self.chunk.split_to(self.chunk.len().min(PIECE_BYTES_MAX));
        self.remaining = self.remaining.saturating_sub(bytes.len() as u64);
        Ok(Some(Reply { header: self.header, body: SnapshotPiece { remaining: self.remaining, bytes } }))
    }
}

fn broken(reason: &str) -> Fault {
    Fault::Broken(format!("kvorum: there is no snapshot: {reason}"))
}
