//! `snapshot`: everything that one member holds, in one file; what is in such a file; and a new cluster out of it.

mod restore;
mod save;
mod status;
mod work;

use clap::Subcommand;

use crate::failure::Done;
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum Snapshot {
    /// Takes a snapshot of one member.
    Save(save::Save),
    /// Checks a snapshot and says what is in it.
    Status(status::Status),
    /// Makes the data folder of a member of a new cluster out of a snapshot.
    Restore(Box<restore::Restore>),
}

impl Snapshot {
    pub(crate) async fn run(self, session: &Session) -> Done {
        match self {
            Self::Save(verb) => verb.run(session).await,
            Self::Status(verb) => verb.run(session).await,
            Self::Restore(verb) => verb.run(session).await,
        }
    }
}
