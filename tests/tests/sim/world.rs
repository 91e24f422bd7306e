//! The whole cluster in one thread: members, network, clients and troubles, stepped event by event from one seed.
//!
//! First a phase with troubles, then one without in which everything must heal and serve. Nothing here asks for the
//! time or for chance but by the seed, so that a seed makes the same run everywhere.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use bytes::Bytes;
use consensus::{BOOTSTRAP_INDEX, Envelope, SnapshotOffer};
use wal::double::Loss;

use crate::chance::Chance;
use crate::clients::Client;
use crate::disk::Rows;
use crate::history::History;
use crate::invariants::{Checks, Verdict, Violation, promises};
use crate::leasing::Leasing;
use crate::member::{Files, Member, NoStart, Seat, id_of, place_of};
use crate::network::{Micros, Network, Parcel};
use crate::plan::{Plan, TICK};
use crate::planted::{Planted, with_sequence};
use crate::trace::Trace;
use crate::watching::Watchers;
use types::MemberId;

/// Something that will happen.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A unit of a member's time has gone by.
    Tick { place: usize, life: u64 },
    /// A message arrives.
    Arrive(Parcel),
    /// What a member's disk was writing is written.
    Written { place: usize, life: u64 },
    /// A member applies what waits.
    Apply { place: usize, life: u64 },
    /// A member's chores are due: flush, release, snapshots, expiry.
    Chores { place: usize, life: u64 },
    /// A reading of the log for others is done.
    ReadBack { place: usize, life: u64 },
    /// A snapshot is here, or will not come.
    Fetched { place: usize, life: u64, offer: SnapshotOffer },
    /// A client thinks of something.
    Act(usize),
    /// A client waits no longer.
    GiveUp { client: usize, operation: u64 },
    /// Trouble.
    Trouble,
    /// A member's process is started.
    Start(usize),
    /// A member's disk has room again.
    Room(usize),
    /// Watchers look.
    Watch,
    /// A client does something about a lease.
    Lease,
    /// A renewal comes to a leader.
    Renew { place: usize, ticket: u64 },
}

/// Why an event belongs to a member's life that may be over.
impl Event {
    fn owner(&self) -> Option<(usize, u64)> {
        match self {
            Self::Tick { place, life }
            | Self::Written { place, life }
            | Self::Apply { place, life }
            | Self::Chores { place, life }
            | Self::ReadBack { place, life }
            | Self::Fetched { place, life, .. } => Some((*place, *life)),
            _ => None,
        }
    }
}

struct Due {
    at: Micros,
    sequence: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.sequence) == (other.at, other.sequence)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

/// What happened in a run, in numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Events.
    pub(crate) events: u64,
    /// Ends of lives.
    pub(crate) ends: u64,
    /// Operations that were answered.
    pub(crate) answered: u64,
    /// Operations without an answer.
    pub(crate) unknown: u64,
    /// Snapshots installed.
    pub(crate) installs: u64,
    /// Changes of the membership.
    pub(crate) changes: u64,
    /// Terms with a leader.
    pub(crate) terms: u64,
    /// Leases that ended.
    pub(crate) ended: u64,
    /// Renewals that were acknowledged.
    pub(crate) renewed: u64,
    /// v2 nodes that expired.
    pub(crate) expired: u64,
    /// Replies to watchers.
    pub(crate) watched: u64,
    /// Reads checked.
    pub(crate) reads: u64,
    /// The longest time that the phase without troubles had to wait for something, in ticks.
    pub(crate) wait_ticks_max: u64,
}

/// See the module.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) planted: Option<Planted>,
    pub(crate) plan: Plan,
    pub(crate) now: Micros,
    pub(crate) chance: Chance,
    pub(crate) members: Vec<Member>,
    pub(crate) network: Network,
    pub(crate) clients: Vec<Client>,
    pub(crate) history: History,
    pub(crate) checks: Checks,
    pub(crate) trace: Trace,
    pub(crate) counts: Counts,
    /// What cannot be seen from outside is not looked at: planted faults must show in what they do.
    pub(crate) blind: bool,
    /// No troubles any more.
    pub(crate) healing: bool,
    /// The newest compaction that was asked for.
    pub(crate) compacted: u64,
    /// No new operations any more.
    pub(crate) quiet: bool,
    /// States that can be fetched, by the name under which they are offered.
    pub(crate) shelf: BTreeMap<Bytes, Rows>,
    pub(crate) watchers: Watchers,
    pub(crate) leasing: Leasing,
    events: BinaryHeap<Reverse<Due>>,
    sequence: u64,
}

impl World {
    /// The run of a seed, before its beginning.
    pub(crate) fn new(seed: u64, planted: Option<Planted>, traced: bool) -> Result<Self, Violation> {
        let mut chance = Chance::new(seed);
        let plan = Plan::draw(&mut chance);
        let files = Files::founded(plan.founders)?;
        let members: Vec<Member> = (0..plan.places)
            .map(|place| {
                if place < plan.founders {
                    Member::new(place, files.clone(), Seat::Taken { told: Vec::new() })
                } else {
                    Member::new(place, Files::empty(), Seat::Empty)
                }
            })
            .collect();
        let mut checks = Checks::default();
        checks.membership.founded(BOOTSTRAP_INDEX, (0..plan.founders).map(id_of));
        let mut world = Self {
            seed,
            planted,
            now: 0,
            network: Network::new(plan.places, chance.branch()),
            clients: (0..plan.clients).map(|_| Client::default()).collect(),
            chance,
            members,
            history: History::default(),
            checks,
            trace: Trace::new(traced),
            counts: Counts::default(),
            blind: planted.is_some(),
            healing: false,
            quiet: false,
            compacted: 0,
            shelf: BTreeMap::new(),
            watchers: Watchers::new(seed),
            leasing: Leasing::new(seed),
            events: BinaryHeap::new(),
            sequence: 0,
            plan,
        };
        if planted == Some(Planted::SharedLog) {
            world.members[1].log = world.members[0].log.clone();
        }
        if planted == Some(Planted::IgnoreFolderSync) || planted == Some(Planted::IgnoreFileSync) {
            world.spoil_disks(planted == Some(Planted::IgnoreFolderSync));
        }
        Ok(world)
    }

    fn spoil_disks(&mut self, folders: bool) {
        for member in &self.members {
            let manners = &member.manners;
            let spoilt = if folders { &manners.ignores_folder_sync } else { &manners.ignores_file_sync };
            spoilt.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// Runs from the beginning to the end.
    pub(crate) fn run(&mut self) -> Verdict {
        for place in 0..self.plan.founders {
            let at = self.chance.below(3 * TICK);
            self.at(at, Event::Start(place));
        }
        for client in 0..self.clients.len() {
            let at = self.chance.between(10, 30) * TICK;
            self.at(at, Event::Act(client));
        }
        self.at(15 * TICK, Event::Trouble);
        self.at(5 * TICK, Event::Watch);
        self.at(20 * TICK, Event::Lease);
        self.run_until(self.plan.troubled)?;
        self.heal()
    }

    /// Takes events until a moment.
    pub(crate) fn run_until(&mut self, end: Micros) -> Verdict {
        while let Some(Reverse(due)) = self.events.peek()
            && due.at <= end
        {
            let Some(Reverse(Due { at, event, .. })) = self.events.pop() else { break };
            self.now = at;
            self.counts.events += 1;
            self.take(event)?;
        }
        self.now = end;
        Ok(())
    }

    /// Something will happen in a while.
    pub(crate) fn after(&mut self, delay: Micros, event: Event) {
        self.at(self.now + delay, event);
    }

    fn at(&mut self, at: Micros, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse(Due { at, sequence: self.sequence, event }));
    }

    fn take(&mut self, event: Event) -> Verdict {
        if let Some((place, life)) = event.owner() {
            let member = &self.members[place];
            if member.life.as_ref().is_none_or(|lives| lives.number != life) {
                return Ok(());
            }
            if member.stands_until > self.now {
                // It stands still: what is due comes when it goes on.
                self.at(member.stands_until, event);
                return Ok(());
            }
        }
        match event {
            Event::Tick { place, life } => self.tick(place, life),
            Event::Arrive(parcel) => self.arrive(parcel),
            Event::Written { place, .. } => self.written(place),
            Event::Apply { place, .. } => self.apply(place),
            Event::Chores { place, life } => self.chores(place, life),
            Event::ReadBack { place, .. } => self.read_back(place),
            Event::Fetched { place, offer, .. } => self.fetched(place, offer),
            Event::Act(client) => self.act(client),
            Event::GiveUp { client, operation } => {
                self.give_up(client, operation);
                Ok(())
            }
            Event::Trouble => self.trouble(),
            Event::Start(place) => self.start(place),
            Event::Watch => self.watch(),
            Event::Lease => self.lease(),
            Event::Renew { place, ticket } => self.renew_later(place, ticket),
            Event::Room(place) => {
                self.members[place].manners.full.store(false, std::sync::atomic::Ordering::Relaxed);
                Ok(())
            }
        }
    }

    fn tick(&mut self, place: usize, life: u64) -> Verdict {
        let member = &mut self.members[place];
        let tick = member.clock.tick();
        if let Some(life) = &mut member.life {
            life.replica.tick();
        }
        self.after(tick, Event::Tick { place, life });
        if self.chance.happens(150) {
            self.make_snapshot(place)?;
            self.expire(place);
        }
        self.lease_round(place);
        if self.members[place].leaving {
            self.leaves(place);
        }
        self.turn(place)
    }

    /// A renewal waits where a member stands still.
    fn renew_later(&mut self, place: usize, ticket: u64) -> Verdict {
        let member = &self.members[place];
        if member.stands_until > self.now {
            self.at(member.stands_until, Event::Renew { place, ticket });
            return Ok(());
        }
        self.renew(place, ticket)
    }

    fn arrive(&mut self, parcel: Parcel) -> Verdict {
        let (from, to) = (parcel.from, parcel.to);
        let member = &self.members[to];
        if member.stands_until > self.now {
            self.at(member.stands_until, Event::Arrive(parcel));
            return Ok(());
        }
        let lives = (self.members[from].lives, member.lives);
        // Nothing arrives over a link that was cut meanwhile, nor over a connection whose end is gone.
        if !self.network.hears(from, to) || (!parcel.raft && parcel.lives != lives) {
            return Ok(());
        }
        let (from_id, to_id) = (id_of(from), id_of(to));
        let planted = self.planted;
        let Some(life) = &mut self.members[to].life else { return Ok(()) };
        // Links to and from who was removed are refused by the transport.
        if life.machine.members().is_removed(from_id) {
            if self.network.hears(to, from) {
                self.leaves(from);
            }
            return Ok(());
        }
        let decode = |bytes| {
            Envelope::decode(from_id, to_id, bytes)
                .map_err(|error| Violation::new("messages", error.to_string()))
        };
        let mut envelope = decode(parcel.bytes.clone())?;
        if planted == Some(Planted::ReuseReadContext)
            && envelope.describe().starts_with("ReadIndexResp ")
            && let Some((answer, _)) = with_sequence(&parcel.bytes, to_id, life.newest_read)
        {
            envelope = decode(answer)?;
        }
        self.trace.say(self.now, || format!("{to} <- {from}  {}", envelope.describe()));
        life.replica.receive(envelope);
        self.turn(to)
    }

    /// A member knows that it was removed. It stays until a majority of the others knows too: they may need its vote
    /// to find out. (The program stays for a while and cannot know; if it is cut off for all of that time, or ends
    /// meanwhile, a cluster of two can lose its leader for ever with it, as with etcd.)
    fn leaves(&mut self, place: usize) {
        let id = id_of(place);
        let voters = self.checks.membership.newest().voters;
        let knows = |voter: &MemberId| {
            let member = &self.members[place_of(*voter)];
            // On disk: whoever starts anew must know still.
            let commit = member.life.as_ref().map_or(0, |life| life.wal.hard_state().commit);
            self.checks.membership.at(commit.max(member.files.position.index.0)).removed.contains(&id)
        };
        if voters.iter().filter(|voter| knows(voter)).count() * 2 <= voters.len() {
            return;
        }
        self.trace.say(self.now, || format!("{place} was removed and leaves"));
        let member = &mut self.members[place];
        (member.seat, member.life) = (Seat::Left, None);
    }

    /// Sends what a member says.
    pub(crate) fn send(&mut self, from: usize, envelope: &Envelope) -> Verdict {
        let promise = promises::read(envelope);
        if let Some(promise) = promise {
            self.checks.leaders.spoke(from, promise.term());
            if let Some(life) = self.members[from].life.as_ref().filter(|_| !self.blind) {
                promise.check(from, &life.wal)?;
            }
        }
        let to = place_of(envelope.to);
        let mut bytes = envelope.encode();
        if self.planted == Some(Planted::ReuseReadContext)
            && envelope.describe().starts_with("ReadIndex ")
            && let Some((question, sequence)) = with_sequence(&bytes, envelope.from, 0)
            && let Some(life) = &mut self.members[from].life
        {
            bytes = question;
            life.newest_read = life.newest_read.max(sequence);
        }
        let raft = bytes.first() == Some(&1);
        let lives = (self.members[from].lives, self.members.get(to).map_or(0, |member| member.lives));
        let parcel = Parcel { from, to, lives, raft, bytes };
        if to >= self.members.len() {
            return Err(Violation::new("messages", format!("member {from} speaks to nobody: {envelope:?}")));
        }
        let delays = self.network.delays(&parcel);
        self.trace.say(self.now, || {
            let fate = if delays.is_empty() { "  (lost)" } else { "" };
            format!("{from} -> {to}  {}{fate}", envelope.describe())
        });
        if delays.is_empty()
            && self.chance.happens(300)
            && let Some(life) = &mut self.members[from].life
        {
            life.replica.unreachable(envelope.to);
        }
        for delay in delays {
            self.after(delay, Event::Arrive(parcel.clone()));
        }
        Ok(())
    }

    /// A member's process is started.
    fn start(&mut self, place: usize) -> Verdict {
        let (planted, seed) = (self.planted, self.seed);
        let member = &mut self.members[place];
        if !member.is_down() {
            return Ok(());
        }
        member.stands_until = 0;
        match member.start(planted, seed) {
            Ok(()) => {}
            Err(NoStart::Disk) => {
                self.trace.say(self.now, || format!("{place} does not start: its disk refuses"));
                let loss = Loss::Seed(self.chance.next());
                self.ended(place, Some(loss));
                return Ok(());
            }
            Err(NoStart::Refused(why)) => {
                return Err(Violation::new("start", format!("member {place} does not start: {why}")));
            }
        }
        let Some(life) = &member.life else { return Ok(()) };
        let number = life.number;
        let (first, last) = (life.wal.first_index(), life.wal.last_index());
        let (term, applied) = (life.replica.standing().term.0, life.machine.position().index);
        self.trace.say(self.now, || {
            format!("{place} starts life {number}: log {first}..={last}, term {term}, applied {applied}")
        });
        if !self.blind {
            self.checks.leaders.starts(place, term)?;
        }
        let (tick, chores) = (self.chance.below(TICK), self.chance.below(self.plan.flush_gap));
        self.after(tick, Event::Tick { place, life: number });
        self.after(chores, Event::Chores { place, life: number });
        self.turn(place)
    }

    /// A member's process ends and will be started again.
    pub(crate) fn ended(&mut self, place: usize, loss: Option<Loss>) {
        let member = &mut self.members[place];
        self.trace.say(self.now, || format!("{place} ends: {loss:?}"));
        self.counts.ends += 1;
        member.end(loss);
        if self.planted == Some(Planted::SharedLog) && place < 2 {
            let log = self.members[place].log.clone();
            self.members[1 - place].log = log;
        }
        let soon = if self.healing { 5 } else { *self.chance.pick(&[2, 10, 40, 120]) };
        let delay = self.chance.between(1, soon * TICK);
        self.after(delay, Event::Start(place));
    }
}
