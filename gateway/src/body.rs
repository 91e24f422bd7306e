//! Answers' bodies (one piece of bytes, and in gRPC its trailers; or a streaming call) and requests' bodies read
//! within limits.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

use crate::Limits;
use crate::activity;
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
        if let Some(data) = data.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
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
            Self::Whole { data, ok_follows } => data.is_none() && !ok_follows,
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

/// Why a body was not had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// Longer than allowed.
    TooLarge,
    /// It stopped arriving.
    TooSlow,
    /// The client went away, or sent what is no body.
    Broken,
}

/// The whole of a request's body.
pub(crate) async fn collect(body: Incoming, bytes_max: usize, limits: &Limits) -> Result<Bytes, BodyError> {
    let collected = tokio::time::timeout(limits.body_time_max, collect_all(body, bytes_max)).await;
    collected.unwrap_or(Err(BodyError::TooSlow))
}

async fn collect_all(mut body: Incoming, bytes_max: usize) -> Result<Bytes, BodyError> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        if data.len() > bytes_max.saturating_sub(first.len() + rest.len()) {
            return Err(BodyError::TooLarge);
        }
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&std::mem::take(&mut first));
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}
