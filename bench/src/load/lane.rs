//! One connection with all the clients that share it.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::{Buf as _, BytesMut};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use tokio::io::AsyncReadExt as _;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;

use super::Run;
use super::pace::Schedule;
use crate::wire::{Broken, Finished, Slot, Wire};

const READ_BYTES: usize = 64 << 10;
/// An open loop looks this often whether the run is over, however rarely it starts a call.
const LOOK_MAX: Duration = Duration::from_millis(100);

/// A timer of the kernel: the runtime's own is exact to a millisecond only, which would be most of the latency.
struct Timer(AsyncFd<OwnedFd>);

impl Timer {
    fn new() -> Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags).context("no kernel timer")?;
        #[expect(
            deprecated,
            reason = "unsound only for types that may give up their descriptor, which OwnedFd does not"
        )]
        let fd = AsyncFd::new(fd).context("no kernel timer")?;
        Ok(Self(fd))
    }

    fn arm(&self, after: Duration) -> Result<(), Broken> {
        // Zero would disarm it.
        let ns = after.as_nanos().max(1);
        let it_value = Timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as _ };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        rustix::time::timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)
            .map(drop)
            .map_err(|error| Broken(format!("the kernel timer failed: {error}")))
    }

    async fn fired(&self) {
        if let Ok(mut guard) = self.0.readable().await {
            guard.clear_ready();
        }
    }
}

/// A connection under load.
pub(super) struct Lane<W> {
    run: Rc<Run>,
    wire: W,
    first_client: usize,
    /// The moment from which the latency of each slot's call counts.
    started: Vec<Instant>,
    /// Slots without a call on its way.
    idle: Vec<Slot>,
    schedule: Option<(Schedule, Timer)>,
    message: Vec<u8>,
    finished: Vec<Finished>,
    exhausted: bool,
}

impl<W: Wire> Lane<W> {
    /// A connection for clients `first_client` and the `slots - 1` after it.
    pub(super) fn new(
        run: Rc<Run>,
        wire: W,
        first_client: usize,
        slots: usize,
        schedule: Option<Schedule>,
    ) -> Result<Self> {
        let schedule = match schedule {
            Some(schedule) => Some((schedule, Timer::new()?)),
            None => None,
        };
        Ok(Self {
            run,
            wire,
            first_client,
            started: vec![Instant::now(); slots],
            idle: (0..slots).collect(),
            schedule,
            message: Vec::new(),
            finished: Vec::new(),
            exhausted: false,
        })
    }

    /// Works until the run is over; a broken connection fails the calls that were on it.
    pub(super) async fn go(mut self, mut socket: TcpStream) {
        if let Err(Broken(text)) = self.work(&mut socket).await {
            let lost = self.in_flight();
            self.run.in_flight.set(self.run.in_flight.get() - lost);
            self.run.tally.borrow_mut().failure(&format!("connection lost: {text}"), lost.max(1));
        }
    }

    fn in_flight(&self) -> u64 {
        (self.started.len() - self.idle.len()) as u64
    }

    async fn work(&mut self, socket: &mut TcpStream) -> Result<(), Broken> {
        let (mut reader, writer) = socket.split();
        let mut input = BytesMut::with_capacity(READ_BYTES);
        loop {
            let now = Instant::now();
            self.start_due(now)?;
            let output = self.wire.output();
            while !output.is_empty() {
                match writer.try_write(output) {
                    Ok(written) => output.advance(written),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(Broken(error.to_string())),
                }
            }
            let blocked = !output.is_empty();
            if self.in_flight() == 0 && self.is_over() {
                return Ok(());
            }
            input.reserve(READ_BYTES);
            let mut read = None;
            if let Some((_, timer)) = &self.schedule {
                self.arm(now)?;
                tokio::select! {
                    biased;
                    got = reader.read_buf(&mut input) => read = Some(got),
                    _ = writer.writable(), if blocked => {}
                    () = timer.fired() => {}
                }
            } else if blocked {
                tokio::select! {
                    got = reader.read_buf(&mut input) => read = Some(got),
                    _ = writer.writable() => {}
                }
            } else {
                read = Some(reader.read_buf(&mut input).await);
            }
            match read {
                None => {}
                Some(Ok(0)) => return Err(Broken("closed by the server".into())),
                Some(Ok(_)) => self.settle(&mut input)?,
                Some(Err(error)) => return Err(Broken(error.to_string())),
            }
        }
    }

    /// Nothing will be started any more.
    fn is_over(&self) -> bool {
        let caught_up = match (&self.schedule, self.run.end.get()) {
            (Some((schedule, _)), Some(end)) => schedule.owed(end) == 0,
            _ => true,
        };
        self.exhausted || (self.run.stopped.get() && caught_up)
    }

    fn arm(&self, now: Instant) -> Result<(), Broken> {
        let Some((schedule, timer)) = &self.schedule else { return Ok(()) };
        // With every client busy an answer comes first; the timer then only looks for the end.
        let wait =
            if self.idle.is_empty() { LOOK_MAX } else { schedule.next().saturating_duration_since(now) };
        timer.arm(wait.min(LOOK_MAX))
    }

    fn start_due(&mut self, now: Instant) -> Result<(), Broken> {
        while let Some(&slot) = self.idle.last() {
            if self.exhausted {
                return Ok(());
            }
            let start = match &mut self.schedule {
                None if self.run.stopped.get() => return Ok(()),
                None => now,
                Some((schedule, _)) => {
                    // What was intended before the end is still done after it, and counted.
                    match schedule.take(self.run.end.get().map_or(now, |end| end.min(now))) {
                        Some(intended) => intended,
                        None => return Ok(()),
                    }
                }
            };
            let remaining = self.run.remaining.get();
            let client = self.first_client + slot;
            if remaining == 0 || self.run.workload.borrow_mut().request(client, &mut self.message) == 0 {
                self.exhausted = true;
                return Ok(());
            }
            self.run.remaining.set(remaining - 1);
            self.wire.start(slot, &self.message)?;
            self.idle.pop();
            self.started[slot] = start;
            self.run.in_flight.set(self.run.in_flight.get() + 1);
        }
        Ok(())
    }

    fn settle(&mut self, input: &mut BytesMut) -> Result<(), Broken> {
        let now = Instant::now();
        let received = self.wire.receive(input, &mut self.finished);
        let mut workload = self.run.workload.borrow_mut();
        let mut tally = self.run.tally.borrow_mut();
        for Finished { slot, failure, body_bytes } in self.finished.drain(..) {
            let start = self.started[slot];
            self.run.in_flight.set(self.run.in_flight.get() - 1);
            self.idle.push(slot);
            if let Some(text) = failure {
                tally.failure(&text, 1);
                continue;
            }
            match workload.judge(self.first_client + slot, self.wire.body(slot), body_bytes) {
                Ok(operations) => {
                    // A closed loop counts what ends inside the measured time, an open loop what was meant to
                    // start inside it: what a stall pushed beyond the end must not get lost.
                    let measured = match &self.schedule {
                        None => self.run.measuring.get(),
                        Some(_) => {
                            self.run.begin.get().is_some_and(|begin| start >= begin)
                                && self.run.end.get().is_none_or(|end| start < end)
                        }
                    };
                    tally.success(now - start, operations, measured);
                }
                Err(text) => tally.failure(text, 1),
            }
        }
        received
    }
}
