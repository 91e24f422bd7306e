//! Users and roles of v2 on three members: the same at each of them, over restarts and over the end of the leader.

use std::net::SocketAddr;
use std::time::Duration;

use ::tests::cluster::{Settings, program};
use ::tests::{Cluster, http1, until};
use anyhow::{Context, ensure};

/// A request waits out an election.
const PATIENCE: Duration = Duration::from_secs(20);

/// `root:pw` and `ann:pw`, as basic authentication writes them.
const ROOT: &str = "Basic cm9vdDpwdw==";
const ANN: &str = "Basic YW5uOnB3";

/// The status of the answer; 0 when there is none.
fn ask(address: SocketAddr, method: &str, path: &str, who: Option<&str>, body: Option<&str>) -> u16 {
    let headers: Vec<(String, String)> =
        who.map(|who| ("Authorization".to_owned(), who.to_owned())).into_iter().collect();
    let request = http1::request(method, path, &headers, body.map(str::as_bytes));
    http1::exchange(address, &request, PATIENCE).map_or(0, |reply| reply.status)
}

/// Makes users and roles, and has requests judged. Some of it is said with the right of who is root by then.
fn people(address: SocketAddr) -> anyhow::Result<()> {
    let changes = [
        ("keys/own/a", None, "value=1"),
        ("keys/other", None, "value=1"),
        (
            "auth/roles/own",
            None,
            r#"{"role":"own","permissions":{"kv":{"read":["/own/*"],"write":["/own/*"]}}}"#,
        ),
        ("auth/roles/guest", None, r#"{"role":"guest"}"#),
        ("auth/users/root", None, r#"{"user":"root","password":"pw"}"#),
        ("auth/users/ann", None, r#"{"user":"ann","password":"old","roles":["own"]}"#),
        ("auth/enable", None, ""),
        ("auth/users/ann", Some(ROOT), r#"{"user":"ann","password":"pw"}"#),
    ];
    for (path, who, body) in changes {
        let status = ask(address, "PUT", &format!("/v2/{path}"), who, Some(body));
        ensure!((200..300).contains(&status), "PUT {path}: {status}");
    }
    Ok(())
}

/// Every member judges alike, as soon as it has applied what was said.
fn check(cluster: &Cluster, when: &str) -> anyhow::Result<()> {
    let expected = [200, 401, 200, 401, 401, 200];
    for number in 0..cluster.len() {
        let address = cluster.member(number).address();
        let get = |path: &str, who| ask(address, "GET", path, who, None);
        let mut seen = [0; 6];
        let agrees = until(PATIENCE, || {
            seen = [
                get("/v2/keys/own/a", Some(ANN)),
                get("/v2/keys/other", Some(ANN)),
                get("/v2/keys/other", Some(ROOT)),
                get("/v2/keys/own/a", None),
                get("/v2/auth/users", Some(ANN)),
                get("/v2/auth/users", Some(ROOT)),
            ];
            (seen == expected).then_some(())
        });
        agrees.with_context(|| format!("{when}, member {number}: {seen:?}"))?;
    }
    Ok(())
}

#[test]
fn users_are_judged_alike_by_all_members_whatever_happens_to_them() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(&Settings::new(&program()?, 3).flags(&["--snapshot-count=10"]))?;
    let leader = cluster.wait_leader()?;
    let [one, other] = cluster.others(leader)[..] else { anyhow::bail!("three members") };
    // This one gets it all as a snapshot: the others forget what it misses.
    cluster.member_mut(other).kill()?;
    people(cluster.member(one).address())?;
    let client = cluster.member(one).client()?;
    let large = "x".repeat(1 << 20);
    let mut number = 0;
    while number < 80 || [leader, one].iter().any(|at| !cluster.member(*at).has_released_log()) {
        ensure!(number < 2000, "the log is never released");
        client.put(&format!("large-{}", number % 80), &large)?;
        number += 1;
    }
    cluster.restart(other)?;
    check(&cluster, "after a snapshot")?;
    cluster.member(other).wait_logged(&["installed a snapshot"])?;
    cluster.member_mut(leader).kill()?;
    cluster.restart(leader)?;
    check(&cluster, "after the end of the leader")?;
    for number in 0..cluster.len() {
        cluster.member_mut(number).kill()?;
    }
    cluster.start_all()?;
    check(&cluster, "after a restart of all")?;
    cluster.done()
}
