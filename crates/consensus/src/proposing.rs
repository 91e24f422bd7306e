//! How proposals get into a log: into this leader's, many in one entry, or to whoever leads.

use std::collections::VecDeque;

use raft::StateRole;
use types::MemberId;

use crate::desk::{Draft, Held, Owner, refusals};
use crate::envelope::{Body, Envelope, Forward, ForwardRefused, change_of};
use crate::proposal::{Change, Kind, NotTaken, Proposal};
use crate::replica::{Replica, UNCOMMITTED_BYTES_MAX};
use crate::tags::{self, Run};

/// Proposals are joined into entries of up to this many bytes, so that one large run does not hold up the log.
const ENTRY_BYTES_MAX: usize = 1 << 20;
/// A learner may vote when it has so much of the leader's log, as in etcd.
const CAUGHT_UP_PERCENT: u128 = 90;
/// Proposals are forwarded in messages of up to this many bytes.
const FORWARD_BYTES_MAX: usize = 1 << 20;
/// So many entries of a leader, or forwarded messages of a follower, are under way before others wait for company.
const UNDER_WAY_MAX: usize = 2;
/// Proposals that wait for company go when they are this many bytes.
const PATIENCE_BYTES: usize = 64 << 10;

impl<W, R> Replica<W, R> {
    /// Puts proposals into the log, many in one entry, or forwards them to the leader. While nobody leads, or the
    /// lead is being handed over, they are kept; the caller bounds how many it has under way.
    pub fn propose(&mut self, proposals: &mut Vec<Proposal<W>>) {
        for proposal in proposals.drain(..) {
            self.desk.hold(proposal, self.now);
        }
        self.release_proposals();
    }

    /// What waited for a leader goes on as soon as there is one.
    pub(crate) fn release_proposals(&mut self) {
        if self.desk.first_held().is_none() {
            return;
        }
        if self.leads() {
            if self.node.raft.lead_transferee.is_none() && self.front_has_room() {
                self.propose_held();
            }
            return;
        }
        self.turn_away();
        if self.leader() != MemberId(0) && self.node.raft.state == StateRole::Follower {
            self.forward_held();
        }
    }

    // So that a full leader does not look through all that waits each time.
    fn front_has_room(&self) -> bool {
        self.desk.first_held().is_some_and(|held| self.has_room(held.data.len()))
    }

    fn has_room(&self, bytes: usize) -> bool {
        let uncommitted = self.node.raft.uncommitted_size();
        uncommitted == 0 || uncommitted + bytes <= UNCOMMITTED_BYTES_MAX
    }

    fn propose_held(&mut self) {
        let mut draft = Draft::default();
        let mut kept = VecDeque::new();
        for held in self.desk.take_held() {
            match held.kind {
                Kind::Chore(term) if term.0 != self.node.raft.term => {
                    self.refuse(held.owner, NotTaken::NotLeader);
                }
                Kind::Change(change) => {
                    self.propose_entry(std::mem::take(&mut draft));
                    kept.extend(self.propose_change(held, change));
                }
                Kind::Normal | Kind::Chore(_) => {
                    if !draft.is_empty() && draft.bytes + held.data.len() > ENTRY_BYTES_MAX {
                        self.propose_entry(std::mem::take(&mut draft));
                    }
                    if kept.is_empty() && self.has_room(draft.bytes + held.data.len()) {
                        draft.push(held);
                    } else {
                        kept.push_back(held);
                    }
                }
            }
        }
        self.propose_entry(draft);
        for held in kept {
            self.desk.hold_back(held);
        }
    }

    fn propose_entry(&mut self, draft: Draft<W>) {
        if draft.is_empty() {
            return;
        }
        let before = self.node.raft.raft_log.last_index();
        let proposed = self.node.propose(tags::context(&draft.runs), draft.data());
        let index = self.node.raft.raft_log.last_index();
        if proposed.is_ok() && index == before + 1 {
            self.desk.await_entry(index, self.node.raft.term, draft.tickets);
        } else {
            // Only a leader without room or on its way out refuses; the data is not in the log.
            tracing::warn!(error = ?proposed.err(), "raft refused a proposal");
            self.outbox.extend(refusals(self.id, &draft.runs, NotTaken::NoRoom));
            for (_, ticket) in draft.tickets {
                self.refuse(Owner::Here(ticket), NotTaken::NoRoom);
            }
        }
    }

    /// Proposes a change, or gives it back to be kept.
    fn propose_change(&mut self, held: Held<W>, change: Change) -> Option<Held<W>> {
        if self.node.raft.has_pending_conf() {
            // A new leader does not know what is pending in the log that it took over: that passes by itself.
            if self.change_term != self.node.raft.term {
                return Some(held);
            }
            self.refuse(held.owner, NotTaken::ChangePending);
            return None;
        }
        if let Change::Promote(learner) = change
            && !self.has_caught_up(learner)
        {
            self.refuse(held.owner, NotTaken::NotCaughtUp);
            return None;
        }
        let run = match &held.owner {
            Owner::Here(_) => None,
            Owner::There { origin, nonce, sequence } => {
                Some(Run { origin: *origin, nonce: *nonce, first: *sequence, position: 0, count: 1 })
            }
        };
        let (context, raft_change) = tags::change_entry(&held.data, change, run);
        let before = self.node.raft.raft_log.last_index();
        let proposed = self.node.propose_conf_change(context, raft_change);
        let index = self.node.raft.raft_log.last_index();
        if proposed.is_err() || index != before + 1 {
            self.refuse(held.owner, NotTaken::NoRoom);
            return None;
        }
        self.change_term = self.node.raft.term;
        if let Owner::Here(ticket) = held.owner {
            self.desk.await_entry(index, self.node.raft.term, vec![(0, ticket)]);
        }
        None
    }

    // Whether the learner would hold up nobody if it voted. Who is no learner is for the state machine to judge.
    fn has_caught_up(&self, learner: MemberId) -> bool {
        let last = self.node.raft.raft_log.last_index();
        // Small numbers too: nine of ten, and not none of ten.
        let has_most = |matched: u64| u128::from(matched) * 100 >= u128::from(last) * CAUGHT_UP_PERCENT;
        !self.learners.contains(&learner)
            || self.node.raft.prs().get(learner.0).is_some_and(|progress| has_most(progress.matched))
    }

    /// This member does not lead: chores are over, and what others forwarded was for a leader of a term that is
    /// over. They find that out from the log.
    fn turn_away(&mut self) {
        let is_here = |held: &Held<W>| matches!((&held.owner, held.kind), (Owner::Here(_), Kind::Normal));
        if self.desk.all_held(is_here) {
            return;
        }
        for held in self.desk.take_held() {
            match (held.kind, held.owner) {
                (_, Owner::There { .. }) => {}
                (Kind::Chore(_), owner) => self.refuse(owner, NotTaken::NotLeader),
                (kind, owner) => self.desk.hold_back(Held { kind, owner, ..held }),
            }
        }
    }

    fn forward_held(&mut self) {
        let (term, leader) = (self.node.raft.term, self.leader());
        let mut message = Forward { term, nonce: self.boot_nonce, first: 0, proposals: Vec::new() };
        let mut bytes = 0;
        for held in self.desk.take_held() {
            let Owner::Here(ticket) = held.owner else { continue };
            if !self.desk.can_forward() {
                self.desk.hold_back(Held { owner: Owner::Here(ticket), ..held });
                continue;
            }
            if bytes > 0 && bytes + held.data.len() > FORWARD_BYTES_MAX {
                let proposals = std::mem::take(&mut message.proposals);
                self.send_forward(leader, Forward { proposals, ..message });
                bytes = 0;
            }
            bytes += held.data.len();
            let proposal = (change_of(held.kind), held.data.clone());
            let sequence = self.desk.forward(held.data, held.kind, ticket, term, self.now);
            if message.proposals.is_empty() {
                message.first = sequence;
            }
            message.proposals.push(proposal);
        }
        if !message.proposals.is_empty() {
            self.send_forward(leader, message);
        }
    }

    fn send_forward(&mut self, leader: MemberId, message: Forward) {
        self.desk.forward_ends(self.now);
        self.send(leader, Body::Forward(message));
    }

    /// How many bytes of proposals may wait for what is under way: they could only wait behind it, and come together
    /// in fewer entries later. Zero when a proposal is to be seen at once.
    pub fn patience_bytes(&mut self) -> usize {
        let log = &self.node.raft.raft_log;
        let under_way = if self.leads() {
            if self.waits_for_disk_alone() {
                return usize::MAX;
            }
            (log.last_index() - log.committed) as usize
        } else {
            // One that got no answer for a tick may be lost: nobody waits for it.
            self.desk.messages_open(self.now.saturating_sub(1))
        };
        if under_way >= UNDER_WAY_MAX { PATIENCE_BYTES } else { 0 }
    }

    /// Another member's proposals. Only the leader of the term that the sender knew takes them, and once.
    pub(crate) fn receive_forward(&mut self, from: MemberId, forward: Forward) {
        let Forward { term, nonce, first, proposals } = forward;
        if !self.leads() || term != self.node.raft.term {
            return;
        }
        if !self.desk.take_in(term, (from.0, nonce), first, proposals.len() as u64) {
            return;
        }
        let mut refused = Vec::new();
        for ((change, data), sequence) in proposals.into_iter().zip(first..) {
            let kind = change.map_or(Kind::Normal, Kind::Change);
            let owner = Owner::There { origin: from.0, nonce, sequence };
            if !self.desk.hold_for(data, kind, owner, self.now) {
                refused.push(sequence);
            }
        }
        if !refused.is_empty() {
            let why = NotTaken::NoRoom;
            self.send(from, Body::ForwardRefused(ForwardRefused { nonce, sequences: refused, why }));
        }
    }

    /// The leader did not take some of this member's.
    pub(crate) fn receive_refusal(&mut self, refused: &ForwardRefused) {
        if refused.nonce == self.boot_nonce {
            for sequence in &refused.sequences {
                self.desk.forward_refused(*sequence, refused.why);
            }
        }
    }

    fn refuse(&mut self, owner: Owner<W>, why: NotTaken) {
        if let Some((to, refused)) = self.desk.refuse(owner, why) {
            self.send(to, Body::ForwardRefused(refused));
        }
    }

    pub(crate) fn send(&mut self, to: MemberId, body: Body) {
        self.outbox.push(Envelope { from: self.id, to, body });
    }
}
