//! The requests of a streaming gRPC call, as they come.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use api::Code;
use hyper::body::{Body as _, Incoming};
use prost::Message;

use super::frame::{Encoding, Reader};
use super::unary::decode;
use crate::budget::Share;
use crate::gateway::Shared;
use crate::refusal::Refusal;
use crate::rpc::Rpc;

/// Messages out of a request's body.
pub(crate) struct Messages {
    shared: Arc<Shared>,
    rpc: Rpc,
    body: Incoming,
    reader: Reader,
    /// Of a message that is not here to its end.
    share: Share,
    ended: bool,
}

impl Messages {
    pub(super) fn new(shared: Arc<Shared>, rpc: Rpc, body: Incoming, encoding: Encoding) -> Self {
        let reader = Reader::new(shared.message_bytes_max, encoding);
        let share = shared.arriving.share();
        Self { shared, rpc, body, reader, share, ended: false }
    }

    /// The next message, `None` after the last.
    pub(crate) fn poll_next<Q: Message + Default>(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Q>, Refusal>> {
        loop {
            if let Some(message) = self.reader.next()? {
                self.shared.meters.received_message(self.shared.meters.call(self.rpc), message.len());
                return Poll::Ready(decode(message).map(Some));
            }
            if self.ended {
                return Poll::Ready(Ok(None));
            }
            self.share.resize(self.reader.held()).map_err(|why| self.shared.no_room(why))?;
            if let Poll::Ready(why) = self.share.poll_lost(cx) {
                return Poll::Ready(Err(self.shared.no_room(why)));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        self.reader.push(data);
                    }
                }
                Some(Err(_)) => return Poll::Ready(Err(Refusal::canceled())),
                None => {
                    self.ended = true;
                    if self.reader.is_torn() {
                        return Poll::Ready(Err(Refusal::new(Code::Internal, "unexpected EOF")));
                    }
                }
            }
        }
    }
}
