//! A cluster in one thread: replicas on real logs on disks that can lose power, and lines that do what the test
//! says. It checks by itself what must hold in every story.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use types::{Index, MemberId, Term};
use wal::double::{DoubleDisk, Loss};
use wal::{Batch, Durability, HardState, Identity, Wal};

use crate::writer::begin_anew;
use crate::{
    Append, BOOTSTRAP_INDEX, BOOTSTRAP_TERM, Change, Committed, Envelope, Fetch, Kind, Proposal, Readable,
    Replica, ReplicaConfig, Role, SnapshotMark, SnapshotOffer, SnapshotSource,
};

type NetReplica = Replica<String, String>;

/// What a member's state machine holds: every command in order, and who is in the cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Machine {
    pub(crate) index: u64,
    term: u64,
    pub(crate) commands: Vec<String>,
    voters: Vec<MemberId>,
    learners: Vec<MemberId>,
}

/// Where a member's snapshots lie; others fetch them from there by their index.
#[derive(Default)]
struct Shelf {
    newest: Option<Machine>,
    wanted: bool,
}

struct Source(Arc<Mutex<Shelf>>);

impl SnapshotSource for Source {
    fn latest(&self, at_least: Index, to: MemberId) -> Option<SnapshotMark> {
        let mut shelf = self.0.lock();
        let fits = |machine: &&Machine| machine.index >= at_least.0 && machine.has(to);
        let mark = shelf.newest.as_ref().filter(fits).map(Machine::mark);
        shelf.wanted |= mark.is_none();
        mark
    }
}

impl Machine {
    fn has(&self, member: MemberId) -> bool {
        self.voters.contains(&member) || self.learners.contains(&member)
    }

    fn mark(&self) -> SnapshotMark {
        SnapshotMark {
            index: Index(self.index),
            term: Term(self.term),
            voters: self.voters.clone(),
            learners: self.learners.clone(),
            id: Bytes::copy_from_slice(&self.index.to_be_bytes()),
        }
    }

    fn change(&mut self, change: Change) {
        let member = change.member();
        self.voters.retain(|voter| *voter != member);
        self.learners.retain(|learner| *learner != member);
        match change {
            Change::AddVoter(_) | Change::Promote(_) => self.voters.push(member),
            Change::AddLearner(_) => self.learners.push(member),
            Change::Remove(_) => {}
        }
    }
}

pub(crate) struct Node {
    disk: DoubleDisk,
    wal: Option<Wal>,
    pub(crate) replica: Option<NetReplica>,
    pub(crate) machine: Machine,
    flushed: Machine,
    shelf: Arc<Mutex<Shelf>>,
    appends: VecDeque<Append>,
    reads: Vec<Readable<String>>,
    offers: Vec<SnapshotOffer>,
    fetches: Vec<Fetch>,
    lives: u64,
    /// Entries for members that lag are not read back until this ends.
    pub(crate) slow_reading: bool,
    pub(crate) slow_disk: bool,
    pub(crate) paused: bool,
}

/// See the module.
pub(crate) struct Net {
    pub(crate) nodes: BTreeMap<u64, Node>,
    pub(crate) wires: VecDeque<Envelope>,
    /// Lines from one to another that lose everything.
    pub(crate) cut: BTreeSet<(u64, u64)>,
    /// Snapshots that are offered are fetched at once.
    pub(crate) fetches: bool,
    story: String,
    quiet: bool,
    leaders: BTreeMap<u64, u64>,
    log: BTreeMap<u64, (u64, String)>,
    refused: BTreeSet<String>,
    pub(crate) answered: BTreeMap<String, u64>,
    pub(crate) released: BTreeSet<String>,
    // What was answered when a read came in.
    before_read: BTreeMap<String, u64>,
}

impl Net {
    /// A new cluster of members 1 to `voters`.
    pub(crate) fn new(voters: u64) -> Self {
        let mut net = Self {
            nodes: BTreeMap::new(),
            wires: VecDeque::new(),
            cut: BTreeSet::new(),
            fetches: true,
            story: String::new(),
            quiet: false,
            leaders: BTreeMap::new(),
            log: BTreeMap::new(),
            refused: BTreeSet::new(),
            answered: BTreeMap::new(),
            released: BTreeSet::new(),
            before_read: BTreeMap::new(),
        };
        let all: Vec<_> = (1..=voters).map(MemberId).collect();
        for id in 1..=voters {
            let machine = Machine {
                index: BOOTSTRAP_INDEX,
                term: BOOTSTRAP_TERM,
                voters: all.clone(),
                ..Machine::default()
            };
            net.add(id, machine);
        }
        net
    }

    /// A member that was told of the others and has nothing.
    pub(crate) fn join(&mut self, id: u64, others: &[u64]) {
        let voters = others.iter().copied().map(MemberId).collect();
        self.add(id, Machine { voters, ..Machine::default() });
    }

    fn add(&mut self, id: u64, machine: Machine) {
        let node = Node {
            disk: DoubleDisk::default(),
            wal: None,
            replica: None,
            flushed: machine.clone(),
            machine,
            shelf: Arc::default(),
            appends: VecDeque::new(),
            reads: Vec::new(),
            offers: Vec::new(),
            fetches: Vec::new(),
            lives: 0,
            slow_reading: false,
            slow_disk: false,
            paused: false,
        };
        self.nodes.insert(id, node);
        self.start(id);
    }

    /// Starts a member on what its disk holds.
    pub(crate) fn start(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).expect("a member");
        node.lives += 1;
        node.machine = node.flushed.clone();
        let identity = Identity { cluster: 1, member: id, salt: 3 };
        let config = wal::Config { background: false, ..wal::Config::new(identity) };
        let (mut wal, recovered) = Wal::open(Arc::new(node.disk.clone()), &config).expect("the log opens");
        let mut hard_state = recovered.hard_state;
        let Machine { index, term, .. } = node.machine;
        if index > 0 && wal.reader().term(index) != Some(term) {
            hard_state = HardState {
                term: hard_state.term.max(term),
                vote: hard_state.vote,
                commit: hard_state.commit.max(index),
            };
            wal.reset_to(index, term, Some(hard_state)).expect("the disk works");
        }
        let config = ReplicaConfig {
            member: MemberId(id),
            voters: node.machine.voters.clone(),
            learners: node.machine.learners.clone(),
            election_ticks: 10,
            heartbeat_ticks: 1,
            applied: Index(index),
            boot_nonce: node.lives * 1000 + id,
            seed: id,
        };
        *node.shelf.lock() = Shelf::default();
        let source = Arc::new(Source(Arc::clone(&node.shelf)));
        let mut replica = Replica::new(&config, wal.reader(), hard_state, source).expect("starts");
        if id.is_multiple_of(2) {
            replica.read_aside();
        }
        node.replica = Some(replica);
        node.wal = Some(wal);
    }

    /// Power goes: what was not synced is gone, and what the machine had not flushed.
    pub(crate) fn crash(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).expect("a member");
        (node.replica, node.wal) = (None, None);
        node.disk = node.disk.power_loss(Loss::All);
        node.appends.clear();
        node.reads.clear();
        node.offers.clear();
        node.fetches.clear();
    }

    /// The machine goes into files, and the log is let go up to there.
    pub(crate) fn flush_and_release(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).expect("a member");
        node.flushed = node.machine.clone();
        if let Some(wal) = &mut node.wal {
            wal.release(node.flushed.index).expect("the disk works");
        }
    }

    pub(crate) fn replica(&mut self, id: u64) -> &mut NetReplica {
        self.nodes.get_mut(&id).and_then(|node| node.replica.as_mut()).expect("a running member")
    }

    pub(crate) fn replica_if_running(&mut self, id: u64, act: impl FnOnce(&mut NetReplica)) {
        if let Some(replica) = self.nodes.get_mut(&id).and_then(|node| node.replica.as_mut()) {
            act(replica);
        }
    }

    pub(crate) fn write_one_if_running(&mut self, id: u64) {
        if self.nodes[&id].replica.is_some() {
            self.write_one(id);
        }
    }

    pub(crate) fn propose(&mut self, id: u64, command: &str) {
        self.propose_as(id, command, Kind::Normal);
    }

    pub(crate) fn propose_as(&mut self, id: u64, command: &str, kind: Kind) {
        let data = Bytes::from(format!("{command} "));
        let proposal = Proposal { data, ticket: command.to_owned(), kind };
        self.replica(id).propose(&mut vec![proposal]);
    }

    pub(crate) fn read(&mut self, id: u64, name: &str) {
        let newest = self.answered.values().copied().max().unwrap_or_default();
        self.before_read.insert(name.to_owned(), newest);
        self.replica(id).read(&mut vec![name.to_owned()]);
    }

    /// Everybody who can works, and every message arrives, until nothing is left to do.
    pub(crate) fn run(&mut self) {
        loop {
            self.work_all();
            let Some(envelope) = self.wires.pop_front() else { return };
            self.deliver(&envelope);
        }
    }

    /// Time goes by, with all that it brings.
    pub(crate) fn tick(&mut self, times: usize) {
        for _ in 0..times {
            self.tick_once();
            self.run();
        }
    }

    pub(crate) fn tick_once(&mut self) {
        for node in self.nodes.values_mut().filter(|node| !node.paused) {
            if let Some(replica) = &mut node.replica {
                replica.tick();
            }
        }
    }

    /// Has a member win an election: the others have not heard of a leader for as long as it takes to listen to it.
    pub(crate) fn elect(&mut self, id: u64) {
        for node in self.nodes.values_mut() {
            if let Some(replica) = node.replica.as_mut().filter(|replica| !replica.leads()) {
                replica.node.raft.election_elapsed = 10;
            }
        }
        for _ in 0..100 {
            self.replica(id).tick();
            self.run();
            if self.replica(id).standing().confirmed {
                self.run();
                return;
            }
        }
        panic!("{id} was not elected: {:?}", self.replica(id).standing());
    }

    pub(crate) fn deliver(&mut self, envelope: &Envelope) {
        let (from, to) = (envelope.from.0, envelope.to.0);
        let Some(node) = self.nodes.get_mut(&to).filter(|node| node.replica.is_some()) else { return };
        if node.paused || self.cut.contains(&(from, to)) {
            return;
        }
        let bytes = envelope.encode();
        let envelope = Envelope::decode(envelope.from, envelope.to, bytes).expect("what we wrote");
        node.replica.as_mut().expect("running").receive(envelope);
    }

    pub(crate) fn work_all(&mut self) {
        let ids: Vec<_> = self.nodes.keys().copied().collect();
        for id in ids {
            self.work(id);
        }
    }

    fn work(&mut self, id: u64) {
        while self.nodes[&id].replica.is_some() && !self.nodes[&id].paused {
            self.look(id);
            self.read_back(id);
            let Some(output) = self.replica(id).output() else {
                if self.write(id) {
                    continue;
                }
                return;
            };
            self.wires.extend(output.messages);
            for (ticket, why) in output.refused {
                self.tell(&format!("{id} refused {ticket}: {why:?}"));
                assert!(!self.answered.contains_key(&ticket), "{ticket} was refused and happened");
                self.refused.insert(ticket);
            }
            let node = self.nodes.get_mut(&id).expect("a member");
            node.offers.extend(output.offers);
            node.reads.extend(output.readable);
            node.appends.extend(output.append);
            output.committed.into_iter().for_each(|entry| self.apply(id, entry));
            self.release_reads(id);
            if self.fetches {
                self.fetch(id);
            }
        }
    }

    /// Checks who leads, and makes the snapshot that somebody asked for.
    fn look(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).expect("a member");
        let replica = node.replica.as_mut().expect("running");
        assert!(replica.broken().is_none(), "{id} believes that it lost what it had promised");
        let standing = replica.standing();
        let mut shelf = node.shelf.lock();
        if std::mem::take(&mut shelf.wanted) {
            shelf.newest = Some(node.machine.clone());
        }
        drop(shelf);
        if standing.role == Role::Leader {
            match self.leaders.insert(standing.term.0, id) {
                None => self.tell(&format!("{id} leads in term {}", standing.term)),
                Some(other) => assert_eq!(other, id, "two lead in term {}", standing.term),
            }
        }
    }

    fn read_back(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).expect("a member");
        let replica = node.replica.as_mut().expect("running");
        node.fetches.extend(replica.fetches());
        if !node.slow_reading {
            node.fetches.drain(..).for_each(|fetch| replica.fetched(fetch.run()));
        }
    }

    fn apply(&mut self, id: u64, entry: Committed<String>) {
        let Committed { index, term, data, change, tickets } = entry;
        let text = String::from_utf8(data.to_vec()).expect("text");
        let known = self.log.entry(index.0).or_insert_with(|| (term.0, text.clone())).clone();
        assert_eq!(known, (term.0, text.clone()), "two entries at {index}");
        let node = self.nodes.get_mut(&id).expect("a member");
        assert_eq!(node.machine.index + 1, index.0, "{id} has a hole");
        let commands: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
        (node.machine.index, node.machine.term) = (index.0, term.0);
        node.machine.commands.extend(commands.iter().cloned());
        let replica = node.replica.as_mut().expect("running");
        if let Some(change) = change {
            node.machine.change(change);
            replica.change_applied(change);
        }
        replica.applied(index);
        let mut unique = BTreeSet::new();
        let twice = node.machine.commands.iter().find(|command| !unique.insert((*command).clone()));
        assert_eq!(twice, None, "it happened twice");
        for (number, ticket) in tickets {
            assert_eq!(commands.get(number), Some(&ticket), "the ticket of another command");
            self.tell(&format!("{id} got {ticket} at {index}"));
            self.answered.insert(ticket, index.0);
        }
        for command in commands {
            assert!(!self.refused.contains(&command), "{command} happened and was refused");
        }
    }

    fn release_reads(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).expect("a member");
        let applied = node.machine.index;
        let released: Vec<_> = node.reads.extract_if(.., |read| read.index.0 <= applied).collect();
        for read in released {
            for name in read.tickets {
                let newest = self.before_read.get(&name).copied().unwrap_or_default();
                assert!(read.index.0 >= newest, "{name} is stale: {} and {newest} was answered", read.index);
                self.tell(&format!("{id} reads {name} at {}", read.index));
                self.released.insert(name);
            }
        }
    }

    /// Fetches what was offered to a member.
    pub(crate) fn fetch(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).expect("a member");
        let Some(offer) = node.offers.pop() else { return };
        node.offers.clear();
        let at = offer.mark.index.0;
        let source = self.nodes.get(&offer.from.0).filter(|node| node.replica.is_some());
        let found = source.and_then(|node| node.shelf.lock().newest.clone());
        let here = self.nodes.get_mut(&id).expect("a member");
        let replica = here.replica.as_mut().expect("running");
        if let Some(machine) = found.filter(|machine| machine.index == at) {
            // The files; the machine takes them on when the log's thread says so.
            here.shelf.lock().newest = Some(machine);
            replica.snapshot_fetched(offer.clone());
            self.tell(&format!("{id} fetched {at} from {}", offer.from));
        } else {
            replica.snapshot_failed(offer);
            self.tell(&format!("{id} could not fetch {at}"));
        }
    }

    /// Writes the next of what waits; `false` if there is nothing or the disk is slow.
    fn write(&mut self, id: u64) -> bool {
        let node = self.nodes.get_mut(&id).expect("a member");
        if node.slow_disk {
            return false;
        }
        self.write_one(id)
    }

    /// Writes the next of what waits, however slow the disk is.
    pub(crate) fn write_one(&mut self, id: u64) -> bool {
        let node = self.nodes.get_mut(&id).expect("a member");
        let (Some(append), Some(wal)) = (node.appends.pop_front(), &mut node.wal) else { return false };
        let mut installed = None;
        if let Some(mark) = &append.snapshot {
            let machine = node.shelf.lock().newest.clone().expect("it was fetched");
            assert_eq!(machine.mark(), *mark, "another snapshot was fetched");
            (node.machine, node.flushed) = (machine.clone(), machine);
            begin_anew(wal, mark, append.hard_state()).expect("the disk works");
            installed = Some(mark.index);
        }
        let mut batch = Batch::new();
        append.write_into(&mut batch);
        wal.append(&mut batch, Durability::Synced).expect("the disk works");
        let applied = node.machine.index;
        let replica = node.replica.as_mut().expect("running");
        // As the driver may: the machine tells first how far it is.
        replica.applied(Index(applied));
        replica.persisted(append.number);
        replica.applied(Index(applied));
        if let Some(index) = installed {
            self.tell(&format!("{id} installed {index}"));
        }
        true
    }

    fn tell(&mut self, line: &str) {
        if !self.quiet {
            writeln!(self.story, "{line}").expect("memory");
        }
    }

    /// Nobody listens to the story: a long test only wants what must hold.
    pub(crate) fn be_quiet(&mut self) {
        self.quiet = true;
    }

    /// What happened since the last time, a line each.
    pub(crate) fn story(&mut self) -> String {
        std::mem::take(&mut self.story)
    }

    /// Everybody who is named holds the same.
    pub(crate) fn check_same(&self, ids: &[u64]) {
        for id in ids {
            assert_eq!(self.nodes[id].machine, self.nodes[&ids[0]].machine, "{id} and {} differ", ids[0]);
        }
    }
}

/// The story, told as a text that is indented with the test.
pub(crate) fn check(net: &mut Net, expected: &str) {
    let expected: Vec<_> = expected.trim().lines().map(str::trim).collect();
    let story = net.story();
    assert!(story.lines().eq(expected), "the story went another way:\n{story}");
}
