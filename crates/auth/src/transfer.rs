//! Users and roles on their way out of a store and into another.

use std::collections::BTreeSet;

use store::{Batch, Family};
use types::Permission;

use crate::Auth;
use crate::book::{Role, User};
use crate::row;

/// A user as he is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRecord {
    /// His name.
    pub name: String,
    /// The hash of his password; `None` if he has none.
    pub hash: Option<String>,
    /// His roles.
    pub roles: BTreeSet<String>,
}

/// A role as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleRecord {
    /// Its name.
    pub name: String,
    /// What it allows.
    pub permissions: Vec<Permission>,
}

impl Auth {
    /// All users, in the order of their names.
    pub fn user_records(&self) -> Vec<UserRecord> {
        let book = self.read_book();
        let record = |(name, user): (&String, &User)| UserRecord {
            name: name.clone(),
            hash: user.hash.clone(),
            roles: user.roles.clone(),
        };
        book.users.iter().map(record).collect()
    }

    /// All roles, in the order of their names.
    pub fn role_records(&self) -> Vec<RoleRecord> {
        let book = self.read_book();
        let record = |(name, role): (&String, &Role)| RoleRecord {
            name: name.clone(),
            permissions: role.permissions.clone(),
        };
        book.roles.iter().map(record).collect()
    }
}

/// Stages a user into a store in which nobody has opened users and roles.
pub fn stage_user(user: UserRecord, batch: &mut Batch<'_>) {
    let key = row::key(row::USERS, &user.name);
    let row = row::encode_user(&key, &User { hash: user.hash, roles: user.roles });
    batch.put(Family::Meta, &key, &row);
}

/// Stages a role as [`stage_user`] does.
pub fn stage_role(role: RoleRecord, batch: &mut Batch<'_>) {
    let key = row::key(row::ROLES, &role.name);
    let mut permissions = role.permissions;
    permissions.sort_by(|one, other| one.key.cmp(&other.key));
    batch.put(Family::Meta, &key, &row::encode_role(&key, &Role { permissions }));
}

/// Stages whether everybody has to prove who he is, and how often something was changed, as [`stage_user`] does.
pub fn stage_state(enabled: bool, revision: u64, batch: &mut Batch<'_>) {
    batch.put(Family::Meta, row::STATE, &row::encode_state(enabled, revision));
}
