//! What changes while members serve: certificates, CAs, lists of revoked ones; and a cluster of http that becomes one of
//! https.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use anyhow::{Context, ensure};
use tests::{Program, Release, until};

use crate::house::{
    Member, PATIENCE, client_flags, curl, etcdctl, peer_files, peer_flags, three, wait_healthy,
};
use crate::serving::stocked;
use crate::shop::{Key, Shop};

#[test]
fn new_certificates_cas_and_crls_need_no_restart() -> anyhow::Result<()> {
    let shop = stocked()?;
    shop.sign("ca", "leaver", "client", &[""], Key::Ecdsa)?;
    shop.sign("ca", "nobody", "client", &[""], Key::Ecdsa)?;
    shop.sign("other", "newcomer", "client", &[""], Key::Ecdsa)?;
    shop.revoke("nobody")?;
    let members = three(
        &shop,
        &["--client-crl-file", &shop.word("crl.der"), "--peer-crl-file", &shop.word("crl.der")],
    )?;
    let pids: Vec<Option<u32>> = members.iter().map(Member::pid).collect();
    let comes_in = |name: &str| -> anyhow::Result<bool> {
        Ok(curl(&shop, Some(name), &[&format!("{}/version", members[0].url())])?.code == 0)
    };
    ensure!(comes_in("client")? && comes_in("leaver")? && !comes_in("newcomer")? && !comes_in("nobody")?);

    // One is revoked.
    shop.revoke("leaver")?;
    ensure!(comes_in("client")? && !comes_in("leaver")?);

    // A second CA, on all members at once: who it has signed comes in, and who the first has signed still does.
    let both = fs::read_to_string(shop.path("ca.pem"))? + &fs::read_to_string(shop.path("other.pem"))?;
    fs::write(shop.path("both.pem"), both)?;
    shop.put("both.pem", "ca.pem")?;
    ensure!(comes_in("client")? && comes_in("newcomer")?);

    // Certificates of the second CA, for clients and between members; in between, the key does not fit.
    let hosts = ["127.0.0.1", "localhost"];
    shop.sign("other", "server2", "server", &hosts, Key::Rsa)?;
    shop.sign("other", "peer2", "peer", &hosts, Key::Ecdsa)?;
    shop.put("server2.pem", "server.pem")?;
    ensure!(comes_in("client")?, "the old pair stays until the new one is whole");
    members[0].line_with(&["changed TLS files cannot be used", "private key does not match public key"])?;
    shop.put("server2-key.pem", "server-key.pem")?;
    shop.put("peer2.pem", "peer.pem")?;
    shop.put("peer2-key.pem", "peer-key.pem")?;
    let only_second = ["--cacert", &shop.word("other.pem"), &format!("{}/version", members[0].url())];
    ensure!(curl(&shop, Some("client"), &only_second)?.code == 0, "the new certificate is shown");
    ensure!(pids == members.iter().map(Member::pid).collect::<Vec<_>>());
    let urls: Vec<String> = members.iter().map(Member::url).collect();
    let said = etcdctl(&shop, Release::Debian, &urls.join(","), &["put", "after", "all"])?;
    ensure!(said == "OK\n", "{said}");
    // Members that speak anew do so with the new ones.
    let mut members = members;
    members[2].stop()?;
    members[2].spawn()?;
    wait_healthy(&shop, &members[2])?;
    let said = etcdctl(&shop, Release::Debian, &members[2].url(), &["get", "after", "--print-value-only"])?;
    ensure!(said == "all\n", "{said}");
    Ok(())
}

/// etcd's documented way: each member is told the others' new URL by `member update` and starts again with it; clients'
/// URLs change with the same restart.
#[test]
fn an_http_cluster_becomes_one_of_https_without_losing_a_write() -> anyhow::Result<()> {
    let shop = stocked()?;
    let program = Program::kvorum()?;
    let mut members = Vec::new();
    for name in ["a", "b", "c"] {
        members.push(Member::new(&program, name, |client, peer| {
            // Certificates are there from the start: members that are http still have to call those that are https.
            let mut flags = urls("http", client, peer);
            flags.extend(peer_files(&shop));
            flags
        })?);
    }
    let pairs: Vec<String> = members
        .iter()
        .map(|member| format!("{}=http://127.0.0.1:{}", member.name, member.peer_port))
        .collect();
    for member in &mut members {
        member.flags.extend(["--initial-cluster".to_owned(), pairs.join(",")]);
        member.spawn()?;
    }
    for member in &members {
        healthy(&shop, member)?;
    }
    let ports: Vec<u16> = members.iter().map(|member| member.client_port).collect();
    let writer = Writer::start(&shop, &ports);
    for turn in 0..members.len() {
        writer.progress()?;
        let asked = &members[(turn + 1) % 3];
        let endpoint = working_url(&shop, asked)?;
        let list = etcdctl(&shop, Release::Debian, &endpoint, &["member", "list"])?;
        let own = format!(", {}, ", members[turn].name);
        let id = list.lines().find(|line| line.contains(&own)).and_then(|line| line.split(',').next());
        let id = id.with_context(|| format!("not in the list: {list}"))?.to_owned();
        let url = format!("--peer-urls=https://127.0.0.1:{}", members[turn].peer_port);
        etcdctl(&shop, Release::Debian, &endpoint, &["member", "update", &id, &url])?;
        let member = &mut members[turn];
        member.stop()?;
        let (client, peer) = (member.client_port, member.peer_port);
        member.flags.extend(client_flags(&shop, client));
        member.flags.extend(peer_flags(&shop, peer));
        member.spawn()?;
        wait_healthy(&shop, member)?;
    }
    writer.progress()?;
    let written = writer.finish();
    let urls: Vec<String> = members.iter().map(Member::url).collect();
    let list = etcdctl(&shop, Release::Debian, &urls.join(","), &["member", "list"])?;
    ensure!(list.matches("https://").count() == 6 && !list.contains("http://"), "{list}");
    for member in &members {
        let got = curl(&shop, Some("client"), &[&format!("{}/v2/keys/n?quorum=true", member.url())])?;
        let value = got.body.split(r#""value":""#).nth(1).and_then(|rest| rest.split('"').next());
        let value: u64 = value.and_then(|value| value.parse().ok()).with_context(|| format!("{got:?}"))?;
        ensure!(value >= written, "{value} is there, and {written} was confirmed");
    }
    for number in (1..=written).step_by(7) {
        let got = curl(
            &shop,
            Some("client"),
            &[&format!("{}/v2/keys/all/{number}?quorum=true", members[1].url())],
        )?;
        ensure!(got.body.contains(r#""action":"get""#), "write {number} is lost: {got:?}");
    }
    Ok(())
}

fn urls(scheme: &str, client: u16, peer: u16) -> Vec<String> {
    let (client, peer) = (format!("{scheme}://127.0.0.1:{client}"), format!("{scheme}://127.0.0.1:{peer}"));
    let words = [
        "--listen-client-urls",
        &client,
        "--advertise-client-urls",
        &client,
        "--listen-peer-urls",
        &peer,
        "--initial-advertise-peer-urls",
        &peer,
    ];
    words.map(str::to_owned).to_vec()
}

/// Where it serves now, whichever it speaks.
fn working_url(shop: &Shop, member: &Member) -> anyhow::Result<String> {
    let serves = |url: &str| {
        curl(shop, Some("client"), &[&format!("{url}/health")])
            .is_ok_and(|answer| answer.body.contains("\"true\""))
    };
    let urls = [member.url(), member.url().replace("https", "http")];
    let found = until(PATIENCE, || urls.iter().find(|url| serves(url)).cloned());
    found.with_context(|| format!("{} does not serve:\n{}", member.name, member.log()))
}

fn healthy(shop: &Shop, member: &Member) -> anyhow::Result<()> {
    working_url(shop, member).map(drop)
}

/// Writes 1, 2, 3 and so on, each until it is confirmed, to whoever answers.
struct Writer {
    written: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

impl Writer {
    fn start(shop: &Shop, ports: &[u16]) -> Self {
        let (written, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (ca, cert, key) = (shop.word("ca.pem"), shop.word("client.pem"), shop.word("client-key.pem"));
        let ports = ports.to_vec();
        let (count, ended) = (Arc::clone(&written), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let mut number = 1;
            let places = ports
                .iter()
                .flat_map(|port| ["https", "http"].map(|scheme| format!("{scheme}://127.0.0.1:{port}")));
            let places: Vec<String> = places.collect();
            for place in places.iter().cycle() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let put = |key_name: &str| {
                    let form = format!("value={number}");
                    let target = format!("{place}/v2/keys/{key_name}");
                    let words = [
                        "-sSf",
                        "-m",
                        "5",
                        "--noproxy",
                        "*",
                        "--cacert",
                        &ca,
                        "--cert",
                        &cert,
                        "--key",
                        &key,
                        "-X",
                        "PUT",
                    ];
                    let output =
                        std::process::Command::new("curl").args(words).args([&target, "-d", &form]).output();
                    output.is_ok_and(|output| output.status.success())
                };
                if put(&format!("all/{number}")) && put("n") {
                    count.store(number, Ordering::Relaxed);
                    number += 1;
                }
            }
        });
        Self { written, stop, thread }
    }

    /// Waits until something more was written.
    fn progress(&self) -> anyhow::Result<()> {
        let before = self.written.load(Ordering::Relaxed);
        let moved = || (self.written.load(Ordering::Relaxed) > before + 2).then_some(());
        until(PATIENCE, moved).context("no write was confirmed any more")
    }

    fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it does not panic");
        self.written.load(Ordering::Relaxed)
    }
}
