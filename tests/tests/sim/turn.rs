//! One turn of a member: whatever its replica has to do is taken out and handed on.

use consensus::{Append, Committed, NotTaken, Role, SnapshotOffer};

use crate::history::Answer;
use crate::invariants::{Verdict, Violation};
use crate::leasing::TICKETS;
use crate::member::Reading;
use crate::network::Micros;
use crate::plan::TICK;
use crate::planted::Planted;
use crate::world::{Event, World};

impl World {
    /// Takes everything out of a replica until it has nothing more.
    pub(crate) fn turn(&mut self, place: usize) -> Verdict {
        loop {
            let Some(life) = &mut self.members[place].life else { return Ok(()) };
            life.replica.applied(life.machine.position().index);
            let Some(output) = life.replica.output() else { break };
            if let Some(broken) = life.replica.broken() {
                return Err(Violation::new("start", format!("member {place} gives up: {broken}")));
            }
            life.waiting.extend(output.readable);
            // Before the disk, as the driver does it.
            for envelope in &output.messages {
                self.send(place, envelope)?;
            }
            if let Some(append) = output.append {
                self.write(place, append);
            }
            self.commit(place, output.committed)?;
            for (operation, why) in output.refused {
                self.refuse(place, operation, why);
            }
            for offer in output.offers {
                self.fetch(place, offer);
            }
            self.read_aside(place);
        }
        self.look(place)?;
        self.release_reads(place)
    }

    /// What can be seen of a member after each of its turns.
    fn look(&mut self, place: usize) -> Verdict {
        let Some(life) = &self.members[place].life else { return Ok(()) };
        let standing = life.replica.standing();
        self.checks.leaders.stands(place, &standing)?;
        if standing.role == Role::Leader && standing.confirmed && life.writing.is_empty() {
            let reader = life.wal.reader();
            let (term, first) = (standing.term.0, reader.first_index());
            self.checks.committed.leads(place, term, first, |index| reader.term(index))?;
        }
        Ok(())
    }

    fn write(&mut self, place: usize, append: Append) {
        let planted = self.planted;
        let Some(life) = &mut self.members[place].life else { return };
        let only_vote = append.entries.is_empty() && append.snapshot.is_none();
        let early = (planted == Some(Planted::AcknowledgeBeforeSync) && append.snapshot.is_none())
            || (planted == Some(Planted::VoteBeforeDurable) && only_vote);
        if early {
            life.replica.persisted(append.number);
        }
        life.writing.push_back(append);
        self.begin_write(place);
    }

    /// The disk begins to write all that waits, unless it is busy.
    pub(crate) fn begin_write(&mut self, place: usize) {
        let member = &mut self.members[place];
        let Some(life) = &mut member.life else { return };
        if life.in_write > 0 || life.writing.is_empty() {
            return;
        }
        life.in_write = life.writing.len();
        let (number, time) = (life.number, member.disk_time);
        let delay = self.chance.between(20, time);
        self.after(delay, Event::Written { place, life: number });
    }

    fn commit(&mut self, place: usize, entries: Vec<Committed<u64>>) -> Verdict {
        if entries.is_empty() {
            return Ok(());
        }
        for entry in &entries {
            self.checks.committed.commits(place, entry)?;
            self.trace.say(self.now, || {
                let (index, term, bytes) = (entry.index, entry.term, entry.data.len());
                format!("{place}    committed {index} of term {term}, {bytes} bytes, {:?}", entry.change)
            });
        }
        let apply_time = self.members[place].apply_time;
        let Some(life) = &mut self.members[place].life else { return Ok(()) };
        let number = life.number;
        life.applying.extend(entries);
        if !life.will_apply {
            life.will_apply = true;
            let delay: Micros = self.chance.between(0, apply_time);
            self.after(delay, Event::Apply { place, life: number });
        }
        Ok(())
    }

    fn refuse(&mut self, place: usize, operation: u64, why: NotTaken) {
        self.trace.say(self.now, || format!("{place}    operation {operation} refused: {why:?}"));
        if operation >= TICKETS {
            self.settled(place, operation, false);
        }
        if operation >= self.history.next() {
            return;
        }
        if self.planted == Some(Planted::AnswerRefused) {
            let revision = self.members[place].life.as_ref().map(|life| life.machine.mvcc().revision());
            let result = Ok(command::Effect::Put(types::PutReply::default()));
            let outcome = command::Outcome { revision: revision.unwrap_or_default(), result };
            self.answer(operation, Answer::Done(Box::new(outcome)));
            return;
        }
        self.answer(operation, Answer::Refused);
    }

    /// Readings for others take a while; what they find may be from its beginning or from its end.
    fn read_aside(&mut self, place: usize) {
        let member = &mut self.members[place];
        let time = member.disk_time;
        let Some(life) = &mut member.life else { return };
        let number = life.number;
        for fetch in life.replica.fetches() {
            let reading =
                if self.chance.happens(500) { Reading::Asked(fetch) } else { Reading::Done(fetch.run()) };
            if let Some(life) = &mut self.members[place].life {
                life.reading.push_back(reading);
            }
            let delay = self.chance.between(20, time);
            self.after(delay, Event::ReadBack { place, life: number });
        }
    }

    /// A reading is done.
    pub(crate) fn read_back(&mut self, place: usize) -> Verdict {
        let Some(life) = &mut self.members[place].life else { return Ok(()) };
        match life.reading.pop_front() {
            Some(Reading::Asked(fetch)) => life.replica.fetched(fetch.run()),
            Some(Reading::Done(fetched)) => life.replica.fetched(fetched),
            None => {}
        }
        self.turn(place)
    }

    fn fetch(&mut self, place: usize, offer: SnapshotOffer) {
        let Some(life) = &self.members[place].life else { return };
        let number = life.number;
        self.trace.say(self.now, || {
            format!("{place}    fetches the snapshot of {} from {:?}", offer.mark.index, offer.from)
        });
        let delay = self.chance.between(1, 20 * TICK);
        self.after(delay, Event::Fetched { place, life: number, offer });
    }
}
