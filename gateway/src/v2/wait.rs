//! Waits for what happens in the v2 keyspace: the head of the answer leaves at once, the events when they happen.
//!
//! INVARIANT: an event is encoded once for all who wait for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use api::{V2Events, V2News, V2Watching};
use bytes::Bytes;
use http::Response;
use hyper::body::Frame;

use types::ClusterId;

use crate::activity;
use crate::body::Body;
use crate::leave::{Leave, Leaving};
use crate::v2::answer;

type Next = Pin<Box<dyn Future<Output = (Option<Arc<V2News>>, Box<dyn V2Events>)> + Send>>;

/// The body of such an answer. Dropping it ends the wait.
pub(crate) struct Waiting {
    /// `None` when it is over.
    next: Option<Next>,
    leave: Leaving,
    /// The request is under way for as long as this is here.
    busy: Option<activity::Call>,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("over", &self.next.is_none()).finish_non_exhaustive()
    }
}

/// The answer to a wait that has begun. It ends with the wait, and at shutdown.
pub(crate) fn respond(cluster: ClusterId, watching: V2Watching, leave: &Leave) -> Response<Body> {
    let V2Watching { index, raft_index, raft_term, events } = watching;
    let leave = leave.wait();
    let waiting = Waiting { next: Some(next(events)), leave, busy: None };
    let mut response = Response::new(Body::waiting(waiting));
    answer::heads(response.headers_mut(), cluster, index, raft_index, raft_term);
    response
}

impl Waiting {
    /// Holds what says that the request is under way.
    pub(crate) fn hold(&mut self, busy: activity::Call) {
        self.busy = Some(busy);
    }

    /// Whether everything was sent.
    pub(crate) fn is_over(&self) -> bool {
        self.next.is_none()
    }

    /// The next frame of the body.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        let Some(waiting) = &mut self.next else { return Poll::Ready(None) };
        if let Poll::Ready((news, events)) = waiting.as_mut().poll(cx) {
            self.next = news.is_some().then(|| next(events));
            return Poll::Ready(news.map(|news| Frame::data(encoded(&news))));
        }
        ready!(self.leave.poll(cx));
        self.next = None;
        Poll::Ready(None)
    }
}

fn next(mut events: Box<dyn V2Events>) -> Next {
    Box::pin(async move {
        let news = events.next().await;
        (news, events)
    })
}

fn encoded(news: &V2News) -> Bytes {
    news.wire.get_or_init(|| answer::text(&news.event, false).into()).clone()
}
