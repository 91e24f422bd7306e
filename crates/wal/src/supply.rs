//! Segments ahead of need, and a use for those that are spent: files that are zero-filled or recycled, synced,
//! and named before anybody writes to them, so that an append never creates, extends or renames.
//!
//! With `background` a thread of its own does this, joined on drop; without, the caller's thread, which makes
//! every step deterministic.
//!
//! INVARIANT: at most one removal or renaming of a spent segment is not yet durable, so that the files that a
//! power loss leaves have no gap.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use crate::disk::{Disk, DiskError, File, OnDisk};
use crate::index::Segment;

/// Names that are not segments yet, or no longer.
pub(crate) const SEGMENT_NEW: &str = "segment.new";
const SEGMENT_SUFFIX: &str = ".seg";
const SPARE_SUFFIX: &str = ".spare";
/// Segments made ahead of need by the thread.
const READY: usize = 2;
/// Spent files kept for recycling.
const SPARES: usize = 2;

/// The file name of segment `id`.
pub(crate) fn segment_name(id: u32) -> String {
    format!("{id:08x}{SEGMENT_SUFFIX}")
}

/// The id in the name of a segment.
pub(crate) fn segment_id(name: &str) -> Option<u32> {
    let id = u32::from_str_radix(name.strip_suffix(SEGMENT_SUFFIX)?, 16).ok()?;
    (segment_name(id) == name).then_some(id)
}

/// Whether a file is a spent segment that waits to be used again.
pub(crate) fn is_spare(name: &str) -> bool {
    name.ends_with(SPARE_SUFFIX)
}

/// Makes and takes back segment files, one call at a time.
pub(crate) struct Maker {
    disk: Arc<dyn Disk>,
    segment_bytes: u64,
    next_id: u32,
    spares: VecDeque<(String, Arc<dyn File>)>,
}

impl Maker {
    /// Begins after what is in use; `leftover` are spares of an earlier run, which are removed if they do not fit.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        segment_bytes: u64,
        next_id: u32,
        leftover: &[String],
    ) -> Result<Self, DiskError> {
        let mut spares = VecDeque::new();
        for name in leftover {
            let file = disk.open(name).on("open", name)?;
            if spares.len() < SPARES && file.len().on("read", name)? == segment_bytes {
                spares.push_back((name.clone(), file));
            } else {
                disk.remove(name).on("remove", name)?;
            }
        }
        Ok(Self { disk, segment_bytes, next_id, spares })
    }

    fn make(&mut self) -> Result<Segment, DiskError> {
        let id = self.next_id;
        let name = segment_name(id);
        let file = if let Some((spare, file)) = self.spares.pop_front() {
            self.disk.rename(&spare, &name).on("rename", &spare)?;
            file
        } else {
            let file = self.disk.create(SEGMENT_NEW).on("create", SEGMENT_NEW)?;
            file.zero_fill(0, self.segment_bytes).on("fill", SEGMENT_NEW)?;
            file.fdatasync().on("sync", SEGMENT_NEW)?;
            self.disk.rename(SEGMENT_NEW, &name).on("rename", SEGMENT_NEW)?;
            file
        };
        self.disk.sync_dir().on("sync the folder of", &name)?;
        // 2^32 segments of 16 MiB are more than a disk will write in its life; an id is never used twice.
        self.next_id = id.checked_add(1).ok_or_else(|| exhausted(&name))?;
        Ok(Segment { id, file, bytes: self.segment_bytes })
    }

    fn retire(&mut self, segment: Segment) -> Result<(), DiskError> {
        let name = segment_name(segment.id);
        // A reader that still holds the file must go on finding in it what it looks for.
        let unread = Arc::strong_count(&segment.file) == 1;
        if unread && segment.bytes == self.segment_bytes && self.spares.len() < SPARES {
            let spare = format!("{:08x}{SPARE_SUFFIX}", segment.id);
            self.disk.rename(&name, &spare).on("rename", &name)?;
            self.spares.push_back((spare, segment.file));
        } else {
            self.disk.remove(&name).on("remove", &name)?;
        }
        self.disk.sync_dir().on("sync the folder of", &name)
    }
}

fn exhausted(name: &str) -> DiskError {
    let source = std::io::Error::other("all segment ids are used");
    DiskError { action: "number the segment after", name: name.to_owned(), source }
}

/// Where the log gets its next segment.
pub(crate) enum Supply {
    Inline(Maker),
    Thread(Crew),
}

impl Supply {
    pub(crate) fn new(maker: Maker, background: bool) -> Result<Self, DiskError> {
        if background { Crew::start(maker).map(Self::Thread) } else { Ok(Self::Inline(maker)) }
    }

    /// The next segment; waits if it is not ready.
    pub(crate) fn take(&mut self) -> Result<Segment, DiskError> {
        match self {
            Self::Inline(maker) => maker.make(),
            Self::Thread(crew) => crew.take(),
        }
    }

    /// Gives back a spent segment; calls go from old to new.
    pub(crate) fn retire(&mut self, segment: Segment) -> Result<(), DiskError> {
        match self {
            Self::Inline(maker) => maker.retire(segment),
            Self::Thread(crew) => {
                crew.retire(segment);
                Ok(())
            }
        }
    }
}

/// The thread and the desk between it and the log.
pub(crate) struct Crew {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Desk {
    papers: Mutex<Papers>,
    changed: Condvar,
}

/// Bounded by [`READY`] and by the number of segments that there are.
#[derive(Default)]
struct Papers {
    ready: VecDeque<Segment>,
    retired: VecDeque<Segment>,
    failed: Option<DiskError>,
    stopped: bool,
}

impl Crew {
    fn start(maker: Maker) -> Result<Self, DiskError> {
        let desk = Arc::new(Desk::default());
        let theirs = Arc::clone(&desk);
        let thread = std::thread::Builder::new()
            .name("wal-segments".to_owned())
            .spawn(move || work(maker, &theirs))
            .on("start the thread that prepares", "segments")?;
        Ok(Self { desk, thread: Some(thread) })
    }

    fn take(&self) -> Result<Segment, DiskError> {
        let mut papers = self.desk.papers.lock();
        loop {
            if let Some(segment) = papers.ready.pop_front() {
                self.desk.changed.notify_all();
                return Ok(segment);
            }
            if let Some(error) = papers.failed.take() {
                return Err(error);
            }
            if papers.stopped {
                let source = std::io::Error::other("the thread that prepares segments has ended");
                return Err(DiskError { action: "prepare", name: "a segment".to_owned(), source });
            }
            self.desk.changed.wait(&mut papers);
        }
    }

    fn retire(&self, segment: Segment) {
        self.desk.papers.lock().retired.push_back(segment);
        self.desk.changed.notify_all();
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.desk.papers.lock().stopped = true;
        self.desk.changed.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that prepares log segments has panicked");
        }
    }
}

fn work(mut maker: Maker, desk: &Desk) {
    // However this ends, nobody may wait for a thread that is gone.
    let _stop = StopOnDrop(desk);
    loop {
        let retired = {
            let mut papers = desk.papers.lock();
            while !papers.stopped && papers.retired.is_empty() && papers.ready.len() >= READY {
                desk.changed.wait(&mut papers);
            }
            if papers.stopped {
                return;
            }
            papers.retired.pop_front()
        };
        let done = match retired {
            Some(segment) => maker.retire(segment).map(|()| None),
            None => maker.make().map(Some),
        };
        let mut papers = desk.papers.lock();
        match done {
            Ok(made) => papers.ready.extend(made),
            Err(error) => {
                papers.failed = Some(error);
                return;
            }
        }
        desk.changed.notify_all();
    }
}

struct StopOnDrop<'a>(&'a Desk);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.papers.lock().stopped = true;
        self.0.changed.notify_all();
    }
}
