//! Python's clients against three members: what their documentation shows, as the scripts in this folder.
//!
//! `.ci/prepare test` installs `etcd3`, `etcd3gw` and `python-etcd` in an environment of their own. `CLUSTER_OF=etcd` runs the scripts
//! against real etcd, to test them.

use std::process::{Command, Stdio};
use std::time::Duration;

use ::tests::cluster::{Settings, program};
use ::tests::node::cache;
use ::tests::{Cluster, until};
use anyhow::{Context, ensure};

/// How long a script may take.
const PATIENCE: Duration = Duration::from_mins(2);

#[test]
fn etcd3gw_does_what_its_documentation_shows() {
    run("gateway.py").unwrap_or_else(|error| panic!("{error:#}"));
}

#[test]
fn etcd3_does_what_its_documentation_shows() {
    run("grpc_client.py").unwrap_or_else(|error| panic!("{error:#}"));
}

#[test]
fn python_etcd_does_what_its_documentation_shows() {
    run("v2_client.py").unwrap_or_else(|error| panic!("{error:#}"));
}

fn run(script: &str) -> anyhow::Result<()> {
    let python = cache()?.join("python-clients/bin/python");
    ensure!(python.is_file(), "there is no {}; run `make test`, which installs it", python.display());
    let cluster = Cluster::start(&Settings::new(&program()?, 3))?;
    let addresses = (0..cluster.len()).map(|number| cluster.member(number).address().to_string());
    let mut child = Command::new(python)
        .arg(tests::root().join("tests/tests/python").join(script))
        .args(addresses)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start Python")?;
    let ended = until(PATIENCE, || child.try_wait().ok().flatten());
    if ended.is_none() {
        child.kill().context("end a script that goes on")?;
    }
    let output = child.wait_with_output().context("collect what it printed")?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(
        output.status.success(),
        "{script} ends with {}:\n{}{}",
        output.status,
        said(&output.stdout),
        said(&output.stderr)
    );
    cluster.done()
}
