//! The strict reconfiguration check (`--strict-reconfig-check`): whether the cluster would still have a quorum
//! that works after a change. The rules are etcd's, and look at what the proposing member knows of its peers.
//!
//! It protects people from themselves and not the data: it is asked before a change is proposed, never when it
//! is applied.

use std::collections::BTreeSet;
use std::time::Duration;

use types::{MemberId, MemberRecord};

use crate::rules::Change;

/// A peer counts as healthy when it has been connected for this long without a break.
pub const HEALTH_INTERVAL: Duration = Duration::from_secs(5);

/// Whom this member can reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// This member.
    pub local: MemberId,
    /// Peers that it is connected to now.
    pub connected: BTreeSet<MemberId>,
    /// Those of them that it has been connected to for [`HEALTH_INTERVAL`].
    pub healthy: BTreeSet<MemberId>,
}

/// Why the change would put the cluster at risk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Risk {
    /// Members that never started would be needed for a quorum.
    NotEnoughStarted,
    /// Members that are out of reach would be needed for a quorum.
    Unhealthy,
}

/// Whether `members` can take the change.
pub fn check_strictly(members: &[MemberRecord], change: &Change, reach: &Reach) -> Result<(), Risk> {
    let voters: Vec<&MemberRecord> = members.iter().filter(|member| !member.learner).collect();
    match change {
        Change::Add(member) => {
            // One member may always become two, or nobody could ever grow.
            let is_alone = voters.len() == 1 && started(&voters) == 1;
            if !member.learner && !is_alone && !has_quorum(started(&voters), voters.len() + 1) {
                return Err(Risk::NotEnoughStarted);
            }
            if healthy(&voters, reach) == voters.len() { Ok(()) } else { Err(Risk::Unhealthy) }
        }
        Change::Promote(_) => {
            // Whoever is to be promoted has the log, so it did start.
            if has_quorum(started(&voters) + 1, voters.len() + 1) {
                Ok(())
            } else {
                Err(Risk::NotEnoughStarted)
            }
        }
        Change::Remove(id) => check_remove(members, &voters, *id, reach),
        Change::Update { .. } => Ok(()),
    }
}

fn check_remove(
    members: &[MemberRecord],
    voters: &[&MemberRecord],
    id: MemberId,
    reach: &Reach,
) -> Result<(), Risk> {
    if members.iter().any(|member| member.id == id && member.learner) {
        return Ok(());
    }
    let others: Vec<&MemberRecord> = voters.iter().copied().filter(|member| member.id != id).collect();
    if others.is_empty() || !has_quorum(started(&others), others.len()) {
        return Err(Risk::NotEnoughStarted);
    }
    // Who is down is not part of the quorum that works.
    if id != reach.local && !reach.connected.contains(&id) {
        return Ok(());
    }
    let left = healthy(voters, reach).saturating_sub(1);
    if left < 1 + (voters.len() - 1) / 2 { Err(Risk::Unhealthy) } else { Ok(()) }
}

fn started(members: &[&MemberRecord]) -> usize {
    members.iter().filter(|member| member.is_started()).count()
}

fn healthy(members: &[&MemberRecord], reach: &Reach) -> usize {
    members.iter().filter(|member| member.id == reach.local || reach.healthy.contains(&member.id)).count()
}

fn has_quorum(count: usize, of: usize) -> bool {
    count > of / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A voter for each letter: `s` started and healthy, `c` started and connected just now, `d` started and
    /// down, `n` never started. The first one is this member, ids count from 1.
    fn cluster(text: &str) -> (Vec<MemberRecord>, Reach) {
        let mut reach = Reach { local: MemberId(1), ..Reach::default() };
        let mut members = Vec::new();
        for (id, kind) in (1..).zip(text.chars()) {
            let id = MemberId(id);
            let name = if kind == 'n' { String::new() } else { format!("m{id}") };
            if "sc".contains(kind) {
                reach.connected.insert(id);
            }
            if kind == 's' {
                reach.healthy.insert(id);
            }
            members.push(MemberRecord { id, name, peer_urls: vec![], client_urls: vec![], learner: false });
        }
        (members, reach)
    }

    fn check(text: &str, change: &Change, expect: Result<(), Risk>) {
        let (members, reach) = cluster(text);
        assert_eq!(check_strictly(&members, change, &reach), expect, "{text} {change:?}");
    }

    fn add(learner: bool) -> Change {
        Change::Add(MemberRecord {
            id: MemberId(99),
            name: String::new(),
            peer_urls: vec![],
            client_urls: vec![],
            learner,
        })
    }

    #[test]
    fn a_voter_is_added_when_all_are_well() {
        let not_started = Err(Risk::NotEnoughStarted);
        for (cluster, expect) in [
            ("s", Ok(())),
            ("ss", Ok(())),
            ("sss", Ok(())),
            // Growing from one to two to three: the second must start before the third is added.
            ("sn", not_started),
            ("ssn", not_started),
            ("ssd", Err(Risk::Unhealthy)),
            ("ssc", Err(Risk::Unhealthy)),
            ("ssnn", not_started),
        ] {
            check(cluster, &add(false), expect);
        }
        check("sn", &add(true), Err(Risk::Unhealthy));
        check("s", &add(true), Ok(()));
    }

    #[test]
    fn what_is_down_may_be_removed_and_what_holds_the_quorum_may_not() {
        let remove = |id| Change::Remove(MemberId(id));
        let unhealthy = Err(Risk::Unhealthy);
        for (cluster, id, expect) in [
            ("s", 1, Err(Risk::NotEnoughStarted)),
            ("s", 7, Ok(())),
            ("sn", 2, Ok(())),
            ("sn", 1, Err(Risk::NotEnoughStarted)),
            ("ss", 2, Ok(())),
            ("ss", 1, Ok(())),
            ("sd", 2, Ok(())),
            ("sd", 1, unhealthy),
            ("sss", 1, Ok(())),
            ("ssd", 3, Ok(())),
            ("ssd", 2, unhealthy),
            ("ssd", 1, unhealthy),
            ("ssc", 2, unhealthy),
        ] {
            check(cluster, &remove(id), expect);
        }
    }

    #[test]
    fn a_learner_goes_at_any_time_and_votes_when_enough_have_started() {
        let (mut members, reach) = cluster("sd");
        members.push(MemberRecord { id: MemberId(3), learner: true, ..members[1].clone() });
        assert_eq!(check_strictly(&members, &Change::Remove(MemberId(3)), &reach), Ok(()));
        let promote = Change::Promote(MemberId(3));
        assert_eq!(check_strictly(&members, &promote, &reach), Ok(()));
        check("s", &promote, Ok(()));
        check("sn", &promote, Ok(()));
        check("snn", &promote, Err(Risk::NotEnoughStarted));
    }
}
