//! The same requests to real etcd 3.4.23 and to us: the answers may differ only where docs/COMPATIBILITY.md
//! says so, and every difference that it lists must still be seen.
//!
//! Each scenario runs on two fresh servers, so that revisions and indexes agree from the first request on.
//! The answers are left in the target folder (`tmp/compat/`), one file per scenario and server.

mod exchange;
mod scenario;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, thread};

use ::tests::allowed::{self, Allowed, Difference};
use ::tests::answer::{Answer, differences};
use ::tests::node::Flavor;
use ::tests::{Node, Program};
use anyhow::Context;

use crate::exchange::Names;
use crate::scenario::{Scenario, Step};

/// The issue asks for this many at least.
const REQUESTS_MIN: usize = 300;

/// Scenarios that run at the same time, each with two servers.
const WORKERS: usize = 3;

/// Values in a report are cut after this many characters.
const SHOWN_MAX: usize = 600;

/// What a run found.
#[derive(Debug, Default)]
struct Findings {
    requests: usize,
    refused: Vec<String>,
    used: BTreeMap<usize, usize>,
}

#[test]
fn answers_are_those_of_etcd_where_not_said_otherwise() {
    if let Err(error) = compare_all() {
        panic!("{error:#}");
    }
}

fn compare_all() -> anyhow::Result<()> {
    let (etcd, kvorum) = (Program::etcd()?, Program::kvorum()?);
    let folder = tests::root().join("tests/compat");
    let scenarios = scenario::all(&folder)?;
    let allowed = allowed::rows("## Allowed differences")?;
    let findings = run_all(&scenarios, &allowed, &etcd, &kvorum)?;

    let mut report = String::new();
    for refused in &findings.refused {
        writeln!(report, "{refused}")?;
    }
    let unused = allowed::unused(&allowed, &findings.used);
    if !unused.is_empty() {
        writeln!(report, "listed in docs/COMPATIBILITY.md, but seen nowhere: {unused:?}")?;
    }
    if findings.requests < REQUESTS_MIN {
        writeln!(report, "{} requests are fewer than {REQUESTS_MIN}", findings.requests)?;
    }
    eprintln!(
        "{} requests in {} scenarios: {} differences that are allowed, {} that are not",
        findings.requests,
        scenarios.len(),
        findings.used.values().sum::<usize>(),
        findings.refused.len()
    );
    anyhow::ensure!(report.is_empty(), "\n{report}");
    Ok(())
}

fn run_all(
    scenarios: &[Scenario],
    allowed: &[Allowed],
    etcd: &Program,
    kvorum: &Program,
) -> anyhow::Result<Findings> {
    let next = AtomicUsize::new(0);
    let findings = Mutex::new(Findings::default());
    thread::scope(|scope| {
        let work = || -> anyhow::Result<()> {
            while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
                let run = run(scenario, allowed, etcd, kvorum).with_context(|| scenario.name.clone())?;
                let mut findings = findings.lock().expect("no worker panics while it holds this");
                findings.requests = findings.requests.saturating_add(run.requests);
                findings.refused.extend(run.refused);
                for (row, times) in run.used {
                    let sum = findings.used.entry(row).or_default();
                    *sum = sum.saturating_add(times);
                }
            }
            Ok(())
        };
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().expect("a worker reports instead of panicking"))
    })?;
    let mut findings = findings.into_inner().expect("no worker panics while it holds this");
    findings.refused.sort();
    Ok(findings)
}

fn run(
    scenario: &Scenario,
    allowed: &[Allowed],
    etcd: &Program,
    kvorum: &Program,
) -> anyhow::Result<Findings> {
    let (etcd, kvorum) = (Node::start(etcd, &[])?, Node::start(kvorum, &[])?);
    let mut findings = Findings::default();
    let mut transcripts = [String::new(), String::new()];
    let mut names = (Names::of(&etcd), Names::of(&kvorum));
    for step in &scenario.steps {
        let place = format!("{}.txt:{}", scenario.name, step.line);
        let theirs = exchange::ask(&etcd, step, &mut names.0).with_context(|| format!("{place} to etcd"))?;
        let ours =
            exchange::ask(&kvorum, step, &mut names.1).with_context(|| format!("{place} to Kvorum"))?;
        findings.requests = findings.requests.saturating_add(1);
        let status = exchange::status_of(&theirs, step);
        if status != step.status {
            let expected = &step.status;
            findings
                .refused
                .push(format!("{place} {}\n  etcd answers {status}, expected is {expected}", step.title));
        }
        judge(&mut findings, scenario, step, allowed, (&theirs, &ours))?;
        for (transcript, answer) in transcripts.iter_mut().zip([&theirs, &ours]) {
            write_answer(transcript, step, answer)?;
        }
    }
    keep(scenario, etcd.flavor(), "etcd", &transcripts[0])?;
    keep(scenario, kvorum.flavor(), "kvorum", &transcripts[1])?;
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

fn keep(scenario: &Scenario, flavor: Flavor, server: &str, transcript: &str) -> anyhow::Result<()> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("compat");
    fs::create_dir_all(&folder).context("make the folder of transcripts")?;
    let file = folder.join(format!("{}.{server}.txt", scenario.name));
    fs::write(&file, transcript).with_context(|| format!("write what {flavor:?} said to {}", file.display()))
}
