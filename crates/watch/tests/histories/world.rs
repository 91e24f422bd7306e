//! A keyspace, a hub, what is on its way between them, and readers.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mvcc::{Changes, Mvcc};
use store::{Direction, Family, Options, Span, Store};
use types::{DeleteRange, Key, KeyRange, LeaseId, Put, RangeEnd, Revision, Txn, TxnOp, WatchId, WatchSpec};
use watch::{Fetch, Fetched, Hub, Limits, Outbox, StreamId, Taken};

use crate::chance::Chance;
use crate::check::{Counts, Past, Reader};

enum Way {
    Changes(Changes),
    Lost,
    Replaced(Arc<Mvcc>),
    Fetched(Fetched),
    Create(StreamId, WatchSpec),
    Cancel(StreamId, WatchId),
    Progress(StreamId),
    Room(StreamId),
}

struct Client {
    id: StreamId,
    outbox: Arc<Outbox>,
    reader: Reader,
    // One in so many steps it reads.
    pace: u64,
}

pub(crate) struct World {
    chance: Chance,
    store: Arc<Store>,
    mvcc: Arc<Mvcc>,
    hub: Hub,
    limits: Limits,
    way: VecDeque<Way>,
    fetch: Option<Fetch>,
    clients: Vec<Client>,
    past: Past,
    now: Instant,
    streams: u64,
    pub(crate) seen: Counts,
    pub(crate) lagged: usize,
}

fn open() -> Arc<Store> {
    Arc::new(Store::open(Path::new("/db"), &Options::in_memory()).expect("open"))
}

fn put(key: &[u8], value: Bytes) -> Put {
    let key = Key::new(Bytes::copy_from_slice(key)).expect("not empty");
    Put { key, value, lease: LeaseId::NONE, prev_kv: false, ignore_value: false, ignore_lease: false }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed + 1);
        let store = open();
        let mvcc = Arc::new(Mvcc::open(Arc::clone(&store)).expect("open"));
        let limits = Limits {
            replies_max: 1 + chance.below(4) as usize,
            bytes_max: 1 + chance.below(2_000) as usize,
            piece_changes_max: 1 + chance.below(8) as usize,
            piece_bytes_max: 1 + chance.below(100) as usize,
            join_revisions_max: chance.below(4),
            progress_every: Duration::from_secs(5),
            ..Limits::default()
        };
        let hub = Hub::new(Arc::clone(&mvcc), limits);
        let mut world = Self {
            chance,
            store,
            mvcc,
            hub,
            limits,
            way: VecDeque::new(),
            fetch: None,
            clients: Vec::new(),
            past: Past::default(),
            now: Instant::now(),
            streams: 0,
            seen: Counts::default(),
            lagged: 0,
        };
        world.connect();
        world
    }

    pub(crate) fn step(&mut self) {
        match self.chance.below(100) {
            0..35 => self.write(),
            35..37 => self.compact(),
            40..50 => self.create(),
            50..53 => self.ask_cancel(),
            53..57 => self.ask_progress(),
            57..60 => self.connect(),
            60 => self.disconnect(),
            61 => self.restart(),
            62 => self.install(),
            63..75 => self.now += Duration::from_millis(self.chance.below(1_000)),
            _ => {}
        }
        for _ in 0..self.chance.below(4) {
            self.arrive();
        }
        if self.chance.one_in(2) {
            self.read_history();
        }
        for at in 0..self.clients.len() {
            if self.chance.one_in(self.clients[at].pace) {
                self.read(at);
            }
        }
    }

    /// Until nothing is under way.
    pub(crate) fn rest(&mut self) {
        for client in 0..self.clients.len() {
            self.way.push_back(Way::Progress(self.clients[client].id));
        }
        let mut quiet = 0;
        let mut rounds = 0;
        while quiet < 3 {
            rounds += 1;
            assert!(rounds < 100_000, "it never rests");
            quiet += 1;
            if !self.way.is_empty() || self.fetch.is_some() {
                quiet = 0;
            }
            self.arrive();
            self.read_history();
            for at in 0..self.clients.len() {
                if self.read(at) {
                    quiet = 0;
                }
            }
        }
        let counts = self.hub.counts();
        assert_eq!((counts.lagging, counts.owed), (0, 0), "nobody lags at rest");
        for client in &mut self.clients {
            client.reader.rests(&self.past);
        }
        while !self.clients.is_empty() {
            self.part(0);
        }
        assert_eq!(self.hub.counts(), watch::Counts::default());
    }

    fn arrive(&mut self) {
        match self.way.pop_front() {
            Some(Way::Changes(changes)) => self.hub.apply(changes).expect("undamaged"),
            Some(Way::Lost) => self.hub.lost(),
            Some(Way::Replaced(mvcc)) => self.hub.replace(mvcc),
            Some(Way::Fetched(fetched)) => self.hub.fetched(fetched).expect("undamaged"),
            Some(Way::Create(stream, spec)) => self.hub.create(stream, &spec, self.now),
            Some(Way::Cancel(stream, id)) => self.hub.cancel(stream, id),
            Some(Way::Progress(stream)) => self.hub.progress(stream),
            Some(Way::Room(stream)) => self.hub.room(stream),
            None => {}
        }
        self.hub.tick(self.now);
        self.hub.settle();
        if self.fetch.is_none() {
            self.fetch = self.hub.wanted();
        }
        self.lagged += usize::from(self.hub.counts().lagging > 0);
    }

    fn read_history(&mut self) {
        if let Some(fetch) = self.fetch.take() {
            self.way.push_back(Way::Fetched(fetch.run()));
        }
    }

    fn read(&mut self, at: usize) -> bool {
        let client = &mut self.clients[at];
        let mut replies = VecDeque::new();
        let mut context = Context::from_waker(Waker::noop());
        match client.outbox.poll_take(&mut context, &mut replies) {
            Poll::Pending => return false,
            Poll::Ready(Taken::Ended(end)) => panic!("{end:?}"),
            Poll::Ready(Taken::Replies { room }) => {
                if room {
                    self.way.push_back(Way::Room(client.id));
                }
            }
        }
        for reply in replies {
            client.reader.reads(&reply, &self.past);
        }
        true
    }

    fn write(&mut self) {
        let changes = self.change();
        if self.clients.is_empty() {
            return;
        }
        if self.chance.one_in(20) {
            self.way.push_back(Way::Lost);
        } else {
            self.way.push_back(Way::Changes(changes));
        }
    }

    /// A few requests in one publication.
    fn change(&mut self) -> Changes {
        let mvcc = Arc::clone(&self.mvcc);
        let mut writer = mvcc.begin();
        for _ in 0..=self.chance.below(3) {
            let revision = writer.revision().0 + 1;
            let mut txn = Txn::default();
            for number in 0..=self.chance.below(3) {
                // Each operation has keys of its own, so that their order is that of the events.
                let key = vec![b'a' + number as u8, b'0' + self.chance.below(3) as u8];
                if self.chance.one_in(3) {
                    let end = Bytes::from(vec![b'a' + number as u8, b'0' + self.chance.below(5) as u8]);
                    let start = Key::new(key.clone().into()).expect("not empty");
                    let range = KeyRange::from_wire(start, end);
                    let doomed: Vec<Vec<u8>> =
                        self.past.keys.keys().filter(|key| range.contains(key)).cloned().collect();
                    for key in doomed {
                        self.past.delete(revision, &key);
                    }
                    txn.success.push(TxnOp::Delete(DeleteRange { range, prev_kv: false }));
                } else {
                    let value = vec![b'v'; self.chance.below(40) as usize];
                    self.past.put(revision, &key, &value);
                    txn.success.push(TxnOp::Put(put(&key, value.into())));
                }
            }
            writer.txn(&txn).expect("done");
        }
        let mut batch = self.store.batch();
        writer.stage(&mut batch);
        self.store.write(batch).expect("written");
        writer.publish()
    }

    fn compact(&mut self) {
        let mvcc = Arc::clone(&self.mvcc);
        let target = mvcc.revision().0.saturating_sub(self.chance.below(8));
        let mut writer = mvcc.begin();
        if writer.compact(target as i64).is_ok() {
            let mut batch = self.store.batch();
            writer.stage(&mut batch);
            self.store.write(batch).expect("written");
            writer.publish();
            self.past.compacted = target;
        } else {
            drop(writer);
        }
        mvcc.sweep(self.chance.below(20) as usize).expect("swept");
    }

    fn connect(&mut self) {
        self.streams += 1;
        let (id, outbox) = (StreamId(self.streams), Arc::new(Outbox::default()));
        self.hub.open(id, Arc::clone(&outbox), false);
        let pace = [1, 1, 3, 20][self.chance.below(4) as usize];
        self.clients.push(Client { id, outbox, reader: Reader::default(), pace });
    }

    fn disconnect(&mut self) {
        if !self.clients.is_empty() {
            let at = self.chance.below(self.clients.len() as u64) as usize;
            self.part(at);
        }
    }

    fn part(&mut self, at: usize) {
        let client = self.clients.swap_remove(at);
        self.hub.close(client.id);
        let counts = client.reader.counts;
        self.seen.events += counts.events;
        self.seen.compacted += counts.compacted;
        self.seen.progress += counts.progress;
    }

    fn any(&mut self) -> Option<usize> {
        (!self.clients.is_empty()).then(|| self.chance.below(self.clients.len() as u64) as usize)
    }

    fn create(&mut self) {
        let Some(at) = self.any() else { return };
        let current = self.mvcc.revision().0;
        let start = match self.chance.below(3) {
            0 => None,
            1 => Some(Revision(1 + self.chance.below(current + 6))),
            _ => Some(Revision(current.saturating_sub(self.chance.below(10)).max(1))),
        };
        let start_key = vec![b'a' + self.chance.below(4) as u8, b'0' + self.chance.below(4) as u8];
        let range = match self.chance.below(4) {
            0 => KeyRange::single(Key::new(start_key.into()).expect("not empty")),
            1 => KeyRange::all(),
            2 => KeyRange { start: start_key.into(), end: RangeEnd::Unbounded },
            _ => {
                let end = vec![b'a' + self.chance.below(5) as u8, b'0' + self.chance.below(4) as u8];
                KeyRange { start: start_key.into(), end: RangeEnd::Before(end.into()) }
            }
        };
        let spec = WatchSpec {
            range,
            start,
            progress_notify: self.chance.one_in(3),
            without_puts: self.chance.one_in(5),
            without_deletes: self.chance.one_in(5),
            prev_kv: self.chance.one_in(2),
            fragment: self.chance.one_in(5),
            id: self.chance.one_in(6).then(|| WatchId(self.chance.below(6) as i64)),
        };
        let client = &mut self.clients[at];
        client.reader.asks(spec.clone(), current);
        self.way.push_back(Way::Create(client.id, spec));
    }

    fn ask_cancel(&mut self) {
        let Some(at) = self.any() else { return };
        let ids = self.clients[at].reader.ids();
        if !ids.is_empty() {
            let id = ids[self.chance.below(ids.len() as u64) as usize];
            self.way.push_back(Way::Cancel(self.clients[at].id, id));
        }
    }

    fn ask_progress(&mut self) {
        if let Some(at) = self.any() {
            self.way.push_back(Way::Progress(self.clients[at].id));
        }
    }

    /// All connections break; the keyspace is what the store holds.
    fn restart(&mut self) {
        while !self.clients.is_empty() {
            self.part(0);
        }
        self.way.clear();
        self.fetch = None;
        self.mvcc = Arc::new(Mvcc::open(Arc::clone(&self.store)).expect("open"));
        self.hub = Hub::new(Arc::clone(&self.mvcc), self.limits);
    }

    /// A copy of the keyspace that has gone on without this member takes its place.
    fn install(&mut self) {
        let store = open();
        let mut batch = store.batch();
        for family in [Family::Meta, Family::Keys, Family::Revisions] {
            let mut rows = self.store.scan(family, &Span::default(), Direction::Forward);
            while let Some((key, value)) = rows.row() {
                batch.put(family, key, value);
                rows.step();
            }
        }
        store.write(batch).expect("written");
        self.store = Arc::clone(&store);
        self.mvcc = Arc::new(Mvcc::open(store).expect("open"));
        for _ in 0..self.chance.below(6) {
            self.change();
            if self.chance.one_in(4) {
                self.compact();
            }
        }
        self.way.push_back(Way::Replaced(Arc::clone(&self.mvcc)));
    }
}
