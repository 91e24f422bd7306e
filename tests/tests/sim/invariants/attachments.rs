//! Which leases there are, and which keys end with each, is what the log says, in every member: also in one that has
//! collected the keys from its own rows at a start, or from those of an installed snapshot.

use apply::Machine;

use super::linearizable::Past;
use super::{Verdict, require};

const NAME: &str = "attachments";

/// Checks a member's leases against those that the log makes.
pub(crate) fn check(place: usize, machine: &Machine, past: &Past) -> Verdict {
    let (leases, model) = (machine.leases(), past.model());
    let (held, wanted) = (leases.ids(), model.leases().collect::<Vec<_>>());
    require(NAME, held == wanted, || {
        format!("member {place} holds leases {held:?}; the log makes {wanted:?}")
    })?;
    for id in held {
        let (keys, wanted) = (leases.keys(id), model.attached(id));
        require(NAME, keys == wanted, || {
            format!("at member {place} {keys:?} end with lease {id}; the log makes {wanted:?}")
        })?;
    }
    Ok(())
}
