//! v2 nodes expire only by a leader that was confirmed in the term in which the entry stands, and never before their
//! time by that leader's clock. [`super::leases`] is the same for leases, whose time is not in the log.

use std::collections::BTreeMap;

use command::{Command, Effect, Outcome};
use consensus::Standing;
use types::v2::{Timestamp, Write};

use super::{Violation, require};

const NAME: &str = "expiry";

/// Who proposed which expiry. No two carry the same time: the simulator puts a number into its last digits.
#[derive(Default)]
pub(crate) struct Expiries {
    proposed: BTreeMap<Timestamp, Proposed>,
}

struct Proposed {
    place: usize,
    term: u64,
    confirmed: bool,
    clock: Timestamp,
}

impl Expiries {
    /// A member proposes to expire what is due at `now`.
    pub(crate) fn proposes(&mut self, place: usize, standing: &Standing, now: Timestamp, clock: Timestamp) {
        let (term, confirmed) = (standing.term.0, standing.confirmed);
        self.proposed.insert(now, Proposed { place, term, confirmed, clock });
    }

    /// An entry of `term` was applied; says how many nodes it has expired.
    pub(crate) fn applied(
        &self,
        term: u64,
        commands: &[Command],
        outcomes: &[Outcome],
    ) -> Result<u64, Violation> {
        let mut expired = 0;
        for (command, outcome) in commands.iter().zip(outcomes) {
            if let Command::V2 { write: Write::Expire { now, .. }, .. } = command {
                expired += self.expired(term, *now, outcome)?;
            }
        }
        Ok(expired)
    }

    fn expired(&self, term: u64, now: Timestamp, outcome: &Outcome) -> Result<u64, Violation> {
        let found = self.proposed.get(&now);
        require(NAME, found.is_some(), || format!("an expiry at {now:?} that nobody proposed was applied"))?;
        let Some(proposed) = found else { return Ok(0) };
        let place = proposed.place;
        require(NAME, proposed.confirmed && proposed.term == term, || {
            format!(
                "member {place} expired nodes in term {term}; when it proposed that, it was in term {} and {}",
                proposed.term,
                if proposed.confirmed { "led" } else { "did not lead" }
            )
        })?;
        require(NAME, now <= proposed.clock, || {
            format!("member {place} expired nodes as of {now:?}, when its clock showed {:?}", proposed.clock)
        })?;
        let Ok(Effect::V2(Ok(events))) = &outcome.result else { return Ok(0) };
        for event in events {
            let due = event.prev_node.as_ref().and_then(|node| node.expiration);
            require(NAME, due.is_none_or(|due| due <= now), || {
                format!("{} was due at {due:?} and expired at {now:?}", event.node.key)
            })?;
        }
        Ok(events.len() as u64)
    }
}
