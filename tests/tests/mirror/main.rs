//! `kvorumctl make-mirror --position` between two clusters under load: killed again and again, and members with it. In the
//! end both are the same, and on the way nothing went back to what it was before.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ::tests::cluster::Settings;
use ::tests::{Cluster, Program, Release, etcdctl, http1, until};
use anyhow::{Context, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Pid, Signal, kill_process};

/// How often the mirror is killed.
const KILLS: usize = 20;

/// How long both ends may need to be the same when the load has ended.
const PATIENCE: Duration = Duration::from_mins(1);

/// The keys that are written.
const KEYS: u64 = 40;

fn urls(cluster: &Cluster) -> String {
    let urls: Vec<String> = (0..cluster.len()).map(|at| cluster.member(at).setup.client_url()).collect();
    urls.join(",")
}

/// A process that is killed when this goes.
struct Mirror(Child);

impl Mirror {
    fn start(source: &Cluster, target: &Cluster) -> anyhow::Result<Self> {
        let words = ["make-mirror", "--prefix=load/", "--dest-prefix=copy/", "--position=mirror/load"];
        let child = Command::new(etcdctl::own()?)
            .env_clear()
            .arg(format!("--endpoints={}", urls(source)))
            .args(words)
            .arg(urls(target))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .context("start kvorumctl")?;
        Ok(Self(child))
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            eprintln!("a mirror could not be ended: {error}");
        }
    }
}

/// Keys and values below a prefix, the keys without it.
fn content(cluster: &Cluster, prefix: &str) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let reply = cluster.member(0).client()?.list(prefix)?;
    let pair = |pair: proto::mvccpb::KeyValue| {
        let key = String::from_utf8_lossy(&pair.key).into_owned();
        (key.strip_prefix(prefix).map_or(key.clone(), str::to_owned), pair.value.to_vec())
    };
    Ok(reply.kvs.into_iter().map(pair).collect())
}

/// Writes and deletes, each value greater than all before, through whichever member answers, until it is told to stop.
fn load(source: &Cluster, done: &AtomicBool) -> anyhow::Result<u64> {
    let mut clients = Vec::new();
    for at in 0..source.len() {
        clients.push(::tests::Client::patient(source.member(at).address(), Duration::from_secs(2))?);
    }
    let (mut number, mut written) = (0, 0);
    while !done.load(Ordering::Relaxed) {
        number += 1;
        let key = format!("load/{}", number * 7 % KEYS);
        for client in clients.iter().cycle().skip(number as usize % 3).take(3) {
            let wrote = if number % 5 == 0 {
                client.delete(&key).is_ok()
            } else {
                client.put(&key, &format!("{number:012}")).is_ok()
            };
            if wrote {
                written += 1;
                break;
            }
        }
        // Reason to sleep: the mirror writes a transaction for each of these.
        thread::sleep(Duration::from_millis(3));
    }
    Ok(written)
}

#[test]
fn a_mirror_goes_on_where_it_was_killed() -> anyhow::Result<()> {
    let settings = Settings::new(&Program::kvorum()?, 3);
    let (mut source, mut target) = (Cluster::start(&settings)?, Cluster::start(&settings)?);
    // What is there and not here goes; what is elsewhere stays.
    target.member(0).client()?.put("copy/stray", "x")?;
    target.member(0).client()?.put("other", "x")?;
    for number in 0..1500 {
        source.member(0).client()?.put(&format!("load/first/{number}"), "000000000000")?;
    }
    let (source_leader, target_leader) = (source.wait_leader()?, target.wait_leader()?);
    let done = AtomicBool::new(false);
    thread::scope(|scope| -> anyhow::Result<()> {
        let writer = scope.spawn(|| load(&source, &done));
        let killed = (0..KILLS).try_for_each(|kill| -> anyhow::Result<()> {
            let mirror = Mirror::start(&source, &target)?;
            // Reason to sleep: the mirror is killed wherever it is just then.
            thread::sleep(Duration::from_millis(150 + 37 * (kill as u64 % 7)));
            if kill % 3 == 2 {
                // Not always amid a copy.
                let client = target.member(0).client()?;
                let follows = || client.get("mirror/load").ok()??.contains("revision").then_some(());
                until(PATIENCE, follows).context("the copy ends")?;
            }
            drop(mirror);
            if kill == KILLS / 2 {
                // What it would have to be told next is forgotten.
                let newest = source.member(0).client()?.put("elsewhere", "x")?;
                etcdctl::run(&urls(&source), &["compaction", &newest.to_string()])?;
            }
            Ok(())
        });
        done.store(true, Ordering::Relaxed);
        let written = writer.join().ok().context("the writer panicked")??;
        killed?;
        ensure!(written > 200, "only {written} writes");
        Ok(())
    })?;
    // Now without a kill, while both clusters lose whoever leads.
    let mirror = Mirror::start(&source, &target)?;
    source.member_mut(source_leader).kill()?;
    target.member_mut(target_leader).kill()?;
    let at = source.others(source_leader)[0];
    let client = source.member(at).client()?;
    for number in 0..100 {
        let key = format!("load/{}", number % KEYS);
        let put = until(PATIENCE, || client.put(&key, &format!("9{number:011}")).ok());
        put.context("the others go on")?;
    }
    source.restart(source_leader)?;
    target.restart(target_leader)?;
    let same = until(PATIENCE, || {
        let (here, there) = (content(&source, "load/").ok()?, content(&target, "copy/").ok()?);
        (here == there && here.len() > 1500).then_some(())
    });
    ensure!(
        same.is_some(),
        "{:?} and {:?}",
        content(&source, "load/")?.len(),
        content(&target, "copy/")?.len()
    );
    ensure!(target.member(0).client()?.get("other")?.is_some(), "what is elsewhere stays");
    client.put("load/0", "9~")?;
    hashes_agree(&source, &target)?;
    drop(mirror);
    nothing_went_back(&target)?;
    a_difference_is_named(&source, &target)?;
    source.done()?;
    target.done()
}

/// What `--verify` has to know of the mirror.
const WORDS: [&str; 3] = ["--prefix=load/", "--dest-prefix=copy/", "--position=mirror/load"];

/// Both ends by their hashes, while the mirror goes on.
fn hashes_agree(source: &Cluster, target: &Cluster) -> anyhow::Result<()> {
    let said = verified(source, target, &WORDS)?;
    ensure!(said["equal"] == true && said["source"]["sha256"] == said["destination"]["sha256"], "{said}");
    ensure!(said["source"]["keys"].as_u64() > Some(1500), "{said}");
    Ok(())
}

fn a_difference_is_named(source: &Cluster, target: &Cluster) -> anyhow::Result<()> {
    target.member(0).client()?.put("copy/first/7", "something else")?;
    let said = verified(source, target, &WORDS)?;
    ensure!(said["equal"] == false && said["different"] == 2, "another value, and a key more: {said}");
    ensure!(said["named"].to_string().contains("first/7"), "{said}");
    Ok(())
}

/// What `make-mirror --verify` finds.
fn verified(source: &Cluster, target: &Cluster, words: &[&str]) -> anyhow::Result<serde_json::Value> {
    let output = Command::new(etcdctl::own()?)
        .env_clear()
        .arg(format!("--endpoints={}", urls(source)))
        .args(["-w", "json", "make-mirror", "--verify"])
        .args(words)
        .arg(urls(target))
        .output()
        .context("run kvorumctl")?;
    let said: serde_json::Value =
        serde_json::from_slice(&output.stdout).with_context(|| format!("--verify says {output:?}"))?;
    ensure!(
        output.status.code() == Some(i32::from(said["equal"] != true)),
        "the status says it too: {output:?}"
    );
    Ok(said)
}

/// From real etcd and to it: what was there, what comes, transactions, deletes; then a stop by Ctrl-C.
#[test]
fn a_mirror_goes_from_etcd_and_to_it() -> anyhow::Result<()> {
    let start = |program: &Program| Cluster::start(&Settings::new(program, 1));
    let (etcd, ours) = (start(&Program::release(Release::Debian)?)?, start(&Program::kvorum()?)?);
    for (source, target, prefix) in [(&etcd, &ours, "from/"), (&ours, &etcd, "back/")] {
        let client = source.member(0).client()?;
        let large = "x".repeat(60_000);
        for number in 0..40 {
            client.put(&format!("{prefix}{number}"), &large)?;
        }
        let words = [&format!("--prefix={prefix}"), "--position=mirror/at", "--metrics-listen=127.0.0.1:0"];
        let mut mirror = Command::new("/usr/bin/env")
            .arg("--default-signal=INT")
            .arg(etcdctl::own()?)
            .env_clear()
            .arg(format!("--endpoints={}", urls(source)))
            .arg("make-mirror")
            .args(words)
            .arg(urls(target))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("start kvorumctl")?;
        let mut lines = BufReader::new(mirror.stderr.take().context("it was piped")?).lines();
        let mut mirror = Mirror(mirror);
        let there = target.member(0).client()?;
        until(PATIENCE, || there.get("mirror/at").ok()??.contains("\"revision\"").then_some(()))
            .context("a copy")?;
        client.put(&format!("{prefix}more"), "1")?;
        client.delete(&format!("{prefix}7"))?;
        let arrived = || there.get(&format!("{prefix}7")).ok().filter(Option::is_none).map(drop);
        until(PATIENCE, arrived).context("a key that is deleted goes there, too")?;
        let said = verified(source, target, &[&format!("--prefix={prefix}"), "--position=mirror/at"])?;
        ensure!(said["equal"] == true && said["source"]["keys"] == 40, "{said}");
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                line.strip_prefix("metrics: http://")?.strip_suffix("/metrics").map(str::to_owned)
            })
            .context("it says where its metrics are")?;
        let (request, address) = (http1::request("GET", "/metrics", &[], None), address.parse()?);
        let counted = until(PATIENCE, || {
            let reply = http1::exchange(address, &request, Duration::from_secs(10)).ok()?;
            reply.body_text().contains("\nkvorumctl_mirror_keys_written_total 42\n").then_some(())
        });
        counted.context("40 keys, one more, and one deleted are counted")?;
        kill_process(Pid::from_child(&mirror.0), Signal::INT)?;
        let ended = until(PATIENCE, || mirror.0.try_wait().ok()?).context("it stops")?;
        let last = lines.map_while(Result::ok).last().unwrap_or_default();
        ensure!(
            ended.code() == Some(130) && last.starts_with("make-mirror stopped: 42 keys"),
            "{ended}: {last}"
        );
    }
    etcd.done()?;
    ours.done()
}

/// Reads the whole history of the destination.
fn nothing_went_back(target: &Cluster) -> anyhow::Result<()> {
    target.member(0).client()?.put("copy/~", "end")?;
    let mut watch = Command::new(etcdctl::own()?)
        .env_clear()
        .args([
            &format!("--endpoints={}", urls(target)),
            "watch",
            "copy/",
            "--prefix",
            "--rev=1",
            "-w",
            "jsonl",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .context("start kvorumctl")?;
    let lines = BufReader::new(watch.stdout.take().context("it was piped")?).lines();
    let mut newest: BTreeMap<String, String> = BTreeMap::new();
    let (mut events, mut fault) = (0, None);
    for line in lines {
        let line = line?;
        let event: serde_json::Value = serde_json::from_str(&line)?;
        let text = |name: &str| -> Option<String> {
            let bytes = STANDARD.decode(event["kv"][name].as_str()?).ok()?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        };
        let key = text("key").with_context(|| format!("an event without a key: {line}"))?;
        if key == "copy/~" {
            break;
        }
        events += 1;
        let Some(value) = text("value").filter(|value| value != "x") else { continue };
        let before = newest.insert(key.clone(), value.clone());
        if before.as_ref().is_some_and(|before| *before > value) {
            fault = Some(format!("{key} goes from {before:?} to {value}"));
        }
    }
    watch.kill()?;
    watch.wait()?;
    ensure!(fault.is_none(), "{fault:?}");
    ensure!(events > 1700, "only {events} events were seen");
    Ok(())
}
