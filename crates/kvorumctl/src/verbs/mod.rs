//! The verbs, one file each or one for those that belong together.

mod get;
mod migrate;
pub(crate) mod password;
mod put;
mod shown;
mod version;

use clap::Subcommand;

use crate::failure::Done;
use crate::session::Session;

/// What can be asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Writes a key.
    Put(put::Put),
    /// Reads a key or a range of keys.
    Get(get::Get),
    /// Copies a v2 tree into v3 keys.
    Migrate(migrate::Migrate),
    /// Says which version this is.
    Version(version::Version),
}

impl Verb {
    pub(crate) async fn run(self, session: &Session) -> Done {
        match self {
            Self::Put(verb) => verb.run(session).await,
            Self::Get(verb) => verb.run(session).await,
            Self::Migrate(verb) => verb.run(session).await,
            Self::Version(verb) => verb.run(session),
        }
    }
}
