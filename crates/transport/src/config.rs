//! What a transport has to know, and the times that follow from it.

use std::sync::Arc;
use std::time::Duration;

use types::{ClusterId, MemberId};

/// A peer that is reached within this has time enough even where heartbeats are rare.
const PING_EVERY_MIN: Duration = Duration::from_millis(100);
/// Pings are not rarer than this.
const PING_EVERY_MAX: Duration = Duration::from_secs(1);
/// No connection is given up earlier than after this silence.
const SILENCE_MIN: Duration = Duration::from_secs(2);
/// Heartbeats until a silent connection is given up, unless that is less than [`SILENCE_MIN`].
const SILENCE_HEARTBEATS: u32 = 10;
/// Attempts to connect are not rarer than this, as long as each fails at once.
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What a transport has to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Only members of this cluster are spoken with.
    pub cluster: ClusterId,
    /// Who this member is.
    pub member: MemberId,
    /// The version that this member shows, by etcd's count, `3.5.0` for instance.
    pub version: String,
    /// Where this member can be reached, for peers that have not heard of it yet.
    pub peer_urls: Vec<String>,
    /// The time between a leader's heartbeats; others are made from it.
    pub heartbeat: Duration,
    /// What may wait for each peer on each lane, in bytes; or one frame that is larger.
    pub queue_bytes_max: usize,
    /// How peers with https are called; `None` calls none of them.
    pub tls: Option<Arc<tls::Client>>,
}

impl Config {
    /// For each peer and lane, in bytes, where nobody knows better.
    pub const QUEUE_BYTES_MAX: usize = 64 << 20;

    /// A connection is given up when the other end has not answered for this long.
    pub(crate) fn silence_max(&self) -> Duration {
        (self.heartbeat * SILENCE_HEARTBEATS).max(SILENCE_MIN)
    }

    /// The time between two pings.
    pub(crate) fn ping_every(&self) -> Duration {
        (self.heartbeat * 5).clamp(PING_EVERY_MIN, PING_EVERY_MAX)
    }

    /// The pause after the first attempt that failed; it doubles up to [`PAUSE_MAX`].
    pub(crate) fn pause_min(&self) -> Duration {
        self.heartbeat.min(PAUSE_MAX)
    }

    /// A connection, or an answer to the first request on it, takes no longer.
    pub(crate) fn dial_time_max(&self) -> Duration {
        (self.heartbeat * SILENCE_HEARTBEATS).clamp(PAUSE_MAX, Duration::from_secs(5))
    }
}
