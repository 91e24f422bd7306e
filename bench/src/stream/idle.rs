//! What a watch costs in memory while nothing happens, and what a stream does.

use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::link::Progress;
use super::meter::Meter;
use super::watch::{self, Asked, Crowd};
use super::{Figure, Target, Wanted};
use crate::proc;

/// The server may do its chores before its memory is looked at.
const SETTLE: Duration = Duration::from_secs(3);

/// How idle watches are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Idle {
    streams: u64,
    watches: u64,
    /// Bytes that one of them may take.
    bytes_max: Option<u64>,
}

const LINKS: u64 = 10;

impl Idle {
    /// Many watches on few streams.
    pub(super) const WATCHES: Self = Self { streams: 1, watches: 10_000, bytes_max: Some(200) };
    /// Many streams with one watch each.
    pub(super) const STREAMS: Self = Self { streams: 1000, watches: 1, bytes_max: None };

    fn crowd(self, scale: u64) -> Crowd {
        if self.streams == 1 {
            Crowd { links: LINKS, streams: 1, watches: (self.watches / scale).max(1) }
        } else {
            Crowd { links: LINKS, streams: (self.streams / scale).max(1), watches: self.watches }
        }
    }

    /// What is done.
    pub(super) fn title(self, scale: u64) -> String {
        let crowd = self.crowd(scale);
        format!("{} idle watches on {} streams, {LINKS} connections", crowd.count(), LINKS * crowd.streams)
    }

    /// Runs it.
    pub(super) async fn measure(self, target: &Target, scale: u64) -> Result<Vec<Figure>> {
        let crowd = self.crowd(scale);
        sleep(SETTLE).await;
        let before = proc::memory(target.pid)?;
        let meter = Meter::start(target)?;
        let (progress, mut tasks) = (Progress::new(), JoinSet::new());
        let asked = Asked { keys: crowd.count(), start_revision: 0 };
        watch::create(&target.authority, crowd, asked, &progress, &mut tasks).await?;
        let used = meter.used()?;
        sleep(SETTLE).await;
        let after = proc::memory(target.pid)?;
        progress.check()?;
        let each = |kib: u64| kib as f64 * 1024.0 / crowd.count() as f64;
        let wanted = self.bytes_max.map_or(Wanted::Less, |bytes| Wanted::AtMost(bytes as f64));
        let mut figures = vec![
            Figure::new(
                "RSS bytes for each of them",
                each(after.rss_kib.saturating_sub(before.rss_kib)),
                wanted,
            ),
            Figure::new(
                "of them anonymous",
                each(after.anon_kib.saturating_sub(before.anon_kib)),
                Wanted::Less,
            ),
            Figure::new("created/s", crowd.count() as f64 / used.seconds, Wanted::More),
        ];
        figures.extend(used.figures());
        Ok(figures)
    }
}
