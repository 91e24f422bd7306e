//! Many leases that expire within the same second: when the last is gone, and what puts feel meanwhile.
//!
//! They are granted one after the other, each with a time to live that ends in the same second.

use std::cell::Cell;
use std::ops::Range;
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
/// Leases that never expire, granted first to see how long the others will take.
const PILOTS: u64 = 2000;
const PILOT_TTL_S: u64 = 3600;
/// Time for granting, as often as the pilots say. Somebody else may want the machine too.
const SLACK: f64 = 1.5;
const GRANT_S_MAX: f64 = 60.0;
/// From the measurement before until the moment at which all end: the measurement, and a second and a half in which
/// the first ones end.
const QUIET_LEAD: Duration = Duration::from_millis(6500);
/// The leases end within one second, the last of them at the moment.
const LAST_SECOND: Duration = Duration::from_secs(1);
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
    let lead = pilot(target, count, keys).await?;
    let quiet_at = Instant::now() + lead;
    let moment = quiet_at + QUIET_LEAD;
    grant_all(target, 0..count, keys, |now| moment.saturating_duration_since(now).as_secs().max(1)).await?;
    if keys {
        let crowd = Crowd { links: 1, streams: 1, watches: 1 };
        let asked = Asked { keys: 0, start_revision: 0 };
        watch::create(&target.authority, crowd, asked, &progress, &mut tasks).await?;
    }
    ensure!(Instant::now() < quiet_at, "the leases were granted too slowly for their end to be watched");
    ensure!(remaining(target).await? == PILOTS + count, "some leases are missing");
    sleep_until(quiet_at.into()).await;
    let quiet = Puts::start(target, &BESIDE);
    sleep(QUIET).await;
    let quiet = quiet.stop().await?;

    sleep_until((quiet_at + QUIET_LEAD.saturating_sub(LAST_SECOND)).into()).await;
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

/// Grants some leases, and says how long it will take to grant the others.
async fn pilot(target: &Target, count: u64, keys: bool) -> Result<Duration> {
    let begin = Instant::now();
    grant_all(target, count..count + PILOTS, keys, |_| PILOT_TTL_S).await?;
    let each_s = begin.elapsed().as_secs_f64() / PILOTS as f64;
    Ok(Duration::from_secs_f64((each_s * count as f64 * SLACK).clamp(1.0, GRANT_S_MAX)))
}

/// Grants leases with these numbers, and gives each its key. `ttl_s` says what one granted now gets.
async fn grant_all(
    target: &Target,
    numbers: Range<u64>,
    keys: bool,
    ttl_s: impl Fn(Instant) -> u64,
) -> Result<()> {
    let (first, count) = (numbers.start, numbers.end - numbers.start);
    // Zero would let the server choose.
    let id = |at| first + at + 1;
    many::call(&target.authority, GRANT, count, |at, out| grant(id(at), ttl_s(Instant::now()), out)).await?;
    if keys {
        many::call(&target.authority, PUT, count, |at, out| {
            pb::put_bytes(out, 1, &key('l', first + at));
            pb::put_bytes(out, 2, b"leased");
            pb::put_number(out, 3, id(at));
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
        let left = remaining(target).await?.saturating_sub(PILOTS);
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
