//! The rows of a tree, in order: a walk with one page of each level in memory.

use std::ops::Range;

use crate::format::{
    BRANCH, DEPTH_MAX, ELEMENT_BYTES, HEADER_BYTES, IS_BUCKET, LEAF, PAGE_BYTES_MAX, take_u16, take_u32,
    take_u64,
};
use crate::reader::{BoltError, Reader, Seek, bad};

/// A row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// Its key.
    pub key: &'a [u8],
    /// Its value; of a bucket that lies in the one that is read, what describes it.
    pub value: &'a [u8],
    /// Whether it is a bucket.
    pub is_bucket: bool,
}

/// Where a tree begins.
pub(crate) enum Page {
    Number(u64),
    /// In the row that describes the bucket.
    Inline(Vec<u8>),
}

/// See the module.
#[derive(Debug)]
pub struct Rows<'a, S> {
    reader: &'a Reader<S>,
    levels: Vec<Level>,
    /// The key that was handed out last; the next has to be greater.
    last: Option<Vec<u8>>,
    /// Pages that were read: of a tree, no more than the file has.
    visited: u64,
}

#[derive(Debug)]
struct Level {
    number: u64,
    bytes: Vec<u8>,
    is_leaf: bool,
    count: usize,
    next: usize,
}

/// What an element of a page says.
enum Element {
    Child(u64),
    Row { key: Range<usize>, value: Range<usize>, is_bucket: bool },
}

impl<'a, S: Seek> Rows<'a, S> {
    pub(crate) fn new(reader: &'a Reader<S>, page: Page) -> Result<Self, BoltError> {
        let mut rows = Self { reader, levels: Vec::new(), last: None, visited: 0 };
        match page {
            Page::Number(number) => rows.enter(number)?,
            Page::Inline(bytes) => rows.take(0, bytes)?,
        }
        Ok(rows)
    }

    /// The next row; `None` after the last.
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>, BoltError> {
        loop {
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            if level.next == level.count {
                self.levels.pop();
                continue;
            }
            let at = level.next;
            level.next += 1;
            match level.element(at).ok_or(bad(level.number, "an element points outside of it"))? {
                Element::Child(child) => self.enter(child)?,
                Element::Row { key, value, is_bucket } => {
                    let number = level.number;
                    self.keep_order(number, &key)?;
                    let bytes = self.levels.last().map(|level| level.bytes.as_slice()).unwrap_or_default();
                    let (key, value) = bytes.get(key).zip(bytes.get(value)).unwrap_or_default();
                    return Ok(Some(Row { key, value, is_bucket }));
                }
            }
        }
    }

    fn keep_order(&mut self, number: u64, key: &Range<usize>) -> Result<(), BoltError> {
        let bytes = self.levels.last().map(|level| level.bytes.as_slice()).unwrap_or_default();
        let key = bytes.get(key.clone()).unwrap_or_default();
        let last = self.last.get_or_insert_default();
        if !key.is_empty() && *key <= **last {
            return Err(bad(number, "its keys are not in order"));
        }
        last.clear();
        last.extend_from_slice(key);
        Ok(())
    }

    fn enter(&mut self, number: u64) -> Result<(), BoltError> {
        let meta = &self.reader.meta;
        self.visited += 1;
        if self.visited > meta.pages || self.levels.len() >= DEPTH_MAX {
            return Err(bad(number, "it is part of a circle"));
        }
        if number < 2 || number >= meta.pages {
            return Err(bad(number, "it is named and not there"));
        }
        let offset = number * meta.page_bytes;
        let mut header = [0; HEADER_BYTES];
        self.reader.source.read_at(offset, &mut header)?;
        let overflow = header.last_chunk::<4>().map_or(0, |overflow| u32::from_le_bytes(*overflow));
        let pages = u64::from(overflow) + 1;
        let length = pages * meta.page_bytes;
        if pages > meta.pages - number || length > PAGE_BYTES_MAX {
            return Err(bad(number, "it is longer than there is room"));
        }
        let mut bytes = vec![0; length as usize];
        self.reader.source.read_at(offset, &mut bytes)?;
        self.take(number, bytes)
    }

    /// Checks what a page says of itself. An inline page has no number.
    fn take(&mut self, number: u64, bytes: Vec<u8>) -> Result<(), BoltError> {
        let mut header = bytes.as_slice();
        let read =
            (take_u64(&mut header), take_u16(&mut header), take_u16(&mut header), take_u32(&mut header));
        let (Some(told), Some(flags), Some(count), Some(_)) = read else {
            return Err(bad(number, "it is cut short"));
        };
        if told != number {
            return Err(bad(number, "it has another number"));
        }
        let is_leaf = match flags {
            LEAF => true,
            BRANCH => false,
            _ => return Err(bad(number, "it is no page of rows")),
        };
        if !is_leaf && count == 0 {
            return Err(bad(number, "it leads nowhere"));
        }
        self.levels.push(Level { number, bytes, is_leaf, count: usize::from(count), next: 0 });
        Ok(())
    }
}

impl Level {
    fn element(&self, at: usize) -> Option<Element> {
        let begin = HEADER_BYTES + at * ELEMENT_BYTES;
        let mut element = self.bytes.get(begin..begin + ELEMENT_BYTES)?;
        if !self.is_leaf {
            let (_position, _length) = (take_u32(&mut element)?, take_u32(&mut element)?);
            return Some(Element::Child(take_u64(&mut element)?));
        }
        let flags = take_u32(&mut element)?;
        let [position, key, value] =
            [take_u32(&mut element)?, take_u32(&mut element)?, take_u32(&mut element)?]
                .map(|number| number as usize);
        let key_begin = begin.checked_add(position)?;
        let key_end = key_begin.checked_add(key)?;
        let value_end = key_end.checked_add(value)?;
        (value_end <= self.bytes.len()).then_some(Element::Row {
            key: key_begin..key_end,
            value: key_end..value_end,
            is_bucket: flags & IS_BUCKET != 0,
        })
    }
}
