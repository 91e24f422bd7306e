//! In a term at most one member leads, and a member's term never goes down, through restarts too.

use std::collections::BTreeMap;

use consensus::{Role, Standing};

use super::{Verdict, require};

const NAME: &str = "leaders";

/// Who led, and how far everybody was.
#[derive(Default)]
pub(crate) struct Leaders {
    by_term: BTreeMap<u64, usize>,
    terms: BTreeMap<usize, u64>,
}

impl Leaders {
    /// In how many terms somebody led.
    pub(crate) fn terms(&self) -> u64 {
        self.by_term.len() as u64
    }

    /// A member stands like this now.
    pub(crate) fn stands(&mut self, place: usize, standing: &Standing) -> Verdict {
        let term = standing.term.0;
        if standing.role == Role::Leader {
            let first = *self.by_term.entry(term).or_insert(place);
            require(NAME, first == place, || {
                format!("members {first} and {place} both lead in term {term}")
            })?;
        }
        Ok(())
    }

    /// A member said something to others in a term: it must never forget that.
    pub(crate) fn spoke(&mut self, place: usize, term: u64) {
        let known = self.terms.entry(place).or_default();
        *known = term.max(*known);
    }

    /// A member starts with this term.
    pub(crate) fn starts(&self, place: usize, term: u64) -> Verdict {
        let known = self.terms.get(&place).copied().unwrap_or_default();
        require(NAME, known <= term, || {
            format!("member {place} starts in term {term}, but has spoken to others in term {known}")
        })
    }
}
