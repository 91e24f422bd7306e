//! Many keys: how fast they go in, what they cost in memory and on disk, how long a restart takes, and whether
//! a page at the end of a walk costs more than one at the beginning.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::filling::Filling;
use super::server::Server;
use super::systems::System;
use crate::call::Caller;
use crate::load::Report;
use crate::proc::Memory;
use crate::wire::protobuf as pb;
use crate::workload::Kind;

const PAGE_KEYS: u64 = 500;
/// Pages at the beginning, in the middle and at the end whose median is shown.
const PAGES_SHOWN: usize = 20;
/// A server that has just been filled may do its chores before its memory is looked at.
const SETTLE: Duration = Duration::from_secs(3);
const CLIENTS: usize = 8;

/// A paged walk over all keys, in milliseconds for each page.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Walk {
    /// Pages in all.
    pub(super) pages: usize,
    /// Median of the first pages.
    pub(super) first_ms: f64,
    /// Median of pages in the middle.
    pub(super) middle_ms: f64,
    /// Median of the last pages.
    pub(super) last_ms: f64,
    /// The slowest of all.
    pub(super) max_ms: f64,
    /// The whole walk.
    pub(super) seconds: f64,
}

/// What a server with many keys looks like.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Million {
    /// tmpfs or disk.
    pub(super) medium: String,
    /// The server's name.
    pub(super) system: String,
    /// How many keys.
    pub(super) keys: u64,
    /// Writing them.
    pub(super) fill: Report,
    /// Memory some seconds after that.
    pub(super) memory: Memory,
    /// Bytes on disk then.
    pub(super) disk_bytes: u64,
    /// Start after SIGTERM until a linearizable read found the last key, in seconds.
    pub(super) restart_seconds: f64,
    /// Memory after that start.
    pub(super) memory_restarted: Memory,
    /// Start after SIGKILL, likewise.
    pub(super) crash_seconds: f64,
    /// The walk after that start.
    pub(super) walk: Walk,
    /// Memory after the walk.
    pub(super) memory_walked: Memory,
}

/// Measures one server with `keys` keys in `folder`.
pub(super) async fn measure(
    system: &System,
    medium: &str,
    folder: &Path,
    keys: u64,
    live: bool,
) -> Result<Million> {
    let mut server = Server::start(system, folder).await?;
    let fill = fill(&server, keys, live).await?;
    sleep(SETTLE).await;
    let memory = server.memory()?;
    let disk_bytes = server.disk_bytes()?;
    let last = format!("k{:07}", keys - 1).into_bytes();

    server.stop().await?;
    let restart = server.restart(system, &last).await?;
    let memory_restarted = server.memory()?;
    // Some writes of keys that are there, so that the crash finds something fresh in the log.
    self::fill(&server, 10_000.min(keys), false).await?;
    server.kill()?;
    let crash = server.restart(system, &last).await?;

    let walk = walk(&server.authority(), keys).await?;
    let memory_walked = server.memory()?;
    server.stop().await?;
    Ok(Million {
        medium: medium.to_owned(),
        system: system.name.clone(),
        keys,
        fill,
        memory,
        disk_bytes,
        restart_seconds: restart.as_secs_f64(),
        memory_restarted,
        crash_seconds: crash.as_secs_f64(),
        walk,
        memory_walked,
    })
}

async fn fill(server: &Server, keys: u64, live: bool) -> Result<Report> {
    let (endpoints, server_pids) = (vec![server.authority()], vec![server.pid()]);
    Filling { kind: Kind::Fill, keys, clients: CLIENTS, endpoints, server_pids, live }.run().await
}

/// Reads all keys as Kubernetes does: page by page, at the revision of the first page.
async fn walk(authority: &str, keys: u64) -> Result<Walk> {
    let mut caller = Caller::connect(authority).await?;
    let (mut from, mut revision, mut seen) = (b"k".to_vec(), 0, 0);
    let mut pages_ms = Vec::new();
    let begin = Instant::now();
    loop {
        let mut request = Vec::new();
        pb::put_bytes(&mut request, 1, &from);
        pb::put_bytes(&mut request, 2, b"l");
        pb::put_number(&mut request, 3, PAGE_KEYS);
        pb::put_number(&mut request, 4, revision);
        let asked = Instant::now();
        let answer = caller.call(&request).await?;
        pages_ms.push(asked.elapsed().as_secs_f64() * 1000.0);
        if revision == 0 {
            revision = pb::messages(&answer, 1).next().map_or(0, |header| pb::number(header, 3));
        }
        let left = keys - seen;
        ensure!(pb::number(&answer, 4) == left, "a page counts {} keys, not {left}", pb::number(&answer, 4));
        let (mut count, mut last) = (0, &[][..]);
        for pair in pb::messages(&answer, 2) {
            count += 1;
            last = pb::messages(pair, 1).next().unwrap_or_default();
        }
        ensure!(count == left.min(PAGE_KEYS), "a page holds {count} keys");
        seen += count;
        if seen == keys {
            return Ok(Walk::of(&pages_ms, begin.elapsed()));
        }
        from = [last, b"\0"].concat();
    }
}

impl Walk {
    fn of(pages_ms: &[f64], whole: Duration) -> Self {
        let shown = PAGES_SHOWN.min(pages_ms.len());
        let middle = (pages_ms.len() - shown) / 2;
        Self {
            pages: pages_ms.len(),
            first_ms: super::table::median(&pages_ms[..shown]),
            middle_ms: super::table::median(&pages_ms[middle..middle + shown]),
            last_ms: super::table::median(&pages_ms[pages_ms.len() - shown..]),
            max_ms: pages_ms.iter().copied().fold(0.0, f64::max),
            seconds: whole.as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_is_summed_up_by_its_ends_and_its_middle() {
        let pages: Vec<f64> = (0..100).map(f64::from).collect();
        let walk = Walk::of(&pages, Duration::from_secs(1));
        assert_eq!((walk.first_ms, walk.middle_ms, walk.last_ms, walk.max_ms), (9.5, 49.5, 89.5, 99.0));
        assert_eq!(Walk::of(&[3.0], Duration::ZERO).pages, 1);
    }
}
