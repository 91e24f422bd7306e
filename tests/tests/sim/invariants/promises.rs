//! What a message promises is on its sender's disk when it leaves: its term (and with it its vote), and the entries
//! that it acknowledges. Only a leader's appends may be ahead of its own disk.

use consensus::Envelope;
use wal::Wal;

use super::{Verdict, require};

const NAME: &str = "promises";

/// What a message says, as far as it promises something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Promise {
    term: u64,
    acknowledged: Option<u64>,
}

/// Reads a message; `None` if it promises nothing. Asking before an election whether it makes sense does not.
pub(crate) fn read(envelope: &Envelope) -> Option<Promise> {
    let words = envelope.describe();
    let number = |name: &str| {
        let rest = words.split_once(name)?.1;
        rest.split(' ').next()?.parse::<u64>().ok()
    };
    let kind = words.split(' ').next()?;
    let rejects = words.contains(" rejected");
    match kind {
        "RequestVote" | "Append" | "Heartbeat" | "HeartbeatResponse" => {
            Some(Promise { term: number("term=")?, acknowledged: None })
        }
        "RequestVoteResponse" => Some(Promise { term: number("term=")?, acknowledged: None }),
        "AppendResponse" => {
            let acknowledged = if rejects { None } else { number("index=") };
            Some(Promise { term: number("term=")?, acknowledged })
        }
        _ => None,
    }
}

impl Promise {
    /// Its term.
    pub(crate) fn term(self) -> u64 {
        self.term
    }

    /// Whether it can be kept after a loss of power.
    pub(crate) fn check(self, place: usize, wal: &Wal) -> Verdict {
        let (term, last) = (wal.hard_state().term, wal.last_index());
        require(NAME, self.term <= term, || {
            format!("member {place} speaks in term {}, but has only term {term} on disk", self.term)
        })?;
        // What an older term's leader is told was on disk; a later one may have had it replaced in the same write.
        let acknowledged = self.acknowledged.filter(|_| self.term == term).unwrap_or_default();
        require(NAME, acknowledged <= last, || {
            format!("member {place} acknowledges index {acknowledged}, but its log ends at {last} on disk")
        })
    }
}
