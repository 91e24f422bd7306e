//! The same tree, to the byte: on all members, and after restarts, a change of leader, a snapshot that is installed,
//! and on a member that was restored from what `etcdctl snapshot save` took.
//!
//! Compared are the bodies of reads of the whole tree and of its hidden parts, the index, and what waits are told of
//! each remembered event.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use ::tests::cluster::{Settings, program};
use ::tests::v2::V2;
use ::tests::{Cluster, Program, etcdctl, http1, until};
use anyhow::{Context, ensure};

/// A client that waits out an election.
const LONG: Duration = Duration::from_secs(20);

/// The whole tree, and what a listing does not show.
const READS: [&str; 5] =
    ["?recursive=true", "/_hidden?recursive=true", "/d/_h?recursive=true", "/none", "/?sorted=true"];

/// Places that are waited for at each index: all that is shown, and hidden ones.
const WAITS: [&str; 2] = ["/?recursive=true&", "/_hidden?recursive=true&"];

/// Each so many remembered events are asked for.
const EVENTS_STEP: usize = 7;

/// Writes a tree that has everything, and more events than are remembered.
fn grow(addresses: &[SocketAddr]) -> anyhow::Result<()> {
    let mut client = V2::new(addresses, LONG);
    let mut write = |method: &str, path: &str, form: &[(&str, &str)]| -> anyhow::Result<()> {
        let told = client.insist(method, path, form)?;
        ensure!(told.status < 300, "{method} {path}: {told:?}");
        Ok(())
    };
    for number in 0..400 {
        let (path, value) = (format!("/d/{}/{number}", number % 7), format!("%C3%BC%0A{number}"));
        write("PUT", &path, &[("value", &value)])?;
        write("POST", "/queue", &[("value", "job")])?;
        write("PUT", &format!("/leases/{number}"), &[("value", "x"), ("ttl", "86400")])?;
    }
    write("PUT", "/_hidden/a/_b", &[("value", "")])?;
    write("PUT", "/_hidden/c", &[("value", "c"), ("ttl", "3600")])?;
    write("PUT", "/d/_h/x", &[("value", "1")])?;
    write("PUT", "/empty", &[("dir", "true")])?;
    write("PUT", "/later", &[("dir", "true"), ("ttl", "7200")])?;
    write("PUT", "/later/inside", &[("value", "%3Cb%3E%26%22")])?;
    write("PUT", "/later?prevExist=true", &[("dir", "true"), ("ttl", "7300")])?;
    write("PUT", "/leases/1?prevExist=true", &[("refresh", "true"), ("ttl", "90000")])?;
    write("PUT", "/leases/2?prevValue=x", &[("value", "y")])?;
    write("DELETE", "/d/3?recursive=true", &[])?;
    write("DELETE", "/d/2/2", &[])
}

/// A body and the index beside it, without the seconds left, which follow from the expiration and the clock.
fn read(address: SocketAddr, target: &str) -> anyhow::Result<String> {
    let request = http1::request("GET", &format!("/v2/keys{target}"), &[], None);
    let reply = http1::exchange(address, &request, LONG)?;
    let index = reply.header("x-etcd-index").unwrap_or_default();
    let mut parts = reply.body_text();
    while let Some(at) = parts.find("\"ttl\":") {
        let end = parts.get(at..).and_then(|rest| rest.find(',')).context("the ttl is not the last field")?;
        parts.replace_range(at..=at.saturating_add(end), "");
    }
    Ok(format!("{target} {} {index} {parts}", reply.status))
}

/// What a member shows of the tree and of its past.
fn image(address: SocketAddr) -> anyhow::Result<String> {
    let mut image = String::new();
    for target in READS {
        writeln!(image, "{}", read(address, target)?)?;
    }
    let index = V2::new(&[address], LONG).ask("GET", "/none", &[])?.index;
    let oldest = index.saturating_sub(999);
    // The one before is forgotten; of the newest the last is always asked for.
    for since in (oldest.saturating_sub(1)..=index).rev().step_by(EVENTS_STEP) {
        writeln!(image, "{}", read(address, &format!("{}wait=true&waitIndex={since}", WAITS[0]))?)?;
    }
    let forgotten = read(address, &format!("{}wait=true&waitIndex={}", WAITS[0], oldest.saturating_sub(1)))?;
    ensure!(forgotten.contains(" 400 ") && forgotten.contains("\"errorCode\":401"), "{forgotten}");
    let hidden = read(address, &format!("{}wait=true&waitIndex={oldest}", WAITS[1]))?;
    ensure!(hidden.contains("/_hidden/c"), "{hidden}");
    writeln!(image, "{forgotten}\n{hidden}")?;
    Ok(image)
}

/// Waits until a member shows this, and says what it shows instead.
fn shows(address: SocketAddr, expected: &str, after: &str) -> anyhow::Result<()> {
    let mut last = Ok(String::new());
    let same = until(LONG, || {
        last = image(address);
        last.as_ref().is_ok_and(|last| last == expected).then_some(())
    });
    if same.is_some() {
        return Ok(());
    }
    let last = last?;
    let differs = last.lines().zip(expected.lines()).find(|(last, expected)| last != expected);
    anyhow::bail!("after {after} {address} shows something else: {differs:?}")
}

#[test]
fn it_stays_the_same_on_all_members_whatever_happens_to_them() -> anyhow::Result<()> {
    let settings = Settings::new(&program()?, 3).flags(&["--enable-v2=true", "--snapshot-count=10"]);
    let mut cluster = Cluster::start(&settings)?;
    let leader = cluster.wait_leader()?;
    let addresses: Vec<SocketAddr> =
        (0..cluster.len()).map(|number| cluster.member(number).address()).collect();
    let [one, other] = cluster.others(leader)[..] else { anyhow::bail!("three members") };
    // This one gets it all as a snapshot: the others forget what it misses.
    cluster.member_mut(other).kill()?;
    grow(&[addresses[leader], addresses[one]])?;
    let client = cluster.member(one).client()?;
    let large = "x".repeat(1 << 20);
    let mut number = 0;
    while number < 80 || [leader, one].iter().any(|at| !cluster.member(*at).has_released_log()) {
        ensure!(number < 2000, "the log is never released");
        client.put(&format!("large-{}", number % 80), &large)?;
        number += 1;
    }
    let expected = image(addresses[leader])?;
    ensure!(expected.len() > 100_000, "{} bytes of an image", expected.len());
    shows(addresses[one], &expected, "writing")?;
    cluster.restart(other)?;
    shows(addresses[other], &expected, "a snapshot")?;
    cluster.member(other).wait_logged(&["installed a snapshot"])?;

    cluster.member_mut(one).kill()?;
    cluster.restart(one)?;
    shows(addresses[one], &expected, "a restart")?;
    cluster.member_mut(leader).kill()?;
    cluster.wait_leader_of(&[one, other])?;
    for member in [one, other] {
        shows(addresses[member], &expected, "a change of the leader")?;
    }
    for member in [one, other] {
        cluster.member_mut(member).kill()?;
    }
    cluster.start_all()?;
    cluster.wait_leader()?;
    for address in &addresses {
        shows(*address, &expected, "a restart of all")?;
    }
    cluster.done()
}

#[test]
fn a_saved_snapshot_holds_it_whole() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(&Settings::new(&Program::kvorum()?, 1).flags(&["--enable-v2=true"]))?;
    cluster.wait_leader()?;
    let address = cluster.member(0).address();
    grow(&[address])?;
    let expected = image(address)?;
    let file = cluster.folder().join("archive");
    cluster.etcdctl(&[0], &["snapshot", "save", &file.to_string_lossy()])?;
    V2::new(&[address], LONG).insist("PUT", "/afterwards", &[("value", "1")])?;
    cluster.member_mut(0).kill()?;
    cluster.member(0).wipe()?;
    let (setup, folder) = (cluster.member(0).setup.clone(), cluster.member(0).data_dir());
    etcdctl::kvorumctl(&[
        "snapshot",
        "restore",
        &file.to_string_lossy(),
        &format!("--name={}", setup.name),
        &format!("--initial-cluster={}", setup.initial_cluster),
        &format!("--initial-advertise-peer-urls={}", setup.peer_url()),
        &format!("--data-dir={}", folder.display()),
    ])?;
    cluster.restart(0)?;
    shows(address, &expected, "a restore")?;
    let told = V2::new(&[address], LONG).ask("POST", "/queue", &[("value", "next")])?;
    ensure!(
        told.status == 201 && expected.contains(&format!(" {} ", told.index.saturating_sub(1))),
        "{told:?}"
    );
    cluster.done()
}
