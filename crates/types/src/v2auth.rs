//! Users and roles of the v2 interface, and what changes them.

/// The user who may do everything, and the role that makes any user so.
pub const ROOT: &str = "root";

/// The role of those who do not say who they are.
pub const GUEST: &str = "guest";

/// What a role may read and write: keys, or with a `*` at the end what begins so. `None` is JSON's `null`, which
/// etcd tells from an empty list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// What may be read.
    pub read: Option<Vec<String>>,
    /// What may be written.
    pub write: Option<Vec<String>>,
}

impl Rights {
    /// Whether they allow nothing.
    pub fn is_empty(&self) -> bool {
        let none = |list: &Option<Vec<String>>| list.as_ref().is_none_or(Vec::is_empty);
        none(&self.read) && none(&self.write)
    }
}

/// A role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// What it allows.
    pub rights: Rights,
}

/// A user, without the password.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The names of the roles; some may not be there.
    pub roles: Option<Vec<String>>,
}

/// A change of users and roles. Passwords come as hashes, made before the change was proposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Makes a user, or gives one that is there another password.
    PutUser {
        /// The name.
        name: String,
        /// The hash of the password; `None` when there was none.
        hash: Option<String>,
        /// A new one has an empty list of roles, and otherwise none: JSON tells them apart.
        listed: bool,
    },
    /// Makes a user with roles.
    CreateUser {
        /// The name.
        name: String,
        /// The hash of the password; `None` when there was none.
        hash: Option<String>,
        /// The roles.
        roles: Vec<String>,
    },
    /// Changes a user.
    UpdateUser {
        /// The name.
        name: String,
        /// The hash of another password.
        hash: Option<String>,
        /// Roles to add.
        grant: Vec<String>,
        /// Roles to take.
        revoke: Vec<String>,
    },
    /// Removes a user.
    DeleteUser(String),
    /// Makes a role.
    CreateRole(Role),
    /// Changes a role.
    UpdateRole {
        /// The name.
        name: String,
        /// Rights to add.
        grant: Option<Rights>,
        /// Rights to take.
        revoke: Option<Rights>,
    },
    /// Removes a role.
    DeleteRole(String),
    /// From now on requests are judged.
    Enable,
    /// From now on everybody may do everything.
    Disable,
}

impl Change {
    /// Puts the hash in where a password belongs.
    #[must_use]
    pub fn with_hash(mut self, of_password: String) -> Self {
        match &mut self {
            Self::PutUser { hash, .. } | Self::CreateUser { hash, .. } | Self::UpdateUser { hash, .. } => {
                *hash = Some(of_password);
            }
            _ => {}
        }
        self
    }
}

/// What a change did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// A user is so now.
    User {
        /// The user.
        user: User,
        /// By a request of which it was not clear whether there was one.
        created: bool,
    },
    /// A role is so now.
    Role(Role),
    /// Something was removed, enabled or disabled.
    Done,
}

/// Why a change did nothing. The texts are etcd's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such user to change.
    #[error("auth: User {0} does not exist.")]
    NoUserToUpdate(String),
    /// There is no such user to remove.
    #[error("auth: User {0} does not exist")]
    NoUserToDelete(String),
    /// There is one of this name.
    #[error("auth: User {0} already exists.")]
    UserExists(String),
    /// A user needs a password.
    #[error("auth: Cannot create user {0} with an empty password")]
    NoPassword(String),
    /// Somebody must be able to do everything.
    #[error("auth: Cannot delete root user while auth is enabled.")]
    RootStays,
    /// The user would be as before.
    #[error("auth: User not updated. Use grant/revoke/password to update the user.")]
    SameUser,
    /// The user has the role.
    #[error("auth: Granting duplicate role {role} for user {user}")]
    DuplicateRole {
        /// Which role.
        role: String,
        /// Whose.
        user: String,
    },
    /// The user does not have the role.
    #[error("auth: Revoking ungranted role {role} for user {user}")]
    UngrantedRole {
        /// Which role.
        role: String,
        /// Whose not.
        user: String,
    },
    /// There is no such role to change.
    #[error("auth: Role {0} does not exist.")]
    NoRoleToUpdate(String),
    /// There is no such role to remove.
    #[error("auth: Role {0} doesn't exist.")]
    NoRoleToDelete(String),
    /// There is one of this name.
    #[error("auth: Role {0} already exists.")]
    RoleExists(String),
    /// The root role is as it is.
    #[error("auth: Cannot modify role root: is root role.")]
    RootRole,
    /// The role would be as before.
    #[error("auth: Role not updated. Use grant/revoke to update the role.")]
    SameRole,
    /// The role may read that.
    #[error("auth: Granting duplicate read permission {0}")]
    DuplicateRead(String),
    /// The role may write that.
    #[error("auth: Granting duplicate write permission {0}")]
    DuplicateWrite(String),
    /// Requests are judged already.
    #[error("auth: already enabled")]
    AlreadyEnabled,
    /// Requests are not judged.
    #[error("auth: already disabled")]
    AlreadyDisabled,
    /// Without root nobody could change anything any more.
    #[error("auth: No root user available, please create one")]
    NoRoot,
    /// There are as many users or roles as there may be. Of ours; etcd knows no limit.
    #[error("auth: too many users or roles")]
    TooMany,
}

/// What somebody wants to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// What needs the root role: to change members, users and roles.
    Root,
    /// A request for a key.
    Key {
        /// The key as it was asked for, with a slash at the end if there was one.
        path: String,
        /// It changes something.
        write: bool,
        /// It asks for all that is below too.
        recursive: bool,
    },
}
