//! What an entry carries beside its commands: whose forwarded proposals are in it, and which change of the
//! membership it is. In the log for good, so its form never changes.
//!
//! An ordinary entry's context is empty or a row of runs, 32 bytes each, big-endian: origin, nonce, sequence of
//! the first (8 each), number of its command in the entry, how many (4 each). A change's context is a byte (1 if a
//! run follows), perhaps that run, and the command; what raft must know is in the entry's data.

use bytes::{Buf, BufMut, Bytes};
use protobuf::Message as _;
use raft::eraftpb::{ConfChange, ConfChangeType, Entry, EntryType};
use types::MemberId;

use crate::proposal::Change;

const RUN_BYTES: usize = 32;

/// Forwarded proposals of one member that lie side by side in an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Who forwarded them.
    pub(crate) origin: u64,
    /// That member's life.
    pub(crate) nonce: u64,
    /// The first one's number in that life.
    pub(crate) first: u64,
    /// The first one's number in the entry.
    pub(crate) position: u32,
    /// How many.
    pub(crate) count: u32,
}

impl Run {
    fn write(self, out: &mut Vec<u8>) {
        out.put_u64(self.origin);
        out.put_u64(self.nonce);
        out.put_u64(self.first);
        out.put_u32(self.position);
        out.put_u32(self.count);
    }

    fn read(bytes: &mut impl Buf) -> Option<Self> {
        (bytes.remaining() >= RUN_BYTES).then(|| Self {
            origin: bytes.get_u64(),
            nonce: bytes.get_u64(),
            first: bytes.get_u64(),
            position: bytes.get_u32(),
            count: bytes.get_u32(),
        })
    }
}

/// The context of an ordinary entry.
pub(crate) fn context(runs: &[Run]) -> Vec<u8> {
    let mut context = Vec::with_capacity(runs.len() * RUN_BYTES);
    for run in runs {
        run.write(&mut context);
    }
    context
}

/// The context of a change, and what raft must know of it.
pub(crate) fn change_entry(command: &[u8], change: Change, run: Option<Run>) -> (Vec<u8>, ConfChange) {
    let mut context = Vec::with_capacity(1 + RUN_BYTES + command.len());
    context.put_u8(u8::from(run.is_some()));
    if let Some(run) = run {
        run.write(&mut context);
    }
    context.extend_from_slice(command);
    (context, to_raft(change))
}

/// What an entry says: its commands, the change it asks for, and the runs in it.
pub(crate) fn read(entry: Entry) -> (Bytes, Option<Change>, Vec<Run>) {
    let mut context = entry.context.clone();
    match entry.get_entry_type() {
        EntryType::EntryNormal => {
            let runs = std::iter::from_fn(|| Run::read(&mut context)).collect();
            (entry.data, None, runs)
        }
        EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
            let tagged = context.has_remaining() && context.get_u8() == 1;
            let run = if tagged { Run::read(&mut context) } else { None };
            let change = ConfChange::parse_from_bytes(&entry.data).ok().and_then(|change| from_raft(&change));
            (context, change, run.into_iter().collect())
        }
    }
}

/// The change in raft's words. raft knows no difference between a new voter and a promoted one; the byte does.
pub(crate) fn to_raft(change: Change) -> ConfChange {
    let (kind, mark) = match change {
        Change::AddVoter(_) => (ConfChangeType::AddNode, 0),
        Change::AddLearner(_) => (ConfChangeType::AddLearnerNode, 0),
        Change::Promote(_) => (ConfChangeType::AddNode, 1),
        Change::Remove(_) => (ConfChangeType::RemoveNode, 0),
    };
    let mut raft = ConfChange { node_id: change.member().0, ..ConfChange::default() };
    raft.set_change_type(kind);
    raft.context = Bytes::copy_from_slice(&[mark]);
    raft
}

fn from_raft(change: &ConfChange) -> Option<Change> {
    let member = MemberId(change.node_id);
    (member.0 != 0).then(|| match change.get_change_type() {
        ConfChangeType::AddNode if change.context.first() == Some(&1) => Change::Promote(member),
        ConfChangeType::AddNode => Change::AddVoter(member),
        ConfChangeType::AddLearnerNode => Change::AddLearner(member),
        ConfChangeType::RemoveNode => Change::Remove(member),
    })
}
