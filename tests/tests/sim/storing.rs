//! What a member does on its disks: the log's writes, the database's flushes, snapshots made and installed, and the
//! log released.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use apply::Machine;
use bytes::Bytes;
use consensus::{Append, SnapshotMark, SnapshotOffer};
use store::Family;
use wal::double::Loss;
use wal::{AppendError, Batch, Durability, HardState};

use crate::disk::{Lent, Row, rows_of};
use crate::invariants::{Verdict, Violation, logs, state};
use crate::member::{Files, Life, place_of};
use crate::planted::Planted;
use crate::world::{Event, World};

/// Why a write ended a member.
enum Stopped {
    Disk,
    Against(Violation),
}

impl From<AppendError> for Stopped {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Disk(_) | AppendError::Failed => Self::Disk,
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
        match self.write_down(place, &appends) {
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

    fn write_down(&mut self, place: usize, appends: &VecDeque<Append>) -> Result<u64, Stopped> {
        let mut number = 0;
        let mut batch = Batch::new();
        for append in appends {
            number = append.number;
            if let Some(mark) = &append.snapshot {
                self.install(place, mark, append.hard_state())?;
            }
            let Some(life) = &mut self.members[place].life else { return Err(Stopped::Disk) };
            // An entry that replaces one that waits in the batch needs a batch of its own.
            batch.clear();
            append.write_into(&mut batch);
            life.wal.append(&mut batch, Durability::Later)?;
        }
        let Some(life) = &mut self.members[place].life else { return Err(Stopped::Disk) };
        life.wal.sync()?;
        let reader = life.wal.reader();
        for entry in appends.iter().flat_map(|append| &append.entries) {
            if reader.term(entry.index) == Some(entry.term) {
                let before = reader.term(entry.index - 1);
                let hash = logs::hash(&[&entry.context, &entry.data]);
                self.checks.logs.written(place, (entry.index, entry.term), before, hash)?;
            }
        }
        Ok(number)
    }

    /// A snapshot takes the place of state and log, in the order in which the program does it.
    fn install(
        &mut self,
        place: usize,
        mark: &SnapshotMark,
        hard_state: Option<HardState>,
    ) -> Result<(), Stopped> {
        let (index, term) = (mark.index, mark.term);
        self.crash_point(place)?;
        let planted = self.planted;
        let member = &mut self.members[place];
        let Some(life) = &mut member.life else { return Err(Stopped::Disk) };
        let fetched = life.fetched.remove(&mark.id);
        let Some(mut rows) = fetched else {
            let what = format!("member {place} is to install a snapshot that it has not fetched: {mark:?}");
            return Err(Violation::new("snapshot", what).into());
        };
        if planted == Some(Planted::SnapshotWithoutRoster) {
            let own = rows_of(life.lent.store()).map_err(|error| failed(&error))?;
            let is_member = |row: &&Row| row.0 == Family::Members;
            let others = rows.iter().filter(|row| !is_member(row));
            rows = Rc::new(others.chain(own.iter().filter(is_member)).cloned().collect());
        }
        let position = apply::Position { index, term };
        // From here on the next start finds the new state.
        member.files = Files { rows: Rc::clone(&rows), position, origin: Some((index.0, term.0)) };
        self.swap(place)?;
        self.crash_point(place)?;
        let Some(life) = &mut self.members[place].life else { return Err(Stopped::Disk) };
        let hard_state = hard_state.unwrap_or(life.wal.hard_state());
        let commit = hard_state.commit.max(index.0);
        life.wal.reset_to(index.0, term.0, Some(HardState { commit, ..hard_state }))?;
        self.trace.say(self.now, || format!("{place}    installed the snapshot of {index}"));
        self.counts.installs += 1;
        Ok(())
    }

    /// The machine goes on from what the files hold.
    fn swap(&mut self, place: usize) -> Result<(), Stopped> {
        let member = &mut self.members[place];
        let Some(life) = &mut member.life else { return Err(Stopped::Disk) };
        let lent = Lent::with(&member.files.rows).map_err(|error| failed(&error))?;
        life.machine = Machine::open(Arc::clone(lent.store())).map_err(|error| failed(&error))?;
        life.lent = lent;
        let index = life.machine.position().index;
        life.applying.retain(|entry| entry.index > index);
        Ok(())
    }

    /// Here power may go.
    fn crash_point(&mut self, place: usize) -> Result<(), Stopped> {
        if !self.healing && self.chance.happens(120) {
            self.trace.say(self.now, || format!("{place}    loses power during an install"));
            return Err(Stopped::Disk);
        }
        Ok(())
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
        if self.chance.happens(200) {
            // Nobody fetched it for a while.
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
