//! What kvorumctl does besides what etcdctl does: it goes on when a member goes, says which endpoint failed and why,
//! has forms of its own, and answers to etcdctl's name.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use ::tests::cluster::Settings;
use ::tests::etcdctl::own as kvorumctl;
use ::tests::{Cluster, Program, until};
use anyhow::{Context, ensure};

use crate::process::{Etcdctl, Process};

/// How long a word of a stream may take, when the member that it was from is gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// An endpoint where nobody is.
const NOBODY: &str = "http://127.0.0.1:1";

fn run(program: &Path, words: &[&str], variables: &[(&str, &str)]) -> anyhow::Result<Output> {
    let mut command = Command::new(program);
    command.env_clear().args(words).envs(variables.iter().copied()).stdin(std::process::Stdio::null());
    command.output().with_context(|| format!("run {}", program.display()))
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn it_goes_on_when_members_go() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(&Settings::new(&Program::kvorum()?, 3))?;
    let tool = kvorumctl()?;
    let url = |number: usize| cluster.member(number).setup.client_url();
    let all = cluster.wait_leader_of(&[0, 1, 2])?;
    let others = cluster.others(all);
    let (leader, next, last) = (url(all), url(others[0]), url(others[1]));
    let endpoints = format!("--endpoints={NOBODY},{leader},{next},{last}");
    let endpoints = endpoints.as_str();

    let put = run(&tool, &[endpoints, "put", "foo", "1"], &[])?;
    ensure!(put.status.success() && stdout(&put) == "OK\n", "a dead endpoint is passed: {put:?}");
    let granted = run(&tool, &[endpoints, "lease", "grant", "5"], &[])?;
    let lease = stdout(&granted).split(' ').nth(1).context("a lease")?.to_owned();
    // The leader is asked first, and goes.
    let words = |verb: &[&str]| -> Vec<String> {
        let endpoints = format!("--endpoints={leader},{next},{last}");
        std::iter::once(endpoints).chain(verb.iter().map(ToString::to_string)).collect()
    };
    let folder = tempfile::tempdir()?;
    let program = Etcdctl { path: tool.clone(), api: "3" };
    let mut watch = Process::start(&program, &words(&["watch", "foo", "--rev=1"]), folder.path())?;
    let mut kept = Process::start(&program, &words(&["lease", "keep-alive", &lease]), folder.path())?;
    watch.expect("1", PATIENCE)?;
    kept.expect("keepalived", PATIENCE)?;
    cluster.member_mut(all).kill()?;
    for value in ["2", "3"] {
        // While there is no leader a member may say no, and a command is not repeated.
        let taken = until(PATIENCE, || {
            let put = run(&tool, &[endpoints, "put", "foo", value], &[]).ok()?;
            put.status.success().then_some(())
        });
        ensure!(taken.is_some(), "another member takes it");
        watch.expect(&format!("PUT\nfoo\n{value}"), PATIENCE)?;
    }
    kept.expect("keepalived", PATIENCE)?;
    let left = run(&tool, &[endpoints, "lease", "timetolive", &lease], &[])?;
    ensure!(stdout(&left).contains("remaining"), "it was kept: {left:?}");

    // What nobody answers says who did not, and why.
    let dead = format!("--endpoints={NOBODY},{}", words(&[])[0].split_once('=').context("a flag")?.1);
    let dead = dead.split(',').take(2).collect::<Vec<_>>().join(",");
    let failed = run(&tool, &[&dead, "--command-timeout=1s", "get", "foo"], &[])?;
    let said = stderr(&failed);
    ensure!(failed.status.code() == Some(1) && failed.stdout.is_empty(), "it fails: {failed:?}");
    ensure!(said.starts_with("Error: context deadline exceeded\n"), "etcdctl's sentence: {said}");
    for part in [NOBODY, &leader, "refused", "hint: "] {
        ensure!(said.contains(part), "{part} is not in: {said}");
    }
    drop((watch, kept));
    cluster.done()
}

#[test]
fn it_has_forms_and_names_of_its_own() -> anyhow::Result<()> {
    let cluster = Cluster::start(&Settings::new(&Program::kvorum()?, 1))?;
    let tool = kvorumctl()?;
    let url = cluster.member(0).setup.client_url();
    let endpoints = [("ETCDCTL_ENDPOINTS", url.as_str()), ("PATH", "/usr/bin:/bin")];
    let at = |words: &[&str]| run(&tool, words, &endpoints);
    for (key, value) in [("a", "1"), ("b", "2")] {
        ensure!(at(&["put", key, value])?.status.success(), "variables name endpoints");
    }
    let lines = stdout(&at(&["get", "", "--prefix", "-w", "jsonl"])?);
    let keys: Vec<serde_json::Value> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let values: Vec<&str> = keys.iter().filter_map(|key| key["value"].as_str()).collect();
    ensure!(values == ["MQ==", "Mg=="], "a line for each key: {lines}");
    let yaml = stdout(&at(&["get", "a", "-w", "yaml"])?);
    ensure!(yaml.contains("kvs:\n- key: YQ==\n") && yaml.contains("\ncount: 1\n"), "{yaml}");

    let stronger = [("ETCDCTL_ENDPOINTS", NOBODY), ("KVORUMCTL_ENDPOINTS", url.as_str())];
    ensure!(stdout(&run(&tool, &["get", "b"], &stronger)?) == "b\n2\n", "the name of its own is stronger");
    let both = run(&tool, &["--endpoints", &url, "get", "a"], &endpoints)?;
    ensure!(both.status.code() == Some(1) && stderr(&both).contains("is shadowed by"), "{both:?}");

    let folder = tempfile::tempdir()?;
    let etcdctl = folder.path().join("etcdctl");
    symlink(&tool, &etcdctl)?;
    ensure!(
        stdout(&run(&etcdctl, &["version"], &[])?).starts_with("etcdctl version: 3."),
        "by that name it is that"
    );
    let unknown = run(&etcdctl, &["nonsense"], &[])?;
    let sentence = "Error: unknown command \"nonsense\" for \"etcdctl\"\n";
    ensure!(unknown.status.code() == Some(1) && stderr(&unknown).starts_with(sentence), "{unknown:?}");
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&run(&tool, &["completion", shell], &[])?);
        ensure!(script.contains("move-leader") && script.contains("kvorumctl"), "completion for {shell}");
    }

    // Nothing stands under the final name, nor beside it, unless it is whole.
    let file = folder.path().join("backup.db");
    let path = file.display().to_string();
    ensure!(at(&["snapshot", "save", &path])?.status.success() && file.is_file(), "a snapshot");
    let endpoints = [("ETCDCTL_ENDPOINTS", NOBODY)];
    let other = folder.path().join("other.db").display().to_string();
    let failed = run(&tool, &["--command-timeout=1s", "snapshot", "save", &other], &endpoints)?;
    ensure!(failed.status.code() == Some(5), "etcdctl's status: {failed:?}");
    let names: Vec<_> = std::fs::read_dir(folder.path())?
        .map(|entry| Ok(entry?.file_name()))
        .collect::<anyhow::Result<_>>()?;
    ensure!(names.len() == 2, "no half file: {names:?}");
    cluster.done()
}
