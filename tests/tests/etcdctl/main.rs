//! Real etcdctl, 3.4.23 and 3.5.1, against real etcd of its version and against us: what it prints on either
//! stream and how it ends may differ only where docs/COMPATIBILITY.md says so. And kvorumctl against us, which has to
//! answer as both of them do.
//!
//! The commands are the text files of `tests/etcdctl/`. Each runs on fresh servers. What was printed is left in
//! the target folder (`tmp/etcdctl/`). `ETCDCTL_ONLY` names one file, `CLUSTER_OF=etcd` compares etcd with itself,
//! to test the test.

mod normal;
mod own;
mod play;
mod process;
mod script;
mod stage;

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;

use ::tests::allowed::{self, Allowed, Difference};
use ::tests::answer::{Answer, differences};
use anyhow::ensure;

use crate::play::{Cast, played};
use crate::stage::Done;

/// Commands below which something was not run.
const COMMANDS_MIN: usize = 200;

/// What a comparison found.
#[derive(Debug, Default)]
struct Findings {
    commands: usize,
    refused: Vec<String>,
    used: BTreeMap<usize, usize>,
}

#[test]
fn etcdctl_notices_no_difference() {
    let mut findings = Findings::default();
    let compared = compare("## Differences that etcdctl shows", &mut findings, |findings, allowed| {
        for script in &played().scripts {
            for release in play::releases(script) {
                let name = format!("etcdctl {} {}", release.version(), script.name);
                match (played().of(script, Cast::Etcd(release)), played().of(script, Cast::Ours(release))) {
                    (Ok(etcd), Ok(ours)) => {
                        for (etcd, ours) in etcd.iter().zip(ours) {
                            judge(findings, &name, allowed, etcd, &etcd.answer, &ours.answer);
                        }
                    }
                    (etcd, ours) => complain(findings, &name, [etcd, ours]),
                }
            }
        }
    });
    if let Err(error) = compared {
        panic!("{error:#}");
    }
}

#[test]
fn kvorumctl_answers_as_etcdctl_does() {
    let mut findings = Findings::default();
    let compared =
        compare("## Differences between etcdctl and kvorumctl", &mut findings, |findings, allowed| {
            for script in &played().scripts {
                for release in play::releases(script) {
                    let name = format!("etcdctl {} {}", release.version(), script.name);
                    match (played().of(script, Cast::Ours(release)), played().of(script, Cast::Kvorumctl)) {
                        (Ok(theirs), Ok(ours)) => {
                            for theirs in theirs {
                                let Some(ours) = ours.iter().find(|ours| ours.line == theirs.line) else {
                                    continue;
                                };
                                judge(findings, &name, allowed, theirs, &said(theirs), &said(ours));
                            }
                        }
                        (theirs, ours) => complain(findings, &name, [theirs, ours]),
                    }
                }
            }
        });
    if let Err(error) = compared {
        panic!("{error:#}");
    }
}

/// Runs a comparison under the table below this heading.
fn compare(
    heading: &str,
    findings: &mut Findings,
    run: impl FnOnce(&mut Findings, &[Allowed]),
) -> anyhow::Result<()> {
    let only = env::var("ETCDCTL_ONLY").ok();
    let allowed = allowed::rows(heading)?;
    run(findings, &allowed);
    let mut report = findings.refused.join("\n");
    let unused = allowed::unused(&allowed, &findings.used);
    if !unused.is_empty() && only.is_none() {
        write!(report, "\nlisted in docs/COMPATIBILITY.md, but seen nowhere: {unused:?}")?;
    }
    eprintln!(
        "{} commands: {} differences that are allowed, {} commands with others",
        findings.commands,
        findings.used.values().sum::<usize>(),
        findings.refused.len()
    );
    ensure!(report.is_empty(), "\n{report}");
    ensure!(findings.commands >= COMMANDS_MIN || only.is_some(), "these are too few commands");
    Ok(())
}

fn complain(findings: &mut Findings, name: &str, sides: [Result<&[Done], &str>; 2]) {
    let errors = sides.into_iter().filter_map(Result::err);
    findings.refused.extend(errors.map(|error| format!("{name}: {error}")));
}

/// What scripts see of a command: stdout, the exit status, and the sentence behind `Error: `. The rest of stderr is
/// each one's own.
fn said(done: &Done) -> Answer {
    let mut said = Answer::default();
    for (part, value) in done.answer.parts() {
        if part == "stderr" {
            let error =
                value.lines().find(|line| line.starts_with("Error: ") || line.starts_with("Error:  "));
            said.add("error", error.unwrap_or_default());
        } else {
            said.add(part, value);
        }
    }
    said
}

fn judge(
    findings: &mut Findings,
    name: &str,
    allowed: &[Allowed],
    done: &Done,
    theirs: &Answer,
    ours: &Answer,
) {
    findings.commands += 1;
    let request = format!("{name}: {}", done.command);
    let mut refused = Vec::new();
    for (part, etcd, ours) in differences(theirs, ours) {
        match allowed::find(allowed, Difference { request: &request, part, etcd, ours }) {
            Some(row) => *findings.used.entry(row).or_default() += 1,
            None => refused.push(format!("\n  {part}\n    etcd   {etcd:?}\n    Kvorum {ours:?}")),
        }
    }
    if !refused.is_empty() {
        let place = format!("{name}.txt:{} {}", done.line, done.command);
        findings.refused.push(place + &refused.concat());
    }
}
