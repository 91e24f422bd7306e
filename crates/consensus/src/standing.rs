//! What a replica tells about itself and, if it leads, about the others.

use raft::ProgressState;
use types::{Index, MemberId, Term};

use crate::replica::Replica;

/// Who leads, as this replica knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The current term.
    pub term: Term,
    /// The leader; zero for none.
    pub leader: MemberId,
    /// What this member is in its term.
    pub role: Role,
    /// What this member is in the cluster.
    pub seat: Seat,
    /// The last index known to be committed.
    pub commit: Index,
    /// Whether this member leads and has committed in its term: from then on it may answer for the cluster.
    pub confirmed: bool,
}

/// What a member is in its term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It follows a leader, or waits for one.
    #[default]
    Follower,
    /// It asks for votes (or asks whether asking makes sense).
    Candidate,
    /// It leads.
    Leader,
}

/// What a member is in the cluster, as far as it has applied the changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Seat {
    /// Not in it yet, or not any more: it never asks for votes.
    #[default]
    None,
    /// It listens.
    Learner,
    /// It votes.
    Voter,
}

/// Everything that a replica can tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// The current term.
    pub term: Term,
    /// The leader; zero for none.
    pub leader: MemberId,
    /// What this member is in its term.
    pub role: Role,
    /// What this member is in the cluster.
    pub seat: Seat,
    /// The last index known to be committed.
    pub commit: Index,
    /// The last index in the log, durable or not.
    pub last: Index,
    /// Whom this member voted for in this term; zero for nobody.
    pub vote: MemberId,
    /// Who votes.
    pub voters: Vec<MemberId>,
    /// Who listens.
    pub learners: Vec<MemberId>,
    /// To whom the lead is being handed; zero for nobody.
    pub transferee: MemberId,
    /// How far the others are; only a leader knows.
    pub peers: Vec<PeerProgress>,
}

/// How far another member is, as its leader knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerProgress {
    /// Who.
    pub id: MemberId,
    /// The last index that it has on disk.
    pub matched: Index,
    /// The next index to send.
    pub next: Index,
    /// How it gets its entries.
    pub state: PeerState,
    /// Whether anything was heard of it within the last election time-out.
    pub active: bool,
    /// Whether it only listens.
    pub learner: bool,
}

/// How a member gets its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// One message at a time, until it is known where its log ends.
    Probe,
    /// As they come.
    Replicate,
    /// It is to fetch a snapshot first.
    Snapshot,
}

impl<W, R> Replica<W, R> {
    /// Who leads.
    pub fn standing(&self) -> Standing {
        let raft = &self.node.raft;
        Standing {
            term: Term(raft.term),
            leader: self.known_leader(),
            role: self.role(),
            seat: self.seat(),
            commit: Index(raft.raft_log.committed),
            confirmed: self.leads() && raft.commit_to_current_term(),
        }
    }

    /// Everything it can tell. Copies lists: not for every step.
    pub fn survey(&self) -> Survey {
        let raft = &self.node.raft;
        let peers = raft.prs().iter().filter(|(id, _)| self.leads() && **id != self.id.0);
        let mut peers: Vec<_> = peers
            .map(|(id, progress)| PeerProgress {
                id: MemberId(*id),
                matched: Index(progress.matched),
                next: Index(progress.next_idx),
                state: match progress.state {
                    ProgressState::Probe => PeerState::Probe,
                    ProgressState::Replicate => PeerState::Replicate,
                    ProgressState::Snapshot => PeerState::Snapshot,
                },
                active: progress.recent_active,
                learner: self.learners.contains(&MemberId(*id)),
            })
            .collect();
        peers.sort_unstable_by_key(|peer| peer.id);
        Survey {
            term: Term(raft.term),
            leader: self.known_leader(),
            role: self.role(),
            seat: self.seat(),
            commit: Index(raft.raft_log.committed),
            last: self.last_index(),
            vote: MemberId(raft.vote),
            voters: self.voters.clone(),
            learners: self.learners.clone(),
            transferee: MemberId(raft.lead_transferee.unwrap_or_default()),
            peers,
        }
    }

    /// The log's last index, durable or not.
    pub fn last_index(&self) -> Index {
        Index(self.node.raft.raft_log.last_index())
    }

    fn known_leader(&self) -> MemberId {
        if self.leads() && self.role() != Role::Leader { MemberId(0) } else { self.leader() }
    }

    fn seat(&self) -> Seat {
        if self.voters.contains(&self.id) {
            Seat::Voter
        } else if self.learners.contains(&self.id) {
            Seat::Learner
        } else {
            Seat::None
        }
    }
}
