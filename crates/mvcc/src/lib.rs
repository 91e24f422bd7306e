//! The v3 keyspace through time: range, put, delete, transactions, compaction, hashes.
//!
//! Every version of every key is a row of the store; the live keys are also in a counted index in memory, which
//! knows for each where its newest row is. A read of the present asks the index which rows it wants, and how many
//! keys a range holds, and then fetches just these rows; a read of the past walks the rows.
//!
//! One [`Writer`] at a time collects the changes of many requests where readers do not see them, stages them into
//! one batch of the store, and publishes them together once that batch is written.
//!
//! Publishing hands back what has changed, and the same can be read from the rows later: both are [`Change`]s.
//!
//! It knows neither watches nor leases (a lease is a number that a key names), has no clock, no chance and no thread
//! of its own.
//!
//! INVARIANT: nobody sees part of a request, nor a row whose batch is not written.
//! INVARIANT: the revision never goes back and is never below the compacted one.
//! INVARIANT: what a request does depends on the rows that a compaction keeps, never on how far a sweep has come.

mod error;
mod events;
mod hash;
mod history;
mod index;
mod keyspace;
mod overlay;
mod page;
mod row;
mod select;
mod sweep;
mod transfer;
mod txn;
mod view;
mod writer;

pub use error::{Damage, OpenError, ReadError, Refusal, SweepError, WriteError};
pub use events::{Change, Changes, Piece};
pub use hash::HashKv;
pub use keyspace::{IndexPart, Mvcc, ReadPart, revision_in};
pub use page::{Page, PageLimits};
pub use row::Note;
pub use sweep::Swept;
pub use transfer::{Held, Intake, Standing, Version, each_version, standing_in};
pub use writer::{Edit, LeaseMove, Writer};
