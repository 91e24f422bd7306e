//! One answer of 500 MB: how much memory the server takes for it.
//!
//! RangeStream where the server has it, else Range, which is what there is in etcd before 3.7. The client reads as
//! fast as it can and keeps nothing.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::meter::Meter;
use super::{Figure, Target, Wanted};
use crate::load::{self, CONNECTIONS, Plan, Until};
use crate::proc;
use crate::wire::http2::Http2;
use crate::wire::{Broken, Wire as _, protobuf as pb};
use crate::workload::{Kind, Shape};

const RANGE: &str = "/etcdserverpb.KV/Range";
const RANGE_STREAM: &str = "/etcdserverpb.KV/RangeStream";
const KEYS: u64 = 125_000;
const VALUE_BYTES: usize = 4096;
const SETTLE: Duration = Duration::from_secs(2);
const ANSWER_MAX: Duration = Duration::from_mins(1);
/// How often the server's memory is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(5);
const READ_BYTES: usize = 256 << 10;

pub(super) fn title(scale: u64) -> String {
    let keys = KEYS / scale;
    format!("one range of {keys} keys, {} MB", keys * (VALUE_BYTES as u64 + 8) / 1_000_000)
}

pub(super) async fn prepare(target: &Target, scale: u64) -> Result<()> {
    let shape = Shape {
        kind: Kind::FillEach,
        keys: KEYS / scale,
        key_bytes: 8,
        value_bytes: VALUE_BYTES,
        clients: 64,
        seed: 1,
        endpoints: vec![target.authority.clone()],
    };
    let until = Until::Calls(u64::MAX);
    let plan = Plan {
        shape,
        connections: CONNECTIONS,
        rate: None,
        until,
        live: false,
        token: None,
        server_pids: Vec::new(),
    };
    let report = load::run(&plan).await?;
    ensure!(report.failures == 0, "the keys could not be written: {:?}", report.failure_texts);
    Ok(())
}

pub(super) async fn measure(target: &Target, scale: u64) -> Result<Vec<Figure>> {
    sleep(SETTLE).await;
    // A method that is not there is refused at once and leaves no trace in memory.
    let is_streamed = Answer::ask(target, RANGE_STREAM, b"k0000000", b"k0000001").await.is_ok();
    let method = if is_streamed { RANGE_STREAM } else { RANGE };
    proc::reset_peak(target.pid)?;
    let before = proc::memory(target.pid)?;
    let meter = Meter::start(target)?;
    let answer = timeout(ANSWER_MAX, Answer::ask(target, method, b"k", b"l")).await;
    let answer = answer.context("no answer in a minute")??;
    let used = meter.used()?;
    let after = proc::memory(target.pid)?;
    let least = (KEYS / scale) as usize * (VALUE_BYTES + 8);
    ensure!(answer.bytes >= least, "the answer has {} bytes, not {least}", answer.bytes);
    let mib = |kib: u64| kib as f64 / 1024.0;
    let mut figures = vec![
        Figure::new(
            "memory grows by MiB at most",
            mib(after.peak_kib.saturating_sub(before.rss_kib)),
            Wanted::AtMost(64.0),
        ),
        Figure::new(
            "of them anonymous",
            mib(answer.anon_kib.max(after.anon_kib).saturating_sub(before.anon_kib)),
            Wanted::Less,
        ),
        Figure::new("seconds", answer.seconds, Wanted::Less),
        Figure::new("RangeStream (1) or Range (0)", f64::from(u8::from(is_streamed)), Wanted::More),
    ];
    figures.extend(used.figures());
    Ok(figures)
}

/// An answer that was read and not kept.
struct Answer {
    bytes: usize,
    seconds: f64,
    /// The most anonymous memory that the server was seen with.
    anon_kib: u64,
}

impl Answer {
    async fn ask(target: &Target, method: &str, from: &[u8], to: &[u8]) -> Result<Self> {
        let broken = |Broken(text)| anyhow!(text);
        let mut socket = TcpStream::connect(&target.authority).await?;
        socket.set_nodelay(true)?;
        let mut wire = Http2::new(&target.authority, method, 1, 0);
        let mut request = Vec::new();
        pb::put_bytes(&mut request, 1, from);
        pb::put_bytes(&mut request, 2, to);
        wire.start(0, &request).map_err(broken)?;
        let begin = Instant::now();
        let (mut input, mut finished) = (BytesMut::new(), Vec::new());
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut anon_kib = 0;
        loop {
            while wire.output().has_remaining() {
                socket.write_buf(wire.output()).await?;
            }
            input.reserve(READ_BYTES);
            tokio::select! {
                _ = look.tick() => anon_kib = anon_kib.max(proc::memory(target.pid)?.anon_kib),
                got = socket.read_buf(&mut input) => {
                    ensure!(got? > 0, "closed by the server");
                    wire.receive(&mut input, &mut finished).map_err(broken)?;
                }
            }
            if let Some(call) = finished.pop() {
                if let Some(text) = call.failure {
                    bail!(text);
                }
                let seconds = begin.elapsed().as_secs_f64();
                return Ok(Self { bytes: call.body_bytes, seconds, anon_kib });
            }
        }
    }
}
