//! Snapshots between members: a leader offers one, the follower's owner fetches it, then raft takes it.
//!
//! raft's message names the snapshot and nothing more. It is kept from raft until the files are here; until then
//! it counts as a heartbeat.

use raft::eraftpb::{Message, MessageType};
use raft::{ProgressState, SnapshotStatus, StateRole};
use types::MemberId;

use crate::envelope::{Body, Envelope};
use crate::replica::Replica;
use crate::snapshot::{SnapshotMark, SnapshotOffer};

impl<W, R> Replica<W, R> {
    /// A snapshot was fetched and can be installed.
    pub fn snapshot_fetched(&mut self, offer: SnapshotOffer) {
        let catching_up = &mut self.catching_up;
        if catching_up.fetching.as_ref() == Some(&offer.mark) {
            catching_up.fetching = None;
        }
        if catching_up.fetched.as_ref().is_none_or(|fetched| fetched.mark.index < offer.mark.index) {
            catching_up.fetched = Some(offer);
        }
    }

    /// A snapshot cannot be fetched; the leader is to try another.
    #[allow(clippy::needless_pass_by_value, reason = "an offer is handed back as it was given")]
    pub fn snapshot_failed(&mut self, offer: SnapshotOffer) {
        if self.catching_up.fetching.as_ref() == Some(&offer.mark) {
            self.catching_up.fetching = None;
        }
        let index = offer.mark.index.0;
        self.send(offer.from, Body::SnapshotFailed { index });
    }

    pub(crate) fn receive_snapshot(&mut self, message: Message) {
        if message.term < self.node.raft.term {
            return;
        }
        let mark = SnapshotMark::from_raft(message.get_snapshot());
        let mut heartbeat =
            Message { from: message.from, to: message.to, term: message.term, ..Message::default() };
        heartbeat.set_msg_type(MessageType::MsgHeartbeat);
        self.step_raft(heartbeat);
        let log = &self.node.raft.raft_log;
        if mark.index.0 <= log.committed || log.match_term(mark.index.0, mark.term.0) {
            // All of it is here: raft only says so.
            return self.step_raft(message);
        }
        if !mark.suits(self.id) {
            tracing::warn!(from = %MemberId(message.from), "ignored a snapshot of a cluster without this member");
            return;
        }
        let is_known = |known: &SnapshotMark| *known == mark;
        let catching_up = &mut self.catching_up;
        if catching_up.fetching.as_ref().is_some_and(is_known)
            || catching_up.fetched.as_ref().is_some_and(|fetched| is_known(&fetched.mark))
        {
            return;
        }
        catching_up.fetching = Some(mark.clone());
        catching_up.offers.push(SnapshotOffer { from: MemberId(message.from), mark });
    }

    /// Gives raft what was fetched, in the name of the leader of the moment: a snapshot holds what is committed,
    /// so any leader would have sent it. Not before everything that was handed out is applied: a change of the
    /// membership that comes later would be made to the snapshot's members, who have it behind them.
    pub(crate) fn take_fetched(&mut self) {
        let raft = &self.node.raft;
        if self.catching_up.fetched.is_none()
            || raft.state != StateRole::Follower
            || self.leader() == MemberId(0)
            || !self.unapplied.is_empty()
            || raft.snap().is_some()
        {
            return;
        }
        let Some(offer) = self.catching_up.fetched.take() else { return };
        let mut message =
            Message { from: raft.leader_id, to: self.id.0, term: raft.term, ..Message::default() };
        message.set_msg_type(MessageType::MsgSnapshot);
        message.set_snapshot(offer.mark.to_raft());
        self.step_raft(message);
        self.look_at_members();
    }

    /// A follower could not fetch what this leader offered.
    pub(crate) fn receive_snapshot_failed(&mut self, from: MemberId, index: u64) {
        let offered = self.node.raft.prs().get(from.0).is_some_and(|progress| {
            progress.state == ProgressState::Snapshot && progress.pending_snapshot == index
        });
        if self.leads() && offered {
            self.catching_up.offered.remove(&from.0);
            self.node.report_snapshot(from.0, SnapshotStatus::Failure);
        }
    }

    /// raft sends an offer once and waits for ever; it may have been lost, or its receiver have started anew.
    pub(crate) fn offer_again(&mut self, every_ticks: u64) {
        if self.catching_up.offered.is_empty() {
            return;
        }
        let (raft, leads) = (&self.node.raft, self.leads());
        let (mut again, mut needless) = (Vec::new(), Vec::new());
        self.catching_up.offered.retain(|to, (message, ticks)| {
            let index = message.get_snapshot().get_metadata().index;
            let progress = raft.prs().get(*to).filter(|progress| {
                progress.state == ProgressState::Snapshot && progress.pending_snapshot == index
            });
            let open = leads && message.term == raft.term && progress.is_some();
            if open && progress.is_some_and(|progress| progress.matched >= index) {
                // A late refusal made raft offer what the member had acknowledged before. It acknowledges that
                // again, which to raft is nothing new, and would get neither entries nor another offer.
                needless.push(*to);
                return false;
            }
            *ticks += 1;
            if open && ticks.is_multiple_of(every_ticks) {
                again.push(message.clone());
            }
            open
        });
        for to in needless {
            self.node.report_snapshot(to, SnapshotStatus::Finish);
        }
        let from = self.id;
        let envelopes = again.into_iter().map(|message| Envelope {
            from,
            to: MemberId(message.to),
            body: Body::Raft(message),
        });
        self.outbox.extend(envelopes);
    }
}
