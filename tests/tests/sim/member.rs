//! A member without sockets, threads and clock: what outlives it (disks, clock), and one life of it at a time.
//!
//! It starts as the program does: database first, then the log, then the replica between them.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use apply::{Machine, Position};
use bytes::Bytes;
use consensus::{
    Append, BOOTSTRAP_INDEX, BOOTSTRAP_TERM, Committed, Fetch, Fetched, Readable, Replica, ReplicaConfig,
    SnapshotMark, SnapshotSource,
};
use parking_lot::Mutex;
use store::Family;
use types::{Index, LeaseId, MemberId, MemberRecord, Term};
use wal::double::{DoubleDisk, Loss};
use wal::{HardState, Identity, Wal};

use crate::clock::Clock;
use crate::disk::{Lent, LogDisk, Manners, Row, Rows, rows_of};
use crate::invariants::Violation;
use crate::leasing::Office;
use crate::network::Micros;
use crate::planted::Planted;
use crate::watching::Window;

/// A row of the members that is shorter says that its member was removed.
const TOMBSTONE_BYTES_MAX: usize = 9;

/// What outlives a member's lives.
pub(crate) struct Member {
    /// Its id.
    pub(crate) id: MemberId,
    /// Its place among the members of the run.
    pub(crate) place: usize,
    /// The log's disk.
    pub(crate) log: DoubleDisk,
    /// How that behaves.
    pub(crate) manners: Arc<Manners>,
    /// The database as it is in files.
    pub(crate) files: Files,
    /// Its clock.
    pub(crate) clock: Clock,
    /// How many lives it has had.
    pub(crate) lives: u64,
    /// Its life, while it runs.
    pub(crate) life: Option<Life>,
    /// What it is to the cluster.
    pub(crate) seat: Seat,
    /// It knows that it was removed.
    pub(crate) leaving: bool,
    /// It stands still until then.
    pub(crate) stands_until: Micros,
    /// How long its disk takes, at most.
    pub(crate) disk_time: Micros,
    /// How long it takes until it applies, at most.
    pub(crate) apply_time: Micros,
}

/// Whether there is a member at a place at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seat {
    /// Nobody has been added here yet.
    Empty,
    /// A member that runs, or should run. A joiner knows who was there when it was added.
    Taken { told: Vec<MemberId> },
    /// It was removed, and knows it.
    Left,
}

/// The database as it is in files.
#[derive(Clone)]
pub(crate) struct Files {
    /// The rows as of the last flush.
    pub(crate) rows: Rows,
    /// The entry that they stand for.
    pub(crate) position: Position,
    /// Index and term of the snapshot that it came from, where it came from one.
    pub(crate) origin: Option<(u64, u64)>,
}

/// A member from its start to its end.
pub(crate) struct Life {
    /// Which life it is.
    pub(crate) number: u64,
    /// The log.
    pub(crate) wal: Wal,
    /// The state.
    pub(crate) machine: Machine,
    /// Its watches.
    pub(crate) window: Window,
    /// What it knows of the time of leases.
    pub(crate) office: Office,
    // After the machine and the window, so that nobody holds the store any more when it is given back.
    pub(crate) lent: Lent,
    /// raft.
    pub(crate) replica: Replica<u64, u64>,
    /// What waits for the disk, and how many of them are being written.
    pub(crate) writing: VecDeque<Append>,
    /// See `writing`.
    pub(crate) in_write: usize,
    /// What waits to be applied.
    pub(crate) applying: VecDeque<Committed<u64>>,
    /// Whether somebody will come and apply.
    pub(crate) will_apply: bool,
    /// Reads whose index is not applied yet.
    pub(crate) waiting: Vec<Readable<u64>>,
    /// Where the replica gets its snapshots from.
    pub(crate) snapshots: Arc<Snapshots>,
    /// States that were fetched, by the name under which they were offered.
    pub(crate) fetched: BTreeMap<Bytes, Rows>,
    /// Readings of the log for others that are under way: asked for, or already done.
    pub(crate) reading: VecDeque<Reading>,
    /// The newest number in a read context that left.
    pub(crate) newest_read: u64,
    /// The log was released up to here.
    pub(crate) released: u64,
}

/// A reading of the log that is done aside: before or after whatever happens meanwhile.
pub(crate) enum Reading {
    /// Not yet.
    Asked(Fetch),
    /// Done.
    Done(Fetched),
}

/// Why a member does not start.
#[derive(Debug)]
pub(crate) enum NoStart {
    /// The disk refused: the run cut its power, or it is full.
    Disk,
    /// It refuses its own files, which were not damaged: a violation.
    Refused(String),
}

/// Snapshots that a leader can offer.
#[derive(Default)]
pub(crate) struct Snapshots {
    desk: Mutex<SnapshotDesk>,
}

#[derive(Default)]
struct SnapshotDesk {
    newest: Option<SnapshotMark>,
    wanted: bool,
}

impl SnapshotSource for Snapshots {
    fn latest(&self, at_least: Index, to: MemberId) -> Option<SnapshotMark> {
        let mut desk = self.desk.lock();
        let fits = desk.newest.clone().filter(|mark| mark.index >= at_least && mark.has(to));
        desk.wanted |= fits.is_none();
        fits
    }
}

impl Snapshots {
    /// Whether a snapshot was asked for that there was not.
    pub(crate) fn wanted(&self) -> bool {
        self.desk.lock().wanted
    }

    /// From now on this one is offered.
    pub(crate) fn offer(&self, mark: SnapshotMark) {
        *self.desk.lock() = SnapshotDesk { newest: Some(mark), wanted: false };
    }

    /// The one on offer is taken away.
    pub(crate) fn withdraw(&self) {
        self.desk.lock().newest = None;
    }

    /// The index of the one on offer.
    pub(crate) fn offered(&self) -> Option<u64> {
        self.desk.lock().newest.as_ref().map(|mark| mark.index.0)
    }
}

/// The record of the member at a place.
pub(crate) fn record(place: usize, learner: bool) -> MemberRecord {
    MemberRecord {
        id: id_of(place),
        name: format!("m{place}"),
        peer_urls: vec![format!("http://10.0.0.{place}:2380")],
        client_urls: Vec::new(),
        learner,
    }
}

/// The id of the member at a place: not small, so that nobody takes it for a number of something else.
pub(crate) fn id_of(place: usize) -> MemberId {
    MemberId(0x1000_0000_0000_0a01 + ((place as u64) << 8))
}

/// The place of a member.
pub(crate) fn place_of(id: MemberId) -> usize {
    ((id.0 - id_of(0).0) >> 8) as usize
}

impl Files {
    /// Nothing.
    pub(crate) fn empty() -> Self {
        Self { rows: Rc::default(), position: Position::default(), origin: None }
    }

    /// The database of a founder.
    pub(crate) fn founded(founders: usize) -> Result<Self, Violation> {
        let failed = |error: &dyn std::fmt::Display| Violation::new("start", error.to_string());
        let lent = Lent::with(&Rows::default()).map_err(|error| failed(&error))?;
        let mut machine = Machine::open(Arc::clone(lent.store())).map_err(|error| failed(&error))?;
        let position = Position { index: Index(BOOTSTRAP_INDEX), term: Term(BOOTSTRAP_TERM) };
        let records: Vec<_> = (0..founders).map(|place| record(place, false)).collect();
        machine.bootstrap(position, &records).map_err(|error| failed(&error))?;
        let rows = rows_of(lent.store()).map_err(|error| failed(&error))?;
        Ok(Self { rows, position, origin: None })
    }
}

impl Member {
    /// A place where nobody runs.
    pub(crate) fn new(place: usize, files: Files, seat: Seat) -> Self {
        Self {
            id: id_of(place),
            place,
            log: DoubleDisk::default(),
            manners: Arc::default(),
            files,
            clock: Clock::new(),
            lives: 0,
            life: None,
            seat,
            leaving: false,
            stands_until: 0,
            disk_time: 500,
            apply_time: 0,
        }
    }

    /// Whether it should run and does not.
    pub(crate) fn is_down(&self) -> bool {
        self.life.is_none() && matches!(self.seat, Seat::Taken { .. })
    }

    /// Its process ends. What was only in memory is lost; what the disk loses, `loss` says, if it loses anything.
    pub(crate) fn end(&mut self, loss: Option<Loss>) {
        self.life = None;
        self.log = match loss {
            Some(loss) => self.log.power_loss(loss),
            None => self.log.restart(),
        };
    }

    /// Starts it.
    pub(crate) fn start(&mut self, planted: Option<Planted>, seed: u64) -> Result<(), NoStart> {
        self.lives += 1;
        let refused = |error: &dyn std::error::Error| NoStart::Refused(words(error));
        if planted == Some(Planted::RemovedReturns) {
            self.files.rows = without_tombstones(&self.files.rows);
        }
        let lent = Lent::with(&self.files.rows).map_err(|error| refused(&error))?;
        let machine = Machine::open(Arc::clone(lent.store())).map_err(|error| refused(&error))?;
        if planted == Some(Planted::LeaseForgetsKey) {
            forget_key(&machine);
        }
        let (wal, hard_state) = self.open_log(planted)?;
        let (voters, learners) = self.roll(&machine);
        let snapshots = Arc::new(Snapshots::default());
        let config = ReplicaConfig {
            member: self.id,
            voters,
            learners,
            election_ticks: crate::plan::ELECTION_TICKS as usize,
            heartbeat_ticks: 1 + (seed % 2) as usize,
            applied: machine.position().index,
            boot_nonce: if planted == Some(Planted::ReuseNonce) { 1 } else { self.lives },
            seed: seed ^ (self.place as u64) << 32 ^ self.lives,
        };
        let source: Arc<dyn SnapshotSource> = snapshots.clone();
        let replica =
            Replica::new(&config, wal.reader(), hard_state, source).map_err(|error| refused(&error))?;
        self.life = Some(Life {
            number: self.lives,
            released: wal.first_index().saturating_sub(1),
            wal,
            window: Window::new(machine.mvcc()),
            office: Office::new(),
            machine,
            lent,
            replica,
            writing: VecDeque::new(),
            in_write: 0,
            applying: VecDeque::new(),
            will_apply: false,
            waiting: Vec::new(),
            snapshots,
            fetched: BTreeMap::new(),
            reading: VecDeque::new(),
            newest_read: 0,
        });
        Ok(())
    }

    /// Who votes and who listens, as far as this member has applied the changes.
    fn roll(&self, machine: &Machine) -> (Vec<MemberId>, Vec<MemberId>) {
        let (learners, voters): (Vec<_>, Vec<_>) =
            machine.members().list().into_iter().partition(|member| member.learner);
        let ids =
            |members: Vec<MemberRecord>| members.into_iter().map(|member| member.id).collect::<Vec<_>>();
        let (voters, learners) = (ids(voters), ids(learners));
        match &self.seat {
            // A joiner knows whom it was told of, until it has a state of its own.
            Seat::Taken { told } if voters.is_empty() => (told.clone(), learners),
            _ => (voters, learners),
        }
    }

    fn open_log(&self, planted: Option<Planted>) -> Result<(Wal, HardState), NoStart> {
        let identity = Identity { cluster: 1, member: self.id.0, salt: 3 };
        let config = wal::Config { background: false, segment_bytes: 4096, ..wal::Config::new(identity) };
        let disk = LogDisk::new(self.log.clone(), Arc::clone(&self.manners));
        let (mut wal, recovered) = Wal::open(Arc::new(disk), &config).map_err(|error| match error {
            wal::OpenError::Disk(_) => NoStart::Disk,
            error => NoStart::Refused(words(&error)),
        })?;
        let mut hard_state = recovered.hard_state;
        let leaves_out = planted == Some(Planted::InstallWithoutReset) && self.files.origin.is_some();
        let begin = self.beginning(&wal).filter(|_| !leaves_out);
        if let Some((index, term)) = begin {
            hard_state = HardState {
                term: hard_state.term.max(term),
                vote: if hard_state.term < term { 0 } else { hard_state.vote },
                commit: hard_state.commit.max(index),
            };
            wal.reset_to(index, term, Some(hard_state)).map_err(|_| NoStart::Disk)?;
        }
        if planted == Some(Planted::LoseHardState) {
            hard_state =
                HardState { term: wal.reader().term(wal.last_index()).unwrap_or_default(), ..hard_state };
            hard_state.vote = 0;
        }
        if planted == Some(Planted::TruncateLog) {
            truncate(&mut wal, hard_state).map_err(|_| NoStart::Disk)?;
        }
        Ok((wal, hard_state))
    }

    /// Where the log has to begin anew, if it does not go with the database: a founder's first start, or the end of
    /// an install that was cut short.
    fn beginning(&self, wal: &Wal) -> Option<(u64, u64)> {
        let (first, last) = (wal.first_index(), wal.last_index());
        if let Some((index, term)) = self.files.origin {
            // A log that begins behind the snapshot has gone on since.
            let goes_on = first > index + 1 || wal.reader().term(index) == Some(term);
            return (!goes_on).then_some((index, term));
        }
        let founder = self.files.position.index.0 >= BOOTSTRAP_INDEX;
        (founder && last < BOOTSTRAP_INDEX).then_some((BOOTSTRAP_INDEX, BOOTSTRAP_TERM))
    }
}

/// Planted: takes the newest entries out of a log.
fn truncate(wal: &mut Wal, hard_state: HardState) -> Result<(), wal::AppendError> {
    let (first, last) = (wal.first_index(), wal.last_index());
    let keep = last.saturating_sub(3).max(first - 1);
    let reader = wal.reader();
    let entries = reader.entries(first, keep + 1, u64::MAX).unwrap_or_default();
    let term = reader.term(first - 1).unwrap_or_default();
    wal.reset_to(first - 1, term, Some(HardState { commit: hard_state.commit.min(keep), ..hard_state }))?;
    let mut batch = wal::Batch::new();
    for entry in &entries {
        batch.entry(entry.index, entry.term, entry.kind, &entry.context, &entry.data);
    }
    batch.hard_state(wal.hard_state());
    wal.append(&mut batch, wal::Durability::Synced)
}

/// Planted: a lease loses one of its keys.
fn forget_key(machine: &Machine) {
    let leases = machine.leases();
    let found = leases.ids().into_iter().find_map(|id| Some((id, leases.keys(id).pop()?)));
    if let Some((id, key)) = found {
        leases.apply_move(&key, id, LeaseId::NONE);
    }
}

/// Planted: nobody remembers who was removed. The rows of those have no room for a record.
fn without_tombstones(rows: &Rows) -> Rows {
    let is_tombstone = |row: &&Row| row.0 == Family::Members && row.2.len() < TOMBSTONE_BYTES_MAX;
    Rc::new(rows.iter().filter(|row| !is_tombstone(row)).cloned().collect())
}

/// An error with its causes.
pub(crate) fn words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        words = format!("{words}: {inner}");
        cause = inner.source();
    }
    words
}
