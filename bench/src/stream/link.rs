//! One connection with streams, as a task, and how a scenario waits for what the tasks hear.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use bytes::{Buf as _, BytesMut};
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::wire::Broken;
use crate::wire::duplex::{Duplex, Heard, StreamNumber};

const READ_BYTES: usize = 256 << 10;
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How often a scenario looks at what has been heard. Moments that are measured are noted by the tasks themselves.
const LOOK: Duration = Duration::from_millis(2);
/// Delays are kept from one microsecond to two minutes, to three digits.
const DELAY_NS_MAX: u64 = 120_000_000_000;

/// What the tasks of one scenario have heard together.
pub(super) struct Progress {
    /// Watches that the server says it has created.
    pub(super) created: Cell<u64>,
    /// Events, or answers to keepalives.
    pub(super) heard: Cell<u64>,
    /// Messages that brought the events.
    pub(super) messages: Cell<u64>,
    /// When the last of them came.
    pub(super) last: Cell<Instant>,
    /// From the stamp in a value until its event came, in nanoseconds.
    pub(super) delay_ns: RefCell<Histogram<u64>>,
    /// Whether delays are counted.
    pub(super) timing: Cell<bool>,
    trouble: RefCell<Option<String>>,
}

impl Progress {
    /// Nothing yet.
    pub(super) fn new() -> Rc<Self> {
        let delay_ns = Histogram::new_with_bounds(1000, DELAY_NS_MAX, 3)
            .expect("the bounds and the digits are in range");
        Rc::new(Self {
            created: Cell::new(0),
            heard: Cell::new(0),
            messages: Cell::new(0),
            last: Cell::new(Instant::now()),
            delay_ns: RefCell::new(delay_ns),
            timing: Cell::new(false),
            trouble: RefCell::new(None),
        })
    }

    /// Waits until `done`; an error when a connection breaks or it takes longer than `max`.
    pub(super) async fn wait(&self, what: &str, max: Duration, done: impl Fn(&Self) -> bool) -> Result<()> {
        let begin = Instant::now();
        while !done(self) {
            self.check()?;
            if begin.elapsed() > max {
                let (created, heard) = (self.created.get(), self.heard.get());
                bail!("{what}: not in {} s; {created} watches, {heard} events or answers", max.as_secs());
            }
            sleep(LOOK).await;
        }
        self.check()
    }

    /// Waits until `count` events have come, and makes sure that there are no more.
    pub(super) async fn wait_heard(&self, count: u64, max: Duration) -> Result<()> {
        self.wait(&format!("{count} events"), max, |progress| progress.heard.get() >= count).await?;
        ensure!(self.heard.get() == count, "{} events where {count} were due", self.heard.get());
        Ok(())
    }

    /// An error when one of the connections is broken.
    pub(super) fn check(&self) -> Result<()> {
        self.trouble.borrow().as_ref().map_or(Ok(()), |text| Err(anyhow!("{text}")))
    }

    /// Adds what one message brought.
    pub(super) fn hear(&self, events: u64) {
        self.heard.set(self.heard.get() + events);
        self.messages.set(self.messages.get() + 1);
        self.last.set(Instant::now());
    }
}

/// What is done with the messages of a connection.
pub(super) trait Talk {
    /// Takes in one message.
    fn hear(&mut self, stream: StreamNumber, message: &[u8]) -> Result<(), Broken>;

    /// May answer to what it heard since the last time.
    fn speak(&mut self, _wire: &mut Duplex) {}
}

/// A connection on which the server has said hello.
pub(super) struct Link {
    socket: TcpStream,
    /// Where streams are opened and first messages are sent.
    pub(super) wire: Duplex,
    input: BytesMut,
}

impl Link {
    /// Connects, and makes sure that the server allows `streams` at once.
    pub(super) async fn connect(authority: &str, streams: usize) -> Result<Self> {
        let socket = TcpStream::connect(authority).await.context("cannot connect")?;
        socket.set_nodelay(true)?;
        let mut link = Self { socket, wire: Duplex::new(authority), input: BytesMut::new() };
        timeout(CONNECT_MAX, link.greet()).await.context("no settings of the server in ten seconds")??;
        let allowed = link.wire.streams_max().unwrap_or(usize::MAX);
        ensure!(streams <= allowed, "the server allows {allowed} streams, not {streams}");
        Ok(link)
    }

    async fn greet(&mut self) -> Result<()> {
        while self.wire.streams_max().is_none() {
            self.exchange(&mut |_| Ok(())).await.map_err(|Broken(text)| anyhow!(text))?;
        }
        Ok(())
    }

    /// Talks until the connection breaks or the task is dropped.
    pub(super) fn spawn<T: Talk + 'static>(
        mut self,
        mut talk: T,
        progress: &Rc<Progress>,
        tasks: &mut JoinSet<()>,
    ) {
        let progress = Rc::clone(progress);
        tasks.spawn_local(async move {
            loop {
                talk.speak(&mut self.wire);
                let mut listen = |heard: Heard<'_>| match heard {
                    Heard::Message(stream, message) => talk.hear(stream, message),
                    Heard::Ended(stream, failure) => {
                        let text = failure.unwrap_or_else(|| "without failure".into());
                        Err(Broken(format!("stream {stream} ended: {text}")))
                    }
                };
                if let Err(Broken(text)) = self.exchange(&mut listen).await {
                    *progress.trouble.borrow_mut() = Some(text);
                    return;
                }
            }
        });
    }

    /// Writes what wants to go out and reads once.
    async fn exchange(
        &mut self,
        listen: &mut impl FnMut(Heard<'_>) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        let broken = |error: std::io::Error| Broken(error.to_string());
        let (mut reader, mut writer) = self.socket.split();
        self.input.reserve(READ_BYTES);
        loop {
            let output = self.wire.output();
            let got = if output.has_remaining() {
                tokio::select! {
                    biased;
                    wrote = writer.write_buf(output) => {
                        wrote.map_err(broken)?;
                        continue;
                    }
                    got = reader.read_buf(&mut self.input) => got,
                }
            } else {
                reader.read_buf(&mut self.input).await
            };
            if got.map_err(broken)? == 0 {
                return Err(Broken("closed by the server".into()));
            }
            return self.wire.receive(&mut self.input, listen);
        }
    }
}
