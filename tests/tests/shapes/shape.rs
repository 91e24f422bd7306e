//! A file of `tests/shapes`: what somebody starts etcd with, word by word, and how that is made to run here.
//!
//! Only addresses, ports and the folders above the paths are put in the place of those that are written there.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use tests::{Program, etcdctl};

/// Addresses in the files, in the order of the members, and those that they are here.
const ADDRESSES: [(&str, &str); 3] =
    [("10.0.1.10", "127.0.0.2"), ("10.0.1.11", "127.0.0.3"), ("10.0.1.12", "127.0.0.4")];
/// Ports in the files.
const PORTS: [&str; 5] = ["2379", "2380", "2381", "2382", "4001"];
/// Folders in the files; the second is where they are here, below the test's own.
const FOLDERS: [(&str, &str); 4] =
    [("/etc/", "etc"), ("/var/lib/", "var/lib"), ("/usr/local/bin/", "bin"), ("/usr/bin/", "bin")];

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Shape {
    certificates: Vec<Vec<String>>,
    files: Vec<(String, String)>,
    variables: BTreeMap<String, String>,
    /// What a shell runs, for each member.
    pub(crate) starts: Vec<String>,
    /// Whether a service manager is to be told.
    pub(crate) notifies: bool,
}

/// What the words of a shape become.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    ports: Vec<(String, u16)>,
}

impl Place {
    /// Free ports, and the programs under the names that shapes know.
    pub(crate) fn new(folder: &Path) -> anyhow::Result<Self> {
        // All are held until the last is found, so that none is found twice.
        let held: Vec<TcpListener> =
            PORTS.iter().map(|_| TcpListener::bind(("0.0.0.0", 0))).collect::<Result<_, _>>()?;
        let mut ports = Vec::new();
        for (known, held) in PORTS.iter().zip(&held) {
            ports.push(((*known).to_owned(), held.local_addr()?.port()));
        }
        fs::create_dir_all(folder.join("bin"))?;
        for name in ["etcd", "kvorum"] {
            symlink(Program::kvorum()?.path, folder.join("bin").join(name))?;
        }
        Ok(Self { folder: folder.to_owned(), ports })
    }

    /// A text with what is here instead of what is there. `127.0.0.1` and `localhost` are the member's own.
    fn here(&self, text: &str, own: &str) -> String {
        let mut text = text.to_owned();
        for (known, port) in &self.ports {
            text = text.replace(&format!(":{known}"), &format!(":{port}"));
        }
        for (known, here) in FOLDERS {
            text = text.replace(known, &format!("{}/", self.folder.join(here).display()));
        }
        text = text.replace("127.0.0.1", own).replace("//localhost", &format!("//{own}"));
        for (known, here) in ADDRESSES {
            text = text.replace(known, here);
        }
        text
    }

    /// The port that is 2379 there.
    pub(crate) fn client_port(&self) -> u16 {
        self.ports.first().map_or(0, |(_, port)| *port)
    }

    /// Where a path of the shape is here.
    fn path(&self, path: &str) -> PathBuf {
        self.here(path, "").into()
    }
}

impl Shape {
    /// Reads one by its name.
    pub(crate) fn read(name: &str) -> anyhow::Result<Self> {
        let path = tests::root().join("tests/shapes").join(format!("{name}.txt"));
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let mut shape = Self::default();
        for section in text.split("\n=== ").skip(1) {
            let (head, body) = section.split_once('\n').context("a section has lines")?;
            match head.split_once(' ').unwrap_or((head, "")) {
                ("certificates", _) => {
                    let words = |line: &str| line.split(' ').map(str::to_owned).collect();
                    shape.certificates = body.lines().map(words).collect();
                }
                ("file", path) => shape.files.push((path.to_owned(), format!("{body}\n"))),
                ("environment", _) => shape.variables.extend(variables(body)),
                ("command", _) => shape.starts.push(body.to_owned()),
                ("unit", _) => shape.unit(body)?,
                ("manifest", _) => shape.manifest(body)?,
                (other, _) => bail!("{name}: a section {other}"),
            }
        }
        ensure!(!shape.starts.is_empty(), "{name} starts nothing");
        Ok(shape)
    }

    /// Our own unit with our own settings, on a machine that has Red Hat's file of etcd.
    pub(crate) fn own_unit() -> anyhow::Result<Self> {
        let read = |name: &str| fs::read_to_string(tests::root().join("docker/systemd").join(name));
        let mut shape = Self { files: Self::read("redhat")?.files, ..Self::default() };
        shape.files.push(("/etc/kvorum/kvorum.conf".to_owned(), read("kvorum.conf")?));
        shape.unit(&read("kvorum.service")?)?;
        Ok(shape)
    }

    /// Our own static pod, with the certificates that kubeadm makes.
    pub(crate) fn own_pod() -> anyhow::Result<Self> {
        let mut shape = Self { certificates: Self::read("kubeadm")?.certificates, ..Self::default() };
        shape.manifest(&fs::read_to_string(tests::root().join("docker/kubernetes/static-pod.yaml"))?)?;
        Ok(shape)
    }

    /// What systemd would run.
    fn unit(&mut self, text: &str) -> anyhow::Result<()> {
        let joined = text.replace("\\\n", " ");
        let values = |key: &str| -> Vec<String> {
            let value = |line: &str| line.strip_prefix(key)?.strip_prefix('=').map(str::to_owned);
            joined.lines().filter_map(value).collect()
        };
        for assignment in values("Environment") {
            self.variables.extend(variables(&assignment.replace("%H", "host")));
        }
        for path in values("EnvironmentFile") {
            // The unit is called etcd, and a dash lets the file be missing.
            let needed = path.trim_start_matches('-').replace("%p", "etcd");
            match self.files.iter().find(|(known, _)| *known == needed) {
                Some((_, text)) => self.variables.extend(variables(text)),
                None => ensure!(path.starts_with('-'), "there is no {path}"),
            }
        }
        self.notifies = values("Type") == ["notify"];
        self.starts.extend(values("ExecStart"));
        Ok(())
    }

    /// What a kubelet would run: the list below `command`, with the variables that it fills in.
    fn manifest(&mut self, text: &str) -> anyhow::Result<()> {
        let (_, list) = text.split_once("command:\n").context("a manifest has a command")?;
        let words = list.lines().map_while(|line| line.trim().strip_prefix("- "));
        let filled = |word: &str| {
            let mut word = word.to_owned();
            for (name, value) in &self.variables {
                word = word.replace(&format!("$({name})"), value);
            }
            format!("'{word}'")
        };
        self.starts.push(words.map(filled).collect::<Vec<_>>().join(" "));
        Ok(())
    }

    /// Makes its files and certificates.
    pub(crate) fn furnish(&self, place: &Place) -> anyhow::Result<()> {
        for folder in ["var/lib/etcd", "var/lib/etcd-wal", "var/lib/kvorum"] {
            fs::create_dir_all(place.folder.join(folder))?;
        }
        for (path, text) in &self.files {
            let path = place.path(path);
            fs::create_dir_all(path.parent().context("a folder")?)?;
            fs::write(path, place.here(text, ADDRESSES[0].1))?;
        }
        let hosts = "127.0.0.1,127.0.0.2,127.0.0.3,127.0.0.4,localhost";
        let made = Command::new(etcdctl::own()?)
            .args(["tls", "init", "--dir", "certs", "--hosts", hosts])
            .current_dir(&place.folder)
            .output()?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        for line in &self.certificates {
            let (kind, paths) = line.split_first().context("a kind")?;
            // One pair is shown to members too in some shapes, and that of members may be shown to anybody.
            let names = match kind.as_str() {
                "ca" => vec!["ca.pem".to_owned()],
                _ => vec!["peer.pem".to_owned(), "peer-key.pem".to_owned()],
            };
            for (name, path) in names.iter().zip(paths) {
                let path = place.path(path);
                fs::create_dir_all(path.parent().context("a folder")?)?;
                fs::copy(place.folder.join("certs").join(name), path)?;
            }
        }
        Ok(())
    }

    /// Whether clients need certificates.
    pub(crate) fn is_secure(&self) -> bool {
        !self.certificates.is_empty()
    }

    /// The process of one member.
    pub(crate) fn command(&self, place: &Place, number: usize) -> anyhow::Result<Command> {
        let (_, own) = ADDRESSES.get(number).context("three members at most")?;
        let line = self.starts.get(number).context("no such member")?;
        let folder = place.folder.join(format!("member{number}"));
        fs::create_dir_all(&folder)?;
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(format!("exec {}", place.here(line, own)));
        command.env_clear().current_dir(folder).stdin(Stdio::null());
        let old = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{old}", place.folder.join("bin").display()));
        command.envs(self.variables.iter().map(|(name, value)| (name, place.here(value, own))));
        Ok(command)
    }

    /// Where clients reach a member.
    pub(crate) fn url(&self, place: &Place, number: usize) -> String {
        let scheme = if self.is_secure() { "https" } else { "http" };
        let address = ADDRESSES.get(number).map_or("", |(_, here)| *here);
        format!("{scheme}://{address}:{}", place.client_port())
    }
}

/// `NAME=VALUE` lines, quoted or not.
fn variables(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let pair = |line: &str| {
        let (name, value) = line.split_once('=')?;
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        Some((name.to_owned(), value.to_owned()))
    };
    lines.filter_map(pair).collect()
}
