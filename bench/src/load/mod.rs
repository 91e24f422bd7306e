//! The load generator: many clients on one thread.
//!
//! Each connection is one task that owns all the clients that share it. There is no task, channel or timer per
//! client: an answer is judged and the next request written in the same turn, and one write carries the requests
//! of all clients that became idle together.

mod lane;
mod pace;
mod tally;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use self::lane::Lane;
use self::pace::Schedule;
pub(crate) use self::tally::Latency;
use self::tally::Tally;
use crate::proc;
use crate::wire::http1::Http1;
use crate::wire::http2::Http2;
use crate::workload::{Kind, Shape, Workload};

/// How long calls that are on their way when a run ends may take to come back.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// How often a run looks whether it was told to end.
const LOOK: Duration = Duration::from_millis(5);
/// Connections unless told otherwise; fewer when there are fewer clients.
pub(crate) const CONNECTIONS: usize = 8;
/// How much of each answer is kept for a second look.
const BODY_KEPT_BYTES_MAX: usize = 16 << 10;

/// When a run ends.
#[derive(Clone, Debug)]
pub(crate) enum Until {
    /// After so long, not counting the warm-up before it.
    Elapsed {
        /// Load that is not counted.
        warm_up: Duration,
        /// Load that is counted.
        measured: Duration,
    },
    /// When so many calls are done; there is no warm-up. A fill ends by itself.
    Calls(u64),
    /// When somebody says so, without warm-up.
    Told(Arc<AtomicBool>),
}

/// One run of the generator.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// What is done.
    pub(crate) shape: Shape,
    /// Connections that share the clients; over HTTP/1.1 each client has its own.
    pub(crate) connections: usize,
    /// Calls per second of an open loop; `None` is a closed loop.
    pub(crate) rate: Option<f64>,
    /// When it ends.
    pub(crate) until: Until,
    /// Whether a line on stderr says each second how it goes.
    pub(crate) live: bool,
    /// The servers whose processor time shall be counted, together.
    pub(crate) server_pids: Vec<u32>,
    /// What proves who calls, over gRPC.
    pub(crate) token: Option<String>,
}

/// What a run found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Name of the workload.
    pub(crate) workload: String,
    /// Concurrent callers.
    pub(crate) clients: usize,
    /// Connections that they shared.
    pub(crate) connections: usize,
    /// Calls per second that were intended, in an open loop.
    pub(crate) rate: Option<f64>,
    /// Measured time.
    pub(crate) seconds: f64,
    /// Operations that ended well; a fill's transaction holds many.
    pub(crate) operations: u64,
    /// Calls that ended well.
    pub(crate) calls: u64,
    /// Operations per second.
    pub(crate) throughput: f64,
    /// Latency of calls, in microseconds.
    pub(crate) latency_us: Latency,
    /// Processor time of this program for each operation.
    pub(crate) client_cpu_us: f64,
    /// Processor time of the server for each operation.
    pub(crate) server_cpu_us: Option<f64>,
    /// Part of the machine that neither of the two used: noise by others, 0 to 1. Known with server pids only.
    pub(crate) foreign_cpu: Option<f64>,
    /// Calls that failed, in the warm-up too.
    pub(crate) failures: u64,
    /// Failures by what the server said.
    pub(crate) failure_texts: BTreeMap<String, u64>,
}

/// What every connection of a run shares.
struct Run {
    workload: RefCell<Workload>,
    tally: RefCell<Tally>,
    /// Between the warm-up and the end.
    measuring: Cell<bool>,
    /// Closed loop: no further calls. Open loop: none that were intended after `end`.
    stopped: Cell<bool>,
    /// Begin and end of the measured time, when they are known.
    begin: Cell<Option<Instant>>,
    end: Cell<Option<Instant>>,
    /// Calls that may still be started.
    remaining: Cell<u64>,
    /// Calls on their way.
    in_flight: Cell<u64>,
}

/// Processor times at one moment.
struct Usage {
    at: Instant,
    client: Duration,
    server: Option<Duration>,
    machine: Duration,
}

impl Usage {
    fn now(server_pids: &[u32]) -> Result<Self> {
        let server = server_pids.iter().map(|&pid| proc::cpu_time(pid)).sum::<Result<Duration>>()?;
        Ok(Self {
            at: Instant::now(),
            client: proc::cpu_time(std::process::id())?,
            server: (!server_pids.is_empty()).then_some(server),
            machine: proc::machine_busy()?,
        })
    }
}

/// Runs `plan` on this thread.
///
/// A server that cannot be reached is an error; calls that fail are counted in the report.
pub(crate) async fn run(plan: &Plan) -> Result<Report> {
    let limit = match plan.until {
        Until::Calls(calls) => calls,
        Until::Elapsed { .. } | Until::Told(_) => u64::MAX,
    };
    let run = Rc::new(Run {
        workload: RefCell::new(Workload::new(plan.shape.clone())),
        tally: RefCell::new(Tally::new()),
        measuring: Cell::new(false),
        stopped: Cell::new(false),
        begin: Cell::new(None),
        end: Cell::new(None),
        remaining: Cell::new(limit),
        in_flight: Cell::new(0),
    });
    LocalSet::new().run_until(observe(plan, &run)).await
}

async fn observe(plan: &Plan, run: &Rc<Run>) -> Result<Report> {
    let mut lanes = JoinSet::new();
    let connections = start_lanes(plan, run, &mut lanes).await?;
    let mut live = JoinSet::new();
    if plan.live {
        live.spawn_local(live_line(plan.shape.kind, Rc::clone(run)));
    }
    if let Until::Elapsed { warm_up, .. } = plan.until {
        sleep(warm_up).await;
    }
    let before = Usage::now(&plan.server_pids)?;
    run.begin.set(Some(before.at));
    run.measuring.set(true);
    let after = match &plan.until {
        Until::Elapsed { measured, .. } => {
            sleep(*measured).await;
            finish(plan, run)?
        }
        Until::Calls(_) => {
            join(run, &mut lanes).await;
            finish(plan, run)?
        }
        Until::Told(told) => {
            while !told.load(Ordering::Relaxed) {
                sleep(LOOK).await;
            }
            finish(plan, run)?
        }
    };
    if timeout(DRAIN_MAX, join(run, &mut lanes)).await.is_err() {
        lanes.shutdown().await;
        let text = format!("no answer {} s after the end of the run", DRAIN_MAX.as_secs());
        run.tally.borrow_mut().failure(&text, run.in_flight.get());
    }
    if plan.live && std::io::stderr().is_terminal() {
        // The live line stays as it was last.
        eprintln!();
    }
    Ok(report(plan, run, connections, &before, &after))
}

fn finish(plan: &Plan, run: &Run) -> Result<Usage> {
    let after = Usage::now(&plan.server_pids)?;
    run.end.set(Some(after.at));
    run.measuring.set(false);
    run.stopped.set(true);
    Ok(after)
}

async fn start_lanes(plan: &Plan, run: &Rc<Run>, lanes: &mut JoinSet<()>) -> Result<usize> {
    let Shape { clients, ref endpoints, kind, .. } = plan.shape;
    ensure!(!endpoints.is_empty(), "no server is named");
    let connections = if kind.method().is_some() { plan.connections.clamp(1, clients) } else { clients };
    let mut sockets = Vec::with_capacity(connections);
    // In turn, as clients of a cluster choose their member; every client stays with its own.
    for authority in endpoints.iter().cycle().take(connections) {
        let socket = TcpStream::connect(authority).await;
        let socket = socket.with_context(|| format!("cannot connect to {authority}"))?;
        socket.set_nodelay(true)?;
        sockets.push(socket);
    }
    let origin = Instant::now();
    let mut first_client = 0;
    for (at, (socket, authority)) in sockets.into_iter().zip(endpoints.iter().cycle()).enumerate() {
        let slots = clients / connections + usize::from(at < clients % connections);
        let schedule = plan.rate.map(|rate| {
            let offset = Duration::from_secs_f64(at as f64 / rate);
            Schedule::new(origin + offset, rate / connections as f64)
        });
        let shared = Rc::clone(run);
        if let Some(method) = kind.method() {
            let wire = Http2::new(authority, method, slots, BODY_KEPT_BYTES_MAX);
            let wire = wire.with_token(plan.token.as_deref());
            lanes.spawn_local(Lane::new(shared, wire, first_client, slots, schedule)?.go(socket));
        } else {
            let wire = Http1::new(BODY_KEPT_BYTES_MAX);
            lanes.spawn_local(Lane::new(shared, wire, first_client, slots, schedule)?.go(socket));
        }
        first_client += slots;
    }
    Ok(connections)
}

async fn join(run: &Run, lanes: &mut JoinSet<()>) {
    while let Some(ended) = lanes.join_next().await {
        if let Err(error) = ended {
            run.tally.borrow_mut().failure(&format!("a connection's task ended: {error}"), 1);
        }
    }
}

async fn live_line(kind: Kind, run: Rc<Run>) {
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    seconds.tick().await;
    let terminal = std::io::stderr().is_terminal();
    let mut last = Instant::now();
    loop {
        seconds.tick().await;
        let second = run.tally.borrow_mut().take_second();
        let elapsed = last.elapsed().as_secs_f64();
        last = Instant::now();
        let line = format!(
            "{:<16} {:>9.0} ops/s   p50 {:>8.0} us   p99 {:>8.0} us   errors {}",
            kind.name(),
            second.operations as f64 / elapsed,
            second.latency.p50,
            second.latency.p99,
            second.failures
        );
        let mut stderr = std::io::stderr().lock();
        // A closed stderr must not end a measurement.
        let _ = if terminal { write!(stderr, "\r{line}\x1b[K") } else { writeln!(stderr, "{line}") };
    }
}

fn report(plan: &Plan, run: &Run, connections: usize, before: &Usage, after: &Usage) -> Report {
    let tally = run.tally.borrow();
    let (failures, failure_texts) = tally.failures();
    let operations = tally.operations();
    let elapsed = after.at - before.at;
    let per_operation = |time: Duration| time.as_secs_f64() * 1e6 / operations.max(1) as f64;
    let client = after.client.saturating_sub(before.client);
    let server = after.server.zip(before.server).map(|(after, before)| after.saturating_sub(before));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let foreign = server.map(|server| {
        let others =
            after.machine.saturating_sub(before.machine).saturating_sub(server).saturating_sub(client);
        others.as_secs_f64() / elapsed.as_secs_f64().max(1e-9) / cores as f64
    });
    Report {
        workload: plan.shape.kind.name().to_owned(),
        clients: plan.shape.clients,
        connections,
        rate: plan.rate,
        seconds: elapsed.as_secs_f64(),
        operations,
        calls: tally.requests(),
        throughput: operations as f64 / elapsed.as_secs_f64().max(1e-9),
        latency_us: tally.latency(),
        client_cpu_us: per_operation(client),
        server_cpu_us: server.map(per_operation),
        foreign_cpu: foreign,
        failures,
        failure_texts,
    }
}

/// Writes the keys that a workload wants to find: those of `shape`, or nothing when it needs none.
pub(crate) async fn prepare(shape: &Shape, live: bool) -> Result<()> {
    let Some(kind) = shape.kind.needs() else { return Ok(()) };
    let shape = Shape { kind, clients: 8, ..shape.clone() };
    let until = Until::Calls(u64::MAX);
    let plan = Plan { shape, connections: 4, rate: None, until, live, token: None, server_pids: Vec::new() };
    let report = run(&plan).await?;
    if report.failures > 0 {
        bail!("the keys for the workload could not be written: {:?}", report.failure_texts);
    }
    Ok(())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
