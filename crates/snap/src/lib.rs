//! A snapshot as files: what belongs to it, and how it gets from one folder into another.
//!
//! The sender makes a [`Manifest`] of a folder that does not change any more (a checkpoint of the database). The
//! [`Receiver`] takes the files' bytes in order, whoever brings them, checks each chunk against the manifest before
//! it writes it, and after a break goes on behind what is there and right. Nothing here knows of networks, and what
//! a snapshot holds is no matter either.
//!
//! For an operator it is one stream of bytes instead, an archive: [`ArchiveFiles`] packs a folder, [`unpack`] makes one.
//!
//! INVARIANT: [`Receiver::finish`] succeeds only for a folder that holds, durably, what the manifest lists and
//! nothing else.

mod archive;
mod files;
mod id;
mod manifest;
mod receiver;
mod unpack;

#[cfg(test)]
mod archive_tests;
#[cfg(test)]
mod tests;

pub use archive::{ARCHIVE_MAGIC, ArchiveFiles, ArchiveHead, ArchiveWriter, CHECKSUM_BYTES};
pub use files::{prune, read_piece};
pub use id::SnapshotId;
pub use manifest::{CHUNK_BYTES, FileEntry, MakeError, Manifest, ManifestError};
pub use receiver::{ReceiveError, Receiver, Wanted};
pub use unpack::{UnpackError, unpack, verify};
