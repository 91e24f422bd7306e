//! The window: changes go out to whoever watches, in order; the slow never stop the fast.
//!
//! One [`Hub`] knows all watches of a member. A watch is *synced*, and gets changes as they are applied, or *lagging*,
//! and gets them from the history. A watch lags when it begins in the past, when its stream has no room for what it
//! should get, or when the hub was not told of some changes. Watches that lag form cohorts: all of a cohort have got
//! the same part of the history, one reading of the next part serves all of them, and cohorts that meet become one.
//! A cohort that has come to where the synced ones are joins them.
//!
//! It is a pure machine: asks, changes and pieces of the history go in, replies come out in the streams' outboxes, and
//! what should be read of the history is told by [`Hub::wanted`]. It has no threads and no clock.
//!
//! INVARIANT: a watch gets every event of its range and filters from its start on, once, in the order of revisions,
//! and all events of one revision in one reply; or it is told that it was canceled.
//! INVARIANT: a progress reply at a revision comes after all events up to it.
//! INVARIANT: what waits in an outbox is bounded, and nobody waits for one.

mod hub;
mod limits;
mod outbox;

mod deliver;
mod lagging;
mod progress;

mod batch;
mod index;
mod numbers;
mod ranges;
mod shelf;
mod watcher;

#[cfg(test)]
mod tests;

pub use hub::{Counts, Hub, StreamId};
pub use lagging::{Fetch, Fetched};
pub use limits::Limits;
pub use outbox::{Body, End, Outbox, Reply, Taken};
