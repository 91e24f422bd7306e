//! A segment that is read at start, a piece at a time: segments are large, and what is kept of them is little.

use std::io;

use crate::index::Segment;

/// So much is read at once, and no more is kept, in bytes, unless one record is larger.
const WINDOW_BYTES: usize = 256 << 10;

/// See the module.
pub(crate) struct Window<'a> {
    segment: &'a Segment,
    begin: usize,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    pub(crate) fn new(segment: &'a Segment) -> Self {
        Self { segment, begin: 0, bytes: Vec::new() }
    }

    /// Of how many bytes the segment is.
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.segment.bytes).unwrap_or(usize::MAX)
    }

    /// What stands from `offset` on: `least` bytes or more, or all up to the end.
    pub(crate) fn at(&mut self, offset: usize, least: usize) -> io::Result<&[u8]> {
        let left = self.len().saturating_sub(offset);
        let least = least.min(left);
        let has = |begin: usize, bytes: &[u8]| offset >= begin && offset - begin + least <= bytes.len();
        if !has(self.begin, &self.bytes) {
            self.bytes.clear();
            self.bytes.shrink_to(WINDOW_BYTES);
            self.bytes.resize(least.max(WINDOW_BYTES).min(left), 0);
            self.begin = offset;
            if let Err(error) = self.segment.file.pread(offset as u64, &mut self.bytes) {
                self.bytes.clear();
                return Err(error);
            }
        }
        Ok(self.bytes.get(offset - self.begin..).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::disk::{Disk as _, Folder};

    #[test]
    fn pieces_are_what_stands_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Folder::new(folder.path());
        let file: Arc<dyn crate::disk::File> = disk.create("x").expect("a file");
        let bytes: Vec<u8> = (0..3 * WINDOW_BYTES as u64 + 5).map(|at| (at % 251) as u8).collect();
        file.pwrite(0, &bytes).expect("room");
        let segment = Segment { id: 1, file, bytes: bytes.len() as u64 };
        let mut window = Window::new(&segment);
        let end = bytes.len();
        for (offset, least) in [
            (0, 24),
            (WINDOW_BYTES - 8, 24),
            (10, 2 * WINDOW_BYTES),
            (end - 8, 24),
            (end, 24),
            (end + 9, 24),
            (7, 0),
            (3, end),
        ] {
            let found = window.at(offset, least).expect("it is readable");
            let expect = bytes.get(offset..).unwrap_or_default();
            assert!(found.len() >= least.min(expect.len()), "{least} from {offset}");
            assert_eq!(found, &expect[..found.len()], "{least} from {offset}");
        }
    }
}
