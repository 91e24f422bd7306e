//! Snapshots as raft sees them: a place in the log and a name by which the files can be fetched. The files
//! themselves are nobody's business here.

use bytes::Bytes;
use raft::eraftpb::{ConfState, Snapshot};
use types::{Index, MemberId, Term};

/// A state of the machine that can be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotMark {
    /// The last entry in it.
    pub index: Index,
    /// That entry's term.
    pub term: Term,
    /// Who voted then.
    pub voters: Vec<MemberId>,
    /// Who listened then.
    pub learners: Vec<MemberId>,
    /// How to fetch it; opaque here.
    pub id: Bytes,
}

/// A leader wants this member to install a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotOffer {
    /// Who has it.
    pub from: MemberId,
    /// What it is.
    pub mark: SnapshotMark,
}

/// Where a leader's snapshots come from.
pub trait SnapshotSource: Send + Sync {
    /// A snapshot of at least that index for `to`, who must be among its voters or learners. Never blocks: `None`
    /// says that there is none yet; one is being made, and the question will come again.
    fn latest(&self, at_least: Index, to: MemberId) -> Option<SnapshotMark>;
}

/// For a member that never sends any.
pub struct NoSnapshots;

impl SnapshotSource for NoSnapshots {
    fn latest(&self, _at_least: Index, _to: MemberId) -> Option<SnapshotMark> {
        None
    }
}

impl SnapshotMark {
    /// Whether the member belongs to the cluster as the snapshot knows it.
    pub fn has(&self, member: MemberId) -> bool {
        self.voters.contains(&member) || self.learners.contains(&member)
    }

    /// Whether raft can take it for this member: it is in the cluster, everybody is once, and somebody votes.
    pub(crate) fn suits(&self, member: MemberId) -> bool {
        let mut all: Vec<_> = self.voters.iter().chain(&self.learners).collect();
        all.sort_unstable();
        self.has(member) && !self.voters.is_empty() && all.windows(2).all(|pair| pair[0] != pair[1])
    }

    pub(crate) fn to_raft(&self) -> Snapshot {
        let mut snapshot = Snapshot { data: self.id.clone(), ..Snapshot::default() };
        let metadata = snapshot.mut_metadata();
        metadata.index = self.index.0;
        metadata.term = self.term.0;
        metadata.set_conf_state(conf_state(&self.voters, &self.learners));
        snapshot
    }

    pub(crate) fn from_raft(snapshot: &Snapshot) -> Self {
        let metadata = snapshot.get_metadata();
        let members = |ids: &[u64]| ids.iter().copied().map(MemberId).collect();
        Self {
            index: Index(metadata.index),
            term: Term(metadata.term),
            voters: members(&metadata.get_conf_state().voters),
            learners: members(&metadata.get_conf_state().learners),
            id: snapshot.data.clone(),
        }
    }
}

/// The members in raft's words.
pub(crate) fn conf_state(voters: &[MemberId], learners: &[MemberId]) -> ConfState {
    let ids = |members: &[MemberId]| members.iter().map(|member| member.0).collect::<Vec<_>>();
    ConfState { voters: ids(voters), learners: ids(learners), ..ConfState::default() }
}
