//! etcd's metrics: each family is here, of the same kind, with the same labels and bounds, or stands in [`ABSENT`] with
//! its reason.
//!
//! `tests/compat/metrics.names` lists what etcd has had since 3.4; real etcd, 3.4.23 and 3.5.1, is asked too, so that the
//! list says no less than the truth.

mod exposition;
mod stage;

use std::collections::BTreeSet;
use std::fs;

use ::tests::{Program, Release};
use anyhow::{Context, ensure};

use crate::exposition::{Families, Family};

const BBOLT: &str = "a part of a commit of bbolt, which is not used here";
const PROXY: &str = "there is no proxy";
const NOT_YET: &str = "it has labels, and is there when it has happened, which it does not in this test";
const RUNS: &str = "entries are applied in runs, timed as etcd_disk_backend_commit_duration_seconds";
const V2_SNAPSHOT: &str = "a part of etcd's snapshots of v2, which are not made here";
const TIMED: &str =
    "grpc_server_* and etcd_disk_* tell where time goes without a clock read for each request";
const LOOPS: &str = "a part of etcd's loop over a stream of watches";

/// Families of etcd that no member tells in the end, and why.
const ABSENT: &[(&str, &str)] = &[
    ("etcd_debugging_disk_backend_commit_rebalance_duration_seconds", BBOLT),
    ("etcd_debugging_disk_backend_commit_spill_duration_seconds", BBOLT),
    ("etcd_debugging_disk_backend_commit_write_duration_seconds", BBOLT),
    (
        "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds",
        "the index holds living keys alone and is not compacted",
    ),
    ("etcd_debugging_server_alarms", NOT_YET),
    ("etcd_debugging_server_watch_send_loop_control_stream_duration_seconds", LOOPS),
    ("etcd_debugging_server_watch_send_loop_progress_duration_seconds", LOOPS),
    ("etcd_debugging_server_watch_send_loop_watch_stream_duration_per_event_seconds", LOOPS),
    ("etcd_debugging_server_watch_send_loop_watch_stream_duration_seconds", LOOPS),
    ("etcd_debugging_snap_save_marshalling_duration_seconds", V2_SNAPSHOT),
    ("etcd_debugging_snap_save_total_duration_seconds", V2_SNAPSHOT),
    ("etcd_disk_wal_write_duration_seconds", "what is written is synced at once: etcd_disk_wal_fsync_*"),
    ("etcd_grpc_proxy_cache_hits_total", PROXY),
    ("etcd_grpc_proxy_cache_keys_total", PROXY),
    ("etcd_grpc_proxy_cache_misses_total", PROXY),
    ("etcd_grpc_proxy_events_coalescing_total", PROXY),
    ("etcd_grpc_proxy_watchers_coalescing_total", PROXY),
    ("etcd_network_peer_received_failures_total", "a stream that breaks counts as a lost peer, at both ends"),
    ("etcd_network_server_stream_failures_total", "a stream that fails is in grpc_server_handled_total"),
    ("etcd_network_snapshot_receive_failures", NOT_YET),
    ("etcd_network_snapshot_send_failures", NOT_YET),
    ("etcd_proxy_dropped_total", PROXY),
    ("etcd_proxy_handled_total", PROXY),
    ("etcd_proxy_handling_duration_seconds", PROXY),
    ("etcd_proxy_requests_total", PROXY),
    ("etcd_server_apply_duration_seconds", RUNS),
    ("etcd_server_go_version", "there is no Go"),
    ("etcd_server_healthcheck", "the answers of /livez and /readyz tell of each check"),
    ("etcd_server_healthchecks_total", "the same"),
    ("etcd_server_range_duration_seconds", TIMED),
    ("etcd_server_request_duration_seconds", TIMED),
    ("etcd_snap_fsync_duration_seconds", V2_SNAPSHOT),
];

/// What etcd's mixin (alerts and dashboard), the Grafana dashboard of its documentation, which is number 3070, and the alerts of
/// 3.4's time query.
const QUERIED: [&str; 27] = [
    "etcd_server_has_leader",
    "etcd_server_leader_changes_seen_total",
    "etcd_server_proposals_failed_total",
    "etcd_server_proposals_committed_total",
    "etcd_server_proposals_applied_total",
    "etcd_server_proposals_pending",
    "etcd_server_quota_backend_bytes",
    "etcd_mvcc_db_total_size_in_bytes",
    "etcd_mvcc_db_total_size_in_use_in_bytes",
    "etcd_debugging_mvcc_db_total_size_in_bytes",
    "etcd_disk_wal_fsync_duration_seconds",
    "etcd_disk_backend_commit_duration_seconds",
    "etcd_network_client_grpc_received_bytes_total",
    "etcd_network_client_grpc_sent_bytes_total",
    "etcd_network_peer_received_bytes_total",
    "etcd_network_peer_sent_bytes_total",
    "etcd_network_peer_sent_failures_total",
    "etcd_network_peer_round_trip_time_seconds",
    "etcd_http_received_total",
    "etcd_http_failed_total",
    "etcd_http_successful_duration_seconds",
    "grpc_server_started_total",
    "grpc_server_handled_total",
    "grpc_server_handling_seconds",
    "process_resident_memory_bytes",
    "process_open_fds",
    "process_max_fds",
];

/// Families that come from libraries of Go.
const OF_GO: [&str; 2] = ["go_", "promhttp_"];

/// The list of what etcd has ever had. A kind stands for itself; so do labels and bounds.
fn known() -> anyhow::Result<Families> {
    let text = fs::read_to_string(::tests::root().join("tests/compat/metrics.names"))?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| family(line).with_context(|| line.to_owned())).collect()
}

/// `name;type;labels;versions;buckets`.
fn family(line: &str) -> anyhow::Result<(String, Family)> {
    let parts: Vec<&str> = line.split(';').collect();
    let [name, kind, labels, _, bounds] = parts.as_slice() else { anyhow::bail!("not five parts") };
    let labels = labels.split(',').filter(|label| !label.is_empty()).map(str::to_owned).collect();
    let family = Family { kind: (*kind).to_owned(), labels, bounds: series(bounds)?, has_rows: true };
    Ok(((*name).to_owned(), family))
}

/// `E(start,factor,count)`.
fn series(text: &str) -> anyhow::Result<Vec<f64>> {
    let Some(inner) = text.strip_prefix("E(").and_then(|text| text.strip_suffix(')')) else {
        ensure!(text.is_empty(), "a series that is not known: {text}");
        return Ok(Vec::new());
    };
    let numbers = inner.split(',').map(str::parse::<f64>).collect::<Result<Vec<_>, _>>()?;
    let [start, factor, count] = numbers.as_slice() else { anyhow::bail!("not three numbers") };
    Ok((0..*count as i32).map(|power| start * factor.powi(power)).collect())
}

/// How one family differs from another that should be the same. What has no row tells its kind only.
fn difference(ours: &Family, theirs: &Family) -> Option<String> {
    let near = |(one, other): (&f64, &f64)| (one - other).abs() <= other * 1e-9;
    if ours.kind != theirs.kind {
        return Some(format!("is a {}, and a {} in etcd", ours.kind, theirs.kind));
    }
    if !ours.has_rows || !theirs.has_rows {
        return None;
    }
    if ours.labels != theirs.labels {
        return Some(format!("has the labels {:?}, and {:?} in etcd", ours.labels, theirs.labels));
    }
    let same = ours.bounds.len() == theirs.bounds.len() && ours.bounds.iter().zip(&theirs.bounds).all(near);
    (!same).then(|| format!("has the bounds {:?}, and {:?} in etcd", ours.bounds, theirs.bounds))
}

/// Every family of etcd against those of a program, with those that may be absent.
fn compare(ours: &Families, theirs: &Families, absent: &BTreeSet<&str>, wrong: &mut Vec<String>) {
    for (name, family) in theirs {
        if OF_GO.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        match ours.get(name) {
            Some(found) => {
                wrong.extend(difference(found, family).map(|how| format!("{name} {how}")));
                if absent.contains(name.as_str()) {
                    wrong.push(format!("{name} is here, and listed as absent"));
                }
            }
            None if absent.contains(name.as_str()) => {}
            None => wrong.push(format!("{name} is not here")),
        }
    }
}

#[test]
fn every_family_of_etcd_is_here_or_has_its_reason() -> anyhow::Result<()> {
    let ours = stage::play(&Program::kvorum()?)?;
    let known = known()?;
    let absent: BTreeSet<&str> = ABSENT.iter().map(|(name, _)| *name).collect();
    let mut wrong = Vec::new();
    compare(&ours, &known, &absent, &mut wrong);
    let mut queried: BTreeSet<String> = QUERIED.iter().map(ToString::to_string).collect();
    for file in ["prometheus/alerts.yaml", "grafana/dashboards/kvorum.json"] {
        let text = fs::read_to_string(::tests::root().join("docker").join(file))?;
        let names = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let names = names.filter(|name| {
            // Certificates are there with TLS alone.
            ["etcd_", "grpc_server_", "process_", "kvorum_gateway_"]
                .iter()
                .any(|start| name.starts_with(start))
        });
        queried.extend(names.map(|name| name.trim_end_matches("_bucket").to_owned()));
    }
    let missing = queried.iter().filter(|name| !ours.contains_key(*name));
    wrong.extend(missing.map(|name| format!("{name} is queried by dashboards or alerts, and is not here")));
    for release in Release::ALL {
        let theirs = stage::play(&Program::release(release)?)?;
        let before = wrong.len();
        compare(&ours, &theirs, &absent, &mut wrong);
        // The list is etcd's own: gRPC's families and the process' are not in it.
        let own = theirs.into_iter().filter(|(name, _)| name.starts_with("etcd_")).collect();
        compare(&known, &own, &BTreeSet::new(), &mut wrong);
        for line in wrong.iter_mut().skip(before) {
            *line = format!("{line} ({})", release.version());
        }
    }
    let unheard = absent.iter().filter(|name| !known.contains_key(**name));
    wrong.extend(unheard.map(|name| format!("{name} is listed as absent, and etcd has never had it")));
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn differences_are_seen() -> anyhow::Result<()> {
    let (_, family) = family("a;histogram;To;all;E(0.1,2,3)")?;
    let seen = |change: fn(&mut Family)| {
        let mut other = family.clone();
        change(&mut other);
        difference(&other, &family).is_some()
    };
    ensure!(!seen(|_| ()) && !seen(|family| family.bounds = vec![0.1, 0.2, 0.4]), "they are the same");
    ensure!(seen(|family| family.kind = "gauge".to_owned()), "another kind");
    ensure!(seen(|family| family.labels.extend(["From".to_owned()])), "one more label");
    ensure!(seen(|family| family.bounds.truncate(2)), "a bound less");
    ensure!(seen(|family| family.bounds[0] = 0.11), "another bound");
    Ok(())
}
