//! A range in pages: as much of it as fits into a number of bytes, and where the rest begins.
//!
//! Pages are read from the rows and not through the index, so that no page costs more than what it holds, and all
//! pages of a revision show the same whatever is written between them.

use std::ops::ControlFlow;

use bytes::Bytes;
use store::Direction;
use types::{KeyRange, KeyValue, Revision};

use crate::select::{Arena, Entry, Source};
use crate::view::admit;
use crate::{Mvcc, ReadError, history};

/// What a pair takes besides its key and its value, in bytes, roughly.
const PAIR_BYTES: usize = 64;

/// What a page may hold. It holds one pair at least, if there is one.
#[derive(Clone, Copy, Debug)]
pub struct PageLimits {
    /// So many pairs at most; not zero.
    pub keys_max: usize,
    /// It is full when it holds so many bytes.
    pub bytes_max: usize,
    /// Without values.
    pub keys_only: bool,
}

/// A part of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The pairs, in the order of keys.
    pub kvs: Vec<KeyValue>,
    /// What is left, beginning with a key that is there; `None` if nothing is.
    pub rest: Option<KeyRange>,
}

impl Mvcc {
    /// Which revision a request means by `at`, if it may, and which is the current one.
    pub fn admit(&self, at: Option<Revision>) -> Result<(Revision, Revision), ReadError> {
        let state = self.state.read();
        Ok((admit(at, state.revision, state.compacted)?, state.revision))
    }

    /// The first page of `range` as it was at `at`.
    pub fn page(&self, range: &KeyRange, at: Revision, limits: PageLimits) -> Result<Page, ReadError> {
        let view = self.view();
        let at = admit(Some(at), view.revision, view.compacted)?;
        let mut page = Page { kvs: Vec::new(), rest: None };
        if range.is_empty() {
            return Ok(page);
        }
        let (mut arena, mut bytes) = (Arena::new(), 0);
        let mut visit = |key: &[u8], meta, value: Option<&[u8]>| {
            if page.kvs.len() >= limits.keys_max || bytes >= limits.bytes_max && !page.kvs.is_empty() {
                page.rest = Some(KeyRange { start: Bytes::copy_from_slice(key), end: range.end.clone() });
                return ControlFlow::Break(());
            }
            let value = if limits.keys_only { &[] } else { value.unwrap_or_default() };
            bytes += key.len() + value.len() + PAIR_BYTES;
            let (key, value) = (arena.store(key), Some(arena.store(value)));
            page.kvs.push(Entry { key, meta, value }.into_kv());
            ControlFlow::Continue(())
        };
        if limits.keys_only {
            view.at(at).visit(range, Direction::Forward, &mut visit)?;
        } else {
            history::walk_once(&view.moment, range, at, &mut visit)?;
        }
        Ok(page)
    }
}
