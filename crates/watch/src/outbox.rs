//! What waits for the reader of one stream.
//!
//! The hub puts in and never waits; the reader takes all there is at once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use stdx::Bell;
use types::{Revision, SharedEvent, WatchId};

use crate::Limits;

/// What a reply takes besides its events.
const REPLY_BYTES: usize = size_of::<Reply>();

/// An answer of a stream, its header's revision with it.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Which watch; [`WatchId::NONE`] if it is about all of them or about none.
    pub id: WatchId,
    /// For the header.
    pub revision: Revision,
    /// What.
    pub body: Body,
}

/// What an answer says.
#[derive(Clone, Debug)]
pub enum Body {
    /// The watch is there.
    Created,
    /// The watch could not be made, for this reason.
    Refused(&'static str),
    /// The watch has ended.
    Canceled {
        /// What must be asked for at least, if it wanted what was forgotten.
        compacted: Option<Revision>,
    },
    /// Events, in order.
    Events {
        /// Not empty.
        events: Arc<[Arc<SharedEvent>]>,
        /// The answer may come in pieces.
        fragment: bool,
    },
    /// Everything up to the revision was sent.
    Progress,
}

/// Why a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// There was no leader for some time, and the stream wants one.
    NoLeader,
    /// The member stops.
    Stopped,
    /// The member holds other data than the cluster.
    Corrupt,
    /// The client asks, and does not read the answers.
    Overrun,
}

/// What a reader finds.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// Replies. `room`: the hub waits for room, and wants to be told ([`crate::Hub::room`]).
    Replies {
        /// Whether to tell.
        room: bool,
    },
    /// Nothing more comes.
    Ended(End),
}

/// A reply with events on its way to an outbox, and which watch it is for.
pub(crate) struct Pending {
    pub(crate) slot: u32,
    pub(crate) reply: Reply,
    /// Of its events.
    pub(crate) bytes: usize,
}

/// See the module.
#[derive(Default)]
pub struct Outbox {
    state: Mutex<State>,
    /// Of the thread on which the reader is.
    bell: Option<Arc<Bell>>,
}

#[derive(Default)]
struct State {
    replies: VecDeque<Reply>,
    // Those with events, and what they hold.
    events: usize,
    bytes: usize,
    // The events in them.
    pending: usize,
    wants_room: bool,
    end: Option<End>,
    waker: Option<Waker>,
}

impl Outbox {
    /// For a reader on the thread that calls, and that stays there if it has a [`Bell`].
    pub fn here() -> Self {
        Self { bell: Bell::here(), ..Self::default() }
    }

    /// What wakes the reader together with others.
    pub(crate) fn bell(&self) -> Option<&Arc<Bell>> {
        self.bell.as_ref()
    }

    /// Takes all that waits into `into`, which must be empty.
    pub fn poll_take(&self, context: &mut Context<'_>, into: &mut VecDeque<Reply>) -> Poll<Taken> {
        let mut state = self.state.lock();
        if let Some(end) = state.end {
            return Poll::Ready(Taken::Ended(end));
        }
        if state.replies.is_empty() {
            // A waker that is there is mostly the same one.
            match &mut state.waker {
                Some(waker) => waker.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
            return Poll::Pending;
        }
        std::mem::swap(&mut state.replies, into);
        (state.events, state.bytes, state.pending) = (0, 0, 0);
        Poll::Ready(Taken::Replies { room: std::mem::take(&mut state.wants_room) })
    }

    /// How many events wait for the reader.
    pub(crate) fn pending(&self) -> usize {
        self.state.lock().pending
    }

    /// Puts in a reply that is not about events.
    pub(crate) fn say(&self, reply: Reply, limits: &Limits) {
        let mut state = self.state.lock();
        if state.end.is_some() {
            return;
        }
        if state.replies.len() - state.events >= limits.controls_max {
            return Self::close(state, End::Overrun);
        }
        state.replies.push_back(reply);
        Self::wake(state);
    }

    /// Puts in replies with events, as many as there is room for. What is left in `pending` has to wait for room. Who is
    /// returned has to be woken.
    #[must_use]
    pub(crate) fn offer(&self, pending: &mut Vec<Pending>, limits: &Limits) -> Option<Waker> {
        let mut state = self.state.lock();
        if state.end.is_some() {
            pending.clear();
            return None;
        }
        let mut accepted = 0;
        for Pending { reply, bytes, .. } in pending.iter() {
            if state.events >= limits.replies_max || state.bytes >= limits.bytes_max {
                state.wants_room = true;
                break;
            }
            state.events += 1;
            state.bytes += REPLY_BYTES + bytes;
            if let Body::Events { events, .. } = &reply.body {
                state.pending += events.len();
            }
            accepted += 1;
        }
        // Moved and not cloned: the threads of all readers count on the same events.
        state.replies.extend(pending.drain(..accepted).map(|pending| pending.reply));
        if accepted > 0 { state.waker.take() } else { None }
    }

    /// Has the reader look, whatever there is.
    pub(crate) fn rouse(&self) {
        Self::wake(self.state.lock());
    }

    /// Ends the stream; what waits is not delivered.
    pub fn end(&self, end: End) {
        let state = self.state.lock();
        if state.end.is_none() {
            Self::close(state, end);
        }
    }

    fn close(mut state: parking_lot::MutexGuard<'_, State>, end: End) {
        state.end = Some(end);
        state.replies = VecDeque::new();
        state.pending = 0;
        Self::wake(state);
    }

    fn wake(mut state: parking_lot::MutexGuard<'_, State>) {
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
