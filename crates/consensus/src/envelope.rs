//! What members send one another, and its bytes.
//!
//! The first byte tells what it is: 1 raft's own message (protobuf), 2 a run of forwarded proposals, 3 a refusal of
//! such, 4 the news that a snapshot could not be fetched. Numbers are big-endian, texts have a four-byte length.
//!
//! INVARIANT: whatever comes in is either one of these, from and to whom the link says, or an error.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use protobuf::Message as _;
use raft::eraftpb::{Message, MessageType};
use types::{MemberId, Term};

use crate::proposal::{Change, Kind, NotTaken};

/// Which of the streams to a peer a message belongs on: small and urgent ones must not wait behind large ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Heartbeats, votes, acknowledgements, read requests.
    Vital,
    /// Appends and forwarded proposals: they keep their order among each other.
    Bulk,
}

/// A message between members.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// Who sends it.
    pub from: MemberId,
    /// Who is to get it.
    pub to: MemberId,
    pub(crate) body: Body,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    Raft(Message),
    Forward(Forward),
    ForwardRefused(ForwardRefused),
    SnapshotFailed { index: u64 },
}

/// Proposals for whoever leads in `term`. Anybody else ignores them.
#[derive(Clone, Debug)]
pub(crate) struct Forward {
    pub(crate) term: u64,
    pub(crate) nonce: u64,
    pub(crate) first: u64,
    pub(crate) proposals: Vec<(Option<Change>, Bytes)>,
}

#[derive(Clone, Debug)]
pub(crate) struct ForwardRefused {
    pub(crate) nonce: u64,
    pub(crate) sequences: Vec<u64>,
    pub(crate) why: NotTaken,
}

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They end too early, go on too long, or hold what does not exist.
    #[error("a message of a peer cannot be read")]
    Malformed,
    /// Sender or receiver are not those of the link.
    #[error("a message names another sender or receiver than its link")]
    WrongAddress,
}

impl Envelope {
    /// Which stream it belongs on.
    pub fn lane(&self) -> Lane {
        match &self.body {
            Body::Raft(message) if message.get_msg_type() == MessageType::MsgAppend => Lane::Bulk,
            Body::Forward(_) => Lane::Bulk,
            Body::Raft(_) | Body::ForwardRefused(_) | Body::SnapshotFailed { .. } => Lane::Vital,
        }
    }

    /// What it is, in a few words, for logs and tests.
    pub fn describe(&self) -> String {
        match &self.body {
            Body::Raft(message) => {
                let name = format!("{:?}", message.get_msg_type());
                let name = name.trim_start_matches("Msg");
                let entries = message.entries.len();
                let reject = if message.reject { " rejected" } else { "" };
                format!("{name}{reject} term={} index={} entries={entries}", message.term, message.index)
            }
            Body::Forward(forward) => {
                format!("Forward term={} proposals={}", forward.term, forward.proposals.len())
            }
            Body::ForwardRefused(refused) => format!("ForwardRefused {:?}", refused.why),
            Body::SnapshotFailed { index } => format!("SnapshotFailed index={index}"),
        }
    }

    /// Whether it brings entries, or news of a commit in their place.
    pub fn is_append(&self) -> bool {
        matches!(&self.body, Body::Raft(message) if message.get_msg_type() == MessageType::MsgAppend)
    }

    /// About how many bytes it holds.
    pub fn bytes(&self) -> usize {
        const HEAD: usize = 64;
        match &self.body {
            Body::Raft(message) => {
                let entries = message.entries.iter();
                HEAD + entries.map(|entry| entry.data.len() + entry.context.len() + HEAD).sum::<usize>()
            }
            Body::Forward(forward) => {
                HEAD + forward.proposals.iter().map(|(_, data)| data.len() + HEAD).sum::<usize>()
            }
            Body::ForwardRefused(refused) => HEAD + refused.sequences.len() * 8,
            Body::SnapshotFailed { .. } => HEAD,
        }
    }

    /// Its bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.bytes());
        match &self.body {
            Body::Raft(message) => {
                out.put_u8(1);
                let mut writer = (&mut out).writer();
                if let Err(error) = message.write_to_writer(&mut writer) {
                    // No field is required and memory takes every byte. An empty frame is refused by its reader.
                    tracing::error!(%error, "a message could not be encoded");
                }
            }
            Body::Forward(forward) => {
                out.put_u8(2);
                out.put_u64(forward.term);
                out.put_u64(forward.nonce);
                out.put_u64(forward.first);
                out.put_u32(forward.proposals.len() as u32);
                for (change, data) in &forward.proposals {
                    put_change(&mut out, *change);
                    out.put_u32(data.len() as u32);
                    out.extend_from_slice(data);
                }
            }
            Body::ForwardRefused(refused) => {
                out.put_u8(3);
                out.put_u64(refused.nonce);
                out.put_u8(match refused.why {
                    NotTaken::Overtaken => 0,
                    NotTaken::ChangePending => 1,
                    NotTaken::NotLeader => 2,
                    NotTaken::NoRoom => 3,
                    NotTaken::NotCaughtUp => 4,
                });
                out.put_u32(refused.sequences.len() as u32);
                refused.sequences.iter().for_each(|sequence| out.put_u64(*sequence));
            }
            Body::SnapshotFailed { index } => {
                out.put_u8(4);
                out.put_u64(*index);
            }
        }
        out.freeze()
    }

    /// Reads what came over a link from `from` to `to`.
    pub fn decode(from: MemberId, to: MemberId, mut bytes: Bytes) -> Result<Self, DecodeError> {
        let kind = bytes.try_get_u8().map_err(|_| DecodeError::Malformed)?;
        let body = match kind {
            1 => {
                if !lengths_hold(&bytes) {
                    return Err(DecodeError::Malformed);
                }
                let message =
                    Message::parse_from_carllerche_bytes(&bytes).map_err(|_| DecodeError::Malformed)?;
                // raft takes it for granted that a read request has one entry, its context.
                let is_read = message.get_msg_type() == MessageType::MsgReadIndex;
                if !travels(message.get_msg_type()) || is_read && message.entries.len() != 1 {
                    return Err(DecodeError::Malformed);
                }
                if (message.from, message.to) != (from.0, to.0) {
                    return Err(DecodeError::WrongAddress);
                }
                Some(Body::Raft(message))
            }
            2 => read_forward(&mut bytes).map(Body::Forward),
            3 => read_refused(&mut bytes).map(Body::ForwardRefused),
            4 => bytes.try_get_u64().ok().map(|index| Body::SnapshotFailed { index }),
            _ => None,
        };
        Ok(Self { from, to, body: body.ok_or(DecodeError::Malformed)? })
    }
}

/// Whether every field of a protobuf message ends where it says, within the message. The library makes room for what a
/// length promises, ten megabytes at most, before it looks whether that is there; within a field it does look.
fn lengths_hold(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let skipped = take_varint(&mut bytes).and_then(|tag| match tag & 7 {
            0 => take_varint(&mut bytes).map(|_| 0),
            1 => Some(8),
            2 => take_varint(&mut bytes),
            5 => Some(4),
            // Groups, which nobody writes.
            _ => None,
        });
        let skipped = skipped.and_then(|length| usize::try_from(length).ok());
        if skipped.and_then(|length| bytes.split_off(..length)).is_none() {
            return false;
        }
    }
    true
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = *bytes.split_off_first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// raft has messages that only the member itself may step, and proposals take our own way.
fn travels(kind: MessageType) -> bool {
    use MessageType as M;
    match kind {
        M::MsgAppend
        | M::MsgAppendResponse
        | M::MsgRequestVote
        | M::MsgRequestVoteResponse
        | M::MsgRequestPreVote
        | M::MsgRequestPreVoteResponse
        | M::MsgSnapshot
        | M::MsgHeartbeat
        | M::MsgHeartbeatResponse
        | M::MsgTimeoutNow
        | M::MsgReadIndex
        | M::MsgReadIndexResp => true,
        M::MsgHup
        | M::MsgBeat
        | M::MsgPropose
        | M::MsgTransferLeader
        | M::MsgUnreachable
        | M::MsgSnapStatus
        | M::MsgCheckQuorum => false,
    }
}

fn put_change(out: &mut BytesMut, change: Option<Change>) {
    let number = match change {
        None => return out.put_u8(0),
        Some(Change::AddVoter(_)) => 1,
        Some(Change::AddLearner(_)) => 2,
        Some(Change::Promote(_)) => 3,
        Some(Change::Remove(_)) => 4,
    };
    out.put_u8(number);
    out.put_u64(change.map_or(0, |change| change.member().0));
}

#[allow(clippy::option_option, reason = "no change is not the same as no answer")]
fn read_change(bytes: &mut Bytes) -> Option<Option<Change>> {
    let number = bytes.try_get_u8().ok()?;
    if number == 0 {
        return Some(None);
    }
    let member = MemberId(bytes.try_get_u64().ok()?);
    Some(Some(match number {
        1 => Change::AddVoter(member),
        2 => Change::AddLearner(member),
        3 => Change::Promote(member),
        4 => Change::Remove(member),
        _ => return None,
    }))
}

fn read_forward(bytes: &mut Bytes) -> Option<Forward> {
    let term = bytes.try_get_u64().ok()?;
    let nonce = bytes.try_get_u64().ok()?;
    let first = bytes.try_get_u64().ok()?;
    let count = bytes.try_get_u32().ok()? as usize;
    // Each takes five bytes at least, so a lie about the number cannot ask for much memory.
    let mut proposals = Vec::with_capacity(count.min(bytes.len() / 5));
    for _ in 0..count {
        let change = read_change(bytes)?;
        let length = bytes.try_get_u32().ok()? as usize;
        if length > bytes.len() {
            return None;
        }
        proposals.push((change, bytes.split_to(length)));
    }
    first.checked_add(count as u64)?;
    bytes.is_empty().then_some(Forward { term, nonce, first, proposals })
}

fn read_refused(bytes: &mut Bytes) -> Option<ForwardRefused> {
    let nonce = bytes.try_get_u64().ok()?;
    let why = match bytes.try_get_u8().ok()? {
        0 => NotTaken::Overtaken,
        1 => NotTaken::ChangePending,
        2 => NotTaken::NotLeader,
        3 => NotTaken::NoRoom,
        4 => NotTaken::NotCaughtUp,
        _ => return None,
    };
    let count = bytes.try_get_u32().ok()? as usize;
    if bytes.len() != count * 8 {
        return None;
    }
    let sequences = (0..count).map_while(|_| bytes.try_get_u64().ok()).collect();
    Some(ForwardRefused { nonce, sequences, why })
}

/// A kind as it travels: chores never do.
pub(crate) fn change_of(kind: Kind) -> Option<Change> {
    match kind {
        Kind::Change(change) => Some(change),
        Kind::Normal | Kind::Chore(Term(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Found by the target `envelope`: fourteen bytes took ten megabytes.
    #[test]
    fn lengths_are_compared_with_what_is_there() {
        let heartbeat = Message { from: 1, to: 2, term: u64::MAX, commit: 1 << 40, ..Message::default() };
        let append = Message {
            entries: vec![raft::eraftpb::Entry { data: vec![7; 300].into(), ..Default::default() }; 3].into(),
            snapshot: Some(raft::eraftpb::Snapshot::default()).into(),
            priority: -1,
            ..heartbeat.clone()
        };
        for message in [Message::default(), heartbeat, append] {
            let bytes = message.write_to_bytes().expect("memory takes it");
            assert!(lengths_hold(&bytes), "{message:?}");
            // Only between two fields a beginning is whole.
            let whole = (0..bytes.len()).filter(|end| lengths_hold(&bytes[..*end])).count();
            assert!(whole <= 9, "{whole} of {} beginnings", bytes.len());
        }
        for lie in
            [&b"\x24\x3b"[..], b"\x22\x05abcd", b"\x3a\xff\xff\xff\x04", b"\x0b\x0c", b"\x08", b"\x09\0\0\0"]
        {
            assert!(!lengths_hold(lie), "{lie:?}");
        }
        assert!(!lengths_hold(&[&b"\x08"[..], &[0xff; 11]].concat()), "a number has ten bytes at most");
    }
}
