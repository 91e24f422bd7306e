//! One process of a cluster: its flags, its folder, its ports, and what an operator or a bad day does to it.
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

use crate::client::Client;
use crate::http1;
use crate::node::{Flavor, Program};
use crate::wait::{PATIENCE, until};

/// What a member is told at its start; a test changes it as an operator changes a unit file.
#[derive(Clone, Debug)]
pub struct Setup {
    /// `--name`.
    pub name: String,
    /// Where clients reach it.
    pub client_port: u16,
    /// Where it listens for other members.
    pub peer_port: u16,
    /// What it tells the others to use; differs from `peer_port` when there is a link between them.
    pub advertised_port: u16,
    /// `--initial-cluster`; nothing when it is empty.
    pub initial_cluster: String,
    /// `--initial-cluster-state`: `new` or `existing`.
    pub state: &'static str,
    /// `--initial-cluster-token`.
    pub token: String,
    /// Flags after the usual ones.
    pub flags: Vec<String>,
    /// Variables of its environment.
    pub environment: Vec<(String, String)>,
}

impl Setup {
    /// The URL that the other members use.
    pub fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.advertised_port)
    }

    /// The URL that clients use.
    pub fn client_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.client_port)
    }
}

/// A member of a cluster under test.
#[derive(Debug)]
pub struct Member {
    /// What it is told at its next start.
    pub setup: Setup,
    program: Program,
    folder: PathBuf,
    child: Option<Child>,
}

impl Member {
    /// A member that was never started; everything of it lies in `folder`.
    pub(crate) fn new(program: Program, setup: Setup, folder: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir_all(&folder).context("make the folder of a member")?;
        Ok(Self { setup, program, folder, child: None })
    }

    /// Where clients reach it.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.setup.client_port).into()
    }

    /// A client that speaks to this member only.
    pub fn client(&self) -> anyhow::Result<Client> {
        Client::new(self.address())
    }

    /// The folder with its data.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Which server it is.
    pub fn flavor(&self) -> Flavor {
        self.program.flavor
    }

    /// The process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Starts the process and waits for nothing.
    pub fn spawn(&mut self) -> anyhow::Result<()> {
        ensure!(self.child.is_none(), "{} is already running", self.setup.name);
        let log = File::options().create(true).append(true).open(self.log_path()).context("open the log")?;
        let child = Command::new(&self.program.path)
            .args(self.arguments())
            .env_remove("ETCD_BINARY")
            .envs(self.setup.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("share the log")?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", self.program.path.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// Starts the process and waits until it serves.
    pub fn start(&mut self) -> anyhow::Result<()> {
        self.spawn()?;
        self.wait_ready()
    }

    /// Waits until it answers as healthy (it knows a leader and can read) and knows the cluster's version.
    pub fn wait_ready(&mut self) -> anyhow::Result<()> {
        let address = self.address();
        let mut ended = None;
        let ready = until(PATIENCE, || {
            ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            (ended.is_some() || serves(address)).then_some(())
        });
        let name = &self.setup.name;
        if let Some(status) = ended {
            self.child = None;
            bail!("{name} ended at its start with {status}; its log:\n{}", self.log_tail());
        }
        ensure!(ready.is_some(), "{name} does not serve after {PATIENCE:?}; its log:\n{}", self.log_tail());
        Ok(())
    }

    /// Whether it answers as healthy at this moment.
    pub fn is_healthy(&self) -> bool {
        serves(self.address())
    }

    /// Waits until it ended by itself; answers how.
    pub fn wait_ended(&mut self) -> anyhow::Result<ExitStatus> {
        let child = self.child.as_mut().context("it is not running")?;
        let status = until(PATIENCE, || child.try_wait().ok().flatten());
        let status = status.with_context(|| {
            format!("{} goes on after {PATIENCE:?}; its log:\n{}", self.setup.name, self.log_tail())
        })?;
        self.child = None;
        Ok(status)
    }

    /// Ends the process as a power cut would: kill -9. A paused one too.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().with_context(|| format!("{} is not running", self.setup.name))?;
        child.kill().context("kill -9")?;
        child.wait().context("wait for the killed process")?;
        Ok(())
    }

    /// Asks the process to end (SIGTERM), without waiting.
    pub fn ask_to_end(&self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)
    }

    /// Asks the process to end (SIGTERM) and waits until it has.
    pub fn terminate(&mut self) -> anyhow::Result<ExitStatus> {
        self.ask_to_end()?;
        self.wait_ended()
    }

    /// Pauses the process (SIGSTOP): its sockets stay open, and it does nothing.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a paused process go on (SIGCONT).
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    /// Whether the process is still there.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Throws its data away, as on a new disk.
    pub fn wipe(&self) -> anyhow::Result<()> {
        match fs::remove_dir_all(self.data_dir()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).context("remove the data folder")
            }
            _ => Ok(()),
        }
    }

    /// Everything that it logged.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// The last of what it logged.
    pub fn log_tail(&self) -> String {
        const LINES_MAX: usize = 30;
        let text = self.log();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LINES_MAX)..).unwrap_or_default();
        format!("    {}", last.join("\n    "))
    }

    /// Waits until its log holds one of these words; quotes may be escaped there.
    pub fn wait_logged(&self, words: &[&str]) -> anyhow::Result<()> {
        let found = until(PATIENCE, || {
            let log = self.log().replace("\\\"", "\"");
            words.iter().any(|word| log.contains(word)).then_some(())
        });
        found.with_context(|| {
            format!("{} never logged one of {words:?}; its log:\n{}", self.setup.name, self.log_tail())
        })
    }

    /// The folder of the member: its log, and its data beside it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let child = self.child.as_ref().with_context(|| format!("{} is not running", self.setup.name))?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a process id")?;
        kill_process(pid, signal).context("send a signal")
    }

    fn arguments(&self) -> Vec<String> {
        let setup = &self.setup;
        let listen_peer = format!("http://127.0.0.1:{}", setup.peer_port);
        let mut flags: Vec<String> = [
            ("--name", setup.name.as_str()),
            ("--data-dir", "data"),
            ("--listen-client-urls", &setup.client_url()),
            ("--advertise-client-urls", &setup.client_url()),
            ("--listen-peer-urls", &listen_peer),
            ("--initial-advertise-peer-urls", &setup.peer_url()),
            ("--initial-cluster", &setup.initial_cluster),
            ("--initial-cluster-state", setup.state),
            ("--initial-cluster-token", &setup.token),
        ]
        .into_iter()
        .filter(|(flag, value)| *flag != "--initial-cluster" || !value.is_empty())
        .flat_map(|(flag, value)| [flag.to_owned(), value.to_owned()])
        .collect();
        flags.push("--enable-v2=true".to_owned());
        if self.program.flavor == Flavor::Etcd {
            flags.extend(["--logger=zap", "--log-outputs=stderr"].map(str::to_owned));
        }
        flags.extend(setup.flags.iter().cloned());
        flags
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if self.child.is_some() && self.kill().is_err() {
            eprintln!("{} could not be ended", self.setup.name);
        }
    }
}

/// Whether a server there answers as healthy and knows the version of its cluster.
fn serves(address: SocketAddr) -> bool {
    let get = |target: &str| -> io::Result<http1::Reply> {
        http1::exchange(address, &http1::request("GET", target, &[], None), Duration::from_secs(2))
    };
    let healthy = get("/health").is_ok_and(|reply| reply.status == 200);
    healthy && get("/version").is_ok_and(|reply| !reply.body_text().contains("not_decided"))
}
