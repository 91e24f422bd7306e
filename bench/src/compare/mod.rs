//! Servers side by side: the same load on each, one after the other, in turns.
//!
//! Only one server or cluster runs at a time, on a fresh data folder for each group of points. The order changes
//! with every round and group, so that a machine that slows down does not always hit the same one.

mod cluster;
mod filling;
mod join;
mod machine;
mod million;
mod points;
mod server;
mod slow;
mod streams;
mod systems;
mod table;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use self::cluster::Cluster;
use self::join::Join;
use self::million::Million;
use self::points::{CLUSTER_GROUPS, GROUPS, Group, JOIN, MILLION, Place, Point};
use self::slow::Slowed;
use self::systems::System;
use self::table::{Results, Sample};
use crate::load::{self, CONNECTIONS, Plan, Report, Until};
use crate::output;
use crate::stream;
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
    /// Members of each cluster; one for servers alone.
    pub(crate) members: usize,
    /// Where the clients of a cluster may be: leader, spread; none means both.
    pub(crate) places: Vec<String>,
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
    /// Divides the counts of scenarios with streams.
    pub(crate) scale: u64,
    /// The folder for the result files.
    pub(crate) results: PathBuf,
}

impl Settings {
    fn wants(&self, group: &str) -> bool {
        self.groups.is_empty() || self.groups.iter().any(|name| name == group)
    }

    /// The lists of points; the name of the case with many keys.
    fn groups(&self) -> (&'static [Group], &'static str) {
        if self.members == 1 { (&GROUPS, MILLION) } else { (&CLUSTER_GROUPS, JOIN) }
    }

    /// The points of `group` that are wanted.
    fn points(&self, group: &Group) -> impl Iterator<Item = &'static Point> {
        let wants = |place| {
            let name = match place {
                None => return true,
                Some(Place::Leader) => "leader",
                Some(Place::Spread) => "spread",
            };
            self.places.is_empty() || self.places.iter().any(|wanted| wanted == name)
        };
        group.points.iter().filter(move |point| wants(point.place))
    }

    fn check(&self) -> Result<()> {
        let (groups, many) = self.groups();
        for name in &self.groups {
            let streams = if self.members == 1 { stream::groups() } else { Vec::new() };
            let names: Vec<&str> =
                groups.iter().map(|group| group.name).chain([many]).chain(streams).collect();
            ensure!(names.contains(&name.as_str()), "unknown group {name}: there are {}", names.join(", "));
        }
        for name in &self.places {
            ensure!(
                name == "leader" || name == "spread",
                "unknown place {name}: there are leader and spread"
            );
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
        let (groups, many) = self.groups();
        let wanted = groups.iter().filter(|group| self.wants(group.name));
        let point = (self.measured + WARM_UP).as_secs_f64() + 0.5;
        // Starting a server, filling it and starting it again take some seconds for each group.
        let round: f64 = wanted.map(|group| 5.0 + self.points(group).count() as f64 * point).sum();
        let million = if self.wants(many) { 20.0 + self.million as f64 / 25_000.0 } else { 0.0 };
        let each = round * self.rounds as f64 + million;
        let all = each * self.systems.len() as f64 * self.media.len() as f64;
        all as u64 + streams::estimate(self)
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
        members: settings.members,
        rounds: settings.rounds,
        seconds: settings.measured.as_secs_f64(),
        samples: Vec::new(),
        million: Vec::new(),
        joins: Vec::new(),
        flows: Vec::new(),
        broken: Vec::new(),
    };
    for medium in &settings.media {
        measure_points(settings, &systems, medium, &mut results).await;
        let (_, many) = settings.groups();
        if settings.wants(many) {
            measure_million(settings, &systems, medium, &mut results).await;
        }
    }
    if settings.members == 1 {
        streams::measure(settings, &systems, &mut results).await;
    }
    publish(settings, &results)
}

/// Every round of every group. A server that fails in one group still gets its turn in the others.
async fn measure_points(settings: &Settings, systems: &[System], medium: &str, results: &mut Results) {
    for round in 1..=settings.rounds {
        let wanted = settings.groups().0.iter().enumerate().filter(|(_, group)| settings.wants(group.name));
        for (at, group) in wanted {
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
        let done = if settings.members == 1 {
            measure_keys(settings, system, medium).await.map(|found| results.million.push(found))
        } else {
            measure_join(settings, system, medium).await.map(|found| results.joins.push(found))
        };
        if let Err(error) = done {
            note(results, medium, settings.groups().1, system, &error);
        }
    }
}

async fn measure_keys(settings: &Settings, system: &System, medium: &str) -> Result<Million> {
    let folder = settings.folder(medium)?;
    let live = std::io::stderr().is_terminal();
    million::measure(system, medium, folder.path(), settings.million, live).await
}

async fn measure_join(settings: &Settings, system: &System, medium: &str) -> Result<Join> {
    let folder = settings.folder(medium)?;
    let live = std::io::stderr().is_terminal();
    join::measure(system, medium, folder.path(), (settings.members, settings.million), live).await
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
    // Dropped last: the servers must have ended before their folder goes.
    let folder = settings.folder(medium)?;
    let mut cluster = Cluster::start(system, folder.path(), settings.members).await?;
    if let Some(reader) = group.points.iter().find(|point| point.kind.needs().is_some()) {
        let leader = cluster.leader().await?.at;
        load::prepare(&shape(reader, round, cluster.endpoints(Place::Leader, leader, None)), false).await?;
        // etcd 3.4 copies a buffer as large as the last burst of writes for every read until it is started
        // again. That would measure our way of preparing, and not its way of reading.
        cluster.stop().await?;
        cluster.restart(system).await?;
    }
    let mut samples = Vec::new();
    for point in settings.points(group) {
        eprintln!("bench: {medium}, round {round}, {}, {}", system.name, point.label());
        let (report, elections) = measure_point(settings, &cluster, point, round).await?;
        if report.failures > 0 {
            eprintln!("bench: {} calls FAILED: {:?}", report.failures, report.failure_texts);
        }
        samples.push(Sample {
            medium: medium.to_owned(),
            point: point.label(),
            system: system.name.clone(),
            round,
            report,
            memory: cluster.memory()?,
            elections,
        });
    }
    cluster.stop().await?;
    Ok(samples)
}

fn shape(point: &Point, seed: u64, endpoints: Vec<String>) -> Shape {
    Shape {
        kind: point.kind,
        keys: point.keys,
        key_bytes: 8,
        value_bytes: 256,
        clients: point.clients,
        seed,
        endpoints,
    }
}

/// One point, and how many terms went by meanwhile.
async fn measure_point(
    settings: &Settings,
    cluster: &Cluster,
    point: &Point,
    round: u64,
) -> Result<(Report, u64)> {
    let leader = cluster.leader().await?;
    let slow = point.slow.then_some((leader.at + 1) % settings.members);
    let endpoints = cluster.endpoints(point.place.unwrap_or(Place::Leader), leader.at, slow);
    let slowed = slow.map(|at| Slowed::start(cluster.servers()[at].pid_handle()?)).transpose()?;
    let plan = Plan {
        connections: CONNECTIONS.next_multiple_of(endpoints.len()),
        shape: shape(point, round, endpoints),
        rate: None,
        until: Until::Elapsed { warm_up: WARM_UP, measured: settings.measured },
        live: std::io::stderr().is_terminal(),
        token: None,
        server_pids: cluster.pids(),
    };
    let report = load::run(&plan).await?;
    drop(slowed);
    Ok((report, cluster.leader().await?.term.saturating_sub(leader.term)))
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
