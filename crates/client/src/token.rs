//! The proof of who speaks: asked for when it is first needed, and again when a member does not know it any more.

use parking_lot::Mutex;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Code, Status};

/// The name under which it travels.
pub(crate) const METADATA: &str = "token";

/// What a member that has no users answers to credentials, which is no failure.
const NOT_ENABLED: &str = "etcdserver: authentication is not enabled";

/// What a member answers when users have changed since the token was made.
const OLD_REVISION: &str = "etcdserver: revision of auth store is old";

/// Where a client stands with its credentials.
#[derive(Clone, Debug, Default)]
pub(crate) enum Standing {
    /// They were not shown yet, or are to be shown anew.
    #[default]
    Unproven,
    /// Nobody wants to see them.
    Unneeded,
    /// They were accepted.
    Proven(MetadataValue<Ascii>),
}

/// The standing that all calls of a client share.
#[derive(Debug, Default)]
pub(crate) struct Token {
    standing: Mutex<Standing>,
    /// One asks while the others wait.
    pub(crate) asking: tokio::sync::Mutex<()>,
}

impl Token {
    pub(crate) fn standing(&self) -> Standing {
        self.standing.lock().clone()
    }

    pub(crate) fn set(&self, standing: Standing) {
        *self.standing.lock() = standing;
    }
}

/// Whether a refusal means that there are no users at all.
pub(crate) fn is_not_enabled(status: &Status) -> bool {
    status.message() == NOT_ENABLED
}

/// Whether a refusal is about the token and not about what was asked.
pub(crate) fn is_stale(status: &Status) -> bool {
    status.code() == Code::Unauthenticated || status.message() == OLD_REVISION
}
