//! A server process on this machine: its folder, its log, its start and its ends.
//!
//! INVARIANT: a process started here is ended here, by its process id, however the test ends.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::http1;
use crate::node::{Flavor, Program};
use crate::wait::{PATIENCE, until};

/// See the module.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    program: Program,
    folder: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// One that was never started; everything of it lies in `folder`. `name` is what people call it.
    pub(crate) fn new(name: &str, program: Program, folder: PathBuf) -> Self {
        Self { name: name.to_owned(), program, folder, child: None }
    }

    /// Its program.
    pub(crate) fn program(&self) -> &Program {
        &self.program
    }

    /// Its log and its data.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The process id while it runs.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Starts it with these flags, those that every server of a test has, and `more`; waits for nothing.
    pub(crate) fn spawn(
        &mut self,
        flags: &[(&str, &str)],
        more: &[String],
        environment: &[(String, String)],
    ) -> anyhow::Result<()> {
        ensure!(self.child.is_none(), "{} is already running", self.name);
        let log = File::options().create(true).append(true).open(self.log_path()).context("open the log")?;
        let mut command = Command::new(&self.program.path);
        for (flag, value) in flags {
            command.args([flag, value]);
        }
        command.arg("--enable-v2=true");
        if self.program.flavor == Flavor::Etcd {
            command.args(["--logger=zap", "--log-outputs=stderr"]);
        }
        let child = command
            .args(more)
            .env_remove("ETCD_BINARY")
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("share the log")?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", self.program.path.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// Waits until it answers there as healthy (it knows a leader and can read) and knows the cluster's version.
    pub(crate) fn wait_ready(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let mut ended = None;
        let ready = until(PATIENCE, || {
            ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            (ended.is_some() || serves(address)).then_some(())
        });
        let name = &self.name;
        if let Some(status) = ended {
            self.child = None;
            bail!("{name} ended at its start with {status}; its log:\n{}", self.log_tail());
        }
        ensure!(ready.is_some(), "{name} does not serve after {PATIENCE:?}; its log:\n{}", self.log_tail());
        Ok(())
    }

    /// Waits until it ended by itself; answers how.
    pub(crate) fn wait_ended(&mut self) -> anyhow::Result<ExitStatus> {
        let child = self.child.as_mut().context("it is not running")?;
        let status = until(PATIENCE, || child.try_wait().ok().flatten());
        let status = status.with_context(|| {
            format!("{} goes on after {PATIENCE:?}; its log:\n{}", self.name, self.log_tail())
        })?;
        self.child = None;
        Ok(status)
    }

    /// Ends it as a power cut would: kill -9. A paused one too.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().with_context(|| format!("{} is not running", self.name))?;
        child.kill().context("kill -9")?;
        child.wait().context("wait for the killed process")?;
        Ok(())
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let child = self.child.as_ref().with_context(|| format!("{} is not running", self.name))?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a process id")?;
        kill_process(pid, signal).context("send a signal")
    }

    /// Whether it is still there.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Everything that it logged.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// The last of what it logged.
    pub(crate) fn log_tail(&self) -> String {
        const LINES_MAX: usize = 40;
        let text = self.log();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LINES_MAX)..).unwrap_or_default();
        format!("    {}", last.join("\n    "))
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("log")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.is_some() && self.kill().is_err() {
            eprintln!("{} could not be ended", self.name);
        }
    }
}

/// Whether a server there answers as healthy and knows the version of its cluster.
pub(crate) fn serves(address: SocketAddr) -> bool {
    let get = |target: &str| -> io::Result<http1::Reply> {
        http1::exchange(address, &http1::request("GET", target, &[], None), Duration::from_secs(2))
    };
    let healthy = get("/health").is_ok_and(|reply| reply.status == 200);
    healthy && get("/version").is_ok_and(|reply| !reply.body_text().contains("not_decided"))
}
