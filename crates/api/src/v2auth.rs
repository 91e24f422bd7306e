//! The users and roles of v2 at the door: judging requests by them, showing and changing them.

use async_trait::async_trait;
use types::Secret;
use types::v2auth::{Access, Change, Changed, Refusal, Role, User};

use crate::Fault;

/// Who asks, as far as the request tells.
#[derive(Clone, Debug)]
pub enum V2Caller {
    /// It tells nothing.
    Guest,
    /// A name and a password.
    Password {
        /// The name.
        name: String,
        /// The password.
        password: Secret,
    },
    /// Whoever a verified certificate names; a guest where there is no such user.
    Certificate(String),
    /// It tells something that cannot be understood.
    Unreadable,
}

/// Users and roles. Reads are of what this member has applied.
#[async_trait]
pub trait V2Auth: Send + Sync {
    /// Whether requests are judged at all.
    fn is_enabled(&self) -> bool;

    /// Whether somebody may do something. Comparing a password takes its time, once for each; there may be too many
    /// under way.
    async fn permits(&self, caller: V2Caller, access: Access) -> Result<bool, Fault>;

    /// All users that are shown.
    fn users(&self) -> Vec<User>;

    /// A user.
    fn user(&self, name: &str) -> Option<User>;

    /// All roles that are shown.
    fn roles(&self) -> Vec<Role>;

    /// A role.
    fn role(&self, name: &str) -> Option<Role>;

    /// Makes a change. Where it takes a password that is `password`, hashed before anybody else sees it.
    async fn change(
        &self,
        change: Change,
        password: Option<Secret>,
    ) -> Result<Result<Changed, Refusal>, Fault>;
}
