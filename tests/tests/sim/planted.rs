//! Faults that are planted on purpose, to see that the checks find them.
//!
//! Each is a few lines in the simulator's own layers (member, disk, network); the crates under test have none.

use bytes::Bytes;
use types::MemberId;

/// A fault, and what it does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planted {
    /// An append counts as durable before it is written.
    AcknowledgeBeforeSync,
    /// The disk says that it has synced a file, and has not.
    IgnoreFileSync,
    /// The disk says that it has synced a folder, and has not.
    IgnoreFolderSync,
    /// A term or a vote counts as durable before it is written.
    VoteBeforeDurable,
    /// Term and vote are forgotten at a restart.
    LoseHardState,
    /// The log loses its last entries at a restart.
    TruncateLog,
    /// The log is released up to what was applied, not up to what was flushed.
    ReleaseTooFar,
    /// All lives of a member use the same boot nonce: read contexts and forward numbers come again.
    ReuseNonce,
    /// A member's questions for a read index all have the same context, so that an answer to an earlier one is
    /// taken for the answer to the newest.
    ReuseReadContext,
    /// Reads are answered at once, without a read index.
    ReadWithoutIndex,
    /// Reads do not wait until their index is applied.
    ReadBeforeApply,
    /// A leader answers reads without asking the others.
    ReadAsLeader,
    /// A write is answered when it is proposed.
    AnswerBeforeCommit,
    /// What was certainly not taken is answered as done.
    AnswerRefused,
    /// A proposal is handed in twice.
    ProposeTwice,
    /// An entry is skipped.
    SkipEntry,
    /// The state is flushed without its position, so that a restart applies entries twice.
    ApplyTwice,
    /// The time to live of a v2 node is counted from the clock of whoever applies it.
    ApplyByClock,
    /// v2 nodes are expired by whoever finds them due, leader or not.
    ExpireWithoutLead,
    /// v2 nodes are expired by a clock that runs ahead.
    ExpireByWrongClock,
    /// Whoever has led goes on ending leases.
    EndLeaseWithoutLead,
    /// Leases are ended by a clock that runs ahead.
    EndLeaseByWrongClock,
    /// Who begins to lead counts the time of leases from when it heard of them.
    LeaseTimeKept,
    /// A snapshot is installed without its list of members.
    SnapshotWithoutRoster,
    /// A snapshot says that it reaches further than it does.
    SnapshotTooNew,
    /// A crash between the new state and the log is not repaired.
    InstallWithoutReset,
    /// A member does not tell its replica of a change of the membership.
    IgnoreChange,
    /// A member that was removed is taken for a new one.
    RemovedReturns,
    /// Two members have the same log.
    SharedLog,
    /// While a part of the history is read for watches that lag, a change is not told to the others.
    WatchLosesChange,
    /// A stream of watches gives its last reply twice.
    WatchTellsTwice,
    /// A progress reply says what the member has applied, sent or not.
    WatchProgressEarly,
    /// What an installed snapshot brought counts as told.
    WatchForgetsInstall,
    /// A lease's end removes one of its keys in a revision of its own.
    LeaseEndsInParts,
    /// A member that starts forgets one of the keys that end with a lease.
    LeaseForgetsKey,
    /// A put without a lease leaves the key with the one that it had.
    PutKeepsLease,
    /// The events of a revision come in two replies.
    WatchSplitsRevision,
    /// Of a revision that changed several keys, one is not told to the watches.
    WatchLosesKey,
}

impl Planted {
    /// All of them.
    pub(crate) const ALL: [Self; 38] = [
        Self::AcknowledgeBeforeSync,
        Self::IgnoreFileSync,
        Self::IgnoreFolderSync,
        Self::VoteBeforeDurable,
        Self::LoseHardState,
        Self::TruncateLog,
        Self::ReleaseTooFar,
        Self::ReuseNonce,
        Self::ReuseReadContext,
        Self::ReadWithoutIndex,
        Self::ReadBeforeApply,
        Self::ReadAsLeader,
        Self::AnswerBeforeCommit,
        Self::AnswerRefused,
        Self::ProposeTwice,
        Self::SkipEntry,
        Self::ApplyTwice,
        Self::ApplyByClock,
        Self::ExpireWithoutLead,
        Self::ExpireByWrongClock,
        Self::EndLeaseWithoutLead,
        Self::EndLeaseByWrongClock,
        Self::LeaseTimeKept,
        Self::SnapshotWithoutRoster,
        Self::SnapshotTooNew,
        Self::InstallWithoutReset,
        Self::IgnoreChange,
        Self::RemovedReturns,
        Self::SharedLog,
        Self::WatchLosesChange,
        Self::WatchTellsTwice,
        Self::WatchProgressEarly,
        Self::WatchForgetsInstall,
        Self::LeaseEndsInParts,
        Self::LeaseForgetsKey,
        Self::PutKeepsLease,
        Self::WatchSplitsRevision,
        Self::WatchLosesKey,
    ];
}

/// Where the number of a question stands in a read context: after the member's id, its life and the term.
const SEQUENCE_AT: usize = 24;

/// A message of raft with another number in the read context of `asker` that it carries, and the number that it had.
/// `None` if it carries none.
pub(crate) fn with_sequence(message: &Bytes, asker: MemberId, sequence: u64) -> Option<(Bytes, u64)> {
    let id = asker.0.to_be_bytes();
    let at = message.windows(id.len()).position(|window| window == id)? + SEQUENCE_AT;
    let before: [u8; 8] = message.get(at..at + 8)?.try_into().ok()?;
    let mut changed = message.to_vec();
    changed[at..at + 8].copy_from_slice(&sequence.to_be_bytes());
    Some((Bytes::from(changed), u64::from_be_bytes(before)))
}
