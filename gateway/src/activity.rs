//! What moves on a connection: whether it is slow with a request's head, or idle.
//!
//! The socket's side notes bytes, the service's side notes requests, and a clock tick judges both. Bytes and
//! requests cost one relaxed store each; the clock runs once in a while per connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{MissedTickBehavior, interval};

use crate::Limits;
use crate::crowd::Crowd;

/// What a client of HTTP/2 says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A head began and did not end.
    Slow,
    /// Nothing moved.
    Idle,
}

/// The state of one connection, shared by its socket and its requests.
#[derive(Debug)]
pub(crate) struct Activity {
    /// The calls of all connections.
    crowd: Arc<Crowd>,
    /// The first bytes were those of HTTP/2, which has pings instead.
    http2: AtomicBool,
    /// Requests that have arrived and were not answered yet.
    in_flight: AtomicU32,
    /// A byte moved since the last tick.
    moved: AtomicBool,
    /// A byte arrived since the last request was taken up or answered: part of the next one's head.
    head_open: AtomicBool,
}

impl Activity {
    /// Nothing has moved on it.
    pub(crate) fn new(crowd: Arc<Crowd>) -> Self {
        let no = AtomicBool::default;
        Self { crowd, http2: no(), in_flight: AtomicU32::default(), moved: no(), head_open: no() }
    }

    /// A request was taken up; it ends when the answer is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Call {
        let is_first = self.in_flight.fetch_add(1, Ordering::Relaxed) == 0;
        self.head_open.store(false, Ordering::Relaxed);
        let room = match is_first {
            true => Room::Free,
            false if self.crowd.enter() => Room::Counted,
            false => Room::None,
        };
        Call { activity: Arc::clone(self), room }
    }

    /// Returns when the connection ought to be closed.
    pub(crate) async fn watch(&self, limits: &Limits) -> Verdict {
        const TICK_MIN: Duration = Duration::from_millis(10);
        let period = (limits.header_time_max.min(limits.idle_time_max) / 2).max(TICK_MIN);
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        let (mut slow, mut idle) = (Duration::ZERO, Duration::ZERO);
        loop {
            ticks.tick().await;
            let moved = self.moved.swap(false, Ordering::Relaxed);
            let busy = self.http2.load(Ordering::Relaxed) || self.in_flight.load(Ordering::Relaxed) > 0;
            let waits_for_head = !busy && self.head_open.load(Ordering::Relaxed);
            slow = if waits_for_head { slow + period } else { Duration::ZERO };
            idle = if busy || moved { Duration::ZERO } else { idle + period };
            if slow > limits.header_time_max {
                return Verdict::Slow;
            }
            if idle > limits.idle_time_max {
                return Verdict::Idle;
            }
        }
    }
}

/// A request in flight.
pub(crate) struct Call {
    activity: Arc<Activity>,
    room: Room,
}

/// What a call takes of the room that there is for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    /// Nothing.
    Free,
    /// A place.
    Counted,
    /// There was none.
    None,
}

impl Call {
    /// Whether too many others are under way for it to be served.
    pub(crate) fn is_too_many(&self) -> bool {
        self.room == Room::None
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.room == Room::Counted {
            self.activity.crowd.leave();
        }
        self.activity.in_flight.fetch_sub(1, Ordering::Relaxed);
        // What arrived meanwhile was this request's body.
        self.activity.head_open.store(false, Ordering::Relaxed);
    }
}

/// A socket that notes what moves.
pub(crate) struct Watched<S> {
    socket: S,
    activity: Arc<Activity>,
    /// What is still to come of HTTP/2's preface; `None` once that is decided.
    preface_left: Option<&'static [u8]>,
    wrote: bool,
}

impl<S> Watched<S> {
    /// A socket from which nothing was read yet.
    pub(crate) fn new(socket: S, activity: Arc<Activity>) -> Self {
        Self { socket, activity, preface_left: Some(PREFACE), wrote: false }
    }

    fn note_written(&mut self) {
        self.wrote = true;
        self.activity.moved.store(true, Ordering::Relaxed);
    }

    fn note_read(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.match_preface(bytes);
        self.activity.moved.store(true, Ordering::Relaxed);
        self.activity.head_open.store(true, Ordering::Relaxed);
    }

    /// A connection is HTTP/2 when it began with all of the preface, which may come in pieces. Until then it
    /// is watched like any other, so that half a preface holds nothing open.
    fn match_preface(&mut self, bytes: &[u8]) {
        let Some(rest) = self.preface_left else { return };
        let (piece, left) = rest.split_at(rest.len().min(bytes.len()));
        let matches = bytes.starts_with(piece);
        self.preface_left = (matches && !left.is_empty()).then_some(left);
        if matches && left.is_empty() {
            self.activity.http2.store(true, Ordering::Relaxed);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        self.note_read(buf.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.socket).poll_write(cx, buf))?;
        self.note_written();
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, bufs))?;
        self.note_written();
        Poll::Ready(Ok(written))
    }

    /// The socket takes many pieces in one write. But h2 asks once, before its first write, and then hands out
    /// every payload above 256 bytes as a piece of its own, with a system call for each answer. Told "no" at
    /// that time it copies payloads of up to 1 KiB together, and writes many answers at once. Measured
    /// in docs/decisions/0002-lanes.md.
    fn is_write_vectored(&self) -> bool {
        self.wrote && self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
