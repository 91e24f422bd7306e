//! Mistakes of persons: each ends in a sentence that says which it was, and none harms the cluster.

use ::tests::cluster::{Settings, is_etcd, program};
use ::tests::{Cluster, operator};
use anyhow::ensure;

/// Fails unless member `number` ends by itself, not as a success, having said one of these words.
fn refused(cluster: &mut Cluster, number: usize, words: &[&str]) -> anyhow::Result<()> {
    let status = cluster.member_mut(number).wait_ended()?;
    ensure!(!status.success(), "it ended with {status}");
    ensure!(!cluster.member(number).log().contains("panicked at"), "{}", cluster.member(number).log_tail());
    cluster.member(number).wait_logged(words)
}

#[test]
fn advertised_urls_that_are_not_in_the_initial_cluster() -> anyhow::Result<()> {
    let mut cluster = Cluster::prepare(&Settings::new(&program()?, 3))?;
    cluster.member_mut(0).setup.advertised_port = cluster.member(1).setup.peer_port;
    cluster.spawn(0)?;
    refused(&mut cluster, 0, &["but missing from --initial-advertise-peer-urls"])?;
    cluster.done()
}

#[test]
fn two_members_with_one_url() -> anyhow::Result<()> {
    let mut cluster = Cluster::prepare(&Settings::new(&program()?, 2))?;
    let url = cluster.member(0).setup.peer_url();
    cluster.member_mut(0).setup.initial_cluster = format!("m1={url},m2={url}");
    cluster.spawn(0)?;
    refused(&mut cluster, 0, &["has duplicate url", "duplicate"])?;
    cluster.done()
}

#[test]
fn a_new_member_that_nobody_announced() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(&Settings::new(&program()?, 1))?;
    let stranger = cluster.add_process("existing")?;
    cluster.spawn(stranger)?;
    refused(&mut cluster, stranger, &["member count is unequal"])?;
    ensure!(cluster.member(0).is_healthy(), "the cluster does not mind");
    cluster.done()
}

#[test]
fn a_removed_member_that_comes_back() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(&Settings::new(&program()?, 3))?;
    let id = cluster.member(2).client()?.id()?;
    cluster.member_mut(2).kill()?;
    operator::remove(&cluster, &[0, 1], id)?;
    cluster.spawn(2)?;
    cluster.member(2).wait_logged(&["removed"])?;
    ensure!(!cluster.member(2).is_healthy(), "a removed member serves");
    cluster.member(0).client()?.put("k", "1")?;
    ensure!(cluster.member(0).client()?.members()?.len() == 2, "it stays removed");
    cluster.done()
}

#[test]
fn a_data_folder_of_another_cluster() -> anyhow::Result<()> {
    let settings = Settings::new(&program()?, 1);
    let mut foreign = Cluster::prepare(&settings)?;
    foreign.member_mut(0).setup.token = "another".to_owned();
    foreign.start_all()?;
    foreign.member(0).client()?.put("k", "foreign")?;
    foreign.member_mut(0).terminate()?;

    let mut cluster = Cluster::start(&Settings::new(&program()?, 3))?;
    cluster.member_mut(2).terminate()?;
    cluster.member(2).wipe()?;
    copy(&foreign.member(0).data_dir(), &cluster.member(2).data_dir())?;
    cluster.spawn(2)?;
    if is_etcd(&program()?) {
        // It believes the folder and serves what is in it, apart from the cluster.
        cluster.member(0).wait_logged(&["cluster ID mismatch"])?;
    } else {
        refused(&mut cluster, 2, &["the data folder belongs to another cluster"])?;
    }
    ensure!(cluster.member(0).client()?.get("k")?.is_none(), "foreign data came in");
    foreign.done()?;
    cluster.done()
}

#[test]
fn a_foreign_cluster_on_the_peer_port() -> anyhow::Result<()> {
    let mut cluster = Cluster::prepare(&Settings::new(&program()?, 3))?;
    cluster.member_mut(2).setup.token = "another".to_owned();
    for number in 0..3 {
        cluster.spawn(number)?;
    }
    cluster.member_mut(0).wait_ready()?;
    cluster.member(2).wait_logged(&["cluster ID mismatch"])?;
    let told =
        |cluster: &Cluster, number: usize| cluster.member(number).log().contains("cluster ID mismatch");
    let both = ::tests::until(std::time::Duration::from_secs(10), || {
        (told(&cluster, 0) || told(&cluster, 1)).then_some(())
    });
    ensure!(both.is_some(), "nobody of the cluster says that a foreign member calls:\n{}", cluster.logs());
    ensure!(!cluster.member(2).is_healthy(), "the stranger serves");
    cluster.member(0).client()?.put("k", "1")?;
    cluster.done()
}

fn copy(from: &std::path::Path, to: &std::path::Path) -> anyhow::Result<()> {
    let status = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status()?;
    ensure!(status.success(), "cp ended with {status}");
    Ok(())
}
