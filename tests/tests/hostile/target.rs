//! The member that is attacked, with certificates by `kvorumctl tls init`.
//!
//! INVARIANT: a process started here is ended here, by its process id, however the test ends.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use rand::RngExt as _;
use telemetry::Registry;
use tempfile::TempDir;
use tests::{Program, client, etcdctl, until};
use tls::{Allowed, Client, ClientSettings, Pair, Protocol, Side, Trust};

use crate::line::Line;

const START_PATIENCE: Duration = Duration::from_secs(40);

/// See the module.
pub(crate) struct Target {
    pub(crate) port: u16,
    pub(crate) tls: Arc<Client>,
    folder: TempDir,
    child: Child,
}

impl Target {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("kvorum-hostile-").tempdir()?;
        let certs = folder.path().join("certs");
        let words = ["tls", "init", "--hosts", "127.0.0.1", "--dir"];
        let made = Command::new(etcdctl::own()?).args(words).arg(&certs).output()?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let file = |name: &str| certs.join(name);
        let (port, peer_port) = (free_port()?, free_port()?);
        let (url, peer) = (format!("https://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer_port}"));
        let log = File::create(folder.path().join("log"))?;
        let child = Command::new(Program::kvorum()?.path)
            .args(["--data-dir", "data", "--client-cert-auth"])
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .args([
                PathBuf::from("--cert-file"),
                file("server.pem"),
                "--key-file".into(),
                file("server-key.pem"),
            ])
            .args([PathBuf::from("--trusted-ca-file"), file("ca.pem")])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start kvorum")?;
        let settings = ClientSettings {
            side: Side::Client,
            pair: Some(Pair { cert: file("client.pem"), key: file("client-key.pem") }),
            trust: Trust::File(file("ca.pem")),
            allowed: Allowed::All,
            server_name: None,
            protocol: Protocol::default(),
            inside: Vec::new(),
        };
        let tls = Client::new(settings, &Registry::new())?;
        let target = Self { port, tls, folder, child };
        let healthy = || target.get("/health").ok().filter(|body| body.contains("true"));
        ensure!(until(START_PATIENCE, healthy).is_some(), "it does not serve:\n{}", target.log());
        Ok(target)
    }

    /// A connection of its own for each.
    pub(crate) fn get(&self, path: &str) -> anyhow::Result<String> {
        client::runtime().block_on(async {
            let mut line = Line::open(self.port, &self.tls).await?;
            Ok(line.ask("GET", path, b"").await?.1)
        })
    }

    /// A counter's value, zero where it has none yet.
    pub(crate) fn counted(&self, name: &str) -> anyhow::Result<f64> {
        let metrics = self.get("/metrics")?;
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        Ok(value.unwrap_or_default())
    }

    pub(crate) fn election_count(&self) -> anyhow::Result<f64> {
        self.counted("etcd_server_leader_changes_seen_total")
    }

    /// What it had in memory at its highest, in bytes.
    pub(crate) fn memory_peak(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Below those that the kernel gives to connections that go out.
fn free_port() -> anyhow::Result<u16> {
    for _ in 0..100 {
        if let Ok(listener) =
            std::net::TcpListener::bind(("127.0.0.1", rand::rng().random_range(10_000..30_000)))
        {
            return Ok(listener.local_addr()?.port());
        }
    }
    anyhow::bail!("no port is free")
}
