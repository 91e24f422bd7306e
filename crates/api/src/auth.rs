//! Who calls, and what is asked about users and roles.

use std::sync::Arc;

use types::{Permission, Secret};

/// What a call brings to say who makes it. Nothing of it is believed before the member has looked at it.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// The token.
    pub token: Option<Secret>,
    /// The common name of the client's certificate, verified, where that may stand for a user. It counts when there is
    /// no token.
    pub peer_name: Option<Arc<str>>,
}

/// A request about users and roles.
#[derive(Clone, Debug)]
pub enum AuthRequest {
    /// Asks everybody for proof from now on.
    Enable,
    /// Asks nobody any more.
    Disable,
    /// Whether proof is asked for.
    Status,
    /// Asks for a token.
    Authenticate {
        /// Who.
        name: String,
        /// The proof.
        password: Secret,
    },
    /// Adds a user.
    UserAdd {
        /// Who.
        name: String,
        /// The password; `None` for a user who comes by certificate alone.
        password: Option<Secret>,
    },
    /// The roles of a user.
    UserGet {
        /// Who.
        name: String,
    },
    /// All users.
    UserList,
    /// Removes a user.
    UserDelete {
        /// Who.
        name: String,
    },
    /// Gives a user another password.
    UserChangePassword {
        /// Who.
        name: String,
        /// The new one. With an empty one nobody is let in.
        password: Secret,
    },
    /// Gives a user a role.
    UserGrantRole {
        /// Who.
        user: String,
        /// Which role.
        role: String,
    },
    /// Takes a role from a user.
    UserRevokeRole {
        /// Who.
        user: String,
        /// Which role.
        role: String,
    },
    /// Adds a role.
    RoleAdd {
        /// Its name.
        name: String,
    },
    /// What a role allows.
    RoleGet {
        /// Which role.
        role: String,
    },
    /// All roles.
    RoleList,
    /// Removes a role.
    RoleDelete {
        /// Which role.
        role: String,
    },
    /// Lets a role do something.
    RoleGrantPermission {
        /// Which role.
        role: String,
        /// What; a request may forget to say it.
        permission: Option<Permission>,
    },
    /// Takes a permission from a role.
    RoleRevokePermission {
        /// Which role.
        role: String,
        /// The first key, as it was granted.
        key: bytes::Bytes,
        /// The end, as it was granted.
        range_end: bytes::Bytes,
    },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthReply {
    /// It is done.
    Done,
    /// How things stand.
    Status {
        /// Whether proof is asked for.
        enabled: bool,
        /// How often something was changed, and one.
        revision: u64,
    },
    /// A token.
    Token(String),
    /// Names of users or roles, in order.
    Names(Vec<String>),
    /// What a role allows, in the order of keys.
    Permissions(Vec<Permission>),
}
