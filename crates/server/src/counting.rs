//! What v2's `/v2/stats` asks for: counted where it happens, put together when somebody asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::{Feed, KeyspaceStats, Latency, PeerStats, Progress, RaftStats, Stand, Stats, Tally};
use consensus::{PeerState, Role};
use parking_lot::Mutex;
use types::v2::{Action, Event, Timestamp};
use types::{Index, MemberId};

use crate::member::Member;

/// See the module.
#[derive(Default)]
pub(crate) struct Counts {
    appends_received: AtomicU64,
    appends_sent: AtomicU64,
    latencies: Mutex<Vec<(MemberId, Latency)>>,
    keyspace: Mutex<KeyspaceStats>,
}

impl Counts {
    pub(crate) fn append_received(&self) {
        self.appends_received.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn append_sent(&self) {
        self.appends_sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn answered(&self, peer: MemberId, after: Duration) {
        let mut known = self.latencies.lock();
        let at = known.iter().position(|(id, _)| *id == peer).unwrap_or_else(|| {
            known.push((peer, Latency::default()));
            known.len() - 1
        });
        if let Some((_, latency)) = known.get_mut(at) {
            latency.add(after.as_secs_f64() * 1000.0);
        }
    }

    /// A read at this member.
    pub(crate) fn read(&self, found: bool) {
        count(&mut self.keyspace.lock().gets, found);
    }

    /// What was applied here, whichever member was asked.
    pub(crate) fn applied(&self, events: &[Arc<Event>]) {
        let mut keyspace = self.keyspace.lock();
        for event in events {
            match event.action {
                Action::Get => {}
                Action::Set => keyspace.sets.done += 1,
                Action::Create => keyspace.creates.done += 1,
                Action::Update => keyspace.updates.done += 1,
                Action::Delete => keyspace.deletes.done += 1,
                Action::CompareAndSwap => keyspace.compare_and_swaps.done += 1,
                Action::CompareAndDelete => keyspace.compare_and_deletes.done += 1,
                Action::Expire => keyspace.expired += 1,
            }
        }
    }

    /// A write that this member was asked for was refused by the keyspace.
    pub(crate) fn refused(&self, write: Action) {
        let mut keyspace = self.keyspace.lock();
        let tally = match write {
            Action::Set => &mut keyspace.sets,
            Action::Create => &mut keyspace.creates,
            Action::Update => &mut keyspace.updates,
            Action::Delete => &mut keyspace.deletes,
            Action::CompareAndSwap => &mut keyspace.compare_and_swaps,
            Action::CompareAndDelete => &mut keyspace.compare_and_deletes,
            Action::Get | Action::Expire => return,
        };
        tally.refused += 1;
    }
}

fn count(tally: &mut Tally, done: bool) {
    if done {
        tally.done += 1;
    } else {
        tally.refused += 1;
    }
}

impl Member {
    /// See [`api::Member::stats`].
    pub(crate) fn count_up(&self) -> Stats {
        let (shared, counts) = (&self.house.shared, &self.house.shared.counts);
        let (leader, now) = (shared.leader(), Timestamp(self.clock.wall_ns()));
        let age = i64::try_from(shared.age().as_nanos()).unwrap_or(i64::MAX);
        let known = counts.latencies.lock().clone();
        let latency = |peer| {
            known.iter().find(|(id, _)| *id == peer).map_or_else(Latency::default, |(_, known)| *known)
        };
        let peers = self.house.transport.peers().into_iter();
        let mut peers: Vec<_> = peers
            .map(|peer| PeerStats { id: peer.id, latency: latency(peer.id), failures: peer.losses })
            .collect();
        peers.sort_unstable_by_key(|peer| peer.id);
        let me = self.house.wing.look().members.get(self.id);
        Stats {
            name: me.map(|me| me.name).unwrap_or_default(),
            id: self.id,
            stand: match leader {
                MemberId(0) => Stand::Candidate,
                _ if shared.leads() => Stand::Leader,
                _ => Stand::Follower,
            },
            started: Timestamp(now.0.saturating_sub(age)),
            now,
            leader,
            leader_uptime: if leader == MemberId(0) { Duration::ZERO } else { shared.leads_since() },
            appends_received: counts.appends_received.load(Ordering::Relaxed),
            appends_sent: counts.appends_sent.load(Ordering::Relaxed),
            peers,
            keyspace: KeyspaceStats { watchers: self.house.waits.count() as u64, ..*counts.keyspace.lock() },
        }
    }

    /// See [`api::Member::raft_stats`].
    pub(crate) fn look_at_raft(&self) -> RaftStats {
        let survey = self.house.driver.survey();
        let mut progress: Vec<Progress> = survey
            .peers
            .iter()
            .map(|peer| Progress {
                id: peer.id,
                matched: peer.matched,
                next: peer.next,
                feed: match peer.state {
                    PeerState::Probe => Feed::Probe,
                    PeerState::Replicate => Feed::Replicate,
                    PeerState::Snapshot => Feed::Snapshot,
                },
            })
            .collect();
        if survey.role == Role::Leader {
            let (matched, next) = (survey.last, Index(survey.last.0 + 1));
            progress.push(Progress { id: self.id, matched, next, feed: Feed::Replicate });
            progress.sort_unstable_by_key(|member| member.id);
        }
        RaftStats {
            id: self.id,
            term: survey.term,
            vote: survey.vote,
            commit: survey.commit,
            leader: survey.leader,
            stand: match survey.role {
                Role::Follower => Stand::Follower,
                Role::Candidate => Stand::Candidate,
                Role::Leader => Stand::Leader,
            },
            applied: self.house.shared.applied(),
            progress,
            transferee: survey.transferee,
        }
    }
}
