//! etcd's files, both ways: what a database of ours is in the buckets of one of etcd's, and the other way round.
//!
//! A file that is made here is one that etcd reads. What etcd has no place for lies in a bucket of our own, which etcd
//! leaves alone, so that such a file is also a whole snapshot of ours. docs/FORMATS.md draws it.
//!
//! INVARIANT: our own bucket counts only in a file that nobody has written to since it was made here.

mod buckets;
mod digest;
mod intake;
mod messages;
mod outgo;
mod revision;
mod sealed;

pub use digest::{Digest, digest};
pub use intake::{IntakeError, Taken, index_in, take_etcd};
pub use outgo::{OutgoError, write};
pub use sealed::{head, take_sealed};
