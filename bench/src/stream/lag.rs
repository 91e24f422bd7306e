//! Watches that start at the beginning of a long history, all at once: how soon they are up to date, and whether
//! puts beside them feel it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::link::Progress;
use super::meter::{BESIDE, Meter, Puts};
use super::watch::{self, Asked, Crowd};
use super::{Figure, Target, Wanted};
use crate::load::{self, CONNECTIONS, Plan, Until};
use crate::workload::{Kind, Shape};

const WATCHES: u64 = 10_000;
const LINKS: u64 = 10;
/// Puts of each watched key.
const PASSES: u64 = 20;
/// The load beside, before anybody lags.
const QUIET: Duration = Duration::from_secs(4);
const CATCH_UP_MAX: Duration = Duration::from_mins(2);

fn watches(scale: u64) -> u64 {
    (WATCHES / scale).max(LINKS) / LINKS * LINKS
}

pub(super) fn title(scale: u64) -> String {
    let watches = watches(scale);
    let events = watches * PASSES;
    format!(
        "{watches} watches on {LINKS} streams start {events} events back, {} puts/s beside",
        BESIDE.per_second
    )
}

pub(super) async fn prepare(target: &Target, scale: u64) -> Result<()> {
    for pass in 1..=PASSES {
        let shape = Shape {
            kind: Kind::Fill,
            keys: watches(scale),
            key_bytes: 8,
            value_bytes: 256,
            clients: 8,
            seed: pass,
            endpoints: vec![target.authority.clone()],
        };
        let until = Until::Calls(u64::MAX);
        let plan = Plan {
            shape,
            connections: CONNECTIONS,
            rate: None,
            until,
            live: false,
            token: None,
            server_pids: Vec::new(),
        };
        let report = load::run(&plan).await?;
        ensure!(report.failures == 0, "the history could not be written: {:?}", report.failure_texts);
    }
    Ok(())
}

pub(super) async fn measure(target: &Target, scale: u64) -> Result<Vec<Figure>> {
    let quiet = Puts::start(target, &BESIDE);
    sleep(QUIET).await;
    let quiet = quiet.stop().await?;

    let (progress, mut tasks) = (Progress::new(), JoinSet::new());
    let crowd = Crowd { links: LINKS, streams: 1, watches: watches(scale) / LINKS };
    // Revision 1 is that of the empty store.
    let asked = Asked { keys: watches(scale), start_revision: 2 };
    let events = watches(scale) * PASSES;
    let beside = Puts::start(target, &BESIDE);
    let meter = Meter::start(target)?;
    let begin = Instant::now();
    watch::ask(&target.authority, crowd, asked, &progress, &mut tasks).await?;
    progress.wait_heard(events, CATCH_UP_MAX).await?;
    let seconds = (progress.last.get() - begin).as_secs_f64();
    let used = meter.used()?;
    let beside = beside.stop().await?;
    let (calm, rough) = (quiet.latency_us.p99 / 1000.0, beside.latency_us.p99 / 1000.0);
    let mut figures = vec![
        Figure::new("caught up after s", seconds, Wanted::Part(5.0)),
        Figure::new("events per server CPU s", used.per_server_second(events), Wanted::More),
        Figure::new("put p99 ms before", calm, Wanted::Less),
        Figure::new("put p99 ms meanwhile", rough, Wanted::Less),
        Figure::new("put slowest ms meanwhile", beside.latency_us.max / 1000.0, Wanted::Less),
    ];
    figures.extend(used.figures());
    Ok(figures)
}
