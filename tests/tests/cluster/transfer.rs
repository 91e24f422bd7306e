//! A snapshot that is broken off on its way, by the network or by the end of the process that fetches it, goes on where
//! it was.

use std::fs;
use std::path::Path;
use std::time::Duration;

use ::tests::cluster::{Link, Settings, is_etcd, program};
use ::tests::{Cluster, operator, until};
use anyhow::{Context, ensure};
use rand::distr::{Alphanumeric, SampleString as _};

/// What no step takes longer than, however busy the machine is.
const LONG: Duration = Duration::from_mins(1);
/// Values of random letters: nothing makes them much smaller.
const VALUES: usize = 40;
const VALUE_BYTES: usize = 512 << 10;
/// So much has come before it is broken off.
const AMID_BYTES: u64 = 3 << 20;
/// For every 64 KiB: the whole takes some five seconds.
const SLOW: Link = Link::Slow(Duration::from_millis(15));

/// A newcomer that is announced and not started, on a slow line to the leader.
struct Scene {
    cluster: Cluster,
    leader: usize,
    newcomer: usize,
}

fn scene() -> anyhow::Result<Option<Scene>> {
    let program = program()?;
    if is_etcd(&program) {
        eprintln!("NOT CHECKED: etcd sends a snapshot anew from its beginning");
        return Ok(None);
    }
    let mut cluster = Cluster::start(&Settings::new(&program, 3).linked())?;
    let leader = cluster.wait_leader()?;
    let client = cluster.member(leader).client()?;
    for number in 0..VALUES {
        let value = Alphanumeric.sample_string(&mut rand::rng(), VALUE_BYTES);
        client.put(&format!("k{number}"), &value)?;
    }
    let newcomer = operator::announce(&mut cluster, &[leader], &[])?;
    cluster.links().set_both(leader, newcomer, SLOW);
    Ok(Some(Scene { cluster, leader, newcomer }))
}

impl Scene {
    /// Until a part of the snapshot is there, and not all of it.
    fn wait_amid(&self) -> anyhow::Result<()> {
        let folder = self.cluster.member(self.newcomer).data_dir().join("member/snap");
        let amid = until(LONG, || (received(&folder) >= AMID_BYTES).then_some(()));
        amid.with_context(|| format!("no snapshot comes\n{}", self.cluster.logs()))?;
        ensure!(!self.log().contains("fetched a snapshot"), "it was too fast to be broken off");
        Ok(())
    }

    fn log(&self) -> String {
        self.cluster.member(self.newcomer).log()
    }

    /// It went on behind what was there, and became whole.
    fn finish(mut self) -> anyhow::Result<()> {
        self.cluster.member_mut(self.newcomer).wait_ready()?;
        let log = self.log();
        let resumed = log.lines().find(|line| line.contains("a part of the snapshot is here already"));
        let resumed = resumed.with_context(|| format!("it began at zero:\n{log}"))?;
        let there: serde_json::Value = serde_json::from_str(resumed).context("a line of JSON")?;
        let there = there["there"].as_u64().context("how much was there")?;
        ensure!(there >= AMID_BYTES - (1 << 20), "it threw away what it had: {resumed}");
        self.cluster.wait_equal(&[0, 1, 2, self.newcomer])?;
        self.cluster.done()
    }
}

/// Bytes of snapshots that have come so far.
fn received(snap: &Path) -> u64 {
    let folders = fs::read_dir(snap).into_iter().flatten().flatten();
    let receiving = folders.filter(|folder| folder.path().extension().is_some_and(|end| end == "recv"));
    let files = receiving.filter_map(|folder| fs::read_dir(folder.path()).ok()).flatten().flatten();
    files.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}

#[test]
fn a_broken_line_does_not_begin_a_snapshot_anew() -> anyhow::Result<()> {
    let Some(mut scene) = scene()? else { return Ok(()) };
    scene.cluster.spawn(scene.newcomer)?;
    scene.wait_amid()?;
    scene.cluster.links().set_both(scene.leader, scene.newcomer, Link::Cut);
    scene.cluster.member(scene.newcomer).wait_logged(&["the snapshot broke off"])?;
    scene.cluster.links().set_both(scene.leader, scene.newcomer, Link::Open);
    scene.finish()
}

#[test]
fn a_member_that_dies_amid_a_snapshot_goes_on_with_it() -> anyhow::Result<()> {
    let Some(mut scene) = scene()? else { return Ok(()) };
    scene.cluster.spawn(scene.newcomer)?;
    scene.wait_amid()?;
    scene.cluster.member_mut(scene.newcomer).kill()?;
    scene.cluster.links().set_both(scene.leader, scene.newcomer, Link::Open);
    scene.cluster.spawn(scene.newcomer)?;
    scene.finish()
}
