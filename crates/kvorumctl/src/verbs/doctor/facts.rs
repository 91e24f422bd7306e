//! What is asked of every member, all at the same time.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use client::{Client, Endpoint};
use proto::etcdserverpb::{
    AlarmRequest, AlarmType, Member, MemberListRequest, RangeRequest, StatusRequest, StatusResponse,
};
use serde_json::{Value, json};
use time::PrimitiveDateTime;
use time::macros::format_description;
use tokio::task::JoinSet;

use crate::session::Session;
use crate::verbs::metrics::{self, Metrics};

/// How often a member is asked to learn how long the way is.
const ASKS: usize = 5;

/// What one member told.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) place: String,
    pub(super) secure: bool,
    /// Why it told nothing.
    pub(super) silent: Option<String>,
    pub(super) status: Option<StatusResponse>,
    /// There and back, the middle one of some.
    pub(super) round_trip: Option<Duration>,
    /// A read through the leader.
    pub(super) read: Option<Duration>,
    pub(super) read_failed: Option<String>,
    pub(super) metrics: Option<Metrics>,
    /// Its clock minus ours, in seconds; clocks of HTTP have no fractions.
    pub(super) ahead_seconds: Option<f64>,
}

/// What all of them told.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) members: Vec<Member>,
    pub(super) told: Vec<Told>,
    /// Raised alarms with who raised them.
    pub(super) alarms: Vec<(u64, String)>,
    /// The files of the flags: what they are, and until when the first certificate in them is good.
    pub(super) files: Vec<(&'static str, PathBuf, Result<i64, String>)>,
}

impl Facts {
    pub(super) async fn gather(session: &Session, places: &[Endpoint]) -> Self {
        let mut facts = Self { files: files(session), ..Self::default() };
        if let Ok(list) = session.call(MemberListRequest { linearizable: true }).await {
            facts.members = list.members;
        }
        if let Ok(answer) = session.call(AlarmRequest::default()).await {
            let word =
                |kind: i32| AlarmType::try_from(kind).map_or("of an unknown kind", |kind| kind.as_str_name());
            facts.alarms =
                answer.alarms.iter().map(|alarm| (alarm.member_id, word(alarm.alarm).to_owned())).collect();
        }
        let mut asked = JoinSet::new();
        for (at, place) in places.iter().enumerate() {
            let secure = place.is_secure(session.client.prefers_tls());
            let (client, place, patience) = (session.client.only(place), place.clone(), session.patience());
            asked.spawn(async move { (at, ask(client, place, secure, patience).await) });
        }
        let mut told = asked.join_all().await;
        told.sort_by_key(|(at, _)| *at);
        facts.told = told.into_iter().map(|(_, told)| told).collect();
        facts
    }

    /// The name of who listens there, or the place itself.
    pub(super) fn name(&self, told: &Told) -> String {
        let id = told.status.as_ref().and_then(|status| status.header).map(|header| header.member_id);
        let by_id = self.members.iter().find(|member| Some(member.id) == id);
        let by_place = || self.members.iter().find(|member| member.client_ur_ls.contains(&told.place));
        match by_id.or_else(by_place) {
            Some(member) if !member.name.is_empty() => member.name.clone(),
            _ => told.place.clone(),
        }
    }

    pub(super) fn json(&self) -> Value {
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        let one = |told: &Told| {
            let status = told.status.as_ref();
            json!({
                "name": self.name(told),
                "endpoint": told.place,
                "version": status.map(|status| status.version.clone()),
                "leader": status.map(|status| format!("{:x}", status.leader)),
                "raftTerm": status.map(|status| status.raft_term),
                "raftIndex": status.map(|status| status.raft_index),
                "raftAppliedIndex": status.map(|status| status.raft_applied_index),
                "dbSize": status.map(|status| status.db_size),
                "dbSizeInUse": status.map(|status| status.db_size_in_use),
                "learner": status.map(|status| status.is_learner),
                "roundTripSeconds": seconds(told.round_trip),
                "readSeconds": seconds(told.read),
                "clockAheadSeconds": told.ahead_seconds,
                "error": told.silent,
            })
        };
        self.told.iter().map(one).collect()
    }
}

async fn ask(client: Client, place: Endpoint, secure: bool, patience: Option<Duration>) -> Told {
    let mut told = Told { place: place.to_string(), secure, ..Told::default() };
    let mut ways = Vec::new();
    for _ in 0..ASKS {
        let begun = Instant::now();
        match client.call(StatusRequest {}, patience).await {
            Ok(status) => told.status = Some(status),
            Err(fault) => {
                let reason =
                    fault.failures().first().map_or_else(|| fault.to_string(), |known| known.reason.clone());
                told.silent = Some(reason);
                return told;
            }
        }
        ways.push(begun.elapsed());
    }
    ways.sort_unstable();
    told.round_trip = ways.get(ASKS / 2).copied();
    let begun = Instant::now();
    let key = bytes::Bytes::from_static(b"health");
    match client.call(RangeRequest { key, count_only: true, ..Default::default() }, patience).await {
        Ok(_) => told.read = Some(begun.elapsed()),
        // Who may not read this was heard by the leader all the same.
        Err(fault) if fault.to_string().contains("permission denied") => told.read = Some(begun.elapsed()),
        Err(fault) => told.read_failed = Some(fault.to_string()),
    }
    let (asked, clock) = (Instant::now(), SystemTime::now());
    if let Some((metrics, page)) = metrics::fetch(&client, &place, patience).await {
        let date = page.headers.get("date").and_then(|date| date.to_str().ok()).and_then(moment);
        let ours = clock + asked.elapsed() / 2;
        let ours = ours.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        // What has no fraction stands for its middle.
        told.ahead_seconds = date.map(|date| date as f64 + 0.5 - ours);
        told.metrics = Some(metrics);
    }
    told
}

/// A date of HTTP in seconds since 1970.
fn moment(text: &str) -> Option<i64> {
    let form = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    Some(PrimitiveDateTime::parse(text, form).ok()?.assume_utc().unix_timestamp())
}

/// The files that the flags name.
fn files(session: &Session) -> Vec<(&'static str, PathBuf, Result<i64, String>)> {
    let named = [("--cacert", &session.globals.cacert), ("--cert", &session.globals.cert)];
    let named = named.into_iter().filter_map(|(flag, file)| Some((flag, PathBuf::from(file.as_ref()?))));
    named
        .map(|(flag, path)| {
            let dates = tls::not_after(&path).map_err(|error| stdx::chain(&error));
            let first = dates.and_then(|dates| {
                dates
                    .into_iter()
                    .map(|(_, end)| end)
                    .min()
                    .ok_or_else(|| "no certificate is in it".to_owned())
            });
            (flag, path, first)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn dates_of_http_are_read() {
        assert_eq!(super::moment("Thu, 01 Jan 1970 00:01:00 GMT"), Some(60));
        assert_eq!(super::moment("Sun, 22 Nov 2026 04:21:24 GMT"), Some(1_795_321_284));
        assert_eq!(super::moment("yesterday"), None);
    }
}
