//! Who waits for what happens in the v2 keyspace, and is told of it.
//!
//! Whoever applies brings the events, in order; each wait has a short queue of its own. One that does not take what
//! it is told in time is told the rest from the history of the keyspace, as long as that remembers it. So who is slow
//! costs nobody else anything, and misses nothing that is still known.
//!
//! INVARIANT: a wait is told each event that concerns it from its first index on, once and in order, or it ends.
//! INVARIANT: nothing here waits for a client.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use api::{V2Events, V2News};
use async_trait::async_trait;
use bridge::Missed;
use mvcc::ReadError;
use parking_lot::Mutex;
use stdx::{Bell, Ringing, chain};
use types::v2::{Event, Refusal, Watch};
use v2store::{concerns, ends_directory, lineage};

use crate::bridging::Bridging;
use crate::rooms::{Rooms, Wing};

/// Events that wait to be taken by one wait; beyond that it reads on in the history. etcd drops it there.
const EVENTS_WAITING_MAX: usize = 100;

/// See the module.
pub(crate) struct Waits {
    bridging: Arc<Bridging>,
    // How many there are; looked at without the lock by who applies.
    count: AtomicUsize,
    registry: Mutex<Registry>,
}

#[derive(Default)]
struct Registry {
    /// By path, then in the order in which they came. Their number is bounded by that of open requests.
    by_path: BTreeMap<String, BTreeMap<u64, Arc<Wait>>>,
    last: u64,
}

/// One who waits.
struct Wait {
    watch: Watch,
    number: u64,
    state: Mutex<State>,
    /// Of the thread on which it waits.
    bell: Option<Arc<Bell>>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Arc<V2News>>,
    /// Nothing before this index is told any more.
    next: u64,
    /// Nor the first so many that concern it at exactly this index: all changes of one v3 revision have one index.
    told: usize,
    /// The queue was full at `next`: the rest is in the history.
    behind: bool,
    /// Nothing more comes into the queue.
    ended: bool,
    /// Who looks again when there is something to see.
    waker: Option<Waker>,
}

/// What a wait finds when there is something to see.
enum Found {
    News(Arc<V2News>),
    Behind,
    End,
}

/// A wait that has begun, and where the keyspace stood.
type Begun = (u64, Box<dyn V2Events>);

impl Waits {
    /// Waits for what v2 shows.
    pub(crate) fn new(bridging: Arc<Bridging>) -> Self {
        Self { bridging, count: AtomicUsize::new(0), registry: Mutex::default() }
    }

    /// Begins a wait on the keyspace of now, and tells where that stands.
    pub(crate) fn begin(
        self: &Arc<Self>,
        watch: Watch,
        wing: &Arc<Wing>,
    ) -> Result<Result<Begun, Refusal>, ReadError> {
        // Before the keyspace is looked at: who applies an event after that look sees that somebody waits.
        let counted = Counted::new(self);
        let mut registry = self.registry.lock();
        let (index, state) = match self.look(&watch, &wing.look())? {
            Ok(looked) => looked,
            Err(refusal) => return Ok(Err(refusal)),
        };
        registry.last += 1;
        let number = registry.last;
        let path = watch.path.as_str().to_owned();
        let wait = Arc::new(Wait { watch, number, state: Mutex::new(state), bell: Bell::here() });
        registry.by_path.entry(path).or_default().insert(number, Arc::clone(&wait));
        drop(registry);
        Ok(Ok((index, Box::new(Seat { counted, wing: Arc::clone(wing), wait }))))
    }

    /// How many wait.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Tells events that were just applied to those whom they concern.
    pub(crate) fn tell(&self, events: &[Arc<Event>]) {
        if self.count() == 0 {
            return;
        }
        let mut ringing = Ringing::default();
        let registry = self.registry.lock();
        for event in events.iter().filter(|event| !event.refresh) {
            registry.tell(event, &mut ringing);
        }
        drop(registry);
        ringing.done();
    }

    /// Another keyspace took the place of one: tells what happened between.
    pub(crate) fn resume(&self, old: &Rooms, new: &Rooms) {
        if self.count() == 0 {
            return;
        }
        let index = self.index(old);
        let registry = self.registry.lock();
        for wait in registry.by_path.values().flat_map(BTreeMap::values) {
            let mut state = wait.state.lock();
            if !state.behind && state.next <= index {
                (state.next, state.told) = (index + 1, 0);
            }
            self.read_on(wait, &mut state, new);
            let waker = state.waker.take();
            drop(state);
            waker.into_iter().for_each(Waker::wake);
        }
    }

    fn index(&self, rooms: &Rooms) -> u64 {
        match self.bridging.layout() {
            Some(_) => rooms.mvcc.revision().0,
            None => rooms.v2.index(),
        }
    }

    /// Where the keyspace stands, and what a wait that begins now finds there.
    fn look(&self, watch: &Watch, rooms: &Rooms) -> Result<Result<(u64, State), Refusal>, ReadError> {
        let Some(since) = watch.since else {
            let index = self.index(rooms);
            return Ok(Ok((index, State { next: index + 1, ..State::default() })));
        };
        let mut state = State { next: since, ..State::default() };
        Ok(self.seek(watch, &state, rooms)?.map(|missed| {
            let index = missed.index;
            state.absorb(missed, watch.stream);
            (index, state)
        }))
    }

    /// Goes on in the history, as far as there is room.
    fn read_on(&self, wait: &Wait, state: &mut State, rooms: &Rooms) {
        if state.ended {
            return;
        }
        match self.seek(&wait.watch, state, rooms) {
            Ok(Ok(missed)) => state.absorb(missed, wait.watch.stream),
            // What it would be told next is forgotten. Ending is all that can be said once an answer has begun.
            Ok(Err(_)) => state.ended = true,
            Err(error) => {
                tracing::error!(error = chain(&error), "the history cannot be read for who waits in v2");
                state.ended = true;
            }
        }
    }

    fn seek(
        &self,
        watch: &Watch,
        state: &State,
        rooms: &Rooms,
    ) -> Result<Result<Missed, Refusal>, ReadError> {
        let room = state.room(watch);
        if let Some(news) = self.bridging.news(rooms) {
            return news.seek(state.next, state.told, room, &|event| concerns(watch, event));
        }
        // Here each event has an index of its own.
        let since = if state.told > 0 { state.next + 1 } else { state.next };
        Ok(rooms.v2.seek(watch, since, room).map(|missed| {
            let v2store::Missed { events, next, index } = missed;
            Missed { events, next, told: 0, index }
        }))
    }

    fn end(&self, wait: &Wait) {
        let mut registry = self.registry.lock();
        let path = wait.watch.path.as_str();
        if let Some(here) = registry.by_path.get_mut(path) {
            here.remove(&wait.number);
            if here.is_empty() {
                registry.by_path.remove(path);
            }
        }
    }
}

impl Registry {
    fn tell(&self, event: &Arc<Event>, ringing: &mut Ringing) {
        let key = event.node.key.as_str();
        let mut news = None;
        let above = lineage(key).filter_map(|path| self.by_path.get(path));
        above.for_each(|here| tell_all(here, event, &mut news, ringing));
        if ends_directory(event) {
            // All paths below a directory, and nothing else, lie between `/directory/` and `/directory0`.
            let below = self.by_path.range(format!("{key}/")..format!("{key}0"));
            below.for_each(|(_, here)| tell_all(here, event, &mut news, ringing));
        }
    }
}

fn tell_all(
    here: &BTreeMap<u64, Arc<Wait>>,
    event: &Arc<Event>,
    news: &mut Option<Arc<V2News>>,
    ringing: &mut Ringing,
) {
    for wait in here.values().filter(|wait| concerns(&wait.watch, event)) {
        let news = news.get_or_insert_with(|| news_of(Arc::clone(event)));
        let mut state = wait.state.lock();
        let waker = if state.offer(news, wait.watch.stream) { state.waker.take() } else { None };
        drop(state);
        if let Some(waker) = waker {
            ringing.wake(waker, wait.bell.as_ref());
        }
    }
}

fn news_of(event: Arc<Event>) -> Arc<V2News> {
    Arc::new(V2News { event, wire: OnceLock::new() })
}

impl Wait {
    fn poll_find(&self, context: &mut Context<'_>) -> Poll<Found> {
        let mut state = self.state.lock();
        Poll::Ready(match state.queue.pop_front() {
            Some(news) => Found::News(news),
            None if state.ended => Found::End,
            None if state.behind => Found::Behind,
            None => {
                state.waker = Some(context.waker().clone());
                return Poll::Pending;
            }
        })
    }
}

impl State {
    /// How many more events it may be told for now.
    fn room(&self, watch: &Watch) -> usize {
        if watch.stream { EVENTS_WAITING_MAX.saturating_sub(self.queue.len()) } else { 1 }
    }

    /// Takes an event in, if it is still wanted. Whether there is something new to see.
    fn offer(&mut self, news: &Arc<V2News>, stream: bool) -> bool {
        if self.ended || self.behind || news.event.index < self.next {
            return false;
        }
        if news.event.index > self.next {
            (self.next, self.told) = (news.event.index, 0);
        }
        if self.queue.len() >= EVENTS_WAITING_MAX {
            self.behind = true;
            return true;
        }
        self.told += 1;
        self.queue.push_back(Arc::clone(news));
        self.ended = !stream;
        true
    }

    /// Takes a piece of the history in.
    fn absorb(&mut self, missed: Missed, stream: bool) {
        self.queue.extend(missed.events.into_iter().map(news_of));
        (self.next, self.told) = (missed.next, missed.told);
        self.ended = !stream && !self.queue.is_empty();
        self.behind = missed.next <= missed.index;
    }
}

/// Counts a wait for as long as it lives.
struct Counted(Arc<Waits>);

impl Counted {
    fn new(waits: &Arc<Waits>) -> Self {
        waits.count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(waits))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The end of a wait that its owner holds.
struct Seat {
    counted: Counted,
    wing: Arc<Wing>,
    wait: Arc<Wait>,
}

impl Seat {
    /// Reads on in the history; whether there is still more of it, and nothing to tell yet.
    fn read_on(&self) -> bool {
        let waits = &self.counted.0;
        // Nothing is told to anybody meanwhile, so that it is neither missed nor told twice.
        let _registry = waits.registry.lock();
        let mut state = self.wait.state.lock();
        waits.read_on(&self.wait, &mut state, &self.wing.look());
        state.behind && state.queue.is_empty() && !state.ended
    }
}

#[async_trait]
impl V2Events for Seat {
    async fn next(&mut self) -> Option<Arc<V2News>> {
        loop {
            match poll_fn(|context| self.wait.poll_find(context)).await {
                Found::News(news) => return Some(news),
                Found::End => return None,
                Found::Behind => {
                    if self.read_on() {
                        // A long way back: others of this lane have their turn between.
                        tokio::task::yield_now().await;
                    }
                }
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.counted.0.end(&self.wait);
    }
}

#[cfg(test)]
#[path = "waits_tests.rs"]
mod tests;
