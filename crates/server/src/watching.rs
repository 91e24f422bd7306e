//! A stream of watches as the gateway knows it: asks go to the window, replies come out of an outbox.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use api::{Caller, Fault, Header, WatchBody, WatchReply, WatchStream};
use types::{ClusterId, MemberId, WatchId, WatchSpec};
use watch::{Body, End, Reply, Taken};

use crate::member::{House, Member};
use crate::tally::Tally;
use crate::watch_guard::{Guard, reason};
use crate::window::{ASKS_MAX, Ask, Seat, Window};

/// See the module.
pub(crate) struct Stream {
    window: Arc<Window>,
    seat: Arc<Seat>,
    // Taken out and not asked for yet.
    replies: VecDeque<Reply>,
    guard: Guard,
    house: Arc<House>,
    tally: Arc<Tally>,
    cluster: ClusterId,
    member: MemberId,
}

impl Member {
    /// Opens a stream of watches.
    pub(crate) fn open_watches(&self, caller: Caller, requires_leader: bool) -> Result<Stream, Fault> {
        let shared = &self.house.shared;
        if shared.has_ended() {
            return Err(Fault::Stopped);
        }
        if shared.is_corrupt() {
            return Err(Fault::Corrupt);
        }
        if requires_leader && shared.leader() == MemberId(0) {
            return Err(Fault::NoLeader);
        }
        Ok(Stream {
            seat: self.window.open(requires_leader)?,
            window: Arc::clone(&self.window),
            replies: VecDeque::new(),
            guard: Guard::new(caller, &self.house),
            house: Arc::clone(&self.house),
            tally: Arc::clone(&self.measures.tally),
            cluster: self.cluster,
            member: self.id,
        })
    }
}

impl Stream {
    fn ask(&self, ask: impl FnOnce(Arc<Seat>) -> Ask) {
        if self.seat.asks.fetch_add(1, Ordering::Relaxed) >= ASKS_MAX {
            return self.seat.outbox.end(End::Overrun);
        }
        self.window.put(ask(Arc::clone(&self.seat)));
    }

    fn poll_reply(&mut self, context: &mut Context<'_>) -> Poll<Result<Reply, Fault>> {
        for id in self.guard.look(&self.house)? {
            self.ask(|seat| Ask::Cancel(seat, id));
        }
        if let Some(refused) = self.guard.take_refused() {
            let revision = self.house.wing.look().mvcc.revision();
            return Poll::Ready(Ok(Reply { id: WatchId::NONE, revision, body: Body::Refused(refused) }));
        }
        loop {
            if let Some(reply) = self.taken() {
                return Poll::Ready(Ok(reply));
            }
            match self.seat.outbox.poll_take(context, &mut self.replies) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Taken::Ended(end)) => return Poll::Ready(Err(fault(end))),
                Poll::Ready(Taken::Replies { room }) => {
                    // All at once: every stream counts on the same counter.
                    self.tally.events(self.replies.iter().map(events_in).sum());
                    if room {
                        self.window.put(Ask::Room(self.seat.id));
                    }
                }
            }
        }
    }

    /// The next of those that were taken out and may be seen.
    fn taken(&mut self) -> Option<Reply> {
        let Self { replies, guard, .. } = self;
        std::iter::from_fn(|| replies.pop_front()).find(|reply| guard.lets_out(reply))
    }

    fn answer(&mut self, reply: Reply) -> WatchReply {
        let Reply { id, revision, body } = reply;
        let header =
            Header { cluster: self.cluster, member: self.member, revision, term: self.house.shared.term() };
        let denied = matches!(body, Body::Canceled { .. }) && self.guard.forget(id);
        WatchReply { header, id, body: told(body, denied) }
    }
}

impl WatchStream for Stream {
    fn create(&mut self, spec: WatchSpec) {
        if !self.guard.admit(&self.house, &spec.range) {
            return;
        }
        self.ask(|seat| Ask::Create(seat, Box::new(spec)));
    }

    fn cancel(&mut self, id: WatchId) {
        self.ask(|seat| Ask::Cancel(seat, id));
    }

    fn progress(&mut self) {
        self.ask(Ask::Progress);
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<WatchReply, Fault>> {
        let reply = ready!(self.poll_reply(context))?;
        Poll::Ready(Ok(self.answer(reply)))
    }

    fn at_hand(&mut self) -> Option<WatchReply> {
        let reply = self.taken()?;
        Some(self.answer(reply))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.window.close(self.seat.id);
    }
}

fn events_in(reply: &Reply) -> usize {
    if let Body::Events { events, .. } = &reply.body { events.len() } else { 0 }
}

fn told(body: Body, denied: bool) -> WatchBody {
    match body {
        Body::Created => WatchBody::Created,
        Body::Refused(reason) => WatchBody::Refused { reason: reason.to_owned() },
        Body::Canceled { .. } if denied => {
            WatchBody::Canceled { compacted: None, reason: reason(&Fault::PermissionDenied).to_owned() }
        }
        // etcd gives no reason: the revision says it.
        Body::Canceled { compacted } => WatchBody::Canceled { compacted, reason: String::new() },
        Body::Events { events, fragment } => WatchBody::Events { events, fragment },
        Body::Progress => WatchBody::Progress,
    }
}

fn fault(end: End) -> Fault {
    match end {
        End::NoLeader => Fault::NoLeader,
        End::Stopped => Fault::Stopped,
        End::Corrupt => Fault::Corrupt,
        End::Overrun => Fault::TooManyRequests,
    }
}
