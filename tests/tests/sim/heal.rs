//! The phase without troubles: in a bounded time there is a leader, everybody catches up, every member serves, and
//! all that was recorded makes sense.

use std::sync::atomic::Ordering;

use crate::clients::put;
use crate::disk::rows_of;
use crate::history::{Answer, Ask};
use crate::invariants::linearizable::{self, Past};
use crate::invariants::{Verdict, Violation, attachments, events, reads, require, state, watches};
use crate::member::{Seat, words};
use crate::plan::{ELECTION_TICKS, TICK, Weather};
use crate::world::{Event, World};
use types::KeyRange;

const NAME: &str = "heal";

/// Ticks in which there must be a leader and nobody be behind.
const HEAL_TICKS_MAX: u64 = 40 * ELECTION_TICKS;
/// Ticks in which a member must serve. One that is given a snapshot meanwhile cannot tell what became of a write, so
/// it is asked a few times: a write to a slow disk that began before the troubles ended takes two of them, the snapshot
/// that is needed after it two more.
const SERVE_TICKS: u64 = 2 * ELECTION_TICKS;
/// See [`SERVE_TICKS`].
const SERVE_TRIES_MAX: u64 = 6;
/// Ticks in which everything must be still.
const STILL_TICKS_MAX: u64 = 12 * ELECTION_TICKS;
/// How long it runs between two looks.
const SLICE_TICKS: u64 = 10;

impl World {
    /// Ends all troubles and sees that everything heals.
    pub(crate) fn heal(&mut self) -> Verdict {
        self.trace.say(self.now, || "no more troubles".to_owned());
        self.healing = true;
        self.network.mend();
        self.network.weather = Weather::CALM;
        for place in 0..self.members.len() {
            let now = self.now;
            let member = &mut self.members[place];
            member.clock.set_rates(now, 100, 100);
            (member.disk_time, member.apply_time, member.stands_until) = (500, 0, now);
            member.manners.full.store(false, Ordering::Relaxed);
            member.log.cut_power_at(u64::MAX);
            if member.is_down() {
                self.after(5 * TICK, Event::Start(place));
            }
        }
        self.wait("a leader whom everybody follows", HEAL_TICKS_MAX, Self::is_whole)?;
        self.serve()?;
        self.quiet = true;
        self.wait("everybody to be still and equal", STILL_TICKS_MAX, Self::is_still)?;
        self.judge()
    }

    fn wait(&mut self, what: &str, ticks_max: u64, holds: impl Fn(&Self) -> bool) -> Verdict {
        let end = self.now + ticks_max * TICK;
        let began = self.now;
        while !holds(self) {
            require(NAME, self.now < end, || {
                let stands: Vec<String> = self.members.iter().map(stands).collect();
                format!("waited {ticks_max} ticks without troubles for {what}:\n  {}", stands.join("\n  "))
            })?;
            self.run_until(self.now + SLICE_TICKS * TICK)?;
        }
        self.counts.wait_ticks_max = self.counts.wait_ticks_max.max((self.now - began) / TICK);
        Ok(())
    }

    /// The places of everybody who is in the cluster by now.
    fn seated(&self) -> Vec<usize> {
        let roll = self.checks.membership.newest();
        let ids = roll.voters.iter().chain(&roll.learners);
        ids.map(|id| crate::member::place_of(*id)).collect()
    }

    fn is_whole(&self) -> bool {
        let seated = self.seated();
        let lives: Vec<_> = seated.iter().filter_map(|place| self.members[*place].life.as_ref()).collect();
        let last = self.checks.committed.last();
        let leads = lives.iter().filter(|life| life.replica.standing().confirmed).count();
        let leaders = lives.iter().map(|life| life.replica.standing().leader);
        let follow = leaders.clone().all(|leader| leader.0 != 0 && Some(leader) == leaders.clone().next());
        let behind = lives.iter().any(|life| life.machine.position().index.0 + 20 < last);
        lives.len() == seated.len() && leads == 1 && follow && !behind
    }

    fn is_still(&self) -> bool {
        let last = self.checks.committed.last();
        self.seated().into_iter().all(|place| {
            self.members[place].life.as_ref().is_some_and(|life| {
                life.machine.position().index.0 == last
                    && life.replica.standing().commit.0 == last
                    && life.writing.is_empty()
                    && life.applying.is_empty()
            })
        })
    }

    /// Every member takes a write and a linearizable read.
    fn serve(&mut self) -> Verdict {
        let mut waiting = self.seated();
        for _ in 0..SERVE_TRIES_MAX {
            let mut asked = Vec::new();
            for place in waiting {
                let write = Ask::write(&put("healed", self.history.next()));
                let write = self.ask(place, write)?;
                asked.push((place, [write, self.ask(place, Ask::Linear(KeyRange::all()))?]));
                self.turn(place)?;
            }
            self.run_until(self.now + SERVE_TICKS * TICK)?;
            let is_served = |operation: &u64| {
                let answer = &self.history.operations[*operation as usize].answer;
                matches!(answer, Some(Answer::Done(_) | Answer::Read { .. }))
            };
            asked.retain(|(_, operations)| !operations.iter().all(is_served));
            // A removal that was asked for before may come through only now.
            let seated = self.seated();
            waiting =
                asked.into_iter().map(|(place, _)| place).filter(|place| seated.contains(place)).collect();
            if waiting.is_empty() {
                return Ok(());
            }
        }
        let what = format!("members {waiting:?} do not serve although there is no trouble");
        Err(Violation::new(NAME, what))
    }

    /// Looks at everything that was recorded, and at everybody's state.
    fn judge(&mut self) -> Verdict {
        self.counts.terms = self.checks.leaders.terms();
        self.counts.changes = self.checks.membership.changes();
        let past = Past::of(&self.history, &self.checks.committed)?;
        linearizable::check(&self.history, &past)?;
        reads::check(&self.history, &past)?;
        self.watch_to_the_end(&self.seated())?;
        for (range, previous, told) in self.watchers.told() {
            watches::check(range, previous, told, &past)?;
        }
        for place in self.seated() {
            let Some(life) = &self.members[place].life else { continue };
            events::check(place, &life.machine, &past)?;
            attachments::check(place, &life.machine, &past)?;
            let index = life.machine.position().index.0;
            let rows = rows_of(life.lent.store()).map_err(|error| Violation::new("store", words(&error)))?;
            self.checks.state.holds(place, index, state::hash(&life.machine, &rows)?)?;
            self.checks.membership.counts(place, index, &life.replica.survey())?;
        }
        Ok(())
    }
}

fn stands(member: &crate::member::Member) -> String {
    let place = member.place;
    let Some(life) = &member.life else {
        let why = if member.seat == Seat::Left { "left" } else { "is down" };
        return format!("member {place} {why}");
    };
    let survey = life.replica.survey();
    format!(
        "member {place}: {:?} of term {}, leader {}, commit {}, log {}..={}, applied {}, writes {}, applies {}",
        survey.role,
        survey.term,
        survey.leader,
        survey.commit,
        life.wal.first_index(),
        life.wal.last_index(),
        life.machine.position().index,
        life.writing.len(),
        life.applying.len()
    )
}
