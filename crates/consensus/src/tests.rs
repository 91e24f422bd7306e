//! The replica of a cluster of one, step by step, on a real log on a disk that can lose power; and the driver.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use types::{Index, MemberId, Term};
use wal::double::{DoubleDisk, Loss};
use wal::{Batch, Durability, HardState, Identity, Wal};

use super::*;
use crate::driver::Refused;

mod chance;
mod cluster;
mod lagging;
mod net;
mod threads;

type TestReplica = Replica<&'static str, &'static str>;

fn open(disk: &DoubleDisk) -> (Wal, HardState) {
    let config =
        wal::Config { background: false, ..wal::Config::new(Identity { cluster: 1, member: 7, salt: 3 }) };
    let (mut wal, recovered) = Wal::open(Arc::new(disk.clone()), &config).expect("the log opens");
    let mut hard_state = recovered.hard_state;
    if recovered.last_index < BOOTSTRAP_INDEX {
        hard_state = HardState { term: BOOTSTRAP_TERM, vote: 0, commit: BOOTSTRAP_INDEX };
        wal.reset_to(BOOTSTRAP_INDEX, BOOTSTRAP_TERM, Some(hard_state)).expect("the log begins");
    }
    (wal, hard_state)
}

fn config(applied: u64) -> ReplicaConfig {
    ReplicaConfig {
        member: MemberId(7),
        voters: vec![MemberId(7)],
        learners: Vec::new(),
        election_ticks: 10,
        heartbeat_ticks: 1,
        applied: Index(applied),
        boot_nonce: 5,
        seed: 1,
    }
}

fn replica(wal: &Wal, hard_state: HardState, applied: u64) -> TestReplica {
    Replica::new(&config(applied), wal.reader(), hard_state, Arc::new(NoSnapshots))
        .expect("the replica starts")
}

fn propose(replica: &mut TestReplica, proposals: &[(&'static str, &'static str)]) {
    let mut proposals = proposals
        .iter()
        .map(|(data, ticket)| Proposal {
            data: Bytes::from_static(data.as_bytes()),
            ticket: *ticket,
            kind: Kind::Normal,
        })
        .collect();
    replica.propose(&mut proposals);
}

/// Does the work of one output; what was committed and released, as text.
fn work(replica: &mut TestReplica, wal: &mut Wal) -> Vec<String> {
    let mut story = Vec::new();
    while let Some(output) = replica.output() {
        for entry in output.committed {
            let data = String::from_utf8_lossy(&entry.data).into_owned();
            let tickets: Vec<_> = entry.tickets.iter().map(|(_, ticket)| ticket).collect();
            story.push(format!("{}@{} {data} {tickets:?}", entry.index, entry.term));
        }
        for read in output.readable {
            story.push(format!("read at {} {:?}", read.index, read.tickets));
        }
        if let Some(append) = output.append {
            write(wal, &append);
            replica.persisted(append.number);
        }
    }
    story
}

fn write(wal: &mut Wal, append: &Append) {
    let mut batch = Batch::new();
    append.write_into(&mut batch);
    wal.append(&mut batch, Durability::Synced).expect("the disk works");
}

#[test]
fn the_first_leader_has_term_two_and_reads_wait_for_its_first_commit() {
    let (mut wal, hard_state) = open(&DoubleDisk::default());
    let mut replica = replica(&wal, hard_state, BOOTSTRAP_INDEX);
    replica.read(&mut vec!["r"]);
    // Its vote for itself is not on disk: nobody is told that it leads.
    assert_eq!((replica.standing().role, replica.standing().leader), (Role::Candidate, MemberId(0)));
    assert!(!replica.standing().confirmed);
    assert_eq!(work(&mut replica, &mut wal), ["2@2  []", "read at 2 [\"r\"]"]);
    let standing = replica.standing();
    assert_eq!((standing.term, standing.leader, standing.role), (Term(2), MemberId(7), Role::Leader));
    assert!(standing.confirmed);
}

#[test]
fn proposals_that_wait_together_travel_in_one_entry() {
    let (mut wal, hard_state) = open(&DoubleDisk::default());
    let mut replica = replica(&wal, hard_state, BOOTSTRAP_INDEX);
    propose(&mut replica, &[("a", "1"), ("b", "2")]);
    assert_eq!(work(&mut replica, &mut wal), ["2@2  []", "3@2 ab [\"1\", \"2\"]"]);
    propose(&mut replica, &[("c", "3")]);
    assert_eq!(work(&mut replica, &mut wal), ["4@2 c [\"3\"]"]);
}

#[test]
fn nothing_is_committed_before_it_is_on_disk() {
    let (mut wal, hard_state) = open(&DoubleDisk::default());
    let mut replica = replica(&wal, hard_state, BOOTSTRAP_INDEX);
    work(&mut replica, &mut wal);
    propose(&mut replica, &[("a", "1")]);
    let first = replica.output().expect("work").append.expect("entries to write");
    propose(&mut replica, &[("b", "2")]);
    let output = replica.output().expect("work");
    assert!(output.committed.is_empty());
    let second = output.append.expect("entries to write");
    write(&mut wal, &first);
    write(&mut wal, &second);
    replica.persisted(first.number);
    let committed = replica.output().expect("work").committed;
    assert_eq!(committed.iter().map(|entry| entry.index.0).collect::<Vec<_>>(), [3]);
    replica.persisted(second.number);
    let committed = replica.output().expect("work").committed;
    assert_eq!(committed.iter().map(|entry| entry.index.0).collect::<Vec<_>>(), [4]);
}

#[test]
fn reads_alone_leave_nothing_behind() {
    let (mut wal, hard_state) = open(&DoubleDisk::default());
    let mut replica = replica(&wal, hard_state, BOOTSTRAP_INDEX);
    work(&mut replica, &mut wal);
    let last_index = wal.last_index();
    for _ in 0..10_000 {
        replica.read(&mut vec!["r"]);
        assert_eq!(work(&mut replica, &mut wal), ["read at 2 [\"r\"]"]);
    }
    assert_eq!(wal.last_index(), last_index);
    assert!(replica.work_unconfirmed() <= 1, "raft's records of work must not pile up");
}

#[test]
fn a_crash_loses_no_committed_entry_and_the_machine_catches_up_from_the_log() {
    let disk = DoubleDisk::default();
    let (mut wal, hard_state) = open(&disk);
    let mut replica_before = replica(&wal, hard_state, BOOTSTRAP_INDEX);
    work(&mut replica_before, &mut wal);
    propose(&mut replica_before, &[("a", "1")]);
    work(&mut replica_before, &mut wal);
    drop((replica_before, wal));

    let (mut wal, hard_state) = open(&disk.power_loss(Loss::All));
    let mut replica = replica(&wal, hard_state, BOOTSTRAP_INDEX);
    // The machine had put nothing into files, so everything is handed out again, without tickets.
    assert_eq!(work(&mut replica, &mut wal), ["2@2  []", "3@2 a []", "4@3  []"]);
}

#[test]
fn a_database_that_is_ahead_of_its_log_is_refused() {
    let (wal, hard_state) = open(&DoubleDisk::default());
    let refused = TestReplica::new(&config(9), wal.reader(), hard_state, Arc::new(NoSnapshots));
    assert!(matches!(refused.err(), Some(LogError::Behind { applied: 9, last: 1 })));
}

#[derive(Default)]
struct Seen {
    committed: Vec<&'static str>,
    released: Vec<&'static str>,
    failed: bool,
}

#[derive(Clone, Default)]
struct Watcher(Arc<(Mutex<Seen>, Condvar)>);

impl Watcher {
    fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.0.0.lock());
        self.0.1.notify_all();
    }

    fn wait(&self, what: &str, until: impl Fn(&Seen) -> bool) {
        let mut seen = self.0.0.lock();
        while !until(&seen) {
            assert!(
                !self.0.1.wait_for(&mut seen, Duration::from_secs(20)).timed_out(),
                "waited in vain for {what}"
            );
        }
    }
}

impl Sink<&'static str, &'static str> for Watcher {
    fn committed(&self, entries: Vec<Committed<&'static str>>) {
        self.note(|seen| {
            seen.committed
                .extend(entries.into_iter().flat_map(|entry| entry.tickets).map(|(_, ticket)| ticket));
        });
    }
    fn rouse(&self) {}
    fn apply_here(&self) {}
    fn readable(&self, reads: Vec<Readable<&'static str>>) {
        self.note(|seen| seen.released.extend(reads.into_iter().flat_map(|read| read.tickets)));
    }
    fn refused(&self, _tickets: Vec<(&'static str, NotTaken)>) {}
    fn messages(&self, _messages: Vec<Envelope>) {}
    fn offer(&self, _offer: SnapshotOffer) {}
    fn install(&self, _mark: &SnapshotMark) -> Result<(), String> {
        Err("nobody offers any".to_owned())
    }
    fn standing(&self, _standing: Standing) {}
    fn failed(&self, _failure: Failure) {
        self.note(|seen| seen.failed = true);
    }
}

fn drive(disk: &DoubleDisk) -> (Driver<&'static str, &'static str>, Watcher) {
    drive_slowly(disk, Duration::from_millis(10))
}

fn drive_slowly(disk: &DoubleDisk, tick: Duration) -> (Driver<&'static str, &'static str>, Watcher) {
    let (wal, hard_state) = open(disk);
    let replica = replica(&wal, hard_state, BOOTSTRAP_INDEX);
    let watcher = Watcher::default();
    let config = DriverConfig { tick, waiting_max: 64 };
    let driver = Driver::start(
        config,
        replica,
        wal,
        |_| Arc::new(watcher.clone()),
        Arc::new(AtomicU64::new(BOOTSTRAP_INDEX)),
    )
    .expect("threads start");
    (driver, watcher)
}

#[test]
fn the_driver_commits_reads_and_stops() {
    let (driver, watcher) = drive(&DoubleDisk::default());
    driver.propose(Bytes::from_static(b"a"), Kind::Normal, "write").expect("taken");
    driver.read("read").expect("taken");
    watcher.wait("the write and the read", |seen| seen.committed == ["write"] && seen.released == ["read"]);
    driver.stop();
    assert_eq!(driver.propose(Bytes::new(), Kind::Normal, "late").err(), Some(Refused::Stopped));
}

#[test]
fn a_failed_sync_ends_the_driver_and_commits_nothing_more() {
    let disk = DoubleDisk::default();
    let (driver, watcher) = drive(&disk);
    driver.propose(Bytes::from_static(b"a"), Kind::Normal, "before").expect("taken");
    watcher.wait("the first write", |seen| seen.committed == ["before"]);
    disk.fail_sync(disk.writes_and_syncs().1);
    driver.propose(Bytes::from_static(b"b"), Kind::Normal, "after").expect("taken");
    watcher.wait("the failure", |seen| seen.failed);
    while driver.propose(Bytes::from_static(b"c"), Kind::Normal, "late").err() != Some(Refused::Stopped) {
        std::thread::yield_now();
    }
    driver.stop();
    assert_eq!(watcher.0.0.lock().committed, ["before"]);
}

#[test]
fn nothing_that_was_brought_is_overlooked() {
    // Without ticks nothing but the ones who bring something has the replica see it.
    let (driver, watcher) = drive_slowly(&DoubleDisk::default(), Duration::from_hours(1));
    let (threads, each) = (8, 500);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for number in 0..each {
                    loop {
                        let taken = if number % 3 == 0 {
                            driver.read("read")
                        } else {
                            driver.propose(Bytes::from_static(b"c"), Kind::Normal, "write")
                        };
                        match taken {
                            Ok(nudge) => break drop(nudge),
                            Err(Refused::Busy) => std::thread::yield_now(),
                            Err(Refused::Stopped) => panic!("nobody stopped it"),
                        }
                    }
                }
            });
        }
    });
    let all = threads * each;
    watcher.wait("all of them", |seen| seen.committed.len() + seen.released.len() == all);
    driver.stop();
}
