//! The whole disaster, on three members with certificates: data of v2 and v3, leases and users; a snapshot; more writes; all
//! stopped and their data deleted; everything put back, as of the snapshot and as of a revision behind it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use ::tests::etcdctl::kvorumctl;
use anyhow::{Context, ensure};
use serde_json::Value;

use crate::house::{Member, curl, three, wait_healthy};
use crate::serving::stocked;
use crate::shop::Shop;

const ROOT: &str = "--user=root:secret";

/// kvorumctl with the certificate `client`, at these members.
fn ctl(shop: &Shop, members: &[Member], words: &[&str]) -> anyhow::Result<String> {
    let urls: Vec<String> = members.iter().map(Member::url).collect();
    let flags = [
        format!("--endpoints={}", urls.join(",")),
        format!("--cacert={}", shop.word("ca.pem")),
        format!("--cert={}", shop.word("client.pem")),
        format!("--key={}", shop.word("client-key.pem")),
        "--command-timeout=30s".to_owned(),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    kvorumctl(&[&flags, words].concat())
}

fn v2_put(shop: &Shop, member: &Member, key: &str, form: &str) -> anyhow::Result<()> {
    let url = format!("{}/v2/keys/{key}", member.url());
    let put = curl(shop, Some("client"), &["-X", "PUT", &url, "-d", form])?;
    ensure!(put.body.contains("\"action\""), "{key}: {put:?}");
    Ok(())
}

fn fill(shop: &Shop, members: &[Member]) -> anyhow::Result<()> {
    for number in 0..30 {
        ctl(shop, members, &["put", &format!("key-{}", number % 10), &format!("value {number}")])?;
    }
    for number in 0..3 {
        let granted = ctl(shop, members, &["lease", "grant", &(5000 + number).to_string()])?;
        let id = granted.split_whitespace().nth(1).context("an id")?;
        ctl(shop, members, &["put", &format!("leased-{number}"), "x", "--lease", id])?;
    }
    ctl(shop, members, &["del", "key-3"])?;
    for number in 0..20 {
        v2_put(shop, &members[number % 3], &format!("tree/{}/{number}", number % 4), "value=x&ttl=7200")?;
    }
    for words in [
        &["user", "add", "root:secret"][..],
        &["user", "add", "ana:word"],
        &["role", "add", "reader"],
        &["role", "grant-permission", "reader", "read", "key-", "--prefix"],
        &["user", "grant-role", "ana", "reader"],
        &["user", "grant-role", "root", "root"],
        &["auth", "enable"],
    ] {
        ctl(shop, members, words)?;
    }
    Ok(())
}

/// What a member shows, now and at an old revision.
fn image(shop: &Shop, member: &Member) -> anyhow::Result<String> {
    let at = std::slice::from_ref(member);
    let mut image = String::new();
    for words in [
        &["get", "", "--prefix", "-w", "jsonl"][..],
        &["get", "", "--prefix", "-w", "jsonl", "--rev=15"],
        &["lease", "list"],
        &["user", "list"],
        &["user", "get", "ana", "--detail"],
        &["role", "get", "reader"],
    ] {
        let shown = ctl(shop, at, &[&[ROOT], words].concat())?;
        let mut lines: Vec<&str> = shown.lines().collect();
        if words[0] == "lease" {
            // In the order of their ends, which are far away again after a start.
            lines.sort_unstable();
        }
        writeln!(image, "{words:?}\n{}", lines.join("\n"))?;
    }
    let tree = format!("{}/v2/keys/?recursive=true&sorted=true", member.url());
    let tree: Value = serde_json::from_str(&curl(shop, Some("client"), &[&tree])?.body)?;
    image.push_str(&without_ttl(tree).to_string());
    Ok(image)
}

/// The seconds left follow from the expiration and the clock.
fn without_ttl(mut tree: Value) -> Value {
    match &mut tree {
        Value::Object(fields) => {
            fields.remove("ttl");
            fields.values_mut().for_each(|field| *field = without_ttl(field.take()));
        }
        Value::Array(nodes) => nodes.iter_mut().for_each(|node| *node = without_ttl(node.take())),
        _ => {}
    }
    tree
}

fn revision(shop: &Shop, members: &[Member]) -> anyhow::Result<i64> {
    let said: Value = serde_json::from_str(&ctl(shop, members, &[ROOT, "get", "none", "-w", "json"])?)?;
    said["header"]["revision"].as_i64().context("a revision")
}

/// All are stopped and lose their data; each is restored with `words`, and they are started again.
fn lose_and_restore(shop: &Shop, members: &mut [Member], token: &str, words: &[&str]) -> anyhow::Result<()> {
    for member in members.iter_mut().filter(|member| member.pid().is_some()) {
        member.stop()?;
    }
    for member in &mut *members {
        fs::remove_dir_all(member.data_dir())?;
        let at = member.flags.iter().position(|flag| flag == "--initial-cluster").context("the list")?;
        kvorumctl(
            &[
                &["snapshot", "restore"],
                words,
                &[
                    &format!("--name={}", member.name),
                    &format!("--initial-cluster={}", member.flags[at + 1]),
                    &format!("--initial-cluster-token={token}"),
                    &format!("--initial-advertise-peer-urls=https://127.0.0.1:{}", member.peer_port),
                    &format!("--data-dir={}", member.data_dir().display()),
                ],
            ]
            .concat(),
        )?;
    }
    for member in &mut *members {
        member.spawn()?;
    }
    members.iter().try_for_each(|member| wait_healthy(shop, member))
}

fn ensure_is(shop: &Shop, members: &[Member], expected: &str) -> anyhow::Result<()> {
    for member in members {
        let found = image(shop, member)?;
        let difference = found.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
        ensure!(found == expected, "{}: {difference:?}", member.name);
        let at = std::slice::from_ref(member);
        ensure!(ctl(shop, at, &["--user=ana:word", "get", "key-1"])?.starts_with("key-1\n"));
        for words in [&["get", "key-1"][..], &["--user=ana:word", "put", "key-1", "x"]] {
            ensure!(ctl(shop, at, words).is_err(), "{words:?} is allowed");
        }
    }
    Ok(())
}

#[test]
fn three_members_come_back_as_of_a_snapshot_and_as_of_any_revision() -> anyhow::Result<()> {
    let shop = stocked()?;
    let mut members = three(&shop, &["--archive-dir=archive", "--bcrypt-cost=4"])?;
    fill(&shop, &members)?;
    let saved_at = revision(&shop, &members)?;
    let saved = image(&shop, &members[1])?;
    let file = shop.word("backup.db");
    ctl(&shop, &members[1..2], &[ROOT, "snapshot", "save", &file])?;

    for number in 0..10 {
        ctl(&shop, &members, &[ROOT, "put", &format!("later-{number}"), "x"])?;
        v2_put(&shop, &members[0], &format!("later/{number}"), "value=x")?;
    }
    ctl(&shop, &members, &[ROOT, "put", "last", "x"])?;
    let later_at = revision(&shop, &members)?;
    let later = image(&shop, &members[2])?;
    for number in 0..5 {
        ctl(&shop, &members, &[ROOT, "put", &format!("too-late-{number}"), "x"])?;
    }
    for member in &mut members {
        member.stop()?;
    }
    // Kept elsewhere; the members begin new archives.
    let archive = members[0].folder().join("kept");
    fs::rename(members[0].folder().join("archive"), &archive)?;

    lose_and_restore(&shop, &mut members, "first", &[&file])?;
    ensure_is(&shop, &members, &saved)?;
    ensure!(revision(&shop, &members)? == saved_at, "nothing is later than the snapshot");

    restore_later(&shop, &mut members, &archive, later_at)?;
    ensure_is(&shop, &members, &later)?;
    ensure!(revision(&shop, &members)? == later_at, "nothing is later than that revision");
    ctl(&shop, &members, &[ROOT, "put", "last", "since"])?;

    // Who watched before is told to begin again.
    let archive = format!("--archive-dir={}", archive.display());
    let words = [&archive, "--bump-revision=1000", "--mark-compacted"];
    lose_and_restore(&shop, &mut members, "third", &words)?;
    for since in [saved_at, later_at, later_at + 100] {
        let watch = ctl(&shop, &members, &[ROOT, "watch", "key-1", &format!("--rev={since}")]);
        let told = watch.err().context("a watch from before goes on")?.to_string();
        ensure!(told.contains("required revision has been compacted"), "{told}");
    }
    let all = ctl(&shop, &members, &[ROOT, "get", "too-late", "--prefix", "--keys-only"])?;
    ensure!(all.matches("too-late-").count() == 5, "the archive ends with the last write: {all}");
    Ok(())
}

/// From the archive of one member alone, and not too far.
fn restore_later(shop: &Shop, members: &mut [Member], archive: &Path, later: i64) -> anyhow::Result<()> {
    let archive = format!("--archive-dir={}", archive.display());
    let target = shop.word("nothing");
    let far = format!("--to-revision={}", later + 1000);
    let refused = kvorumctl(&["snapshot", "restore", &archive, &far, "--data-dir", &target]);
    let refused = refused.err().context("beyond the end")?.to_string();
    ensure!(refused.contains(&format!("the archive ends at revision {}", later + 5)), "{refused}");
    ensure!(!Path::new(&target).exists(), "nothing is left");
    lose_and_restore(shop, members, "second", &[&archive, &format!("--to-revision={later}")])
}
