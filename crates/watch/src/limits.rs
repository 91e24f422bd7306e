//! What watches may cost.

use std::time::Duration;

/// See the module. What happens at each limit stands with it.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Replies with events that wait for a stream's reader; at the limit the watches concerned lag.
    pub replies_max: usize,
    /// Bytes of these, what they share counted once; likewise. One reply more may come, however large. A reader takes
    /// all that waits at once, so that twice this is held for a stream.
    pub bytes_max: usize,
    /// Other replies that wait for a stream's reader; one that lets more come up loses its stream.
    pub controls_max: usize,
    /// Watches of one stream; more are refused.
    pub watches_per_stream_max: usize,
    /// Watches of all streams; more are refused.
    pub watches_max: usize,
    /// Changes that are read of the history at once, and in one reply; then to the end of the revision.
    pub piece_changes_max: usize,
    /// Bytes of keys and values; likewise.
    pub piece_bytes_max: usize,
    /// Lagging watches that are behind the synced ones by no more revisions than this join them at once.
    pub join_revisions_max: u64,
    /// How often a quiet watch is told that nothing happened, if it wants to know.
    pub progress_every: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            replies_max: 16_384,
            bytes_max: 4 << 20,
            controls_max: 1 << 20,
            watches_per_stream_max: 500_000,
            watches_max: 2_000_000,
            piece_changes_max: 1_000,
            piece_bytes_max: 1 << 20,
            join_revisions_max: 1_000,
            progress_every: Duration::from_mins(10),
        }
    }
}
