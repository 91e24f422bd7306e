//! What operators ask of a member.

use async_trait::async_trait;
use bytes::Bytes;
use types::RangeReply;

use crate::{Fault, Reply};

/// What to do about an older version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Downgrade {
    /// Say whether it could be done.
    Validate(String),
    /// Begin it.
    Enable(String),
    /// Stop it.
    Cancel,
}

/// A piece of a snapshot for an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotPiece {
    /// Bytes that follow after this piece, without the 32 of the checksum: as etcd counts.
    pub remaining: u64,
    /// The piece.
    pub bytes: Bytes,
}

/// A snapshot on its way to an operator.
#[async_trait]
pub trait SnapshotStream: Send {
    /// The next piece; `None` after the last. The last 32 bytes are the SHA-256 of all before them.
    async fn next(&mut self) -> Result<Option<Reply<SnapshotPiece>>, Fault>;
}

/// A range answer in parts, none of which is large.
#[async_trait]
pub trait RangeStream: Send {
    /// The next part; `None` after the last. All parts are of one revision; their headers carry the current one of
    /// the moment when the stream began. The last part alone tells `count` and `more`.
    async fn next(&mut self) -> Result<Option<Reply<RangeReply>>, Fault>;
}
