//! A client of the v2 interface beside the others: it writes each key once and remembers its index.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ::tests::{Cluster, http1, until};
use anyhow::{Context, ensure};
use serde_json::Value;

/// How long it waits for an answer.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Between two writes.
const PAUSE: Duration = Duration::from_millis(10);

/// How long members may take to hold the same.
const EQUAL_WITHIN: Duration = Duration::from_secs(20);

/// The client at work.
pub(crate) struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<BTreeMap<String, u64>>,
}

impl Writer {
    /// Starts; `numbers` makes keys that no other round uses.
    pub(crate) fn start(members: Vec<SocketAddr>, numbers: &Arc<AtomicU64>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (stop, numbers) = (Arc::clone(&stop), Arc::clone(numbers));
            move || write(&members, &numbers, &stop)
        });
        Self { stop, thread }
    }

    /// Stops; answers the keys that were acknowledged with their indexes.
    pub(crate) fn finish(self) -> anyhow::Result<BTreeMap<String, u64>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().ok().context("the v2 client panicked")
    }
}

/// Refuses when members do not come to hold the same, or miss something that was acknowledged.
pub(crate) fn equal(cluster: &Cluster, acknowledged: &BTreeMap<String, u64>) -> anyhow::Result<usize> {
    let all = || (0..cluster.len()).map(|number| list(cluster.member(number).address()));
    let mut last = String::new();
    let same = until(EQUAL_WITHIN, || {
        let mut found = all().collect::<anyhow::Result<Vec<_>>>().ok()?;
        last = format!("{:?}", found.iter().map(BTreeMap::len).collect::<Vec<_>>());
        found.dedup();
        (found.len() == 1).then(|| found.pop()).flatten()
    });
    let same = same.with_context(|| format!("members hold different v2 keys; how many: {last}"))?;
    for (key, index) in acknowledged {
        let now = same.get(key);
        ensure!(now == Some(index), "{key} was acknowledged at index {index} and is now at {now:?}");
    }
    Ok(same.len())
}

fn write(members: &[SocketAddr], numbers: &AtomicU64, stop: &AtomicBool) -> BTreeMap<String, u64> {
    let mut acknowledged = BTreeMap::new();
    let mut at = members.iter().cycle();
    let mut member = at.next();
    while let Some(address) = member.filter(|_| !stop.load(Ordering::Relaxed)) {
        let key = format!("/torture/{}", numbers.fetch_add(1, Ordering::Relaxed));
        let request = http1::request("PUT", &format!("/v2/keys{key}"), &[], Some(b"value=x"));
        let reply = http1::exchange(*address, &request, PATIENCE).ok().filter(|reply| reply.status == 201);
        let index = reply.and_then(|reply| {
            let body: Value = serde_json::from_slice(&reply.body).ok()?;
            body.get("node")?.get("createdIndex")?.as_u64()
        });
        match index {
            Some(index) => {
                acknowledged.insert(key, index);
            }
            None => member = at.next(),
        }
        // Reason to sleep: this client has a pace; the load is the others'.
        thread::sleep(PAUSE);
    }
    acknowledged
}

/// What one member holds, whoever leads.
fn list(address: SocketAddr) -> anyhow::Result<BTreeMap<String, u64>> {
    let request = http1::request("GET", "/v2/keys/torture?recursive=true", &[], None);
    let reply = http1::exchange(address, &request, PATIENCE).context("list the v2 keys")?;
    ensure!(matches!(reply.status, 200 | 404), "{}", reply.body_text());
    let body: Value = serde_json::from_slice(&reply.body).context("the list is JSON")?;
    let nodes = body.pointer("/node/nodes").and_then(Value::as_array).into_iter().flatten();
    let key =
        |node: &Value| Some((node.get("key")?.as_str()?.to_owned(), node.get("createdIndex")?.as_u64()?));
    Ok(nodes.filter_map(key).collect())
}
