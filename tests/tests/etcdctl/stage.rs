//! The servers of one script, what etcdctl says to them, and the names that stand for what differs between them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::tests::answer::Answer;
use ::tests::cluster::Settings;
use ::tests::{Cluster, Program, grpc, text, until};
use anyhow::{Context, ensure};
use tempfile::TempDir;

use crate::normal::{self, Ports};
use crate::process::{self, Etcdctl, Output, Process};
use crate::script::{Act, Manner, Script, Step, words};

/// How long a command may take; `check perf` takes a minute.
const PATIENCE: Duration = Duration::from_secs(30);
const LONG_PATIENCE: Duration = Duration::from_mins(4);

/// What one command did, ready to be compared.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    pub(crate) line: usize,
    pub(crate) command: String,
    pub(crate) answer: Answer,
}

/// The servers of a script while it runs.
pub(crate) struct Stage {
    etcdctl: Etcdctl,
    version: &'static str,
    cluster: Cluster,
    mirror: Option<Cluster>,
    folder: TempDir,
    ports: Ports,
    names: BTreeMap<&'static str, String>,
    streams: BTreeMap<char, (String, Process)>,
}

impl Stage {
    /// Starts what the script asks for.
    pub(crate) fn open(
        script: &Script,
        server: &Program,
        etcdctl: PathBuf,
        version: &'static str,
    ) -> anyhow::Result<Self> {
        let cluster = Cluster::start(&Settings::new(server, script.servers))?;
        let mirror = script.mirror.then(|| Cluster::start(&Settings::new(server, 1))).transpose()?;
        let mut ports = Ports::new();
        for cluster in [Some(&cluster), mirror.as_ref()].into_iter().flatten() {
            for number in 0..cluster.len() {
                let setup = &cluster.member(number).setup;
                ports.extend([(setup.client_port, "client"), (setup.peer_port, "peer")]);
            }
        }
        let folder = tempfile::tempdir().context("make a folder")?;
        let mut stage = Self {
            etcdctl: Etcdctl { path: etcdctl, api: if script.is_v2() { "2" } else { "3" } },
            version,
            cluster,
            mirror,
            folder,
            ports,
            names: BTreeMap::new(),
            streams: BTreeMap::new(),
        };
        stage.first_names()?;
        Ok(stage)
    }

    /// Runs the whole script; answers what every command did.
    pub(crate) fn play(mut self, script: &Script) -> anyhow::Result<Vec<Done>> {
        let mut done = Vec::new();
        for step in &script.steps {
            if step.only.as_ref().is_some_and(|only| !self.version.starts_with(only.as_str())) {
                continue;
            }
            let result = self
                .step(step)
                .with_context(|| format!("{}.txt:{}, after {:#?}", script.name, step.line, done.last()))?;
            done.extend(result);
        }
        ensure!(self.streams.is_empty(), "{}: a stream goes on at the end", script.name);
        self.mirror.map(Cluster::done).transpose()?;
        self.cluster.done()?;
        Ok(done)
    }

    fn step(&mut self, step: &Step) -> anyhow::Result<Option<Done>> {
        match &step.act {
            Act::Run { manner, command, input } => {
                let output = self.run(*manner, command, input)?;
                return self.done(step.line, command, *manner, &output).map(Some);
            }
            Act::Begin { stream, command } => {
                let words = self.words(command)?;
                let process = Process::start(&self.etcdctl, &words, self.folder.path())?;
                let before = self.streams.insert(*stream, (command.clone(), process));
                ensure!(before.is_none(), "there is another stream `{stream}`");
            }
            Act::Type { stream, text } => {
                let text = self.named(text)?;
                self.stream(*stream)?.write(&format!("{text}\n"))?;
            }
            Act::Expect { stream, text } => {
                let text = self.named(text)?;
                self.stream(*stream)?.expect(&text, PATIENCE)?;
            }
            Act::Interrupt { stream } => {
                let (command, process) = self.streams.remove(stream).context("no such stream")?;
                process.interrupt()?;
                let output = process.finish(PATIENCE)?;
                return self.done(step.line, &command, Manner::Once, &output).map(Some);
            }
            Act::Close { stream } => {
                let (command, process) = self.streams.remove(stream).context("no such stream")?;
                let output = process.close(PATIENCE)?;
                return self.done(step.line, &command, Manner::Once, &output).map(Some);
            }
        }
        Ok(None)
    }

    fn run(&mut self, manner: Manner, command: &str, input: &str) -> anyhow::Result<Output> {
        let (words, input) = (self.words(command)?, self.named(input)?);
        let (etcdctl, folder) = (self.etcdctl.clone(), self.folder.path().to_owned());
        let once = |patience: Duration| process::run(&etcdctl, &words, &folder, &input, patience);
        let output = match manner {
            Manner::Once => once(PATIENCE)?,
            Manner::Loosely => once(LONG_PATIENCE)?,
            Manner::Until => {
                let mut last = None;
                let found = until(PATIENCE, || match once(PATIENCE) {
                    Ok(output) if output.ended == "exit status: 0" => Some(output),
                    other => {
                        last = Some(other);
                        None
                    }
                });
                found.with_context(|| format!("it never succeeded: {last:?}"))?
            }
        };
        self.learn(&String::from_utf8_lossy(&output.stdout));
        Ok(output)
    }

    fn done(&self, line: usize, command: &str, manner: Manner, output: &Output) -> anyhow::Result<Done> {
        let show = |bytes: &[u8]| -> anyhow::Result<String> {
            let text = match message_of(command) {
                Some(kind) if !bytes.is_empty() => decoded(kind, bytes)?,
                _ => String::from_utf8_lossy(bytes).into_owned(),
            };
            let text = normal::normal(command, &self.ports, &text);
            let text = text.replace(&self.folder.path().display().to_string(), "<folder>");
            Ok(if manner == Manner::Loosely { normal::loose(&text) } else { text })
        };
        let mut answer = Answer::default();
        answer.add("stdout", &show(&output.stdout)?);
        answer.add("stderr", &normal::normal(command, &self.ports, &String::from_utf8_lossy(&output.stderr)));
        let ended = if manner == Manner::Loosely { "exit status: <measured>" } else { output.ended.as_str() };
        answer.add("exit", ended);
        Ok(Done { line, command: command.to_owned(), answer })
    }

    fn stream(&mut self, stream: char) -> anyhow::Result<&mut Process> {
        let (_, process) = self.streams.get_mut(&stream).with_context(|| format!("no stream `{stream}`"))?;
        Ok(process)
    }

    /// The words of a command with the endpoints before them, unless it names its own.
    fn words(&mut self, command: &str) -> anyhow::Result<Vec<String>> {
        let given = words(&self.named(command)?)?;
        let mut all = Vec::new();
        if self.etcdctl.api == "2" {
            // It waits for two seconds otherwise, and a busy machine may need more for a password.
            all.extend(["--timeout=20s", "--total-timeout=60s"].map(str::to_owned));
        }
        if !given.iter().any(|word| word.starts_with("--endpoints")) {
            all.push(format!("--endpoints={}", self.name("urls")));
        }
        if given.iter().any(|word| word.starts_with("--user")) {
            // The same of those who show one.
            all.extend(["--dial-timeout=20s", "--command-timeout=20s"].map(str::to_owned));
        }
        all.extend(given);
        Ok(all)
    }

    fn named(&mut self, text: &str) -> anyhow::Result<String> {
        if text.contains("${leader}") || text.contains("${follower") {
            self.name_leader()?;
        }
        let text = text::insert(text, &self.names);
        text::expand(&text)
    }

    fn name(&self, name: &str) -> &str {
        self.names.get(name).map_or("", String::as_str)
    }

    fn first_names(&mut self) -> anyhow::Result<()> {
        let url = |cluster: &Cluster, number: usize| cluster.member(number).setup.client_url();
        let urls: Vec<String> = (0..self.cluster.len()).map(|number| url(&self.cluster, number)).collect();
        self.names.insert("urls", urls.join(","));
        for (name, url) in ["url1", "url2", "url3"].into_iter().zip(urls) {
            self.names.insert(name, url);
        }
        for (number, name) in (0..self.cluster.len()).zip(["id1", "id2", "id3"]) {
            let id = self.cluster.member(number).client()?.id()?;
            self.names.insert(name, format!("{id:x}"));
        }
        for (number, name) in (0..self.cluster.len()).zip(["peer1", "peer2", "peer3"]) {
            self.names.insert(name, self.cluster.member(number).setup.peer_url());
        }
        if let Some(mirror) = &self.mirror {
            self.names.insert("mirror", mirror.member(0).address().to_string());
        }
        Ok(())
    }

    fn name_leader(&mut self) -> anyhow::Result<()> {
        let all: Vec<usize> = (0..self.cluster.len()).collect();
        let leader = self.cluster.wait_leader_of(&all)?;
        let follower = self.cluster.others(leader).first().copied().context("more than one member")?;
        let id = self.cluster.member(follower).client()?.id()?;
        self.names.insert("leader", self.cluster.member(leader).setup.client_url());
        self.names.insert("follower", self.cluster.member(follower).setup.client_url());
        self.names.insert("follower-id", format!("{id:x}"));
        Ok(())
    }

    /// Remembers what the next commands may speak of: leases in the order of their grants, and who was added.
    fn learn(&mut self, printed: &str) {
        const LEASES: [&str; 4] = ["lease1", "lease2", "lease3", "lease4"];
        for line in printed.lines() {
            let word = |before: &str, after: &str| {
                line.strip_prefix(before)?.split_once(after).map(|(word, _)| word.trim().to_owned())
            };
            if let Some(lease) = word("lease ", " granted with TTL(").filter(|_| !line.contains("remaining"))
            {
                let next = LEASES.iter().find(|name| !self.names.contains_key(**name));
                if let Some(name) = next {
                    self.names.insert(name, lease);
                }
            }
            let added = word("Member ", " added to cluster").or_else(|| {
                let named = line.strip_prefix("Added member named ")?.split_once(" with ID ")?.1;
                named.strip_suffix(" to cluster").map(str::to_owned)
            });
            if let Some(id) = added {
                self.names.insert("added", id);
            }
        }
    }
}

/// The message that a command prints with `-w protobuf`.
fn message_of(command: &str) -> Option<&'static str> {
    const MESSAGES: [(&str, &str); 8] = [
        ("put ", "KV/Put"),
        ("get ", "KV/Range"),
        ("del ", "KV/DeleteRange"),
        ("txn", "KV/Txn"),
        ("member list", "Cluster/MemberList"),
        ("lease ", "Lease/LeaseGrant"),
        ("alarm list", "Maintenance/Alarm"),
        ("role get", "Auth/RoleGet"),
    ];
    let binary = ["-w protobuf", "--write-out=protobuf"].iter().any(|option| command.contains(option));
    let known = MESSAGES.iter().find(|(words, _)| command.starts_with(words));
    known.map(|(_, method)| *method).filter(|_| binary)
}

fn decoded(method: &str, bytes: &[u8]) -> anyhow::Result<String> {
    let method = grpc::method(method).with_context(|| format!("there is no method {method}"))?;
    let mut kind = method.output();
    if method.parent_service().name() == "Lease" {
        // Of an answer about leases etcdctl prints the header alone, without a frame.
        let header = kind.get_field_by_name("header").context("every answer has a header")?.kind();
        kind = header.as_message().cloned().context("a header is a message")?;
    }
    grpc::decode(kind, bytes)
}

/// A folder for everything that one side says.
pub(crate) fn transcripts() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("etcdctl")
}
