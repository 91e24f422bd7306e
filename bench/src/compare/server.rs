//! One server process with a data folder and two free ports, alone or as a member of a cluster.
//!
//! INVARIANT: the process does not outlive its `Server`, whatever way the program ends short of SIGKILL.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

use super::systems::System;
use crate::call::Caller;
use crate::proc::{self, Memory};

const READY_MAX: Duration = Duration::from_mins(3);
const STOP_MAX: Duration = Duration::from_mins(1);
/// How often a starting or stopping server is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// What a member is told about itself.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    name: String,
    folder: PathBuf,
    client_port: u16,
    peer_port: u16,
}

impl Seat {
    /// A seat on free ports, with its data and log in `folder`.
    pub(super) fn take(name: &str, folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let ports = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
        let [client_port, peer_port] = [ports[0].local_addr()?.port(), ports[1].local_addr()?.port()];
        Ok(Self { name: name.to_owned(), folder: folder.to_owned(), client_port, peer_port })
    }

    /// Where the other members reach it.
    pub(super) fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer_port)
    }
}

/// What a member is told about the cluster that it starts in.
#[derive(Clone, Debug)]
pub(super) struct Founding {
    members: String,
    state: &'static str,
}

impl Founding {
    /// `seats` make a new cluster.
    pub(super) fn new(seats: &[Seat]) -> Self {
        let members: Vec<String> =
            seats.iter().map(|seat| format!("{}={}", seat.name, seat.peer_url())).collect();
        Self { members: members.join(","), state: "new" }
    }

    /// `newcomer` comes to this cluster, which knows of it.
    pub(super) fn joined_by(&self, newcomer: &Seat) -> Self {
        let members = format!("{},{}={}", self.members, newcomer.name, newcomer.peer_url());
        Self { members, state: "existing" }
    }
}

/// A running server.
pub(super) struct Server {
    child: Child,
    seat: Seat,
    founding: Founding,
}

impl Server {
    /// Starts `system` alone on free ports, with its data and log in `folder`, and waits until it answers.
    pub(super) async fn start(system: &System, folder: &Path) -> Result<Self> {
        let seat = Seat::take("bench", folder)?;
        let mut server = Self::launch(system, &seat, &Founding::new(std::slice::from_ref(&seat)))?;
        server.ready(system).await?;
        Ok(server)
    }

    /// Starts the process of one member, and waits for nothing.
    pub(super) fn launch(system: &System, seat: &Seat, founding: &Founding) -> Result<Self> {
        let child = spawn(system, seat, founding)?;
        Ok(Self { child, seat: seat.clone(), founding: founding.clone() })
    }

    /// Waits until a linearizable read is answered.
    pub(super) async fn ready(&mut self, system: &System) -> Result<()> {
        self.wait(b"").await.with_context(|| format!("{} did not start", system.name))
    }

    /// Starts the process again after `stop` or `kill`, and waits for nothing.
    pub(super) fn relaunch(&mut self, system: &System) -> Result<()> {
        self.child = spawn(system, &self.seat, &self.founding)?;
        Ok(())
    }

    /// Starts it again after `stop` or `kill`. Returns the time from the start of the process until a
    /// linearizable read found `key`.
    pub(super) async fn restart(&mut self, system: &System, key: &[u8]) -> Result<Duration> {
        let begin = Instant::now();
        self.relaunch(system)?;
        self.wait(key).await.with_context(|| format!("{} did not start again", system.name))?;
        Ok(begin.elapsed())
    }

    /// Waits until a linearizable read finds `key`.
    pub(super) async fn wait(&mut self, key: &[u8]) -> Result<()> {
        let authority = self.authority();
        let begin = Instant::now();
        loop {
            let found = async { Caller::connect(&authority).await?.finds(key).await }.await;
            if matches!(found, Ok(true)) {
                return Ok(());
            }
            self.is_alive()?;
            if begin.elapsed() > READY_MAX {
                let reason = found.err().unwrap_or_else(|| anyhow!("the key is not there"));
                return Err(reason.context(format!("no good answer in {} s", READY_MAX.as_secs())));
            }
            sleep(LOOK).await;
        }
    }

    /// An error with the end of its log when the process has ended.
    pub(super) fn is_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("it ended with {status}; its log ends with:\n{}", self.log_tail()),
        }
    }

    /// Asks it to end, and waits for that.
    pub(super) async fn stop(&mut self) -> Result<()> {
        self.ask_to_end()?;
        self.ended().await
    }

    /// Asks it to end.
    pub(super) fn ask_to_end(&self) -> Result<()> {
        kill_process(self.pid_handle()?, Signal::TERM).context("cannot send SIGTERM")
    }

    /// Waits until it has ended as it was asked to.
    pub(super) async fn ended(&mut self) -> Result<()> {
        let begin = Instant::now();
        while self.child.try_wait()?.is_none() {
            if begin.elapsed() > STOP_MAX {
                self.kill()?;
                bail!("the server did not end within {} s of SIGTERM", STOP_MAX.as_secs());
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Ends it at once, as a crash would.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Where clients connect.
    pub(super) fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.seat.client_port)
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its memory now.
    pub(super) fn memory(&self) -> Result<Memory> {
        proc::memory(self.pid())
    }

    /// Bytes that its data takes on disk, as `du` counts.
    pub(super) fn disk_bytes(&self) -> Result<u64> {
        used_bytes(&self.seat.folder.join("data"))
    }

    /// The cluster as it was told to this member.
    pub(super) fn founding(&self) -> &Founding {
        &self.founding
    }

    /// Its process id, for signals.
    pub(super) fn pid_handle(&self) -> Result<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("a process id out of range")
    }

    fn log_tail(&self) -> String {
        let text = std::fs::read(self.seat.folder.join("log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already; there is nothing left to do about a failure.
        let _ = self.kill();
    }
}

fn spawn(system: &System, seat: &Seat, founding: &Founding) -> Result<Child> {
    let log = File::options().create(true).append(true).open(seat.folder.join("log"))?;
    let client = format!("http://127.0.0.1:{}", seat.client_port);
    let peer = seat.peer_url();
    Command::new(&system.program)
        .args(["--name", &seat.name, "--data-dir"])
        .arg(seat.folder.join("data"))
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &founding.members, "--initial-cluster-state", founding.state])
        .args(&system.flags)
        // Nobody's ETCD_ variables.
        .env_clear()
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot start {}", system.name))
}

fn used_bytes(path: &Path) -> Result<u64> {
    let metadata = std::fs::symlink_metadata(path)?;
    // The kernel counts blocks of 512 bytes, whatever the file system's own are.
    let mut bytes = metadata.blocks() * 512;
    if metadata.is_dir() {
        for entry in std::fs::read_dir(path)? {
            bytes += used_bytes(&entry?.path())?;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_use_counts_blocks_and_not_lengths() {
        let folder = tempfile::tempdir().expect("a folder");
        let empty = used_bytes(folder.path()).expect("readable");
        std::fs::create_dir(folder.path().join("inner")).expect("a folder in it");
        std::fs::write(folder.path().join("inner/file"), vec![7; 100_000]).expect("a file");
        let sparse = File::create(folder.path().join("sparse")).expect("a file");
        sparse.set_len(1 << 30).expect("a hole");
        let used = used_bytes(folder.path()).expect("readable") - empty;
        assert!((100_000..1_000_000).contains(&used), "{used}");
    }
}
