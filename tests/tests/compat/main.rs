//! The same requests to real etcd, 3.4.23 and for v2 and v3 3.5.1 too, and to us: the answers may differ only where
//! docs/COMPATIBILITY.md says so, and every difference that it lists must still be seen.
//!
//! Each scenario runs on two fresh servers, so that revisions and indexes agree from the first request on.
//! The answers are left in the target folder (`tmp/compat/`), one file per scenario and server.
//! `COMPAT_ONLY` names one scenario; `CLUSTER_OF=etcd` compares etcd with itself, to test the test.

mod bridge;
mod exchange;
mod scenario;
mod streams;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, thread};

use ::tests::allowed::{self, Allowed, Difference};
use ::tests::answer::{Answer, differences};
use ::tests::{Program, Release};
use anyhow::Context;

use crate::exchange::Side;
use crate::scenario::{Scenario, Step};

/// The issues ask for this many at least: of v2 and of v3, to each of both.
const V2_REQUESTS_MIN: usize = 400;
const V3_REQUESTS_MIN: usize = 600;

/// Scenarios that run at the same time, each with two servers.
const WORKERS: usize = 3;

/// Values in a report are cut after this many characters.
const SHOWN_MAX: usize = 600;

/// What is compared with what.
#[derive(Clone, Copy, Debug)]
struct Against {
    release: Release,
    /// Ours shows v3's keys in v2.
    bridged: bool,
}

/// What a run found.
#[derive(Debug, Default)]
struct Findings {
    v2_requests: usize,
    v3_requests: usize,
    other_requests: usize,
    refused: Vec<String>,
    used: BTreeMap<usize, usize>,
}

#[test]
fn answers_are_those_of_etcd_3_4_where_not_said_otherwise() {
    if let Err(error) = compare_all(Release::Debian, "## Allowed differences") {
        panic!("{error:#}");
    }
}

#[test]
fn answers_are_those_of_etcd_3_5_where_not_said_otherwise() {
    if let Err(error) = compare_all(Release::Pypi, "## Allowed differences from 3.5.1") {
        panic!("{error:#}");
    }
}

impl Findings {
    fn requests_of(&mut self, scenario: &str) -> &mut usize {
        if scenario.starts_with("v2-") {
            &mut self.v2_requests
        } else if V3.iter().any(|begin| scenario.starts_with(begin)) {
            &mut self.v3_requests
        } else {
            &mut self.other_requests
        }
    }

    fn add(&mut self, run: Self) {
        self.v2_requests = self.v2_requests.saturating_add(run.v2_requests);
        self.v3_requests = self.v3_requests.saturating_add(run.v3_requests);
        self.other_requests = self.other_requests.saturating_add(run.other_requests);
        self.refused.extend(run.refused);
        for (row, times) in run.used {
            let sum = self.used.entry(row).or_default();
            *sum = sum.saturating_add(times);
        }
    }
}

fn compare_all(release: Release, heading: &str) -> anyhow::Result<()> {
    let etcd = Program::release(release)?;
    let itself = env::var("CLUSTER_OF").as_deref() == Ok("etcd");
    let ours = if itself { etcd.clone() } else { Program::kvorum()? };
    let only = env::var("COMPAT_ONLY").ok();
    let mut scenarios = scenario::all(&tests::root().join("tests/compat"))?;
    // What is neither v2 nor v3 is about 3.4's own HTTP.
    scenarios.retain(|scenario| release == Release::Debian || is_newer(&scenario.name));
    scenarios.retain(|scenario| only.as_ref().is_none_or(|only| *only == scenario.name));
    // A difference from 3.4 is one from 3.5 too, where the same is seen there.
    let mut allowed = allowed::rows(heading)?;
    let own = allowed.len();
    if release != Release::Debian {
        allowed.extend(allowed::rows("## Allowed differences")?);
    }
    let against = Against { release, bridged: false };
    let findings = run_all(&scenarios, &allowed, &etcd, &ours, against);

    let mut report = findings.refused.join("\n");
    let unused = allowed::unused(allowed.get(..own).unwrap_or_default(), &findings.used);
    if !unused.is_empty() && only.is_none() && !itself {
        writeln!(report, "listed in docs/COMPATIBILITY.md, but seen nowhere: {unused:?}")?;
    }
    let (v2, v3) = (findings.v2_requests, findings.v3_requests);
    if (v2 < V2_REQUESTS_MIN || v3 < V3_REQUESTS_MIN) && only.is_none() {
        writeln!(report, "{v2} requests of v2 and {v3} of v3 are fewer than there were")?;
    }
    eprintln!(
        "etcd {}: {v2} requests of v2, {v3} of v3 and {} others in {} scenarios: {} differences that are allowed, {} that \
         are not",
        release.version(),
        findings.other_requests,
        scenarios.len(),
        findings.used.values().sum::<usize>(),
        findings.refused.len()
    );
    anyhow::ensure!(report.is_empty(), "\n{report}");
    Ok(())
}

/// Scenarios that 3.5.1 cannot play: it loses a change of members that comes right after another, and refuses to
/// change a v2 directory.
const OLDER_ONLY: [&str; 5] =
    ["grpc-members", "json-members", "json-members-urls", "v2-members", "v2-dirs-update"];

/// How the names of scenarios about v3 begin.
const V3: [&str; 3] = ["json-", "grpc-", "stream-"];

fn is_newer(name: &str) -> bool {
    let is_api = V3.iter().chain(&["v2-"]).any(|begin| name.starts_with(begin));
    is_api && !OLDER_ONLY.contains(&name)
}

fn run_all(
    scenarios: &[Scenario],
    allowed: &[Allowed],
    etcd: &Program,
    kvorum: &Program,
    against: Against,
) -> Findings {
    let next = AtomicUsize::new(0);
    let findings = Mutex::new(Findings::default());
    thread::scope(|scope| {
        let work = || {
            while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
                let run = run(scenario, allowed, etcd, kvorum, against);
                let run = run.unwrap_or_else(|error| Findings {
                    refused: vec![format!("{}: {error:#}", scenario.name)],
                    ..Findings::default()
                });
                findings.lock().expect("no worker panics while it holds this").add(run);
            }
        };
        for _ in 0..WORKERS {
            scope.spawn(work);
        }
    });
    let mut findings = findings.into_inner().expect("no worker panics while it holds this");
    findings.refused.sort();
    findings
}

fn run(
    scenario: &Scenario,
    allowed: &[Allowed],
    etcd: &Program,
    kvorum: &Program,
    against: Against,
) -> anyhow::Result<Findings> {
    let Against { release, bridged } = against;
    let kvorum = if bridged { Side::start_bridged(kvorum) } else { Side::start(kvorum) };
    let (mut etcd, mut kvorum) = (Side::start(etcd)?, kvorum?);
    let mut findings = Findings::default();
    let mut transcripts = [String::new(), String::new()];
    for step in &scenario.steps {
        let place = format!("{}.txt:{}", scenario.name, step.line);
        let mut theirs = etcd.ask(step).with_context(|| format!("{place} to etcd"))?;
        let mut ours = kvorum.ask(step).with_context(|| format!("{place} to Kvorum"))?;
        if bridged {
            bridge::leave_out(&mut theirs, step);
            bridge::leave_out(&mut ours, step);
        }
        let requests = findings.requests_of(&scenario.name);
        *requests = requests.saturating_add(1);
        let status = exchange::status_of(&theirs, step);
        let expected = step.expected(release);
        if status != expected {
            findings
                .refused
                .push(format!("{place} {}\n  etcd answers {status}, expected is {expected}", step.title));
        }
        judge(&mut findings, scenario, step, allowed, (&theirs, &ours))?;
        for (transcript, answer) in transcripts.iter_mut().zip([&theirs, &ours]) {
            write_answer(transcript, step, answer)?;
        }
    }
    let version = release.version();
    let beside = if bridged { "-bridge" } else { "" };
    keep(scenario, &format!("etcd-{version}{beside}"), &transcripts[0])?;
    keep(scenario, &format!("kvorum-{version}{beside}"), &transcripts[1])?;
    Ok(findings)
}

fn judge(
    findings: &mut Findings,
    scenario: &Scenario,
    step: &Step,
    allowed: &[Allowed],
    (theirs, ours): (&Answer, &Answer),
) -> anyhow::Result<()> {
    let request = format!("{}: {}", scenario.name, step.title);
    let mut refused = String::new();
    for (part, etcd, ours) in differences(theirs, ours) {
        match allowed::find(allowed, Difference { request: &request, part, etcd, ours }) {
            Some(row) => {
                let times = findings.used.entry(row).or_default();
                *times = times.saturating_add(1);
            }
            None => write!(refused, "\n  {part}\n    etcd   {}\n    Kvorum {}", shown(etcd), shown(ours))?,
        }
    }
    if !refused.is_empty() {
        findings.refused.push(format!("{}.txt:{} {}{refused}", scenario.name, step.line, step.title));
    }
    Ok(())
}

fn shown(value: &str) -> String {
    let cut: String = value.chars().take(SHOWN_MAX).collect();
    format!("{cut:?}")
}

fn write_answer(transcript: &mut String, step: &Step, answer: &Answer) -> anyhow::Result<()> {
    writeln!(
        transcript,
        "{}: {}\n  status of the file: {}",
        step.line,
        step.title,
        exchange::status_of(answer, step)
    )?;
    for (part, value) in answer.parts() {
        writeln!(transcript, "  {part}: {}", shown(value))?;
    }
    Ok(())
}

fn keep(scenario: &Scenario, server: &str, transcript: &str) -> anyhow::Result<()> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("compat");
    fs::create_dir_all(&folder).context("make the folder of transcripts")?;
    let file = folder.join(format!("{}.{server}.txt", scenario.name));
    fs::write(&file, transcript).with_context(|| format!("write {}", file.display()))
}
