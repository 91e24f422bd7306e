//! Which change of the members is legal: a pure rule, asked before a change is proposed and again when it is
//! applied, where its answer is final.

use std::collections::{BTreeMap, BTreeSet};

use types::{MemberId, MemberRecord, MemberRefusal};

/// Learners that a cluster may have at once, whatever members are told: they share no settings, and must agree.
pub const LEARNERS_MAX: usize = 16;

/// A change of who is in the cluster, or of where a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new member.
    Add(MemberRecord),
    /// A learner is to vote.
    Promote(MemberId),
    /// A member goes for ever.
    Remove(MemberId),
    /// A member is somewhere else from now on.
    Update {
        /// Which member.
        id: MemberId,
        /// All of its peer URLs.
        peer_urls: Vec<String>,
    },
}

/// Who is there, and who was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Roster {
    pub(crate) records: BTreeMap<MemberId, MemberRecord>,
    pub(crate) removed: BTreeSet<MemberId>,
}

impl Roster {
    /// Whether the change is legal now. What is checked first decides what is said.
    pub(crate) fn judge(&self, change: &Change) -> Result<(), MemberRefusal> {
        match change {
            Change::Add(member) => self.judge_add(member),
            Change::Promote(id) => {
                if self.known(*id)?.learner {
                    Ok(())
                } else {
                    Err(MemberRefusal::NotLearner)
                }
            }
            Change::Remove(id) => {
                let votes = !self.known(*id)?.learner;
                let is_last = votes && self.records.values().filter(|member| !member.learner).count() == 1;
                if is_last { Err(MemberRefusal::LastVoter) } else { Ok(()) }
            }
            Change::Update { id, peer_urls } => {
                self.known(*id)?;
                self.judge_urls(*id, peer_urls)
            }
        }
    }

    fn judge_add(&self, member: &MemberRecord) -> Result<(), MemberRefusal> {
        if self.removed.contains(&member.id) {
            return Err(MemberRefusal::Removed);
        }
        // Zero says "nobody" wherever an id is told.
        if member.id == MemberId::default() || self.records.contains_key(&member.id) {
            return Err(MemberRefusal::Exists);
        }
        self.judge_urls(member.id, &member.peer_urls)?;
        let learners = self.records.values().filter(|known| known.learner).count();
        if member.learner && learners >= LEARNERS_MAX {
            return Err(MemberRefusal::TooManyLearners);
        }
        Ok(())
    }

    fn judge_urls(&self, id: MemberId, peer_urls: &[String]) -> Result<(), MemberRefusal> {
        let mut others = self.records.values().filter(|other| other.id != id);
        if others.any(|other| other.peer_urls.iter().any(|url| peer_urls.contains(url))) {
            Err(MemberRefusal::UrlExists)
        } else {
            Ok(())
        }
    }

    /// A member that is there.
    pub(crate) fn known(&self, id: MemberId) -> Result<&MemberRecord, MemberRefusal> {
        if self.removed.contains(&id) {
            return Err(MemberRefusal::Removed);
        }
        self.records.get(&id).ok_or(MemberRefusal::NotFound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, learner: bool) -> MemberRecord {
        MemberRecord {
            id: MemberId(id),
            name: format!("m{id}"),
            peer_urls: vec![format!("http://m{id}:2380")],
            client_urls: Vec::new(),
            learner,
        }
    }

    fn roster(members: &[MemberRecord], removed: &[u64]) -> Roster {
        Roster {
            records: members.iter().map(|member| (member.id, member.clone())).collect(),
            removed: removed.iter().map(|id| MemberId(*id)).collect(),
        }
    }

    fn update(id: u64, url: &str) -> Change {
        Change::Update { id: MemberId(id), peer_urls: vec![url.to_owned()] }
    }

    #[test]
    fn learners_are_bounded() {
        let mut members: Vec<MemberRecord> =
            (2..2 + LEARNERS_MAX as u64).map(|id| member(id, true)).collect();
        members.push(member(1, false));
        let roster = roster(&members, &[]);
        let add = |learner| roster.judge(&Change::Add(member(99, learner)));
        assert_eq!((add(true), add(false)), (Err(MemberRefusal::TooManyLearners), Ok(())));
    }

    #[test]
    fn each_mistake_has_its_own_refusal() {
        use MemberRefusal::*;
        let roster = roster(&[member(1, false), member(2, true)], &[9]);
        let at = |id, url: &str| MemberRecord { peer_urls: vec![url.to_owned()], ..member(id, false) };
        for (change, expect) in [
            (Change::Add(member(3, false)), Ok(())),
            (Change::Add(member(3, true)), Ok(())),
            (Change::Add(member(1, false)), Err(Exists)),
            (Change::Add(member(9, false)), Err(Removed)),
            (Change::Add(member(0, false)), Err(Exists)),
            (Change::Add(at(3, "http://m2:2380")), Err(UrlExists)),
            (Change::Promote(MemberId(2)), Ok(())),
            (Change::Promote(MemberId(1)), Err(NotLearner)),
            (Change::Promote(MemberId(3)), Err(NotFound)),
            (Change::Promote(MemberId(9)), Err(Removed)),
            (Change::Remove(MemberId(2)), Ok(())),
            (Change::Remove(MemberId(1)), Err(LastVoter)),
            (Change::Remove(MemberId(3)), Err(NotFound)),
            (Change::Remove(MemberId(9)), Err(Removed)),
            (update(1, "http://new:2380"), Ok(())),
            (update(1, "http://m1:2380"), Ok(())),
            (update(1, "http://m2:2380"), Err(UrlExists)),
            (update(3, "http://m2:2380"), Err(NotFound)),
            (update(9, "http://new:2380"), Err(Removed)),
        ] {
            assert_eq!(roster.judge(&change), expect, "{change:?}");
        }
    }
}
