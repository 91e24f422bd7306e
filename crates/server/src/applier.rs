//! Where entries are applied: everything committed that waits becomes one run, then tickets are answered.
//!
//! There is a thread for it, so that the log goes on while a run is applied. When the log has nothing to do, its
//! thread applies what it has just made durable: waking another one would cost more than the work.
//!
//! INVARIANT: entries are taken out only by who holds the stairs, so they are applied in order.
//! INVARIANT: a read is released when the index that it was given is applied, and not before.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use apply::{Applied, ApplyError, Entry, Machine, Position};
use command::{Bridged, Effect, Outcome};
use consensus::{
    Change, Committed, Door, Envelope, Failure, Mailbox, NotTaken, Readable, Sink, SnapshotMark,
    SnapshotOffer, Standing,
};
use mvcc::Changes;
use parking_lot::Mutex;
use snap::SnapshotId;
use stdx::chain;
use telemetry::Histogram;
use transport::{Peer, Transport};
use types::{Alarm, AlarmKind, AuthDone, MemberId};

use crate::bridging::Bridging;
use crate::doorkeeper::Doorkeeper;
use crate::errand::Errand;
use crate::fetch::Fetcher;
use crate::lessor::Keeper;
use crate::post;
use crate::rooms::{Rooms, Wing};
use crate::shared::Shared;
use crate::site::Site;
use crate::tally::Tally;
use crate::ticket::{ReadTicket, WriteTicket};
use crate::waits::Waits;
use crate::window::Window;
use crate::work::WorkMeasures;

/// A run takes entries of up to this many bytes: a batch of the database is held in memory, and its tickets
/// wait for all of it.
const RUN_BYTES_MAX: usize = 4 << 20;

/// What consensus hands over.
enum Delivery {
    Committed(Vec<Committed<WriteTicket>>),
    Readable(Vec<Readable<ReadTicket>>),
}

/// See the module.
pub(crate) struct Applier {
    stairs: Mutex<Stairs>,
    // Bounded by what was admitted: consensus hands out only what was proposed and not yet applied.
    deliveries: Mailbox<Delivery>,
    parts: Parts,
}

/// Whom the applier tells what happened.
pub(crate) struct Parts {
    pub(crate) member: MemberId,
    pub(crate) shared: Arc<Shared>,
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) wing: Arc<Wing>,
    pub(crate) window: Arc<Window>,
    pub(crate) door: Door<WriteTicket, ReadTicket>,
    pub(crate) transport: Arc<Transport>,
    pub(crate) seconds: Histogram,
    pub(crate) tally: Arc<Tally>,
    pub(crate) work: WorkMeasures,
    pub(crate) fetcher: Arc<Fetcher>,
    pub(crate) errands: Arc<Mailbox<Errand>>,
    pub(crate) waits: Arc<Waits>,
    pub(crate) bridging: Arc<Bridging>,
    pub(crate) doorkeeper: Arc<Doorkeeper>,
    // Nothing if the database is not in a folder.
    pub(crate) site: Option<Arc<Site>>,
}

/// A copy of the database, and what it holds.
pub(crate) struct Checkpoint {
    pub(crate) position: Position,
    pub(crate) voters: Vec<MemberId>,
    pub(crate) learners: Vec<MemberId>,
}

struct Stairs {
    machine: Machine,
    // Reads whose index is committed and not yet applied.
    waiting: Vec<Readable<ReadTicket>>,
}

impl Applier {
    pub(crate) fn new(machine: Machine, parts: Parts) -> Self {
        let stairs = Stairs { machine, waiting: Vec::new() };
        let applier = Self { stairs: Mutex::new(stairs), deliveries: Mailbox::new(), parts };
        applier.look_at_members();
        applier.look_at_alarms();
        applier
    }

    /// Applies until the box is closed or an entry cannot be applied. For the thread.
    pub(crate) fn run(&self) {
        while self.deliveries.wait(None) {
            self.apply_all(&mut self.stairs.lock());
        }
    }

    /// Takes nothing more in; what is inside is applied.
    pub(crate) fn close(&self) {
        self.deliveries.close();
    }

    /// Fetches what is wanted, in the caller's time.
    pub(crate) async fn fetch(&self) {
        self.parts.fetcher.fetch().await;
    }

    /// Removes databases that nobody reads any more, and what was fetched in vain.
    pub(crate) fn clean(&self) {
        self.parts.fetcher.clean();
        if let Some(site) = &self.parts.site {
            site.clean();
        }
    }

    /// Copies the database as files to `path`, between two runs.
    pub(crate) fn checkpoint(&self, path: &Path) -> Result<Checkpoint, String> {
        let stairs = self.stairs.lock();
        let machine = &stairs.machine;
        let copied = machine.store().checkpoint(path).map_err(|error| chain(&error));
        let (voters, learners) = (machine.members().voters(), machine.members().learners());
        let checkpoint = Checkpoint { position: machine.position(), voters, learners };
        drop(stairs);
        // Whoever came meanwhile left it to who had the stairs.
        self.deliveries.rouse();
        copied.map(|()| checkpoint)
    }

    /// Makes this member differ from the others, as no bug should.
    #[cfg(test)]
    pub(crate) fn disturb(&self, put: &types::Put) {
        let stairs = self.stairs.lock();
        let store = stairs.machine.store();
        let mut batch = store.batch();
        let mut writer = stairs.machine.mvcc().begin();
        writer.put(put).expect("written");
        writer.stage(&mut batch);
        store.write(batch).expect("written");
        writer.publish();
    }

    /// Puts a machine with the state of a snapshot in the place of the one that is there.
    fn replace(&self, site: &Site, id: SnapshotId) -> Result<(), String> {
        let prepared = self.parts.fetcher.take(id).ok_or("it was not fetched")?;
        let mut stairs = self.stairs.lock();
        let machine = site.enthrone(prepared, stairs.machine.store())?;
        // What was read from the old one was committed, and is in the new one.
        let rooms = Rooms::of(&machine);
        let old = self.parts.wing.replace(Arc::clone(&rooms));
        self.parts.waits.resume(&old, &rooms);
        stairs.machine = machine;
        self.parts.window.replace(stairs.machine.mvcc());
        // What was given or taken meanwhile is not told; a client whose token is gone asks for another.
        self.parts.doorkeeper.forget_all();
        self.parts.window.rouse();
        self.look_at_members();
        self.look_at_alarms();
        self.parts.shared.set_applied(id.index, 0);
        Self::release_reads(&mut stairs);
        drop(stairs);
        self.deliveries.rouse();
        Ok(())
    }

    fn apply_all(&self, stairs: &mut Stairs) {
        let mut taken = Vec::new();
        while self.deliveries.take_now(&mut taken) {
            let mut entries = Vec::new();
            for delivery in taken.drain(..) {
                match delivery {
                    Delivery::Committed(more) => entries.extend(more),
                    Delivery::Readable(reads) => stairs.waiting.extend(reads),
                }
            }
            if let Err(error) = self.apply_in_runs(stairs, entries) {
                self.parts.shared.fail(chain(&error));
                self.deliveries.close();
                // Tickets that go without an outcome tell their owners.
                stairs.waiting.clear();
                return;
            }
        }
    }

    fn apply_in_runs(
        &self,
        stairs: &mut Stairs,
        entries: Vec<Committed<WriteTicket>>,
    ) -> Result<(), ApplyError> {
        let mut run = Vec::new();
        let mut bytes = 0;
        // What a snapshot brought is not applied again.
        let before = stairs.machine.position().index;
        for entry in entries.into_iter().filter(|entry| entry.index > before) {
            if bytes > 0 && bytes + entry.data.len() > RUN_BYTES_MAX {
                self.apply_run(&mut stairs.machine, std::mem::take(&mut run))?;
                bytes = 0;
            }
            bytes += entry.data.len();
            run.push(entry);
        }
        if !run.is_empty() {
            self.apply_run(&mut stairs.machine, run)?;
        }
        Self::release_reads(stairs);
        Ok(())
    }

    fn release_reads(stairs: &mut Stairs) {
        let applied = stairs.machine.position().index;
        for read in stairs.waiting.extract_if(.., |read| read.index <= applied) {
            let leader = read.leader;
            read.tickets.into_iter().for_each(|ticket| ticket.release(leader));
        }
    }

    fn apply_run(
        &self,
        machine: &mut Machine,
        committed: Vec<Committed<WriteTicket>>,
    ) -> Result<(), ApplyError> {
        let began = Instant::now();
        let mut tickets = Vec::with_capacity(committed.len());
        let mut entries = Vec::with_capacity(committed.len());
        let mut bytes = 0;
        let mut changes = Vec::new();
        for entry in committed {
            bytes += entry.data.len() as u64;
            changes.extend(entry.change.map(|change| (entries.len(), change)));
            tickets.push(entry.tickets);
            entries.push(Entry { index: entry.index, term: entry.term, data: entry.data });
        }
        let applied = machine.apply(&entries)?;
        self.parts.tally.applied(&applied);
        let Applied { outcomes, changes: changed } = applied;
        self.tell_changes(&changes, &outcomes);
        self.parts.keeper.applied(&outcomes);
        self.parts.shared.set_applied(machine.position().index, bytes);
        self.tell_waits(&changed);
        self.parts.window.tell(changed);
        let took = began.elapsed();
        self.parts.seconds.record(took);
        self.parts.work.applied(began, took, entries.len());
        for (tickets, outcomes) in tickets.into_iter().zip(outcomes) {
            let mut outcomes = outcomes.into_iter().enumerate();
            for (number, ticket) in tickets {
                // Both ascend; a ticket whose command has no outcome goes without an answer.
                if let Some((_, outcome)) = outcomes.find(|(at, _)| *at == number) {
                    ticket.answer(outcome);
                }
            }
        }
        self.parts.window.go();
        Ok(())
    }

    /// Before the index of a change is known to be applied, consensus must know of the change.
    fn tell_changes(&self, changes: &[(usize, Change)], outcomes: &[Vec<Outcome>]) {
        for (number, change) in changes {
            let accepted = outcomes.get(*number).and_then(|of_entry| of_entry.first());
            if accepted.is_some_and(|outcome| outcome.result.is_ok()) {
                tracing::info!(
                    ?change, { "local-member-id" } = %self.parts.member,
                    "applied a configuration change through raft"
                );
                self.parts.door.change_applied(*change);
            }
        }
        let (mut members, mut alarms) = (false, false);
        for outcome in outcomes.iter().flatten() {
            match &outcome.result {
                // Of v2's own keyspace nobody hears where v2 shows v3's keys.
                Ok(Effect::V2(Ok(events))) if self.parts.bridging.layout().is_none() => {
                    self.parts.waits.tell(events);
                }
                Ok(Effect::Bridged(Bridged { result: Ok(event), .. })) => {
                    self.parts.shared.counts.applied(std::slice::from_ref(event));
                }
                _ => {}
            }
            self.parts.bridging.compare(outcome);
            if let Ok(Effect::Auth(done)) = &outcome.result {
                self.parts.doorkeeper.learn(done);
                if !matches!(done, AuthDone::Token { .. }) {
                    self.parts.window.rouse();
                }
            }
            members |= matches!(outcome.result, Ok(Effect::Members(_)));
            alarms |= matches!(outcome.result, Ok(Effect::Alarms(_)));
            if let Ok(Effect::V2(Ok(events))) = &outcome.result {
                self.parts.shared.counts.applied(events);
            }
        }
        if members {
            self.look_at_members();
        }
        if members || alarms {
            self.look_at_alarms();
        }
    }

    /// Those who wait in v2 for what happens to v3's keys.
    fn tell_waits(&self, changes: &Changes) {
        if changes.list.is_empty() || self.parts.bridging.layout().is_none() || self.parts.waits.count() == 0
        {
            return;
        }
        match self.parts.bridging.events(&self.parts.wing.look(), changes) {
            Ok(events) => self.parts.waits.tell(&events),
            Err(error) => self.parts.shared.fail(format!(
                "the history cannot be read for who waits: {}; check the disk, remove this member, empty its data \
                 folder and add it anew",
                chain(&error)
            )),
        }
    }

    fn look_at_members(&self) {
        let members = &self.parts.wing.look().members;
        let peers = members.list().into_iter();
        self.parts
            .transport
            .set_peers(peers.map(|peer| Peer { id: peer.id, urls: peer.peer_urls }).collect());
        if members.is_removed(self.parts.member) {
            self.parts.shared.set_departed();
        }
    }

    fn look_at_alarms(&self) {
        let member = self.parts.member;
        let corrupt = self.parts.wing.look().alarms.contains(Alarm { member, kind: AlarmKind::Corrupt });
        if corrupt && !self.parts.shared.is_corrupt() {
            tracing::error!(
                "this member holds other data than the rest of the cluster and serves nobody: remove it, empty its \
                 data folder and add it anew; if the rest is wrong, disarm the alarm"
            );
        }
        self.parts.shared.set_corrupt(corrupt);
    }
}

impl Sink<WriteTicket, ReadTicket> for Applier {
    fn committed(&self, entries: Vec<Committed<WriteTicket>>) {
        // Closed only when the member stops; dropping the tickets tells their owners.
        let _ = self.deliveries.leave(Delivery::Committed(entries));
    }

    fn rouse(&self) {
        self.deliveries.rouse();
    }

    fn apply_here(&self) {
        // Whoever has the stairs looks again after it let go of them.
        if let Some(mut stairs) = self.stairs.try_lock() {
            self.apply_all(&mut stairs);
            drop(stairs);
            self.deliveries.rouse();
        }
    }

    fn readable(&self, reads: Vec<Readable<ReadTicket>>) {
        let applied = self.parts.shared.applied();
        let (now, later): (Vec<_>, Vec<_>) = reads.into_iter().partition(|read| read.index <= applied);
        for Readable { leader, tickets, .. } in now {
            for ticket in tickets {
                ticket.release(leader);
            }
        }
        if !later.is_empty() {
            // Behind the entries that it waits for, which were delivered before it.
            let _ = self.deliveries.leave(Delivery::Readable(later));
        }
    }

    fn refused(&self, tickets: Vec<(WriteTicket, NotTaken)>) {
        for (ticket, why) in tickets {
            ticket.refuse(why);
        }
    }

    fn messages(&self, messages: Vec<Envelope>) {
        post::send(&self.parts.transport, &self.parts.shared.counts, messages);
    }

    fn offer(&self, offer: SnapshotOffer) {
        self.parts.fetcher.want(offer);
        // It is closed only when the member stops.
        let _ = self.parts.errands.put(Errand::Fetch);
    }

    fn install(&self, mark: &SnapshotMark) -> Result<(), String> {
        let site = self.parts.site.as_ref().ok_or("there is no folder for it")?;
        let began = Instant::now();
        self.parts.work.installing.set(1.0);
        let replaced = self.replace(site, SnapshotId { index: mark.index, term: mark.term });
        self.parts.work.installing.set(0.0);
        replaced?;
        tracing::info!(
            { "snapshot-index" } = mark.index.0, { "snapshot-term" } = mark.term.0, took = ?began.elapsed(),
            "installed a snapshot"
        );
        Ok(())
    }

    fn standing(&self, standing: Standing) {
        self.parts.shared.set_standing(standing);
    }

    fn failed(&self, failure: Failure) {
        self.parts.shared.fail(chain(&failure));
    }
}
