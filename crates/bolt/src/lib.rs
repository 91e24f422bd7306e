//! bbolt's file, as etcd keeps its keys in one: read back, and made anew in one go.
//!
//! A file is pages. Two of them describe it (meta), one lists free pages, and the others are trees of rows, one for each
//! bucket, the buckets themselves being rows of a tree. docs/FORMATS.md says which parts of that are used here. A file is
//! never changed in place, and what its rows mean is no matter.
//!
//! INVARIANT: whatever the bytes are, reading them ends, takes no more memory than [`PAGE_BYTES_MAX`] for each of
//! [`DEPTH_MAX`] levels, and either fails or hands out rows in ascending order.
//! INVARIANT: writing takes memory for one page of each level, however much is written.

mod fnv;
mod format;
mod reader;
mod rows;
mod writer;

#[cfg(test)]
mod tests;

pub use format::{DEPTH_MAX, PAGE_BYTES_MAX};
pub use reader::{BoltError, Reader, Seek};
pub use rows::{Row, Rows};
pub use writer::{Measured, WriteError, Writer};
