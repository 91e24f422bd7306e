//! Numbers of the format, and a meta page from and to its bytes. All numbers in a file are little-endian here: that of
//! the machines on which etcd runs.

use crate::fnv::fnv1a;

/// A page with all that overflows from it is no larger, in bytes. etcd takes no value of more than 1.5 MiB by default.
pub const PAGE_BYTES_MAX: u64 = 1 << 30;
/// Levels of a tree: a page of 4 KiB has room for two keys at least, of those that etcd writes for more than a hundred.
pub const DEPTH_MAX: usize = 64;

/// What this crate writes, in bytes.
pub(crate) const PAGE_BYTES: u64 = 4096;
pub(crate) const HEADER_BYTES: usize = 16;
pub(crate) const ELEMENT_BYTES: usize = 16;

pub(crate) const BRANCH: u16 = 0x01;
pub(crate) const LEAF: u16 = 0x02;
pub(crate) const META: u16 = 0x04;
pub(crate) const FREELIST: u16 = 0x10;

/// Set in a row that is a bucket.
pub(crate) const IS_BUCKET: u32 = 1;
/// Root page and sequence, before the page itself if that lies inline.
pub(crate) const BUCKET_BYTES: usize = 16;

const MAGIC: u32 = 0xed0c_daed;
const VERSION: u32 = 2;
/// All of a meta page behind its header, and that without the checksum.
pub(crate) const META_BYTES: usize = 64;
const SUMMED_BYTES: usize = 56;
/// Page sizes that a system may have, in bytes.
const PAGE_SIZES: std::ops::RangeInclusive<u64> = 1024..=65_536;

/// What a meta page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) page_bytes: u64,
    /// The root page of the tree of buckets.
    pub(crate) root: u64,
    pub(crate) freelist: u64,
    /// Pages in the file: all page numbers are below.
    pub(crate) pages: u64,
    /// Which transaction wrote it.
    pub(crate) transaction: u64,
}

impl Meta {
    /// Replaces nothing but appends, behind the header of the page.
    pub(crate) fn encode(&self, into: &mut Vec<u8>) {
        let begin = into.len();
        for number in [MAGIC, VERSION, self.page_bytes as u32, 0] {
            into.extend_from_slice(&number.to_le_bytes());
        }
        for number in [self.root, 0, self.freelist, self.pages, self.transaction] {
            into.extend_from_slice(&number.to_le_bytes());
        }
        let sum = fnv1a(into.get(begin..).unwrap_or_default());
        into.extend_from_slice(&sum.to_le_bytes());
    }

    /// `None` if it is not one, or a checksum does not match.
    pub(crate) fn decode(bytes: &[u8; META_BYTES]) -> Option<Self> {
        let (body, sum) = bytes.split_last_chunk::<8>()?;
        debug_assert_eq!(body.len(), SUMMED_BYTES, "the checksum is behind everything");
        let mut rest = body;
        let [magic, version, page_bytes, _] = [0; 4].map(|_: u32| take_u32(&mut rest).unwrap_or_default());
        let [root, _, freelist, pages, transaction] =
            [0; 5].map(|_: u64| take_u64(&mut rest).unwrap_or_default());
        let page_bytes = u64::from(page_bytes);
        let is_sound = magic == MAGIC
            && version == VERSION
            && fnv1a(body) == u64::from_le_bytes(*sum)
            && page_bytes.is_power_of_two()
            && PAGE_SIZES.contains(&page_bytes);
        is_sound.then_some(Self { page_bytes, root, freelist, pages, transaction })
    }
}

/// Where the second meta page may be: behind a first one of any size.
pub(crate) fn page_sizes() -> impl Iterator<Item = u64> {
    std::iter::successors(Some(*PAGE_SIZES.start()), |size| Some(size * 2))
        .take_while(|size| PAGE_SIZES.contains(size))
}

/// Whether a file that begins so is meant to be one of bbolt's: the number is there, right or not.
pub(crate) fn has_magic(meta: &[u8; META_BYTES]) -> bool {
    meta.starts_with(&MAGIC.to_le_bytes())
}

pub(crate) fn take_u16(from: &mut &[u8]) -> Option<u16> {
    let (number, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(u16::from_le_bytes(*number))
}

pub(crate) fn take_u32(from: &mut &[u8]) -> Option<u32> {
    let (number, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(u32::from_le_bytes(*number))
}

pub(crate) fn take_u64(from: &mut &[u8]) -> Option<u64> {
    let (number, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(u64::from_le_bytes(*number))
}
