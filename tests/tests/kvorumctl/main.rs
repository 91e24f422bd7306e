//! What kvorumctl does that etcdctl does not: contexts, export and import, `keys stat`, `doctor`, `top`, the manual; and
//! how its long commands end when somebody or something stops them.

mod contexts;
mod looks;
mod stops;
mod transfer;
mod words;

use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use ::tests::cluster::{Member, Settings};
use ::tests::etcdctl::own as kvorumctl;
use ::tests::{Client, Cluster, Program};
use anyhow::Context;

/// How long something may take on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// An endpoint where nobody is.
pub(crate) const NOBODY: &str = "http://127.0.0.1:1";

/// One member, which ends with its test.
pub(crate) struct House(Cluster);

impl House {
    pub(crate) fn start() -> anyhow::Result<Self> {
        Ok(Self(Cluster::start(&Settings::new(&Program::kvorum()?, 1))?))
    }

    pub(crate) fn url(&self) -> String {
        self.0.member(0).setup.client_url()
    }

    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        self.0.member(0).client()
    }

    /// The member, for who stops it for a while.
    pub(crate) fn member(&self) -> &Member {
        self.0.member(0)
    }

    /// kvorumctl against it.
    pub(crate) fn run<W: AsRef<OsStr>>(&self, words: &[W]) -> anyhow::Result<Output> {
        run_with(words, &[("ETCDCTL_ENDPOINTS", &self.url())])
    }

    /// All went well.
    pub(crate) fn done(self) -> anyhow::Result<()> {
        self.0.done()
    }
}

/// kvorumctl with nothing in its environment but these variables.
pub(crate) fn run_with<W: AsRef<OsStr>>(words: &[W], variables: &[(&str, &str)]) -> anyhow::Result<Output> {
    let mut command = Command::new(kvorumctl()?);
    command.env_clear().args(words).envs(variables.iter().copied()).stdin(Stdio::null());
    command.output().context("run kvorumctl")
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
