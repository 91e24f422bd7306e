//! The room: users and roles as rows and in memory, one applies changes, any thread asks.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{RwLock, RwLockReadGuard};
use store::{Batch, Direction, Family, Span, Store, StoreError};
use types::{AuthChange, AuthDone, AuthRefusal, Author, Index, Permission};

use crate::book::{Book, Role};
use crate::rights::{Pass, Rights};
use crate::row;

/// The revision of a cluster in which nothing was changed yet, as in etcd.
const FIRST_REVISION: u64 = 1;

/// Users and roles. Any thread may ask; one applies changes.
///
/// A reader may see a change before its batch is written, as with the members.
#[derive(Debug)]
pub struct Auth {
    // What every request looks at, beside the lock.
    enabled: AtomicBool,
    revision: AtomicU64,
    book: RwLock<Book>,
    // What was put together since the last change.
    rights: RwLock<HashMap<String, Arc<Rights>>>,
}

/// Why users and roles cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The rows cannot be read.
    #[error("cannot read users and roles")]
    Store(#[from] StoreError),
    /// A row is not as it was written.
    #[error("the row {key} of users and roles is damaged")]
    Damaged {
        /// The key of the row, its bytes as text.
        key: String,
    },
}

impl Auth {
    /// Reads all rows into memory and checks them.
    pub fn open(store: &Store) -> Result<Self, OpenError> {
        let damaged = |key: &[u8]| OpenError::Damaged { key: key.escape_ascii().to_string() };
        let mut book = Book { revision: FIRST_REVISION, ..Book::default() };
        if let Some(state) = store.get(Family::Meta, row::STATE)? {
            (book.enabled, book.revision) = row::decode_state(&state).ok_or_else(|| damaged(row::STATE))?;
        }
        read(store, row::USERS, row::USERS_END, |key, row| {
            let user = row::name(row::USERS, key).zip(row::decode_user(key, row));
            let (name, user) = user.ok_or_else(|| damaged(key))?;
            book.users.insert(name, user);
            Ok(())
        })?;
        read(store, row::ROLES, row::ROLES_END, |key, row| {
            let role = row::name(row::ROLES, key).zip(row::decode_role(key, row));
            let (name, role) = role.ok_or_else(|| damaged(key))?;
            book.roles.insert(name, role);
            Ok(())
        })?;
        Ok(Self {
            enabled: AtomicBool::new(book.enabled),
            revision: AtomicU64::new(book.revision),
            book: RwLock::new(book),
            rights: RwLock::default(),
        })
    }

    /// Whether everybody has to prove who he is.
    pub fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Acquire)
    }

    /// How often something was changed, and one.
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// One number for all that could make a pass worthless: nothing while nobody has to prove anything.
    pub fn stamp(&self) -> Option<u64> {
        self.is_enabled().then(|| self.revision())
    }

    /// What `author` may do with keys.
    pub fn admit(&self, author: &Author) -> Result<Pass, AuthRefusal> {
        if !self.is_enabled() {
            return Ok(Pass::All);
        }
        let identity = match author {
            Author::Member => return Ok(Pass::All),
            Author::Nobody => return Err(AuthRefusal::UserEmpty),
            Author::User(identity) => identity,
        };
        if identity.user.is_empty() {
            return Err(AuthRefusal::UserEmpty);
        }
        if identity.revision < self.revision() {
            return Err(AuthRefusal::OldRevision);
        }
        let rights = self.rights(&identity.user).ok_or(AuthRefusal::Denied)?;
        Ok(if rights.is_root { Pass::All } else { Pass::Some(rights) })
    }

    /// Whether `author` may do what only root may.
    pub fn admit_root(&self, author: &Author) -> Result<(), AuthRefusal> {
        if !self.is_enabled() {
            return Ok(());
        }
        match author {
            Author::Member => Ok(()),
            Author::User(identity) if !identity.user.is_empty() => {
                let rights = self.rights(&identity.user).ok_or(AuthRefusal::UserNotFound)?;
                if rights.is_root { Ok(()) } else { Err(AuthRefusal::Denied) }
            }
            Author::User(_) | Author::Nobody => Err(AuthRefusal::UserEmpty),
        }
    }

    /// Whether `author` may do what every user may.
    pub fn admit_user(&self, author: &Author) -> Result<(), AuthRefusal> {
        match author {
            Author::Member => Ok(()),
            Author::User(identity) if !identity.user.is_empty() => Ok(()),
            _ if !self.is_enabled() => Ok(()),
            Author::User(_) | Author::Nobody => Err(AuthRefusal::UserEmpty),
        }
    }

    /// What a user may do; `None` if there is none of this name.
    pub fn rights(&self, user: &str) -> Option<Arc<Rights>> {
        if let Some(known) = self.rights.read().get(user) {
            return Some(Arc::clone(known));
        }
        // The book stays as it is until they are put down, or a change could come in between.
        let book = self.book.read();
        let rights = Arc::new(book.rights(book.users.get(user)?));
        self.rights.write().insert(user.to_owned(), Arc::clone(&rights));
        Some(rights)
    }

    /// The roles of a user, in order.
    pub fn roles_of(&self, user: &str) -> Result<Vec<String>, AuthRefusal> {
        Ok(self.book.read().user(user)?.roles.iter().cloned().collect())
    }

    /// Whether a user has a role.
    pub fn has_role(&self, user: &str, role: &str) -> bool {
        self.book.read().users.get(user).is_some_and(|user| user.roles.contains(role))
    }

    /// All users, in order.
    pub fn users(&self) -> Vec<String> {
        self.book.read().users.keys().cloned().collect()
    }

    /// All roles, in order.
    pub fn roles(&self) -> Vec<String> {
        self.book.read().roles.keys().cloned().collect()
    }

    /// What a role was given; root may do everything without.
    pub fn permissions(&self, role: &str) -> Result<Vec<Permission>, AuthRefusal> {
        let book = self.book.read();
        let of: &Role = book.roles.get(role).ok_or(AuthRefusal::RoleNotFound)?;
        Ok(of.permissions.clone())
    }

    /// The hash with which a password must agree, and the revision as of which that is so. `Ok(None)`: the user has no
    /// password.
    pub fn hash_of(&self, user: &str) -> Result<(Option<Arc<str>>, u64), AuthRefusal> {
        let book = self.book.read();
        if !book.enabled {
            return Err(AuthRefusal::NotEnabled);
        }
        let user = book.users.get(user).ok_or(AuthRefusal::Failed)?;
        Ok((user.hash.as_deref().map(Arc::from), book.revision))
    }

    pub(crate) fn read_book(&self) -> RwLockReadGuard<'_, Book> {
        self.book.read()
    }

    /// Makes a change, and stages its rows. The entry at `index` says so.
    pub fn apply(
        &self,
        change: AuthChange,
        index: Index,
        batch: &mut Batch<'_>,
    ) -> Result<AuthDone, AuthRefusal> {
        let mut book = self.book.write();
        let done = Self::change(&mut book, change, index, batch)?;
        self.rights.write().clear();
        // Who sees that nobody is asked any more must find the revision that goes with it.
        self.revision.store(book.revision, Ordering::Release);
        self.enabled.store(book.enabled, Ordering::Release);
        Ok(done)
    }

    fn change(
        book: &mut Book,
        change: AuthChange,
        index: Index,
        batch: &mut Batch<'_>,
    ) -> Result<AuthDone, AuthRefusal> {
        let mut done = AuthDone::Changed;
        match change {
            AuthChange::Enable => return enable(book, batch),
            AuthChange::Authenticate { user, token, revision } => {
                return authenticate(book, user, &token, revision, index);
            }
            AuthChange::Disable if !book.enabled => return Ok(AuthDone::Changed),
            AuthChange::Disable => {
                book.enabled = false;
                done = AuthDone::Disabled;
            }
            AuthChange::AddUser { name, hash } => {
                book.add_user(&name, hash)?;
                stage_user(book, &name, batch);
            }
            AuthChange::DeleteUser { name } => {
                book.delete_user(&name)?;
                stage_user(book, &name, batch);
                done = AuthDone::Ended { user: name };
            }
            AuthChange::SetPassword { name, hash } => {
                book.set_password(&name, hash)?;
                stage_user(book, &name, batch);
                done = AuthDone::Ended { user: name };
            }
            AuthChange::GrantRole { user, role } => {
                if !book.grant_role(&user, &role)? {
                    return Ok(AuthDone::Changed);
                }
                stage_user(book, &user, batch);
            }
            AuthChange::RevokeRole { user, role } => {
                book.revoke_role(&user, &role)?;
                stage_user(book, &user, batch);
            }
            AuthChange::AddRole { name } => {
                book.add_role(&name)?;
                stage_role(book, &name, batch);
            }
            AuthChange::DeleteRole { name } => {
                for user in book.delete_role(&name)? {
                    stage_user(book, &user, batch);
                }
                stage_role(book, &name, batch);
            }
            AuthChange::GrantPermission { role, permission } => {
                book.grant_permission(&role, permission)?;
                stage_role(book, &role, batch);
            }
            AuthChange::RevokePermission { role, key, range_end } => {
                book.revoke_permission(&role, &key, &range_end)?;
                stage_role(book, &role, batch);
            }
        }
        book.revision += 1;
        stage_state(book, batch);
        Ok(done)
    }
}

/// It is no change of who may do what, and raises no revision.
fn enable(book: &mut Book, batch: &mut Batch<'_>) -> Result<AuthDone, AuthRefusal> {
    if !book.enabled {
        book.may_enable()?;
        book.enabled = true;
        stage_state(book, batch);
    }
    Ok(AuthDone::Changed)
}

fn authenticate(
    book: &Book,
    user: String,
    token: &str,
    revision: u64,
    index: Index,
) -> Result<AuthDone, AuthRefusal> {
    if !book.enabled {
        return Err(AuthRefusal::NotEnabled);
    }
    if book.users.get(&user).is_none_or(|user| user.hash.is_none()) {
        return Err(AuthRefusal::Failed);
    }
    // The password was compared with what was there then.
    if revision != book.revision {
        return Err(AuthRefusal::OldRevision);
    }
    Ok(AuthDone::Token { user, token: format!("{token}.{index}") })
}

fn stage_state(book: &Book, batch: &mut Batch<'_>) {
    batch.put(Family::Meta, row::STATE, &row::encode_state(book.enabled, book.revision));
}

fn stage_user(book: &Book, name: &str, batch: &mut Batch<'_>) {
    let key = row::key(row::USERS, name);
    match book.users.get(name) {
        Some(user) => batch.put(Family::Meta, &key, &row::encode_user(&key, user)),
        None => batch.delete(Family::Meta, &key),
    }
}

fn stage_role(book: &Book, name: &str, batch: &mut Batch<'_>) {
    let key = row::key(row::ROLES, name);
    match book.roles.get(name) {
        Some(role) => batch.put(Family::Meta, &key, &row::encode_role(&key, role)),
        None => batch.delete(Family::Meta, &key),
    }
}

fn read(
    store: &Store,
    from: &[u8],
    to: &[u8],
    mut row: impl FnMut(&[u8], &[u8]) -> Result<(), OpenError>,
) -> Result<(), OpenError> {
    let span = Span { lower: Some(from.to_vec()), upper: Some(to.to_vec()) };
    let mut cursor = store.scan(Family::Meta, &span, Direction::Forward);
    while let Some((key, value)) = cursor.row() {
        row(key, value)?;
        cursor.step();
    }
    cursor.finish()?;
    Ok(())
}
