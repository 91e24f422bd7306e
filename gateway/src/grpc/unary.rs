//! gRPC's unary calls, as lean as they can be: one message in, shared with the socket's buffer; one buffer out.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use api::{Code, Member};
use bytes::{Bytes, BytesMut};
use http::Response;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use prost::Message;

use super::frame::{self, Encoding, PREFIX_BYTES, Reader};
use super::{failure, success};
use crate::body::{Body, within};
use crate::budget::{NoRoom, Share};
use crate::gateway::{Connection, Shared};
use crate::metadata::Metadata;
use crate::meters::CallMeters;
use crate::refusal::Refusal;

/// One call under way.
pub(super) struct Call<'a> {
    pub(super) shared: &'a Shared,
    pub(super) meters: &'a CallMeters,
    pub(super) metadata: Metadata,
    pub(super) body: Incoming,
    pub(super) connection: &'a Connection,
    /// The member as the caller sees it, once that is known.
    pub(super) guest: &'a OnceLock<Arc<dyn Member>>,
}

impl<'a> Call<'a> {
    /// Reads the request, acts and answers.
    pub(super) async fn run<Q, A, F>(self, act: fn(&'a Arc<dyn Member>, Q) -> F) -> Response<Body>
    where
        Q: Message + Default,
        A: Message,
        F: Future<Output = Result<A, Refusal>>,
    {
        let (shared, meters, began) = (self.shared, self.meters, Instant::now());
        let response = self.respond(act).await;
        shared.ended(meters, began);
        response
    }

    async fn respond<Q, A, F>(mut self, act: fn(&'a Arc<dyn Member>, Q) -> F) -> Response<Body>
    where
        Q: Message + Default,
        A: Message,
        F: Future<Output = Result<A, Refusal>>,
    {
        let encoding = self.metadata.encoding();
        if let Some(refusal) = encoding.refusal() {
            return failure(&refusal);
        }
        let started = self.meters.start();
        let gzip = encoding == Encoding::Gzip;
        let time_left = self.metadata.time_left();
        let acting = self.act(encoding, act);
        match Metadata::in_time(time_left, acting).await {
            Ok(answer) => {
                let mut framed = BytesMut::new();
                frame::put(&mut framed, &answer, gzip);
                drop(answer);
                let bytes = framed.len() - PREFIX_BYTES;
                let mut body = Body::message(framed.freeze());
                if let Err(refusal) = body.count(self.shared) {
                    started.end(Some(refusal.code));
                    return failure(&refusal);
                }
                self.shared.meters.sent(self.meters, 1, bytes as u64);
                started.end(None);
                success(body, gzip)
            }
            Err(refusal) => {
                started.end(Some(refusal.code));
                failure(&refusal)
            }
        }
    }

    async fn act<Q, A, F>(
        &mut self,
        encoding: Encoding,
        act: fn(&'a Arc<dyn Member>, Q) -> F,
    ) -> Result<A, Refusal>
    where
        Q: Message + Default,
        A: Message,
        F: Future<Output = Result<A, Refusal>>,
    {
        // It is held until the call is answered.
        let mut share = None;
        let reading = read(&mut self.body, self.shared, encoding, &mut share);
        let message = within(self.shared.limits.body_time_max, reading).await.unwrap_or(Err(Missed::Time));
        let message = message.map_err(|missed| missed.refusal(self.shared))?;
        self.metadata.check(self.shared.member.as_ref()).await?;
        self.shared.meters.received(self.meters, message.len(), self.metadata.version());
        let request = decode(message)?;
        let caller = || self.metadata.caller(self.connection.peer_name.as_ref());
        act(self.shared.member_for(self.guest, caller), request).await
    }
}

/// Why there is no message.
enum Missed {
    /// It did not come in time.
    Time,
    /// There is no room for it.
    Room(NoRoom),
    /// It is none.
    Refused(Refusal),
}

impl Missed {
    /// Counts it.
    fn refusal(self, shared: &Shared) -> Refusal {
        match self {
            Self::Time => {
                shared.meters.limits.slow_body.increment(1);
                Refusal::out_of_time()
            }
            Self::Room(why) => shared.no_room(why),
            Self::Refused(refusal) => refusal,
        }
    }
}

impl From<Refusal> for Missed {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Reads the one message of a call, and to the end of the stream.
async fn read(
    body: &mut Incoming,
    shared: &Shared,
    encoding: Encoding,
    share: &mut Option<Share>,
) -> Result<Bytes, Missed> {
    let (mut reader, mut bytes) = (Reader::new(shared.message_bytes_max, encoding), 0);
    let message = loop {
        let piece = match share {
            None => next(body).await,
            Some(share) => tokio::select! {
                biased;
                why = share.lost() => return Err(Missed::Room(why)),
                piece = next(body) => piece,
            },
        };
        let Some(piece) = piece? else {
            let text = if reader.is_torn() { "unexpected EOF" } else { "EOF" };
            return Err(Refusal::new(Code::Internal, text).into());
        };
        bytes += piece.len();
        reader.push(piece);
        if let Some(message) = reader.next()? {
            break message;
        }
        let share: &mut Share = share.get_or_insert_with(|| shared.arriving.share());
        share.resize(bytes).map_err(Missed::Room)?;
    };
    if reader.is_torn() || (!body.is_end_stream() && next(body).await?.is_some()) {
        return Err(Refusal::new(Code::Internal, "a unary call has one message").into());
    }
    share.as_mut().map_or(Ok(()), Share::arrive).map_err(Missed::Room)?;
    Ok(message)
}

/// The message that these bytes are.
pub(super) fn decode<Q: Message + Default>(message: Bytes) -> Result<Q, Refusal> {
    Q::decode(message)
        .map_err(|error| Refusal::new(Code::Internal, format!("grpc: error unmarshalling request: {error}")))
}

/// The next data that is not empty; `None` at the end.
async fn next(body: &mut Incoming) -> Result<Option<Bytes>, Refusal> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::canceled())?;
        if let Ok(data) = frame.into_data()
            && !data.is_empty()
        {
            return Ok(Some(data));
        }
    }
    Ok(None)
}
