//! A cluster of processes on loopback, ours or real etcd's, and everything that happens to clusters: members
//! die, pause, lose their links, are replaced, and come back.
//!
//! INVARIANT: whatever was started is ended when the cluster goes out of scope. Unless the test said that it
//! is done, it failed: then the folder with data and logs stays, and its path is printed.

mod lag;
pub mod links;
mod member;
mod writer;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use tempfile::TempDir;

pub use lag::Lag;
pub use links::{Link, Links};
pub use member::{Member, Setup};
pub use writer::{Report, Writer};

use crate::etcdctl;
use crate::node::{Flavor, Program};
use crate::port;
use crate::wait::{PATIENCE, until};

/// Starts are tried again with other ports when somebody was faster at taking one.
const STARTS_MAX: usize = 3;

/// Members that a test may ask for.
const SIZE_MAX: usize = 7;

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program of every member.
    pub program: Program,
    /// How many members it starts with.
    pub size: usize,
    /// Whether members speak through links that a test can cut.
    pub linked: bool,
    /// `--heartbeat-interval`, in milliseconds.
    pub heartbeat_ms: u64,
    /// `--election-timeout`, in milliseconds.
    pub election_ms: u64,
    /// Flags of every member after the usual ones.
    pub flags: Vec<String>,
    /// Whether data lies on a real disk; in memory otherwise.
    pub on_disk: bool,
}

impl Settings {
    /// Members with elections fast enough for a test and slow enough for a busy machine, in memory.
    pub fn new(program: &Program, size: usize) -> Self {
        Self {
            program: program.clone(),
            size,
            linked: false,
            heartbeat_ms: 100,
            election_ms: 1000,
            flags: Vec::new(),
            on_disk: false,
        }
    }

    /// The same with links between members that can be cut.
    #[must_use]
    pub fn linked(self) -> Self {
        Self { linked: true, ..self }
    }

    /// The same with this heartbeat interval and election time-out, in milliseconds.
    #[must_use]
    pub fn pace(self, heartbeat_ms: u64, election_ms: u64) -> Self {
        Self { heartbeat_ms, election_ms, ..self }
    }

    /// The same with more flags for every member.
    #[must_use]
    pub fn flags(mut self, flags: &[&str]) -> Self {
        self.flags.extend(flags.iter().map(ToString::to_string));
        self
    }

    /// Three times the election time-out.
    pub fn three_elections(&self) -> Duration {
        Duration::from_millis(self.election_ms * 3)
    }
}

/// Processes that are, or shall become, one cluster.
#[derive(Debug)]
pub struct Cluster {
    settings: Settings,
    members: Vec<Member>,
    links: Option<Links>,
    made: usize,
    done: bool,
    folder: Option<TempDir>,
}

impl Cluster {
    /// Starts all members on new folders and waits until each serves.
    pub fn start(settings: &Settings) -> anyhow::Result<Self> {
        let mut last = None;
        for _ in 0..STARTS_MAX {
            let mut cluster = Self::prepare(settings)?;
            match cluster.start_all() {
                Ok(()) => return Ok(cluster),
                Err(error) if error.to_string().to_lowercase().contains("address already in use") => {
                    last = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(last.context("no start was tried")?)
    }

    /// A cluster of which no process runs yet.
    pub fn prepare(settings: &Settings) -> anyhow::Result<Self> {
        ensure!(settings.size <= SIZE_MAX, "at most {SIZE_MAX} members");
        let folder = tempfile::Builder::new()
            .prefix("kvorum-cluster-")
            .tempdir_in(place(settings.on_disk))
            .context("make a folder")?;
        let links = settings.linked.then(Links::new).transpose()?;
        let settings = settings.clone();
        let mut cluster =
            Self { settings, members: Vec::new(), links, made: 0, done: false, folder: Some(folder) };
        for _ in 0..cluster.settings.size {
            cluster.add_process("new")?;
        }
        let all = cluster.initial_cluster();
        for member in &mut cluster.members {
            member.setup.initial_cluster.clone_from(&all);
        }
        Ok(cluster)
    }

    /// One more process that is not started yet; its `--initial-cluster` names all there are. Answers its
    /// number.
    pub fn add_process(&mut self, state: &'static str) -> anyhow::Result<usize> {
        let (client_port, peer_port) = port::free_pair().context("find free ports")?;
        let advertised_port = match &self.links {
            Some(links) => links.open(self.members.len(), peer_port)?,
            None => peer_port,
        };
        self.made += 1;
        let setup = Setup {
            name: format!("m{}", self.made),
            client_port,
            peer_port,
            advertised_port,
            initial_cluster: String::new(),
            state,
            token: "tests".to_owned(),
            flags: self.flags(),
            environment: Vec::new(),
        };
        let folder = self.folder().join(&setup.name);
        self.members.push(Member::new(self.settings.program.clone(), setup, folder)?);
        let all = self.initial_cluster();
        let member = self.members.last_mut().context("it was just added")?;
        member.setup.initial_cluster = all;
        Ok(self.members.len() - 1)
    }

    /// Says that the test got what it wanted: nothing of the cluster is worth keeping.
    pub fn done(mut self) -> anyhow::Result<()> {
        self.done = true;
        Ok(())
    }

    /// What the members were made from.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many processes there are, running or not.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is no process.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// A member by its number, from 0.
    pub fn member(&self, number: usize) -> &Member {
        self.members.get(number).expect("a number that the test knows")
    }

    /// A member by its number, to do something to it.
    pub fn member_mut(&mut self, number: usize) -> &mut Member {
        self.members.get_mut(number).expect("a number that the test knows")
    }

    /// Numbers of all members but this one.
    pub fn others(&self, number: usize) -> Vec<usize> {
        (0..self.members.len()).filter(|other| *other != number).collect()
    }

    /// The links between members of a linked cluster.
    pub fn links(&self) -> &Links {
        self.links.as_ref().expect("the test asked for links")
    }

    /// The folder of everything.
    pub fn folder(&self) -> &Path {
        self.folder.as_ref().expect("kept until the cluster is dropped").path()
    }

    /// Starts a process and waits for nothing.
    pub fn spawn(&mut self, number: usize) -> anyhow::Result<()> {
        self.member_mut(number).spawn()?;
        if let (Some(links), Some(pid)) = (&self.links, self.member(number).pid()) {
            links.belongs(number, pid);
        }
        Ok(())
    }

    /// Starts a process and waits until it serves.
    pub fn restart(&mut self, number: usize) -> anyhow::Result<()> {
        self.spawn(number)?;
        self.member_mut(number).wait_ready()
    }

    /// Starts every process that does not run, all at once, and waits until each serves.
    pub fn start_all(&mut self) -> anyhow::Result<()> {
        for number in 0..self.members.len() {
            if !self.member_mut(number).is_running() {
                self.spawn(number)?;
            }
        }
        self.wait_ready()
    }

    /// Waits until every process serves.
    pub fn wait_ready(&mut self) -> anyhow::Result<()> {
        self.members.iter_mut().try_for_each(Member::wait_ready)
    }

    /// Waits until the running members agree on a leader that runs too; answers its number.
    pub fn wait_leader(&mut self) -> anyhow::Result<usize> {
        let found = until(PATIENCE, || self.leader());
        found.with_context(|| format!("no leader after {PATIENCE:?}\n{}", self.logs()))
    }

    /// The member that every running member calls leader at this moment.
    pub fn leader(&mut self) -> Option<usize> {
        let running: Vec<usize> =
            (0..self.members.len()).filter(|number| self.member_mut(*number).is_running()).collect();
        self.leader_of(&running)
    }

    /// The member that these call leader, one of them, at this moment.
    pub fn leader_of(&self, among: &[usize]) -> Option<usize> {
        let mut leader = None;
        let mut who = None;
        for number in among {
            let status = self.member(*number).client().ok()?.status().ok()?;
            let id = status.header?.member_id;
            if status.leader == 0 || leader.is_some_and(|leader| leader != status.leader) {
                return None;
            }
            leader = Some(status.leader);
            if id == status.leader {
                who = Some(*number);
            }
        }
        who
    }

    /// Waits until these agree on one of them as leader.
    pub fn wait_leader_of(&self, among: &[usize]) -> anyhow::Result<usize> {
        let found = until(PATIENCE, || self.leader_of(among));
        found.with_context(|| format!("no leader among {among:?} after {PATIENCE:?}\n{}", self.logs()))
    }

    /// `etcdctl` with the endpoints of these members.
    pub fn etcdctl(&self, members: &[usize], arguments: &[&str]) -> anyhow::Result<String> {
        let endpoints: Vec<String> =
            members.iter().map(|number| self.member(*number).setup.client_url()).collect();
        etcdctl::run(&endpoints.join(","), arguments)
    }

    /// Waits until these members have the same hash of the v3 keyspace at one revision, the newest that any of
    /// them has now; answers both. Clients may go on writing.
    pub fn wait_equal(&self, members: &[usize]) -> anyhow::Result<(i64, u32)> {
        let mut revision = 0;
        for number in members {
            let reply = self.member(*number).client()?.hash_kv(0)?;
            revision = revision.max(reply.header.map_or(0, |header| header.revision));
        }
        let mut last = String::new();
        let found = until(PATIENCE, || match self.hashes(members, revision) {
            Ok(hashes) => {
                last = format!("{hashes:08x?}");
                let first = hashes.first().copied()?;
                hashes.iter().all(|hash| *hash == first).then_some((revision, first))
            }
            Err(error) => {
                last = format!("{error:#}");
                None
            }
        });
        found
            .with_context(|| format!("hashes at revision {revision} stay different: {last}\n{}", self.logs()))
    }

    /// The last of every member's log.
    pub fn logs(&self) -> String {
        let of_one =
            |member: &Member| format!("the log of {} ends with:\n{}\n", member.setup.name, member.log_tail());
        self.members.iter().map(of_one).collect()
    }

    /// The hash of each at a revision, in order; refused by one that has not come so far.
    fn hashes(&self, members: &[usize], revision: i64) -> anyhow::Result<Vec<u32>> {
        let of_one = |number: &usize| Ok(self.member(*number).client()?.hash_kv(revision)?.hash);
        members.iter().map(of_one).collect()
    }

    fn initial_cluster(&self) -> String {
        let one = |member: &Member| format!("{}={}", member.setup.name, member.setup.peer_url());
        self.members.iter().map(one).collect::<Vec<_>>().join(",")
    }

    fn flags(&self) -> Vec<String> {
        let mut flags = vec![
            format!("--heartbeat-interval={}", self.settings.heartbeat_ms),
            format!("--election-timeout={}", self.settings.election_ms),
        ];
        flags.extend(self.settings.flags.iter().cloned());
        flags
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.done {
            eprint!("{}", self.logs());
            if let Some(folder) = self.folder.take() {
                eprintln!("data and logs stay in {}", folder.keep().display());
            }
        }
        for member in &mut self.members {
            if member.pid().is_some() && member.kill().is_err() {
                eprintln!("{} could not be ended", member.setup.name);
            }
        }
    }
}

/// The program that cluster tests run: ours, or real etcd when `CLUSTER_OF=etcd`, to test the tests.
pub fn program() -> anyhow::Result<Program> {
    match std::env::var("CLUSTER_OF").as_deref() {
        Ok("etcd") => Program::etcd(),
        _ => Program::kvorum(),
    }
}

/// Whether the tests run real etcd.
pub fn is_etcd(program: &Program) -> bool {
    program.flavor == Flavor::Etcd
}

/// Where folders are made: memory where there is some, the usual place for temporary files otherwise.
fn place(on_disk: bool) -> PathBuf {
    let memory = Path::new("/dev/shm");
    if !on_disk && memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}
