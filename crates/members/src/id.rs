//! Ids as etcd derives them, so that a cluster that moves here keeps the ones its operators know.

use sha1::{Digest, Sha1};
use types::{ClusterId, MemberId};

/// The id of a member: the first eight bytes of the SHA-1 of its peer URLs, sorted and joined without anything
/// between them, and the cluster's token. The order in which the URLs are given does not matter.
pub fn member_id(peer_urls: &[String], token: &str) -> MemberId {
    let mut sorted: Vec<&str> = peer_urls.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    let mut hash = Sha1::new();
    for url in sorted {
        hash.update(url);
    }
    hash.update(token);
    MemberId(first_eight(hash))
}

/// The id of a member that is added while the cluster serves: the time goes into it instead of the token, so that
/// the same URLs make another member the next time. In whole seconds since 1970-01-01 UTC.
pub fn joining_id(peer_urls: &[String], unix_seconds: i64) -> MemberId {
    member_id(peer_urls, &unix_seconds.to_string())
}

/// The id of a cluster: the first eight bytes of the SHA-1 of its first members' ids, eight bytes each, big-endian,
/// ascending. The order in which the ids are given does not matter.
pub fn cluster_id(members: &[MemberId]) -> ClusterId {
    let mut sorted = members.to_vec();
    sorted.sort_unstable();
    let mut hash = Sha1::new();
    for id in sorted {
        hash.update(id.0.to_be_bytes());
    }
    ClusterId(first_eight(hash))
}

fn first_eight(hash: Sha1) -> u64 {
    let digest: [u8; 20] = hash.finalize().into();
    let (first, _) = digest.split_first_chunk::<8>().expect("a SHA-1 has twenty bytes");
    u64::from_be_bytes(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(peer_urls: &[&str], token: &str, expect: &str) -> MemberId {
        let urls: Vec<String> = peer_urls.iter().map(ToString::to_string).collect();
        let id = member_id(&urls, token);
        assert_eq!(id.to_string(), expect);
        id
    }

    #[test]
    fn a_default_etcd_has_the_ids_that_everybody_has_seen() {
        let id = check(&["http://localhost:2380"], "etcd-cluster", "8e9e05c52164694d");
        assert_eq!(cluster_id(&[id]).to_string(), "cdf818194e3a8c32");
    }

    /// The ids that the documentation of etcd shows.
    #[test]
    fn the_documented_cluster_has_its_documented_ids() {
        let of = |host: u8| {
            let url = format!("https://192.168.16.{host}:2380");
            member_id(&[url], "etcd-cluster-1")
        };
        let mut ids = [of(227), of(228), of(229)];
        assert_eq!(cluster_id(&ids).to_string(), "cabc8098aa3afc98");
        ids.sort_unstable();
        assert_eq!(
            ids.map(|id| id.to_string()),
            ["3e5097be4ea17ebe", "67d47e92a1704b1a", "b4725a5341abf1a0"]
        );
    }

    /// What etcd 3.4.23 logged for three members, one of them with two URLs.
    #[test]
    fn three_members_have_the_ids_that_etcd_gave_them() {
        let local = check(&["http://127.0.0.1:32580"], "tok", "81aa092991119423");
        let c = check(&["http://127.0.0.1:9"], "tok", "b50b0c437406e953");
        let b = check(&["http://127.0.0.1:8", "http://127.0.0.1:7"], "tok", "20f305d496252906");
        assert_eq!(cluster_id(&[local, b, c]).to_string(), "1fd196d7df3d7b44");
    }
}
