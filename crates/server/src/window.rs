//! The window, where changes go out to whoever watches: what goes to its hub, and the two threads behind it.
//!
//! The applier leaves what it changed and goes on, clients leave what they ask for, the history's reader leaves what it
//! has read; one thread, `watch`, takes all that waits and goes with it to the hub. `watch-history` reads for it. While
//! there is little to tell, who applied goes to the hub itself: waking a thread would cost more.
//!
//! INVARIANT: what was left is taken only by who has the hub, so it gets there in order.
//! INVARIANT: a watch that was created at a revision is told of everything after it: the applier looks whether there
//! are streams after it has published, and a watch looks at the revision after its stream is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::time::{Duration, Instant};

use api::Fault;
use consensus::Mailbox;
use mvcc::{Change, Changes, Mvcc, ReadError};
use parking_lot::Mutex;
use stdx::chain;
use types::{MemberId, WatchId, WatchSpec};
use watch::{Counts, End, Fetch, Fetched, Hub, Limits, Outbox, StreamId};

use crate::shared::Shared;

/// Changes that wait for the thread, in bytes. Beyond it they are not told: who watches gets them from the history.
const CHANGES_BYTES_MAX: usize = 32 << 20;
/// Streams of all clients; more are refused as too many requests.
const STREAMS_MAX: usize = 65_536;
/// Asks of one stream that wait for the thread; a stream that asks faster is ended as too many requests.
pub(crate) const ASKS_MAX: usize = 65_536;
/// Room for so many asks is kept from one visit to the next.
const ASKS_KEPT_MAX: usize = 1024;
/// A stream that wants a leader ends when there was none for so many election timeouts, as in etcd.
const ELECTIONS_WITHOUT_LEADER: u32 = 3;

/// Who applied tells at most so many runs of changes itself, and no more changes than this together.
const TOLD_HERE_MAX: usize = 8;
/// And only if the last visit to the hub was no longer than this.
const SHORT: Duration = Duration::from_micros(40);

/// A stream at the window.
pub(crate) struct Seat {
    pub(crate) id: StreamId,
    pub(crate) outbox: Arc<Outbox>,
    /// Asks that wait for the thread.
    pub(crate) asks: AtomicUsize,
}

/// What goes to the hub.
pub(crate) enum Ask {
    Open { seat: Arc<Seat>, requires_leader: bool },
    Create(Arc<Seat>, Box<WatchSpec>),
    Cancel(Arc<Seat>, WatchId),
    Progress(Arc<Seat>),
    Room(StreamId),
    Close(StreamId),
    Changes(Changes, usize),
    Lost,
    Rooms(Arc<Mvcc>),
    Rouse,
    Fetched(Fetched),
}

/// See the module.
pub(crate) struct Window {
    // Bounded by what is counted here: bytes of changes, streams, asks of a stream; one piece of history at a time.
    asks: Mailbox<Ask>,
    fetches: Mailbox<Fetch>,
    streams: AtomicUsize,
    next: AtomicU64,
    changes_bytes: AtomicUsize,
    lost: AtomicBool,
    numbers: Mutex<Numbers>,
    desk: Mutex<Desk>,
    // The last visit to the hub was short.
    short: AtomicBool,
    shared: Arc<Shared>,
    election: Duration,
}

/// What the hub counts; events that wait are counted from time to time.
#[derive(Clone, Copy, Default)]
pub(crate) struct Numbers {
    pub(crate) counts: Counts,
    pub(crate) pending: usize,
}

impl Window {
    /// `election` is the election timeout.
    pub(crate) fn new(limits: Limits, mvcc: &Arc<Mvcc>, shared: &Arc<Shared>, election: Duration) -> Self {
        let now = Instant::now();
        let desk = Desk { hub: Hub::new(Arc::clone(mvcc), limits), asks: Vec::new(), looked: now, led: now };
        Self {
            asks: Mailbox::new(),
            fetches: Mailbox::new(),
            desk: Mutex::new(desk),
            short: AtomicBool::new(true),
            shared: Arc::clone(shared),
            election,
            streams: AtomicUsize::new(0),
            next: AtomicU64::new(0),
            changes_bytes: AtomicUsize::new(0),
            lost: AtomicBool::new(false),
            numbers: Mutex::default(),
        }
    }

    /// A stream begins.
    pub(crate) fn open(&self, requires_leader: bool) -> Result<Arc<Seat>, Fault> {
        if self.streams.fetch_add(1, Ordering::SeqCst) >= STREAMS_MAX {
            self.streams.fetch_sub(1, Ordering::SeqCst);
            return Err(Fault::TooManyRequests);
        }
        let id = StreamId(self.next.fetch_add(1, Ordering::Relaxed));
        let seat = Arc::new(Seat { id, outbox: Arc::new(Outbox::here()), asks: AtomicUsize::new(0) });
        if self.asks.put(Ask::Open { seat: Arc::clone(&seat), requires_leader }).is_err() {
            return Err(Fault::Stopped);
        }
        Ok(seat)
    }

    /// A stream has ended.
    pub(crate) fn close(&self, id: StreamId) {
        self.put(Ask::Close(id));
        self.streams.fetch_sub(1, Ordering::SeqCst);
    }

    /// Puts something in that a stream wants.
    pub(crate) fn put(&self, ask: Ask) {
        // It is closed when the member stops, and then every stream ends.
        let _ = self.asks.put(ask);
    }

    /// What the applier has just published, to be told with [`Self::go`]. It costs nothing if nobody watches, and never
    /// waits.
    pub(crate) fn tell(&self, changes: Changes) {
        // Between the publication and the look at the streams: see the module's invariant.
        fence(Ordering::SeqCst);
        if changes.list.is_empty() || self.streams.load(Ordering::SeqCst) == 0 {
            return;
        }
        let weight = |change: &Change| size_of::<Change>() + change.key().len() + change.value().len();
        let bytes = changes.list.iter().map(weight).sum();
        if self.changes_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= CHANGES_BYTES_MAX {
            // It is closed when the member stops, and then every stream ends.
            let _ = self.asks.leave(Ask::Changes(changes, bytes));
            return;
        }
        self.changes_bytes.fetch_sub(bytes, Ordering::Relaxed);
        if !self.lost.swap(true, Ordering::SeqCst) {
            let _ = self.asks.leave(Ask::Lost);
        }
    }

    /// Sees to it that what was told gets to the hub: goes there itself with a little, and wakes the thread for more.
    pub(crate) fn go(&self) {
        let is_little = |asks: &[Ask]| {
            let count =
                |ask: &Ask| if let Ask::Changes(changes, _) = ask { changes.list.len() } else { usize::MAX };
            asks.len() <= TOLD_HERE_MAX && asks.iter().all(|ask| count(ask) <= TOLD_HERE_MAX)
        };
        // Whoever has the hub is the thread, which looks again, or goes there for somebody else, who rouses it.
        if self.short.load(Ordering::Relaxed)
            && let Some(mut desk) = self.desk.try_lock()
            && self.asks.take_if(&mut desk.asks, is_little)
        {
            self.work(&mut desk);
        }
        self.asks.rouse();
    }

    /// A snapshot was installed.
    pub(crate) fn replace(&self, mvcc: &Arc<Mvcc>) {
        self.put(Ask::Rooms(Arc::clone(mvcc)));
    }

    /// Something changed about who may see what: every stream looks again.
    pub(crate) fn rouse(&self) {
        if self.streams.load(Ordering::SeqCst) > 0 {
            self.put(Ask::Rouse);
        }
    }

    /// How many streams, watches and events there are.
    pub(crate) fn numbers(&self) -> Numbers {
        *self.numbers.lock()
    }

    /// The threads end; all streams do.
    pub(crate) fn stop(&self) {
        self.asks.close();
        self.fetches.close();
    }

    /// Reads the history until the window is closed. For the thread `watch-history`.
    pub(crate) fn read_history(&self) {
        let mut fetches = Vec::new();
        while self.fetches.take(&mut fetches, None) {
            for fetch in fetches.drain(..) {
                self.put(Ask::Fetched(fetch.run()));
            }
        }
    }

    /// Serves until the window is closed. For the thread `watch`.
    pub(crate) fn serve(&self) {
        let mut look = None;
        while self.asks.wait(look) {
            let mut desk = self.desk.lock();
            self.asks.take_now(&mut desk.asks);
            self.work(&mut desk);
            look = desk.next_look(self.election);
        }
        self.desk.lock().hub.end(End::Stopped, true);
    }

    /// Goes to the hub with what was taken.
    fn work(&self, desk: &mut Desk) {
        let began = Instant::now();
        let mut asks = std::mem::take(&mut desk.asks);
        let taken = asks.drain(..).try_for_each(|ask| desk.take(self, ask));
        if asks.capacity() <= ASKS_KEPT_MAX {
            desk.asks = asks;
        }
        if let Err(error) = taken {
            self.shared.fail(format!("the history cannot be read for who watches: {}", chain(&error)));
            desk.hub.end(End::Stopped, true);
            return self.stop();
        }
        let now = desk.look(self);
        self.short.store(now.duration_since(began) <= SHORT, Ordering::Relaxed);
    }
}

/// The hub, and when somebody last looked after it.
struct Desk {
    hub: Hub,
    // What was taken out; kept for its memory.
    asks: Vec<Ask>,
    looked: Instant,
    // When there was last a leader.
    led: Instant,
}

impl Desk {
    fn take(&mut self, window: &Window, ask: Ask) -> Result<(), ReadError> {
        let done = |seat: &Seat| seat.asks.fetch_sub(1, Ordering::Relaxed);
        match ask {
            Ask::Open { seat, requires_leader } => {
                if self.hub.counts().streams == 0 {
                    // Nobody looked while there was nobody.
                    (self.looked, self.led) = (Instant::now(), Instant::now());
                }
                self.hub.open(seat.id, Arc::clone(&seat.outbox), requires_leader);
            }
            Ask::Create(seat, spec) => {
                self.hub.create(seat.id, &spec, Instant::now());
                done(&seat);
            }
            Ask::Cancel(seat, id) => {
                self.hub.cancel(seat.id, id);
                done(&seat);
            }
            Ask::Progress(seat) => {
                self.hub.progress(seat.id);
                done(&seat);
            }
            Ask::Room(stream) => self.hub.room(stream),
            Ask::Close(stream) => self.hub.close(stream),
            Ask::Changes(changes, bytes) => {
                window.changes_bytes.fetch_sub(bytes, Ordering::Relaxed);
                self.hub.apply(changes)?;
            }
            Ask::Lost => {
                // Before the revision is looked at: what is lost after that is told again.
                window.lost.store(false, Ordering::SeqCst);
                self.hub.lost();
            }
            Ask::Rooms(mvcc) => self.hub.replace(mvcc),
            Ask::Rouse => self.hub.rouse(),
            Ask::Fetched(fetched) => self.hub.fetched(fetched)?,
        }
        Ok(())
    }

    /// What is to be done after anything else, and from time to time.
    fn look(&mut self, window: &Window) -> Instant {
        let now = Instant::now();
        self.hub.tick(now);
        self.hub.settle();
        if let Some(fetch) = self.hub.wanted() {
            // It is closed when the member stops.
            let _ = window.fetches.put(fetch);
        }
        let counts = self.hub.counts();
        let is_time = now.duration_since(self.looked) >= window.election / 4;
        let mut numbers = window.numbers.lock();
        numbers.counts = counts;
        if is_time || counts.streams == 0 {
            numbers.pending = self.hub.events_pending();
        }
        drop(numbers);
        if window.shared.leader() != MemberId(0) {
            self.led = now;
        }
        if !is_time {
            return now;
        }
        self.looked = now;
        if window.shared.has_ended() {
            self.hub.end(End::Stopped, true);
        } else if window.shared.is_corrupt() {
            self.hub.end(End::Corrupt, true);
        } else if now.duration_since(self.led) > window.election * ELECTIONS_WITHOUT_LEADER {
            self.hub.end(End::NoLeader, false);
        }
        now
    }

    fn next_look(&self, election: Duration) -> Option<Instant> {
        let streams = self.hub.counts().streams;
        let look = (streams > 0).then(|| Instant::now() + election / 4);
        look.into_iter().chain(self.hub.next_tick()).min()
    }
}
