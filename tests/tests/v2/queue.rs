//! A queue as people build it on in-order keys: producers `POST`, consumers take the first of a sorted listing by
//! removing it as it was. Each job goes to one consumer, in order, while the leader is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use ::tests::cluster::{Settings, program};
use ::tests::v2::V2;
use ::tests::{Cluster, until};
use anyhow::{Context, ensure};

const PRODUCERS: usize = 20;
const CONSUMERS: usize = 20;
const JOBS: usize = 10_000;

/// Jobs that lie in the queue; producers wait above that.
const DEPTH_MAX: usize = 100;

/// A client that waits out an election.
const LONG: Duration = Duration::from_secs(20);

/// What both sides know of one another.
#[derive(Default)]
struct Counts {
    made: AtomicUsize,
    taken: AtomicUsize,
    over: AtomicBool,
}

/// What became of the jobs.
#[derive(Default)]
struct Ledger {
    /// Key and value of each job whose `POST` was answered, in the order of each producer.
    made: Vec<(String, String)>,
    /// Values of jobs of whose `POST` nothing was heard.
    unclear: BTreeSet<String>,
    /// By the index of the removal: key and value.
    taken: BTreeMap<u64, (String, String)>,
    /// Keys of whose removal nothing was heard.
    unclear_takes: BTreeSet<String>,
}

fn produce(addresses: &[SocketAddr], producer: usize, counts: &Counts) -> anyhow::Result<Ledger> {
    let mut client = V2::new(addresses, LONG).from(producer);
    let mut ledger = Ledger::default();
    let mut attempt = 0_usize;
    while ledger.made.len() < JOBS / PRODUCERS {
        let room = || {
            let (made, taken) = (counts.made.load(Ordering::Relaxed), counts.taken.load(Ordering::Relaxed));
            (made < taken.saturating_add(DEPTH_MAX)).then_some(())
        };
        // Without consumers for so long the queue may grow.
        let _ = until(Duration::from_secs(5), room);
        let value = format!("{producer}-{attempt}");
        attempt = attempt.wrapping_add(1);
        match client.ask("POST", "/queue", &[("value", &value)]) {
            Ok(told) if told.status == 201 => {
                counts.made.fetch_add(1, Ordering::Relaxed);
                ledger.made.push((told.node("key").as_str().context("a key")?.to_owned(), value));
            }
            Ok(told) if told.status < 500 => anyhow::bail!("{told:?}"),
            _ => {
                ledger.unclear.insert(value);
            }
        }
    }
    Ok(ledger)
}

fn consume(addresses: &[SocketAddr], consumer: usize, counts: &Counts) -> anyhow::Result<Ledger> {
    let mut client = V2::new(addresses, LONG).from(consumer);
    let mut ledger = Ledger::default();
    loop {
        let over = counts.over.load(Ordering::Acquire);
        let Ok(listed) = client.ask("GET", "/queue?sorted=true&quorum=true", &[]) else { continue };
        let jobs = listed.nodes();
        if jobs.is_empty() && over && (listed.status == 200 || listed.code() == 100) {
            return Ok(ledger);
        }
        // The first that nobody else was faster with, and then the list is read anew.
        for (key, value, index) in jobs {
            match client.ask("DELETE", &format!("{key}?prevIndex={index}"), &[]) {
                Ok(told) if told.status == 200 => {
                    counts.taken.fetch_add(1, Ordering::Relaxed);
                    ledger.taken.insert(told.modified(), (key, value));
                    break;
                }
                Ok(told) if told.status < 500 => {
                    ensure!(told.code() == 100, "somebody else took it: {told:?}");
                }
                _ => {
                    ledger.unclear_takes.insert(key);
                    break;
                }
            }
        }
    }
}

#[test]
fn each_job_goes_to_one_consumer_in_order_while_the_leader_dies() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(&Settings::new(&program()?, 3).flags(&["--enable-v2=true"]))?;
    let leader = cluster.wait_leader()?;
    let addresses: Vec<SocketAddr> = (0..3).map(|number| cluster.member(number).address()).collect();
    let counts = Counts::default();
    let ledger = thread::scope(|scope| -> anyhow::Result<Ledger> {
        let (addresses, counts) = (&addresses, &counts);
        let producers: Vec<_> =
            (0..PRODUCERS).map(|number| scope.spawn(move || produce(addresses, number, counts))).collect();
        let consumers: Vec<_> =
            (0..CONSUMERS).map(|number| scope.spawn(move || consume(addresses, number, counts))).collect();
        let half =
            until(Duration::from_mins(5), || (counts.taken.load(Ordering::Relaxed) > JOBS / 2).then_some(()));
        cluster.member_mut(leader).kill()?;
        let mut ledger = Ledger::default();
        let mut failed = half.is_none().then(|| anyhow::anyhow!("half of the jobs were not taken in time"));
        for producer in producers {
            match producer.join().expect("a producer reports") {
                Ok(of_one) => {
                    let keys: Vec<&String> = of_one.made.iter().map(|(key, _)| key).collect();
                    ensure!(keys.is_sorted(), "the jobs of one producer are not in its order");
                    ledger.made.extend(of_one.made);
                    ledger.unclear.extend(of_one.unclear);
                }
                Err(error) => failed = Some(error),
            }
        }
        counts.over.store(true, Ordering::Release);
        for consumer in consumers {
            match consumer.join().expect("a consumer reports") {
                Ok(of_one) => {
                    let before = ledger.taken.len().saturating_add(of_one.taken.len());
                    ledger.taken.extend(of_one.taken);
                    ensure!(ledger.taken.len() == before, "two removals had the same index");
                    ledger.unclear_takes.extend(of_one.unclear_takes);
                }
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(ledger), Err)
    })?;
    check(&ledger)?;
    cluster.done()
}

fn check(ledger: &Ledger) -> anyhow::Result<()> {
    ensure!(ledger.made.len() == JOBS, "{} jobs were made", ledger.made.len());
    let keys: Vec<&String> = ledger.taken.values().map(|(key, _)| key).collect();
    ensure!(keys.is_sorted_by(|one, other| one < other), "jobs were taken out of order, or twice");
    let taken: BTreeMap<&String, &String> = ledger.taken.values().map(|(key, value)| (key, value)).collect();
    for (key, value) in &ledger.made {
        match taken.get(key) {
            Some(found) => ensure!(*found == value, "{key} held {found} instead of {value}"),
            None => ensure!(ledger.unclear_takes.contains(key), "{key} was made, and nobody took it"),
        }
    }
    let made: BTreeSet<&String> = ledger.made.iter().map(|(_, value)| value).collect();
    for value in taken.values() {
        ensure!(made.contains(*value) || ledger.unclear.contains(*value), "{value} was never made");
    }
    eprintln!(
        "{} jobs taken in order; of {} posts and {} removals nothing was heard when the leader died",
        taken.len(),
        ledger.unclear.len(),
        ledger.unclear_takes.len()
    );
    Ok(())
}
