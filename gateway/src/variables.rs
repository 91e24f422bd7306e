//! `/debug/vars`: the variables that etcd publishes there, in the form of Go's `expvar`.
//!
//! Of the memory there is what has a meaning here: Go's collector and its spans have none.

use std::fmt::Write as _;

use api::{Feed, Member, RaftStats, Stand};
use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use telemetry::ProcessFacts;

use crate::body::Body;
use crate::v2::answer::string;

/// Answers with what is known now.
pub(crate) fn answer(member: &dyn Member) -> Response<Body> {
    let mut response = Response::new(Body::of(text(&ProcessFacts::look(), member.raft_stats().as_ref())));
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

fn text(process: &ProcessFacts, raft: Option<&RaftStats>) -> String {
    let mut out = "{\n\"cmdline\": [".to_owned();
    for (at, argument) in process.command_line.iter().enumerate() {
        out.push_str(if at == 0 { "" } else { "," });
        string(&mut out, argument.as_bytes());
    }
    let ProcessFacts { descriptors_max, heap_bytes, resident_bytes, .. } = process;
    // Writing into a string does not fail.
    let _ = write!(
        out,
        "],\n\"file_descriptor_limit\": {descriptors_max},\n\"memstats\": {{\"Alloc\":{heap_bytes},\
         \"Sys\":{resident_bytes},\"HeapAlloc\":{heap_bytes},\"HeapSys\":{heap_bytes},\"NumGC\":0,\"PauseTotalNs\":0}}"
    );
    if let Some(raft) = raft {
        out.push_str(",\n\"raft.status\": ");
        write_raft(&mut out, raft);
    }
    out.push_str("\n}\n");
    out
}

fn write_raft(out: &mut String, raft: &RaftStats) {
    let RaftStats { id, term, vote, commit, leader, applied, transferee, .. } = raft;
    let stand = match raft.stand {
        Stand::Follower => "StateFollower",
        Stand::Candidate => "StateCandidate",
        Stand::Leader => "StateLeader",
    };
    let _ = write!(
        out,
        "{{\"id\":\"{id}\",\"term\":{},\"vote\":\"{vote}\",\"commit\":{},\"lead\":\"{leader}\",\
         \"raftState\":\"{stand}\",\"applied\":{},\"progress\":{{",
        term.0, commit.0, applied.0,
    );
    for (at, member) in raft.progress.iter().enumerate() {
        let feed = match member.feed {
            Feed::Probe => "StateProbe",
            Feed::Replicate => "StateReplicate",
            Feed::Snapshot => "StateSnapshot",
        };
        let _ = write!(
            out,
            "{}\"{}\":{{\"match\":{},\"next\":{},\"state\":\"{feed}\"}}",
            if at == 0 { "" } else { "," },
            member.id,
            member.matched.0,
            member.next.0,
        );
    }
    let _ = write!(out, "}},\"leadtransferee\":\"{transferee}\"}}");
}

#[cfg(test)]
mod tests {
    use api::Progress;
    use types::{Index, MemberId, Term};

    use super::*;

    #[test]
    fn the_form_is_that_of_etcd() {
        let member = MemberId(0x1421_b042_1f67_d864);
        let progress = Progress { id: member, matched: Index(4), next: Index(5), feed: Feed::Replicate };
        let raft = RaftStats {
            id: member,
            term: Term(2),
            vote: member,
            commit: Index(4),
            leader: member,
            stand: Stand::Leader,
            applied: Index(4),
            progress: vec![progress],
            transferee: MemberId(0),
        };
        let process = ProcessFacts {
            command_line: vec!["kvorum".to_owned(), "--name".to_owned(), "a\"b".to_owned()],
            descriptors_max: 20000,
            heap_bytes: 10,
            resident_bytes: 20,
        };
        assert_eq!(
            text(&process, Some(&raft)),
            "{\n\"cmdline\": [\"kvorum\",\"--name\",\"a\\\"b\"],\n\"file_descriptor_limit\": 20000,\n\
             \"memstats\": {\"Alloc\":10,\"Sys\":20,\"HeapAlloc\":10,\"HeapSys\":10,\"NumGC\":0,\"PauseTotalNs\":0},\n\
             \"raft.status\": {\"id\":\"1421b0421f67d864\",\"term\":2,\"vote\":\"1421b0421f67d864\",\"commit\":4,\
             \"lead\":\"1421b0421f67d864\",\"raftState\":\"StateLeader\",\"applied\":4,\
             \"progress\":{\"1421b0421f67d864\":{\"match\":4,\"next\":5,\"state\":\"StateReplicate\"}},\
             \"leadtransferee\":\"0\"}\n}\n"
        );
    }
}
