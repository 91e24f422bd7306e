//! Users and roles in memory, and which changes of them are legal.

use std::collections::{BTreeMap, BTreeSet};

use types::{Access, AuthRefusal, Key, KeyRange, Permission, ROOT, RangeEnd};

use crate::{NAMES_MAX, Ranges, Rights};

/// A user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct User {
    /// Of the password; `None` if there is none.
    pub(crate) hash: Option<String>,
    pub(crate) roles: BTreeSet<String>,
}

/// What a role allows, in the order of the keys; of equal keys the one that was granted first comes first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Role {
    pub(crate) permissions: Vec<Permission>,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) enabled: bool,
    pub(crate) revision: u64,
    pub(crate) users: BTreeMap<String, User>,
    pub(crate) roles: BTreeMap<String, Role>,
}

impl User {
    pub(crate) fn is_root(&self) -> bool {
        self.roles.contains(ROOT)
    }
}

impl Book {
    pub(crate) fn may_enable(&self) -> Result<(), AuthRefusal> {
        match self.users.get(ROOT) {
            None => Err(AuthRefusal::RootUserMissing),
            Some(root) if !root.is_root() => Err(AuthRefusal::RootRoleMissing),
            Some(_) => Ok(()),
        }
    }

    pub(crate) fn user(&self, name: &str) -> Result<&User, AuthRefusal> {
        self.users.get(name).ok_or(AuthRefusal::UserNotFound)
    }

    pub(crate) fn add_user(&mut self, name: &str, hash: Option<String>) -> Result<(), AuthRefusal> {
        if name.is_empty() {
            return Err(AuthRefusal::UserEmpty);
        }
        if self.users.contains_key(name) {
            return Err(AuthRefusal::UserExists);
        }
        if self.users.len() >= NAMES_MAX {
            return Err(AuthRefusal::TooMany);
        }
        self.users.insert(name.to_owned(), User { hash, roles: BTreeSet::new() });
        Ok(())
    }

    pub(crate) fn delete_user(&mut self, name: &str) -> Result<(), AuthRefusal> {
        if self.enabled && name == ROOT {
            return Err(AuthRefusal::InvalidManagement);
        }
        self.users.remove(name).map(drop).ok_or(AuthRefusal::UserNotFound)
    }

    pub(crate) fn set_password(&mut self, name: &str, hash: String) -> Result<(), AuthRefusal> {
        let user = self.users.get_mut(name).ok_or(AuthRefusal::UserNotFound)?;
        if user.hash.is_some() {
            user.hash = Some(hash);
        }
        Ok(())
    }

    /// Whether that changed anything. The role root need not exist to be granted.
    pub(crate) fn grant_role(&mut self, user: &str, role: &str) -> Result<bool, AuthRefusal> {
        let user = self.users.get_mut(user).ok_or(AuthRefusal::UserNotFound)?;
        if role != ROOT && !self.roles.contains_key(role) {
            return Err(AuthRefusal::RoleNotFound);
        }
        Ok(user.roles.insert(role.to_owned()))
    }

    pub(crate) fn revoke_role(&mut self, user: &str, role: &str) -> Result<(), AuthRefusal> {
        if self.enabled && user == ROOT && role == ROOT {
            return Err(AuthRefusal::InvalidManagement);
        }
        let user = self.users.get_mut(user).ok_or(AuthRefusal::UserNotFound)?;
        if user.roles.remove(role) { Ok(()) } else { Err(AuthRefusal::RoleNotGranted) }
    }

    pub(crate) fn add_role(&mut self, name: &str) -> Result<(), AuthRefusal> {
        if name.is_empty() {
            return Err(AuthRefusal::RoleEmpty);
        }
        if self.roles.contains_key(name) {
            return Err(AuthRefusal::RoleExists);
        }
        if self.roles.len() >= NAMES_MAX {
            return Err(AuthRefusal::TooMany);
        }
        self.roles.insert(name.to_owned(), Role::default());
        Ok(())
    }

    /// Those who had it and have it no more.
    pub(crate) fn delete_role(&mut self, name: &str) -> Result<Vec<String>, AuthRefusal> {
        if self.enabled && name == ROOT {
            return Err(AuthRefusal::InvalidManagement);
        }
        self.roles.remove(name).ok_or(AuthRefusal::RoleNotFound)?;
        let had = self.users.iter_mut().filter_map(|(user, of)| of.roles.remove(name).then(|| user.clone()));
        Ok(had.collect())
    }

    pub(crate) fn grant_permission(&mut self, role: &str, new: Permission) -> Result<(), AuthRefusal> {
        // The order in which the newest etcd finds fault.
        if !is_range(&new) {
            return Err(AuthRefusal::InvalidManagement);
        }
        let role = self.roles.get_mut(role).ok_or(AuthRefusal::RoleNotFound)?;
        let is_same = |old: &&mut Permission| old.key == new.key && old.range_end == new.range_end;
        if let Some(old) = role.permissions.iter_mut().find(is_same) {
            old.access = new.access;
            return Ok(());
        }
        if role.permissions.len() >= NAMES_MAX {
            return Err(AuthRefusal::TooMany);
        }
        let at = role.permissions.partition_point(|old| old.key <= new.key);
        role.permissions.insert(at, new);
        Ok(())
    }

    pub(crate) fn revoke_permission(
        &mut self,
        role: &str,
        key: &[u8],
        range_end: &[u8],
    ) -> Result<(), AuthRefusal> {
        let role = self.roles.get_mut(role).ok_or(AuthRefusal::RoleNotFound)?;
        let before = role.permissions.len();
        role.permissions.retain(|old| old.key != key || old.range_end != range_end);
        if role.permissions.len() == before { Err(AuthRefusal::PermissionNotGranted) } else { Ok(()) }
    }

    /// What all roles of a user allow together.
    pub(crate) fn rights(&self, user: &User) -> Rights {
        let permissions =
            || user.roles.iter().filter_map(|role| self.roles.get(role)).flat_map(|role| &role.permissions);
        let ranges = |without: Access| -> Ranges {
            let allowed = permissions().filter(|permission| permission.access != without);
            let allowed: Vec<KeyRange> = allowed.filter_map(range).collect();
            Ranges::of(allowed.iter())
        };
        Rights { is_root: user.is_root(), read: ranges(Access::Write), write: ranges(Access::Read) }
    }
}

fn range(permission: &Permission) -> Option<KeyRange> {
    Some(KeyRange::from_wire(Key::new(permission.key.clone())?, permission.range_end.clone()))
}

/// Whether there is a key in it.
fn is_range(permission: &Permission) -> bool {
    range(permission).is_some_and(|range| match &range.end {
        RangeEnd::Before(end) => range.start < *end,
        RangeEnd::Single | RangeEnd::Unbounded => true,
    })
}
