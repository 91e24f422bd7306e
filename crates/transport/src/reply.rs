//! The body of an answer: a text, or pieces that come as they are read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use http::Response;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Whoever takes nothing for this long is gone.
pub(crate) const TAKE_TIME_MAX: Duration = Duration::from_secs(30);

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum Reply {
    /// All of it, until it was taken.
    Whole(Option<Bytes>),
    /// In pieces. An error ends it before its end, which the other side sees.
    Pieces(mpsc::Receiver<io::Result<Bytes>>),
}

impl Reply {
    pub(crate) fn text(text: impl Into<Bytes>) -> Self {
        Self::Whole(Some(text.into()))
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Whole(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Pieces(pieces) => {
                pieces.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Self::Pieces(_) => SizeHint::default(),
        }
    }
}

/// Sends an answer over HTTP/2. Nobody hears of it when that fails: the other side is gone.
pub(crate) async fn send(response: Response<Reply>, mut respond: SendResponse<Bytes>) {
    let (parts, mut reply) = response.into_parts();
    let Ok(mut stream) = respond.send_response(Response::from_parts(parts, ()), false) else { return };
    while let Some(frame) = reply.frame().await {
        let Ok(frame) = frame else { return stream.send_reset(h2::Reason::INTERNAL_ERROR) };
        let Ok(mut data) = frame.into_data() else { continue };
        while !data.is_empty() {
            stream.reserve_capacity(data.len());
            let room = timeout(TAKE_TIME_MAX, std::future::poll_fn(|context| stream.poll_capacity(context)));
            let Ok(Some(Ok(room))) = room.await else { return };
            if stream.send_data(data.split_to(room.min(data.len())), false).is_err() {
                return;
            }
        }
    }
    // A stream that is gone needs no end.
    let _ = stream.send_data(Bytes::new(), true);
}
