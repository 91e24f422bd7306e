//! How far a mirror is and how far behind: as lines, and as metrics for who asks by HTTP.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use client::Client;
use proto::etcdserverpb::RangeRequest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{interval, timeout};

use crate::failure::{Done, Failure};
use crate::output::{print_line, say};

/// How often the count is printed, as etcdctl does.
const REPORT: Duration = Duration::from_secs(30);
/// How often the source is asked where it stands, and how long that may take.
const LOOK: Duration = Duration::from_secs(1);
/// Of so many looks it is known where the source stood; behind more than that the lag is no less than the oldest one.
const LOOKS_MAX: usize = 3600;
/// How long somebody who asks for metrics may take, and how much he may say, in bytes.
const VISIT: Duration = Duration::from_secs(2);
const VISIT_BYTES_MAX: usize = 8 * 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Keys that were written or deleted.
    written: AtomicU64,
    /// Writes that were repeated.
    repeated: AtomicU64,
    /// Everything up to this revision of the source is there; zero before a copy is whole.
    at: AtomicI64,
    /// Where the source stood when it was asked last.
    source: AtomicI64,
    copying: AtomicBool,
    /// Where it stood when, in order.
    looks: Mutex<VecDeque<(i64, Instant)>>,
}

impl Progress {
    /// A copy begins.
    pub(super) fn copies(&self) {
        self.copying.store(true, Ordering::Relaxed);
    }

    /// Everything up to here is there, and events come from now on.
    pub(super) fn follows(&self, revision: i64) {
        self.copying.store(false, Ordering::Relaxed);
        self.came_to(revision);
    }

    /// Everything up to here is there.
    pub(super) fn came_to(&self, revision: i64) {
        self.at.fetch_max(revision, Ordering::Relaxed);
    }

    /// So many keys were written or deleted.
    pub(super) fn wrote(&self, keys: u64) {
        self.written.fetch_add(keys, Ordering::Relaxed);
    }

    /// A write is tried again.
    pub(super) fn repeats(&self) {
        self.repeated.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether anything was done.
    pub(super) fn has_begun(&self) -> bool {
        self.written.load(Ordering::Relaxed) > 0 || self.at.load(Ordering::Relaxed) > 0
    }

    /// What was done and what was not, for who stops it or sees it stop.
    pub(super) fn ended(&self, has_position: bool) -> String {
        let (written, at) = (self.written.load(Ordering::Relaxed), self.at.load(Ordering::Relaxed));
        let state = if self.copying.load(Ordering::Relaxed) || at == 0 {
            "the copy is not whole".to_owned()
        } else {
            format!("everything up to revision {at} is there")
        };
        let next = if has_position {
            "the same command goes on from there"
        } else {
            "without --position it begins anew"
        };
        format!("make-mirror stopped: {written} keys written or deleted, {state}; {next}")
    }

    /// Prints how many keys were written or deleted, now and then.
    pub(super) async fn report(&self) -> Done {
        let mut ticks = interval(REPORT);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            print_line(&self.written.load(Ordering::Relaxed).to_string())?;
        }
    }

    /// Looks where the source stands, and says how far this is.
    pub(super) async fn watch(&self, source: &Client, every: Duration) -> Done {
        let mut ticks = interval(LOOK);
        let (mut said, mut written) = (Instant::now(), 0);
        loop {
            ticks.tick().await;
            let request = RangeRequest { key: Bytes::from_static(b"\0"), limit: 1, ..Default::default() };
            if let Ok(reply) = source.call(request, Some(LOOK)).await {
                self.looked(reply.header.map_or(0, |header| header.revision), Instant::now());
            }
            if !every.is_zero() && said.elapsed() >= every {
                let now = self.written.load(Ordering::Relaxed);
                let rate = (now - written) as f64 / said.elapsed().as_secs_f64();
                say(&self.line(rate));
                (said, written) = (Instant::now(), now);
            }
        }
    }

    fn looked(&self, revision: i64, now: Instant) {
        self.source.store(revision, Ordering::Relaxed);
        let mut looks = self.looks.lock().expect("nobody panics while he holds it");
        let at = self.at.load(Ordering::Relaxed);
        while looks.front().is_some_and(|(revision, _)| *revision <= at) {
            looks.pop_front();
        }
        if looks.back().is_none_or(|(known, _)| *known < revision) && looks.len() < LOOKS_MAX && revision > at
        {
            looks.push_back((revision, now));
        }
    }

    /// How far behind: in revisions, and how long ago the source first had what is missing.
    fn lag(&self) -> (i64, Duration) {
        let at = self.at.load(Ordering::Relaxed);
        let behind = (self.source.load(Ordering::Relaxed) - at).max(0);
        let looks = self.looks.lock().expect("nobody panics while he holds it");
        let first = looks.iter().find(|(revision, _)| *revision > at);
        (behind, first.map_or(Duration::ZERO, |(_, when)| when.elapsed()))
    }

    fn line(&self, rate: f64) -> String {
        let (written, at) = (self.written.load(Ordering::Relaxed), self.at.load(Ordering::Relaxed));
        if self.copying.load(Ordering::Relaxed) || at == 0 {
            return format!("copying: {written} keys written, {rate:.0} keys/s");
        }
        let (behind, since) = self.lag();
        let lag = match behind {
            0 => "nothing is missing".to_owned(),
            behind => format!("{behind} revisions behind, for {:.1}s", since.as_secs_f64()),
        };
        format!("following: {written} keys written or deleted, {rate:.0} keys/s, at revision {at}, {lag}")
    }

    fn metrics(&self) -> String {
        let (behind, since) = self.lag();
        let metric = |name: &str, kind: &str, help: &str, value: String| {
            format!(
                "# HELP kvorumctl_mirror_{name} {help}\n# TYPE kvorumctl_mirror_{name} {kind}\nkvorumctl_mirror_{name} {value}\n"
            )
        };
        [
            metric(
                "keys_written_total",
                "counter",
                "Keys written or deleted at the destination.",
                self.written.load(Ordering::Relaxed).to_string(),
            ),
            metric(
                "repeated_writes_total",
                "counter",
                "Writes that were tried again.",
                self.repeated.load(Ordering::Relaxed).to_string(),
            ),
            metric(
                "copying",
                "gauge",
                "1 while the first copy is not whole.",
                u8::from(self.copying.load(Ordering::Relaxed)).to_string(),
            ),
            metric(
                "revision",
                "gauge",
                "Everything up to this revision of the source is there.",
                self.at.load(Ordering::Relaxed).to_string(),
            ),
            metric(
                "source_revision",
                "gauge",
                "Where the source stands.",
                self.source.load(Ordering::Relaxed).to_string(),
            ),
            metric("lag_revisions", "gauge", "Revisions that are missing.", behind.to_string()),
            metric(
                "lag_seconds",
                "gauge",
                "How long ago the source had what is missing.",
                format!("{:.3}", since.as_secs_f64()),
            ),
        ]
        .concat()
    }
}

/// Answers whoever asks, one after the other; for ever, also when nobody may ask.
pub(super) async fn serve(listen: Option<String>, progress: Arc<Progress>) -> Done {
    let Some(place) = listen else { return std::future::pending().await };
    let listener = TcpListener::bind(&place)
        .await
        .map_err(|error| Failure::io(format!("metrics cannot be served at {place}: {error}")))?;
    if let Ok(address) = listener.local_addr() {
        say(&format!("metrics: http://{address}/metrics"));
    }
    loop {
        // One that cannot be accepted or answered asks again.
        let Ok((socket, _)) = listener.accept().await else { continue };
        let _late = timeout(VISIT, answer(socket, &progress)).await;
    }
}

async fn answer(mut socket: TcpStream, progress: &Progress) -> std::io::Result<()> {
    let mut said = Vec::new();
    while !said.windows(4).any(|end| end == b"\r\n\r\n") && said.len() < VISIT_BYTES_MAX {
        if socket.read_buf(&mut said).await? == 0 {
            return Ok(());
        }
    }
    let (status, body) = if said.starts_with(b"GET /metrics ") {
        ("200 OK", progress.metrics())
    } else {
        ("404 Not Found", "404 page not found\n".to_owned())
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    socket.write_all((head + &body).as_bytes()).await?;
    socket.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_as_old_as_the_first_look_at_it() {
        let (progress, now) = (Progress::default(), Instant::now());
        progress.follows(10);
        progress.looked(10, now);
        assert_eq!(progress.lag(), (0, Duration::ZERO));
        progress.looked(12, now.checked_sub(Duration::from_secs(5)).expect("the clock has run that long"));
        progress.looked(15, now);
        let (behind, since) = progress.lag();
        assert!(behind == 5 && since >= Duration::from_secs(5), "{behind} {since:?}");
        progress.came_to(12);
        assert!(progress.lag().0 == 3 && progress.lag().1 < Duration::from_secs(5));
        progress.came_to(15);
        assert_eq!(progress.lag(), (0, Duration::ZERO));
        assert!(progress.metrics().contains("\nkvorumctl_mirror_revision 15\n"));
    }
}
