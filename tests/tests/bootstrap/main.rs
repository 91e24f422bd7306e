//! Founders that meet under a discovery URL: kept by our own v2 keys, and by etcd's discovery service, Debian's
//! etcd-discovery, in front of them and of a real etcd.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ::tests::cluster::Settings;
use ::tests::{Cluster, Node, Program, http1, until};
use anyhow::{Context, ensure};

/// Debian's package calls it so.
const SERVICE: &str = "discovery.etcd.io";
/// How long the service may take until it listens.
const PATIENCE: Duration = Duration::from_secs(10);

/// The discovery service in front of a keys API; it ends with this.
struct Service {
    child: Child,
    port: u16,
}

impl Service {
    fn start(keys: &Node) -> anyhow::Result<Self> {
        let port = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let child = Command::new(SERVICE)
            .args(["--etcd", &keys.url(), "--host", &format!("http://127.0.0.1:{port}")])
            .args(["--addr", &format!("127.0.0.1:{port}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("start {SERVICE}; `make test` installs etcd-discovery"))?;
        Ok(Self { child, port })
    }

    /// A new URL for a cluster of `size`.
    fn url(&self, size: usize) -> anyhow::Result<String> {
        let address = ([127, 0, 0, 1], self.port).into();
        let request = http1::request("GET", &format!("/new?size={size}"), &[], None);
        let reply = until(PATIENCE, || http1::exchange(address, &request, Duration::from_secs(5)).ok());
        let url = reply.context("the service does not answer")?.body_text();
        ensure!(url.starts_with("http://127.0.0.1:"), "that is no URL: {url}");
        Ok(url)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A cluster of three that meets under `url`; a fourth finds it full, and one that lost its folder finds its place
/// taken.
fn meet(url: &str) -> anyhow::Result<()> {
    let mut cluster = Cluster::prepare(&Settings::new(&Program::kvorum()?, 3))?;
    let fourth = cluster.add_process("new")?;
    for number in 0..=fourth {
        let setup = &mut cluster.member_mut(number).setup;
        setup.initial_cluster.clear();
        setup.flags.extend(["--discovery".to_owned(), url.to_owned()]);
    }
    for number in 0..3 {
        cluster.spawn(number)?;
    }
    for number in 0..3 {
        cluster.member_mut(number).wait_ready()?;
    }
    cluster.member(0).client()?.put("k", "met")?;
    ensure!(cluster.member(2).client()?.get("k")?.as_deref() == Some("met"), "it is one cluster");
    let members = cluster.member(1).client()?.members()?;
    let mut names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
    names.sort_unstable();
    ensure!(names == ["m1", "m2", "m3"], "{names:?}");

    cluster.spawn(fourth)?;
    refused(&mut cluster, fourth, "failed to join discovery cluster (discovery: cluster is full); ")?;
    cluster.member_mut(1).kill()?;
    cluster.spawn(1)?;
    cluster.member_mut(1).wait_ready().context("with its data it does not ask again")?;
    cluster.member_mut(1).kill()?;
    cluster.member(1).wipe()?;
    cluster.spawn(1)?;
    refused(&mut cluster, 1, "failed to join discovery cluster (discovery: found duplicate id); ")?;
    cluster.done()
}

fn refused(cluster: &mut Cluster, number: usize, words: &str) -> anyhow::Result<()> {
    let status = cluster.member_mut(number).wait_ended()?;
    ensure!(!status.success(), "it ended with {status}");
    cluster.member(number).wait_logged(&[words])
}

#[test]
fn under_a_key_of_kvorum() -> anyhow::Result<()> {
    let keys = Node::start(&Program::kvorum()?, &[])?;
    let size = http1::request(
        "PUT",
        "/v2/keys/_etcd/registry/here/_config/size",
        &[("Content-Type".to_owned(), "application/x-www-form-urlencoded".to_owned())],
        Some(b"value=3"),
    );
    let reply = http1::exchange(keys.address(), &size, PATIENCE)?;
    ensure!(reply.status == 201, "{}", reply.body_text());
    meet(&format!("{}/v2/keys/_etcd/registry/here", keys.url()))
}

#[test]
fn under_a_url_of_the_service_in_front_of_kvorum() -> anyhow::Result<()> {
    let keys = Node::start(&Program::kvorum()?, &[])?;
    meet(&Service::start(&keys)?.url(3)?)
}

#[test]
fn under_a_url_of_the_service_in_front_of_etcd() -> anyhow::Result<()> {
    let keys = Node::start(&Program::etcd()?, &[])?;
    meet(&Service::start(&keys)?.url(3)?)
}
