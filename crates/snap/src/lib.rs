//! A snapshot as files: what belongs to it, and how it gets from one folder into another.
//!
//! The sender makes a [`Manifest`] of a folder that does not change any more (a checkpoint of the database). The
//! [`Receiver`] takes the files' bytes in order, whoever brings them, checks each chunk against the manifest before
//! it writes it, and after a break goes on behind what is there and right. Nothing here knows of networks, and what
//! a snapshot holds is no matter either.
//!
//! INVARIANT: [`Receiver::finish`] succeeds only for a folder that holds, durably, what the manifest lists and
//! nothing else.

mod files;
mod id;
mod manifest;
mod receiver;

#[cfg(test)]
mod tests;

pub use files::{prune, read_piece};
pub use id::SnapshotId;
pub use manifest::{CHUNK_BYTES, FileEntry, MakeError, Manifest, ManifestError};
pub use receiver::{ReceiveError, Receiver, Wanted};
