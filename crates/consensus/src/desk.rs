//! Where proposals lie: those that wait for a leader, those in this leader's log, those that were forwarded.
//!
//! INVARIANT: a forwarded proposal is in at most one leader's log. It is forwarded in a term and taken only by the
//! leader of that term, once; it is forwarded again only after an entry of a later term was committed without it
//! before, which proves that it can never be.
//! INVARIANT: what is refused here is in nobody's log and never will be.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use types::MemberId;

use crate::envelope::{Body, Envelope, ForwardRefused};
use crate::proposal::{Kind, NotTaken, Proposal};
use crate::tags::Run;

/// Proposals that wait for a leader; more are refused.
const HELD_MAX: usize = 131_072;
/// Bytes of proposals that wait for a leader; more are refused.
const HELD_BYTES_MAX: usize = 128 << 20;
/// Forwarded proposals whose fate is open; more wait.
const FORWARDED_MAX: usize = 131_072;

/// See the module.
pub(crate) struct Desk<W> {
    held: VecDeque<Held<W>>,
    held_bytes: usize,
    // Entries proposed here whose commit is awaited, by term and index. One of an earlier term may stand at a later
    // index: it is out of this log, and perhaps in another's.
    awaited: VecDeque<Awaited<W>>,
    // By sequence, which also is by term.
    forwarded: BTreeMap<u64, Forwarded<W>>,
    next_sequence: u64,
    // Of every message with forwarded proposals: the sequence behind its last one, and when it left.
    messages: VecDeque<(u64, u64)>,
    // What this leader took of every life of every member in its term: the next sequence. A copy of a message
    // must not be taken, nor be refused, which would say that the original was not taken.
    taken: BTreeMap<(u64, u64), u64>,
    taken_term: u64,
    refused: Vec<(W, NotTaken)>,
}

/// A proposal that waits.
pub(crate) struct Held<W> {
    pub(crate) data: Bytes,
    pub(crate) kind: Kind,
    pub(crate) owner: Owner<W>,
    pub(crate) since: u64,
}

/// Who is to be told.
pub(crate) enum Owner<W> {
    Here(W),
    There { origin: u64, nonce: u64, sequence: u64 },
}

struct Awaited<W> {
    index: u64,
    term: u64,
    tickets: Vec<(usize, W)>,
}

struct Forwarded<W> {
    data: Bytes,
    kind: Kind,
    ticket: W,
    term: u64,
    since: u64,
}

impl<W> Default for Desk<W> {
    fn default() -> Self {
        Self {
            held: VecDeque::new(),
            held_bytes: 0,
            awaited: VecDeque::new(),
            forwarded: BTreeMap::new(),
            next_sequence: 0,
            messages: VecDeque::new(),
            taken: BTreeMap::new(),
            taken_term: 0,
            refused: Vec::new(),
        }
    }
}

impl<W> Desk<W> {
    /// Keeps a proposal until there is somebody to take it. `now` is in ticks.
    pub(crate) fn hold(&mut self, proposal: Proposal<W>, now: u64) {
        let Proposal { data, ticket, kind } = proposal;
        if self.is_full() {
            self.refused.push((ticket, NotTaken::NoRoom));
        } else {
            self.hold_back(Held { data, kind, owner: Owner::Here(ticket), since: now });
        }
    }

    /// Puts one that was taken out back in its place, at the end.
    pub(crate) fn hold_back(&mut self, held: Held<W>) {
        self.held_bytes += held.data.len();
        self.held.push_back(held);
    }

    /// Keeps one that another member forwarded; `false` if there is no room.
    pub(crate) fn hold_for(&mut self, data: Bytes, kind: Kind, owner: Owner<W>, now: u64) -> bool {
        let room = !self.is_full();
        if room {
            self.hold_back(Held { data, kind, owner, since: now });
        }
        room
    }

    fn is_full(&self) -> bool {
        self.held.len() >= HELD_MAX || self.held_bytes >= HELD_BYTES_MAX
    }

    /// The first that waits.
    pub(crate) fn first_held(&self) -> Option<&Held<W>> {
        self.held.front()
    }

    /// Whether all that waits is of a kind.
    pub(crate) fn all_held(&self, is_such: impl Fn(&Held<W>) -> bool) -> bool {
        self.held.iter().all(is_such)
    }

    /// Takes everything out that waits.
    pub(crate) fn take_held(&mut self) -> VecDeque<Held<W>> {
        self.held_bytes = 0;
        std::mem::take(&mut self.held)
    }

    /// Tells the owner that it certainly did not happen. Another member's refusal is for the caller to send.
    pub(crate) fn refuse(&mut self, owner: Owner<W>, why: NotTaken) -> Option<(MemberId, ForwardRefused)> {
        match owner {
            Owner::Here(ticket) => {
                self.refused.push((ticket, why));
                None
            }
            Owner::There { origin, nonce, sequence } => {
                Some((MemberId(origin), ForwardRefused { nonce, sequences: vec![sequence], why }))
            }
        }
    }

    /// Tickets of what certainly did not happen.
    pub(crate) fn take_refused(&mut self) -> Vec<(W, NotTaken)> {
        std::mem::take(&mut self.refused)
    }

    pub(crate) fn has_refused(&self) -> bool {
        !self.refused.is_empty()
    }

    /// Remembers whose proposals are in an entry of this leader's log.
    pub(crate) fn await_entry(&mut self, index: u64, term: u64, tickets: Vec<(usize, W)>) {
        if !tickets.is_empty() {
            self.awaited.push_back(Awaited { index, term, tickets });
        }
    }

    pub(crate) fn can_forward(&self) -> bool {
        self.forwarded.len() < FORWARDED_MAX
    }

    /// A message with forwarded proposals left.
    pub(crate) fn forward_ends(&mut self, now: u64) {
        self.messages.push_back((self.next_sequence, now));
    }

    /// Messages with forwarded proposals that left since then and of which something is open.
    pub(crate) fn messages_open(&mut self, since: u64) -> usize {
        let oldest = self.forwarded.first_key_value().map_or(self.next_sequence, |(sequence, _)| *sequence);
        while self.messages.pop_front_if(|(end, left)| *end <= oldest || *left < since).is_some() {}
        self.messages.len()
    }

    /// Remembers a proposal that goes to the leader of `term` now; returns its sequence.
    pub(crate) fn forward(&mut self, data: Bytes, kind: Kind, ticket: W, term: u64, now: u64) -> u64 {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.forwarded.insert(sequence, Forwarded { data, kind, ticket, term, since: now });
        sequence
    }

    /// A leader of `term` got `count` forwarded proposals from `first` on: whether it sees them for the first time.
    pub(crate) fn take_in(&mut self, term: u64, life: (u64, u64), first: u64, count: u64) -> bool {
        if self.taken_term != term {
            self.taken.clear();
            self.taken_term = term;
        }
        let next = self.taken.entry(life).or_default();
        let new = first >= *next;
        if new {
            *next = first + count;
        }
        new
    }

    /// The leader said that it did not take this one.
    pub(crate) fn forward_refused(&mut self, sequence: u64, why: NotTaken) {
        if let Some(forwarded) = self.forwarded.remove(&sequence) {
            self.refused.push((forwarded.ticket, why));
        }
    }

    /// An entry is committed: hands out the tickets in it, and settles what it has overtaken.
    pub(crate) fn commit(&mut self, entry: (u64, u64), runs: &[Run], life: (u64, u64)) -> Vec<(usize, W)> {
        let (index, term) = entry;
        let mut tickets = Vec::new();
        // Its place is taken, or it is of an earlier term: what comes behind this entry is of this term or a later.
        let is_settled = |awaited: &mut Awaited<W>| awaited.index <= index || awaited.term < term;
        while let Some(awaited) = self.awaited.pop_front_if(is_settled) {
            if (awaited.index, awaited.term) == (index, term) {
                tickets = awaited.tickets;
            } else {
                let overtaken = awaited.tickets.into_iter();
                self.refused.extend(overtaken.map(|(_, ticket)| (ticket, NotTaken::Overtaken)));
            }
        }
        for run in runs.iter().filter(|run| (run.origin, run.nonce) == life) {
            for number in 0..run.count {
                if let Some(forwarded) = self.forwarded.remove(&(run.first + u64::from(number))) {
                    tickets.push(((run.position + number) as usize, forwarded.ticket));
                }
            }
        }
        self.overtake(term);
        tickets
    }

    // Terms never go down in a log: what was forwarded in an earlier term and is not in the log by now never will
    // be. It has certainly not happened, so it may be forwarded again.
    fn overtake(&mut self, term: u64) {
        while self.forwarded.first_key_value().is_some_and(|(_, forwarded)| forwarded.term < term) {
            let Some((_, Forwarded { data, kind, ticket, since, .. })) = self.forwarded.pop_first() else {
                return;
            };
            if kind == Kind::Normal {
                self.hold_back(Held { data, kind, owner: Owner::Here(ticket), since });
            } else {
                self.refused.push((ticket, NotTaken::Overtaken));
            }
        }
    }

    /// A snapshot replaced the log up to an entry: what became of proposals before it will never be known.
    pub(crate) fn skip_to(&mut self, index: u64, term: u64) {
        self.awaited.retain(|awaited| awaited.index > index);
        self.forwarded.retain(|_, forwarded| forwarded.term > term);
    }

    /// Gives up on what has waited since before `oldest`: nobody waits for it any more.
    pub(crate) fn expire(&mut self, oldest: u64) {
        while self.held.front().is_some_and(|held| held.since < oldest) {
            let Some(held) = self.held.pop_front() else { break };
            self.held_bytes -= held.data.len();
            // Another member gives up by itself.
            let _ = self.refuse(held.owner, NotTaken::NoRoom);
        }
        while self.forwarded.first_key_value().is_some_and(|(_, forwarded)| forwarded.since < oldest) {
            // It may still happen: the ticket goes without an answer.
            self.forwarded.pop_first();
        }
    }

    /// Drops every ticket.
    pub(crate) fn clear(&mut self) {
        *self = Self { next_sequence: self.next_sequence, ..Self::default() };
    }
}

/// An entry in the making.
pub(crate) struct Draft<W> {
    pub(crate) bytes: usize,
    pieces: Vec<Bytes>,
    pub(crate) runs: Vec<Run>,
    pub(crate) tickets: Vec<(usize, W)>,
}

impl<W> Default for Draft<W> {
    fn default() -> Self {
        Self { bytes: 0, pieces: Vec::new(), runs: Vec::new(), tickets: Vec::new() }
    }
}

impl<W> Draft<W> {
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(crate) fn push(&mut self, held: Held<W>) {
        let position = self.pieces.len();
        self.bytes += held.data.len();
        self.pieces.push(held.data);
        match held.owner {
            Owner::Here(ticket) => self.tickets.push((position, ticket)),
            Owner::There { origin, nonce, sequence } => {
                let position = position as u32;
                let follows = |run: &Run| {
                    (run.origin, run.nonce) == (origin, nonce)
                        && run.first + u64::from(run.count) == sequence
                        && run.position + run.count == position
                };
                if let Some(run) = self.runs.last_mut().filter(|run| follows(run)) {
                    run.count += 1;
                } else {
                    self.runs.push(Run { origin, nonce, first: sequence, position, count: 1 });
                }
            }
        }
    }

    pub(crate) fn data(&self) -> Vec<u8> {
        let mut data = Vec::with_capacity(self.bytes);
        self.pieces.iter().for_each(|piece| data.extend_from_slice(piece));
        data
    }
}

/// The refusal of everything that others forwarded into a draft.
pub(crate) fn refusals(from: MemberId, runs: &[Run], why: NotTaken) -> impl Iterator<Item = Envelope> {
    runs.iter().map(move |run| {
        let sequences = (0..u64::from(run.count)).map(|number| run.first + number).collect();
        let body = Body::ForwardRefused(ForwardRefused { nonce: run.nonce, sequences, why });
        Envelope { from, to: MemberId(run.origin), body }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_an_earlier_lead_at_a_later_index_hides_no_newer_one() {
        let mut desk = Desk::default();
        desk.await_entry(12, 4, vec![(0, "old")]);
        // Then another led, and then this member again, from an earlier index on.
        desk.await_entry(10, 5, vec![(0, "new")]);
        assert_eq!(desk.commit((9, 4), &[], (1, 1)), []);
        assert_eq!(desk.commit((10, 5), &[], (1, 1)), [(0, "new")]);
        assert_eq!(desk.take_refused(), [("old", NotTaken::Overtaken)]);
    }
}
