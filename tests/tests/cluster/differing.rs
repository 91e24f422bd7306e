//! A member whose data differs from that of the others is found, serves nobody any more, and is rebuilt by the steps of
//! docs/OPERATIONS.md.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::tests::cluster::{Settings, Writer, is_etcd, program};
use ::tests::{Cluster, operator, until};
use anyhow::{Context, ensure};
use bytes::Bytes;
use types::{Key, LeaseId, Put};

/// A client that waits out an election.
const LONG: Duration = Duration::from_secs(15);

/// Writes a key into the database of a stopped member, past its log.
fn plant(database: &Path) -> anyhow::Result<()> {
    let store = Arc::new(store::Store::open(database, &store::Options::default())?);
    let machine = apply::Machine::open(Arc::clone(&store))?;
    let mut writer = machine.mvcc().begin();
    let key = Key::new(Bytes::from_static(b"ghost")).context("a key")?;
    let value = Bytes::from_static(b"?");
    writer.put(&Put {
        key,
        value,
        lease: LeaseId::default(),
        prev_kv: false,
        ignore_value: false,
        ignore_lease: false,
    })?;
    let mut batch = store.batch();
    writer.stage(&mut batch);
    store.write(batch)?;
    writer.publish();
    store.flush()?;
    Ok(())
}

#[test]
fn who_holds_other_data_is_found_and_rebuilt() -> anyhow::Result<()> {
    let program = program()?;
    if is_etcd(&program) {
        eprintln!("NOT CHECKED: nothing here can write into etcd's database");
        return Ok(());
    }
    let settings = Settings::new(&program, 3).flags(&["--experimental-corrupt-check-time=1s"]);
    let mut cluster = Cluster::start(&settings)?;
    let writer = Writer::start(cluster.member(0).address(), "k", LONG)?;
    writer.wait_more(100)?;
    cluster.wait_equal(&[0, 1, 2])?;
    cluster.member_mut(2).terminate()?;
    plant(&cluster.member(2).data_dir().join("member/db"))?;
    cluster.spawn(2)?;
    let told = until(LONG, || {
        let alarms = cluster.etcdctl(&[0], &["alarm", "list"]).ok()?;
        alarms.contains("CORRUPT").then_some(alarms)
    });
    let alarms = told.with_context(|| format!("nobody noticed\n{}", cluster.logs()))?;
    let id = operator::id_of(&cluster, &[0], &cluster.member(2).setup.name)?;
    ensure!(alarms.contains(&id.to_string()), "{id} is wrong, and not: {alarms}");
    ensure!(alarms.lines().count() == 1, "nobody else is accused: {alarms}");
    cluster.member(2).wait_logged(&["other data than the rest"])?;
    let refused = cluster.member(2).client()?.put("x", "1").err().context("it takes writes")?;
    ensure!(format!("{refused:#}").contains("corrupt"), "{refused:#}");
    ensure!(cluster.member(2).client()?.get_here("ghost").is_err(), "it shows what nobody wrote");
    writer.wait_more(50)?;

    cluster.member_mut(2).terminate()?;
    operator::replace(&mut cluster, 2)?;
    cluster.member_mut(2).wait_ready()?;
    cluster.etcdctl(&[0], &["alarm", "disarm"])?;
    ensure!(cluster.etcdctl(&[0], &["alarm", "list"])?.trim().is_empty(), "the alarm goes");
    writer.wait_more(50)?;
    let report = writer.finish()?;
    report.all_acknowledged()?;
    report.check(&cluster.member(2).client()?)?;
    cluster.wait_equal(&[0, 1, 2])?;
    ensure!(cluster.member(2).client()?.get("ghost")?.is_none(), "it is gone");
    cluster.done()
}
