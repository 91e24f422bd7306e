//! `/v2/stats/self`, `/v2/stats/leader` and `/v2/stats/store`, in the form of etcd's JSON.

use std::fmt::Write as _;
use std::time::Duration;

use api::{KeyspaceStats, PeerStats, Stand, Stats, Tally};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};
use types::MemberId;
use types::v2::Timestamp;

use crate::body::Body;
use crate::gateway::Shared;
use crate::mux;

use super::answer::{string, timestamp};

/// Answers a request for what is below `/v2/stats/`.
pub(crate) fn answer(shared: &Shared, which: &str, method: &Method) -> Response<Body> {
    if !shared.member.v2_enabled() || !matches!(which, "self" | "leader" | "store") {
        return mux::not_found();
    }
    if *method != Method::GET {
        return mux::method_not_allowed("GET");
    }
    let Some(stats) = shared.member.stats() else { return mux::not_found() };
    let (status, text) = match which {
        "self" => (StatusCode::OK, of_self(&stats)),
        "store" => (StatusCode::OK, of_keyspace(&stats.keyspace)),
        _ if stats.stand == Stand::Leader => (StatusCode::OK, of_leader(stats.id, &stats.peers)),
        _ => (StatusCode::FORBIDDEN, r#"{"message":"not current leader"}"#.to_owned()),
    };
    let mut response = Response::new(Body::of(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn of_self(stats: &Stats) -> String {
    let mut out = "{\"name\":".to_owned();
    string(&mut out, stats.name.as_bytes());
    let stand = match stats.stand {
        Stand::Follower => "StateFollower",
        Stand::Candidate => "StateCandidate",
        Stand::Leader => "StateLeader",
    };
    // Go's time before there was any.
    let time = |time: Timestamp| timestamp(time).unwrap_or_else(|| "0001-01-01T00:00:00Z".to_owned());
    let uptime = i64::try_from(stats.leader_uptime.as_nanos()).unwrap_or(i64::MAX);
    let (leader, since) = if stats.leader == MemberId(0) {
        (String::new(), "0001-01-01T00:00:00Z".to_owned())
    } else {
        (stats.leader.to_string(), time(Timestamp(stats.now.0.saturating_sub(uptime))))
    };
    // Writing into a string does not fail.
    let _ = write!(
        out,
        ",\"id\":\"{}\",\"state\":\"{stand}\",\"startTime\":\"{}\",\
         \"leaderInfo\":{{\"leader\":\"{leader}\",\"uptime\":\"{}\",\"startTime\":\"{since}\"}},\
         \"recvAppendRequestCnt\":{},\"sendAppendRequestCnt\":{}}}",
        stats.id,
        time(stats.started),
        duration(stats.leader_uptime),
        stats.appends_received,
        stats.appends_sent,
    );
    out
}

fn of_leader(leader: MemberId, peers: &[PeerStats]) -> String {
    let mut out = format!("{{\"leader\":\"{leader}\",\"followers\":{{");
    for (at, peer) in peers.iter().enumerate() {
        let latency = &peer.latency;
        let _ = write!(
            out,
            "{}\"{}\":{{\"latency\":{{\"current\":{},\"average\":{},\"standardDeviation\":{},\
             \"minimum\":{},\"maximum\":{}}},\"counts\":{{\"fail\":{},\"success\":{}}}}}",
            if at == 0 { "" } else { "," },
            peer.id,
            latency.current_ms,
            latency.average_ms,
            latency.deviation_ms,
            latency.minimum_ms,
            latency.maximum_ms,
            peer.failures,
            latency.count,
        );
    }
    out.push_str("}}");
    out
}

fn of_keyspace(stats: &KeyspaceStats) -> String {
    let mut out = "{".to_owned();
    let tallies: [(&str, Tally); 7] = [
        ("gets", stats.gets),
        ("sets", stats.sets),
        ("delete", stats.deletes),
        ("update", stats.updates),
        ("create", stats.creates),
        ("compareAndSwap", stats.compare_and_swaps),
        ("compareAndDelete", stats.compare_and_deletes),
    ];
    for (name, tally) in tallies {
        let _ = write!(out, "\"{name}Success\":{},\"{name}Fail\":{},", tally.done, tally.refused);
    }
    let _ = write!(out, "\"expireCount\":{},\"watchers\":{}}}", stats.expired, stats.watchers);
    out
}

/// As Go writes a duration: `1h2m3.5s`, `1.5ms`.
fn duration(time: Duration) -> String {
    let trimmed = |number: String| match number.split_once('.') {
        Some(_) => number.trim_end_matches('0').trim_end_matches('.').to_owned(),
        None => number,
    };
    let nanos = time.as_nanos();
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => trimmed(format!("{}.{:03}", nanos / 1_000, nanos % 1_000)) + "\u{b5}s",
        1_000_000..1_000_000_000 => trimmed(format!("{}.{:06}", nanos / 1_000_000, nanos % 1_000_000)) + "ms",
        _ => {
            let (minutes, seconds) = (time.as_secs() / 60, time.as_secs() % 60);
            let seconds = trimmed(format!("{seconds}.{:09}", time.subsec_nanos())) + "s";
            match (minutes / 60, minutes % 60) {
                (0, 0) => seconds,
                (0, minutes) => format!("{minutes}m{seconds}"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use api::Latency;

    use super::*;

    #[test]
    fn durations_are_written_as_go_does() {
        for (nanos, expect) in [
            (0, "0s"),
            (7, "7ns"),
            (1_500, "1.5\u{b5}s"),
            (2_000_000, "2ms"),
            (6_281_581_274, "6.281581274s"),
            (63_000_000_000, "1m3s"),
            (3_600_000_000_000, "1h0m0s"),
        ] {
            assert_eq!(duration(Duration::from_nanos(nanos)), expect);
        }
    }

    #[test]
    fn the_forms_are_those_of_etcd() {
        let latency = Latency {
            count: 8,
            current_ms: 0.00156,
            average_ms: 0.002_128_75,
            deviation_ms: 0.5,
            minimum_ms: 0.000_085,
            maximum_ms: 0.005_903,
        };
        let peer = PeerStats { id: MemberId(0x6883_8bb3_5ba7_239b), latency, failures: 0 };
        assert_eq!(
            of_leader(MemberId(0x317f_db0c_1d17_2233), &[peer]),
            r#"{"leader":"317fdb0c1d172233","followers":{"68838bb35ba7239b":{"latency":{"current":0.00156,"average":0.00212875,"standardDeviation":0.5,"minimum":0.000085,"maximum":0.005903},"counts":{"fail":0,"success":8}}}}"#
        );
        let stats = KeyspaceStats {
            gets: Tally { done: 2, refused: 4 },
            sets: Tally { done: 5, refused: 0 },
            creates: Tally { done: 3, refused: 0 },
            ..KeyspaceStats::default()
        };
        assert_eq!(
            of_keyspace(&stats),
            r#"{"getsSuccess":2,"getsFail":4,"setsSuccess":5,"setsFail":0,"deleteSuccess":0,"deleteFail":0,"updateSuccess":0,"updateFail":0,"createSuccess":3,"createFail":0,"compareAndSwapSuccess":0,"compareAndSwapFail":0,"compareAndDeleteSuccess":0,"compareAndDeleteFail":0,"expireCount":0,"watchers":0}"#
        );
        let stats = Stats {
            name: "m0".to_owned(),
            id: MemberId(0xa06b_4788_89da_ff24),
            stand: Stand::Follower,
            started: Timestamp(1_795_276_450_681_303_173),
            now: Timestamp(1_795_276_457_634_196_244),
            leader: MemberId(0x317f_db0c_1d17_2233),
            leader_uptime: Duration::from_nanos(6_281_581_274),
            appends_received: 9,
            appends_sent: 0,
            peers: Vec::new(),
            keyspace: stats,
        };
        assert_eq!(
            of_self(&stats),
            r#"{"name":"m0","id":"a06b478889daff24","state":"StateFollower","startTime":"2026-11-21T15:54:10.681303173Z","leaderInfo":{"leader":"317fdb0c1d172233","uptime":"6.281581274s","startTime":"2026-11-21T15:54:11.35261497Z"},"recvAppendRequestCnt":9,"sendAppendRequestCnt":0}"#
        );
    }
}
