//! Faults that are planted on purpose, to see that the checks find them.
//!
//! Each is a few lines in the simulator's own layers (member, disk, network); the crates under test have none.

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
}

impl Planted {
    /// All of them.
    pub(crate) const ALL: [Self; 25] = [
        Self::AcknowledgeBeforeSync,
        Self::IgnoreFileSync,
        Self::IgnoreFolderSync,
        Self::VoteBeforeDurable,
        Self::LoseHardState,
        Self::TruncateLog,
        Self::ReleaseTooFar,
        Self::ReuseNonce,
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
        Self::SnapshotWithoutRoster,
        Self::SnapshotTooNew,
        Self::InstallWithoutReset,
        Self::IgnoreChange,
        Self::RemovedReturns,
        Self::SharedLog,
    ];
}
