//! A damaged file stops the member that has it, with a sentence that names it, and the member is rebuilt
//! from its peers by the steps of docs/OPERATIONS.md.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::tests::cluster::{Report, Settings, Writer, is_etcd, program};
use ::tests::{Cluster, operator};
use anyhow::{Context, ensure};

/// A client that waits out an election.
const LONG: Duration = Duration::from_secs(15);

/// Three members with something in their logs, the last one stopped.
fn with_data() -> anyhow::Result<(Cluster, Report)> {
    let mut cluster = Cluster::start(&Settings::new(&program()?, 3))?;
    let writer = Writer::start(cluster.member(0).address(), "k", LONG)?;
    writer.wait_more(200)?;
    let report = writer.finish()?;
    cluster.wait_equal(&[0, 1, 2])?;
    cluster.member_mut(2).kill()?;
    Ok((cluster, report))
}

/// The steps: take the member out, throw its data away, put it in again as a new one.
fn rebuild(mut cluster: Cluster, id: u64, report: &Report) -> anyhow::Result<()> {
    operator::remove(&cluster, &[0, 1], id)?;
    let new = operator::add(&mut cluster, &[0, 1])?;
    report.check(&cluster.member(new).client()?)?;
    cluster.wait_equal(&[0, 1, new])?;
    cluster.done()
}

#[test]
fn a_flipped_bit_in_the_log() -> anyhow::Result<()> {
    let (mut cluster, report) = with_data()?;
    let id = id_of(&cluster, 2)?;
    let file = largest(&cluster.member(2).data_dir().join("member/wal"))?;
    flip(&file)?;
    cluster.spawn(2)?;
    let status = cluster.member_mut(2).wait_ended()?;
    ensure!(!status.success(), "it ended with {status}");
    cluster.member(2).wait_logged(&["crc mismatch", "damaged", "checksum", "corrupt"])?;
    rebuild(cluster, id, &report)
}

#[test]
fn a_flipped_bit_in_the_database() -> anyhow::Result<()> {
    if is_etcd(&program()?) {
        eprintln!("etcd 3.4 has no checksums in its database: a flipped bit there is not seen");
        return Ok(());
    }
    let (mut cluster, report) = with_data()?;
    let id = id_of(&cluster, 2)?;
    cluster.restart(2)?;
    cluster.member_mut(2).terminate()?;
    let file = table(&cluster.member(2).data_dir().join("member"))?;
    flip(&file)?;
    cluster.spawn(2)?;
    let status = cluster.member_mut(2).wait_ended()?;
    ensure!(!status.success(), "it ended with {status}");
    cluster.member(2).wait_logged(&["damaged", "checksum", "corrupt", "Corruption"])?;
    rebuild(cluster, id, &report)
}

/// The id of a stopped member, as another knows it.
fn id_of(cluster: &Cluster, number: usize) -> anyhow::Result<u64> {
    let name = &cluster.member(number).setup.name;
    let members = cluster.member(0).client()?.members()?;
    Ok(members.iter().find(|member| member.name == *name).context("it is in the list")?.id)
}

/// The file in which most was written.
fn largest(folder: &Path) -> anyhow::Result<PathBuf> {
    let files = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let used =
        |path: &PathBuf| fs::read(path).map_or(0, |bytes| bytes.iter().filter(|byte| **byte != 0).count());
    let files = files.filter_map(|file| Some(file.ok()?.path())).filter(|path| path.is_file());
    files.max_by_key(used).context("a file")
}

/// A table file of the database.
fn table(folder: &Path) -> anyhow::Result<PathBuf> {
    let folders = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
    let files = folders.filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let tables =
        files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|end| end == "sst"));
    tables.max_by_key(|path| fs::metadata(path).map_or(0, |file| file.len())).context("a table file")
}

/// Flips one bit in the middle of what is written.
fn flip(path: &Path) -> anyhow::Result<()> {
    let mut bytes = fs::read(path)?;
    let end = bytes.iter().rposition(|byte| *byte != 0).context("an empty file")?;
    let byte = bytes.get_mut(end / 2).context("a middle")?;
    *byte ^= 1;
    fs::write(path, bytes).with_context(|| format!("damage {}", path.display()))
}
