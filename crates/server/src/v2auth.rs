//! The users and roles of v2, as the gateway asks for them.
//!
//! INVARIANT: a password is compared and hashed on a thread for that, and only its hash enters the log.

use api::{Fault, V2Auth, V2Caller};
use async_trait::async_trait;
use command::{Command, Effect};
use types::Secret;
use types::v2auth::{Access, Change, Changed, Refusal, Role, User};

use crate::asking::{done, odd};
use crate::member::Member;
use crate::passwords::{Busy, COST};

#[async_trait]
impl V2Auth for Member {
    fn is_enabled(&self) -> bool {
        self.house.wing.look().v2_auth.is_enabled()
    }

    async fn permits(&self, caller: V2Caller, access: Access) -> Result<bool, Fault> {
        let users = || self.house.wing.look();
        if !users().v2_auth.is_enabled() {
            return Ok(true);
        }
        Ok(match caller {
            V2Caller::Unreadable => false,
            V2Caller::Certificate(name) if users().v2_auth.user(&name).is_some() => {
                users().v2_auth.permits_known(&name, &access)
            }
            V2Caller::Guest | V2Caller::Certificate(_) => users().v2_auth.permits_guest(&access),
            V2Caller::Password { name, password } => {
                let Some(hash) = users().v2_auth.hash(&name) else { return Ok(false) };
                let is_right = self.passwords.verify(password, hash.clone()).await.map_err(busy)?;
                is_right && users().v2_auth.permits_user(&name, &hash, &access)
            }
        })
    }

    fn users(&self) -> Vec<User> {
        self.house.wing.look().v2_auth.users()
    }

    fn user(&self, name: &str) -> Option<User> {
        self.house.wing.look().v2_auth.user(name)
    }

    fn roles(&self) -> Vec<Role> {
        self.house.wing.look().v2_auth.roles()
    }

    fn role(&self, name: &str) -> Option<Role> {
        self.house.wing.look().v2_auth.role(name)
    }

    async fn change(
        &self,
        mut change: Change,
        password: Option<Secret>,
    ) -> Result<Result<Changed, Refusal>, Fault> {
        if let Some(password) = password.filter(|password| !password.is_empty()) {
            change = change.with_hash(self.passwords.hash(password, COST).await.map_err(busy)?);
        }
        let outcome = self.write(Command::V2Auth(change)).await?;
        match done(outcome.result)? {
            Effect::V2Auth(result) => Ok(result),
            _ => Err(odd()),
        }
    }
}

fn busy(_: Busy) -> Fault {
    Fault::TooManyRequests
}
