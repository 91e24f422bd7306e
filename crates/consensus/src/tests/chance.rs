//! One long story made of chance: everything that can go wrong does, then nothing does, and everybody must be well.
//! `Net` checks on the way that one leads in a term, that logs match, that nothing happens twice or after it was
//! refused, and that no read is stale.

use types::MemberId;

use super::net::Net;
use crate::{Change, Kind, Role, Seat};

/// Chance that a seed repeats.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }
}

struct Story {
    net: Net,
    chance: Chance,
    number: u64,
    joined: u64,
    gone: Vec<u64>,
}

impl Story {
    fn begin(seed: u64) -> Self {
        let mut net = Net::new(3);
        net.be_quiet();
        Self { net, chance: Chance(seed ^ 0x5eed), number: 0, joined: 3, gone: Vec::new() }
    }

    fn somebody(&mut self) -> u64 {
        let ids: Vec<_> = self.net.nodes.keys().copied().collect();
        ids[self.chance.below(ids.len() as u64) as usize]
    }

    fn running(&self, id: u64) -> bool {
        let node = &self.net.nodes[&id];
        node.replica.is_some() && !node.paused
    }

    fn name(&mut self) -> String {
        self.number += 1;
        format!("c{}", self.number)
    }

    fn step(&mut self) {
        let id = self.somebody();
        match self.chance.below(40) {
            0 => self.net.crash(id),
            1..4 if self.net.nodes[&id].replica.is_none() => self.net.start(id),
            4 => self.set(id, |node| node.paused = true),
            5..8 => self.set(id, |node| node.paused = false),
            8 => self.set(id, |node| node.slow_disk = true),
            9 => self.set(id, |node| node.slow_reading = !node.slow_reading),
            10..12 => self.set(id, |node| node.slow_disk = false),
            12 => {
                let other = self.somebody();
                self.net.cut.insert((id, other));
            }
            13 => {
                self.net.cut.clear();
            }
            14 => self.net.flush_and_release(id),
            15 => self.net.fetches = !self.net.fetches,
            16 if self.running(id) => {
                let to = self.somebody();
                self.net.replica(id).transfer(MemberId(to));
            }
            17 if self.running(id) => self.change(id),
            18..26 if self.running(id) => {
                let name = self.name();
                self.net.propose(id, &name);
            }
            26..30 if self.running(id) => {
                let name = self.name();
                self.net.read(id, &name);
            }
            30 if self.running(id) => {
                let name = self.name();
                let term = self.net.replica(id).standing().term;
                self.net.propose_as(id, &name, Kind::Chore(term));
            }
            31 => {
                self.net.write_one_if_running(id);
            }
            _ => self.net.tick_once(),
        }
        self.net.work_all();
        for _ in 0..self.chance.below(12) {
            self.deliver_one();
        }
    }

    fn set(&mut self, id: u64, act: impl FnOnce(&mut super::net::Node)) {
        act(self.net.nodes.get_mut(&id).expect("a member"));
    }

    // Somewhere from the front: lost, doubled, or just late.
    fn deliver_one(&mut self) {
        let waiting = self.net.wires.len() as u64;
        if waiting == 0 {
            return;
        }
        let at = if self.chance.one_in(4) { self.chance.below(waiting.min(8)) } else { 0 };
        let Some(envelope) = self.net.wires.remove(at as usize) else { return };
        if self.chance.one_in(20) {
            // The second is a guess that is usually wrong.
            let gone = self.chance.one_in(2);
            return self.net.replica_if_running(envelope.from.0, |replica| {
                if gone { replica.gone(envelope.to) } else { replica.unreachable(envelope.to) }
            });
        }
        if self.chance.one_in(20) {
            let later = self.chance.below(waiting) as usize;
            self.net.wires.insert(later, envelope.clone());
        }
        self.net.deliver(&envelope);
        self.net.work_all();
    }

    // At most five in all, never fewer than two that vote.
    fn change(&mut self, id: u64) {
        let survey = self.net.replica(id).survey();
        let name = self.name();
        let change = match self.chance.below(4) {
            0 if survey.voters.len() + survey.learners.len() < 5 && self.joined < 12 => {
                self.joined += 1;
                let others: Vec<_> = survey.voters.iter().map(|member| member.0).collect();
                self.net.join(self.joined, &others);
                let member = MemberId(self.joined);
                if self.chance.one_in(2) { Change::AddLearner(member) } else { Change::AddVoter(member) }
            }
            1 if survey.voters.len() > 2 => {
                let member = survey.voters[self.chance.below(survey.voters.len() as u64) as usize];
                Change::Remove(member)
            }
            _ => match survey.learners.first() {
                Some(learner) if self.chance.one_in(2) => Change::Promote(*learner),
                Some(learner) => Change::Remove(*learner),
                None => return,
            },
        };
        self.net.propose_as(id, &name, Kind::Change(change));
    }

    /// Everything works again: somebody leads, everybody who belongs to the cluster has everything, and all serve.
    fn heal(&mut self) {
        self.net.cut.clear();
        self.net.fetches = true;
        let ids: Vec<_> = self.net.nodes.keys().copied().collect();
        for id in ids {
            self.set(id, |node| {
                (node.paused, node.slow_disk, node.slow_reading) = (false, false, false);
            });
            if self.net.nodes[&id].replica.is_none() {
                self.net.start(id);
            }
        }
        self.net.tick(150);
        let ids: Vec<_> = self.net.nodes.keys().copied().collect();
        let leads = |net: &mut Net, id: &u64| net.replica(*id).standing().role == Role::Leader;
        let leader = ids.iter().copied().find(|id| leads(&mut self.net, id)).expect("somebody leads");
        let survey = self.net.replica(leader).survey();
        let members: Vec<_> = survey.voters.iter().chain(&survey.learners).map(|member| member.0).collect();
        self.gone.extend(ids.iter().filter(|id| !members.contains(id)));
        let mut asked = Vec::new();
        for id in &members {
            let (write, read) = (self.name(), self.name());
            self.net.propose(*id, &write);
            self.net.read(*id, &read);
            asked.push((*id, write, read));
        }
        self.net.tick(60);
        for (id, write, read) in asked {
            let survey = self.net.replica(id).survey();
            assert!(self.net.answered.contains_key(&write), "{write} of {id} was not answered: {survey:?}");
            assert!(self.net.released.contains(&read), "{read} of {id} was not released: {survey:?}");
        }
        self.net.check_same(&members);
        for id in self.gone.clone() {
            let standing = self.net.replica(id).standing();
            assert!(standing.role != Role::Leader || standing.seat == Seat::Voter, "{id} leads and is gone");
        }
    }
}

fn tell(seed: u64) {
    let mut story = Story::begin(seed);
    for _ in 0..3 {
        for _ in 0..400 {
            story.step();
        }
        story.heal();
    }
}

#[test]
fn whatever_happens_nothing_is_lost_and_everybody_recovers() {
    // One alone, or so many from the first on.
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = number("SEED").map_or(0..number("SEEDS").unwrap_or(60), |seed| seed..seed + 1);
    for seed in seeds {
        let told = std::panic::catch_unwind(|| tell(seed));
        assert!(told.is_ok(), "seed {seed} fails; run with SEED={seed}");
    }
}
