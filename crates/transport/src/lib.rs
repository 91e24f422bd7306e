//! Between members: ordered streams of frames on two lanes, and the few questions that the peer port answers.
//!
//! Each member keeps a connection of HTTP/2 to every other for each [`Lane`], and sends on it and on nothing else:
//! what is large cannot delay what is vital. Frames go out together when several wait, and come in together when
//! several have come. This crate knows who may speak ([`Config`], the cluster and the ids) and never what is said.
//!
//! INVARIANT: frames of one lane arrive in the order in which they were sent, or a gap is followed by
//! [`Inbox::unreachable`] at the sender.
//! INVARIANT: nothing here waits for a slow peer: what does not fit its queue is dropped.

mod answer;
mod config;
mod contact;
mod fetch;
mod frame;
mod papers;
mod port;
mod queue;
mod receiver;
mod reply;
mod sender;
mod socket;
mod transport;
mod wire;

#[cfg(test)]
mod tests;

use std::io;
use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use types::{Index, MemberId, MemberRecord};

pub use answer::INQUIRY_BYTES_MAX;
pub use config::Config;
pub use fetch::{Answer, Census, FetchError, Response, ask, census};
pub use frame::{Corrupt, FRAME_BYTES_MAX, Packer, Unpacker};
pub use papers::Refusal;
pub use transport::Transport;
pub use wire::AddressError;

/// Which of the two streams to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// What the cluster lives by: votes, heartbeats, answers, small appends.
    Vital,
    /// What may take its time.
    Bulk,
}

/// Another member, and where it may be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its id.
    pub id: MemberId,
    /// Its peer URLs; they are tried in turn.
    pub urls: Vec<String>,
}

/// Whoever the frames are for. Every method is called on the transport's own thread and must not block.
pub trait Inbox: Send + Sync + 'static {
    /// `frames` came from `from`, all that were there at once, in order within a lane.
    fn receive(&self, from: MemberId, frames: Vec<Bytes>);

    /// A stream to `peer` stands from now on. Told before anything is sent on it, once for each vital lane.
    fn reached(&self, peer: MemberId) {
        let _ = peer;
    }

    /// Frames to `peer` were lost: its stream broke, or its queue was full. Told once for each such episode, and
    /// again while frames go on to be dropped, but not more often than connections are tried.
    fn unreachable(&self, peer: MemberId);

    /// The stream to `peer` broke and nobody listens there any more: its process has ended, or is about to start
    /// again. Told up to three times for each stream that breaks so, within a few heartbeats, since what the peer sent
    /// before may be received after the first; a machine or a cable that fails is not told.
    fn gone(&self, peer: MemberId) {
        let _ = peer;
    }

    /// `by` says that this member was removed from the cluster. Told again at every attempt to connect.
    fn removed(&self, by: MemberId);

    /// It took this long until `peer` answered on the vital lane.
    fn round_trip(&self, peer: MemberId, time: Duration) {
        let _ = (peer, time);
    }
}

/// What comes of a question: an answer, or `None` from whom it is not answered by, now at least.
pub type Inquired = Pin<Box<dyn Future<Output = Option<Bytes>> + Send>>;

/// What the peer port says when it is asked.
pub trait Office: Send + Sync + 'static {
    /// The body of `GET /version`.
    fn version(&self) -> String;

    /// Who is in the cluster, for `GET /members`.
    fn members(&self) -> Vec<MemberRecord>;

    /// Whether this id was a member's and never will be again.
    fn is_removed(&self, member: MemberId) -> bool;

    /// The rolling hash of everything applied up to `index`, if it is still known.
    fn fingerprint(&self, index: Index) -> Option<u64>;

    /// The answer to a question of at most [`INQUIRY_BYTES_MAX`] bytes that another member asks.
    fn inquire(&self, question: Bytes) -> Inquired;

    /// The encoded manifest of a snapshot that `visitor` may fetch, or `None` if there is no such. May read files: it is
    /// called where that is allowed.
    fn snapshot(&self, visitor: MemberId, id: &str) -> io::Result<Option<Bytes>>;

    /// At most `length_max` bytes of a snapshot's file from `offset` on; empty behind its end, `None` if there is
    /// no such file. May read files, as above.
    fn snapshot_piece(
        &self,
        visitor: MemberId,
        id: &str,
        file: &str,
        offset: u64,
        length_max: usize,
    ) -> io::Result<Option<Bytes>>;
}

/// How it stands with a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerHealth {
    /// Whose.
    pub id: MemberId,
    /// Since when its vital lane stands without a break.
    pub connected_since: Option<Instant>,
    /// How long the last answer on the vital lane took.
    pub round_trip: Option<Duration>,
    /// Payload handed to its connections, ever.
    pub sent_bytes: u64,
    /// Payload that came from it, ever.
    pub received_bytes: u64,
    /// Streams to it that broke, ever.
    pub losses: u64,
    /// Frames to it that were dropped, ever.
    pub dropped_frames: u64,
}
