//! What kvorumctl does that etcdctl does not: contexts, export and import, `keys stat`, `doctor`, `top`, the manual; and
//! how its long commands end when somebody or something stops them.

mod contexts;
mod looks;
mod stops;
mod transfer;
mod words;

use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use ::tests::cluster::Settings;
use ::tests::etcdctl::own as kvorumctl;
use ::tests::{Cluster, Program};
use anyhow::Context;

/// How long something may take on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// An endpoint where nobody is.
pub(crate) const NOBODY: &str = "http://127.0.0.1:1";

/// One member for all tests of this program; each has a prefix of its own.
pub(crate) fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let program = Program::kvorum().expect("the server was built");
        Cluster::start(&Settings::new(&program, 1)).expect("it starts")
    })
}

pub(crate) fn url() -> String {
    cluster().member(0).setup.client_url()
}

/// kvorumctl with nothing in its environment but these variables.
pub(crate) fn run_with<W: AsRef<OsStr>>(words: &[W], variables: &[(&str, &str)]) -> anyhow::Result<Output> {
    let mut command = Command::new(kvorumctl()?);
    command.env_clear().args(words).envs(variables.iter().copied()).stdin(Stdio::null());
    command.output().context("run kvorumctl")
}

/// kvorumctl against the member of this program.
pub(crate) fn run<W: AsRef<OsStr>>(words: &[W]) -> anyhow::Result<Output> {
    run_with(words, &[("ETCDCTL_ENDPOINTS", &url())])
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
