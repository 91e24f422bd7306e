//! The image and compose.yaml, on a Docker engine: three members come up, lose their leader's container, go on
//! writing, get it back, and leave nothing behind.
//!
//! Where no engine runs and the user is root, Debian's is installed and one is started for the test alone. Where that
//! cannot be, a line on stderr begins with `docker: NOT TESTED`, past the harness that keeps what passing tests say.
//!
//! The image's builder is a stand-in that hands out the `kvorum` which cargo built for the other tests: compiling it
//! once more in there takes longer than all else together. `docker/stand-ins` without words makes one that compiles.

mod engine;

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use tests::{Program, until};

use crate::engine::{Engine, Found};

/// The members of compose.yaml and the ports on the machine that lead to them.
const MEMBERS: [(&str, u16); 3] = [("infra0", 2379), ("infra1", 22379), ("infra2", 32379)];
/// How long containers may take to become healthy.
const PATIENCE: Duration = Duration::from_mins(2);
/// How long a write may fail while a new leader is found.
const GAP_MAX: Duration = Duration::from_secs(15);

#[test]
fn three_containers_go_on_without_their_leader_and_get_it_back() -> anyhow::Result<()> {
    let engine = match Engine::find()? {
        Found::Engine(engine) => engine,
        Found::Nothing(reason) => {
            engine::shout(&format!("docker: NOT TESTED: {reason}"));
            return Ok(());
        }
    };
    for (_, port) in MEMBERS {
        let free = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port));
        free.with_context(|| format!("port {port}, which compose.yaml publishes, is taken"))?;
    }
    let began = Instant::now();
    engine.make_stand_ins(&Program::kvorum()?.path)?;
    engine.compose(&["up", "-d", "--build"])?;
    for (name, _) in MEMBERS {
        wait_healthy(&engine, name)?;
    }
    let up = began.elapsed();
    check_has_no_shell(&engine)?;
    check_tables()?;

    put(&all(), "before", "1")?;
    let leader = leader()?;
    let others: Vec<u16> = all().into_iter().filter(|port| *port != MEMBERS[leader].1).collect();
    let container = engine.container(MEMBERS[leader].0)?;
    engine.docker(&["kill", &container])?;
    let killed = Instant::now();
    until(GAP_MAX, || put(&others, "during", "2").ok()).context("nobody took over")?;
    let gap = killed.elapsed();
    for number in 0..20 {
        put(&others, &format!("during-{number}"), "3")?;
    }
    engine.docker(&["start", &container])?;
    wait_healthy(&engine, MEMBERS[leader].0)?;
    let port = MEMBERS[leader].1;
    until(PATIENCE, || own_copy(port, "during-19").filter(|value| value == "3"))
        .context("the member that came back does not catch up")?;
    check_tables()?;

    engine.compose(&["down", "-v"])?;
    let left =
        engine.docker(&["volume", "ls", "--quiet", "--filter", &format!("name={}", engine.project())])?;
    ensure!(left.trim().is_empty(), "volumes are left behind: {left}");
    engine::shout(&format!("docker: up in {up:.1?}, first write {gap:.1?} after the leader's end"));
    Ok(())
}

fn all() -> Vec<u16> {
    MEMBERS.iter().map(|(_, port)| *port).collect()
}

fn endpoints(ports: &[u16]) -> String {
    let urls: Vec<String> = ports.iter().map(|port| format!("http://127.0.0.1:{port}")).collect();
    format!("--endpoints={}", urls.join(","))
}

fn etcdctl(ports: &[u16], words: &[&str]) -> anyhow::Result<String> {
    let endpoints = endpoints(ports);
    let mut all = vec!["--dial-timeout=2s", "--command-timeout=5s", &endpoints];
    all.extend(words);
    engine::run(std::process::Command::new("etcdctl").env("ETCDCTL_API", "3").args(all))
}

fn put(ports: &[u16], key: &str, value: &str) -> anyhow::Result<()> {
    etcdctl(ports, &["put", key, value]).map(drop)
}

/// What one member has, without asking the others.
fn own_copy(port: u16, key: &str) -> Option<String> {
    let text = etcdctl(&[port], &["get", "--consistency=s", "--print-value-only", key]).ok()?;
    Some(text.trim().to_owned())
}

/// Which of [`MEMBERS`] leads, as all of them say.
fn leader() -> anyhow::Result<usize> {
    let text = etcdctl(&all(), &["endpoint", "status", "-w", "json"])?;
    let statuses: Vec<Value> = serde_json::from_str(&text).context("etcdctl prints JSON")?;
    let leads = |status: &Value| {
        status["Status"]["leader"] == status["Status"]["header"]["member_id"]
            && status["Status"]["leader"].as_u64().is_some_and(|leader| leader != 0)
    };
    let Some(leader) = statuses.iter().find(|status| leads(status)) else { bail!("nobody leads: {text}") };
    let endpoint = leader["Endpoint"].as_str().unwrap_or_default();
    let found = MEMBERS.iter().position(|(_, port)| endpoint.ends_with(&format!(":{port}")));
    found.with_context(|| format!("{endpoint} is nobody's"))
}

/// What the reader types first.
fn check_tables() -> anyhow::Result<()> {
    let status = etcdctl(&all(), &["endpoint", "status", "-w", "table"])?;
    for (_, port) in MEMBERS {
        ensure!(status.contains(&format!("http://127.0.0.1:{port} ")), "{status}");
    }
    let leaders = status.lines().filter(|line| line.split('|').any(|cell| cell.trim() == "true")).count();
    ensure!(leaders == 1, "one leads: {status}");
    let members = etcdctl(&all(), &["member", "list"])?;
    for (name, port) in MEMBERS {
        let row = format!("started, {name}, http://{name}:2380, http://127.0.0.1:{port}, false");
        ensure!(members.contains(&row), "{row} is not in: {members}");
    }
    Ok(())
}

fn wait_healthy(engine: &Engine, name: &str) -> anyhow::Result<()> {
    let container = engine.container(name)?;
    let healthy = until(PATIENCE, || {
        let status = engine.docker(&["inspect", "--format", "{{.State.Health.Status}}", &container]).ok()?;
        (status.trim() == "healthy").then_some(())
    });
    if healthy.is_none() {
        let log =
            engine.docker(&["logs", "--tail", "20", &container]).unwrap_or_else(|error| error.to_string());
        bail!("{name} does not become healthy; its log:\n{log}");
    }
    Ok(())
}

/// The health checks and the members work although there is nothing but kvorum in the image.
fn check_has_no_shell(engine: &Engine) -> anyhow::Result<()> {
    let shell = engine.docker(&["run", "--rm", "--entrypoint", "/bin/sh", "kvorum", "-c", "true"]);
    ensure!(shell.is_err(), "there is a shell in the image");
    let version = engine.docker(&["run", "--rm", "kvorum", "--version"])?;
    ensure!(version.contains("Kvorum Version: "), "{version}");
    Ok(())
}
