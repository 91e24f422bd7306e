//! A member without sockets and threads, stepped by hand, on disks that the test owns.

use std::path::PathBuf;
use std::sync::Arc;

use apply::{Entry, Machine, Position};
use bytes::Bytes;
use command::Command;
use consensus::{BOOTSTRAP_INDEX, BOOTSTRAP_TERM, Kind, NoSnapshots, Proposal, Replica, ReplicaConfig};
use store::{Options, Store};
use types::v2::{self, Expiry, Path, Timestamp, Write};
use types::{Index, Key, KeyRange, LeaseId, MemberId, MemberRecord, Put, RangeQuery, Term};
use wal::double::{DoubleDisk, Loss};
use wal::{Batch, Durability, HardState, Identity, Wal};

const MEMBER: MemberId = MemberId(7);
/// Few keys, so that most commands overwrite.
const KEYS: usize = 5;
/// Where an empty v2 keyspace stands.
const V2_FIRST: u64 = 3;

/// What outlives a member: its disks, and what its clients know.
pub(crate) struct Disks {
    /// The log's disk.
    pub(crate) log: DoubleDisk,
    database: Options,
    path: PathBuf,
    /// Every command that was acknowledged, in order, by its value.
    pub(crate) acknowledged: Vec<String>,
}

/// Why a life ended.
#[derive(Debug)]
#[allow(dead_code, reason = "the fields are for whoever reads a failed test")]
pub(crate) enum Stop {
    /// The disk refused: the test cut the power.
    PowerIsGone,
    /// The member refused to start.
    Refused(String),
}

impl Disks {
    /// Empty disks.
    pub(crate) fn new() -> Self {
        Self {
            log: DoubleDisk::default(),
            database: Options::in_memory(),
            path: PathBuf::from("/db"),
            acknowledged: Vec::new(),
        }
    }

    /// The disks after power was lost and came back.
    pub(crate) fn after(&self, loss: Loss) -> Self {
        Self {
            log: self.log.power_loss(loss),
            database: self.database.clone(),
            path: self.path.clone(),
            acknowledged: self.acknowledged.clone(),
        }
    }
}

/// A member from its start to its end.
pub(crate) struct Life {
    number: u32,
    wal: Wal,
    machine: Machine,
    replica: Replica<String, ()>,
    applied: usize,
    acknowledged: Vec<String>,
}

impl Life {
    /// Starts a member on `disks` and lets it catch up from its log.
    pub(crate) fn begin(disks: &Disks, number: u32) -> Result<Self, Stop> {
        let refused = |error: &dyn std::error::Error| Stop::Refused(format!("{error}: {:?}", error.source()));
        let store = Arc::new(Store::open(&disks.path, &disks.database).map_err(|error| refused(&error))?);
        let mut machine = Machine::open(store).map_err(|error| refused(&error))?;
        if machine.position() == Position::default() {
            let position = Position { index: Index(BOOTSTRAP_INDEX), term: Term(BOOTSTRAP_TERM) };
            machine.bootstrap(position, &[founder()]).map_err(|error| refused(&error))?;
        }
        let (wal, hard_state) = open_log(disks)?;
        let config = ReplicaConfig {
            member: MEMBER,
            voters: vec![MEMBER],
            learners: Vec::new(),
            election_ticks: 10,
            heartbeat_ticks: 1,
            applied: machine.position().index,
            boot_nonce: u64::from(number),
            seed: 1,
        };
        let replica = Replica::new(&config, wal.reader(), hard_state, Arc::new(NoSnapshots))
            .map_err(|error| refused(&error))?;
        let acknowledged = disks.acknowledged.clone();
        let mut life = Self { number, wal, machine, replica, applied: 0, acknowledged };
        life.work()?;
        life.applied = life.count();
        Ok(life)
    }

    /// Proposes `many` commands together and works until nothing is left to do.
    pub(crate) fn propose(&mut self, many: usize) -> Result<(), Stop> {
        let mut proposals = (self.applied..self.applied + many)
            .map(|place| {
                let value = format!("life {} place {place}", self.number);
                Proposal { data: command(place, &value).encode(), ticket: value, kind: Kind::Normal }
            })
            .collect();
        self.replica.propose(&mut proposals);
        self.work()
    }

    /// The database goes into files, and the log may go up to there.
    pub(crate) fn flush(&mut self) -> Result<(), Stop> {
        let store = self.machine.store();
        store.flush().map_err(|error| Stop::Refused(error.to_string()))?;
        let flushed =
            Position::load_flushed(store).expect("the row is whole").expect("something was flushed");
        self.wal.release(flushed.index.0).map_err(|_| Stop::PowerIsGone)
    }

    /// The state is what the acknowledged commands made, and perhaps some proposed after them, in order.
    pub(crate) fn check(&self, acknowledged: &[String], note: &str) {
        assert!(
            self.applied >= acknowledged.len(),
            "{note}: {} of {} are there",
            self.applied,
            acknowledged.len()
        );
        let mvcc = self.machine.mvcc();
        let all = mvcc.range(&RangeQuery::of(KeyRange::all())).expect("readable").1;
        for pair in all.kvs {
            // The revision of a key tells which command wrote it: they take turns between the keyspaces.
            let place = usize::try_from(pair.mod_revision.0 - 2).expect("small") * 2;
            let value = String::from_utf8(pair.value.to_vec()).expect("text");
            assert_eq!(pair.key, key(place).into_bytes(), "{note}: place {place}");
            assert_eq!(place, newest_place(place, self.applied), "{note}: an older value shows at {place}");
            check_value(&value, place, acknowledged, note);
        }
        for place in (1..self.applied).step_by(2).filter(|place| *place == newest_place(*place, self.applied))
        {
            let get = v2::Get { path: path(place), recursive: false, sorted: false };
            let event = self
                .machine
                .v2()
                .get(&get, Timestamp(0))
                .unwrap_or_else(|refusal| panic!("{note}: {refusal:?}"));
            let value = String::from_utf8(event.node.value.expect("a file").to_vec()).expect("text");
            check_value(&value, place, acknowledged, note);
        }
    }

    /// What was acknowledged until now. What the database has in memory is lost.
    pub(crate) fn end(self) -> Vec<String> {
        self.acknowledged
    }

    fn work(&mut self) -> Result<(), Stop> {
        while let Some(output) = self.replica.output() {
            let run: Vec<Entry> = output
                .committed
                .iter()
                .map(|entry| Entry { index: entry.index, term: entry.term, data: entry.data.clone() })
                .collect();
            if !run.is_empty() {
                self.machine.apply(&run).expect("applies");
                self.replica.applied(self.machine.position().index);
                self.applied = self.count();
                // Everything proposed before and lost is overtaken by what is acknowledged now.
                let tickets: Vec<String> = output
                    .committed
                    .into_iter()
                    .flat_map(|entry| entry.tickets)
                    .map(|(_, ticket)| ticket)
                    .collect();
                if !tickets.is_empty() {
                    self.acknowledged.truncate(self.applied - tickets.len());
                    while self.acknowledged.len() < self.applied - tickets.len() {
                        // Survived without having been acknowledged: from now on it is known to be there.
                        let place = self.acknowledged.len();
                        self.acknowledged.push(self.value_at(place).unwrap_or_default());
                    }
                    self.acknowledged.extend(tickets);
                }
            }
            if let Some(append) = output.append {
                let mut batch = Batch::new();
                append.write_into(&mut batch);
                self.wal.append(&mut batch, Durability::Synced).map_err(|_| Stop::PowerIsGone)?;
                self.replica.persisted(append.number);
            }
        }
        Ok(())
    }

    /// Commands applied since the cluster began, as both keyspaces tell it.
    fn count(&self) -> usize {
        let v3 = usize::try_from(self.machine.mvcc().revision().0 - 1).expect("small");
        let v2 = usize::try_from(self.machine.v2().index() - V2_FIRST).expect("small");
        // They take turns, v3 first: anything else is a hole.
        assert!(v3 == v2 || v3 == v2 + 1, "v3 saw {v3} commands and v2 {v2}: they are not a prefix");
        v3 + v2
    }

    fn value_at(&self, place: usize) -> Option<String> {
        let value = if place.is_multiple_of(2) {
            let mut query = RangeQuery::of(KeyRange::single(key(place)));
            query.at = Some(types::Revision(place as u64 / 2 + 2));
            self.machine.mvcc().range(&query).ok()?.1.kvs.pop()?.value
        } else {
            let get = v2::Get { path: path(place), recursive: false, sorted: false };
            let node = self.machine.v2().get(&get, Timestamp(0)).ok()?.node;
            (node.modified_index == place as u64 / 2 + 1 + V2_FIRST).then_some(node.value?)?
        };
        String::from_utf8(value.to_vec()).ok()
    }
}

fn open_log(disks: &Disks) -> Result<(Wal, HardState), Stop> {
    let identity = Identity { cluster: 1, member: MEMBER.0, salt: 3 };
    let config = wal::Config { background: false, segment_bytes: 4096, ..wal::Config::new(identity) };
    let (mut wal, recovered) =
        Wal::open(Arc::new(disks.log.clone()), &config).map_err(|error| match error {
            wal::OpenError::Disk(_) => Stop::PowerIsGone,
            error => Stop::Refused(error.to_string()),
        })?;
    if recovered.last_index >= BOOTSTRAP_INDEX {
        return Ok((wal, recovered.hard_state));
    }
    let hard_state = HardState { term: BOOTSTRAP_TERM, vote: 0, commit: BOOTSTRAP_INDEX };
    wal.reset_to(BOOTSTRAP_INDEX, BOOTSTRAP_TERM, Some(hard_state)).map_err(|_| Stop::PowerIsGone)?;
    Ok((wal, hard_state))
}

fn founder() -> MemberRecord {
    MemberRecord {
        id: MEMBER,
        name: "n".to_owned(),
        peer_urls: vec!["http://127.0.0.1:2380".to_owned()],
        client_urls: Vec::new(),
        learner: false,
    }
}

/// The command at a place: even ones write v3, odd ones v2. A value that was lost may come back only if it was
/// proposed at that place.
fn command(place: usize, value: &str) -> Command {
    let value = Bytes::copy_from_slice(value.as_bytes());
    if place.is_multiple_of(2) {
        Command::Put(Put {
            key: key(place),
            value,
            lease: LeaseId::NONE,
            prev_kv: false,
            ignore_value: false,
            ignore_lease: false,
        })
    } else {
        let write =
            Write::Set { path: path(place), value, dir: false, expiry: Expiry::Never, refresh: false };
        Command::V2 { write, now: Timestamp(0) }
    }
}

fn key(place: usize) -> Key {
    Key::new(format!("k{}", place / 2 % KEYS).into()).expect("not empty")
}

fn path(place: usize) -> Path {
    Path::clean(&format!("/k{}", place / 2 % KEYS))
}

fn check_value(value: &str, place: usize, acknowledged: &[String], note: &str) {
    assert!(value.ends_with(&format!(" place {place}")), "{note}: {value:?} was never proposed at {place}");
    // Nothing is known of a command that survived unacknowledged and was overwritten before anybody looked.
    if let Some(expected) = acknowledged.get(place).filter(|expected| !expected.is_empty()) {
        assert_eq!(value, expected, "{note}: place {place}");
    }
}

/// The newest place below `applied` that writes the same key of the same keyspace.
fn newest_place(place: usize, applied: usize) -> usize {
    let period = 2 * KEYS;
    place + (applied - 1 - place) / period * period
}
