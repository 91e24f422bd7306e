//! Leases: what was granted, for how long, and which keys end with it.
//!
//! [`Leases`] is the replicated table, the same in every member after the same entry. It has no clock: it never
//! decides that a lease is over. [`Lessor`] tells a leader, which hands it the time, which leases are over; it is
//! nobody's replicated state and begins anew with every leader.
//!
//! INVARIANT: rows and the table in memory say the same of every lease.
//! INVARIANT: a key is attached to a lease exactly if the live version of the key names it.

mod lessor;
mod row;
mod table;

#[cfg(test)]
mod tests;

pub use lessor::{Checkpoint, Ending, Lessor, Portion, Renewal, STALL_MS};
pub use table::{LEASES_MAX, Leases, OpenError, Refusal, TTL_MAX_SECONDS, Terms};
