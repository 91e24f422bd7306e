//! A lease ends by a leader that was confirmed in the term in which the entry stands, and never before its time has
//! passed since it was granted or last renewed, as far as clocks may differ; or because its client wanted that.
//!
//! Times are true ones: from when a client sent what was acknowledged, to when a leader proposed the end.

use std::collections::{BTreeMap, BTreeSet};

use command::{Command, Effect, Outcome};
use consensus::Standing;
use lease::Ending;
use types::{Index, LeaseId, Term};

use super::{Verdict, Violation, require};
use crate::network::Micros;

const NAME: &str = "leases";

/// All leases of a run. No id is used twice.
pub(crate) struct Leases {
    /// How fast the fastest clock of the run has ever gone, in hundredths of the true one.
    rate_percent_max: u64,
    known: BTreeMap<LeaseId, Lease>,
    /// Who proposed an end first, by lease and term.
    proposed: BTreeMap<(LeaseId, Term), Proposed>,
    /// What clients have asked to end.
    let_go: BTreeSet<LeaseId>,
}

struct Lease {
    born: Index,
    /// The time that was granted.
    time: Micros,
    /// When the newest request was sent that was acknowledged.
    sent: Option<Micros>,
    /// When its end was proposed, unless a client wanted it, and when it was first applied.
    ended: Option<(Option<Micros>, Micros)>,
}

struct Proposed {
    place: usize,
    confirmed: bool,
    at: Micros,
}

impl Default for Leases {
    fn default() -> Self {
        Self {
            rate_percent_max: 100,
            known: BTreeMap::new(),
            proposed: BTreeMap::new(),
            let_go: BTreeSet::new(),
        }
    }
}

impl Leases {
    /// A clock goes at another rate from now on.
    pub(crate) fn clock_goes(&mut self, rate_percent: u64) {
        self.rate_percent_max = self.rate_percent_max.max(rate_percent);
    }

    /// A client asks to end a lease: from now on it may end at any time.
    pub(crate) fn let_go(&mut self, id: LeaseId) {
        self.let_go.insert(id);
    }

    /// A member proposes to end what is over.
    pub(crate) fn proposes(&mut self, place: usize, standing: &Standing, endings: &[Ending], now: Micros) {
        for lease in endings {
            let confirmed = standing.confirmed;
            self.proposed.entry((lease.id, standing.term)).or_insert(Proposed { place, confirmed, at: now });
        }
    }

    /// What a member proposed in a term was certainly not taken.
    pub(crate) fn refused(&mut self, term: Term, endings: &[Ending]) {
        for lease in endings {
            self.proposed.remove(&(lease.id, term));
        }
    }

    /// An entry of `term` was applied; says how many leases it has ended for the first time.
    pub(crate) fn applied(
        &mut self,
        term: u64,
        commands: &[Command],
        outcomes: &[Outcome],
        now: Micros,
    ) -> Result<u64, Violation> {
        let mut ended = 0;
        for (command, outcome) in commands.iter().zip(outcomes) {
            match (command, &outcome.result) {
                (_, Ok(Effect::Granted { id, ttl, born })) => {
                    let time = *ttl as u64 * 1_000_000;
                    let lease = Lease { born: *born, time, sent: None, ended: None };
                    let known = self.known.entry(*id).or_insert(lease);
                    let born = *born;
                    require(NAME, known.born == born, || format!("lease {id} was granted again at {born}"))?;
                }
                (Command::RevokeLeases(asked), Ok(Effect::Revoked(leases))) => {
                    // Members name the lease that they mean by its birth, clients do not.
                    let by_client = asked.iter().any(|lease| lease.born.is_none());
                    for (id, _) in leases {
                        let first = if by_client {
                            self.is_let_go(*id, now)?
                        } else {
                            self.ends(*id, Term(term), now)?
                        };
                        ended += u64::from(first);
                    }
                }
                _ => {}
            }
        }
        Ok(ended)
    }

    /// A client's grant or renewal, sent at `sent`, was acknowledged.
    pub(crate) fn acknowledged(&mut self, id: LeaseId, sent: Micros) -> Verdict {
        let Some(lease) = self.known.get_mut(&id) else {
            return Err(Violation::new(NAME, format!("lease {id} was acknowledged and is in no log")));
        };
        lease.sent = lease.sent.max(Some(sent));
        if let Some((_, applied)) = lease.ended {
            require(NAME, sent < applied, || {
                format!("lease {id} ended at {applied} us; a renewal sent at {sent} us was acknowledged")
            })?;
        }
        lease.check(id, self.rate_percent_max)
    }

    /// A client has ended it. Whether this is the first that is heard of it.
    fn is_let_go(&mut self, id: LeaseId, now: Micros) -> Result<bool, Violation> {
        require(NAME, self.let_go.contains(&id), || format!("no client asked to end lease {id}"))?;
        let Some(lease) = self.known.get_mut(&id) else {
            return Err(Violation::new(NAME, format!("lease {id} ended and was never granted")));
        };
        let first = lease.ended.is_none();
        lease.ended.get_or_insert((None, now));
        Ok(first)
    }

    /// Its time was over. Whether this is the first that is heard of it.
    fn ends(&mut self, id: LeaseId, term: Term, now: Micros) -> Result<bool, Violation> {
        let Some(proposed) = self.proposed.get(&(id, term)) else {
            return Err(Violation::new(NAME, format!("lease {id} ended in {term:?}, which nobody proposed")));
        };
        require(NAME, proposed.confirmed, || {
            format!("member {} ended lease {id} in {term:?}, which it did not lead", proposed.place)
        })?;
        let at = proposed.at;
        let Some(lease) = self.known.get_mut(&id) else {
            return Err(Violation::new(NAME, format!("lease {id} ended and was never granted")));
        };
        let first = lease.ended.is_none();
        lease.ended.get_or_insert((Some(at), now));
        lease.check(id, self.rate_percent_max)?;
        Ok(first)
    }
}

impl Lease {
    fn check(&self, id: LeaseId, rate_percent_max: u64) -> Verdict {
        // Clocks count whole ms.
        let time = (self.time - 1000) * 100 / rate_percent_max;
        let (Some(sent), Some((Some(proposed), _))) = (self.sent, self.ended) else { return Ok(()) };
        require(NAME, proposed >= sent + time, || {
            format!(
                "the end of lease {id} was proposed at {proposed} us; a request sent at {sent} us was acknowledged, \
                 since which it lives for {time} us at least"
            )
        })
    }
}
