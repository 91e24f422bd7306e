//! Entries back from the files, on any thread, while the owner appends.
//!
//! A reader copies places under a short lock and reads without it. Every record is verified again: what comes
//! back is what was appended, or an error that says where it is not.
//!
//! INVARIANT: a file that a reader holds is never recycled under it.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::disk::{DiskError, OnDisk};
use crate::index::{Index, Place, Segment};
use crate::record::{HEAD_BYTES, Payload, Record, Seed, claimed_total, parse};
use crate::supply::segment_name;

/// The least and the most that one call reads ahead of what it knows it needs.
const AHEAD_BYTES: std::ops::RangeInclusive<u64> = 4096..=1 << 20;
/// Entries of one call at most; more come with the next.
const MAX_ENTRIES: usize = 65_536;

/// An entry as it was appended.
///
/// `context` and `data` share one buffer with their neighbours in the same answer: copy them to keep one long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its position.
    pub index: u64,
    /// Its leader's term.
    pub term: u64,
    /// Opaque to the log.
    pub kind: u8,
    /// Opaque to the log.
    pub context: Bytes,
    /// Opaque to the log.
    pub data: Bytes,
}

/// Why entries cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The first entries asked for are gone.
    #[error("the log begins at {first}")]
    Released {
        /// The first that is there.
        first: u64,
    },
    /// The last entries asked for are not there yet.
    #[error("the log ends at {last}")]
    Unwritten {
        /// The last that is there.
        last: u64,
    },
    /// The bytes are not what was written. The member must stop.
    #[error("the log is damaged: entry {index} cannot be read in {file} at byte {offset}")]
    Damaged {
        /// The entry.
        index: u64,
        /// The file in the log's folder.
        file: String,
        /// Where its record begins.
        offset: u64,
    },
}

/// Reads the log. Cheap to clone.
#[derive(Clone)]
pub struct WalReader {
    index: Arc<Mutex<Index>>,
    seed: Seed,
}

impl WalReader {
    pub(crate) fn new(index: Arc<Mutex<Index>>, seed: Seed) -> Self {
        Self { index, seed }
    }

    /// The first entry that can be read.
    pub fn first_index(&self) -> u64 {
        self.index.lock().first()
    }

    /// The last entry, or the one before the first if there are none.
    pub fn last_index(&self) -> u64 {
        self.index.lock().last().index
    }

    /// The term of the entry at `index`; known from the one before the first to the last.
    pub fn term(&self, index: u64) -> Option<u64> {
        self.index.lock().term(index)
    }

    /// How many bytes of log lie before some of the entries, in order: one for about every `step_bytes`, the first
    /// entry and the last among them. None in an empty log.
    pub fn milestones(&self, step_bytes: u64) -> Vec<(u64, u64)> {
        let index = self.index.lock();
        let (first, last) = (index.first(), index.last().index);
        let (mut milestones, mut bytes) = (Vec::new(), 0);
        let mut before: Option<Place> = None;
        for (at, place) in (first..=last).map_while(|at| Some((at, index.place(at)?))) {
            bytes += before.map_or(0, |before| {
                let end = match index.segment(before.segment()) {
                    // It went on in the next file because there was no room for more.
                    Some(segment) if before.segment() != place.segment() => segment.bytes,
                    _ => u64::from(place.offset()),
                };
                end.saturating_sub(u64::from(before.offset()))
            });
            before = Some(place);
            let is_far = milestones.last().is_none_or(|(_, known)| bytes >= known + step_bytes);
            if is_far || at == last {
                milestones.push((at, bytes));
            }
        }
        milestones
    }

    /// Entries from `low` up to and without `high`, in order: as many as fit `max_bytes` of log, at least one.
    pub fn entries(&self, low: u64, high: u64, max_bytes: u64) -> Result<Vec<Entry>, ReadError> {
        let (places, segments) = self.plan(low, high, max_bytes)?;
        let mut entries = Vec::with_capacity(places.len());
        let mut window = Window::default();
        let mut used = 0;
        for (at, (place, index)) in places.iter().zip(low..).enumerate() {
            let damaged = || ReadError::Damaged {
                index,
                file: segment_name(place.segment()),
                offset: u64::from(place.offset()),
            };
            let segment =
                segments.iter().find(|segment| segment.id == place.segment()).ok_or_else(damaged)?;
            let ahead = read_ahead(places.get(at..).unwrap_or_default(), max_bytes.saturating_sub(used));
            let bytes = window.record(segment, *place, ahead)?.ok_or_else(damaged)?;
            used += bytes.len() as u64;
            if used > max_bytes && at > 0 {
                break;
            }
            let record = parse(&bytes, self.seed, place.segment()).ok_or_else(damaged)?;
            entries.push(entry(&bytes, &record).filter(|entry| entry.index == index).ok_or_else(damaged)?);
        }
        Ok(entries)
    }

    /// Copies the places of the entries, as many as can fit, and the files that they are in.
    fn plan(&self, low: u64, high: u64, max_bytes: u64) -> Result<(Vec<Place>, Vec<Segment>), ReadError> {
        let index = self.index.lock();
        if low < index.first() {
            return Err(ReadError::Released { first: index.first() });
        }
        let last = index.last().index;
        if high > last.saturating_add(1) {
            return Err(ReadError::Unwritten { last });
        }
        let mut places: Vec<Place> = Vec::new();
        let mut segments: Vec<Segment> = Vec::new();
        let mut bytes = 0;
        for place in (low..high).map_while(|at| index.place(at)).take(MAX_ENTRIES) {
            if let Some(before) = places.last().filter(|before| before.segment() == place.segment()) {
                bytes += u64::from(place.offset() - before.offset());
            } else {
                segments.extend(index.segment(place.segment()).cloned());
            }
            if bytes >= max_bytes && !places.is_empty() {
                break;
            }
            places.push(place);
        }
        Ok((places, segments))
    }
}

/// How many bytes to read from the first of `places`: what lies together, and a little for the last one.
fn read_ahead(places: &[Place], budget: u64) -> u64 {
    let Some(first) = places.first() else { return 0 };
    let end = places.iter().take_while(|place| place.segment() == first.segment()).last().unwrap_or(first);
    let span = u64::from(end.offset() - first.offset()) + AHEAD_BYTES.start();
    span.min(budget).clamp(*AHEAD_BYTES.start(), *AHEAD_BYTES.end())
}

/// A piece of one file.
#[derive(Default)]
struct Window {
    segment: u32,
    offset: u64,
    bytes: Bytes,
}

impl Window {
    /// The bytes of the record at `place`; `None` if what stands there cannot be one.
    fn record(&mut self, segment: &Segment, place: Place, ahead: u64) -> Result<Option<Bytes>, DiskError> {
        if self.slice(place, HEAD_BYTES).is_none() {
            self.load(segment, place, ahead)?;
        }
        let Some(total) = self.slice(place, HEAD_BYTES).and_then(|head| claimed_total(&head)) else {
            return Ok(None);
        };
        if self.slice(place, total).is_none() && u64::from(place.offset()) + total as u64 <= segment.bytes {
            self.load(segment, place, ahead.max(total as u64))?;
        }
        Ok(self.slice(place, total))
    }

    fn slice(&self, place: Place, length: usize) -> Option<Bytes> {
        let at = u64::from(place.offset()).checked_sub(self.offset)? as usize;
        let end = at.checked_add(length)?;
        (self.segment == place.segment() && end <= self.bytes.len()).then(|| self.bytes.slice(at..end))
    }

    fn load(&mut self, segment: &Segment, place: Place, length: u64) -> Result<(), DiskError> {
        let offset = u64::from(place.offset());
        let mut bytes = vec![0; length.min(segment.bytes.saturating_sub(offset)) as usize];
        segment.file.pread(offset, &mut bytes).on("read", &segment_name(segment.id))?;
        *self = Self { segment: segment.id, offset, bytes: bytes.into() };
        Ok(())
    }
}

fn entry(bytes: &Bytes, record: &Record<'_>) -> Option<Entry> {
    let Some(Payload::Entry(raw)) = record.decode() else { return None };
    Some(Entry {
        index: raw.index,
        term: raw.term,
        kind: raw.kind,
        context: bytes.slice_ref(raw.context),
        data: bytes.slice_ref(raw.data),
    })
}
