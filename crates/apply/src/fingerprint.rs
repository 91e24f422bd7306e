//! The rolling hash of everything applied, by which members tell whether they are the same.
//!
//! It is chained over every entry (index, term, bytes) and a digest of every outcome, so that members which
//! applied the same entries to the same state have the same one at the same index. Each step is a bijection of
//! the chain so far: members that once differed differ at every later index.
//!
//! INVARIANT: the same history has the same fingerprint in every version of this program.

use std::collections::VecDeque;
use std::sync::Arc;

use command::{Bridged, Effect, Outcome, Refused};
use parking_lot::Mutex;
use types::v2auth::{Changed, Refusal};
use types::{
    Alarm, AuthDone, AuthRefusal, Index, KeyValue, LeaseId, MemberId, MemberRecord, MemberRefusal, OpReply,
    RangeReply, Term, TxnReply, v2,
};

/// Fingerprints that are kept in memory for comparing; older ones are forgotten.
pub const FINGERPRINTS_MAX: usize = 65_536;

/// The chain at an index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint(pub u64);

impl Fingerprint {
    /// Where a cluster begins: the ids of its founders.
    pub(crate) fn of_founders(founders: &[MemberRecord]) -> Self {
        let mut ids: Vec<MemberId> = founders.iter().map(|founder| founder.id).collect();
        ids.sort_unstable();
        let mut digest = Digest(0);
        for id in ids {
            digest.number(id.0);
        }
        Self(digest.0)
    }

    /// Where another cluster goes on with the same data: its founders, and how far the revision leapt.
    #[must_use]
    pub(crate) fn refounded(self, founders: &[MemberRecord], leap: Option<u64>) -> Self {
        let mut digest = Digest(self.0);
        digest.number(Self::of_founders(founders).0);
        digest.number(leap.unwrap_or(0));
        Self(digest.0)
    }

    /// After one more entry and what it did.
    #[must_use]
    pub(crate) fn after(self, index: Index, term: Term, data: &[u8], outcomes: &[Outcome]) -> Self {
        let mut digest = Digest(self.0);
        digest.number(index.0);
        digest.number(term.0);
        digest.bytes(data);
        for outcome in outcomes {
            digest.outcome(outcome);
        }
        Self(digest.0)
    }
}

/// The newest fingerprints, for whoever compares members. Shared with the one who applies.
#[derive(Debug, Default)]
pub struct Fingerprints {
    // The last index, and the fingerprints up to it without a gap.
    ring: Mutex<(Index, VecDeque<Fingerprint>)>,
}

impl Fingerprints {
    /// The fingerprint at `index`; `None` before what is kept and after what is applied.
    pub fn at(&self, index: Index) -> Option<Fingerprint> {
        let ring = self.ring.lock();
        let back = usize::try_from(ring.0.0.checked_sub(index.0)?).ok()?;
        let at = ring.1.len().checked_sub(1)?.checked_sub(back)?;
        ring.1.get(at).copied()
    }

    /// The newest one, with its index.
    pub fn newest(&self) -> Option<(Index, Fingerprint)> {
        let ring = self.ring.lock();
        ring.1.back().map(|newest| (ring.0, *newest))
    }

    /// Forgets all and begins at `index`.
    pub(crate) fn begin(&self, index: Index, fingerprint: Fingerprint) {
        *self.ring.lock() = (index, VecDeque::from([fingerprint]));
    }

    /// Adds those of the entries up to `last`.
    pub(crate) fn extend(&self, last: Index, fingerprints: &[Fingerprint]) {
        let mut ring = self.ring.lock();
        debug_assert_eq!(ring.0.0 + fingerprints.len() as u64, last.0, "no gaps");
        ring.0 = last;
        ring.1.extend(fingerprints);
        let excess = ring.1.len().saturating_sub(FINGERPRINTS_MAX);
        ring.1.drain(..excess);
    }
}

struct Digest(u64);

impl Digest {
    /// For a given number a bijection of the chain, and for a given chain one of the number.
    fn number(&mut self, number: u64) {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        const OFFSET: u64 = 0xd1b5_4a32_d192_ed03;
        let mut mixed = (self.0 ^ number).wrapping_add(OFFSET).wrapping_mul(ODD);
        mixed ^= mixed >> 32;
        mixed = mixed.wrapping_mul(ODD);
        self.0 = mixed ^ (mixed >> 29);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number((bytes.len() as u64) << 32 | u64::from(crc32c::crc32c(bytes)));
    }

    fn outcome(&mut self, outcome: &Outcome) {
        self.number(outcome.revision.0);
        match &outcome.result {
            Ok(effect) => self.effect(effect),
            Err(refused) => self.number(0x100 + refusal(*refused)),
        }
    }

    fn effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Put(reply) => {
                self.number(1);
                self.pairs(reply.prev_kv.as_slice());
            }
            Effect::DeleteRange(reply) => {
                self.number(2);
                self.number(reply.deleted);
                self.pairs(&reply.prev_kvs);
            }
            Effect::Txn(reply) => {
                self.number(3);
                self.txn(reply);
            }
            Effect::Compact => self.number(4),
            Effect::V2(result) => {
                self.number(5);
                self.v2(result);
            }
            Effect::Bridged(Bridged { prefix, result, granted, ended }) => {
                self.number(12);
                self.bytes(prefix);
                match result {
                    Ok(event) => self.event(event),
                    Err(refusal) => self.refusal(refusal),
                }
                if let Some(granted) = granted {
                    self.lease(granted.id, granted.born, granted.ttl);
                    self.number(granted.deadline.0 as u64);
                }
                for (id, born) in ended {
                    self.lease(*id, *born, 0);
                }
            }
            Effect::SetMember => self.number(6),
            Effect::Members(members) => {
                self.number(7);
                for member in members {
                    self.member(member);
                }
            }
            Effect::Alarms(alarms) => {
                self.number(8);
                for alarm in alarms {
                    self.alarm(*alarm);
                }
            }
            Effect::Granted { id, ttl, born } => {
                self.number(9);
                self.lease(*id, *born, *ttl);
            }
            Effect::Revoked(leases) => {
                self.number(10);
                for (id, born) in leases {
                    self.lease(*id, *born, 0);
                }
            }
            Effect::Checkpointed(leases) => {
                self.number(11);
                for lease in leases {
                    self.lease(lease.id, lease.born, lease.remaining);
                }
            }
            Effect::Auth(done) => {
                self.number(21);
                self.auth(done);
            }
            Effect::V2Auth(result) => {
                self.number(20);
                self.v2_auth(result);
            }
        }
    }

    fn pairs(&mut self, pairs: &[KeyValue]) {
        self.number(pairs.len() as u64);
        for pair in pairs {
            self.bytes(&pair.key);
            self.bytes(&pair.value);
            self.number(pair.create_revision.0);
            self.number(pair.mod_revision.0);
            self.number(pair.version);
            self.number(pair.lease.0 as u64);
        }
    }

    fn range(&mut self, reply: &RangeReply) {
        self.number(reply.count << 1 | u64::from(reply.more));
        self.pairs(&reply.kvs);
    }

    // As deep as transactions may nest.
    fn txn(&mut self, reply: &TxnReply) {
        self.number((reply.responses.len() as u64) << 1 | u64::from(reply.succeeded));
        for response in &reply.responses {
            self.number(response.revision.0);
            match &response.reply {
                OpReply::Range(reply) => self.range(reply),
                OpReply::Put(reply) => self.pairs(reply.prev_kv.as_slice()),
                OpReply::Delete(reply) => {
                    self.number(reply.deleted);
                    self.pairs(&reply.prev_kvs);
                }
                OpReply::Txn(reply) => self.txn(reply),
            }
        }
    }

    fn v2(&mut self, result: &Result<Vec<Arc<v2::Event>>, v2::Refusal>) {
        match result {
            Ok(events) => {
                self.number(events.len() as u64);
                for event in events {
                    self.event(event);
                }
            }
            Err(refusal) => self.refusal(refusal),
        }
    }

    fn auth(&mut self, done: &AuthDone) {
        match done {
            AuthDone::Changed => self.number(1),
            AuthDone::Ended { user } => {
                self.number(2);
                self.bytes(user.as_bytes());
            }
            AuthDone::Disabled => self.number(3),
            AuthDone::Token { user, token } => {
                self.number(4);
                self.bytes(user.as_bytes());
                self.bytes(token.as_bytes());
            }
        }
    }

    fn v2_auth(&mut self, result: &Result<Changed, Refusal>) {
        match result {
            Ok(Changed::User { user, created }) => {
                self.number(1 + u64::from(*created));
                self.bytes(user.name.as_bytes());
                user.roles.iter().flatten().for_each(|role| self.bytes(role.as_bytes()));
            }
            Ok(Changed::Role(role)) => {
                self.number(3);
                self.bytes(role.name.as_bytes());
                let patterns = role.rights.read.iter().chain(&role.rights.write).flatten();
                patterns.for_each(|pattern| self.bytes(pattern.as_bytes()));
            }
            Ok(Changed::Done) => self.number(4),
            Err(refusal) => {
                self.number(0x100);
                self.bytes(refusal.to_string().as_bytes());
            }
        }
    }

    fn event(&mut self, event: &v2::Event) {
        self.number(event.index);
        self.bytes(event.action.as_str().as_bytes());
        self.node(&event.node);
        event.prev_node.iter().for_each(|node| self.node(node));
    }

    fn refusal(&mut self, refusal: &v2::Refusal) {
        self.number(0x100 + u64::from(refusal.code));
        self.number(refusal.index);
    }

    // What is told of the time left follows from the time of the end.
    fn node(&mut self, node: &v2::Node) {
        self.bytes(node.key.as_bytes());
        self.bytes(node.value.as_deref().unwrap_or_default());
        self.number(u64::from(node.dir));
        self.number(node.expiration.map_or(0, |time| time.0 as u64));
        self.number(node.modified_index);
        self.number(node.created_index);
    }

    // Founders found by DNS know one another by other names until they have told their own.
    fn member(&mut self, member: &MemberRecord) {
        self.number(member.id.0);
        self.number(u64::from(member.learner));
        member.peer_urls.iter().for_each(|url| self.bytes(url.as_bytes()));
    }

    fn lease(&mut self, id: LeaseId, born: Index, seconds: i64) {
        self.number(id.0 as u64);
        self.number(born.0);
        self.number(seconds as u64);
    }

    fn alarm(&mut self, alarm: Alarm) {
        self.number(alarm.member.0);
        self.bytes(alarm.kind.to_string().as_bytes());
    }
}

fn refusal(refused: Refused) -> u64 {
    match refused {
        Refused::KeyNotFound => 1,
        Refused::LeaseNotFound => 2,
        Refused::Compacted => 3,
        Refused::FutureRevision => 4,
        Refused::NoSpace => 5,
        Refused::LeaseExists => 6,
        Refused::LeaseTtlTooLarge => 7,
        Refused::TooManyLeases => 8,
        Refused::Member(why) => match why {
            MemberRefusal::Exists => 16,
            MemberRefusal::Removed => 17,
            MemberRefusal::UrlExists => 18,
            MemberRefusal::NotFound => 19,
            MemberRefusal::NotLearner => 20,
            MemberRefusal::TooManyLearners => 21,
            MemberRefusal::LastVoter => 22,
        },
        Refused::Auth(why) => match why {
            AuthRefusal::RootUserMissing => 32,
            AuthRefusal::RootRoleMissing => 33,
            AuthRefusal::UserExists => 34,
            AuthRefusal::UserEmpty => 35,
            AuthRefusal::UserNotFound => 36,
            AuthRefusal::RoleExists => 37,
            AuthRefusal::RoleNotFound => 38,
            AuthRefusal::RoleEmpty => 39,
            AuthRefusal::RoleNotGranted => 40,
            AuthRefusal::PermissionNotGranted => 41,
            AuthRefusal::InvalidManagement => 42,
            AuthRefusal::NotEnabled => 43,
            AuthRefusal::Failed => 44,
            AuthRefusal::OldRevision => 45,
            AuthRefusal::Denied => 46,
            AuthRefusal::TooMany => 47,
        },
    }
}

#[cfg(test)]
mod tests {
    use types::{PutReply, Revision};

    use super::*;

    fn put(revision: u64, prev_kv: Option<KeyValue>) -> Outcome {
        Outcome { revision: Revision(revision), result: Ok(Effect::Put(PutReply { prev_kv })) }
    }

    fn pair(value: &'static [u8]) -> KeyValue {
        KeyValue {
            key: "k".into(),
            value: value.into(),
            create_revision: Revision(2),
            mod_revision: Revision(3),
            version: 2,
            lease: types::LeaseId(0),
        }
    }

    #[test]
    fn whatever_differs_shows_now_and_for_ever() {
        let start = Fingerprint(7);
        let good = start.after(Index(9), Term(2), b"data", &[put(4, Some(pair(b"v")))]);
        let others = [
            Fingerprint(8).after(Index(9), Term(2), b"data", &[put(4, Some(pair(b"v")))]),
            start.after(Index(10), Term(2), b"data", &[put(4, Some(pair(b"v")))]),
            start.after(Index(9), Term(3), b"data", &[put(4, Some(pair(b"v")))]),
            start.after(Index(9), Term(2), b"dat\0", &[put(4, Some(pair(b"v")))]),
            start.after(Index(9), Term(2), b"data", &[put(5, Some(pair(b"v")))]),
            start.after(Index(9), Term(2), b"data", &[put(4, Some(pair(b"w")))]),
            start.after(Index(9), Term(2), b"data", &[put(4, None)]),
            start.after(Index(9), Term(2), b"data", &[]),
            start.after(
                Index(9),
                Term(2),
                b"data",
                &[Outcome { revision: Revision(4), result: Err(Refused::Compacted) }],
            ),
        ];
        for other in others {
            assert_ne!(good, other);
            let mut chains = (good, other);
            for index in 10..1000 {
                let next = |chain: Fingerprint| chain.after(Index(index), Term(2), b"", &[put(index, None)]);
                chains = (next(chains.0), next(chains.1));
                assert_ne!(chains.0, chains.1, "healed at {index}");
            }
        }
    }

    /// It goes into files and is compared between versions.
    #[test]
    fn the_chain_does_not_change() {
        let founder = |id| MemberRecord {
            id: MemberId(id),
            name: String::new(),
            peer_urls: vec![],
            client_urls: vec![],
            learner: false,
        };
        let start = Fingerprint::of_founders(&[founder(3), founder(1)]);
        assert_eq!(start, Fingerprint::of_founders(&[founder(1), founder(3)]));
        let next = start.after(Index(2), Term(2), b"abc", &[put(2, None)]);
        assert_eq!((start.0, next.0), (GOLDEN_START, GOLDEN_NEXT));
    }

    const GOLDEN_START: u64 = 0xec0f_017c_53c4_d77b;
    const GOLDEN_NEXT: u64 = 0x7681_17ed_066b_3cf1;

    #[test]
    fn the_ring_keeps_the_newest() {
        let fingerprints = Fingerprints::default();
        assert_eq!((fingerprints.newest(), fingerprints.at(Index(0))), (None, None));
        fingerprints.begin(Index(10), Fingerprint(10));
        let more: Vec<Fingerprint> = (11..=20).map(Fingerprint).collect();
        fingerprints.extend(Index(20), &more);
        let at = |index| fingerprints.at(Index(index)).map(|fingerprint| fingerprint.0);
        assert_eq!([at(9), at(10), at(15), at(20), at(21)], [None, Some(10), Some(15), Some(20), None]);
        let many: Vec<Fingerprint> = (21..=20 + FINGERPRINTS_MAX as u64).map(Fingerprint).collect();
        fingerprints.extend(Index(20 + FINGERPRINTS_MAX as u64), &many);
        let at = |index| fingerprints.at(Index(index)).map(|fingerprint| fingerprint.0);
        assert_eq!([at(20), at(21)], [None, Some(21)]);
        fingerprints.begin(Index(99), Fingerprint(1));
        assert_eq!(fingerprints.newest(), Some((Index(99), Fingerprint(1))));
        assert_eq!(fingerprints.at(Index(98)), None);
    }
}
