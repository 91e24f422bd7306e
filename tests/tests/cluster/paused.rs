//! A leader that is paused for three election time-outs, while the others elect and write, and goes on.
//!
//! It still believes that it leads. Whatever it answers from then on has to be true: requests that lay in its
//! sockets while it was paused, and those that come right after. The same checks run against real etcd
//! 3.4.23. Its linearizable reads hold, since it too asks a majority; its leases do not: a leader that wakes
//! up revokes leases that a newer one has renewed.

use std::thread;
use std::time::{Duration, Instant};

use ::tests::cluster::{Settings, program};
use ::tests::{Client, Cluster, Program, client, http1, until};
use anyhow::{Context, ensure};

/// How often the leader is paused.
const CYCLES: usize = 4;

/// Connections to the leader that reads wait in, and reads in each.
const CONNECTIONS: usize = 4;
const READS: usize = 8;

/// How long answers may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the leader that woke up is asked again and again.
const ASKED_FOR: Duration = Duration::from_millis(700);

/// Pauses a leader, does `meanwhile` once the others have a new one, and lets it go on.
fn pause_leader(
    cluster: &mut Cluster,
    meanwhile: impl FnOnce(&Cluster, usize, usize) -> anyhow::Result<()>,
) -> anyhow::Result<usize> {
    let old = cluster.wait_leader()?;
    let others = cluster.others(old);
    let began = Instant::now();
    cluster.member(old).pause()?;
    let new = cluster.wait_leader_of(&others)?;
    meanwhile(cluster, old, new)?;
    let left = cluster.settings().three_elections().saturating_sub(began.elapsed());
    // Reason to sleep: the pause has to be longer than three election time-outs.
    thread::sleep(left);
    cluster.member(old).resume()?;
    Ok(old)
}

/// Answers that a paused leader gave: right ones, and stale ones.
fn reads_of_paused_leaders(program: &Program) -> anyhow::Result<(usize, Vec<String>)> {
    let mut cluster = Cluster::start(&Settings::new(program, 3).pace(50, 500))?;
    let (mut right, mut stale) = (0, Vec::new());
    for cycle in 0..CYCLES {
        let wanted = cycle.to_string();
        let leader = cluster.wait_leader()?;
        let address = cluster.member(leader).address();
        let clients: Vec<Client> =
            (0..CONNECTIONS).map(|_| Client::patient(address, PATIENCE)).collect::<anyhow::Result<_>>()?;
        clients.iter().try_for_each(|client| client.get("k").map(|_| ()))?;
        let mut waiting = Vec::new();
        pause_leader(&mut cluster, |cluster, old, new| {
            ensure!(old == leader, "the leader changed before it was paused");
            cluster.member(new).client()?.put("k", &wanted)?;
            waiting = clients.iter().flat_map(|client| (0..READS).map(|_| client.get_later("k"))).collect();
            Ok(())
        })?;
        let mut answers = Vec::new();
        let end = Instant::now() + ASKED_FOR;
        while Instant::now() < end {
            answers.push(clients.first().context("a client")?.get("k"));
        }
        for read in waiting {
            answers.push(client::runtime().block_on(read).context("a read panicked")?);
        }
        for answer in answers.into_iter().flatten() {
            if answer.as_deref() == Some(wanted.as_str()) {
                right += 1;
            } else {
                stale.push(format!("cycle {cycle}: {answer:?}"));
            }
        }
        cluster.wait_ready()?;
    }
    cluster.done()?;
    Ok((right, stale))
}

#[test]
fn a_paused_leader_reads_nothing_stale() -> anyhow::Result<()> {
    let (right, stale) = reads_of_paused_leaders(&program()?)?;
    ensure!(stale.is_empty(), "stale reads: {stale:?}");
    ensure!(right >= CYCLES, "only {right} reads were answered");
    Ok(())
}

#[test]
fn etcd_too_reads_nothing_stale_after_a_pause() -> anyhow::Result<()> {
    let (right, stale) = reads_of_paused_leaders(&Program::etcd()?)?;
    eprintln!("etcd 3.4.23: {right} right reads at leaders that had been paused, {} stale", stale.len());
    Ok(())
}

#[test]
fn a_paused_leader_expires_no_v2_key_that_was_renewed() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(&Settings::new(&program()?, 3).pace(50, 500))?;
    for cycle in 0..2 {
        let leader = cluster.wait_leader()?;
        let key = format!("/v2/keys/renewed-{cycle}");
        v2(&cluster, leader, "PUT", &key, Some("value=x&ttl=1"))?;
        pause_leader(&mut cluster, |cluster, _, new| {
            v2(cluster, new, "PUT", &key, Some("ttl=60&refresh=true&prevExist=true"))
        })?;
        cluster.wait_ready()?;
        let end = Instant::now() + Duration::from_millis(1500);
        while Instant::now() < end {
            for number in 0..3 {
                v2(&cluster, number, "GET", &format!("{key}?quorum=true"), None)?;
            }
        }
    }
    cluster.done()
}

fn v2(
    cluster: &Cluster,
    number: usize,
    method: &str,
    target: &str,
    form: Option<&str>,
) -> anyhow::Result<()> {
    let request = http1::request(method, target, &[], form.map(str::as_bytes));
    let reply = http1::exchange(cluster.member(number).address(), &request, PATIENCE)?;
    ensure!(reply.status < 300, "{method} {target} answers {}: {}", reply.status, reply.body_text());
    Ok(())
}

/// Of so many leases that were renewed in time while their leader was paused, those that it revoked.
fn leases_revoked(program: &Program) -> anyhow::Result<usize> {
    let mut cluster = Cluster::start(&Settings::new(program, 3).pace(50, 500))?;
    let mut revoked = 0;
    for cycle in 0..CYCLES {
        let leader = cluster.wait_leader()?;
        let client = cluster.member(leader).client()?;
        let lease = client.lease(2)?;
        let key = format!("leased-{cycle}");
        client.put_leased(&key, lease)?;
        let renew = |cluster: &Cluster, number: usize| {
            cluster.etcdctl(&[number], &["lease", "keep-alive", "--once", &format!("{lease:x}")])
        };
        let old = pause_leader(&mut cluster, |cluster, _, new| {
            // The old leader would let it expire in the meantime; the new one is told in time that it lives.
            let end = Instant::now() + Duration::from_millis(2500);
            while Instant::now() < end {
                renew(cluster, new)?;
            }
            Ok(())
        })?;
        let others = cluster.others(old);
        let end = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end {
            // A refusal shows below, as a key that is gone.
            let _ = renew(&cluster, others[0]);
        }
        let found = until(PATIENCE, || cluster.member(others[0]).client().ok()?.get(&key).ok());
        revoked += usize::from(found.context("no answer")?.is_none());
        cluster.wait_ready()?;
    }
    cluster.done()?;
    Ok(revoked)
}

#[test]
fn a_paused_leader_revokes_no_lease_that_was_renewed() -> anyhow::Result<()> {
    let program = program()?;
    let revoked = leases_revoked(&program)?;
    if ::tests::cluster::is_etcd(&program) {
        eprintln!("etcd 3.4.23: leaders that had been paused revoked {revoked} of {CYCLES} renewed leases");
        return Ok(());
    }
    ensure!(revoked == 0, "{revoked} of {CYCLES} renewed leases were revoked");
    Ok(())
}

#[test]
fn the_same_check_catches_leases_of_etcd() -> anyhow::Result<()> {
    let revoked = leases_revoked(&Program::etcd()?)?;
    eprintln!("etcd 3.4.23: leaders that had been paused revoked {revoked} of {CYCLES} renewed leases");
    Ok(())
}
