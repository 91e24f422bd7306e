//! Three members with all their threads, on disks in memory and lines without delay.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use types::{Index, MemberId, Term};
use wal::double::DoubleDisk;
use wal::{HardState, Identity, Wal};

use crate::{
    BOOTSTRAP_INDEX, BOOTSTRAP_TERM, Change, Committed, Door, Driver, DriverConfig, Envelope, Failure, Kind,
    Mailbox, NotTaken, Readable, Refused, Replica, ReplicaConfig, Role, Sink, SnapshotMark, SnapshotOffer,
    SnapshotSource, Standing,
};

type Lines = Arc<Vec<Mailbox<Envelope>>>;

/// A machine that only counts: its state is how many entries it has seen.
struct House {
    id: MemberId,
    lines: Lines,
    applied: Arc<AtomicU64>,
    term: AtomicU64,
    answered: AtomicU64,
    refused: AtomicU64,
    installed: AtomicU64,
    failure: Mutex<Option<String>>,
    door: Door<(), ()>,
}

impl Sink<(), ()> for House {
    fn messages(&self, messages: Vec<Envelope>) {
        for message in messages {
            let _ = self.lines[message.to.0 as usize].put(message);
        }
    }
    fn committed(&self, entries: Vec<Committed<()>>) {
        for entry in entries {
            assert_eq!(self.applied.load(Ordering::Relaxed) + 1, entry.index.0, "a hole");
            if let Some(change) = entry.change {
                self.door.change_applied(change);
            }
            self.term.store(entry.term.0, Ordering::Relaxed);
            self.applied.store(entry.index.0, Ordering::Release);
            self.answered.fetch_add(entry.tickets.len() as u64, Ordering::Relaxed);
        }
    }
    fn rouse(&self) {}
    fn apply_here(&self) {}
    fn readable(&self, reads: Vec<Readable<()>>) {
        let many: usize = reads.iter().map(|read| read.tickets.len()).sum();
        self.answered.fetch_add(many as u64, Ordering::Relaxed);
    }
    fn refused(&self, tickets: Vec<((), NotTaken)>) {
        self.refused.fetch_add(tickets.len() as u64, Ordering::Relaxed);
    }
    fn standing(&self, _standing: Standing) {}
    fn offer(&self, offer: SnapshotOffer) {
        self.door.snapshot_fetched(offer);
    }
    fn install(&self, mark: &SnapshotMark) -> Result<(), String> {
        // Reason to sleep: as a real one it takes its time, and turns go on meanwhile.
        thread::sleep(Duration::from_millis(30));
        self.term.store(mark.term.0, Ordering::Relaxed);
        self.applied.store(mark.index.0, Ordering::Release);
        self.installed.store(mark.index.0, Ordering::Release);
        Ok(())
    }
    fn failed(&self, failure: Failure) {
        *self.failure.lock() = Some(failure.to_string());
    }
}

/// Snapshots of a machine that has nothing to copy.
struct Counts {
    applied: Arc<AtomicU64>,
    reader: wal::WalReader,
}

impl SnapshotSource for Counts {
    fn latest(&self, at_least: Index, to: MemberId) -> Option<SnapshotMark> {
        let index = self.applied.load(Ordering::Acquire);
        let term = self.reader.term(index)?;
        (index >= at_least.0).then(|| SnapshotMark {
            index: Index(index),
            term: Term(term),
            voters: [1, 2, 3].map(MemberId).to_vec(),
            learners: Some(to).filter(|to| to.0 > 3).into_iter().collect(),
            id: Bytes::new(),
        })
    }
}

struct Member {
    driver: Arc<Driver<(), ()>>,
    house: Arc<House>,
    line: Option<JoinHandle<()>>,
}

fn start(id: u64, lines: &Lines, founder: bool) -> Member {
    let identity = Identity { cluster: 1, member: id, salt: 3 };
    let (mut wal, recovered) =
        Wal::open(Arc::new(DoubleDisk::default()), &wal::Config::new(identity)).expect("opens");
    let mut hard_state = recovered.hard_state;
    if founder {
        hard_state = HardState { term: BOOTSTRAP_TERM, vote: 0, commit: BOOTSTRAP_INDEX };
        wal.reset_to(BOOTSTRAP_INDEX, BOOTSTRAP_TERM, Some(hard_state)).expect("begins");
    }
    let first = if founder { BOOTSTRAP_INDEX } else { 0 };
    let config = ReplicaConfig {
        member: MemberId(id),
        voters: [1, 2, 3].map(MemberId).to_vec(),
        learners: Vec::new(),
        election_ticks: 10,
        heartbeat_ticks: 1,
        applied: Index(first),
        boot_nonce: id,
        seed: id,
    };
    let applied = Arc::new(AtomicU64::new(first));
    let source = Arc::new(Counts { applied: Arc::clone(&applied), reader: wal.reader() });
    let replica = Replica::new(&config, wal.reader(), hard_state, source).expect("starts");
    // An election takes half a second and patience ends after five: a busy machine holds threads up for less.
    let driver_config = DriverConfig { tick: Duration::from_millis(50), waiting_max: 4096 };
    let mut house = None;
    let sink = |door: Door<(), ()>| {
        let made = Arc::new(House {
            id: MemberId(id),
            lines: Arc::clone(lines),
            applied: Arc::clone(&applied),
            term: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            installed: AtomicU64::new(0),
            failure: Mutex::new(None),
            door,
        });
        house = Some(Arc::clone(&made));
        made as Arc<dyn Sink<(), ()>>
    };
    let driver =
        Driver::start(driver_config, replica, wal, sink, Arc::clone(&applied)).expect("threads start");
    let house = house.expect("it was made");
    let line = thread::spawn({
        let (lines, house) = (Arc::clone(lines), Arc::clone(&house));
        move || {
            let mut taken = Vec::new();
            while lines[id as usize].take(&mut taken, None) {
                house.door.receive(std::mem::take(&mut taken));
            }
        }
    });
    Member { driver: Arc::new(driver), house, line: Some(line) }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.driver.stop();
        self.house.lines[self.house.id.0 as usize].close();
        if let Some(line) = self.line.take() {
            line.join().expect("no panic");
        }
    }
}

fn wait(what: &str, members: &[Member], until: impl Fn() -> bool) {
    let began = Instant::now();
    while !until() {
        for member in members {
            assert_eq!(*member.house.failure.lock(), None, "{} failed", member.house.id);
        }
        assert!(began.elapsed() < Duration::from_mins(1), "waited in vain for {what}");
        thread::yield_now();
    }
}

fn bring(driver: &Driver<(), ()>, number: u64) {
    loop {
        let taken = if number.is_multiple_of(4) {
            driver.read(())
        } else {
            driver.propose(Bytes::from_static(b"command"), Kind::Normal, ())
        };
        match taken {
            Ok(nudge) => return drop(nudge),
            Err(Refused::Busy) => thread::yield_now(),
            Err(Refused::Stopped) => panic!("nobody stopped it"),
        }
    }
}

#[test]
fn writes_and_reads_at_every_member_are_all_answered_and_a_new_member_catches_up() {
    let lines: Lines = Arc::new((0..=4).map(|_| Mailbox::new()).collect());
    let mut members: Vec<_> = (1..=3).map(|id| start(id, &lines, true)).collect();
    let leads = |member: &Member| member.driver.survey().role == Role::Leader;
    wait("a leader", &members, || members.iter().any(leads));
    let each = 3000;
    thread::scope(|scope| {
        for member in &members {
            for _ in 0..2 {
                let driver = &member.driver;
                scope.spawn(move || (0..each).for_each(|number| bring(driver, number)));
            }
        }
    });
    let done = |member: &Member| member.house.answered.load(Ordering::Relaxed) == 2 * each;
    wait("all answers", &members, || members.iter().all(done));
    assert!(members.iter().all(|member| member.house.refused.load(Ordering::Relaxed) == 0));

    wait("a leader still or again", &members, || members.iter().any(leads));
    let Some(leader) = members.iter().position(leads) else { panic!("the lead went away between two looks") };
    // A machine that is quick puts thousands of commands into a few entries.
    let applied = members[leader].house.applied.load(Ordering::Acquire);
    members[leader].driver.release(Index(applied.saturating_sub(10)));
    members.push(start(4, &lines, false));
    let add = Kind::Change(Change::AddLearner(MemberId(4)));
    drop(members[leader].driver.propose(Bytes::from_static(b"add"), add, ()).expect("taken"));
    wait("the snapshot", &members, || members[3].house.installed.load(Ordering::Acquire) > 0);
    (0..100).for_each(|number| bring(&members[3].driver, number));
    wait("its own", &members, || members[3].house.answered.load(Ordering::Relaxed) == 100);

    let next = MemberId(u64::from(leader == 0) + 1);
    members[leader].driver.transfer(next);
    (0..100).for_each(|number| bring(&members[leader].driver, number));
    wait("the new leader", &members, || leads(&members[next.0 as usize - 1]));
    let all = 2 * each + 100;
    let answered = |at: usize| members[at].house.answered.load(Ordering::Relaxed);
    // And the one who asked for the new member.
    wait("what came meanwhile", &members, || answered(leader) == all + 1);
}
