//! The `etcd-client` crate against three members: what its documentation and its examples show.
//!
//! `CLUSTER_OF=etcd` runs the same against real etcd, to test the test.

use ::tests::cluster::{Settings, program};
use ::tests::{Cluster, client};
use anyhow::{Context, ensure};
use etcd_client::{
    AlarmAction, AlarmType, Client, CompactionOptions, Compare, CompareOp, DeleteOptions, EventType,
    GetOptions, LockOptions, ProclaimOptions, PutOptions, ResignOptions, SortOrder, SortTarget, Txn, TxnOp,
    WatchOptions,
};

#[test]
fn it_does_what_its_documentation_shows() {
    let cluster = Cluster::start(&Settings::new(&program().expect("a program"), 3)).expect("it starts");
    let members: Vec<String> = (0..3).map(|number| cluster.member(number).setup.client_url()).collect();
    client::runtime().block_on(all(&members)).unwrap_or_else(|error| panic!("{error:#}"));
    cluster.done().expect("the end");
}

async fn all(members: &[String]) -> anyhow::Result<()> {
    let mut client = Client::connect(members, None).await.context("connect")?;
    keys(&mut client).await.context("keys")?;
    watches(&mut client).await.context("watches")?;
    leases(&mut client).await.context("leases")?;
    locks(&mut client).await.context("locks")?;
    elections(&mut client).await.context("elections")?;
    cluster(&mut client).await.context("cluster")?;
    for member in members {
        let mut alone = Client::connect([member], None).await.context("connect to one")?;
        maintenance(&mut alone).await.with_context(|| format!("maintenance at {member}"))?;
    }
    compaction(&mut client).await.context("compaction")
}

async fn keys(client: &mut Client) -> anyhow::Result<()> {
    for (key, value) in [("Alice", "15"), ("Bob", "20"), ("Chris", "16")] {
        client.put(key, value, None).await?;
    }
    let bob = client.get("Bob", None).await?;
    ensure!(bob.kvs().first().context("Bob is there")?.value_str()? == "20", "{bob:?}");
    let all = client.get("", Some(GetOptions::new().with_all_keys())).await?;
    ensure!(all.count() == 3 && all.kvs().len() == 3, "{all:?}");
    let sorted =
        GetOptions::new().with_all_keys().with_sort(SortTarget::Value, SortOrder::Descend).with_limit(1);
    let oldest = client.get("", Some(sorted)).await?;
    ensure!(oldest.kvs().first().context("one")?.key_str()? == "Bob" && oldest.more(), "{oldest:?}");
    let gone = client.delete("Chris", Some(DeleteOptions::new().with_prev_key())).await?;
    ensure!(gone.prev_kvs().first().context("it was there")?.value_str()? == "16", "{gone:?}");
    let txn = Txn::new()
        .when(vec![Compare::value("Alice", CompareOp::Equal, "15")])
        .and_then(vec![TxnOp::put("Alice", "18", Some(PutOptions::new().with_ignore_lease()))])
        .or_else(vec![TxnOp::get("Alice", None)]);
    ensure!(client.txn(txn.clone()).await?.succeeded(), "the first one finds 15");
    let second = client.txn(txn).await?;
    ensure!(!second.succeeded() && second.op_responses().len() == 1, "{second:?}");
    let alice = client.get("Alice", None).await?;
    ensure!(alice.kvs().first().context("Alice is there")?.version() == 2, "{alice:?}");
    let put = client.put("Alice", "19", Some(PutOptions::new().with_prev_key())).await?;
    ensure!(put.prev_key().context("it was there")?.value_str()? == "18", "{put:?}");
    Ok(())
}

async fn watches(client: &mut Client) -> anyhow::Result<()> {
    client.put("foo", "bar", None).await?;
    let mut stream = client.watch("foo", Some(WatchOptions::new().with_watch_id(1))).await?;
    let created = stream.message().await?.context("a first message")?;
    ensure!(created.created() && created.watch_id() == 1, "{created:?}");
    client.put("foo", "bar2", None).await?;
    client.delete("foo", None).await?;
    stream.watch("foo1", Some(WatchOptions::new().with_watch_id(2).with_prev_key())).await?;
    let mut deleted = Vec::new();
    let mut canceled = Vec::new();
    while canceled.len() < 2 {
        let message = stream.message().await?.context("the stream goes on")?;
        if message.created() {
            client.put("foo1", "bar2", None).await?;
            client.delete("foo1", None).await?;
        }
        if message.canceled() {
            canceled.push(message.watch_id());
        }
        for event in message.events() {
            if event.event_type() == EventType::Delete {
                deleted.push(message.watch_id());
                stream.cancel(message.watch_id()).await?;
            }
        }
    }
    ensure!(deleted == [1, 2] && canceled == [1, 2], "{deleted:?} {canceled:?}");
    let mut stream = client.watch("foo", None).await?;
    stream.message().await?.context("a first message")?;
    stream.request_progress().await?;
    let progress = stream.message().await?.context("an answer")?;
    ensure!(progress.events().is_empty() && progress.watch_id() == -1, "{progress:?}");
    Ok(())
}

async fn leases(client: &mut Client) -> anyhow::Result<()> {
    let id = client.lease_grant(60, None).await?.id();
    client.put("leased", "1", Some(PutOptions::new().with_lease(id))).await?;
    let left = client.lease_time_to_live(id, None).await?;
    ensure!(left.granted_ttl() == 60 && (58..=60).contains(&left.ttl()), "{left:?}");
    let (mut keeper, mut stream) = client.lease_keep_alive(id).await?;
    keeper.keep_alive().await?;
    let kept = stream.message().await?.context("an answer")?;
    ensure!(kept.ttl() == 60 && kept.id() == id, "{kept:?}");
    let all = client.leases().await?;
    ensure!(all.leases().iter().any(|lease| lease.id() == id), "{all:?}");
    client.lease_revoke(id).await?;
    ensure!(client.lease_keep_alive(id).await.is_err(), "a revoked lease is kept alive");
    ensure!(client.get("leased", None).await?.kvs().is_empty(), "its key is still there");
    Ok(())
}

async fn locks(client: &mut Client) -> anyhow::Result<()> {
    let lock = client.lock("lock-test", None).await?;
    client.unlock(lock.key()).await?;
    let lease = client.lease_grant(60, None).await?.id();
    let lock = client.lock("lock-test2", Some(LockOptions::new().with_lease(lease))).await?;
    ensure!(lock.key() == format!("lock-test2/{lease:x}").as_bytes(), "{lock:?}");
    client.unlock(lock.key()).await?;
    Ok(())
}

async fn elections(client: &mut Client) -> anyhow::Result<()> {
    let lease = client.lease_grant(60, None).await?.id();
    let won = client.campaign("myElection", "123", lease).await?;
    let leader = won.leader().context("who leads")?;
    client.proclaim("124", Some(ProclaimOptions::new().with_leader(leader.clone()))).await?;
    let mut observed = client.observe(leader.name()).await?;
    let first = observed.message().await?.context("a leader")?;
    ensure!(first.kv().context("its key")?.value_str()? == "124", "{first:?}");
    let seen = client.leader("myElection").await?;
    ensure!(seen.kv().context("its key")?.key() == leader.key(), "{seen:?}");
    client.resign(Some(ResignOptions::new().with_leader(leader.clone()))).await?;
    ensure!(client.leader("myElection").await.is_err(), "it leads after it resigned");
    Ok(())
}

async fn cluster(client: &mut Client) -> anyhow::Result<()> {
    let list = client.member_list().await?;
    ensure!(list.members().len() == 3, "{list:?}");
    ensure!(list.members().iter().all(|member| !member.client_urls().is_empty()), "{list:?}");
    Ok(())
}

async fn maintenance(client: &mut Client) -> anyhow::Result<()> {
    let alarms = client.alarm(AlarmAction::Get, AlarmType::None, None).await?;
    ensure!(alarms.alarms().is_empty(), "{alarms:?}");
    let status = client.status().await?;
    ensure!(status.version().starts_with("3.") && status.db_size() > 0 && status.leader() != 0, "{status:?}");
    client.defragment().await?;
    client.hash().await?;
    client.hash_kv(0).await?;
    let mut snapshot = client.snapshot().await?;
    let (mut bytes, mut left) = (0, 0);
    while let Some(part) = snapshot.message().await? {
        (bytes, left) = (bytes + part.blob().len(), part.remaining_bytes());
    }
    ensure!(bytes > 32 && left == 0, "{bytes} bytes, {left} are left");
    let status = client.status().await?;
    let own = status.header().context("a header")?.member_id();
    if own == status.leader() {
        let list = client.member_list().await?;
        let other = list.members().iter().find(|member| member.id() != own).context("another one")?.id();
        client.move_leader(other).await?;
    }
    Ok(())
}

async fn compaction(client: &mut Client) -> anyhow::Result<()> {
    let revision = client.put("last", "1", None).await?.header().context("a header")?.revision();
    client.compact(revision, Some(CompactionOptions::new().with_physical())).await?;
    let past = client.get("last", Some(GetOptions::new().with_revision(revision - 1))).await;
    ensure!(past.is_err_and(|error| error.to_string().contains("compacted")), "it can still be read");
    Ok(())
}
