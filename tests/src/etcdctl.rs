//! Debian's etcdctl, and kvorumctl, as operators use them.

use std::env;
use std::path::{Path, PathBuf};
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

/// Where kvorumctl is, which cargo put beside the tests.
pub fn own() -> anyhow::Result<PathBuf> {
    if let Some(path) = env::var_os("KVORUMCTL_BINARY") {
        return Ok(PathBuf::from(path));
    }
    let test = env::current_exe().context("where this test is")?;
    let folder = test.parent().and_then(Path::parent).context("the target folder")?;
    Ok(folder.join("kvorumctl"))
}

/// Runs kvorumctl with nothing in its environment; answers what it printed, and refuses when it failed.
pub fn kvorumctl(arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(own()?)
        .env_clear()
        .args(arguments)
        .output()
        .context("run kvorumctl; `make test` builds it")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    let complained = String::from_utf8_lossy(&output.stderr);
    bail!("kvorumctl {} fails with {}: {said}{complained}", arguments.join(" "), output.status)
}
