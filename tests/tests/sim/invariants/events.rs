//! What watches are made of, the history by revision: it is gapless from the compacted revision on, every revision changed something, and every member tells the same.

use apply::Machine;
use types::{KeyRange, RangeQuery, Revision};

use super::linearizable::Past;
use super::{Verdict, Violation, require};

const NAME: &str = "events";

/// So many revisions of a member's history are looked at, evenly spread, the newest among them.
const LOOKS_MAX: u64 = 24;

/// Checks a member's history against the states that there were.
pub(crate) fn check(place: usize, machine: &Machine, past: &Past) -> Verdict {
    let mvcc = machine.mvcc();
    let (newest, compacted) = (mvcc.revision().0, mvcc.compacted().0);
    require(NAME, newest == past.revision() && compacted == past.model().compacted(), || {
        format!(
            "member {place} stands at revision {newest}, compacted {compacted}; the log makes {} and {}",
            past.revision(),
            past.model().compacted()
        )
    })?;
    let first = compacted.max(1);
    let step = ((newest - first) / LOOKS_MAX).max(1);
    for back in 0..=(newest - first) / step {
        let revision = Revision(newest - back * step);
        let mut query = RangeQuery::of(KeyRange::all());
        query.at = Some(revision);
        let (_, reply) = mvcc
            .range(&query)
            .map_err(|error| Violation::new(NAME, format!("member {place}, revision {revision}: {error}")))?;
        past.shows(NAME, &query.range, revision, &reply.kvs)?;
        if revision.0 > first {
            let changed = past.model().at(revision.0) != past.model().at(revision.0 - 1);
            require(NAME, changed, || format!("revision {revision} changed nothing"))?;
        }
    }
    Ok(())
}
