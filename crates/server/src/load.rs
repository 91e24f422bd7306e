//! Brings a machine up from its database, with as many threads as help: at a start nothing is answered before, and a
//! member that fetched a snapshot is behind until then.

use std::sync::Arc;
use std::thread;

use apply::{IndexPart, Machine, OpenError};
use store::Store;

/// Threads that read the database at once.
const READERS_MAX: usize = 4;

/// The machine of what the database holds.
pub(crate) fn machine(store: Arc<Store>) -> Result<Machine, OpenError> {
    let parts_max = thread::available_parallelism().map_or(1, usize::from).min(READERS_MAX);
    Machine::open_by(store, parts_max, |parts| {
        thread::scope(|scope| {
            let mut parts = parts.into_iter();
            let first = parts.next();
            let others: Vec<_> = parts.map(|part| scope.spawn(|| part.read())).collect();
            let mut read: Vec<_> = first.into_iter().map(IndexPart::read).collect();
            read.extend(
                others
                    .into_iter()
                    .map(|other| other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))),
            );
            read
        })
    })
}
