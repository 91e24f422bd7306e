//! Walking over rows in key order.

use rocksdb::{ColumnFamily, DB, DBRawIterator, ErrorKind, ReadOptions};

use crate::StoreError;

/// A span of rows: from `lower`, inclusive, up to `upper`, exclusive; `None` is no bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The first key that may be in it.
    pub lower: Option<Vec<u8>>,
    /// The first key after it.
    pub upper: Option<Vec<u8>>,
}

/// Which way a cursor walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From small keys to large ones.
    Forward,
    /// From large keys to small ones.
    Backward,
}

/// A position in a span. It stands on a row until it has walked past the last one.
///
/// A cursor that ran into an error, or gave up, looks as if it were at the end: ask [`Cursor::finish`].
pub struct Cursor<'a> {
    inner: DBRawIterator<'a>,
    direction: Direction,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(
        db: &'a DB,
        family: &ColumnFamily,
        span: &Span,
        direction: Direction,
        mut read: ReadOptions,
    ) -> Self {
        if let Some(lower) = &span.lower {
            read.set_iterate_lower_bound(lower.clone());
        }
        if let Some(upper) = &span.upper {
            read.set_iterate_upper_bound(upper.clone());
        }
        let mut inner = db.raw_iterator_cf_opt(family, read);
        match direction {
            Direction::Forward => inner.seek_to_first(),
            Direction::Backward => inner.seek_to_last(),
        }
        Self { inner, direction }
    }

    /// The row it stands on: key and value.
    pub fn row(&self) -> Option<(&[u8], &[u8])> {
        self.inner.item()
    }

    /// The key of the row it stands on.
    pub fn key(&self) -> Option<&[u8]> {
        self.inner.key()
    }

    /// Walks one row on.
    pub fn step(&mut self) {
        if self.inner.valid() {
            match self.direction {
                Direction::Forward => self.inner.next(),
                Direction::Backward => self.inner.prev(),
            }
        }
    }

    /// Jumps to the first row at `key` or after it, in the direction of walking.
    pub fn seek(&mut self, key: &[u8]) {
        match self.direction {
            Direction::Forward => self.inner.seek(key),
            Direction::Backward => self.inner.seek_for_prev(key),
        }
    }

    /// Whether it stands nowhere because there were too many dead rows ([`crate::Moment::scan_within`]).
    pub fn gave_up(&self) -> bool {
        self.inner.status().is_err_and(|error| error.kind() == ErrorKind::Incomplete)
    }

    /// Whether it came to where it is without an error. To have given up is one.
    pub fn finish(&self) -> Result<(), StoreError> {
        self.inner.status().map_err(StoreError::Read)
    }
}
