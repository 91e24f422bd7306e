//! What a member does with committed entries: it applies them in runs, tells its replica of changes of the
//! membership, answers tickets, and lets reads go whose index is reached.

use apply::{Applied, Entry, Machine};
use command::{Command, Outcome, decode_run};
use consensus::{Change, Committed, Kind, Proposal, Readable};
use types::v2::{Expiry, Timestamp, Write};
use types::{DeleteRange, KeyRange, LeaseId, RangeEnd, RangeQuery};

use crate::disk::rows_of;
use crate::history::{Answer, Ask};
use crate::invariants::state::{self, HASH_EVERY, States};
use crate::invariants::{Verdict, Violation};
use crate::leasing::TICKETS;
use crate::member::words;
use crate::planted::Planted;
use crate::world::World;

impl World {
    /// A member applies what waits, up to the next index at which states are compared.
    pub(crate) fn apply(&mut self, place: usize) -> Verdict {
        loop {
            let Some(life) = &mut self.members[place].life else { return Ok(()) };
            let many = life.applying.iter().position(|entry| entry.index.0 % HASH_EVERY == 0);
            let many = many.map_or(life.applying.len(), |last| last + 1);
            let mut run: Vec<Committed<u64>> = life.applying.drain(..many).collect();
            if run.is_empty() {
                life.will_apply = false;
                break;
            }
            self.spoil(place, &mut run);
            self.apply_run(place, run)?;
        }
        self.turn(place)
    }

    fn apply_run(&mut self, place: usize, run: Vec<Committed<u64>>) -> Verdict {
        let Some(life) = &mut self.members[place].life else { return Ok(()) };
        let entries: Vec<Entry> = run
            .iter()
            .map(|entry| Entry { index: entry.index, term: entry.term, data: entry.data.clone() })
            .collect();
        let Applied { outcomes, changes } = life
            .machine
            .apply(&entries)
            .map_err(|error| Violation::new("apply", format!("member {place}: {}", words(&error))))?;
        life.window.tell(changes, self.planted);
        for (entry, outcomes) in run.into_iter().zip(outcomes) {
            self.applied(place, &entry, &outcomes)?;
            self.tell_office(place, &outcomes);
            for (number, operation) in entry.tickets {
                if operation >= TICKETS {
                    self.settled(place, operation, true);
                    continue;
                }
                self.acknowledge(place, entry.index.0, number, operation, &outcomes)?;
            }
        }
        self.compare(place)
    }

    fn applied(&mut self, place: usize, entry: &Committed<u64>, outcomes: &[Outcome]) -> Verdict {
        let index = entry.index.0;
        States::applied(&mut self.checks.committed, place, index, outcomes)?;
        if let Some(known) = self.checks.committed.entries().get(&index) {
            self.counts.expired += self.checks.expiry.applied(known.term, &known.commands, outcomes)?;
            let leases = &mut self.checks.leases;
            self.counts.ended += leases.applied(known.term, &known.commands, outcomes, self.now)?;
        }
        if let Some(change) = entry.change
            && outcomes.first().is_some_and(|outcome| outcome.result.is_ok())
        {
            self.changed(place, index, change)?;
        }
        Ok(())
    }

    /// The state machine has accepted a change of the membership.
    fn changed(&mut self, place: usize, index: u64, change: Change) -> Verdict {
        self.trace.say(self.now, || format!("{place}    applied {change:?} at {index}"));
        self.checks.membership.accepted(index, change)?;
        let ignores = self.planted == Some(Planted::IgnoreChange) && place == 0;
        let id = self.members[place].id;
        let Some(life) = &mut self.members[place].life else { return Ok(()) };
        if ignores {
            return Ok(());
        }
        life.replica.change_applied(change);
        if change == Change::Remove(id) {
            self.members[place].leaving = true;
        }
        self.joins(change);
        Ok(())
    }

    /// States and rolls are compared after a run.
    fn compare(&mut self, place: usize) -> Verdict {
        let Some(life) = &self.members[place].life else { return Ok(()) };
        let index = life.machine.position().index.0;
        self.checks.state.tells(place, &life.machine)?;
        if index % HASH_EVERY == 0 {
            let rows = rows_of(life.lent.store()).map_err(|error| Violation::new("store", words(&error)))?;
            self.checks.state.holds(place, index, state::hash(&life.machine, &rows)?)?;
        }
        // While a snapshot waits for the disk, raft already counts as the snapshot does.
        if life.writing.iter().all(|append| append.snapshot.is_none()) {
            self.checks.membership.counts(place, index, &life.replica.survey())?;
        }
        Ok(())
    }

    fn acknowledge(
        &mut self,
        place: usize,
        index: u64,
        number: usize,
        operation: u64,
        outcomes: &[Outcome],
    ) -> Verdict {
        let Some(data) = self.history.data(operation) else { return Ok(()) };
        self.checks.committed.answers(index, number, data)?;
        let outcome = outcomes.get(number).cloned();
        let Some(outcome) = outcome else {
            let what = format!("entry {index} has a ticket for command {number}, which it does not have");
            return Err(Violation::new("committed", what));
        };
        self.trace.say(self.now, || format!("{place}    operation {operation} done at {index}: {outcome:?}"));
        let answer = Answer::Done(Box::new(outcome));
        self.granted(operation, &answer)?;
        self.answer(operation, answer);
        Ok(())
    }

    /// Reads whose index is reached are answered.
    pub(crate) fn release_reads(&mut self, place: usize) -> Verdict {
        let early = self.planted == Some(Planted::ReadBeforeApply);
        let Some(life) = &mut self.members[place].life else { return Ok(()) };
        let applied = life.machine.position().index;
        let ready: Vec<Readable<u64>> =
            life.waiting.extract_if(.., |read| early || read.index <= applied).collect();
        for Readable { leader, tickets, .. } in ready {
            for ticket in tickets {
                if ticket >= TICKETS {
                    self.confirmed(place, ticket, leader)?;
                } else {
                    self.answer_read(place, ticket)?;
                }
            }
        }
        Ok(())
    }

    /// Answers a read from what a member holds now.
    pub(crate) fn answer_read(&mut self, place: usize, operation: u64) -> Verdict {
        let Some(life) = &self.members[place].life else { return Ok(()) };
        let range = match &self.history.operations[operation as usize].ask {
            Ask::Linear(range) | Ask::Serial(range) => range.clone(),
            Ask::Write { .. } => KeyRange::all(),
        };
        // The v2 index first: the state can only have gone on between the two.
        let v2_index = life.machine.v2().index();
        let (revision, reply) = life
            .machine
            .mvcc()
            .range(&RangeQuery::of(range))
            .map_err(|error| Violation::new("store", words(&error)))?;
        self.trace.say(self.now, || format!("{place}    read {operation} at revision {revision}"));
        self.counts.reads += 1;
        self.answer(operation, Answer::Read { revision, pairs: reply.kvs, v2_index });
        Ok(())
    }

    /// A member that leads and finds v2 nodes due proposes to expire them.
    pub(crate) fn expire(&mut self, place: usize) {
        let member = &mut self.members[place];
        let Some(life) = &mut member.life else { return };
        let standing = life.replica.standing();
        let anybody = self.planted == Some(Planted::ExpireWithoutLead);
        if !standing.confirmed && !anybody {
            return;
        }
        let clock = member.clock.wall(self.now);
        let ahead_ns = if self.planted == Some(Planted::ExpireByWrongClock) { 5_000_000_000 } else { 0 };
        // The last digits make it the only one of its kind.
        let number = self.counts.events % 1000;
        let now = Timestamp(clock.0 + ahead_ns - 1000 + number as i64);
        if life.machine.v2().next_expiry().is_none_or(|due| due > now) {
            return;
        }
        self.trace.say(self.now, || format!("{place}    proposes to expire what is due at {now:?}"));
        self.checks.expiry.proposes(place, &standing, now, clock);
        let command = Command::V2 { write: Write::Expire { now, nodes_max: u64::MAX }, now };
        let kind = if anybody { Kind::Normal } else { Kind::Chore(standing.term) };
        let proposal = Proposal { data: command.encode(), ticket: u64::MAX, kind };
        life.replica.propose(&mut vec![proposal]);
    }

    /// Planted: what is applied is not what was committed.
    fn spoil(&mut self, place: usize, run: &mut [Committed<u64>]) {
        let clock = self.members[place].clock.wall(self.now);
        let skips = self.planted == Some(Planted::SkipEntry) && self.chance.happens(20);
        if skips && let Some(entry) = run.last_mut() {
            entry.data = bytes::Bytes::new();
            entry.tickets.clear();
        }
        let Some(life) = &self.members[place].life else { return };
        let machine = &life.machine;
        let changes: Box<dyn Fn(Command) -> Vec<Command>> = match self.planted {
            Some(Planted::ApplyByClock) => Box::new(|command| vec![by_clock(command, clock)]),
            Some(Planted::LeaseEndsInParts) => Box::new(|command| in_parts(command, machine)),
            Some(Planted::PutKeepsLease) => Box::new(|command| vec![keeping(command, machine)]),
            _ => return,
        };
        for entry in run {
            let commands = decode_run(entry.data.clone()).unwrap_or_default();
            let data: Vec<u8> =
                commands.into_iter().flat_map(&changes).flat_map(|done| done.encode()).collect();
            entry.data = data.into();
        }
    }
}

/// Planted: the first key of a lease goes before the others.
fn in_parts(command: Command, machine: &Machine) -> Vec<Command> {
    let Command::RevokeLeases(leases) = &command else { return vec![command] };
    let keys = leases.iter().flat_map(|lease| machine.leases().keys(lease.id)).collect::<Vec<_>>();
    let [first, _, ..] = keys.as_slice() else { return vec![command] };
    let range = KeyRange { start: first.clone(), end: RangeEnd::Single };
    vec![Command::DeleteRange(DeleteRange { range, prev_kv: false }), command]
}

/// Planted: a key stays with its lease.
fn keeping(command: Command, machine: &Machine) -> Command {
    match command {
        Command::Put(mut put) if !put.lease.is_some() => {
            let leased =
                |id: &LeaseId| machine.leases().keys(*id).iter().any(|key| key == put.key.as_bytes());
            put.lease = machine.leases().ids().into_iter().find(leased).unwrap_or(LeaseId::NONE);
            Command::Put(put)
        }
        other => other,
    }
}

/// Planted: the time to live is counted from the clock of whoever applies.
fn by_clock(command: Command, clock: Timestamp) -> Command {
    match command {
        Command::V2 { write: Write::Set { path, value, dir, expiry: Expiry::At(at), refresh }, now } => {
            let expiry = Expiry::At(Timestamp(clock.0 + (at.0 - now.0)));
            Command::V2 { write: Write::Set { path, value, dir, expiry, refresh }, now }
        }
        other => other,
    }
}
