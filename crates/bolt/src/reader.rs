//! A file, opened: its meta page and its buckets.

use std::io;

use crate::format::{
    BUCKET_BYTES, HEADER_BYTES, META, META_BYTES, Meta, has_magic, page_sizes, take_u16, take_u32, take_u64,
};
use crate::rows::{Page, Row, Rows};

/// Bytes that can be read at any place, as those of a file.
pub trait Seek {
    /// Fills `into` with the bytes from `offset` on; an error if there are not so many.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;
    /// How many there are.
    fn bytes(&self) -> u64;
}

impl Seek for Vec<u8> {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = offset.saturating_add(into.len());
        into.copy_from_slice(self.get(offset..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.len() as u64
    }
}

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum BoltError {
    /// The disk.
    #[error("cannot read the file")]
    Io(#[from] io::Error),
    /// It is none of bbolt's.
    #[error("this is no file of bbolt")]
    Foreign,
    /// Both meta pages are damaged.
    #[error("neither of its two meta pages is whole")]
    Meta,
    /// It is shorter than it says.
    #[error("it is cut off: it should have {told} bytes and has {found}")]
    CutOff {
        /// What it says.
        told: u64,
        /// How many there are.
        found: u64,
    },
    /// A page is not as it was written.
    #[error("page {page} is damaged: {what}")]
    Page {
        /// Its number.
        page: u64,
        /// What is wrong.
        what: &'static str,
    },
}

/// See the module. It is never changed while this is there.
#[derive(Debug)]
pub struct Reader<S> {
    pub(crate) source: S,
    pub(crate) meta: Meta,
}

impl<S: Seek> Reader<S> {
    /// Finds the newer of the two meta pages that is whole.
    pub fn open(source: S) -> Result<Self, BoltError> {
        let first = meta_at(&source, 0)?;
        let second = if let Some(first) = first.whole {
            meta_at(&source, first.page_bytes)?.whole
        } else {
            let at = |size| meta_at(&source, size).ok()?.whole.filter(|meta| meta.page_bytes == size);
            page_sizes().find_map(at)
        };
        let metas = first.whole.into_iter().chain(second);
        let Some(meta) = metas.max_by_key(|meta| meta.transaction) else {
            return Err(if first.has_magic { BoltError::Meta } else { BoltError::Foreign });
        };
        let (told, found) = (meta.pages.saturating_mul(meta.page_bytes), source.bytes());
        if told > found {
            return Err(BoltError::CutOff { told, found });
        }
        Ok(Self { source, meta })
    }

    /// How long it is by its own count, in bytes. There may be something behind.
    pub fn bytes(&self) -> u64 {
        self.meta.pages * self.meta.page_bytes
    }

    /// The number of the last transaction that wrote to it. What [`crate::Writer`] made has [`crate::Measured::TRANSACTION`].
    pub fn transaction(&self) -> u64 {
        self.meta.transaction
    }

    /// The buckets, in the order of their names; each is a row whose value is to be given to [`Reader::bucket`].
    pub fn buckets(&self) -> Result<Rows<'_, S>, BoltError> {
        Rows::new(self, Page::Number(self.meta.root))
    }

    /// The names of all buckets, in order.
    pub fn names(&self) -> Result<Vec<Vec<u8>>, BoltError> {
        let mut names = Vec::new();
        let mut buckets = self.buckets()?;
        while let Some(Row { key, is_bucket, .. }) = buckets.next_row()? {
            if is_bucket {
                names.push(key.to_vec());
            }
        }
        Ok(names)
    }

    /// The rows of a bucket; `None` if there is no such bucket.
    pub fn bucket(&self, name: &[u8]) -> Result<Option<Rows<'_, S>>, BoltError> {
        let mut buckets = self.buckets()?;
        while let Some(row) = buckets.next_row()? {
            if row.is_bucket && row.key == name {
                let page = bucket_page(row.value).ok_or(bad(self.meta.root, "a bucket is cut short"))?;
                return Rows::new(self, page).map(Some);
            }
        }
        Ok(None)
    }
}

pub(crate) fn bad(page: u64, what: &'static str) -> BoltError {
    BoltError::Page { page, what }
}

/// Where the tree of a bucket begins.
fn bucket_page(value: &[u8]) -> Option<Page> {
    let (mut header, inline) = value.split_at_checked(BUCKET_BYTES)?;
    Some(match take_u64(&mut header)? {
        0 => Page::Inline(inline.to_vec()),
        root => Page::Number(root),
    })
}

struct Found {
    whole: Option<Meta>,
    has_magic: bool,
}

fn meta_at(source: &impl Seek, offset: u64) -> Result<Found, BoltError> {
    let mut page = [0; HEADER_BYTES + META_BYTES];
    match source.read_at(offset, &mut page) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Ok(Found { whole: None, has_magic: false });
        }
        Err(error) => return Err(error.into()),
    }
    let Some((mut header, meta)) = page.split_last_chunk::<META_BYTES>() else { return Err(BoltError::Meta) };
    let _number = take_u64(&mut header);
    let is_meta = take_u16(&mut header) == Some(META);
    let _rest = (take_u16(&mut header), take_u32(&mut header));
    Ok(Found { whole: Meta::decode(meta).filter(|_| is_meta), has_magic: has_magic(meta) })
}
