//! The write-ahead log: what this member has promised to remember.
//!
//! Records are appended, chained by CRC, and forced to disk once per batch. The log knows terms and indexes;
//! it never knows what an entry means, it never retries a failed write, and it never asks for the time.
//! `docs/FORMATS.md` draws the files byte by byte.
//!
//! INVARIANT: a batch is acknowledged only after the `fdatasync` that covers it returned.
//! INVARIANT: indexes have no gaps, and what was acknowledged is never overwritten in place.
//! INVARIANT: what is cut at start was never acknowledged; damage before that is refused with file and offset.
//! INVARIANT: after a failed write or sync the log refuses everything; its owner ends the process.

mod log;

mod batch;
mod reader;

mod identity;
mod record;
mod recover;
mod search;
mod window;

mod index;
mod supply;

pub mod disk;
pub mod double;

pub use batch::Batch;
pub use disk::{Disk, DiskError, File, Folder};
pub use identity::Identity;
pub use log::{AppendError, Config, Durability, Observer, Wal};
pub use reader::{Entry, ReadError, WalReader};
pub use record::HardState;
pub use recover::{Cut, OpenError, Recovered};
