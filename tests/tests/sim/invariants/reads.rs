//! Serializable reads: what is answered was the state at the revision that is answered, and of one life of a member
//! revisions never go back.

use std::collections::BTreeMap;

use super::linearizable::Past;
use super::{Verdict, require};
use crate::history::{Answer, Ask, History};

const NAME: &str = "reads";

/// Checks all serializable reads of a history against the states that there were.
pub(crate) fn check(history: &History, past: &Past) -> Verdict {
    let mut newest: BTreeMap<(usize, u64), u64> = BTreeMap::new();
    let mut reads: Vec<_> = history.operations.iter().filter(|read| read.ended.is_some()).collect();
    reads.sort_by_key(|read| read.ended);
    for read in reads {
        let (Ask::Serial(range), Some(Answer::Read { revision, pairs, .. })) = (&read.ask, &read.answer)
        else {
            continue;
        };
        past.shows(NAME, range, *revision, pairs)?;
        let seen = newest.entry((read.place, read.life)).or_default();
        require(NAME, *seen <= revision.0, || {
            format!("member {} answered revision {} after {seen}", read.place, revision.0)
        })?;
        *seen = revision.0;
    }
    Ok(())
}
