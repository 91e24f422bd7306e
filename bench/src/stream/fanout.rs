//! Puts whose events go to a thousand watches: what an event costs the server, and how late it is.

use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::link::Progress;
use super::meter::{Meter, Pace, Puts};
use super::watch::{self, Asked, Crowd};
use super::{Figure, Target, Wanted};
use crate::call::Caller;
use crate::load::Report;

const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(4);
/// Time for what is late when the puts have ended.
const DRAIN_MAX: Duration = Duration::from_mins(1);
const WATCHES: u64 = 1000;
/// Clients, each with one connection.
const LINKS: u64 = 10;

/// How puts and watches are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fanout {
    /// Each watch has a key of its own; else all watch the same.
    own_keys: bool,
    /// Each watch has a stream of its own; else each connection has one stream.
    own_streams: bool,
    puts_per_second: u64,
}

impl Fanout {
    /// One key and all watches on it. The rate is one that every server keeps up with on two cores.
    pub(super) const ONE_KEY: Self = Self { own_keys: false, own_streams: false, puts_per_second: 50 };
    /// A key for each watch.
    pub(super) const OWN_KEYS: Self = Self { own_keys: true, own_streams: false, puts_per_second: 8000 };
    /// The same with few puts: what is counted is mostly waking up for each.
    pub(super) const OWN_KEYS_CALM: Self = Self { puts_per_second: 2000, ..Self::OWN_KEYS };

    /// The same with a stream for each watch.
    pub(super) const fn on_own_streams(self) -> Self {
        Self { own_streams: true, ..self }
    }

    /// What is done.
    pub(super) fn title(self, scale: u64) -> String {
        let watches = self.crowd(scale).count();
        let streams = if self.own_streams { watches } else { LINKS };
        let keys = if self.own_keys { watches } else { 1 };
        let plural = if keys == 1 { "" } else { "s" };
        format!(
            "{keys} key{plural} to {watches} watches on {streams} streams, {LINKS} connections, {} puts/s",
            self.puts_per_second
        )
    }

    fn crowd(self, scale: u64) -> Crowd {
        let each = (WATCHES / LINKS / scale).max(1);
        if self.own_streams {
            Crowd { links: LINKS, streams: each, watches: 1 }
        } else {
            Crowd { links: LINKS, streams: 1, watches: each }
        }
    }

    /// Runs it.
    pub(super) async fn measure(self, target: &Target, scale: u64) -> Result<Vec<Figure>> {
        let crowd = self.crowd(scale);
        let keys = if self.own_keys { crowd.count() } else { 1 };
        let fan = crowd.count() / keys;
        let (progress, mut tasks) = (Progress::new(), JoinSet::new());
        let asked = Asked { keys, start_revision: 0 };
        watch::create(&target.authority, crowd, asked, &progress, &mut tasks).await?;
        let pace = Pace { per_second: self.puts_per_second as f64, keys, key_bytes: 8 };
        stretch(target, &pace, WARM_UP, fan, &progress).await?;

        progress.timing.set(true);
        let before = (progress.heard.get(), progress.messages.get());
        let meter = Meter::start(target)?;
        let puts = stretch(target, &pace, MEASURED, fan, &progress).await?;
        let used = meter.used()?;
        let events = progress.heard.get() - before.0;
        let messages = progress.messages.get() - before.1;
        let delay = progress.delay_ns.borrow();
        let mut figures = vec![
            Figure::new("events per server CPU s", used.per_server_second(events), Wanted::Times(3.0)),
            Figure::new("events/s", events as f64 / used.seconds, Wanted::More),
            Figure::new("events per message", events as f64 / messages.max(1) as f64, Wanted::More),
            Figure::new("put to event p50 ms", delay.value_at_quantile(0.5) as f64 / 1e6, Wanted::Less),
            Figure::new("put to event p99 ms", delay.value_at_quantile(0.99) as f64 / 1e6, Wanted::Less),
            Figure::new("put p99 ms", puts.latency_us.p99 / 1000.0, Wanted::Less),
        ];
        figures.extend(used.figures());
        Ok(figures)
    }
}

/// Puts for so long, then waits until each of them has been heard by `fan` watches.
async fn stretch(
    target: &Target,
    pace: &Pace,
    span: Duration,
    fan: u64,
    progress: &Progress,
) -> Result<Report> {
    let mut caller = Caller::connect(&target.authority).await?;
    let (heard, before) = (progress.heard.get(), caller.census().await?.revision);
    let puts = Puts::start(target, pace);
    sleep(span).await;
    let report = puts.stop().await?;
    let written = caller.census().await?.revision - before;
    progress.wait_heard(heard + written * fan, DRAIN_MAX).await?;
    Ok(report)
}
