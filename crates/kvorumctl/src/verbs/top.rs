//! `top`: the members and what they do, again and again.
//!
//! On a terminal it draws over what it drew; elsewhere each look is some lines. It asks for what members tell anyway, so
//! that looking costs them next to nothing; `--hot` watches every key and costs more.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use client::{Endpoint, Watch};
use proto::etcdserverpb::{
    AlarmRequest, AlarmType, LeaseLeasesRequest, MemberListRequest, StatusRequest, StatusResponse,
    WatchCreateRequest,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::interval;

use super::endpoint::endpoints;
use super::metrics::{self, Metrics, seconds};
use super::signal::Stop;
use crate::command_line::duration;
use crate::failure::{Done, Failure};
use crate::go;
use crate::output::{Fields, Output, Shown, print};
use crate::session::Session;

/// Before a single look, so that there are rates.
const FIRST: Duration = Duration::from_secs(1);
/// Prefixes that are counted, and shown.
const PREFIXES_MAX: usize = 10_000;
const PREFIXES_SHOWN: usize = 5;
/// What draws over what was drawn: home, and what is below goes.
const AGAIN: &str = "\x1b[H\x1b[J";

#[derive(Debug, Args)]
#[command(
    after_help = "puts, reads, txns and v2 are requests in a second; sync is what 99 % of the log's syncs took at most since \
                  the last look; lag is how many entries a member has not applied of those that the leader has.\n\n\
                  Examples:\n  kvorumctl top\n  kvorumctl top --once -w json\n  kvorumctl top --hot --every 5s"
)]
pub(crate) struct Top {
    /// One look, and the end.
    #[arg(long)]
    once: bool,
    /// How often.
    #[arg(long, default_value = "2s", value_parser = duration, value_name = "TIME")]
    every: Duration,
    /// Shows where most changes are, by watching every key: the members have to send all of them.
    #[arg(long)]
    hot: bool,
    /// How many parts of a key, with / between them, make a hot prefix.
    #[arg(long, default_value_t = 2, value_name = "PARTS")]
    depth: usize,
}

/// What one member told in one look.
#[derive(Clone, Debug, Default)]
struct Seen {
    status: Option<StatusResponse>,
    way: Duration,
    metrics: Option<Metrics>,
}

/// A row of the picture.
#[derive(Clone, Debug, Default)]
struct Row {
    name: String,
    role: &'static str,
    version: String,
    size: u64,
    puts: f64,
    reads: f64,
    txns: f64,
    v2: f64,
    watchers: f64,
    sync: Option<f64>,
    lag: u64,
    way: Duration,
    cpu: f64,
    memory: f64,
}

/// Everything that is drawn.
#[derive(Debug, Default)]
struct Picture {
    revision: i64,
    keys: Option<f64>,
    leases: Option<usize>,
    alarms: Vec<String>,
    rows: Vec<Row>,
    hot: Option<Vec<(String, f64)>>,
}

/// Changes by prefix since the last look.
#[derive(Debug, Default)]
struct Heat(BTreeMap<Vec<u8>, u64>);

impl Top {
    pub(crate) async fn run(self, session: &Session) -> Done {
        let mut stop = Stop::listen()?;
        tokio::select! {
            done = Box::pin(self.look_on(session)) => done,
            () = stop.heard() => Ok(()),
        }
    }

    async fn look_on(&self, session: &Session) -> Done {
        let places = endpoints(session, true)
            .await
            .or_else(|_| Ok::<_, Failure>(session.client.endpoints().cloned().collect()))?;
        let mut before = look(session, &places).await;
        let mut since = Instant::now();
        if before.iter().all(|seen| seen.status.is_none()) {
            return Err(Failure::error("no member answers"));
        }
        let mut watch = self.hot.then(|| {
            let everything = Bytes::from_static(b"\0");
            let create =
                WatchCreateRequest { key: everything.clone(), range_end: everything, ..Default::default() };
            Watch::open(&session.client, create)
        });
        let mut heat = Heat::default();
        let mut ticks = interval(if self.once { FIRST } else { self.every.max(Duration::from_millis(100)) });
        ticks.tick().await;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                Some(answer) = next(&mut watch) => {
                    for pair in answer?.events.iter().filter_map(|event| event.kv.as_ref()) {
                        heat.add(&pair.key, self.depth);
                    }
                    continue;
                }
            }
            let now = look(session, &places).await;
            let mut picture = picture(session, &places, &before, &now, since.elapsed()).await;
            if self.hot {
                picture.hot = Some(heat.hottest(since.elapsed()));
            }
            (before, since) = (now, Instant::now());
            if !self.once && io::stdout().is_terminal() {
                print(AGAIN.as_bytes())?;
            }
            session.show(&picture)?;
            if self.once {
                return Ok(());
            }
        }
    }
}

/// What a watch brings next; nothing ever where there is none.
async fn next(watch: &mut Option<Watch>) -> Option<Result<proto::etcdserverpb::WatchResponse, Failure>> {
    match watch {
        Some(watch) => Some(watch.next().await?.map_err(Failure::from)),
        None => std::future::pending().await,
    }
}

impl Heat {
    fn add(&mut self, key: &[u8], depth: usize) {
        let ends = key.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'/');
        let end = ends.map(|(at, _)| at + 1).take(depth.max(1)).last().unwrap_or(key.len());
        let prefix = key.get(..end).unwrap_or(key);
        if let Some(count) = self.0.get_mut(prefix) {
            *count += 1;
        } else if self.0.len() < PREFIXES_MAX {
            self.0.insert(prefix.to_vec(), 1);
        }
    }

    /// The hottest ones with their changes in a second; what was counted is forgotten.
    fn hottest(&mut self, within: Duration) -> Vec<(String, f64)> {
        let mut all: Vec<_> = std::mem::take(&mut self.0).into_iter().collect();
        all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let shown = |(prefix, count): (Vec<u8>, u64)| {
            (go::quoted(&prefix), count as f64 / within.as_secs_f64().max(0.001))
        };
        all.into_iter().take(PREFIXES_SHOWN).map(shown).collect()
    }
}

/// Asks all at the same time; answers in their order.
async fn look(session: &Session, places: &[Endpoint]) -> Vec<Seen> {
    let mut asked = JoinSet::new();
    for (at, place) in places.iter().enumerate() {
        let (client, place, patience) = (session.client.only(place), place.clone(), session.patience());
        asked.spawn(async move {
            let begun = Instant::now();
            let status = client.call(StatusRequest {}, patience).await.ok();
            let way = begun.elapsed();
            let metrics = metrics::fetch(&client, &place, patience).await.map(|(metrics, _)| metrics);
            (at, Seen { status, way, metrics })
        });
    }
    let mut seen = asked.join_all().await;
    seen.sort_by_key(|(at, _)| *at);
    seen.into_iter().map(|(_, seen)| seen).collect()
}

async fn picture(
    session: &Session,
    places: &[Endpoint],
    before: &[Seen],
    now: &[Seen],
    within: Duration,
) -> Picture {
    let members = session.call(MemberListRequest { linearizable: false }).await.map(|list| list.members);
    let members = members.unwrap_or_default();
    let alarms = session.call(AlarmRequest::default()).await.map(|answer| answer.alarms).unwrap_or_default();
    let leases = session.call(LeaseLeasesRequest {}).await.ok().map(|answer| answer.leases.len());
    let applied = now.iter().filter_map(|seen| seen.status.as_ref()).map(|status| status.raft_index).max();
    let rows = places.iter().zip(before).zip(now).map(|((place, before), now)| {
        let id = now.status.as_ref().and_then(|status| status.header).map(|header| header.member_id);
        let member = members.iter().find(|member| {
            Some(member.id) == id || member.client_ur_ls.iter().any(|url| url == place.as_str())
        });
        let name = member.map(|member| member.name.clone()).filter(|name| !name.is_empty());
        row(name.unwrap_or_else(|| place.to_string()), before, now, applied.unwrap_or(0), within)
    });
    let word = |kind: i32| AlarmType::try_from(kind).map_or("alarm", |kind| kind.as_str_name());
    let statuses = now.iter().filter_map(|seen| seen.status.as_ref());
    let keys = now.iter().filter_map(|seen| seen.metrics.as_ref()?.sum("etcd_debugging_mvcc_keys_total"));
    Picture {
        revision: statuses
            .filter_map(|status| status.header)
            .map(|header| header.revision)
            .max()
            .unwrap_or(0),
        keys: keys.reduce(f64::max),
        leases,
        alarms: alarms.iter().map(|alarm| word(alarm.alarm).to_owned()).collect(),
        rows: rows.collect(),
        hot: None,
    }
}

fn row(name: String, before: &Seen, now: &Seen, applied: u64, within: Duration) -> Row {
    let Some(status) = &now.status else { return Row { name, role: "silent", ..Row::default() } };
    let id = status.header.map(|header| header.member_id);
    let role = match status {
        status if Some(status.leader) == id => "leader",
        status if status.is_learner => "learner",
        _ => "follower",
    };
    let all = now.metrics.clone().unwrap_or_default();
    let new = before.metrics.as_ref().map(|before| all.since(before)).unwrap_or_default();
    let rate = |names: &[&str]| {
        let sum: f64 = names.iter().filter_map(|name| new.sum(name)).sum();
        sum / within.as_secs_f64().max(0.001)
    };
    Row {
        name,
        role,
        version: status.version.clone(),
        size: status.db_size.unsigned_abs(),
        puts: rate(&["etcd_mvcc_put_total", "etcd_mvcc_delete_total"]),
        reads: rate(&["etcd_mvcc_range_total"]),
        txns: rate(&["etcd_mvcc_txn_total"]),
        v2: rate(&["etcd_debugging_store_reads_total", "etcd_debugging_store_writes_total"]),
        watchers: all.sum("etcd_debugging_mvcc_watcher_total").unwrap_or(0.0)
            + all.sum("etcd_debugging_store_watchers").unwrap_or(0.0),
        sync: new.quantile("etcd_disk_wal_fsync_duration_seconds", 0.99),
        lag: applied.saturating_sub(status.raft_applied_index),
        way: now.way,
        cpu: rate(&["process_cpu_seconds_total"]) * 100.0,
        memory: all.sum("process_resident_memory_bytes").unwrap_or(0.0),
    }
}

impl Shown for Picture {
    fn simple(&self, _output: Output) -> Vec<u8> {
        let mut text = format!("revision {}", self.revision);
        let _ = self.keys.map(|keys| write!(text, ", {keys:.0} keys"));
        let _ = self.leases.map(|leases| write!(text, ", {leases} leases"));
        let alarms = if self.alarms.is_empty() { "none".to_owned() } else { self.alarms.join(" ") };
        let _ = writeln!(text, ", alarms: {alarms}");
        let titles = [
            "member", "role", "size", "puts", "reads", "txns", "v2", "watch", "sync", "lag", "way", "cpu",
            "mem",
        ];
        let mut rows = vec![titles.map(str::to_owned).to_vec()];
        for row in &self.rows {
            let whole = |number: f64| format!("{number:.0}");
            let compact = |text: String| text.replace(' ', "");
            rows.push(vec![
                row.name.clone(),
                row.role.to_owned(),
                compact(go::size(row.size)),
                whole(row.puts),
                whole(row.reads),
                whole(row.txns),
                whole(row.v2),
                whole(row.watchers),
                row.sync.map_or("-".to_owned(), |sync| compact(seconds(sync))),
                row.lag.to_string(),
                compact(seconds(row.way.as_secs_f64())),
                format!("{:.0}%", row.cpu),
                compact(go::size(row.memory as u64)),
            ]);
        }
        let width =
            |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..titles.len()).map(|at| width(at).unwrap_or(0)).collect();
        for row in &rows {
            for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let _ = match at {
                    0 => write!(text, "{cell:<width$}"),
                    1 => write!(text, " {cell:<width$}"),
                    _ => write!(text, " {cell:>width$}"),
                };
            }
            text.push('\n');
        }
        for (prefix, rate) in self.hot.iter().flatten() {
            let _ = writeln!(text, "{rate:>8.1} changes/s  {prefix}");
        }
        text.into_bytes()
    }

    fn json(&self, _output: Output) -> Value {
        let row = |row: &Row| {
            json!({
                "name": row.name,
                "role": row.role,
                "version": row.version,
                "dbSize": row.size,
                "putsPerSecond": row.puts,
                "readsPerSecond": row.reads,
                "txnsPerSecond": row.txns,
                "v2PerSecond": row.v2,
                "watchers": row.watchers,
                "syncP99Seconds": row.sync.filter(|sync| sync.is_finite()),
                "lagEntries": row.lag,
                "roundTripSeconds": row.way.as_secs_f64(),
                "cpuPercent": row.cpu,
                "memoryBytes": row.memory,
            })
        };
        let hot = |(prefix, rate): &(String, f64)| json!({"prefix": prefix, "changesPerSecond": rate});
        json!({
            "revision": self.revision,
            "keys": self.keys,
            "leases": self.leases,
            "alarms": self.alarms,
            "members": self.rows.iter().map(row).collect::<Value>(),
            "hot": self.hot.as_ref().map(|all| all.iter().map(hot).collect::<Value>()),
        })
    }

    fn fields(&self, _output: Output) -> Fields {
        let mut fields = Fields::default();
        fields.value("Revision", self.revision);
        for row in &self.rows {
            fields.gap();
            fields.quoted("Member", row.name.as_bytes());
            fields.quoted("Role", row.role.as_bytes());
            fields.value("PutsPerSecond", row.puts);
            fields.value("ReadsPerSecond", row.reads);
            fields.value("Watchers", row.watchers);
            fields.value("LagEntries", row.lag);
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_counted_by_prefix() {
        let mut heat = Heat::default();
        for key in ["/a/b/c", "/a/b/d", "/a/x", "alone", "/a/b/e/f"] {
            heat.add(key.as_bytes(), 2);
        }
        let hottest = heat.hottest(Duration::from_secs(1));
        assert_eq!(hottest.first(), Some(&("\"/a/b/\"".to_owned(), 3.0)));
        assert_eq!(hottest.len(), 3);
        assert!(heat.hottest(Duration::from_secs(1)).is_empty());
    }
}
