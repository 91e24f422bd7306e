//! Debian's etcdctl, as operators use it.

use std::process::Command;

use anyhow::{Context, bail};

/// Runs etcdctl with the v3 interface; answers what it printed, and refuses when it failed.
pub fn run(endpoints: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args(["--endpoints", endpoints, "--command-timeout=10s", "--dial-timeout=5s"])
        .args(arguments)
        .output()
        .context("run etcdctl; `make test` installs etcd-client")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    let complained = String::from_utf8_lossy(&output.stderr);
    bail!("etcdctl {} fails with {}: {said}{complained}", arguments.join(" "), output.status)
}
