//! Calls whose answers come one after another, in gRPC and in JSON alike.
//!
//! A call is one future that reads requests from an [`Inlet`] and puts answers into an [`Outlet`]. It is not a task of its
//! own: the body of the HTTP answer owns it and polls it when the connection has room for more. So a client that does not
//! read stops its own call and nothing else, and a client that goes away ends it.
//!
//! INVARIANT: between a call and its connection lies at most what one [`Outlet::flush`] gave.
//! INVARIANT: answers leave in the order in which they were put in; what ends the call comes last.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use api::{Code, Fault, Member};
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use hyper::body::Frame;
use parking_lot::Mutex;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use crate::activity;
use crate::gateway::Shared;
use crate::grpc;
use crate::json::{self, Values};
use crate::leave::{Leave, Leaving};
use crate::metadata::Metadata;
use crate::refusal::Refusal;
use crate::rpc::Rpc;

/// Answers are gathered up to this many bytes before they leave, when there are more of them.
pub(crate) const GATHER_BYTES_MAX: usize = 16 * 1024;

/// A piece of at least this many bytes goes out as it is; smaller ones are copied together.
const SHARE_BYTES_MIN: usize = 4 * 1024;

/// What a call is: it reads and answers until it is done or refused.
pub(crate) type Running = Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send>>;

/// What all streaming calls are made of.
pub(crate) struct Call {
    pub(crate) shared: Arc<Shared>,
    /// The member as the caller sees it.
    pub(crate) member: Arc<dyn Member>,
    pub(crate) rpc: Rpc,
    pub(crate) metadata: Metadata,
    /// Requests.
    pub(crate) inlet: Inlet,
    /// Answers.
    pub(crate) outlet: Outlet,
}

/// Where a call finds its requests.
pub(crate) enum Inlet {
    /// Framed messages.
    Grpc(grpc::Messages),
    /// JSON objects one after another.
    Json(Values),
}

impl Inlet {
    /// The next request; `None` when the client will send no more. May be dropped while it waits without losing one.
    pub(crate) async fn next<Q: Message + Default>(&mut self) -> Result<Option<Q>, Refusal> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next request, if it is there.
    pub(crate) fn poll_next<Q: Message + Default>(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Q>, Refusal>> {
        match self {
            Self::Grpc(messages) => messages.poll_next(cx),
            Self::Json(values) => values.poll_next(cx),
        }
    }
}

/// How answers look.
#[derive(Clone, Debug)]
pub(crate) enum Form {
    /// Framed messages, perhaps compressed.
    Grpc {
        /// Whether each is compressed.
        gzip: bool,
    },
    /// A line of JSON each.
    Json(json::Lines),
}

/// Where a call puts its answers. They are gathered until [`Outlet::flush`].
pub(crate) struct Outlet {
    shared: Arc<Shared>,
    rpc: Rpc,
    form: Form,
    gathered: BytesMut,
    pieces: VecDeque<Bytes>,
    /// Bytes in `pieces`.
    pieces_bytes: usize,
    /// Answers that were put in and not counted yet, and their bytes: all connections share the counters.
    uncounted: (u64, u64),
    tray: Tray,
}

/// What is on its way from a call to its connection.
type Tray = Arc<Mutex<VecDeque<Bytes>>>;

impl Outlet {
    pub(crate) fn new(shared: Arc<Shared>, rpc: Rpc, form: Form) -> Self {
        let tray = Tray::default();
        let (gathered, pieces) = (BytesMut::new(), VecDeque::new());
        Self { shared, rpc, form, gathered, pieces, pieces_bytes: 0, uncounted: (0, 0), tray }
    }

    fn note(&mut self, bytes: usize) {
        self.uncounted.0 += 1;
        self.uncounted.1 += bytes as u64;
    }

    /// Puts in an answer.
    pub(crate) fn put(&mut self, answer: &impl Message) -> Result<(), Refusal> {
        let bytes = match &self.form {
            Form::Grpc { gzip } => {
                let before = self.gathered.len();
                grpc::put(&mut self.gathered, answer, *gzip);
                self.gathered.len() - before - grpc::PREFIX_BYTES
            }
            Form::Json(lines) => {
                lines.put(&mut self.gathered, answer)?;
                // Each line is a chunk of HTTP, as in etcd: there are clients that take a chunk for an answer.
                self.cut();
                answer.encoded_len()
            }
        };
        self.note(bytes);
        Ok(())
    }

    /// Whether answers may be put in as pieces that are encoded already.
    pub(crate) fn takes_pieces(&self) -> bool {
        matches!(self.form, Form::Grpc { gzip: false })
    }

    /// Puts in an answer of `length` encoded bytes, whose pieces [`Outlet::piece`] brings.
    pub(crate) fn begin(&mut self, length: usize) {
        debug_assert!(self.takes_pieces());
        grpc::put_prefix(&mut self.gathered, length);
        self.note(length);
    }

    /// Where small pieces of an answer go.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.gathered
    }

    /// A piece of an answer; a large one is shared.
    pub(crate) fn piece(&mut self, piece: &Bytes) {
        if piece.len() < SHARE_BYTES_MIN {
            return self.gathered.put_slice(piece);
        }
        self.cut();
        self.pieces_bytes += piece.len();
        self.pieces.push_back(piece.clone());
    }

    /// Puts in an answer without its largest field, which is `bytes` at `field` and is shared where that can be; else
    /// `whole` puts it into its place.
    pub(crate) fn put_with<A: Message>(
        &mut self,
        mut answer: A,
        field: u32,
        bytes: Bytes,
        whole: impl FnOnce(&mut A, Bytes),
    ) -> Result<(), Refusal> {
        if !self.takes_pieces() {
            whole(&mut answer, bytes);
            return self.put(&answer);
        }
        let of_field = key_len(field) + encoded_len_varint(bytes.len() as u64) + bytes.len();
        self.begin(answer.encoded_len() + of_field);
        answer.encode_raw(&mut self.gathered);
        encode_key(field, WireType::LengthDelimited, &mut self.gathered);
        encode_varint(bytes.len() as u64, &mut self.gathered);
        self.piece(&bytes);
        Ok(())
    }

    fn cut(&mut self) {
        if !self.gathered.is_empty() {
            self.pieces_bytes += self.gathered.len();
            self.pieces.push_back(self.gathered.split().freeze());
        }
    }

    /// Whether enough is gathered to leave, though there may be more.
    pub(crate) fn is_full(&self) -> bool {
        self.gathered.len() + self.pieces_bytes >= GATHER_BYTES_MAX
    }

    /// Lets go what is gathered; ready when the connection has taken it.
    pub(crate) async fn flush(&mut self) {
        self.cut();
        if self.pieces.is_empty() {
            return;
        }
        let (answers, bytes) = mem::take(&mut self.uncounted);
        self.shared.meters.sent(self.shared.meters.call(self.rpc), answers, bytes);
        self.pieces_bytes = 0;
        // It is empty, or this would not be polled; its memory comes back for the next ones.
        mem::swap(&mut *self.tray.lock(), &mut self.pieces);
        // Whoever polls this call looks into the tray when the poll is over, and polls again when it is empty.
        let mut left = false;
        poll_fn(|_| if mem::replace(&mut left, true) { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

/// The body of a streaming call's answer: the call itself, and what of it is on its way.
pub(crate) struct Streamed {
    running: Option<Running>,
    tray: Tray,
    json: bool,
    outcome: Option<Result<(), Refusal>>,
    /// Something has left.
    begun: bool,
    leave: Option<Leaving>,
    tally: Tally,
    /// The request is under way for as long as this is here.
    busy: Option<activity::Call>,
}

impl std::fmt::Debug for Streamed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streamed").field("outcome", &self.outcome).finish_non_exhaustive()
    }
}

/// When the head of an answer is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// As soon as the call has begun.
    AtOnce,
    /// With the first answer, so that a call which is refused before has that for a head.
    WithFirst,
}

impl Streamed {
    /// A call that `begin` makes of its parts. It ends at shutdown if it `is_endless`, and else is waited for.
    pub(crate) fn new(call: Call, leave: &Leave, begin: impl FnOnce(Call) -> Running) -> Self {
        let tally = Tally::start(&call.shared, call.rpc);
        let tray = Arc::clone(&call.outlet.tray);
        let json = matches!(call.outlet.form, Form::Json(_));
        let time_left = call.metadata.time_left();
        let leave = call.rpc.is_endless().then(|| leave.wait());
        let running = begin(call);
        let running: Running = match time_left {
            None => running,
            Some(_) => Box::pin(Metadata::in_time(time_left, running)),
        };
        let running = Some(running);
        Self { running, tray, json, outcome: None, begun: false, leave, tally, busy: None }
    }

    /// Runs the call until its answer can have a head. `Err` if it was refused before it answered anything, which the
    /// head can tell then.
    pub(crate) async fn start(&mut self, head: Head) -> Result<(), Refusal> {
        poll_fn(|cx| match self.poll_work(cx) {
            Poll::Pending if head == Head::AtOnce => Poll::Ready(()),
            poll => poll,
        })
        .await;
        if self.tray.lock().is_empty()
            && let Some(Err(refusal)) = &self.outcome
        {
            self.tally.code = refusal.code as usize;
            return Err(refusal.clone());
        }
        Ok(())
    }

    /// Whether there is anything to send but the end.
    pub(crate) fn has_answers(&self) -> bool {
        !self.tray.lock().is_empty()
    }

    /// Holds what says that the request is under way.
    pub(crate) fn hold(&mut self, busy: activity::Call) {
        self.busy = Some(busy);
    }

    /// Ready when something is in the tray, or the call has ended.
    fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_answers() {
            return Poll::Ready(());
        }
        let Some(running) = &mut self.running else { return Poll::Ready(()) };
        if let Poll::Ready(outcome) = running.as_mut().poll(cx) {
            self.end(outcome);
            return Poll::Ready(());
        }
        if self.has_answers() {
            return Poll::Ready(());
        }
        if self.leave.as_mut().is_some_and(|leave| leave.poll(cx).is_ready()) {
            self.end(Err(Fault::Stopped.into()));
            return Poll::Ready(());
        }
        Poll::Pending
    }

    fn end(&mut self, outcome: Result<(), Refusal>) {
        self.running = None;
        self.leave = None;
        self.outcome = Some(outcome);
    }

    /// The next frame of the body.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        if self.poll_work(cx).is_pending() {
            return Poll::Pending;
        }
        let piece = self.tray.lock().pop_front();
        if let Some(piece) = piece {
            self.begun = true;
            return Poll::Ready(Some(Frame::data(piece)));
        }
        Poll::Ready(self.outcome.take().and_then(|outcome| self.last(&outcome)))
    }

    /// What tells how the call ended.
    fn last(&mut self, outcome: &Result<(), Refusal>) -> Option<Frame<Bytes>> {
        self.tally.code = outcome.as_ref().err().map_or(0, |refusal| refusal.code as usize);
        if self.json {
            let refusal = outcome.as_ref().err()?;
            return Some(Frame::data(json::error_line(refusal)));
        }
        Some(Frame::trailers(match outcome {
            Ok(()) => HeaderMap::from_iter([(grpc::STATUS, HeaderValue::from_static("0"))]),
            Err(refusal) => grpc::status(refusal),
        }))
    }

    /// Whether everything was sent.
    pub(crate) fn is_over(&self) -> bool {
        self.running.is_none() && self.outcome.is_none() && self.tray.lock().is_empty()
    }
}

/// Counts a call when it ends; one that is dropped was canceled.
struct Tally {
    shared: Arc<Shared>,
    rpc: Rpc,
    code: usize,
}

impl Tally {
    fn start(shared: &Arc<Shared>, rpc: Rpc) -> Self {
        shared.meters.call(rpc).begin();
        Self { shared: Arc::clone(shared), rpc, code: Code::Canceled as usize }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.shared.meters.call(self.rpc).finish(self.code);
    }
}
