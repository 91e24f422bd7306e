//! `check`: whether a cluster is fast enough, and how much memory data takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use client::{Client, Fault};
use indicatif::{ProgressBar, ProgressStyle};
use proto::etcdserverpb::{
    CompactionRequest, DefragmentRequest, DeleteRangeRequest, PutRequest, RangeRequest,
};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use super::signal::Stop;
use crate::failure::{Done, Failure, exit};
use crate::output::{print_line, say};
use crate::session::{Session, config};
use crate::verbs::shown::open_range;

/// How long `perf` writes.
const PERF: Duration = Duration::from_mins(1);

/// The bytes of keys and values.
const KEY_BYTES: usize = 256;
const VALUE_BYTES: usize = 1024;

/// How often new work is handed out.
const TICK: Duration = Duration::from_millis(10);

/// What is good: this part of the asked rate, no request slower, no wider spread.
const THROUGHPUT_MIN: f64 = 0.9;
const SLOWEST_MAX: f64 = 0.5;
const STDDEV_MAX: f64 = 0.1;

/// How long removing the keys may take when it was stopped.
const CLEAR: Duration = Duration::from_secs(10);

/// Failures that are shown of those that there were.
const FAILURES_SHOWN_MAX: usize = 5;

#[derive(Debug, Subcommand)]
pub(crate) enum Check {
    /// Writes for a minute at a rate, and says whether that went well.
    Perf(Load),
    /// Writes so many keys, and says how much memory they took.
    Datascale(Load),
}

#[derive(Debug, Args)]
pub(crate) struct Load {
    /// How much: s, m, l or xl.
    #[arg(long = "load", default_value = "s", value_name = "s|m|l|xl")]
    size: String,
    /// What its keys begin with; they are deleted afterwards.
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// Compacts afterwards.
    #[arg(long)]
    auto_compact: bool,
    /// Gives the room back to the disk afterwards.
    #[arg(long)]
    auto_defrag: bool,
}

/// What to write.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// Writes in a second; nothing is as fast as it goes.
    rate: Option<u64>,
    /// Writes in all.
    writes: u64,
    clients: u64,
    key_bytes: usize,
}

/// What came of it.
#[derive(Debug, Default)]
struct Measured {
    seconds: Vec<f64>,
    failures: Vec<String>,
    took: Duration,
    /// The exit status of who stopped it.
    stopped: Option<u8>,
}

impl Check {
    pub(crate) async fn run(self, session: &Session) -> Done {
        match self {
            Self::Perf(load) => perf(session, &load).await,
            Self::Datascale(load) => datascale(session, &load).await,
        }
    }
}

impl Load {
    /// The place of the load among s, m, l, xl.
    fn step(&self) -> Result<usize, Failure> {
        match self.size.as_str() {
            "s" | "small" => Ok(0),
            "m" | "medium" => Ok(1),
            "l" | "large" => Ok(2),
            "xl" | "xLarge" => Ok(3),
            other => Err(Failure::new(exit::BAD_FEATURE, format!("unknown load option {other}"))),
        }
    }

    fn prefix(&self, otherwise: &str) -> String {
        self.prefix.clone().unwrap_or_else(|| otherwise.to_owned())
    }
}

async fn perf(session: &Session, load: &Load) -> Done {
    let (rate, clients) =
        [(150, 50), (1000, 200), (8000, 500), (15_000, 1000)].get(load.step()?).copied().unwrap_or_default();
    let prefix = load.prefix("/etcdctl-check-perf/");
    expect_empty(session, &prefix).await?;
    let writes = rate * PERF.as_secs();
    let plan = Plan { rate: Some(rate), writes, clients, key_bytes: KEY_BYTES };
    let measured = measure(session, load, &prefix, plan).await?;
    clear(session, load, &prefix).await?;
    let good = judge(&measured, rate)?;
    print_line(if good { "PASS" } else { "FAIL" })?;
    if good { Ok(()) } else { Err(Failure::silent(exit::ERROR)) }
}

fn judge(measured: &Measured, rate: u64) -> Result<bool, Failure> {
    let mut good = true;
    let mut verdict = |passed: bool, well: String, badly: String| {
        good &= passed;
        print_line(&if passed { format!("PASS: {well}") } else { format!("FAIL: {badly}") })
    };
    if !measured.failures.is_empty() {
        verdict(false, String::new(), "too many errors".to_owned())?;
        measured
            .failures
            .iter()
            .take(FAILURES_SHOWN_MAX)
            .for_each(|failure| say(&format!("Error: {failure}")));
    }
    let count = measured.seconds.len() as f64;
    let achieved = count / measured.took.as_secs_f64();
    verdict(
        achieved / rate as f64 > THROUGHPUT_MIN,
        format!("Throughput is {} writes/s", achieved as u64),
        format!("Throughput too low: {} writes/s", achieved as u64),
    )?;
    let slowest = measured.seconds.iter().copied().fold(0.0, f64::max);
    verdict(
        slowest <= SLOWEST_MAX,
        format!("Slowest request took {slowest:.6}s"),
        format!("Slowest request took too long: {slowest:.6}s"),
    )?;
    let mean = measured.seconds.iter().sum::<f64>() / count.max(1.0);
    let squares = measured.seconds.iter().map(|seconds| (seconds - mean).powi(2)).sum::<f64>();
    let spread = (squares / count.max(1.0)).sqrt();
    verdict(
        spread <= STDDEV_MAX,
        format!("Stddev is {spread:.6}s"),
        format!("Stddev too high: {spread:.6}s"),
    )?;
    Ok(good)
}

async fn datascale(session: &Session, load: &Load) -> Done {
    let (writes, clients) = [(10_000, 50), (100_000, 200), (1_000_000, 500), (3_000_000, 1000)]
        .get(load.step()?)
        .copied()
        .unwrap_or_default();
    let prefix = load.prefix("/etcdctl-check-datascale/");
    expect_empty(session, &prefix).await?;
    let before = memory(session).await?;
    print_line(&format!(
        "Start data scale check for work load [{writes} key-value pairs, {VALUE_BYTES} bytes per key-value, {clients} \
         concurrent clients]."
    ))?;
    let plan = Plan { rate: None, writes, clients, key_bytes: KEY_BYTES };
    let measured = measure(session, load, &prefix, plan).await?;
    let after = memory(session).await?;
    clear(session, load, &prefix).await?;
    if !measured.failures.is_empty() {
        print_line("FAIL: too many errors")?;
        measured
            .failures
            .iter()
            .take(FAILURES_SHOWN_MAX)
            .for_each(|failure| say(&format!("Error: {failure}")));
        return Err(Failure::silent(exit::ERROR));
    }
    let used = (after - before) / (1024.0 * 1024.0);
    print_line(&format!("PASS: Approximate system memory used : {used:.2} MB."))
}

/// Others' keys are not touched.
async fn expect_empty(session: &Session, prefix: &str) -> Done {
    let (key, range_end) = open_range(prefix.to_owned().into_bytes().into(), true, false);
    let answer = session.call(RangeRequest { key, range_end, limit: 1, ..Default::default() }).await?;
    if answer.kvs.is_empty() {
        return Ok(());
    }
    let name = session.name;
    let text = format!("prefix {prefix:?} has keys. Delete with `{name} del --prefix {prefix}` first.");
    Err(Failure::new(exit::INVALID_INPUT, text))
}

/// Writes by the plan; whoever stops it finds no keys of it.
async fn measure(session: &Session, load: &Load, prefix: &str, plan: Plan) -> Result<Measured, Failure> {
    let mut stop = Stop::listen()?;
    let measured = Box::pin(write_all(session, prefix, plan, &mut stop)).await?;
    let Some(status) = measured.stopped else { return Ok(measured) };
    let left = match timeout(CLEAR, clear(session, load, prefix)).await {
        Ok(Ok(())) => "its keys are deleted again".to_owned(),
        _ => format!("its keys are left: `{} del --prefix {prefix}` deletes them", session.name),
    };
    let told =
        format!("check was stopped after {} of {} writes; {left}", measured.seconds.len(), plan.writes);
    Err(Failure { status, text: None, details: vec![told] })
}

/// Writes by the plan, with a bar on stderr.
async fn write_all(
    session: &Session,
    prefix: &str,
    plan: Plan,
    stop: &mut Stop,
) -> Result<Measured, Failure> {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {rate} {eta}")
        .expect("the template is well-formed")
        .with_key("rate", super::progress::rate);
    let bar = ProgressBar::new(plan.writes).with_style(style);
    let places: Vec<String> = session.client.endpoints().map(ToString::to_string).collect();
    let (given, number) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicU64::new(0)));
    let mut writers = JoinSet::new();
    let begun = Instant::now();
    for _ in 0..plan.clients {
        let client = Client::new(config(&session.globals, places.iter().map(String::as_str))?);
        let writer = Writer {
            client,
            prefix: prefix.to_owned(),
            key_bytes: plan.key_bytes,
            given: Arc::clone(&given),
            number: Arc::clone(&number),
            bar: bar.clone(),
            patience: session.patience(),
        };
        writers.spawn(writer.run());
    }
    let stopped = tokio::select! {
        () = hand_out(&given, plan) => None,
        status = stop.status() => Some(status),
    };
    // Those that write just now write to their end, so that nothing comes behind what removes it.
    given.close();
    let mut measured = Measured { stopped, ..Measured::default() };
    while let Some(written) = writers.join_next().await {
        let (seconds, failures) = written.map_err(|error| Failure::error(error.to_string()))?;
        measured.seconds.extend(seconds);
        measured.failures.extend(failures);
    }
    measured.took = begun.elapsed();
    bar.finish_and_clear();
    Ok(measured)
}

/// Gives out writes at the rate, never more than one for each client ahead.
async fn hand_out(given: &Semaphore, plan: Plan) {
    let (begun, mut handed) = (Instant::now(), 0);
    let mut ticks = interval(TICK);
    while handed < plan.writes {
        ticks.tick().await;
        let due = plan.rate.map_or(plan.writes, |rate| (begun.elapsed().as_secs_f64() * rate as f64) as u64);
        let free = match plan.rate {
            Some(_) => plan.clients.saturating_sub(given.available_permits() as u64),
            None => plan.writes,
        };
        let more = due.min(plan.writes).saturating_sub(handed).min(free);
        given.add_permits(more as usize);
        handed += more;
    }
    // Those that wait for what was given already still get it.
    while given.available_permits() > 0 {
        ticks.tick().await;
    }
}

/// One client that writes.
struct Writer {
    client: Client,
    prefix: String,
    key_bytes: usize,
    given: Arc<Semaphore>,
    number: Arc<AtomicU64>,
    bar: ProgressBar,
    patience: Option<Duration>,
}

impl Writer {
    async fn run(self) -> (Vec<f64>, Vec<String>) {
        let value = bytes::Bytes::from(vec![0; VALUE_BYTES]);
        let (mut seconds, mut failures) = (Vec::new(), Vec::new());
        while let Ok(permit) = self.given.acquire().await {
            permit.forget();
            // Spread over the keys that there could be, as chance would.
            let number = self.number.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut key = format!("{}{number:016x}", self.prefix).into_bytes();
            key.resize(self.prefix.len() + self.key_bytes, 0);
            let request = PutRequest { key: key.into(), value: value.clone(), ..Default::default() };
            let begun = Instant::now();
            match self.client.call(request, self.patience).await {
                Ok(_) => seconds.push(begun.elapsed().as_secs_f64()),
                Err(fault) => failures.push(fault.to_string()),
            }
            self.bar.inc(1);
        }
        (seconds, failures)
    }
}

/// Removes what was written.
async fn clear(session: &Session, load: &Load, prefix: &str) -> Done {
    let (key, range_end) = open_range(prefix.to_owned().into_bytes().into(), true, false);
    let deleted =
        session.client.call(DeleteRangeRequest { key, range_end, ..Default::default() }, None).await?;
    let revision = deleted.header.map_or(0, |header| header.revision);
    if load.auto_compact {
        session.client.call(CompactionRequest { revision, physical: true }, None).await?;
        say(&format!("Compacting with revision {revision}"));
    }
    if load.auto_defrag {
        for endpoint in session.client.endpoints() {
            say(&format!("Defragmenting {endpoint:?}"));
            session.client.only(endpoint).call(DefragmentRequest {}, None).await?;
        }
    }
    Ok(())
}

/// The resident memory of the first endpoint's process, in bytes.
async fn memory(session: &Session) -> Result<f64, Failure> {
    const NAME: &str = "process_resident_memory_bytes ";
    let endpoint = session.client.endpoints().next().ok_or_else(|| Failure::error("no endpoint is given"))?;
    let failed = |fault: Fault| Failure::from(fault).within("cannot read the metrics: {}");
    let page =
        session.client.only(endpoint).page("/metrics", None, session.patience()).await.map_err(failed)?;
    let text = String::from_utf8_lossy(&page.body);
    let value = text.lines().find_map(|line| line.strip_prefix(NAME)?.trim().parse().ok());
    value.ok_or_else(|| Failure::error(format!("could not find: {NAME}")))
}
