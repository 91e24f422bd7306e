//! Many v2 keys that go within the same second: what they take, and when the last is gone.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use super::http::Talk;
use super::meter::Meter;
use super::{Figure, Target, Wanted};
use crate::proc;
use crate::workload::number_after;

const COUNT: u64 = 100_000;
const WRITERS: u64 = 64;
/// Keys that never go, written first to see how long the others will take.
const PILOTS: u64 = 2000;
/// Time for writing, as often as the pilots say.
const SLACK: f64 = 2.0;
const WRITE_S_MAX: f64 = 60.0;
/// From the last write until the moment at which all are gone; the memory is looked at meanwhile.
const LEAD: Duration = Duration::from_secs(3);
/// The keys go within one second, the last of them at the moment.
const LAST_SECOND: Duration = Duration::from_secs(1);
/// Time for the last key to go.
const GONE_MAX: Duration = Duration::from_mins(1);
/// How often somebody looks whether they are gone.
const LOOK: Duration = Duration::from_millis(10);

pub(super) fn title(scale: u64) -> String {
    format!("v2: {} keys expire within one second", COUNT / scale)
}

pub(super) async fn measure(target: &Target, scale: u64) -> Result<Vec<Figure>> {
    let count = COUNT / scale;
    let begin = Instant::now();
    write_all(target, "pilot", PILOTS, |_| None).await?;
    let each_s = begin.elapsed().as_secs_f64() / PILOTS as f64;
    let writing = Duration::from_secs_f64((each_s * count as f64 * SLACK).clamp(1.0, WRITE_S_MAX));
    let before = proc::memory(target.pid)?;
    let meter = Meter::start(target)?;
    let watched = Instant::now() + writing + LEAD.saturating_sub(LAST_SECOND);
    let moment = watched + LAST_SECOND;
    let ttl = move |now| Some(moment.saturating_duration_since(now).as_secs().max(1));
    write_all(target, "crowd", count, ttl).await?;
    let written = meter.used()?;
    ensure!(Instant::now() < watched, "the keys were written too slowly for their end to be watched");
    let mut talk = Talk::connect(&target.authority).await?;
    let end = index(&mut talk).await? + count;
    let after = proc::memory(target.pid)?;
    sleep_until(watched.into()).await;
    let meter = Meter::start(target)?;
    let gone = wait_gone(&mut talk, end).await?;
    let used = meter.used()?;
    let each = |kib: u64| kib as f64 * 1024.0 / count as f64;
    let late = gone.saturating_duration_since(moment).as_secs_f64();
    let mut figures = vec![
        Figure::new("gone after their time s", late, Wanted::AtMost(0.5)),
        Figure::new("written/s", count as f64 / written.seconds, Wanted::Times(2.0)),
        Figure::new("server CPU us for each write", written.server_s * 1e6 / count as f64, Wanted::Part(2.0)),
        Figure::new(
            "RSS bytes for each key",
            each(after.rss_kib - before.rss_kib.min(after.rss_kib)),
            Wanted::Part(1.0),
        ),
        Figure::new("RSS MiB with them", after.rss_kib as f64 / 1024.0, Wanted::Part(1.0)),
        Figure::new("server CPU us for each end", used.server_s * 1e6 / count as f64, Wanted::Part(2.0)),
    ];
    figures.extend(used.figures());
    Ok(figures)
}

/// Writes `count` keys over a few connections. `ttl_s` says what one written now gets.
async fn write_all(
    target: &Target,
    folder: &'static str,
    count: u64,
    ttl_s: impl Fn(Instant) -> Option<u64> + Copy + 'static,
) -> Result<()> {
    let next = Rc::new(Cell::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..WRITERS {
        let mut talk = Talk::connect(&target.authority).await?;
        let next = Rc::clone(&next);
        tasks.spawn_local(async move {
            loop {
                let number = next.get();
                if number >= count {
                    return anyhow::Ok(());
                }
                next.set(number + 1);
                let path = format!("/v2/keys/{folder}/{}/{number}", number % 100);
                let form = match ttl_s(Instant::now()) {
                    Some(ttl) => format!("value={number:032}&ttl={ttl}"),
                    None => format!("value={number:032}"),
                };
                talk.insist("PUT", &path, Some(&form)).await?;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

async fn wait_gone(talk: &mut Talk, end: u64) -> Result<Instant> {
    let begin = Instant::now();
    loop {
        let index = index(talk).await?;
        ensure!(index <= end, "more went than there was");
        if index == end {
            return Ok(Instant::now());
        }
        if begin.elapsed() > GONE_MAX {
            bail!("{} keys are left {} s after their time", end - index, GONE_MAX.as_secs());
        }
        sleep(LOOK).await;
    }
}

/// Where the keyspace stands, which a refusal says. Each key that goes takes an index.
async fn index(talk: &mut Talk) -> Result<u64> {
    let answer = talk.ask("GET", "/v2/keys/none", None).await?;
    number_after(answer.body, b"\"index\":").context("an answer without an index")
}
