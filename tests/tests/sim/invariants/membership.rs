//! Membership changes one at a time, as the log says, at every member alike; who was removed never returns and is
//! counted by nobody.

use std::collections::{BTreeMap, BTreeSet};

use consensus::{Change, Survey};
use types::MemberId;

use super::{Verdict, require};

const NAME: &str = "membership";

/// Who is in, after an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Roll {
    /// Who votes.
    pub(crate) voters: BTreeSet<MemberId>,
    /// Who listens.
    pub(crate) learners: BTreeSet<MemberId>,
    /// Who was removed, for ever.
    pub(crate) removed: BTreeSet<MemberId>,
}

/// The rolls that there were, by the index that made them.
#[derive(Default)]
pub(crate) struct Membership {
    rolls: BTreeMap<u64, Roll>,
}

impl Membership {
    /// The cluster is founded at `index`.
    pub(crate) fn founded(&mut self, index: u64, voters: impl Iterator<Item = MemberId>) {
        self.rolls.insert(index, Roll { voters: voters.collect(), ..Roll::default() });
    }

    /// The roll after the entry at `index`.
    pub(crate) fn at(&self, index: u64) -> Roll {
        self.rolls.range(..=index).next_back().map(|(_, roll)| roll.clone()).unwrap_or_default()
    }

    /// How often it has changed.
    pub(crate) fn changes(&self) -> u64 {
        self.rolls.len() as u64 - 1
    }

    /// The newest roll.
    pub(crate) fn newest(&self) -> Roll {
        self.at(u64::MAX)
    }

    /// The state machine has accepted a change, in the entry at `index`.
    pub(crate) fn accepted(&mut self, index: u64, change: Change) -> Verdict {
        if self.rolls.contains_key(&index) {
            return Ok(());
        }
        let mut roll = self.at(index);
        let id = change.member();
        require(NAME, !roll.removed.contains(&id), || {
            format!("entry {index} brings member {id} back, which was removed")
        })?;
        let legal = match change {
            Change::AddVoter(_) => !roll.learners.contains(&id) && roll.voters.insert(id),
            Change::AddLearner(_) => !roll.voters.contains(&id) && roll.learners.insert(id),
            Change::Promote(_) => roll.learners.remove(&id) && roll.voters.insert(id),
            Change::Remove(_) => {
                roll.removed.insert(id);
                roll.voters.remove(&id) | roll.learners.remove(&id)
            }
        };
        require(NAME, legal, || {
            format!("entry {index} was accepted with {change:?}, which changes nothing")
        })?;
        require(NAME, !roll.voters.is_empty(), || format!("entry {index} leaves nobody to vote"))?;
        self.rolls.insert(index, roll);
        Ok(())
    }

    /// A member that has applied `index` counts these.
    pub(crate) fn counts(&self, place: usize, index: u64, survey: &Survey) -> Verdict {
        let roll = self.at(index);
        let same = roll.voters.iter().eq(&survey.voters) && roll.learners.iter().eq(&survey.learners);
        require(NAME, same, || {
            format!(
                "member {place} has applied {index} and counts voters {:?}, learners {:?}; the log says {roll:?}",
                survey.voters, survey.learners
            )
        })?;
        let stranger = survey.peers.iter().find(|peer| roll.removed.contains(&peer.id));
        require(NAME, stranger.is_none(), || {
            format!("member {place} leads and still keeps account of {stranger:?}, which was removed")
        })
    }
}
