//! One v2 key and many who wait for it: each asks again from the index after the one that it was told.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use super::http::Talk;
use super::meter::Meter;
use super::{Figure, Target, Wanted};
use crate::workload::{number_after, stamp_ns};

const WAITERS: u64 = 1000;
/// Puts, so many each second.
const PUTS: u64 = 100;
const PUTS_PER_SECOND: u64 = 20;
/// Time for the last event to come.
const HEARD_MAX: Duration = Duration::from_mins(1);
/// How often the scenario looks at what has been heard.
const LOOK: Duration = Duration::from_millis(2);
/// After the waiters asked first; the server may do what it wants to do with a thousand connections.
const SETTLE: Duration = Duration::from_secs(1);
const DELAY_NS_MAX: u64 = 120_000_000_000;
const PATH: &str = "/v2/keys/bench-wait";

pub(super) fn title(scale: u64) -> String {
    format!("v2: {} wait for one key, {PUTS_PER_SECOND} puts/s, each asks again", waiters(scale))
}

fn waiters(scale: u64) -> u64 {
    (WAITERS / scale).max(1)
}

/// What all waiters have heard together.
struct Heard {
    events: Cell<u64>,
    delay_ns: RefCell<Histogram<u64>>,
    trouble: RefCell<Option<anyhow::Error>>,
}

pub(super) async fn measure(target: &Target, scale: u64) -> Result<Vec<Figure>> {
    let delay_ns = Histogram::new_with_bounds(1000, DELAY_NS_MAX, 3)?;
    let heard = Rc::new(Heard {
        events: Cell::new(0),
        delay_ns: RefCell::new(delay_ns),
        trouble: RefCell::new(None),
    });
    let mut writer = Talk::connect(&target.authority).await?;
    let first = index_of(writer.insist("PUT", PATH, Some("value=0")).await?)?;
    let mut tasks = JoinSet::new();
    for _ in 0..waiters(scale) {
        let talk = Talk::connect(&target.authority).await?;
        let heard = Rc::clone(&heard);
        tasks.spawn_local(async move {
            if let Err(error) = wait(talk, first, &heard).await {
                *heard.trouble.borrow_mut() = Some(error);
            }
        });
    }
    sleep(SETTLE).await;
    let meter = Meter::start(target)?;
    let begin = Instant::now();
    for number in 0..PUTS {
        sleep_until((begin + Duration::from_secs(number) / PUTS_PER_SECOND as u32).into()).await;
        let form = format!("value={}", stamp_ns());
        ensure!(index_of(writer.insist("PUT", PATH, Some(&form)).await?)? == first + number + 1);
    }
    let wanted = PUTS * waiters(scale);
    let put = Instant::now();
    while heard.events.get() < wanted {
        if let Some(error) = heard.trouble.borrow_mut().take() {
            return Err(error);
        }
        if put.elapsed() > HEARD_MAX {
            bail!("{} of {wanted} events", heard.events.get());
        }
        sleep(LOOK).await;
    }
    let used = meter.used()?;
    ensure!(heard.events.get() == wanted, "{} events where {wanted} were due", heard.events.get());
    let delay = |quantile| heard.delay_ns.borrow().value_at_quantile(quantile) as f64 / 1e6;
    let mut figures = vec![
        Figure::new("events per server CPU s", used.per_server_second(wanted), Wanted::Times(2.0)),
        Figure::new("put to event p50 ms", delay(0.5), Wanted::Less),
        Figure::new("put to event p99 ms", delay(0.99), Wanted::Less),
        Figure::new("RSS MiB", crate::proc::memory(target.pid)?.rss_kib as f64 / 1024.0, Wanted::Part(1.0)),
    ];
    figures.extend(used.figures());
    Ok(figures)
}

/// Waits for every event after `first`, one after the other; without an end.
async fn wait(mut talk: Talk, first: u64, heard: &Heard) -> Result<()> {
    let mut next = first + 1;
    loop {
        let target = format!("{PATH}?wait=true&waitIndex={next}");
        let body = talk.insist("GET", &target, None).await?;
        let now = stamp_ns();
        ensure!(index_of(body)? == next, "an event was left out: not {next}");
        let stamp = number_after(body, b"\"value\":\"").context("an event without its stamp")?;
        heard.delay_ns.borrow_mut().saturating_record(now.saturating_sub(stamp));
        heard.events.set(heard.events.get() + 1);
        next += 1;
    }
}

fn index_of(body: &[u8]) -> Result<u64> {
    number_after(body, b"\"modifiedIndex\":").ok_or_else(|| anyhow!("an answer without an index"))
}
