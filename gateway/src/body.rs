//! Answers' bodies (one piece of bytes, and in gRPC its trailers; or a streaming call) and requests' bodies read
//! within limits.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::EXPECT;
use http::{HeaderMap, HeaderValue, Request, Version};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

use crate::Limits;
use crate::activity;
use crate::budget::{Budget, NoRoom, Share};
use crate::gateway::Shared;
use crate::refusal::Refusal;
use crate::stream::Streamed;
use crate::v2::wait::Waiting;

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum Body {
    /// All of it is there.
    Whole {
        /// What is left to send.
        data: Option<Bytes>,
        /// gRPC's `grpc-status: 0` follows the data.
        ok_follows: bool,
    },
    /// It comes as it is made.
    Streamed(Box<Streamed>),
    /// Events of the v2 keyspace, when they happen.
    Waiting(Box<Waiting>),
}

impl Default for Body {
    fn default() -> Self {
        Self::Whole { data: None, ok_follows: false }
    }
}

impl Body {
    /// These bytes and no more.
    pub(crate) fn of(data: impl Into<Bytes>) -> Self {
        let data: Bytes = data.into();
        Self::Whole { data: (!data.is_empty()).then_some(data), ok_follows: false }
    }

    /// A gRPC message, framed already, and that all is well.
    pub(crate) fn message(framed: Bytes) -> Self {
        Self::Whole { data: Some(framed), ok_follows: true }
    }

    /// Counts what is not small until it is sent, which takes as long as the client likes.
    pub(crate) fn count(&mut self, shared: &Shared) -> Result<(), Refusal> {
        if let Self::Whole { data: Some(data), .. } = self
            && data.len() >= UNCOUNTED_BYTES_MAX
        {
            let mut share = shared.leaving.share();
            share.resize(data.len()).map_err(|_| {
                shared.meters.limits.leaving_bytes.increment(1);
                Refusal::too_many()
            })?;
            *data = Bytes::from_owner(Held { bytes: std::mem::take(data), _share: share });
        }
        Ok(())
    }

    /// The answers of a streaming call.
    pub(crate) fn streamed(streamed: Streamed) -> Self {
        Self::Streamed(Box::new(streamed))
    }

    /// What a wait is told.
    pub(crate) fn waiting(waiting: Waiting) -> Self {
        Self::Waiting(Box::new(waiting))
    }

    /// Bytes of it, as far as they are known.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Whole { data, .. } => data.as_ref().map_or(0, Bytes::len),
            Self::Streamed(_) | Self::Waiting(_) => 0,
        }
    }

    /// Holds what says that the request is under way until all of the answer is sent, if it is not there yet.
    pub(crate) fn hold(&mut self, busy: activity::Call) {
        match self {
            Self::Whole { .. } => {}
            Self::Streamed(streamed) => streamed.hold(busy),
            Self::Waiting(waiting) => waiting.hold(busy),
        }
    }
}

/// Bytes that count for as long as anybody has them. The connection takes an answer long before the client does, and holds
/// it without this crate's help.
struct Held {
    bytes: Bytes,
    /// Given back when the last piece is dropped.
    _share: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let (data, ok_follows) = match &mut *self {
            Self::Whole { data, ok_follows } => (data, ok_follows),
            Self::Streamed(streamed) => return streamed.poll_frame(cx).map(|frame| frame.map(Ok)),
            Self::Waiting(waiting) => return waiting.poll_frame(cx).map(|frame| frame.map(Ok)),
        };
        if let Some(rest) = data {
            // The connection takes a piece as soon as it has room for a byte, and may copy it.
            let piece = rest.split_to(rest.len().min(PIECE_BYTES_MAX));
            if rest.is_empty() {
                *data = None;
            }
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if std::mem::take(ok_follows) {
            let mut trailers = HeaderMap::with_capacity(1);
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole { data, ok_follows, .. } => data.is_none() && !ok_follows,
            Self::Streamed(streamed) => streamed.is_over(),
            Self::Waiting(waiting) => waiting.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole { ok_follows: false, .. } => SizeHint::with_exact(self.len() as u64),
            // gRPC's messages tell their length themselves, and get no header for it.
            Self::Whole { .. } | Self::Streamed(_) | Self::Waiting(_) => SizeHint::new(),
        }
    }
}

/// An answer goes to the connection in pieces of at most so many bytes.
const PIECE_BYTES_MAX: usize = 256 * 1024;

/// Answers below this many bytes are not counted.
const UNCOUNTED_BYTES_MAX: usize = 64 * 1024;

/// Why a body was not had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// Longer than allowed.
    TooLarge,
    /// It stopped arriving.
    TooSlow,
    /// Others have all the room that there is for bodies that come in pieces, or needed it more.
    NoRoom(NoRoom),
    /// The client went away, or sent what is no body.
    Broken,
}

/// A request's body, until somebody reads it, or nobody wants it.
///
/// A client that is still sending may lose an answer that comes before its last byte: over HTTP/2 the end of such a stream
/// is a reset, which curl takes for the answer, and over HTTP/1 it is the end of the connection. So what nobody wanted is
/// heard to its end before the answer goes out, within limits.
pub(crate) struct Upload {
    incoming: Option<Incoming>,
    /// The client sends it when it is told to, and nobody has told it.
    is_held_back: bool,
    /// What a body that came in pieces holds until the request is answered: it is in memory for as long, in several forms.
    share: Option<Share>,
}

impl Upload {
    /// Takes the body out of a request.
    pub(crate) fn of(request: Request<Incoming>) -> (Request<()>, Self) {
        let (head, incoming) = request.into_parts();
        let is_held_back = head.version < Version::HTTP_2 && head.headers.contains_key(EXPECT);
        (Request::from_parts(head, ()), Self { incoming: Some(incoming), is_held_back, share: None })
    }

    /// The body, to be read piece by piece; `None` if it was read already.
    pub(crate) fn take(&mut self) -> Option<Incoming> {
        self.is_held_back = false;
        self.incoming.take()
    }

    /// What [`Upload::take`] gave is not wanted any more.
    pub(crate) fn give_back(&mut self, incoming: Incoming) {
        self.incoming = Some(incoming);
    }

    /// All of it.
    pub(crate) async fn collect(&mut self, bytes_max: usize, shared: &Shared) -> Result<Bytes, BodyError> {
        let Some(mut incoming) = self.take() else { return Ok(Bytes::new()) };
        let collecting = collect(&mut incoming, bytes_max, &shared.arriving, &mut self.share);
        let collected =
            within(shared.limits.body_time_max, collecting).await.unwrap_or(Err(BodyError::TooSlow));
        let meters = &shared.meters.limits;
        match collected {
            Ok(_) | Err(BodyError::Broken) => {}
            Err(BodyError::TooSlow) => meters.slow_body.increment(1),
            Err(BodyError::TooLarge) => meters.large_body.increment(1),
            Err(BodyError::NoRoom(why)) => drop(shared.no_room(why)),
        }
        if collected.is_err() {
            self.share = None;
        }
        if matches!(collected, Err(BodyError::TooLarge | BodyError::NoRoom(_))) {
            self.give_back(incoming);
        }
        collected
    }

    /// Hears what nobody wanted, and forgets it.
    pub(crate) async fn discard(self, limits: &Limits) {
        let Some(incoming) = self.incoming.filter(|body| !self.is_held_back && !body.is_end_stream()) else {
            return;
        };
        // Beyond either limit the client gets its answer all the same, if it listens.
        drop(
            tokio::time::timeout(limits.discard_time_max, discard(incoming, limits.discard_bytes_max)).await,
        );
    }
}

async fn discard(mut body: Incoming, bytes_max: usize) {
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, Bytes::len);
        if bytes > bytes_max {
            return;
        }
    }
}

/// What a future gives in this time. One that is done at once costs no timer.
pub(crate) async fn within<T>(time_max: Duration, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let at_once = poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => Poll::Ready(None),
    });
    match at_once.await {
        Some(value) => Some(value),
        None => tokio::time::timeout(time_max, future).await.ok(),
    }
}

async fn collect(
    body: &mut Incoming,
    bytes_max: usize,
    budget: &Arc<Budget>,
    share: &mut Option<Share>,
) -> Result<Bytes, BodyError> {
    let (mut first, mut rest) = (Bytes::new(), BytesMut::new());
    loop {
        let frame = match share {
            None => body.frame().await,
            Some(share) => tokio::select! {
                biased;
                why = share.lost() => return Err(BodyError::NoRoom(why)),
                frame = body.frame() => frame,
            },
        };
        let Some(frame) = frame else { break };
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        if data.len() > bytes_max.saturating_sub(first.len() + rest.len()) {
            return Err(BodyError::TooLarge);
        }
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                // What is to come is known mostly; room that is not written to costs nothing, and no copy is left over.
                let left = body.size_hint().exact().and_then(|left| usize::try_from(left).ok()).unwrap_or(0);
                rest.reserve((first.len() + data.len()).saturating_add(left).min(bytes_max));
            }
            rest.extend_from_slice(&std::mem::take(&mut first));
            rest.extend_from_slice(&data);
        }
        if !body.is_end_stream() {
            let share: &mut Share = share.get_or_insert_with(|| budget.share());
            share.resize(first.len() + rest.len()).map_err(BodyError::NoRoom)?;
        }
    }
    share.as_mut().map_or(Ok(()), Share::arrive).map_err(BodyError::NoRoom)?;
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}
