//! From samples to a table: medians over the rounds, and ratios of the first system to the others.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::join::Join;
use super::machine::Machine;
use super::million::Million;
use super::streams::{self, Flow};
use crate::load::Report;
use crate::proc::Memory;

/// One point measured once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Sample {
    /// tmpfs or disk.
    pub(super) medium: String,
    /// The point's name.
    pub(super) point: String,
    /// The server's name.
    pub(super) system: String,
    /// Counted from one.
    pub(super) round: u64,
    /// What the load generator found.
    pub(super) report: Report,
    /// The memory of all servers together right after.
    pub(super) memory: Memory,
    /// Terms that went by meanwhile: the leader was lost so often.
    pub(super) elections: u64,
}

/// Everything that a comparison found.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Results {
    /// Day of the run, UTC.
    pub(super) date: String,
    /// Name of the profile.
    pub(super) profile: String,
    /// Where.
    pub(super) machine: Machine,
    /// Names and versions, in the order of the command line.
    pub(super) systems: Vec<(String, String)>,
    /// Members of each cluster; one for servers alone.
    pub(super) members: usize,
    /// Rounds, whose median is shown.
    pub(super) rounds: u64,
    /// Measured seconds of each point.
    pub(super) seconds: f64,
    /// Every point of every round.
    pub(super) samples: Vec<Sample>,
    /// The case with many keys, measured once.
    pub(super) million: Vec<Million>,
    /// The case in which a member joins many keys, measured once.
    pub(super) joins: Vec<Join>,
    /// Every scenario with streams of every round.
    pub(super) flows: Vec<Flow>,
    /// Groups that a server did not get through, and why.
    pub(super) broken: Vec<String>,
}

/// The median; of an even number of values the mean of the two in the middle; of none, zero.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

/// How many times `other` is contained in `ours`; nothing when there is nothing to compare with.
fn ratio(ours: f64, other: f64) -> Option<f64> {
    (ours.is_finite() && other.is_finite() && other > 0.0).then(|| ours / other)
}

/// The medians of one point of one system.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Row {
    throughput: f64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    cpu_us: f64,
    rss_mib: f64,
    anon_mib: f64,
    peak_mib: f64,
    client_us: f64,
    foreign: f64,
    failures: u64,
}

impl Row {
    fn of(samples: &[&Sample]) -> Self {
        let over = |value: fn(&Sample) -> f64| {
            median(&samples.iter().map(|sample| value(sample)).collect::<Vec<f64>>())
        };
        Self {
            throughput: over(|sample| sample.report.throughput),
            p50_us: over(|sample| sample.report.latency_us.p50),
            p99_us: over(|sample| sample.report.latency_us.p99),
            p999_us: over(|sample| sample.report.latency_us.p999),
            cpu_us: over(|sample| sample.report.server_cpu_us.unwrap_or(0.0)),
            rss_mib: over(|sample| mib(sample.memory.rss_kib)),
            anon_mib: over(|sample| mib(sample.memory.anon_kib)),
            peak_mib: over(|sample| mib(sample.memory.peak_kib)),
            client_us: over(|sample| sample.report.client_cpu_us),
            foreign: over(|sample| sample.report.foreign_cpu.unwrap_or(0.0)),
            failures: samples.iter().map(|sample| sample.report.failures).sum(),
        }
    }
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// A table of cells, aligned so that it reads well as plain text and as Markdown.
pub(super) struct Grid {
    /// Names of the columns.
    pub(super) head: Vec<String>,
    /// Cells of each row.
    pub(super) rows: Vec<Vec<String>>,
}

impl Grid {
    /// Appends it to `out`.
    pub(super) fn render(&self, out: &mut String) {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain([self.head[column].chars().count(), 3]).max().unwrap_or(3)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let mut line = |cells: &mut dyn Iterator<Item = &str>| {
            for (column, (cell, width)) in cells.zip(&widths).enumerate() {
                // Writing into a string cannot fail, here and below. Names stand left, numbers right.
                let _ = if column < 2 {
                    write!(out, "| {cell:<width$} ")
                } else {
                    write!(out, "| {cell:>width$} ")
                };
            }
            out.push_str("|\n");
        };
        line(&mut self.head.iter().map(String::as_str));
        let dashes: Vec<String> = widths
            .iter()
            .enumerate()
            .map(|(column, &width)| if column < 2 { "-".repeat(width) } else { "-".repeat(width - 1) + ":" })
            .collect();
        line(&mut dashes.iter().map(String::as_str));
        for row in &self.rows {
            line(&mut row.iter().map(String::as_str));
        }
        out.push('\n');
    }
}

impl Results {
    /// The whole report as Markdown.
    pub(super) fn markdown(&self) -> String {
        let mut out = String::new();
        let Machine { cores, processor, memory_mib, kernel, disk } = &self.machine;
        let servers = match self.members {
            1 => "server".to_owned(),
            count => format!("the {count} members of one cluster"),
        };
        let _ = writeln!(
            out,
            "# Comparison, {}, profile {}\n\n{cores} cores ({processor}), {memory_mib} MiB, Linux {kernel}; disk: \
             {disk}. Load generator and {servers} share the cores. {} round(s) of {} s for each point, medians.\n",
            self.date, self.profile, self.rounds, self.seconds
        );
        for (name, version) in &self.systems {
            let _ = writeln!(out, "- `{name}`: {version}");
        }
        out.push('\n');
        for medium in ["tmpfs", "disk"] {
            self.points(medium, &mut out);
            self.million(medium, &mut out);
            self.joins(medium, &mut out);
        }
        streams::render(self, &mut out);
        for sample in self.samples.iter().filter(|sample| sample.elections > 0) {
            let Sample { medium, point, system, round, elections, .. } = sample;
            let _ = writeln!(
                out,
                "**Elections**: {elections} terms in {system}, {point} on {medium}, round {round}\n"
            );
        }
        for text in &self.broken {
            let _ = writeln!(out, "**Not measured**: {text}\n");
        }
        out.push_str(
            "RSS of etcd includes the pages of its database that it maps; `anon` is the part that belongs to no \
             file. `generator` is the load generator's own processor time for each operation; `others` is what \
             processes outside the measurement took of the machine.\n",
        );
        out
    }

    fn row(&self, medium: &str, point: &str, system: &str) -> Option<Row> {
        let same =
            |sample: &&Sample| sample.medium == medium && sample.point == point && sample.system == system;
        let samples: Vec<&Sample> = self.samples.iter().filter(same).collect();
        (!samples.is_empty()).then(|| Row::of(&samples))
    }

    fn points(&self, medium: &str, out: &mut String) {
        let mut labels: Vec<&str> = Vec::new();
        for sample in self.samples.iter().filter(|sample| sample.medium == medium) {
            if !labels.contains(&sample.point.as_str()) {
                labels.push(&sample.point);
            }
        }
        if labels.is_empty() {
            return;
        }
        let _ = writeln!(out, "## On {medium}\n");
        let head = vec![
            "workload",
            "system",
            "ops/s",
            "p50 ms",
            "p99 ms",
            "p99.9 ms",
            "server CPU us/op",
            "RSS MiB",
            "anon",
            "peak",
            "generator",
            "others",
            "errors",
        ];
        let mut grid = Grid { head: names(&head), rows: Vec::new() };
        for label in labels {
            let found: Vec<(&str, Row)> = self
                .systems
                .iter()
                .filter_map(|(name, _)| Some((name.as_str(), self.row(medium, label, name)?)))
                .collect();
            grid.rows.extend(found.iter().map(|(name, row)| cells(label, name, row)));
            if let Some(((ours, our_row), others)) = found.split_first() {
                grid.rows.extend(
                    others.iter().map(|(name, row)| ratios(&format!("{ours} / {name}"), our_row, row)),
                );
            }
        }
        grid.render(out);
    }

    fn joins(&self, medium: &str, out: &mut String) {
        let found: Vec<&Join> = self.joins.iter().filter(|join| join.medium == medium).collect();
        let Some(first) = found.first() else { return };
        let _ = writeln!(
            out,
            "### A new member comes to {} keys with 256-byte values, on {medium}\n",
            first.keys
        );
        let head = vec![
            "what",
            "system",
            "fill keys/s",
            "fill CPU us/key",
            "caught up s",
            "voter s",
            "CPU s others",
            "newcomer",
            "peak MiB newcomer",
            "its disk MiB",
            "peak MiB leader",
            "its disk",
        ];
        let named = |name: &str| found.iter().find(|join| join.system == name).map(|join| join_numbers(join));
        let ordered: Vec<(&str, [f64; 10])> =
            self.systems.iter().filter_map(|(name, _)| Some((name.as_str(), named(name)?))).collect();
        let row = |what: &str, system: &str, numbers: Vec<String>| {
            [vec![what.to_owned(), system.to_owned()], numbers].concat()
        };
        let mut grid = Grid { head: names(&head), rows: Vec::new() };
        for (name, numbers) in &ordered {
            grid.rows.push(row("join", name, numbers.map(short).to_vec()));
        }
        if let Some(((ours, our_numbers), others)) = ordered.split_first() {
            for (other, numbers) in others {
                let ratios = our_numbers.iter().zip(numbers).map(|(&ours, &other)| times(ours, other));
                grid.rows.push(row("", &format!("{ours} / {other}"), ratios.collect()));
            }
        }
        grid.render(out);
    }

    fn million(&self, medium: &str, out: &mut String) {
        let found: Vec<&Million> = self.million.iter().filter(|million| million.medium == medium).collect();
        let Some(first) = found.first() else { return };
        let _ = writeln!(out, "### {} keys of 8 bytes with 256-byte values, on {medium}\n", first.keys);
        let mut grid = Grid {
            head: names(&[
                "what",
                "system",
                "fill keys/s",
                "fill CPU us/key",
                "RSS MiB",
                "anon",
                "peak",
                "disk MiB",
                "restart s",
                "RSS then",
                "kill -9 s",
                "page ms first",
                "middle",
                "last",
                "max",
                "walk s",
            ]),
            rows: Vec::new(),
        };
        let ordered: Vec<&Million> = self
            .systems
            .iter()
            .filter_map(|(name, _)| found.iter().copied().find(|million| million.system == *name))
            .collect();
        for million in &ordered {
            let mut row = vec!["keys".to_owned(), million.system.clone()];
            row.extend(million_numbers(million).map(short));
            grid.rows.push(row);
        }
        if let Some((ours, others)) = ordered.split_first() {
            for other in others {
                let mut row = vec![String::new(), format!("{} / {}", ours.system, other.system)];
                let pairs = million_numbers(ours).into_iter().zip(million_numbers(other));
                row.extend(pairs.map(|(ours, other)| times(ours, other)));
                grid.rows.push(row);
            }
        }
        grid.render(out);
    }
}

fn join_numbers(join: &Join) -> [f64; 10] {
    let mib_of = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    [
        join.fill.throughput,
        join.fill.server_cpu_us.unwrap_or(0.0),
        join.caught_up_seconds,
        join.voter_seconds,
        join.others_cpu_seconds,
        join.newcomer_cpu_seconds,
        mib(join.newcomer.peak_kib),
        mib_of(join.newcomer_disk_bytes),
        mib(join.leader.peak_kib),
        mib_of(join.leader_disk_bytes),
    ]
}

fn cells(label: &str, name: &str, row: &Row) -> Vec<String> {
    vec![
        label.to_owned(),
        name.to_owned(),
        short(row.throughput),
        format!("{:.2}", row.p50_us / 1000.0),
        format!("{:.2}", row.p99_us / 1000.0),
        format!("{:.2}", row.p999_us / 1000.0),
        short(row.cpu_us),
        short(row.rss_mib),
        short(row.anon_mib),
        short(row.peak_mib),
        short(row.client_us),
        format!("{:.0}%", row.foreign * 100.0),
        row.failures.to_string(),
    ]
}

fn ratios(name: &str, ours: &Row, other: &Row) -> Vec<String> {
    vec![
        String::new(),
        name.to_owned(),
        times(ours.throughput, other.throughput),
        times(ours.p50_us, other.p50_us),
        times(ours.p99_us, other.p99_us),
        times(ours.p999_us, other.p999_us),
        times(ours.cpu_us, other.cpu_us),
        times(ours.rss_mib, other.rss_mib),
        times(ours.anon_mib, other.anon_mib),
        times(ours.peak_mib, other.peak_mib),
        String::new(),
        String::new(),
        String::new(),
    ]
}

fn million_numbers(million: &Million) -> [f64; 14] {
    let Million { fill, memory, memory_restarted, walk, .. } = million;
    [
        fill.throughput,
        fill.server_cpu_us.unwrap_or(0.0),
        mib(memory.rss_kib),
        mib(memory.anon_kib),
        mib(memory.peak_kib),
        million.disk_bytes as f64 / f64::from(1 << 20),
        million.restart_seconds,
        mib(memory_restarted.rss_kib),
        million.crash_seconds,
        walk.first_ms,
        walk.middle_ms,
        walk.last_ms,
        walk.max_ms,
        walk.seconds,
    ]
}

fn names(head: &[&str]) -> Vec<String> {
    head.iter().map(|&name| name.to_owned()).collect()
}

/// Three digits that matter, and never an exponent.
pub(super) fn short(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A ratio as text.
pub(super) fn times(ours: f64, other: f64) -> String {
    ratio(ours, other).map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}x"))
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
