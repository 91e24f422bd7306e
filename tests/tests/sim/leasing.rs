//! Leases: clients have some granted, attach keys to them, and keep them alive at any member for a while, or end them;
//! each member has a lessor, which ends what is over while it leads, as the thread of the program does.

use std::collections::BTreeMap;

use command::{Command, Effect, Revocation};
use consensus::{Kind, Proposal};
use lease::{Ending, Lessor, Portion, Renewal, Terms};
use types::{Index, LeaseId, MemberId, Term};

use crate::chance::Chance;
use crate::history::{Answer, Ask};
use crate::invariants::Verdict;
use crate::member::{Seat, place_of};
use crate::network::Micros;
use crate::plan::TICK;
use crate::planted::Planted;
use crate::world::{Event, World};

/// Tickets from here on are of leases and stand in no history.
pub(crate) const TICKETS: u64 = 1 << 62;
/// Leases that clients hold at once.
const HELD_MAX: usize = 4;
/// Who waits for longer asks for something else.
const PATIENCE: Micros = 60 * TICK;
const PORTION: Portion = Portion { leases_max: 2, keys_max: 100 };

/// A member's lessor, and what it has under way.
pub(crate) struct Office {
    lessor: Lessor,
    /// The term in which the member was confirmed, and what was committed then.
    candidate: Option<(Term, Index)>,
    under_way: Option<(u64, Term, Vec<Ending>)>,
}

impl Office {
    pub(crate) fn new() -> Self {
        Self { lessor: Lessor::new(None), candidate: None, under_way: None }
    }
}

/// What the clients know.
pub(crate) struct Leasing {
    chance: Chance,
    next_id: i64,
    next_ticket: u64,
    held: Vec<LeaseId>,
    /// Where a lease's client is connected, by the last digit of its id.
    homes: [usize; 4],
    /// Grants that are under way, by operation: when they were sent.
    grants: BTreeMap<u64, Micros>,
    /// Renewals that are under way, by ticket.
    renewals: BTreeMap<u64, (LeaseId, Micros)>,
}

impl Leasing {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            chance: Chance::new(seed ^ 0x1ea5_e000),
            next_id: 1,
            next_ticket: TICKETS,
            held: Vec::new(),
            homes: [0; 4],
            grants: BTreeMap::new(),
            renewals: BTreeMap::new(),
        }
    }

    fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }
}

impl World {
    /// A client has a lease granted, or renews one, or lets one go.
    pub(crate) fn lease(&mut self) -> Verdict {
        if self.quiet {
            return Ok(());
        }
        let delay = self.leasing.chance.between(TICK, 4 * TICK);
        self.after(delay, Event::Lease);
        let now = self.now;
        self.leasing.grants.retain(|_, sent| *sent + PATIENCE > now);
        self.leasing.renewals.retain(|_, (_, sent)| *sent + PATIENCE > now);
        let up: Vec<usize> = (0..self.members.len())
            .filter(|place| {
                let member = &self.members[*place];
                member.life.is_some() && matches!(member.seat, Seat::Taken { .. })
            })
            .collect();
        if up.is_empty() {
            return Ok(());
        }
        let place = *self.leasing.chance.pick(&up);
        if self.leasing.held.len() + self.leasing.grants.len() < HELD_MAX {
            let id = LeaseId(self.leasing.next_id);
            self.leasing.next_id += 1;
            let ttl = self.leasing.chance.between(1, 2) as i64;
            let operation = self.ask(place, Ask::write(&Command::GrantLease { id, ttl }))?;
            self.leasing.grants.insert(operation, now);
            return self.turn(place);
        }
        if self.leasing.held.is_empty() {
            return Ok(());
        }
        let at = self.leasing.chance.place(self.leasing.held.len());
        if self.leasing.chance.happens(60) {
            // It is left to end.
            self.leasing.held.remove(at);
            return Ok(());
        }
        if self.leasing.chance.happens(20) {
            let id = self.leasing.held.remove(at);
            self.checks.leases.let_go(id);
            let revocation = Revocation { id, born: None };
            self.ask(place, Ask::write(&Command::RevokeLeases(vec![revocation])))?;
            return self.turn(place);
        }
        let id = self.leasing.held[at];
        // Some are renewed just often enough.
        if id.0 % 2 == 0 && self.leasing.chance.happens(600) {
            return Ok(());
        }
        let ticket = self.leasing.ticket();
        self.leasing.renewals.insert(ticket, (id, now));
        let home = id.0 as usize % self.leasing.homes.len();
        if self.leasing.chance.happens(100) || !up.contains(&self.leasing.homes[home]) {
            self.leasing.homes[home] = place;
        }
        self.carry(self.leasing.homes[home], ticket)
    }

    /// A lease for a key: mostly one that is held, sometimes one that has ended or is not there yet.
    pub(crate) fn a_lease(&mut self) -> LeaseId {
        let leasing = &mut self.leasing;
        if leasing.held.is_empty() || leasing.chance.happens(50) {
            return LeaseId(leasing.chance.between(1, leasing.next_id as u64) as i64);
        }
        *leasing.chance.pick(&leasing.held)
    }

    /// A renewal goes to whom a member takes for the leader.
    fn carry(&mut self, place: usize, ticket: u64) -> Verdict {
        let Some(life) = &self.members[place].life else { return Ok(()) };
        let leader = life.replica.standing().leader;
        if leader == MemberId(0) {
            return Ok(());
        }
        let leader = place_of(leader);
        if leader == place {
            return self.renew(place, ticket);
        }
        let delay = self.leasing.chance.between(20, 3 * TICK);
        if self.network.hears(place, leader) && self.members.get(leader).is_some() {
            self.after(delay, Event::Renew { place: leader, ticket });
        }
        Ok(())
    }

    /// A renewal has come to a member.
    pub(crate) fn renew(&mut self, place: usize, ticket: u64) -> Verdict {
        let Some(life) = &mut self.members[place].life else { return Ok(()) };
        life.replica.read(&mut vec![ticket]);
        self.turn(place)
    }

    /// A leader was confirmed after a renewal had come.
    pub(crate) fn confirmed(&mut self, place: usize, ticket: u64, leader: (Term, MemberId)) -> Verdict {
        if leader.1 != self.members[place].id {
            return Ok(());
        }
        let now_ms = self.lease_ms(place);
        self.renewed(place, ticket, leader.0, now_ms)
    }

    fn renewed(&mut self, place: usize, ticket: u64, term: Term, now_ms: u64) -> Verdict {
        let Some((id, sent)) = self.leasing.renewals.remove(&ticket) else { return Ok(()) };
        let Some(life) = &mut self.members[place].life else { return Ok(()) };
        let kept = self.planted == Some(Planted::LeaseTimeKept);
        if life.office.lessor.term() != Some(term) && !kept {
            return Ok(());
        }
        let renewal = life.office.lessor.renew(id, now_ms);
        self.trace.say(self.now, || format!("{place}    renews lease {id}: {renewal:?}"));
        match renewal {
            Renewal::Renewed(_) => {
                self.counts.renewed += 1;
                if self.leasing.chance.happens(200) {
                    // Its client ends with the answer in its hands.
                    self.leasing.held.retain(|held| *held != id);
                }
                self.checks.leases.acknowledged(id, sent)
            }
            Renewal::Missing => {
                self.leasing.held.retain(|held| *held != id);
                Ok(())
            }
            Renewal::Ending | Renewal::Checkpointed(_) => Ok(()),
        }
    }

    /// A grant was answered to its client.
    pub(crate) fn granted(&mut self, operation: u64, answer: &Answer) -> Verdict {
        let Some(sent) = self.leasing.grants.remove(&operation) else { return Ok(()) };
        let Answer::Done(outcome) = answer else { return Ok(()) };
        let Ok(Effect::Granted { id, .. }) = outcome.result else { return Ok(()) };
        self.leasing.held.push(id);
        self.checks.leases.acknowledged(id, sent)
    }

    /// A member's lessor hears what was done.
    pub(crate) fn tell_office(&mut self, place: usize, outcomes: &[command::Outcome]) {
        let now_ms = self.lease_ms(place);
        let Some(life) = &mut self.members[place].life else { return };
        for outcome in outcomes {
            match &outcome.result {
                Ok(Effect::Granted { id, ttl, born }) => {
                    let terms = Terms { ttl: *ttl, remaining: 0, born: *born, deadline: None };
                    life.office.lessor.granted(*id, &terms, now_ms);
                }
                Ok(Effect::Revoked(leases)) => {
                    for (id, born) in leases {
                        life.office.lessor.ended(Ending { id: *id, born: *born });
                    }
                }
                _ => {}
            }
        }
    }

    /// What a lessor had proposed was put into the log, or certainly not.
    pub(crate) fn settled(&mut self, place: usize, ticket: u64, taken: bool) {
        let Some(life) = &mut self.members[place].life else { return };
        let Some((_, term, endings)) = life.office.under_way.take_if(|(under_way, ..)| *under_way == ticket)
        else {
            return;
        };
        if !taken {
            life.office.lessor.take_back(&endings);
            self.checks.leases.refused(term, &endings);
        }
    }

    /// A member's lessor looks at its clock.
    pub(crate) fn lease_round(&mut self, place: usize) {
        let (planted, now_ms, now) = (self.planted, self.lease_ms(place), self.now);
        let Some(life) = &mut self.members[place].life else { return };
        let standing = life.replica.standing();
        let office = &mut life.office;
        let reign = reign(office, &standing, life.machine.position().index);
        let leads = match planted {
            // It never begins anew: renewals elsewhere, and the lead of others, are nothing to it.
            Some(Planted::LeaseTimeKept) => Some(Term(0)),
            // Once it has led it goes on as if it did.
            Some(Planted::EndLeaseWithoutLead) => reign.or(office.lessor.term()),
            _ => reign,
        };
        let leases = life.machine.leases();
        office.lessor.round(now_ms, leads, false, || leases.list());
        let anybody = planted == Some(Planted::EndLeaseWithoutLead);
        if office.under_way.as_ref().is_some_and(|(_, term, _)| *term != standing.term) {
            office.under_way = None;
        }
        if leads.is_none() || (reign.is_none() && !anybody) || office.under_way.is_some() {
            return;
        }
        let ahead_ms = if planted == Some(Planted::EndLeaseByWrongClock) { 700 } else { 0 };
        let endings = office.lessor.due(now_ms + ahead_ms, PORTION, |_| 1);
        if endings.is_empty() {
            return;
        }
        self.checks.leases.proposes(place, &standing, &endings, now);
        let ticket = self.leasing.ticket();
        self.trace.say(now, || format!("{place}    proposes to end {endings:?}"));
        let revocations = endings.iter().map(|lease| Revocation { id: lease.id, born: Some(lease.born) });
        let command = Command::RevokeLeases(revocations.collect());
        let kind = if anybody { Kind::Normal } else { Kind::Chore(standing.term) };
        office.under_way = Some((ticket, standing.term, endings));
        life.replica.propose(&mut vec![Proposal { data: command.encode(), ticket, kind }]);
    }

    /// A member's clock of leases, which never jumps.
    fn lease_ms(&self, place: usize) -> u64 {
        self.members[place].clock.steady(self.now) / 1000
    }
}

/// As the program's thread finds out whether its member may act.
fn reign(office: &mut Office, standing: &consensus::Standing, applied: Index) -> Option<Term> {
    if !standing.confirmed {
        office.candidate = None;
        return None;
    }
    let committed = match office.candidate {
        Some((term, committed)) if term == standing.term => committed,
        _ => standing.commit,
    };
    office.candidate = Some((standing.term, committed));
    (applied >= committed).then_some(standing.term)
}
