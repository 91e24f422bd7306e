//! Thousands who begin a handshake and never end it. Named for GHSA-6vch-q96h-7gc3, where a handshake had no deadline.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tests::{Release, until};

use crate::house::{Member, PATIENCE, curl, etcdctl, three};
use crate::serving::stocked;
use crate::shop::Shop;

/// More than a member lets begin at once, and within what a process may open here.
const HALF_OPEN: usize = 3000;
/// Far longer than a request needs, and far less than a place is held by who does nothing.
const SERVED_WITHIN: Duration = Duration::from_secs(4);

#[test]
fn ghsa_6vch_q96h_7gc3_half_open_handshakes_hold_nobody_up() -> anyhow::Result<()> {
    let shop = stocked()?;
    // Members inherit it.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    let members = three(&shop, &[])?;
    let target = &members[0];
    let terms = |member: &Member| -> anyhow::Result<String> {
        let body = curl(
            &shop,
            Some("client"),
            &["-X", "POST", &format!("{}/v3/maintenance/status", member.url()), "-d", "{}"],
        )?
        .body;
        let term = body.split(r#""raftTerm":""#).nth(1).and_then(|rest| rest.split('"').next());
        term.map(str::to_owned).with_context(|| body.clone())
    };
    let before = terms(target)?;
    let mut open = Vec::new();
    for port in [target.client_port, target.peer_port] {
        for _ in 0..HALF_OPEN / 2 {
            open.push(TcpStream::connect(("127.0.0.1", port)).context("a half-open connection")?);
        }
    }
    for _ in 0..HALF_OPEN / 2 {
        open.push(TcpStream::connect(("127.0.0.1", target.client_port)).context("a half-open connection")?);
    }
    for _ in 0..5 {
        let began = Instant::now();
        let answer = curl(&shop, Some("client"), &[&format!("{}/v2/keys/x?quorum=true", target.url())])?;
        ensure!(
            answer.code == 0 && began.elapsed() < SERVED_WITHIN,
            "{answer:?} after {:?}",
            began.elapsed()
        );
    }
    etcdctl(&shop, Release::Debian, &target.url(), &["put", "under", "fire"])?;
    ensure!(terms(target)? == before, "there was an election");
    let counted = |outcome: &str| {
        let family = format!(r#"kvorum_tls_handshakes_total{{listener="client",outcome="{outcome}"}}"#);
        let metrics = metrics(&shop, target).unwrap_or_default();
        let value = metrics.lines().find_map(|line| line.strip_prefix(&family)?.trim().parse::<f64>().ok());
        value.unwrap_or_default() as usize
    };
    let crowded = || (counted("crowded") >= HALF_OPEN - 2048 - 100).then_some(());
    ensure!(until(PATIENCE, crowded).is_some(), "{} gave way", counted("crowded"));
    // Those that stay are closed when their time is over.
    let over = || (counted("late") > 1000).then_some(());
    ensure!(until(PATIENCE, over).is_some(), "{} were ended", counted("late"));
    let lines = target.log().matches("rejected connection").count();
    ensure!(lines < 1000, "{lines} lines about it");
    Ok(())
}

fn metrics(shop: &Shop, member: &Member) -> anyhow::Result<String> {
    Ok(curl(shop, Some("client"), &[&format!("{}/metrics", member.url())])?.body)
}
