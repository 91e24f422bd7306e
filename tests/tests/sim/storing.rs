//! What a member does on its disks: the log's writes, the database's flushes, snapshots made and installed, and the
//! log released.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use apply::{Machine, Position};
use bytes::Bytes;
use consensus::{Append, Committed, Failure, SnapshotMark, SnapshotOffer, write_down};
use store::Family;
use wal::double::Loss;
use wal::{AppendError, Batch};

use crate::chance::Chance;
use crate::disk::{Lent, Row, Rows, rows_of};
use crate::invariants::{Verdict, Violation, logs, state};
use crate::member::{Files, Life, place_of};
use crate::planted::Planted;
use crate::watching::Window;
use crate::world::{Event, World};

/// Why a write ended a member.
enum Stopped {
    Disk,
    Against(Violation),
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Append(AppendError::Disk(_) | AppendError::Failed) | Failure::Install { .. } => {
                Self::Disk
            }
            other => Self::Against(Violation::new("log", other.to_string())),
        }
    }
}

impl From<Violation> for Stopped {
    fn from(violation: Violation) -> Self {
        Self::Against(violation)
    }
}

impl World {
    /// What a member's disk was writing is written, unless the disk says otherwise.
    pub(crate) fn written(&mut self, place: usize) -> Verdict {
        let Some(life) = &mut self.members[place].life else { return Ok(()) };
        let count = std::mem::take(&mut life.in_write);
        let appends: VecDeque<Append> = life.writing.drain(..count).collect();
        match self.write_down(place, appends) {
            Ok(number) => {
                let Some(life) = &mut self.members[place].life else { return Ok(()) };
                let (first, last) = (life.wal.first_index(), life.wal.last_index());
                self.trace.say(self.now, || format!("{place}    wrote {number}: log {first}..={last}"));
                life.replica.persisted(number);
                self.begin_write(place);
                self.turn(place)
            }
            Err(Stopped::Against(violation)) => Err(violation),
            Err(Stopped::Disk) => {
                self.stopped(place);
                Ok(())
            }
        }
    }

    /// A disk refused: a member whose disk is full or whose sync failed ends, else its power is gone.
    fn stopped(&mut self, place: usize) {
        let full = self.members[place].manners.full.load(std::sync::atomic::Ordering::Relaxed);
        let loss = Loss::Seed(self.chance.next());
        self.ended(place, (!full).then_some(loss));
    }

    fn write_down(&mut self, place: usize, appends: VecDeque<Append>) -> Result<u64, Stopped> {
        let entries: Vec<_> = appends.iter().flat_map(|append| append.entries.clone()).collect();
        let snapshots = appends.iter().filter(|append| append.snapshot.is_some()).count() as u64;
        let member = &mut self.members[place];
        let Some(life) = &mut member.life else { return Err(Stopped::Disk) };
        let mut mason = Mason {
            place,
            planted: self.planted,
            chance: &mut self.chance,
            crashes: !self.healing,
            files: &mut member.files,
            machine: &mut life.machine,
            window: &mut life.window,
            lent: &mut life.lent,
            applying: &mut life.applying,
            fetched: &mut life.fetched,
            against: None,
        };
        let mut batch = Batch::new();
        let install = |mark: &SnapshotMark| mason.install(mark);
        let written = write_down(&mut life.wal, &mut batch, appends.into_iter(), install);
        if let Some(violation) = mason.against {
            return Err(Stopped::Against(violation));
        }
        let number = written?.unwrap_or_default();
        self.counts.installs += snapshots;
        let reader = life.wal.reader();
        for entry in entries {
            if reader.term(entry.index) == Some(entry.term) {
                let before = reader.term(entry.index - 1);
                let hash = logs::hash(&[&entry.context, &entry.data]);
                self.checks.logs.written(place, (entry.index, entry.term), before, hash)?;
            }
        }
        Ok(number)
    }

    /// A snapshot was fetched, or its giver is gone or out of reach.
    pub(crate) fn fetched(&mut self, place: usize, offer: SnapshotOffer) -> Verdict {
        let from = place_of(offer.from);
        let giver = self.members.get(from).and_then(|giver| giver.life.as_ref());
        let reached = self.network.hears(from, place) && self.network.hears(place, from);
        let rows = giver
            .filter(|giver| reached && offer.mark.id.starts_with(&name(from, giver.number)))
            .and_then(|_| self.shelf.get(&offer.mark.id).cloned());
        let Some(life) = &mut self.members[place].life else { return Ok(()) };
        if let Some(rows) = rows {
            life.fetched.insert(offer.mark.id.clone(), rows);
            life.replica.snapshot_fetched(offer);
        } else {
            life.replica.snapshot_failed(offer);
        }
        self.turn(place)
    }

    /// The database goes into files, and the log is released up to there.
    pub(crate) fn flush(&mut self, place: usize) -> Verdict {
        let planted = self.planted;
        let member = &mut self.members[place];
        let Some(life) = &mut member.life else { return Ok(()) };
        // An install replaces all of it soon.
        if life.writing.iter().any(|append| append.snapshot.is_some()) {
            return Ok(());
        }
        let position = life.machine.position();
        let mut rows = rows_of(life.lent.store()).map_err(|error| failed(&error))?;
        let hash = state::hash(&life.machine, &rows)?;
        self.checks.state.holds(place, position.index.0, hash)?;
        if planted == Some(Planted::ApplyTwice) {
            rows = with_old_position(&rows, &member.files.rows);
        } else {
            member.files.position = position;
        }
        member.files.rows = rows;
        self.trace.say(self.now, || format!("{place}    flushed {}", position.index));
        self.release(place);
        Ok(())
    }

    /// Lets the log go up to what is flushed, but not under a snapshot that somebody may be fetching.
    fn release(&mut self, place: usize) {
        let planted = self.planted;
        let member = &mut self.members[place];
        let Some(life) = &mut member.life else { return };
        let mut upto = member.files.position.index.0;
        if planted == Some(Planted::ReleaseTooFar) {
            upto = life.machine.position().index.0;
        }
        if self.chance.happens(200) && !self.healing {
            // Nobody fetched it for a while. Without troubles somebody may just be doing so, and then it stays: a member
            // that is given one snapshot after the other never gets to know what became of its writes.
            life.snapshots.withdraw();
        }
        if let Some(offered) = life.snapshots.offered() {
            upto = upto.min(offered);
        }
        if upto <= life.released {
            return;
        }
        life.released = upto;
        if life.wal.release(upto).is_err() {
            self.stopped(place);
        }
    }

    /// Makes the snapshot that the replica asked for.
    pub(crate) fn make_snapshot(&mut self, place: usize) -> Verdict {
        let planted = self.planted;
        let Some(life) = &mut self.members[place].life else { return Ok(()) };
        if !life.snapshots.wanted() || life.writing.iter().any(|append| append.snapshot.is_some()) {
            return Ok(());
        }
        let mark = mark(place, life, planted);
        let rows = rows_of(life.lent.store()).map_err(|error| failed(&error))?;
        self.trace.say(self.now, || format!("{place}    made a snapshot of {}", mark.index));
        self.shelf.insert(mark.id.clone(), rows);
        life.snapshots.offer(mark);
        Ok(())
    }

    /// Chores of a member.
    pub(crate) fn chores(&mut self, place: usize, life: u64) -> Verdict {
        let delay = self.chance.between(1, self.plan.flush_gap);
        self.after(delay, Event::Chores { place, life });
        if self.chance.happens(300) {
            self.flush(place)?;
        } else {
            self.release(place);
        }
        if let Some(life) = &self.members[place].life {
            life.machine.mvcc().sweep(50).map_err(|error| failed(&error))?;
        }
        self.turn(place)
    }
}

/// Puts a snapshot in the place of everything, in the order in which the program does it.
struct Mason<'a> {
    place: usize,
    planted: Option<Planted>,
    chance: &'a mut Chance,
    crashes: bool,
    files: &'a mut Files,
    machine: &'a mut Machine,
    window: &'a mut Window,
    lent: &'a mut Lent,
    applying: &'a mut VecDeque<Committed<u64>>,
    fetched: &'a mut BTreeMap<Bytes, Rows>,
    against: Option<Violation>,
}

impl Mason<'_> {
    fn install(&mut self, mark: &SnapshotMark) -> Result<(), String> {
        self.crash_point()?;
        let Some(rows) = self.fetched.remove(&mark.id) else {
            let what = format!("member {} is to install what it has not fetched: {mark:?}", self.place);
            self.against = Some(Violation::new("snapshot", what.clone()));
            return Err(what);
        };
        let position = Position { index: mark.index, term: mark.term };
        let origin = Some((mark.index.0, mark.term.0));
        if let Err(violation) = self.move_in(rows, position, origin) {
            self.against = Some(violation);
            return Err("it cannot be opened".to_owned());
        }
        // The next start finds the new state, and the old log.
        self.crash_point()
    }

    fn move_in(
        &mut self,
        mut rows: Rows,
        position: Position,
        origin: Option<(u64, u64)>,
    ) -> Result<(), Violation> {
        if self.planted == Some(Planted::SnapshotWithoutRoster) {
            let own = rows_of(self.lent.store()).map_err(|error| failed(&error))?;
            let is_member = |row: &&Row| row.0 == Family::Members;
            let others = rows.iter().filter(|row| !is_member(row));
            rows = Rc::new(others.chain(own.iter().filter(is_member)).cloned().collect());
        }
        let lent = Lent::with(&rows).map_err(|error| failed(&error))?;
        *self.machine = Machine::open(Arc::clone(lent.store())).map_err(|error| failed(&error))?;
        *self.lent = lent;
        self.window.replace(self.machine.mvcc(), self.planted);
        *self.files = Files { rows, position, origin };
        let index = self.machine.position().index;
        self.applying.retain(|entry| entry.index > index);
        Ok(())
    }

    /// Here power may go.
    fn crash_point(&mut self) -> Result<(), String> {
        if self.crashes && self.chance.happens(120) { Err("power is gone".to_owned()) } else { Ok(()) }
    }
}

fn name(place: usize, life: u64) -> Vec<u8> {
    format!("{place}/{life}/").into_bytes()
}

fn mark(place: usize, life: &Life, planted: Option<Planted>) -> SnapshotMark {
    let mut position = life.machine.position();
    if planted == Some(Planted::SnapshotTooNew) {
        let next = position.index.0 + 1;
        if let Some(term) = life.wal.reader().term(next) {
            (position.index.0, position.term.0) = (next, term);
        }
    }
    let (learners, voters): (Vec<_>, Vec<_>) =
        life.machine.members().list().into_iter().partition(|member| member.learner);
    let ids = |members: Vec<types::MemberRecord>| members.into_iter().map(|member| member.id).collect();
    let mut id = name(place, life.number);
    id.extend_from_slice(position.index.to_string().as_bytes());
    SnapshotMark {
        index: position.index,
        term: position.term,
        voters: ids(voters),
        learners: ids(learners),
        id: Bytes::from(id),
    }
}

/// Planted: new rows with the position that was flushed before.
fn with_old_position(rows: &[Row], old: &[Row]) -> crate::disk::Rows {
    let is_position = |row: &Row| row.0 == Family::Meta && row.1 == b"apply/position";
    let kept = old.iter().find(|row| is_position(row));
    Rc::new(rows.iter().filter(|row| !is_position(row)).chain(kept).cloned().collect())
}

fn failed(error: &dyn std::error::Error) -> Violation {
    Violation::new("store", crate::member::words(error))
}
