//! Watches: each member has a hub, told of what it applies after a while, as by its threads; watchers are connected to
//! members, read now and then, and go on elsewhere from what they have when a member ends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use mvcc::{Changes, Mvcc};
use types::{KeyRange, RangeEnd, Revision, WatchId, WatchSpec};
use watch::{Body, Fetch, Fetched, Hub, Limits, Outbox, Reply, StreamId, Taken};

use crate::chance::Chance;
use crate::invariants::watches::Told;
use crate::invariants::{Verdict, Violation};
use crate::member::{Seat, words};
use crate::plan::TICK;
use crate::planted::Planted;
use crate::world::{Event, World};

/// Watchers of a run, each with a stream of two watches.
const WATCHERS: usize = 4;

/// Limits at which watches lag all the time.
fn limits() -> Limits {
    Limits {
        replies_max: 2,
        bytes_max: 600,
        piece_changes_max: 3,
        piece_bytes_max: 200,
        join_revisions_max: 2,
        ..Limits::default()
    }
}

/// What is on its way to a hub.
enum Way {
    Changes(Changes),
    Rooms(Arc<Mvcc>),
    Fetched(Fetched),
    Room(StreamId),
}

/// A member's hub, and what is on its way to it.
pub(crate) struct Window {
    hub: Hub,
    way: VecDeque<Way>,
    fetch: Option<Fetch>,
    clock: Instant,
}

impl Window {
    /// Nobody watches yet.
    pub(crate) fn new(mvcc: &Arc<Mvcc>) -> Self {
        let hub = Hub::new(Arc::clone(mvcc), limits());
        Self { hub, way: VecDeque::new(), fetch: None, clock: Instant::now() }
    }

    /// What was applied.
    pub(crate) fn tell(&mut self, mut changes: Changes, planted: Option<Planted>) {
        if planted == Some(Planted::WatchLosesChange) && self.fetch.is_some() {
            changes.list.pop();
        }
        if planted == Some(Planted::WatchLosesKey)
            && let [.., one, last] = changes.list.as_slice()
            && one.revision() == last.revision()
        {
            changes.list.pop();
        }
        if !changes.list.is_empty() && self.hub.counts().streams > 0 {
            self.way.push_back(Way::Changes(changes));
        }
    }

    /// A snapshot was installed.
    pub(crate) fn replace(&mut self, mvcc: &Arc<Mvcc>, planted: Option<Planted>) {
        if planted == Some(Planted::WatchForgetsInstall) {
            let until = mvcc.revision();
            self.way.push_back(Way::Changes(Changes { after: Revision(0), until, list: Vec::new() }));
        }
        self.way.push_back(Way::Rooms(Arc::clone(mvcc)));
    }

    /// Something arrives.
    fn step(&mut self) -> Verdict {
        let failed = |error: mvcc::ReadError| Violation::new("store", words(&error));
        match self.way.pop_front() {
            Some(Way::Changes(changes)) => self.hub.apply(changes).map_err(failed)?,
            Some(Way::Rooms(mvcc)) => self.hub.replace(mvcc),
            Some(Way::Fetched(fetched)) => self.hub.fetched(fetched).map_err(failed)?,
            Some(Way::Room(stream)) => self.hub.room(stream),
            None => {}
        }
        self.hub.settle();
        if self.fetch.is_none() {
            self.fetch = self.hub.wanted();
        }
        Ok(())
    }

    fn read_history(&mut self) {
        if let Some(fetch) = self.fetch.take() {
            self.way.push_back(Way::Fetched(fetch.run()));
        }
    }

    fn is_still(&self) -> bool {
        self.way.is_empty() && self.fetch.is_none()
    }
}

/// One watch of a watcher, over all its connections.
struct Part {
    range: KeyRange,
    previous: bool,
    /// What it wants next; nothing before it was created for the first time.
    next: Option<u64>,
    told: Vec<Told>,
}

/// A client that watches.
pub(crate) struct Watcher {
    /// Where it is connected: place and life of the member.
    home: Option<(usize, u64)>,
    stream: StreamId,
    outbox: Arc<Outbox>,
    parts: [Part; 2],
}

/// All of them, with a chance of their own, so that they do not change what else a seed does.
pub(crate) struct Watchers {
    all: Vec<Watcher>,
    chance: Chance,
    streams: u64,
}

impl Watchers {
    pub(crate) fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed ^ 0x7761_7463_6865_7273);
        let all = (0..WATCHERS).map(|_| Watcher::new(&mut chance)).collect();
        Self { all, chance, streams: 0 }
    }

    /// What each watch was told, in order.
    pub(crate) fn told(&self) -> impl Iterator<Item = (&KeyRange, bool, &[Told])> {
        let parts = self.all.iter().flat_map(|watcher| &watcher.parts);
        parts.map(|part| (&part.range, part.previous, part.told.as_slice()))
    }
}

impl Watcher {
    fn new(chance: &mut Chance) -> Self {
        let mut part = || {
            // The clients' keys are k0 and so on.
            let start = vec![b'k', b'0' + chance.below(4) as u8];
            let range = match chance.below(3) {
                0 => KeyRange::all(),
                1 => KeyRange { start: start.into(), end: RangeEnd::Single },
                _ => KeyRange { start: start.into(), end: RangeEnd::Before("k5".into()) },
            };
            Part { range, previous: chance.happens(500), next: None, told: Vec::new() }
        };
        let parts = [part(), part()];
        Self { home: None, stream: StreamId(0), outbox: Arc::default(), parts }
    }

    fn connect(&mut self, window: &mut Window) {
        self.outbox = Arc::default();
        window.hub.open(self.stream, Arc::clone(&self.outbox), false);
        for part in &self.parts {
            let spec = WatchSpec {
                range: part.range.clone(),
                start: part.next.map(Revision),
                progress_notify: false,
                without_puts: false,
                without_deletes: false,
                prev_kv: part.previous,
                fragment: false,
                id: None,
            };
            window.hub.create(self.stream, &spec, window.clock);
        }
    }

    fn take(&mut self, reply: Reply) -> Verdict {
        let Reply { id, revision, body } = reply;
        if let (Body::Progress, WatchId::NONE) = (&body, id) {
            for part in &mut self.parts {
                part.told.push(Told::Progress(revision.0));
                part.next = part.next.max(Some(revision.0 + 1));
            }
            return Ok(());
        }
        let part = usize::try_from(id.0).ok().and_then(|at| self.parts.get_mut(at));
        let Some(part) = part else { return Err(odd(&format!("a reply for {id:?}"))) };
        match body {
            Body::Created => {
                let next = *part.next.get_or_insert(revision.0 + 1);
                part.told.push(Told::Begun(next));
            }
            Body::Canceled { compacted: Some(compacted) } => {
                part.told.push(Told::Forgotten(compacted.0));
                part.next = Some(compacted.0);
                // It begins anew, both its watches with it.
                self.home = None;
            }
            Body::Events { events, .. } => {
                let events: Vec<_> = events.iter().map(|event| event.event.clone()).collect();
                part.next = events.last().map(|last| last.kv.mod_revision.0 + 1);
                part.told.push(Told::Events(events));
            }
            other => return Err(odd(&format!("{other:?}"))),
        }
        Ok(())
    }
}

fn odd(what: &str) -> Violation {
    Violation::new("watches", format!("nobody asked for {what}"))
}

/// Planted: the last event of a reply comes alone.
fn split(reply: Reply) -> Vec<Reply> {
    let Body::Events { events, fragment } = &reply.body else { return vec![reply] };
    let Some((last, before)) = events.split_last().filter(|(_, before)| !before.is_empty()) else {
        return vec![reply];
    };
    let part = |events| Reply { body: Body::Events { events, fragment: *fragment }, ..reply.clone() };
    vec![part(before.into()), part([Arc::clone(last)].into())]
}

impl World {
    /// Hubs take what waits for them, and watchers look.
    pub(crate) fn watch(&mut self) -> Verdict {
        let delay = self.watchers.chance.between(1, 2 * TICK);
        self.after(delay, Event::Watch);
        for member in &mut self.members {
            let Some(life) = &mut member.life else { continue };
            for _ in 0..self.watchers.chance.below(5) {
                life.window.step()?;
            }
            if self.watchers.chance.happens(500) {
                life.window.read_history();
            }
        }
        for at in 0..self.watchers.all.len() {
            self.look_in(at)?;
        }
        Ok(())
    }

    /// Until every watcher has everything that its member has.
    pub(crate) fn watch_to_the_end(&mut self, seated: &[usize]) -> Verdict {
        for at in 0..self.watchers.all.len() {
            // Who was removed and does not know it falls behind.
            if self.watchers.all[at].home.is_some_and(|(place, _)| !seated.contains(&place)) {
                self.leaves_off(at);
            }
        }
        let mut quiet = 0;
        while quiet < 3 {
            quiet += 1;
            for place in 0..self.members.len() {
                let Some(life) = &mut self.members[place].life else { continue };
                quiet = if life.window.is_still() { quiet } else { 0 };
                life.window.step()?;
                life.window.read_history();
            }
            for at in 0..self.watchers.all.len() {
                if self.connects(at, seated) || self.reads(at)? {
                    quiet = 0;
                }
            }
        }
        Ok(())
    }

    fn look_in(&mut self, at: usize) -> Verdict {
        let chance = &mut self.watchers.chance;
        if chance.happens(10) {
            self.leaves_off(at);
        }
        let anywhere: Vec<usize> = (0..self.members.len()).collect();
        self.connects(at, &anywhere);
        if self.watchers.chance.happens(150) {
            self.asks_progress(at);
        }
        if self.watchers.chance.happens(300) {
            self.reads(at)?;
        }
        Ok(())
    }

    /// A watcher that has no member, or whose member is gone, connects to one of these. Whether it did.
    fn connects(&mut self, at: usize, places: &[usize]) -> bool {
        let lives = |&place: &usize| {
            let member = &self.members[place];
            member.life.as_ref().filter(|_| member.seat != Seat::Left).map(|life| (place, life.number))
        };
        let homes: Vec<(usize, u64)> = places.iter().filter_map(lives).collect();
        let watchers = &mut self.watchers;
        if watchers.all[at].home.is_some_and(|home| homes.contains(&home)) || homes.is_empty() {
            return false;
        }
        let home = *watchers.chance.pick(&homes);
        watchers.streams += 1;
        let watcher = &mut watchers.all[at];
        (watcher.home, watcher.stream) = (Some(home), StreamId(watchers.streams));
        if let Some(life) = &mut self.members[home.0].life {
            watcher.connect(&mut life.window);
        }
        self.trace.say(self.now, || format!("{}    watcher {at} connects", home.0));
        true
    }

    fn leaves_off(&mut self, at: usize) {
        let watcher = &mut self.watchers.all[at];
        if let Some((place, number)) = watcher.home.take()
            && let Some(life) = &mut self.members[place].life
            && life.number == number
        {
            life.window.hub.close(watcher.stream);
        }
    }

    fn asks_progress(&mut self, at: usize) {
        let watcher = &mut self.watchers.all[at];
        let Some((place, number)) = watcher.home else { return };
        let Some(life) = self.members[place].life.as_mut().filter(|life| life.number == number) else {
            return;
        };
        if self.planted == Some(Planted::WatchProgressEarly)
            && watcher.parts.iter().all(|part| part.next.is_some())
        {
            let revision = life.machine.mvcc().revision();
            let reply = Reply { id: WatchId::NONE, revision, body: Body::Progress };
            // It is what was asked for.
            let _ = watcher.take(reply);
            return;
        }
        life.window.hub.progress(watcher.stream);
    }

    /// A watcher reads what is there. Whether there was something.
    fn reads(&mut self, at: usize) -> Result<bool, Violation> {
        let watcher = &mut self.watchers.all[at];
        let Some((place, number)) = watcher.home else { return Ok(false) };
        let Some(life) = self.members[place].life.as_mut().filter(|life| life.number == number) else {
            return Ok(false);
        };
        let mut replies = VecDeque::new();
        match watcher.outbox.poll_take(&mut Context::from_waker(Waker::noop()), &mut replies) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Taken::Ended(end)) => return Err(odd(&format!("the end of a stream: {end:?}"))),
            Poll::Ready(Taken::Replies { room }) => {
                if room {
                    life.window.way.push_back(Way::Room(watcher.stream));
                }
            }
        }
        if self.planted == Some(Planted::WatchTellsTwice)
            && replies.len() > 3
            && let Some(last) = replies.back().cloned()
        {
            replies.push_back(last);
        }
        if self.planted == Some(Planted::WatchSplitsRevision) {
            replies = replies.into_iter().flat_map(split).collect();
        }
        for reply in replies {
            self.counts.watched += 1;
            watcher.take(reply)?;
            if watcher.home.is_none() {
                life.window.hub.close(watcher.stream);
                break;
            }
        }
        Ok(true)
    }
}
