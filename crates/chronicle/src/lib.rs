//! The archive: what was applied and when, in files beside the snapshots of the same folder, for restores to a moment
//! between two snapshots.
//!
//! What an entry means is not known here, and no clock is asked. docs/FORMATS.md draws a file.
//!
//! INVARIANT: what [`Writer::append`] returned from is durable.
//! INVARIANT: [`Walk`] hands out every entry behind a place once, in order, without a gap, or fails.

mod format;
mod names;
mod reader;
mod walk;
mod writer;

#[cfg(test)]
mod tests;

pub use format::{Chunk, Entry, Head};
pub use names::{LogFile, SnapshotFile, log_files, snapshot_files, sync_folder};
pub use reader::{ReadError, Reader};
pub use walk::{Walk, WalkError};
pub use writer::Writer;
