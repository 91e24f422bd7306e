//! What each fact is worth: where the bounds are between fine, worth a look, and bad.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::facts::{Facts, Told};
use super::{Finding, Level};
use crate::go;
use crate::session::Session;
use crate::verbs::metrics::{Metrics, seconds};

/// Syncs of the log, of which one in a hundred may be slower, in seconds.
const SYNC_WARNING: f64 = 0.03;
const SYNC_BAD: f64 = 0.128;
/// The way between members; half of a heartbeat, and as long as one.
const PEER_WARNING: f64 = 0.05;
const PEER_BAD: f64 = 0.2;
/// Clocks that are so far apart, in seconds; less cannot be told from here.
const CLOCK_WARNING: f64 = 2.0;
const CLOCK_BAD: f64 = 30.0;
/// Parts of the quota.
const QUOTA_WARNING: f64 = 0.8;
const QUOTA_BAD: f64 = 0.95;
/// Room that a defragmentation gives back is worth it from here on, in bytes and as a part.
const SLACK_BYTES: i64 = 100 * 1024 * 1024;
const SLACK_PART: f64 = 0.5;
/// Entries that a member has not applied yet.
const BEHIND_WARNING: u64 = 1000;
/// Before the end of a certificate.
const DAY: i64 = 24 * 3600;
const CERTIFICATE_WARNING: i64 = 30 * DAY;
const CERTIFICATE_BAD: i64 = 3 * DAY;
/// Open files as a part of those that may be.
const FILES_WARNING: f64 = 0.8;
/// A read through the leader.
const READ_WARNING: Duration = Duration::from_millis(100);
/// Leaders per hour.
const LEADERS_WARNING: f64 = 3.0;

/// Findings as they are put together.
struct Findings<'a> {
    facts: &'a Facts,
    all: Vec<Finding>,
}

/// Judges everything.
pub(super) fn judge(facts: &Facts, session: &Session) -> Vec<Finding> {
    let mut findings = Findings { facts, all: Vec::new() };
    findings.members();
    findings.versions();
    findings.leaders();
    findings.alarms();
    findings.clocks();
    findings.files();
    findings.configuration(session);
    for told in &facts.told {
        findings.reach(told);
        findings.room(told);
        if let Some(metrics) = &told.metrics {
            findings.disk(told, metrics);
            findings.peers(told, metrics);
            findings.process(told, metrics);
            findings.certificates(told, metrics);
        }
    }
    findings.all
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Fine below the first bound, bad from the second on.
fn level(value: f64, warning: f64, bad: f64) -> Level {
    match value {
        value if value >= bad => Level::Bad,
        value if value >= warning => Level::Warning,
        _ => Level::Fine,
    }
}

impl Findings<'_> {
    fn add(
        &mut self,
        level: Level,
        area: &'static str,
        told: Option<&Told>,
        text: String,
        hint: &'static str,
    ) {
        let member = told.map(|told| self.facts.name(told)).unwrap_or_default();
        let hint = Some(hint).filter(|hint| !hint.is_empty());
        self.all.push(Finding { level, area, member, text, hint });
    }

    fn members(&mut self) {
        let (all, learners) =
            (self.facts.members.len(), self.facts.members.iter().filter(|member| member.is_learner).count());
        let voters = all - learners;
        if all == 0 {
            return;
        }
        let silent = self.facts.told.iter().filter(|told| told.silent.is_some()).count();
        let spare = voters.saturating_sub(1) / 2;
        let (level, hint) = match voters {
            1 => {
                (Level::Warning, "an only member is a single point of failure: three outlive the loss of one")
            }
            voters if voters % 2 == 0 => {
                (Level::Warning, "an even number outlives no more losses than one member less")
            }
            _ => (Level::Fine, ""),
        };
        let text = format!(
            "{voters} voters, {learners} learners; the loss of {spare} is outlived, {silent} do not answer now"
        );
        self.add(level, "members", None, text, hint);
        if silent > spare {
            let text = format!("{silent} of {all} members do not answer: nothing can be decided");
            self.add(
                Level::Bad,
                "members",
                None,
                text,
                "start them, or see docs/OPERATIONS.md for a lost majority",
            );
        }
        let unstarted: Vec<String> = self
            .facts
            .members
            .iter()
            .filter(|member| member.name.is_empty())
            .map(|member| format!("{:x}", member.id))
            .collect();
        if !unstarted.is_empty() {
            let text = format!("added and never started: {}", unstarted.join(", "));
            self.add(
                Level::Warning,
                "members",
                None,
                text,
                "start it, or `member remove` it: it counts for the majority",
            );
        }
    }

    fn versions(&mut self) {
        let versions: BTreeSet<&str> = self
            .facts
            .told
            .iter()
            .filter_map(|told| told.status.as_ref())
            .map(|status| status.version.as_str())
            .collect();
        let list = versions.iter().copied().collect::<Vec<_>>().join(", ");
        match versions.len() {
            0 => {}
            1 => self.add(Level::Fine, "version", None, format!("all members are {list}"), ""),
            _ => {
                let text = format!("members are of different versions: {list}");
                self.add(
                    Level::Warning,
                    "version",
                    None,
                    text,
                    "finish the upgrade: new functions wait for the last member",
                );
            }
        }
    }

    fn leaders(&mut self) {
        let statuses = || self.facts.told.iter().filter_map(|told| told.status.as_ref());
        let leaders: BTreeSet<u64> = statuses().map(|status| status.leader).collect();
        let terms: BTreeSet<u64> = statuses().map(|status| status.raft_term).collect();
        match (leaders.len(), leaders.first()) {
            (0, _) => {}
            (1, Some(0)) => {
                self.add(
                    Level::Bad,
                    "leader",
                    None,
                    "nobody leads".to_owned(),
                    "more than half of the members must reach each other",
                );
            }
            (1, Some(leader)) => {
                let named = self.facts.members.iter().find(|member| member.id == *leader);
                let name = named.map_or_else(|| format!("{leader:x}"), |member| member.name.clone());
                self.add(Level::Fine, "leader", None, format!("all agree that {name} leads"), "");
            }
            _ => {
                let text =
                    format!("members do not agree who leads ({} answers, terms {terms:?})", leaders.len());
                self.add(Level::Bad, "leader", None, text, "an election goes on, or the network is parted");
            }
        }
    }

    fn alarms(&mut self) {
        let alarms: Vec<String> =
            self.facts.alarms.iter().map(|(member, kind)| format!("{kind} of {member:x}")).collect();
        if alarms.is_empty() {
            self.add(Level::Fine, "alarms", None, "none".to_owned(), "");
        } else {
            let hint = "NOSPACE: compaction, defrag, then `alarm disarm`; CORRUPT: `endpoint hashkv --cluster` says who differs";
            self.add(Level::Bad, "alarms", None, alarms.join(", "), hint);
        }
    }

    fn clocks(&mut self) {
        let ahead: Vec<f64> = self.facts.told.iter().filter_map(|told| told.ahead_seconds).collect();
        let (Some(least), Some(most)) =
            (ahead.iter().copied().reduce(f64::min), ahead.iter().copied().reduce(f64::max))
        else {
            return;
        };
        let apart = most - least;
        let text = if apart < 1.0 {
            "members' clocks are less than a second apart".to_owned()
        } else {
            format!("members' clocks are {apart:.0} s apart, give or take one")
        };
        self.add(
            level(apart, CLOCK_WARNING, CLOCK_BAD),
            "clock",
            None,
            text,
            "leases, tokens and certificates go by the clock: run NTP",
        );
        let here = if least.abs() > most.abs() { least } else { most };
        if here.abs() >= CLOCK_WARNING {
            let text = format!("the clock of this machine is {:.0} s from the members'", here.abs());
            self.add(Level::Note, "clock", None, text, "");
        }
    }

    fn files(&mut self) {
        let files = &self.facts.files;
        let found: Vec<(Level, String)> = files
            .iter()
            .map(|(flag, path, end)| match end {
                Ok(end) => {
                    let (level, words) = until(*end);
                    (level, format!("{flag} {}: {words}", path.display()))
                }
                Err(reason) => (Level::Bad, format!("{flag} {}: {reason}", path.display())),
            })
            .collect();
        for (level, text) in found {
            self.add(
                level,
                "tls",
                None,
                text,
                "make a new certificate in time: `kvorumctl tls init` makes one with its CA",
            );
        }
    }

    fn configuration(&mut self, session: &Session) {
        let open = self.facts.told.iter().filter(|told| !told.secure).count();
        let remote = self.facts.told.iter().filter(|told| !told.secure && !is_local(&told.place)).count();
        if remote > 0 {
            let text = format!("{remote} members are reached without TLS from elsewhere than their machine");
            self.add(
                Level::Warning,
                "config",
                None,
                text,
                "`kvorumctl tls init` makes certificates and prints the flags",
            );
        } else if open > 0 {
            self.add(
                Level::Note,
                "config",
                None,
                format!("{open} members are reached without TLS, on this machine"),
                "",
            );
        }
        let peers = self.facts.members.iter().flat_map(|member| &member.peer_ur_ls);
        let open_peers = peers.filter(|url| url.starts_with("http://") && !is_local(url)).count();
        if open_peers > 0 {
            let text = format!("{open_peers} members talk to each other without TLS");
            self.add(
                Level::Warning,
                "config",
                None,
                text,
                "--peer-cert-file and its like, see docs/OPERATIONS.md",
            );
        }
        if session.globals.insecure_skip_tls_verify {
            let text = "--insecure-skip-tls-verify: whoever answers is believed".to_owned();
            self.add(Level::Warning, "config", None, text, "give the CA with --cacert");
        }
    }

    fn reach(&mut self, told: &Told) {
        if let Some(reason) = &told.silent {
            let text = format!("does not answer: {reason}");
            self.add(Level::Bad, "reach", Some(told), text, "is it running, and is the way to it open?");
            return;
        }
        let Some(status) = &told.status else { return };
        let way = told.round_trip.unwrap_or_default().as_secs_f64();
        match (told.read, &told.read_failed) {
            (_, Some(reason)) => {
                let text =
                    format!("answers after {}, and cannot read through the leader: {reason}", seconds(way));
                self.add(Level::Bad, "reach", Some(told), text, "it sees no leader, or an alarm forbids it");
            }
            (Some(read), None) => {
                let level = if read >= READ_WARNING { Level::Warning } else { Level::Fine };
                let text = format!(
                    "there and back {}, a read through the leader {}",
                    seconds(way),
                    seconds(read.as_secs_f64())
                );
                self.add(level, "reach", Some(told), text, "a slow disk or a slow network between members");
            }
            (None, None) => {}
        }
        let behind = status.raft_index.saturating_sub(status.raft_applied_index);
        if behind >= BEHIND_WARNING {
            let text = format!("{behind} entries are decided and not applied");
            self.add(Level::Warning, "raft", Some(told), text, "its disk or its processor does not keep up");
        }
        if status.is_learner {
            self.add(Level::Note, "raft", Some(told), "is a learner".to_owned(), "");
        }
        for error in &status.errors {
            self.add(Level::Bad, "raft", Some(told), error.clone(), "");
        }
    }

    fn room(&mut self, told: &Told) {
        let Some(status) = &told.status else { return };
        let reported =
            told.metrics.as_ref().and_then(|metrics| metrics.sum("etcd_server_quota_backend_bytes"));
        let quota =
            if status.db_size_quota > 0 { status.db_size_quota as f64 } else { reported.unwrap_or(0.0) };
        let (size, used) = (status.db_size, status.db_size_in_use);
        if quota > 0.0 {
            let part = size as f64 / quota;
            let text = format!(
                "{} of {} ({:.0} %)",
                go::size(size.unsigned_abs()),
                go::size(quota as u64),
                part * 100.0
            );
            let hint = "compact old revisions, defrag, or raise --quota-backend-bytes before it is full";
            self.add(level(part, QUOTA_WARNING, QUOTA_BAD), "quota", Some(told), text, hint);
        }
        let slack = size - used;
        if used > 0 && slack > SLACK_BYTES && slack as f64 > size as f64 * SLACK_PART {
            let text = format!(
                "{} of its {} are unused",
                go::size(slack.unsigned_abs()),
                go::size(size.unsigned_abs())
            );
            self.add(Level::Note, "quota", Some(told), text + "; defrag gives them back", "");
        }
    }

    fn disk(&mut self, told: &Told, metrics: &Metrics) {
        let Some(sync) = metrics.quantile("etcd_disk_wal_fsync_duration_seconds", 0.99) else { return };
        let commit = metrics.quantile("etcd_disk_backend_commit_duration_seconds", 0.99);
        let commit = commit
            .map(|commit| format!(", of commits to the database {}", seconds(commit)))
            .unwrap_or_default();
        let text = format!("99 % of syncs of the log take up to {}{commit}, since its start", seconds(sync));
        let hint = "an SSD of its own for the log; other programs on the same disk make it slow";
        self.add(level(sync, SYNC_WARNING, SYNC_BAD), "disk", Some(told), text, hint);
    }

    fn peers(&mut self, told: &Told, metrics: &Metrics) {
        if let Some(way) = metrics.quantile("etcd_network_peer_round_trip_time_seconds", 0.99) {
            let text = format!("99 % of round trips to other members take up to {}", seconds(way));
            let hint =
                "--heartbeat-interval should be as long as a round trip, --election-timeout ten times that";
            self.add(level(way, PEER_WARNING, PEER_BAD), "network", Some(told), text, hint);
        }
        let uptime = metrics.sum("process_start_time_seconds").map_or(0.0, |start| now() as f64 - start);
        let hours = (uptime / 3600.0).max(1.0);
        let changes = metrics.sum("etcd_server_leader_changes_seen_total").unwrap_or(0.0);
        if changes / hours > LEADERS_WARNING {
            let text = format!("it has seen {changes:.0} leaders in {hours:.1} hours");
            self.add(
                Level::Warning,
                "leader",
                Some(told),
                text,
                "leaders come and go where disks or the network are slow",
            );
        }
        let failed = metrics.sum("etcd_server_proposals_failed_total").unwrap_or(0.0);
        if failed > 0.0 {
            self.add(
                Level::Note,
                "raft",
                Some(told),
                format!("{failed:.0} proposals failed since its start"),
                "",
            );
        }
    }

    fn process(&mut self, told: &Told, metrics: &Metrics) {
        let either = |one: &str, other: &str| metrics.sum(one).or_else(|| metrics.sum(other));
        let used = either("process_open_fds", "os_fd_used");
        let limit = either("process_max_fds", "os_fd_limit").filter(|limit| *limit > 0.0);
        if let Some((used, limit)) = used.zip(limit) {
            let level = if used / limit >= FILES_WARNING { Level::Warning } else { Level::Fine };
            let memory = metrics.sum("process_resident_memory_bytes").unwrap_or(0.0);
            let text = format!("{used:.0} of {limit:.0} files open, {} of memory", go::size(memory as u64));
            self.add(level, "process", Some(told), text, "raise LimitNOFILE of its unit");
        }
    }

    fn certificates(&mut self, told: &Told, metrics: &Metrics) {
        for (labels, end) in metrics.labelled("kvorum_tls_certificate_not_after_seconds") {
            let (level, words) = until(end as i64);
            let what = labels.replace('"', "").replace(',', " ");
            self.add(
                level,
                "tls",
                Some(told),
                format!("{what}: {words}"),
                "put a new certificate in its place: it is taken up without a restart",
            );
        }
    }
}

/// Whether a place is on the machine it is written for.
fn is_local(place: &str) -> bool {
    let host = place.split_once("://").map_or(place, |(_, rest)| rest);
    place.starts_with("unix") || ["127.", "localhost", "[::1]"].iter().any(|begin| host.starts_with(begin))
}

/// How good a certificate is that ends then.
fn until(end: i64) -> (Level, String) {
    let left = end - now();
    let level = match left {
        left if left < CERTIFICATE_BAD => Level::Bad,
        left if left < CERTIFICATE_WARNING => Level::Warning,
        _ => Level::Fine,
    };
    let days = left / DAY;
    let words = if left < 0 { "has expired".to_owned() } else { format!("good for {days} days") };
    (level, words)
}
