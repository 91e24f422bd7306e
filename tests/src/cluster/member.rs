//! One process of a cluster: its flags, its folder, its ports, and what an operator or a bad day does to it.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use anyhow::Context;
use rustix::process::Signal;

use crate::client::Client;
use crate::node::{Flavor, Program};
use crate::process::{Process, serves};
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
    process: Process,
}

impl Member {
    /// A member that was never started; everything of it lies in `folder`.
    pub(crate) fn new(program: Program, setup: Setup, folder: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir_all(&folder).context("make the folder of a member")?;
        let process = Process::new(&setup.name, program, folder);
        Ok(Self { setup, process })
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
        self.folder().join("data")
    }

    /// Which server it is.
    pub fn flavor(&self) -> Flavor {
        self.process.program().flavor
    }

    /// The process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.id()
    }

    /// Starts the process and waits for nothing.
    pub fn spawn(&mut self) -> anyhow::Result<()> {
        let setup = &self.setup;
        let (client, peer) = (setup.client_url(), setup.peer_url());
        let listen_peer = format!("http://127.0.0.1:{}", setup.peer_port);
        let mut flags = vec![
            ("--name", setup.name.as_str()),
            ("--data-dir", "data"),
            ("--listen-client-urls", &client),
            ("--advertise-client-urls", &client),
            ("--listen-peer-urls", &listen_peer),
            ("--initial-advertise-peer-urls", &peer),
            ("--initial-cluster-state", setup.state),
            ("--initial-cluster-token", &setup.token),
        ];
        if !setup.initial_cluster.is_empty() {
            flags.push(("--initial-cluster", &setup.initial_cluster));
        }
        self.process.spawn(&flags, &setup.flags, &setup.environment)
    }

    /// Starts the process and waits until it serves.
    pub fn start(&mut self) -> anyhow::Result<()> {
        self.spawn()?;
        self.wait_ready()
    }

    /// Waits until it answers as healthy (it knows a leader and can read) and knows the cluster's version.
    pub fn wait_ready(&mut self) -> anyhow::Result<()> {
        let address = self.address();
        self.process.wait_ready(address)
    }

    /// Whether it answers as healthy at this moment.
    pub fn is_healthy(&self) -> bool {
        serves(self.address())
    }

    /// Waits until it ended by itself; answers how.
    pub fn wait_ended(&mut self) -> anyhow::Result<ExitStatus> {
        self.process.wait_ended()
    }

    /// Ends the process as a power cut would: kill -9. A paused one too.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill()
    }

    /// Asks the process to end (SIGTERM), without waiting.
    pub fn ask_to_end(&self) -> anyhow::Result<()> {
        self.process.signal(Signal::TERM)
    }

    /// Asks the process to end (SIGTERM) and waits until it has.
    pub fn terminate(&mut self) -> anyhow::Result<ExitStatus> {
        self.ask_to_end()?;
        self.wait_ended()
    }

    /// Pauses the process (SIGSTOP): its sockets stay open, and it does nothing.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.process.signal(Signal::STOP)
    }

    /// Lets a paused process go on (SIGCONT).
    pub fn resume(&self) -> anyhow::Result<()> {
        self.process.signal(Signal::CONT)
    }

    /// Whether the process is still there.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
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
        self.process.log()
    }

    /// The last of what it logged.
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
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

    /// Whether it has let go of the beginning of its raft log, so that who misses that gets a snapshot.
    pub fn has_released_log(&self) -> bool {
        !self.data_dir().join("member/wal/00000001.seg").exists()
    }

    /// The folder of the member: its log, and its data beside it.
    pub fn folder(&self) -> &Path {
        self.process.folder()
    }
}
