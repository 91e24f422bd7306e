//! What the disk still knows: scan, verify, cut what was never acknowledged, refuse what is damaged.
//!
//! How a torn tail is told from damage: every record says up to where its segment was synced when the record
//! was written. The first bad record is the end of the log, unless a good record behind it says that the bad
//! one had been synced: then it was once whole, and has been damaged since. A segment before the last must be
//! whole, since the start record of the next one tells its end and its checksum.
//!
//! INVARIANT: before this returns, all that it accepted is written again and synced, and all behind it is zero.
//! Written again, because after a failed sync the kernel may hold pages for clean that never reached the disk;
//! zero, because a record of the lost tail must not fit the chain again later.

use crate::disk::{Disk, DiskError, File, OnDisk};
use crate::identity::{Identity, META, META_NEW};
use crate::index::{Index, Place, Segment};
use crate::log::Config;
use crate::record::{
    ALIGN, HEAD_BYTES, HardState, Kind, Mark, Payload, Record, START_BYTES, Seed, Start, chain,
    claimed_total, claims, parse, put_record, start_bytes,
};
use crate::search::{claims_synced, finds_synced};
use crate::supply::{SEGMENT_NEW, is_spare, segment_id, segment_name};
use crate::window::Window;

/// The first segment of a log is small, so that a new member starts at once; the thread makes the large ones.
const FIRST_SEGMENT_BYTES: u64 = 1 << 20;
/// No log gets so far; sums of indexes below have room above.
const INDEX_MAX: u64 = u64::MAX / 2;
/// What is wiped is looked at in pieces of this size, a page.
const PAGE_BYTES: usize = 4096;

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Bytes that were synced are not what was written. The member must not start from this log.
    #[error("the log is damaged: {why} in {file} at byte {offset}")]
    Damaged {
        /// The file in the log's folder.
        file: String,
        /// Where the first bad record begins.
        offset: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// A newer program wrote this log.
    #[error("the log has format {found}, this program reads up to {supported}: start a newer version of it")]
    NewerFormat {
        /// What the log says.
        found: u32,
        /// The newest that is understood.
        supported: u32,
    },
    /// There are segments, and nothing that says whose they are.
    #[error("the log folder holds segments but not the file meta that says whose they are")]
    NoIdentity,
}

/// What was found at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Whose log it is, to be compared with who we are.
    pub identity: Identity,
    /// Whether the log was created just now.
    pub created: bool,
    /// The newest hard state.
    pub hard_state: HardState,
    /// The first entry that can be read. It may lie before what was released, since whole segments go.
    pub first_index: u64,
    /// The last entry, or the one before the first if there are none.
    pub last_index: u64,
    /// The term of the entry before the first.
    pub base_term: u64,
    /// The torn tail that was cut, if its first bytes were there to be seen.
    pub cut: Option<Cut>,
}

/// A tail that was never acknowledged, and is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The file in the log's folder.
    pub file: String,
    /// Where the log ends now.
    pub offset: u64,
}

/// The log as it was found, ready to be written to.
pub(crate) struct Found {
    pub(crate) recovered: Recovered,
    pub(crate) seed: Seed,
    pub(crate) index: Index,
    pub(crate) segment: Segment,
    pub(crate) tail: u32,
    pub(crate) chain: u32,
    /// Spent files of an earlier run.
    pub(crate) spares: Vec<String>,
}

/// Opens or creates.
pub(crate) fn recover(disk: &dyn Disk, config: &Config) -> Result<Found, OpenError> {
    let mut names = disk.list().on("list", "the files")?;
    let created = !names.iter().any(|name| name == META);
    if created {
        create(disk, config, &names)?;
        names = disk.list().on("list", "the files")?;
    }
    let identity = Identity::read(disk)?;
    let mut ids: Vec<u32> = names.iter().filter_map(|name| segment_id(name)).collect();
    ids.sort_unstable();
    let mut scan = Scan::new(disk, Seed::new(&identity));
    let begun = scan.begun(&ids)?;
    let (current, unused) = scan.read_all(&ids, begun)?;
    for name in unused.into_iter().map(segment_name).chain([SEGMENT_NEW, META_NEW].map(str::to_owned)) {
        if names.contains(&name) {
            disk.remove(&name).on("remove", &name)?;
        }
    }
    disk.sync_dir().on("sync", "the folder")?;
    Ok(scan.finish(current, identity, created, names.into_iter().filter(|name| is_spare(name)).collect()))
}

/// Makes the first segment, then the identity that says that it is there.
fn create(disk: &dyn Disk, config: &Config, names: &[String]) -> Result<(), OpenError> {
    // A creation that was interrupted leaves `meta.new` behind: its folder entry is durable before the
    // segment's. Segments without it belonged to a log whose identity was lost.
    if names.iter().any(|name| segment_id(name).is_some()) && !names.iter().any(|name| name == META_NEW) {
        return Err(OpenError::NoIdentity);
    }
    let meta = disk.create(META_NEW).on("create", META_NEW)?;
    meta.pwrite(0, &config.identity.encode()).on("write", META_NEW)?;
    meta.fdatasync().on("sync", META_NEW)?;
    let segment = disk.create(SEGMENT_NEW).on("create", SEGMENT_NEW)?;
    segment.zero_fill(0, config.segment_bytes.min(FIRST_SEGMENT_BYTES)).on("fill", SEGMENT_NEW)?;
    let seed = Seed::new(&config.identity);
    let mut start = Vec::new();
    let nothing =
        Start { previous_end: 0, previous_chain: 0, hard: HardState::default(), last: Mark::default() };
    put_record(&mut start, Kind::Start, &[&start_bytes(&nothing)]);
    chain(&mut start, seed, 1, 0, seed.segment(1));
    segment.pwrite(0, &start).on("write", SEGMENT_NEW)?;
    segment.fdatasync().on("sync", SEGMENT_NEW)?;
    disk.sync_dir().on("sync", "the folder")?;
    let first = segment_name(1);
    disk.rename(SEGMENT_NEW, &first).on("rename", SEGMENT_NEW)?;
    disk.sync_dir().on("sync", "the folder")?;
    disk.rename(META_NEW, META).on("rename", META_NEW)?;
    disk.sync_dir().on("sync", "the folder")?;
    Ok(())
}

/// The walk through the segments.
struct Scan<'a> {
    disk: &'a dyn Disk,
    seed: Seed,
    index: Index,
    hard: HardState,
    fresh: bool,
    cut: Option<Cut>,
}

/// The segment that goes on being written.
struct Current {
    segment: Segment,
    tail: u32,
    chain: u32,
}

/// How far a segment is good.
struct Extent {
    tail: usize,
    chain: u32,
    /// What the last good record says was synced before it.
    synced: u32,
}

impl<'a> Scan<'a> {
    fn new(disk: &'a dyn Disk, seed: Seed) -> Self {
        Self { disk, seed, index: Index::default(), hard: HardState::default(), fresh: true, cut: None }
    }

    /// How many of the segments have been written to: those up to the last one with a good start record.
    fn begun(&self, ids: &[u32]) -> Result<usize, OpenError> {
        let mut begun = ids.len();
        while let Some(id) = begun.checked_sub(1).and_then(|at| ids.get(at)) {
            let segment = self.open(*id)?;
            let mut window = Window::new(&segment);
            let first = window.at(0, START_BYTES).on("read", &segment_name(*id))?;
            if parse(first, self.seed, *id).is_some() {
                break;
            }
            self.refuse_if_synced(*id, &mut window, 0)?;
            begun -= 1;
        }
        if begun == 0 {
            return Err(damaged(ids.first().copied().unwrap_or(1), 0, "no segment begins"));
        }
        Ok(begun)
    }

    /// Reads the segments in use, repairs the last one, and returns it and the ids of the unused.
    fn read_all(&mut self, ids: &[u32], begun: usize) -> Result<(Current, Vec<u32>), OpenError> {
        let (used, unused) = ids.split_at(begun.min(ids.len()));
        let mut last: Option<(Segment, Extent)> = None;
        for id in used {
            let segment = self.open(*id)?;
            let mut window = Window::new(&segment);
            if let Some((previous, extent)) = &last {
                self.check_joint(previous.id, extent, *id, &mut window)?;
            }
            let extent = self.read(*id, &mut window)?;
            self.index.add_segment(segment.clone());
            last = Some((segment, extent));
        }
        match last {
            Some((segment, extent)) => Ok((self.repair(segment, &extent)?, unused.to_vec())),
            None => Err(damaged(1, 0, "no segment begins")),
        }
    }

    /// The segment before must end where and as the start record of this one says.
    fn check_joint(
        &self,
        previous: u32,
        extent: &Extent,
        id: u32,
        window: &mut Window<'_>,
    ) -> Result<(), OpenError> {
        if previous.checked_add(1) != Some(id) {
            return Err(damaged(previous.saturating_add(1), 0, "the segment is missing"));
        }
        let first = window.at(0, START_BYTES).on("read", &segment_name(id))?;
        let start = parse(first, self.seed, id).and_then(|record| record.decode());
        let Some(Payload::Start(start)) = start else {
            return Err(damaged(id, 0, "no start record"));
        };
        if (start.previous_end as usize, start.previous_chain) != (extent.tail, extent.chain) {
            return Err(damaged(previous, extent.tail as u64, "a bad record before the end of the segment"));
        }
        Ok(())
    }

    /// Applies all records of the chain.
    fn read(&mut self, id: u32, window: &mut Window<'_>) -> Result<Extent, OpenError> {
        let name = segment_name(id);
        let mut extent = Extent { tail: 0, chain: self.seed.segment(id), synced: 0 };
        while let Some(total) = claimed_total(window.at(extent.tail, HEAD_BYTES).on("read", &name)?) {
            let bytes = window.at(extent.tail, total).on("read", &name)?;
            let Some(record) = parse(bytes, self.seed, id) else { break };
            if record.previous != extent.chain || record.synced as usize > extent.tail {
                break;
            }
            self.apply(id, extent.tail, &record)?;
            extent.tail += record.total;
            extent.chain = record.chain;
            extent.synced = record.synced;
        }
        Ok(extent)
    }

    fn apply(&mut self, id: u32, offset: usize, record: &Record<'_>) -> Result<(), OpenError> {
        let refuse = |why| Err(damaged(id, offset as u64, why));
        let last = self.index.last();
        match record.decode() {
            None => return refuse("a record of an unknown kind or shape"),
            Some(Payload::Start(Start { last: mark, .. }) | Payload::Reset(mark))
                if mark.index > INDEX_MAX =>
            {
                return refuse("an index that no log reaches");
            }
            Some(Payload::Start(start)) => {
                if offset != 0 {
                    return refuse("a start record inside a segment");
                }
                if self.fresh {
                    self.index.reset(start.last);
                    self.hard = start.hard;
                    self.fresh = false;
                } else if start.last != last || start.hard != self.hard {
                    return refuse("a start record that contradicts the segment before");
                }
            }
            Some(Payload::Entry(entry)) => {
                if last.index.checked_add(1) != Some(entry.index) || entry.term < last.term {
                    return refuse("an entry out of order");
                }
                self.index.push(entry.term, Place::new(id, offset as u32));
            }
            Some(Payload::Hard(hard)) => self.hard = hard,
            Some(Payload::Cut(mark)) if mark.index > last.index => return refuse("a cut beyond the end"),
            // What was replaced may lie in segments that were released since.
            Some(Payload::Cut(mark)) if mark.index < self.index.base().index => self.index.reset(mark),
            Some(Payload::Cut(mark)) if self.index.term(mark.index) != Some(mark.term) => {
                return refuse("a cut at another term");
            }
            Some(Payload::Cut(mark)) => self.index.truncate(mark.index),
            Some(Payload::Reset(mark)) => self.index.reset(mark),
        }
        Ok(())
    }

    /// Decides about the end of the last segment and makes it good to go on from.
    fn repair(&mut self, segment: Segment, extent: &Extent) -> Result<Current, OpenError> {
        let name = segment_name(segment.id);
        let mut window = Window::new(&segment);
        self.refuse_if_synced(segment.id, &mut window, extent.tail)?;
        if claims(window.at(extent.tail, HEAD_BYTES).on("read", &name)?, segment.id) {
            self.cut = Some(Cut { file: name.clone(), offset: extent.tail as u64 });
        }
        let again = extent.tail.saturating_sub(extent.synced as usize);
        if again > 0 {
            let bytes = window.at(extent.synced as usize, again).on("read", &name)?;
            let bytes = bytes.get(..again).unwrap_or(bytes);
            segment.file.pwrite(u64::from(extent.synced), bytes).on("write", &name)?;
        }
        wipe(segment.file.as_ref(), extent.tail, &mut window).on("write", &name)?;
        segment.file.fdatasync().on("sync", &name)?;
        Ok(Current { segment, tail: extent.tail as u32, chain: extent.chain })
    }

    /// Looks behind `tail` for a record that was written after what stands at `tail` had been synced.
    fn refuse_if_synced(&self, id: u32, window: &mut Window<'_>, tail: usize) -> Result<(), OpenError> {
        let name = segment_name(id);
        let end = window.len();
        for at in (tail.next_multiple_of(ALIGN)..end).step_by(ALIGN) {
            let head = window.at(at, HEAD_BYTES).on("read", &name)?;
            if !claims_synced(head, (at, end - at), tail, id) {
                continue;
            }
            // It is rare that something claims to be one, and then all is needed to tell whether it is.
            let behind = window.at(tail, end - tail).on("read", &name)?;
            if finds_synced(behind, tail, self.seed, id) {
                return Err(damaged(id, tail as u64, "a bad record before data that was synced later"));
            }
            return Ok(());
        }
        Ok(())
    }

    fn open(&self, id: u32) -> Result<Segment, OpenError> {
        let name = segment_name(id);
        let file = self.disk.open(&name).on("open", &name)?;
        let length = file.len().on("read", &name)?;
        if length > u64::from(u32::MAX) {
            return Err(damaged(id, u64::from(u32::MAX), "the segment is longer than any that we write"));
        }
        Ok(Segment { id, file, bytes: length })
    }

    fn finish(self, current: Current, identity: Identity, created: bool, spares: Vec<String>) -> Found {
        let recovered = Recovered {
            identity,
            created,
            hard_state: self.hard,
            first_index: self.index.first(),
            last_index: self.index.last().index,
            base_term: self.index.base().term,
            cut: self.cut,
        };
        let Current { segment, tail, chain } = current;
        Found { recovered, seed: self.seed, index: self.index, segment, tail, chain, spares }
    }
}

/// Zeroes all from `tail` on, page by page, leaving alone what is zero already.
fn wipe(file: &dyn File, tail: usize, window: &mut Window<'_>) -> std::io::Result<()> {
    let (mut at, end) = (tail, window.len());
    while at < end {
        let page = (at + 1).next_multiple_of(PAGE_BYTES).min(end) - at;
        if window.at(at, page)?.iter().take(page).any(|byte| *byte != 0) {
            file.zero_fill(at as u64, (at + page) as u64)?;
        }
        at += page;
    }
    Ok(())
}

fn damaged(id: u32, offset: u64, why: &'static str) -> OpenError {
    OpenError::Damaged { file: segment_name(id), offset, why }
}
