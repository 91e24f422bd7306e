//! What people start etcd with, of 3.2 to 3.7: command lines, environment files, units, manifests and YAML, as they stand in
//! `tests/shapes`. Each makes members that serve.
//!
//! INVARIANT: a process started here is ended here, by its process id, however the test ends.

mod shape;

use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Output};
use std::time::Duration;

use anyhow::{Context, ensure};
use shape::{Place, Shape};
use tests::{Program, Release, until};

/// A member takes no longer to start.
const PATIENCE: Duration = Duration::from_mins(1);
/// Starts are tried again with other ports when somebody was faster at taking one.
const STARTS_MAX: usize = 3;

struct Member {
    child: Child,
    log: std::path::PathBuf,
}

impl Member {
    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn start(shape: &Shape, place: &Place, notify: &Path) -> anyhow::Result<Vec<Member>> {
    let mut members = Vec::new();
    for number in 0..shape.starts.len() {
        let mut command = shape.command(place, number)?;
        let log = place.folder.join(format!("log{number}"));
        let file = File::options().create(true).append(true).open(&log)?;
        command.env("NOTIFY_SOCKET", notify);
        let child = command.stdout(file.try_clone()?).stderr(file).spawn().context("start a shell")?;
        members.push(Member { child, log });
    }
    Ok(members)
}

/// etcdctl, as a client of one member.
fn etcdctl(shape: &Shape, place: &Place, number: usize, words: &[&str]) -> anyhow::Result<Output> {
    let mut command = Command::new(Release::Debian.program("etcdctl")?);
    command.env_clear().env("ETCDCTL_API", "3").args(["--endpoints", &shape.url(place, number)]);
    if shape.is_secure() {
        let certs = place.folder.join("certs");
        for (flag, name) in [("--cacert", "ca.pem"), ("--cert", "client.pem"), ("--key", "client-key.pem")] {
            command.arg(flag).arg(certs.join(name));
        }
    }
    Ok(command.args(["--command-timeout", "20s"]).args(words).output()?)
}

/// Starts what a file says, writes through each member, and reads it at each. Returns the logs.
fn check(name: &str) -> anyhow::Result<Vec<String>> {
    run(name, &Shape::read(name)?)
}

fn run(name: &str, shape: &Shape) -> anyhow::Result<Vec<String>> {
    for round in 1.. {
        let folder = tempfile::Builder::new().prefix("kvorum-shape-").tempdir()?;
        let place = Place::new(folder.path())?;
        shape.furnish(&place)?;
        let notify = folder.path().join("notify");
        let manager = UnixDatagram::bind(&notify)?;
        manager.set_read_timeout(Some(PATIENCE))?;
        let mut members = start(shape, &place, &notify)?;
        let logs = |members: &[Member]| members.iter().map(Member::log).collect::<Vec<_>>();
        let mut ended = false;
        let serving = until(PATIENCE, || {
            ended = members.iter_mut().any(Member::has_ended);
            let all = 0..shape.starts.len();
            let healthy = |number| {
                let told = etcdctl(shape, &place, number, &["endpoint", "health"]);
                told.is_ok_and(|told| told.status.success())
            };
            (ended || all.into_iter().all(healthy)).then_some(())
        });
        let log = logs(&members).concat();
        if ended && round < STARTS_MAX && log.contains("Address already in use") {
            continue;
        }
        ensure!(!ended && serving.is_some(), "{name} does not serve:\n{log}");
        if shape.notifies {
            let mut heard = [0; 256];
            while !heard.starts_with(b"READY=1") {
                manager.recv(&mut heard).context("the service manager was not told")?;
            }
        }
        for number in 0..shape.starts.len() {
            let value = format!("through {number}");
            let put = etcdctl(shape, &place, number, &["put", "key", &value])?;
            ensure!(put.status.success(), "{name}: {}", String::from_utf8_lossy(&put.stderr));
            for reader in 0..shape.starts.len() {
                let got = etcdctl(shape, &place, reader, &["get", "key", "--print-value-only"])?;
                ensure!(String::from_utf8_lossy(&got.stdout).trim() == value, "{name}: {got:?}");
            }
        }
        return Ok(logs(&members));
    }
    unreachable!("the last round ends it")
}

#[test]
fn three_members_by_their_command_lines() -> anyhow::Result<()> {
    check("static-three").map(drop)
}

#[test]
fn three_members_by_their_command_lines_with_tls() -> anyhow::Result<()> {
    check("static-three-tls").map(drop)
}

#[test]
fn flags_of_one_member() -> anyhow::Result<()> {
    check("v2-and-quota")?;
    let log = check("go-dashes")?.concat();
    for words in ["flag is no longer supported - ignoring", "\"flag-name\":\"log-package-levels\""] {
        ensure!(log.contains(words), "nothing says {words}:\n{log}");
    }
    // Its log goes to a file.
    ensure!(check("tuned-3-6")?.concat().is_empty(), "the log is on stderr");
    Ok(())
}

#[test]
fn units_and_their_environment_files() -> anyhow::Result<()> {
    for name in ["redhat", "debian", "kubespray", "the-hard-way"] {
        check(name)?;
    }
    Ok(())
}

#[test]
fn manifests_and_containers() -> anyhow::Result<()> {
    for name in ["kubeadm", "kubeadm-new", "stateful-set", "container"] {
        check(name)?;
    }
    Ok(())
}

#[test]
fn files_in_yaml() -> anyhow::Result<()> {
    for name in ["sample-yaml", "k3s-yaml"] {
        check(name)?;
    }
    Ok(())
}

#[test]
fn a_variable_that_differs_from_its_flag_does_not_stop_the_member() -> anyhow::Result<()> {
    let log = check("rke")?.concat();
    let said = log.lines().filter(|line| line.contains("one setting was given two values")).count();
    ensure!(said == 2, "{said} lines:\n{log}");
    Ok(())
}

#[test]
fn our_own_unit_and_pod_make_members() -> anyhow::Result<()> {
    run("kvorum.service", &Shape::own_unit()?)?;
    run("static-pod.yaml", &Shape::own_pod()?).map(drop)
}

#[test]
fn our_own_unit_is_one() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let unit = fs::read_to_string(tests::root().join("docker/systemd/kvorum.service"))?;
    let program = Program::kvorum()?.path.display().to_string();
    let path = folder.path().join("kvorum.service");
    fs::write(&path, unit.replace("/usr/bin/kvorum", &program))?;
    let told = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&path)
        .output()
        .context("run systemd-analyze; `make test` installs systemd")?;
    // Of other units of the machine it may have something to say as well.
    let said = String::from_utf8_lossy(&told.stderr).into_owned();
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("kvorum.service")).collect();
    ensure!(told.status.success() && ours.is_empty(), "{said}");
    Ok(())
}
