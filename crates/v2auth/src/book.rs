//! The users and roles in memory: finding them, changing them, and judging.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use types::v2auth::{Access, Change, Changed, GUEST, ROOT, Refusal, Rights, Role, User};

use crate::row::Rows;
use crate::{NAMES_MAX, Verdict, rights};

/// Everything.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// The place for users is made with the first change, and takes indexes of its own.
    pub(crate) made: bool,
    pub(crate) enabled: bool,
    pub(crate) users: BTreeMap<String, Entry>,
    pub(crate) roles: BTreeMap<String, Rights>,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) hash: Arc<str>,
    pub(crate) roles: Option<Vec<String>>,
}

/// Indexes that the place for users takes: its folder, those of users and roles, and whether it is enabled.
const INDEXES_OF_PLACE: u64 = 4;

impl Book {
    pub(crate) fn users(&self) -> Vec<User> {
        self.users.keys().filter(|name| !name.starts_with('_')).filter_map(|name| self.user(name)).collect()
    }

    pub(crate) fn user(&self, name: &str) -> Option<User> {
        let mut roles = self.users.get(name)?.roles.clone();
        if name == ROOT {
            attach_root(&mut roles);
        }
        Some(User { name: name.to_owned(), roles })
    }

    pub(crate) fn hash(&self, name: &str) -> Option<Arc<str>> {
        self.users.get(name).map(|entry| Arc::clone(&entry.hash))
    }

    pub(crate) fn roles(&self) -> Vec<Role> {
        let own = self.roles.keys().map(String::as_str).filter(|name| !name.starts_with('_'));
        let names: BTreeSet<&str> = own.chain([ROOT]).collect();
        names.into_iter().filter_map(|name| self.role(name)).collect()
    }

    pub(crate) fn role(&self, name: &str) -> Option<Role> {
        let rights = if name == ROOT { rights::all() } else { self.roles.get(name)?.clone() };
        Some(Role { name: name.to_owned(), rights })
    }

    pub(crate) fn permits(&self, name: &str, access: &Access) -> bool {
        let Some(user) = self.users.get(name) else { return false };
        let roles = || user.roles.iter().flatten();
        if name == ROOT || roles().any(|role| role == ROOT) {
            return true;
        }
        let Access::Key { path, write, recursive } = access else { return false };
        let cover = if *recursive { rights::cover_below } else { rights::cover };
        roles().filter_map(|role| self.roles.get(role)).any(|rights| cover(rights, path, *write))
    }

    pub(crate) fn permits_guest(&self, access: &Access) -> bool {
        let Access::Key { path, write, .. } = access else { return false };
        self.roles.get(GUEST).is_some_and(|rights| rights::cover(rights, path, *write))
    }

    pub(crate) fn apply(&mut self, change: &Change, rows: &mut Rows<'_, '_>) -> Verdict {
        let before = self.made;
        let done = self.change(change, rows);
        let place = if self.made && !before { INDEXES_OF_PLACE } else { 0 };
        let (result, own) = match done {
            Ok((changed, indexes)) => (Ok(changed), indexes),
            Err(refusal) => (Err(refusal), 0),
        };
        Verdict { result, indexes: place + own }
    }

    /// What was done, and how many writes that are to etcd.
    fn change(&mut self, change: &Change, rows: &mut Rows<'_, '_>) -> Result<(Changed, u64), Refusal> {
        let changed = match change {
            Change::PutUser { name, hash, .. } if self.users.contains_key(name) => {
                self.update_user(name, hash.as_deref(), &[], &[], rows)?
            }
            Change::PutUser { name, hash, listed } => {
                let user = self.create_user(name, hash.as_deref(), listed.then(Vec::new), rows)?;
                Changed::User { user, created: true }
            }
            Change::CreateUser { name, hash, roles } => {
                let user = self.create_user(name, hash.as_deref(), Some(roles.clone()), rows)?;
                Changed::User { user, created: false }
            }
            Change::UpdateUser { name, hash, grant, revoke } => {
                self.update_user(name, hash.as_deref(), grant, revoke, rows)?
            }
            Change::DeleteUser(name) => self.delete_user(name, rows)?,
            Change::CreateRole(role) => self.create_role(role, rows)?,
            Change::UpdateRole { name, grant, revoke } => {
                self.update_role(name, grant.as_ref(), revoke.as_ref(), rows)?
            }
            Change::DeleteRole(name) => self.delete_role(name, rows)?,
            Change::Enable => return self.enable(rows),
            Change::Disable if !self.enabled => return Err(Refusal::AlreadyDisabled),
            Change::Disable => {
                self.set_enabled(false, rows);
                Changed::Done
            }
        };
        Ok((changed, 1))
    }

    fn create_user(
        &mut self,
        name: &str,
        hash: Option<&str>,
        mut roles: Option<Vec<String>>,
        rows: &mut Rows<'_, '_>,
    ) -> Result<User, Refusal> {
        if name == ROOT {
            attach_root(&mut roles);
        }
        let hash = hash.ok_or_else(|| Refusal::NoPassword(name.to_owned()))?;
        self.make(rows);
        if self.users.contains_key(name) {
            return Err(Refusal::UserExists(name.to_owned()));
        }
        if self.users.len() >= NAMES_MAX {
            return Err(Refusal::TooMany);
        }
        self.put_user(name, Entry { hash: hash.into(), roles: roles.clone() }, rows);
        Ok(User { name: name.to_owned(), roles })
    }

    fn update_user(
        &mut self,
        name: &str,
        hash: Option<&str>,
        grant: &[String],
        revoke: &[String],
        rows: &mut Rows<'_, '_>,
    ) -> Result<Changed, Refusal> {
        let no_such = || Refusal::NoUserToUpdate(name.to_owned());
        let old = Entry {
            roles: self.user(name).ok_or_else(no_such)?.roles,
            hash: self.hash(name).ok_or_else(no_such)?,
        };
        let mut roles: BTreeSet<String> = old.roles.iter().flatten().cloned().collect();
        for role in grant {
            if !roles.insert(role.clone()) {
                return Err(Refusal::DuplicateRole { role: role.clone(), user: name.to_owned() });
            }
        }
        for role in revoke {
            if !roles.remove(role) {
                return Err(Refusal::UngrantedRole { role: role.clone(), user: name.to_owned() });
            }
        }
        let roles: Option<Vec<String>> = Some(roles.into_iter().collect());
        let new = Entry { hash: hash.map_or_else(|| Arc::clone(&old.hash), Arc::from), roles };
        if new == old {
            return Err(Refusal::SameUser);
        }
        self.make(rows);
        let user = User { name: name.to_owned(), roles: new.roles.clone() };
        self.put_user(name, new, rows);
        Ok(Changed::User { user, created: false })
    }

    fn delete_user(&mut self, name: &str, rows: &mut Rows<'_, '_>) -> Result<Changed, Refusal> {
        if self.enabled && name == ROOT {
            return Err(Refusal::RootStays);
        }
        self.make(rows);
        self.users.remove(name).ok_or_else(|| Refusal::NoUserToDelete(name.to_owned()))?;
        rows.remove_user(name);
        Ok(Changed::Done)
    }

    fn create_role(&mut self, role: &Role, rows: &mut Rows<'_, '_>) -> Result<Changed, Refusal> {
        refuse_root(&role.name)?;
        self.make(rows);
        if self.roles.contains_key(&role.name) {
            return Err(Refusal::RoleExists(role.name.clone()));
        }
        if self.roles.len() >= NAMES_MAX {
            return Err(Refusal::TooMany);
        }
        self.put_role(&role.name, role.rights.clone(), rows);
        Ok(Changed::Role(role.clone()))
    }

    fn update_role(
        &mut self,
        name: &str,
        grant: Option<&Rights>,
        revoke: Option<&Rights>,
        rows: &mut Rows<'_, '_>,
    ) -> Result<Changed, Refusal> {
        refuse_root(name)?;
        let old = self.roles.get(name).ok_or_else(|| Refusal::NoRoleToUpdate(name.to_owned()))?;
        let new = rights::revoke(rights::grant(old.clone(), grant)?, revoke);
        if new == *old {
            return Err(Refusal::SameRole);
        }
        self.make(rows);
        self.put_role(name, new.clone(), rows);
        Ok(Changed::Role(Role { name: name.to_owned(), rights: new }))
    }

    fn delete_role(&mut self, name: &str, rows: &mut Rows<'_, '_>) -> Result<Changed, Refusal> {
        refuse_root(name)?;
        self.make(rows);
        self.roles.remove(name).ok_or_else(|| Refusal::NoRoleToDelete(name.to_owned()))?;
        rows.remove_role(name);
        Ok(Changed::Done)
    }

    fn enable(&mut self, rows: &mut Rows<'_, '_>) -> Result<(Changed, u64), Refusal> {
        if self.enabled {
            return Err(Refusal::AlreadyEnabled);
        }
        if !self.users.contains_key(ROOT) {
            return Err(Refusal::NoRoot);
        }
        let makes_guest = !self.roles.contains_key(GUEST);
        if makes_guest {
            self.put_role(GUEST, rights::all(), rows);
        }
        self.set_enabled(true, rows);
        Ok((Changed::Done, 1 + u64::from(makes_guest)))
    }

    fn make(&mut self, rows: &mut Rows<'_, '_>) {
        if !self.made {
            self.made = true;
            rows.put_state(self.made, self.enabled);
        }
    }

    fn set_enabled(&mut self, enabled: bool, rows: &mut Rows<'_, '_>) {
        self.enabled = enabled;
        rows.put_state(self.made, enabled);
    }

    fn put_user(&mut self, name: &str, entry: Entry, rows: &mut Rows<'_, '_>) {
        rows.put_user(name, &entry);
        self.users.insert(name.to_owned(), entry);
    }

    fn put_role(&mut self, name: &str, rights: Rights, rows: &mut Rows<'_, '_>) {
        rows.put_role(name, &rights);
        self.roles.insert(name.to_owned(), rights);
    }
}

fn refuse_root(role: &str) -> Result<(), Refusal> {
    if role == ROOT { Err(Refusal::RootRole) } else { Ok(()) }
}

/// The user root has the role root, whatever else was said.
fn attach_root(roles: &mut Option<Vec<String>>) {
    let roles = roles.get_or_insert_default();
    if !roles.iter().any(|role| role == ROOT) {
        roles.push(ROOT.to_owned());
    }
}
