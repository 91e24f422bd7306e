//! Real etcdctl, 3.4.23 and 3.5.1, against real etcd of its version and against us: what it prints on either
//! stream and how it ends may differ only where docs/COMPATIBILITY.md says so.
//!
//! The commands are the text files of `tests/etcdctl/`. Each runs on fresh servers. What was printed is left in
//! the target folder (`tmp/etcdctl/`). `ETCDCTL_ONLY` names one file, `CLUSTER_OF=etcd` compares etcd with itself,
//! to test the test.

mod normal;
mod process;
mod script;
mod stage;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, thread};

use ::tests::allowed::{self, Allowed, Difference};
use ::tests::answer::differences;
use ::tests::{Program, Release};
use anyhow::{Context, ensure};

use crate::script::Script;
use crate::stage::{Done, Stage};

/// Scripts that run at the same time, each with two clusters.
const WORKERS: usize = 3;

/// Commands below which something was not run.
const COMMANDS_MIN: usize = 200;

/// What a run found.
#[derive(Debug, Default)]
struct Findings {
    commands: usize,
    refused: Vec<String>,
    used: BTreeMap<usize, usize>,
}

#[test]
fn etcdctl_notices_no_difference() {
    if let Err(error) = compare_all() {
        panic!("{error:#}");
    }
}

fn compare_all() -> anyhow::Result<()> {
    let only = env::var("ETCDCTL_ONLY").ok();
    let mut scripts = script::all(&tests::root().join("tests/etcdctl"))?;
    scripts.retain(|script| only.as_ref().is_none_or(|only| *only == script.name));
    let allowed = allowed::rows("## Differences that etcdctl shows")?;
    let pairs: Vec<(&Script, Release)> =
        scripts.iter().flat_map(|script| Release::ALL.map(|release| (script, release))).collect();
    let pairs: Vec<(&Script, Release)> = pairs
        .into_iter()
        .filter(|(script, release)| !script.is_v2() || *release == Release::Debian)
        .collect();
    let findings = run_all(&pairs, &allowed);

    let mut report = findings.refused.join("\n");
    let unused = allowed::unused(&allowed, &findings.used);
    if !unused.is_empty() && only.is_none() {
        write!(report, "\nlisted in docs/COMPATIBILITY.md, but seen nowhere: {unused:?}")?;
    }
    eprintln!(
        "{} commands in {} scripts: {} differences that are allowed, {} commands with others",
        findings.commands,
        pairs.len(),
        findings.used.values().sum::<usize>(),
        findings.refused.len()
    );
    ensure!(report.is_empty(), "\n{report}");
    ensure!(findings.commands >= COMMANDS_MIN || only.is_some(), "these are too few commands");
    Ok(())
}

fn run_all(pairs: &[(&Script, Release)], allowed: &[Allowed]) -> Findings {
    let next = AtomicUsize::new(0);
    let findings = Mutex::new(Findings::default());
    thread::scope(|scope| {
        let work = || {
            while let Some((script, release)) = pairs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let name = format!("etcdctl {} {}", release.version(), script.name);
                let run = run(script, *release);
                let mut findings = findings.lock().expect("no worker panics while it holds this");
                match run {
                    Ok(sides) => judge(&mut findings, &name, allowed, &sides),
                    Err(error) => findings.refused.push(format!("{name}: {error:#}")),
                }
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

/// Plays the script to both at the same time.
fn run(script: &Script, release: Release) -> anyhow::Result<[Vec<Done>; 2]> {
    let etcd = Program::release(release)?;
    let ours =
        if env::var("CLUSTER_OF").as_deref() == Ok("etcd") { etcd.clone() } else { Program::kvorum()? };
    let etcdctl = release.program("etcdctl")?;
    let play = |program: &Program| -> anyhow::Result<Vec<Done>> {
        Stage::open(script, program, etcdctl.clone(), release.version())?.play(script)
    };
    let (theirs, ours) = thread::scope(|scope| {
        let theirs = scope.spawn(|| play(&etcd));
        let ours = play(&ours);
        (theirs.join().expect("a script fails without a panic"), ours)
    });
    let sides = [theirs.context("with etcd")?, ours.context("with Kvorum")?];
    for (side, name) in sides.iter().zip(["etcd", "kvorum"]) {
        keep(&format!("{}-{}.{name}.txt", script.name, release.version()), side)?;
    }
    Ok(sides)
}

fn judge(findings: &mut Findings, name: &str, allowed: &[Allowed], [theirs, ours]: &[Vec<Done>; 2]) {
    for (etcd, ours) in theirs.iter().zip(ours) {
        findings.commands += 1;
        let request = format!("{name}: {}", etcd.command);
        let mut refused = Vec::new();
        for (part, etcd, ours) in differences(&etcd.answer, &ours.answer) {
            match allowed::find(allowed, Difference { request: &request, part, etcd, ours }) {
                Some(row) => *findings.used.entry(row).or_default() += 1,
                None => refused.push(format!("\n  {part}\n    etcd   {etcd:?}\n    Kvorum {ours:?}")),
            }
        }
        if !refused.is_empty() {
            let place = format!("{name}.txt:{} {}", etcd.line, etcd.command);
            findings.refused.push(place + &refused.concat());
        }
    }
}

fn keep(file: &str, side: &[Done]) -> anyhow::Result<()> {
    let folder = stage::transcripts();
    fs::create_dir_all(&folder).context("make the folder of transcripts")?;
    let mut text = String::new();
    for done in side {
        writeln!(text, "{}: {}", done.line, done.command)?;
        for (part, value) in done.answer.parts() {
            writeln!(text, "  {part}: {value:?}")?;
        }
    }
    fs::write(folder.join(file), text).with_context(|| format!("write {file}"))
}
