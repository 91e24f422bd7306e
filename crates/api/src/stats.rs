//! What a member counts since its start, as v2's `/v2/stats` tells it, and how it stands in raft, as `/debug/vars` does.

use std::time::Duration;

use types::v2::Timestamp;
use types::{Index, MemberId, Term};

/// How a member stands in its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    /// It follows.
    Follower,
    /// It asks for votes.
    Candidate,
    /// It leads.
    Leader,
}

/// All of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stats {
    /// This member's name.
    pub name: String,
    /// This member.
    pub id: MemberId,
    /// How it stands.
    pub stand: Stand,
    /// When it started.
    pub started: Timestamp,
    /// Now, by its clock.
    pub now: Timestamp,
    /// The leader it knows; zero for none.
    pub leader: MemberId,
    /// How long that one has led, as far as this member knows.
    pub leader_uptime: Duration,
    /// Messages with entries that came.
    pub appends_received: u64,
    /// Messages with entries that were sent.
    pub appends_sent: u64,
    /// The other members, in the order of their ids.
    pub peers: Vec<PeerStats>,
    /// The v2 keyspace.
    pub keyspace: KeyspaceStats,
}

/// How another member answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PeerStats {
    /// Which.
    pub id: MemberId,
    /// How long answers took.
    pub latency: Latency,
    /// Streams to it that broke.
    pub failures: u64,
}

/// How long answers took, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Latency {
    /// How many there were.
    pub count: u64,
    /// The last.
    pub current_ms: f64,
    /// Their mean.
    pub average_ms: f64,
    /// The standard deviation from that.
    pub deviation_ms: f64,
    /// The shortest.
    pub minimum_ms: f64,
    /// The longest.
    pub maximum_ms: f64,
}

impl Latency {
    /// One more answer.
    pub fn add(&mut self, ms: f64) {
        let before = self.count as f64;
        let squares = before * (self.deviation_ms.powi(2) + self.average_ms.powi(2)) + ms.powi(2);
        self.minimum_ms = if self.count == 0 { ms } else { self.minimum_ms.min(ms) };
        self.maximum_ms = self.maximum_ms.max(ms);
        self.average_ms = (self.average_ms * before + ms) / (before + 1.0);
        self.deviation_ms = (squares / (before + 1.0) - self.average_ms.powi(2)).max(0.0).sqrt();
        self.current_ms = ms;
        self.count += 1;
    }
}

/// What came of operations on the v2 keyspace: done, and refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyspaceStats {
    /// Reads at this member.
    pub gets: Tally,
    /// Writes that create or replace.
    pub sets: Tally,
    /// Removals.
    pub deletes: Tally,
    /// Writes to what is there.
    pub updates: Tally,
    /// Writes to what is not there yet.
    pub creates: Tally,
    /// Writes under a condition.
    pub compare_and_swaps: Tally,
    /// Removals under a condition.
    pub compare_and_deletes: Tally,
    /// Nodes whose time had come.
    pub expired: u64,
    /// Watches that wait.
    pub watchers: u64,
}

/// How many of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Done.
    pub done: u64,
    /// Refused.
    pub refused: u64,
}

/// How a member stands in raft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaftStats {
    /// This member.
    pub id: MemberId,
    /// Its term.
    pub term: Term,
    /// Whom it voted for in its term; zero for nobody.
    pub vote: MemberId,
    /// The last index known to be committed.
    pub commit: Index,
    /// The leader it knows; zero for none.
    pub leader: MemberId,
    /// How it stands.
    pub stand: Stand,
    /// The last index applied.
    pub applied: Index,
    /// How far the members are, itself included, in the order of ids; only a leader knows.
    pub progress: Vec<Progress>,
    /// To whom the lead is being handed; zero for nobody.
    pub transferee: MemberId,
}

/// How far a member is, as its leader knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Which.
    pub id: MemberId,
    /// The last index that it has on disk.
    pub matched: Index,
    /// The next index to send.
    pub next: Index,
    /// How it gets its entries.
    pub feed: Feed,
}

/// How a member gets its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feed {
    /// One message at a time, until it is known where its log ends.
    Probe,
    /// As they come.
    Replicate,
    /// It is to fetch a snapshot first.
    Snapshot,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_what_all_of_its_numbers_say() {
        let mut latency = Latency::default();
        for ms in [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0] {
            latency.add(ms);
        }
        let expect = Latency {
            count: 8,
            current_ms: 9.0,
            average_ms: 5.0,
            deviation_ms: 2.0,
            minimum_ms: 2.0,
            maximum_ms: 9.0,
        };
        assert_eq!(latency, expect);
    }
}

/// What a member was busy with for some time, each the longest of its kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages {
    /// Forcing the log to disk.
    pub log_sync: Duration,
    /// The same in the last minute.
    pub log_sync_of_a_minute: Duration,
    /// Applying a run of entries.
    pub apply: Duration,
}
