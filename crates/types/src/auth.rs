//! Users, roles and permissions of the v3 keyspace, and what changes them.

use bytes::Bytes;

/// What may be done with keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading, watching and comparing.
    Read,
    /// Writing and removing.
    Write,
    /// Both.
    ReadWrite,
}

/// What a role allows with a range of keys. The range is in the form in which it was granted, since it is told and
/// taken back in that form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// What may be done.
    pub access: Access,
    /// The first key.
    pub key: Bytes,
    /// Where the range ends: empty for one key, `\0` for the last key there is.
    pub range_end: Bytes,
}

/// The name of the user and of the role that may do everything.
pub const ROOT: &str = "root";

/// A change of who may do what. Names and hashes are as the log carries them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthChange {
    /// Asks everybody for proof from now on.
    Enable,
    /// Asks nobody any more.
    Disable,
    /// Adds a user.
    AddUser {
        /// Who.
        name: String,
        /// The hash of the password; `None` for a user who has none and comes by certificate.
        hash: Option<String>,
    },
    /// Removes a user.
    DeleteUser {
        /// Who.
        name: String,
    },
    /// Gives a user another password; one who has none stays without.
    SetPassword {
        /// Who.
        name: String,
        /// The hash of the new one. An empty hash matches no password.
        hash: String,
    },
    /// Gives a user a role.
    GrantRole {
        /// Who.
        user: String,
        /// Which role.
        role: String,
    },
    /// Takes a role from a user.
    RevokeRole {
        /// Who.
        user: String,
        /// Which role.
        role: String,
    },
    /// Adds a role that allows nothing yet.
    AddRole {
        /// Its name.
        name: String,
    },
    /// Removes a role, from all who have it too.
    DeleteRole {
        /// Its name.
        name: String,
    },
    /// Lets a role do something.
    GrantPermission {
        /// Which role.
        role: String,
        /// What.
        permission: Permission,
    },
    /// Takes a permission from a role.
    RevokePermission {
        /// Which role.
        role: String,
        /// The first key, as it was granted.
        key: Bytes,
        /// The end, as it was granted.
        range_end: Bytes,
    },
    /// Gives a token to a user whose password was compared at `revision`.
    Authenticate {
        /// Who.
        user: String,
        /// The token but for the index of the entry, which is added.
        token: String,
        /// The auth revision at which the password was found to match.
        revision: u64,
    },
}

/// Why nothing was changed, or somebody may not do what he asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthRefusal {
    /// Nobody is called root.
    RootUserMissing,
    /// The user root does not have the role root.
    RootRoleMissing,
    /// There is a user of this name.
    UserExists,
    /// A name is empty; or nobody said who he is.
    UserEmpty,
    /// There is no such user.
    UserNotFound,
    /// There is a role of this name.
    RoleExists,
    /// There is no such role.
    RoleNotFound,
    /// The name of a role is empty.
    RoleEmpty,
    /// The user does not have the role.
    RoleNotGranted,
    /// The role does not have the permission.
    PermissionNotGranted,
    /// It would leave nobody who may do everything; or a range that is none.
    InvalidManagement,
    /// Nobody has to prove who he is.
    NotEnabled,
    /// Not this user, or not with this password.
    Failed,
    /// Who asked was known before something changed.
    OldRevision,
    /// Not allowed.
    Denied,
    /// There are as many users or roles as there may be.
    TooMany,
}

/// Who a command in the log comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Author {
    /// Somebody who did not say who he is.
    #[default]
    Nobody,
    /// A user.
    User(Identity),
    /// A member itself, which may do what its chores are.
    Member,
}

/// A user who has proved to be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name.
    pub user: String,
    /// The auth revision as of which he is known. Something that changed since then may concern him.
    pub revision: u64,
}

/// What came of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthDone {
    /// It is done.
    Changed,
    /// And no token of this user counts any more.
    Ended {
        /// Who.
        user: String,
    },
    /// And no token counts any more.
    Disabled,
    /// A token was given.
    Token {
        /// Whose.
        user: String,
        /// The token.
        token: String,
    },
}
