//! The receiving half: a connection of HTTP/2 that came in, and the stream of frames on it.
//!
//! One task polls the connection and the stream itself: however many frames have come, they are handed over
//! together, after one wake-up.
//!
//! INVARIANT: a stream whose bytes are not what was sent ends with its connection.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{Method, Request, Response};

use crate::contact::Contact;
use crate::frame::Unpacker;
use crate::papers::Visitor;
use crate::port::Visit;
use crate::transport::Shared;
use crate::wire::Wire;
use crate::{Lane, answer, reply};

/// What a sender may have under way, in bytes.
const WINDOW_BYTES: u32 = 16 << 20;
/// A DATA frame may be this long, in bytes; each is held until it is whole.
const DATA_BYTES_MAX: u32 = 256 << 10;
/// Requests at once on a connection.
const REQUESTS_MAX: u32 = 8;
/// The headers of a request, in bytes.
const HEADERS_BYTES_MAX: u32 = 16 << 10;

/// Serves a connection to its end.
pub(crate) async fn receive(shared: &Arc<Shared>, wire: Wire, visit: &Arc<Visit>) {
    let mut builder = server::Builder::new();
    builder
        .initial_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(DATA_BYTES_MAX)
        .max_concurrent_streams(REQUESTS_MAX)
        .max_header_list_size(HEADERS_BYTES_MAX);
    match builder.handshake(wire).await {
        Ok(connection) => {
            let mut reception = Reception { shared, visit, connection, stream: None, ready: Vec::new() };
            poll_fn(|context| reception.poll(context)).await;
        }
        Err(error) => tracing::debug!(%error, "a peer's connection ended early"),
    }
}

struct Reception<'a> {
    shared: &'a Arc<Shared>,
    visit: &'a Arc<Visit>,
    connection: server::Connection<Wire, Bytes>,
    stream: Option<Incoming<'a>>,
    ready: Vec<Bytes>,
}

impl Reception<'_> {
    /// Everything that can be done now. Ready when the connection is over.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let ended = loop {
            match self.connection.poll_accept(context) {
                Poll::Ready(Some(Ok((request, respond)))) => self.request(request, respond),
                Poll::Ready(Some(Err(_)) | None) => break true,
                Poll::Pending => break false,
            }
        };
        // What came before the end counts.
        let over = self.stream.as_mut().is_some_and(|stream| stream.hand_over(&mut self.ready).is_break());
        if ended || over { Poll::Ready(()) } else { Poll::Pending }
    }

    fn request(&mut self, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        let lane = match (request.method(), request.uri().path()) {
            (&Method::POST, "/kvorum/stream/vital") => Lane::Vital,
            (&Method::POST, "/kvorum/stream/bulk") => Lane::Bulk,
            _ => {
                let (shared, visit) = (Arc::clone(self.shared), Arc::clone(self.visit));
                let (parts, _) = request.into_parts();
                let task = async move {
                    let response = answer::answer(&shared, &visit, &parts).await;
                    visit.stop.run_until_cancelled(reply::send(response, respond)).await;
                };
                self.shared.tasks.spawn_on(task, &self.shared.handle);
                return;
            }
        };
        self.open(request, respond, lane);
    }

    fn open(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>, lane: Lane) {
        let (parts, body) = request.into_parts();
        let visitor = match self.shared.check(&parts) {
            Ok(visitor) if self.stream.is_none() => visitor,
            Ok(_) => return respond.send_reset(Reason::REFUSED_STREAM),
            Err(refusal) => {
                let response = answer::refused(self.shared, &refusal);
                self.shared.tasks.spawn_on(reply::send(response, respond), &self.shared.handle);
                return;
            }
        };
        self.visit.is_member();
        if let Ok(answer) = respond.send_response(Response::new(()), false) {
            let (serial, contact) = self.shared.arrive(&visitor, lane, self.visit.stop.clone());
            let unpacker = Unpacker::default();
            let shared = self.shared;
            self.stream =
                Some(Incoming { shared, visitor, lane, serial, contact, body, unpacker, _answer: answer });
        }
    }
}

/// A stream of frames.
struct Incoming<'a> {
    shared: &'a Arc<Shared>,
    visitor: Visitor,
    lane: Lane,
    serial: u64,
    contact: Option<Arc<Contact>>,
    body: RecvStream,
    unpacker: Unpacker,
    /// The sender takes its end for the end of the stream.
    _answer: SendStream<Bytes>,
}

impl Incoming<'_> {
    /// Hands over the frames that have come. Breaks when the stream is over.
    fn hand_over(&mut self, ready: &mut Vec<Bytes>) -> std::ops::ControlFlow<()> {
        // Data comes only while the connection is polled, which is done: nobody has to be woken.
        let mut silent = Context::from_waker(Waker::noop());
        let mut taken = 0;
        let over = loop {
            match self.body.poll_data(&mut silent) {
                Poll::Ready(Some(Ok(piece))) => {
                    taken += piece.len();
                    if let Err(error) = self.unpacker.push(piece, ready) {
                        let from = self.visitor.member;
                        tracing::warn!({ "remote-peer-id" } = %from, %error, "closed a peer's damaged stream");
                        break true;
                    }
                }
                Poll::Ready(Some(Err(_)) | None) => break true,
                Poll::Pending => break false,
            }
        };
        if !ready.is_empty() {
            if let Some(contact) = &self.contact {
                let bytes: usize = ready.iter().map(Bytes::len).sum();
                contact.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            }
            self.shared.inbox.receive(self.visitor.member, std::mem::take(ready));
        }
        if over || self.body.flow_control().release_capacity(taken).is_err() {
            return std::ops::ControlFlow::Break(());
        }
        std::ops::ControlFlow::Continue(())
    }
}

impl Drop for Incoming<'_> {
    fn drop(&mut self) {
        self.shared.depart(self.visitor.member, self.lane, self.serial);
    }
}
