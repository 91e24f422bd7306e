//! A server that data moves into or out of: ours, or etcd of some version, with its own hand tool.

use std::path::{Path, PathBuf};
use std::process::Command;

use ::tests::cluster::Settings;
use ::tests::{Cluster, Program, Release, etcdctl};
use anyhow::{Context, bail};

/// Whose server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum House {
    Kvorum,
    Etcd(Release),
}

impl House {
    pub(crate) fn settings(self) -> anyhow::Result<Settings> {
        let (program, own): (Program, &[&str]) = match self {
            Self::Kvorum => (Program::kvorum()?, &[]),
            Self::Etcd(release) => {
                (Program::release(release)?, &["--enable-v2=true", "--snapshot-count=200"])
            }
        };
        // Each command of a hand tool shows a password, which is not what is tested here.
        Ok(Settings::new(&program, 1).flags(&["--bcrypt-cost=4"]).flags(own))
    }

    /// A hand tool, and what it printed.
    pub(crate) fn tool(self, words: &[&str]) -> anyhow::Result<String> {
        let release = match self {
            Self::Kvorum => return etcdctl::kvorumctl(words),
            Self::Etcd(release) => release,
        };
        let mut command = Command::new(release.program("etcdctl")?);
        let output =
            command.env_clear().env("ETCDCTL_API", "3").args(words).output().context("run etcdctl")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!(
                "{words:?} fails with {}: {said}{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(said)
    }

    /// A server that starts with what is in `file`, which this house's own tool puts back.
    pub(crate) fn restored(self, file: &Path, more: &[&str]) -> anyhow::Result<Cluster> {
        let mut cluster = Cluster::prepare(&self.settings()?)?;
        let (setup, folder) = (cluster.member(0).setup.clone(), cluster.member(0).data_dir());
        let file = file.to_string_lossy().into_owned();
        let flags = [
            format!("--name={}", setup.name),
            format!("--initial-cluster={}", setup.initial_cluster),
            "--initial-cluster-token=moved".to_owned(),
            format!("--initial-advertise-peer-urls={}", setup.peer_url()),
            format!("--data-dir={}", folder.display()),
        ];
        let mut words = vec!["snapshot", "restore", &file];
        words.extend(flags.iter().map(String::as_str));
        words.extend(more);
        if let Err(refused) = self.tool(&words) {
            // Nothing of it is worth keeping.
            cluster.done()?;
            return Err(refused);
        }
        cluster.start_all()?;
        Ok(cluster)
    }

    /// Saves what the member holds, as root, with this house's tool.
    pub(crate) fn save(self, cluster: &Cluster, name: &str) -> anyhow::Result<PathBuf> {
        let file = cluster.folder().join(name);
        let endpoint = format!("--endpoints={}", cluster.member(0).setup.client_url());
        self.tool(&[&endpoint, crate::data::ROOT, "snapshot", "save", &file.to_string_lossy()])?;
        Ok(file)
    }
}
