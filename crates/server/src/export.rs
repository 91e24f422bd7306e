//! Snapshots for operators: everything that this member holds at one moment, as one stream, which is a file of etcd's.
//!
//! RocksDB links its files into a folder beside the database, which takes no longer than writing out what is in
//! memory, and holds up neither requests nor the machine. From there the rows are read twice: to know how long the file
//! will be, and then into the stream, as fast as the client takes it. Nothing else is written to the disk.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use api::{Fault, Header, Reply, SnapshotPiece, SnapshotStream};
use apply::Position;
use async_trait::async_trait;
use bolt::{Measured, Writer};
use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use snap::{ArchiveFiles, ArchiveHead, SnapshotId};
use stdx::chain;
use store::{Options, Store};
use telemetry::Histogram;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use types::{ClusterId, MemberId};

use crate::member::{House, Member};
use crate::rooms::Rooms;

/// Snapshots on their way at once; more are refused. Each keeps the files of its moment from being given back.
pub(crate) const EXPORTS_MAX: usize = 4;

/// A piece for the client is no larger than this, in bytes.
const PIECE_BYTES_MAX: usize = 256 << 10;
/// Pieces that wait for the client. The reading waits when there are so many.
const PIECES_MAX: usize = 4;

/// Memory for reading a copy of the database, in bytes.
const LOOK_BYTES: usize = 16 << 20;

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
    pieces: Receiver<Result<Bytes, String>>,
    /// Bytes that are still to come, without the checksum.
    remaining: u64,
    began: Instant,
    seconds: Histogram,
    _turn: OwnedSemaphorePermit,
}

/// A copy of the database, which is there for as long as this, and what is known of the file that it will be.
pub(crate) struct Copy {
    // Before its files.
    store: Store,
    pub(crate) head: ArchiveHead,
    measured: Measured,
    _files: ArchiveFiles,
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
        let making =
            tokio::task::spawn_blocking(move || make(&rooms, folder, (header.cluster, header.member)));
        let copy = making.await.map_err(|_| Fault::Stopped)?.map_err(|reason| broken(&reason))?;
        let (head, bytes) = (copy.head, copy.measured.bytes());
        tracing::info!(
            { "snapshot-index" } = head.id.index.0,
            revision = head.revision.0,
            bytes,
            "sending database snapshot to client"
        );
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        // It ends when the client has all, or nobody receives any more.
        tokio::task::spawn_blocking(move || copy.send(&sender));
        Ok(Box::new(Export {
            house: Arc::clone(&self.house),
            header: Header { revision: head.revision, ..header },
            remaining: bytes,
            pieces,
            began,
            seconds: self.measures.backend_snapshot.clone(),
            _turn: turn,
        }))
    }
}

/// Copies the database as files into `folder`, which is not there.
pub(crate) fn make(
    rooms: &Rooms,
    folder: PathBuf,
    (cluster, member): (ClusterId, MemberId),
) -> Result<Copy, String> {
    let copied = rooms.store.checkpoint(&folder).map_err(|error| chain(&error));
    // From here on the folder goes with its list, whatever fails.
    let files = ArchiveFiles::take(folder).map_err(|error| chain(&error));
    copied?;
    let files = files?;
    let options = Options { memory_bytes: LOOK_BYTES, ..Options::default() };
    let store = Store::open_to_read(files.folder(), &options).map_err(|error| chain(&error))?;
    let position = Position::load(&store).map_err(|error| chain(&error))?.unwrap_or_default();
    let revision = mvcc::revision_in(&store).map_err(|error| chain(&error))?;
    let id = SnapshotId { index: position.index, term: position.term };
    let head = ArchiveHead { cluster, member, id, revision };
    let (_, measured) = etcdfile::write(&store, &head, Writer::measure()).map_err(|error| chain(&error))?;
    Ok(Copy { store, head, measured, _files: files })
}

impl Copy {
    fn send(self, sender: &Sender<Result<Bytes, String>>) {
        if let Err(reason) = self.write(sender) {
            // Nobody may be there any more, and then nobody wants to know.
            let _ = sender.blocking_send(Err(reason));
        }
    }

    fn write(&self, sender: &Sender<Result<Bytes, String>>) -> Result<(), String> {
        let pieces = self.write_to(Pieces { sender, piece: BytesMut::new() })?;
        debug_assert!(pieces.piece.is_empty(), "the last piece is on its way");
        Ok(())
    }

    /// How long the file will be, without its checksum.
    pub(crate) fn bytes(&self) -> u64 {
        self.measured.bytes()
    }

    /// Writes the whole file, with its checksum behind it.
    pub(crate) fn write_to<W: Write>(&self, sink: W) -> Result<W, String> {
        let summed = Summed { sink, sum: Sha256::new() };
        let file = Writer::begin(summed, self.measured).map_err(|error| chain(&error))?;
        let (summed, _) = etcdfile::write(&self.store, &self.head, file).map_err(|error| chain(&error))?;
        let Summed { mut sink, sum } = summed;
        let wrote = sink.write_all(&sum.finalize()).and_then(|()| sink.flush());
        wrote.map_err(|error| error.to_string())?;
        Ok(sink)
    }
}

/// What goes through is in the checksum.
struct Summed<W> {
    sink: W,
    sum: Sha256,
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.sink.write(bytes)?;
        self.sum.update(bytes.get(..taken).unwrap_or_default());
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// Where the file is written to: into pieces for the client.
struct Pieces<'a> {
    sender: &'a Sender<Result<Bytes, String>>,
    piece: BytesMut,
}

impl Pieces<'_> {
    fn send(&self, piece: Bytes) -> io::Result<()> {
        self.sender.blocking_send(Ok(piece)).map_err(|_| io::Error::other("the client is gone"))
    }
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PIECE_BYTES_MAX - self.piece.len();
        let taken = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        self.piece.extend_from_slice(taken);
        if self.piece.len() == PIECE_BYTES_MAX {
            self.flush()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = self.piece.split().freeze();
        self.send(piece)
    }
}

#[async_trait]
impl SnapshotStream for Export {
    async fn next(&mut self) -> Result<Option<Reply<SnapshotPiece>>, Fault> {
        if self.house.shared.has_ended() {
            return Err(Fault::Stopped);
        }
        let Some(piece) = self.pieces.recv().await else {
            self.seconds.record(self.began.elapsed());
            return Ok(None);
        };
        let bytes = piece.map_err(|reason| broken(&reason))?;
        self.remaining = self.remaining.saturating_sub(bytes.len() as u64);
        Ok(Some(Reply { header: self.header, body: SnapshotPiece { remaining: self.remaining, bytes } }))
    }
}

fn broken(reason: &str) -> Fault {
    Fault::Broken(format!("kvorum: there is no snapshot: {reason}"))
}
