//! Whether the members hold the same: their fingerprints at one index are compared, and the majority is right.
//!
//! A leader compares from time to time, and every member itself once after its start. Who is found to be wrong gets
//! the alarm CORRUPT and serves nobody any more.
//!
//! INVARIANT: nobody is accused unless more than half of all members agree on something else.

use std::collections::BTreeMap;
use std::time::Duration;

use command::Command;
use consensus::Kind;
use types::{Alarm, AlarmKind, Index, MemberId};

use crate::member::House;
use crate::ticket::WriteTicket;

/// A peer that has not applied the index yet is asked so often.
const TRIES_MAX: usize = 10;
/// The pause before it is asked again.
const PAUSE: Duration = Duration::from_millis(100);
/// An answer has few digits.
const ANSWER_BYTES_MAX: usize = 64;
/// One question takes no longer.
const QUESTION_TIME_MAX: Duration = Duration::from_secs(2);

/// What the comparison says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As far as is known, all is well.
    Agreed,
    /// These members differ from the majority.
    Wrong(Vec<MemberId>),
    /// All have answered, and there is no majority.
    Split,
}

/// The verdict on answers of some of `count` members.
pub(crate) fn judge(answers: &[(MemberId, u64)], count: usize) -> Verdict {
    let mut tally: BTreeMap<u64, usize> = BTreeMap::new();
    for (_, fingerprint) in answers {
        *tally.entry(*fingerprint).or_default() += 1;
    }
    if tally.len() <= 1 {
        return Verdict::Agreed;
    }
    match tally.into_iter().find(|(_, votes)| *votes > count / 2) {
        Some((right, _)) => {
            let is_wrong = |answer: &&(MemberId, u64)| answer.1 != right;
            Verdict::Wrong(answers.iter().filter(is_wrong).map(|(member, _)| *member).collect())
        }
        None if answers.len() == count => Verdict::Split,
        None => Verdict::Agreed,
    }
}

/// Compares the members at this one's newest index, and raises alarms. `Some` member is the only one about whom
/// something is done.
pub(crate) async fn compare(house: &House, me: MemberId, only: Option<MemberId>) {
    let Some((index, verdict)) = ask_all(house, me).await else { return };
    let accused = match verdict {
        Verdict::Agreed => return,
        Verdict::Wrong(members) => members,
        // Nobody's: it tells people that something is wrong, and takes nobody out of service.
        Verdict::Split => vec![MemberId(0)],
    };
    for member in accused.into_iter().filter(|member| only.is_none_or(|only| only == *member)) {
        let alarm = Alarm { member, kind: AlarmKind::Corrupt };
        if house.wing.look().alarms.contains(alarm) {
            continue;
        }
        tracing::error!(
            { "member-id" } = %member, index = index.0,
            "found that a member holds other data than the majority; raising the alarm CORRUPT"
        );
        let command = Command::Alarm { raise: true, member, kind: AlarmKind::Corrupt };
        house.propose_chore(&command, Kind::Normal, WriteTicket::silent());
    }
}

async fn ask_all(house: &House, me: MemberId) -> Option<(Index, Verdict)> {
    let rooms = house.wing.enter();
    let (index, own) = rooms.fingerprints.newest()?;
    let members: Vec<MemberId> = rooms.members.list().into_iter().map(|member| member.id).collect();
    drop(rooms);
    let mut answers = vec![(me, own.0)];
    for peer in members.iter().copied().filter(|peer| *peer != me) {
        let asked = tokio::time::timeout(QUESTION_TIME_MAX, ask(house, peer, index)).await;
        answers.extend(asked.ok().flatten().map(|fingerprint| (peer, fingerprint)));
    }
    Some((index, judge(&answers, members.len())))
}

/// The fingerprint of a peer, if it can be had.
async fn ask(house: &House, peer: MemberId, index: Index) -> Option<u64> {
    let path = format!("/kvorum/fingerprint?index={}", index.0);
    for _ in 0..TRIES_MAX {
        match house.transport.get(peer, &path).await {
            Ok(answer) => {
                let text = answer.whole(ANSWER_BYTES_MAX).await.ok()?;
                return std::str::from_utf8(&text).ok()?.trim().parse().ok();
            }
            // It has not come so far, or does not remember any more.
            Err(transport::FetchError::Refused { status: 404, .. }) => tokio::time::sleep(PAUSE).await,
            Err(_) => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_majority_is_right() {
        let check = |answers: &[(u64, u64)], count: usize, expect: &Verdict| {
            let answers: Vec<_> = answers.iter().map(|(member, print)| (MemberId(*member), *print)).collect();
            assert_eq!(judge(&answers, count), *expect, "{answers:?} of {count}");
        };
        let wrong = |members: &[u64]| Verdict::Wrong(members.iter().copied().map(MemberId).collect());
        check(&[(1, 7), (2, 7), (3, 7)], 3, &Verdict::Agreed);
        check(&[(1, 7), (2, 7), (3, 8)], 3, &wrong(&[3]));
        check(&[(1, 8), (2, 7), (3, 7)], 3, &wrong(&[1]));
        check(&[(1, 8), (2, 7)], 3, &Verdict::Agreed);
        check(&[(1, 8), (2, 7), (3, 9)], 3, &Verdict::Split);
        check(&[(1, 8), (2, 7)], 2, &Verdict::Split);
        check(&[(1, 8), (2, 7), (3, 7), (4, 8), (5, 7)], 5, &wrong(&[1, 4]));
        check(&[(1, 8), (2, 7), (3, 7)], 5, &Verdict::Agreed);
        check(&[(1, 8)], 1, &Verdict::Agreed);
    }
}
