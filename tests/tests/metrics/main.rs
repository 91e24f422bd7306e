//! The names of etcd's metrics: each is here, of the same kind, or stands in [`ABSENT`] with its reason.
//!
//! `tests/compat/metrics.names` lists what etcd has had since 3.4; a real etcd is asked too, so that the list is not
//! shorter than the truth.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use ::tests::{Node, Program, http1};
use anyhow::{Context, ensure};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

const BBOLT: &str = "a part of a commit of bbolt, which is not used here";
const PROXY: &str = "there is no proxy";
const LATER: &str = "it has labels, and is there when it has happened";
const RUNS: &str = "entries are applied in runs, timed as etcd_disk_backend_commit_duration_seconds";
const OFFER: &str =
    "a snapshot is fetched by who needs it and counted there, etcd_network_snapshot_receive_*";
const V2_SNAPSHOT: &str = "a part of etcd's snapshots of v2, which are not made here";
const TIMED: &str =
    "grpc_server_* and etcd_disk_* tell where time goes without a clock read for each request";
const LOOPS: &str = "a part of etcd's loop over a stream of watches";

/// Families of etcd that are not in a member's first answer, and why.
const ABSENT: &[(&str, &str)] = &[
    ("etcd_debugging_auth_revision", "there are no users yet"),
    ("etcd_debugging_disk_backend_commit_rebalance_duration_seconds", BBOLT),
    ("etcd_debugging_disk_backend_commit_spill_duration_seconds", BBOLT),
    ("etcd_debugging_disk_backend_commit_write_duration_seconds", BBOLT),
    (
        "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds",
        "the index holds living keys alone and is not compacted",
    ),
    ("etcd_debugging_server_alarms", LATER),
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
    ("etcd_http_failed_total", LATER),
    ("etcd_network_active_peers", LATER),
    ("etcd_network_disconnected_peers_total", LATER),
    ("etcd_network_known_peers", LATER),
    ("etcd_network_peer_received_bytes_total", LATER),
    ("etcd_network_peer_received_failures_total", "a stream that breaks counts as a lost peer, at both ends"),
    ("etcd_network_peer_round_trip_time_seconds", LATER),
    ("etcd_network_peer_sent_bytes_total", LATER),
    ("etcd_network_peer_sent_failures_total", LATER),
    ("etcd_network_server_stream_failures_total", "a stream that fails is in grpc_server_handled_total"),
    ("etcd_network_snapshot_receive_failures", LATER),
    ("etcd_network_snapshot_receive_inflights_total", LATER),
    ("etcd_network_snapshot_receive_success", LATER),
    ("etcd_network_snapshot_receive_total_duration_seconds", LATER),
    ("etcd_network_snapshot_send_failures", OFFER),
    ("etcd_network_snapshot_send_inflights_total", OFFER),
    ("etcd_network_snapshot_send_success", OFFER),
    ("etcd_network_snapshot_send_total_duration_seconds", OFFER),
    ("etcd_proxy_dropped_total", PROXY),
    ("etcd_proxy_handled_total", PROXY),
    ("etcd_proxy_handling_duration_seconds", PROXY),
    ("etcd_proxy_requests_total", PROXY),
    ("etcd_server_apply_duration_seconds", RUNS),
    ("etcd_server_feature_enabled", "there are no feature gates"),
    ("etcd_server_go_version", "there is no Go"),
    ("etcd_server_healthcheck", "the answers of /livez and /readyz tell of each check"),
    ("etcd_server_healthchecks_total", "the same"),
    ("etcd_server_range_duration_seconds", TIMED),
    ("etcd_server_request_duration_seconds", TIMED),
    ("etcd_snap_db_fsync_duration_seconds", "a part of etcd_snap_db_save_total_duration_seconds"),
    ("etcd_snap_fsync_duration_seconds", V2_SNAPSHOT),
];

/// Families that come from libraries of Go.
const OF_GO: [&str; 2] = ["go_", "promhttp_"];

/// Name and kind of every family that a server shows.
fn families(address: SocketAddr) -> anyhow::Result<BTreeMap<String, String>> {
    let request = http1::request("GET", "/metrics", &[], None);
    let text = http1::exchange(address, &request, PATIENCE).context("ask for metrics")?.body_text();
    let heads = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let families = heads.filter_map(|head| head.split_once(' '));
    Ok(families.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect())
}

fn known() -> anyhow::Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(::tests::root().join("tests/compat/metrics.names"))?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pair = |line: &str| {
        let mut parts = line.split(';').map(str::to_owned);
        Some((parts.next()?, parts.next()?))
    };
    Ok(lines.filter_map(pair).collect())
}

#[test]
fn every_family_of_etcd_is_here_or_has_its_reason() -> anyhow::Result<()> {
    let kvorum = Node::start(&Program::kvorum()?, &[])?;
    let ours = families(kvorum.address())?;
    let known = known()?;
    let absent: BTreeMap<&str, &str> = ABSENT.iter().copied().collect();
    let mut wrong = Vec::new();
    for (name, kind) in &known {
        match (ours.get(name), absent.get(name.as_str())) {
            (Some(found), None) if found == kind => {}
            (Some(found), None) => wrong.push(format!("{name} is a {found}, and a {kind} in etcd")),
            (Some(_), Some(_)) => wrong.push(format!("{name} is here, and listed as absent")),
            (None, Some(_)) => {}
            (None, None) => wrong.push(format!("{name} is not here")),
        }
    }
    wrong.extend(
        absent
            .keys()
            .filter(|name| !known.contains_key(**name))
            .map(|name| format!("{name} is listed as absent, and etcd has never had it")),
    );
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn the_list_of_names_is_not_shorter_than_the_truth() -> anyhow::Result<()> {
    let etcd = Node::start(&Program::etcd()?, &[])?;
    let kvorum = Node::start(&Program::kvorum()?, &[])?;
    let (theirs, ours, known) = (families(etcd.address())?, families(kvorum.address())?, known()?);
    let mut wrong = Vec::new();
    for (name, kind) in theirs {
        if OF_GO.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        // Those of gRPC and of the process are not in the list, which is etcd's own.
        let found = if name.starts_with("etcd_") { known.get(&name) } else { ours.get(&name) };
        if found != Some(&kind) {
            wrong.push(format!("{name} is a {kind} in etcd, and here {found:?}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
