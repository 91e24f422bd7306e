//! Users and roles of the v2 interface: who may do what with which keys.
//!
//! It keeps them and decides. It never sees a password, only hashes, and compares none: who asks in somebody's
//! name has compared it. The v3 interface has users of its own, which are not these.
//!
//! INVARIANT: rows and what is in memory say the same.
//! INVARIANT: after a refused change nothing is different, but that the place for users may have been made.

mod book;
mod rights;
mod row;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use store::{Batch, Store, StoreError};
use types::v2auth::{Access, Change, Changed, Refusal, Role, User};

use book::Book;
pub use row::Damage;
use row::Rows;

/// Users that there may be, and roles.
pub const NAMES_MAX: usize = 100_000;

/// The users and roles of one member. Any thread may read; one applies changes.
///
/// A reader may see a change before its batch is written, as with the members.
pub struct V2Auth {
    // Beside the lock, for the many requests that are not judged.
    enabled: AtomicBool,
    book: RwLock<Book>,
}

/// Why they cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The rows cannot be read.
    #[error("cannot read the users of v2")]
    Store(#[from] StoreError),
    /// A row is not as it was written.
    #[error("the row {key} of the users of v2 is damaged")]
    Damaged {
        /// The key of the row, its bytes as text.
        key: String,
        /// In what way.
        #[source]
        damage: Damage,
    },
}

/// What came of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What it did, or why it did nothing.
    pub result: Result<Changed, Refusal>,
    /// Indexes of the v2 keyspace that this takes: etcd keeps its users there, and each write takes one.
    pub indexes: u64,
}

impl V2Auth {
    /// Reads all rows into memory and checks them.
    pub fn open(store: &Store) -> Result<Self, OpenError> {
        let book = row::load(store)?;
        Ok(Self { enabled: AtomicBool::new(book.enabled), book: RwLock::new(book) })
    }

    /// Whether requests are judged at all.
    pub fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Acquire)
    }

    /// All users, in the order of their names. Names that begin with `_` are left out, as etcd's listing does.
    pub fn users(&self) -> Vec<User> {
        self.book.read().users()
    }

    /// A user.
    pub fn user(&self, name: &str) -> Option<User> {
        self.book.read().user(name)
    }

    /// The hash of a user's password.
    pub fn hash(&self, name: &str) -> Option<Arc<str>> {
        self.book.read().hash(name)
    }

    /// All roles, in the order of their names, root among them. Those that begin with `_` are left out.
    pub fn roles(&self) -> Vec<Role> {
        self.book.read().roles()
    }

    /// A role.
    pub fn role(&self, name: &str) -> Option<Role> {
        self.book.read().role(name)
    }

    /// Whether a user may, whose password had this hash when it was compared.
    pub fn permits_user(&self, name: &str, hash: &str, access: &Access) -> bool {
        let book = self.book.read();
        book.hash(name).is_some_and(|now| *now == *hash) && book.permits(name, access)
    }

    /// Whether somebody may who has shown to be a user in another way.
    pub fn permits_known(&self, name: &str, access: &Access) -> bool {
        self.book.read().permits(name, access)
    }

    /// Whether somebody may who does not say who it is.
    pub fn permits_guest(&self, access: &Access) -> bool {
        self.book.read().permits_guest(access)
    }

    /// Makes a change and stages its rows.
    pub fn apply(&self, change: &Change, batch: &mut Batch<'_>) -> Verdict {
        let mut book = self.book.write();
        let verdict = book.apply(change, &mut Rows::new(batch));
        self.enabled.store(book.enabled, Ordering::Release);
        verdict
    }
}

#[cfg(test)]
mod tests;
