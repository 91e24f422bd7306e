//! A file made in one go, from buckets and rows in their order.
//!
//! What a meta page says is known only at the end, and it stands at the beginning: so everything is written twice, the
//! first time to nowhere.

use std::io::{self, Sink, Write};

use crate::format::{
    BRANCH, BUCKET_BYTES, ELEMENT_BYTES, FREELIST, HEADER_BYTES, IS_BUCKET, LEAF, META, Meta, PAGE_BYTES,
};

/// What fills a page up.
const ZEROS: [u8; PAGE_BYTES as usize] = [0; PAGE_BYTES as usize];

/// What the first time tells about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    root: u64,
    freelist: u64,
    pages: u64,
}

impl Measured {
    /// The number of the transaction that such a file says it was written by. Whoever writes to it later raises it.
    pub const TRANSACTION: u64 = 1;

    /// How long the file is, in bytes.
    pub fn bytes(&self) -> u64 {
        self.pages * PAGE_BYTES
    }
}

/// Why it was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Whoever takes the bytes.
    #[error("cannot write the file")]
    Io(#[from] io::Error),
    /// The caller.
    #[error("{0} is not behind what came before it")]
    Order(&'static str),
    /// The caller again.
    #[error("a row comes before any bucket")]
    Homeless,
    /// A key or value with its page.
    #[error("a row of {0} bytes is too long for the format")]
    Length(usize),
    /// The second time was not like the first.
    #[error("the rows are other ones than before")]
    Changed,
}

/// See the module.
#[derive(Debug)]
pub struct Writer<W> {
    sink: W,
    next: u64,
    told: Option<Measured>,
    /// The name of the bucket that is being written, and its rows.
    bucket: Option<(Vec<u8>, Tree)>,
    buckets: Tree,
}

impl Writer<Sink> {
    /// The first time.
    pub fn measure() -> Self {
        Self { sink: io::sink(), next: 2, told: None, bucket: None, buckets: Tree::default() }
    }
}

impl<W: Write> Writer<W> {
    /// The second time: the same again, into `sink`.
    pub fn begin(mut sink: W, measured: Measured) -> Result<Self, WriteError> {
        for number in 0..2 {
            let mut page = header(number, META, 0, 0);
            let meta = Meta {
                page_bytes: PAGE_BYTES,
                root: measured.root,
                freelist: measured.freelist,
                pages: measured.pages,
                transaction: number,
            };
            meta.encode(&mut page);
            page.resize(PAGE_BYTES as usize, 0);
            sink.write_all(&page)?;
        }
        Ok(Self { sink, next: 2, told: Some(measured), bucket: None, buckets: Tree::default() })
    }

    /// Begins a bucket. Names are in ascending order.
    pub fn bucket(&mut self, name: &[u8]) -> Result<(), WriteError> {
        self.end_bucket()?;
        self.bucket = Some((name.to_vec(), Tree::default()));
        Ok(())
    }

    /// Adds a row to the bucket that was begun last. Keys are not empty and in ascending order.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), WriteError> {
        let Some((_, tree)) = &mut self.bucket else { return Err(WriteError::Homeless) };
        tree.add_row(key, value, 0, &mut Pages { sink: &mut self.sink, next: &mut self.next })
    }

    /// Ends the file, and gives back where the bytes went.
    pub fn finish(mut self) -> Result<(W, Measured), WriteError> {
        self.end_bucket()?;
        let mut pages = Pages { sink: &mut self.sink, next: &mut self.next };
        let root = std::mem::take(&mut self.buckets).finish(&mut pages)?;
        let freelist = pages.write(FREELIST, 0, &[])?;
        let measured = Measured { root, freelist, pages: self.next };
        if self.told.is_some_and(|told| told != measured) {
            return Err(WriteError::Changed);
        }
        self.sink.flush()?;
        Ok((self.sink, measured))
    }

    fn end_bucket(&mut self) -> Result<(), WriteError> {
        let Some((name, tree)) = self.bucket.take() else { return Ok(()) };
        let mut pages = Pages { sink: &mut self.sink, next: &mut self.next };
        let root = tree.finish(&mut pages)?;
        let mut value = [0; BUCKET_BYTES];
        value[..8].copy_from_slice(&root.to_le_bytes());
        self.buckets.add_row(&name, &value, IS_BUCKET, &mut pages)
    }
}

/// Where pages go, and the number of the next.
struct Pages<'a, W> {
    sink: &'a mut W,
    next: &'a mut u64,
}

impl<W: Write> Pages<'_, W> {
    /// Writes a page with what overflows from it, and tells its number.
    fn write(&mut self, kind: u16, count: u16, body: &[u8]) -> Result<u64, WriteError> {
        let length = HEADER_BYTES + body.len();
        let whole = length.next_multiple_of(PAGE_BYTES as usize);
        let pages = whole / PAGE_BYTES as usize;
        let number = *self.next;
        let overflow = u32::try_from(pages - 1).map_err(|_| WriteError::Length(length))?;
        self.sink.write_all(&header(number, kind, count, overflow))?;
        self.sink.write_all(body)?;
        self.sink.write_all(ZEROS.get(..whole - length).unwrap_or_default())?;
        *self.next += pages as u64;
        Ok(number)
    }
}

fn header(number: u64, kind: u16, count: u16, overflow: u32) -> Vec<u8> {
    let mut page = Vec::with_capacity(HEADER_BYTES);
    page.extend_from_slice(&number.to_le_bytes());
    page.extend_from_slice(&kind.to_le_bytes());
    page.extend_from_slice(&count.to_le_bytes());
    page.extend_from_slice(&overflow.to_le_bytes());
    page
}

/// A tree that grows at its end: of each level the page that is not full yet. The leaves are the first.
#[derive(Debug, Default)]
struct Tree {
    levels: Vec<Level>,
    /// The last key.
    last: Vec<u8>,
}

/// A page that is not full yet.
#[derive(Debug, Default)]
struct Level {
    elements: Vec<Element>,
    keys_and_values: Vec<u8>,
    /// The key of the first element.
    first: Vec<u8>,
    /// Whether it is not the first page of its level.
    has_elders: bool,
}

#[derive(Clone, Copy, Debug)]
struct Element {
    /// Of a leaf its flags, of a branch the number of the page below.
    number: u64,
    key_bytes: u32,
    value_bytes: u32,
}

impl Tree {
    fn add_row<W: Write>(
        &mut self,
        key: &[u8],
        value: &[u8],
        flags: u32,
        pages: &mut Pages<'_, W>,
    ) -> Result<(), WriteError> {
        if *key <= *self.last {
            return Err(WriteError::Order("a key"));
        }
        self.last.clear();
        self.last.extend_from_slice(key);
        self.add(0, key, value, u64::from(flags), pages)
    }

    fn add<W: Write>(
        &mut self,
        depth: usize,
        key: &[u8],
        value: &[u8],
        number: u64,
        pages: &mut Pages<'_, W>,
    ) -> Result<(), WriteError> {
        if self.levels.len() == depth {
            self.levels.push(Level::default());
        }
        // A branch has two elements at least, or the levels above would not become smaller.
        let elements_min = if depth == 0 { 1 } else { 2 };
        let added = ELEMENT_BYTES + key.len() + value.len();
        let is_full = self.levels.get(depth).is_some_and(|level| {
            level.elements.len() >= elements_min && level.bytes() + added > PAGE_BYTES as usize
        });
        if is_full {
            self.flush(depth, pages)?;
        }
        let Some(level) = self.levels.get_mut(depth) else { return Ok(()) };
        let too_long = |_| WriteError::Length(added);
        let key_bytes = u32::try_from(key.len()).map_err(too_long)?;
        let value_bytes = u32::try_from(value.len()).map_err(too_long)?;
        if level.elements.is_empty() {
            level.first.clear();
            level.first.extend_from_slice(key);
        }
        level.elements.push(Element { number, key_bytes, value_bytes });
        level.keys_and_values.extend_from_slice(key);
        level.keys_and_values.extend_from_slice(value);
        Ok(())
    }

    /// Writes the page of a level and tells the level above.
    fn flush<W: Write>(&mut self, depth: usize, pages: &mut Pages<'_, W>) -> Result<(), WriteError> {
        let Some(level) = self.levels.get_mut(depth) else { return Ok(()) };
        let number = level.write(depth == 0, pages)?;
        let first = std::mem::take(&mut level.first);
        self.add(depth + 1, &first, &[], number, pages)
    }

    /// Writes what is left, and tells the number of the root.
    fn finish<W: Write>(mut self, pages: &mut Pages<'_, W>) -> Result<u64, WriteError> {
        if self.levels.is_empty() {
            self.levels.push(Level::default());
        }
        let mut depth = 0;
        loop {
            let Some(level) = self.levels.get_mut(depth) else { return Err(WriteError::Order("a level")) };
            let is_only = !level.has_elders;
            match level.elements.as_slice() {
                // The one page below is the root: nothing is beside it.
                [only] if depth > 0 && is_only => return Ok(only.number),
                [] if !is_only => {}
                _ if is_only => return level.write(depth == 0, pages),
                _ => self.flush(depth, pages)?,
            }
            depth += 1;
        }
    }
}

impl Level {
    fn bytes(&self) -> usize {
        HEADER_BYTES + self.elements.len() * ELEMENT_BYTES + self.keys_and_values.len()
    }

    fn write<W: Write>(&mut self, is_leaf: bool, pages: &mut Pages<'_, W>) -> Result<u64, WriteError> {
        let mut body = Vec::with_capacity(self.bytes());
        let headers = self.elements.len() * ELEMENT_BYTES;
        let mut data = 0;
        for (at, element) in self.elements.iter().enumerate() {
            // From the element's own place on.
            let position = headers - at * ELEMENT_BYTES + data;
            let position = u32::try_from(position).map_err(|_| WriteError::Length(position))?;
            if is_leaf {
                for number in [element.number as u32, position, element.key_bytes, element.value_bytes] {
                    body.extend_from_slice(&number.to_le_bytes());
                }
            } else {
                body.extend_from_slice(&position.to_le_bytes());
                body.extend_from_slice(&element.key_bytes.to_le_bytes());
                body.extend_from_slice(&element.number.to_le_bytes());
            }
            data += element.key_bytes as usize + element.value_bytes as usize;
        }
        body.extend_from_slice(&self.keys_and_values);
        let count = self.elements.len() as u16;
        let (kind, count) = if is_leaf { (LEAF, count) } else { (BRANCH, count) };
        let number = pages.write(kind, count, &body)?;
        self.elements.clear();
        self.keys_and_values.clear();
        self.has_elders = true;
        Ok(number)
    }
}
