//! raft as a plain struct: ticks, proposals, read requests and "persisted up to" go in; entries to persist,
//! committed entries with their tickets, and reads to release come out. No clock, thread, disk or network.

use std::collections::VecDeque;

use bytes::Bytes;
use raft::eraftpb::{ConfState, Entry, EntryType, HardState};
use raft::{Config, INVALID_ID, RawNode, ReadOnlyOption, StateRole};
use types::{Index, MemberId, Term};
use wal::WalReader;

use crate::log::{LogError, LogView, kind};
use crate::logger::logger;

/// Proposals are joined into entries of up to this many bytes, so that one large run does not hold up the log.
const ENTRY_BYTES_MAX: usize = 1 << 20;
/// Committed entries are handed out in pieces of up to this many bytes.
const COMMITTED_BYTES_MAX: u64 = 8 << 20;

/// What a replica must be told at its start.
pub struct ReplicaConfig {
    /// This member.
    pub member: MemberId,
    /// Everybody who votes.
    pub voters: Vec<MemberId>,
    /// Ticks without a leader before an election, at least; the real number is drawn from [n, 2n).
    pub election_ticks: usize,
    /// Ticks between heartbeats.
    pub heartbeat_ticks: usize,
    /// The index up to which the state machine is on disk.
    pub applied: Index,
    /// A number that no other life of this member has used: read requests of two lives are never confused.
    pub boot_nonce: u64,
}

/// Bytes to be put in order, and who is to be told.
pub struct Proposal<W> {
    /// An encoded run of commands.
    pub data: Bytes,
    /// Handed back with the entry that holds the data, when that is committed.
    pub ticket: W,
}

/// An entry that is committed.
pub struct Committed<W> {
    /// Its place.
    pub index: Index,
    /// The term in which it was proposed.
    pub term: Term,
    /// Its commands, possibly none.
    pub data: Bytes,
    /// The tickets of the proposals in it, in order; none when it was not proposed here in this life.
    pub tickets: Vec<W>,
}

/// Reads that may be answered as soon as the state machine has applied `index`.
pub struct Readable<R> {
    /// The index to wait for.
    pub index: Index,
    /// The tickets.
    pub tickets: Vec<R>,
}

/// Something to put on disk.
pub struct Append {
    /// Handed back to [`Replica::persisted`] when it is durable.
    pub number: u64,
    /// Entries, in order; the first may replace what stood at its index.
    pub entries: Vec<Entry>,
    /// Term, vote and commit, where they changed. A commit index alone never makes an append: it can be
    /// found again from the log.
    pub hard_state: Option<HardState>,
}

impl Append {
    /// Adds it to what is written next.
    pub fn write_into(&self, batch: &mut wal::Batch) {
        for entry in &self.entries {
            batch.entry(entry.index, entry.term, kind(entry), &entry.context, &entry.data);
        }
        if let Some(state) = &self.hard_state {
            batch.hard_state(wal::HardState { term: state.term, vote: state.vote, commit: state.commit });
        }
    }
}

/// Who leads, as this replica knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The current term.
    pub term: Term,
    /// The leader; zero for none.
    pub leader: MemberId,
    /// What this member is.
    pub role: Role,
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

/// What has to be done after a step.
pub struct Output<W, R> {
    /// To disk.
    pub append: Option<Append>,
    /// To the state machine.
    pub committed: Vec<Committed<W>>,
    /// To the readers.
    pub readable: Vec<Readable<R>>,
    /// Tickets of proposals that were overtaken by another leader's entries: they did not happen.
    pub overtaken: Vec<W>,
}

/// See the module. `W` and `R` are the tickets of writes and reads.
pub struct Replica<W, R> {
    node: RawNode<LogView>,
    boot_nonce: u64,
    // The only voter.
    alone: bool,
    // Entries proposed here whose commit is awaited, by index.
    awaited: VecDeque<Awaited<W>>,
    // What came while nobody led.
    held_proposals: Vec<Proposal<W>>,
    held_reads: Vec<R>,
    // Read requests that raft has, oldest first.
    asked: VecDeque<Asked<R>>,
    reads_asked: u64,
    // A commit index that is not worth a write of its own; the next append carries it.
    deferred: Option<HardState>,
    // Numbers of raft's last piece of work, and of the last that had something for the disk.
    last_number: u64,
    last_append: u64,
    last_persisted: u64,
    last_confirmed: u64,
}

struct Awaited<W> {
    index: u64,
    term: u64,
    tickets: Vec<W>,
}

struct Asked<R> {
    sequence: u64,
    term: u64,
    tickets: Vec<R>,
}

impl<W, R> Replica<W, R> {
    /// A replica that goes on from what its log and its state machine hold.
    pub fn new(config: &ReplicaConfig, reader: WalReader, saved: wal::HardState) -> Result<Self, LogError> {
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
        let conf_state = ConfState {
            voters: config.voters.iter().map(|member| member.0).collect(),
            ..ConfState::default()
        };
        let raft_config = Config {
            id: config.member.0,
            election_tick: config.election_ticks,
            heartbeat_tick: config.heartbeat_ticks,
            applied,
            max_size_per_msg: 512 << 10,
            max_inflight_msgs: 512,
            check_quorum: true,
            pre_vote: true,
            read_only_option: ReadOnlyOption::Safe,
            max_committed_size_per_ready: COMMITTED_BYTES_MAX,
            ..Config::default()
        };
        let view = LogView::new(reader, hard_state, conf_state);
        let mut node = RawNode::new(&raft_config, view, &logger()).map_err(LogError::Raft)?;
        let alone = config.voters == [config.member];
        if alone {
            // Nobody else could win: there is no point in waiting for a time-out.
            node.campaign().map_err(LogError::Raft)?;
        }
        Ok(Self {
            node,
            boot_nonce: config.boot_nonce,
            alone,
            awaited: VecDeque::new(),
            held_proposals: Vec::new(),
            held_reads: Vec::new(),
            asked: VecDeque::new(),
            reads_asked: 0,
            deferred: None,
            last_number: 0,
            last_append: 0,
            last_persisted: 0,
            last_confirmed: 0,
        })
    }

    /// One unit of time went by.
    pub fn tick(&mut self) {
        self.node.tick();
    }

    /// Puts proposals into the log, many in one entry. While nobody leads they are kept; the caller bounds
    /// how many it has under way.
    pub fn propose(&mut self, proposals: &mut Vec<Proposal<W>>) {
        if self.held_proposals.is_empty() {
            std::mem::swap(&mut self.held_proposals, proposals);
        } else {
            self.held_proposals.append(proposals);
        }
        if self.node.raft.state != StateRole::Leader {
            return;
        }
        let mut run = Vec::new();
        let mut run_bytes = 0;
        for proposal in std::mem::take(&mut self.held_proposals) {
            if run_bytes > 0 && run_bytes + proposal.data.len() > ENTRY_BYTES_MAX {
                self.propose_entry(std::mem::take(&mut run), run_bytes);
                run_bytes = 0;
            }
            run_bytes += proposal.data.len();
            run.push(proposal);
        }
        if !run.is_empty() {
            self.propose_entry(run, run_bytes);
        }
    }

    fn propose_entry(&mut self, run: Vec<Proposal<W>>, bytes: usize) {
        let mut data = Vec::with_capacity(bytes);
        let mut tickets = Vec::with_capacity(run.len());
        for proposal in run {
            data.extend_from_slice(&proposal.data);
            tickets.push(proposal.ticket);
        }
        let before = self.node.raft.raft_log.last_index();
        let proposed = self.node.propose(Vec::new(), data);
        let index = self.node.raft.raft_log.last_index();
        if proposed.is_ok() && index == before + 1 {
            self.awaited.push_back(Awaited { index, term: self.node.raft.term, tickets });
        } else {
            // Only a leader without room or on its way out refuses. The tickets are dropped, which their
            // owners see; the data is not in the log.
            tracing::warn!(error = ?proposed.err(), "raft refused a proposal");
        }
    }

    /// Asks for an index at which reads that begin now are linearizable.
    pub fn read(&mut self, reads: &mut Vec<R>) {
        if self.held_reads.is_empty() {
            std::mem::swap(&mut self.held_reads, reads);
        } else {
            self.held_reads.append(reads);
        }
        // raft would silently drop a request that comes before the first commit of the term.
        if self.held_reads.is_empty() || !self.standing().confirmed {
            return;
        }
        self.reads_asked += 1;
        let sequence = self.reads_asked;
        let tickets = std::mem::take(&mut self.held_reads);
        self.asked.push_back(Asked { sequence, term: self.node.raft.term, tickets });
        // raft matches answers to requests by these bytes, so they are never used twice.
        let mut context = Vec::with_capacity(24);
        context.extend_from_slice(&self.boot_nonce.to_be_bytes());
        context.extend_from_slice(&self.node.raft.term.to_be_bytes());
        context.extend_from_slice(&sequence.to_be_bytes());
        self.node.read_index(context);
    }

    /// Everything up to this append is durable.
    pub fn persisted(&mut self, number: u64) {
        self.last_persisted = self.last_persisted.max(number);
        // What came after the last append had nothing for the disk, so it is as durable as that.
        let number = if self.last_persisted >= self.last_append { self.last_number } else { number };
        self.confirm(number);
    }

    /// The state machine has applied up to here.
    pub fn applied(&mut self, index: Index) {
        if index.0 > self.node.raft.raft_log.applied {
            self.node.advance_apply_to(index.0);
        }
        let on_disk = self.node.raft.raft_log.persisted;
        self.node.mut_store().trim(index.0.min(on_disk));
    }

    /// What has to be done now; call it until it has nothing more.
    pub fn output(&mut self) -> Option<Output<W, R>> {
        self.release_held();
        if !self.node.has_ready() {
            return None;
        }
        let mut ready = self.node.ready();
        let entries = ready.take_entries();
        let hard_state = ready.hs().cloned();
        let must_sync = ready.must_sync();
        self.last_number = ready.number();
        let read_states = ready.take_read_states();
        let committed = ready.take_committed_entries();
        self.node.mut_store().append(&entries);
        self.node.advance_append_async(ready);

        if hard_state.is_some() {
            self.deferred = hard_state;
        }
        let append =
            must_sync.then(|| Append { number: self.last_number, entries, hard_state: self.deferred.take() });
        if append.is_some() {
            self.last_append = self.last_number;
        } else if self.last_persisted >= self.last_append {
            self.confirm(self.last_number);
        }
        let mut overtaken = Vec::new();
        let committed = committed.into_iter().map(|entry| self.with_tickets(entry, &mut overtaken)).collect();
        let readable = read_states
            .into_iter()
            .filter_map(|state| self.readable(state.index, &state.request_ctx))
            .collect();
        Some(Output { append, committed, readable, overtaken })
    }

    /// Who leads.
    pub fn standing(&self) -> Standing {
        let raft = &self.node.raft;
        let role = match raft.state {
            StateRole::Leader => Role::Leader,
            StateRole::Follower => Role::Follower,
            StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
        };
        Standing {
            term: Term(raft.term),
            leader: MemberId(if raft.leader_id == INVALID_ID { 0 } else { raft.leader_id }),
            role,
            commit: Index(raft.raft_log.committed),
            confirmed: role == Role::Leader && raft.commit_to_current_term(),
        }
    }

    /// Whether an append is under way and nothing but the disk of this only voter can commit it.
    pub fn waits_for_disk_alone(&self) -> bool {
        self.last_persisted < self.last_append && self.alone
    }

    /// Drops the tickets of everything under way: this replica takes no more part.
    pub fn forget_tickets(&mut self) {
        self.awaited.clear();
        self.held_proposals.clear();
        self.asked.clear();
        self.held_reads.clear();
    }

    /// The log's last index, durable or not.
    pub fn last_index(&self) -> Index {
        Index(self.node.raft.raft_log.last_index())
    }

    fn confirm(&mut self, number: u64) {
        self.last_confirmed = number;
        self.node.on_persist_ready(number);
    }

    // What waited for a leader goes on as soon as there is one.
    fn release_held(&mut self) {
        if self.node.raft.state == StateRole::Leader && !self.held_proposals.is_empty() {
            self.propose(&mut Vec::new());
        }
        let term = self.node.raft.term;
        while self.asked.front().is_some_and(|asked| asked.term != term) {
            // raft forgets requests when its term ends; ask again in the new one.
            if let Some(mut asked) = self.asked.pop_front() {
                self.held_reads.append(&mut asked.tickets);
            }
        }
        if !self.held_reads.is_empty() {
            self.read(&mut Vec::new());
        }
    }

    fn with_tickets(&mut self, entry: Entry, overtaken: &mut Vec<W>) -> Committed<W> {
        let mut tickets = Vec::new();
        while self.awaited.front().is_some_and(|awaited| awaited.index <= entry.index) {
            let Some(awaited) = self.awaited.pop_front() else { break };
            if awaited.index == entry.index && awaited.term == entry.term {
                tickets = awaited.tickets;
            } else {
                overtaken.extend(awaited.tickets);
            }
        }
        let data = match entry.get_entry_type() {
            EntryType::EntryNormal => entry.data,
            // Membership changes come with the cluster's issue; none is ever proposed before.
            EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => Bytes::new(),
        };
        Committed { index: Index(entry.index), term: Term(entry.term), data, tickets }
    }

    fn readable(&mut self, index: u64, context: &[u8]) -> Option<Readable<R>> {
        let sequence = u64::from_be_bytes(context.get(16..24)?.try_into().ok()?);
        let position = self.asked.iter().position(|asked| asked.sequence == sequence)?;
        let asked = self.asked.remove(position)?;
        if asked.term != self.node.raft.term {
            self.held_reads.extend(asked.tickets);
            return None;
        }
        Some(Readable { index: Index(index), tickets: asked.tickets })
    }

    /// Pieces of work that raft still keeps a record of: at most those that are not on disk.
    #[cfg(test)]
    pub(crate) fn work_unconfirmed(&self) -> u64 {
        self.last_number - self.last_confirmed
    }
}
