//! The data folder of an etcd that has stopped, with v2's tree and users, and with entries that are only in its log.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use ::tests::v2::V2;
use ::tests::{Cluster, Release, http1};
use anyhow::{Context, ensure};

use crate::data::{Filled, fill, first_difference, hashes, image, is_guarded, leases};
use crate::place::House;

const LONG: Duration = Duration::from_secs(20);

/// A tree with everything that a node may have, and users.
fn fill_v2(address: SocketAddr) -> anyhow::Result<()> {
    let mut v2 = V2::new(&[address], LONG);
    for number in 0..300 {
        v2.insist("PUT", &format!("/tree/{}/{number}", number % 7), &[("value", "some")])?;
    }
    for number in 0..20 {
        v2.insist("POST", "/queue", &[("value", "job")])?;
        v2.insist("PUT", &format!("/later/{number}"), &[("value", "x"), ("ttl", "7200")])?;
    }
    v2.insist("PUT", "/_hidden/a", &[("value", "1")])?;
    // The second time it is there, and is no file.
    v2.ask("PUT", "/gone/soon", &[("dir", "true"), ("ttl", "3600")])?;
    v2.insist("PUT", "/tree/1/1", &[("value", "swapped"), ("prevValue", "some")])?;
    v2.insist("PUT", "/tree/1/8", &[("value", "there"), ("prevExist", "true")])?;
    v2.insist("DELETE", "/tree/2?recursive=true", &[])?;
    v2.ask("PUT", "/tree/3/3", &[("value", "no"), ("prevValue", "other")])?;
    Ok(())
}

fn fill_v2_users(address: SocketAddr) -> anyhow::Result<()> {
    for (path, body) in [
        ("roles/reader", r#"{"role":"reader","permissions":{"kv":{"read":["/tree/*"],"write":[]}}}"#),
        ("users/root", r#"{"user":"root","password":"secret"}"#),
        ("users/ana", r#"{"user":"ana","password":"word","roles":["reader"]}"#),
    ] {
        let request = http1::request("PUT", &format!("/v2/auth/{path}"), &[], Some(body.as_bytes()));
        let reply = http1::exchange(address, &request, LONG)?;
        ensure!(reply.status < 300, "{path}: {}", reply.body_text());
    }
    Ok(())
}

/// Bodies and the index beside them, without the seconds left, which follow from the expiration and the clock.
fn image_v2(address: SocketAddr) -> anyhow::Result<String> {
    let mut image = String::new();
    for target in [
        "/v2/keys/?recursive=true&sorted=true",
        "/v2/keys/_hidden?recursive=true&sorted=true",
        "/v2/auth/users/ana",
        "/v2/auth/roles/reader",
        "/v2/auth/enable",
    ] {
        let reply = http1::exchange(address, &http1::request("GET", target, &[], None), LONG)?;
        let mut body = reply.body_text();
        while let Some(at) = body.find("\"ttl\":") {
            let end =
                body.get(at..).and_then(|rest| rest.find(',')).context("the ttl is not the last field")?;
            body.replace_range(at..=at.saturating_add(end), "");
        }
        let index = reply.header("x-etcd-index").unwrap_or_default();
        let line = format!("{target} {} {index} {body}\n", reply.status);
        image.push_str(&line);
    }
    Ok(image)
}

fn moved(folder: &Path) -> anyhow::Result<Cluster> {
    let mut kvorum = Cluster::prepare(&House::Kvorum.settings()?)?;
    let setup = kvorum.member(0).setup.clone();
    take(
        folder,
        &[
            &format!("--name={}", setup.name),
            &format!("--initial-cluster={}", setup.initial_cluster),
            &format!("--initial-advertise-peer-urls={}", setup.peer_url()),
            &format!("--data-dir={}", kvorum.member(0).data_dir().display()),
        ],
    )?;
    kvorum.start_all()?;
    Ok(kvorum)
}

fn take(folder: &Path, flags: &[&str]) -> anyhow::Result<String> {
    let from = format!("--from-data-dir={}", folder.display());
    House::Kvorum.tool(&[&["snapshot", "restore", &from], flags].concat())
}

/// `folder` is not taken, for this reason, and nothing is left.
fn ensure_refused(folder: &Path, reason: &str) -> anyhow::Result<()> {
    let target = folder.with_extension("refused");
    let refused = take(folder, &[&format!("--data-dir={}", target.display())]).expect_err(reason);
    ensure!(refused.to_string().contains(reason), "{refused}");
    ensure!(!target.exists(), "{} was left", target.display());
    Ok(())
}

/// A bit of an entry in the middle of the log is not as it was written, and then it is again.
fn ensure_damage_is_seen(folder: &Path) -> anyhow::Result<()> {
    let segment = fs::read_dir(folder.join("member/wal"))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "wal"))
        .min()
        .context("a file of the log")?;
    let whole = fs::read(&segment)?;
    let mut bad = whole.clone();
    let middle = whole.windows(7).position(|window| window == b"/tree/5").context("an entry")?;
    *bad.get_mut(middle).context("a byte")? ^= 1;
    fs::write(&segment, bad)?;
    ensure_refused(folder, "a checksum does not match")?;
    fs::write(&segment, whole)?;
    Ok(())
}

fn ensure_moves(release: Release) -> anyhow::Result<()> {
    let mut etcd = Cluster::start(&House::Etcd(release).settings()?)?;
    let address = etcd.member(0).address();
    fill_v2(address)?;
    let filled: Filled = fill(&etcd)?;
    fill_v2_users(address)?;
    // What comes last is only in the log.
    fill_v2(address)?;
    crate::data::ctl(&etcd, &[crate::data::ROOT, "put", "key/last", "in the log"])?;
    let (expected, leased) = (image(&etcd, &filled)?, leases(&etcd)?);
    let (expected_v2, hashed) = (image_v2(address)?, hashes(&etcd, &filled)?);
    let folder = etcd.member(0).data_dir();
    ensure_refused(&folder, "is in use: stop etcd first")?;
    // As it is when the power goes: what is not in the database is in the log.
    etcd.member_mut(0).kill()?;
    ensure_damage_is_seen(&folder)?;
    let began = Instant::now();
    let kvorum = moved(&folder)?;
    eprintln!("{} was taken and started: {:.1} s", release.version(), began.elapsed().as_secs_f64());
    let found = image(&kvorum, &filled)?;
    ensure!(found == expected, "{:?}", first_difference(&found, &expected));
    ensure!(leases(&kvorum)? == leased, "leases");
    // etcd itself finds the same history in what we make of it.
    let saved = House::Etcd(release).save(&kvorum, "kvorum.db")?;
    let back = House::Etcd(release).restored(&saved, &[])?;
    ensure!(hashes(&back, &filled)? == hashed, "hashes");
    back.done()?;
    let found_v2 = image_v2(kvorum.member(0).address())?;
    ensure!(found_v2 == expected_v2, "{:?}", first_difference(&found_v2, &expected_v2));
    is_guarded(&kvorum)?;
    // It goes on from there.
    let mut v2 = V2::new(&[kvorum.member(0).address()], LONG);
    v2.insist("PUT", "/tree/1/1", &[("value", "here")])?;
    kvorum.done()?;
    etcd.done()
}

#[test]
fn the_folder_of_etcd_3_4_starts_here() -> anyhow::Result<()> {
    ensure_moves(Release::Debian)
}

#[test]
fn the_folder_of_etcd_3_5_starts_here() -> anyhow::Result<()> {
    ensure_moves(Release::Pypi)
}
