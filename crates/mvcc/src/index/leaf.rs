//! A leaf of the index: a few dozen entries in one run of bytes.
//!
//! An entry is: key length, key, main and sub of the last change, how far before it the key was created, version,
//! lease; numbers are written with seven bits a byte, so that a young key with a short name costs some twenty
//! bytes in all, without an allocation of its own.

use crate::row::{Meta, Position};

/// More entries than this make a leaf split.
pub(super) const ENTRIES_MAX: usize = 64;
/// A leaf of more bytes than this splits too, when it has enough entries for two.
const BYTES_MAX: usize = 8 << 10;
/// Below this a leaf looks for a neighbour to merge with.
const ENTRIES_MIN: usize = 16;
/// The longest a number gets.
const NUMBER_BYTES_MAX: usize = 10;

/// Entries in key order.
#[derive(Default)]
pub(super) struct Leaf {
    /// Where each entry begins in `bytes`.
    starts: Vec<u32>,
    bytes: Vec<u8>,
}

impl Leaf {
    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }

    /// The bytes it holds on to, used or not.
    pub(super) fn memory_bytes(&self) -> usize {
        self.starts.capacity() * size_of::<u32>() + self.bytes.capacity()
    }

    pub(super) fn is_too_large(&self) -> bool {
        self.len() > ENTRIES_MAX || (self.bytes.len() > BYTES_MAX && self.len() >= ENTRIES_MIN)
    }

    pub(super) fn is_small(&self) -> bool {
        self.len() < ENTRIES_MIN
    }

    /// Whether both fit in one, with some room to grow.
    pub(super) fn can_merge(&self, right: &Self) -> bool {
        self.len() + right.len() <= ENTRIES_MAX * 3 / 4 && self.bytes.len() + right.bytes.len() <= BYTES_MAX
    }

    /// Where `key` is, or where it would go.
    pub(super) fn find(&self, key: &[u8]) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.key(middle).cmp(key) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// As [`Leaf::find`], for a key that is likely to come after all that are here.
    pub(super) fn find_from_end(&self, key: &[u8]) -> Result<usize, usize> {
        match self.len().checked_sub(1) {
            Some(last) if self.key(last) < key => Err(self.len()),
            _ => self.find(key),
        }
    }

    /// The place of the first entry at `key` or after it.
    pub(super) fn lower_bound(&self, key: &[u8]) -> usize {
        self.find(key).unwrap_or_else(|at| at)
    }

    pub(super) fn key(&self, at: usize) -> &[u8] {
        split_key(self.raw(at)).0
    }

    pub(super) fn entry(&self, at: usize) -> (&[u8], Meta) {
        let (key, mut rest) = split_key(self.raw(at));
        let main = take_number(&mut rest);
        let sub = take_number(&mut rest) as u32;
        let create = main.wrapping_sub(take_number(&mut rest));
        let version = take_number(&mut rest);
        let lease = take_number(&mut rest) as i64;
        (key, Meta { modified: Position::new(main, sub), create, version, lease })
    }

    /// Puts an entry in at the place that `find` named.
    pub(super) fn insert(&mut self, at: usize, key: &[u8], meta: &Meta) {
        let start = self.start(at);
        if self.starts.len() == self.starts.capacity() {
            self.starts.reserve_exact(8);
        }
        self.starts.insert(at, start as u32);
        self.splice(at, start, start, key, meta);
    }

    /// Writes an entry over the one of the same key.
    pub(super) fn replace(&mut self, at: usize, key: &[u8], meta: &Meta) {
        self.splice(at, self.start(at), self.start(at + 1), key, meta);
    }

    pub(super) fn remove(&mut self, at: usize) {
        let (start, end) = (self.start(at), self.start(at + 1));
        self.bytes.drain(start..end);
        self.starts.remove(at);
        self.shift(at, start, end, 0);
    }

    /// Cuts off everything from `at` on.
    pub(super) fn split_off(&mut self, at: usize) -> Self {
        let cut = self.start(at);
        let bytes = self.bytes.split_off(cut);
        let mut starts = self.starts.split_off(at);
        for start in &mut starts {
            *start -= cut as u32;
        }
        self.bytes.shrink_to_fit();
        Self { starts, bytes }
    }

    /// Takes in all of the right neighbour.
    pub(super) fn append(&mut self, right: &Self) {
        let base = self.bytes.len() as u32;
        self.bytes.extend_from_slice(&right.bytes);
        self.starts.extend(right.starts.iter().map(|start| start + base));
    }

    /// Writes an entry in the place of the bytes from `start` to `end`, and moves what follows.
    fn splice(&mut self, at: usize, start: usize, end: usize, key: &[u8], meta: &Meta) {
        let mut numbers = [0; 5 * NUMBER_BYTES_MAX];
        let mut length = [0; NUMBER_BYTES_MAX];
        let length = put_number(&mut length, 0, key.len() as u64).map_or(&[][..], |used| &length[..used]);
        let fields = [
            meta.modified.main,
            u64::from(meta.modified.sub),
            meta.modified.main.wrapping_sub(meta.create),
            meta.version,
            meta.lease as u64,
        ];
        let used =
            fields.into_iter().try_fold(0, |used, field| put_number(&mut numbers, used, field)).unwrap_or(0);
        let numbers = &numbers[..used];
        let new = length.len() + key.len() + numbers.len();
        let grown = self.bytes.len() - (end - start) + new;
        if grown > self.bytes.capacity() {
            // Growing by an eighth instead of doubling: a million keys sit in these vectors.
            self.bytes.reserve_exact(grown - self.bytes.len() + grown / 8 + 16);
        }
        let length_before = self.bytes.len();
        self.bytes.resize(length_before.max(grown), 0);
        self.bytes.copy_within(end..length_before, start + new);
        self.bytes.truncate(grown);
        let mut into = start;
        for part in [length, key, numbers] {
            self.bytes[into..into + part.len()].copy_from_slice(part);
            into += part.len();
        }
        self.shift(at + 1, start, end, new);
    }

    /// Entries from `at` on moved, since `end - start` bytes became `new`.
    fn shift(&mut self, at: usize, start: usize, end: usize, new: usize) {
        let (old, new) = ((end - start) as u32, new as u32);
        if old != new {
            for start in self.starts.iter_mut().skip(at) {
                *start = start.wrapping_sub(old).wrapping_add(new);
            }
        }
    }

    fn start(&self, at: usize) -> usize {
        self.starts.get(at).map_or(self.bytes.len(), |start| *start as usize)
    }

    fn raw(&self, at: usize) -> &[u8] {
        self.bytes.get(self.start(at)..).unwrap_or_default()
    }
}

fn split_key(mut raw: &[u8]) -> (&[u8], &[u8]) {
    let length = take_number(&mut raw) as usize;
    debug_assert!(length <= raw.len(), "an entry is longer than its leaf");
    raw.split_at(length.min(raw.len()))
}

fn put_number(into: &mut [u8], at: usize, mut number: u64) -> Option<usize> {
    let mut at = at;
    while number >= 0x80 {
        *into.get_mut(at)? = number as u8 | 0x80;
        number >>= 7;
        at += 1;
    }
    *into.get_mut(at)? = number as u8;
    Some(at + 1)
}

fn take_number(from: &mut &[u8]) -> u64 {
    let mut number = 0;
    let mut shift = 0;
    while let Some((byte, rest)) = from.split_first() {
        *from = rest;
        number |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 || shift > 63 {
            break;
        }
    }
    number
}
