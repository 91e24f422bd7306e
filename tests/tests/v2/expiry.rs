//! Times to live: a hundred thousand nodes that go in the same second, and what happens to them when members do.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ::tests::cluster::{Settings, program};
use ::tests::v2::V2;
use ::tests::{Cluster, until};
use anyhow::{Context, bail, ensure};
use serde_json::Value;

/// A client that waits out an election.
const LONG: Duration = Duration::from_secs(20);

/// Nodes that go together.
const CROWD: usize = 100_000;

/// Clients that write them.
const WRITERS: usize = 16;

/// Nodes that stay, written first to see how long the others will take.
const PILOTS: usize = 2_000;

/// Time for writing, as often as the pilots say: more in each attempt, for a machine that becomes slower meanwhile.
const SLACKS: [u32; 3] = [2, 5, 12];

/// Time after that, in which nothing goes yet.
const LEAD: Duration = Duration::from_secs(8);

/// How late the last of them may go while the machine is somebody else's too. On a quiet one it is less than half a
/// second, and the test says how much.
const LATE_MAX: Duration = Duration::from_secs(30);

fn addresses(cluster: &Cluster) -> Vec<SocketAddr> {
    (0..cluster.len()).map(|number| cluster.member(number).address()).collect()
}

/// The time since 1970 in an expiration as etcd prints it.
fn expiration_of(text: &str) -> anyhow::Result<Duration> {
    let parse = |range: std::ops::Range<usize>| -> anyhow::Result<u64> {
        Ok(text.get(range).context("a time")?.parse()?)
    };
    let (year, month, day) = (parse(0..4)?, parse(5..7)?, parse(8..10)?);
    // Days before a month of a year that begins in March, counted from then.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468;
    let seconds = days * 86_400 + parse(11..13)? * 3_600 + parse(14..16)? * 60 + parse(17..19)?;
    let fraction = text.get(19..).context("a time")?.trim_start_matches('.').trim_end_matches('Z');
    let nanos: u32 = format!("{fraction:0<9}").parse()?;
    Ok(Duration::new(seconds, nanos))
}

fn now() -> anyhow::Result<Duration> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?)
}

/// Writes `count` nodes below `folder`, so that all of them go at about the same time, at `end`. Answers the last
/// expiration.
fn write_all(
    addresses: &[SocketAddr],
    folder: &str,
    count: usize,
    end: Option<Duration>,
) -> anyhow::Result<Duration> {
    let write = |writer: usize| -> anyhow::Result<Duration> {
        let mut client = V2::new(addresses, LONG).from(writer);
        let mut last = Duration::ZERO;
        for number in (writer..count).step_by(WRITERS) {
            let path = format!("/{folder}/{}/{number}", number % 100);
            let Some(end) = end else {
                client.ask("PUT", &path, &[("value", "x")])?;
                continue;
            };
            let left = end.saturating_sub(now()?).as_secs_f64().round().max(1.0).to_string();
            let told = client.ask("PUT", &path, &[("value", "x"), ("ttl", &left)])?;
            ensure!(told.status == 201, "{told:?}");
            last = last.max(expiration_of(told.node("expiration").as_str().context("an expiration")?)?);
        }
        Ok(last)
    };
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || write(writer))).collect();
        let ends = writers.into_iter().map(|writer| writer.join().expect("a writer reports"));
        ends.collect::<anyhow::Result<Vec<_>>>().map(|ends| ends.into_iter().max().unwrap_or_default())
    })
}

/// Writes the crowd so that all of it goes at about the same time, soon after it is written. Answers the last
/// expiration, which is still to come.
fn crowd(addresses: &[SocketAddr]) -> anyhow::Result<Duration> {
    let began = Instant::now();
    write_all(addresses, "pilots", PILOTS, None)?;
    let pilots = began.elapsed();
    for slack in SLACKS {
        let writing = pilots * (CROWD / PILOTS) as u32 * slack;
        let last = write_all(addresses, "crowd", CROWD, Some(now()? + writing + LEAD))?;
        if last.saturating_sub(now()?) > Duration::from_secs(1) {
            return Ok(last);
        }
        // Some went before the last was written.
        V2::new(addresses, LONG).ask("DELETE", "/crowd?recursive=true", &[])?;
    }
    bail!("this machine is too slow to write {CROWD} nodes in time")
}

/// Where a member's keyspace stands. Asking for a node that is not there costs it next to nothing.
fn index(client: &mut V2) -> anyhow::Result<u64> {
    Ok(client.ask("GET", "/none", &[])?.index)
}

#[test]
fn a_hundred_thousand_go_in_one_second_on_all_members_and_in_time() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(&Settings::new(&program()?, 3).flags(&["--enable-v2=true"]))?;
    cluster.wait_leader()?;
    let addresses = addresses(&cluster);
    let last = crowd(&addresses)?;
    let ahead = last.saturating_sub(now()?);
    // Each node that goes takes an index.
    let end = index(&mut V2::new(&addresses, LONG))? + CROWD as u64;
    let mut gone = Vec::new();
    thread::scope(|scope| -> anyhow::Result<()> {
        let waiting: Vec<_> = addresses
            .iter()
            .map(|address| {
                scope.spawn(move || -> anyhow::Result<Duration> {
                    let mut client = V2::new(&[*address], ahead + LATE_MAX + LONG);
                    // Reason to sleep: until then nothing may go, and asking costs those who serve.
                    thread::sleep(last.saturating_sub(now()?).saturating_sub(Duration::from_millis(200)));
                    let found = until(LATE_MAX + LONG, || match index(&mut client) {
                        Ok(index) if index == end => now().ok(),
                        _ => None,
                    });
                    found.with_context(|| format!("{:?} of {end}", index(&mut client)))
                })
            })
            .collect();
        for member in waiting {
            gone.push(member.join().expect("who waits reports")?);
        }
        Ok(())
    })?;
    let late: Vec<Duration> = gone.iter().map(|gone| gone.saturating_sub(last)).collect();
    eprintln!("{CROWD} nodes were gone from the members {late:?} after the last was due");
    ensure!(late.iter().all(|late| *late < LATE_MAX), "too late: {late:?}");
    // The same on all members: what is left, and where it stands.
    let left: Vec<(u64, Value)> = addresses
        .iter()
        .map(|address| {
            let told = V2::new(&[*address], LONG).ask("GET", "/crowd?recursive=true&sorted=true", &[])?;
            Ok((told.index, told.body))
        })
        .collect::<anyhow::Result<_>>()?;
    ensure!(left.iter().all(|member| *member == left[0] && member.0 == end), "the members differ");
    cluster.done()
}

#[test]
fn times_go_on_while_leaders_change_and_members_restart() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(&Settings::new(&program()?, 3).flags(&["--enable-v2=true"]))?;
    let leader = cluster.wait_leader()?;
    let addresses = addresses(&cluster);
    let mut client = V2::new(&addresses, LONG);
    let began = Instant::now();
    for (path, ttl) in [("/soon/a", "4"), ("/later/b", "9"), ("/never/c", "3600")] {
        let told = client.ask("PUT", path, &[("value", "x"), ("ttl", ttl)])?;
        ensure!(told.status == 201, "{told:?}");
    }
    let told = client.ask("PUT", "/dir", &[("dir", "true"), ("ttl", "9")])?;
    ensure!(told.status == 201, "{told:?}");
    client.insist("PUT", "/dir/inside", &[("value", "x")])?;
    cluster.member_mut(leader).kill()?;
    let others = cluster.others(leader);
    cluster.wait_leader_of(&others)?;
    let mut client = V2::new(&others.iter().map(|other| addresses[*other]).collect::<Vec<_>>(), LONG);
    let gone =
        until(LONG, || (client.ask("GET", "/soon/a", &[]).ok()?.code() == 100).then(|| began.elapsed()));
    let gone = gone.context("the first node stays")?;
    ensure!(gone >= Duration::from_millis(3_900), "it went after {gone:?}");
    for other in &others {
        cluster.member_mut(*other).kill()?;
    }
    cluster.start_all()?;
    cluster.wait_leader()?;
    let mut waits: Vec<V2> = addresses.iter().map(|address| V2::new(&[*address], LONG)).collect();
    for client in &mut waits {
        let told = client.insist("GET", "/never/c?quorum=true", &[])?;
        ensure!(told.node("ttl").as_i64().is_some_and(|ttl| (3_500..=3_600).contains(&ttl)), "{told:?}");
        for path in ["/later/b", "/dir"] {
            let gone = until(LONG, || (client.ask("GET", path, &[]).ok()?.code() == 100).then_some(()));
            ensure!(
                gone.is_some() && began.elapsed() >= Duration::from_millis(8_900),
                "{path} stays or left early"
            );
        }
        // What was waited for in the past is still known, whoever leads and whoever restarted.
        let told = client.insist("GET", "/dir/inside?wait=true&waitIndex=9", &[])?;
        ensure!(told.body["action"] == "expire" && told.node("key") == "/dir", "{told:?}");
    }
    cluster.done()
}
