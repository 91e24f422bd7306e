//! What clients ask about users and roles.
//!
//! INVARIANT: a password is compared and hashed on a thread for that, and only its hash enters the log.

use api::{AuthReply, AuthRequest, Caller, Consistency, Fault, Reply};
use auth::tokens::{PREFIX_CHARS, SignError, Tokens};
use command::{Command, Effect};
use rand::seq::IndexedRandom as _;
use types::{AuthChange, AuthDone, AuthRefusal, Author, Secret};

use crate::asking::{done, odd};
use crate::doorkeeper::{NOBODY, refused};
use crate::member::Member;
use crate::passwords::Busy;

/// How often a password is compared again because users or roles changed meanwhile.
const ROUNDS_MAX: usize = 8;

/// bcrypt looks at no more, in bytes.
const PASSWORD_BYTES_MAX: usize = 72;

/// A shorter password is taken, as by etcd, and noted in the log.
const PASSWORD_BYTES_GOOD: usize = 8;

/// What tokens are made of.
const LETTERS: &[u8; 52] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

impl Member {
    /// Answers `caller`.
    pub(crate) async fn auth_for(
        &self,
        caller: &Caller,
        request: AuthRequest,
    ) -> Result<Reply<AuthReply>, Fault> {
        let change = match request {
            AuthRequest::Authenticate { name, password } => return self.authenticate(name, password).await,
            AuthRequest::Status
            | AuthRequest::UserGet { .. }
            | AuthRequest::UserList
            | AuthRequest::RoleGet { .. }
            | AuthRequest::RoleList => return self.look_up(caller, request).await,
            AuthRequest::Enable => AuthChange::Enable,
            AuthRequest::Disable => AuthChange::Disable,
            AuthRequest::UserAdd { name, password } => {
                let hash = match password {
                    Some(password) => Some(self.hash(caller, &name, password).await?),
                    None => None,
                };
                AuthChange::AddUser { name, hash }
            }
            AuthRequest::UserChangePassword { name, password } if password.is_empty() => {
                AuthChange::SetPassword { name, hash: String::new() }
            }
            AuthRequest::UserChangePassword { name, password } => {
                let hash = self.hash(caller, &name, password).await?;
                AuthChange::SetPassword { name, hash }
            }
            AuthRequest::UserDelete { name } => AuthChange::DeleteUser { name },
            AuthRequest::UserGrantRole { user, role } => AuthChange::GrantRole { user, role },
            AuthRequest::UserRevokeRole { user, role } => AuthChange::RevokeRole { user, role },
            AuthRequest::RoleAdd { name } => AuthChange::AddRole { name },
            AuthRequest::RoleDelete { role } => AuthChange::DeleteRole { name: role },
            AuthRequest::RoleGrantPermission { role, permission } => {
                let author = self.house.admit_root(caller);
                let permission = author.and(permission.ok_or(Fault::PermissionNotGiven))?;
                AuthChange::GrantPermission { role, permission }
            }
            AuthRequest::RoleRevokePermission { role, key, range_end } => {
                AuthChange::RevokePermission { role, key, range_end }
            }
        };
        let outcome = self.write_for(caller, Command::Auth(change)).await?;
        match done(outcome.result)? {
            Effect::Auth(_) => Ok(self.reply(outcome.revision, AuthReply::Done)),
            _ => Err(odd()),
        }
    }

    /// Hashes a password for whoever may set it: nobody else has work done here.
    async fn hash(&self, caller: &Caller, name: &str, password: Secret) -> Result<String, Fault> {
        self.house.admit_root(caller)?;
        let bytes = password.expose().len();
        if bytes > PASSWORD_BYTES_MAX {
            return Err(Fault::PasswordTooLong);
        }
        if bytes < PASSWORD_BYTES_GOOD {
            tracing::warn!(
                { "user-name" } = name,
                "a password of fewer than {PASSWORD_BYTES_GOOD} bytes was set"
            );
        }
        self.passwords.hash(password, self.bcrypt_cost).await.map_err(busy)
    }

    async fn authenticate(&self, name: String, password: Secret) -> Result<Reply<AuthReply>, Fault> {
        self.linearize(Consistency::Linearizable).await?;
        for _ in 0..ROUNDS_MAX {
            let known = self.house.wing.look().auth.hash_of(&name);
            let (hash, revision) = known.map_err(refused)?;
            let hash = hash.ok_or(Fault::NoPasswordUser)?;
            if !self.passwords.verify(password.clone(), hash).await.map_err(busy)? {
                tracing::warn!({ "user-name" } = name.as_str(), "a wrong password was given");
                return Err(Fault::AuthFailed);
            }
            let given = match self.house.doorkeeper.tokens() {
                Tokens::Simple(_) => self.give(&name, revision).await,
                Tokens::Signed(signer) => {
                    let token = signer.sign(&name, revision, self.house.doorkeeper.now_s());
                    Ok(token.map(AuthReply::Token).map_err(|why| match why {
                        SignError::VerifyOnly => Fault::VerifyOnly,
                        SignError::Failed => Fault::Broken(why.to_string()),
                    })?)
                }
            };
            match given {
                Err(Fault::AuthOldRevision) => {}
                given => return Ok(self.reply(self.revision(), given?)),
            }
        }
        Err(Fault::AuthOldRevision)
    }

    /// Has the log give a token, so that every member knows it.
    async fn give(&self, name: &str, revision: u64) -> Result<AuthReply, Fault> {
        let letter = || char::from(*LETTERS.choose(&mut rand::rng()).expect("there are letters"));
        let token = (0..PREFIX_CHARS).map(|_| letter()).collect();
        let change = AuthChange::Authenticate { user: name.to_owned(), token, revision };
        let outcome = self.write_for(&NOBODY, Command::Auth(change)).await?;
        match done(outcome.result)? {
            Effect::Auth(AuthDone::Token { token, .. }) => Ok(AuthReply::Token(token)),
            _ => Err(odd()),
        }
    }

    async fn look_up(&self, caller: &Caller, request: AuthRequest) -> Result<Reply<AuthReply>, Fault> {
        self.linearize(Consistency::Linearizable).await?;
        let author = self.house.identify(caller)?;
        let rooms = self.house.wing.enter();
        let auth = &rooms.auth;
        let root = auth.admit_root(&author);
        let user = match &author {
            Author::User(identity) => identity.user.as_str(),
            Author::Nobody | Author::Member => "",
        };
        let body = match request {
            AuthRequest::Status => {
                root.map_err(refused)?;
                AuthReply::Status { enabled: auth.is_enabled(), revision: auth.revision() }
            }
            AuthRequest::UserList => {
                root.map_err(refused)?;
                AuthReply::Names(auth.users())
            }
            AuthRequest::RoleList => {
                root.map_err(refused)?;
                AuthReply::Names(auth.roles())
            }
            // Everybody may know what he himself may do.
            AuthRequest::UserGet { name } => {
                own(root, name == user)?;
                AuthReply::Names(auth.roles_of(&name).map_err(refused)?)
            }
            AuthRequest::RoleGet { role } => {
                own(root, auth.has_role(user, &role))?;
                AuthReply::Permissions(auth.permissions(&role).map_err(refused)?)
            }
            _ => return Err(odd()),
        };
        Ok(self.reply(self.revision(), body))
    }
}

fn own(root: Result<(), AuthRefusal>, is_own: bool) -> Result<(), Fault> {
    if is_own { Ok(()) } else { root.map_err(refused) }
}

fn busy(_: Busy) -> Fault {
    Fault::TooManyRequests
}
