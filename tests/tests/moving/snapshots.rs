//! A snapshot of real etcd comes here, one of ours goes there, and all on the way show the same.

use std::fs;
use std::path::Path;
use std::time::Instant;

use ::tests::{Cluster, Release};
use anyhow::ensure;

use crate::data::{Filled, fill, first_difference, hashes, image, is_guarded, leases};
use crate::place::House;

/// Writes to stderr how long something took: of the large run it is what one wants to know.
fn note(what: &str, since: Instant) {
    eprintln!("{what}: {:.1} s", since.elapsed().as_secs_f64());
}

fn ensure_same(found: &Cluster, filled: &Filled, expected: (&str, &[String])) -> anyhow::Result<()> {
    let shown = image(found, filled)?;
    ensure!(shown == expected.0, "{:?}", first_difference(&shown, expected.0));
    ensure!(leases(found)? == expected.1, "leases: {:?} and {:?}", leases(found)?, expected.1);
    Ok(())
}

/// What both tools say of a file in every form.
fn ensure_same_status(house: House, file: &Path) -> anyhow::Result<()> {
    let file = file.to_string_lossy().into_owned();
    for form in ["simple", "json", "fields", "table"] {
        let words = ["snapshot", "status", &file, "-w", form];
        let (own, real) = (House::Kvorum.tool(&words)?, house.tool(&words)?);
        ensure!(own == real, "{form}: {own} and {real}");
    }
    Ok(())
}

fn there_and_back(release: Release) -> anyhow::Result<()> {
    let house = House::Etcd(release);
    let mut began = Instant::now();
    let mut lap = |what: &str| {
        note(&format!("{} {what}", release.version()), began);
        began = Instant::now();
    };
    let mut etcd = Cluster::start(&house.settings()?)?;
    let filled = fill(&etcd)?;
    lap("etcd was filled");
    let (expected, leased) = (image(&etcd, &filled)?, leases(&etcd)?);
    let hashed = hashes(&etcd, &filled)?;
    let saved = house.save(&etcd, "etcd.db")?;
    lap("etcd was looked at and saved");
    ensure_same_status(house, &saved)?;
    lap("both looked at the file");
    let kvorum = House::Kvorum.restored(&saved, &[])?;
    lap("the file was restored here and started");
    ensure_same(&kvorum, &filled, (&expected, &leased))?;
    lap("here it shows the same");

    // Out again, with etcd's own tool.
    let returned = house.save(&kvorum, "kvorum.db")?;
    lap("etcdctl saved what is here");
    ensure_same_status(house, &returned)?;
    is_guarded(&kvorum)?;
    etcd.member_mut(0).terminate()?;
    let back = house.restored(&returned, &[])?;
    // The file lay in its folder.
    kvorum.done()?;
    lap("etcd restored that and started");
    ensure_same(&back, &filled, (&expected, &leased))?;
    // The history is the same to the byte: etcd's own hash says so.
    ensure!(hashes(&back, &filled)? == hashed, "hashes: {:?} and {hashed:?}", hashes(&back, &filled)?);
    is_guarded(&back)?;
    lap("there it shows the same");

    // What etcd wrote to since then is etcd's: nothing of ours in it counts any more.
    let (changed, leased) = (image(&back, &filled)?, leases(&back)?);
    let saved = house.save(&back, "again.db")?;
    let again = House::Kvorum.restored(&saved, &[])?;
    back.done()?;
    ensure_same(&again, &filled, (&changed, &leased))?;
    again.done()?;

    // The database of a member that has stopped, without a checksum.
    let plain = etcd.member(0).data_dir().join("member/snap/db");
    let refused = House::Kvorum.restored(&plain, &[]).map(|_| ()).expect_err("without a checksum");
    ensure!(refused.to_string().contains("snapshot missing hash but --skip-hash-check=false"), "{refused}");
    let plain = House::Kvorum.restored(&plain, &["--skip-hash-check"])?;
    ensure_same(&plain, &filled, (&expected, &leased))?;
    plain.done()?;
    etcd.done()
}

#[test]
fn what_etcd_3_4_saved_comes_here_and_goes_back() -> anyhow::Result<()> {
    there_and_back(Release::Debian)
}

#[test]
fn what_etcd_3_5_saved_comes_here_and_goes_back() -> anyhow::Result<()> {
    there_and_back(Release::Pypi)
}

#[test]
fn a_damaged_file_of_etcd_is_refused() -> anyhow::Result<()> {
    let house = House::Etcd(Release::Debian);
    let etcd = Cluster::start(&house.settings()?)?;
    for number in 0..200 {
        etcd.member(0).client()?.put(&format!("{number}"), &"x".repeat(100))?;
    }
    let file = etcd.folder().join("whole.db");
    let endpoint = format!("--endpoints={}", etcd.member(0).setup.client_url());
    house.tool(&[&endpoint, "snapshot", "save", &file.to_string_lossy()])?;
    let whole = fs::read(&file)?;
    // A page of rows is no page any more: without a look at the checksum, too, that is seen.
    let mut bad = whole.clone();
    for page in bad.chunks_mut(4096).skip(2) {
        if let Some(kind) = page.get_mut(8).filter(|kind| **kind == 2) {
            *kind = 0x42;
        }
    }
    fs::write(&file, &bad)?;
    for (flags, what) in [
        (&[][..], "is not whole: its SHA-256 does not match"),
        (&["--skip-hash-check"], "is damaged: it is no page of rows"),
    ] {
        let refused = House::Kvorum.restored(&file, flags).map(|_| ()).expect_err("damaged");
        ensure!(refused.to_string().contains(what), "{refused}");
    }
    etcd.done()
}
