//! What is appended together: laid out once, in the bytes that go to disk.
//!
//! A batch is filled, given to [`crate::Wal::append`], cleared and filled again; its buffer is the only copy
//! that the log makes of an entry. It never touches a file.

use crate::log::AppendError;
use crate::record::{
    HardState, Kind, MARK_BYTES, Mark, START_BYTES, Start, entry_bytes, hard_bytes, mark_bytes, put_record,
    start_bytes,
};

/// Room that is kept before the records, for what only the log knows when it writes them: that a segment
/// begins, and that the entries replace a suffix.
const FRONT_BYTES: usize = START_BYTES + MARK_BYTES;
/// A buffer that had to grow beyond this for one batch gives the memory back.
const KEPT_BYTES: usize = 4 << 20;
/// Offsets in a segment are 32 bits wide; half of that leaves room for everything around a batch.
const MAX_BYTES: usize = 1 << 30;

/// Entries and at most one hard state, for one write and one sync.
pub struct Batch {
    buffer: Vec<u8>,
    entries: Vec<Placed>,
    hard: Option<HardState>,
    reset: Option<Mark>,
    fault: Option<Fault>,
}

/// Where an entry's record begins in the buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) at: usize,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Gap(Placed, u64),
    TooLarge,
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self { buffer: vec![0; FRONT_BYTES], entries: Vec::new(), hard: None, reset: None, fault: None }
    }

    /// Adds the entry after the one added before. `kind`, `context` and `data` come back as they are.
    ///
    /// An entry that does not follow, or one too many bytes, is reported by `append`.
    pub fn entry(&mut self, index: u64, term: u64, kind: u8, context: &[u8], data: &[u8]) {
        let placed = Placed { index, term, at: self.buffer.len() };
        if let Some(last) = self.entries.last()
            && (last.index.checked_add(1) != Some(index) || term < last.term)
        {
            self.fault.get_or_insert(Fault::Gap(placed, last.index));
            return;
        }
        if self.fault.is_some() || self.buffer.len() + context.len() + data.len() > MAX_BYTES {
            self.fault.get_or_insert(Fault::TooLarge);
            return;
        }
        self.entries.push(placed);
        let head = entry_bytes(index, term, kind, context.len() as u32);
        put_record(&mut self.buffer, Kind::Entry, &[&head, context, data]);
    }

    /// Sets the hard state; the last one of a batch counts.
    pub fn hard_state(&mut self, hard: HardState) {
        self.hard = Some(hard);
        put_record(&mut self.buffer, Kind::Hard, &[&hard_bytes(&hard)]);
    }

    /// Forgets everything but the buffer's capacity, as far as that is of a usual size.
    pub fn clear(&mut self) {
        self.buffer.truncate(FRONT_BYTES);
        self.buffer.shrink_to(KEPT_BYTES);
        self.entries.clear();
        self.hard = None;
        self.reset = None;
        self.fault = None;
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.buffer.len() == FRONT_BYTES && self.fault.is_none()
    }

    /// Bytes that it will take in the log.
    pub fn bytes(&self) -> usize {
        self.buffer.len() - FRONT_BYTES
    }

    /// A log without entries that goes on after `mark`.
    pub(crate) fn reset(mark: Mark, hard: Option<HardState>) -> Self {
        let mut batch = Self::new();
        put_record(&mut batch.buffer, Kind::Reset, &[&mark_bytes(mark)]);
        batch.reset = Some(mark);
        if let Some(hard) = hard {
            batch.hard_state(hard);
        }
        batch
    }

    pub(crate) fn check(&self) -> Result<(), AppendError> {
        match self.fault {
            None => Ok(()),
            Some(Fault::Gap(placed, last)) => Err(AppendError::Gap { index: placed.index, last }),
            Some(Fault::TooLarge) => Err(AppendError::TooLarge),
        }
    }

    pub(crate) fn entries(&self) -> &[Placed] {
        &self.entries
    }

    pub(crate) fn hard(&self) -> Option<HardState> {
        self.hard
    }

    pub(crate) fn reset_mark(&self) -> Option<Mark> {
        self.reset
    }

    /// Puts what only the log knows in front, and returns where in the buffer the bytes to write begin.
    pub(crate) fn front(&mut self, start: Option<&Start>, cut: Option<Mark>) -> (usize, &mut [u8]) {
        let mut front = Vec::with_capacity(FRONT_BYTES);
        if let Some(start) = start {
            put_record(&mut front, Kind::Start, &[&start_bytes(start)]);
        }
        if let Some(cut) = cut {
            put_record(&mut front, Kind::Cut, &[&mark_bytes(cut)]);
        }
        let begin = FRONT_BYTES - front.len();
        if let Some(room) = self.buffer.get_mut(begin..FRONT_BYTES) {
            room.copy_from_slice(&front);
        }
        (begin, self.buffer.get_mut(begin..).unwrap_or_default())
    }
}
