//! Watches: what a client asks of a stream of them, and what comes out.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use types::{Event, KeyRange, Revision};

use crate::{Fault, Header};

/// The number of a watch on its stream; the client chooses it, or lets the member do so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchId(pub i64);

impl WatchId {
    /// Stands on answers that belong to no watch: progress of a whole stream, and creations that failed.
    pub const NONE: Self = Self(-1);
}

/// A watch to be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "a client's wishes, each independent of the others")]
pub struct WatchSpec {
    /// The keys it is about.
    pub range: KeyRange,
    /// The first revision whose events it wants; `None` is from now on.
    pub start: Option<Revision>,
    /// Whether it is told from time to time that nothing happened.
    pub progress_notify: bool,
    /// It does not want to know of writes.
    pub without_puts: bool,
    /// It does not want to know of removals.
    pub without_deletes: bool,
    /// It wants to know what was there before.
    pub prev_kv: bool,
    /// Answers that are larger than one message may come in pieces.
    pub fragment: bool,
    /// The number that the client chose; `None` leaves it to the member.
    pub id: Option<WatchId>,
}

/// An event on its way to any number of watchers, and what the door has made of it, once for all of them.
#[derive(Debug)]
pub struct SharedEvent {
    /// What happened.
    pub event: Event,
    /// The event as it goes over the wire; whoever needs it first puts it there.
    pub wire: OnceLock<Bytes>,
}

/// One answer of a stream of watches.
#[derive(Clone, Debug)]
pub struct WatchReply {
    /// Who and when. At a progress answer everything up to its revision was sent.
    pub header: Header,
    /// Which watch; [`WatchId::NONE`] if it is about all of them or about none.
    pub id: WatchId,
    /// What.
    pub body: WatchBody,
}

/// What an answer of a stream of watches says.
#[derive(Clone, Debug)]
pub enum WatchBody {
    /// The watch is there; all that follow with its number are about it.
    Created,
    /// The watch could not be made. etcd says this with `created` and `canceled` at once.
    Refused {
        /// Why, in etcd's words.
        reason: String,
    },
    /// The watch has ended; nothing more follows with its number.
    Canceled {
        /// What must be asked for at least, if it wanted what was forgotten.
        compacted: Option<Revision>,
        /// Why, in etcd's words; empty when the client wanted it.
        reason: String,
    },
    /// Events, in order; those of one revision are never torn apart.
    Events {
        /// Not empty.
        events: Arc<[Arc<SharedEvent>]>,
        /// The watch allows the answer to come in pieces.
        fragment: bool,
    },
    /// Everything up to the revision of the header was sent.
    Progress,
}

/// The watches of one stream. Dropping it ends them all.
#[async_trait]
pub trait WatchStream: Send {
    /// Begins a watch. The answer comes by [`WatchStream::next`].
    fn create(&mut self, spec: WatchSpec);

    /// Ends a watch. The answer comes by [`WatchStream::next`]; there is none for a watch that is not there.
    fn cancel(&mut self, id: WatchId);

    /// Asks for one progress answer about all watches, which comes when it holds.
    fn progress(&mut self);

    /// The next answer; may be dropped while it waits without losing one. A fault ends the stream.
    async fn next(&mut self) -> Result<WatchReply, Fault>;
}
