//! The members of a cluster as they are told to people, and what can be wrong with one.

use std::fmt;

use crate::MemberId;

/// What a member says of itself when asked who is in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRecord {
    /// Derived from the peer URLs and the cluster token.
    pub id: MemberId,
    /// Human name; empty until the member has started for the first time.
    pub name: String,
    /// Where other members reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it; empty until the member has started for the first time.
    pub client_urls: Vec<String>,
    /// Receives the log but does not vote.
    pub learner: bool,
}

impl MemberRecord {
    /// Whether it has ever told its name, which it does when it starts for the first time.
    pub fn is_started(&self) -> bool {
        !self.name.is_empty()
    }
}

/// Why the list of members does not change as was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberRefusal {
    /// A member with this id is there already.
    Exists,
    /// A member with this id was there and was removed; it never returns.
    Removed,
    /// Another member has one of these peer URLs.
    UrlExists,
    /// No member has this id.
    NotFound,
    /// Only a learner can be promoted.
    NotLearner,
    /// As many learners as are allowed are there already.
    TooManyLearners,
    /// Without this one nobody would vote.
    LastVoter,
}

/// What an alarm is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlarmKind {
    /// A member's database has outgrown its quota.
    NoSpace,
    /// A member holds other data than the rest.
    Corrupt,
}

/// Something that is wrong with a member, and stays known to the cluster until somebody lowers it.
///
/// Shown as the status of a member shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Alarm {
    /// Whose alarm it is; clients may raise one for id 0, which is nobody's.
    pub member: MemberId,
    /// What it is about.
    pub kind: AlarmKind,
}

impl fmt::Display for AlarmKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSpace => "NOSPACE",
            Self::Corrupt => "CORRUPT",
        })
    }
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.member != MemberId::default() {
            write!(f, "memberID:{} ", self.member.0)?;
        }
        write!(f, "alarm:{} ", self.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_are_shown_as_in_the_status_of_etcd() {
        let check = |member, kind, expect| {
            assert_eq!(Alarm { member: MemberId(member), kind }.to_string(), expect);
        };
        check(123, AlarmKind::NoSpace, "memberID:123 alarm:NOSPACE ");
        check(0, AlarmKind::Corrupt, "alarm:CORRUPT ");
    }
}
