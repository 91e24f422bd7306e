//! All members and their data are lost; a snapshot brings everything back, to three members, and to one.

use std::path::Path;

use ::tests::cluster::Settings;
use ::tests::{Cluster, Program};
use anyhow::{Context, ensure};

use crate::state::{ROOT, ctl, grow, hash, ids, image, is_guarded, wait_equal};

/// `snapshot restore` as an operator runs it for this member.
fn restore(cluster: &Cluster, number: usize, file: &Path, token: &str) -> anyhow::Result<()> {
    let member = cluster.member(number);
    let (setup, folder) = (&member.setup, member.data_dir());
    ::tests::etcdctl::kvorumctl(&[
        "snapshot",
        "restore",
        &file.to_string_lossy(),
        &format!("--name={}", setup.name),
        &format!("--initial-cluster={}", setup.initial_cluster),
        &format!("--initial-cluster-token={token}"),
        &format!("--initial-advertise-peer-urls={}", setup.peer_url()),
        &format!("--data-dir={}", folder.display()),
    ])?;
    Ok(())
}

#[test]
fn a_snapshot_brings_everything_back() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(&Settings::new(&Program::kvorum()?, 3))?;
    let leader = cluster.wait_leader()?;
    let follower = cluster.others(leader)[0];
    grow(&cluster, leader)?;
    let revision = wait_equal(&cluster, &[0, 1, 2])?;
    let expected = image(&cluster, leader)?;
    let file = cluster.folder().join("backup.db");
    ctl(&cluster, &[follower], &[ROOT, "snapshot", "save", &file.to_string_lossy()])?;
    let status = ::tests::etcdctl::kvorumctl(&["snapshot", "status", &file.to_string_lossy(), "-w", "json"])?;
    let status: serde_json::Value = serde_json::from_str(&status)?;
    ensure!(status["revision"] == revision.0 && status["totalKey"].as_u64() > Some(100), "{status}");
    let old = ids(&cluster, leader)?;

    // What comes later is lost with the members.
    for number in 0..50 {
        ctl(&cluster, &[leader], &[ROOT, "put", &format!("later-{number}"), "x"])?;
    }
    for number in 0..3 {
        cluster.member_mut(number).kill()?;
        cluster.member(number).wipe()?;
        restore(&cluster, number, &file, "after the disaster")?;
        // A unit file may go on with the old one: the folder knows better.
        ensure!(cluster.member(number).setup.token == "tests");
    }
    cluster.start_all()?;
    for number in 0..3 {
        ensure!(hash(&cluster, number)? == revision, "the same hash at the same revision");
        let found = image(&cluster, number)?;
        ensure!(found == expected, "member {number}: {:?}", first_difference(&found, &expected));
        is_guarded(&cluster, number)?;
    }
    let new = ids(&cluster, 2)?;
    ensure!(new.len() == 3 && new.iter().all(|id| !old.contains(id)), "{old:?} and {new:?}");
    ensure!(!ctl(&cluster, &[0], &[ROOT, "get", "", "--prefix", "--keys-only"])?.contains("later-"));

    // It goes on from there, and a restart finds what was written since.
    ctl(&cluster, &[2], &[ROOT, "put", "key-1", "since"])?;
    for number in 0..3 {
        cluster.member_mut(number).kill()?;
    }
    cluster.start_all()?;
    wait_equal(&cluster, &[0, 1, 2])?;
    ensure!(ctl(&cluster, &[1], &["--user=ana:word", "get", "key-1"])?.ends_with("since\n"));
    ensure!(hash(&cluster, 1)?.0 == revision.0 + 1, "one revision more");

    one_member(&file, &expected, revision)?;
    cluster.done()
}

/// The same file makes a cluster of one, which takes another member in.
fn one_member(file: &Path, expected: &str, revision: (i64, u32)) -> anyhow::Result<()> {
    let mut cluster = Cluster::prepare(&Settings::new(&Program::kvorum()?, 1))?;
    restore(&cluster, 0, file, "tests")?;
    cluster.start_all()?;
    ensure!(hash(&cluster, 0)? == revision);
    let found = image(&cluster, 0)?;
    ensure!(found == expected, "alone: {:?}", first_difference(&found, expected));
    is_guarded(&cluster, 0)?;
    let added = cluster.add_process("existing")?;
    let peers = format!("--peer-urls={}", cluster.member(added).setup.peer_url());
    let name = cluster.member(added).setup.name.clone();
    ctl(&cluster, &[0], &[ROOT, "member", "add", &name, &peers])?;
    cluster.restart(added)?;
    wait_equal(&cluster, &[0, added])?;
    let found = image(&cluster, added)?;
    ensure!(found == expected, "added: {:?}", first_difference(&found, expected));
    cluster.done()
}

fn first_difference<'a>(found: &'a str, expected: &'a str) -> Option<(&'a str, &'a str)> {
    found.lines().zip(expected.lines()).find(|(found, expected)| found != expected)
}

#[test]
fn a_raised_revision_makes_everybody_begin_again() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(&Settings::new(&Program::kvorum()?, 1))?;
    let client = cluster.member(0).client()?;
    for number in 0..10 {
        client.put("key", &number.to_string())?;
    }
    let file = cluster.folder().join("backup.db");
    ctl(&cluster, &[0], &["snapshot", "save", &file.to_string_lossy()])?;
    let last = hash(&cluster, 0)?.0;
    cluster.member_mut(0).kill()?;
    cluster.member(0).wipe()?;
    let (setup, folder) = (cluster.member(0).setup.clone(), cluster.member(0).data_dir());
    let (name, list) =
        (format!("--name={}", setup.name), format!("--initial-cluster={}", setup.initial_cluster));
    let urls = format!("--initial-advertise-peer-urls={}", setup.peer_url());
    let folder = format!("--data-dir={}", folder.display());
    let file = file.to_string_lossy().into_owned();
    let words = ["snapshot", "restore", &file, &name, &list, &urls, &folder];
    ::tests::etcdctl::kvorumctl(&[&words, &["--bump-revision=1000000", "--mark-compacted"][..]].concat())?;
    cluster.restart(0)?;
    ensure!(hash(&cluster, 0)?.0 == last + 1_000_000, "the revision leapt");
    ensure!(ctl(&cluster, &[0], &["get", "key"])? == "key\n9\n", "the data is there");
    for revision in [last, last + 1, last + 999_999] {
        let revision = format!("--rev={revision}");
        let read = ctl(&cluster, &[0], &["get", "key", &revision]);
        let read = read.err().context("what was before is forgotten")?.to_string();
        ensure!(read.contains("required revision has been compacted"), "{read}");
        let watch = ctl(&cluster, &[0], &["watch", "key", &revision]);
        let watch = watch.err().context("a watch from before is told")?.to_string();
        ensure!(watch.contains("required revision has been compacted"), "{watch}");
    }
    ctl(&cluster, &[0], &["put", "key", "new"])?;
    ensure!(hash(&cluster, 0)?.0 == last + 1_000_001, "it goes on from there");
    cluster.member_mut(0).kill()?;
    cluster.restart(0)?;
    ensure!(hash(&cluster, 0)?.0 == last + 1_000_001, "also after a restart");
    cluster.done()
}
