//! Scenarios with streams, each on a fresh server, one system after the other in turns.
//!
//! They run on the first medium only: what they ask about lies between the socket and the heart.

use std::fmt::Write as _;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::server::Server;
use super::systems::System;
use super::table::{Grid, Results, median, short, times};
use super::{Settings, note, points};
use crate::stream::{Entry, Figure, SCENARIOS, Target};

/// One scenario once on one server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Flow {
    /// tmpfs or disk.
    pub(super) medium: String,
    /// The scenario's name.
    pub(super) scenario: String,
    /// What was done.
    pub(super) title: String,
    /// The server's name.
    pub(super) system: String,
    /// Counted from one.
    pub(super) round: u64,
    /// What was found.
    pub(super) figures: Vec<Figure>,
}

fn wanted(settings: &Settings) -> impl Iterator<Item = (usize, &'static Entry)> {
    SCENARIOS.iter().enumerate().filter(|(_, entry)| settings.wants(entry.group))
}

/// A rough guess in seconds.
pub(super) fn estimate(settings: &Settings) -> u64 {
    if settings.members > 1 {
        return 0;
    }
    let round: u64 = wanted(settings).map(|(_, entry)| entry.scenario.seconds() + 2).sum();
    round * settings.rounds * settings.systems.len() as u64
}

/// Every round of every scenario that is wanted.
pub(super) async fn measure(settings: &Settings, systems: &[System], results: &mut Results) {
    let Some(medium) = settings.media.first() else { return };
    for round in 1..=settings.rounds {
        for (at, entry) in wanted(settings) {
            for turn in points::order(systems.len(), round as usize + at) {
                let system = &systems[turn];
                eprintln!("bench: {medium}, round {round}, {}, {}", system.name, entry.name);
                match run(settings, system, medium, entry).await {
                    Ok(figures) => results.flows.push(Flow {
                        medium: medium.clone(),
                        scenario: entry.name.to_owned(),
                        title: entry.scenario.title(settings.scale),
                        system: system.name.clone(),
                        round,
                        figures,
                    }),
                    Err(error) => note(results, medium, entry.name, system, &error),
                }
            }
        }
    }
}

async fn run(settings: &Settings, system: &System, medium: &str, entry: &Entry) -> Result<Vec<Figure>> {
    // Dropped last: the server must have ended before its folder goes.
    let folder = settings.folder(medium)?;
    let mut server = Server::start(system, folder.path()).await?;
    let target = |server: &Server| Target { authority: server.authority(), pid: server.pid() };
    entry.scenario.prepare(&target(&server), settings.scale).await?;
    if entry.scenario.restarts() {
        server.stop().await?;
        server.restart(system, b"").await?;
    }
    let figures = entry.scenario.measure(&target(&server), settings.scale).await;
    // A server that ended explains a failure better than the connection that it broke.
    server.is_alive()?;
    if figures.is_ok() {
        server.stop().await?;
    }
    figures
}

/// Appends the table: a row for each figure, a column for each system.
pub(super) fn render(results: &Results, out: &mut String) {
    let Some(first) = results.flows.first() else { return };
    let _ = writeln!(out, "## Streams, on {}\n", first.medium);
    let systems: Vec<&str> = results
        .systems
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| results.flows.iter().any(|flow| flow.system == *name))
        .collect();
    let mut head = vec!["scenario".to_owned(), "figure".to_owned()];
    head.extend(systems.iter().map(|&name| name.to_owned()));
    if let Some((ours, others)) = systems.split_first() {
        head.extend(others.iter().map(|name| format!("{ours} / {name}")));
    }
    head.extend(["wanted".to_owned(), "reached".to_owned()]);
    let mut grid = Grid { head, rows: Vec::new() };
    for entry in &SCENARIOS {
        let flows: Vec<&Flow> = results.flows.iter().filter(|flow| flow.scenario == entry.name).collect();
        rows(&flows, &systems, &mut grid);
    }
    grid.render(out);
}

fn rows(flows: &[&Flow], systems: &[&str], grid: &mut Grid) {
    let Some(first) = flows.first() else { return };
    for (at, figure) in first.figures.iter().enumerate() {
        let of = |system: &str| {
            let values: Vec<f64> = flows
                .iter()
                .filter(|flow| flow.system == system)
                .filter_map(|flow| flow.figures.iter().find(|found| found.name == figure.name))
                .map(|found| found.value)
                .collect();
            (!values.is_empty()).then(|| median(&values))
        };
        let values: Vec<Option<f64>> = systems.iter().map(|system| of(system)).collect();
        let mut row = vec![if at == 0 { first.title.clone() } else { String::new() }, figure.name.clone()];
        row.extend(values.iter().map(|value| value.map_or_else(|| "-".to_owned(), short)));
        let ours = values.first().copied().flatten();
        let others = values.get(1..).unwrap_or_default();
        row.extend(others.iter().map(|other| match (ours, other) {
            (Some(ours), Some(other)) => times(ours, *other),
            _ => "-".to_owned(),
        }));
        let against = others.first().copied().flatten();
        let reached = ours.and_then(|ours| Figure::is_reached(ours, figure.wanted, against));
        row.push(figure.wanted.text());
        row.push(reached.map_or("", |reached| if reached { "yes" } else { "no" }).to_owned());
        grid.rows.push(row);
    }
}
