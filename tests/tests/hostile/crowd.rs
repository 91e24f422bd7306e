//! Those who attack, and the one who behaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use base64::Engine as _;
use tests::client::runtime;
use tls::Client;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::line::Line;
use crate::target::Target;

/// How many there are of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scale {
    /// Connections on which nothing follows.
    pub(crate) half_open: usize,
    /// Requests whose body does not end.
    pub(crate) slow: usize,
    /// Clients that put a value of nearly 1.5 MiB at the same moment.
    pub(crate) large: usize,
}

/// What came of it.
#[derive(Debug)]
#[allow(dead_code, reason = "all of it is printed")]
pub(crate) struct Told {
    pub(crate) large_done: usize,
    pub(crate) large_refused: usize,
    /// Slow bodies that were ended with an answer.
    pub(crate) slow_ended: usize,
    pub(crate) behaved: usize,
    pub(crate) behaved_failed: usize,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) longest: Duration,
    /// What a new connection with a request on it took at the longest.
    pub(crate) longest_new: Duration,
}

impl Scale {
    pub(crate) const FULL: Self = Self { half_open: 10_000, slow: 1_000, large: 200 };
    pub(crate) const SMALL: Self = Self { half_open: 2_500, slow: 120, large: 20 };

    /// As many as a process may open; who is left out is half-open.
    pub(crate) fn within(self, files_max: u64) -> Self {
        let room =
            usize::try_from(files_max).unwrap_or(usize::MAX).saturating_sub(self.slow + self.large + 500);
        Self { half_open: self.half_open.min(room), ..self }
    }
}

/// A slow body says that it has so many bytes, sends some of them and then one at a time.
const SLOW_BYTES: usize = 1 << 20;
const SLOW_BEGINNING: usize = 16 << 10;
const SLOW_PAUSE: Duration = Duration::from_secs(2);
/// Beyond the time in which a body has to arrive.
const SLOW_FOR: Duration = Duration::from_secs(75);
/// What is in a request of at most 1.5 MiB.
const VALUE_BYTES: usize = 1_572_000;
/// Who behaves asks so often.
const PACE: Duration = Duration::from_millis(10);

/// Lets everybody loose, and waits until the large requests are answered and, in full, the slow bodies ended.
/// Half-open connections stay so for as long as they are held.
pub(crate) fn attack(target: &Target, scale: Scale) -> anyhow::Result<(Told, Vec<TcpStream>)> {
    runtime().block_on(run(target.port, Arc::clone(&target.tls), scale))
}

async fn run(port: u16, tls: Arc<Client>, scale: Scale) -> anyhow::Result<(Told, Vec<TcpStream>)> {
    let over = Arc::new(AtomicBool::new(false));
    let behaving = tokio::spawn(behave(port, Arc::clone(&tls), Arc::clone(&over)));
    let coming = tokio::spawn(come_anew(port, Arc::clone(&tls), Arc::clone(&over)));
    let mut half_open = Vec::new();
    for _ in 0..scale.half_open {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.context("a half-open connection")?;
        if half_open.len() % 2 == 0 {
            // The beginning of a handshake.
            drop(stream.write_all(&[0x16, 3, 1, 2, 0, 1, 0]).await);
        }
        half_open.push(stream);
    }
    let mut slow = JoinSet::new();
    for _ in 0..scale.slow {
        slow.spawn(slow_body(port, Arc::clone(&tls)));
    }
    let together = Arc::new(Barrier::new(scale.large));
    let mut large = JoinSet::new();
    for number in 0..scale.large {
        large.spawn(large_put(port, Arc::clone(&tls), number, Arc::clone(&together)));
    }
    let (mut large_done, mut large_refused) = (0, 0);
    while let Some(status) = large.join_next().await {
        match status?? {
            (200, _) => large_done += 1,
            (429 | 500 | 503, body) if body.contains("too many requests") => large_refused += 1,
            (other, body) => anyhow::bail!("a large request was answered {other}: {body}"),
        }
    }
    let mut slow_ended = 0;
    if scale.slow == Scale::FULL.slow {
        while let Some(ended) = slow.join_next().await {
            slow_ended += usize::from(ended?);
        }
    }
    over.store(true, Ordering::Relaxed);
    let (mut times, behaved_failed) = behaving.await??;
    let longest_new = coming.await??;
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    let told = Told {
        large_done,
        large_refused,
        slow_ended,
        behaved: times.len(),
        behaved_failed,
        p50: at(50),
        p99: at(99),
        longest: times.last().copied().unwrap_or_default(),
        longest_new,
    };
    Ok((told, half_open))
}

/// Puts something small, again and again; how long each took, and how many failed.
async fn behave(
    port: u16,
    tls: Arc<Client>,
    over: Arc<AtomicBool>,
) -> anyhow::Result<(Vec<Duration>, usize)> {
    let mut line = Line::open(port, &tls).await?;
    let (mut times, mut failed) = (Vec::new(), 0);
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        let answer = line.ask("POST", "/v3/kv/put", br#"{"key": "Z29vZA==", "value": "eA=="}"#).await?;
        times.push(began.elapsed());
        failed += usize::from(answer.0 != 200);
        // Reason to sleep: a client's pace; without one it would be an attack of its own.
        tokio::time::sleep(PACE.saturating_sub(began.elapsed())).await;
    }
    Ok((times, failed))
}

/// Comes with a new connection each time, between those that do not mean it.
async fn come_anew(port: u16, tls: Arc<Client>, over: Arc<AtomicBool>) -> anyhow::Result<Duration> {
    let mut longest = Duration::ZERO;
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        let mut line = Line::open(port, &tls).await.context("a new connection")?;
        let answer = line.ask("GET", "/v2/keys/?quorum=true", b"").await?;
        anyhow::ensure!(answer.0 == 200, "{answer:?}");
        longest = longest.max(began.elapsed());
        // Reason to sleep: a pace, as above.
        tokio::time::sleep(PACE * 10).await;
    }
    Ok(longest)
}

/// Whether it was ended with an answer.
async fn slow_body(port: u16, tls: Arc<Client>) -> bool {
    let trickle = async {
        let mut line = Line::open(port, &tls).await.ok()?;
        line.0.write_all(Line::head("POST", "/v3/kv/put", SLOW_BYTES).as_bytes()).await.ok()?;
        line.0.write_all(&[b' '; SLOW_BEGINNING]).await.ok()?;
        let mut pace = tokio::time::interval(SLOW_PAUSE);
        loop {
            tokio::select! {
                answer = line.answer() => return answer.ok().map(drop),
                _ = pace.tick() => {}
            }
            line.0.write_all(b" ").await.ok()?;
            line.0.flush().await.ok()?;
        }
    };
    tokio::time::timeout(SLOW_FOR, trickle).await.is_ok_and(|ended| ended.is_some())
}

async fn large_put(
    port: u16,
    tls: Arc<Client>,
    number: usize,
    together: Arc<Barrier>,
) -> anyhow::Result<(u16, String)> {
    let base64 = base64::engine::general_purpose::STANDARD;
    let (key, value) =
        (base64.encode(format!("large{}", number % 10)), base64.encode(vec![b'v'; VALUE_BYTES]));
    let body = format!(r#"{{"key": "{key}", "value": "{value}"}}"#);
    let mut line = Line::open(port, &tls).await?;
    together.wait().await;
    line.ask("POST", "/v3/kv/put", body.as_bytes()).await
}
