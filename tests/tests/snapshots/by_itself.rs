//! Snapshots and an archive that a member writes by itself, and what can be made of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::tests::cluster::Settings;
use ::tests::etcdctl::{kvorumctl, own};
use ::tests::v2::V2;
use ::tests::{Cluster, Program, http1, until};
use anyhow::{Context, ensure};
use tempfile::TempDir;

use crate::state::{ctl, hash};

const PATIENCE: Duration = Duration::from_mins(1);

fn start(folder: &TempDir, flags: &[&str]) -> anyhow::Result<Cluster> {
    let place = format!("--archive-dir={}", folder.path().join("kept").display());
    Cluster::start(&Settings::new(&Program::kvorum()?, 1).flags(&[&place]).flags(flags))
}

/// A number that the member shows.
fn metric(cluster: &Cluster, name: &str) -> Option<f64> {
    let request = http1::request("GET", "/metrics", &[], None);
    let text = http1::exchange(cluster.member(0).address(), &request, PATIENCE).ok()?.body_text();
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// Waits until all that was applied is in the archive.
fn wait_archived(cluster: &Cluster) -> anyhow::Result<()> {
    let applied = metric(cluster, "etcd_server_proposals_applied_total").context("applied")?;
    let archived = || metric(cluster, "kvorum_archive_index").filter(|archived| *archived >= applied);
    until(PATIENCE, archived).map(drop).context("the archive stays behind")
}

/// Files whose names end so, in the order of their names.
fn named(folder: &Path, end: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        paths.push(entry?.path());
    }
    paths.retain(|path| path.to_string_lossy().ends_with(end));
    paths.sort();
    Ok(paths)
}

#[test]
fn snapshots_by_themselves_come_and_go() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let kept = folder.path().join("kept");
    let mut cluster = start(&folder, &["--snapshot-every=1s", "--snapshot-keep=2"])?;
    let client = cluster.member(0).client()?;
    let saved = |more: f64| {
        let number = || metric(&cluster, "kvorum_snapshots_saved_total").filter(|saved| *saved >= more);
        client.put("key", &more.to_string())?;
        until(PATIENCE, number).context("no snapshot is written")
    };
    for number in 1..5 {
        saved(f64::from(number))?;
    }
    // Where they should go is something else: the member serves on, says so, and goes on when it can.
    let aside = folder.path().join("aside");
    fs::rename(&kept, &aside)?;
    fs::write(&kept, "in the way")?;
    cluster.member(0).wait_logged(&["cannot write a snapshot by itself"])?;
    ensure!(metric(&cluster, "kvorum_snapshots_failed_total") >= Some(1.0), "it is counted");
    client.put("key", "meanwhile")?;
    fs::remove_file(&kept)?;
    fs::rename(&aside, &kept)?;
    let before = metric(&cluster, "kvorum_snapshots_saved_total").context("a number")?;
    saved(before + 1.0)?;

    cluster.member_mut(0).terminate()?;
    let files = named(&kept, ".db")?;
    ensure!((2..=3).contains(&files.len()), "two are kept, and one more before the oldest goes: {files:?}");
    for file in &files {
        kvorumctl(&["snapshot", "status", &file.to_string_lossy()])?;
    }
    cluster.done()
}

/// Writers at once, so that entries hold several commands.
fn write_at_once(cluster: &Cluster, round: usize) -> anyhow::Result<()> {
    let failed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let failed = &failed;
            scope.spawn(move || {
                let wrote = cluster.member(0).client().and_then(|client| {
                    (0..25).try_for_each(|number| {
                        client.put(&format!("key-{writer}-{number}"), &format!("{round}")).map(drop)
                    })
                });
                if wrote.is_err() {
                    failed.store(true, Ordering::Relaxed);
                }
            });
        }
    });
    ensure!(!failed.load(Ordering::Relaxed), "a write failed");
    Ok(())
}

/// A member with what `words` restore.
fn restored(words: &[&str]) -> anyhow::Result<Cluster> {
    let mut cluster = Cluster::prepare(&Settings::new(&Program::kvorum()?, 1))?;
    let setup = cluster.member(0).setup.clone();
    let flags = [
        format!("--name={}", setup.name),
        format!("--initial-cluster={}", setup.initial_cluster),
        format!("--initial-advertise-peer-urls={}", setup.peer_url()),
        format!("--data-dir={}", cluster.member(0).data_dir().display()),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    kvorumctl(&[&["snapshot", "restore"], words, &flags].concat())?;
    cluster.start_all()?;
    Ok(cluster)
}

/// `words` are refused for this reason, and nothing is left.
fn ensure_refused(folder: &TempDir, words: &[&str], reason: &str) -> anyhow::Result<()> {
    let target = folder.path().join("refused").to_string_lossy().into_owned();
    let refused = kvorumctl(&[&["snapshot", "restore"], words, &["--data-dir", &target]].concat());
    let refused = refused.err().with_context(|| format!("{words:?} is not refused"))?.to_string();
    ensure!(refused.contains(reason), "{refused}");
    ensure!(!Path::new(&target).exists(), "nothing is left");
    Ok(())
}

#[test]
fn an_archive_leads_to_any_revision() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let kept = folder.path().join("kept");
    let mut cluster = start(&folder, &["--snapshot-every=1h"])?;
    let until_saved = || metric(&cluster, "kvorum_snapshots_saved_total").filter(|saved| *saved >= 1.0);
    until(PATIENCE, until_saved).context("the first snapshot")?;
    let mut hashes = Vec::new();
    for round in 0..2 {
        write_at_once(&cluster, round)?;
        V2::new(&[cluster.member(0).address()], PATIENCE).insist("PUT", "/tree/a", &[("value", "x")])?;
        hashes.push(hash(&cluster, 0)?);
        wait_archived(&cluster)?;
        // The next life goes on with the archive where this one was killed.
        cluster.member_mut(0).kill()?;
        cluster.restart(0)?;
    }
    let (last, _) = *hashes.last().context("two rounds")?;
    let middle = last - 77;
    let said = ctl(&cluster, &[0], &["endpoint", "hashkv", "-w", "json", &format!("--rev={middle}")])?;
    let said: serde_json::Value = serde_json::from_str(&said)?;
    hashes.push((
        middle,
        said[0]["HashKV"]["hash"].as_u64().and_then(|hash| u32::try_from(hash).ok()).context("a hash")?,
    ));
    cluster.member_mut(0).kill()?;

    let archive = format!("--archive-dir={}", kept.display());
    for (revision, hash_there) in hashes {
        let copy = restored(&[&archive, &format!("--to-revision={revision}")])?;
        ensure!(hash(&copy, 0)? == (revision, hash_there), "revision {revision} is another");
        copy.done()?;
    }
    let copy = restored(&[&archive, "--to-time=2100-01-01T00:00:00Z"])?;
    ensure!(hash(&copy, 0)?.0 == last, "all there is");
    copy.done()?;
    ensure_refused(
        &folder,
        &[&archive, &format!("--to-revision={}", last + 1)],
        "the archive ends at revision",
    )?;
    ensure_refused(&folder, &[&archive, "--to-time=2020-01-01T00:00:00Z"], "there is no snapshot in")?;
    ensure_damage_is_named(&folder, &kept, &archive)?;
    cluster.done()
}

fn ensure_damage_is_named(folder: &TempDir, kept: &Path, archive: &str) -> anyhow::Result<()> {
    let logs = named(kept, ".kvlog")?;
    ensure!(logs.len() >= 2, "each life has files of its own: {logs:?}");
    let whole = fs::read(&logs[0])?;
    let mut bad = whole.clone();
    *bad.get_mut(whole.len() / 2).context("a byte")? ^= 1;
    fs::write(&logs[0], bad)?;
    ensure_refused(folder, &[archive], "the archive has a gap: the entries from")?;
    ensure_refused(folder, &[archive], "is damaged at byte")?;
    fs::remove_file(&logs[0])?;
    ensure_refused(folder, &[archive], "the archive has a gap: the entries from")?;
    fs::write(&logs[0], whole)?;
    Ok(())
}

#[test]
fn a_restore_that_is_killed_or_has_no_room_leaves_nothing_under_its_name() -> anyhow::Result<()> {
    let cluster = Cluster::start(&Settings::new(&Program::kvorum()?, 1))?;
    let client = cluster.member(0).client()?;
    for number in 0..200 {
        client.put(&format!("key-{number}"), &"x".repeat(20_000))?;
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("whole.db").to_string_lossy().into_owned();
    ctl(&cluster, &[0], &["snapshot", "save", &file])?;
    let target = folder.path().join("data");
    let words = ["snapshot", "restore", &file, "--data-dir", &target.to_string_lossy()].map(str::to_owned);

    // No file may become larger than 512 KiB, as on a disk that is full.
    let limited = Command::new("sh")
        .args(["-c", "ulimit -f 1024; trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(own()?)
        .args(&words)
        .output()?;
    let said = String::from_utf8_lossy(&limited.stderr);
    ensure!(!limited.status.success() && said.contains("File too large"), "{said}");
    ensure!(!target.exists(), "nothing is left: {said}");

    let mut child = Command::new(own()?).args(&words).stderr(Stdio::null()).stdout(Stdio::null()).spawn()?;
    let begun = until(PATIENCE, || target.join("restore.tmp").exists().then_some(()));
    child.kill()?;
    let ended = child.wait()?;
    ensure!(begun.is_some() || ended.success(), "it begins");
    ensure!(ended.success() || !target.join("member").exists(), "what is not whole has another name");
    if !ended.success() {
        let again = kvorumctl(&words.each_ref().map(String::as_str)).err().context("over half a restore")?;
        ensure!(again.to_string().contains("not empty"), "{again}");
        fs::remove_dir_all(&target)?;
        kvorumctl(&words.each_ref().map(String::as_str))?;
    }
    ensure!(target.join("member").exists());
    cluster.done()
}
