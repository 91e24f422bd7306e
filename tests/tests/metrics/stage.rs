//! Three members that do a little of everything, one of which ends and comes back; and then a fourth. The same for
//! every program, so that families with labels have rows.

use std::net::SocketAddr;
use std::time::Duration;

use ::tests::cluster::Settings;
use ::tests::{Cluster, Program, http1, operator};
use anyhow::{Context, ensure};

use crate::exposition::{self, Families};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Requests with their bodies; keys and values are in base64.
const REQUESTS: [(&str, &str); 12] = [
    ("/v3/kv/put", r#"{"key":"YQ==","value":"YQ=="}"#),
    ("/v3/kv/put", r#"{"key":"Yg==","value":"YQ=="}"#),
    ("/v3/kv/range", r#"{"key":"YQ=="}"#),
    ("/v3/kv/deleterange", r#"{"key":"YQ=="}"#),
    ("/v3/kv/txn", r#"{"success":[{"request_put":{"key":"YQ=="}}]}"#),
    ("/v3/lease/grant", r#"{"TTL":100,"ID":7}"#),
    ("/v3/lease/keepalive", r#"{"ID":7}"#),
    ("/v3/lease/revoke", r#"{"ID":7}"#),
    ("/v3/maintenance/status", "{}"),
    ("/v3/maintenance/defragment", "{}"),
    ("/v3/maintenance/hash", "{}"),
    ("/v3/kv/compaction", r#"{"revision":4,"physical":true}"#),
];

/// What the members of a program tell in the end, together.
pub(crate) fn play(program: &Program) -> anyhow::Result<Families> {
    let settings = Settings::new(program, 3).flags(&["--enable-v2=true", "--metrics=extensive"]);
    let mut cluster = Cluster::start(&settings)?;
    for number in 0..3 {
        let address = cluster.member(number).address();
        for (path, body) in REQUESTS {
            // The second member may be told that something is there or gone already.
            ask(address, "POST", path, Some(body))?;
        }
        ensure!(ask(address, "PUT", "/v2/keys/a", Some("value=1"))? < 300, "a v2 key could not be set");
        ensure!(ask(address, "GET", "/v2/keys/none", None)? == 404, "a v2 key is there");
    }
    let leader = cluster.wait_leader()?;
    let follower = *cluster.others(leader).first().context("three members")?;
    cluster.member_mut(follower).kill()?;
    // Somebody must notice: the others go on.
    ensure!(
        ask(cluster.member(leader).address(), "POST", "/v3/kv/put", Some(REQUESTS[0].1))? == 200,
        "no put"
    );
    cluster.restart(follower)?;
    let newcomer = operator::add(&mut cluster, &[leader])?;
    let everybody = [0, 1, 2, newcomer];
    cluster.wait_equal(&everybody)?;
    let told = everybody.iter().map(|number| exposition::ask(cluster.member(*number).address()));
    let told = exposition::together(told.collect::<anyhow::Result<_>>()?);
    cluster.done()?;
    Ok(told)
}

fn ask(address: SocketAddr, method: &str, path: &str, body: Option<&str>) -> anyhow::Result<u16> {
    let request = http1::request(method, path, &[], body.map(str::as_bytes));
    let reply = http1::exchange(address, &request, PATIENCE).with_context(|| path.to_owned())?;
    Ok(reply.status)
}
