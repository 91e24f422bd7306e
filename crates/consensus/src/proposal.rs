//! What is put in order: proposals as they come in, entries as they come out, and what certainly did not happen.

use bytes::Bytes;
use types::{Index, MemberId, Term};

/// A change of who votes and who listens. It takes effect when [`crate::Replica::change_applied`] is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Somebody new, who votes at once.
    AddVoter(MemberId),
    /// Somebody new, who listens.
    AddLearner(MemberId),
    /// A listener votes from now on.
    Promote(MemberId),
    /// Somebody leaves for ever.
    Remove(MemberId),
}

impl Change {
    /// Whom it is about.
    pub fn member(self) -> MemberId {
        match self {
            Self::AddVoter(id) | Self::AddLearner(id) | Self::Promote(id) | Self::Remove(id) => id,
        }
    }
}

/// What a proposal is to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A client's: whoever leads puts it into the log.
    Normal,
    /// A leader's own chore: dropped unless this member still leads in this term; never forwarded.
    Chore(Term),
    /// A change of the membership: one at a time.
    Change(Change),
}

/// One encoded command, and who is to be told.
pub struct Proposal<W> {
    /// The command.
    pub data: Bytes,
    /// Handed back with the entry that holds the command, when that is committed.
    pub ticket: W,
    /// What it is to the log.
    pub kind: Kind,
}

/// Why a proposal certainly did not happen and will not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// Another leader's entry took its place.
    Overtaken,
    /// Another change of the membership is under way.
    ChangePending,
    /// A learner was to vote that has too little of the log yet.
    NotCaughtUp,
    /// A chore, and this member does not lead in its term any more.
    NotLeader,
    /// Too much waits already, or nobody led for too long.
    NoRoom,
}

/// An entry that is committed.
#[derive(Debug)]
pub struct Committed<W> {
    /// Its place.
    pub index: Index,
    /// The term in which it was proposed.
    pub term: Term,
    /// Its commands, possibly none.
    pub data: Bytes,
    /// The change of the membership that its one command asks for.
    pub change: Option<Change>,
    /// The tickets of the commands that were proposed here in this life, each with the number of its command in
    /// the entry, ascending.
    pub tickets: Vec<(usize, W)>,
}

/// Reads that may be answered as soon as the state machine has applied `index`.
#[derive(Debug)]
pub struct Readable<R> {
    /// The index to wait for.
    pub index: Index,
    /// Who was confirmed to lead after the reads came in, and in which term.
    pub leader: (Term, MemberId),
    /// The tickets.
    pub tickets: Vec<R>,
}
