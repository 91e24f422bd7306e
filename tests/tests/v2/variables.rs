//! `/debug/vars`, beside that of etcd.

use std::time::Duration;

use ::tests::{Node, Program, Release, http1};
use anyhow::{Context, ensure};
use serde_json::{Map, Value};

const PATIENCE: Duration = Duration::from_secs(10);

fn variables(program: &Program) -> anyhow::Result<Map<String, Value>> {
    let node = Node::start(program, &[])?;
    let reply = http1::exchange(node.address(), &http1::request("GET", "/debug/vars", &[], None), PATIENCE)?;
    ensure!(reply.status == 200, "{reply:?}");
    ensure!(reply.header("content-type") == Some("application/json; charset=utf-8"), "{reply:?}");
    let text = reply.body_text();
    ensure!(text.starts_with("{\n\"cmdline\": [\"") && text.ends_with("}\n}\n"), "{text}");
    serde_json::from_str(&text).context("JSON")
}

fn names(value: &Value) -> Vec<&str> {
    value.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn they_are_those_of_etcd() -> anyhow::Result<()> {
    let etcd = variables(&Program::release(Release::Debian)?)?;
    let ours = variables(&Program::kvorum()?)?;
    ensure!(etcd.keys().eq(ours.keys()), "{:?} and {:?}", etcd.keys(), ours.keys());
    let raft = |of: &Map<String, Value>| of["raft.status"].clone();
    ensure!(names(&raft(&etcd)) == names(&raft(&ours)), "{} and {}", raft(&etcd), raft(&ours));
    for field in ["term", "raftState", "leadtransferee"] {
        ensure!(raft(&etcd)[field] == raft(&ours)[field], "{field}: {} and {}", raft(&etcd), raft(&ours));
    }
    let progress = |of: &Map<String, Value>| {
        let raft = raft(of);
        let (id, lead) = (raft["id"].clone(), raft["lead"].clone());
        let members: Vec<Value> =
            raft["progress"].as_object().into_iter().flatten().map(|(_, at)| at.clone()).collect();
        (id == lead, id == raft["vote"], members.len(), members.first().map(|at| at["state"].clone()))
    };
    ensure!(progress(&etcd) == progress(&ours), "{} and {}", raft(&etcd), raft(&ours));
    let known = names(&etcd["memstats"]);
    for name in names(&ours["memstats"]) {
        ensure!(known.contains(&name), "etcd has no {name}");
    }
    ensure!(ours["file_descriptor_limit"] == etcd["file_descriptor_limit"], "the limit of descriptors");
    Ok(())
}
