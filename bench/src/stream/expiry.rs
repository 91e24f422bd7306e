//! Many leases that expire within the same second: when the last is gone, and what puts feel meanwhile.
//!
//! They are granted one after the other, each with a time to live that ends in the same second.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use super::keepalive::{GRANT, grant};
use super::link::Progress;
use super::meter::{BESIDE, Meter, Puts};
use super::watch::{self, Asked, Crowd, key};
use super::{Figure, Target, Wanted, many};
use crate::call::Caller;
use crate::wire::protobuf as pb;

const PUT: &str = "/etcdserverpb.KV/Put";
const LEASES: &str = "/etcdserverpb.Lease/LeaseLeases";
const COUNT: u64 = 50_000;
/// From the first grant until the moment at which they all end.
const LEAD: Duration = Duration::from_secs(24);
/// From the first grant until the second in which they end.
const LAST_SECOND: Duration = Duration::from_secs(23);
/// From the first grant until the load beside is measured for the first time; a second and a half before the end
/// nothing is measured any more.
const QUIET_AFTER: Duration = Duration::from_millis(17_500);
/// The load beside, before that moment.
const QUIET: Duration = Duration::from_secs(5);
/// Time for the last lease to go.
const GONE_MAX: Duration = Duration::from_secs(80);
/// How often leases without keys are asked for.
const LOOK: Duration = Duration::from_millis(250);
/// The puts beside are looked at so long at most: what takes longer is not worse in its second half.
const ROUGH_MAX: Duration = Duration::from_secs(10);

pub(super) fn title(keys: bool, scale: u64) -> String {
    let with = if keys { "with a key each" } else { "without keys" };
    format!("{} leases {with} expire within one second, {} puts/s beside", COUNT / scale, BESIDE.per_second)
}

pub(super) async fn measure(target: &Target, keys: bool, scale: u64) -> Result<Vec<Figure>> {
    let count = COUNT / scale;
    let (progress, mut tasks) = (Progress::new(), JoinSet::new());
    let begin = Instant::now();
    let moment = begin + LEAD;
    let quiet_at = begin + QUIET_AFTER;
    grant_all(target, count, moment, keys).await?;
    if keys {
        let crowd = Crowd { links: 1, streams: 1, watches: 1 };
        let asked = Asked { keys: 0, start_revision: 0 };
        watch::create(&target.authority, crowd, asked, &progress, &mut tasks).await?;
    }
    ensure!(Instant::now() < quiet_at, "the leases were granted too slowly for their end to be watched");
    ensure!(remaining(target).await? == count, "some leases are missing");
    sleep_until(quiet_at.into()).await;
    let quiet = Puts::start(target, &BESIDE);
    sleep(QUIET).await;
    let quiet = quiet.stop().await?;

    sleep_until((begin + LAST_SECOND).into()).await;
    let meter = Meter::start(target)?;
    let beside = Puts::start(target, &BESIDE);
    let over = Cell::new(false);
    let (gone, rough) = tokio::join!(
        async {
            let gone = wait_gone(target, count, keys, &progress).await;
            over.set(true);
            gone
        },
        async {
            while !over.get() && Instant::now() < moment + ROUGH_MAX {
                sleep(LOOK).await;
            }
            beside.stop().await
        }
    );
    let (gone, rough) = (gone?, rough?);
    let used = meter.used()?;
    let (calm, rough_ms) = (quiet.latency_us.p99 / 1000.0, rough.latency_us.p99 / 1000.0);
    let mut figures = vec![
        Figure::new(
            "gone after the TTL s",
            gone.saturating_duration_since(moment).as_secs_f64(),
            Wanted::AtMost(5.0),
        ),
        Figure::new("put p99 ms before", calm, Wanted::Less),
        Figure::new("put p99 ms meanwhile", rough_ms, Wanted::Less),
        Figure::new("put p99 meanwhile / before", rough_ms / calm.max(1e-9), Wanted::AtMost(2.0)),
        Figure::new("put slowest ms meanwhile", rough.latency_us.max / 1000.0, Wanted::Less),
    ];
    figures.extend(used.figures());
    Ok(figures)
}

/// Grants leases 1 to `count`, each to end in the second before `moment`, and gives each its key.
async fn grant_all(target: &Target, count: u64, moment: Instant, keys: bool) -> Result<()> {
    many::call(&target.authority, GRANT, count, |at, out| {
        let left = moment.saturating_duration_since(Instant::now());
        grant(at + 1, left.as_secs().max(1), out);
    })
    .await?;
    if keys {
        many::call(&target.authority, PUT, count, |at, out| {
            pb::put_bytes(out, 1, &key('l', at));
            pb::put_bytes(out, 2, b"leased");
            pb::put_number(out, 3, at + 1);
        })
        .await?;
    }
    Ok(())
}

/// When the last lease, or its key, was found gone.
async fn wait_gone(target: &Target, count: u64, keys: bool, progress: &Progress) -> Result<Instant> {
    if keys {
        progress.wait_heard(count, GONE_MAX).await?;
        return Ok(progress.last.get());
    }
    let begin = Instant::now();
    loop {
        let left = remaining(target).await?;
        if left == 0 {
            return Ok(Instant::now());
        }
        if begin.elapsed() > GONE_MAX {
            bail!("{left} leases are left {} s after their time", GONE_MAX.as_secs());
        }
        sleep(LOOK).await;
    }
}

async fn remaining(target: &Target) -> Result<u64> {
    let answer = Caller::connect_for(&target.authority, LEASES).await?.call(b"").await?;
    Ok(pb::messages(&answer, 2).count() as u64)
}
