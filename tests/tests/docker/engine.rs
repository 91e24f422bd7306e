//! A Docker engine: the one that runs here, or one that is started for the test and ended with it.
//!
//! INVARIANT: whatever the test made on the engine goes with [`Engine`], also when the test fails.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;
use tests::{root, until};

/// How long a new engine may take until it answers.
const START_PATIENCE: Duration = Duration::from_mins(1);

/// What there is.
pub(crate) enum Found {
    /// An engine.
    Engine(Engine),
    /// None, for this reason.
    Nothing(String),
}

/// An engine with a way to compose.
pub(crate) struct Engine {
    /// Its own data, and the socket; only where it was started here.
    own: Option<(Child, TempDir)>,
    host: Option<String>,
    /// `docker compose` or `docker-compose`.
    compose: Vec<&'static str>,
    project: String,
}

impl Engine {
    /// Finds one, or installs and starts one.
    pub(crate) fn find() -> anyhow::Result<Found> {
        let project = format!("kvorum-test-{}", std::process::id());
        let mut engine = Self { own: None, host: None, compose: Vec::new(), project };
        if !is_root()? {
            return Ok(Found::Nothing(
                "the stand-ins for base images need root, and the user is not".to_owned(),
            ));
        }
        if !engine.answers() {
            if let Err(error) = prepare() {
                return Ok(Found::Nothing(format!(
                    "no Docker engine runs, and none can be installed: {error:#}"
                )));
            }
            if let Err(error) = engine.start() {
                return Ok(Found::Nothing(format!(
                    "no Docker engine runs, and none can be started: {error:#}"
                )));
            }
        }
        let candidates: [&[&str]; 2] = [&["docker", "compose"], &["docker-compose"]];
        let works = |words: &&[&'static str]| {
            engine.command(words).arg("version").output().is_ok_and(|out| out.status.success())
        };
        match candidates.into_iter().find(works) {
            Some(words) => engine.compose = words.to_vec(),
            None => {
                return Ok(Found::Nothing("there is neither `docker compose` nor docker-compose".to_owned()));
            }
        }
        Ok(Found::Engine(engine))
    }

    /// What everything of this test on the engine begins with.
    pub(crate) fn project(&self) -> &str {
        &self.project
    }

    /// Base images, so that no registry is needed. On an engine of somebody else they get names of their own.
    pub(crate) fn make_stand_ins(&self, program: &Path) -> anyhow::Result<()> {
        let mut command = self.command(&["docker/stand-ins", "--program"]);
        run(command.arg(program)).map(drop)
    }

    /// Runs docker.
    pub(crate) fn docker(&self, words: &[&str]) -> anyhow::Result<String> {
        run(self.command(&["docker"]).args(words))
    }

    /// Runs compose on compose.yaml.
    pub(crate) fn compose(&self, words: &[&str]) -> anyhow::Result<String> {
        run(self.command(&self.compose).args(["--project-name", &self.project]).args(words))
    }

    /// The id of a service's container.
    pub(crate) fn container(&self, service: &str) -> anyhow::Result<String> {
        let found = self.docker(&[
            "ps",
            "--all",
            "--quiet",
            "--filter",
            &format!("label=com.docker.compose.project={}", self.project),
            "--filter",
            &format!("label=com.docker.compose.service={service}"),
        ])?;
        ensure!(found.trim().lines().count() == 1, "{service} has not one container: {found}");
        Ok(found.trim().to_owned())
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).current_dir(root());
        match &self.host {
            Some(host) => {
                command.env("DOCKER_HOST", host);
            }
            None => {
                command
                    .env("BUILDER_IMAGE", "kvorum-test-builder")
                    .env("RUNTIME_IMAGE", "kvorum-test-runtime");
            }
        }
        command
    }

    fn answers(&self) -> bool {
        self.command(&["docker"]).arg("info").output().is_ok_and(|output| {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            output.status.success() && text.contains("Server Version")
        })
    }

    fn start(&mut self) -> anyhow::Result<()> {
        let folder = tempfile::Builder::new().prefix("kvorum-docker-").tempdir().context("make a folder")?;
        let at = |name: &str| folder.path().join(name);
        let host = format!("unix://{}", at("socket").display());
        let log = File::create(at("log")).context("make its log")?;
        let child = Command::new("dockerd")
            .args(["--host", &host])
            // No rule of the machine's network is changed: published ports and the members' own bridge need none.
            .args(["--iptables=false", "--ip-forward=false"])
            .arg("--data-root")
            .arg(at("data"))
            .arg("--exec-root")
            .arg(at("run"))
            .arg("--pidfile")
            .arg(at("pid"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("share its log")?)
            .stderr(log)
            .spawn()
            .context("start dockerd")?;
        let log = at("log");
        self.host = Some(host);
        self.own = Some((child, folder));
        let answers = until(START_PATIENCE, || {
            let (child, _) = self.own.as_mut()?;
            let ended = child.try_wait().ok().flatten();
            let answers = ended.is_none() && self.answers();
            (ended.is_some() || answers).then_some(answers)
        });
        if answers != Some(true) {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().rev().take(3).collect();
            self.end();
            bail!("dockerd does not answer; its log ends with {lines:?}");
        }
        Ok(())
    }

    fn end(&mut self) {
        if let Some((mut child, _folder)) = self.own.take() {
            // With SIGTERM it unmounts what it mounted; only then the folder can go.
            let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
            let ended = until(START_PATIENCE, || child.try_wait().ok().flatten());
            if ended.is_none() && child.kill().is_err() {
                shout("docker: its engine could not be ended");
            }
            let _ = child.wait();
            // The bridge that every engine makes; nobody else has one where no engine runs.
            let _ = Command::new("ip").args(["link", "delete", "docker0"]).stderr(Stdio::null()).status();
        }
        self.host = None;
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if !self.compose.is_empty() {
            // After a test that went well there is nothing to take down.
            let _ = self.compose(&["down", "-v", "--timeout", "2"]);
        }
        self.end();
    }
}

/// Runs to the end; what it printed, or all that it said when it failed.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {command:?}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} ended with {}:\n{stdout}{stderr}", output.status);
    Ok(stdout)
}

/// Says it whether the test passes or not.
pub(crate) fn shout(line: &str) {
    // The harness keeps what `eprintln!` says of a test that passes.
    drop(writeln!(std::io::stderr(), "{line}"));
}

fn is_root() -> anyhow::Result<bool> {
    Ok(run(Command::new("id").arg("-u"))?.trim() == "0")
}

/// Debian's engine and docker-compose, where they are not there yet.
fn prepare() -> anyhow::Result<()> {
    run(Command::new(".ci/prepare").arg("docker").current_dir(root())).map(drop)
}
