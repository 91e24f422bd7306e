//! How long writes stop when the leader goes: real etcd 3.4.23 and ours, with the same settings, by kill -9
//! and by SIGTERM.
//!
//! A client sends a write every 5 ms through a member that survives, whether or not earlier ones were
//! answered, on one connection. The gap is the longest time without an answer. The two take turns, so that
//! what else the machine does falls on both. Prints Markdown.
//!
//! usage: failover [ROUNDS]      `KVORUM_BINARY` and `ETCD_BINARY` name other programs

#![expect(clippy::print_stdout, reason = "the table on standard output is what this program is for")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{env, thread};

use anyhow::{Context, ensure};
use proto::etcdserverpb::PutRequest;
use proto::etcdserverpb::kv_client::KvClient;
use tests::client::{channel, runtime};
use tests::cluster::{Cluster, Settings};
use tests::{Program, until};
use tokio::task::JoinSet;

/// Rounds of each kind when the command line says nothing.
const ROUNDS: usize = 10;

/// Between two writes.
const PACE: Duration = Duration::from_millis(5);

/// How long an answer may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(15);

/// Writes that may wait for an answer; enough for ten seconds without any.
const WAITING_MAX: usize = 2000;

/// Answers before the leader goes, and after it.
const ANSWERED: usize = 100;

/// Heartbeat interval and election time-out, in milliseconds.
const SETTINGS: [(u64, u64); 2] = [(100, 1000), (50, 250)];

/// How the leader goes.
#[derive(Clone, Copy, Debug)]
enum End {
    Kill,
    Terminate,
}

/// What one end of a leader cost.
#[derive(Clone, Copy, Debug)]
struct Cost {
    gap: Duration,
    failed: usize,
}

fn main() -> anyhow::Result<()> {
    let rounds = match env::args().nth(1) {
        Some(text) => text.parse().context("usage: failover [ROUNDS]")?,
        None => ROUNDS,
    };
    ensure!(rounds > 0, "at least one round");
    println!(
        "| program | heartbeat / election | the leader's end | gap: median | longest | failed writes | all gaps in ms |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (heartbeat_ms, election_ms) in SETTINGS {
        for end in [End::Kill, End::Terminate] {
            let settings = |program: &Program| Settings::new(program, 3).pace(heartbeat_ms, election_ms);
            let mut subjects = [
                Subject::start("etcd 3.4.23", &settings(&Program::etcd()?))?,
                Subject::start("kvorum", &settings(&Program::kvorum()?))?,
            ];
            for round in 0..rounds {
                for subject in &mut subjects {
                    subject.measure(end, round).with_context(|| {
                        format!("{}, {heartbeat_ms}/{election_ms}, {end:?}", subject.name)
                    })?;
                }
            }
            for subject in subjects {
                let Subject { name, cluster, costs } = subject;
                print(name, cluster.settings(), end, costs)?;
                cluster.done()?;
            }
        }
    }
    Ok(())
}

fn print(name: &str, settings: &Settings, end: End, mut costs: Vec<Cost>) -> anyhow::Result<()> {
    costs.sort_by_key(|cost| cost.gap);
    let median = costs.get(costs.len() / 2).context("a round")?.gap;
    let longest = costs.last().context("a round")?.gap;
    let failed: usize = costs.iter().map(|cost| cost.failed).sum();
    let all: Vec<String> = costs.iter().map(|cost| cost.gap.as_millis().to_string()).collect();
    let how = match end {
        End::Kill => "kill -9",
        End::Terminate => "SIGTERM",
    };
    println!(
        "| {name} | {} / {} ms | {how} | {} ms | {} ms | {failed} | {} |",
        settings.heartbeat_ms,
        settings.election_ms,
        median.as_millis(),
        longest.as_millis(),
        all.join(" ")
    );
    Ok(())
}

/// A cluster and what it cost.
struct Subject {
    name: &'static str,
    cluster: Cluster,
    costs: Vec<Cost>,
}

impl Subject {
    fn start(name: &'static str, settings: &Settings) -> anyhow::Result<Self> {
        Ok(Self { name, cluster: Cluster::start(settings)?, costs: Vec::new() })
    }

    fn measure(&mut self, end: End, round: usize) -> anyhow::Result<()> {
        let cluster = &mut self.cluster;
        let leader = cluster.wait_leader()?;
        let survivor = cluster.others(leader).get(round % 2).copied().context("a survivor")?;
        let client = Client::start(cluster.member(survivor).address())?;
        client.wait_answers(ANSWERED)?;
        match end {
            End::Kill => cluster.member_mut(leader).kill()?,
            End::Terminate => cluster.member(leader).ask_to_end()?,
        }
        client.wait_answers(client.answers() + ANSWERED)?;
        if matches!(end, End::Terminate) {
            cluster.member_mut(leader).wait_ended()?;
            client.wait_answers(client.answers() + ANSWERED)?;
        }
        self.costs.push(client.finish()?);
        cluster.restart(leader)?;
        cluster.wait_equal(&[0, 1, 2])?;
        Ok(())
    }
}

/// The client; it runs on threads of its own.
struct Client {
    stop: Arc<AtomicBool>,
    answers: Arc<std::sync::Mutex<Vec<Instant>>>,
    failed: Arc<std::sync::Mutex<Vec<String>>>,
    thread: thread::JoinHandle<()>,
}

impl Client {
    fn start(address: SocketAddr) -> anyhow::Result<Self> {
        let client = KvClient::new(channel(address, PATIENCE)?);
        let stop = Arc::new(AtomicBool::new(false));
        let answers: Arc<std::sync::Mutex<Vec<Instant>>> = Arc::default();
        let failed: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
        let thread = thread::spawn({
            let (stop, answers, failed) = (Arc::clone(&stop), Arc::clone(&answers), Arc::clone(&failed));
            move || {
                runtime().block_on(async move {
                    let mut waiting = JoinSet::new();
                    let mut clock = tokio::time::interval(PACE);
                    while !stop.load(Ordering::Relaxed) {
                        clock.tick().await;
                        while waiting.len() >= WAITING_MAX {
                            waiting.join_next().await;
                        }
                        let (mut client, answers, failed) =
                            (client.clone(), Arc::clone(&answers), Arc::clone(&failed));
                        waiting.spawn(async move {
                            let request = PutRequest {
                                key: "k".to_owned().into(),
                                value: vec![b'x'; 100].into(),
                                ..PutRequest::default()
                            };
                            match client.put(request).await {
                                Ok(_) => answers.lock().expect("nobody panics here").push(Instant::now()),
                                Err(status) => {
                                    failed.lock().expect("nobody panics here").push(status.to_string());
                                }
                            }
                        });
                    }
                    waiting.join_all().await;
                });
            }
        });
        Ok(Self { stop, answers, failed, thread })
    }

    fn answers(&self) -> usize {
        self.answers.lock().expect("nobody panics here").len()
    }

    fn wait_answers(&self, goal: usize) -> anyhow::Result<()> {
        let reached = until(Duration::from_mins(1), || (self.answers() >= goal).then_some(()));
        reached.with_context(|| format!("{} writes were answered in a minute, not {goal}", self.answers()))
    }

    fn finish(self) -> anyhow::Result<Cost> {
        self.stop.store(true, Ordering::Relaxed);
        ensure!(self.thread.join().is_ok(), "the client panicked");
        let mut answers = self.answers.lock().expect("the client has ended").clone();
        answers.sort_unstable();
        let gaps = answers.iter().zip(answers.iter().skip(1)).map(|(one, next)| next.duration_since(*one));
        let failed = self.failed.lock().expect("the client has ended");
        if let Some(first) = failed.first() {
            eprintln!("failed: {} writes, the first with: {first}", failed.len());
        }
        Ok(Cost { gap: gaps.max().context("no answers")?, failed: failed.len() })
    }
}
