//! The sending half of a lane: one task that keeps a connection to one peer and empties one queue into it.
//!
//! The task polls its queue, its stream and its connection itself: a frame costs one wake-up at most, and all
//! frames that wait leave in one write.
//!
//! INVARIANT: while there is no stream the queue is closed, so that nothing waits for a peer that is not there.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use h2::{Ping, PingPong, RecvStream, SendStream};
use http::{Method, Request, StatusCode};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, timeout};

use crate::config::PAUSE_MAX;
use crate::contact::Contact;
use crate::frame::Packer;
use crate::transport::Shared;
use crate::wire::{Address, Wire};
use crate::{Lane, papers};

/// Frames handed to HTTP/2 at once, in bytes.
const BATCH_BYTES_MAX: usize = 256 << 10;
/// What HTTP/2 may hold for us before more is handed over, in bytes.
const SEND_BUFFER_BYTES_MAX: usize = 1 << 20;
/// So many attempts after a stream broke tell whether the peer's process is there: the first at once, the others
/// after pauses. What it had sent before its end may be read after the first.
const LOOKS: u32 = 3;
/// The pause before an attempt that the peer's own call has asked for: two members whose streams end as soon as they
/// stand call each other no faster.
const CALLED_PAUSE: Duration = Duration::from_millis(10);
/// What a peer may say about why it refuses, in bytes.
const REASON_BYTES_MAX: usize = 1024;

/// Why there is no stream, or no longer.
enum Loss {
    /// The peer says that this member was removed.
    Removed,
    /// Nobody listens there.
    Refused(String),
    /// Anything else.
    Trouble(String),
}

impl Loss {
    fn because(what: &str, error: impl std::error::Error) -> Self {
        Self::Trouble(format!("{what}: {}", stdx::chain(&error)))
    }
}

/// Keeps a stream to `contact` until it is told to stop.
pub(crate) async fn keep(shared: Arc<Shared>, contact: Arc<Contact>, lane: Lane) {
    let stop = contact.stop.clone();
    let end = stop.run_until_cancelled(try_for_ever(&shared, &contact, lane)).await;
    debug_assert!(end.is_none(), "only the token ends it");
    contact.closed(lane);
}

async fn try_for_ever(shared: &Shared, contact: &Contact, lane: Lane) {
    let mut pause = shared.config.pause_min();
    // Where a stream stood until a moment ago, the next attempts tell whether there is still somebody.
    let mut looks = 0;
    loop {
        // Whoever calls while an attempt fails, or in the pause after it, is there.
        let called = contact.hurry.notified();
        let (mut broke, mut stood, mut refused) = (false, false, true);
        for url in contact.urls().iter() {
            let began = Instant::now();
            let loss = stream(shared, contact, lane, url).await;
            let was_open = contact.closed(lane);
            broke |= was_open;
            stood |= was_open && began.elapsed() > shared.config.pause_min();
            refused &= matches!(loss, Loss::Refused(_));
            if was_open || contact.queue(lane).take_loss() {
                shared.inbox.unreachable(contact.id);
            }
            match loss {
                Loss::Trouble(reason) | Loss::Refused(reason) => contact.trouble(&reason),
                Loss::Removed => {
                    contact.trouble(&papers::Refusal::Removed.to_string());
                    shared.inbox.removed(contact.id);
                }
            }
            if began.elapsed() > PAUSE_MAX + shared.config.dial_time_max() {
                // It stood for a while.
                pause = shared.config.pause_min();
            }
        }
        if looks > 0 && refused && lane == Lane::Vital {
            shared.inbox.gone(contact.id);
        }
        looks = if broke { LOOKS } else { looks.saturating_sub(1) };
        if stood {
            // One that ended as soon as it was there is tried again after a pause, as any other.
            continue;
        }
        // Half of it is left to chance, so that members that lost each other at once do not meet at once.
        let share = rand::random_range(0.5..=1.0);
        sleep(CALLED_PAUSE.mul_f64(share)).await;
        tokio::select! {
            () = sleep(pause.saturating_sub(CALLED_PAUSE).mul_f64(share)) => pause = (pause * 2).min(PAUSE_MAX),
            () = called => pause = shared.config.pause_min(),
        }
    }
}

/// One stream from its beginning to its end.
async fn stream(shared: &Shared, contact: &Contact, lane: Lane, url: &str) -> Loss {
    let time_max = shared.config.dial_time_max();
    let mut pump = match timeout(time_max, Pump::connect(shared, contact, lane, url)).await {
        Ok(Ok(pump)) => pump,
        Ok(Err(loss)) => return loss,
        Err(_) => return Loss::Trouble(format!("no answer from {url} within {time_max:?}")),
    };
    contact.opened(lane);
    if lane == Lane::Vital {
        shared.inbox.reached(contact.id);
    }
    poll_fn(|context| pump.poll(context)).await
}

/// A stream that stands.
struct Pump<'a> {
    shared: &'a Shared,
    contact: &'a Contact,
    lane: Lane,
    connection: client::Connection<Wire, Bytes>,
    /// While it is there the connection does not end by itself.
    _requests: SendRequest<Bytes>,
    body: SendStream<Bytes>,
    answer: RecvStream,
    pulse: Pulse,
    frames: Vec<Bytes>,
    packer: Packer,
}

impl<'a> Pump<'a> {
    async fn connect(shared: &'a Shared, contact: &'a Contact, lane: Lane, url: &str) -> Result<Self, Loss> {
        let config = &shared.config;
        let address = Address::parse(url).map_err(|error| Loss::Trouble(error.to_string()))?;
        let unreachable = |error: io::Error| {
            let reason = format!("cannot reach {url}: {}", stdx::chain(&error));
            match error.kind() {
                io::ErrorKind::ConnectionRefused => Loss::Refused(reason),
                _ => Loss::Trouble(reason),
            }
        };
        let (tls, dial_time_max) = (config.tls.as_deref(), config.dial_time_max());
        let wire =
            Wire::dial(&address, tls, dial_time_max, config.silence_max()).await.map_err(unreachable)?;
        let meter = Arc::clone(wire.meter());
        let broken = |error| Loss::because(&format!("{url} does not speak as a member does"), error);
        let mut builder = client::Builder::new();
        builder.max_send_buffer_size(SEND_BUFFER_BYTES_MAX).enable_push(false);
        let (mut requests, mut connection) = builder.handshake(wire).await.map_err(broken)?;
        let pings = connection.ping_pong().expect("nobody asked for it before");
        let (answer, body) =
            requests.send_request(request(shared, contact, lane, &address), false).map_err(broken)?;
        let answer = tokio::select! {
            answer = answer => answer.map_err(broken)?,
            ended = &mut connection => return Err(ended.err().map_or_else(
                || Loss::Trouble(format!("{url} hung up")), broken)),
        };
        let (status, mut answer) = (answer.status(), answer.into_body());
        if status == StatusCode::GONE {
            return Err(Loss::Removed);
        }
        if status != StatusCode::OK {
            let reason = tokio::select! { reason = read_reason(&mut answer) => reason, _ = connection => String::new() };
            return Err(Loss::Trouble(format!("{url} refused the stream ({}): {reason}", status.as_u16())));
        }
        let pulse = Pulse::new(pings, meter, lane, config.ping_every(), config.silence_max());
        let (frames, packer) = (Vec::new(), Packer::default());
        Ok(Self {
            shared,
            contact,
            lane,
            connection,
            _requests: requests,
            body,
            answer,
            pulse,
            frames,
            packer,
        })
    }

    /// Everything that can be done now. Ready when the stream has ended.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Loss> {
        loop {
            let left = match self.hand_over(context) {
                Ok(left) => left,
                Err(error) => return Poll::Ready(Loss::because("the stream broke", error)),
            };
            if let Poll::Ready(ended) = Pin::new(&mut self.connection).poll(context) {
                return Poll::Ready(ended.err().map_or_else(
                    || Loss::Trouble("the peer closed the connection".to_owned()),
                    |error| Loss::because("the stream broke", error),
                ));
            }
            // What has no room now is tried again when the connection has moved, and then this task is woken.
            if !left || !self.has_room() {
                break;
            }
        }
        if self.contact.queue(self.lane).take_loss() {
            self.shared.inbox.unreachable(self.contact.id);
        }
        // Whatever happens to the answer happens while the connection is polled, which is done.
        let mut silent = Context::from_waker(Waker::noop());
        if self.answer.poll_data(&mut silent).is_ready() || self.body.poll_reset(&mut silent).is_ready() {
            return Poll::Ready(Loss::Trouble("the peer ended the stream".to_owned()));
        }
        match self.pulse.poll(context) {
            Beat::Stopped => {
                Poll::Ready(Loss::Trouble(format!("no answer for {:?}", self.shared.config.silence_max())))
            }
            Beat::Answered(after) if self.lane == Lane::Vital => {
                self.contact.answered_after(after);
                self.shared.inbox.round_trip(self.contact.id, after);
                Poll::Pending
            }
            Beat::Answered(_) | Beat::Quiet => Poll::Pending,
        }
    }

    /// Gives HTTP/2 what waits, as far as it has room. Returns whether more waits.
    fn hand_over(&mut self, context: &Context<'_>) -> Result<bool, h2::Error> {
        if !self.has_room() {
            return Ok(true);
        }
        let left = self.contact.queue(self.lane).take(&mut self.frames, BATCH_BYTES_MAX, context);
        let mut sent = 0;
        for frame in self.frames.drain(..) {
            sent += frame.len() as u64;
            self.packer.push(frame);
        }
        for piece in self.packer.pieces() {
            self.body.send_data(piece, false)?;
        }
        self.contact.sent_bytes.fetch_add(sent, Ordering::Relaxed);
        Ok(left)
    }

    /// Whether HTTP/2 takes more: the peer's window is open, and what was handed over before has mostly left.
    fn has_room(&mut self) -> bool {
        self.body.reserve_capacity(BATCH_BYTES_MAX);
        self.body.capacity() > 0
    }
}

fn request(shared: &Shared, contact: &Contact, lane: Lane, address: &Address) -> Request<()> {
    let path = match lane {
        Lane::Vital => "vital",
        Lane::Bulk => "bulk",
    };
    let uri = format!("{}://{}/kvorum/stream/{path}", address.scheme(), address.authority);
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri.parse().expect("the authority was parsed before");
    *request.headers_mut() = papers::issue(&shared.config, contact.id);
    request
}

async fn read_reason(answer: &mut RecvStream) -> String {
    let mut reason = Vec::new();
    while let Some(Ok(piece)) = answer.data().await {
        reason.extend_from_slice(&piece);
        if reason.len() > REASON_BYTES_MAX {
            break;
        }
    }
    reason.truncate(REASON_BYTES_MAX);
    String::from_utf8_lossy(&reason).trim().to_owned()
}

/// Whether the other end still lives, and how far away it is.
struct Pulse {
    pings: PingPong,
    sent_at: Option<Instant>,
    ticks: Interval,
    meter: Arc<crate::wire::Meter>,
    /// On a lane that may be busy for long, what leaves is a sign of life too.
    writes_count: bool,
    seen: u64,
    silent_ticks: u32,
    silent_ticks_max: u32,
}

enum Beat {
    Quiet,
    Answered(Duration),
    Stopped,
}

impl Pulse {
    fn new(
        pings: PingPong,
        meter: Arc<crate::wire::Meter>,
        lane: Lane,
        every: Duration,
        silence_max: Duration,
    ) -> Self {
        let mut ticks = interval(every);
        // After a pause of this process the peer gets its time again.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let silent_ticks_max = silence_max.div_duration_f64(every).ceil() as u32;
        let writes_count = lane == Lane::Bulk;
        Self { pings, sent_at: None, ticks, meter, writes_count, seen: 0, silent_ticks: 0, silent_ticks_max }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Beat {
        let mut beat = Beat::Quiet;
        let mut silent = Context::from_waker(Waker::noop());
        if let Some(sent_at) = self.sent_at
            && let Poll::Ready(Ok(_)) = self.pings.poll_pong(&mut silent)
        {
            self.sent_at = None;
            beat = Beat::Answered(sent_at.elapsed());
        }
        while self.ticks.poll_tick(context).is_ready() {
            let seen = self.meter.read() + if self.writes_count { self.meter.written() } else { 0 };
            self.silent_ticks = if seen == self.seen { self.silent_ticks + 1 } else { 0 };
            self.seen = seen;
            if self.silent_ticks > self.silent_ticks_max {
                return Beat::Stopped;
            }
            if self.sent_at.is_none() && self.pings.send_ping(Ping::opaque()).is_ok() {
                // It leaves when the connection is polled next, which `send_ping` sees to.
                self.sent_at = Some(Instant::now());
            }
        }
        beat
    }
}
