//! `kvorumctl tls init`: a cluster by the flags that it prints, and what it never does.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, ensure};
use tests::{Program, Release, etcdctl, until};

use crate::house::{Member, PATIENCE};

fn init(folder: &Path, more: &[&str]) -> anyhow::Result<Output> {
    let words = [&["tls", "init", "--dir", "certs"][..], more].concat();
    Command::new(etcdctl::own()?).args(words).current_dir(folder).output().context("run kvorumctl")
}

/// The words behind `program` in a line of what was printed.
fn printed(text: &str, program: &str) -> anyhow::Result<Vec<String>> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(program)?.strip_prefix(' '));
    Ok(line.with_context(|| format!("no {program} in {text}"))?.split(' ').map(str::to_owned).collect())
}

#[test]
fn a_cluster_runs_by_the_flags_that_tls_init_prints() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let made = init(folder.path(), &["--hosts", "127.0.0.1,node1.example"])?;
    let text = String::from_utf8(made.stdout)?;
    ensure!(made.status.success(), "{text}{}", String::from_utf8_lossy(&made.stderr));
    for key in ["ca", "server", "peer", "client"] {
        let mode = fs::metadata(folder.path().join(format!("certs/{key}-key.pem")))?.permissions().mode();
        ensure!(mode & 0o777 == 0o600, "{key}: {mode:o}");
    }
    let flags = printed(&text, "kvorum")?;
    let mut members = Vec::new();
    for name in ["a", "b", "c"] {
        members.push(Member::new(&Program::kvorum()?, name, |client, peer| {
            // The ports are the test's own.
            let ported = |flag: &String| {
                flag.replace(":2379", &format!(":{client}")).replace(":2380", &format!(":{peer}"))
            };
            flags.iter().map(ported).collect()
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
        let port = format!(":{}", member.client_port);
        let call = |program: &Path, words: &[String]| -> anyhow::Result<Output> {
            let words = words.iter().map(|word| word.replace(":2379", &port));
            Ok(Command::new(program).env("ETCDCTL_API", "3").args(words).output()?)
        };
        let words = printed(&text, "curl")?;
        let healthy = || {
            let told = call(Path::new("curl"), &words).ok()?;
            String::from_utf8_lossy(&told.stdout).contains("\"true\"").then_some(())
        };
        ensure!(until(PATIENCE, healthy).is_some(), "{} does not serve:\n{}", member.name, member.log());
        for (program, name) in [
            (Release::Debian.program("etcdctl")?, "etcdctl"),
            (Release::Pypi.program("etcdctl")?, "etcdctl"),
            (etcdctl::own()?, "kvorumctl"),
        ] {
            let told = call(&program, &printed(&text, name)?)?;
            let said =
                String::from_utf8_lossy(&told.stdout).into_owned() + &String::from_utf8_lossy(&told.stderr);
            ensure!(told.status.success() && said.contains("is healthy"), "{}: {said}", program.display());
        }
        let alone =
            Command::new("curl").args(["-sk", &format!("https://127.0.0.1{port}/health")]).output()?;
        ensure!(!alone.status.success(), "who has no certificate was let in");
    }
    Ok(())
}

#[test]
fn tls_init_writes_over_nothing() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let certs = folder.path().join("certs");
    let read = |name: &str| fs::read(certs.join(name)).with_context(|| name.to_owned());
    let refused = |made: Output, words: &str| -> anyhow::Result<()> {
        let said = String::from_utf8_lossy(&made.stderr).into_owned();
        ensure!(!made.status.success() && said.contains(words), "{said} without {words}");
        Ok(())
    };
    for host in ["https://10.0.0.1", "10.0.0.1:2379", ""] {
        refused(init(folder.path(), &["--hosts", host])?, "is no name and no address of a host")?;
    }
    ensure!(!certs.exists(), "something was made");
    ensure!(init(folder.path(), &["--hosts", "10.0.0.1"])?.status.success());
    let names = ["ca.pem", "ca-key.pem", "server.pem", "server-key.pem", "peer.pem", "client-key.pem"];
    let before = names.map(read).into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    // Again, for other hosts: what is there stays, and what is missing is made by the CA that is there.
    fs::remove_file(certs.join("client.pem"))?;
    refused(init(folder.path(), &["--hosts", "10.0.0.2"])?, "client.pem")?;
    fs::rename(certs.join("client-key.pem"), certs.join("old"))?;
    let made = init(folder.path(), &["--hosts", "10.0.0.2"])?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    ensure!(String::from_utf8_lossy(&made.stdout).matches("kept ").count() == 3);
    for (name, bytes) in names.iter().zip(&before).filter(|(name, _)| !name.starts_with("client")) {
        ensure!(read(name)? == *bytes, "{name} was written over");
    }
    let verified = Command::new("openssl")
        .args(["verify", "-CAfile", "ca.pem", "client.pem"])
        .current_dir(&certs)
        .output()?;
    ensure!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    // A CA of another tool has a name of its own.
    fs::remove_file(certs.join("client.pem"))?;
    fs::remove_file(certs.join("client-key.pem"))?;
    let request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=other", "-days", "9"];
    let files = ["-keyout", "ca-key.pem", "-out", "ca.pem"];
    ensure!(Command::new("openssl").args(request).args(files).current_dir(&certs).output()?.status.success());
    refused(init(folder.path(), &["--hosts", "10.0.0.2"])?, "was not made here")
}
