//! `kvorumctl migrate`: from real etcd to us, from us to real etcd, and within one cluster that then shows the copy in v2.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use ::tests::cluster::Settings;
use ::tests::v2::V2;
use ::tests::{Client, Cluster, Node, Program};
use anyhow::{Context, ensure};
use serde_json::Value;

const LONG: Duration = Duration::from_secs(20);
const PREFIX: &str = "--prefix=/v2/";

/// What the program printed on stdout and stderr, and its exit status.
struct Printed {
    out: String,
    err: String,
    status: i32,
}

fn migrate(endpoint: SocketAddr, arguments: &[&str]) -> anyhow::Result<Printed> {
    let kvorum = Program::kvorum()?.path;
    let program = kvorum.with_file_name("kvorumctl");
    ensure!(program.is_file(), "there is no {}; run `make test`, which builds it first", program.display());
    let mut command = Command::new(program);
    let output = command.arg(format!("--endpoints={endpoint}")).arg("migrate").args(arguments).output();
    let output = output.context("run kvorumctl")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let status = output.status.code().context("it was killed")?;
    Ok(Printed { out: text(&output.stdout), err: text(&output.stderr), status })
}

fn fill(address: SocketAddr) -> anyhow::Result<V2> {
    let mut client = V2::new(&[address], LONG);
    for number in 0..150 {
        client.insist("PUT", &format!("/app/many/{number:03}"), &[("value", "some")])?;
    }
    for (path, form) in [
        ("/app/one", &[("value", "1")][..]),
        ("/app/odd%20name%2B", &[("value", "a%26b%3D%C3%A4")]),
        ("/app/empty", &[("value", "")]),
        ("/leased", &[("value", "x"), ("ttl", "600")]),
        ("/bare", &[("dir", "true")]),
        ("/going", &[("dir", "true"), ("ttl", "500")]),
        ("/going/inside", &[("value", "y")]),
        ("/_hidden/x", &[("value", "h")]),
    ] {
        let told = client.insist("PUT", path, form)?;
        ensure!(told.status == 201, "{told:?}");
    }
    Ok(client)
}

/// The tree without what is of its own in every cluster.
fn tree(client: &mut V2) -> anyhow::Result<Value> {
    fn plain(node: &mut Value) {
        if let Some(fields) = node.as_object_mut() {
            fields.retain(|name, _| matches!(name.as_str(), "key" | "value" | "dir" | "nodes"));
        }
        node["nodes"].as_array_mut().into_iter().flatten().for_each(plain);
    }
    let mut told = client.insist("GET", "/?recursive=true&sorted=true&quorum=true", &[])?.body;
    plain(&mut told["node"]);
    Ok(told["node"].take())
}

#[test]
fn a_tree_is_copied_between_clusters_of_both_kinds() -> anyhow::Result<()> {
    let etcd = Node::start(&Program::etcd()?, &[])?;
    let ours = Node::start(&Program::kvorum()?, &["--v2-bridge-prefix=/v2/"])?;
    let mut source = fill(etcd.address())?;
    let v3 = Client::new(ours.address())?;
    let to_us = format!("--dest-endpoints={}", ours.address());
    let printed = migrate(etcd.address(), &[PREFIX, &to_us, "--dry-run"])?;
    ensure!(
        printed.status == 0 && printed.out.contains("create /v2/app/one\n"),
        "{}{}",
        printed.out,
        printed.err
    );
    ensure!(printed.out.contains("would create 157 keys"), "{}", printed.out);
    ensure!(v3.list("/v2/")?.count == 0, "a dry run writes nothing");

    let printed = migrate(etcd.address(), &[PREFIX, &to_us])?;
    ensure!(printed.status == 0, "{}{}", printed.out, printed.err);
    ensure!(
        printed.out.contains("read 155 files and 4 directories, 2 with a time to live"),
        "{}",
        printed.out
    );
    ensure!(
        printed.out.contains("created 157 keys below /v2/, overwrote 0, 0 were there"),
        "{}",
        printed.out
    );
    ensure!(printed.out.contains("verified 157 keys") && !printed.out.contains("gone on"), "{}", printed.out);
    // v2 shows on our side what it shows on etcd's.
    let mut target = V2::new(&[ours.address()], LONG);
    ensure!(tree(&mut source)? == tree(&mut target)?, "{}", tree(&mut target)?);
    let ttl = target.insist("GET", "/leased", &[])?.node("ttl").as_i64().unwrap_or(0);
    ensure!((500..=600).contains(&ttl), "{ttl}");
    ensure!(v3.get("/v2/app/odd name+")?.as_deref() == Some("a&b=ä"));
    let inside = v3.list("/v2/going/")?.kvs;
    ensure!(inside.len() == 2 && inside.iter().all(|kv| kv.lease != 0), "{inside:?}");

    // Again, after something has changed on both sides.
    source.insist("PUT", "/app/one", &[("value", "2")])?;
    source.insist("PUT", "/app/new", &[("value", "n")])?;
    let printed = migrate(etcd.address(), &[PREFIX, &to_us])?;
    ensure!(printed.status == 1 && printed.err.contains("in the way: /v2/app/one\n"), "{}", printed.err);
    ensure!(v3.get("/v2/app/new")?.is_none(), "nothing was copied");
    let printed = migrate(etcd.address(), &[PREFIX, &to_us, "--overwrite", "-w", "json"])?;
    let report: Value = serde_json::from_str(&printed.out).context(printed.err)?;
    ensure!(report["created"] == 1 && report["overwritten"] == 1 && report["same"] == 156, "{report}");
    ensure!(tree(&mut source)? == tree(&mut target)?);
    let printed = migrate(etcd.address(), &[PREFIX, &to_us, "--path=/_hidden"])?;
    ensure!(printed.status == 0 && v3.get("/v2/_hidden/x")?.as_deref() == Some("h"), "{}", printed.err);

    // And back: our v2, which is the bridge, to real etcd's v3.
    let to_etcd = format!("--dest-endpoints={}", etcd.address());
    let printed = migrate(ours.address(), &[PREFIX, &to_etcd])?;
    ensure!(
        printed.status == 0 && printed.out.contains("created 158 keys"),
        "{}{}",
        printed.out,
        printed.err
    );
    let back = Client::new(etcd.address())?.list("/v2/")?;
    ensure!(back.count == 158 && back.kvs.iter().filter(|kv| kv.lease != 0).count() == 3, "{}", back.count);
    let absent = migrate(ours.address(), &[PREFIX, "--path=/absent"])?;
    ensure!(absent.status == 1 && absent.err.contains("Key not found"), "{}", absent.err);
    Ok(())
}

#[test]
fn a_cluster_shows_its_own_copy_when_it_is_started_with_the_prefix() -> anyhow::Result<()> {
    let mut cluster = Cluster::prepare(&Settings::new(&Program::kvorum()?, 1))?;
    cluster.start_all()?;
    let address = cluster.member(0).address();
    let before = tree(&mut fill(address)?)?;
    let printed = migrate(address, &[PREFIX])?;
    ensure!(
        printed.status == 0 && printed.out.contains("verified 157 keys"),
        "{}{}",
        printed.out,
        printed.err
    );
    cluster.member_mut(0).terminate()?;
    cluster.member_mut(0).setup.flags.push("--v2-bridge-prefix=/v2/".to_owned());
    cluster.start_all()?;
    cluster.member(0).wait_logged(&["is kept and hidden"])?;
    let after = tree(&mut V2::new(&[address], LONG))?;
    ensure!(before == after, "{after}");
    cluster.done()
}
