//! The data folder of an etcd that has stopped, as a database of ours: its database, its newest snapshot, in which the v2 tree
//! is, and the entries of its log behind these.
//!
//! Nothing in the folder is changed. What an entry does is left to our own machine; here it becomes a command.
//!
//! INVARIANT: entries are applied in order, each once; a log with a gap or with a wrong checksum is refused.

mod clock;
mod folder;
mod log;
mod messages;
mod request;
mod snapshot;
mod take;
mod tree;
mod users;

pub use folder::{EtcdFolder, FolderError};
pub use take::{TakeError, take};
