//! The parliament: puts opaque commands into one order that a quorum has on disk. The only crate that knows raft.
//!
//! [`Replica`] is raft without any I/O: events go in, work comes out. [`Driver`] runs it in a member: whoever
//! brings an event steps the replica, which never waits for disk or network; a thread writes the log. What an entry means
//! is not known here; who asked for it is a ticket that is handed back.
//!
//! INVARIANT: what is handed out as committed was on this member's disk (where it is the quorum) before.
//! INVARIANT: term and vote are on disk before a message that depends on them leaves.
//! INVARIANT: what is said not to have happened never will; a ticket that is dropped without a word may go either way.
//! INVARIANT: a read is released at an index that was committed after the read began, by a leader that has
//! committed in its term.

mod replica;

mod aside;
mod catching_up;
mod proposing;
mod reading;
mod standing;

mod desk;
mod election;
mod envelope;
mod log;
mod logger;
mod proposal;
mod snapshot;
mod tags;
mod unapplied;

mod driver;
mod floor;
mod mailbox;
mod writer;

pub use aside::{Fetch, Fetched};
pub use driver::{Door, Driver, DriverConfig, Failure, Refused, Sink};
pub use envelope::{DecodeError, Envelope, Lane};
pub use floor::Nudge;
pub use log::{LogError, commands_in};
pub use mailbox::{Closed, Mailbox};
pub use proposal::{Change, Committed, Kind, NotTaken, Proposal, Readable};
pub use replica::{Append, Output, Replica, ReplicaConfig};
pub use snapshot::{NoSnapshots, SnapshotMark, SnapshotOffer, SnapshotSource};
pub use standing::{PeerProgress, PeerState, Role, Seat, Standing, Survey};
pub use writer::write_down;

/// The first index and term of a new cluster's log: before any entry, at a term that no election reaches, so
/// that the first leader's term is 2 as in etcd.
pub const BOOTSTRAP_INDEX: u64 = 1;
/// See [`BOOTSTRAP_INDEX`].
pub const BOOTSTRAP_TERM: u64 = 1;

#[cfg(test)]
mod tests;
