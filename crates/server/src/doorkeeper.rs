//! Who calls, and what he may do: asked before anything is read, and again when it was read. What is written is judged
//! when it is applied; here it gets the name that goes with it.
//!
//! INVARIANT: while nobody has to prove who he is, a request pays for a look at one flag.

use std::sync::Arc;

use api::{Caller, Consistency, Fault};
use auth::Pass;
use auth::tokens::Tokens;
use command::{Command, Outcome, Refused};
use consensus::Kind;
use stdx::Clock;
use types::{AuthDone, AuthRefusal, Author, Identity, Secret};

use crate::member::{House, Member};

/// How often a request begins anew because users or roles changed under it.
pub(crate) const ROUNDS_MAX: usize = 8;

/// Somebody who did not say who he is.
pub(crate) static NOBODY: Caller = Caller { token: None, peer_name: None };

/// The tokens of this member.
pub(crate) struct Doorkeeper {
    tokens: Arc<Tokens>,
    clock: Arc<dyn Clock>,
}

impl Doorkeeper {
    pub(crate) fn new(tokens: Arc<Tokens>, clock: Arc<dyn Clock>) -> Self {
        Self { tokens, clock }
    }

    /// How tokens are made.
    pub(crate) fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Seconds since 1970.
    pub(crate) fn now_s(&self) -> i64 {
        self.clock.wall_ns() / 1_000_000_000
    }

    /// Whose token it is, known as of `revision` unless the token says otherwise.
    fn owner(&self, token: &Secret, revision: u64) -> Option<Identity> {
        let token = std::str::from_utf8(token.expose()).ok()?;
        match self.tokens() {
            Tokens::Simple(simple) => {
                let user = simple.user_of(token, self.clock.now())?;
                Some(Identity { user, revision })
            }
            Tokens::Signed(signer) => signer.verify(token, self.now_s()),
        }
    }

    /// The index of the entry that gave a token of which nothing is known.
    fn given_at(&self, token: &Secret, applied: u64) -> bool {
        let Tokens::Simple(_) = self.tokens() else { return false };
        let text = std::str::from_utf8(token.expose()).ok();
        let index = text.and_then(|text| text.rsplit_once('.')?.1.parse::<u64>().ok());
        index.is_some_and(|index| index > applied)
    }

    /// What was applied here.
    pub(crate) fn learn(&self, done: &AuthDone) {
        let Tokens::Simple(simple) = self.tokens() else { return };
        match done {
            AuthDone::Changed => {}
            AuthDone::Ended { user } => simple.forget(user),
            AuthDone::Disabled => simple.forget_all(),
            AuthDone::Token { user, token } => simple.learn(token.clone(), user.clone(), self.clock.now()),
        }
    }

    /// No token counts any more.
    pub(crate) fn forget_all(&self) {
        if let Tokens::Simple(simple) = self.tokens() {
            simple.forget_all();
        }
    }
}

/// What somebody may do, and as of when that is so.
pub(crate) struct Entry {
    pub(crate) author: Author,
    pub(crate) pass: Pass,
    stamp: Option<u64>,
}

impl House {
    /// Who calls, as far as that matters now.
    pub(crate) fn identify(&self, caller: &Caller) -> Result<Author, Fault> {
        let rooms = self.wing.look();
        if !rooms.auth.is_enabled() {
            return Ok(Author::Nobody);
        }
        let revision = rooms.auth.revision();
        match (&caller.token, &caller.peer_name) {
            (Some(token), _) => {
                let owner = self.doorkeeper.owner(token, revision).ok_or(Fault::InvalidAuthToken)?;
                Ok(Author::User(owner))
            }
            (None, Some(name)) => Ok(Author::User(Identity { user: name.to_string(), revision })),
            (None, None) => Ok(Author::Nobody),
        }
    }

    /// What somebody may do with keys now.
    pub(crate) fn enter(&self, caller: &Caller) -> Result<Entry, Fault> {
        let rooms = self.wing.look();
        let stamp = rooms.auth.stamp();
        if stamp.is_none() {
            return Ok(Entry { author: Author::Nobody, pass: Pass::All, stamp });
        }
        let author = self.identify(caller)?;
        let pass = rooms.auth.admit(&author).map_err(refused)?;
        Ok(Entry { author, pass, stamp })
    }

    /// Whether nothing has changed since somebody entered.
    pub(crate) fn holds(&self, entry: &Entry) -> bool {
        self.wing.look().auth.stamp() == entry.stamp
    }

    /// Lets in whoever may do everything.
    pub(crate) fn admit_root(&self, caller: &Caller) -> Result<Author, Fault> {
        let author = self.identify(caller)?;
        self.wing.look().auth.admit_root(&author).map_err(refused)?;
        Ok(author)
    }

    /// Lets in whoever is a user.
    pub(crate) fn admit_user(&self, caller: &Caller) -> Result<Author, Fault> {
        let author = self.identify(caller)?;
        self.wing.look().auth.admit_user(&author).map_err(refused)?;
        Ok(author)
    }
}

impl Member {
    /// A token that another member has just given may not be known here yet: waits until it must be.
    pub(crate) async fn meet(&self, caller: &Caller) {
        let Some(token) = &caller.token else { return };
        let applied = self.house.shared.applied().0;
        if self.house.wing.look().auth.is_enabled() && self.house.doorkeeper.given_at(token, applied) {
            // Who asks finds out by himself if this did not help.
            let _ = self.catch_up(Consistency::Linearizable).await;
        }
    }

    /// Writes what a client sent, in his name.
    pub(crate) async fn write_for(&self, caller: &Caller, command: Command) -> Result<Outcome, Fault> {
        self.propose_for(caller, command, Kind::Normal, true).await
    }

    /// Puts a command into the log in somebody's name, and again if he was known as of an older time than that at
    /// which it was applied. `served`: not while this member is corrupt.
    pub(crate) async fn propose_for(
        &self,
        caller: &Caller,
        command: Command,
        kind: Kind,
        served: bool,
    ) -> Result<Outcome, Fault> {
        if served && self.house.shared.is_corrupt() {
            return Err(Fault::Corrupt);
        }
        let mut author = self.house.identify(caller)?;
        for _ in 1..ROUNDS_MAX {
            let outcome = self.propose(command.encode_by(&author), kind).await?;
            if !matches!(outcome.result, Err(Refused::Auth(AuthRefusal::OldRevision))) {
                return Ok(outcome);
            }
            let again = self.house.identify(caller)?;
            if again == author {
                return Ok(outcome);
            }
            author = again;
        }
        self.propose(command.encode_by(&author), kind).await
    }
}

/// A refusal as a client is told.
pub(crate) fn refused(why: AuthRefusal) -> Fault {
    match why {
        AuthRefusal::RootUserMissing => Fault::RootUserMissing,
        AuthRefusal::RootRoleMissing => Fault::RootRoleMissing,
        AuthRefusal::UserExists => Fault::UserExists,
        AuthRefusal::UserEmpty => Fault::UserEmpty,
        AuthRefusal::UserNotFound => Fault::UserNotFound,
        AuthRefusal::RoleExists => Fault::RoleExists,
        AuthRefusal::RoleNotFound => Fault::RoleNotFound,
        AuthRefusal::RoleEmpty => Fault::RoleEmpty,
        AuthRefusal::RoleNotGranted => Fault::RoleNotGranted,
        AuthRefusal::PermissionNotGranted => Fault::PermissionNotGranted,
        AuthRefusal::InvalidManagement => Fault::InvalidAuthManagement,
        AuthRefusal::NotEnabled => Fault::AuthNotEnabled,
        AuthRefusal::Failed => Fault::AuthFailed,
        AuthRefusal::OldRevision => Fault::AuthOldRevision,
        AuthRefusal::Denied => Fault::PermissionDenied,
        AuthRefusal::TooMany => Fault::TooManyUsers,
    }
}
