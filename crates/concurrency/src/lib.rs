//! Locks and elections, made of transactions, ranges and watches of one member.
//!
//! Keys lie as Go's `concurrency` package lays them: `<name>/<lease id in hex>`, bound to the lease. Whoever has the
//! key with the smallest create revision owns the name; the others wait, each for the last key that is older than
//! its own. So sessions of Go's client, `etcdctl lock` and `elect`, and the two services exclude one another.
//!
//! There is no state here. Who drops a future that waits takes its key back with it.
//!
//! INVARIANT: a key that a call has made is removed when the call does not end well, unless the lease removes it.

mod claim;
mod election;
mod fault;
mod lock;
mod observe;
mod session;
mod wait;

pub use election::{Elected, LeaderKey, campaign, leader, proclaim, resign};
pub use lock::{LockHeld, lock, unlock};
pub use observe::{Observer, observe};

#[cfg(test)]
mod tests;
