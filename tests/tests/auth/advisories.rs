//! Holes that etcd had, tried here: what a browser, a stranger and a careless operator could do. docs/SECURITY.md has
//! them all, with the tests elsewhere too.

use std::fs;
use std::path::Path;

use ::tests::{Node, Program, http1};
use anyhow::{Context, ensure};
use serde_json::json;

use crate::caller::{PATIENCE, User, bytes, found, header};

const SECRET: &str = "a-Password-that-is-looked-for";

/// The status of an answer, and the answer.
fn ask(
    node: &Node,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> anyhow::Result<http1::Reply> {
    let headers: Vec<_> = headers.iter().map(|(name, value)| header(name, value)).collect();
    let body = (method != "GET").then_some(body.as_bytes());
    Ok(http1::exchange(node.address(), &http1::request(method, path, &headers, body), PATIENCE)?)
}

/// A page of somebody else's has a browser that can reach this member write here, by requests that a browser sends without
/// asking. Where `--cors` names origins, none but these and the member's own may.
#[test]
fn cve_2018_1098_a_page_of_others_cannot_have_a_browser_write() -> anyhow::Result<()> {
    let known = "http://good.example:80";
    let node = Node::start(&Program::kvorum()?, &[&format!("--cors={known}")])?;
    let own = node.url();
    let host = node.address().to_string();
    let put = json!({"key": bytes("k"), "value": bytes("v")}).to_string();
    let writes = [
        ("POST", "/v2/keys/queue", "application/x-www-form-urlencoded", "value=1"),
        ("PUT", "/v2/keys/k", "application/x-www-form-urlencoded", "value=1"),
        ("DELETE", "/v2/keys/queue", "text/plain", ""),
        ("POST", "/v3/kv/put", "text/plain", put.as_str()),
        ("PUT", "/v2/auth/enable", "text/plain", ""),
    ];
    for (method, path, kind, body) in writes {
        for origin in ["http://evil.example", "null", "http://good.example:80.evil.example"] {
            let headers = [("Host", host.as_str()), ("Content-Type", kind), ("Origin", origin)];
            let reply = ask(&node, method, path, &headers, body)?;
            ensure!(
                reply.status == 403,
                "{method} {path} of {origin}: {} {}",
                reply.status,
                reply.body_text()
            );
            ensure!(reply.header("access-control-allow-origin").is_none(), "{origin} may read it");
        }
    }
    let read = ask(&node, "GET", "/v2/keys/?recursive=true", &[("Origin", "http://evil.example")], "")?;
    ensure!(!read.body_text().contains("queue"), "something was written: {}", read.body_text());
    ensure!(read.header("access-control-allow-origin").is_none(), "a page of others may read");
    for origin in [known, own.as_str()] {
        let headers = [("Host", host.as_str()), ("Origin", origin)];
        let reply = ask(&node, "POST", "/v2/keys/queue", &headers, "value=1")?;
        ensure!(reply.status == 201, "{origin}: {}", reply.body_text());
        let told = reply.header("access-control-allow-origin");
        ensure!(told == (origin == known).then_some(known), "{origin}: {told:?}");
    }
    ensure!(
        ask(&node, "POST", "/v2/keys/queue", &[], "value=1")?.status == 201,
        "who is no browser says nothing"
    );
    // A form cannot say that it is JSON, and a change of members has to.
    let reply = ask(&node, "POST", "/v2/members", &[("Content-Type", "text/plain")], "{}")?;
    ensure!(reply.status == 415, "{}", reply.status);
    Ok(())
}

/// A page has its own name lead to this member, so that a browser takes this member for the page's.
#[test]
fn cve_2018_1099_a_name_that_leads_here_is_refused() -> anyhow::Result<()> {
    let flag = "--host-whitelist=good.example,127.0.0.1";
    let (ours, theirs) =
        (Node::start(&Program::kvorum()?, &[flag])?, Node::start(&Program::etcd()?, &[flag])?);
    let range = json!({"key": bytes("k")}).to_string();
    for host in [
        "evil.example",
        "evil.example:2379",
        "good.example",
        "good.example:1",
        "127.0.0.1",
        "GOOD.example",
        "",
        "[::1]:1",
    ] {
        for (method, path, body) in [
            ("GET", "/v2/keys/", ""),
            ("PUT", "/v2/keys/k", "value=1"),
            ("POST", "/v3/kv/range", range.as_str()),
            ("GET", "/metrics", ""),
            ("GET", "/health", ""),
        ] {
            let headers = [("Host", host)];
            let (here, there) =
                (ask(&ours, method, path, &headers, body)?, ask(&theirs, method, path, &headers, body)?);
            ensure!(
                here.status == there.status,
                "{host:?} {method} {path}: {}, etcd {}",
                here.status,
                there.status
            );
            if here.status == 421 {
                ensure!(here.body == there.body, "{}, etcd: {}", here.body_text(), there.body_text());
            }
            let is_known = host.starts_with("good.example") || host == "127.0.0.1";
            ensure!((here.status == 421) != is_known, "{host:?}: {}", here.status);
        }
    }
    // By default every name is taken, as by etcd.
    let open = Node::start(&Program::kvorum()?, &[])?;
    ensure!(ask(&open, "GET", "/version", &[("Host", "evil.example")], "")?.status == 200);
    Ok(())
}

/// etcd's TCP gateway could be pointed at itself (15114), asked for certificates only of endpoints from DNS (15136), and
/// took whatever answered for one (GHSA-j86v-2vjr-fg8f, GHSA-h8g9-6gvh-5mrc). There is none here.
#[test]
fn cve_2020_15114_15136_there_is_no_gateway() -> anyhow::Result<()> {
    for command in ["gateway", "grpc-proxy"] {
        let output = Program::kvorum()?.run(&[command, "start", "--endpoints=127.0.0.1:1"])?;
        ensure!(!output.status.success(), "{command} starts");
    }
    let output = Program::kvorum()?.run(&["--proxy=on"])?;
    ensure!(!output.status.success(), "--proxy=on is taken");
    Ok(())
}

/// A password of any length is taken, as etcd documents it; a short one is noted, and is not shown.
#[test]
fn cve_2020_15115_a_short_password_is_noted() -> anyhow::Result<()> {
    let node = Node::start(&Program::kvorum()?, &["--bcrypt-cost=4"])?;
    let nobody = User::nobody(node.address());
    nobody.ask("Auth/UserAdd", &json!({"name": "short", "password": "q7Z"}))?.ok()?;
    nobody.ask("Auth/UserAdd", &json!({"name": "long", "password": "q7Z-q7Z-q7Z"}))?.ok()?;
    let log = node.log_tail();
    ensure!(log.contains("a password of fewer than 8 bytes was set"), "{log}");
    let noted: Vec<&str> = log.lines().filter(|line| line.contains("fewer than")).collect();
    ensure!(noted.len() == 1 && noted[0].contains("short"), "{noted:?}");
    ensure!(!log.contains("q7Z"), "{log}");
    let long = "x".repeat(73);
    let said = nobody.ask("Auth/UserAdd", &json!({"name": "longer", "password": long}))?;
    ensure!(said.text == "bcrypt: password length exceeds 72 bytes", "{said:?}");
    Ok(())
}

/// Who is known by certificate alone and tries a password is not written down as somebody with a wrong one.
#[test]
fn ghsa_vjg6_93fv_qv64_who_has_no_password_is_told_so() -> anyhow::Result<()> {
    let node = Node::start(&Program::kvorum()?, &["--bcrypt-cost=4"])?;
    found(node.address(), SECRET, "alice-password")?;
    let root = User::sign_in(node.address(), "root", SECRET)?;
    root.ask("Auth/UserAdd", &json!({"name": "ben", "options": {"no_password": true}}))?.ok()?;
    let nobody = User::nobody(node.address());
    let said = nobody.ask("Auth/Authenticate", &json!({"name": "ben", "password": "x"}))?;
    ensure!(said.text.contains("no password"), "{said:?}");
    ensure!(!node.log_tail().contains("a wrong password was given"), "{}", node.log_tail());
    let said = nobody.ask("Auth/Authenticate", &json!({"name": "alice", "password": "x"}))?;
    ensure!(said.code == 3 && node.log_tail().contains("a wrong password was given"), "{said:?}");
    Ok(())
}

/// etcd wrote what Authenticate carries into its log of commands.
#[test]
fn ghsa_528j_9r78_wffx_no_password_is_in_the_files_of_a_member() -> anyhow::Result<()> {
    let mut node = Node::start(&Program::kvorum()?, &["--bcrypt-cost=4"])?;
    found(node.address(), SECRET, SECRET)?;
    let root = User::sign_in(node.address(), "root", SECRET)?;
    root.put("a-key-that-is-looked-for")?.ok()?;
    let second = format!("{SECRET}-too");
    root.ask("Auth/UserChangePassword", &json!({"name": "alice", "password": second}))?.ok()?;
    User::sign_in(node.address(), "alice", &second)?;
    node.terminate()?;
    let mut files = 0;
    let found_key = look_for(&node.data_dir(), b"a-key-that-is-looked-for", &mut files)?;
    ensure!(found_key.is_some(), "{files} files, and none has the key");
    let found = look_for(&node.data_dir(), SECRET.as_bytes(), &mut files)?;
    ensure!(found.is_none(), "a password is in {found:?}");
    Ok(())
}

/// A file below this folder that has these bytes.
fn look_for(folder: &Path, bytes: &[u8], files: &mut usize) -> anyhow::Result<Option<String>> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            if let Some(found) = look_for(&path, bytes, files)? {
                return Ok(Some(found));
            }
        } else {
            *files += 1;
            let text = fs::read(&path)?;
            if text.windows(bytes.len()).any(|window| window == bytes) {
                return Ok(Some(path.display().to_string()));
            }
        }
    }
    Ok(None)
}

/// With debugging on, etcd showed requests of Authenticate with what they carried.
#[test]
fn cve_2021_28235_nothing_that_is_shown_for_debugging_has_a_password() -> anyhow::Result<()> {
    let node = Node::start(&Program::kvorum()?, &["--bcrypt-cost=4", "--log-level=debug"])?;
    found(node.address(), SECRET, SECRET)?;
    User::sign_in(node.address(), "root", SECRET)?;
    User::nobody(node.address())
        .call("Auth/Authenticate", &json!({"name": "alice", "password": SECRET}))?
        .ok()?;
    for path in [
        "/debug/requests?fam=grpc.Recv.etcdserverpb.Auth&b=0&exp=1",
        "/debug/events",
        "/debug/pprof/",
        "/debug/pprof/cmdline",
        "/config/local/log",
    ] {
        let reply = ask(&node, "GET", path, &[], "")?;
        ensure!(reply.status == 404, "{path}: {}", reply.status);
    }
    for path in ["/debug/vars", "/metrics", "/health"] {
        let reply = ask(&node, "GET", path, &[], "")?;
        ensure!(reply.status == 200 && !reply.body_text().contains(SECRET), "{path} has it");
    }
    ensure!(!node.log_tail().contains(SECRET), "the log has it: {}", node.log_tail());
    Ok(())
}
