//! Who may do what: users, roles, and the ranges of keys that these allow; and what proves that somebody is a user.
//!
//! It decides and does nothing: whoever serves a request asks before, whoever applies a command asks again. Users and
//! roles are replicated; tokens are each member's own and no part of the state. Time comes in as an argument. Keys that
//! sign tokens are given to it, and the signatures that want chance take it from the library that makes them.
//!
//! INVARIANT: rows and what is in memory tell the same.
//! INVARIANT: each change raises the revision, and what was decided before it is not believed after it.

mod room;

mod book;
mod ranges;
mod rights;
mod row;
mod transfer;

pub mod tokens;

pub use ranges::Ranges;
pub use rights::{Pass, Rights};
pub use room::{Auth, OpenError};
pub use transfer::{RoleRecord, UserRecord, stage_role, stage_state, stage_user};

/// Users that there may be, and roles. The same for every member, for ever: it decides what applying an entry does.
pub const NAMES_MAX: usize = 65_536;

#[cfg(test)]
mod tests;
