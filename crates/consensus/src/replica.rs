//! raft as a plain struct: ticks, messages, proposals, read requests and "persisted up to" go in; entries to persist,
//! messages, committed entries with their tickets, and reads to release come out. No clock, chance, thread, disk or
//! network: the same things in give the same things out.
//!
//! INVARIANT: a message that depends on term, vote or entries leaves after they are durable here. Only a leader's
//! messages may overtake its own entries, and never its own term and vote.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use raft::eraftpb::{Entry, EntryType, HardState, Message, MessageType};
use raft::{Config, RawNode, ReadOnlyOption, StateRole};
use types::{Index, MemberId, Term};
use wal::WalReader;

use crate::desk::Desk;
use crate::election::{ElectionTimer, NEVER_TICKS};
use crate::envelope::{Body, Envelope};
use crate::log::{LogError, LogView, kind};
use crate::logger::logger;
use crate::proposal::{Change, Committed, NotTaken, Readable};
use crate::reading::Reads;
use crate::snapshot::{SnapshotMark, SnapshotOffer, SnapshotSource, conf_state};
use crate::standing::Role;
use crate::tags;
use crate::unapplied::Unapplied;

/// Committed entries are handed out in pieces of up to this many bytes.
const COMMITTED_BYTES_MAX: u64 = 8 << 20;
/// Entries travel in messages of up to this many bytes (or one entry).
const MESSAGE_BYTES_MAX: u64 = 512 << 10;
/// Messages with entries that are under way to one follower: with the size above, 16 MiB.
const MESSAGES_IN_FLIGHT_MAX: usize = 32;
/// A leader takes no more while so many bytes of its entries are not committed.
pub(crate) const UNCOMMITTED_BYTES_MAX: usize = 32 << 20;
/// What has waited for this many election time-outs is given up: whoever waited for it has left.
const PATIENCE_ELECTIONS: u64 = 10;

/// What a replica must be told at its start.
pub struct ReplicaConfig {
    /// This member.
    pub member: MemberId,
    /// Everybody who votes, as of `applied`.
    pub voters: Vec<MemberId>,
    /// Everybody who listens, as of `applied`.
    pub learners: Vec<MemberId>,
    /// Ticks without a leader before an election, at least; the real number is drawn from [n, 1.5 n).
    pub election_ticks: usize,
    /// Ticks between heartbeats.
    pub heartbeat_ticks: usize,
    /// The index up to which the state machine is on disk.
    pub applied: Index,
    /// A number that no other life of this member has used: read requests and forwarded proposals of two lives are
    /// never confused.
    pub boot_nonce: u64,
    /// Election time-outs are drawn from it.
    pub seed: u64,
}

/// Something to put on disk.
pub struct Append {
    /// Handed back to [`Replica::persisted`] when it is durable.
    pub number: u64,
    /// First of all this takes the place of everything in the machine and the log.
    pub snapshot: Option<SnapshotMark>,
    /// Entries, in order; the first may replace what stood at its index.
    pub entries: Vec<Entry>,
    /// Term, vote and commit, where they changed. A commit index alone never makes an append: it can be
    /// found again from the log.
    pub hard_state: Option<HardState>,
}

impl Append {
    /// Adds entries and hard state to what is written next.
    pub fn write_into(&self, batch: &mut wal::Batch) {
        for entry in &self.entries {
            batch.entry(entry.index, entry.term, kind(entry), &entry.context, &entry.data);
        }
        if let Some(state) = self.hard_state() {
            batch.hard_state(state);
        }
    }

    /// Term, vote and commit, where they changed.
    pub fn hard_state(&self) -> Option<wal::HardState> {
        let state = self.hard_state.as_ref()?;
        Some(wal::HardState { term: state.term, vote: state.vote, commit: state.commit })
    }
}

/// What has to be done after a step.
pub struct Output<W, R> {
    /// To disk.
    pub append: Option<Append>,
    /// To the other members; each may leave now, and each may be lost.
    pub messages: Vec<Envelope>,
    /// To the state machine.
    pub committed: Vec<Committed<W>>,
    /// To the readers.
    pub readable: Vec<Readable<R>>,
    /// Proposals that certainly did not happen.
    pub refused: Vec<(W, NotTaken)>,
    /// Snapshots to fetch. A later one takes the place of an earlier one.
    pub offers: Vec<SnapshotOffer>,
}

/// See the module. `W` and `R` are the tickets of writes and reads.
pub struct Replica<W, R> {
    pub(crate) node: RawNode<LogView>,
    pub(crate) id: MemberId,
    pub(crate) boot_nonce: u64,
    pub(crate) voters: Vec<MemberId>,
    pub(crate) learners: Vec<MemberId>,
    election: ElectionTimer,
    election_ticks: u64,
    // Ticks since the start.
    pub(crate) now: u64,
    pub(crate) desk: Desk<W>,
    // The term in which this leader has proposed a change itself.
    pub(crate) change_term: u64,
    pub(crate) reads: Reads<R>,
    pub(crate) catching_up: CatchingUp,
    pub(crate) unapplied: Unapplied,
    paper: Paper,
    // Messages that may leave now.
    pub(crate) outbox: Vec<Envelope>,
    // The last answer to entries: to whom, in which term, up to which index, in which tick.
    acknowledged: Option<(u64, u64, u64, u64)>,
    broken: Option<LogError>,
}

/// What is known of this member's disk.
#[derive(Default)]
struct Paper {
    // A commit index that is not worth a write of its own; the next append carries it.
    deferred: Option<HardState>,
    // Numbers of raft's last piece of work, of the last that had something for the disk, of the last that had a
    // term or a vote, of the last that had a snapshot.
    last_number: u64,
    last_append: u64,
    last_vote: u64,
    last_snapshot: u64,
    last_persisted: u64,
    last_confirmed: u64,
    // The newest term and vote that went to disk.
    vote: (u64, u64),
    // Messages that wait for a number to be durable.
    held_back: VecDeque<(u64, Vec<Envelope>)>,
}

/// Snapshots under way, in and out.
#[derive(Default)]
pub(crate) struct CatchingUp {
    /// To be handed out.
    pub(crate) offers: Vec<SnapshotOffer>,
    /// What is being fetched.
    pub(crate) fetching: Option<SnapshotMark>,
    /// What was fetched, until there is a leader in whose name raft takes it.
    pub(crate) fetched: Option<SnapshotOffer>,
    /// What this leader has offered, and for how many ticks: an offer may be lost.
    pub(crate) offered: BTreeMap<u64, (Message, u64)>,
}

impl<W, R> Replica<W, R> {
    /// A replica that goes on from what its log and its state machine hold.
    pub fn new(
        config: &ReplicaConfig,
        reader: WalReader,
        saved: wal::HardState,
        source: Arc<dyn SnapshotSource>,
    ) -> Result<Self, LogError> {
        let (applied, first, last) = (config.applied.0, reader.first_index(), reader.last_index());
        if applied > last {
            return Err(LogError::Behind { applied, last });
        }
        if applied + 1 < first {
            return Err(LogError::Hole { applied, first });
        }
        let hard_state = HardState {
            term: saved.term,
            vote: saved.vote,
            // What was applied was committed, whether or not the log got to note it. A commit beyond the log
            // was noted for entries that another leader has replaced since.
            commit: saved.commit.max(applied).min(last),
            ..HardState::default()
        };
        let conf_state = conf_state(&config.voters, &config.learners);
        let view = LogView::new(reader, hard_state, conf_state, source);
        let mut node = RawNode::new(&raft_config(config), view, &logger()).map_err(LogError::Raft)?;
        if config.voters == [config.member] {
            // Nobody else could win: there is no point in waiting for a time-out.
            node.campaign().map_err(LogError::Raft)?;
        }
        let mut replica = Self {
            node,
            id: config.member,
            boot_nonce: config.boot_nonce,
            voters: Vec::new(),
            learners: Vec::new(),
            election: ElectionTimer::new(config.seed, config.election_ticks, config.heartbeat_ticks),
            election_ticks: config.election_ticks as u64,
            now: 0,
            desk: Desk::default(),
            change_term: 0,
            reads: Reads::default(),
            catching_up: CatchingUp::default(),
            unapplied: Unapplied::default(),
            paper: Paper { vote: (saved.term, saved.vote), ..Paper::default() },
            outbox: Vec::new(),
            acknowledged: None,
            broken: None,
        };
        replica.look_at_members();
        Ok(replica)
    }

    /// One unit of time went by.
    pub fn tick(&mut self) {
        self.now += 1;
        self.node.tick();
        self.campaign_in_time();
        self.offer_again(self.election_ticks);
        if let Some(oldest) = self.now.checked_sub(PATIENCE_ELECTIONS * self.election_ticks) {
            self.desk.expire(oldest);
            self.reads.expire(oldest);
        }
    }

    fn campaign_in_time(&mut self) {
        let raft = &self.node.raft;
        if raft.state == StateRole::Leader {
            return;
        }
        let situation = (raft.term, raft.leader_id, raft.state as u8);
        if !self.election.is_over(raft.election_elapsed, situation)
            || !raft.promotable()
            || !self.can_campaign()
        {
            return;
        }
        self.node.raft.election_elapsed = 0;
        self.election.draw();
        if let Err(error) = self.node.campaign() {
            tracing::warn!(%error, "raft refused to ask for votes");
        }
    }

    /// Whether raft may look at its log for an election: not while a snapshot takes the log's place. And who can
    /// win at once must have everything on disk.
    fn can_campaign(&self) -> bool {
        let log = &self.node.raft.raft_log;
        log.applied + 1 >= log.first_index() && !(self.is_alone() && log.persisted != log.last_index())
    }

    /// A message of another member.
    pub fn receive(&mut self, envelope: Envelope) {
        if envelope.to != self.id {
            return;
        }
        let from = envelope.from;
        match envelope.body {
            Body::Raft(message) => self.step(message),
            Body::Forward(forward) => self.receive_forward(from, forward),
            Body::ForwardRefused(refused) => self.receive_refusal(&refused),
            Body::SnapshotFailed { index } => self.receive_snapshot_failed(from, index),
        }
    }

    fn step(&mut self, message: Message) {
        match message.get_msg_type() {
            MessageType::MsgSnapshot => return self.receive_snapshot(message),
            // As on a bad line: the leader sends again.
            MessageType::MsgAppend if self.unapplied.is_full() => return,
            // Entries are always answered, whatever was said before.
            MessageType::MsgAppend if !message.entries.is_empty() => self.acknowledged = None,
            MessageType::MsgTimeoutNow if !self.can_campaign() => return,
            // raft would pass it on in the sender's name. The sender asks again when it hears of another leader.
            MessageType::MsgReadIndex if !self.leads() => return,
            MessageType::MsgHeartbeat if message.term >= self.node.raft.term => {
                let (commit, last) = (message.commit, self.node.raft.raft_log.last_index());
                if commit > last {
                    // It had acknowledged these entries: others may have counted on that.
                    return self.break_with(LogError::Forgotten { commit, last });
                }
            }
            _ => {}
        }
        self.step_raft(message);
    }

    pub(crate) fn step_raft(&mut self, message: Message) {
        // Messages of who left, or came after their time: raft says so and does nothing.
        if let Err(error) = self.node.step(message) {
            tracing::debug!(%error, "raft ignored a message");
        }
    }

    /// A message to this member could not be delivered.
    pub fn unreachable(&mut self, member: MemberId) {
        self.node.report_unreachable(member.0);
    }

    /// The process of `member` has ended, as far as can be told from here. Without its leader a member need not wait
    /// for a time-out: it asks for votes soon. Where that was wrong the others, who still hear of the leader, do
    /// not answer, and the leader's next heartbeat mends it.
    pub fn gone(&mut self, member: MemberId) {
        self.unreachable(member);
        let raft = &mut self.node.raft;
        if raft.state == StateRole::Follower && raft.leader_id == member.0 {
            let term = raft.term;
            raft.become_follower(term, raft::INVALID_ID);
            self.election.hurry();
        }
    }

    /// Sends heartbeats now, if this member leads: their answers let it go on with whoever waited for something.
    pub fn reach_out(&mut self) {
        self.node.ping();
    }

    /// Everything up to this append is durable.
    pub fn persisted(&mut self, number: u64) {
        let paper = &mut self.paper;
        paper.last_persisted = paper.last_persisted.max(number);
        if paper.last_snapshot != 0 && paper.last_persisted >= paper.last_snapshot {
            paper.last_snapshot = 0;
            self.node.mut_store().end_install();
        }
        // What came after the last append had nothing for the disk, so it is as durable as that.
        let paper = &self.paper;
        let number = if paper.last_persisted >= paper.last_append { paper.last_number } else { number };
        self.confirm(number);
    }

    fn confirm(&mut self, number: u64) {
        self.paper.last_confirmed = self.paper.last_confirmed.max(number);
        self.node.on_persist_ready(number);
        while let Some((_, messages)) = self.paper.held_back.pop_front_if(|(held, _)| *held <= number) {
            self.outbox.extend(messages);
        }
    }

    /// The state machine has applied up to here. Tell [`Replica::change_applied`] of a change first.
    pub fn applied(&mut self, index: Index) {
        let log = &self.node.raft.raft_log;
        // A snapshot is applied before the log knows that it is on disk.
        let index = index.0.min(log.committed).min(log.persisted);
        let on_disk = log.persisted;
        if index > log.applied {
            self.node.advance_apply_to(index);
        }
        self.unapplied.remove(index);
        let is_alone = self.node.raft.prs().iter().nth(1).is_none();
        self.node.mut_store().trim(index.min(on_disk), is_alone);
    }

    /// The state machine has accepted a change of the membership: it takes effect.
    pub fn change_applied(&mut self, change: Change) {
        if self.paper.last_snapshot != 0 || self.node.raft.snap().is_some() {
            // raft counts as the snapshot does already, in which this older change is.
            return;
        }
        if let Err(error) = self.node.apply_conf_change(&tags::to_raft(change)) {
            tracing::error!(?change, %error, "raft refused a change of the membership");
        }
        self.look_at_members();
        if self.leads() && !self.voters.contains(&self.id) {
            // raft's leader cannot count without a place of its own.
            let term = self.node.raft.term;
            self.node.raft.become_follower(term, raft::INVALID_ID);
        }
    }

    /// Hands the lead over, if this member leads. Until that has happened or was given up, proposals wait.
    pub fn transfer(&mut self, member: MemberId) {
        if self.leads() && self.voters.contains(&member) {
            self.node.transfer_leader(member.0);
        }
    }

    /// Whether a leader tells the others of a commit only with the next append or heartbeat: fewer messages, later
    /// answers at followers. Off unless somebody measures it.
    pub fn tell_commits_later(&mut self, later: bool) {
        self.node.skip_bcast_commit(later);
    }

    pub(crate) fn look_at_members(&mut self) {
        let state = self.node.raft.prs().conf().to_conf_state();
        let sorted = |ids: &[u64]| {
            let mut members: Vec<_> = ids.iter().copied().map(MemberId).collect();
            members.sort_unstable();
            members
        };
        self.voters = sorted(&state.voters);
        self.learners = sorted(&state.learners);
    }

    /// Why this replica can take no further part, if that is so.
    pub fn broken(&mut self) -> Option<LogError> {
        self.broken.take()
    }

    pub(crate) fn break_with(&mut self, error: LogError) {
        self.broken.get_or_insert(error);
    }

    /// What has to be done now; call it until it has nothing more.
    pub fn output(&mut self) -> Option<Output<W, R>> {
        self.take_fetched();
        self.release_proposals();
        self.release_reads();
        let mut output = Output {
            append: None,
            messages: Vec::new(),
            committed: Vec::new(),
            readable: Vec::new(),
            refused: Vec::new(),
            offers: Vec::new(),
        };
        let ready = self.node.has_ready();
        if ready {
            self.take_ready(&mut output);
        }
        let idle = self.outbox.is_empty() && !self.desk.has_refused() && self.catching_up.offers.is_empty();
        if !ready && idle {
            return None;
        }
        output.messages = std::mem::take(&mut self.outbox);
        output.refused = self.desk.take_refused();
        output.offers = std::mem::take(&mut self.catching_up.offers);
        Some(output)
    }

    fn take_ready(&mut self, output: &mut Output<W, R>) {
        let mut ready = self.node.ready();
        let (number, must_sync, entries) = (ready.number(), ready.must_sync(), ready.take_entries());
        let snapshot = (!ready.snapshot().is_empty()).then(|| SnapshotMark::from_raft(ready.snapshot()));
        let mut held_back = ready.take_persisted_messages();
        let at_once = ready.take_messages();
        let (read_states, committed) = (ready.take_read_states(), ready.take_committed_entries());
        self.paper.last_number = number;
        if let Some(state) = ready.hs().cloned() {
            let vote = (state.term, state.vote);
            if vote != self.paper.vote {
                (self.paper.vote, self.paper.last_vote) = (vote, number);
            }
            self.paper.deferred = Some(state);
        }
        if let Some(mark) = &snapshot {
            self.paper.last_snapshot = number;
            self.node.mut_store().begin_install(mark.index.0, mark.term.0);
            self.desk.skip_to(mark.index.0, mark.term.0);
        }
        self.node.mut_store().append(&entries);
        self.node.advance_append_async(ready);

        if self.paper.last_persisted >= self.paper.last_vote {
            let envelopes = self.pack(at_once);
            self.outbox.extend(envelopes);
        } else {
            // The only voter among listeners leads before its vote for itself is on disk.
            held_back.extend(at_once);
        }
        held_back.retain(|message| !self.says_nothing_new(message));
        if !held_back.is_empty() {
            let envelopes = self.pack(held_back);
            self.paper.held_back.push_back((number, envelopes));
        }
        // A change of the membership takes effect now: after a crash this member must know that it is committed, even
        // if those who voted for it have left for good.
        let has_change = committed.iter().any(|entry| entry.get_entry_type() != EntryType::EntryNormal);
        if must_sync || has_change && self.paper.deferred.is_some() {
            let hard_state = self.paper.deferred.take();
            output.append = Some(Append { number, snapshot, entries, hard_state });
            self.paper.last_append = number;
        } else if self.paper.last_persisted >= self.paper.last_append {
            self.confirm(number);
        }
        self.unapplied.add(&committed);
        output.committed = committed.into_iter().map(|entry| self.with_tickets(entry)).collect();
        output.readable = read_states
            .into_iter()
            .filter_map(|state| self.answered(state.index, &state.request_ctx))
            .collect();
    }

    fn pack(&mut self, mut messages: Vec<Message>) -> Vec<Envelope> {
        drop_needless(&mut messages);
        let pack = |message: Message| {
            if message.get_msg_type() == MessageType::MsgSnapshot {
                self.catching_up.offered.insert(message.to, (message.clone(), 0));
            }
            Envelope { from: self.id, to: MemberId(message.to), body: Body::Raft(message) }
        };
        messages.into_iter().map(pack).collect()
    }

    /// The news of a commit comes without entries, and raft answers it by what it has said of the entries before.
    /// Nobody needs that twice in a tick; in the next it is said again, should it have been lost.
    fn says_nothing_new(&mut self, message: &Message) -> bool {
        if message.get_msg_type() != MessageType::MsgAppendResponse || message.reject {
            return false;
        }
        let answer = (message.to, message.term, message.index, self.now);
        self.acknowledged.replace(answer) == Some(answer)
    }

    fn with_tickets(&mut self, entry: Entry) -> Committed<W> {
        let (index, term) = (entry.index, entry.term);
        let (data, change, runs) = tags::read(entry);
        let tickets = self.desk.commit((index, term), &runs, (self.id.0, self.boot_nonce));
        Committed { index: Index(index), term: Term(term), data, change, tickets }
    }

    /// Whether an append is under way and nothing but the disk of this only voter can commit it.
    pub(crate) fn waits_for_disk_alone(&self) -> bool {
        self.paper.last_persisted < self.paper.last_append && self.is_alone()
    }

    /// Whether this is the only voter.
    pub(crate) fn is_alone(&self) -> bool {
        self.voters == [self.id]
    }

    /// Drops the tickets of everything under way: this replica takes no more part.
    pub fn forget_tickets(&mut self) {
        self.desk.clear();
        self.reads.clear();
    }

    pub(crate) fn leads(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    pub(crate) fn leader(&self) -> MemberId {
        MemberId(self.node.raft.leader_id)
    }

    pub(crate) fn role(&self) -> Role {
        match self.node.raft.state {
            StateRole::Leader if self.vote_is_durable() => Role::Leader,
            StateRole::Follower => Role::Follower,
            StateRole::Leader | StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
        }
    }

    // An only voter leads in raft's eyes before its vote for itself is on disk. After a crash it might vote for
    // another in that term, so nobody is told before.
    fn vote_is_durable(&self) -> bool {
        let raft = &self.node.raft;
        self.paper.vote == (raft.term, raft.vote) && self.paper.last_persisted >= self.paper.last_vote
    }

    /// Pieces of work that raft still keeps a record of: at most those that are not on disk.
    #[cfg(test)]
    pub(crate) fn work_unconfirmed(&self) -> u64 {
        self.paper.last_number - self.paper.last_confirmed
    }
}

/// News of a commit that is followed at once by an append to the same member, which carries it too, need not travel.
fn drop_needless(messages: &mut Vec<Message>) {
    let is_append = |message: &Message| message.get_msg_type() == MessageType::MsgAppend;
    for at in (0..messages.len()).rev() {
        let (to, index) = (messages[at].to, messages[at].index);
        let needless = is_append(&messages[at])
            && messages[at].entries.is_empty()
            && messages[at + 1..]
                .iter()
                .any(|later| is_append(later) && later.to == to && later.index == index);
        if needless {
            messages.remove(at);
        }
    }
}

fn raft_config(config: &ReplicaConfig) -> Config {
    Config {
        id: config.member.0,
        election_tick: config.election_ticks,
        heartbeat_tick: config.heartbeat_ticks,
        // raft draws from a chance of its own: it is left no choice, and we ask for votes in time.
        min_election_tick: NEVER_TICKS,
        max_election_tick: NEVER_TICKS + 1,
        applied: config.applied.0,
        max_size_per_msg: MESSAGE_BYTES_MAX,
        max_inflight_msgs: MESSAGES_IN_FLIGHT_MAX,
        check_quorum: true,
        pre_vote: true,
        read_only_option: ReadOnlyOption::Safe,
        // It would join all that a lagging member is sent in a turn, 16 MiB, into one message.
        batch_append: false,
        max_uncommitted_size: UNCOMMITTED_BYTES_MAX as u64,
        max_committed_size_per_ready: COMMITTED_BYTES_MAX,
        ..Config::default()
    }
}
