//! What watches cost: memory of idle ones, and time to bring an event to a thousand of them. Prints what it measured,
//! and asserts bounds that only a different order of growth would break.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mvcc::{Changes, Mvcc};
use store::{Options, Store};
use types::{Key, KeyRange, LeaseId, Put, RangeEnd, Revision, WatchSpec};
use watch::{Hub, Limits, Outbox, Reply, StreamId};

struct Bench {
    store: Arc<Store>,
    mvcc: Arc<Mvcc>,
    hub: Hub,
}

impl Bench {
    fn new() -> Self {
        let store = Arc::new(Store::open(Path::new("/cost"), &Options::in_memory()).expect("open"));
        let mvcc = Arc::new(Mvcc::open(Arc::clone(&store)).expect("open"));
        let hub = Hub::new(Arc::clone(&mvcc), Limits::default());
        Self { store, mvcc, hub }
    }

    /// A publication of so many puts.
    fn put(&self, keys: impl Iterator<Item = String>) -> Changes {
        let mut writer = self.mvcc.begin();
        for key in keys {
            let put = Put {
                key: Key::new(key.into()).expect("not empty"),
                value: Bytes::from_static(&[b'v'; 100]),
                lease: LeaseId::NONE,
                prev_kv: false,
                ignore_value: false,
                ignore_lease: false,
            };
            writer.put(&put).expect("put");
        }
        let mut batch = self.store.batch();
        writer.stage(&mut batch);
        self.store.write(batch).expect("written");
        writer.publish()
    }

    fn watch(&mut self, stream: u64, key: String, start: Option<u64>) {
        let range = KeyRange { start: key.into(), end: RangeEnd::Single };
        let spec = WatchSpec {
            range,
            start: start.map(Revision),
            progress_notify: false,
            without_puts: false,
            without_deletes: false,
            prev_kv: false,
            fragment: false,
            id: None,
        };
        self.hub.create(StreamId(stream), &spec, Instant::now());
    }

    fn open(&mut self, streams: u64) -> Vec<Arc<Outbox>> {
        let open = |stream| {
            let outbox = Arc::new(Outbox::default());
            self.hub.open(StreamId(stream), Arc::clone(&outbox), false);
            outbox
        };
        (0..streams).map(open).collect()
    }
}

/// Reads all that waits; how many events these were.
fn read(bench: &mut Bench, outboxes: &[Arc<Outbox>], replies: &mut VecDeque<Reply>) -> usize {
    let mut events = 0;
    for (stream, outbox) in (0..).zip(outboxes) {
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(taken) = outbox.poll_take(&mut context, replies) {
            if taken == (watch::Taken::Replies { room: true }) {
                bench.hub.room(StreamId(stream));
            }
            for reply in replies.drain(..) {
                if let watch::Body::Events { events: some, .. } = reply.body {
                    events += some.len();
                }
            }
        }
    }
    events
}

/// What this thread has taken of the processors so far.
fn processor_time() -> Duration {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let taken = schedstat.split(' ').next().and_then(|taken| taken.parse().ok());
    Duration::from_nanos(taken.expect("a number"))
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize = statm.split(' ').nth(1).expect("a second number").parse().expect("a number");
    pages * 4096
}

#[test]
fn what_watches_cost() {
    memory();
    for streams in [1, 10, 1000] {
        one_key_to_a_thousand(streams);
    }
    thousand_keys_to_a_thousand();
    ten_thousand_catch_up();
}

fn memory() {
    const WATCHES: usize = 100_000;
    let mut bench = Bench::new();
    let outboxes = bench.open(10);
    let before = resident_bytes();
    for at in 0..WATCHES {
        bench.watch(at as u64 % 10, format!("/registry/pods/{at:012}"), None);
        if at % 1000 == 999 {
            read(&mut bench, &outboxes, &mut VecDeque::new());
        }
    }
    let each = resident_bytes().saturating_sub(before) / WATCHES;
    eprintln!("{each} bytes for an idle watch, with a key of 26 bytes");
    assert!(each <= 200, "{each} bytes for an idle watch");
}

fn one_key_to_a_thousand(streams: u64) {
    const PUTS: usize = 2_000;
    let mut bench = Bench::new();
    let outboxes = bench.open(streams);
    (0..1000).for_each(|at| bench.watch(at % streams, "key".to_owned(), None));
    let mut replies = VecDeque::new();
    read(&mut bench, &outboxes, &mut replies);
    let (mut events, mut taken) = (0, Duration::ZERO);
    for _ in 0..PUTS {
        let changes = bench.put(std::iter::once("key".to_owned()));
        let began = processor_time();
        bench.hub.apply(changes).expect("undamaged");
        events += read(&mut bench, &outboxes, &mut replies);
        taken += processor_time().saturating_sub(began);
    }
    assert_eq!(events, PUTS * 1000);
    tell(&format!("1 key to 1000 watches of {streams} streams"), events, taken);
}

fn thousand_keys_to_a_thousand() {
    const PUTS: usize = 200;
    let mut bench = Bench::new();
    let outboxes = bench.open(10);
    (0..1000).for_each(|at| bench.watch(at % 10, format!("key{at}"), None));
    let mut replies = VecDeque::new();
    read(&mut bench, &outboxes, &mut replies);
    let (mut events, mut taken) = (0, Duration::ZERO);
    for _ in 0..PUTS {
        let changes = bench.put((0..1000).map(|at| format!("key{at}")));
        let began = processor_time();
        bench.hub.apply(changes).expect("undamaged");
        events += read(&mut bench, &outboxes, &mut replies);
        taken += processor_time().saturating_sub(began);
    }
    assert_eq!(events, PUTS * 1000);
    tell("1000 keys to one watch each, of 10 streams", events, taken);
}

fn ten_thousand_catch_up() {
    const CHANGES: usize = 100_000;
    let mut bench = Bench::new();
    for from in (0..CHANGES).step_by(1000) {
        drop(bench.put((from..from + 1000).map(|at| format!("key{}", at % 10_000))));
    }
    let outboxes = bench.open(100);
    (0..10_000).for_each(|at| bench.watch(at % 100, format!("key{at}"), Some(2)));
    let mut replies = VecDeque::new();
    let (mut events, mut pieces) = (0, 0);
    let began = processor_time();
    while let Some(fetch) = bench.hub.wanted() {
        bench.hub.fetched(fetch.run()).expect("undamaged");
        events += read(&mut bench, &outboxes, &mut replies);
        pieces += 1;
    }
    assert_eq!((events, bench.hub.counts().lagging), (CHANGES, 0));
    tell(
        &format!("10,000 lagging watches, {pieces} pieces of history"),
        events,
        processor_time().saturating_sub(began),
    );
    assert!(pieces <= 2 * CHANGES / 1000, "{pieces} pieces were read");
}

fn tell(what: &str, events: usize, taken: Duration) {
    let each = taken.as_nanos() / events as u128;
    eprintln!("{what}: {events} events in {taken:?}, {each} ns each");
    assert!(each < 20_000, "{each} ns for an event");
}
