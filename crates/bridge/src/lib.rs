//! v2's tree as a view of v3's keys below a prefix: what a v2 read shows, what a v2 write changes, and what happened
//! to the keys as v2's events. docs/decisions and docs/COMPATIBILITY.md say which key is which node and why.
//!
//! It has no state of its own: keys, revisions and leases are v3's, so that both sides see one truth. It knows no HTTP,
//! no clock and no chance; the time is an argument.
//!
//! INVARIANT: a v2 write changes no key that v2 does not show.
//! INVARIANT: a write that is not refused makes exactly one revision; a refused one changes nothing.

mod change;
mod expire;
mod layout;
mod news;
mod note;
mod read;
mod tree;

use types::v2::Timestamp;
use types::{Index, LeaseId};

pub use change::{ApplyError, Room, Written, apply};
pub use expire::expire;
pub use layout::Layout;
pub use news::{Missed, News, SEEK_CHANGES_MAX};
pub use read::{get, get_file, is_empty};

/// A lease that a write granted to a node that goes one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Its id.
    pub id: LeaseId,
    /// How long it lives, in seconds.
    pub ttl: i64,
    /// When it ends.
    pub deadline: Timestamp,
}

/// A lease that is no more, by when it was granted.
pub type Ended = (LeaseId, Index);

#[cfg(test)]
mod tests;
