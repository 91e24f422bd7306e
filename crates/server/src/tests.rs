//! A whole member, asked through the door: real threads on a real folder, or on disks that can fail.

mod auth;
mod cluster;
mod leases;
mod parts;
mod upkeep;
mod watches;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::auth::tokens::{Simple, Tokens};
use api::{Compact, Consistency, Fault, Member as _, V2Ttl};
use bytes::Bytes;
use stdx::{Clock, ManualClock, SystemClock};
use store::{Options, Store};
use telemetry::Registry;
use types::v2::{self, Expiry, Write};
use types::{
    ClusterId, Compare, CompareResult, CompareTarget, Key, KeyRange, LeaseId, Limits, MemberId, MemberRecord,
    OpReply, Put, RangeQuery, Revision, Txn, TxnOp,
};
use wal::double::DoubleDisk;

use crate::{Beginning, Config, Member};

const MEMBER: MemberId = MemberId(0xbee);

/// 2026-01-01, as the manual clock begins.
const NEW_YEAR_NS: i64 = 1_767_225_600_000_000_000;

fn config() -> Config {
    let founder = MemberRecord {
        id: MEMBER,
        name: "n".to_owned(),
        peer_urls: vec!["http://127.0.0.1:2380".to_owned()],
        client_urls: Vec::new(),
        learner: false,
    };
    Config {
        name: "n".to_owned(),
        member: MEMBER,
        cluster: ClusterId(0xcafe),
        beginning: Beginning::Found,
        founders: vec![founder],
        force_alone: false,
        pre_vote: true,
        strict_reconfiguration: true,
        learners_max: 1,
        corrupt_check_at_start: false,
        lease_checkpoint_every: None,
        corrupt_check_every: None,
        slow_apply: Duration::from_millis(100),
        watch_progress_every: Duration::from_mins(10),
        peers: tokio::runtime::Handle::current(),
        peer_tls: None,
        client_urls: vec!["http://127.0.0.1:2379".to_owned()],
        limits: Limits::default(),
        heartbeat: Duration::from_millis(10),
        election: Duration::from_millis(100),
        v2_enabled: true,
        v2_bridge_prefix: None,
        database_memory_bytes: 8 << 20,
        quota_bytes: 2 << 30,
        segment_bytes: 1 << 20,
        replay_bytes_max: 64 << 20,
        log_bytes_kept: 64 << 20,
        tokens: Arc::new(Tokens::Simple(Simple::new(Duration::from_mins(5)))),
        bcrypt_cost: 4,
        backups: None,
        clock: Arc::new(SystemClock),
        registry: Registry::new(),
    }
}

/// Disks that outlive their members.
#[derive(Clone)]
struct Disks {
    log: DoubleDisk,
    database: Options,
}

impl Disks {
    fn new() -> Self {
        Self { log: DoubleDisk::default(), database: Options::in_memory() }
    }

    async fn start(&self, config: &Config) -> Arc<Member> {
        let store = Store::open(Path::new("/db"), &self.database).expect("opens");
        let member = Member::start_on(config, store, None, Arc::new(self.log.clone())).expect("starts");
        ready(&member).await;
        member
    }
}

async fn ready(member: &Member) {
    tokio::time::timeout(Duration::from_secs(20), member.ready()).await.expect("ready within 20 s");
}

fn key(text: &'static str) -> Key {
    Key::new(Bytes::from_static(text.as_bytes())).expect("not empty")
}

fn put(name: &'static str, value: impl Into<Bytes>) -> Put {
    Put {
        key: key(name),
        value: value.into(),
        lease: LeaseId::default(),
        prev_kv: false,
        ignore_value: false,
        ignore_lease: false,
    }
}

/// `key=value@revision` for everything there is.
async fn everything(member: &Member, consistency: Consistency) -> Vec<String> {
    let reply = member.range(RangeQuery::of(KeyRange::all()), consistency).await.expect("readable");
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let pair = |kv: &types::KeyValue| format!("{}={}@{}", text(&kv.key), text(&kv.value), kv.mod_revision.0);
    reply.body.kvs.iter().map(pair).collect()
}

#[tokio::test]
async fn a_restart_keeps_everything() {
    let parent = tempfile::tempdir().expect("a folder for the test");
    let folder = folder::open(parent.path()).expect("free");
    let member = Member::start(&config(), &folder).expect("starts");
    ready(&member).await;
    let first = member.put(put("a", "1")).await.expect("written");
    assert_eq!((first.header.revision, first.header.member), (Revision(2), MEMBER));
    let swap = Txn {
        compare: vec![Compare {
            range: KeyRange::single(key("a")),
            result: CompareResult::Equal,
            target: CompareTarget::Mod(2),
        }],
        success: vec![TxnOp::Put(put("a", "2")), TxnOp::Put(put("b", ""))],
        failure: vec![],
    };
    let swapped = member.txn(swap.clone(), false).await.expect("done").body;
    assert!(swapped.succeeded && matches!(swapped.responses[..], [_, _]));
    assert!(!member.txn(swap, false).await.expect("done").body.succeeded, "the revision moved on");
    let compact = Compact { revision: 3, physical: true };
    member.compact(compact).await.expect("compacted, and gone from disk");
    assert_eq!(member.compact(compact).await.err(), Some(Fault::Compacted));
    let write = v2_set("/v2", Expiry::Never);
    assert_eq!(member.v2_write(write, V2Ttl::Never).await.expect("written").result.expect("done").index, 4);
    let hash = member.hash_kv(None).await.expect("hashed").body;
    member.stop();
    drop(member);

    let member = Member::start(&config(), &folder).expect("starts again");
    ready(&member).await;
    assert_eq!(everything(&member, Consistency::Linearizable).await, ["a=2@3", "b=@3"]);
    assert_eq!(member.hash_kv(None).await.expect("hashed").body, hash);
    assert_eq!(
        v2_value(&member, "/v2").await.as_deref(),
        Some("v"),
        "both keyspaces come from the same place"
    );
    assert_eq!(
        member.put(put("c", "3")).await.expect("written").header.revision,
        Revision(4),
        "revisions go on"
    );
}

#[tokio::test]
async fn a_linearizable_read_sees_every_write_acknowledged_before_it() {
    let member = Disks::new().start(&config()).await;
    for number in 0..200_u64 {
        member.put(put("a", number.to_string())).await.expect("written");
        assert_eq!(
            everything(&member, Consistency::Linearizable).await,
            [format!("a={number}@{}", number + 2)]
        );
    }
    let read = Txn { success: vec![TxnOp::Range(RangeQuery::of(KeyRange::all()))], ..Txn::default() };
    let reply = member.txn(read, false).await.expect("readable").body;
    assert!(
        matches!(&reply.responses[..], [one] if matches!(&one.reply, OpReply::Range(range) if range.count == 1))
    );
}

#[tokio::test]
async fn a_request_over_the_limit_changes_nothing() {
    let mut config = config();
    config.limits.request_bytes_max = 1000;
    let member = Disks::new().start(&config).await;
    let before = member.header().revision;
    assert_eq!(member.put(put("a", vec![0; 1000])).await.err(), Some(Fault::RequestTooLarge));
    assert_eq!(member.header().revision, before);
    member.put(put("a", vec![0; 900])).await.expect("it fits");
}

#[tokio::test]
async fn a_failed_log_ends_the_member_and_loses_nothing_acknowledged() {
    let disks = Disks::new();
    let member = disks.start(&config()).await;
    member.put(put("a", "kept")).await.expect("written");
    disks.log.fail_sync(disks.log.writes_and_syncs().1);
    let began = Instant::now();
    assert_eq!(member.put(put("a", "unknown")).await.err(), Some(Fault::Stopped));
    assert!(began.elapsed() < Duration::from_secs(3), "its client is told at once");
    let reason = member.ended().await.to_string();
    assert!(reason.starts_with("cannot sync 00000001.seg in the log folder"), "{reason}");
    assert_eq!(member.put(put("b", "late")).await.err(), Some(Fault::Stopped));
    let read = RangeQuery::of(KeyRange::all());
    assert_eq!(member.range(read.clone(), Consistency::Linearizable).await.err(), Some(Fault::Stopped));
    assert_eq!(member.range(read, Consistency::Serializable).await.err(), Some(Fault::Stopped));
    let physical = Compact { revision: 2, physical: true };
    assert_eq!(member.compact(physical).await.err(), Some(Fault::Stopped));
    drop(member);

    // A member that failed puts nothing into files: all of this comes from the log.
    let member = Disks { log: disks.log.restart(), ..disks }.start(&config()).await;
    let found = everything(&member, Consistency::Linearizable).await;
    assert!(found == ["a=kept@2"] || found == ["a=unknown@3"], "{found:?}");
}

fn v2_set(path: &str, expiry: Expiry) -> Write {
    let path = v2::Path::clean(path);
    Write::Set { path, value: Bytes::from_static(b"v"), dir: false, expiry, refresh: false }
}

async fn v2_value(member: &Member, path: &str) -> Option<String> {
    let get = v2::Get { path: v2::Path::clean(path), recursive: false, sorted: false };
    let event = member.v2_get(get, Consistency::Serializable).await.expect("answered").result.ok()?;
    event.node.value.as_ref().map(|value| String::from_utf8_lossy(value).into_owned())
}

#[tokio::test]
async fn a_v2_node_goes_when_its_time_has_come() {
    let clock = Arc::new(ManualClock::new(NEW_YEAR_NS));
    let config = Config { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..config() };
    let member = Disks::new().start(&config).await;
    let answer = member.v2_write(v2_set("/short", Expiry::Never), V2Ttl::Seconds(30)).await.expect("written");
    assert_eq!(answer.result.expect("done").node.ttl, 30);
    clock.advance(Duration::from_secs(29));
    assert_eq!(v2_value(&member, "/short").await.as_deref(), Some("v"));
    clock.advance(Duration::from_secs(1));
    let due = Instant::now();
    while v2_value(&member, "/short").await.is_some() {
        assert!(due.elapsed() < Duration::from_secs(5), "etcd takes half a second; a busy machine more");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn metrics_carry_the_names_of_etcd() {
    let member = Disks::new().start(&config()).await;
    member.put(put("a", "1")).await.expect("written");
    everything(&member, Consistency::Linearizable).await;
    let metrics = member.metrics();
    for line in [
        "etcd_cluster_version{cluster_version=\"3.7\"} 1",
        "etcd_server_version{server_version=\"3.7.",
        "etcd_server_id{server_id=\"bee\"} 1",
        "etcd_server_has_leader 1",
        "etcd_server_is_leader 1",
        "etcd_server_is_learner 0",
        "etcd_server_leader_changes_seen_total 1",
        "etcd_server_proposals_applied_total ",
        "etcd_server_proposals_committed_total ",
        "etcd_server_proposals_failed_total 0",
        "etcd_server_proposals_pending 0",
        "etcd_server_read_indexes_failed_total 0",
        "etcd_server_quota_backend_bytes 2147483648",
        "etcd_mvcc_put_total 1",
        "etcd_mvcc_range_total 1",
        "etcd_mvcc_delete_total 0",
        "etcd_mvcc_txn_total 0",
        "etcd_debugging_mvcc_put_total 1",
        "etcd_debugging_mvcc_total_put_size_in_bytes 2",
        "etcd_mvcc_db_total_size_in_bytes ",
        "etcd_mvcc_db_total_size_in_use_in_bytes ",
        "etcd_debugging_mvcc_keys_total 1",
        "etcd_debugging_mvcc_current_revision 2",
        "etcd_debugging_mvcc_compact_revision ",
        "etcd_disk_wal_write_bytes_total ",
        "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.001\"} ",
        "etcd_disk_backend_commit_duration_seconds_bucket{le=\"8.192\"} ",
    ] {
        assert!(metrics.lines().any(|found| found.starts_with(line)), "{line} is not in\n{metrics}");
    }
}
