//! Waits on a real keyspace, without a member around them.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use apply::{Entry, Machine};
use command::{Command, Effect};
use store::{Options, Store};
use types::v2::{Expiry, Path, Timestamp, Write};
use types::{Index, Term};

use super::*;
use crate::rooms::Rooms;

/// A keyspace that is applied to, and waits on it.
struct Bench {
    machine: Machine,
    wing: Arc<Wing>,
    waits: Arc<Waits>,
}

fn machine() -> Machine {
    let store = Store::open(std::path::Path::new("/waits"), &Options::in_memory()).expect("open");
    Machine::open(Arc::new(store)).expect("open")
}

fn waits(prefix: Option<&str>) -> Arc<Waits> {
    Arc::new(Waits::new(Arc::new(Bridging::new(prefix, Arc::new(stdx::SystemClock)))))
}

impl Bench {
    fn new() -> Self {
        let machine = machine();
        let wing = Arc::new(Wing::new(Rooms::of(&machine)));
        Self { machine, wing, waits: waits(None) }
    }

    /// Applies a write and does not tell it yet.
    fn apply(machine: &mut Machine, write: Write) -> Vec<Arc<Event>> {
        let data = Command::V2 { write, now: Timestamp(0) }.encode();
        let index = Index(machine.position().index.0 + 1);
        let applied = machine.apply(&[Entry { index, term: Term(1), data }]).expect("applied");
        let outcome = applied.outcomes.into_iter().flatten().next().expect("one outcome");
        match outcome.result {
            Ok(Effect::V2(Ok(events))) => events,
            other => panic!("{other:?}"),
        }
    }

    fn set(&mut self, path: &str) {
        let events = Self::apply(&mut self.machine, set(path, false));
        self.waits.tell(&events);
    }

    fn wait(&self, path: &str, stream: bool, since: Option<u64>) -> (u64, Box<dyn V2Events>) {
        let watch = Watch { path: Path::clean(path), recursive: true, stream, since };
        self.waits.begin(watch, &self.wing).expect("it is readable").expect("it is remembered")
    }
}

fn set(path: &str, refresh: bool) -> Write {
    let (value, dir, expiry) = (bytes::Bytes::new(), false, Expiry::Never);
    Write::Set { path: Path::clean(path), value, dir, expiry, refresh }
}

/// What a wait is told now: indexes, and whether it is over.
fn told(events: &mut dyn V2Events) -> (Vec<u64>, bool) {
    let mut indexes = Vec::new();
    loop {
        let next = pin!(events.next());
        match next.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(news)) => indexes.push(news.event.index),
            Poll::Ready(None) => return (indexes, true),
            Poll::Pending => return (indexes, false),
        }
    }
}

#[test]
fn the_first_event_ends_a_wait_and_a_stream_goes_on() {
    let mut bench = Bench::new();
    bench.set("/a");
    let (index, mut once) = bench.wait("/a", false, None);
    let (_, mut stream) = bench.wait("/a", true, None);
    assert_eq!((index, told(&mut *once)), (4, (vec![], false)));
    bench.set("/b");
    bench.set("/a");
    bench.set("/a/../a");
    assert_eq!(told(&mut *once), (vec![6], true));
    assert_eq!(told(&mut *stream), (vec![6, 7], false));
    assert_eq!(bench.waits.count(), 2);
    drop((once, stream));
    assert_eq!((bench.waits.count(), bench.waits.registry.lock().by_path.len()), (0, 0));
}

#[test]
fn what_is_past_is_told_first_and_nothing_is_told_twice() {
    let mut bench = Bench::new();
    for _ in 0..5 {
        bench.set("/a");
    }
    let (index, mut once) = bench.wait("/", false, Some(6));
    let (_, mut stream) = bench.wait("/", true, Some(6));
    let (_, mut later) = bench.wait("/", true, Some(10));
    assert_eq!(index, 8);
    // Applied before the wait began, told after it.
    let events = Bench::apply(&mut bench.machine, set("/a", false));
    let (_, mut between) = bench.wait("/", true, Some(8));
    bench.waits.tell(&events);
    bench.set("/a");
    assert_eq!(told(&mut *once), (vec![6], true));
    assert_eq!(told(&mut *stream), (vec![6, 7, 8, 9, 10], false));
    assert_eq!(told(&mut *between), (vec![8, 9, 10], false));
    assert_eq!(told(&mut *later), (vec![10], false));
}

#[test]
fn a_slow_stream_reads_on_in_the_history_and_ends_when_that_has_forgotten() {
    let mut bench = Bench::new();
    let (_, mut slow) = bench.wait("/", true, None);
    let (_, mut too_slow) = bench.wait("/", true, None);
    for _ in 0..900 {
        bench.set("/a");
    }
    assert!(slow_queue_max(&bench) <= EVENTS_WAITING_MAX);
    assert_eq!(told(&mut *slow), ((4..904).collect(), false));
    for _ in 0..300 {
        bench.set("/a");
    }
    assert_eq!(told(&mut *slow), ((904..1204).collect(), false));
    let (indexes, over) = told(&mut *too_slow);
    assert_eq!((indexes, over), ((4..104).collect(), true));
    let watch = Watch { path: Path::clean("/"), recursive: true, stream: false, since: Some(203) };
    let refusal = bench.waits.begin(watch, &bench.wing).expect("readable").err().expect("forgotten");
    assert_eq!((refusal.code, refusal.index), (401, 1203));
    assert_eq!(refusal.cause, "the requested history has been cleared [204/203]");
    assert_eq!(bench.waits.count(), 2);
}

fn slow_queue_max(bench: &Bench) -> usize {
    let registry = bench.waits.registry.lock();
    let waits = registry.by_path.values().flat_map(BTreeMap::values);
    waits.map(|wait| wait.state.lock().queue.len()).max().unwrap_or(0)
}

#[test]
fn a_refreshed_node_is_told_to_nobody() {
    let mut bench = Bench::new();
    bench.set("/a");
    let (_, mut stream) = bench.wait("/a", true, Some(4));
    let events = Bench::apply(&mut bench.machine, set("/a", true));
    bench.waits.tell(&events);
    bench.set("/a");
    assert_eq!(told(&mut *stream), (vec![4, 6], false));
}

#[test]
fn an_installed_snapshot_takes_nothing_from_a_wait() {
    let mut bench = Bench::new();
    bench.set("/a");
    let (_, mut once) = bench.wait("/a", false, None);
    let (_, mut stream) = bench.wait("/", true, None);
    let (_, mut future) = bench.wait("/", true, Some(7));
    let mut other = machine();
    for path in ["/a", "/b", "/a", "/a", "/c"] {
        Bench::apply(&mut other, set(path, false));
    }
    let rooms = Rooms::of(&other);
    let old = bench.wing.replace(Arc::clone(&rooms));
    bench.waits.resume(&old, &rooms);
    bench.machine = other;
    bench.set("/d");
    assert_eq!(told(&mut *once), (vec![6], true));
    assert_eq!(told(&mut *stream), (vec![5, 6, 7, 8, 9], false));
    assert_eq!(told(&mut *future), (vec![7, 8, 9], false));
}

/// A keyspace of v3 that v2 shows, and waits on it.
struct Bridge {
    machine: Machine,
    wing: Arc<Wing>,
    waits: Arc<Waits>,
}

impl Bridge {
    fn new() -> Self {
        let machine = machine();
        let wing = Arc::new(Wing::new(Rooms::of(&machine)));
        Self { machine, wing, waits: waits(Some("/p/")) }
    }

    fn apply(&mut self, command: &Command) -> mvcc::Changes {
        let index = Index(self.machine.position().index.0 + 1);
        let entry = Entry { index, term: Term(1), data: command.encode() };
        self.machine.apply(&[entry]).expect("applied").changes
    }

    fn tell(&self, changes: &mvcc::Changes) {
        let events = self.waits.bridging.events(&self.wing.look(), changes).expect("readable");
        self.waits.tell(&events);
    }

    fn do_all(&mut self, command: &Command) {
        let changes = self.apply(command);
        self.tell(&changes);
    }

    fn wait(&self, stream: bool, since: Option<u64>) -> Result<(u64, Box<dyn V2Events>), Refusal> {
        let watch = Watch { path: Path::clean("/"), recursive: true, stream, since };
        self.waits.begin(watch, &self.wing).expect("it is readable")
    }
}

/// One revision with this many keys.
fn puts(keys: usize) -> Command {
    let put = |key: usize| {
        types::TxnOp::Put(types::Put {
            key: types::Key::new(format!("/p/{key:03}").into()).expect("not empty"),
            value: "v".into(),
            lease: types::LeaseId::NONE,
            prev_kv: false,
            ignore_value: false,
            ignore_lease: false,
        })
    };
    let success = (0..keys).map(put).collect();
    Command::Txn(types::Txn { compare: Vec::new(), success, failure: Vec::new() })
}

#[test]
fn all_events_of_a_revision_are_told_once_however_slow_the_stream_is() {
    let mut bridge = Bridge::new();
    let (index, mut live) = bridge.wait(true, None).expect("remembered");
    assert_eq!(index, 1);
    bridge.do_all(&puts(3));
    assert_eq!(told(&mut *live), (vec![2, 2, 2], false));
    // More than wait for it, and the end of the queue in the middle of a revision.
    for _ in 0..4 {
        bridge.do_all(&puts(70));
    }
    let expect: Vec<u64> = (3..7).flat_map(|index| std::iter::repeat_n(index, 70)).collect();
    assert_eq!(told(&mut *live), (expect.clone(), false));
    let (_, mut past) = bridge.wait(true, Some(3)).expect("remembered");
    // Applied before it looks again, told after that.
    let changes = bridge.apply(&puts(2));
    let (_, mut between) = bridge.wait(true, Some(6)).expect("remembered");
    bridge.tell(&changes);
    assert_eq!(told(&mut *past), ([expect.clone(), vec![7, 7]].concat(), false));
    assert_eq!(told(&mut *between), ([vec![6; 70], vec![7, 7]].concat(), false));
    assert_eq!(told(&mut *live), (vec![7, 7], false));
    let (_, mut once) = bridge.wait(false, Some(5)).expect("remembered");
    assert_eq!(told(&mut *once), (vec![5], true));
}

#[test]
fn a_snapshot_brings_a_bridged_wait_what_it_missed_and_compaction_is_401() {
    let mut bridge = Bridge::new();
    let (_, mut live) = bridge.wait(true, None).expect("remembered");
    bridge.do_all(&puts(1));
    let mut other = Bridge::new();
    for _ in 0..3 {
        other.apply(&puts(2));
    }
    let rooms = Rooms::of(&other.machine);
    let old = bridge.wing.replace(Arc::clone(&rooms));
    bridge.waits.resume(&old, &rooms);
    bridge.machine = other.machine;
    bridge.do_all(&puts(1));
    assert_eq!(told(&mut *live), (vec![2, 3, 3, 4, 4, 5], false));
    bridge.do_all(&Command::Compact(4));
    let refusal = bridge.wait(false, Some(3)).err().expect("forgotten");
    assert_eq!((refusal.code, refusal.index), (401, 5));
    assert_eq!(refusal.cause, "the requested history has been cleared [4/3]");
}
