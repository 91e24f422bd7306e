//! Watches: what comes out of a stream of them. What is asked of one is in `types`.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use types::{Revision, SharedEvent, WatchId, WatchSpec};

use crate::{Fault, Header};

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
pub trait WatchStream: Send {
    /// Begins a watch. The answer comes by [`WatchStream::poll_next`].
    fn create(&mut self, spec: WatchSpec);

    /// Ends a watch. The answer comes by [`WatchStream::poll_next`]; there is none for a watch that is not there.
    fn cancel(&mut self, id: WatchId);

    /// Asks for one progress answer about all watches, which comes when it holds.
    fn progress(&mut self);

    /// The next answer. A fault ends the stream.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<WatchReply, Fault>>;

    /// The next of the answers that came together with the one which [`WatchStream::poll_next`] has just given: costs
    /// less than asking that again. Nothing may be waited for in between.
    fn at_hand(&mut self) -> Option<WatchReply> {
        None
    }
}

impl dyn WatchStream + '_ {
    /// Waits for the next answer; may be dropped meanwhile without losing one.
    pub async fn next(&mut self) -> Result<WatchReply, Fault> {
        poll_fn(|context| self.poll_next(context)).await
    }
}
