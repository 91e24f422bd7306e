//! What was handed out as committed and is not known to be applied.

use std::collections::VecDeque;

use raft::eraftpb::Entry;

/// A follower takes no more entries in while so many bytes of committed ones wait to be applied here: the others go on
/// without it, and its memory must not grow with them.
const UNAPPLIED_BYTES_MAX: usize = 64 << 20;

/// See the module.
#[derive(Default)]
pub(crate) struct Unapplied {
    // The last index of each piece, and its bytes.
    pieces: VecDeque<(u64, usize)>,
    bytes: usize,
}

impl Unapplied {
    pub(crate) fn add(&mut self, entries: &[Entry]) {
        if let Some(last) = entries.last() {
            let bytes = entries.iter().map(|entry| entry.data.len() + entry.context.len()).sum();
            self.pieces.push_back((last.index, bytes));
            self.bytes += bytes;
        }
    }

    pub(crate) fn remove(&mut self, applied: u64) {
        while let Some((_, bytes)) = self.pieces.pop_front_if(|(last, _)| *last <= applied) {
            self.bytes -= bytes;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes > UNAPPLIED_BYTES_MAX
    }
}
