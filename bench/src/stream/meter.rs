//! Processor time of the server over a stretch of time, and a load of puts beside whatever is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::sync::oneshot;

use super::{Figure, Target, Wanted};
use crate::load::{self, Plan, Report, Until};
use crate::proc;
use crate::workload::{Kind, Shape};

/// Processor times at one moment.
pub(super) struct Meter {
    at: Instant,
    server: Duration,
    client: Duration,
    machine: Duration,
    pid: u32,
}

/// What was used since.
pub(super) struct Used {
    /// Time that went by, in seconds.
    pub(super) seconds: f64,
    /// The server's processor seconds.
    pub(super) server_s: f64,
    /// Our own processor seconds.
    pub(super) client_s: f64,
    /// The part of the machine that neither used, 0 to 1.
    pub(super) others: f64,
}

impl Meter {
    /// Starts now.
    pub(super) fn start(target: &Target) -> Result<Self> {
        Ok(Self {
            at: Instant::now(),
            server: proc::cpu_time(target.pid)?,
            client: proc::cpu_time(std::process::id())?,
            machine: proc::machine_busy()?,
            pid: target.pid,
        })
    }

    /// What was used until now.
    pub(super) fn used(&self) -> Result<Used> {
        let seconds = self.at.elapsed().as_secs_f64();
        let server = proc::cpu_time(self.pid)?.saturating_sub(self.server);
        let client = proc::cpu_time(std::process::id())?.saturating_sub(self.client);
        let machine = proc::machine_busy()?.saturating_sub(self.machine);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let others = machine.saturating_sub(server).saturating_sub(client).as_secs_f64();
        Ok(Used {
            seconds,
            server_s: server.as_secs_f64(),
            client_s: client.as_secs_f64(),
            others: others / seconds.max(1e-9) / cores as f64,
        })
    }
}

impl Used {
    /// What every scenario shows of it.
    pub(super) fn figures(&self) -> [Figure; 3] {
        [
            Figure::new("server CPU s", self.server_s, Wanted::Less),
            Figure::new("generator CPU s", self.client_s, Wanted::Less),
            Figure::new("others, % of the machine", self.others * 100.0, Wanted::Less),
        ]
    }

    /// So many for each second of the server's processor time. The kernel counts it in steps of 10 ms.
    pub(super) fn per_server_second(&self, count: u64) -> f64 {
        count as f64 / self.server_s.max(0.01)
    }
}

/// A load of puts in a thread of its own, so that nothing that this thread decodes is counted as their latency.
pub(super) struct Puts {
    told: Arc<AtomicBool>,
    report: oneshot::Receiver<Result<Report>>,
}

/// Which puts.
pub(super) struct Pace {
    /// Puts for each second, whatever the server does.
    pub(super) per_second: f64,
    /// Different keys.
    pub(super) keys: u64,
    /// Bytes of a key; those of a fill have eight.
    pub(super) key_bytes: usize,
}

/// Keys that no scenario watches or fills.
pub(super) const BESIDE: Pace = Pace { per_second: 1000.0, keys: 10_000, key_bytes: 12 };

impl Puts {
    /// Starts an open loop that goes on until `stop`.
    pub(super) fn start(target: &Target, pace: &Pace) -> Self {
        Self::start_as(target, pace, None)
    }

    /// The same by somebody who shows this token.
    pub(super) fn start_as(target: &Target, pace: &Pace, token: Option<&str>) -> Self {
        let told = Arc::new(AtomicBool::new(false));
        let shape = Shape {
            kind: Kind::StampedPut,
            keys: pace.keys,
            key_bytes: pace.key_bytes,
            value_bytes: 256,
            clients: 256,
            seed: 1,
            endpoints: vec![target.authority.clone()],
        };
        let plan = Plan {
            shape,
            connections: 4,
            rate: Some(pace.per_second),
            until: Until::Told(Arc::clone(&told)),
            live: false,
            token: token.map(str::to_owned),
            server_pids: Vec::new(),
        };
        let (done, report) = oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let result = runtime.context("no runtime").and_then(|runtime| runtime.block_on(load::run(&plan)));
            // Nobody waits for it when the scenario has failed.
            let _ = done.send(result);
        });
        Self { told, report }
    }

    /// Ends it, and waits for the last answers.
    pub(super) async fn stop(mut self) -> Result<Report> {
        self.told.store(true, Ordering::Relaxed);
        let report = (&mut self.report).await.context("the load beside ended without a report")??;
        ensure!(report.failures == 0, "puts beside failed: {:?}", report.failure_texts);
        Ok(report)
    }
}

impl Drop for Puts {
    fn drop(&mut self) {
        self.told.store(true, Ordering::Relaxed);
    }
}
