//! A client that keeps writing through one member while a test does things to the cluster.
//!
//! Every key is written once. What was refused or not answered is counted and never tried again, so that a
//! failure cannot hide behind a retry.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::client::Client;
use crate::wait::{PATIENCE, until};

/// Between two writes.
const PAUSE: Duration = Duration::from_millis(2);

/// A client at work.
#[derive(Debug)]
pub struct Writer {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    thread: JoinHandle<Report>,
}

/// What a client saw.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What its keys begin with.
    pub prefix: String,
    /// Keys whose write was acknowledged, with the revision.
    pub acknowledged: Vec<(String, i64)>,
    /// What it was told instead, for every other write.
    pub failed: Vec<String>,
    /// The longest time between two acknowledgements.
    pub gap_max: Duration,
}

impl Writer {
    /// Starts writing keys that begin with `prefix` through the member at `address`, waiting at most
    /// `patience` for each answer.
    pub fn start(address: SocketAddr, prefix: &str, patience: Duration) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let client = Client::patient(address, patience)?;
        let prefix = prefix.to_owned();
        let thread = thread::spawn({
            let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
            move || write(&client, prefix, &stop, &acknowledged)
        });
        let writer = Self { stop, acknowledged, thread };
        writer.wait_more(1).context("the first write")?;
        Ok(writer)
    }

    /// Waits until so many more writes were acknowledged.
    pub fn wait_more(&self, count: u64) -> anyhow::Result<()> {
        let goal = self.acknowledged.load(Ordering::Relaxed) + count;
        let reached = until(PATIENCE, || (self.acknowledged.load(Ordering::Relaxed) >= goal).then_some(()));
        reached.with_context(|| format!("{count} more writes were not acknowledged within {PATIENCE:?}"))
    }

    /// Stops and answers what it saw.
    pub fn finish(self) -> anyhow::Result<Report> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().ok().context("the writer panicked")
    }
}

impl Report {
    /// Refuses when a write that was acknowledged is not there, or is there at another revision.
    pub fn check(&self, client: &Client) -> anyhow::Result<()> {
        let reply = client.list(&self.prefix)?;
        let found: std::collections::BTreeMap<String, i64> = reply
            .kvs
            .iter()
            .map(|pair| (String::from_utf8_lossy(&pair.key).into_owned(), pair.mod_revision))
            .collect();
        for (key, revision) in &self.acknowledged {
            let now = found.get(key);
            ensure!(now == Some(revision), "{key} was acknowledged at {revision} and is now at {now:?}");
        }
        Ok(())
    }

    /// Refuses when any write was not acknowledged.
    pub fn all_acknowledged(&self) -> anyhow::Result<()> {
        ensure!(
            self.failed.is_empty(),
            "{} of {} writes failed, the first with: {}",
            self.failed.len(),
            self.failed.len() + self.acknowledged.len(),
            self.failed.first().map_or("", String::as_str)
        );
        Ok(())
    }
}

fn write(client: &Client, prefix: String, stop: &AtomicBool, acknowledged: &AtomicU64) -> Report {
    let mut report = Report { prefix, ..Report::default() };
    let mut last = Instant::now();
    for number in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("{}{number:08}", report.prefix);
        match client.put(&key, &number.to_string()) {
            Ok(revision) => {
                report.gap_max = report.gap_max.max(last.elapsed());
                last = Instant::now();
                report.acknowledged.push((key, revision));
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => report.failed.push(format!("{error:#}")),
        }
        // Reason to sleep: this is a client with a pace, not a flood that starves the members of the machine.
        thread::sleep(PAUSE);
    }
    report
}
