//! Who waits for what happens in the v2 keyspace, and is told of it.
//!
//! Whoever applies brings the events, in order; each wait has a short queue of its own. One that does not take what
//! it is told in time is told the rest from the history of the keyspace, as long as that remembers it. So who is slow
//! costs nobody else anything, and misses nothing that is still known.
//!
//! INVARIANT: a wait is told each event that concerns it from its first index on, once and in order, or it ends.
//! INVARIANT: nothing here waits for a client.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use api::{V2Events, V2News};
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;
use types::v2::{Event, Refusal, Watch};
use v2store::{Missed, V2Store, concerns, ends_directory, lineage};

use crate::rooms::Wing;

/// Events that wait to be taken by one wait; beyond that it reads on in the history. etcd drops it there.
const EVENTS_WAITING_MAX: usize = 100;

/// See the module.
#[derive(Default)]
pub(crate) struct Waits {
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
    told: Notify,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Arc<V2News>>,
    /// Nothing before this index is told any more.
    next: u64,
    /// The queue was full at `next`: the rest is in the history.
    behind: bool,
    /// Nothing more comes into the queue.
    ended: bool,
}

/// What a wait finds when it looks.
enum Found {
    News(Arc<V2News>),
    Nothing,
    Behind,
    End,
}

impl Waits {
    /// Begins a wait on the keyspace of now, and tells where that stands.
    pub(crate) fn begin(
        self: &Arc<Self>,
        watch: Watch,
        wing: &Arc<Wing>,
    ) -> Result<(u64, Box<dyn V2Events>), Refusal> {
        // Before the keyspace is looked at: who applies an event after that look sees that somebody waits.
        self.count.fetch_add(1, Ordering::SeqCst);
        let mut registry = self.registry.lock();
        let looked = look(&watch, &wing.look().v2);
        let (index, state) = looked.inspect_err(|_| {
            self.count.fetch_sub(1, Ordering::SeqCst);
        })?;
        registry.last += 1;
        let number = registry.last;
        let path = watch.path.as_str().to_owned();
        let wait = Arc::new(Wait { watch, number, state: Mutex::new(state), told: Notify::new() });
        registry.by_path.entry(path).or_default().insert(number, Arc::clone(&wait));
        drop(registry);
        let events = Seat { waits: Arc::clone(self), wing: Arc::clone(wing), wait };
        Ok((index, Box::new(events)))
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
        let registry = self.registry.lock();
        for event in events.iter().filter(|event| !event.refresh) {
            registry.tell(event);
        }
    }

    /// Another keyspace took the place of the one that had come to `index`: tells what happened between.
    pub(crate) fn resume(&self, index: u64, keyspace: &V2Store) {
        if self.count() == 0 {
            return;
        }
        let registry = self.registry.lock();
        for wait in registry.by_path.values().flat_map(BTreeMap::values) {
            let mut state = wait.state.lock();
            if !state.behind {
                state.next = state.next.max(index + 1);
            }
            wait.read_on(&mut state, keyspace);
            drop(state);
            wait.told.notify_one();
        }
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
        self.count.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Registry {
    fn tell(&self, event: &Arc<Event>) {
        let key = event.node.key.as_str();
        let mut news = None;
        let above = lineage(key).filter_map(|path| self.by_path.get(path));
        above.for_each(|here| tell_all(here, event, &mut news));
        if ends_directory(event) {
            // All paths below a directory, and nothing else, lie between `/directory/` and `/directory0`.
            let below = self.by_path.range(format!("{key}/")..format!("{key}0"));
            below.for_each(|(_, here)| tell_all(here, event, &mut news));
        }
    }
}

fn tell_all(here: &BTreeMap<u64, Arc<Wait>>, event: &Arc<Event>, news: &mut Option<Arc<V2News>>) {
    for wait in here.values().filter(|wait| concerns(&wait.watch, event)) {
        let news = news.get_or_insert_with(|| news_of(Arc::clone(event)));
        if wait.state.lock().offer(news, wait.watch.stream) {
            wait.told.notify_one();
        }
    }
}

fn news_of(event: Arc<Event>) -> Arc<V2News> {
    Arc::new(V2News { event, wire: OnceLock::new() })
}

/// Where the keyspace stands, and what a wait that begins now finds there.
fn look(watch: &Watch, keyspace: &V2Store) -> Result<(u64, State), Refusal> {
    let Some(since) = watch.since else {
        let index = keyspace.index();
        return Ok((index, State { next: index + 1, ..State::default() }));
    };
    let mut state = State { next: since, ..State::default() };
    let missed = keyspace.seek(watch, since, state.room(watch))?;
    let index = missed.index;
    state.absorb(missed, watch.stream);
    Ok((index, state))
}

impl Wait {
    /// Goes on in the history, as far as there is room.
    fn read_on(&self, state: &mut State, keyspace: &V2Store) {
        if state.ended {
            return;
        }
        match keyspace.seek(&self.watch, state.next, state.room(&self.watch)) {
            Ok(missed) => state.absorb(missed, self.watch.stream),
            // What it would be told next is forgotten. Ending is all that can be said once an answer has begun.
            Err(_) => state.ended = true,
        }
    }

    fn find(&self) -> Found {
        let mut state = self.state.lock();
        match state.queue.pop_front() {
            Some(news) => Found::News(news),
            None if state.ended => Found::End,
            None if state.behind => Found::Behind,
            None => Found::Nothing,
        }
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
        if self.queue.len() >= EVENTS_WAITING_MAX {
            self.next = news.event.index;
            self.behind = true;
            return true;
        }
        self.next = news.event.index + 1;
        self.queue.push_back(Arc::clone(news));
        self.ended = !stream;
        true
    }

    /// Takes a piece of the history in.
    fn absorb(&mut self, missed: Missed, stream: bool) {
        self.queue.extend(missed.events.into_iter().map(news_of));
        self.next = missed.next;
        self.ended = !stream && !self.queue.is_empty();
        self.behind = missed.next <= missed.index;
    }
}

/// The end of a wait that its owner holds.
struct Seat {
    waits: Arc<Waits>,
    wing: Arc<Wing>,
    wait: Arc<Wait>,
}

#[async_trait]
impl V2Events for Seat {
    async fn next(&mut self) -> Option<Arc<V2News>> {
        loop {
            match self.wait.find() {
                Found::News(news) => return Some(news),
                Found::End => return None,
                Found::Nothing => self.wait.told.notified().await,
                Found::Behind => {
                    // Nothing is told to anybody meanwhile, so that it is neither missed nor told twice.
                    let _registry = self.waits.registry.lock();
                    self.wait.read_on(&mut self.wait.state.lock(), &self.wing.look().v2);
                }
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.waits.end(&self.wait);
    }
}

#[cfg(test)]
#[path = "waits_tests.rs"]
mod tests;
