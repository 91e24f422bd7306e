//! Members with TLS, and callers as people have them.
//!
//! INVARIANT: a process started here is ended here, by its process id, however the test ends.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use tempfile::TempDir;
use tests::{Program, Release, until};

use crate::shop::Shop;

/// A cluster, or a condition in it, takes no longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// A member, ours or real etcd.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) client_port: u16,
    pub(crate) peer_port: u16,
    /// Everything that it is told at its next start.
    pub(crate) flags: Vec<String>,
    program: Program,
    folder: TempDir,
    child: Option<Child>,
}

/// What curl printed, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) body: String,
}

impl Member {
    /// A member that was not started. `flags` are given its ports.
    pub(crate) fn new(
        program: &Program,
        name: &str,
        flags: impl Fn(u16, u16) -> Vec<String>,
    ) -> anyhow::Result<Self> {
        let (client_port, peer_port) = (free_port()?, free_port()?);
        let mut all: Vec<String> =
            ["--name", name, "--data-dir", "data", "--enable-v2=true"].map(str::to_owned).to_vec();
        all.extend(flags(client_port, peer_port));
        if program.path.ends_with("etcd") {
            all.extend(["--logger=zap", "--log-outputs=stderr"].map(str::to_owned));
        }
        let folder = tempfile::Builder::new().prefix("kvorum-tls-member-").tempdir()?;
        let (program, name) = (program.clone(), name.to_owned());
        Ok(Self { name, client_port, peer_port, flags: all, program, folder, child: None })
    }

    pub(crate) fn spawn(&mut self) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let child = Command::new(&self.program.path)
            .args(&self.flags)
            .env_remove("ETCD_BINARY")
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", self.program.path.display()))?;
        self.child = Some(child);
        Ok(())
    }

    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().context("it is not running")?;
        ensure!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status()?.success());
        let ended = until(PATIENCE, || child.try_wait().ok().flatten());
        if ended.is_none() {
            child.kill()?;
        }
        child.wait()?;
        ensure!(ended.is_some(), "it ignores SIGTERM");
        Ok(())
    }

    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.client_port)
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// Waits for a line of the log with all of these words, and answers it.
    pub(crate) fn line_with(&self, words: &[&str]) -> anyhow::Result<String> {
        let find = || {
            let log = self.log();
            log.lines().find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned)
        };
        until(PATIENCE, find)
            .with_context(|| format!("no line of {} has {words:?}:\n{}", self.name, self.log()))
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let from = lines.len().saturating_sub(30);
            eprintln!("the log of {} ends with:\n{}", self.name, lines[from..].join("\n"));
        }
    }
}

/// Three members with certificates of the shop, which they show one another and ask clients for. `more` are flags for
/// each.
pub(crate) fn three(shop: &Shop, more: &[&str]) -> anyhow::Result<Vec<Member>> {
    let program = Program::kvorum()?;
    let mut members = Vec::new();
    for name in ["a", "b", "c"] {
        members.push(Member::new(&program, name, |client, peer| {
            let mut flags = client_flags(shop, client);
            flags.extend(peer_flags(shop, peer));
            flags.extend(more.iter().map(ToString::to_string));
            flags
        })?);
    }
    let pairs: Vec<String> = members
        .iter()
        .map(|member| format!("{}=https://127.0.0.1:{}", member.name, member.peer_port))
        .collect();
    for member in &mut members {
        member.flags.extend(["--initial-cluster".to_owned(), pairs.join(",")]);
        member.spawn()?;
    }
    for member in &members {
        wait_healthy(shop, member)?;
    }
    Ok(members)
}

/// https for clients, who have to show certificates.
pub(crate) fn client_flags(shop: &Shop, port: u16) -> Vec<String> {
    let url = format!("https://127.0.0.1:{port}");
    let words = ["--listen-client-urls", &url, "--advertise-client-urls", &url, "--client-cert-auth"];
    let mut flags: Vec<String> = words.map(str::to_owned).to_vec();
    flags.extend(files(
        shop,
        [("cert-file", "server.pem"), ("key-file", "server-key.pem"), ("trusted-ca-file", "ca.pem")],
    ));
    flags
}

/// https between members.
pub(crate) fn peer_flags(shop: &Shop, port: u16) -> Vec<String> {
    let url = format!("https://127.0.0.1:{port}");
    let words =
        ["--listen-peer-urls", &url, "--initial-advertise-peer-urls", &url, "--peer-client-cert-auth"];
    let mut flags: Vec<String> = words.map(str::to_owned).to_vec();
    flags.extend(peer_files(shop));
    flags
}

/// The certificates between members.
pub(crate) fn peer_files(shop: &Shop) -> Vec<String> {
    let named = [
        ("peer-cert-file", "peer.pem"),
        ("peer-key-file", "peer-key.pem"),
        ("peer-trusted-ca-file", "ca.pem"),
    ];
    files(shop, named)
}

fn files<const N: usize>(shop: &Shop, named: [(&str, &str); N]) -> Vec<String> {
    named.into_iter().flat_map(|(flag, file)| [format!("--{flag}"), shop.word(file)]).collect()
}

/// Waits until it serves a client with the certificate `client`.
pub(crate) fn wait_healthy(shop: &Shop, member: &Member) -> anyhow::Result<()> {
    let url = format!("{}/health", member.url());
    let healthy =
        || curl(shop, Some("client"), &[&url]).ok().filter(|answer| answer.body.contains("\"true\""));
    let found = until(PATIENCE, healthy);
    found.map(drop).with_context(|| format!("{} does not serve:\n{}", member.name, member.log()))
}

/// curl with the shop's CA and the certificate of this name.
pub(crate) fn curl(shop: &Shop, certificate: Option<&str>, arguments: &[&str]) -> anyhow::Result<Answer> {
    let mut command = Command::new("curl");
    command.args(["-sS", "-m", "10", "--noproxy", "*", "--cacert", &shop.word("ca.pem")]);
    if let Some(name) = certificate {
        command.args([
            "--cert",
            &shop.word(&format!("{name}.pem")),
            "--key",
            &shop.word(&format!("{name}-key.pem")),
        ]);
    }
    let Output { status, stdout, .. } = command.args(arguments).stdin(Stdio::null()).output()?;
    Ok(Answer { code: status.code().unwrap_or(-1), body: String::from_utf8_lossy(&stdout).into_owned() })
}

/// etcdctl with the shop's CA and the certificate `client`.
pub(crate) fn etcdctl(
    shop: &Shop,
    release: Release,
    endpoints: &str,
    arguments: &[&str],
) -> anyhow::Result<String> {
    let (fine, said) = etcdctl_as(shop, "client", release, endpoints, arguments)?;
    ensure!(fine, "etcdctl {arguments:?} fails: {said}");
    Ok(said)
}

/// etcdctl with the shop's CA and the certificate of this name: whether it went well, and what it said.
pub(crate) fn etcdctl_as(
    shop: &Shop,
    name: &str,
    release: Release,
    endpoints: &str,
    arguments: &[&str],
) -> anyhow::Result<(bool, String)> {
    let (cert, key) = (shop.word(&format!("{name}.pem")), shop.word(&format!("{name}-key.pem")));
    let ca = shop.word("ca.pem");
    let output = Command::new(release.program("etcdctl")?)
        .env("ETCDCTL_API", "3")
        .args(["--endpoints", endpoints, "--cacert", &ca, "--cert", &cert, "--key", &key])
        .arg("--command-timeout=15s")
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Ok((output.status.success(), said))
}

/// Below those that the kernel gives to connections that go out.
fn free_port() -> anyhow::Result<u16> {
    use rand::RngExt as _;
    for _ in 0..100 {
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", rand::rng().random_range(10_000..30_000))) {
            return Ok(listener.local_addr()?.port());
        }
    }
    anyhow::bail!("no port is free")
}
