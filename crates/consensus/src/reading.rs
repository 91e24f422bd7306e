//! Linearizable reads: raft is asked for an index, by a context that is never used twice.
//!
//! INVARIANT: a read is released only by an answer to a question that was asked after the read came in.

use std::collections::VecDeque;

use types::{Index, MemberId, Term};

use crate::proposal::Readable;
use crate::replica::Replica;

/// Questions under way at once; reads that come meanwhile share the next one.
const QUESTIONS_MAX: usize = 4;
/// Ticks without an answer after which a question is asked again the first time; each time it takes twice as long.
const RETRY_TICKS: u64 = 3;

/// Reads that wait.
pub(crate) struct Reads<R> {
    // Those that came in one tick stand together.
    held: Vec<Held<R>>,
    // Oldest first.
    asked: VecDeque<Asked<R>>,
    sequence: u64,
}

/// Reads that no question was asked for yet.
struct Held<R> {
    since: u64,
    tickets: Vec<R>,
}

struct Asked<R> {
    // Any of them may be answered: each was asked after the reads came in.
    sequences: Vec<u64>,
    term: Term,
    leader: MemberId,
    since: u64,
    again_at: u64,
    tickets: Vec<R>,
}

impl<R> Default for Reads<R> {
    fn default() -> Self {
        Self { held: Vec::new(), asked: VecDeque::new(), sequence: 0 }
    }
}

impl<R> Reads<R> {
    pub(crate) fn clear(&mut self) {
        self.held.clear();
        self.asked.clear();
    }

    fn hold(&mut self, since: u64, tickets: &mut Vec<R>) {
        match self.held.iter_mut().find(|held| held.since == since) {
            Some(held) => held.tickets.append(tickets),
            None => self.held.push(Held { since, tickets: std::mem::take(tickets) }),
        }
    }

    /// Gives up on what has waited since before `oldest`: nobody waits for it any more.
    pub(crate) fn expire(&mut self, oldest: u64) {
        self.held.retain(|held| held.since >= oldest);
        self.asked.retain(|asked| asked.since >= oldest);
    }
}

impl<W, R> Replica<W, R> {
    /// Asks for an index at which reads that begin now are linearizable.
    pub fn read(&mut self, reads: &mut Vec<R>) {
        self.reads.hold(self.now, reads);
        self.release_reads();
    }

    /// What waited for a leader goes on as soon as there is one; what raft has forgotten is asked again.
    pub(crate) fn release_reads(&mut self) {
        let (term, leader) = (Term(self.node.raft.term), self.leader());
        while self.reads.asked.front().is_some_and(|asked| (asked.term, asked.leader) != (term, leader)) {
            // raft forgets questions when their term ends.
            if let Some(mut asked) = self.reads.asked.pop_front() {
                self.reads.hold(asked.since, &mut asked.tickets);
            }
        }
        // raft would silently drop a question that comes before the first commit of the term.
        if leader == MemberId(0) || !self.node.raft.commit_to_current_term() {
            return;
        }
        for at in 0..self.reads.asked.len() {
            if self.reads.asked[at].again_at <= self.now {
                let sequence = self.ask();
                let asked = &mut self.reads.asked[at];
                asked.again_at = self.now + 2 * (self.now - asked.since).max(RETRY_TICKS);
                asked.sequences.push(sequence);
            }
        }
        if self.reads.held.is_empty() || self.reads.asked.len() >= QUESTIONS_MAX {
            return;
        }
        let mut held = self.reads.held.drain(..);
        let mut tickets = held.next().map_or_else(Vec::new, |first| first.tickets);
        for more in held {
            tickets.extend(more.tickets);
        }
        let sequences = vec![self.ask()];
        let (since, again_at) = (self.now, self.now + RETRY_TICKS);
        self.reads.asked.push_back(Asked { sequences, term, leader, since, again_at, tickets });
    }

    fn ask(&mut self) -> u64 {
        self.reads.sequence += 1;
        // raft matches answers to questions by these bytes, so they are never used twice.
        let mut context = Vec::with_capacity(32);
        context.extend_from_slice(&self.id.0.to_be_bytes());
        context.extend_from_slice(&self.boot_nonce.to_be_bytes());
        context.extend_from_slice(&self.node.raft.term.to_be_bytes());
        context.extend_from_slice(&self.reads.sequence.to_be_bytes());
        self.node.read_index(context);
        self.reads.sequence
    }

    /// An answer from raft.
    pub(crate) fn answered(&mut self, index: u64, context: &[u8]) -> Option<Readable<R>> {
        let nonce = u64::from_be_bytes(context.get(8..16)?.try_into().ok()?);
        let sequence = u64::from_be_bytes(context.get(24..32)?.try_into().ok()?);
        if nonce != self.boot_nonce {
            return None;
        }
        let position = self.reads.asked.iter().position(|asked| asked.sequences.contains(&sequence))?;
        let mut asked = self.reads.asked.remove(position)?;
        if asked.term.0 != self.node.raft.term {
            self.reads.hold(asked.since, &mut asked.tickets);
            return None;
        }
        Some(Readable { index: Index(index), leader: (asked.term, asked.leader), tickets: asked.tickets })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_that_came_a_moment_ago_outlives_one_that_has_waited_for_long() {
        let mut reads = Reads::default();
        reads.hold(1, &mut vec!["old"]);
        reads.hold(9, &mut vec!["young"]);
        reads.hold(9, &mut vec!["as young"]);
        reads.expire(5);
        let left: Vec<_> = reads.held.iter().flat_map(|held| &held.tickets).copied().collect();
        assert_eq!(left, ["young", "as young"]);
    }
}
