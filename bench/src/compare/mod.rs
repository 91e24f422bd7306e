//! Servers side by side: the same load on each, one after the other, in turns.
//!
//! Only one server runs at a time, on a fresh data folder for each group of points. The order changes with every
//! round and group, so that a machine that slows down does not always hit the same one.

mod call;
mod machine;
mod million;
mod points;
mod server;
mod systems;
mod table;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use self::million::Million;
use self::points::{GROUPS, Group, MILLION, Point};
use self::server::Server;
use self::systems::System;
use self::table::{Results, Sample};
use crate::load::{self, CONNECTIONS, Plan, Until};
use crate::output;
use crate::workload::Shape;

const TMPFS: &str = "/dev/shm";
const WARM_UP: Duration = Duration::from_secs(1);

/// What is compared, and how thoroughly.
pub(crate) struct Settings {
    /// Name of the profile, part of the file names of the result.
    pub(crate) profile: String,
    /// Names of the servers; the tables show the ratio of the first to the others.
    pub(crate) systems: Vec<String>,
    /// tmpfs, disk.
    pub(crate) media: Vec<String>,
    /// Names of groups; none means all.
    pub(crate) groups: Vec<String>,
    /// Our program, when it is not beside this one.
    pub(crate) kvorum: Option<PathBuf>,
    /// A folder on the real disk.
    pub(crate) disk: PathBuf,
    /// How often each point is measured.
    pub(crate) rounds: u64,
    /// Measured time of each point.
    pub(crate) measured: Duration,
    /// Keys of the case with many keys.
    pub(crate) million: u64,
    /// The folder for the result files.
    pub(crate) results: PathBuf,
}

impl Settings {
    fn wants(&self, group: &str) -> bool {
        self.groups.is_empty() || self.groups.iter().any(|name| name == group)
    }

    fn check(&self) -> Result<()> {
        for name in &self.groups {
            let known = name == MILLION || GROUPS.iter().any(|group| group.name == name);
            ensure!(known, "unknown group {name}: there are put, read, txn, json, v2 and million");
        }
        for name in &self.media {
            ensure!(name == "tmpfs" || name == "disk", "unknown medium {name}: there are tmpfs and disk");
        }
        Ok(())
    }

    fn folder(&self, medium: &str) -> Result<TempDir> {
        let parent = if medium == "tmpfs" { Path::new(TMPFS) } else { &self.disk };
        tempfile::Builder::new()
            .prefix("kvorum-bench-")
            .tempdir_in(parent)
            .context("cannot make a data folder")
    }

    /// A rough guess in seconds, so that nobody waits without knowing how long.
    fn estimate(&self) -> u64 {
        let wanted = GROUPS.iter().filter(|group| self.wants(group.name));
        let point = (self.measured + WARM_UP).as_secs_f64() + 0.5;
        // Starting a server, filling it and starting it again take some seconds for each group.
        let round: f64 = wanted.map(|group| 5.0 + group.points.len() as f64 * point).sum();
        let million = if self.wants(MILLION) { 20.0 + self.million as f64 / 25_000.0 } else { 0.0 };
        let each = round * self.rounds as f64 + million;
        (each * self.systems.len() as f64 * self.media.len() as f64) as u64
    }
}

/// Measures, prints the tables and writes the result files.
pub(crate) async fn run(settings: &Settings) -> Result<ExitCode> {
    settings.check()?;
    let systems = systems::find(&settings.systems, settings.kvorum.as_deref())?;
    let minutes = settings.estimate().div_ceil(60);
    eprintln!("bench: comparing {}: about {minutes} minutes", settings.systems.join(", "));
    let mut results = Results {
        date: time::OffsetDateTime::now_utc().date().to_string(),
        profile: settings.profile.clone(),
        machine: machine::look(&settings.disk),
        systems: systems.iter().map(|system| (system.name.clone(), system.version.clone())).collect(),
        rounds: settings.rounds,
        seconds: settings.measured.as_secs_f64(),
        samples: Vec::new(),
        million: Vec::new(),
        broken: Vec::new(),
    };
    for medium in &settings.media {
        measure_points(settings, &systems, medium, &mut results).await;
        if settings.wants(MILLION) {
            measure_million(settings, &systems, medium, &mut results).await;
        }
    }
    publish(settings, &results)
}

/// Every round of every group. A server that fails in one group still gets its turn in the others.
async fn measure_points(settings: &Settings, systems: &[System], medium: &str, results: &mut Results) {
    for round in 1..=settings.rounds {
        for (at, group) in GROUPS.iter().enumerate().filter(|(_, group)| settings.wants(group.name)) {
            for turn in points::order(systems.len(), round as usize + at) {
                let system = &systems[turn];
                match measure(settings, system, medium, round, group).await {
                    Ok(samples) => results.samples.extend(samples),
                    Err(error) => note(results, medium, group.name, system, &error),
                }
            }
        }
    }
}

async fn measure_million(settings: &Settings, systems: &[System], medium: &str, results: &mut Results) {
    for system in systems {
        eprintln!("bench: {medium}, {} keys, {}", settings.million, system.name);
        match measure_keys(settings, system, medium).await {
            Ok(found) => results.million.push(found),
            Err(error) => note(results, medium, MILLION, system, &error),
        }
    }
}

async fn measure_keys(settings: &Settings, system: &System, medium: &str) -> Result<Million> {
    let folder = settings.folder(medium)?;
    let live = std::io::stderr().is_terminal();
    million::measure(system, medium, folder.path(), settings.million, live).await
}

fn note(results: &mut Results, medium: &str, group: &str, system: &System, error: &anyhow::Error) {
    let text = format!("{}, {group} on {medium}: {error:#}", system.name);
    eprintln!("bench: FAILED: {text}");
    results.broken.push(text);
}

async fn measure(
    settings: &Settings,
    system: &System,
    medium: &str,
    round: u64,
    group: &Group,
) -> Result<Vec<Sample>> {
    // Dropped last: the server must have ended before its folder goes.
    let folder = settings.folder(medium)?;
    let mut server = Server::start(system, folder.path()).await?;
    let shape = |point: &Point, server: &Server| Shape {
        kind: point.kind,
        keys: point.keys,
        key_bytes: 8,
        value_bytes: 256,
        clients: point.clients,
        seed: round,
        authority: server.authority(),
    };
    if let Some(reader) = group.points.iter().find(|point| point.kind.needs().is_some()) {
        load::prepare(&shape(reader, &server), false).await?;
        // etcd 3.4 copies a buffer as large as the last burst of writes for every read until it is started
        // again. That would measure our way of preparing, and not its way of reading.
        server.stop().await?;
        server.restart(system, b"").await?;
    }
    let mut samples = Vec::new();
    for point in group.points {
        eprintln!("bench: {medium}, round {round}, {}, {}", system.name, point.label());
        let plan = Plan {
            shape: shape(point, &server),
            connections: CONNECTIONS,
            rate: None,
            until: Until::Elapsed { warm_up: WARM_UP, measured: settings.measured },
            live: std::io::stderr().is_terminal(),
            server_pid: Some(server.pid()),
        };
        let report = load::run(&plan).await?;
        if report.failures > 0 {
            eprintln!("bench: {} calls FAILED: {:?}", report.failures, report.failure_texts);
        }
        samples.push(Sample {
            medium: medium.to_owned(),
            point: point.label(),
            system: system.name.clone(),
            round,
            report,
            memory: server.memory()?,
        });
    }
    server.stop().await?;
    Ok(samples)
}

fn publish(settings: &Settings, results: &Results) -> Result<ExitCode> {
    let text = results.markdown();
    output::line(&text);
    std::fs::create_dir_all(&settings.results).context("cannot make the folder for results")?;
    let stem = format!("{}-{}", results.date, results.profile);
    let write = |ending: &str, text: &str| {
        let path = settings.results.join(format!("{stem}.{ending}"));
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    write("md", &text)?;
    write("json", &(serde_json::to_string_pretty(results)? + "\n"))?;
    let failures: u64 = results.samples.iter().map(|sample| sample.report.failures).sum();
    if failures > 0 || !results.broken.is_empty() {
        bail!("{failures} calls and {} groups failed; the report shows where", results.broken.len());
    }
    Ok(ExitCode::SUCCESS)
}
