//! v2 as a view of v3's keys: clients of both sides on one cluster of real processes, while members die and restart.

use std::net::SocketAddr;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ::tests::client::{channel, runtime};
use ::tests::cluster::{Settings, program};
use ::tests::v2::{Told, V2};
use ::tests::{Client, Cluster, until};
use anyhow::{Context, ensure};
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::watch_client::WatchClient;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{
    Compare, PutRequest, RangeRequest, RequestOp, TxnRequest, WatchCreateRequest, WatchRequest, request_op,
};

/// A client that waits out an election.
const LONG: Duration = Duration::from_secs(20);
const BRIDGE: &str = "--v2-bridge-prefix=/reg/";
/// How often each side adds one to the counter that both share.
const ROUNDS: usize = 40;

struct Stage {
    cluster: Cluster,
    addresses: Vec<SocketAddr>,
}

impl Stage {
    fn v2(&self, member: usize) -> V2 {
        V2::new(&self.addresses, LONG).from(member)
    }

    fn v3(&self, member: usize) -> anyhow::Result<Client> {
        Client::patient(self.addresses[member], LONG)
    }

    /// Waits in v2 at a member, from another thread.
    fn wait(&self, member: usize, path: &str) -> JoinHandle<anyhow::Result<Told>> {
        let (mut client, path) = (self.v2(member), path.to_owned());
        thread::spawn(move || client.ask("GET", &path, &[]))
    }
}

#[test]
fn both_sides_see_one_truth_while_members_die_and_restart() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(&Settings::new(&program()?, 3).flags(&["--enable-v2=true", BRIDGE]))?;
    let leader = cluster.wait_leader()?;
    let addresses = (0..cluster.len()).map(|number| cluster.member(number).address()).collect();
    let mut stage = Stage { cluster, addresses };
    values_go_both_ways(&stage)?;
    watchers_hear_both_sides(&stage)?;
    counters_race(&stage)?;
    times_go_both_ways(&stage)?;
    let before = stage.v2(0).insist("GET", "/?recursive=true&sorted=true&quorum=true", &[])?;
    a_leader_dies(&mut stage, leader)?;
    let since = stage.v2(0).insist("GET", "/kept?quorum=true", &[])?.modified();
    stage.cluster.start_all()?;
    stage.cluster.wait_leader()?;
    for member in 0..3 {
        let mut client = stage.v2(member);
        let after = client.insist("GET", "/?recursive=true&sorted=true&quorum=true", &[])?;
        for (key, value, index) in before.nodes() {
            ensure!(after.nodes().contains(&(key.clone(), value, index)), "{key} is lost: {after:?}");
        }
        let told = client.insist("GET", &format!("/kept?wait=true&waitIndex={since}"), &[])?;
        ensure!(told.body["action"] == "create" && told.modified() == since, "{told:?}");
    }
    stage.cluster.wait_equal(&[0, 1, 2])?;
    ensure!(!stage.cluster.logs().contains("different --v2-bridge-prefix"), "nobody has another");
    stage.cluster.done()
}

fn values_go_both_ways(stage: &Stage) -> anyhow::Result<()> {
    let (mut v2, v3) = (stage.v2(0), stage.v3(1)?);
    let told = v2.insist("PUT", "/app/config", &[("value", "one")])?;
    ensure!(told.status == 201 && told.index == told.modified(), "{told:?}");
    ensure!(v3.get("/reg/app/config")?.as_deref() == Some("one"));
    let revision = v3.put("/reg/app/config", "two")?;
    let told = stage.v2(2).insist("GET", "/app/config?quorum=true", &[])?;
    ensure!(told.node("value") == "two" && told.modified() == u64::try_from(revision)?, "{told:?}");
    v3.put("/reg/app/deep/er", "x")?;
    let told = stage.v2(2).insist("GET", "/app?quorum=true&sorted=true", &[])?;
    let names: Vec<String> = told.nodes().into_iter().map(|(key, ..)| key).collect();
    ensure!(names == ["/app/config", "/app/deep"], "{told:?}");
    let told = v2.insist("DELETE", "/app?recursive=true", &[])?;
    ensure!(told.body["action"] == "delete" && told.node("dir") == true, "{told:?}");
    ensure!(v3.list("/reg/app/")?.count == 0, "it is gone for v3 too");
    let told = v2.insist("POST", "/queue", &[("value", "job")])?;
    ensure!(told.node("key") == format!("/queue/{:020}", told.index).as_str(), "{told:?}");
    v3.put("/elsewhere", "x")?;
    ensure!(v2.insist("GET", "/elsewhere?quorum=true", &[])?.code() == 100);
    Ok(())
}

fn watchers_hear_both_sides(stage: &Stage) -> anyhow::Result<()> {
    let (mut v2, v3) = (stage.v2(0), stage.v3(1)?);
    let index = v2.insist("GET", "/?quorum=true", &[])?.index;
    v3.put("/reg/w/a", "v3")?;
    v2.insist("PUT", "/w/a", &[("value", "v2")])?;
    v2.insist("PUT", "/w/b", &[("value", "new"), ("prevExist", "false")])?;
    v3.delete("/reg/w/a")?;
    let mut told = Vec::new();
    let mut next = index + 1;
    for _ in 0..4 {
        let event =
            stage.v2(2).insist("GET", &format!("/w?wait=true&recursive=true&waitIndex={next}"), &[])?;
        next = event.modified() + 1;
        told.push((event.body["action"].as_str().unwrap_or_default().to_owned(), event.node("key").clone()));
    }
    let expect = [("set", "/w/a"), ("set", "/w/a"), ("create", "/w/b"), ("delete", "/w/a")];
    ensure!(told == expect.map(|(action, key)| (action.to_owned(), key.into())), "{told:?}");
    // The same four, and the same order, to a watch of v3.
    let seen = watched(stage.addresses[1], "/reg/w/", i64::try_from(index + 1)?, 4)?;
    let expect = ["put /reg/w/a v3", "put /reg/w/a v2", "put /reg/w/b new", "delete /reg/w/a "];
    ensure!(seen == expect, "{seen:?}");
    // Live, at members other than the writer's.
    let live = stage.wait(2, "/live?wait=true&recursive=true");
    // A put that comes too early is not waited for; the next one is.
    let heard = until(LONG, || {
        v3.put("/reg/live/x", "now").ok()?;
        live.is_finished().then_some(())
    });
    ensure!(heard.is_some(), "the wait hears nothing");
    let event = live.join().expect("it reports")?;
    ensure!(event.body["action"] == "set" && event.node("key") == "/live/x", "{event:?}");
    Ok(())
}

fn watched(address: SocketAddr, prefix: &str, start: i64, count: usize) -> anyhow::Result<Vec<String>> {
    let mut end = prefix.as_bytes().to_vec();
    *end.last_mut().context("a prefix")? += 1;
    let create = WatchCreateRequest {
        key: prefix.to_owned().into(),
        range_end: end.into(),
        start_revision: start,
        ..WatchCreateRequest::default()
    };
    let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let mut client = WatchClient::new(channel(address, LONG)?);
    runtime().block_on(async {
        let requests = tokio_stream::once(request);
        let mut replies = client
            .watch(tokio_stream::StreamExt::chain(requests, tokio_stream::pending()))
            .await?
            .into_inner();
        let mut seen = Vec::new();
        while seen.len() < count {
            let reply = replies.message().await?.context("the stream ends")?;
            for event in reply.events {
                let kv = event.kv.context("an event without a key")?;
                let act = if event.r#type == 0 { "put" } else { "delete" };
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                seen.push(format!("{act} {} {}", text(&kv.key), text(&kv.value)));
            }
        }
        Ok(seen)
    })
}

/// Both sides add to one number, each only if nobody else did meanwhile: nothing is lost.
fn counters_race(stage: &Stage) -> anyhow::Result<()> {
    stage.v2(0).insist("PUT", "/counter", &[("value", "0")])?;
    thread::scope(|scope| -> anyhow::Result<()> {
        let v2 = (0..2).map(|member| scope.spawn(move || count_in_v2(stage, member))).collect::<Vec<_>>();
        let v3 = (1..3).map(|member| scope.spawn(move || count_in_v3(stage, member))).collect::<Vec<_>>();
        v2.into_iter().chain(v3).try_for_each(|counter| counter.join().expect("it reports"))
    })?;
    let told = stage.v2(0).insist("GET", "/counter?quorum=true", &[])?;
    ensure!(told.node("value") == (4 * ROUNDS).to_string().as_str(), "{told:?}");
    Ok(())
}

fn count_in_v2(stage: &Stage, member: usize) -> anyhow::Result<()> {
    let mut client = stage.v2(member);
    let mut done = 0;
    while done < ROUNDS {
        let now = client.ask("GET", "/counter?quorum=true", &[])?;
        let number: usize = now.node("value").as_str().context("a value")?.parse()?;
        let (next, index) = ((number + 1).to_string(), now.modified().to_string());
        let told = client.ask("PUT", "/counter", &[("value", &next), ("prevIndex", &index)])?;
        match told.code() {
            0 => done += 1,
            101 => {}
            _ => anyhow::bail!("{told:?}"),
        }
    }
    Ok(())
}

fn count_in_v3(stage: &Stage, member: usize) -> anyhow::Result<()> {
    let mut client = KvClient::new(channel(stage.addresses[member], LONG)?);
    let key = bytes::Bytes::from_static(b"/reg/counter");
    runtime().block_on(async {
        let mut done = 0;
        while done < ROUNDS {
            let range = RangeRequest { key: key.clone(), ..RangeRequest::default() };
            let now = client.range(range).await?.into_inner().kvs.into_iter().next().context("a counter")?;
            let number: usize = std::str::from_utf8(&now.value)?.parse()?;
            let value = (number + 1).to_string().into();
            let put = PutRequest { key: key.clone(), value, ..PutRequest::default() };
            let compare = Compare {
                result: CompareResult::Equal.into(),
                target: CompareTarget::Mod.into(),
                key: key.clone(),
                target_union: Some(TargetUnion::ModRevision(now.mod_revision)),
                ..Compare::default()
            };
            let txn = TxnRequest {
                compare: vec![compare],
                success: vec![RequestOp { request: Some(request_op::Request::RequestPut(put)) }],
                failure: Vec::new(),
            };
            done += usize::from(client.txn(txn).await?.into_inner().succeeded);
        }
        Ok(())
    })
}

fn times_go_both_ways(stage: &Stage) -> anyhow::Result<()> {
    let (mut v2, v3) = (stage.v2(1), stage.v3(2)?);
    let began = Instant::now();
    let told = v2.insist("PUT", "/t/soon", &[("value", "x"), ("ttl", "2")])?;
    ensure!(told.node("ttl") == 2 && told.node("expiration").is_string(), "{told:?}");
    let index = told.modified();
    let kv = v3.list("/reg/t/")?.kvs.into_iter().next().context("the key")?;
    ensure!(kv.lease != 0, "v3 sees its lease");
    let told = v2.insist("PUT", "/t/soon", &[("refresh", "true"), ("ttl", "3")])?;
    ensure!(told.body["prevNode"]["value"] == "x" && told.node("ttl") == 3, "{told:?}");
    v2.insist("PUT", "/t/dir", &[("dir", "true"), ("ttl", "3")])?;
    v3.put("/reg/t/dir/inside", "y")?;
    let mut waits = Vec::new();
    for (member, path) in [(0, "/t/soon"), (2, "/t/dir/inside")] {
        // From the write on, of which the wait is told first, then what is new; the refresh is silent.
        let next = if path == "/t/soon" {
            index + 1
        } else {
            v2.insist("GET", &format!("{path}?quorum=true"), &[])?.modified() + 1
        };
        waits.push(stage.wait(member, &format!("{path}?wait=true&waitIndex={next}")));
    }
    let told: anyhow::Result<Vec<Told>> =
        waits.into_iter().map(|wait| wait.join().expect("it reports")).collect();
    let told = told?;
    ensure!(began.elapsed() > Duration::from_millis(2_900), "it went after {:?}", began.elapsed());
    ensure!(began.elapsed() < LONG, "it went after {:?}", began.elapsed());
    let heard: Vec<_> =
        told.iter().map(|told| (told.body["action"].clone(), told.node("key").clone())).collect();
    ensure!(heard == [("expire".into(), "/t/soon".into()), ("expire".into(), "/t/dir".into())], "{told:?}");
    ensure!(v3.get("/reg/t/soon")?.is_none() && v3.get("/reg/t/dir/inside")?.is_none());
    // The directory stays, as v2's do.
    ensure!(v2.insist("GET", "/t?quorum=true", &[])?.node("dir") == true);
    let lease = v3.lease(600)?;
    v3.put_leased("/reg/t/leased", lease)?;
    let told = v2.insist("GET", "/t/leased?quorum=true", &[])?;
    ensure!(told.node("ttl") == 600, "{told:?}");
    Ok(())
}

fn a_leader_dies(stage: &mut Stage, leader: usize) -> anyhow::Result<()> {
    let others = stage.cluster.others(leader);
    let mut client = stage.v2(others[0]);
    let began = Instant::now();
    client.insist("PUT", "/k/short", &[("value", "x"), ("ttl", "4")])?;
    let long = client.insist("PUT", "/k/long", &[("value", "x"), ("ttl", "3600")])?;
    client.insist("PUT", "/kept", &[("value", "x"), ("prevExist", "false")])?;
    stage.cluster.member_mut(leader).kill()?;
    stage.cluster.wait_leader_of(&others)?;
    let gone =
        until(LONG, || (client.ask("GET", "/k/short", &[]).ok()?.code() == 100).then(|| began.elapsed()));
    let gone = gone.context("it stays")?;
    ensure!(gone >= Duration::from_millis(3_900) && gone < LONG, "it went after {gone:?}");
    // A v2 time is the wall's: the new leader does not begin it again.
    let told = client.insist("GET", "/k/long?quorum=true", &[])?;
    ensure!(told.node("expiration") == long.node("expiration"), "{long:?} {told:?}");
    ensure!(told.node("ttl").as_i64().is_some_and(|ttl| (3_500..=3_600).contains(&ttl)), "{told:?}");
    Ok(())
}

#[test]
fn members_with_other_flags_have_the_same_state_and_say_so() -> anyhow::Result<()> {
    let mut cluster = Cluster::prepare(&Settings::new(&program()?, 2).flags(&["--enable-v2=true"]))?;
    cluster.member_mut(0).setup.flags.push(BRIDGE.to_owned());
    cluster.start_all()?;
    cluster.wait_leader()?;
    let client = |cluster: &Cluster, member: usize| V2::new(&[cluster.member(member).address()], LONG);
    client(&cluster, 0).insist("PUT", "/a", &[("value", "bridged"), ("ttl", "600")])?;
    client(&cluster, 1).insist("PUT", "/a", &[("value", "own")])?;
    let value = |cluster: &Cluster, member: usize| {
        let told = client(cluster, member).insist("GET", "/a?quorum=true", &[])?;
        anyhow::Ok(told.node("value").as_str().unwrap_or_default().to_owned())
    };
    ensure!(value(&cluster, 0)? == "bridged" && value(&cluster, 1)? == "own");
    cluster.wait_equal(&[0, 1])?;
    for member in 0..2 {
        cluster.member(member).wait_logged(&["different --v2-bridge-prefix"])?;
    }
    ensure!(!cluster.member(0).log().contains("is kept and hidden"), "there was nothing to hide yet");
    for member in 0..2 {
        cluster.member_mut(member).terminate()?;
    }
    cluster.member_mut(1).setup.flags.push(BRIDGE.to_owned());
    cluster.start_all()?;
    cluster.wait_leader()?;
    cluster.member(1).wait_logged(&["is kept and hidden"])?;
    ensure!(value(&cluster, 1)? == "bridged", "what is hidden is not shown");
    cluster.done()
}

#[test]
fn a_member_that_was_away_sees_the_same_after_a_snapshot() -> anyhow::Result<()> {
    let flags = ["--enable-v2=true", "--snapshot-count=10", BRIDGE];
    let mut cluster = Cluster::start(&Settings::new(&program()?, 3).flags(&flags))?;
    let leader = cluster.wait_leader()?;
    let addresses = (0..cluster.len()).map(|number| cluster.member(number).address()).collect();
    let [one, other] = cluster.others(leader)[..] else { anyhow::bail!("three members") };
    cluster.member_mut(other).kill()?;
    let mut stage = Stage { cluster, addresses };
    let mut client = V2::new(&[stage.addresses[one]], LONG);
    let since = client.insist("PUT", "/a/file", &[("value", "1")])?.modified();
    client.insist("PUT", "/a/file", &[("value", "2"), ("prevIndex", &since.to_string())])?;
    client.insist("PUT", "/leased", &[("value", "x"), ("ttl", "3600")])?;
    client.insist("PUT", "/dir", &[("dir", "true"), ("ttl", "3600")])?;
    client.insist("PUT", "/dir/inside", &[("value", "y")])?;
    client.insist("POST", "/queue", &[("value", "job")])?;
    let v3 = stage.v3(one)?;
    v3.put("/reg/from/v3", "z")?;
    // Outside of what v2 shows, and enough that the log is released.
    let large = "x".repeat(1 << 20);
    let mut number = 0;
    while number < 80 || [leader, one].iter().any(|at| !stage.cluster.member(*at).has_released_log()) {
        ensure!(number < 2000, "the log is never released");
        v3.put(&format!("/large/{}", number % 80), &large)?;
        number += 1;
    }
    let read = |member: usize| {
        let mut client = V2::new(&[stage.addresses[member]], LONG);
        let top = client.insist("GET", "/", &[])?;
        let mut seen = Vec::new();
        for path in ["/a/file", "/from/v3", "/queue?recursive=true"] {
            seen.push(client.insist("GET", path, &[])?.body);
        }
        anyhow::Ok((top.index, top.nodes(), seen))
    };
    let expected = read(one)?;
    ensure!(expected.2[1]["node"]["value"] == "z", "{expected:?}");
    stage.cluster.restart(other)?;
    let same = until(LONG, || read(other).ok().filter(|seen| *seen == expected));
    same.with_context(|| format!("it shows {:?} and not {expected:?}", read(other)))?;
    stage.cluster.member(other).wait_logged(&["installed a snapshot"])?;
    // The past is in the snapshot too, and the member goes on with both sides.
    let told = V2::new(&[stage.addresses[other]], LONG).insist(
        "GET",
        &format!("/a?recursive=true&wait=true&waitIndex={}", since + 1),
        &[],
    )?;
    ensure!(told.body["action"] == "compareAndSwap" && told.node("value") == "2", "{told:?}");
    let waiting = stage.wait(other, &format!("/from?recursive=true&wait=true&waitIndex={}", expected.0 + 1));
    stage.v3(other)?.put("/reg/from/v3", "again")?;
    let told = waiting.join().expect("who waits reports")?;
    ensure!(told.node("value") == "again", "{told:?}");
    let ttl = V2::new(&[stage.addresses[other]], LONG)
        .insist("GET", "/leased?quorum=true", &[])?
        .node("ttl")
        .as_i64();
    ensure!(ttl.is_some_and(|ttl| (3_400..=3_600).contains(&ttl)), "{ttl:?}");
    stage.cluster.wait_equal(&[0, 1, 2])?;
    stage.cluster.done()
}
