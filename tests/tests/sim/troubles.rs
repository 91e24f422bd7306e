//! Troubles: what a person, a machine or a network can do to a cluster.

use std::sync::atomic::Ordering;

use command::Command;
use consensus::{Change, Kind, Proposal};
use types::{AlarmKind, MemberId, MemberRecord};
use wal::double::Loss;

use crate::history::Ask;
use crate::invariants::Verdict;
use crate::member::{Seat, id_of, place_of, record};
use crate::plan::{TICK, Trouble, Weather};
use crate::world::{Event, World};

impl World {
    /// Makes one trouble, and arranges for the next.
    pub(crate) fn trouble(&mut self) -> Verdict {
        if self.healing {
            return Ok(());
        }
        let gap = self.chance.between(1, self.plan.trouble_gap);
        self.after(gap, Event::Trouble);
        let trouble = self.plan.trouble(&mut self.chance);
        let place = self.some_member();
        self.trace.say(self.now, || format!("trouble: {trouble:?} ({place})"));
        match trouble {
            Trouble::Weather => self.network.weather = Weather::draw(&mut self.chance),
            Trouble::Partition => self.partition(),
            Trouble::OneWay => {
                let other = self.some_member();
                self.network.set(place, other, false);
            }
            Trouble::Mend => self.network.mend(),
            Trouble::PowerLoss => self.lose_power(place),
            Trouble::PowerLossSoon => {
                let changes = self.members[place].log.changes() + self.chance.below(12);
                self.members[place].log.cut_power_at(changes);
            }
            Trouble::Kill => self.kill(place),
            Trouble::Blackout => {
                for place in 0..self.members.len() {
                    self.lose_power(place);
                }
            }
            Trouble::Pause => {
                let long = *self.chance.pick(&[5, 20, 60]);
                self.members[place].stands_until = self.now + self.chance.between(1, long * TICK);
            }
            Trouble::Rate => {
                let percent = *self.chance.pick(&[70, 85, 100, 100, 115, 140]);
                let wall_percent = *self.chance.pick(&[0, 50, 100, 100, percent, 200]);
                self.members[place].clock.set_rates(self.now, percent, wall_percent);
                self.checks.leases.clock_goes(percent);
            }
            Trouble::Jump => {
                let by_ms = *self.chance.pick(&[-5000, -300, 300, 5000, 60_000]);
                self.members[place].clock.jump(by_ms);
            }
            Trouble::SlowDisk => {
                self.members[place].disk_time = *self.chance.pick(&[200, 500, TICK, 10 * TICK, 40 * TICK]);
            }
            Trouble::SlowApply => {
                self.members[place].apply_time = *self.chance.pick(&[0, 0, TICK, 20 * TICK, 80 * TICK]);
            }
            Trouble::FullDisk => {
                self.members[place].manners.full.store(true, Ordering::Relaxed);
                let long = self.chance.between(5, 60) * TICK;
                self.after(long, Event::Room(place));
            }
            Trouble::FailedSync => {
                let sync = self.members[place].log.writes_and_syncs().1;
                self.members[place].log.fail_sync(sync);
            }
            Trouble::Transfer => return self.transfer(),
            Trouble::Membership => return self.change(),
            Trouble::Compaction => return self.compact(place),
            Trouble::Flush => return self.flush_and_go_on(place),
        }
        Ok(())
    }

    fn some_member(&mut self) -> usize {
        let taken: Vec<usize> = self.taken();
        *self.chance.pick(&taken)
    }

    /// The places at which members run or should run.
    pub(crate) fn taken(&self) -> Vec<usize> {
        let is_taken = |place: &usize| matches!(self.members[*place].seat, Seat::Taken { .. });
        let taken: Vec<usize> = (0..self.members.len()).filter(is_taken).collect();
        if taken.is_empty() { vec![0] } else { taken }
    }

    /// Some no longer hear the others, or no longer are heard, or both.
    fn partition(&mut self) {
        let side = self.chance.next();
        let way = self.chance.below(4);
        for from in 0..self.members.len() {
            for to in 0..self.members.len() {
                let (here, there) = (side >> from & 1, side >> to & 1);
                let cut = match way {
                    0 => here > there,
                    1 => here < there,
                    _ => here != there,
                };
                if cut {
                    self.network.set(from, to, false);
                }
            }
        }
    }

    fn lose_power(&mut self, place: usize) {
        if self.members[place].life.is_none() {
            return;
        }
        let loss = match self.chance.below(4) {
            0 => Loss::All,
            1 => Loss::Nothing,
            _ => Loss::Seed(self.chance.next()),
        };
        self.ended(place, Some(loss));
    }

    fn kill(&mut self, place: usize) {
        if self.members[place].life.is_some() {
            self.ended(place, None);
        }
    }

    /// Whoever leads hands over to somebody.
    fn transfer(&mut self) -> Verdict {
        let target = self.some_member();
        let id = self.members[target].id;
        for place in 0..self.members.len() {
            if let Some(life) = &mut self.members[place].life {
                life.replica.transfer(id);
            }
            self.turn(place)?;
        }
        Ok(())
    }

    fn compact(&mut self, place: usize) -> Verdict {
        let Some(life) = &self.members[place].life else { return Ok(()) };
        let revision = life.machine.mvcc().revision().0;
        let back = self.chance.below(20);
        let revision = revision.saturating_sub(back);
        // Each is asked for once, so that each can be found again.
        if revision <= self.compacted {
            return Ok(());
        }
        self.compacted = revision;
        self.ask(place, Ask::write(&Command::Compact(revision as i64)))?;
        self.turn(place)
    }

    fn flush_and_go_on(&mut self, place: usize) -> Verdict {
        if self.members[place].life.is_none() {
            return Ok(());
        }
        self.flush(place)?;
        self.turn(place)
    }

    /// Somebody asks a member for a change of the membership, mostly a legal one.
    fn change(&mut self) -> Verdict {
        let place = self.some_member();
        if self.members[place].life.is_none() {
            return Ok(());
        }
        let (command, kind) = if self.chance.happens(250) {
            (self.draw_note(), Kind::Normal)
        } else {
            let Some((command, change)) = self.draw_change() else { return Ok(()) };
            (command, Kind::Change(change))
        };
        self.trace.say(self.now, || format!("{place}    is asked for {command:?}"));
        // These are not looked for in the log: the same may be asked for again.
        let proposal = Proposal { data: command.encode(), ticket: u64::MAX, kind };
        if let Some(life) = &mut self.members[place].life {
            life.replica.propose(&mut vec![proposal]);
        }
        self.turn(place)
    }

    /// What changes the list of members and not who counts.
    fn draw_note(&mut self) -> Command {
        let place = self.chance.place(self.members.len());
        let id = id_of(place);
        match self.chance.below(3) {
            0 => Command::SetMember(MemberRecord { name: "said".to_owned(), ..record(place, false) }),
            1 => {
                let peer_urls = vec![format!("http://10.1.0.{place}:{}", self.chance.between(2380, 2382))];
                Command::UpdateMember { id, peer_urls }
            }
            _ => Command::Alarm { raise: self.chance.happens(500), member: id, kind: AlarmKind::Corrupt },
        }
    }

    fn draw_change(&mut self) -> Option<(Command, Change)> {
        let roll = self.checks.membership.newest();
        let voters: Vec<MemberId> = roll.voters.iter().copied().collect();
        let everybody: Vec<MemberId> = roll.voters.iter().chain(&roll.learners).copied().collect();
        let drawn = self.chance.below(10);
        if drawn < 4 {
            let learner = drawn < 3;
            // Sometimes one that was removed, which must be refused.
            let removed: Vec<usize> = roll.removed.iter().map(|id| place_of(*id)).collect();
            let place = if !removed.is_empty() && self.chance.happens(200) {
                *self.chance.pick(&removed)
            } else {
                self.members.iter().position(|member| member.seat == Seat::Empty)?
            };
            let id = id_of(place);
            let change = if learner { Change::AddLearner(id) } else { Change::AddVoter(id) };
            return Some((Command::AddMember(record(place, learner)), change));
        }
        if drawn < 7 {
            let id = *self.chance.pick(if roll.learners.is_empty() { &voters } else { &everybody });
            let id = roll.learners.first().copied().unwrap_or(id);
            return Some((Command::PromoteMember(id), Change::Promote(id)));
        }
        if voters.len() < 3 && !self.chance.happens(150) {
            return None;
        }
        let id = *self.chance.pick(&everybody);
        Some((Command::RemoveMember(id), Change::Remove(id)))
    }

    /// Somebody was added: it can be started now, and is told who is there.
    pub(crate) fn joins(&mut self, change: Change) {
        let (Change::AddVoter(id) | Change::AddLearner(id)) = change else { return };
        let place = place_of(id);
        if self.members[place].seat != Seat::Empty {
            return;
        }
        let told = self.checks.membership.newest().voters.into_iter().filter(|voter| *voter != id).collect();
        self.members[place].seat = Seat::Taken { told };
        let delay = self.chance.between(1, 30 * TICK);
        self.after(delay, Event::Start(place));
    }
}
